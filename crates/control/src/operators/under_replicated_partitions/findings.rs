//! The words in which the operator says what it sees.

use std::collections::BTreeMap;

use super::*;
use crate::execution::{MovePhase, MoveState};
use crate::planning::Unhealed;

/// How many partitions a message names.
const NAMED: usize = 3;

impl Group {
    /// What is out of sync on broker `id`, and why.
    pub(super) fn finding(&self, id: BrokerId, known: &Known<'_>) -> Finding {
        let reasons = self.reasons.iter().map(|(reason, count)| format!("{}: {count}", reason.words()));
        let mut message = format!(
            "{} out of sync on broker {id} ({})",
            counted(self.partitions, "replica"),
            reasons.collect::<Vec<_>>().join(", ")
        );
        if self.no_copies > 0 {
            message
                .push_str(&format!("; {} without a live copy in sync", counted(self.no_copies, "partition")));
        }
        if self.last_copies > 0 {
            message.push_str(&format!("; {} down to the last copy", counted(self.last_copies, "partition")));
        }
        let only = |reason| self.reasons.len() == 1 && self.reasons.contains_key(&reason);
        let severity = if self.last_copies + self.no_copies > 0 {
            Severity::Critical
        } else if only(Reason::FollowerInMaintenance) {
            Severity::Info
        } else {
            Severity::Warning
        };
        let finding = Finding::new(kinds::UNDER_REPLICATED, Target::Broker(id), severity, message)
            .concerning(self.last_copies + self.no_copies);
        match self.waits_for(id, known) {
            Some(waits_for) => finding.waiting_for(waits_for),
            None => finding,
        }
    }

    fn waits_for(&self, id: BrokerId, known: &Known<'_>) -> Option<String> {
        if let Some(suspect) = known.dead.suspects.get(&id) {
            return Some(suspect.waits_for.clone());
        }
        if self.moving > 0 {
            return Some(format!("the moves of {} under way", counted(self.moving, "partition")));
        }
        self.reasons.contains_key(&Reason::CatchingUp).then(|| "it to catch up".to_owned())
    }
}

/// Moves that copy although the brokers that they replace are back, with every replica in sync. They go on: what was copied is not
/// thrown away unless a person says so.
pub(super) fn needless(state: &State) -> Option<Finding> {
    let (live, topics) = (&state.get::<Liveness>()?.value.live, &state.get::<Topics>()?.value.0);
    let is_needless = |m: &MoveState| {
        let order = &m.order;
        let number = usize::try_from(order.partition.partition).unwrap_or(usize::MAX);
        let partition = topics.get(&order.partition.topic).and_then(|topic| topic.partitions.get(number));
        let in_sync = |p: &cluster::Partition| order.from.iter().all(|id| p.isr.contains(id));
        matches!(m.phase, MovePhase::Copying { .. })
            && !order.dead.is_empty()
            && order.dead.iter().all(|id| live.contains_key(id))
            && partition.is_some_and(in_sync)
    };
    let running = state.executions().iter().filter(|execution| execution.is_running());
    let counts = running.map(|e| (e.id.0, e.moves().iter().filter(|m| is_needless(m)).count()));
    let counts: Vec<(u64, usize)> = counts.filter(|(_, count)| *count > 0).collect();
    let (first, _) = *counts.first()?;
    let count = counts.iter().map(|(_, count)| count).sum();
    let message = format!(
        "{} under way {} not needed any more, as the brokers that they replace are back and in sync; they go on",
        counted(count, "move"),
        if count == 1 { "is" } else { "are" }
    );
    let finding = Finding::new(kinds::MOVES_NEEDLESS, Target::Cluster, Severity::Info, message);
    Some(finding.waiting_for(format!("their end; doctorkafka cancel {first} ends them")))
}

