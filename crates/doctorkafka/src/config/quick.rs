//! The shortest way: one cluster, without a file.

use std::path::PathBuf;

use control::config::HumanDuration;
use serde_json::{Map, Value as Json, json};

use super::node::Node;
use super::secrets::Secrets;
use super::{Loaded, Read, SettingsProblems};
use crate::client_settings;
use crate::plugin::PluginRegistry;

/// What the arguments of `doctorkafka run --bootstrap-servers …` say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quick {
    /// Addresses of some brokers, with commas.
    pub bootstrap_servers: String,
    /// The properties file with the security settings.
    pub command_config: Option<PathBuf>,
    /// Whether acts are carried out.
    pub execute: bool,
    /// For how long a broker must be gone before it is dead; `None` for the default.
    pub grace: Option<HumanDuration>,
    /// Where the state is kept; `None` for the default.
    pub state_dir: Option<PathBuf>,
    /// Where metrics are served.
    pub listen: Option<String>,
}

/// The name of the cluster that is given without a file. What is kept in the state dir is kept under this name: a name
/// made of the addresses would lose it as soon as they come in another order.
const NAME: &str = "default";

/// The same configuration as from a file with one cluster of the name `default` and the default plugins.
/// Its file of client settings is read, too.
pub fn quick(quick: &Quick, registry: &PluginRegistry) -> Loaded {
    quick_with(quick, registry, &client_settings::problems)
}

pub(super) fn quick_with(
    quick: &Quick,
    registry: &PluginRegistry,
    settings_problems: SettingsProblems<'_>,
) -> Loaded {
    let mut service = Map::new();
    if let Some(path) = &quick.state_dir {
        service.insert("state_dir".to_owned(), path.to_string_lossy().into());
    }
    if let Some(listen) = &quick.listen {
        service.insert("listen".to_owned(), listen.clone().into());
    }
    let mut cluster = Map::new();
    cluster.insert("name".to_owned(), NAME.into());
    cluster.insert("bootstrap_servers".to_owned(), quick.bootstrap_servers.clone().into());
    if let Some(path) = &quick.command_config {
        cluster.insert("command_config".to_owned(), path.to_string_lossy().into());
    }
    if let Some(grace) = quick.grace {
        cluster.insert("monitors".to_owned(), json!([{"name": "dead_brokers", "grace": grace}]));
    }
    // A dry run leaves no trace in the cluster, the topic of the audit included.
    let acts = ["reassign_partitions", "elect_leaders", "report_operation"]
        .map(|name| json!({"name": name, "dry_run": !quick.execute}));
    cluster.insert("actions".to_owned(), acts.to_vec().into());
    let tree = Node::from_json(&json!({"doctorkafka": service, "kafkaclusters": [Json::from(cluster)]}));
    let secrets = Secrets::default();
    let read =
        Read { file: "arguments", text: "", tree, secrets, problems: Vec::new(), unfilled: Vec::new() };
    let mut loaded = super::finish(read, registry, settings_problems);
    // Warnings are about the default plugins, which the person at the keyboard has not chosen.
    loaded.report.keep_errors();
    loaded
}
