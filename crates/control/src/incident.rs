//! Incidents: what lasts longer than a cycle.
//!
//! Incidents are the one memory for graces, for "once per incident", for alerts, snooze and "resolved". They are
//! folded purely from the findings of each cycle and kept in the state store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::Alerted;
use crate::finding::{Finding, Severity, Target};
use crate::time::{Now, Tick, Timestamp};

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
    /// The most that it has concerned, as it was told last, and when that was.
    #[serde(default)]
    pub told: (u64, Timestamp),
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
    /// The cycle of *this process* that opened it: the wall clock may be set while it lasts. `None` for an incident that
    /// was loaded from the store.
    #[serde(skip)]
    pub opened: Option<Tick>,
    /// Whether only operators report it: such an incident cannot be found to be over before they have run.
    #[serde(skip)]
    pub late: bool,
    /// What was done for it: event names with the time of the last time, for "once per incident".
    pub done: BTreeMap<String, Timestamp>,
    /// The alerts that people got for it: they are told when it is over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<Alerted>,
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
    /// How long it lasted in milliseconds, where one process saw all of it; see [`ClosedIncident::lasted`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched_ms: Option<u64>,
    /// The alerts that people got for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<Alerted>,
}

impl ClosedIncident {
    /// How long it lasted: by a clock that nobody sets where one process saw all of it, else by the wall clock.
    pub fn lasted(&self) -> Duration {
        self.watched_ms.map_or_else(|| self.closed.since(self.first_seen), Duration::from_millis)
    }
}

/// Alerts that an incident remembers: more kinds than one incident has.
const MOST_ALERTS: usize = 32;

/// All incidents of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incidents {
    /// Those that are not over, by key.
    #[serde(with = "as_list")]
    pub open: BTreeMap<IncidentKey, Incident>,
    /// Those that are over, oldest first; bounded in number. Shared: they seldom change, and every cycle makes copies.
    pub closed: Arc<Vec<ClosedIncident>>,
    /// The number of the next incident.
    pub next_id: u64,
}

impl Incident {
    /// How long it has lasted: by a clock that nobody sets where this process has opened it, else by the wall clock.
    pub fn lasted(&self, now: Now) -> Duration {
        self.opened.map_or_else(|| now.wall.since(self.first_seen), |opened| now.tick.since(opened))
    }

    /// Since when it lasts, on the wall clock as it goes now.
    pub fn since(&self, now: Now) -> Timestamp {
        let lasted = i64::try_from(self.lasted(now).as_millis()).unwrap_or(i64::MAX);
        let since = Timestamp(now.wall.0.saturating_sub(lasted));
        // Two clocks that nobody sets drift apart by less than this.
        let drift = since.since(self.first_seen).max(self.first_seen.since(since));
        if drift < CLOCK_WAS_SET { self.first_seen } else { since }
    }

    /// Remembers an alert that was handed to an action, once.
    pub(crate) fn alerted(&mut self, alert: Alerted) {
        if self.alerts.len() < MOST_ALERTS && !self.alerts.contains(&alert) {
            self.alerts.push(alert);
        }
    }

    /// The finding that keeps the incident open, for whoever reports it and cannot look for it at present. What is not
    /// known to be over must not be told to be; but the time does not count for any grace.
    pub fn unseen(&self) -> Finding {
        Finding {
            kind: self.key.kind.clone(),
            subject: self.key.subject.clone(),
            severity: self.severity,
            message: self.message.clone(),
            waits_for: self.waits_for.clone(),
            weight: self.told.0,
            unseen: true,
            output: None,
        }
    }
}

/// A wall clock that differs by so much from another one was set.
const CLOCK_WAS_SET: Duration = Duration::from_secs(2);

impl Incidents {
    /// What keeps all open incidents of some kinds open: see [`Incident::unseen`].
    pub fn unseen<'a>(&'a self, kinds: &'a [&str]) -> impl Iterator<Item = Finding> + 'a {
        let concerned = |incident: &&Incident| kinds.contains(&incident.key.kind.as_str());
        self.open.values().filter(concerned).map(Incident::unseen)
    }

    /// The open incident of `kind` about `subject`.
    pub fn get(&self, kind: &str, subject: &Target) -> Option<&Incident> {
        self.open.get(&IncidentKey::new(kind, subject.clone()))
    }

