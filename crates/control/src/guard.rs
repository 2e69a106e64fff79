//! The guard: the one place that says no.
//!
//! Each event passes the [`Check`]s in the order in which they are declared. The first that objects holds the event
//! and says why in words. An operator asks again in the next cycle, so that a hold needs no queue. What follows from moves
//! that are done, an election, is asked for once: it is admitted, and waits as an execution.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cluster::{BrokerId, TopicPartition};
use serde::{Deserialize, Serialize};

use crate::attributes::{
    LatelyReassigned, Liveness, Maintenance, OngoingReassignments, RecoveryOwner, Topics,
};
use crate::event::{Event, PartitionMove, ReassignPartitions, names};
use crate::execution::{CANCELLED_BY_OTHERS, Execution, MovePhase, Work};
use crate::finding::{Finding, Severity, Target};
use crate::guard::brake::Brake;
use crate::order::Wish;
use crate::replacement::OnDeadBroker;
use crate::state::State;
use crate::time::Timestamp;

pub mod brake;

pub(crate) mod replacing;

pub use self::replacing::{ACT_WITHOUT_OWNER, ANOTHER_SERVICE, NEIGHBOURS_UNKNOWN};

/// What the guard asks, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Does it follow from too many events in a row?
    Chain,
    /// Is it the cluster that it was?
    Identity,
    /// Did a person say "no new acts"?
    Paused,
    /// Was it begun before its action was put into a dry run?
    DryRun,
    /// Is the cluster, or the broker that it is about, under maintenance?
    Maintenance,
    /// Is what it was decided on known and fresh?
    Facts,
    /// Are so many brokers absent that the cause is likely to be something else?
    Brake,
    /// Does the recovery of the broker belong to somebody else?
    Owner,
    /// Is something of ours in flight for the same target?
    InFlight,
    /// Does someone else work on it?
    Foreign,
    /// Did the same fail a moment ago?
    CoolDown,
    /// Is enough under way already?
    Caps,
}

impl Check {
    /// Its public name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Identity => "identity",
            Self::Paused => "paused",
            Self::DryRun => "dry_run",
            Self::Maintenance => "maintenance",
            Self::Facts => "facts",
            Self::Brake => "brake",
            Self::Owner => "owner",
            Self::InFlight => "in_flight",
            Self::Foreign => "foreign",
            Self::CoolDown => "cool_down",
            Self::Caps => "caps",
        }
    }
}

/// What the guard allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardConfig {
    /// How old the view of the live brokers may be for an event that changes the cluster.
    pub max_liveness_age: Duration,
    /// How old the view of the topics may be for an event that changes the cluster.
    pub max_topics_age: Duration,
    /// The part of the known brokers that may be absent, in percent; one always may.
    pub brake_percent: u32,
    /// After this time, watched by us, healing goes on although many brokers are absent. `None`: never by itself.
    pub mass_failure_grace: Option<Duration>,
    /// How many executions that change the cluster may run at once.
    pub max_executions: usize,
    /// How many moves may be open at once, over all executions.
    pub max_moves: usize,
    /// How many events may follow from each other.
    pub max_chain: u32,
    /// How long a partition is left alone after its move was dropped; twice as long after each further time.
    pub cool_down: Duration,
    /// The longest that a partition is left alone.
    pub max_cool_down: Duration,
    /// How long after a replacement of a host was begun the next one may be begun.
    pub replacement_cooldown: Duration,
    /// Who owns the recovery of a dead broker.
    pub on_dead_broker: OnDeadBroker,
    /// How long healing waits for a replacement, where that comes first.
    pub replace_timeout: Duration,
}

