//! The built-in attributes of the State. Each has a row in `docs/schema.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cluster::{
    Broker, BrokerAddress, BrokerId, Capabilities, ClusterId, LogDir, Reassignments, TopicName,
    TopicPartition, TopicTable,
};
use serde::{Deserialize, Serialize};

use crate::load::{BrokerLoad, PartitionLoad};
use crate::order::Wish;
use crate::replacement::{OnDeadBroker, Replacements};
use crate::state::Attribute;
use crate::time::Timestamp;

/// Who is alive, by the majority of the brokers that were asked. Written by `kafka_metadata`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Liveness {
    /// The cluster's own id.
    pub cluster_id: ClusterId,
    /// The controller, as most name it (ZooKeeper), or any live broker that forwards (KRaft).
    pub controller: Option<BrokerId>,
    /// The brokers that Kafka holds to be alive.
    pub live: BTreeMap<BrokerId, Broker>,
    /// Registered but fenced; known from Kafka 4.0 on.
    pub fenced: BTreeMap<BrokerId, Broker>,
    /// How many brokers were asked.
    pub asked: u32,
    /// How many answered.
    pub answered: u32,
    /// How many of them agree with this view.
    pub agreeing: u32,
    /// What the cluster's version can do: what every answering broker can do.
    pub capabilities: Capabilities,
}
impl Attribute for Liveness {
    const NAME: &'static str = "liveness";
}

/// All topics. Written by `kafka_metadata`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Topics(pub TopicTable);
impl Attribute for Topics {
    const NAME: &'static str = "topics";
}

/// Reassignments that the controller is working on, ours and others'. Written by `kafka_metadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OngoingReassignments(pub Reassignments);
impl Attribute for OngoingReassignments {
    const NAME: &'static str = "reassignments";
}
impl Serialize for OngoingReassignments {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        reassignment_rows(&self.0, to)
    }
}

/// A list: JSON has only strings as keys of objects.
fn reassignment_rows<S: serde::Serializer>(of: &Reassignments, to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Row<'a> {
        partition: &'a TopicPartition,
        #[serde(flatten)]
        reassignment: &'a cluster::Reassignment,
    }
    to.collect_seq(of.iter().map(|(partition, reassignment)| Row { partition, reassignment }))
}

/// Every broker that has ever been seen alive, or is registered. Written by the framework before the monitors run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownBrokers(pub Arc<BTreeMap<BrokerId, crate::memory::KnownBroker>>);
impl Attribute for KnownBrokers {
    const NAME: &'static str = "known_brokers";
}

/// Use of one broker's disks. Part of [`Disks`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerDisks {
    /// Its log directories.
    pub dirs: Vec<DirUse>,
}

/// Use of one log directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirUse {
    /// Path on the broker's host.
    pub path: Arc<str>,
    /// Size of its volume in bytes, where the broker tells.
    pub total_bytes: Option<u64>,
    /// Free bytes on its volume, where the broker tells.
    pub usable_bytes: Option<u64>,
    /// Number of replicas in it.
    pub replicas: u32,
    /// What is wrong with it, for a failed one.
    pub error: Option<String>,
}

/// Log directories of the brokers that answered, and sizes of partitions (of the largest replica seen). Written by
/// `kafka_metadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disks {
    /// By broker; one that did not answer is absent.
    pub brokers: BTreeMap<BrokerId, BrokerDisks>,
    /// Bytes of each partition's largest replica.
    pub sizes: BTreeMap<TopicPartition, u64>,
    /// Brokers whose replicas are in `sizes`: of others in `brokers` an earlier answer is kept.
    pub listed: BTreeSet<BrokerId>,
}
impl Disks {
    /// What the brokers that answered say.
    pub fn of<'a>(answers: impl IntoIterator<Item = (BrokerId, &'a [LogDir])>) -> Self {
        let mut disks = Self::default();
        for (id, dirs) in answers {
            let mut summed = BrokerDisks::default();
            for dir in dirs {
                summed.dirs.push(DirUse {
                    path: Arc::clone(&dir.path),
                    total_bytes: dir.total_bytes,
                    usable_bytes: dir.usable_bytes,
                    replicas: u32::try_from(dir.replicas.len()).unwrap_or(u32::MAX),
                    error: dir.error.clone(),
                });
                for (partition, replica) in dir.replicas.iter().filter(|(_, replica)| !replica.is_future) {
                    let size = disks.sizes.entry(partition.clone()).or_default();
                    *size = (*size).max(replica.size_bytes);
                }
            }
            disks.brokers.insert(id, summed);
            disks.listed.insert(id);
        }
        disks
    }
}

