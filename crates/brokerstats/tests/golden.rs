//! The bytes themselves, written down by hand from the Avro specification: ints and longs are zigzag varints,
//! strings have their length in front, a double is eight bytes little-endian, a union is the branch's index and then its
//! value, lists and maps come in blocks of a count and that many elements, ended by a block of 0.

use std::collections::BTreeMap;

use brokerstats::{
    BrokerError, BrokerStats, Codec, OperatorAction, Quality, ReplicaStat, SCHEMA_VERSION, TopicPartition,
};

/// Up to and with `numLeaders`.
const FRONT_SCALARS: &str = "
    02                       # timestamp 1
    0a                       # id 5
    02 04 6235               # name b5
    00 00                    # zkUrl, kafkaVersion: null
    02 02 31                 # statsVersion 1
    00                       # hasFailure false
    00                       # failureReason null
    00 00 00 00 00           # availabilityZone, instanceType, amiId, rackId, logFilesPath: null
    000000000000e03f         # cpuUsage 0.5
    d804 01                  # free 300, total -1
    8001 00 02 00 04 00      # leaders' bytes in and out: 64 0, 1 0, 2 0
    01 01                    # the host's: -1 -1
    04 02                    # 2 replicas, 1 leader
";

/// One ReplicaStat.
const REPLICA_STAT: &str = "
    02                       # timestamp 1
    02 74 00                 # topic t, partition 0
    01 00 01                 # leader, not in reassignment, under-replicated
    8001 00 00               # bytes in 64 0 0
    00 00 00                 # bytes out
    06 14                    # offsets 3 to 10
    0000000000000000         # cpuUsage
    8010 02                  # 1024 bytes in 1 segment
";

const APPENDED: &str = "
    02 02 63                 # clusterId c
    00                       # failureDetail null
    d00f 00                  # 1000 ms, nothing dropped
    02 8001 00               # leaderBytesIn [64]
    02 04 00                 # leaderBytesInQuality [exact]
    02 00 00                 # leaderBytesOutQuality [unknown]
    02 0e 00                 # leaderMessagesIn [7]
    02 00 00                 # leaderLogDir [0]
    02 01 00                 # followerLogSizeInBytes [-1]
    02 01 00                 # followerLogDir [-1]
    02 04 2f64 00            # logDirs [/d]
    02 d804 00               # logDirTotalBytes [300]
    02 d804 00               # logDirUsableBytes [300]
    02 00 00                 # logDirErrors [0]
";

const APPENDED_2: &str = "
    02 04 6a78               # jvmSource jx
    06 00                    # brokerState 3, no logsToRecover
    0000000000005640         # requestHandlerIdlePercent 88
    000000000000f0bf         # networkProcessorIdlePercent -1
    08 02                    # requestQueueSize 4, underReplicatedPartitions 1
    000000000000e03f         # processCpuPercent 0.5
    0000000000002940         # hostCpuPercent 12.5
    000000000000f83f         # cpuLimit 1.5
    8010 01 8010             # processMemoryBytes 1024, hostMemoryTotalBytes -1, hostMemoryAvailableBytes 1024
    02 d804 00               # logDirReadBytesPerSec [300]
    02 01 00                 # logDirWriteBytesPerSec [-1]
    02 0000000000004940 00   # logDirBusyPercent [50]
";

fn hex(parts: &[&str]) -> Vec<u8> {
    let digits: String = parts
        .iter()
        .flat_map(|part| part.lines())
        .flat_map(|line| line.split('#').next().unwrap_or_default().chars())
        .filter(|c| !c.is_whitespace())
        .collect();
    let digits: Vec<u32> = digits.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).filter_map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect()
}

fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.to_owned(), partition }
}

/// What both records say in the original's fields.
fn original() -> BrokerStats {
    BrokerStats {
        timestamp: 1,
        id: 5,
        name: Some("b5".to_owned()),
        stats_version: Some("1".to_owned()),
        has_failure: false,
        cpu_usage: 0.5,
        free_disk_space_in_bytes: 300,
        leaders_bytes_in_1_min_rate: 64,
        leaders_bytes_in_5_min_rate: 1,
        leaders_bytes_in_15_min_rate: 2,
        num_replicas: 2,
        num_leaders: 1,
        topics_bytes_in_1_min_rate: BTreeMap::from([("t".to_owned(), 64)]),
        leader_replica_stats: vec![ReplicaStat {
            timestamp: 1,
            topic: "t".to_owned(),
            is_leader: true,
            under_replicated: true,
            bytes_in_1_min_mean_rate: 64,
            start_offset: 3,
            end_offset: 10,
            log_size_in_bytes: 1024,
            num_log_segments: 1,
            ..ReplicaStat::default()
        }],
        leader_replicas: vec![tp("t", 0)],
        follower_replicas: vec![tp("t", 1)],
        ..BrokerStats::default()
    }
}

fn ours() -> BrokerStats {
    BrokerStats {
        schema_version: SCHEMA_VERSION,
        cluster_id: Some("c".to_owned()),
        interval_ms: 1000,
        leader_bytes_in: vec![64],
        leader_bytes_in_quality: vec![Quality::Exact],
        leader_bytes_out_quality: vec![Quality::Unknown],
        leader_messages_in: vec![7],
        leader_log_dir: vec![0],
        follower_log_size_in_bytes: vec![-1],
        follower_log_dir: vec![-1],
        log_dirs: vec!["/d".to_owned()],
        log_dir_total_bytes: vec![300],
        log_dir_usable_bytes: vec![300],
        log_dir_errors: vec![0],
        jvm_source: Some("jx".to_owned()),
        broker_state: 3,
        logs_to_recover: 0,
        request_handler_idle_percent: 88.0,
        request_queue_size: 4,
        under_replicated_partitions: 1,
        process_cpu_percent: 0.5,
        host_cpu_percent: 12.5,
        cpu_limit: 1.5,
        process_memory_bytes: 1024,
        host_memory_available_bytes: 1024,
        log_dir_read_bytes_per_sec: vec![300],
        log_dir_write_bytes_per_sec: vec![-1],
        log_dir_busy_percent: vec![50.0],
        ..original()
    }
}

