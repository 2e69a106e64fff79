//! Reading records, each partition over a connection of its own.
//!
//! A read waits at the broker until something comes (a *long poll*), and a broker serves a connection in order: two
//! partitions on one connection would wait for each other. And the reason why a broker refuses a read must reach the
//! caller, which the client's own consumer keeps to itself. So a read is one request to the partition's leader here,
//! and the client decodes what comes back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cluster::{
    BoxFuture, BrokerAddress, BrokerId, ClientError, LogReader, OffsetAt, ReadBatch, StoredRecord,
    TopicPartition,
};
use krafka::__private::protocol::{
    ApiKey, FetchPartitionRequest, FetchPartitionResponse, FetchRequest, FetchResponse, FetchTopicRequest,
    ListOffsetsRequest, ListOffsetsRequestPartition, ListOffsetsRequestTopic, ListOffsetsResponse,
    RecordBatch, RecordBatchHeader, TimestampType,
};
use krafka::error::ErrorCode;

use crate::fail;
use crate::kafka::Kafka;
use crate::link::{Api, Lane, Links, REQUEST_TIMEOUT};

/// Bytes that one read brings, more only if a single batch is larger.
const MAX_READ_BYTES: i32 = 1 << 20;
/// Bytes that one batch may unpack to: a bomb must not take the service with it.
const MAX_BATCH_BYTES: usize = 64 << 20;
/// The longest time a read waits at the broker.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// Partitions that are read at the same time.
const MAX_READERS: usize = 4096;
/// A partition that nobody read for so long is forgotten, with its connection.
const FORGET_AFTER: Duration = Duration::from_secs(300);
/// The pause before reading again after a failed read, doubled after each further one up to [`MAX_PAUSE`], and never
/// longer than the wait that the caller asked for: whoever reads in a loop must not spin while a leader is dead.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Times the leader is looked up for one call.
const LEADER_TRIES: usize = 2;

/// Version 12 is the last one that names topics by their names, and every Kafka from 2.7 to 4.x speaks it.
const FETCH: Api = Api { key: ApiKey::Fetch, min: 4, max: 12, doing: "reading records" };
pub(crate) const LIST_OFFSETS: Api =
    Api { key: ApiKey::ListOffsets, min: 1, max: 9, doing: "looking up an offset" };

/// The partitions that are being read.
#[derive(Default)]
pub(crate) struct PartitionReaders(Mutex<BTreeMap<TopicPartition, Arc<PartitionReader>>>);

/// The way to one partition: its leader as last known, and a connection to it.
struct PartitionReader {
    links: Links,
    leader: Mutex<Option<BrokerAddress>>,
    used: Mutex<Instant>,
    /// Reads that failed since the last that did not.
    failures: AtomicU32,
}

impl LogReader for Kafka {
    fn partitions<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<i32, ClientError>> {
        Box::pin(async move {
            let found = self.topic_metadata(topic).await?;
            Ok(i32::try_from(found.partitions.len()).unwrap_or(i32::MAX))
        })
    }

    fn offset<'a>(
        &'a self,
        at: &'a TopicPartition,
        which: OffsetAt,
    ) -> BoxFuture<'a, Result<i64, ClientError>> {
        Box::pin(async move {
            let reader = self.reader(at)?;
            match which {
                OffsetAt::Start => self.list_offset(&reader, at, -2).await,
                OffsetAt::End => self.list_offset(&reader, at, -1).await,
                OffsetAt::Time(ms) => match self.list_offset(&reader, at, ms.max(0)).await? {
                    -1 => self.list_offset(&reader, at, -1).await,
                    offset => Ok(offset),
                },
            }
        })
    }

    fn offsets<'a>(
        &'a self,
        of: &'a [TopicPartition],
        which: OffsetAt,
    ) -> BoxFuture<'a, BTreeMap<TopicPartition, Result<i64, ClientError>>> {
        Box::pin(self.list_offsets(None, of, which))
    }

    fn offsets_at<'a>(
        &'a self,
        leader: &'a BrokerAddress,
        of: &'a [TopicPartition],
        which: OffsetAt,
    ) -> BoxFuture<'a, BTreeMap<TopicPartition, Result<i64, ClientError>>> {
        Box::pin(self.list_offsets(Some(leader), of, which))
    }

    fn read<'a>(
        &'a self,
        at: &'a TopicPartition,
        offset: i64,
        wait: Duration,
    ) -> BoxFuture<'a, Result<ReadBatch, ClientError>> {
        Box::pin(async move {
            let reader = self.reader(at)?;
            let pause = pause_after(reader.failures.load(Ordering::Relaxed));
            if !pause.is_zero() {
                tokio::time::sleep(pause.min(wait)).await;
            }
            let outcome = self.read_once(&reader, at, offset, wait).await;
            match outcome {
                Ok(_) => reader.failures.store(0, Ordering::Relaxed),
                Err(_) => {
                    reader.failures.fetch_add(1, Ordering::Relaxed);
                }
            }
            outcome
        })
    }
}

