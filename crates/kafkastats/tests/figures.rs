//! The agent beside three real brokers: its figures against what the brokers count themselves, by each way to them; that
//! it reports through trouble; and that nothing of it is left in a broker.
//!
//! `FIGURES=long` makes the traffic last a minute, and a thousand reports by each way, as for `docs/benchmarks.md`:
//! `FIGURES=long cargo test -p kafkastats --test figures -- --nocapture`. The JVM is that of `JAVA_HOME`, or the one on
//! the path.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic, in its helpers too")]

#[path = "figures/agents.rs"]
mod agents;
#[path = "figures/broker.rs"]
mod broker;
#[path = "figures/flows.rs"]
mod flows;
#[path = "figures/sums.rs"]
mod sums;
#[path = "figures/traces.rs"]
mod traces;
#[path = "figures/trouble.rs"]
mod trouble;

use std::fs;
use std::time::{Duration, Instant};

use agents::{Agent, Once, now_ms};
use anyhow::{Result, ensure};
use broker::{LOGIN, counts};
use jmx::{Address, Connector};
use kafkastats::jvm::identity::Proof;
use kafkastats::jvm::{Attribute, Identity, Metric, Scope, Source, Way};
use lab::{Cluster, Monitor, wait_for};

/// Bounds of waiting, for a build machine that is busy; each thing waited for takes a few seconds at most.
const SOON: Duration = Duration::from_secs(60);
/// The topics that are measured, each written with the codec of its name. Each broker leads one partition of each.
const TOPICS: [&str; 3] = ["none", "lz4", "zstd"];

/// How much is done.
struct Amount {
    traffic: Duration,
    /// Reports after which nothing is left: over JMX, and by each way over HTTP, where an exporter takes long.
    reports: [u64; 2],
}

fn amount() -> Amount {
    match std::env::var_os("FIGURES") {
        Some(word) if word == "long" => Amount { traffic: Duration::from_secs(60), reports: [1_000; 2] },
        _ => Amount { traffic: Duration::from_secs(10), reports: [100, 10] },
    }
}

/// Broker 1 has a JMX port, broker 2 a JMX server for its own host and jmx_exporter, broker 3 Jolokia and no option of
/// JMX at all.
fn start() -> Result<Cluster> {
    let mut builder = Cluster::builder();
    for broker in 1..=3 {
        // Threads that wait for the next connection end soon, and so does what would have waited for the client's word
        // that it has got a reference: by default after five minutes, though the word has come.
        builder = builder
            .jvm_option(broker, "-Dsun.rmi.transport.tcp.threadKeepAliveTime=200")
            .jvm_option(broker, "-Dsun.rmi.dgc.ackTimeout=1000")
            // Nor do threads of the compiler come and go.
            .jvm_option(broker, "-XX:-UseDynamicNumberOfCompilerThreads");
    }
    builder
        .brokers(3)
        .perf_data(true)
        // Brokers keep answered requests that had to wait, by the thousand unless told otherwise: here they are not to hide
        // what is left of ours.
        .property("fetch.purgatory.purge.interval.requests", "1")
        .property("producer.purgatory.purge.interval.requests", "1")
        // Nor are the files of a deleted topic, which stay open for a minute.
        .property("log.segment.delete.delay.ms", "1000")
        .jmx_login(LOGIN.0, LOGIN.1)
        .monitor(1, Monitor::JmxPort)
        .monitor(2, Monitor::JmxLocal)
        .monitor(2, Monitor::Prometheus)
        .monitor(3, Monitor::Jolokia)
        .start()
}

/// Makes a topic, and waits until its replicas are there.
fn create(cluster: &Cluster, topic: &str) -> Result<()> {
    cluster.create_topic_with(topic, &[&[1, 2, 3], &[2, 3, 1], &[3, 1, 2]], &[])?;
    wait_for("a new topic's logs are there", SOON, || {
        let mut logs = Vec::new();
        for broker in cluster.broker_ids() {
            for dir in cluster.log_dirs(broker)? {
                logs.extend((0..3).map(|number| dir.join(format!("{topic}-{number}"))));
            }
        }
        Ok(logs.iter().all(|log| log.is_dir()))
    })?;
    Ok(())
}

