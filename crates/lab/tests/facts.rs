//! Facts about Kafka that decisions rest on; `docs/kafka-facts.md` tells them in words. They are held here
//! on every version and mode, so that a new version that differs fails.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lab::{Cluster, Mode, Reassignment, TrafficConfig, Version, wait_for};

const LIMIT: Duration = Duration::from_secs(60);
/// Long enough for a reassignment of an empty partition that can complete (it takes under 2 s).
const NEVER: Duration = Duration::from_secs(8);

#[test]
fn kafka_4_3_kraft() {
    check(Version::V4_3, Mode::KraftIsolated).unwrap();
}

#[test]
fn kafka_3_9_kraft() {
    check(Version::V3_9, Mode::KraftIsolated).unwrap();
}

#[test]
fn kafka_3_9_zookeeper() {
    check(Version::V3_9, Mode::ZooKeeper).unwrap();
}

fn check(version: Version, mode: Mode) -> Result<()> {
    let cluster = Cluster::builder().version(version).mode(mode).brokers(4).start()?;
    cluster.create_topic_on("old", &[&[1, 2, 3]])?;
    cluster.create_topic_on("two", &[&[1, 2]])?;
    a_target_that_dies(&cluster, mode)?;
    a_list_that_keeps_a_dead_broker(&cluster, version, mode)
}

/// `two` is moved from [1,2] to [1,4], and 4 dies before it is in sync.
fn a_target_that_dies(cluster: &Cluster, mode: Mode) -> Result<()> {
    // More than one fetch of data, and a throttle that lets the target take no second one.
    let traffic = cluster
        .traffic("two", TrafficConfig { rate: 300, value_bytes: 20_000, ..TrafficConfig::default() })?;
    wait_for("6 MB are written", LIMIT, || Ok(traffic.acknowledged() > 300))?;
    let report = traffic.finish()?;
    set(cluster, "topics", "two", "follower.replication.throttled.replicas=*")?;
    set(cluster, "brokers", "4", "follower.replication.throttled.rate=1000")?;
    cluster.reassign(&[("two", 0, &[1, 4])])?;
    cluster.kill(4)?;
    let dropped = cluster.wait_dropped(4, LIMIT)?;
    eprintln!("{mode:?}: dropped from the metadata {dropped:.1?} after kill -9");

    // Nothing gives the reassignment up: it stays, and so do the old replicas.
    let stays = never(|| Ok(cluster.ongoing()?.is_empty()));
    assert!(stays, "a reassignment to a dead broker does not end by itself");
    assert_eq!(cluster.ongoing()?, [ongoing("two", &[1, 4, 2], &[4], &[2])]);
    assert!(cluster.reassignments()?.contains("two-0: replicas: 1,4,2. adding: 4. removing: 2."));
    shows(cluster, "two", &[1, 4, 2], &[1, 2])?;

    // Kafka's tool holds back while any reassignment runs, and never names a dead broker as a target.
    assert!(refusal(cluster.reassign(&[("old", 0, &[1, 2])])).contains("existing partition assignment"));

    // A new target replaces the dead one in a single step.
    assert_eq!(cluster.alter_reassignments(&[("two", 0, Some(&[1, 3]))])?, [None]);
    wait_for("the new target is taken", LIMIT, || Ok(cluster.ongoing()?.is_empty()))?;
    shows(cluster, "two", &[1, 3], &[1, 3])?;
    assert!(refusal(cluster.reassign(&[("two", 0, &[1, 4])])).contains("Unknown broker id 4"));

    // Over the protocol, a dead broker as a new target is taken by KRaft and refused with ZooKeeper.
    let answer = cluster.alter_reassignments(&[("two", 0, Some(&[1, 4]))])?;
    if mode == Mode::ZooKeeper {
        let refusal = answer[0].clone().unwrap_or_default();
        assert!(refusal.contains("InvalidReplicaAssignment"), "{refusal}");
        assert_eq!(cluster.ongoing()?, []);
    } else {
        assert_eq!(answer, [None]);
        assert_eq!(cluster.ongoing()?, [ongoing("two", &[1, 4, 3], &[4], &[3])]);
        assert_eq!(cluster.alter_reassignments(&[("two", 0, None)])?, [None]);
        assert_eq!(cluster.ongoing()?, []);
        // Cancelling restores the old list.
        shows(cluster, "two", &[1, 3], &[1, 3])?;
    }
    cluster.start(4)?;
    cluster.wait_ready()?;
    cluster.wait_in_sync(LIMIT)?;
    assert!(cluster.missing(&report, LIMIT)?.is_empty());
    Ok(())
}

