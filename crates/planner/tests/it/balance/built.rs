//! Small clusters, told by what sets their brokers and partitions apart.

use planner::balance::{
    Broker, Budget, Builder, Cluster, Loads, Mark, Partition, Plan, Policy, Replica, audit, solve,
};

/// A broker that lives and may take everything.
pub fn broker(rack: u32, capacity: Loads) -> Broker {
    Broker {
        rack,
        set: None,
        capacity,
        alive: true,
        takes_replicas: true,
        takes_leadership: true,
        mark: Mark::None,
    }
}

/// The same broker, which lives or does not.
pub fn living(alive: bool, broker: Broker) -> Broker {
    Broker { alive, takes_replicas: alive, takes_leadership: alive, ..broker }
}

/// A partition of replicas that all take the same, which the first leads at no cost.
pub fn partition(topic: u32, brokers: &[u32], load: Loads) -> Partition {
    Partition {
        topic,
        replicas: brokers.iter().map(|broker| Replica { broker: *broker, load }).collect(),
        leader: 0,
        leader_cpu: 0,
        leader_network_out: 0,
        frozen: false,
    }
}

/// A cluster of brokers and partitions, to be gone on with.
pub fn builder(
    topics: u32,
    brokers: impl IntoIterator<Item = Broker>,
    partitions: impl IntoIterator<Item = Partition>,
) -> Builder {
    let mut builder = Cluster::builder(topics);
    for broker in brokers {
        builder.add_broker(&broker).unwrap();
    }
    for partition in partitions {
        builder.add_partition(&partition).unwrap();
    }
    builder
}

/// A plan without a budget that stands up to its audit.
pub fn planned(cluster: &Cluster, policy: &Policy) -> Plan {
    let plan = solve(cluster, policy, &Budget::default());
    assert_eq!(audit(cluster, policy, &Budget::default(), &plan), Ok(()));
    plan
}
