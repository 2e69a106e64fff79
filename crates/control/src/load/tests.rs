use cluster::notation::ClusterText;
use proptest::prelude::*;

use super::*;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// Somewhere within a bucket.
const START: Timestamp = Timestamp(1_700_000_000_000);

fn at(ms: i64) -> Timestamp {
    Timestamp(START.0 + ms)
}

fn sample(topic: &str, partition: i32, bytes_in: u64, bytes_out: u64) -> Sample<'_> {
    let (bytes_in, bytes_out) = (Some(bytes_in), Some(bytes_out));
    Sample { topic, partition, bytes_in, bytes_out, in_reassignment: false }
}

fn model() -> LoadModel {
    LoadModel::new(LoadConfig::default())
}

/// In and out of `t-0`, where something is known.
fn of_t0(model: &LoadModel, now: Timestamp) -> Option<(u64, u64)> {
    let loads = model.partitions(now);
    loads.get(&TopicPartition::new("t", 0)).map(|load| (load.bytes_in, load.bytes_out))
}

#[test]
fn a_need_is_the_peak_of_the_window_and_no_older() {
    let mut model = model();
    for (hour, rate) in [(0, 10), (1, 90), (2, 20), (20, 30)] {
        model.absorb(at(hour * HOUR), [sample("t", 0, rate, rate * 2)]);
    }
    assert_eq!(of_t0(&model, at(20 * HOUR)), Some((90, 180)));
    // 24 hours after the peak's bucket it has left the window, though nothing was reported since.
    assert_eq!(of_t0(&model, at(25 * HOUR + 30 * MINUTE)), Some((30, 60)));
    assert_eq!(of_t0(&model, at(50 * HOUR)), None);
}

#[test]
fn a_copy_shares_what_neither_side_changes_and_stays_as_it_was() {
    let mut model = model();
    model.absorb(at(0), [sample("t", 0, 10, 10), sample("t", 1, 20, 20), sample("u", 0, 30, 30)]);
    let copy = model.clone();
    let before = copy.chunks();
    let shares = |model: &LoadModel, topic: &str| Arc::ptr_eq(&model.topics[topic], &copy.topics[topic]);
    assert!(shares(&model, "t") && shares(&model, "u"));
    // Partitions that exist are looked at, and not copied.
    let text: ClusterText = "b1\nt-0: 1*\nt-1: 1*\nu-0: 1*".parse().unwrap();
    model.retain(&text.topics, at(0));
    assert!(shares(&model, "t") && shares(&model, "u"));
    model.absorb(at(MINUTE), [sample("t", 0, 500, 500)]);
    assert_eq!((of_t0(&model, at(HOUR)), of_t0(&copy, at(HOUR))), (Some((500, 500)), Some((10, 10))));
    assert_eq!(copy.chunks(), before);
    assert!(shares(&model, "u"));
    let series = |model: &LoadModel| Arc::clone(model.topics["t"][1].as_ref().unwrap());
    assert!(Arc::ptr_eq(&series(&model), &series(&copy)), "a partition that nothing was reported of");
}

#[test]
fn reports_may_come_in_any_order() {
    let mut late = model();
    late.absorb(at(20 * HOUR), [sample("t", 0, 5, 5)]);
    late.absorb(at(2 * HOUR), [sample("t", 0, 70, 7)]);
    late.absorb(at(-10 * HOUR), [sample("t", 0, 999, 999)]);
    assert_eq!(of_t0(&late, at(20 * HOUR)), Some((70, 7)), "what is older than the window does not count");
}

#[test]
fn a_percentile_leaves_the_highest_peaks_out() {
    let mut model = LoadModel::new(LoadConfig { percentile: 90, ..LoadConfig::default() });
    for bucket in 0..10 {
        model.absorb(
            at(bucket * 30 * MINUTE),
            [sample("t", 0, if bucket == 3 { 1_000 } else { 50 + bucket as u64 }, 0)],
        );
    }
    assert_eq!(of_t0(&model, at(5 * HOUR)), Some((59, 0)));
}

