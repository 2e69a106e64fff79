//! From what is known of a cluster to the question of a balance plan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cluster::{Broker, BrokerId, LogDir, Partition, Reassignments, TopicName, TopicPartition, TopicTable};
use planner::balance::{
    self, Cluster, ClusterError, DISK, Goal, Loads, Lock, NETWORK_IN, NETWORK_OUT, RESOURCES,
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
    /// Replicas that are offline although their brokers live: their log dirs have failed.
    pub offline: BTreeSet<(BrokerId, TopicPartition)>,
    /// What is in which log dir of the brokers that told, where that is known. A State does not keep it.
    pub log_dirs: Option<&'a BTreeMap<BrokerId, Vec<LogDir>>>,
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
            offline: BTreeSet::new(),
            log_dirs: None,
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
    /// Names of the brokers' racks: those that they name, else of what fails together.
    pub racks: Vec<String>,
    /// Topics by number.
    pub topics: Vec<TopicName>,
    /// Numbers of partitions by ordinal.
    pub partitions: Vec<i32>,
    /// Paths of the log dirs of each broker that has several, in the order of [`Cluster::log_dirs`].
    pub log_dirs: Vec<Vec<Arc<str>>>,
    known: [bool; RESOURCES],
    without_disk: Vec<BrokerId>,
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
        let (mut racks, by_host) = (BTreeMap::new(), has_hosts(of));
        let (mut ordinals, mut log_dirs, mut hosts) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        for id in &brokers {
            let refused = |source| QuestionError::Broker { id: *id, source };
            let ordinal = builder.add_broker(&broker(of, *id, by_host, &mut racks)).map_err(refused)?;
            ordinals.insert(*id, ordinal);
            if let Some(live) = of.live.get(id).filter(|_| by_host) {
                let next = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
                let host = *hosts.entry(&live.address.host).or_insert(next);
                builder.host(ordinal, host).map_err(refused)?;
            }
            let dirs = several_dirs(of, *id);
            let capacities: Vec<i64> = dirs.iter().map(|(_, bytes)| *bytes).collect();
            builder.log_dirs(ordinal, &capacities).map_err(refused)?;
            log_dirs.push(dirs.iter().map(|(dir, _)| Arc::clone(&dir.path)).collect());
        }
        let mut partitions = Vec::new();
        for (topic, (name, table)) in (0..).zip(&of.topics) {
            for (number, partition) in (0..).zip(&table.partitions) {
                let at = TopicPartition { topic: name.clone(), partition: number };
                let row = row(of, &at, topic, partition, &ordinals);
                let refused = |source| QuestionError::Partition { at: at.clone(), source };
                let ordinal = builder.add_partition(&row).map_err(refused)?;
                condition(of, &at, partition, ordinal, &mut builder).map_err(refused)?;
                stand(of, &at, partition, ordinal, &mut builder).map_err(refused)?;
                partitions.push(number);
            }
        }
        let disk = of.live.keys().all(|id| disk_total(of, *id).is_some_and(|bytes| bytes > 0));
        let silent = of.live.keys().copied().filter(|id| disk_total(of, *id).is_none_or(|bytes| bytes == 0));
        let without_disk = silent.collect();
        // What is not reported would count as nothing, and be piled up somewhere.
        let all_reported = of.needs.is_some_and(|needs| {
            let all = of.topics.values().map(|topic| topic.partitions.len()).sum::<usize>();
            needs.partitions.len() >= all
        });
        let network = all_reported && of.network.is_some();
        let mut known = [false; RESOURCES];
        (known[DISK], known[NETWORK_IN], known[NETWORK_OUT]) = (disk, network, network);
        let topics = of.topics.keys().cloned().collect();
        let racks = brokers.iter().map(|id| rack_name(of, *id, by_host)).collect();
        let cluster = builder.build();
        Ok(Self { cluster, brokers, racks, topics, partitions, log_dirs, known, without_disk })
    }

    /// Whether a goal can be judged by what is known.
    pub fn knows(&self, goal: Goal) -> bool {
        goal.resource().is_none_or(|resource| self.known[resource])
    }

    /// Live brokers of which it is not known how much disk they have, so that no goal about disk can be judged.
    pub fn without_disk(&self) -> &[BrokerId] {
        &self.without_disk
    }
}

fn units(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Room in all log dirs of a broker that have not failed.
fn disk_total(of: &Known<'_>, id: BrokerId) -> Option<u64> {
    let dirs = &of.disks?.brokers.get(&id)?.dirs;
    dirs.iter().filter(|dir| dir.error.is_none()).map(|dir| dir.total_bytes).sum()
}

/// The log dirs of a broker that have not failed and their sizes, where it has several of sizes that it tells.
fn several_dirs<'k>(of: &Known<'k>, id: BrokerId) -> Vec<(&'k LogDir, i64)> {
    let known = of.log_dirs.and_then(|dirs| dirs.get(&id)).filter(|_| of.live.contains_key(&id));
    let living = known.into_iter().flatten().filter(|dir| dir.error.is_none());
    let sized = living.map(|dir| Some((dir, units(dir.total_bytes.filter(|bytes| *bytes > 0)?))));
    sized.collect::<Option<Vec<_>>>().filter(|dirs| dirs.len() > 1).unwrap_or_default()
}

