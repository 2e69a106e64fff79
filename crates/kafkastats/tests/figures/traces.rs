//! What an agent leaves in the broker that it measures and publishes to: nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use brokerstats::Codec;
use cluster::BrokerId;
use jmx::{Address, Connector};
use kafkastats::agent::{self, Agent};
use kafkastats::gather::Gatherer;
use kafkastats::host::{Choice, HostSource};
use kafkastats::jvm::{Source, Way};
use kafkastats::publish::{CAPACITY, Destination, Outbox, Publisher};
use kafkastats::status::Status;
use lab::{Cluster, Heap, Held, wait_for};

use crate::SOON;
use crate::agents::{client, runtime};
use crate::broker::LOGIN;

const BROKER: i32 = 1;
/// The first reports have the JVM load classes, start what then stays, and compile what runs often.
const FIRST: u64 = 50;
/// As fast as they can be made.
const INTERVAL: Duration = Duration::from_millis(1);

/// Makes so many complete reports and publishes them to the broker itself.
async fn report(cluster: &Cluster, count: u64) -> Result<()> {
    let kafka = Arc::new(client(cluster)?);
    let destination = Destination {
        reader: kafka.clone(),
        writer: kafka.clone(),
        logs: kafka.clone(),
        log: kafka.clone(),
        topic: "stats".to_owned(),
    };
    let outbox = Arc::new(Outbox::new(CAPACITY));
    let publisher = Publisher::new(destination, Codec::new()?, outbox.clone());
    let port = Connector::new(Address::new("127.0.0.1", cluster.jmx_port(BROKER)?));
    let source = Source::new(vec![Way::Jmx(port.login(LOGIN.0, LOGIN.1))]);
    let mut agent = Agent::new(Gatherer::new(kafka.clone(), kafka, BrokerId(BROKER))).with_jvm(source, true);
    if let Some(host) = HostSource::new(Choice::On, Path::new("/")) {
        agent = agent.with_host(host);
    }
    let status = Status::new(BROKER, INTERVAL, outbox.clone());
    let enough = async {
        while outbox.published() < count {
            tokio::time::sleep(INTERVAL).await;
        }
    };
    agent::run(agent, publisher, outbox.clone(), INTERVAL, &status, enough).await;
    let told = status.metrics();
    for nothing in ["reports_failed_total 0\n", "reports_incomplete_total 0\n", "reports_dropped_total 0\n"] {
        ensure!(told.contains(nothing), "{nothing} in {told}");
    }
    Ok(())
}

fn sum(names: &std::collections::BTreeMap<String, usize>) -> usize {
    names.values().sum()
}

/// After `count` reports at the shortest interval the broker has the threads, files and objects that it had before.
pub(crate) fn nothing_is_left(cluster: &Cluster, count: u64) -> Result<()> {
    cluster.create_topic_with("stats", &[&[BROKER]], &[])?;
    runtime()?.block_on(report(cluster, FIRST))?;
    // From the first look into the heap on, the JVM listens for such questions.
    cluster.heap(BROKER)?;
    let held = cluster.held_at_rest(BROKER, SOON)?;
    let heap = cluster.heap(BROKER)?;
    let began = Instant::now();
    runtime()?.block_on(report(cluster, count))?;
    let took = began.elapsed();
    let mut now = Held::default();
    let waited = wait_for("threads and files are as before", SOON, || {
        now = cluster.held(BROKER)?;
        Ok(now == held)
    });
    if let Err(error) = waited {
        return Err(error.context(format!("held: {now:#?}\nexpected: {held:#?}")));
    }
    let after = cluster.heap(BROKER)?;
    println!(
        "{count} reports in {took:.1?}: {} threads, {} files; heap {} bytes before, {} after",
        sum(&now.threads),
        sum(&now.files),
        heap.bytes(),
        after.bytes()
    );
    heap_is_as_before(&heap, &after, count)
}

/// No session, nothing that waits for one or keeps one alive, and no class of which each report leaves an object.
fn heap_is_as_before(before: &Heap, after: &Heap, reports: u64) -> Result<()> {
    for class in ["javax.management.remote.rmi.RMIConnectionImpl", "sun.rmi.transport.DGCAckHandler"] {
        ensure!(after.objects(class) == 0, "{} {class}", after.objects(class));
    }
    // Entries of processes that have had leases, for ten minutes: of the agents before, and of this one.
    let leases = "sun.rmi.transport.DGCImpl$LeaseInfo";
    ensure!(after.objects(leases) <= before.objects(leases), "{} leases", after.objects(leases));
    let mut grown: Vec<_> = after
        .classes
        .iter()
        .map(|(class, (objects, _))| (objects.saturating_sub(before.objects(class)), class))
        .collect();
    grown.sort_unstable();
    grown.reverse();
    println!("{:?}", &grown[..grown.len().min(12)]);
    let left: Vec<_> = grown.into_iter().filter(|(more, _)| *more >= reports).collect();
    ensure!(left.is_empty(), "each report leaves objects: {left:?}");
    Ok(())
}
