//! Carries reports to the stats topic, through everything that may be wrong with it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use brokerstats::{BrokerStats, SCHEMA_VERSION, StatsWriter, VERSION_HEADER};
use cluster::{ClientError, LogReader, LogWriter, NewRecord, NewTopic, Reader, Writer};
use thiserror::Error;
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::gather::ask_first;

/// Reports that wait for a stats topic that is away: an hour's worth at one a minute.
pub const CAPACITY: usize = 60;
/// What they may take of memory, in bytes: that hour's worth for 2,000 partitions. A single report may be larger.
const CAPACITY_BYTES: usize = 16 << 20;
/// Partitions of a stats topic that we create: enough for a service to read a day back on several threads.
const PARTITIONS: i32 = 8;
/// The load model looks back a day; a second one covers a service that was down.
const RETENTION: Duration = Duration::from_secs(2 * 24 * 3600);
/// Replicas of a stats topic that we create, brokers permitting.
const REPLICATION_FACTOR: usize = 3;
/// The largest record that a stats topic we create takes: a report of 30,000 partitions, eight times Kafka's own default.
const MAX_MESSAGE_BYTES: usize = 8 << 20;
/// How long one try to send may take, whatever the client under it does.
const SEND_LIMIT: Duration = Duration::from_secs(60);
/// First and longest pause after a failure; it doubles from one to the other.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What a broker answers to a record that it will never take.
const TOO_LARGE: [&str; 2] = ["MESSAGE_TOO_LARGE", "RECORD_LIST_TOO_LARGE"];

/// Where reports go.
#[derive(Clone)]
pub struct Destination {
    /// Reads the stats cluster.
    pub reader: Arc<dyn Reader>,
    /// Creates the topic.
    pub writer: Arc<dyn Writer>,
    /// Knows the topic's partitions.
    pub logs: Arc<dyn LogReader>,
    /// Writes the records.
    pub log: Arc<dyn LogWriter>,
    /// The topic.
    pub topic: String,
}

/// Why a report was not sent.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The topic's partitions could not be learned.
    #[error("looking up topic {topic}")]
    Partitions {
        /// The topic.
        topic: String,
        /// Why.
        source: ClientError,
    },
    /// The topic is missing and could not be created.
    #[error("creating topic {topic}")]
    Create {
        /// The topic.
        topic: String,
        /// Why.
        source: ClientError,
    },
    /// The record was not acknowledged.
    #[error("writing to topic {topic}")]
    Append {
        /// The topic.
        topic: String,
        /// Why.
        source: ClientError,
    },
    /// The topic takes no record of that size, now or later.
    #[error("a report of {bytes} bytes is more than topic {topic} takes (its max.message.bytes)")]
    TooLarge {
        /// The topic.
        topic: String,
        /// The report's size.
        bytes: usize,
    },
    /// Nothing came back in time.
    #[error("writing to topic {topic} took longer than {} s", SEND_LIMIT.as_secs())]
    TooSlow {
        /// The topic.
        topic: String,
    },
}

/// Reports on their way, as the bytes that they are sent as. Bounded in number and bytes: the oldest is dropped for a new one,
/// and counted.
pub struct Outbox {
    writer: StatsWriter,
    inner: Mutex<Waiting>,
    filled: Notify,
    capacity: usize,
    capacity_bytes: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    reports: VecDeque<Arc<Report>>,
    /// What they take, in bytes.
    bytes: usize,
    /// How many ever left at the front, sent or dropped: names the front one.
    gone: u64,
    dropped: i64,
    published: u64,
    /// Why none can be sent.
    trouble: Option<String>,
}

/// A report that waits.
#[derive(Debug)]
struct Report {
    broker: i32,
    value: Vec<u8>,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("inner", &*self.lock())
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

impl Waiting {
    fn remove_oldest(&mut self) -> bool {
        let Some(oldest) = self.reports.pop_front() else { return false };
        self.bytes -= oldest.value.len();
        self.gone += 1;
        true
    }
}

impl Outbox {
    /// One that holds `capacity` reports.
    pub fn new(writer: StatsWriter, capacity: usize) -> Outbox {
        let (inner, filled) = (Mutex::default(), Notify::new());
        Outbox { writer, inner, filled, capacity, capacity_bytes: CAPACITY_BYTES }
    }

