//! What a configuration says once it is read, merged and checked.

use std::path::PathBuf;
use std::sync::Arc;

use control::{Action, Operator};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value as Json, json};

use super::node::Span;
use super::secrets::Secrets;
pub use super::settings::{Care, ExecutionSettings, GuardSettings};
use crate::client_settings::Holds;
use crate::plugin::{Endpoint, MonitorPlugin, Prepared};
use crate::store::StoreConfig;

/// A whole configuration without a mistake.
pub struct Config {
    /// The service itself.
    pub service: Service,
    /// The enabled clusters, in the order of the file. At least one.
    pub clusters: Vec<ClusterConfig>,
    /// Names of clusters that are in the file with `enabled: false`.
    pub disabled: Vec<Arc<str>>,
    pub(super) secrets: Secrets,
}

/// What holds for the service as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Where the service keeps its state.
    pub state_dir: PathBuf,
    /// Where `/metrics` and `/health` are served, as `host:port`; `None` for nowhere.
    pub listen: Option<String>,
    /// Where what must outlive the process is kept.
    pub state_store: StoreConfig,
}

/// One managed cluster.
pub struct ClusterConfig {
    /// Its name in the configuration: letters, digits, `.`, `_`, `-`; safe as a file name.
    pub name: Arc<str>,
    /// How to reach it.
    pub endpoint: Endpoint,
    /// How it is looked after.
    pub care: Care,
    /// The monitors in the order in which they observe.
    pub monitors: Vec<PluginConfig<MonitorPlugin>>,
    /// The operators in the order in which they operate.
    pub operators: Vec<PluginConfig<Box<dyn Operator>>>,
    /// The actions.
    pub actions: Vec<ActionEntry>,
}

/// A file that the configuration names.
pub(super) struct SettingsFile {
    pub(super) path: PathBuf,
    pub(super) holds: Holds,
    /// Where the configuration names it.
    pub(super) span: Span,
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

impl Config {
    pub(super) fn new(service: Service, clusters: Vec<ClusterConfig>, disabled: Vec<Arc<str>>) -> Self {
        Self { service, clusters, disabled, secrets: Secrets::default() }
    }

    /// The whole of it with all defaults filled in and secrets blotted out. It is itself a configuration that means
    /// the same, apart from the secrets and the disabled clusters.
    pub fn to_json(&self) -> Json {
        let mut service = Map::new();
        service.insert("state_dir".to_owned(), self.service.state_dir.to_string_lossy().into());
        if let Some(listen) = &self.service.listen {
            service.insert("listen".to_owned(), listen.clone().into());
        }
        if let Ok(store) = serde_json::to_value(&self.service.state_store) {
            service.insert("state_store".to_owned(), store);
        }
        let mut json = json!({
            "doctorkafka": service,
            "monitors": [],
            "operators": [],
            "actions": [],
            "kafkaclusters": self.clusters.iter().map(ClusterConfig::to_json).collect::<Vec<_>>(),
        });
        self.secrets.redact(&mut json);
        json
    }

    /// The same as YAML.
    pub fn to_yaml(&self) -> String {
        // A tree of JSON values can always be written.
        serde_saphyr::to_string(&Ordered(&self.to_json())).unwrap_or_default()
    }
}

impl ClusterConfig {
    fn to_json(&self) -> Json {
        let bootstrap: Vec<String> = self.endpoint.bootstrap.iter().map(ToString::to_string).collect();
        let mut json = Map::new();
        json.insert("name".to_owned(), (*self.name).into());
        json.insert("bootstrap_servers".to_owned(), bootstrap.into());
        if let Some(path) = &self.endpoint.command_config {
            json.insert("command_config".to_owned(), path.to_string_lossy().into());
        }
        if let Ok(Json::Object(care)) = serde_json::to_value(&self.care) {
            json.extend(care);
        }
        json.insert("monitors".to_owned(), self.monitors.iter().map(|p| p.to_json(Map::new())).collect());
        json.insert("operators".to_owned(), self.operators.iter().map(|p| p.to_json(Map::new())).collect());
        json.insert("actions".to_owned(), self.actions.iter().map(ActionEntry::to_json).collect());
        json.into()
    }
}

impl ActionEntry {
    fn to_json(&self) -> Json {
        let mut own = Map::new();
        own.insert("subscribed_events".to_owned(), self.subscribed_events.clone().into());
        own.insert("dry_run".to_owned(), self.dry_run.into());
        self.plugin.to_json(own)
    }
}

impl<T> PluginConfig<T> {
    fn to_json(&self, own: Map<String, Json>) -> Json {
        let mut json = Map::new();
        json.insert("name".to_owned(), self.name.clone().into());
        json.insert("type".to_owned(), self.type_name.clone().into());
        json.extend(own);
        if let Json::Object(section) = self.prepared.resolved() {
            json.extend(section);
        }
        json.into()
    }
}

/// JSON with the keys in the order in which a person looks for them: these first, then the others by name, lists last.
struct Ordered<'a>(&'a Json);

const FIRST: [&str; 6] =
    ["name", "type", "subscribed_events", "dry_run", "bootstrap_servers", "command_config"];
const LAST: [&str; 4] = ["monitors", "operators", "actions", "kafkaclusters"];

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Json::Object(map) => {
                let place = |key: &str| {
                    let first = FIRST.iter().position(|first| *first == key);
                    let last = LAST.iter().position(|last| *last == key);
                    first.unwrap_or_else(|| FIRST.len() + last.map_or(0, |last| last + 1))
                };
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by_key(|(key, _)| place(key));
                to.collect_map(entries.into_iter().map(|(key, value)| (key, Ordered(value))))
            }
            Json::Array(items) => to.collect_seq(items.iter().map(Ordered)),
            plain => plain.serialize(to),
        }
    }
}
