//! What a cluster shall look like.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::cluster::Cluster;
use crate::monitors::Monitor;
use crate::security::{EXTERNAL, Security};
use crate::version::{Mode, Version};

/// Most brokers that a cluster may have; node ids above are the lab's own.
const MAX_BROKERS: usize = 50;

/// Describes a cluster; made by [`Cluster::builder`], started by [`Builder::start`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    pub(crate) version: Version,
    pub(crate) mode: Mode,
    pub(crate) brokers: usize,
    pub(crate) racks: usize,
    pub(crate) rack_prefix: String,
    pub(crate) log_dirs: usize,
    pub(crate) small_disk: Option<(i32, u64)>,
    pub(crate) monitors: BTreeSet<(i32, Monitor)>,
    pub(crate) jmx: bool,
    pub(crate) jmx_login: Option<(String, String)>,
    pub(crate) jvm_options: Vec<(i32, String)>,
    pub(crate) perf_data: bool,
    pub(crate) listen: IpAddr,
    pub(crate) listeners: Vec<(String, String)>,
    pub(crate) properties: Vec<(String, String)>,
    pub(crate) cluster_id: Option<String>,
    pub(crate) secured: Vec<(String, Security)>,
    pub(crate) users: Vec<(String, String)>,
    pub(crate) authorizer: bool,
    pub(crate) groups: bool,
    pub(crate) ready_within: Duration,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            version: Version::V4_3,
            mode: Mode::KraftIsolated,
            brokers: 1,
            racks: 0,
            rack_prefix: "rack".to_owned(),
            log_dirs: 1,
            small_disk: None,
            monitors: BTreeSet::new(),
            jmx: false,
            jmx_login: None,
            jvm_options: Vec::new(),
            perf_data: false,
            listen: Ipv4Addr::LOCALHOST.into(),
            listeners: Vec::new(),
            properties: Vec::new(),
            cluster_id: None,
            secured: Vec::new(),
            users: Vec::new(),
            authorizer: false,
            groups: false,
            ready_within: Duration::from_secs(90),
        }
    }
}

impl Builder {
    /// Which Kafka; 4.3.1 unless said otherwise.
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// How metadata is kept; an isolated KRaft controller unless said otherwise.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// How many brokers; their ids are `1..=brokers`.
    pub fn brokers(mut self, brokers: usize) -> Self {
        self.brokers = brokers;
        self
    }

    /// Spreads the brokers over `rack-1`, `rack-2`, … in turn; 0 means that brokers have no rack.
    pub fn racks(mut self, racks: usize) -> Self {
        self.racks = racks;
        self
    }

