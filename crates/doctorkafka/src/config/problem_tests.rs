//! Every kind of problem, with its line and column.

use expect_test::{Expect, expect};

use super::*;
use crate::plugins;

/// All problems of a configuration, a line each.
fn check(text: &str, expected: Expect) {
    let loaded = parse("f", text, &plugins::builtin(), &|_| None);
    assert_eq!(loaded.config.is_some(), loaded.report.errors() == 0);
    expected.assert_eq(&loaded.report.to_string());
}

#[test]
fn yaml_that_is_none_is_reported_where_it_breaks() {
    check(
        r#"kafkaclusters: [
"#,
        expect![[r#"
            f:1:16: error: no YAML: unclosed bracket '['
        "#]],
    );
}

#[test]
fn a_key_that_stands_twice_is_an_error() {
    check(
        r#"doctorkafka: {state_dir: a, state_dir: b}
"#,
        expect![[r#"
            f:1:29: error: the key `state_dir` stands here twice
            f: error: there is no cluster under `kafkaclusters`; write `kafkaclusters: [{name: NAME, bootstrap_servers: HOST:PORT}]`
        "#]],
    );
}

#[test]
fn tags_merge_keys_and_second_documents_are_refused() {
    check(
        r#"doctorkafka: !!map {state_dir: a}
"#,
        expect![[r#"
            f:1:20: error: tags such as `!!map` have no meaning here
            f: error: there is no cluster under `kafkaclusters`; write `kafkaclusters: [{name: NAME, bootstrap_servers: HOST:PORT}]`
        "#]],
    );
    check(
        r#"a: &a {state_dir: x}
doctorkafka: {<<: *a}
"#,
        expect![[r#"
            f:1:1: error: unknown key `a`; the keys are `doctorkafka`, `monitors`, `operators`, `actions`, `kafkaclusters`
            f:2:15: error: merge keys (`<<`) are not read: write the keys out
            f:2:15: error: unknown key `<<`; the keys are `state_dir`, `listen`, `state_store`, `evaluation_interval`, `guard`, `execution`
            f: error: there is no cluster under `kafkaclusters`; write `kafkaclusters: [{name: NAME, bootstrap_servers: HOST:PORT}]`
        "#]],
    );
    check(
        r#"a: 1
---
b: 2
"#,
        expect![[r#"
            f:2:1: error: a configuration is a single document
        "#]],
    );
}

#[test]
fn unknown_keys_come_with_what_was_meant() {
    check(
        r#"doctorkafka: {state_dri: x, gaurd: {}, guard: {max_ded_percent: 1}, execution: {batches: 1}}
monitor: []
kafkaclusters: [{nmae: a, bootstrap_servers: h:1}]
"#,
        expect![[r#"
            f:1:15: error: unknown key `state_dri`; did you mean `state_dir`?
            f:1:29: error: unknown key `gaurd`; did you mean `guard`?
            f:1:48: error: unknown key `max_ded_percent`; did you mean `max_dead_percent`?
            f:1:81: error: unknown key `batches`; did you mean `batch`?
            f:2:1: error: unknown key `monitor`; did you mean `monitors`?
            f:3:18: error: this cluster has no `name`
            f:3:18: error: unknown key `nmae`; did you mean `name`?
        "#]],
    );
}

#[test]
fn wrong_types_and_units_are_reported_all_at_once() {
    check(
        r#"doctorkafka:
  evaluation_interval: 30 parsecs
  guard: {max_dead_percent: many, mass_failure_grace: -1s, max_executions: 0, max_moves: 0}
  execution: {bytes_per_broker: 3 apples}
monitors:
- type: dead_brokers
  grace: soon
  flapping_absences: often
  max_probe_age: 1ms
  flapping_windwo: 1h
- type: broker_probe
  parallel: 0
  enabled: yes
kafkaclusters:
- {name: a, bootstrap_servers: 5}
"#,
        expect![[r#"
            f:2:24: error: `evaluation_interval`: `30 parsecs` is not a duration: write it like 30s, 5m, 1h 30m or 250ms
            f:3:29: error: `max_dead_percent`: invalid type: string "many", expected a whole number
            f:3:55: error: `mass_failure_grace`: `-1s` is not a duration: write it like 30s, 5m, 1h 30m or 250ms
            f:3:76: error: `max_executions`: must be at least 1
            f:3:90: error: `max_moves`: must be at least 1
            f:4:33: error: `bytes_per_broker`: `3 apples` is not an amount of bytes: write it like 512MiB, 1.5GB or 4096
            f:7:10: error: `grace`: `soon` is not a duration: write it like 30s, 5m, 1h 30m or 250ms
            f:8:22: error: `flapping_absences`: invalid type: string "often", expected a whole number
            f:9:18: error: `max_probe_age`: must be at least 1s
            f:10:3: error: unknown key `flapping_windwo`; did you mean `flapping_window`?
            f:12:13: error: `parallel`: at least one broker must be probed at once
            f:13:12: error: `enabled` is `true` or `false`, but here is a text; write `true`
            f:15:32: error: an address is a text HOST:PORT, but here is a number
        "#]],
    );
}

#[test]
fn limits_are_checked_for_sense() {
    check(
        r#"doctorkafka: {evaluation_interval: 1ms, listen: nowhere, state_dir: '', guard: {max_dead_percent: 101, max_executions: 0}, execution: {batch: 501, moves_per_broker: 0, bytes_per_broker: 0}}
kafkaclusters: [{name: a, bootstrap_servers: h:1}]
"#,
        expect![[r#"
            f:1:36: error: `evaluation_interval`: must be between 100ms and 1h
            f:1:49: error: `listen`: must be of the form HOST:PORT
            f:1:69: error: `state_dir`: the path is empty
            f:1:99: error: `max_dead_percent`: must be a percentage from 0 to 100
            f:1:120: error: `max_executions`: must be at least 1
            f:1:143: error: `batch`: must be between 1 and 500
            f:1:166: error: `moves_per_broker`: must be at least 1
            f:1:187: error: `bytes_per_broker`: must be more than nothing
        "#]],
    );
}

#[test]
fn each_fault_of_a_list_of_servers_is_told_and_an_empty_name_is() {
    check(
        r#"kafkaclusters:
- {name: '', bootstrap_servers: 'a,b:x,c:1'}
- {name: b, bootstrap_servers: '${NOWHERE}'}
- {name: c, bootstrap_servers: ' , '}
"#,
        expect![[r#"
            f:2:10: error: `name` is empty
            f:2:33: error: bootstrap server "a": the port is missing (HOST:PORT)
            f:2:33: error: bootstrap server "b:x": the port is not a number from 1 to 65535
            f:3:32: error: the environment variable `NOWHERE` is not set
            f:4:32: error: no bootstrap server is given (expected HOST:PORT, several separated by commas)
        "#]],
    );
}

#[test]
fn a_store_that_cannot_be_is_told() {
    check(
        r#"doctorkafka: {state_store: {type: kafka, bootstrap_servers: 'h', topic: 'a b', replication_factor: 0, lease: 1s}}
kafkaclusters: [{name: a, bootstrap_servers: h:1}]
"#,
        expect![[r#"
            f:1:61: error: `bootstrap_servers`: bootstrap server "h": the port is missing (HOST:PORT)
            f:1:73: error: `topic`: is not the name of a topic
            f:1:100: error: `replication_factor`: must be at least 1; at least 3 on a cluster that is looked after
            f:1:110: error: `lease`: must be between 15s and 2m: a server that dies must not cost it
        "#]],
    );
    check(
        r#"doctorkafka: {state_store: {type: kafka, topics: x}}
kafkaclusters: [{name: a, bootstrap_servers: h:1}]
"#,
        expect![[r#"
            f:1:15: error: the key `bootstrap_servers` is missing
            f:1:42: error: unknown key `topics`; did you mean `topic`?
        "#]],
    );
    check(
        r#"doctorkafka:
  state_store:
    type: zookeeper
    connect: zk1:2181,zk2:x/chroot
    path: doctorkafka
    acl: creator
    lease: 5m
kafkaclusters: [{name: a, bootstrap_servers: h:1}]
"#,
        expect![[r#"
            f:4:14: error: `connect`: `zk2:x` is not a server: write HOST:PORT,HOST:PORT/CHROOT
            f:5:11: error: `path`: must begin with `/`
            f:6:10: error: `acl`: is of nobody without a login: `auth: {user, password_file}`
            f:7:12: error: `lease`: must be between 15s and 2m: a server that dies must not cost it
        "#]],
    );
    check(
        r#"doctorkafka: {state_store: {type: zookeeper, connect: 'tcp+tls://zk', acl: all, auth: {user: 'a:b', pasword_file: /p}}}
kafkaclusters: [{name: a, bootstrap_servers: h:1}]
"#,
        expect![[r#"
            f:1:28: error: `state_store`: unknown variant `all`, expected `open` or `creator`
        "#]],
    );
    check(
        r#"doctorkafka: {state_store: {type: zookeeper, connect: 'tcp+tls://zk', auth: {user: 'a:b', password_file: ''}}}
kafkaclusters: [{name: a, bootstrap_servers: h:1}]
"#,
        expect![[r#"
            f:1:55: error: `connect`: has a scheme: there is none to write, as only plain connections are made
            f:1:84: error: `user`: must be a name without a colon
            f:1:106: error: `password_file`: the path is empty
        "#]],
    );
    check(
        r#"doctorkafka: {state_store: {type: etcd}}
kafkaclusters: [{name: a, bootstrap_servers: h:1}]
"#,
        expect![[r#"
            f:1:35: error: `type`: unknown variant `etcd`, expected one of `file`, `kafka`, `zookeeper`
        "#]],
    );
}

#[test]
fn unknown_types_are_told_what_there_is() {
    check(
        r#"monitors: [{type: dead_broker}, {type: reassign_partitions}, {type: 7}, {}, dead_brokers]
operators: {type: x}
kafkaclusters: [{name: a, bootstrap_servers: h:1}]
"#,
        expect![[r#"
            f:1:19: error: no monitor has the type `dead_broker`; did you mean `dead_brokers`?
            f:1:40: error: no monitor has the type `reassign_partitions`; `reassign_partitions` is an action: it belongs under `actions`
            f:1:69: error: `type` is a text, but here is a number
            f:1:73: error: this monitor has no `type`; the types are `broker_probe`, `broker_stats`, `dead_brokers`, `degraded_brokers`, `kafka_metadata`, `maintenance`, `no_broker_stats`, `script`, `under_replicated_partitions`
            f:1:77: error: an entry of `monitors` is a mapping, but here is a text; write `- type: dead_brokers`
            f:2:12: error: `operators` is a list of entries with a `type`, but here is a mapping
        "#]],
    );
}

#[test]
fn names_of_0_3_lead_to_those_of_this_service() {
    check(
        r#"doctork: {zkurl: z:2181, evaluation_interval_seconds: 5, ui: {port: 8080}}
monitors:
- type: BrokerStatsMonitor
- type: com.pinterest.doctork.URPMonitor
- {name: x, class: DeadBrokerMonitor}
operators:
- type: URPReassignmentOperator
- type: BrokerReplacementOperator
actions:
- type: ZkUtilReassignPartition
- type: SendEmail
kafkaclusters: [{name: a, zkurl: z:2181}]
"#,
        expect![[r#"
            f:1:11: error: unknown key `zkurl`; DoctorKafka speaks to the brokers alone: write `bootstrap_servers` in its place
            f:1:58: error: unknown key `ui`; write `listen: HOST:PORT` for `/metrics` and `/health`
            f:3:9: error: no monitor has the type `BrokerStatsMonitor`; write `type: broker_stats`: the name here for what was BrokerStatsMonitor in 0.3
            f:4:9: error: no monitor has the type `com.pinterest.doctork.URPMonitor`; write `type: under_replicated_partitions`: the name here for what was com.pinterest.doctork.URPMonitor in 0.3
            f:5:13: error: unknown key `class`; write `type: dead_brokers`
            f:7:9: error: no operator has the type `URPReassignmentOperator`; write `type: under_replicated_partitions`: the name here for what was URPReassignmentOperator in 0.3
            f:8:9: error: no operator has the type `BrokerReplacementOperator`; write `type: broker_replacement`: the name here for what was BrokerReplacementOperator in 0.3
            f:10:9: error: no action has the type `ZkUtilReassignPartition`; write `type: reassign_partitions`: the name here for what was ZkUtilReassignPartition in 0.3
            f:11:9: error: no action has the type `SendEmail`; write `type: send_email`: the name here for what was SendEmail in 0.3
            f:12:27: error: `zkurl` is not read; DoctorKafka speaks to the brokers alone: write `bootstrap_servers` in its place
        "#]],
    );
}

#[test]
fn plugins_and_clusters_have_names_of_their_own() {
    check(
        r#"monitors: [{type: maintenance}, {type: maintenance}, {type: maintenance, name: ../up}]
kafkaclusters:
- {name: a, bootstrap_servers: h:1}
- {name: a, bootstrap_servers: h:1}
- {name: a/b, bootstrap_servers: h:1}
- {bootstrap_servers: h:1}
- 7
"#,
        expect![[r#"
            f:1:40: error: there are two monitors with the name `maintenance`; give one of them another `name`
            f:1:80: error: `../up` cannot be the name of a plugin; a name has letters, digits, `.`, `_` and `-`, and does not start with a dot
            f:4:10: error: there are two clusters with the name `a`
            f:5:10: error: `a/b` cannot be the name of a cluster; a name has letters, digits, `.`, `_` and `-`, and does not start with a dot
            f:6:4: error: this cluster has no `name`
            f:7:3: error: an entry of `kafkaclusters` is a mapping, but here is a number
        "#]],
    );
}

#[test]
fn addresses_are_checked_one_by_one() {
    check(
        r#"kafkaclusters:
- {name: a, bootstrap_servers: [h, 'h:99999', 'h:1']}
- {name: b, bootstrap_servers: []}
- {name: c}
- {name: d, bootstrap_servers: 'h:1,h'}
"#,
        expect![[r#"
            f:2:33: error: bootstrap server "h": the port is missing (HOST:PORT)
            f:2:36: error: bootstrap server "h:99999": the port is not a number from 1 to 65535
            f:3:32: error: `bootstrap_servers` is empty
            f:4:4: error: this cluster has no `bootstrap_servers`
            f:5:32: error: bootstrap server "h": the port is missing (HOST:PORT)
        "#]],
    );
}

#[test]
fn without_an_enabled_cluster_there_is_nothing_to_do() {
    check(
        r#"{}
"#,
        expect![[r#"
            f: error: there is no cluster under `kafkaclusters`; write `kafkaclusters: [{name: NAME, bootstrap_servers: HOST:PORT}]`
        "#]],
    );
    check(
        r#"kafkaclusters:
- {name: a, bootstrap_servers: h:1, enabled: false}
"#,
        expect![[r#"
            f:1:1: error: no cluster is enabled: there is nothing to do
        "#]],
    );
    check(
        r#"- a
"#,
        expect![[r#"
            f:1:1: error: a configuration is a mapping, but here is a list
        "#]],
    );
    check(
        r#""#,
        expect![[r#"
        f: error: there is no cluster under `kafkaclusters`; write `kafkaclusters: [{name: NAME, bootstrap_servers: HOST:PORT}]`
    "#]],
    );
    check(
        r#"kafkaclusters: {a: {bootstrap_servers: h:1}}
"#,
        expect![[r#"
            f:1:16: error: `kafkaclusters` is a list of clusters, but here is a mapping
        "#]],
    );
}

#[test]
fn an_override_names_a_plugin_that_there_is() {
    check(
        r#"kafkaclusters:
- name: a
  bootstrap_servers: h:1
  monitors: [{name: dead_broker, grace: 1s}, {name: dead_brokers, type: maintenance}]
"#,
        expect![[r#"
            f:4:21: error: no monitor has the name `dead_broker`, and this entry has no `type`; did you mean `dead_brokers`?
            f:4:73: error: `dead_brokers` is of the type `dead_brokers` for all clusters, not `maintenance`; give it another `name`, or leave the `type` out
        "#]],
    );
}

#[test]
fn subscribing_to_an_event_that_nothing_can_emit_is_an_error() {
    check(
        r#"actions:
- type: script
  name: s
  command: [x]
  subscribed_events: [alert_mass_failure, alert_prolong_upr, alert_no_brokerstats_brokers, alert_mass_failure, 7]
kafkaclusters: [{name: a, bootstrap_servers: h:1}]
"#,
        expect![[r#"
            f:5:43: error: nothing can emit the event `alert_prolong_upr`; did you mean `alert_prolong_urp`?
            f:5:62: error: nothing can emit the event `alert_no_brokerstats_brokers`; the events are `alert_flapping_broker`, `alert_incident`, `alert_mass_failure`, `alert_prolong_urp`, `alert_resolved`, `alert_stuck_reassignment`, `alert_throttle_left`, `alert_unknown_outcome`, `alert_urp_handling_failure`, `elect_leaders`, `notify_maintenance_mode`, `notify_reassignment`, `reassign_partitions`, `report_operation`
            f:5:92: error: the event `alert_mass_failure` stands here twice
            f:5:112: error: the name of an event is a text, but here is a number
        "#]],
    );
    check(
        r#"actions: [{type: script, name: s, command: [x], subscribed_events: [alert_prolong_upr]}]
kafkaclusters: [{name: a, bootstrap_servers: h:1}]
"#,
        expect![[r#"
            f:1:69: error: nothing can emit the event `alert_prolong_upr`; did you mean `alert_prolong_urp`?
        "#]],
    );
    check(
        r#"operators: [{type: no_broker_stats, enabled: false}]
actions: [{type: script, name: s, command: [x], subscribed_events: [alert_no_brokerstats_brokers]}]
kafkaclusters: [{name: a, bootstrap_servers: h:1}]
"#,
        expect![[r#"
            f:2:69: warning: only operator `no_broker_stats` emits the event `alert_no_brokerstats_brokers`, and it is switched off
        "#]],
    );
}

#[test]
fn an_event_that_nobody_hears_is_a_warning() {
    check(
        r#"operators: [{type: no_broker_stats}]
actions: []
kafkaclusters: [{name: a, bootstrap_servers: h:1}]
"#,
        expect![[r#"
            f:1:20: warning: no action subscribes to `alert_no_brokerstats_brokers`, which operator `no_broker_stats` can emit
        "#]],
    );
}

#[test]
fn an_action_says_what_it_hears_once() {
    check(
        r#"actions:
- {type: script, name: a, command: [x]}
- {type: script, name: b, command: [x], subscribed_events: []}
- {type: script, name: c, command: [x], subscribed_events: report_operation}
- {type: reassign_partitions, dry_run: off, dryrun: true}
- {type: elect_leaders, subscribed_events: [elect_leaders], dry_run: 1}
kafkaclusters: [{name: a, bootstrap_servers: h:1}]
"#,
        expect![[r#"
            f:2:10: error: action `a` has no `subscribed_events`
            f:3:60: error: `subscribed_events` is empty
            f:4:60: error: `subscribed_events` is a list of names of events, but here is a text; write `[report_operation]`
            f:5:40: error: `dry_run` is `true` or `false`, but here is a text; write `false`
            f:5:45: error: the key `dry_run` stands here twice
            f:6:70: error: `dry_run` is `true` or `false`, but here is a number
        "#]],
    );
}

#[test]
fn environment_variables_that_are_not_set_are_errors() {
    check(
        r#"doctorkafka: {state_dir: '${NOWHERE}/x', listen: '${'}
kafkaclusters: [{name: a, bootstrap_servers: h:1}]
"#,
        expect![[r#"
            f:1:26: error: the environment variable `NOWHERE` is not set
            f:1:50: error: `${` begins the name of an environment variable that does not end with `}`; write `$${` for the characters themselves
        "#]],
    );
}

#[test]
fn what_is_wrong_with_mails_and_webhooks_is_shown_in_its_place_without_secrets() {
    check(
        r#"actions:
- type: send_email
  subscribed_events: [alert_resolved]
  server: mail.example.org
  tls: ssl
  from: nobody
  alert: [a@example.org, b at example.org]
  subject: "{subjekt}"
  password: hunter2
- type: webhook
  subscribed_events: [alert_resolved]
  url: ftp://example.org/hunter2
  headers: {Authorization: "hunter2\n"}
- type: webhook
  name: pager
  subscribed_events: [alert_resolved]
  format: pagerduti
- type: webhook
  name: other
  subscribed_events: [alert_resolved]
  format: pagerduty
kafkaclusters: [{name: a, bootstrap_servers: "h:1"}]
"#,
        expect![[r#"
            f:5:8: error: unknown variant `ssl`, expected one of `starttls`, `tls`, `none`
            f:6:9: error: `from`: `nobody` is not a mail address: Invalid input
            f:7:26: error: `alert[1]`: `b at example.org` is not a mail address: Invalid input
            f:8:12: error: `subject`: there is no `{subjekt}`; the places are body, cluster, dry_run, event, held_back, id, incident, kind, reason, severity, subject, target, time
            f:12:8: error: `url`: this is not the URL of a webhook: it begins with https: or http:
            f:13:28: error: `Authorization`: the value of `authorization` has characters that a header cannot have
            f:14:9: error: the key `url` is missing; `url_file` would do, too
            f:17:11: error: `format`: unknown variant `pagerduti`, expected one of `json`, `slack`, `pagerduty`, `alertmanager`
            f:18:9: error: the key `routing_key` is missing; `routing_key_file` would do, too
        "#]],
    );
    check(
        r#"actions:
- type: send_email
  subscribed_events: [alert_resolved]
  server: mail.example.org:smtp
  tls: none
  from: a@example.org
  username: me
  password_file: /p
  ca_file: /c
kafkaclusters: [{name: a, bootstrap_servers: "h:1"}]
"#,
        expect![[r#"
            f:2:9: error: `notification` or `alert` must name somebody
            f:4:11: error: `server`: `mail.example.org:smtp` is not a server: write HOST or HOST:PORT
            f:5:8: error: `tls`: a password is sent over TLS alone, unless the server is this host
            f:9:12: error: `ca_file`: says whom to trust in TLS, and there is none
        "#]],
    );
}

#[test]
fn a_secret_that_cannot_be_read_is_a_warning_as_healing_goes_on_without_it() {
    let text = r#"actions:
- type: send_email
  subscribed_events: [alert_resolved]
  server: mail.example.org
  from: a@example.org
  alert: [a@example.org]
  username: me
  password_file: /nowhere/p
kafkaclusters: [{name: a, bootstrap_servers: "h:1"}]
"#;
    let loaded = read("f", text, &plugins::builtin(), &|_| None, &client_settings::problems);
    expect![[r#"
        f:8:18: warning: cannot read /nowhere/p: No such file or directory (os error 2)
    "#]]
    .assert_eq(&loaded.report.to_string());
    assert!(loaded.config.is_some());
}

#[test]
fn the_password_for_zookeeper_is_looked_for() {
    let text = r#"doctorkafka: {state_store: {type: zookeeper, connect: zk, auth: {user: me, password_file: /nowhere/p}}}
kafkaclusters: [{name: a, bootstrap_servers: "h:1"}]
"#;
    let loaded = read("f", text, &plugins::builtin(), &|_| None, &client_settings::problems);
    expect![[r#"
        f:1:91: warning: cannot read /nowhere/p: No such file or directory (os error 2)
    "#]]
    .assert_eq(&loaded.report.to_string());
    assert!(loaded.config.is_some());
}

#[test]
fn the_resolved_configuration_shows_no_secret_of_mails_and_webhooks() {
    let text = r#"actions:
- {type: send_email, subscribed_events: [alert_resolved], server: h, from: a@b.c, alert: [a@b.c], username: me, password: hunter2}
- {type: webhook, subscribed_events: [alert_resolved], url: "https://h/hunter2", headers: {X-Key: hunter2}}
- {type: webhook, name: pager, subscribed_events: [alert_resolved], format: pagerduty, routing_key: hunter2}
kafkaclusters: [{name: a, bootstrap_servers: "h:1"}]
"#;
    let config = parse("f", text, &plugins::builtin(), &|_| None).config.unwrap();
    let shown = config.to_json().to_string();
    assert!(shown.contains("***") && !shown.contains("hunter2"), "{shown}");
}
