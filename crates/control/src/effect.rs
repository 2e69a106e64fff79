//! What goes into a step and what comes out of it.

use std::collections::BTreeMap;

use crate::event::Event;
use crate::execution::ExecutionId;
use crate::finding::Finding;
use crate::order::Order;
use crate::plugin::{ActError, Done};
use crate::record::Record;
use crate::state::NamedValue;

/// What a source monitor has to say in this cycle: its newest view, and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub struct Contribution {
    /// Attributes for the State.
    pub attributes: Vec<NamedValue>,
    /// Findings, such as "cannot reach any broker".
    pub findings: Vec<Finding>,
}

/// What came of an act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The execution that asked for it.
    pub execution: ExecutionId,
    /// Its number within the execution.
    pub sequence: u32,
    /// What came of it.
    pub result: Result<Done, ActError>,
}

/// What has come in since the last step.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// By the configured name of each source monitor. A monitor that has nothing yet is absent.
    pub contributions: BTreeMap<String, Contribution>,
    /// What came of earlier acts.
    pub outcomes: Vec<Outcome>,
    /// Orders of people.
    pub orders: Vec<Order>,
    /// The shell ends: what came of acts is taken in, and nothing is decided that nobody would see to its end.
    pub ending: bool,
}

/// What the shell has to do, in this order. If a `Persist` fails, nothing after it may be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Make this durable (`None` removes it) before anything that follows.
    Persist {
        /// The key within the cluster's part of the store.
        key: String,
        /// The value.
        value: Option<serde_json::Value>,
    },
    /// Hand the event to the action, and bring back what came of it as an [`Outcome`].
    Act {
        /// The execution.
        execution: ExecutionId,
        /// The number of this act within it.
        sequence: u32,
        /// The configured name of the action.
        action: String,
        /// The event.
        event: Event,
        /// Whether nothing may be changed.
        dry_run: bool,
    },
    /// Ask the action to end what it does for the event with this id. It may come again until the outcome is in.
    Stop {
        /// The configured name of the action.
        action: String,
        /// The id of the event.
        event: String,
    },
    /// Put a line into the audit.
    Record(Record),
}

impl Effect {
    /// The outcome of an act that was not sent out, because the journal could not be written before it.
    pub fn not_done(&self, why: &str) -> Option<Outcome> {
        let Self::Act { execution, sequence, .. } = self else { return None };
        let message = format!("not done: {why}");
        let error = ActError { message, maybe_applied: false, retry: true };
        Some(Outcome { execution: *execution, sequence: *sequence, result: Err(error) })
    }
}
