//! Records in topics that somebody writes to one by one: the reports of the agents, the audit.
//!
//! The usual traffic has no records: it is bytes alone, and its offsets are those bytes over the mean size of a record.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use cluster::{
    ClientError, NewRecord, NewTopic, OffsetAt, ReadBatch, StoredRecord, TopicName, TopicPartition,
};

use super::agents::{AgentStation, Report};
use super::metadata::Client;
use super::partition::{Log, PartitionModel};
use super::{TopicModel, World};
use crate::fault::Lasting;

/// The size of a record of the usual traffic.
pub(super) const MEAN_RECORD: u64 = 1_000;

/// Of each partition so many bytes of records are kept: days of reports of a small cluster, an hour of a very large one.
const KEPT: usize = 64 << 20;

/// One read brings no more than this, as a consumer's fetch does.
const FETCH: usize = 4 << 20;

/// The records of a partition.
#[derive(Default)]
pub(super) struct Records {
    records: VecDeque<Kept>,
    next: i64,
    bytes: usize,
}

/// A report, with the moment at which it came in, in milliseconds since 1970.
pub(crate) type Received = (i64, Arc<Report>);

/// A record as it is kept.
struct Kept {
    offset: i64,
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Value,
    headers: Vec<(String, Vec<u8>)>,
    /// Bytes of memory that it takes, more or less.
    size: usize,
}

/// A record's value. Reports are encoded when somebody reads them.
pub(super) enum Value {
    Bytes(Vec<u8>),
    Report(Arc<Report>),
}

impl Kept {
    fn stored(&self, encode: impl Fn(&Report) -> Option<Vec<u8>>) -> StoredRecord {
        let value = match &self.value {
            Value::Bytes(bytes) => Some(bytes.clone()),
            Value::Report(report) => encode(report),
        };
        let (key, headers) = (self.key.clone(), self.headers.clone());
        StoredRecord { offset: self.offset, timestamp_ms: self.timestamp_ms, key, value, headers }
    }
}

impl Records {
    fn first(&self) -> i64 {
        self.records.front().map_or(self.next, |record| record.offset)
    }

    fn push(&mut self, kept: Kept) {
        self.bytes += kept.size;
        self.records.push_back(Kept { offset: self.next, ..kept });
        self.next += 1;
        while self.bytes > KEPT
            && let Some(oldest) = self.records.pop_front()
        {
            self.bytes -= oldest.size;
        }
    }

    fn from(&self, offset: i64) -> impl Iterator<Item = &Kept> {
        let skip = usize::try_from(offset.max(self.first()) - self.first()).unwrap_or(usize::MAX);
        self.records.iter().skip(skip)
    }

    fn read(&self, from: i64, encode: impl Fn(&Report) -> Option<Vec<u8>>) -> ReadBatch {
        let mut bytes = 0;
        let fits = |kept: &&Kept| {
            let before = bytes;
            bytes += kept.size;
            before < FETCH
        };
        let records: Vec<StoredRecord> =
            self.from(from).take_while(fits).map(|kept| kept.stored(&encode)).collect();
        let next_offset = records.last().map_or(from.clamp(self.first(), self.next), |last| last.offset + 1);
        ReadBatch { records, next_offset, end_offset: self.next }
    }
}

fn unknown(what: impl ToString) -> ClientError {
    ClientError::UnknownTopic { what: what.to_string() }
}

impl World {
    /// The number of partitions of a topic.
    pub(crate) fn partition_count(&self, topic: &str) -> Result<i32, ClientError> {
        let found = self.by_name.get(topic).ok_or_else(|| unknown(topic))?;
        Ok(i32::try_from(self.topics[*found].partitions.len()).unwrap_or(i32::MAX))
    }

    /// A partition that exists and whose leader answers `client`.
    fn led(&self, client: Client, at: &TopicPartition, doing: &'static str) -> Result<usize, ClientError> {
        if self.stats_are_unreachable(&at.topic) {
            let why = format!("{at} is on brokers that nobody reaches");
            return Err(ClientError::Unreachable { at: at.to_string(), why });
        }
        let p = self.find(at).ok_or_else(|| unknown(at))?;
        let Some(leader) = self.partitions[p].leader.filter(|leader| self.holds(p, *leader)) else {
            let why = format!("{at} has no leader that answers");
            return Err(ClientError::Refused { doing, code: "LEADER_NOT_AVAILABLE".to_owned(), why });
        };
        self.reach_named(client, leader, doing).map(|()| p)
    }

