//! Which store the configuration asks for.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cluster::Reader;
use serde::{Deserialize, Serialize};

use super::kafka::{KafkaStore, KafkaStoreConfig, Managed};
use super::zookeeper::{ZookeeperStore, ZookeeperStoreConfig};
use super::{Alone, FileStore, Lease, StateStore, Versioned, in_words};
use crate::plugin::{ConfigProblem, Endpoint};
use crate::shell::connect::client;

/// `state_store`: where what must outlive the process is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum StoreConfig {
    /// In the state dir, for a single service.
    #[default]
    File,
    /// In a topic, for several services of which one acts.
    Kafka(KafkaStoreConfig),
    /// In nodes of ZooKeeper, for several services of which one acts.
    Zookeeper(ZookeeperStoreConfig),
}

/// What one cluster has of a store.
pub struct ClusterStore {
    /// Keeps its values.
    pub store: Arc<dyn StateStore>,
    /// What its keys begin with.
    pub prefix: String,
    /// Says whether this service acts.
    pub lease: Arc<dyn Lease>,
}

/// A lease in a topic must outlast what Kafka needs to notice that a broker is gone, and the request that is sent then; one in
/// ZooKeeper the election of another leader of its servers.
const SHORTEST_LEASE: Duration = Duration::from_secs(15);
pub(super) const LONGEST_LEASE: Duration = Duration::from_secs(120);

impl StoreConfig {
    /// What is wrong with it.
    pub(crate) fn check(&self) -> Vec<ConfigProblem> {
        let mut problems: Vec<(&str, String)> = Vec::new();
        let lease = match self {
            Self::File => return Vec::new(),
            Self::Kafka(config) => {
                problems.extend(kafka_problems(config));
                config.lease
            }
            Self::Zookeeper(config) => {
                problems.extend(config.problems());
                config.lease
            }
        };
        if !(SHORTEST_LEASE..=LONGEST_LEASE).contains(&lease.0) {
            let why = "must be between 15s and 2m: a server that dies must not cost it";
            problems.push(("lease", why.to_owned()));
        }
        let named = problems.into_iter();
        named.map(|(path, message)| ConfigProblem { path: format!("state_store.{path}"), message }).collect()
    }

    /// Whether other services may have the same store.
    pub(crate) fn is_shared(&self) -> bool {
        !matches!(self, Self::File)
    }

    /// The number by which services that do not share the store know all those that do; `None` where each has its own.
    pub(crate) fn known_as(&self) -> Option<String> {
        match self {
            Self::File => None,
            Self::Kafka(config) => {
                let mut servers: Vec<&str> = config.bootstrap_servers.split(',').map(str::trim).collect();
                servers.sort_unstable();
                Some(number_of(&format!("{} at {}", config.topic, servers.join(","))))
            }
            Self::Zookeeper(config) => Some(number_of(&config.place())),
        }
    }

    /// Opens it for `cluster`. `local` is the store in the state dir, `instance` the number of this service, `managed` the
    /// clusters that it looks after.
    ///
    /// # Errors
    /// It can never be opened with these settings, in words. What may heal by itself is no error.
    pub fn open(
        &self,
        cluster: &Arc<str>,
        local: &FileStore,
        instance: &str,
        managed: &[(Arc<str>, Arc<dyn Reader>)],
    ) -> Result<ClusterStore, String> {
        match self {
            Self::File => Ok(ClusterStore {
                store: Arc::new(local.clone()),
                prefix: format!("clusters/{cluster}/"),
                lease: Arc::new(Alone),
            }),
            Self::Kafka(config) => {
                let bootstrap =
                    kafka::parse_bootstrap(&config.bootstrap_servers).map_err(|error| error.to_string())?;
                let endpoint = Endpoint { bootstrap, command_config: config.command_config.clone() };
                let managed = managed
                    .iter()
                    .map(|(name, reader)| Managed { name: Arc::clone(name), reader: Arc::clone(reader) })
                    .collect();
                let store = KafkaStore::start(cluster, config, client(&endpoint)?, instance, managed);
                Ok(ClusterStore {
                    store: Arc::new(store.clone()),
                    prefix: String::new(),
                    lease: Arc::new(store),
                })
            }
            Self::Zookeeper(config) => {
                let store = ZookeeperStore::start(cluster, config, instance);
                Ok(ClusterStore {
                    store: Arc::new(store.clone()),
                    prefix: String::new(),
                    lease: Arc::new(store),
                })
            }
        }
    }
}

impl StoreConfig {
    /// What is stored of `cluster` at this moment, without holding anything; nothing is changed. `local` is the place of the store
    /// in the state dir.
    ///
    /// # Errors
    /// It cannot be read, in words.
    pub(crate) async fn peek(
        &self,
        cluster: &str,
        local: &Path,
    ) -> Result<BTreeMap<String, Versioned>, String> {
        match self {
            Self::File => {
                let prefix = format!("clusters/{cluster}/");
                let found = FileStore::peek(local, &prefix).map_err(|error| in_words(&error))?;
                Ok(found.into_iter().map(|(key, value)| (key[prefix.len()..].to_owned(), value)).collect())
            }
            Self::Kafka(config) => {
                let bootstrap =
                    kafka::parse_bootstrap(&config.bootstrap_servers).map_err(|error| error.to_string())?;
                let endpoint = Endpoint { bootstrap, command_config: config.command_config.clone() };
                super::kafka::peek(cluster, config, &client(&endpoint)?).await
            }
            Self::Zookeeper(config) => super::zookeeper::peek(cluster, config).await,
        }
    }
}

fn number_of(place: &str) -> String {
    format!("store-{:08x}", crc32fast::hash(place.as_bytes()))
}

fn kafka_problems(config: &KafkaStoreConfig) -> Vec<(&'static str, String)> {
    let mut problems = Vec::new();
    if let Err(error) = kafka::parse_bootstrap(&config.bootstrap_servers) {
        problems.push(("bootstrap_servers", error.to_string()));
    }
    let fit = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if config.topic.is_empty() || config.topic.len() > 200 || !config.topic.chars().all(fit) {
        problems.push(("topic", "is not the name of a topic".to_owned()));
    }
    if config.replication_factor < 1 {
        let why = "must be at least 1; at least 3 on a cluster that is looked after";
        problems.push(("replication_factor", why.to_owned()));
    }
    problems
}
