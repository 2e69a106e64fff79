//! A cluster that answers what the test wants.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brokerstats::{BrokerStats, Codec, StatsWriter};
use cluster::{
    BoxFuture, Broker, BrokerAddress, BrokerAnswer, BrokerId, Capabilities, ClientError, ClusterId,
    ConfigChange, ConfigResource, LogDir, LogDirReplica, LogReader, LogWriter, NewRecord, NewTopic, OffsetAt,
    Partition, PartitionResults, ReadBatch, Reader, Reassignments, Topic, TopicName, TopicPartition,
    TopicTable, Writer,
};
use kafkastats::agent::Agent;
use kafkastats::gather::Gatherer;
use kafkastats::jvm::http::Endpoint;
use kafkastats::publish::{Destination, Outbox, Publisher};

/// A cluster of brokers 1 and 2 that listen at `b1:1` and `b2:2`; broker 1 leads `t-0` of 100 bytes and 10 offsets.
#[derive(Default)]
pub(crate) struct Fake {
    /// Addresses where nobody answers.
    pub(crate) down: Mutex<Vec<String>>,
    pub(crate) cluster_id: Mutex<Option<String>>,
    /// Addresses at which a broker of a cluster `other` answers.
    pub(crate) strangers: Mutex<Vec<String>>,
    /// The cluster that it is told to lead to.
    pub(crate) expected: Mutex<Option<ClusterId>>,
    pub(crate) is_broker_1_dropped: AtomicBool,
    pub(crate) is_broker_1_alone: AtomicBool,
    /// The brokers that the bootstrap addresses are of, where it is not broker 1.
    pub(crate) bootstrap: Mutex<Vec<i32>>,
    pub(crate) has_no_rights: AtomicBool,
    pub(crate) has_failed_dir: AtomicBool,
    /// Whether the topic has remote storage.
    pub(crate) is_tiered: AtomicBool,
    pub(crate) config_questions: AtomicUsize,
    pub(crate) topic: Mutex<Option<i32>>,
    pub(crate) created: Mutex<Vec<NewTopic>>,
    pub(crate) refuses_records: AtomicBool,
    /// Bytes that the topic takes in one record; 0 for any.
    pub(crate) largest_record: AtomicUsize,
    pub(crate) records: Mutex<Vec<NewRecord>>,
}

pub(crate) fn address(id: i32) -> BrokerAddress {
    BrokerAddress { host: format!("b{id}").into(), port: id as u16 }
}

pub(crate) fn unreachable(at: impl ToString) -> ClientError {
    ClientError::Unreachable { at: at.to_string(), why: "refused".to_owned() }
}

pub(crate) fn denied(doing: &'static str) -> ClientError {
    ClientError::Denied { doing, why: "acl".to_owned() }
}

impl Fake {
    fn allowed<T>(&self, doing: &'static str, value: T) -> Result<T, ClientError> {
        if self.has_no_rights.load(Ordering::Relaxed) { Err(denied(doing)) } else { Ok(value) }
    }

    fn answer(&self) -> BrokerAnswer {
        let first = if self.is_broker_1_dropped.load(Ordering::Relaxed) { 2 } else { 1 };
        let ids = first..if self.is_broker_1_alone.load(Ordering::Relaxed) { 2 } else { 3 };
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
        let given = self.bootstrap.lock().unwrap();
        if given.is_empty() { vec![address(1)] } else { given.iter().copied().map(address).collect() }
    }

    fn expect_cluster(&self, cluster: Option<&ClusterId>) {
        *self.expected.lock().unwrap() = cluster.cloned();
    }

    fn expected_cluster(&self) -> Option<ClusterId> {
        self.expected.lock().unwrap().clone()
    }

    fn ask<'a>(
        &'a self,
        at: &'a BrokerAddress,
        _limit: Duration,
    ) -> BoxFuture<'a, Result<BrokerAnswer, ClientError>> {
        let is_down = self.down.lock().unwrap().contains(&at.to_string());
        let mut answer = self.answer();
        if self.strangers.lock().unwrap().contains(&at.to_string()) {
            answer.cluster_id = ClusterId("other".into());
        }
        Box::pin(async move { if is_down { Err(unreachable(at)) } else { Ok(answer) } })
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
        let error = self.has_failed_dir.load(Ordering::Relaxed).then(|| "I/O error".to_owned());
        let dir = LogDir {
            path: "/d".into(),
            error,
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
    ) -> BoxFuture<'a, BTreeMap<ConfigResource, Result<BTreeMap<String, String>, ClientError>>> {
        self.config_questions.fetch_add(1, Ordering::Relaxed);
        let mut values = BTreeMap::from([(keys[0].to_owned(), "delete".to_owned())]);
        if self.is_tiered.load(Ordering::Relaxed) {
            values.insert("remote.storage.enable".to_owned(), "true".to_owned());
        }
        let read = |of: &ConfigResource| (of.clone(), self.allowed("describing configs", values.clone()));
        let all = resources.iter().map(read).collect();
        Box::pin(async move { all })
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
        let largest = self.largest_record.load(Ordering::Relaxed);
        if largest > 0 && record.value.len() > largest {
            let code = "MESSAGE_TOO_LARGE".to_owned();
            let error = ClientError::Refused { doing: "writing records", code, why: String::new() };
            return Box::pin(async { Err(error) });
        }
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

pub(crate) fn agent(fake: &Arc<Fake>) -> Agent {
    Agent::new(Gatherer::new(fake.clone(), fake.clone(), BrokerId(1)))
}

pub(crate) fn outbox(capacity: usize) -> Arc<Outbox> {
    Arc::new(Outbox::new(StatsWriter::new().unwrap(), capacity))
}

pub(crate) fn publisher(fake: &Arc<Fake>, outbox: &Arc<Outbox>) -> Publisher {
    let destination = Destination {
        reader: fake.clone(),
        writer: fake.clone(),
        logs: fake.clone(),
        log: fake.clone(),
        topic: "brokerstats".to_owned(),
    };
    Publisher::new(destination, outbox.clone())
        .with_pauses(Duration::from_millis(1), Duration::from_millis(2))
}

/// An exporter that answers each request in turn with the next text, and then is gone.
pub(crate) fn exporter(texts: Vec<String>) -> Endpoint {
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

pub(crate) fn sent(fake: &Fake) -> Vec<BrokerStats> {
    let codec = Codec::new().unwrap();
    fake.records.lock().unwrap().iter().map(|record| codec.decode_stats(&record.value).unwrap()).collect()
}
