//! Hard goals are not made worse for anybody, what cannot be met draws nothing, and what can be done where room lacks is done.

use planner::balance::{
    Broker, Budget, Cluster, DISK, Goal, Mark, Mode, Partition, Plan, Policy, Replica, Violation, audit,
    judge, solve,
};

/// A broker in a rack, with room for so much of everything.
fn broker(rack: u32, capacity: i64) -> Broker {
    Broker {
        rack,
        set: None,
        capacity: [capacity; 4],
        alive: true,
        takes_replicas: true,
        takes_leadership: true,
        mark: Mark::None,
    }
}

fn dies(broker: &mut Broker) {
    (broker.alive, broker.takes_replicas, broker.takes_leadership) = (false, false, false);
}

/// Partitions of one topic: brokers, and the disk of each replica. The first leads.
fn cluster(brokers: &[Broker], partitions: &[(Vec<u32>, i64)]) -> Cluster {
    let mut builder = Cluster::builder(1);
    for broker in brokers {
        builder.add_broker(broker).unwrap();
    }
    for (replicas, disk) in partitions {
        let load = |broker: &u32| Replica { broker: *broker, load: [1, 1, 0, *disk] };
        builder
            .add_partition(&Partition {
                topic: 0,
                replicas: replicas.iter().map(load).collect(),
                leader: 0,
                leader_cpu: 1,
                leader_network_out: 1,
                frozen: false,
            })
            .unwrap();
    }
    builder.build()
}

fn planned(cluster: &Cluster, policy: &Policy, mode: &Mode) -> (Cluster, Plan) {
    let (cluster, policy) = mode.prepare(cluster, policy);
    let plan = solve(&cluster, &policy, &Budget::default());
    assert_eq!(audit(&cluster, &policy, &Budget::default(), &plan), Ok(()));
    (plan.applied_to(&cluster), plan)
}

fn carried(cluster: &Cluster, resource: usize) -> Vec<i64> {
    let mut carried = vec![0; cluster.brokers().len()];
    for partition in 0..cluster.partitions() {
        for (broker, load) in cluster.replicas(partition).iter().zip(cluster.loads(partition)) {
            carried[*broker as usize] += load[resource];
        }
    }
    carried
}

fn moved(before: &Cluster, after: &Cluster) -> usize {
    let pairs = (0..before.partitions()).map(|p| before.replicas(p).iter().zip(after.replicas(p)));
    pairs.flatten().filter(|(from, to)| from != to).count()
}

/// Many small replicas of different sizes, four brokers in each of three racks, one of which is dead.
fn lost_rack(capacity: i64) -> Cluster {
    let mut brokers: Vec<Broker> = (0..12).map(|at| broker(at % 3, capacity)).collect();
    brokers.iter_mut().filter(|broker| broker.rack == 2).for_each(dies);
    let list = |at: u32| vec![at % 4 * 3, at / 4 % 4 * 3 + 1, at / 16 % 4 * 3 + 2];
    let partitions: Vec<_> = (0..1_024).map(|at| (list(at), 1 + i64::from(at * 37 % 97).pow(2))).collect();
    cluster(&brokers, &partitions)
}

#[test]
fn the_audit_sees_one_broker_worse_where_all_together_are_better() {
    // The first is 120 above its 80, and could give 50 to the second, which has room for 20 of it.
    let brokers = [broker(0, 100), broker(1, 100), broker(2, 1_000)];
    let partitions = [(vec![0], 50), (vec![0], 150), (vec![1], 60)];
    let cluster = cluster(&brokers, &partitions);
    let policy =
        Policy { goals: vec![Goal::DiskCapacity], hard: vec![Goal::DiskCapacity], ..Policy::default() };
    let mut plan = solve(&cluster, &policy, &Budget::default());
    plan.changes.clear();
    plan.reasons.clear();
    plan.changes.push(planner::balance::Change { partition: 0, replicas: vec![1], leader: 0 });
    plan.after = judge(&plan.applied_to(&cluster), &policy);
    assert!(plan.after < plan.before, "the sum is smaller");
    let found = audit(&cluster, &policy, &Budget::default(), &plan).unwrap_err();
    assert!(found.contains(&Violation::BrokerWorse { goal: Goal::DiskCapacity, broker: 1 }), "{found:?}");
}

