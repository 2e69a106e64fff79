//! Which goals count, in which order, with which thresholds.
//!
//! Names, order and formulas are those of Cruise Control's default goals, so that verdicts can be compared.

use super::cluster::{CPU, DISK, NETWORK_IN, NETWORK_OUT};

/// Parts in one.
pub const MILLION: i64 = 1_000_000;

/// One wish for a placement. The order of the variants is the default order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Goal {
    /// Replicas of a topic that is bound to a broker set stand on brokers of that set.
    BrokerSetAware,
    /// No two replicas of a partition in one rack.
    RackAware,
    /// No more replicas of a partition share a rack than at the start: what a plan that is for something else keeps.
    RacksKept,
    /// Replicas of a partition evenly over the racks with a broker that may take replicas: replicas ÷ racks in each,
    /// and one more in as many as the division leaves over.
    RackAwareDistribution,
    /// So many leaders of chosen topics ([`Builder::require_leaders`](super::Builder::require_leaders)) on every broker
    /// that may take both replicas and leadership.
    MinTopicLeaders,
    /// At most so many replicas on a broker.
    ReplicaCapacity,
    /// Disk below its capacity's threshold.
    DiskCapacity,
    /// Inbound network below its capacity's threshold.
    NetworkInCapacity,
    /// Outbound network below its capacity's threshold.
    NetworkOutCapacity,
    /// Inbound network of each broker below [`Policy::network_limit`].
    NetworkInLimit,
    /// Outbound network of each broker below [`Policy::network_limit`].
    NetworkOutLimit,
    /// CPU below its capacity's threshold.
    CpuCapacity,
    /// Equal numbers of replicas.
    ReplicaDistribution,
    /// Outbound network below its threshold even if the broker led all that it holds.
    PotentialNetworkOut,
    /// Equal shares of disk used.
    DiskDistribution,
    /// Equal shares of inbound network used.
    NetworkInDistribution,
    /// Equal shares of outbound network used.
    NetworkOutDistribution,
    /// Equal shares of CPU used.
    CpuDistribution,
    /// Replicas of each topic spread over brokers.
    TopicDistribution,
    /// Equal numbers of leaders.
    LeaderDistribution,
    /// No broker takes much more of producers' bytes than the mean.
    LeaderBytesIn,
    /// The first replica of each list leads, where its broker may.
    PreferredLeader,
}

/// Goals that only count where they are asked for.
const FURTHER_GOALS: [Goal; 6] = [
    Goal::BrokerSetAware,
    Goal::RacksKept,
    Goal::RackAwareDistribution,
    Goal::NetworkInLimit,
    Goal::NetworkOutLimit,
    Goal::PreferredLeader,
];

/// The sixteen default goals, in order.
pub const DEFAULT_GOALS: [Goal; 16] = [
    Goal::RackAware,
    Goal::MinTopicLeaders,
    Goal::ReplicaCapacity,
    Goal::DiskCapacity,
    Goal::NetworkInCapacity,
    Goal::NetworkOutCapacity,
    Goal::CpuCapacity,
    Goal::ReplicaDistribution,
    Goal::PotentialNetworkOut,
    Goal::DiskDistribution,
    Goal::NetworkInDistribution,
    Goal::NetworkOutDistribution,
    Goal::CpuDistribution,
    Goal::TopicDistribution,
    Goal::LeaderDistribution,
    Goal::LeaderBytesIn,
];

