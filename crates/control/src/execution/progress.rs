//! How far an execution is: for people.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster::{BrokerId, TopicPartition};
use serde::Serialize;

use crate::event::{Event, Message, Repeat, names};
use crate::execution::{Execution, ExecutionLimits, MovePhase, MoveState, Work};
use crate::finding::{Finding, Severity, Target};
use crate::incident::IncidentKey;
use crate::time::Timestamp;

/// The kind of the finding that moves make no headway.
pub const STUCK: &str = "reassignment_stuck";
/// The kind of the finding that a throttle could not be taken away yet.
pub const THROTTLE_LEFT: &str = "throttle_left";

/// Counts of the moves of an execution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Not submitted yet.
    pub waiting: usize,
    /// Submitted, the answer is not in.
    pub submitting: usize,
    /// Data is being copied.
    pub copying: usize,
    /// Being cancelled.
    pub cancelling: usize,
    /// As wanted.
    pub done: usize,
    /// Given up.
    pub dropped: usize,
    /// Bytes of all moves whose size is known, dropped ones excepted.
    pub bytes: u64,
    /// Bytes of those that are done.
    pub bytes_done: u64,
    /// How much longer it takes: at the throttle, or if it goes on as so far; unknown until enough is done.
    pub left: Option<Duration>,
}

impl Progress {
    /// How far `execution` is.
    pub fn of(execution: &Execution, now: Timestamp) -> Self {
        let mut progress = Self::default();
        for m in execution.moves() {
            let bytes = m.order.bytes.unwrap_or(0).saturating_mul(m.order.added().count() as u64);
            let count = match m.phase {
                MovePhase::Waiting => &mut progress.waiting,
                MovePhase::Submitting => &mut progress.submitting,
                MovePhase::Copying { .. } => &mut progress.copying,
                MovePhase::Cancelling { .. } => &mut progress.cancelling,
                MovePhase::Done { .. } => &mut progress.done,
                MovePhase::Dropped { .. } => &mut progress.dropped,
            };
            *count += 1;
            if !matches!(m.phase, MovePhase::Dropped { .. }) {
                progress.bytes = progress.bytes.saturating_add(bytes);
            }
            if matches!(m.phase, MovePhase::Done { .. }) {
                progress.bytes_done = progress.bytes_done.saturating_add(bytes);
            }
        }
        progress.left = progress.time_left(execution, now);
        progress
    }

    /// By the throttle, where there is one; else by what was done so far, once that is enough to go by.
    fn time_left(&self, execution: &Execution, now: Timestamp) -> Option<Duration> {
        if execution.ended.is_some() {
            return None;
        }
        if let Some(throttle) = throttle_of(execution) {
            return Some(by_throttle(execution, throttle));
        }
        let open = self.waiting + self.submitting + self.copying + self.cancelling;
        let (done, all) = if self.bytes > 0 {
            (self.bytes_done, self.bytes)
        } else {
            (self.done as u64, (self.done + open) as u64)
        };
        // The smallest come first, and take no time that tells of the large ones.
        if done == 0 || done < all / ENOUGH_TO_GO_BY {
            return None;
        }
        let spent = now.since(execution.admitted).as_millis();
        let left = spent.saturating_mul(u128::from(all.saturating_sub(done))) / u128::from(done);
        Some(Duration::from_millis(u64::try_from(left).unwrap_or(u64::MAX)))
    }
}

/// Of all bytes this part must be copied before it says how long the rest takes: a tenth.
const ENOUGH_TO_GO_BY: u64 = 10;

/// Bytes per second and broker to which its moves are held.
fn throttle_of(execution: &Execution) -> Option<u64> {
    let Work::Reassign(work) = &execution.work else { return None };
    work.throttle_bytes_per_second.filter(|throttle| *throttle > 0)
}

/// What the broker with most to take needs at least, at so many bytes per second.
fn by_throttle(execution: &Execution, throttle: u64) -> Duration {
    let open = execution.moves().iter().filter(|m| !m.phase.is_final());
    let most = incoming(open).into_values().max().unwrap_or(0);
    Duration::from_secs(most.div_ceil(throttle))
}

/// The bytes that each broker has to take.
fn incoming<'a>(moves: impl Iterator<Item = &'a MoveState>) -> BTreeMap<BrokerId, u64> {
    let mut bytes = BTreeMap::<BrokerId, u64>::new();
    for m in moves {
        for broker in m.order.added() {
            let sum = bytes.entry(broker).or_default();
            *sum = sum.saturating_add(m.order.bytes.unwrap_or(0));
        }
    }
    bytes
}

/// The moves that make no headway.
fn stuck<'a>(
    execution: &'a Execution,
    now: Timestamp,
    limits: &'a ExecutionLimits,
) -> impl Iterator<Item = &'a TopicPartition> {
    let last_done = execution.moves().iter().filter_map(|m| match m.phase {
        MovePhase::Done { at } => Some(at),
        _ => None,
    });
    let last_done = last_done.max().unwrap_or_default();
    // Those that a broker takes at a time share what its network, or our own throttle, lets in.
    let copying = execution.moves().iter().filter(|m| matches!(m.phase, MovePhase::Copying { .. }));
    let incoming = incoming(copying);
    let slowest = throttle_of(execution).unwrap_or(u64::MAX).min(limits.slowest_bytes_per_second).max(1);
    execution.moves().iter().filter_map(move |m| {
        let MovePhase::Copying { since } = m.phase else { return None };
        let bytes = m.order.added().filter_map(|broker| incoming.get(&broker)).max();
        let copying = bytes.copied().unwrap_or(0) / slowest;
        let limit = limits.stuck_after.saturating_add(Duration::from_secs(copying));
        (now.since(since.max(last_done)) > limit).then_some(&m.order.partition)
    })
}

