//! Judges what we send by the truth of the world, which the core does not see.
//!
//! The rules are those that must hold whatever happens, whatever the core believes: a fact that it goes by may be some
//! seconds old, and no older.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster::{BrokerId, TopicPartition};
use control::acts::moves::Batch;
use control::event::{PartitionMove, names};
use control::execution::Work;
use control::{Execution, ExecutionId, Liveness, Memory, OngoingReassignments, State, Topics};
use serde_json::Value;

use super::DriverConfig;
use crate::time::Moment;
use crate::world::World;

/// How much earlier than the controller we may find a broker gone: the session allowance of the monitor.
const EARLIER: Duration = Duration::from_secs(20);
/// How long a broker without replicas counts among those that are away.
const GONE_COUNTS: Duration = Duration::from_secs(10 * 60);
/// How old topics and reassignments may be, as the operator and the guard have it.
const METADATA_AGE: Duration = Duration::from_secs(90);
/// How old the knowledge of who is alive may be.
const LIVENESS_AGE: Duration = Duration::from_secs(10);
/// A broker's metadata are behind by less than this, unless they stand still.
const METADATA_DELAY: Duration = Duration::from_secs(1);

/// Judges acts, and keeps what was wrong with them.
#[derive(Debug)]
pub(super) struct Judge {
    /// A broker is not given up before it has been away for so long.
    grace: Duration,
    /// For so long nobody may have gone when healing goes on by itself although many are away; `None`: it never does.
    mass_failure_grace: Option<Duration>,
    /// How old a fact may be that is acted on: who is alive, and two looks.
    lag: Duration,
    /// From one look to the next: what comes and goes between them is not seen.
    gap: Duration,
    /// From which look on nothing may be changed, and why.
    forbidden: Option<(Moment, &'static str)>,
    /// When the look was that the acts follow from which are sent.
    look: Moment,
    /// What we have asked for last, by partition.
    ours: BTreeMap<TopicPartition, Vec<BrokerId>>,
    /// What the present act has read, as it was in truth.
    seen: BTreeMap<TopicPartition, Seen>,
    /// How many replicas were in sync before what is sent.
    in_sync: BTreeMap<TopicPartition, usize>,
    wrongs: Vec<String>,
}

/// A partition when an act read it: what an order of somebody else that comes later does to it can be seen by nobody,
/// as Kafka has no compare-and-set for reassignments.
#[derive(Debug)]
struct Seen {
    /// Where it was being moved to.
    target: Option<Vec<BrokerId>>,
    /// Its replicas without those that were being added.
    replicas: Vec<BrokerId>,
}

impl Judge {
    pub(super) fn new(config: &DriverConfig) -> Self {
        let between_looks = config.interval + config.between.pause;
        let dry = config.dry_run.then_some((Moment::default(), "something is changed in a dry run"));
        Self {
            grace: config.dead_brokers.grace.0,
            mass_failure_grace: config.guard.mass_failure_grace,
            lag: LIVENESS_AGE + between_looks * 2,
            gap: between_looks + METADATA_DELAY,
            forbidden: dry,
            look: Moment::default(),
            ours: BTreeMap::new(),
            seen: BTreeMap::new(),
            in_sync: BTreeMap::new(),
            wrongs: Vec::new(),
        }
    }

    /// What was wrong since this was asked last.
    pub(super) fn take_wrongs(&mut self) -> Vec<String> {
        std::mem::take(&mut self.wrongs)
    }

    /// Whether the reassignment of a partition to `target` was asked for by us.
    pub(super) fn is_ours(&self, at: &TopicPartition, target: &[BrokerId]) -> bool {
        self.ours.get(at).is_some_and(|ours| ours == target)
    }

    /// Is told that what we are about to ask for is found to be so or under way. Kafka does not tell whose an order was: if
    /// somebody else wants just what we want, it is as good as ours.
    pub(super) fn found(&mut self, at: &TopicPartition, to: &[BrokerId]) {
        self.ours.insert(at.clone(), to.to_vec());
    }

    /// What follows from the looks from `since` on may change nothing.
    pub(super) fn forbid(&mut self, since: Moment, why: &'static str) {
        self.forbidden = Some((since, why));
    }

    /// Is told when a look was that may lead to acts.
    pub(super) fn looks(&mut self, at: Moment) {
        self.look = at;
    }

    fn wrong(&mut self, why: String) {
        self.wrongs.push(why);
    }