#[test]
fn the_audit_sees_a_list_worse_where_all_together_are_better() {
    let brokers = [0, 0, 1, 1, 2, 2].map(|rack| broker(rack, 1_000));
    // Two lists share a rack twice, one not at all.
    let partitions = [(vec![0, 1], 1), (vec![2, 3], 1), (vec![4, 0], 1)];
    let cluster = cluster(&brokers, &partitions);
    let policy = Policy { goals: vec![Goal::RackAware], hard: vec![Goal::RackAware], ..Policy::default() };
    let mut plan = solve(&cluster, &policy, &Budget::default());
    let change = |partition, replicas: [u32; 2]| planner::balance::Change {
        partition,
        replicas: replicas.to_vec(),
        leader: 0,
    };
    plan.changes = vec![change(0, [0, 2]), change(1, [2, 4]), change(2, [4, 5])];
    plan.after = judge(&plan.applied_to(&cluster), &policy);
    assert!(plan.after < plan.before);
    let found = audit(&cluster, &policy, &Budget::default(), &plan).unwrap_err();
    assert!(found.contains(&Violation::PartitionWorse { goal: Goal::RackAware, partition: 2 }), "{found:?}");
}

#[test]
fn healing_a_lost_rack_with_little_disk_places_as_many_as_have_room_and_lifts_no_disk_over_its_limit() {
    for capacity in [1_100_000, 1_280_000, 1_400_000] {
        let before = lost_rack(capacity);
        let limit = capacity * 8 / 10;
        let room: i64 = (0..12)
            .filter(|at| at % 3 != 2)
            .map(|at: usize| (limit - carried(&before, DISK)[at]).max(0))
            .sum();
        let mut sizes: Vec<i64> = (0..1_024).map(|partition| before.loads(partition)[2][DISK]).collect();
        sizes.sort_unstable();
        let mut left = room;
        let fit = sizes
            .iter()
            .take_while(|size| {
                left -= **size;
                left >= 0
            })
            .count() as u64;
        for mode in [Mode::Heal, Mode::Balance] {
            let (after, plan) = planned(&before, &Policy::default(), &mode);
            let placed = plan.before.offline - plan.after.offline;
            // Between the brokers a little room is lost.
            assert!(placed + 8 >= fit, "{mode:?} at {capacity}: {placed} of {fit}");
            let pairs = carried(&before, DISK).into_iter().zip(carried(&after, DISK));
            for (at, (was, is)) in pairs.enumerate().filter(|(at, _)| at % 3 != 2) {
                assert!(is <= limit.max(was), "{mode:?} at {capacity}: {is} on broker {at}");
            }
        }
    }
}

#[test]
fn a_goal_that_cannot_be_met_moves_nothing() {
    let brokers: Vec<Broker> = (0..6).map(|at| broker(at % 3, 1_000_000)).collect();
    let list = |at: u32| vec![at % 5, (at + 1 + at % 2) % 5];
    let partitions: Vec<_> = (0..300).map(|at| (list(at), 10 + i64::from(at % 7))).collect();
    let cluster = cluster(&brokers, &partitions);
    let free = planned(&cluster, &Policy::default(), &Mode::Balance);
    assert_eq!(free.1.unmet, vec![]);
    let limits = [
        Policy { max_replicas: 10, ..Policy::default() },
        Policy { capacity: [10, 800_000, 800_000, 800_000], ..Policy::default() },
    ];
    for policy in limits {
        let (after, plan) = planned(&cluster, &policy, &Mode::Balance);
        assert_eq!(moved(&cluster, &after), moved(&cluster, &free.0), "{:?}", plan.unmet);
        assert_eq!(plan.fewest_moves, free.1.fewest_moves);
        let left: Vec<bool> = plan.unmet.iter().map(planner::balance::Unmet::is_proof).collect();
        assert_eq!(left, [true], "{:?}", plan.unmet);
    }
    let mut policy = Policy { network_limit: [20, i64::MAX], ..Policy::default() };
    policy.goals.insert(0, Goal::NetworkInLimit);
    policy.hard.push(Goal::NetworkInLimit);
    let (after, plan) = planned(&cluster, &policy, &Mode::Balance);
    assert_eq!((moved(&cluster, &after), plan.unmet.len()), (moved(&cluster, &free.0), 1));
}

