//! Which process of this host is the broker.
//!
//! Candidates are the processes whose command line starts a broker. What speaks for one, or against it: the id and the
//! cluster in its properties and in `meta.properties` of its log directories, and whether it listens at the port that the
//! broker advertises. Another id or cluster rules a process out. Of the others, the one with the most that speaks for it
//! is the broker; if two are alike, nobody can tell.
//!
//! Files of a process are read as the process sees them, through `/proc/PID/root`, so that containers make no difference.
//! That takes its user's rights; without them, less is known of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::command::{BrokerCommand, broker_command};
use super::properties::Properties;
use super::text::{listeners, process_times, socket_inode};

/// The broker that is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its id.
    pub broker: i32,
    /// The id of its cluster, if it is known yet.
    pub cluster: Option<String>,
    /// The port that it advertises, if it is known.
    pub port: Option<u16>,
}

/// The process of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerProcess {
    /// Its number, as seen from here.
    pub pid: u32,
    /// When it started, in ticks since the host did: numbers are given again.
    pub started: u64,
}

/// What came of looking for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Search {
    /// This is it.
    Found {
        /// The process.
        process: BrokerProcess,
        /// Whether its id or its port says so; else it is only that nothing speaks against it, and that there is no other.
        is_proven: bool,
    },
    /// No process can be it.
    Missing {
        /// Brokers that were found, and are others.
        others: Vec<u32>,
    },
    /// Several can be it.
    Multiple {
        /// Their numbers.
        pids: Vec<u32>,
    },
}

/// A process that runs a broker, and what is known of it.
#[derive(Debug)]
struct Candidate {
    process: BrokerProcess,
    directory: PathBuf,
    id: Option<i32>,
    cluster: Option<String>,
}

/// How many open files of a process are looked at to find its sockets.
const MAX_FILES: usize = 200_000;

/// Looks for the broker among the processes in `proc`.
pub fn search(proc: &Path, wanted: &Wanted) -> Search {
    let (candidates, others): (Vec<Candidate>, Vec<Candidate>) =
        candidates(proc).into_iter().partition(|candidate| candidate.can_be(wanted));
    let mut best: Vec<&Candidate> = candidates.iter().filter(|candidate| candidate.is_certain()).collect();
    // Looking for sockets takes long where there are many connections: only where nothing else tells.
    if best.len() != 1 {
        let scores: Vec<u8> = candidates.iter().map(|candidate| candidate.score(wanted)).collect();
        let highest = scores.iter().copied().max().unwrap_or(0);
        let scored = candidates.iter().zip(&scores);
        best = scored
            .filter(|(_, score)| **score == highest && **score >= ENOUGH)
            .map(|(candidate, _)| candidate)
            .collect();
    }
    match best.as_slice() {
        [one] => Search::Found {
            process: one.process.clone(),
            is_proven: one.is_certain() || one.score(wanted) > ENOUGH,
        },
        [] => {
            let all = candidates.iter().chain(&others);
            Search::Missing { others: all.map(|candidate| candidate.process.pid).collect() }
        }
        several => Search::Multiple { pids: several.iter().map(|candidate| candidate.process.pid).collect() },
    }
}

/// What the settings of the processes say of who is the broker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BySettings {
    /// The process whose settings say that it is the broker; `None` if several do.
    pub it: Option<u32>,
    /// Those whose settings do not tell, as they cannot be read.
    pub unknown: Vec<u32>,
}

/// Looks for the broker by settings alone: its id, and the cluster that its log directories are of.
pub fn by_settings(proc: &Path, wanted: &Wanted) -> BySettings {
    let all = candidates(proc).into_iter().filter(|candidate| candidate.can_be(wanted));
    let (certain, others): (Vec<Candidate>, Vec<Candidate>) = all.partition(Candidate::is_certain);
    let it = match certain.as_slice() {
        [one] => Some(one.process.pid),
        _ => None,
    };
    BySettings { it, unknown: others.iter().map(|candidate| candidate.process.pid).collect() }
}

/// Whether the process is still the one that was found.
pub fn is_there(proc: &Path, process: &BrokerProcess) -> bool {
    started(&proc.join(process.pid.to_string())) == Some(process.started)
}

