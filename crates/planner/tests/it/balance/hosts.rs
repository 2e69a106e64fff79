//! Where replicas of a partition have to share a rack they rather do not share a host.

use planner::balance::{Cluster, Mode, Policy};

use super::built::{broker, builder, living, partition, planned};

/// Brokers as rack and host, of which the last is dead, and partitions on them.
fn cluster(brokers: &[(u32, u32)], lists: &[&[u32]], known: bool) -> Cluster {
    let known_brokers = (0..)
        .zip(brokers)
        .map(|(at, (rack, _))| living(at + 1 < brokers.len(), broker(*rack, [1_000_000; 4])));
    let lists = lists.iter().map(|list| partition(0, list, [1, 10, 0, 10]));
    let mut builder = builder(1, known_brokers, lists);
    for (ordinal, (_, host)) in (0..).zip(brokers).filter(|_| known) {
        builder.host(ordinal, *host).unwrap();
    }
    assert!(builder.host(brokers.len() as u32, 0).is_err());
    builder.build()
}

/// Where the last replica of the first partition is healed to.
fn healed_to(cluster: &Cluster) -> u32 {
    let (cluster, policy) = Mode::Heal.prepare(cluster, &Policy::default());
    planned(&cluster, &policy).applied_to(&cluster).replicas(0)[2]
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
