//! Laws of the measurement, over views made by hand.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic, in its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use brokerstats::{BrokerError, BrokerStats, Codec, Quality};
use cluster::{
    Broker, BrokerAddress, BrokerId, ClusterId, Incarnation, LogDir, LogDirReplica, Partition, Reassignment,
    Topic, TopicPartition,
};
use kafkastats::measure::Measurer;
use kafkastats::view::{Offsets, View};
use proptest::prelude::*;

/// One partition of topic `t`: broker 1 is the one that is measured, broker 2 holds the other replica.
#[derive(Clone, Copy, Debug)]
struct Log {
    size: u64,
    start: i64,
    /// The start offset as read before the log directories, if it differs.
    start_before: Option<i64>,
    end: i64,
    leader: i32,
    in_sync: bool,
    dir: usize,
}

const fn log(size: u64, start: i64, end: i64) -> Log {
    Log { size, start, start_before: None, end, leader: 1, in_sync: true, dir: 0 }
}

fn view(seconds: u64, logs: &[Log]) -> View {
    let mut view = View {
        at: Duration::from_secs(seconds),
        timestamp_ms: 1_795_000_000_000 + seconds as i64 * 1000,
        cluster_id: ClusterId("c".into()),
        broker: Broker {
            id: BrokerId(1),
            address: BrokerAddress { host: "b1".into(), port: 9092 },
            rack: Some("r1".into()),
        },
        topics: BTreeMap::new(),
        incarnations: BTreeMap::new(),
        reassignments: Some(BTreeMap::new()),
        log_dirs: None,
        offsets: BTreeMap::new(),
        compacted: BTreeMap::from([("t".into(), false)]),
        tiered: BTreeSet::new(),
        lacking: Vec::new(),
    };
    let mut dirs = [dir("/d0"), dir("/d1")];
    let mut partitions = Vec::new();
    for (number, log) in logs.iter().enumerate() {
        let at = TopicPartition::new("t", number as i32);
        let isr = if log.in_sync { vec![BrokerId(1), BrokerId(2)] } else { vec![BrokerId(2)] };
        partitions.push(Partition {
            leader: Some(BrokerId(log.leader)),
            replicas: [BrokerId(1), BrokerId(2)].into(),
            isr: isr.into(),
        });
        let replica = LogDirReplica { size_bytes: log.size, offset_lag: 0, is_future: false };
        dirs[log.dir].replicas.insert(at.clone(), replica);
        if log.leader == 1 {
            let offsets = Offsets {
                start_before: Some(log.start_before.unwrap_or(log.start)),
                start_after: Some(log.start),
                end: Some(log.end),
            };
            view.offsets.insert(at, offsets);
        }
    }
    view.topics.insert("t".into(), Topic { internal: false, partitions });
    view.log_dirs = Some(dirs.into());
    view
}

fn dir(path: &str) -> LogDir {
    LogDir {
        path: path.into(),
        error: None,
        total_bytes: Some(1000),
        usable_bytes: Some(400),
        replicas: BTreeMap::new(),
    }
}

/// Measures each view after the other; gives the last report.
fn last(views: &[View]) -> BrokerStats {
    let mut measurer = Measurer::new();
    views.iter().map(|view| measurer.measure(view)).last().unwrap()
}

/// What the last of `views` says of `t-0`.
fn flow(views: &[View]) -> (Option<i64>, Quality) {
    let stats = last(views);
    let leader = stats.leaders().next().unwrap();
    (leader.bytes_in, leader.bytes_in_quality)
}

#[test]
fn growth_of_an_untouched_log_is_exact() {
    let views = [view(0, &[log(1000, 0, 10)]), view(60, &[log(7000, 0, 40)])];
    assert_eq!(flow(&views), (Some(6000), Quality::Exact));
    let stats = last(&views);
    assert_eq!((stats.interval_ms, &*stats.leader_messages_in), (60_000, &[30][..]));
    let replica = &stats.leader_replica_stats[0];
    assert_eq!((replica.bytes_in_1_min_mean_rate, replica.bytes_in_15_min_mean_rate), (100, 100));
    assert_eq!((replica.start_offset, replica.end_offset, replica.log_size_in_bytes), (0, 40, 7000));
    assert_eq!(stats.topics_bytes_in_5_min_rate, BTreeMap::from([("t".to_owned(), 100)]));
    assert_eq!(stats.leaders_bytes_in_1_min_rate, 100);
}

