//! What is in the way of one step: why a change that would serve a goal is not among those of a plan.

use super::bands::{FIGURES, Figures, figure};
use super::cluster::{Cluster, Mark};
use super::order::net;
use super::policy::{Goal, Moves, Policy};
use super::score::Meter;
use super::solve::{Change, passes_unasked};

/// A change that would bring an unmet goal nearer once a plan is done, and what is in its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The change, from what the plan leads to. Nothing where the reason is one for all that could be done.
    pub change: Option<Change>,
    /// Why it is not done.
    pub why: Why,
}

/// Why a step is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Nothing that is known is in its way: the plan that was found does not do it.
    Possible,
    /// What it brings one broker nearer to the goal it brings others away from it.
    NoGain,
    /// A goal would be worse, the foremost of them: a hard one on some broker, a soft one in all.
    Worse {
        /// The goal.
        goal: Goal,
        /// The broker that would be farther outside. Nothing for goals about single lists, and for
        /// [`Goal::LeaderBytesIn`], whose limit follows all leaders.
        broker: Option<u32>,
        /// How far outside that broker would be, below its limits if negative; where there is none, by how much the goal would be
        /// farther away.
        by: i64,
    },
    /// The replica that would lead lacks what others have.
    Behind {
        /// Its broker.
        broker: u32,
    },
    /// The broker that would lead may not.
    NotLeading {
        /// The broker.
        broker: u32,
    },
    /// The mode does not let it.
    Mode,
    /// The broker is not of the set that the topic is bound to.
    OtherSet {
        /// The broker.
        broker: u32,
    },
    /// The broker may take no replicas.
    Excluded {
        /// The broker.
        broker: u32,
    },
    /// The budget ends before it.
    Budget,
    /// All partitions that a step could change are frozen.
    Frozen,
    /// They are left to be healed first, as a replica of each is offline: all of them, or all that are not frozen.
    Offline {
        /// Whether it is all of them.
        all: bool,
    },
}

impl Why {
    /// Smaller is nearer to being done: what later goals are in the way of before what earlier ones are.
    pub(crate) fn rank(&self, policy: &Policy) -> (u8, usize, u64) {
        match self {
            Why::Possible => (0, 0, 0),
            Why::NoGain => (1, 0, 0),
            Why::Worse { goal, by, .. } => {
                let at = policy.goals.iter().position(|other| other == goal).unwrap_or(0);
                (1, policy.goals.len() - at, by.unsigned_abs())
            }
            Why::Behind { .. } => (2, 0, 0),
            Why::NotLeading { .. } => (3, 0, 0),
            Why::Mode => (4, 0, 0),
            Why::OtherSet { .. } => (5, 0, 0),
            Why::Excluded { .. } => (6, 0, 0),
            Why::Budget | Why::Frozen | Why::Offline { .. } => (7, 0, 0),
        }
    }
}

/// What is in the way of a change from where a meter stands.
pub(crate) fn why(cluster: &Cluster, policy: &Policy, meter: &Meter<'_>, change: &Change) -> Why {
    let barred = forbidden(cluster, policy, meter, change);
    barred.or_else(|| worse(cluster, policy, meter, change)).unwrap_or(Why::Possible)
}

