//! Readings over JMX: a session for each reading, so that between readings nothing of us is in the broker.

use jmx::{Client, Connector, Error, ObjectName, Value};

use super::readings::{
    Attribute, MBEANS, MBean, Metric, OPERATING_SYSTEM, PROCESS_CPU_LOAD, Readings, Scope, meaning,
};

/// Reads a broker's MBeans. Waits as long as the connector's time limits allow: to be called on a thread of its own.
///
/// Also tells which MBeans could not be read, in words: one that fails costs its figure alone.
///
/// # Errors
/// Those of the network, of the protocol and of the login.
pub fn read(connector: &Connector) -> Result<(Readings, Vec<String>), Error> {
    let mut client = connector.connect()?;
    let mut problems = Vec::new();
    let readings = read_all(&mut client, &mut problems)?;
    client.close()?;
    Ok((readings, problems))
}

fn read_all(client: &mut Client, problems: &mut Vec<String>) -> Result<Readings, Error> {
    let mut readings = Readings::default();
    // Of topics, only what consumers took: what producers sent is known better from the logs.
    let wanted = MBEANS.iter().filter(|bean| bean.metric != Metric::LogSize);
    for bean in wanted {
        for name in names(client, bean)? {
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
