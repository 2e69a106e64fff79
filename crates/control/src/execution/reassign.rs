//! Executions that move replicas, in waves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cluster::{BrokerId, TopicPartition};

use crate::event::{
    ElectLeaders, Event, Message, PartitionMove, ReassignResult, ReassignStep, Throttle, ThrottleEntry, names,
};
use crate::execution::observe::{
    View, brings_copies, is_costly_to_cancel, is_listed_as_ours, not_yet, objection, observe,
    waits_for_the_dead,
};
use crate::execution::wave::{Load, choose};
use crate::execution::{
    Execution, ExecutionLimits, Leave, MovePhase, MoveState, Progressed, Reassign, StepKind, UnderWay, Work,
};
use crate::finding::{Severity, Target};
use crate::guard::brake::duration_words;
use crate::plugin::{ActError, Done};
use crate::record::{Line, RecordKind};
use crate::time::Now;

/// What is to be done next.
enum Next {
    /// Nothing, for a reason where there is one that people should know.
    Wait(Option<String>),
    /// This act.
    Act(ReassignStep),
    /// It is over.
    End,
}

/// Looks at the cluster and takes the next step.
pub(crate) fn next_step(
    execution: &mut Execution,
    view: &View<'_>,
    leave: &Leave,
    limits: &ExecutionLimits,
    load: &mut Load,
) -> Progressed {
    let Work::Reassign(work) = &mut execution.work else { return Progressed::default() };
    if execution.sequence == 0 {
        work.begun.get_or_insert(view.now.tick);
    }
    if work.under_way.is_some() && !work.sent {
        // The answer was lost with the process that waited for it. Looking at the cluster tells what became of it.
        work.under_way = None;
    }
    look(work, view, limits);
    if work.under_way.is_some() {
        return Progressed::default();
    }
    match next(work, view, leave, limits, load) {
        Next::Wait(reason) => Progressed { waits: reason, ..Progressed::default() },
        Next::Act(step) => start(execution, step, view.now),
        Next::End => end(execution, view),
    }
}

fn look(work: &mut Reassign, view: &View<'_>, limits: &ExecutionLimits) {
    let awaited = work.under_way.map(|under_way| under_way.step);
    for m in &mut work.moves {
        let answer_comes = match m.phase {
            MovePhase::Submitting => awaited == Some(StepKind::Submit),
            MovePhase::Cancelling { .. } => awaited == Some(StepKind::Cancel),
            _ => false,
        };
        if !answer_comes {
            observe(m, view, limits);
        }
    }
    if work.moves.iter().any(|m| m.phase.is_in_flight()) {
        work.idle_since = None;
    } else {
        work.idle_since.get_or_insert(view.now.tick);
    }
}

fn next(
    work: &mut Reassign,
    view: &View<'_>,
    leave: &Leave,
    limits: &ExecutionLimits,
    load: &mut Load,
) -> Next {
    if let Some(by) = &work.cancelled {
        let why = format!("cancelled by {by}");
        drop_waiting(&mut work.moves, |_| Some(why.clone()));
    } else if *leave == Leave::Any {
        drop_waiting(&mut work.moves, |m| objection(m, view));
    }
    let may_act = view.now.tick >= work.not_before;
    let to_cancel = if may_act { mark_cancelled(work, view, leave, limits) } else { Vec::new() };
    if !to_cancel.is_empty() {
        return Next::Act(ReassignStep::Cancel { moves: to_cancel });
    }
    if work.moves.iter().all(|m| m.phase.is_final()) {
        return match &work.throttle {
            None => Next::End,
            Some(_) if work.failures >= limits.max_clear_tries => Next::End,
            // Whether others need it is looked at before the next step.
            Some(throttle) if may_act && (work.handed_over || throttle.entries.is_none()) => {
                Next::Act(ReassignStep::ClearThrottle(throttle.clone()))
            }
            Some(_) => Next::Wait(None),
        };
    }
    if !work.moves.iter().any(|m| m.phase == MovePhase::Waiting) {
        return Next::Wait(keeps_from_giving_up(work, view, leave));
    }
    let waiting = || work.moves.iter().filter(|m| m.phase == MovePhase::Waiting);
    match leave {
        Leave::OnlyCleaning(reason) => Next::Wait(Some(reason.clone())),
        Leave::Any if !may_act => Next::Wait(None),
        Leave::Any if waiting().all(|m| not_yet(m, view).is_some()) => {
            Next::Wait(waiting().find_map(|m| not_yet(m, view)))
        }
        Leave::Any => next_wave(work, view, limits, load),
    }
}

