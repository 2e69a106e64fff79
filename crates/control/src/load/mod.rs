//! What partitions and brokers need at their peak, from what the agents report.
//!
//! A plan that fits the load of this minute does not fit that of this evening. So for each partition the rates of its leader
//! are kept over a window, by buckets of time, each with the largest rate reported in it. What a partition needs is the
//! largest bucket, or a percentile of them.
//!
//! * Followers are not reported: what producers write to the leader, each follower takes in, and the leader's broker gives out
//!   once for each of them.
//! * Rates are means over some minutes, which a move of the partition disturbs: what is reported while it is reassigned, and
//!   for a time after that, does not count.
//! * What a broker needs is the peak of its sum, bucket by bucket, and not the sum of its partitions' peaks, which come at
//!   different hours.

mod checkpoint;
mod series;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cluster::{BrokerId, TopicName, TopicPartition, TopicTable};
use serde::{Deserialize, Serialize};

pub use checkpoint::{CheckpointError, MOST_IN_A_CHUNK};
use series::{NONE, Series};

use crate::config::HumanDuration;
use crate::time::Timestamp;

/// How load is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoadConfig {
    /// How far back peaks count. A day, so that each hour of the day is in it.
    pub window: HumanDuration,
    /// The length of a bucket.
    pub bucket: HumanDuration,
    /// The share of the buckets, in percent, that a need covers: 100 is the peak.
    pub percentile: u8,
    /// For how long after the end of a reassignment a partition's rates do not count: the means of a quarter of an hour
    /// take twice as long to forget it.
    pub after_reassignment: HumanDuration,
}

impl Default for LoadConfig {
    fn default() -> Self {
        Self {
            window: HumanDuration::seconds(86_400),
            bucket: HumanDuration::seconds(1_800),
            percentile: 100,
            after_reassignment: HumanDuration::seconds(1_800),
        }
    }
}

/// More buckets than this are not kept: each costs eight bytes for every partition.
pub const MOST_BUCKETS: u64 = 1_000;

impl LoadConfig {
    /// What is wrong with it: the field and why.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.bucket.0 < Duration::from_secs(60) {
            problems.push(("bucket", "must be at least a minute".to_owned()));
        } else if self.window.0 < self.bucket.0 {
            problems.push(("window", "must be at least as long as a bucket".to_owned()));
        } else if self.buckets() > MOST_BUCKETS {
            let message = format!("has more than {MOST_BUCKETS} buckets: choose longer ones");
            problems.push(("window", message));
        }
        if !(1..=100).contains(&self.percentile) {
            problems.push(("percentile", "must be between 1 and 100".to_owned()));
        }
        problems
    }

    fn bucket_ms(&self) -> i64 {
        i64::try_from(self.bucket.0.as_millis()).unwrap_or(i64::MAX).max(1)
    }

    fn buckets(&self) -> u64 {
        let (window, bucket) = (self.window.0.as_millis(), self.bucket.0.as_millis().max(1));
        u64::try_from(window.div_ceil(bucket)).unwrap_or(u64::MAX).max(1)
    }
}

/// What is reported of one led partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its number.
    pub partition: i32,
    /// Bytes per second that producers write, where known.
    pub bytes_in: Option<u64>,
    /// Bytes per second that consumers read, where known.
    pub bytes_out: Option<u64>,
    /// Whether it is being reassigned.
    pub in_reassignment: bool,
}

/// What one partition needs, in bytes per second. Part of [`PartitionLoads`](crate::PartitionLoads).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionLoad {
    /// What producers write to it.
    pub bytes_in: u64,
    /// What consumers read from its leader.
    pub bytes_out: u64,
}

/// What one broker needs, in bytes per second, replication included. Part of
/// [`PartitionLoads`](crate::PartitionLoads).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerLoad {
    /// What all its replicas take in.
    pub bytes_in: u64,
    /// What its leaders give out to consumers and followers.
    pub bytes_out: u64,
}

/// Partitions of a topic that are kept: more than Kafka can serve of one.
const MOST_PARTITIONS: usize = 200_000;

/// Places for partitions over all topics: as many as the largest clusters have, and some hundred megabytes at most. Numbers in
/// a record are whatever its sender wrote, and each takes the places below it as well.
const MOST_SLOTS: usize = 1_000_000;

/// The rates of all partitions over the window. About 470 bytes for each partition with the usual window.
///
/// A clone shares everything until one of the two changes it, so that it costs little to take one under a lock, and to work on
/// that without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadModel {
    config: LoadConfig,
    buckets: usize,
    topics: BTreeMap<TopicName, Known>,
    /// Places in all of `topics`.
    slots: usize,
    /// The topics that exist with their numbers of partitions, once it is known.
    exist: Option<Arc<BTreeMap<TopicName, usize>>>,
}

/// What is known of the partitions of a topic, by their numbers.
type Known = Arc<Vec<Option<Arc<Series>>>>;

