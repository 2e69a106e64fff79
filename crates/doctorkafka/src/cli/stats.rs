//! `doctorkafka stats`: what an agent reported last, from the stats topic.

use std::path::PathBuf;
use std::process::ExitCode;

use brokerstats::{BrokerStats, Codec};
use clap::Args;
use cluster::{ClientError, LogReader, OffsetAt, StoredRecord, TopicPartition};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use super::actions::{Bootstrap, WAIT, bootstrap, patiently};
use super::words::{length, moment};
use super::{fail, print};
use crate::plugin::{Connect, Endpoint};
use crate::plugins::STATS_TOPIC;
use crate::shell::connect::RealConnect;

/// Print the newest report of a broker that arrived on the stats topic, and how old it is.
#[derive(Args, Debug)]
pub(super) struct Stats {
    /// Some brokers of the cluster that has the topic.
    #[arg(long, value_name = "HOST:PORT,…", value_parser = bootstrap)]
    bootstrap_servers: Bootstrap,
    /// A properties file with the security settings, as Kafka's own tools take it.
    #[arg(long, value_name = "FILE")]
    command_config: Option<PathBuf>,
    /// The topic.
    #[arg(long, default_value = STATS_TOPIC)]
    topic: String,
    /// The broker.
    #[arg(long, value_name = "N")]
    broker: i32,
    /// Only reports of the cluster with this `cluster.id`, where several report to one topic.
    #[arg(long, value_name = "ID")]
    cluster_id: Option<String>,
    /// Print JSON in the field names of the Avro record.
    #[arg(long)]
    json: bool,
}

/// How many records of each partition are looked at, from the end, before more are: an agent's report is among the last few
/// as long as it lives.
const LOOKS: [i64; 4] = [100, 1_000, 10_000, i64::MAX];

/// A report, and when it was written.
#[derive(Debug, PartialEq)]
struct Arrived {
    stats: BrokerStats,
    at_ms: i64,
}

impl Stats {
    pub(super) fn run(self) -> ExitCode {
        super::block_on(async move {
            let endpoint = Endpoint {
                bootstrap: self.bootstrap_servers.0.clone(),
                command_config: self.command_config.clone(),
            };
            let reader = match RealConnect::default().connect(&endpoint) {
                Ok(connection) => connection.log_reader,
                Err(why) => return fail(&why),
            };
            let codec = match Codec::new() {
                Ok(codec) => codec,
                Err(error) => return fail(&error.to_string()),
            };
            tokio::select! {
                found = self.newest(&*reader, &codec) => match found {
                    Ok(Some(arrived)) => self.tell(&arrived, Timestamp::now().as_millisecond()),
                    Ok(None) => fail(&format!("topic {} has no report of broker {}", self.topic, self.broker)),
                    Err(error) => fail(&format!("topic {}: {error}", self.topic)),
                },
                _ = tokio::signal::ctrl_c() => ExitCode::SUCCESS,
            }
        })
    }

    fn tell(&self, arrived: &Arrived, now_ms: i64) -> ExitCode {
        match self.words(arrived, now_ms, &TimeZone::system()) {
            Ok(text) => print(&text),
            Err(error) => fail(&error.to_string()),
        }
    }

    /// What is printed.
    fn words(&self, arrived: &Arrived, now_ms: i64, zone: &TimeZone) -> Result<String, serde_json::Error> {
        let Arrived { stats, at_ms } = arrived;
        let age_ms = now_ms.saturating_sub(*at_ms);
        if self.json {
            let whole = json!({ "arrived": at_ms, "ageMs": age_ms, "report": stats.to_report()? });
            return Ok(serde_json::to_string_pretty(&whole)? + "\n");
        }
        // Clocks of two hosts may differ.
        let age = length(u64::try_from(age_ms).unwrap_or(0));
        let agent = stats.stats_version.as_deref().unwrap_or("?");
        let kind = if stats.has_failure { "failure reported" } else { "reported" };
        let head = format!("{kind} {age} ago, {}, by agent {agent}\n", moment(*at_ms, zone));
        Ok(head + &stats.to_text())
    }

    /// The newest report of the broker.
    async fn newest(&self, reader: &dyn LogReader, codec: &Codec) -> Result<Option<Arrived>, ClientError> {
        let mut ends = Vec::new();
        for number in 0..patiently(|| reader.partitions(&self.topic)).await? {
            let at = TopicPartition::new(self.topic.as_str(), number);
            let start = patiently(|| reader.offset(&at, OffsetAt::Start)).await?;
            let end = patiently(|| reader.offset(&at, OffsetAt::End)).await?;
            ends.push((at, start, end));
        }
        for look in LOOKS {
            let mut newest: Option<Arrived> = None;
            let mut is_all = true;
            for (at, start, end) in &ends {
                let from = end.saturating_sub(look).max(*start);
                is_all &= from == *start;
                let mut offset = from;
                while offset < *end {
                    let batch = patiently(|| reader.read(at, offset, WAIT)).await?;
                    // No headway: what is left are records that are no longer kept or that were never committed.
                    if batch.next_offset <= offset {
                        break;
                    }
                    offset = batch.next_offset;
                    for arrived in batch.records.iter().filter_map(|record| self.report(record, codec)) {
                        if newest.as_ref().is_none_or(|newest| newest.at_ms <= arrived.at_ms) {
                            newest = Some(arrived);
                        }
                    }
                }
            }
            if newest.is_some() || is_all {
                return Ok(newest);
            }
        }
        Ok(None)
    }

