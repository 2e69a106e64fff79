//! Events: complete orders and messages.
//!
//! An event leaves no choice to the action that executes it. Its payload is JSON, because events are a public
//! interface: script plugins read them, the journal keeps them. The built-in payloads are the types in here.

use std::collections::BTreeSet;
use std::time::Duration;

use cluster::{BrokerAddress, BrokerId, TopicPartition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::finding::{Severity, Target};
use crate::incident::IncidentKey;

/// Names of the built-in events.
pub mod names {
    /// Move replicas. Payload: [`super::ReassignPartitions`].
    pub const REASSIGN_PARTITIONS: &str = "reassign_partitions";
    /// Elect preferred leaders. Payload: [`super::ElectLeaders`].
    pub const ELECT_LEADERS: &str = "elect_leaders";
    /// Put a record of an act into the audit. Payload: [`crate::record::Record`].
    pub const REPORT_OPERATION: &str = "report_operation";
    /// Reassignments were submitted. Payload: [`super::Message`].
    pub const NOTIFY_REASSIGNMENT: &str = "notify_reassignment";
    /// Maintenance was switched on or off. Payload: [`super::Message`].
    pub const NOTIFY_MAINTENANCE_MODE: &str = "notify_maintenance_mode";
    /// Brokers are without stats. Payload: [`super::Message`].
    pub const ALERT_NO_BROKERSTATS_BROKERS: &str = "alert_no_brokerstats_brokers";
    /// Some under-replicated partitions cannot be healed. Payload: [`super::Message`].
    pub const ALERT_URP_HANDLING_FAILURE: &str = "alert_urp_handling_failure";
    /// Partitions have been under-replicated for too long. Payload: [`super::Message`].
    pub const ALERT_PROLONG_URP: &str = "alert_prolong_urp";
    /// Healing is held by the brake until a person approves. Payload: [`super::Message`].
    pub const ALERT_MASS_FAILURE: &str = "alert_mass_failure";
    /// A broker keeps going and coming. Payload: [`super::Message`].
    pub const ALERT_FLAPPING_BROKER: &str = "alert_flapping_broker";
    /// A reassignment makes no headway. Payload: [`super::Message`].
    pub const ALERT_STUCK_REASSIGNMENT: &str = "alert_stuck_reassignment";
    /// A replication throttle could not be taken away again. Payload: [`super::Message`].
    pub const ALERT_THROTTLE_LEFT: &str = "alert_throttle_left";
    /// It is not known what became of an act that must not be repeated. Payload: [`super::Message`].
    pub const ALERT_UNKNOWN_OUTCOME: &str = "alert_unknown_outcome";
    /// A critical incident that no other alert tells of. Payload: [`super::Message`].
    pub const ALERT_INCIDENT: &str = "alert_incident";
    /// An incident that people were alerted to is over. Payload: [`super::Resolved`].
    pub const ALERT_RESOLVED: &str = "alert_resolved";
    /// Replace the host of a broker. Payload: [`super::ReplaceInstance`].
    pub const REPLACE_INSTANCE: &str = "replace_instance";
    /// A host was replaced, or would be. Payload: [`super::Message`].
    pub const NOTIFY_REPLACEMENT: &str = "notify_replacement";
    /// A broker's host is not replaced, and a person is needed. Payload: [`super::Message`].
    pub const ALERT_REPLACEMENT_HELD: &str = "alert_replacement_held";
}

/// How often an event that is emitted again in every cycle is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repeat {
    /// Each time. The emitter sees to it that it does not ask twice for the same.
    #[default]
    Always,
    /// Once for its cause, until the incident is over.
    OncePerIncident,
    /// For its cause at most once in this time.
    Every(Duration),
}

/// A complete order or message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its name, by which actions subscribe to it.
    pub name: String,
    /// What it is about.
    pub target: Target,
    /// Why, in a sentence.
    pub reason: String,
    /// The incident that is the cause, where there is one.
    #[serde(default)]
    pub cause: Option<IncidentKey>,
    /// The order itself.
    #[serde(default)]
    pub payload: serde_json::Value,
    /// How often it may be delivered: each time, where a script does not say.
    #[serde(default)]
    pub repeat: Repeat,
    /// Whether it follows from a dry act: nothing has really been done.
    #[serde(default)]
    pub dry_run: bool,
    /// What tells one delivery to an action from every other one: the same each time that it is tried again, also by
    /// another process, so that whoever gets it twice can know. Empty until it is dispatched.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
}