#[test]
fn what_is_reported_around_a_reassignment_does_not_count() {
    let mut model = model();
    model.absorb(at(0), [sample("t", 0, 10, 10)]);
    model.absorb(at(MINUTE), [Sample { in_reassignment: true, ..sample("t", 0, 500, 500) }]);
    model.absorb(at(20 * MINUTE), [sample("t", 0, 400, 400)]);
    // Of another partition nothing is left out.
    model.absorb(at(20 * MINUTE), [sample("t", 1, 300, 300)]);
    assert_eq!(of_t0(&model, at(HOUR)), Some((10, 10)));
    assert_eq!(model.partitions(at(HOUR))[&TopicPartition::new("t", 1)].bytes_in, 300);
    model.absorb(at(32 * MINUTE), [sample("t", 0, 20, 20)]);
    assert_eq!(of_t0(&model, at(HOUR)), Some((20, 20)));
    model.reassigning(&[TopicPartition::new("t", 0), TopicPartition::new("unknown", 0)], at(HOUR));
    model.absorb(at(HOUR + 29 * MINUTE), [sample("t", 0, 600, 600)]);
    assert_eq!(of_t0(&model, at(2 * HOUR)), Some((20, 20)));
}

#[test]
fn a_reassignment_that_becomes_known_late_takes_out_what_was_put_in() {
    let moving = || Sample { in_reassignment: true, ..sample("t", 0, 0, 0) };
    let mut model = model();
    model.absorb(at(-HOUR), [sample("t", 0, 10, 10)]);
    model.absorb(at(20 * MINUTE), [sample("t", 0, 900, 900)]);
    model.absorb(at(3 * HOUR), [sample("t", 0, 30, 30)]);
    model.absorb(at(5 * MINUTE), [moving()]);
    assert_eq!(of_t0(&model, at(3 * HOUR)), Some((30, 30)));
    assert_eq!(of_t0(&model, at(4 * HOUR)), Some((30, 30)), "others stay");
    model.absorb(at(10 * MINUTE), [sample("t", 0, 800, 800)]);
    assert_eq!(of_t0(&model, at(3 * HOUR)), Some((30, 30)), "and it holds from then on");
}

#[test]
fn a_late_reassignment_does_not_undo_a_later_one() {
    let moving = || Sample { in_reassignment: true, ..sample("t", 0, 0, 0) };
    let mut model = model();
    model.absorb(at(10 * HOUR), [moving()]);
    for hour in [1, 2, 3, 4, 5] {
        model.absorb(at(hour * HOUR), [moving()]);
    }
    model.absorb(at(10 * HOUR + MINUTE), [sample("t", 0, 700, 700)]);
    assert_eq!(of_t0(&model, at(10 * HOUR)), None);
    model.absorb(at(11 * HOUR), [sample("t", 0, 7, 7)]);
    assert_eq!(of_t0(&model, at(11 * HOUR)), Some((7, 7)));
}

#[test]
fn made_up_partitions_take_no_more_than_there_is_room_for() {
    let mut model = model();
    let last = i32::try_from(MOST_PARTITIONS).unwrap() - 1;
    for topic in 0..200 {
        model.absorb(at(0), [sample(&format!("made-up-{topic}"), last, 1, 1)]);
    }
    assert!(model.slots <= MOST_SLOTS, "{}", model.slots);
    assert_eq!(model.topics.len(), MOST_SLOTS / MOST_PARTITIONS, "a topic without room has no name here");
    // Once it is known what exists, they go, and others do not come in.
    let text: ClusterText = "b1\nt-0: 1*".parse().unwrap();
    model.retain(&text.topics, at(0));
    assert!(model.is_empty());
    model.absorb(at(0), [sample("made-up", 0, 1, 1), sample("t", 1, 1, 1), sample("t", 0, 5, 5)]);
    assert_eq!((model.len(), model.slots, of_t0(&model, at(0))), (1, 1, Some((5, 5))));
}