    /// The same with another limit of what waiting reports may take of memory, in bytes.
    #[must_use]
    pub fn with_capacity_bytes(self, capacity_bytes: usize) -> Outbox {
        Outbox { capacity_bytes, ..self }
    }

    /// Puts a report in, behind the others, with the number of those dropped so far written into it.
    pub fn push(&self, mut stats: BrokerStats) {
        let mut waiting = self.lock();
        stats.reports_dropped = waiting.dropped;
        let mut value = self.writer.encode(&stats);
        let size = value.as_ref().map_or(0, Vec::len);
        while !waiting.reports.is_empty()
            && (waiting.reports.len() >= self.capacity || waiting.bytes + size > self.capacity_bytes)
        {
            waiting.remove_oldest();
            waiting.dropped += 1;
        }
        if stats.reports_dropped != waiting.dropped {
            stats.reports_dropped = waiting.dropped;
            value = self.writer.encode(&stats);
        }
        match value {
            Ok(mut value) => {
                // It grew by doubling, and may wait for an hour.
                value.shrink_to_fit();
                waiting.bytes += value.len();
                waiting.reports.push_back(Arc::new(Report { broker: stats.id, value }));
                self.filled.notify_one();
            }
            Err(error) => {
                waiting.dropped += 1;
                warn!(%error, "report cannot be encoded and is dropped");
            }
        }
    }

