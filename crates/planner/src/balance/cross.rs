//! Where partitions have as many replicas as there are racks, no replica can leave its rack alone: two of a partition change
//! racks together, each to another broker than the one that the other leaves.

use super::bands::Figures;
use super::search::{Best, Dice, Step, sample};
use super::state::{NOWHERE, State};

/// So many replicas of a broker are looked at.
const LOOKED: usize = 24;
/// So many brokers of a rack are.
const TARGETS: usize = 8;

/// Brokers by rack, where racks are as few as that; else nothing.
pub(crate) fn tight_racks(state: &State<'_>) -> Option<Vec<Vec<u32>>> {
    if !state.fills_racks() {
        return None;
    }
    let brokers = &state.cluster.brokers;
    let racks = brokers.iter().map(|broker| broker.rack as usize + 1).max().unwrap_or(0);
    let mut by_rack = vec![Vec::new(); racks];
    for (ordinal, broker) in (0..).zip(brokers).filter(|(_, broker)| broker.alive && broker.takes_replicas) {
        by_rack[broker.rack as usize].push(ordinal);
    }
    Some(by_rack)
}

/// Steps off a broker that carries too much.
pub(crate) fn crosses_out(
    state: &State<'_>,
    dice: &mut Dice,
    from: usize,
    racks: &[Vec<u32>],
    best: &mut Best,
) {
    for one in sample(&state.on[from], dice, LOOKED) {
        for other in mates(state, one) {
            let there = state.place[other as usize];
            let (racks, at) =
                ([&racks[state.rack(there) as usize], &racks[state.rack(from as u32) as usize]], best.gain);
            let left = leaves(state, one) + leaves(state, other);
            if left > at {
                let to_one = cheapest(state, dice, one, racks[0]);
                let to_other = cheapest(state, dice, other, racks[1]);
                offer(state, left, (one, to_one), (other, to_other), best);
            }
        }
    }
}

/// Steps to a broker that lacks something.
pub(crate) fn crosses_in(state: &State<'_>, dice: &mut Dice, to: usize, racks: &[Vec<u32>], best: &mut Best) {
    let rack = state.rack(to as u32);
    for _ in 0..LOOKED {
        let from = dice.below(state.cost.len());
        if state.rack(from as u32) == rack {
            continue;
        }
        for one in sample(&state.on[from], dice, 2) {
            let in_rack = |other: &u32| state.rack(state.place[*other as usize]) == rack;
            let Some(other) = mates(state, one).find(in_rack) else { continue };
            if !state.may_take(one, to as u32) {
                continue;
            }
            let figures = state.figures(one);
            let arrive = state.cost_with(to, &figures, 1) - state.cost[to];
            let left = leaves(state, one) + leaves(state, other);
            if left - arrive > best.gain {
                let to_other = cheapest(state, dice, other, &racks[state.rack(from as u32) as usize]);
                offer(state, left, (one, Some((arrive, to as u32))), (other, to_other), best);
            }
        }
    }
}

/// Replicas of the partition in other racks that may move, if this one may.
fn mates<'s>(state: &'s State<'_>, one: u32) -> impl Iterator<Item = u32> + 's {
    let rack = state.rack(state.place[one as usize]);
    let row = if state.movable(one) { state.cluster.row(state.part[one as usize]) } else { 0..0 };
    row.map(|other| other as u32).filter(move |other| {
        let place = state.place[*other as usize];
        place != NOWHERE && state.rack(place) != rack && state.movable(*other)
    })
}

/// By how much the cost falls where a replica leaves.
fn leaves(state: &State<'_>, replica: u32) -> i64 {
    let (from, figures) = (state.place[replica as usize], state.figures(replica));
    let falls = state.cost[from as usize] - state.cost_with(from as usize, &figures, -1);
    falls - state.topic_leave(replica, from)
}

/// Of some brokers of a rack the one where the cost grows least, and by how much.
fn cheapest(state: &State<'_>, dice: &mut Dice, replica: u32, rack: &[u32]) -> Option<(i64, u32)> {
    let figures: Figures = state.figures(replica);
    let start = dice.below(rack.len().max(1));
    let some = (0..rack.len().min(TARGETS)).map(|at| rack[(start + at) % rack.len()]);
    let grows = |to: u32| {
        let cost = state.cost_with(to as usize, &figures, 1) - state.cost[to as usize];
        (cost + state.topic_arrive(replica, to), to)
    };
    some.filter(|to| state.may_take(replica, *to)).map(grows).min()
}

type Arrival = (u32, Option<(i64, u32)>);

fn offer(state: &State<'_>, left: i64, one: Arrival, other: Arrival, best: &mut Best) {
    let ((one, Some((a, to))), (other, Some((b, to_other)))) = (one, other) else { return };
    debug_assert!(to != to_other && state.part[one as usize] == state.part[other as usize], "one partition");
    best.offer(left - a - b, Step::Cross { one, to, other, to_other });
}
