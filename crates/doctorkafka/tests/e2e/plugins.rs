//! Plugins of one's own, in a service that looks after several clusters.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Cluster, Mode, Version};

use crate::harness::{Doctor, healed, sibling, wait};

/// Two clusters, one that is switched off, and scripts: a monitor that marks broker 2, one that fails, an operator that
/// reads the mark, an action that answers with another event, and one that takes it.
fn config(first: &Cluster, second: &Cluster, folder: &Path) -> Result<String> {
    let script = |name: &str, text: &str| -> Result<String> {
        let path = folder.join(name);
        std::fs::write(&path, text)?;
        Ok(format!("[sh, {}]", path.display()))
    };
    let mark = script("mark.sh", r#"echo '{"attributes": {"to_be_replaced": {"2": "its fan is loud"}}}'"#)?;
    let decide = script(
        "decide.sh",
        r#"grep -q 'fan is loud' || exit 0
echo '{"events": [{"name": "fan_is_loud", "target": {"broker": 2}, "reason": "it was marked"}]}'"#,
    )?;
    let order = script(
        "order.sh",
        r#"cat >> "$(dirname "$0")/orders"
echo '{"summary": "ordered", "events": [{"name": "fan_ordered", "target": "cluster", "reason": "a fan comes"}]}'"#,
    )?;
    let take = script("take.sh", r#"cat >> "$(dirname "$0")/fans""#)?;
    let broken = script("broken.sh", "echo out of order >&2; exit 3")?;
    Ok(format!(
        "\
monitors:
  - type: kafka_metadata
  - type: broker_probe
  - type: maintenance
  - type: dead_brokers
    grace: 5s
  - type: under_replicated_partitions
  - {{type: script, name: broken, command: {broken}, interval: 1s}}
operators:
  - type: under_replicated_partitions
actions:
  - type: reassign_partitions
    dry_run: false
kafkaclusters:
  - name: first
    bootstrap_servers: {first}
    monitors:
      - {{type: script, name: fans, command: {mark}, emits: [to_be_replaced], interval: 1s}}
    operators:
      - type: script
        name: reads_the_mark
        command: {decide}
        needs: [to_be_replaced]
        emits: [fan_is_loud]
        interval: 1s
    actions:
      - type: script
        name: order
        command: {order}
        subscribed_events: [fan_is_loud]
        emits: [fan_ordered]
        dry_run: false
      - type: script
        name: wait_for_it
        command: {take}
        subscribed_events: [fan_ordered]
        dry_run: false
  - name: second
    bootstrap_servers: {second}
  - name: third
    enabled: false
    bootstrap_servers: nowhere.invalid:9092
",
        first = first.bootstrap(),
        second = second.bootstrap(),
    ))
}

#[test]
fn plugins_and_two_clusters_work_in_one_service_and_a_failing_script_stops_nothing() -> Result<()> {
    let first = Cluster::builder().brokers(4).start()?;
    first.create_topic_on("orders", &[&[3, 1], &[1, 3], &[4, 3]])?;
    let second = Cluster::builder().version(Version::V3_9).mode(Mode::KraftCombined).brokers(1).start()?;
    second.create_topic("other", 1, 1)?;
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    let config = config(&first, &second, folder.path())?;
    let doctor = Doctor::configured(&first.bootstrap(), &state, &config)?;
    doctor.ready()?;

    // Both are looked after, the third is not; the failing script is a finding in each, and the loop goes on.
    wait("a look at both clusters", Duration::from_secs(30), || {
        let status: serde_json::Value = serde_json::from_str(&doctor.ok(&["status", "--json"])?)?;
        let clusters = status["clusters"].as_array().context("no clusters")?;
        let seen = clusters.iter().all(|c| {
            let live = c["brokers"]["live"].as_array().is_some_and(|live| !live.is_empty());
            live && c["incidents"].to_string().contains("out of order")
        });
        Ok((clusters.len() == 2 && seen).then_some(()))
    })
    .with_context(|| doctor.output())?;

    // Monitor, operator, action, and the action that follows.
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    wait("the chain of scripts", Duration::from_secs(30), || {
        Ok(read("fans").contains("a fan comes").then_some(()))
    })
    .with_context(|| doctor.output())?;
    ensure!(read("orders").contains("it was marked"), "the first action got {}", read("orders"));

    // What the script marked gets no replicas.
    first.kill(3)?;
    doctor.line("submitting", Duration::from_secs(40))?;
    healed(&first, Duration::from_secs(60)).with_context(|| doctor.output())?;
    let placed: Vec<Vec<i32>> = first.partitions_of("orders")?.into_iter().map(|p| p.replicas).collect();
    ensure!(placed == [vec![4, 1], vec![1, 4], vec![4, 1]], "placed on {placed:?}");
    doctor.stop()?;
    a_monitor_in_rust_works_in_a_binary_of_its_own(&second)
}

fn a_monitor_in_rust_works_in_a_binary_of_its_own(cluster: &Cluster) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let announcements = folder.path().join("announcements");
    std::fs::write(&announcements, "127.0.0.1  the host is retired\n")?;
    let config = format!(
        "\
monitors:
  - type: kafka_metadata
  - {{type: scheduled_maintenance, file: {file}, interval: 1s}}
  - type: broker_probe
  - type: maintenance
  - type: dead_brokers
  - type: under_replicated_partitions
kafkaclusters:
  - name: test
    bootstrap_servers: {bootstrap}
",
        file = announcements.display(),
        bootstrap = cluster.bootstrap()
    );
    let state = folder.path().join("state");
    let binary = Command::new(sibling("scheduled-maintenance")?);
    let doctor = Doctor::configured_in(binary, &cluster.bootstrap(), &state, &config)?;
    doctor.ready()?;
    doctor.incident("maintenance_scheduled", Duration::from_secs(20))?;
    ensure!(doctor.ok(&["status"])?.contains("the host is retired"), "the status does not say why");
    std::fs::write(&announcements, "")?;
    // Until then it is not known, either, whether another service looks after the cluster.
    wait("the end of the announcement", Duration::from_secs(60), || {
        Ok(doctor.incidents()?.is_empty().then_some(()))
    })
    .with_context(|| doctor.output())?;
    doctor.stop()
}
