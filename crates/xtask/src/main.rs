//! The development tasks of this workspace: `cargo xtask test`, `cargo xtask planner-cases`, `cargo xtask storm`.

mod test;
mod trials;
mod usage;

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
    /// Plan for recorded small clusters and compare the outcome with the recorded one.
    PlannerCases(trials::Trial),
    /// Live through incidents at random, and say which of them bring something about that must not be.
    Storm(trials::Trial),
}

fn main() -> Result<ExitCode> {
    match Cli::parse().task {
        Task::Test(test) => test.run(),
        Task::PlannerCases(cases) => cases.run("planner-cases"),
        Task::Storm(storm) => storm.run("storm"),
    }
}
