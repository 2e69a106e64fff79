//! What is posted, and what a real HTTP server gets.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};

use control::event::Alerted;
use control::{Event, Severity, Target};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::plugins::delivery::tests::{message, parcel};
use crate::plugins::fakes::{Fake, context};
use crate::plugins::task::Task;

fn config(section: Value) -> WebhookConfig {
    serde_json::from_value(section).unwrap()
}

#[test]
fn generic_json_has_all_that_is_known() {
    let body = Format::Json.body(&parcel("alert_x", "broker 3 is gone"), None);
    let expected = json!({
        "id": "b1",
        "cluster": "test",
        "event": "alert_x",
        "kind": "alert",
        "severity": "warning",
        "subject": "broker 3 is gone",
        "body": "Look at it.",
        "reason": "it burns",
        "target": {"broker": 3},
        "incident": {"kind": "broker_dead", "subject": {"broker": 3}},
        "key": "doctorkafka/test/broker_dead of broker 3",
        "alerts": [],
        "dry_run": false,
        "held_back": 0,
        "timestamp": 1_700_000_000_000_i64,
    });
    assert_eq!(body, expected);
}

#[test]
fn slack_shows_a_name_as_it_is_and_calls_nobody() {
    let mut parcel = parcel("alert_x", "<!channel> & *bold* <http://evil|click>");
    parcel.notice.body = "x".repeat(5_000);
    let body = Format::Slack.body(&parcel, None);
    let text = body["text"].as_str().unwrap();
    assert!(text.contains("&lt;!channel&gt; &amp; *bold*") && !text.contains('<'), "{text}");
    let blocks = body["blocks"].as_array().unwrap();
    assert_eq!(blocks.len(), 3);
    let kinds = [&blocks[0]["text"]["type"], &blocks[1]["text"]["type"], &blocks[2]["elements"][0]["type"]];
    assert!(kinds.iter().all(|kind| **kind == "plain_text"), "{kinds:?}");
    assert_eq!(blocks[1]["text"]["text"].as_str().unwrap().len(), 3_000);
}

#[test]
fn pagerduty_gets_a_trigger_and_a_resolve_with_one_key() {
    let trigger = Format::Pagerduty.body(&parcel("alert_x", "broker 3 is gone"), Some("R"));
    assert_eq!((&trigger["event_action"], &trigger["routing_key"]), (&json!("trigger"), &json!("R")));
    assert_eq!(trigger["payload"]["summary"], "[test] broker 3 is gone");
    assert_eq!(trigger["payload"]["severity"], "warning");
    assert_eq!(trigger["payload"]["timestamp"], "2023-11-14T22:13:20Z");
    let resolve = Format::Pagerduty.body(&parcel("alert_resolved", "resolved"), Some("R"));
    assert_eq!(resolve["event_action"], "resolve");
    assert_eq!(resolve["dedup_key"], trigger["dedup_key"]);
    let mut long = parcel("alert_x", &"s".repeat(3_000));
    long.notice.incident = None;
    long.notice.target = Target::LogDir(cluster::BrokerId(1), "d".repeat(500).into());
    let body = Format::Pagerduty.body(&long, Some("R"));
    assert_eq!(body["dedup_key"].as_str().unwrap().chars().count(), 254);
    let first = parcel("notify_x", "first");
    let mut second = first.clone();
    second.notice.id = "b2".to_owned();
    let key = |parcel: &Parcel| Format::Pagerduty.body(parcel, Some("R"))["dedup_key"].clone();
    assert_ne!(key(&first), key(&second), "what has no end is not merged into what was");
}

