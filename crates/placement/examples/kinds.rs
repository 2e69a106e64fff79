//! Plans for generated clusters of kinds that go wrong: unequal brokers, dead brokers, a dead rack.
//! `cargo run --release -p placement --example kinds`.
#![allow(clippy::unwrap_used, reason = "an example fails by panicking")]

#[path = "common/altered.rs"]
mod altered;
mod common;

use placement::{Shape, generate};
use planner::balance::{Broker, Budget, DISK, Mode, NETWORK_IN, Policy, audit, solve};

use altered::altered;
use common::{cpu_seconds, describe};

/// What becomes of the broker of an ordinal.
type Alter = fn(u32, &mut Broker);

const EVEN: Shape = Shape {
    brokers: 40,
    racks: 10,
    topics: 3_000,
    replicas: 50_000,
    factor: 3,
    skew: 0.0,
    apart: false,
    seed: 21,
};
/// What the ones with unequal brokers have in common.
const UNEQUAL: Shape = Shape { brokers: 60, racks: 12, topics: 3_600, replicas: 90_000, apart: true, ..EVEN };
const KINDS: [(&str, Shape, Alter); 13] = [
    ("40 brokers, linear skew", Shape { skew: 1.2, seed: 22, ..EVEN }, |_, _| {}),
    ("40 brokers, 5 dead", EVEN, |at, broker| dies(at.is_multiple_of(8), broker)),
    (
        "60 brokers, exponential skew, capacity × 1, 1, 1.5, 0.75",
        Shape { brokers: 60, racks: 12, topics: 3_600, replicas: 90_000, skew: 2.4, seed: 23, ..EVEN },
        unequal,
    ),
    ("40 brokers, the same, 5 dead", Shape { skew: 2.4, seed: 24, ..EVEN }, |at, broker| {
        unequal(at, broker);
        dies(at.is_multiple_of(8), broker);
    }),
    (
        "120 brokers in 3 racks, one rack dead",
        Shape { brokers: 120, racks: 3, topics: 4_500, replicas: 150_000, seed: 25, ..EVEN },
        |at, broker| {
            broker.capacity = broker.capacity.map(|capacity| capacity * 3 / 2);
            dies(at.is_multiple_of(3), broker);
        },
    ),
    ("40 brokers in 3 racks of 15, 13 and 12", Shape { skew: 1.2, seed: 26, ..EVEN }, |at, broker| {
        broker.rack = u32::from(at >= 15) + u32::from(at >= 28);
    }),
    ("40 brokers in 3 racks of 20, 12 and 8", Shape { seed: 27, ..EVEN }, |at, broker| {
        broker.rack = u32::from(at >= 20) + u32::from(at >= 32);
    }),
    // Of these the replicas of a partition differ.
    (
        "40 brokers in 3 racks of 15, 13 and 12, exponential skew, replicas apart",
        Shape { skew: 2.4, apart: true, seed: 28, ..EVEN },
        |at, broker| broker.rack = rack(at, &[15, 13, 12]),
    ),
    ("60 brokers, capacity × 1, 1, 1.5, 0.75, replicas apart", Shape { seed: 29, ..UNEQUAL }, unequal),
    ("the same, linear skew", Shape { skew: 1.2, seed: 30, ..UNEQUAL }, unequal),
    ("the same, exponential skew", Shape { skew: 2.4, seed: 31, ..UNEQUAL }, unequal),
    (
        "30 brokers, the same, linear skew, tight",
        Shape { brokers: 30, racks: 6, topics: 600, replicas: 20_000, skew: 1.2, seed: 32, ..UNEQUAL },
        |at, broker| {
            unequal(at, broker);
            broker.capacity[NETWORK_IN] = broker.capacity[NETWORK_IN] * 10 / 16;
            broker.capacity[DISK] = broker.capacity[DISK] * 10 / 17;
        },
    ),
    (
        "40 brokers in racks of 13, 9, 8, 6 and 4, linear skew, replicas apart",
        Shape { skew: 1.2, apart: true, seed: 33, ..EVEN },
        |at, broker| broker.rack = rack(at, &[13, 9, 8, 6, 4]),
    ),
];

/// The rack of a broker of forty in racks of such sizes, each with brokers of few and of many replicas.
fn rack(at: u32, sizes: &[u32]) -> u32 {
    let (mut nth, mut rack) = (at * 7 % 40, 0);
    for size in sizes {
        if nth < *size {
            return rack;
        }
        (nth, rack) = (nth - size, rack + 1);
    }
    rack
}

fn unequal(at: u32, broker: &mut Broker) {
    let percent = [100, 100, 150, 75][at as usize % 4];
    broker.capacity = broker.capacity.map(|capacity| capacity * percent / 100);
}

fn dies(dead: bool, broker: &mut Broker) {
    if dead {
        (broker.alive, broker.takes_replicas, broker.takes_leadership) = (false, false, false);
    }
}

fn main() {
    for (name, shape, alter) in KINDS {
        let cluster = altered(&generate(&shape).unwrap(), alter);
        for mode in [Mode::Balance, Mode::Heal] {
            let (cluster, policy) = mode.prepare(&cluster, &Policy::default());
            let start = cpu_seconds();
            let plan = solve(&cluster, &policy, &Budget::default());
            let took = cpu_seconds() - start;
            audit(&cluster, &policy, &Budget::default(), &plan).unwrap();
            println!(
                "{name}, {mode:?}: {took:.3} CPU s, {}, offline {} → {}",
                describe(&cluster, &plan),
                plan.before.offline,
                plan.after.offline
            );
        }
    }
}