/// Of `old` on [1,2,3], the brokers 2 and 3 die; it is moved to [1,4,3], which still holds the dead 3.
fn a_list_that_keeps_a_dead_broker(cluster: &Cluster, version: Version, mode: Mode) -> Result<()> {
    let session = if mode == Mode::ZooKeeper { 6 } else { 9 };
    cluster.kill(2)?;
    let start = Instant::now();
    cluster.kill(3)?;
    cluster.wait_dropped(2, LIMIT)?;
    cluster.wait_dropped(3, LIMIT)?;
    let dropped = start.elapsed();
    eprintln!("{version} {mode:?}: dropped from the metadata {dropped:.1?} after kill -9");
    assert!(dropped < Duration::from_secs(session + 6), "{dropped:?}");
    shows(cluster, "old", &[1, 2, 3], &[1])?;

    assert!(refusal(cluster.reassign(&[("old", 0, &[1, 4, 3])])).contains("Unknown broker id 3"));
    assert_eq!(cluster.alter_reassignments(&[("old", 0, Some(&[1, 4, 3]))])?, [None]);
    wait_for("the new replica is in sync", LIMIT, || Ok(cluster.partitions_of("old")?[0].isr.contains(&4)))?;
    let waits = never(|| Ok(cluster.ongoing()?.is_empty()));
    // The new replica is in sync in any case.
    if version == Version::V3_9 {
        shows(cluster, "old", &[1, 4, 3, 2], &[1, 4])?;
        assert!(waits, "3.9 waits until every target is in sync");
        assert_eq!(cluster.ongoing()?, [ongoing("old", &[1, 4, 3, 2], &[4], &[2])]);
        assert!(cluster.reassignments()?.contains("old-0: replicas: 1,4,3,2. adding: 4. removing: 2."));
    } else {
        assert!(!waits, "4.x waits for the added replicas alone");
        assert_eq!(cluster.ongoing()?, []);
        shows(cluster, "old", &[1, 4, 3], &[1, 4])?;
    }
    cluster.start(3)?;
    cluster.wait_ready()?;
    wait_for("the reassignment ends once 3 is back", LIMIT, || Ok(cluster.ongoing()?.is_empty()))?;
    shows(cluster, "old", &[1, 4, 3], &[1, 3, 4])
}

fn set(cluster: &Cluster, kind: &str, name: &str, config: &str) -> Result<()> {
    let args = ["--alter", "--entity-type", kind, "--entity-name", name, "--add-config", config];
    cluster.tool("configs", &args)?.success().map(|_| ())
}

/// Waits until the only partition of `topic` has these replicas, in this order, and these in sync: the
/// metadata of a broker may lag behind the controller's answer.
fn shows(cluster: &Cluster, topic: &str, replicas: &[i32], isr: &[i32]) -> Result<()> {
    let mut last = None;
    let outcome = wait_for("the metadata shows it", LIMIT, || {
        let mut partition = cluster.partitions_of(topic)?.remove(0);
        partition.isr.sort();
        let right = partition.replicas == replicas && partition.isr == isr;
        last = Some(partition);
        Ok(right)
    });
    outcome.map(|_| ()).with_context(|| format!("wanted {replicas:?} with {isr:?}, got {last:?}"))
}

/// Whether `event` stays away.
fn never(event: impl FnMut() -> Result<bool>) -> bool {
    wait_for("what must not happen", NEVER, event).is_err()
}

fn refusal(outcome: Result<String>) -> String {
    outcome.map_or_else(|error| format!("{error:#}"), |answer| format!("no refusal: {answer}"))
}

fn ongoing(topic: &str, replicas: &[i32], adding: &[i32], removing: &[i32]) -> Reassignment {
    Reassignment {
        topic: topic.to_owned(),
        partition: 0,
        replicas: replicas.to_vec(),
        adding: adding.to_vec(),
        removing: removing.to_vec(),
    }
}
