//! The files that a configuration names: properties with security settings, secrets, programs.

use std::fs;
use std::path::Path;

use kafka::{Security, client_properties};

use crate::programs;

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

/// What a file that a configuration names is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// The settings of a Kafka client.
    ClientSettings,
    /// A secret or certificates, which are read when they are needed.
    Secret,
    /// A program that is started when it is needed.
    Program,
}

/// Something that is wrong with a file of settings.
pub(crate) enum Trouble {
    /// It cannot be used.
    Unusable(String),
    /// A file of certificates or keys that it names cannot be used at this moment. Connections read it anew each time, so
    /// that it is no reason to look after no other cluster.
    Lacking(String),
}

/// What is wrong with the file at `path`, and with those of certificates and keys that it names: nothing, if they can be used.
pub(crate) fn problems(holds: Holds, path: &Path) -> Vec<Trouble> {
    if holds == Holds::Program {
        let why = programs::cannot_start(&path.to_string_lossy());
        // It may be there by the time when it is needed, and the service may be meant for another host.
        return why
            .map(|why| Trouble::Lacking(format!("on this host it cannot be started: {why}")))
            .into_iter()
            .collect();
    }
    if holds == Holds::Secret {
        let opened = fs::File::open(path).and_then(|file| file.metadata());
        let why = match opened {
            Ok(metadata) if metadata.is_dir() => "it is a folder".to_owned(),
            Ok(_) => return Vec::new(),
            Err(error) => error.to_string(),
        };
        return vec![Trouble::Lacking(format!("cannot read {}: {why}", path.display()))];
    }
    match read(path) {
        Ok(security) => {
            let problems = security.check_files();
            problems
                .iter()
                .map(|problem| Trouble::Lacking(format!("{}: {problem}", path.display())))
                .collect()
        }
        Err(problems) => problems.into_iter().map(Trouble::Unusable).collect(),
    }
}