#[test]
fn alertmanager_gets_the_end_of_each_alert_under_its_own_labels() {
    let alert = parcel("alert_x", "broker 3 is gone");
    let fired = Format::Alertmanager.body(&alert, None);
    let mut over = parcel("alert_resolved", "resolved: broker 3 is gone");
    over.notice.at.0 += 60_000;
    over.notice.severity = Severity::Info;
    let target = Target::Broker(cluster::BrokerId(3));
    let alerted =
        |event: &str, severity| Alerted { event: event.to_owned(), target: target.clone(), severity };
    over.notice.alerts = vec![alerted("alert_x", Severity::Warning), alerted("alert_y", Severity::Critical)];
    let ended = Format::Alertmanager.body(&over, None);
    assert_eq!(fired[0]["labels"], ended[0]["labels"]);
    assert_eq!(ended[1]["labels"]["alertname"], "alert_y");
    assert_eq!(ended[1]["labels"]["severity"], "critical");
    assert_eq!(
        (&fired[0]["startsAt"], &ended[0]["endsAt"]),
        (&json!("2023-11-14T22:13:20Z"), &json!("2023-11-14T22:14:20Z"))
    );
    assert_eq!(fired[0]["endsAt"], "2023-11-21T22:13:20Z");
}

#[test]
fn says_what_is_wrong_with_a_configuration() {
    let problems = |section: Value| -> Vec<String> {
        let of = |problem: ConfigProblem| format!("{}: {}", problem.path, problem.message);
        config(section).check().into_iter().map(of).collect()
    };
    assert_eq!(
        problems(json!({"url": "https://h/x", "headers": {"Authorization": "Bearer x"}})),
        [] as [&str; 0]
    );
    assert_eq!(problems(json!({"format": "pagerduty", "routing_key": "R"})), [] as [&str; 0]);
    assert_eq!(
        problems(json!({"url": "http://127.0.0.1:9093/api/v2/alerts", "headers": {"X": "y"}})),
        [] as [&str; 0]
    );
    assert_eq!(problems(json!({})), [": the key `url` is missing; `url_file` would do, too"]);
    let wrong =
        problems(json!({"url": "ftp://me:secret@h", "format": "pagerduty", "queue": 0, "timeout": "0s"}));
    assert_eq!(wrong.len(), 4, "{wrong:?}");
    assert!(!wrong.concat().contains("secret"), "{wrong:?}");
    let wrong = problems(json!({"url": "http://h/", "headers": {"X-A": "b\nc", "Host": "x", "b c": "d"}}));
    assert_eq!(wrong.len(), 4, "{wrong:?}");
}

/// What a server was sent: the head and the body.
type Posts = Arc<Mutex<Vec<(String, Value)>>>;

/// An HTTP server that gives these answers, then 202.
struct Server {
    port: u16,
    posts: Posts,
    _task: Task,
}

