//! A broker dies and everything is whole again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Cluster, Mode, TrafficConfig, Version};
use serde_json::Value;

use crate::harness::{
    Doctor, GRACE, four_brokers, healed, healed_by_kafkas_tool, nothing_left, revive, wait,
};
use crate::mass_failure::two_of_four_dead_brokers_are_held_by_the_brake_until_a_person_approves;

const KRAFT_SESSION: Duration = Duration::from_secs(9);

/// What was measured, from the kill on.
struct Times {
    dropped: Duration,
    dead: Duration,
    submitted: Duration,
    healed: Duration,
}

impl Times {
    fn print(&self, what: &str) {
        let Times { dropped, dead, submitted, healed } = self;
        println!(
            "{what}: seconds after kill -9: dropped by Kafka {:.1}, declared dead {:.1}, submitted {:.1}, healed {:.1}",
            dropped.as_secs_f64(),
            dead.as_secs_f64(),
            submitted.as_secs_f64(),
            healed.as_secs_f64()
        );
    }
}

/// Kills broker `victim` under traffic and follows the healing.
fn kill_and_heal(cluster: &Cluster, doctor: &Doctor, victim: i32) -> Result<Times> {
    doctor.ready()?;
    let traffic = cluster.traffic("orders", TrafficConfig { rate: 300, ..TrafficConfig::default() })?;
    wait("first acknowledged records", Duration::from_secs(20), || {
        Ok((traffic.acknowledged() > 300).then_some(()))
    })?;
    let killed = Instant::now();
    cluster.kill(victim)?;
    cluster.wait_dropped(victim, Duration::from_secs(30))?;
    let dropped = killed.elapsed();
    let dead = doctor.line("is dead", Duration::from_secs(30))? - killed;
    let submitted = doctor.line("submitting", Duration::from_secs(30))? - killed;
    let healed = healed_by_kafkas_tool(cluster, Duration::from_secs(60))
        .with_context(|| format!("it printed:\n{}", doctor.output()))?
        - killed;
    let on_victim = cluster.partitions_of("orders")?.into_iter().filter(|p| p.replicas.contains(&victim));
    ensure!(on_victim.count() == 0, "partitions are still assigned to the dead broker");
    let report = traffic.finish()?;
    let missing = cluster.missing(&report, Duration::from_secs(60))?;
    ensure!(missing.is_empty(), "{} acknowledged records are lost", missing.len());
    ensure!(report.acknowledged.len() > 600, "traffic did not go on: {report:?}");
    Ok(Times { dropped, dead, submitted, healed })
}

/// After a healing whoever follows the actions topic has read of it, and every partition is led by its first replica: where that
/// was the dead broker, by the one that has its place, which was elected.
fn tells_what_it_did_and_gives_leadership_back(cluster: &Cluster, doctor: &Doctor) -> Result<()> {
    let follower = doctor.follow()?;
    let outcome = |of: &'static str| move |r: &Value| r["operation"] == of && r["kind"] == "outcome";
    let moved = follower.record("outcome of the moves", outcome("reassign_partitions"))?;
    ensure!(moved["timestamp"].as_i64().is_some_and(|at| at > 1_700_000_000_000), "{moved}");
    for field in ["cluster", "operation", "target", "reason", "result"] {
        ensure!(moved[field].as_str().is_some_and(|text| !text.is_empty()), "no {field} in {moved}");
    }
    let elected = follower.record("outcome of an election", outcome("elect_leaders"))?;
    ensure!(elected["result"].as_str().is_some_and(|r| r.starts_with("elected ")), "{elected}");
    ensure!(elected["dryRun"] == false, "{elected}");
    // What comes later is followed, too.
    doctor.ok(&["pause", "--reason", "somebody follows"])?;
    follower.record("record that comes while it follows", |r| r["reason"] == "somebody follows")?;
    follower.stop()?;
    doctor.ok(&["resume"])?;
    wait("preferred leaders", Duration::from_secs(20), || {
        let orders = cluster.partitions_of("orders")?;
        Ok(orders.iter().all(|p| p.leader.as_ref() == p.replicas.first()).then_some(()))
    })
    .with_context(|| doctor.output())
}

/// Racks that hold more than one replica of a partition, where as many racks as replicas are left.
fn rack_conflicts(cluster: &Cluster) -> Result<usize> {
    let mut conflicts = 0;
    for partition in cluster.partitions_of("orders")? {
        let mut racks = Vec::new();
        for id in &partition.replicas {
            racks.push(cluster.rack(*id)?);
        }
        racks.sort();
        let all = racks.len();
        racks.dedup();
        conflicts += usize::from(racks.len() < all);
    }
    Ok(conflicts)
}

