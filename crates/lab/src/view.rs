//! What the cluster says about itself, asked over the Kafka protocol.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use krafka::Kafka;
use krafka::admin::{
    AlterPartitionReassignmentsOptions, ConfigOp, ConfigResource, CreateTopicsOptions,
    DescribeConfigsOptions, IncrementalAlterConfigsOptions, ListPartitionReassignmentsOptions, NewTopic,
    TopicPartition,
};

/// How long a single question may take.
const ASK: Duration = Duration::from_secs(5);

/// One partition as a broker describes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Partition {
    /// Name of the topic.
    pub topic: String,
    /// Index of the partition.
    pub partition: i32,
    /// Its leader; `None` while it has none.
    pub leader: Option<i32>,
    /// The replicas in their order; during a reassignment this includes those being added and removed.
    pub replicas: Vec<i32>,
    /// Those that are in sync.
    pub isr: Vec<i32>,
}

impl Partition {
    /// Whether any replica is out of sync.
    pub fn is_under_replicated(&self) -> bool {
        self.isr.len() < self.replicas.len()
    }
}

/// A reassignment under way, as `ListPartitionReassignments` tells it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reassignment {
    /// Name of the topic.
    pub topic: String,
    /// Index of the partition.
    pub partition: i32,
    /// All present replicas, those being added and removed included.
    pub replicas: Vec<i32>,
    /// Those that are being added.
    pub adding: Vec<i32>,
    /// Those that will be removed.
    pub removing: Vec<i32>,
}

/// Runs `future` to its end on a thread of its own, so that it works inside an async test as well.
pub(crate) fn block_on<F>(future: F) -> Result<F::Output>
where
    F: Future + Send,
    F::Output: Send,
{
    let run = || -> Result<F::Output> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(runtime.context("starting a runtime")?.block_on(future))
    };
    std::thread::scope(|scope| scope.spawn(run).join())
        .map_err(|_| anyhow!("a question to Kafka panicked"))?
}

pub(crate) async fn connect(bootstrap: &str) -> Result<Kafka> {
    Kafka::builder(bootstrap)
        .client_id("lab")
        .connect_timeout(Duration::from_secs(2))
        .request_timeout(ASK)
        .connect()
        .await
        .with_context(|| format!("connecting to {bootstrap}"))
}

/// The brokers that the broker at `address` counts as alive.
pub(crate) fn brokers_seen_at(address: &str) -> Result<BTreeSet<i32>> {
    block_on(async {
        let kafka = tokio::time::timeout(ASK, connect(address)).await.context("the broker is silent")??;
        let brokers = krafka::__private::kafka_metadata(&kafka).brokers();
        Ok(brokers.iter().map(|broker| broker.id()).collect())
    })?
}

/// All partitions of all topics, internal ones included, as one of the brokers of `bootstrap` sees them.
/// The view comes with the connection: a later call might be sent to any broker, be it a paused one.
pub(crate) fn partitions(bootstrap: &str) -> Result<Vec<Partition>> {
    block_on(async {
        let kafka = connect(bootstrap).await?;
        let topics = krafka::__private::kafka_metadata(&kafka).topics_arc();
        let partitions = topics.iter().flat_map(|topic| topic.partitions_iter());
        let mut all: Vec<_> = partitions
            .map(|p| Partition {
                topic: p.topic.clone(),
                partition: p.partition,
                leader: (p.leader >= 0).then_some(p.leader),
                replicas: p.replicas.clone(),
                isr: p.isr.clone(),
            })
            .collect();
        all.sort();
        Ok(all)
    })?
}

/// All reassignments under way.
pub(crate) fn ongoing(bootstrap: &str) -> Result<Vec<Reassignment>> {
    block_on(async {
        let kafka = connect(bootstrap).await?;
        let options = ListPartitionReassignmentsOptions::default().timeout(ASK);
        let answer = kafka.admin().list_partition_reassignments(options).await;
        let mut all: Vec<_> = answer
            .context("listing reassignments")?
            .into_iter()
            .map(|(at, state)| Reassignment {
                topic: at.topic,
                partition: at.partition,
                replicas: state.replicas,
                adding: state.adding_replicas,
                removing: state.removing_replicas,
            })
            .collect();
        all.sort();
        Ok(all)
    })?
}

