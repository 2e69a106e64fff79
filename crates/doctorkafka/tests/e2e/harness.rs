//! Runs the service as its users do: the binary, its output, its commands.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::{Cluster, ConfigChange, ConfigResource, Mode, Version};
use serde_json::Value;

/// The binary under test.
pub(crate) const DOCTOR: &str = env!("CARGO_BIN_EXE_doctorkafka");

/// A grace that is short enough for a test and long enough to be seen.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// How often a predicate is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Waits until `look` gives something, and says how long it took.
pub(crate) fn wait<T>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look().with_context(|| format!("waiting for {what}"))? {
            return Ok(found);
        }
        ensure!(start.elapsed() < within, "no {what} within {within:?}");
        std::thread::sleep(LOOK);
    }
}

/// Four brokers on two racks with one topic of 60 partitions in three replicas each.
pub(crate) fn four_brokers(version: Version, mode: Mode, racks: usize) -> Result<Cluster> {
    let cluster = Cluster::builder().version(version).mode(mode).brokers(4).racks(racks).start()?;
    cluster.create_topic("orders", 60, 3)?;
    Ok(cluster)
}

/// A binary of the workspace: they lie side by side, and `cargo build --workspace` makes them all.
pub(crate) fn sibling(name: &str) -> Result<PathBuf> {
    let path = Path::new(DOCTOR).with_file_name(name);
    ensure!(path.exists(), "{} is missing: cargo build --workspace --bins", path.display());
    Ok(path)
}

/// A running service.
pub(crate) struct Doctor {
    child: Child,
    lines: Arc<Mutex<Lines>>,
    state_dir: PathBuf,
    bootstrap: String,
}

impl Doctor {
    /// `doctorkafka run --bootstrap-servers …` on the cluster, with a grace of [`GRACE`].
    pub(crate) fn heal(cluster: &Cluster, state_dir: &Path) -> Result<Doctor> {
        Self::run(&cluster.bootstrap(), state_dir, &["--execute", "--grace", "5s"])
    }

    /// The same with other options.
    pub(crate) fn run(bootstrap: &str, state_dir: &Path, options: &[&str]) -> Result<Doctor> {
        let mut arguments = vec!["run", "--bootstrap-servers", bootstrap];
        arguments.extend_from_slice(options);
        Self::spawn(Command::new(DOCTOR), bootstrap, state_dir, &arguments)
    }

    /// `doctorkafka run --config …` with this text as the file.
    pub(crate) fn configured(bootstrap: &str, state_dir: &Path, config: &str) -> Result<Doctor> {
        Self::configured_in(Command::new(DOCTOR), bootstrap, state_dir, config)
    }

    /// The same with another binary.
    pub(crate) fn configured_in(
        command: Command,
        bootstrap: &str,
        state_dir: &Path,
        config: &str,
    ) -> Result<Doctor> {
        std::fs::create_dir_all(state_dir)?;
        let file = state_dir.with_extension("yaml");
        std::fs::write(&file, config)?;
        let file = file.to_str().context("path")?.to_owned();
        Self::spawn(command, bootstrap, state_dir, &["run", "--config", &file])
    }