impl Kafka {
    fn reader(&self, at: &TopicPartition) -> Result<Arc<PartitionReader>, ClientError> {
        let mut readers = self.shared.readers.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(reader) = readers.get(at) {
            *reader.used.lock().unwrap_or_else(PoisonError::into_inner) = now;
            return Ok(Arc::clone(reader));
        }
        readers.retain(|_, reader| {
            now.duration_since(*reader.used.lock().unwrap_or_else(PoisonError::into_inner)) < FORGET_AFTER
        });
        if readers.len() >= MAX_READERS {
            return Err(ClientError::Refused {
                doing: FETCH.doing,
                code: "TOO_MANY".to_owned(),
                why: format!("{MAX_READERS} partitions are being read already"),
            });
        }
        let reader = Arc::new(PartitionReader {
            links: Links::new(Arc::clone(&self.shared.transport)),
            leader: Mutex::new(None),
            used: Mutex::new(now),
            failures: AtomicU32::new(0),
        });
        readers.insert(at.clone(), Arc::clone(&reader));
        Ok(reader)
    }

    async fn read_once(
        &self,
        reader: &PartitionReader,
        at: &TopicPartition,
        offset: i64,
        wait: Duration,
    ) -> Result<ReadBatch, ClientError> {
        let answer = self.fetch(reader, at, offset, wait).await?;
        if answer.error_code != ErrorCode::OffsetOutOfRange {
            return batch(answer, offset);
        }
        // Gone by retention; or beyond the end, because the topic was deleted and made again.
        let start = self.list_offset(reader, at, -2).await?;
        let answer = self.fetch(reader, at, start, wait).await?;
        match answer.error_code {
            ErrorCode::None => batch(answer, start),
            code => Err(fail::broker(FETCH.doing, code, None)),
        }
    }

    /// The address of a partition's leader, looked up where it is not known.
    async fn leader(
        &self,
        reader: &PartitionReader,
        at: &TopicPartition,
    ) -> Result<BrokerAddress, ClientError> {
        let known = reader.leader.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(address) = known {
            return Ok(address);
        }
        let topic = self.topic_metadata(&at.topic).await?;
        let Some(partition) = topic.partitions.iter().find(|p| p.partition_index == at.partition) else {
            return Err(ClientError::UnknownTopic { what: at.to_string() });
        };
        if partition.leader_id < 0 {
            return Err(fail::broker(FETCH.doing, ErrorCode::LeaderNotAvailable, Some(&at.to_string())));
        }
        let address = self.address_of(BrokerId(partition.leader_id)).await?;
        *reader.leader.lock().unwrap_or_else(PoisonError::into_inner) = Some(address.clone());
        Ok(address)
    }

    async fn fetch(
        &self,
        reader: &PartitionReader,
        at: &TopicPartition,
        offset: i64,
        wait: Duration,
    ) -> Result<FetchPartitionResponse, ClientError> {
        let wait = wait.min(MAX_WAIT);
        let request = fetch_request(at, offset, wait);
        let mut last = ErrorCode::None;
        for _ in 0..LEADER_TRIES {
            let leader = self.leader(reader, at).await?;
            let limit = wait + REQUEST_TIMEOUT;
            let (answer, _) = reader
                .links
                .ask::<_, FetchResponse>(Lane::Work, &leader, FETCH, &request, limit)
                .await
                .inspect_err(|_| reader.forget_leader())?;
            if answer.error_code != ErrorCode::None {
                return Err(fail::broker(FETCH.doing, answer.error_code, None));
            }
            let partition = answer
                .responses
                .into_iter()
                .flat_map(|t| t.partitions)
                .find(|p| p.partition == at.partition)
                .ok_or_else(|| malformed("the answer does not mention the partition"))?;
            match partition.error_code {
                ErrorCode::None | ErrorCode::OffsetOutOfRange => return Ok(partition),
                code if leader_moved(code) => {
                    reader.forget_leader();
                    last = code;
                }
                code => return Err(fail::broker(FETCH.doing, code, Some(&at.to_string()))),
            }
        }
        Err(fail::broker(FETCH.doing, last, Some(&at.to_string())))
    }

