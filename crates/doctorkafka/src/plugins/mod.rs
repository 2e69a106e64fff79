//! The built-in plugin types, by the `type` under which a configuration names them.

pub mod broker_probe;
pub mod broker_stats;
pub mod core;
pub(crate) mod delivery;
pub mod elect_leaders;
mod endpoint;
#[cfg(test)]
pub(crate) mod fakes;
pub mod kafka_metadata;
pub mod reassign_partitions;
pub mod replacement;
pub mod report_operation;
pub mod script;
pub mod send_email;
pub(crate) mod task;
pub mod webhook;

use control::Attribute;

use crate::plugin::PluginRegistry;

/// The topic that the agents write to, unless the configuration says otherwise: the name that the original's users
/// know.
pub const STATS_TOPIC: &str = "brokerstats";

/// The topic of the audit, unless the configuration says otherwise.
pub const ACTIONS_TOPIC: &str = "doctorkafka_actions";

/// Attributes that only built-in monitors write.
const BUILT_IN_ATTRIBUTES: [&str; 19] = [
    control::Liveness::NAME,
    control::Topics::NAME,
    control::OngoingReassignments::NAME,
    control::LatelyReassigned::NAME,
    control::MayGiveUp::NAME,
    control::KnownBrokers::NAME,
    control::Disks::NAME,
    control::Probes::NAME,
    control::BrokerReports::NAME,
    control::PartitionLoads::NAME,
    control::Maintenance::NAME,
    control::DeadBrokers::NAME,
    control::UnderReplicatedPartitions::NAME,
    control::NoBrokerStats::NAME,
    control::DegradedBrokers::NAME,
    control::QuorumVoters::NAME,
    control::RecoveryOwner::NAME,
    control::Replacements::NAME,
    "cluster",
];

/// Kinds of findings that the framework and built-in plugins make: no script may pretend to be one of them.
const BUILT_IN_FINDINGS: &[&str] = &[
    "agent_reports_failure",
    "another_service",
    "audit_spooled",
    "broker_absent",
    "broker_dead",
    "broker_down_for_maintenance",
    "broker_dropped",
    "broker_flapping",
    "broker_gone",
    "broker_replaced",
    "broker_slow",
    "broker_unjudged",
    "broker_unreachable",
    "cannot_drain",
    "cannot_heal",
    "cluster_unreachable",
    "decommissioned",
    "draining",
    "healing_blind",
    "healing_waits",
    "identity_conflict",
    "identity_mismatch",
    "liveness_undecided",
    "liveness_unknown",
    "log_dir_failed",
    "log_dir_read_only",
    "log_dirs_unreadable",
    "maintenance",
    "mass_failure",
    "may_not_reassign",
    "messages_lost",
    "messages_unsaved",
    "messages_waiting",
    "moves_fail",
    "moves_held_up",
    "moves_needless",
    "metadata_unreadable",
    "neighbours_unknown",
    "no_broker_stats",
    "no_topics_visible",
    "partitions_lost",
    "partitions_without_leader",
    "plan_refused",
    "plugin_panicked",
    "reassignment_stuck",
    "replacement_refused",
    "replacement_runs",
    "replacement_impossible",
    "replacement_slow",
    "replacement_waits",
    "request_handlers_saturated",
    "script_failed",
    "security_refused",
    "state_store_unusable",
    "stats_read_back",
    "stats_records_unreadable",
    "stats_topic_unreadable",
    "throttle_left",
    "under_replicated",
];

/// A registry with all built-in plugin types. Add your own to it.
pub fn builtin() -> PluginRegistry {
    let mut registry = PluginRegistry::empty();
    core::register(&mut registry);
    registry
        .monitor::<kafka_metadata::KafkaMetadataConfig>("kafka_metadata")
        .monitor::<broker_probe::BrokerProbeConfig>("broker_probe")
        .monitor::<broker_stats::BrokerStatsConfig>("broker_stats")
        .monitor::<script::ScriptMonitorConfig>("script")
        .operator::<script::ScriptOperatorConfig>("script")
        .action::<reassign_partitions::ReassignPartitionsConfig>("reassign_partitions")
        .action::<elect_leaders::ElectLeadersConfig>("elect_leaders")
        .action::<report_operation::ReportOperationConfig>("report_operation")
        .action::<script::ScriptActionConfig>("script")
        .action::<replacement::ScriptInstanceReplacementConfig>("script_instance_replacement")
        .action::<send_email::SendEmailConfig>("send_email")
        .action::<webhook::WebhookConfig>("webhook");
    registry
}
