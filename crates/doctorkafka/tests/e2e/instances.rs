//! Two services, one store: one acts, the other looks on, and takes over when the first is gone.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::Cluster;
use serde_json::Value;

use crate::agents::Agent;
use crate::harness::{DOCTOR, Doctor, GRACE, Namespace, healed, heard, nothing_left, revive, wait};

/// The shortest that may be configured.
const LEASE: Duration = Duration::from_secs(15);
/// The other one takes over within the lease, and this.
const MARGIN: Duration = Duration::from_secs(10);
/// For how long it is waited for all the same, on a machine that has other work: then it may be tried once more.
const PATIENCE: Duration = Duration::from_secs(40);

/// Moves replicas, and replaces hosts: the script writes down that it was started, and goes on for ever.
fn config(cluster: &Cluster, folder: &Path, store: &str) -> Result<String> {
    let script = folder.join("replace.sh");
    std::fs::write(
        &script,
        "echo $DOCTORKAFKA_BROKER_ID >> \"$(dirname \"$0\")/started\"\nexec sleep 600\n",
    )?;
    Ok(format!(
        "\
doctorkafka:
  state_store: {{{store}, lease: 15s}}
  guard: {{on_dead_broker: heal, replacement_cooldown: 1h, replace_timeout: 5s}}
monitors:
  - type: kafka_metadata
  - type: broker_probe
  - type: broker_stats
  - type: maintenance
  - type: dead_brokers
    grace: 5s
  - type: under_replicated_partitions
operators:
  - type: broker_replacement
    agent_silent_after: 5s
    hosts_are_shared: true
  - type: under_replicated_partitions
actions:
  - type: script_instance_replacement
    command: [sh, {script}]
    subscribed_events: [replace_instance]
    dry_run: false
  - type: reassign_partitions
    dry_run: false
  - type: elect_leaders
    dry_run: false
  - type: report_operation
kafkaclusters:
  - name: test
    bootstrap_servers: {bootstrap}
",
        script = script.display(),
        bootstrap = cluster.bootstrap(),
    ))
}

/// Two services, or more, with one store and a state dir each.
struct Scene<'a> {
    cluster: &'a Cluster,
    folder: tempfile::TempDir,
    config: String,
}

impl<'a> Scene<'a> {
    fn new(cluster: &'a Cluster, store: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = config(cluster, folder.path(), store)?;
        Ok(Self { cluster, folder, config })
    }

    fn doctor(&self, name: &str) -> Result<Doctor> {
        self.doctor_by(Command::new(DOCTOR), name)
    }

    fn doctor_by(&self, command: Command, name: &str) -> Result<Doctor> {
        let state = self.folder.path().join(name);
        let doctor = Doctor::configured_in(command, &self.cluster.bootstrap(), &state, &self.config)?;
        doctor.ready()?;
        Ok(doctor)
    }

