//! Executions: work that lasts longer than a cycle, with its journal.
//!
//! An execution is advanced in three moves: `settle` what came of its last act, look at the cluster, choose
//! the next act. What it is about to do is in the journal before it is done; what it did is found again by looking.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::{Event, PartitionMove, ReassignPartitions, Throttle};
use crate::guard::Check;
use crate::record::Line;
use crate::time::{Tick, Timestamp};

pub(crate) mod once;
pub(crate) mod reassign;

mod observe;
mod throttle;
mod wave;

pub mod last_look;

pub mod progress;

pub(crate) use observe::{
    CANCELLED_BY_OTHERS, View, brings_copies, is_costly_to_cancel, is_listed_as_ours, waits_for_the_dead,
};
pub(crate) use throttle::hand_over;
pub(crate) use wave::Load;

/// The number of an execution: unique within a cluster, never used again. Zero stands for "none": what came of acts
/// with that number (reports to the audit topic) is of no interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExecutionId(pub u64);

/// An admitted event on its way through one action. Everything in here is in the journal before it is acted on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// Its number.
    pub id: ExecutionId,
    /// The event. That of a reassignment is without its payload: the moves are in `work`.
    pub event: Event,
    /// The configured name of the action.
    pub action: String,
    /// Whether it changes nothing.
    pub dry_run: bool,
    /// When it was admitted.
    pub admitted: Timestamp,
    /// When it ended, and how.
    pub ended: Option<(Timestamp, String)>,
    /// The number of the last act that was sent out for it.
    pub sequence: u32,
    /// How many events led to this one, each following from the one before.
    #[serde(default)]
    pub depth: u32,
    /// Where it stands.
    pub work: Work,
}

/// Where an execution stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// One call of the action.
    Once(Once),
    /// Moves of replicas, in waves.
    Reassign(Reassign),
}

/// Where a single call stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Once {
    /// The act that is under way, by its sequence number. After a restart it is not known what became of it.
    pub under_way: Option<u32>,
    /// How often it has been tried.
    pub tries: u32,
    /// Whether it must not be done again if it is not known what became of it.
    #[serde(default)]
    pub at_most_once: bool,
    /// Whether it can be stopped while it is under way.
    #[serde(default)]
    pub can_stop: bool,
    /// Who asked for it to be stopped while it was under way.
    #[serde(default)]
    pub cancelled: Option<String>,
    /// What came of it, once it has ended; `None` also where it was cancelled before it was begun.
    #[serde(default)]
    pub end: Option<End>,
    /// Whether the act under way was sent out by this process, so that an answer will come.
    #[serde(skip)]
    pub sent: bool,
    /// When it may be tried again.
    #[serde(skip)]
    pub not_before: Tick,
}

/// What came of a single call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It was done.
    Done,
    /// It failed.
    Failed,
    /// It is not known.
    Unknown,
    /// Nor is it known whether it has ended: the process that has begun it is gone.
    Unanswered,
    /// It was not begun, and what it rested on is too old by now.
    NotBegun,
    /// It was found at the last moment that nothing can be done, and nothing was.
    NotStarted,
    /// A broker was restarted before its host would be replaced, and did not come back.
    Restarted,
    /// The same, and it came back.
    Back,
}

