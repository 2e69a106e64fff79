//! The question: what the cluster looks like and which replicas are to be replaced.
//!
//! Everything is a dense ordinal and everything is flat (compressed rows: one start offset per
//! partition, one entry per replica), so that three million replicas take some 20 MB and a scan
//! over them is a scan over memory. The same layout carries further columns (load as leader and as
//! follower, host, broker set, log dir of each replica) when more modes than healing are built.

use std::collections::BTreeMap;
use std::fmt;

use crate::ledger::Need;

/// Position of a broker in [`Problem`], from 0.
pub type BrokerOrdinal = u32;
/// Position of a partition in [`Problem`], from 0.
pub type PartitionOrdinal = u32;
/// Number of a topic, from 0, below the count given to [`Problem::builder`].
pub type TopicOrdinal = u32;
/// Number of a rack. Need not be dense.
pub type RackOrdinal = u32;

/// The largest figure (bytes, or bytes per second) that is taken: 2^53 − 1, about 9 PB.
///
/// Below it a figure times 1000 still fits 64 bits, and a 64-bit float holds it exactly.
pub const MAX_FIGURE: u64 = (1 << 53) - 1;

/// The longest replica list that is taken. Kafka's replication factor is a 16-bit number.
pub const MAX_REPLICAS: usize = i16::MAX as usize;

const NO_BROKER: u32 = u32::MAX;
const UNKNOWN: u64 = u64::MAX;
const IN_SYNC: u8 = 1;
const REPLACE: u8 = 2;

/// What a broker is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum BrokerState {
    /// Serves, and may take replicas.
    #[default]
    Alive,
    /// Declared dead: it does not serve and is not waited for.
    Dead,
    /// Does not serve, but is not (yet) declared dead: within its grace, stale, or down for
    /// maintenance. Takes no replicas.
    Absent,
    /// Serves and is to be emptied (decommissioned). Takes no replicas.
    Draining,
    /// Serves and is being worked on. Takes no replicas.
    Maintenance,
    /// Serves, but somebody said that it shall take no replicas.
    Excluded,
}

impl BrokerState {
    /// Whether Kafka has the broker: it can lead and be copied from.
    pub fn is_up(self) -> bool {
        !matches!(self, BrokerState::Dead | BrokerState::Absent)
    }
}

/// One log dir: bytes. Bytes that are still to arrive by running reassignments belong into `used`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogDir {
    /// Size of its file system, bytes.
    pub total: u64,
    /// Used of it, bytes.
    pub used: u64,
}

/// One direction of a broker's network: bytes per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Network {
    /// What it can carry, bytes per second.
    pub capacity: u64,
    /// What it carries, replication included, bytes per second.
    pub used: u64,
}

/// A broker, as given to [`Builder::add_broker`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Broker {
    /// Its rack, if it names one. Brokers without one share one nameless rack, if any broker has a rack.
    pub rack: Option<RackOrdinal>,
    /// What it is good for.
    pub state: BrokerState,
    /// Its log dirs; empty where unknown.
    pub log_dirs: Vec<LogDir>,
    /// Inbound network, if known.
    pub network_in: Option<Network>,
    /// Outbound network, if known.
    pub network_out: Option<Network>,
}

/// One replica of a [`Partition`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replica {
    /// The broker that holds it.
    pub broker: BrokerOrdinal,
    /// Whether it is in the partition's in-sync set.
    pub in_sync: bool,
    /// Whether a new broker is wanted in its place.
    pub replace: bool,
}

/// A partition, as given to [`Builder::add_partition`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Partition {
    /// Its topic.
    pub topic: TopicOrdinal,
    /// Its replicas in Kafka's order: the first is the preferred leader.
    pub replicas: Vec<Replica>,
    /// The broker that leads it, if any does.
    pub leader: Option<BrokerOrdinal>,
    /// Size of one replica in bytes, if known.
    pub size: Option<u64>,
    /// What producers write to it, bytes per second, if known.
    pub bytes_in: Option<u64>,
    /// What consumers read from it, replication not included, bytes per second, if known.
    pub bytes_out: Option<u64>,
    /// Not to be touched, for instance because a reassignment of it is running.
    pub frozen: bool,
}