/// What is wrong with the executions that run.
pub(crate) fn findings<'a>(
    executions: impl Iterator<Item = &'a Execution>,
    now: Timestamp,
    limits: &ExecutionLimits,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut still = Vec::new();
    for execution in executions.filter(|execution| execution.is_running()) {
        still.extend(stuck(execution, now, limits));
        let Work::Reassign(reassign) = &execution.work else { continue };
        if let Some(throttle) = reassign.throttle.as_ref().filter(|_| reassign.only_its_throttle_is_left()) {
            let (id, tries, places) = (execution.id.0, reassign.failures, throttle.places());
            let message = format!(
                "the replication throttle of execution {id} could not be taken away yet from {places} ({tries} tries)"
            );
            let finding = Finding::new(THROTTLE_LEFT, Target::Cluster, Severity::Warning, message);
            findings.push(finding.waiting_for(format!(
                "the brokers that have it to answer; doctorkafka cancel {id} leaves it where it is"
            )));
        }
    }
    if let Some(first) = still.first() {
        let message = format!(
            "{} reassignments of ours make no headway, the first is {first}; they go on and are not cancelled",
            still.len()
        );
        let finding = Finding::new(STUCK, Target::Cluster, Severity::Critical, message);
        findings.push(finding.concerning(still.len()));
    }
    findings
}

/// The alert that goes with a finding of [`findings`].
pub(crate) fn alert(finding: &Finding) -> Option<Event> {
    if finding.kind != STUCK {
        return None;
    }
    let message = Message {
        subject: "reassignments make no headway".to_owned(),
        body: finding.message.clone(),
        severity: finding.severity,
    };
    let event =
        Event::new(names::ALERT_STUCK_REASSIGNMENT, finding.subject.clone(), &finding.message, &message);
    Some(event.caused_by(IncidentKey::from(finding)).repeated(Repeat::OncePerIncident))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{PartitionMove, ReassignPartitions};
    use crate::execution::{ExecutionId, Reassign};

    /// Moves of so many bytes each, all to broker 4, of which the first `done` are done and the others copy.
    fn execution(bytes: &[u64], done: usize, throttle: Option<u64>) -> Execution {
        let order = |(number, bytes): (i32, &u64)| PartitionMove {
            partition: TopicPartition::new("t", number),
            from: [1, 3].map(BrokerId).to_vec(),
            to: [1, 4].map(BrokerId).to_vec(),
            dead: vec![BrokerId(3)],
            leaving: Vec::new(),
            bytes: Some(*bytes),
            in_sync: 1,
            reason: String::new(),
        };
        let moves = (0..).zip(bytes).map(order).collect();
        let mut work = Reassign::new(ReassignPartitions { moves, throttle_bytes_per_second: throttle });
        for (number, m) in work.moves.iter_mut().enumerate() {
            let at = Timestamp(1_000);
            m.phase = if number < done { MovePhase::Done { at } } else { MovePhase::Copying { since: at } };
        }
        let event = Event::new(names::REASSIGN_PARTITIONS, Target::Cluster, "", &());
        Execution::new(ExecutionId(1), event, "reassign", Timestamp(0), Work::Reassign(work))
    }

    fn left(execution: &Execution) -> Option<u64> {
        Progress::of(execution, Timestamp(10_000)).left.map(|left| left.as_secs())
    }

    #[test]
    fn a_few_small_moves_tell_nothing_of_the_large_ones() {
        assert_eq!(left(&execution(&[10, 10, 10_000_000], 2, None)), None);
        assert_eq!(left(&execution(&[4_000, 4_000, 4_000], 2, None)), Some(5));
        // Where no size is known each move counts as one.
        assert_eq!(left(&execution(&[0, 0, 0], 1, None)), Some(20));
    }

    #[test]
    fn a_throttle_says_how_long_it_takes_from_the_first_moment_on() {
        assert_eq!(left(&execution(&[10, 30_000_000, 30_000_000], 1, Some(1_000_000))), Some(60));
    }

    #[test]
    fn what_is_held_to_a_throttle_is_not_stuck_while_it_copies() {
        let limits = ExecutionLimits::default();
        let gib = 1 << 30;
        let stuck_at = |throttle, minutes: i64| {
            let execution = execution(&[gib, gib], 0, throttle);
            findings([&execution].into_iter(), Timestamp(minutes * 60_000), &limits).len()
        };
        // Both together take 34 minutes at a megabyte a second, and are given half an hour more.
        assert_eq!([stuck_at(Some(1_000_000), 65), stuck_at(Some(1_000_000), 67)], [0, 1]);
        assert_eq!([stuck_at(None, 33), stuck_at(None, 34)], [0, 1]);
    }
}
