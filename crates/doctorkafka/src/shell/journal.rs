//! The core's memory in the state store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use control::{Memory, RestoreError};
use serde_json::{Value, json};
use thiserror::Error;

use super::known_store::KnownStore;
use super::moving::{self, Former};
use crate::store::{ClusterStore, StateStore, StoreError, Version, Versioned};

/// The version of the values. It grows when an older service could not understand, or would misunderstand, what is written.
pub(crate) const SCHEMA: u64 = 1;

/// What the keys of all clusters' journals begin with.
pub(crate) const JOURNALS: &str = "clusters/";

/// What the keys of messages that wait begin with, in a cluster's part of a store that is shared. They are not of the core's memory.
pub(crate) const MESSAGES: &str = "messages/";

/// The part of the state store that belongs to one cluster.
#[derive(Clone)]
pub struct Journal {
    store: Arc<dyn StateStore>,
    prefix: String,
    /// Where the state was before, if it may have been elsewhere.
    former: Option<Box<Former>>,
    /// Which store it is.
    known: Option<Arc<KnownStore>>,
    /// The version of each value as it was read or written last; nothing before it was read. What somebody else has changed since is not
    /// written over.
    versions: Arc<Mutex<Option<BTreeMap<String, Version>>>>,
}

/// What can go wrong with the journal.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored value is not JSON.
    #[error("the stored state {key:?} is not JSON")]
    NotJson {
        /// The key in the store.
        key: String,
        /// The cause.
        source: serde_json::Error,
    },
    /// A stored value was written by a newer version of this service.
    #[error(
        "the stored state {key:?} has schema {found}, this version reads up to {SCHEMA}: it was written by a newer one"
    )]
    Newer {
        /// The key in the store.
        key: String,
        /// Its schema.
        found: u64,
    },
    /// It is not the store that this service has worked with.
    #[error(
        "the state store is not the one that this service has worked with, but {0}: pauses, decommissions and the cooldown of \
         replacements would be forgotten. If that is right: doctorkafka accept-identity"
    )]
    AnotherStore(&'static str),
    /// A new store could not be given a number.
    #[error("the state store cannot be given a number: {0}")]
    NoNumber(String),
    /// What is stored does not make a memory.
    #[error("the stored state cannot be used")]
    Restore(#[from] RestoreError),
}

impl JournalError {
    /// Whether somebody else has changed what was to be changed.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Store(StoreError::Conflict { .. }))
    }
}

impl Journal {
    /// The journal of the cluster with the configured name `cluster`, in a store that others have part of.
    pub fn new(store: Arc<dyn StateStore>, cluster: &str) -> Self {
        Self {
            store,
            prefix: format!("{JOURNALS}{cluster}/"),
            former: None,
            known: None,
            versions: Arc::default(),
        }
    }

    /// The journal in a cluster's part of a store; what is elsewhere comes there when it is loaded.
    pub(super) fn of(store: &ClusterStore, former: Option<Former>, known: Option<KnownStore>) -> Self {
        let (former, known) = (former.map(Box::new), known.map(Arc::new));
        let (prefix, versions) = (store.prefix.clone(), Arc::default());
        Self { store: Arc::clone(&store.store), prefix, former, known, versions }
    }

    /// The configured name of the cluster to whose journal `key` belongs.
    pub(crate) fn cluster_of(key: &str) -> Option<&str> {
        key.strip_prefix(JOURNALS)?.split_once('/').map(|(cluster, _)| cluster)
    }

    /// Everything that is stored of the cluster, as the memory of its core.
    ///
    /// # Errors
    /// Something cannot be read: nothing may be done then.
    pub async fn load(&self) -> Result<Memory, JournalError> {
        // What was read before may be of a store that is no more.
        *self.versions() = None;
        if let Some(former) = &self.former {
            moving::take_over(former, self).await?;
        }
        if let Some(known) = &self.known {
            known.check(self).await?;
        }
        let mut stored = BTreeMap::new();
        let mut versions = BTreeMap::new();
        let messages = format!("{}{MESSAGES}", self.prefix);
        for key in self.store.list(&self.prefix).await? {
            if key.starts_with(&messages) {
                continue;
            }
            // Removed since it was listed: by nobody, as long as the store has one owner.
            let Some(found) = self.store.get(&key).await? else { continue };
            let value: Value = serde_json::from_slice(&found.value)
                .map_err(|source| JournalError::NotJson { key: key.clone(), source })?;
            let value = unwrapped(&key, value)?;
            versions.insert(key.clone(), found.version);
            stored.insert(key[self.prefix.len()..].to_owned(), value);
        }
        let memory = Memory::restore(stored)?;
        *self.versions() = Some(versions);
        Ok(memory)
    }

    /// Learns which store it is while another service acts. Says whether nothing is left to learn.
    pub(super) async fn learn(&self) -> bool {
        match &self.known {
            Some(known) => known.learn(self).await.unwrap_or(false),
            None => true,
        }
    }

    /// A person takes the store as it is.
    pub(super) fn accept(&self) {
        self.known.iter().for_each(|known| known.accept());
    }

