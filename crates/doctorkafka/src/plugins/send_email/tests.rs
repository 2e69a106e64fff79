//! Mails as they are made, and as a real mail server gets them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::Event;
use lab::{MailOptions, MailServer, MailTls};
use serde_json::{Value, json};

use super::*;
use crate::plugin::BuildContext;
use crate::plugins::delivery::tests::{message, parcel};
use crate::plugins::fakes::{Fake, context};

fn config(more: Value) -> SendEmailConfig {
    let mut section = json!({
        "server": "mail.example.org",
        "from": "DoctorKafka <doctor@example.org>",
        "notification": ["ops@example.org"],
        "alert": ["Böb <oncall@example.org>"],
    });
    for (key, value) in more.as_object().unwrap() {
        section[key] = value.clone();
    }
    serde_json::from_value(section).unwrap()
}

/// The headers, unfolded, and the text of a mail.
fn split(mail: &[u8]) -> (Vec<String>, String) {
    let text = String::from_utf8(mail.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let head = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    (head.split("\r\n").map(str::to_owned).collect(), body.to_owned())
}

fn header<'a>(headers: &'a [String], name: &str) -> &'a str {
    let start = format!("{name}: ");
    headers.iter().find_map(|header| header.strip_prefix(&start)).unwrap_or_default()
}

#[test]
fn a_mail_says_who_what_and_why() {
    let parcel = parcel("alert_mass_failure", "healing is held: 3 brokers are absent");
    let mail = letter::letter(&config(json!({})), "send_email", &parcel).unwrap();
    let (headers, body) = split(&mail);
    assert_eq!(header(&headers, "From"), "DoctorKafka <doctor@example.org>");
    assert_eq!(header(&headers, "To"), "ops@example.org");
    assert_eq!(header(&headers, "Subject"), "[test] healing is held: 3 brokers are absent");
    assert_eq!(header(&headers, "Message-ID"), "<b1.test.send_email@example.org>");
    assert_eq!(header(&headers, "Date"), "Tue, 14 Nov 2023 22:13:20 +0000");
    assert_eq!(header(&headers, "Auto-Submitted"), "auto-generated");
    assert!(body.starts_with("Look at it.\r\n"), "{body}");
    assert!(body.contains("event     alert_mass_failure (warning)\r\nabout     broker 3\r\n"), "{body}");
}

#[test]
fn the_same_parcel_makes_the_same_mail_and_an_end_is_in_the_thread_of_its_alert() {
    let config = config(json!({}));
    let mail = |event: &str| letter::letter(&config, "m", &parcel(event, "s")).unwrap();
    assert_eq!(mail("alert_x"), mail("alert_x"));
    let thread = |event: &str| header(&split(&mail(event)).0, "References").to_owned();
    assert!(!thread("alert_x").is_empty());
    assert_eq!(thread("alert_x"), thread("alert_resolved"));
}

#[test]
fn drk_39_no_name_begins_a_header_or_ends_one() {
    let evil = "b\"; rm -rf / #\r\nBcc: everybody@example.org\r\n\r\nnever\u{2028}x\0 grün 漢字";
    let mut parcel = parcel("alert_x", evil);
    parcel.notice.cluster = evil.to_owned();
    parcel.notice.id = evil.to_owned();
    parcel.notice.event = evil.to_owned();
    parcel.notice.reason = evil.to_owned();
    parcel.notice.target = control::Target::LogDir(cluster::BrokerId(1), evil.into());
    let config = config(json!({"subject": "{cluster} {event} {target} {reason} {subject} {id}"}));
    let mail = letter::letter(&config, evil, &parcel).unwrap();
    assert!(mail.is_ascii(), "what is not ASCII is encoded");
    let (headers, _) = split(&mail);
    let known = "Message-ID Date From To Subject References Auto-Submitted X-DoctorKafka-Cluster \
        X-DoctorKafka-Event Content-Type Content-Transfer-Encoding MIME-Version";
    for header in &headers {
        let name = header.split(':').next().unwrap();
        assert!(known.split_whitespace().any(|known| known == name), "{header}");
    }
    assert!(header(&headers, "Subject").contains(" =?utf-8?b?"), "{headers:?}");
}

#[test]
fn no_line_of_a_mail_is_longer_than_servers_take() {
    let mut parcel = parcel("alert_x", &"grün ".repeat(100));
    parcel.notice.body = format!("{}\n.\n", "x".repeat(5_000));
    let mail = letter::letter(&config(json!({})), "send_email", &parcel).unwrap();
    let text = String::from_utf8(mail).unwrap();
    assert!(text.split("\r\n").all(|line| line.len() < 998 && !line.contains(['\r', '\n'])), "{text}");
}

