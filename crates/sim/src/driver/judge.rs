//! Judges what we send by the truth of the world, which the core does not see.
//!
//! The rules are those that must hold whatever happens, whatever the core believes: a fact that it goes by may be some
//! seconds old, and no older.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cluster::{BrokerId, TopicPartition};
use control::acts::moves::Batch;
use control::event::{PartitionMove, ReassignStep, Throttle, ThrottleEntry, names};
use control::execution::Work;
use control::{
    Attribute, Event, Execution, ExecutionId, Liveness, Memory, OngoingReassignments, State, Topics,
};
use serde_json::Value;

use super::DriverConfig;
use crate::time::Moment;
use crate::world::World;

mod hosts;

use hosts::Hosts;

/// How much earlier than the controller we may find a broker gone: the session allowance of the monitor.
const EARLIER: Duration = Duration::from_secs(20);
/// How long a broker without replicas counts among those that are away.
const GONE_COUNTS: Duration = Duration::from_secs(10 * 60);
/// How old topics and reassignments may be, as the operator and the guard have it.
const METADATA_AGE: Duration = Duration::from_secs(90);
/// How old the knowledge of who is alive may be.
const LIVENESS_AGE: Duration = Duration::from_secs(10);
/// How long ago the cluster may have been read that is acted on, by the true time.
const READ_AGO: Duration = Duration::from_secs(60);
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
    /// Those of them that have come to an end since: what is listed for such a partition is somebody else's, although it may want
    /// just what we have wanted.
    ended: BTreeSet<TopicPartition>,
    /// What the present act has read, as it was in truth.
    seen: BTreeMap<TopicPartition, Seen>,
    /// How many replicas were in sync before what is sent.
    in_sync: BTreeMap<TopicPartition, usize>,
    hosts: Hosts,
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
            ended: BTreeSet::new(),
            seen: BTreeMap::new(),
            in_sync: BTreeMap::new(),
            hosts: Hosts::new(config),
            wrongs: Vec::new(),
        }
    }

    /// What was wrong since this was asked last.
    pub(super) fn take_wrongs(&mut self) -> Vec<String> {
        std::mem::take(&mut self.wrongs)
    }

    /// Whether the reassignment of a partition to `target` that is listed was asked for by us, and none like it has ended since.
    pub(super) fn is_ours_still(&self, at: &TopicPartition, target: &[BrokerId]) -> bool {
        self.is_ours(at, target) && !self.ended.contains(at)
    }

    /// Whether the reassignment of a partition to `target` was asked for by us.
    fn is_ours(&self, at: &TopicPartition, target: &[BrokerId]) -> bool {
        self.ours.get(at).is_some_and(|ours| ours == target)
    }

    /// Is told that what we are about to ask for is found to be so or under way. Kafka does not tell whose an order was: if
    /// somebody else wants just what we want, it is as good as ours.
    pub(super) fn found(&mut self, at: &TopicPartition, to: &[BrokerId]) {
        self.asked(at, to);
    }

    fn asked(&mut self, at: &TopicPartition, to: &[BrokerId]) {
        self.ours.insert(at.clone(), to.to_vec());
        self.ended.remove(at);
    }

    /// What follows from the looks from `since` on may change nothing.
    pub(super) fn forbid(&mut self, since: Moment, why: &'static str) {
        self.forbidden = Some((since, why));
    }

    /// Is told of a look that may lead to acts.
    pub(super) fn looks(&mut self, world: &World) {
        self.look = world.now();
        let ended = self.ours.keys().filter(|at| !self.ended.contains(*at) && !world.is_moving(at));
        let ended: Vec<TopicPartition> = ended.cloned().collect();
        self.ended.extend(ended);
    }

    /// When the look was that the present acts follow from.
    pub(super) fn look(&self) -> Moment {
        self.look
    }

    fn wrong(&mut self, why: String) {
        self.wrongs.push(why);
    }

    /// Looks at an act before it is carried out: it must be in the journal, rest on fresh facts, and be wanted.
    pub(super) fn act(&mut self, world: &World, act: &Sent<'_>) {
        if act.execution.0 != 0 && act.journaled().is_none_or(|sequence| sequence < act.sequence) {
            self.wrong(format!(
                "act {} of execution {} is not in the journal",
                act.sequence, act.execution.0
            ));
        }
        match (act.event.name.as_str(), act.event.payload_as::<ReassignStep>()) {
            (names::REASSIGN_PARTITIONS, Ok(step)) => {
                if let Some(partition) = twice_in_flight(act.memory) {
                    self.wrong(format!("two executions move {partition}"));
                }
                self.step(world, act, &step);
            }
            (names::REPLACE_INSTANCE, _) => {
                self.begins("a host is replaced", act);
                if !act.remembers_the_replacement() {
                    self.wrong("a host is replaced, and the store does not know of it".to_owned());
                }
            }
            (names::ELECT_LEADERS, _) => self.begins("leaders are elected", act),
            _ => {}
        }
    }

    fn step(&mut self, world: &World, act: &Sent<'_>, step: &ReassignStep) {
        let execution = act.memory.executions.iter().find(|execution| execution.id == act.execution);
        let work = execution.and_then(|execution| match &execution.work {
            Work::Reassign(work) => Some(work),
            Work::Once(_) => None,
        });
        match step {
            ReassignStep::Submit { .. } => self.begins("moves are submitted", act),
            ReassignStep::SetThrottle(_) => self.begins("a throttle is set", act),
            // What a person wants cancelled is, at any time, and by what the list says right before.
            ReassignStep::Cancel { .. } if work.is_some_and(|work| work.cancelled.is_some()) => {}
            ReassignStep::Cancel { moves, .. } => self.cancels(world, act, moves),
            // That is done at any time, but for the moves that it holds.
            ReassignStep::ClearThrottle(throttle) => {
                if let Some(other) = still_throttled(act, throttle) {
                    self.wrong(format!("a throttle is taken away amid the moves of execution {}", other.0));
                }
                if work.is_some_and(|work| work.moves.iter().any(|m| !m.phase.is_final())) {
                    self.wrong("a throttle is taken away amid its moves".to_owned());
                }
            }
        }
    }

    /// What begins something rests on fresh facts, and is not done while people want nothing begun.
    fn begins(&mut self, what: &str, act: &Sent<'_>) {
        if let Some(why) = act.stale() {
            self.wrong(format!("{what} although {why}"));
        }
        if act.is_held_by_people() {
            self.wrong(format!("{what} during a pause or a maintenance"));
        }
    }

    /// A move that cannot end may be cancelled at any time. Beyond that, one that brings a copy to a broker that is not
    /// dead is given up for another, and that begins something.
    fn cancels(&mut self, world: &World, act: &Sent<'_>, moves: &[PartitionMove]) {
        if let Some(why) = act.stale() {
            self.wrong(format!("moves are cancelled although {why}"));
        }
        let lives = |id: &BrokerId| world.answers_us_for(*id).is_some_and(|time| time > self.lag);
        let gives_up = |order: &&PartitionMove| order.added().any(|id| lives(&id));
        if let Some(order) = moves.iter().find(gives_up).filter(|_| act.is_held_by_people()) {
            let at = &order.partition;
            self.wrong(format!("a copy of {at} is given up during a pause or a maintenance"));
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
        away.retain(counts);
        let down = away.clone();
        away.retain(|id| {
            !wishes.broker_maintenance.contains_key(id) && !wishes.decommissioned.contains_key(id)
        });
        let rack = whole_rack(world, &down, &away, self.lag);
        let most = (world.addresses().len() / 10).max(1);
        let approved = wishes.approved.is_some()
            && wishes.approved_brokers.as_ref().is_none_or(|them| away.iter().all(|id| them.contains(id)));
        let shortest = away.iter().filter_map(|id| Some(absent(*id)?.lasted)).min().unwrap_or_default();
        let lasted = self.mass_failure_grace.is_some_and(|grace| shortest + METADATA_DELAY >= grace);
        if let Some(rack) = rack.filter(|_| !approved && !lasted) {
            self.wrong(format!("the whole rack {rack} is away, and nobody has approved that it is given up"));
        }
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
                    self.one_move(world, memory, at, to);
                    self.maintained(memory, at, to);
                    self.asked(at, to);
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

    /// A broker is given up: it has been away for the grace, and does not answer.
    fn gives_up(&mut self, world: &World, id: BrokerId, what: &str) {
        let away = self.away(world, id);
        if away + METADATA_DELAY < self.grace || away.is_zero() {
            self.wrong(format!(
                "{what}: broker {id} was away for {} s of a grace of {} s",
                away.as_secs(),
                self.grace.as_secs()
            ));
        }
        if let Some(answers) = world.answers_us_for(id).filter(|time| *time > self.lag) {
            self.wrong(format!("{what}: broker {id} has answered for {} s", answers.as_secs()));
        }
    }

    fn one_move(&mut self, world: &World, memory: &Memory, at: &TopicPartition, to: &[BrokerId]) {
        let (Some(truth), Some(seen)) = (world.partition(at), self.seen.get(at)) else { return };
        let from = seen.replicas.clone();
        if to.iter().collect::<BTreeSet<_>>().len() < to.len() {
            self.wrong(format!("{at} is to have a broker twice: {to:?}"));
        }
        if to.len() < from.len() {
            self.wrong(format!("{at} is to have fewer replicas: {from:?} to {to:?}"));
        }
        // What leaves on purpose may be emptied while it lives, and is copied from until then.
        let leaves =
            |id: &BrokerId| memory.wishes.decommissioned.contains_key(id) && world.live().contains(id);
        for id in from.iter().filter(|id| !to.contains(id) && !leaves(id)) {
            if self.hosts.is_being_replaced(*id) {
                self.wrong(format!("{at} is taken from broker {id} while its host is being replaced"));
            }
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
        // Not by the in-sync replicas alone: where there are eligible leaders, a broker that is shut down between our last
        // look and the order leaves nobody in sync, and keeps the copy.
        let stay: Vec<BrokerId> = to.iter().chain(from.iter().filter(|id| leaves(id))).copied().collect();
        if !world.is_copy_among(at, &stay) {
            self.wrong(format!("the last copy of {at} is given up: in sync {:?}, to {to:?}", truth.isr));
        }
    }

    /// A broker under maintenance is down on purpose, or about to be: it gives nothing up, and gets nothing.
    fn maintained(&mut self, memory: &Memory, at: &TopicPartition, to: &[BrokerId]) {
        let Some(seen) = self.seen.get(at) else { return };
        let leaves = seen.replicas.iter().filter(|id| !to.contains(id));
        let joins = to.iter().filter(|id| !seen.replicas.contains(id));
        let maintained = leaves.chain(joins).filter(|id| memory.wishes.broker_maintenance.contains_key(id));
        let ids: Vec<BrokerId> = maintained.copied().collect();
        for id in ids {
            self.wrong(format!("{at} is moved from or to broker {id} during its maintenance"));
        }
    }

    /// How long a broker could have been found away for in the look that is acted on: since Kafka dropped it, or since our
    /// probe failed, if that was for the same reason.
    fn away(&self, world: &World, id: BrokerId) -> Duration {
        let Some(absence) = world.absence(id, self.look, self.lag, self.gap) else { return Duration::ZERO };
        let before = |silent: &Moment| {
            // How long the probe failed before is told from the wall clock, which may have jumped meanwhile.
            if world.our_clock_was_set().is_some_and(|at| at >= *silent) {
                return EARLIER;
            }
            let before = absence.dropped.since(*silent);
            // What lasted longer is no sign of the death.
            if before <= EARLIER + self.gap { before.min(EARLIER) } else { Duration::ZERO }
        };
        // A broker that dies again soon after it came back may have been seen to answer: then only the newest silence
        // counts, and may be short enough, where together with the one before it would be too long.
        absence.lasted + absence.silent.iter().map(before).max().unwrap_or_default()
    }
}

/// An act on its way out, with what there is beside it.
pub(super) struct Sent<'a> {
    pub(super) execution: ExecutionId,
    pub(super) sequence: u32,
    pub(super) event: &'a Event,
    pub(super) store: &'a BTreeMap<String, Value>,
    pub(super) memory: &'a Memory,
    pub(super) state: &'a State,
    /// How long before the look the oldest fact was read, in truth; `None` if something was never read.
    pub(super) read_ago: Option<Duration>,
}

impl Sent<'_> {
    /// The number of the last act that the journal has of its execution. At the first act the journal is read in full; of
    /// those that follow, with thousands of moves perhaps, the number alone.
    fn journaled(&self) -> Option<u32> {
        let value = self.store.get(&format!("executions/{}", self.execution.0))?;
        if self.sequence <= 1 {
            return serde_json::from_value::<Execution>(value.clone())
                .ok()
                .map(|execution| execution.sequence);
        }
        value.get("sequence")?.as_u64().and_then(|sequence| u32::try_from(sequence).ok())
    }

    /// Whether a crash at this moment leaves the replacement that it begins to be read.
    fn remembers_the_replacement(&self) -> bool {
        let known = self.store.get("replacements").and_then(|value| value["last"].as_array());
        known.is_some_and(|all| all.iter().any(|it| it["id"] == self.event.id.as_str()))
    }

    /// Which of the facts that it rests on is missing or too old.
    fn stale(&self) -> Option<String> {
        let stale = self.too_old::<Liveness>(LIVENESS_AGE);
        let stale = stale.or_else(|| self.too_old::<Topics>(METADATA_AGE));
        let stale = stale.or_else(|| self.too_old::<OngoingReassignments>(METADATA_AGE));
        // What the core holds to be the age of a fact is not taken for granted.
        stale.or_else(|| match self.read_ago {
            None => Some("not everything was ever read".to_owned()),
            Some(ago) if ago > READ_AGO => Some(format!("something was read {} s ago", ago.as_secs())),
            Some(_) => None,
        })
    }

    /// Whether a fact is missing or too old: reckoned here, as the core's own check is among what is judged.
    fn too_old<T: Attribute>(&self, limit: Duration) -> Option<String> {
        let Some(fact) = self.state.get::<T>() else { return Some(format!("{} is missing", T::NAME)) };
        let age = self.state.now().tick.since(fact.as_of);
        (age > limit).then(|| format!("{} is {} s old", T::NAME, age.as_secs()))
    }

    /// Whether people want nothing to be begun.
    fn is_held_by_people(&self) -> bool {
        let wishes = &self.memory.wishes;
        wishes.paused.is_some() || wishes.maintenance.is_some()
    }
}

