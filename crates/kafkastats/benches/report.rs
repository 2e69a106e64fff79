//! What a report costs beside a real broker with a thousand partitions: by the clock, of the processor, and in memory.
//!
//! `cargo bench -p kafkastats` measures a thousand topics of one partition each, of which consumers have read, so that the JVM
//! has a thousand MBeans of bytes out. `TOPICS=1 PARTITIONS=1000` makes it one topic.

#![allow(clippy::unwrap_used, reason = "a bench may fail by panic")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cluster::{LogReader, LogWriter, NewRecord, NewTopic, TopicPartition, Writer};
use kafka::{ConnectionConfig, Kafka, Security, parse_bootstrap};
use lab::{Cluster, Monitor};
use tokio::task::JoinSet;

/// Reports that are measured, after the first ones: those fill buffers and ask for what is asked once.
const REPORTS: u64 = 20;
const FIRST: u64 = 2;
const INTERVAL: &str = "2s";
/// Topics that are made at a time.
const AT_ONCE: usize = 20;
/// The ways that are measured, by the options of the agent.
const WAYS: [(&str, &[&str]); 4] = [
    ("protocol alone", &["--jvm", "none", "--host", "off"]),
    ("with jmx-local", &["--jvm", "jmx-local", "--host", "off"]),
    ("with the host", &["--jvm", "none"]),
    ("with jmx-local and the host", &["--jvm", "jmx-local"]),
];

fn main() -> Result<()> {
    let number = |name: &str, usual: i32| match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} is no number")),
        Err(_) => Ok(usual),
    };
    let (topics, partitions) = (number("TOPICS", 1_000)?, number("PARTITIONS", 1)?);
    let cluster = Cluster::builder().brokers(1).perf_data(true).monitor(1, Monitor::JmxLocal).start()?;
    let began = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(fill(&cluster, topics, partitions))?;
    println!("{topics} topics of {partitions} partitions, written and read, in {:.1?}", began.elapsed());
    for (name, options) in WAYS {
        println!("{name}: {}", measure(&cluster, options)?);
    }
    Ok(())
}

/// Makes the topics, writes a record to each partition, and reads it.
async fn fill(cluster: &Cluster, topics: i32, partitions: i32) -> Result<()> {
    let bootstrap = parse_bootstrap(&cluster.bootstrap())?;
    let security = Security::plaintext();
    let kafka = Kafka::new(ConnectionConfig { bootstrap, security, client_id: "bench".to_owned() });
    let names: Vec<String> =
        (0..topics).map(|number| format!("team-{}.orders-{number:04}", number % 7)).collect();
    for some in names.chunks(AT_ONCE) {
        let mut tasks = JoinSet::new();
        for name in some {
            tasks.spawn(fill_topic(kafka.clone(), name.clone(), partitions));
        }
        while let Some(filled) = tasks.join_next().await {
            filled??;
        }
    }
    Ok(())
}

async fn fill_topic(kafka: Kafka, name: String, partitions: i32) -> Result<()> {
    let configs = BTreeMap::new();
    let topic = NewTopic { name: name.as_str().into(), partitions, replication_factor: 1, configs };
    kafka.create_topic(&topic).await.with_context(|| format!("creating {name}"))?;
    for partition in 0..partitions {
        let value = vec![b'x'; 1_000];
        let record = NewRecord { partition: Some(partition), key: None, value, headers: vec![] };
        let mut tries = 0;
        // The leader of a topic as new as this may not know of it yet.
        while let Err(error) = kafka.append(&name, record.clone()).await {
            tries += 1;
            if tries == 20 {
                return Err(error).with_context(|| format!("writing to {name}-{partition}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        kafka.read(&TopicPartition::new(name.as_str(), partition), 0, Duration::from_secs(5)).await?;
    }
    Ok(())
}

/// A running agent; killed when dropped.
struct Agent(Child, u16);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Agent {
    fn start(cluster: &Cluster, options: &[&str]) -> Result<Agent> {
        // Free a moment ago: nobody else here takes ports that are not asked for.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new(env!("CARGO_BIN_EXE_kafkastats"))
            .args(["run", "--bootstrap-servers", &cluster.bootstrap(), "--broker-id", "1", "--allow-root"])
            .args(["--interval", INTERVAL, "--listen", &format!("127.0.0.1:{port}")])
            .args(options)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting the agent")?;
        Ok(Agent(child, port))
    }

    /// What it says of itself, by name.
    fn metrics(&self) -> Result<BTreeMap<String, f64>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.1))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let line = |line: &str| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Ok(answer.lines().filter_map(line).collect())
    }

    /// The most memory that it has had, in kilobytes.
    fn peak(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

fn measure(cluster: &Cluster, options: &[&str]) -> Result<String> {
    let agent = Agent::start(cluster, options)?;
    let (mut times, mut before) = (Vec::new(), None);
    let began = Instant::now();
    let mut seen = 0;
    loop {
        std::thread::sleep(Duration::from_millis(200));
        if began.elapsed() > Duration::from_secs(180) {
            bail!("its reports do not come");
        }
        let Ok(metrics) = agent.metrics() else { continue };
        let of = |name: &str| metrics.get(name).copied().unwrap_or(0.0);
        let reports = of("kafkastats_reports_total") as u64;
        // A new one, and published: what it costs is spent.
        if reports == seen || (of("kafkastats_reports_published_total") as u64) < reports {
            continue;
        }
        seen = reports;
        let cpu = of("process_cpu_seconds_total");
        if reports < FIRST {
            continue;
        }
        let (from, spent) = *before.get_or_insert((reports, cpu));
        if reports > from {
            times.push(of("kafkastats_report_duration_seconds") * 1000.0);
        }
        if reports >= from + REPORTS {
            let failed = of("kafkastats_reports_failed_total") + of("kafkastats_reports_incomplete_total");
            times.sort_by(f64::total_cmp);
            return Ok(format!(
                "{:.0} ms in the middle, {:.0} ms at most; {:.1} ms of the processor a report; {} kB at most; {failed} \
                 reports not complete",
                times[times.len() / 2],
                times[times.len() - 1],
                (cpu - spent) * 1000.0 / (reports - from) as f64,
                agent.peak()?
            ));
        }
    }
}
