//! What may be done of what a search has found, where not all of it may.

use super::cluster::Cluster;
use super::order::{order, within};
use super::policy::Policy;
use super::score::{Meter, Score};
use super::solve::{Budget, Change, passes_to_behind, passes_unasked};
use super::state::Brokers;
use super::watch::NOBODY;

/// Taking back changes that harm brokers can harm those that they left: so many rounds.
const ROUNDS: usize = 32;

/// As much as may be done: without changes that pass leadership on where it stays, or that make hard goals worse somewhere. Where that
/// does not do, the longest part from the first change on.
pub(crate) fn part<'a>(
    cluster: &'a Cluster,
    policy: &'a Policy,
    brokers: &Brokers,
    before: &Score,
    mut found: Vec<Change>,
) -> Meter<'a> {
    found.retain(|change| {
        let (partition, new, is) = (change.partition, &change.replicas, change.leader);
        !passes_unasked(cluster, policy, partition, new, is) && !passes_to_behind(cluster, partition, new, is)
    });
    let (found, _) = order(cluster, policy, brokers, found, NOBODY);
    let mut meter = Meter::new(cluster, policy, cluster.place.clone(), cluster.leaders());
    for change in &found {
        meter.change(change.partition, &change.replicas, change.leader);
    }
    let mut left: Vec<&Change> = found.iter().collect();
    for _ in 0..ROUNDS {
        if meter.is_acceptable(before, &meter.score()) {
            return meter;
        }
        let kept = left.len();
        take_back(cluster, &mut meter, &mut left);
        if left.len() == kept {
            break;
        }
    }
    if meter.is_acceptable(before, &meter.score()) {
        return meter;
    }
    within(cluster, policy, &Budget::default(), before, found).1
}

/// Takes back what harms lists, and of what harms brokers the last changes that do.
fn take_back(cluster: &Cluster, meter: &mut Meter<'_>, left: &mut Vec<&Change>) {
    let undo = |meter: &mut Meter<'_>, partition: u32| {
        meter.change(partition, cluster.replicas(partition), cluster.leader(partition));
    };
    left.retain(|change| {
        let harmed = meter.is_harmed(change.partition);
        if harmed {
            undo(meter, change.partition);
        }
        !harmed
    });
    for (broker, figure, by) in meter.harmed() {
        let mut beyond = by;
        for at in (0..left.len()).rev() {
            if beyond.signum() != by.signum() {
                break;
            }
            let change = left[at];
            let touches = |list: &[u32]| list.contains(&broker);
            if !touches(&change.replicas) && !touches(cluster.replicas(change.partition)) {
                continue;
            }
            let before = meter.figure_of(broker, figure);
            undo(meter, change.partition);
            let less = before - meter.figure_of(broker, figure);
            if less.signum() == by.signum() {
                beyond -= less;
                left.remove(at);
            } else {
                meter.change(change.partition, &change.replicas, change.leader);
            }
        }
    }
}
