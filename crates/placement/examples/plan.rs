//! Plans for a folder and writes the placement: `cargo run -p placement --example plan DIR OUT.csv`.
#![allow(clippy::unwrap_used, reason = "an example fails by panicking")]

use std::time::Instant;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let named = placement::read_cluster(args[1].as_ref()).unwrap();
    let t = Instant::now();
    let plan = planner::balance::solve(&named.cluster, &planner::balance::Policy::default());
    eprintln!(
        "{:?} {} changes; left: {:?}",
        t.elapsed(),
        plan.changes.len(),
        plan.after.goals.iter().filter(|g| g.excess > 0).collect::<Vec<_>>()
    );
    let mut out = std::io::BufWriter::new(std::fs::File::create(&args[2]).unwrap());
    placement::write_placement(&named, &plan, &mut out).unwrap();
}
