//! Holds the documents to the sources: what a document names, exists, and what is public, stands in a document.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic, in its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below `folder` whose names end with `end`, build output left out.
fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.is_file() && name.ends_with(end) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The sources of the core and of the service, without their tests.
fn sources() -> Vec<String> {
    let all = ["crates/control/src", "crates/doctorkafka/src"].map(|folder| files(folder, ".rs")).concat();
    let is_test = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        ["tests.rs", "testing.rs", "fakes.rs"].iter().any(|end| name.ends_with(end))
    };
    let text = |path: &PathBuf| {
        let text = read(path);
        text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()
    };
    all.iter().filter(|path| !is_test(path)).map(text).collect()
}

/// What stands between the first `"` and the next.
fn quoted(text: &str) -> Option<&str> {
    text.split('"').nth(1)
}

/// The values of the constants of type `&str` in a text, by name.
fn constants(text: &str) -> BTreeMap<String, String> {
    let constant = |line: &str| {
        let (_, rest) = line.split_once("const ")?;
        let (name, rest) = rest.split_once(": &")?;
        let value = rest.strip_prefix("str = ").or_else(|| rest.strip_prefix("'static str = "))?;
        Some((name.to_owned(), quoted(value)?.to_owned()))
    };
    text.lines().filter_map(constant).collect()
}

/// The body of `pub mod NAME { … }`, which is not indented.
fn module<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split_once(&format!("\npub mod {name} {{"))?.1.split_once("\n}").map(|(body, _)| body)
}

/// The kinds of all findings: the constants in modules `kinds`, and what is handed to `Finding::new`.
fn finding_kinds() -> BTreeSet<String> {
    let sources = sources();
    let known: BTreeMap<String, String> = sources.iter().flat_map(|text| constants(text)).collect();
    let mut kinds = BTreeSet::new();
    for text in &sources {
        kinds.extend(module(text, "kinds").into_iter().flat_map(|body| constants(body).into_values()));
        for call in text.split("Finding::new(").skip(1) {
            let first = call.trim_start().split([',', '\n']).next().unwrap_or_default();
            let name = first.rsplit("::").next().unwrap_or_default();
            if let Some(literal) = quoted(first) {
                // `script_failed:{name}` stands in the document as `script_failed:NAME`.
                kinds.insert(literal.replace("{name}", "NAME"));
            } else if let Some(value) = known.get(name) {
                kinds.insert(value.clone());
            } else {
                let is_variable = name.chars().all(|c| c.is_ascii_lowercase() || "&_:".contains(c));
                assert!(is_variable, "what is the kind in `Finding::new({first}`?");
            }
        }
    }
    kinds
}

/// The names in the first column of all tables of `docs/schema.md` that have `head` at its top.
fn rows(head: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in read("docs/schema.md").lines() {
        let first = line.strip_prefix("| ").and_then(|rest| rest.split(" |").next());
        match first {
            None => inside = inside && line.starts_with("|--"),
            Some(first) if first == head => inside = true,
            Some(first) if inside => {
                names.extend(first.split('`').skip(1).step_by(2).map(str::to_owned));
            }
            Some(_) => {}
        }
    }
    names
}

fn same(what: &str, documented: &BTreeSet<String>, defined: &BTreeSet<String>) {
    assert!(defined.len() > 5, "hardly any {what} was found in the sources: {defined:?}");
    let missing: Vec<_> = defined.difference(documented).collect();
    let gone: Vec<_> = documented.difference(defined).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "{what}: docs/schema.md lacks {missing:?}, and invents {gone:?}"
    );
}

#[test]
fn every_fault_and_line_of_scenarios_is_documented() {
    let page = read("docs/scenarios.md");
    let rows = |file: &str| {
        let text = read(file);
        let words =
            |line: &str| line.strip_prefix("//! | `")?.split_once('`').map(|(word, _)| word.to_owned());
        text.lines().filter_map(words).collect::<Vec<String>>()
    };
    let words = [rows("crates/sim/src/fault.rs"), rows("crates/sim/src/scenario.rs")].concat();
    assert!(words.len() > 30, "{words:?}");
    for word in words {
        assert!(page.contains(&format!("| `{word}`")), "docs/scenarios.md does not have `{word}`");
    }
}