#[test]
fn a_rate_that_is_not_known_is_not_called_zero() {
    let stats = last(&[view(0, &[log(1000, 0, 10)])]);
    assert_eq!((stats.leaders_bytes_in_1_min_rate, stats.leaders_bytes_out_1_min_rate), (-1, -1));
    assert_eq!(stats.leader_replica_stats[0].bytes_in_5_min_mean_rate, -1);
    assert!(stats.topics_bytes_in_1_min_rate.is_empty());
    // One of two partitions is known: the sums are of what is known.
    let stats = last(&[view(0, &[log(1000, 0, 10)]), view(60, &[log(7000, 0, 40), log(5, 0, 1)])]);
    assert_eq!(stats.leaders_bytes_in_1_min_rate, 100);
    assert_eq!(stats.topics_bytes_in_1_min_rate["t"], 100);
    assert_eq!(stats.leader_replica_stats[1].bytes_out_15_min_mean_rate, -1);
}

#[test]
fn first_sight_of_a_partition_gives_no_figure() {
    assert_eq!(flow(&[view(0, &[log(1000, 0, 10)])]), (None, Quality::Unknown));
    assert_eq!(flow(&[view(0, &[]), view(60, &[log(1000, 0, 10)])]), (None, Quality::Unknown));
}

#[test]
fn retention_turns_the_figure_into_an_estimate_by_bytes_per_offset() {
    let exact = [view(0, &[log(1000, 0, 10)]), view(60, &[log(2000, 0, 20)])];
    let shrunk = view(120, &[log(500, 25, 30)]);
    assert_eq!(flow(&[&exact[..], &[shrunk]].concat()), (Some(1000), Quality::Estimated));
    let grown_all_the_same = view(120, &[log(2100, 5, 40)]);
    assert_eq!(flow(&[&exact[..], &[grown_all_the_same]].concat()), (Some(2000), Quality::Estimated));
}

#[test]
fn a_deletion_while_the_first_size_was_read_is_noticed() {
    // Start offset 5 before the size was read, 8 after: which of them the size belongs to cannot be told.
    let torn = Log { start_before: Some(5), ..log(1000, 8, 10) };
    let (bytes, quality) = flow(&[view(0, &[torn]), view(60, &[log(3000, 8, 20)])]);
    assert_eq!((bytes, quality), (Some(2500), Quality::Estimated));
}

#[test]
fn without_a_known_ratio_the_log_and_then_the_topic_give_it() {
    // The log itself: 600 bytes for 6 offsets.
    let views = [view(0, &[log(9000, 0, 10)]), view(60, &[log(600, 14, 20)])];
    assert_eq!(flow(&views), (Some(1000), Quality::Estimated));
    // An emptied log; the topic's other partition took 50 bytes an offset.
    let views = [view(0, &[log(9000, 0, 10), log(0, 0, 0)]), view(60, &[log(0, 20, 20), log(500, 0, 10)])];
    assert_eq!(flow(&views), (Some(500), Quality::Estimated));
}

#[test]
fn a_compacted_topic_is_estimated_even_when_it_grows() {
    let mut views = [view(0, &[log(1000, 0, 10)]), view(60, &[log(2000, 0, 20)])];
    for view in &mut views {
        view.compacted.insert("t".into(), true);
    }
    assert_eq!(flow(&views), (Some(1000), Quality::Estimated));
    for view in &mut views {
        view.compacted.clear();
    }
    assert_eq!(flow(&views), (Some(1000), Quality::Estimated), "cleanup policy not known");
}

/// The same with the topic's id and the epoch of the leader of its only partition.
fn told(mut view: View, topic_id: u8, leader_epoch: i32) -> View {
    let told = Incarnation { topic_id: Some([topic_id; 16]), leader_epochs: vec![Some(leader_epoch)] };
    view.incarnations.insert("t".into(), told);
    view
}

