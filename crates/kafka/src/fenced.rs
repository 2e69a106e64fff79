//! A log that one writer has at a time: transactions under a name, of which Kafka lets the newest holder through alone.
//!
//! Whoever takes a name fences all that had it before, wherever they are: what they had not finished is rolled back, and nothing
//! that they send later is taken. Readers see what was committed, in order, and nothing else.

use std::time::{Duration, Instant};

use cluster::{ClientError, StoredRecord, TopicPartition};
use krafka::consumer::{AutoOffsetReset, Consumer, IsolationLevel};
use krafka::error::ErrorCode;
use krafka::producer::TransactionalProducer;
use krafka::{Compression, KrafkaError, Record};
use thiserror::Error;

use crate::fail::{Place, Trouble};
use crate::kafka::{Kafka, Shared};
use crate::log_write;

/// How long taking a name may take: a transaction that its former holder left open is rolled back first.
const TAKE_LIMIT: Duration = Duration::from_secs(15);
/// How long one commit may take, in all.
const COMMIT_LIMIT: Duration = Duration::from_secs(12);
/// How long one record of it may take, and how long the client tries to end a transaction.
const STEP_LIMIT: Duration = Duration::from_secs(6);
/// How long one request may take: a broker that hangs must not use up a lease.
const REQUEST_LIMIT: Duration = Duration::from_secs(4);
/// After this time Kafka rolls back what was neither committed nor rolled back: it holds back other readers until then.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a read may take beyond what it waits for records.
const READ_MARGIN: Duration = Duration::from_secs(5);
/// A reader that comes no further for so long, though there is more, is stuck: the broker that it reads from has died, perhaps. It is
/// longer than the rest of a transaction takes that its writer has not left open.
const STUCK: Duration = Duration::from_secs(8);
/// How long a broker may wait for records before it answers that there are none.
const FETCH_WAIT: Duration = Duration::from_millis(500);

/// The right to write under a name, until somebody else takes it.
pub struct Fenced {
    kafka: Kafka,
    producer: TransactionalProducer,
}

/// Why records were not committed, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommitError {
    /// Somebody else has taken the name: nothing was written, and nothing can be any more.
    #[error("another writer has taken over")]
    Taken,
    /// Nothing was written; the next commit may succeed.
    #[error("nothing was written: {0}")]
    NotWritten(#[source] ClientError),
    /// It may have been written. The name must be taken anew, and read, to find out.
    #[error("it may have been written: {0}")]
    Unknown(#[source] ClientError),
}

/// Reads what was committed to one partition, from its beginning.
pub struct Committed {
    kafka: Kafka,
    consumer: Consumer,
    at: TopicPartition,
}

impl Kafka {
    /// Takes the name: from now on nobody else can write under it.
    ///
    /// # Errors
    /// It could not be taken, or that is not known; whoever had it may be fenced all the same.
    pub async fn take(&self, name: &str) -> Result<Fenced, ClientError> {
        let place = place(&self.shared, "taking over the writing of a log", TAKE_LIMIT);
        let taking = async {
            let kafka = log_write::client(&self.shared, REQUEST_LIMIT, None).await?;
            let producer = kafka
                .producer()
                .compression(Compression::Lz4)
                .linger(Duration::ZERO)
                .max_block(STEP_LIMIT)
                .delivery_timeout(STEP_LIMIT)
                .transaction_timeout(TRANSACTION_TIMEOUT)
                .metrics_push(false)
                .build_transactional(name)
                .await?;
            Ok::<_, Trouble>(producer)
        };
        match tokio::time::timeout(TAKE_LIMIT, taking).await {
            Ok(Ok(producer)) => Ok(Fenced { kafka: self.clone(), producer }),
            Ok(Err(trouble)) => Err(match place.trouble(&trouble) {
                ClientError::Denied { doing, .. } => {
                    let why = format!("Write and Describe on the transactional id {name} are missing");
                    ClientError::Denied { doing, why }
                }
                other => other,
            }),
            Err(_elapsed) => Err(place.timeout()),
        }
    }

    /// Reads what was committed to `at`, from its beginning.
    ///
    /// # Errors
    /// Nothing can be read at this moment.
    pub async fn committed(&self, at: &TopicPartition) -> Result<Committed, ClientError> {
        let place = place(&self.shared, READING, TAKE_LIMIT);
        let starting = async {
            let kafka = log_write::client(&self.shared, REQUEST_LIMIT, None).await?;
            let consumer = kafka
                .consumer_without_group()
                .isolation_level(IsolationLevel::ReadCommitted)
                .auto_offset_reset(AutoOffsetReset::Earliest)
                .enable_auto_commit(false)
                .max_poll_records(-1)
                .fetch_max_wait(FETCH_WAIT)
                .metrics_push(false)
                .build()
                .await?;
            consumer.assign(&at.topic, vec![at.partition]).await?;
            Ok::<_, Trouble>(consumer)
        };
        match tokio::time::timeout(TAKE_LIMIT, starting).await {
            Ok(Ok(consumer)) => Ok(Committed { kafka: self.clone(), consumer, at: at.clone() }),
            Ok(Err(trouble)) => Err(place.trouble(&trouble)),
            Err(_elapsed) => Err(place.timeout()),
        }
    }
}

const READING: &str = "reading a log";

impl Fenced {
    /// Writes records (a key, and a value or the removal of it) in their order, all or none, and gives back their offsets.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub async fn commit(
        &self,
        at: &TopicPartition,
        records: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    ) -> Result<Vec<i64>, CommitError> {
        let place = place(&self.kafka.shared, "committing to a log", COMMIT_LIMIT);
        match tokio::time::timeout(COMMIT_LIMIT, self.commit_all(at, records)).await {
            Ok(Ok(offsets)) => Ok(offsets),
            Ok(Err((_, true))) => Err(CommitError::Taken),
            Ok(Err((Ended::RolledBack(error), _))) => Err(CommitError::NotWritten(place.error(&error))),
            Ok(Err((Ended::Open(error), _))) => Err(CommitError::Unknown(place.error(&error))),
            Err(_elapsed) => Err(CommitError::Unknown(place.timeout())),
        }
    }

    /// On an error: how the transaction ended, and whether somebody else has taken the name.
    async fn commit_all(
        &self,
        at: &TopicPartition,
        records: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    ) -> Result<Vec<i64>, (Ended, bool)> {
        let error = match self.try_commit(at, records).await {
            Ok(offsets) => return Ok(offsets),
            Err(error) => error,
        };
        if error.is_fatal() {
            let taken = is_taken(&error);
            return Err((Ended::Open(error), taken));
        }
        // Only now does a newer broker say that somebody else has the name.
        match self.producer.abort().await {
            Ok(()) => Err((Ended::RolledBack(error), false)),
            Err(other) => Err((Ended::Open(error), is_taken(&other))),
        }
    }

    async fn try_commit(
        &self,
        at: &TopicPartition,
        records: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    ) -> Result<Vec<i64>, KrafkaError> {
        self.producer.begin()?;
        let mut sent = Vec::with_capacity(records.len());
        for (key, value) in records {
            let record = match value {
                Some(value) => Record::new(&*at.topic, value).key(key),
                None => Record::tombstone(&*at.topic, key),
            };
            sent.push(self.producer.enqueue(record.partition(at.partition)).await?);
        }
        let mut offsets = Vec::with_capacity(sent.len());
        for handle in sent {
            offsets.push(handle.await?.offset);
        }
        self.producer.commit().await?;
        Ok(offsets)
    }
}

