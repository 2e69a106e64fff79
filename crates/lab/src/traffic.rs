//! Records written with `acks=all`, remembered once acknowledged, and looked for afterwards.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use krafka::consumer::AutoOffsetReset;
use krafka::producer::Producer;
use krafka::{Compression, Kafka, KrafkaError, Record};
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::view::block_on;

/// How often records are written; the rate is kept over each such step.
const STEP: Duration = Duration::from_millis(20);
/// How long one try to write a record may take. A leader's death costs a session time-out (9 s).
const DELIVERY: Duration = Duration::from_secs(30);
/// How often a record is tried before it counts as not acknowledged.
const TRIES: u8 = 5;
/// Most records in flight: what is due while brokers are away is written late rather than piled up.
const IN_FLIGHT: usize = 20_000;
/// How long the end may take: every record in flight gets its answer or runs into [`DELIVERY`] first.
const DRAIN: Duration = Duration::from_secs(60);

/// What traffic to make.
#[derive(Debug, Clone)]
pub struct TrafficConfig {
    /// Records per second.
    pub rate: u32,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// Different keys; 0 writes records without a key.
    pub keys: u32,
    /// How batches are packed. The client cannot pack with zstd; Kafka's own `ProducerPerformance` can.
    pub compression: Compression,
}

impl Default for TrafficConfig {
    fn default() -> Self {
        Self { rate: 500, value_bytes: 200, keys: 0, compression: Compression::None }
    }
}

/// What a [`Traffic`] has done.
#[derive(Debug, Clone)]
pub struct TrafficReport {
    topic: String,
    generator: u32,
    /// Records that were begun.
    pub begun: u64,
    /// The numbers of the records that the cluster has acknowledged.
    pub acknowledged: BTreeSet<u64>,
    /// Longest time between two acknowledgements.
    pub longest_gap: Duration,
    /// The last error of a try, if any failed.
    pub last_error: Option<String>,
}

#[derive(Debug)]
struct Progress {
    begun: u64,
    acknowledged: BTreeSet<u64>,
    last_ack: Instant,
    longest_gap: Duration,
    last_error: Option<String>,
}

/// A running generator; stops when it is dropped.
#[derive(Debug)]
pub struct Traffic {
    topic: String,
    generator: u32,
    stop: Arc<AtomicBool>,
    progress: Arc<Mutex<Progress>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Cluster {
    /// Starts to write to `topic` with `acks=all` until [`Traffic::finish`].
    pub fn traffic(&self, topic: &str, config: TrafficConfig) -> Result<Traffic> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let generator = NEXT.fetch_add(1, Ordering::Relaxed);
        let stop = Arc::new(AtomicBool::new(false));
        let progress = Arc::new(Mutex::new(Progress {
            begun: 0,
            acknowledged: BTreeSet::new(),
            last_ack: Instant::now(),
            longest_gap: Duration::ZERO,
            last_error: None,
        }));
        let mut writer = Writer {
            bootstrap: self.bootstrap(),
            topic: topic.to_owned(),
            generator,
            config,
            stop: Arc::clone(&stop),
            progress: Arc::clone(&progress),
        };
        let thread = std::thread::Builder::new()
            .name("lab-traffic".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.context("starting the traffic's runtime")?.block_on(writer.run())
            })
            .context("starting the traffic")?;
        Ok(Traffic { topic: topic.to_owned(), generator, stop, progress, thread: Some(thread) })
    }

    /// Writes so many records of so many bytes to `topic`, to each of its partitions in turn, with `acks=all`: so much
    /// data, and no more, however slow the machine is.
    pub fn fill(&self, topic: &str, records: usize, bytes: usize) -> Result<()> {
        let partitions: Vec<i32> = self.partitions_of(topic)?.iter().map(|at| at.partition).collect();
        ensure!(!partitions.is_empty(), "the brokers know nothing of {topic}");
        block_on(async {
            let kafka = crate::view::connect(&self.live_bootstrap()?).await?;
            let builder = kafka.producer().compression(Compression::None).delivery_timeout(DRAIN);
            let producer = Arc::new(builder.build().await.context("building a producer")?);
            let mut flying = JoinSet::new();
            for partition in partitions.into_iter().cycle().take(records) {
                let record = Record::new(topic.to_owned(), vec![b'.'; bytes]).partition(partition);
                let producer = Arc::clone(&producer);
                flying.spawn(async move { producer.send(record).await.map(|_| ()) });
            }
            while let Some(answer) = flying.join_next().await {
                answer.context("a write panicked")?.with_context(|| format!("writing to {topic}"))?;
            }
            Ok(())
        })?
    }

    /// The numbers of records that were acknowledged and cannot be read: must be empty.
    pub fn missing(&self, report: &TrafficReport, within: Duration) -> Result<BTreeSet<u64>> {
        let bootstrap = self.live_bootstrap()?;
        let read = block_on(async {
            let deadline = tokio::time::Instant::now() + within;
            loop {
                let read = read_back(&bootstrap, &report.topic, report.generator);
                let read = tokio::time::timeout_at(deadline, read)
                    .await
                    .context("reading all records back took too long")?;
                // While leaders move, brokers refuse whoever asks the former one.
                match read {
                    Err(_) if tokio::time::Instant::now() < deadline => {
                        tokio::time::sleep(Duration::from_millis(500)).await;
                    }
                    read => return read,
                }
            }
        })??;
        Ok(report.acknowledged.difference(&read).copied().collect())
    }
}

