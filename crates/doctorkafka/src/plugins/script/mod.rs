//! Plugins in any language: a program that reads JSON and writes JSON.
//!
//! All three kinds share how the program is run: its arguments are given as a list, so that no shell reads them; it
//! gets one JSON object on standard input and answers with one on standard output; it is killed, with all that it
//! has started, when it takes too long or prints too much. `docs/schema.md` has the fields.

mod action;
mod monitor;
mod operator;
pub(in crate::plugins) mod run;

use std::collections::BTreeMap;
use std::time::Duration;

use control::config::{ByteSize, HumanDuration};
use control::{Finding, State};
use serde::{Deserialize, Serialize};

use crate::plugin::ConfigProblem;

pub use action::ScriptActionConfig;
pub use monitor::ScriptMonitorConfig;
pub use operator::ScriptOperatorConfig;

/// How a script is run: the part of the configuration that all three kinds have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Program {
    /// The program and its arguments.
    command: Vec<String>,
    /// After this time the script and everything that it has started is killed.
    #[serde(default = "default_timeout")]
    timeout: HumanDuration,
    /// More output than this is an error.
    #[serde(default = "default_max_output")]
    max_output: ByteSize,
}

/// Long enough for a look at a slow inventory service, short enough that its facts are worth something.
const fn default_timeout() -> HumanDuration {
    HumanDuration::seconds(10)
}

/// Some 1,000 brokers with a paragraph each.
const fn default_max_output() -> ByteSize {
    ByteSize(1 << 20)
}

/// How often a script looks, unless the configuration says otherwise.
const fn default_interval() -> HumanDuration {
    HumanDuration::seconds(60)
}

impl Program {
    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut problem = |path: &str, message: &str| {
            problems.push(ConfigProblem { path: path.to_owned(), message: message.to_owned() });
        };
        if self.command.first().is_none_or(|program| program.is_empty()) {
            problem("command", "the list names no program");
        }
        if self.timeout.0.is_zero() {
            problem("timeout", "a script without any time cannot run");
        }
        if self.max_output.0 == 0 {
            problem("max_output", "a script that may print nothing cannot answer");
        }
        problems
    }

    fn limits(&self) -> run::Limits {
        run::Limits { time: self.timeout.0, output: self.max_output.0 }
    }

    async fn run(&self, input: &serde_json::Value) -> Result<serde_json::Value, run::ScriptError> {
        run::run(&self.command, input, &self.limits()).await
    }
}

/// The input of monitors and operators: the attributes that they need, with their ages.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Look {
    cluster: String,
    timestamp: i64,
    attributes: BTreeMap<String, AgedValue>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct AgedValue {
    age_ms: u64,
    value: serde_json::Value,
}

impl Look {
    /// What `needs` names, of what is in the State.
    fn at(state: &State, needs: &[String]) -> Self {
        let now = state.now();
        let attributes = needs.iter().filter_map(|name| {
            let (value, as_of) = state.json(name)?;
            Some((name.clone(), AgedValue { age_ms: millis(now.tick.since(as_of)), value }))
        });
        Self { cluster: state.cluster().to_owned(), timestamp: now.wall.0, attributes: attributes.collect() }
    }
}

/// Findings that one answer may have: more than a person reads.
const MOST_FINDINGS: usize = 200;

/// Refuses findings that a person would take for the framework's own, and a flood of them.
fn check_findings(findings: &[Finding]) -> Result<(), String> {
    if findings.len() > MOST_FINDINGS {
        return Err(format!("it made {} findings, more than {MOST_FINDINGS}", findings.len()));
    }
    let kind_of = |finding: &Finding| finding.kind.split(':').next().unwrap_or_default().to_owned();
    match findings.iter().find(|finding| super::BUILT_IN_FINDINGS.contains(&kind_of(finding).as_str())) {
        Some(finding) => {
            Err(format!("it made a finding of the built-in kind `{}`: choose another name", finding.kind))
        }
        None => Ok(()),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn shell(text: &str) -> serde_json::Value {
        serde_json::json!(["sh", "-c", text])
    }

    #[test]
    fn a_program_without_a_name_or_limits_is_a_problem_each() {
        let program = Program { command: vec![], timeout: HumanDuration::default(), max_output: ByteSize(0) };
        let paths: Vec<String> = program.check().into_iter().map(|p| p.path).collect();
        assert_eq!(paths, ["command", "timeout", "max_output"]);
    }
}