fn drop_waiting(moves: &mut [MoveState], why: impl Fn(&MoveState) -> Option<String>) {
    for m in moves.iter_mut().filter(|m| m.phase == MovePhase::Waiting) {
        if let Some(why) = why(m) {
            m.phase = MovePhase::Dropped { why };
        }
    }
}

/// The moves that are to be cancelled, marked as such: all of a cancelled execution, and those that a dead broker keeps from
/// their end. Only what the cluster lists with our target.
fn mark_cancelled(
    work: &mut Reassign,
    view: &View<'_>,
    leave: &Leave,
    limits: &ExecutionLimits,
) -> Vec<PartitionMove> {
    let mut to_cancel = Vec::new();
    for m in &mut work.moves {
        let why = match &m.phase {
            // The last cancel had no effect.
            MovePhase::Cancelling { why } => Some(why.clone()),
            MovePhase::Copying { .. } => match &work.cancelled {
                Some(by) => Some(format!("cancelled by {by}")),
                None => hopeless(m, view, leave),
            },
            _ => None,
        };
        let Some(why) = why else { continue };
        if to_cancel.len() >= limits.batch.clamp(1, 500)
            || m.tries >= limits.max_tries
            || !is_listed_as_ours(m, view)
        {
            continue;
        }
        m.phase = MovePhase::Cancelling { why };
        m.tries = m.tries.saturating_add(1);
        to_cancel.push(m.order.clone());
    }
    to_cancel
}

/// Why a move will not end by itself, where it costs nothing to cancel it, and anything may be done. One that copies goes on
/// doing so until another can be made in its place, and is better: it may be the only copy that is being made.
fn hopeless(m: &MoveState, view: &View<'_>, leave: &Leave) -> Option<String> {
    let (broker, is_new) = waits_for_the_dead(m, view).filter(|_| *leave == Leave::Any)?;
    let may_be_replaced = || view.may_give_up(&m.order.partition);
    if is_costly_to_cancel(m, view) || (brings_copies(m, view) && !may_be_replaced()) {
        return None;
    }
    let what = if is_new { "was to get a replica" } else { "keeps its replica" };
    Some(format!("broker {broker}, which {what}, has died"))
}

/// Why the moves that would be given up for others are not, while nothing new may be started.
fn keeps_from_giving_up(work: &Reassign, view: &View<'_>, leave: &Leave) -> Option<String> {
    let Leave::OnlyCleaning(reason) = leave else { return None };
    let copies = work.moves.iter().filter(|m| matches!(m.phase, MovePhase::Copying { .. }));
    let held = copies.filter(|m| hopeless(m, view, leave).is_none() && is_listed_as_ours(m, view));
    held.filter(|m| hopeless(m, view, &Leave::Any).is_some()).map(|_| reason.clone()).next()
}

