//! What the core remembers from cycle to cycle. All of it that must outlive the process is in the state store.

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::{Broker, BrokerId, ClusterId};
use serde::{Deserialize, Serialize};

use crate::execution::Execution;
use crate::incident::Incidents;
use crate::order::Wishes;
use crate::time::Timestamp;

/// A broker that has been seen alive at some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownBroker {
    /// As it was last seen.
    pub broker: Broker,
    /// When it was last seen alive.
    pub last_live: Timestamp,
}

/// What the core remembers of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The identity of the cluster, from the first time that it was seen. Another one stops all acts.
    pub cluster_id: Option<ClusterId>,
    /// Brokers that have been seen alive, with their last addresses.
    pub brokers: BTreeMap<BrokerId, KnownBroker>,
    /// What is wrong.
    pub incidents: Arc<Incidents>,
    /// Work in flight, and the last that ended.
    pub executions: Arc<Vec<Arc<Execution>>>,
    /// What people want.
    pub wishes: Arc<Wishes>,
    /// The number of the next execution.
    pub next_execution: u64,
    /// The number of the next record.
    pub next_record: u64,
}
