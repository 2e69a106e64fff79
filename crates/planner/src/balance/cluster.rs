//! The question of a balance plan: every replica with its load, every broker with its capacity.
//!
//! Everything is flat and a dense ordinal: the columns of three million replicas with
//! their loads and partitions take some 150 MB.

mod dirs;
mod error;

use std::collections::BTreeMap;
use std::fmt;

pub use error::ClusterError;

use dirs::LogDirs;

/// Number of resources.
pub const RESOURCES: usize = 4;
/// Index of CPU in a [`Loads`].
pub const CPU: usize = 0;
/// Index of inbound network in a [`Loads`].
pub const NETWORK_IN: usize = 1;
/// Index of outbound network in a [`Loads`].
pub const NETWORK_OUT: usize = 2;
/// Index of disk in a [`Loads`].
pub const DISK: usize = 3;

/// One figure per resource, in the order [`CPU`], [`NETWORK_IN`], [`NETWORK_OUT`], [`DISK`].
///
/// Fixed point. The caller chooses each resource's unit, the same for loads and capacities (for instance millionths of
/// a percent of CPU, bytes per second, bytes): only ratios count.
pub type Loads = [i64; RESOURCES];

/// The largest load or capacity that is taken, and the largest sum of one resource over a cluster.
pub const MAX_LOAD: i64 = 1 << 58;

/// A broker, as given to [`Builder::add_broker`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broker {
    /// Its rack. Need not be dense.
    pub rack: u32,
    /// Its broker set, for topics that are bound to one.
    pub set: Option<u32>,
    /// What it can carry. 0 is a capacity that is not known: see [`Cluster::capacity`].
    pub capacity: Loads,
    /// Whether it serves and stays. What others hold, dead ones and those to be drained, is moved off them first.
    pub alive: bool,
    /// Whether it may be given replicas.
    pub takes_replicas: bool,
    /// Whether it may be given leadership.
    pub takes_leadership: bool,
    /// What sets it apart for a mode.
    pub mark: Mark,
}

/// What sets a broker apart for a mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mark {
    /// Nothing.
    #[default]
    None,
    /// It has been added and waits for its share: see [`Moves::ToNew`](super::Moves::ToNew).
    New,
    /// It is to be relieved: see [`Moves::OffOverloaded`](super::Moves::OffOverloaded).
    Overloaded,
    /// It stands for no broker: replicas wait on it that are yet to be created. See
    /// [`with_replication_factor`](super::with_replication_factor).
    Waiting,
}

/// One replica of a [`Partition`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replica {
    /// The broker that holds it.
    pub broker: u32,
    /// What it takes as a follower.
    pub load: Loads,
}

/// A partition, as given to [`Builder::add_partition`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its topic.
    pub topic: u32,
    /// Its replicas in Kafka's order: the first is the preferred leader.
    pub replicas: Vec<Replica>,
    /// Position of the leader in the list.
    pub leader: u32,
    /// CPU that the leader takes on top of what it would take as a follower.
    pub leader_cpu: i64,
    /// Outbound network that the leader takes on top.
    pub leader_network_out: i64,
    /// Whether it may not be touched, unless a replica is on a dead broker. [`Builder::lock`] forbids that, too.
    pub frozen: bool,
}

/// Why a partition is never touched, not even where a replica is on a dead broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lock {
    /// It is being reassigned: whoever gives another order cancels that one.
    Reassigning,
    /// A broker that holds it is under maintenance.
    Maintenance,
    /// No replica on a living broker is in sync: there is nothing to copy from, and nobody to lead.
    NothingInSync,
    /// A replica of it is offline, which the mode leaves to others.
    Offline,
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lock::Reassigning => write!(f, "it is being reassigned"),
            Lock::Maintenance => write!(f, "a broker that holds it is under maintenance"),
            Lock::NothingInSync => write!(f, "no replica of it on a living broker is in sync"),
            Lock::Offline => write!(f, "what is offline is left to be healed (mode heal)"),
        }
    }
}

/// The replica lacks what others have.
const BEHIND: u8 = 1;
/// The replica stands in a log dir that has failed.
const OFFLINE: u8 = 2;

