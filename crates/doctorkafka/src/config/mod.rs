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
use std::path::Path;

use crate::plugin::PluginRegistry;
use node::Node;
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

/// Reads a configuration. `file` is its name in the report, `variable` looks up environment variables.
pub fn parse(
    file: &str,
    text: &str,
    registry: &PluginRegistry,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Loaded {
    let (tree, mut problems) = yaml::read(text);
    let Some(mut tree) = tree else {
        return Loaded { config: None, report: Report::new(file, secrets::blot_out(text), problems) };
    };
    let secrets = Secrets::substitute(&mut tree, variable, &mut problems);
    finish(file, text, &tree, registry, secrets, problems)
}

/// Reads the configuration file at `path`, with the environment of this process.
pub fn load(path: &Path, registry: &PluginRegistry) -> Loaded {
    let file = path.display().to_string();
    match fs::read(path).map_err(|error| error.to_string()).and_then(|bytes| {
        String::from_utf8(bytes)
            .map_err(|error| format!("it is no UTF-8 after {} bytes", error.utf8_error().valid_up_to()))
    }) {
        Ok(text) => parse(&file, &text, registry, &|name| std::env::var(name).ok()),
        Err(error) => {
            let problem = Problem::error(None, format!("cannot read the configuration: {error}"));
            Loaded { config: None, report: Report::new(&file, String::new(), vec![problem]) }
        }
    }
}

/// Resolves the tree, and keeps secrets out of the report.
fn finish(
    file: &str,
    text: &str,
    tree: &Node,
    registry: &PluginRegistry,
    secrets: Secrets,
    mut problems: Vec<Problem>,
) -> Loaded {
    let config = resolve::resolve(tree, registry, &mut problems);
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
mod tests;