fn started(directory: &Path) -> Option<u64> {
    Some(process_times(&fs::read_to_string(directory.join("stat")).ok()?)?.started)
}

/// Where the networks are described that the brokers of the host are in.
pub(super) fn networks(proc: &Path) -> Vec<PathBuf> {
    candidates(proc).into_iter().map(|candidate| candidate.directory.join("net")).collect()
}

/// All brokers of the host, by the number of their process.
fn candidates(proc: &Path) -> Vec<Candidate> {
    let Ok(entries) = fs::read_dir(proc) else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut found: Vec<Candidate> = pids.filter_map(|pid| candidate(proc, pid)).collect();
    found.sort_by_key(|candidate| candidate.process.pid);
    found
}

fn candidate(proc: &Path, pid: u32) -> Option<Candidate> {
    let directory = proc.join(pid.to_string());
    let command = broker_command(&fs::read(directory.join("cmdline")).ok()?)?;
    let started = started(&directory)?;
    let properties = properties(&directory, &command);
    if properties.is_controller_only() {
        return None;
    }
    let meta: Vec<Properties> = properties
        .log_dirs()
        .iter()
        .filter_map(|dir| Properties::read(&inside(&directory, dir).join("meta.properties")).ok())
        .collect();
    let id = properties.broker_id().or_else(|| meta.iter().find_map(Properties::broker_id));
    let cluster = meta.iter().find_map(Properties::cluster_id).map(str::to_owned);
    Some(Candidate { process: BrokerProcess { pid, started }, directory, id, cluster })
}

/// The settings of a broker; empty as far as they cannot be read.
fn properties(directory: &Path, command: &BrokerCommand) -> Properties {
    let file = command.properties.as_deref();
    let read = file.and_then(|file| Properties::read(&inside(directory, file)).ok());
    read.unwrap_or_default().with(&command.overrides)
}

/// Where a path of a process is found from here.
pub(crate) fn inside(directory: &Path, path: &str) -> PathBuf {
    // Of a path with two slashes in front, what is left of one would lead to our own files.
    match path.trim_start_matches('/') {
        inner if inner.len() < path.len() => directory.join("root").join(inner),
        relative => directory.join("cwd").join(relative),
    }
}

/// What an unknown process needs: its id is not known, nor where it listens, and there is no other.
const ENOUGH: u8 = 2;

impl Candidate {
    fn can_be(&self, wanted: &Wanted) -> bool {
        let is_other_cluster = match (&self.cluster, &wanted.cluster) {
            (Some(found), Some(wanted)) => found != wanted,
            _ => false,
        };
        !is_other_cluster && self.id.is_none_or(|id| id == wanted.broker)
    }

    /// Whether its settings say all.
    fn is_certain(&self) -> bool {
        self.id.is_some() && self.cluster.is_some()
    }

    /// What speaks for it: for its id and its port, 2 if it is the right one and 1 if it is not known.
    fn score(&self, wanted: &Wanted) -> u8 {
        let of_id = if self.id.is_some() { 2 } else { 1 };
        let of_port = match (wanted.port, self.ports()) {
            (Some(port), Some(ports)) if ports.contains(&port) => 2,
            (Some(_), Some(_)) => 0,
            _ => 1,
        };
        of_id + of_port
    }

    /// The ports at which it listens; `None` without the right to look.
    fn ports(&self) -> Option<BTreeSet<u16>> {
        let files = fs::read_dir(self.directory.join("fd")).ok()?;
        let links = files.flatten().take(MAX_FILES).filter_map(|file| fs::read_link(file.path()).ok());
        let sockets: BTreeSet<u64> = links.filter_map(|link| socket_inode(link.to_str()?)).collect();
        let tables = ["net/tcp", "net/tcp6"].map(|table| fs::read_to_string(self.directory.join(table)));
        let all = tables.iter().flatten().flat_map(|table| listeners(table));
        Some(all.filter(|(_, socket)| sockets.contains(socket)).map(|(port, _)| port).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_process_stay_in_its_own_file_system() {
        let directory = Path::new("/proc/7");
        for (path, expected) in
            [("/data", "/proc/7/root/data"), ("//data", "/proc/7/root/data"), ("data", "/proc/7/cwd/data")]
        {
            assert_eq!(inside(directory, path), Path::new(expected), "{path}");
        }
    }
}
