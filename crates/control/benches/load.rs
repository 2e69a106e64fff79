//! How fast the load model takes reports in: a day of 100 brokers with 1,000 partitions each, a report a minute.

#![allow(clippy::expect_used, reason = "a bench may fail by panic")]

use cluster::{BrokerId, Partition, Topic, TopicTable};
use control::Timestamp;
use control::load::{LoadConfig, LoadModel, Sample};
use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
    a_day();
}

const BROKERS: usize = 100;
const PARTITIONS: usize = 1_000;
const MINUTES: i64 = 1_440;

/// The topics that a broker leads: ten partitions of each.
fn topics(broker: usize) -> Vec<String> {
    (0..PARTITIONS / 10).map(|topic| format!("some-team.orders-{:05}", broker * 100 + topic)).collect()
}

fn absorb(model: &mut LoadModel, topics: &[String], minute: i64) {
    let samples = topics.iter().enumerate().flat_map(|(topic, name)| {
        (0..10).map(move |partition| Sample {
            topic: name,
            partition,
            bytes_in: u64::try_from(minute * 1_000).ok().map(|rate| rate + topic as u64),
            bytes_out: Some(5_000),
            in_reassignment: false,
        })
    });
    model.absorb(Timestamp(1_795_000_000_000 + minute * 60_000), samples);
}

/// One broker's report after another.
#[divan::bench]
fn absorb_a_report(bencher: Bencher<'_, '_>) {
    let topics: Vec<Vec<String>> = (0..BROKERS).map(topics).collect();
    let mut model = LoadModel::new(LoadConfig::default());
    let mut at = 0;
    bencher.counter(ItemsCount::new(PARTITIONS)).bench_local(|| {
        let minute = i64::try_from(at / BROKERS).unwrap_or(0) % MINUTES;
        absorb(&mut model, &topics[at % BROKERS], minute);
        at += 1;
    });
}

/// A model that has seen some reports of each broker, and the topics.
fn filled() -> (LoadModel, TopicTable) {
    let names: Vec<Vec<String>> = (0..BROKERS).map(topics).collect();
    let mut model = LoadModel::new(LoadConfig::default());
    for minute in (0..MINUTES).step_by(30) {
        for broker in &names {
            absorb(&mut model, broker, minute);
        }
    }
    let partition = |at: i32| {
        let replicas: Box<[BrokerId]> = (0..3).map(|replica| BrokerId((at + replica) % 100)).collect();
        Partition { leader: replicas.first().copied(), isr: replicas.clone(), replicas }
    };
    let table = (0..).zip(names.iter().flatten()).map(|(at, name)| {
        (
            name.as_str().into(),
            Topic { internal: false, partitions: (0..10).map(|n| partition(at + n)).collect() },
        )
    });
    (model, table.collect())
}

/// What is done while readers and the cycle wait: everything else is made from the copy.
#[divan::bench]
fn copy(bencher: Bencher<'_, '_>) {
    let (model, _) = filled();
    bencher.bench_local(|| model.clone());
}

/// A report that comes while a copy is being worked on pays for what it changes.
#[divan::bench]
fn absorb_a_report_beside_a_copy(bencher: Bencher<'_, '_>) {
    let (mut model, _) = filled();
    let topics = topics(0);
    bencher.bench_local(|| {
        let copy = model.clone();
        absorb(&mut model, &topics, MINUTES);
        copy
    });
}

/// What partitions and brokers need.
#[divan::bench]
fn needs(bencher: Bencher<'_, '_>) {
    let (model, topics) = filled();
    let now = Timestamp(1_795_000_000_000 + MINUTES * 60_000);
    bencher.bench_local(|| (model.partitions_of(&topics, now), model.brokers(&topics, now)));
}

/// A checkpoint.
#[divan::bench]
fn chunks(bencher: Bencher<'_, '_>) {
    let (model, _) = filled();
    bencher.bench_local(|| model.chunks());
}

/// The whole day once, with what it takes of memory.
fn a_day() {
    let topics: Vec<Vec<String>> = (0..BROKERS).map(topics).collect();
    let mut model = LoadModel::new(LoadConfig::default());
    let start = cpu_ticks();
    for minute in 0..MINUTES {
        for broker in &topics {
            absorb(&mut model, broker, minute);
        }
    }
    let took = (cpu_ticks() - start) as f64 / 100.0;
    let samples = (BROKERS * PARTITIONS) as f64 * MINUTES as f64;
    println!(
        "a day: {:.0} million samples in {took:.1} CPU s, {:.1} million a second, peak {} MB, {} partitions",
        samples / 1e6,
        samples / 1e6 / took.max(0.01),
        status("VmHWM:") / 1024,
        model.len()
    );
}

/// Processor time of this process in hundredths of a second.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("a process has its statistics");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
    fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number")
}

/// A line of the process's status, in kB.
fn status(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("a process has its status");
    let line = text.lines().find_map(|line| line.strip_prefix(key)).expect("the line is there");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}
