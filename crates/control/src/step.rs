//! One step of the core: from what came in to what is to be done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use cluster::BrokerId;

use crate::attributes::{KnownBrokers, Liveness, MayGiveUp, Topics};
use crate::by_hand;
use crate::dispatch::{Dispatcher, Emitted, own_alerts, resolved, unalerted};
use crate::effect::{Contribution, Effect, Inputs, Outcome};
use crate::event::{Event, names};
use crate::execution::{ExecutionId, ExecutionLimits, Work, once, progress, reassign};
use crate::finding::{Finding, Severity, Target};
use crate::guard::brake::{self, MASS_FAILURE};
use crate::guard::{Check, Guard, GuardConfig, Halt, Held, failing};
use crate::incident::{Change, FoldLimits, IncidentKey, Incidents, Look, fold};
use crate::memory::{KnownBroker, Memory};
use crate::orders;
use crate::output;
use crate::plugin::{Flow, Operator};
use crate::record::{CORE, Line, Record, RecordKind};
use crate::replacement::{self, OnDeadBroker};
use crate::state::{NamedValue, State};
use crate::time::{Now, Timestamp};

mod parts;

use self::parts::check;
pub use self::parts::{
    ActionKind, ActionSlot, ConfigProblem, ConfigWarning, CoreConfig, MonitorSlot, OWN_EVENTS,
};

/// The core of one cluster: its plugins, and what they may do.
pub struct Core {
    cluster: Arc<str>,
    monitors: Vec<MonitorSlot>,
    operators: Vec<Box<dyn Operator>>,
    actions: Vec<ActionSlot>,
    guard: GuardConfig,
    limits: ExecutionLimits,
    fold: FoldLimits,
}

/// What a step brought.
#[must_use]
#[derive(Debug)]
pub struct Stepped {
    /// What the shell has to do, in this order.
    pub effects: Vec<Effect>,
    /// The picture of the cluster after the step, for those who show it.
    pub state: State,
    /// The events that are held, with the reasons.
    pub held: Vec<Held>,
    /// Whether the cycle was stopped by a monitor, so that nothing was decided.
    pub stopped: bool,
    /// Whether moves are under way: topics and reassignments should be looked at every second then, because only a
    /// look that is younger than an act tells what became of it.
    pub moving: bool,
}

/// The kind of the finding that the cluster is not the one that is remembered.
pub const IDENTITY_MISMATCH: &str = "identity_mismatch";

/// What sources say of a cluster. After a restart it holds until they have seen it.
const UNTIL_SEEN: [&str; 6] = [
    IDENTITY_MISMATCH,
    "cluster_unreachable",
    "identity_conflict",
    "may_not_reassign",
    "metadata_unreadable",
    "security_refused",
];

/// A broker that has been absent for so long and holds no replica is forgotten: it was taken out of service.
const FORGET_BROKER: Duration = Duration::from_secs(24 * 3600);

