//! One look at a cluster, through the eyes of one broker.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use cluster::notation::ClusterText;
use cluster::{BrokerAddress, BrokerId, Partition, Reader, Reassignment, Reassignments, TopicPartition};

use super::script::Script;

/// How long a broker may take to answer.
const LIMIT: Duration = Duration::from_secs(3);
/// How often a look is begun again, when brokers come and go amid it.
const TRIES: usize = 5;

/// What one broker knows of a script's partitions, and what the controller is at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// Who is alive.
    pub(crate) live: Vec<BrokerId>,
    /// The partitions. In-sync replicas stand in the order of the replicas: their own means nothing.
    pub(crate) partitions: BTreeMap<TopicPartition, Partition>,
    /// The reassignments.
    pub(crate) moves: Reassignments,
}

impl Look {
    /// Looks through the eyes of the broker at `at`. Who is alive did not change while the partitions were read, so
    /// that the order of such changes can be told.
    pub(crate) async fn take(reader: &dyn Reader, at: &BrokerAddress, script: &Script) -> Result<Self> {
        for _ in 0..TRIES {
            let before = reader.ask(at, LIMIT).await?.live;
            let topics = reader.topics(at).await?;
            let moves = reader.reassignments().await?;
            let after = reader.ask(at, LIMIT).await?.live;
            if before.keys().ne(after.keys()) {
                continue;
            }
            let mut look = Self { live: after.into_keys().collect(), ..Self::default() };
            for name in script.cluster.topics.keys() {
                let topic = topics.get(name).with_context(|| format!("there is no topic {name}"))?;
                for (number, partition) in (0..).zip(&topic.partitions) {
                    look.partitions.insert(TopicPartition::new(name.clone(), number), in_order(partition));
                }
            }
            look.moves = moves.into_iter().filter(|(at, _)| look.partitions.contains_key(at)).collect();
            return Ok(look);
        }
        anyhow::bail!("brokers come and go amid every look")
    }

    /// Whether the broker has not heard yet of what the controller is at, or has done since `before`.
    pub(crate) fn lags_behind(&self, before: &Self) -> bool {
        let knows = |at: &TopicPartition, moved: &Reassignment| {
            self.partitions.get(at).is_some_and(|partition| partition.replicas == moved.replicas)
        };
        let begun = self.moves.iter().any(|(at, moved)| !knows(at, moved));
        let mut ended = before.moves.iter().filter(|(at, _)| !self.moves.contains_key(*at));
        begun || ended.any(|(at, moved)| knows(at, moved))
    }

    /// The line of the live brokers.
    pub(crate) fn live_line(&self) -> String {
        let ids: Vec<String> = self.live.iter().map(ToString::to_string).collect();
        format!("live: {}", ids.join(" "))
    }

    /// All in one line.
    pub(crate) fn text(&self) -> String {
        let lines = self.partitions.keys().map(|at| self.line(at));
        std::iter::once(self.live_line()).chain(lines).collect::<Vec<_>>().join("; ")
    }

    /// The line of a partition, in the notation of clusters, with its topic's name as the script has it.
    pub(crate) fn line(&self, at: &TopicPartition) -> String {
        let short = at.topic.rsplit('.').next().unwrap_or_default();
        let Some(partition) = self.partitions.get(at) else { return format!("{at}: gone") };
        let topic = cluster::Topic { internal: false, partitions: vec![partition.clone()] };
        let zero = TopicPartition::new(at.topic.clone(), 0);
        let text = ClusterText {
            topics: [(at.topic.clone(), topic)].into(),
            reassignments: self.moves.get(at).map(|it| (zero, it.clone())).into_iter().collect(),
            ..ClusterText::default()
        };
        let text = text.to_string();
        format!(
            "{short}-{}:{}",
            at.partition,
            text.trim_end().split_once(':').map_or("", |(_, replicas)| replicas)
        )
    }

    /// What the controller is at with a partition.
    pub(crate) fn moving(&self, at: &TopicPartition) -> Option<&Reassignment> {
        self.moves.get(at)
    }
}

fn in_order(partition: &Partition) -> Partition {
    let mut partition = partition.clone();
    let replicas = partition.replicas.clone();
    partition.isr.sort_by_key(|id| replicas.iter().position(|other| other == id));
    partition
}
