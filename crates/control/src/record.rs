//! The audit: one type for every decision, hold and act, so that log, topic, metrics and UI cannot disagree.

use serde::{Deserialize, Serialize};

use crate::finding::{Severity, Target};
use crate::time::Timestamp;

/// What kind of line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// An incident opened, changed its severity, or was resolved.
    Incident,
    /// A decision: an event was admitted.
    Decision,
    /// An event was held by the guard.
    Hold,
    /// Something is being done.
    Act,
    /// What came of it.
    Outcome,
    /// An order of a person.
    Order,
}

/// One line of the audit: who or what, why, what, result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// A number that grows by one with each record of this cluster.
    pub sequence: u64,
    /// When.
    pub timestamp: Timestamp,
    /// The configured name of the cluster.
    pub cluster: String,
    /// Kafka's id of the cluster, where known.
    pub cluster_id: Option<String>,
    /// What kind of line it is.
    pub kind: RecordKind,
    /// Who or what did it: a plugin's name, or a person.
    pub principal: String,
    /// What was done: an event's name, an order's, or an incident's kind.
    pub operation: String,
    /// What it was done to.
    pub target: Target,
    /// Why.
    pub reason: String,
    /// What came of it: `opened`, `resolved`, `admitted`, `held: …`, `submitted`, `done`, `failed: …`, …
    pub result: String,
    /// How much it matters.
    pub severity: Severity,
    /// Whether it was a dry run: nothing was changed.
    pub dry_run: bool,
    /// The execution it belongs to.
    pub execution: Option<u64>,
    /// Details for machines.
    pub detail: serde_json::Value,
}
