//! The agents' reports, as the service's monitor gathers them from the stats topic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use brokerstats::{BrokerStats, Codec};
use cluster::{BrokerId, StoredRecord, TopicPartition};
use control::state::NamedValue;
use control::{BrokerReport, BrokerReports, Now, Tick, Timestamp};

use crate::world::{Client, World};

/// Reading never looks further back than this.
const MOST_READS: usize = 1_000;

/// What was read so far.
#[derive(Default)]
pub(super) struct Reports {
    codec: Option<Codec>,
    offset: i64,
    gathered: BrokerReports,
    received: BTreeMap<BrokerId, Tick>,
    shown: Option<(Arc<BrokerReports>, Tick)>,
}

impl Reports {
    /// Reads what is new, in a world with agents.
    pub(super) fn read(&mut self, world: &World, now: Now) {
        let Some(topic) = world.settings().agents.as_ref().map(|agents| agents.topic.as_str()) else {
            return;
        };
        if self.codec.is_none() {
            self.codec = Codec::new().ok();
        }
        let at = TopicPartition::new(topic, 0);
        if world.reach_any(Client::Us, 0).is_err() {
            return;
        }
        for _ in 0..MOST_READS {
            let Ok(batch) = world.read(&at, self.offset) else { return };
            batch.records.iter().for_each(|record| self.take(record, now));
            self.offset = batch.next_offset;
            if batch.next_offset >= batch.end_offset {
                break;
            }
        }
        self.show(now.tick);
    }

    fn take(&mut self, record: &StoredRecord, now: Now) {
        let (Some(codec), Some(value)) = (&self.codec, &record.value) else { return };
        match codec.decode_stats(value) {
            Ok(stats) => self.gather(&stats, record.timestamp_ms, now),
            Err(_) => self.gathered.unreadable += 1,
        }
    }

    fn gather(&mut self, stats: &BrokerStats, appended_ms: i64, now: Now) {
        let id = BrokerId(stats.id);
        let made = Timestamp(stats.timestamp);
        if self.gathered.brokers.get(&id).is_some_and(|before| before.made > made) {
            return;
        }
        let rate = |rate: i64| u64::try_from(rate).ok();
        let partitions = stats.leader_replica_stats.iter().filter_map(|replica| {
            let at = TopicPartition::new(replica.topic.as_str(), replica.partition);
            Some((at, rate(replica.bytes_in_15_min_mean_rate)?))
        });
        let report = BrokerReport {
            made,
            age: now.wall.since(Timestamp(appended_ms)),
            failure: stats.failure_detail.clone().filter(|_| stats.has_failure),
            leaders_bytes_in_per_second: rate(stats.leaders_bytes_in_1_min_rate),
            leaders_bytes_out_per_second: rate(stats.leaders_bytes_out_1_min_rate),
            partitions_bytes_in_per_second: partitions.collect(),
        };
        self.gathered.brokers.insert(id, report);
        self.received.insert(id, now.tick);
    }

    fn show(&mut self, tick: Tick) {
        let mut shown = BrokerReports { caught_up: true, ..self.gathered.clone() };
        for (id, report) in &mut shown.brokers {
            let received = self.received.get(id).copied().unwrap_or(tick);
            report.age = report.age.saturating_add(tick.since(received)).max(Duration::ZERO);
        }
        self.shown = Some((Arc::new(shown), tick));
    }

    pub(super) fn attribute(&self) -> Option<NamedValue> {
        self.shown.as_ref().map(|(reports, as_of)| NamedValue::of(Arc::clone(reports), *as_of))
    }
}