/// The options by which an agent logs in at the JMX port of broker 1.
fn jmx_options(cluster: &Cluster, password: &str) -> Result<Vec<String>> {
    let file = cluster.dir().join(format!("agent-{password}.password"));
    fs::write(&file, password)?;
    let address = format!("127.0.0.1:{}", cluster.jmx_port(1)?);
    let options = ["--jmx", &address, "--jmx-user", LOGIN.0, "--jmx-password-file"];
    Ok(options.iter().map(|word| (*word).to_owned()).chain([file.display().to_string()]).collect())
}

/// An agent for each way to each broker that there is.
fn start_agents(cluster: &Cluster) -> Result<Vec<Agent>> {
    let url = |broker, by, option: &str| -> Result<Vec<String>> {
        Ok(vec![option.to_owned(), cluster.monitor_url(broker, by)?])
    };
    Ok(vec![
        Agent::start(cluster, 1, "jmx", &jmx_options(cluster, LOGIN.1)?)?,
        Agent::start(cluster, 1, "jmx-local", &[])?,
        Agent::start(cluster, 2, "prometheus", &url(2, Monitor::Prometheus, "--prometheus")?)?,
        Agent::start(cluster, 2, "jmx-local", &[])?,
        Agent::start(cluster, 3, "jolokia", &url(3, Monitor::Jolokia, "--jolokia")?)?,
        Agent::start(cluster, 3, "jmx-local", &["--attach".to_owned()])?,
    ])
}

/// The same ways, to be read here.
fn ways(cluster: &Cluster) -> Result<Vec<(i32, Way)>> {
    let port = Connector::new(Address::new("127.0.0.1", cluster.jmx_port(1)?)).login(LOGIN.0, LOGIN.1);
    let url = |broker, by| -> Result<_> { Ok(cluster.monitor_url(broker, by)?.parse().unwrap()) };
    Ok(vec![
        (1, Way::Jmx(port)),
        (1, Way::JmxLocal { attach: false }),
        (2, Way::Prometheus(url(2, Monitor::Prometheus)?, vec![])),
        (2, Way::JmxLocal { attach: false }),
        (3, Way::Jolokia(url(3, Monitor::Jolokia)?)),
        (3, Way::JmxLocal { attach: false }),
    ])
}

#[test]
fn figures_are_those_of_the_brokers_and_nothing_is_left_in_them() -> Result<()> {
    let amount = amount();
    let mut clock = Clock(Instant::now());
    let cluster = start()?;
    for topic in TOPICS {
        create(&cluster, topic)?;
    }
    clock.tell("the brokers are up");
    what_cannot_be_read_costs_its_own_figures_alone(&cluster)?;
    clock.tell("reports without the JVM's figures");
    let mut agents = start_agents(&cluster)?;
    figures_equal_counts(&cluster, &agents, amount.traffic)?;
    clock.tell("figures");
    println!("brokers run on {}", broker::java_version(&cluster, 1)?);
    trouble::a_topic_is_deleted_and_made_anew(&cluster, &mut agents)?;
    clock.tell("a topic made anew");
    trouble::a_broker_is_restarted(&cluster, &mut agents)?;
    clock.tell("a broker restarted");
    drop(agents);
    for (broker, way) in ways(&cluster)? {
        let [over_jmx, over_http] = amount.reports;
        match way {
            Way::JmxLocal { .. } => continue,
            Way::Jmx(_) => traces::nothing_is_left(&cluster, broker, &way, over_jmx)?,
            _ => traces::nothing_is_left(&cluster, broker, &way, over_http)?,
        }
        clock.tell("traces");
    }
    Ok(())
}

/// Tells how long things take.
struct Clock(Instant);

impl Clock {
    fn tell(&mut self, what: &str) {
        println!("{what}: {:.1?}", self.0.elapsed());
        self.0 = Instant::now();
    }
}

