//! Laws of gathering and publishing, over a cluster that answers what the test wants.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic, in its helpers too")]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brokerstats::{BrokerError, BrokerStats, Codec, Quality, VERSION_HEADER};
use cluster::{
    BoxFuture, Broker, BrokerAddress, BrokerAnswer, BrokerId, Capabilities, ClientError, ClusterId,
    ConfigChange, ConfigResource, LogDir, LogDirReplica, LogReader, LogWriter, NewRecord, NewTopic, OffsetAt,
    Partition, PartitionResults, ReadBatch, Reader, Reassignments, Topic, TopicName, TopicPartition,
    TopicTable, Writer,
};
use kafkastats::agent::Agent;
use kafkastats::gather::{Gatherer, broker_at_bootstrap};
use kafkastats::jvm::http::Endpoint;
use kafkastats::jvm::{Source, Way};
use kafkastats::publish::{Destination, Outbox, Publisher};

/// A cluster of brokers 1 and 2 that listen at `b1:1` and `b2:2`; broker 1 leads `t-0` of 100 bytes and 10 offsets.
#[derive(Default)]
struct Fake {
    /// Addresses where nobody answers.
    down: Mutex<Vec<String>>,
    cluster_id: Mutex<Option<String>>,
    is_broker_1_dropped: AtomicBool,
    has_no_rights: AtomicBool,
    config_questions: AtomicUsize,
    topic: Mutex<Option<i32>>,
    created: Mutex<Vec<NewTopic>>,
    refuses_records: AtomicBool,
    records: Mutex<Vec<NewRecord>>,
}

fn address(id: i32) -> BrokerAddress {
    BrokerAddress { host: format!("b{id}").into(), port: id as u16 }
}

fn unreachable(at: impl ToString) -> ClientError {
    ClientError::Unreachable { at: at.to_string(), why: "refused".to_owned() }
}

fn denied(doing: &'static str) -> ClientError {
    ClientError::Denied { doing, why: "acl".to_owned() }
}

impl Fake {
    fn allowed<T>(&self, doing: &'static str, value: T) -> Result<T, ClientError> {
        if self.has_no_rights.load(Ordering::Relaxed) { Err(denied(doing)) } else { Ok(value) }
    }

    fn answer(&self) -> BrokerAnswer {
        let ids = if self.is_broker_1_dropped.load(Ordering::Relaxed) { 2..3 } else { 1..3 };
        let live =
            ids.map(|id| (BrokerId(id), Broker { id: BrokerId(id), address: address(id), rack: None }));
        BrokerAnswer {
            cluster_id: ClusterId(self.cluster_id.lock().unwrap().as_deref().unwrap_or("c").into()),
            controller: None,
            live: live.collect(),
            fenced: BTreeMap::new(),
            capabilities: Capabilities::default(),
            took: Duration::ZERO,
        }
    }
}

impl Reader for Fake {
    fn bootstrap(&self) -> Vec<BrokerAddress> {
        vec![address(1)]
    }

    fn ask<'a>(
        &'a self,
        at: &'a BrokerAddress,
        _limit: Duration,
    ) -> BoxFuture<'a, Result<BrokerAnswer, ClientError>> {
        let is_down = self.down.lock().unwrap().contains(&at.to_string());
        Box::pin(async move { if is_down { Err(unreachable(at)) } else { Ok(self.answer()) } })
    }

    fn topics<'a>(&'a self, at: &'a BrokerAddress) -> BoxFuture<'a, Result<TopicTable, ClientError>> {
        assert_eq!(*at, address(1), "the broker itself is asked");
        let ids = [BrokerId(1), BrokerId(2)];
        let partition = Partition { leader: Some(BrokerId(1)), replicas: ids.into(), isr: ids.into() };
        let topic = Topic { internal: false, partitions: vec![partition] };
        Box::pin(async move { Ok(TopicTable::from([("t".into(), topic)])) })
    }

    fn describe<'a>(&'a self, _topics: &'a [TopicName]) -> BoxFuture<'a, Result<TopicTable, ClientError>> {
        Box::pin(async { Err(unreachable("describing single topics is not part of this")) })
    }

    fn witnesses<'a>(
        &'a self,
        names: &'a [TopicName],
        _count: usize,
    ) -> BoxFuture<'a, Result<Vec<TopicTable>, ClientError>> {
        Box::pin(async move { Ok(vec![self.describe(names).await?]) })
    }

    fn reassignments(&self) -> BoxFuture<'_, Result<Reassignments, ClientError>> {
        Box::pin(async { self.allowed("listing reassignments", Reassignments::new()) })
    }

    fn log_dirs<'a>(
        &'a self,
        brokers: &'a [Broker],
    ) -> BoxFuture<'a, BTreeMap<BrokerId, Result<Vec<LogDir>, ClientError>>> {
        let replica = LogDirReplica { size_bytes: 100, offset_lag: 0, is_future: false };
        let dir = LogDir {
            path: "/d".into(),
            error: None,
            total_bytes: Some(10),
            usable_bytes: Some(5),
            replicas: BTreeMap::from([(TopicPartition::new("t", 0), replica)]),
        };
        let answer = self.allowed("describing log directories", vec![dir]);
        Box::pin(async move { BTreeMap::from([(brokers[0].id, answer)]) })
    }

    fn configs<'a>(
        &'a self,
        resources: &'a [ConfigResource],
        keys: &'a [&'a str],
    ) -> BoxFuture<'a, Result<BTreeMap<ConfigResource, BTreeMap<String, String>>, ClientError>> {
        self.config_questions.fetch_add(1, Ordering::Relaxed);
        let values = BTreeMap::from([(keys[0].to_owned(), "delete".to_owned())]);
        let all = resources.iter().map(|resource| (resource.clone(), values.clone())).collect();
        Box::pin(async move { self.allowed("describing configs", all) })
    }
}

