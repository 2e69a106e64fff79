//! What each mode does, and what it leaves alone.

use planner::balance::{
    Broker, Budget, Cluster, Mark, Mode, Partition, Plan, Policy, Replica, audit, solve,
    with_replication_factor,
};
use proptest::prelude::*;

use super::clusters::{Sketch, policy, sketch};

/// The cluster that the mode plans for, and an audited plan for it.
fn planned(cluster: &Cluster, policy: &Policy, mode: &Mode) -> (Cluster, Plan) {
    let (cluster, policy) = mode.prepare(cluster, policy);
    let plan = solve(&cluster, &policy, &Budget::default());
    assert_eq!(audit(&cluster, &policy, &Budget::default(), &plan), Ok(()));
    (cluster, plan)
}

/// Partition, position, and the brokers before and after, of every replica that moves.
fn moves(cluster: &Cluster, plan: &Plan) -> Vec<(u32, usize, u32, u32)> {
    let mut moves = Vec::new();
    for change in &plan.changes {
        let old = cluster.replicas(change.partition);
        for (position, (from, to)) in old.iter().zip(&change.replicas).enumerate() {
            if from != to {
                moves.push((change.partition, position, *from, *to));
            }
        }
    }
    moves
}

fn passes_on(cluster: &Cluster, plan: &Plan) -> Vec<u32> {
    let passes = plan.changes.iter().filter(|change| change.leader != cluster.leader(change.partition));
    passes.map(|change| change.partition).collect()
}

fn alive(cluster: &Cluster, broker: u32) -> bool {
    cluster.brokers()[broker as usize].alive
}

/// Whether some broker may take a replica without going over its disk.
fn has_place(cluster: &Cluster, partition: u32) -> bool {
    let set = cluster.bound_set(cluster.topic(partition));
    cluster.brokers().iter().enumerate().any(|(at, broker)| {
        let belongs = set.is_none() || broker.set == set;
        broker.alive
            && broker.takes_replicas
            && belongs
            && !cluster.replicas(partition).contains(&(at as u32))
    })
}

/// Brokers with room for everything.
fn roomy(mut sketch: Sketch) -> Cluster {
    for broker in &mut sketch.brokers {
        broker.capacity = broker.capacity.map(|capacity| capacity * 100);
    }
    sketch.cluster()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn healing_leaves_leaders_that_live_where_they_are(sketch in sketch(), policy in policy()) {
        let (cluster, plan) = planned(&sketch.cluster(), &policy, &Mode::Heal);
        let leader = |partition: u32| cluster.leader(partition) as usize;
        let after = plan.applied_to(&cluster);
        for partition in passes_on(&cluster, &plan) {
            let led_by = cluster.replicas(partition)[leader(partition)];
            let stays = after.replicas(partition).contains(&led_by);
            prop_assert!(!alive(&cluster, led_by) || !stays);
        }
        prop_assert!(plan.after.goals.iter().all(|distance| distance.hard));
    }

    #[test]
    fn draining_empties_brokers_and_moves_nothing_else(sketch in sketch(), policy in policy(), at in 0_u32..12) {
        let mut sketch = sketch;
        for broker in &mut sketch.brokers {
            broker.takes_leadership = true;
        }
        let cluster = roomy(sketch);
        let drained = at % cluster.brokers().len() as u32;
        let (cluster, plan) = planned(&cluster, &policy, &Mode::Drain { brokers: vec![drained] });
        for (.., from, _) in moves(&cluster, &plan) {
            prop_assert!(!alive(&cluster, from));
        }
        let after = plan.applied_to(&cluster);
        for partition in (0..cluster.partitions()).filter(|p| after.replicas(*p).contains(&drained)) {
            prop_assert!(!has_place(&after, partition), "{partition} could leave");
        }
    }

    #[test]
    fn adding_moves_only_to_what_is_new(sketch in sketch(), policy in policy(), at in 0_u32..12) {
        let cluster = sketch.cluster();
        let new = at % cluster.brokers().len() as u32;
        let (cluster, plan) = planned(&cluster, &policy, &Mode::Add { brokers: vec![new] });
        for (.., from, to) in moves(&cluster, &plan) {
            prop_assert!(cluster.brokers()[to as usize].mark == Mark::New || !alive(&cluster, from));
        }
    }

    #[test]
    fn demoting_moves_no_data_and_takes_all_leadership_that_another_can_have(
        sketch in sketch(), policy in policy(), at in 0_u32..12,
    ) {
        let mut sketch = sketch;
        sketch.leaders.fill(0);
        for broker in &mut sketch.brokers {
            broker.alive = true;
        }
        let cluster = sketch.cluster();
        let demoted = at % cluster.brokers().len() as u32;
        let (cluster, plan) = planned(&cluster, &policy, &Mode::Demote { brokers: vec![demoted] });
        prop_assert_eq!(moves(&cluster, &plan), vec![]);
        for partition in passes_on(&cluster, &plan) {
            let led_by = cluster.replicas(partition)[cluster.leader(partition) as usize];
            prop_assert!(!cluster.brokers()[led_by as usize].takes_leadership);
        }
        let after = plan.applied_to(&cluster);
        for partition in (0..cluster.partitions()).filter(|partition| !cluster.frozen(*partition)) {
            let leads = |broker: &u32| cluster.brokers()[*broker as usize].takes_leadership;
            let led_by = after.replicas(partition)[after.leader(partition) as usize];
            prop_assert!(leads(&led_by) || !after.replicas(partition).iter().any(leads));
        }
    }

    #[test]
    fn relieving_moves_only_off_brokers_above_the_watermark(sketch in sketch(), policy in policy(), mark in 1_i64..8) {
        let watermark = [mark * 100_000; 4];
        let mut sketch = sketch;
        for broker in &mut sketch.brokers {
            broker.mark = Mark::None;
        }
        let (cluster, plan) = planned(&sketch.cluster(), &policy, &Mode::Relieve { watermark });
        for (.., from, _) in moves(&cluster, &plan) {
            prop_assert!(!alive(&cluster, from) || above(&cluster, from, mark * 100_000), "{from} is not above");
        }
    }

    #[test]
    fn leaders_alone_move_no_data(sketch in sketch(), policy in policy()) {
        let (cluster, plan) = planned(&sketch.cluster(), &policy, &Mode::Leaders);
        prop_assert_eq!(moves(&cluster, &plan), vec![]);
    }

    #[test]
    fn another_replication_factor_moves_nothing_that_stands(sketch in sketch(), policy in policy(), factor in 1_u32..5) {
        let before = roomy(sketch);
        let mode = Mode::ReplicationFactor { topics: vec![0, 2], factor };
        let (cluster, plan) = planned(&before, &policy, &mode);
        let after = plan.applied_to(&cluster);
        for partition in 0..before.partitions() {
            let (old, new) = (before.replicas(partition), after.replicas(partition));
            let changes = [0, 2].contains(&before.topic(partition)) && !before.frozen(partition);
            prop_assert_eq!(new.len(), if changes { factor as usize } else { old.len() });
            let stays = |broker: &&u32| alive(&before, **broker) && new.contains(broker);
            let stood = old.iter().filter(|broker| alive(&before, **broker)).count();
            let least = if changes { stood.min(factor as usize) } else { stood };
            prop_assert!(old.iter().filter(stays).count() >= least);
            let leader = old[before.leader(partition) as usize];
            prop_assert!(!alive(&before, leader) || new.contains(&leader), "the leader stays");
        }
    }
}

