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
        let (silent, findings) = self.look(state);
        if let Some(silent) = silent {
            let tick = state.now().tick;
            state.put(silent, tick);
        }
        for finding in findings {
            state.report(finding);
        }
        Flow::Continue
    }
}

impl NoBrokerStatsMonitor {
    fn look(&self, state: &State) -> (Option<NoBrokerStats>, Vec<Finding>) {
        let Some(reports) = state.get::<BrokerReports>() else { return (None, Vec::new()) };
        // Whoever was silent before is not known to have reported since.
        let mut findings: Vec<Finding> = state.incidents().unseen(&[kinds::NO_BROKER_STATS]).collect();
        let reading_age = state.now().tick.since(reports.as_of);
        if !reports.value.caught_up {
            return (None, findings);
        }
        if reading_age > self.config.max_stats_age.0 {
            if findings.iter().all(|finding| finding.subject != Target::Cluster) {
                findings.push(self.unread());
            }
            return (None, findings);
        }
        let Ok(liveness) = state.fresh::<Liveness>(self.config.max_liveness_age.0) else {
            return (None, findings);
        };
        findings.clear();
        let read_for = read_for(state).filter(|time| *time < self.config.no_stats_seconds.0);
        findings.extend(read_for.map(|_| self.unread()));
        let maintenance = maintenance::current(state);
        let mut silent = NoBrokerStats::default();
        for id in liveness.live.keys().filter(|id| !maintenance.brokers.contains_key(id)) {
            let age = reports.value.brokers.get(id).map(|report| report.age.saturating_add(reading_age));
            let most = read_for.filter(|_| !is_silent(state, *id)).unwrap_or(Duration::MAX);
            self.judge(state, *id, age.map(|age| age.min(most)), &mut silent, &mut findings);
        }
        (Some(silent), findings)
    }

