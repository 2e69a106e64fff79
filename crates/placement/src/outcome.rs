//! What a plan makes of partitions, by name.

use std::collections::BTreeSet;
use std::io::{Error, Write};

use planner::balance::Cluster;
use serde_json::Value;

use crate::Named;

/// What a plan makes of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The brokers that hold it, by position.
    pub before: Vec<i32>,
    /// The same after the plan. Replicas that could not be placed are left out.
    pub after: Vec<i32>,
    /// Who leads it.
    pub led_by: i32,
    /// Who leads it after the plan.
    pub leader: i32,
}

impl Outcome {
    /// Whether anything changes.
    pub fn changes(&self) -> bool {
        self.before != self.after || self.led_by != self.leader
    }

    /// The list to give to Kafka: where another leads, it comes first, so that an election of the preferred leader makes it
    /// the leader.
    pub fn list(&self) -> Vec<i32> {
        let mut list = self.after.clone();
        if let Some(at) = list.iter().position(|broker| *broker == self.leader && self.led_by != self.leader)
        {
            list[..=at].rotate_right(1);
        }
        list
    }
}

/// What becomes of a partition. `after` is the cluster that a plan leads to; it may have more brokers than have names, where
/// replicas wait that are yet to be created.
pub fn outcome(named: &Named, after: &Cluster, partition: u32) -> Outcome {
    let id = |broker: &u32| named.broker_ids.get(*broker as usize).copied();
    let leader = |cluster: &Cluster| id(&cluster.replicas(partition)[cluster.leader(partition) as usize]);
    let ids = |cluster: &Cluster| cluster.replicas(partition).iter().filter_map(id).collect::<Vec<_>>();
    let led_by = leader(&named.cluster).unwrap_or(-1);
    Outcome {
        before: ids(&named.cluster),
        after: ids(after),
        led_by,
        leader: leader(after).unwrap_or(led_by),
    }
}

/// Writes the placement that a plan leads to: every partition of the cluster.
///
/// # Errors
/// What the writer says.
pub fn write_placement(named: &Named, after: &Cluster, out: &mut impl Write) -> Result<(), Error> {
    writeln!(out, "topic,partition,replicas,leader")?;
    for partition in 0..named.cluster.partitions() {
        let outcome = outcome(named, after, partition);
        let ids: Vec<String> = outcome.after.iter().map(ToString::to_string).collect();
        let topic = &named.topics[after.topic(partition) as usize];
        let number = named.partitions[partition as usize];
        writeln!(out, "{topic},{number},{},{}", ids.join("|"), outcome.leader)?;
    }
    Ok(())
}

/// What a plan changes, as Kafka's `kafka-reassign-partitions` takes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reassignment {
    rows: Vec<Value>,
    /// Partitions that change and are left out, as their list names a broker that is not alive: the tool refuses a whole
    /// file for one of them ("Unknown broker id").
    pub left_out: Vec<u32>,
    /// Partitions in the file that get another leader: their list begins with it, and an election of preferred leaders has to
    /// follow.
    pub elections: u64,
}

impl Reassignment {
    /// What `after` changes.
    pub fn new(named: &Named, after: &Cluster) -> Reassignment {
        let known = named.broker_ids.iter().zip(named.cluster.brokers());
        let alive: BTreeSet<i32> = known.filter(|(_, broker)| broker.alive).map(|(id, _)| *id).collect();
        let mut all = Reassignment::default();
        for partition in 0..named.cluster.partitions() {
            let outcome = outcome(named, after, partition);
            if !outcome.changes() {
                continue;
            }
            if outcome.after.iter().any(|id| !alive.contains(id)) {
                all.left_out.push(partition);
                continue;
            }
            all.elections += u64::from(outcome.led_by != outcome.leader);
            all.rows.push(serde_json::json!({
                "topic": named.topics[named.cluster.topic(partition) as usize],
                "partition": named.partitions[partition as usize],
                "replicas": outcome.list(),
            }));
        }
        all
    }

    /// Whether there is nothing to give to the tool.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes it.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write(&self, out: &mut impl Write) -> Result<(), Error> {
        serde_json::to_writer(&mut *out, &serde_json::json!({ "version": 1, "partitions": self.rows }))?;
        writeln!(out)
    }
}