#[test]
fn a_topic_that_was_made_anew_starts_anew_even_if_it_looks_like_growth() {
    let mut views = vec![told(view(0, &[log(1000, 0, 10)]), 1, 0), told(view(60, &[log(1600, 0, 16)]), 1, 0)];
    assert_eq!(flow(&views), (Some(600), Quality::Exact));
    views.push(told(view(120, &[log(90_000, 0, 900)]), 2, 0));
    assert_eq!(flow(&views), (None, Quality::Unknown));
    assert_eq!(last(&views).leader_replica_stats[0].bytes_in_1_min_mean_rate, -1);
    views.push(told(view(180, &[log(90_600, 0, 906)]), 2, 0));
    assert_eq!(flow(&views), (Some(600), Quality::Exact));
}

#[test]
fn a_leadership_that_went_and_came_back_makes_the_figure_an_estimate() {
    let views = [told(view(0, &[log(1000, 0, 10)]), 1, 4), told(view(60, &[log(1600, 0, 16)]), 1, 6)];
    assert_eq!(flow(&views), (Some(600), Quality::Estimated));
}

#[test]
fn local_segments_that_go_to_remote_storage_are_not_taken_for_little_traffic() {
    let tiered = |seconds, of: Log| {
        let mut view = view(seconds, &[of]);
        view.tiered.insert("t".into());
        view
    };
    // 100 bytes an offset; the start offset is that of the remote segments and stays.
    let mut views = vec![tiered(0, log(1000, 0, 1000)), tiered(60, log(2000, 0, 1010))];
    assert_eq!(flow(&views), (Some(1000), Quality::Estimated));
    views.push(tiered(120, log(2100, 0, 1030)));
    assert_eq!(flow(&views), (Some(2000), Quality::Estimated));
    // Where local segments go all the time, growth is never all that came: it teaches no ratio.
    for (number, size) in [(1, 2600), (2, 3100), (3, 3600)] {
        views.push(tiered(120 + number * 60, log(size, 0, 1030 + 10 * number as i64)));
        assert_eq!(flow(&views), (Some(1000), Quality::Estimated), "{number}");
    }
    // Of the local size over all offsets, 2 bytes each, nothing can be told.
    let views = [tiered(0, log(9000, 0, 1000)), tiered(60, log(2000, 0, 1010))];
    assert_eq!(flow(&views), (None, Quality::Unknown));
}

#[test]
fn a_log_that_was_compacted_meanwhile_is_told_by_its_offsets() {
    let compacted = |seconds, of: Log| {
        let mut view = view(seconds, &[of]);
        view.compacted.insert("t".into(), true);
        view
    };
    let mut views = vec![compacted(0, log(1000, 0, 10)), compacted(60, log(2000, 0, 20))];
    views.push(compacted(120, log(2050, 0, 40)));
    assert_eq!(flow(&views), (Some(2000), Quality::Estimated));
    views[2] = compacted(120, log(1500, 0, 40));
    assert_eq!(flow(&views), (Some(2000), Quality::Estimated));
    views[2] = compacted(120, log(7000, 0, 40));
    assert_eq!(flow(&views), (Some(5000), Quality::Estimated));
}

#[test]
fn an_end_offset_that_went_back_starts_the_counters_anew() {
    let mut views = vec![view(0, &[log(1000, 0, 10)]), view(60, &[log(61_000, 0, 20)])];
    views.push(view(120, &[log(70_000, 0, 5)]));
    assert_eq!(flow(&views), (None, Quality::Unknown));
    assert_eq!(last(&views).leader_replica_stats[0].bytes_in_1_min_mean_rate, -1);
    views.push(view(180, &[log(70_600, 0, 11)]));
    assert_eq!(flow(&views), (Some(600), Quality::Exact));
    assert_eq!(last(&views).leader_replica_stats[0].bytes_in_1_min_mean_rate, 10);
}

#[test]
fn a_leadership_that_came_over_is_measured_on_the_same_replica() {
    let follower = Log { leader: 2, ..log(1000, 0, 10) };
    let views = [view(0, &[follower]), view(60, &[log(2000, 0, 20)])];
    assert_eq!(flow(&views), (Some(1000), Quality::Estimated));
}