    /// Looks at an act before it is carried out: it must be in the journal, rest on fresh facts, and be wanted.
    pub(super) fn act(&mut self, act: &Sent<'_>) {
        let journaled = act.store.get(&format!("executions/{}", act.execution.0));
        let journaled = journaled.and_then(|value| serde_json::from_value::<Execution>(value.clone()).ok());
        if act.execution.0 != 0 && journaled.is_none_or(|journaled| journaled.sequence < act.sequence) {
            self.wrong(format!(
                "act {} of execution {} is not in the journal",
                act.sequence, act.execution.0
            ));
        }
        if act.name != names::REASSIGN_PARTITIONS {
            return;
        }
        if let Some(partition) = twice_in_flight(act.memory) {
            self.wrong(format!("two executions move {partition}"));
        }
        let fresh = [
            act.state.fresh::<Liveness>(LIVENESS_AGE).err(),
            act.state.fresh::<Topics>(METADATA_AGE).err(),
            act.state.fresh::<OngoingReassignments>(METADATA_AGE).err(),
        ];
        if let Some(why) = fresh.into_iter().flatten().next().filter(|_| act.submits) {
            self.wrong(format!("moves are submitted although {why}"));
        }
        let wishes = &act.memory.wishes;
        if act.submits && (wishes.paused.is_some() || wishes.maintenance.is_some()) {
            self.wrong("moves are submitted during a pause or a maintenance".to_owned());
        }
    }

    /// Is told what an act reads right before it writes.
    pub(super) fn reads(&mut self, world: &World, moves: &[PartitionMove]) {
        let ongoing = world.reassignments();
        self.seen.clear();
        for at in moves.iter().map(|order| &order.partition) {
            let runs = ongoing.get(at);
            let adds = |id: &BrokerId| runs.is_some_and(|runs| runs.adding.contains(id));
            let replicas = world.partition(at).map(|truth| truth.replicas.into_vec()).unwrap_or_default();
            let replicas = replicas.into_iter().filter(|id| !adds(id)).collect();
            let target = runs.map(cluster::Reassignment::target);
            self.seen.insert(at.clone(), Seen { target, replicas });
        }
    }

    /// Is told that something is about to be changed.
    pub(super) fn writes(&mut self) {
        if let Some((_, why)) = self.forbidden.filter(|(since, _)| self.look >= *since) {
            self.wrong(why.to_owned());
        }
    }

    /// Whether so many brokers are away that a person must approve before anything is healed.
    fn brake(&mut self, world: &World, memory: &Memory) {
        let wishes = &memory.wishes;
        let mut away = world.absent_for(self.lag);
        let absent = |id: BrokerId| world.absence(id, world.now(), Duration::ZERO, self.gap);
        // One that holds nothing may have been taken out of service on purpose some time ago.
        let counts = |id: &BrokerId| {
            world.holds_replicas(*id) || absent(*id).is_some_and(|absence| absence.lasted < GONE_COUNTS)
        };
        away.retain(|id| !wishes.broker_maintenance.contains_key(id) && counts(id));
        let most = (world.addresses().len() / 10).max(1);
        let approved = wishes.approved.is_some()
            && wishes.approved_brokers.as_ref().is_none_or(|them| away.iter().all(|id| them.contains(id)));
        let shortest = away.iter().filter_map(|id| Some(absent(*id)?.lasted)).min().unwrap_or_default();
        let lasted = self.mass_failure_grace.is_some_and(|grace| shortest + METADATA_DELAY >= grace);
        if away.len() > most && !approved && !lasted {
            self.wrong(format!("brokers {away:?} are away, and nobody has approved that they are given up"));
        }
    }

    /// Looks at what goes out to the cluster.
    pub(super) fn batch(&mut self, world: &World, memory: &Memory, batch: &Batch) {
        self.writes();
        if batch.values().any(Option::is_some) {
            self.brake(world, memory);
        }
        self.in_sync.clear();
        for (at, to) in batch {
            // What a person wants cancelled is cancelled, whatever it costs.
            if to.is_some() || !is_cancelled_by_a_person(memory, at) {
                let truth = world.partition(at);
                self.in_sync.insert(at.clone(), truth.map_or(0, |truth| truth.isr.len()));
            }
            let present = self.seen.get(at).and_then(|seen| seen.target.clone());
            match to {
                None => {
                    if present.is_some_and(|target| !self.is_ours(at, &target)) {
                        self.wrong(format!("somebody else's reassignment of {at} is cancelled"));
                    }
                }
                Some(to) => {
                    if present.is_some_and(|target| target != *to) {
                        self.wrong(format!("{at} is moved while another reassignment of it runs"));
                    }
                    self.one_move(world, at, to);
                    self.ours.insert(at.clone(), to.clone());
                }
            }
        }
    }

