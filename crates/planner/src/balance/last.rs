//! Last steps: single changes that bring a goal nearer that the search has left, and none farther.
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

/// Takes steps with which nothing is in the way from what was reached, until there is none. Nothing where there is none at once.
pub(crate) fn take_last_steps<'a>(
    cluster: &'a Cluster,
    policy: &'a Policy,
    reached: &Meter<'a>,
) -> Option<Meter<'a>> {
    let (place, leader) = reached.clone_placement();
    let (mut meter, start) = (reached.again(place, leader), reached.score());
    let postponed = BTreeSet::new();
    let mut refused: Vec<Goal> = Vec::new();
    for _ in 0..STEPS {
        let before = meter.score();
        let steps = Steps { cluster, policy, meter: &meter, postponed: &postponed };
        let left = before.goals.iter().filter(|distance| distance.excess > 0).map(|distance| distance.goal);
        let mut left = left.filter(|goal| !refused.contains(goal));
        let Some((goal, change)) = left.find_map(|goal| Some((goal, steps.possible(goal)?))) else { break };
        let (list, leader) = meter.list(change.partition);
        let list = list.to_vec();
        meter.change(change.partition, &change.replicas, change.leader);
        let after = meter.score();
        if after >= before || !meter.is_acceptable(&before, &after) {
            meter.change(change.partition, &list, leader);
            refused.push(goal);
        }
    }
    (meter.score() < start).then_some(meter)
}
