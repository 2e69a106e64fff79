//! From what is read of a broker, one view after another, to BrokerStats. Plain functions, no I/O, no clock.
//!
//! # Bytes in
//! Kafka has no metric of the bytes produced to a partition. But a log grows by exactly the bytes appended to it, as they were
//! sent, so the difference of two sizes of *one replica* is the count, as long as nothing was taken away in between:
//!
//! 1. The partition's start offset is the same from before the first reading of the size to after the second, the log
//!    is not compacted and has no remote storage, stayed in its directory and did not shrink, and its leader's epoch is the
//!    same: the difference is **exact**.
//! 2. Else, offsets appended × bytes per offset: **estimated**. Bytes per offset is a running mean over exact
//!    intervals; before there is one, the log's size over its offsets (not with remote storage: the size is that of the
//!    local segments, the offsets of all); for an empty log the mean of the topic.
//!    A log that is compacted, or whose segments go to remote storage, may have lost bytes with the same start offset:
//!    there it is the growth or this estimate, whichever is more, and bytes per offset are learned from its growth.
//! 3. The topic has another id than before, or the end offset went back (topic made anew, unclean election): the
//!    counters begin again, no figure.
//! 4. No earlier reading of this replica, or it was catching up at the time (what it then grows by is copied, not
//!    produced): no figure.
//!
//! The sum over a topic's led partitions is the broker's own count, `BytesInPerSec` of the topic: `ReplicaManager` adds to
//! it the size of each batch as it was sent, once it is appended. The two differ where the broker packs batches anew (a
//! topic whose `compression.type` is not `producer`; what is told here is what lies in the log), and where a producer sends a
//! batch again whose acknowledgement was lost: Kafka counts it twice and stores it once. `tests/figures.rs` holds the
//! two to each other on real brokers.
//!
//! When the leadership came over in the meantime, the replica that is measured is the same one, but its offsets were
//! not read before (only leaders are asked for them): a difference that is not negative then counts as an estimate.

use std::collections::BTreeMap;
use std::time::Duration;

use brokerstats::{BrokerError, BrokerStats, NOT_KNOWN, Quality, ReplicaStat};
use cluster::{BrokerId, LogDir, Partition, TopicName, TopicPartition};

use crate::rates::Rates;
use crate::view::{Offsets, View};
use crate::volumes::Volumes;

/// Of a log that may lose segments or records meanwhile: from which part of what is expected on, growth is taken for all that came.
/// Records vary by less than a tenth from one interval to the next; what compaction or remote storage take is more.
const WHOLE_FROM: f64 = 0.9;
/// The weight of a new interval in the running mean of bytes per offset.
const RATIO_WEIGHT: f64 = 0.3;

/// Makes BrokerStats of views of one broker; remembers what the next one is compared with.
#[derive(Debug, Default)]
pub struct Measurer {
    /// When `replicas` was read; `None` before the first reading.
    read_at: Option<Duration>,
    replicas: BTreeMap<TopicPartition, Replica>,
    volumes: Volumes,
}

/// What is remembered of a replica on the broker.
#[derive(Debug, Clone, Default)]
struct Replica {
    size: u64,
    dir: usize,
    offsets: Offsets,
    in_sync: bool,
    topic_id: Option<[u8; 16]>,
    leader_epoch: Option<i32>,
    /// Running mean of bytes per offset over exact intervals.
    ratio: Option<f64>,
    rates: Rates,
}

/// What came to a partition in an interval.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Flow {
    bytes: Option<u64>,
    quality: Quality,
    messages: Option<u64>,
    /// By how much the log grew, where that tells its bytes per offset.
    grown: Option<u64>,
}

impl Measurer {
    /// One that has seen nothing yet.
    pub fn new() -> Measurer {
        Measurer::default()
    }

