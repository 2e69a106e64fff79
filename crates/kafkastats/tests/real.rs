//! The agent beside real brokers.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic, in its helpers too")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use brokerstats::{BrokerError, BrokerStats, Codec, Quality, SCHEMA_VERSION, VERSION_HEADER};
use cluster::{LogReader, OffsetAt, TopicPartition};
use kafka::{ConnectionConfig, Kafka, Security, parse_bootstrap};
use lab::{Cluster, TrafficConfig, wait_for};

const TOPIC: &str = "brokerstats";
const INTERVAL: &str = "2s";
/// Bounds of waiting, for a build machine that is busy; each thing waited for takes a few seconds at most.
const SOON: Duration = Duration::from_secs(60);

/// A running agent; killed when dropped.
struct Agent(Child);

impl Agent {
    fn start(cluster: &Cluster, broker: i32) -> Result<Agent> {
        let child = Command::new(env!("CARGO_BIN_EXE_kafkastats"))
            .args(["run", "--bootstrap-servers", &cluster.bootstrap(), "--interval", INTERVAL])
            .args(["--broker-id", &broker.to_string(), "--allow-root"])
            .stdin(Stdio::null())
            .spawn()
            .context("starting the agent")?;
        Ok(Agent(child))
    }

    /// Sends a signal and waits for the end; returns how long it took and whether it ended well.
    fn stop(mut self, signal: &str) -> Result<(Duration, bool)> {
        let began = Instant::now();
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status()?;
        ensure!(sent.success(), "the agent is gone already");
        let mut ended = None;
        wait_for("the agent has ended", SOON, || {
            ended = self.0.try_wait()?;
            Ok(ended.is_some())
        })?;
        Ok((began.elapsed(), ended.is_some_and(|status| status.success())))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn client(cluster: &Cluster) -> Result<Kafka> {
    let bootstrap = parse_bootstrap(&cluster.bootstrap())?;
    let security = Security::plaintext();
    Ok(Kafka::new(ConnectionConfig { bootstrap, security, client_id: "test".to_owned() }))
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// All reports in the topic, in the order of their partitions.
fn reports(cluster: &Cluster) -> Result<Vec<BrokerStats>> {
    let (kafka, codec) = (client(cluster)?, Codec::new()?);
    runtime()?.block_on(async {
        let mut all = Vec::new();
        for partition in 0..kafka.partitions(TOPIC).await? {
            let at = TopicPartition::new(TOPIC, partition);
            let end = kafka.offset(&at, OffsetAt::End).await?;
            let mut next = 0;
            while next < end {
                let batch = kafka.read(&at, next, Duration::from_secs(1)).await?;
                for record in batch.records {
                    let stats = codec.decode_stats(&record.value.unwrap())?;
                    assert_eq!(partition, stats.id % kafka.partitions(TOPIC).await?);
                    assert_eq!(record.key.as_deref(), Some(stats.id.to_string().as_bytes()));
                    assert_eq!(
                        record.headers,
                        [(VERSION_HEADER.to_owned(), SCHEMA_VERSION.to_string().into_bytes())]
                    );
                    all.push(stats);
                }
                next = batch.next_offset;
            }
        }
        Ok(all)
    })
}

/// The newest report of each broker.
fn newest_by_id(reports: &[BrokerStats]) -> BTreeMap<i32, &BrokerStats> {
    let mut newest: BTreeMap<i32, &BrokerStats> = BTreeMap::new();
    for stats in reports {
        let held = newest.entry(stats.id).or_insert(stats);
        if stats.timestamp > held.timestamp {
            *held = stats;
        }
    }
    newest
}

/// Bytes of the log segments of a partition in the directories of a broker.
fn bytes_on_disk(cluster: &Cluster, broker: i32, partition: &str) -> Result<i64> {
    let mut bytes = 0;
    for dir in cluster.log_dirs(broker)? {
        let Ok(files) = fs::read_dir(dir.join(partition)) else { continue };
        for file in files {
            let file = file?;
            if file.path().extension().is_some_and(|name| name == "log") {
                bytes += i64::try_from(file.metadata()?.len())?;
            }
        }
    }
    Ok(bytes)
}

#[test]
fn what_is_published_equals_what_lies_on_the_brokers_disks() -> Result<()> {
    let cluster = Cluster::builder().brokers(3).racks(3).log_dirs(2).start()?;
    cluster.create_topic("orders", 6, 3)?;
    let mut agents = BTreeMap::new();
    for id in cluster.broker_ids() {
        agents.insert(id, Agent::start(&cluster, id)?);
    }
    // A broker may not know at once that it leads a partition of a topic as new as this one.
    let mut begun = BTreeMap::new();
    wait_for("every agent has made a complete report", SOON, || {
        begun = newest_by_id(&reports(&cluster)?)
            .into_iter()
            .filter(|(_, stats)| stats.failure_detail.is_none() && stats.num_replicas > 0)
            .map(|(id, stats)| (id, stats.timestamp))
            .collect();
        Ok(begun.keys().eq(agents.keys()))
    })?;

    let traffic = cluster
        .traffic("orders", TrafficConfig { rate: 300, value_bytes: 500, ..TrafficConfig::default() })?;
    wait_for("there was traffic", SOON, || Ok(traffic.acknowledged() >= 2_000))?;
    let written = traffic.finish()?;

    let done = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let mut course = Vec::new();
    wait_for("every agent has reported what is after the traffic", SOON, || {
        course = reports(&cluster)?;
        Ok(newest_by_id(&course).values().all(|stats| stats.timestamp > done))
    })?;
    let records: i64 = newest_by_id(&course)
        .values()
        .flat_map(|stats| &stats.leader_replica_stats)
        .filter(|leader| leader.topic == "orders")
        .map(|leader| leader.end_offset)
        .sum();
    assert!(records >= i64::try_from(written.acknowledged.len())?, "{records} records");

    let mut counted: BTreeMap<String, i64> = BTreeMap::new();
    for stats in course.iter().filter(|stats| stats.timestamp > begun[&stats.id]) {
        assert_eq!((stats.has_failure, &stats.failure_detail), (false, &None));
        assert_eq!(stats.cluster_id.as_deref(), Some(cluster.cluster_id()));
        assert_eq!(stats.rack_id, cluster.rack(stats.id)?);
        for leader in stats.leaders().filter(|leader| leader.stat.topic == "orders") {
            assert_eq!(leader.bytes_in_quality, Quality::Exact);
            *counted.entry(format!("orders-{}", leader.stat.partition)).or_default() +=
                leader.bytes_in.unwrap();
        }
    }
    assert_eq!(counted.len(), 6);
    assert!(counted.values().all(|bytes| *bytes > 10_000), "traffic on every partition: {counted:?}");
    for (id, stats) in newest_by_id(&course) {
        for leader in stats.leaders().filter(|leader| leader.stat.topic == "orders") {
            let name = format!("orders-{}", leader.stat.partition);
            let on_disk = bytes_on_disk(&cluster, id, &name)?;
            assert_eq!(leader.stat.log_size_in_bytes, on_disk, "size of {name}");
            // The topic was empty when the agents began.
            assert_eq!(counted[&name], on_disk, "bytes in of {name}");
            let dir = cluster.log_dirs(id)?.into_iter().find(|dir| dir.join(&name).is_dir()).unwrap();
            assert_eq!(leader.log_dir, dir.to_str());
        }
        for (replica, size, _) in stats.followers().filter(|(replica, ..)| replica.topic == "orders") {
            let name = format!("orders-{}", replica.partition);
            assert_eq!(size, Some(bytes_on_disk(&cluster, id, &name)?), "size of follower {name}");
        }
        // Both directories lie on one volume, which counts once.
        assert_eq!(stats.log_dirs.len(), 2);
        assert_eq!(stats.total_disk_space_in_bytes, stats.log_dir_total_bytes[0]);
        assert!((1..stats.total_disk_space_in_bytes).contains(&stats.free_disk_space_in_bytes));
    }

    offsets_of_many_are_those_of_each(&cluster, course[course.len() / 2].timestamp)?;
    which_broker_is_meant_is_told_by_its_address_alone(&cluster)?;
    survives_the_death_of_its_broker(&cluster)?;
    for (signal, agent) in ["-TERM", "-INT", "-TERM"].into_iter().zip(agents.into_values()) {
        let (took, well) = agent.stop(signal)?;
        assert!(well && took < Duration::from_secs(5), "{signal}: {took:?}, ended well: {well}");
    }
    Ok(())
}

/// The agent asks for the offsets of all partitions that its broker leads at once.
fn offsets_of_many_are_those_of_each(cluster: &Cluster, midway_ms: i64) -> Result<()> {
    let kafka = client(cluster)?;
    let mut of: Vec<_> = (0..6).map(|number| TopicPartition::new("orders", number)).collect();
    let missing = TopicPartition::new("orders", 6);
    of.push(missing.clone());
    let beyond_the_end = i64::MAX / 2;
    let broker = parse_bootstrap(&cluster.address(1)?)?.remove(0);
    let led: BTreeMap<i32, bool> =
        cluster.partitions_of("orders")?.into_iter().map(|at| (at.partition, at.leader == Some(1))).collect();
    runtime()?.block_on(async {
        let wanted =
            [OffsetAt::Start, OffsetAt::End, OffsetAt::Time(midway_ms), OffsetAt::Time(beyond_the_end)];
        for which in wanted {
            let found = kafka.offsets(&of, which).await;
            assert_eq!(found.len(), of.len());
            assert!(found[&missing].is_err());
            for at in &of[..6] {
                assert_eq!(found[at], kafka.offset(at, which).await, "{at} {which:?}");
                assert!(found[at].is_ok());
            }
            // Of one broker, those that it leads.
            let told = kafka.offsets_at(&broker, &of, which).await;
            assert_eq!(told.len(), of.len());
            for (at, told) in told {
                match led.get(&at.partition) {
                    Some(true) => assert_eq!(told, found[&at], "{at} {which:?}"),
                    _ => assert!(told.is_err(), "{at} {which:?}: {told:?}"),
                }
            }
        }
        Ok(())
    })
}

/// Where no id is given.
fn which_broker_is_meant_is_told_by_its_address_alone(cluster: &Cluster) -> Result<()> {
    let start = |bootstrap: &str| {
        Command::new(env!("CARGO_BIN_EXE_kafkastats"))
            .args(["run", "--bootstrap-servers", bootstrap, "--topic", "found", "--allow-root"])
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
    };
    let mut agent = start(&cluster.address(2)?)?;
    let log = BufReader::new(agent.stderr.take().context("its log")?);
    let agent = Agent(agent);
    let mut lines = log.lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("measuring")).context("it measures")?;
    assert!(line.contains("broker=2"), "{line}");
    drop(agent);
    let several = start(&cluster.bootstrap())?.wait_with_output()?;
    let told = String::from_utf8(several.stderr)?;
    assert!(several.status.code() == Some(2) && told.contains("which broker is meant?"), "{told}");
    Ok(())
}

fn survives_the_death_of_its_broker(cluster: &Cluster) -> Result<()> {
    cluster.kill(3)?;
    let newest = |id| -> Result<Option<BrokerStats>> {
        Ok(newest_by_id(&reports(cluster)?).get(&id).copied().cloned())
    };
    wait_for("the agent reports that its broker is dead", SOON, || {
        Ok(newest(3)?.is_some_and(|stats| {
            stats.has_failure
                && stats.failure_reason == Some(BrokerError::MissingKafkaProcess)
                && stats.cluster_id.as_deref() == Some(cluster.cluster_id())
        }))
    })?;
    let before = newest(1)?.map(|stats| stats.timestamp);
    wait_for("the other agents go on", SOON, || {
        Ok(newest(1)?.is_some_and(|stats| !stats.has_failure && Some(stats.timestamp) > before))
    })?;
    cluster.start(3)?;
    cluster.wait_ready()?;
    wait_for("the agent measures its broker again", SOON, || {
        Ok(newest(3)?.is_some_and(|stats| !stats.has_failure && stats.num_replicas > 0))
    })?;
    Ok(())
}

#[test]
fn once_prints_the_bytes_of_each_partition_over_its_interval() -> Result<()> {
    let cluster = Cluster::builder().start()?;
    cluster.create_topic("orders", 2, 1)?;
    let traffic = cluster
        .traffic("orders", TrafficConfig { rate: 200, value_bytes: 1000, ..TrafficConfig::default() })?;
    wait_for("there is traffic", SOON, || Ok(traffic.acknowledged() > 100))?;
    let once = Command::new(env!("CARGO_BIN_EXE_kafkastats"))
        .args(["once", "--bootstrap-servers", &cluster.bootstrap(), "--interval", "3s", "--json"])
        .output()?;
    traffic.finish()?;
    ensure!(once.status.success(), "{}", String::from_utf8_lossy(&once.stderr));
    let report: serde_json::Value = serde_json::from_slice(&once.stdout)?;
    let interval = report["intervalMs"].as_i64().unwrap();
    assert!((3_000..60_000).contains(&interval), "{interval}");
    let rows = report["leaderReplicaStats"].as_array().unwrap();
    let orders: Vec<_> = rows.iter().filter(|row| row["topic"] == "orders").collect();
    assert_eq!(orders.len(), 2);
    let bytes: i64 = orders.iter().map(|row| row["bytesIn"].as_i64().unwrap()).sum();
    assert!(orders.iter().all(|row| row["bytesInQuality"] == "exact"));
    // 200 records a second of 1000 bytes and what goes around them; the generator keeps its rate on average.
    let per_second = bytes * 1000 / interval;
    assert!((100_000..400_000).contains(&per_second), "{per_second} bytes a second");
    assert_eq!(report["id"], 1);
    Ok(())
}

#[test]
fn retention_under_traffic_costs_exactness_but_not_the_figure() -> Result<()> {
    let cluster = Cluster::builder()
        .property("log.retention.check.interval.ms", "500")
        .property("log.initial.task.delay.ms", "500")
        // The smallest segments that Kafka 4 takes.
        .property("log.segment.bytes", "1048576")
        .property("log.retention.bytes", "2097152")
        .start()?;
    cluster.create_topic("orders", 1, 1)?;
    let traffic = cluster
        .traffic("orders", TrafficConfig { rate: 500, value_bytes: 2000, ..TrafficConfig::default() })?;
    // More than five segments in: the first ones are gone.
    wait_for("retention is at work", SOON, || Ok(traffic.acknowledged() > 3_000))?;
    let once = Command::new(env!("CARGO_BIN_EXE_kafkastats"))
        .args(["once", "--bootstrap-servers", &cluster.bootstrap(), "--interval", "5s", "--json"])
        .output()?;
    traffic.finish()?;
    ensure!(once.status.success(), "{}", String::from_utf8_lossy(&once.stderr));
    let report: serde_json::Value = serde_json::from_slice(&once.stdout)?;
    let rows = report["leaderReplicaStats"].as_array().unwrap();
    let row = rows.iter().find(|row| row["topic"] == "orders").unwrap();
    assert!(row["startOffset"].as_i64().unwrap() > 0, "segments were deleted: {row}");
    assert_eq!(row["bytesInQuality"], "estimated");
    let (bytes, messages) = (row["bytesIn"].as_i64().unwrap(), row["messagesIn"].as_i64().unwrap());
    assert!(messages > 500, "{row}");
    // A record takes its value, some bytes around it, and its share of the 61 of its batch. Sizes and offsets are asked
    // for one after the other while records come in, so that an estimate is off by what comes between.
    let each = bytes / messages;
    assert!((1_900..2_200).contains(&each), "{each} bytes a record: {row}");
    Ok(())
}

#[test]
fn segments_that_go_to_remote_storage_cost_exactness_but_not_the_figure() -> Result<()> {
    let manager = "org.apache.kafka.server.log.remote.storage.LocalTieredStorage";
    let metadata = "rlmm.config.remote.log.metadata.topic";
    let remote = tempfile::tempdir()?;
    let cluster = Cluster::builder()
        .property("remote.log.storage.system.enable", "true")
        .property("remote.log.storage.manager.class.name", manager)
        .property("remote.log.storage.manager.class.path", lab::tiered_storage_jar()?.display().to_string())
        .property("rsm.config.dir", remote.path().display().to_string())
        .property("remote.log.metadata.manager.listener.name", "PLAINTEXT")
        .property(format!("{metadata}.replication.factor"), "1")
        .property(format!("{metadata}.num.partitions"), "1")
        .property("remote.log.manager.task.interval.ms", "500")
        .property("log.retention.check.interval.ms", "500")
        .property("log.initial.task.delay.ms", "500")
        .start()?;
    let configs = [
        ("remote.storage.enable", "true"),
        // The smallest segments that Kafka 4 takes.
        ("segment.bytes", "1048576"),
        ("local.retention.bytes", "1048576"),
        ("file.delete.delay.ms", "500"),
    ];
    cluster.create_topic_with("orders", &[&[1]], &configs)?;
    let agent = Agent::start(&cluster, 1)?;
    let traffic = cluster
        .traffic("orders", TrafficConfig { rate: 500, value_bytes: 2000, ..TrafficConfig::default() })?;
    let log = cluster.log_dirs(1)?.remove(0).join("orders-0");
    wait_for("the first segment is in remote storage alone", SOON, || {
        Ok(traffic.acknowledged() > 3_000 && !log.join("00000000000000000000.log").exists())
    })?;
    let gone = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    let mut after = Vec::new();
    wait_for("reports of what comes and goes", SOON, || {
        after = reports(&cluster)?;
        after.retain(|stats| stats.timestamp > gone);
        Ok(after.len() > 6)
    })?;
    traffic.finish()?;
    drop(agent);
    let (mut bytes, mut messages, mut shrank) = (0, 0, false);
    let mut size = 0;
    for stats in &after {
        let row = stats.leaders().find(|leader| leader.stat.topic == "orders").context("it is led")?;
        assert_eq!(row.bytes_in_quality, Quality::Estimated, "{row:?}");
        assert_eq!(row.stat.start_offset, 0, "what is in remote storage can be read: {row:?}");
        bytes += row.bytes_in.context("it has a figure")?;
        messages += row.messages_in.context("it has a figure")?;
        shrank |= row.stat.log_size_in_bytes < size;
        size = row.stat.log_size_in_bytes;
    }
    ensure!(shrank, "local segments went between two reports: {after:?}");
    let each = bytes / messages;
    assert!((1_900..2_200).contains(&each), "{each} bytes a record in {} reports", after.len());
    println!("tiered: {each} bytes a record, {messages} records in {} reports", after.len());
    Ok(())
}

#[test]
fn says_in_one_line_what_is_wrong_at_the_start() -> Result<()> {
    let run = |args: &[&str]| -> Result<(Option<i32>, String)> {
        let output = Command::new(env!("CARGO_BIN_EXE_kafkastats")).args(args).output()?;
        Ok((output.status.code(), String::from_utf8(output.stderr)?))
    };
    let (failure, wrong_usage) = (Some(1), Some(2));
    // Port 1 of this host: nobody listens there.
    let (code, text) = run(&["once", "--bootstrap-servers", "127.0.0.1:1", "--broker-id", "7"])?;
    assert!(
        code == failure && text.contains("kafkastats: looking for broker 7 in the cluster: cannot reach"),
        "{text}"
    );
    let (code, text) = run(&["once", "--bootstrap-servers", "127.0.0.1:1"])?;
    assert!(code == failure && text.contains("kafkastats: asking the cluster: cannot reach"), "{text}");
    let (code, text) = run(&["once", "--bootstrap-servers", "nowhere"])?;
    assert!(code == wrong_usage && text.contains("the port is missing"), "{text}");
    let (code, text) = run(&["once", "--bootstrap-servers", "127.0.0.1:1", "--jvm", "jmx"])?;
    assert!(code == wrong_usage && text.contains("--jvm jmx wants --jmx HOST:PORT"), "{text}");
    let (code, text) = run(&["once", "--allow-root", "--bootstrap-servers"])?;
    assert!(code == wrong_usage && text.contains("a value is required"), "{text}");
    let (code, text) =
        run(&["once", "--bootstrap-servers", "127.0.0.1:1", "--command-config", "/nonexistent"])?;
    assert!(code == wrong_usage && text.contains("reading /nonexistent"), "{text}");
    Ok(())
}
