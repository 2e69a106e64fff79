//! Plans for generated clusters of kinds that go wrong: unequal brokers, dead brokers, a dead rack.
//! `cargo run --release -p placement --example kinds`.
#![allow(clippy::unwrap_used, reason = "an example fails by panicking")]

#[path = "common/altered.rs"]
mod altered;
mod common;

use placement::{Shape, generate};
use planner::balance::{Broker, Budget, Mode, Policy, audit, solve};

use altered::altered;
use common::{cpu_seconds, describe};

/// What becomes of the broker of an ordinal.
type Alter = fn(u32, &mut Broker);

const EVEN: Shape =
    Shape { brokers: 40, racks: 10, topics: 3_000, replicas: 50_000, factor: 3, skew: 0.0, seed: 21 };
const KINDS: [(&str, Shape, Alter); 7] = [
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
];

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