#[test]
fn a_broker_that_takes_nothing_proves_no_lack_of_room_for_what_it_holds() {
    let mut brokers = [broker(0, 100), broker(1, 100)];
    brokers[1].takes_replicas = false;
    let cluster = cluster(&brokers, &[(vec![0], 60), (vec![1], 60)]);
    let (_, plan) = planned(&cluster, &Policy::default(), &Mode::Heal);
    assert_eq!(plan.unmet, vec![]);
}

#[test]
fn a_broker_of_unknown_capacity_is_neither_emptied_nor_filled() {
    let mut brokers: Vec<Broker> = (0..6).map(|at| broker(at % 3, 10_000)).collect();
    let list = |at: u32| vec![at % 6, (at + 1) % 6];
    let partitions: Vec<_> = (0..300).map(|at| (list(at), 10)).collect();
    brokers[2].capacity = [0; 4];
    let even = cluster(&brokers, &partitions);
    for mode in [Mode::Balance, Mode::Heal, Mode::Relieve { watermark: [100_000; 4] }] {
        let (after, plan) = planned(&even, &Policy::default(), &mode);
        let held = carried(&after, DISK)[2];
        assert!((900..=1_100).contains(&held), "{mode:?}: {held}; {:?}", plan.unmet);
    }
    // What a dead broker held goes to all in the same way.
    dies(&mut brokers[5]);
    let (after, plan) = planned(&cluster(&brokers, &partitions), &Policy::default(), &Mode::Heal);
    let held = carried(&after, DISK);
    assert_eq!(plan.after.offline, 0);
    assert!((1_000..=1_500).contains(&held[2]), "{held:?}");
}

#[test]
fn whoever_is_led_by_a_dead_broker_gets_a_leader_although_nothing_can_be_placed() {
    let mut brokers = [broker(0, 1_000), broker(1, 100), broker(2, 100)];
    dies(&mut brokers[0]);
    // The two that are left hold it already.
    let full = cluster(&brokers, &[(vec![0, 1, 2], 10)]);
    // Too large for the one that is left.
    let large = cluster(&brokers, &[(vec![0, 1], 70), (vec![2], 60), (vec![1], 5)]);
    for cluster in [full, large] {
        for mode in [Mode::Heal, Mode::Balance, Mode::Leaders] {
            let (after, plan) = planned(&cluster, &Policy::default(), &mode);
            assert_eq!((plan.before.leaderless, plan.after.leaderless), (1, 0), "{mode:?}");
            assert_eq!(after.replicas(0)[0], 0, "{mode:?}: nothing moves");
        }
    }
}

#[test]
fn fewest_moves_are_told_where_they_are_of_the_mode() {
    let mut brokers: Vec<Broker> = (0..5).map(|at| broker(at, 1_000)).collect();
    let partitions: Vec<_> = (0..40).map(|at| (vec![at % 3, (at + 1) % 3], 10 + i64::from(at))).collect();
    let whole = cluster(&brokers, &partitions);
    let fewest = |cluster: &Cluster, mode: &Mode| planned(cluster, &Policy::default(), mode).1.fewest_moves;
    assert_eq!(fewest(&whole, &Mode::Leaders), None);
    assert_eq!(fewest(&whole, &Mode::Demote { brokers: vec![0] }), None);
    assert_eq!(fewest(&whole, &Mode::Add { brokers: vec![3, 4] }), None);
    // Every partition is on two of the first three; 27 of 40 have a replica on the first.
    assert_eq!(fewest(&whole, &Mode::Drain { brokers: vec![0] }), Some(27));
    let mode = Mode::Relieve { watermark: [500_000; 4] };
    let (after, plan) = planned(&whole, &Policy::default(), &mode);
    let needed = plan.fewest_moves.unwrap();
    assert!(needed > 0 && needed <= moved(&whole, &after) as u64, "{needed}");
    // A replica that cannot leave a dead broker is not among those that must.
    brokers.truncate(3);
    dies(&mut brokers[0]);
    assert_eq!(fewest(&cluster(&brokers, &partitions), &Mode::Heal), None);
}

