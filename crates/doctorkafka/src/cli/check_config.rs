//! `doctorkafka check-config`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::plugin::PluginRegistry;

/// Print the resolved configuration of each cluster, or everything that is wrong with the file.
#[derive(Args, Debug)]
pub(super) struct CheckConfig {
    /// The configuration file.
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl CheckConfig {
    pub(super) fn run(self, registry: &PluginRegistry) -> ExitCode {
        let _ = (self.file, self.json, registry);
        ExitCode::FAILURE
    }
}
