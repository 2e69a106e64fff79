//! What is read of one broker at one time: the input of a measurement.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster::{
    Broker, ClusterId, Incarnations, LogDir, Reassignments, TopicName, TopicPartition, TopicTable,
};

/// What is read of one broker at one time. A part that could not be read is `None` or lacks the entries, and is named in
/// `lacking`.
#[derive(Debug, Clone)]
pub struct View {
    /// When the log directories were read (the middle between question and answer), on a clock that never goes back.
    pub at: Duration,
    /// The wall clock at that moment, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The broker.
    pub broker: Broker,
    /// All topics, as the broker knows them.
    pub topics: TopicTable,
    /// What tells the topics and leaderships from earlier ones.
    pub incarnations: Incarnations,
    /// Reassignments in progress.
    pub reassignments: Option<Reassignments>,
    /// The broker's log directories.
    pub log_dirs: Option<Vec<LogDir>>,
    /// Offsets of the partitions that the broker leads.
    pub offsets: BTreeMap<TopicPartition, Offsets>,
    /// Whether a topic is compacted, for the topics of which the broker leads a partition.
    pub compacted: BTreeMap<TopicName, bool>,
    /// Those of them that have segments in remote storage (KIP-405): their local ones go without a change of the start offset.
    pub tiered: BTreeSet<TopicName>,
    /// What could not be read, in words.
    pub lacking: Vec<String>,
}

/// Offsets of one partition, read around the reading of the log directories.
///
/// A start offset that is the same before and after says that no segment was deleted while the size was read. One
/// reading alone cannot: the deletion may fall between it and the reading of the size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offsets {
    /// First offset in the log, read before the log directories.
    pub start_before: Option<i64>,
    /// First offset in the log, read after the log directories.
    pub start_after: Option<i64>,
    /// High watermark, read after the log directories.
    pub end: Option<i64>,
}
