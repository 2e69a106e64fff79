//! What the names in a configuration of DoctorKafka 0.3 are called here.

/// The type that takes the place of a class of 0.3, and its kind.
pub(super) fn type_of_class(class: &str) -> Option<(&'static str, &'static str)> {
    let name = class.rsplit('.').next().unwrap_or(class);
    Some(match name {
        "BrokerStatsMonitor" => ("monitors", "broker_stats"),
        "MaintenanceMonitor" => ("monitors", "maintenance"),
        "DeadBrokerMonitor" => ("monitors", "dead_brokers"),
        "NoBrokerstatsBrokerMonitor" | "NoBrokerStatsBrokerMonitor" => ("monitors", "no_broker_stats"),
        "URPMonitor" => ("monitors", "under_replicated_partitions"),
        "BrokerReplacementOperator" => ("operators", "broker_replacement"),
        "NoBrokerstatsBrokerOperator" | "NoBrokerStatsBrokerOperator" => ("operators", "no_broker_stats"),
        "URPReassignmentOperator" => ("operators", "under_replicated_partitions"),
        "KafkaReportOperation" => ("actions", "report_operation"),
        "ScriptReplaceInstance" => ("actions", "script_instance_replacement"),
        "ZkUtilReassignPartition" => ("actions", "reassign_partitions"),
        "SendEmail" | "SnoozedSendEmail" => ("actions", "send_email"),
        _ => return None,
    })
}

/// What to write in the place of a key of 0.3 that is not known here.
pub(super) fn key_help(key: &str) -> Option<&'static str> {
    Some(match key {
        "zkurl" => "DoctorKafka speaks to the brokers alone: write `bootstrap_servers` in its place",
        "class" => "name the plugin with `type`",
        "subscribed_tasks" => "tasks are called events: write `subscribed_events`",
        "dryrun" => "write `dry_run`",
        "consumer_config" | "producer_config" => {
            "write the security settings into a properties file, and its path under `command_config`"
        }
        "ui" | "web" | "ui.host" | "ui.port" | "web.port" | "web.bindhost" | "ostrich" | "ostrich.port" => {
            "write `listen: HOST:PORT` for `/metrics` and `/health`"
        }
        "tsd" | "tsd.host" | "tsd.port" | "tsd.hostport" => {
            "metrics are fetched from `/metrics`: see `listen`"
        }
        "action_report" | "action_report.topic" => "add an action of `type: report_operation`",
        "restart" | "restart.disabled" | "restart.interval_seconds" => {
            "leave it out: the service does not restart itself"
        }
        "event" | "event.handler" | "event.emitter" | "event.dispatcher" => {
            "leave it out: there is one dispatcher, and actions run side by side"
        }
        "admin" | "admin.groups" | "authorization" | "authorization.filter.class" => {
            "leave it out: commands go through a socket in the state dir that its owner alone may use"
        }
        "balance_workload" | "balance_workload.enabled" => "leave it out: load is not balanced",
        "clusters" | "kafka_clusters" | "kafkacluster" => "write `kafkaclusters`",
        _ => return None,
    })
}
