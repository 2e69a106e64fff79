//! Topics that must have leaders on each broker.

use super::cluster::Cluster;

/// Leaders by broker of the topics that must have some on each.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    /// By topic: its row in `held`, if it is one of them.
    row: Vec<Option<usize>>,
    held: Vec<u32>,
    brokers: usize,
}

impl Chosen {
    /// Nothing is counted yet.
    pub(crate) fn of(cluster: &Cluster) -> Chosen {
        let mut rows = 0;
        let mut next = |required: &u32| {
            (*required > 0).then(|| {
                rows += 1;
                rows - 1
            })
        };
        let row: Vec<Option<usize>> = cluster.required_leaders.iter().map(&mut next).collect();
        Chosen { row, held: vec![0; rows * cluster.brokers.len()], brokers: cluster.brokers.len() }
    }

    /// Counts nothing: no topic needs leaders.
    pub(crate) fn none(cluster: &Cluster) -> Chosen {
        Chosen { row: vec![None; cluster.required_leaders.len()], held: Vec::new(), brokers: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(crate) fn count(&mut self, topic: usize, broker: usize, sign: i32) {
        if let Some(row) = self.row[topic] {
            let held = &mut self.held[row * self.brokers + broker];
            *held = held.wrapping_add_signed(sign);
        }
    }

    /// How many leaders of a topic a broker lacks.
    pub(crate) fn missing(&self, cluster: &Cluster, topic: usize, broker: usize) -> u32 {
        self.missing_with(cluster, topic, broker, 0)
    }

    /// The same if it led so many more, or fewer.
    pub(crate) fn missing_with(&self, cluster: &Cluster, topic: usize, broker: usize, more: i32) -> u32 {
        let known = &cluster.brokers[broker];
        match self.row[topic] {
            Some(row) if known.alive && known.takes_replicas && known.takes_leadership => {
                let held = self.held[row * self.brokers + broker].saturating_add_signed(more);
                cluster.required_leaders[topic].saturating_sub(held)
            }
            _ => 0,
        }
    }

    /// Whether a broker can do with a leader of a topic less.
    pub(crate) fn spares(&self, cluster: &Cluster, topic: usize, broker: usize) -> bool {
        let known = &cluster.brokers[broker];
        self.row[topic].is_none_or(|row| {
            let needs = known.alive && known.takes_replicas && known.takes_leadership;
            !needs || self.held[row * self.brokers + broker] > cluster.required_leaders[topic]
        })
    }

    /// Topics that must have leaders on each broker.
    pub(crate) fn topics(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.row.len()).filter(|topic| self.row[*topic].is_some())
    }
}
