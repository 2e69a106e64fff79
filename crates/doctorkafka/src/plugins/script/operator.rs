//! An operator in any language.
//!
//! Operators are pure and never wait, a script takes its time: the script runs beside the loop on the newest State
//! that it was shown, and its verdict is taken in the cycle after it has ended.

use std::sync::{Arc, Mutex, PoisonError};

use control::config::{ByteSize, HumanDuration};
use control::{Event, Finding, Operator, State, Verdict};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::monitor::script_failed;
use super::{Look, Program, check_findings, default_interval};
use crate::plugin::{BuildContext, ConfigProblem, OperatorConfig};
use crate::plugins::task::Task;

/// `type: script` among the operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptOperatorConfig {
    /// The program and its arguments.
    command: Vec<String>,
    /// After this time it is killed.
    #[serde(default = "super::default_timeout")]
    timeout: HumanDuration,
    /// More output than this is an error.
    #[serde(default = "super::default_max_output")]
    max_output: ByteSize,
    /// How often it decides.
    #[serde(default = "default_interval")]
    interval: HumanDuration,
    /// The attributes that it reads.
    #[serde(default)]
    needs: Vec<String>,
    /// The events that it may emit.
    #[serde(default)]
    emits: Vec<String>,
}

impl ScriptOperatorConfig {
    fn program(&self) -> Program {
        Program { command: self.command.clone(), timeout: self.timeout, max_output: self.max_output }
    }
}

impl OperatorConfig for ScriptOperatorConfig {
    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = self.program().check();
        if self.interval.0.is_zero() {
            let message = "a script that runs without a pause leaves no time for anything else".to_owned();
            problems.push(ConfigProblem { path: "interval".to_owned(), message });
        }
        problems
    }

    fn emits(&self) -> Vec<String> {
        self.emits.clone()
    }

    fn build(&self, context: &BuildContext) -> Result<Box<dyn Operator>, String> {
        let (looks, seen) = watch::channel(None);
        let newest = Arc::new(Mutex::new(Verdict::default()));
        let task = Task::spawn(decide_with_script(self.clone(), context.clone(), seen, Arc::clone(&newest)));
        let (name, needs, emits) = (context.name.clone(), self.needs.clone(), self.emits.clone());
        Ok(Box::new(ScriptOperator { name, needs, emits, looks, newest, _task: task }))
    }
}

/// What a script may print.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    #[serde(default)]
    events: Vec<Event>,
    #[serde(default)]
    findings: Vec<Finding>,
}

struct ScriptOperator {
    name: String,
    needs: Vec<String>,
    emits: Vec<String>,
    looks: watch::Sender<Option<Look>>,
    newest: Arc<Mutex<Verdict>>,
    _task: Task,
}

impl Operator for ScriptOperator {
    fn name(&self) -> &str {
        &self.name
    }

    fn emits(&self) -> Vec<String> {
        self.emits.clone()
    }

    fn operate(&self, state: &State) -> Verdict {
        self.looks.send_replace(Some(Look::at(state, &self.needs)));
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        // Its findings hold until it speaks again, its events are said once.
        let events = std::mem::take(&mut newest.events);
        Verdict { events, findings: newest.findings.clone(), ..Verdict::default() }
    }
}

async fn decide_with_script(
    config: ScriptOperatorConfig,
    context: BuildContext,
    mut looks: watch::Receiver<Option<Look>>,
    newest: Arc<Mutex<Verdict>>,
) {
    let mut interval = tokio::time::interval(config.interval.0);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        // The newest State that it was shown since it last decided: never one twice.
        if looks.changed().await.is_err() {
            return;
        }
        let Some(look) = looks.borrow_and_update().clone() else { continue };
        let input = serde_json::to_value(&look).unwrap_or_default();
        let answer = config.program().run(&input).await.map_err(|e| e.to_string());
        let verdict = answer.and_then(|json| read_answer(&config, json)).unwrap_or_else(|why| Verdict {
            findings: vec![script_failed(&context.name, &why)],
            ..Verdict::default()
        });
        *newest.lock().unwrap_or_else(PoisonError::into_inner) = verdict;
        context.wake.wake();
    }
}

fn read_answer(config: &ScriptOperatorConfig, json: serde_json::Value) -> Result<Verdict, String> {
    if json.is_null() {
        return Ok(Verdict::default());
    }
    let answer = Answer::deserialize(json).map_err(|e| format!("its output is not understood: {e}"))?;
    check_findings(&answer.findings)?;
    if let Some(event) = answer.events.iter().find(|event| !config.emits.contains(&event.name)) {
        return Err(format!("it emitted the event `{}`, which `emits` does not name", event.name));
    }
    Ok(Verdict { events: answer.events, findings: answer.findings, ..Verdict::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ScriptOperatorConfig {
        let section = serde_json::json!({"command": ["x"], "emits": ["notify_reassignment"]});
        serde_json::from_value(section).unwrap()
    }

    fn event(name: &str) -> serde_json::Value {
        serde_json::json!({"events": [{"name": name, "target": "cluster", "reason": "because", "cause": null,
            "payload": {}, "repeat": "always", "dry_run": false}]})
    }

    #[test]
    fn emits_what_it_has_declared_and_nothing_else() {
        let said = read_answer(&config(), event("notify_reassignment")).map(|v| v.events.len());
        assert_eq!(said, Ok(1));
        let refused = read_answer(&config(), event("replace_instance")).map(|v| v.events.len());
        assert_eq!(
            refused,
            Err("it emitted the event `replace_instance`, which `emits` does not name".to_owned())
        );
    }

    #[test]
    fn refuses_findings_of_built_in_kinds() {
        let said = serde_json::json!({"findings": [{"kind": "mass_failure", "subject": "cluster",
            "severity": "critical", "message": "all is lost"}]});
        let refused = read_answer(&config(), said).map(|_| ());
        assert!(refused.is_err_and(|why| why.contains("`mass_failure`")));
    }

    #[test]
    fn output_of_another_shape_is_an_error() {
        let refused = read_answer(&config(), serde_json::json!({"event": []})).map(|_| ());
        assert!(refused.is_err_and(|why| why.contains("not understood")));
    }
}
