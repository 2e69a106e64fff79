//! What a Kafka cluster looks like from outside, at one moment.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::names::{BrokerId, TopicName, TopicPartition};

/// Where a broker's advertised listener is, for clients with our security settings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BrokerAddress {
    /// Host name or IP address, as advertised.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A broker as the cluster's metadata names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broker {
    /// Its id.
    pub id: BrokerId,
    /// Its advertised listener.
    pub address: BrokerAddress,
    /// `broker.rack`, where set.
    pub rack: Option<Arc<str>>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// The leader, or `None` while the partition has none (it cannot be read or written then).
    pub leader: Option<BrokerId>,
    /// The assigned replicas in order; the first is the preferred leader. While a reassignment runs this is the
    /// union of the old and the new replicas, as Kafka reports it.
    pub replicas: Box<[BrokerId]>,
    /// The in-sync replicas as the controller knows them.
    pub isr: Box<[BrokerId]>,
}

impl Partition {
    /// Whether fewer replicas are in sync than are assigned.
    pub fn is_under_replicated(&self) -> bool {
        self.isr.len() < self.replicas.len() || self.leader.is_none()
    }

    /// The assigned replicas that are not in sync, in replica order.
    pub fn out_of_sync(&self) -> impl Iterator<Item = BrokerId> + '_ {
        self.replicas.iter().copied().filter(|b| !self.isr.contains(b))
    }
}

/// One topic with all its partitions: `partitions[i]` has number `i`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// Whether the brokers mark it as internal (`__consumer_offsets` and the like).
    pub internal: bool,
    /// The partitions in the order of their numbers.
    pub partitions: Vec<Partition>,
}

/// All topics of a cluster by name.
pub type TopicTable = BTreeMap<TopicName, Topic>;

/// What tells a topic from another of the same name, and a leadership from another of the same broker. Beside [`Topic`],
/// and not in it: two topics that look alike are equal whatever they were before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incarnation {
    /// The topic's id (KIP-516); `None` from brokers and clusters that have none yet.
    pub topic_id: Option<[u8; 16]>,
    /// The epoch of each partition's leader, in the order of their numbers; `None` where it is not told.
    pub leader_epochs: Vec<Option<i32>>,
}

/// Incarnations of topics by name, as far as they are told.
pub type Incarnations = BTreeMap<TopicName, Incarnation>;

/// A reassignment that the controller is working on (KIP-455).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reassignment {
    /// All current replicas, those being added and those being removed included.
    pub replicas: Box<[BrokerId]>,
    /// Replicas that the reassignment adds.
    pub adding: Box<[BrokerId]>,
    /// Replicas that go when it completes.
    pub removing: Box<[BrokerId]>,
}

impl Reassignment {
    /// The replicas that will be left when it completes, in order.
    pub fn target(&self) -> Vec<BrokerId> {
        self.replicas.iter().copied().filter(|b| !self.removing.contains(b)).collect()
    }
}

/// Reassignments in progress, by partition.
pub type Reassignments = BTreeMap<TopicPartition, Reassignment>;

/// A log directory of a broker (one `log.dirs` entry).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogDir {
    /// Its path on the broker's host.
    pub path: Arc<str>,
    /// What is wrong with it, for one that has failed.
    pub error: Option<String>,
    /// Size of its volume in bytes; `None` from brokers older than Kafka 3.3.
    pub total_bytes: Option<u64>,
    /// Free bytes on its volume; `None` from brokers older than Kafka 3.3.
    pub usable_bytes: Option<u64>,
    /// The replicas in it.
    pub replicas: BTreeMap<TopicPartition, LogDirReplica>,
}

/// One replica in a log directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogDirReplica {
    /// Bytes of its log segments.
    pub size_bytes: u64,
    /// How many records the replica is behind: the high watermark for a current replica, the current replica's log
    /// end for a future one.
    pub offset_lag: u64,
    /// Whether it is the future replica of a move between log directories.
    pub is_future: bool,
}

/// What the brokers of a cluster can do, as far as it changes our decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Runs without ZooKeeper.
    pub kraft: bool,
    /// A reassignment completes when the *added* replicas are in sync, even if another target replica is on a dead
    /// broker (KRaft controllers from Kafka 4.3 on; where it removes more replicas than it adds, all targets must be
    /// in sync there too). Where false, it waits until every target replica is in sync (up to 4.2, and ZooKeeper).
    pub completes_with_dead_targets: bool,
}