/// A cluster with loads. Made by [`Cluster::builder`], valid by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    pub(crate) topics: u32,
    pub(crate) brokers: Vec<Broker>,
    // One entry per topic.
    pub(crate) bound_to_set: Vec<Option<u32>>,
    pub(crate) required_leaders: Vec<u32>,
    // One entry per partition (one more in `start`).
    pub(crate) topic: Vec<u32>,
    pub(crate) leader: Vec<u32>,
    pub(crate) leader_cpu: Vec<i64>,
    pub(crate) leader_network_out: Vec<i64>,
    pub(crate) potential: Vec<i64>,
    pub(crate) frozen: Vec<bool>,
    pub(super) lock: Vec<Option<Lock>>,
    pub(crate) start: Vec<u32>,
    // One entry per replica.
    pub(crate) place: Vec<u32>,
    pub(crate) load: Vec<Loads>,
    condition: Vec<u8>,
    log_dirs: LogDirs,
    /// By broker; those behind the end stand alone.
    hosts: Vec<Option<u32>>,
    pub(crate) total: Loads,
}

impl Cluster {
    /// Starts a cluster of `topics` topics. Brokers are added first, then partitions.
    pub fn builder(topics: u32) -> Builder {
        Builder {
            racks: BTreeMap::new(),
            cluster: Cluster {
                topics,
                brokers: Vec::new(),
                bound_to_set: vec![None; topics as usize],
                required_leaders: vec![0; topics as usize],
                topic: Vec::new(),
                leader: Vec::new(),
                leader_cpu: Vec::new(),
                leader_network_out: Vec::new(),
                potential: Vec::new(),
                frozen: Vec::new(),
                lock: Vec::new(),
                start: vec![0],
                place: Vec::new(),
                load: Vec::new(),
                condition: Vec::new(),
                log_dirs: LogDirs::default(),
                hosts: Vec::new(),
                total: [0; RESOURCES],
            },
        }
    }

    /// The brokers, their racks renumbered densely in order of appearance.
    pub fn brokers(&self) -> &[Broker] {
        &self.brokers
    }

    /// Whether two brokers stand on one host.
    pub fn same_host(&self, one: u32, other: u32) -> bool {
        self.host(one).is_some() && self.host(one) == self.host(other)
    }

    /// The host that a broker stands on, if it is known.
    pub(crate) fn host(&self, broker: u32) -> Option<u32> {
        self.hosts.get(broker as usize).copied().flatten()
    }

    /// What is known of a broker's capacity for a resource. 0 says that it is not known, and this is the one place where that is
    /// decided: what is not known limits nothing, so that no goal about capacity judges the broker; where loads are shared
    /// out by capacity it counts as one of [the mean](Self::fair_capacity) of those that are known.
    pub fn capacity(&self, broker: usize, resource: usize) -> Option<i64> {
        Some(self.brokers[broker].capacity[resource]).filter(|capacity| *capacity > 0)
    }

    /// The capacity by which a living broker takes its share of a resource. Nothing where no living broker's is known.
    pub fn fair_capacity(&self, broker: usize, resource: usize) -> Option<i64> {
        self.capacity(broker, resource).or_else(|| self.mean_capacity(resource))
    }

    /// The mean of the living brokers whose capacity for a resource is known.
    fn mean_capacity(&self, resource: usize) -> Option<i64> {
        let living = (0..self.brokers.len()).filter(|broker| self.brokers[*broker].alive);
        let known = living.filter_map(|broker| self.capacity(broker, resource));
        let (count, sum) = known.fold((0, 0), |(count, sum), capacity| (count + 1, sum + capacity));
        (count > 0).then(|| sum / count)
    }

    /// Number of topics, as announced.
    pub fn topics(&self) -> u32 {
        self.topics
    }

    /// The broker set that a topic is bound to.
    pub fn bound_set(&self, topic: u32) -> Option<u32> {
        self.bound_to_set[topic as usize]
    }

    /// How many leaders of a topic each broker must have that may take replicas and leadership.
    pub fn required_leaders(&self, topic: u32) -> u32 {
        self.required_leaders[topic as usize]
    }

    /// Number of partitions.
    pub fn partitions(&self) -> u32 {
        self.topic.len() as u32
    }

    /// Number of replicas.
    pub fn replica_count(&self) -> usize {
        self.place.len()
    }

    /// The topic of a partition.
    pub fn topic(&self, partition: u32) -> u32 {
        self.topic[partition as usize]
    }

    /// The brokers of a partition, in Kafka's order.
    pub fn replicas(&self, partition: u32) -> &[u32] {
        &self.place[self.row(partition)]
    }

    /// Loads of a partition's replicas as followers, in the same order.
    pub fn loads(&self, partition: u32) -> &[Loads] {
        &self.load[self.row(partition)]
    }

    /// Position of the leader in the replica list.
    pub fn leader(&self, partition: u32) -> u32 {
        self.leader[partition as usize]
    }

