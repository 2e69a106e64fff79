use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::plugins;

fn read(text: &str) -> Loaded {
    parse("f.yaml", text, &plugins::builtin(), &|name| (name == "PASSWORD").then(|| "hunter2".to_owned()))
}

/// The resolved configuration as JSON; there is no error.
fn resolved(text: &str) -> Json {
    let loaded = read(text);
    loaded.config.unwrap_or_else(|| panic!("{}", loaded.report)).to_json()
}

/// The plugin of that name in a cluster.
fn plugin<'a>(json: &'a Json, cluster: usize, kind: &str, name: &str) -> &'a Json {
    let plugins = json["kafkaclusters"][cluster][kind].as_array();
    plugins.into_iter().flatten().find(|plugin| plugin["name"] == name).unwrap_or(&Json::Null)
}

fn names(json: &Json, cluster: usize, kind: &str) -> Vec<String> {
    let plugins = json["kafkaclusters"][cluster][kind].as_array();
    plugins.into_iter().flatten().filter_map(|plugin| plugin["name"].as_str().map(str::to_owned)).collect()
}

const TWO_CLUSTERS: &str = "
doctorkafka: {evaluation_interval: 2s, guard: {max_dead_percent: 20}}
monitors:
- type: kafka_metadata
- {type: dead_brokers, grace: 1m, flapping_absences: 5}
- {type: maintenance, name: upkeep}
operators:
- type: under_replicated_partitions
actions:
- {type: reassign_partitions, dryrun: false}
- {type: report_operation}
- {type: script, name: tell, command: [tell], subscribed_tasks: [alert_mass_failure]}
kafkaclusters:
- {name: a, bootstrap_servers: 'h:1, [::1]:2', command_config: c.properties}
- name: b
  bootstrap_servers: [h:3]
  evaluation_interval: 5s
  guard: {mass_failure_grace: never}
  monitors:
  - {name: dead_brokers, grace: 9s}
  - {name: upkeep, enabled: false}
  - {type: broker_probe, config: {parallel: 3}}
  actions:
  - {name: reassign_partitions, dry_run: true}
";

#[test]
fn a_cluster_has_what_is_global_but_for_its_overrides() {
    let json = resolved(TWO_CLUSTERS);
    let (a, b) = (&json["kafkaclusters"][0], &json["kafkaclusters"][1]);
    assert_eq!(a["bootstrap_servers"], json!(["h:1", "[::1]:2"]));
    assert_eq!((&a["command_config"], &b["command_config"]), (&json!("c.properties"), &Json::Null));
    assert_eq!((&a["evaluation_interval"], &b["evaluation_interval"]), (&json!("2s"), &json!("5s")));
    assert_eq!((&a["guard"]["max_dead_percent"], &b["guard"]["max_dead_percent"]), (&json!(20), &json!(20)));
    assert_eq!(a["guard"]["mass_failure_grace"], "1h");
    assert_eq!(b["guard"]["mass_failure_grace"], "never");
    assert_eq!(names(&json, 0, "monitors"), ["kafka_metadata", "dead_brokers", "upkeep"]);
    assert_eq!(names(&json, 1, "monitors"), ["kafka_metadata", "dead_brokers", "broker_probe"]);
    assert_eq!(plugin(&json, 0, "monitors", "dead_brokers")["grace"], "1m");
    assert_eq!(plugin(&json, 1, "monitors", "dead_brokers")["grace"], "9s");
    assert_eq!(plugin(&json, 1, "monitors", "dead_brokers")["flapping_absences"], 5);
    assert_eq!(plugin(&json, 1, "monitors", "broker_probe")["parallel"], 3);
    assert_eq!(plugin(&json, 0, "actions", "tell")["subscribed_events"], json!(["alert_mass_failure"]));
}

#[test]
fn actions_that_change_things_are_dry_until_a_person_says_otherwise() {
    let json = resolved("kafkaclusters: [{name: a, bootstrap_servers: h:1}]");
    assert_eq!(plugin(&json, 0, "actions", "reassign_partitions")["dry_run"], true);
    assert_eq!(plugin(&json, 0, "actions", "elect_leaders")["dry_run"], true);
    assert_eq!(plugin(&json, 0, "actions", "report_operation")["dry_run"], false);
    let json = resolved(TWO_CLUSTERS);
    assert_eq!(plugin(&json, 0, "actions", "reassign_partitions")["dry_run"], false);
    assert_eq!(plugin(&json, 1, "actions", "reassign_partitions")["dry_run"], true);
}

