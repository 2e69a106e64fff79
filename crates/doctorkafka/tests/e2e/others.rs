//! Other people and other programs: their work is not disturbed, their absence does not matter.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Cluster;

use crate::harness::{Doctor, healed, sibling, wait};

#[test]
fn a_second_persons_reassignment_is_neither_cancelled_nor_disturbed() -> Result<()> {
    let cluster = Cluster::builder().brokers(4).racks(2).start()?;
    cluster.create_topic_on("theirs", &[&[1, 2]])?;
    cluster.create_topic_on("orders", &[&[1, 4], &[2, 4], &[4, 3], &[1, 2]])?;
    cluster.fill("theirs", 400, 50_000)?;
    let folder = tempfile::tempdir()?;
    let doctor = Doctor::heal(&cluster, &folder.path().join("state"))?;
    doctor.ready()?;

    // Somebody moves a partition, slowly.
    let rate = "leader.replication.throttled.rate=20000,follower.replication.throttled.rate=20000";
    for id in ["1", "3"] {
        let change = ["--alter", "--entity-type", "brokers", "--entity-name", id, "--add-config", rate];
        cluster.tool("configs", &change)?.success()?;
    }
    let replicas = "leader.replication.throttled.replicas=*,follower.replication.throttled.replicas=*";
    let change = ["--alter", "--entity-type", "topics", "--entity-name", "theirs", "--add-config", replicas];
    cluster.tool("configs", &change)?.success()?;
    cluster.reassign(&[("theirs", 0, &[3, 2])])?;

    cluster.kill(4)?;
    wait("healed orders", Duration::from_secs(60), || {
        let orders = cluster.partitions_of("orders")?;
        Ok(orders.iter().all(|p| p.isr.len() == p.replicas.len() && !p.replicas.contains(&4)).then_some(()))
    })
    .with_context(|| doctor.output())?;
    let listed = cluster.reassignments()?;
    ensure!(listed.contains("theirs-0") && listed.contains('3'), "their reassignment is gone: {listed}");
    let configs = ["--describe", "--entity-type", "topics", "--entity-name", "theirs"];
    let configs = cluster.tool("configs", &configs)?.success()?;
    ensure!(configs.contains("throttled.replicas=*"), "their throttle is gone: {configs}");
    doctor.stop()
}

#[test]
fn healing_needs_no_agent_and_no_stats_topic() -> Result<()> {
    let cluster = Cluster::builder().brokers(4).racks(2).start()?;
    cluster.create_topic("orders", 12, 3)?;
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    // The stats are said to be on a cluster that does not exist.
    let config = config(&cluster, "    bootstrap_servers: 127.0.0.1:9\n", "");
    let doctor = Doctor::configured(&cluster.bootstrap(), &state, &config)?;
    doctor.ready()?;
    doctor.incident("stats_topic_unreadable", Duration::from_secs(40))?;
    // Of itself that is no reason to act.
    ensure!(doctor.count("submitting") == 0, "it acts for want of stats:\n{}", doctor.output());
    cluster.kill(1)?;
    doctor.line("submitting", Duration::from_secs(40))?;
    healed(&cluster, Duration::from_secs(60)).with_context(|| doctor.output())?;
    let on_victim = cluster.partitions_of("orders")?.into_iter().filter(|p| p.replicas.contains(&1)).count();
    ensure!(on_victim == 0, "{on_victim} partitions are still on the dead broker");
    doctor.stop()
}

#[test]
fn an_agent_that_dies_while_its_broker_lives_costs_a_finding_and_no_replica() -> Result<()> {
    let cluster = Cluster::builder().brokers(3).start()?;
    cluster.create_topic("orders", 6, 2)?;
    let placed = |cluster: &Cluster| -> Result<Vec<Vec<i32>>> {
        Ok(cluster.partitions_of("orders")?.into_iter().map(|p| p.replicas).collect())
    };
    let before = placed(&cluster)?;
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    let config = config(&cluster, "", "    no_stats_seconds: 12\n");
    let doctor = Doctor::configured(&cluster.bootstrap(), &state, &config)?;
    doctor.ready()?;
    // The first agent makes the topic. Until then the service says that it is missing.
    doctor.incident("stats_topic_unreadable", Duration::from_secs(40))?;
    let mut agents = Vec::new();
    for id in ["1", "2", "3"] {
        agents.push(Agent::start(&cluster, id)?);
    }
    wait("reports of all agents", Duration::from_secs(60), || {
        Ok((!doctor.incidents()?.iter().any(|kind| kind.contains("stats"))).then_some(()))
    })
    .with_context(|| doctor.output())?;
    drop(agents.pop());
    doctor.incident("no_broker_stats", Duration::from_secs(60))?;
    ensure!(doctor.count("is dead") == 0, "declared dead:\n{}", doctor.output());
    ensure!(doctor.count("submitting") == 0 && placed(&cluster)? == before, "replicas have moved");
    doctor.stop()
}

