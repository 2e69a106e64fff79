//! Holds README.md to what the command line of the agent has.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic, in its helpers too")]

use std::process::Command;

fn help(command: &str) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_kafkastats")).args([command, "--help"]).output().unwrap();
    assert!(out.status.success(), "kafkastats {command}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn options(code: &str) -> impl Iterator<Item = &str> {
    let words = code.split_whitespace().map(|word| word.trim_matches(['[', ']', ',']));
    words.filter(|word| word.starts_with("--"))
}

#[test]
fn every_command_and_option_of_the_agent_in_the_readme_exists() {
    let text = include_str!("../../../README.md");
    let (_, section) = text.split_once("\n## The agent\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let mut count = 0;
    for code in section.split('`').skip(1).step_by(2) {
        let (command, code) = match code.strip_prefix("kafkastats ") {
            Some(rest) => rest.split_once(' ').unwrap_or((rest, "")),
            // Said by the way, of what it does all the time.
            None => ("run", code),
        };
        for option in options(code) {
            count += 1;
            assert!(
                help(command).contains(&format!("{option} "))
                    || help(command).contains(&format!("{option}\n")),
                "{command} has no {option}"
            );
        }
    }
    assert!(count > 5, "only {count} options were found");
}

#[test]
fn every_key_of_the_sample_file_is_an_option() {
    let text = include_str!("../../../packaging/kafkastats.yaml");
    let help = help("run");
    let mut count = 0;
    for line in text.lines().map(|line| line.trim_start_matches("# ")) {
        let Some((key, value)) = line.split_once(':').filter(|(key, _)| !key.contains(' ')) else { continue };
        count += 1;
        assert!(!value.trim().is_empty(), "{key} has a value");
        let option = format!("--{key}");
        assert!(help.contains(&format!("{option} ")) || help.contains(&format!("{option}\n")), "{option}");
    }
    assert!(count > 10, "only {count} keys were found");
}