/// Whether the change may not be done whatever it is good for.
pub(super) fn forbidden(
    cluster: &Cluster,
    policy: &Policy,
    meter: &Meter<'_>,
    change: &Change,
) -> Option<Why> {
    let (partition, home) = (change.partition, cluster.replicas(change.partition));
    let (list, leader) = meter.list(partition);
    let set = cluster.bound_set(cluster.topic(partition));
    let known = |broker: u32| &cluster.brokers[broker as usize];
    for position in (0..list.len()).filter(|at| list[*at] != change.replicas[*at]) {
        let broker = change.replicas[position];
        if !known(broker).takes_replicas {
            return Some(Why::Excluded { broker });
        }
        if set.is_some() && known(broker).set != set {
            return Some(Why::OtherSet { broker });
        }
        let homeless = cluster.homeless((cluster.row(partition).start + position) as u32);
        let moves = match policy.moves {
            Moves::Nothing => false,
            _ if homeless || broker == home[position] => true,
            Moves::All => true,
            Moves::ToNew => known(broker).mark == Mark::New,
            Moves::OffOverloaded => known(home[position]).mark == Mark::Overloaded,
            Moves::Offline => false,
        };
        if !moves {
            return Some(Why::Mode);
        }
    }
    let leads = change.replicas[change.leader as usize];
    if leads == list[leader as usize] {
        return None;
    }
    let at = change.leader as usize;
    let behind = leads == home[at] && !cluster.in_sync(partition, change.leader);
    if !known(leads).takes_leadership {
        Some(Why::NotLeading { broker: leads })
    } else if passes_unasked(cluster, policy, partition, &change.replicas, change.leader) {
        Some(Why::Mode)
    } else {
        behind.then_some(Why::Behind { broker: leads })
    }
}

/// The foremost goal that the change would make worse.
fn worse(cluster: &Cluster, policy: &Policy, meter: &Meter<'_>, change: &Change) -> Option<Why> {
    let net = net(cluster, meter.list(change.partition), change);
    (0..policy.goals.len()).find_map(|at| {
        let goal = policy.goals[at];
        match goal {
            Goal::LeaderBytesIn => {
                let by = meter.leader_in_growth(&net);
                (by > 0).then_some(Why::Worse { goal, broker: None, by })
            }
            Goal::TopicDistribution | Goal::MinTopicLeaders => by_topic(meter, goal, change),
            _ if figure(goal).is_some() => by_figure(policy, meter, at, &net),
            _ => {
                let by = meter.wrong_after(goal, change) as i64 - meter.wrong(goal, change.partition) as i64;
                (by > 0).then_some(Why::Worse { goal, broker: None, by })
            }
        }
    })
}

fn by_figure(policy: &Policy, meter: &Meter<'_>, at: usize, net: &[(u32, Figures)]) -> Option<Why> {
    let goal = policy.goals[at];
    let (mut in_all, mut worst): (i64, Option<(i64, u32, i64)>) = (0, None);
    for (broker, change) in net {
        let limits = meter.limits_of(at, *broker)?;
        let signed = |change: &Figures| meter.signed_with(goal, limits, *broker, change);
        let (was, is) = (signed(&[0; FIGURES]), signed(change));
        let grows = is.abs() - was.abs();
        in_all += grows;
        if grows > 0 && worst.is_none_or(|(most, other, _)| (grows, other) > (most, *broker)) {
            worst = Some((grows, *broker, is));
        }
    }
    let (_, broker, by) = worst.filter(|_| in_all > 0 || policy.hard.contains(&goal))?;
    Some(Why::Worse { goal, broker: Some(broker), by })
}

/// The same of a broker's replicas, or leaders, of the partition's topic.
fn by_topic(meter: &Meter<'_>, goal: Goal, change: &Change) -> Option<Why> {
    let (list, leader) = meter.list(change.partition);
    let mut touched: Vec<u32> = list.iter().chain(&change.replicas).copied().collect();
    touched.sort_unstable();
    touched.dedup();
    let (led, leads) = (list[leader as usize], change.replicas[change.leader as usize]);
    let (mut in_all, mut worst): (i64, Option<(i64, u32, i64)>) = (0, None);
    for broker in touched {
        let more = match goal {
            Goal::MinTopicLeaders => i64::from(leads == broker) - i64::from(led == broker),
            _ => i64::from(change.replicas.contains(&broker)) - i64::from(list.contains(&broker)),
        };
        let outside = |more: i64| meter.topic_outside(goal, change.partition, broker, more);
        let (was, is) = (outside(0), outside(more));
        let grows = is.abs() - was.abs();
        in_all += grows;
        if grows > 0 && worst.is_none_or(|(most, other, _)| (grows, other) > (most, broker)) {
            worst = Some((grows, broker, is));
        }
    }
    let (_, broker, by) = worst.filter(|_| in_all > 0 || meter.is_hard(goal))?;
    Some(Why::Worse { goal, broker: Some(broker), by })
}
