//! The vocabulary of a Kafka cluster, and the narrow traits to read and change one.
//!
//! Everything that decides or acts speaks in these types. They know no client and no runtime: crate `kafka` stands
//! behind the traits with the real thing, a simulator with a made-up one, and neither can be told from the other.
//!
//! Reading order: [`names`] (ids), [`view`] (what a cluster looks like), [`access`] (the traits), [`error`],
//! [`notation`] (clusters as text).

pub mod access;
pub mod error;
pub mod names;
pub mod notation;
pub mod view;

pub use access::{
    BoxFuture, BrokerAnswer, ConfigChange, ConfigReadings, ConfigResource, ConfigResults, ConfigValues,
    LogReader, LogWriter, NewRecord, NewTopic, OffsetAt, PartitionResults, ReadBatch, Reader, StoredRecord,
    Writer,
};
pub use error::ClientError;
pub use names::{BrokerId, ClusterId, TopicName, TopicPartition};
pub use view::{
    Broker, BrokerAddress, Capabilities, Incarnation, Incarnations, LogDir, LogDirReplica, Partition,
    Reassignment, Reassignments, Topic, TopicTable,
};
