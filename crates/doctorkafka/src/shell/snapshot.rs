//! What others may see of a cluster's loop, without disturbing it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use control::{Deliveries, Held, Memory, Now, State};
use tokio::sync::{mpsc, oneshot};

use crate::shell::audit::Audit;
use crate::shell::journal::Journal;

/// What a cycle left behind.
#[derive(Clone, Default)]
pub struct Snapshot {
    /// When the last cycle began; `None` before the first.
    pub at: Option<Now>,
    /// How long it took, from looking to the last effect.
    pub took: Duration,
    /// How many cycles there have been.
    pub cycles: u64,
    /// The picture of the cluster.
    pub state: Option<Arc<State>>,
    /// What the core remembers.
    pub memory: Memory,
    /// The events that are held, with the reasons.
    pub held: Vec<Held>,
    /// Whether a monitor stopped the cycle, so that nothing was decided.
    pub stopped: bool,
    /// Why nothing can be done although it might have to: the state store cannot be read or written, or the cycle
    /// failed.
    pub trouble: Option<String>,
    /// Who acts instead, where this service only looks on.
    pub looks_on: Option<String>,
    /// How many acts are under way.
    pub acts: usize,
    /// How messages get out, by the name of the action that sends them.
    pub deliveries: BTreeMap<String, Deliveries>,
}

/// The part of a cluster's loop that is shared with those who ask.
#[derive(Default)]
pub struct Shared {
    newest: Mutex<Arc<Snapshot>>,
    /// The records.
    pub audit: Audit,
}

impl Shared {
    /// What the last cycle left behind.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.newest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a newer one in its place.
    pub(crate) fn publish(&self, snapshot: Snapshot) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
    }
}

/// An order of a person on its way to the loop.
#[derive(Debug)]
pub struct OrderRequest {
    /// The order.
    pub order: control::Order,
    /// Where the answer goes: what came of it, or why it cannot be relied on.
    pub answer: oneshot::Sender<Result<String, String>>,
}

/// How to reach the loop of one cluster. Cheap to clone.
#[derive(Clone)]
pub struct ClusterHandle {
    /// The configured name of the cluster.
    pub name: Arc<str>,
    /// How often its loop runs when nothing wakes it.
    pub evaluation_interval: Duration,
    /// The actions that only say what they would do.
    pub dry_run: Arc<[String]>,
    /// What can be seen of it.
    pub shared: Arc<Shared>,
    /// What is stored of it.
    pub(crate) journal: Journal,
    pub(crate) orders: mpsc::Sender<OrderRequest>,
}

/// How long an order may take to be taken in and written down: a few cycles and a slow disk.
const ORDER_LIMIT: Duration = Duration::from_secs(10);

impl ClusterHandle {
    /// Gives an order and waits until it has been taken in and is durable.
    ///
    /// # Errors
    /// Why it cannot be relied on, in words.
    pub async fn order(&self, order: control::Order) -> Result<String, String> {
        let (answer, answered) = oneshot::channel();
        let attempt = async {
            self.orders
                .send(OrderRequest { order, answer })
                .await
                .map_err(|_| "the loop of this cluster has ended".to_owned())?;
            answered.await.map_err(|_| "the loop of this cluster has ended".to_owned())?
        };
        let late = "the loop of this cluster did not take the order in time; it may still do so".to_owned();
        tokio::time::timeout(ORDER_LIMIT, attempt).await.unwrap_or(Err(late))
    }
}
