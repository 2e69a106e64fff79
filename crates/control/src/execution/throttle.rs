//! The replication throttle of an execution: whom it is asked for, what becomes of it, who inherits it.

use std::collections::BTreeSet;
use std::sync::Arc;

use cluster::BrokerId;

use crate::event::{Event, Message, Throttle, ThrottleEntry, names};
use crate::execution::observe::View;
use crate::execution::reassign::drop_waiting;
use crate::execution::{Execution, ExecutionLimits, Reassign, Work};
use crate::finding::Severity;
use crate::plugin::{ActError, Done};

/// The throttle of all brokers and topics that take part.
pub(super) fn throttle_for(work: &Reassign, view: &View<'_>, bytes_per_second: u64) -> Throttle {
    let open = || work.moves.iter().filter(|m| !m.phase.is_final());
    let brokers: BTreeSet<BrokerId> = open()
        .flat_map(|m| m.order.from.iter().chain(&m.order.to))
        .copied()
        .filter(|broker| view.is_live(*broker))
        .collect();
    let topics: BTreeSet<&str> = open().map(|m| &*m.order.partition.topic).collect();
    Throttle {
        bytes_per_second,
        brokers: brokers.into_iter().collect(),
        topics: topics.into_iter().map(str::to_owned).collect(),
        entries: None,
    }
}

/// What can be set of a throttle at present. A broker's configs can be set at that broker alone: one that has died must not
/// be waited for, and one that only we cannot reach not for long. It stays in the journal, as it may have been set before.
pub(super) fn settable(mut throttle: Throttle, failures: u32, view: &View<'_>) -> Throttle {
    /// A probe may be a moment behind.
    const TRIES_AT_ALL: u32 = 2;
    throttle.brokers.retain(|id| view.is_live(*id));
    let reached: Vec<BrokerId> =
        throttle.brokers.iter().copied().filter(|id| !view.is_beyond_us(*id)).collect();
    // If it is most of them, it is we who are cut off, and soon may not be: then nothing would hold them.
    if failures >= TRIES_AT_ALL && reached.len() * 2 >= throttle.brokers.len() {
        throttle.brokers = reached;
    }
    let Throttle { brokers, entries, .. } = &mut throttle;
    if let Some(entries) = entries {
        entries.retain(|entry| entry.broker.is_none_or(|id| brokers.contains(&id)));
    }
    throttle
}

/// Gives the parts of the throttles of executions that are over to executions that still need them: where two throttle
/// the same broker or topic, the first has set the value, and the second found it set.
pub(crate) fn hand_over(executions: &mut [Arc<Execution>]) {
    for at in 0..executions.len() {
        let Work::Reassign(work) = &executions[at].work else { continue };
        let over = work.moves.iter().all(|m| m.phase.is_final());
        if !executions[at].is_running() || !over || work.under_way.is_some() {
            continue;
        }
        let Some(entries) = work.throttle.as_ref().and_then(|throttle| throttle.entries.clone()) else {
            continue;
        };
        let mut kept = Vec::new();
        for entry in entries {
            let heir = executions.iter().position(|other| needs(other, &entry));
            match heir.map(|heir| &mut Arc::make_mut(&mut executions[heir]).work) {
                Some(Work::Reassign(Reassign {
                    throttle: Some(Throttle { entries: Some(theirs), .. }),
                    ..
                })) => {
                    // It may have been taken away in part, so that they found it free and set it themselves.
                    if !theirs.contains(&entry) {
                        theirs.push(entry);
                    }
                }
                _ => kept.push(entry),
            }
        }
        if let Work::Reassign(work) = &mut Arc::make_mut(&mut executions[at]).work {
            work.handed_over = true;
            if let Some(throttle) = &mut work.throttle {
                throttle.entries = Some(kept);
            }
        }
    }
}

/// Whether an execution copies under a throttle that `entry` belongs to.
fn needs(execution: &Execution, entry: &ThrottleEntry) -> bool {
    let Work::Reassign(work) = &execution.work else { return false };
    execution.is_running()
        && work.moves.iter().any(|m| !m.phase.is_final())
        && work.throttle.as_ref().is_some_and(|t| t.entries.is_some() && t.concerns(entry))
}

