//! A made-up cluster for the tests of plugins and the shell: it answers as it is told, and writes down every change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster::{
    BoxFuture, Broker, BrokerAddress, BrokerAnswer, BrokerId, Capabilities, ClientError, ClusterId,
    ConfigChange, ConfigReadings, ConfigResource, ConfigResults, ConfigValues, LogDir, LogReader, LogWriter,
    NewRecord, NewTopic, OffsetAt, PartitionResults, ReadBatch, Reader, Reassignments, StoredRecord,
    TopicName, TopicPartition, TopicTable, Writer,
};
use control::{Now, Tick, Timestamp};
use tokio::time::Instant;

use crate::plugin::{BuildContext, Clock, Connection, Endpoint, Wake};
use crate::shell::connect::RealConnect;
use crate::store::memory::MemoryStore;
use crate::store::{Alone, Tenure, Term};

/// Its brokers swallow every probe, but for those with an answer; its topics are those given; it has one log, of one partition.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) topics: TopicTable,
    /// The records of the log, whose offsets count from 0. `None`: whoever asks for it never gets an answer.
    pub(crate) log: Mutex<Option<Vec<StoredRecord>>>,
    /// Dynamic configs.
    pub(crate) configs: Mutex<ConfigValues>,
    /// The broker that does not answer when its configs are read or changed.
    pub(crate) dead: Mutex<Option<BrokerId>>,
    /// How the next appends to a log end; they succeed when there is nothing here.
    pub(crate) refusals: Mutex<Vec<ClientError>>,
    /// Why it takes no orders to reassign.
    pub(crate) may_not: Mutex<Option<ClientError>>,
    /// So many of the next probes panic.
    pub(crate) dying: Mutex<u32>,
    /// What is answered at some addresses.
    pub(crate) answers: Mutex<BTreeMap<BrokerAddress, BrokerAnswer>>,
    /// The addresses of the configuration, if they are others than those that answer.
    pub(crate) bootstrap: Mutex<Option<Vec<BrokerAddress>>>,
    /// Which cluster it was said to be.
    pub(crate) expected: Mutex<Option<ClusterId>>,
    /// The changes that were asked for.
    pub(crate) changes: Mutex<Vec<&'static str>>,
}

