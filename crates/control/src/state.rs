//! The State: the picture of one cluster in one cycle.
//!
//! It is made new and empty each cycle and filled by the monitors in their configured order. What is in it are named,
//! typed attributes, each with its age. Plugins from outside add attributes under their own names, as JSON.

use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::execution::Execution;
use crate::finding::Finding;
use crate::incident::Incidents;
use crate::order::Wishes;
use crate::time::{Now, Tick};

/// A built-in attribute: a type that knows the name under which it stands in the State and in `docs/schema.md`.
pub trait Attribute: Serialize + fmt::Debug + Send + Sync + 'static {
    /// The name of the attribute.
    const NAME: &'static str;
}

/// A value of any attribute, built in or from outside.
pub trait AttributeValue: fmt::Debug + Send + Sync + 'static {
    /// The JSON form, as script plugins read it.
    fn to_json(&self) -> serde_json::Value;
    /// For the way back to the type.
    fn as_any(&self) -> &dyn Any;
}

impl<T: Serialize + fmt::Debug + Send + Sync + 'static> AttributeValue for T {
    fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or(serde_json::Value::Null)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// One attribute as it comes from a monitor: its name, its value (shared, not copied) and the moment at which the
/// fact held. The age is of the fact, not of the reply that brought it.
#[derive(Clone, Debug)]
pub struct NamedValue {
    /// The name of the attribute.
    pub name: Cow<'static, str>,
    /// Its value.
    pub value: Arc<dyn AttributeValue>,
    /// When it held.
    pub as_of: Tick,
}

impl NamedValue {
    /// A built-in attribute.
    pub fn of<T: Attribute>(value: Arc<T>, as_of: Tick) -> Self {
        Self { name: Cow::Borrowed(T::NAME), value, as_of }
    }

    /// The value, if it is of this type.
    pub fn get<T: Attribute>(&self) -> Option<&T> {
        // `as_ref` first: `Arc<dyn …>` is itself a value that implements the trait.
        self.value.as_ref().as_any().downcast_ref::<T>()
    }

    /// An attribute of a plugin from outside.
    pub fn json(name: impl Into<String>, value: serde_json::Value, as_of: Tick) -> Self {
        Self { name: Cow::Owned(name.into()), value: Arc::new(value), as_of }
    }
}

/// An attribute's value with the moment at which it held.
#[derive(Debug)]
pub struct Fact<'a, T> {
    /// The value.
    pub value: &'a T,
    /// When it held.
    pub as_of: Tick,
}

// Derived, these would ask for `T: Copy`, although only a reference is copied.
impl<T> Clone for Fact<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Fact<'_, T> {}

/// Why an attribute cannot be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// No monitor has put it into the State.
    Missing {
        /// The attribute.
        name: &'static str,
    },
    /// It is older than the reader can accept.
    Stale {
        /// The attribute.
        name: &'static str,
        /// How old it is.
        age: Duration,
        /// How old it may be.
        limit: Duration,
    },
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { name } => write!(f, "{name} is not known"),
            Self::Stale { name, age, limit } => {
                write!(
                    f,
                    "{name} is {:.1} s old, at most {:.1} s is accepted",
                    age.as_secs_f64(),
                    limit.as_secs_f64()
                )
            }
        }
    }
}

/// The picture of one cluster in one cycle.
#[derive(Clone, Debug)]
pub struct State {
    cluster: Arc<str>,
    now: Now,
    attributes: BTreeMap<Cow<'static, str>, NamedValue>,
    findings: Vec<Finding>,
    incidents: Arc<Incidents>,
    executions: Arc<Vec<Arc<Execution>>>,
    wishes: Arc<Wishes>,
}

impl State {
    /// An empty State of the cluster with the configured name `cluster`. `incidents` are those known before this
    /// cycle, `executions` the work in flight, `wishes` what people have asked for.
    pub fn new(
        cluster: Arc<str>,
        now: Now,
        incidents: Arc<Incidents>,
        executions: Arc<Vec<Arc<Execution>>>,
        wishes: Arc<Wishes>,
    ) -> Self {
        Self {
            cluster,
            now,
            attributes: BTreeMap::new(),
            findings: Vec::new(),
            incidents,
            executions,
            wishes,
        }
    }

