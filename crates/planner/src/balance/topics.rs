//! Topics that stand too seldom or too often on a broker once every broker is within its bands.
//!
//! The search mends brokers by what is outside their bands, and looks at topics only on the way. Where nothing but topics is left, a
//! replica of the topic comes or goes, and mostly one of another topic goes or comes for it, so that no band is left.

use super::search::{Best, Dice, Step, apply, sample};
use super::state::State;

/// Replicas of the topic that are looked at for each that is missing or too many.
const LOOKED: usize = 64;
/// Replicas of other topics that might change places with each of them.
const PARTNERS: usize = 48;
/// So many steps at most for each: one on the way may have been of use to others.
const TRIES: u64 = 4;

/// Brings topics within their limits as far as brokers stay as they are by their bands.
pub(crate) fn even_topics(state: &mut State<'_>, dice: &mut Dice) {
    let n = state.cost.len();
    for topic in 0..state.cluster.topics as usize {
        let off: Vec<usize> = (0..n).filter(|broker| outside(state, topic, *broker) != 0).collect();
        if off.is_empty() {
            continue;
        }
        let partitions =
            (0..state.cluster.partitions()).filter(|p| state.cluster.topic(*p) as usize == topic);
        let all: Vec<u32> =
            partitions.flat_map(|p| state.cluster.row(p)).map(|replica| replica as u32).collect();
        for broker in off {
            for _ in 0..outside(state, topic, broker).unsigned_abs() * TRIES {
                let Some(step) = step(state, dice, (topic, broker), &all) else { break };
                apply(state, step);
            }
        }
    }
}

/// How many replicas of a topic a broker that holds some has too many, or too few: less than nothing.
fn outside(state: &State<'_>, topic: usize, broker: usize) -> i64 {
    let held = state.topic[topic * state.cost.len() + broker];
    let (low, high) = state.bands.topic[topic];
    if held == 0 || !state.cluster.brokers[broker].alive {
        return 0;
    }
    i64::from(held.saturating_sub(high)) - i64::from(low.saturating_sub(held))
}

/// The best that was found to bring a topic nearer to its limits on a broker.
fn step(state: &State<'_>, dice: &mut Dice, (topic, broker): (usize, usize), all: &[u32]) -> Option<Step> {
    let mut best = Best::new();
    match outside(state, topic, broker) {
        0 => {}
        too_few if too_few < 0 => {
            for one in sample(all, dice, LOOKED) {
                let from = state.place[one as usize] as usize;
                if from != broker && state.cluster.brokers[from].alive {
                    moves(state, dice, one, broker, &mut best);
                }
            }
        }
        _ => {
            let here = all.iter().copied().filter(|one| state.place[*one as usize] as usize == broker);
            let here: Vec<u32> = here.collect();
            for one in sample(&here, dice, LOOKED) {
                let to = dice.below(state.cost.len());
                if to != broker && state.cluster.brokers[to].alive {
                    moves(state, dice, one, to, &mut best);
                }
            }
        }
    }
    best.step()
}

/// To move a replica to a broker, by itself or in exchange for one from there.
fn moves(state: &State<'_>, dice: &mut Dice, one: u32, to: usize, best: &mut Best) {
    let from = state.place[one as usize] as usize;
    if !state.movable(one) || !state.legal(one, to as u32) {
        return;
    }
    let topics = state.topic_leave(one, from as u32) + state.topic_arrive(one, to as u32);
    if -topics <= best.gain {
        return;
    }
    let leaves = state.figures(one);
    let cost = state.cost[from] + state.cost[to];
    let alone = state.cost_with(from, &leaves, -1) + state.cost_with(to, &leaves, 1);
    best.offer(cost - alone - topics, Step::Move { replica: one, to: to as u32 });
    for other in sample(&state.on[to], dice, PARTNERS) {
        if state.part[one as usize] == state.part[other as usize] || !state.movable(other) {
            continue;
        }
        let mut change = state.figures(other);
        super::state::add(&mut change, &leaves, -1);
        let swapped = state.cost_with(from, &change, 1) + state.cost_with(to, &change, -1);
        let gain = cost - swapped - topics;
        if gain > best.gain && state.legal(other, from as u32) {
            let back = state.topic_leave(other, to as u32) + state.topic_arrive(other, from as u32);
            best.offer(gain - back, Step::Swap { one, other });
        }
    }
}