#[test]
fn drk_45_two_clusters_are_told_apart_by_name_and_not_by_how_they_are_reached() {
    let json = resolved(
        "kafkaclusters:\n- {name: a, bootstrap_servers: h:1}\n- {name: b, bootstrap_servers: h:1}\n\
         - {name: c, bootstrap_servers: h:1, enabled: false}\n",
    );
    let clusters = json["kafkaclusters"].as_array().map(Vec::len);
    assert_eq!(clusters, Some(2));
    assert_eq!(
        (&json["kafkaclusters"][0]["name"], &json["kafkaclusters"][1]["name"]),
        (&json!("a"), &json!("b"))
    );
}

#[test]
fn drk_58_each_cluster_reports_in_its_own_way() {
    let json = resolved(
        "actions: [{type: report_operation, topic: acts}]\nkafkaclusters:\n- {name: a, bootstrap_servers: h:1}\n\
         - {name: b, bootstrap_servers: h:2, actions: [{name: report_operation, topic: acts_b}]}\n",
    );
    assert_eq!(plugin(&json, 0, "actions", "report_operation")["topic"], "acts");
    assert_eq!(plugin(&json, 1, "actions", "report_operation")["topic"], "acts_b");
}

#[test]
fn what_is_printed_is_a_configuration_that_means_the_same() {
    for text in ["kafkaclusters: [{name: a, bootstrap_servers: h:1}]", TWO_CLUSTERS] {
        let first = read(text).config.map(|config| config.to_yaml()).unwrap_or_default();
        let again = read(&first);
        let second = again.config.map(|config| config.to_yaml()).unwrap_or(again.report.to_string());
        assert_eq!(first, second);
    }
}

#[test]
fn aliases_stand_for_what_they_name() {
    let json = resolved(
        "monitors:\n- {type: dead_brokers, grace: &time 7s, max_probe_age: *time}\n\
         kafkaclusters: [{name: a, bootstrap_servers: h:1}]\n",
    );
    assert_eq!(plugin(&json, 0, "monitors", "dead_brokers")["max_probe_age"], "7s");
}

#[test]
fn secrets_are_in_nothing_that_is_printed() {
    let text = "
doctorkafka: {state_dir: '/x/${PASSWORD}'}
actions:
- {type: script, name: s, command: [tell, '--key=${PASSWORD}'], subscribed_events: [alert_mass_failure]}
kafkaclusters: [{name: a, bootstrap_servers: h:1}]
";
    let loaded = read(text);
    let config = loaded.config.map(|config| config.to_yaml()).unwrap_or_default();
    assert!(config.contains("***") && !config.contains("hunter2"), "{config}{}", loaded.report);
    let wrong = "
password: letmein
token:
  letmein
doctorkafka: {guard: {max_moves: '${PASSWORD}'}, secret: letmein, listen: '${PASSWORD}'}
kafkaclusters: [{name: '${PASSWORD}/', bootstrap_servers: 'h:${PASSWORD}', api_key: letmein}]
";
    let report = read(wrong).report;
    assert!(report.errors() >= 6, "{report}");
    let broken = read("password: letmein\nx: [\n").report;
    for shown in [
        report.to_string(),
        report.render(false),
        format!("{:?}", report.lines()),
        broken.render(false),
        format!("{report:?}"),
    ] {
        assert!(!shown.contains("hunter2") && !shown.contains("letmein"), "{shown}");
    }
}

#[test]
fn dollars_can_be_written() {
    let json =
        resolved("doctorkafka: {state_dir: '$${x}$y'}\nkafkaclusters: [{name: a, bootstrap_servers: h:1}]\n");
    assert_eq!(json["doctorkafka"]["state_dir"], "${x}$y");
}

