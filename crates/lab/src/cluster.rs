//! A running cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use krafka::admin::{ConfigResource, NewTopic};

use crate::builder::Builder;
use crate::disk;
use crate::guard::Guard;
use crate::jars::{Kit, home, tail};
use crate::launch::random_id;
use crate::monitors::Monitor;
use crate::node::{Node, NodePorts, Role};
use crate::ports::{Ports, turn_to_start};
use crate::properties;
use crate::security::{self, EXTERNAL, Security};
use crate::tokens;
use crate::version::Mode;
use crate::view::{self, ConfigChange, Partition, Reassignment, wait_for};

/// The node id of the isolated controller.
pub const CONTROLLER: i32 = 100;
/// The id by which the ZooKeeper server is named in calls of the lab.
pub const ZOOKEEPER: i32 = -1;

/// How long an orderly stop may take. A broker that cannot reach its controller would try for minutes.
const STOP: Duration = Duration::from_secs(10);

/// Within which all live brokers have heard of a new topic.
const KNOWN_WITHIN: Duration = Duration::from_secs(30);

/// The configs that throttle replication, of brokers and of topics.
const THROTTLES: [&str; 4] = [
    "leader.replication.throttled.rate",
    "follower.replication.throttled.rate",
    "leader.replication.throttled.replicas",
    "follower.replication.throttled.replicas",
];

/// How long a start waits for the starts of other clusters: a few of them on a slow machine.
const TURN: Duration = Duration::from_secs(120);

/// Of how many failed clusters the logs are kept.
const KEPT_LOGS: usize = 20;

/// A running Kafka cluster; dropped, it leaves no process and no file.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) config: Builder,
    pub(crate) kit: Kit,
    pub(crate) guard: Guard,
    pub(crate) cluster_id: String,
    nodes: RwLock<BTreeMap<i32, Arc<Node>>>,
    ports: Mutex<Ports>,
}

