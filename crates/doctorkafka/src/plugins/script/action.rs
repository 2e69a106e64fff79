//! An action in any language.

use std::sync::Arc;
use std::time::Duration;

use cluster::BoxFuture;
use control::config::{ByteSize, HumanDuration};
use control::{ActError, Action, Done, Event};
use serde::{Deserialize, Serialize};

use super::Program;
use crate::plugin::{ActionConfig, BuildContext, ConfigProblem};

/// `type: script` among the actions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptActionConfig {
    /// The program and its arguments.
    command: Vec<String>,
    /// After this time it is killed.
    #[serde(default = "super::default_timeout")]
    timeout: HumanDuration,
    /// More output than this is an error.
    #[serde(default = "super::default_max_output")]
    max_output: ByteSize,
    /// The events that it may emit in turn.
    #[serde(default)]
    emits: Vec<String>,
    /// Whether the program is run in a dry run too, with `"dry_run": true` in what it reads. Otherwise it is only
    /// said that it would be run.
    #[serde(default)]
    runs_dry: bool,
}

impl ScriptActionConfig {
    fn program(&self) -> Program {
        Program { command: self.command.clone(), timeout: self.timeout, max_output: self.max_output }
    }
}

impl ActionConfig for ScriptActionConfig {
    fn check(&self) -> Vec<ConfigProblem> {
        self.program().check()
    }

    fn changes_things(&self) -> bool {
        true
    }

    fn at_most_once(&self) -> bool {
        true
    }

    fn emits(&self) -> Vec<String> {
        self.emits.clone()
    }

    fn build(&self, context: &BuildContext) -> Result<Arc<dyn Action>, String> {
        Ok(Arc::new(ScriptAction {
            name: context.name.clone(),
            cluster: context.cluster.to_string(),
            config: self.clone(),
        }))
    }
}

/// What a script may print.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    /// What was done, in a sentence.
    #[serde(default)]
    summary: String,
    #[serde(default)]
    detail: serde_json::Value,
    #[serde(default)]
    events: Vec<Event>,
}

/// What ending a script with all that it has started takes at most.
const MARGIN: Duration = Duration::from_secs(5);

struct ScriptAction {
    name: String,
    cluster: String,
    config: ScriptActionConfig,
}

impl Action for ScriptAction {
    fn name(&self) -> &str {
        &self.name
    }

    fn emits(&self) -> Vec<String> {
        self.config.emits.clone()
    }

    fn time_limit(&self) -> Option<Duration> {
        // Its own limit comes first, and says more.
        Some(self.config.timeout.0 + MARGIN)
    }

    fn execute<'a>(&'a self, event: &'a Event, dry_run: bool) -> BoxFuture<'a, Result<Done, ActError>> {
        Box::pin(self.run(event, dry_run))
    }
}

impl ScriptAction {
    async fn run(&self, event: &Event, dry_run: bool) -> Result<Done, ActError> {
        let program = self.config.command.first().map(String::as_str).unwrap_or_default();
        if dry_run && !self.config.runs_dry {
            return Ok(Done { summary: format!("would run {program}"), ..Done::default() });
        }
        let input = serde_json::json!({"cluster": self.cluster, "event": event, "dry_run": dry_run});
        let failed = |message: String| ActError { message, maybe_applied: true, retry: false };
        let json = self.config.program().run(&input).await.map_err(|e| failed(e.to_string()))?;
        if json.is_null() {
            return Ok(Done { summary: format!("ran {program}"), ..Done::default() });
        }
        let answer = Answer::deserialize(json).map_err(|e| failed(format!("output of {program}: {e}")))?;
        if let Some(event) = answer.events.iter().find(|event| !self.config.emits.contains(&event.name)) {
            return Err(failed(format!("{program} emitted `{}`, which `emits` does not name", event.name)));
        }
        let summary = if answer.summary.is_empty() { format!("ran {program}") } else { answer.summary };
        Ok(Done { summary, detail: answer.detail, follow_ups: answer.events })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::script::tests::shell;
    use control::Target;

    fn action(section: serde_json::Value) -> ScriptAction {
        let config = serde_json::from_value(section).unwrap();
        ScriptAction { name: "script".to_owned(), cluster: "c".to_owned(), config }
    }

    fn event() -> Event {
        Event::new("page_someone", Target::Cluster, "it burns", &serde_json::json!({"who": "anyone"}))
    }

    #[tokio::test]
    async fn reads_the_event_and_answers_with_what_it_did() {
        let text = r#"grep -q '"reason":"it burns"' && echo '{"summary": "paged anyone"}'"#;
        let done =
            action(serde_json::json!({"command": shell(text)})).execute(&event(), false).await.unwrap();
        assert_eq!(done.summary, "paged anyone");
    }

    #[tokio::test]
    async fn a_dry_run_starts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let witness = folder.path().join("witness");
        let script = action(serde_json::json!({"command": ["touch", witness]}));
        assert_eq!(script.execute(&event(), true).await.unwrap().summary, "would run touch");
        assert!(!witness.exists());
        assert_eq!(script.execute(&event(), false).await.unwrap().summary, "ran touch");
        assert!(witness.exists());
    }

    #[test]
    fn has_as_much_time_as_its_configuration_gives() {
        let script = action(serde_json::json!({"command": shell("true"), "timeout": "10m"}));
        assert_eq!(script.time_limit(), Some(Duration::from_secs(605)));
    }

    #[tokio::test]
    async fn a_failing_script_may_have_done_its_work() {
        let failed = action(serde_json::json!({"command": shell("exit 1")})).execute(&event(), false).await;
        assert!(failed.is_err_and(|e| e.maybe_applied && !e.retry));
    }

    #[tokio::test]
    async fn drk_39_names_reach_a_script_as_json_and_no_shell_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let (witness, input) = (folder.path().join("witness"), folder.path().join("input"));
        let touch = format!("touch {}", witness.display());
        let name = format!("\"; {touch} #$({touch})`{touch}`'; {touch}'\n{touch}");
        let event = Event::new(
            "page_someone",
            Target::LogDir(cluster::BrokerId(3), name.as_str().into()),
            &name,
            &name,
        );
        let text = format!("cat > {}", input.display());
        action(serde_json::json!({"command": shell(&text)})).execute(&event, false).await.unwrap();
        let read: serde_json::Value = serde_json::from_slice(&std::fs::read(&input).unwrap()).unwrap();
        assert_eq!(read["event"]["payload"], name);
        assert!(!witness.exists());
    }
}
