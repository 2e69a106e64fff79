//! A text notation for clusters: one line a broker, one line a partition. For fixtures, documents and commands.
//!
//! ```text
//! # a comment
//! b1 rack=r1
//! b2 rack=r2 at=kafka2.example:9093
//! b3 rack=r2 dead
//! b4 fenced
//! orders-0: 1* 2 3~ size=10MiB
//! orders-1: 2* 3~ +1~ -4
//! __consumer_offsets-0: 3 internal
//! ```
//!
//! A broker is `b` and its id; `rack=` and `at=HOST:PORT` are optional (the address is `bID:9092` where it is not
//! given). It is alive unless it is marked `dead` (Kafka has dropped it) or `fenced` (registered, but not serving).
//!
//! A partition is its topic, its number, a colon and its replicas in order: `*` marks the leader, `~` a replica that
//! is out of sync, a leading `+` one that a reassignment adds and `-` one that it removes. Without a `*` the
//! partition has no leader. `size=` gives its bytes, plain or in `KiB`, `MiB`, `GiB`, `TiB`; `internal` marks its
//! topic as internal. The numbers of a topic's partitions have no gaps; their lines may stand in any order.
//!
//! [`ClusterText`] prints in the same notation, and what it prints parses to the same thing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::names::{BrokerId, TopicName, TopicPartition};
use crate::view::{Broker, BrokerAddress, Partition, Reassignment, Reassignments, Topic, TopicTable};

/// The largest partition number that is taken. It bounds what a parser has to hold.
const MAX_PARTITION: i32 = 999_999;

/// What a broker is in a [`ClusterText`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Kafka holds it to be alive.
    #[default]
    Alive,
    /// Kafka has dropped it.
    Dead,
    /// It is registered, but fenced.
    Fenced,
}

/// A broker in a [`ClusterText`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerText {
    /// The broker.
    pub broker: Broker,
    /// What it is.
    pub standing: Standing,
}

/// A cluster as the notation describes it.
///
/// What prints and parses to the same thing: in-sync sets are subsets of the replicas and in their order, as are the
/// adding and removing replicas of reassignments, of which there is at least one; topics and sizes are those of
/// partitions that exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterText {
    /// The brokers.
    pub brokers: BTreeMap<BrokerId, BrokerText>,
    /// The topics.
    pub topics: TopicTable,
    /// The reassignments in progress.
    pub reassignments: Reassignments,
    /// Bytes of partitions, where given.
    pub sizes: BTreeMap<TopicPartition, u64>,
}

impl ClusterText {
    /// The brokers that are `standing`.
    pub fn standing(&self, standing: Standing) -> BTreeMap<BrokerId, Broker> {
        let chosen = self.brokers.iter().filter(|(_, text)| text.standing == standing);
        chosen.map(|(id, text)| (*id, text.broker.clone())).collect()
    }
}

/// Where a text is not in the notation, and why.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct NotationError {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: NotationProblem,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotationProblem {
    /// A line begins like neither a broker nor a partition.
    #[error("expected a broker (b1) or a partition (topic-0:), found \"{found}\"")]
    Line {
        /// What stands there.
        found: String,
    },
    /// A word in a broker's line is not known.
    #[error("expected rack=, at=HOST:PORT, dead or fenced, found \"{found}\"")]
    BrokerWord {
        /// What stands there.
        found: String,
    },
    /// A word in a partition's line is not known.
    #[error("expected a replica (1, 1*, 1~, +1, -1), size= or internal, found \"{found}\"")]
    PartitionWord {
        /// What stands there.
        found: String,
    },
    /// A broker or partition, or a replica within one, or a property is there twice.
    #[error("\"{what}\" is there twice")]
    Twice {
        /// What it is.
        what: String,
    },
    /// A second replica is marked as the leader.
    #[error("a second leader")]
    SecondLeader,
    /// A partition has no replicas.
    #[error("a partition without replicas")]
    NoReplicas,
    /// A topic's partitions have gaps.
    #[error("partition {missing} is missing")]
    Gap {
        /// The first one that is missing.
        missing: TopicPartition,
    },
}

/// A word of a line, with its column.
#[derive(Clone, Copy)]
struct Word<'a> {
    line: usize,
    column: usize,
    text: &'a str,
}

impl Word<'_> {
    fn refuse<T>(self, problem: NotationProblem) -> Result<T, NotationError> {
        Err(NotationError { line: self.line, column: self.column, problem })
    }

    fn twice<T>(self) -> Result<T, NotationError> {
        self.refuse(NotationProblem::Twice { what: self.text.to_owned() })
    }
}

impl FromStr for ClusterText {
    type Err = NotationError;