/// Partitions without a leader: lost with their dead brokers, or without an in-sync replica.
pub(super) fn without_leader(known: &Known<'_>, verdict: &mut Verdict) {
    let is_dead = |id: &BrokerId| known.dead.dead.contains_key(id);
    let mut lost = Vec::new();
    let mut without = Vec::new();
    let mut waits = true;
    for (key, partition) in &known.under_replicated.partitions {
        if partition.leader.is_some() {
            continue;
        }
        if partition.replicas.iter().all(is_dead) {
            lost.push(key);
        }
        waits &= may_return(known, partition);
        without.push(key);
    }
    if !lost.is_empty() {
        let message = format!(
            "{} lost until a dead broker returns, as there is no copy elsewhere: {}",
            counted(lost.len(), "partition"),
            named(&lost)
        );
        let kind = kinds::PARTITIONS_LOST;
        let finding = Finding::new(kind, Target::Cluster, Severity::Critical, message);
        let finding = finding.concerning(lost.len());
        verdict.findings.push(finding.waiting_for("one of their brokers to return"));
    }
    if !without.is_empty() {
        let message =
            format!("{} without a leader: {}", counted(without.len(), "partition"), named(&without));
        let (severity, waits_for) = if waits {
            (Severity::Warning, "brokers that are absent, but not dead")
        } else {
            (Severity::Critical, "an in-sync replica to return; an unclean election is never done")
        };
        let kind = kinds::PARTITIONS_WITHOUT_LEADER;
        let finding = Finding::new(kind, Target::Cluster, severity, message).concerning(without.len());
        verdict.findings.push(finding.waiting_for(waits_for));
    }
}

/// Whether a replica that can lead is on a broker that is absent, but not dead.
fn may_return(known: &Known<'_>, partition: &UnderReplicatedPartition) -> bool {
    partition.isr.iter().any(|id| known.dead.suspects.contains_key(id))
}

/// What is not healed: what must wait, and what cannot be.
pub(super) fn unhealed(known: &Known<'_>, unhealed: &[Unhealed], verdict: &mut Verdict) {
    let mut waiting = BTreeMap::<&Unhealable, Vec<&TopicPartition>>::new();
    let mut failing = BTreeMap::<&Unhealable, Vec<&TopicPartition>>::new();
    for Unhealed { partition, why, .. } in unhealed {
        let list = if waits(known, partition, why) { &mut waiting } else { &mut failing };
        list.entry(why).or_default().push(partition);
    }
    if !failing.is_empty() {
        let message = format!("replicas on dead brokers cannot be replaced: {}", reasons(&failing));
        let finding = Finding::new(kinds::CANNOT_HEAL, Target::Cluster, Severity::Critical, message);
        let finding = finding.concerning(failing.values().map(Vec::len).sum());
        verdict.findings.push(finding.waiting_for("a broker to return, or room for their replicas"));
    }
    if !waiting.is_empty() {
        let message = format!("replicas on dead brokers are not replaced yet: {}", reasons(&waiting));
        verdict.findings.push(Finding::new(kinds::HEALING_WAITS, Target::Cluster, Severity::Info, message));
    }
}

/// Whether it will be decided anew without anybody's doing.
fn waits(known: &Known<'_>, partition: &TopicPartition, why: &Unhealable) -> bool {
    let suspect = |id: &BrokerId| known.dead.suspects.contains_key(id);
    match why {
        Unhealable::Busy | Unhealable::Later => true,
        Unhealable::WouldWaitFor(id) => suspect(id),
        Unhealable::NoLiveCopy | Unhealable::NoInSyncCopy => {
            let partition = known.under_replicated.partitions.get(partition);
            partition.is_some_and(|partition| partition.isr.iter().any(suspect))
        }
        _ => false,
    }
}

pub(super) fn reasons(by_reason: &BTreeMap<&Unhealable, Vec<&TopicPartition>>) -> String {
    let reasons = by_reason
        .iter()
        .map(|(why, partitions)| format!("{} ({}): {}", partitions.len(), named(partitions), why.words()));
    reasons.collect::<Vec<_>>().join("; ")
}

pub(super) fn named(partitions: &[&TopicPartition]) -> String {
    let distinct: BTreeSet<_> = partitions.iter().collect();
    let mut names: Vec<String> = distinct.iter().take(NAMED).map(ToString::to_string).collect();
    let more = distinct.len().saturating_sub(NAMED);
    names.extend((more > 0).then(|| format!("{more} more")));
    names.join(", ")
}
