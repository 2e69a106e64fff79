//! What goes wrong with the script that replaces a host, through the whole service: each time the record, the status and a mail say what
//! it was, and nothing is left of it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Cluster, MailOptions, MailServer};
use serde_json::Value;

use crate::harness::{DOCTOR, Doctor, wait};

/// What a fault looks like.
struct Fault {
    /// The script, and whether it may be executed; `None`: there is none.
    script: Option<(&'static str, bool)>,
    /// What the outcome on the actions topic says.
    record: &'static str,
    /// What the status says.
    status: &'static str,
    /// What the mail says.
    mail: &'static str,
}

/// What a script leaves running is to be found here.
const FORKS: &str = "for n in 1 2 3; do sleep 1000 & echo $! >> \"$(dirname \"$0\")/children\"; done\n";

const FAULTS: [(&str, Fault); 6] = [
    (
        "it is missing",
        Fault {
            script: None,
            record: "cannot start",
            status: "No such file or directory",
            mail: "No such file or directory",
        },
    ),
    (
        "it is not executable",
        Fault {
            script: Some(("exit 0\n", false)),
            record: "cannot start",
            status: "Permission denied",
            mail: "Permission denied",
        },
    ),
    (
        "it fails",
        Fault {
            script: Some(("echo no such instance >&2\nexit 1\n", true)),
            record: "ended with exit status: 1",
            status: "no such instance",
            mail: "no such instance",
        },
    ),
    (
        "it hangs",
        Fault {
            script: Some(("forks\nwait\n", true)),
            record: "did not end within 20s and was killed",
            status: "did not end within 20s and was killed",
            mail: "it is not known what became of replace_instance for broker 3",
        },
    ),
    (
        "it prints a gigabyte",
        Fault {
            script: Some(("head -c 1000000000 /dev/zero\necho\necho a host at last\n", true)),
            record: "saying: a host at last",
            status: "the host of broker 3 was replaced",
            mail: "saying: a host at last",
        },
    ),
    (
        "it leaves children",
        Fault {
            script: Some(("forks\necho they go on\n", true)),
            record: "saying: they go on",
            status: "the host of broker 3 was replaced",
            mail: "saying: they go on",
        },
    ),
];

/// A service whose script has a fault of its own. It knows of no other: each writes to a topic of its own what it does.
struct Faulty<'a> {
    name: &'a str,
    fault: &'a Fault,
    folder: PathBuf,
    bootstrap: String,
    doctor: Doctor,
}

impl<'a> Faulty<'a> {
    fn start(
        cluster: &Cluster,
        mail: &MailServer,
        all: &Path,
        name: &'a str,
        fault: &'a Fault,
    ) -> Result<Self> {
        let folder = all.join(name.replace(' ', "-"));
        std::fs::create_dir_all(&folder)?;
        if let Some((text, executable)) = fault.script {
            let script = folder.join("replace");
            std::fs::write(&script, format!("#!/bin/sh\n{}", text.replace("forks\n", FORKS)))?;
            let mode = if executable { 0o755 } else { 0o644 };
            std::fs::set_permissions(&script, std::fs::Permissions::from_mode(mode))?;
        }
        let config = config(cluster, mail.port(), &folder, &name.replace(' ', "-"));
        let bootstrap = cluster.bootstrap();
        let doctor = Doctor::configured(&bootstrap, &folder.join("state"), &config)?;
        doctor.ready()?;
        Ok(Self { name, fault, folder, bootstrap, doctor })
    }

    /// What came of its replacements, from its actions topic.
    fn outcomes(&self) -> Result<Vec<String>> {
        let topic = format!("actions-{}", self.name.replace(' ', "-"));
        let output = Command::new(DOCTOR)
            .args(["actions", "--json", "--bootstrap-servers", &self.bootstrap, "--topic", &topic])
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let records = text.lines().map(|line| Ok(serde_json::from_str(line)?));
        let is_it = |it: &&Value| it["operation"] == "replace_instance" && it["kind"] == "outcome";
        let all: Vec<Value> = records.collect::<Result<_>>()?;
        let said = |it: &Value| it["result"].as_str().unwrap_or_default().to_owned();
        Ok(all.iter().filter(is_it).map(said).collect())
    }