    /// The brokers whose hosts the script was started for, in order.
    fn replaced(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("started")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

fn looks_on(doctor: &Doctor) -> Result<Option<String>> {
    let status = doctor.status()?;
    ensure!(status["trouble"] == Value::Null, "it is in trouble: {}", status["trouble"]);
    Ok(status["looks_on"].as_str().map(str::to_owned))
}

fn acts_within(doctor: &Doctor, within: Duration) -> Result<Duration> {
    let start = Instant::now();
    wait("end of looking on", within, || {
        // In the moment of taking over it is not known yet who acts.
        Ok(matches!(looks_on(doctor), Ok(None)).then_some(()))
    })
    .with_context(|| doctor.output())?;
    Ok(start.elapsed())
}

fn signal(doctor: &Doctor, name: &str) -> Result<()> {
    let sent = Command::new("kill").args([&format!("-{name}"), &doctor.pid().to_string()]).status()?;
    ensure!(sent.success(), "kill -{name}: {sent}");
    Ok(())
}

#[test]
fn of_two_services_one_acts_and_the_other_takes_over() -> Result<()> {
    let net = Namespace::create("dkin")?;
    let cluster = Cluster::builder().brokers(4).listen(net.host_address()).start()?;
    cluster.create_topic("orders", 12, 3)?;
    // The broker that dies leads the topic of the store, too.
    let kept = [
        ("cleanup.policy", "compact"),
        ("min.insync.replicas", "2"),
        ("unclean.leader.election.enable", "false"),
    ];
    for topic in ["doctorkafka-state", "other-state"] {
        cluster.create_topic_with(topic, &[&[4, 1, 2]], &kept)?;
    }
    let store = format!("type: kafka, bootstrap_servers: '{}'", cluster.bootstrap());
    two_services(&cluster, &store)?;
    cluster.start(3)?;
    cluster.wait_ready()?;
    it_is_stopped_between_the_intent_and_the_script(&cluster, &net, &format!("{store}, topic: other-state"))
}

/// The last look at a host that is gone, where nobody refuses a connection, lasts for some seconds. In these the service is stopped that
/// has written down what it is about to do.
fn it_is_stopped_between_the_intent_and_the_script(
    cluster: &Cluster,
    net: &Namespace,
    store: &str,
) -> Result<()> {
    let mut scene = Scene::new(cluster, store)?;
    scene.config = scene.config.replace("on_dead_broker: heal, ", "on_dead_broker: replace_first, ");
    scene.config = scene.config.replace("replace_timeout: 5s", "replace_timeout: 5m");
    scene.config = scene.config.replace("  - type: report_operation\n", "");
    let mut agents = Vec::new();
    for id in cluster.broker_ids() {
        agents.push(Agent::start(cluster, &id.to_string())?);
    }
    let holder = scene.doctor_by(net.enter(DOCTOR), "third")?;
    acts_within(&holder, LEASE + PATIENCE)?;
    let other = scene.doctor("fourth")?;
    wait("looking on", Duration::from_secs(10), || looks_on(&other))?;

    cluster.kill(4)?;
    net.block(cluster.port(4)?)?;
    drop(agents.pop());
    holder.line("replace instance for broker 4: started", Duration::from_secs(120))?;
    signal(&holder, "STOP")?;
    ensure!(scene.replaced().is_empty(), "the script was started already");
    acts_within(&other, LEASE + PATIENCE)?;
    other.line("replace instance for broker 4: unknown", Duration::from_secs(20))?;
    other.incident("replacement_refused", Duration::from_secs(40))?;
    signal(&holder, "CONT")?;
    holder.line("does not hold the cluster's lease any more", Duration::from_secs(10))?;
    wait("looking on", Duration::from_secs(20), || Ok(looks_on(&holder).unwrap_or_default()))?;
    let until = Instant::now() + GRACE * 2;
    wait("two graces", GRACE * 3, || Ok((Instant::now() >= until).then_some(())))?;
    ensure!(scene.replaced().is_empty(), "its host was replaced in the end:\n{}", holder.output());
    // It is the one replacement of this cluster, and the cooldown goes by it.
    let asked = other.command(&["replace", "--broker", "4", "--yes"])?;
    let why = String::from_utf8_lossy(&asked.stderr).into_owned();
    ensure!(!asked.status.success() && why.contains("the next one may be begun in"), "{why}");
    other.stop()?;
    holder.stop()
}

/// What holds with every store that services can share.
pub(crate) fn two_services(cluster: &Cluster, store: &str) -> Result<()> {
    let scene = Scene::new(cluster, store)?;
    let mut agents: Vec<Option<Agent>> = Vec::new();
    for id in cluster.broker_ids() {
        agents.push(Some(Agent::start(cluster, &id.to_string())?));
    }
    let first = scene.doctor("first")?;
    acts_within(&first, LEASE + PATIENCE)?;
    // The silence of an agent that was never heard says nothing.
    for id in cluster.broker_ids() {
        heard(cluster, id)?;
    }
    let second = scene.doctor("second")?;
    let why = wait("looking on", Duration::from_secs(10), || looks_on(&second))?;
    ensure!(why.contains("the service ") && why.contains(" acts"), "it does not say who acts: {why}");
    let refused = second.command(&["pause", "--reason", "a test"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && said.contains("looks on"), "an order was taken: {said}");

    // A host is lost. The one that acts has it replaced, and dies in the middle of that.
    cluster.kill(4)?;
    drop(agents[3].take());
    wait("start of the script", Duration::from_secs(120), || Ok((scene.replaced() == ["4"]).then_some(())))
        .with_context(|| first.output())?;
    let killed = Instant::now();
    first.kill()?;
    acts_within(&second, LEASE + PATIENCE)?;
    let took = killed.elapsed();
    second.line("unknown", Duration::from_secs(20))?;
    healed(cluster, Duration::from_secs(90)).with_context(|| second.output())?;
    agents[3] = Some(Agent::start(cluster, "4")?);
    revive(cluster, &[4])?;

    // The first one is back, and looks on. The one that acts is stopped, and wakes up when another acts.
    let first = scene.doctor("first")?;
    wait("looking on", Duration::from_secs(10), || looks_on(&first))?;
    let (first, second) = took_over_in_time(&scene, took, first, second)?;
    signal(&second, "STOP")?;
    let took = acts_within(&first, LEASE + PATIENCE)?;
    println!("the first service acted {took:.1?} after the other was stopped");
    let (submitted, elected) = (second.count("submitting"), second.count("electing"));
    cluster.kill(3)?;
    drop(agents[2].take());
    wait("work", Duration::from_secs(60), || Ok((first.count("submitting") > 0).then_some(())))
        .with_context(|| first.output())?;
    signal(&second, "CONT")?;
    second.line("does not hold the cluster's lease any more", Duration::from_secs(10))?;
    wait("looking on", Duration::from_secs(20), || Ok(looks_on(&second).unwrap_or_default()))?;
    healed(cluster, Duration::from_secs(90)).with_context(|| first.output())?;
    let until = Instant::now() + GRACE;
    wait("a grace", GRACE * 2, || Ok((Instant::now() >= until).then_some(())))?;
    ensure!(
        (second.count("submitting"), second.count("electing")) == (submitted, elected),
        "it acted after it woke up:\n{}",
        second.output()
    );
    ensure!(scene.replaced() == ["4"], "replaced: {:?}", scene.replaced());

    // Who ends as it should lets the other one act at once.
    first.stop()?;
    let took = acts_within(&second, LEASE)?;
    println!("the other service acted {took:.1?} after the first was told to end");
    ensure!(took < Duration::from_secs(8), "it waited {took:?} for a lease that was given up");
    nothing_left(cluster)?;
    second.stop()?;
    the_store_can_be_read_without_a_service(&scene)
}

/// What they have begun can be seen when none of them is there any more.
fn the_store_can_be_read_without_a_service(scene: &Scene<'_>) -> Result<()> {
    let file = scene.folder.path().join("second.yaml");
    let output = Command::new(env!("CARGO_BIN_EXE_doctorkafka"))
        .args(["state", "get", "replacements", "--config"])
        .arg(file)
        .output()?;
    let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{error}");
    let stored: Value = serde_json::from_str(&text)?;
    ensure!(stored["value"]["last"][0]["broker"] == 4, "{text}");
    Ok(())
}

/// What it took to take over after a `kill -9`, or what it takes in a second try: the one that acts is killed, the other takes over,
/// and the first one is back. Gives the one that looks on, and the one that acts.
fn took_over_in_time(
    scene: &Scene<'_>,
    took: Duration,
    looking_on: Doctor,
    acting: Doctor,
) -> Result<(Doctor, Doctor)> {
    println!("the other service acted {took:.1?} after the first was killed");
    if took <= LEASE + MARGIN {
        return Ok((looking_on, acting));
    }
    let killed = Instant::now();
    acting.kill()?;
    acts_within(&looking_on, LEASE + PATIENCE)?;
    let again = killed.elapsed();
    ensure!(again <= LEASE + MARGIN, "it took over after {took:.1?}, and once more after {again:.1?}");
    let back = scene.doctor("second")?;
    wait("looking on", Duration::from_secs(10), || looks_on(&back))?;
    Ok((back, looking_on))
}