/// The same report by an agent of version 1.
fn ours_1() -> BrokerStats {
    let known = BrokerStats::default();
    BrokerStats {
        schema_version: 1,
        jvm_source: None,
        broker_state: known.broker_state,
        logs_to_recover: known.logs_to_recover,
        request_handler_idle_percent: known.request_handler_idle_percent,
        request_queue_size: known.request_queue_size,
        under_replicated_partitions: known.under_replicated_partitions,
        process_cpu_percent: known.process_cpu_percent,
        host_cpu_percent: known.host_cpu_percent,
        cpu_limit: known.cpu_limit,
        process_memory_bytes: known.process_memory_bytes,
        host_memory_available_bytes: known.host_memory_available_bytes,
        log_dir_read_bytes_per_sec: vec![],
        log_dir_write_bytes_per_sec: vec![],
        log_dir_busy_percent: vec![],
        ..ours()
    }
}

/// The bytes of the report with this version and these appended fields.
fn report(version: &str, appended: &[&str]) -> Vec<u8> {
    let front = [
        FRONT_SCALARS,
        "02 02 02 74 8001 00     # in over 1 min: {t: 64}
         0200 0200 0200 0200 0200 # the other five maps: empty
         02 02                   # leaderReplicaStats: one",
        REPLICA_STAT,
        "00
         02 02 0274 00 00        # leaderReplicas [t-0]
         02 02 0274 02 00        # followerReplicas [t-1]
         02 00                   # inReassignmentReplicas []",
        version,
    ];
    hex(&[&front[..], appended].concat())
}

#[test]
fn our_bytes_are_pinned_both_ways() {
    let bytes = report("04       # schemaVersion 2", &[APPENDED, APPENDED_2]);
    let codec = Codec::new().unwrap();
    assert_eq!(codec.encode_stats(&ours()).unwrap(), bytes);
    assert_eq!(codec.decode_stats(&bytes).unwrap(), ours());
}

#[test]
fn bytes_of_version_1_are_read() {
    let bytes = report("02       # schemaVersion 1", &[APPENDED]);
    assert_eq!(Codec::new().unwrap().decode_stats(&bytes).unwrap(), ours_1());
}

#[test]
fn reads_a_record_of_the_original() {
    // Java leaves what it does not know null, and may write a block with its size in bytes after a negative count.
    let bytes = hex(&[
        FRONT_SCALARS,
        "02 02 02 74 8001 00     # in over 1 min: {t: 64}
         00 00 0200 00 00        # the other five: null, one of them an empty map
         02 02",
        REPLICA_STAT,
        "00
         02 02 0274 00 00        # leaderReplicas [t-0]
         02 01 06 0274 02 00     # followerReplicas [t-1], count -1, 3 bytes
         00                      # inReassignmentReplicas null",
    ]);
    let stats = Codec::new().unwrap().decode_stats(&bytes).unwrap();
    assert_eq!(stats, original());
    assert_eq!(stats.schema_version, 0);
    assert_eq!(stats.leaders().next().unwrap().bytes_in, None);
}

#[test]
fn reads_a_failure_report_of_the_original() {
    let bytes = hex(&["
        02 01                    # timestamp 1, id -1
        02 04 6235 00 00 00      # name b5, then null
        01 02 06                 # hasFailure, KafkaServerProperitiesFailure
        00 00 00 00 00           # the host: null
        0000000000000000 01 01   # cpu, disks
        00 00 00 00 00 00 01 01  # rates
        00 00                    # counts
        00 00 00 00 00 00        # maps: null
        00 00 00 00              # lists: null
    "]);
    let stats = Codec::new().unwrap().decode_stats(&bytes).unwrap();
    let expected = BrokerStats {
        timestamp: 1,
        name: Some("b5".to_owned()),
        failure_reason: Some(BrokerError::KafkaServerPropertiesFailure),
        ..BrokerStats::default()
    };
    assert_eq!(stats, expected);
    assert!(stats.has_failure);
}

#[test]
fn an_action_is_pinned_both_ways() {
    let original = "02 0263 0264          # timestamp 1, clusterName c, description d";
    let appended = "
        02                       # schemaVersion 1
        026b 0269                # clusterId k, id i
        0261 026f 0274 0272 0273 0270 # kind a, operation o, target t, reason r, result s, principal p
        00                       # cause: nothing
        01                       # dryRun
        00                       # detail: nothing
    ";
    let front = OperatorAction {
        timestamp: 1,
        cluster_name: "c".to_owned(),
        description: "d".to_owned(),
        ..OperatorAction::default()
    };
    let whole = OperatorAction {
        schema_version: 1,
        cluster_id: "k".to_owned(),
        id: "i".to_owned(),
        kind: "a".to_owned(),
        operation: "o".to_owned(),
        target: "t".to_owned(),
        reason: "r".to_owned(),
        result: "s".to_owned(),
        principal: "p".to_owned(),
        dry_run: true,
        ..front.clone()
    };
    let codec = Codec::new().unwrap();
    assert_eq!(codec.decode_action(&hex(&[original])).unwrap(), front);
    assert_eq!(codec.decode_action(&hex(&[original, appended])).unwrap(), whole);
    assert_eq!(codec.encode_action(&whole).unwrap(), hex(&[original, appended]));
}