#[test]
fn a_checkpoint_of_the_first_version_is_read() {
    let mut model = model();
    model.absorb(at(0), [sample("t", 0, 3, 4)]);
    model.absorb(at(MINUTE), [Sample { in_reassignment: true, ..sample("t", 0, 0, 0) }]);
    // As the first version wrote it: the newest bucket, one interval, the cells.
    let series = Arc::clone(model.topics["t"][0].as_ref().unwrap());
    let mut bytes = vec![1];
    for number in [30 * MINUTE, 48] {
        checkpoint::put(&mut bytes, number.cast_unsigned());
    }
    bytes.extend([1, b't', 0]);
    for moment in [series.newest, series.disturbed[0].0, series.disturbed[0].1] {
        checkpoint::put(&mut bytes, moment.cast_unsigned());
    }
    for cell in &series.cells {
        for rate in [cell.bytes_in, cell.bytes_out] {
            checkpoint::put(&mut bytes, if rate == NONE { 0 } else { u64::from(rate) + 1 });
        }
    }
    let (restored, errors) = LoadModel::restore(LoadConfig::default(), [bytes.as_slice()]);
    assert_eq!((of_t0(&restored, at(0)), errors), (Some((3, 4)), vec![]));
    let was = restored.topics["t"][0].as_ref().unwrap();
    assert!(was.is_disturbed(at(2 * MINUTE).0) && !was.is_disturbed(at(HOUR).0));
}

#[test]
fn what_is_not_known_is_not_nothing() {
    let mut model = model();
    let out = Sample { bytes_out: None, ..sample("t", 0, 40, 0) };
    model.absorb(at(0), [out, Sample { bytes_in: None, bytes_out: None, ..out }]);
    assert_eq!(of_t0(&model, at(0)), Some((40, 0)));
    model.absorb(at(0), [Sample { topic: "u", bytes_in: None, ..out }]);
    assert_eq!(model.partitions(at(0)).len(), 1);
}

#[test]
fn a_broker_needs_the_peak_of_the_sum_with_what_followers_fetch() {
    let text: ClusterText = "b1\nb2\nb3\nt-0: 1* 2 3\nt-1: 2* 1".parse().unwrap();
    let mut model = model();
    // They peak at different hours.
    model.absorb(at(0), [sample("t", 0, 100, 10), sample("t", 1, 5, 0)]);
    model.absorb(at(3 * HOUR), [sample("t", 0, 20, 10), sample("t", 1, 50, 7)]);
    let brokers = model.brokers(&text.topics, at(3 * HOUR));
    let load = |id: i32| (brokers[&BrokerId(id)].bytes_in, brokers[&BrokerId(id)].bytes_out);
    assert_eq!(load(1), (105, 210), "100 + 5 in; 10 to consumers and 100 to each of two followers");
    assert_eq!(load(2), (105, 57), "50 to its follower, 7 to consumers, three hours later");
    assert_eq!(load(3), (100, 0));
    assert!(brokers.keys().all(|id| id.0 <= 3));
}

#[test]
fn deleted_topics_and_partitions_are_forgotten() {
    let mut model = model();
    model.absorb(at(0), [sample("t", 0, 1, 1), sample("t", 5, 1, 1), sample("gone", 0, 1, 1)]);
    assert_eq!(model.len(), 3);
    let text: ClusterText = "b1\nt-0: 1*".parse().unwrap();
    let known = |model: &LoadModel| {
        model.partitions_of(&text.topics, at(0)).keys().map(ToString::to_string).collect::<Vec<_>>()
    };
    // A table may lack topics for a moment: they do not count, and are not forgotten at once.
    model.retain(&text.topics, at(HOUR));
    assert_eq!((known(&model), model.len()), (vec!["t-0".to_owned()], 3));
    model.absorb(at(30 * HOUR), [sample("t", 0, 1, 1)]);
    model.retain(&text.topics, at(30 * HOUR));
    assert_eq!(model.len(), 1);
    assert!(!model.is_empty());
}

#[test]
fn numbers_of_no_partition_cost_nothing() {
    let mut model = model();
    model.absorb(at(0), [sample("t", -1, 1, 1), sample("t", i32::MAX, 1, 1)]);
    assert!(model.is_empty());
}

#[test]
fn more_than_a_cell_holds_is_as_much_as_it_holds() {
    let mut model = model();
    model.absorb(at(0), [sample("t", 0, u64::MAX, u64::from(u32::MAX))]);
    assert_eq!(of_t0(&model, at(0)), Some((u64::from(u32::MAX - 1), u64::from(u32::MAX - 1))));
}

#[test]
fn a_configuration_is_checked() {
    assert_eq!(LoadConfig::default().problems(), []);
    let bad = LoadConfig {
        window: HumanDuration::seconds(1_000_000),
        bucket: HumanDuration::seconds(60),
        percentile: 0,
        ..LoadConfig::default()
    };
    let fields: Vec<&str> = bad.problems().iter().map(|(field, _)| *field).collect();
    assert_eq!(fields, ["window", "percentile"]);
}

