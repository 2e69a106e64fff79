//! The sections that are not plugins: the service, the guard's limits, the limits of executions.

use std::path::PathBuf;
use std::time::Duration;

use control::config::{ByteSize, HumanDuration};
use control::{ExecutionLimits, GuardConfig, OnDeadBroker};
use serde::{Deserialize, Serialize};

use super::node::{Entry, Node, Value};
use super::problem::Problem;
use super::section;
use crate::plugin::ConfigProblem;
use crate::store::StoreConfig;

/// The section `doctorkafka`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ServiceSection {
    pub(super) state_dir: PathBuf,
    pub(super) listen: Option<String>,
    pub(super) state_store: StoreConfig,
}

impl Default for ServiceSection {
    fn default() -> Self {
        Self { state_dir: PathBuf::from("doctorkafka-state"), listen: None, state_store: StoreConfig::File }
    }
}

impl ServiceSection {
    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        if self.state_dir.as_os_str().is_empty() {
            problems.push(problem("state_dir", "the path is empty"));
        }
        if let Some(listen) = &self.listen
            && !is_host_and_port(listen)
        {
            problems.push(problem("listen", "must be of the form HOST:PORT"));
        }
        problems.extend(self.state_store.check());
        problems
    }
}

/// How a cluster is looked after: for all clusters in the section `doctorkafka`, for one in its own entry.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Care {
    /// How often the loop runs when nothing wakes it.
    pub evaluation_interval: HumanDuration,
    /// What holds acts back.
    pub guard: GuardSettings,
    /// How moves of replicas are spread over time.
    pub execution: ExecutionSettings,
}

impl Default for Care {
    /// A second: liveness is looked at as often, and a cycle in which nothing has changed costs next to nothing.
    fn default() -> Self {
        Self {
            evaluation_interval: HumanDuration::seconds(1),
            guard: GuardSettings::default(),
            execution: ExecutionSettings::default(),
        }
    }
}

/// What holds acts back.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardSettings {
    /// Percentage of the brokers that may be dead before the brake holds healing; one always may.
    pub max_dead_percent: u32,
    /// After this time under the brake healing goes on without approval; `None` is never, written `never`.
    #[serde(with = "or_never")]
    pub mass_failure_grace: Option<HumanDuration>,
    /// How many executions that change the cluster may run at once.
    pub max_executions: usize,
    /// How many moves may be open at once, over all executions.
    pub max_moves: usize,
    /// How long after a replacement of a host was begun the next one may be begun.
    pub replacement_cooldown: HumanDuration,
    /// Who owns the recovery of a dead broker: `heal` or `replace_first`.
    pub on_dead_broker: OnDeadBroker,
    /// How long healing waits for a replacement, where that comes first; and the other way round.
    pub replace_timeout: HumanDuration,
}

impl Default for GuardSettings {
    /// The core's own.
    fn default() -> Self {
        let core = GuardConfig::default();
        Self {
            max_dead_percent: core.brake_percent,
            mass_failure_grace: core.mass_failure_grace.map(HumanDuration),
            max_executions: core.max_executions,
            max_moves: core.max_moves,
            replacement_cooldown: HumanDuration(core.replacement_cooldown),
            on_dead_broker: core.on_dead_broker,
            replace_timeout: HumanDuration(core.replace_timeout),
        }
    }
}

impl GuardSettings {
    /// The settings as the core takes them.
    pub fn to_core(&self) -> GuardConfig {
        GuardConfig {
            brake_percent: self.max_dead_percent,
            mass_failure_grace: self.mass_failure_grace.map(|grace| grace.0),
            max_executions: self.max_executions,
            max_moves: self.max_moves,
            replacement_cooldown: self.replacement_cooldown.0,
            on_dead_broker: self.on_dead_broker,
            replace_timeout: self.replace_timeout.0,
            ..GuardConfig::default()
        }
    }
}

/// How moves of replicas are spread over time.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecutionSettings {
    /// How many larger moves a broker takes part in at once.
    pub moves_per_broker: u32,
    /// How many bytes are in flight at once per broker.
    pub bytes_per_broker: ByteSize,
    /// Moves of at most so many bytes do not count for `moves_per_broker`.
    pub small_bytes: ByteSize,
    /// How many partitions are submitted in one request.
    pub batch: usize,
    /// A move that makes no progress for so long is reported as stuck.
    pub stuck_after: HumanDuration,
}

