//! An agent that is started while its own broker does not serve: what it remembers leads it to the cluster.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic, in its helpers too")]

#[path = "common/cluster.rs"]
mod fake_cluster;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use brokerstats::{BrokerError, BrokerStats};
use cluster::{ClusterId, Reader};
use fake_cluster::{Fake, address, agent, outbox, publisher, sent};
use kafkastats::agent::Agent;
use kafkastats::memory::Memory;
use kafkastats::status::Status;

/// An agent with what one before it has left in `dir`.
fn started(fake: &Arc<Fake>, dir: &Path) -> Agent {
    agent(fake).with_memory(Memory::open(dir, &fake.bootstrap()))
}

/// A directory that an agent has left, which saw its broker serve.
async fn left() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut before = started(&Arc::default(), dir.path());
    assert!(!before.report().await.has_failure);
    before.keep_in_mind().await;
    dir
}

/// Broker 1, the one of the bootstrap servers, recovers its logs: its port is closed, and Kafka has dropped it.
fn recovering() -> Arc<Fake> {
    let fake = Arc::new(Fake::default());
    fake.down.lock().unwrap().push(address(1).to_string());
    fake.is_broker_1_dropped.store(true, Ordering::Relaxed);
    fake
}

fn serves_again(fake: &Fake) {
    fake.down.lock().unwrap().clear();
    fake.is_broker_1_dropped.store(false, Ordering::Relaxed);
}

fn detail(stats: BrokerStats) -> String {
    stats.failure_detail.unwrap_or_default()
}

#[tokio::test]
async fn who_is_remembered_is_asked_where_no_bootstrap_server_answers() {
    let (dir, fake) = (left().await, recovering());
    let mut agent = started(&fake, dir.path());
    let stats = agent.report().await;
    assert_eq!((stats.id, stats.has_failure), (1, true));
    assert_eq!(stats.failure_reason, Some(BrokerError::JmxConnectionFailure));
    assert_eq!(stats.cluster_id.as_deref(), Some("c"));
    assert_eq!(detail(stats), "broker 1 is not among the live brokers [2]");
    // Publishing goes the same way, and to no other cluster.
    assert_eq!(fake.expected_cluster(), Some(ClusterId("c".into())));
    serves_again(&fake);
    assert!(!agent.report().await.has_failure);
    fake.down.lock().unwrap().push(address(1).to_string());
    assert!(detail(agent.report().await).starts_with("asking broker 1 at b1:1: "));
}

#[tokio::test]
async fn without_a_memory_nobody_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    let stats = started(&recovering(), dir.path()).report().await;
    assert_eq!(detail(stats), "looking for broker 1 in the cluster: cannot reach b1:1: refused");
}

#[tokio::test]
async fn a_stranger_at_a_remembered_address_is_not_heard() {
    let (dir, fake) = (left().await, recovering());
    fake.strangers.lock().unwrap().push(address(2).to_string());
    let mut agent = started(&fake, dir.path());
    let stats = agent.report().await;
    assert_eq!((stats.cluster_id.as_deref(), fake.expected_cluster()), (None, None));
    assert_eq!(detail(stats), "looking for broker 1 in the cluster: cannot reach b1:1: refused");
    serves_again(&fake);
    assert!(!agent.report().await.has_failure);
    assert_eq!(fake.expected_cluster(), None);
}

#[tokio::test]
async fn the_bootstrap_servers_say_which_cluster_is_meant() {
    let (dir, fake) = (left().await, Arc::new(Fake::default()));
    // The host has gone over to another cluster, while the one before still has a broker of the same id.
    fake.down.lock().unwrap().push(address(1).to_string());
    let mut agent = started(&fake, dir.path());
    assert_eq!(agent.report().await.cluster_id.as_deref(), Some("c"));
    serves_again(&fake);
    fake.strangers.lock().unwrap().push(address(1).to_string());
    let stats = agent.report().await;
    assert_eq!((stats.has_failure, stats.cluster_id.as_deref()), (false, Some("other")));
    assert_eq!(fake.expected_cluster(), Some(ClusterId("other".into())));
    agent.keep_in_mind().await;
    let memory = Memory::open(dir.path(), &fake.bootstrap());
    assert_eq!(memory.brokers().map(|known| known.cluster.to_string()).as_deref(), Some("other"));
}

/// By bootstrap servers that serve, or by the memory.
#[tokio::test]
async fn reports_of_a_broker_that_was_never_seen_come_from_the_first_interval_on() {
    let dir = left().await;
    for bootstrap in [vec![1, 2], vec![1]] {
        let fake = recovering();
        let mut agent = started(&fake, dir.path());
        if bootstrap.len() > 1 {
            agent = self::agent(&fake);
        }
        *fake.bootstrap.lock().unwrap() = bootstrap;
        // The agents of others have made the topic.
        *fake.topic.lock().unwrap() = Some(3);
        let outbox = outbox(3);
        let (publisher, interval) = (publisher(&fake, &outbox), Duration::from_secs(3600));
        let status = Status::new(1, interval, outbox.clone());
        let is_sent = async {
            while sent(&fake).is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let running = kafkastats::agent::run(agent, publisher, outbox, interval, &status, is_sent);
        tokio::time::timeout(Duration::from_secs(20), running).await.unwrap().unwrap();
        let stats = sent(&fake).remove(0);
        assert_eq!(stats.failure_reason, Some(BrokerError::JmxConnectionFailure));
        assert_eq!(detail(stats), "broker 1 is not among the live brokers [2]");
    }
}