impl Default for GuardConfig {
    /// Liveness is looked at every second: 10 s are ten looks that brought nothing. Topics are fetched at least every
    /// 30 s: 60 s allow for one fetch that failed. 10,000 moves are the replicas of one large broker, and bound the
    /// journal to some 5 MB. A new host has 30 minutes to come up.
    fn default() -> Self {
        Self {
            max_liveness_age: Duration::from_secs(10),
            max_topics_age: Duration::from_secs(60),
            brake_percent: 10,
            mass_failure_grace: Some(Duration::from_secs(3_600)),
            max_executions: 20,
            max_moves: 10_000,
            max_chain: 8,
            cool_down: Duration::from_secs(2),
            max_cool_down: Duration::from_secs(600),
            replacement_cooldown: Duration::from_secs(12 * 3_600),
            on_dead_broker: OnDeadBroker::Heal,
            replace_timeout: Duration::from_secs(1_800),
        }
    }
}

impl GuardConfig {
    /// What operators must know of it.
    pub(crate) fn recovery_owner(&self) -> RecoveryOwner {
        RecoveryOwner {
            on_dead_broker: self.on_dead_broker,
            replace_timeout: self.replace_timeout,
            replacement_cooldown: self.replacement_cooldown,
        }
    }
}

/// Whether an event may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may: this is what is left of it (partitions that must be left alone are taken out).
    Admit(Event),
    /// It may not, for this reason.
    Hold(Check, String),
}

/// An event that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Its name.
    pub event: String,
    /// What it is about.
    pub target: Target,
    /// Who asked for it.
    pub by: String,
    /// What objects.
    pub check: Check,
    /// Why, in words.
    pub reason: String,
}

/// Whether an event only tells people something. Messages are not held by pause, maintenance or brake.
pub fn is_message(event: &str) -> bool {
    event.starts_with("notify_") || event.starts_with("alert_") || event == names::REPORT_OPERATION
}

/// Whether an event is held by the brake.
fn is_braked(event: &str) -> bool {
    event == names::REASSIGN_PARTITIONS || event == names::REPLACE_INSTANCE
}

/// Whether the cycle was stopped before anything could be decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    /// It was not.
    No,
    /// By a monitor: only messages go out.
    Stopped(String),
    /// It is not the cluster that it was: nothing at all is done.
    OtherCluster(String),
}

/// What the guard looks at.
pub(crate) struct Guard<'a> {
    pub(crate) halt: &'a Halt,
    pub(crate) config: &'a GuardConfig,
    pub(crate) state: &'a State,
    pub(crate) brake: &'a Brake,
    /// All executions, those of this step included.
    pub(crate) executions: &'a [Arc<Execution>],
}