/// Twelve brokers in three racks of unequal capacity, and partitions with a replica in each of them.
fn unequal_racks(size: impl Fn(u32, u32) -> i64) -> Cluster {
    let brokers: Vec<Broker> =
        (0..12).map(|at| broker(at % 3, [3_000_000, 2_400_000, 1_800_000][at as usize % 3])).collect();
    let mut builder = Cluster::builder(8);
    for broker in &brokers {
        builder.add_broker(broker).unwrap();
    }
    for at in 0..2_400_u32 {
        let load =
            |nth: u32| Replica { broker: (at >> (2 * nth)) % 4 * 3 + nth, load: [10, 10, 0, size(at, nth)] };
        let partition = Partition {
            topic: at % 8,
            replicas: (0..3).map(load).collect(),
            leader: at % 3,
            leader_cpu: 1,
            leader_network_out: 1,
            frozen: false,
        };
        builder.add_partition(&partition).unwrap();
    }
    builder.build()
}

#[test]
fn racks_of_unequal_capacity_are_served_although_no_replica_can_leave_its_rack_alone() {
    let goals =
        [Goal::RackAware, Goal::ReplicaDistribution, Goal::DiskDistribution, Goal::LeaderDistribution];
    let policy = Policy { goals: goals.to_vec(), hard: vec![Goal::RackAware], ..Policy::default() };
    // Replicas of a partition differ in size: the large ones can go to the large rack.
    let cluster = unequal_racks(|at, nth| 100 + i64::from((at * 7 + nth * 11) % 13) * 100);
    let (_, plan) = planned(&cluster, &policy, &Mode::Balance);
    assert!(plan.before.violated().any(|goal| goal == Goal::DiskDistribution));
    assert_eq!(plan.unmet, vec![]);
}

#[test]
fn where_racks_hold_alike_whatever_they_can_carry_that_is_the_reason_and_each_is_even() {
    let goals = [Goal::RackAware, Goal::ReplicaDistribution, Goal::DiskDistribution];
    let policy = Policy { goals: goals.to_vec(), hard: vec![Goal::RackAware], ..Policy::default() };
    let cluster = unequal_racks(|at, _| 100 + i64::from(at % 13) * if at % 4 == 0 { 400 } else { 100 });
    let (after, plan) = planned(&cluster, &policy, &Mode::Balance);
    let [left] = plan.unmet.as_slice() else { panic!("{:?}", plan.unmet) };
    let beyond = match left.obstacle {
        planner::balance::Obstacle::RackShares { rack, by } => (rack, by.signum()),
        other => panic!("{other:?}"),
    };
    assert!(left.goal == Goal::DiskDistribution && left.is_proof(), "{left:?}");
    assert!((0..3).contains(&beyond.0) && beyond.1 != 0, "{left:?}");
    let held = carried(&after, DISK);
    for rack in 0..3 {
        let own: Vec<i64> = (0..4).map(|at| held[rack + 3 * at]).collect();
        let mean = own.iter().sum::<i64>() / 4;
        assert!(own.iter().all(|held| (held - mean).abs() * 100 <= mean * 10), "{own:?}");
    }
}

