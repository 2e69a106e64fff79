//! Scenarios as files: a cluster, what happens to it, and what is asked for. One notation for tests, for the comparison
//! with real Kafka and for `doctorkafka demo`.
//!
//! ```text
//! # a comment
//! kafka 3.9
//! grace 1m
//! b1 rack=r1
//! b2 rack=r2
//! t-0: 1* 2 size=1GiB
//! at 30s kill b2
//! at 5m order approve
//! run 20m
//! ```
//!
//! | line | what it says |
//! |---|---|
//! | `b1 rack=r1`, `t-0: 1* 2` | brokers and partitions, in the notation of [`cluster::notation`] |
//! | `at 30s kill b3`, `within 10m flap any` | a fault, in the notation of [`fault`](crate::fault) |
//! | `at 5m order approve` | what a person orders: `approve`, `pause`, `resume`, `cancel`, `maintenance-on`, `maintenance-on b3`, `maintenance-off`, `decommission-on b3`, `decommission-off b3`, `replace b3` |
//! | `kafka 4.3`, `kafka 3.9`, `kafka zookeeper` | the version of Kafka (3.9 with ZooKeeper); 4.3 where nothing is said |
//! | `grace 1m` | how long a broker has to be away until it is dead |
//! | `min-insync 2` | `min.insync.replicas` of all topics |
//! | `log-dirs 2` | how many log directories each broker has; one where nothing is said |
//! | `dry-run` | nothing is done, it is said what would be |
//! | `throttle 50MB/s` | moves are throttled, to so many bytes a second and broker |
//! | `agents` | the brokers' agents report |
//! | `replace-hosts` | the host of a dead broker is replaced, before its replicas are moved |
//! | `run 20m` | how long it goes on; in the demo: at the latest until then |
//! | `kill b2, kill b3` | a step: what happens at once, when all is calm after the step before |
//!
//! The acts of a step are faults, and what a client asks for: `reassign t-0 1 4`, `cancel t-0`, `elect t-0`, `write t-0`
//! (one record, acknowledged by all in-sync replicas), `throttle b4` and `unthrottle b4` (the broker takes next to
//! nothing of what it lacks, or all of it again) and `wait 8s` (for so long at least nothing happens). What a client
//! asks for may be about brokers and partitions that there are not; a fault may not.
//!
//! Whoever plays a scenario says with a [`Player`] what can be played there: what cannot is refused with line and column.
//! A [`Scenario`] prints in the same notation, and what it prints reads to the same thing.

use std::fmt;
use std::time::Duration;

use cluster::notation::{ClusterText, NotationProblem};
use cluster::{BrokerId, TopicPartition};
use control::Scope;
use control::order::OrderKind;
use thiserror::Error;

use crate::fault::{Fault, Schedule, ScheduleProblem, bytes, short};
use crate::settings::{Rules, Settings};

mod parse;

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scenario {
    /// The version of Kafka.
    pub kafka: Version,
    /// How long a broker has to be away until it is dead, where it is said.
    pub grace: Option<Duration>,
    /// `min.insync.replicas` of all topics, where it is said.
    pub min_in_sync: Option<usize>,
    /// How many log directories each broker has, where it is said.
    pub log_dirs: Option<u8>,
    /// Whether nothing is done, and only said what would be.
    pub dry_run: bool,
    /// The throttle of moves in bytes a second and broker, where there is one.
    pub throttle: Option<u64>,
    /// Whether there are agents that report.
    pub agents: bool,
    /// Whether the hosts of dead brokers are replaced, before their replicas are moved.
    pub replace_hosts: bool,
    /// How long it goes on, where it is said.
    pub run: Option<Duration>,
    /// The cluster; empty where the usual one of the [`Player`] is meant.
    pub cluster: ClusterText,
    /// What happens at its moment.
    pub faults: Schedule,
    /// What people order.
    pub orders: Vec<PlannedOrder>,
    /// What happens one after the other.
    pub steps: Vec<Step>,
}

/// A version of Kafka that can be simulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Kafka 4.3 in KRaft mode.
    #[default]
    V4_3,
    /// Kafka 3.9 in KRaft mode.
    V3_9,
    /// Kafka 3.9 with ZooKeeper.
    ZooKeeper,
}

