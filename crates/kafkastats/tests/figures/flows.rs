//! Traffic through the brokers, written with each codec and read by consumers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use cluster::{LogReader, OffsetAt, TopicPartition};
use kafka::Kafka;
use lab::{Cluster, Compression, TrafficConfig, wait_for};

use crate::agents::{client, runtime};
use crate::{SOON, TOPICS};

/// Records a second to each topic, and the bytes of each.
const RATE: u32 = 200;
const VALUE: usize = 1000;
/// How long a consumer waits for records.
const POLL: Duration = Duration::from_millis(100);

/// A thread that reads all records of a topic, from the first one on, until it is told that no more come.
struct Consumer {
    thread: JoinHandle<Result<usize>>,
    no_more: Arc<AtomicBool>,
}

impl Consumer {
    fn start(cluster: &Cluster, topic: &str) -> Result<Consumer> {
        let no_more = Arc::new(AtomicBool::new(false));
        let (kafka, topic, told) = (client(cluster)?, topic.to_owned(), no_more.clone());
        let thread = std::thread::spawn(move || runtime()?.block_on(read_all(&kafka, &topic, &told)));
        Ok(Consumer { thread, no_more })
    }

    /// How many records it has read.
    fn finish(self) -> Result<usize> {
        self.no_more.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("a consumer panicked"))?
    }
}

async fn read_all(kafka: &Kafka, topic: &str, no_more: &AtomicBool) -> Result<usize> {
    let mut partitions = Vec::new();
    for number in 0..kafka.partitions(topic).await? {
        partitions.push((TopicPartition::new(topic, number), 0));
    }
    let mut read = 0;
    loop {
        // Looked at before the ends are: what is written after that is not waited for.
        let is_last = no_more.load(Ordering::Relaxed);
        for (at, next) in &mut partitions {
            let end = kafka.offset(at, OffsetAt::End).await?;
            loop {
                let batch = kafka.read(at, *next, POLL).await?;
                read += batch.records.len();
                *next = batch.next_offset;
                if *next >= end {
                    break;
                }
            }
        }
        if is_last {
            return Ok(read);
        }
    }
}

/// Writes to all topics for so long while consumers read them; afterwards all that was written has been read.
pub(crate) fn write_and_read(cluster: &Cluster, length: Duration) -> Result<()> {
    let began = Instant::now();
    let traffic = |topic: &str, compression| {
        let config =
            TrafficConfig { rate: RATE, value_bytes: VALUE, compression, ..TrafficConfig::default() };
        cluster.traffic(topic, config)
    };
    let consumers = TOPICS.iter().map(|topic| Consumer::start(cluster, topic)).collect::<Result<Vec<_>>>()?;
    let writers = [traffic("none", Compression::None)?, traffic("lz4", Compression::Lz4)?];
    let zstd = std::thread::scope(|scope| {
        // Kafka's own producer: that of the lab cannot pack with zstd.
        let java = scope.spawn(|| write_zstd(cluster, length));
        wait_for("the time of the traffic is over", length + SOON, || Ok(began.elapsed() >= length))?;
        java.join().map_err(|_| anyhow!("the producer panicked"))?
    })?;
    let mut written = zstd;
    for writer in writers {
        written += writer.finish()?.acknowledged.len();
    }
    let mut read = 0;
    for consumer in consumers {
        read += consumer.finish()?;
    }
    // A record whose acknowledgement was lost may be there twice.
    ensure!(read >= written, "{written} records written, {read} read");
    Ok(())
}

fn write_zstd(cluster: &Cluster, length: Duration) -> Result<usize> {
    let records = usize::try_from(length.as_secs())? * RATE as usize;
    let bootstrap = format!("bootstrap.servers={}", cluster.bootstrap());
    let (count, rate, size) = (records.to_string(), RATE.to_string(), VALUE.to_string());
    let arguments =
        ["--topic", "zstd", "--num-records", &count, "--record-size", &size, "--throughput", &rate];
    let producer = ["--producer-props", &bootstrap, "compression.type=zstd", "linger.ms=5"];
    let all = [arguments.as_slice(), producer.as_slice()].concat();
    cluster.tool("org.apache.kafka.tools.ProducerPerformance", &all)?.success()?;
    Ok(records)
}