    /// The report for `view`, compared with the last view that had log directories. Views must come in the order of
    /// their time.
    pub fn measure(&mut self, view: &View) -> BrokerStats {
        let mut stats = BrokerStats::new(view.timestamp_ms, view.broker.id.0);
        stats.name = Some(view.broker.address.host.to_string());
        stats.stats_version = Some(env!("CARGO_PKG_VERSION").to_owned());
        stats.cluster_id = Some(view.cluster_id.to_string());
        stats.rack_id = view.broker.rack.as_deref().map(str::to_owned);
        if !view.lacking.is_empty() {
            stats.failure_detail = Some(view.lacking.join("; "));
        }
        let interval = match (&view.log_dirs, self.read_at) {
            (Some(_), Some(before)) => view.at.saturating_sub(before),
            _ => Duration::ZERO,
        };
        stats.interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        self.put_log_dirs(&mut stats, view);
        let local = local_replicas(view);
        let flows = self.flows(view, &local, interval);
        self.remember(view, &local, &flows, interval);
        self.put_replicas(&mut stats, view, &local, &flows);
        stats
    }

    fn put_log_dirs(&mut self, stats: &mut BrokerStats, view: &View) {
        let Some(dirs) = &view.log_dirs else { return };
        let paths: Vec<&str> = dirs.iter().map(|dir| &*dir.path).collect();
        stats.log_files_path = Some(paths.join(","));
        for dir in dirs {
            stats.log_dirs.push(dir.path.to_string());
            stats.log_dir_total_bytes.push(or_not_known(dir.total_bytes));
            stats.log_dir_usable_bytes.push(or_not_known(dir.usable_bytes));
            stats.log_dir_errors.push(if dir.error.is_some() { LOG_DIR_FAILED } else { 0 });
        }
        if let Some((total, usable)) = self.volumes.sum(dirs) {
            stats.total_disk_space_in_bytes = or_not_known(Some(total));
            stats.free_disk_space_in_bytes = or_not_known(Some(usable));
        }
        let failed: Vec<String> = dirs
            .iter()
            .filter_map(|dir| dir.error.as_ref().map(|error| format!("log directory {}: {error}", dir.path)))
            .collect();
        if !failed.is_empty() {
            stats.has_failure = true;
            stats.failure_reason = Some(BrokerError::DiskFailure);
            let lacking = stats.failure_detail.take().into_iter();
            stats.failure_detail = Some(failed.into_iter().chain(lacking).collect::<Vec<_>>().join("; "));
        }
    }

    /// What came to each led partition. Two passes: estimates may need what the exact ones of their topic say.
    fn flows(
        &self,
        view: &View,
        local: &BTreeMap<TopicPartition, Local<'_>>,
        interval: Duration,
    ) -> BTreeMap<TopicPartition, Flow> {
        let mut flows = BTreeMap::new();
        let mut of_topic: BTreeMap<TopicName, (f64, f64)> = BTreeMap::new();
        if interval.is_zero() {
            return flows;
        }
        for (at, now) in local.iter().filter(|(_, now)| now.leads) {
            let Some(before) = self.replicas.get(at).filter(|before| !is_another(now, before)) else {
                continue;
            };
            let flow = exact(view, at, now, before);
            if let (Some(bytes), Some(messages)) = (flow.bytes, flow.messages) {
                let (sum, count) = of_topic.entry(TopicName::clone(&at.topic)).or_default();
                *sum += bytes as f64;
                *count += messages as f64;
            }
            flows.insert(at.clone(), flow);
        }
        for (at, flow) in flows.iter_mut().filter(|(_, flow)| flow.bytes.is_none()) {
            let (Some(now), Some(before)) = (local.get(at), self.replicas.get(at)) else { continue };
            let mean =
                of_topic.get(&at.topic).filter(|(_, count)| *count > 0.0).map(|(sum, count)| sum / count);
            let is_tiered = view.tiered.contains(&at.topic);
            if let Some(bytes) = estimate(now, before, flow.messages, mean, is_tiered) {
                *flow = Flow { bytes: Some(bytes), quality: Quality::Estimated, ..*flow };
            }
        }
        flows
    }

