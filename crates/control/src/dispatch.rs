//! The dispatcher: what was admitted becomes executions, one for each action that subscribes to it. It also sees to
//! it that an event that is emitted in each cycle is delivered, and a hold is said, as often as it should be.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use cluster::BrokerId;

use crate::effect::Effect;
use crate::event::{Alerted, Event, Message, ReassignPartitions, Repeat, Resolved, names};
use crate::execution::once;
use crate::execution::{
    Execution, ExecutionId, ExecutionLimits, Leave, Load, Once, Progressed, Reassign, View, Work, hand_over,
};
use crate::execution::{progress, reassign};
use crate::finding::{Severity, Target};
use crate::guard::brake::{Brake, duration_words};
use crate::guard::{Admission, Check, Guard, GuardConfig, Halt, Held, is_message};
use crate::incident::{Change, Incident, Incidents};
use crate::memory::Memory;
use crate::record::{Line, RecordKind};
use crate::state::State;
use crate::step::{ActionKind, ActionSlot};
use crate::time::Now;

/// An event with who asked for it.
#[derive(Debug)]
pub(crate) struct Emitted {
    pub(crate) event: Event,
    pub(crate) by: String,
    /// How many events led to it.
    pub(crate) depth: u32,
}

/// What was said for events without an incident is forgotten when it has not applied for so long.
const FORGET_SAID: Duration = Duration::from_secs(600);

/// Of a dry run so many moves are said one by one; all of them are in the detail of its record.
const DRY_MOVES_SAID: usize = 100;

/// No more than so many events are handled in a step: a bound against operators that go mad.
const MAX_EVENTS: usize = 1_000;

/// What the second half of a step works on.
pub(crate) struct Dispatcher<'a> {
    pub(crate) actions: &'a [ActionSlot],
    pub(crate) guard: &'a GuardConfig,
    pub(crate) limits: &'a ExecutionLimits,
    pub(crate) halt: Halt,
    pub(crate) now: Now,
    pub(crate) memory: &'a mut Memory,
    pub(crate) incidents: Incidents,
    pub(crate) lines: Vec<Line>,
    pub(crate) acts: Vec<Effect>,
    pub(crate) held: Vec<Held>,
    pub(crate) queue: VecDeque<Emitted>,
}