#[test]
fn a_checkpoint_of_other_buckets_or_of_the_future_is_refused() {
    let mut model = model();
    model.absorb(at(0), [sample("t", 0, 1, 1)]);
    let chunks = model.chunks();
    let hourly = LoadConfig { bucket: HumanDuration::seconds(3_600), ..LoadConfig::default() };
    let (restored, errors) = LoadModel::restore(hourly, chunks.iter().map(Vec::as_slice));
    assert_eq!((restored.len(), errors), (0, vec![CheckpointError::Buckets]));
    let (_, errors) = LoadModel::restore(LoadConfig::default(), [&[9_u8][..]]);
    assert_eq!(errors, [CheckpointError::Version(9)]);
}

#[test]
fn chunks_are_bounded() {
    let mut model = model();
    for topic in 0..40 {
        let name = format!("{topic:0>249}");
        model.absorb(at(0), (0..100).map(|partition| sample(&name, partition, u64::MAX, u64::MAX)));
    }
    for hour in 0..24 {
        let name = format!("{:0>249}", 7);
        model.absorb(at(hour * HOUR), (0..100).map(|partition| sample(&name, partition, u64::MAX, u64::MAX)));
    }
    let chunks = model.chunks();
    assert!(chunks.len() > 1);
    assert!(chunks.iter().all(|chunk| chunk.len() < MOST_IN_A_CHUNK + 1_000));
}

/// The half hour, topic, partition, what goes in and out, and whether it is being reassigned.
type Report = (i64, u8, i32, Option<u64>, u64, bool);

prop_compose! {
    fn reports()(list in prop::collection::vec(
        (-30_i64..30, 0_u8..3, 0_i32..4, prop::option::of(0_u64..5_000_000_000), any::<u64>(), prop::bool::weighted(0.1)),
        0..60,
    )) -> Vec<Report> {
        list
    }
}

fn fed(reports: &[Report]) -> LoadModel {
    let mut model = model();
    for (hour, topic, partition, bytes_in, bytes_out, in_reassignment) in reports {
        let topic = format!("topic-{topic}");
        let sample = Sample {
            topic: &topic,
            partition: *partition,
            bytes_in: *bytes_in,
            bytes_out: Some(*bytes_out),
            in_reassignment: *in_reassignment,
        };
        model.absorb(at(hour * HOUR / 2), [sample]);
    }
    model
}

proptest! {
    #[test]
    fn a_checkpoint_gives_back_what_went_in(reports in reports()) {
        let model = fed(&reports);
        let chunks = model.chunks();
        let (restored, errors) = LoadModel::restore(LoadConfig::default(), chunks.iter().map(Vec::as_slice));
        prop_assert_eq!(errors, []);
        prop_assert_eq!(restored, model);
    }

    #[test]
    fn no_bytes_make_it_panic_or_take_much(mut bytes in prop::collection::vec(any::<u8>(), 0..300), reports in reports(), cut in any::<prop::sample::Index>()) {
        let _ = LoadModel::restore(LoadConfig::default(), [bytes.as_slice()]);
        // Damage to a real one goes deeper.
        let mut real = fed(&reports).chunks().concat();
        real.truncate(cut.index(real.len() + 1));
        real.append(&mut bytes);
        let (restored, _) = LoadModel::restore(LoadConfig::default(), [real.as_slice()]);
        let _ = (restored.partitions(at(0)), restored.chunks());
    }

    #[test]
    fn a_need_is_the_largest_that_counts(reports in reports()) {
        let calm: Vec<_> = reports.into_iter().map(|(hour, topic, partition, rate, out, _)| (hour, topic, partition, rate, out, false)).collect();
        let loads = fed(&calm).partitions(at(15 * HOUR));
        for (at_partition, load) in loads {
            let own = calm.iter().filter(|(hour, topic, partition, ..)| {
                // The window of 48 half hours ends with the 30th.
                *hour > 30 - 48 && at_partition == TopicPartition::new(format!("topic-{topic}").as_str(), *partition)
            });
            let largest = own.filter_map(|(.., rate, _, _)| *rate).max().unwrap_or(0).min(u64::from(u32::MAX) - 1);
            prop_assert_eq!(load.bytes_in, largest);
        }
    }
}
