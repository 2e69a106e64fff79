//! Findings: what a monitor or an operator saw in one cycle, and why it waits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cluster::{BrokerId, TopicPartition};
use serde::{Deserialize, Serialize};

/// What a finding, an incident or an event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The whole cluster.
    Cluster,
    /// One broker.
    Broker(BrokerId),
    /// One partition.
    Partition(TopicPartition),
    /// One log directory of a broker.
    LogDir(BrokerId, Arc<str>),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("cluster"),
            Self::Broker(id) => write!(f, "broker {id}"),
            Self::Partition(p) => write!(f, "partition {p}"),
            Self::LogDir(id, path) => write!(f, "log dir {path} of broker {id}"),
        }
    }
}

/// How much a finding matters to the person on call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; nothing needs to be done.
    Info,
    /// Something is not as it should be, or is being healed.
    Warning,
    /// A person is needed.
    Critical,
}

/// What was seen in one cycle. The same kind and subject in the next cycle is the same incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The kind, in `snake_case`: a public name, listed in `docs/schema.md`.
    pub kind: String,
    /// What it is about.
    pub subject: Target,
    /// How much it matters.
    pub severity: Severity,
    /// What was seen, in a sentence for a tired person.
    pub message: String,
    /// What is being waited for, where something is.
    pub waits_for: Option<String>,
    /// How many it concerns (partitions, brokers), where that can grow while it lasts: then it is told anew.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub weight: u64,
    /// Whether it could not be looked for in this cycle: its incident is not over, but this time is not watched.
    #[serde(skip)]
    pub unseen: bool,
    /// What a program prints that an action runs for the subject.
    #[serde(skip)]
    pub output: Option<Box<Output>>,
}

/// What a program prints, while it runs. It is bounded by whoever reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Its last lines.
    pub last: Vec<String>,
    /// How long ago it printed the last of them; `None` before the first.
    pub quiet: Option<Duration>,
    /// Lines that are to be put on record at this moment.
    pub news: Vec<String>,
    /// How many lines before them are on no record.
    pub left_out: u64,
}

impl Finding {
    /// A finding that waits for nothing.
    pub fn new(kind: &str, subject: Target, severity: Severity, message: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            subject,
            severity,
            message: message.into(),
            waits_for: None,
            weight: 0,
            unseen: false,
            output: None,
        }
    }

    /// The same finding, concerning so many.
    #[must_use]
    pub fn concerning(mut self, many: usize) -> Self {
        self.weight = many as u64;
        self
    }

    /// The same finding, saying what is being waited for.
    #[must_use]
    pub fn waiting_for(mut self, what: impl Into<String>) -> Self {
        self.waits_for = Some(what.into());
        self
    }
}

// The attribute of serde asks for a reference.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference over")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