impl Goal {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Goal::BrokerSetAware => "BrokerSetAwareGoal",
            Goal::RackAware => "RackAwareGoal",
            Goal::RacksKept => "RacksKeptGoal",
            Goal::RackAwareDistribution => "RackAwareDistributionGoal",
            Goal::MinTopicLeaders => "MinTopicLeadersPerBrokerGoal",
            Goal::ReplicaCapacity => "ReplicaCapacityGoal",
            Goal::DiskCapacity => "DiskCapacityGoal",
            Goal::NetworkInCapacity => "NetworkInboundCapacityGoal",
            Goal::NetworkOutCapacity => "NetworkOutboundCapacityGoal",
            Goal::NetworkInLimit => "NetworkInboundLimitGoal",
            Goal::NetworkOutLimit => "NetworkOutboundLimitGoal",
            Goal::CpuCapacity => "CpuCapacityGoal",
            Goal::ReplicaDistribution => "ReplicaDistributionGoal",
            Goal::PotentialNetworkOut => "PotentialNwOutGoal",
            Goal::DiskDistribution => "DiskUsageDistributionGoal",
            Goal::NetworkInDistribution => "NetworkInboundUsageDistributionGoal",
            Goal::NetworkOutDistribution => "NetworkOutboundUsageDistributionGoal",
            Goal::CpuDistribution => "CpuUsageDistributionGoal",
            Goal::TopicDistribution => "TopicReplicaDistributionGoal",
            Goal::LeaderDistribution => "LeaderReplicaDistributionGoal",
            Goal::LeaderBytesIn => "LeaderBytesInDistributionGoal",
            Goal::PreferredLeader => "PreferredLeaderElectionGoal",
        }
    }

    /// All there are: the default ones in their order, then the others.
    pub fn all() -> impl Iterator<Item = Goal> {
        DEFAULT_GOALS.into_iter().chain(FURTHER_GOALS)
    }

    /// The goal of a name.
    pub fn named(name: &str) -> Option<Goal> {
        Goal::all().find(|goal| goal.name() == name)
    }

    /// Whether a change of leaders alone can bring a placement nearer to it.
    pub fn is_served_by_leadership(self) -> bool {
        match self {
            Goal::MinTopicLeaders
            | Goal::NetworkOutCapacity
            | Goal::NetworkOutLimit
            | Goal::NetworkOutDistribution
            | Goal::CpuCapacity
            | Goal::CpuDistribution
            | Goal::LeaderDistribution
            | Goal::LeaderBytesIn
            | Goal::PreferredLeader => true,
            Goal::BrokerSetAware
            | Goal::RackAware
            | Goal::RacksKept
            | Goal::RackAwareDistribution
            | Goal::ReplicaCapacity
            | Goal::DiskCapacity
            | Goal::NetworkInCapacity
            | Goal::NetworkInLimit
            | Goal::ReplicaDistribution
            | Goal::PotentialNetworkOut
            | Goal::DiskDistribution
            | Goal::NetworkInDistribution
            | Goal::TopicDistribution => false,
        }
    }

    /// The resource whose loads it judges, by its index in a [`Loads`](super::Loads), if it judges any.
    pub fn resource(self) -> Option<usize> {
        match self {
            Goal::CpuCapacity | Goal::CpuDistribution => Some(CPU),
            Goal::NetworkInCapacity
            | Goal::NetworkInLimit
            | Goal::NetworkInDistribution
            | Goal::LeaderBytesIn => Some(NETWORK_IN),
            Goal::NetworkOutCapacity
            | Goal::NetworkOutLimit
            | Goal::NetworkOutDistribution
            | Goal::PotentialNetworkOut => Some(NETWORK_OUT),
            Goal::DiskCapacity | Goal::DiskDistribution => Some(DISK),
            _ => None,
        }
    }

    /// What its distance counts, and what a change gains for it.
    pub fn counts(self) -> Counted {
        match (self, self.resource()) {
            (_, Some(resource)) => Counted::Load(resource),
            (Goal::MinTopicLeaders | Goal::LeaderDistribution, None) => Counted::Leaders,
            (Goal::PreferredLeader, None) => Counted::Partitions,
            _ => Counted::Replicas,
        }
    }

    /// Whether it is hard unless said otherwise.
    pub fn is_hard(self) -> bool {
        self <= Goal::CpuCapacity
    }
}

/// What a goal counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// A resource by its index in a [`Loads`](super::Loads), in the unit of its loads.
    Load(usize),
    /// Replicas.
    Replicas,
    /// Leaders.
    Leaders,
    /// Partitions.
    Partitions,
}

/// What a plan does rather where goals are served as well by it. It never decides how good a placement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Preference {
    /// First all that passing leadership on can do; data moves for the rest alone.
    ElectionFirst,
    /// Replicas that move stay in their rack.
    SameRack,
}

impl Preference {
    /// All there are.
    pub const ALL: [Preference; 2] = [Preference::ElectionFirst, Preference::SameRack];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Preference::ElectionFirst => "LeaderElectionFirst",
            Preference::SameRack => "SameRack",
        }
    }

    /// The preference of a name.
    pub fn named(name: &str) -> Option<Preference> {
        Preference::ALL.into_iter().find(|preference| preference.name() == name)
    }
}

