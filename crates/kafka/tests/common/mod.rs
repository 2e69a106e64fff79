//! What the tests against real clusters share.

#![allow(dead_code, reason = "each test crate uses a part of it")]

pub(crate) mod broker;
pub(crate) mod endpoint;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cluster::{
    BrokerAddress, BrokerAnswer, BrokerId, NewTopic, Partition, Reader as _, TopicPartition, Writer as _,
};
use kafka::{ConnectionConfig, Kafka, Security, client_properties, parse_bootstrap};

/// How long anything may take on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);
/// How long one question may take there.
pub(crate) const SHORT: Duration = Duration::from_secs(5);

pub(crate) fn client(bootstrap: &str, security: Security) -> Kafka {
    let bootstrap = parse_bootstrap(bootstrap).expect("addresses");
    Kafka::new(ConnectionConfig { bootstrap, security, client_id: "kafka-test".to_owned() })
}

pub(crate) fn plain(bootstrap: &str) -> Kafka {
    client(bootstrap, Security::plaintext())
}

pub(crate) fn secured(bootstrap: &str, properties: &str) -> Kafka {
    client(bootstrap, client_properties::parse(properties).expect("properties"))
}

pub(crate) fn address(text: &str) -> BrokerAddress {
    parse_bootstrap(text).expect("an address").remove(0)
}

pub(crate) fn partition(topic: &str, number: i32) -> TopicPartition {
    TopicPartition::new(topic, number)
}

pub(crate) fn ids(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().copied().map(BrokerId).collect()
}

pub(crate) async fn ask(kafka: &Kafka) -> BrokerAnswer {
    kafka.ask(&kafka.bootstrap()[0], SHORT).await.expect("an answer")
}

pub(crate) async fn make_topic(kafka: &Kafka, name: &str, partitions: i32, replication_factor: i16) {
    let configs = BTreeMap::from([("retention.ms".to_owned(), "600000".to_owned())]);
    let topic = NewTopic { name: name.into(), partitions, replication_factor, configs };
    kafka.create_topic(&topic).await.expect("created");
    kafka.create_topic(&topic).await.expect("one that is there counts as created");
    eventually("the topic is known to all", || async {
        let table = kafka.describe(&[name.into()]).await.expect("topics");
        table.get(name).is_some_and(|t| {
            t.partitions.len() == partitions as usize && t.partitions.iter().all(|p| !p.is_under_replicated())
        })
    })
    .await;
}

/// Waits until `question` says yes.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut question: impl FnMut() -> F) {
    let began = Instant::now();
    while !question().await {
        assert!(began.elapsed() < LONG, "not within {LONG:?}: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(crate) async fn partition_now(kafka: &Kafka, at: &TopicPartition) -> Partition {
    let table = kafka.describe(std::slice::from_ref(&at.topic)).await.expect("topics");
    table[&at.topic].partitions[at.partition as usize].clone()
}

/// A partition of topic `t` that has a replica on `dead` and is led by another broker.
pub(crate) async fn with_dead_replica(kafka: &Kafka, dead: BrokerId) -> TopicPartition {
    let table = kafka.describe(&["t".into()]).await.expect("topics");
    let has = |p: &Partition| p.replicas.contains(&dead) && p.leader.is_some_and(|leader| leader != dead);
    let number = table["t"].partitions.iter().position(has).expect("a partition with a replica there");
    partition("t", number as i32)
}

/// The replicas of a partition, the live one replaced by a broker of `live` that has none.
pub(crate) async fn with_one_replaced(
    kafka: &Kafka,
    at: &TopicPartition,
    dead: BrokerId,
    live: &[BrokerId],
) -> Vec<BrokerId> {
    let replicas = partition_now(kafka, at).await.replicas;
    let fresh = live.iter().copied().find(|b| !replicas.contains(b)).expect("a broker without a replica");
    replicas.iter().map(|b| if *b == dead { dead } else { fresh }).collect()
}