/// Why a [`Problem`] cannot be built. The thing that was refused was not added: what came before stays usable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProblemError {
    /// A broker's or partition's figure is above [`MAX_FIGURE`].
    FigureTooLarge {
        /// The figure as given.
        figure: u64,
    },
    /// A topic is not below the number of topics announced.
    TopicOutOfRange {
        /// The topic as given.
        topic: TopicOrdinal,
        /// The number of topics announced.
        topics: u32,
    },
    /// A replica names a broker that was not added.
    BrokerOutOfRange {
        /// The broker as given.
        broker: BrokerOrdinal,
        /// The number of brokers.
        brokers: u32,
    },
    /// Two replicas of one partition are on one broker.
    DuplicateReplica {
        /// The broker that is named twice.
        broker: BrokerOrdinal,
    },
    /// A partition has no replicas.
    NoReplicas,
    /// A partition has more than [`MAX_REPLICAS`] replicas.
    TooManyReplicas {
        /// How many it has.
        replicas: usize,
    },
    /// A partition's leader holds no replica of it.
    LeaderHoldsNoReplica {
        /// The leader as given.
        leader: BrokerOrdinal,
    },
    /// More brokers, log dirs, partitions or replicas than 32-bit ordinals can count.
    TooManyOrdinals,
}

impl fmt::Display for ProblemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProblemError::FigureTooLarge { figure } => write!(f, "figure {figure} is above {MAX_FIGURE}"),
            ProblemError::TopicOutOfRange { topic, topics } => {
                write!(f, "topic {topic} is out of range: there are {topics}")
            }
            ProblemError::BrokerOutOfRange { broker, brokers } => {
                write!(f, "broker {broker} is out of range: there are {brokers}")
            }
            ProblemError::DuplicateReplica { broker } => write!(f, "broker {broker} holds two replicas"),
            ProblemError::NoReplicas => write!(f, "the partition has no replicas"),
            ProblemError::TooManyReplicas { replicas } => {
                write!(f, "{replicas} replicas are more than {MAX_REPLICAS}")
            }
            ProblemError::LeaderHoldsNoReplica { leader } => write!(f, "leader {leader} holds no replica"),
            ProblemError::TooManyOrdinals => write!(f, "more than 32-bit ordinals can count"),
        }
    }
}

impl std::error::Error for ProblemError {}

/// A cluster as the planner sees it. Made by [`Problem::builder`], valid by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub(crate) topics: u32,
    // One entry per broker.
    pub(crate) state: Vec<BrokerState>,
    pub(crate) rack: Vec<u32>,
    pub(crate) racks: u32,
    pub(crate) racks_known: bool,
    pub(crate) log_dir_start: Vec<u32>,
    pub(crate) log_dirs: Vec<LogDir>,
    pub(crate) network_in: Vec<Option<Network>>,
    pub(crate) network_out: Vec<Option<Network>>,
    pub(crate) replica_count: Vec<u32>,
    // One entry per partition (one more in `replica_start`).
    pub(crate) topic: Vec<TopicOrdinal>,
    pub(crate) leader: Vec<u32>,
    pub(crate) size: Vec<u64>,
    pub(crate) bytes_in: Vec<u64>,
    pub(crate) bytes_out: Vec<u64>,
    pub(crate) frozen: Vec<bool>,
    pub(crate) replica_start: Vec<u32>,
    // One entry per replica.
    pub(crate) replica_broker: Vec<BrokerOrdinal>,
    pub(crate) replica_flags: Vec<u8>,
    /// Partitions with a replica to be replaced, ascending.
    pub(crate) wanted: Vec<PartitionOrdinal>,
}