#[test]
fn every_attribute_is_documented_and_no_other() {
    let text = read("crates/control/src/attributes.rs");
    let defined = text.lines().filter(|line| line.trim_start().starts_with("const NAME:")).filter_map(quoted);
    same("attributes", &rows("attribute"), &defined.map(str::to_owned).collect());
}

#[test]
fn every_event_is_documented_and_no_other() {
    let text = read("crates/control/src/event.rs");
    let defined = constants(module(&text, "names").unwrap()).into_values().collect();
    same("events", &rows("event"), &defined);
}

#[test]
fn every_kind_of_finding_is_documented_and_no_other() {
    same("findings", &rows("kind"), &finding_kinds());
}

#[test]
fn every_check_of_the_guard_is_documented_and_no_other() {
    let text = read("crates/control/src/guard.rs");
    let (_, body) = text.split_once("pub fn name(self)").unwrap();
    let (body, _) = body.split_once("\n    }").unwrap();
    let defined = body.lines().filter(|line| line.contains("=>")).filter_map(quoted);
    same("checks", &rows("check"), &defined.map(str::to_owned).collect());
}

/// The lines of the tables of `docs/defects.md`, by the number of the defect.
fn defects() -> BTreeMap<u32, String> {
    let mut defects = BTreeMap::new();
    for line in read("docs/defects.md").lines() {
        let Some((number, rest)) = line.strip_prefix("| DrK-").and_then(|line| line.split_once(" | ")) else {
            continue;
        };
        let number = number.parse().unwrap_or_else(|_| panic!("{line}"));
        assert_eq!(defects.insert(number, rest.to_owned()), None, "DrK-{number} stands there twice");
    }
    defects
}

/// The names of the tests in a source.
fn tests_in(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some((_, name)) = line.split_once("fn ")
            && is_test
        {
            names.extend(name.split('(').next().map(str::to_owned));
            is_test = false;
        }
    }
    names
}

#[test]
fn every_defect_is_there_with_what_holds_it_and_the_tests_it_names_exist() {
    let defects = defects();
    assert_eq!(defects.keys().copied().collect::<Vec<_>>(), (1..=69).collect::<Vec<u32>>());
    for (number, line) in &defects {
        let mut tests =
            line.split('`').skip(1).step_by(2).filter_map(|code| code.split_once(".rs::")).peekable();
        let is_held = tests.peek().is_some() || line.contains("design: ") || line.contains("open: \"");
        assert!(is_held, "nothing holds DrK-{number}");
        for (file, name) in tests {
            let found = tests_in(&read(format!("crates/{file}.rs")));
            assert!(found.contains(name), "DrK-{number}: there is no test {name} in crates/{file}.rs");
        }
    }
}

#[test]
fn every_test_that_is_named_after_a_defect_stands_in_its_line() {
    let defects = defects();
    let mut count = 0;
    for path in files("crates", ".rs") {
        for name in tests_in(&read(&path)).into_iter().filter(|name| name.starts_with("drk_")) {
            let words = name.split('_').skip(1).filter(|word| *word != "and");
            let numbers = words.map_while(|word| word.parse::<u32>().ok());
            for number in numbers {
                count += 1;
                let line = defects.get(&number).map(String::as_str).unwrap_or_default();
                assert!(
                    line.contains(&format!("::{name}`")),
                    "{name} is missing in the line of DrK-{number}"
                );
            }
        }
    }
    assert!(count > 30, "only {count} tests are named after a defect");
}

#[test]
fn links_lead_to_files() {
    let mut count = 0;
    for path in files("", ".md") {
        let folder = path.parent().unwrap();
        for link in read(&path).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            count += 1;
            assert!(folder.join(target).exists(), "{}: nothing is at {link}", path.display());
        }
    }
    assert!(count > 5, "only {count} links were found");
}
