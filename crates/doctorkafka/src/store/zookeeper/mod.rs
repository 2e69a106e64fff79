//! The state store in ZooKeeper, and the lease of each cluster in it.
//!
//! ```text
//! /doctorkafka/<cluster>/lease          goes with the holder's session; who it is
//! /doctorkafka/<cluster>/fence          changed by whoever takes the lease, in the same step; who took it last
//! /doctorkafka/<cluster>/state/<key>    a value, packed by gzip where it is large
//! ```
//!
//! The lease's node is made by its holder, and ZooKeeper removes it some time after it has heard the last of the holder's session.
//! Each write of the holder goes through that session, and together with a look at the fence's version: a holder whose lease is
//! over cannot write any more, whenever it wakes up. The number of a term is the czxid of its lease's node, the version of a value
//! its mzxid: ZooKeeper numbers all its changes as one.
//!
//! [`claim`] says when the lease may be taken and for how long it is held, `keeper` takes and keeps it, `session` talks to ZooKeeper.

mod claim;
mod config;
mod keeper;
mod session;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cluster::BoxFuture;
use tokio::sync::{Notify, watch};

pub use self::config::ZookeeperStoreConfig;
pub(crate) use self::session::LOG_FILTER;
use self::session::{Change, Failure, Fenced, Session};
use super::holder::Holder;
use super::own::OwnLease;
use super::packed::pack;
use super::{Lease, Standing, StateStore, StoreError, Version, Versioned, names, uptime};
use crate::plugins::task::Task;

/// ZooKeeper takes packets of 1 MiB (`jute.maxbuffer`), and ends the session's connection over a larger one.
const MAX_VALUE: usize = 1_000_000;
/// How often a change is tried that somebody else's changes come before, while nobody else should be there.
const TRIES: usize = 3;

/// The values of one cluster in ZooKeeper, and its lease.
#[derive(Clone)]
pub(crate) struct ZookeeperStore {
    shared: Arc<Shared>,
    /// Ends with the last clone, and with it the session.
    _keeper: Arc<Task>,
}

struct Shared {
    cluster: Arc<str>,
    config: ZookeeperStoreConfig,
    nodes: Nodes,
    me: Holder,
    /// What is written goes through here: one change at a time.
    writer: tokio::sync::Mutex<Option<Arc<Fenced>>>,
    known: Mutex<Known>,
    /// Told when a write has lost the lease.
    lost: Notify,
    /// Told when the lease is to be given up.
    giving_up: watch::Sender<bool>,
}

/// The nodes of one cluster.
struct Nodes {
    lease: String,
    fence: String,
    state: String,
}

impl Nodes {
    /// `.` and `..` are no names of clusters, which have no other characters that a node's name must not have.
    fn new(base: &str, cluster: &str) -> Self {
        let of = |name: &str| format!("{base}/{cluster}/{name}");
        Self { lease: of("lease"), fence: of("fence"), state: of("state") }
    }

    fn value(&self, key: &str) -> Result<String, StoreError> {
        Ok(format!("{}/{}", self.state, names::encode(key)?))
    }
}

/// What is known at this moment.
struct Known {
    /// To read with.
    session: Option<Session>,
    lease: OwnLease,
}

impl ZookeeperStore {
    /// The store of `cluster`; it takes and keeps the lease from now on, within a tokio runtime, for as long as it lives.
    pub(crate) fn start(cluster: &Arc<str>, config: &ZookeeperStoreConfig, instance: &str) -> Self {
        let known = Known { session: None, lease: OwnLease::looking_on("ZooKeeper is being connected to") };
        let shared = Arc::new(Shared {
            cluster: Arc::clone(cluster),
            config: config.clone(),
            nodes: Nodes::new(&config.base(), cluster),
            me: Holder::this_one(instance, config.lease.0),
            writer: tokio::sync::Mutex::default(),
            known: Mutex::new(known),
            lost: Notify::new(),
            giving_up: watch::Sender::new(false),
        });
        let keeper = Arc::new(Task::spawn(keeper::keep(Arc::clone(&shared))));
        Self { shared, _keeper: keeper }
    }

    /// To read with, or why that cannot be done.
    fn session(&self, key: &str) -> Result<Session, StoreError> {
        let known = self.shared.known();
        known.session.clone().ok_or_else(|| self.shared.unread(key, known.lease.why()))
    }

    /// Writes a value if `allowed` by what is there at that moment.
    async fn set(
        &self,
        key: &str,
        value: &[u8],
        allowed: impl Fn(Option<Version>) -> Result<(), StoreError>,
    ) -> Result<Version, StoreError> {
        let path = self.shared.nodes.value(key)?;
        let value = &*pack(value);
        if value.len() > MAX_VALUE {
            let bytes = value.len();
            let why = format!(
                "packed it has {bytes} bytes, ZooKeeper takes {MAX_VALUE} at most (`jute.maxbuffer`)"
            );
            return Err(self.shared.unwritten(key, why));
        }
        let mut slot = self.shared.writer.lock().await;
        for _ in 0..TRIES {
            let fenced = self.shared.may_write(&slot)?;
            let found = fenced.version(&path).await.map_err(|why| self.shared.unwritten(key, why))?;
            allowed(found.map(|(version, _)| version))?;
            let change = match found {
                Some((_, version)) => Change::Set(value, Some(version)),
                None => Change::Create(value),
            };
            match fenced.write(&self.shared.nodes, &path, change).await {
                Err(Failure::Moved) => {}
                other => return other.map_err(|failure| self.shared.failed(key, failure, &mut slot)),
            }
        }
        Err(self.shared.failed(key, Failure::Moved, &mut slot))
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        let path = self.shared.nodes.value(key)?;
        let session = self.session(key)?;
        let stored = session.value(&path, &self.shared.nodes).await;
        if stored.map_err(|why| self.shared.unread(key, why))?.is_none() {
            return Ok(());
        }
        let mut slot = self.shared.writer.lock().await;
        let fenced = self.shared.may_write(&slot)?;
        match fenced.write(&self.shared.nodes, &path, Change::Delete).await {
            Ok(_) | Err(Failure::Moved) => Ok(()),
            Err(failure) => Err(self.shared.failed(key, failure, &mut slot)),
        }
    }
}