impl Problem {
    /// Starts a problem over `topics` topics. Brokers are added first, then partitions.
    pub fn builder(topics: u32) -> Builder {
        Builder {
            racks: BTreeMap::new(),
            rackless: false,
            problem: Problem {
                topics,
                state: Vec::new(),
                rack: Vec::new(),
                racks: 0,
                racks_known: false,
                log_dir_start: vec![0],
                log_dirs: Vec::new(),
                network_in: Vec::new(),
                network_out: Vec::new(),
                replica_count: Vec::new(),
                topic: Vec::new(),
                leader: Vec::new(),
                size: Vec::new(),
                bytes_in: Vec::new(),
                bytes_out: Vec::new(),
                frozen: Vec::new(),
                replica_start: vec![0],
                replica_broker: Vec::new(),
                replica_flags: Vec::new(),
                wanted: Vec::new(),
            },
        }
    }

    /// Number of brokers.
    pub fn brokers(&self) -> u32 {
        self.state.len() as u32
    }

    /// Number of topics, as announced.
    pub fn topics(&self) -> u32 {
        self.topics
    }

    /// Number of partitions.
    pub fn partitions(&self) -> u32 {
        self.topic.len() as u32
    }

    /// What a broker is good for.
    pub fn state(&self, broker: BrokerOrdinal) -> BrokerState {
        self.state[broker as usize]
    }

    /// The rack of a broker as a dense number, or none where no broker of the cluster names a rack.
    ///
    /// These are the problem's own numbers, in the order in which racks first appeared; brokers
    /// without a rack share one more, so that two of them count as one rack: they may be.
    pub fn rack(&self, broker: BrokerOrdinal) -> Option<u32> {
        self.racks_known.then(|| self.rack[broker as usize])
    }

    /// The log dirs of a broker; empty where unknown.
    pub fn log_dirs(&self, broker: BrokerOrdinal) -> &[LogDir] {
        let broker = broker as usize;
        &self.log_dirs[self.log_dir_start[broker] as usize..self.log_dir_start[broker + 1] as usize]
    }

    /// Inbound network of a broker, if known.
    pub fn network_in(&self, broker: BrokerOrdinal) -> Option<Network> {
        self.network_in[broker as usize]
    }

    /// Outbound network of a broker, if known.
    pub fn network_out(&self, broker: BrokerOrdinal) -> Option<Network> {
        self.network_out[broker as usize]
    }

    /// Number of replicas on a broker.
    pub fn replicas_on(&self, broker: BrokerOrdinal) -> u32 {
        self.replica_count[broker as usize]
    }

    /// The topic of a partition.
    pub fn topic(&self, partition: PartitionOrdinal) -> TopicOrdinal {
        self.topic[partition as usize]
    }

    /// The replica list of a partition, in Kafka's order.
    pub fn replicas(&self, partition: PartitionOrdinal) -> &[BrokerOrdinal] {
        &self.replica_broker[self.row(partition)]
    }

    /// Whether the replica at a position is in sync.
    pub fn in_sync(&self, partition: PartitionOrdinal, position: usize) -> bool {
        self.replica_flags[self.row(partition)][position] & IN_SYNC != 0
    }

    /// Whether the replica at a position is to be replaced.
    pub fn to_replace(&self, partition: PartitionOrdinal, position: usize) -> bool {
        self.replica_flags[self.row(partition)][position] & REPLACE != 0
    }

    /// The leader of a partition, if it has one.
    pub fn leader(&self, partition: PartitionOrdinal) -> Option<BrokerOrdinal> {
        Some(self.leader[partition as usize]).filter(|leader| *leader != NO_BROKER)
    }

    /// Bytes of one replica of a partition, if known.
    pub fn size(&self, partition: PartitionOrdinal) -> Option<u64> {
        known(self.size[partition as usize])
    }

    /// What producers write to a partition, bytes per second, if known.
    pub fn bytes_in(&self, partition: PartitionOrdinal) -> Option<u64> {
        known(self.bytes_in[partition as usize])
    }

    /// What consumers read from a partition, bytes per second, if known.
    pub fn bytes_out(&self, partition: PartitionOrdinal) -> Option<u64> {
        known(self.bytes_out[partition as usize])
    }