    /// Looks at the cluster after something went out to it: no order of ours costs a partition its availability.
    pub(super) fn after(&mut self, world: &World) {
        for (at, before) in std::mem::take(&mut self.in_sync) {
            let (Some(least), Some(truth)) = (world.min_in_sync(&at), world.partition(&at)) else { continue };
            let least = least.min(truth.replicas.len());
            if before >= least && truth.isr.len() < least {
                self.wrong(format!("{at} is brought below {least} in-sync replicas: {:?}", truth.isr));
            }
        }
    }

    fn one_move(&mut self, world: &World, at: &TopicPartition, to: &[BrokerId]) {
        let (Some(truth), Some(seen)) = (world.partition(at), self.seen.get(at)) else { return };
        let from = seen.replicas.clone();
        if to.iter().collect::<BTreeSet<_>>().len() < to.len() {
            self.wrong(format!("{at} is to have a broker twice: {to:?}"));
        }
        if to.len() < from.len() {
            self.wrong(format!("{at} is to have fewer replicas: {from:?} to {to:?}"));
        }
        for id in from.iter().filter(|id| !to.contains(id)) {
            let away = self.away(world, *id);
            if away + METADATA_DELAY < self.grace || away.is_zero() {
                self.wrong(format!(
                    "{at} is taken from broker {id}, which was away for {} s of a grace of {} s",
                    away.as_secs(),
                    self.grace.as_secs()
                ));
            }
            if let Some(answers) = world.answers_us_for(*id).filter(|time| *time > self.lag) {
                self.wrong(format!(
                    "{at} is taken from broker {id}, which has answered for {} s",
                    answers.as_secs()
                ));
            }
        }
        for id in to.iter().filter(|id| !from.contains(id)) {
            if !world.was_live_lately(*id, self.lag) {
                self.wrong(format!("{at} is moved to broker {id}, which is away"));
            }
        }
        if !truth.isr.iter().any(|id| to.contains(id)) {
            self.wrong(format!("the last copy of {at} is given up: in sync {:?}, to {to:?}", truth.isr));
        }
    }

    /// How long a broker could have been found away for in the look that is acted on: since Kafka dropped it, or since our
    /// probe failed, if that was for the same reason.
    fn away(&self, world: &World, id: BrokerId) -> Duration {
        let Some(absence) = world.absence(id, self.look, self.lag, self.gap) else { return Duration::ZERO };
        // How long the probe failed before is told from the wall clock.
        let clock_jumped = world.our_wall_ms() != world.wall_ms();
        let before = if clock_jumped { EARLIER } else { absence.silent_before };
        absence.lasted + if before <= EARLIER + self.gap { before.min(EARLIER) } else { Duration::ZERO }
    }
}

/// An act on its way out, with what there is beside it.
pub(super) struct Sent<'a> {
    pub(super) execution: ExecutionId,
    pub(super) sequence: u32,
    /// The name of its event.
    pub(super) name: &'a str,
    /// Whether it starts moves: cancelling, and clearing throttles, is always allowed.
    pub(super) submits: bool,
    pub(super) store: &'a BTreeMap<String, Value>,
    pub(super) memory: &'a Memory,
    pub(super) state: &'a State,
}

fn is_cancelled_by_a_person(memory: &Memory, at: &TopicPartition) -> bool {
    memory.executions.iter().any(|execution| match &execution.work {
        Work::Reassign(work) => {
            work.cancelled.is_some() && work.moves.iter().any(|m| m.order.partition == *at)
        }
        Work::Once(_) => false,
    })
}

/// A partition that two running executions have in flight.
fn twice_in_flight(memory: &Memory) -> Option<&TopicPartition> {
    let mut seen = BTreeSet::new();
    let running = memory.executions.iter().filter(|execution| execution.is_running() && !execution.dry_run);
    let in_flight = running.flat_map(|execution| execution.moves()).filter(|m| m.phase.is_in_flight());
    in_flight.map(|m| &m.order.partition).find(|partition| !seen.insert(*partition))
}
