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
        let saved = Arc::new(checkpoints.load(&self.gathered).await);
        let _saving = checkpoints.keep_saving(Arc::clone(&self.gathered));
        let mut pause = SHORTEST_PAUSE;
        loop {
            match self.connection.log_reader.partitions(&self.config.topic).await {
                Ok(count) => {
                    pause = SHORTEST_PAUSE;
                    let count = count.clamp(0, MOST_PARTITIONS);
                    self.with(|gathered| {
                        gathered.partitions = Some((0..count).map(|n| (n, Place::default())).collect());
                        gathered.failure = None;
                    });
                    let mut readers = JoinSet::new();
                    for partition in 0..count {
                        readers.spawn(self.clone().read_partition(partition, Arc::clone(&saved)));
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

    /// Where reading begins: where it ended before a restart, if that is still there; else some time back.
    async fn begin(&self, at: &TopicPartition, saved: &Saved) -> Result<(i64, i64), ClientError> {
        let reader = &self.connection.log_reader;
        let end = reader.offset(at, OffsetAt::End).await?;
        if let Some(next) = saved.offsets.get(&at.partition)
            && *next <= end
            && *next >= reader.offset(at, OffsetAt::Start).await?
        {
            return Ok((*next, end));
        }
        let backfill = i64::try_from(self.config.backfill.0.as_millis()).unwrap_or(i64::MAX);
        let from = self.context.clock.now().wall.0.saturating_sub(backfill);
        Ok((reader.offset(at, OffsetAt::Time(from)).await?, end))
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
                            *place = Place { start, next: start, end, caught_up: false }
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
