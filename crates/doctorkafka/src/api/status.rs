//! What is wrong, since when, what is being done about it, and what holds it up: as data.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster::BrokerId;
use control::event::names;
use control::execution::Work;
use control::{
    DeadBrokers, Deliveries, Execution, Held, Incident, Liveness, MovePhase, Now, OngoingReassignments,
    Output, Progress, Record, Severity, State, Topics, UnderReplicatedPartitions, Wishes,
};
use serde::{Deserialize, Serialize};

use super::health::millis;
use crate::shell::snapshot::{ClusterHandle, Snapshot};

/// The answer of `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version of the service.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Its clusters.
    pub clusters: Vec<ClusterStatus>,
}

/// One cluster. Times are in milliseconds since 1970, lengths of time in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// Its configured name.
    pub name: String,
    /// Kafka's own id of it, once it is known.
    pub cluster_id: Option<String>,
    /// When this was asked.
    pub now: i64,
    /// How long ago the last cycle began; `None` before the first.
    pub last_cycle_age: Option<u64>,
    /// How often there is a cycle when nothing wakes the loop.
    pub evaluation_interval: u64,
    /// The actions that only say what they would do.
    #[serde(default)]
    pub dry_run: Vec<String>,
    /// Why nothing can be done although it might have to.
    pub trouble: Option<String>,
    /// Who acts on the cluster instead, where this service only looks on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looks_on: Option<String>,
    /// Whether a monitor stopped the last cycle, so that nothing was decided.
    pub stopped: bool,
    /// The brokers, as far as they are known.
    pub brokers: Option<Brokers>,
    /// The partitions, as far as they are known.
    pub partitions: Option<Partitions>,
    /// What is wrong, worst first.
    pub incidents: Vec<Problem>,
    /// What is being done.
    pub work: Vec<Doing>,
    /// Partitions that somebody else is reassigning.
    pub foreign_reassignments: usize,
    /// What would be done, but is held.
    pub held: Vec<HeldEvent>,
    /// How messages get out, by the name of the action that sends them.
    #[serde(default)]
    pub messages: BTreeMap<String, Deliveries>,
    /// What people have asked for.
    pub wishes: Wishes,
    /// The newest records, oldest first.
    pub recent: Vec<Record>,
}

/// The brokers of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brokers {
    /// Alive for Kafka.
    pub live: Vec<i32>,
    /// Dead.
    pub dead: Vec<i32>,
    /// Absent, but not dead (yet).
    pub suspects: Vec<i32>,
    /// Alive for Kafka, but not reachable from here.
    pub unreachable: Vec<i32>,
    /// How old this is, in ms: while nothing can be read, it is what was known last.
    #[serde(default)]
    pub age: u64,
    /// Whether it is known who is dead, absent or unreachable.
    #[serde(default)]
    pub judged: bool,
}

/// The partitions of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partitions {
    /// All of them.
    pub of: u64,
    /// Those with fewer in-sync replicas than they should have.
    pub under_replicated: u64,
    /// Those without a leader.
    pub leaderless: u64,
    /// How old this is, in ms.
    #[serde(default)]
    pub age: u64,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The number of the incident.
    pub id: u64,
    /// What it is.
    pub kind: String,
    /// What it is about, in words.
    pub subject: String,
    /// How much it matters.
    pub severity: Severity,
    /// What was seen.
    pub message: String,
    /// What is being waited for.
    pub waits_for: Option<String>,
    /// Since when.
    pub since: i64,
}

/// Something that is being done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doing {
    /// The number of the execution: `doctorkafka cancel` takes it.
    pub execution: u64,
    /// The event.
    pub event: String,
    /// What it is about, in words.
    pub target: String,
    /// Why.
    pub reason: String,
    /// Whether it changes nothing.
    pub dry_run: bool,
    /// Since when.
    pub since: i64,
    /// Who cancelled it.
    pub cancelled_by: Option<String>,
    /// Whether it can be stopped.
    pub can_stop: bool,
    /// How far moves of replicas are; `None` for a single call.
    pub moves: Option<Moves>,
    /// The last lines that a program has printed which does it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub says: Vec<String>,
    /// How long ago it printed the last of them, in ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said_ago: Option<u64>,
}

/// How far moves of replicas are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moves {
    /// Not submitted yet.
    pub waiting: usize,
    /// Submitted or being copied.
    pub copying: usize,
    /// Being cancelled.
    pub cancelling: usize,
    /// As wanted.
    pub done: usize,
    /// Given up.
    pub dropped: usize,
    /// Bytes of all of them, where known.
    pub bytes: u64,
    /// Bytes of those that are done.
    pub bytes_done: u64,
    /// How much longer it takes if it goes on as so far.
    pub left: Option<u64>,
}

/// An event that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldEvent {
    /// The event.
    pub event: String,
    /// What it is about, in words.
    pub target: String,
    /// What objects: the name of a check of the guard.
    pub check: String,
    /// Why, in words.
    pub reason: String,
}

/// How many of the newest records a status has.
const RECENT: usize = 10;

impl Status {
    pub(super) fn of(clusters: &[ClusterHandle], now: Now) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            clusters: clusters.iter().map(|handle| ClusterStatus::of(handle, now)).collect(),
        }
    }
}

impl ClusterStatus {
    /// The status of one cluster.
    pub fn of(handle: &ClusterHandle, now: Now) -> Self {
        let snapshot = handle.shared.snapshot();
        let recent = handle.shared.audit.newest(RECENT);
        let status = Self::of_snapshot(&handle.name, handle.evaluation_interval, &snapshot, recent, now);
        Self { dry_run: handle.dry_run.to_vec(), ..status }
    }

