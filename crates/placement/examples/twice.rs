//! Plans for generated clusters, does what the plans say, and counts how many second plans find something to do:
//! `cargo run --release -p placement --example twice`.
#![allow(clippy::unwrap_used, reason = "an example fails by panicking")]

use placement::{Shape, generate};
use planner::balance::{Budget, Cluster, Plan, Policy, solve};

const SMALL: Shape =
    Shape { brokers: 6, racks: 3, topics: 5, replicas: 90, factor: 3, skew: 1.0, apart: true, seed: 0 };

fn main() {
    let policy = Policy::default();
    for (name, base, clusters) in [
        ("6 to 9 brokers, 30 to 60 partitions, replicas apart", SMALL, 400),
        ("the same, replicas of a partition alike", Shape { apart: false, ..SMALL }, 400),
        (
            "15 to 18 brokers, 300 to 330 partitions, replicas apart",
            Shape { brokers: 15, racks: 5, replicas: 900, topics: 20, ..SMALL },
            100,
        ),
    ] {
        let (mut again, mut back) = (0, 0);
        for seed in 0..clusters {
            let more = seed as u32 % 4;
            let shape = Shape {
                brokers: base.brokers + more,
                replicas: base.replicas + seed as u32 % 31 * 3,
                seed,
                ..base
            };
            let cluster = generate(&shape).unwrap();
            let applied = solve(&cluster, &policy, &Budget::default()).applied_to(&cluster);
            let second = solve(&applied, &policy, &Budget::default());
            again += u32::from(!second.changes.is_empty());
            back += u32::from(comes_back(&cluster, &applied, &second));
        }
        println!(
            "{name}: {again} of {clusters} second plans find something, {back} with a broker that comes back"
        );
    }
}

/// Whether a broker that the first plan took out of a list comes back to another position of it.
fn comes_back(cluster: &Cluster, applied: &Cluster, second: &Plan) -> bool {
    second.changes.iter().any(|change| {
        let first = cluster.replicas(change.partition);
        let mut pairs = first.iter().zip(applied.replicas(change.partition)).zip(&change.replicas);
        pairs.any(|((home, was), is)| is != was && is != home && first.contains(is))
    })
}
