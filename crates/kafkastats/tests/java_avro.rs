//! Java reads our reports by the original's schema, and we read what Java writes by it: with Apache Avro's own jar, as the
//! original's agent and service have it.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic, in its helpers too")]

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use brokerstats::{
    BrokerError, BrokerStats, NOT_KNOWN, Quality, ReplicaStat, StatsWriter, TopicPartition, schemas,
};
use serde_json::Value;

/// Runs the program of the original's side; tells what it prints.
fn java(directory: &Path, arguments: &[&str]) -> Result<String> {
    let schema = directory.join("BrokerStats.avsc");
    fs::write(&schema, schemas::BROKER_STATS_ORIGINAL)?;
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java/OriginalAvro.java");
    let output = Command::new(lab::java_tool("java"))
        .args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8"])
        .args(["-cp", &lab::avro_class_path()?])
        .arg(program)
        .arg(&schema)
        .args(arguments)
        .current_dir(directory)
        .output()
        .context("running java: is a JDK 17 or later installed?")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// A report with something in each of its parts.
fn ours() -> BrokerStats {
    let mut stats = BrokerStats::new(1_795_000_000_000, 7);
    stats.name = Some("b7.example".to_owned());
    stats.zk_url = Some("zk:2181".to_owned());
    stats.stats_version = Some("0.1.0".to_owned());
    stats.failure_reason = Some(BrokerError::JmxQueryFailure);
    stats.rack_id = Some("r\u{e4}ck".to_owned());
    stats.cpu_usage = 12.5;
    stats.free_disk_space_in_bytes = i64::MAX;
    stats.leaders_bytes_out_1_min_rate = NOT_KNOWN;
    (stats.num_replicas, stats.num_leaders) = (3, 2);
    stats.topics_bytes_in_1_min_rate.insert("orders".to_owned(), 123_456_789);
    stats.topics_bytes_in_1_min_rate.insert("a.b".to_owned(), 0);
    for partition in [0, 300] {
        stats.leader_replica_stats.push(ReplicaStat {
            timestamp: 1_795_000_000_000,
            topic: "orders".to_owned(),
            partition,
            is_leader: true,
            bytes_in_1_min_mean_rate: 77,
            bytes_out_15_min_mean_rate: NOT_KNOWN,
            end_offset: 1 << 40,
            log_size_in_bytes: 1 << 50,
            ..ReplicaStat::default()
        });
        stats.leader_replicas.push(TopicPartition { topic: "orders".to_owned(), partition });
    }
    stats.follower_replicas.push(TopicPartition { topic: "a.b".to_owned(), partition: 1 });
    // What is appended, and what the original does not know.
    stats.cluster_id = Some("c".to_owned());
    stats.leader_bytes_in = vec![1, 2];
    stats.leader_bytes_in_quality = vec![Quality::Exact, Quality::Estimated];
    stats.jvm_source = Some("jmx-local".to_owned());
    stats.log_dirs = vec!["/data".to_owned()];
    stats
}

/// The fields of the original alone, with the rest as a reader of its records has it.
fn of_the_original(stats: &BrokerStats) -> Result<Value> {
    let schema: Value = serde_json::from_str(schemas::BROKER_STATS_ORIGINAL)?;
    let names =
        schema["fields"].as_array().context("fields")?.iter().filter_map(|field| field["name"].as_str());
    let all = serde_json::to_value(stats)?;
    Ok(names.map(|name| (name.to_owned(), all[name].clone())).collect::<serde_json::Map<_, _>>().into())
}

#[test]
fn java_reads_our_reports_by_the_schema_of_the_original() -> Result<()> {
    let directory = tempfile::tempdir()?;
    fs::write(directory.path().join("ours.avro"), StatsWriter::new()?.encode(&ours())?)?;
    let printed: Value =
        serde_json::from_str(&java(directory.path(), &["read", "ours.avro", "again.avro"])?)?;
    assert_eq!(printed, of_the_original(&ours())?);
    // What Java has read and writes once more is the front of what we wrote, and is read as the original's.
    let (wrote, again) =
        (StatsWriter::new()?.encode(&ours())?, fs::read(directory.path().join("again.avro"))?);
    assert!(again.len() < wrote.len());
    let read = brokerstats::Codec::new()?.decode_stats(&again)?;
    assert_eq!(of_the_original(&read)?, of_the_original(&ours())?);
    assert_eq!((read.schema_version, read.cluster_id), (0, None));
    Ok(())
}

#[test]
fn we_read_what_java_writes_by_the_schema_of_the_original() -> Result<()> {
    let directory = tempfile::tempdir()?;
    java(directory.path(), &["write", "theirs.avro"])?;
    let bytes = fs::read(directory.path().join("theirs.avro"))?;
    let read = brokerstats::Codec::new()?.decode_stats(&bytes)?;
    assert_eq!((read.timestamp, read.id, read.name.as_deref()), (1_500_000_000_000, 42, Some("b42")));
    assert_eq!((read.zk_url.as_deref(), read.has_failure), (Some("zk:2181/kafka"), false));
    assert_eq!(read.failure_reason, Some(BrokerError::KafkaServerPropertiesFailure));
    assert_eq!((read.cpu_usage, read.leaders_bytes_in_1_min_rate), (12.25, i64::MAX));
    assert_eq!((read.free_disk_space_in_bytes, read.num_replicas), (NOT_KNOWN, 0), "defaults");
    assert_eq!(read.topics_bytes_out_15_min_rate.get("orders"), Some(&7));
    let led = &read.leader_replica_stats[0];
    assert_eq!((led.timestamp, led.topic.as_str(), led.partition), (1_000, "orders", 102));
    assert_eq!(
        (led.is_leader, led.bytes_in_1_min_mean_rate, led.bytes_out_1_min_mean_rate),
        (true, 1_006, 1_009)
    );
    assert_eq!((led.start_offset, led.end_offset, led.cpu_usage), (1_012, 1_013, 0.5));
    assert_eq!((led.log_size_in_bytes, led.num_log_segments), (1_015, 116));
    let followed = TopicPartition { topic: "\u{e4}rger".to_owned(), partition: -1 };
    assert_eq!((read.follower_replicas, read.leader_replicas), (vec![followed], vec![]));
    assert_eq!((read.schema_version, read.cluster_id), (0, None), "nothing is appended");
    Ok(())
}