enum Ended {
    RolledBack(KrafkaError),
    /// It is not known how it ended, or that it has.
    Open(KrafkaError),
}

/// Whether an error says that somebody else has the name.
fn is_taken(error: &KrafkaError) -> bool {
    match error {
        KrafkaError::Fenced { .. } => true,
        KrafkaError::Broker { code, .. } => {
            matches!(code, ErrorCode::ProducerFenced | ErrorCode::InvalidProducerEpoch)
        }
        _ => false,
    }
}

impl Committed {
    /// What comes next, in order; nothing where nothing comes within `wait`.
    ///
    /// # Errors
    /// It could not be read: start anew.
    pub async fn next(&mut self, wait: Duration) -> Result<Vec<StoredRecord>, ClientError> {
        let place = place(&self.kafka.shared, READING, wait + READ_MARGIN);
        let read = match tokio::time::timeout(wait + READ_MARGIN, self.consumer.poll(wait)).await {
            Ok(read) => read.map_err(|error| place.error(&error))?,
            Err(_elapsed) => return Err(place.timeout()),
        };
        // Copied: the client's bytes are slices of whole answers.
        let stored = read.into_iter().map(|record| StoredRecord {
            offset: record.offset,
            timestamp_ms: record.timestamp,
            key: record.key.as_ref().map(|key| key.to_vec()),
            value: record.value.as_ref().map(|value| value.to_vec()),
            headers: Vec::new(),
        });
        Ok(stored.collect())
    }

    /// Reads on until everything has been read that was written, by whomever, before this was called: also what was not yet
    /// committed or rolled back by then. Bounded by `limit`, and by less where it comes no further.
    ///
    /// # Errors
    /// It did not come to that.
    pub async fn up_to_now(&mut self, limit: Duration) -> Result<Vec<StoredRecord>, ClientError> {
        let until = Instant::now() + limit;
        let of = std::slice::from_ref(&self.at);
        let ends = self.kafka.list_offsets(None, of, cluster::OffsetAt::End).await;
        let end = ends.into_values().next().unwrap_or(Ok(0))?;
        let mut all = Vec::new();
        let (mut reached, mut moved) = (None, Instant::now());
        loop {
            let position = self.position().await;
            if end <= 0 || position.is_some_and(|position| position >= end) {
                return Ok(all);
            }
            if position != reached {
                (reached, moved) = (position, Instant::now());
            }
            let stuck = moved.elapsed();
            if stuck >= STUCK || Instant::now() >= until {
                return Err(place(&self.kafka.shared, READING, stuck.min(limit)).timeout());
            }
            all.append(&mut self.next(Duration::from_millis(200)).await?);
        }
    }

    async fn position(&self) -> Option<i64> {
        self.consumer.position(&self.at.topic, self.at.partition).await
    }
}

fn place<'a>(shared: &'a Shared, doing: &'static str, limit: Duration) -> Place<'a> {
    Place { at: "the cluster", doing, limit, security: &shared.config.security, proven: true, speaks: None }
}
