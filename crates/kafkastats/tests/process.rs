//! The program itself.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic, in its helpers too")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(at: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn metrics_and_health_are_answered_while_kafka_is_away() {
    let mut agent = Command::new(env!("CARGO_BIN_EXE_kafkastats"))
        .args(["run", "--bootstrap-servers", "127.0.0.1:1", "--broker-id", "7", "--jvm", "none"])
        .args(["--listen", "127.0.0.1:0", "--allow-root"])
        .env("RUST_LOG", "info")
        .stderr(Stdio::piped())
        .spawn()
        .map(Agent)
        .unwrap();
    let mut lines = BufReader::new(agent.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("answering /metrics")).unwrap();
    let at = line.split("at=").nth(1).unwrap().trim().to_owned();
    let metrics = get(&at, "/metrics");
    assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
    assert!(metrics.contains("text/plain; version=0.0.4") && metrics.contains("broker=\"7\""), "{metrics}");
    assert!(metrics.contains("\nprocess_resident_memory_bytes "), "{metrics}");
    // The first report fails soon: nothing listens there.
    lines.find(|line| line.contains("broker cannot be measured")).unwrap();
    let health = get(&at, "/health");
    assert!(
        health.starts_with("HTTP/1.1 200 OK\r\n") && health.contains("\"status\":\"trouble\""),
        "{health}"
    );
    assert!(get(&at, "/").starts_with("HTTP/1.1 404 "));
    // A port in use is told at once.
    let second = Command::new(env!("CARGO_BIN_EXE_kafkastats"))
        .args(["run", "--bootstrap-servers", "127.0.0.1:1", "--broker-id", "7", "--allow-root"])
        .args(["--listen", &at])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && told.contains(&format!("listening on {at}")), "{told}");
}

#[test]
fn health_tells_that_it_is_not_known_which_broker_is_meant() {
    let mut agent = Command::new(env!("CARGO_BIN_EXE_kafkastats"))
        .args(["run", "--bootstrap-servers", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--allow-root"])
        .env("RUST_LOG", "info")
        .stderr(Stdio::piped())
        .spawn()
        .map(Agent)
        .unwrap();
    let mut lines = BufReader::new(agent.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("answering /metrics")).unwrap();
    let at = line.split("at=").nth(1).unwrap().trim().to_owned();
    lines.find(|line| line.contains("it is not known yet which broker to measure")).unwrap();
    let health = get(&at, "/health");
    assert!(health.contains("\"status\":\"trouble\"") && health.contains("asking the cluster"), "{health}");
}

#[test]
fn a_file_that_cannot_be_used_ends_it_as_wrong_usage_does() {
    let output = Command::new(env!("CARGO_BIN_EXE_kafkastats"))
        .args(["run", "--config", "/nowhere/agent.yaml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("reading /nowhere/agent.yaml"));
}