#[test]
fn what_a_replica_copies_to_catch_up_is_not_counted_as_produced() {
    let behind = Log { leader: 2, in_sync: false, ..log(1000, 0, 10) };
    assert_eq!(flow(&[view(0, &[behind]), view(60, &[log(90_000, 0, 20)])]), (None, Quality::Unknown));
}

#[test]
fn a_move_to_another_directory_is_estimated() {
    let moved = Log { dir: 1, ..log(2500, 0, 20) };
    let views = [view(0, &[log(500, 0, 5)]), view(60, &[log(1000, 0, 10)]), view(120, &[moved])];
    assert_eq!(flow(&views), (Some(1000), Quality::Estimated));
    assert_eq!(last(&views).leaders().next().unwrap().log_dir, Some("/d1"));
}

#[test]
fn a_future_replica_is_not_counted() {
    let mut views = [view(0, &[log(1000, 0, 10)]), view(60, &[log(2000, 0, 20)])];
    let copy = LogDirReplica { size_bytes: 77, offset_lag: 9, is_future: true };
    for view in &mut views {
        view.log_dirs.as_mut().unwrap()[1].replicas.insert(TopicPartition::new("t", 0), copy);
    }
    assert_eq!(flow(&views), (Some(1000), Quality::Exact));
}

#[test]
fn log_directories_that_could_not_be_read_once_cost_one_figure_only() {
    let mut without = view(60, &[log(2000, 0, 20)]);
    without.log_dirs = None;
    without.lacking.push("log directories: not authorised".to_owned());
    let views = [view(0, &[log(1000, 0, 10)]), without, view(120, &[log(5000, 0, 50)])];
    let report = last(&views[..2]);
    assert_eq!((report.interval_ms, report.num_leaders, report.has_failure), (0, 1, false));
    assert_eq!((report.leader_bytes_in[0], report.leader_replica_stats[0].log_size_in_bytes), (-1, -1));
    assert_eq!(report.failure_detail.as_deref(), Some("log directories: not authorised"));
    assert_eq!((flow(&views), last(&views).interval_ms), ((Some(4000), Quality::Exact), 120_000));
}

#[test]
fn drk_60_what_is_missing_of_a_partition_costs_its_figures_and_never_the_report() {
    let mut views = [view(0, &[log(1000, 0, 10)]), view(60, &[log(7000, 0, 40)])];
    for view in &mut views {
        // Listed as led, but without a log and offsets: its topic was deleted between two questions.
        let ids = [BrokerId(1), BrokerId(2)];
        let gone = Partition { leader: Some(BrokerId(1)), replicas: ids.into(), isr: ids.into() };
        let leaderless = Partition { leader: None, ..gone.clone() };
        let topic = Topic { internal: false, partitions: vec![gone, leaderless] };
        view.topics.insert("half".into(), topic);
    }
    let stats = last(&views);
    assert!(!stats.has_failure);
    assert_eq!(stats.num_leaders, 2);
    let of = |topic: &str| stats.leaders().find(|leader| leader.stat.topic == topic).map(|l| l.bytes_in);
    assert_eq!((of("t"), of("half")), (Some(Some(6000)), Some(None)));
    assert!(Codec::new().unwrap().encode_stats(&stats).is_ok());
}

#[test]
fn a_failed_log_directory_is_a_disk_failure_and_the_rest_is_reported() {
    let mut view = view(0, &[log(1000, 0, 10)]);
    let failed = &mut view.log_dirs.as_mut().unwrap()[1];
    *failed = LogDir {
        error: Some("KAFKA_STORAGE_ERROR".to_owned()),
        total_bytes: None,
        usable_bytes: None,
        ..dir("/d1")
    };
    let stats = last(&[view]);
    assert_eq!((stats.has_failure, stats.failure_reason), (true, Some(BrokerError::DiskFailure)));
    assert_eq!(stats.failure_detail.as_deref(), Some("log directory /d1: KAFKA_STORAGE_ERROR"));
    let shown: Vec<_> = stats.log_dirs().map(|dir| (dir.path, dir.total_bytes, dir.error != 0)).collect();
    assert_eq!(shown, [("/d0", Some(1000), false), ("/d1", None, true)]);
    assert_eq!((stats.num_leaders, stats.free_disk_space_in_bytes), (1, 400));
}

