//! Writing records, through the client's idempotent producer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::{BoxFuture, ClientError, ClusterId, LogWriter, NewRecord};
use krafka::__private::kafka_metadata;
use krafka::producer::Producer;
use krafka::{Compression, KrafkaError, Record};

use crate::fail::{Place, Trouble};
use crate::kafka::{Kafka, Shared};
use crate::link::{CONNECT_TIMEOUT, MAX_RESPONSE_BYTES, REQUEST_TIMEOUT};

/// How long a record may take from being handed over to being acknowledged. It outlasts the death of the partition's
/// leader (9 s until Kafka notices, and an election).
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a record may wait for room in the buffer, and for the topic's metadata.
const MAX_BLOCK: Duration = Duration::from_secs(10);
/// Bytes of records on their way. Statistics are some 20 KB a message.
const BUFFER_BYTES: usize = 16 << 20;
/// Bytes of one batch: one batch a partition is on its way at once, so that this bounds the rate.
const BATCH_BYTES: usize = 256 << 10;
/// How long starting the producer may take.
const START_LIMIT: Duration = Duration::from_secs(10);
/// The first pause after a failed start, doubled after each further one up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Bootstrap addresses that are handed to the client.
const MAX_BOOTSTRAP: usize = 16;
/// How long the client remembers topics that are not written to. It reads all of the cluster's when it starts, and they would
/// take a kilobyte each for as long as it runs.
const OTHER_TOPICS: Duration = Duration::from_millis(1);

/// A producer is idempotent here, and for that Kafka asks for one of these rights.
const PRODUCER_RIGHT: &str = "Write on a topic, or IdempotentWrite on the cluster, is missing";

const DOING: &str = "writing a record";

/// The producer, started with the first record, and started anew after it failed for good.
#[derive(Default)]
pub(crate) struct Appender(tokio::sync::Mutex<Slot>);

#[derive(Default)]
struct Slot {
    producer: Option<Arc<Writing>>,
    pause: Duration,
    not_before: Option<Instant>,
}

/// The producer, and the client that knows to which cluster it leads.
struct Writing {
    kafka: krafka::Kafka,
    producer: Producer,
}

impl LogWriter for Kafka {
    fn append<'a>(&'a self, topic: &'a str, record: NewRecord) -> BoxFuture<'a, Result<(), ClientError>> {
        Box::pin(async move {
            // Bounded from outside as well: the pause after failed starts, and starting, count too.
            match tokio::time::timeout(DELIVERY_TIMEOUT, self.deliver(topic, record)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(place(&self.shared, DOING, DELIVERY_TIMEOUT, true).timeout()),
            }
        })
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), ClientError>> {
        Box::pin(async move {
            let place = place(&self.shared, "flushing records", DELIVERY_TIMEOUT, true);
            let waiting = async {
                let producer = self.shared.appender.0.lock().await.producer.clone();
                match producer {
                    Some(writing) => writing.producer.flush().await,
                    None => Ok(()),
                }
            };
            match tokio::time::timeout(DELIVERY_TIMEOUT, waiting).await {
                Ok(flushed) => flushed.map_err(|e| place.error(&e)),
                Err(_) => Err(place.timeout()),
            }
        })
    }
}

impl Kafka {
    async fn deliver(&self, topic: &str, record: NewRecord) -> Result<(), ClientError> {
        let writing = self.shared.appender.producer(&self.shared, topic).await?;
        let place = place(&self.shared, DOING, DELIVERY_TIMEOUT, true);
        if let Err(other) = leads_to_ours(&self.shared, &writing.kafka) {
            // The next one starts from the addresses that are known by then.
            self.shared.appender.discard(&writing).await;
            return Err(place.trouble(&other));
        }
        let outcome = match writing.producer.enqueue(wire_record(topic, record)).await {
            Ok(delivery) => delivery.await.map(|_| ()),
            Err(error) => Err(error),
        };
        if outcome.as_ref().is_err_and(KrafkaError::is_fatal) {
            self.shared.appender.discard(&writing).await;
        }
        outcome.map_err(|e| place.error(&e))
    }
}

