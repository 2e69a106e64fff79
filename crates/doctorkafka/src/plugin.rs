//! What a plugin is to the service, and the registry in which outsiders add theirs.
//!
//! A plugin type has a name (the `type` in the configuration) and a `Config` struct. The registry reads the plugin's
//! section of the configuration into that struct, so that every mistake in it is known, with its place, before
//! anything is started; [`MonitorConfig::build`] and its likes then make the plugin.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cluster::{BoxFuture, BrokerAddress, LogReader, LogWriter, Reader, Writer};
use control::effect::Contribution;
use control::{Action, Monitor, Now, Operator, State};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use crate::shell::journal::Journal;
use crate::store::{StateStore, Tenure};

/// A Kafka cluster and how to log in to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Addresses of some of its brokers.
    pub bootstrap: Vec<BrokerAddress>,
    /// The properties file with the security settings, as Kafka's own tools take it.
    pub command_config: Option<PathBuf>,
}

/// The ways into one Kafka cluster. Cheap to clone.
#[derive(Clone)]
pub struct Connection {
    /// Reads its state.
    pub reader: Arc<dyn Reader>,
    /// Changes it.
    pub writer: Arc<dyn Writer>,
    /// Reads records.
    pub log_reader: Arc<dyn LogReader>,
    /// Writes records.
    pub log_writer: Arc<dyn LogWriter>,
}

/// Makes connections: to real clusters in the service, to simulated ones in the demo and in tests.
pub trait Connect: Send + Sync {
    /// A connection to `endpoint`. No I/O yet; connections to one endpoint are shared.
    ///
    /// # Errors
    /// What is wrong with the security settings, in words.
    fn connect(&self, endpoint: &Endpoint) -> Result<Connection, String>;

    /// Waits until everything that was written to any cluster is acknowledged or has failed, at most for `limit` in
    /// all.
    fn flush(&self, limit: Duration) -> BoxFuture<'_, ()>;
}

/// Clocks: the real ones in the service, a virtual one in simulations.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Now;
}

/// Wakes the loop of a cluster before its interval is over, because something has changed.
#[derive(Clone, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// Wakes the loop. Waking twice before it looks is the same as waking once.
    pub fn wake(&self) {
        self.0.notify_one();
    }

    /// Waits until somebody wakes.
    pub async fn woken(&self) {
        self.0.notified().await;
    }
}

/// What a plugin is given when it is made.
#[derive(Clone)]
pub struct BuildContext {
    /// The configured name of the cluster that it serves.
    pub cluster: Arc<str>,
    /// The name of this plugin in the configuration.
    pub name: String,
    /// The cluster that it serves.
    pub connection: Connection,
    /// The endpoint of the cluster that it serves.
    pub endpoint: Endpoint,
    /// For other clusters, such as the one with the stats topic.
    pub connect: Arc<dyn Connect>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Wakes the cluster's loop.
    pub wake: Wake,
    /// How often the loop runs when nothing wakes it.
    pub evaluation_interval: Duration,
    /// Whether this is an action that only says what it would do.
    pub dry_run: bool,
    /// A folder of this cluster for spools and the like, inside the state dir; it exists.
    pub folder: PathBuf,
    /// A store of this service alone, for what a plugin would rather not gather anew after a restart, under keys of its own.
    pub store: Arc<dyn StateStore>,
    /// The cluster's part of the store that several services share, where there is one. It is written in a term of `tenure` alone.
    pub shared: Option<Journal>,
    /// Whether this service may act on the cluster at a moment. The connection's writer sends nothing when it may not; an
    /// action that changes something else looks here right before.
    pub tenure: Arc<Tenure>,
}

/// A source monitor: collects in a task of its own, and hands over its newest view in each cycle.
///
/// The task is started when the plugin is built (within a tokio runtime) and ends when the plugin is dropped.
pub trait Source: Send + Sync {
    /// The name of this plugin in the configuration.
    fn name(&self) -> &str;
    /// The newest view: attributes (shared, not copied) with the moments at which they held, and findings on what
    /// could not be collected. Never blocks.
    fn latest(&self, now: Now) -> Contribution;
    /// Is told what the cycle that has just ended knew. Never blocks.
    fn after_cycle(&self, state: &State) {
        let _ = state;
    }
}

/// A monitor as the service runs it.
pub enum MonitorPlugin {
    /// Collects in a task of its own.
    Source(Arc<dyn Source>),
    /// Computes from what is in the State.
    Deriving(Box<dyn Monitor>),
}

/// What is wrong with a plugin's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Where within the plugin's section, for example `network.inbound_limit`; empty for the section itself.
    pub path: String,
    /// What is wrong, in a sentence.
    pub message: String,
}

/// The configuration of a monitor type.
pub trait MonitorConfig: DeserializeOwned + Serialize + Send + Sync + 'static {
    /// What is wrong with the values taken together.
    fn check(&self) -> Vec<ConfigProblem> {
        Vec::new()
    }
    /// Makes the monitor.
    ///
    /// # Errors
    /// Why it cannot be made, in words.
    fn build(&self, context: &BuildContext) -> Result<MonitorPlugin, String>;
}

