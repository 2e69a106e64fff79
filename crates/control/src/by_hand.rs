//! A person wants the host of a broker to be replaced: the operator and the guard are asked as they are for the operator's own
//! choice, and what holds it back is said at once. What is held is not remembered: the person asks again.

use std::collections::VecDeque;
use std::sync::Arc;

use cluster::BrokerId;

use crate::dispatch::Emitted;
use crate::event::{Event, ReplaceInstance, names};
use crate::execution::{Execution, ExecutionId};
use crate::finding::Target;
use crate::guard::{Admission, Guard, Held};
use crate::orders::refused;
use crate::plugin::Operator;
use crate::record::Line;
use crate::step::ActionSlot;

/// What a person wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByHand {
    /// Whose host is to be replaced.
    pub broker: BrokerId,
    /// Who wants it.
    pub by: String,
    /// Why, in the person's words; may be empty.
    pub reason: String,
    /// Whether the last copy of a partition may go with it.
    pub accept_data_loss: bool,
    /// Whether it is only asked what holds it back.
    pub only_ask: bool,
    /// Whether it is a plugin that wants it: it asks again and again, and knows nothing of what was tried before.
    pub is_plugin: bool,
}

impl ByHand {
    /// Who wants it and why, for the order.
    pub(crate) fn words(&self) -> String {
        let why = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
        let loss = if self.accept_data_loss { ", also if data is lost" } else { "" };
        format!("{} wants its host replaced{loss}{why}", self.by)
    }
}

/// Decides on what people want. What may be done goes to the front of the queue, so that nothing else comes before it; gives back the
/// places of the lines that wait for its start. All other lines get their result.
pub(crate) fn decide(
    wanted: Vec<(usize, ByHand)>,
    operators: &[Box<dyn Operator>],
    actions: &[ActionSlot],
    guard: &Guard<'_>,
    queue: &mut VecDeque<Emitted>,
    lines: &mut [Line],
) -> Vec<(usize, BrokerId)> {
    let mut begun = Vec::new();
    for (place, wanted) in wanted {
        let result = match order(&wanted, operators, actions, guard) {
            Err(held) => refused(&format!("broker {} is not replaced: {}", wanted.broker, held.join("; "))),
            Ok(event) if wanted.only_ask => format!("nothing holds it back: {}", about(&event)),
            Ok(event) => {
                queue.push_front(Emitted { event, by: wanted.by, depth: 0 });
                begun.push((place, wanted.broker));
                continue;
            }
        };
        if let Some(line) = lines.get_mut(place) {
            line.set_result(result);
        }
    }
    begun
}

/// What a plugin wants replaced is a wish as a person's is: whatever it says, the same must be true, and that it was not tried before; nobody's
/// data are given up for it, and which host is meant is known here. Takes such events out of the queue, or puts the order in their place; gives back what holds
/// the others.
pub(crate) fn decide_for_plugins(
    operators: &[Box<dyn Operator>],
    actions: &[ActionSlot],
    guard: &Guard<'_>,
    queue: &mut VecDeque<Emitted>,
) -> Vec<(Emitted, String)> {
    let mut held = Vec::new();
    for mut emitted in std::mem::take(queue) {
        if emitted.event.name != names::REPLACE_INSTANCE || is_decided(&emitted, operators, guard) {
            queue.push_back(emitted);
            continue;
        }
        let wanted = match emitted.event.payload_as::<ReplaceInstance>() {
            Ok(order) if Target::Broker(order.broker) != emitted.event.target => {
                held.push((emitted, "its target and its payload name two brokers".to_owned()));
                continue;
            }
            Ok(order) => ByHand {
                broker: order.broker,
                by: emitted.by.clone(),
                reason: emitted.event.reason.clone(),
                accept_data_loss: false,
                only_ask: false,
                is_plugin: true,
            },
            Err(error) => {
                held.push((emitted, format!("its payload cannot be read: {error}")));
                continue;
            }
        };
        match order(&wanted, operators, actions, guard) {
            Ok(event) => {
                emitted.event = Event { dry_run: emitted.event.dry_run, ..event };
                queue.push_back(emitted);
            }
            Err(why) => held.push((emitted, why.join("; "))),
        }
    }
    held
}

/// Whether it comes from the operator that asks what must be true.
fn is_decided(emitted: &Emitted, operators: &[Box<dyn Operator>], guard: &Guard<'_>) -> bool {
    let nobody = ByHand {
        broker: BrokerId(-1),
        by: String::new(),
        reason: String::new(),
        accept_data_loss: false,
        only_ask: true,
        is_plugin: true,
    };
    let mut of_name = operators.iter().filter(|operator| operator.name() == emitted.by);
    emitted.depth == 0 && of_name.any(|operator| operator.by_hand(guard.state, &nobody).is_some())
}

/// The order, or all that speaks against it.
fn order(
    wanted: &ByHand,
    operators: &[Box<dyn Operator>],
    actions: &[ActionSlot],
    guard: &Guard<'_>,
) -> Result<Event, Vec<String>> {
    let heard = |slot: &ActionSlot| slot.subscribed.iter().any(|name| name == names::REPLACE_INSTANCE);
    if !actions.iter().any(heard) {
        return Err(vec!["no action subscribes to replace_instance".to_owned()]);
    }
    let answer = operators.iter().find_map(|operator| operator.by_hand(guard.state, wanted));
    let event = answer.unwrap_or_else(|| {
        Err(vec!["there is no operator broker_replacement in the configuration".to_owned()])
    });
    match event {
        Ok(event) => match guard.admit(&event, 0) {
            Admission::Admit(event) => Ok(event),
            Admission::Hold(_, reason) => Err(vec![reason]),
        },
        Err(mut held) => {
            // The operator does not know of a pause and the like.
            held.extend(guard.objects_to_any(names::REPLACE_INSTANCE).map(|(_, reason)| reason));
            Err(held)
        }
    }
}

fn about(event: &Event) -> String {
    let Ok(order) = event.payload_as::<ReplaceInstance>() else { return event.reason.clone() };
    let at = order.address.map_or_else(|| "address not known".to_owned(), |at| at.to_string());
    let rack = order.rack.map_or_else(String::new, |rack| format!(", rack {rack}"));
    let lives = if order.live { "lives" } else { "is dead" };
    format!("the host of broker {} ({at}{rack}), which {lives}, would be replaced", order.broker)
}

/// Says what came of those that were let through, by the executions that were begun in this step.
pub(crate) fn answer(
    begun: &[(usize, BrokerId)],
    executions: &[Arc<Execution>],
    first_new: u64,
    held: &[Held],
    lines: &mut [Line],
) {
    for (place, broker) in begun {
        let is_it = |execution: &&Arc<Execution>| {
            execution.id >= ExecutionId(first_new)
                && execution.event.name == names::REPLACE_INSTANCE
                && execution.event.target == Target::Broker(*broker)
        };
        // Of two that are asked for at once the second is held by the first.
        let is_held =
            |it: &&Held| it.event == names::REPLACE_INSTANCE && it.target == Target::Broker(*broker);
        let result = match (executions.iter().find(is_it), held.iter().find(is_held)) {
            (Some(execution), _) if !execution.dry_run => {
                format!("its host is being replaced, as execution {}", execution.id.0)
            }
            (None, Some(held)) => refused(&format!("broker {broker} is not replaced: {}", held.reason)),
            _ => "its host would be replaced, but that is a dry run".to_owned(),
        };
        if let Some(line) = lines.get_mut(*place) {
            line.set_result(result);
        }
    }
}