/// What a plan is judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The goals that count, most important first.
    pub goals: Vec<Goal>,
    /// Those of them that are hard: a plan leaves none of them worse than before, whatever that does for others.
    pub hard: Vec<Goal>,
    /// Upper limit of each resource, in millionths of its capacity.
    pub capacity: [i64; 4],
    /// Balance threshold of each resource, in millionths: 1,100,000 means 10 % around the mean.
    pub balance: [i64; 4],
    /// Below this share of its capacity, in millionths, a resource of the whole cluster is not balanced.
    pub low_utilization: [i64; 4],
    /// Balance threshold of replica counts, in millionths.
    pub replica_balance: i64,
    /// Balance threshold of leader counts, in millionths.
    pub leader_balance: i64,
    /// Balance threshold of a topic's replica counts, in millionths.
    pub topic_balance: i64,
    /// A topic's limits are at least so many replicas away from the mean.
    pub topic_min_gap: i64,
    /// A topic's limits are at most so many replicas away from the mean.
    pub topic_max_gap: i64,
    /// Most replicas of one broker.
    pub max_replicas: i64,
    /// Most inbound and most outbound network of one broker whatever its capacity, in the loads' unit, for the goals
    /// about these limits.
    pub network_limit: [i64; 2],
    /// Plans stay away from load limits by so many millionths of the limit, so that a judge who sums up in floating
    /// point agrees. Figures that stand beyond are still counted as what they are.
    pub margin: i64,
    /// How much sizes count beside the number of moves: what moving a replica of mean size costs on top of what every move
    /// costs, in thousandths of that. 0: as few moves as possible.
    pub size_weight: i64,
    /// Which replicas may move.
    pub moves: Moves,
    /// Which leadership may pass on. The leadership of a replica that moves goes with it.
    pub leaders: Leaders,
    /// Whether two replicas of one partition may change places. Kafka does not exchange their data, so that it takes a
    /// detour over a third broker; it makes a difference only where replicas of one partition differ in load. Sought for in small clusters alone.
    pub exchange: bool,
    /// What a plan does rather, where it has the choice.
    pub preferences: Vec<Preference>,
}

impl Policy {
    /// Whether a preference holds.
    pub fn prefers(&self, preference: Preference) -> bool {
        self.preferences.contains(&preference)
    }
}

/// Which replicas a plan may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Moves {
    /// All.
    #[default]
    All,
    /// Those on brokers that are not alive, and no others.
    Offline,
    /// Those, and others only to brokers that are [new](super::Mark::New).
    ToNew,
    /// Those, and those on brokers that are [overloaded](super::Mark::Overloaded).
    OffOverloaded,
    /// None.
    Nothing,
}

/// Which leadership a plan may pass from one replica to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Leaders {
    /// All.
    #[default]
    All,
    /// Of partitions whose leader stands on a broker that is not alive.
    Orphaned,
    /// Of those, and to replicas that come off a broker that is not alive.
    ToPlaced,
    /// Of partitions whose leader stands on a broker that is not alive or may not lead.
    Demoted,
}

impl Default for Policy {
    /// Cruise Control's defaults.
    fn default() -> Self {
        Policy {
            goals: DEFAULT_GOALS.to_vec(),
            hard: DEFAULT_GOALS.into_iter().filter(|goal| goal.is_hard()).collect(),
            capacity: [700_000, 800_000, 800_000, 800_000],
            balance: [1_100_000; 4],
            low_utilization: [0; 4],
            replica_balance: 1_100_000,
            leader_balance: 1_100_000,
            topic_balance: 3_000_000,
            topic_min_gap: 2,
            topic_max_gap: 40,
            max_replicas: 10_000,
            network_limit: [i64::MAX; 2],
            margin: 2,
            size_weight: 500,
            moves: Moves::All,
            leaders: Leaders::All,
            exchange: false,
            preferences: Vec::new(),
        }
    }
}

/// The part of a balance threshold that is used: nine tenths of what is above one, in millionths.
///
/// Cruise Control's `BALANCE_MARGIN`.
pub(crate) fn reach(threshold: i64) -> i64 {
    (threshold - MILLION).max(0) * 9 / 10
}