impl LogReader for Fake {
    fn partitions<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<i32, ClientError>> {
        let found = *self.topic.lock().unwrap();
        Box::pin(async move { found.ok_or_else(|| ClientError::UnknownTopic { what: topic.to_owned() }) })
    }

    fn offset<'a>(
        &'a self,
        _at: &'a TopicPartition,
        which: OffsetAt,
    ) -> BoxFuture<'a, Result<i64, ClientError>> {
        let offset = if which == OffsetAt::Start { 0 } else { 10 };
        Box::pin(async move { self.allowed("listing offsets", offset) })
    }

    fn read<'a>(
        &'a self,
        _at: &'a TopicPartition,
        _offset: i64,
        _wait: Duration,
    ) -> BoxFuture<'a, Result<ReadBatch, ClientError>> {
        Box::pin(async { Err(unreachable("reading is not part of this")) })
    }
}

impl Writer for Fake {
    fn reassign<'a>(
        &'a self,
        _batch: &'a BTreeMap<TopicPartition, Option<Vec<BrokerId>>>,
    ) -> BoxFuture<'a, Result<PartitionResults, ClientError>> {
        panic!("an agent never moves partitions")
    }

    fn elect_preferred<'a>(
        &'a self,
        _partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<PartitionResults, ClientError>> {
        panic!("an agent never elects leaders")
    }

    fn alter_configs<'a>(
        &'a self,
        _changes: &'a BTreeMap<ConfigResource, Vec<ConfigChange>>,
    ) -> BoxFuture<'a, Result<BTreeMap<ConfigResource, Result<(), ClientError>>, ClientError>> {
        panic!("an agent never changes configs")
    }

    fn create_topic<'a>(&'a self, topic: &'a NewTopic) -> BoxFuture<'a, Result<(), ClientError>> {
        let done = self.allowed("creating a topic", ());
        if done.is_ok() {
            self.created.lock().unwrap().push(topic.clone());
            *self.topic.lock().unwrap() = Some(topic.partitions);
        }
        Box::pin(async move { done })
    }
}

impl LogWriter for Fake {
    fn append<'a>(&'a self, _topic: &'a str, record: NewRecord) -> BoxFuture<'a, Result<(), ClientError>> {
        let refuses = self.refuses_records.load(Ordering::Relaxed);
        if !refuses {
            self.records.lock().unwrap().push(record);
        }
        Box::pin(async move { if refuses { Err(unreachable("leader")) } else { Ok(()) } })
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), ClientError>> {
        Box::pin(async { Ok(()) })
    }
}

fn agent(fake: &Arc<Fake>) -> Agent {
    Agent::new(Gatherer::new(fake.clone(), fake.clone(), BrokerId(1)))
}

fn publisher(fake: &Arc<Fake>, outbox: &Arc<Outbox>) -> Publisher {
    let destination = Destination {
        reader: fake.clone(),
        writer: fake.clone(),
        logs: fake.clone(),
        log: fake.clone(),
        topic: "brokerstats".to_owned(),
    };
    Publisher::new(destination, Codec::new().unwrap(), outbox.clone())
        .with_pauses(Duration::from_millis(1), Duration::from_millis(2))
}

