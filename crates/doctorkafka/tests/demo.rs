//! `doctorkafka demo` as a process: what it tells, where it can be shown, and that it leaves nothing behind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of tests fails its test by panicking")]

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// The demo with its temporary files in `folder`.
fn demo(folder: &Path, arguments: &[&str]) -> Command {
    let temporary = folder.join("tmp");
    std::fs::create_dir_all(&temporary).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_doctorkafka"));
    command.arg("demo").args(arguments).env("TMPDIR", temporary).current_dir(folder);
    command
}

/// Whatever became of it, nothing is left.
fn nothing_is_left(folder: &Path) {
    let left: Vec<_> = std::fs::read_dir(folder.join("tmp")).unwrap().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

fn scenario(folder: &Path, scenario: &[u8], arguments: &[&str]) -> Output {
    std::fs::write(folder.join("scenario.txt"), scenario).unwrap();
    let output = demo(folder, arguments).args(["--scenario", "scenario.txt"]).output().unwrap();
    nothing_is_left(folder);
    output
}

/// What an orderly end has told.
fn told(output: Output) -> String {
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains('\u{1b}'), "escape codes, although nobody sits at a terminal");
    text
}

/// The rest of a text, from where these words stand one after the other.
fn after<'a>(text: &'a str, words: &[&str]) -> &'a str {
    words.iter().fold(text, |rest, words| {
        let at = rest.find(words).unwrap_or_else(|| panic!("{words:?} does not follow in {text}"));
        &rest[at..]
    })
}

fn before<'a>(text: &'a str, words: &str) -> &'a str {
    text.split(words).next().unwrap_or(text)
}

#[test]
fn the_usual_story_is_told_from_the_first_death_to_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path(), &["--speed", "10"]).output().unwrap();
    nothing_is_left(folder.path());
    let text = told(output);
    let rest = after(&text, &["12 brokers in 3 racks, 240 partitions", "b3 is killed (kill -9)"]);
    let death = before(rest, "A firewall");
    after(
        death,
        &[
            "broker 3 is alive for Kafka, but cannot be reached from here",
            "the controller has dropped broker 3",
            "broker 3 is dead: Kafka has dropped it, and it does not answer",
            "partitions of dead broker 3 get new replicas",
            "submitting",
            "healed after",
        ],
    );
    let rest = after(rest, &["A firewall cuts us off from b4, for 30s"]);
    let cut_off = before(rest, "The disk of b1");
    after(
        cut_off,
        &[
            "broker 4 is alive for Kafka, but cannot be reached from here",
            "nothing is done, it waits for it to answer; Kafka has not dropped it, so it is not dead",
            "broker unreachable (broker 4)",
        ],
    );
    assert!(!cut_off.contains("submitting") && !cut_off.contains("broker 4 is dead"), "{cut_off}");
    let rest = after(rest, &["The disk of b1 is filled to the brim"]);
    let full = before(rest, "Rack r2");
    after(
        full,
        &[
            "broker 1 cannot write to its full disk and ends",
            "broker 1 is dead",
            "submitting",
            "The host of b1 is replaced by one with empty disks",
            "broker 1 is alive again",
        ],
    );
    assert!(full.contains("no replica of broker 1 is out of sync any more"), "{full}");
    let rest = after(rest, &["Rack r2 loses power: b2, b5, b8, b11."]);
    let power = before(rest, "All that lasts is over");
    after(
        power,
        &[
            "at most 1 may be; healing is held",
            "nothing is done, it waits for a person to approve",
            "reassign partitions for cluster: held: ",
            "4 of 12 brokers are absent (2, 5, 8, 11), at most 1 may be",
        ],
    );
    assert!(!rest.contains("submitting"), "moved although the brake holds: {rest}");
    after(
        rest,
        &[
            "All that lasts is over",
            "mass failure (cluster)",
            "Every partition is fully replicated, no reassignment and no throttle is left.",
        ],
    );
}

#[test]
fn a_scenario_of_ones_own_ends_when_the_cluster_is_healed() {
    let folder = tempfile::tempdir().unwrap();
    // The version and the orders are those of the file, as is the cluster.
    let file = "kafka 3.9\ngrace 8s\nb1 rack=r1\nb2 rack=r2\nb3 rack=r1\nb4 rack=r2\nt-0: 3* 2\nt-1: 2* 3\n\
                at 15s kill b3\nat 17s order pause\nat 60s order resume\n";
    let text = told(scenario(folder.path(), file.as_bytes(), &["--speed", "10"]));
    let rest = after(&text, &["4 brokers in 2 racks, 2 partitions", "a grace of 8s", "b3 is killed"]);
    let paused = before(rest, "A person orders: resume");
    after(paused, &["A person orders: pause", "broker 3 is dead"]);
    assert!(!paused.contains("submitting"), "{paused}");
    after(
        rest,
        &["A person orders: resume", "submitting", "healed after", "Every partition is fully replicated"],
    );
    assert!(after(rest, &["Every partition"]).contains("Still open: broker 3 is dead"), "{rest}");
}