fn is_cancelled_by_a_person(memory: &Memory, at: &TopicPartition) -> bool {
    memory.executions.iter().any(|execution| match &execution.work {
        Work::Reassign(work) => {
            work.cancelled.is_some() && work.moves.iter().any(|m| m.order.partition == *at)
        }
        Work::Once(_) => false,
    })
}

/// A rack of two or more brokers of which all are `down`, and not all on purpose.
fn whole_rack(world: &World, down: &[BrokerId], away: &[BrokerId], lag: Duration) -> Option<Arc<str>> {
    let mut racks = BTreeMap::<Arc<str>, Vec<BrokerId>>::new();
    for broker in world.brokers() {
        // One that is away and holds nothing belongs to none.
        let is_out = !world.was_live_lately(broker.id, lag) && !down.contains(&broker.id);
        if let Some(rack) = broker.rack.clone().filter(|_| !is_out) {
            racks.entry(rack).or_default().push(broker.id);
        }
    }
    let is_whole = |of: &Vec<BrokerId>| of.len() >= 2 && of.iter().all(|id| down.contains(id));
    let counts = |of: &Vec<BrokerId>| of.iter().any(|id| away.contains(id));
    racks.into_iter().find(|(_, of)| is_whole(of) && counts(of)).map(|(rack, _)| rack)
}