impl Attribute for Disks {
    const NAME: &'static str = "disks";
}
impl Serialize for Disks {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = to.serialize_struct("Disks", 3)?;
        out.serialize_field("brokers", &self.brokers)?;
        let sizes: BTreeMap<String, u64> =
            self.sizes.iter().map(|(p, size)| (p.to_string(), *size)).collect();
        out.serialize_field("sizes", &sizes)?;
        out.serialize_field("listed", &self.listed)?;
        out.end()
    }
}

/// What our own probe of a broker brought. Part of [`Probes`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Where it was probed: its advertised listener.
    pub address: BrokerAddress,
    /// Why it failed, in words; `None` if it answered.
    pub failure: Option<String>,
    /// How long the answer took, or how long we waited.
    pub took: Duration,
    /// How long answers usually take: the median of the last ones; `None` where there are too few.
    #[serde(default)]
    pub usual: Option<Duration>,
}

/// What our own probes brought, by broker: of every broker that is known, alive or not. Written by `broker_probe`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probes(pub BTreeMap<BrokerId, Probe>);
impl Attribute for Probes {
    const NAME: &'static str = "probes";
}

/// The newest report of one broker's agent. Part of [`BrokerReports`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerReport {
    /// When the agent made it, by its own clock.
    pub made: Timestamp,
    /// How long ago it came in.
    pub age: Duration,
    /// How far apart its agent's reports are, by what they say themselves, where that is known.
    #[serde(default)]
    pub interval: Option<Duration>,
    /// What the agent could not do.
    pub failure: Option<String>,
    /// Why, or what a report with figures lacks or has found: a name of `failureReason`.
    #[serde(default)]
    pub failure_reason: Option<String>,
    /// The same in words.
    #[serde(default)]
    pub failure_detail: Option<String>,
    /// Log directories that have failed.
    #[serde(default)]
    pub failed_log_dirs: Vec<String>,
    /// The idle part of the threads that handle requests, in thousandths, where the agent knows it.
    #[serde(default)]
    pub request_handlers_idle_permille: Option<u32>,
    /// Bytes per second in, of the partitions that it leads.
    pub leaders_bytes_in_per_second: Option<u64>,
    /// Bytes per second out to consumers, of the partitions that it leads.
    pub leaders_bytes_out_per_second: Option<u64>,
    /// Bytes per second in, by led partition (15-minute mean), where the agent knows them.
    #[serde(skip)]
    pub partitions_bytes_in_per_second: Arc<BTreeMap<TopicPartition, u64>>,
}

/// What the agents report. Written by `broker_stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerReports {
    /// By broker.
    pub brokers: BTreeMap<BrokerId, BrokerReport>,
    /// Records that could not be read since the start.
    pub unreadable: u64,
    /// Whether reading has caught up with the end of the topic.
    pub caught_up: bool,
    /// How long ago each partition of the topic has been read to its end: of the one for which that is longest ago. `None` where one has
    /// not been since the start.
    #[serde(default)]
    pub read_to_end_ago: Option<Duration>,
}
impl Attribute for BrokerReports {
    const NAME: &'static str = "broker_stats";
}

