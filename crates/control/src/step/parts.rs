//! What a core is made of, and what may be wrong with that.

use std::collections::BTreeSet;
use std::fmt;

use thiserror::Error;

use crate::event::names;
use crate::execution::ExecutionLimits;
use crate::guard::GuardConfig;
use crate::incident::FoldLimits;
use crate::plugin::{Monitor, Operator};
use crate::replacement::OnDeadBroker;

/// A place in the pipeline of monitors.
pub enum MonitorSlot {
    /// A source monitor, by its configured name: its newest contribution is copied in here.
    Source(String),
    /// A deriving monitor.
    Deriving(Box<dyn Monitor>),
}

/// How an action is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionKind {
    /// It is called once for each event.
    Once,
    /// It is called with a [`crate::event::ReassignStep`] for each step of a `reassign_partitions` event, and answers
    /// with a [`crate::event::ReassignResult`] as the detail of what it did.
    Reassign,
}

/// An action as the core knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionSlot {
    /// Its name in the configuration.
    pub name: String,
    /// The names of the events that it is subscribed to.
    pub subscribed: Vec<String>,
    /// Whether it may change nothing.
    pub dry_run: bool,
    /// How it is driven.
    pub kind: ActionKind,
    /// Whether an order of which it is not known whether it was carried out must not be given again. Messages always
    /// are.
    pub at_most_once: bool,
    /// Whether what it does can be stopped while it is under way.
    pub can_stop: bool,
    /// The names of the events that it can emit.
    pub emits: Vec<String>,
}

impl ActionSlot {
    /// Whether it replaces hosts, and does so for real.
    pub(super) fn replaces_hosts(&self) -> bool {
        !self.dry_run && self.subscribed.iter().any(|event| event == names::REPLACE_INSTANCE)
    }
}

/// What a core is made of.
pub struct CoreConfig {
    /// The configured name of the cluster.
    pub cluster: String,
    /// The monitors in their configured order.
    pub monitors: Vec<MonitorSlot>,
    /// The operators in their configured order.
    pub operators: Vec<Box<dyn Operator>>,
    /// The actions.
    pub actions: Vec<ActionSlot>,
    /// What the guard allows.
    pub guard: GuardConfig,
    /// Bounds of executions.
    pub limits: ExecutionLimits,
    /// Bounds of the incidents.
    pub incidents: FoldLimits,
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigProblem {
    /// An action waits for an event that cannot come.
    #[error("action {action} subscribes to {event}, which nothing can emit")]
    NobodyEmits {
        /// The action.
        action: String,
        /// The event.
        event: String,
    },
    /// Healing would wait for replacements that nothing asks for, or nobody makes.
    #[error("on_dead_broker is replace_first, but {0}")]
    NobodyReplaces(&'static str),
    /// Two programs would work on one host at once.
    #[error(
        "actions {first} and {second} both replace hosts: one alone may subscribe to replace_instance (what only tells of it \
         subscribes to notify_replacement)"
    )]
    TwoReplace {
        /// One of them.
        first: String,
        /// Another.
        second: String,
    },
    /// Two plugins of a kind have the same name.
    #[error("there are two {kind} named {name}")]
    SameName {
        /// `monitors`, `operators` or `actions`.
        kind: &'static str,
        /// The name.
        name: String,
    },
}

/// What is odd about a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigWarning {
    /// An event can be emitted, but no action subscribes to it.
    NobodySubscribes {
        /// Who can emit it.
        emitter: String,
        /// The event.
        event: String,
    },
}

impl fmt::Display for ConfigWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NobodySubscribes { emitter, event } => {
                write!(f, "no action subscribes to {event}, which {emitter} can emit")
            }
        }
    }
}

/// Events that the framework itself emits.
pub const OWN_EVENTS: [&str; 10] = [
    names::ALERT_INCIDENT,
    names::ALERT_MASS_FAILURE,
    names::ALERT_RESOLVED,
    names::ALERT_STUCK_REASSIGNMENT,
    names::ALERT_THROTTLE_LEFT,
    names::ALERT_UNKNOWN_OUTCOME,
    names::ELECT_LEADERS,
    names::NOTIFY_MAINTENANCE_MODE,
    names::NOTIFY_REASSIGNMENT,
    names::REPORT_OPERATION,
];

/// Finds what is wrong or odd with a configuration.
pub(super) fn check(config: &CoreConfig) -> Result<Vec<ConfigWarning>, Vec<ConfigProblem>> {
    let mut problems = Vec::new();
    let monitors = config.monitors.iter().map(|slot| match slot {
        MonitorSlot::Source(name) => name.as_str(),
        MonitorSlot::Deriving(monitor) => monitor.name(),
    });
    problems.extend(twice("monitors", monitors));
    problems.extend(twice("operators", config.operators.iter().map(|operator| operator.name())));
    problems.extend(twice("actions", config.actions.iter().map(|slot| slot.name.as_str())));
    let mut emitted: Vec<(String, String)> = Vec::new();
    for operator in &config.operators {
        emitted.extend(operator.emits().into_iter().map(|event| (operator.name().to_owned(), event)));
    }
    for slot in &config.actions {
        emitted.extend(slot.emits.iter().map(|event| (slot.name.clone(), event.clone())));
    }
    let known: BTreeSet<&str> = emitted.iter().map(|(_, event)| event.as_str()).chain(OWN_EVENTS).collect();
    let mut subscribed = BTreeSet::new();
    for slot in &config.actions {
        for event in &slot.subscribed {
            subscribed.insert(event.as_str());
            if !known.contains(event.as_str()) {
                problems.push(ConfigProblem::NobodyEmits { action: slot.name.clone(), event: event.clone() });
            }
        }
    }
    let mut replacing =
        config.actions.iter().filter(|slot| slot.replaces_hosts()).map(|slot| slot.name.clone());
    if let (Some(first), Some(second)) = (replacing.next(), replacing.next()) {
        problems.push(ConfigProblem::TwoReplace { first, second });
    }
    if config.guard.on_dead_broker == OnDeadBroker::ReplaceFirst {
        if !known.contains(names::REPLACE_INSTANCE) {
            let what = "no operator asks for replacements (broker_replacement)";
            problems.push(ConfigProblem::NobodyReplaces(what));
        } else if !subscribed.contains(names::REPLACE_INSTANCE) {
            problems.push(ConfigProblem::NobodyReplaces("no action subscribes to replace_instance"));
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let unheard = emitted.iter().filter(|(_, event)| !subscribed.contains(event.as_str()));
    let warning = |(emitter, event): &(String, String)| ConfigWarning::NobodySubscribes {
        emitter: emitter.clone(),
        event: event.clone(),
    };
    Ok(unheard.map(warning).collect())
}

fn twice<'a>(kind: &'static str, names: impl Iterator<Item = &'a str>) -> Vec<ConfigProblem> {
    let mut seen = BTreeSet::new();
    names
        .filter(|name| !seen.insert(*name))
        .map(|name| ConfigProblem::SameName { kind, name: name.to_owned() })
        .collect()
}