    /// The stats topic stood still, for all of an agent's silence that is known: while nothing can be read, agents may
    /// report, and while nothing can be written, they cannot. The incident remembers since when it is read again.
    fn unread(&self) -> Finding {
        let message = "the stats topic could not be read: no agent is silent before it could report anew";
        let finding = Finding::new(kinds::NO_BROKER_STATS, Target::Cluster, Severity::Info, message);
        finding
            .waiting_for(format!("the topic to be read for {} without a gap", self.config.no_stats_seconds))
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

/// For how long the topic has been read since it last stood still; `None` if that is long ago.
fn read_for(state: &State) -> Option<Duration> {
    let incident = state.incidents().get(kinds::NO_BROKER_STATS, &Target::Cluster)?;
    Some(incident.watched_since.map_or(Duration::ZERO, |since| state.now().tick.since(since)))
}

/// Whether an agent was silent before.
fn is_silent(state: &State, id: BrokerId) -> bool {
    let incident = state.incidents().get(kinds::NO_BROKER_STATS, &Target::Broker(id));
    incident.is_some_and(|incident| incident.severity >= Severity::Warning)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use cluster::notation::ClusterText;
    use cluster::{Capabilities, ClusterId};

    use super::*;
    use crate::attributes::BrokerReport;
    use crate::incident::{FoldLimits, Incidents, Look, fold};
    use crate::time::{Now, Tick, Timestamp};

    /// Two brokers with agents, looked at every ten seconds.
    struct Watch {
        second: u64,
        incidents: Incidents,
        /// When each agent has reported last.
        reported: [u64; 2],
        /// When the topic was read last, and what was found of the reports.
        read: (u64, [u64; 2]),
    }

    impl Watch {
        fn new() -> Self {
            Self {
                second: 10_000,
                incidents: Incidents::default(),
                reported: [10_000; 2],
                read: (10_000, [10_000; 2]),
            }
        }

        /// Lets so much time go by with agents that report or do not, and a topic that works or does not: whom it found
        /// silent in the last look, or `None` if it could not tell.
        fn go_on(&mut self, seconds: u64, reports: [bool; 2], works: bool) -> Option<Vec<i32>> {
            let mut silent = None;
            for _ in 0..seconds / 10 {
                self.second += 10;
                for (reported, _) in self.reported.iter_mut().zip(reports).filter(|(_, it)| *it && works) {
                    // The agents report every minute.
                    *reported = self.second / 60 * 60;
                }
                if works {
                    self.read = (self.second, self.reported);
                }
                silent = self.look();
            }
            silent
        }

        fn look(&mut self) -> Option<Vec<i32>> {
            let tick = |second: u64| Tick(second * 1_000);
            let now = Now { tick: tick(self.second), wall: Timestamp(0) };
            let incidents = Arc::new(self.incidents.clone());
            let mut state = State::new("c".into(), now, incidents, Arc::default(), Arc::default());
            let text: ClusterText = "b1\nb2\nt-0: 1* 2".parse().unwrap();
            let live = text.brokers.iter().map(|(id, text)| (*id, text.broker.clone())).collect();
            let (read_at, reported) = self.read;
            state.put(
                Liveness {
                    cluster_id: ClusterId("c".into()),
                    controller: None,
                    live,
                    fenced: BTreeMap::new(),
                    asked: 2,
                    answered: 2,
                    agreeing: 2,
                    capabilities: Capabilities::default(),
                },
                now.tick,
            );
            let report = |reported: u64| BrokerReport {
                made: Timestamp::default(),
                age: Duration::from_secs(read_at - reported),
                ..BrokerReport::default()
            };
            let brokers = (1..).map(BrokerId).zip(reported.map(report)).collect();
            state.put(
                BrokerReports {
                    brokers,
                    unreadable: 0,
                    caught_up: true,
                    read_to_end_ago: Some(Duration::ZERO),
                },
                tick(read_at),
            );
            let monitor = Config::default().build("no_broker_stats");
            let (silent, findings) = monitor.look(&state);
            let incidents = std::mem::take(&mut self.incidents);
            self.incidents = fold(incidents, &findings, now, Look::All, &FoldLimits::default()).0;
            silent.map(|silent| silent.brokers.keys().map(|id| id.0).collect())
        }

        fn open(&self) -> Vec<String> {
            let open = self.incidents.open.values();
            open.map(|it| format!("{:?} {}", it.severity, it.key.subject).to_lowercase()).collect()
        }
    }

    const ALL: [bool; 2] = [true; 2];
    const FIRST: [bool; 2] = [true, false];

    #[test]
    fn a_topic_that_could_not_be_read_makes_no_agent_silent() {
        let mut watch = Watch::new();
        assert_eq!(watch.go_on(600, ALL, true), Some(vec![]));
        assert_eq!(watch.go_on(1_800, ALL, false), None);
        assert_eq!(watch.open(), ["info cluster"]);
        // The first look comes before the first report.
        watch.read = (watch.second, watch.reported);
        assert_eq!(watch.look(), Some(vec![]));
        assert_eq!(watch.go_on(1_100, ALL, true), Some(vec![]));
        assert_eq!(watch.open(), ["info cluster"]);
        assert_eq!(watch.go_on(200, ALL, true), Some(vec![]));
        assert_eq!(watch.open(), [""; 0]);
    }

    #[test]
    fn an_agent_that_does_not_report_after_a_gap_is_silent_in_time() {
        let mut watch = Watch::new();
        watch.go_on(600, ALL, true);
        watch.go_on(1_800, ALL, false);
        assert_eq!(watch.go_on(1_150, FIRST, true), Some(vec![]));
        assert_eq!(watch.go_on(100, FIRST, true), Some(vec![2]));
        assert_eq!(watch.open(), ["warning broker 2"]);
    }

    #[test]
    fn one_that_was_silent_before_stays_so() {
        let mut watch = Watch::new();
        assert_eq!(watch.go_on(1_300, FIRST, true), Some(vec![2]));
        assert_eq!(watch.go_on(600, ALL, false), None);
        assert_eq!(watch.open(), ["info cluster", "warning broker 2"]);
        assert_eq!(watch.go_on(60, FIRST, true), Some(vec![2]));
        assert_eq!(watch.go_on(120, ALL, true), Some(vec![]));
        assert_eq!(watch.open(), ["info cluster"]);
    }
}
