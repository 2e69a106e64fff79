//! Live brokers that do not do what they should: a log directory has failed or cannot be written, the threads that handle
//! requests are hardly ever idle, the agent says that something has failed, or answers come much later than those of the others.
//!
//! Nothing flaps: each of these must last, watched by us, before it counts, and be gone for a while before it no longer does.
//! What cannot be seen at present is taken to be as it was. The monitor acts on nothing; `broker_replacement` may be told to.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster::BrokerId;
use serde::{Deserialize, Serialize};

use super::{kinds, maintenance};
use crate::attributes::{
    BrokerReport, BrokerReports, Degraded, DegradedBrokers, DegradedReason, Disks, KnownBrokers, Liveness,
    Maintenance, Probes,
};
use crate::config::HumanDuration;
use crate::finding::{Finding, Severity, Target};
use crate::incident::Incident;
use crate::plugin::{Flow, Monitor};
use crate::state::State;

/// Configuration of the monitor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// For so long a log dir must have failed, or be read-only. Default 1 minute: Kafka takes a failed one into use again only
    /// when the broker is started.
    pub log_dir_after: HumanDuration,
    /// Request handlers that are idle for less than this percent of their time are saturated. Default 10: Kafka's own advice is to
    /// keep it above 30.
    pub saturated_below_idle_percent: u8,
    /// They are well again above this. Default 20.
    pub well_above_idle_percent: u8,
    /// For so long they must be saturated. Default 10 minutes: ten reports.
    pub saturated_after: HumanDuration,
    /// For so long the agent's reports must say that they failed. Default 10 minutes: ten reports.
    pub failure_after: HumanDuration,
    /// A broker is slow that takes so many times the median of the others to answer. Default 10.
    pub slow_factor: u32,
    /// And at least so long. Default 500 ms: racks are milliseconds apart, and a garbage collection takes tens of them.
    pub slow_least: HumanDuration,
    /// And for so long. Default 10 minutes.
    pub slow_after: HumanDuration,
    /// With fewer others that answer nobody is called slow. Default 3: the median of two is one of them, or neither.
    pub slow_peers: usize,
    /// So long something must be gone before it no longer counts. Default 10 minutes.
    pub recovered_after: HumanDuration,
    /// How old an agent's report may be. Default 3 minutes: three reports.
    pub max_report_age: HumanDuration,
    /// How old what is known of log dirs may be. Default 15 minutes: three looks.
    pub max_disks_age: HumanDuration,
    /// How old our own probes, and the knowledge of who is alive, may be. Default 10 s.
    pub max_liveness_age: HumanDuration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            log_dir_after: HumanDuration::seconds(60),
            saturated_below_idle_percent: 10,
            well_above_idle_percent: 20,
            saturated_after: HumanDuration::seconds(600),
            failure_after: HumanDuration::seconds(600),
            slow_factor: 10,
            slow_least: HumanDuration(Duration::from_millis(500)),
            slow_after: HumanDuration::seconds(600),
            slow_peers: 3,
            recovered_after: HumanDuration::seconds(600),
            max_report_age: HumanDuration::seconds(180),
            max_disks_age: HumanDuration::seconds(900),
            max_liveness_age: HumanDuration::seconds(10),
        }
    }
}

impl Config {
    /// Makes the monitor.
    pub fn build(&self, name: impl Into<String>) -> DegradedBrokersMonitor {
        DegradedBrokersMonitor { name: name.into(), config: self.clone() }
    }
}

/// What can be wrong, the weightiest first.
pub const KINDS: [&str; 5] = [
    kinds::LOG_DIR_FAILED,
    kinds::LOG_DIR_READ_ONLY,
    kinds::AGENT_REPORTS_FAILURE,
    kinds::REQUEST_HANDLERS_SATURATED,
    kinds::BROKER_SLOW,
];

/// The reason of a report that tells of a disk.
const DISK_FAILURE: &str = "DiskFailure";

/// Writes [`DegradedBrokers`] while it is known who is alive.
#[derive(Clone, Debug)]
pub struct DegradedBrokersMonitor {
    name: String,
    config: Config,
}

