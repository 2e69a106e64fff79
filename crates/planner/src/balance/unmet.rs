//! What stands in the way of goals, also as a number: so many racks or brokers more.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;

use super::bands::{Proofs, limits_load, overflow};
use super::cluster::Cluster;
use super::policy::{Goal, MILLION, Policy};
use super::racks::{shares_out, uneven_most};
use super::score::{Meter, Score, is_about_lists, living_racks, widest};
use super::steps::{Barred, Steps};
use super::stuck::{Limited, limited};
use super::why::Why;

/// A goal that a plan leaves unmet, or that holds as things stand but not for want of room to act.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// How many partitions a goal about single lists finds wrong, or how many brokers, or topics on brokers, are outside of
    /// another.
    pub offenders: u64,
    /// The nearest steps for some of them that are not taken, and why not. Of partitions the most telling first; else for whom the
    /// obstacle names. None where the mode alone is in the way.
    pub barred: Vec<Barred>,
}

/// What stands in the way of a goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// No living broker may take replicas.
    NothingTakesReplicas,
    /// Some partition has more replicas than there are racks with a living broker.
    Racks {
        /// Racks with a living broker.
        has: u32,
        /// The largest replication factor among partitions that are not frozen.
        needs: u32,
    },
    /// Partitions have as many replicas as there are racks, and so one in each: some rack carries more, or less, than its
    /// brokers' share. The one for which that is most.
    RackShares {
        /// The rack.
        rack: u32,
        /// How much it carries at least above the limits of its brokers; at most below them: negative. In the figure's own unit.
        by: i64,
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
    /// A topic is bound to a set of fewer living brokers than some partition of it has replicas.
    SetTooSmall {
        /// The topic.
        topic: u32,
        /// Living brokers of the set.
        has: u32,
        /// The largest replication factor among its partitions that are not frozen.
        needs: u32,
    },
    /// Nothing proves the goal impossible: no step was found that brings this broker, the farthest outside, nearer to
    /// its limits.
    Broker {
        /// The broker.
        broker: u32,
        /// How far it is above its limits, in the figure's own unit; below them: negative.
        by: i64,
    },
    /// The same of a log dir of a broker.
    LogDir {
        /// The broker.
        broker: u32,
        /// The dir, by its place among the broker's.
        dir: u32,
        /// How far it is beyond its limit.
        by: i64,
    },
    /// The same of a topic on a broker.
    Topic {
        /// The topic.
        topic: u32,
        /// The broker.
        broker: u32,
        /// Replicas or leaders too many; too few: negative.
        by: i64,
    },
    /// The same of a partition, the first of those that are in the way.
    Partition {
        /// The partition.
        partition: u32,
    },
}

impl Unmet {
    /// Whether no placement can meet the goal, or nothing may be done for it, whatever a search tries.
    pub fn is_proof(&self) -> bool {
        match self.obstacle {
            Obstacle::Broker { .. }
            | Obstacle::LogDir { .. }
            | Obstacle::Topic { .. }
            | Obstacle::Partition { .. } => false,
            // Leadership can pass on where no replica can move.
            Obstacle::NothingTakesReplicas => !self.goal.is_served_by_leadership(),
            Obstacle::Racks { .. }
            | Obstacle::RackShares { .. }
            | Obstacle::Brokers { .. }
            | Obstacle::SetTooSmall { .. }
            | Obstacle::Partitions { .. }
            | Obstacle::FrozenTopic { .. } => true,
        }
    }
}

fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::NothingTakesReplicas => write!(f, "no living broker may take replicas"),
            Obstacle::Racks { has, needs } => {
                let more = needs.saturating_sub(*has);
                write!(f, "needs {more} rack{} more: {has} live, {needs} replicas", plural(u64::from(more)))
            }
            Obstacle::RackShares { rack, by } if *by < 0 => {
                write!(f, "rack {rack} carries no more than {} below its brokers' limits", by.unsigned_abs())
            }
            Obstacle::RackShares { rack, by } => {
                write!(f, "rack {rack} has to carry {by} above its brokers' limits")
            }
            Obstacle::Brokers { more } => write!(f, "needs {more} broker{} more", plural(*more)),
            Obstacle::Partitions { topic, has, needs } => {
                write!(f, "topic {topic} needs {needs} partitions, has {has}")
            }
            Obstacle::FrozenTopic { topic } => write!(f, "topic {topic} is frozen"),
            Obstacle::SetTooSmall { topic, has, needs } => {
                let more = needs.saturating_sub(*has);
                write!(f, "topic {topic} needs {more} broker{} more in its set", plural(u64::from(more)))
            }
            Obstacle::LogDir { broker, dir, by } => {
                write!(f, "log dir {dir} of broker {broker} stays {by} beyond its limit")
            }
            Obstacle::Broker { broker, by } => {
                let side = if *by < 0 { "below" } else { "above" };
                write!(f, "broker {broker} stays {} {side} its limits", by.unsigned_abs())
            }
            Obstacle::Topic { topic, broker, by } => {
                let side = if *by < 0 { "few" } else { "many" };
                write!(f, "topic {topic} stays {} too {side} on broker {broker}", by.unsigned_abs())
            }
            Obstacle::Partition { partition } => write!(f, "partition {partition}"),
        }
    }
}

/// What stands in the way of each goal that is not met or cannot be served.
///
/// `unbounded` is the score that the plan leads to without its budget, which cuts off the partitions that are `postponed`.
pub(crate) fn unmet(
    (cluster, policy): (&Cluster, &Policy),
    meter: &Meter<'_>,
    unbounded: &Score,
    postponed: &BTreeSet<u32>,
) -> Vec<Unmet> {
    let hurdles = Hurdles::new(cluster, policy, unbounded);
    let steps = Steps { cluster, policy, meter, postponed };
    let of = |(goal, excess): (Goal, u128)| {
        let found = || (excess > 0).then(|| meter.worst(goal)).flatten();
        let mut obstacle = hurdles.of(goal).or_else(found)?;
        let (mut offenders, mut barred) = (0, Vec::new());
        if excess > 0 && is_about_lists(goal) {
            (offenders, barred) = steps.partitions(goal);
        } else if excess > 0 {
            offenders = meter.outside(goal);
            barred = steps.at_broker(goal, obstacle).into_iter().collect();
        }
        if let (Obstacle::Partition { .. }, Some(partition)) =
            (obstacle, barred.first().and_then(|b| b.partition))
        {
            obstacle = Obstacle::Partition { partition };
        }
        barred.retain(|barred| barred.steps.iter().any(|step| step.why != Why::Mode));
        let unmet = Unmet { goal, excess, obstacle, limited: None, offenders, barred };
        let proven = excess == 0 || unmet.is_proof();
        let limited = if proven { None } else { limited(policy, goal, excess, unbounded) };
        // What the budget cuts off would help, and is no fault of the plan's.
        let cut_off = limited == Some(Limited::Budget) && !is_about_lists(goal);
        let barred = if cut_off { Vec::new() } else { unmet.barred };
        Some(Unmet { limited, barred, ..unmet })
    };
    meter.score().goals.iter().map(|distance| (distance.goal, distance.excess)).filter_map(of).collect()
}

/// What stands in the way of a goal whatever a search tries.
struct Hurdles<'a> {
    cluster: &'a Cluster,
    policy: &'a Policy,
    proofs: Proofs<'a>,
    takers: u64,
    /// Whether the plan keeps all replicas of each partition apart by rack.
    apart: bool,
}

