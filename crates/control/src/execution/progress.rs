//! How far an execution is: for people.

use std::time::Duration;

use cluster::TopicPartition;
use serde::Serialize;

use crate::event::{Event, Message, Repeat, names};
use crate::execution::{Execution, ExecutionLimits, MovePhase, Work};
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
    /// How much longer it takes if it goes on as so far; unknown until something is done.
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

    /// By bytes where sizes are known, by count otherwise.
    fn time_left(&self, execution: &Execution, now: Timestamp) -> Option<Duration> {
        if execution.ended.is_some() {
            return None;
        }
        let open = self.waiting + self.submitting + self.copying + self.cancelling;
        let (done, all) = if self.bytes_done > 0 {
            (self.bytes_done, self.bytes)
        } else {
            (self.done as u64, (self.done + open) as u64)
        };
        if done == 0 {
            return None;
        }
        let spent = now.since(execution.admitted).as_millis();
        let left = spent.saturating_mul(u128::from(all.saturating_sub(done))) / u128::from(done);
        Some(Duration::from_millis(u64::try_from(left).unwrap_or(u64::MAX)))
    }
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
    execution.moves().iter().filter_map(move |m| {
        let MovePhase::Copying { since } = m.phase else { return None };
        let copying = m.order.bytes.unwrap_or(0) / limits.slowest_bytes_per_second.max(1);
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
        findings.push(Finding::new(STUCK, Target::Cluster, Severity::Critical, message));
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