    /// How many reports wait.
    pub fn len(&self) -> usize {
        self.lock().reports.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many were dropped.
    pub fn dropped(&self) -> i64 {
        self.lock().dropped
    }

    /// How many were sent.
    pub fn published(&self) -> u64 {
        self.lock().published
    }

    /// Why none can be sent, in words; `None` while they can, or before the first try.
    pub fn trouble(&self) -> Option<String> {
        self.lock().trouble.clone()
    }

    /// Takes note of why none can be sent, or that they can.
    pub fn set_trouble(&self, trouble: Option<String>) {
        self.lock().trouble = trouble;
    }

    fn count_published(&self) {
        self.lock().published += 1;
    }

    /// The oldest and its name. It stays until [`Outbox::remove`], so that a send that is broken off loses nothing.
    fn front(&self) -> Option<(u64, Arc<Report>)> {
        let waiting = self.lock();
        Some((waiting.gone, Arc::clone(waiting.reports.front()?)))
    }

    /// Takes the oldest out, unless it was dropped in the meantime.
    fn remove(&self, name: u64) {
        let mut waiting = self.lock();
        if waiting.gone == name {
            waiting.remove_oldest();
        }
    }

    /// The same, and counts it as dropped.
    fn drop_front(&self, name: u64) {
        let mut waiting = self.lock();
        if waiting.gone == name && waiting.remove_oldest() {
            waiting.dropped += 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends what is in an [`Outbox`].
pub struct Publisher {
    destination: Destination,
    outbox: Arc<Outbox>,
    partitions: Option<i32>,
    is_failing: bool,
    pauses: (Duration, Duration),
}

impl Publisher {
    /// One that sends the reports of `outbox` to `destination`.
    pub fn new(destination: Destination, outbox: Arc<Outbox>) -> Publisher {
        Publisher { destination, outbox, partitions: None, is_failing: false, pauses: PAUSES }
    }

    /// The same with other pauses after a failure: the first, and the longest.
    #[must_use]
    pub fn with_pauses(mut self, first: Duration, longest: Duration) -> Publisher {
        self.pauses = (first, longest);
        self
    }

    /// Sends reports as they come; ends only with the task. Nothing is lost by dropping it at any time, though what was
    /// being sent may then be sent again.
    pub async fn run(&mut self) {
        let (first, longest) = self.pauses;
        let mut pause = first;
        loop {
            if self.send_all().await {
                pause = first;
                self.outbox.filled.notified().await;
            } else {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
        }
    }

    /// Sends all that waits, until one fails. Says whether none did.
    pub async fn send_all(&mut self) -> bool {
        while let Some((name, report)) = self.outbox.front() {
            match self.send(&report).await {
                Ok(()) => {
                    self.works();
                    self.outbox.remove(name);
                }
                // It would be in the way of all that come after it, for ever.
                Err(error @ PublishError::TooLarge { .. }) => {
                    self.fails(&error);
                    self.outbox.drop_front(name);
                }
                Err(error) => {
                    self.fails(&error);
                    return false;
                }
            }
        }
        true
    }

    async fn send(&mut self, report: &Report) -> Result<(), PublishError> {
        let topic = self.destination.topic.clone();
        match tokio::time::timeout(SEND_LIMIT, self.send_unbounded(report)).await {
            Ok(sent) => sent,
            Err(_) => Err(PublishError::TooSlow { topic }),
        }
    }

    async fn send_unbounded(&mut self, report: &Report) -> Result<(), PublishError> {
        let partitions = match self.partitions {
            Some(partitions) => partitions,
            None => self.find_topic().await?,
        };
        self.partitions = Some(partitions);
        let record = NewRecord {
            partition: Some(report.broker.rem_euclid(partitions.max(1))),
            key: Some(report.broker.to_string().into_bytes()),
            value: report.value.clone(),
            headers: vec![(VERSION_HEADER.to_owned(), SCHEMA_VERSION.to_string().into_bytes())],
        };
        let topic = &self.destination.topic;
        self.destination.log.append(topic, record).await.map_err(|source| {
            // The topic may have been made anew, with other partitions.
            self.partitions = None;
            let topic = topic.clone();
            match source {
                ClientError::Refused { code, .. } if TOO_LARGE.contains(&code.as_str()) => {
                    PublishError::TooLarge { topic, bytes: report.value.len() }
                }
                source => PublishError::Append { topic, source },
            }
        })
    }

    /// The topic's number of partitions; creates it if it is missing.
    async fn find_topic(&self) -> Result<i32, PublishError> {
        let Destination { reader, writer, logs, topic, .. } = &self.destination;
        let failed = |source| PublishError::Partitions { topic: topic.clone(), source };
        match logs.partitions(topic).await {
            Ok(partitions) => return Ok(partitions),
            Err(ClientError::UnknownTopic { .. }) => {}
            Err(source) => return Err(failed(source)),
        }
        let failed = |source| PublishError::Create { topic: topic.clone(), source };
        let (_, answer) = ask_first(&**reader, &reader.bootstrap()).await.map_err(failed)?;
        let replicas = answer.live.len().clamp(1, REPLICATION_FACTOR);
        let configs = [
            ("cleanup.policy".to_owned(), "delete".to_owned()),
            ("retention.ms".to_owned(), RETENTION.as_millis().to_string()),
            ("max.message.bytes".to_owned(), MAX_MESSAGE_BYTES.to_string()),
        ];
        let new = NewTopic {
            name: topic.as_str().into(),
            partitions: PARTITIONS,
            replication_factor: i16::try_from(replicas).unwrap_or(1),
            configs: BTreeMap::from(configs),
        };
        writer.create_topic(&new).await.map_err(failed)?;
        info!(%topic, partitions = PARTITIONS, replication_factor = replicas, "created the stats topic");
        Ok(PARTITIONS)
    }

    fn works(&mut self) {
        self.outbox.count_published();
        self.outbox.set_trouble(None);
        if self.is_failing {
            info!(topic = %self.destination.topic, dropped = self.outbox.dropped(), "reports are published again");
        }
        self.is_failing = false;
    }

    fn fails(&mut self, error: &PublishError) {
        self.outbox.set_trouble(Some(in_words(error)));
        if !self.is_failing {
            warn!(error = %in_words(error), waiting = self.outbox.len(), "reports cannot be published");
        }
        self.is_failing = true;
    }
}

fn in_words(error: &PublishError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
