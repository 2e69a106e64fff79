//! The command line: one file a command.

mod actions;
mod check_config;
pub(crate) mod client;
mod demo;
mod init;
mod orders;
mod plan;
mod replace;
mod run;
mod state;
mod stats;
mod status;
mod words;

use std::future::Future;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config;
use crate::plugin::PluginRegistry;
use crate::store::in_words;

/// Keeps Apache Kafka clusters healthy: finds dead brokers, heals under-replication, explains itself.
///
/// Exit codes: 0 for success, 1 for a failure, 2 for wrong usage, 3 if no service runs where it was sought.
#[derive(Debug, Parser)]
#[command(name = "doctorkafka", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Status(status::StatusCommand),
    Pause(orders::Pause),
    Resume(orders::Resume),
    Approve(orders::Approve),
    Cancel(orders::Cancel),
    Maintenance(orders::Maintenance),
    Decommission(orders::Decommission),
    Replace(replace::Replace),
    AcceptIdentity(orders::AcceptIdentity),
    Actions(actions::Actions),
    Stats(stats::Stats),
    State(state::StateCommand),
    Plan(plan::PlanCommand),
    Explain(plan::Explain),
    CheckConfig(check_config::CheckConfig),
    Init(init::Init),
    Demo(demo::Demo),
}

/// No service runs where it was sought.
const NOT_RUNNING: u8 = 3;

/// The state dir where neither a configuration nor an argument names one.
const STATE_DIR: &str = "doctorkafka-state";

/// Runs the command that the arguments of this process name, with the plugin types of `registry`.
///
/// Exit codes: 0 for success, 1 for a failure, 2 for wrong usage, 3 if no service runs where it was sought.
pub fn main(registry: PluginRegistry) -> ExitCode {
    match Cli::parse().command {
        Command::Run(command) => command.run(&registry),
        Command::Status(command) => command.run(&registry),
        Command::Pause(command) => command.run(&registry),
        Command::Resume(command) => command.run(&registry),
        Command::Approve(command) => command.run(&registry),
        Command::Cancel(command) => command.run(&registry),
        Command::Maintenance(command) => command.run(&registry),
        Command::Decommission(command) => command.run(&registry),
        Command::Replace(command) => command.run(&registry),
        Command::AcceptIdentity(command) => command.run(&registry),
        Command::Actions(command) => command.run(),
        Command::Stats(command) => command.run(),
        Command::State(command) => command.run(&registry),
        Command::Plan(command) => command.run(),
        Command::Explain(command) => command.run(),
        Command::CheckConfig(command) => command.run(&registry),
        Command::Init(command) => command.run(),
        Command::Demo(command) => command.run(&registry),
    }
}

/// Runs a command that talks to somebody.
fn block_on(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => fail(&format!("cannot start: {error}")),
    }
}

/// Says on standard error why a command failed.
fn fail(why: &str) -> ExitCode {
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "doctorkafka: {why}");
    ExitCode::FAILURE
}

/// Says why the service did not do what was asked.
fn refused(error: &client::ClientError) -> ExitCode {
    let code = fail(&in_words(error));
    if matches!(error, client::ClientError::NotRunning { .. }) { ExitCode::from(NOT_RUNNING) } else { code }
}

/// Writes to standard output.
fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has gone: that is how `head` ends things.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The service that is meant.
fn client_of(whom: &client::Whom, registry: &PluginRegistry) -> Result<client::Client, String> {
    let state_dir = match (&whom.state_dir, &whom.config) {
        (Some(dir), _) => dir.clone(),
        (None, Some(file)) => state_dir_of(file, registry)?,
        (None, None) => PathBuf::from(STATE_DIR),
    };
    Ok(client::Client::new(&state_dir))
}

fn state_dir_of(file: &Path, registry: &PluginRegistry) -> Result<PathBuf, String> {
    let loaded = config::load(file, registry);
    match loaded.config {
        Some(config) => Ok(config.service.state_dir),
        None => Err(loaded.report.render(false)),
    }
}