fn next_wave(work: &mut Reassign, view: &View<'_>, limits: &ExecutionLimits, load: &mut Load) -> Next {
    if let Some(bytes_per_second) = work.throttle_bytes_per_second
        && !work.throttle_set
    {
        let throttle = match &work.throttle {
            Some(asked) if asked.entries.is_some() => asked.clone(),
            _ => throttle_for(work, view, bytes_per_second),
        };
        work.throttle = Some(throttle.clone());
        return Next::Act(ReassignStep::SetThrottle(settable(throttle, work.failures, view)));
    }
    if let Some(before) = work.lost_before {
        let lost = view.lost_on_live_brokers();
        let patience_over =
            work.idle_since.is_some_and(|since| view.now.tick.since(since) >= limits.shrink_patience);
        if lost > before && !patience_over {
            let reason = format!(
                "{} partitions have lost an in-sync replica on a live broker since the last wave",
                lost - before
            );
            return Next::Wait(Some(reason));
        }
    }
    let chosen = choose(&work.moves, load, view, limits);
    if chosen.is_empty() {
        return Next::Wait(None);
    }
    work.lost_before = Some(view.lost_on_live_brokers());
    let mut moves = Vec::with_capacity(chosen.len());
    for index in chosen {
        let m = &mut work.moves[index];
        m.phase = MovePhase::Submitting;
        m.tries = m.tries.saturating_add(1);
        m.unlisted_since = None;
        moves.push(m.order.clone());
    }
    Next::Act(ReassignStep::Submit { moves })
}