    /// What is stored under a key of the cluster's part, as JSON and without its version.
    pub(crate) async fn value(&self, key: &str) -> Result<Option<Value>, JournalError> {
        let Some(found) = self.get(key).await? else { return Ok(None) };
        let value: Value = serde_json::from_slice(&found.value)
            .map_err(|source| JournalError::NotJson { key: key.to_owned(), source })?;
        unwrapped(key, value).map(Some)
    }

    /// The keys that begin with `prefix`, within the cluster's part.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let keys = self.store.list(&format!("{}{prefix}", self.prefix)).await?;
        Ok(keys.into_iter().map(|key| key[self.prefix.len()..].to_owned()).collect())
    }

    /// What is stored under a key of the cluster's part.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.store.get(&format!("{}{key}", self.prefix)).await
    }

    pub(super) async fn put(&self, key: &str, value: Vec<u8>) -> Result<(), StoreError> {
        self.store.put(&format!("{}{key}", self.prefix), value).await.map(|_| ())
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.store.delete(&format!("{}{key}", self.prefix)).await
    }

    /// Makes one change durable. Once it was read, a value that somebody else has changed is not written over
    /// ([`StoreError::Conflict`]).
    ///
    /// # Errors
    /// It is not durable.
    pub async fn persist(&self, key: &str, value: Option<&Value>) -> Result<(), JournalError> {
        let key = format!("{}{key}", self.prefix);
        match value {
            Some(value) => {
                let written = json!({ "schema": SCHEMA, "value": value }).to_string().into_bytes();
                let expected = self.versions().as_ref().map(|versions| versions.get(&key).copied());
                let version = match expected {
                    Some(expected) => self.store.compare_and_set(&key, expected, written).await?,
                    None => self.store.put(&key, written).await?,
                };
                if let Some(versions) = self.versions().as_mut() {
                    versions.insert(key.clone(), version);
                }
            }
            None => {
                self.store.delete(&key).await?;
                if let Some(versions) = self.versions().as_mut() {
                    versions.remove(&key);
                }
            }
        }
        Ok(())
    }

    fn versions(&self) -> MutexGuard<'_, Option<BTreeMap<String, Version>>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The value without its version. Values from before there was one stand alone.
fn unwrapped(key: &str, stored: Value) -> Result<Value, JournalError> {
    match stored {
        Value::Object(mut parts) if parts.len() == 2 && parts.contains_key("schema") => {
            let found = parts.get("schema").and_then(Value::as_u64).unwrap_or(u64::MAX);
            if found > SCHEMA {
                return Err(JournalError::Newer { key: key.to_owned(), found });
            }
            Ok(parts.remove("value").unwrap_or_default())
        }
        alone => Ok(alone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn a_store_that_was_lost_can_be_accepted_by_who_has_read_it() {
        let (store, local) = (Arc::new(MemoryStore::default()), Arc::new(MemoryStore::default()));
        let known = KnownStore::new(local, "test", "a place".to_owned());
        let shared = Arc::clone(&store) as Arc<dyn StateStore>;
        let journal = Journal { known: Some(Arc::new(known)), ..Journal::new(shared, "test") };
        journal.load().await.unwrap();
        journal.persist("counters", Some(&json!({"next_execution": 1, "next_record": 1}))).await.unwrap();
        for key in store.list("").await.unwrap() {
            store.delete(&key).await.unwrap();
        }
        assert!(matches!(journal.load().await, Err(JournalError::AnotherStore(_))));
        journal.accept();
        journal.load().await.unwrap();
    }

    #[tokio::test]
    async fn values_have_a_version_older_ones_are_read_and_newer_ones_refused() {
        let store = Arc::new(MemoryStore::default());
        let journal = Journal::new(Arc::clone(&store) as Arc<dyn StateStore>, "test");
        journal.persist("next_id", Some(&json!(7))).await.unwrap();
        let written = store.get("clusters/test/next_id").await.unwrap().unwrap().value;
        assert_eq!(String::from_utf8(written).unwrap(), r#"{"schema":1,"value":7}"#);
        assert_eq!(unwrapped("k", json!({"schema": 1, "value": [1]})).unwrap(), json!([1]));
        assert_eq!(unwrapped("k", json!({"a": 1, "value": 2})).unwrap(), json!({"a": 1, "value": 2}));
        // Not written by us, and not written over.
        journal.load().await.unwrap();
        store.put("clusters/test/next_id", br#"{"schema":1,"value":9}"#.to_vec()).await.unwrap();
        let refused = journal.persist("next_id", Some(&json!(8))).await.unwrap_err();
        assert!(matches!(refused, JournalError::Store(StoreError::Conflict { .. })), "{refused}");
        journal.load().await.unwrap();
        journal.persist("next_id", Some(&json!(8))).await.unwrap();
        journal.persist("next_id", None).await.unwrap();
        journal.persist("next_id", Some(&json!(9))).await.unwrap();

        store.put("clusters/test/next_id", br#"{"schema":2,"value":{}}"#.to_vec()).await.unwrap();
        let error = journal.load().await.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("has schema 2") && error.contains("newer"), "{error}");
    }
}
