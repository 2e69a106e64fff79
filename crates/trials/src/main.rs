//! Trials of the simulator and the planner. `cargo xtask storm` and `cargo xtask planner-cases` build and run this program;
//! it is one of its own so that `cargo xtask test` need not wait for what it depends on.

mod mutations;
mod planner_cases;
mod storm;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Trials of the simulator and the planner.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    trial: Trial,
}

#[derive(Debug, Subcommand)]
enum Trial {
    Storm(storm::Storm),
    PlannerCases(planner_cases::PlannerCases),
}

fn main() -> ExitCode {
    let ended = match Cli::parse().trial {
        Trial::Storm(storm) => storm.run(),
        Trial::PlannerCases(cases) => cases.run(),
    };
    ended.unwrap_or_else(|error| {
        // What cannot be read is no bug, of which a backtrace would tell.
        eprintln!("trials: {error:#}");
        ExitCode::FAILURE
    })
}

/// The folder of the workspace: two above that of this package.
fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package).to_owned()
}
