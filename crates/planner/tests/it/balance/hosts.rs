//! Where replicas of a partition have to share a rack they rather do not share a host.

use planner::balance::{Broker, Budget, Cluster, Mark, Mode, Partition, Policy, Replica, audit, solve};

/// Brokers as rack and host, of which the last is dead, and partitions on them.
fn cluster(brokers: &[(u32, u32)], lists: &[&[u32]], known: bool) -> Cluster {
    let mut builder = Cluster::builder(1);
    for (at, (rack, host)) in brokers.iter().enumerate() {
        let alive = at + 1 < brokers.len();
        let broker = Broker {
            rack: *rack,
            set: None,
            capacity: [1_000_000; 4],
            alive,
            takes_replicas: alive,
            takes_leadership: alive,
            mark: Mark::None,
        };
        let ordinal = builder.add_broker(&broker).unwrap();
        if known {
            builder.host(ordinal, *host).unwrap();
        }
    }
    assert!(builder.host(brokers.len() as u32, 0).is_err());
    for list in lists {
        let replica = |broker: &u32| Replica { broker: *broker, load: [1, 10, 0, 10] };
        builder
            .add_partition(&Partition {
                topic: 0,
                replicas: list.iter().map(replica).collect(),
                leader: 0,
                leader_cpu: 0,
                leader_network_out: 0,
                frozen: false,
            })
            .unwrap();
    }
    builder.build()
}

/// Where the last replica of the first partition is healed to.
fn healed_to(cluster: &Cluster) -> u32 {
    let (cluster, policy) = Mode::Heal.prepare(cluster, &Policy::default());
    let plan = solve(&cluster, &policy, &Budget::default());
    assert_eq!(audit(&cluster, &policy, &Budget::default(), &plan), Ok(()));
    plan.applied_to(&cluster).replicas(0)[2]
}

#[test]
fn who_has_to_share_a_rack_goes_to_another_host_of_it() {
    // Broker 1 is emptier, and stands on the host of broker 0; broker 4 has died with the third rack.
    let brokers = [(0, 0), (0, 0), (0, 1), (1, 2), (2, 3)];
    let lists: [&[u32]; 3] = [&[0, 3, 4], &[2, 3], &[2, 3]];
    assert_eq!(healed_to(&cluster(&brokers, &lists, false)), 1);
    assert_eq!(healed_to(&cluster(&brokers, &lists, true)), 2);
}

#[test]
fn a_host_is_shared_rather_than_a_replica_left_offline() {
    let brokers = [(0, 0), (0, 0), (1, 1), (2, 3)];
    assert_eq!(healed_to(&cluster(&brokers, &[&[0, 2, 3]], true)), 1);
}