    /// What the names of racks begin with, before `-1`, `-2`, …: any text that a line of Java properties takes as it is. `rack`
    /// unless said otherwise.
    pub fn rack_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.rack_prefix = prefix.into();
        self
    }

    /// How many log directories each broker has.
    pub fn log_dirs(mut self, log_dirs: usize) -> Self {
        self.log_dirs = log_dirs;
        self
    }

    /// Puts the last log directory of one broker on a disk of its own, in memory, which has room for so many bytes. Needs root.
    pub fn small_disk(mut self, broker: i32, bytes: u64) -> Self {
        self.small_disk = Some((broker, bytes));
        self
    }

    /// Whether each broker opens a JMX port (no TLS; see [`Builder::jmx_login`]).
    pub fn jmx(mut self, jmx: bool) -> Self {
        self.jmx = jmx;
        self
    }

    /// The user of all JMX ports, who may read and no more, and that user's password. Without, JMX ports ask for none.
    pub fn jmx_login(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.jmx_login = Some((user.into(), password.into()));
        self
    }

    /// Gives one broker a way to its MBeans; a broker may have several. The Java agents come through Maven, once.
    pub fn monitor(mut self, broker: i32, by: Monitor) -> Self {
        self.monitors.insert((broker, by));
        self
    }

    /// An option of one broker's JVM, behind those of the lab.
    pub fn jvm_option(mut self, broker: i32, option: impl Into<String>) -> Self {
        self.jvm_options.push((broker, option.into()));
        self
    }

    /// Whether JVMs keep their file of performance counters (`hsperfdata`), by which others on the host find them.
    /// They do unless told otherwise; those of the lab do not unless this says so.
    pub fn perf_data(mut self, perf_data: bool) -> Self {
        self.perf_data = perf_data;
        self
    }

    /// The address at which brokers advertise themselves. Anything but a loopback address makes them bind
    /// 0.0.0.0, so that they are reached from another network namespace.
    pub fn listen(mut self, address: IpAddr) -> Self {
        self.listen = address;
        self
    }

    /// Opens one more listener on every broker, `name` with security `protocol` (such as `SASL_PLAINTEXT`). What
    /// the protocol needs is set with [`Builder::property`]; clients start at [`Cluster::bootstrap_of`].
    pub fn listener(mut self, name: impl Into<String>, protocol: impl Into<String>) -> Self {
        self.listeners.push((name.into(), protocol.into()));
        self
    }

    /// Sets a Kafka property on every broker and controller; the last setting of a key counts.
    pub fn property(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((key.into(), value.into()));
        self
    }

    /// The cluster id (KRaft only: 16 bytes in unpadded URL-safe base64); random unless said otherwise.
    pub fn cluster_id(mut self, id: impl Into<String>) -> Self {
        self.cluster_id = Some(id.into());
        self
    }

    /// Gives every broker a second listener with this security; the plain one stays for the brokers
    /// themselves and for the lab.
    pub fn security(self, security: Security) -> Self {
        self.secured(EXTERNAL, security)
    }

    /// As [`Builder::security`], but the listener has the name `name`, so that there may be several.
    pub fn secured(mut self, name: impl Into<String>, security: Security) -> Self {
        let name = name.into();
        self.listeners.retain(|(known, _)| *known != name);
        self.secured.retain(|(known, _)| *known != name);
        self.secured.push((name.clone(), security));
        self.listener(name, security.protocol())
    }

    /// A user of the secured listeners (for the SASL kinds); may log in with PLAIN and with SCRAM-SHA-512. Tokens
    /// need no user: see [`Security::Sasl`].
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.users.push((name.into(), password.into()));
        self
    }

    /// Checks rights by ACLs. The plain listener (anonymous) and the user `admin` may do everything; all
    /// others only what an ACL grants: give rights with `cluster.tool("acls", …)`.
    pub fn authorizer(mut self, authorizer: bool) -> Self {
        self.authorizer = authorizer;
        self
    }

    /// Whether each broker runs in a user group of its own, by which a firewall tells its packets from those of others: then it
    /// can be [cut off](Cluster::cut_off). Needs root.
    pub fn groups(mut self, groups: bool) -> Self {
        self.groups = groups;
        self
    }

    /// How long [`Builder::start`] and [`Cluster::wait_ready`] wait for all brokers; 90 s unless said
    /// otherwise: a build machine may be ten times slower than the usual seven seconds.
    pub fn ready_within(mut self, limit: Duration) -> Self {
        self.ready_within = limit;
        self
    }

    /// Starts the cluster and waits until all brokers serve.
    pub fn start(self) -> Result<Cluster> {
        if self.brokers == 0 || self.brokers > MAX_BROKERS {
            bail!("a cluster of the lab has 1 to {MAX_BROKERS} brokers, not {}", self.brokers);
        }
        if self.log_dirs == 0 {
            bail!("a broker needs at least one log directory");
        }
        if self.mode == Mode::ZooKeeper && self.version != Version::V3_9 {
            bail!("Kafka {} has no ZooKeeper mode; 3.9 has", self.version);
        }
        // Fetched before anything runs.
        for agent in self.monitors.iter().filter_map(|(_, by)| by.java_agent()) {
            agent.get()?;
        }
        Cluster::start_new(self)
    }

    pub(crate) fn bind(&self) -> IpAddr {
        if self.listen.is_loopback() { self.listen } else { Ipv4Addr::UNSPECIFIED.into() }
    }

    /// The ways to the MBeans of a broker that want a port.
    pub(crate) fn monitors_with_port(&self, broker: i32) -> impl Iterator<Item = Monitor> {
        let all = self.jmx.then_some(Monitor::JmxPort);
        let own = self.monitors.iter().filter(move |(id, by)| *id == broker && by.has_port());
        all.into_iter().chain(own.map(|(_, by)| *by))
    }

    /// The last value that was set for `key`, else `default`.
    pub(crate) fn millis(&self, key: &str, default: u64) -> Duration {
        let set = self.properties.iter().rev().find(|(name, _)| name == key);
        Duration::from_millis(set.and_then(|(_, value)| value.parse().ok()).unwrap_or(default))
    }
}
