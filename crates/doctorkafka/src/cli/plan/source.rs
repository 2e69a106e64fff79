//! Where a cluster comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cluster::{BrokerId, LogDir, Reader, TopicPartition};
use kafka::{ConnectionConfig, Kafka, Security, parse_bootstrap};
use placement::{Named, PlacementError, read_cluster, read_json};
use planner::balance::{Broker, CPU, Cluster, DISK, Goal, Mark, NETWORK_IN, NETWORK_OUT, Partition, Replica};

use crate::client_settings;
use crate::store::in_words;

/// A cluster, and which of its resources are known.
pub(super) struct Source {
    pub(super) named: Named,
    known: [bool; 4],
}

impl Source {
    /// Whether a goal can be judged.
    pub(super) fn knows(&self, goal: Goal) -> bool {
        match goal {
            Goal::DiskCapacity | Goal::DiskDistribution => self.known[DISK],
            Goal::NetworkInCapacity
            | Goal::NetworkInLimit
            | Goal::NetworkInDistribution
            | Goal::LeaderBytesIn => self.known[NETWORK_IN],
            Goal::NetworkOutCapacity
            | Goal::NetworkOutLimit
            | Goal::NetworkOutDistribution
            | Goal::PotentialNetworkOut => self.known[NETWORK_OUT],
            Goal::CpuCapacity | Goal::CpuDistribution => self.known[CPU],
            _ => true,
        }
    }
}

/// Reads a folder or a JSON file.
pub(super) fn file(path: &Path) -> Result<Source, PlacementError> {
    let named = if path.is_dir() { read_cluster(path)? } else { read_json(path)? };
    Ok(Source { named, known: [true; 4] })
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
        let topics = reader.topics(&at).await.map_err(|error| in_words(&error))?;
        let live: Vec<_> = answer.live.values().cloned().collect();
        let mut dirs = BTreeMap::new();
        for (broker, found) in reader.log_dirs(&live).await {
            dirs.insert(broker, found.map_err(|error| format!("broker {broker}: {}", in_words(&error)))?);
        }
        return build(&answer.live, &topics, &dirs);
    }
    Err(why)
}

/// Sizes of partitions: the largest of their replicas.
fn sizes(dirs: &BTreeMap<BrokerId, Vec<LogDir>>) -> BTreeMap<&TopicPartition, u64> {
    let mut sizes: BTreeMap<&TopicPartition, u64> = BTreeMap::new();
    for (partition, replica) in dirs.values().flatten().flat_map(|dir| &dir.replicas) {
        if !replica.is_future {
            let size = sizes.entry(partition).or_default();
            *size = replica.size_bytes.max(*size);
        }
    }
    sizes
}

fn build(
    live: &BTreeMap<BrokerId, cluster::Broker>,
    topics: &cluster::TopicTable,
    dirs: &BTreeMap<BrokerId, Vec<LogDir>>,
) -> Result<Source, String> {
    let held = topics.values().flat_map(|topic| &topic.partitions).flat_map(|p| p.replicas.iter().copied());
    let ids: BTreeSet<BrokerId> = live.keys().copied().chain(held).collect();
    let total = |id: &BrokerId| -> Option<u64> { dirs.get(id)?.iter().map(|dir| dir.total_bytes).sum() };
    let known = [false, false, false, live.keys().all(|id| total(id).is_some_and(|bytes| bytes > 0))];
    let mut builder = Cluster::builder(topics.len() as u32);
    let mut racks: BTreeMap<Option<&str>, u32> = BTreeMap::new();
    let mut ordinals = BTreeMap::new();
    for id in &ids {
        let broker = live.get(id);
        let next = racks.len() as u32;
        // Where nobody names a rack each broker stands for itself.
        let rack = broker.and_then(|broker| broker.rack.as_deref());
        let rack = match rack {
            Some(rack) => *racks.entry(Some(rack)).or_insert(next),
            None => u32::MAX - id.0.unsigned_abs(),
        };
        let disk = total(id).and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(0);
        let alive = broker.is_some();
        let added = builder.add_broker(&Broker {
            rack,
            set: None,
            capacity: [0, 0, 0, disk],
            alive,
            takes_replicas: alive,
            takes_leadership: alive,
            mark: Mark::None,
        });
        ordinals.insert(*id, added.map_err(|error| format!("broker {id}: {error}"))?);
    }
    let sizes = sizes(dirs);
    let mut partitions = Vec::new();
    for (number, (name, topic)) in (0..).zip(topics) {
        for (index, partition) in (0..).zip(&topic.partitions) {
            let this = TopicPartition { topic: name.clone(), partition: index };
            let size = sizes.get(&this).and_then(|bytes| i64::try_from(*bytes).ok()).unwrap_or(0);
            let ordinal = |id: &BrokerId| ordinals.get(id).copied().unwrap_or(u32::MAX);
            let replica = |id: &BrokerId| Replica { broker: ordinal(id), load: [0, 0, 0, size] };
            let leader = partition.replicas.iter().position(|id| Some(*id) == partition.leader);
            let added = builder.add_partition(&Partition {
                topic: number,
                replicas: partition.replicas.iter().map(replica).collect(),
                leader: leader.unwrap_or(0) as u32,
                leader_cpu: 0,
                leader_network_out: 0,
                frozen: false,
            });
            added.map_err(|error| format!("{this}: {error}"))?;
            partitions.push(index);
        }
    }
    let broker_ids = ids.iter().map(|id| id.0).collect();
    let topics = topics.keys().map(ToString::to_string).collect();
    Ok(Source { named: Named { cluster: builder.build(), broker_ids, topics, partitions }, known })
}