    fn from_str(text: &str) -> Result<Self, NotationError> {
        let mut cluster = Self::default();
        let mut rows = BTreeMap::<TopicName, BTreeMap<i32, (Word<'_>, Row)>>::new();
        for (at, line) in text.lines().enumerate() {
            let words = words(at + 1, line);
            let Some((first, rest)) = words.split_first() else { continue };
            if let Some(key) = first.text.strip_suffix(':').and_then(partition_name) {
                let row = parse_row(*first, rest)?;
                let partitions = rows.entry(key.topic.clone()).or_default();
                if partitions.insert(key.partition, (*first, row)).is_some() {
                    return first.twice();
                }
            } else if let Some(id) = first.text.strip_prefix('b').and_then(broker_id) {
                let broker = parse_broker(id, rest)?;
                if cluster.brokers.insert(id, broker).is_some() {
                    return first.twice();
                }
            } else {
                return first.refuse(NotationProblem::Line { found: first.text.to_owned() });
            }
        }
        for (name, partitions) in rows {
            cluster.add_topic(name, partitions)?;
        }
        Ok(cluster)
    }
}

impl ClusterText {
    fn add_topic(
        &mut self,
        name: TopicName,
        rows: BTreeMap<i32, (Word<'_>, Row)>,
    ) -> Result<(), NotationError> {
        let mut topic = Topic { internal: false, partitions: Vec::with_capacity(rows.len()) };
        for (expected, (number, (word, row))) in (0..).zip(rows) {
            if number != expected {
                let missing = TopicPartition::new(name, expected);
                return word.refuse(NotationProblem::Gap { missing });
            }
            let key = TopicPartition::new(name.clone(), number);
            topic.internal |= row.internal;
            topic.partitions.push(row.partition);
            if let Some(size) = row.size {
                self.sizes.insert(key.clone(), size);
            }
            if let Some(reassignment) = row.reassignment {
                self.reassignments.insert(key, reassignment);
            }
        }
        self.topics.insert(name, topic);
        Ok(())
    }
}

/// Splits a line into words, up to a word that begins a comment.
fn words(line: usize, text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut rest = text;
    let mut column = 1;
    loop {
        let trimmed = rest.trim_start();
        column += rest[..rest.len() - trimmed.len()].chars().count();
        let end = trimmed.find(char::is_whitespace).unwrap_or(trimmed.len());
        let (word, after) = trimmed.split_at(end);
        if word.is_empty() || word.starts_with('#') {
            return words;
        }
        words.push(Word { line, column, text: word });
        column += word.chars().count();
        rest = after;
    }
}

/// A plain decimal number without sign, as ids are written.
fn broker_id(text: &str) -> Option<BrokerId> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().map(BrokerId)
}

/// `topic-0`, with a topic name that Kafka accepts.
fn partition_name(text: &str) -> Option<TopicPartition> {
    let (topic, number) = text.rsplit_once('-')?;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.is_empty() || !topic.chars().all(legal) {
        return None;
    }
    let number = broker_id(number)?.0;
    (number <= MAX_PARTITION).then(|| TopicPartition::new(topic, number))
}

fn parse_broker(id: BrokerId, words: &[Word<'_>]) -> Result<BrokerText, NotationError> {
    let mut rack = None;
    let mut address = None;
    let mut standing = None;
    for word in words {
        let unknown = NotationProblem::BrokerWord { found: word.text.to_owned() };
        let twice = match word.text.split_once('=').unwrap_or((word.text, "")) {
            ("rack", name) if !name.is_empty() => rack.replace(Arc::from(name)).is_some(),
            ("at", place) => match parse_address(place) {
                Some(place) => address.replace(place).is_some(),
                None => return word.refuse(unknown),
            },
            ("dead", "") => standing.replace(Standing::Dead).is_some(),
            ("fenced", "") => standing.replace(Standing::Fenced).is_some(),
            _ => return word.refuse(unknown),
        };
        if twice {
            return word.twice();
        }
    }
    let address = address.unwrap_or_else(|| default_address(id));
    Ok(BrokerText { broker: Broker { id, address, rack }, standing: standing.unwrap_or_default() })
}

fn default_address(id: BrokerId) -> BrokerAddress {
    BrokerAddress { host: format!("b{id}").into(), port: 9092 }
}

fn parse_address(text: &str) -> Option<BrokerAddress> {
    let (host, port) = text.rsplit_once(':')?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bracketed.filter(|host| host.contains(':')).unwrap_or(host);
    if host.is_empty() || (host.contains(':') && bracketed.is_none()) {
        return None;
    }
    Some(BrokerAddress { host: host.into(), port: port.parse().ok()? })
}

/// One partition's line.
struct Row {
    partition: Partition,
    reassignment: Option<Reassignment>,
    size: Option<u64>,
    internal: bool,
}

fn parse_row(first: Word<'_>, words: &[Word<'_>]) -> Result<Row, NotationError> {
    let mut leader = None;
    let mut replicas = Vec::new();
    let mut seen = BTreeSet::new();
    let mut isr = Vec::new();
    let (mut adding, mut removing) = (Vec::new(), Vec::new());
    let mut size = None;
    let mut internal = false;
    for word in words {
        let unknown = NotationProblem::PartitionWord { found: word.text.to_owned() };
        if word.text == "internal" {
            internal = true;
        } else if let Some(bytes) = word.text.strip_prefix("size=") {
            let Some(bytes) = parse_bytes(bytes) else { return word.refuse(unknown) };
            if size.replace(bytes).is_some() {
                return word.twice();
            }
        } else {
            let Some(replica) = parse_replica(word.text) else { return word.refuse(unknown) };
            if !seen.insert(replica.id) {
                return word.twice();
            }
            if replica.leads && leader.replace(replica.id).is_some() {
                return word.refuse(NotationProblem::SecondLeader);
            }
            replicas.push(replica.id);
            isr.extend(replica.in_sync.then_some(replica.id));
            adding.extend((replica.change == Some('+')).then_some(replica.id));
            removing.extend((replica.change == Some('-')).then_some(replica.id));
        }
    }
    if replicas.is_empty() {
        return first.refuse(NotationProblem::NoReplicas);
    }
    let replicas: Box<[BrokerId]> = replicas.into();
    let changes = !(adding.is_empty() && removing.is_empty());
    let reassignment = changes.then(|| Reassignment {
        replicas: replicas.clone(),
        adding: adding.into(),
        removing: removing.into(),
    });
    Ok(Row { partition: Partition { leader, replicas, isr: isr.into() }, reassignment, size, internal })
}

/// One replica's word.
struct ReplicaText {
    id: BrokerId,
    leads: bool,
    in_sync: bool,
    change: Option<char>,
}

fn parse_replica(text: &str) -> Option<ReplicaText> {
    let change = text.chars().next().filter(|c| matches!(c, '+' | '-'));
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (text, in_sync) = match text.strip_suffix('~') {
        Some(text) => (text, false),
        None => (text, true),
    };
    let (text, leads) = match text.strip_suffix('*') {
        Some(text) => (text, true),
        None => (text, false),
    };
    Some(ReplicaText { id: broker_id(text)?, leads, in_sync, change })
}

/// Units of sizes, largest first.
const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

fn parse_bytes(text: &str) -> Option<u64> {
    let unit = UNITS.iter().find_map(|(name, bytes)| Some((text.strip_suffix(name)?, *bytes)));
    let (number, unit) = unit.unwrap_or((text, 1));
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| number.parse::<u64>().ok()?.checked_mul(unit)).flatten()
}

