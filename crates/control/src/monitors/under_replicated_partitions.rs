//! Which partitions are under-replicated or without a leader.

use std::collections::BTreeMap;

use cluster::{BrokerId, Partition, Reassignments, TopicName, TopicPartition};
use serde::{Deserialize, Serialize};

use crate::attributes::{
    LatelyReassigned, OngoingReassignments, Topics, UnderReplicatedPartition, UnderReplicatedPartitions,
};
use crate::plugin::{Flow, Monitor};
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
        let none = BTreeMap::new();
        let ongoing = state.get::<OngoingReassignments>().map_or(&none, |fact| &fact.value.0);
        let ended = state.get::<LatelyReassigned>().map_or(&none, |fact| &fact.value.0);
        let found = look(topics.value, &Reassigning { ongoing, ended });
        let as_of = topics.as_of;
        state.put(found, as_of);
        Flow::Continue
    }
}

/// What is known of reassignments.
struct Reassigning<'a> {
    ongoing: &'a Reassignments,
    /// Those that have just ended: the replicas that they added may still be shown as out of sync.
    ended: &'a Reassignments,
}

impl Reassigning<'_> {
    fn is_new(&self, key: &TopicPartition, id: BrokerId) -> bool {
        [self.ongoing, self.ended].iter().any(|all| all.get(key).is_some_and(|r| r.adding.contains(&id)))
    }
}

fn look(topics: &Topics, reassigning: &Reassigning<'_>) -> UnderReplicatedPartitions {
    let mut found = UnderReplicatedPartitions::default();
    for (name, topic) in &topics.0 {
        found.of += topic.partitions.len() as u64;
        for (number, partition) in (0..).zip(&topic.partitions) {
            // The common case costs two comparisons.
            if partition.is_under_replicated() {
                add(&mut found, name, number, partition, reassigning);
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
    reassigning: &Reassigning<'_>,
) {
    let key = TopicPartition::new(name.clone(), number);
    let out_of_sync: Vec<_> = partition.out_of_sync().filter(|id| !reassigning.is_new(&key, *id)).collect();
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
        being_reassigned: reassigning.ongoing.contains_key(&key),
    };
    found.partitions.insert(key, what);
}

#[cfg(test)]
#[path = "under_replicated_partitions_tests.rs"]
mod tests;