#[tokio::test]
async fn a_broker_that_answers_is_reported_whole() {
    let stats = agent(&Arc::default()).report().await;
    assert!(!stats.has_failure);
    assert_eq!((stats.failure_detail, stats.cluster_id.as_deref()), (None, Some("c")));
    assert_eq!((stats.id, stats.name.as_deref(), stats.num_leaders), (1, Some("b1"), 1));
    let replica = &stats.leader_replica_stats[0];
    assert_eq!((replica.log_size_in_bytes, replica.start_offset, replica.end_offset), (100, 0, 10));
}

/// An exporter that answers each request in turn with the next text, and then is gone.
fn exporter(texts: Vec<String>) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for text in texts {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.extend(byte);
            }
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).unwrap();
        }
    });
    url.parse().unwrap()
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

    fake.is_broker_1_dropped.store(false, Ordering::Relaxed);
    fake.down.lock().unwrap().clear();
    assert!(!agent.report().await.has_failure);
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
}

fn sent(fake: &Fake) -> Vec<BrokerStats> {
    let codec = Codec::new().unwrap();
    fake.records.lock().unwrap().iter().map(|record| codec.decode_stats(&record.value).unwrap()).collect()
}

#[tokio::test]
async fn a_missing_topic_is_created_and_the_record_goes_to_the_brokers_partition() {
    let (fake, outbox) = (Arc::new(Fake::default()), Arc::new(Outbox::new(5)));
    outbox.push(BrokerStats::new(7, 10));
    assert!(publisher(&fake, &outbox).send_all().await);
    let created = fake.created.lock().unwrap();
    // Two brokers are alive, so two replicas.
    assert_eq!(
        (&*created[0].name, created[0].partitions, created[0].replication_factor),
        ("brokerstats", 8, 2)
    );
    let records = fake.records.lock().unwrap();
    assert_eq!((records[0].partition, records[0].key.as_deref()), (Some(2), Some(&b"10"[..])));
    assert_eq!(records[0].headers, [(VERSION_HEADER.to_owned(), b"1".to_vec())]);
}

#[tokio::test]
async fn a_report_without_a_broker_id_is_delivered() {
    let (fake, outbox) = (Arc::new(Fake::default()), Arc::new(Outbox::new(5)));
    *fake.topic.lock().unwrap() = Some(3);
    outbox.push(BrokerStats::new(7, -1));
    assert!(publisher(&fake, &outbox).send_all().await);
    assert_eq!(fake.records.lock().unwrap()[0].partition, Some(2));
}

#[tokio::test]
async fn while_the_topic_is_away_the_oldest_reports_go_and_are_counted() {
    let (fake, outbox) = (Arc::new(Fake::default()), Arc::new(Outbox::new(3)));
    let mut publisher = publisher(&fake, &outbox);
    fake.has_no_rights.store(true, Ordering::Relaxed);
    for timestamp in 0..5 {
        outbox.push(BrokerStats::new(timestamp, 1));
        assert!(!publisher.send_all().await, "the topic cannot be created");
    }
    fake.has_no_rights.store(false, Ordering::Relaxed);
    fake.refuses_records.store(true, Ordering::Relaxed);
    assert!(!publisher.send_all().await, "the record is refused");
    assert_eq!((outbox.len(), outbox.dropped()), (3, 2));
    fake.refuses_records.store(false, Ordering::Relaxed);
    assert!(publisher.send_all().await);
    let sent: Vec<_> = sent(&fake).iter().map(|stats| (stats.timestamp, stats.reports_dropped)).collect();
    assert_eq!(sent, [(2, 2), (3, 2), (4, 2)]);
}

#[tokio::test]
async fn goes_on_by_itself_when_the_topic_is_back() {
    let (fake, outbox) = (Arc::new(Fake::default()), Arc::new(Outbox::new(3)));
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
    let (fake, outbox) = (Arc::new(Fake::default()), Arc::new(Outbox::new(3)));
    outbox.push(BrokerStats::new(1, 1));
    let publisher = publisher(&fake, &outbox);
    kafkastats::agent::run(agent(&fake), publisher, outbox, Duration::from_secs(3600), async {}).await;
    assert!(sent(&fake).iter().any(|stats| stats.timestamp == 1));
}
