//! Random clusters: small, and full of what is rare in large ones.

use planner::{Broker, BrokerState, Limits, LogDir, Network, Partition, Problem, Replica};
use proptest::prelude::*;
use proptest::sample::subsequence;

#[derive(Debug, Clone)]
pub struct Cluster {
    pub brokers: Vec<Broker>,
    pub partitions: Vec<Partition>,
    pub limits: Limits,
}

pub const TOPICS: u32 = 3;

impl Cluster {
    pub fn problem(&self) -> Problem {
        let mut builder = Problem::builder(TOPICS);
        for broker in &self.brokers {
            builder.add_broker(broker).unwrap();
        }
        for partition in &self.partitions {
            builder.add_partition(partition).unwrap();
        }
        builder.build()
    }
}

pub fn cluster() -> impl Strategy<Value = Cluster> {
    prop::collection::vec(broker(), 2..9).prop_flat_map(|brokers| {
        let states: Vec<_> = brokers.iter().map(|broker| broker.state).collect();
        (Just(brokers), prop::collection::vec(partition(states), 1..16), limits())
            .prop_map(|(brokers, partitions, limits)| Cluster { brokers, partitions, limits })
    })
}

fn broker() -> impl Strategy<Value = Broker> {
    let state = prop_oneof![
        6 => Just(BrokerState::Alive),
        3 => Just(BrokerState::Dead),
        1 => Just(BrokerState::Absent),
        1 => Just(BrokerState::Draining),
        1 => Just(BrokerState::Maintenance),
        1 => Just(BrokerState::Excluded),
    ];
    let log_dir = (50u64..200, 0u64..120).prop_map(|(total, used)| LogDir { total, used });
    let network = || {
        let network = (20u64..100, 0u64..60).prop_map(|(capacity, used)| Network { capacity, used });
        prop::option::weighted(0.4, network)
    };
    let rack = prop::option::weighted(0.8, 0u32..3);
    (rack, state, prop::collection::vec(log_dir, 0..3), network(), network()).prop_map(
        |(rack, state, log_dirs, network_in, network_out)| Broker {
            rack,
            state,
            log_dirs,
            network_in,
            network_out,
        },
    )
}

fn partition(states: Vec<BrokerState>) -> impl Strategy<Value = Partition> {
    let brokers: Vec<_> = (0..states.len() as u32).collect();
    let most = states.len().min(4);
    let replicas = subsequence(brokers, 1..=most).prop_shuffle();
    let flags = prop::collection::vec((0u8..100, 0u8..100), most);
    let figure = |max: u64| prop::option::weighted(0.7, 0..max);
    let rest = (0..TOPICS, 0u8..100, 0u8..100);
    (replicas, flags, figure(40), figure(12), figure(12), rest).prop_map(
        move |(replicas, flags, size, bytes_in, bytes_out, (topic, led, frozen))| {
            let replicas: Vec<_> = replicas
                .iter()
                .zip(flags)
                .map(|(broker, (in_sync, replace))| {
                    let state = states[*broker as usize];
                    Replica {
                        broker: *broker,
                        in_sync: in_sync < if state.is_up() { 85 } else { 5 },
                        replace: replace < if state == BrokerState::Dead { 95 } else { 10 },
                    }
                })
                .collect();
            let leader =
                replicas.iter().find(|replica| replica.in_sync && states[replica.broker as usize].is_up());
            let leader = leader.map(|replica| replica.broker).filter(|_| led < 95);
            Partition { topic, leader, replicas, size, bytes_in, bytes_out, frozen: frozen < 5 }
        },
    )
}

fn limits() -> impl Strategy<Value = Limits> {
    let budget = (prop::option::weighted(0.3, 0u32..8), prop::option::weighted(0.3, 0u64..150));
    (60u8..=100, 0u8..20, budget, any::<bool>(), prop::bool::weighted(0.7)).prop_map(
        |(disk, network, (max_moves, max_bytes), allow_down_in_target_list, only_dead)| Limits {
            disk_watermark_percent: disk,
            network_headroom_percent: network,
            max_moves,
            max_bytes,
            allow_down_in_target_list,
            only_dead,
        },
    )
}
