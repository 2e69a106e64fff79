//! The story of one reading: is the broker on this host, which process is it, what do the counters say.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::{Duration, Instant};

use brokerstats::{BrokerError, BrokerStats};
use clap::ValueEnum;
use cluster::BrokerAddress;

use super::addresses;
use super::figures::HostFigures;
use super::mounts;
use super::process::{BrokerProcess, Search, Wanted, is_there, networks, search};
use super::sample::{Roots, Sample};

/// How long the kernel may take. A disk that does not answer holds whoever looks at it.
const READ_LIMIT: Duration = Duration::from_secs(5);
/// How long the broker's name may take to be resolved.
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);

/// Whether figures of the host are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Choice {
    /// If the broker's advertised address is this host's.
    #[default]
    Auto,
    /// The broker runs on this host, whatever address it advertises.
    On,
    /// No.
    Off,
}

/// What is wrong with the figures of a host, in the original's names where it has one.
pub type Problem = (Option<BrokerError>, String);

/// Reads the figures of the broker's host.
#[derive(Debug)]
pub struct HostSource {
    choice: Choice,
    began: Instant,
    looking: Arc<Mutex<Looking>>,
    figures: HostFigures,
}

/// What reads the kernel's files, and what it keeps from one reading to the next.
#[derive(Debug)]
struct Looking {
    roots: Roots,
    /// The address that was found to be this host's.
    ours: Option<BrokerAddress>,
    process: Option<BrokerProcess>,
    /// For what it was proven that this is the process; nothing where it is a guess.
    proven_for: Option<Wanted>,
}

/// What is asked.
#[derive(Debug)]
struct Question {
    wanted: Wanted,
    /// The advertised address, and what it resolves to, if that matters.
    at: Option<(BrokerAddress, Result<Vec<IpAddr>, String>)>,
    /// Whether the broker answers.
    answers: bool,
    dirs: Vec<String>,
}

/// What was read.
#[derive(Debug)]
enum Answer {
    /// The broker is not here, or it cannot be told.
    NotHere(String),
    /// The counters, and what is wrong.
    Here(Sample, Vec<Problem>),
}

impl HostSource {
    /// One for the host whose `/proc` and `/sys` are below `root`; `None` if no figures are wanted.
    pub fn new(choice: Choice, root: &Path) -> Option<HostSource> {
        if choice == Choice::Off {
            return None;
        }
        Some(HostSource {
            choice,
            began: Instant::now(),
            looking: Arc::new(Mutex::new(Looking {
                roots: Roots::below(root),
                ours: None,
                process: None,
                proven_for: None,
            })),
            figures: HostFigures::new(rustix::param::clock_ticks_per_second()),
        })
    }

    /// Puts the figures of the host into the report of the broker that advertises `at`, if it is on this host. Tells what is
    /// wrong.
    pub async fn put(&mut self, stats: &mut BrokerStats, at: Option<&BrokerAddress>) -> Vec<Problem> {
        let at_and_addresses = match (self.choice, at) {
            (Choice::Auto, None) => return not_here("it is not known where the broker is"),
            (Choice::Auto, Some(at)) => match resolve(at).await {
                Ok(addresses) => Some((at.clone(), Ok(addresses))),
                // What it resolved to before may still be true.
                Err(why) => Some((at.clone(), Err(why))),
            },
            _ => None,
        };
        let question = Question {
            wanted: Wanted {
                broker: stats.id,
                cluster: stats.cluster_id.clone(),
                port: at.map(|at| at.port),
            },
            at: at_and_addresses,
            answers: !stats.has_failure,
            dirs: stats.log_dirs.clone(),
        };
        let looking = Arc::clone(&self.looking);
        let asked = self.began.elapsed();
        let read = tokio::task::spawn_blocking(move || {
            // A reading that hangs keeps the lock: the next ones do not queue behind it.
            match looking.try_lock() {
                Ok(mut looking) => Some(looking.answer(&question)),
                Err(TryLockError::Poisoned(looking)) => Some(looking.into_inner().answer(&question)),
                Err(TryLockError::WouldBlock) => None,
            }
        });
        let answer = match tokio::time::timeout(READ_LIMIT, read).await {
            Ok(Ok(Some(answer))) => answer,
            Ok(Err(_)) => return not_here("the reading was broken off"),
            Ok(Ok(None)) | Err(_) => return not_here("its files do not answer"),
        };
        match answer {
            Answer::NotHere(why) => not_here(&why),
            Answer::Here(sample, mut problems) => {
                let lacking = sample.lacking.iter().map(|what| (None, what.clone()));
                problems.extend(lacking);
                self.figures.put(stats, sample, (asked + self.began.elapsed()) / 2);
                problems
            }
        }
    }
}