/// The throttle of all brokers and topics that take part.
fn throttle_for(work: &Reassign, view: &View<'_>, bytes_per_second: u64) -> Throttle {
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
fn settable(mut throttle: Throttle, failures: u32, view: &View<'_>) -> Throttle {
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

fn start(execution: &mut Execution, step: ReassignStep, now: Now) -> Progressed {
    let (kind, result) = match &step {
        ReassignStep::SetThrottle(throttle) => {
            let rate = throttle.bytes_per_second;
            (
                StepKind::SetThrottle,
                format!("setting a throttle of {rate} bytes/s on {} brokers", throttle.brokers.len()),
            )
        }
        ReassignStep::Submit { moves } => (StepKind::Submit, format!("submitting {} moves", moves.len())),
        ReassignStep::Cancel { moves } => (StepKind::Cancel, format!("cancelling {} moves", moves.len())),
        ReassignStep::ClearThrottle(_) => (StepKind::ClearThrottle, "removing the throttle".to_owned()),
    };
    let detail = serde_json::to_value(&step).unwrap_or_default();
    execution.sequence = execution.sequence.saturating_add(1);
    let sequence = execution.sequence;
    // Which of its configs are free is only asked at first.
    let only_asks = matches!(&step, ReassignStep::SetThrottle(throttle) if throttle.entries.is_none());
    let mut tried_before = false;
    if let Work::Reassign(work) = &mut execution.work {
        work.under_way = Some(UnderWay { sequence, step: kind });
        work.sent = true;
        tried_before = work.failures > 0;
        for m in work.moves.iter_mut().filter(|m| m.phase.is_in_flight()) {
            // Until the answer is in, no look at the cluster is known to be younger than the act.
            if matches!(m.phase, MovePhase::Submitting | MovePhase::Cancelling { .. }) {
                m.look_from = m.look_from.max(now.tick);
            }
        }
    }
    let mut event = execution.event.clone();
    event.payload = detail.clone();
    let mut progressed = Progressed { act: Some(event), ..Progressed::default() };
    if !tried_before && !only_asks {
        progressed.lines.push(Line::of(RecordKind::Act, execution).result(result).detail(detail));
    }
    progressed
}

/// Takes in what came of the act `sequence`.
pub(crate) fn settle(
    execution: &mut Execution,
    sequence: u32,
    result: Result<Done, ActError>,
    now: Now,
    limits: &ExecutionLimits,
) -> Progressed {
    let mut progressed = Progressed::default();
    let Work::Reassign(work) = &mut execution.work else { return progressed };
    let Some(under_way) = work.under_way.filter(|under_way| under_way.sequence == sequence) else {
        return progressed;
    };
    work.under_way = None;
    work.sent = false;
    let first_failure = work.failures == 0;
    let rest = if under_way.step == StepKind::ClearThrottle { rest_of_throttle(&result) } else { None };
    let mut trouble = match &result {
        Err(error) => Some(error.message.clone()),
        Ok(done) => rest.is_some().then(|| done.summary.clone()),
    };
    if trouble.is_some() {
        work.failures = work.failures.saturating_add(1);
        work.not_before = now.tick.plus(limits.wait_after(work.failures));
    } else {
        work.failures = 0;
    }
    let mut accepted = 0;
    match under_way.step {
        StepKind::SetThrottle => settle_set_throttle(work, &result, limits),
        StepKind::ClearThrottle if result.is_ok() => {
            work.throttle = rest;
            work.throttle_set = false;
        }
        StepKind::ClearThrottle => {}
        StepKind::Submit => {
            let answer = answer_of(&result);
            trouble = trouble.or_else(|| answer.as_ref().and_then(words_of));
            accepted = settle_submit(work, answer, &result, now, limits);
        }
        StepKind::Cancel => {
            for m in work.moves.iter_mut().filter(|m| matches!(m.phase, MovePhase::Cancelling { .. })) {
                m.look_from = now.tick;
            }
        }
    }
    if let (Some(trouble), true) = (trouble, first_failure) {
        let line = Line::of(RecordKind::Outcome, execution).result(format!("failed: {trouble}"));
        progressed.lines.push(line.severity(Severity::Warning));
    }
    if accepted > 0 {
        progressed.follow_ups.push(notice(execution, accepted));
    }
    if let Ok(done) = result {
        progressed.follow_ups.extend(done.follow_ups);
    }
    progressed
}

/// What is left of a throttle that was taken away in part.
fn rest_of_throttle(result: &Result<Done, ActError>) -> Option<Throttle> {
    let rest = serde_json::from_value::<Throttle>(result.as_ref().ok()?.detail.clone()).ok()?;
    rest.entries.as_ref().is_some_and(|entries| !entries.is_empty()).then_some(rest)
}

fn settle_set_throttle(work: &mut Reassign, result: &Result<Done, ActError>, limits: &ExecutionLimits) {
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

fn answer_of(result: &Result<Done, ActError>) -> Option<ReassignResult> {
    serde_json::from_value(result.as_ref().ok()?.detail.clone()).ok()
}

/// What went wrong with single partitions, in words.
fn words_of(answer: &ReassignResult) -> Option<String> {
    let (what, list) =
        [("refused", &answer.refused), ("unclear", &answer.unknown), ("skipped", &answer.skipped)]
            .into_iter()
            .find(|(_, list)| !list.is_empty())?;
    let (partition, why) = list.first()?;
    let more = if list.len() > 1 { format!(" (and {} more)", list.len() - 1) } else { String::new() };
    Some(format!("{what}: {partition}: {why}{more}"))
}

/// Returns how many moves were accepted.
fn settle_submit(
    work: &mut Reassign,
    answer: Option<ReassignResult>,
    result: &Result<Done, ActError>,
    now: Now,
    limits: &ExecutionLimits,
) -> usize {
    let answer = answer.unwrap_or_default();
    let accepted: BTreeSet<TopicPartition> = answer.accepted.into_iter().collect();
    let refused = answer.refused.into_iter().map(|(p, why)| (p, format!("refused: {why}")));
    let dropped: BTreeMap<TopicPartition, String> = answer.skipped.into_iter().chain(refused).collect();
    let mut count = 0;
    for m in work.moves.iter_mut().filter(|m| m.phase == MovePhase::Submitting) {
        m.look_from = now.tick;
        m.unlisted_since = None;
        if accepted.contains(&m.order.partition) {
            m.phase = MovePhase::Copying { since: now.wall };
            m.tries = 0;
            count += 1;
        } else if let Some(why) = dropped.get(&m.order.partition) {
            m.phase = MovePhase::Dropped { why: why.clone() };
        } else if let Err(error) = result
            && !error.maybe_applied
        {
            m.phase = if error.retry && m.tries < limits.max_tries {
                MovePhase::Waiting
            } else {
                MovePhase::Dropped { why: error.message.clone() }
            };
        }
        // Else nothing is known of it: it stays `Submitting` until a look at the cluster tells.
    }
    count
}

/// Tells people that moves were submitted.
fn notice(execution: &Execution, accepted: usize) -> Event {
    let event = &execution.event;
    let message = Message {
        subject: format!("{accepted} partitions are being moved"),
        body: event.reason.clone(),
        severity: Severity::Warning,
    };
    let mut notice = Event::new(names::NOTIFY_REASSIGNMENT, event.target.clone(), &event.reason, &message);
    notice.cause.clone_from(&event.cause);
    notice
}

fn end(execution: &mut Execution, view: &View<'_>) -> Progressed {
    let Work::Reassign(work) = &execution.work else { return Progressed::default() };
    let of = work.moves.len();
    let done = work.moves.iter().filter(|m| matches!(m.phase, MovePhase::Done { .. })).count();
    let dropped: Vec<(&TopicPartition, &String)> = work
        .moves
        .iter()
        .filter_map(|m| match &m.phase {
            MovePhase::Dropped { why } => Some((&m.order.partition, why)),
            _ => None,
        })
        .collect();
    let by_the_wall = || view.now.wall.since(execution.admitted);
    let took = duration_words(work.begun.map_or_else(by_the_wall, |begun| view.now.tick.since(begun)));
    let mut result = format!("{done} of {of} partitions moved in {took}");
    if let Some((partition, why)) = dropped.first() {
        let more = if dropped.len() > 1 { ", …" } else { "" };
        result.push_str(&format!("; {} given up ({partition}: {why}{more})", dropped.len()));
    }
    let detail = serde_json::json!({
        "moved": done,
        "of": of,
        "dropped": dropped.iter().take(500).map(|(p, why)| (p.to_string(), why.as_str())).collect::<BTreeMap<_, _>>(),
    });
    let mut progressed = Progressed::default();
    let severity = if dropped.is_empty() { Severity::Info } else { Severity::Warning };
    progressed.follow_ups.extend(election(execution, work, view));
    if let Some(throttle) = &work.throttle {
        result.push_str("; the throttle could not be removed");
        progressed.follow_ups.push(throttle_alert(execution, throttle));
    }
    let line = Line::of(RecordKind::Outcome, execution).result(&result).severity(severity).detail(detail);
    progressed.lines.push(line);
    execution.ended = Some((view.now.wall, result));
    progressed
}

/// Leadership goes to the first replica where it was replaced and is in sync.
fn election(execution: &Execution, work: &Reassign, view: &View<'_>) -> Option<Event> {
    let wants = |m: &&MoveState| {
        let first = m.order.to.first();
        matches!(m.phase, MovePhase::Done { .. })
            && first != m.order.from.first()
            && view.partition(&m.order.partition).is_some_and(|partition| {
                partition.leader.as_ref() != first && first.is_some_and(|first| partition.isr.contains(first))
            })
    };
    let partitions: Vec<TopicPartition> =
        work.moves.iter().filter(wants).map(|m| m.order.partition.clone()).collect();
    if partitions.is_empty() {
        return None;
    }
    let reason = format!("the first replica of {} partitions was replaced", partitions.len());
    let mut event = Event::new(names::ELECT_LEADERS, Target::Cluster, reason, &ElectLeaders { partitions });
    event.cause.clone_from(&execution.event.cause);
    Some(event)
}

fn throttle_alert(execution: &Execution, throttle: &Throttle) -> Event {
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
    use super::*;
    use crate::event::ReassignPartitions;
    use crate::execution::ExecutionId;
    use crate::time::Timestamp;

    fn throttled(id: u64, open: bool, entries: Vec<ThrottleEntry>) -> Arc<Execution> {
        let order = PartitionMove {
            partition: TopicPartition::new("orders", 0),
            from: vec![BrokerId(1)],
            to: vec![BrokerId(2)],
            dead: Vec::new(),
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
