//! The audit: one type for every decision, hold and act, so that log, topic, metrics and UI cannot disagree.

use serde::{Deserialize, Serialize};

use crate::execution::Execution;
use crate::finding::{Severity, Target};
use crate::incident::IncidentKey;
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
    /// What a program prints that does it.
    Output,
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
    /// What came of it: `opened`, `resolved`, `admitted`, `held: …`, `submitted`, `done`, `failed: …`, `refused: …`, …
    pub result: String,
    /// How much it matters.
    pub severity: Severity,
    /// Whether it was a dry run: nothing was changed.
    pub dry_run: bool,
    /// The incident that is the cause, where there is one.
    #[serde(default)]
    pub cause: Option<IncidentKey>,
    /// The execution it belongs to.
    pub execution: Option<u64>,
    /// Details for machines.
    pub detail: serde_json::Value,
}

/// The principal of what the framework itself decides.
pub const CORE: &str = "doctorkafka";

/// A record in the making: what a part of the step knows of it.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    kind: RecordKind,
    principal: String,
    operation: String,
    target: Target,
    reason: String,
    result: String,
    severity: Severity,
    dry_run: bool,
    cause: Option<IncidentKey>,
    execution: Option<u64>,
    detail: serde_json::Value,
}

impl Line {
    pub(crate) fn new(kind: RecordKind, by: &str, operation: &str, target: &Target) -> Self {
        Self {
            kind,
            principal: by.to_owned(),
            operation: operation.to_owned(),
            target: target.clone(),
            reason: String::new(),
            result: String::new(),
            severity: Severity::Info,
            dry_run: false,
            cause: None,
            execution: None,
            detail: serde_json::Value::Null,
        }
    }

    /// A line about an execution, by its action.
    pub(crate) fn of(kind: RecordKind, execution: &Execution) -> Self {
        let event = &execution.event;
        let mut line = Self::new(kind, &execution.action, &event.name, &event.target).because(&event.reason);
        line.cause.clone_from(&event.cause);
        line.dry_run = execution.dry_run;
        line.execution = Some(execution.id.0);
        line
    }

    pub(crate) fn because(mut self, reason: &str) -> Self {
        reason.clone_into(&mut self.reason);
        self
    }

    pub(crate) fn caused_by(mut self, cause: Option<&IncidentKey>) -> Self {
        self.cause = cause.cloned();
        self
    }

    pub(crate) fn result(mut self, result: impl Into<String>) -> Self {
        self.result = result.into();
        self
    }

    pub(crate) fn set_result(&mut self, result: String) {
        self.result = result;
    }

    pub(crate) fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    pub(crate) fn dry(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    pub(crate) fn detail(mut self, detail: serde_json::Value) -> Self {
        self.detail = detail;
        self
    }

    pub(crate) fn into_record(
        self,
        sequence: u64,
        now: Timestamp,
        cluster: &str,
        id: Option<&str>,
    ) -> Record {
        Record {
            sequence,
            timestamp: now,
            cluster: cluster.to_owned(),
            cluster_id: id.map(str::to_owned),
            kind: self.kind,
            principal: self.principal,
            operation: self.operation,
            target: self.target,
            reason: self.reason,
            result: self.result,
            severity: self.severity,
            dry_run: self.dry_run,
            cause: self.cause,
            execution: self.execution,
            detail: self.detail,
        }
    }
}
