//! Laws of gathering and publishing, over a cluster that answers what the test wants.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic, in its helpers too")]

#[path = "common/cluster.rs"]
mod fake_cluster;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use brokerstats::{BrokerError, BrokerStats, Codec, Quality, StatsWriter, VERSION_HEADER};
use cluster::BrokerId;
use fake_cluster::{Fake, agent, exporter, outbox, publisher, sent};
use kafkastats::gather::broker_at_bootstrap;
use kafkastats::jvm::{Source, Way};
use kafkastats::publish::Outbox;
use kafkastats::status::Status;

#[tokio::test]
async fn a_broker_that_answers_is_reported_whole() {
    let stats = agent(&Arc::default()).report().await;
    assert!(!stats.has_failure);
    assert_eq!((stats.failure_detail, stats.cluster_id.as_deref()), (None, Some("c")));
    assert_eq!((stats.id, stats.name.as_deref(), stats.num_leaders), (1, Some("b1"), 1));
    let replica = &stats.leader_replica_stats[0];
    assert_eq!((replica.log_size_in_bytes, replica.start_offset, replica.end_offset), (100, 0, 10));
}

#[tokio::test]
async fn bytes_out_come_from_the_jvm_and_a_jvm_out_of_reach_costs_nothing_else() {
    let text =
        |count: u64| format!("kafka_server_brokertopicmetrics_bytesout_total{{topic=\"t\"}} {count}\n");
    let source =
        || Source::new(vec![Way::Prometheus(exporter(vec![text(1_000), text(1_000_000_000_000)]), vec![])]);
    let fake = Arc::default();
    let mut agent = agent(&fake).with_jvm(source(), true);
    let first = agent.report().await;
    assert_eq!(
        (first.leaders_bytes_out_1_min_rate, first.leader_bytes_out_quality),
        (-1, vec![Quality::Unknown])
    );
    let second = agent.report().await;
    assert_eq!(second.failure_detail, None);
    assert_eq!(second.leader_bytes_out_quality, [Quality::Exact], "the only replica of its topic");
    let rate = second.leader_replica_stats[0].bytes_out_1_min_mean_rate;
    assert!(rate > 1_000_000, "{rate}");
    assert_eq!(second.topics_bytes_out_1_min_rate.get("t"), Some(&rate));
    assert_eq!(second.leaders_bytes_out_1_min_rate, rate);

    let third = agent.report().await;
    assert!(!third.has_failure);
    assert_eq!(third.num_leaders, 1);
    assert_eq!(third.leader_replica_stats[0].bytes_out_1_min_mean_rate, -1);
    let detail = third.failure_detail.unwrap();
    assert!(detail.starts_with("prometheus: "), "{detail}");
    // Where nobody asked for these figures, their absence is nothing to tell.
    let nowhere = Source::new(vec![Way::Prometheus(exporter(vec![]), vec![])]);
    let stats = self::agent(&fake).with_jvm(nowhere, false).report().await;
    assert_eq!(stats.failure_detail, None);
}

#[tokio::test]
async fn a_missing_right_costs_what_it_guards_and_no_more() {
    let fake = Arc::new(Fake::default());
    fake.has_no_rights.store(true, Ordering::Relaxed);
    let mut agent = agent(&fake);
    let stats = agent.report().await;
    assert_eq!((stats.has_failure, stats.num_leaders, stats.leader_replicas.len()), (false, 1, 1));
    let detail = stats.failure_detail.unwrap();
    for lacking in
        ["log directories", "reassignments", "cleanup policies", "start offsets of 1 of 1", "end offsets"]
    {
        assert!(detail.contains(lacking), "{lacking} in {detail}");
    }
    agent.report().await;
    assert_eq!(
        fake.config_questions.load(Ordering::Relaxed),
        1,
        "a refused question is not put again at once"
    );
}

#[tokio::test]
async fn figures_of_a_topic_with_remote_storage_are_no_exact_ones() {
    let fake = Arc::new(Fake::default());
    for (is_tiered, quality) in [(false, Quality::Exact), (true, Quality::Estimated)] {
        fake.is_tiered.store(is_tiered, Ordering::Relaxed);
        let mut agent = agent(&fake);
        agent.report().await;
        assert_eq!(agent.report().await.leader_bytes_in_quality, [quality], "{is_tiered}");
    }
}

