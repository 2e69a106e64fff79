//! What changes make room for that bring no goal nearer by themselves.

use std::collections::BTreeMap;

use super::cluster::Cluster;
use super::reason::{Purpose, Reason};
use super::solve::Change;

/// The change with a purpose of its own that goes together with one that [makes room](Purpose::Room), and the broker on which they meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The broker.
    pub broker: u32,
    /// The other change by its place in the plan.
    pub change: usize,
    /// Whether the other comes to the broker, which this one leaves. Else this one takes the place that the other leaves there.
    pub comes: bool,
}

/// By place in the plan: what each change that makes room goes together with, the foremost there is. Nothing for other changes, and where
/// none with a purpose of its own meets it.
pub(crate) fn rooms(cluster: &Cluster, changes: &[Change], reasons: &[Reason]) -> Vec<Option<Room>> {
    let mut comes: BTreeMap<Side, usize> = BTreeMap::new();
    let mut leaves: BTreeMap<Side, usize> = BTreeMap::new();
    let makes_room = |at: usize| reasons[at].purpose == Purpose::Room;
    for (at, change) in changes.iter().enumerate().filter(|(at, _)| !makes_room(*at)) {
        let (from, to) = sides(cluster, change);
        for side in from {
            leaves.entry(side).or_insert(at);
        }
        for side in to {
            comes.entry(side).or_insert(at);
        }
    }
    let met = |sides: &[Side], others: &BTreeMap<Side, usize>, comes: bool| {
        let met = sides.iter().filter_map(|side| Some((*others.get(side)?, side.broker)));
        met.min().map(|(change, broker)| Room { broker, change, comes })
    };
    let of = |(at, change): (usize, &Change)| {
        let (from, to) = makes_room(at).then(|| sides(cluster, change))?;
        met(&from, &comes, true).or_else(|| met(&to, &leaves, false))
    };
    changes.iter().enumerate().map(of).collect()
}

/// A broker that a replica, or leadership, comes to or leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Side {
    broker: u32,
    leads: bool,
}

/// What a change takes from brokers, and what it gives to others.
fn sides(cluster: &Cluster, change: &Change) -> (Vec<Side>, Vec<Side>) {
    let old = cluster.replicas(change.partition);
    let moved = old.iter().zip(&change.replicas).filter(|(from, to)| from != to);
    let held = |broker: u32| Side { broker, leads: false };
    let (mut from, mut to): (Vec<Side>, Vec<Side>) = moved.map(|(from, to)| (held(*from), held(*to))).unzip();
    let (was, is) = (old[cluster.leader(change.partition) as usize], change.replicas[change.leader as usize]);
    if was != is {
        from.push(Side { broker: was, leads: true });
        to.push(Side { broker: is, leads: true });
    }
    (from, to)
}
