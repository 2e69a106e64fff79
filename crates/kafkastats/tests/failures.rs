//! The reasons for which the original says that a report has failed: each of them is made, and delivered. Where there are
//! figures, what is wrong costs its own and does not make the report a failure, which readers would throw away.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic, in its helpers too")]

#[path = "common/cluster.rs"]
mod fake_cluster;
#[path = "common/host.rs"]
mod fake_host;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use brokerstats::{BrokerError, BrokerStats};
use cluster::BrokerId;
use fake_cluster::{Fake, agent, exporter, outbox, publisher, sent};
use fake_host::FakeHost;
use kafkastats::agent::Agent;
use kafkastats::gather::Gatherer;
use kafkastats::host::{Choice, HostSource};
use kafkastats::jvm::{Source, Way};

/// The report as it arrives.
async fn delivered(agent: &mut Agent, fake: &Arc<Fake>) -> BrokerStats {
    let outbox = outbox(5);
    outbox.push(agent.report().await);
    fake.records.lock().unwrap().clear();
    assert!(publisher(fake, &outbox).send_all().await);
    sent(fake).pop().unwrap()
}

/// Whether it is a failure, why, how many replicas it has figures of, and the words.
async fn outcome(agent: &mut Agent, fake: &Arc<Fake>) -> (bool, Option<BrokerError>, usize, String) {
    let stats = delivered(agent, fake).await;
    let words = stats.failure_detail.unwrap_or_default();
    (stats.has_failure, stats.failure_reason, stats.leader_replica_stats.len(), words)
}

fn kill(fake: &Fake) {
    // The topic is there, and led by others.
    *fake.topic.lock().unwrap() = Some(3);
    fake.down.lock().unwrap().push("b1:1".to_owned());
}

fn on(host: &FakeHost) -> HostSource {
    HostSource::new(Choice::On, host.path()).unwrap()
}

#[tokio::test]
async fn disk_failure() {
    let fake = Arc::new(Fake::default());
    fake.has_failed_dir.store(true, Ordering::Relaxed);
    let (failure, reason, replicas, words) = outcome(&mut agent(&fake), &fake).await;
    assert_eq!((failure, reason, replicas), (true, Some(BrokerError::DiskFailure), 1));
    assert!(words.starts_with("log directory /d: "), "{words}");
}

#[tokio::test]
async fn disk_failure_of_a_file_system_that_is_read_only() {
    let (fake, host) = (Arc::new(Fake::default()), FakeHost::new());
    host.broker(8, "node.id=1\n");
    let mut agent = agent(&fake).with_host(on(&host));
    let mounts = |options: &str| {
        host.put("proc/8/mounts", &format!("/dev/a / ext4 rw 0 0\n/dev/b /d ext4 {options} 0 0\n"));
    };
    mounts("rw,errors=remount-ro");
    let (failure, reason, _, _) = outcome(&mut agent, &fake).await;
    assert_eq!((failure, reason), (false, None));
    mounts("ro,errors=remount-ro");
    let (failure, reason, replicas, words) = outcome(&mut agent, &fake).await;
    assert_eq!((failure, reason, replicas), (false, Some(BrokerError::DiskFailure), 1));
    assert!(words.contains("log directory /d: its file system is mounted read-only"), "{words}");
}

#[tokio::test]
async fn jmx_connection_failure() {
    let fake = Arc::new(Fake::default());
    // The JVM was asked for, and nobody is there.
    let gone = Source::new(vec![Way::Prometheus(exporter(vec![]), vec![])]);
    let (failure, reason, replicas, words) = outcome(&mut agent(&fake).with_jvm(gone, true), &fake).await;
    assert_eq!((failure, reason, replicas), (false, Some(BrokerError::JmxConnectionFailure), 1));
    assert!(words.starts_with("prometheus: "), "{words}");
    // Somebody else is there.
    let page = "kafka_server_kafkaserver_brokerstate 3\nkafka_server_app_info_starttimems{id=\"2\"} 1\n";
    let neighbour = Source::new(vec![Way::Prometheus(exporter(vec![page.to_owned()]), vec![])]);
    let (failure, reason, replicas, words) =
        outcome(&mut agent(&fake).with_jvm(neighbour, true), &fake).await;
    assert_eq!((failure, reason, replicas), (false, Some(BrokerError::JmxConnectionFailure), 1));
    assert_eq!(words, "prometheus: the JVM is broker 2, and broker 1 is meant");
    // Nor the broker itself.
    kill(&fake);
    let (failure, reason, replicas, _) = outcome(&mut agent(&fake), &fake).await;
    assert_eq!((failure, reason, replicas), (true, Some(BrokerError::JmxConnectionFailure), 0));
}