impl Guard<'_> {
    /// Admits or holds `event`, which follows from `depth` others.
    pub(crate) fn admit(&self, event: &Event, depth: u32) -> Admission {
        if depth > self.config.max_chain {
            return hold(Check::Chain, format!("it follows from {depth} other events"));
        }
        if let Halt::OtherCluster(reason) = self.halt {
            return hold(Check::Identity, reason.clone());
        }
        if is_message(&event.name) {
            return Admission::Admit(event.clone());
        }
        if event.name == names::ELECT_LEADERS && depth > 0 {
            // Nobody asks for it again. It becomes an execution that waits for as long as something objects.
            return Admission::Admit(event.clone());
        }
        if let Some((check, reason)) = self.objects_to_any(&event.name) {
            return Admission::Hold(check, reason);
        }
        if let Target::Broker(broker) = &event.target
            && let Some(wish) = self.broker_maintenance(*broker)
        {
            let reason = format!("broker {broker} is under maintenance{}", words(wish));
            return hold(Check::Maintenance, reason);
        }
        if event.name == names::REASSIGN_PARTITIONS {
            return self.admit_moves(event);
        }
        if event.name == names::REPLACE_INSTANCE
            && let Some((check, reason)) = self.objects_to_replacing(event)
        {
            return hold(check, reason);
        }
        self.admit_single(event)
    }

    /// What objects to every event of this name, whatever it is about: holds for what is running, too.
    pub(crate) fn objects_to_any(&self, event: &str) -> Option<(Check, String)> {
        let wishes = self.state.wishes();
        if is_message(event) {
            return None;
        }
        if let Some(wish) = &wishes.paused {
            return Some((Check::Paused, format!("paused{}", words(wish))));
        }
        let by_monitor = self.state.get::<Maintenance>().and_then(|fact| fact.value.cluster.as_ref());
        if let Some(wish) = wishes.maintenance.as_ref().or(by_monitor) {
            return Some((Check::Maintenance, format!("the cluster is under maintenance{}", words(wish))));
        }
        if let Halt::Stopped(reason) | Halt::OtherCluster(reason) = self.halt {
            return Some((Check::Facts, reason.clone()));
        }
        let live = self.state.fresh::<Liveness>(self.config.max_liveness_age).map(|_| ());
        let topics = self.state.fresh::<Topics>(self.config.max_topics_age).map(|_| ());
        if let Err(unknown) = live.and(topics) {
            return Some((Check::Facts, unknown.to_string()));
        }
        if let Some(reason) = self.disagreement().filter(|_| is_braked(event)) {
            return Some((Check::Facts, reason));
        }
        match self.brake {
            Brake::On(reason) | Brake::Unknown(reason) if is_braked(event) => {
                Some((Check::Brake, reason.clone()))
            }
            _ => None,
        }
    }

    /// Says so where not most of the brokers that answer have the same view of who is alive: more may be gone than is known.
    fn disagreement(&self) -> Option<String> {
        let Liveness { answered, agreeing, .. } = *self.state.get::<Liveness>()?.value;
        let differ = agreeing.saturating_mul(2) <= answered;
        differ.then(|| format!("of {answered} brokers that answer {agreeing} agree on who is alive"))
    }

    fn broker_maintenance(&self, broker: BrokerId) -> Option<&Wish> {
        let by_monitor = self.state.get::<Maintenance>().and_then(|fact| fact.value.brokers.get(&broker));
        self.state.wishes().broker_maintenance.get(&broker).or(by_monitor)
    }

    fn admit_single(&self, event: &Event) -> Admission {
        let running = || self.executions.iter().filter(|e| e.is_running() && !is_message(&e.event.name));
        if let Some(same) =
            running().find(|e| e.event.name == event.name && e.event.target == event.target && !e.dry_run)
        {
            let reason = format!("execution {} does the same for {} already", same.id.0, same.event.target);
            return hold(Check::InFlight, reason);
        }
        match self.full() {
            Some(reason) => hold(Check::Caps, reason),
            None => Admission::Admit(event.clone()),
        }
    }

    /// Says so where enough is running. What only waits for its throttle to be taken away does not count: brokers that stay away
    /// would keep everything else from being healed.
    fn full(&self) -> Option<String> {
        let counts = |e: &&Arc<Execution>| {
            let moves = e.moves();
            let only_cleans = !moves.is_empty() && moves.iter().all(|m| m.phase.is_final());
            e.is_running() && !is_message(&e.event.name) && !only_cleans
        };
        let running = self.executions.iter().filter(counts).count();
        (running >= self.config.max_executions).then(|| format!("{running} executions are running already"))
    }

    /// Takes out the partitions that must be left alone. Holds the event if none is left.
    fn admit_moves(&self, event: &Event) -> Admission {
        let mut order: ReassignPartitions = match event.payload_as() {
            Ok(order) => order,
            Err(error) => return hold(Check::Facts, format!("its payload cannot be read: {error}")),
        };
        if order.moves.is_empty() {
            return hold(Check::InFlight, "there is nothing to move".to_owned());
        }
        let running = || self.executions.iter().filter(|e| e.is_running() && !is_message(&e.event.name));
        let open: BTreeSet<&TopicPartition> = running()
            .flat_map(|e| e.moves())
            .filter(|m| !m.phase.is_final())
            .map(|m| &m.order.partition)
            .collect();
        let cooling = self.cooling();
        let mut why = BTreeMap::<Check, (usize, String)>::new();
        let mut seen = BTreeSet::new();
        order.moves.retain(|m| {
            let objection = if seen.insert(m.partition.clone()) {
                self.objection(m, &open, &cooling)
            } else {
                Some((Check::InFlight, format!("{} is in the same event twice", m.partition)))
            };
            let Some((check, reason)) = objection else { return true };
            why.entry(check).and_modify(|(count, _)| *count += 1).or_insert((1, reason));
            false
        });
        if order.moves.is_empty() {
            // Not empty before and empty after: there is at least one objection.
            let Some((check, (count, first))) = why.into_iter().next() else {
                return hold(Check::InFlight, "there is nothing to move".to_owned());
            };
            let more = if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
            return hold(check, format!("{first}{more}"));
        }
        let room = self.config.max_moves.saturating_sub(open.len());
        if room == 0 {
            return hold(Check::Caps, format!("{} moves are open already", open.len()));
        }
        if let Some(reason) = self.full() {
            return hold(Check::Caps, reason);
        }
        order.moves.truncate(room);
        let mut event = event.clone();
        event.payload = serde_json::to_value(&order).unwrap_or_default();
        Admission::Admit(event)
    }

    /// Why a single move must not be made.
    fn objection(
        &self,
        order: &PartitionMove,
        open: &BTreeSet<&TopicPartition>,
        cooling: &BTreeMap<&TopicPartition, Cooling<'_>>,
    ) -> Option<(Check, String)> {
        let partition = &order.partition;
        let concerned = order.added().chain(order.removed()).chain(order.dead.iter().copied());
        for broker in concerned {
            if let Some(wish) = self.broker_maintenance(broker) {
                let reason = format!("broker {broker} is under maintenance{}", words(wish));
                return Some((Check::Maintenance, reason));
            }
        }
        if let Some(reason) = order.dead.iter().find_map(|broker| self.is_replaced_first(*broker)) {
            return Some((Check::Owner, reason));
        }
        if open.contains(partition) {
            return Some((Check::InFlight, format!("{partition} is being moved by us already")));
        }
        let ongoing = self.state.get::<OngoingReassignments>();
        if ongoing.is_some_and(|fact| fact.value.0.contains_key(partition)) {
            return Some((Check::Foreign, format!("{partition} is being reassigned by someone else")));
        }
        if self.state.get::<LatelyReassigned>().is_some_and(|fact| fact.value.0.contains_key(partition)) {
            return Some((Check::Foreign, format!("a reassignment of {partition} has ended a moment ago")));
        }
        cooling.get(partition).map(|cooling| {
            let left = self.left(cooling).as_secs_f64().ceil();
            let what = match cooling.cancelled_by {
                Some(by) => format!("was cancelled by {by}"),
                None => format!("failed ({})", cooling.why),
            };
            let lift = if cooling.cancelled_by.is_some() { ", or after doctorkafka resume" } else { "" };
            let reason =
                format!("the last move of {partition} {what}, it is tried again in {left:.0} s{lift}");
            (Check::CoolDown, reason)
        })
    }

    /// The partitions whose last moves were dropped, while they are left alone for it: longer after each time, and longest after
    /// a person has cancelled one.
    fn cooling(&self) -> BTreeMap<&TopicPartition, Cooling<'_>> {
        let executions = self.executions.iter().map(|execution| &**execution);
        let mut failed = failed(executions);
        failed.retain(|_, cooling| !self.left(cooling).is_zero());
        failed
    }

    fn left(&self, cooling: &Cooling<'_>) -> Duration {
        // A clock that was set back must not make the wait longer than it is: `since` is never negative.
        cooling.wait(self.config).saturating_sub(self.state.now().wall.since(cooling.last))
    }
}

