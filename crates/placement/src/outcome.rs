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
    /// Into which log dirs replicas come, by the places of `after`: nothing for what stays, or comes to a broker with one.
    pub log_dirs: Vec<Option<String>>,
}

/// What Kafka may choose itself, or what stays in its log dir.
const ANY: &str = "any";

impl Outcome {
    /// Whether anything changes.
    pub fn changes(&self) -> bool {
        self.before != self.after || self.led_by != self.leader
    }

    /// The list to give to Kafka: where another leads, it comes first, so that an election of the preferred leader makes it
    /// the leader.
    pub fn list(&self) -> Vec<i32> {
        self.led_first(self.after.clone())
    }

    /// The log dirs of the same list, as Kafka's tool takes them: a path for what comes to a broker with several, else `any`.
    pub fn log_dirs(&self) -> Vec<&str> {
        self.led_first(self.log_dirs.iter().map(|dir| dir.as_deref().unwrap_or(ANY)).collect())
    }

    fn led_first<T>(&self, mut list: Vec<T>) -> Vec<T> {
        let leads = |broker: &i32| *broker == self.leader && self.led_by != self.leader;
        if let Some(at) = self.after.iter().position(leads) {
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
    let before = named.cluster.replicas(partition);
    let dir = |(position, broker): (u32, &u32)| {
        let comes = !before.contains(broker);
        let dir = after.log_dir(partition, position).filter(|_| comes);
        id(broker).map(|_| dir.and_then(|dir| named.log_dir(*broker, dir)).map(str::to_owned))
    };
    Outcome {
        before: ids(&named.cluster),
        after: ids(after),
        log_dirs: (0..).zip(after.replicas(partition)).filter_map(dir).collect(),
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
            let mut row = serde_json::json!({
                "topic": named.topics[named.cluster.topic(partition) as usize],
                "partition": named.partitions[partition as usize],
                "replicas": outcome.list(),
            });
            if named.cluster.has_log_dirs() {
                row["log_dirs"] = outcome.log_dirs().into();
            }
            all.rows.push(row);
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
