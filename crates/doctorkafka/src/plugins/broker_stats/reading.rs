//! The tasks that read the stats topic, one for each of its partitions.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use brokerstats::{BrokerStats, Codec};
use cluster::{ClientError, OffsetAt, StoredRecord, TopicPartition};
use tokio::task::JoinSet;

use super::BrokerStatsConfig;
use super::checkpoint::{Checkpoints, Saved};
use super::gathered::{Gathered, Place};
use crate::plugin::{BuildContext, Connection};

/// How long one read waits for records to come.
const READ_WAIT: Duration = Duration::from_millis(500);
/// Pauses after a failed read.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long the first look at the cluster is waited for.
const KNOW_THE_CLUSTER: Duration = Duration::from_secs(10);
/// Partitions of the stats topic that are read; more than any sensible topic of this kind has.
const MOST_PARTITIONS: i32 = 1_000;

#[derive(Clone)]
pub(super) struct Reading {
    pub(super) config: BrokerStatsConfig,
    pub(super) context: BuildContext,
    pub(super) connection: Connection,
    pub(super) codec: Arc<Codec>,
    pub(super) gathered: Arc<Mutex<Gathered>>,
}

impl Reading {
    /// Reads all partitions for ever; begins anew when one of them ends, which is only when the topic changes.
    pub(super) async fn run(self) {
        let checkpoints = Checkpoints::new(&self.context, &self.config);
        self.know_the_cluster().await;
        let mut saved = checkpoints.load(&self.gathered).await;
        let _saving = checkpoints.keep_saving(Arc::clone(&self.gathered));
        let mut pause = SHORTEST_PAUSE;
        loop {
            match self.connection.log_reader.partitions(&self.config.topic).await {
                Ok(count) => {
                    pause = SHORTEST_PAUSE;
                    let count = count.clamp(0, MOST_PARTITIONS);
                    self.with(|gathered| {
                        // Where it was read to before is where it goes on.
                        let before = gathered.partitions.take().into_iter().flatten();
                        let started = before.filter(|(_, place)| place.started);
                        saved.offsets.extend(started.map(|(number, place)| (number, place.next)));
                        gathered.partitions = Some((0..count).map(|n| (n, Place::default())).collect());
                        gathered.failure = None;
                    });
                    let from = Arc::new(saved.clone());
                    let mut readers = JoinSet::new();
                    for partition in 0..count {
                        readers.spawn(self.clone().read_partition(partition, Arc::clone(&from)));
                    }
                    // The first to end ends them all: dropping the set aborts the rest.
                    let _ = readers.join_next().await;
                }
                Err(why) => {
                    self.failed(&why);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Waits, but not for ever, until it is known which cluster's reports are wanted.
    async fn know_the_cluster(&self) {
        let until = tokio::time::Instant::now() + KNOW_THE_CLUSTER;
        while tokio::time::Instant::now() < until {
            let known = |gathered: &Mutex<Gathered>| {
                gathered.lock().unwrap_or_else(PoisonError::into_inner).cluster_id.is_some()
            };
            if known(&self.gathered) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Where reading begins: where it ended before a restart, if that is still there; else some time back.
    async fn begin(&self, at: &TopicPartition, saved: &Saved) -> Result<(i64, i64), ClientError> {
        let reader = &self.connection.log_reader;
        let end = reader.offset(at, OffsetAt::End).await?;
        let backfill = i64::try_from(self.config.backfill.0.as_millis()).unwrap_or(i64::MAX);
        let from = self.context.clock.now().wall.0.saturating_sub(backfill);
        let back = reader.offset(at, OffsetAt::Time(from)).await?;
        // One beyond the end is of a topic that was deleted and made anew.
        match saved.offsets.get(&at.partition) {
            Some(next) if *next <= end => Ok(((*next).max(back), end)),
            _ => Ok((back, end)),
        }
    }

    /// Reads one partition until it no longer exists.
    async fn read_partition(self, number: i32, saved: Arc<Saved>) {
        let at = TopicPartition::new(self.config.topic.as_str(), number);
        let reader = &self.connection.log_reader;
        let mut offset = None;
        let mut pause = SHORTEST_PAUSE;
        // When it was last seen that there is nothing more to read: what comes later is younger than that, whatever clocks say.
        let mut seen_to_end = None;
        loop {
            let asked = self.context.clock.now().tick;
            let batch = match offset {
                None => match self.begin(&at, &saved).await {
                    Ok((start, end)) => {
                        offset = Some(start);
                        self.place(number, |place| {
                            *place = Place {
                                start,
                                next: start,
                                end,
                                caught_up: false,
                                started: true,
                                at_end: None,
                            }
                        });
                        continue;
                    }
                    Err(why) => Err(why),
                },
                Some(next) => reader.read(&at, next, READ_WAIT).await,
            };
            match batch {
                Ok(batch) => {
                    pause = SHORTEST_PAUSE;
                    offset = Some(batch.next_offset);
                    let now = self.context.clock.now();
                    let oldest = seen_to_end.map(|at| now.tick.since(at));
                    let reached_end = batch.next_offset >= batch.end_offset;
                    // Decoded before anything is locked: partitions are read side by side.
                    let reports: Vec<_> =
                        batch.records.iter().filter_map(|record| self.decode(record)).collect();
                    self.with(|gathered| {
                        for (appended_ms, report) in reports {
                            match report {
                                Some(stats) => gathered.take(&stats, appended_ms, now, oldest),
                                None => {
                                    gathered.unreadable += 1;
                                    gathered.unreadable_at = Some(now.tick);
                                }
                            }
                        }
                        gathered.read_at = now.tick;
                        gathered.failure = None;
                    });
                    self.place(number, |place| {
                        (place.next, place.end) = (batch.next_offset, batch.end_offset);
                        place.caught_up |= reached_end;
                        place.at_end = if reached_end { Some(asked) } else { place.at_end };
                    });
                    if reached_end {
                        seen_to_end = Some(asked);
                    }
                }
                Err(why) => {
                    self.failed(&why);
                    if matches!(why, ClientError::UnknownTopic { .. }) {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn with(&self, change: impl FnOnce(&mut Gathered)) {
        change(&mut self.gathered.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn place(&self, partition: i32, change: impl FnOnce(&mut Place)) {
        self.with(|gathered| {
            if let Some(place) = gathered.partitions.as_mut().and_then(|all| all.get_mut(&partition)) {
                change(place);
            }
        });
    }

    fn failed(&self, why: &ClientError) {
        self.with(|gathered| gathered.failure = Some(why.to_string()));
    }

    /// When a record was appended, and the report in it, if it is one. A record without a value says nothing.
    fn decode(&self, record: &StoredRecord) -> Option<(i64, Option<BrokerStats>)> {
        let value = record.value.as_ref()?;
        Some((record.timestamp_ms, self.codec.decode_stats(value).ok()))
    }
}