    /// Whether a partition is not to be touched.
    pub fn frozen(&self, partition: PartitionOrdinal) -> bool {
        self.frozen[partition as usize]
    }

    /// The partitions with a replica to be replaced, ascending.
    pub fn wanted(&self) -> &[PartitionOrdinal] {
        &self.wanted
    }

    fn row(&self, partition: PartitionOrdinal) -> std::ops::Range<usize> {
        let partition = partition as usize;
        self.replica_start[partition] as usize..self.replica_start[partition + 1] as usize
    }

    /// Puts a replica on another broker: in sync there, and no longer to be replaced.
    pub(crate) fn set_replica(&mut self, partition: PartitionOrdinal, position: usize, to: BrokerOrdinal) {
        let at = self.row(partition).start + position;
        self.replica_count[self.replica_broker[at] as usize] -= 1;
        self.replica_count[to as usize] += 1;
        self.replica_broker[at] = to;
        self.replica_flags[at] = IN_SYNC;
        // A leader that gave its replica away leads no longer: Kafka elects the first of the list that is in sync.
        let row = self.row(partition);
        if !self.replica_broker[row.clone()].contains(&self.leader[partition as usize]) {
            let electable = |at: &usize| {
                self.replica_flags[*at] & IN_SYNC != 0 && self.state(self.replica_broker[*at]).is_up()
            };
            let leader = row.clone().find(electable).map_or(NO_BROKER, |at| self.replica_broker[at]);
            self.leader[partition as usize] = leader;
        }
    }

    /// Adds what a new replica takes to its broker's figures.
    pub(crate) fn charge(&mut self, broker: BrokerOrdinal, need: &Need) {
        let broker = broker as usize;
        let dirs = self.log_dir_start[broker] as usize..self.log_dir_start[broker + 1] as usize;
        for dir in &mut self.log_dirs[dirs] {
            dir.used = dir.used.saturating_add(need.disk);
        }
        add(&mut self.network_in[broker], need.network_in);
        add(&mut self.network_out[broker], need.network_out);
    }

    /// Adds what feeding a new replica takes to its leader's figures.
    pub(crate) fn charge_feeder(&mut self, leader: BrokerOrdinal, need: &Need) {
        add(&mut self.network_out[leader as usize], need.leader_out);
    }

    /// Recomputes [`Problem::wanted`] after replicas were set.
    pub(crate) fn refresh_wanted(&mut self) {
        let mut wanted = std::mem::take(&mut self.wanted);
        wanted.retain(|partition| self.replica_flags[self.row(*partition)].iter().any(|f| f & REPLACE != 0));
        self.wanted = wanted;
    }
}

fn add(network: &mut Option<Network>, rate: u64) {
    if let Some(network) = network {
        network.used = network.used.saturating_add(rate);
    }
}

fn known(figure: u64) -> Option<u64> {
    Some(figure).filter(|figure| *figure != UNKNOWN)
}

fn checked(figure: u64) -> Result<u64, ProblemError> {
    if figure > MAX_FIGURE { Err(ProblemError::FigureTooLarge { figure }) } else { Ok(figure) }
}

fn checked_or_unknown(figure: Option<u64>) -> Result<u64, ProblemError> {
    figure.map_or(Ok(UNKNOWN), checked)
}

fn ordinal(count: usize) -> Result<u32, ProblemError> {
    // The highest value means "none" in some columns.
    u32::try_from(count).ok().filter(|ordinal| *ordinal != u32::MAX).ok_or(ProblemError::TooManyOrdinals)
}

/// Collects a [`Problem`]. What it refuses it does not add.
#[derive(Debug, Clone)]
pub struct Builder {
    problem: Problem,
    racks: BTreeMap<Option<RackOrdinal>, u32>,
    rackless: bool,
}