#[test]
fn alerts_and_the_rest_go_to_their_lists() {
    let config = config(json!({}));
    let to = |event: &str| config.recipients(&parcel(event, "s").notice);
    assert_eq!(to("notify_reassignment"), ["ops@example.org"]);
    for event in ["alert_x", "alert_resolved"] {
        assert_eq!(to(event).len(), 1);
        assert!(to(event)[0].contains("oncall@example.org"), "{:?}", to(event));
    }
    let alone = super::tests::config(json!({"notification": [], "alert": ["a@b.c", "a@b.c"]}));
    assert_eq!(alone.recipients(&parcel("notify_x", "s").notice), ["a@b.c"]);
}

#[test]
fn the_templates_that_hold_by_default_can_be_read() {
    assert!(Template::parse(SUBJECT).is_ok() && Template::parse(BODY).is_ok());
}

#[test]
fn a_server_has_a_port_by_how_it_is_secured() {
    let address = |server: &str, tls: &str| config(json!({"server": server, "tls": tls})).address();
    assert_eq!(address("h", "starttls"), Ok(("h".to_owned(), 587)));
    assert_eq!(address("h", "tls"), Ok(("h".to_owned(), 465)));
    assert_eq!(address("::1", "none"), Ok(("::1".to_owned(), 25)));
    assert_eq!(address("[::1]:2525", "none"), Ok(("::1".to_owned(), 2525)));
    let address_of = |text: &str| MailAddress::try_from(text.to_owned());
    assert!(address_of("Jörg <j@example.org>").is_ok());
    assert!(address_of("jörg@example.org").is_err() && address_of("a@b.c, d@e.f").is_err());
    for server in ["", "h:", "h:0", "h:99999", "h h", "h:x", "http://h"] {
        assert!(address(server, "none").is_err(), "{server}");
    }
}

/// An action that sends to `server`.
fn action(server: &MailServer, folder: &Path, more: Value) -> Arc<dyn Action> {
    let mut section = json!({
        "server": format!("localhost:{}", server.port()),
        "tls": "none",
        "notification": [],
        "alert": ["oncall@example.org"],
        "snooze": "0s",
    });
    for (key, value) in more.as_object().unwrap() {
        section[key] = value.clone();
    }
    let context = BuildContext { folder: folder.to_owned(), ..context(&Arc::new(Fake::default())) };
    let config = config(section);
    assert_eq!(config.check(), []);
    config.build(&context).unwrap()
}