/// What a person orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Healing may go on although many brokers are dead.
    Approve,
    /// No new acts.
    Pause,
    /// Acts are allowed again.
    Resume,
    /// An end to all moves of ours.
    Cancel,
    /// Maintenance of the cluster or of a broker begins.
    MaintenanceOn(Scope),
    /// It ends.
    MaintenanceOff(Scope),
    /// A broker is taken out of service.
    DecommissionOn(BrokerId),
    /// It stays in service.
    DecommissionOff(BrokerId),
    /// The host of a broker is replaced, if nothing holds it back.
    Replace(BrokerId),
}

/// An order with its moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedOrder {
    /// When it is given, counted from the beginning.
    pub at: Duration,
    /// What is ordered.
    pub what: Wanted,
}

/// What happens at once; the next step follows when all is calm again. At least one act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step(pub Vec<Act>);

/// A part of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Something goes wrong.
    Fault(Fault),
    /// A client asks for these replicas of a partition.
    Reassign(TopicPartition, Vec<BrokerId>),
    /// A client cancels the reassignment of a partition.
    Cancel(TopicPartition),
    /// A client asks for the preferred leader of a partition.
    Elect(TopicPartition),
    /// A client writes one record, and asks for the acknowledgement of all in-sync replicas.
    Write(TopicPartition),
    /// A client asks a broker who is alive.
    Ask(BrokerId),
    /// A broker takes next to nothing of what it lacks.
    Throttle(BrokerId),
    /// It takes all of it again.
    Unthrottle(BrokerId),
    /// For so long at least nothing happens.
    Wait(Duration),
}

/// What whoever plays scenarios has and can do.
#[derive(Clone, Debug, Default)]
pub struct Player {
    /// The cluster of a file that describes none.
    pub usual: ClusterText,
    /// Whether faults and orders at their moments are played.
    pub plays_moments: bool,
    /// Whether steps are played.
    pub plays_steps: bool,
    /// Whether DoctorKafka's own process can be killed.
    pub plays_crashes: bool,
    /// Whether hosts can be replaced.
    pub replaces_hosts: bool,
}

/// Where a text is not a scenario, and why.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct ScenarioError {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: ScenarioProblem,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScenarioProblem {
    /// It is not UTF-8.
    #[error("this is not text in UTF-8")]
    NotText,
    /// A line begins like none.
    #[error(
        "expected a moment (at 30s, within 10m), a setting (kafka, grace, min-insync, log-dirs, dry-run, throttle 1MB/s, agents, replace-hosts, run), a broker (b1), a \
         partition (topic-0:) or a step such as kill b3, found \"{found}\""
    )]
    Line {
        /// What stands there.
        found: String,
    },
    /// A fault, an order, a setting or a step is not in its notation.
    #[error(transparent)]
    Word(#[from] ScheduleProblem),
    /// A broker or a partition is not in the notation of clusters.
    #[error(transparent)]
    Cluster(#[from] NotationProblem),
    /// A setting is there twice.
    #[error("\"{what}\" is there twice")]
    Twice {
        /// The setting.
        what: String,
    },
    /// The cluster has nothing of this name.
    #[error("there is no {what}: the cluster has {has}")]
    NoSuch {
        /// What is missing.
        what: String,
        /// What there is in its place.
        has: String,
    },
    /// Whoever plays the scenario cannot do this.
    #[error("{what} cannot be played here{instead}")]
    NotPlayed {
        /// What it is.
        what: &'static str,
        /// What can be done about it; empty, or begins with a colon.
        instead: &'static str,
    },
}

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    /// It is not in the notation, is about something that its cluster does not have, or has what `player` does not play.
    pub fn read(file: &[u8], player: &Player) -> Result<Self, ScenarioError> {
        parse::read(file, player)
    }

    /// The settings of a world for it, as far as it says something; the rest is that of `base`.
    pub fn settings(&self, base: Settings) -> Settings {
        let min_in_sync = self.min_in_sync.unwrap_or(base.min_in_sync);
        let mut hardware = base.hardware.clone();
        hardware.dirs = self.log_dirs.unwrap_or(hardware.dirs);
        Settings { rules: self.kafka.rules(), min_in_sync, hardware, ..base }
    }

    /// When the last fault is over and the last order given, counted from the beginning.
    pub fn over(&self) -> Duration {
        let orders = self.orders.iter().map(|order| order.at).max().unwrap_or_default();
        self.faults.over().max(orders)
    }
}