impl Event {
    /// An event with a typed payload, to be delivered each time.
    pub fn new(name: &str, target: Target, reason: impl Into<String>, payload: &impl Serialize) -> Self {
        Self {
            name: name.to_owned(),
            target,
            reason: reason.into(),
            cause: None,
            payload: serde_json::to_value(payload).unwrap_or(serde_json::Value::Null),
            repeat: Repeat::Always,
            dry_run: false,
            id: String::new(),
        }
    }

    /// The same event with the incident that caused it.
    #[must_use]
    pub fn caused_by(mut self, cause: IncidentKey) -> Self {
        self.cause = Some(cause);
        self
    }

    /// The same event, delivered as often as `repeat` says.
    #[must_use]
    pub fn repeated(mut self, repeat: Repeat) -> Self {
        self.repeat = repeat;
        self
    }

    /// The payload as a type.
    ///
    /// # Errors
    /// The payload is not of that type.
    pub fn payload_as<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(&self.payload)
    }
}

/// Payload of `reassign_partitions`: which partitions get which replicas. The order in the list is the order in
/// which they are submitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReassignPartitions {
    /// The moves.
    pub moves: Vec<PartitionMove>,
    /// Replication throttle for the time of the moves, in bytes per second and broker; `None` for no throttle.
    pub throttle_bytes_per_second: Option<u64>,
}

/// One partition's new replicas, and what must still be true for the move to be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionMove {
    /// The partition.
    pub partition: TopicPartition,
    /// Its replicas as they must still be when the move is submitted.
    pub from: Vec<BrokerId>,
    /// Its replicas afterwards, in order.
    pub to: Vec<BrokerId>,
    /// Brokers that must still be dead, or the move is no longer wanted. Empty for moves that serve another end.
    pub dead: Vec<BrokerId>,
    /// Brokers that must still be taken out of service, or the move is no longer wanted: they are emptied by it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<BrokerId>,
    /// Bytes that each new replica has to fetch, where known.
    pub bytes: Option<u64>,
    /// The number of in-sync replicas when it was planned. Those with the fewest go first.
    pub in_sync: u32,
    /// Why, in a sentence.
    pub reason: String,
}

impl PartitionMove {
    /// The brokers that get a new replica.
    pub fn added(&self) -> impl Iterator<Item = BrokerId> + '_ {
        self.to.iter().copied().filter(|b| !self.from.contains(b))
    }

    /// The brokers whose replicas it takes away.
    pub fn removed(&self) -> impl Iterator<Item = BrokerId> + '_ {
        self.from.iter().copied().filter(|b| !self.to.contains(b))
    }
}

/// Payload of `elect_leaders`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElectLeaders {
    /// The partitions whose preferred leader is to lead.
    pub partitions: Vec<TopicPartition>,
}

/// Payload of `notify_…` and `alert_…`: what a person should read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// One line.
    pub subject: String,
    /// The text.
    pub body: String,
    /// How much it matters.
    pub severity: Severity,
}

/// Payload of `alert_resolved`: a [`Message`], with the alerts that it is the end of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// One line.
    pub subject: String,
    /// The text.
    pub body: String,
    /// How much it matters: `Info`, as nothing needs to be done.
    pub severity: Severity,
    /// The alerts that people got for the incident.
    pub alerts: Vec<Alerted>,
}

/// An alert that was handed to an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alerted {
    /// The name of the event.
    pub event: String,
    /// What it was about.
    pub target: Target,
    /// How much it mattered.
    pub severity: Severity,
}

/// Payload of `replace_instance`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplaceInstance {
    /// The broker whose host is to be replaced.
    pub broker: BrokerId,
    /// Its host name.
    pub host: String,
    /// Where it was reached last, if that is known: it must not answer there when its host is replaced.
    #[serde(default)]
    pub address: Option<BrokerAddress>,
    /// Its rack, if it has one.
    #[serde(default)]
    pub rack: Option<String>,
    /// Whether it lives, and is replaced because somebody has marked its host, it is degraded, or a person wants it.
    #[serde(default)]
    pub live: bool,
    /// Whether a person accepts that the last copy of a partition may go with it.
    #[serde(default)]
    pub accept_data_loss: bool,
    /// Whether its host is to be replaced without a restart of the broker before: that has been tried, or a person wants it so.
    #[serde(default)]
    pub no_restart: bool,
    /// Whether a person has ordered it.
    #[serde(default)]
    pub by_hand: bool,
}

