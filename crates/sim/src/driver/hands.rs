//! What the actions of the service do, through the traits: look once more, then submit.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster::{BrokerId, ClientError, Reader, TopicName, TopicPartition, Writer};
use control::event::{ElectLeaders, Message, PartitionMove, ReassignResult, ReassignStep};
use control::execution::last_look::{LastLook, WITNESSES, keeps_from_cancelling, last_look};
use control::{ActError, Done, Event, Memory};

use super::judge::{Batch, Judge};
use super::{Between, at_once};
use crate::access::{Access, SharedWorld};
use crate::fault::Fault;
use crate::random::Random;
use crate::time::millis;
use crate::world::Client;

/// The action that moves replicas.
pub(super) const REASSIGN: &str = "reassign_partitions";
/// The action that elects leaders.
pub(super) const ELECT: &str = "elect_leaders";
/// The action that tells people.
pub(super) const TELL: &str = "tell";

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
    random: Random,
}

pub(super) fn failed(why: &ClientError) -> ActError {
    ActError {
        message: why.to_string(),
        maybe_applied: why.may_have_been_applied(),
        retry: !why.is_configuration(),
    }
}

pub(super) fn not_done(why: &ClientError) -> ActError {
    ActError { maybe_applied: false, ..failed(why) }
}

impl Hands {
    pub(super) fn new(world: &SharedWorld, judge: Judge, between: Between, random: Random) -> Self {
        let access = Access::new(world, Client::Us);
        let world = world.clone();
        Self { access, world, judge, between, left: Duration::ZERO, meddled: Vec::new(), random }
    }

    /// Is told that acts may follow from a look that was just made.
    pub(super) fn begin(&mut self) {
        self.judge.looks(self.world.lock().now());
        self.left = self.between.pause;
    }

    /// What somebody else has ordered since this was asked last.
    pub(super) fn take_meddled(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.meddled)
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
            REASSIGN => match event.payload_as::<ReassignStep>().map_err(wrong)? {
                ReassignStep::Submit { moves } => self.submit(&moves, memory),
                ReassignStep::Cancel { moves } => self.cancel(&moves, memory),
                ReassignStep::SetThrottle(throttle) => self.set_throttle(&throttle),
                ReassignStep::ClearThrottle(throttle) => self.clear_throttle(&throttle),
            },
            ELECT => self.elect(&event.payload_as::<ElectLeaders>().map_err(wrong)?.partitions),
            _ => Ok(Done { summary: "told".to_owned(), ..Done::default() }),
        }
    }

    fn submit(&mut self, moves: &[PartitionMove], memory: &Memory) -> Result<Done, ActError> {
        self.hesitate(moves);
        self.judge.reads(&self.world.lock(), moves);
        let names: Vec<TopicName> = moves.iter().map(|order| order.partition.topic.clone()).collect();
        let witnesses = at_once(self.access.witnesses(&names, WITNESSES)).map_err(|why| not_done(&why))?;
        let ongoing = at_once(self.access.reassignments()).map_err(|why| not_done(&why))?;
        let mut result = ReassignResult::default();
        let mut batch = BTreeMap::new();
        for order in moves {
            match last_look(order, &ongoing, &witnesses) {
                LastLook::Send => {
                    batch.insert(order.partition.clone(), Some(order.to.clone()));
                }
                LastLook::Already => {
                    self.judge.found(&order.partition, &order.to);
                    result.accepted.push(order.partition.clone());
                }
                LastLook::Skip(why) => result.skipped.push((order.partition.clone(), why)),
            }
        }
        self.send(&batch, result, memory)
    }

    fn cancel(&mut self, moves: &[PartitionMove], memory: &Memory) -> Result<Done, ActError> {
        self.hesitate(moves);
        self.judge.reads(&self.world.lock(), moves);
        let ongoing = at_once(self.access.reassignments()).map_err(|why| not_done(&why))?;
        let mut result = ReassignResult::default();
        let mut batch = BTreeMap::new();
        for order in moves {
            match keeps_from_cancelling(order, &ongoing) {
                None => {
                    batch.insert(order.partition.clone(), None);
                }
                Some(why) => result.skipped.push((order.partition.clone(), why)),
            }
        }
        self.send(&batch, result, memory)
    }

    fn send(&mut self, batch: &Batch, mut result: ReassignResult, memory: &Memory) -> Result<Done, ActError> {
        if !batch.is_empty() {
            self.pause();
            self.judge.batch(&self.world.lock(), memory, batch);
            let answers = at_once(self.access.reassign(batch)).map_err(|why| failed(&why))?;
            self.judge.after(&self.world.lock());
            for (partition, answer) in answers {
                match answer {
                    Ok(()) => result.accepted.push(partition),
                    Err(why) => result.refused.push((partition, why.to_string())),
                }
            }
        }
        let summary = format!("{} accepted", result.accepted.len());
        let detail = serde_json::to_value(result).unwrap_or_default();
        Ok(Done { summary, detail, follow_ups: Vec::new() })
    }

    fn elect(&mut self, partitions: &[TopicPartition]) -> Result<Done, ActError> {
        self.pause();
        self.judge.writes();
        let results = at_once(self.access.elect_preferred(partitions)).map_err(|why| failed(&why))?;
        let elected = results.values().filter(|result| result.is_ok()).count();
        Ok(Done { summary: format!("elected {elected} of {}", partitions.len()), ..Done::default() })
    }
}
