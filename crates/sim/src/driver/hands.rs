//! What the actions of the service do, through the traits: look once more, then submit.

use std::collections::BTreeMap;

use cluster::{ClientError, ConfigChange, ConfigResource, Reader, TopicName, TopicPartition, Writer};
use control::event::{ElectLeaders, Message, PartitionMove, ReassignResult, ReassignStep, Throttle};
use control::execution::last_look::{LastLook, WITNESSES, keeps_from_cancelling, last_look};
use control::{ActError, Done, Event, Memory};

use super::at_once;
use super::judge::{Batch, Judge};
use crate::access::{Access, SharedWorld};
use crate::world::Client;

/// The action that moves replicas.
pub(super) const REASSIGN: &str = "reassign_partitions";
/// The action that elects leaders.
pub(super) const ELECT: &str = "elect_leaders";
/// The action that tells people.
pub(super) const TELL: &str = "tell";

const RATES: [&str; 2] = ["leader.replication.throttled.rate", "follower.replication.throttled.rate"];
const REPLICAS: [&str; 2] =
    ["leader.replication.throttled.replicas", "follower.replication.throttled.replicas"];

/// Carries acts out.
pub(super) struct Hands {
    access: Access,
    world: SharedWorld,
    /// Sees what goes out.
    pub(super) judge: Judge,
}

fn failed(why: &ClientError) -> ActError {
    ActError {
        message: why.to_string(),
        maybe_applied: why.may_have_been_applied(),
        retry: !why.is_configuration(),
    }
}

fn not_done(why: &ClientError) -> ActError {
    ActError { maybe_applied: false, ..failed(why) }
}

impl Hands {
    pub(super) fn new(world: &SharedWorld, judge: Judge) -> Self {
        Self { access: Access::new(world, Client::Us), world: world.clone(), judge }
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
                ReassignStep::SetThrottle(throttle) => self.throttle(&throttle, true),
                ReassignStep::ClearThrottle(throttle) => self.throttle(&throttle, false),
            },
            ELECT => self.elect(&event.payload_as::<ElectLeaders>().map_err(wrong)?.partitions),
            _ => Ok(Done { summary: "told".to_owned(), ..Done::default() }),
        }
    }

    fn submit(&mut self, moves: &[PartitionMove], memory: &Memory) -> Result<Done, ActError> {
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
                LastLook::Already => result.accepted.push(order.partition.clone()),
                LastLook::Skip(why) => result.skipped.push((order.partition.clone(), why)),
            }
        }
        self.send(&batch, result, memory)
    }

    fn cancel(&mut self, moves: &[PartitionMove], memory: &Memory) -> Result<Done, ActError> {
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
            self.judge.batch(&self.world.lock(), memory, batch);
            let answers = at_once(self.access.reassign(batch)).map_err(|why| failed(&why))?;
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

    fn throttle(&self, throttle: &Throttle, set: bool) -> Result<Done, ActError> {
        let rate = throttle.bytes_per_second.to_string();
        let brokers = throttle.brokers.iter().map(|id| (ConfigResource::Broker(*id), RATES, rate.as_str()));
        let topics =
            throttle.topics.iter().map(|name| (ConfigResource::Topic(name.as_str().into()), REPLICAS, "*"));
        let wanted: Vec<_> = brokers.chain(topics).collect();
        let resources: Vec<ConfigResource> = wanted.iter().map(|(of, ..)| of.clone()).collect();
        let keys: Vec<&str> = RATES.into_iter().chain(REPLICAS).collect();
        let present = at_once(self.access.configs(&resources, &keys)).map_err(|why| not_done(&why))?;
        let mut changes = BTreeMap::<ConfigResource, Vec<ConfigChange>>::new();
        for (of, keys, ours) in wanted {
            for key in keys {
                let found = present.get(&of).and_then(|values| values.get(key));
                // What somebody else has set stays as it is.
                let change = match (set, found) {
                    (true, None) => ConfigChange::Set(key.to_owned(), ours.to_owned()),
                    (false, Some(found)) if found == ours => ConfigChange::Delete(key.to_owned()),
                    _ => continue,
                };
                changes.entry(of.clone()).or_default().push(change);
            }
        }
        let results = at_once(self.access.alter_configs(&changes)).map_err(|why| failed(&why))?;
        match results.values().find_map(|result| result.as_ref().err()) {
            Some(why) => Err(ActError { maybe_applied: true, ..failed(why) }),
            None => Ok(Done { summary: format!("{} changed", results.len()), ..Done::default() }),
        }
    }

    fn elect(&self, partitions: &[TopicPartition]) -> Result<Done, ActError> {
        let results = at_once(self.access.elect_preferred(partitions)).map_err(|why| failed(&why))?;
        let elected = results.values().filter(|result| result.is_ok()).count();
        Ok(Done { summary: format!("elected {elected} of {}", partitions.len()), ..Done::default() })
    }
}
