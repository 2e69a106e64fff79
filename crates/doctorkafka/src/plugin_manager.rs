//! The PluginManager: makes the plugins of a cluster from its resolved configuration.

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cluster::Reader;
use control::event::names;
use control::step::OWN_EVENTS;
use control::{Action, ActionKind, ActionSlot, CoreConfig, FoldLimits, MonitorSlot, Operator};
use thiserror::Error;

use crate::config::resolved::{ActionEntry, ClusterConfig};
use crate::plugin::{BuildContext, Clock, Connect, MonitorPlugin, Source, Wake};
use crate::shell::gate::Gated;
use crate::shell::journal::Journal;
use crate::shell::panics::{GuardedMonitor, GuardedOperator};
use crate::store::{StateStore, Tenure};

/// The plugins of one cluster, as its ClusterManager runs them.
pub struct ClusterPlugins {
    /// What the core is made of: the deriving monitors and the operators are in it.
    pub core: CoreConfig,
    /// The source monitors. Their tasks run.
    pub sources: Vec<Arc<dyn Source>>,
    /// The actions.
    pub actions: Vec<Arc<dyn Action>>,
    /// The way to the cluster that they share.
    pub reader: Arc<dyn Reader>,
}

/// Why the plugins of a cluster cannot be made.
#[derive(Debug, Error)]
pub enum PluginError {
    /// There is no way to the cluster.
    #[error("cluster {cluster}: {cause}")]
    Connect {
        /// The cluster.
        cluster: Arc<str>,
        /// What is wrong with the settings.
        cause: String,
    },
    /// The folder for the plugins' files is missing.
    #[error("cannot make the folder {}", folder.display())]
    MakeFolder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// One plugin cannot be made.
    #[error("cluster {cluster}: {kind} {name}: {cause}")]
    Build {
        /// The cluster.
        cluster: Arc<str>,
        /// `monitor`, `operator` or `action`.
        kind: &'static str,
        /// The plugin.
        name: String,
        /// Why.
        cause: String,
    },
}

/// Makes plugins.
pub struct PluginManager {
    connect: Arc<dyn Connect>,
    clock: Arc<dyn Clock>,
    store: Arc<dyn StateStore>,
    state_dir: PathBuf,
}

impl PluginManager {
    /// A manager whose plugins keep their files below `state_dir`.
    pub fn new(
        connect: Arc<dyn Connect>,
        clock: Arc<dyn Clock>,
        store: Arc<dyn StateStore>,
        state_dir: &Path,
    ) -> Self {
        Self { connect, clock, store, state_dir: state_dir.to_owned() }
    }

    /// The folder for the files of the cluster's plugins: `clusters/NAME` in the state dir.
    pub fn folder(&self, cluster: &str) -> PathBuf {
        self.state_dir.join("clusters").join(cluster)
    }

    /// Makes the plugins of `cluster`, which change it as long as `tenure` lets them; `shared` is what services share, where they do.
    /// Source monitors begin to collect: this runs within a tokio runtime.
    ///
    /// # Errors
    /// The first plugin that cannot be made; those made before it have ended then.
    pub fn build(
        &self,
        cluster: &ClusterConfig,
        wake: &Wake,
        tenure: &Arc<Tenure>,
        shared: Option<&Journal>,
    ) -> Result<ClusterPlugins, PluginError> {
        let name = &cluster.name;
        let mut connection = self
            .connect
            .connect(&cluster.endpoint)
            .map_err(|cause| PluginError::Connect { cluster: Arc::clone(name), cause })?;
        connection.writer = Arc::new(Gated::new(connection.writer, Arc::clone(tenure)));
        let folder = self.folder(name);
        // Only for ourselves, as the state dir is.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|source| PluginError::MakeFolder { folder: folder.clone(), source })?;
        let context = |plugin: &str, dry_run: bool| BuildContext {
            cluster: Arc::clone(name),
            name: plugin.to_owned(),
            connection: connection.clone(),
            endpoint: cluster.endpoint.clone(),
            connect: Arc::clone(&self.connect),
            clock: Arc::clone(&self.clock),
            wake: wake.clone(),
            evaluation_interval: cluster.care.evaluation_interval.0,
            dry_run,
            folder: folder.clone(),
            store: Arc::clone(&self.store),
            shared: shared.cloned(),
            tenure: Arc::clone(tenure),
        };
        let failed = |kind, plugin: &str, cause| PluginError::Build {
            cluster: Arc::clone(name),
            kind,
            name: plugin.to_owned(),
            cause,
        };
        let mut sources = Vec::new();
        let mut monitors = Vec::new();
        for monitor in &cluster.monitors {
            let made = monitor.prepared.build(&context(&monitor.name, false));
            monitors.push(match made.map_err(|cause| failed("monitor", &monitor.name, cause))? {
                MonitorPlugin::Source(source) => {
                    sources.push(source);
                    MonitorSlot::Source(monitor.name.clone())
                }
                MonitorPlugin::Deriving(monitor) => MonitorSlot::Deriving(Box::new(GuardedMonitor(monitor))),
            });
        }
        let mut operators = Vec::new();
        for operator in &cluster.operators {
            let made = operator.prepared.build(&context(&operator.name, false));
            let made = made.map_err(|cause| failed("operator", &operator.name, cause))?;
            operators.push(Box::new(GuardedOperator(made)) as Box<dyn Operator>);
        }
        let mut actions = Vec::new();
        for action in &cluster.actions {
            let made = action.plugin.prepared.build(&context(&action.plugin.name, action.dry_run));
            actions.push(made.map_err(|cause| failed("action", &action.plugin.name, cause))?);
        }
        let known = events(cluster);
        let core = CoreConfig {
            cluster: name.to_string(),
            monitors,
            operators,
            actions: cluster.actions.iter().map(|action| slot(action, &known)).collect(),
            guard: cluster.care.guard.to_core(),
            limits: cluster.care.execution.to_core(),
            incidents: FoldLimits::default(),
        };
        Ok(ClusterPlugins { core, sources, actions, reader: connection.reader.clone() })
    }
}