    /// Takes the view as what the next one is compared with. A view without log directories leaves the last one standing.
    fn remember(
        &mut self,
        view: &View,
        local: &BTreeMap<TopicPartition, Local<'_>>,
        flows: &BTreeMap<TopicPartition, Flow>,
        interval: Duration,
    ) {
        if view.log_dirs.is_none() {
            return;
        }
        let mut replicas = BTreeMap::new();
        for (at, now) in local {
            let Some((dir, size)) = now.stored else { continue };
            let before =
                self.replicas.remove(at).filter(|before| !is_another(now, before)).unwrap_or_default();
            // Rates of an earlier leadership say nothing of this one.
            let starts_anew = !now.leads || went_back(&now.offsets, &before.offsets);
            let mut rates = if starts_anew { Rates::default() } else { before.rates };
            let mut ratio = before.ratio;
            if let Some(Flow { bytes: Some(bytes), messages, grown, .. }) = flows.get(at) {
                rates.update(*bytes, interval);
                if let (Some(grown), Some(messages @ 1..)) = (grown, messages) {
                    let new = *grown as f64 / *messages as f64;
                    ratio = Some(ratio.map_or(new, |old| old + RATIO_WEIGHT * (new - old)));
                }
            }
            let Local { offsets, in_sync, topic_id, leader_epoch, .. } = *now;
            let replica = Replica { size, dir, offsets, in_sync, topic_id, leader_epoch, ratio, rates };
            replicas.insert(at.clone(), replica);
        }
        self.replicas = replicas;
        self.read_at = Some(view.at);
    }

    fn put_replicas(
        &self,
        stats: &mut BrokerStats,
        view: &View,
        local: &BTreeMap<TopicPartition, Local<'_>>,
        flows: &BTreeMap<TopicPartition, Flow>,
    ) {
        let mut totals: Option<[i64; 3]> = None;
        let mut under_replicated = 0;
        for (at, now) in local {
            let named = brokerstats::TopicPartition { topic: at.topic.to_string(), partition: at.partition };
            let in_reassignment = view.reassignments.as_ref().is_some_and(|all| all.contains_key(at));
            if in_reassignment {
                stats.in_reassignment_replicas.push(named.clone());
            }
            let size = or_not_known(now.stored.map(|(_, size)| size));
            let dir = now.stored.and_then(|(dir, _)| i32::try_from(dir).ok()).unwrap_or(-1);
            if !now.leads {
                stats.follower_replicas.push(named);
                stats.follower_log_size_in_bytes.push(size);
                stats.follower_log_dir.push(dir);
                continue;
            }
            let rates = self.replicas.get(at).and_then(|replica| replica.rates.per_second());
            if let Some(rates) = rates {
                add(totals.get_or_insert_default(), rates);
                add_to_topic(stats, &named.topic, rates);
            }
            let rates = rates.unwrap_or([NOT_KNOWN; 3]);
            let flow = flows.get(at).copied().unwrap_or_default();
            under_replicated += i32::from(now.partition.is_under_replicated());
            stats.leader_bytes_in.push(or_not_known(flow.bytes));
            stats.leader_bytes_in_quality.push(flow.quality);
            stats.leader_bytes_out_quality.push(Quality::Unknown);
            stats.leader_messages_in.push(or_not_known(flow.messages));
            stats.leader_log_dir.push(dir);
            stats.leader_replica_stats.push(ReplicaStat {
                timestamp: view.timestamp_ms,
                topic: named.topic.clone(),
                partition: named.partition,
                is_leader: true,
                in_reassignment,
                under_replicated: now.partition.is_under_replicated(),
                bytes_in_1_min_mean_rate: rates[0],
                bytes_in_5_min_mean_rate: rates[1],
                bytes_in_15_min_mean_rate: rates[2],
                // The Kafka protocol does not tell who read how much.
                bytes_out_1_min_mean_rate: NOT_KNOWN,
                bytes_out_5_min_mean_rate: NOT_KNOWN,
                bytes_out_15_min_mean_rate: NOT_KNOWN,
                start_offset: now.offsets.start_after.unwrap_or(NOT_KNOWN),
                end_offset: now.offsets.end.unwrap_or(NOT_KNOWN),
                log_size_in_bytes: size,
                ..ReplicaStat::default()
            });
            stats.leader_replicas.push(named);
        }
        [
            stats.leaders_bytes_in_1_min_rate,
            stats.leaders_bytes_in_5_min_rate,
            stats.leaders_bytes_in_15_min_rate,
        ] = totals.unwrap_or([NOT_KNOWN; 3]);
        stats.leaders_bytes_out_1_min_rate = NOT_KNOWN;
        stats.leaders_bytes_out_5_min_rate = NOT_KNOWN;
        stats.leaders_bytes_out_15_min_rate = NOT_KNOWN;
        stats.under_replicated_partitions = under_replicated;
        stats.num_replicas = i32::try_from(local.len()).unwrap_or(i32::MAX);
        stats.num_leaders = i32::try_from(stats.leader_replicas.len()).unwrap_or(i32::MAX);
    }
}

