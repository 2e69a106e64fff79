//! Executions: work that lasts longer than a cycle, with its journal.

use serde::{Deserialize, Serialize};

use crate::event::{Event, PartitionMove, Throttle};
use crate::time::Timestamp;

/// The number of an execution: unique within a cluster, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExecutionId(pub u64);

/// An admitted event on its way through one action. Everything in here is in the journal before it is acted on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// Its number.
    pub id: ExecutionId,
    /// The event.
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
}

/// Where the moves stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reassign {
    /// The moves in the order in which they are submitted.
    pub moves: Vec<MoveState>,
    /// The throttle that is set, or may be: journaled before it is set, taken away when it is cleared.
    pub throttle: Option<Throttle>,
    /// Whether the throttle is known to be set.
    pub throttle_set: bool,
    /// Whether a person has asked for it to be cancelled.
    pub cancelled: bool,
    /// The act that is under way, by its sequence number.
    pub under_way: Option<u32>,
}

/// One move and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveState {
    /// The move.
    #[serde(flatten)]
    pub order: PartitionMove,
    /// Where it stands.
    pub phase: MovePhase,
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