impl Monitor for DegradedBrokersMonitor {
    fn name(&self) -> &str {
        &self.name
    }

    fn observe(&self, state: &mut State) -> Flow {
        let (degraded, findings) = self.look(state);
        if let Some(degraded) = degraded {
            let tick = state.now().tick;
            state.put(degraded, tick);
        }
        for finding in findings {
            state.report(finding);
        }
        Flow::Continue
    }
}

/// What is seen of one thing that can be wrong with a broker.
enum Sign {
    /// It is wrong: what, and how many it concerns.
    Bad(String, usize),
    /// It is not.
    Well,
    /// It cannot be seen, or is neither.
    Unclear,
}

impl Sign {
    fn bad_if(bad: bool, message: impl FnOnce() -> String) -> Self {
        if bad { Self::Bad(message(), 0) } else { Self::Well }
    }
}

/// What is known, each only while it is fresh.
struct Known<'a> {
    reports: BTreeMap<BrokerId, &'a BrokerReport>,
    disks: Option<&'a Disks>,
    /// How long live brokers usually take to answer.
    answers: BTreeMap<BrokerId, Duration>,
    /// The same, the shortest first.
    sorted: Vec<Duration>,
}

impl Known<'_> {
    /// The median of all answers but one of this length, and how many they are.
    fn median_of_others(&self, takes: Duration) -> Option<(Duration, usize)> {
        let own = self.sorted.binary_search(&takes).ok()?;
        let others = self.sorted.len().checked_sub(1).filter(|others| *others > 0)?;
        let middle = others / 2;
        let median = self.sorted.get(if own <= middle { middle + 1 } else { middle })?;
        Some((*median, others))
    }
}

impl DegradedBrokersMonitor {
    fn look(&self, state: &State) -> (Option<DegradedBrokers>, Vec<Finding>) {
        let Ok(liveness) = state.fresh::<Liveness>(self.config.max_liveness_age.0) else {
            return (None, state.incidents().unseen(&KINDS).collect());
        };
        let known = self.known(state, liveness);
        let maintenance = maintenance::current(state);
        let mut found = DegradedBrokers::default();
        let mut findings = Vec::new();
        for id in liveness.live.keys().filter(|id| !maintenance.brokers.contains_key(id)) {
            let mut reasons = Vec::new();
            for (kind, sign, severity, after) in self.signs(*id, &known) {
                let Some(finding) = self.judge(state, *id, kind, sign, severity, after) else { continue };
                if finding.severity > Severity::Info {
                    let incident = state.incidents().get(kind, &finding.subject);
                    let since = incident.map_or(state.now().wall, |incident| incident.since(state.now()));
                    reasons.push(DegradedReason {
                        kind: kind.to_owned(),
                        since,
                        message: finding.message.clone(),
                    });
                }
                findings.push(finding);
            }
            if let Some(since) = reasons.iter().map(|reason| reason.since).min() {
                found.brokers.insert(*id, Degraded { since, reasons });
            }
        }
        findings.extend(of_the_absent(state, liveness, &maintenance));
        (Some(found), findings)
    }