impl Fake {
    fn change<T: Default + Send + 'static>(
        &self,
        what: &'static str,
    ) -> BoxFuture<'_, Result<T, ClientError>> {
        self.changes.lock().unwrap().push(what);
        Box::pin(async { Ok(T::default()) })
    }

    /// Why nothing can be done with a resource's configs.
    fn beyond(&self, of: &ConfigResource) -> Result<(), ClientError> {
        match (of, *self.dead.lock().unwrap()) {
            (ConfigResource::Broker(id), Some(dead)) if *id == dead => {
                Err(ClientError::Unreachable { at: format!("broker {id}"), why: "it is dead".to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// The log, as soon as there is one.
    async fn log(&self) -> Vec<StoredRecord> {
        let log = self.log.lock().unwrap().clone();
        match log {
            Some(log) => log,
            None => std::future::pending().await,
        }
    }

    /// From now on a broker of this cluster answers there, and says that it is the only one.
    pub(crate) fn answer_at(&self, at: &BrokerAddress, cluster: &str) {
        let broker = Broker { id: BrokerId(1), address: at.clone(), rack: None };
        let answer = BrokerAnswer {
            cluster_id: ClusterId(cluster.into()),
            controller: Some(broker.id),
            live: [(broker.id, broker)].into(),
            fenced: BTreeMap::new(),
            capabilities: Capabilities::default(),
            took: Duration::ZERO,
        };
        self.answers.lock().unwrap().insert(at.clone(), answer);
    }

    /// Adds a record to the log.
    pub(crate) fn append(&self, timestamp_ms: i64, value: Vec<u8>) {
        let mut log = self.log.lock().unwrap();
        let log = log.get_or_insert_default();
        let offset = i64::try_from(log.len()).unwrap();
        log.push(StoredRecord { offset, timestamp_ms, key: None, value: Some(value), headers: Vec::new() });
    }
}

impl Reader for Fake {
    fn bootstrap(&self) -> Vec<BrokerAddress> {
        let given = self.bootstrap.lock().unwrap().clone();
        given.unwrap_or_else(|| self.answers.lock().unwrap().keys().cloned().collect())
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
        limit: Duration,
    ) -> BoxFuture<'a, Result<BrokerAnswer, ClientError>> {
        let dies = {
            let mut dying = self.dying.lock().unwrap();
            let dies = *dying > 0;
            *dying = dying.saturating_sub(1);
            dies
        };
        Box::pin(async move {
            assert!(!dies, "made up");
            let answer = self.answers.lock().unwrap().get(at).cloned();
            if let Some(answer) = answer {
                return Ok(answer);
            }
            tokio::time::sleep(limit).await;
            let limit_ms = u64::try_from(limit.as_millis()).unwrap();
            Err(ClientError::Timeout { at: at.to_string(), limit_ms, doing: "asking" })
        })
    }

    fn topics<'a>(&'a self, _at: &'a BrokerAddress) -> BoxFuture<'a, Result<TopicTable, ClientError>> {
        Box::pin(async { Ok(self.topics.clone()) })
    }

    fn describe<'a>(&'a self, _names: &'a [TopicName]) -> BoxFuture<'a, Result<TopicTable, ClientError>> {
        Box::pin(async { Ok(self.topics.clone()) })
    }

    fn witnesses<'a>(
        &'a self,
        names: &'a [TopicName],
        _count: usize,
    ) -> BoxFuture<'a, Result<Vec<TopicTable>, ClientError>> {
        Box::pin(async move { Ok(vec![self.describe(names).await?]) })
    }

    fn reassignments(&self) -> BoxFuture<'_, Result<Reassignments, ClientError>> {
        Box::pin(async { Ok(Reassignments::new()) })
    }

    fn log_dirs<'a>(
        &'a self,
        _brokers: &'a [Broker],
    ) -> BoxFuture<'a, BTreeMap<BrokerId, Result<Vec<LogDir>, ClientError>>> {
        Box::pin(async { BTreeMap::new() })
    }

    fn configs<'a>(
        &'a self,
        resources: &'a [ConfigResource],
        keys: &'a [&'a str],
    ) -> BoxFuture<'a, ConfigReadings> {
        let configs = self.configs.lock().unwrap().clone();
        let read = |of: &ConfigResource| {
            let mut values = configs.get(of).cloned().unwrap_or_default();
            values.retain(|key, _| keys.contains(&key.as_str()));
            (of.clone(), self.beyond(of).map(|()| values))
        };
        let read = resources.iter().map(read).collect();
        Box::pin(async { read })
    }
}

impl Writer for Fake {
    fn reassign<'a>(
        &'a self,
        batch: &'a BTreeMap<TopicPartition, Option<Vec<BrokerId>>>,
    ) -> BoxFuture<'a, Result<PartitionResults, ClientError>> {
        if batch.is_empty() {
            let refusal = self.may_not.lock().unwrap().clone();
            return Box::pin(async { refusal.map_or(Ok(PartitionResults::new()), Err) });
        }
        self.change("reassign")
    }

    fn elect_preferred<'a>(
        &'a self,
        _partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<PartitionResults, ClientError>> {
        self.change("elect")
    }

    fn alter_configs<'a>(
        &'a self,
        changes: &'a BTreeMap<ConfigResource, Vec<ConfigChange>>,
    ) -> BoxFuture<'a, Result<ConfigResults, ClientError>> {
        let mut results = ConfigResults::new();
        for (resource, changes) in changes {
            results.insert(resource.clone(), self.beyond(resource));
            if results[resource].is_err() {
                continue;
            }
            let mut configs = self.configs.lock().unwrap();
            let values = configs.entry(resource.clone()).or_default();
            for change in changes {
                match change {
                    ConfigChange::Set(key, value) => values.insert(key.clone(), value.clone()),
                    ConfigChange::Delete(key) => values.remove(key),
                };
            }
        }
        self.changes.lock().unwrap().push("alter configs");
        Box::pin(async { Ok(results) })
    }

    fn create_topic<'a>(&'a self, _topic: &'a NewTopic) -> BoxFuture<'a, Result<(), ClientError>> {
        self.change("create topic")
    }
}