    fn stats_are_unreachable(&self, topic: &str) -> bool {
        self.lasting.contains_key(&Lasting::StatsUnreachable)
            && self.settings.agents.as_ref().is_some_and(|agents| agents.topic == topic)
    }

    /// Writes a record.
    pub(crate) fn append(
        &mut self,
        client: Client,
        topic: &str,
        record: NewRecord,
    ) -> Result<(), ClientError> {
        let doing = "writing a record";
        let count = self.partition_count(topic)?;
        let number = record.partition.unwrap_or_else(|| by_key(record.key.as_deref(), count));
        let at = TopicPartition::new(topic, number);
        let p = self.led(client, &at, doing)?;
        if !self.accepts(p) {
            let why = format!("{at} has too few in-sync replicas");
            return Err(ClientError::Refused { doing, code: "NOT_ENOUGH_REPLICAS".to_owned(), why });
        }
        let NewRecord { key, value, headers, .. } = record;
        let size = value.len();
        self.keep(p, key, Value::Bytes(value), headers, size);
        Ok(())
    }

    /// Writes a report, if that is possible at present.
    pub(super) fn append_report(&mut self, topic: &str, report: Arc<Report>) {
        let at = TopicPartition::new(topic, 0);
        if self.stats_are_unreachable(topic) {
            return;
        }
        let Some(p) = self.find(&at).filter(|p| self.accepts(*p)) else { return };
        let size = report.size();
        self.note_report(&report);
        let key = Some(self.reporter(&report).to_string().into_bytes());
        self.keep(p, key, Value::Report(report), Vec::new(), size);
    }

    fn keep(
        &mut self,
        p: usize,
        key: Option<Vec<u8>>,
        value: Value,
        headers: Vec<(String, Vec<u8>)>,
        size: usize,
    ) {
        let timestamp_ms = self.wall_ms();
        let kept = Kept { offset: 0, timestamp_ms, key, value, headers, size };
        self.records.entry(p).or_default().push(kept);
        self.append_bytes(p, size as u64);
    }

    /// The reports from an offset on, not encoded, and where to go on.
    pub(crate) fn reports(
        &self,
        client: Client,
        at: &TopicPartition,
        offset: i64,
    ) -> Result<(Vec<Received>, i64), ClientError> {
        let p = self.led(client, at, "reading reports")?;
        let Some(records) = self.records.get(&p) else { return Ok((Vec::new(), offset)) };
        let reports = records.from(offset).filter_map(|kept| match &kept.value {
            Value::Report(report) => Some((kept.timestamp_ms, Arc::clone(report))),
            Value::Bytes(_) => None,
        });
        Ok((reports.collect(), records.next))
    }

    /// An offset of a partition.
    pub(crate) fn offset(
        &self,
        client: Client,
        at: &TopicPartition,
        which: OffsetAt,
    ) -> Result<i64, ClientError> {
        let p = self.led(client, at, "reading offsets")?;
        let Some(records) = self.records.get(&p) else {
            let end = self.appended(p);
            let start = end - self.log_bytes(p);
            let bytes = if which == OffsetAt::Start { start } else { end };
            return Ok(i64::try_from(bytes / MEAN_RECORD).unwrap_or(i64::MAX));
        };
        Ok(match which {
            OffsetAt::Start => records.first(),
            OffsetAt::End => records.next,
            OffsetAt::Time(ms) => {
                let at = records.records.partition_point(|record| record.timestamp_ms < ms);
                records.records.get(at).map_or(records.next, |record| record.offset)
            }
        })
    }

