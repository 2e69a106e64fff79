//! Trials of the simulator and the planner, which the program `trials` makes.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::mutations;
use crate::test::{cargo, root};

/// Live through incidents at random, and say which of them bring something about that must not be.
#[derive(Args, Debug)]
pub(crate) struct Storm {
    /// How many incidents; with `--mutations`, at most how many for each of them.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The seed of the first; each further one has the next.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// Put known bugs into a copy of the sources, one after the other, and see whether the storm finds each.
    #[arg(long)]
    mutations: bool,
}

impl Storm {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        if self.mutations {
            return mutations::run(self.first_seed, self.seeds);
        }
        let (seeds, first) = (self.seeds.to_string(), self.first_seed.to_string());
        trial(&["storm".into(), "--seeds".into(), seeds, "--first-seed".into(), first])
    }
}

/// Plan for recorded small clusters and compare the outcome with the recorded one.
#[derive(Args, Debug)]
pub(crate) struct PlannerCases {
    /// Clusters, and cases with the outcome that is expected.
    #[arg(long)]
    spec: Option<PathBuf>,
    /// The best that is possible on some of them.
    #[arg(long)]
    optima: Option<PathBuf>,
}

impl PlannerCases {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let mut arguments = vec!["planner-cases".to_owned()];
        for (option, path) in [("--spec", &self.spec), ("--optima", &self.optima)] {
            if let Some(path) = path {
                arguments.extend([option.to_owned(), path.display().to_string()]);
            }
        }
        trial(&arguments)
    }
}

/// Builds and runs a trial.
fn trial(arguments: &[String]) -> Result<ExitCode> {
    let manifest = root().join("Cargo.toml");
    let status = Command::new(cargo())
        .args(["run", "--quiet", "--package", "trials", "--manifest-path"])
        .arg(manifest)
        .arg("--")
        .args(arguments)
        .status()
        .context("cannot start cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
