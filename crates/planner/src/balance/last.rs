//! Last steps: single changes that bring a goal nearer that the search has left, and none farther that stands before it.
//!
//! The search follows distances to bands of all figures at once; whether a goal is met in the end may hang on one change that it
//! sees nothing in.

use std::collections::BTreeSet;

use super::cluster::Cluster;
use super::policy::{Goal, Policy};
use super::score::Meter;
use super::steps::Steps;

/// So many steps are taken: more are left only where a search was cut off.
const STEPS: usize = 512;

/// Takes steps by which the score is better from what was reached, until there is none. Nothing where there is none at once.
pub(crate) fn take_last_steps<'a>(
    cluster: &'a Cluster,
    policy: &'a Policy,
    reached: &Meter<'a>,
) -> Option<Meter<'a>> {
    let (place, leader) = reached.clone_placement();
    let (mut meter, start) = (reached.again(place, leader), reached.score());
    let postponed = BTreeSet::new();
    let mut refused: BTreeSet<(Goal, u32)> = BTreeSet::new();
    for _ in 0..STEPS {
        let before = meter.score();
        let steps = Steps { cluster, policy, meter: &meter, postponed: &postponed };
        let left = before.goals.iter().filter(|distance| distance.excess > 0).map(|distance| distance.goal);
        let first = |goal| {
            let refused = |partition: u32| refused.contains(&(goal, partition));
            Some((goal, steps.worth_a_try(goal, &refused)?))
        };
        let Some((goal, change)) = left.into_iter().find_map(first) else { break };
        let (list, leader) = meter.list(change.partition);
        let list = list.to_vec();
        meter.change(change.partition, &change.replicas, change.leader);
        let after = meter.score();
        if after >= before || !meter.is_acceptable(&before, &after) {
            meter.change(change.partition, &list, leader);
            refused.insert((goal, change.partition));
        }
    }
    (meter.score() < start).then_some(meter)
}