    /// All open incidents of `kind`.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Incident> {
        self.open.values().filter(move |incident| incident.key.kind == kind)
    }
}

/// What the findings of a fold cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The cycle was stopped: what is not among the findings was not looked for, so that nothing is over.
    Stopped,
    /// The monitors have run, the operators have not: incidents that only operators report are not over yet.
    Monitors,
    /// All have run.
    All,
}

/// What a fold has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An incident was opened.
    Opened(IncidentKey),
    /// Its severity has risen from this one.
    Raised(IncidentKey, Severity),
    /// It concerns more than before.
    Grown(IncidentKey),
    /// It is over.
    Resolved(ClosedIncident),
}

/// Bounds of the fold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoldLimits {
    /// An incident that was not seen for longer than this (the process was suspended, Kafka could not be asked) is
    /// watched anew: what was not watched does not count for a grace.
    pub watch_gap: Duration,
    /// How many closed incidents are kept.
    pub keep_closed: usize,
    /// For how long they are kept.
    pub keep_closed_for: Duration,
}

impl Default for FoldLimits {
    /// 30 s hold a few cycles that hang in a time-out, and are shorter than any sensible grace for flapping. A
    /// day of closed incidents shows a broker that goes and comes once an hour.
    fn default() -> Self {
        Self {
            watch_gap: Duration::from_secs(30),
            keep_closed: 1_000,
            keep_closed_for: Duration::from_secs(24 * 3600),
        }
    }
}

/// Folds the findings of a cycle into the incidents.
pub fn fold(
    mut incidents: Incidents,
    findings: &[Finding],
    now: Now,
    look: Look,
    limits: &FoldLimits,
) -> (Incidents, Vec<Change>) {
    let mut changes = Vec::new();
    for finding in findings {
        let key = IncidentKey::from(finding);
        if let Some(incident) = incidents.open.get_mut(&key) {
            if let Some(lower) = go_on(incident, finding, now, look, limits) {
                incident.told = (incident.told.0.max(finding.weight), now.wall);
                changes.push(Change::Raised(key, lower));
            } else if has_grown(incident, finding, now) {
                changes.push(Change::Grown(key));
            }
        } else {
            let incident = open(incidents.next_id, finding, now, look);
            incidents.next_id = incidents.next_id.saturating_add(1);
            changes.push(Change::Opened(key.clone()));
            incidents.open.insert(key, incident);
        }
    }
    resolve(&mut incidents, now, look, limits, &mut changes);
    (incidents, changes)
}

/// What grows step by step, as brokers are found to be dead one after the other, is told at most this often.
const TOLD_AGAIN: Duration = Duration::from_secs(30);

/// Whether it concerns more than was told. Then whoever was alerted is alerted again.
fn has_grown(incident: &mut Incident, finding: &Finding, now: Now) -> bool {
    let (told, at) = incident.told;
    let damped = at <= now.wall && now.wall.since(at) < TOLD_AGAIN;
    if finding.unseen || finding.weight <= told || damped || incident.severity < Severity::Warning {
        return false;
    }
    incident.told = (finding.weight, now.wall);
    incident.done.retain(|mark, _| !mark.starts_with("alert_"));
    true
}

fn open(id: u64, finding: &Finding, now: Now, look: Look) -> Incident {
    Incident {
        id,
        key: IncidentKey::from(finding),
        severity: finding.severity,
        message: finding.message.clone(),
        waits_for: finding.waits_for.clone(),
        told: (finding.weight, now.wall),
        first_seen: now.wall,
        last_seen: now.wall,
        watched_since: Some(now.tick),
        watched_until: Some(now.tick),
        opened: Some(now.tick),
        late: look == Look::All,
        done: BTreeMap::new(),
        alerts: Vec::new(),
        snoozed_until: None,
    }
}

