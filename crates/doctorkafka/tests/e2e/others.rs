//! Other people and other programs: their work is not disturbed, their absence does not matter.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::Cluster;

use crate::harness::{Doctor, GRACE, healed, throttle, wait};

#[test]
fn a_second_persons_reassignment_and_a_lost_partition_are_left_as_they_are() -> Result<()> {
    let cluster = Cluster::builder().brokers(4).racks(2).start()?;
    cluster.create_topic_on("theirs", &[&[1, 2]])?;
    cluster.create_topic_on("orders", &[&[1, 4], &[2, 4], &[4, 3], &[1, 2]])?;
    // The only copy of the first one is on the broker that will die.
    cluster.create_topic_on("single", &[&[4], &[1]])?;
    cluster.fill("theirs", 400, 50_000)?;
    let folder = tempfile::tempdir()?;
    let doctor = Doctor::heal(&cluster, &folder.path().join("state"))?;
    doctor.ready()?;

    // Somebody moves a partition, slowly.
    throttle(&cluster, "theirs", &[1, 3], Some("20000"))?;
    cluster.reassign(&[("theirs", 0, &[3, 2])])?;

    cluster.kill(4)?;
    wait("healed orders", Duration::from_secs(60), || {
        let orders = cluster.partitions_of("orders")?;
        Ok(orders.iter().all(|p| p.isr.len() == p.replicas.len() && !p.replicas.contains(&4)).then_some(()))
    })
    .with_context(|| doctor.output())?;
    the_lost_partition_is_reported_and_never_moved(&cluster, &doctor)?;

    let theirs = cluster.ongoing()?.into_iter().find(|r| r.topic == "theirs");
    ensure!(theirs.as_ref().is_some_and(|r| r.adding == [3]), "their reassignment is gone: {theirs:?}");
    let throttles = cluster.throttles()?;
    let kept = throttles.iter().any(|t| t == "theirs leader.replication.throttled.replicas=*");
    ensure!(kept, "their throttle is gone: {throttles:?}");
    doctor.stop()
}

/// Broker 4, which is dead, has the only copy of `single-0`, and returns.
fn the_lost_partition_is_reported_and_never_moved(cluster: &Cluster, doctor: &Doctor) -> Result<()> {
    doctor.incident("partitions_lost", Duration::from_secs(40))?;
    let single = cluster.partitions_of("single")?;
    ensure!(
        single[0].replicas == [4] && single[0].leader.is_none(),
        "the lost partition was touched: {single:?}"
    );
    ensure!(doctor.ok(&["status"])?.contains("single-0"), "the status does not name the lost partition");
    // The broker returns, and with it the partition.
    cluster.start(4)?;
    wait("return of the partition", Duration::from_secs(40), || {
        Ok((cluster.partitions_of("single")?[0].leader == Some(4)).then_some(()))
    })?;
    wait("resolved incident", Duration::from_secs(40), || {
        Ok((!doctor.incidents()?.contains(&"partitions_lost".to_owned())).then_some(()))
    })
}

/// Two clusters, and addresses and memories that lead from one to the other.
#[test]
fn a_cluster_with_another_id_is_not_touched_and_hides_no_death() -> Result<()> {
    let cluster = Cluster::builder().brokers(4).racks(2).start()?;
    cluster.create_topic("orders", 12, 3)?;
    let other = Cluster::builder().brokers(1).start()?;
    other.create_topic("orders", 12, 1)?;
    let folder = tempfile::tempdir()?;
    let doctor = Doctor::heal(&cluster, &folder.path().join("state"))?;
    doctor.ready()?;
    // The other one is to be left alone until it has been seen that a service which remembers another cluster does nothing.
    doctor.ok(&["pause", "--reason", "test"])?;
    let state = folder.path().join("remembers-the-other");
    let first = Doctor::heal(&other, &state)?;
    first.ready()?;
    wait("actions topic of the first service", Duration::from_secs(40), || {
        Ok(other.partitions()?.iter().any(|p| p.topic == "doctorkafka_actions").then_some(()))
    })?;
    first.stop()?;
    let theirs = other.partitions()?;
    // What it remembers still answers where it did, but that is not where the bootstrap servers lead.
    let stranger = Doctor::heal(&cluster, &state)?;
    stranger.incident("identity_mismatch", Duration::from_secs(20))?;

    // The lowest of all: with it begins whoever goes through the brokers in their order.
    cluster.kill(1)?;
    doctor.line("is dead", Duration::from_secs(40))?;
    let until = Instant::now() + GRACE * 2;
    wait("two more graces", GRACE * 3, || Ok((Instant::now() >= until).then_some(())))?;
    let moved =
        cluster.partitions_of("orders")?.iter().any(|p| !p.is_under_replicated() && p.replicas.contains(&1));
    ensure!(!moved && cluster.ongoing()?.is_empty(), "it acted on a cluster that it does not know");
    ensure!(stranger.count("submitting") == 0, "it submitted something:\n{}", stranger.output());
    ensure!(stranger.incidents()?.iter().any(|kind| kind == "identity_mismatch"), "{}", stranger.output());
    stranger.stop()?;
    ensure!(doctor.submissions()? == 0, "somebody has submitted something");

    forward(&cluster.address(1)?, other.address(1)?)?;
    doctor.ok(&["resume"])?;
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
    let now = other.partitions()?;
    ensure!(now == theirs, "changed: {now:?}");
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