fn not_here(why: &str) -> Vec<Problem> {
    vec![(None, format!("no figures of the host: {why}"))]
}

async fn resolve(at: &BrokerAddress) -> Result<Vec<IpAddr>, String> {
    // IPv6 addresses may stand in brackets, as in URLs.
    let host = at.host.trim_start_matches('[').trim_end_matches(']').to_owned();
    match tokio::time::timeout(RESOLVE_LIMIT, tokio::net::lookup_host((host, at.port))).await {
        Ok(Ok(found)) => Ok(found.map(|address| address.ip()).collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", RESOLVE_LIMIT.as_secs())),
    }
}

impl Looking {
    fn answer(&mut self, question: &Question) -> Answer {
        if let Some((at, addresses)) = &question.at
            && let Err(why) = self.is_here(at, addresses.as_ref())
        {
            return Answer::NotHere(why);
        }
        let found = self.find(question);
        // A disk is the weightier reason.
        let mut problems = self.read_only(question);
        problems.extend(found);
        let sample = Sample::read(&self.roots, self.process.as_ref(), &question.dirs);
        Answer::Here(sample, problems)
    }

    /// Log directories that cannot be written, as the broker's process sees them. Kafka finds that out only when it writes.
    fn read_only(&self, question: &Question) -> Vec<Problem> {
        let Some(process) = &self.process else { return Vec::new() };
        let table = self.roots.proc.join(process.pid.to_string()).join("mounts");
        // Who may not read it does not know.
        let table = std::fs::read_to_string(table).unwrap_or_default();
        let found = mounts::read_only(&table, &question.dirs).into_iter();
        let problem = |dir: &str| {
            let words = format!("log directory {dir}: its file system is mounted read-only");
            (Some(BrokerError::DiskFailure), words)
        };
        found.map(problem).collect()
    }

    /// Whether the address is this host's, or that of a container on it that runs a broker.
    fn is_here(&mut self, at: &BrokerAddress, resolved: Result<&Vec<IpAddr>, &String>) -> Result<(), String> {
        let resolved = match resolved {
            Ok(resolved) => resolved.as_slice(),
            Err(_) if self.ours.as_ref() == Some(at) => return Ok(()),
            Err(why) => return Err(format!("{at} cannot be resolved: {why}")),
        };
        self.ours = None;
        let Some(ours) = addresses::of(&self.roots.proc.join("net")) else {
            return Err(
                "the kernel does not tell this host's addresses; --host on if the broker is here".to_owned()
            );
        };
        let in_container = |net: &PathBuf| {
            addresses::of(net)
                .is_some_and(|all| all.iter().any(|one| !one.is_loopback() && resolved.contains(one)))
        };
        if addresses::is_ours(resolved, &ours) || networks(&self.roots.proc).iter().any(in_container) {
            self.ours = Some(at.clone());
            return Ok(());
        }
        Err(format!("the broker is at {at}, which is no address of this host"))
    }

    /// Finds the broker's process, unless it is known and still there.
    ///
    /// One that is only guessed is looked for again each time, and does not count while the broker does not answer: it may
    /// be another that runs while this one is away.
    fn find(&mut self, question: &Question) -> Option<Problem> {
        let (proc, wanted) = (&self.roots.proc, &question.wanted);
        if self.proven_for.as_ref() == Some(wanted)
            && self.process.as_ref().is_some_and(|process| is_there(proc, process))
        {
            return None;
        }
        let found = match search(proc, wanted) {
            Search::Found { process, is_proven: false } if !question.answers => {
                Search::Missing { others: vec![process.pid] }
            }
            found => found,
        };
        let before = self.process.take();
        self.proven_for = None;
        match found {
            Search::Found { process, is_proven } => {
                if before.as_ref() != Some(&process) {
                    tracing::info!(broker = wanted.broker, pid = process.pid, "found the broker's process");
                }
                self.process = Some(process);
                self.proven_for = is_proven.then(|| wanted.clone());
                None
            }
            Search::Missing { others } => {
                let others = match others.as_slice() {
                    [] => String::new(),
                    others => format!(" ({others:?} are other brokers)"),
                };
                let words = format!("no process of this host is broker {}{others}", wanted.broker);
                Some((Some(BrokerError::MissingKafkaProcess), words))
            }
            Search::Multiple { pids } => {
                let words = format!("each of the processes {pids:?} may be broker {}", wanted.broker);
                Some((Some(BrokerError::MultipleKafkaProcesses), words))
            }
        }
    }
}