impl Default for ExecutionSettings {
    /// The core's own.
    fn default() -> Self {
        let core = ExecutionLimits::default();
        Self {
            moves_per_broker: core.moves_per_broker,
            bytes_per_broker: ByteSize(core.bytes_per_broker),
            small_bytes: ByteSize(core.small_bytes),
            batch: core.batch,
            stuck_after: HumanDuration(core.stuck_after),
        }
    }
}

impl ExecutionSettings {
    /// The settings as the core takes them.
    pub fn to_core(&self) -> ExecutionLimits {
        ExecutionLimits {
            moves_per_broker: self.moves_per_broker,
            bytes_per_broker: self.bytes_per_broker.0,
            small_bytes: self.small_bytes.0,
            batch: self.batch,
            stuck_after: self.stuck_after.0,
            ..ExecutionLimits::default()
        }
    }
}

impl Care {
    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let interval = self.evaluation_interval.0;
        if interval < Duration::from_millis(100) || interval > Duration::from_secs(3_600) {
            problems.push(problem("evaluation_interval", "must be between 100ms and 1h"));
        }
        if self.guard.max_dead_percent > 100 {
            problems.push(problem("guard.max_dead_percent", "must be a percentage from 0 to 100"));
        }
        if self.guard.max_executions == 0 {
            problems.push(problem("guard.max_executions", "must be at least 1"));
        }
        if self.guard.max_moves == 0 {
            problems.push(problem("guard.max_moves", "must be at least 1"));
        }
        if self.guard.replacement_cooldown.0 < Duration::from_secs(60) {
            let why =
                "must be at least 1m: until then nobody knows whether the last replacement did any good";
            problems.push(problem("guard.replacement_cooldown", why));
        }
        let execution = &self.execution;
        if execution.moves_per_broker == 0 {
            problems.push(problem("execution.moves_per_broker", "must be at least 1"));
        }
        if execution.bytes_per_broker.0 == 0 {
            problems.push(problem("execution.bytes_per_broker", "must be more than nothing"));
        }
        if !(1..=500).contains(&execution.batch) {
            problems.push(problem("execution.batch", "must be between 1 and 500"));
        }
        problems
    }
}

/// Whether `text` is of the form HOST:PORT. Port 0 is any that is free.
fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

fn problem(path: &str, message: &str) -> ConfigProblem {
    ConfigProblem { path: path.to_owned(), message: message.to_owned() }
}

/// The keys that make up [`Care`], in the section `doctorkafka` and in the entry of a cluster.
pub(super) const CARE_KEYS: [&str; 3] = ["evaluation_interval", "guard", "execution"];

/// Splits off the entries that belong to [`Care`]; the key of 0.3 is read, too.
pub(super) fn split_care(node: &Node) -> (Node, Node) {
    let (care, rest): (Vec<Entry>, Vec<Entry>) = node
        .entries()
        .unwrap_or_default()
        .iter()
        .cloned()
        .map(|mut entry| {
            if entry.key == "evaluation_interval_seconds" {
                "evaluation_interval".clone_into(&mut entry.key);
            }
            entry
        })
        .partition(|entry| CARE_KEYS.contains(&entry.key.as_str()));
    let of = |entries| Node { span: node.span.clone(), value: Value::Mapping(entries) };
    (of(care), of(rest))
}

/// Reads [`Care`].
pub(super) fn care(node: &Node, problems: &mut Vec<Problem>) -> Option<Care> {
    section::read(node, "", Care::check, problems)
}

/// Reads the rest of the section `doctorkafka`.
pub(super) fn service(node: &Node, problems: &mut Vec<Problem>) -> Option<ServiceSection> {
    section::read(node, "evaluation_interval guard execution", ServiceSection::check, problems)
}

/// A duration or `never`.
mod or_never {
    use control::config::HumanDuration;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize, Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Never {
        Never,
    }

    pub(super) fn serialize<S: Serializer>(
        duration: &Option<HumanDuration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => duration.serialize(to),
            None => Never::Never.serialize(to),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<HumanDuration>, D::Error> {
        let value = serde_json::Value::deserialize(from)?;
        if value == "never" {
            return Ok(None);
        }
        HumanDuration::deserialize(value).map(Some).map_err(serde::de::Error::custom)
    }
}