    fn known<'a>(&self, state: &'a State, liveness: &Liveness) -> Known<'a> {
        let mut reports = BTreeMap::new();
        if let Some(all) = state.get::<BrokerReports>() {
            let read_ago = state.now().tick.since(all.as_of);
            let is_fresh =
                |report: &BrokerReport| report.age.saturating_add(read_ago) <= self.config.max_report_age.0;
            let fresh = all.value.brokers.iter().filter(|(_, report)| is_fresh(report));
            reports.extend(fresh.map(|(id, report)| (*id, report)));
        }
        let probes = state.fresh::<Probes>(self.config.max_liveness_age.0).ok();
        let probes = probes.into_iter().flat_map(|probes| &probes.0);
        let live = probes.filter(|(id, probe)| liveness.live.contains_key(id) && probe.failure.is_none());
        let answers: BTreeMap<BrokerId, Duration> =
            live.filter_map(|(id, probe)| Some((*id, probe.usual?))).collect();
        let mut sorted: Vec<Duration> = answers.values().copied().collect();
        sorted.sort_unstable();
        Known { reports, disks: state.fresh(self.config.max_disks_age.0).ok(), answers, sorted }
    }

    /// What is seen of a broker, how much it matters, and for how long it must last.
    fn signs(&self, id: BrokerId, known: &Known<'_>) -> [(&'static str, Sign, Severity, Duration); 5] {
        let config = &self.config;
        let report = known.reports.get(&id).copied();
        let failure = report.map_or(Sign::Unclear, |report| {
            // What is wrong with a log dir is told by itself.
            let failure = report.failure.as_deref();
            let failure = failure.filter(|_| !is_of_disk(report));
            let words = || {
                let reason = report.failure_reason.as_deref().unwrap_or("UnknownError");
                format!(
                    "the agent of broker {id} reports a failure ({reason}): {}",
                    failure.unwrap_or(reason)
                )
            };
            Sign::bad_if(failure.is_some(), words)
        });
        let log_dir = config.log_dir_after.0;
        [
            (kinds::LOG_DIR_FAILED, failed_log_dirs(id, known, report), Severity::Critical, log_dir),
            (kinds::LOG_DIR_READ_ONLY, read_only(id, report), Severity::Critical, log_dir),
            (kinds::AGENT_REPORTS_FAILURE, failure, Severity::Warning, config.failure_after.0),
            (
                kinds::REQUEST_HANDLERS_SATURATED,
                self.saturated(id, report),
                Severity::Warning,
                config.saturated_after.0,
            ),
            (kinds::BROKER_SLOW, self.slow(id, known), Severity::Warning, config.slow_after.0),
        ]
    }

    fn saturated(&self, id: BrokerId, report: Option<&BrokerReport>) -> Sign {
        let Some(idle) = report.and_then(|report| report.request_handlers_idle_permille) else {
            return Sign::Unclear;
        };
        let below = u32::from(self.config.saturated_below_idle_percent) * 10;
        let above = u32::from(self.config.well_above_idle_percent) * 10;
        if idle >= below && idle <= above.max(below) {
            return Sign::Unclear;
        }
        Sign::bad_if(idle < below, || {
            format!(
                "the request handlers of broker {id} are idle for {}.{} % of their time, less than {} %",
                idle / 10,
                idle % 10,
                self.config.saturated_below_idle_percent
            )
        })
    }

    /// Held against the median of the others, which one slow broker does not change.
    fn slow(&self, id: BrokerId, known: &Known<'_>) -> Sign {
        let Some(takes) = known.answers.get(&id).copied() else { return Sign::Unclear };
        let Some((median, others)) = known.median_of_others(takes) else { return Sign::Unclear };
        if others < self.config.slow_peers {
            return Sign::Unclear;
        }
        let limit = median.saturating_mul(self.config.slow_factor).max(self.config.slow_least.0);
        if takes < limit && takes >= limit / 2 {
            return Sign::Unclear;
        }
        Sign::bad_if(takes >= limit, || {
            format!(
                "broker {id} takes {} ms to answer, the median of the other {} takes {} ms",
                takes.as_millis(),
                others,
                median.as_millis()
            )
        })
    }

    /// What follows from a sign for what is remembered. The finding is more than information once it counts.
    fn judge(
        &self,
        state: &State,
        id: BrokerId,
        kind: &str,
        sign: Sign,
        severity: Severity,
        after: Duration,
    ) -> Option<Finding> {
        let now = state.now();
        let subject = Target::Broker(id);
        let incident = state.incidents().get(kind, &subject);
        let counts = incident.filter(|incident| incident.severity > Severity::Info);
        match sign {
            Sign::Bad(message, many) => {
                let since = incident.and_then(|incident| incident.watched_since);
                let lasted = since.map_or(Duration::ZERO, |since| now.tick.since(since));
                if counts.is_some() || lasted >= after {
                    return Some(Finding::new(kind, subject, severity, message).concerning(many));
                }
                let finding = Finding::new(kind, subject, Severity::Info, message);
                Some(finding.waiting_for(format!("this to last for {}", HumanDuration(after))))
            }
            // It is not over before somebody has seen it to be.
            Sign::Unclear => counts.map(as_it_was),
            Sign::Well => {
                let incident = counts?;
                if incident.last_seen > now.wall {
                    // The clock was set back: the time until it is over begins anew.
                    return Some(as_it_was(incident));
                }
                let gone_for = now.wall.since(incident.last_seen);
                let over = self.config.recovered_after;
                (gone_for < over.0).then(|| {
                    incident.unseen().waiting_for(format!("it to be gone for {over}, as it is at present"))
                })
            }
        }
    }
}

