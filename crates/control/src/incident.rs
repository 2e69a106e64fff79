//! Incidents: what lasts longer than a cycle.
//!
//! Incidents are the one memory for graces, for "once per incident", for alerts, snooze and "resolved". They are
//! folded purely from the findings of each cycle and kept in the state store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::finding::{Finding, Severity, Target};
use crate::time::{Tick, Timestamp};

/// What makes two findings the same incident.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IncidentKey {
    /// The kind of its findings.
    pub kind: String,
    /// What it is about.
    pub subject: Target,
}

impl IncidentKey {
    /// The key of incidents of `kind` about `subject`.
    pub fn new(kind: &str, subject: Target) -> Self {
        Self { kind: kind.to_owned(), subject }
    }
}

impl From<&Finding> for IncidentKey {
    fn from(finding: &Finding) -> Self {
        Self { kind: finding.kind.clone(), subject: finding.subject.clone() }
    }
}

/// Something that is wrong, from the first cycle that saw it to the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// A number that is unique within a cluster and never used again.
    pub id: u64,
    /// What it is.
    pub key: IncidentKey,
    /// The highest severity so far.
    pub severity: Severity,
    /// The newest message.
    pub message: String,
    /// What is being waited for.
    pub waits_for: Option<String>,
    /// When it was first seen, by any process.
    pub first_seen: Timestamp,
    /// When it was last seen.
    pub last_seen: Timestamp,
    /// Since when *this process* has seen it without a gap. Graces count from here: what was not watched does not
    /// count. `None` for an incident that was loaded from the store and has not been seen since.
    #[serde(skip)]
    pub watched_since: Option<Tick>,
    /// The last cycle that saw it.
    #[serde(skip)]
    pub watched_until: Option<Tick>,
    /// Whether only operators report it: such an incident cannot be found to be over before they have run.
    #[serde(skip)]
    pub late: bool,
    /// What was done for it: event names with the time of the last time, for "once per incident".
    pub done: BTreeMap<String, Timestamp>,
    /// Since when it has been snoozed by a person, and until when.
    pub snoozed_until: Option<Timestamp>,
}

/// An incident that is over. Kept for a while: a broker that keeps going and coming is seen in these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedIncident {
    /// Its number.
    pub id: u64,
    /// What it was.
    pub key: IncidentKey,
    /// Its severity.
    pub severity: Severity,
    /// Its last message.
    pub message: String,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// When it was found to be over.
    pub closed: Timestamp,
}

/// All incidents of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incidents {
    /// Those that are not over, by key.
    #[serde(with = "as_list")]
    pub open: BTreeMap<IncidentKey, Incident>,
    /// Those that are over, oldest first; bounded in number.
    pub closed: Vec<ClosedIncident>,
    /// The number of the next incident.
    pub next_id: u64,
}

impl Incidents {
    /// The open incident of `kind` about `subject`.
    pub fn get(&self, kind: &str, subject: &Target) -> Option<&Incident> {
        self.open.get(&IncidentKey::new(kind, subject.clone()))
    }

    /// All open incidents of `kind`.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Incident> {
        self.open.values().filter(move |incident| incident.key.kind == kind)
    }
}

/// JSON has only strings as keys of objects, so the map travels as a list.
mod as_list {
    use super::{BTreeMap, Incident, IncidentKey};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        open: &BTreeMap<IncidentKey, Incident>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(open.values())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<IncidentKey, Incident>, D::Error> {
        let list = Vec::<Incident>::deserialize(from)?;
        Ok(list.into_iter().map(|incident| (incident.key.clone(), incident)).collect())
    }
}
