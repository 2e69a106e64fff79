//! From what is known of a cluster to the question of a balance plan.

use std::collections::{BTreeMap, BTreeSet};

use cluster::{Broker, BrokerId, Partition, Reassignments, TopicName, TopicPartition, TopicTable};
use planner::balance::{
    self, CPU, Cluster, ClusterError, DISK, Goal, Loads, NETWORK_IN, NETWORK_OUT, RESOURCES,
};
use thiserror::Error;

use crate::attributes::{
    DeadBrokers, Disks, Liveness, OngoingReassignments, PartitionLoads, ToBeReplaced, Topics,
};
use crate::guard::brokers_in_maintenance;
use crate::state::State;

/// What a balance plan is made from.
#[derive(Clone, Debug, Default)]
pub struct Known<'a> {
    /// The brokers that live.
    pub live: BTreeMap<BrokerId, Broker>,
    /// All topics.
    pub topics: TopicTable,
    /// Live brokers that get nothing: under maintenance, to be replaced, about to be dead, or not reached.
    pub no_targets: BTreeSet<BrokerId>,
    /// Brokers whose partitions stay as they are.
    pub untouched: BTreeSet<BrokerId>,
    /// Reassignments in progress: their partitions stay as they are.
    pub reassignments: Reassignments,
    /// Topics that stay as they are.
    pub excluded_topics: BTreeSet<TopicName>,
    /// Room on disks and sizes of partitions, where known.
    pub disks: Option<&'a Disks>,
    /// What partitions need of the network, where known.
    pub needs: Option<&'a PartitionLoads>,
    /// Bytes per second that a broker's network carries in each direction, where known.
    pub network: Option<u64>,
}

impl<'a> Known<'a> {
    /// What a State knows. Nothing where it is not known who lives, or which topics there are.
    pub fn of(state: &'a State) -> Option<Self> {
        let liveness = state.get::<Liveness>()?.value;
        let topics = state.get::<Topics>()?.value;
        let untouched = brokers_in_maintenance(state);
        let mut no_targets = untouched.clone();
        if let Some(dead) = state.get::<DeadBrokers>() {
            no_targets.extend(dead.value.suspects.keys().chain(&dead.value.unreachable));
        }
        if let Some(them) = state.get::<ToBeReplaced>() {
            no_targets.extend(them.value.0.keys());
        }
        Some(Self {
            live: liveness.live.clone(),
            topics: topics.0.clone(),
            no_targets,
            untouched,
            reassignments: state
                .get::<OngoingReassignments>()
                .map(|fact| fact.value.0.clone())
                .unwrap_or_default(),
            excluded_topics: BTreeSet::new(),
            disks: state.get().map(|fact| fact.value),
            needs: state.get().map(|fact| fact.value),
            network: None,
        })
    }
}

/// A question with the names of its ordinals.
#[derive(Clone, Debug)]
pub struct Question {
    /// The question.
    pub cluster: Cluster,
    /// Brokers by ordinal: all that live or hold replicas.
    pub brokers: Vec<BrokerId>,
    /// Topics by number.
    pub topics: Vec<TopicName>,
    /// Numbers of partitions by ordinal.
    pub partitions: Vec<i32>,
    known: [bool; RESOURCES],
}

/// Why no question can be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuestionError {
    /// A broker cannot be counted.
    #[error("broker {id}")]
    Broker {
        /// The broker.
        id: BrokerId,
        /// Why.
        source: ClusterError,
    },
    /// A partition cannot be counted.
    #[error("partition {at}")]
    Partition {
        /// The partition.
        at: TopicPartition,
        /// Why.
        source: ClusterError,
    },
}

impl Question {
    /// Makes the question.
    ///
    /// # Errors
    /// Loads beyond what the planner counts.
    pub fn new(of: &Known<'_>) -> Result<Self, QuestionError> {
        let held =
            of.topics.values().flat_map(|topic| &topic.partitions).flat_map(|p| p.replicas.iter().copied());
        let brokers: Vec<BrokerId> =
            of.live.keys().copied().chain(held).collect::<BTreeSet<BrokerId>>().into_iter().collect();
        let mut builder = Cluster::builder(u32::try_from(of.topics.len()).unwrap_or(u32::MAX));
        let mut racks = BTreeMap::new();
        let mut ordinals = BTreeMap::new();
        for id in &brokers {
            let added = builder.add_broker(&broker(of, *id, &mut racks));
            ordinals.insert(*id, added.map_err(|source| QuestionError::Broker { id: *id, source })?);
        }
        let mut partitions = Vec::new();
        for (topic, (name, table)) in (0..).zip(&of.topics) {
            for (number, partition) in (0..).zip(&table.partitions) {
                let at = TopicPartition { topic: name.clone(), partition: number };
                let row = row(of, &at, topic, partition, &ordinals);
                builder.add_partition(&row).map_err(|source| QuestionError::Partition { at, source })?;
                partitions.push(number);
            }
        }
        let disk = of.live.keys().all(|id| disk_total(of, *id).is_some_and(|bytes| bytes > 0));
        // What is not reported would count as nothing, and be piled up somewhere.
        let all_reported = of.needs.is_some_and(|needs| {
            let all = of.topics.values().map(|topic| topic.partitions.len()).sum::<usize>();
            needs.partitions.len() >= all
        });
        let network = all_reported && of.network.is_some();
        let mut known = [false; RESOURCES];
        (known[DISK], known[NETWORK_IN], known[NETWORK_OUT]) = (disk, network, network);
        let topics = of.topics.keys().cloned().collect();
        Ok(Self { cluster: builder.build(), brokers, topics, partitions, known })
    }