    async fn list_offset(
        &self,
        reader: &PartitionReader,
        at: &TopicPartition,
        timestamp: i64,
    ) -> Result<i64, ClientError> {
        let request = ListOffsetsRequest {
            replica_id: -1,
            isolation_level: 0,
            topics: vec![ListOffsetsRequestTopic {
                name: at.topic.to_string(),
                partitions: vec![ListOffsetsRequestPartition {
                    partition_index: at.partition,
                    current_leader_epoch: -1,
                    timestamp,
                }],
            }],
            timeout_ms: None,
        };
        let mut last = ErrorCode::None;
        for _ in 0..LEADER_TRIES {
            let leader = self.leader(reader, at).await?;
            let (answer, _) = reader
                .links
                .ask::<_, ListOffsetsResponse>(Lane::Ask, &leader, LIST_OFFSETS, &request, REQUEST_TIMEOUT)
                .await
                .inspect_err(|_| reader.forget_leader())?;
            let partition = answer
                .topics
                .into_iter()
                .flat_map(|t| t.partitions)
                .find(|p| p.partition_index == at.partition)
                .ok_or_else(|| malformed("the answer does not mention the partition"))?;
            match partition.error_code {
                ErrorCode::None => return Ok(partition.offset),
                code if leader_moved(code) => {
                    reader.forget_leader();
                    last = code;
                }
                code => return Err(fail::broker(LIST_OFFSETS.doing, code, Some(&at.to_string()))),
            }
        }
        Err(fail::broker(LIST_OFFSETS.doing, last, Some(&at.to_string())))
    }
}

impl PartitionReader {
    fn forget_leader(&self) {
        *self.leader.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn pause_after(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        n => FIRST_PAUSE.saturating_mul(1 << (n - 1).min(16)).min(MAX_PAUSE),
    }
}

fn leader_moved(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotLeaderForPartition
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::UnknownLeaderEpoch
            | ErrorCode::ReplicaNotAvailable
            | ErrorCode::UnknownTopicOrPartition
    )
}

fn malformed(why: &str) -> ClientError {
    ClientError::Malformed { doing: FETCH.doing, why: why.to_owned() }
}

fn fetch_request(at: &TopicPartition, offset: i64, wait: Duration) -> FetchRequest {
    let mut partition = FetchPartitionRequest::default();
    partition.partition = at.partition;
    partition.fetch_offset = offset;
    partition.partition_max_bytes = MAX_READ_BYTES;
    let mut topic = FetchTopicRequest::default();
    topic.topic = at.topic.to_string();
    topic.partitions = vec![partition];
    let mut request = FetchRequest::default();
    request.max_wait_ms = crate::read::millis(wait);
    request.min_bytes = 1;
    request.max_bytes = MAX_READ_BYTES;
    request.topics = vec![topic];
    request
}

fn batch(answer: FetchPartitionResponse, offset: i64) -> Result<ReadBatch, ClientError> {
    let end_offset = answer.high_watermark;
    let (records, next_offset) = decode_batches(answer.records.unwrap_or_default(), offset)?;
    Ok(ReadBatch { records, next_offset, end_offset })
}

