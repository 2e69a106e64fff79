//! Hosts that are not replaced, and why, as people are told; each time beside one that is, so that all of it could be replaced.
//!
//! Nothing is healed here: what is dead keeps its replicas, and stays up for replacement.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Cluster, Mode};

use crate::agents::Agent;
use crate::harness::{DOCTOR, Doctor, GRACE, Namespace, revive, wait};

/// Longer than a machine with much to do keeps an agent from reporting, which does so every 2 s.
const SILENT: Duration = Duration::from_secs(15);
/// Within which Kafka drops a broker that was killed, and the grace and the agent's silence are over.
const DECIDED: Duration = Duration::from_secs(60);

/// A cluster with an agent beside each broker.
struct Ward {
    cluster: Cluster,
    agents: BTreeMap<i32, Agent>,
    folder: tempfile::TempDir,
}

impl Ward {
    fn new(cluster: Cluster) -> Result<Self> {
        let mut ward = Self { cluster, agents: BTreeMap::new(), folder: tempfile::tempdir()? };
        for id in ward.cluster.broker_ids() {
            ward.start_agent(id)?;
        }
        Ok(ward)
    }

    fn start_agent(&mut self, id: i32) -> Result<()> {
        self.agents.insert(id, Agent::start(&self.cluster, &id.to_string())?);
        Ok(())
    }

    /// Starts one that is told of its own broker alone, and remembers the others in this folder.
    fn start_agent_alone(&mut self, id: i32, state_dir: &Path) -> Result<()> {
        let state_dir = state_dir.to_str().context("path")?;
        let options = ["--state-dir", state_dir];
        let agent = Agent::start_with(&self.cluster.address(id)?, &id.to_string(), &options)?;
        self.agents.insert(id, agent);
        Ok(())
    }

    /// The hosts are gone: their agents, too.
    fn lose_hosts(&mut self, ids: &[i32]) -> Result<()> {
        for id in ids {
            self.cluster.kill(*id)?;
            self.agents.remove(id);
        }
        Ok(())
    }

    /// They are back, and the service has nothing more to say of them.
    fn revive_hosts(&mut self, ids: &[i32], watcher: &Watcher) -> Result<()> {
        for id in ids {
            self.start_agent(*id)?;
        }
        revive(&self.cluster, ids)?;
        watcher.says_nothing_of(&["broker_absent", "broker_dead", "replacement", "stats"])
    }

    fn watcher(&self, name: &str) -> Result<Watcher> {
        self.watcher_by(Command::new(DOCTOR), name, "5s", "")
    }

    /// A service that may replace hosts, with a grace of its own and further settings of the monitor that reads reports.
    fn watcher_by(&self, command: Command, name: &str, grace: &str, stats: &str) -> Result<Watcher> {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder)?;
        let script = "echo $DOCTORKAFKA_BROKER_ID >> \"$(dirname \"$0\")/started\"\n";
        std::fs::write(folder.join("replace.sh"), script)?;
        std::fs::write(folder.join("alert.sh"), "cat >> \"$(dirname \"$0\")/alerts\"\n")?;
        let config = format!(
            "\
doctorkafka:
  guard: {{on_dead_broker: replace_first, replacement_cooldown: 1h}}
monitors:
  - type: kafka_metadata
  - type: broker_probe
  - type: broker_stats
{stats}  - type: maintenance
  - type: dead_brokers
    grace: {grace}
  - type: no_broker_stats
    no_stats_seconds: {silent}
operators:
  - type: broker_replacement
    agent_silent_after: {silent}s
    hosts_are_shared: true
actions:
  - type: script_instance_replacement
    command: [sh, {folder}/replace.sh]
    subscribed_events: [replace_instance]
    dry_run: false
  - type: script
    command: [sh, {folder}/alert.sh]
    subscribed_events: [alert_replacement_held]
    dry_run: false
kafkaclusters:
  - name: test
    bootstrap_servers: {bootstrap}
",
            silent = SILENT.as_secs(),
            folder = folder.display(),
            bootstrap = self.cluster.bootstrap(),
        );
        let doctor =
            Doctor::configured_in(command, &self.cluster.bootstrap(), &folder.join("state"), &config)?;
        doctor.ready()?;
        Ok(Watcher { doctor, folder })
    }
}

/// A service, and what came of it.
struct Watcher {
    doctor: Doctor,
    folder: PathBuf,
}

