//! How fast BrokerStats is decoded, in partition samples a second.

#![allow(clippy::expect_used, reason = "a bench may fail by panic")]

use brokerstats::{BrokerStats, Codec, Quality, ReplicaStat, TopicPartition};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};

fn main() {
    divan::main();
}

/// A broker that leads and follows `partitions` partitions each, ten a topic, with figures as large as real ones.
fn report(partitions: usize) -> BrokerStats {
    let mut stats = BrokerStats::new(1_795_000_000_000, 1_001);
    for at in 0..partitions {
        let topic = format!("some-team.orders-{:04}", at / 10);
        let partition = i32::try_from(at % 10).unwrap_or_default();
        stats.topics_bytes_in_1_min_rate.insert(topic.clone(), 2_000_000);
        stats.leader_replica_stats.push(ReplicaStat {
            timestamp: stats.timestamp,
            topic: topic.clone(),
            partition,
            is_leader: true,
            bytes_in_1_min_mean_rate: 1_234_567,
            bytes_in_5_min_mean_rate: 1_234_568,
            bytes_in_15_min_mean_rate: 1_234_569,
            start_offset: 12_345_678,
            end_offset: 123_456_789,
            log_size_in_bytes: 98_765_432_100,
            ..ReplicaStat::default()
        });
        stats.leader_bytes_in.push(74_074_020);
        stats.leader_bytes_in_quality.push(Quality::Exact);
        stats.leader_bytes_out_quality.push(Quality::Unknown);
        stats.leader_messages_in.push(740_740);
        stats.leader_log_dir.push(0);
        stats.leader_replicas.push(TopicPartition { topic: topic.clone(), partition });
        stats.follower_replicas.push(TopicPartition { topic, partition });
        stats.follower_log_size_in_bytes.push(98_765_432_100);
        stats.follower_log_dir.push(0);
    }
    stats.log_dirs = vec!["/var/lib/kafka/data".to_owned()];
    stats
}

/// One sample is one led partition.
#[divan::bench(args = [10, 100, 1000])]
fn decode(bencher: Bencher<'_, '_>, partitions: usize) {
    let codec = Codec::new().expect("schemas parse");
    let bytes = codec.encode_stats(&report(partitions)).expect("encodes");
    bencher
        .counter(ItemsCount::new(partitions))
        .counter(BytesCount::new(bytes.len()))
        .bench(|| codec.decode_stats(divan::black_box(&bytes)).expect("decodes"));
}

/// The way there.
#[divan::bench(args = [1000])]
fn encode(bencher: Bencher<'_, '_>, partitions: usize) {
    let codec = Codec::new().expect("schemas parse");
    let stats = report(partitions);
    bencher
        .counter(ItemsCount::new(partitions))
        .bench(|| codec.encode_stats(divan::black_box(&stats)).expect("encodes"));
}