#[test]
fn heals_a_killed_broker_and_loses_no_acknowledged_record() -> Result<()> {
    let cluster = four_brokers(Version::V4_3, Mode::KraftIsolated, 2)?;
    let folder = tempfile::tempdir()?;
    let doctor = Doctor::heal(&cluster, &folder.path().join("state"))?;
    let times = kill_and_heal(&cluster, &doctor, 2)?;
    tells_what_it_did_and_gives_leadership_back(&cluster, &doctor)?;
    times.print("4.3.1 KRaft, 4 brokers, 2 racks, 60 partitions");
    let due = times.dropped.max(GRACE);
    println!("submitted {:.1} s after it was due", times.submitted.saturating_sub(due).as_secs_f64());
    ensure!(times.dropped >= KRAFT_SESSION - Duration::from_secs(2), "the kill was no kill");
    let submissions = doctor.submissions()?;

    // The broker comes back: nothing is moved twice, nothing is left over.
    cluster.start(2)?;
    cluster.wait_ready()?;
    wait("resolved incident", Duration::from_secs(30), || {
        Ok((!doctor.incidents()?.iter().any(|kind| kind.starts_with("broker_"))).then_some(()))
    })?;
    nothing_left(&cluster)?;
    healed(&cluster, Duration::from_secs(30)).context("after the return of the broker")?;
    let again = cluster.partitions_of("orders")?.into_iter().filter(|p| p.replicas.contains(&2)).count();
    ensure!(again == 0, "{again} partitions have gone back to the broker that returned");
    ensure!(doctor.submissions()? == submissions, "moved again after the broker's return");
    doctor.stop()
}

#[test]
fn the_brake_holds_two_of_four_and_healing_keeps_racks_apart() -> Result<()> {
    let cluster =
        Cluster::builder().version(Version::V4_3).mode(Mode::KraftIsolated).brokers(4).racks(4).start()?;
    two_of_four_dead_brokers_are_held_by_the_brake_until_a_person_approves(&cluster)?;
    revive(&cluster, &[3, 4])?;
    cluster.create_topic("orders", 60, 3)?;
    ensure!(rack_conflicts(&cluster)? == 0, "Kafka placed replicas on one rack");
    let folder = tempfile::tempdir()?;
    let doctor = Doctor::heal(&cluster, &folder.path().join("state"))?;
    kill_and_heal(&cluster, &doctor, 4)?.print("4.3.1 KRaft, 4 brokers, 4 racks, 60 partitions");
    ensure!(rack_conflicts(&cluster)? == 0, "healing put two replicas of a partition on one rack");

    // A second service looks after the same cluster by mistake: both say so, and do not get into each other's way.
    cluster.start(4)?;
    cluster.wait_ready()?;
    let second = Doctor::heal(&cluster, &folder.path().join("another"))?;
    for one in [&doctor, &second] {
        one.incident("another_service", Duration::from_secs(120))?;
    }
    cluster.kill(1)?;
    wait("everything off the dead broker", Duration::from_secs(90), || {
        Ok(cluster.partitions_of("orders")?.iter().all(|p| !p.replicas.contains(&1)).then_some(()))
    })
    .with_context(|| format!("the second printed:\n{}", second.output()))?;
    healed(&cluster, Duration::from_secs(60))?;
    wait("both to end their moves", Duration::from_secs(60), || {
        let open = |one: &Doctor| one.status().map(|status| status["work"].as_array().map_or(0, Vec::len));
        Ok((open(&doctor)? + open(&second)? == 0).then_some(()))
    })?;
    // The broker that is asked may hear of the last moves later than others.
    wait("three replicas of each partition", Duration::from_secs(20), || {
        let orders = cluster.partitions_of("orders")?;
        Ok(orders.iter().all(|p| p.replicas.len() == 3 && !p.replicas.contains(&1)).then_some(()))
    })
    .with_context(|| format!("{:?}", cluster.partitions_of("orders")))?;
    nothing_left(&cluster)?;
    second.stop()?;
    doctor.stop()
}

#[test]
fn a_zookeeper_cluster_is_braked_and_healed_too() -> Result<()> {
    let cluster =
        Cluster::builder().version(Version::V3_9).mode(Mode::ZooKeeper).brokers(4).racks(2).start()?;
    two_of_four_dead_brokers_are_held_by_the_brake_until_a_person_approves(&cluster)?;
    revive(&cluster, &[3, 4])?;
    cluster.create_topic("orders", 60, 3)?;
    let folder = tempfile::tempdir()?;
    let doctor = Doctor::heal(&cluster, &folder.path().join("state"))?;
    kill_and_heal(&cluster, &doctor, 3)?.print("3.9.2 ZooKeeper, 4 brokers, 2 racks, 60 partitions");
    nothing_left(&cluster)?;
    doctor.stop()
}
