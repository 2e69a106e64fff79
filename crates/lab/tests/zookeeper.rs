//! Kafka 3.9 with ZooKeeper, and with KRaft in combined mode.

use std::time::Duration;

use lab::{Cluster, Mode, TrafficConfig, Version, wait_for};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_killed_broker_returns_under_zookeeper() {
    let cluster = Cluster::builder().version(Version::V3_9).mode(Mode::ZooKeeper).brokers(3).start().unwrap();
    cluster.create_topic("t", 6, 3).unwrap();
    let traffic = cluster.traffic("t", TrafficConfig::default()).unwrap();
    wait_for("records are acknowledged", LIMIT, || Ok(traffic.acknowledged() > 200)).unwrap();
    cluster.kill(2).unwrap();
    cluster.start(2).unwrap();
    cluster.wait_ready().unwrap();
    cluster.wait_in_sync(LIMIT).unwrap();
    assert_eq!(cluster.under_replicated().unwrap(), "");
    let report = traffic.finish().unwrap();
    assert!(cluster.missing(&report, LIMIT).unwrap().is_empty());
}

#[test]
fn three_nine_runs_kraft_with_combined_controllers() {
    let cluster =
        Cluster::builder().version(Version::V3_9).mode(Mode::KraftCombined).brokers(3).start().unwrap();
    cluster.create_topic("t", 3, 3).unwrap();
    cluster.kill(1).unwrap();
    cluster.wait_dropped(1, LIMIT).unwrap();
    assert!(cluster.under_replicated().unwrap().contains("Topic: t"));
}

#[test]
fn four_three_has_no_zookeeper() {
    let error = Cluster::builder().mode(Mode::ZooKeeper).start().unwrap_err();
    assert!(error.to_string().contains("no ZooKeeper mode"));
}