/// Whether a broker carries more of some resource than so many millionths of its capacity.
fn above(cluster: &Cluster, broker: u32, mark: i64) -> bool {
    let mut sum = [0_i64; 4];
    for partition in 0..cluster.partitions() {
        for (at, held_by) in cluster.replicas(partition).iter().enumerate() {
            if *held_by == broker {
                let share = cluster.leader_share(partition);
                let leads = cluster.leader(partition) == at as u32;
                for (resource, sum) in sum.iter_mut().enumerate() {
                    *sum += cluster.loads(partition)[at][resource] + if leads { share[resource] } else { 0 };
                }
            }
        }
    }
    let capacity = cluster.brokers()[broker as usize].capacity;
    (0..4).any(|r| sum[r] > capacity[r] * mark / 1_000_000)
}

fn broker(rack: u32) -> Broker {
    Broker {
        rack,
        set: None,
        capacity: [1_000; 4],
        alive: true,
        takes_replicas: true,
        takes_leadership: true,
        mark: Mark::None,
    }
}

#[test]
fn what_is_too_much_goes_by_its_worth() {
    let mut builder = Cluster::builder(1);
    for rack in [0, 0, 1, 2] {
        builder.add_broker(&Broker { alive: rack != 2, ..broker(rack) }).unwrap();
    }
    let replicas = [0, 3, 1, 2].map(|broker| Replica { broker, load: [0, 1, 0, i64::from(broker)] });
    let partition = Partition {
        topic: 0,
        replicas: replicas.to_vec(),
        leader: 2,
        leader_cpu: 0,
        leader_network_out: 0,
        frozen: false,
    };
    builder.add_partition(&partition).unwrap();
    let cluster = builder.build();
    let lists = [3, 2, 1].map(|factor| {
        let smaller = with_replication_factor(&cluster, &[0], factor);
        (smaller.replicas(0).to_vec(), smaller.leader(0))
    });
    // First the dead one, then what shares the leader's rack, then the last; the leader never.
    assert_eq!(lists, [(vec![0, 1, 2], 1), (vec![1, 2], 0), (vec![1], 0)]);
    let larger = with_replication_factor(&cluster, &[0], 6);
    assert_eq!((larger.replicas(0), larger.brokers().len()), (&[0, 3, 1, 2, 4, 5][..], 6));
    assert_eq!(larger.loads(0)[5], [0, 1, 0, 1], "what the leader takes as a follower");
    assert_eq!(with_replication_factor(&cluster, &[0], 4), cluster);
}

#[test]
fn demoting_takes_the_leadership_to_the_one_with_most_room() {
    let mut builder = Cluster::builder(1);
    for rack in 0..3 {
        builder.add_broker(&broker(rack)).unwrap();
    }
    for leader in [0, 0, 1] {
        let replicas = [0, 1, 2].map(|broker| Replica { broker, load: [10, 10, 0, 10] }).to_vec();
        let partition =
            Partition { topic: 0, replicas, leader, leader_cpu: 50, leader_network_out: 50, frozen: false };
        builder.add_partition(&partition).unwrap();
    }
    let (cluster, plan) = planned(&builder.build(), &Policy::default(), &Mode::Demote { brokers: vec![0] });
    let after = plan.applied_to(&cluster);
    let leaders: Vec<u32> = (0..3).map(|partition| after.leader(partition)).collect();
    assert!(!leaders.contains(&0), "{leaders:?}");
    assert_eq!(leaders[2], 1);
    assert!(leaders[..2].contains(&2), "{leaders:?}");
}