/// Decodes record batches from `offset` on; copies the bytes, because the client's are slices of the whole answer.
/// A batch that cannot be decoded is skipped: one broken record must not stop a reader for ever.
fn decode_batches(mut bytes: Bytes, offset: i64) -> Result<(Vec<StoredRecord>, i64), ClientError> {
    let mut records = Vec::new();
    let mut next = offset;
    while bytes.len() >= RecordBatchHeader::SIZE {
        let header = RecordBatchHeader::peek(&bytes)
            .map_err(|e| malformed(&format!("batch behind offset {next} has no header: {e}")))?;
        let size = header.total_size();
        // The last batch of an answer may be cut off.
        if bytes.len() < size {
            break;
        }
        let last = header.last_offset();
        let mut whole = bytes.split_to(size);
        if !header.attributes.is_control_batch && last >= next {
            match RecordBatch::decode_with_limit(&mut whole, MAX_BATCH_BYTES) {
                Ok(batch) => records.extend(stored(&batch).filter(|r| r.offset >= offset)),
                Err(e) => {
                    tracing::warn!(first = header.base_offset, last, error = %e, "skipping a batch of records that cannot be decoded");
                }
            }
        }
        next = next.max(last.saturating_add(1));
    }
    Ok((records, next))
}

fn stored(batch: &RecordBatch) -> impl Iterator<Item = StoredRecord> + '_ {
    batch.records.iter().map(|record| StoredRecord {
        offset: batch.base_offset.saturating_add(i64::from(record.offset_delta)),
        timestamp_ms: match batch.attributes.timestamp_type {
            TimestampType::LogAppendTime => batch.max_timestamp,
            _ => batch.base_timestamp.saturating_add(record.timestamp_delta),
        },
        key: record.key.as_ref().map(|k| k.to_vec()),
        value: record.value.as_ref().map(|v| v.to_vec()),
        headers: record
            .headers
            .iter()
            .map(|h| {
                let value = h.value.as_ref().map(|v| v.to_vec()).unwrap_or_default();
                (String::from_utf8_lossy(&h.key).into_owned(), value)
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use krafka::__private::protocol::Record;
    use proptest::prelude::*;

    use super::*;

    fn batch_of(base: i64, values: &[&str]) -> Bytes {
        let mut batch = RecordBatch::new();
        batch.base_offset = base;
        for (delta, value) in values.iter().enumerate() {
            let record = Record::new(None, Some(Bytes::copy_from_slice(value.as_bytes())));
            batch.add_record(record.with_offset_delta(i32::try_from(delta).expect("a few")));
        }
        batch.last_offset_delta = i32::try_from(values.len()).expect("a few") - 1;
        batch.encode().expect("encodes")
    }

    fn offsets(bytes: &[u8], from: i64) -> (Vec<i64>, i64) {
        let (records, next) = decode_batches(Bytes::copy_from_slice(bytes), from).expect("decodes");
        (records.iter().map(|r| r.offset).collect(), next)
    }

    #[test]
    fn records_before_the_wanted_offset_and_a_cut_off_batch_are_left_out() {
        let mut bytes = batch_of(10, &["a", "b", "c"]).to_vec();
        bytes.extend_from_slice(&batch_of(13, &["d"]));
        assert_eq!(offsets(&bytes, 11), (vec![11, 12, 13], 14));
        bytes.truncate(bytes.len() - 1);
        assert_eq!(offsets(&bytes, 11), (vec![11, 12], 13));
    }

    #[test]
    fn a_broken_batch_is_skipped_and_the_next_one_is_read() {
        let mut bytes = batch_of(0, &["a", "b"]).to_vec();
        let end = bytes.len() - 1;
        bytes[end] ^= 0xff;
        bytes.extend_from_slice(&batch_of(2, &["c"]));
        assert_eq!(offsets(&bytes, 0), (vec![2], 3));
    }

    #[test]
    fn the_pause_after_failures_grows_and_is_bounded() {
        let pauses: Vec<_> =
            [0, 1, 2, 3, 7, u32::MAX].into_iter().map(|n| pause_after(n).as_millis()).collect();
        assert_eq!(pauses, [0, 100, 200, 400, 5000, 5000]);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_never_go_backwards(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            offset in 0_i64..1000,
        ) {
            if let Ok((_, next)) = decode_batches(Bytes::from(bytes), offset) {
                prop_assert!(next >= offset);
            }
        }

        #[test]
        fn a_batch_with_any_byte_changed_never_panics(at in 0_usize..100, with in any::<u8>()) {
            let mut bytes = batch_of(5, &["some value", "another"]).to_vec();
            let at = at % bytes.len();
            bytes[at] = with;
            let _ = decode_batches(Bytes::from(bytes), 5);
        }
    }
}