async fn serve(answers: &[&str], tls: Option<&Path>) -> Server {
    let acceptor = tls.map(|dir| {
        let pem = dir.join("server.pem");
        let certificates = CertificateDer::pem_file_iter(&pem).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(&pem).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let posts = Posts::default();
    let mut answers: VecDeque<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
    let got = Arc::clone(&posts);
    let task = Task::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let post = match &acceptor {
                None => exchange(stream, &mut answers).await,
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => exchange(stream, &mut answers).await,
                    Err(_) => continue,
                },
            };
            got.lock().unwrap().push(post);
        }
    });
    Server { port, posts, _task: task }
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answers: &mut VecDeque<String>,
) -> (String, Value) {
    let mut read = Vec::new();
    loop {
        stream.read_buf(&mut read).await.unwrap();
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let Ok(body) = serde_json::from_str(body) else { continue };
        let answer = answers.pop_front().unwrap_or_else(|| "202 Accepted".to_owned());
        let (status, more) = answer.split_once('\n').unwrap_or((&answer, ""));
        let reply = format!("HTTP/1.1 {status}\r\n{more}Content-Length: 4\r\n\r\nSAYS");
        stream.write_all(reply.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        return (head.to_owned(), body);
    }
}

fn action(section: Value, folder: &Path) -> Arc<dyn Action> {
    let context = BuildContext { folder: folder.to_owned(), ..context(&Arc::new(Fake::default())) };
    let config = config(section);
    assert_eq!(config.check(), []);
    config.build(&context).unwrap()
}

async fn send(action: &Arc<dyn Action>, event: &Event) -> String {
    match action.execute(event, false).await {
        Ok(done) => done.summary,
        Err(error) => format!("failed: {}", error.message),
    }
}

#[tokio::test]
async fn a_server_gets_a_post_with_the_secret_headers() {
    let server = serve(&[], None).await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://127.0.0.1:{}/hook/secret?x=y", server.port);
    let action = action(json!({"url": url, "headers": {"Authorization": "Bearer abc"}}), folder.path());
    assert_eq!(send(&action, &message("alert_x", "1-1", "broker 3 is gone")).await, "sent to json");
    let (head, body) = server.posts.lock().unwrap()[0].clone();
    assert!(head.starts_with("POST /hook/secret?x=y HTTP/1.1\r\n"), "{head}");
    let lower = head.to_ascii_lowercase();
    for line in ["authorization: bearer abc", "content-type: application/json", "user-agent: doctorkafka/"] {
        assert!(lower.contains(&format!("\r\n{line}")), "{head}");
    }
    assert_eq!((&body["id"], &body["subject"]), (&json!("1-1"), &json!("broker 3 is gone")));
}

#[tokio::test]
async fn https_trusts_whom_it_is_told_to_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    lab::certificates(folder.path()).unwrap();
    let server = serve(&[], Some(folder.path())).await;
    let url = format!("https://localhost:{}/", server.port);
    let ca = folder.path().join("ca.pem");
    let trusting = action(json!({"url": url, "ca_file": ca}), &folder.path().join("one"));
    assert_eq!(send(&trusting, &message("alert_x", "1-1", "s")).await, "sent to json");
    let strict = action(json!({"url": url}), &folder.path().join("two"));
    let said = send(&strict, &message("alert_x", "1-1", "s")).await;
    assert!(said.starts_with("queued: "), "{said}");
    assert_eq!(server.posts.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_answer_says_whether_it_is_tried_again() {
    let verdicts = [
        ("400 Bad Request", "failed: given up for json: it answered 400: SAYS"),
        ("403 Forbidden", "queued: it answered 403: SAYS"),
        ("500 Oops", "queued: it answered 500: SAYS"),
        ("429 Slow\nRetry-After: 100\r\n", "queued: it answered 429: SAYS"),
        (
            "302 Found\nLocation: https://h/secret\r\n",
            "queued: it answered 302: redirects to https://h are not followed: set the URL there",
        ),
    ];
    for (answer, expected) in verdicts {
        let server = serve(&[answer], None).await;
        let folder = tempfile::tempdir().unwrap();
        let url = format!("http://127.0.0.1:{}/", server.port);
        let action = action(json!({"url": url}), folder.path());
        assert_eq!(send(&action, &message("alert_x", "1-1", "s")).await, expected);
    }
    let wish = verdict(Answer {
        status: 429,
        text: String::new(),
        retry_after: Some(std::time::Duration::from_secs(9)),
    });
    let after = Some(std::time::Duration::from_secs(9));
    assert_eq!(wish, Err(Failure::Unreachable { why: "it answered 429".to_owned(), after }));
}

#[tokio::test]
async fn a_key_in_a_file_is_read_when_it_is_needed_and_never_shown() {
    let server = serve(&["403 Forbidden"], None).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let url = format!("http://127.0.0.1:{}/", server.port);
    let section = json!({"url": url, "format": "pagerduty", "routing_key_file": file});
    let action = action(section, folder.path());
    let said = send(&action, &message("alert_x", "1-1", "s")).await;
    assert!(said.starts_with("queued: cannot use ") && said.contains("/key: "), "{said}");
    std::fs::write(&file, "R0UT1NG\n").unwrap();
    crate::plugins::fakes::until("it is posted", || server.posts.lock().unwrap().len() >= 2).await;
    let (_, body) = server.posts.lock().unwrap()[1].clone();
    assert_eq!(body["routing_key"], "R0UT1NG");
    assert!(!format!("{:?}", action.findings()).contains("R0UT1NG"));
}