/// Another running execution that has open moves, and for them one of the configs that are being taken away.
fn still_throttled(act: &Sent<'_>, cleared: &Throttle) -> Option<ExecutionId> {
    let is_cleared = |entry: &ThrottleEntry| cleared.entries.iter().flatten().any(|gone| gone == entry);
    let others = act.memory.executions.iter().filter(|one| one.id != act.execution && one.is_running());
    let mut others = others.filter(|one| !one.dry_run).filter(|one| match &one.work {
        Work::Reassign(work) => {
            let set = work.throttle.iter().flat_map(|throttle| throttle.entries.iter().flatten());
            work.throttle_set
                && work.moves.iter().any(|m| !m.phase.is_final())
                && set.into_iter().any(is_cleared)
        }
        Work::Once(_) => false,
    });
    others.next().map(|one| one.id)
}

/// A partition that two running executions have in flight.
fn twice_in_flight(memory: &Memory) -> Option<&TopicPartition> {
    let mut seen = BTreeSet::new();
    let running = memory.executions.iter().filter(|execution| execution.is_running() && !execution.dry_run);
    let in_flight = running.flat_map(|execution| execution.moves()).filter(|m| m.phase.is_in_flight());
    in_flight.map(|m| &m.order.partition).find(|partition| !seen.insert(*partition))
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