/// Where the moves stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reassign {
    /// The moves in the order in which they are submitted.
    pub moves: Vec<MoveState>,
    /// The replication throttle that is wanted, in bytes per second and broker.
    #[serde(default)]
    pub throttle_bytes_per_second: Option<u64>,
    /// The throttle that is set, or may be: journaled before it is set, taken away when it is cleared.
    pub throttle: Option<Throttle>,
    /// Whether the throttle is known to be set.
    pub throttle_set: bool,
    /// Whether what others need of the throttle has been handed over to them, so that the rest may be taken away.
    #[serde(skip)]
    pub handed_over: bool,
    /// Who asked for it to be cancelled.
    pub cancelled: Option<String>,
    /// Whether a person has said "resume" since, so that the moves may be made again, also where the cancel was not through yet.
    #[serde(default)]
    pub wanted_again: bool,
    /// Whether a person asked for the throttle to be left where it is, after it could not be taken away. Nobody else gives it up:
    /// a broker that comes back after days still has it.
    #[serde(default)]
    pub leave_throttle: bool,
    /// The act that is under way. After a restart it is not known what became of it.
    pub under_way: Option<UnderWay>,
    /// Whether the election that follows from it was asked for.
    #[serde(default)]
    pub elected: bool,
    /// How often the present step has failed in a row.
    #[serde(default)]
    pub failures: u32,
    /// Whether the act under way was sent out by this process, so that an answer will come.
    #[serde(skip)]
    pub sent: bool,
    /// When the next act may be sent out.
    #[serde(skip)]
    pub not_before: Tick,
    /// How many partitions had lost an in-sync replica on a live broker when the last wave went out.
    #[serde(skip)]
    pub lost_before: Option<usize>,
    /// Since when nothing in flight has copied anything.
    #[serde(skip)]
    pub idle_since: Option<Tick>,
    /// When this process began it, by a clock that nobody sets; unknown where an earlier process did.
    #[serde(skip)]
    pub begun: Option<Tick>,
}

/// An act that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderWay {
    /// Its number within the execution.
    pub sequence: u32,
    /// What it does.
    pub step: StepKind,
}

/// The kind of a [`crate::event::ReassignStep`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Sets the throttle.
    SetThrottle,
    /// Submits moves.
    Submit,
    /// Cancels moves.
    Cancel,
    /// Takes the throttle away.
    ClearThrottle,
}

/// One move and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveState {
    /// The move. Shared: it never changes, and every cycle copies its execution.
    #[serde(flatten)]
    pub order: Arc<PartitionMove>,
    /// Where it stands.
    pub phase: MovePhase,
    /// How often it was submitted, or cancelled, without effect.
    #[serde(default)]
    pub tries: u32,
    /// Only facts that held at this moment or later say something about its phase.
    #[serde(skip)]
    pub look_from: Tick,
    /// Since when the cluster has not listed it among the reassignments, although it should.
    #[serde(skip)]
    pub unlisted_since: Option<Tick>,
}

/// Where a move stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MovePhase {
    /// Not submitted yet.
    Waiting,
    /// Journaled as about to be submitted; the answer is not in.
    Submitting,
    /// Accepted by the cluster; data is being copied.
    Copying {
        /// Since when.
        since: Timestamp,
    },
    /// A cancel is on its way.
    Cancelling {
        /// Why.
        why: String,
    },
    /// The replicas are as wanted.
    Done {
        /// When it was seen.
        at: Timestamp,
    },
    /// Given up, with the reason; nothing of it is left in the cluster.
    Dropped {
        /// Why.
        why: String,
    },
}

impl MovePhase {
    /// Whether the cluster may be working on it.
    pub fn is_in_flight(&self) -> bool {
        matches!(self, Self::Submitting | Self::Copying { .. } | Self::Cancelling { .. })
    }

    /// Whether nothing more will happen to it.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Dropped { .. })
    }
}

impl From<PartitionMove> for MoveState {
    fn from(order: PartitionMove) -> Self {
        let order = Arc::new(order);
        Self { order, phase: MovePhase::Waiting, tries: 0, look_from: Tick::default(), unlisted_since: None }
    }
}

impl Execution {
    /// A new execution of `event` by `action`; nothing has been done for it.
    pub fn new(id: ExecutionId, event: Event, action: &str, admitted: Timestamp, work: Work) -> Self {
        Self {
            id,
            event,
            action: action.to_owned(),
            dry_run: false,
            admitted,
            ended: None,
            sequence: 0,
            depth: 0,
            work,
        }
    }

    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        self.ended.is_none()
    }

    /// Its moves of replicas; none for a single call.
    pub fn moves(&self) -> &[MoveState] {
        match &self.work {
            Work::Once(_) => &[],
            Work::Reassign(reassign) => &reassign.moves,
        }
    }
}