impl Appender {
    async fn producer(&self, shared: &Shared, topic: &str) -> Result<Arc<Writing>, ClientError> {
        let mut slot = self.0.lock().await;
        if let Some(producer) = &slot.producer {
            return Ok(Arc::clone(producer));
        }
        if let Some(wait) = slot.not_before.and_then(|at| at.checked_duration_since(Instant::now())) {
            tokio::time::sleep(wait).await;
        }
        let place = place(shared, "starting to write records", START_LIMIT, false);
        let started = match tokio::time::timeout(START_LIMIT, start(shared, topic)).await {
            Ok(started) => started.map_err(|e| match place.trouble(&e) {
                ClientError::Denied { doing, .. } => {
                    ClientError::Denied { doing, why: PRODUCER_RIGHT.to_owned() }
                }
                other => other,
            }),
            Err(_) => Err(place.timeout()),
        };
        match started {
            Ok(writing) => {
                let writing = Arc::new(writing);
                *slot = Slot { producer: Some(Arc::clone(&writing)), ..Slot::default() };
                Ok(writing)
            }
            Err(error) => {
                slot.pause = (slot.pause * 2).clamp(FIRST_PAUSE, MAX_PAUSE);
                slot.not_before = Some(Instant::now() + slot.pause);
                Err(error)
            }
        }
    }

    async fn discard(&self, failed: &Arc<Writing>) {
        let mut slot = self.0.lock().await;
        if slot.producer.as_ref().is_some_and(|held| Arc::ptr_eq(held, failed)) {
            slot.producer = None;
        }
    }
}

/// A client of its own, which leads to our cluster. Without a time it remembers topics for as long as it likes.
pub(crate) async fn client(
    shared: &Shared,
    request_limit: Duration,
    remembers_topics: Option<Duration>,
) -> Result<krafka::Kafka, Trouble> {
    if let Some(tokens) = &shared.config.security.tokens {
        tokens.get().await?;
    }
    let everyone = shared.directory.everyone(&shared.config.bootstrap, Instant::now());
    let bootstrap: Vec<_> = everyone.iter().take(MAX_BOOTSTRAP).map(ToString::to_string).collect();
    let mut builder = krafka::Kafka::builder(bootstrap.join(","))
        .client_id(shared.config.client_id.clone())
        .connect_timeout(CONNECT_TIMEOUT)
        .request_timeout(request_limit)
        .max_response_size(MAX_RESPONSE_BYTES)
        // Together with the response size this stays below the client's own bound of 1 GiB.
        .max_in_flight_requests(2)
        .tls_reload_interval(shared.config.security.encrypts().then_some(Duration::from_secs(300)));
    if let Some(auth) = shared.config.security.for_client() {
        builder = builder.security(auth);
    }
    if remembers_topics.is_some() {
        builder = builder.metadata_topic_cache_ttl(remembers_topics);
    }
    let kafka = builder.connect().await?;
    leads_to_ours(shared, &kafka)?;
    Ok(kafka)
}

async fn start(shared: &Shared, topic: &str) -> Result<Writing, Trouble> {
    let kafka = client(shared, REQUEST_TIMEOUT, Some(OTHER_TOPICS)).await?;
    // What is wrong with the topic is told where it is written to.
    tokio::time::sleep(OTHER_TOPICS * 2).await;
    let _ = kafka_metadata(&kafka).force_refresh(Some(&[topic])).await;
    let producer = kafka
        .producer()
        .compression(Compression::Lz4)
        .batch_size(BATCH_BYTES)
        .linger(Duration::from_millis(5))
        .buffer_memory(BUFFER_BYTES)
        .max_block(MAX_BLOCK)
        .delivery_timeout(DELIVERY_TIMEOUT)
        .metrics_push(false)
        .build()
        .await?;
    Ok(Writing { kafka, producer })
}

/// Records tell what was done to a cluster: they go to no other one that answers at its addresses.
fn leads_to_ours(shared: &Shared, kafka: &krafka::Kafka) -> Result<(), Trouble> {
    let found = kafka_metadata(kafka).cluster_id();
    match (shared.directory.told(), found) {
        (Some(expected), Some(found)) if *expected.0 != *found => {
            Err(Trouble::OtherCluster(ClusterId(found.into())))
        }
        _ => Ok(()),
    }
}

fn wire_record(topic: &str, record: NewRecord) -> Record {
    let mut wire = Record::new(topic, record.value);
    if let Some(partition) = record.partition {
        wire = wire.partition(partition);
    }
    if let Some(key) = record.key {
        wire = wire.key(key);
    }
    for (name, value) in record.headers {
        wire = wire.header(name, value);
    }
    wire
}

fn place<'a>(shared: &'a Shared, doing: &'static str, limit: Duration, proven: bool) -> Place<'a> {
    Place { at: "the cluster", doing, limit, security: &shared.config.security, proven, speaks: None }
}