/// The configuration of an operator type.
pub trait OperatorConfig: DeserializeOwned + Serialize + Send + Sync + 'static {
    /// What is wrong with the values taken together.
    fn check(&self) -> Vec<ConfigProblem> {
        Vec::new()
    }
    /// The names of the events that the operator can emit: the same as [`Operator::emits`], known before anything
    /// is made.
    fn emits(&self) -> Vec<String>;
    /// Makes the operator.
    ///
    /// # Errors
    /// Why it cannot be made, in words.
    fn build(&self, context: &BuildContext) -> Result<Box<dyn Operator>, String>;
}

/// The configuration of an action type.
pub trait ActionConfig: DeserializeOwned + Serialize + Send + Sync + 'static {
    /// What is wrong with the values taken together.
    fn check(&self) -> Vec<ConfigProblem> {
        Vec::new()
    }
    /// Whether acts change clusters or hosts, so that `dry_run` is `true` unless it is switched off.
    fn changes_things(&self) -> bool;
    /// Whether an order must not be given again if it is not known whether it was carried out, as after a crash.
    fn at_most_once(&self) -> bool {
        false
    }
    /// Whether what it does can be stopped while it is under way: see [`Action::stop`].
    fn can_stop(&self) -> bool {
        false
    }
    /// Whether it replaces hosts, so that it may be given the order `replace_instance`: it looks once more right before it
    /// starts, has begun when it is called, and answers with success only once the host is another. Nobody else may
    /// subscribe to that order: one that is queued is carried out on a broker that is back, and counts as done
    /// before it is.
    fn replaces_hosts(&self) -> bool {
        false
    }
    /// The names of the events that the action may emit: the same as [`Action::emits`], known before anything is
    /// made.
    fn emits(&self) -> Vec<String> {
        Vec::new()
    }
    /// Makes the action.
    ///
    /// # Errors
    /// Why it cannot be made, in words.
    fn build(&self, context: &BuildContext) -> Result<Arc<dyn Action>, String>;
}

/// A plugin's configuration, read and checked; the type behind it is known to its builder alone.
pub trait Prepared<T>: Send + Sync {
    /// The configuration with all defaults filled in, for `check-config`.
    fn resolved(&self) -> serde_json::Value;
    /// See [`ActionConfig::changes_things`]; `false` for monitors and operators.
    fn changes_things(&self) -> bool;
    /// See [`ActionConfig::at_most_once`]; `false` for monitors and operators.
    fn at_most_once(&self) -> bool {
        false
    }
    /// See [`ActionConfig::can_stop`]; `false` for monitors and operators.
    fn can_stop(&self) -> bool {
        false
    }
    /// See [`ActionConfig::replaces_hosts`]; `false` for monitors and operators.
    fn replaces_hosts(&self) -> bool {
        false
    }
    /// The names of the events that the plugin may emit; none for monitors.
    fn emits(&self) -> Vec<String>;
    /// Makes the plugin.
    ///
    /// # Errors
    /// Why it cannot be made, in words.
    fn build(&self, context: &BuildContext) -> Result<T, String>;
}

/// Reads a plugin's section of the configuration.
pub type Prepare<T> =
    Box<dyn Fn(&serde_json::Value) -> Result<Box<dyn Prepared<T>>, Vec<ConfigProblem>> + Send + Sync>;

/// All plugin types that a configuration can name.
#[derive(Default)]
pub struct PluginRegistry {
    monitors: BTreeMap<String, Prepare<MonitorPlugin>>,
    operators: BTreeMap<String, Prepare<Box<dyn Operator>>>,
    actions: BTreeMap<String, Prepare<Arc<dyn Action>>>,
}

impl PluginRegistry {
    /// A registry without any type.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Adds or replaces a monitor type.
    pub fn monitor<C: MonitorConfig>(&mut self, type_name: &str) -> &mut Self {
        self.monitors
            .insert(type_name.to_owned(), Box::new(|section| prepare(section, C::check, OfMonitor::<C>)));
        self
    }

    /// Adds or replaces an operator type.
    pub fn operator<C: OperatorConfig>(&mut self, type_name: &str) -> &mut Self {
        self.operators
            .insert(type_name.to_owned(), Box::new(|section| prepare(section, C::check, OfOperator::<C>)));
        self
    }

    /// Adds or replaces an action type.
    pub fn action<C: ActionConfig>(&mut self, type_name: &str) -> &mut Self {
        self.actions
            .insert(type_name.to_owned(), Box::new(|section| prepare(section, C::check, OfAction::<C>)));
        self
    }

    /// The monitor types, by name.
    pub fn monitors(&self) -> &BTreeMap<String, Prepare<MonitorPlugin>> {
        &self.monitors
    }

    /// The operator types, by name.
    pub fn operators(&self) -> &BTreeMap<String, Prepare<Box<dyn Operator>>> {
        &self.operators
    }

    /// The action types, by name.
    pub fn actions(&self) -> &BTreeMap<String, Prepare<Arc<dyn Action>>> {
        &self.actions
    }
}

