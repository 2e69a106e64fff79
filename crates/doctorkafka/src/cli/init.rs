//! `doctorkafka init`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

/// Write a commented configuration file to start from.
#[derive(Args, Debug)]
pub(super) struct Init {
    /// The file to write; one that exists is left alone.
    #[arg(default_value = "doctorkafka.yaml")]
    file: PathBuf,
}

impl Init {
    pub(super) fn run(self) -> ExitCode {
        let _ = self.file;
        ExitCode::FAILURE
    }
}
