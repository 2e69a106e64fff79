//! Readings through Jolokia: one POST with all questions, one answer for each.

use std::borrow::Cow;

use jmx::ObjectName;
use serde_json::{Value, json};

use super::identity::{APP_INFO, CLUSTER_ID, Told};
use super::readings::{
    Attribute, Conflict, MBean, OF_SYSTEM, OPERATING_SYSTEM, Readings, Scope, asked, meaning,
};

/// What belongs to the URL: no stack traces, one failing MBean does not fail a pattern, and names as Kafka writes them.
pub const QUERY: &str = "includeStackTrace=false&ignoreErrors=true&canonicalNaming=false";

/// Jolokia's status for a name or pattern that nothing fits.
const NOT_FOUND: u64 = 404;

/// Why an answer is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JolokiaError {
    /// It is no JSON.
    #[error("the answer of Jolokia is no JSON: is the path right (usually /jolokia/)?")]
    NotJson(#[from] serde_json::Error),
    /// It is no list of answers, as it answers what it does not understand.
    #[error("Jolokia answers: {0}")]
    Refused(String),
    /// Jolokia is not that of a broker.
    #[error("Jolokia has no MBean of a Kafka broker")]
    NotOfABroker,
    /// One figure has two values.
    #[error("the answer of Jolokia contradicts itself")]
    Conflict(#[from] Conflict),
}

/// The questions.
pub fn request() -> String {
    let read =
        |mbean: &str, attributes: &[&str]| json!({ "type": "read", "mbean": mbean, "attribute": attributes });
    let mut questions: Vec<Value> = asked()
        .map(|bean| {
            let attributes: Vec<&str> = bean.attributes().iter().map(|attribute| attribute.name()).collect();
            read(&pattern(bean), &attributes)
        })
        .collect();
    questions.push(read(OPERATING_SYSTEM, &OF_SYSTEM.map(|(attribute, ..)| attribute)));
    questions.push(read(CLUSTER_ID, &["Value"]));
    // What counts is its name.
    questions.push(read(APP_INFO, &["Version"]));
    Value::Array(questions).to_string()
}

fn pattern(bean: &MBean) -> String {
    // Where there is one for the broker and one for each topic, `,*` is both.
    let more = if bean.is_split { ",*" } else { "" };
    format!("{}{more}", bean.object_name())
}

/// What Jolokia answers.
#[derive(Debug, Default)]
pub struct Answers {
    /// The figures.
    pub readings: Readings,
    /// Which broker it is, as far as Jolokia may say it.
    pub told: Told,
    /// What Jolokia could not read, in words.
    pub problems: Vec<String>,
}

/// Reads the answers to any questions of the kind `read`.
///
/// # Errors
/// See [`JolokiaError`].
pub fn read(body: &str) -> Result<Answers, JolokiaError> {
    let answer: Value = serde_json::from_str(body)?;
    let Value::Array(answers) = answer else {
        let why = answer["error"].as_str().unwrap_or("no list of answers");
        return Err(JolokiaError::Refused(shorten(why)));
    };
    let Answers { mut readings, mut told, mut problems } = Answers::default();
    for answer in &answers {
        match answer["status"].as_u64() {
            Some(200) => take(answer, &mut readings, &mut told)?,
            // Kafka makes MBeans when they are first needed.
            Some(NOT_FOUND) => {}
            _ => {
                let asked = answer["request"]["mbean"].as_str().unwrap_or("a question");
                let why = answer["error"].as_str().unwrap_or("no reason is given");
                problems.push(format!("{asked}: {}", shorten(why)));
            }
        }
    }
    if !readings.are_of_a_broker() {
        return Err(match problems.into_iter().next() {
            Some(problem) => JolokiaError::Refused(problem),
            None => JolokiaError::NotOfABroker,
        });
    }
    Ok(Answers { readings, told, problems })
}

fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}

/// An answer: the attributes by name, and for a pattern that by MBean. For one attribute that was not asked for in a
/// list it is the bare value.
fn take(answer: &Value, readings: &mut Readings, told: &mut Told) -> Result<(), Conflict> {
    let asked = answer["request"]["mbean"].as_str().unwrap_or_default();
    let value = &answer["value"];
    let Ok(name) = ObjectName::new(asked) else { return Ok(()) };
    if let (true, Value::Object(beans)) = (name.is_pattern(), value) {
        for (bean, value) in beans {
            let Ok(bean) = ObjectName::new(bean) else { continue };
            take_bean(&bean, value, &answer["request"]["attribute"], readings, told)?;
        }
        return Ok(());
    }
    take_bean(&name, value, &answer["request"]["attribute"], readings, told)
}

fn take_bean(
    bean: &ObjectName,
    value: &Value,
    asked: &Value,
    readings: &mut Readings,
    told: &mut Told,
) -> Result<(), Conflict> {
    let attribute = |attribute: &str| match value {
        Value::Object(attributes) => attributes.get(attribute),
        bare if asked.as_str() == Some(attribute) => Some(bare),
        _ => None,
    };
    let figure = |name: &str| attribute(name).and_then(Value::as_f64);
    match (bean.domain(), bean.get("type").as_deref(), bean.get("name").as_deref()) {
        ("java.lang", Some("OperatingSystem"), None) => {
            for (attribute, metric, unit) in OF_SYSTEM {
                if let Some(value) = figure(attribute) {
                    readings.put(metric, Attribute::Value, Scope::Broker, value * unit)?;
                }
            }
        }
        ("kafka.server", Some("KafkaServer"), Some("ClusterId")) => {
            told.clusters.extend(attribute("Value").and_then(Value::as_str).map(str::to_owned));
        }
        ("kafka.server", Some("app-info"), None) => {
            told.brokers.extend(bean.get("id").map(Cow::into_owned));
        }
        _ => {
            let Some((bean, scope)) = meaning(bean) else { return Ok(()) };
            for attribute in Attribute::ALL {
                if let Some(value) = figure(attribute.name()) {
                    readings.put(bean.metric, attribute, scope.clone(), value)?;
                }
            }
        }
    }
    Ok(())
}
