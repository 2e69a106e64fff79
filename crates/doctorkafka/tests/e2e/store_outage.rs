//! The state store does not answer for a while, and a program works on a host meanwhile.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Cluster;

use crate::harness::wait;
use crate::replace::Scene;

/// Longer than the lease, so that it is lost for sure.
const OUTAGE: Duration = Duration::from_secs(25);

/// The program was begun by this very process, and goes on: its end is waited for, nobody else works on the broker, and nothing is told that
/// is not so.
#[test]
fn a_program_that_outlasts_an_outage_of_the_store_is_waited_for() -> Result<()> {
    let keeper = Cluster::builder().brokers(1).start()?;
    let cluster = Cluster::builder().brokers(4).start()?;
    cluster.create_topic("orders", 12, 3)?;
    let mut scene = Scene::of(cluster)?;
    let store = format!(
        "doctorkafka:\n  state_store: {{type: kafka, bootstrap_servers: '{}', replication_factor: 1, lease: 15s}}\n",
        keeper.bootstrap()
    );
    let doctor = scene.doctor_of("shared", &scene.config()?.replacen("doctorkafka:\n", &store, 1))?;
    scene.lose_host(3)?;
    scene.wait_for_script(&doctor, 1)?;

    keeper.pause(1)?;
    doctor.line("this service does not hold the cluster's lease any more", Duration::from_secs(40))?;
    doctor.incident("act_without_owner", Duration::from_secs(20))?;
    std::thread::sleep(OUTAGE);
    keeper.resume(1)?;
    wait("its lease", Duration::from_secs(90), || {
        let open = doctor.incidents()?;
        Ok((!open.iter().any(|it| it == "state_store_unusable" || it == "act_without_owner")).then_some(()))
    })
    .with_context(|| doctor.output())?;
    // A person can stop it again, and what it does is seen.
    ensure!(doctor.ok(&["status"])?.contains("replaces the host of broker 3"), "{}", doctor.ok(&["status"])?);

    scene.let_it_end(3)?;
    doctor.line("replaced the host of broker 3", Duration::from_secs(30))?;
    scene.cluster.wipe(3)?;
    scene.cluster.start(3)?;
    scene.cluster.wait_in_sync(Duration::from_secs(90)).with_context(|| doctor.output())?;
    ensure!(scene.started().len() == 1, "started again: {:?}", scene.started());
    ensure!(doctor.count("submitting") == 0, "replicas were moved:\n{}", doctor.output());
    ensure!(doctor.count("unknown:") == 0, "an outcome was lost:\n{}", doctor.output());
    doctor.stop()
}