fn add(sums: &mut [i64; 3], rates: [i64; 3]) {
    for (sum, rate) in sums.iter_mut().zip(rates) {
        *sum = sum.saturating_add(rate);
    }
}

fn add_to_topic(stats: &mut BrokerStats, topic: &str, rates: [i64; 3]) {
    let of_topic = [
        &mut stats.topics_bytes_in_1_min_rate,
        &mut stats.topics_bytes_in_5_min_rate,
        &mut stats.topics_bytes_in_15_min_rate,
    ];
    for (map, rate) in of_topic.into_iter().zip(rates) {
        let sum = map.entry(topic.to_owned()).or_default();
        *sum = sum.saturating_add(rate);
    }
}

/// KAFKA_STORAGE_ERROR: what Kafka answers for a log directory that has failed.
const LOG_DIR_FAILED: i32 = 56;

/// A replica on the broker as the view shows it.
struct Local<'a> {
    partition: &'a Partition,
    leads: bool,
    in_sync: bool,
    /// Index of the log directory, and size in bytes.
    stored: Option<(usize, u64)>,
    offsets: Offsets,
    topic_id: Option<[u8; 16]>,
    leader_epoch: Option<i32>,
}

fn local_replicas(view: &View) -> BTreeMap<TopicPartition, Local<'_>> {
    let me = view.broker.id;
    let stored = stored_replicas(view.log_dirs.as_deref().unwrap_or_default());
    let mut local = BTreeMap::new();
    for (name, topic) in &view.topics {
        let incarnation = view.incarnations.get(name);
        let mut epochs = incarnation.into_iter().flat_map(|told| told.leader_epochs.iter().copied());
        for (number, partition) in (0_i32..).zip(&topic.partitions) {
            let leader_epoch = epochs.next().flatten();
            if !partition.replicas.contains(&me) {
                continue;
            }
            let at = TopicPartition::new(TopicName::clone(name), number);
            let replica = Local {
                partition,
                leads: partition.leader == Some(me),
                in_sync: is_in_sync(partition, me),
                stored: stored.get(&at).copied(),
                offsets: view.offsets.get(&at).copied().unwrap_or_default(),
                topic_id: incarnation.and_then(|told| told.topic_id),
                leader_epoch,
            };
            local.insert(at, replica);
        }
    }
    local
}

fn is_in_sync(partition: &Partition, broker: BrokerId) -> bool {
    partition.leader == Some(broker) || partition.isr.contains(&broker)
}

