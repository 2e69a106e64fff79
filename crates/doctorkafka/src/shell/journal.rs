//! The core's memory in the state store.

use std::collections::BTreeMap;
use std::sync::Arc;

use control::{Memory, RestoreError};
use serde_json::Value;
use thiserror::Error;

use crate::store::{StateStore, StoreError};

/// What the keys of all clusters' journals begin with.
pub(crate) const JOURNALS: &str = "clusters/";

/// The part of the state store that belongs to one cluster.
#[derive(Clone)]
pub struct Journal {
    store: Arc<dyn StateStore>,
    prefix: String,
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
    /// What is stored does not make a memory.
    #[error("the stored state cannot be used")]
    Restore(#[from] RestoreError),
}

impl Journal {
    /// The journal of the cluster with the configured name `cluster`.
    pub fn new(store: Arc<dyn StateStore>, cluster: &str) -> Self {
        Self { store, prefix: format!("{JOURNALS}{cluster}/") }
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
        let mut stored = BTreeMap::new();
        for key in self.store.list(&self.prefix).await? {
            // Removed since it was listed: by nobody, as long as the store has one owner.
            let Some(found) = self.store.get(&key).await? else { continue };
            let value: Value = serde_json::from_slice(&found.value)
                .map_err(|source| JournalError::NotJson { key: key.clone(), source })?;
            stored.insert(key[self.prefix.len()..].to_owned(), value);
        }
        Ok(Memory::restore(stored)?)
    }

    /// Makes one change durable.
    ///
    /// # Errors
    /// It is not durable.
    pub async fn persist(&self, key: &str, value: Option<&Value>) -> Result<(), JournalError> {
        let key = format!("{}{key}", self.prefix);
        match value {
            Some(value) => {
                self.store.put(&key, value.to_string().into_bytes()).await?;
            }
            None => self.store.delete(&key).await?,
        }
        Ok(())
    }
}
