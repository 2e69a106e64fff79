//! Holds the directions of dependencies between the crates: see ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The normal dependencies of each crate, by name.
fn dependencies() -> Result<BTreeMap<String, BTreeSet<String>>, Box<dyn Error>> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    let metadata: Value = serde_json::from_slice(&out.stdout)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let crates: BTreeMap<_, _> = list(&metadata["packages"])
        .iter()
        .map(|package| {
            // A development dependency has the kind `dev`, a normal one has none.
            let normal = list(&package["dependencies"]).into_iter().filter(|used| used["kind"].is_null());
            (name(package), normal.map(|used| name(&used)).collect())
        })
        .collect();
    if crates.len() < OURS.len() / 2 { Err("cargo metadata names hardly a crate".into()) } else { Ok(crates) }
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Those of ours that each crate may use.
const OURS: [(&str, &[&str]); 13] = [
    ("planner", &[]),
    ("cluster", &[]),
    ("control", &["planner", "cluster"]),
    ("brokerstats", &[]),
    ("kafka", &["cluster"]),
    ("jmx", &[]),
    ("kafkastats", &["brokerstats", "jmx", "kafka", "cluster"]),
    ("sim", &["cluster", "control", "brokerstats"]),
    ("doctorkafka", &["planner", "placement", "cluster", "control", "brokerstats", "kafka", "sim"]),
    ("lab", &[]),
    ("placement", &["planner"]),
    ("trials", &["planner", "sim"]),
    ("xtask", &[]),
];

#[test]
fn crates_use_only_those_below_them() {
    let all = dependencies().unwrap();
    let ours: BTreeSet<String> = all.keys().cloned().collect();
    for (name, used) in &all {
        let found: BTreeSet<String> = used.intersection(&ours).cloned().collect();
        match OURS.iter().find(|(known, _)| known == name) {
            Some((_, allowed)) => {
                assert!(found.is_subset(&set(allowed)), "{name} uses {found:?}, and may use {allowed:?}");
            }
            // What stands under `examples/` shows the service to outsiders.
            None => assert!(!found.contains("lab") && !found.contains("kafka"), "{name} uses {found:?}"),
        }
    }
}

#[test]
fn the_core_uses_nothing_that_could_do_anything() {
    let all = dependencies().unwrap();
    for (name, allowed) in [
        ("planner", set(&[])),
        ("cluster", set(&["serde", "thiserror"])),
        // serde_json: payloads of events and attributes from outside are JSON.
        ("control", set(&["planner", "cluster", "serde", "serde_json", "thiserror"])),
    ] {
        assert!(all[name].is_subset(&allowed), "{name} uses {:?}, and may use {allowed:?}", all[name]);
    }
}

#[test]
fn krafka_is_known_to_one_crate_and_the_lab() {
    for (name, used) in dependencies().unwrap() {
        let may = ["kafka", "lab"].contains(&name.as_str());
        assert!(may || !used.contains("krafka"), "{name} uses krafka");
    }
}

#[test]
fn the_client_of_zookeeper_is_known_to_one_file() {
    for (name, used) in dependencies().unwrap() {
        assert!(name == "doctorkafka" || !used.contains("zookeeper-client"), "{name} uses zookeeper-client");
    }
    let service = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("doctorkafka");
    let mut folders = vec![service.join("src"), service.join("tests")];
    let mut naming = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::read_to_string(&path).is_ok_and(|text| text.contains("zookeeper_client")) {
                naming.push(path.strip_prefix(&service).unwrap().display().to_string());
            }
        }
    }
    assert_eq!(naming, ["src/store/zookeeper/session.rs"]);
}

#[test]
fn lints_keep_clocks_io_and_unordered_maps_out_of_the_core() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for name in ["planner", "cluster", "control"] {
        let path = crates.join(name).join("clippy.toml");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for banned in [
            "std::collections::HashMap",
            "std::collections::HashSet",
            "std::time::Instant",
            "std::time::SystemTime",
            "std::fs::File",
            "std::net::TcpStream",
            "std::process::Command",
            "std::thread::sleep",
            "std::thread::spawn",
            "std::env::var",
        ] {
            assert!(text.contains(&format!("\"{banned}\"")), "{} does not ban {banned}", path.display());
        }
    }
}