impl Traffic {
    /// How many records have been acknowledged.
    pub fn acknowledged(&self) -> usize {
        lock(&self.progress).acknowledged.len()
    }

    /// How long ago the last record was acknowledged.
    pub fn silence(&self) -> Duration {
        lock(&self.progress).last_ack.elapsed()
    }

    /// Stops, waits for what is in flight, and reports.
    pub fn finish(mut self) -> Result<TrafficReport> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| anyhow!("the traffic panicked"))??;
        }
        let progress = lock(&self.progress);
        Ok(TrafficReport {
            topic: self.topic.clone(),
            generator: self.generator,
            begun: progress.begun,
            acknowledged: progress.acknowledged.clone(),
            longest_gap: progress.longest_gap,
            last_error: progress.last_error.clone(),
        })
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Writer {
    bootstrap: String,
    topic: String,
    generator: u32,
    config: TrafficConfig,
    stop: Arc<AtomicBool>,
    progress: Arc<Mutex<Progress>>,
}

struct Try {
    number: u64,
    tries: u8,
    outcome: krafka::Result<()>,
}

impl Writer {
    async fn run(&mut self) -> Result<()> {
        let mut producer = Arc::new(self.producer().await?);
        let mut flying: JoinSet<Try> = JoinSet::new();
        let mut again: VecDeque<(u64, u8)> = VecDeque::new();
        let mut next = 0_u64;
        let mut due = 0.0_f64;
        let mut tick = tokio::time::interval(STEP);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        while !self.stop.load(Ordering::Relaxed) {
            tick.tick().await;
            let rebuild = self.collect(&mut flying, &mut again);
            if rebuild && let Ok(fresh) = self.producer().await {
                producer = Arc::new(fresh);
            }
            due = (due + f64::from(self.config.rate) * STEP.as_secs_f64()).min(f64::from(self.config.rate));
            while due >= 1.0 && flying.len() < IN_FLIGHT {
                due -= 1.0;
                let (number, tries) = again.pop_front().unwrap_or_else(|| {
                    next += 1;
                    (next, 0)
                });
                lock(&self.progress).begun = next;
                self.launch(&producer, &mut flying, number, tries + 1);
            }
        }
        let end = Instant::now() + DRAIN;
        while !flying.is_empty() && Instant::now() < end {
            tick.tick().await;
            self.collect(&mut flying, &mut again);
            while let Some((number, tries)) = again.pop_front() {
                self.launch(&producer, &mut flying, number, tries + 1);
            }
        }
        Ok(())
    }

    async fn producer(&self) -> Result<Producer> {
        let handle: Kafka = crate::view::connect(&self.bootstrap).await?;
        let builder = handle.producer().compression(self.config.compression);
        let builder = builder.linger(Duration::from_millis(5)).delivery_timeout(DELIVERY);
        // All acknowledgements and idempotence are krafka's defaults.
        builder.build().await.context("building the traffic's producer")
    }

