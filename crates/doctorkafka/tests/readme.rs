//! Holds README.md to what the command line has.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic, in its helpers too")]

use std::process::Command;

/// What is said of the agent is held in its own package.
fn readme() -> String {
    let text = include_str!("../../../README.md");
    let (before, rest) = text.split_once("\n## The agent\n").unwrap();
    let (_, after) = rest.split_once("\n## ").unwrap();
    format!("{before}\n{after}")
}

/// What `doctorkafka WORDS --help` prints.
fn help(words: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_doctorkafka")).args(words).arg("--help").output().unwrap();
    assert!(out.status.success(), "doctorkafka {words:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-')
}

/// The options in a piece of code, without the brackets around them.
fn options(code: &str) -> Vec<&str> {
    let words = code.split_whitespace().map(|word| word.trim_matches(['[', ']', ',']));
    words.filter(|word| word.starts_with("--") && word.len() > 2).collect()
}

#[test]
fn every_command_and_option_in_the_readme_exists() {
    let text = readme();
    let lines = text
        .lines()
        .map(|line| line.trim_start_matches("$ ").replace("cargo run --release -- ", "doctorkafka "));
    let mut count = 0;
    for line in lines {
        let codes: Vec<&str> = if line.starts_with("doctorkafka ") {
            vec![line.as_str()]
        } else {
            line.split('`').skip(1).step_by(2).collect()
        };
        for code in codes {
            let Some(command) = code.strip_prefix("doctorkafka ") else { continue };
            let command = command.split(" #").next().unwrap();
            let words: Vec<&str> = command.split_whitespace().take_while(|word| is_word(word)).collect();
            let help = help(&words);
            for option in options(command) {
                count += 1;
                assert!(
                    help.contains(&format!("{option} <"))
                        || help.contains(&format!("{option}\n"))
                        || help.contains(&format!("{option}  ")),
                    "{code}: {option}"
                );
            }
        }
    }
    assert!(count > 15, "only {count} options were found");
}

#[test]
fn every_command_is_in_the_readme() {
    let help = help(&[]);
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    // What is deeper is the rest of a text that was broken.
    let commands =
        commands.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    let names: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names.into_iter().filter(|name| *name != "help") {
        assert!(readme().contains(&format!("`doctorkafka {name}")), "README.md does not name {name}");
    }
}

#[test]
fn every_option_that_the_readme_names_alone_belongs_to_some_command() {
    let commands = ["run", "status", "pause", "cancel", "actions", "check-config", "init", "demo", "replace"];
    let all: String = commands.iter().map(|command| help(&[command])).collect();
    let all = all + &help(&["maintenance", "on"]);
    let text = readme();
    let codes = text.split("```").step_by(2).flat_map(|prose| prose.split('`').skip(1).step_by(2));
    let mut count = 0;
    for option in codes.filter(|code| code.starts_with("--")).flat_map(options) {
        count += 1;
        assert!(all.contains(option), "no command has {option}");
    }
    assert!(count > 5, "only {count} options were found");
}
