//! Where the JVM's figures come from, and how that is found out.

use std::thread;
use std::time::Duration;

use jmx::{Address, Connector};
use tokio::sync::oneshot;

use super::http::{Endpoint, HttpError};
use super::identity::{Held, Identity, NotIt, Proof, check_logs};
use super::jolokia::{self, Answers, JolokiaError};
use super::local;
use super::over_jmx::{self, JmxError};
use super::prometheus::{self, Override, Page, PrometheusError};
use super::readings::{Attribute, Metric, Readings, Scope};

/// How long an exporter may take. With 12,000 MBeans, jmx_exporter takes four seconds.
const SCRAPE_LIMIT: Duration = Duration::from_secs(20);
/// Prometheus' own format, so that names come as they are written here.
const ACCEPT: &str = "text/plain;version=0.0.4";

/// A way to the figures.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Way {
    /// The JMX server that the JVM has for its own host.
    JmxLocal {
        /// Whether a JVM without one is told to start one, which then stays.
        attach: bool,
    },
    /// A JMX server that other hosts can reach.
    Jmx(Connector),
    /// A Prometheus endpoint.
    Prometheus(Endpoint, Vec<Override>),
    /// Jolokia.
    Jolokia(Endpoint),
}

impl Way {
    /// Its name in configuration and messages.
    pub fn name(&self) -> &'static str {
        match self {
            Way::JmxLocal { .. } => "jmx-local",
            Way::Jmx(_) => "jmx",
            Way::Prometheus(..) => "prometheus",
            Way::Jolokia(_) => "jolokia",
        }
    }
}