/// Brokers in racks of such sizes, and 1,800 partitions with a replica in each rack.
fn racks_of(sizes: [u32; 3]) -> (Vec<Broker>, Vec<(Vec<u32>, i64)>) {
    let racks = (0..3_u32).flat_map(|rack| (0..sizes[rack as usize]).map(move |_| rack));
    let brokers = racks.map(|rack| broker(rack, 10_000_000)).collect();
    let first = [0, sizes[0], sizes[0] + sizes[1]];
    // The first brokers of a rack hold most.
    let at = |p: u32, rack: usize| first[rack] + (p % 7).min(p / 7 % sizes[rack]) % sizes[rack];
    let list = |p: u32| ((0..3).map(|rack| at(p, rack)).collect(), 100 + i64::from(p % 11) * 10);
    (brokers, (0..1_800).map(list).collect())
}

#[test]
fn where_racks_differ_in_size_no_count_is_even_and_none_is_sought() {
    let goals = [Goal::RackAware, Goal::ReplicaDistribution, Goal::LeaderDistribution];
    let policy = Policy { goals: goals.to_vec(), hard: vec![Goal::RackAware], ..Policy::default() };
    let (brokers, partitions) = racks_of([6, 5, 4]);
    let whole = cluster(&brokers, &partitions);
    let (after, plan) = planned(&whole, &policy, &Mode::Balance);
    let left: Vec<_> = plan.unmet.iter().map(|unmet| (unmet.goal, unmet.obstacle)).collect();
    // Four brokers for 1,800 replicas, of which each may hold 9 % above 360, rounded up.
    let most = planner::balance::Obstacle::RackShares { rack: 2, by: 1_800 - 4 * 393 };
    assert_eq!(left, [(Goal::ReplicaDistribution, most)]);
    let mut held = vec![0_i64; brokers.len()];
    for partition in 0..after.partitions() {
        after.replicas(partition).iter().for_each(|broker| held[*broker as usize] += 1);
    }
    for (at, size) in [(0, 6), (6, 5), (11, 4)] {
        let even = 1_800 / size;
        assert!(held[at..at + size as usize].iter().all(|held| (held - even).abs() * 10 <= even), "{held:?}");
    }
    assert_eq!(planned(&after, &policy, &Mode::Balance).1.changes, []);
}

#[test]
fn no_plan_moves_fewer_where_a_rack_of_three_is_lost() {
    let (mut brokers, mut partitions) = racks_of([5, 5, 5]);
    // Both that are left in one rack, where there are two: one of them has to go as well, unless who comes off the dead goes there.
    for (at, (list, _)) in partitions.iter_mut().enumerate().filter(|(at, _)| at % 10 == 0) {
        *list = if at % 20 == 0 { vec![0, 1, 2] } else { vec![3, 4, 12] };
    }
    brokers[10..].iter_mut().for_each(dies);
    let (lost, policy) = (cluster(&brokers, &partitions), Policy::default());
    let (after, plan) = planned(&lost, &policy, &Mode::Heal);
    assert_eq!((plan.before.offline, plan.after.offline), (1_710, 0));
    assert_eq!(plan.fewest_moves, Some(1_710 + 90));
    assert_eq!(moved(&lost, &after), 1_710 + 90);
}

#[test]
fn relieving_a_broker_takes_no_more_than_its_excess_needs_and_leaves_shared_racks_as_they_are() {
    // Every list shares a rack; the first broker is above eight tenths by 1,000, and its largest replicas take 400 each.
    let brokers: Vec<Broker> = (0..6).map(|at| broker(at / 2, 100_000)).collect();
    let size = |at: u32| if at.is_multiple_of(100) { 400 } else { 200 };
    let mut partitions: Vec<(Vec<u32>, i64)> = (0..402).map(|at| (vec![0, 1 + at % 2], size(at))).collect();
    partitions.extend((0..20).map(|_| (vec![4, 5], 10)));
    let (_, plan) = planned(
        &cluster(&brokers, &partitions),
        &Policy::default(),
        &Mode::Relieve { watermark: [800_000; 4] },
    );
    let (held, of_four_hundred) = (partitions.iter().take(402).map(|(_, size)| size).sum::<i64>(), 400);
    let needed = (held - 80_000 + of_four_hundred - 1) / of_four_hundred;
    assert_eq!((plan.changes.len() as i64, plan.fewest_moves), (needed, Some(needed as u64)));
    assert_eq!(plan.unmet, vec![]);
}
