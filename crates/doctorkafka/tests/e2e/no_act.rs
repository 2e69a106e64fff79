//! No act when none is due; but a finding, each time.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Cluster, Mode, Version};

use crate::agents::{an_agent_dies, without_a_stats_topic};
use crate::harness::{Doctor, four_brokers, healed, wait};

/// Replica lists of all partitions but those of the audit topic: what must not change.
fn placement(cluster: &Cluster) -> Result<Vec<(String, i32, Vec<i32>)>> {
    let all = cluster.partitions()?.into_iter().filter(|p| p.topic == "orders");
    Ok(all.map(|p| (p.topic, p.partition, p.replicas)).collect())
}

/// One cluster for all of it, on which nothing may move until the very end.
#[test]
fn nothing_is_moved_when_no_act_is_due_and_each_reason_is_shown() -> Result<()> {
    let cluster = four_brokers(Version::V4_3, Mode::KraftIsolated, 2)?;
    let before = placement(&cluster)?;
    ensure!(before.len() == 60, "{} partitions", before.len());
    a_pause_shorter_than_the_grace_and_a_rolling_restart(&cluster)?;
    unmoved(&cluster, &before).context("after a pause and a rolling restart")?;
    an_agent_dies(&cluster)?;
    unmoved(&cluster, &before).context("after the death of an agent")?;
    paused_maintenance_and_dry_run_hold_every_act(&cluster, &before)
}

fn unmoved(cluster: &Cluster, before: &[(String, i32, Vec<i32>)]) -> Result<()> {
    let now = placement(cluster)?;
    let moved: Vec<_> = before.iter().filter(|p| !now.contains(p)).collect();
    ensure!(moved.is_empty() && now.len() == before.len(), "replicas have moved: {moved:?}");
    Ok(())
}

fn a_pause_shorter_than_the_grace_and_a_rolling_restart(cluster: &Cluster) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let options = ["--execute", "--grace", "40s"];
    let doctor = Doctor::run(&cluster.bootstrap(), &folder.path().join("state"), &options)?;
    doctor.ready()?;

    // SIGSTOP for less than the grace, but long enough for Kafka to drop the broker.
    cluster.pause(3)?;
    doctor.incident("broker_absent", Duration::from_secs(30))?;
    cluster.resume(3)?;
    cluster.wait_in_sync(Duration::from_secs(60))?;
    wait("resolved absence", Duration::from_secs(30), || {
        Ok((!doctor.incidents()?.contains(&"broker_absent".to_owned())).then_some(()))
    })?;

    for id in cluster.broker_ids() {
        let said = doctor.output().len();
        cluster.restart(id)?;
        cluster.wait_ready()?;
        cluster.wait_in_sync(Duration::from_secs(60))?;
        let seen = doctor.output()[said..].contains(&format!("broker {id} "));
        ensure!(seen, "the restart of broker {id} was not seen:\n{}", doctor.output());
    }
    ensure!(doctor.submissions()? == 0, "something was moved:\n{}", doctor.output());
    ensure!(doctor.count("is dead") == 0, "a living broker was declared dead:\n{}", doctor.output());
    doctor.stop()
}

fn paused_maintenance_and_dry_run_hold_every_act(
    cluster: &Cluster,
    before: &[(String, i32, Vec<i32>)],
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let dry = Doctor::run(&cluster.bootstrap(), &folder.path().join("dry"), &["--grace", "5s"])?;
    dry.ready()?;
    let doctor = without_a_stats_topic(cluster)?;
    doctor.ok(&["pause", "--reason", "test"])?;
    doctor.stop()?;
    // The pause outlives the process.
    let doctor = without_a_stats_topic(cluster)?;
    ensure!(doctor.ok(&["status"])?.contains("paused"), "the pause is forgotten");
    ensure!(dry.ok(&["status"])?.contains("dry run"), "status does not say that the service runs dry");

    cluster.kill(4)?;
    doctor.line("is dead", Duration::from_secs(40))?;
    let held_by = |what: &'static str| {
        let doctor = &doctor;
        move || -> Result<Option<()>> {
            let status = doctor.status()?;
            let held = status["held"].as_array().is_some_and(|held| {
                held.iter().any(|h| h["event"] == "reassign_partitions" && h.to_string().contains(what))
            });
            Ok(held.then_some(()))
        }
    };
    wait("held event", Duration::from_secs(20), held_by("pause")).with_context(|| doctor.output())?;
    dry.line("[dry run]", Duration::from_secs(20))?;

    // Maintenance instead of the pause: still no act.
    doctor.ok(&["maintenance", "on", "--reason", "test"])?;
    doctor.ok(&["resume"])?;
    wait("held for maintenance", Duration::from_secs(20), held_by("maintenance"))
        .with_context(|| doctor.output())?;
    unmoved(cluster, before).with_context(|| doctor.output())?;
    ensure!(doctor.submissions()? == 0, "something was submitted:\n{}", doctor.output());
    // The dry run names each move that it would make, once and not once a cycle.
    for (topic, number, _) in before.iter().filter(|(_, _, replicas)| replicas.contains(&4)) {
        let said = dry.count(&format!("for partition {topic}-{number}: dry run: would move it from"));
        ensure!(
            said == 1,
            "the dry run said {said} times what it would do with {topic}-{number}:\n{}",
            dry.output()
        );
    }

    // Off again: it heals, without any stats. The dry run sees it and has done nothing.
    doctor.ok(&["maintenance", "off"])?;
    healed(cluster, Duration::from_secs(60)).with_context(|| doctor.output())?;
    let on_victim = placement(cluster)?.iter().filter(|(_, _, replicas)| replicas.contains(&4)).count();
    ensure!(on_victim == 0, "{on_victim} partitions are still on the dead broker");
    dry.stop()?;
    doctor.stop()
}

#[test]
fn a_broker_that_only_we_cannot_reach_is_reported_and_left_alone() -> Result<()> {
    // The service runs in a network namespace of its own, where one broker's port is firewalled.
    let net = crate::harness::Namespace::create("dkno")?;
    let cluster = Cluster::builder().brokers(4).racks(2).listen(net.host_address()).start()?;
    cluster.create_topic("orders", 12, 3)?;
    let before = placement(&cluster)?;
    let folder = tempfile::tempdir()?;
    let arguments = ["run", "--bootstrap-servers", &cluster.bootstrap(), "--execute", "--grace", "5s"];
    let command: Command = net.enter(crate::harness::DOCTOR);
    let doctor = Doctor::spawn(command, &cluster.bootstrap(), &folder.path().join("state"), &arguments)?;
    doctor.ready()?;
    net.block(cluster.port(2)?)?;
    doctor.incident("broker_unreachable", Duration::from_secs(30))?;
    let until = Instant::now() + Duration::from_secs(15);
    wait("three graces", Duration::from_secs(16), || Ok((Instant::now() >= until).then_some(())))?;
    ensure!(doctor.count("is dead") == 0, "declared dead:\n{}", doctor.output());
    ensure!(placement(&cluster)? == before, "replicas have moved");
    doctor.stop()
}
