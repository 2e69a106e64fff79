//! How many moves a plan takes where many can be saved.

use planner::balance::{Budget, Cluster, DISK, Goal, Mode, Partition, Plan, Policy, Replica, audit, solve};

use super::built::{broker, builder, living, partition};

const MEAN: i64 = 1_000_000;

/// A fixed sequence of numbers below 1,000 that look random.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % 1_000) as i64
    }

    /// Of a mean of one, and mostly less.
    fn load(&mut self) -> i64 {
        let draw = self.next();
        draw * draw * draw / 250 + 1
    }
}

/// Brokers of capacity 1, 1, 1.5 and 0.75 in racks of two, and replicas that differ in load, anywhere.
fn unequal() -> Cluster {
    let (mut draws, count, racks, partitions) = (Draws(7), 12, 6, 1_500);
    let share = 3 * i64::from(partitions) * MEAN / i64::from(count);
    let brokers = (0..count).map(|at| {
        let percent = [100, 100, 150, 75][at as usize % 4];
        broker(at % racks, [share * 3 * percent / 100; 4])
    });
    let mut anywhere = |topic: u32| {
        let mut replicas: Vec<Replica> = Vec::new();
        while replicas.len() < 3 {
            let broker = draws.next() as u32 % count;
            if replicas.iter().all(|replica| replica.broker != broker) {
                let load = [0, draws.load(), 0, draws.load()];
                replicas.push(Replica { broker, load });
            }
        }
        Partition { replicas, ..partition(topic, &[], [0; 4]) }
    };
    builder(partitions, brokers, (0..partitions).map(&mut anywhere)).build()
}

fn planned(cluster: &Cluster) -> Plan {
    let policy = Policy {
        goals: vec![
            Goal::RackAware,
            Goal::ReplicaDistribution,
            Goal::DiskDistribution,
            Goal::NetworkInDistribution,
        ],
        hard: vec![Goal::RackAware],
        ..Policy::default()
    };
    let plan = solve(cluster, &policy, &Budget::default());
    assert_eq!(audit(cluster, &policy, &Budget::default(), &plan), Ok(()));
    assert!(plan.after.is_clean());
    plan
}

fn moves(cluster: &Cluster, plan: &Plan) -> usize {
    let pairs = plan.changes.iter().flat_map(|c| cluster.replicas(c.partition).iter().zip(&c.replicas));
    pairs.filter(|(from, to)| from != to).count()
}

#[test]
fn large_replicas_on_small_brokers_change_places_in_few_moves() {
    let cluster = unequal();
    let plan = planned(&cluster);
    // What limits demand figure by figure are 415; all of them together 436, as a linear program finds that may split replicas.
    assert_eq!(plan.fewest_moves, Some(415));
    let moves = moves(&cluster, &plan);
    assert!((436..=475).contains(&moves), "{moves}");
}

#[test]
fn a_budget_is_used_up_where_a_broker_beyond_its_disk_has_to_give_before_it_takes() {
    // The first broker has one replica that is too large for it, and gets small ones from the last, which is dead.
    let brokers = (0..).zip([1_000, 3_000, 3_000, 3_000]);
    let brokers = brokers.map(|(rack, disk)| living(rack < 3, broker(rack, [0, 0, 0, disk])));
    let held = [(0, 1, 900), (1, 10, 10), (2, 10, 10), (3, 12, 10)];
    let all = held.into_iter().flat_map(|(broker, count, size)| (0..count).map(move |_| (broker, size)));
    let all = (0..).zip(all).map(|(topic, (broker, size))| partition(topic, &[broker], [0, 0, 0, size]));
    let (cluster, policy) = (builder(33, brokers, all).build(), Policy::default());
    let whole = moves(&cluster, &solve(&cluster, &policy, &Budget::default())) as u64;
    assert!(whole > 12, "{whole}");
    for most in 1..=whole {
        let budget = Budget { moves: Some(most), disk: None };
        let plan = solve(&cluster, &policy, &budget);
        assert_eq!(audit(&cluster, &policy, &budget, &plan), Ok(()));
        assert_eq!(moves(&cluster, &plan) as u64, most);
    }
}

#[test]
fn relieve_judges_by_what_lives_and_not_by_what_stays_on_the_dead() {
    let cluster = with_dead_brokers_beside_a_full_one();
    let total = cluster.total()[DISK];
    let room: i64 = cluster.brokers().iter().filter(|broker| broker.alive).map(|b| b.capacity[DISK]).sum();
    // All that there is does not fit below the watermark, what lives does.
    let watermark = (total * 95 / 100 * 1_000 / room) * 1_000;
    let (cluster, policy) = Mode::Relieve { watermark: [watermark; 4] }.prepare(&cluster, &Policy::default());
    let plan = solve(&cluster, &policy, &Budget::default());
    assert_eq!(audit(&cluster, &policy, &Budget::default(), &plan), Ok(()));
    let left: Vec<Goal> = plan.after.violated().collect();
    assert!(!left.contains(&Goal::DiskCapacity), "{left:?}, {:?}", plan.unmet);
    assert!(moves(&cluster, &plan) > 0);
}

/// The last two brokers are dead, and the first has a third of its disk: it has too much, and too few replicas.
fn with_dead_brokers_beside_a_full_one() -> Cluster {
    let whole = unequal();
    let brokers = (0..).zip(whole.brokers()).map(|(at, known)| {
        let mut broker = living(at <= 9, *known);
        broker.capacity[DISK] /= if at == 0 { 3 } else { 1 };
        broker
    });
    let same = |ordinal: u32| {
        let replicas = whole.replicas(ordinal).iter().zip(whole.loads(ordinal));
        let replicas = replicas.map(|(broker, load)| Replica { broker: *broker, load: *load }).collect();
        Partition { replicas, ..partition(whole.topic(ordinal), &[], [0; 4]) }
    };
    builder(whole.topics(), brokers, (0..whole.partitions()).map(same)).build()
}

#[test]
fn what_a_large_rack_cannot_hold_is_proven_and_shared_out_where_there_are_more_racks_than_replicas() {
    // Six brokers in the first rack and one in each of three others: 180 replicas of 90 partitions, 18 to 22 on each broker.
    let brokers = (0..9_u32).map(|at| broker(at.saturating_sub(5), [0; 4]));
    let lists = (0..90).map(|topic| partition(topic, &[topic % 6, 6], [0; 4]));
    let (cluster, policy) = (builder(90, brokers, lists).build(), Policy::default());
    let plan = solve(&cluster, &policy, &Budget::default());
    assert_eq!(audit(&cluster, &policy, &Budget::default(), &plan), Ok(()));
    let numbers = plan.after.goals.iter().find(|goal| goal.goal == Goal::ReplicaDistribution).unwrap();
    // The first rack holds one of each partition, 18 below its brokers' floors; the others hold as many, 24 above their limits.
    assert_eq!(numbers.excess, 18 + 24);
    let unmet = plan.unmet.iter().find(|unmet| unmet.goal == Goal::ReplicaDistribution).unwrap();
    assert!(unmet.is_proof(), "{unmet:?}");
    assert_eq!(plan.fewest_moves, Some(44));
}
