//! The design's own example: a broker dies, a script replaces its host, people are told, and never two where one was meant.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Cluster, MailOptions, MailServer};
use serde_json::Value;

use crate::agents::Agent;
use crate::harness::{Doctor, GRACE, heard, nothing_left, revive, wait};

/// Every plugin of the chain. The script says that it was started, and waits until the host is replaced.
fn config(cluster: &Cluster, folder: &Path, mail: u16) -> Result<String> {
    let script = folder.join("replace.sh");
    let text = "\
cd \"$(dirname \"$0\")\"
echo \"$DOCTORKAFKA_CLUSTER $DOCTORKAFKA_BROKER_ID $DOCTORKAFKA_HOST $DOCTORKAFKA_REPLACEMENT_ID\" >> started
echo \"ordered a host for broker $DOCTORKAFKA_BROKER_ID\"
while [ ! -e \"done-$DOCTORKAFKA_BROKER_ID\" ]; do sleep 0.1; done
echo $DOCTORKAFKA_REPLACEMENT_ID >> ended
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
    hosts_are_shared: true
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
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    agents: Vec<Option<Agent>>,
    pub(crate) mail: MailServer,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Result<Self> {
        let cluster = Cluster::builder().brokers(4).start()?;
        cluster.create_topic("orders", 12, 3)?;
        Self::of(cluster)
    }

    pub(crate) fn of(cluster: Cluster) -> Result<Self> {
        let agents =
            cluster.broker_ids().into_iter().map(|id| Agent::start(&cluster, &id.to_string()).map(Some));
        let agents = agents.collect::<Result<_>>()?;
        let mut mail = MailServer::new(MailOptions::default())?;
        mail.start()?;
        Ok(Self { cluster, agents, mail, folder: tempfile::tempdir()? })
    }

    pub(crate) fn doctor(&self, state: &str) -> Result<Doctor> {
        self.doctor_of(state, &self.config()?)
    }

    /// One that waits for a replacement whose end nobody knows no longer than a test can.
    fn impatient(&self, state: &str) -> Result<Doctor> {
        let patient = "replacement_cooldown: 1h";
        self.doctor_of(state, &self.config()?.replace(patient, &format!("{patient}, replace_timeout: 80s")))
    }

    pub(crate) fn config(&self) -> Result<String> {
        config(&self.cluster, self.folder.path(), self.mail.port())
    }

    pub(crate) fn doctor_of(&self, state: &str, config: &str) -> Result<Doctor> {
        let doctor = Doctor::configured(&self.cluster.bootstrap(), &self.folder.path().join(state), config)?;
        doctor.ready()?;
        Ok(doctor)
    }

    /// The broker's whole host is gone: its agent, too.
    pub(crate) fn lose_host(&mut self, id: i32) -> Result<()> {
        // The silence of an agent that was never heard says nothing.
        if self.agents[usize::try_from(id - 1)?].is_some() {
            heard(&self.cluster, id)?;
        }
        self.cluster.kill(id)?;
        self.lose_agent(id)
    }

    pub(crate) fn lose_agent(&mut self, id: i32) -> Result<()> {
        drop(self.agents[usize::try_from(id - 1)?].take());
        Ok(())
    }

    pub(crate) fn find_agent(&mut self, id: i32) -> Result<()> {
        self.agents[usize::try_from(id - 1)?] = Some(Agent::start(&self.cluster, &id.to_string())?);
        Ok(())
    }

    /// The broker is back, and its agent, too. It was healed away from, and gets replicas of a new topic.
    pub(crate) fn revive_host(&mut self, id: i32, topic: &str) -> Result<()> {
        self.find_agent(id)?;
        revive(&self.cluster, &[id])?;
        self.cluster.create_topic(topic, 8, 3)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn lines_of(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.file(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// How the script was started, a line each time.
    pub(crate) fn started(&self) -> Vec<String> {
        self.lines_of("started")
    }

    pub(crate) fn wait_for_script(&self, doctor: &Doctor, times: usize) -> Result<()> {
        wait("start of the script", Duration::from_secs(120), || {
            Ok((self.started().len() == times).then_some(()))
        })
        .with_context(|| doctor.output())
    }

    /// Lets the script end that replaces the host of this broker.
    pub(crate) fn let_it_end(&self, id: i32) -> Result<()> {
        std::fs::write(self.file(&format!("done-{id}")), "")?;
        Ok(())
    }

    /// `kill -9` as soon as the store has remembered a replacement.
    fn kill_when_remembered(&self, doctor: Doctor, state: &str) -> Result<()> {
        let stored = self.file(state).join("store/clusters%2ftest%2freplacements.value");
        at_once("a replacement in the store", || {
            std::fs::read(&stored).is_ok_and(|text| String::from_utf8_lossy(&text).contains("\"broker\":4"))
        })
        .with_context(|| doctor.output())?;
        doctor.kill()
    }

    /// Nothing is started for two more graces.
    pub(crate) fn stays(&self, started: usize) -> Result<()> {
        let until = Instant::now() + GRACE * 2;
        wait("two more graces", GRACE * 3, || Ok((Instant::now() >= until).then_some(())))?;
        ensure!(self.started().len() == started, "started again: {:?}", self.started());
        Ok(())
    }

    pub(crate) fn mail_with(&self, text: &str) -> Result<String> {
        wait(&format!("mail with \"{text}\""), Duration::from_secs(30), || {
            Ok(self.mail.mails()?.into_iter().find(|mail| mail.contains(text)))
        })
        .with_context(|| format!("the mails are {:#?}", self.mail.mails().unwrap_or_default()))
    }
}

#[test]
fn a_dead_host_is_replaced_once_and_only_once() -> Result<()> {
    let mut scene = Scene::new()?;
    the_service_dies_before_a_replacement_and_during_it(&mut scene)?;
    scene.revive_host(4, "again")?;
    the_service_dies_when_it_has_just_been_remembered(&mut scene)?;
    scene.revive_host(4, "once-more")?;
    the_service_dies_at_its_end_and_before_the_mail(&mut scene)?;
    scene.agents[3] = Some(Agent::start(&scene.cluster, "4")?);
    the_whole_chain(&mut scene)?;
    a_person_has_it_replaced(&mut scene)?;
    Ok(())
}

/// Looks every millisecond, for a minute at most: what follows is a matter of a few of them.
fn at_once(what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(60);
    while !holds() {
        ensure!(Instant::now() < until, "no {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Before: it is begun by the next process, after a whole grace. During: it is not known what the script has done by then: it is
/// not started again, and healing goes on when that has had its time.
fn the_service_dies_before_a_replacement_and_during_it(scene: &mut Scene) -> Result<()> {
    let doctor = scene.doctor("first")?;
    scene.lose_host(4)?;
    // Kafka drops it some seconds later, and the grace is over then.
    doctor.incident("broker_unreachable", Duration::from_secs(40))?;
    doctor.kill()?;
    ensure!(scene.started().is_empty(), "it was begun within the grace");
    let doctor = scene.doctor("first")?;
    scene.wait_for_script(&doctor, 1)?;
    doctor.kill()?;
    let doctor = scene.impatient("first")?;
    doctor.line("unknown: the service was stopped", Duration::from_secs(20))?;
    doctor.incident("replacement_refused", Duration::from_secs(40))?;
    scene.mail_with("it is not known what became of replace_instance")?;
    // It may still run, as it does.
    ensure!(doctor.ok(&["status"])?.contains("which may still run"), "{}", doctor.ok(&["status"])?);
    doctor.line("submitting", Duration::from_secs(100))?;
    scene.cluster.wait_in_sync(Duration::from_secs(60))?;
    scene.stays(1)?;
    // A person is told the same, and that no other may be begun yet.
    let refused = doctor.command(&["replace", "--broker", "4", "--yes"])?;
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && why.contains("the next one may be begun in"), "{why}");
    doctor.stop()?;
    // The script that was left behind ends, too.
    scene.let_it_end(4)?;
    wait("end of the script", Duration::from_secs(10), || Ok(scene.file("ended").exists().then_some(())))?;
    std::fs::remove_file(scene.file("done-4"))?;
    Ok(())
}

/// It is in the store, and the script has not been started, or has this very moment.
fn the_service_dies_when_it_has_just_been_remembered(scene: &mut Scene) -> Result<()> {
    let doctor = scene.doctor("second")?;
    scene.lose_host(4)?;
    let before = scene.started().len();
    scene.kill_when_remembered(doctor, "second")?;
    // What it has started ends, whatever became of it.
    scene.let_it_end(4)?;
    let doctor = scene.impatient("second")?;
    doctor.incident("replacement_refused", Duration::from_secs(40))?;
    scene.mail_with("it is not known what became of replace_instance for broker 4")?;
    doctor.line("submitting", Duration::from_secs(100))?;
    let started = scene.started().len();
    ensure!(started <= before + 1, "started twice: {:?}", scene.started());
    scene.stays(started)?;
    doctor.stop()?;
    std::fs::remove_file(scene.file("done-4"))?;
    Ok(())
}

/// The script has ended, and nobody has written down yet how, or has this very moment; and nobody can be told, as the mail server
/// is down while the service dies once more.
fn the_service_dies_at_its_end_and_before_the_mail(scene: &mut Scene) -> Result<()> {
    let doctor = scene.doctor("third")?;
    wait_for_agents(&doctor)?;
    scene.lose_host(4)?;
    let (started, ended) = (scene.started().len(), scene.lines_of("ended").len());
    scene.wait_for_script(&doctor, started + 1)?;
    let begun = std::time::UNIX_EPOCH.elapsed()?.as_millis();
    let begun = i64::try_from(begun)?;
    scene.cluster.wipe(4)?;
    scene.cluster.start(4)?;
    let mails = scene.mail.mails()?.len();
    scene.mail.kill();
    scene.let_it_end(4)?;
    at_once("end of the script", || scene.lines_of("ended").len() > ended)?;
    doctor.kill()?;
    let doctor = scene.doctor("third")?;
    // Done, or not known: it is on the topic, once.
    let outcome = |record: &Value| {
        let is_it = record["operation"] == "replace_instance" && record["kind"] == "outcome";
        is_it && record["timestamp"].as_i64().is_some_and(|at| at >= begun)
    };
    let outcomes = wait("outcome on the topic", Duration::from_secs(30), || {
        let all: Vec<Value> = doctor.actions()?.into_iter().filter(outcome).collect();
        Ok((!all.is_empty()).then_some(all))
    })
    .with_context(|| doctor.output())?;
    ensure!(outcomes.len() == 1, "more than one outcome: {outcomes:#?}");
    doctor.incident("messages_waiting:send_email", Duration::from_secs(30))?;
    doctor.kill()?;
    scene.mail.start()?;
    let doctor = scene.doctor("third")?;
    wait("a mail about it", Duration::from_secs(90), || {
        let all = scene.mail.mails()?;
        let is_it = |mail: &String| {
            mail.contains("replaced the host of broker 4") || mail.contains("replace_instance for broker 4")
        };
        Ok(all[mails..].iter().any(is_it).then_some(()))
    })
    .with_context(|| doctor.output())?;
    scene.cluster.wait_in_sync(Duration::from_secs(90)).with_context(|| doctor.output())?;
    ensure!(scene.started().len() == started + 1, "started again: {:?}", scene.started());
    doctor.stop()
}

pub(crate) fn wait_for_agents(doctor: &Doctor) -> Result<()> {
    wait("reports of all agents", Duration::from_secs(40), || {
        Ok((!doctor.incidents()?.iter().any(|kind| kind.contains("stats"))).then_some(()))
    })
}

/// Another service, which knows nothing of the first. Broker 3 dies, and later broker 2.
fn the_whole_chain(scene: &mut Scene) -> Result<()> {
    let doctor = scene.doctor("chain")?;
    wait_for_agents(&doctor)?;
    scene.lose_host(3)?;
    let times = scene.started().len() + 1;
    scene.wait_for_script(&doctor, times)?;
    let cluster = &scene.cluster;
    let started = scene.started().pop().unwrap_or_default();
    ensure!(started.starts_with("test 3 127.0.0.1 "), "it was told: {started}");
    wait("what the script says in the status", Duration::from_secs(20), || {
        let status = doctor.ok(&["status"])?;
        let wanted = ["is to be replaced first", "says: ordered a host for broker 3"];
        Ok(wanted.iter().all(|text| status.contains(text)).then_some(()))
    })
    .with_context(|| doctor.output())?;
    cluster.wipe(3)?;
    cluster.start(3)?;
    scene.let_it_end(3)?;
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
    let said = |record: &Value| {
        record["kind"] == "output"
            && record["result"].as_str().is_some_and(|it| it.contains("ordered a host for broker 3"))
    };
    ensure!(doctor.actions()?.iter().any(said), "what the script says is not on the topic");

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
    ensure!(scene.started().len() == times, "a second host was replaced: {:?}", scene.started());
    let asked = doctor.command(&["replace", "--broker", "2", "--json"])?;
    let answer: Value = serde_json::from_slice(&asked.stdout)?;
    let held = answer["held_back"].as_str().unwrap_or_default();
    ensure!(answer["begun"] == false && held.contains("the next one may be begun in"), "{answer}");
    doctor.stop()
}

/// Broker 2 is dead and healed away from. Another service, which knows of no replacement, has its host replaced for a person.
fn a_person_has_it_replaced(scene: &mut Scene) -> Result<()> {
    let doctor = scene.doctor("by-hand")?;
    let asked = |arguments: &[&str]| -> Result<(bool, String)> {
        let output = doctor.command(arguments)?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
    };
    doctor.incident("broker_dead", Duration::from_secs(40))?;
    wait("nothing to hold it back", Duration::from_secs(40), || {
        let (_, text) = asked(&["replace", "--broker", "2"])?;
        // Nobody is at the terminal, and nothing is done.
        let asks = text.contains("nothing holds it back") && text.contains("--yes says that it is");
        Ok(asks.then_some(()))
    })
    .with_context(|| doctor.output())?;
    let times = scene.started().len();
    let (refused, why) = asked(&["replace", "--broker", "7", "--yes"])?;
    ensure!(!refused && why.contains("there is no broker 7"), "{why}");
    let (well, text) = asked(&["replace", "--broker", "2", "--yes", "--by", "kim", "--reason", "it burns"])?;
    ensure!(well && text.contains("its host is being replaced, as execution"), "{text}");
    scene.wait_for_script(&doctor, times + 1)?;
    scene.cluster.wipe(2)?;
    scene.cluster.start(2)?;
    scene.let_it_end(2)?;
    scene.mail_with("kim wants its host replaced: it burns")?;
    let (again, why) = asked(&["replace", "--broker", "3", "--yes"])?;
    ensure!(!again && why.contains("the next one may be begun in"), "{why}");
    ensure!(scene.started().len() == times + 1, "another host was replaced: {:?}", scene.started());
    a_broker_is_emptied_while_it_lives(&scene.cluster, &doctor)?;
    doctor.stop()
}

/// A person takes broker 1 out of service.
fn a_broker_is_emptied_while_it_lives(cluster: &Cluster, doctor: &Doctor) -> Result<()> {
    cluster.wait_in_sync(Duration::from_secs(60))?;
    cluster.create_topic("single", 4, 1)?;
    doctor.ok(&["decommission", "on", "--broker", "1"])?;
    wait("it to be empty", Duration::from_secs(90), || {
        Ok(doctor.ok(&["status"])?.contains("it is empty, and may be stopped").then_some(()))
    })
    .with_context(|| doctor.output())?;
    for topic in ["orders", "again", "single"] {
        let all = cluster.partitions_of(topic)?;
        ensure!(all.iter().all(|p| !p.replicas.contains(&1)), "{topic} is still on broker 1");
    }
    nothing_left(cluster)
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