impl Hurdles<'_> {
    fn new<'a>(cluster: &'a Cluster, policy: &'a Policy, plan: &Score) -> Hurdles<'a> {
        let apart =
            plan.goals.iter().all(|distance| distance.goal != Goal::RackAware || distance.excess == 0);
        let takers = cluster.brokers.iter().filter(|broker| broker.alive && broker.takes_replicas);
        Hurdles {
            cluster,
            policy,
            proofs: Proofs::new(cluster, policy),
            takers: takers.count() as u64,
            apart,
        }
    }

    fn of(&self, goal: Goal) -> Option<Obstacle> {
        match goal {
            Goal::RackAware => return self.racks(),
            Goal::BrokerSetAware => {
                let closed = (self.takers == 0).then_some(Obstacle::NothingTakesReplicas);
                return self.sets().or(closed);
            }
            Goal::PotentialNetworkOut if self.proofs.unavoidable(goal) == 0 => return None,
            Goal::PreferredLeader => return None,
            Goal::MinTopicLeaders if self.chosen().next().is_none() => return None,
            _ => {}
        }
        let needless = match goal {
            _ if limits_load(goal) => self.cluster.total[goal.resource().unwrap_or(0)] == 0,
            Goal::ReplicaCapacity => self.cluster.place.is_empty(),
            _ => false,
        };
        if self.takers == 0 && !needless {
            return Some(Obstacle::NothingTakesReplicas);
        }
        match goal {
            Goal::MinTopicLeaders => self.leaders(),
            Goal::PotentialNetworkOut if overflow(self.cluster, self.policy, goal) > 0 => self.brokers(goal),
            _ if shares_out(goal) || goal == Goal::PotentialNetworkOut => {
                // Where racks have to be shared all the same, what follows from not sharing them is not proven.
                let (by, rack) = uneven_most(self.cluster, self.policy, goal).filter(|_| self.apart)?;
                Some(Obstacle::RackShares { rack, by })
            }
            _ => self.brokers(goal),
        }
    }

    fn racks(&self) -> Option<Obstacle> {
        let (has, needs) = (living_racks(self.cluster), widest(self.cluster));
        (needs > has).then_some(Obstacle::Racks { has, needs })
    }

    fn sets(&self) -> Option<Obstacle> {
        let cluster = self.cluster;
        let bound = (0..cluster.partitions()).filter(|partition| !cluster.frozen(*partition));
        let short = |partition: u32| {
            let topic = cluster.topic(partition);
            let set = cluster.bound_set(topic)?;
            let has = cluster.brokers.iter().filter(|b| b.alive && b.set == Some(set)).count() as u32;
            let needs = cluster.row(partition).len() as u32;
            (needs > has).then(|| (needs - has, Reverse(topic), has, needs))
        };
        if cluster.bound_to_set.iter().all(Option::is_none) {
            return None;
        }
        let (_, Reverse(topic), has, needs) = bound.filter_map(short).max()?;
        Some(Obstacle::SetTooSmall { topic, has, needs })
    }

    /// Room that is lacking, in brokers that hold what is the limit of all, or of a living broker in the mean.
    fn brokers(&self, goal: Goal) -> Option<Obstacle> {
        let lacking = match goal {
            Goal::PotentialNetworkOut => overflow(self.cluster, self.policy, goal),
            _ => self.proofs.unavoidable(goal),
        };
        if lacking == 0 {
            return None;
        }
        let each = match goal {
            Goal::ReplicaCapacity => i128::from(self.policy.max_replicas),
            Goal::NetworkInLimit => i128::from(self.policy.network_limit[0]),
            Goal::NetworkOutLimit => i128::from(self.policy.network_limit[1]),
            _ => {
                let resource = goal.resource()?;
                let living = (0..self.cluster.brokers.len()).filter(|b| self.cluster.brokers[*b].alive);
                let capacities = living.filter_map(|broker| self.cluster.fair_capacity(broker, resource));
                let (count, all) = capacities.fold((0, 0), |(n, sum), each| (n + 1, sum + i128::from(each)));
                all * i128::from(self.policy.capacity[resource]) / i128::from(MILLION) / i128::max(count, 1)
            }
        };
        let each = each.max(1).unsigned_abs();
        Some(Obstacle::Brokers { more: u64::try_from(lacking.div_ceil(each)).unwrap_or(u64::MAX) })
    }

    fn chosen(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.cluster.topics).filter(|topic| self.cluster.required_leaders(*topic) > 0)
    }

    fn leaders(&self) -> Option<Obstacle> {
        let able = |broker: &&super::Broker| broker.alive && broker.takes_replicas && broker.takes_leadership;
        let brokers = self.cluster.brokers.iter().filter(able).count() as u64;
        let partitions = || 0..self.cluster.partitions();
        self.chosen().find_map(|topic| {
            let own = || partitions().filter(|partition| self.cluster.topic(*partition) == topic);
            own().next()?;
            let needs = brokers * u64::from(self.cluster.required_leaders(topic));
            let has = own().count() as u64;
            // What is frozen passes leadership on only where that does not live.
            let stays = |partition: u32| {
                let leader = self.cluster.row(partition).start as u32 + self.cluster.leader(partition);
                self.cluster.frozen(partition) && !self.cluster.homeless(leader)
            };
            if own().all(stays) {
                return Some(Obstacle::FrozenTopic { topic });
            }
            (has < needs).then_some(Obstacle::Partitions { topic, has, needs })
        })
    }
}