impl Builder {
    /// Adds a broker and returns its ordinal.
    ///
    /// # Errors
    /// [`ProblemError::FigureTooLarge`], [`ProblemError::TooManyOrdinals`].
    pub fn add_broker(&mut self, broker: &Broker) -> Result<BrokerOrdinal, ProblemError> {
        let this = ordinal(self.problem.state.len())?;
        for dir in &broker.log_dirs {
            checked(dir.total)?;
            checked(dir.used)?;
        }
        for network in [broker.network_in, broker.network_out].into_iter().flatten() {
            checked(network.capacity)?;
            checked(network.used)?;
        }
        let log_dirs = ordinal(self.problem.log_dirs.len() + broker.log_dirs.len())?;

        let next_rack = self.racks.len() as u32;
        let rack = *self.racks.entry(broker.rack).or_insert(next_rack);
        self.rackless |= broker.rack.is_none();
        let problem = &mut self.problem;
        problem.rack.push(rack);
        problem.state.push(broker.state);
        problem.log_dirs.extend_from_slice(&broker.log_dirs);
        problem.log_dir_start.push(log_dirs);
        problem.network_in.push(broker.network_in);
        problem.network_out.push(broker.network_out);
        problem.replica_count.push(0);
        Ok(this)
    }

    /// Adds a partition and returns its ordinal.
    ///
    /// # Errors
    /// Any [`ProblemError`]. The caller may go on without the partition.
    pub fn add_partition(&mut self, partition: &Partition) -> Result<PartitionOrdinal, ProblemError> {
        let this = ordinal(self.problem.topic.len())?;
        self.check(partition)?;
        let size = checked_or_unknown(partition.size)?;
        let bytes_in = checked_or_unknown(partition.bytes_in)?;
        let bytes_out = checked_or_unknown(partition.bytes_out)?;
        let replicas = ordinal(self.problem.replica_broker.len() + partition.replicas.len())?;

        let problem = &mut self.problem;
        let mut wanted = false;
        for replica in &partition.replicas {
            let in_sync = if replica.in_sync { IN_SYNC } else { 0 };
            let replace = if replica.replace { REPLACE } else { 0 };
            wanted |= replica.replace;
            problem.replica_broker.push(replica.broker);
            problem.replica_flags.push(in_sync | replace);
            problem.replica_count[replica.broker as usize] += 1;
        }
        problem.replica_start.push(replicas);
        problem.topic.push(partition.topic);
        problem.leader.push(partition.leader.unwrap_or(NO_BROKER));
        problem.size.push(size);
        problem.bytes_in.push(bytes_in);
        problem.bytes_out.push(bytes_out);
        problem.frozen.push(partition.frozen);
        if wanted {
            problem.wanted.push(this);
        }
        Ok(this)
    }

    fn check(&self, partition: &Partition) -> Result<(), ProblemError> {
        let brokers = self.problem.brokers();
        let replicas = &partition.replicas;
        if partition.topic >= self.problem.topics {
            return Err(ProblemError::TopicOutOfRange {
                topic: partition.topic,
                topics: self.problem.topics,
            });
        }
        if replicas.is_empty() {
            return Err(ProblemError::NoReplicas);
        }
        if replicas.len() > MAX_REPLICAS {
            return Err(ProblemError::TooManyReplicas { replicas: replicas.len() });
        }
        for (position, replica) in replicas.iter().enumerate() {
            if replica.broker >= brokers {
                return Err(ProblemError::BrokerOutOfRange { broker: replica.broker, brokers });
            }
            if replicas[..position].iter().any(|earlier| earlier.broker == replica.broker) {
                return Err(ProblemError::DuplicateReplica { broker: replica.broker });
            }
        }
        match partition.leader {
            Some(leader) if !replicas.iter().any(|replica| replica.broker == leader) => {
                Err(ProblemError::LeaderHoldsNoReplica { leader })
            }
            _ => Ok(()),
        }
    }

    /// The problem.
    pub fn build(self) -> Problem {
        let mut problem = self.problem;
        problem.racks = self.racks.len() as u32;
        problem.racks_known = self.racks.len() > usize::from(self.rackless);
        problem
    }
}
