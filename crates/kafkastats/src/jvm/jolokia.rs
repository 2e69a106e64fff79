//! Readings through Jolokia: one POST with all questions, one answer for each.

use jmx::ObjectName;
use serde_json::{Value, json};

use super::readings::{
    Attribute, Conflict, MBEANS, MBean, Metric, OPERATING_SYSTEM, PROCESS_CPU_LOAD, Readings, Scope, meaning,
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
    let mut questions: Vec<Value> = MBEANS
        .iter()
        // Sizes of logs come, exact and for all partitions, from the broker itself.
        .filter(|bean| bean.metric != Metric::LogSize)
        .map(|bean| json!({ "type": "read", "mbean": pattern(bean), "attribute": bean.attributes() }))
        .collect();
    questions.push(json!({ "type": "read", "mbean": OPERATING_SYSTEM, "attribute": [PROCESS_CPU_LOAD] }));
    Value::Array(questions).to_string()
}

fn pattern(bean: &MBean) -> String {
    // Where there is one for the broker and one for each topic, `,*` is both.
    let more = if bean.is_split { ",*" } else { "" };
    format!("{}{more}", bean.object_name())
}

/// Reads the answers to any questions of the kind `read`. Also tells what Jolokia could not read, in words.
///
/// # Errors
/// See [`JolokiaError`].
pub fn read(body: &str) -> Result<(Readings, Vec<String>), JolokiaError> {
    let answer: Value = serde_json::from_str(body)?;
    let Value::Array(answers) = answer else {
        let why = answer["error"].as_str().unwrap_or("no list of answers");
        return Err(JolokiaError::Refused(shorten(why)));
    };
    let mut readings = Readings::default();
    let mut problems = Vec::new();
    for answer in &answers {
        match answer["status"].as_u64() {
            Some(200) => take(answer, &mut readings)?,
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
    Ok((readings, problems))
}

fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}

/// An answer: the attributes by name, and for a pattern that by MBean. For one attribute that was not asked for in a
/// list it is the bare value.
fn take(answer: &Value, readings: &mut Readings) -> Result<(), Conflict> {
    let asked = answer["request"]["mbean"].as_str().unwrap_or_default();
    let value = &answer["value"];
    let is_pattern = ObjectName::new(asked).is_ok_and(|name| name.is_pattern());
    if let (true, Value::Object(beans)) = (is_pattern, value) {
        for (bean, value) in beans {
            take_bean(bean, value, &answer["request"]["attribute"], readings)?;
        }
        return Ok(());
    }
    take_bean(asked, value, &answer["request"]["attribute"], readings)
}

fn take_bean(bean: &str, value: &Value, asked: &Value, readings: &mut Readings) -> Result<(), Conflict> {
    let figure = |attribute: &str| match value {
        Value::Object(attributes) => attributes.get(attribute).and_then(Value::as_f64),
        bare if asked.as_str() == Some(attribute) => bare.as_f64(),
        _ => None,
    };
    if bean == OPERATING_SYSTEM {
        return match figure(PROCESS_CPU_LOAD) {
            Some(load) => readings.put(Metric::ProcessCpuLoad, Attribute::Value, Scope::Broker, load),
            None => Ok(()),
        };
    }
    let Some((bean, scope)) = ObjectName::new(bean).ok().as_ref().and_then(meaning) else { return Ok(()) };
    for attribute in Attribute::ALL {
        if let Some(value) = figure(attribute.name()) {
            readings.put(bean.metric, attribute, scope.clone(), value)?;
        }
    }
    Ok(())
}