    fn is_told(&self, mail: &MailServer) -> Result<()> {
        let Fault { record, status, mail: told, .. } = self.fault;
        wait(&format!("outcome with \"{record}\""), Duration::from_secs(90), || {
            let outcomes = self.outcomes()?;
            ensure!(outcomes.len() < 2, "replaced more than once: {outcomes:?}");
            let Some(said) = outcomes.first() else { return Ok(None) };
            ensure!(said.contains(record), "the outcome is: {said}");
            Ok(Some(()))
        })
        .with_context(|| self.doctor.output())?;
        wait(&format!("status with \"{status}\""), Duration::from_secs(20), || {
            Ok(self.doctor.ok(&["status"])?.contains(status).then_some(()))
        })
        .with_context(|| self.doctor.ok(&["status"]).unwrap_or_default())?;
        let to = format!("{}@example.org", self.name.replace(' ', "-"));
        wait(&format!("mail to {to} with \"{told}\""), Duration::from_secs(30), || {
            Ok(mail.mails()?.iter().any(|it| it.contains(&to) && it.contains(told)).then_some(()))
        })
        .with_context(|| format!("the mails are {:#?}", mail.mails().unwrap_or_default()))
    }

    /// Neither its children nor more memory and open files than a service has whose script did nothing.
    fn has_left_nothing(&self, (memory, files): (u64, usize)) -> Result<()> {
        nothing_is_left(&self.folder)?;
        let (has, open) = used(&self.doctor)?;
        ensure!(has < memory + 64_000_000, "it has {has} bytes, another {memory}");
        ensure!(open < files + 10, "it has {open} files open, another {files}");
        Ok(())
    }
}

fn config(cluster: &Cluster, mail: u16, folder: &Path, name: &str) -> String {
    format!(
        "\
doctorkafka:
  guard: {{on_dead_broker: replace_first, replacement_cooldown: 1h}}
monitors:
  - type: kafka_metadata
  - type: broker_probe
  - type: maintenance
  - type: dead_brokers
    grace: 5s
operators:
  - type: broker_replacement
    without_agents: true
    hosts_are_shared: true
actions:
  - type: script_instance_replacement
    command: [{folder}/replace]
    timeout: 20s
    subscribed_events: [replace_instance]
    dry_run: false
  - type: report_operation
    topic: actions-{name}
  - type: send_email
    subscribed_events: [notify_replacement, alert_replacement_held, alert_unknown_outcome]
    server: localhost:{mail}
    tls: none
    from: doctor@example.org
    alert: [{name}@example.org]
kafkaclusters:
  - name: test
    bootstrap_servers: {bootstrap}
",
        folder = folder.display(),
        bootstrap = cluster.bootstrap(),
    )
}

#[test]
fn whatever_is_wrong_with_the_script_is_told_and_leaves_nothing_behind() -> Result<()> {
    let cluster = Cluster::builder().brokers(3).start()?;
    cluster.create_topic("orders", 4, 3)?;
    let mut mail = MailServer::new(MailOptions::default())?;
    mail.start()?;
    let folder = tempfile::tempdir()?;
    let start = |(name, fault)| Faulty::start(&cluster, &mail, folder.path(), name, fault);
    let all = FAULTS.iter().map(|(name, fault)| start((*name, fault))).collect::<Result<Vec<_>>>()?;
    cluster.stop(3)?;
    for it in &all {
        it.is_told(&mail).context(it.name)?;
    }
    let usual = used(&all[0].doctor)?;
    for it in &all {
        it.has_left_nothing(usual).context(it.name)?;
    }
    for it in all {
        ensure!(it.outcomes()?.len() == 1, "{}: tried again", it.name);
        it.doctor.stop()?;
    }
    Ok(())
}

/// Memory in bytes, and how many files are open.
fn used(doctor: &Doctor) -> Result<(u64, usize)> {
    let files = std::fs::read_dir(format!("/proc/{}/fd", doctor.pid()))?.count();
    Ok((doctor.usage()?.0, files))
}

fn nothing_is_left(folder: &Path) -> Result<()> {
    let children = std::fs::read_to_string(folder.join("children")).unwrap_or_default();
    // One that has ended, and that nobody has asked about yet, is gone.
    let is_gone = |id: &str| match std::fs::read_to_string(format!("/proc/{id}/stat")) {
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    };
    wait("end of its children", Duration::from_secs(15), || Ok(children.lines().all(is_gone).then_some(())))
}
