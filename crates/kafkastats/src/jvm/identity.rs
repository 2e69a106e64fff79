//! Whose figures these are: a port or a URL may be that of a neighbour.
//!
//! A JVM says which broker it is, and of which cluster, and so does Jolokia, if it may. What an exporter's page says depends
//! on its rules: some have the MBeans that name the broker; of the others most name the logs on it, and the broker's own
//! logs are known. Where a page has neither, nothing can be checked.

use std::collections::BTreeSet;
use std::fmt;

use brokerstats::TopicPartition;

/// The MBean that says of which cluster a broker is.
pub const CLUSTER_ID: &str = "kafka.server:type=KafkaServer,name=ClusterId";
/// The MBean that a broker names after itself.
pub const APP_INFO: &str = "kafka.server:type=app-info,id=*";
/// The log of the cluster's metadata, which is on brokers and is no partition of a topic.
const METADATA: &str = "__cluster_metadata";
/// If more than one in so many logs is none of the broker's, they are another's. Logs come and go between two readings, and two
/// neighbours of four that keep three copies of all have two in three in common.
const STRANGE: usize = 10;

/// Which broker is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The id of its cluster.
    pub cluster: String,
    /// Its own id.
    pub broker: i32,
}

/// The replicas that the broker has, in lists that are in order; empty where they are not known.
pub type Held<'a> = [&'a [TopicPartition]; 2];

/// Why these are the figures of somebody else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotIt {
    /// It is another broker.
    #[error("the JVM is broker {found}, and broker {wanted} is meant")]
    OtherBroker {
        /// Which it is.
        found: String,
        /// Which is meant.
        wanted: i32,
    },
    /// It is of another cluster.
    #[error("the JVM is of cluster {found}, and {wanted} is meant")]
    OtherCluster {
        /// Which it is.
        found: String,
        /// Which is meant.
        wanted: String,
    },
    /// It has other logs.
    #[error(
        "the JVM is another broker than {wanted}: of {logs} logs on it {strange} are not on broker {wanted}, as {example}"
    )]
    OtherLogs {
        /// Which broker is meant.
        wanted: i32,
        /// How many logs are told.
        logs: usize,
        /// How many of them the broker that is meant does not have.
        strange: usize,
        /// One of those.
        example: String,
    },
}

/// By what it is known whose the figures are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// They name the broker.
    Name,
    /// They name its logs.
    Logs,
    /// They name neither.
    Nothing,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Proof::Name => "its name",
            Proof::Logs => "its logs",
            Proof::Nothing => "nothing",
        })
    }
}

/// What somebody says of who it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// The clusters that are named.
    pub clusters: BTreeSet<String>,
    /// The brokers that are named, as they are written.
    pub brokers: BTreeSet<String>,
}

impl Told {
    /// Holds it to the broker that is meant.
    ///
    /// # Errors
    /// If another one is named, and that one is not.
    pub fn check(&self, broker: &Identity) -> Result<Proof, NotIt> {
        if !self.clusters.is_empty() && !self.clusters.contains(&broker.cluster) {
            let (found, wanted) = (all(&self.clusters), broker.cluster.clone());
            return Err(NotIt::OtherCluster { found, wanted });
        }
        if self.brokers.is_empty() {
            return Ok(Proof::Nothing);
        }
        if self.brokers.contains(&broker.broker.to_string()) {
            return Ok(Proof::Name);
        }
        Err(NotIt::OtherBroker { found: all(&self.brokers), wanted: broker.broker })
    }
}

