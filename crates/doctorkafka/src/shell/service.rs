//! The service: everything that a configuration names, started, watched over and ended together.

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use control::step::ConfigProblem;
use control::{Core, CoreConfig, MonitorSlot};
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::clock::RealClock;
use super::cluster_manager::{ClusterManager, ClusterSetup, LoopLimits, SHELL_SOURCE};
use super::connect::RealConnect;
use super::journal::{JOURNALS, Journal};
use super::known_store::KnownStore;
use super::moving::{Former, former};
use super::neighbours::{NEIGHBOURS_SOURCE, Neighbours, Setup, new_instance};
use super::siblings::{Family, SIBLINGS_SOURCE, Siblings};
use super::snapshot::ClusterHandle;
use crate::api::{Api, CONTROL_SOCKET, ListenError, Listening, bind_control_socket, bind_tcp};
use crate::config::Config;
use crate::config::resolved::ClusterConfig;
use crate::plugin::{Clock, Connect, Endpoint, Wake};
use crate::plugin_manager::{PluginError, PluginManager};
use crate::plugins::report_operation::ReportOperationConfig;
use crate::store::{ClusterStore, FileStore, Lease, StateStore, StoreError, Tenure, in_words};

/// The `type` of the action that writes the audit to a topic.
const REPORT_TYPE: &str = "report_operation";
/// Where the number of this service is kept.
const INSTANCE_KEY: &str = "instance";
/// How long the loops may take to end, in all: a program that replaces a host is waited for. Without one they take 2 s, which with the
/// flush below keeps the promise of 5 s.
const END_LIMIT: Duration = Duration::from_secs(14);
/// How long records on their way to Kafka are waited for at the end.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);
/// How long giving the leases up may take at the end.
const RELEASE_LIMIT: Duration = Duration::from_secs(1);

/// Why the service could not be started, or what was wrong when it ended.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// A directory could not be made.
    #[error("cannot make the directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The state store could not be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A socket could not be made.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Signals could not be waited for.
    #[error("cannot wait for signals")]
    Signals {
        /// The cause.
        source: io::Error,
    },
    /// A cluster's plugins could not be made.
    #[error(transparent)]
    Plugins(#[from] PluginError),
    /// A cluster's plugins do not go together.
    #[error("cluster {cluster}: {why}")]
    Build {
        /// The configured name of the cluster.
        cluster: Arc<str>,
        /// What is wrong, in words.
        why: String,
    },
}

/// Runs the service on real clusters until it is told to end by SIGTERM or SIGINT. A second signal ends the process at
/// once.
///
/// # Errors
/// It could not be started.
pub async fn run(config: Config) -> Result<(), ServiceError> {
    // First of all, so that a signal during the start is not lost.
    let mut signals = Signals::new().map_err(|source| ServiceError::Signals { source })?;
    let service =
        Service::start(config, Arc::new(RealConnect::default()), Arc::new(RealClock::new())).await?;
    let signal = signals.next().await;
    tracing::info!(signal, "ending");
    tokio::select! {
        () = service.end() => Ok(()),
        signal = signals.next() => {
            tracing::warn!(signal, "ended at once; what was under way is looked up at the next start");
            // Whatever is in the way of an orderly end is in the way of returning, too.
            std::process::exit(130)
        }
    }
}

/// A service that runs.
pub(crate) struct Service {
    state_dir: PathBuf,
    handles: Vec<ClusterHandle>,
    leases: Vec<Arc<dyn Lease>>,
    connect: Arc<dyn Connect>,
    stop: watch::Sender<bool>,
    loops: JoinSet<()>,
    sockets: JoinSet<()>,
}

