//! Readings over JMX: a session for each reading, so that between readings nothing of us is in the broker.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jmx::{Client, Connector, Error, ObjectName, Value};

use super::identity::{APP_INFO, CLUSTER_ID, Identity, NotIt, Proof, Told};
use super::readings::{
    Attribute, MBean, Metric, OF_SYSTEM, OPERATING_SYSTEM, Readings, Scope, asked, meaning,
};

/// How long a whole reading may take. A thousand topics take a tenth of a second.
const READ_LIMIT: Duration = Duration::from_secs(30);
/// Questions between two looks at the time.
const AT_ONCE: usize = 256;
/// What fails for each of a thousand topics is told of some.
const MOST_PROBLEMS: usize = 10;

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
    #[error(
        "the JVM has no JMX server: start the broker with -Dcom.sun.management.jmxremote, or have its JVM start one: \
         --jvm jmx-local --attach"
    )]
    NoServer,
    /// The JVM is the broker's, and does not show where its JMX server is.
    #[error(
        "it is the broker by its settings, and its JVM shows no counters (-XX:-UsePerfData or -XX:+PerfDisableSharedMem), \
         which tell where its JMX server is: start it without that option, give it a port (JMX_PORT) and the agent --jmx \
         HOST:PORT, or ask the JVM itself: --jvm jmx-local --attach"
    )]
    Hidden,
    /// The JVM has no JMX server, and is not told to start one.
    #[error(
        "the JVM has no JMX server, and is not told to start one, as its settings do not say that it is the broker"
    )]
    NotProven,
    /// The JVM is no broker.
    #[error("the JVM is no Kafka broker, or does not run yet")]
    NoBroker,
    /// The JVM is another broker, or of another cluster.
    #[error("{0}")]
    NotIt(#[from] NotIt),
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
    let ids = client.names(&ObjectName::new(APP_INFO)?)?;
    let brokers = ids.iter().filter_map(|name| name.get("id")).map(Cow::into_owned).collect();
    let told = Told { clusters: BTreeSet::from([cluster]), brokers };
    match told.check(broker)? {
        Proof::Name => Ok(()),
        Proof::Nothing | Proof::Logs => Err(JmxError::NoBroker),
    }
}

/// Reads all or nothing: half of the topics would look like topics that nobody consumes.
fn read_all(client: &mut Client, problems: &mut Vec<String>) -> Result<Readings, JmxError> {
    let began = Instant::now();
    let mut readings = Readings::default();
    // What is asked goes as its answer comes: thousands of names take more memory than all else here.
    let mut left = questions(client)?.into_iter();
    loop {
        let (questions, meanings): (Vec<Question>, Vec<Meaning>) = left.by_ref().take(AT_ONCE).unzip();
        if questions.is_empty() {
            break;
        }
        let mut meanings: Vec<Option<Meaning>> = meanings.into_iter().map(Some).collect();
        if began.elapsed() > READ_LIMIT {
            return Err(JmxError::TooSlow);
        }
        let mut failed = None;
        client.attribute_of_each(&questions, |number, answer| {
            let Some(meaning) = meanings.get_mut(number).and_then(Option::take) else { return };
            match lenient(answer) {
                Ok(Some(value)) => put(&mut readings, meaning, &value, problems),
                Ok(None) => {}
                Err(Error::Java { .. } | Error::NotAllowed { .. }) if problems.len() >= MOST_PROBLEMS => {}
                Err(error @ (Error::Java { .. } | Error::NotAllowed { .. })) => {
                    problems.push(error.to_string());
                }
                Err(error) => _ = failed.get_or_insert(error),
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
    }
    Ok(readings)
}

/// The attribute of an MBean.
type Question = (ObjectName, &'static str);
/// What an answer is, and by what its number is multiplied.
type Meaning = (Metric, Attribute, Scope, f64);

/// What to ask for, and what each answer is.
fn questions(client: &mut Client) -> Result<Vec<(Question, Meaning)>, Error> {
    let mut questions = Vec::new();
    for bean in asked() {
        for name in names(client, bean)? {
            let Some((_, scope)) = meaning(&name) else { continue };
            let [first, more @ ..] = bean.attributes() else { continue };
            for attribute in more {
                questions
                    .push(((name.clone(), attribute.name()), (bean.metric, *attribute, scope.clone(), 1.0)));
            }
            questions.push(((name, first.name()), (bean.metric, *first, scope, 1.0)));
        }
    }
    let system = ObjectName::new(OPERATING_SYSTEM)?;
    for (attribute, metric, unit) in OF_SYSTEM {
        questions.push(((system.clone(), attribute), (metric, Attribute::Value, Scope::Broker, unit)));
    }
    Ok(questions)
}

/// The MBeans to read: the one of the broker, and where there is one for each topic, those too.
fn names(client: &mut Client, bean: &MBean) -> Result<Vec<ObjectName>, Error> {
    let name = bean.object_name();
    match bean.is_split {
        true => client.names(&ObjectName::new(&format!("{name},*"))?),
        false => Ok(vec![ObjectName::new(&name)?]),
    }
}

/// What can be done without is left out: an MBean that is not there, and an attribute that it has not.
fn lenient(answer: Result<Value, Error>) -> Result<Option<Value>, Error> {
    match answer {
        Err(Error::NoSuchMBean { .. } | Error::NoSuchAttribute { .. }) => Ok(None),
        answer => answer.map(Some),
    }
}

fn put(readings: &mut Readings, meaning: Meaning, value: &Value, problems: &mut Vec<String>) {
    let (metric, attribute, scope, unit) = meaning;
    if let Some(value) = value.as_f64()
        && let Err(conflict) = readings.put(metric, attribute, scope, value * unit)
    {
        problems.push(conflict.to_string());
    }
}
