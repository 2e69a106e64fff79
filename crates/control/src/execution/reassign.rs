//! Executions that move replicas, in waves.

use std::collections::{BTreeMap, BTreeSet};

use cluster::TopicPartition;

use crate::event::{ElectLeaders, Event, Message, PartitionMove, ReassignResult, ReassignStep, names};
use crate::execution::last_look::RESTS_ON_IT;
use crate::execution::observe::{
    View, brings_copies, is_costly_to_cancel, is_listed_as_ours, not_yet, objection, observe,
    waits_for_the_dead,
};
use crate::execution::throttle::{
    rest_of_throttle, settable, settle_set_throttle, throttle_alert, throttle_for,
};
use crate::execution::wave::{Load, choose, copies_nothing};
use crate::execution::{
    Execution, ExecutionLimits, Leave, MovePhase, MoveState, Progressed, Reassign, StepKind, UnderWay, Work,
};
use crate::finding::{Severity, Target};
use crate::guard::Check;
use crate::guard::brake::duration_words;
use crate::plugin::{ActError, Done};
use crate::record::{Line, RecordKind};
use crate::time::Now;

/// What is to be done next.
enum Next {
    /// Nothing, for a reason where there is one that people should know.
    Wait(Option<String>),
    /// Nothing, because this objects to every move that waits.
    Postpone(Check, String),
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
    let next = next(work, view, leave, limits, load);
    // Leaders do not wait for a throttle that may be there for days.
    let leaders_wait = work.only_its_throttle_is_left();
    let mut progressed = match next {
        Next::Wait(reason) => Progressed { waits: reason, ..Progressed::default() },
        Next::Postpone(check, reason) => {
            Progressed { waits: Some(reason), postponed_by: Some(check), ..Progressed::default() }
        }
        Next::Act(step) => start(execution, step, view.now),
        Next::End => end(execution, view),
    };
    if leaders_wait {
        progressed.follow_ups.extend(election(execution, view));
    }
    progressed
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
    // What waits for ever, as for a leader that is dead, takes nothing of a broker, so that it cannot be why others fall behind.
    if work.moves.iter().any(|m| m.phase.is_in_flight() && !copies_nothing(m, view)) {
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
        let by_order = work.cancelled.is_some();
        return Next::Act(ReassignStep::Cancel { moves: to_cancel, by_order });
    }
    if work.moves.iter().all(|m| m.phase.is_final()) {
        return match &work.throttle {
            None => Next::End,
            Some(_) if work.leave_throttle => Next::End,
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
        Leave::Any if waiting().all(|m| not_yet(m, view).is_some()) => postponed(work, view),
        Leave::Any => next_wave(work, view, limits, load),
    }
}

/// What the first of the moves that may not go out yet waits for, if there is one.
fn postponed(work: &Reassign, view: &View<'_>) -> Next {
    let mut waiting = work.moves.iter().filter(|m| m.phase == MovePhase::Waiting);
    waiting
        .find_map(|m| not_yet(m, view))
        .map_or(Next::Wait(None), |(check, reason)| Next::Postpone(check, reason))
}

pub(super) fn drop_waiting(moves: &mut [MoveState], why: impl Fn(&MoveState) -> Option<String>) {
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
        to_cancel.push(PartitionMove::clone(&m.order));
    }
    to_cancel
}

/// Why a move will not end by itself, where it costs nothing to cancel it, and anything may be done. One that copies goes on
/// doing so until another can be made in its place, and is no worse: it may be the only copy that is being made.
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
        return postponed(work, view);
    }
    work.lost_before = Some(view.lost_on_live_brokers());
    let mut moves = Vec::with_capacity(chosen.len());
    for index in chosen {
        let m = &mut work.moves[index];
        m.phase = MovePhase::Submitting;
        m.tries = m.tries.saturating_add(1);
        m.unlisted_since = None;
        moves.push(PartitionMove::clone(&m.order));
    }
    Next::Act(ReassignStep::Submit { moves })
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
        ReassignStep::Cancel { moves, .. } => (StepKind::Cancel, format!("cancelling {} moves", moves.len())),
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
            let skipped = answer_of(&result).map(|answer| answer.skipped).unwrap_or_default();
            let kept: BTreeSet<TopicPartition> =
                skipped.into_iter().filter(|(_, why)| why == RESTS_ON_IT).map(|(at, _)| at).collect();
            for m in work.moves.iter_mut().filter(|m| matches!(m.phase, MovePhase::Cancelling { .. })) {
                m.look_from = now.tick;
                // Only what was taken and had no effect counts: while nobody can be reached, it is tried on.
                if result.is_err() {
                    m.tries = m.tries.saturating_sub(1);
                }
                // It goes on, and is given up when it costs nothing.
                if kept.contains(&m.order.partition) {
                    m.phase = MovePhase::Copying { since: now.wall };
                    m.tries = 0;
                }
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
    let throttle = work.throttle.clone();
    let by = work.cancelled.clone().unwrap_or_default();
    let mut severity = if dropped.is_empty() { Severity::Info } else { Severity::Warning };
    progressed.follow_ups.extend(election(execution, view));
    if let Some(throttle) = &throttle {
        result.push_str(&format!("; the throttle was left on {} by {by}", throttle.places()));
        severity = Severity::Critical;
        progressed.follow_ups.push(throttle_alert(execution, throttle));
    }
    let line = Line::of(RecordKind::Outcome, execution).result(&result).severity(severity).detail(detail);
    progressed.lines.push(line);
    execution.ended = Some((view.now.wall, result));
    progressed
}

/// Leadership goes to the first replica where it was replaced and is in sync. It is asked for once.
fn election(execution: &mut Execution, view: &View<'_>) -> Option<Event> {
    let Work::Reassign(work) = &mut execution.work else { return None };
    if std::mem::replace(&mut work.elected, true) {
        return None;
    }
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