    /// Reads records from an offset on.
    pub(crate) fn read(
        &self,
        client: Client,
        at: &TopicPartition,
        offset: i64,
    ) -> Result<ReadBatch, ClientError> {
        let p = self.led(client, at, "reading records")?;
        match self.records.get(&p) {
            Some(records) => {
                let codec = self.agents.as_ref().and_then(AgentStation::codec);
                Ok(records.read(offset, |report| codec?.encode_stats(&self.stats_of(report)).ok()))
            }
            None => {
                let end_offset = self.offset(client, at, OffsetAt::End)?;
                Ok(ReadBatch { records: Vec::new(), next_offset: end_offset, end_offset })
            }
        }
    }

    /// Makes a topic; one that is there already counts as made.
    pub(crate) fn create_topic(&mut self, topic: &NewTopic) -> Result<(), ClientError> {
        if self.by_name.contains_key(&topic.name) {
            return Ok(());
        }
        let refuse = |code: &str, why: String| {
            Err(ClientError::Refused { doing: "creating a topic", code: code.to_owned(), why })
        };
        let live: Vec<usize> = (0..self.brokers.len()).filter(|broker| self.brokers[*broker].live).collect();
        let wanted = usize::try_from(topic.replication_factor).unwrap_or(0);
        let count = usize::try_from(topic.partitions).unwrap_or(0);
        if count == 0 {
            return refuse("INVALID_PARTITIONS", "Number of partitions must be larger than 0.".to_owned());
        }
        if wanted == 0 || wanted > live.len() {
            let why = format!("The topic wants {wanted} replicas, and {} brokers are alive.", live.len());
            return refuse("INVALID_REPLICATION_FACTOR", why);
        }
        let first = usize::try_from(self.random.below(live.len() as u64)).unwrap_or(0);
        let lists = (0..count).map(|number| {
            (0..wanted).map(|replica| live[(first + number + replica) % live.len()]).collect::<Vec<_>>()
        });
        let lists: Vec<Vec<usize>> = lists.collect();
        self.add_topic(topic.name.clone(), false, &topic.configs);
        for (number, replicas) in (0..).zip(lists) {
            self.add_partition(&topic.name, number, replicas, Log::new(0, 0, 0));
        }
        self.publish_topic(self.topics.len() - 1);
        Ok(())
    }

    pub(super) fn add_topic(&mut self, name: TopicName, internal: bool, configs: &BTreeMap<String, String>) {
        let config = |key: &str| configs.get(key).and_then(|value| value.parse::<u64>().ok());
        let min_in_sync = config("min.insync.replicas").and_then(|min| usize::try_from(min).ok());
        self.by_name.insert(name.clone(), self.topics.len());
        self.topics.push(TopicModel {
            name,
            internal,
            partitions: Vec::new(),
            min_in_sync: min_in_sync.unwrap_or(self.settings.min_in_sync),
            retention: config("retention.bytes").unwrap_or(self.settings.retention_bytes),
            factor: 1000,
        });
    }

    /// Adds a partition whose replicas are all in sync, with the first that is alive as its leader.
    pub(super) fn add_partition(
        &mut self,
        topic: &TopicName,
        number: i32,
        replicas: Vec<usize>,
        log: Log,
    ) -> usize {
        let p = self.partitions.len();
        let topic = self.by_name.get(topic).copied().unwrap_or(0);
        for broker in &replicas {
            let dir = self.emptiest_dir(*broker);
            self.brokers[*broker].partitions.insert(p, dir);
        }
        let leader = replicas.iter().copied().find(|broker| self.brokers[*broker].live);
        self.partitions.push(PartitionModel {
            topic,
            number,
            isr: replicas.clone(),
            replicas,
            adding: Vec::new(),
            removing: Vec::new(),
            leader,
            eligible: Vec::new(),
            led_last: None,
            log,
        });
        self.topics[topic].partitions.push(p);
        self.follow(p);
        p
    }
}

/// The partition of a key: any spread will do, as long as a key always has the same (FNV-1a).
fn by_key(key: Option<&[u8]>, count: i32) -> i32 {
    let start = 0xCBF2_9CE4_8422_2325_u64;
    let hash = key
        .unwrap_or_default()
        .iter()
        .fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3));
    let count = u64::try_from(count.max(1)).unwrap_or(1);
    i32::try_from(hash % count).unwrap_or(0)
}
