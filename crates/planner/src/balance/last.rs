//! Last steps: single changes that bring a goal nearer that the search has left, and none farther that stands before it.
//!
//! The search follows distances to bands of all figures at once; whether a goal is met in the end may hang on one change that it
//! sees nothing in.

use std::collections::BTreeSet;

use super::cluster::Cluster;
use super::policy::Policy;
use super::score::{Meter, Score};
use super::solve::{Change, passes_to_behind, passes_unasked};
use super::steps::Steps;

/// So many steps are taken: more are left only where a search was cut off.
const STEPS: usize = 512;
/// So often all goals that are left are gone through, as long as a step is found: it may have made others possible.
const PASSES: usize = 8;

/// Takes steps by which the score is better from what was reached, until there is none. Nothing where there is none at once.
pub(crate) fn take_last_steps<'a>(
    cluster: &'a Cluster,
    policy: &'a Policy,
    reached: &Meter<'a>,
) -> Option<Meter<'a>> {
    let (place, leader) = reached.clone_placement();
    let (mut meter, start) = (reached.again(place, leader), reached.score());
    let mut left = STEPS;
    for _ in 0..PASSES {
        if !pass(cluster, policy, &mut meter, &mut left) {
            break;
        }
    }
    (meter.score() < start).then_some(meter)
}

/// Goes through all goals that are left, and what they find wrong, once. Says whether there was a step to take.
fn pass(cluster: &Cluster, policy: &Policy, meter: &mut Meter<'_>, left: &mut usize) -> bool {
    let (postponed, mut tried, mut dry) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut better = false;
    while *left > 0 {
        let before = meter.score();
        let steps = Steps { cluster, policy, meter, postponed: &postponed };
        let mut goals =
            before.goals.iter().filter(|distance| distance.excess > 0).map(|distance| distance.goal);
        let first = goals.find_map(|goal| {
            let change = if dry.contains(&goal) { None } else { steps.worth_a_try(goal, &mut tried) };
            if change.is_none() {
                dry.insert(goal);
            }
            Some((goal, change?))
        });
        let Some((goal, change)) = first else { break };
        *left -= 1;
        if take(cluster, policy, meter, &before, &change) {
            better = true;
        } else {
            tried.insert((goal, change.partition));
        }
    }
    better
}

/// Changes a partition if the score is better for it.
fn take(cluster: &Cluster, policy: &Policy, meter: &mut Meter<'_>, before: &Score, change: &Change) -> bool {
    let (partition, (list, leader)) = (change.partition, meter.list(change.partition));
    let list = list.to_vec();
    if passes_unasked(cluster, policy, partition, &change.replicas, change.leader)
        || passes_to_behind(cluster, partition, &change.replicas, change.leader)
    {
        return false;
    }
    meter.change(partition, &change.replicas, change.leader);
    let after = meter.score();
    let better = after < *before && meter.is_acceptable(before, &after);
    if !better {
        meter.change(partition, &list, leader);
    }
    better
}