#[test]
fn doctorkafka_itself_is_killed_and_finishes_what_it_has_begun() {
    let folder = tempfile::tempdir().unwrap();
    // In the grace, and with the moves under way: their copies are slow.
    let file = "grace 8s\nb1 rack=r1\nb2 rack=r2\nb3 rack=r1\nb4 rack=r2\nt-0: 3* 2\nt-1: 2* 3\n\
                at 10s slow-disk b1 5MB/s\nat 10s slow-disk b4 5MB/s\n\
                at 15s kill b3\nat 20s crash us\nat 36s crash us\nat 60s calm\n";
    let text = told(scenario(folder.path(), file.as_bytes(), &["--speed", "10"]));
    let rest = after(
        &text,
        &["b3 is killed", "DoctorKafka itself is killed (kill -9) and started again", "submitting"],
    );
    let rest = after(rest, &["DoctorKafka itself is killed (kill -9) and started again"]);
    assert!(!rest.contains("submitting"), "submitted a second time: {rest}");
    after(rest, &[" partitions moved in ", "Every partition is fully replicated"]);
}

#[test]
fn a_wrong_scenario_is_told_with_its_place_before_anything_begins() {
    let folder = tempfile::tempdir().unwrap();
    for (file, words) in [
        (&b"at 2s kill b3\nat 3s explode b3\n"[..], "line 2, column 7: expected a fault"),
        (b"at 2s kill b99\n", "line 1, column 12: there is no broker b99"),
        (b"at 2s rack-down r9\n", "line 1, column 17: there is no rack r9"),
        (b"at 2s kill b3 \xff\n", "line 1, column 15: this is not text in UTF-8"),
    ] {
        let output = scenario(folder.path(), file, &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
        assert!(said.contains("scenario.txt") && said.contains(words), "{said}");
    }
}

#[test]
fn odd_options_are_refused_before_anything_begins() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, code, words) in [
        (["--speed", "0"], 2, "0 is not in 1..=20"),
        (["--speed", "-1"], 2, "-1 is not in 1..=20"),
        (["--speed", "nan"], 2, "invalid digit"),
        (["--brokers", "1000"], 2, "1000 is not in 4..=60"),
        (["--brokers", "-4"], 2, "-4 is not in 4..=60"),
        (["--seed", "-1"], 2, "invalid value '-1'"),
        (["--scenario", "nowhere"], 1, "cannot read nowhere: No such file"),
        (["--scenario", "."], 1, "cannot read .: Is a directory"),
        (["--scenario", "/dev/zero"], 1, "cannot read /dev/zero: it has more than 16 MiB"),
    ] {
        let output = demo(folder.path(), &arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    nothing_is_left(folder.path());
}

#[test]
fn it_ends_when_nobody_reads_it_any_more_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = demo(folder.path(), &["--speed", "20"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("A simulated Kafka cluster"));
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    nothing_is_left(folder.path());
}

#[test]
fn a_signal_ends_it_and_nothing_is_left() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = demo(folder.path(), &["--keep-going"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The service runs, and has told something.
        let _ = lines.by_ref().map(Result::unwrap).find(|line| line.contains("b3 is killed")).unwrap();
        assert!(std::fs::read_dir(folder.path().join("tmp")).unwrap().count() > 0);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{signal:?}: {rest:?}");
        nothing_is_left(folder.path());
    }
}

/// What the demo writes to a terminal of which nobody answers questions.
fn on_a_terminal(folder: &Path, name: &str, reads_from_it: bool) -> String {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let path = ptsname(&ours, Vec::new()).unwrap();
    let open = || File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
    let stdin = if reads_from_it { Stdio::from(OwnedFd::from(open())) } else { Stdio::null() };
    std::fs::write(folder.join("scenario.txt"), "at 1s calm\nrun 4s\n").unwrap();
    let mut command = demo(folder, &["--scenario", "scenario.txt", "--speed", "20"]);
    let mut child = command.env("TERM", name).stdin(stdin).stdout(open()).spawn().unwrap();
    // The command holds the terminal open, too.
    drop(command);
    let mut text = Vec::new();
    // Where the last one who could write to it is gone, reading fails.
    let _ = File::from(ours).read_to_end(&mut text);
    let status = child.wait().unwrap();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert_eq!(status.code(), Some(0), "{text}");
    nothing_is_left(folder);
    text
}

#[test]
fn a_terminal_that_cannot_show_the_picture_gets_plain_lines() {
    let folder = tempfile::tempdir().unwrap();
    let dumb = on_a_terminal(folder.path(), "dumb", false);
    after(
        &dumb,
        &["A simulated Kafka cluster", "All that lasts is over", "Every partition is fully replicated"],
    );
    assert!(!dumb.contains('\u{1b}'), "{dumb:?}");
    let silent = on_a_terminal(folder.path(), "xterm-256color", true);
    after(
        &silent,
        &["A simulated Kafka cluster", "All that lasts is over", "Every partition is fully replicated"],
    );
}
