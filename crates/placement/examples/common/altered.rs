//! Generated clusters with other brokers.

use planner::balance::{Broker, Cluster, Partition, Replica};

/// The cluster with brokers changed by their ordinals. What it says of replicas' conditions is not taken along.
pub(crate) fn altered(cluster: &Cluster, alter: impl Fn(u32, &mut Broker)) -> Cluster {
    let mut builder = Cluster::builder(cluster.topics());
    for (at, broker) in (0..).zip(cluster.brokers()) {
        let mut broker = *broker;
        alter(at, &mut broker);
        builder.add_broker(&broker).unwrap();
    }
    for partition in 0..cluster.partitions() {
        let share = cluster.leader_share(partition);
        let replicas = cluster.replicas(partition).iter().zip(cluster.loads(partition));
        builder
            .add_partition(&Partition {
                topic: cluster.topic(partition),
                replicas: replicas.map(|(broker, load)| Replica { broker: *broker, load: *load }).collect(),
                leader: cluster.leader(partition),
                leader_cpu: share[0],
                leader_network_out: share[2],
                frozen: false,
            })
            .unwrap();
    }
    builder.build()
}
