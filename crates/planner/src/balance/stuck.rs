//! Why a partition keeps replicas offline, or a leader that was to pass on.

use std::collections::BTreeSet;
use std::fmt;

use super::cluster::{Cluster, Lock};
use super::homeless::Homes;
use super::policy::{Goal, Leaders, Moves, Policy};
use super::score::Meter;
use super::why::Step;

/// A partition that keeps, after the plan, replicas that are offline or yet to be created, or a leader that may not lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// The partition.
    pub partition: u32,
    /// Its replicas on dead brokers or in failed log dirs. None: it is its leader that was to pass on.
    pub offline: u32,
    /// Why.
    pub why: Hindrance,
    /// Where there is no room: the step for a replica that is offline that comes nearest, and what is in its way.
    pub nearest: Option<Step>,
}

/// Why nothing more is done for a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hindrance {
    /// It is never touched.
    Locked(Lock),
    /// It is frozen, and its broker lives.
    Frozen,
    /// The budget ends before its change.
    Budget,
    /// The mode moves no data.
    Mode,
    /// Every living broker that may take replicas of the topic holds one of the partition, or held one that the plan moves: Kafka
    /// would not put another in its place.
    NoBroker,
    /// No living replica that is in sync may lead.
    NoHeir,
    /// A broker could take it, but for its hard limit of disk or those of its log dirs, or for a plan that this would make worse.
    NoRoom,
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hindrance::Locked(lock) => write!(f, "{lock}"),
            Hindrance::Frozen => write!(f, "it is frozen"),
            Hindrance::Budget => write!(f, "the budget ends before it"),
            Hindrance::Mode => write!(f, "the mode moves no data"),
            Hindrance::NoBroker => {
                write!(f, "every living broker that may take one of its replicas holds one, or did before")
            }
            Hindrance::NoHeir => write!(f, "no living replica that is in sync may lead"),
            Hindrance::NoRoom => write!(f, "no broker that may take it was found to have room"),
        }
    }
}

/// What is left undone; `postponed` are the partitions that the budget cut off.
pub(crate) fn stuck(
    cluster: &Cluster,
    policy: &Policy,
    meter: &Meter<'_>,
    postponed: &BTreeSet<u32>,
) -> Vec<Stuck> {
    let score = meter.score();
    if score.offline == 0 && score.demoted == 0 {
        return Vec::new();
    }
    let homes = Homes::of(cluster, policy, meter);
    let of = |partition: u32| {
        let (list, leader) = meter.list(partition);
        let offline = u32::try_from(cluster.offline_in(partition, list)).unwrap_or(0);
        let led_by = &cluster.brokers[list[leader as usize] as usize];
        let demoted = policy.leaders == Leaders::Demoted && led_by.alive && !led_by.takes_leadership;
        let why = match cluster.lock(partition) {
            _ if offline == 0 && !demoted => return None,
            Some(lock) => Hindrance::Locked(lock),
            None if postponed.contains(&partition) => Hindrance::Budget,
            None if offline > 0 => unplaced(cluster, policy, partition, list),
            None if cluster.frozen(partition) => Hindrance::Frozen,
            None => Hindrance::NoHeir,
        };
        let nearest = if why == Hindrance::NoRoom { homes.nearest(partition) } else { None };
        Some(Stuck { partition, offline, why, nearest })
    };
    (0..cluster.partitions()).filter_map(of).collect()
}

fn unplaced(cluster: &Cluster, policy: &Policy, partition: u32, list: &[u32]) -> Hindrance {
    if policy.moves == Moves::Nothing {
        return Hindrance::Mode;
    }
    let set = cluster.bound_set(cluster.topic(partition));
    let takes = |(ordinal, broker): (u32, &super::Broker)| {
        broker.alive
            && broker.takes_replicas
            && (set.is_none() || broker.set == set)
            && !list.contains(&ordinal)
            && !cluster.replicas(partition).contains(&ordinal)
    };
    if (0..).zip(&cluster.brokers).any(takes) { Hindrance::NoRoom } else { Hindrance::NoBroker }
}

/// What keeps a plan from a goal beside what stands in the goal's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limited {
    /// Without its budget it comes nearer.
    Budget,
    /// Its mode lets less move, or pass on, than there is.
    Mode,
}

/// Which of them holds for a goal that no proof stands in the way of.
pub(crate) fn limited(
    policy: &Policy,
    goal: Goal,
    excess: u128,
    unbounded: &super::Score,
) -> Option<Limited> {
    let without = unbounded.goals.iter().find(|distance| distance.goal == goal);
    if without.is_some_and(|distance| distance.excess < excess) {
        return Some(Limited::Budget);
    }
    (policy.moves != Moves::All || policy.leaders != Leaders::All).then_some(Limited::Mode)
}
