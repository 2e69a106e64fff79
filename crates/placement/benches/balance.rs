//! How long balancing takes: `cargo bench -p placement`. Clusters come from the folder named by `BALANCE_DATA`, or from
//! `../shared/data/balance` beside the repository; those that are absent are left out.
#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::path::PathBuf;

use placement::read_cluster;
use planner::balance::{Budget, Policy, solve};

fn main() {
    divan::main();
}

fn clusters() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder()) else {
        eprintln!("no clusters in {}: nothing is measured", folder().display());
        return Vec::new();
    };
    let folders =
        entries.filter_map(Result::ok).filter(|entry| entry.path().join("replicas.csv.gz").exists());
    let mut names: Vec<String> = folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn folder() -> PathBuf {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/balance");
    std::env::var_os("BALANCE_DATA").map_or_else(beside, PathBuf::from)
}

#[divan::bench(args = clusters(), sample_count = 5, sample_size = 1)]
fn balance(bencher: divan::Bencher<'_, '_>, name: &str) {
    let named = read_cluster(&folder().join(name)).unwrap();
    bencher.bench_local(|| solve(&named.cluster, &Policy::default(), &Budget::default()));
}
