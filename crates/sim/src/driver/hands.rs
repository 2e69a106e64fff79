//! What the actions of the service do, through the traits: look once more, then submit.

use std::time::Duration;

use cluster::{BrokerId, ClientError, ConfigReadings, ConfigResults, Reader, TopicPartition, Writer};
use control::acts::elections::{self, Election};
use control::acts::moves::{self, Batch, MOST_IN_A_REQUEST};
use control::acts::throttle::{self, Setting};
use control::acts::{failed, not_done};
use control::event::{
    ElectLeaders, Message, PartitionMove, ReassignResult, ReassignStep, ReplaceInstance, Throttle,
};
use control::execution::last_look::WITNESSES;
use control::{ActError, Done, Event, Memory};

use super::judge::Judge;
use super::{Between, at_once};
use crate::access::{Access, SharedWorld, lost};
use crate::fault::{Fault, Who};
use crate::random::Random;
use crate::time::millis;
use crate::world::Client;

/// The action that moves replicas.
pub(super) const REASSIGN: &str = "reassign_partitions";
/// The action that elects leaders.
pub(super) const ELECT: &str = "elect_leaders";
/// The action that replaces hosts.
pub(super) const REPLACE: &str = "replace_instance";
/// The action that tells people.
pub(super) const TELL: &str = "tell";

/// How long a broker may take that is asked who lives.
const ANSWER: Duration = Duration::from_secs(2);

/// Carries acts out.
pub(super) struct Hands {
    pub(super) access: Access,
    world: SharedWorld,
    /// Sees what goes out.
    pub(super) judge: Judge,
    between: Between,
    /// How much time may still go by before the next look.
    left: Duration,
    /// What somebody else has ordered meanwhile.
    meddled: Vec<Fault>,
    /// What a script was started for just now.
    script: Option<ReplaceInstance>,
    random: Random,
}

impl Hands {
    pub(super) fn new(world: &SharedWorld, judge: Judge, between: Between, random: Random) -> Self {
        let access = Access::new(world, Client::Us);
        let world = world.clone();
        let (left, meddled, script) = (Duration::ZERO, Vec::new(), None);
        Self { access, world, judge, between, left, meddled, script, random }
    }

    /// Is told that acts may follow from a look that was just made.
    pub(super) fn begin(&mut self) {
        self.judge.looks(&self.world.lock());
        self.left = self.between.pause;
    }