/// What ZooKeeper has of a cluster at this moment. Nothing is changed, and nobody is kept from anything.
///
/// # Errors
/// It cannot be read, in words.
pub(crate) async fn peek(
    cluster: &str,
    config: &ZookeeperStoreConfig,
) -> Result<BTreeMap<String, Versioned>, String> {
    let nodes = Nodes::new(&config.base(), cluster);
    let session = Session::open(config).await?;
    let mut values = BTreeMap::new();
    for name in session.names(&nodes).await.map_err(|why| format!("{}: {why}", nodes.state))? {
        let path = format!("{}/{name}", nodes.state);
        if let (Some(key), Some(value)) = (names::decode(&name), session.value(&path, &nodes).await?) {
            values.insert(key, value);
        }
    }
    Ok(values)
}

impl StateStore for ZookeeperStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Versioned>, StoreError>> {
        Box::pin(async move {
            let path = self.shared.nodes.value(key)?;
            let session = self.session(key)?;
            session.value(&path, &self.shared.nodes).await.map_err(|why| self.shared.unread(key, why))
        })
    }

    fn put<'a>(&'a self, key: &'a str, value: Vec<u8>) -> BoxFuture<'a, Result<Version, StoreError>> {
        Box::pin(async move { self.set(key, &value, |_| Ok(())).await })
    }

    fn compare_and_set<'a>(
        &'a self,
        key: &'a str,
        expected: Option<Version>,
        value: Vec<u8>,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        Box::pin(async move {
            self.set(key, &value, |found| {
                if found == expected {
                    Ok(())
                } else {
                    Err(StoreError::Conflict { key: key.to_owned(), found })
                }
            })
            .await
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(async move {
            let session = self.session(prefix)?;
            let names = session.names(&self.shared.nodes).await;
            let names = names.map_err(|why| self.shared.unread(prefix, why))?;
            let keys = names.iter().filter_map(|name| names::decode(name).map(|key| (name, key)));
            // A node that a person has made has a name that no key has.
            let ours = keys.filter(|(name, key)| names::encode(key).is_ok_and(|own| own == **name));
            let mut keys: Vec<String> =
                ours.map(|(_, key)| key).filter(|key| key.starts_with(prefix)).collect();
            keys.sort();
            Ok(keys)
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.remove(key))
    }
}

impl Lease for ZookeeperStore {
    fn standing(&self) -> Standing {
        self.shared.known().lease.standing()
    }

    fn release(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.shared.giving_up.send_replace(true);
            let mut slot = self.shared.writer.lock().await;
            self.shared.lose("the lease was given up");
            // Where it cannot be told, the others wait for the end of the session.
            if let Some(fenced) = slot.take() {
                let _ = fenced.give_up(&self.shared.nodes).await;
            }
        })
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self) -> String {
        format!("ZooKeeper at {}", self.config.servers())
    }

    fn may_write(&self, slot: &Option<Arc<Fenced>>) -> Result<Arc<Fenced>, StoreError> {
        let known = self.known();
        let term = known.lease.term();
        let fenced = slot.as_ref().filter(|fenced| term == Some(fenced.term));
        fenced.cloned().ok_or_else(|| StoreError::NotTheHolder { why: known.lease.why() })
    }

    /// Nobody may count on the lease, nor on what is known of the value, when it is not sure what came of a write: it is all read anew.
    fn failed(&self, key: &str, failure: Failure, slot: &mut Option<Arc<Fenced>>) -> StoreError {
        if let Failure::Taken | Failure::Gone | Failure::Unknown(_) = failure {
            *slot = None;
            self.lose(&failure.words());
            self.lost.notify_one();
        }
        match failure {
            Failure::Taken | Failure::Gone => StoreError::NotTheHolder { why: failure.words() },
            other => self.unwritten(key, other.words()),
        }
    }

    fn unread(&self, key: &str, why: String) -> StoreError {
        StoreError::Read { key: key.to_owned(), at: self.place(), source: std::io::Error::other(why) }
    }

    fn unwritten(&self, key: &str, why: String) -> StoreError {
        StoreError::Write { key: key.to_owned(), at: self.place(), source: std::io::Error::other(why) }
    }

    /// The term is over.
    fn lose(&self, why: &str) {
        let mut known = self.known();
        known.session = None;
        known.lease.lose(self.unknown(why));
    }

    fn unknown(&self, why: &str) -> Standing {
        Standing::Unknown { why: format!("{}: {why}", self.place()) }
    }
}