#[test]
fn aliases_cannot_make_a_small_text_large() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    let mut deep = "a0: &a0 [[[[[[[[x]]]]]]]]\n".to_owned();
    for n in 1..40 {
        let m = n - 1;
        bomb += &format!("a{n}: &a{n} [*a{m}, *a{m}, *a{m}, *a{m}, *a{m}]\n");
        deep += &format!("a{n}: &a{n} [[[[[[[[*a{m}]]]]]]]]\n");
    }
    assert!(read(&bomb).report.to_string().contains("aliases make the configuration too large"));
    assert!(read(&deep).report.to_string().contains("aliases make the configuration too deep"));
    assert!(read(&"[".repeat(10_000)).report.errors() > 0);
    assert!(read(&" ".repeat(2 << 20)).report.to_string().contains("larger than"));
}

#[test]
fn the_shortest_way_is_the_same_as_a_file_with_one_cluster() {
    let arguments = Quick {
        bootstrap_servers: "broker-1.example.org:9092,h:2".to_owned(),
        command_config: Some("c.properties".into()),
        execute: true,
        grace: "5s".parse().ok(),
        state_dir: Some("/s".into()),
        listen: None,
    };
    let quick_json = quick::quick_with(&arguments, &plugins::builtin(), &|_, _| Vec::new())
        .config
        .map(|config| config.to_json());
    let file = resolved(
        "doctorkafka: {state_dir: /s}\nkafkaclusters:\n- name: default\n  \
         bootstrap_servers: [broker-1.example.org:9092, h:2]\n  command_config: c.properties\n  \
         monitors: [{name: dead_brokers, grace: 5s}]\n  \
         actions: [{name: reassign_partitions, dry_run: false}, {name: elect_leaders, dry_run: false}]\n",
    );
    assert_eq!(quick_json, Some(file));
}

