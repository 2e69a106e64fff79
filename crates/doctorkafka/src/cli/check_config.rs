//! `doctorkafka check-config`.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::config;
use crate::plugin::PluginRegistry;

/// Print the resolved configuration of each cluster, or everything that is wrong with the file.
#[derive(Args, Debug)]
pub(super) struct CheckConfig {
    /// The configuration file.
    file: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl CheckConfig {
    pub(super) fn run(self, registry: &PluginRegistry) -> ExitCode {
        let loaded = config::load(&self.file, registry);
        let code = if loaded.config.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        let out = if self.json {
            let whole = json!({
                "config": loaded.config.as_ref().map(config::Config::to_json),
                "problems": loaded.report.lines(),
            });
            format!("{whole:#}\n")
        } else {
            let colours = io::stderr().is_terminal();
            // Where standard error is closed there is nobody to tell.
            let _ = write!(io::stderr(), "{}", loaded.report.render(colours));
            loaded.config.map(|config| config.to_yaml()).unwrap_or_default()
        };
        match io::stdout().write_all(out.as_bytes()) {
            Ok(()) => code,
            Err(_) => ExitCode::FAILURE,
        }
    }
}
