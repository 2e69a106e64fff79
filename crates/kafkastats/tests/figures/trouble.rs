//! Agents report on through what happens to brokers and topics. That the death of a broker (`kill -9`) is reported is held
//! by `tests/real.rs`; refusals of all kinds, and a stats topic that is away, are made over a fake cluster in
//! `tests/failures.rs` and `tests/shell.rs`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use brokerstats::{BrokerStats, Quality};
use cluster::{BrokerId, TopicPartition, Writer};
use kafkastats::gather::Gatherer;
use lab::{Cluster, TrafficConfig, wait_for};

use crate::agents::{Agent, client, now_ms, runtime};
use crate::broker::{Counts, counts};
use crate::{SOON, create, sums};

/// How many partitions of a topic the broker of a report leads.
fn led(stats: &BrokerStats, topic: &str) -> usize {
    stats.leader_replica_stats.iter().filter(|leader| leader.topic == topic).count()
}

fn is_complete(agent: &Agent, stats: &BrokerStats) -> bool {
    stats.failure_detail.is_none() && stats.jvm_source.as_deref() == Some(agent.way)
}

/// Waits for a newest report of each agent that is so; returns when these were made.
fn wait_for_each(
    cluster: &Cluster,
    agents: &[Agent],
    what: &str,
    is_so: impl Fn(&Agent, &BrokerStats) -> bool,
) -> Result<Vec<i64>> {
    let mut times = Vec::new();
    for agent in agents {
        let mut newest = None;
        let waited = wait_for(&format!("{what}: {}", agent.name()), SOON, || {
            let stats = newest.insert(agent.newest(cluster)?);
            Ok(is_so(agent, stats))
        });
        if let Err(error) = waited {
            let detail = newest.map(|stats| (stats.failure_detail, stats.jvm_source));
            return Err(error.context(format!("{detail:?}")));
        }
        times.extend(newest.map(|stats| stats.timestamp));
    }
    Ok(times)
}

/// No report since then is a failure, but of broker `but`.
fn check_since(cluster: &Cluster, agents: &mut [Agent], since: i64, but: Option<i32>) -> Result<()> {
    for agent in agents {
        agent.check(cluster)?;
        let reports = agent.reports(cluster)?;
        let failed = reports.iter().find(|stats| stats.timestamp >= since && stats.has_failure);
        if let (Some(stats), true) = (failed, but != Some(agent.broker)) {
            anyhow::bail!("{}: {:?}", agent.name(), stats.failure_detail);
        }
        ensure!(reports.last().is_some_and(|stats| stats.reports_dropped == 0), "{}", agent.name());
    }
    Ok(())
}

/// An agent that reads a broker when it is told to.
struct OnDemand {
    runtime: tokio::runtime::Runtime,
    agent: kafkastats::agent::Agent,
    broker: i32,
}

impl OnDemand {
    fn new(cluster: &Cluster, broker: i32) -> Result<OnDemand> {
        let kafka = Arc::new(client(cluster)?);
        let gatherer = Gatherer::new(kafka.clone(), kafka, BrokerId(broker));
        Ok(OnDemand { runtime: runtime()?, agent: kafkastats::agent::Agent::new(gatherer), broker })
    }

    /// What came to a topic since the last reading, and how well that is known.
    fn bytes_in(&mut self, topic: &str) -> Result<(Option<i64>, Quality)> {
        let stats = self.runtime.block_on(self.agent.measure())?;
        ensure!(stats.failure_detail.is_none(), "{:?}", stats.failure_detail);
        let mut rows = stats.leaders().filter(|row| row.stat.topic == topic);
        let row = rows.next().with_context(|| format!("broker {} leads nothing of it", self.broker))?;
        Ok((row.bytes_in, row.bytes_in_quality))
    }

    /// Between its last two readings the topic was made anew: what lies in it is not what came in between, and from then on it
    /// is counted again.
    fn counts_a_new_topic_from_its_first_sight(&mut self, cluster: &Cluster, topic: &str) -> Result<()> {
        let found = self.bytes_in(topic)?;
        ensure!(found == (None, Quality::Unknown), "{found:?}");
        let of_broker = |cluster| -> Result<i64> {
            Ok(counts(cluster, &[topic])?[&(self.broker, topic.to_owned())].bytes_in)
        };
        let before = of_broker(cluster)?;
        cluster.fill(topic, 300, 100)?;
        let grown = of_broker(cluster)? - before;
        let found = self.bytes_in(topic)?;
        ensure!(grown > 0 && found == (Some(grown), Quality::Exact), "{grown} and {found:?}");
        Ok(())
    }
}

