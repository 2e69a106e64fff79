//! Agents beside the brokers of a cluster, and the reports that they publish.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use brokerstats::{BrokerStats, Codec};
use cluster::{LogReader, OffsetAt, TopicPartition};
use kafka::{ConnectionConfig, Kafka, Security, parse_bootstrap};
use lab::Cluster;
use serde_json::Value;

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

pub(crate) fn client(cluster: &Cluster) -> Result<Kafka> {
    let bootstrap = parse_bootstrap(&cluster.bootstrap())?;
    let security = Security::plaintext();
    Ok(Kafka::new(ConnectionConfig { bootstrap, security, client_id: "test".to_owned() }))
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// A running agent with a stats topic of its own; killed when dropped.
pub(crate) struct Agent {
    child: Child,
    /// The broker that it measures.
    pub(crate) broker: i32,
    /// The way to the figures of the JVM, as the agent's options and its reports name it.
    pub(crate) way: &'static str,
    /// Its stats topic.
    pub(crate) topic: String,
}

impl Agent {
    /// Starts one that reports every second. Its stats topic has one replica: on the next broker.
    pub(crate) fn start(
        cluster: &Cluster,
        broker: i32,
        way: &'static str,
        options: &[String],
    ) -> Result<Agent> {
        let topic = format!("stats-{broker}-{way}");
        cluster.create_topic_with(&topic, &[&[home_of(broker)]], &[])?;
        let log = File::create(cluster.dir().join(format!("{topic}.log"))).context("making a log")?;
        let child = Command::new(env!("CARGO_BIN_EXE_kafkastats"))
            .args(["run", "--bootstrap-servers", &cluster.bootstrap(), "--interval", "1s", "--allow-root"])
            .args(["--broker-id", &broker.to_string(), "--topic", &topic, "--jvm", way])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("starting an agent")?;
        Ok(Agent { child, broker, way, topic })
    }

    /// What to call it in messages.
    pub(crate) fn name(&self) -> String {
        format!("{} of broker {}", self.way, self.broker)
    }

    /// Its reports, in their order.
    pub(crate) fn reports(&self, cluster: &Cluster) -> Result<Vec<BrokerStats>> {
        let (kafka, codec) = (client(cluster)?, Codec::new()?);
        let at = TopicPartition::new(self.topic.as_str(), 0);
        runtime()?.block_on(async {
            let end = kafka.offset(&at, OffsetAt::End).await?;
            let (mut next, mut reports) = (0, Vec::new());
            while next < end {
                let batch = kafka.read(&at, next, Duration::from_secs(1)).await?;
                for record in batch.records {
                    reports.push(codec.decode_stats(&record.value.context("a report is empty")?)?);
                }
                next = batch.next_offset;
            }
            Ok(reports)
        })
    }

    /// Its newest report.
    pub(crate) fn newest(&self, cluster: &Cluster) -> Result<BrokerStats> {
        self.reports(cluster)?.pop().with_context(|| format!("no report yet: {}", self.name()))
    }

    /// Makes sure that it runs, and that nothing in its log is a fault of its own.
    pub(crate) fn check(&mut self, cluster: &Cluster) -> Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "it has ended: {}", self.name());
        let log = fs::read_to_string(cluster.dir().join(format!("{}.log", self.topic)))?;
        let fault = log.lines().find(|line| line.contains("ERROR") || line.contains("panicked"));
        ensure!(fault.is_none(), "{}: {fault:?}", self.name());
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Which broker has the stats topics of agents of `broker`.
pub(crate) fn home_of(broker: i32) -> i32 {
    // 1 -> 3, 2 -> 1, 3 -> 2
    (broker + 1) % 3 + 1
}

/// What `kafkastats once` prints of a broker over a second.
pub(crate) struct Once(Child);

impl Once {
    pub(crate) fn start(cluster: &Cluster, broker: i32, options: &[String]) -> Result<Once> {
        let child = Command::new(env!("CARGO_BIN_EXE_kafkastats"))
            .args(["once", "--bootstrap-servers", &cluster.bootstrap(), "--interval", "1s", "--json"])
            .args(["--broker-id", &broker.to_string()])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("starting an agent")?;
        Ok(Once(child))
    }

    /// The report, from which the JVM's figures are missing: it is printed all the same, and the exit code tells.
    pub(crate) fn report(self) -> Result<Value> {
        let output = self.0.wait_with_output()?;
        ensure!(output.status.code() == Some(1), "{:?}", output.status);
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}