/// The events that can come.
fn events(cluster: &ClusterConfig) -> BTreeSet<String> {
    let operators = cluster.operators.iter().flat_map(|operator| operator.prepared.emits());
    let actions = cluster.actions.iter().flat_map(|action| action.plugin.prepared.emits());
    operators.chain(actions).chain(OWN_EVENTS.map(str::to_owned)).collect()
}

/// The action as the core knows it, which refuses events that cannot come: those of an operator that is switched off
/// for this cluster are left out, and the configuration has warned of them.
fn slot(action: &ActionEntry, known: &BTreeSet<String>) -> ActionSlot {
    // The one built-in action that is driven in steps; every other is called once.
    let kind = if action.plugin.type_name == names::REASSIGN_PARTITIONS {
        ActionKind::Reassign
    } else {
        ActionKind::Once
    };
    ActionSlot {
        name: action.plugin.name.clone(),
        subscribed: action.subscribed_events.iter().filter(|event| known.contains(*event)).cloned().collect(),
        dry_run: action.dry_run,
        kind,
        at_most_once: action.plugin.prepared.at_most_once(),
        can_stop: action.plugin.prepared.can_stop(),
        emits: action.plugin.prepared.emits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::plugins;
    use crate::shell::clock::RealClock;
    use crate::shell::connect::RealConnect;
    use crate::store::memory::MemoryStore;

    fn build(text: &str, state_dir: &Path) -> Result<ClusterPlugins, PluginError> {
        let loaded = config::parse("f.yaml", text, &plugins::builtin(), &|_| None);
        let config = loaded.config.unwrap_or_else(|| panic!("{}", loaded.report));
        let connect = Arc::new(RealConnect::default());
        PluginManager::new(connect, Arc::new(RealClock::new()), Arc::new(MemoryStore::default()), state_dir)
            .build(&config.clusters[0], &Wake::default(), &crate::plugins::fakes::acting(), None)
    }

    #[tokio::test]
    async fn builds_what_a_cluster_has_in_its_order() {
        let dir = tempfile::tempdir().unwrap();
        let text = "
operators: [{type: under_replicated_partitions}, {type: no_broker_stats, enabled: false}]
actions:
- {type: reassign_partitions, dry_run: false}
- {type: script, name: tell, command: [tell], subscribed_events: [alert_no_brokerstats_brokers, alert_prolong_urp]}
kafkaclusters:
- name: a
  bootstrap_servers: 127.0.0.1:1
  guard: {max_dead_percent: 30, mass_failure_grace: never}
  execution: {moves_per_broker: 3}
  monitors: [{name: broker_probe, enabled: false}]
";
        let plugins = build(text, dir.path()).unwrap();
        let core = plugins.core;
        let slots: Vec<&str> = core
            .monitors
            .iter()
            .map(|slot| match slot {
                MonitorSlot::Source(name) => name,
                MonitorSlot::Deriving(monitor) => monitor.name(),
            })
            .collect();
        assert_eq!(
            slots,
            [
                "kafka_metadata",
                "maintenance",
                "dead_brokers",
                "under_replicated_partitions",
                "degraded_brokers"
            ]
        );
        assert_eq!(
            plugins.sources.iter().map(|source| source.name()).collect::<Vec<_>>(),
            ["kafka_metadata"]
        );
        assert_eq!(core.operators.len(), 1);
        assert_eq!((core.guard.brake_percent, core.guard.mass_failure_grace), (30, None));
        assert_eq!(core.limits.moves_per_broker, 3);
        assert_eq!(
            plugins.actions.iter().map(|action| action.name()).collect::<Vec<_>>(),
            ["reassign_partitions", "tell"]
        );
        assert_eq!((core.actions[0].kind, core.actions[0].dry_run), (ActionKind::Reassign, false));
        assert_eq!(core.actions[1].subscribed, ["alert_prolong_urp"]);
        assert!(core.actions[1].dry_run);
        assert!(dir.path().join("clusters/a").is_dir());
        assert!(control::Core::new(core).is_ok());
    }

    #[tokio::test]
    async fn says_which_settings_are_missing() {
        let dir = tempfile::tempdir().unwrap();
        let text = "kafkaclusters: [{name: a, bootstrap_servers: 127.0.0.1:1, command_config: /nowhere/c.properties}]";
        let error = build(text, dir.path()).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.starts_with("cluster a: cannot read /nowhere/c.properties"), "{error}");
    }
}
