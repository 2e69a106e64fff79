//! The configuration: from YAML text to what the service runs.
//!
//! The text is read into a tree in which every key knows its place; values from the environment are put in; the lists
//! of each cluster are merged into the global ones; each plugin's section is handed to its type. Everything that is
//! wrong is reported at once, with its line and column.

mod defaults;
mod entries;
mod events;
mod legacy;
mod node;
mod problem;
mod quick;
mod resolve;
pub mod resolved;
mod secrets;
mod section;
mod settings;
mod yaml;

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use crate::client_settings::{self, Holds, Trouble};
use crate::plugin::PluginRegistry;
use node::{Node, Span};
use problem::Problem;
pub use problem::{Level, Line, Report};
pub use quick::{Quick, quick};
pub use resolved::Config;
use secrets::Secrets;

/// What came of reading a configuration.
pub struct Loaded {
    /// The configuration; `None` if the report has errors.
    pub config: Option<Config>,
    /// What is wrong: errors, or warnings alone.
    pub report: Report,
}

/// Reads a configuration. `file` is its name in the report, `variable` looks up environment variables. Files that the
/// configuration names are not looked at.
pub fn parse(
    file: &str,
    text: &str,
    registry: &PluginRegistry,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Loaded {
    read(file, text, registry, variable, &|_, _| Vec::new())
}

/// What is wrong with a file that the configuration names.
type SettingsProblems<'a> = &'a dyn Fn(Holds, &Path) -> Vec<Trouble>;

fn read(
    file: &str,
    text: &str,
    registry: &PluginRegistry,
    variable: &dyn Fn(&str) -> Option<String>,
    settings_problems: SettingsProblems<'_>,
) -> Loaded {
    let (tree, mut problems) = yaml::read(text);
    let Some(mut tree) = tree else {
        return Loaded { config: None, report: Report::new(file, secrets::blot_out(text), problems) };
    };
    let before = problems.len();
    let secrets = Secrets::substitute(&mut tree, variable, &mut problems);
    let unfilled = problems[before..].iter().map(|problem| problem.span.clone()).collect();
    finish(Read { file, text, tree, secrets, problems, unfilled }, registry, settings_problems)
}

/// Reads the configuration file at `path`, with the environment of this process, and the files that
/// its enabled clusters name.
pub fn load(path: &Path, registry: &PluginRegistry) -> Loaded {
    let file = path.display().to_string();
    match read_bounded(path).map_err(|error| error.to_string()).and_then(|bytes| {
        String::from_utf8(bytes)
            .map_err(|error| format!("it is no UTF-8 after {} bytes", error.utf8_error().valid_up_to()))
    }) {
        Ok(text) => {
            read(&file, &text, registry, &|name| std::env::var(name).ok(), &client_settings::problems)
        }
        Err(error) => {
            let problem = Problem::error(None, format!("cannot read the configuration: {error}"));
            Loaded { config: None, report: Report::new(&file, String::new(), vec![problem]) }
        }
    }
}

/// Reads a file, but no more of it than it takes to see that it is too large: there are files without an end.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(yaml::MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A configuration that was read and is not resolved.
struct Read<'a> {
    file: &'a str,
    text: &'a str,
    tree: Node,
    secrets: Secrets,
    problems: Vec<Problem>,
    /// The places of values whose environment variables are not set.
    unfilled: Vec<Span>,
}

/// Resolves the tree, and keeps secrets out of the report.
fn finish(read: Read<'_>, registry: &PluginRegistry, settings_problems: SettingsProblems<'_>) -> Loaded {
    let Read { file, text, tree, secrets, mut problems, unfilled } = read;
    let before = problems.len();
    let config = resolve::resolve(&tree, registry, &mut problems);
    // What is said of a value that could not be filled in is not the file's: it is wrong already.
    let mut place = 0;
    problems.retain(|problem| {
        place += 1;
        place <= before || problem.span.is_none() || !unfilled.contains(&problem.span)
    });
    // A file that cannot be used is found when the configuration is read: found at the start of its cluster, it would
    // end a service that looks after others, too.
    for named in resolve::settings_files(&tree, registry) {
        let found = settings_problems(named.holds, &named.path).into_iter();
        problems.extend(found.map(|trouble| match trouble {
            Trouble::Unusable(message) => Problem::error(named.span.clone(), message),
            Trouble::Lacking(message) => Problem::warning(named.span.clone(), message),
        }));
    }
    for problem in &mut problems {
        problem.message = secrets.redact_text(&problem.message);
        problem.help = problem.help.as_ref().map(|help| secrets.redact_text(help));
    }
    let report = Report::new(file, secrets::blot_out(text), problems);
    let config = config.filter(|_| report.errors() == 0).map(|config| Config { secrets, ..config });
    Loaded { config, report }
}

#[cfg(test)]
mod problem_tests;
#[cfg(test)]
mod replacer_tests;
#[cfg(test)]
mod tests;
