//! What people want: orders as they come in, wishes as they are kept.

use std::collections::{BTreeMap, BTreeSet};

use crate::lasting::Lasting;
use cluster::BrokerId;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What the result of an order begins with that was not carried out, because there is nothing to do for it. The reason
/// follows.
pub const REFUSED: &str = "refused: ";

/// What an order is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The whole cluster.
    Cluster,
    /// One broker.
    Broker(BrokerId),
}

/// An order of a person, through CLI or API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Who gave it.
    pub by: String,
    /// Why, in the person's words; may be empty.
    pub reason: String,
    /// What is wanted.
    pub what: OrderKind,
}

/// What a person can want.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum OrderKind {
    /// No new acts; looking goes on.
    Pause,
    /// Acts are allowed again.
    Resume,
    /// Healing may go on although many brokers are dead. Holds until that incident is over.
    Approve,
    /// Cancel our own moves: of one execution, or all.
    Cancel {
        /// The execution, or `None` for all.
        execution: Option<u64>,
    },
    /// Switch maintenance on: nothing is done to the cluster, or to and with the broker.
    MaintenanceOn {
        /// For what.
        scope: Scope,
        /// When it ends by itself.
        until: Option<Timestamp>,
    },
    /// Switch maintenance off.
    MaintenanceOff {
        /// For what.
        scope: Scope,
    },
    /// A broker is to be taken out of service: it gets no replicas any more, and its absence is meant.
    DecommissionOn {
        /// The broker.
        broker: BrokerId,
        /// When it ends by itself.
        until: Option<Timestamp>,
    },
    /// It stays in service after all.
    DecommissionOff {
        /// The broker.
        broker: BrokerId,
    },
    /// Replace the host of a broker at once, if nothing holds it back: the same must be true as for the operator's own choice.
    Replace {
        /// The broker.
        broker: BrokerId,
        /// Whether the last copy of a partition may go with it.
        accept_data_loss: bool,
        /// Whether it is only asked what holds it back.
        only_ask: bool,
    },
    /// Take the cluster's present `cluster.id` as the right one.
    AcceptIdentity,
}

/// One wish that is kept until it is taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// Whose it is.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
}

/// What people have asked for and not taken back. Kept in the state store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wishes {
    /// No new acts.
    pub paused: Option<Wish>,
    /// Maintenance of the whole cluster.
    pub maintenance: Option<Wish>,
    /// Maintenance of single brokers.
    pub broker_maintenance: BTreeMap<BrokerId, Wish>,
    /// Brokers that are to be taken out of service, or have been.
    #[serde(default)]
    pub decommissioned: BTreeMap<BrokerId, Wish>,
    /// Healing in spite of many dead brokers; goes with the incident.
    pub approved: Option<Wish>,
    /// Those that were absent when it was approved: the approval is for them alone.
    #[serde(default)]
    pub approved_brokers: Option<BTreeSet<BrokerId>>,
    /// How long those last yet that end by themselves.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lasting: BTreeMap<String, Lasting>,
}
