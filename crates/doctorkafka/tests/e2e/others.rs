//! Other people and other programs: their work is not disturbed, their absence does not matter.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Cluster, TrafficConfig};

use crate::harness::{Doctor, wait};

#[test]
fn a_second_persons_reassignment_is_neither_cancelled_nor_disturbed() -> Result<()> {
    let cluster = Cluster::builder().brokers(4).racks(2).start()?;
    cluster.create_topic_on("theirs", &[&[1, 2]])?;
    cluster.create_topic_on("orders", &[&[1, 4], &[2, 4, 1], &[4, 3, 2], &[3, 4]])?;
    let traffic = cluster.traffic("theirs", TrafficConfig { rate: 2_000, value_bytes: 10_000, keys: 0 })?;
    wait("20 MB of data", Duration::from_secs(60), || Ok((traffic.acknowledged() > 2_000).then_some(())))?;
    traffic.finish()?;
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
    let config = format!(
        "\
state_dir: {state}
monitors:
  - type: kafka_metadata
  - type: broker_probe
  - type: broker_stats
    bootstrap_servers: 127.0.0.1:9
  - type: maintenance
  - type: dead_brokers
    grace: 5s
  - type: under_replicated_partitions
  - type: no_broker_stats
operators:
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
        state = state.display(),
        bootstrap = cluster.bootstrap()
    );
    let doctor = Doctor::configured(&cluster.bootstrap(), &state, &config)?;
    doctor.ready()?;
    doctor.incident("stats_topic_unreadable", Duration::from_secs(40))?;
    cluster.kill(1)?;
    crate::harness::healed(&cluster, Duration::from_secs(60)).with_context(|| doctor.output())?;
    doctor.stop()
}