/// The partitions whose last moves were dropped. What a person cancelled and wants again does not count.
fn failed<'a>(executions: impl Iterator<Item = &'a Execution>) -> BTreeMap<&'a TopicPartition, Cooling<'a>> {
    let mut failed = BTreeMap::<&TopicPartition, Cooling<'_>>::new();
    for execution in executions {
        let Some((at, _)) = &execution.ended else { continue };
        let Work::Reassign(reassign) = &execution.work else { continue };
        if reassign.wanted_again {
            continue;
        }
        for m in &reassign.moves {
            let partition = &m.order.partition;
            match &m.phase {
                MovePhase::Dropped { why } => {
                    let times = failed.get(partition).map_or(0, |before| before.times);
                    // A person who cancels it with Kafka's own tool means the same as one who tells us to.
                    let others = (why == CANCELLED_BY_OTHERS).then_some("someone else");
                    let cancelled_by = reassign.cancelled.as_deref().or(others);
                    let times = times.saturating_add(1);
                    failed.insert(partition, Cooling { times, last: *at, cancelled_by, why });
                }
                MovePhase::Done { .. } => {
                    failed.remove(partition);
                }
                _ => {}
            }
        }
    }
    failed
}

/// The kind of the finding that moves fail again and again.
pub const MOVES_FAIL: &str = "moves_fail";

