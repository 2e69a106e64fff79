//! Tells people of silent agents, and does nothing else.

use serde::{Deserialize, Serialize};

use crate::attributes::NoBrokerStats;
use crate::config::HumanDuration;
use crate::event::{Event, Message, Repeat, names};
use crate::finding::{Severity, Target};
use crate::incident::IncidentKey;
use crate::monitors::kinds;
use crate::plugin::{Operator, Verdict};
use crate::state::State;

/// Configuration of the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How often the alert is repeated while an agent stays silent. Default: once for each incident.
    pub repeat_every: Option<HumanDuration>,
}

impl Config {
    /// Makes the operator.
    pub fn build(&self, name: impl Into<String>) -> NoBrokerStatsOperator {
        NoBrokerStatsOperator { name: name.into(), config: self.clone() }
    }
}

/// The names of the events that the operator can emit.
pub const EMITS: [&str; 1] = [names::ALERT_NO_BROKERSTATS_BROKERS];

/// Emits `alert_no_brokerstats_brokers`, one for each broker, caused by the incident that the monitor keeps.
#[derive(Clone, Debug)]
pub struct NoBrokerStatsOperator {
    name: String,
    config: Config,
}

impl Operator for NoBrokerStatsOperator {
    fn name(&self) -> &str {
        &self.name
    }

    fn emits(&self) -> Vec<String> {
        EMITS.map(str::to_owned).to_vec()
    }

    fn operate(&self, state: &State) -> Verdict {
        let Some(silent) = state.get::<NoBrokerStats>() else { return Verdict::default() };
        let repeat = self.config.repeat_every.map_or(Repeat::OncePerIncident, |every| Repeat::Every(every.0));
        let events = silent.value.brokers.iter().map(|(id, age)| {
            let how_long = match age {
                Some(age) => format!("has not reported for {}", HumanDuration::seconds(age.as_secs())),
                None => "has never reported".to_owned(),
            };
            let subject = format!("{}: no stats from broker {id}", state.cluster());
            let reason = format!("the agent of broker {id} {how_long}");
            let body = format!(
                "{reason}.\nThe broker is alive for Kafka. Healing goes on without its figures.\nLook at the \
                 kafkastats process on its host, and whether it can write to the stats topic."
            );
            let message = Message { subject, body, severity: Severity::Warning };
            let target = Target::Broker(*id);
            Event::new(names::ALERT_NO_BROKERSTATS_BROKERS, target.clone(), reason, &message)
                .caused_by(IncidentKey::new(kinds::NO_BROKER_STATS, target))
                .repeated(repeat)
        });
        Verdict { events: events.collect(), ..Verdict::default() }
    }
}

#[cfg(test)]
#[path = "no_broker_stats_tests.rs"]
mod tests;