#[test]
fn the_shortest_way_is_dry_without_execute_and_names_what_is_wrong() {
    let arguments = Quick { bootstrap_servers: "[::1]:9092".to_owned(), ..Quick::default() };
    let json =
        quick(&arguments, &plugins::builtin()).config.map(|config| config.to_json()).unwrap_or_default();
    assert_eq!(json["kafkaclusters"][0]["name"], "default");
    assert_eq!(plugin(&json, 0, "actions", "reassign_partitions")["dry_run"], true);
    let wrong = Quick { bootstrap_servers: "h".to_owned(), ..Quick::default() };
    check_report(
        &quick(&wrong, &plugins::builtin()).report,
        expect![[r#"
            arguments: error: bootstrap server "h": the port is missing (HOST:PORT)
        "#]],
    );
}

#[test]
fn each_file_of_client_settings_is_read_with_the_configuration_and_all_problems_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("bad", "security.protocol=SASL_SSL\nsasl.mechanism=NONSENSE\nssl.truststore.type=JKS\n");
    write("good", "security.protocol=PLAINTEXT\n");
    write(
        "f.yaml",
        "
doctorkafka: {evaluation_interval: soon, guard: {max_executions: many}}
kafkaclusters:
- {name: a, bootstrap_servers: h:1, command_config: DIR/good}
- name: b
  bootstrap_servers: h:2
  command_config: DIR/bad
- {name: c, bootstrap_servers: h:3, command_config: DIR/nowhere}
- {name: d, bootstrap_servers: h:4, command_config: DIR/nowhere, enabled: false}
- name: e
  bootstrap_servers: h:5
  actions:
  - {name: report_operation, bootstrap_servers: h:6, command_config: DIR/bad}
- {name: f, bootstrap_servers: h}
"
        .replace("DIR", dir.path().to_str().unwrap())
        .as_str(),
    );
    let loaded = load(&dir.path().join("f.yaml"), &plugins::builtin());
    assert!(loaded.config.is_none());
    let report = loaded.report.to_string().replace(dir.path().to_str().unwrap(), "DIR");
    expect![[r#"
        DIR/f.yaml:2:36: error: `evaluation_interval`: `soon` is not a duration: write it like 30s, 5m, 1h 30m or 250ms
        DIR/f.yaml:2:66: error: `max_executions`: invalid type: string "many", expected a whole number
        DIR/f.yaml:7:19: error: DIR/bad: line 2: sasl.mechanism is one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER
        DIR/f.yaml:8:53: error: cannot read DIR/nowhere: No such file or directory (os error 2)
        DIR/f.yaml:13:70: error: DIR/bad: line 2: sasl.mechanism is one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER
        DIR/f.yaml:14:32: error: bootstrap server "h": the port is missing (HOST:PORT)
    "#]].assert_eq(&report);

    let arguments = Quick {
        bootstrap_servers: "h:1".to_owned(),
        command_config: Some(dir.path().join("nowhere")),
        ..Quick::default()
    };
    let refused = quick(&arguments, &plugins::builtin());
    assert!(refused.config.is_none() && refused.report.to_string().contains("cannot read"));
}

fn check_report(report: &Report, expected: Expect) {
    expected.assert_eq(&report.to_string());
}

#[test]
fn a_problem_is_shown_with_its_line_and_a_mark() {
    let text = "kafkaclusters:\n- name: a\n  bootstrap_servers: h:1\n  monitors:\n  - {name: dead_brokers, grace: soon}\n";
    // The first line keeps the indentation of the others in place.
    expect![[r#"
        report
          × `grace`: `soon` is not a duration: write it like 30s, 5m, 1h 30m or 250ms
           ╭─[f.yaml:5:33]
         4 │   monitors:
         5 │   - {name: dead_brokers, grace: soon}
           ·                                 ──┬─
           ·                                   ╰── here
           ╰────

    "#]]
    .assert_eq(&format!("report\n{}", read(text).report.render(false)));
}

/// Texts that are nearly configurations: lines of a right one, mixed and cut.
fn nearly() -> impl Strategy<Value = String> {
    let lines: Vec<String> = TWO_CLUSTERS.lines().map(str::to_owned).collect();
    proptest::collection::vec((0..lines.len(), 0..80_usize, ".{0,3}"), 0..25).prop_map(move |picks| {
        picks
            .into_iter()
            .map(|(line, cut, more)| lines[line].chars().take(cut).collect::<String>() + &more + "\n")
            .collect()
    })
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        let report = read(&text).report;
        let _ = report.render(false);
    }

    #[test]
    fn nothing_like_a_configuration_makes_it_panic_and_every_place_lies_in_the_text(text in nearly()) {
        let loaded = read(&text);
        let _ = loaded.report.render(true);
        let lines = text.lines().count() + 1;
        for line in loaded.report.lines() {
            prop_assert!(line.line.is_none_or(|line| line <= lines));
        }
        prop_assert_eq!(loaded.config.is_some(), loaded.report.errors() == 0);
    }
}

#[test]
fn a_cluster_under_two_names_is_warned_of() {
    let text = "\
kafkaclusters:
- {name: a, bootstrap_servers: 'h:1, i:1'}
- {name: b, bootstrap_servers: 'i:1,h:1'}
- {name: c, bootstrap_servers: 'i:1,h:1', enabled: false}
- {name: d, bootstrap_servers: 'i:1'}
";
    let loaded = parse("f", text, &plugins::builtin(), &|_| None);
    expect![[r#"
        f:3:13: warning: `a` and `b` have the same bootstrap servers: one cluster would be looked after twice
    "#]]
    .assert_eq(&loaded.report.to_string());
}

#[test]
fn a_file_without_an_end_is_too_large() {
    let loaded = load(std::path::Path::new("/dev/zero"), &plugins::builtin());
    assert!(
        loaded.config.is_none() && loaded.report.to_string().contains("larger than"),
        "{}",
        loaded.report
    );
}

#[test]
fn a_program_that_cannot_be_started_here_is_a_warning_as_the_service_may_be_meant_for_another_host() {
    let text = r#"operators: [{type: broker_replacement}]
actions:
- type: script_instance_replacement
  subscribed_events: [replace_instance]
  command: [/no/such/program, --now]
  restart: [sh, restart.sh]
- {type: script, name: tell, command: [tell], subscribed_events: [notify_replacement, elect_leaders, alert_replacement_held]}
kafkaclusters: [{name: a, bootstrap_servers: "h:1"}]
"#;
    let loaded = super::read("f", text, &plugins::builtin(), &|_| None, &client_settings::problems);
    expect![[r#"
        f:5:13: warning: on this host it cannot be started: /no/such/program cannot be found: No such file or directory (os error 2)
    "#]]
    .assert_eq(&loaded.report.to_string());
    assert!(loaded.config.is_some());
}
