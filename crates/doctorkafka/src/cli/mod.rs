//! The command line: one file a command.

mod check_config;
mod init;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::plugin::PluginRegistry;

/// Keeps Apache Kafka clusters healthy: finds dead brokers, heals under-replication, explains itself.
#[derive(Debug, Parser)]
#[command(name = "doctorkafka", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    CheckConfig(check_config::CheckConfig),
    Init(init::Init),
}

/// Runs the command that the arguments of this process name, with the plugin types of `registry`.
///
/// Exit codes: 0 for success, 1 for a failure, 2 for wrong usage.
pub fn main(registry: PluginRegistry) -> ExitCode {
    match Cli::parse().command {
        Command::CheckConfig(command) => command.run(&registry),
        Command::Init(command) => command.run(),
    }
}
