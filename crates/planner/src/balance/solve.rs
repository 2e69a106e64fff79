//! From a cluster to a plan.

use super::cluster::Cluster;
use super::policy::{Goal, Policy};
use super::polish::polish;
use super::score::{Score, score};
use super::search::{Dice, evacuate, mend, spread_racks};
use super::state::State;

/// How much a plan may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budget {
    /// At most so many replicas moved. None: no bound.
    pub moves: Option<u64>,
    /// At most so much of the disk unit copied. None: no bound.
    pub disk: Option<i64>,
}

/// One partition's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The partition.
    pub partition: u32,
    /// Its brokers by position; those it keeps stay at their place.
    pub replicas: Vec<u32>,
    /// Position of the leader.
    pub leader: u32,
}

/// What to change, and what that does to the score.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Plan {
    /// By partition.
    pub changes: Vec<Change>,
    /// Before.
    pub before: Score,
    /// After.
    pub after: Score,
}

/// Finds a plan: never worse than what is there, the same for the same input.
pub fn solve(cluster: &Cluster, policy: &Policy) -> Plan {
    let goals: &[Goal] = &policy.goals;
    let before = score(cluster, policy, &cluster.place, &leaders(cluster));
    if before.is_clean() {
        return Plan { changes: Vec::new(), after: before.clone(), before };
    }
    let mut state = State::new(cluster, policy, goals);
    let mut dice = Dice::new(0x9e37_79b9_7f4a_7c15);
    evacuate(&mut state);
    spread_racks(&mut state);
    let steps = cluster.replica_count() * 4 + 1000;
    for _ in 0..6 {
        if goals.contains(&Goal::LeaderBytesIn) {
            state.refresh_mean();
            state.refresh_cost();
        }
        mend(&mut state, &mut dice, steps);
    }
    polish(&mut state, &mut dice);
    let leader: Vec<u32> = state.leader.clone();
    let after = score(cluster, policy, &state.place, &leader);
    if after >= before {
        return Plan { changes: Vec::new(), after: before.clone(), before };
    }
    Plan { changes: changes(cluster, &state.place, &leader), before, after }
}

fn leaders(cluster: &Cluster) -> Vec<u32> {
    (0..cluster.partitions()).map(|p| cluster.row(p).start as u32 + cluster.leader[p as usize]).collect()
}

fn changes(cluster: &Cluster, place: &[u32], leader: &[u32]) -> Vec<Change> {
    let change = |partition: u32| {
        let row = cluster.row(partition);
        let position = leader[partition as usize] - row.start as u32;
        let same = place[row.clone()] == cluster.place[row.clone()]
            && position == cluster.leader[partition as usize];
        (!same).then(|| Change { partition, replicas: place[row].to_vec(), leader: position })
    };
    (0..cluster.partitions()).filter_map(change).collect()
}