impl Version {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::V4_3, Self::V3_9, Self::ZooKeeper];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::V4_3 => "4.3",
            Self::V3_9 => "3.9",
            Self::ZooKeeper => "zookeeper",
        }
    }

    /// How it behaves.
    pub fn rules(self) -> Rules {
        match self {
            Self::V4_3 => Rules::kraft_4_3(),
            Self::V3_9 => Rules::kraft_3_9(),
            Self::ZooKeeper => Rules::zookeeper_3_9(),
        }
    }
}

impl Wanted {
    /// As the core takes it. Maintenance has no end of its own, and `cancel` is about all moves.
    pub fn order(self) -> OrderKind {
        match self {
            Self::Approve => OrderKind::Approve,
            Self::Pause => OrderKind::Pause,
            Self::Resume => OrderKind::Resume,
            Self::Cancel => OrderKind::Cancel { execution: None },
            Self::MaintenanceOn(scope) => OrderKind::MaintenanceOn { scope, until: None },
            Self::MaintenanceOff(scope) => OrderKind::MaintenanceOff { scope },
            Self::DecommissionOn(broker) => OrderKind::DecommissionOn { broker, until: None },
            Self::DecommissionOff(broker) => OrderKind::DecommissionOff { broker },
            Self::Replace(broker) => OrderKind::Replace { broker, accept_data_loss: false, only_ask: false },
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, scope) = match self {
            Self::Approve => ("approve", Scope::Cluster),
            Self::Pause => ("pause", Scope::Cluster),
            Self::Resume => ("resume", Scope::Cluster),
            Self::Cancel => ("cancel", Scope::Cluster),
            Self::MaintenanceOn(scope) => ("maintenance-on", *scope),
            Self::MaintenanceOff(scope) => ("maintenance-off", *scope),
            Self::DecommissionOn(broker) => ("decommission-on", Scope::Broker(*broker)),
            Self::DecommissionOff(broker) => ("decommission-off", Scope::Broker(*broker)),
            Self::Replace(broker) => ("replace", Scope::Broker(*broker)),
        };
        match scope {
            Scope::Cluster => f.write_str(word),
            Scope::Broker(id) => write!(f, "{word} b{id}"),
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => write!(f, "{fault}"),
            Self::Reassign(at, to) => {
                write!(f, "reassign {at}")?;
                to.iter().try_for_each(|id| write!(f, " {id}"))
            }
            Self::Cancel(at) => write!(f, "cancel {at}"),
            Self::Elect(at) => write!(f, "elect {at}"),
            Self::Write(at) => write!(f, "write {at}"),
            Self::Ask(id) => write!(f, "ask b{id}"),
            Self::Throttle(id) => write!(f, "throttle b{id}"),
            Self::Unthrottle(id) => write!(f, "unthrottle b{id}"),
            Self::Wait(time) => write!(f, "wait {}", short(*time)),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, act) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{act}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kafka != Version::default() {
            writeln!(f, "kafka {}", self.kafka.name())?;
        }
        if let Some(grace) = self.grace {
            writeln!(f, "grace {}", short(grace))?;
        }
        if let Some(least) = self.min_in_sync {
            writeln!(f, "min-insync {least}")?;
        }
        if let Some(dirs) = self.log_dirs {
            writeln!(f, "log-dirs {dirs}")?;
        }
        if self.dry_run {
            writeln!(f, "dry-run")?;
        }
        if let Some(rate) = self.throttle {
            writeln!(f, "throttle {}/s", bytes(rate))?;
        }
        if self.agents {
            writeln!(f, "agents")?;
        }
        if self.replace_hosts {
            writeln!(f, "replace-hosts")?;
        }
        write!(f, "{}{}", self.cluster, self.faults)?;
        for PlannedOrder { at, what } in &self.orders {
            writeln!(f, "at {} order {what}", short(*at))?;
        }
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))?;
        self.run.map_or(Ok(()), |time| writeln!(f, "run {}", short(time)))
    }
}

#[cfg(test)]
mod tests;
