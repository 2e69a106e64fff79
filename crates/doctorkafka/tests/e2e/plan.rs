//! Plans for a live cluster, carried out with Kafka's own tool.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Cluster;
use serde_json::Value;

use crate::harness::{DOCTOR, healed, nothing_left, wait};

/// Within which all brokers have learnt of a change.
const LEARNT: Duration = Duration::from_secs(20);

/// Plans, and gives the plan as JSON; its reassignment goes to `file`.
fn plan(cluster: &Cluster, file: &Path, options: &[&str]) -> Result<Value> {
    let _ = fs::remove_file(file);
    let bootstrap = cluster.bootstrap();
    let file = file.display().to_string();
    let common = ["plan", "--bootstrap-servers", &bootstrap, "--json", "--reassignment-json", &file];
    let output = Command::new(DOCTOR).args(common).args(options).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("the plan is no JSON")
}

/// Has Kafka's tool carry a plan out, and waits for its end.
fn carry_out(cluster: &Cluster, file: &Path) -> Result<()> {
    let path = file.display().to_string();
    let arguments = ["--reassignment-json-file", &path, "--execute"];
    cluster.tool("reassign_partitions", &arguments)?.success()?;
    wait("end of the reassignments", Duration::from_secs(60), || {
        Ok(cluster.ongoing()?.is_empty().then_some(()))
    })
}

fn changes(plan: &Value) -> usize {
    plan["changes"].as_array().map_or(0, Vec::len)
}

fn held_by(cluster: &Cluster, broker: i32) -> Result<usize> {
    let partitions = cluster.partitions_of("orders")?;
    Ok(partitions.iter().filter(|partition| partition.replicas.contains(&broker)).count())
}

#[test]
fn a_plan_for_a_live_cluster_is_one_that_kafkas_own_tool_carries_out() -> Result<()> {
    let cluster = Cluster::builder().brokers(3).racks(3).start()?;
    let placed: [&[i32]; 30] = [&[1, 2]; 30];
    cluster.create_topic_on("orders", &placed)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("moves.json");

    // Evened out: the empty broker gets its share, and a second plan has nothing left to do.
    let goals = ["--goals", "RackAwareGoal,ReplicaDistributionGoal,LeaderReplicaDistributionGoal"];
    let balance = plan(&cluster, &file, &goals)?;
    ensure!(changes(&balance) >= 18, "60 replicas on three brokers: {balance:#}");
    carry_out(&cluster, &file)?;
    // Each broker learns of the end of a reassignment in its own time: what one of them says at once may be old.
    wait("even spread", LEARNT, || {
        let mut even = true;
        for broker in 1..=3 {
            even &= (18..=22).contains(&held_by(&cluster, broker)?);
        }
        Ok(even.then_some(()))
    })?;
    wait("plan with nothing left to do", LEARNT, || {
        let again = plan(&cluster, &file, &["--goals", "RackAwareGoal,ReplicaDistributionGoal"])?;
        Ok((changes(&again) == 0).then_some(()))
    })?;

    // Drained.
    plan(&cluster, &file, &["--mode", "drain", "--brokers", "2"])?;
    carry_out(&cluster, &file)?;
    wait("empty broker 2", LEARNT, || Ok((held_by(&cluster, 2)? == 0).then_some(())))?;

    // A dead broker's replicas.
    cluster.kill(3)?;
    cluster.wait_dropped(3, Duration::from_secs(30))?;
    wait("30 replicas that leave the dead broker", LEARNT, || {
        let explained = Command::new(DOCTOR)
            .args(["explain", "--bootstrap-servers", &cluster.bootstrap(), "--mode", "heal", "--broker", "3"])
            .output()?;
        Ok(String::from_utf8_lossy(&explained.stdout).contains("30 replicas leave").then_some(()))
    })?;
    plan(&cluster, &file, &["--mode", "heal"])?;
    carry_out(&cluster, &file)?;
    healed(&cluster, Duration::from_secs(30))?;
    nothing_left(&cluster)
}

/// The log dir of a broker in which the only partition of a topic stands.
fn dir_of(cluster: &Cluster, broker: i32, topic: &str) -> Result<Option<PathBuf>> {
    let partition = format!("{topic}-0");
    Ok(cluster.log_dirs(broker)?.into_iter().find(|dir| dir.join(&partition).is_dir()))
}

/// Has the plan carried out, and waits until a topic stands in a log dir of a broker, and on no other.
fn carry_into(cluster: &Cluster, file: &Path, topic: &str, broker: i32, dir: &Path) -> Result<()> {
    carry_out(cluster, file).with_context(|| cluster.log_tail(broker).unwrap_or_default())?;
    wait("the named log dir", LEARNT, || {
        let held_by = &cluster.partitions_of(topic)?[0].replicas;
        let there = dir_of(cluster, broker, topic)?.is_some_and(|stands| stands == dir);
        Ok((there && held_by[..] == [broker]).then_some(()))
    })
}

#[test]
fn a_full_log_dir_sheds_a_replica_and_kafkas_tool_puts_it_into_the_dir_that_the_plan_names() -> Result<()> {
    let small = 128 << 20;
    let cluster = Cluster::builder().brokers(2).log_dirs(2).small_disk(1, small).start()?;
    let topics = ["a", "b", "c", "d"];
    for topic in topics {
        cluster.create_topic_on(topic, &[&[1]])?;
    }
    let [large, full] = &cluster.log_dirs(1)?[..] else { anyhow::bail!("two log dirs") };
    // Kafka gives each dir as many. Two of them fill four fifths of the small one and a little more; what the smaller takes has
    // room there twice.
    let mut inside = Vec::new();
    for topic in topics {
        if dir_of(&cluster, 1, topic)?.as_ref() == Some(full) {
            cluster.fill(topic, if inside.is_empty() { 1_050 } else { 50 }, 100_000)?;
            inside.push(topic);
        }
    }
    ensure!(inside.len() == 2, "{inside:?} stand in the small log dir");

    let folder = tempfile::tempdir()?;
    let file = folder.path().join("moves.json");
    let relief = plan(&cluster, &file, &["--goals", "DiskCapacityGoal"])?;
    let change = &relief["changes"][0];
    ensure!(changes(&relief) == 1 && relief["goals"][0]["after"] == 0.0, "{relief:#}");
    let topic = change["topic"].as_str().context("a topic")?;
    let dir = PathBuf::from(change["log_dirs"][0].as_str().context("a log dir")?);
    ensure!(topic == inside[1] && change["after"] == serde_json::json!([2]), "{change:#}");
    carry_into(&cluster, &file, topic, 2, &dir)?;

    // Back again: the small dir has fewer replicas, so that Kafka alone would choose it; the plan names the large one. The tool asks
    // for the dir when the reassignment has begun: where the broker was faster, the replica comes by way of the small dir.
    let drain = plan(&cluster, &file, &["--mode", "drain", "--brokers", "2"])?;
    let change = &drain["changes"][0];
    ensure!(change["log_dirs"] == serde_json::json!([large.display().to_string()]), "{change:#}");
    carry_into(&cluster, &file, topic, 1, large)?;
    nothing_left(&cluster)
}