/// What is left of a throttle that was taken away in part.
pub(super) fn rest_of_throttle(result: &Result<Done, ActError>) -> Option<Throttle> {
    let rest = serde_json::from_value::<Throttle>(result.as_ref().ok()?.detail.clone()).ok()?;
    rest.entries.as_ref().is_some_and(|entries| !entries.is_empty()).then_some(rest)
}

pub(super) fn settle_set_throttle(
    work: &mut Reassign,
    result: &Result<Done, ActError>,
    limits: &ExecutionLimits,
) {
    match result {
        Ok(done) => match (&mut work.throttle, serde_json::from_value::<Throttle>(done.detail.clone())) {
            (Some(throttle), Ok(asked)) if throttle.entries.is_none() && asked.entries.is_some() => {
                throttle.entries = asked.entries;
            }
            _ => work.throttle_set = true,
        },
        Err(error) if !error.retry || work.failures >= limits.max_tries => {
            // Where it may be set in part, it stays in the journal, and is cleared.
            if work.failures == 1 && !error.maybe_applied {
                work.throttle = None;
            }
            let why = format!("the throttle could not be set: {}", error.message);
            drop_waiting(&mut work.moves, |_| Some(why.clone()));
        }
        Err(_) => {}
    }
}

pub(super) fn throttle_alert(execution: &Execution, throttle: &Throttle) -> Event {
    let message = Message {
        subject: "a replication throttle is left behind".to_owned(),
        body: format!(
            "The replication throttle of execution {} could not be removed from {}. Please remove it by hand, or \
             followers may fall behind.",
            execution.id.0,
            throttle.places()
        ),
        severity: Severity::Critical,
    };
    let mut event =
        Event::new(names::ALERT_THROTTLE_LEFT, execution.event.target.clone(), &message.subject, &message);
    event.cause.clone_from(&execution.event.cause);
    event
}

#[cfg(test)]
mod tests {
    use cluster::TopicPartition;

    use super::*;
    use crate::event::{PartitionMove, ReassignPartitions};
    use crate::execution::{ExecutionId, MovePhase};
    use crate::finding::Target;
    use crate::time::Timestamp;

    fn throttled(id: u64, open: bool, entries: Vec<ThrottleEntry>) -> Arc<Execution> {
        let order = PartitionMove {
            partition: TopicPartition::new("orders", 0),
            from: vec![BrokerId(1)],
            to: vec![BrokerId(2)],
            dead: Vec::new(),
            leaving: Vec::new(),
            bytes: None,
            in_sync: 1,
            reason: String::new(),
        };
        let mut work =
            Reassign::new(ReassignPartitions { moves: vec![order], throttle_bytes_per_second: Some(5) });
        if !open {
            work.moves[0].phase = MovePhase::Done { at: Timestamp(1) };
        }
        let brokers = vec![BrokerId(1), BrokerId(2)];
        work.throttle =
            Some(Throttle { bytes_per_second: 5, brokers, topics: Vec::new(), entries: Some(entries) });
        let event = Event::new(names::REASSIGN_PARTITIONS, Target::Cluster, "", &());
        Arc::new(Execution::new(ExecutionId(id), event, "reassign", Timestamp(1), Work::Reassign(work)))
    }

    #[test]
    fn what_another_execution_needs_of_a_throttle_is_handed_over_to_it() {
        let entry = |broker| ThrottleEntry {
            broker: Some(BrokerId(broker)),
            topic: None,
            key: "leader.replication.throttled.rate".to_owned(),
            value: "5".to_owned(),
        };
        let mut executions =
            [throttled(1, false, vec![entry(1), entry(7)]), throttled(2, true, vec![entry(2)])];
        hand_over(&mut executions);
        let of = |execution: &Execution| match &execution.work {
            Work::Reassign(work) => (work.handed_over, work.throttle.clone().unwrap().entries.unwrap()),
            Work::Once(_) => panic!("a reassignment"),
        };
        assert_eq!(of(&executions[0]), (true, vec![entry(7)]), "taken away: nobody else is at broker 7");
        assert_eq!(of(&executions[1]), (false, vec![entry(2), entry(1)]));
    }
}
