//! From what was found to what Kafka can do in one plan.

use super::cluster::Cluster;
use super::policy::Policy;
use super::polish::polish;
use super::refine::{MEDIUM, refine};
use super::search::{Dice, mend};
use super::state::State;
use super::watch::NOBODY;

/// Broker of each replica, and the leading replica of each partition.
pub(crate) type Found = (Vec<u32>, Vec<u32>);

/// So many times it is tried to mend what two plans can do and one cannot.
const TRIES: u64 = 64;
/// Less often where there are more replicas than this: less by as much as there are more.
const FEW: usize = 1_000;

/// What one plan can do of what was found from where another ends. A broker that a partition keeps stays at its position, so that a
/// replica cannot come to where another of its partition was: then brokers carry something else than was found, and that is
/// mended, in clusters that are small enough.
pub(crate) fn as_one_plan<'a>(
    cluster: &'a Cluster,
    policy: &'a Policy,
    found: Found,
) -> impl Iterator<Item = Found> + use<'a> {
    let settled = settle(cluster, found.clone());
    let tries = match cluster.replica_count() {
        replicas if replicas > MEDIUM || settled == found => 0,
        replicas => TRIES * FEW as u64 / replicas.max(FEW) as u64,
    };
    let mended = move |seed| {
        let mut state = State::watched(cluster, policy, NOBODY);
        state.go_to(&settled.0, &settled.1);
        state.refresh_mean();
        let mut dice = Dice::new(seed * SEED);
        let steps = state.place.len() * 4 + 1000;
        mend(&mut state, &mut dice, steps);
        polish(&mut state, &mut dice);
        refine(cluster, policy, (state.place, state.leader))
    };
    std::iter::once(found).chain((1..=tries).map(mended))
}

const SEED: u64 = 0x9e37_79b9;

/// Puts brokers that a partition keeps back to their positions: Kafka does not exchange the data of two replicas.
pub(crate) fn settle(cluster: &Cluster, (mut place, mut leader): Found) -> Found {
    for partition in 0..cluster.partitions() {
        let row = cluster.row(partition);
        let (before, after) = (cluster.replicas(partition), &mut place[row.clone()]);
        let at_home = |(broker, home): (&u32, &u32)| broker == home || !before.contains(broker);
        if after.iter().zip(before).all(at_home) {
            continue;
        }
        let leading = after[leader[partition as usize] as usize - row.start];
        let kept = after.to_vec();
        // Whoever is new stays where it came to: what moved there was allowed to. Only who sits on the place of one that
        // comes back goes to where that one was.
        let in_the_way = |(broker, home): &(&u32, &u32)| !before.contains(*broker) && kept.contains(*home);
        let mut new: Vec<u32> =
            kept.iter().zip(before).filter(in_the_way).map(|(broker, _)| *broker).collect();
        new.reverse();
        for (broker, home) in after.iter_mut().zip(before) {
            if kept.contains(home) {
                *broker = *home;
            } else if before.contains(broker) {
                *broker = new.pop().unwrap_or(*home);
            }
        }
        let position = after.iter().position(|broker| *broker == leading).unwrap_or(0);
        leader[partition as usize] = (row.start + position) as u32;
    }
    (place, leader)
}
