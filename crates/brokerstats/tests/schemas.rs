//! The schema files, the types and another Avro implementation agree.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic, in its helpers too")]

use apache_avro::types::Value as Avro;
use apache_avro::{Schema, from_avro_datum, to_avro_datum};
use brokerstats::{BrokerStats, Codec, OperatorAction, ReplicaStat, TopicPartition, schemas};
use serde_json::Value as Json;

fn fields(schema: &str) -> Vec<Json> {
    let schema: Json = serde_json::from_str(schema).unwrap();
    schema["fields"].as_array().unwrap().clone()
}

fn names(schema: &str) -> Vec<String> {
    fields(schema).iter().map(|field| field["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn ours_is_the_original_with_fields_appended() {
    let stats =
        [schemas::BROKER_STATS_ORIGINAL, schemas::BROKER_STATS_APPENDED, schemas::BROKER_STATS_APPENDED_2];
    assert_eq!(fields(schemas::BROKER_STATS), stats.map(fields).concat());
    let action = [schemas::OPERATOR_ACTION_ORIGINAL, schemas::OPERATOR_ACTION_APPENDED];
    assert_eq!(fields(schemas::OPERATOR_ACTION), action.map(fields).concat());
}

/// Names in the order in which the type's own Serialize gives them.
fn written_names(value: impl serde::Serialize) -> Vec<String> {
    let text = serde_json::to_string(&value).unwrap();
    let sorted: serde_json::Map<String, Json> = serde_json::from_str(&text).unwrap();
    let mut names: Vec<(usize, String)> =
        sorted.keys().map(|key| (text.find(&format!("\"{key}\":")).unwrap(), key.clone())).collect();
    names.sort();
    names.into_iter().map(|(_, name)| name).collect()
}

#[test]
fn the_types_have_the_fields_of_the_schemas_in_their_order() {
    assert_eq!(written_names(BrokerStats::default()), names(schemas::BROKER_STATS));
    assert_eq!(written_names(OperatorAction::default()), names(schemas::OPERATOR_ACTION));
}

#[test]
fn the_defaults_are_the_schemas() {
    let defaults = serde_json::to_value(BrokerStats::default()).unwrap();
    for field in fields(schemas::BROKER_STATS) {
        let mut of_type = defaults[field["name"].as_str().unwrap()].clone();
        // An absent list is an empty one in the type.
        let is_empty = of_type.as_array().is_some_and(Vec::is_empty)
            || of_type.as_object().is_some_and(serde_json::Map::is_empty);
        if is_empty && field["default"].is_null() {
            of_type = Json::Null;
        }
        assert_eq!(of_type, field["default"], "{}", field["name"]);
    }
}

fn sample() -> BrokerStats {
    let mut stats = BrokerStats::new(1_795_000_000_000, 7);
    stats.name = Some("host".to_owned());
    stats.topics_bytes_in_1_min_rate.insert("t".to_owned(), -3);
    stats.leader_replica_stats.push(ReplicaStat {
        topic: "t".to_owned(),
        partition: 3,
        cpu_usage: 12.5,
        log_size_in_bytes: i64::MAX,
        ..ReplicaStat::default()
    });
    stats.follower_replicas.push(TopicPartition { topic: "u".to_owned(), partition: 300 });
    stats.log_dirs.push("/d".to_owned());
    stats
}

#[test]
fn another_implementation_reads_ours_with_either_schema() {
    let bytes = Codec::new().unwrap().encode_stats(&sample()).unwrap();
    for schema in [schemas::BROKER_STATS, schemas::BROKER_STATS_ORIGINAL] {
        let schema = Schema::parse_str(schema).unwrap();
        let value = from_avro_datum(&schema, &mut bytes.as_slice(), None).unwrap();
        let read: BrokerStats = apache_avro::from_value(&value).unwrap();
        assert_eq!(read.leader_replica_stats, sample().leader_replica_stats);
        assert_eq!(read.follower_replicas, sample().follower_replicas);
        assert_eq!(read.topics_bytes_in_1_min_rate, sample().topics_bytes_in_1_min_rate);
        assert_eq!((read.timestamp, read.id, read.name), (1_795_000_000_000, 7, sample().name));
    }
}

/// The schema of version 1: ours without what version 2 has behind it.
fn version_1() -> Schema {
    let mut schema: Json = serde_json::from_str(schemas::BROKER_STATS).unwrap();
    let count = fields(schemas::BROKER_STATS_ORIGINAL).len() + fields(schemas::BROKER_STATS_APPENDED).len();
    schema["fields"].as_array_mut().unwrap().truncate(count);
    Schema::parse(&schema).unwrap()
}

#[test]
fn agents_and_services_of_version_1_and_2_understand_each_other() {
    let codec = Codec::new().unwrap();
    let mut ours = sample();
    (ours.broker_state, ours.host_cpu_percent, ours.log_dir_busy_percent) = (3, 12.5, vec![50.0]);
    // A service of version 1 reads what it knows.
    let bytes = codec.encode_stats(&ours).unwrap();
    let value = from_avro_datum(&version_1(), &mut bytes.as_slice(), None).unwrap();
    let read: BrokerStats = apache_avro::from_value(&value).unwrap();
    assert_eq!((read.schema_version, &read.log_dirs), (2, &ours.log_dirs));
    assert_eq!((read.broker_state, read.host_cpu_percent), (-1, -1.0));
    // What an agent of version 1 writes lacks nothing but what is new.
    let Avro::Record(mut record) = value else { panic!("no record") };
    for (name, value) in &mut record {
        if name == "schemaVersion" {
            *value = Avro::Int(1);
        }
    }
    let bytes = to_avro_datum(&version_1(), Avro::Record(record)).unwrap();
    let old = BrokerStats {
        schema_version: 1,
        broker_state: -1,
        host_cpu_percent: -1.0,
        log_dir_busy_percent: vec![],
        ..ours
    };
    assert_eq!(codec.decode_stats(&bytes).unwrap(), old);
    // Whatever a writer of version 1 has behind its fields, it is not ours.
    let longer = [bytes, vec![7; 200]].concat();
    assert_eq!(codec.decode_stats(&longer).unwrap(), old);
}

#[test]
fn reads_what_another_implementation_writes_with_the_original_schema() {
    let schema = Schema::parse_str(schemas::OPERATOR_ACTION_ORIGINAL).unwrap();
    let record = Avro::Record(vec![
        ("timestamp".to_owned(), Avro::Long(-5)),
        ("clusterName".to_owned(), Avro::String("main".to_owned())),
        ("description".to_owned(), Avro::String("broker replacement : b3".to_owned())),
    ]);
    let bytes = to_avro_datum(&schema, record).unwrap();
    let action = Codec::new().unwrap().decode_action(&bytes).unwrap();
    assert_eq!((action.timestamp, action.schema_version), (-5, 0));
    let line = serde_json::to_value(action.line()).unwrap();
    assert_eq!((&line["cluster"], &line["operation"]), (&"main".into(), &"broker replacement : b3".into()));
}

#[test]
fn prints_what_scripts_rely_on() {
    let mut action = OperatorAction::new(12, "main", "moved t-0");
    action.operation = "reassign_partitions".to_owned();
    action.target = "broker 3".to_owned();
    action.reason = "follower dead".to_owned();
    action.result = "done".to_owned();
    action.detail = r#"{"moves":60}"#.to_owned();
    let line = serde_json::to_string(&action.line()).unwrap();
    expect_test::expect![[r#"{"timestamp":12,"cluster":"main","operation":"reassign_partitions","target":"broker 3","reason":"follower dead","result":"done","dryRun":false,"kind":"","principal":"","id":"","cause":"","clusterId":"","description":"moved t-0","detail":{"moves":60}}"#]]
        .assert_eq(&line);
}

#[test]
fn the_report_carries_bytes_in_beside_each_leader() {
    let mut stats = sample();
    stats.leader_bytes_in.push(5);
    stats.leader_bytes_in_quality.push(brokerstats::Quality::Exact);
    stats.leader_log_dir.push(0);
    let report = stats.to_report().unwrap();
    let row = &report["leaderReplicaStats"][0];
    assert_eq!((&row["bytesIn"], &row["bytesInQuality"]), (&5.into(), &"exact".into()));
    assert_eq!((&row["messagesIn"], &row["logDir"]), (&Json::Null, &"/d".into()));
}

#[test]
fn every_appended_field_is_documented_with_its_version() {
    let text = include_str!("../../../docs/schema.md");
    let (_, text) = text.split_once("\n## Records on the stats topic\n").unwrap();
    let (text, _) = text.split_once("\n## ").unwrap();
    let documented = |version: &str| -> Vec<String> {
        let rows =
            text.lines().filter(|line| line.split('|').nth(2).is_some_and(|cell| cell.trim() == version));
        let firsts = rows.filter_map(|line| line.split('|').nth(1));
        let names = firsts.flat_map(|cell| cell.split('`').skip(1).step_by(2));
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort();
        names
    };
    for (version, schema) in [("1", schemas::BROKER_STATS_APPENDED), ("2", schemas::BROKER_STATS_APPENDED_2)]
    {
        let mut defined = names(schema);
        defined.sort();
        assert_eq!(documented(version), defined, "version {version}");
    }
}
