//! A monitor in any language.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use control::config::HumanDuration;
use control::effect::Contribution;
use control::state::NamedValue;
use control::{Finding, Now, Severity, State, Target, Tick};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{Look, Program, check_findings, default_interval};
use crate::plugin::{BuildContext, ConfigProblem, MonitorConfig, MonitorPlugin, Source};
use crate::plugins::task::Task;

/// `type: script` among the monitors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptMonitorConfig {
    /// The program and its arguments.
    command: Vec<String>,
    /// After this time it is killed.
    #[serde(default = "super::default_timeout")]
    timeout: HumanDuration,
    /// More output than this is an error.
    #[serde(default = "super::default_max_output")]
    max_output: control::config::ByteSize,
    /// How often it looks.
    #[serde(default = "default_interval")]
    interval: HumanDuration,
    /// The attributes that it reads, of the cycle before.
    #[serde(default)]
    needs: Vec<String>,
    /// The attributes that it may write. Built-in names are refused, but for `to_be_replaced`.
    #[serde(default)]
    emits: Vec<String>,
}

impl ScriptMonitorConfig {
    fn program(&self) -> Program {
        Program { command: self.command.clone(), timeout: self.timeout, max_output: self.max_output }
    }
}

/// What a script may print.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    #[serde(default)]
    attributes: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    findings: Vec<Finding>,
}

impl MonitorConfig for ScriptMonitorConfig {
    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = self.program().check();
        for (index, name) in self.emits.iter().enumerate() {
            if super::super::BUILT_IN_ATTRIBUTES.contains(&name.as_str()) {
                let message = format!("`{name}` is written by a built-in monitor: choose another name");
                problems.push(ConfigProblem { path: format!("emits[{index}]"), message });
            }
        }
        if self.interval.0.is_zero() {
            let message = "a script that runs without a pause leaves no time for anything else".to_owned();
            problems.push(ConfigProblem { path: "interval".to_owned(), message });
        }
        problems
    }

    fn build(&self, context: &BuildContext) -> Result<MonitorPlugin, String> {
        let (looks, seen) = watch::channel(Look::default());
        let newest = Arc::new(Mutex::new(Contribution::default()));
        let task = Task::spawn(watch_with_script(self.clone(), context.clone(), seen, Arc::clone(&newest)));
        let (name, needs) = (context.name.clone(), self.needs.clone());
        Ok(MonitorPlugin::Source(Arc::new(ScriptMonitor { name, needs, looks, newest, _task: task })))
    }
}

struct ScriptMonitor {
    name: String,
    needs: Vec<String>,
    looks: watch::Sender<Look>,
    newest: Arc<Mutex<Contribution>>,
    _task: Task,
}

impl Source for ScriptMonitor {
    fn name(&self) -> &str {
        &self.name
    }

    fn latest(&self, _now: Now) -> Contribution {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn after_cycle(&self, state: &State) {
        if !self.needs.is_empty() {
            self.looks.send_replace(Look::at(state, &self.needs));
        }
    }
}

async fn watch_with_script(
    config: ScriptMonitorConfig,
    context: BuildContext,
    looks: watch::Receiver<Look>,
    newest: Arc<Mutex<Contribution>>,
) {
    let mut interval = tokio::time::interval(config.interval.0);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let started = context.clock.now();
        let mut look = looks.borrow().clone();
        look.cluster = context.cluster.to_string();
        look.timestamp = started.wall.0;
        let input = serde_json::to_value(&look).unwrap_or_default();
        let answer = config.program().run(&input).await.map_err(|e| e.to_string());
        let read = answer.and_then(|json| read_answer(&config, json, started.tick));
        let mut newest = newest.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(contribution) => *newest = contribution,
            // What it said last stays, and ages.
            Err(why) => newest.findings = vec![script_failed(&context.name, &why)],
        }
        drop(newest);
        context.wake.wake();
    }
}

/// The finding that a script did not do its work.
pub(super) fn script_failed(name: &str, why: &str) -> Finding {
    let message = format!("script {name} failed: {why}");
    // One incident for each script: the kind carries its name.
    Finding::new(&format!("script_failed:{name}"), Target::Cluster, Severity::Warning, message)
}