    fn launch(&self, producer: &Arc<Producer>, flying: &mut JoinSet<Try>, number: u64, tries: u8) {
        let mut value = format!("{}:{number}:", self.generator).into_bytes();
        fill_up(&mut value, self.config.value_bytes, number);
        let mut record = Record::new(self.topic.clone(), value);
        if self.config.keys > 0 {
            record = record.key((number % u64::from(self.config.keys)).to_string());
        }
        let producer = Arc::clone(producer);
        flying.spawn(async move {
            let outcome = producer.send(record).await.map(|_| ());
            Try { number, tries, outcome }
        });
    }

    /// Takes the answers that have come; says whether the producer is beyond use.
    fn collect(&self, flying: &mut JoinSet<Try>, again: &mut VecDeque<(u64, u8)>) -> bool {
        let mut rebuild = false;
        let mut progress = lock(&self.progress);
        while let Some(answer) = flying.try_join_next() {
            let Ok(answer) = answer else { continue };
            match answer.outcome {
                Ok(()) => {
                    progress.acknowledged.insert(answer.number);
                    progress.longest_gap = progress.longest_gap.max(progress.last_ack.elapsed());
                    progress.last_ack = Instant::now();
                }
                Err(error) => {
                    rebuild |= KrafkaError::is_fatal(&error);
                    progress.last_error = Some(error.to_string());
                    if answer.tries < TRIES {
                        again.push_back((answer.number, answer.tries));
                    }
                }
            }
        }
        rebuild
    }
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The numbers of all records of `generator` that are in `topic` up to its present end.
async fn read_back(bootstrap: &str, topic: &str, generator: u32) -> Result<BTreeSet<u64>> {
    let kafka = crate::view::connect(bootstrap).await?;
    let consumer = || {
        kafka
            .consumer_without_group()
            .enable_auto_commit(false)
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .max_poll_records(-1)
            .fetch_max_wait(Duration::from_millis(20))
    };
    let ends = consumer().build().await.context("building a consumer")?;
    let starts = ends.offsets_for_times_for_topic(topic, -2).await.context("asking for the first offsets")?;
    let ends = ends.offsets_for_times_for_topic(topic, -1).await.context("asking for the end offsets")?;
    let mut numbers = BTreeSet::new();
    for (partition, end) in ends {
        let end = end.with_context(|| format!("asking for the end of partition {partition}"))?;
        let Some(start) = starts.get(&partition) else { bail!("partition {partition} has no start") };
        let start =
            start.clone().with_context(|| format!("asking for the start of partition {partition}"))?;
        if end <= start {
            continue;
        }
        // One consumer per partition: a consumer waits for the slowest of its brokers.
        let consumer = consumer().build().await.context("building a consumer")?;
        consumer.assign(topic, vec![partition]).await.context("assigning a partition")?;
        consumer.seek(topic, partition, start.max(0)).await.context("seeking")?;
        while consumer.position(topic, partition).await.unwrap_or(start) < end {
            let records = consumer.poll(Duration::from_millis(500)).await.context("reading")?;
            for record in records {
                numbers.extend(record.value.as_deref().and_then(|value| number_of(value, generator)));
            }
        }
        consumer.close().await.context("closing a consumer")?;
    }
    Ok(numbers)
}

/// Adds letters up to `length` that codecs cannot make much smaller than their 6 bits of 8: the upper bits of Knuth's
/// linear congruential generator (MMIX), begun at `seed`.
fn fill_up(value: &mut Vec<u8>, length: usize, seed: u64) {
    let mut state = seed;
    while value.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // From '@' on: all letters, and no ':', which ends the numbers.
        value.push(b'@' + (state >> 58) as u8 % 63);
    }
}

fn number_of(value: &[u8], generator: u32) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let (own, rest) = text.split_once(':')?;
    let (number, _) = rest.split_once(':')?;
    (own.parse() == Ok(generator)).then(|| number.parse().ok()).flatten()
}
