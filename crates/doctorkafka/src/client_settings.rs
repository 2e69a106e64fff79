//! The properties files with security settings that a configuration names.

use std::fs;
use std::path::Path;

use kafka::{Security, client_properties};

/// Reads the file at `path`, as Kafka's own tools take it with `--command-config`.
///
/// # Errors
/// All that is wrong with it, each with the file and the line.
pub(crate) fn read(path: &Path) -> Result<Security, Vec<String>> {
    let place = path.display();
    let text = fs::read_to_string(path).map_err(|error| vec![format!("cannot read {place}: {error}")])?;
    client_properties::parse(&text)
        .map_err(|problems| problems.iter().map(|problem| format!("{place}: {problem}")).collect())
}

/// What is wrong with the file at `path`, and with those of certificates and keys that it names: nothing, if they can be used.
pub(crate) fn problems(path: &Path) -> Vec<String> {
    match read(path) {
        Ok(security) => {
            let problems = security.check_files();
            problems.iter().map(|problem| format!("{}: {problem}", path.display())).collect()
        }
        Err(problems) => problems,
    }
}
