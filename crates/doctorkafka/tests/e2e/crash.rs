//! We die, at the worst moment, and the next start finishes the work.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Cluster;
use serde_json::Value;

use crate::harness::{Doctor, acting_on, actions, healed, nothing_left, revive, throttle, wait};

/// A cluster on which copying takes a while: some data, and a replication throttle that is not ours.
fn slow_cluster() -> Result<Cluster> {
    let cluster = Cluster::builder().brokers(4).racks(2).start()?;
    cluster.create_topic("orders", 12, 3)?;
    cluster.fill("orders", 400, 50_000)?;
    Ok(cluster)
}

/// The rate at which copying takes a while, in bytes per second.
const SLOW: Option<&str> = Some("100000");

/// Waits until the cluster lists a reassignment, or none.
fn moving(cluster: &Cluster, doctor: &Doctor, moving: bool) -> Result<()> {
    let what = if moving { "reassignment in progress" } else { "end of all reassignments" };
    wait(what, Duration::from_secs(30), || Ok((cluster.ongoing()?.is_empty() != moving).then_some(())))
        .with_context(|| doctor.output())
}

/// The records on the actions topic, of this kind, of moves.
fn moves(doctor: &Doctor, kind: &str) -> Result<Vec<Value>> {
    let all = doctor.actions()?.into_iter();
    Ok(all.filter(|a| a["operation"] == "reassign_partitions" && a["kind"] == kind).collect())
}

/// One cluster for all of it: each part loses another broker, and that of the part before has come back, empty.
#[test]
fn moves_outlive_sigterm_and_kill_9_are_cancelled_when_asked_and_leave_nothing_behind() -> Result<()> {
    let cluster = slow_cluster()?;
    sigterm_and_kill_9_in_the_middle_of_a_healing_lose_neither_moves_nor_records(&cluster, 4)?;
    revive(&cluster, &[4])?;
    cancels_its_own_moves_when_a_person_asks(&cluster, 3)?;
    revive(&cluster, &[3])?;
    a_throttle_of_ours_is_set_while_copying_and_gone_afterwards_also_after_kill_9(&cluster, 2)
}

fn sigterm_and_kill_9_in_the_middle_of_a_healing_lose_neither_moves_nor_records(
    cluster: &Cluster,
    victim: i32,
) -> Result<()> {
    let others: Vec<i32> = cluster.broker_ids().into_iter().filter(|id| *id != victim).collect();
    throttle(cluster, "orders", &others, SLOW)?;
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    let doctor = Doctor::heal(cluster, &state)?;
    doctor.ready()?;
    cluster.kill(victim)?;
    doctor.line("submitting", Duration::from_secs(40))?;
    moving(cluster, &doctor, true)?;
    // SIGTERM the moment after a person's order: it ends within 5 s, and its records are on the topic.
    doctor.ok(&["pause", "--reason", "the last word before the end"])?;
    doctor.stop()?;
    let written = actions(&cluster.bootstrap())?;
    let submitted = |a: &Value| a["operation"] == "reassign_partitions" && a["kind"] == "act";
    ensure!(written.iter().any(submitted), "the record of the submission is lost: {written:#?}");
    let last_word = |a: &Value| a["reason"] == "the last word before the end";
    ensure!(written.iter().any(last_word), "the record of the order is lost: {written:#?}");

    let doctor = Doctor::heal(cluster, &state)?;
    doctor.ready()?;
    doctor.ok(&["resume"])?;
    doctor.kill()?;
    ensure!(!cluster.ongoing()?.is_empty(), "the moves were over before the service was killed");

    let doctor = Doctor::heal(cluster, &state)?;
    doctor.ready()?;
    wait("the moves in the status", Duration::from_secs(20), || {
        let status = doctor.status()?;
        let running = status["work"].as_array().is_some_and(|all| !all.is_empty());
        Ok(running.then_some(()))
    })
    .with_context(|| doctor.output())?;
    throttle(cluster, "orders", &others, None)?;
    healed(cluster, Duration::from_secs(90)).with_context(|| doctor.output())?;
    let outcome = wait("end of the record", Duration::from_secs(30), || Ok(moves(&doctor, "outcome")?.pop()))
        .with_context(|| doctor.output())?;
    // It is the end of what was begun before the death, and nothing was given up.
    let begun = moves(&doctor, "act")?.into_iter().next();
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
    nothing_left(cluster)?;
    let submissions = doctor.submissions()?;
    ensure!(submissions == 1, "it was submitted {submissions} times");
    ensure!(doctor.count("is dead") <= 1);
    doctor.stop()
}

fn cancels_its_own_moves_when_a_person_asks(cluster: &Cluster, victim: i32) -> Result<()> {
    let others: Vec<i32> = cluster.broker_ids().into_iter().filter(|id| *id != victim).collect();
    throttle(cluster, "orders", &others, SLOW)?;
    let folder = tempfile::tempdir()?;
    let doctor = Doctor::heal(cluster, &folder.path().join("state"))?;
    doctor.ready()?;
    cluster.kill(victim)?;
    doctor.line("submitting", Duration::from_secs(40))?;
    moving(cluster, &doctor, true)?;
    doctor.ok(&["pause", "--reason", "I want to look first"])?;
    doctor.ok(&["cancel", "--reason", "wrong time"])?;
    moving(cluster, &doctor, false)?;
    throttle(cluster, "orders", &others, None)?;
    nothing_left(cluster)?;
    let kept = cluster.partitions_of("orders")?.into_iter().filter(|p| p.replicas.contains(&victim)).count();
    ensure!(kept > 0, "the moves were over before they were cancelled");
    doctor.ok(&["resume"])?;
    healed(cluster, Duration::from_secs(90)).with_context(|| doctor.output())?;
    doctor.stop()
}

fn a_throttle_of_ours_is_set_while_copying_and_gone_afterwards_also_after_kill_9(
    cluster: &Cluster,
    victim: i32,
) -> Result<()> {
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
{acting}",
        acting = acting_on(cluster)
    );
    let doctor = Doctor::configured(&cluster.bootstrap(), &state, &config)?;
    doctor.ready()?;
    cluster.kill(victim)?;
    doctor.line("submitting", Duration::from_secs(40))?;
    let set = cluster.throttles()?;
    let has = |what: &str| set.iter().any(|throttle| throttle.contains(what));
    ensure!(
        has("throttled.replicas=") && has("1 leader.replication.throttled.rate=150000"),
        "{set:?}\n{}",
        doctor.output()
    );
    doctor.kill()?;
    let doctor = Doctor::configured(&cluster.bootstrap(), &state, &config)?;
    doctor.ready()?;
    healed(cluster, Duration::from_secs(120)).with_context(|| doctor.output())?;
    wait("end of the work", Duration::from_secs(60), || {
        Ok(doctor.status()?["work"].as_array().is_some_and(Vec::is_empty).then_some(()))
    })
    .with_context(|| doctor.output())?;
    nothing_left(cluster)?;
    doctor.stop()
}
