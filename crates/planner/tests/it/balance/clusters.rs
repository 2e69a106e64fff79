//! Random clusters of many shapes: skewed and even, with dead and excluded brokers, with and without enough room.

use planner::balance::{
    Broker, Builder, Cluster, DEFAULT_GOALS, Goal, Leaders, Mark, Moves, Partition, Policy, Preference,
    Replica,
};
use proptest::prelude::*;

#[derive(Debug, Clone)]
pub struct Sketch {
    pub brokers: Vec<Broker>,
    pub partitions: Vec<Partition>,
    pub sets: Vec<Option<u32>>,
    /// Leaders of each topic that each broker must have.
    pub leaders: Vec<u32>,
}

pub const TOPICS: u32 = 4;

impl Sketch {
    pub fn cluster(&self) -> Cluster {
        self.builder().build()
    }

    pub fn builder(&self) -> Builder {
        let mut builder = Cluster::builder(TOPICS);
        for broker in &self.brokers {
            builder.add_broker(broker).unwrap();
        }
        for (topic, set) in self.sets.iter().enumerate() {
            if let Some(set) = set {
                builder.bind_topic(topic as u32, *set).unwrap();
            }
        }
        for (topic, leaders) in self.leaders.iter().enumerate() {
            builder.require_leaders(topic as u32, *leaders).unwrap();
        }
        for partition in &self.partitions {
            builder.add_partition(partition).unwrap();
        }
        builder
    }
}

pub fn policy() -> impl Strategy<Value = Policy> {
    let threshold = 1_000_000_i64..1_400_000;
    let goals = prop_oneof![3 => Just(DEFAULT_GOALS.to_vec()), 1 => Just(further_goals())];
    let preferences = prop::sample::subsequence(Preference::ALL.to_vec(), 0..=2);
    let limits = prop::array::uniform2(10_000_i64..80_000);
    let wishes = (preferences, limits, goals);
    (prop::array::uniform4(threshold.clone()), threshold, 5_i64..60, 0_i64..3, wishes).prop_map(
        |(balance, replicas, max_replicas, gap, (preferences, network_limit, goals))| Policy {
            preferences,
            network_limit,
            hard: goals.iter().copied().filter(|goal| goal.is_hard()).collect(),
            goals,
            balance,
            replica_balance: replicas,
            max_replicas,
            topic_min_gap: gap,
            ..Policy::default()
        },
    )
}

/// The default goals with those that are not among them.
fn further_goals() -> Vec<Goal> {
    let mut goals =
        vec![Goal::BrokerSetAware, Goal::RackAwareDistribution, Goal::NetworkInLimit, Goal::NetworkOutLimit];
    goals.extend(DEFAULT_GOALS.into_iter().filter(|goal| *goal != Goal::RackAware));
    goals.push(Goal::PreferredLeader);
    goals
}

/// Policies that may hold on to replicas and to leaders, or let replicas change places.
pub fn narrow_policy() -> impl Strategy<Value = Policy> {
    let moves = prop::sample::select(vec![
        Moves::All,
        Moves::Offline,
        Moves::ToNew,
        Moves::OffOverloaded,
        Moves::Nothing,
    ]);
    let leaders =
        prop::sample::select(vec![Leaders::All, Leaders::Orphaned, Leaders::ToPlaced, Leaders::Demoted]);
    (policy(), moves, leaders, prop::bool::weighted(0.2))
        .prop_map(|(policy, moves, leaders, exchange)| Policy { moves, leaders, exchange, ..policy })
}

/// Clusters in which the replicas of a partition weigh the same, as Kafka's do.
pub fn sketch() -> impl Strategy<Value = Sketch> {
    (3_u32..12, 1_u32..5).prop_flat_map(|(brokers, racks)| {
        let brokers = prop::collection::vec(broker(racks), brokers as usize);
        let sets = prop::collection::vec(prop::option::weighted(0.1, 0_u32..2), TOPICS as usize);
        let leaders = prop::collection::vec(prop_oneof![9 => Just(0_u32), 1 => 1_u32..3], TOPICS as usize);
        (brokers, sets, leaders, 1_u32..8).prop_flat_map(|(brokers, sets, leaders, skew)| {
            let partition = partition(brokers.len() as u32, skew);
            (Just(brokers), prop::collection::vec(partition, 1..90), Just((sets, leaders))).prop_map(
                |(brokers, partitions, (sets, leaders))| Sketch { brokers, partitions, sets, leaders },
            )
        })
    })
}

fn broker(racks: u32) -> impl Strategy<Value = Broker> {
    let capacity = prop_oneof![6 => Just(2_i64), 1 => Just(1), 1 => Just(3)];
    (0..racks, capacity, 0_u8..100, 0_u32..2).prop_map(|(rack, size, fate, set)| Broker {
        rack,
        set: Some(set),
        capacity: [size * 20_000, size * 60_000, size * 60_000, size * 90_000],
        alive: fate >= 7,
        takes_replicas: fate >= 14,
        takes_leadership: !(14..20).contains(&fate),
        mark: if fate >= 90 {
            Mark::New
        } else if fate >= 80 {
            Mark::Overloaded
        } else {
            Mark::None
        },
    })
}

fn partition(brokers: u32, skew: u32) -> impl Strategy<Value = Partition> {
    let placing = (prop::collection::vec(0.0_f64..1.0, 4), 1_usize..5);
    let load = (0_i64..900, 0_i64..700, 0_i64..1_500, 0_i64..900);
    (placing, load, 0..TOPICS, 0_u32..4, 0_u8..100).prop_map(
        move |((places, factor), (cpu, traffic, disk, out), topic, leader, frozen)| {
            let mut chosen: Vec<u32> = Vec::new();
            for place in places.iter().take(factor.min(brokers as usize)) {
                // The higher the skew, the more stands on the first brokers.
                let at = (place.powi(skew as i32) * f64::from(brokers)) as u32 % brokers;
                let free = (0..brokers).map(|i| (at + i) % brokers).find(|broker| !chosen.contains(broker));
                chosen.extend(free);
            }
            let load = [cpu / 5, traffic, 0, disk];
            Partition {
                topic,
                leader: leader % chosen.len() as u32,
                replicas: chosen.into_iter().map(|broker| Replica { broker, load }).collect(),
                leader_cpu: cpu,
                leader_network_out: out,
                frozen: frozen < 5,
            }
        },
    )
}