impl Core {
    /// A core from its parts.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn new(config: CoreConfig) -> Result<(Self, Vec<ConfigWarning>), Vec<ConfigProblem>> {
        let warnings = check(&config)?;
        let mut guard = config.guard;
        if !config.actions.iter().any(ActionSlot::replaces_hosts) {
            // A dry run replaces nothing that healing could wait for.
            guard.on_dead_broker = OnDeadBroker::Heal;
        }
        let core = Self {
            cluster: config.cluster.into(),
            monitors: config.monitors,
            operators: config.operators,
            actions: config.actions,
            guard,
            limits: config.limits,
            fold: config.incidents,
        };
        Ok((core, warnings))
    }

    /// The actions.
    pub fn actions(&self) -> &[ActionSlot] {
        &self.actions
    }

    /// Takes one step. Equal memory, inputs and time give equal effects.
    ///
    /// For each [`Effect::Act`] the shell must bring back an [`Outcome`] within bounded time; for one that it could not
    /// send out, that of [`Effect::not_done`]. If writing to the store failed, it must also call
    /// [`Memory::forget_what_is_saved`].
    pub fn step(&self, memory: &mut Memory, inputs: Inputs, now: Now) -> Stepped {
        let applied = orders::apply(memory, inputs.orders, now);
        let ending = inputs.ending;
        let (by_hand, first_new) = (applied.by_hand, memory.next_execution);
        let mut lines = applied.lines;
        let mut queue: VecDeque<Emitted> = applied.events.into_iter().map(own).collect();
        self.settle(memory, inputs.outcomes, now, &mut lines, &mut queue);
        let (mut state, mut halt) = self.picture(memory, inputs.contributions, now);
        if ending && halt == Halt::No {
            halt = Halt::Stopped("the service ends".to_owned());
        }
        lines.extend(output::lines(&state, &memory.executions));
        let (brake, mass_failure) = brake::assess(&state, &self.guard, &mut memory.brake);
        if let (true, Some(finding)) = (memory.brake.holds_again, &mass_failure) {
            // Whoever was told that healing goes on must hear that it does not any more.
            let incidents = Arc::make_mut(&mut memory.incidents);
            if let Some(incident) = incidents.open.get_mut(&IncidentKey::from(finding)) {
                incident.done.remove(names::ALERT_MASS_FAILURE);
            }
        }
        let (incidents, changes) = if halt == Halt::No {
            self.remember(memory, &state);
            if let Some(finding) = &mass_failure {
                state.report(finding.clone());
            }
            queue.extend(brake::alert(&brake, mass_failure.as_ref()).map(own));
            queue.extend(own_alerts(state.findings()).map(own));
            self.operate(memory, &mut state, &mut queue, &mut lines)
        } else {
            fold(Incidents::clone(&memory.incidents), state.findings(), now, Look::Stopped, &self.fold)
        };
        let guard = Guard {
            halt: &halt,
            config: &self.guard,
            state: &state,
            brake: &brake,
            executions: &memory.executions,
        };
        let refused = by_hand::decide_for_plugins(&self.operators, &self.actions, &guard, &mut queue);
        let begun = by_hand::decide(by_hand, &self.operators, &self.actions, &guard, &mut queue, &mut lines);
        lines.extend(changes.iter().map(|change| line_of(change, &incidents)));
        if self.actions.iter().any(|slot| slot.subscribed.iter().any(|event| event == names::ALERT_INCIDENT))
        {
            queue.extend(unalerted(&incidents, now).map(own));
        }
        queue.extend(changes.iter().filter_map(resolved).map(own));
        let mut work = Dispatcher {
            actions: &self.actions,
            guard: &self.guard,
            limits: &self.limits,
            halt,
            now,
            memory,
            incidents,
            lines,
            acts: Vec::new(),
            held: Vec::new(),
            queue,
        };
        for (emitted, why) in refused {
            work.hold(&emitted, Check::Owner, why);
        }
        work.run(&state, &brake);
        by_hand::answer(&begun, &work.memory.executions, first_new, &work.held, &mut work.lines);
        work.forget_ended();
        self.finish(work, state)
    }

    /// The picture of the cluster, and what is remembered of it; and whether nothing may be decided on it.
    fn picture(
        &self,
        memory: &mut Memory,
        contributions: BTreeMap<String, Contribution>,
        now: Now,
    ) -> (State, Halt) {
        let mut state = State::new(
            Arc::clone(&self.cluster),
            now,
            Arc::clone(&memory.incidents),
            Arc::clone(&memory.executions),
            Arc::clone(&memory.wishes),
        );
        state.put(KnownBrokers(Arc::clone(&memory.brokers)), now.tick);
        let halt = self.look(memory, &mut state, contributions);
        if state.get::<Liveness>().is_none() {
            let said: Vec<IncidentKey> = state.findings().iter().map(IncidentKey::from).collect();
            let open = memory.incidents.unseen(&UNTIL_SEEN);
            let open = open.filter(|finding| !said.contains(&IncidentKey::from(finding)));
            open.for_each(|finding| state.report(finding));
        }
        replacement::follow(&mut memory.replacements, &memory.executions, &state);
        state.insert(NamedValue::of(Arc::clone(&memory.replacements), now.tick));
        state.put(self.guard.recovery_owner(), now.tick);
        let running = memory.executions.iter().map(|execution| &**execution);
        for finding in progress::findings(running, now.wall, &self.limits) {
            state.report(finding);
        }
        let executions = memory.executions.iter().map(|execution| &**execution);
        if let Some(finding) = failing(executions, now.wall, &self.guard) {
            state.report(finding);
        }
        (state, halt)
    }

    /// Takes in what came of earlier acts.
    fn settle(
        &self,
        memory: &mut Memory,
        outcomes: Vec<Outcome>,
        now: Now,
        lines: &mut Vec<Line>,
        queue: &mut VecDeque<Emitted>,
    ) {
        for outcome in outcomes {
            let Ok(position) = memory.executions.binary_search_by_key(&outcome.execution, |e| e.id) else {
                continue;
            };
            let executions = Arc::make_mut(&mut memory.executions);
            let execution = Arc::make_mut(&mut executions[position]);
            if !execution.is_running() {
                continue;
            }
            let settle = match execution.work {
                Work::Once(_) => once::settle,
                Work::Reassign(_) => reassign::settle,
            };
            let progressed = settle(execution, outcome.sequence, outcome.result, now, &self.limits);
            lines.extend(progressed.lines);
            let dry_run = execution.dry_run || execution.event.dry_run;
            queue.extend(progressed.follow_ups.into_iter().map(|mut event| {
                event.dry_run |= dry_run;
                Emitted { event, by: execution.action.clone(), depth: execution.depth.saturating_add(1) }
            }));
        }
    }

    /// Runs the monitors.
    fn look(
        &self,
        memory: &mut Memory,
        state: &mut State,
        mut contributions: BTreeMap<String, Contribution>,
    ) -> Halt {
        for slot in &self.monitors {
            match slot {
                MonitorSlot::Source(name) => {
                    let Some(contribution) = contributions.remove(name) else { continue };
                    for attribute in contribution.attributes {
                        state.insert(attribute);
                    }
                    for finding in contribution.findings {
                        state.report(finding);
                    }
                    if let Some(finding) = mismatch(memory, state) {
                        let reason = finding.message.clone();
                        state.report(finding);
                        return Halt::OtherCluster(reason);
                    }
                    // The monitors behind it need to know which replicas have just been added.
                    memory.reassigned.see(state);
                }
                MonitorSlot::Deriving(monitor) => {
                    if monitor.observe(state) == Flow::Stop {
                        return Halt::Stopped(format!("monitor {} has stopped the cycle", monitor.name()));
                    }
                }
            }
        }
        Halt::No
    }

    /// Remembers who the cluster is, and the brokers that are seen alive or are registered.
    fn remember(&self, memory: &mut Memory, state: &State) {
        let Ok(liveness) = state.fresh::<Liveness>(self.guard.max_liveness_age) else { return };
        if memory.cluster_id.is_none() {
            memory.cluster_id = Some(liveness.cluster_id.clone());
        }
        let now = state.now().wall;
        let brokers = Arc::make_mut(&mut memory.brokers);
        for (id, broker) in &liveness.live {
            let new = || KnownBroker { broker: broker.clone(), last_live: now, listed: None };
            let seen = brokers.entry(*id).or_insert_with(new);
            seen.last_live = now;
            if seen.broker != *broker {
                seen.broker.clone_from(broker);
            }
        }
        for (id, broker) in &liveness.fenced {
            let last_live = Timestamp::default();
            let never = || KnownBroker { broker: broker.clone(), last_live, listed: None };
            brokers.entry(*id).or_insert_with(never);
        }
        memory.comparison.look(state, brokers);
        let is_gone = |id: &BrokerId, known: &KnownBroker| {
            !liveness.live.contains_key(id)
                && !liveness.fenced.contains_key(id)
                && now.since(known.last_live) > FORGET_BROKER
        };
        if !brokers.iter().any(|(id, known)| is_gone(id, known)) {
            return;
        }
        let Ok(topics) = state.fresh::<Topics>(self.guard.max_topics_age) else { return };
        let partitions = topics.0.values().flat_map(|topic| &topic.partitions);
        let used: BTreeSet<BrokerId> = partitions.flat_map(|p| p.replicas.iter().copied()).collect();
        brokers.retain(|id, known| used.contains(id) || !is_gone(id, known));
    }

    /// Folds what the monitors found, lets the operators decide on it, and folds what they found.
    fn operate(
        &self,
        memory: &mut Memory,
        state: &mut State,
        queue: &mut VecDeque<Emitted>,
        lines: &mut Vec<Line>,
    ) -> (Incidents, Vec<Change>) {
        let now = state.now();
        let before = Incidents::clone(&memory.incidents);
        let (incidents, mut changes) = fold(before, state.findings(), now, Look::Monitors, &self.fold);
        state.set_incidents(Arc::new(incidents));
        let mut may_give_up = BTreeSet::new();
        for operator in &self.operators {
            let verdict = operator.operate(state);
            may_give_up.extend(verdict.may_give_up);
            let emit = |event| Emitted { event, by: operator.name().to_owned(), depth: 0 };
            queue.extend(verdict.events.into_iter().map(emit));
            for finding in verdict.findings {
                state.report(finding);
            }
        }
        if !may_give_up.is_empty() {
            state.put(MayGiveUp(may_give_up), now.tick);
        }
        let incidents = state.take_incidents();
        let (incidents, more) = fold(incidents, state.findings(), now, Look::All, &self.fold);
        changes.extend(more);
        let mass_failure = incidents.get(MASS_FAILURE, &Target::Cluster).is_some();
        if !mass_failure && memory.wishes.approved.is_some() {
            let wishes = Arc::make_mut(&mut memory.wishes);
            (wishes.approved, wishes.approved_brokers) = (None, None);
            let line = Line::new(RecordKind::Order, CORE, "approve", &Target::Cluster);
            lines.push(line.because("there is no mass failure").result("the approval is over"));
        }
        (incidents, changes)
    }

    /// Puts together what is to be done.
    fn finish(&self, work: Dispatcher<'_>, mut state: State) -> Stepped {
        let Dispatcher { memory, incidents, lines, acts, held, halt, now, .. } = work;
        memory.incidents = Arc::new(incidents);
        state.set_incidents(Arc::clone(&memory.incidents));
        state.set_work(Arc::clone(&memory.executions), Arc::clone(&memory.wishes));
        let mut records = Vec::with_capacity(lines.len());
        for line in lines {
            let cluster_id = memory.cluster_id.as_ref().map(|id| &*id.0);
            records.push(line.into_record(memory.next_record, now.wall, &self.cluster, cluster_id));
            memory.next_record = memory.next_record.saturating_add(1);
        }
        let mut effects = memory.changes(now.tick);
        let mut reports = Vec::new();
        for record in records {
            if !matches!(halt, Halt::OtherCluster(_)) {
                reports.extend(self.reports(&record));
            }
            effects.push(Effect::Record(record));
        }
        effects.extend(acts);
        effects.extend(reports);
        let moving = memory.executions.iter().any(|e| e.is_running() && !e.moves().is_empty());
        Stepped { effects, state, held, stopped: halt != Halt::No, moving }
    }

    /// Hands a record to the actions that report operations. These acts belong to no execution, and make no records.
    fn reports(&self, record: &Record) -> Vec<Effect> {
        let subscribed =
            |slot: &&ActionSlot| slot.subscribed.iter().any(|name| name == names::REPORT_OPERATION);
        let slots = self.actions.iter().filter(subscribed);
        let act = |slot: &ActionSlot| {
            let reason = &record.operation;
            let mut event = Event::new(names::REPORT_OPERATION, record.target.clone(), reason, record);
            event.dry_run = record.dry_run;
            Effect::Act {
                execution: ExecutionId(0),
                sequence: u32::try_from(record.sequence % (1 << 32)).unwrap_or_default(),
                action: slot.name.clone(),
                event,
                dry_run: slot.dry_run,
            }
        };
        slots.map(act).collect()
    }
}

