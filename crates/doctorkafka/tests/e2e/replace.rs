//! The design's own example: a broker dies, a script replaces its host, people are told, and never two where one was meant.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Cluster, MailOptions, MailServer};
use serde_json::Value;

use crate::agents::Agent;
use crate::harness::{Doctor, GRACE, revive, wait};

/// Every plugin of the chain. The script says that it was started, and waits until the host is replaced.
fn config(cluster: &Cluster, folder: &Path, mail: u16) -> Result<String> {
    let script = folder.join("replace.sh");
    let text = "\
cd \"$(dirname \"$0\")\"
echo \"$DOCTORKAFKA_CLUSTER $DOCTORKAFKA_BROKER_ID $DOCTORKAFKA_HOST $DOCTORKAFKA_REPLACEMENT_ID\" >> started
while [ ! -e \"done-$DOCTORKAFKA_BROKER_ID\" ]; do sleep 0.1; done
echo \"a new host for broker $DOCTORKAFKA_BROKER_ID\"
";
    std::fs::write(&script, text)?;
    Ok(format!(
        "\
doctorkafka:
  guard: {{on_dead_broker: replace_first, replacement_cooldown: 1h}}
monitors:
  - type: kafka_metadata
  - type: broker_probe
  - type: broker_stats
  - type: maintenance
  - type: dead_brokers
    grace: 5s
  - type: under_replicated_partitions
operators:
  - type: broker_replacement
    agent_silent_after: 5s
  - type: under_replicated_partitions
actions:
  - type: script_instance_replacement
    command: [sh, {script}]
    subscribed_events: [replace_instance]
    dry_run: false
  - type: reassign_partitions
    dry_run: false
  - type: elect_leaders
    dry_run: false
  - type: report_operation
  - type: send_email
    subscribed_events: [notify_replacement, alert_replacement_held, alert_unknown_outcome]
    server: localhost:{mail}
    tls: none
    from: doctor@example.org
    alert: [oncall@example.org]
    notification: [ops@example.org]
kafkaclusters:
  - name: test
    bootstrap_servers: {bootstrap}
",
        script = script.display(),
        bootstrap = cluster.bootstrap(),
    ))
}

/// A cluster with an agent beside each broker, a mail server, and the script's folder.
struct Scene {
    cluster: Cluster,
    agents: Vec<Option<Agent>>,
    mail: MailServer,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Result<Self> {
        let cluster = Cluster::builder().brokers(4).start()?;
        cluster.create_topic("orders", 12, 3)?;
        let agents =
            cluster.broker_ids().into_iter().map(|id| Agent::start(&cluster, &id.to_string()).map(Some));
        let agents = agents.collect::<Result<_>>()?;
        let mut mail = MailServer::new(MailOptions::default())?;
        mail.start()?;
        Ok(Self { cluster, agents, mail, folder: tempfile::tempdir()? })
    }

    fn doctor(&self, state: &str) -> Result<Doctor> {
        let config = config(&self.cluster, self.folder.path(), self.mail.port())?;
        let doctor = Doctor::configured(&self.cluster.bootstrap(), &self.folder.path().join(state), &config)?;
        doctor.ready()?;
        Ok(doctor)
    }

    /// The broker's whole host is gone: its agent, too.
    fn lose_host(&mut self, id: i32) -> Result<()> {
        self.cluster.kill(id)?;
        drop(self.agents[usize::try_from(id - 1)?].take());
        Ok(())
    }

    /// How the script was started, a line each time.
    fn started(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("started")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn wait_for_script(&self, doctor: &Doctor, times: usize) -> Result<()> {
        wait("start of the script", Duration::from_secs(60), || {
            Ok((self.started().len() == times).then_some(()))
        })
        .with_context(|| doctor.output())
    }

    fn mail_with(&self, text: &str) -> Result<String> {
        wait(&format!("mail with \"{text}\""), Duration::from_secs(30), || {
            Ok(self.mail.mails()?.into_iter().find(|mail| mail.contains(text)))
        })
    }
}

#[test]
fn a_dead_host_is_replaced_once_and_only_once() -> Result<()> {
    let mut scene = Scene::new()?;
    the_service_dies_during_a_replacement(&mut scene)?;
    scene.agents[3] = Some(Agent::start(&scene.cluster, "4")?);
    revive(&scene.cluster, &[4])?;
    the_whole_chain(&mut scene)?;
    Ok(())
}

/// It is not known what the script has done by then: it is not started again, and healing goes on.
fn the_service_dies_during_a_replacement(scene: &mut Scene) -> Result<()> {
    let doctor = scene.doctor("first")?;
    scene.lose_host(4)?;
    scene.wait_for_script(&doctor, 1)?;
    doctor.kill()?;
    let doctor = scene.doctor("first")?;
    doctor.line("unknown: the service was stopped", Duration::from_secs(20))?;
    doctor.incident("replacement_refused", Duration::from_secs(40))?;
    scene.mail_with("it is not known what became of replace_instance")?;
    doctor.line("submitting", Duration::from_secs(40))?;
    scene.cluster.wait_in_sync(Duration::from_secs(60))?;
    let until = Instant::now() + GRACE * 2;
    wait("two more graces", GRACE * 3, || Ok((Instant::now() >= until).then_some(())))?;
    ensure!(scene.started().len() == 1, "started again: {:?}", scene.started());
    doctor.stop()?;
    // The script that was left behind ends, too.
    std::fs::write(scene.folder.path().join("done-4"), "")?;
    Ok(())
}

/// Another service, which knows nothing of the first. Broker 3 dies, and later broker 2.
fn the_whole_chain(scene: &mut Scene) -> Result<()> {
    let doctor = scene.doctor("second")?;
    wait("reports of all agents", Duration::from_secs(40), || {
        Ok((!doctor.incidents()?.iter().any(|kind| kind.contains("stats"))).then_some(()))
    })?;
    scene.lose_host(3)?;
    scene.wait_for_script(&doctor, 2)?;
    let cluster = &scene.cluster;
    let started = scene.started().remove(1);
    ensure!(started.starts_with("test 3 127.0.0.1 "), "it was told: {started}");
    ensure!(
        doctor.ok(&["status"])?.contains("is to be replaced first"),
        "the status does not say why nothing is moved"
    );
    cluster.wipe(3)?;
    cluster.start(3)?;
    std::fs::write(scene.folder.path().join("done-3"), "")?;
    cluster.wait_in_sync(Duration::from_secs(90)).with_context(|| doctor.output())?;
    scene.mail_with("replaced the host of broker 3")?;
    wait("its leaderships", Duration::from_secs(40), || {
        let orders = cluster.partitions_of("orders")?;
        let mut its = orders.iter().filter(|p| p.replicas.first() == Some(&3));
        Ok(its.all(|p| p.leader == Some(3)).then_some(()))
    })
    .with_context(|| doctor.output())?;
    let story = told(&doctor, &["replace_instance", "notify_replacement", "elect_leaders"])?;
    ensure!(
        story == ["replace_instance", "notify_replacement", "elect_leaders"],
        "the topic tells {story:?}"
    );
    ensure!(doctor.count("submitting") == 0, "replicas were moved:\n{}", doctor.output());

    // A second host within the cooldown: not replaced, but healed.
    scene.agents[2] = Some(Agent::start(&scene.cluster, "3")?);
    scene.lose_host(2)?;
    doctor.incident("replacement_refused", Duration::from_secs(40))?;
    ensure!(
        doctor.ok(&["status"])?.contains("the next one may be begun in"),
        "the status does not say until when"
    );
    scene.mail_with("the next one may be begun in")?;
    doctor.line("submitting", Duration::from_secs(40))?;
    scene.cluster.wait_in_sync(Duration::from_secs(60)).with_context(|| doctor.output())?;
    ensure!(scene.started().len() == 2, "a second host was replaced: {:?}", scene.started());
    doctor.stop()
}

/// The acts on the actions topic with one of these names, in their order.
fn told(doctor: &Doctor, names: &[&str]) -> Result<Vec<String>> {
    wait("records", Duration::from_secs(30), || {
        let records = doctor.actions()?;
        let is_act = |record: &&Value| record["kind"] == "act" && record["dryRun"] == false;
        let acts = records.iter().filter(is_act).filter_map(|record| record["operation"].as_str());
        let acts: Vec<String> = acts.filter(|act| names.contains(act)).map(str::to_owned).collect();
        // What the first service did is there, too.
        let from = acts.iter().rposition(|act| act == names[0]).unwrap_or_default();
        Ok((acts.len() >= from + names.len()).then(|| acts[from..].to_vec()))
    })
}
