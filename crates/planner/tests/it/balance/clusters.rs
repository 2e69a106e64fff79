//! Random clusters of many shapes: skewed and even, with dead and excluded brokers, with and without enough room.

use planner::balance::{Broker, Cluster, Partition, Policy, Replica};
use proptest::prelude::*;

#[derive(Debug, Clone)]
pub struct Sketch {
    pub brokers: Vec<Broker>,
    pub partitions: Vec<Partition>,
    pub sets: Vec<Option<u32>>,
}

pub const TOPICS: u32 = 4;

impl Sketch {
    pub fn cluster(&self) -> Cluster {
        let mut builder = Cluster::builder(TOPICS);
        for broker in &self.brokers {
            builder.add_broker(broker).unwrap();
        }
        for (topic, set) in self.sets.iter().enumerate() {
            if let Some(set) = set {
                builder.bind_topic(topic as u32, *set).unwrap();
            }
        }
        for partition in &self.partitions {
            builder.add_partition(partition).unwrap();
        }
        builder.build()
    }
}

pub fn policy() -> impl Strategy<Value = Policy> {
    let threshold = 1_000_000_i64..1_400_000;
    (prop::array::uniform4(threshold.clone()), threshold, 5_i64..60, 0_i64..3).prop_map(
        |(balance, replicas, max_replicas, gap)| Policy {
            balance,
            replica_balance: replicas,
            max_replicas,
            topic_min_gap: gap,
            ..Policy::default()
        },
    )
}

/// Clusters in which the replicas of a partition weigh the same, as Kafka's do.
pub fn sketch() -> impl Strategy<Value = Sketch> {
    (3_u32..12, 1_u32..5).prop_flat_map(|(brokers, racks)| {
        let brokers = prop::collection::vec(broker(racks), brokers as usize);
        let sets = prop::collection::vec(prop::option::weighted(0.1, 0_u32..2), TOPICS as usize);
        (brokers, sets, 1_u32..8).prop_flat_map(|(brokers, sets, skew)| {
            let partition = partition(brokers.len() as u32, skew);
            (Just(brokers), prop::collection::vec(partition, 1..90), Just(sets))
                .prop_map(|(brokers, partitions, sets)| Sketch { brokers, partitions, sets })
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