/// Between two readings a topic goes, and comes again under the same name.
pub(crate) fn a_topic_is_deleted_and_made_anew(cluster: &Cluster, agents: &mut [Agent]) -> Result<()> {
    let topic = "zstd";
    let since = now_ms()?;
    let mut on_demand = OnDemand::new(cluster, 1)?;
    on_demand.bytes_in(topic)?;
    cluster.tool("topics", &["--delete", "--topic", topic])?.success()?;
    wait_for_each(cluster, agents, "the topic is gone", |agent, stats| {
        is_complete(agent, stats) && led(stats, topic) == 0
    })?;
    create(cluster, topic)?;
    let begun = wait_for_each(cluster, agents, "the topic is there again", |agent, stats| {
        is_complete(agent, stats) && led(stats, topic) == 1
    })?;
    cluster.fill(topic, 300, 1000)?;
    let (counted, done) = (counts(cluster, &[topic])?, now_ms()?);
    wait_for_each(cluster, agents, "reports of what was written", |agent, stats| {
        is_complete(agent, stats) && stats.timestamp > done
    })?;
    for (agent, begun) in agents.iter().zip(begun) {
        let mut reports = agent.reports(cluster)?;
        reports.retain(|stats| stats.timestamp >= begun);
        // The count began anew with the topic.
        let Counts { bytes_in, .. } = counted[&(agent.broker, topic.to_owned())];
        let told = sums::bytes_in(&reports, topic)?;
        ensure!(bytes_in > 0 && told == bytes_in, "{}: {bytes_in} in and {told} told", agent.name());
    }
    on_demand.counts_a_new_topic_from_its_first_sight(cluster, topic)?;
    check_since(cluster, agents, since, None)
}

/// A broker goes in good order, its leaderships pass to others and back. While it is away, so is the stats topic of the
/// agents of broker 1.
pub(crate) fn a_broker_is_restarted(cluster: &Cluster, agents: &mut [Agent]) -> Result<()> {
    let (away, topic) = (3, "lz4");
    let traffic = cluster.traffic(topic, TrafficConfig { rate: 100, ..TrafficConfig::default() })?;
    let since = now_ms()?;
    cluster.stop(away)?;
    wait_for("another one leads", SOON, || {
        Ok(cluster.partitions_of(topic)?.iter().all(|at| at.leader.is_some_and(|leader| leader != away)))
    })?;
    let led_by_others = now_ms()?;
    for agent in agents.iter().filter(|agent| agent.broker != 1) {
        wait_for(&format!("reports while a broker is away: {}", agent.name()), SOON, || {
            let reports = agent.reports(cluster)?;
            let new = reports.iter().filter(|stats| stats.timestamp > led_by_others);
            Ok(new.filter(|stats| stats.has_failure == (agent.broker == away)).count() >= 3)
        })?;
    }
    let back = now_ms()?;
    cluster.start(away)?;
    cluster.wait_ready()?;
    let up = now_ms()?;
    wait_for_each(cluster, agents, "complete reports after the restart", |agent, stats| {
        is_complete(agent, stats) && stats.timestamp > up
    })?;
    for agent in agents.iter().filter(|agent| agent.broker == 1) {
        let reports = agent.reports(cluster)?;
        let while_away = |stats: &&BrokerStats| (led_by_others..back).contains(&stats.timestamp);
        let kept: Vec<_> = reports.iter().filter(while_away).collect();
        ensure!(kept.len() >= 2, "{} reports were kept: {}", kept.len(), agent.name());
        ensure!(kept.iter().any(|stats| led(stats, topic) == 2), "it leads: {}", agent.name());
    }
    gives_leadership_back(cluster, agents, topic)?;
    let written = traffic.finish()?;
    ensure!(
        cluster.missing(&written, Duration::from_secs(30))?.is_empty(),
        "acknowledged records are missing"
    );
    check_since(cluster, agents, since, Some(away))
}

fn gives_leadership_back(cluster: &Cluster, agents: &[Agent], topic: &str) -> Result<()> {
    cluster.wait_in_sync(SOON)?;
    let all: Vec<_> = (0..3).map(|number| TopicPartition::new(topic, number)).collect();
    let kafka = client(cluster)?;
    let elected = runtime()?.block_on(kafka.elect_preferred(&all))?;
    ensure!(elected.values().all(Result::is_ok), "{elected:?}");
    wait_for_each(cluster, agents, "each leads its own partition, and counts", |agent, stats| {
        let exact = stats.leaders().filter(|row| row.stat.topic == topic);
        let exact = exact.filter(|row| row.bytes_in_quality == Quality::Exact && row.bytes_in > Some(0));
        is_complete(agent, stats) && led(stats, topic) == 1 && exact.count() == 1
    })?;
    Ok(())
}
