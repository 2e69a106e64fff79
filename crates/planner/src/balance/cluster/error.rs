//! Why a cluster cannot be built.

use std::fmt;

/// Why a [`Cluster`](super::Cluster) cannot be built. What was refused was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterError {
    /// A load or capacity is negative, or above [`MAX_LOAD`](super::MAX_LOAD), or the sum of one resource is.
    LoadOutOfRange,
    /// A topic is not below the number announced.
    TopicOutOfRange {
        /// The topic as given.
        topic: u32,
    },
    /// A replica names a broker that was not added.
    BrokerOutOfRange {
        /// The broker as given.
        broker: u32,
    },
    /// Two replicas of one partition are on one broker.
    DuplicateReplica {
        /// The broker that is named twice.
        broker: u32,
    },
    /// A partition has no replicas, or more than Kafka can count.
    BadReplicationFactor,
    /// The leader is not a position of the replica list.
    LeaderOutOfRange,
    /// There is no such partition, or no such position in its list.
    ReplicaOutOfRange {
        /// The partition as given.
        partition: u32,
    },
    /// A broker has no such log dir.
    LogDirOutOfRange {
        /// The broker as given.
        broker: u32,
    },
    /// More brokers, partitions or replicas than 32-bit ordinals can count.
    TooManyOrdinals,
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClusterError::LoadOutOfRange => write!(f, "a load or capacity, or their sum, is out of range"),
            ClusterError::TopicOutOfRange { topic } => write!(f, "topic {topic} is out of range"),
            ClusterError::BrokerOutOfRange { broker } => write!(f, "broker {broker} is out of range"),
            ClusterError::DuplicateReplica { broker } => write!(f, "broker {broker} holds two replicas"),
            ClusterError::BadReplicationFactor => write!(f, "the partition has no replicas, or too many"),
            ClusterError::LeaderOutOfRange => write!(f, "the leader is not in the replica list"),
            ClusterError::ReplicaOutOfRange { partition } => {
                write!(f, "there is no such replica of partition {partition}")
            }
            ClusterError::LogDirOutOfRange { broker } => write!(f, "broker {broker} has no such log dir"),
            ClusterError::TooManyOrdinals => write!(f, "more than 32-bit ordinals can count"),
        }
    }
}

impl std::error::Error for ClusterError {}
