use expect_test::{Expect, expect};

use super::*;
use crate::plugins;

fn variable(name: &str) -> Option<String> {
    (name == "PASSWORD").then(|| "hunter2".to_owned())
}

fn read(text: &str) -> Loaded {
    parse("f.yaml", text, &plugins::builtin(), &variable)
}

/// All problems, a line each.
fn check(text: &str, expected: Expect) {
    expected.assert_eq(&read(text).report.to_string());
}

/// The resolved configuration, without a problem.
fn check_resolved(text: &str, expected: Expect) {
    let loaded = read(text);
    let config = loaded.config.unwrap_or_else(|| panic!("{}", loaded.report));
    expected.assert_eq(&config.to_yaml());
}

const MINIMAL: &str = "kafkaclusters:\n- {name: a, bootstrap_servers: h:9092}\n";

#[test]
fn an_override_wins_and_keeps_its_place() {
    check(
        "kafkaclusters:\n- {name: a, bootstrap_servers: h:9092, monitors: [{name: dead_brokers, grase: 3s}]}\n",
        expect![[r#"
            f.yaml:2:72: error: unknown key `grase`; did you mean `grace`?
        "#]],
    );
}

#[test]
fn the_smallest_configuration_names_a_cluster_alone() {
    check_resolved(
        MINIMAL,
        expect![[r#"
        doctorkafka:
          state_dir: doctorkafka-state
        monitors: []
        operators: []
        actions: []
        kafkaclusters:
        - name: a
          bootstrap_servers:
          - h:9092
          evaluation_interval: 1s
          execution:
            batch: 200
            bytes_per_broker: 10GiB
            moves_per_broker: 20
            small_bytes: 16MiB
            stuck_after: 30m
          guard:
            mass_failure_grace: 1h
            max_dead_percent: 10
            max_executions: 20
            max_moves: 10000
          monitors:
          - name: kafka_metadata
            type: kafka_metadata
            ask: 5
            ask_timeout: 2s
            interval: 1s
            log_dirs_refresh: 5m
            refresh: 30s
          - name: broker_probe
            type: broker_probe
            interval: 1s
            parallel: 64
            timeout: 2s
          - name: maintenance
            type: maintenance
          - name: dead_brokers
            type: dead_brokers
            flapping_absences: 3
            flapping_total: null
            flapping_window: 1h
            grace: 5m
            max_liveness_age: 10s
            max_probe_age: 30s
          - name: under_replicated_partitions
            type: under_replicated_partitions
          operators:
          - name: under_replicated_partitions
            type: under_replicated_partitions
            catch_up_time: 1h
            disk_watermark_percent: 85
            max_liveness_age: 10s
            max_metadata_age: 1m 30s
            max_moves: 10000
            network_bandwidth_max_mb: null
            network_headroom_percent: 10
            prolong_urp_alert_seconds: 2h
            throttle: null
            unsure_alert_after: 10m
          actions:
          - name: reassign_partitions
            type: reassign_partitions
            subscribed_events:
            - reassign_partitions
            dry_run: true
          - name: elect_leaders
            type: elect_leaders
            subscribed_events:
            - elect_leaders
            dry_run: true
          - name: report_operation
            type: report_operation
            subscribed_events:
            - report_operation
            dry_run: false
            bootstrap_servers: null
            command_config: null
            create_topic: true
            spool: 10000
            topic: doctorkafka_actions
    "#]],
    );
}
