//! The narrow traits through which everything reads and changes a cluster.
//!
//! All are object-safe. Every call is bounded in time by its implementation; none retries a change on its own after
//! an answer was lost (see [`ClientError::may_have_been_applied`]): the caller looks again first.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::error::ClientError;
use crate::names::{BrokerId, ClusterId, TopicName, TopicPartition};
use crate::view::{Broker, BrokerAddress, Capabilities, Incarnations, LogDir, Reassignments, TopicTable};

/// A boxed future: what an object-safe asynchronous method returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What one broker says of the cluster. Each broker answers from its own copy of the metadata, which stands still
/// when the broker is cut off from the controller: one answer alone proves nothing about the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAnswer {
    /// The cluster that the broker belongs to.
    pub cluster_id: ClusterId,
    /// The controller as this broker names it. In KRaft a broker names a random live broker, which forwards.
    pub controller: Option<BrokerId>,
    /// The brokers that it believes to be alive, by id.
    pub live: BTreeMap<BrokerId, Broker>,
    /// Brokers that are registered but fenced; known from Kafka 4.0 on, empty before.
    pub fenced: BTreeMap<BrokerId, Broker>,
    /// What the broker's version can do.
    pub capabilities: Capabilities,
    /// How long the answer took.
    pub took: Duration,
}

/// Reads a cluster's state.
pub trait Reader: Send + Sync {
    /// The addresses given in the configuration.
    fn bootstrap(&self) -> Vec<BrokerAddress>;

    /// Says to which cluster this way leads, or that it is not known any more. Addresses change hands: from then on
    /// whoever answers for another cluster is neither believed nor given an order. Implementations that lead to one
    /// cluster whatever happens need do nothing.
    fn expect_cluster(&self, cluster: Option<&ClusterId>) {
        let _ = cluster;
    }

    /// What [`expect_cluster`](Self::expect_cluster) was told last.
    fn expected_cluster(&self) -> Option<ClusterId> {
        None
    }

    /// Asks one broker, at this very address and with the cluster's security settings, for what it knows of the
    /// cluster. It is a probe at the same time: a full round through the broker's request handlers. Bounded by
    /// `limit` in whole. Implementations keep the connection for the next call. Answers of brokers of another cluster
    /// than the expected one are handed over, too: look at their `cluster_id`.
    fn ask<'a>(
        &'a self,
        at: &'a BrokerAddress,
        limit: Duration,
    ) -> BoxFuture<'a, Result<BrokerAnswer, ClientError>>;

    /// All topics with their partitions, internal ones included, asked of the broker at `at` (one that the caller
    /// knows to be current).
    fn topics<'a>(&'a self, at: &'a BrokerAddress) -> BoxFuture<'a, Result<TopicTable, ClientError>>;

    /// The same with what tells topics and leaderships from earlier ones, as far as the implementation knows it.
    fn incarnations<'a>(
        &'a self,
        at: &'a BrokerAddress,
    ) -> BoxFuture<'a, Result<(TopicTable, Incarnations), ClientError>> {
        Box::pin(async move { Ok((self.topics(at).await?, Incarnations::new())) })
    }

    /// The topics `names` as they are at this moment, asked of any broker; one that does not exist is absent.
    fn describe<'a>(&'a self, names: &'a [TopicName]) -> BoxFuture<'a, Result<TopicTable, ClientError>>;

    /// The topics `names` as each of up to `count` live brokers has them, every one by its own metadata: whoever acts on
    /// what is read must not rely on a broker whose metadata stand still. At least two answers where there are two live
    /// brokers; which brokers are asked changes from call to call.
    fn witnesses<'a>(
        &'a self,
        names: &'a [TopicName],
        count: usize,
    ) -> BoxFuture<'a, Result<Vec<TopicTable>, ClientError>>;

    /// All reassignments in progress.
    fn reassignments(&self) -> BoxFuture<'_, Result<Reassignments, ClientError>>;

    /// Who votes in the metadata quorum, in KRaft mode; `None` where there is none, or where the implementation does not know.
    fn quorum_voters(&self) -> BoxFuture<'_, Result<Option<BTreeSet<BrokerId>>, ClientError>> {
        Box::pin(async { Ok(None) })
    }

    /// The log directories of each of `brokers`, which must be alive; one failing broker does not hide the others.
    fn log_dirs<'a>(
        &'a self,
        brokers: &'a [Broker],
    ) -> BoxFuture<'a, BTreeMap<BrokerId, Result<Vec<LogDir>, ClientError>>>;

    /// The values of dynamic and static configs `keys` of each of `resources`; keys without a value are absent. A broker's
    /// configs are known to that broker alone; one resource that cannot be read does not hide the others.
    fn configs<'a>(
        &'a self,
        resources: &'a [ConfigResource],
        keys: &'a [&'a str],
    ) -> BoxFuture<'a, ConfigReadings>;
}

/// What a config belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigResource {
    /// A topic.
    Topic(TopicName),
    /// One broker.
    Broker(BrokerId),
    /// The default of all brokers.
    BrokerDefault,
}

