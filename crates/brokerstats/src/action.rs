//! OperatorAction: one line of the audit, as it lies in the actions topic.

use serde::{Deserialize, Serialize};

use crate::ACTION_SCHEMA_VERSION;

/// One line of the audit. The first three fields are the original's; an empty string is "nothing to say".
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OperatorAction {
    /// When, in milliseconds since the epoch.
    pub timestamp: i64,
    /// The cluster's name in the service's configuration.
    pub cluster_name: String,
    /// The whole in one sentence; all that the original has.
    pub description: String,

    // The original's record ends here; everything below is appended.
    /// Version of what follows; 0 in records of the original, which has none of it.
    pub schema_version: i32,
    /// Kafka's `cluster.id`.
    pub cluster_id: String,
    /// Identity of the record: seen twice, it is still one act.
    pub id: String,
    /// What sort of record: a decision, a hold, an act, an outcome.
    pub kind: String,
    /// What was ordered, by the event's name.
    pub operation: String,
    /// What it was done to.
    pub target: String,
    /// Why.
    pub reason: String,
    /// What came of it.
    pub result: String,
    /// Who: the plugin, or the person.
    pub principal: String,
    /// Identity of the record or incident that led to this one.
    pub cause: String,
    /// Nothing was changed: the record says what would have been.
    pub dry_run: bool,
    /// More, as JSON.
    pub detail: String,
}

/// The JSON form of an [`OperatorAction`] for people and scripts: one object a line.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionLine<'a> {
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// The cluster's name in the service's configuration.
    pub cluster: &'a str,
    /// What was ordered. For a record of the original, which tells only in words, its description.
    pub operation: &'a str,
    /// What it was done to.
    pub target: &'a str,
    /// Why.
    pub reason: &'a str,
    /// What came of it.
    pub result: &'a str,
    /// Nothing was changed.
    pub dry_run: bool,
    /// What sort of record.
    pub kind: &'a str,
    /// Who.
    pub principal: &'a str,
    /// Identity of the record.
    pub id: &'a str,
    /// Identity of what led to it.
    pub cause: &'a str,
    /// Kafka's `cluster.id`.
    pub cluster_id: &'a str,
    /// The whole in one sentence.
    pub description: &'a str,
    /// More; JSON where the record's detail is JSON, else a string, null when there is none.
    pub detail: serde_json::Value,
}

impl OperatorAction {
    /// A record of this version with nothing in it but the three fields that every reader knows.
    pub fn new(
        timestamp: i64,
        cluster_name: impl Into<String>,
        description: impl Into<String>,
    ) -> OperatorAction {
        OperatorAction {
            timestamp,
            cluster_name: cluster_name.into(),
            description: description.into(),
            schema_version: ACTION_SCHEMA_VERSION,
            ..OperatorAction::default()
        }
    }

    /// The form that is printed, one JSON object a line.
    pub fn line(&self) -> ActionLine<'_> {
        let detail = match serde_json::from_str(&self.detail) {
            Ok(value) => value,
            Err(_) if self.detail.is_empty() => serde_json::Value::Null,
            Err(_) => serde_json::Value::String(self.detail.clone()),
        };
        ActionLine {
            timestamp: self.timestamp,
            cluster: &self.cluster_name,
            operation: if self.schema_version == 0 { &self.description } else { &self.operation },
            target: &self.target,
            reason: &self.reason,
            result: &self.result,
            dry_run: self.dry_run,
            kind: &self.kind,
            principal: &self.principal,
            id: &self.id,
            cause: &self.cause,
            cluster_id: &self.cluster_id,
            description: &self.description,
            detail,
        }
    }
}
