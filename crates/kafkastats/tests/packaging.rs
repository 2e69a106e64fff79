//! The systemd unit: its line is one that the agent accepts, and systemd finds no fault with it.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic, in its helpers too")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

const UNIT: &str = include_str!("../../../packaging/kafkastats.service");
const OPTIONS: &str = include_str!("../../../packaging/kafkastats.yaml");
/// Where the unit has the program and its options.
const PROGRAM: &str = "/usr/local/bin/kafkastats";
const FILE: &str = "/etc/kafkastats/kafkastats.yaml";
/// The only directory that the unit lets it write to.
const STATE_DIR: &str = "/var/lib/kafkastats";

struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The line that the unit starts: all that stands behind the program.
fn started() -> String {
    let line = UNIT.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    line.strip_prefix(PROGRAM).unwrap().to_owned()
}

#[test]
fn the_line_of_the_unit_starts_an_agent_that_ends_when_it_is_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kafkastats.yaml");
    // The sample with addresses of this test's own (nobody listens at the first), and its directory.
    let options = OPTIONS.replace("localhost:9092", "127.0.0.1:1").replace("127.0.0.1:9405", "127.0.0.1:0");
    assert!(options.contains("127.0.0.1:1\n") && options.contains("127.0.0.1:0\n"), "{options}");
    assert!(options.contains(&format!("\nstate-dir: {STATE_DIR}\n")), "{options}");
    let options = options.replace(STATE_DIR, directory.path().join("state").to_str().unwrap());
    fs::write(&file, options).unwrap();
    assert!(started().contains(FILE), "{}", started());
    let mut command = Command::new(env!("CARGO_BIN_EXE_kafkastats"));
    command.args(started().replace(FILE, file.to_str().unwrap()).split_whitespace());
    // The unit has a user of its own.
    assert!(UNIT.contains("\nUser=kafka\n"));
    assert!(UNIT.contains("\nStateDirectory=kafkastats\n") && UNIT.contains("\nProtectSystem=strict\n"));
    if rustix::process::geteuid().is_root() {
        command.arg("--allow-root");
    }
    let child = command.env("RUST_LOG", "info").stderr(Stdio::piped()).spawn();
    let mut agent = child.map(Agent).unwrap();
    let mut lines = BufReader::new(agent.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    lines.find(|line| line.contains("kafkastats::cli: measuring")).unwrap();
    let pid = agent.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(lines.any(|line| line.contains("kafkastats::cli: stopped")));
    assert!(agent.0.wait().unwrap().success());
}

#[test]
fn systemd_finds_no_fault_with_the_unit() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kafkastats.service");
    // The program must be there.
    fs::write(&file, UNIT.replace(PROGRAM, env!("CARGO_BIN_EXE_kafkastats"))).unwrap();
    let verify = |file: &std::path::Path| {
        let told = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(file).output();
        told.map(|told| (told.status.success(), String::from_utf8_lossy(&told.stderr).into_owned()))
    };
    let Ok(told) = verify(&file) else {
        // Written past the test runner, which keeps the output of tests that pass to itself.
        let _ = writeln!(std::io::stderr(), "SKIPPED: a test needs `systemd-analyze`, and there is none");
        return;
    };
    assert_eq!(told, (true, String::new()));
    // It tells faults.
    fs::write(&file, UNIT.replace("ProtectClock=", "ProtectClok=")).unwrap();
    let (_, told) = verify(&file).unwrap();
    assert!(told.contains("ProtectClok"), "{told}");
}
