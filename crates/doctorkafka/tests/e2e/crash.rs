//! We die, at the worst moment, and the next start finishes the work.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Cluster;

use crate::harness::{Doctor, healed, nothing_left, wait};

/// A cluster on which copying takes a while: some data, and a replication throttle that is not ours.
fn slow_cluster() -> Result<Cluster> {
    let cluster = Cluster::builder().brokers(4).racks(2).start()?;
    cluster.create_topic("orders", 12, 3)?;
    cluster.fill("orders", 400, 50_000)?;
    Ok(cluster)
}

fn throttle(cluster: &Cluster, on: bool) -> Result<()> {
    let rate = "leader.replication.throttled.rate=100000,follower.replication.throttled.rate=100000";
    let replicas = "leader.replication.throttled.replicas=*,follower.replication.throttled.replicas=*";
    let keys = |text: &str| {
        text.split(',').map(|pair| pair.split('=').next().unwrap_or_default()).collect::<Vec<_>>().join(",")
    };
    for id in ["1", "2", "3"] {
        let base = ["--alter", "--entity-type", "brokers", "--entity-name", id];
        let removed = keys(rate);
        let change = if on { ["--add-config", rate] } else { ["--delete-config", removed.as_str()] };
        cluster.tool("configs", &[&base[..], &change[..]].concat())?.success()?;
    }
    let base = ["--alter", "--entity-type", "topics", "--entity-name", "orders"];
    let removed = keys(replicas);
    let change = if on { ["--add-config", replicas] } else { ["--delete-config", removed.as_str()] };
    cluster.tool("configs", &[&base[..], &change[..]].concat())?.success()?;
    Ok(())
}

#[test]
fn finds_its_own_reassignments_after_kill_9_and_finishes_the_record() -> Result<()> {
    let cluster = slow_cluster()?;
    throttle(&cluster, true)?;
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    let doctor = Doctor::heal(&cluster, &state)?;
    doctor.ready()?;
    cluster.kill(4)?;
    doctor.line("submitting", Duration::from_secs(40))?;
    wait("reassignment in progress", Duration::from_secs(20), || {
        Ok((!cluster.reassignments()?.contains("No partition reassignments found")).then_some(()))
    })
    .with_context(|| doctor.output())?;
    doctor.kill()?;

    let doctor = Doctor::heal(&cluster, &state)?;
    doctor.ready()?;
    wait("the moves in the status", Duration::from_secs(20), || {
        let status = doctor.status()?;
        let running = status["work"].as_array().is_some_and(|all| !all.is_empty());
        Ok(running.then_some(()))
    })
    .with_context(|| doctor.output())?;
    throttle(&cluster, false)?;
    healed(&cluster, Duration::from_secs(90)).with_context(|| doctor.output())?;
    let outcome = wait("end of the record", Duration::from_secs(30), || {
        let mut outcomes = doctor
            .actions()?
            .into_iter()
            .filter(|a| a["operation"] == "reassign_partitions" && a["kind"] == "outcome");
        Ok(outcomes.next_back())
    })
    .with_context(|| doctor.output())?;
    // It is the end of what was begun before the death, and nothing was given up.
    let begun =
        doctor.actions()?.into_iter().find(|a| a["operation"] == "reassign_partitions" && a["kind"] == "act");
    let begun = begun.context("the record of the submission died with the process")?;
    ensure!(
        begun["cause"].as_str().is_some_and(|of| of.contains("execution "))
            && begun["cause"] == outcome["cause"],
        "{begun}\n{outcome}"
    );
    let result = outcome["result"].as_str().unwrap_or_default();
    ensure!(result.contains("moved") && !result.contains("given up"), "{outcome}");
    wait("no execution left", Duration::from_secs(20), || {
        Ok(doctor.status()?["work"].as_array().is_some_and(Vec::is_empty).then_some(()))
    })?;
    nothing_left(&cluster)?;
    ensure!(doctor.submissions()? >= 1, "the record of the submission died with the process");
    ensure!(doctor.count("is dead") <= 1);
    doctor.stop()
}

#[test]
fn cancels_its_own_moves_when_a_person_asks_and_leaves_nothing_behind() -> Result<()> {
    let cluster = slow_cluster()?;
    throttle(&cluster, true)?;
    let folder = tempfile::tempdir()?;
    let doctor = Doctor::heal(&cluster, &folder.path().join("state"))?;
    doctor.ready()?;
    cluster.kill(4)?;
    doctor.line("submitting", Duration::from_secs(40))?;
    doctor.ok(&["pause", "--reason", "I want to look first"])?;
    doctor.ok(&["cancel", "--reason", "wrong time"])?;
    wait("no reassignment in progress", Duration::from_secs(30), || {
        Ok(cluster.reassignments()?.contains("No partition reassignments found").then_some(()))
    })
    .with_context(|| doctor.output())?;
    throttle(&cluster, false)?;
    nothing_left(&cluster)?;
    doctor.ok(&["resume"])?;
    healed(&cluster, Duration::from_secs(90)).with_context(|| doctor.output())?;
    doctor.stop()
}

#[test]
fn a_throttle_of_ours_is_set_while_copying_and_gone_afterwards_also_after_kill_9() -> Result<()> {
    let cluster = slow_cluster()?;
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    let config = format!(
        "\
monitors:
  - type: kafka_metadata
  - type: broker_probe
  - type: maintenance
  - type: dead_brokers
    grace: 5s
  - type: under_replicated_partitions
operators:
  - type: under_replicated_partitions
    throttle: 150kB
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
    );
    let throttled = |cluster: &Cluster| -> Result<bool> {
        let topic = ["--describe", "--entity-type", "topics", "--entity-name", "orders"];
        let broker = ["--describe", "--entity-type", "brokers", "--entity-name", "1"];
        Ok(cluster.tool("configs", &topic)?.success()?.contains("throttled.replicas")
            && cluster.tool("configs", &broker)?.success()?.contains("throttled.rate=150000"))
    };
    let doctor = Doctor::configured(&cluster.bootstrap(), &state, &config)?;
    doctor.ready()?;
    cluster.kill(4)?;
    doctor.line("submitting", Duration::from_secs(40))?;
    ensure!(throttled(&cluster)?, "no throttle is set:\n{}", doctor.output());
    doctor.kill()?;
    let doctor = Doctor::configured(&cluster.bootstrap(), &state, &config)?;
    doctor.ready()?;
    healed(&cluster, Duration::from_secs(120)).with_context(|| doctor.output())?;
    wait("end of the work", Duration::from_secs(60), || {
        Ok(doctor.status()?["work"].as_array().is_some_and(Vec::is_empty).then_some(()))
    })
    .with_context(|| doctor.output())?;
    nothing_left(&cluster)?;
    doctor.stop()
}
