//! Which of the waiting moves go out next.

use std::collections::BTreeMap;

use cluster::BrokerId;

use crate::execution::observe::not_yet;
use crate::execution::{ExecutionLimits, MovePhase, MoveState, View};

/// What is in flight at each broker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load {
    brokers: BTreeMap<BrokerId, (u32, u64)>,
}

impl Load {
    /// The load of all moves in flight.
    pub(crate) fn of<'a>(
        moves: impl Iterator<Item = &'a MoveState>,
        view: &View<'_>,
        limits: &ExecutionLimits,
    ) -> Self {
        let mut load = Self::default();
        for m in moves.filter(|m| m.phase.is_in_flight() && !copies_nothing(m, view)) {
            load.add(m, view, limits);
        }
        load
    }

    fn add(&mut self, m: &MoveState, view: &View<'_>, limits: &ExecutionLimits) {
        let (moves, bytes) = weight(m, limits);
        for broker in concerned(m, view) {
            let entry = self.brokers.entry(broker).or_default();
            entry.0 = entry.0.saturating_add(moves);
            entry.1 = entry.1.saturating_add(bytes);
        }
    }

    /// Whether each broker that takes part has room for it. A broker that has nothing in flight always has: a move
    /// that is larger than the bound goes alone.
    fn has_room(&self, m: &MoveState, view: &View<'_>, limits: &ExecutionLimits) -> bool {
        let (moves, bytes) = weight(m, limits);
        concerned(m, view).into_iter().all(|broker| {
            let (in_flight, bytes_in_flight) = self.brokers.get(&broker).copied().unwrap_or_default();
            let fits = in_flight.saturating_add(moves) <= limits.moves_per_broker.max(1)
                && bytes_in_flight.saturating_add(bytes) <= limits.bytes_per_broker;
            fits || (in_flight == 0 && bytes_in_flight == 0)
        })
    }
}

/// How much a move counts: small ones only by their bytes.
fn weight(m: &MoveState, limits: &ExecutionLimits) -> (u32, u64) {
    let small = m.order.bytes.is_some_and(|bytes| bytes <= limits.small_bytes);
    (u32::from(!small), m.order.bytes.unwrap_or(0))
}

/// The brokers that read or write for a move: the leader, from which the new replicas fetch, and the new replicas.
fn concerned(m: &MoveState, view: &View<'_>) -> Vec<BrokerId> {
    let leader = view.partition(&m.order.partition).and_then(|partition| partition.leader);
    let mut brokers: Vec<BrokerId> = m.order.added().collect();
    if let Some(leader) = leader
        && !brokers.is_empty()
        && !brokers.contains(&leader)
    {
        brokers.push(leader);
    }
    brokers
}

/// Whether a move waits for something else than its copies, perhaps for ever: there is no leader to copy from, or all new
/// replicas are in sync but those on dead brokers. It takes no room from others.
pub(crate) fn copies_nothing(m: &MoveState, view: &View<'_>) -> bool {
    let Some(partition) = view.partition(&m.order.partition) else { return false };
    let done = |broker| partition.isr.contains(&broker) || view.is_dead(broker);
    matches!(m.phase, MovePhase::Copying { .. }) && (partition.leader.is_none() || m.order.added().all(done))
}

fn is_ready(m: &MoveState, view: &View<'_>) -> bool {
    m.phase == MovePhase::Waiting && not_yet(m, view).is_none()
}

/// The positions of the waiting moves that may go out: those with the fewest in-sync replicas first, then in the
/// order of the event. `load` grows by them.
pub(crate) fn choose(
    moves: &[MoveState],
    load: &mut Load,
    view: &View<'_>,
    limits: &ExecutionLimits,
) -> Vec<usize> {
    let mut waiting: Vec<usize> = (0..moves.len()).filter(|index| is_ready(&moves[*index], view)).collect();
    waiting.sort_by_key(|index| moves[*index].order.in_sync);
    let mut chosen = Vec::new();
    for index in waiting {
        if chosen.len() >= limits.batch.clamp(1, 500) {
            break;
        }
        if load.has_room(&moves[index], view, limits) {
            load.add(&moves[index], view, limits);
            chosen.push(index);
        }
    }
    chosen
}
