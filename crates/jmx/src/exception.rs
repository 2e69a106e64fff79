//! What the JVM threw.

use std::fmt;

use crate::serial::{Graph, Value};

/// The longest chain of causes that is kept.
const MAX_CAUSES: usize = 8;
/// The fields that lead from an exception to the one it wraps, in the JDK's classes for RMI and JMX.
const CAUSE_FIELDS: [&str; 8] = [
    "cause",
    "detail",
    "exception",
    "runtimeException",
    "error",
    "target",
    "undeclaredThrowable",
    "throwable",
];

/// A Java exception: its class, its message, and those it wraps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JavaException {
    /// The exception itself, then its cause, then that one's. Never empty in what this crate returns.
    pub chain: Vec<Throwable>,
}

/// One exception of a [`JavaException`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Throwable {
    /// The class, as `java.lang.SecurityException`.
    pub class: String,
    /// The message.
    pub message: Option<String>,
    /// The class and its superclasses, as far as they are serializable.
    classes: Vec<String>,
}

impl JavaException {
    /// The exception that `value` is.
    pub(crate) fn new(graph: &Graph, value: Value) -> JavaException {
        let mut chain: Vec<Throwable> = Vec::new();
        let mut seen: Vec<Value> = Vec::new();
        let mut next = Some(value);
        while let Some(value) = next.take() {
            let Some(object) = graph.object(value) else { break };
            if chain.len() == MAX_CAUSES || seen.contains(&value) {
                break;
            }
            seen.push(value);
            let classes: Vec<String> =
                graph.hierarchy(object.class).map(|(_, class)| class.name.clone()).collect();
            chain.push(Throwable {
                class: graph.class_name(object.class).to_owned(),
                message: graph.text_field(object, "detailMessage").map(str::to_owned),
                classes,
            });
            // An exception without a cause is its own.
            next = CAUSE_FIELDS
                .iter()
                .filter_map(|field| graph.field(object, field))
                .find(|cause| *cause != value && graph.object(*cause).is_some());
        }
        if chain.is_empty() {
            chain.push(Throwable {
                class: "something that is no exception".to_owned(),
                message: None,
                classes: vec![],
            });
        }
        JavaException { chain }
    }

    /// The first of the chain that is of the class `name` or of one derived of it.
    pub fn find(&self, name: &str) -> Option<&Throwable> {
        self.chain.iter().find(|one| one.classes.iter().any(|class| class == name))
    }
}

impl fmt::Display for JavaException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, one) in self.chain.iter().enumerate() {
            if index > 0 {
                f.write_str(", caused by ")?;
            }
            f.write_str(&one.class)?;
            if let Some(message) = &one.message {
                write!(f, ": {message}")?;
            }
        }
        Ok(())
    }
}
