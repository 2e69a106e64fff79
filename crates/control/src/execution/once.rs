//! Executions of a single call.

use crate::event::{Event, Message, ReplaceInstance, ReplaceResult, names};
use crate::execution::{End, Execution, ExecutionLimits, Leave, Once, Progressed, Work};
use crate::finding::Severity;
use crate::guard::is_message;
use crate::plugin::{ActError, Done};
use crate::record::{Line, RecordKind};
use crate::time::Now;

/// Built-in actions are idempotent: an act of which nothing is known is done again. Replacing a host twice is the
/// exception: the second time would hit the new one. What a script does is not known, so that it is an exception, too,
/// unless it only tells people something.
fn may_be_repeated(event: &str, once: &Once) -> bool {
    is_message(event) || !(once.at_most_once || event == names::REPLACE_INSTANCE)
}

/// Whether an order that was not begun at once is given up: a host must not be replaced on what was known some time ago.
fn is_decided_anew(event: &str) -> bool {
    event == names::REPLACE_INSTANCE
}

/// What an action that has not failed has done: of a replacement it may be that it has replaced nothing.
fn end_of(execution: &Execution, done: &Done) -> End {
    if execution.event.name != names::REPLACE_INSTANCE {
        return End::Done;
    }
    let result: ReplaceResult = serde_json::from_value(done.detail.clone()).unwrap_or_default();
    match result {
        ReplaceResult { not_started: true, .. } => End::NotStarted,
        ReplaceResult { restarted_in_vain: true, .. } => End::Restarted,
        ReplaceResult { restarted: true, .. } => End::Back,
        ReplaceResult { .. } => End::Done,
    }
}

/// Takes in what came of the act `sequence`.
pub(crate) fn settle(
    execution: &mut Execution,
    sequence: u32,
    result: Result<Done, ActError>,
    now: Now,
    limits: &ExecutionLimits,
) -> Progressed {
    let Work::Once(once) = &mut execution.work else { return Progressed::default() };
    if once.under_way != Some(sequence) {
        return Progressed::default();
    }
    once.under_way = None;
    match result {
        Ok(done) => {
            let mut progressed = Progressed::default();
            let how = end_of(execution, &done);
            end(execution, now, &done.summary, how, &mut progressed);
            progressed.follow_ups = done.follow_ups;
            progressed
        }
        Err(error) if error.maybe_applied && !may_be_repeated(&execution.event.name, once) => {
            let why = match once.cancelled.take() {
                Some(by) => format!("cancelled by {by}: {}", error.message),
                None => error.message,
            };
            give_up_unknown(execution, now, &why, End::Unknown)
        }
        Err(error) if error.retry && is_decided_anew(&execution.event.name) => {
            let cancelled = once.cancelled.take().map(|by| format!("cancelled by {by}: {}", error.message));
            // Nobody but a person gives a person's order again, and what a person has cancelled is not begun anew.
            match cancelled.or_else(|| is_by_hand(execution).then_some(error.message.clone())) {
                Some(why) => not_started(execution, now, &why),
                None => not_begun(execution, now, &error.message),
            }
        }
        Err(error) if error.retry && once.tries < limits.max_tries => {
            let wait = limits.wait_after(once.tries);
            once.not_before = now.tick.plus(wait);
            let result = format!("failed: {}; tried again in {:.0} s", error.message, wait.as_secs_f64());
            let line = Line::of(RecordKind::Outcome, execution).result(result).severity(Severity::Warning);
            Progressed { lines: vec![line], ..Progressed::default() }
        }
        Err(error) => {
            let mut progressed = Progressed::default();
            let result = format!("failed: {}", error.message);
            end(execution, now, &result, End::Failed, &mut progressed);
            progressed
        }
    }
}

/// Sends the act out, if it is its time.
pub(crate) fn next_step(execution: &mut Execution, leave: &Leave, now: Now) -> Progressed {
    let is_message = is_message(&execution.event.name);
    let Work::Once(once) = &mut execution.work else { return Progressed::default() };
    match once.under_way {
        Some(_) if once.sent => {
            return Progressed { stop: once.cancelled.is_some(), ..Progressed::default() };
        }
        Some(_) if !may_be_repeated(&execution.event.name, once) => {
            let why = "the service was stopped before the answer came";
            return give_up_unknown(execution, now, why, End::Unanswered);
        }
        _ => {}
    }
    if now.tick < once.not_before {
        return Progressed::default();
    }
    if let (Leave::OnlyCleaning(reason), true) = (leave, is_decided_anew(&execution.event.name)) {
        return not_begun(execution, now, reason);
    }
    if let (Leave::OnlyCleaning(reason), false) = (leave, is_message) {
        return Progressed { waits: Some(reason.clone()), ..Progressed::default() };
    }
    execution.sequence = execution.sequence.saturating_add(1);
    *once = Once {
        under_way: Some(execution.sequence),
        tries: once.tries.saturating_add(1),
        sent: true,
        ..once.clone()
    };
    let tries = once.tries;
    let result = if tries > 1 { format!("started, try {tries}") } else { "started".to_owned() };
    let line = Line::of(RecordKind::Act, execution).result(result);
    Progressed { act: Some(execution.event.clone()), lines: vec![line], ..Progressed::default() }
}

fn end(execution: &mut Execution, now: Now, result: &str, how: End, progressed: &mut Progressed) {
    let severity = match how {
        End::Done | End::Back => Severity::Info,
        End::NotBegun | End::Restarted => Severity::Warning,
        End::Failed | End::Unknown | End::Unanswered | End::NotStarted => Severity::Critical,
    };
    if let Work::Once(once) = &mut execution.work {
        once.end = Some(how);
    }
    execution.ended = Some((now.wall, result.to_owned()));
    progressed.lines.push(Line::of(RecordKind::Outcome, execution).result(result).severity(severity));
}

fn is_by_hand(execution: &Execution) -> bool {
    execution.event.payload_as::<ReplaceInstance>().is_ok_and(|order| order.by_hand)
}

fn not_started(execution: &mut Execution, now: Now, why: &str) -> Progressed {
    let mut progressed = Progressed::default();
    end(execution, now, &format!("not begun: {why}"), End::NotStarted, &mut progressed);
    progressed
}

fn not_begun(execution: &mut Execution, now: Now, why: &str) -> Progressed {
    let mut progressed = Progressed::default();
    end(execution, now, &format!("not begun: {why}"), End::NotBegun, &mut progressed);
    progressed
}

fn give_up_unknown(execution: &mut Execution, now: Now, why: &str, how: End) -> Progressed {
    let mut progressed = Progressed::default();
    let result = format!("unknown: {why}");
    end(execution, now, &result, how, &mut progressed);
    let event = &execution.event;
    let message = Message {
        subject: format!("it is not known what became of {} for {}", event.name, event.target),
        body: format!(
            "{why}. It is not repeated, because doing it twice could do harm: please look, and do it by hand if \
             it was not done."
        ),
        severity: Severity::Critical,
    };
    let mut alert =
        Event::new(names::ALERT_UNKNOWN_OUTCOME, event.target.clone(), &message.subject, &message);
    alert.cause.clone_from(&event.cause);
    progressed.follow_ups.push(alert);
    progressed
}