    /// What the leader takes on top of its load as a follower.
    pub fn leader_share(&self, partition: u32) -> Loads {
        let mut share = [0; RESOURCES];
        share[CPU] = self.leader_cpu[partition as usize];
        share[NETWORK_OUT] = self.leader_network_out[partition as usize];
        share
    }

    /// Outbound network of the partition's leader as given: what each replica's broker would send if it led.
    pub fn potential_network_out(&self, partition: u32) -> i64 {
        self.potential[partition as usize]
    }

    /// Whether a partition may not be touched, unless a replica is on a dead broker.
    pub fn frozen(&self, partition: u32) -> bool {
        self.frozen[partition as usize]
    }

    /// Why a partition is never touched, if it is not. It counts as frozen, too.
    pub fn lock(&self, partition: u32) -> Option<Lock> {
        self.lock[partition as usize]
    }

    /// Whether a replica has what its leader has: no other is given leadership where it stands. Of replicas that move it says
    /// nothing: they are copied anew.
    pub fn in_sync(&self, partition: u32, position: u32) -> bool {
        self.keeps_up(self.start[partition as usize] + position)
    }

    /// Whether a replica is offline although its broker lives: its log dir has failed. Only another broker can hold it.
    pub fn offline(&self, partition: u32, position: u32) -> bool {
        self.failed(self.start[partition as usize] + position)
    }

    /// [`in_sync`](Self::in_sync) by the place in the flat columns.
    pub(crate) fn keeps_up(&self, replica: u32) -> bool {
        self.condition[replica as usize] & BEHIND == 0
    }

    /// Whether any replica is not in sync.
    pub(crate) fn any_behind(&self) -> bool {
        self.condition.iter().any(|condition| condition & BEHIND != 0)
    }

    /// Whether the log dir of any replica has failed.
    pub(crate) fn any_failed(&self) -> bool {
        self.condition.iter().any(|condition| condition & OFFLINE != 0)
    }

    /// [`offline`](Self::offline) by the place in the flat columns.
    pub(crate) fn failed(&self, replica: u32) -> bool {
        self.condition[replica as usize] & OFFLINE != 0
    }

    /// Whether a replica cannot stay where it is: its broker does not live, or its log dir has failed.
    pub(crate) fn homeless(&self, replica: u32) -> bool {
        !self.brokers[self.place[replica as usize] as usize].alive || self.failed(replica)
    }

    /// What a replica lays on a broker where it follows. What stands in a failed log dir is on none of the disks that work.
    pub(crate) fn load_at(&self, replica: usize, broker: u32) -> Loads {
        let mut load = self.load[replica];
        let lives = self.brokers[broker as usize].alive;
        if lives && self.failed(replica as u32) && self.place[replica] == broker {
            load[DISK] = 0;
        }
        load
    }

    /// Replicas that are offline if a partition stands on these brokers.
    pub(crate) fn offline_in(&self, partition: u32, list: &[u32]) -> i64 {
        let row = self.row(partition);
        let offline = |(replica, broker): &(usize, &u32)| {
            !self.brokers[**broker as usize].alive
                || (self.failed(*replica as u32) && self.place[*replica] == **broker)
        };
        row.zip(list).filter(offline).count() as i64
    }

    /// Sum of each resource over all replicas.
    pub fn total(&self) -> Loads {
        self.total
    }

    /// The same cluster with topics frozen and brokers that take no more replicas. What there is not is passed over.
    #[must_use]
    pub fn with_excluded(mut self, topics: &[u32], brokers: &[u32]) -> Cluster {
        for (frozen, topic) in self.frozen.iter_mut().zip(&self.topic) {
            *frozen |= topics.contains(topic);
        }
        for broker in brokers {
            if let Some(known) = self.brokers.get_mut(*broker as usize) {
                known.takes_replicas = false;
            }
        }
        self
    }

    /// The same cluster with brokers that are given no leadership. What there is not is passed over, here and below.
    #[must_use]
    pub fn without_leadership(mut self, brokers: &[u32]) -> Cluster {
        for (known, _) in self.brokers.iter_mut().zip(0..).filter(|(_, at)| brokers.contains(at)) {
            known.takes_leadership = false;
        }
        self
    }

    /// The same cluster with frozen partitions.
    #[must_use]
    pub fn with_frozen(mut self, partitions: &[u32]) -> Cluster {
        for partition in partitions {
            if let Some(frozen) = self.frozen.get_mut(*partition as usize) {
                *frozen = true;
            }
        }
        self
    }

