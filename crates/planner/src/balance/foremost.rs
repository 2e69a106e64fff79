//! Goals that contradict each other: the foremost of them are met.
//!
//! A search for all goals at once comes to rest between those that cannot be met together, and may meet none of them. Then it is
//! searched once more without what stands behind the foremost that is left. Small clusters are refined by the score itself, which
//! comes to the same.

use super::bands::Proofs;
use super::cluster::Cluster;
use super::policy::{Goal, Moves, Policy};
use super::refine::MEDIUM;
use super::score::Meter;
use super::solve::{in_rounds, next, what_may_be};
use super::state::{Brokers, State};
use super::watch::Watch;

/// So often at most: each takes as long as the search before.
const TRIES: usize = 2;

/// Searches once more where several goals are left that may contradict each other, and takes what is better in the order of goals.
pub(super) fn foremost_first<'a>(
    cluster: &'a Cluster,
    policy: &'a Policy,
    brokers: &Brokers,
    mut best: Meter<'a>,
    watch: Watch<'_>,
) -> Meter<'a> {
    if policy.moves != Moves::All || cluster.replica_count() <= MEDIUM {
        return best;
    }
    for _ in 0..TRIES {
        let left = left(cluster, policy, &best);
        // Hard goals are given up for none.
        let later: Vec<Goal> =
            left.iter().copied().skip(1).filter(|goal| !policy.hard.contains(goal)).collect();
        if later.is_empty() {
            break;
        }
        let goals = policy.goals.iter().copied().filter(|goal| !later.contains(goal)).collect();
        let fewer = Policy { goals, ..policy.clone() };
        let found = {
            let start = State::watched(cluster, &fewer, watch);
            let (there, at_start) =
                (Meter::new(cluster, &fewer, cluster.place.clone(), cluster.leaders()), start.brokers());
            in_rounds(cluster, &fewer, &at_start, there, next(&fewer, start, None), watch).placement()
        };
        match what_may_be(cluster, policy, brokers, &best, found) {
            Some(better) => {
                let reached = better.cluster();
                let on = next(policy, State::watched(&reached, policy, watch), None);
                best = in_rounds(cluster, policy, brokers, better, on, watch);
            }
            None => break,
        }
    }
    best
}

/// Goals that are farther from met than is proven of all placements.
fn left(cluster: &Cluster, policy: &Policy, meter: &Meter<'_>) -> Vec<Goal> {
    let proofs = Proofs::new(cluster, policy);
    let score = meter.score();
    let far = score.goals.iter().filter(|goal| goal.excess > proofs.unavoidable(goal.goal));
    far.map(|distance| distance.goal).collect()
}
