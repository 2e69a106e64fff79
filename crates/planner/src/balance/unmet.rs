//! What stands in the way of goals, also as a number: so many racks or brokers more.

use std::fmt;

use super::bands::{overflow, scale};
use super::cluster::{CPU, Cluster, DISK, NETWORK_IN, NETWORK_OUT};
use super::policy::{Goal, MILLION, Policy};
use super::score::{Meter, Score};
use super::stuck::{Limited, limited};

/// A goal that a plan leaves unmet, or that holds as things stand but not for want of room to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unmet {
    /// The goal.
    pub goal: Goal,
    /// How far the placement is from it, as in the score after the plan. Nothing where the goal is met and only the
    /// obstacle is there.
    pub excess: u128,
    /// What stands in its way.
    pub obstacle: Obstacle,
    /// What keeps the plan from it beside that, where the obstacle is no proof.
    pub limited: Option<Limited>,
}

/// What stands in the way of a goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// No living broker may take replicas.
    NothingTakesReplicas,
    /// Brokers whose capacity is 0, or not known, can hold nothing: how many more it takes cannot be said.
    NoCapacity,
    /// Some partition has more replicas than there are racks with a living broker.
    Racks {
        /// Racks with a living broker.
        has: u32,
        /// The largest replication factor among partitions that are not frozen.
        needs: u32,
    },
    /// The cluster carries more than the brokers that may take replicas can hold together.
    Brokers {
        /// So many more of the mean capacity would do.
        more: u64,
    },
    /// A topic has fewer partitions than its brokers need leaders.
    Partitions {
        /// The topic.
        topic: u32,
        /// Its partitions.
        has: u64,
        /// So many are needed.
        needs: u64,
    },
    /// A topic that must have leaders on each broker is frozen.
    FrozenTopic {
        /// The topic.
        topic: u32,
    },
    /// Nothing proves the goal impossible: no step was found that brings this broker, the farthest outside, nearer to
    /// its limits.
    Broker {
        /// The broker.
        broker: u32,
        /// How far it is outside, in the figure's own unit.
        by: i64,
    },
    /// The same of a topic on a broker.
    Topic {
        /// The topic.
        topic: u32,
        /// The broker.
        broker: u32,
        /// Replicas or leaders too many or too few.
        by: u32,
    },
    /// The same of a partition, the first of those that are in the way.
    Partition {
        /// The partition.
        partition: u32,
    },
}

impl Obstacle {
    /// Whether no placement can meet the goal, or nothing may be done for it, whatever a search tries.
    pub fn is_proof(self) -> bool {
        !matches!(self, Obstacle::Broker { .. } | Obstacle::Topic { .. } | Obstacle::Partition { .. })
    }
}

fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::NothingTakesReplicas => write!(f, "no living broker may take replicas"),
            Obstacle::NoCapacity => write!(f, "the capacity of a broker is unknown or 0"),
            Obstacle::Racks { has, needs } => {
                let more = needs.saturating_sub(*has);
                write!(f, "needs {more} rack{} more: {has} live, {needs} replicas", plural(u64::from(more)))
            }
            Obstacle::Brokers { more } => write!(f, "needs {more} broker{} more", plural(*more)),
            Obstacle::Partitions { topic, has, needs } => {
                write!(f, "topic {topic} needs {needs} partitions, has {has}")
            }
            Obstacle::FrozenTopic { topic } => write!(f, "topic {topic} is frozen"),
            Obstacle::Broker { broker, by } => write!(f, "broker {broker} stays {by} outside"),
            Obstacle::Topic { topic, broker, by } => {
                write!(f, "topic {topic} stays {by} outside on broker {broker}")
            }
            Obstacle::Partition { partition } => write!(f, "partition {partition}"),
        }
    }
}

/// What stands in the way of each goal that is not met or cannot be served.
///
/// `unbounded` is the score that the plan leads to without its budget.
pub(crate) fn unmet(cluster: &Cluster, policy: &Policy, meter: &Meter<'_>, unbounded: &Score) -> Vec<Unmet> {
    let proofs = Proofs::new(cluster, policy);
    let of = |(goal, excess): (Goal, u128)| {
        let found = || (excess > 0).then(|| meter.worst(goal)).flatten();
        let obstacle = proofs.of(goal).or_else(found)?;
        let proven = excess == 0 || obstacle.is_proof();
        let limited = if proven { None } else { limited(policy, goal, excess, unbounded) };
        Some(Unmet { goal, excess, obstacle, limited })
    };
    meter.score().goals.iter().map(|distance| (distance.goal, distance.excess)).filter_map(of).collect()
}

/// What can be said of a cluster without any search.
struct Proofs<'a> {
    cluster: &'a Cluster,
    policy: &'a Policy,
    takers: u64,
}