/// Waits, in real time, until the server has so many mails.
async fn mails(server: &MailServer, count: usize) -> Vec<Value> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let mails = server.mails().unwrap();
        if mails.len() >= count || Instant::now() > until {
            assert_eq!(mails.len(), count, "{mails:?}");
            return mails.iter().map(|mail| serde_json::from_str(mail).unwrap()).collect();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn send(action: &Arc<dyn Action>, event: &Event) -> String {
    match action.execute(event, false).await {
        Ok(done) => done.summary,
        Err(error) => format!("failed: {}", error.message),
    }
}

fn data_header(mail: &Value, name: &str) -> String {
    let data = mail["data"].as_str().unwrap();
    header(&split(data.as_bytes()).0, name).to_owned()
}

#[tokio::test]
async fn a_real_server_gets_mails_in_each_way_of_security_with_a_login() {
    for (tls, mode) in [(MailTls::None, "none"), (MailTls::Starttls, "starttls"), (MailTls::Tls, "tls")] {
        let user = Some(("doctor".to_owned(), "p\"w \\ü".to_owned()));
        let mut server = MailServer::new(MailOptions { tls, user, ..MailOptions::default() }).unwrap();
        server.start().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("password");
        std::fs::write(&secret, "p\"w \\ü\n").unwrap();
        let mut more = json!({"tls": mode, "username": "doctor", "password_file": secret});
        if tls != MailTls::None {
            more["ca_file"] = server.ca().to_string_lossy().into();
        }
        let action = action(&server, folder.path(), more);
        let said = send(&action, &message("alert_x", "1-1", "broker 3 is gone: größer")).await;
        assert_eq!(said, "sent to oncall@example.org", "{mode}");
        // A second one over the same connection.
        send(&action, &message("alert_resolved", "1-2", "it is back")).await;
        let mails = mails(&server, 2).await;
        let of = |key: &str| &mails[0][key];
        assert_eq!((of("from"), of("to")), (&json!("doctor@example.org"), &json!(["oncall@example.org"])));
        assert_eq!((of("tls"), of("authenticated")), (&json!(tls != MailTls::None), &json!(true)));
        assert_eq!(data_header(&mails[0], "Message-ID"), "<1-1.test.plugin@example.org>");
        let subject = data_header(&mails[0], "Subject");
        assert_eq!(subject, "[test] broker 3 is gone: =?utf-8?b?Z3LDtsOfZXI=?=");
    }
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_that_is_not_trusted_or_does_not_secure_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let mut plain = MailServer::new(MailOptions::default()).unwrap();
    plain.start().unwrap();
    let cautious = action(&plain, folder.path(), json!({"tls": "starttls"}));
    let said = send(&cautious, &message("alert_x", "1-1", "s")).await;
    assert_eq!(said, "queued: the server has no STARTTLS, and nothing is sent in the clear");
    let mut unknown =
        MailServer::new(MailOptions { tls: MailTls::Starttls, ..MailOptions::default() }).unwrap();
    unknown.start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let strict = action(&unknown, folder.path(), json!({"tls": "starttls"}));
    let said = send(&strict, &message("alert_x", "1-1", "s")).await;
    assert!(said.starts_with("queued: ") && said.contains("certificate"), "{said}");
    assert_eq!((plain.mails().unwrap().len(), unknown.mails().unwrap().len()), (0, 0));
}

#[tokio::test]
async fn a_wrong_password_loses_no_mail_and_a_wrong_address_costs_only_itself() {
    let user = Some(("doctor".to_owned(), "right".to_owned()));
    let refused = vec!["gone@example.org".to_owned()];
    let mut server = MailServer::new(MailOptions { user, refused, ..MailOptions::default() }).unwrap();
    server.start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("password");
    std::fs::write(&secret, "wrong").unwrap();
    let alert = ["gone@example.org", "oncall@example.org"];
    let more = json!({"username": "doctor", "password_file": secret, "alert": alert});
    let action = action(&server, folder.path(), more);
    let said = send(&action, &message("alert_x", "1-1", "s")).await;
    assert!(said.starts_with("queued: ") && said.contains("535"), "{said}");
    // Somebody mends it while the service runs.
    std::fs::write(&secret, "right").unwrap();
    let mails = mails(&server, 1).await;
    assert_eq!(mails[0]["to"], json!(["oncall@example.org"]));
    let until = Instant::now() + Duration::from_secs(30);
    while action.deliveries().unwrap().waiting > 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let counts = action.deliveries().unwrap();
    assert_eq!((counts.sent, counts.waiting, counts.undeliverable), (1, 0, 1));
    let found = action.findings();
    assert!(found[0].message.contains("there is no such mailbox"), "{found:?}");
}

#[tokio::test]
async fn a_server_that_was_down_gets_the_mail_once_from_the_next_process() {
    let mut server = MailServer::new(MailOptions::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let first = action(&server, folder.path(), json!({}));
    let said = send(&first, &message("alert_x", "1-1", "broker 3 is gone")).await;
    assert!(said.starts_with("queued: ") && said.contains("refused"), "{said}");
    drop(first);
    server.start().unwrap();
    let second = action(&server, folder.path(), json!({}));
    let mails = mails(&server, 1).await;
    assert_eq!(data_header(&mails[0], "Message-ID"), "<1-1.test.plugin@example.org>");
    assert_eq!(data_header(&mails[0], "Subject"), "[test] broker 3 is gone");
    let said = send(&second, &message("alert_x", "1-1", "broker 3 is gone")).await;
    assert!(["was taken before", "sent to oncall@example.org"].contains(&said.as_str()), "{said}");
    assert_eq!(server.mails().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_down_for_ten_minutes_gets_the_mail_afterwards() {
    let mut server = MailServer::new(MailOptions::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let action = action(&server, folder.path(), json!({}));
    let event = message("alert_x", "1-1", "broker 3 is gone");
    assert!(send(&action, &event).await.starts_with("queued: "));
    // Ten minutes of tries that are refused by a real kernel, on virtual time.
    tokio::time::sleep(Duration::from_secs(600)).await;
    let counts = action.deliveries().unwrap();
    assert_eq!((counts.sent, counts.waiting, counts.undeliverable), (0, 1, 0));
    assert!(action.findings()[0].message.contains("refused"), "{:?}", action.findings());
    server.start().unwrap();
    // The longest pause is over; what follows takes real time.
    tokio::time::advance(Duration::from_secs(60)).await;
    tokio::time::resume();
    let mails = mails(&server, 1).await;
    assert_eq!(data_header(&mails[0], "Message-ID"), "<1-1.test.plugin@example.org>");
}
