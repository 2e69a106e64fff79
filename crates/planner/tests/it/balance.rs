//! Laws of balance plans, over random clusters.

use planner::balance::{Broker, Cluster, Partition, Policy, Replica, solve};
use proptest::prelude::*;

fn cluster(brokers: u32, racks: u32, partitions: Vec<(u32, u32, u16)>, dead: u32) -> Cluster {
    let mut builder = Cluster::builder(3);
    for broker in 0..brokers {
        let alive = broker >= dead;
        builder
            .add_broker(&Broker {
                rack: broker % racks,
                host: broker,
                set: None,
                capacity: [1_000_000, 2_000_000, 2_000_000, 4_000_000],
                alive,
                takes_replicas: alive,
                takes_leadership: alive,
            })
            .unwrap();
    }
    for (skew, factor, load) in partitions {
        let first = skew.min(skew * skew / 97) % brokers;
        let replica = |i: u32| Replica {
            broker: (first + i) % brokers,
            load: [i64::from(load) / 9, i64::from(load) / 3, 0, i64::from(load)],
        };
        builder
            .add_partition(&Partition {
                topic: skew % 3,
                replicas: (0..factor.min(brokers)).map(replica).collect(),
                leader: 0,
                leader_cpu: i64::from(load) / 7,
                leader_network_out: i64::from(load) / 2,
                frozen: skew % 13 == 0,
            })
            .unwrap();
    }
    builder.build()
}

fn any_cluster() -> impl Strategy<Value = Cluster> {
    let partitions = proptest::collection::vec((0..97_u32, 1..4_u32, 1..2_000_u16), 1..120);
    (4..12_u32, 3..5_u32, partitions, 0..2_u32)
        .prop_map(|(brokers, racks, p, dead)| cluster(brokers, racks, p, dead))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn is_never_worse_and_always_the_same(cluster in any_cluster()) {
        let plan = solve(&cluster, &Policy::default());
        prop_assert!(plan.after <= plan.before);
        prop_assert_eq!(plan, solve(&cluster, &Policy::default()));
    }

    #[test]
    fn places_replicas_on_distinct_living_brokers_and_leaves_frozen_partitions(cluster in any_cluster()) {
        for change in &solve(&cluster, &Policy::default()).changes {
            let old = cluster.replicas(change.partition);
            prop_assert_eq!(change.replicas.len(), old.len());
            let mut seen = change.replicas.clone();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), old.len());
            for (position, (from, to)) in old.iter().zip(&change.replicas).enumerate() {
                prop_assert!(from == to || cluster.brokers()[*to as usize].alive);
                // A broker that is kept keeps its position.
                prop_assert!(old.iter().position(|b| b == to).is_none_or(|kept| kept == position));
                let dead = !cluster.brokers()[*from as usize].alive;
                prop_assert!(from == to || dead || !cluster.frozen(change.partition));
            }
        }
    }

    #[test]
    fn leaves_nothing_on_dead_brokers(cluster in any_cluster()) {
        prop_assert_eq!(solve(&cluster, &Policy::default()).after.offline, 0);
    }
}