impl Proofs<'_> {
    fn new<'a>(cluster: &'a Cluster, policy: &'a Policy) -> Proofs<'a> {
        let takers = cluster.brokers.iter().filter(|broker| broker.alive && broker.takes_replicas);
        Proofs { cluster, policy, takers: takers.count() as u64 }
    }

    fn of(&self, goal: Goal) -> Option<Obstacle> {
        match goal {
            Goal::RackAware => return self.racks(),
            Goal::PotentialNetworkOut => return self.potential(),
            Goal::PreferredLeader => return None,
            Goal::MinTopicLeaders if self.chosen().next().is_none() => return None,
            _ => {}
        }
        let needless = match goal {
            Goal::DiskCapacity => self.cluster.total[DISK] == 0,
            Goal::NetworkInCapacity | Goal::NetworkInLimit => self.cluster.total[NETWORK_IN] == 0,
            Goal::NetworkOutCapacity | Goal::NetworkOutLimit => self.cluster.total[NETWORK_OUT] == 0,
            Goal::CpuCapacity => self.cluster.total[CPU] == 0,
            Goal::ReplicaCapacity => self.cluster.place.is_empty(),
            _ => false,
        };
        if self.takers == 0 && !needless {
            return Some(Obstacle::NothingTakesReplicas);
        }
        match goal {
            Goal::DiskCapacity => self.capacity(DISK),
            Goal::NetworkInCapacity => self.capacity(NETWORK_IN),
            Goal::NetworkOutCapacity => self.capacity(NETWORK_OUT),
            Goal::CpuCapacity => self.capacity(CPU),
            Goal::NetworkInLimit => self.fixed(NETWORK_IN, self.policy.network_limit[0]),
            Goal::NetworkOutLimit => self.fixed(NETWORK_OUT, self.policy.network_limit[1]),
            Goal::ReplicaCapacity => {
                let (all, most) =
                    (self.cluster.place.len() as u64, self.policy.max_replicas.max(1).unsigned_abs());
                let more = all.div_ceil(most).saturating_sub(self.takers);
                (more > 0).then_some(Obstacle::Brokers { more })
            }
            Goal::MinTopicLeaders => self.leaders(),
            _ => None,
        }
    }

    fn racks(&self) -> Option<Obstacle> {
        let living = self.cluster.brokers.iter().filter(|broker| broker.alive);
        let mut racks: Vec<u32> = living.map(|broker| broker.rack).collect();
        racks.sort_unstable();
        racks.dedup();
        let thawed = (0..self.cluster.partitions()).filter(|partition| !self.cluster.frozen(*partition));
        let needs = thawed.map(|partition| self.cluster.row(partition).len()).max()? as u32;
        let has = racks.len() as u32;
        (needs > has).then_some(Obstacle::Racks { has, needs })
    }

    /// Room that is lacking, in brokers of the mean capacity of the living.
    fn brokers(&self, lacking: i128, resource: usize) -> Option<Obstacle> {
        if lacking <= 0 {
            return None;
        }
        let living = || self.cluster.brokers.iter().filter(|broker| broker.alive);
        if living().any(|broker| broker.capacity[resource] == 0) {
            return Some(Obstacle::NoCapacity);
        }
        let (count, all) = living()
            .fold((0_i128, 0_i128), |(n, sum), broker| (n + 1, sum + i128::from(broker.capacity[resource])));
        let each = all * i128::from(self.policy.capacity[resource]) / i128::from(MILLION) / count.max(1);
        let more = u64::try_from((lacking + each.max(1) - 1) / each.max(1)).unwrap_or(u64::MAX);
        Some(Obstacle::Brokers { more })
    }

    fn capacity(&self, resource: usize) -> Option<Obstacle> {
        let takers = self.cluster.brokers.iter().filter(|broker| broker.alive && broker.takes_replicas);
        let room = takers
            .map(|b| i128::from(scale(b.capacity[resource], self.policy.capacity[resource], MILLION)))
            .sum::<i128>();
        self.brokers(i128::from(self.cluster.total[resource]) - room, resource)
    }

    /// The same for a limit that is the same for all brokers.
    fn fixed(&self, resource: usize, limit: i64) -> Option<Obstacle> {
        let all = self.cluster.total[resource].max(0).unsigned_abs();
        let needs = all.div_ceil(limit.max(1).unsigned_abs());
        let more = needs.saturating_sub(self.takers);
        (more > 0).then_some(Obstacle::Brokers { more })
    }

    fn potential(&self) -> Option<Obstacle> {
        let beyond = overflow(self.cluster, self.policy, Goal::PotentialNetworkOut);
        if beyond > 0 && self.takers == 0 {
            return Some(Obstacle::NothingTakesReplicas);
        }
        self.brokers(i128::try_from(beyond).unwrap_or(i128::MAX), NETWORK_OUT)
    }

    fn chosen(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.cluster.topics).filter(|topic| self.cluster.required_leaders(*topic) > 0)
    }

    fn leaders(&self) -> Option<Obstacle> {
        let able = |broker: &&super::Broker| broker.alive && broker.takes_replicas && broker.takes_leadership;
        let brokers = self.cluster.brokers.iter().filter(able).count() as u64;
        let partitions = || 0..self.cluster.partitions();
        self.chosen().find_map(|topic| {
            let mut own = partitions().filter(|partition| self.cluster.topic(*partition) == topic).peekable();
            let first = own.peek().copied()?;
            let needs = brokers * u64::from(self.cluster.required_leaders(topic));
            let has = own.count() as u64;
            if self.cluster.frozen(first) {
                return Some(Obstacle::FrozenTopic { topic });
            }
            (has < needs).then_some(Obstacle::Partitions { topic, has, needs })
        })
    }
}