/// Reads a section into `C`, checks it, and wraps it.
fn prepare<C: DeserializeOwned, T, P: Prepared<T> + 'static>(
    section: &serde_json::Value,
    check: fn(&C) -> Vec<ConfigProblem>,
    wrap: fn(C) -> P,
) -> Result<Box<dyn Prepared<T>>, Vec<ConfigProblem>> {
    read_section(section, check).map(|config| Box::new(wrap(config)) as Box<dyn Prepared<T>>)
}

/// Reads a section of the configuration into `C`, and checks it: everything that is wrong, not only the first.
///
/// # Errors
/// All that is wrong with it.
pub(crate) fn read_section<C: DeserializeOwned>(
    section: &serde_json::Value,
    check: fn(&C) -> Vec<ConfigProblem>,
) -> Result<C, Vec<ConfigProblem>> {
    let mut left = section.clone();
    let mut problems: Vec<ConfigProblem> = Vec::new();
    loop {
        match serde_path_to_error::deserialize::<_, C>(&left) {
            Ok(config) if problems.is_empty() => {
                let found = check(&config);
                return if found.is_empty() { Ok(config) } else { Err(found) };
            }
            Ok(config) => {
                // The keys that were taken out have their defaults here: what is said of those is not the file's.
                let unknown = |problem: &&ConfigProblem| problem.message.starts_with("unknown field");
                let out: Vec<String> = problems
                    .iter()
                    .filter(|problem| !unknown(problem) && !problem.path.is_empty())
                    .map(|problem| problem.path.clone())
                    .collect();
                let of_the_file = |found: &ConfigProblem| {
                    !out.iter().any(|out| {
                        let key = out.rsplit('.').next().unwrap_or(out);
                        found.path.starts_with(out.as_str()) || found.message.contains(key)
                    })
                };
                problems.extend(check(&config).into_iter().filter(of_the_file));
                return Err(problems);
            }
            Err(error) => {
                let path = error.path().to_string();
                let path = if path == "." { String::new() } else { path };
                let problem = ConfigProblem { path, message: error.into_inner().to_string() };
                let removed = remove(&mut left, &problem);
                // A key that was taken out because of its value is not missing.
                let missing =
                    problem.message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
                let known = missing
                    .is_some_and(|key| problems.iter().any(|p| p.path.rsplit('.').next() == Some(key)));
                if !known {
                    problems.push(problem);
                }
                // Each round takes a key out, so there are no more rounds than keys.
                if !removed {
                    return Err(problems);
                }
            }
        }
    }
}

/// Takes the key out that `problem` is about, so that reading can go on behind it.
fn remove(section: &mut serde_json::Value, problem: &ConfigProblem) -> bool {
    let unknown = problem.message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    let mut node = section;
    // An item cannot be taken out of a list without moving the others: the whole list goes.
    let keys = problem.path.split('[').next().unwrap_or_default();
    let mut keys: Vec<&str> = keys.split('.').filter(|key| !key.is_empty()).collect();
    if let Some(key) = unknown
        && keys.last() != Some(&key)
    {
        keys.push(key);
    }
    let Some(last) = keys.pop() else { return false };
    for key in keys {
        match node.get_mut(key) {
            Some(below) => node = below,
            None => return false,
        }
    }
    node.as_object_mut().is_some_and(|map| map.remove(last).is_some())
}

fn resolved(config: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(config).unwrap_or(serde_json::Value::Null)
}

struct OfMonitor<C>(C);
impl<C: MonitorConfig> Prepared<MonitorPlugin> for OfMonitor<C> {
    fn resolved(&self) -> serde_json::Value {
        resolved(&self.0)
    }
    fn changes_things(&self) -> bool {
        false
    }
    fn emits(&self) -> Vec<String> {
        Vec::new()
    }
    fn build(&self, context: &BuildContext) -> Result<MonitorPlugin, String> {
        self.0.build(context)
    }
}

struct OfOperator<C>(C);
impl<C: OperatorConfig> Prepared<Box<dyn Operator>> for OfOperator<C> {
    fn resolved(&self) -> serde_json::Value {
        resolved(&self.0)
    }
    fn changes_things(&self) -> bool {
        false
    }
    fn emits(&self) -> Vec<String> {
        self.0.emits()
    }
    fn build(&self, context: &BuildContext) -> Result<Box<dyn Operator>, String> {
        self.0.build(context)
    }
}

struct OfAction<C>(C);
impl<C: ActionConfig> Prepared<Arc<dyn Action>> for OfAction<C> {
    fn resolved(&self) -> serde_json::Value {
        resolved(&self.0)
    }
    fn changes_things(&self) -> bool {
        self.0.changes_things()
    }

    fn at_most_once(&self) -> bool {
        self.0.at_most_once()
    }

    fn can_stop(&self) -> bool {
        self.0.can_stop()
    }

    fn replaces_hosts(&self) -> bool {
        self.0.replaces_hosts()
    }
    fn emits(&self) -> Vec<String> {
        self.0.emits()
    }
    fn build(&self, context: &BuildContext) -> Result<Arc<dyn Action>, String> {
        self.0.build(context)
    }
}
