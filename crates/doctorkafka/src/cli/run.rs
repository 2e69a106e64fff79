//! `doctorkafka run`.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args};
use control::config::HumanDuration;

use super::fail;
use crate::config::{self, Config, Quick};
use crate::plugin::PluginRegistry;
use crate::shell::{log, service};
use crate::store::in_words;

/// Look after the clusters of a configuration file, or after one cluster without a file.
///
/// Without a file nothing is changed unless --execute is given: what would be done is said, once per incident.
/// SIGTERM and Ctrl-C end it within 5 seconds; a second Ctrl-C at once.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true).args(["config", "bootstrap_servers"]))]
pub(super) struct Run {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Some brokers of the one cluster to look after.
    #[arg(long, value_name = "HOST:PORT,…")]
    bootstrap_servers: Option<String>,
    /// A properties file with the security settings, as Kafka's own tools take it.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    command_config: Option<PathBuf>,
    /// Carry acts out. Without it they are only told.
    #[arg(long, conflicts_with = "config")]
    execute: bool,
    /// For how long a broker must be gone before it is dead, such as 30s or 5m.
    #[arg(long, value_name = "TIME", conflicts_with = "config")]
    grace: Option<HumanDuration>,
    /// Where the service keeps its state.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Serve /metrics and /health there.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// What the log shows, such as `doctorkafka=debug`.
    #[arg(long, env = "DOCTORKAFKA_LOG", value_name = "DIRECTIVES")]
    log: Option<String>,
}

impl Run {
    pub(super) fn run(self, registry: &PluginRegistry) -> ExitCode {
        if let Err(why) = log::start(self.log.as_deref()) {
            return fail(&format!("cannot start the log: {why}"));
        }
        let Some(config) = self.read(registry) else { return ExitCode::FAILURE };
        tell(&config);
        let runtime = match runtime(config.clusters.len()) {
            Ok(runtime) => runtime,
            Err(error) => return fail(&format!("cannot start: {error}")),
        };
        let ended = runtime.block_on(service::run(config));
        // A thread that hangs in a plugin must not keep the process.
        runtime.shutdown_background();
        match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&in_words(&error)),
        }
    }

    /// The configuration, if it can be used. What is wrong with it is on standard error then.
    fn read(&self, registry: &PluginRegistry) -> Option<Config> {
        let loaded = match (&self.config, &self.bootstrap_servers) {
            (Some(file), _) => config::load(file, registry),
            (None, servers) => {
                let quick = Quick {
                    bootstrap_servers: servers.clone().unwrap_or_default(),
                    command_config: self.command_config.clone(),
                    execute: self.execute,
                    grace: self.grace,
                    state_dir: self.state_dir.clone(),
                    listen: self.listen.clone(),
                };
                config::quick(&quick, registry)
            }
        };
        // Where standard error is closed there is nobody to tell.
        let _ = write!(io::stderr(), "{}", loaded.report.render(io::stderr().is_terminal()));
        let mut config = loaded.config?;
        if let Some(state_dir) = &self.state_dir {
            config.service.state_dir.clone_from(state_dir);
        }
        if self.listen.is_some() {
            config.service.listen.clone_from(&self.listen);
        }
        Some(config)
    }
}

/// Says what is looked after, and whether anything will be done.
fn tell(config: &Config) {
    for cluster in &config.clusters {
        let name = &*cluster.name;
        let servers: Vec<String> = cluster.endpoint.bootstrap.iter().map(ToString::to_string).collect();
        tracing::info!(cluster = name, "looking after {}", servers.join(","));
        let dry: Vec<&str> =
            cluster.actions.iter().filter(|a| a.dry_run).map(|a| a.plugin.name.as_str()).collect();
        if !dry.is_empty() {
            tracing::info!(
                cluster = name,
                "dry run of {}: what they would do is told, not done",
                dry.join(", ")
            );
        }
    }
    for name in &config.disabled {
        tracing::info!(cluster = &**name, "is disabled in the configuration and left alone");
    }
}

/// One thread serves a cluster: it waits nearly all of the time, and what takes long has threads of its own. Several
/// clusters get a few, so that the answers of a large one do not delay another.
fn runtime(clusters: usize) -> io::Result<tokio::runtime::Runtime> {
    let mut builder = match clusters {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    builder.worker_threads(clusters.clamp(1, cores.max(2))).enable_all().build()
}