impl Cluster {
    /// Describes a cluster to start.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn start_new(config: Builder) -> Result<Self> {
        let kit = Kit::get(config.version)?;
        let guard = Guard::new()?;
        properties::write_log_config(guard.dir())?;
        let tools = guard.dir().join("tools");
        fs::create_dir_all(&tools).context("creating the directory of the tools")?;
        properties::write_tool_log_config(&tools)?;
        if config.secured.iter().any(|(_, security)| security.has_tls()) {
            security::make_certificates(&guard.dir().join("tls"), config.listen)?;
        }
        if config.secured.iter().any(|(_, security)| *security == Security::SaslSsl) {
            tokens::make_key(&guard.dir().join("tls"))?;
        }
        let ports = Mutex::new(Ports::new(config.bind()));
        let cluster_id = match &config.cluster_id {
            Some(id) => id.clone(),
            None => random_id()?,
        };
        let cluster = Self { config, kit, guard, cluster_id, nodes: RwLock::default(), ports };
        match cluster.config.mode {
            Mode::KraftIsolated => cluster.add_node(CONTROLLER, Role::Controller, None)?,
            Mode::ZooKeeper => cluster.add_node(ZOOKEEPER, Role::ZooKeeper, None)?,
            Mode::KraftCombined => {}
        }
        let controllers = if cluster.config.brokers >= 3 { 3 } else { 1 };
        for id in 1..=cluster.config.brokers as i32 {
            let combined = cluster.config.mode == Mode::KraftCombined && id <= controllers;
            let role = if combined { Role::Combined } else { Role::Broker };
            cluster.add_node(id, role, cluster.rack_of(id))?;
        }
        let turn = turn_to_start(TURN)?;
        for node in cluster.nodes() {
            cluster.spawn(&node)?;
        }
        cluster.wait_ready()?;
        drop(turn);
        cluster.create_scram_users()?;
        Ok(cluster)
    }

    /// The addresses of all brokers, dead or alive, as a client is configured with: `host:port,…`.
    pub fn bootstrap(&self) -> String {
        self.addresses(|node| node.role.is_broker()).join(",")
    }

    /// As [`Cluster::bootstrap`], but for a listener that was opened with [`Builder::listener`].
    pub fn bootstrap_of(&self, listener: &str) -> Result<String> {
        let place = self.config.listeners.iter().position(|(name, _)| name == listener);
        let place = place.with_context(|| format!("the cluster has no listener {listener}"))?;
        let nodes = self.nodes();
        let ports = nodes.iter().filter_map(|node| node.ports.further.get(place));
        Ok(ports
            .map(|port| SocketAddr::new(self.config.listen, *port).to_string())
            .collect::<Vec<_>>()
            .join(","))
    }

    /// The ids of all brokers that the cluster was given, in order.
    pub fn broker_ids(&self) -> Vec<i32> {
        self.nodes().iter().filter(|node| node.role.is_broker()).map(|node| node.id).collect()
    }

    /// The cluster id of a KRaft cluster. A ZooKeeper cluster makes its own: ask it.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The `host:port` that a broker advertises.
    pub fn address(&self, id: i32) -> Result<String> {
        Ok(self.plain_address(&*self.node(id)?))
    }

    /// The port of a broker's plain listener.
    pub fn port(&self, id: i32) -> Result<u16> {
        Ok(self.node(id)?.ports.plain)
    }

    /// The JMX port of a broker; an error when it was started without.
    pub fn jmx_port(&self, id: i32) -> Result<u16> {
        let node = self.node(id)?;
        let port = node.ports.monitors.get(&Monitor::JmxPort).copied();
        port.with_context(|| format!("{} was started without a JMX port", node.name()))
    }

    /// The addresses of the secured listeners of all brokers; an error without [`Builder::security`].
    pub fn external_bootstrap(&self) -> Result<String> {
        self.bootstrap_of(EXTERNAL)
    }

    /// The process id of a node; `None` while it is down.
    pub fn pid(&self, id: i32) -> Result<Option<u32>> {
        Ok(self.node(id)?.pid())
    }

    /// The rack of a broker.
    pub fn rack(&self, id: i32) -> Result<Option<String>> {
        Ok(self.node(id)?.rack.clone())
    }

    /// The log directories of a broker.
    pub fn log_dirs(&self, id: i32) -> Result<Vec<PathBuf>> {
        Ok(self.node(id)?.log_dirs.clone())
    }

    /// The file that holds a node's log.
    pub fn log_file(&self, id: i32) -> Result<PathBuf> {
        Ok(self.node(id)?.log())
    }

    /// The last 60 lines of a node's log.
    pub fn log_tail(&self, id: i32) -> Result<String> {
        Ok(tail(&self.node(id)?.log(), 60))
    }

    /// The cluster's directory; it goes with the cluster. Tests may put files of their own into it.
    pub fn dir(&self) -> &Path {
        self.guard.dir()
    }

    /// `kill -9` of a node (a broker, [`CONTROLLER`] or [`ZOOKEEPER`]); returns when it is dead.
    pub fn kill(&self, id: i32) -> Result<()> {
        self.node(id)?.kill(&self.guard)
    }

    /// `SIGSTOP`: the node keeps its connections and answers nothing.
    pub fn pause(&self, id: i32) -> Result<()> {
        self.node(id)?.pause(true)
    }

    /// `SIGCONT` after [`Cluster::pause`].
    pub fn resume(&self, id: i32) -> Result<()> {
        self.node(id)?.pause(false)
    }

    /// An orderly stop (`SIGTERM`, which hands leaderships over first); after 10 s `SIGKILL`. Says whether
    /// the node went by itself.
    pub fn stop(&self, id: i32) -> Result<bool> {
        self.node(id)?.stop(&self.guard, STOP)
    }

    /// Starts a node that is down; does not wait until it serves: see [`Cluster::wait_ready`].
    ///
    /// With ZooKeeper this first waits until the session of a killed broker has ended, because a broker
    /// that finds its own old registration gives up.
    pub fn start(&self, id: i32) -> Result<()> {
        let node = self.node(id)?;
        if self.config.mode == Mode::ZooKeeper && node.role.is_broker() && node.since_killed().is_some() {
            self.wait_session_end(&node)?;
        }
        self.spawn(&node)
    }

    /// An orderly stop and a start; does not wait until the node serves: see [`Cluster::wait_ready`].
    pub fn restart(&self, id: i32) -> Result<()> {
        self.stop(id)?;
        self.start(id)
    }

    /// Deletes all data of a node that is down. A KRaft node gets freshly formatted storage.
    pub fn wipe(&self, id: i32) -> Result<()> {
        let node = self.node(id)?;
        node.clear_log_dirs()?;
        self.format(&node)
    }

    /// Fills the disk on which the last log directory of a broker lies to the last byte: see [`Builder::small_disk`], without which this
    /// is refused. [`Cluster::wipe`] empties it.
    pub fn fill_disk(&self, id: i32) -> Result<()> {
        if self.config.small_disk.is_none_or(|(broker, _)| broker != id) {
            bail!("broker {id} has no small disk");
        }
        disk::fill(self.last_log_dir(&*self.node(id)?)?)
    }

    fn last_log_dir<'a>(&self, node: &'a Node) -> Result<&'a Path> {
        node.log_dirs.last().map(PathBuf::as_path).context("a node without a log directory")
    }

    /// Adds a broker with the next free id and starts it; does not wait until it serves. Returns the id.
    pub fn add_broker(&self, rack: Option<&str>) -> Result<i32> {
        let id = self.broker_ids().last().copied().unwrap_or(0) + 1;
        if id >= CONTROLLER {
            bail!("broker ids end below {CONTROLLER}");
        }
        self.add_node(id, Role::Broker, rack.map(str::to_owned))?;
        self.spawn(&*self.node(id)?)?;
        Ok(id)
    }

    /// Waits until every node that runs (and is not paused) serves, and every such broker sees all the
    /// others. Fails at once when a process has ended by itself, and tells which broker is not ready,
    /// with the end of its log, when time is up.
    pub fn wait_ready(&self) -> Result<()> {
        let start = Instant::now();
        let serving: Vec<_> = self.nodes().into_iter().filter(|node| node.is_serving()).collect();
        let brokers: Vec<_> = serving.iter().filter(|node| node.role.is_broker()).collect();
        let expected: BTreeSet<i32> = brokers.iter().map(|node| node.id).collect();
        for node in &serving {
            let left = self.config.ready_within.saturating_sub(start.elapsed());
            let mut ended = None;
            let ready = wait_for("the node says that it has started", left, || {
                ended = serving.iter().find_map(|other| other.check_alive(&self.guard).err());
                Ok(ended.is_some() || node.log_contains(&started_line(node, self.config.mode)))
            });
            if let Some(error) = ended {
                return Err(error);
            }
            self.explain(node, ready)?;
        }
        for node in &brokers {
            let left = self.config.ready_within.saturating_sub(start.elapsed());
            let address = self.plain_address(node);
            let ready = wait_for("the broker sees all the others", left, || {
                node.check_alive(&self.guard)?;
                Ok(view::brokers_seen_at(&address)?.is_superset(&expected))
            });
            self.explain(node, ready)?;
        }
        Ok(())
    }

    /// Copies the logs to where they outlive the cluster, for whoever looks into a failed test.
    fn keep_logs(&self) {
        let all = home().join("failed");
        forget_oldest(&all);
        let kept = all.join(self.guard.dir().file_name().unwrap_or_default());
        let _ = fs::create_dir_all(&kept);
        for node in self.nodes() {
            let _ = fs::copy(node.log(), kept.join(format!("{}.log", node.name().replace(' ', "-"))));
        }
        eprintln!("the logs of the cluster are kept in {}", kept.display());
    }

    fn explain(&self, node: &Node, outcome: Result<Duration>) -> Result<()> {
        outcome.map(|_| ()).with_context(|| {
            format!("{} is not ready; the end of its log:\n{}", node.name(), tail(&node.log(), 40))
        })
    }

    /// The ids of the brokers that broker `id` counts as alive.
    pub fn brokers_seen_by(&self, id: i32) -> Result<BTreeSet<i32>> {
        view::brokers_seen_at(&self.address(id)?)
    }

    /// All partitions of all topics, as the live brokers describe them.
    pub fn partitions(&self) -> Result<Vec<Partition>> {
        view::partitions(&self.live_bootstrap()?)
    }

    /// The partitions of one topic.
    pub fn partitions_of(&self, topic: &str) -> Result<Vec<Partition>> {
        Ok(self.partitions()?.into_iter().filter(|p| p.topic == topic).collect())
    }

    /// All reassignments under way.
    pub fn ongoing(&self) -> Result<Vec<Reassignment>> {
        view::ongoing(&self.live_bootstrap()?)
    }

    /// Asks for new replicas of partitions over the protocol, without the checks of Kafka's tool (which
    /// refuses brokers that are down); `None` cancels. Gives the refusal of each, `None` where accepted.
    pub fn alter_reassignments(&self, moves: &[(&str, i32, Option<&[i32]>)]) -> Result<Vec<Option<String>>> {
        view::alter(&self.live_bootstrap()?, moves)
    }

    /// Creates a topic with the given replicas, one list for each partition, its preferred leader first, and the
    /// given configs; over the protocol, which takes a tenth of the time of [`Cluster::create_topic_on`].
    pub fn create_topic_with(&self, name: &str, replicas: &[&[i32]], configs: &[(&str, &str)]) -> Result<()> {
        self.create(view::placed(name, replicas, configs)?)
    }

    /// Creates a topic, and waits until all live brokers know it.
    pub(crate) fn create(&self, topic: NewTopic) -> Result<()> {
        let name = topic.name.clone();
        view::create(&self.live_bootstrap()?, topic)?;
        let alive = self.addresses(|node| node.role.is_broker() && node.is_serving());
        wait_for("the new topic is known to all brokers", KNOWN_WITHIN, || {
            for address in &alive {
                if !view::partitions(address)?.iter().any(|partition| partition.topic == name) {
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        Ok(())
    }

    /// Changes dynamic configs of topics and brokers over the protocol.
    pub fn alter_configs(&self, changes: Vec<ConfigChange<'_>>) -> Result<()> {
        view::alter_configs(&self.live_bootstrap()?, changes)
    }

    /// The replication throttles that are set on live brokers and on topics, each as `resource key=value`.
    pub fn throttles(&self) -> Result<Vec<String>> {
        let bootstrap = self.live_bootstrap()?;
        let serving = self.broker_ids().into_iter().filter(|id| self.pid(*id).is_ok_and(|pid| pid.is_some()));
        let mut all: Vec<ConfigResource> = serving.map(ConfigResource::broker).collect();
        let topics: BTreeSet<String> = self.partitions()?.into_iter().map(|p| p.topic).collect();
        all.extend(topics.into_iter().map(ConfigResource::topic));
        view::dynamic_configs(&bootstrap, all, &THROTTLES)
    }

    /// Waits until no partition is under-replicated; returns how long that took.
    pub fn wait_in_sync(&self, within: Duration) -> Result<Duration> {
        wait_for("all replicas are in sync", within, || {
            Ok(!self.partitions()?.iter().any(Partition::is_under_replicated))
        })
    }

    /// Waits until broker `gone` has left the metadata of all live brokers; returns how long that took.
    pub fn wait_dropped(&self, gone: i32, within: Duration) -> Result<Duration> {
        let alive = self.addresses(|node| node.role.is_broker() && node.is_serving());
        wait_for("the broker is dropped from the metadata", within, || {
            for address in &alive {
                if view::brokers_seen_at(address)?.contains(&gone) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// The addresses of the brokers that run and are not paused.
    pub(crate) fn live_bootstrap(&self) -> Result<String> {
        let live = self.addresses(|node| node.role.is_broker() && node.is_serving());
        if live.is_empty() {
            bail!("no broker runs");
        }
        Ok(live.join(","))
    }

    pub(crate) fn addresses(&self, wanted: impl Fn(&Node) -> bool) -> Vec<String> {
        self.nodes().iter().filter(|node| wanted(node)).map(|node| self.plain_address(node)).collect()
    }

    pub(crate) fn plain_address(&self, node: &Node) -> String {
        SocketAddr::new(self.config.listen, node.ports.plain).to_string()
    }

    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn node(&self, id: i32) -> Result<Arc<Node>> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        nodes.get(&id).cloned().with_context(|| format!("the cluster has no node {id}"))
    }

    fn rack_of(&self, id: i32) -> Option<String> {
        let racks = self.config.racks as i32;
        (racks > 0).then(|| format!("{}-{}", self.config.rack_prefix, (id - 1) % racks + 1))
    }

    fn add_node(&self, id: i32, role: Role, rack: Option<String>) -> Result<()> {
        let mut take = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ports = NodePorts { plain: take.take()?, ..NodePorts::default() };
        match role {
            Role::Controller => ports.controller = ports.plain,
            Role::Combined => ports.controller = take.take()?,
            Role::Broker | Role::ZooKeeper => {}
        }
        if role.is_broker() {
            for by in self.config.monitors_with_port(id) {
                ports.monitors.insert(by, take.take()?);
            }
            ports.further = self.config.listeners.iter().map(|_| take.take()).collect::<Result<_>>()?;
        }
        drop(take);
        let dir = self.guard.dir().join(if role == Role::ZooKeeper { "zk".into() } else { format!("n{id}") });
        let mut node = Node::new(id, role, rack, ports, dir);
        let log_dirs = if role.is_broker() { self.config.log_dirs } else { 1 };
        node.log_dirs = (1..=log_dirs).map(|n| node.dir.join(format!("d{n}"))).collect();
        node.clear_log_dirs()?;
        if let Some((_, bytes)) = self.config.small_disk.filter(|(broker, _)| *broker == id) {
            disk::mount(self.last_log_dir(&node)?, bytes)?;
        }
        self.format(&node)?;
        self.nodes.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::new(node));
        Ok(())
    }

    fn wait_session_end(&self, node: &Node) -> Result<()> {
        // ZooKeeper ends sessions at ticks (0.5 s here); twice the session time-out is ample.
        let session = self.config.millis("zookeeper.session.timeout.ms", 6_000);
        let limit = session * 2 + Duration::from_secs(2);
        if self.live_bootstrap().is_ok() {
            self.wait_dropped(node.id, limit)?;
            return Ok(());
        }
        wait_for("the session of the killed broker has ended", limit, || {
            Ok(node.since_killed().is_none_or(|since| since > session + Duration::from_secs(2)))
        })?;
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Reaping here keeps the owner free of zombies; the guard, dropped next, deletes the directory.
        for node in self.nodes() {
            let _ = node.kill(&self.guard);
        }
        if std::thread::panicking() {
            self.keep_logs();
        }
    }
}

/// What a node's log says when it serves. A KRaft broker says so once the controller has unfenced it.
fn started_line(node: &Node, mode: Mode) -> String {
    match (node.role, mode) {
        (Role::ZooKeeper, _) => "binding to port".to_owned(),
        (_, Mode::ZooKeeper) => format!("[KafkaServer id={}] started", node.id),
        _ => "Kafka Server started".to_owned(),
    }
}

/// Makes room among the kept logs of failed tests.
fn forget_oldest(all: &Path) {
    let Ok(entries) = fs::read_dir(all) else { return };
    let mut kept: Vec<_> = entries
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    kept.sort();
    for (_, path) in kept.iter().rev().skip(KEPT_LOGS) {
        let _ = fs::remove_dir_all(path);
    }
}
