//! Messages of several services that share a store: none goes with the host of one of them, and the store's own trouble is told.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Cluster, MailOptions, MailServer};
use serde_json::Value;

use crate::harness::{Doctor, healed, wait};

fn config(cluster: &Cluster, mail: u16) -> String {
    format!(
        "\
doctorkafka:
  state_store: {{type: kafka, bootstrap_servers: '{bootstrap}', lease: 15s}}
monitors:
  - type: kafka_metadata
  - type: broker_probe
  - type: maintenance
  - type: dead_brokers
    grace: 5s
  - type: under_replicated_partitions
operators:
  - type: under_replicated_partitions
actions:
  - type: reassign_partitions
    dry_run: false
  - type: send_email
    subscribed_events: [notify_reassignment, alert_incident, alert_resolved]
    server: localhost:{mail}
    tls: none
    from: doctor@example.org
    alert: [oncall@example.org]
    notification: [team@example.org]
kafkaclusters:
  - name: test
    bootstrap_servers: {bootstrap}
",
        bootstrap = cluster.bootstrap(),
    )
}

fn acts(doctor: &Doctor) -> Result<()> {
    wait("end of looking on", Duration::from_secs(60), || {
        let status = doctor.status()?;
        Ok((status["looks_on"] == Value::Null && status["trouble"] == Value::Null).then_some(()))
    })
    .with_context(|| doctor.output())
}

fn waiting(doctor: &Doctor) -> Result<usize> {
    Ok(doctor.ok(&["state", "list", "messages/"])?.matches("messages/send_email/").count())
}

/// Each `Message-ID` of the mails with this text, and who got them.
fn got(mail: &MailServer, text: &str) -> Result<Vec<(String, String)>> {
    let mut got = Vec::new();
    for mail in mail.mails()?.iter().filter(|mail| mail.contains(text)) {
        let mail: Value = serde_json::from_str(mail)?;
        let data = mail["data"].as_str().context("data")?;
        let id = data.lines().find(|line| line.to_ascii_lowercase().starts_with("message-id:"));
        got.push((id.context("Message-ID")?.to_owned(), mail["to"].to_string()));
    }
    Ok(got)
}

#[test]
fn a_mail_that_waits_is_sent_by_the_other_service_when_the_host_of_the_first_is_gone() -> Result<()> {
    let cluster = Cluster::builder().brokers(4).start()?;
    cluster.create_topic("orders", 12, 3)?;
    let folder = tempfile::tempdir()?;
    let mut mail = MailServer::new(MailOptions::default())?;
    mail.start()?;
    let config = config(&cluster, mail.port());
    let doctor = |name: &str| {
        let doctor = Doctor::configured(&cluster.bootstrap(), &folder.path().join(name), &config)?;
        doctor.ready()?;
        Ok::<_, anyhow::Error>(doctor)
    };
    let first = doctor("first")?;
    acts(&first)?;
    let second = doctor("second")?;

    // Nobody can be told of what is done, and then the host of the service that did it is lost for good.
    mail.kill();
    cluster.kill(4)?;
    let waits = wait("mail that waits", Duration::from_secs(90), || {
        Ok(Some(waiting(&first)?).filter(|waits| *waits > 0))
    });
    waits.with_context(|| first.output())?;
    healed(&cluster, Duration::from_secs(90)).with_context(|| first.output())?;
    first.kill()?;
    std::fs::remove_dir_all(folder.path().join("first"))?;
    acts(&second)?;
    ensure!(waiting(&second)? > 0, "the other service does not have what waits");
    mail.start()?;
    let told = wait("mail of what the first service did", Duration::from_secs(90), || {
        Ok(Some(got(&mail, "team@example.org")?).filter(|got| !got.is_empty()))
    });
    let told = told.with_context(|| second.output())?;
    ensure!(told.iter().all(|one| told.iter().filter(|it| *it == one).count() == 1), "sent twice: {told:?}");
    wait("an empty outbox", Duration::from_secs(90), || Ok((waiting(&second)? == 0).then_some(())))?;

    the_loss_of_the_store_is_told(&cluster, &second, &mail)
}

/// Without the store nothing is done; that it is lost is told all the same.
fn the_loss_of_the_store_is_told(cluster: &Cluster, doctor: &Doctor, mail: &MailServer) -> Result<()> {
    let bootstrap = cluster.bootstrap();
    let arguments = ["--bootstrap-server", &bootstrap, "--delete", "--topic", "doctorkafka-state"];
    cluster.tool("topics", &arguments)?.success()?;
    let told = wait("mail of the store", Duration::from_secs(120), || {
        Ok(got(mail, "state_store_unusable")?.into_iter().next())
    });
    let (_, to) = told.with_context(|| doctor.output())?;
    ensure!(to.contains("oncall@example.org"), "{to}");
    // A person takes it as it is, and people hear of that, too.
    wait("an accepted store", Duration::from_secs(60), || {
        Ok(doctor.command(&["accept-identity", "--reason", "a test"])?.status.success().then_some(()))
    })
    .with_context(|| doctor.output())?;
    let over = wait("mail of its end", Duration::from_secs(120), || {
        Ok(got(mail, "resolved:")?.into_iter().find(|(id, _)| id.contains("state_store_unusable")))
    });
    over.map(|_| ()).with_context(|| doctor.output())
}
