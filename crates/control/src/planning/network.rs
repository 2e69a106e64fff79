//! Use of the brokers' networks, from what the agents report.

use std::collections::BTreeMap;

use cluster::{BrokerId, TopicPartition, TopicTable};

use crate::attributes::{BrokerReports, PartitionLoads};

/// Bytes per second in and out of each broker whose agent reports, replication included, with one capacity for each
/// direction: links are full-duplex.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loads {
    capacity: u64,
    brokers: BTreeMap<BrokerId, Load>,
    partitions: BTreeMap<TopicPartition, u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    inbound: u64,
    outbound: u64,
}

impl Loads {
    /// What the reports say of `topics`, with `capacity` bytes per second for each direction of each broker.
    ///
    /// A partition's producers write r bytes per second to its leader; each follower fetches the same r from the
    /// leader. So every replica's broker takes r in, and the leader's gives r out for each follower, besides what it
    /// gives to consumers. Partitions without a figure count as nothing.
    pub fn new(capacity: u64, reports: &BrokerReports, topics: &TopicTable) -> Self {
        let mut brokers = BTreeMap::<BrokerId, Load>::new();
        let mut partitions = BTreeMap::new();
        for (leader, report) in &reports.brokers {
            let own = brokers.entry(*leader).or_default();
            own.outbound = own.outbound.saturating_add(report.leaders_bytes_out_per_second.unwrap_or(0));
            for (key, rate) in &*report.partitions_bytes_in_per_second {
                let topic = topics.get(&key.topic);
                let number = usize::try_from(key.partition).unwrap_or(usize::MAX);
                let Some(partition) = topic.and_then(|topic| topic.partitions.get(number)) else { continue };
                // The report of a broker that no longer leads says nothing of today.
                if partition.leader != Some(*leader) {
                    continue;
                }
                partitions.insert(key.clone(), *rate);
                for id in &partition.replicas {
                    let load = brokers.entry(*id).or_default();
                    load.inbound = load.inbound.saturating_add(*rate);
                }
                let followers = (partition.replicas.len() as u64).saturating_sub(1);
                let own = brokers.entry(*leader).or_default();
                own.outbound = own.outbound.saturating_add(rate.saturating_mul(followers));
            }
            let own = brokers.entry(*leader).or_default();
            own.inbound = own.inbound.max(report.leaders_bytes_in_per_second.unwrap_or(0));
        }
        brokers.retain(|id, _| reports.brokers.contains_key(id));
        Self { capacity: capacity.min(planner::MAX_FIGURE), brokers, partitions }
    }

    /// The same, with what brokers and partitions need at their peak where that is more: what is planned for now must still
    /// fit this evening.
    #[must_use]
    pub fn at_peak(mut self, needs: &PartitionLoads) -> Self {
        for (id, need) in &needs.brokers {
            let load = self.brokers.entry(*id).or_default();
            load.inbound = load.inbound.max(need.bytes_in);
            load.outbound = load.outbound.max(need.bytes_out);
        }
        for (key, need) in &needs.partitions {
            let rate = self.partitions.entry(key.clone()).or_default();
            *rate = (*rate).max(need.bytes_in);
        }
        self
    }

    /// What producers write to a partition, bytes per second, where known.
    pub fn partition(&self, key: &TopicPartition) -> Option<u64> {
        self.partitions.get(key).map(|rate| (*rate).min(planner::MAX_FIGURE))
    }

    /// Inbound network of a broker, where known.
    pub fn inbound(&self, id: BrokerId) -> Option<planner::Network> {
        self.brokers.get(&id).map(|load| self.network(load.inbound))
    }

    /// Outbound network of a broker, where known.
    pub fn outbound(&self, id: BrokerId) -> Option<planner::Network> {
        self.brokers.get(&id).map(|load| self.network(load.outbound))
    }

    /// Whether a broker takes in as much as it can.
    pub fn is_saturated_inbound(&self, id: BrokerId) -> bool {
        self.inbound(id).is_some_and(|network| network.used >= network.capacity)
    }

    /// Whether a broker gives out as much as it can.
    pub fn is_saturated_outbound(&self, id: BrokerId) -> bool {
        self.outbound(id).is_some_and(|network| network.used >= network.capacity)
    }

    fn network(&self, used: u64) -> planner::Network {
        planner::Network { capacity: self.capacity, used: used.min(planner::MAX_FIGURE) }
    }
}
