//! What is proven of goals where racks are unequal, against every placement that keeps replicas apart.

use planner::balance::{
    Broker, Budget, Cluster, Goal, Mark, NETWORK_OUT, Obstacle, Partition, Policy, Replica, audit, judge,
    solve,
};
use proptest::prelude::*;

fn broker(rack: u32, capacity: [i64; 4]) -> Broker {
    let mark = Mark::None;
    Broker { rack, set: None, capacity, alive: true, takes_replicas: true, takes_leadership: true, mark }
}

fn cluster(brokers: &[Broker], partitions: &[Partition]) -> Cluster {
    let mut builder = Cluster::builder(1);
    for broker in brokers {
        builder.add_broker(broker).unwrap();
    }
    for partition in partitions {
        builder.add_partition(partition).unwrap();
    }
    builder.build()
}

/// All lists of a partition with no two replicas in a rack, and all leaders.
fn lists(brokers: &[Broker], partition: &Partition) -> Vec<Partition> {
    let mut lists = vec![Partition { replicas: vec![], ..partition.clone() }];
    for replica in &partition.replicas {
        let mut longer = Vec::new();
        for list in &lists {
            let rack = |at: u32| brokers[at as usize].rack;
            let apart = |to: &u32| list.replicas.iter().all(|other| rack(other.broker) != rack(*to));
            for to in (0..brokers.len() as u32).filter(apart) {
                let mut list = list.clone();
                list.replicas.push(Replica { broker: to, ..*replica });
                longer.push(list);
            }
        }
        lists = longer;
    }
    let led = |list: Partition| {
        (0..list.replicas.len() as u32).map(move |leader| Partition { leader, ..list.clone() })
    };
    lists.into_iter().flat_map(led).collect()
}

fn small() -> impl Strategy<Value = (Vec<Broker>, Vec<Partition>)> {
    let capacity = (40_i64..400, 40_i64..400, 40_i64..400, 40_i64..400);
    let racks = prop::sample::select(vec![[1, 1, 1], [2, 1, 1], [3, 1, 1], [2, 2, 1]]);
    let load = prop::array::uniform4(1_i64..60);
    let partition = (prop::array::uniform3(load), 0_i64..60, 0_i64..60, 2_usize..8, any::<bool>());
    (racks, capacity, prop::collection::vec(partition, 1..3)).prop_map(
        |(sizes, (cpu, inbound, out, disk), rows)| {
            let racks = (0..3_u32).flat_map(|rack| (0..sizes[rack as usize]).map(move |_| rack));
            let brokers: Vec<Broker> = racks.map(|rack| broker(rack, [cpu, inbound, out, disk])).collect();
            let first = [0, sizes[0], sizes[0] + sizes[1]];
            let row = |(loads, leader_cpu, leader_network_out, count, frozen): (
                [[i64; 4]; 3],
                i64,
                i64,
                usize,
                bool,
            )| Partition {
                topic: 0,
                replicas: (0..count.min(3))
                    .map(|at| {
                        // What a partition's replicas would give out does not change with who is read as the leader.
                        let load = [loads[at][0], loads[at][1], 0, loads[at][3]];
                        Replica { broker: first[at], load }
                    })
                    .collect(),
                leader: 0,
                leader_cpu,
                leader_network_out,
                frozen: frozen && count == 7,
            };
            (brokers, rows.into_iter().map(row).collect())
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn what_is_proven_of_racks_no_placement_gets_around((brokers, partitions) in small(), narrow in any::<bool>()) {
        let whole = cluster(&brokers, &partitions);
        let balance = if narrow { [1_000_000; 4] } else { [1_200_000; 4] };
        let policy = Policy { margin: 0, balance, ..Policy::default() };
        let plan = solve(&whole, &policy, &Budget::default());
        prop_assert_eq!(audit(&whole, &policy, &Budget::default(), &plan), Ok(()));
        let least = |unmet: &planner::balance::Unmet| match unmet.obstacle {
            Obstacle::RackShares { by, .. } => Some((unmet.goal, u128::from(by.unsigned_abs()))),
            _ => None,
        };
        let proven: Vec<(Goal, u128)> = plan.unmet.iter().filter_map(least).collect();
        let mut all = vec![vec![]];
        for partition in &partitions {
            let own = if partition.frozen { vec![partition.clone()] } else { lists(&brokers, partition) };
            let with = |start: &Vec<Partition>| own.iter().map(|list| [&start[..], std::slice::from_ref(list)].concat()).collect::<Vec<_>>();
            all = all.iter().flat_map(with).collect();
        }
        for placed in if proven.is_empty() { vec![] } else { all } {
            let score = judge(&cluster(&brokers, &placed), &policy);
            for (goal, by) in &proven {
                let found = score.goals.iter().find(|distance| distance.goal == *goal).unwrap();
                prop_assert!(found.excess >= *by, "{:?} has {:?} of {}", placed, found, by);
            }
        }
    }
}

/// Racks of four, two and two brokers, and 400 partitions with a replica in each rack; each gives out 10 if it leads.
fn uneven(out: i64) -> Cluster {
    let racks = [0, 0, 0, 0, 1, 1, 2, 2];
    let brokers = racks.map(|rack| broker(rack, [1_000_000, 1_000_000, out, 1_000_000]));
    let list = |at: u32| Partition {
        topic: 0,
        replicas: [at % 4, 4 + at % 2, 6 + at % 2]
            .map(|broker| Replica { broker, load: [1, 1, 0, 1] })
            .to_vec(),
        leader: at % 3,
        leader_cpu: 1,
        leader_network_out: 10,
        frozen: false,
    };
    cluster(&brokers, &(0..400).map(list).collect::<Vec<_>>())
}

#[test]
fn a_rack_too_small_for_a_replica_of_every_partition_is_named_with_what_it_gives_out_at_most() {
    let policy = Policy {
        goals: vec![Goal::RackAware, Goal::PotentialNetworkOut],
        hard: vec![Goal::RackAware],
        ..Policy::default()
    };
    // Together they have room for 8 × 1,600 of 12,000; two of them for 3,200 of the 4,000 of each rack.
    let plan = solve(&uneven(2_000), &policy, &Budget::default());
    assert_eq!(audit(&uneven(2_000), &policy, &Budget::default(), &plan), Ok(()));
    let left: Vec<_> =
        plan.unmet.iter().map(|unmet| (unmet.goal, unmet.obstacle, unmet.is_proof())).collect();
    assert_eq!(left, [(Goal::PotentialNetworkOut, Obstacle::RackShares { rack: 1, by: 800 }, true)]);
    assert_eq!(plan.changes, [], "no more can be had");
    assert!(policy.capacity[NETWORK_OUT] == 800_000);
    let enough = solve(&uneven(2_500), &policy, &Budget::default());
    assert_eq!(enough.unmet, []);
}
