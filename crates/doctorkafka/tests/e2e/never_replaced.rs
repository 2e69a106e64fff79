//! Hosts that must not be replaced, on real brokers and with everything in place that would replace them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Cluster;

use crate::harness::{Doctor, wait};
use crate::replace::{Scene, wait_for_agents};

/// How long Kafka and the service may take to see what has happened.
const SEEN: Duration = Duration::from_secs(60);

#[test]
fn a_host_is_never_replaced_while_any_sign_speaks_against_it() -> Result<()> {
    let cluster = Cluster::builder().brokers(5).start()?;
    cluster.create_topic("orders", 15, 3)?;
    let mut scene = Scene::of(cluster)?;
    let doctor = scene.doctor("never")?;
    wait_for_agents(&doctor)?;
    // From here on nothing else keeps it from replacing hosts.
    wait("nobody else to be there", SEEN, || {
        Ok((!doctor.incidents()?.iter().any(|kind| kind == "neighbours_unknown")).then_some(()))
    })?;
    its_agent_is_silent_and_it_lives(&mut scene, &doctor)?;
    it_is_down_and_its_agent_speaks(&scene, &doctor)?;
    a_person_works_on_it(&mut scene, &doctor)?;
    a_person_has_taken_it_out_of_service(&mut scene, &doctor)?;
    it_has_the_last_copy(&mut scene, &doctor)?;
    many_are_gone_at_once(&mut scene, &doctor)?;
    nobody_is_heard(&mut scene, &doctor)?;
    doctor.stop()
}

/// Waits until the status says this.
fn said(doctor: &Doctor, text: &str) -> Result<()> {
    wait(&format!("status with \"{text}\""), SEEN, || {
        Ok(doctor.ok(&["status"])?.contains(text).then_some(()))
    })
    .with_context(|| doctor.output())
}

/// Nothing is wrong any more, but for what is only told.
fn calm(scene: &Scene, doctor: &Doctor) -> Result<()> {
    scene.cluster.wait_in_sync(Duration::from_secs(90)).with_context(|| doctor.output())?;
    wait("calm", SEEN, || {
        let open = ["broker_dead", "broker_absent", "broker_unreachable", "no_broker_stats", "mass_failure"];
        Ok((!doctor.incidents()?.iter().any(|kind| open.contains(&kind.as_str()))).then_some(()))
    })
    .with_context(|| doctor.output())?;
    scene.stays(0)
}

fn its_agent_is_silent_and_it_lives(scene: &mut Scene, doctor: &Doctor) -> Result<()> {
    scene.lose_agent(4)?;
    scene.stays(0)?;
    scene.find_agent(4)?;
    wait_for_agents(doctor)
}

/// As in a recovery of its log; and it comes back.
fn it_is_down_and_its_agent_speaks(scene: &Scene, doctor: &Doctor) -> Result<()> {
    scene.cluster.kill(4)?;
    said(doctor, "broker 4, which is dead, is not replaced yet: its agent reported")?;
    scene.stays(0)?;
    scene.cluster.start(4)?;
    scene.cluster.wait_ready()?;
    calm(scene, doctor)
}

fn a_person_works_on_it(scene: &mut Scene, doctor: &Doctor) -> Result<()> {
    doctor.ok(&["maintenance", "on", "--broker", "4", "--why", "new disks"])?;
    scene.lose_host(4)?;
    doctor.incident("broker_down_for_maintenance", SEEN)?;
    scene.stays(0)?;
    scene.revive_host(4, "after-maintenance")?;
    doctor.ok(&["maintenance", "off", "--broker", "4"])?;
    calm(scene, doctor)
}

fn a_person_has_taken_it_out_of_service(scene: &mut Scene, doctor: &Doctor) -> Result<()> {
    doctor.ok(&["decommission", "on", "--broker", "4"])?;
    said(doctor, "it is empty, and may be stopped")?;
    scene.lose_host(4)?;
    scene.cluster.wait_dropped(4, SEEN)?;
    scene.stays(0)?;
    scene.revive_host(4, "after-decommission")?;
    doctor.ok(&["decommission", "off", "--broker", "4"])?;
    calm(scene, doctor)
}

fn it_has_the_last_copy(scene: &mut Scene, doctor: &Doctor) -> Result<()> {
    scene.cluster.create_topic_with("single", &[&[4]], &[])?;
    scene.lose_host(4)?;
    said(doctor, "it may hold the last copy of 1 partition (single-0)")?;
    scene.stays(0)?;
    scene.revive_host(4, "after-last-copy")?;
    let bootstrap = scene.cluster.bootstrap();
    let tool =
        scene.cluster.tool("topics", &["--bootstrap-server", &bootstrap, "--delete", "--topic", "single"])?;
    tool.success()?;
    calm(scene, doctor)
}

fn many_are_gone_at_once(scene: &mut Scene, doctor: &Doctor) -> Result<()> {
    for id in [3, 4, 5] {
        scene.lose_host(id)?;
    }
    doctor.incident("mass_failure", SEEN)?;
    said(doctor, "3 brokers are absent at once (3, 4, 5)")?;
    scene.stays(0)?;
    for id in [3, 4, 5] {
        scene.cluster.start(id)?;
        scene.find_agent(id)?;
    }
    scene.cluster.wait_ready()?;
    calm(scene, doctor)
}

/// The silence of all agents is no sign of one.
fn nobody_is_heard(scene: &mut Scene, doctor: &Doctor) -> Result<()> {
    for id in scene.cluster.broker_ids() {
        scene.lose_agent(id)?;
    }
    scene.lose_host(4)?;
    said(doctor, "so that the silence of its agent tells nothing")?;
    scene.stays(0)?;
    ensure!(doctor.count("replace instance for broker") == 0, "{}", doctor.output());
    Ok(())
}