#[tokio::test]
async fn jmx_query_failure() {
    let fake = Arc::new(Fake::default());
    let page = exporter(vec!["<html>no metrics</html>".to_owned()]);
    let source = Source::new(vec![Way::Prometheus(page, vec![])]);
    let (failure, reason, replicas, words) = outcome(&mut agent(&fake).with_jvm(source, true), &fake).await;
    assert_eq!((failure, reason, replicas), (false, Some(BrokerError::JmxQueryFailure), 1));
    assert!(words.contains("no metrics"), "{words}");
}

#[tokio::test]
async fn kafka_server_properties_failure() {
    let fake = Arc::new(Fake::default());
    let host = FakeHost::new();
    let missing = host.path().join("server.properties");
    // The broker is known, so only what the file says is missing.
    let mut known = agent(&fake).with_properties(missing.clone());
    let (failure, reason, replicas, words) = outcome(&mut known, &fake).await;
    let expected = Some(BrokerError::KafkaServerPropertiesFailure);
    assert_eq!((failure, reason, replicas), (false, expected, 1));
    assert!(words.starts_with(&format!("reading {}: ", missing.display())), "{words}");
    // It is known from the file alone.
    let gatherer = Gatherer::new(fake.clone(), fake.clone(), BrokerId(-1));
    let mut unknown = Agent::new(gatherer).with_properties(missing);
    let stats = delivered(&mut unknown, &fake).await;
    assert_eq!((stats.has_failure, stats.failure_reason, stats.id), (true, expected, -1));
    assert!(stats.name.is_some_and(|name| !name.is_empty()), "the original drops reports without a name");
    host.put("server.properties", "log.dirs=/d\n");
    assert!(outcome(&mut unknown, &fake).await.3.contains("neither node.id nor broker.id"));
    host.put("server.properties", "broker.id=1\nzookeeper.connect=z:2181/k\n");
    let stats = delivered(&mut unknown, &fake).await;
    assert_eq!((stats.has_failure, stats.failure_reason, stats.id), (false, None, 1));
    assert_eq!((stats.zk_url.as_deref(), stats.num_leaders), (Some("z:2181/k"), 1));
}

#[tokio::test]
async fn missing_kafka_process() {
    let (fake, host) = (Arc::new(Fake::default()), FakeHost::new());
    let mut agent = agent(&fake).with_host(on(&host));
    let (failure, reason, replicas, words) = outcome(&mut agent, &fake).await;
    assert_eq!((failure, reason, replicas), (false, Some(BrokerError::MissingKafkaProcess), 1));
    assert_eq!(words, "no process of this host is broker 1");
    // If it does not answer either, that is why.
    kill(&fake);
    let (failure, reason, _, words) = outcome(&mut agent, &fake).await;
    assert_eq!((failure, reason), (true, Some(BrokerError::MissingKafkaProcess)));
    assert!(
        words.contains("cannot reach") && words.ends_with("no process of this host is broker 1"),
        "{words}"
    );
}

#[tokio::test]
async fn a_process_that_runs_and_does_not_answer_is_not_missing() {
    let (fake, host) = (Arc::new(Fake::default()), FakeHost::new());
    host.broker(8, "node.id=1\n");
    kill(&fake);
    let (_, reason, _, _) = outcome(&mut agent(&fake).with_host(on(&host)), &fake).await;
    assert_eq!(reason, Some(BrokerError::JmxConnectionFailure));
}

#[tokio::test]
async fn multiple_kafka_processes() {
    let (fake, host) = (Arc::new(Fake::default()), FakeHost::new());
    host.broker(8, "node.id=1\n");
    host.broker(9, "node.id=1\n");
    let mut agent = agent(&fake).with_host(on(&host));
    let (failure, reason, replicas, words) = outcome(&mut agent, &fake).await;
    assert_eq!((failure, reason, replicas), (false, Some(BrokerError::MultipleKafkaProcesses), 1));
    assert_eq!(words, "each of the processes [8, 9] may be broker 1");
    kill(&fake);
    let (failure, reason, _, _) = outcome(&mut agent, &fake).await;
    assert_eq!((failure, reason), (true, Some(BrokerError::MultipleKafkaProcesses)));
}

#[tokio::test]
async fn unknown_error() {
    let fake = Arc::new(Fake::default());
    let mut agent = agent(&fake);
    agent.report().await;
    *fake.cluster_id.lock().unwrap() = Some("other".to_owned());
    let (failure, reason, _, _) = outcome(&mut agent, &fake).await;
    assert_eq!((failure, reason), (true, Some(BrokerError::UnknownError)));
}