/// Why a way leads nowhere.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WayError {
    /// Over JMX.
    #[error("{0}")]
    Jmx(#[from] JmxError),
    /// Over HTTP.
    #[error("{0}")]
    Http(#[from] HttpError),
    /// What the endpoint of an exporter says.
    #[error("{0}")]
    Prometheus(#[from] PrometheusError),
    /// What Jolokia says.
    #[error("{0}")]
    Jolokia(#[from] JolokiaError),
    /// They are somebody else's figures.
    #[error("{0}")]
    NotIt(#[from] NotIt),
    /// No JVM of this host is the broker.
    #[error("{}", none_is_it(tried))]
    NoJvm {
        /// Each JVM that was looked at, and why it is not the broker.
        tried: Vec<String>,
    },
    /// The host gives no thread.
    #[error("starting a thread: {0}")]
    Thread(std::io::Error),
    /// The reading was broken off.
    #[error("the reading was broken off")]
    BrokenOff,
}

impl WayError {
    /// Whether something answered, and its answer is of no use; else nothing did, or it is not the broker.
    fn is_an_answer(&self) -> bool {
        use jmx::Error;
        match self {
            WayError::Jmx(JmxError::TooSlow) | WayError::Prometheus(_) | WayError::Jolokia(_) => true,
            WayError::Jmx(JmxError::Jmx(error)) => matches!(
                error,
                Error::NotAllowed { .. }
                    | Error::NoSuchMBean { .. }
                    | Error::NoSuchAttribute { .. }
                    | Error::SessionEnded
                    | Error::Broken
                    | Error::Java { .. }
                    | Error::Serial { .. }
                    | Error::Unexpected { .. }
            ),
            WayError::Http(error) => matches!(error, HttpError::Status { .. } | HttpError::Answer { .. }),
            WayError::Jmx(_) | WayError::NotIt(_) | WayError::NoJvm { .. } => false,
            WayError::Thread(_) | WayError::BrokenOff => false,
        }
    }
}

fn none_is_it(tried: &[String]) -> String {
    match tried {
        [] => "no process of this host is a broker that can be looked at: run on its host, as its user"
            .to_owned(),
        tried => format!("none of the JVMs of this host is the broker: {}", tried.join("; ")),
    }
}

/// What came of a reading.
#[derive(Debug)]
pub struct Outcome {
    /// The figures, if any way led to them.
    pub found: Option<Found>,
    /// The ways that led nowhere, with the reason, in words.
    pub problems: Vec<String>,
    /// Whether any way led as far as to an answer.
    pub was_reached: bool,
}

/// Figures, and how they came.
#[derive(Debug)]
pub struct Found {
    /// The name of the way.
    pub way: &'static str,
    /// The figures.
    pub readings: Readings,
    /// What could not be read, in words.
    pub lacking: Vec<String>,
    /// By what it is known that they are the broker's.
    pub proof: Proof,
}

/// Reads the figures of one broker, by the first way that leads to them.
#[derive(Debug)]
pub struct Source {
    ways: Vec<Way>,
    /// The number of the way that led to figures the last time.
    last: usize,
    /// Where the JVM's server for its own host was the last time.
    local: Option<Address>,
    /// How many processors the broker may use, where the figures do not say it.
    processors: Option<f64>,
}

impl Source {
    /// One that tries `ways` in their order.
    pub fn new(ways: Vec<Way>) -> Source {
        Source { ways, last: 0, local: None, processors: None }
    }

    /// The same for a broker that may use so many processors, which counts where the figures do not say how many they are.
    #[must_use]
    pub fn with_processors(self, processors: Option<f64>) -> Source {
        Source { processors, ..self }
    }

    /// The names of the ways, in their order.
    pub fn names(&self) -> Vec<&'static str> {
        self.ways.iter().map(Way::name).collect()
    }

    /// Reads the figures of `broker`, which has the replicas `held`. First by the way that was the right one the last time,
    /// then by the others in their order.
    pub async fn read(&mut self, broker: &Identity, held: Held<'_>) -> Outcome {
        let mut problems = Vec::new();
        let mut was_reached = false;
        let mut order: Vec<usize> = (0..self.ways.len()).filter(|way| *way != self.last).collect();
        order.insert(0, self.last);
        for number in order {
            let Some(way) = self.ways.get(number) else { continue };
            match read_by(way, broker, held, &mut self.local).await {
                Ok(mut found) => {
                    self.last = number;
                    if let Some(processors) = self.processors {
                        // What is told already stands.
                        let (metric, value) = (Metric::Processors, Attribute::Value);
                        let _ = found.readings.put(metric, value, Scope::Broker, processors);
                    }
                    return Outcome { found: Some(found), problems, was_reached: true };
                }
                Err(error) => {
                    was_reached |= error.is_an_answer();
                    problems.push(format!("{}: {}", way.name(), in_words(&error)));
                }
            }
        }
        Outcome { found: None, problems, was_reached }
    }
}

/// An error with its causes, in one line.
pub(super) fn in_words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let more = source.to_string();
        // Errors that only pass on another's words have it as their cause too.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = source.source();
    }
    text
}

/// Figures, and what could not be read.
pub(super) type Read = (Readings, Vec<String>);

async fn read_by(
    way: &Way,
    broker: &Identity,
    held: Held<'_>,
    local: &mut Option<Address>,
) -> Result<Found, WayError> {
    let found = |(readings, lacking): Read, proof| Found { way: way.name(), readings, lacking, proof };
    match way {
        Way::JmxLocal { attach } => {
            let (attach, broker, known) = (*attach, broker.clone(), local.take());
            let (read, address) = on_a_thread(move || local::read(attach, &broker, known)).await?;
            *local = Some(address);
            Ok(found(read, Proof::Name))
        }
        Way::Jmx(connector) => {
            let (connector, broker) = (connector.clone(), broker.clone());
            let read = on_a_thread(move || Ok(over_jmx::read(&connector, &broker)?)).await?;
            Ok(found(read, Proof::Name))
        }
        Way::Prometheus(endpoint, overrides) => {
            let text = endpoint.get(ACCEPT, SCRAPE_LIMIT).await?;
            let Page { readings, told, outcome } = prometheus::read(&text, overrides)?;
            let proof = match told.check(broker)? {
                Proof::Nothing => check_logs(readings.logs(), broker, held)?,
                proof => proof,
            };
            let bad = outcome.first_bad.map(|line| format!("{} lines like {line:?}", outcome.bad_lines));
            Ok(found((readings, bad.into_iter().collect()), proof))
        }
        Way::Jolokia(endpoint) => {
            let body = endpoint.post(jolokia::QUERY, jolokia::request(), SCRAPE_LIMIT).await?;
            let Answers { readings, told, problems } = jolokia::read(&body)?;
            let proof = told.check(broker)?;
            Ok(found((readings, problems), proof))
        }
    }
}

/// JMX is read with blocking calls: on a thread of its own, which ends with the reading. What is read takes the most memory
/// of all that the agent does, and each thread of the runtime's pool would keep as much of it for the next one.
async fn on_a_thread<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, WayError> + Send + 'static,
) -> Result<T, WayError> {
    let (sender, receiver) = oneshot::channel();
    let reading = thread::Builder::new().name("jmx".to_owned()).spawn(move || {
        // Nobody waits for it if the agent stops.
        let _ = sender.send(read());
    });
    match reading {
        Ok(_) => receiver.await.unwrap_or(Err(WayError::BrokenOff)),
        Err(error) => Err(WayError::Thread(error)),
    }
}
