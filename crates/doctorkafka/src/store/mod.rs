//! The state store: what must outlive the process.
//!
//! Keys are text such as `clusters/prod/executions/7`; values are bytes. Every change of a value gives it a new
//! version; while a store is open its versions only grow, also over deletion, so that a compare-and-set cannot be fooled by a
//! value that went and came back.
//!
//! What cannot be read is an error and never an empty answer: who cannot read the journal must not act.

mod file;
mod holder;
pub(crate) mod kafka;
mod lease;
mod names;
mod open;
mod own;
mod packed;
pub(crate) mod zookeeper;

#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
pub(crate) mod memory;

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use cluster::BoxFuture;
use thiserror::Error as ThisError;

pub use file::FileStore;
pub use kafka::KafkaStoreConfig;
pub(crate) use lease::uptime;
pub use lease::{Alone, Lease, Standing, Tenure, Term};
pub use open::{ClusterStore, StoreConfig};
pub use zookeeper::ZookeeperStoreConfig;

/// The version of a value. Versions of one store only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

/// A stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The value.
    pub value: Vec<u8>,
    /// Its version.
    pub version: Version,
}

/// Keeps values under keys. A write that has returned `Ok` is durable: it survives the death of the process, and
/// that of the machine as far as the medium keeps what it has confirmed.
pub trait StateStore: Send + Sync {
    /// The value of `key`, or `None` if it has none.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Versioned>, StoreError>>;

    /// Sets the value of `key`, whatever it was.
    fn put<'a>(&'a self, key: &'a str, value: Vec<u8>) -> BoxFuture<'a, Result<Version, StoreError>>;

    /// Sets the value of `key` if its version is still `expected` (`None`: if it has no value).
    /// [`StoreError::Conflict`] otherwise.
    fn compare_and_set<'a>(
        &'a self,
        key: &'a str,
        expected: Option<Version>,
        value: Vec<u8>,
    ) -> BoxFuture<'a, Result<Version, StoreError>>;

    /// The keys that begin with `prefix`, in order.
    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>>;

    /// Removes `key`. Removing what is not there is no error.
    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), StoreError>>;
}

impl<S: StateStore + ?Sized> StateStore for Arc<S> {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Versioned>, StoreError>> {
        (**self).get(key)
    }

    fn put<'a>(&'a self, key: &'a str, value: Vec<u8>) -> BoxFuture<'a, Result<Version, StoreError>> {
        (**self).put(key, value)
    }

    fn compare_and_set<'a>(
        &'a self,
        key: &'a str,
        expected: Option<Version>,
        value: Vec<u8>,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        (**self).compare_and_set(key, expected, value)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        (**self).list(prefix)
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        (**self).delete(key)
    }
}

/// What can go wrong with the state store.
#[derive(Debug, ThisError)]
pub enum StoreError {
    /// The place of the store could not be opened or made.
    #[error("cannot open the state store {}", path.display())]
    Open {
        /// The place.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Another process owns the store.
    #[error("the state store {} is in use by {}", path.display(), holder(*pid))]
    Locked {
        /// The place.
        path: PathBuf,
        /// The process that holds it, where known.
        pid: Option<u32>,
    },
    /// A value could not be read.
    #[error("cannot read the stored state {key:?} from {at}")]
    Read {
        /// The key, or the prefix.
        key: String,
        /// Where it is kept.
        at: String,
        /// The cause.
        source: std::io::Error,
    },
    /// What is stored is not what was once written.
    #[error("the stored state {key:?} in {at} is damaged: {why}")]
    Damaged {
        /// The key.
        key: String,
        /// Where it is kept.
        at: String,
        /// What is wrong with it.
        why: String,
    },
    /// A value could not be written. What was there before is still there.
    #[error("cannot write the state {key:?} to {at}")]
    Write {
        /// The key.
        key: String,
        /// Where it is kept.
        at: String,
        /// The cause.
        source: std::io::Error,
    },
    /// A compare-and-set found another version than expected.
    #[error("the state {key:?} was changed by somebody else")]
    Conflict {
        /// The key.
        key: String,
        /// The version that was found.
        found: Option<Version>,
    },
    /// The key is not fit to be one.
    #[error("{key:?} cannot be a key: {why}")]
    Key {
        /// The key.
        key: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Another service may have become the one that writes: nothing was written.
    #[error("this service does not hold the lease: {why}")]
    NotTheHolder {
        /// What is known of it.
        why: String,
    },
    /// The process is ending.
    #[error("the store is closed")]
    Closed,
}

fn holder(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("another process (pid {pid})"),
        None => "another process".to_owned(),
    }
}

/// An error with all its causes on one line.
pub fn in_words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}
