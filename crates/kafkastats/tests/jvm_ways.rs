//! The ways to a JVM's figures: over HTTP from a server that answers as exporters do, over JMX from a real JVM with the
//! MBeans of a broker (skipped, loudly, where there is no Java).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic, in its helpers too")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::spawn;
use std::time::Duration;

use brokerstats::TopicPartition;
use flate2::Compression;
use flate2::write::GzEncoder;
use jmx::Connector;
use kafkastats::jvm::http::{Endpoint, HttpError};
use kafkastats::jvm::identity::{Held, Proof};
use kafkastats::jvm::prometheus::{self, Page};
use kafkastats::jvm::{Attribute, Found, Identity, Metric, Outcome, Readings, Scope, Source, Way};

const CAPTURE: &str = include_str!("fixtures/strimzi101.prom");
const JOLOKIA: &str = include_str!("fixtures/jolokia-bulk.json");
const CLUSTER: &str = "MkU3OEVBNTcwNTJENDM2Qk";

/// Answers one request with these bytes, and tells what was asked.
fn serve(answer: Vec<u8>) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    let server = spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        let mut buffer = [0; 65536];
        while !is_whole(&asked) {
            match stream.read(&mut buffer).unwrap() {
                0 => break,
                count => asked.extend(&buffer[..count]),
            }
        }
        stream.write_all(&answer).unwrap();
        String::from_utf8_lossy(&asked).into_owned()
    });
    (url, server)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n", body.len()).into_bytes();
    bytes.extend(body);
    bytes
}

fn identity(broker: i32) -> Identity {
    Identity { cluster: CLUSTER.to_owned(), broker }
}

/// What a broker holds, where nobody knows.
const UNKNOWN: Held<'static> = [&[], &[]];

fn endpoint(url: &str) -> Endpoint {
    url.parse().unwrap()
}

fn leaders(readings: &Readings) -> Option<f64> {
    readings.of_broker(Metric::LeaderCount, Attribute::Value)
}

#[tokio::test]
async fn an_exporter_is_scraped_packed_or_not() {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(CAPTURE.as_bytes()).unwrap();
    let packed = answer("200 OK", "Content-Encoding: gzip\r\n", &packed.finish().unwrap());
    for body in [answer("200 OK", "", CAPTURE.as_bytes()), packed] {
        let (url, server) = serve(body);
        let way = Way::Prometheus(endpoint(&url).login("user", "secret"), vec![]);
        let outcome = Source::new(vec![way]).read(&identity(1), UNKNOWN).await;
        let Found { way, readings, .. } = outcome.found.unwrap();
        assert_eq!((way, leaders(&readings)), ("prometheus", Some(5.0)));
        let asked = server.join().unwrap().to_ascii_lowercase();
        assert!(asked.starts_with("get /metrics http/1.1\r\n"), "{asked}");
        assert!(asked.contains("accept-encoding: gzip") && asked.contains("version=0.0.4"), "{asked}");
        assert!(asked.contains("authorization: basic dxnlcjpzzwnyzxq="), "{asked}");
    }
}