impl Service {
    /// Starts everything that the configuration names. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// It could not be started.
    pub(crate) async fn start(
        config: Config,
        connect: Arc<dyn Connect>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ServiceError> {
        let state_dir = config.service.state_dir.clone();
        make_dir(&state_dir)?;
        // Its lock is what keeps a second service out of this state dir.
        let local = FileStore::open(&state_dir.join("store"))?;
        let store: Arc<dyn StateStore> = Arc::new(local.clone());
        let control = bind_control_socket(&state_dir).await?;
        let public = match &config.service.listen {
            Some(address) => Some(bind_tcp(address).await?),
            None => None,
        };
        let plugins =
            PluginManager::new(Arc::clone(&connect), Arc::clone(&clock), Arc::clone(&store), &state_dir);
        let instance = instance(&*store).await;
        tell_whose_state_is_left(&*store, &config).await;
        let stores = stores(&config, &connect, &local, instance.as_deref())?;
        let shared = config.service.state_store.is_shared();
        let former = instance.clone().filter(|_| shared);
        let instance = instance.map(|own| config.service.state_store.known_as().unwrap_or(own));
        let (connections, clocks, family) = (Arc::clone(&connect), Arc::clone(&clock), Family::default());
        let parts =
            Parts { plugins, connect: connections, clock: clocks, family, instance, local: store, former };
        let (mut managers, mut handles, mut leases) = (Vec::new(), Vec::new(), Vec::new());
        for (cluster, store) in config.clusters.iter().zip(stores) {
            let (manager, handle) = parts.build(cluster, &store)?;
            managers.push(manager);
            handles.push(handle);
            leases.push(store.lease);
        }
        let mut sockets = JoinSet::new();
        let api = Api::new(handles.clone(), clock);
        sockets.spawn(control.serve(api.control_router()));
        if let Some(public) = public {
            sockets.spawn(serve_public(public, api));
        }
        let (stop, stopped) = watch::channel(false);
        let mut loops = JoinSet::new();
        for manager in managers {
            loops.spawn(manager.run(stopped.clone()));
        }
        tracing::info!(
            state_dir = %state_dir.display(), clusters = config.clusters.len(), pid = std::process::id(),
            "started"
        );
        Ok(Self { state_dir, handles, leases, connect, stop, loops, sockets })
    }

    /// Its clusters.
    pub(crate) fn clusters(&self) -> &[ClusterHandle] {
        &self.handles
    }

    /// Ends it: what is under way is left to the next start, what was written is waited for.
    pub(crate) async fn end(mut self) {
        // No receiver is left when all loops have ended already.
        let _ = self.stop.send(true);
        let all = async { while self.loops.join_next().await.is_some() {} };
        if tokio::time::timeout(END_LIMIT, all).await.is_err() {
            tracing::warn!("the loops did not end in time");
        } else {
            self.release_leases().await;
        }
        self.connect.flush(FLUSH_LIMIT).await;
        self.sockets.shutdown().await;
        // One that is left over does no harm: the next service replaces it.
        let _ = std::fs::remove_file(self.state_dir.join(CONTROL_SOCKET));
        tracing::info!("ended");
    }
}

impl Service {
    /// Nothing is under way any more: other services need not wait for the end of the leases.
    async fn release_leases(&self) {
        let all = async {
            for lease in &self.leases {
                lease.release().await;
            }
        };
        if tokio::time::timeout(RELEASE_LIMIT, all).await.is_err() {
            tracing::warn!("the leases could not be given up; another service waits until they are over");
        }
    }
}

/// What each cluster has of the state store, in the order of the clusters.
fn stores(
    config: &Config,
    connect: &Arc<dyn Connect>,
    local: &FileStore,
    instance: Option<&str>,
) -> Result<Vec<ClusterStore>, ServiceError> {
    let store = &config.service.state_store;
    let mut managed = Vec::new();
    for cluster in config.clusters.iter().filter(|_| store.is_shared()) {
        let failed = |why| ServiceError::Build { cluster: Arc::clone(&cluster.name), why };
        let connection = connect.connect(&cluster.endpoint).map_err(failed)?;
        managed.push((Arc::clone(&cluster.name), connection.reader));
    }
    let of_one = |cluster: &ClusterConfig| {
        let failed = |why| ServiceError::Build { cluster: Arc::clone(&cluster.name), why };
        // Who acts must be told from others, also after a restart.
        if store.is_shared() && instance.is_none() {
            return Err(failed("the number of this service cannot be kept in its state dir".to_owned()));
        }
        store.open(&cluster.name, local, instance.unwrap_or_default(), &managed).map_err(failed)
    };
    config.clusters.iter().map(of_one).collect()
}

async fn serve_public(listening: Listening, api: Api) {
    if let Some(port) = listening.port() {
        tracing::info!(port, "serving /metrics and /health");
    }
    listening.serve(api.public_router()).await;
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// What all clusters share.
struct Parts {
    plugins: PluginManager,
    connect: Arc<dyn Connect>,
    clock: Arc<dyn Clock>,
    /// Which cluster each name has turned out to be.
    family: Family,
    /// The number of this service; `None` where it could not be kept.
    instance: Option<String>,
    /// The store in the state dir.
    local: Arc<dyn StateStore>,
    /// The number that this service has by itself, where the state is kept elsewhere than in its state dir.
    former: Option<String>,
}

impl Parts {
    fn build(
        &self,
        cluster: &ClusterConfig,
        store: &ClusterStore,
    ) -> Result<(ClusterManager, ClusterHandle), ServiceError> {
        let wake = Wake::default();
        let tenure = Tenure::new(Arc::clone(&store.lease));
        let shared = self.former.as_ref().map(|_| Journal::of(store, None, None));
        let plugins = self.plugins.build(cluster, &wake, &tenure, shared.as_ref())?;
        let mut config = plugins.core;
        // The shell's own findings come first, whatever a monitor says later.
        config.monitors.insert(0, MonitorSlot::Source(SHELL_SOURCE.to_owned()));
        let failed = |why| ServiceError::Build { cluster: Arc::clone(&cluster.name), why };
        let mut sources = plugins.sources;
        if let Some(neighbours) = self.neighbours(cluster).map_err(failed)? {
            config.monitors.push(MonitorSlot::Source(NEIGHBOURS_SOURCE.to_owned()));
            sources.push(Arc::new(neighbours));
        }
        config.monitors.push(MonitorSlot::Source(SIBLINGS_SOURCE.to_owned()));
        sources.push(Arc::new(Siblings::new(Arc::clone(&cluster.name), Arc::clone(&self.family))));
        let core = core(config).map_err(failed)?;
        Ok(ClusterManager::new(ClusterSetup {
            name: Arc::clone(&cluster.name),
            core,
            sources,
            actions: plugins.actions,
            reader: plugins.reader,
            journal: Journal::of(store, self.former(cluster), self.known_store(cluster)),
            tenure,
            clock: Arc::clone(&self.clock),
            wake,
            limits: LoopLimits::every(cluster.care.evaluation_interval.0),
        }))
    }

    /// What the cluster may have in the state dir, where its state is elsewhere now.
    fn former(&self, cluster: &ClusterConfig) -> Option<Former> {
        let own = self.former.as_ref()?;
        Some(former(Arc::clone(&self.local), &cluster.name, own))
    }

    /// Which store it is.
    fn known_store(&self, cluster: &ClusterConfig) -> Option<KnownStore> {
        let local = Arc::clone(&self.local);
        Some(match self.former {
            Some(_) => KnownStore::new(local, &cluster.name, self.instance.clone()?),
            None => KnownStore::of_state_dir(local, &cluster.name),
        })
    }

    /// Looks for other services where the audit is written to a topic.
    fn neighbours(&self, cluster: &ClusterConfig) -> Result<Option<Neighbours>, String> {
        let Some(instance) = self.instance.clone() else { return Ok(None) };
        let mut reports = cluster.actions.iter().filter(|entry| entry.plugin.type_name == REPORT_TYPE);
        let Some(entry) = reports.next() else { return Ok(None) };
        let resolved = entry.plugin.prepared.resolved();
        let config: ReportOperationConfig =
            serde_json::from_value(resolved).map_err(|error| error.to_string())?;
        let endpoint = match &config.bootstrap_servers {
            None => cluster.endpoint.clone(),
            Some(servers) => {
                let bootstrap = kafka::parse_bootstrap(servers).map_err(|error| error.to_string())?;
                Endpoint { bootstrap, command_config: config.command_config.clone() }
            }
        };
        let setup = Setup {
            cluster: Arc::clone(&cluster.name),
            instance,
            topic: config.topic,
            writes: !entry.dry_run,
            create_topic: config.create_topic,
            connection: self.connect.connect(&endpoint)?,
            clock: Arc::clone(&self.clock),
        };
        Neighbours::start(setup).map(Some)
    }
}

/// Warns of state under names that the configuration does not have: a cluster that was given another name starts
/// without its pause, its maintenance and its executions, and that must not go unseen.
async fn tell_whose_state_is_left(store: &dyn StateStore, config: &Config) {
    // A store that cannot be read is told by each cluster that needs it.
    let Ok(keys) = store.list(JOURNALS).await else { return };
    let enabled = config.clusters.iter().map(|cluster| &*cluster.name);
    let known: BTreeSet<&str> = enabled.chain(config.disabled.iter().map(|name| &**name)).collect();
    let stored: BTreeSet<&str> = keys.iter().filter_map(|key| Journal::cluster_of(key)).collect();
    let left: Vec<&str> = stored.difference(&known).copied().collect();
    if !left.is_empty() {
        tracing::warn!(
            state_dir = %config.service.state_dir.display(),
            "there is state of clusters that the configuration does not name: {}; their pauses, maintenance and \
             executions hold for none of {}",
            left.join(", "),
            known.into_iter().collect::<Vec<_>>().join(", ")
        );
    }
}

/// The number by which other services know this one, kept with its state. Healing does not need it: where it cannot be
/// read or written, that is told, and no other service is looked for.
async fn instance(store: &dyn StateStore) -> Option<String> {
    match stored_instance(store).await {
        Ok(number) => Some(number),
        Err(error) => {
            tracing::warn!(%error, "the number of this service cannot be kept, another service will not be found");
            None
        }
    }
}

async fn stored_instance(store: &dyn StateStore) -> Result<String, String> {
    let stored = store.get(INSTANCE_KEY).await.map_err(|error| in_words(&error))?;
    if let Some(stored) = stored {
        return String::from_utf8(stored.value).map_err(|error| error.to_string());
    }
    let number = new_instance()?;
    store.put(INSTANCE_KEY, number.clone().into_bytes()).await.map_err(|error| in_words(&error))?;
    Ok(number)
}

fn core(config: CoreConfig) -> Result<Core, String> {
    let cluster = config.cluster.clone();
    let (core, warnings) = Core::new(config)
        .map_err(|problems| problems.iter().map(ConfigProblem::to_string).collect::<Vec<_>>().join("; "))?;
    for warning in warnings {
        tracing::debug!(cluster, %warning, "odd configuration");
    }
    Ok(core)
}

fn make_dir(path: &Path) -> Result<(), ServiceError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| ServiceError::Directory { path: path.to_owned(), source })
}