impl Dispatcher<'_> {
    /// Takes each event in the queue through guard and dispatch, then takes the executions' next steps, until neither
    /// brings anything new. Bounded by the length of chains and the number of events.
    pub(crate) fn run(&mut self, state: &State, brake: &Brake) {
        let view = View::of(state);
        // First what runs: what is over by this look no longer stands in the way of what was decided on it.
        self.advance(state, brake, &view);
        let mut handled = 0;
        loop {
            while let Some(emitted) = self.queue.pop_front() {
                handled += 1;
                if handled > MAX_EVENTS {
                    self.pass_over(&emitted);
                    break;
                }
                self.admit(emitted, state, brake);
            }
            self.advance(state, brake, &view);
            if self.queue.is_empty() || handled > MAX_EVENTS {
                break;
            }
        }
        let now = self.now.tick;
        self.memory.said.retain(|_, last| now.since(*last) <= FORGET_SAID);
        self.memory.delivered.retain(|_, (last, every)| now.since(*last) <= *every);
    }

    /// What is left in the queue is passed over. Operators ask again in the next step; what follows from an act does not come again.
    fn pass_over(&mut self, next: &Emitted) {
        let count = self.queue.len().saturating_add(1);
        self.queue.clear();
        if self.memory.said.insert(format!("passed over by {}", next.by), self.now.tick).is_none() {
            let event = &next.event;
            let result = format!(
                "{count} events are passed over, this is the first: more than {MAX_EVENTS} came in one step"
            );
            let line = Line::new(RecordKind::Hold, &next.by, &event.name, &event.target);
            self.lines.push(line.because(&event.reason).result(result).severity(Severity::Warning));
        }
    }

    fn admit(&mut self, emitted: Emitted, state: &State, brake: &Brake) {
        if !self.is_due(&emitted.event) || self.is_only_a_dry_run_that_was_said(&emitted.event) {
            return;
        }
        let guard =
            Guard { halt: &self.halt, config: self.guard, state, brake, executions: &self.memory.executions };
        match guard.admit(&emitted.event, emitted.depth) {
            Admission::Admit(event) => self.dispatch(event, &emitted),
            Admission::Hold(check, reason) => self.hold(&emitted, check, reason),
        }
    }

    /// Whether an event that is emitted again and again is to be delivered in this cycle.
    fn is_due(&mut self, event: &Event) -> bool {
        let wall = self.now.wall;
        let snoozed = self.incident_of(event).and_then(|incident| incident.snoozed_until);
        if is_message(&event.name) && snoozed.is_some_and(|until| wall < until) {
            return false;
        }
        let every = match event.repeat {
            Repeat::Always => return true,
            Repeat::OncePerIncident => None,
            Repeat::Every(time) => Some(time),
        };
        let mark = mark_of(event, "");
        if let Some(incident) = self.incident_of(event) {
            let last = incident.done.get(&mark).copied();
            return last.is_none_or(|last| every.is_some_and(|every| wall.since(last) >= every));
        }
        // Without an incident there is nothing that says when it is over: it is, when it has not been asked for in
        // a while.
        let tick = self.now.tick;
        if let Some(every) = every {
            let last = self.memory.delivered.get(&mark);
            return last.is_none_or(|(last, _)| tick.since(*last) >= every);
        }
        match self.memory.said.get_mut(&format!("{mark} once")) {
            Some(last) => {
                *last = tick;
                false
            }
            None => true,
        }
    }

    /// Spares the guard a plan of thousands of moves that comes again in every cycle of a dry run.
    fn is_only_a_dry_run_that_was_said(&mut self, event: &Event) -> bool {
        if self.incident_of(event).is_none() {
            return false;
        }
        let slots: Vec<&ActionSlot> =
            self.actions.iter().filter(|slot| slot.subscribed.contains(&event.name)).collect();
        let marks: Vec<String> = slots.iter().map(|slot| self.dry_mark(event, slot)).collect();
        let said = |mark: &String| self.memory.said.contains_key(mark);
        if slots.is_empty() || !slots.iter().all(|slot| slot.dry_run) || !marks.iter().all(said) {
            return false;
        }
        let now = self.now.tick;
        self.memory.said.extend(marks.into_iter().map(|mark| (mark, now)));
        true
    }

    /// That a dry run was said: once for each incident, and again by another process, whose output starts anew.
    fn dry_mark(&self, event: &Event, slot: &ActionSlot) -> String {
        let incident = event.cause.as_ref().and_then(|cause| self.incidents.open.get(cause));
        let incident = incident.map_or(String::new(), |incident| format!(" of incident {}", incident.id));
        format!("{}{incident}", mark_of(event, &dry_run_of(slot)))
    }

    fn incident_of(&mut self, event: &Event) -> Option<&mut Incident> {
        self.incidents.open.get_mut(event.cause.as_ref()?)
    }

    /// Marks something as done or said for the event, and returns whether it was not before.
    fn is_new(&mut self, event: &Event, what: &str) -> bool {
        let mark = mark_of(event, what);
        let now = self.now;
        match self.incident_of(event) {
            Some(incident) => incident.done.insert(mark, now.wall).is_none(),
            None => self.memory.said.insert(mark, now.tick).is_none(),
        }
    }

    pub(crate) fn hold(&mut self, emitted: &Emitted, check: Check, reason: String) {
        let event = &emitted.event;
        // That we are at it already is said by the execution.
        let is_news = check != Check::InFlight || emitted.depth > 0;
        if is_news && self.is_new(event, &format!("held by {}", check.name())) {
            let line = Line::new(RecordKind::Hold, &emitted.by, &event.name, &event.target)
                .because(&event.reason)
                .caused_by(event.cause.as_ref())
                .result(format!("held: {reason}"))
                .severity(Severity::Warning)
                .dry(event.dry_run);
            self.lines.push(line);
        }
        self.held.push(Held {
            event: event.name.clone(),
            target: event.target.clone(),
            by: emitted.by.clone(),
            check,
            reason,
        });
    }

    /// One execution for each action that subscribes.
    fn dispatch(&mut self, event: Event, emitted: &Emitted) {
        let now = self.now;
        let mark = mark_of(&event, "");
        let by_name = event.name.clone();
        match self.incident_of(&event) {
            Some(incident) => {
                incident.done.insert(by_name, now.wall);
                incident.done.insert(mark, now.wall);
            }
            None => match event.repeat {
                Repeat::Always => {}
                Repeat::OncePerIncident => {
                    self.memory.said.insert(format!("{mark} once"), now.tick);
                }
                Repeat::Every(every) => {
                    self.memory.delivered.insert(mark, (now.tick, every));
                }
            },
        }
        let slots: Vec<&ActionSlot> =
            self.actions.iter().filter(|slot| slot.subscribed.contains(&event.name)).collect();
        if let (false, Some(alert)) = (slots.is_empty(), alerted(&event))
            && let Some(incident) = event.cause.as_ref().and_then(|cause| self.incidents.open.get_mut(cause))
        {
            incident.alerted(alert);
        }
        let is_order = !is_message(&event.name);
        if slots.is_empty() && is_order && self.is_new(&event, "unheard") {
            self.decision(&event, emitted, "admitted, but no action subscribes to it".to_owned(), false);
        }
        if slots.is_empty() && is_alert(&event) && self.is_new(&event, "unheard") {
            self.unheard_alert(&event, emitted);
        }
        for slot in slots {
            let dry_run = slot.dry_run || (event.dry_run && !is_message(&event.name));
            if !dry_run {
                self.decision(&event, emitted, format!("admitted, for {}", slot.name), event.dry_run);
                self.start(slot, &event, emitted, false);
            } else if self.memory.said.insert(self.dry_mark(&event, slot), now.tick).is_none() {
                self.decision(&event, emitted, format!("admitted, for a dry run of {}", slot.name), true);
                self.start(slot, &event, emitted, true);
            }
        }
    }

    /// An alert that goes out to nobody is in the log and in the audit at least.
    fn unheard_alert(&mut self, event: &Event, emitted: &Emitted) {
        let message: Option<Message> = event.payload_as().ok();
        let (subject, severity) = message.map_or((event.reason.clone(), Severity::Warning), |message| {
            (message.subject, message.severity.max(Severity::Warning))
        });
        let line = Line::new(RecordKind::Decision, &emitted.by, &event.name, &event.target)
            .because(&event.reason)
            .caused_by(event.cause.as_ref())
            .result(format!("{subject} (told to nobody: no action subscribes to it)"))
            .severity(severity)
            .dry(event.dry_run);
        self.lines.push(line);
    }

    fn decision(&mut self, event: &Event, emitted: &Emitted, result: String, dry_run: bool) {
        let line = Line::new(RecordKind::Decision, &emitted.by, &event.name, &event.target)
            .because(&event.reason)
            .caused_by(event.cause.as_ref())
            .result(result)
            .dry(dry_run);
        self.lines.push(line);
    }

    fn start(&mut self, slot: &ActionSlot, event: &Event, emitted: &Emitted, dry_run: bool) {
        let mut event = event.clone();
        event.dry_run |= dry_run;
        let work = match slot.kind {
            ActionKind::Once => Work::Once(Once {
                at_most_once: slot.at_most_once,
                can_stop: slot.can_stop,
                ..Once::default()
            }),
            ActionKind::Reassign => {
                let order: ReassignPartitions = match event.payload_as() {
                    Ok(order) => order,
                    Err(error) => {
                        let result = format!("failed: its payload cannot be read: {error}");
                        self.decision(&event, emitted, result, dry_run);
                        return;
                    }
                };
                if dry_run {
                    self.say_moves(slot, &event, &order, emitted.depth);
                    return;
                }
                event.payload = serde_json::Value::Null;
                Work::Reassign(Reassign::new(order))
            }
        };
        let id = ExecutionId(self.memory.next_execution.max(1));
        self.memory.next_execution = id.0.saturating_add(1);
        // The number alone would come again after a state dir was lost.
        event.id = format!("{}-{}", self.now.wall.0, id.0);
        let mut execution = Execution::new(id, event, &slot.name, self.now.wall, work);
        execution.dry_run = dry_run;
        execution.depth = emitted.depth;
        if execution.event.name == names::REPLACE_INSTANCE && !execution.event.dry_run {
            Arc::make_mut(&mut self.memory.replacements).begin(&execution, self.now);
        }
        Arc::make_mut(&mut self.memory.executions).push(Arc::new(execution));
    }

    /// A dry run of moves needs no action: what would be done is in the event.
    fn say_moves(&mut self, slot: &ActionSlot, event: &Event, order: &ReassignPartitions, depth: u32) {
        let result = format!("dry run: would move {} partitions", order.moves.len());
        let line = Line::new(RecordKind::Outcome, &slot.name, &event.name, &event.target)
            .because(&event.reason)
            .caused_by(event.cause.as_ref())
            .result(&result)
            .dry(true)
            .detail(serde_json::to_value(order).unwrap_or_default());
        self.lines.push(line);
        for m in order.moves.iter().take(DRY_MOVES_SAID) {
            let ids = |ids: &[BrokerId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let result = format!("dry run: would move it from {} to {}", ids(&m.from), ids(&m.to));
            let target = Target::Partition(m.partition.clone());
            let line = Line::new(RecordKind::Outcome, &slot.name, &event.name, &target);
            let line = line.because(&m.reason).caused_by(event.cause.as_ref()).result(result).dry(true);
            self.lines.push(line);
        }
        let message = Message { subject: result, body: event.reason.clone(), severity: Severity::Warning };
        let mut notice =
            Event::new(names::NOTIFY_REASSIGNMENT, event.target.clone(), &event.reason, &message);
        notice.cause.clone_from(&event.cause);
        notice.dry_run = true;
        self.queue.push_back(Emitted {
            event: notice,
            by: slot.name.clone(),
            depth: depth.saturating_add(1),
        });
    }

    fn advance(&mut self, state: &State, brake: &Brake, view: &View<'_>) {
        hand_over(Arc::make_mut(&mut self.memory.executions).as_mut_slice());
        let executions = Arc::clone(&self.memory.executions);
        let halted = matches!(self.halt, Halt::OtherCluster(_));
        if halted || !executions.iter().any(|execution| execution.is_running()) {
            return;
        }
        let moves = executions.iter().filter(|e| e.is_running()).flat_map(|e| e.moves());
        let mut load = Load::of(moves, view, self.limits);
        // A stopped cycle has seen nothing that an execution could go by, and may have reached nothing.
        let blind = self.halt != Halt::No;
        let mut next = Vec::with_capacity(executions.len());
        for shared in executions.iter() {
            let is_blind = blind && matches!(shared.work, Work::Reassign(_));
            if !shared.is_running() || is_blind {
                next.push(Arc::clone(shared));
                continue;
            }
            let guard = Guard { halt: &self.halt, config: self.guard, state, brake, executions: &executions };
            let objection = self.objects_to_going_on(shared).or(guard.objects_to_any(&shared.event.name));
            // Without an objection, of the guard or of its own, it can only be the wave before that is waited for.
            let check = objection.as_ref().map_or(Check::Caps, |(check, _)| *check);
            let leave = match objection {
                Some((_, reason)) => Leave::OnlyCleaning(reason),
                None => Leave::Any,
            };
            let mut execution = Execution::clone(shared);
            let progressed = match execution.work {
                Work::Once(_) => once::next_step(&mut execution, &leave, self.now),
                Work::Reassign(_) => {
                    reassign::next_step(&mut execution, view, &leave, self.limits, &mut load)
                }
            };
            let check = progressed.postponed_by.unwrap_or(check);
            self.take(&execution, progressed, check);
            next.push(if execution == **shared { Arc::clone(shared) } else { Arc::new(execution) });
        }
        self.memory.executions = Arc::new(next);
    }

    /// Whether an execution was begun under another configuration, which allowed what the present one does not: it is
    /// followed, and what it set is taken away, but it submits nothing more.
    fn objects_to_going_on(&self, execution: &Execution) -> Option<(Check, String)> {
        if execution.dry_run {
            return None;
        }
        match self.actions.iter().find(|slot| slot.name == execution.action) {
            Some(slot) if !slot.dry_run => None,
            Some(slot) => Some((Check::DryRun, format!("{} is in a dry run now", slot.name))),
            None => Some((Check::DryRun, format!("there is no action {} any more", execution.action))),
        }
    }

    /// Takes in what a step of an execution brought.
    pub(crate) fn take(&mut self, execution: &Execution, progressed: Progressed, check: Check) {
        self.lines.extend(progressed.lines);
        if let Some(event) = progressed.act {
            self.acts.push(Effect::Act {
                execution: execution.id,
                sequence: execution.sequence,
                action: execution.action.clone(),
                event,
                dry_run: execution.dry_run,
            });
        }
        if progressed.stop {
            let (action, event) = (execution.action.clone(), execution.event.id.clone());
            self.acts.push(Effect::Stop { action, event });
        }
        if let Some(reason) = progressed.waits {
            let emitted = Emitted {
                event: execution.event.clone(),
                by: execution.action.clone(),
                depth: execution.depth,
            };
            // The loop may come by more than once in a step.
            let said = self.held.iter().any(|held| held.by == emitted.by && held.reason == reason);
            if !said {
                self.hold(&emitted, check, reason);
            }
        }
        for mut event in progressed.follow_ups {
            event.dry_run |= execution.dry_run || execution.event.dry_run;
            let depth = execution.depth.saturating_add(1);
            self.queue.push_back(Emitted { event, by: execution.action.clone(), depth });
        }
    }

    /// Forgets the oldest of the executions that have ended. Single calls are counted by themselves, so that many
    /// messages do not make it forget which moves have failed or were cancelled a moment ago.
    pub(crate) fn forget_ended(&mut self) {
        let mut ended = [0, 0];
        let mut moves = 0_usize;
        let mut forget = Vec::new();
        for execution in self.memory.executions.iter().rev().filter(|e| !e.is_running()) {
            let ended = &mut ended[usize::from(matches!(execution.work, Work::Reassign(_)))];
            *ended += 1;
            moves = moves.saturating_add(execution.moves().len());
            if *ended > self.limits.keep_ended || (*ended > 1 && moves > self.limits.keep_ended_moves) {
                forget.push(execution.id);
            }
        }
        if !forget.is_empty() {
            Arc::make_mut(&mut self.memory.executions).retain(|e| !forget.contains(&e.id));
        }
    }
}