/// Says in which log dirs replicas stand. One that is being moved to another dir of its broker stands in its former one until then.
fn stand(
    of: &Known<'_>,
    at: &TopicPartition,
    partition: &Partition,
    ordinal: u32,
    builder: &mut balance::Builder,
) -> Result<(), ClusterError> {
    for (position, id) in (0..).zip(&partition.replicas).filter(|_| of.log_dirs.is_some()) {
        let holds = |dir: &LogDir| dir.replicas.get(at).is_some_and(|replica| !replica.is_future);
        let place = (0..).zip(several_dirs(of, *id)).find(|(_, (dir, _))| holds(dir));
        if let Some((dir, _)) = place {
            builder.stands_in(ordinal, position, dir)?;
        }
    }
    Ok(())
}

/// Whether a replica lives and serves.
fn serves(of: &Known<'_>, at: &TopicPartition, id: BrokerId) -> bool {
    of.live.contains_key(&id) && !of.offline.contains(&(id, at.clone()))
}

/// Who leads: where Kafka names nobody, the first that it can elect.
fn leading(of: &Known<'_>, at: &TopicPartition, partition: &Partition) -> usize {
    let named = partition.replicas.iter().position(|id| Some(*id) == partition.leader);
    let can = |id: &BrokerId| partition.isr.contains(id) && serves(of, at, *id);
    named.or_else(|| partition.replicas.iter().position(can)).unwrap_or(0)
}

/// Says what of a partition is not as it should be.
fn condition(
    of: &Known<'_>,
    at: &TopicPartition,
    partition: &Partition,
    ordinal: u32,
    builder: &mut balance::Builder,
) -> Result<(), ClusterError> {
    for (position, id) in (0..).zip(&partition.replicas) {
        if of.offline.contains(&(*id, at.clone())) {
            builder.offline(ordinal, position)?;
        } else if of.live.contains_key(id) && !partition.isr.contains(id) {
            // What is on a dead broker is copied anew, and in sync then.
            builder.not_in_sync(ordinal, position)?;
        }
    }
    let lock = if of.reassignments.contains_key(at) {
        Some(Lock::Reassigning)
    } else if partition.replicas.iter().any(|id| of.untouched.contains(id)) {
        Some(Lock::Maintenance)
    } else if !partition.isr.iter().any(|id| serves(of, at, *id)) {
        Some(Lock::NothingInSync)
    } else {
        None
    };
    lock.map_or(Ok(()), |lock| builder.lock(ordinal, lock))
}

/// Whether brokers stand on several hosts, as far as their addresses tell: one host for all is that of a proxy or a trial.
fn has_hosts(of: &Known<'_>) -> bool {
    of.live.values().map(|broker| &broker.address.host).collect::<BTreeSet<_>>().len() > 1
}

/// What fails together: a rack where the broker names one, else a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Site<'k> {
    Rack(&'k str),
    Host(&'k str),
}

/// Where a broker stands, as far as that is known.
fn site<'k>(of: &'k Known<'_>, id: BrokerId, by_host: bool) -> Option<Site<'k>> {
    of.live.get(&id).and_then(|broker| match broker.rack.as_deref() {
        Some(rack) => Some(Site::Rack(rack)),
        None => by_host.then_some(Site::Host(&broker.address.host)),
    })
}

fn rack_name(of: &Known<'_>, id: BrokerId, by_host: bool) -> String {
    match site(of, id, by_host) {
        Some(Site::Rack(rack)) => rack.to_owned(),
        Some(Site::Host(host)) => format!("of host {host}"),
        None => format!("of broker {id}"),
    }
}

fn broker<'k>(
    of: &'k Known<'_>,
    id: BrokerId,
    by_host: bool,
    racks: &mut BTreeMap<Site<'k>, u32>,
) -> balance::Broker {
    let live = of.live.get(&id);
    let next = u32::try_from(racks.len()).unwrap_or(u32::MAX);
    // Where neither is known each broker stands for itself.
    let rack = match site(of, id, by_host) {
        Some(site) => *racks.entry(site).or_insert(next),
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
    balance::Partition {
        topic,
        replicas: partition
            .replicas
            .iter()
            .map(|id| balance::Replica { broker: ordinal(id), load })
            .collect(),
        leader: u32::try_from(leading(of, at, partition)).unwrap_or(0),
        leader_cpu: 0,
        leader_network_out: units(out),
        frozen: of.excluded_topics.contains(&at.topic),
    }
}

#[cfg(test)]
#[path = "balance_tests.rs"]
mod tests;
