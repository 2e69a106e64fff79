//! Reads a section of the tree into a type, and puts the problems where they belong.

use serde::de::DeserializeOwned;

use super::legacy;
use super::node::Node;
use super::problem::{Problem, did_you_mean};
use crate::plugin::{ConfigProblem, read_section};

/// Reads the section `node`. `also` are keys that the section may have too, for "did you mean".
pub(super) fn read<C: DeserializeOwned>(
    node: &Node,
    also: &str,
    check: fn(&C) -> Vec<ConfigProblem>,
    problems: &mut Vec<Problem>,
) -> Option<C> {
    match read_section(&node.to_json(), check) {
        Ok(config) => Some(config),
        Err(found) => {
            problems.extend(found.iter().map(|problem| place(node, problem, also)));
            None
        }
    }
}

/// The problem of a plugin with its place in the file.
pub(super) fn place(node: &Node, problem: &ConfigProblem, also: &str) -> Problem {
    let mut message = problem.message.clone();
    if let Some((key, known)) = unknown_field(&message) {
        let known = known.iter().map(String::as_str).chain(also.split_whitespace());
        let help = legacy::key_help(&key)
            .map(str::to_owned)
            .or_else(|| did_you_mean(&key, known.clone()))
            .or_else(|| list("the keys are", known));
        // The path of an unknown key names the key itself, or the section that it stands in.
        let path = if problem.path.rsplit('.').next() == Some(&key) {
            problem.path.clone()
        } else {
            format!("{}.{key}", problem.path)
        };
        return Problem::error(node.locate(&path, true), format!("unknown key `{key}`")).maybe_help(help);
    }
    if let Some(key) = message.strip_prefix("missing field ") {
        return Problem::error(node.locate(&problem.path, true), format!("the key {key} is missing"));
    }
    // The names of Rust's types say nothing to those who write configurations.
    for (kind, words) in [("u", "a whole number"), ("i", "a whole number"), ("f", "a number")] {
        for bits in ["8", "16", "32", "64", "size"] {
            if let Some(start) = message.strip_suffix(&format!("expected {kind}{bits}")) {
                message = format!("{start}expected {words}");
            }
        }
    }
    let key = problem.path.rsplit('.').next().unwrap_or_default();
    if !key.is_empty() && !message.contains(&format!("`{key}`")) {
        message = format!("`{key}`: {message}");
    }
    Problem::error(node.locate(&problem.path, false), message)
}

/// What serde says of a key that it does not know: the key, and those that it knows.
fn unknown_field(message: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (key, rest) = rest.split_once('`')?;
    let known = rest.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((key.to_owned(), known))
}

/// "`a`, `b`" after `lead`.
pub(super) fn list<'a>(lead: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    (!names.is_empty()).then(|| format!("{lead} {}", names.join(", ")))
}