#[tokio::test]
async fn a_dead_broker_is_reported_as_a_failure_by_what_is_known_of_it() {
    let fake = Arc::new(Fake::default());
    let mut agent = agent(&fake);
    agent.report().await;
    fake.down.lock().unwrap().push("b1:1".to_owned());
    // Others still count it as alive, so it is asked itself.
    let stats = agent.report().await;
    assert_eq!((stats.has_failure, stats.failure_reason), (true, Some(BrokerError::JmxConnectionFailure)));
    assert_eq!((stats.id, stats.name.as_deref(), stats.cluster_id.as_deref()), (1, Some("b1"), Some("c")));
    let detail = stats.failure_detail.unwrap();
    assert!(detail.starts_with("asking broker 1 at b1:1: cannot reach"), "{detail}");

    fake.is_broker_1_dropped.store(true, Ordering::Relaxed);
    let detail = agent.report().await.failure_detail.unwrap();
    assert_eq!(detail, "broker 1 is not among the live brokers [2]");

    fake.down.lock().unwrap().push("b2:2".to_owned());
    let detail = agent.report().await.failure_detail.unwrap();
    let expected = "broker 1 does not answer (cannot reach b1:1: refused), nor does another broker of the cluster: \
                    cannot reach b2:2: refused";
    assert_eq!(detail, expected);

    fake.is_broker_1_dropped.store(false, Ordering::Relaxed);
    fake.down.lock().unwrap().clear();
    assert!(!agent.report().await.has_failure);
}

#[tokio::test]
async fn the_death_of_a_broker_that_is_alone_is_told_as_its_own() {
    let fake = Arc::new(Fake::default());
    fake.is_broker_1_alone.store(true, Ordering::Relaxed);
    let mut agent = agent(&fake);
    assert!(!agent.report().await.has_failure);
    fake.down.lock().unwrap().push("b1:1".to_owned());
    let detail = agent.report().await.failure_detail.unwrap();
    assert_eq!(detail, "asking broker 1 at b1:1: cannot reach b1:1: refused");
}

#[tokio::test]
async fn a_broker_never_seen_is_reported_too() {
    let fake = Arc::new(Fake::default());
    fake.down.lock().unwrap().extend(["b1:1".to_owned(), "b2:2".to_owned()]);
    let stats = agent(&fake).report().await;
    assert_eq!((stats.id, stats.has_failure, &stats.name), (1, true, &None));
    assert!(Codec::new().unwrap().encode_stats(&stats).is_ok());
}

#[tokio::test]
async fn another_cluster_at_the_same_address_is_not_measured() {
    let fake = Arc::new(Fake::default());
    let mut agent = agent(&fake);
    agent.report().await;
    *fake.cluster_id.lock().unwrap() = Some("other".to_owned());
    let stats = agent.report().await;
    assert_eq!((stats.has_failure, stats.cluster_id.as_deref()), (true, Some("c")));
    assert_eq!(stats.failure_detail.as_deref(), Some("the cluster is other, and was c"));
}

#[tokio::test]
async fn the_broker_at_the_bootstrap_address_is_meant_where_none_is_named() {
    assert_eq!(broker_at_bootstrap(&Fake::default()).await.unwrap(), BrokerId(1));
    let alone = Fake::default();
    alone.is_broker_1_dropped.store(true, Ordering::Relaxed);
    assert_eq!(broker_at_bootstrap(&alone).await.unwrap(), BrokerId(2), "the only one");
    let all = Fake::default();
    *all.bootstrap.lock().unwrap() = vec![1, 2];
    let told = broker_at_bootstrap(&all).await.unwrap_err().to_string();
    assert_eq!(told, "which broker is meant? The cluster has [1, 2]: name one with --broker-id");
}

#[tokio::test]
async fn a_missing_topic_is_created_and_the_record_goes_to_the_brokers_partition() {
    let (fake, outbox) = (Arc::new(Fake::default()), outbox(5));
    outbox.push(BrokerStats::new(7, 10));
    assert!(publisher(&fake, &outbox).send_all().await);
    let created = fake.created.lock().unwrap();
    // Two brokers are alive, so two replicas.
    assert_eq!(
        (&*created[0].name, created[0].partitions, created[0].replication_factor),
        ("brokerstats", 8, 2)
    );
    // A broker with many partitions has a report that is larger than Kafka's default takes.
    assert_eq!(created[0].configs["max.message.bytes"], "8388608");
    let records = fake.records.lock().unwrap();
    assert_eq!((records[0].partition, records[0].key.as_deref()), (Some(2), Some(&b"10"[..])));
    assert_eq!(records[0].headers, [(VERSION_HEADER.to_owned(), b"2".to_vec())]);
}

#[tokio::test]
async fn a_report_without_a_broker_id_is_delivered() {
    let (fake, outbox) = (Arc::new(Fake::default()), outbox(5));
    *fake.topic.lock().unwrap() = Some(3);
    outbox.push(BrokerStats::new(7, -1));
    assert!(publisher(&fake, &outbox).send_all().await);
    assert_eq!(fake.records.lock().unwrap()[0].partition, Some(2));
}

