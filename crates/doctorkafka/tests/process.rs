//! The service as a process: how it starts, whom it keeps out, how it ends. No Kafka is there: the address that it is
//! given refuses connections.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of tests fails its test by panicking")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use doctorkafka::store::{FileStore, StateStore};

/// Nobody listens on the port of this service in tests: it is reserved for TCP port multiplexing, long dead.
const NOBODY: &str = "127.0.0.1:1";

struct Service {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doctorkafka"));
    command.args(arguments).env("USER", "kim");
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn start(state_dir: &Path) -> Service {
    start_with(&["run", "--bootstrap-servers", NOBODY], state_dir)
}

fn start_with(arguments: &[&str], state_dir: &Path) -> Service {
    let dir = state_dir.to_str().unwrap();
    let mut child = command(arguments).args(["--state-dir", dir]).stderr(Stdio::piped()).spawn().unwrap();
    let lines = lines_of(child.stderr.take().unwrap());
    Service { child, lines, seen: Vec::new() }
}

fn lines_of(stderr: ChildStderr) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    receive
}

impl Service {
    /// Waits until the log has a line with `words`.
    fn until(&mut self, words: &str) {
        while !self.seen.iter().any(|line| line.contains(words)) {
            match self.lines.recv_timeout(Duration::from_secs(20)) {
                Ok(line) => self.seen.push(line),
                Err(_) => panic!("{words:?} is not in the log: {:#?}", self.seen),
            }
        }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Waits for the end, which must come within 5 s.
    fn ended(&mut self) -> ExitStatus {
        let began = Instant::now();
        // The log ends with the process.
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(5).saturating_sub(began.elapsed())) {
            self.seen.push(line);
        }
        match self.child.try_wait().unwrap() {
            Some(status) => status,
            // The pipe is closed a moment before the process can be collected.
            None if began.elapsed() < Duration::from_secs(5) => self.child.wait().unwrap(),
            None => panic!("it did not end within 5 s: {:#?}", self.seen),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Has ended already in a test that went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The status, once `words` are in it.
fn status_with(state_dir: &str, words: &str) -> String {
    let began = Instant::now();
    loop {
        let status = text(&run(&["status", "--state-dir", state_dir]).stdout);
        if status.contains(words) {
            return status;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{words:?} is not in {status}");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn ends_in_time_on_sigterm_and_on_ctrl_c_although_no_broker_answers() {
    for signal in ["-TERM", "-INT"] {
        let dir = tempfile::tempdir().unwrap();
        let mut service = start(dir.path());
        service.until("no broker can be reached");
        service.signal(signal);
        assert_eq!(service.ended().code(), Some(0), "{:#?}", service.seen);
        assert!(!dir.path().join("control.sock").exists());
        assert!(!service.seen.iter().any(|line| line.contains("ERROR")), "{:#?}", service.seen);
    }
}

#[test]
fn keeps_a_second_service_out_of_its_state_dir_and_says_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = start(dir.path());
    first.until("started");
    let mut second = start(dir.path());
    assert_eq!(second.ended().code(), Some(1));
    let pid = format!("pid {}", first.child.id());
    assert!(second.seen.iter().any(|line| line.contains(&pid)), "{:#?}", second.seen);
    let status = run(&["status", "--state-dir", dir.path().to_str().unwrap()]);
    assert!(status.status.success(), "the first one goes on: {}", text(&status.stderr));
}

#[test]
fn an_order_outlives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let dir_name = dir.path().to_str().unwrap();
    let mut first = start(dir.path());
    first.until("started");
    let pause = run(&["pause", "--state-dir", dir_name, "--reason", "upgrade"]);
    assert!(pause.status.success(), "{}", text(&pause.stderr));
    first.signal("-KILL");
    assert_eq!(first.ended().code(), None);

    let mut second = start(dir.path());
    second.until("started");
    let words = status_with(dir_name, "paused by kim");
    assert!(words.contains("(upgrade)"), "{words}");
    let state = |words: &[&str]| run(&[&["state"], words, &["--state-dir", dir_name]].concat());
    let listed = state(&["list"]);
    assert!(text(&listed.stdout).lines().any(|line| line.starts_with("wishes ")), "{}", text(&listed.stderr));
    let stored: serde_json::Value = serde_json::from_slice(&state(&["get", "wishes"]).stdout).unwrap();
    assert_eq!(stored["value"]["paused"]["reason"], "upgrade", "{stored:#}");
    let missing = state(&["get", "a key/with ?&#"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("there is no \"a key/with ?&#\""), "{}", text(&missing.stderr));
    let no_time = run(&["maintenance", "on", "--for", "0s", "--state-dir", dir_name]);
    assert!(text(&no_time.stderr).contains("more than nothing"), "{}", text(&no_time.stderr));
    let resume = run(&["resume", "--state-dir", dir_name]);
    assert!(text(&resume.stdout).contains("resumed"), "{}", text(&resume.stderr));
    let json = run(&["status", "--state-dir", dir_name, "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(status["clusters"][0]["wishes"]["paused"], serde_json::Value::Null, "{status:#}");
}

#[test]
fn a_mail_outlives_kill_9_and_a_mail_server_that_is_down() {
    let mut server = lab::MailServer::new(lab::MailOptions::default()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let dir_name = dir.path().to_str().unwrap();
    let file = dir.path().join("mail.yaml");
    let config = format!(
        "actions: [{{type: send_email, subscribed_events: [notify_maintenance_mode], server: 'localhost:{}', tls: none, \
         from: doctor@example.org, notification: [ops@example.org]}}]\n\
         kafkaclusters: [{{name: 'main', bootstrap_servers: '{NOBODY}'}}]\n",
        server.port()
    );
    std::fs::write(&file, config).unwrap();
    let mut first = start_with(&["run", "--config", file.to_str().unwrap()], dir.path());
    first.until("started");
    let order =
        run(&["maintenance", "on", "--state-dir", dir_name, "--reason", "\"; rm -rf / #\r\nBcc: x@y.z"]);
    assert!(order.status.success(), "{}", text(&order.stderr));
    let status = status_with(dir_name, "send_email: 0 sent, 1 waiting, 0 given up");
    status_with(dir_name, "a message of send_email to localhost:");
    assert!(!status.contains("ERROR"), "{status}");
    first.signal("-KILL");
    first.ended();

    server.start().unwrap();
    let mut second = start_with(&["run", "--config", file.to_str().unwrap()], dir.path());
    second.until("messages that an earlier process or another service has left are sent");
    let mail = mail_of(&server);
    assert!(mail.contains("Subject: [main] ") && !mail.contains("\r\nBcc:"), "{mail}");
    assert!(mail.contains("Message-ID: <") && mail.contains(".main.send_email@example.org>"), "{mail}");
    lab::wait_for("nothing waits any more", Duration::from_secs(20), || {
        Ok(!status_with(dir_name, "main").contains("waiting"))
    })
    .unwrap();
}

/// The one mail that the server gets.
fn mail_of(server: &lab::MailServer) -> String {
    let mut mails = Vec::new();
    lab::wait_for("the server has a mail", Duration::from_secs(60), || {
        mails = server.mails()?;
        Ok(!mails.is_empty())
    })
    .unwrap();
    assert_eq!(mails.len(), 1, "{mails:?}");
    let mail: serde_json::Value = serde_json::from_str(&mails[0]).unwrap();
    mail["data"].as_str().unwrap().to_owned()
}

#[test]
fn a_pause_outlives_another_order_of_the_brokers() {
    let dir = tempfile::tempdir().unwrap();
    let dir_name = dir.path().to_str().unwrap();
    let mut first = start_with(&["run", "--bootstrap-servers", "127.0.0.1:1,localhost:1"], dir.path());
    first.until("started");
    let pause = run(&["pause", "--state-dir", dir_name, "--reason", "upgrade"]);
    assert!(pause.status.success(), "{}", text(&pause.stderr));
    first.signal("-TERM");
    first.ended();

    let mut second = start_with(&["run", "--bootstrap-servers", "localhost:1,127.0.0.1:1"], dir.path());
    second.until("started");
    status_with(dir_name, "paused by kim");
    assert!(!second.seen.iter().any(|line| line.contains("there is state of")), "{:#?}", second.seen);
    second.signal("-TERM");
    second.ended();

    // Under a name of its own the same cluster begins anew. That is told.
    let file = dir.path().join("named.yaml");
    std::fs::write(&file, "kafkaclusters: [{name: main, bootstrap_servers: 'localhost:1'}]\n").unwrap();
    let mut third = start_with(&["run", "--config", file.to_str().unwrap()], dir.path());
    third.until("there is state of clusters that the configuration does not name: default;");
}

#[test]
fn an_order_that_would_do_nothing_fails_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let mut service = start(dir.path());
    service.until("started");
    for (order, why) in [
        (&["approve"][..], "there is nothing to approve: no mass failure"),
        (&["cancel", "7"], "there is no execution 7"),
        (&["accept-identity"], "there is nothing to accept"),
    ] {
        let refused = command(order).args(["--state-dir", dir.path().to_str().unwrap()]).output().unwrap();
        assert_eq!(refused.status.code(), Some(1), "{order:?}: {}", text(&refused.stdout));
        assert!(text(&refused.stderr).contains(why), "{order:?}: {}", text(&refused.stderr));
    }
}

#[test]
fn a_damaged_store_is_told_and_looking_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let mut first = start(dir.path());
    first.until("no broker can be reached");
    first.signal("-KILL");
    first.ended();
    let files = std::fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().path());
    // One of those that belong to the cluster.
    let of_cluster = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("clusters") && name.ends_with(".value")
    };
    let value = files.into_iter().find(of_cluster).unwrap();
    std::fs::write(&value, "garbage").unwrap();

    let mut second = start(dir.path());
    second.until("the state store cannot be read");
    let words = status_with(dir.path().to_str().unwrap(), "no broker can be reached");
    assert!(words.contains("NOTHING CAN BE DONE") && words.contains("damaged"), "{words}");
    assert_eq!(std::fs::read(&value).unwrap(), b"garbage", "what is damaged is left for a person to look at");
}

#[test]
fn a_state_store_that_was_taken_out_of_the_configuration_is_not_forgotten_silently() {
    let dir = tempfile::tempdir().unwrap();
    let dir_name = dir.path().to_str().unwrap();
    // What a service leaves that had a topic to itself and others.
    let mark = br#"{"place": "store-12345678", "id": "4711"}"#.to_vec();
    {
        let store = FileStore::open(&dir.path().join("store")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(store.put("known-stores/default", mark)).unwrap();
    }
    let mut first = start(dir.path());
    first.until("the state store cannot be read, nothing is done");
    let words = status_with(dir_name, "NOTHING CAN BE DONE");
    assert!(words.contains("the state dir, as the configuration has no `state_store` any more"), "{words}");
    let accepted = command(&["accept-identity", "--state-dir", dir_name]).output().unwrap();
    assert!(accepted.status.success(), "{}", text(&accepted.stderr));
    first.until("the state store can be read again");
    first.signal("-TERM");
    first.ended();

    let mut second = start(dir.path());
    second.until("no broker can be reached");
    let words = status_with(dir_name, "no broker can be reached");
    assert!(!words.contains("NOTHING CAN BE DONE"), "{words}");
}

#[test]
fn what_a_configuration_file_says_cannot_be_said_beside_it() {
    for option in [&["--execute"][..], &["--grace", "30m"], &["--command-config", "client.properties"]] {
        let output = run(&[&["run", "--config", "doctorkafka.yaml"], option].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("--config") && said.contains(option[0]), "{said}");
    }
}

#[test]
fn says_so_where_no_service_runs() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    for order in ["status", "pause", "resume", "approve", "cancel"] {
        let refused = run(&[order, "--state-dir", dir]);
        assert_eq!(refused.status.code(), Some(3), "{order}");
        assert!(text(&refused.stderr).contains("no doctorkafka runs with the state dir"), "{order}");
    }
    assert_eq!(run(&["run"]).status.code(), Some(2));
    let bad = run(&["run", "--bootstrap-servers", "nonsense", "--state-dir", dir]);
    assert_eq!(bad.status.code(), Some(1));
    assert!(text(&bad.stderr).contains("nonsense"), "{}", text(&bad.stderr));
}

#[test]
fn init_writes_a_configuration_that_check_config_accepts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("doctorkafka.yaml");
    let file = file.to_str().unwrap();
    assert_eq!(run(&["init", file]).status.code(), Some(0));
    let checked = run(&["check-config", file]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    assert!(text(&checked.stdout).contains("- localhost:9092"), "{}", text(&checked.stdout));
    let again = run(&["init", file]);
    assert_eq!(again.status.code(), Some(1), "it must not be overwritten");
}

#[test]
fn check_config_tells_all_problems_with_their_places_and_shows_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wrong.yaml");
    let config = "\
monitors:
  - type: kafka_metadat
  - type: dead_brokers
    grace: soon
kafkaclusters:
  - name: main
    bootstrap_servers: localhost
  - name: main
    bootstrap_servers: localhost:9092
";
    std::fs::write(&file, config).unwrap();
    let checked = run(&["check-config", file.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(1));
    let said = text(&checked.stdout) + &text(&checked.stderr);
    for place in [":2:11", ":4:12", ":7:24", ":6:11"] {
        assert!(said.contains(place), "{place} is not in {said}");
    }
    // The service does not start with it either, and says the same.
    let refused = run(&["run", "--config", file.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains(":2:11"), "{}", text(&refused.stderr));
}

#[test]
fn what_is_stored_can_be_read_after_a_crash_without_a_service() {
    let dir = tempfile::tempdir().unwrap();
    let name = dir.path().to_str().unwrap();
    let nothing = run(&["state", "list", "--state-dir", name]);
    assert_eq!(nothing.status.code(), Some(3), "there is neither a service nor a store");
    let mut service = start(dir.path());
    service.until("looking after");
    let paused = run(&["pause", "--state-dir", name, "--why", "upgrade", "--by", "kim"]);
    assert!(paused.status.success(), "{}", text(&paused.stderr));
    let asked = run(&["state", "get", "wishes", "--state-dir", name]);
    drop(service);
    let read = run(&["state", "get", "wishes", "--state-dir", name]);
    assert!(read.status.success(), "{}", text(&read.stderr));
    assert!(text(&read.stdout).contains("upgrade") && text(&read.stdout).contains("kim"));
    assert_eq!(text(&read.stdout), text(&asked.stdout), "as the service told it");
    assert!(text(&read.stderr).contains("no doctorkafka runs"), "{}", text(&read.stderr));
    let list = text(&run(&["state", "list", "--state-dir", name]).stdout);
    assert!(list.lines().any(|line| line.starts_with("wishes ")), "{list}");
    let missing = run(&["state", "get", "nothing", "--state-dir", name]);
    assert_eq!(missing.status.code(), Some(1));
    // Looking keeps nobody out.
    drop(start(dir.path()));
}
