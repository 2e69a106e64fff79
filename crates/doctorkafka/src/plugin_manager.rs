//! The PluginManager: makes the plugins of a cluster from its resolved configuration.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use control::event::names;
use control::{Action, ActionKind, ActionSlot, Core, CoreConfig, FoldLimits, MonitorSlot};
use thiserror::Error;

use crate::config::resolved::{ActionEntry, ClusterConfig};
use crate::plugin::{BuildContext, Clock, Connect, MonitorPlugin, Source, Wake};

/// The plugins of one cluster, as its ClusterManager runs them.
pub struct ClusterPlugins {
    /// The core with the deriving monitors and the operators in it.
    pub core: Core,
    /// The source monitors. Their tasks run.
    pub sources: Vec<Arc<dyn Source>>,
    /// The actions.
    pub actions: Vec<Arc<dyn Action>>,
}

/// Why the plugins of a cluster cannot be made.
#[derive(Debug, Error)]
pub enum PluginError {
    /// There is no way to the cluster.
    #[error("cluster {cluster} cannot be reached: {cause}")]
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
    #[error("{kind} {name} of cluster {cluster} cannot be made: {cause}")]
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
    /// The plugins do not go together.
    #[error("the plugins of cluster {cluster} do not go together: {}", problems.join("; "))]
    Core {
        /// The cluster.
        cluster: Arc<str>,
        /// What is wrong.
        problems: Vec<String>,
    },
}

/// Makes plugins.
pub struct PluginManager {
    connect: Arc<dyn Connect>,
    clock: Arc<dyn Clock>,
    state_dir: PathBuf,
}

impl PluginManager {
    /// A manager whose plugins keep their files below `state_dir`.
    pub fn new(connect: Arc<dyn Connect>, clock: Arc<dyn Clock>, state_dir: &Path) -> Self {
        Self { connect, clock, state_dir: state_dir.to_owned() }
    }

    /// The folder for the files of the cluster's plugins: `clusters/NAME` in the state dir.
    pub fn folder(&self, cluster: &str) -> PathBuf {
        self.state_dir.join("clusters").join(cluster)
    }

    /// Makes the plugins of `cluster`. Source monitors begin to collect: this runs within a tokio runtime.
    ///
    /// # Errors
    /// The first plugin that cannot be made; those made before it have ended then.
    pub fn build(&self, cluster: &ClusterConfig, wake: &Wake) -> Result<ClusterPlugins, PluginError> {
        let name = &cluster.name;
        let connection = self
            .connect
            .connect(&cluster.endpoint)
            .map_err(|cause| PluginError::Connect { cluster: Arc::clone(name), cause })?;
        let folder = self.folder(name);
        fs::create_dir_all(&folder)
            .map_err(|source| PluginError::MakeFolder { folder: folder.clone(), source })?;
        let context = |plugin: &str| BuildContext {
            cluster: Arc::clone(name),
            name: plugin.to_owned(),
            connection: connection.clone(),
            endpoint: cluster.endpoint.clone(),
            connect: Arc::clone(&self.connect),
            clock: Arc::clone(&self.clock),
            wake: wake.clone(),
            evaluation_interval: cluster.care.evaluation_interval.0,
            folder: folder.clone(),
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
            let made = monitor.prepared.build(&context(&monitor.name));
            monitors.push(match made.map_err(|cause| failed("monitor", &monitor.name, cause))? {
                MonitorPlugin::Source(source) => {
                    sources.push(source);
                    MonitorSlot::Source(monitor.name.clone())
                }
                MonitorPlugin::Deriving(monitor) => MonitorSlot::Deriving(monitor),
            });
        }
        let mut operators = Vec::new();
        for operator in &cluster.operators {
            let made = operator.prepared.build(&context(&operator.name));
            operators.push(made.map_err(|cause| failed("operator", &operator.name, cause))?);
        }
        let mut actions = Vec::new();
        for action in &cluster.actions {
            let made = action.plugin.prepared.build(&context(&action.plugin.name));
            actions.push(made.map_err(|cause| failed("action", &action.plugin.name, cause))?);
        }
        let config = CoreConfig {
            cluster: name.to_string(),
            monitors,
            operators,
            actions: cluster.actions.iter().map(slot).collect(),
            guard: cluster.care.guard.to_core(),
            limits: cluster.care.execution.to_core(),
            incidents: FoldLimits::default(),
        };
        // What the core warns of is among the warnings of the configuration.
        let (core, _) = Core::new(config).map_err(|problems| PluginError::Core {
            cluster: Arc::clone(name),
            problems: problems.iter().map(ToString::to_string).collect(),
        })?;
        Ok(ClusterPlugins { core, sources, actions })
    }
}

/// The action as the core knows it.
fn slot(action: &ActionEntry) -> ActionSlot {
    // The one built-in action that is driven in steps; every other is called once.
    let kind = if action.plugin.type_name == names::REASSIGN_PARTITIONS {
        ActionKind::Reassign
    } else {
        ActionKind::Once
    };
    ActionSlot {
        name: action.plugin.name.clone(),
        subscribed: action.subscribed_events.clone(),
        dry_run: action.dry_run,
        kind,
        emits: action.plugin.prepared.emits(),
    }
}
