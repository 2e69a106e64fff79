//! What holds for every record and for every run of bytes.

use brokerstats::{
    ACTION_SCHEMA_VERSION, BrokerError, BrokerStats, Codec, OperatorAction, Quality, ReplicaStat,
    SCHEMA_VERSION, TopicPartition,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

fn tp() -> impl Strategy<Value = TopicPartition> {
    ("[a-z.]{0,12}", any::<i32>()).prop_map(|(topic, partition)| TopicPartition { topic, partition })
}

fn replica() -> impl Strategy<Value = ReplicaStat> {
    (tp(), any::<(bool, bool, bool)>(), any::<[i64; 10]>(), any::<i32>(), -1e9..1e9_f64).prop_map(
        |(of, flags, n, segments, cpu)| ReplicaStat {
            timestamp: n[0],
            topic: of.topic,
            partition: of.partition,
            is_leader: flags.0,
            in_reassignment: flags.1,
            under_replicated: flags.2,
            bytes_in_1_min_mean_rate: n[1],
            bytes_in_5_min_mean_rate: n[2],
            bytes_in_15_min_mean_rate: n[3],
            bytes_out_1_min_mean_rate: n[4],
            bytes_out_5_min_mean_rate: n[5],
            bytes_out_15_min_mean_rate: n[6],
            start_offset: n[7],
            end_offset: n[8],
            cpu_usage: cpu,
            log_size_in_bytes: n[9],
            num_log_segments: segments,
        },
    )
}

fn quality() -> impl Strategy<Value = Quality> {
    prop_oneof![Just(Quality::Unknown), Just(Quality::Estimated), Just(Quality::Exact)]
}

fn error() -> impl Strategy<Value = BrokerError> {
    prop_oneof![
        Just(BrokerError::DiskFailure),
        Just(BrokerError::JmxConnectionFailure),
        Just(BrokerError::JmxQueryFailure),
        Just(BrokerError::KafkaServerPropertiesFailure),
        Just(BrokerError::MissingKafkaProcess),
        Just(BrokerError::MultipleKafkaProcesses),
        Just(BrokerError::UnknownError),
    ]
}

/// What version 2 has more, of these numbers.
fn version_2(n: &[i64; 13], i: &[i32; 3], cpu: f64, longs: Vec<i64>) -> BrokerStats {
    BrokerStats {
        broker_state: i[0],
        logs_to_recover: n[0],
        request_handler_idle_percent: cpu,
        network_processor_idle_percent: cpu / 2.0,
        request_queue_size: n[1],
        under_replicated_partitions: i[1],
        process_cpu_percent: cpu / 4.0,
        host_cpu_percent: -cpu,
        cpu_limit: cpu,
        process_memory_bytes: n[2],
        host_memory_total_bytes: n[3],
        host_memory_available_bytes: n[4],
        log_dir_read_bytes_per_sec: longs.clone(),
        log_dir_busy_percent: longs.iter().map(|_| cpu).collect(),
        log_dir_write_bytes_per_sec: longs,
        ..BrokerStats::default()
    }
}

fn stats() -> impl Strategy<Value = BrokerStats> {
    let words = vec(proptest::option::of(".{0,8}"), 11);
    let maps = vec(btree_map("[a-z]{0,6}", any::<i64>(), 0..3), 6);
    let lists = (vec(replica(), 0..4), vec(tp(), 0..4), vec(tp(), 0..4), vec(tp(), 0..4));
    let numbers = (any::<[i64; 13]>(), any::<[i32; 3]>(), -1e9..1e9_f64, any::<bool>());
    let parallel =
        (vec(any::<i64>(), 0..4), vec(quality(), 0..4), vec(any::<i32>(), 0..4), vec(".{0,8}", 0..3));
    (words, maps, lists, numbers, parallel, proptest::option::of(error())).prop_map(
        |(mut w, mut m, lists, (n, i, cpu, has_failure), (longs, qualities, ints, dirs), reason)| {
            let mut word = || w.pop().flatten();
            let mut map = || m.pop().unwrap_or_default();
            BrokerStats {
                timestamp: n[0],
                id: i[0],
                name: word(),
                zk_url: word(),
                kafka_version: word(),
                stats_version: word(),
                has_failure,
                failure_reason: reason,
                availability_zone: word(),
                instance_type: word(),
                ami_id: word(),
                rack_id: word(),
                log_files_path: word(),
                cpu_usage: cpu,
                free_disk_space_in_bytes: n[1],
                total_disk_space_in_bytes: n[2],
                leaders_bytes_in_1_min_rate: n[3],
                leaders_bytes_out_1_min_rate: n[4],
                leaders_bytes_in_5_min_rate: n[5],
                leaders_bytes_out_5_min_rate: n[6],
                leaders_bytes_in_15_min_rate: n[7],
                leaders_bytes_out_15_min_rate: n[8],
                sys_bytes_in_1_min_rate: n[9],
                sys_bytes_out_1_min_rate: n[10],
                num_replicas: i[1],
                num_leaders: i[2],
                topics_bytes_in_1_min_rate: map(),
                topics_bytes_out_1_min_rate: map(),
                topics_bytes_in_5_min_rate: map(),
                topics_bytes_out_5_min_rate: map(),
                topics_bytes_in_15_min_rate: map(),
                topics_bytes_out_15_min_rate: map(),
                leader_replica_stats: lists.0,
                leader_replicas: lists.1,
                follower_replicas: lists.2,
                in_reassignment_replicas: lists.3,
                schema_version: SCHEMA_VERSION,
                cluster_id: word(),
                failure_detail: None,
                interval_ms: n[11],
                reports_dropped: n[12],
                leader_bytes_in: longs.clone(),
                leader_bytes_in_quality: qualities.clone(),
                leader_bytes_out_quality: qualities,
                leader_messages_in: longs.clone(),
                leader_log_dir: ints.clone(),
                follower_log_size_in_bytes: longs.clone(),
                follower_log_dir: ints.clone(),
                log_dirs: dirs,
                log_dir_total_bytes: longs.clone(),
                log_dir_usable_bytes: longs.clone(),
                log_dir_errors: ints,
                jvm_source: word(),
                ..version_2(&n, &i, cpu, longs)
            }
        },
    )
}

fn action() -> impl Strategy<Value = OperatorAction> {
    (any::<i64>(), vec(".{0,12}", 12), any::<bool>()).prop_map(|(timestamp, mut w, dry_run)| {
        let mut word = || w.pop().unwrap_or_default();
        OperatorAction {
            timestamp,
            cluster_name: word(),
            description: word(),
            schema_version: ACTION_SCHEMA_VERSION,
            cluster_id: word(),
            id: word(),
            kind: word(),
            operation: word(),
            target: word(),
            reason: word(),
            result: word(),
            principal: word(),
            cause: word(),
            dry_run,
            detail: word(),
        }
    })
}

/// serde_json's default float parser may be off by one unit in the last place.
fn without_floats(stats: BrokerStats) -> BrokerStats {
    BrokerStats {
        cpu_usage: 0.0,
        leader_replica_stats: vec![],
        request_handler_idle_percent: 0.0,
        network_processor_idle_percent: 0.0,
        process_cpu_percent: 0.0,
        host_cpu_percent: 0.0,
        cpu_limit: 0.0,
        log_dir_busy_percent: vec![],
        ..stats
    }
}

/// Every reader of a record must come through these: they touch all indexing that the types do.
fn look_at(stats: &BrokerStats) {
    let _ = stats.leaders().count() + stats.followers().count() + stats.log_dirs().count();
    assert!(stats.to_report().is_ok());
}

proptest! {
    #[test]
    fn what_is_written_is_read(stats in stats(), action in action()) {
        let codec = Codec::new().unwrap();
        prop_assert_eq!(codec.decode_stats(&codec.encode_stats(&stats).unwrap()).unwrap(), stats);
        prop_assert_eq!(codec.decode_action(&codec.encode_action(&action).unwrap()).unwrap(), action);
    }

    #[test]
    fn what_is_written_as_json_is_read(stats in stats(), action in action()) {
        let back: BrokerStats = serde_json::from_str(&serde_json::to_string(&stats).unwrap()).unwrap();
        prop_assert_eq!(without_floats(back), without_floats(stats));
        let back: OperatorAction = serde_json::from_str(&serde_json::to_string(&action).unwrap()).unwrap();
        prop_assert_eq!(back, action);
    }

    #[test]
    fn never_panics_on_any_bytes(bytes in vec(any::<u8>(), 0..400)) {
        let codec = Codec::new().unwrap();
        if let Ok(stats) = codec.decode_stats(&bytes) {
            look_at(&stats);
        }
        let _ = codec.decode_action(&bytes).map(|action| serde_json::to_string(&action.line()).unwrap());
    }

    #[test]
    fn never_panics_on_a_damaged_record(
        stats in stats(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let codec = Codec::new().unwrap();
        let mut bytes = codec.encode_stats(&stats).unwrap();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(stats) = codec.decode_stats(&bytes) {
            look_at(&stats);
        }
    }

    #[test]
    fn a_cut_record_is_an_error_or_an_original(stats in stats(), cut in any::<prop::sample::Index>()) {
        let codec = Codec::new().unwrap();
        let bytes = codec.encode_stats(&stats).unwrap();
        // Only where the appended fields begin can a record of this version end.
        if let Ok(front) = codec.decode_stats(&bytes[..cut.index(bytes.len())]) {
            prop_assert_eq!(front.schema_version, 0);
            prop_assert_eq!(front.leader_replica_stats, stats.leader_replica_stats);
        }
    }

    #[test]
    fn reads_what_it_knows_of_a_newer_version(
        stats in stats(), action in action(), newer in vec(any::<u8>(), 1..50), version in SCHEMA_VERSION..100_i32,
    ) {
        let codec = Codec::new().unwrap();
        let stats = BrokerStats { schema_version: version, ..stats };
        let action = OperatorAction { schema_version: version, ..action };
        let longer = [codec.encode_stats(&stats).unwrap(), newer.clone()].concat();
        prop_assert_eq!(codec.decode_stats(&longer).unwrap(), stats);
        let longer = [codec.encode_action(&action).unwrap(), newer].concat();
        prop_assert_eq!(codec.decode_action(&longer).unwrap(), action);
    }
}

/// A record that ends in `topicsBytesIn1MinRate`, which claims what is given.
fn claiming(codec: &Codec, count: &[u8]) -> anyhow::Result<Vec<u8>> {
    let empty = codec.encode_stats(&BrokerStats::new(0, 0))?;
    // timestamp … numLeaders of an empty report: 13 fields of a byte each, a double, 12 more of a byte.
    let mut bytes = empty[..13 + 8 + 12].to_vec();
    bytes.push(2);
    bytes.extend_from_slice(count);
    bytes.extend_from_slice(&[0; 64]);
    Ok(bytes)
}

#[test]
fn refuses_counts_and_lengths_beyond_the_input_without_allocating() {
    let codec = Codec::new().unwrap();
    let largest = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let least = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let a_thousand_million = [0x80, 0xa8, 0xd6, 0xb9, 0x07];
    // As a count of map entries, and as the length of the first key. An allocation of these sizes would abort.
    for claim in [&largest[..], &least, &a_thousand_million] {
        assert!(codec.decode_stats(&claiming(&codec, claim).unwrap()).is_err(), "count {claim:02x?}");
        assert!(
            codec.decode_stats(&claiming(&codec, &[&[2], claim].concat()).unwrap()).is_err(),
            "length {claim:02x?}"
        );
    }
    // The same bytes with an honest claim are a record.
    assert!(codec.decode_stats(&claiming(&codec, &[2, 0]).unwrap()).is_ok());
}