/// Says so while moves of the same partitions fail again and again: each try by itself is only a line in the log. It is over when
/// one succeeds, or when none has been tried for twice as long as it would have been left alone.
pub(crate) fn failing<'a>(
    executions: impl Iterator<Item = &'a Execution>,
    now: Timestamp,
    config: &GuardConfig,
) -> Option<Finding> {
    let mut failed = failed(executions);
    failed.retain(|_, cooling| {
        let shown = cooling.wait(config).saturating_mul(2).saturating_add(config.max_topics_age);
        cooling.times >= 2 && cooling.cancelled_by.is_none() && now.since(cooling.last) <= shown
    });
    let (first, cooling) = failed.first_key_value()?;
    let (s, are) = if failed.len() == 1 { ("", "has") } else { ("s", "have") };
    let message = format!(
        "moves of {} partition{s} {are} failed again and again, {} times of {first}: {}",
        failed.len(),
        cooling.times,
        cooling.why
    );
    let finding = Finding::new(MOVES_FAIL, Target::Cluster, Severity::Critical, message);
    let longest = brake::duration_words(config.max_cool_down);
    Some(finding.waiting_for(format!("the cause to be gone; they are tried again, at most every {longest}")))
}

/// A partition whose last move was dropped.
struct Cooling<'a> {
    /// How often in a row.
    times: u32,
    /// The last time.
    last: Timestamp,
    /// Who cancelled it.
    cancelled_by: Option<&'a str>,
    /// Why it was dropped.
    why: &'a str,
}

impl Cooling<'_> {
    /// How long it is left alone.
    fn wait(&self, config: &GuardConfig) -> Duration {
        let factor = 1_u32.checked_shl(self.times.saturating_sub(1)).unwrap_or(u32::MAX);
        match self.cancelled_by {
            Some(_) => config.max_cool_down,
            None => config.cool_down.saturating_mul(factor).min(config.max_cool_down),
        }
    }
}

/// Brokers under maintenance, by wish or by the monitor.
pub(crate) fn brokers_in_maintenance(state: &State) -> BTreeSet<BrokerId> {
    let by_wish = state.wishes().broker_maintenance.keys();
    let by_monitor = state.get::<Maintenance>().map(|fact| fact.value.brokers.keys());
    by_wish.chain(by_monitor.into_iter().flatten()).copied().collect()
}

fn hold(check: Check, reason: String) -> Admission {
    Admission::Hold(check, reason)
}

/// Who wants it and why, for the end of a sentence.
pub(crate) fn words(wish: &Wish) -> String {
    match (wish.by.is_empty(), wish.reason.is_empty()) {
        (true, true) => String::new(),
        (true, false) => format!(": {}", wish.reason),
        (false, true) => format!(" by {}", wish.by),
        (false, false) => format!(" by {}: {}", wish.by, wish.reason),
    }
}