/// What partitions and brokers need at their peak, by the agents' reports over a window. Written by `broker_stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionLoads {
    /// By partition, as far as reported.
    pub partitions: BTreeMap<TopicPartition, PartitionLoad>,
    /// By broker, with the replicas that it has.
    pub brokers: BTreeMap<BrokerId, BrokerLoad>,
}
impl Attribute for PartitionLoads {
    const NAME: &'static str = "partition_loads";
}
impl Serialize for PartitionLoads {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = to.serialize_struct("PartitionLoads", 2)?;
        let partitions: BTreeMap<String, PartitionLoad> =
            self.partitions.iter().map(|(at, load)| (at.to_string(), *load)).collect();
        out.serialize_field("partitions", &partitions)?;
        out.serialize_field("brokers", &self.brokers)?;
        out.end()
    }
}

/// What is under maintenance, and what is to go. Written by `maintenance`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// The whole cluster.
    pub cluster: Option<Wish>,
    /// Single brokers: neither healed away from, nor a target.
    pub brokers: BTreeMap<BrokerId, Wish>,
    /// Brokers that are taken out of service: no target, healed away from when they are gone, and never replaced.
    #[serde(default)]
    pub decommissioned: BTreeMap<BrokerId, Wish>,
}
impl Attribute for Maintenance {
    const NAME: &'static str = "maintenance";
}

/// Brokers that are to be replaced although they live (hosts scheduled for maintenance and the like). Written by
/// plugins from outside; never a target for new replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToBeReplaced(pub BTreeMap<BrokerId, String>);
impl Attribute for ToBeReplaced {
    const NAME: &'static str = "to_be_replaced";
}

/// A broker that is absent but not (yet) dead. Part of [`DeadBrokers`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspect {
    /// When it was first found to be absent.
    pub since: Timestamp,
    /// How long this process has watched its absence without a gap.
    pub watched: Duration,
    /// What is missing for it to be dead, in words.
    pub waits_for: String,
}

/// A dead broker. Part of [`DeadBrokers`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadBroker {
    /// When it was first found to be absent.
    pub since: Timestamp,
    /// For how long it has been absent: unlike `since`, whatever wall clocks are set to while this process runs.
    pub absent_for: Duration,
    /// How long this process has watched its absence without a gap.
    pub watched: Duration,
    /// Its rack, where known.
    pub rack: Option<Arc<str>>,
    /// Why it is held to be dead, in words.
    pub because: String,
}

/// Who is dead. Written by `dead_brokers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadBrokers {
    /// Dropped by Kafka and unreachable for us, for the whole grace.
    pub dead: BTreeMap<BrokerId, DeadBroker>,
    /// Those of the dead, the suspects and the ones that Kafka no longer knows that have been away for long and hold no replica:
    /// nothing waits for them, they are no part of a failure of many, and their rack is whole without them.
    #[serde(default)]
    pub idle: BTreeSet<BrokerId>,
    /// Dropped by Kafka, but not dead (yet).
    pub suspects: BTreeMap<BrokerId, Suspect>,
    /// Alive for Kafka, but our probe fails.
    pub unreachable: BTreeSet<BrokerId>,
    /// Those of them whose probe has not failed for long: Kafka may be about to drop them.
    #[serde(default)]
    pub newly_unreachable: BTreeSet<BrokerId>,
    /// The grace that was applied.
    pub grace: Duration,
}
impl Attribute for DeadBrokers {
    const NAME: &'static str = "dead_brokers";
}

/// One under-replicated partition. Part of [`UnderReplicatedPartitions`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderReplicatedPartition {
    /// Its leader, if any.
    pub leader: Option<BrokerId>,
    /// Its assigned replicas, in order.
    pub replicas: Vec<BrokerId>,
    /// Its in-sync replicas.
    pub isr: Vec<BrokerId>,
    /// Its assigned replicas that are not in sync. Replicas that a reassignment is just adding do not count.
    pub out_of_sync: Vec<BrokerId>,
    /// Whether a reassignment is in progress.
    pub being_reassigned: bool,
}