/// One change of a dynamic config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    /// Set a value.
    Set(String, String),
    /// Remove a value, so that the default holds again.
    Delete(String),
}

/// The values of configs, by resource and key.
pub type ConfigValues = BTreeMap<ConfigResource, BTreeMap<String, String>>;

/// What was read of each resource that was asked for: the values of its configs, by key.
pub type ConfigReadings = BTreeMap<ConfigResource, Result<BTreeMap<String, String>, ClientError>>;

/// Result of a change for each resource that was named in it.
pub type ConfigResults = BTreeMap<ConfigResource, Result<(), ClientError>>;

/// Result of a change for each partition that was named in it.
pub type PartitionResults = BTreeMap<TopicPartition, Result<(), ClientError>>;

/// Changes a cluster.
pub trait Writer: Send + Sync {
    /// Starts (`Some(replicas)`) or cancels (`None`) reassignments. The outer error means that nothing is known of
    /// any of them. At most 500 partitions a call; the implementation refuses more. With none the cluster only says
    /// whether it would take such an order from us.
    fn reassign<'a>(
        &'a self,
        batch: &'a BTreeMap<TopicPartition, Option<Vec<BrokerId>>>,
    ) -> BoxFuture<'a, Result<PartitionResults, ClientError>>;

    /// Elects the preferred leader of each partition, if it is in sync. "Not needed" counts as done.
    fn elect_preferred<'a>(
        &'a self,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<PartitionResults, ClientError>>;

    /// Changes dynamic configs, each resource by itself.
    fn alter_configs<'a>(
        &'a self,
        changes: &'a BTreeMap<ConfigResource, Vec<ConfigChange>>,
    ) -> BoxFuture<'a, Result<ConfigResults, ClientError>>;

    /// Creates a topic; one that is already there counts as created.
    fn create_topic<'a>(&'a self, topic: &'a NewTopic) -> BoxFuture<'a, Result<(), ClientError>>;
}

/// A topic to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: TopicName,
    /// Number of partitions.
    pub partitions: i32,
    /// Replication factor.
    pub replication_factor: i16,
    /// Topic configs.
    pub configs: BTreeMap<String, String>,
}

/// A record to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRecord {
    /// The partition to write to, or `None` to have it chosen by the key.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Vec<u8>,
    /// Headers.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Writes records to topics with `acks=all` and idempotence.
pub trait LogWriter: Send + Sync {
    /// Writes one record; resolves when it is acknowledged.
    fn append<'a>(&'a self, topic: &'a str, record: NewRecord) -> BoxFuture<'a, Result<(), ClientError>>;

    /// Waits, bounded, until all that was appended is acknowledged or failed.
    fn flush(&self) -> BoxFuture<'_, Result<(), ClientError>>;
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Which offset of a partition is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetAt {
    /// The first one that is kept.
    Start,
    /// The one that the next record will get.
    End,
    /// The first one with a timestamp of at least this many milliseconds since 1970; the end if there is none.
    Time(i64),
}

/// What one read brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadBatch {
    /// The records in order; empty when nothing came within the wait.
    pub records: Vec<StoredRecord>,
    /// Where to go on.
    pub next_offset: i64,
    /// The end of the partition when it was read.
    pub end_offset: i64,
}

/// Reads records from topics, each partition by itself, without a consumer group.
pub trait LogReader: Send + Sync {
    /// The number of partitions of a topic.
    fn partitions<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<i32, ClientError>>;

    /// An offset of a partition.
    fn offset<'a>(
        &'a self,
        at: &'a TopicPartition,
        which: OffsetAt,
    ) -> BoxFuture<'a, Result<i64, ClientError>>;

    /// The same offset of many partitions; one that fails does not hide the others. Implementations answer with few
    /// requests; this one asks for one partition after the other.
    fn offsets<'a>(
        &'a self,
        of: &'a [TopicPartition],
        which: OffsetAt,
    ) -> BoxFuture<'a, BTreeMap<TopicPartition, Result<i64, ClientError>>> {
        Box::pin(async move {
            let mut all = BTreeMap::new();
            for at in of {
                all.insert(at.clone(), self.offset(at, which).await);
            }
            all
        })
    }

    /// The same of partitions that are known to be led by the broker at `leader`: of those that it leads no longer, the
    /// answer is an error. Implementations ask that broker alone; this one asks as [`LogReader::offsets`] does.
    fn offsets_at<'a>(
        &'a self,
        _leader: &'a BrokerAddress,
        of: &'a [TopicPartition],
        which: OffsetAt,
    ) -> BoxFuture<'a, BTreeMap<TopicPartition, Result<i64, ClientError>>> {
        self.offsets(of, which)
    }

    /// Reads from `offset` on, waiting at most `wait` for something to come. An offset that is no longer kept is
    /// answered from the first one that is.
    fn read<'a>(
        &'a self,
        at: &'a TopicPartition,
        offset: i64,
        wait: Duration,
    ) -> BoxFuture<'a, Result<ReadBatch, ClientError>>;
}
