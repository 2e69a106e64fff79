//! Which partitions are under-replicated or without a leader.

use cluster::{Partition, TopicName, TopicPartition};
use serde::{Deserialize, Serialize};

use crate::attributes::{Topics, UnderReplicatedPartition, UnderReplicatedPartitions};
use crate::plugin::{Flow, Monitor};
use crate::reassigned::Arriving;
use crate::state::State;

/// Configuration of the monitor: there is nothing to configure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

impl Config {
    /// Makes the monitor.
    pub fn build(&self, name: impl Into<String>) -> UnderReplicatedPartitionsMonitor {
        UnderReplicatedPartitionsMonitor { name: name.into() }
    }
}

/// Writes [`UnderReplicatedPartitions`], each partition judged by its own replicas, as old as the topics it was
/// computed from. Nothing is written where the topics are not known.
#[derive(Clone, Debug)]
pub struct UnderReplicatedPartitionsMonitor {
    name: String,
}

impl Monitor for UnderReplicatedPartitionsMonitor {
    fn name(&self) -> &str {
        &self.name
    }

    fn observe(&self, state: &mut State) -> Flow {
        let Some(topics) = state.get::<Topics>() else { return Flow::Continue };
        let found = look(topics.value, &Arriving::of(state));
        let as_of = topics.as_of;
        state.put(found, as_of);
        Flow::Continue
    }
}

fn look(topics: &Topics, arriving: &Arriving<'_>) -> UnderReplicatedPartitions {
    let mut found = UnderReplicatedPartitions::default();
    for (name, topic) in &topics.0 {
        found.of += topic.partitions.len() as u64;
        for (number, partition) in (0..).zip(&topic.partitions) {
            // The common case costs two comparisons.
            if partition.is_under_replicated() {
                add(&mut found, name, number, partition, arriving);
            }
        }
    }
    found
}

fn add(
    found: &mut UnderReplicatedPartitions,
    name: &TopicName,
    number: i32,
    partition: &Partition,
    arriving: &Arriving<'_>,
) {
    let key = TopicPartition::new(name.clone(), number);
    let out_of_sync: Vec<_> = partition.out_of_sync().filter(|id| !arriving.contains(&key, *id)).collect();
    if out_of_sync.is_empty() && partition.leader.is_some() {
        found.only_reassigning.insert(key);
        return;
    }
    found.topics.insert(name.clone());
    let what = UnderReplicatedPartition {
        leader: partition.leader,
        replicas: partition.replicas.to_vec(),
        isr: partition.isr.to_vec(),
        out_of_sync,
        being_reassigned: arriving.is_listed(&key),
    };
    found.partitions.insert(key, what);
}

#[cfg(test)]
#[path = "under_replicated_partitions_tests.rs"]
mod tests;