impl LoadModel {
    /// One that has seen nothing.
    pub fn new(config: LoadConfig) -> Self {
        let buckets = usize::try_from(config.buckets().min(MOST_BUCKETS)).unwrap_or(1);
        Self { config, buckets, topics: BTreeMap::new(), slots: 0, exist: None }
    }

    /// Takes in what an agent reported at `made`. It may be older than what was taken in before. Partitions that do not exist
    /// by the newest table of topics are left out, unless something is known of them already.
    pub fn absorb<'a>(&mut self, made: Timestamp, samples: impl IntoIterator<Item = Sample<'a>>) {
        let bucket = made.0.div_euclid(self.config.bucket_ms());
        let settle = i64::try_from(self.config.after_reassignment.0.as_millis()).unwrap_or(i64::MAX);
        let mut samples = samples.into_iter().peekable();
        // Reports name the partitions of a topic one after the other.
        while let Some(name) = samples.peek().map(|sample| sample.topic) {
            let exist = self.exist.as_ref().map(|topics| topics.get(name).copied().unwrap_or(0));
            while let Some(sample) = samples.next_if(|sample| sample.topic == name) {
                let Ok(number) = usize::try_from(sample.partition) else { continue };
                let is_missing = exist.is_some_and(|exist| number >= exist);
                if is_missing && self.topics.get(name).is_none_or(|topic| number >= topic.len()) {
                    continue;
                }
                let (buckets, bucket_ms) = (self.buckets, self.config.bucket_ms());
                let Some(slot) = self.slot(name, number) else { continue };
                let series = series_of(slot, buckets);
                if sample.in_reassignment {
                    series.disturb(made.0, made.0.saturating_add(settle), bucket_ms);
                } else if !series.is_disturbed(made.0) {
                    series.put(made.0, bucket, sample.bytes_in, sample.bytes_out);
                }
            }
        }
    }

    /// The place of a partition, made if there is room for it.
    fn slot(&mut self, name: &str, number: usize) -> Option<&mut Option<Arc<Series>>> {
        let has = self.topics.get(name).map_or(0, |topic| topic.len());
        if number >= has {
            let lacking = number + 1 - has;
            if number >= MOST_PARTITIONS || self.slots + lacking > MOST_SLOTS {
                return None;
            }
            if has == 0 {
                self.topics.insert(name.into(), Known::default());
            }
            self.slots += lacking;
        }
        let topic = Arc::make_mut(self.topics.get_mut(name)?);
        if number >= topic.len() {
            topic.resize_with(number + 1, || None);
        }
        topic.get_mut(number)
    }

    /// Takes in that these partitions are being reassigned.
    pub fn reassigning<'a>(
        &mut self,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
        now: Timestamp,
    ) {
        let settle = i64::try_from(self.config.after_reassignment.0.as_millis()).unwrap_or(i64::MAX);
        let (buckets, bucket_ms) = (self.buckets, self.config.bucket_ms());
        for at in partitions.into_iter().filter(|at| self.topics.contains_key(&at.topic)).collect::<Vec<_>>()
        {
            let Ok(number) = usize::try_from(at.partition) else { continue };
            if let Some(slot) = self.slot(&at.topic, number) {
                series_of(slot, buckets).disturb(now.0, now.0.saturating_add(settle), bucket_ms);
            }
        }
    }

    /// Forgets partitions that do not exist, once nothing that counts was reported of them: a table of topics may lack some
    /// for a moment, as when a right is missing.
    pub fn retain(&mut self, topics: &TopicTable, now: Timestamp) {
        let first = self.window(now).start;
        // Where room is short, what does not exist goes at once.
        let is_crowded = self.slots > MOST_SLOTS / 2;
        self.topics.retain(|name, partitions| {
            let exist = topics.get(name).map_or(0, |topic| topic.partitions.len());
            let gone = |series: &Option<Arc<Series>>| {
                is_crowded || series.as_ref().is_none_or(|series| series.newest < first)
            };
            while partitions.len() > exist && partitions.last().is_some_and(gone) {
                Arc::make_mut(partitions).pop();
            }
            !partitions.is_empty()
        });
        self.slots = self.topics.values().map(|partitions| partitions.len()).sum();
        let is_known = self.exist.as_ref().is_some_and(|exist| {
            exist.len() == topics.len()
                && topics.iter().all(|(name, topic)| exist.get(name) == Some(&topic.partitions.len()))
        });
        if !is_known {
            let sizes = topics.iter().map(|(name, topic)| (TopicName::clone(name), topic.partitions.len()));
            self.exist = Some(Arc::new(sizes.collect()));
        }
    }

    /// How many partitions something is known of.
    pub fn len(&self) -> usize {
        self.topics.values().flat_map(|topic| topic.iter()).flatten().count()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What each partition of `topics` needs by the window that ends `now`.
    pub fn partitions_of(
        &self,
        topics: &TopicTable,
        now: Timestamp,
    ) -> BTreeMap<TopicPartition, PartitionLoad> {
        let exists = |at: &TopicPartition| {
            let number = usize::try_from(at.partition).unwrap_or(usize::MAX);
            topics.get(&at.topic).is_some_and(|topic| number < topic.partitions.len())
        };
        let mut loads = self.partitions(now);
        loads.retain(|at, _| exists(at));
        loads
    }

    /// The same for all partitions of which something is known.
    pub fn partitions(&self, now: Timestamp) -> BTreeMap<TopicPartition, PartitionLoad> {
        let mut loads = BTreeMap::new();
        let mut rates = Vec::with_capacity(self.buckets);
        for (name, topic) in &self.topics {
            for (number, series) in (0..).zip(topic.iter()) {
                let Some(series) = series else { continue };
                let window = self.window(now);
                let need = |rates: &mut Vec<u32>, of: fn(&series::Cell) -> u32| {
                    rates.clear();
                    rates.extend(
                        series.cells(window.clone()).map(|(_, cell)| of(cell)).filter(|rate| *rate != NONE),
                    );
                    self.percentile(rates)
                };
                let (bytes_in, bytes_out) =
                    (need(&mut rates, |cell| cell.bytes_in), need(&mut rates, |cell| cell.bytes_out));
                if bytes_in.is_some() || bytes_out.is_some() {
                    let load = PartitionLoad {
                        bytes_in: bytes_in.unwrap_or_default().into(),
                        bytes_out: bytes_out.unwrap_or_default().into(),
                    };
                    loads.insert(TopicPartition { topic: name.clone(), partition: number }, load);
                }
            }
        }
        loads
    }

    /// What each broker would have needed over the window that ends `now`, had the replicas stood as they do in `topics`.
    /// Brokers of whose partitions nothing is known are absent.
    pub fn brokers(&self, topics: &TopicTable, now: Timestamp) -> BTreeMap<BrokerId, BrokerLoad> {
        let window = self.window(now);
        let mut places: BTreeMap<BrokerId, usize> = BTreeMap::new();
        let mut sums: Vec<Vec<(u64, u64)>> = Vec::new();
        let mut place = |id: BrokerId, sums: &mut Vec<Vec<(u64, u64)>>| {
            *places.entry(id).or_insert_with(|| {
                sums.push(vec![(0, 0); self.buckets]);
                sums.len() - 1
            })
        };
        for (name, known) in &self.topics {
            let Some(topic) = topics.get(name) else { continue };
            for (series, partition) in known.iter().zip(&topic.partitions) {
                let Some(series) = series else { continue };
                let followers = (partition.replicas.len() as u64).saturating_sub(1);
                let holders: Vec<usize> = partition.replicas.iter().map(|id| place(*id, &mut sums)).collect();
                let leader = partition.leader.map(|id| place(id, &mut sums));
                for (bucket, cell) in series.cells(window.clone()) {
                    let at = usize::try_from(bucket - window.start).unwrap_or(0).min(self.buckets - 1);
                    let rate = |rate: u32| if rate == NONE { 0 } else { u64::from(rate) };
                    let (bytes_in, bytes_out) = (rate(cell.bytes_in), rate(cell.bytes_out));
                    for holder in &holders {
                        sums[*holder][at].0 += bytes_in;
                    }
                    if let Some(leader) = leader {
                        sums[leader][at].1 += bytes_out + bytes_in * followers;
                    }
                }
            }
        }
        let need = |sums: &[(u64, u64)], of: fn(&(u64, u64)) -> u64| {
            let mut all: Vec<u64> = sums.iter().filter(|sum| **sum != (0, 0)).map(of).collect();
            self.percentile(&mut all).unwrap_or(0)
        };
        let load = |sums: &[(u64, u64)]| BrokerLoad {
            bytes_in: need(sums, |sum| sum.0),
            bytes_out: need(sums, |sum| sum.1),
        };
        places.into_iter().map(|(id, place)| (id, load(&sums[place]))).collect()
    }

    /// The buckets that count at a moment.
    fn window(&self, now: Timestamp) -> std::ops::Range<i64> {
        let last = now.0.div_euclid(self.config.bucket_ms());
        last - i64::try_from(self.buckets).unwrap_or(i64::MAX) + 1..last + 1
    }

    /// By the nearest rank: the smallest value that so many percent of the values do not exceed.
    fn percentile<T: Ord + Copy>(&self, values: &mut [T]) -> Option<T> {
        let rank = (values.len() * usize::from(self.config.percentile.clamp(1, 100))).div_ceil(100);
        let at = rank.checked_sub(1)?;
        Some(*values.select_nth_unstable(at).1)
    }
}

fn series_of(slot: &mut Option<Arc<Series>>, buckets: usize) -> &mut Series {
    Arc::make_mut(slot.get_or_insert_with(|| Arc::new(Series::new(buckets))))
}

#[cfg(test)]
mod tests;
