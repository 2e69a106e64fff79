//! The scripts: scenarios of steps, in the notation of [`sim::scenario`]. All are played on one cluster with the brokers 1
//! to 4, so that a topic's full name begins with that of its script.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use cluster::notation::ClusterText;
use cluster::{BrokerId, TopicName, TopicPartition};
use sim::scenario::{Act, Player, Scenario};

/// The brokers of every script.
pub(crate) const BROKERS: usize = 4;

/// A script.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// The name of its file, without the ending.
    pub(crate) name: String,
    /// Brokers and partitions as they are at the beginning.
    pub(crate) cluster: ClusterText,
    /// `min.insync.replicas` of its topics.
    pub(crate) min_in_sync: usize,
    /// What happens, in this order.
    pub(crate) steps: Vec<Step>,
}

/// A line of a script. The next one follows when all is calm again.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The line, with the short names of topics.
    pub(crate) text: String,
    /// What it asks for, with their full names.
    pub(crate) acts: Vec<Act>,
}

impl Step {
    /// Whether it is left to chance which of several things happens first.
    pub(crate) fn has_an_order(&self) -> bool {
        self.acts.len() < 2
    }
}

/// Where scripts and accounts are.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/scripts")
}

/// All scripts, by name.
pub(crate) fn all() -> Result<Vec<Script>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder()).context("listing the scripts")? {
        let path = entry.context("listing the scripts")?.path();
        if path.extension().is_some_and(|end| end == "txt") {
            paths.push(path);
        }
    }
    paths.sort();
    let read = |path: &PathBuf| Script::read(path).with_context(|| format!("reading {}", path.display()));
    paths.iter().map(read).collect()
}

impl Script {
    fn read(path: &Path) -> Result<Self> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let player = Player { plays_steps: true, ..Player::default() };
        let scenario = Scenario::read(&fs::read(path)?, &player).map_err(|why| anyhow!("{why}"))?;
        let Scenario { grace, run, throttle, .. } = scenario;
        let others = [grace.map(|_| "grace"), run.map(|_| "run"), throttle.map(|_| "throttle")];
        let flags = [("agents", scenario.agents), ("dry-run", scenario.dry_run)];
        let flags = flags.into_iter().filter_map(|(name, is_set)| is_set.then_some(name));
        let unused: Vec<&str> = others.into_iter().flatten().chain(flags).collect();
        ensure!(unused.is_empty(), "{unused:?} mean nothing here: no service takes part");
        ensure!(scenario.kafka == Default::default(), "a script is played on every version");
        let cluster = with_full_names(&name, scenario.cluster);
        let all = (1..=BROKERS as i32).map(BrokerId);
        ensure!(cluster.brokers.keys().copied().eq(all), "a script is about the brokers 1 to {BROKERS}");
        ensure!(!cluster.topics.is_empty() && !scenario.steps.is_empty(), "partitions and steps are needed");
        let step = |step: sim::scenario::Step| Step {
            text: step.to_string(),
            acts: step.0.into_iter().map(|act| of_full_names(&name, act)).collect(),
        };
        let steps = scenario.steps.into_iter().map(step).collect();
        Ok(Self { min_in_sync: scenario.min_in_sync.unwrap_or(1), cluster, steps, name })
    }
}

fn full(script: &str, topic: &TopicName) -> TopicName {
    format!("{script}.{topic}").into()
}

fn with_full_names(script: &str, cluster: ClusterText) -> ClusterText {
    let partition = |at: TopicPartition| TopicPartition { topic: full(script, &at.topic), ..at };
    ClusterText {
        topics: cluster.topics.into_iter().map(|(name, topic)| (full(script, &name), topic)).collect(),
        sizes: cluster.sizes.into_iter().map(|(at, size)| (partition(at), size)).collect(),
        reassignments: BTreeMap::new(),
        brokers: cluster.brokers,
    }
}

fn of_full_names(script: &str, act: Act) -> Act {
    let partition = |at: TopicPartition| TopicPartition { topic: full(script, &at.topic), ..at };
    match act {
        Act::Reassign(at, to) => Act::Reassign(partition(at), to),
        Act::Cancel(at) => Act::Cancel(partition(at)),
        Act::Elect(at) => Act::Elect(partition(at)),
        Act::Write(at) => Act::Write(partition(at)),
        Act::Fault(_) | Act::Ask(_) | Act::Throttle(_) | Act::Unthrottle(_) | Act::Wait(_) => act,
    }
}

/// The file of the account of a script on a version.
pub(crate) fn account_path(script: &str, version: &str) -> PathBuf {
    let version = if version == "4.3" { String::new() } else { format!(".{version}") };
    folder().join(format!("{script}{version}.out"))
}
