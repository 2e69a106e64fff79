//! The brokers that are in replica lists.

use std::collections::BTreeSet;

use cluster::{BrokerId, TopicTable};

/// Every broker that is in a replica list. Ids are small in practice, so that a table answers; others are in a set.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    small: Vec<bool>,
    others: BTreeSet<BrokerId>,
}

impl Holders {
    const SMALL: usize = 1 << 14;

    pub(crate) fn of(topics: &TopicTable) -> Self {
        let mut holders = Self::default();
        // Loops within loops: one over all of them flattened costs three times as much.
        for topic in topics.values() {
            for partition in &topic.partitions {
                for id in &partition.replicas {
                    holders.add(*id);
                }
            }
        }
        holders
    }

    fn add(&mut self, id: BrokerId) {
        match usize::try_from(id.0) {
            Ok(at) if at < Self::SMALL => {
                if at >= self.small.len() {
                    self.small.resize(at + 1, false);
                }
                self.small[at] = true;
            }
            _ => {
                self.others.insert(id);
            }
        }
    }

    pub(crate) fn contains(&self, id: BrokerId) -> bool {
        let small = usize::try_from(id.0).ok().and_then(|at| self.small.get(at));
        small.is_some_and(|held| *held) || self.others.contains(&id)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = BrokerId> {
        let small = (0..).zip(&self.small).filter(|(_, held)| **held).map(|(id, _)| BrokerId(id));
        small.chain(self.others.iter().copied())
    }
}