/// Asks for new replicas (`None` cancels) over the protocol; gives each partition's refusal, if any.
pub(crate) fn alter(bootstrap: &str, moves: &[(&str, i32, Option<&[i32]>)]) -> Result<Vec<Option<String>>> {
    block_on(async {
        let kafka = connect(bootstrap).await?;
        let plan = moves.iter().map(|(topic, partition, replicas)| {
            (TopicPartition::new(*topic, *partition), replicas.map(<[i32]>::to_vec))
        });
        let options = AlterPartitionReassignmentsOptions::default().timeout(ASK);
        let answer = kafka.admin().alter_partition_reassignments(plan, options).await;
        let answer = answer.context("altering reassignments")?;
        let refusal = |(topic, partition, _): &(&str, i32, Option<&[i32]>)| {
            let outcome = answer.get(&TopicPartition::new(*topic, *partition))?;
            outcome.as_ref().err().map(ToString::to_string)
        };
        Ok(moves.iter().map(refusal).collect())
    })?
}

/// A topic with these lists of replicas and configs.
pub(crate) fn placed(name: &str, replicas: &[&[i32]], configs: &[(&str, &str)]) -> Result<NewTopic> {
    let lists: HashMap<i32, Vec<i32>> = (0..).zip(replicas.iter().map(|list| list.to_vec())).collect();
    let topic = NewTopic::with_replica_assignment(name, lists).context("describing a topic")?;
    Ok(configs.iter().fold(topic, |topic, (key, value)| topic.with_config(*key, *value)))
}

/// Creates a topic.
pub(crate) fn create(bootstrap: &str, topic: NewTopic) -> Result<()> {
    block_on(async {
        let kafka = connect(bootstrap).await?;
        let name = topic.name.clone();
        let options = CreateTopicsOptions::default().timeout(ASK);
        let mut answer = kafka.admin().create_topics([topic], options).await.context("creating a topic")?;
        match answer.remove(&name) {
            Some(outcome) => outcome.with_context(|| format!("creating the topic {name}")),
            None => bail!("the answer does not mention the topic {name}"),
        }
    })?
}

/// Dynamic configs to be changed of one resource; those without a value are taken away.
pub type ConfigChange<'a> = (ConfigResource, Vec<(&'a str, Option<&'a str>)>);

/// Changes dynamic configs.
pub(crate) fn alter_configs(bootstrap: &str, changes: Vec<ConfigChange<'_>>) -> Result<()> {
    block_on(async {
        let kafka = connect(bootstrap).await?;
        let op = |(key, value): (&str, Option<&str>)| {
            value.map_or_else(|| ConfigOp::delete(key), |value| ConfigOp::set(key, value))
        };
        let changes = changes.into_iter().map(|(of, ops)| (of, ops.into_iter().map(op).collect()));
        let options = IncrementalAlterConfigsOptions::default().timeout(ASK);
        let answer = kafka.admin().incremental_alter_configs(changes, options).await;
        for (of, outcome) in answer.context("altering configs")? {
            outcome.with_context(|| format!("altering the configs of {}", of.name))?;
        }
        Ok(())
    })?
}

/// The values of those of the configs `keys` that are set dynamically, as `resource key=value`.
pub(crate) fn dynamic_configs(
    bootstrap: &str,
    of: Vec<ConfigResource>,
    keys: &[&str],
) -> Result<Vec<String>> {
    /// Set for a topic, a broker, or all brokers, as `DescribeConfigs` tells where a value comes from.
    const DYNAMIC: [i8; 3] = [1, 2, 3];
    block_on(async {
        let kafka = connect(bootstrap).await?;
        let options = DescribeConfigsOptions::default().timeout(ASK);
        let answer = kafka.admin().describe_configs(of, options).await.context("describing configs")?;
        let mut set = Vec::new();
        for (resource, entries) in answer {
            let entries = entries.with_context(|| format!("describing the configs of {}", resource.name))?;
            let wanted = |name: &str| keys.contains(&name);
            for entry in entries.iter().filter(|e| wanted(&e.name) && DYNAMIC.contains(&e.config_source)) {
                let value = entry.value.as_deref().unwrap_or_default();
                set.push(format!("{} {}={value}", resource.name, entry.name));
            }
        }
        set.sort();
        Ok(set)
    })?
}

/// Asks `question` again and again until it says yes, at most for `within`; returns how long that took.
/// An error counts as a no and is told when time is up.
pub fn wait_for(
    what: &str,
    within: Duration,
    mut question: impl FnMut() -> Result<bool>,
) -> Result<Duration> {
    let start = Instant::now();
    loop {
        let answer = question();
        if matches!(answer, Ok(true)) {
            return Ok(start.elapsed());
        }
        if start.elapsed() >= within {
            match answer {
                Err(error) => return Err(error.context(format!("not within {within:?}: {what}"))),
                Ok(_) => bail!("not within {within:?}: {what}"),
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