impl LogReader for Fake {
    fn partitions<'a>(&'a self, _topic: &'a str) -> BoxFuture<'a, Result<i32, ClientError>> {
        Box::pin(async {
            self.log().await;
            Ok(1)
        })
    }

    fn offset<'a>(
        &'a self,
        _at: &'a TopicPartition,
        which: OffsetAt,
    ) -> BoxFuture<'a, Result<i64, ClientError>> {
        Box::pin(async move {
            let log = self.log().await;
            let offset = match which {
                OffsetAt::Start => Some(0),
                OffsetAt::End => None,
                OffsetAt::Time(from) => log.iter().position(|record| record.timestamp_ms >= from),
            };
            Ok(i64::try_from(offset.unwrap_or(log.len())).unwrap())
        })
    }

    fn read<'a>(
        &'a self,
        _at: &'a TopicPartition,
        offset: i64,
        wait: Duration,
    ) -> BoxFuture<'a, Result<ReadBatch, ClientError>> {
        Box::pin(async move {
            let log = self.log().await;
            let end_offset = i64::try_from(log.len()).unwrap();
            let records: Vec<StoredRecord> = log.into_iter().filter(|r| r.offset >= offset).collect();
            if records.is_empty() {
                tokio::time::sleep(wait).await;
            }
            Ok(ReadBatch { records, next_offset: end_offset, end_offset })
        })
    }
}

impl LogWriter for Fake {
    fn append<'a>(&'a self, _topic: &'a str, _record: NewRecord) -> BoxFuture<'a, Result<(), ClientError>> {
        if let Some(why) = self.refusals.lock().unwrap().pop() {
            return Box::pin(async { Err(why) });
        }
        self.change("append")
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), ClientError>> {
        Box::pin(async { Ok(()) })
    }
}

/// A clock that goes with tokio's.
struct Virtual(Instant);

impl Clock for Virtual {
    fn now(&self) -> Now {
        let elapsed = self.0.elapsed();
        let ms = i64::try_from(elapsed.as_millis()).unwrap();
        Now { tick: Tick(1_000).plus(elapsed), wall: Timestamp(1_700_000_000_000 + ms) }
    }
}

/// Nobody else can act.
pub(crate) fn acting() -> Arc<Tenure> {
    let tenure = Tenure::new(Arc::new(Alone));
    tenure.act_in(Some(Term(1)));
    tenure
}

/// What a plugin of the cluster `test` is given, with `fake` behind every connection.
pub(crate) fn context(fake: &Arc<Fake>) -> BuildContext {
    BuildContext {
        cluster: "test".into(),
        name: "plugin".to_owned(),
        connection: Connection {
            reader: fake.clone(),
            writer: fake.clone(),
            log_reader: fake.clone(),
            log_writer: fake.clone(),
        },
        endpoint: Endpoint::default(),
        connect: Arc::new(RealConnect::default()),
        clock: Arc::new(Virtual(Instant::now())),
        wake: Wake::default(),
        evaluation_interval: Duration::from_secs(1),
        dry_run: false,
        folder: std::path::PathBuf::new(),
        store: Arc::new(MemoryStore::default()),
        shared: None,
        tenure: acting(),
    }
}

/// Waits, on virtual time, until it holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came to this: {what}");
}