/// The mark that an event was said by a dry run of an action.
fn dry_run_of(slot: &ActionSlot) -> String {
    format!("dry run of {}", slot.name)
}

/// The key under which something is marked for an event. The event's name alone where it is about the same as its
/// incident.
fn mark_of(event: &Event, what: &str) -> String {
    let mut mark = event.name.clone();
    if event.cause.as_ref().is_none_or(|cause| cause.subject != event.target) {
        mark.push_str(&format!(" {}", event.target));
    }
    if !what.is_empty() {
        mark.push_str(&format!(": {what}"));
    }
    mark
}

/// Whether somebody should look. The end of an alert is none: that it is over is in the audit anyway.
fn is_alert(event: &Event) -> bool {
    event.name.starts_with("alert_") && event.name != names::ALERT_RESOLVED
}

/// The event as an incident remembers it, if it is an alert that its end is told of.
fn alerted(event: &Event) -> Option<Alerted> {
    if !is_alert(event) {
        return None;
    }
    let severity = event.payload_as::<Message>().map_or(Severity::Warning, |message| message.severity);
    Some(Alerted { event: event.name.clone(), target: event.target.clone(), severity })
}

/// What people are told when an incident that they were alerted to is over.
pub(crate) fn resolved(change: &Change) -> Option<Event> {
    let Change::Resolved(closed) = change else { return None };
    if closed.alerts.is_empty() {
        return None;
    }
    let (kind, subject) = (&closed.key.kind, &closed.key.subject);
    let reason = format!("{kind} of {subject} is over after {}", duration_words(closed.lasted()));
    let names: Vec<&str> = closed.alerts.iter().map(|alert| alert.event.as_str()).collect();
    let message = Resolved {
        subject: format!("resolved: {}", closed.message),
        body: format!(
            "{reason}. What was said last: {}. Alerts of it: {}.",
            closed.message,
            names.join(", ")
        ),
        severity: Severity::Info,
        alerts: closed.alerts.clone(),
    };
    Some(Event::new(names::ALERT_RESOLVED, subject.clone(), reason, &message).caused_by(closed.key.clone()))
}

