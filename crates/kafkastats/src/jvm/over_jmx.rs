//! Readings over JMX: a session for each reading, so that between readings nothing of us is in the broker.

use std::time::{Duration, Instant};

use jmx::{Client, Connector, Error, ObjectName, Value};

use super::readings::{
    Attribute, MBEANS, MBean, Metric, OPERATING_SYSTEM, PROCESS_CPU_LOAD, Readings, Scope, meaning,
};

/// How long a whole reading may take. A thousand topics take a third of a second.
const READ_LIMIT: Duration = Duration::from_secs(30);
/// The MBean that says of which cluster a broker is.
const CLUSTER_ID: &str = "kafka.server:type=KafkaServer,name=ClusterId";

/// Which broker is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The id of its cluster.
    pub cluster: String,
    /// Its own id.
    pub broker: i32,
}

/// Why there are no readings over JMX.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JmxError {
    /// The session failed.
    #[error("{0}")]
    Jmx(#[from] Error),
    /// It took too long.
    #[error("reading the MBeans took longer than {} s", READ_LIMIT.as_secs())]
    TooSlow,
    /// The JVM has no JMX server.
    #[error("the JVM has no JMX server: start the broker with -Dcom.sun.management.jmxremote")]
    NoServer,
    /// The JVM is no broker.
    #[error("the JVM is no Kafka broker, or does not run yet")]
    NoBroker,
    /// The JVM is another broker.
    #[error("the JVM is broker {found}, and broker {wanted} is meant")]
    OtherBroker {
        /// Which it is.
        found: String,
        /// Which is meant.
        wanted: i32,
    },
    /// The broker is of another cluster.
    #[error("the JVM is of cluster {found}, and {wanted} is meant")]
    OtherCluster {
        /// Which it is.
        found: String,
        /// Which is meant.
        wanted: String,
    },
}

/// Reads a broker's MBeans. Waits as long as the connector's time limits allow: to be called on a thread of its own.
///
/// Also tells which MBeans could not be read, in words: one that fails costs its figure alone.
///
/// # Errors
/// Those of the network, of the protocol and of the login; and if it is not the broker that is meant.
pub fn read(connector: &Connector, broker: &Identity) -> Result<(Readings, Vec<String>), JmxError> {
    let mut client = connector.connect()?;
    check(&mut client, broker)?;
    let mut problems = Vec::new();
    let readings = read_all(&mut client, &mut problems)?;
    // The figures are there; what is left of the session ends by itself.
    if let Err(error) = client.close() {
        problems.push(error.to_string());
    }
    Ok((readings, problems))
}

/// Makes sure that this is the broker: a port may be another's, and many brokers may run on one host.
fn check(client: &mut Client, broker: &Identity) -> Result<(), JmxError> {
    let cluster = match client.attribute(&ObjectName::new(CLUSTER_ID)?, "Value") {
        Ok(value) => value.as_str().unwrap_or_default().to_owned(),
        Err(Error::NoSuchMBean { .. }) => return Err(JmxError::NoBroker),
        Err(error) => return Err(error.into()),
    };
    if cluster != broker.cluster {
        return Err(JmxError::OtherCluster { found: cluster, wanted: broker.cluster.clone() });
    }
    let ids = client.names(&ObjectName::new("kafka.server:type=app-info,id=*")?)?;
    let ids: Vec<_> = ids.iter().filter_map(|name| name.get("id")).collect();
    if ids.iter().any(|id| *id == broker.broker.to_string()) {
        return Ok(());
    }
    Err(JmxError::OtherBroker { found: ids.join(", "), wanted: broker.broker })
}

/// Reads all or nothing: half of the topics would look like topics that nobody consumes.
fn read_all(client: &mut Client, problems: &mut Vec<String>) -> Result<Readings, JmxError> {
    let began = Instant::now();
    let mut readings = Readings::default();
    // Of topics, only what consumers took: what producers sent is known better from the logs.
    let wanted = MBEANS.iter().filter(|bean| bean.metric != Metric::LogSize);
    for bean in wanted {
        for name in names(client, bean)? {
            if began.elapsed() > READ_LIMIT {
                return Err(JmxError::TooSlow);
            }
            let Some((_, scope)) = meaning(&name) else { continue };
            let Some(values) = lenient(client.attributes(&name, bean.attributes()), problems)? else {
                continue;
            };
            for attribute in Attribute::ALL {
                if let Some(value) = values.get(attribute.name()).and_then(Value::as_f64) {
                    put(&mut readings, bean.metric, attribute, scope.clone(), value, problems);
                }
            }
        }
    }
    let system = ObjectName::new(OPERATING_SYSTEM)?;
    if let Some(load) = lenient(client.attribute(&system, PROCESS_CPU_LOAD), problems)?
        && let Some(load) = load.as_f64()
    {
        put(&mut readings, Metric::ProcessCpuLoad, Attribute::Value, Scope::Broker, load, problems);
    }
    Ok(readings)
}

/// The MBeans to read: the one of the broker, and where there is one for each topic, those too.
fn names(client: &mut Client, bean: &MBean) -> Result<Vec<ObjectName>, Error> {
    let name = bean.object_name();
    match bean.metric {
        Metric::BytesOut | Metric::LogsToRecover => client.names(&ObjectName::new(&format!("{name},*"))?),
        _ => Ok(vec![ObjectName::new(&name)?]),
    }
}

/// What can be done without is left out: an MBean that is not there, or that fails.
fn lenient<T>(read: Result<T, Error>, problems: &mut Vec<String>) -> Result<Option<T>, Error> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(Error::NoSuchMBean { .. } | Error::NoSuchAttribute { .. }) => Ok(None),
        Err(error @ (Error::Java { .. } | Error::NotAllowed { .. })) => {
            problems.push(error.to_string());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn put(
    readings: &mut Readings,
    metric: Metric,
    attribute: Attribute,
    scope: Scope,
    value: f64,
    problems: &mut Vec<String>,
) {
    if let Err(conflict) = readings.put(metric, attribute, scope, value) {
        problems.push(conflict.to_string());
    }
}
