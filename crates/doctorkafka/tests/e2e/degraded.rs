//! A disk fails under a broker that lives.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::Cluster;

use crate::harness::{Doctor, GRACE, nothing_left, wait};
use crate::replace::Scene;

/// How long it takes Kafka to write to the disk and find it full, and us to read of it and to be sure.
const FOUND: Duration = Duration::from_secs(60);

#[test]
fn a_failed_disk_of_a_live_broker_is_found_told_and_replaced_where_that_is_asked_for() -> Result<()> {
    let cluster = Cluster::builder().brokers(4).log_dirs(2).small_disk(4, 64 << 20).start()?;
    cluster.create_topic("orders", 12, 3)?;
    cluster.create_topic_with("pairs", &[&[4, 1]], &[])?;
    let scene = Scene::of(cluster)?;
    let since = it_is_found_and_told_and_nothing_is_done(&scene)?;
    its_host_is_replaced_once_nothing_rests_on_it(&scene, since)
}

/// The chain of replacements for brokers that live, too.
fn config(scene: &Scene, replace: bool) -> Result<String> {
    let metadata = "  - type: kafka_metadata\n";
    let often = format!("{metadata}    log_dirs_refresh: 5s\n");
    let degraded = "  - type: degraded_brokers\n    log_dir_after: 5s\n    recovered_after: 5s\noperators:\n";
    let config = scene.config()?;
    let config = config.replace(metadata, &often).replace("operators:\n", degraded);
    let config =
        config.replace("[notify_replacement,", "[notify_replacement, alert_incident, alert_resolved,");
    let wish = format!("    agent_silent_after: 5s\n    replace_degraded: {replace}\n");
    Ok(config.replace("    agent_silent_after: 5s\n", &wish))
}

/// Since when the status says that a log dir has failed, and in what words.
fn failed_log_dir(doctor: &Doctor) -> Result<Option<(i64, String)>> {
    let status = doctor.status()?;
    let all = status["incidents"].as_array().context("incidents")?;
    let it = all.iter().find(|it| it["kind"] == "log_dir_failed" && it["severity"] == "critical");
    Ok(it.and_then(|it| Some((it["since"].as_i64()?, it["message"].as_str()?.to_owned()))))
}

fn it_is_found_and_told_and_nothing_is_done(scene: &Scene) -> Result<i64> {
    let doctor = scene.doctor_of("state", &config(scene, false)?)?;
    let before = i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_millis())?;
    scene.cluster.fill_disk(4)?;
    let (since, message) = wait("the failed log dir", FOUND, || failed_log_dir(&doctor))
        .with_context(|| doctor.output())
        .with_context(|| scene.cluster.log_tail(4).unwrap_or_default())?;
    let took = i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_millis())? - before;
    println!("told {took} ms after the disk was full: {message}");
    ensure!(since >= before, "it is said to have failed before it did");
    let dirs = scene.cluster.log_dirs(4)?;
    let (good, bad) = (dirs[0].display().to_string(), dirs[1].display().to_string());
    ensure!(message.contains("broker 4") && message.contains(&bad) && !message.contains(&good), "{message}");
    ensure!(scene.cluster.pid(4)?.is_some(), "the broker has ended");
    let mail = scene.mail_with("a log dir of broker 4 has failed")?;
    ensure!(mail.contains("oncall@example.org"), "{mail}");
    // Replicas on a live broker are not moved, nor is its host replaced, unless somebody wants it.
    scene.stays(0)?;
    ensure!(doctor.count("submitting") == 0, "replicas were moved:\n{}", doctor.output());
    let status = doctor.ok(&["status"])?;
    ensure!(status.contains("out of sync on broker 4 (log dir failed: "), "{status}");
    doctor.stop()?;
    Ok(since)
}

fn its_host_is_replaced_once_nothing_rests_on_it(scene: &Scene, since: i64) -> Result<()> {
    let cluster = &scene.cluster;
    let doctor = scene.doctor_of("state", &config(scene, true)?)?;
    doctor.incident("replacement_refused", FOUND)?;
    scene
        .mail_with("which is degraded, is not replaced")
        .with_context(|| doctor.ok(&["status"]).unwrap_or_default())?;
    scene.stays(0)?;
    let now = wait("the failed log dir", FOUND, || failed_log_dir(&doctor))?;
    ensure!(now.0 == since, "it has failed since {since}, not since {}", now.0);

    let bootstrap = cluster.bootstrap();
    cluster.tool("topics", &["--bootstrap-server", &bootstrap, "--delete", "--topic", "pairs"])?.success()?;
    scene.wait_for_script(&doctor, 1)?;
    let reason = wait("its reason on the topic", Duration::from_secs(20), || {
        let all = doctor.actions()?;
        let it = all.into_iter().find(|it| it["operation"] == "replace_instance" && it["kind"] == "act");
        Ok(it.and_then(|it| it["reason"].as_str().map(str::to_owned)))
    })?;
    ensure!(reason.contains("broker 4 is degraded: a log dir of broker 4 has failed"), "{reason}");
    // The new host takes longer than a grace: it is being replaced, and nobody else works on it.
    cluster.kill(4)?;
    let until = Instant::now() + GRACE * 4;
    wait("four graces", GRACE * 5, || Ok((Instant::now() >= until).then_some(())))?;
    ensure!(doctor.count("submitting") == 0, "replicas were moved:\n{}", doctor.output());
    ensure!(failed_log_dir(&doctor)?.is_some(), "the disk is held to be mended:\n{}", doctor.output());
    cluster.wipe(4)?;
    cluster.start(4)?;
    scene.let_it_end(4)?;
    cluster.wait_in_sync(Duration::from_secs(90)).with_context(|| doctor.output())?;
    scene.mail_with("replaced the host of broker 4")?;
    wait("the end of the incident", FOUND, || Ok(failed_log_dir(&doctor)?.is_none().then_some(())))
        .with_context(|| doctor.output())?;
    scene.mail_with("log_dir_failed of broker 4 is over")?;
    scene.stays(1)?;
    ensure!(doctor.count("submitting") == 0, "replicas were moved:\n{}", doctor.output());
    nothing_left(cluster)?;
    doctor.stop()
}
