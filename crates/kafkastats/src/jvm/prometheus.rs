//! Readings from the text of a Prometheus endpoint.

use std::str::FromStr;

use super::exposition::{Kind, Outcome, Sample, labels, parse};
use super::identity::Told;
use super::names;
use super::readings::{Attribute, Conflict, Metric, Readings, Scope};

/// Why the text of an endpoint is of no use.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PrometheusError {
    /// It is no such text. jmx_exporter 1.x answers wrong paths with a page of HTML and status 200.
    #[error(
        "the endpoint answers with {beginning:?}, which are no metrics: is the path right (usually /metrics)?"
    )]
    NotMetrics {
        /// The first line that is none.
        beginning: String,
    },
    /// There are metrics, and none of a broker. Some exporters answer so for the first minutes.
    #[error("the endpoint has {samples} figures, and none of them is of a Kafka broker")]
    NotOfABroker {
        /// How many figures there are.
        samples: usize,
    },
    /// One figure has two values: the endpoint is of several brokers.
    #[error("the endpoint is not of one broker")]
    Conflict(#[from] Conflict),
}

/// The name that a metric has by a rule of the user's own.
///
/// It is read from `metric=name{label="value",…}`, as `bytes_out=kafka_topic_out_total{env="prod"}`; a series must have
/// all of these labels. Its usual names are then not looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    metric: Metric,
    name: String,
    labels: Vec<(String, String)>,
}

/// The names of metrics in an [`Override`]: those that go into reports. A rule for another would do nothing.
const METRICS: [(&str, Metric); 9] = [
    ("bytes_out", Metric::BytesOut),
    ("request_handler_idle", Metric::RequestHandlerIdle),
    ("network_processor_idle", Metric::NetworkProcessorIdle),
    ("request_queue_size", Metric::RequestQueueSize),
    ("under_replicated", Metric::UnderReplicated),
    ("broker_state", Metric::BrokerState),
    ("process_cpu_load", Metric::ProcessCpuLoad),
    ("process_cpu_seconds", Metric::ProcessCpuSeconds),
    ("processors", Metric::Processors),
];

impl FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Override, String> {
        let (metric, selector) = text.split_once('=').ok_or("write metric=name")?;
        let (_, metric) = METRICS.iter().find(|(name, _)| *name == metric.trim()).ok_or_else(|| {
            let known: Vec<&str> = METRICS.iter().map(|(name, _)| *name).collect();
            format!("{metric:?} is none of {}", known.join(", "))
        })?;
        let selector = selector.trim();
        let (name, found) = match selector.split_once('{') {
            None => (selector, Vec::new()),
            Some((name, rest)) => match labels(rest) {
                Some((found, rest)) if rest.trim().is_empty() => (name.trim(), found),
                _ => return Err(format!("the labels of {selector} cannot be read")),
            },
        };
        if name.is_empty()
            || name.contains(|odd: char| !odd.is_ascii_alphanumeric() && odd != '_' && odd != ':')
        {
            return Err(format!("{name:?} is no name of a metric"));
        }
        let labels = found.into_iter().map(|(name, value)| (name.to_owned(), value.into_owned()));
        Ok(Override { metric: *metric, name: name.to_owned(), labels: labels.collect() })
    }
}

impl Override {
    fn fits(&self, sample: &Sample<'_>) -> bool {
        let has = |(name, value): &(String, String)| sample.label(name) == Some(value);
        sample.name == self.name && self.labels.iter().all(has)
    }

    fn meaning(&self, sample: &Sample<'_>) -> (Metric, Attribute, Scope) {
        // What a rule of the user's own makes of a meter is its count, unless it says that it is a gauge.
        let attribute = match (self.metric, sample.kind) {
            (Metric::BytesOut, Kind::Gauge) => Attribute::OneMinuteRate,
            (Metric::BytesOut, _) => Attribute::Count,
            (Metric::RequestHandlerIdle, Kind::Counter) => Attribute::Count,
            (Metric::RequestHandlerIdle, _) => Attribute::OneMinuteRate,
            _ => Attribute::Value,
        };
        let scope = match sample.label("topic") {
            Some(topic) => Scope::Topic(topic.to_owned()),
            None => Scope::Broker,
        };
        (self.metric, attribute, scope)
    }
}

/// What a page says.
#[derive(Debug)]
pub struct Page {
    /// The figures that are wanted.
    pub readings: Readings,
    /// Which broker it is of, as far as it says that.
    pub told: Told,
    /// How much of it could be read.
    pub outcome: Outcome,
}

/// Reads what is wanted from `text`.
///
/// # Errors
/// See [`PrometheusError`].
pub fn read(text: &str, overrides: &[Override]) -> Result<Page, PrometheusError> {
    let (mut readings, mut told) = (Readings::default(), Told::default());
    let mut conflict = None;
    let outcome = parse(text, |sample| {
        names::tell(&sample, &mut told);
        let (metric, attribute, scope) = match overrides.iter().find(|rule| rule.fits(&sample)) {
            Some(rule) => rule.meaning(&sample),
            None => match names::meaning(&sample) {
                Some(meaning) if !overrides.iter().any(|rule| rule.metric == meaning.0) => meaning,
                _ => return,
            },
        };
        if let Err(found) = readings.put(metric, attribute, scope, sample.value) {
            conflict.get_or_insert(found);
        }
    });
    if let Some(conflict) = conflict {
        return Err(conflict.into());
    }
    match outcome.first_bad.clone() {
        Some(beginning) if outcome.samples == 0 => Err(PrometheusError::NotMetrics { beginning }),
        _ if !readings.are_of_a_broker() => Err(PrometheusError::NotOfABroker { samples: outcome.samples }),
        _ => Ok(Page { readings, told, outcome }),
    }
}
