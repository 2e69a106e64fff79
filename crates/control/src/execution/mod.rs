//! Executions: work that lasts longer than a cycle, with its journal.

use serde::{Deserialize, Serialize};

use crate::event::{Event, PartitionMove, Throttle};
use crate::time::{Tick, Timestamp};

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
    /// Whether the act under way was sent out by this process, so that an answer will come.
    #[serde(skip)]
    pub sent: bool,
    /// When it may be tried again.
    #[serde(skip)]
    pub not_before: Tick,
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
    /// Who asked for it to be cancelled.
    pub cancelled: Option<String>,
    /// The act that is under way. After a restart it is not known what became of it.
    pub under_way: Option<UnderWay>,
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
    /// Since when nothing has been in flight.
    #[serde(skip)]
    pub idle_since: Option<Tick>,
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
    /// The move.
    #[serde(flatten)]
    pub order: PartitionMove,
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
