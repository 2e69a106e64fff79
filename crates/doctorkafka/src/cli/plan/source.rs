//! Where a cluster comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cluster::{BrokerId, LogDir, Reader, TopicPartition, TopicTable};
use control::Disks;
use control::planning::balance::{Known, Question};
use kafka::{ConnectionConfig, Kafka, Security, parse_bootstrap};
use placement::{Named, PlacementError, read_cluster, read_json};
use planner::balance::{DISK, Goal};

use crate::client_settings;
use crate::store::in_words;

/// A cluster, and which goals can be judged.
pub(super) struct Source {
    pub(super) named: Named,
    /// Nothing where it comes from files.
    question: Option<Question>,
}

impl Source {
    fn of(question: Question) -> Source {
        let named = Named {
            cluster: question.cluster.clone(),
            broker_ids: question.brokers.iter().map(|id| id.0).collect(),
            racks: question.racks.clone(),
            topics: question.topics.iter().map(ToString::to_string).collect(),
            partitions: question.partitions.clone(),
            log_dirs: question
                .log_dirs
                .iter()
                .map(|paths| paths.iter().map(ToString::to_string).collect())
                .collect(),
        };
        Source { named, question: Some(question) }
    }

    /// Why a goal cannot be judged, if it cannot.
    pub(super) fn why_not(&self, goal: Goal) -> Option<String> {
        let resource = goal.resource()?;
        let limit = matches!(goal, Goal::NetworkInLimit | Goal::NetworkOutLimit | Goal::LeaderBytesIn);
        let Some(question) = &self.question else {
            let mut living = self.named.cluster.brokers().iter().filter(|broker| broker.alive);
            let unknown = living.all(|broker| broker.capacity[resource] == 0);
            return (unknown && !limit).then(|| "no living broker has a capacity for it".to_owned());
        };
        if question.knows(goal) {
            return None;
        }
        let silent: Vec<String> = match resource {
            DISK => question.without_disk().iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        };
        Some(match silent.is_empty() {
            true => {
                "the cluster does not tell the figures for it; a folder or a file can (--from)".to_owned()
            }
            false => format!("broker {} did not tell the size of its disks", silent.join(", ")),
        })
    }
}

/// Reads a folder or a JSON file.
pub(super) fn file(path: &Path) -> Result<Source, PlacementError> {
    let named = if path.is_dir() { read_cluster(path)? } else { read_json(path)? };
    Ok(Source { named, question: None })
}

/// One answer may take so long.
const LIMIT: Duration = Duration::from_secs(10);

/// Reads a live cluster: who lives, where replicas are, how much disk they take.
pub(super) fn live(servers: &str, settings: Option<&Path>) -> Result<Source, String> {
    let bootstrap = parse_bootstrap(servers).map_err(|error| error.to_string())?;
    let security = match settings {
        None => Security::plaintext(),
        Some(path) => client_settings::read(path).map_err(|problems| problems.join("; "))?,
    };
    let client_id = "doctorkafka-plan".to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(async {
        let reader: Arc<dyn Reader> =
            Arc::new(Kafka::new(ConnectionConfig { bootstrap, security, client_id }));
        read(&*reader).await
    })
}

/// What a cluster says of itself.
pub(super) async fn read(reader: &dyn Reader) -> Result<Source, String> {
    let mut why = "no bootstrap server is given".to_owned();
    for at in reader.bootstrap() {
        let answer = match reader.ask(&at, LIMIT).await {
            Ok(answer) => answer,
            Err(error) => {
                why = format!("{at}: {}", in_words(&error));
                continue;
            }
        };
        // One cluster is read, also where the addresses lead to several.
        reader.expect_cluster(Some(&answer.cluster_id));
        let topics = reader.topics(&at).await.map_err(|error| in_words(&error))?;
        let live: Vec<_> = answer.live.values().cloned().collect();
        let mut dirs = BTreeMap::new();
        for (broker, found) in reader.log_dirs(&live).await {
            // Who does not answer is left out: goals about disk are not judged then.
            dirs.extend(found.ok().map(|found| (broker, found)));
        }
        let offline = offline(&topics, &dirs);
        let reassignments = reader.reassignments().await.map_err(|error| in_words(&error))?;
        let disks = Disks::of(dirs.iter().map(|(id, dirs)| (*id, dirs.as_slice())));
        let known = Known {
            live: answer.live,
            topics,
            reassignments,
            disks: Some(&disks),
            log_dirs: Some(&dirs),
            offline,
            ..Known::default()
        };
        return Question::new(&known).map(Source::of).map_err(|error| in_words(&error));
    }
    Err(why)
}

/// Replicas that brokers with a failed log dir should hold and have in none of the others.
fn offline(
    topics: &TopicTable,
    dirs: &BTreeMap<BrokerId, Vec<LogDir>>,
) -> BTreeSet<(BrokerId, TopicPartition)> {
    let mut offline = BTreeSet::new();
    for (broker, dirs) in dirs.iter().filter(|(_, dirs)| dirs.iter().any(|dir| dir.error.is_some())) {
        for (name, topic) in topics {
            for (number, partition) in (0..).zip(&topic.partitions) {
                let at = TopicPartition { topic: name.clone(), partition: number };
                let held = dirs.iter().any(|dir| dir.replicas.contains_key(&at));
                // What is in sync is read from somewhere: it is only being created.
                if partition.replicas.contains(broker) && !held && !partition.isr.contains(broker) {
                    offline.insert((*broker, at));
                }
            }
        }
    }
    offline
}

#[cfg(test)]
mod tests {
    use cluster::{LogDirReplica, Partition, Topic, TopicName};

    use super::*;

    #[test]
    fn what_is_in_no_dir_of_a_broker_with_a_failed_one_is_offline() {
        let partition = |isr: &[i32]| Partition {
            leader: Some(BrokerId(1)),
            replicas: [1, 2].map(BrokerId).into(),
            isr: isr.iter().copied().map(BrokerId).collect(),
        };
        let partitions = vec![partition(&[1]), partition(&[1, 2]), partition(&[1])];
        let topics = TopicTable::from([(TopicName::from("t"), Topic { internal: false, partitions })]);
        let held = LogDirReplica { size_bytes: 1, offset_lag: 0, is_future: false };
        let dir = |error: Option<&str>, numbers: &[i32]| LogDir {
            path: "/d".into(),
            error: error.map(Into::into),
            total_bytes: None,
            usable_bytes: None,
            replicas: numbers.iter().map(|number| (TopicPartition::new("t", *number), held)).collect(),
        };
        let mut dirs = BTreeMap::from([(BrokerId(2), vec![dir(None, &[1, 2]), dir(Some("failed"), &[])])]);
        assert_eq!(offline(&topics, &dirs), BTreeSet::from([(BrokerId(2), TopicPartition::new("t", 0))]));
        dirs.insert(BrokerId(2), vec![dir(None, &[1, 2])]);
        assert_eq!(offline(&topics, &dirs), BTreeSet::new());
    }
}