fn all(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Holds the logs that are told to those of the broker that is meant.
///
/// # Errors
/// If too many are of another.
pub fn check_logs<'a>(
    logs: impl Iterator<Item = (&'a str, i32)>,
    broker: &Identity,
    held: Held<'_>,
) -> Result<Proof, NotIt> {
    if held.iter().all(|list| list.is_empty()) {
        return Ok(Proof::Nothing);
    }
    let (mut count, mut unknown) = (0, Vec::new());
    for (topic, partition) in logs.filter(|(topic, _)| *topic != METADATA) {
        count += 1;
        let is_it = |list: &&[TopicPartition]| {
            list.binary_search_by(|at| (at.topic.as_str(), at.partition).cmp(&(topic, partition))).is_ok()
        };
        if !held.iter().any(is_it) {
            unknown.push((topic, partition));
        }
    }
    if !unknown.is_empty() {
        // Some exporters write a topic's dots as underscores.
        let plain = |topic: &str| topic.replace('.', "_");
        let renamed: BTreeSet<(String, i32)> =
            held.iter().flat_map(|list| list.iter()).map(|at| (plain(&at.topic), at.partition)).collect();
        unknown.retain(|(topic, partition)| !renamed.contains(&(plain(topic), *partition)));
    }
    match unknown.first() {
        Some((topic, partition)) if unknown.len() * STRANGE > count => Err(NotIt::OtherLogs {
            wanted: broker.broker,
            logs: count,
            strange: unknown.len(),
            example: format!("{topic}-{partition}"),
        }),
        _ if count == 0 => Ok(Proof::Nothing),
        _ => Ok(Proof::Logs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity { cluster: "c".to_owned(), broker: 1 }
    }

    fn told(clusters: &[&str], brokers: &[&str]) -> Result<Proof, NotIt> {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Told { clusters: set(clusters), brokers: set(brokers) }.check(&identity())
    }

    #[test]
    fn who_says_that_it_is_another_is_not_believed_to_be_ours() {
        assert_eq!(told(&[], &[]), Ok(Proof::Nothing));
        assert_eq!(told(&["c"], &[]), Ok(Proof::Nothing), "a neighbour of the same cluster says so too");
        assert_eq!(told(&["c"], &["1"]), Ok(Proof::Name));
        assert_eq!(told(&[], &["1", "x"]), Ok(Proof::Name));
        let words = |refused: Result<Proof, NotIt>| refused.unwrap_err().to_string();
        assert_eq!(words(told(&[], &["11", "2"])), "the JVM is broker 11, 2, and broker 1 is meant");
        assert_eq!(words(told(&["d"], &["1"])), "the JVM is of cluster d, and c is meant");
    }

    fn at(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.to_owned(), partition }
    }

    #[test]
    fn logs_tell_a_neighbour_from_the_broker() {
        let leads: Vec<_> = (0..20).map(|number| at("a.b", number)).collect();
        let follows = [at("c", 0), at("d", 3)];
        let check = |logs: &[(&str, i32)]| {
            check_logs(logs.iter().copied(), &identity(), [leads.as_slice(), follows.as_slice()])
        };
        let own: Vec<_> = (0..20).map(|number| ("a.b", number)).chain([("d", 3)]).collect();
        assert_eq!(check(&own), Ok(Proof::Logs));
        let renamed: Vec<_> = own.iter().map(|(_, number)| ("a_b", *number)).take(20).collect();
        assert_eq!(check(&renamed), Ok(Proof::Logs));
        assert_eq!(check(&[&own[..], &[("new", 0), (METADATA, 0)]].concat()), Ok(Proof::Logs));
        assert_eq!(check(&[]), Ok(Proof::Nothing));
        assert_eq!(check(&[(METADATA, 0)]), Ok(Proof::Nothing));
        let words = check(&[("a.b", 1), ("a.b", 20), ("e", 0)]).unwrap_err().to_string();
        let expected = "the JVM is another broker than 1: of 3 logs on it 2 are not on broker 1, as a.b-20";
        assert_eq!(words, expected);
        // Where the broker's own logs are not known, nothing can be said.
        assert_eq!(check_logs(own.iter().copied(), &identity(), [&[], &[]]), Ok(Proof::Nothing));
    }
}