/// Bytes in the largest unit that divides them.
fn bytes_text(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}

impl fmt::Display for BrokerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}", self.broker.id)?;
        if let Some(rack) = &self.broker.rack {
            write!(f, " rack={rack}")?;
        }
        if self.broker.address != default_address(self.broker.id) {
            write!(f, " at={}", self.broker.address)?;
        }
        match self.standing {
            Standing::Alive => Ok(()),
            Standing::Dead => f.write_str(" dead"),
            Standing::Fenced => f.write_str(" fenced"),
        }
    }
}

impl fmt::Display for ClusterText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for broker in self.brokers.values() {
            writeln!(f, "{broker}")?;
        }
        for (name, topic) in &self.topics {
            for (number, partition) in (0..).zip(&topic.partitions) {
                let key = TopicPartition::new(name.clone(), number);
                write!(f, "{key}:")?;
                write_replicas(f, partition, self.reassignments.get(&key))?;
                if let Some(size) = self.sizes.get(&key) {
                    write!(f, " size={}", bytes_text(*size))?;
                }
                writeln!(f, "{}", if topic.internal { " internal" } else { "" })?;
            }
        }
        Ok(())
    }
}

/// The replicas with their marks, each after a space.
fn write_replicas(
    f: &mut fmt::Formatter<'_>,
    partition: &Partition,
    reassignment: Option<&Reassignment>,
) -> fmt::Result {
    for id in &partition.replicas {
        let is_in = |of: fn(&Reassignment) -> &[BrokerId]| reassignment.is_some_and(|r| of(r).contains(id));
        let change = if is_in(|r| &r.adding) {
            "+"
        } else if is_in(|r| &r.removing) {
            "-"
        } else {
            ""
        };
        let leads = if partition.leader == Some(*id) { "*" } else { "" };
        let sync = if partition.isr.contains(id) { "" } else { "~" };
        write!(f, " {change}{id}{leads}{sync}")?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "notation_tests.rs"]
mod tests;
