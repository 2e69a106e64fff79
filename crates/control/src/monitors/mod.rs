//! The deriving monitors: pure functions from what is in the State to further attributes of it.
//!
//! Each has a `Config` that a configuration file fills, and whose `build` makes the monitor.

pub mod maintenance;

pub mod dead_brokers;

pub mod under_replicated_partitions;

pub mod no_broker_stats;

pub mod degraded_brokers;

mod flapping;

/// Kinds of the findings of the deriving monitors. Public names: `docs/schema.md` says what each means.
pub mod kinds {
    /// The cluster or a broker is under maintenance.
    pub const MAINTENANCE: &str = "maintenance";
    /// A broker is taken out of service.
    pub const DECOMMISSIONED: &str = "decommissioned";
    /// Who is alive is not known.
    pub const LIVENESS_UNKNOWN: &str = "liveness_unknown";
    /// Kafka has dropped a broker and it does not answer us: the memory of the grace.
    pub const BROKER_ABSENT: &str = "broker_absent";
    /// Kafka has dropped a broker of which we cannot say that it does not answer.
    pub const BROKER_DROPPED: &str = "broker_dropped";
    /// Nobody can say whether an absent broker is dead, as our own probe stands still.
    pub const BROKER_UNJUDGED: &str = "broker_unjudged";
    /// A broker has been absent for the whole grace.
    pub const BROKER_DEAD: &str = "broker_dead";
    /// A broker lives for Kafka, but does not answer us.
    pub const BROKER_UNREACHABLE: &str = "broker_unreachable";
    /// A broker keeps going and coming.
    pub const BROKER_FLAPPING: &str = "broker_flapping";
    /// A broker under maintenance is down.
    pub const BROKER_DOWN_FOR_MAINTENANCE: &str = "broker_down_for_maintenance";
    /// A broker is gone and nothing refers to it.
    pub const BROKER_GONE: &str = "broker_gone";
    /// A log directory of a live broker has failed.
    pub const LOG_DIR_FAILED: &str = "log_dir_failed";
    /// A log directory of a live broker cannot be written.
    pub const LOG_DIR_READ_ONLY: &str = "log_dir_read_only";
    /// The threads of a live broker that handle requests are hardly ever idle.
    pub const REQUEST_HANDLERS_SATURATED: &str = "request_handlers_saturated";
    /// A live broker's agent reports that it has failed.
    pub const AGENT_REPORTS_FAILURE: &str = "agent_reports_failure";
    /// A live broker answers much later than the others.
    pub const BROKER_SLOW: &str = "broker_slow";
    /// A live broker's agent is silent.
    pub const NO_BROKER_STATS: &str = "no_broker_stats";
}
