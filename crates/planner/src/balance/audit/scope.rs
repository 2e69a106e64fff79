//! Whether a plan keeps to what the policy lets move.

use super::Violation;
use crate::balance::cluster::{Broker, Cluster, Mark};
use crate::balance::policy::{Leaders, Moves, Policy};
use crate::balance::solve::Change;

/// Checks one sound change.
pub(super) fn check(cluster: &Cluster, policy: &Policy, change: &Change, found: &mut Vec<Violation>) {
    let partition = change.partition;
    for position in (0..change.replicas.len() as u32).filter(|at| !may_move(cluster, policy, change, *at)) {
        found.push(Violation::Move { partition, position });
    }
    if !may_pass(cluster, policy, change) {
        found.push(Violation::Leadership { partition });
    }
}

/// Whether the policy lets a replica be where a change has it, from where it was at the start.
pub(super) fn may_move(cluster: &Cluster, policy: &Policy, change: &Change, position: u32) -> bool {
    let broker = |ordinal: u32| &cluster.brokers()[ordinal as usize];
    let from = cluster.replicas(change.partition)[position as usize];
    let to = change.replicas[position as usize];
    from == to
        || match policy.moves {
            Moves::Nothing => false,
            _ if homeless(cluster, change.partition, position) => true,
            Moves::ToNew => broker(to).mark == Mark::New,
            Moves::OffOverloaded => broker(from).mark == Mark::Overloaded,
            Moves::Offline => false,
            Moves::All => true,
        }
}

/// Whether the policy lets leadership be where a change has it.
pub(super) fn may_pass(cluster: &Cluster, policy: &Policy, change: &Change) -> bool {
    let partition = change.partition;
    let old = cluster.replicas(partition);
    let (was, is) = (cluster.leader(partition), change.leader);
    let orphan = homeless(cluster, partition, was);
    // Where the leader's broker leaves, another leads; which of the replicas went where, nobody can tell.
    let moved = !change.replicas.contains(&old[was as usize]);
    let same = old[was as usize] == change.replicas[is as usize];
    let passes = was != is && !same && !moved;
    let demoted = |broker: &Broker| !broker.takes_leadership;
    let allowed = match policy.leaders {
        Leaders::All => true,
        Leaders::Orphaned => orphan,
        Leaders::ToPlaced => orphan || homeless(cluster, partition, is),
        Leaders::Demoted => orphan || demoted(&cluster.brokers()[old[was as usize] as usize]),
    };
    !passes || allowed
}

fn homeless(cluster: &Cluster, partition: u32, at: u32) -> bool {
    let broker = cluster.replicas(partition)[at as usize];
    !cluster.brokers()[broker as usize].alive || cluster.offline(partition, at)
}