#[tokio::test]
async fn while_the_topic_is_away_the_oldest_reports_go_and_are_counted() {
    let (fake, outbox) = (Arc::new(Fake::default()), outbox(3));
    let mut publisher = publisher(&fake, &outbox);
    fake.has_no_rights.store(true, Ordering::Relaxed);
    for timestamp in 0..5 {
        outbox.push(BrokerStats::new(timestamp, 1));
        assert!(!publisher.send_all().await, "the topic cannot be created");
    }
    fake.has_no_rights.store(false, Ordering::Relaxed);
    fake.refuses_records.store(true, Ordering::Relaxed);
    assert!(!publisher.send_all().await, "the record is refused");
    assert_eq!((outbox.len(), outbox.dropped(), outbox.published()), (3, 2, 0));
    assert!(outbox.trouble().is_some_and(|trouble| trouble.starts_with("writing to topic brokerstats")));
    fake.refuses_records.store(false, Ordering::Relaxed);
    assert!(publisher.send_all().await);
    let sent: Vec<_> = sent(&fake).iter().map(|stats| (stats.timestamp, stats.reports_dropped)).collect();
    assert_eq!(sent, [(2, 0), (3, 1), (4, 2)]);
    assert_eq!((outbox.published(), outbox.trouble()), (3, None));
}

#[tokio::test]
async fn a_report_that_the_topic_never_takes_is_not_in_the_way_of_others() {
    let (fake, outbox) = (Arc::new(Fake::default()), outbox(5));
    fake.largest_record.store(1_000, Ordering::Relaxed);
    outbox.push(BrokerStats::new(1, 1));
    outbox.push(BrokerStats { failure_detail: Some("x".repeat(2_000)), ..BrokerStats::new(2, 1) });
    outbox.push(BrokerStats::new(3, 1));
    outbox.push(BrokerStats { failure_detail: Some("x".repeat(2_000)), ..BrokerStats::new(4, 1) });
    assert!(publisher(&fake, &outbox).send_all().await);
    assert_eq!(sent(&fake).iter().map(|stats| stats.timestamp).collect::<Vec<_>>(), [1, 3]);
    assert_eq!((outbox.len(), outbox.dropped(), outbox.published()), (0, 2, 2));
    assert!(outbox.trouble().is_some_and(|trouble| trouble.contains("max.message.bytes")));
}

#[tokio::test]
async fn large_reports_wait_in_as_much_memory_as_is_given_to_them() {
    let report = |timestamp| {
        let failure_detail = Some("x".repeat(1_000));
        BrokerStats { failure_detail, ..BrokerStats::new(timestamp, 1) }
    };
    let outbox = Arc::new(Outbox::new(StatsWriter::new().unwrap(), 60).with_capacity_bytes(3_500));
    for timestamp in 0..10 {
        outbox.push(report(timestamp));
    }
    assert_eq!((outbox.len(), outbox.dropped()), (3, 7));
    // One that is larger than all of that is still the best there is.
    outbox.push(BrokerStats { failure_detail: Some("x".repeat(10_000)), ..BrokerStats::new(10, 1) });
    assert_eq!((outbox.len(), outbox.dropped()), (1, 10));
    outbox.push(report(11));
    assert_eq!((outbox.len(), outbox.dropped()), (1, 11));
    let fake = Arc::new(Fake::default());
    assert!(publisher(&fake, &outbox).send_all().await);
    let sent: Vec<_> = sent(&fake).iter().map(|stats| (stats.timestamp, stats.reports_dropped)).collect();
    assert_eq!(sent, [(11, 11)]);
}

#[tokio::test]
async fn goes_on_by_itself_when_the_topic_is_back() {
    let (fake, outbox) = (Arc::new(Fake::default()), outbox(3));
    fake.refuses_records.store(true, Ordering::Relaxed);
    outbox.push(BrokerStats::new(1, 1));
    let mut publisher = publisher(&fake, &outbox);
    let heal = async {
        while fake.created.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        fake.refuses_records.store(false, Ordering::Relaxed);
        while !outbox.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    let run = async {
        tokio::select! { () = publisher.run() => {}, () = heal => {} }
    };
    tokio::time::timeout(Duration::from_secs(20), run).await.unwrap();
    assert_eq!(sent(&fake).len(), 1);
}

#[tokio::test]
async fn a_stop_sends_what_waits() {
    let (fake, outbox) = (Arc::new(Fake::default()), outbox(3));
    outbox.push(BrokerStats::new(1, 1));
    let publisher = publisher(&fake, &outbox);
    let interval = Duration::from_secs(3600);
    let status = Status::new(1, interval, outbox.clone());
    kafkastats::agent::run(agent(&fake), publisher, outbox, interval, &status, async {}).await.unwrap();
    assert!(sent(&fake).iter().any(|stats| stats.timestamp == 1));
}