    /// The service through `command` (the binary itself, or something that enters a namespace first).
    pub(crate) fn spawn(
        mut command: Command,
        bootstrap: &str,
        state_dir: &Path,
        arguments: &[&str],
    ) -> Result<Doctor> {
        let mut child = command
            .args(arguments)
            .arg("--state-dir")
            .arg(state_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting doctorkafka")?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        for pipe in [child.stdout.take().map(boxed), child.stderr.take().map(boxed)].into_iter().flatten() {
            let lines = Arc::clone(&lines);
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    lock(&lines).push((Instant::now(), line));
                }
            });
        }
        let bootstrap = bootstrap.to_owned();
        Ok(Doctor { child, lines, state_dir: state_dir.to_owned(), bootstrap })
    }

    /// All that it has printed.
    pub(crate) fn output(&self) -> String {
        let lines = lock(&self.lines);
        lines.iter().map(|(_, line)| format!("{line}\n")).collect()
    }

    /// Waits for a line that contains `text`, and says when it came.
    pub(crate) fn line(&self, text: &str, within: Duration) -> Result<Instant> {
        let found = wait(&format!("line with \"{text}\""), within, || {
            let lines = lock(&self.lines);
            Ok(lines.iter().find(|(_, line)| line.contains(text)).map(|(at, _)| *at))
        });
        found.with_context(|| format!("it printed:\n{}", self.output()))
    }

    /// How many lines contain `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        lock(&self.lines).iter().filter(|(_, line)| line.contains(text)).count()
    }

    /// Runs one of its commands against this service.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<Output> {
        let output = Command::new(DOCTOR)
            .args(arguments)
            .arg("--state-dir")
            .arg(&self.state_dir)
            .output()
            .context("running a command")?;
        Ok(output)
    }

    /// Runs a command that must succeed, and gives what it printed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{arguments:?}: {}\n{text}\n{error}", output.status);
        Ok(text)
    }

    /// `status --json` of the one cluster.
    pub(crate) fn status(&self) -> Result<Value> {
        let text = self.ok(&["status", "--json"])?;
        let status: Value = serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))?;
        let cluster = status["clusters"].get(0).cloned();
        cluster.with_context(|| format!("no cluster in {status}"))
    }

    /// The open incidents as `kind` and what they are about, from the status.
    pub(crate) fn incidents(&self) -> Result<Vec<String>> {
        let status = self.status()?;
        let incidents =
            status["incidents"].as_array().with_context(|| format!("no incidents in {status}"))?;
        Ok(incidents.iter().filter_map(|i| i["kind"].as_str()).map(str::to_owned).collect())
    }

    /// Waits until an incident of this kind is open.
    pub(crate) fn incident(&self, kind: &str, within: Duration) -> Result<()> {
        wait(&format!("incident {kind}"), within, || {
            // Right after the start nobody answers yet.
            Ok(self.incidents().is_ok_and(|all| all.iter().any(|found| found == kind)).then_some(()))
        })
        .with_context(|| format!("it printed:\n{}", self.output()))
    }

    /// Waits until it has looked: it answers and knows the cluster.
    pub(crate) fn ready(&self) -> Result<()> {
        wait("first look", Duration::from_secs(20), || {
            // Before the control socket is there the command fails; that is no error yet.
            let output = self.command(&["status", "--json"])?;
            let status: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
            let live = status["clusters"][0]["brokers"]["live"].as_array().map_or(0, Vec::len);
            Ok((live > 0).then_some(()))
        })
        .with_context(|| format!("it printed:\n{}", self.output()))
    }

    /// The records on the actions topic.
    pub(crate) fn actions(&self) -> Result<Vec<Value>> {
        actions(&self.bootstrap)
    }

    /// How many reassignments of partitions it has submitted, from the actions topic: acts, not dry ones.
    pub(crate) fn submissions(&self) -> Result<usize> {
        Ok(self.actions()?.iter().filter(|a| is_submission(a)).count())
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes and CPU time used, from `/proc`.
    pub(crate) fn usage(&self) -> Result<(u64, Duration)> {
        let id = self.child.id();
        let statm = std::fs::read_to_string(format!("/proc/{id}/statm"))?;
        let pages: u64 = statm.split_whitespace().nth(1).context("statm")?.parse()?;
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
        let fields: Vec<&str> = stat.rsplit(')').next().context("stat")?.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        // Linux reports in 100ths of a second and, on the machines that run these tests, pages of 4 KiB.
        Ok((pages * 4_096, Duration::from_millis(ticks * 10)))
    }

    /// The records that it writes to the actions topic, as `doctorkafka actions --follow` shows them from the start on.
    pub(crate) fn follow(&self) -> Result<Follower> {
        let mut child = Command::new(DOCTOR)
            .args(["actions", "--follow", "--json", "--bootstrap-servers", &self.bootstrap])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting doctorkafka actions")?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let pipe = child.stdout.take().context("no output")?;
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                lock(&kept).push((Instant::now(), line));
            }
        });
        Ok(Follower { child, lines })
    }

    /// SIGTERM: it must end within 5 s with code 0, and must not have logged an error.
    pub(crate) fn stop(mut self) -> Result<()> {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status()?;
        let end = wait("end after SIGTERM", Duration::from_secs(5), || Ok(self.child.try_wait()?));
        let end = end.with_context(|| format!("it printed:\n{}", self.output()))?;
        ensure!(end.success(), "it ended with {end}:\n{}", self.output());
        let output = self.output();
        if let Some(line) = output.lines().find(|line| line.contains("ERROR") || line.contains("panicked")) {
            bail!("it logged an error: {line}\n{output}");
        }
        Ok(())
    }
}

