//! A broker dies and everything is whole again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Cluster, Mode, TrafficConfig, Version};

use crate::harness::{Doctor, GRACE, four_brokers, healed, nothing_left, under_replicated, wait};

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
    let healed = healed(cluster, Duration::from_secs(60))
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
    ensure!(
        under_replicated(&cluster)?.is_empty(),
        "the return of the broker left something under-replicated"
    );
    ensure!(doctor.submissions()? == submissions, "moved again after the broker's return");
    doctor.stop()
}

#[test]
fn keeps_racks_apart_while_healing() -> Result<()> {
    let cluster = four_brokers(Version::V4_3, Mode::KraftIsolated, 4)?;
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
    for partition in cluster.partitions_of("orders")? {
        ensure!(partition.replicas.len() == 3, "{partition:?} has another number of replicas");
    }
    wait("both to end their moves", Duration::from_secs(60), || {
        let open = |one: &Doctor| one.status().map(|status| status["work"].as_array().map_or(0, Vec::len));
        Ok((open(&doctor)? + open(&second)? == 0).then_some(()))
    })?;
    nothing_left(&cluster)?;
    second.stop()?;
    doctor.stop()
}

#[test]
fn heals_a_killed_broker_of_a_zookeeper_cluster() -> Result<()> {
    let cluster = four_brokers(Version::V3_9, Mode::ZooKeeper, 2)?;
    let folder = tempfile::tempdir()?;
    let doctor = Doctor::heal(&cluster, &folder.path().join("state"))?;
    kill_and_heal(&cluster, &doctor, 3)?.print("3.9.2 ZooKeeper, 4 brokers, 2 racks, 60 partitions");
    nothing_left(&cluster)?;
    doctor.stop()
}

#[test]
fn a_partition_whose_only_copy_was_on_the_dead_broker_is_reported_lost_and_never_moved() -> Result<()> {
    let cluster = Cluster::builder().brokers(4).racks(2).start()?;
    cluster.create_topic_on("single", &[&[2], &[1]])?;
    cluster.create_topic_on("pair", &[&[2, 3]])?;
    let folder = tempfile::tempdir()?;
    let doctor = Doctor::heal(&cluster, &folder.path().join("state"))?;
    doctor.ready()?;
    cluster.kill(2)?;
    doctor.incident("partitions_lost", Duration::from_secs(40))?;
    // What can be healed is healed.
    wait("healed pair", Duration::from_secs(30), || {
        let pair = cluster.partitions_of("pair")?;
        Ok(pair.iter().all(|p| p.isr.len() == 2 && !p.replicas.contains(&2)).then_some(()))
    })?;
    let single = cluster.partitions_of("single")?;
    ensure!(
        single[0].replicas == [2] && single[0].leader.is_none(),
        "the lost partition was touched: {single:?}"
    );
    ensure!(doctor.ok(&["status"])?.contains("single-0"), "the status does not name the lost partition");
    // The broker returns, and with it the partition.
    cluster.start(2)?;
    wait("return of the partition", Duration::from_secs(40), || {
        Ok((cluster.partitions_of("single")?[0].leader == Some(2)).then_some(()))
    })?;
    wait("resolved incident", Duration::from_secs(40), || {
        Ok((!doctor.incidents()?.contains(&"partitions_lost".to_owned())).then_some(()))
    })?;
    doctor.stop()
}