    /// Whether a goal can be judged by what is known.
    pub fn knows(&self, goal: Goal) -> bool {
        match goal {
            Goal::DiskCapacity | Goal::DiskDistribution => self.known[DISK],
            Goal::NetworkInCapacity
            | Goal::NetworkInLimit
            | Goal::NetworkInDistribution
            | Goal::LeaderBytesIn => self.known[NETWORK_IN],
            Goal::NetworkOutCapacity
            | Goal::NetworkOutLimit
            | Goal::NetworkOutDistribution
            | Goal::PotentialNetworkOut => self.known[NETWORK_OUT],
            Goal::CpuCapacity | Goal::CpuDistribution => self.known[CPU],
            _ => true,
        }
    }
}

fn units(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn disk_total(of: &Known<'_>, id: BrokerId) -> Option<u64> {
    of.disks?.brokers.get(&id)?.dirs.iter().map(|dir| dir.total_bytes).sum()
}

fn broker<'k>(of: &'k Known<'_>, id: BrokerId, racks: &mut BTreeMap<&'k str, u32>) -> balance::Broker {
    let live = of.live.get(&id);
    let next = u32::try_from(racks.len()).unwrap_or(u32::MAX);
    // Where nobody names a rack each broker stands for itself.
    let rack = match live.and_then(|broker| broker.rack.as_deref()) {
        Some(rack) => *racks.entry(rack).or_insert(next),
        None => u32::MAX - id.0.unsigned_abs(),
    };
    let takes = live.is_some() && !of.no_targets.contains(&id);
    let mut capacity: Loads = [0; RESOURCES];
    capacity[DISK] = units(disk_total(of, id).unwrap_or(0));
    let network = of.network.map_or(0, units);
    (capacity[NETWORK_IN], capacity[NETWORK_OUT]) = (network, network);
    balance::Broker {
        rack,
        set: None,
        capacity,
        alive: live.is_some(),
        takes_replicas: takes,
        takes_leadership: takes,
        mark: balance::Mark::None,
    }
}

/// What producers write, every replica takes in; what consumers read, and what each follower fetches, the leader gives out.
fn row(
    of: &Known<'_>,
    at: &TopicPartition,
    topic: u32,
    partition: &Partition,
    ordinals: &BTreeMap<BrokerId, u32>,
) -> balance::Partition {
    let need = of.needs.and_then(|needs| needs.partitions.get(at)).copied().unwrap_or_default();
    let size = of.disks.and_then(|disks| disks.sizes.get(at)).copied().unwrap_or(0);
    let mut load: Loads = [0; RESOURCES];
    (load[DISK], load[NETWORK_IN]) = (units(size), units(need.bytes_in));
    let followers = (partition.replicas.len() as u64).saturating_sub(1);
    let out = need.bytes_out.saturating_add(need.bytes_in.saturating_mul(followers));
    let ordinal = |id: &BrokerId| ordinals.get(id).copied().unwrap_or(u32::MAX);
    let leader = partition.replicas.iter().position(|id| Some(*id) == partition.leader);
    let frozen = of.reassignments.contains_key(at)
        || of.excluded_topics.contains(&at.topic)
        || partition.replicas.iter().any(|id| of.untouched.contains(id));
    balance::Partition {
        topic,
        replicas: partition
            .replicas
            .iter()
            .map(|id| balance::Replica { broker: ordinal(id), load })
            .collect(),
        leader: u32::try_from(leader.unwrap_or(0)).unwrap_or(0),
        leader_cpu: 0,
        leader_network_out: units(out),
        frozen,
    }
}

#[cfg(test)]
#[path = "balance_tests.rs"]
mod tests;