/// Returns the severity before, if it has risen.
fn go_on(
    incident: &mut Incident,
    finding: &Finding,
    now: Now,
    look: Look,
    limits: &FoldLimits,
) -> Option<Severity> {
    let seen_already = incident.watched_until == Some(now.tick);
    if !seen_already {
        incident.late = look == Look::All;
        let watched = incident.watched_until.is_some_and(|until| now.tick.since(until) <= limits.watch_gap);
        if !watched || incident.watched_since.is_none() {
            incident.watched_since = Some(now.tick);
        }
        incident.watched_until = Some(now.tick);
    }
    if incident.message != finding.message {
        incident.message.clone_from(&finding.message);
    }
    if incident.waits_for != finding.waits_for {
        incident.waits_for.clone_from(&finding.waits_for);
    }
    if finding.unseen {
        incident.watched_since = None;
        return None;
    }
    incident.last_seen = now.wall;
    let before = incident.severity;
    incident.severity = before.max(finding.severity);
    (incident.severity > before).then_some(before)
}

fn resolve(incidents: &mut Incidents, now: Now, look: Look, limits: &FoldLimits, changes: &mut Vec<Change>) {
    let is_over = |incident: &Incident| {
        let unseen = incident.watched_until != Some(now.tick);
        match look {
            Look::Stopped => false,
            // One that was loaded from the store may be one that only operators report.
            Look::Monitors => unseen && incident.watched_until.is_some() && !incident.late,
            Look::All => unseen,
        }
    };
    let over: Vec<IncidentKey> =
        incidents.open.values().filter(|i| is_over(i)).map(|i| i.key.clone()).collect();
    for key in over {
        let Some(incident) = incidents.open.remove(&key) else { continue };
        let closed = ClosedIncident {
            id: incident.id,
            key,
            severity: incident.severity,
            message: incident.message,
            first_seen: incident.first_seen,
            closed: now.wall,
            watched_ms: incident.opened.map(|opened| now.tick.0.saturating_sub(opened.0)),
            alerts: incident.alerts,
        };
        changes.push(Change::Resolved(closed.clone()));
        Arc::make_mut(&mut incidents.closed).push(closed);
    }
    let too_many = incidents.closed.len().saturating_sub(limits.keep_closed);
    let too_old =
        incidents.closed.iter().take_while(|c| now.wall.since(c.closed) > limits.keep_closed_for).count();
    let too_many = too_many.max(too_old);
    if too_many > 0 {
        Arc::make_mut(&mut incidents.closed).drain(..too_many);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now { tick: Tick(seconds * 1_000), wall: Timestamp(seconds as i64 * 1_000) }
    }

    fn seen(severity: Severity) -> Vec<Finding> {
        vec![Finding::new("absent", Target::Cluster, severity, "gone")]
    }

    fn step(
        incidents: Incidents,
        findings: &[Finding],
        seconds: u64,
        look: Look,
    ) -> (Incidents, Vec<Change>) {
        fold(incidents, findings, at(seconds), look, &FoldLimits::default())
    }

    fn watched(incidents: &Incidents) -> Option<Tick> {
        incidents.get("absent", &Target::Cluster).and_then(|incident| incident.watched_since)
    }

    #[test]
    fn watches_from_the_first_cycle_that_saw_it() {
        let mut incidents = Incidents::default();
        for second in 5..15 {
            incidents = step(incidents, &seen(Severity::Info), second, Look::All).0;
        }
        assert_eq!(watched(&incidents), Some(Tick(5_000)));
    }

    #[test]
    fn watches_anew_after_a_gap() {
        let (incidents, _) = step(Incidents::default(), &seen(Severity::Info), 5, Look::All);
        let (incidents, _) = step(incidents, &[], 10, Look::Stopped);
        let (incidents, changes) = step(incidents, &seen(Severity::Info), 36, Look::All);
        assert_eq!(watched(&incidents), Some(Tick(36_000)));
        assert_eq!(changes, [], "it is the same incident all the same");
    }

    #[test]
    fn how_long_it_lasted_does_not_depend_on_a_wall_clock_that_is_set() {
        let (incidents, _) = step(Incidents::default(), &seen(Severity::Info), 5, Look::All);
        let an_hour_back = Now { wall: Timestamp(at(35).wall.0 - 3_600_000), ..at(35) };
        let incident = incidents.get("absent", &Target::Cluster).unwrap().clone();
        assert_eq!(incident.lasted(an_hour_back), Duration::from_secs(30));
        assert_eq!(incident.since(an_hour_back), Timestamp(5_000 - 3_600_000));
        assert_eq!(incident.since(at(35)), Timestamp(5_000));
        let (_, changes) = fold(incidents, &[], an_hour_back, Look::All, &FoldLimits::default());
        let [Change::Resolved(closed)] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!(closed.lasted(), Duration::from_secs(30));
        let stored = serde_json::from_value::<ClosedIncident>(serde_json::to_value(closed).unwrap()).unwrap();
        assert_eq!(stored.lasted(), Duration::from_secs(30));
        // What another process has opened is known by the wall clock alone.
        let of_another = ClosedIncident { watched_ms: None, closed: at(45).wall, ..stored };
        assert_eq!(of_another.lasted(), Duration::from_secs(40));
    }

    #[test]
    fn what_cannot_be_looked_for_is_not_over_and_not_watched() {
        let (incidents, _) = step(Incidents::default(), &seen(Severity::Info), 5, Look::All);
        let kept: Vec<Finding> = incidents.unseen(&["absent"]).collect();
        let (incidents, changes) = step(incidents, &kept, 6, Look::All);
        assert_eq!((watched(&incidents), changes.len(), incidents.open.len()), (None, 0, 1));
        let (incidents, changes) = step(incidents, &seen(Severity::Info), 7, Look::All);
        assert_eq!((watched(&incidents), changes.len()), (Some(Tick(7_000)), 0));
        assert_eq!(incidents.get("absent", &Target::Cluster).unwrap().first_seen, Timestamp(5_000));
    }

    #[test]
    fn watches_anew_in_another_process() {
        let (incidents, _) = step(Incidents::default(), &seen(Severity::Info), 5, Look::All);
        let stored = serde_json::to_value(&incidents).unwrap();
        let restored: Incidents = serde_json::from_value(stored).unwrap();
        assert_eq!(watched(&restored), None);
        let (restored, _) = step(restored, &seen(Severity::Info), 6, Look::All);
        assert_eq!(watched(&restored), Some(Tick(6_000)));
    }

    #[test]
    fn is_over_when_it_was_looked_for_and_not_found() {
        let (incidents, _) = step(Incidents::default(), &seen(Severity::Info), 5, Look::Monitors);
        let (incidents, changes) = step(incidents, &[], 6, Look::Stopped);
        assert_eq!(changes, []);
        let (incidents, changes) = step(incidents, &[], 48, Look::Monitors);
        assert!(matches!(changes.as_slice(), [Change::Resolved(_)]));
        assert!(incidents.open.is_empty() && incidents.closed.len() == 1);
    }

    #[test]
    fn what_only_operators_report_is_not_over_before_they_have_run() {
        let (incidents, _) = step(Incidents::default(), &seen(Severity::Info), 5, Look::All);
        let (incidents, changes) = step(incidents, &[], 6, Look::Monitors);
        assert_eq!(changes, []);
        let (incidents, _) = step(incidents, &seen(Severity::Info), 6, Look::All);
        assert_eq!(watched(&incidents), Some(Tick(5_000)));
        let (_, changes) = step(incidents, &[], 7, Look::All);
        assert!(matches!(changes.as_slice(), [Change::Resolved(_)]));
    }

    #[test]
    fn keeps_the_highest_severity_and_tells_when_it_rises() {
        let (incidents, _) = step(Incidents::default(), &seen(Severity::Info), 5, Look::All);
        let (incidents, changes) = step(incidents, &seen(Severity::Critical), 6, Look::All);
        let key = IncidentKey::new("absent", Target::Cluster);
        assert_eq!(changes, [Change::Raised(key, Severity::Info)]);
        let (incidents, changes) = step(incidents, &seen(Severity::Warning), 7, Look::All);
        assert_eq!(changes, []);
        let severity = incidents.get("absent", &Target::Cluster).map(|incident| incident.severity);
        assert_eq!(severity, Some(Severity::Critical));
    }

    #[test]
    fn keeps_a_bounded_number_of_closed_incidents_for_a_bounded_time() {
        let mut incidents = Incidents::default();
        for round in 0..1_500 {
            incidents = step(incidents, &seen(Severity::Info), round * 2, Look::All).0;
            incidents = step(incidents, &[], round * 2 + 1, Look::All).0;
        }
        assert_eq!(incidents.closed.len(), 1_000);
        assert_eq!(incidents.closed.last().map(|closed| closed.id), Some(1_499));
        let (incidents, _) = step(incidents, &[], 200_000, Look::All);
        assert!(incidents.closed.is_empty());
    }
}