/// A wrong password, a page that is no metrics, a JVM without a JMX server that may not be made to start one, and neighbours.
fn what_cannot_be_read_costs_its_own_figures_alone(cluster: &Cluster) -> Result<()> {
    let words = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let metrics = cluster.monitor_url(2, Monitor::Prometheus)?;
    let page = metrics.replace("/metrics", "/");
    let (jolokia, port) = (cluster.monitor_url(3, Monitor::Jolokia)?, jmx_options(cluster, LOGIN.1)?);
    let wrong_password = [words("--jvm jmx".to_owned()), jmx_options(cluster, "wrong")?].concat();
    let cases = [
        (1, wrong_password, "JmxConnectionFailure", "the server refuses user \"monitor\""),
        (2, words(format!("--jvm prometheus --prometheus {page}")), "JmxQueryFailure", "are no metrics"),
        (3, words("--jvm jmx-local".to_owned()), "JmxConnectionFailure", "the JVM has no JMX server"),
        // The page, Jolokia and the port of a neighbour.
        (
            1,
            words(format!("--jvm prometheus --prometheus {metrics}")),
            "JmxConnectionFailure",
            "is broker 2, and",
        ),
        (1, words(format!("--jvm jolokia --jolokia {jolokia}")), "JmxConnectionFailure", "is broker 3, and"),
        (2, [words("--jvm jmx".to_owned()), port].concat(), "JmxConnectionFailure", "is broker 1, and"),
    ];
    let mut running = Vec::new();
    for (broker, options, reason, why) in cases {
        running.push((Once::start(cluster, broker, &options)?, reason, why));
    }
    for (once, reason, why) in running {
        let report = once.report()?;
        let detail = report["failureDetail"].as_str().unwrap_or_default();
        ensure!(detail.contains(why), "{why} in {detail}");
        assert_eq!((&report["hasFailure"], &report["failureReason"]), (&false.into(), &reason.into()));
        assert_eq!((&report["jvmSource"], &report["leadersBytesOut1MinRate"]), (&().into(), &(-1).into()));
        let exact = report["leaderReplicaStats"].as_array().unwrap();
        let exact = exact.iter().filter(|row| row["bytesInQuality"] == "exact").count();
        assert!(exact >= TOPICS.len(), "bytes in come from elsewhere: {report}");
    }
    Ok(())
}

fn figures_equal_counts(cluster: &Cluster, agents: &[Agent], length: Duration) -> Result<()> {
    let mut begun = Vec::new();
    for agent in agents {
        let mut at = 0;
        // With rates of bytes out there have been two readings of the JVM.
        wait_for(&format!("complete reports: {}", agent.name()), SOON, || {
            let newest = agent.newest(cluster)?;
            at = newest.timestamp;
            ensure!(newest.failure_detail.is_none(), "{:?}", newest.failure_detail);
            ensure!(newest.jvm_source.as_deref() == Some(agent.way), "{:?}", newest.jvm_source);
            Ok(TOPICS.iter().all(|topic| newest.topics_bytes_out_1_min_rate.contains_key(*topic)))
        })?;
        begun.push(at);
    }
    let mut counted = counts(cluster, &TOPICS)?;
    flows::write_and_read(cluster, length)?;
    for (at, after) in counts(cluster, &TOPICS)? {
        let before = counted.get_mut(&at).unwrap();
        *before = broker::Counts {
            bytes_in: after.bytes_in - before.bytes_in,
            bytes_out: after.bytes_out - before.bytes_out,
        };
    }
    let done = now_ms()?;
    let mut wrong = Vec::new();
    for (agent, begun) in agents.iter().zip(begun) {
        let mut reports = Vec::new();
        wait_for(&format!("reports of all of the traffic: {}", agent.name()), SOON, || {
            reports = agent.reports(cluster)?;
            Ok(reports.last().is_some_and(|stats| stats.timestamp > done))
        })?;
        reports.retain(|stats| stats.timestamp >= begun);
        ensure!(reports.iter().all(|stats| stats.failure_detail.is_none()), "{}", agent.name());
        wrong.extend(sums::compare(agent, &reports, &counted).err());
    }
    ensure!(wrong.is_empty(), "{wrong:?}");
    counts_are_read_to_the_byte(cluster)
}

/// What each way reads at one time is what the broker has counted.
fn counts_are_read_to_the_byte(cluster: &Cluster) -> Result<()> {
    let counted = counts(cluster, &TOPICS)?;
    for (broker, way) in ways(cluster)? {
        let identity = Identity { cluster: cluster.cluster_id().to_owned(), broker };
        let name = way.name();
        let outcome = agents::runtime()?.block_on(Source::new(vec![way]).read(&identity, [&[], &[]]));
        ensure!(outcome.problems.is_empty(), "{name} of broker {broker}: {:?}", outcome.problems);
        let found = outcome.found.unwrap();
        assert_eq!((found.way, &found.lacking, found.proof), (name, &vec![], Proof::Name));
        for topic in TOPICS {
            let read =
                found.readings.get(Metric::BytesOut, Attribute::Count, &Scope::Topic(topic.to_owned()));
            let expected = counted[&(broker, topic.to_owned())].bytes_out;
            assert_eq!(read, Some(expected as f64), "{name} of broker {broker}, {topic}");
        }
    }
    Ok(())
}