    /// The same cluster with a set of brokers, to which topics are bound.
    #[must_use]
    pub fn with_broker_set(mut self, set: u32, brokers: &[u32], topics: &[u32]) -> Cluster {
        for (known, _) in self.brokers.iter_mut().zip(0..).filter(|(_, at)| brokers.contains(at)) {
            known.set = Some(set);
        }
        for (bound, _) in self.bound_to_set.iter_mut().zip(0..).filter(|(_, at)| topics.contains(at)) {
            *bound = Some(set);
        }
        self
    }

    /// The same cluster with a topic of which each broker must have so many leaders.
    #[must_use]
    pub fn with_required_leaders(mut self, topic: u32, leaders: u32) -> Cluster {
        if let Some(required) = self.required_leaders.get_mut(topic as usize) {
            *required = leaders;
        }
        self
    }

    /// The leading replica of each partition, by its place in the flat columns.
    pub(crate) fn leaders(&self) -> Vec<u32> {
        self.start.iter().zip(&self.leader).map(|(start, leader)| start + leader).collect()
    }

    /// The same cluster with other brokers and leaders. In which log dirs arrivals stand is left open.
    pub(crate) fn placed(&self, place: &[u32], leader: &[u32]) -> Cluster {
        let mut cluster = self.clone();
        for (condition, (home, place)) in cluster.condition.iter_mut().zip(self.place.iter().zip(place)) {
            // What moves is copied anew.
            *condition = if home == place { *condition } else { 0 };
        }
        cluster.log_dirs.leave(&self.place, place);
        cluster.place.copy_from_slice(place);
        for (position, (leader, start)) in cluster.leader.iter_mut().zip(leader.iter().zip(&self.start)) {
            *position = leader - start;
        }
        cluster
    }

    pub(crate) fn row(&self, partition: u32) -> std::ops::Range<usize> {
        let partition = partition as usize;
        self.start[partition] as usize..self.start[partition + 1] as usize
    }
}

/// Collects a [`Cluster`]. What it refuses it does not add.
#[derive(Debug, Clone)]
pub struct Builder {
    cluster: Cluster,
    racks: BTreeMap<u32, u32>,
}

fn ordinal(count: usize) -> Result<u32, ClusterError> {
    u32::try_from(count).ok().filter(|ordinal| *ordinal != u32::MAX).ok_or(ClusterError::TooManyOrdinals)
}

fn checked(load: i64) -> Result<i64, ClusterError> {
    if (0..=MAX_LOAD).contains(&load) { Ok(load) } else { Err(ClusterError::LoadOutOfRange) }
}

impl Builder {
    /// Adds a broker and returns its ordinal.
    ///
    /// # Errors
    /// [`ClusterError::LoadOutOfRange`], [`ClusterError::TooManyOrdinals`].
    pub fn add_broker(&mut self, broker: &Broker) -> Result<u32, ClusterError> {
        let this = ordinal(self.cluster.brokers.len())?;
        for resource in 0..RESOURCES {
            let sum = self.cluster.brokers.iter().map(|other| other.capacity[resource]).sum::<i64>();
            checked(checked(broker.capacity[resource])? + sum)?;
        }
        let racks = self.racks.len() as u32;
        let rack = *self.racks.entry(broker.rack).or_insert(racks);
        self.cluster.brokers.push(Broker { rack, ..*broker });
        Ok(this)
    }

    /// Says on which host a broker stands: where racks are too few, replicas of a partition that share one rather do not share a host.
    ///
    /// # Errors
    /// [`ClusterError::BrokerOutOfRange`].
    pub fn host(&mut self, broker: u32, host: u32) -> Result<(), ClusterError> {
        let cluster = &mut self.cluster;
        cluster.hosts.resize(cluster.brokers.len(), None);
        *cluster.hosts.get_mut(broker as usize).ok_or(ClusterError::BrokerOutOfRange { broker })? =
            Some(host);
        Ok(())
    }

    /// Binds a topic to a broker set.
    ///
    /// # Errors
    /// [`ClusterError::TopicOutOfRange`].
    pub fn bind_topic(&mut self, topic: u32, set: u32) -> Result<(), ClusterError> {
        *self
            .cluster
            .bound_to_set
            .get_mut(topic as usize)
            .ok_or(ClusterError::TopicOutOfRange { topic })? = Some(set);
        Ok(())
    }

    /// Requires so many leaders of a topic on every broker that may take replicas and leadership. None: 0.
    ///
    /// # Errors
    /// [`ClusterError::TopicOutOfRange`].
    pub fn require_leaders(&mut self, topic: u32, leaders: u32) -> Result<(), ClusterError> {
        *self
            .cluster
            .required_leaders
            .get_mut(topic as usize)
            .ok_or(ClusterError::TopicOutOfRange { topic })? = leaders;
        Ok(())
    }

