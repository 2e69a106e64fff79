//! The state store in a compacted topic, and the lease of each cluster in it.
//!
//! A cluster's values and its lease are written under the cluster's own transactional id: Kafka lets the newest holder of the id
//! through alone, so that a holder whose lease is over cannot write any more, whenever it wakes up. The whole of the topic is read
//! before anything is done; from then on the holder, as the only writer, knows what is in it. The version of a value is the offset
//! of its record: offsets only grow. Large values are packed by gzip: Kafka takes messages of 1 MB.
//!
//! [`claim`] says when the lease may be taken, `keeper` takes and keeps it, `topic` looks at the topic.

mod claim;
mod keeper;
mod topic;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cluster::{BoxFuture, Reader, StoredRecord, TopicName, TopicPartition};
use control::config::HumanDuration;
use kafka::{CommitError, Fenced, Kafka};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use self::claim::Claim;
pub(crate) use self::topic::Managed;
use super::holder::Holder;
use super::own::OwnLease;
use super::packed::{pack, unpack};
use super::{Lease, Standing, StateStore, StoreError, Term, Version, Versioned, uptime};
use crate::plugins::task::Task;

/// `state_store: {type: kafka}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaStoreConfig {
    /// Addresses of some brokers of the cluster with the topic, separated by commas.
    pub bootstrap_servers: String,
    /// The properties file with the security settings for it, as Kafka's own tools take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_config: Option<std::path::PathBuf>,
    /// The topic. It is made if it is missing.
    #[serde(default = "default_topic")]
    pub topic: String,
    /// How many copies the topic gets when it is made.
    #[serde(default = "default_copies")]
    pub replication_factor: i16,
    /// How long the lease of a cluster lasts after it was renewed: another service takes over after that time.
    #[serde(default = "default_lease")]
    pub lease: HumanDuration,
}

fn default_topic() -> String {
    "doctorkafka-state".to_owned()
}

const fn default_copies() -> i16 {
    3
}

pub(crate) const fn default_lease() -> HumanDuration {
    HumanDuration::seconds(25)
}

/// The values of one cluster in the topic, and its lease.
#[derive(Clone)]
pub(crate) struct KafkaStore {
    shared: Arc<Shared>,
    /// Ends with the last clone: the lease is not renewed any more then.
    _keeper: Arc<Task>,
}

struct Shared {
    cluster: Arc<str>,
    config: KafkaStoreConfig,
    kafka: Kafka,
    at: TopicPartition,
    me: Holder,
    managed: Vec<Managed>,
    /// What is written goes through here: one transaction at a time.
    writer: tokio::sync::Mutex<Option<Fenced>>,
    known: Mutex<Known>,
    /// Told when the lease is to be given up.
    giving_up: watch::Sender<bool>,
    /// What was said last to be unwise about the topic.
    warned: Mutex<String>,
}

/// What is known of the topic.
struct Known {
    values: BTreeMap<String, Versioned>,
    /// Whether the topic was read to its end, once.
    read: bool,
    claim: Claim,
    lease: OwnLease,
    terms: u64,
}

impl KafkaStore {
    /// The store of `cluster`; it takes and keeps the lease from now on, within a tokio runtime, for as long as it lives.
    pub(crate) fn start(
        cluster: &Arc<str>,
        config: &KafkaStoreConfig,
        kafka: Kafka,
        instance: &str,
        managed: Vec<Managed>,
    ) -> Self {
        let me = Holder::this_one(instance, config.lease.0);
        let known = Known {
            values: BTreeMap::new(),
            read: false,
            claim: Claim::new(me.clone()),
            lease: OwnLease::looking_on("the state store is being read"),
            terms: 0,
        };
        let shared = Arc::new(Shared {
            cluster: Arc::clone(cluster),
            at: TopicPartition::new(TopicName::from(config.topic.as_str()), 0),
            config: config.clone(),
            kafka,
            me,
            managed,
            writer: tokio::sync::Mutex::default(),
            known: Mutex::new(known),
            giving_up: watch::Sender::new(false),
            warned: Mutex::default(),
        });
        let keeper = Arc::new(Task::spawn(keeper::keep(Arc::clone(&shared))));
        Self { shared, _keeper: keeper }
    }