    /// The report in a record, if it is of the broker. Our agents write its id as the key: others are not even read.
    fn report(&self, record: &StoredRecord, codec: &Codec) -> Option<Arrived> {
        let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()?.parse::<i32>().ok());
        if key.is_some_and(|key| key != self.broker) {
            return None;
        }
        let stats = codec.decode_stats(record.value.as_deref()?).ok()?;
        let is_wanted = stats.id == self.broker
            && self.cluster_id.as_ref().is_none_or(|id| stats.cluster_id.as_ref() == Some(id));
        is_wanted.then_some(Arrived { stats, at_ms: record.timestamp_ms })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cluster::{BoxFuture, ReadBatch};

    use super::*;

    /// A topic: the records of each partition, and the first offset that is kept of each.
    struct Topic(Vec<(i64, Vec<StoredRecord>)>);

    impl Topic {
        fn partition(&self, at: &TopicPartition) -> &(i64, Vec<StoredRecord>) {
            &self.0[usize::try_from(at.partition).unwrap()]
        }
    }

    impl LogReader for Topic {
        fn partitions<'a>(&'a self, _topic: &'a str) -> BoxFuture<'a, Result<i32, ClientError>> {
            Box::pin(async { Ok(i32::try_from(self.0.len()).unwrap()) })
        }

        fn offset<'a>(
            &'a self,
            at: &'a TopicPartition,
            which: OffsetAt,
        ) -> BoxFuture<'a, Result<i64, ClientError>> {
            let (start, records) = self.partition(at);
            let end = start + i64::try_from(records.len()).unwrap();
            Box::pin(async move { Ok(if which == OffsetAt::Start { *start } else { end }) })
        }

        fn read<'a>(
            &'a self,
            at: &'a TopicPartition,
            offset: i64,
            _wait: Duration,
        ) -> BoxFuture<'a, Result<ReadBatch, ClientError>> {
            // One record at a time, so that reading has to go on.
            let (start, records) = self.partition(at);
            let records = vec![records[usize::try_from(offset - start).unwrap()].clone()];
            Box::pin(async move { Ok(ReadBatch { records, next_offset: offset + 1, end_offset: 0 }) })
        }
    }

    fn record(broker: i32, cluster: &str, at_ms: i64) -> StoredRecord {
        let mut stats = BrokerStats::new(at_ms, broker);
        stats.cluster_id = Some(cluster.to_owned());
        stats.name = Some(format!("b{broker}"));
        StoredRecord {
            offset: 0,
            timestamp_ms: at_ms,
            key: Some(broker.to_string().into_bytes()),
            value: Some(Codec::new().unwrap().encode_stats(&stats).unwrap()),
            headers: Vec::new(),
        }
    }

    fn command(cluster_id: Option<&str>, json: bool) -> Stats {
        Stats {
            bootstrap_servers: Bootstrap(Vec::new()),
            command_config: None,
            topic: "t".to_owned(),
            broker: 3,
            cluster_id: cluster_id.map(str::to_owned),
            json,
        }
    }

    async fn newest(topic: &Topic, cluster_id: Option<&str>) -> Option<i64> {
        let found = command(cluster_id, false).newest(topic, &Codec::new().unwrap()).await.unwrap();
        found.map(|arrived| arrived.at_ms)
    }

    #[tokio::test]
    async fn the_newest_report_of_the_broker_is_found_in_whatever_partition_it_is() {
        let bad = StoredRecord { key: None, value: Some(vec![1, 2, 3]), ..record(3, "c", 99) };
        let no_key = StoredRecord { key: None, ..record(3, "c", 30) };
        let tombstone = StoredRecord { value: None, ..record(3, "c", 98) };
        let topic = Topic(vec![
            (7, vec![record(3, "c", 10), record(4, "c", 50), record(3, "c", 20)]),
            (0, vec![]),
            (0, vec![no_key, bad, tombstone, record(3, "other", 40)]),
        ]);
        assert_eq!(newest(&topic, None).await, Some(40));
        assert_eq!(newest(&topic, Some("c")).await, Some(30));
        assert_eq!(newest(&topic, Some("none")).await, None);
        assert_eq!(newest(&Topic(vec![]), None).await, None);
    }

    #[tokio::test]
    async fn a_report_far_back_is_found_too() {
        let others = (0..1_500).map(|at| record(4, "c", 100 + at));
        let topic = Topic(vec![(5, std::iter::once(record(3, "c", 10)).chain(others).collect())]);
        assert_eq!(newest(&topic, None).await, Some(10));
    }

    fn words(json: bool) -> String {
        let mut stats = BrokerStats::new(1_700_000_000_000, 3);
        stats.name = Some("b3".to_owned());
        stats.stats_version = Some("0.1.0".to_owned());
        let arrived = Arrived { stats, at_ms: 1_700_000_000_000 };
        command(None, json).words(&arrived, 1_700_000_012_000, &TimeZone::UTC).unwrap()
    }

    #[test]
    fn its_age_stands_before_it() {
        expect_test::expect![[r#"
            reported 12 s ago, 2023-11-14 22:13:20, by agent 0.1.0
            broker 3 (b3) of cluster ?: 0 replicas, 0 led, 0 in reassignment; - of - bytes of disk free
                  bytes in   quality     messages      log bytes  bytes out/s   quality  partition
        "#]]
        .assert_eq(&words(false));
    }

    #[test]
    fn json_has_what_scripts_read() {
        let value: serde_json::Value = serde_json::from_str(&words(true)).unwrap();
        assert_eq!((&value["ageMs"], &value["arrived"]), (&12_000.into(), &1_700_000_000_000_i64.into()));
        assert_eq!((&value["report"]["id"], &value["report"]["brokerState"]), (&3.into(), &(-1).into()));
    }
}
