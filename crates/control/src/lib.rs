//! The functional core of DoctorKafka: it decides, and does nothing else.
//!
//! A shell gathers what there is to know and calls `step` with it; what comes back are [`Effect`]s for the
//! shell to carry out in order. Equal memory, inputs and time give equal effects: there is no clock, no randomness,
//! no I/O and no unordered map in here.
//!
//! Reading order: [`time`], [`state`] and [`attributes`] (what is known), [`votes`] (who is alive), [`finding`] and [`incident`] (what is
//! wrong, and since when), [`event`] (orders), [`plugin`] (who decides and who acts), [`order`] (what people want),
//! [`execution`] (work that lasts), [`acts`] (what actions make of what they are answered), [`record`] (the audit), [`memory`], [`effect`], [`guard`] (who says no), [`step`]
//! (how it all goes together).

pub mod config;
pub mod time;

pub mod state;

pub mod attributes;

pub mod votes;

mod attention;

pub mod finding;

pub mod incident;

pub mod event;

pub mod plugin;

pub mod order;

pub mod execution;

pub mod acts;

pub mod record;

pub mod memory;

pub mod effect;

pub mod load;

pub mod planning;

pub mod monitors;

pub mod operators;

#[cfg(test)]
mod testing;

pub mod guard;

pub mod step;

mod by_hand;
mod dispatch;
mod holders;
pub mod lasting;
pub mod listed;
mod orders;
mod output;

mod reassigned;

pub mod replacement;

pub use attention::is_something_going_on;
pub use attributes::*;
pub use by_hand::ByHand;
pub use effect::{Contribution, Effect, Inputs, Outcome};
pub use event::{Event, Repeat};
pub use execution::progress::Progress;
pub use execution::{Execution, ExecutionId, ExecutionLimits, MovePhase, MoveState};
pub use finding::{Finding, Output, Severity, Target};
pub use guard::{Check, GuardConfig, Held};
pub use incident::{FoldLimits, Incident, IncidentKey, Incidents};
pub use listed::Listed;
pub use memory::{Memory, REPLACEMENTS, RestoreError};
pub use order::{Order, Scope, Wish, Wishes};
pub use plugin::{ActError, Action, Deliveries, Done, Flow, Monitor, Operator, Verdict};
pub use record::{Record, RecordKind};
pub use replacement::{OnDeadBroker, Replaced, Replacement, Replacements};
pub use state::{Attribute, Fact, State};
pub use step::{
    ActionKind, ActionSlot, ConfigProblem, ConfigWarning, Core, CoreConfig, MonitorSlot, Stepped,
};
pub use time::{Now, Tick, Timestamp};
