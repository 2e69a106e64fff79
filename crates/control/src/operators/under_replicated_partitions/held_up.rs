//! Moves of ours that copy, and that a dead broker keeps from their end.
//!
//! Such a move may bring the only copy that is being made, while a single replica is in sync. It is given up only where a plan
//! in its place could be made at once, and brings as many live copies: that one can end, although what has been copied is
//! lost. It is made here as if the move had been cancelled: with the replicas of before, and with the room that the move takes.

use std::collections::BTreeMap;

use super::*;
use crate::execution::{
    MovePhase, MoveState, View, brings_copies, is_costly_to_cancel, is_listed_as_ours, waits_for_the_dead,
};

/// A move that waits for a dead broker.
struct HeldUp<'a> {
    step: &'a MoveState,
    by: BrokerId,
    costly: bool,
}

/// Whether there is such a move.
pub(super) fn is_any(state: &State) -> bool {
    !find(state).is_empty()
}

/// Says which of the moves may be given up, and what the others wait for.
pub(super) fn judge(
    state: &State,
    facts: &Facts<'_>,
    planned: Option<&Healing>,
    plan: impl Fn(&Facts<'_>) -> Result<Healing, PlanningError>,
    verdict: &mut Verdict,
) {
    let held_up = find(state);
    if held_up.is_empty() {
        return;
    }
    let open: Vec<&MoveState> = held_up.iter().filter(|held| !held.costly).map(|held| held.step).collect();
    let in_their_place =
        if open.is_empty() { Ok(Healing::default()) } else { plan_anew(facts, &open, planned, plan) };
    let mut waiting = BTreeMap::<String, Vec<&HeldUp<'_>>>::new();
    for held in &held_up {
        let why = match &in_their_place {
            _ if held.costly => "too few are in sync without the new replica".to_owned(),
            Ok(healing) => match worse(held.step, facts, healing) {
                Some(why) => why,
                None => {
                    verdict.may_give_up.insert(held.step.order.partition.clone());
                    continue;
                }
            },
            Err(error) => format!("nothing can be planned in its place: {error}"),
        };
        waiting.entry(why).or_default().push(held);
    }
    verdict.findings.extend(finding(&waiting));
}

/// Our moves that copy and wait for a dead broker.
fn find(state: &State) -> Vec<HeldUp<'_>> {
    let running = state.executions().iter().filter(|e| e.is_running() && !e.dry_run);
    let copying = running
        .flat_map(|execution| execution.moves())
        .filter(|step| matches!(step.phase, MovePhase::Copying { .. }));
    let view = View::of(state);
    let held = copying.filter_map(|step| {
        let (by, _) = waits_for_the_dead(step, &view).filter(|_| is_listed_as_ours(step, &view))?;
        let costly = is_costly_to_cancel(step, &view);
        // What brings nothing and costs nothing is given up anyway.
        (costly || brings_copies(step, &view)).then_some(HeldUp { step, by, costly })
    });
    held.collect()
}

/// Plans as if the moves had been cancelled. Only their topics are planned for: the others count by what they take of brokers,
/// and what has just been planned for them is on its way.
fn plan_anew(
    facts: &Facts<'_>,
    moves: &[&MoveState],
    planned: Option<&Healing>,
    plan: impl Fn(&Facts<'_>) -> Result<Healing, PlanningError>,
) -> Result<Healing, PlanningError> {
    let mut topics = Topics(BTreeMap::new());
    let mut reassignments = facts.reassignments.clone();
    let (mut busy, mut arriving) = (facts.busy.clone(), facts.arriving.clone());
    for order in planned.iter().flat_map(|healing| &healing.moves) {
        busy.insert(order.partition.clone());
        for id in order.added() {
            let sum = arriving.entry(id).or_default();
            *sum = sum.saturating_add(order.bytes.unwrap_or(0));
        }
    }
    for MoveState { order, .. } in moves {
        let Some(topic) = facts.topics.0.get(&order.partition.topic) else { continue };
        let copy = topics.0.entry(order.partition.topic.clone()).or_insert_with(|| topic.clone());
        let number = usize::try_from(order.partition.partition).unwrap_or(usize::MAX);
        let Some(partition) = copy.partitions.get_mut(number) else { continue };
        partition.replicas = order.from.clone().into();
        partition.isr = partition.isr.iter().copied().filter(|id| order.from.contains(id)).collect();
        // It is brought by the move itself, and is not on its way once that is given up.
        let bytes = facts.disks.and_then(|disks| disks.sizes.get(&order.partition)).copied().unwrap_or(0);
        if let Some(listed) = reassignments.0.remove(&order.partition) {
            for id in &listed.adding {
                if let Some(sum) = arriving.get_mut(id) {
                    *sum = sum.saturating_sub(bytes);
                }
            }
        }
        busy.remove(&order.partition);
    }
    let anew = Facts {
        topics: &topics,
        reassignments: &reassignments,
        busy: &busy,
        arriving: &arriving,
        ..facts.clone()
    };
    plan(&anew)
}

/// Why what would be planned in the place of a move is worse than it: nothing, or fewer live copies.
fn worse(step: &MoveState, facts: &Facts<'_>, healing: &Healing) -> Option<String> {
    let partition = &step.order.partition;
    let live = |ids: &[BrokerId]| ids.iter().filter(|id| !facts.dead.dead.contains_key(id)).count();
    let unhealed = healing.unhealed.iter().find(|unhealed| unhealed.partition == *partition);
    match (healing.moves.iter().find(|other| other.partition == *partition), unhealed) {
        (Some(other), _) => (live(&other.to) < live(&step.order.to))
            .then(|| "what can be planned in its place brings fewer live copies".to_owned()),
        (None, Some(unhealed)) => {
            Some(format!("nothing can be planned in its place, as {}", unhealed.why.words()))
        }
        // All replicas of before live.
        (None, None) => (live(&step.order.from) < live(&step.order.to))
            .then(|| "the replicas that it was to replace are fewer live copies".to_owned()),
    }
}

fn finding(waiting: &BTreeMap<String, Vec<&HeldUp<'_>>>) -> Option<Finding> {
    let count: usize = waiting.values().map(Vec::len).sum();
    if count == 0 {
        return None;
    }
    let reasons = waiting.iter().map(|(why, held)| {
        let partitions: Vec<&TopicPartition> = held.iter().map(|held| &held.step.order.partition).collect();
        format!("{} ({}): {why}", held.len(), findings::named(&partitions))
    });
    let all = || waiting.values().flatten();
    let brokers: BTreeSet<BrokerId> = all().map(|held| held.by).collect();
    let brokers: Vec<String> = brokers.iter().map(ToString::to_string).collect();
    let message = format!(
        "{} of ours cannot end while a broker is dead, but must not be given up: {}",
        counted(count, "move"),
        reasons.collect::<Vec<_>>().join("; ")
    );
    let or_room = if all().all(|held| held.costly) { "" } else { ", or room on others" };
    let finding = Finding::new(kinds::MOVES_HELD_UP, Target::Cluster, Severity::Warning, message);
    Some(finding.waiting_for(format!("broker {} to return{or_room}", brokers.join(", "))))
}

#[cfg(test)]
#[path = "held_up_tests.rs"]
mod tests;
