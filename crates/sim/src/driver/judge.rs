//! Judges what we send by the truth of the world, which the core does not see.
//!
//! The rules are those that must hold whatever happens, whatever the core believes: a fact that it goes by may be some
//! seconds old, and no older.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster::{BrokerId, TopicPartition};
use control::event::names;
use control::{Execution, ExecutionId, Liveness, Memory, OngoingReassignments, State, Topics};
use serde_json::Value;

use crate::world::World;

/// How old a fact may be that an act rests on: who is alive 10 s, and two looks at the longest interval that is driven.
const LAG: Duration = Duration::from_secs(30);
/// How much earlier than the controller we may find a broker gone: the session allowance of the monitor.
const EARLIER: Duration = Duration::from_secs(20);
/// How long a broker without replicas counts among those that are away.
const GONE_COUNTS: Duration = Duration::from_secs(10 * 60);
/// How old topics and reassignments may be, as the operator and the guard have it.
const METADATA_AGE: Duration = Duration::from_secs(90);
/// How old the knowledge of who is alive may be.
const LIVENESS_AGE: Duration = Duration::from_secs(10);

/// What is sent in one request, by partition: the new replicas, or `None` for a cancel.
pub(super) type Batch = BTreeMap<TopicPartition, Option<Vec<BrokerId>>>;

/// Judges acts, and keeps what was wrong with them.
#[derive(Debug)]
pub(super) struct Judge {
    /// A broker is not given up before it has been away for so long.
    grace: Duration,
    /// What we have asked for last, by partition.
    ours: BTreeMap<TopicPartition, Vec<BrokerId>>,
    wrongs: Vec<String>,
}

impl Judge {
    pub(super) fn new(grace: Duration) -> Self {
        Self { grace, ours: BTreeMap::new(), wrongs: Vec::new() }
    }

    /// What was wrong since this was asked last.
    pub(super) fn take_wrongs(&mut self) -> Vec<String> {
        std::mem::take(&mut self.wrongs)
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

    /// Whether so many brokers are away that a person must approve before anything is healed.
    fn brake(&mut self, world: &World, memory: &Memory) {
        let wishes = &memory.wishes;
        let mut away = world.absent_for(LAG);
        // One that holds nothing may have been taken out of service on purpose some time ago.
        let counts = |id: &BrokerId| {
            world.holds_replicas(*id) || world.absent_lately(*id, LAG).is_some_and(|time| time < GONE_COUNTS)
        };
        away.retain(|id| !wishes.broker_maintenance.contains_key(id) && counts(id));
        let most = (world.addresses().len() / 10).max(1);
        if away.len() > most && wishes.approved.is_none() {
            self.wrong(format!("brokers {away:?} are away, and nobody has approved that they are given up"));
        }
    }

    /// Looks at what goes out to the cluster.
    pub(super) fn batch(&mut self, world: &World, memory: &Memory, batch: &Batch) {
        if batch.values().any(Option::is_some) {
            self.brake(world, memory);
        }
        let ongoing = world.reassignments();
        for (at, to) in batch {
            let present = ongoing.get(at).map(cluster::Reassignment::target);
            let is_ours = present.as_ref().is_none_or(|target| self.ours.get(at) == Some(target));
            match to {
                None if !is_ours => self.wrong(format!("somebody else's reassignment of {at} is cancelled")),
                None => {}
                Some(to) => {
                    if present.as_ref().is_some_and(|target| target != to) {
                        self.wrong(format!("{at} is moved while another reassignment of it runs"));
                    }
                    self.one_move(world, at, to);
                    self.ours.insert(at.clone(), to.clone());
                }
            }
        }
    }

    fn one_move(&mut self, world: &World, at: &TopicPartition, to: &[BrokerId]) {
        let Some(truth) = world.partition(at) else { return };
        if to.iter().collect::<BTreeSet<_>>().len() < to.len() {
            self.wrong(format!("{at} is to have a broker twice: {to:?}"));
        }
        let from: Vec<BrokerId> = match world.reassignments().get(at) {
            Some(runs) => runs.replicas.iter().copied().filter(|id| !runs.adding.contains(id)).collect(),
            None => truth.replicas.to_vec(),
        };
        if to.len() < from.len() {
            self.wrong(format!("{at} is to have fewer replicas: {from:?} to {to:?}"));
        }
        for id in from.iter().filter(|id| !to.contains(id)) {
            let absent = world.absent_lately(*id, LAG).unwrap_or_default();
            if absent + EARLIER + LAG < self.grace || absent.is_zero() {
                self.wrong(format!(
                    "{at} is taken from broker {id}, which was away for {} s of a grace of {} s",
                    absent.as_secs(),
                    self.grace.as_secs()
                ));
            }
        }
        for id in from.iter().filter(|id| !to.contains(id)) {
            if let Some(answers) = world.answers_us_for(*id).filter(|time| *time > LAG) {
                self.wrong(format!(
                    "{at} is taken from broker {id}, which has answered for {} s",
                    answers.as_secs()
                ));
            }
        }
        for id in to.iter().filter(|id| !from.contains(id)) {
            if !world.was_live_lately(*id, LAG) {
                self.wrong(format!("{at} is moved to broker {id}, which is away"));
            }
        }
        if !truth.isr.iter().any(|id| to.contains(id)) {
            self.wrong(format!("the last copy of {at} is given up: in sync {:?}, to {to:?}", truth.isr));
        }
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

/// A partition that two running executions have in flight.
fn twice_in_flight(memory: &Memory) -> Option<&TopicPartition> {
    let mut seen = BTreeSet::new();
    let running = memory.executions.iter().filter(|execution| execution.is_running() && !execution.dry_run);
    let in_flight = running.flat_map(|execution| execution.moves()).filter(|m| m.phase.is_in_flight());
    in_flight.map(|m| &m.order.partition).find(|partition| !seen.insert(*partition))
}