#[test]
fn a_dead_brokers_address_that_went_to_another_cluster_hides_no_death() -> Result<()> {
    let cluster = Cluster::builder().brokers(4).racks(2).start()?;
    cluster.create_topic("orders", 12, 3)?;
    let other = Cluster::builder().brokers(1).start()?;
    other.create_topic("orders", 12, 1)?;
    let folder = tempfile::tempdir()?;
    let doctor = Doctor::heal(&cluster, &folder.path().join("state"))?;
    doctor.ready()?;
    // The lowest of all: with it begins whoever goes through the brokers in their order.
    cluster.kill(1)?;
    forward(&cluster.address(1)?, other.address(1)?)?;
    let reason = format!("a broker of another cluster ({}) answers at", other.cluster_id());
    wait("reason", Duration::from_secs(40), || {
        Ok(doctor.status()?["incidents"].to_string().contains(&reason).then_some(()))
    })
    .with_context(|| doctor.output())?;
    doctor.line("submitting", Duration::from_secs(40))?;
    healed(&cluster, Duration::from_secs(60)).with_context(|| doctor.output())?;
    let on_victim = cluster.partitions_of("orders")?.into_iter().filter(|p| p.replicas.contains(&1)).count();
    ensure!(on_victim == 0, "{on_victim} partitions are still on the dead broker");
    ensure!(!doctor.incidents()?.iter().any(|kind| kind == "identity_mismatch"), "{}", doctor.output());
    let theirs = other.partitions()?;
    ensure!(theirs.iter().all(|p| p.topic == "orders" && p.replicas == [1]), "changed: {theirs:?}");
    ensure!(other.ongoing()?.is_empty(), "something is moved there");
    doctor.stop()
}

/// Whoever connects to `from` is connected to `to`, as if the address had been given to that host.
fn forward(from: &str, to: String) -> Result<()> {
    let listener = wait("port to be free", Duration::from_secs(20), || Ok(TcpListener::bind(from).ok()))?;
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(std::io::Result::ok) {
            let Ok(far) = TcpStream::connect(&to) else { continue };
            for (mut from, mut to) in [(near.try_clone(), far.try_clone()), (Ok(far), Ok(near))]
                .into_iter()
                .filter_map(|(from, to)| Some((from.ok()?, to.ok()?)))
            {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    Ok(())
}

/// A running agent.
struct Agent(std::process::Child);

impl Agent {
    fn start(cluster: &Cluster, broker: &str) -> Result<Agent> {
        let child = std::process::Command::new(sibling("kafkastats")?)
            .args([
                "run",
                "--bootstrap-servers",
                &cluster.bootstrap(),
                "--broker-id",
                broker,
                "--interval",
                "2s",
                "--allow-root",
            ])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()?;
        Ok(Agent(child))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A configuration file with every plugin that healing needs, and the agents' reports.
fn config(cluster: &Cluster, broker_stats: &str, no_broker_stats: &str) -> String {
    format!(
        "\
monitors:
  - type: kafka_metadata
  - type: broker_probe
  - type: broker_stats
{broker_stats}  - type: maintenance
  - type: dead_brokers
    grace: 5s
  - type: under_replicated_partitions
  - type: no_broker_stats
{no_broker_stats}operators:
  - type: under_replicated_partitions
  - type: no_broker_stats
actions:
  - type: reassign_partitions
    subscribed_events: [reassign_partitions]
    dry_run: false
  - type: report_operation
    subscribed_events: [report_operation]
kafkaclusters:
  - name: test
    bootstrap_servers: {bootstrap}
",
        bootstrap = cluster.bootstrap()
    )
}