impl Reassign {
    /// Whether nothing is to be done any more but to take away its throttle, which has failed.
    pub(crate) fn only_its_throttle_is_left(&self) -> bool {
        self.throttle.is_some() && self.failures > 0 && self.moves.iter().all(|m| m.phase.is_final())
    }

    /// The moves of `order`, all waiting.
    pub fn new(order: ReassignPartitions) -> Self {
        Self {
            moves: order.moves.into_iter().map(MoveState::from).collect(),
            throttle_bytes_per_second: order.throttle_bytes_per_second,
            ..Self::default()
        }
    }
}

/// Bounds of executions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutionLimits {
    /// How many larger moves a broker takes part in at once, as the source or as a target.
    pub moves_per_broker: u32,
    /// How many bytes are in flight at once per broker, as the source or as a target. A single move may be larger: it
    /// goes alone.
    pub bytes_per_broker: u64,
    /// Moves of at most so many bytes do not count for `moves_per_broker`.
    pub small_bytes: u64,
    /// How many partitions are submitted in one act: at most 500.
    pub batch: usize,
    /// How long a look at the cluster may contradict what it has accepted before it is believed: a broker's metadata
    /// lag behind the controller.
    pub settle: Duration,
    /// A move that is in flight for longer than this without any move of its execution being completed is stuck; in
    /// addition to the time for its bytes at `slowest_bytes_per_second`.
    pub stuck_after: Duration,
    /// The slowest copying that is not held to be stuck.
    pub slowest_bytes_per_second: u64,
    /// If in-sync replicas stay lost for so long while nothing is copied, it is not our copying that costs them, and the
    /// next wave goes out.
    pub shrink_patience: Duration,
    /// How often an act is tried.
    pub max_tries: u32,
    /// The wait before the second try; doubled with each further one.
    pub back_off: Duration,
    /// The longest wait between two tries.
    pub max_back_off: Duration,
    /// How many ended executions are remembered.
    pub keep_ended: usize,
    /// How many moves of ended executions are remembered in all.
    pub keep_ended_moves: usize,
}

impl Default for ExecutionLimits {
    /// * 20 moves and 10 GiB per broker: at 100 MB/s (1 Gbit/s) a wave is through in less than two minutes, so that a
    ///   plan is never much older than that when its next part goes out, and a fetcher has enough partitions to be
    ///   busy with.
    /// * 16 MiB is less than two fetch responses (`replica.fetch.response.max.bytes`, 10 MiB): such a move is over
    ///   before it could crowd out another.
    /// * 200 partitions a call are answered within some tens of milliseconds.
    /// * Stuck after 30 min, and at less than 10 MB/s: a tenth of a slow network.
    fn default() -> Self {
        Self {
            moves_per_broker: 20,
            bytes_per_broker: 10 << 30,
            small_bytes: 16 << 20,
            batch: 200,
            settle: Duration::from_secs(2),
            stuck_after: Duration::from_secs(1_800),
            slowest_bytes_per_second: 10_000_000,
            shrink_patience: Duration::from_secs(60),
            max_tries: 5,
            back_off: Duration::from_secs(1),
            max_back_off: Duration::from_secs(60),
            keep_ended: 50,
            keep_ended_moves: 20_000,
        }
    }
}

impl ExecutionLimits {
    /// The wait after `failures` failures in a row.
    pub(crate) fn wait_after(&self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.back_off.saturating_mul(factor).min(self.max_back_off)
    }
}

/// What an execution may start in this step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Anything.
    Any,
    /// Nothing new, for this reason; but it may cancel, and take throttles away.
    OnlyCleaning(String),
}

/// What a step of an execution brought.
#[derive(Debug, Default)]
pub(crate) struct Progressed {
    /// The act that is to be sent out: its event.
    pub(crate) act: Option<Event>,
    /// Whether the act that is out is to be stopped.
    pub(crate) stop: bool,
    /// For the audit.
    pub(crate) lines: Vec<Line>,
    /// Further events.
    pub(crate) follow_ups: Vec<Event>,
    /// Why nothing is started although something waits.
    pub(crate) waits: Option<String>,
    /// What objects, where it is the execution itself that has asked.
    pub(crate) postponed_by: Option<Check>,
}