/// What is wrong with brokers that are not live at present: nobody has mended it by taking them down.
fn of_the_absent(state: &State, liveness: &Liveness, maintenance: &Maintenance) -> Vec<Finding> {
    let Some(known) = state.get::<KnownBrokers>() else { return Vec::new() };
    let is_absent = |incident: &&Incident| match &incident.key.subject {
        Target::Broker(id) => {
            let excused = maintenance.brokers.contains_key(id) || maintenance.decommissioned.contains_key(id);
            known.value.0.contains_key(id) && !liveness.live.contains_key(id) && !excused
        }
        _ => false,
    };
    let all = KINDS.iter().flat_map(|kind| state.incidents().of_kind(kind));
    all.filter(|incident| incident.severity > Severity::Info).filter(is_absent).map(as_it_was).collect()
}

fn as_it_was(incident: &Incident) -> Finding {
    Finding { unseen: false, ..incident.unseen() }
}

/// Log dirs that have failed, by what the broker says itself or by what its agent does.
fn failed_log_dirs(id: BrokerId, known: &Known<'_>, report: Option<&BrokerReport>) -> Sign {
    let own = known.disks.and_then(|disks| disks.brokers.get(&id));
    let mut failed: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    failed.extend(report.iter().flat_map(|report| &report.failed_log_dirs).map(|dir| (dir.as_str(), None)));
    for dir in own.iter().flat_map(|disks| &disks.dirs) {
        if let Some(error) = dir.error.as_deref() {
            failed.insert(&dir.path, Some(error));
        }
    }
    // Agents of the original do not say which.
    let unnamed = report.filter(|report| report.failure.is_some() && is_of_disk(report));
    if failed.is_empty()
        && let Some(report) = unnamed
    {
        let detail = report.failure.as_deref().unwrap_or_default();
        return Sign::Bad(format!("a log dir of broker {id} has failed, as its agent says: {detail}"), 1);
    }
    if failed.is_empty() {
        // A report that failed for another reason tells of no log dir.
        let tells = report.is_some_and(|report| report.failure.is_none());
        return if own.is_none() && !tells { Sign::Unclear } else { Sign::Well };
    }
    let named = failed.iter().take(5).map(|(path, error)| match error {
        Some(error) => format!("{path}: {error}"),
        None => (*path).to_owned(),
    });
    let named = named.collect::<Vec<_>>().join("; ");
    let dirs = if failed.len() == 1 { "a log dir".to_owned() } else { format!("{} log dirs", failed.len()) };
    let has = if failed.len() == 1 { "has" } else { "have" };
    Sign::Bad(format!("{dirs} of broker {id} {has} failed ({named})"), failed.len())
}

/// The agent tells of a disk, and Kafka has not found it to have failed: it cannot be written.
fn read_only(id: BrokerId, report: Option<&BrokerReport>) -> Sign {
    let Some(report) = report.filter(|report| report.failure.is_none()) else { return Sign::Unclear };
    Sign::bad_if(is_of_disk(report), || {
        let detail = report.failure_detail.as_deref().unwrap_or("its agent does not say which");
        format!("a log dir of broker {id} cannot be written: {detail}")
    })
}

fn is_of_disk(report: &BrokerReport) -> bool {
    report.failure_reason.as_deref() == Some(DISK_FAILURE)
}

#[cfg(test)]
#[path = "degraded_brokers_tests.rs"]
mod tests;
