//! Plans for a folder and writes the placement: `cargo run --release -p placement --example plan DIR OUT.csv`.
#![allow(clippy::unwrap_used, reason = "an example fails by panicking")]

use std::fs::File;
use std::io::BufWriter;
use std::time::Instant;

use planner::balance::{Budget, Policy, solve};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, out] = arguments.as_slice() else {
        eprintln!("usage: plan DIR OUT.csv");
        return;
    };
    let named = placement::read_cluster(folder.as_ref()).unwrap();
    let start = Instant::now();
    let plan = solve(&named.cluster, &Policy::default(), &Budget::default());
    let took = start.elapsed();
    let left: Vec<_> = plan.after.violated().map(|goal| goal.name()).collect();
    println!("{:.3} s, {} partitions change, goals left: {left:?}", took.as_secs_f64(), plan.changes.len());
    placement::write_placement(&named, &plan, &mut BufWriter::new(File::create(out).unwrap())).unwrap();
}
