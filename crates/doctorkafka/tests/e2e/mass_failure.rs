//! Many brokers die at once: the brake holds, a person decides.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Cluster;

use crate::harness::{Doctor, wait};

/// Two of four brokers die. Partitions with three replicas can get only one of their dead replicas replaced, those
/// with two replicas all of them. The cluster has four brokers and no topics; the tests of healing go on with it.
pub(crate) fn two_of_four_dead_brokers_are_held_by_the_brake_until_a_person_approves(
    cluster: &Cluster,
) -> Result<()> {
    cluster.create_topic_on("pairs", &[&[1, 3], &[2, 4], &[1, 4], &[2, 3]])?;
    cluster.create_topic_on("triples", &[&[1, 2, 3], &[2, 3, 4], &[3, 4, 1]])?;
    let folder = tempfile::tempdir()?;
    let doctor = Doctor::heal(cluster, &folder.path().join("state"))?;
    doctor.ready()?;
    cluster.kill(3)?;
    cluster.kill(4)?;
    doctor.incident("mass_failure", Duration::from_secs(40))?;
    doctor.line("is dead", Duration::from_secs(40))?;
    wait("held event", Duration::from_secs(20), || {
        Ok(doctor.status()?["held"].to_string().contains("reassign_partitions").then_some(()))
    })
    .with_context(|| doctor.output())?;
    let moved =
        cluster.partitions_of("pairs")?.iter().any(|p| p.replicas.contains(&1) && p.replicas.contains(&2));
    ensure!(!moved, "healed in spite of the brake:\n{}", doctor.output());

    doctor.ok(&["approve", "--reason", "they are really gone"])?;
    wait("healed pairs", Duration::from_secs(60), || {
        let pairs = cluster.partitions_of("pairs")?;
        Ok(pairs.iter().all(|p| p.isr.len() == 2 && p.replicas.len() == 2).then_some(()))
    })
    .with_context(|| doctor.output())?;
    // Three replicas do not fit on two brokers: listed, with the reason.
    doctor.incident("cannot_heal", Duration::from_secs(20))?;
    let status = doctor.status()?;
    let all = status["incidents"].as_array().context("incidents")?;
    let listed = all.iter().find(|incident| incident["kind"] == "cannot_heal").context("cannot_heal")?;
    let listed = listed["message"].as_str().unwrap_or_default();
    ensure!(listed.contains("triples-") && listed.contains(": "), "which, and why not? {listed}");
    println!("{listed}");
    for partition in cluster.partitions_of("triples")? {
        ensure!(partition.leader.is_some(), "{partition:?} has lost its leader");
        ensure!(partition.replicas.len() == 3, "{partition:?} has lost a replica");
    }
    doctor.stop()
}
