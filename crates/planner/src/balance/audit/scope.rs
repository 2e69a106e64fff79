//! Whether a plan keeps to what the policy lets move.

use super::Violation;
use crate::balance::cluster::{Broker, Cluster, Mark};
use crate::balance::policy::{Leaders, Moves, Policy};
use crate::balance::solve::Change;

/// Checks one sound change.
pub(super) fn check(cluster: &Cluster, policy: &Policy, change: &Change, found: &mut Vec<Violation>) {
    let partition = change.partition;
    let old = cluster.replicas(partition);
    let broker = |ordinal: u32| &cluster.brokers()[ordinal as usize];
    let (was, is) = (cluster.leader(partition), change.leader);
    let homeless = |at: u32| !broker(old[at as usize]).alive || cluster.offline(partition, at);
    let orphan = homeless(was);
    for (position, (from, to)) in (0..).zip(old.iter().zip(&change.replicas)) {
        let allowed = from == to
            || match policy.moves {
                Moves::Nothing => false,
                _ if homeless(position) => true,
                Moves::ToNew => broker(*to).mark == Mark::New,
                Moves::OffOverloaded => broker(*from).mark == Mark::Overloaded,
                Moves::Offline => false,
                Moves::All => true,
            };
        if !allowed {
            found.push(Violation::Move { partition, position });
        }
    }
    // Where the leader's broker leaves, another leads; which of the replicas went where, nobody can tell.
    let moved = !change.replicas.contains(&old[was as usize]);
    let same = old[was as usize] == change.replicas[is as usize];
    let passes = was != is && !same && !moved;
    let demoted = |broker: &Broker| !broker.takes_leadership;
    let allowed = match policy.leaders {
        Leaders::All => true,
        Leaders::Orphaned => orphan,
        Leaders::ToPlaced => orphan || homeless(is),
        Leaders::Demoted => orphan || demoted(broker(old[was as usize])),
    };
    if passes && !allowed {
        found.push(Violation::Leadership { partition });
    }
}
