//! Plans for folders and writes the placement of each beside its figures:
//! `cargo run --release -p placement --example plan OUT MODE DIR...`, the mode `balance`, `heal` or `relieve` (to the limits of capacities).
#![allow(clippy::unwrap_used, reason = "an example fails by panicking")]

mod common;

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use planner::balance::{Budget, Mode, Policy, audit, solve};

use common::{cpu_seconds, describe};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [out, mode, folders @ ..] = &arguments[..] else {
        eprintln!("usage: plan OUT balance|heal|relieve DIR...");
        return;
    };
    let mode = match mode.as_str() {
        "heal" => Mode::Heal,
        "relieve" => Mode::Relieve { watermark: Policy::default().capacity },
        _ => Mode::Balance,
    };
    for folder in folders {
        let named = placement::read_cluster(folder.as_ref()).unwrap();
        let (cluster, policy) = mode.prepare(&named.cluster, &Policy::default());
        let budget = Budget::default();
        let start = cpu_seconds();
        let plan = solve(&cluster, &policy, &budget);
        let took = cpu_seconds() - start;
        audit(&cluster, &policy, &budget, &plan).unwrap();
        let name = Path::new(folder).file_name().unwrap().to_string_lossy().into_owned();
        println!("{name}: {took:.3} CPU s, {}", describe(&cluster, &plan));
        let file = File::create(Path::new(out).join(format!("{name}.csv"))).unwrap();
        placement::write_placement(&named, &plan.applied_to(&cluster), &mut BufWriter::new(file)).unwrap();
    }
}