impl Watcher {
    /// The brokers whose hosts it has had replaced.
    fn replaced(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.join("started")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until it says so, in an open incident of this kind.
    fn says(&self, kind: &str, text: &str) -> Result<()> {
        wait(&format!("{kind} with \"{text}\""), DECIDED, || {
            let status = self.doctor.status()?;
            let all = status["incidents"].as_array().context("incidents")?.iter();
            let message =
                |it: &&serde_json::Value| it["message"].as_str().is_some_and(|it| it.contains(text));
            Ok(all.filter(|it| it["kind"] == kind).find(message).map(|_| ()))
        })
        .with_context(|| self.doctor.ok(&["status"]).unwrap_or_default())
        .with_context(|| self.doctor.output())
    }

    /// Waits until no incident is open whose kind has one of these in its name.
    fn says_nothing_of(&self, kinds: &[&str]) -> Result<()> {
        wait(&format!("end of {kinds:?}"), DECIDED, || {
            let open = self.doctor.incidents()?;
            Ok((!open.iter().any(|it| kinds.iter().any(|kind| it.contains(kind)))).then_some(()))
        })
        .with_context(|| self.doctor.ok(&["status"]).unwrap_or_default())
    }

    /// It refuses, and people are alerted.
    fn refuses(&self, why: &str) -> Result<()> {
        self.says("replacement_refused", why)?;
        wait(&format!("alert with \"{why}\""), Duration::from_secs(20), || {
            let alerts = std::fs::read_to_string(self.folder.join("alerts")).unwrap_or_default();
            Ok(alerts.contains(why).then_some(()))
        })
        .with_context(|| self.doctor.output())
    }

    fn has_it_replaced(&self, broker: &str) -> Result<()> {
        wait("start of the script", DECIDED, || Ok((self.replaced() == [broker]).then_some(())))
            .with_context(|| self.doctor.ok(&["status"]).unwrap_or_default())
            .with_context(|| self.doctor.output())
    }
}

/// Nothing is replaced for another grace.
fn nothing_is_replaced(watchers: &[&Watcher]) -> Result<()> {
    nothing_is_replaced_for(GRACE, watchers)
}

fn nothing_is_replaced_for(time: Duration, watchers: &[&Watcher]) -> Result<()> {
    let until = Instant::now() + time;
    wait("end of that time", time * 2, || {
        for watcher in watchers {
            let replaced = watcher.replaced();
            ensure!(replaced.is_empty(), "replaced {replaced:?}:\n{}", watcher.doctor.output());
        }
        Ok((Instant::now() >= until).then_some(()))
    })
}

#[test]
fn a_host_is_not_replaced_while_there_is_any_doubt() -> Result<()> {
    let net = Namespace::create("dknr")?;
    let cluster = Cluster::builder()
        .brokers(5)
        .listen(net.host_address())
        .property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
        .property("allow.everyone.if.no.acl.found", "true")
        .start()?;
    cluster.create_topic_with(
        "orders",
        &[&[1, 2, 3], &[2, 3, 4], &[3, 4, 5], &[4, 5, 1], &[5, 1, 2]],
        &[],
    )?;
    cluster.create_topic_with("single", &[&[3]], &[])?;
    // It can be read without broker 5, and not written.
    cluster.create_topic_with("brokerstats", &[&[5, 1]], &[("min.insync.replicas", "2")])?;
    let mut ward = Ward::new(cluster)?;
    let watcher = ward.watcher("watcher")?;
    watcher.says_nothing_of(&["stats"])?;
    its_agent_is_dead(&mut ward, &watcher)?;
    its_agent_lives(&ward, &watcher)?;
    three_at_once(&mut ward, &watcher)?;
    all_agents_are_silent(&mut ward, &watcher)?;
    the_last_copy(&mut ward, &watcher)?;
    what_may_not_be_seen(&mut ward, &watcher)?;
    of_several_services_only_the_one_with_no_reason_not_to(&mut ward, watcher, &net)
}

/// The broker lives.
fn its_agent_is_dead(ward: &mut Ward, watcher: &Watcher) -> Result<()> {
    ward.agents.remove(&4);
    watcher.says("no_broker_stats", "broker 4")?;
    nothing_is_replaced(&[watcher])?;
    ward.start_agent(4)?;
    watcher.says_nothing_of(&["stats"])
}

/// Kafka on the host is dead, is started, and takes its time, as in a log recovery: its port is closed. For one service that is within
/// the grace; for the other the grace is over, but the host reports.
fn its_agent_lives(ward: &Ward, watcher: &Watcher) -> Result<()> {
    let patient = ward.watcher_by(Command::new(DOCTOR), "patient", "5m", "")?;
    patient.says_nothing_of(&["stats"])?;
    ward.cluster.kill(4)?;
    ward.cluster.start(4)?;
    ward.cluster.pause(4)?;
    watcher.says("replacement_waits", "its agent reported")?;
    patient.says("broker_absent", "broker 4")?;
    nothing_is_replaced(&[watcher, &patient])?;
    ward.cluster.resume(4)?;
    ward.cluster.wait_ready()?;
    ward.cluster.wait_in_sync(Duration::from_secs(60))?;
    for it in [watcher, &patient] {
        it.says_nothing_of(&["broker_absent", "broker_dead", "replacement"])?;
    }
    nothing_is_replaced(&[watcher, &patient])?;
    ensure!(patient.doctor.count("is dead") == 0, "it was given up:\n{}", patient.doctor.output());
    patient.doctor.stop()
}

fn three_at_once(ward: &mut Ward, watcher: &Watcher) -> Result<()> {
    ward.lose_hosts(&[3, 4, 5])?;
    watcher.refuses("3 brokers are absent at once (3, 4, 5), more than max_unhealthy_brokers (1)")?;
    nothing_is_replaced(&[watcher])?;
    ward.revive_hosts(&[3, 4, 5], watcher)
}

/// With broker 5 the agents' topic can be written no more.
fn all_agents_are_silent(ward: &mut Ward, watcher: &Watcher) -> Result<()> {
    ward.lose_hosts(&[5])?;
    watcher.says("replacement_waits", "no agent of a live broker is heard")?;
    nothing_is_replaced(&[watcher])?;
    ward.revive_hosts(&[5], watcher)
}

fn the_last_copy(ward: &mut Ward, watcher: &Watcher) -> Result<()> {
    ward.lose_hosts(&[3])?;
    watcher.refuses("it may hold the last copy of 1 partition (single-0)")?;
    nothing_is_replaced(&[watcher])?;
    ward.revive_hosts(&[3], watcher)
}

/// Kafka names the topic to nobody who may not see it. It was on the disk of broker 4 when that one was last listed.
fn what_may_not_be_seen(ward: &mut Ward, watcher: &Watcher) -> Result<()> {
    let sight = ["--deny-principal", "User:ANONYMOUS", "--operation", "Describe", "--topic", "secret"];
    ward.lose_hosts(&[3])?;
    watcher.says("broker_dead", "broker 3")?;
    ward.cluster.tool("acls", &[&["--add"], &sight[..]].concat())?.success()?;
    let topic = ["--create", "--topic", "secret", "--replica-assignment", "4"];
    ward.cluster.tool("topics", &topic)?.success()?;
    // Log dirs are listed anew when a broker is back.
    ward.revive_hosts(&[3], watcher)?;
    ward.lose_hosts(&[4])?;
    watcher.refuses("topic secret is not among those that this service may see")?;
    nothing_is_replaced(&[watcher])?;
    ward.cluster.tool("acls", &[&["--remove", "--force"], &sight[..]].concat())?.success()?;
    watcher.says("replacement_refused", "it may hold the last copy of 1 partition (secret-0)")?;
    ward.cluster.tool("topics", &["--delete", "--topic", "secret"])?.success()?;
    ward.revive_hosts(&[4], watcher)
}

/// One and the same broker is stopped, and its host is gone. Each service but the first, which shows that nothing else speaks against
/// it, has a reason of its own.
fn of_several_services_only_the_one_with_no_reason_not_to(
    ward: &mut Ward,
    watcher: Watcher,
    net: &Namespace,
) -> Result<()> {
    let elsewhere = "    bootstrap_servers: 127.0.0.1:9\n";
    let blind = ward.watcher_by(Command::new(DOCTOR), "blind", "5s", elsewhere)?;
    let cut_off = ward.watcher_by(net.enter(DOCTOR), "cut-off", "5s", "")?;
    let [maintained, all_maintained, leaving] =
        ["maintained", "all-maintained", "leaving"].map(|name| ward.watcher(name));
    let (maintained, all_maintained, leaving) = (maintained?, all_maintained?, leaving?);
    maintained.doctor.ok(&["maintenance", "on", "--broker", "4"])?;
    all_maintained.doctor.ok(&["maintenance", "on"])?;
    leaving.doctor.ok(&["decommission", "on", "--broker", "4"])?;
    let others = [&blind, &cut_off, &maintained, &all_maintained, &leaving];
    for it in others.iter().skip(1) {
        it.says_nothing_of(&["stats"])?;
    }
    for id in ward.cluster.broker_ids() {
        net.block(ward.cluster.port(id)?)?;
    }
    ward.cluster.stop(4)?;
    ward.agents.remove(&4);

    watcher.has_it_replaced("4")?;
    blind.says("replacement_waits", "the stats topic has not been read to its end lately")?;
    cut_off.says("liveness_unknown", "who is alive is not known")?;
    maintained.says("maintenance", "broker 4 is under maintenance")?;
    all_maintained.says("maintenance", "nothing is done to the cluster")?;
    leaving.says("decommissioned", "broker 4 is taken out of service")?;
    nothing_is_replaced(&others)?;

    // Without the reason each of them does the same as the first.
    for id in ward.cluster.broker_ids() {
        net.unblock(ward.cluster.port(id)?)?;
    }
    maintained.doctor.ok(&["maintenance", "off", "--broker", "4"])?;
    all_maintained.doctor.ok(&["maintenance", "off"])?;
    leaving.doctor.ok(&["decommission", "off", "--broker", "4"])?;
    for it in [&cut_off, &maintained, &all_maintained, &leaving] {
        it.has_it_replaced("4")?;
    }
    nothing_is_replaced(&[&blind])?;
    for it in [watcher, blind, cut_off, maintained, all_maintained, leaving] {
        it.doctor.stop()?;
    }
    Ok(())
}

/// The host boots: Kafka is started and recovers its logs, with its port closed and dropped by the others, and the agent is started
/// beside it, told of this broker alone.
#[test]
fn a_host_that_boots_is_not_replaced_while_its_broker_recovers() -> Result<()> {
    let cluster = Cluster::builder().brokers(4).start()?;
    cluster.create_topic_with("orders", &[&[1, 2, 3], &[2, 3, 4], &[3, 4, 1], &[4, 1, 2]], &[])?;
    let mut ward = Ward::new(cluster)?;
    let watcher = ward.watcher("watcher")?;
    let state_dir = ward.folder.path().join("agent");
    ward.start_agent_alone(4, &state_dir)?;
    watcher.says_nothing_of(&["stats"])?;
    let file = state_dir.join("brokers.json");
    wait("memory of the agent", DECIDED, || Ok(file.exists().then_some(())))?;

    ward.lose_hosts(&[4])?;
    ward.cluster.start(4)?;
    ward.cluster.pause(4)?;
    ward.start_agent_alone(4, &state_dir)?;
    watcher.says("broker_dead", "broker 4")?;
    // What the agent said before counts as silence by then.
    nothing_is_replaced_for(SILENT * 2, &[&watcher])?;
    watcher.says("replacement_waits", "its agent reported")?;

    // Nothing else keeps the host: an agent that remembers nobody reaches nobody.
    ward.agents.remove(&4);
    std::fs::remove_dir_all(&state_dir)?;
    ward.start_agent_alone(4, &state_dir)?;
    watcher.has_it_replaced("4")?;
    watcher.doctor.stop()
}

#[test]
fn the_host_of_a_voter_is_not_replaced() -> Result<()> {
    // The first three brokers are the controllers.
    let cluster = Cluster::builder().brokers(4).mode(Mode::KraftCombined).start()?;
    cluster.create_topic_with("orders", &[&[1, 2, 3], &[2, 3, 4], &[3, 4, 1]], &[])?;
    let mut ward = Ward::new(cluster)?;
    let watcher = ward.watcher("watcher")?;
    watcher.says_nothing_of(&["stats"])?;
    ward.lose_hosts(&[3])?;
    watcher.refuses("it is a voter of the metadata quorum")?;
    nothing_is_replaced(&[&watcher])?;
    ward.revive_hosts(&[3], &watcher)?;
    ward.lose_hosts(&[4])?;
    watcher.has_it_replaced("4")?;
    watcher.doctor.stop()
}