impl Drop for Doctor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("doctorkafka printed:\n{}", self.output());
        }
    }
}

/// A running `doctorkafka actions --follow --json`.
pub(crate) struct Follower {
    child: Child,
    lines: Arc<Mutex<Lines>>,
}

impl Follower {
    /// Waits for a record that `wanted` accepts. Every line must be a record.
    pub(crate) fn record(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        wait(what, Duration::from_secs(20), || {
            let lines = lock(&self.lines);
            let parsed = lines.iter().map(|(_, line)| {
                serde_json::from_str::<Value>(line).with_context(|| format!("not JSON: {line}"))
            });
            Ok(parsed.collect::<Result<Vec<_>>>()?.into_iter().find(|record| wanted(record)))
        })
    }

    /// Ctrl-C ends it, with code 0, and not before.
    pub(crate) fn stop(mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "it did not go on following");
        Command::new("kill").args(["-INT", &self.child.id().to_string()]).status()?;
        let end = wait("end after Ctrl-C", Duration::from_secs(5), || Ok(self.child.try_wait()?))?;
        ensure!(end.success(), "it ended with {end}");
        Ok(())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

type Lines = Vec<(Instant, String)>;

fn lock(lines: &Mutex<Lines>) -> MutexGuard<'_, Lines> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

fn boxed(pipe: impl std::io::Read + Send + 'static) -> Box<dyn std::io::Read + Send> {
    Box::new(pipe)
}

/// The end of a configuration file: moves are made and told, on this cluster.
pub(crate) fn acting_on(cluster: &Cluster) -> String {
    format!(
        "\
actions:
  - type: reassign_partitions
    subscribed_events: [reassign_partitions]
    dry_run: false
  - type: report_operation
    subscribed_events: [report_operation]
kafkaclusters:
  - name: test
    bootstrap_servers: {}
",
        cluster.bootstrap()
    )
}

/// The records on a cluster's actions topic.
pub(crate) fn actions(bootstrap: &str) -> Result<Vec<Value>> {
    let output =
        Command::new(DOCTOR).args(["actions", "--json", "--bootstrap-servers", bootstrap]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "actions: {}", String::from_utf8_lossy(&output.stderr));
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

fn is_submission(action: &Value) -> bool {
    action["operation"] == "reassign_partitions" && action["kind"] == "act" && action["dryRun"] == false
}

/// The lines of `kafka-topics --describe --under-replicated-partitions`.
pub(crate) fn under_replicated(cluster: &Cluster) -> Result<Vec<String>> {
    Ok(cluster.under_replicated()?.lines().filter(|l| l.contains("Topic:")).map(str::to_owned).collect())
}

/// Waits until no partition is under-replicated, by what a live broker says.
pub(crate) fn healed(cluster: &Cluster, within: Duration) -> Result<Instant> {
    cluster.wait_in_sync(within)?;
    Ok(Instant::now())
}

/// The same, and then asks Kafka's own tool. Where the tool, which asks whichever broker it likes, still lists something,
/// that counts, and it goes on.
pub(crate) fn healed_by_kafkas_tool(cluster: &Cluster, within: Duration) -> Result<Instant> {
    let start = Instant::now();
    loop {
        let at = healed(cluster, within)?;
        let left = under_replicated(cluster)?;
        if left.is_empty() {
            return Ok(at);
        }
        ensure!(start.elapsed() < within, "kafka-topics still lists {left:?}");
    }
}

/// Starts brokers that were killed, and waits until every replica is in sync.
pub(crate) fn revive(cluster: &Cluster, brokers: &[i32]) -> Result<()> {
    for id in brokers {
        cluster.start(*id)?;
    }
    cluster.wait_ready()?;
    cluster.wait_in_sync(Duration::from_secs(60))?;
    Ok(())
}

/// Nothing is left behind: no reassignment, no throttle.
pub(crate) fn nothing_left(cluster: &Cluster) -> Result<()> {
    let ongoing = cluster.ongoing()?;
    ensure!(ongoing.is_empty(), "left behind: {ongoing:?}");
    let throttles = cluster.throttles()?;
    ensure!(throttles.is_empty(), "a throttle is left behind: {throttles:?}");
    Ok(())
}

/// Throttles the replication of a topic by brokers, as a person would, or takes that away.
pub(crate) fn throttle(cluster: &Cluster, topic: &str, brokers: &[i32], rate: Option<&str>) -> Result<()> {
    let replicas = rate.map(|_| "*");
    let both = |what: &str, value| {
        ["leader", "follower"].map(|side| (format!("{side}.replication.throttled.{what}"), value))
    };
    let (rates, replicas) = (both("rate", rate), both("replicas", replicas));
    let rates: Vec<(&str, Option<&str>)> = rates.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let replicas: Vec<(&str, Option<&str>)> =
        replicas.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let mut changes: Vec<ConfigChange<'_>> =
        brokers.iter().map(|id| (ConfigResource::broker(*id), rates.clone())).collect();
    changes.push((ConfigResource::topic(topic), replicas));
    cluster.alter_configs(changes)?;
    // A broker hears of it a moment after the controller has taken it.
    let shows = |listed: &[String]| match rate {
        Some(rate) => brokers
            .iter()
            .all(|id| listed.contains(&format!("{id} leader.replication.throttled.rate={rate}"))),
        None => listed.is_empty(),
    };
    wait("brokers to know the throttle", Duration::from_secs(20), || {
        Ok(shows(&cluster.throttles()?).then_some(()))
    })
}

/// Waits for a report of the broker's agent.
pub(crate) fn heard(cluster: &Cluster, broker: i32) -> Result<()> {
    let bootstrap = cluster.bootstrap();
    let broker = broker.to_string();
    wait("report of an agent", Duration::from_secs(40), || {
        let output = Command::new(DOCTOR)
            .args(["stats", "--bootstrap-servers", &bootstrap, "--broker", &broker])
            .output()?;
        Ok(output.status.success().then_some(()))
    })
}

/// A network namespace with one link to this host, in which a port of the host can be firewalled.
pub(crate) struct Namespace {
    name: String,
    /// Its network is 10.213.N.0/24: no two tests that run at a time share one.
    net: u8,
}

static NETS: AtomicU8 = AtomicU8::new(1);

impl Namespace {
    /// Makes the namespace. Needs root and `ip`, as every machine that runs these tests has.
    pub(crate) fn create(name: &str) -> Result<Namespace> {
        let net = NETS.fetch_add(1, Ordering::Relaxed);
        let namespace = Namespace { name: name.to_owned(), net };
        let [host, inside] = [1, 2].map(|at| format!("10.213.{net}.{at}/24"));
        namespace.remove();
        let link = format!("{name}0");
        ip(&["netns", "add", name])?;
        ip(&["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", name])?;
        ip(&["addr", "add", &host, "dev", &link])?;
        ip(&["link", "set", &link, "up"])?;
        ip(&["-n", name, "addr", "add", &inside, "dev", "eth0"])?;
        ip(&["-n", name, "link", "set", "eth0", "up"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// The host's address as seen from inside.
    pub(crate) fn host_address(&self) -> std::net::IpAddr {
        std::net::IpAddr::from([10, 213, self.net, 1])
    }

    /// A command that runs `program` inside.
    pub(crate) fn enter(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Drops every packet from inside to this port of the host.
    pub(crate) fn block(&self, port: u16) -> Result<()> {
        self.firewall("-A", port)
    }

    /// Lets them through again.
    pub(crate) fn unblock(&self, port: u16) -> Result<()> {
        self.firewall("-D", port)
    }

    fn firewall(&self, change: &str, port: u16) -> Result<()> {
        let port = port.to_string();
        let enter = ["netns", "exec", &self.name, "iptables", change];
        let rule = ["OUTPUT", "-p", "tcp", "--dport", &port, "-j", "DROP"];
        ip(&[&enter[..], &rule[..]].concat())
    }

    fn remove(&self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).stderr(Stdio::null()).status();
        let link = format!("{}0", self.name);
        let _ = Command::new("ip").args(["link", "del", &link]).stderr(Stdio::null()).status();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.remove();
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("running ip (package iproute2)")?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "ip {arguments:?}: {error}");
    Ok(())
}
