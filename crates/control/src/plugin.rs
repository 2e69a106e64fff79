//! The plugins: monitors, operators, actions.

use std::collections::BTreeSet;
use std::time::Duration;

use cluster::{BoxFuture, TopicPartition};
use serde::{Deserialize, Serialize};

use crate::by_hand::ByHand;
use crate::event::Event;
use crate::finding::Finding;
use crate::state::State;

/// Whether a cycle goes on after a monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on with the next monitor.
    Continue,
    /// Stop the cycle: no further monitor and no operator runs. The monitor has reported why.
    Stop,
}

/// A deriving monitor: computes attributes from those that are already in the State. Pure.
pub trait Monitor: Send + Sync {
    /// The name of this plugin in the configuration.
    fn name(&self) -> &str;
    /// Reads the State and adds to it.
    fn observe(&self, state: &mut State) -> Flow;
}

/// What an operator decided, and what it waits for.
#[must_use]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What is to be done.
    pub events: Vec<Event>,
    /// What was seen, and why nothing more is done.
    pub findings: Vec<Finding>,
    /// Partitions whose move by us, though it copies, may be given up, as what would be planned in its place brings as many
    /// live copies. Where no operator says so, a copy that is under way is not given up unless a person wants it.
    pub may_give_up: BTreeSet<TopicPartition>,
}

/// Reads the State and decides. Pure: no I/O, no clock of its own.
pub trait Operator: Send + Sync {
    /// The name of this plugin in the configuration.
    fn name(&self) -> &str;
    /// The names of the events that it can emit.
    fn emits(&self) -> Vec<String>;
    /// Decides.
    fn operate(&self, state: &State) -> Verdict;
    /// What an operator that has hosts replaced says to a person who wants one to be: the order, or all that speaks against it.
    /// `None` for any other operator.
    fn by_hand(&self, _state: &State, _wanted: &ByHand) -> Option<Result<Event, Vec<String>>> {
        None
    }
}

/// What an action did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What was done, in a sentence for the audit.
    pub summary: String,
    /// Details for the execution that asked for it.
    pub detail: serde_json::Value,
    /// Further events.
    pub follow_ups: Vec<Event>,
}

/// Why an action failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActError {
    /// The cause in words.
    pub message: String,
    /// Whether the act may have had its effect all the same.
    pub maybe_applied: bool,
    /// Whether trying again later can help.
    pub retry: bool,
}

/// How the messages of an action get out, since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliveries {
    /// Handed over to the other side, each recipient by itself.
    pub sent: u64,
    /// Not handed over yet.
    pub waiting: u64,
    /// Given up: refused for good, too old, or too many.
    pub undeliverable: u64,
    /// Held back because the like was sent a moment ago, and told by a later message.
    pub held_back: u64,
}

/// Executes events. Talks to the outside, submits and returns; idempotent: any event may arrive twice.
pub trait Action: Send + Sync {
    /// The name of this plugin in the configuration.
    fn name(&self) -> &str;
    /// The names of the events that it may emit.
    fn emits(&self) -> Vec<String> {
        Vec::new()
    }
    /// How long it may take for one event, where that is not the usual time. What it was doing is dropped then.
    fn time_limit(&self) -> Option<Duration> {
        None
    }
    /// What is wrong with the action itself, such as a topic that it cannot write. Asked in each cycle; never blocks.
    fn findings(&self) -> Vec<Finding> {
        Vec::new()
    }
    /// How its messages get out, for an action that sends messages. Asked in each cycle; never blocks.
    fn deliveries(&self) -> Option<Deliveries> {
        None
    }
    /// Asks what it does for the event with this id, or for any, to end, by force if need be; what comes of it is its outcome as always.
    /// Says whether there is such a thing. Never blocks, and may be called again.
    fn stop(&self, _event: Option<&str>) -> bool {
        false
    }
    /// Executes one event. With `dry_run` nothing outside is changed, and what would have been done is said.
    fn execute<'a>(&'a self, event: &'a Event, dry_run: bool) -> BoxFuture<'a, Result<Done, ActError>>;
}