#[test]
fn says_what_it_leads_follows_and_what_is_being_reassigned() {
    let mut view = view(0, &[log(10, 0, 1), Log { leader: 2, ..log(20, 0, 0) }, log(30, 0, 3)]);
    let topic = view.topics.get_mut("t").unwrap();
    topic.partitions[2].isr = [BrokerId(1)].into();
    topic.partitions.push(Partition {
        leader: Some(BrokerId(2)),
        replicas: [BrokerId(2), BrokerId(3)].into(),
        isr: [BrokerId(2), BrokerId(3)].into(),
    });
    let moving = Reassignment { replicas: [].into(), adding: [].into(), removing: [].into() };
    view.reassignments = Some(BTreeMap::from([(TopicPartition::new("t", 1), moving)]));
    let stats = last(&[view]);
    let names = |list: &[brokerstats::TopicPartition]| list.iter().map(|at| at.partition).collect::<Vec<_>>();
    assert_eq!(names(&stats.leader_replicas), [0, 2]);
    assert_eq!(names(&stats.follower_replicas), [1]);
    assert_eq!(names(&stats.in_reassignment_replicas), [1]);
    assert_eq!((stats.num_replicas, stats.num_leaders), (3, 2));
    assert_eq!(
        stats.followers().map(|(_, size, dir)| (size, dir)).collect::<Vec<_>>(),
        [(Some(20), Some("/d0"))]
    );
    let under: Vec<_> = stats.leader_replica_stats.iter().map(|replica| replica.under_replicated).collect();
    assert_eq!(under, [false, true]);
    assert_eq!((stats.id, stats.name.as_deref(), stats.rack_id.as_deref()), (1, Some("b1"), Some("r1")));
    assert_eq!((stats.cluster_id.as_deref(), stats.log_files_path.as_deref()), (Some("c"), Some("/d0,/d1")));
    // Both directories on one volume.
    assert_eq!((stats.total_disk_space_in_bytes, stats.free_disk_space_in_bytes), (1000, 400));
}

fn any_log() -> impl Strategy<Value = Log> {
    let number = prop_oneof![0..50_i64, any::<i64>()];
    (
        any::<u64>(),
        number.clone(),
        proptest::option::of(number.clone()),
        number,
        1..3,
        any::<bool>(),
        0..2_usize,
    )
        .prop_map(|(size, start, start_before, end, leader, in_sync, dir)| Log {
            size: if dir == 0 { size } else { size % 10_000 },
            start,
            start_before,
            end,
            leader,
            in_sync,
            dir,
        })
}

proptest! {
    #[test]
    fn any_course_of_events_gives_a_report_that_can_be_sent(
        course in proptest::collection::vec((0..100_u64, proptest::collection::vec(any_log(), 0..4)), 1..6),
    ) {
        let (mut measurer, codec, mut now) = (Measurer::new(), Codec::new().unwrap(), 0);
        for (later, logs) in course {
            now += later;
            let stats = measurer.measure(&view(now, &logs));
            let leaders = stats.leader_replica_stats.len();
            prop_assert_eq!(stats.leader_bytes_in.len(), leaders);
            prop_assert_eq!(stats.leader_bytes_in_quality.len(), leaders);
            prop_assert_eq!(stats.leader_log_dir.len(), leaders);
            prop_assert_eq!(stats.follower_log_dir.len(), stats.follower_replicas.len());
            for leader in stats.leaders() {
                prop_assert_eq!(leader.bytes_in.is_some(), leader.bytes_in_quality != Quality::Unknown);
                prop_assert!(leader.stat.bytes_in_1_min_mean_rate >= -1);
            }
            prop_assert_eq!(codec.decode_stats(&codec.encode_stats(&stats).unwrap()).unwrap(), stats);
        }
    }
}
