//! `doctorkafka init`.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

/// The configuration to start from.
const TEMPLATE: &str = include_str!("init.yaml");

/// Write a commented configuration file to start from.
#[derive(Args, Debug)]
pub(super) struct Init {
    /// The file to write, or - for standard output; one that exists is left alone.
    #[arg(default_value = "doctorkafka.yaml")]
    file: PathBuf,
}

impl Init {
    pub(super) fn run(self) -> ExitCode {
        if self.file.as_os_str() == "-" {
            return match io::stdout().write_all(TEMPLATE.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            };
        }
        let file = self.file.display();
        let (code, line) = match write_new(&self.file) {
            Ok(()) => (
                ExitCode::SUCCESS,
                format!(
                    "wrote {file}: write your brokers into it, then try `doctorkafka check-config {file}`"
                ),
            ),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                (ExitCode::FAILURE, format!("{file} exists, and is left as it is"))
            }
            Err(error) => (ExitCode::FAILURE, format!("cannot write {file}: {error}")),
        };
        // Where standard error is closed there is nobody to tell.
        let _ = writeln!(io::stderr(), "{line}");
        code
    }
}

/// Writes the template into a file that must not exist.
fn write_new(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(TEMPLATE.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config;
    use crate::plugins;

    #[test]
    fn drk_55_what_it_writes_passes_check_config_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("doctorkafka.yaml");
        write_new(&path).unwrap();
        let loaded = config::load(&path, &plugins::builtin());
        assert!(loaded.config.is_some(), "{}", loaded.report);
        assert_eq!(loaded.report.errors(), 0);
        fs::write(&path, "mine").unwrap();
        assert_eq!(write_new(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn drk_55_what_it_comments_out_is_right_too() {
        // Every line that is a key behind a `# ` is put into force.
        let all: String = TEMPLATE
            .lines()
            .map(|line| {
                let body = line.trim_start();
                match body.strip_prefix("#+ ") {
                    Some(rest) => format!("{}{rest}\n", &line[..line.len() - body.len()]),
                    None => format!("{line}\n"),
                }
            })
            .collect();
        let loaded = config::parse("all.yaml", &all, &plugins::builtin(), &|_| None);
        assert!(loaded.config.is_some(), "{}", loaded.report);
    }
}