    fn of_snapshot(name: &str, interval: Duration, last: &Snapshot, recent: Vec<Record>, now: Now) -> Self {
        let memory = &last.memory;
        let state = last.state.as_deref();
        let mut incidents: Vec<Problem> =
            memory.incidents.open.values().map(|incident| problem(incident, now)).collect();
        incidents.sort_by_key(|problem| (std::cmp::Reverse(problem.severity), problem.since, problem.id));
        let running = memory.executions.iter().filter(|execution| is_worth_telling(execution));
        Self {
            name: name.to_owned(),
            cluster_id: memory.cluster_id.as_ref().map(ToString::to_string),
            now: now.wall.0,
            last_cycle_age: last.at.map(|at| millis(now.tick.since(at.tick))),
            evaluation_interval: millis(interval),
            dry_run: Vec::new(),
            trouble: last.trouble.clone(),
            looks_on: last.looks_on.clone(),
            stopped: last.stopped,
            brokers: state.and_then(|state| brokers(state, now)),
            partitions: state.and_then(|state| partitions(state, now)),
            incidents,
            work: running.map(|execution| doing(execution, state, now)).collect(),
            foreign_reassignments: state.map_or(0, |state| foreign(state, &memory.executions)),
            held: last.held.iter().map(held).collect(),
            messages: last.deliveries.clone(),
            wishes: (*memory.wishes).clone(),
            recent,
        }
    }
}

/// Acts that have not ended. Messages on their way are not work.
fn is_worth_telling(execution: &Execution) -> bool {
    execution.is_running() && !control::guard::is_message(&execution.event.name)
}

pub(super) fn brokers(state: &State, now: Now) -> Option<Brokers> {
    let ids = |ids: &mut dyn Iterator<Item = &BrokerId>| ids.map(|id| id.0).collect();
    let liveness = state.get::<Liveness>()?;
    let mut brokers = Brokers {
        live: ids(&mut liveness.value.live.keys()),
        age: millis(now.tick.since(liveness.as_of)),
        ..Brokers::default()
    };
    if let Some(dead) = state.get::<DeadBrokers>() {
        brokers.judged = true;
        brokers.dead = ids(&mut dead.value.dead.keys());
        brokers.suspects = ids(&mut dead.value.suspects.keys());
        brokers.unreachable = ids(&mut dead.value.unreachable.iter());
    }
    Some(brokers)
}

pub(super) fn partitions(state: &State, now: Now) -> Option<Partitions> {
    let topics = state.get::<Topics>()?;
    let of = topics.value.0.values().map(|topic| topic.partitions.len() as u64).sum();
    let under = state.get::<UnderReplicatedPartitions>();
    let under = under.map(|fact| &fact.value.partitions);
    Some(Partitions {
        of,
        under_replicated: under.map_or(0, |under| under.len() as u64),
        leaderless: under.map_or(0, |under| under.values().filter(|p| p.leader.is_none()).count() as u64),
        age: millis(now.tick.since(topics.as_of)),
    })
}

fn problem(incident: &Incident, now: Now) -> Problem {
    Problem {
        id: incident.id,
        kind: incident.key.kind.clone(),
        subject: incident.key.subject.to_string(),
        severity: incident.severity,
        message: incident.message.clone(),
        waits_for: incident.waits_for.clone(),
        since: incident.since(now).0,
    }
}

fn doing(execution: &Execution, state: Option<&State>, now: Now) -> Doing {
    let output = state.and_then(|state| output(execution, state));
    let (moves, cancelled_by, can_stop) = match &execution.work {
        Work::Once(once) => (None, once.cancelled.clone(), once.can_stop || once.under_way.is_none()),
        Work::Reassign(reassign) => {
            let progress = Progress::of(execution, now.wall);
            let moves = Moves {
                waiting: progress.waiting,
                copying: progress.submitting + progress.copying,
                cancelling: progress.cancelling,
                done: progress.done,
                dropped: progress.dropped,
                bytes: progress.bytes,
                bytes_done: progress.bytes_done,
                left: progress.left.map(millis),
            };
            (Some(moves), reassign.cancelled.clone(), true)
        }
    };
    Doing {
        execution: execution.id.0,
        event: execution.event.name.clone(),
        target: execution.event.target.to_string(),
        reason: execution.event.reason.clone(),
        dry_run: execution.dry_run,
        since: execution.admitted.0,
        cancelled_by,
        can_stop,
        moves,
        says: output.map(|output| output.last.clone()).unwrap_or_default(),
        said_ago: output.and_then(|output| output.quiet).map(millis),
    }
}

/// What the program prints that carries an execution out.
fn output<'a>(execution: &Execution, state: &'a State) -> Option<&'a Output> {
    if execution.event.name != names::REPLACE_INSTANCE {
        return None;
    }
    let its = state.findings().iter().filter(|finding| finding.subject == execution.event.target);
    its.filter_map(|finding| finding.output.as_deref()).next()
}

fn foreign(state: &State, executions: &[std::sync::Arc<Execution>]) -> usize {
    let Some(ongoing) = state.get::<OngoingReassignments>() else { return 0 };
    let running = executions.iter().filter(|execution| execution.is_running());
    let in_flight = |phase: &MovePhase| phase.is_in_flight();
    let ours: std::collections::BTreeSet<_> = running
        .flat_map(|execution| execution.moves())
        .filter(|m| in_flight(&m.phase))
        .map(|m| &m.order.partition)
        .collect();
    ongoing.value.0.keys().filter(|partition| !ours.contains(partition)).count()
}

fn held(held: &Held) -> HeldEvent {
    HeldEvent {
        event: held.event.clone(),
        target: held.target.to_string(),
        check: held.check.name().to_owned(),
        reason: held.reason.clone(),
    }
}
