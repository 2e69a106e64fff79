//! The agents and their topic: their absence does not matter.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Cluster;

use crate::harness::{Doctor, acting_on, sibling, wait};

/// No agent runs, and the stats topic is said to be on a cluster that does not exist: of itself no reason to act.
pub(crate) fn without_a_stats_topic(cluster: &Cluster) -> Result<Doctor> {
    let folder = cluster.dir().join("without-stats");
    let config = config(cluster, "    bootstrap_servers: 127.0.0.1:9\n", "");
    let doctor = Doctor::configured(&cluster.bootstrap(), &folder, &config)?;
    doctor.ready()?;
    doctor.incident("stats_topic_unreadable", Duration::from_secs(40))?;
    ensure!(doctor.count("submitting") == 0, "it acts for want of stats:\n{}", doctor.output());
    Ok(doctor)
}

/// An agent dies while its broker lives. That costs a finding and no replica.
pub(crate) fn an_agent_dies(cluster: &Cluster) -> Result<()> {
    let folder = cluster.dir().join("with-agents");
    let config = config(cluster, "", "    no_stats_seconds: 12\n");
    let doctor = Doctor::configured(&cluster.bootstrap(), &folder, &config)?;
    doctor.ready()?;
    // The first agent makes the topic. Until then the service says that it is missing.
    doctor.incident("stats_topic_unreadable", Duration::from_secs(40))?;
    let mut agents = Vec::new();
    for id in cluster.broker_ids() {
        agents.push(Agent::start(cluster, &id.to_string())?);
    }
    wait("reports of all agents", Duration::from_secs(60), || {
        Ok((!doctor.incidents()?.iter().any(|kind| kind.contains("stats"))).then_some(()))
    })
    .with_context(|| doctor.output())?;
    drop(agents.pop());
    doctor.incident("no_broker_stats", Duration::from_secs(60))?;
    ensure!(doctor.count("is dead") == 0, "declared dead:\n{}", doctor.output());
    ensure!(doctor.count("submitting") == 0, "replicas were moved:\n{}", doctor.output());
    doctor.stop()
}

/// A running agent.
pub(crate) struct Agent(std::process::Child);

impl Agent {
    pub(crate) fn start(cluster: &Cluster, broker: &str) -> Result<Agent> {
        Self::start_with(&cluster.bootstrap(), broker, &[])
    }

    /// The same with bootstrap servers and further options of its own.
    pub(crate) fn start_with(bootstrap: &str, broker: &str, options: &[&str]) -> Result<Agent> {
        let child = std::process::Command::new(sibling("kafkastats")?)
            .args(["run", "--bootstrap-servers", bootstrap, "--broker-id", broker])
            .args(["--interval", "2s", "--allow-root"])
            .args(options)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()?;
        Ok(Agent(child))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A configuration file with every plugin that healing needs, and the agents' reports.
fn config(cluster: &Cluster, broker_stats: &str, no_broker_stats: &str) -> String {
    format!(
        "\
monitors:
  - type: kafka_metadata
  - type: broker_probe
  - type: broker_stats
{broker_stats}  - type: maintenance
  - type: dead_brokers
    grace: 5s
  - type: under_replicated_partitions
  - type: no_broker_stats
{no_broker_stats}operators:
  - type: under_replicated_partitions
  - type: no_broker_stats
{acting}",
        acting = acting_on(cluster)
    )
}
