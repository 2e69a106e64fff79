//! Plans for folders and writes the placement of each beside its figures:
//! `cargo run --release -p placement --example plan OUT DIR...`.
#![allow(clippy::unwrap_used, reason = "an example fails by panicking")]

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use planner::balance::{Budget, Policy, audit, solve};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((out, folders)) = arguments.split_first() else {
        eprintln!("usage: plan OUT DIR...");
        return;
    };
    for folder in folders {
        let named = placement::read_cluster(folder.as_ref()).unwrap();
        let (policy, budget) = (Policy::default(), Budget::default());
        let start = cpu_seconds();
        let plan = solve(&named.cluster, &policy, &budget);
        let took = cpu_seconds() - start;
        audit(&named.cluster, &policy, &budget, &plan).unwrap();
        let (mut moves, mut megabytes) = (0, 0.0);
        for change in &plan.changes {
            let old = named.cluster.replicas(change.partition);
            let moved = (0..old.len()).filter(|at| old[*at] != change.replicas[*at]);
            for at in moved {
                moves += 1;
                megabytes += named.cluster.loads(change.partition)[at][3] as f64 / 1e6;
            }
        }
        let left: Vec<_> = plan.after.violated().map(|goal| goal.name()).collect();
        let name = Path::new(folder).file_name().unwrap().to_string_lossy().into_owned();
        println!("{name}: {took:.3} CPU s, {moves} moves, {megabytes:.0} MB, left: {left:?}");
        let file = File::create(Path::new(out).join(format!("{name}.csv"))).unwrap();
        placement::write_placement(&named, &plan, &mut BufWriter::new(file)).unwrap();
    }
}

/// CPU seconds of this thread, which a busy machine does not lengthen as it does the clock's. On Linux; elsewhere nothing.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|field| field.parse::<f64>().ok());
    nanoseconds.unwrap_or(0.0) / 1e9
}