    /// Writes one value, or removes it, if `allowed` by what is known at that moment.
    async fn write(
        &self,
        key: &str,
        value: Option<Vec<u8>>,
        allowed: impl FnOnce(&Known) -> Result<(), StoreError>,
    ) -> Result<Version, StoreError> {
        check_key(key)?;
        let shared = &self.shared;
        let mut slot = shared.writer.lock().await;
        let writer = {
            let known = shared.known();
            let term = known.lease.term();
            allowed(&known)?;
            let no_holder = || StoreError::NotTheHolder { why: known.lease.why() };
            slot.as_ref().filter(|_| term.is_some()).ok_or_else(no_holder)?
        };
        let record = (shared.record_key(key), value.as_deref().map(|value| pack(value).into_owned()));
        match writer.commit(&shared.at, vec![record]).await {
            Ok(offsets) => {
                let version = Version(offsets.first().map_or(0, |offset| offset.unsigned_abs()));
                let mut known = shared.known();
                match value {
                    Some(value) => known.values.insert(key.to_owned(), Versioned { value, version }),
                    None => known.values.remove(key),
                };
                Ok(version)
            }
            Err(CommitError::NotWritten(error)) => Err(self.failed(key, &error)),
            Err(error) => {
                // Somebody else may write by now; or the value may be there after all. Both show when the topic is read anew.
                *slot = None;
                shared.lose(&error.to_string());
                Err(self.failed(key, &error))
            }
        }
    }

    fn failed(&self, key: &str, error: &dyn std::error::Error) -> StoreError {
        let source = std::io::Error::other(error.to_string());
        StoreError::Write { key: key.to_owned(), at: self.shared.place(), source }
    }

    /// What was read, or why that is not known.
    fn read<T>(&self, key: &str, of: impl FnOnce(&Known) -> T) -> Result<T, StoreError> {
        let known = self.shared.known();
        if known.read {
            return Ok(of(&known));
        }
        let source = std::io::Error::other(known.lease.why());
        Err(StoreError::Read { key: key.to_owned(), at: self.shared.place(), source })
    }
}

impl StateStore for KafkaStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Versioned>, StoreError>> {
        Box::pin(async move {
            check_key(key)?;
            self.read(key, |known| known.values.get(key).cloned())
        })
    }

    fn put<'a>(&'a self, key: &'a str, value: Vec<u8>) -> BoxFuture<'a, Result<Version, StoreError>> {
        Box::pin(self.write(key, Some(value), |_| Ok(())))
    }

    fn compare_and_set<'a>(
        &'a self,
        key: &'a str,
        expected: Option<Version>,
        value: Vec<u8>,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        Box::pin(self.write(key, Some(value), move |known| {
            let found = known.values.get(key).map(|stored| stored.version);
            if found == expected { Ok(()) } else { Err(StoreError::Conflict { key: key.to_owned(), found }) }
        }))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(async move {
            self.read(prefix, |known| {
                known.values.keys().filter(|key| key.starts_with(prefix)).cloned().collect()
            })
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            if self.read(key, |known| !known.values.contains_key(key))? {
                return Ok(());
            }
            self.write(key, None, |_| Ok(())).await.map(|_| ())
        })
    }
}

impl Lease for KafkaStore {
    fn standing(&self) -> Standing {
        self.shared.known().lease.standing()
    }

