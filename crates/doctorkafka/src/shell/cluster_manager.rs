//! The loop of one cluster: look, decide, act, for ever.
//!
//! Everything that takes time happens elsewhere: sources collect in their own tasks, acts run in theirs, and looking
//! and deciding run on a thread where they may take long. So neither a slow step nor a hanging action disturbs another
//! cluster, and a panic in any of them is an outcome or a failed cycle, never the end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use cluster::{ClusterId, Reader};
use control::config::HumanDuration;
use control::order::OrderKind;
use control::{
    Action, Contribution, Core, Effect, Finding, Inputs, KnownBrokers, Memory, Now, Order, Outcome,
    REPLACEMENTS, RecordKind, Replacements, Severity, State, Stepped, Target,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::acts::{ActLimits, Acts};
use super::journal::{Journal, JournalError};
use super::panics::{panic_words, panicked};
use super::snapshot::{ClusterHandle, OrderRequest, Shared, Snapshot};
use crate::plugin::{Clock, Source, Wake};
use crate::store::{Standing, Tenure, Term, in_words};

use self::alarm::Alarm;
pub use self::ground::LOOKS_ON;

/// The name under which the shell puts its own findings into a cycle. The core must have a source of this name in
/// its pipeline.
pub const SHELL_SOURCE: &str = "doctorkafka";

/// The kind of the finding that the state store cannot be read or written.
pub const STORE_TROUBLE: &str = "state_store_unusable";

/// What a loop is made of.
pub struct ClusterSetup {
    /// The configured name of the cluster.
    pub name: Arc<str>,
    /// The core with its plugins.
    pub core: Core,
    /// The source monitors.
    pub sources: Vec<Arc<dyn Source>>,
    /// The actions.
    pub actions: Vec<Arc<dyn Action>>,
    /// The way to the cluster that the plugins share.
    pub reader: Arc<dyn Reader>,
    /// The cluster's part of the state store.
    pub journal: Journal,
    /// Whether it may act.
    pub tenure: Arc<Tenure>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Wakes this loop.
    pub wake: Wake,
    /// Its bounds.
    pub limits: LoopLimits,
}

/// Bounds of a loop.
#[derive(Clone, Copy, Debug)]
pub struct LoopLimits {
    /// How often it runs when nothing wakes it.
    pub evaluation_interval: Duration,
    /// The shortest time from the end of a cycle to the beginning of the next, however often it is woken: so that it
    /// is never busier than half of the time with cycles of this length.
    pub shortest_pause: Duration,
    /// How long the first cycle waits for the sources to have seen something: a look at nothing would only say that
    /// nothing is known.
    pub first_look: Duration,
    /// How long to wait before a store that could not be read is read again.
    pub load_again: Duration,
    /// How long acts under way are waited for at the end.
    pub farewell: Duration,
    /// The same while a program runs that is asked to end then: that has 10 s for it.
    pub farewell_to_programs: Duration,
    /// Bounds of the acts.
    pub acts: ActLimits,
}

impl LoopLimits {
    /// The bounds of a loop that runs every `evaluation_interval`.
    pub fn every(evaluation_interval: Duration) -> Self {
        Self {
            evaluation_interval,
            shortest_pause: Duration::from_millis(50),
            // Within the second in which a service is to look after its start.
            first_look: Duration::from_millis(700),
            load_again: Duration::from_secs(5),
            // The service ends within 5 s: this leaves time for the last cycle and for closing connections.
            farewell: Duration::from_secs(2),
            farewell_to_programs: Duration::from_secs(12),
            acts: ActLimits::default(),
        }
    }
}

/// Orders that one cycle takes in; the rest waits for the next.
const ORDERS_A_CYCLE: usize = 64;
/// Orders that wait.
const ORDERS_WAITING: usize = 64;
/// Records, and reports of them, that wait for a store that cannot be written: the journal comes first.
const LATE: usize = 2_000;
/// A cycle that panics is tried again with the same outcomes and orders so often before they are dropped: they may
/// be what makes it panic.
const PANICS_WITH_THE_SAME: u32 = 3;

/// Runs the loop of one cluster.
pub struct ClusterManager {
    looking: Arc<Looking>,
    reader: Arc<dyn Reader>,
    /// Which cluster the reader was said to lead to.
    told: Option<ClusterId>,
    journal: Journal,
    clock: Arc<dyn Clock>,
    wake: Wake,
    limits: LoopLimits,
    acts: Acts,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    orders: mpsc::Receiver<OrderRequest>,
    shared: Arc<Shared>,
    tenure: Arc<Tenure>,
    /// The actions whose acts are not done twice.
    at_most_once: BTreeSet<String>,
    /// What is known to have been in the store of replacements.
    known_replacements: Arc<Replacements>,
    memory: Memory,
    /// The term in which `memory` was read from the store. Without one it is a memory to look with: nothing is done with it.
    term: Option<Term>,
    load_at: Option<Instant>,
    store_trouble: Option<String>,
    looks_on: Option<String>,
    /// Whether it is not the store that this service has worked with.
    is_another_store: bool,
    /// Whether somebody else has changed what was read.
    is_changed: bool,
    /// Whether which store it is has been learnt while another service acts.
    knows_store: bool,
    pending: Pending,
    alarm: Alarm,
    /// What is told once the store can be written again.
    late: VecDeque<Effect>,
    /// The answers to acts that were not sent out. They are given once the store can be written again: given at once,
    /// they would use up the tries of an act long before it can be done.
    refused: Vec<Outcome>,
    cycles: u64,
}

/// What looks and decides, on a thread where it may take long.
struct Looking {
    name: Arc<str>,
    core: Core,
    sources: Vec<Arc<dyn Source>>,
}

/// What has come in and has not been in a step that succeeded.
#[derive(Default)]
struct Pending {
    outcomes: Vec<Outcome>,
    orders: Vec<OrderRequest>,
    panics: u32,
}

impl ClusterManager {
    /// A loop, and how to reach it.
    pub fn new(setup: ClusterSetup) -> (Self, ClusterHandle) {
        let (acts, outcomes) = Acts::new(setup.actions, setup.limits.acts);
        let (orders_in, orders) = mpsc::channel(ORDERS_WAITING);
        let shared = Arc::new(Shared::default());
        let dry = setup.core.actions().iter().filter(|action| action.dry_run);
        let once = setup.core.actions().iter().filter(|action| action.at_most_once);
        let at_most_once = once.map(|action| action.name.clone()).collect();
        let handle = ClusterHandle {
            name: Arc::clone(&setup.name),
            evaluation_interval: setup.limits.evaluation_interval,
            dry_run: dry.map(|action| action.name.clone()).collect(),
            shared: Arc::clone(&shared),
            journal: setup.journal.clone(),
            orders: orders_in,
        };
        let manager = Self {
            looking: Arc::new(Looking { name: setup.name, core: setup.core, sources: setup.sources }),
            reader: setup.reader,
            told: None,
            journal: setup.journal,
            clock: setup.clock,
            wake: setup.wake,
            limits: setup.limits,
            acts,
            outcomes,
            orders,
            shared,
            tenure: setup.tenure,
            at_most_once,
            known_replacements: Arc::default(),
            memory: Memory::default(),
            term: None,
            load_at: None,
            store_trouble: None,
            looks_on: None,
            is_another_store: false,
            is_changed: false,
            knows_store: false,
            pending: Pending::default(),
            alarm: Alarm::default(),
            late: VecDeque::new(),
            refused: Vec::new(),
            cycles: 0,
        };
        (manager, handle)
    }

    /// Runs until `stop` becomes true, then waits for acts under way, bounded, and takes note of what came of them.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        self.load_if_due().await;
        self.tell_identity();
        self.say_what_is_open();
        // Whoever asks before the first cycle sees what is remembered.
        let (memory, trouble) = (self.memory.clone(), self.store_trouble.clone());
        let looks_on = self.looks_on.clone();
        self.publish(Snapshot { memory, trouble, looks_on, ..Snapshot::default() });
        self.tell_what_is_remembered();
        self.wait_for_first_look(&mut stop).await;
        while !*stop.borrow_and_update() {
            let began = Instant::now();
            self.cycle(false).await;
            let pause = began + self.limits.evaluation_interval;
            tokio::select! {
                () = stopped(&mut stop) => break,
                () = tokio::time::sleep(self.limits.shortest_pause) => {}
            }
            tokio::select! {
                () = stopped(&mut stop) => break,
                () = tokio::time::sleep_until(pause) => {}
                () = self.wake.woken() => {}
                Some(outcome) = self.outcomes.recv() => self.pending.outcomes.push(outcome),
                Some(order) = self.orders.recv() => self.pending.orders.push(order),
            }
        }
        self.end().await;
    }

    /// Whoever restarts a service to see what is wrong reads what was known to be wrong.
    fn say_what_is_open(&self) {
        let now = self.clock.now();
        for incident in self.memory.incidents.open.values().filter(|it| it.severity > Severity::Info) {
            let since = HumanDuration::seconds(incident.lasted(now).as_secs());
            tracing::info!(cluster = %self.looking.name, "not known to be over, for {since}: {}", incident.message);
        }
    }

    /// The sources look at brokers that were known before, also at those that are away, from the first look on.
    fn tell_what_is_remembered(&self) {
        let memory = &self.memory;
        let (incidents, executions) = (Arc::clone(&memory.incidents), Arc::clone(&memory.executions));
        let wishes = Arc::clone(&memory.wishes);
        let now = self.clock.now();
        let mut state = State::new(Arc::clone(&self.looking.name), now, incidents, executions, wishes);
        state.put(KnownBrokers(Arc::clone(&memory.brokers)), now.tick);
        self.looking.tell(&state);
    }

    /// The way to the cluster leads to the cluster that is remembered: whoever answers for another one is not believed,
    /// and gets no orders. It is told before anything is done that rests on it.
    fn tell_identity(&mut self) {
        if self.told != self.memory.cluster_id {
            self.reader.expect_cluster(self.memory.cluster_id.as_ref());
            self.told.clone_from(&self.memory.cluster_id);
        }
    }

    /// Until all sources have something to show, as far as the core's readers could tell.
    async fn wait_for_first_look(&self, stop: &mut watch::Receiver<bool>) {
        let until = Instant::now() + self.limits.first_look;
        loop {
            let now = self.clock.now();
            let looking = Arc::clone(&self.looking);
            let ready = tokio::task::spawn_blocking(move || looking.is_ready(now)).await;
            if ready.unwrap_or(true) || Instant::now() >= until {
                return;
            }
            tokio::select! {
                () = stopped(stop) => return,
                () = tokio::time::sleep_until(until) => {}
                () = self.wake.woken() => {}
            }
        }
    }

    async fn end(&mut self) {
        // A program is not left in the middle of what it does without a word: it may put that in order.
        let stops = self.acts.stop_all();
        let limit = if stops { self.limits.farewell_to_programs } else { self.limits.farewell };
        let deadline = Instant::now() + limit;
        // Twice: what came of the acts makes the last records, and those are on their way then.
        for _ in 0..2 {
            while self.acts.under_way() > 0 {
                match tokio::time::timeout_at(deadline, self.outcomes.recv()).await {
                    Ok(Some(outcome)) => self.pending.outcomes.push(outcome),
                    _ => break,
                }
            }
            self.cycle(true).await;
        }
        while self.acts.has_left() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if self.acts.under_way() > 0 {
            tracing::warn!(cluster = %self.looking.name, acts = self.acts.under_way(),
                "ended while acts were under way; what became of them is looked up at the next start");
        }
    }

    async fn cycle(&mut self, last: bool) {
        self.load_if_due().await;
        while let Ok(outcome) = self.outcomes.try_recv() {
            self.pending.outcomes.push(outcome);
        }
        while self.pending.orders.len() < ORDERS_A_CYCLE
            && let Ok(order) = self.orders.try_recv()
        {
            self.pending.orders.push(order);
        }
        self.refuse_orders_without_store();
        if last && self.pending.outcomes.is_empty() && self.pending.orders.is_empty() {
            return;
        }
        let now = self.clock.now();
        let began = Instant::now();
        self.cycles += 1;
        match self.step(now, last).await {
            Ok((memory, stepped)) => {
                self.memory = memory;
                self.tenure.heed(Arc::clone(&self.memory.wishes));
                self.tell_identity();
                let answers = self.take_orders(&stepped);
                let Stepped { effects, state, held, stopped, .. } = stepped;
                let written = self.carry_out(effects, last).await;
                answer(answers, &written, self.is_changed);
                let trouble = self.store_trouble.clone();
                let state = Some(Arc::new(state));
                self.publish(Snapshot { state, held, stopped, trouble, ..self.snapshot(now, began) });
            }
            Err(why) => self.after_panic(now, began, why),
        }
        self.sound_alarm(now);
    }

    /// Looks and decides. The memory is only replaced by a step that came to its end.
    async fn step(&mut self, now: Now, ending: bool) -> Result<(Memory, Stepped), String> {
        let looking = Arc::clone(&self.looking);
        let mut memory = self.memory.clone();
        let outcomes = self.pending.outcomes.clone();
        let orders = self.pending.orders.iter().map(|request| request.order.clone()).collect();
        let own = self.own_findings();
        let work = move || {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                let contributions = looking.gather(now, own);
                let inputs = Inputs { contributions, outcomes, orders, ending };
                let stepped = looking.core.step(&mut memory, inputs, now);
                looking.tell(&stepped.state);
                stepped
            }));
            caught.map(|stepped| (memory, stepped)).map_err(|panic| panic_words(&*panic))
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|ended| Err(ended.to_string()))
    }

    fn after_panic(&mut self, now: Now, began: Instant, why: String) {
        tracing::error!(cluster = %self.looking.name, panic = %why, "a cycle panicked, nothing was done in it");
        self.pending.panics += 1;
        if self.pending.panics >= PANICS_WITH_THE_SAME {
            self.drop_pending(&why);
        }
        let before = self.shared.snapshot();
        let trouble = Some(format!("the last cycle failed: {why}"));
        let (state, held) = (before.state.clone(), before.held.clone());
        self.publish(Snapshot { state, held, trouble, at: before.at, ..self.snapshot(now, began) });
    }

    /// What came in is dropped: it may be what makes the cycles panic. Acts whose answers are among it are looked up in the cluster
    /// as after a restart.
    fn drop_pending(&mut self, why: &str) {
        let pending = std::mem::take(&mut self.pending);
        self.memory.lose_answers(&pending.outcomes);
        for request in pending.orders {
            // Whoever asked may have gone.
            let _ = request
                .answer
                .send(Err(format!("it was not carried out, as the cycle failed with it: {why}")));
        }
    }

    fn snapshot(&self, now: Now, began: Instant) -> Snapshot {
        Snapshot {
            at: Some(now),
            took: began.elapsed(),
            cycles: self.cycles,
            memory: self.memory.clone(),
            looks_on: self.looks_on.clone(),
            acts: self.acts.under_way(),
            deliveries: self.acts.deliveries(),
            ..Snapshot::default()
        }
    }

    fn publish(&self, snapshot: Snapshot) {
        self.shared.publish(snapshot);
    }

    /// Pairs the orders of this step with what the core says of them.
    fn take_orders(&mut self, stepped: &Stepped) -> Vec<(OrderRequest, String)> {
        let pending = std::mem::take(&mut self.pending);
        let mut said = stepped.effects.iter().filter_map(|effect| match effect {
            Effect::Record(record) if record.kind == RecordKind::Order => Some(record.result.clone()),
            _ => None,
        });
        // Each order has one record, in the order of the orders, before those of the core itself.
        pending.orders.into_iter().map(|order| (order, said.next().unwrap_or_default())).collect()
    }

    /// Carries the effects out in their order. Returns why what had to be durable is not.
    async fn carry_out(&mut self, effects: Vec<Effect>, last: bool) -> Result<(), String> {
        if self.term.is_none() {
            return self.only_tell(effects);
        }
        let mut written = self.may_still_act();
        for effect in effects {
            match (effect, &written) {
                (Effect::Persist { key, value }, Ok(())) => {
                    let persisted = self.journal.persist(&key, value.as_ref()).await;
                    if persisted.is_ok() && key == REPLACEMENTS {
                        self.known_replacements = Arc::clone(&self.memory.replacements);
                    }
                    self.is_changed |= persisted.as_ref().is_err_and(JournalError::is_conflict);
                    written = persisted.map_err(|error| in_words(&error));
                }
                (Effect::Persist { .. }, Err(_)) => {}
                (effect, Ok(())) => match self.may_still_act() {
                    Ok(()) => {
                        self.tell_what_is_late();
                        self.tell_or_do(effect, last);
                    }
                    Err(why) => {
                        self.keep_for_later(effect, &why);
                        written = Err(why);
                    }
                },
                (effect, Err(why)) => self.keep_for_later(effect, why),
            }
        }
        self.after_writing(&written);
        written
    }

    /// Without the store: the audit goes on, in this process alone. An act that is not done is none.
    fn only_tell(&self, effects: Vec<Effect>) -> Result<(), String> {
        for effect in effects {
            if let Effect::Record(record) = effect
                && record.kind != RecordKind::Act
            {
                self.shared.audit.take(record);
            }
        }
        Err(self.looks_on.clone().or_else(|| self.store_trouble.clone()).unwrap_or_default())
    }

    fn tell_or_do(&self, effect: Effect, last: bool) {
        match effect {
            Effect::Record(record) => self.shared.audit.take(record),
            Effect::Stop { action, event } => self.acts.stop(&action, &event),
            // At the end only the audit is completed.
            act if last && !is_report(&act) => self.acts.refuse(&act, "the service is ending"),
            act => self.acts.start(act),
        }
    }

    fn keep_for_later(&mut self, effect: Effect, why: &str) {
        if let Effect::Record(record) = effect {
            // Nobody need wait to read what is wrong. An act that is not done is none.
            if record.kind != RecordKind::Act {
                self.shared.audit.take(record);
            }
        } else if is_report(&effect) {
            if self.late.len() >= LATE {
                self.late.pop_front();
            }
            self.late.push_back(effect);
        } else {
            // Bounded by the executions: each has one act under way at most.
            self.refused.extend(effect.not_done(why));
        }
    }

    fn tell_what_is_late(&mut self) {
        for effect in std::mem::take(&mut self.late) {
            self.tell_or_do(effect, false);
        }
    }

    fn after_writing(&mut self, written: &Result<(), String>) {
        let cluster = &self.looking.name;
        match written {
            Ok(()) => {
                if self.store_trouble.take().is_some() {
                    tracing::info!(%cluster, "the state store can be written again");
                }
                self.pending.outcomes.append(&mut self.refused);
            }
            Err(why) => {
                if self.store_trouble.is_none() {
                    tracing::warn!(%cluster, error = %why,
                        "the state store cannot be written, nothing is done until it can be");
                }
                self.store_trouble = Some(why.clone());
                // Everything is written again in the next cycle, and the acts come again.
                self.memory.forget_what_is_saved();
            }
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The sender is gone: nobody can stop the loop any more, so that it must not go on.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn is_report(effect: &Effect) -> bool {
    matches!(effect, Effect::Act { event, .. } if event.name == control::event::names::REPORT_OPERATION)
}

fn answer(answers: Vec<(OrderRequest, String)>, written: &Result<(), String>, read_anew: bool) {
    for (request, said) in answers {
        let result = match written {
            Ok(()) => Ok(said),
            Err(why) if read_anew => Err(format!("not carried out, please repeat it: {why}")),
            Err(why) => Err(format!(
                "it holds now, but could not be written down, and a restart may forget it: {why}"
            )),
        };
        // Whoever asked may have gone.
        let _ = request.answer.send(result);
    }
}

impl Looking {
    /// Asks each source for its newest view. One that panics is a finding.
    fn gather(&self, now: Now, own: Vec<Finding>) -> BTreeMap<String, Contribution> {
        let mut contributions = BTreeMap::new();
        let mut findings = own;
        for source in &self.sources {
            let name = source.name();
            match catch_unwind(AssertUnwindSafe(|| source.latest(now))) {
                Ok(contribution) => {
                    contributions.insert(name.to_owned(), contribution);
                }
                Err(panic) => findings.push(panicked("monitor", name, &*panic)),
            }
        }
        contributions.insert(SHELL_SOURCE.to_owned(), Contribution { findings, ..Contribution::default() });
        contributions
    }

    /// Whether every source has something to show. One that panics will not have more later.
    fn is_ready(&self, now: Now) -> bool {
        self.sources.iter().all(|source| {
            let latest = catch_unwind(AssertUnwindSafe(|| source.latest(now)));
            latest.map_or(true, |latest| !latest.attributes.is_empty() || !latest.findings.is_empty())
        })
    }

    fn tell(&self, state: &State) {
        for source in &self.sources {
            if catch_unwind(AssertUnwindSafe(|| source.after_cycle(state))).is_err() {
                tracing::error!(cluster = %self.name, monitor = source.name(), "a monitor panicked");
            }
        }
    }
}

mod alarm;
mod ground;

#[cfg(test)]
mod tests;
