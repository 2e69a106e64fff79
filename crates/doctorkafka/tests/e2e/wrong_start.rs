//! What happens when things are wrong at the start: a clear message and a finding, no crash, no hot loop.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::Cluster;

use crate::harness::{Doctor, wait};

/// Lets the service run for a while and checks that it does not spin.
fn stays_calm(doctor: &Doctor) -> Result<()> {
    let (_, before) = doctor.usage()?;
    let lines = doctor.output().lines().count();
    let until = Instant::now() + Duration::from_secs(10);
    wait("ten seconds", Duration::from_secs(11), || Ok((Instant::now() >= until).then_some(())))?;
    let (_, after) = doctor.usage()?;
    let printed = doctor.output().lines().count() - lines;
    ensure!(after - before < Duration::from_secs(1), "used {:?} of CPU in 10 s", after - before);
    ensure!(printed < 15, "printed {printed} lines in 10 s:\n{}", doctor.output());
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
        let found = doctor.incidents()?;
        Ok(found.iter().any(|kind| kind == "cluster_unreachable" || kind == "security_refused").then_some(()))
    })?;
    stays_calm(&doctor)?;
    doctor.stop()
}
