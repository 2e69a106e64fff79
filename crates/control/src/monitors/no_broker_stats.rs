//! Whose agent is silent. It is worth knowing, and never keeps anything from being healed.

use std::time::Duration;

use cluster::BrokerId;
use serde::{Deserialize, Serialize};

use super::{kinds, maintenance};
use crate::attributes::{BrokerReports, Liveness, NoBrokerStats};
use crate::config::HumanDuration;
use crate::finding::{Finding, Severity, Target};
use crate::plugin::{Flow, Monitor};
use crate::state::State;

/// Configuration of the monitor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// With no report for so long an agent is silent. Default 20 minutes: twenty reports.
    pub no_stats_seconds: HumanDuration,
    /// How old the reading of the stats topic may be: where it stands still, nobody is blamed. Default 2 minutes.
    pub max_stats_age: HumanDuration,
    /// How old the knowledge of who is alive may be. Default 10 s.
    pub max_liveness_age: HumanDuration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            no_stats_seconds: HumanDuration::seconds(1200),
            max_stats_age: HumanDuration::seconds(120),
            max_liveness_age: HumanDuration::seconds(10),
        }
    }
}

impl Config {
    /// Makes the monitor.
    pub fn build(&self, name: impl Into<String>) -> NoBrokerStatsMonitor {
        NoBrokerStatsMonitor { name: name.into(), config: self.clone() }
    }
}

/// Writes [`NoBrokerStats`] once the stats topic has been read to its end, and nothing where it is not read.
#[derive(Clone, Debug)]
pub struct NoBrokerStatsMonitor {
    name: String,
    config: Config,
}

impl Monitor for NoBrokerStatsMonitor {
    fn name(&self) -> &str {
        &self.name
    }

    fn observe(&self, state: &mut State) -> Flow {
        if let Some((silent, findings)) = self.look(state) {
            let tick = state.now().tick;
            state.put(silent, tick);
            for finding in findings {
                state.report(finding);
            }
        }
        Flow::Continue
    }
}

impl NoBrokerStatsMonitor {
    fn look(&self, state: &State) -> Option<(NoBrokerStats, Vec<Finding>)> {
        let reports = state.get::<BrokerReports>()?;
        let reading_age = state.now().tick.since(reports.as_of);
        if !reports.value.caught_up || reading_age > self.config.max_stats_age.0 {
            return None;
        }
        let liveness = state.fresh::<Liveness>(self.config.max_liveness_age.0).ok()?;
        let maintenance = maintenance::current(state);
        let mut silent = NoBrokerStats::default();
        let mut findings = Vec::new();
        for id in liveness.live.keys().filter(|id| !maintenance.brokers.contains_key(id)) {
            let age = reports.value.brokers.get(id).map(|report| report.age.saturating_add(reading_age));
            self.judge(state, *id, age, &mut silent, &mut findings);
        }
        Some((silent, findings))
    }

    fn judge(
        &self,
        state: &State,
        id: BrokerId,
        age: Option<Duration>,
        silent: &mut NoBrokerStats,
        findings: &mut Vec<Finding>,
    ) {
        let limit = self.config.no_stats_seconds;
        let subject = Target::Broker(id);
        let finding =
            |severity, message| Finding::new(kinds::NO_BROKER_STATS, subject.clone(), severity, message);
        let Some(age) = age else {
            // One that has only just joined gets the same time as one that has fallen silent.
            let incident = state.incidents().get(kinds::NO_BROKER_STATS, &subject);
            let since = incident.and_then(|incident| incident.watched_since);
            let watched = since.map_or(Duration::ZERO, |since| state.now().tick.since(since));
            let message = format!("the agent of broker {id} has never reported");
            if watched >= limit.0 {
                silent.brokers.insert(id, None);
                findings.push(finding(Severity::Warning, message));
            } else {
                let first = format!("its first report, for {limit}");
                findings.push(finding(Severity::Info, message).waiting_for(first));
            }
            return;
        };
        if age > limit.0 {
            silent.brokers.insert(id, Some(age));
            let age = HumanDuration::seconds(age.as_secs());
            let message = format!("the agent of broker {id} has not reported for {age}");
            findings.push(finding(Severity::Warning, message));
        }
    }
}
