//! The development tasks of this workspace: `cargo xtask test`, `cargo xtask planner-cases`, `cargo xtask storm`.

mod mutations;
mod test;
mod trials;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The development tasks of this workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Test(test::Test),
    PlannerCases(trials::PlannerCases),
    Storm(trials::Storm),
}

fn main() -> Result<ExitCode> {
    match Cli::parse().task {
        Task::Test(test) => test.run(),
        Task::PlannerCases(cases) => cases.run(),
        Task::Storm(storm) => storm.run(),
    }
}
