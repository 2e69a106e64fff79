//! Plans for large generated clusters and prints what it costs: `cargo run --release -p placement --example large`.
#![allow(clippy::unwrap_used, reason = "an example fails by panicking")]

mod common;

use placement::{Shape, generate};
use planner::balance::{Budget, Cluster, DISK, Mode, NETWORK_IN, NETWORK_OUT, Policy};
use planner::{BrokerState, Limits, LogDir, Network, Partition, Problem, Replica};

use common::{cpu_seconds, describe};

const SHAPES: [(&str, Shape); 2] = [
    (
        "215 brokers, 3,500 topics",
        Shape {
            brokers: 215,
            racks: 10,
            topics: 3_500,
            replicas: 2_800_000,
            factor: 3,
            skew: 2.4,
            apart: false,
            seed: 1,
        },
    ),
    (
        "1,000 brokers, 5,000 topics",
        Shape {
            brokers: 1_000,
            racks: 20,
            topics: 5_000,
            replicas: 1_000_000,
            factor: 3,
            skew: 2.4,
            apart: false,
            seed: 2,
        },
    ),
];

fn main() {
    let only = std::env::args().nth(1);
    for (name, shape) in
        SHAPES.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| name.starts_with(only)))
    {
        let cluster = generate(shape).unwrap();
        let policy = Policy { max_replicas: 20_000, ..Policy::default() };
        report(&format!("{name}, balance"), &cluster, &policy);
        let balanced = planner::balance::solve(&cluster, &policy, &Budget::default()).applied_to(&cluster);
        let (dying, drained) = Mode::Drain { brokers: vec![7] }.prepare(&balanced, &policy);
        report(&format!("{name}, drain one broker"), &dying, &drained);
        heal(&format!("{name}, heal one dead broker"), &balanced, 7);
    }
}

fn report(name: &str, cluster: &Cluster, policy: &Policy) {
    let start = cpu_seconds();
    let plan = planner::balance::solve(cluster, policy, &Budget::default());
    let took = cpu_seconds() - start;
    planner::balance::audit(cluster, policy, &Budget::default(), &plan).unwrap();
    println!("{name}: {took:.3} CPU s, {}, peak {} MB", describe(cluster, &plan), peak_megabytes());
}

/// As the service heals: every replica of a dead broker is to be replaced.
fn heal(name: &str, cluster: &Cluster, dead: u32) {
    let mut builder = Problem::builder(cluster.topics());
    for (ordinal, broker) in (0..).zip(cluster.brokers()) {
        let used = |resource: usize| broker.capacity[resource] as u64 / 2;
        let network = |resource: usize| {
            Some(Network { capacity: broker.capacity[resource] as u64, used: used(resource) })
        };
        builder
            .add_broker(&planner::Broker {
                rack: Some(broker.rack),
                state: if ordinal == dead { BrokerState::Dead } else { BrokerState::Alive },
                log_dirs: vec![LogDir { total: broker.capacity[DISK] as u64, used: used(DISK) }],
                network_in: network(NETWORK_IN),
                network_out: network(NETWORK_OUT),
            })
            .unwrap();
    }
    for partition in 0..cluster.partitions() {
        let brokers = cluster.replicas(partition);
        let replica =
            |broker: &u32| Replica { broker: *broker, in_sync: *broker != dead, replace: *broker == dead };
        let leader = brokers[cluster.leader(partition) as usize];
        let load = cluster.loads(partition)[0];
        builder
            .add_partition(&Partition {
                topic: cluster.topic(partition),
                replicas: brokers.iter().map(replica).collect(),
                leader: brokers.iter().copied().filter(|broker| *broker != dead).min_by_key(|b| *b != leader),
                size: Some(load[DISK] as u64),
                bytes_in: Some(load[NETWORK_IN] as u64),
                bytes_out: Some(cluster.leader_share(partition)[NETWORK_OUT] as u64),
                frozen: false,
            })
            .unwrap();
    }
    let problem = builder.build();
    let limits = Limits::default();
    let start = cpu_seconds();
    let plan = planner::solve(&problem, &limits);
    let took = cpu_seconds() - start;
    planner::audit(&problem, &limits, &plan).unwrap();
    println!("{name}: {took:.3} CPU s, {} moves, {} unplaced", plan.moves.len(), plan.unplaced.len());
}

/// The most memory that the process has held so far. On Linux; elsewhere nothing.
fn peak_megabytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