/// What the action says of a replacement, as the detail of what it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplaceResult {
    /// The broker was restarted, which did not bring it back, and its host has not been replaced: whether it is to be must be decided
    /// on what is known by now.
    #[serde(default)]
    pub restarted_in_vain: bool,
    /// The broker was restarted, and is back: its host has not been replaced.
    #[serde(default)]
    pub restarted: bool,
    /// No program was started for it: whether another host may be replaced does not depend on it.
    #[serde(default)]
    pub not_started: bool,
}

/// What the `reassign_partitions` action is told to do in one step of an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum ReassignStep {
    /// Set the replication throttle of these brokers and topics.
    SetThrottle(Throttle),
    /// Submit these moves.
    Submit {
        /// The moves of this wave.
        moves: Vec<PartitionMove>,
    },
    /// Cancel these reassignments of ours: each only if its target is still the one given here.
    Cancel {
        /// The moves to be cancelled.
        moves: Vec<PartitionMove>,
        /// Whether a person wants it, whatever it costs. If not, what a partition has come to rest on is not given up.
        #[serde(default)]
        by_order: bool,
    },
    /// Take the throttle away again.
    ClearThrottle(Throttle),
}

/// A replication throttle: dynamic configs `leader.replication.throttled.rate`, `follower.replication.throttled.rate`
/// of the brokers and `…throttled.replicas` of the topics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    /// Bytes per second and broker.
    pub bytes_per_second: u64,
    /// The brokers.
    pub brokers: Vec<BrokerId>,
    /// The topics.
    pub topics: Vec<String>,
    /// The values that are ours to set, and to take away again: those that nobody had set when the cluster was asked.
    /// `None` before it was asked: setting such a throttle only asks, and answers with the list. So the list is in the
    /// journal before anything is set, and after a crash neither a value of ours is left nor a person's taken away.
    #[serde(default)]
    pub entries: Option<Vec<ThrottleEntry>>,
}

/// One dynamic config of a throttle: of a broker or of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottleEntry {
    /// The broker, if it is a broker's.
    pub broker: Option<BrokerId>,
    /// The topic, if it is a topic's.
    pub topic: Option<String>,
    /// The name of the config.
    pub key: String,
    /// The value that we set.
    pub value: String,
}

impl Throttle {
    /// Whether it is about the broker or topic of `entry`.
    pub fn concerns(&self, entry: &ThrottleEntry) -> bool {
        entry.broker.is_some_and(|broker| self.brokers.contains(&broker))
            || entry.topic.as_ref().is_some_and(|topic| self.topics.contains(topic))
    }

    /// Whose configs are in the list of what is ours, in words: `broker 3, topic t`. Bounded.
    pub fn places(&self) -> String {
        const MOST: usize = 8;
        let of = |entry: &ThrottleEntry| match (&entry.broker, &entry.topic) {
            (Some(broker), _) => format!("broker {broker}"),
            (None, Some(topic)) => format!("topic {topic}"),
            (None, None) => "nothing".to_owned(),
        };
        let places: BTreeSet<String> = self.entries.iter().flatten().map(of).collect();
        let named: Vec<&str> = places.iter().take(MOST).map(String::as_str).collect();
        let more = places.len().saturating_sub(MOST);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", named.join(", "))
    }
}

/// What became of each partition in a [`ReassignStep`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReassignResult {
    /// Partitions that the cluster has accepted.
    pub accepted: Vec<TopicPartition>,
    /// Partitions for which the precondition no longer held, with what was found.
    pub skipped: Vec<(TopicPartition, String)>,
    /// Partitions that the cluster refused, with its words.
    pub refused: Vec<(TopicPartition, String)>,
    /// Partitions of which nothing is known: the answer was lost.
    pub unknown: Vec<(TopicPartition, String)>,
}
