//! Trials of the simulator and the planner, which the program `trials` makes.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::test::{cargo, root};

/// What is handed on to the program.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct Trial {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Trial {
    /// Builds the program and runs its trial of that name.
    pub(crate) fn run(&self, name: &str) -> Result<ExitCode> {
        let manifest = root().join("Cargo.toml");
        let status = Command::new(cargo())
            .args(["run", "--quiet", "--package", "trials", "--manifest-path"])
            .arg(manifest)
            .args(["--", name])
            .args(&self.arguments)
            .status()
            .context("cannot start cargo")?;
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