fn read_answer(
    config: &ScriptMonitorConfig,
    json: serde_json::Value,
    as_of: Tick,
) -> Result<Contribution, String> {
    if json.is_null() {
        return Ok(Contribution::default());
    }
    let answer = Answer::deserialize(json).map_err(|e| format!("its output is not understood: {e}"))?;
    check_findings(&answer.findings)?;
    if let Some(name) = answer.attributes.keys().find(|name| !config.emits.contains(name)) {
        return Err(format!("it wrote the attribute `{name}`, which `emits` does not name"));
    }
    let attributes = answer.attributes.into_iter();
    let attributes = attributes.map(|(name, value)| named(name, value, as_of)).collect::<Result<_, _>>()?;
    Ok(Contribution { attributes, findings: answer.findings })
}

/// A script's attribute. `to_be_replaced` is the one built-in name that is meant for plugins from outside.
fn named(name: String, value: serde_json::Value, as_of: Tick) -> Result<NamedValue, String> {
    use control::{Attribute, ToBeReplaced};
    if name != ToBeReplaced::NAME {
        return Ok(NamedValue::json(name, value, as_of));
    }
    let value = ToBeReplaced::deserialize(value).map_err(|e| format!("`{name}` is not understood: {e}"))?;
    Ok(NamedValue::of(Arc::new(value), as_of))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::script::tests::shell;

    fn config(text: &str) -> ScriptMonitorConfig {
        let section = serde_json::json!({"command": shell(text), "emits": ["weather", "to_be_replaced"]});
        serde_json::from_value(section).unwrap()
    }

    async fn answer(text: &str) -> Result<Contribution, String> {
        let config = config(text);
        let json = config.program().run(&serde_json::Value::Null).await.map_err(|e| e.to_string())?;
        read_answer(&config, json, Tick(7))
    }

    #[tokio::test]
    async fn brings_attributes_and_findings() {
        let text = r#"echo '{"attributes": {"weather": "rain"}, "findings": [{"kind": "wet", "subject": {"broker": 3},
            "severity": "warning", "message": "it rains", "waits_for": null}]}'"#;
        let got = answer(text).await.unwrap();
        assert_eq!(got.attributes[0].name, "weather");
        assert_eq!(got.attributes[0].as_of, Tick(7));
        assert_eq!(got.findings[0].subject, Target::Broker(cluster::BrokerId(3)));
    }

    #[tokio::test]
    async fn marks_brokers_as_to_be_replaced() {
        let got = answer(r#"echo '{"attributes": {"to_be_replaced": {"4": "retired"}}}'"#).await.unwrap();
        let value =
            got.attributes[0].value.as_ref().as_any().downcast_ref::<control::ToBeReplaced>().unwrap();
        assert_eq!(value.0[&cluster::BrokerId(4)], "retired");
    }

    #[test]
    fn refuses_findings_of_built_in_kinds_and_a_flood_of_them() {
        let finding = |kind: &str| {
            serde_json::json!({"kind": kind, "subject": "cluster", "severity": "critical",
            "message": "all is lost"})
        };
        let read = |findings: Vec<serde_json::Value>| {
            read_answer(&config("x"), serde_json::json!({"findings": findings}), Tick(7))
                .map(|c| c.findings.len())
        };
        for kind in ["mass_failure", "broker_dead", "script_failed:other"] {
            let refused = read(vec![finding(kind)]);
            assert_eq!(
                refused,
                Err(format!("it made a finding of the built-in kind `{kind}`: choose another name"))
            );
        }
        assert_eq!(read(vec![finding("wet"); 200]), Ok(200));
        assert_eq!(read(vec![finding("wet"); 201]), Err("it made 201 findings, more than 200".to_owned()));
    }

    #[tokio::test]
    async fn refuses_attributes_that_are_not_declared() {
        let refused = answer(r#"echo '{"attributes": {"mood": "good"}}'"#).await.map(|_| ());
        assert_eq!(refused, Err("it wrote the attribute `mood`, which `emits` does not name".to_owned()));
    }

    #[test]
    fn refuses_to_write_what_built_in_monitors_write() {
        let section = serde_json::json!({"command": ["x"], "emits": ["liveness"]});
        let config: ScriptMonitorConfig = serde_json::from_value(section).unwrap();
        assert_eq!(config.check()[0].path, "emits[0]");
    }
}
