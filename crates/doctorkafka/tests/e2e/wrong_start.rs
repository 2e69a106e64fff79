//! What happens when things are wrong at the start: a clear message and a finding, no crash, no hot loop.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Cluster, Identity, Security};
use serde_json::Value;

use crate::harness::{Doctor, actions, wait};

/// Lets the service run for a while and checks that it does not spin.
fn stays_calm(doctor: &Doctor) -> Result<()> {
    let (_, before) = doctor.usage()?;
    let lines = doctor.output().lines().count();
    let until = Instant::now() + Duration::from_secs(10);
    wait("ten seconds", Duration::from_secs(11), || Ok((Instant::now() >= until).then_some(())))?;
    let (_, after) = doctor.usage()?;
    let printed = doctor.output().lines().count() - lines;
    ensure!(after - before < Duration::from_secs(1), "used {:?} of CPU in 10 s", after - before);
    // Three tries and what they lead to fit in; a loop without pauses prints hundreds.
    ensure!(printed < 30, "printed {printed} lines in 10 s:\n{}", doctor.output());
    Ok(())
}

#[test]
fn brokers_that_cannot_be_reached_are_a_finding() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let doctor = Doctor::run("127.0.0.1:9", &folder.path().join("state"), &["--execute"])?;
    doctor.incident("cluster_unreachable", Duration::from_secs(20))?;
    stays_calm(&doctor)?;
    ensure!(doctor.ok(&["status"])?.contains("127.0.0.1:9"), "the status does not say whom it cannot reach");
    doctor.stop()
}

#[test]
fn a_second_service_with_the_same_state_dir_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    let first = Doctor::run("127.0.0.1:9", &state, &[])?;
    first.incident("cluster_unreachable", Duration::from_secs(20))?;
    let second = Doctor::run("127.0.0.1:9", &state, &[])?;
    second
        .line("in use", Duration::from_secs(10))
        .or_else(|_| second.line("lock", Duration::from_secs(1)))?;
    first.stop()
}

#[test]
fn a_person_who_forgets_the_security_settings_is_told() -> Result<()> {
    // A plaintext cluster, asked with TLS.
    let cluster = Cluster::builder().brokers(1).start()?;
    let folder = tempfile::tempdir()?;
    let properties = folder.path().join("client.properties");
    std::fs::write(&properties, "security.protocol=SSL\n")?;
    let options = ["--command-config", properties.to_str().unwrap_or_default()];
    let doctor = Doctor::run(&cluster.bootstrap(), &folder.path().join("state"), &options)?;
    wait("finding", Duration::from_secs(30), || {
        let found = doctor.incidents().unwrap_or_default();
        Ok(found.iter().any(|kind| kind == "cluster_unreachable" || kind == "security_refused").then_some(()))
    })?;
    stays_calm(&doctor)?;
    doctor.stop()
}

/// A cluster with passwords and ACLs, and a user who may look but not change anything.
fn guarded() -> Result<Cluster> {
    let cluster = Cluster::builder()
        .brokers(3)
        .security(Security::Sasl)
        .authorizer(true)
        .user("doctorkafka", "secret")
        .start()?;
    cluster.create_topic_on("orders", &[&[1, 2], &[2, 3], &[3, 1]])?;
    let look = ["--add", "--allow-principal", "User:doctorkafka", "--operation", "Describe"];
    cluster.tool("acls", &[&look[..], &["--cluster", "--topic", "*"]].concat())?.success()?;
    Ok(cluster)
}

/// The commands by which README gives the smallest set of rights, as they stand there.
fn readmes_acls() -> Result<Vec<Vec<&'static str>>> {
    let readme = include_str!("../../../../README.md");
    let commands = readme.lines().filter_map(|line| line.strip_prefix("kafka-acls --bootstrap-server … "));
    // As a shell takes them.
    let commands: Vec<Vec<&str>> =
        commands.map(|line| line.split_whitespace().map(|word| word.trim_matches('\'')).collect()).collect();
    ensure!(commands.len() == 3, "README has other commands than these: {commands:?}");
    Ok(commands)
}

#[test]
fn a_wrong_password_and_a_missing_right_are_said_and_what_readme_asks_for_suffices() -> Result<()> {
    let cluster = guarded()?;
    let bootstrap = cluster.external_bootstrap()?;
    let folder = tempfile::tempdir()?;
    let options = |properties: &std::path::Path| -> Vec<String> {
        let properties = properties.display().to_string();
        ["--execute", "--grace", "5s", "--command-config", &properties].map(str::to_owned).to_vec()
    };

    let wrong = options(&cluster.client_properties(Identity::Scram("doctorkafka", "guess"))?);
    let wrong: Vec<&str> = wrong.iter().map(String::as_str).collect();
    let doctor = Doctor::run(&bootstrap, &folder.path().join("wrong"), &wrong)?;
    doctor.incident("security_refused", Duration::from_secs(30))?;
    stays_calm(&doctor)?;
    ensure!(!doctor.output().contains("guess"), "the password is in the log");
    doctor.stop()?;

    let right = options(&cluster.client_properties(Identity::Scram("doctorkafka", "secret"))?);
    let right: Vec<&str> = right.iter().map(String::as_str).collect();
    let doctor = Doctor::run(&bootstrap, &folder.path().join("right"), &right)?;
    doctor.ready()?;
    // The right is missed before it is needed.
    doctor.incident("may_not_reassign", Duration::from_secs(20))?;
    cluster.kill(3)?;
    doctor.line("submitting", Duration::from_secs(40))?;
    doctor.line("not authorised", Duration::from_secs(20))?;
    stays_calm(&doctor)?;
    let moved = cluster.partitions_of("orders")?.iter().all(|p| !p.replicas.contains(&3));
    ensure!(!moved, "moved without the right to");
    // The rights are given, no more of them than README names, and the work goes on by itself.
    for command in readmes_acls()? {
        cluster.tool("acls", &command)?.success()?;
    }
    wait("healing", Duration::from_secs(60), || {
        let orders = cluster.partitions_of("orders")?;
        Ok(orders.iter().all(|p| !p.replicas.contains(&3) && p.isr.len() == 2).then_some(()))
    })
    .with_context(|| doctor.output())?;
    wait("end of the incident", Duration::from_secs(30), || {
        Ok(doctor.incidents()?.iter().all(|kind| kind != "may_not_reassign").then_some(()))
    })?;
    // The audit is written, too. Reading it is a right that the service does without.
    wait("record of the healing", Duration::from_secs(30), || {
        // Until the records that wait are tried again, there is no such topic.
        let records = actions(&cluster.bootstrap()).unwrap_or_default();
        let is_end = |record: &Value| record["result"].to_string().contains("2 of 2 partitions moved");
        Ok(records.iter().any(is_end).then_some(()))
    })
    .with_context(|| doctor.output())?;
    doctor.stop()
}