/// Where each current replica lies. Future ones, copies on their way to another directory, are not counted.
fn stored_replicas(dirs: &[LogDir]) -> BTreeMap<TopicPartition, (usize, u64)> {
    let mut stored = BTreeMap::new();
    for (index, dir) in dirs.iter().enumerate() {
        for (at, replica) in dir.replicas.iter().filter(|(_, replica)| !replica.is_future) {
            stored.insert(at.clone(), (index, replica.size_bytes));
        }
    }
    stored
}

/// Rules 1, 3 and 4, and the case of a leadership that came over.
fn exact(view: &View, at: &TopicPartition, now: &Local<'_>, before: &Replica) -> Flow {
    let messages = match (before.offsets.end, now.offsets.end) {
        (Some(before), Some(now)) => u64::try_from(now.saturating_sub(before)).ok(),
        _ => None,
    };
    let nothing = Flow { messages, ..Flow::default() };
    let Some((dir, size)) = now.stored else { return nothing };
    let Some(grown) = size.checked_sub(before.size) else { return nothing };
    if went_back(&now.offsets, &before.offsets) || !before.in_sync || dir != before.dir {
        return nothing;
    }
    let is_compacted = view.compacted.get(&at.topic).copied();
    let may_lose = is_compacted == Some(true) || view.tiered.contains(&at.topic);
    let estimated = Flow { bytes: Some(grown), quality: Quality::Estimated, messages, grown: None };
    match (before.offsets.start_before, now.offsets.start_after) {
        (Some(then), Some(after)) if then == after && may_lose => {
            let (Some(ratio), Some(messages)) = (before.ratio, messages) else {
                let has_grown = grown > 0 || messages == Some(0);
                return if has_grown { Flow { grown: Some(grown), ..estimated } } else { nothing };
            };
            let expected = messages as f64 * ratio;
            // A float converts to an integer by saturation.
            let bytes = grown.max(expected.round() as u64);
            // Growth that something was taken from says nothing of the bytes of an offset.
            let is_whole = grown > 0 && grown as f64 >= expected * WHOLE_FROM;
            Flow { bytes: Some(bytes), grown: is_whole.then_some(grown), ..estimated }
        }
        // Whether another led in between, and what it cut off, cannot be seen.
        (Some(then), Some(after)) if then == after && before.leader_epoch != now.leader_epoch => estimated,
        (Some(then), Some(after)) if then == after => match is_compacted {
            Some(_) => Flow { quality: Quality::Exact, grown: Some(grown), ..estimated },
            // Most topics are not compacted: good enough for an estimate.
            None => estimated,
        },
        (Some(_), Some(_)) => nothing,
        _ if may_lose => nothing,
        _ => estimated,
    }
}

/// Whether the replica was one of another topic of the same name.
fn is_another(now: &Local<'_>, before: &Replica) -> bool {
    matches!((before.topic_id, now.topic_id), (Some(before), Some(now)) if before != now)
}

/// Rule 2.
fn estimate(
    now: &Local<'_>,
    before: &Replica,
    messages: Option<u64>,
    mean_of_topic: Option<f64>,
    is_tiered: bool,
) -> Option<u64> {
    let messages = messages?;
    if messages == 0 {
        return Some(0);
    }
    let of_log = || {
        if is_tiered {
            return None;
        }
        let (_, size) = now.stored?;
        let offsets = now.offsets.end?.checked_sub(now.offsets.start_after?)?;
        (offsets > 0 && size > 0).then(|| size as f64 / offsets as f64)
    };
    let ratio = before.ratio.or_else(of_log).or(mean_of_topic)?;
    // A float converts to an integer by saturation.
    Some((messages as f64 * ratio).round() as u64)
}

fn went_back(now: &Offsets, before: &Offsets) -> bool {
    matches!((before.end, now.end), (Some(before), Some(now)) if now < before)
}

fn or_not_known(value: Option<u64>) -> i64 {
    value.map_or(NOT_KNOWN, |value| i64::try_from(value).unwrap_or(i64::MAX))
}
