//! The operators: pure functions from the State to events and findings.
//!
//! Each has a `Config` that a configuration file fills, and whose `build` makes the operator.

pub mod under_replicated_partitions;

pub mod no_broker_stats;

pub mod broker_replacement;

mod out_of_sync;

/// Kinds of the findings of the operators. Public names: `docs/schema.md` says what each means.
pub mod kinds {
    /// A broker's replicas are out of sync.
    pub const UNDER_REPLICATED: &str = "under_replicated";
    /// Partitions have no leader.
    pub const PARTITIONS_WITHOUT_LEADER: &str = "partitions_without_leader";
    /// Partitions have no replica but on dead brokers: those of the partitions without a leader that wait for one of them.
    pub const PARTITIONS_LOST: &str = "partitions_lost";
    /// Replicas on dead brokers cannot be replaced.
    pub const CANNOT_HEAL: &str = "cannot_heal";
    /// Replicas on dead brokers are not replaced yet.
    pub const HEALING_WAITS: &str = "healing_waits";
    /// Moves of ours cannot end while a broker is dead, and nothing better can be done in their place.
    pub const MOVES_HELD_UP: &str = "moves_held_up";
    /// Moves of ours go on although what they replace is back.
    pub const MOVES_NEEDLESS: &str = "moves_needless";
    /// What must be known to heal is not, or too old.
    pub const HEALING_BLIND: &str = "healing_blind";
    /// A broker's host is not replaced yet.
    pub const REPLACEMENT_WAITS: &str = "replacement_waits";
    /// A broker's host is not replaced: a person is needed.
    pub const REPLACEMENT_REFUSED: &str = "replacement_refused";
    /// A broker whose host was replaced is not whole yet.
    pub const BROKER_REPLACED: &str = "broker_replaced";
    /// A live broker that is taken out of service is being emptied.
    pub const DRAINING: &str = "draining";
    /// Replicas of such a broker have nowhere to go.
    pub const CANNOT_DRAIN: &str = "cannot_drain";
    /// A plan was found to be wrong, and was not used.
    pub const PLAN_REFUSED: &str = "plan_refused";
}