/// Partitions that are under-replicated or without a leader, by topic and number. Written by
/// `under_replicated_partitions`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnderReplicatedPartitions {
    /// The partitions.
    pub partitions: BTreeMap<TopicPartition, UnderReplicatedPartition>,
    /// Partitions that are only under-replicated because a reassignment is adding replicas.
    pub only_reassigning: BTreeSet<TopicPartition>,
    /// How many partitions there are in all.
    pub of: u64,
    /// The topics they belong to.
    pub topics: BTreeSet<TopicName>,
}
impl Attribute for UnderReplicatedPartitions {
    const NAME: &'static str = "under_replicated_partitions";
}
impl Serialize for UnderReplicatedPartitions {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Row<'a> {
            partition: &'a TopicPartition,
            #[serde(flatten)]
            what: &'a UnderReplicatedPartition,
        }
        to.collect_seq(self.partitions.iter().map(|(partition, what)| Row { partition, what }))
    }
}

/// Live brokers whose agent is silent. Written by `no_broker_stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoBrokerStats {
    /// The brokers, with how long ago their last report came in; `None` if there has never been one.
    pub brokers: BTreeMap<BrokerId, Option<Duration>>,
}
impl Attribute for NoBrokerStats {
    const NAME: &'static str = "no_broker_stats";
}

/// A live broker that does not do what it should. Part of [`DegradedBrokers`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Degraded {
    /// Since when: that of the oldest reason.
    pub since: Timestamp,
    /// Why, the weightiest first.
    pub reasons: Vec<DegradedReason>,
}

/// One thing that is wrong with a degraded broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DegradedReason {
    /// The kind of the finding that says it.
    pub kind: String,
    /// When it was first seen.
    pub since: Timestamp,
    /// What was seen, in a sentence.
    pub message: String,
}

/// Live brokers that do not do what they should, each for long enough. Written by `degraded_brokers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DegradedBrokers {
    /// The brokers.
    pub brokers: BTreeMap<BrokerId, Degraded>,
}
impl Attribute for DegradedBrokers {
    const NAME: &'static str = "degraded_brokers";
}

/// The brokers, or controllers, that vote in the metadata quorum of KRaft. Written by `kafka_metadata`, in KRaft mode alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumVoters {
    /// The voters.
    pub voters: BTreeSet<BrokerId>,
}
impl Attribute for QuorumVoters {
    const NAME: &'static str = "quorum_voters";
}

impl Attribute for Replacements {
    const NAME: &'static str = "replacements";
}

/// What the guard is told of the recovery of dead brokers. Written by the framework.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryOwner {
    /// Who owns the recovery of a dead broker.
    pub on_dead_broker: OnDeadBroker,
    /// How long the other one waits.
    pub replace_timeout: Duration,
    /// How long after a replacement was begun the next one may be begun.
    pub replacement_cooldown: Duration,
}
impl Attribute for RecoveryOwner {
    const NAME: &'static str = "recovery_owner";
}

/// Partitions whose reassignment, of whoever, has left the list a moment ago. That list comes from the controller, the
/// replicas from a broker whose metadata are behind it: until they have caught up, a partition seems to have the replicas
/// of before and after, and nobody to move it. The reassignments are those that were listed last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatelyReassigned(pub Reassignments);
impl Attribute for LatelyReassigned {
    const NAME: &'static str = "lately_reassigned";
}
impl Serialize for LatelyReassigned {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        reassignment_rows(&self.0, to)
    }
}

/// Moves of ours under way that may be given up, by partition: a plan that brings as many live copies stands ready to take
/// their place. Written by the framework from what operators say ([`crate::Verdict::may_give_up`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MayGiveUp(pub BTreeSet<TopicPartition>);
impl Attribute for MayGiveUp {
    const NAME: &'static str = "may_give_up";
}
