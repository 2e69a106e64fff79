//! What a script says.
//!
//! | line | what it asks for |
//! |---|---|
//! | `t-0: 1 2 3 size=40KiB` | a partition with these replicas, all of them in sync, the first one leading |
//! | `min-insync 2` | `min.insync.replicas` of all topics of the script |
//! | `kill b3`, `shut-down b3`, `restart b3`, `replace b3`, `pause b3 20s` | a fault; several at once with commas between |
//! | `reassign t-0 1 4` | new replicas for a partition, as a client asks for them |
//! | `cancel t-0` | the end of its reassignment |
//! | `elect t-0` | its preferred leader |
//! | `write t-0` | one record, acknowledged by all in-sync replicas |
//! | `throttle b4`, `unthrottle b4` | the broker takes next to nothing of what it lacks, or all of it again |
//! | `wait 8s` | nothing; for so long at least nothing may happen either |

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cluster::notation::ClusterText;
use cluster::{BrokerId, TopicPartition};
use sim::{Fault, Schedule};

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
    /// The line.
    pub(crate) text: String,
    /// What it asks for.
    pub(crate) acts: Vec<Act>,
}

/// What a step asks for.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Fault(Fault),
    Reassign(TopicPartition, Vec<BrokerId>),
    Cancel(TopicPartition),
    Elect(TopicPartition),
    Write(TopicPartition),
    Throttle(BrokerId),
    Unthrottle(BrokerId),
    Wait(Duration),
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
        let text = fs::read_to_string(path)?;
        let mut cluster: String = (1..=BROKERS).map(|id| format!("b{id}\n")).collect();
        let mut script = Self { name, cluster: ClusterText::default(), min_in_sync: 1, steps: Vec::new() };
        for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
            let first = line.split_whitespace().next().unwrap_or_default();
            if first.ends_with(':') {
                // Who leads is not said: the first one does.
                cluster.push_str(&format!("{}.{}", script.name, led_by_the_first(line)));
            } else if let Some(least) = line.strip_prefix("min-insync ") {
                script.min_in_sync = least.trim().parse().with_context(|| line.to_owned())?;
            } else if !line.is_empty() {
                let acts = line.split(',').map(|act| parse_act(&script.name, act.trim()));
                let acts = acts.collect::<Result<_>>().with_context(|| line.to_owned())?;
                script.steps.push(Step { text: line.to_owned(), acts });
            }
        }
        script.cluster = cluster.parse().context("reading its cluster")?;
        ensure!(
            !script.cluster.topics.is_empty() && !script.steps.is_empty(),
            "partitions and steps are needed"
        );
        Ok(script)
    }
}

/// A partition's line with the mark of the leader at its first replica.
fn led_by_the_first(line: &str) -> String {
    let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    if let Some(first) = words.get_mut(1) {
        first.push('*');
    }
    words.join(" ") + "\n"
}

fn parse_act(script: &str, text: &str) -> Result<Act> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let partition = |word: &str| partition(script, word);
    Ok(match words.as_slice() {
        ["reassign", at, to @ ..] => {
            Act::Reassign(partition(at)?, to.iter().map(|id| broker(id)).collect::<Result<_>>()?)
        }
        ["cancel", at] => Act::Cancel(partition(at)?),
        ["elect", at] => Act::Elect(partition(at)?),
        ["write", at] => Act::Write(partition(at)?),
        ["throttle", id] => Act::Throttle(broker(id)?),
        ["unthrottle", id] => Act::Unthrottle(broker(id)?),
        ["wait", time] => {
            let seconds = time.strip_suffix('s').context("expected a time such as 8s")?;
            Act::Wait(Duration::from_secs(seconds.parse().context("expected a time such as 8s")?))
        }
        _ => match format!("at 0s {text}").parse::<Schedule>()?.0.pop() {
            Some(planned) if planned.lasting.is_none() => Act::Fault(planned.fault),
            _ => bail!("expected a step such as kill b3"),
        },
    })
}

/// A partition. All scripts are played on one cluster: a topic's full name begins with that of its script.
fn partition(script: &str, word: &str) -> Result<TopicPartition> {
    let (topic, number) = word.rsplit_once('-').context("expected a partition such as t-0")?;
    Ok(TopicPartition::new(
        format!("{script}.{topic}"),
        number.parse().context("expected a partition such as t-0")?,
    ))
}

fn broker(word: &str) -> Result<BrokerId> {
    let id = word.strip_prefix('b').unwrap_or(word);
    Ok(BrokerId(id.parse().context("expected a broker's id")?))
}

/// The file of the account of a script on a version.
pub(crate) fn account_path(script: &str, version: &str) -> PathBuf {
    let version = if version == "4.3" { String::new() } else { format!(".{version}") };
    folder().join(format!("{script}{version}.out"))
}
