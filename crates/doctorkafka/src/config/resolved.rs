//! What a configuration says once it is read, merged and checked.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use control::{Action, Operator};

use crate::plugin::{Endpoint, MonitorPlugin, Prepared};

/// A whole configuration without a mistake.
pub struct Config {
    /// The service itself.
    pub service: Service,
    /// The enabled clusters, in the order of the file. At least one.
    pub clusters: Vec<ClusterConfig>,
    /// Names of clusters that are in the file with `enabled: false`.
    pub disabled: Vec<Arc<str>>,
}

/// What holds for the service as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Where the service keeps its state.
    pub state_dir: PathBuf,
    /// Where `/metrics` and `/health` are served, as `host:port`; `None` for nowhere.
    pub listen: Option<String>,
}

/// One managed cluster.
pub struct ClusterConfig {
    /// Its name in the configuration: letters, digits, `.`, `_`, `-`; safe as a file name.
    pub name: Arc<str>,
    /// How to reach it.
    pub endpoint: Endpoint,
    /// How often its loop runs when nothing wakes it.
    pub evaluation_interval: Duration,
    /// The monitors in the order in which they observe.
    pub monitors: Vec<PluginConfig<MonitorPlugin>>,
    /// The operators in the order in which they operate.
    pub operators: Vec<PluginConfig<Box<dyn Operator>>>,
    /// The actions.
    pub actions: Vec<ActionEntry>,
}

/// One plugin of a cluster.
pub struct PluginConfig<T> {
    /// Its name: unique within its kind and cluster.
    pub name: String,
    /// Its `type`.
    pub type_name: String,
    /// Its own configuration, read and checked.
    pub prepared: Box<dyn Prepared<T>>,
}

/// One action of a cluster.
pub struct ActionEntry {
    /// The plugin.
    pub plugin: PluginConfig<Arc<dyn Action>>,
    /// The names of the events that are delivered to it.
    pub subscribed_events: Vec<String>,
    /// Whether it only says what it would do.
    pub dry_run: bool,
}
