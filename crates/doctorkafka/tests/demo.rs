//! `doctorkafka demo` as a process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of tests fails its test by panicking")]

use std::process::{Command, Output};

fn demo(folder: &tempfile::TempDir, scenario: &str) -> Output {
    let file = folder.path().join("scenario.txt");
    std::fs::write(&file, scenario).unwrap();
    let temporary = folder.path().join("tmp");
    std::fs::create_dir_all(&temporary).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_doctorkafka"))
        .args(["demo", "--brokers", "6", "--scenario"])
        .arg(&file)
        .env("TMPDIR", &temporary)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let left: Vec<_> = std::fs::read_dir(&temporary).unwrap().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    output
}

#[test]
fn tells_how_a_broker_dies_and_is_healed_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(&folder, "at 2s kill b3\nat 40s restart b3\n");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let mut rest = text.as_str();
    for words in [
        "b3 is killed",
        "the controller has dropped broker 3",
        "broker 3 is dead",
        "submitting",
        // It comes back amid the moves: those that have not begun are given up.
        "b3 is started again",
        "healed after",
        "Every partition is fully replicated",
    ] {
        let at = rest.find(words).unwrap_or_else(|| panic!("{words:?} does not follow in {text}"));
        rest = &rest[at..];
    }
    assert!(!text.contains('\u{1b}'), "escape codes, although nobody sits at a terminal");
}

#[test]
fn a_wrong_scenario_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(&folder, "at 2s kill b3\nat 3s explode b3\n");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("scenario.txt") && said.contains("line 2") && said.contains("explode"), "{said}");
}