#[tokio::test]
async fn jolokia_is_asked_once_for_all() {
    let (url, server) = serve(answer("200 OK", "Content-Type: text/plain\r\n", JOLOKIA.as_bytes()));
    let outcome = Source::new(vec![Way::Jolokia(endpoint(&url))]).read(&identity(1), UNKNOWN).await;
    let Found { way, readings, .. } = outcome.found.unwrap();
    assert_eq!((way, leaders(&readings)), ("jolokia", Some(336.0)));
    let asked = server.join().unwrap();
    assert!(asked.starts_with("POST /metrics?includeStackTrace=false&"), "{asked}");
    assert!(
        asked.contains(r#""mbean":"kafka.server:type=BrokerTopicMetrics,name=BytesOutPerSec,*""#),
        "{asked}"
    );
}

/// The page, or the words of why it is not taken.
async fn proof_of(page: &str, held: Held<'_>) -> Result<Proof, String> {
    let (url, server) = serve(answer("200 OK", "", page.as_bytes()));
    let way = match page.starts_with('[') {
        true => Way::Jolokia(endpoint(&url)),
        false => Way::Prometheus(endpoint(&url), vec![]),
    };
    let Outcome { found, problems, was_reached } = Source::new(vec![way]).read(&identity(1), held).await;
    server.join().unwrap();
    assert_eq!(found.is_some(), was_reached, "a neighbour is not the broker's answer");
    found.map(|found| found.proof).ok_or_else(|| problems.join("; "))
}

#[tokio::test]
async fn figures_of_a_neighbour_are_not_taken_for_ours() {
    let named = |id: i32| format!("{CAPTURE}kafka_server_app_info_starttimems{{id=\"{id}\"}} 1.7e12\n");
    assert_eq!(proof_of(CAPTURE, UNKNOWN).await, Ok(Proof::Nothing));
    assert_eq!(proof_of(&named(1), UNKNOWN).await, Ok(Proof::Name));
    let expected = "prometheus: the JVM is broker 2, and broker 1 is meant";
    assert_eq!(proof_of(&named(2), UNKNOWN).await, Err(expected.to_owned()));
    // A page that names no broker names logs.
    let Page { readings, .. } = prometheus::read(CAPTURE, &[]).unwrap();
    let mut held: Vec<TopicPartition> = readings
        .logs()
        .map(|(topic, partition)| TopicPartition { topic: topic.to_owned(), partition })
        .collect();
    held.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    let (leads, follows) = held.split_at(3);
    assert_eq!(proof_of(CAPTURE, [leads, follows]).await, Ok(Proof::Logs));
    let words = proof_of(CAPTURE, [leads, &[]]).await.unwrap_err();
    assert!(words.starts_with("prometheus: the JVM is another broker than 1: of "), "{words}");

    let asked = |mbean: &str, value: &str| {
        let last = format!(r#"{{"request":{{"mbean":"{mbean}"}},"value":{value},"status":200}}"#);
        format!("{},{last}]", JOLOKIA.trim_end().strip_suffix(']').unwrap())
    };
    let info = |id: i32| {
        let beans = format!(r#"{{"kafka.server:id={id},type=app-info":{{"Version":"4.2.1"}}}}"#);
        asked("kafka.server:type=app-info,id=*", &beans)
    };
    let of_cluster =
        |id: &str| asked("kafka.server:type=KafkaServer,name=ClusterId", &format!(r#"{{"Value":"{id}"}}"#));
    assert_eq!(proof_of(JOLOKIA, UNKNOWN).await, Ok(Proof::Nothing));
    assert_eq!(proof_of(&info(1), UNKNOWN).await, Ok(Proof::Name));
    assert_eq!(proof_of(&of_cluster(CLUSTER), UNKNOWN).await, Ok(Proof::Nothing));
    let words = proof_of(&info(3), UNKNOWN).await.unwrap_err();
    assert_eq!(words, "jolokia: the JVM is broker 3, and broker 1 is meant");
    let words = proof_of(&of_cluster("other"), UNKNOWN).await.unwrap_err();
    assert_eq!(words, format!("jolokia: the JVM is of cluster other, and {CLUSTER} is meant"));
}

#[tokio::test]
async fn the_first_way_that_leads_somewhere_is_taken_and_the_others_are_told() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (html, page) = serve(answer("200 OK", "Content-Type: text/html\r\n", b"<html>hello</html>"));
    let (refusing, refusal) = serve(answer("401 Unauthorized", "", b""));
    let (good, scrape) = serve(answer("200 OK", "", CAPTURE.as_bytes()));
    let mut source = Source::new(vec![
        Way::Jolokia(endpoint(&format!("http://{closed}/jolokia/"))),
        Way::Prometheus(endpoint(&html), vec![]),
        Way::Jolokia(endpoint(&refusing)),
        Way::Prometheus(endpoint(&good), vec![]),
    ]);
    let outcome = source.read(&identity(1), UNKNOWN).await;
    assert!(outcome.found.is_some(), "{:?}", outcome.problems);
    let problems = outcome.problems.join("\n");
    for why in [
        "jolokia: connecting to",
        "prometheus: the endpoint answers with \"<html>",
        "answers 401: give a user",
    ] {
        assert!(problems.contains(why), "{problems}");
    }
    for server in [page, refusal, scrape] {
        server.join().unwrap();
    }
    // All servers are gone: every way is told, and the last good one is tried first.
    let Outcome { found, problems, .. } = source.read(&identity(1), UNKNOWN).await;
    assert!(found.is_none());
    assert_eq!(problems.len(), 4, "{problems:?}");
    assert!(problems[0].starts_with("prometheus: connecting"), "{problems:?}");
}

#[tokio::test]
async fn a_slow_answer_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let error = endpoint(&url).get("text/plain", Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error, HttpError::Late { .. }), "{error}");
}

#[test]
fn what_is_no_url_is_refused() {
    for (text, why) in [
        ("localhost:9404", "is no URL"),
        ("ftp://a/", "write http://"),
        ("http://user:secret@a/", "does not belong into a URL"),
        ("http://", "no URL"),
        ("http://a:99999/", "no port"),
        ("http://[::1]:/", "no port"),
    ] {
        let error = text.parse::<Endpoint>().unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
    let shown = format!("{:?}", endpoint("http://a/").login("user", "secret"));
    assert!(!shown.contains("secret"), "{shown}");
}

/// A running JVM with the MBeans of a broker. It ends when this does, or when this process does.
struct FakeBroker(Child);

impl FakeBroker {
    fn start(broker: &str, topics: &str, options: &[&str], more: &[&str]) -> Option<FakeBroker> {
        let mut command = Command::new(tool("java")?);
        command.args(["-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]).args(options);
        command.arg("-cp").arg(classes()?).args(["FakeKafka", CLUSTER, broker, topics]).args(more);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        let jvm = FakeBroker(child);
        assert!(BufReader::new(output).lines().any(|line| line.is_ok_and(|line| line == "ready")));
        Some(jvm)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn classes() -> Option<&'static Path> {
    static CLASSES: OnceLock<Option<PathBuf>> = OnceLock::new();
    let classes = CLASSES.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java/FakeKafka.java");
        let classes = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fake-kafka");
        let compiled = Command::new(tool("javac")?).arg("-d").arg(&classes).arg(source).status();
        assert!(compiled.unwrap().success());
        Some(classes)
    });
    classes.as_deref()
}

fn tool(name: &str) -> Option<PathBuf> {
    let home = std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = home.into_iter().chain(std::env::split_paths(&path));
    let found = places.find_map(|place| Some(place.join(name)).filter(|tool| tool.is_file()));
    if found.is_none() {
        // Written past the test runner, which keeps the output of tests that pass to itself.
        let _ = writeln!(std::io::stderr(), "SKIPPED: a test needs `{name}` of a JDK, and there is none");
    }
    found
}

const LOCAL: [&str; 1] = ["-Dcom.sun.management.jmxremote"];

#[tokio::test]
async fn the_right_broker_of_this_host_is_read() {
    let Some(_one) = FakeBroker::start("101", "3", &LOCAL, &[]) else { return };
    let Some(_two) = FakeBroker::start("102", "5", &LOCAL, &[]) else { return };
    for (broker, topics) in [(101, 3), (102, 5)] {
        let mut source = Source::new(vec![Way::JmxLocal { attach: false }]);
        let outcome = source.read(&identity(broker), UNKNOWN).await;
        let Found { way, readings, lacking, .. } =
            outcome.found.unwrap_or_else(|| panic!("{:?}", outcome.problems));
        assert_eq!((way, lacking), ("jmx-local", vec![]));
        assert_eq!(readings.of_topics(Metric::BytesOut, Attribute::Count).count(), topics);
        let t2 = Scope::Topic("t2".to_owned());
        assert_eq!(readings.get(Metric::BytesOut, Attribute::Count, &t2), Some(4.0));
        for (metric, attribute, value) in [
            (Metric::BytesOut, Attribute::Count, 2000.0),
            (Metric::RequestHandlerIdle, Attribute::Count, 5e8),
            (Metric::RequestHandlerIdle, Attribute::OneMinuteRate, 0.75),
            (Metric::NetworkProcessorIdle, Attribute::Value, 0.5),
            (Metric::UnderReplicated, Attribute::Value, 4.0),
            (Metric::BrokerState, Attribute::Value, 3.0),
            (Metric::LogsToRecover, Attribute::Value, 15.0),
        ] {
            assert_eq!(readings.of_broker(metric, attribute), Some(value), "{metric:?}");
        }
        assert_eq!(readings.of_broker(Metric::RequestQueueSize, Attribute::Value), None, "it fails");
    }
}

#[tokio::test]
async fn another_broker_is_not_taken_for_ours() {
    let Some(_jvm) = FakeBroker::start("103", "0", &LOCAL, &[]) else { return };
    let mut source = Source::new(vec![Way::JmxLocal { attach: false }]);
    let outcome = source.read(&identity(104), UNKNOWN).await;
    assert!(outcome.found.is_none());
    let problems = outcome.problems.join("\n");
    assert!(problems.contains("the JVM is broker 103, and broker 104 is meant"), "{problems}");
    let other = Identity { cluster: "other".to_owned(), broker: 103 };
    let problems = source.read(&other, UNKNOWN).await.problems.join("\n");
    assert!(
        problems.contains("the JVM is of cluster MkU3OEVBNTcwNTJENDM2Qk, and other is meant"),
        "{problems}"
    );
}

#[tokio::test]
async fn a_broker_without_a_jmx_server_is_read_only_where_attaching_is_switched_on() {
    // The other one first: JVMs are looked at in the order of their numbers.
    let Some(other) = FakeBroker::start("106", "1", &[], &[]) else { return };
    // A file of properties on the command line tells which broker it is before anything is changed in it.
    let directory = tempfile::tempdir().unwrap();
    let properties = directory.path().join("server.properties");
    std::fs::write(&properties, "process.roles=broker\nnode.id=105\n").unwrap();
    let Some(ours) = FakeBroker::start("105", "1", &[], &[properties.to_str().unwrap()]) else { return };
    let outcome = Source::new(vec![Way::JmxLocal { attach: false }]).read(&identity(105), UNKNOWN).await;
    assert!(outcome.found.is_none());
    let problems = outcome.problems.join("\n");
    assert!(problems.contains(&format!("process {}: the JVM has no JMX server", ours.pid())), "{problems}");
    let outcome = Source::new(vec![Way::JmxLocal { attach: true }]).read(&identity(105), UNKNOWN).await;
    assert!(outcome.found.is_some(), "{:?}", outcome.problems);
    let found = jmx::local::find_jvms();
    let jvm = |pid: u32| found.jvms.iter().find(|jvm| jvm.pid == pid).unwrap();
    assert!(jvm(ours.pid()).local_address().is_some());
    assert!(jvm(other.pid()).local_address().is_none(), "what may be another broker is left as it was");
    let address = jvm(ours.pid()).local_address().unwrap().unwrap();
    let outcome = Source::new(vec![Way::Jmx(Connector::new(address))]).read(&identity(105), UNKNOWN).await;
    assert_eq!(outcome.found.unwrap().way, "jmx");
}