    /// What somebody else has ordered since this was asked last.
    pub(super) fn take_meddled(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.meddled)
    }

    /// What a script was started for since this was asked last, which runs for a while.
    pub(super) fn take_script(&mut self) -> Option<ReplaceInstance> {
        self.script.take()
    }

    /// Lets some time go by, as much as chance wants.
    pub(super) fn pause(&mut self) {
        if self.left.is_zero() {
            return;
        }
        let time = Duration::from_millis(self.random.below(millis(self.left)));
        self.left -= time;
        self.world.lock().advance(time);
    }

    /// What comes between a look and an act: time, and perhaps somebody else's order for one of its partitions, who may
    /// give it long before the act reads anything or right before.
    fn hesitate(&mut self, moves: &[PartitionMove]) {
        let early = self.between.meddled_permille > 0 && self.random.chance(500);
        if early {
            self.meddle(moves);
        }
        self.pause();
        if !early {
            self.meddle(moves);
        }
    }

    fn meddle(&mut self, moves: &[PartitionMove]) {
        if self.between.meddled_permille == 0 || !self.random.chance(self.between.meddled_permille) {
            return;
        }
        let Some(order) = self.random.pick(moves) else { return };
        let at = order.partition.clone();
        // Their factor is the true one, whatever our plan takes for it.
        let (mut others, factor) = {
            let world = self.world.lock();
            let ongoing = world.reassignments();
            let target = ongoing.get(&at).map(cluster::Reassignment::target);
            let replicas = || world.partition(&at).map(|truth| truth.replicas.into_vec());
            (world.live(), target.or_else(replicas).map_or(0, |replicas| replicas.len()))
        };
        let fault = if self.random.chance(200) {
            Fault::ForeignCancel(at)
        } else {
            let mut to: Vec<BrokerId> = Vec::new();
            while to.len() < factor && !others.is_empty() {
                let next = usize::try_from(self.random.below(others.len() as u64)).unwrap_or(0);
                to.push(others.swap_remove(next));
            }
            Fault::ForeignReassignment(at, to)
        };
        if matches!(&fault, Fault::ForeignReassignment(_, to) if to.len() < factor) {
            // Too few brokers are alive: Kafka would take fewer replicas, and the factor would be another.
            return;
        }
        self.world.lock().inflict(&fault);
        self.meddled.push(fault);
    }

    /// The subject of a message to people, if the event is one.
    pub(super) fn message(&self, action: &str, event: &Event) -> Option<String> {
        let message = (action == TELL).then(|| event.payload_as::<Message>().ok()).flatten()?;
        Some(message.subject)
    }

    pub(super) fn execute(
        &mut self,
        action: &str,
        event: &Event,
        dry_run: bool,
        memory: &Memory,
    ) -> Result<Done, ActError> {
        let wrong = |why: serde_json::Error| ActError {
            message: format!("the order is not understood: {why}"),
            maybe_applied: false,
            retry: false,
        };
        if dry_run {
            return Ok(Done { summary: format!("would do {}", event.name), ..Done::default() });
        }
        match action {
            REASSIGN => {
                let step = event.payload_as::<ReassignStep>().map_err(wrong)?;
                match &step {
                    ReassignStep::Submit { moves } => self.submit(moves, &step, memory),
                    ReassignStep::Cancel { moves, by_order } => self.cancel(moves, *by_order, &step, memory),
                    ReassignStep::SetThrottle(throttle) => self.set_throttle(throttle),
                    ReassignStep::ClearThrottle(throttle) => self.clear_throttle(throttle),
                }
            }
            REPLACE => self.replace(&event.payload_as().map_err(wrong)?, memory),
            ELECT => self.elect(&event.payload_as::<ElectLeaders>().map_err(wrong)?.partitions),
            _ => Ok(Done { summary: "told".to_owned(), ..Done::default() }),
        }
    }

    fn submit(
        &mut self,
        all: &[PartitionMove],
        step: &ReassignStep,
        memory: &Memory,
    ) -> Result<Done, ActError> {
        self.hesitate(all);
        let mut result = ReassignResult::default();
        for wave in all.chunks(MOST_IN_A_REQUEST) {
            self.judge.reads(&self.world.lock(), wave);
            let witnesses = at_once(self.access.witnesses(&moves::topics(wave), WITNESSES));
            match witnesses.and_then(|seen| Ok((seen, at_once(self.access.reassignments())?))) {
                Ok((witnesses, ongoing)) => {
                    let before = result.accepted.len();
                    let batch = moves::to_submit(wave, &ongoing, &witnesses, &mut result);
                    for order in
                        wave.iter().filter(|order| result.accepted[before..].contains(&order.partition))
                    {
                        self.judge.found(&order.partition, &order.to);
                    }
                    self.send(batch, &mut result, memory);
                }
                Err(why) if result == ReassignResult::default() => return Err(not_done(&why)),
                Err(why) => moves::could_not_look(wave, &why, &mut result),
            }
        }
        Ok(moves::done(step, &result))
    }

    fn cancel(
        &mut self,
        all: &[PartitionMove],
        by_order: bool,
        step: &ReassignStep,
        memory: &Memory,
    ) -> Result<Done, ActError> {
        self.hesitate(all);
        let mut result = ReassignResult::default();
        for wave in all.chunks(MOST_IN_A_REQUEST) {
            self.judge.reads(&self.world.lock(), wave);
            let witnesses = at_once(self.access.witnesses(&moves::topics(wave), WITNESSES));
            match witnesses.and_then(|seen| Ok((seen, at_once(self.access.reassignments())?))) {
                Ok((witnesses, ongoing)) => {
                    let witnesses = if by_order { &[] } else { &*witnesses };
                    let batch = moves::to_cancel(wave, &ongoing, witnesses, &mut result);
                    self.send(batch, &mut result, memory);
                }
                Err(why) if result == ReassignResult::default() => return Err(not_done(&why)),
                Err(why) => moves::could_not_look(wave, &why, &mut result),
            }
        }
        Ok(moves::done(step, &result))
    }

    fn send(&mut self, batch: Batch, result: &mut ReassignResult, memory: &Memory) {
        if batch.is_empty() {
            return;
        }
        self.pause();
        self.judge.batch(&self.world.lock(), memory, &batch);
        let answer = at_once(self.access.reassign(&batch));
        let answer = self.answer("reassigning partitions", answer);
        self.judge.after(&self.world.lock());
        moves::sort(batch, answer, result);
    }

    fn elect(&mut self, partitions: &[TopicPartition]) -> Result<Done, ActError> {
        self.pause();
        let topics = at_once(self.access.describe(&elections::topics(partitions)));
        let election = Election::of(partitions, &topics.map_err(|why| not_done(&why))?);
        if let Some(done) = election.without(false) {
            return Ok(done);
        }
        self.pause();
        self.judge.writes();
        let answer = at_once(self.access.elect_preferred(&election.able));
        election.done(&self.answer("electing leaders", answer).map_err(|why| failed(&why))?)
    }

    /// A script that gives a broker another host with empty disks is started, unless some broker names it among those that live.
    fn replace(&mut self, order: &ReplaceInstance, memory: &Memory) -> Result<Done, ActError> {
        self.pause();
        let id = order.broker;
        let world = self.world.lock();
        let lives = |at: &cluster::BrokerAddress| {
            world.live_told_at(Client::Us, at, ANSWER).is_ok_and(|live| live.contains_key(&id))
        };
        let somebody_says_so = world.addresses().iter().any(lives);
        if somebody_says_so != order.live {
            let message = format!("broker {id} {}", if order.live { "does not live" } else { "lives" });
            return Err(ActError { message, maybe_applied: false, retry: false });
        }
        if order.live {
            self.judge.replaces_living(&world, memory, id);
        } else {
            self.judge.replaces(&world, memory, id);
        }
        drop(world);
        if self.between.script.is_zero() {
            let ended = self.end_script(order);
            self.judge.replaced(id);
            return ended;
        }
        self.script = Some(order.clone());
        Ok(Done::default())
    }

    /// The script has come to where the host goes. It looks for itself whether it still may: that is not ours to know.
    pub(super) fn end_script(&self, order: &ReplaceInstance) -> Result<Done, ActError> {
        let id = order.broker;
        let mut world = self.world.lock();
        let live = world.live();
        let others: Vec<BrokerId> = live.iter().filter(|other| **other != id).copied().collect();
        let is_last =
            |at: &TopicPartition| world.is_copy_among(at, &[id]) && !world.is_copy_among(at, &others);
        if live.contains(&id) != order.live || world.held_by(id).any(|at| is_last(&at)) {
            let message = format!("the host of broker {id} is not what it was");
            return Err(ActError { message, maybe_applied: false, retry: false });
        }
        world.inflict(&Fault::Replace(Who::Broker(id)));
        Ok(Done { summary: format!("the host of broker {id} is another"), ..Done::default() })
    }

    fn set_throttle(&mut self, throttle: &Throttle) -> Result<Done, ActError> {
        match throttle::to_set(throttle, &self.read(throttle)?)? {
            Setting::Done(done) => Ok(done),
            Setting::Change(changes) => throttle::was_set(throttle, &changes, self.alter(&changes)),
        }
    }

    fn clear_throttle(&mut self, throttle: &Throttle) -> Result<Done, ActError> {
        let clearing = throttle::to_clear(throttle, &self.read(throttle)?);
        let results = match clearing.changes.is_empty() {
            true => Ok(ConfigResults::new()),
            false => self.alter(&clearing.changes),
        };
        Ok(clearing.done(throttle, results))
    }

    fn read(&self, throttle: &Throttle) -> Result<ConfigReadings, ActError> {
        let resources = throttle::resources(throttle);
        at_once(async { Ok(self.access.configs(&resources, &throttle::KEYS).await) })
            .map_err(|why| not_done(&why))
    }

    fn alter(&mut self, changes: &throttle::Changes) -> Result<ConfigResults, ClientError> {
        self.pause();
        self.judge.writes();
        let answer = at_once(self.access.alter_configs(changes));
        self.answer("changing configs", answer)
    }

    /// What arrives of the answer to an order, which may have been carried out all the same.
    fn answer<T>(&mut self, doing: &'static str, answer: Result<T, ClientError>) -> Result<T, ClientError> {
        let may_be_lost = self.between.lost_permille > 0 && answer.is_ok();
        if may_be_lost && self.random.chance(self.between.lost_permille) {
            return Err(lost(doing));
        }
        answer
    }
}
