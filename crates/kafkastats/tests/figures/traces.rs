//! What an agent leaves in the broker that it measures and publishes to: nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use brokerstats::StatsWriter;
use cluster::BrokerId;
use kafkastats::agent::{self, Agent};
use kafkastats::gather::Gatherer;
use kafkastats::host::{Choice, HostSource};
use kafkastats::jvm::{Source, Way};
use kafkastats::publish::{CAPACITY, Destination, Outbox, Publisher};
use kafkastats::status::Status;
use lab::{Cluster, Heap, Held, wait_for};

use crate::SOON;
use crate::agents::{client, runtime};

/// The first reports have the JVM load classes, start what then stays, and compile what runs often.
const FIRST: u64 = 50;
/// So many objects of a class may come and go in a broker by itself: fewer reports than that tell nothing of its heap.
const CHANCE: u64 = 100;
/// So often the agent is started anew for the reports whose traces are looked for: what each start leaves shows as well.
const STARTS: u64 = 10;
/// As fast as they can be made.
const INTERVAL: Duration = Duration::from_millis(1);

/// The stats topic on a broker.
fn topic(broker: i32) -> String {
    format!("left-in-{broker}")
}

/// Makes so many complete reports and publishes them to the broker itself.
async fn report(cluster: &Cluster, broker: i32, way: &Way, count: u64) -> Result<()> {
    let kafka = Arc::new(client(cluster)?);
    let destination = Destination {
        reader: kafka.clone(),
        writer: kafka.clone(),
        logs: kafka.clone(),
        log: kafka.clone(),
        topic: topic(broker),
    };
    let outbox = Arc::new(Outbox::new(StatsWriter::new()?, CAPACITY));
    let publisher = Publisher::new(destination, outbox.clone());
    let source = Source::new(vec![way.clone()]);
    let mut agent = Agent::new(Gatherer::new(kafka.clone(), kafka, BrokerId(broker))).with_jvm(source, true);
    if let Some(host) = HostSource::new(Choice::On, Path::new("/")) {
        agent = agent.with_host(host);
    }
    let status = Status::new(broker, INTERVAL, outbox.clone());
    let enough = async {
        while outbox.published() < count {
            tokio::time::sleep(INTERVAL).await;
        }
    };
    agent::run(agent, publisher, outbox.clone(), INTERVAL, &status, enough).await?;
    let told = status.metrics();
    for nothing in ["reports_failed_total 0\n", "reports_incomplete_total 0\n", "reports_dropped_total 0\n"] {
        ensure!(told.contains(nothing), "{nothing} in {told}");
    }
    Ok(())
}

fn sum(names: &BTreeMap<String, usize>) -> usize {
    names.values().sum()
}

/// Without what comes and goes by itself in these minutes: the threads on which Kafka's coordinators do what takes long
/// (`executor-share-coordinator-…`) are each started when there is something to do for the first time; the files of a topic that
/// was deleted are closed a minute later.
fn lasting(mut held: Held) -> Held {
    held.threads.retain(|name, _| !name.starts_with("executor-"));
    held.files.retain(|name, _| !name.contains("-delete/"));
    held
}

/// The names of which there are more or fewer: with how many there were, and are.
fn differences<'a>(
    before: &'a BTreeMap<String, usize>,
    now: &'a BTreeMap<String, usize>,
) -> BTreeMap<&'a str, (usize, usize)> {
    let counts = |name| (before.get(name).copied().unwrap_or(0), now.get(name).copied().unwrap_or(0));
    let all = before.keys().chain(now.keys()).map(|name| (name.as_str(), counts(name)));
    all.filter(|(_, (before, now))| before != now).collect()
}

/// After `count` reports at the shortest interval the broker has the threads, files and objects that it had before.
pub(crate) fn nothing_is_left(cluster: &Cluster, broker: i32, way: &Way, count: u64) -> Result<()> {
    let name = format!("{} of broker {broker}", way.name());
    cluster.create_topic_with(&topic(broker), &[&[broker]], &[])?;
    runtime()?.block_on(report(cluster, broker, way, FIRST.min(count)))?;
    // From the first look into the heap on, the JVM listens for such questions.
    cluster.heap(broker)?;
    let held = lasting(cluster.held_at_rest(broker, SOON)?);
    let heap = cluster.heap(broker)?;
    let began = Instant::now();
    for _ in 0..STARTS {
        runtime()?.block_on(report(cluster, broker, way, count.div_ceil(STARTS)))?;
    }
    let took = began.elapsed();
    let mut now = Held::default();
    let waited = wait_for("threads and files are as before", SOON, || {
        now = lasting(cluster.held(broker)?);
        Ok(now == held)
    });
    if let Err(error) = waited {
        let threads = differences(&held.threads, &now.threads);
        let files = differences(&held.files, &now.files);
        return Err(error.context(format!("{name}, before and after: {threads:?} {files:?}")));
    }
    let mut after = Heap::default();
    let mut left = Vec::new();
    let waited = wait_for("the heap is as before", SOON, || {
        after = cluster.heap(broker)?;
        left = more(&heap, &after, count.max(CHANCE));
        Ok(left.is_empty())
    });
    println!(
        "{name}: {count} reports in {took:.1?}: {} threads, {} files; heap {} bytes before, {} after",
        sum(&now.threads),
        sum(&now.files),
        heap.bytes(),
        after.bytes()
    );
    if let Err(error) = waited {
        return Err(error.context(format!("{name}, more objects: {left:?}")));
    }
    Ok(())
}

/// What is of sessions: each of these classes has as few objects as before.
const OF_SESSIONS: [&str; 3] = [
    "javax.management.remote.rmi.RMIConnectionImpl",
    "sun.rmi.transport.DGCAckHandler",
    "sun.rmi.transport.Target",
];

/// Who took leases. The JVM keeps each holder for ten minutes, whatever is given back; other agents of this host that look for
/// their own broker (tests beside this one) may be among them. Ours would be one for each start at least.
const HOLDER: &str = "sun.rmi.transport.DGCImpl$LeaseInfo";

/// What is no trace of ours: samples in the broker's own histograms of requests, at most 1,028 in each (nodes of a map
/// from numbers to numbers), the samples of its rates (a second one is added to each when its window is over, and no third;
/// the rates themselves are counted), and what the JVM fills gaps with when it collects.
const NO_TRACES: [&str; 7] = [
    "java.util.concurrent.ConcurrentSkipListMap$Node",
    "java.util.concurrent.ConcurrentSkipListMap$Index",
    "org.apache.kafka.common.metrics.stats.SampledStat$Sample",
    "java.lang.Double",
    "java.lang.Long",
    "[I",
    "jdk.internal.vm.FillerArray",
];

/// The classes of which there are more objects than before: one for each report or more, or any that is of a session.
fn more(before: &Heap, after: &Heap, reports: u64) -> Vec<(u64, String)> {
    let mut more = Vec::new();
    for class in after.classes.keys().filter(|class| !NO_TRACES.contains(&class.as_str())) {
        let grown = after.objects(class).saturating_sub(before.objects(class));
        let least = match class.as_str() {
            HOLDER => STARTS,
            class if OF_SESSIONS.contains(&class) => 1,
            _ => reports,
        };
        if grown >= least {
            more.push((grown, class.clone()));
        }
    }
    more.sort_unstable();
    more
}