/// A critical incident has an alert of its own at once, if there is one; after this time the general one goes out.
const OWN_ALERT_FIRST: Duration = Duration::from_secs(10);

/// Alerts of critical incidents of which nobody was told by another one.
pub(crate) fn unalerted(incidents: &Incidents, now: Now) -> impl Iterator<Item = Event> {
    let concerned = move |incident: &&Incident| {
        let told_otherwise = incident.alerts.iter().any(|alert| alert.event != names::ALERT_INCIDENT);
        incident.severity == Severity::Critical && !told_otherwise && incident.lasted(now) >= OWN_ALERT_FIRST
    };
    incidents.open.values().filter(concerned).map(|incident| {
        let body = match &incident.waits_for {
            Some(what) => format!("{}.\nWaiting for: {what}.", incident.message),
            None => format!("{}.", incident.message),
        };
        let message = Message { subject: incident.message.clone(), body, severity: incident.severity };
        let about = incident.key.subject.clone();
        Event::new(names::ALERT_INCIDENT, about, incident.message.as_str(), &message)
            .caused_by(incident.key.clone())
            .repeated(Repeat::OncePerIncident)
    })
}

/// Events of the framework itself: alerts that go with its findings.
pub(crate) fn own_alerts(findings: &[crate::finding::Finding]) -> impl Iterator<Item = Event> {
    findings.iter().filter_map(progress::alert)
}