/// An event of the framework itself.
fn own(event: Event) -> Emitted {
    Emitted { event, by: CORE.to_owned(), depth: 0 }
}

/// Whether the cluster is another one than the one that is remembered.
fn mismatch(memory: &Memory, state: &State) -> Option<Finding> {
    let seen = &state.get::<Liveness>()?.value.cluster_id;
    let remembered = memory.cluster_id.as_ref()?;
    if seen == remembered {
        return None;
    }
    let message = format!("the cluster.id is {seen}, it was {remembered}: nothing is done to this cluster");
    let finding = Finding::new(IDENTITY_MISMATCH, Target::Cluster, Severity::Critical, message);
    Some(finding.waiting_for("a person to correct the addresses, or to accept the new identity"))
}

fn line_of(change: &Change, incidents: &Incidents) -> Line {
    let line =
        |key: &crate::incident::IncidentKey| Line::new(RecordKind::Incident, CORE, &key.kind, &key.subject);
    match change {
        Change::Opened(key) | Change::Raised(key, _) | Change::Grown(key) => {
            let result = match change {
                Change::Raised(_, before) => format!("raised from {}", severity_name(*before)),
                Change::Grown(_) => "has become worse".to_owned(),
                _ => "opened".to_owned(),
            };
            let incident = incidents.open.get(key);
            line(key)
                .because(incident.map_or("", |incident| incident.message.as_str()))
                .severity(incident.map_or(Severity::Info, |incident| incident.severity))
                .result(result)
        }
        Change::Resolved(closed) => {
            let lasted = brake::duration_words(closed.lasted());
            line(&closed.key).because(&closed.message).result(format!("resolved after {lasted}"))
        }
    }
}

fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}