    fn release(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.shared.giving_up.send_replace(true);
            let mut slot = self.shared.writer.lock().await;
            let held = self.shared.lose("the lease was given up");
            // Where it cannot be told, the others wait for its end.
            if let (Some(writer), true) = (slot.take(), held) {
                let holder = Holder { released: true, ..self.shared.me.clone() };
                let record = (self.shared.lease_key(), Some(holder.to_json()));
                let _ = writer.commit(&self.shared.at, vec![record]).await;
            }
        })
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The transactional id.
    fn name(&self) -> String {
        format!("{}-{}", self.config.topic, self.cluster)
    }

    fn record_key(&self, key: &str) -> Vec<u8> {
        format!("{}/{key}", self.cluster).into_bytes()
    }

    /// `#` is in no cluster's name, so that this is no key of a value.
    fn lease_key(&self) -> Vec<u8> {
        format!("{}#lease", self.cluster).into_bytes()
    }

    fn place(&self) -> String {
        format!("the topic {}", self.config.topic)
    }

    fn ttl(&self) -> Duration {
        self.config.lease.0
    }

    /// Says what is unwise about the topic, once for each change of that.
    fn warn_once(&self, unwise: String) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if *warned != unwise && !unwise.is_empty() {
            tracing::warn!(topic = %self.config.topic, "the state store may lose what was written: {unwise}");
        }
        *warned = unwise;
    }

    /// The term is over. Says whether there was one.
    fn lose(&self, why: &str) -> bool {
        self.known().lease.lose(Standing::Unknown { why: format!("{}: {why}", self.place()) })
    }

    /// Takes in what was read from the topic.
    fn take_in(&self, records: Vec<StoredRecord>) {
        if records.is_empty() {
            return;
        }
        let (prefix, lease) = (self.record_key(""), self.lease_key());
        let now = uptime();
        let mut known = self.known();
        for record in records {
            let Some(key) = &record.key else { continue };
            if *key == lease {
                if let Some(value) = &record.value {
                    known.claim.hear(Holder::read(value), record.offset, now);
                }
                continue;
            }
            put_into(&mut known.values, &prefix, record);
        }
    }
}

/// Takes one record in, if it is of the cluster whose keys begin with `prefix`: those of others are their own stores' business.
fn put_into(values: &mut BTreeMap<String, Versioned>, prefix: &[u8], record: StoredRecord) {
    let key = record.key.as_deref().and_then(|key| key.strip_prefix(prefix));
    let Some(key) = key.and_then(|key| std::str::from_utf8(key).ok()) else { return };
    match record.value {
        Some(value) => {
            let version = Version(record.offset.unsigned_abs());
            // What cannot be unpacked is given as it is: whoever asks for it finds it unreadable.
            let value = unpack(&value).unwrap_or(value);
            values.insert(key.to_owned(), Versioned { value, version });
        }
        None => drop(values.remove(key)),
    }
}

/// What the topic has of a cluster at this moment. Nothing is changed, and nobody is kept from anything.
///
/// # Errors
/// It cannot be read, in words.
pub(crate) async fn peek(
    cluster: &str,
    config: &KafkaStoreConfig,
    kafka: &Kafka,
) -> Result<BTreeMap<String, Versioned>, String> {
    let at = TopicPartition::new(TopicName::from(config.topic.as_str()), 0);
    let names = [TopicName::from(config.topic.as_str())];
    let table = kafka.describe(&names).await.map_err(|error| error.to_string())?;
    if table.is_empty() {
        return Err(format!("there is no topic {}", config.topic));
    }
    let mut log = kafka.committed(&at).await.map_err(|error| error.to_string())?;
    let records = log.up_to_now(keeper::READ_LIMIT).await.map_err(|error| error.to_string())?;
    let mut values = BTreeMap::new();
    for record in records {
        put_into(&mut values, format!("{cluster}/").as_bytes(), record);
    }
    Ok(values)
}

fn check_key(key: &str) -> Result<(), StoreError> {
    if key.is_empty() {
        return Err(StoreError::Key { key: String::new(), why: "it is empty" });
    }
    Ok(())
}