    /// The configured name of the cluster.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The moment of this cycle.
    pub fn now(&self) -> Now {
        self.now
    }

    /// What is known to be wrong: before the operators run, as of the cycle before; for operators, of this cycle.
    pub fn incidents(&self) -> &Incidents {
        &self.incidents
    }

    /// Replaces the incidents once this cycle's findings are folded into them.
    pub fn set_incidents(&mut self, incidents: Arc<Incidents>) {
        self.incidents = incidents;
    }

    /// Takes the incidents out, to be folded anew; copied only where somebody else holds them.
    pub(crate) fn take_incidents(&mut self) -> Incidents {
        Arc::unwrap_or_clone(std::mem::take(&mut self.incidents))
    }

    /// Replaces the executions and wishes once the step is done with them, for those who show the State.
    pub(crate) fn set_work(&mut self, executions: Arc<Vec<Arc<Execution>>>, wishes: Arc<Wishes>) {
        self.executions = executions;
        self.wishes = wishes;
    }

    /// Work that is in flight, and the last that ended.
    pub fn executions(&self) -> &[Arc<Execution>] {
        &self.executions
    }

    /// What people have asked for.
    pub fn wishes(&self) -> &Wishes {
        &self.wishes
    }

    /// Adds or replaces an attribute.
    pub fn put<T: Attribute>(&mut self, value: impl Into<Arc<T>>, as_of: Tick) {
        self.insert(NamedValue::of(value.into(), as_of));
    }

    /// Adds or replaces an attribute by name.
    pub fn insert(&mut self, value: NamedValue) {
        self.attributes.insert(value.name.clone(), value);
    }

    /// An attribute, whatever its age.
    pub fn get<T: Attribute>(&self) -> Option<Fact<'_, T>> {
        let entry = self.attributes.get(T::NAME)?;
        Some(Fact { value: entry.get()?, as_of: entry.as_of })
    }

    /// An attribute as it is shared, for whoever goes on working with it when the cycle is over.
    pub fn shared<T: Attribute>(&self) -> Option<NamedValue> {
        self.attributes.get(T::NAME).cloned()
    }

    /// An attribute that is at most `limit` old.
    ///
    /// # Errors
    /// Says what is missing or how stale it is, in words that fit a finding.
    pub fn fresh<T: Attribute>(&self, limit: Duration) -> Result<&T, Unknown> {
        let fact = self.get::<T>().ok_or(Unknown::Missing { name: T::NAME })?;
        let age = self.now.tick.since(fact.as_of);
        if age > limit {
            return Err(Unknown::Stale { name: T::NAME, age, limit });
        }
        Ok(fact.value)
    }

    /// The JSON form of any attribute, with the moment at which it held.
    pub fn json(&self, name: &str) -> Option<(serde_json::Value, Tick)> {
        self.attributes.get(name).map(|entry| (entry.value.as_ref().to_json(), entry.as_of))
    }

    /// The names of all attributes, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.attributes.keys().map(|name| name.as_ref())
    }

    /// A monitor reports what it saw.
    pub fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// What the monitors have reported so far.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize)]
    struct Answer(u32);
    impl Attribute for Answer {
        const NAME: &'static str = "answer";
    }

    fn state_at(tick: u64) -> State {
        let now = Now { tick: Tick(tick), ..Now::default() };
        State::new("c".into(), now, Arc::default(), Arc::default(), Arc::default())
    }

    #[test]
    fn gives_back_what_was_put_with_its_age() {
        let mut state = state_at(5_000);
        state.put(Answer(42), Tick(4_000));
        assert_eq!(state.get::<Answer>().map(|f| (f.value.0, f.as_of)), Some((42, Tick(4_000))));
        assert_eq!(state.json("answer"), Some((serde_json::json!(42), Tick(4_000))));
    }

    #[test]
    fn refuses_a_fact_that_is_too_old_and_says_so() {
        let mut state = state_at(5_000);
        state.put(Answer(1), Tick(2_000));
        assert!(state.fresh::<Answer>(Duration::from_secs(3)).is_ok());
        let refusal = state.fresh::<Answer>(Duration::from_secs(2)).map(|a| a.0).map_err(|u| u.to_string());
        assert_eq!(refusal, Err("answer is 3.0 s old, at most 2.0 s is accepted".to_owned()));
    }
}