    /// Adds a partition and returns its ordinal.
    ///
    /// # Errors
    /// Any [`ClusterError`]. The caller may go on without the partition.
    pub fn add_partition(&mut self, partition: &Partition) -> Result<u32, ClusterError> {
        let this = ordinal(self.cluster.topic.len())?;
        let end = ordinal(self.cluster.place.len() + partition.replicas.len())?;
        let total = self.check(partition)?;
        let cluster = &mut self.cluster;
        for replica in &partition.replicas {
            cluster.place.push(replica.broker);
            cluster.load.push(replica.load);
            cluster.condition.push(0);
        }
        let leader = &partition.replicas[partition.leader as usize];
        cluster.potential.push(leader.load[NETWORK_OUT] + partition.leader_network_out);
        cluster.topic.push(partition.topic);
        cluster.leader.push(partition.leader);
        cluster.leader_cpu.push(partition.leader_cpu);
        cluster.leader_network_out.push(partition.leader_network_out);
        cluster.frozen.push(partition.frozen);
        cluster.lock.push(None);
        cluster.start.push(end);
        cluster.total = total;
        Ok(this)
    }

    /// Never touches a partition.
    ///
    /// # Errors
    /// [`ClusterError::ReplicaOutOfRange`].
    pub fn lock(&mut self, partition: u32, why: Lock) -> Result<(), ClusterError> {
        let cluster = &mut self.cluster;
        let lock = cluster.lock.get_mut(partition as usize);
        *lock.ok_or(ClusterError::ReplicaOutOfRange { partition })? = Some(why);
        cluster.frozen[partition as usize] = true;
        Ok(())
    }

    /// Says that a replica is not in sync: see [`Cluster::in_sync`].
    ///
    /// # Errors
    /// [`ClusterError::ReplicaOutOfRange`].
    pub fn not_in_sync(&mut self, partition: u32, position: u32) -> Result<(), ClusterError> {
        self.condition(partition, position, BEHIND)
    }

    /// Says that a replica's log dir has failed: see [`Cluster::offline`]. It is not in sync either.
    ///
    /// # Errors
    /// [`ClusterError::ReplicaOutOfRange`].
    pub fn offline(&mut self, partition: u32, position: u32) -> Result<(), ClusterError> {
        self.condition(partition, position, BEHIND | OFFLINE)
    }

    fn condition(&mut self, partition: u32, position: u32, is: u8) -> Result<(), ClusterError> {
        let replica = self.replica(partition, position)?;
        self.cluster.condition[replica] |= is;
        Ok(())
    }

    /// The place of a replica in the flat columns.
    fn replica(&self, partition: u32, position: u32) -> Result<usize, ClusterError> {
        let known = (partition as usize) < self.cluster.topic.len();
        let mut row = if known { self.cluster.row(partition) } else { 0..0 };
        row.nth(position as usize).ok_or(ClusterError::ReplicaOutOfRange { partition })
    }

    fn check(&self, partition: &Partition) -> Result<Loads, ClusterError> {
        let cluster = &self.cluster;
        if partition.topic >= cluster.topics {
            return Err(ClusterError::TopicOutOfRange { topic: partition.topic });
        }
        if partition.replicas.is_empty() || partition.replicas.len() > crate::MAX_REPLICAS {
            return Err(ClusterError::BadReplicationFactor);
        }
        if partition.leader as usize >= partition.replicas.len() {
            return Err(ClusterError::LeaderOutOfRange);
        }
        let mut total = cluster.total;
        total[CPU] = checked(total[CPU] + checked(partition.leader_cpu)?)?;
        total[NETWORK_OUT] = checked(total[NETWORK_OUT] + checked(partition.leader_network_out)?)?;
        for (position, replica) in partition.replicas.iter().enumerate() {
            if replica.broker as usize >= cluster.brokers.len() {
                return Err(ClusterError::BrokerOutOfRange { broker: replica.broker });
            }
            if partition.replicas[..position].iter().any(|earlier| earlier.broker == replica.broker) {
                return Err(ClusterError::DuplicateReplica { broker: replica.broker });
            }
            for (sum, load) in total.iter_mut().zip(replica.load) {
                *sum = checked(*sum + checked(load)?)?;
            }
        }
        Ok(total)
    }

    /// The cluster.
    pub fn build(mut self) -> Cluster {
        self.cluster.log_dirs.end(self.cluster.place.len());
        self.cluster
    }
}
