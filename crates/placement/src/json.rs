//! Clusters as one JSON file.
//!
//! `{"brokers": [{"id", "rack", "host", "state", "capacity": {"cpu", "nw_in", "nw_out", "disk"}, "disks": [{"logdir", "capacity",
//! "state"}]}], "partitions": [{"topic", "partition", "replicas": [{"broker", "leader", "offline", "logdir", "load": {"cpu", "nw_in",
//! "nw_out", "disk"}}]}]}`. Units and states
//! are those of the folders; a load is that of the replica's present role. A broker without `rack`, or with `null`, stands in a
//! rack with those of its `host`, or is one of its own. `offline` says that a replica's log dir has failed, as does a `logdir` that is
//! `DEAD`.

mod dirs;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use planner::balance::{Broker, Cluster, ClusterError, DISK, Loads, Mark, Partition, Replica};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::{Named, PlacementError, fixed_point};
use dirs::{DirRow, Dirs, Stand};

/// Reads a cluster.
///
/// # Errors
/// The first thing that is wrong with the file, with line and column.
pub fn read_json(path: &Path) -> Result<Named, PlacementError> {
    let text =
        std::fs::read(path).map_err(|source| PlacementError::Read { path: path.to_owned(), source })?;
    // Some editors put a mark of the encoding first.
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&text);
    named(text).map_err(|what| PlacementError::Json { path: path.to_owned(), what })
}

#[derive(Deserialize)]
struct OfTopic {
    topic: String,
}

#[derive(Deserialize)]
struct BrokerRow {
    id: i32,
    rack: Option<Value>,
    host: Option<String>,
    state: String,
    capacity: LoadRow,
    disks: Option<Vec<DirRow>>,
}

#[derive(Deserialize)]
struct PartitionRow {
    topic: String,
    partition: i32,
    replicas: Vec<ReplicaRow>,
}

#[derive(Deserialize)]
struct ReplicaRow {
    broker: i32,
    #[serde(default)]
    leader: bool,
    #[serde(default)]
    offline: bool,
    logdir: Option<String>,
    load: LoadRow,
}

#[derive(Deserialize, Clone, Copy)]
struct LoadRow {
    cpu: f64,
    nw_in: f64,
    nw_out: f64,
    disk: f64,
}

fn named(text: &[u8]) -> Result<Named, String> {
    let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
    let mut topics = Vec::new();
    each(text, "partitions", |partition: OfTopic| {
        if partition.topic.is_empty() {
            return Err("the topic has no name".to_owned());
        }
        if partition.topic.chars().any(char::is_control) {
            return Err(format!("{:?}: the topic's name has control characters", partition.topic));
        }
        if !numbers.contains_key(&partition.topic) {
            numbers.insert(partition.topic.clone(), topics.len() as u32);
            topics.push(partition.topic);
        }
        Ok(())
    })?;
    let mut builder = Cluster::builder(topics.len() as u32);
    let (mut racks, mut ordinals, mut broker_ids) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    let (mut dirs, mut log_dirs, mut rack_of) = (Vec::new(), Vec::new(), Vec::new());
    let mut hosts: BTreeMap<String, u32> = BTreeMap::new();
    each(text, "brokers", |mut row: BrokerRow| {
        let (id, disks) = (row.id, row.disks.take().unwrap_or_default());
        let host = row.host.clone();
        if id < 0 {
            return Err(format!("broker id {id}: Kafka's are 0 and up"));
        }
        let rack = rack(&row);
        rack_of.push(rack.trim_matches('"').to_owned());
        let broker = broker(row, rack, &mut racks).map_err(|what| format!("broker {id}: {what}"))?;
        let ordinal =
            builder.add_broker(&broker).map_err(|error: ClusterError| format!("broker {id}: {error}"))?;
        if let Some(host) = host {
            let next = hosts.len() as u32;
            let host = *hosts.entry(host).or_insert(next);
            builder.host(ordinal, host).map_err(|error| format!("broker {id}: {error}"))?;
        }
        let of = Dirs::read(disks, broker.alive, broker.capacity[DISK]);
        let of = of.map_err(|what| format!("broker {id}: {what}"))?;
        log_dirs.push(of.add_to(&mut builder, ordinal).map_err(|what| format!("broker {id}: {what}"))?);
        dirs.push(of);
        broker_ids.push(id);
        match ordinals.insert(id, ordinal) {
            None => Ok(()),
            Some(_) => Err(format!("broker {id} was named before")),
        }
    })?;
    let mut partitions = Vec::new();
    let mut seen = BTreeSet::new();
    each(text, "partitions", |row: PartitionRow| {
        let topic = numbers.get(&row.topic).copied().unwrap_or(0);
        let name = format!("{}-{}", row.topic, row.partition);
        if row.partition < 0 {
            return Err(format!("partition {}: Kafka's are 0 and up", row.partition));
        }
        if !seen.insert((topic, row.partition)) {
            return Err(format!("{name} was named before"));
        }
        partitions.push(row.partition);
        add_partition(&mut builder, &row, topic, (&ordinals, &dirs)).map_err(|what| format!("{name}: {what}"))
    })?;
    Ok(Named { cluster: builder.build(), broker_ids, racks: rack_of, topics, partitions, log_dirs })
}

/// What a broker shares with those that fail with it.
fn rack(row: &BrokerRow) -> String {
    match (&row.rack, &row.host) {
        // No name looks like these: names stand in quotes.
        (Some(Value::Null) | None, Some(host)) => format!("of host {host}"),
        (Some(Value::Null) | None, None) => format!("of broker {}", row.id),
        (Some(name), _) => name.to_string(),
    }
}

fn broker(row: BrokerRow, rack: String, racks: &mut BTreeMap<String, u32>) -> Result<Broker, String> {
    let alive = match row.state.as_str() {
        "ALIVE" => true,
        "DEAD" => false,
        _ => return Err("the state is neither ALIVE nor DEAD".to_owned()),
    };
    let next = racks.len() as u32;
    Ok(Broker {
        rack: *racks.entry(rack).or_insert(next),
        set: None,
        capacity: loads(row.capacity, !alive).map_err(|what| format!("capacity: {what}"))?,
        alive,
        takes_replicas: alive,
        takes_leadership: alive,
        mark: Mark::None,
    })
}

fn add_partition(
    builder: &mut planner::balance::Builder,
    row: &PartitionRow,
    topic: u32,
    (ordinals, dirs): (&BTreeMap<i32, u32>, &[Dirs]),
) -> Result<(), String> {
    let mut leading = (0..).zip(&row.replicas).filter(|(_, replica)| replica.leader);
    let (leader, led) = leading.next().ok_or("no replica leads")?;
    if leading.next().is_some() {
        return Err("several replicas lead".to_owned());
    }
    let led = loads(led.load, false)?;
    let follows = as_follower(led);
    let (mut replicas, mut stands) = (Vec::new(), Vec::new());
    for (position, replica) in (0..).zip(&row.replicas) {
        let broker =
            ordinals.get(&replica.broker).ok_or_else(|| format!("there is no broker {}", replica.broker))?;
        let load = if position == leader { follows } else { loads(replica.load, false)? };
        replicas.push(Replica { broker: *broker, load });
        let stand = dirs[*broker as usize].find(replica.logdir.as_deref());
        stands.push(stand.map_err(|what| format!("broker {} {what}", replica.broker))?);
    }
    let partition = Partition {
        topic,
        replicas,
        leader,
        leader_cpu: led[0] - follows[0],
        leader_network_out: led[2] - follows[2],
        frozen: false,
    };
    let ordinal = builder.add_partition(&partition).map_err(|error| in_ids(error, row))?;
    for (position, (replica, stand)) in (0..).zip(row.replicas.iter().zip(stands)) {
        let said = match stand {
            Stand::Failed => builder.offline(ordinal, position),
            _ if replica.offline => builder.offline(ordinal, position),
            Stand::Dir(dir) => builder.stands_in(ordinal, position, dir),
            Stand::Unknown => Ok(()),
        };
        said.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// What is wrong with a partition; brokers by their ids.
fn in_ids(error: ClusterError, row: &PartitionRow) -> String {
    let ids: Vec<i32> = row.replicas.iter().map(|replica| replica.broker).collect();
    let twice = ids.iter().enumerate().find(|(at, id)| ids[..*at].contains(id));
    match (error, twice) {
        (ClusterError::DuplicateReplica { .. }, Some((_, id))) => format!("broker {id} holds two replicas"),
        _ => error.to_string(),
    }
}

/// What a leader would take if it followed: no outbound network, and CPU by Cruise Control's weights of traffic.
fn as_follower(led: Loads) -> Loads {
    let (inbound, outbound) = (led[1] as f64, led[2] as f64);
    let all = 0.7 * inbound + 0.15 * outbound;
    let cpu = if all > 0.0 { led[0] as f64 * 0.15 * inbound / all } else { 0.0 };
    [cpu.round() as i64, led[1], 0, led[3]]
}

/// The capacity of a dead broker may be recorded as less than nothing.
fn loads(row: LoadRow, of_dead: bool) -> Result<Loads, String> {
    let mut loads = [0; 4];
    let figures = [("cpu", row.cpu), ("nw_in", row.nw_in), ("nw_out", row.nw_out), ("disk", row.disk)];
    for (resource, (name, figure)) in figures.into_iter().enumerate() {
        let figure = if of_dead { figure.max(0.0) } else { figure };
        loads[resource] =
            fixed_point(resource, figure).ok_or_else(|| format!("`{name}` is out of range: {figure}"))?;
    }
    Ok(loads)
}

/// Takes one element of a list of the file's object after the other; passes over all else. What is wrong with one is said with
/// the place where it ends.
fn each<'de, T: Deserialize<'de>>(
    text: &'de [u8],
    name: &'static str,
    take: impl FnMut(T) -> Result<(), String>,
) -> Result<(), String> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let field = Field { name, elements: Elements { take, of: PhantomData } };
    let read = field.deserialize(&mut reader).and_then(|()| reader.end());
    read.map_err(|error| error.to_string())
}

struct Field<T, F> {
    name: &'static str,
    elements: Elements<T, F>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Result<(), String>> DeserializeSeed<'de> for Field<T, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Result<(), String>> Visitor<'de> for Field<T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with the lists `brokers` and `partitions`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut elements = Some(self.elements);
        while let Some(key) = map.next_key::<String>()? {
            if key != self.name {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            match elements.take() {
                Some(elements) => map.next_value_seed(elements)?,
                None => return Err(A::Error::custom(format!("a second list `{key}`"))),
            }
        }
        if elements.is_some() { Err(A::Error::custom(format!("no list `{}`", self.name))) } else { Ok(()) }
    }
}

struct Elements<T, F> {
    take: F,
    of: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Result<(), String>> DeserializeSeed<'de> for Elements<T, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Result<(), String>> Visitor<'de> for Elements<T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Element { take: &mut self.take, of: PhantomData })?.is_some() {}
        Ok(())
    }
}

/// What is refused within the object is refused where the object ends: the reader has gone on to the next by the time the
/// list hears of it.
struct Element<'f, T, F> {
    take: &'f mut F,
    of: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Result<(), String>> DeserializeSeed<'de> for Element<'_, T, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Result<(), String>> Visitor<'de> for Element<'_, T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let element = T::deserialize(MapAccessDeserializer::new(map))?;
        (self.take)(element).map_err(A::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cluster() -> Value {
        let capacity = json!({"cpu": 100.0, "nw_in": 10.0, "nw_out": 10.0, "disk": 50.0});
        let load = json!({"cpu": 10.0, "nw_in": 3.0, "nw_out": 4.0, "disk": 5.0});
        json!({
            "brokers": [
                {"id": 4, "rack": "a", "state": "ALIVE", "capacity": capacity},
                {"id": 2, "rack": "b", "state": "DEAD", "capacity": capacity},
            ],
            "partitions": [{"topic": "t", "partition": 7, "replicas": [
                {"broker": 2, "leader": false, "load": load}, {"broker": 4, "leader": true, "load": load},
            ]}],
        })
    }

    #[test]
    fn names_loads_and_roles_are_read() {
        let named = named(cluster().to_string().as_bytes()).unwrap();
        assert_eq!(
            (named.broker_ids, named.topics, named.partitions),
            (vec![4, 2], vec!["t".into()], vec![7])
        );
        assert!(named.cluster.brokers()[0].alive && !named.cluster.brokers()[1].alive);
        assert_eq!((named.cluster.replicas(0), named.cluster.leader(0)), (&[1, 0][..], 1));
        assert_eq!(named.cluster.loads(0)[1], [1_666_666_667, 3_000_000, 0, 5_000_000]);
        assert_eq!(named.cluster.leader_share(0), [8_333_333_333, 0, 4_000_000, 0]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let refused = |change: fn(&mut Value)| {
            let mut value = cluster();
            change(&mut value);
            let what = named(value.to_string().as_bytes()).unwrap_err();
            let (what, at) = what.split_once(" at line 1 column ").expect(&what);
            assert!(at.parse::<usize>().is_ok(), "{at}");
            what.to_owned()
        };
        assert_eq!(refused(|v| v["brokers"] = json!(1)), "invalid type: integer `1`, expected a list");
        let without = |v: &mut Value| drop(v.as_object_mut().unwrap().remove("brokers"));
        assert_eq!(refused(without), "no list `brokers`");
        assert_eq!(
            refused(|v| *v = json!([])),
            "invalid type: sequence, expected an object with the lists `brokers` and `partitions`"
        );
        assert_eq!(refused(|v| v["brokers"][1]["id"] = json!(4)), "broker 4 was named before");
        assert_eq!(
            refused(|v| v["partitions"][0]["replicas"][0]["broker"] = json!(9)),
            "t-7: there is no broker 9"
        );
        assert_eq!(
            refused(|v| v["partitions"][0]["replicas"][1]["leader"] = json!(false)),
            "t-7: no replica leads"
        );
        let state = "broker 4: the state is neither ALIVE nor DEAD";
        assert_eq!(refused(|v| v["brokers"][0]["state"] = json!("alive")), state);
        let null = "invalid type: null, expected a string";
        assert_eq!(refused(|v| v["brokers"][0]["state"] = Value::Null), null);
        assert_eq!(
            refused(|v| v["partitions"][0]["replicas"][0]["leader"] = json!(true)),
            "t-7: several replicas lead"
        );
        let both = |v: &mut Value| {
            v["partitions"][0]["replicas"][0]["broker"] = json!(4);
        };
        assert_eq!(refused(both), "t-7: broker 4 holds two replicas");
        let twice = |v: &mut Value| {
            let again = v["partitions"][0].clone();
            v["partitions"].as_array_mut().unwrap().push(again);
        };
        assert_eq!(refused(twice), "t-7 was named before");
        assert_eq!(
            refused(|v| v["partitions"][0]["replicas"][0]["load"]["disk"] = json!(-1.0)),
            "t-7: `disk` is out of range: -1"
        );
        assert_eq!(
            refused(|v| v["brokers"][0]["capacity"]["cpu"] = json!(-1.0)),
            "broker 4: capacity: `cpu` is out of range: -1"
        );
        assert_eq!(
            refused(|v| v["brokers"][0]["capacity"] = Value::Null),
            "invalid type: null, expected struct LoadRow"
        );
    }

    #[test]
    fn topics_without_a_name_or_with_one_that_would_upset_a_terminal_are_refused() {
        let refused = |name: &str| {
            let mut value = cluster();
            value["partitions"][0]["topic"] = json!(name);
            named(value.to_string().as_bytes()).unwrap_err()
        };
        assert!(refused("").starts_with("the topic has no name at line 1"), "{}", refused(""));
        let why = refused("a\u{1b}[31m");
        assert!(
            why.starts_with("\"a\\u{1b}[31m\": the topic's name has control characters at line 1"),
            "{why}"
        );
    }

    #[test]
    fn racks_keep_their_names_and_what_has_none_is_named_by_what_it_stands_on() {
        let racks = |value: &Value| named(value.to_string().as_bytes()).unwrap().racks;
        let mut value = cluster();
        assert_eq!(racks(&value), ["a", "b"]);
        value["brokers"][0].as_object_mut().unwrap().remove("rack");
        value["brokers"][1]["rack"] = Value::Null;
        value["brokers"][1]["host"] = json!("h");
        assert_eq!(racks(&value), ["of broker 4", "of host h"]);
    }

    #[test]
    fn brokers_without_a_rack_are_racks_of_their_own() {
        let mut value = cluster();
        for broker in value["brokers"].as_array_mut().unwrap() {
            broker.as_object_mut().unwrap().remove("rack");
        }
        let racks = |value: &Value| {
            let read = named(value.to_string().as_bytes()).unwrap().cluster;
            [0, 1].map(|at| read.brokers()[at].rack)
        };
        assert_eq!(racks(&value), [0, 1]);
        value["brokers"][0]["host"] = json!("h");
        assert_eq!(racks(&value), [0, 1]);
        value["brokers"][1]["host"] = json!("h");
        assert_eq!(racks(&value), [0, 0], "what stands on one host falls with it");
        value["brokers"][0]["rack"] = json!("a");
        assert_eq!(racks(&value), [0, 1]);
        assert!(named(value.to_string().as_bytes()).unwrap().cluster.same_host(0, 1));
    }

    #[test]
    fn lists_come_in_any_order_and_a_second_one_is_refused() {
        let value = cluster();
        let (brokers, partitions) = (&value["brokers"], &value["partitions"]);
        let turned = format!("{{\"partitions\": {partitions}, \"more\": [1], \"brokers\": {brokers}}}");
        assert_eq!(named(turned.as_bytes()).unwrap().broker_ids, [4, 2]);
        let twice = format!("{{\n\"brokers\": {brokers},\n\"partitions\": [],\n\"brokers\": []}}");
        let what = named(twice.as_bytes()).unwrap_err();
        assert!(what.starts_with("a second list `brokers` at line 4 column "), "{what}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let row = |number: u32| format!("{{\"topic\": \"t\", \"partition\": {number}, \"replicas\": []}}");
        let text = format!("{{\"brokers\": [],\n \"partitions\": [\n  {},\n  {}]}}", row(0), row(1));
        assert_eq!(named(text.as_bytes()).unwrap_err(), "t-0: no replica leads at line 3 column 48");
        assert_eq!(named(b"{\"brokers\": [}").unwrap_err(), "expected value at line 1 column 14");
    }

    #[test]
    fn ids_that_kafka_does_not_have_are_refused() {
        let mut value = cluster();
        value["brokers"][0]["id"] = json!(-1);
        let what = named(value.to_string().as_bytes()).unwrap_err();
        assert!(what.starts_with("broker id -1: Kafka's are 0 and up"), "{what}");
        let mut value = cluster();
        value["partitions"][0]["partition"] = json!(-2);
        let what = named(value.to_string().as_bytes()).unwrap_err();
        assert!(what.starts_with("partition -2: Kafka's are 0 and up"), "{what}");
    }

    #[test]
    fn offline_replicas_are_so() {
        let mut value = cluster();
        value["partitions"][0]["replicas"][1]["offline"] = json!(true);
        let read = named(value.to_string().as_bytes()).unwrap().cluster;
        assert_eq!([read.offline(0, 0), read.offline(0, 1)], [false, true]);
    }

    /// A broker with two log dirs, of which the second has failed or not, and a dead one.
    fn with_dirs(state: &str, capacity: f64) -> Value {
        let mut value = cluster();
        let dir = |name: &str, capacity: f64, state: &str| json!({"logdir": name, "capacity": capacity, "state": state});
        value["brokers"][0]["disks"] =
            json!([dir("/a", 20.0, "ALIVE"), dir("/b", capacity, state), dir("/c", 5.0, "ALIVE")]);
        value["brokers"][1]["disks"] = json!([dir("/a", -1.0, "DEAD"), dir("/b", -1.0, "DEAD")]);
        value["partitions"][0]["replicas"][0]["logdir"] = json!("/b");
        value["partitions"][0]["replicas"][1]["logdir"] = json!("/b");
        value
    }

    #[test]
    fn log_dirs_are_read_and_what_is_in_a_dead_one_is_offline() {
        let read = named(with_dirs("ALIVE", 25.0).to_string().as_bytes()).unwrap();
        assert_eq!(read.cluster.log_dirs(0), [20_000_000, 25_000_000, 5_000_000]);
        assert_eq!(read.log_dirs, [vec!["/a", "/b", "/c"], vec![]]);
        assert_eq!([0, 1].map(|at| read.cluster.log_dir(0, at)), [None, Some(1)]);
        assert!(!read.cluster.offline(0, 1));
        let mut failed = with_dirs("DEAD", -1.0);
        failed["brokers"][0]["capacity"]["disk"] = json!(25.0);
        let read = named(failed.to_string().as_bytes()).unwrap();
        assert_eq!(
            (read.cluster.log_dirs(0), read.log_dir(0, 1)),
            (&[20_000_000, 5_000_000][..], Some("/c"))
        );
        assert_eq!((read.cluster.log_dir(0, 1), read.cluster.offline(0, 1)), (None, true));
    }

    #[test]
    fn log_dirs_that_cannot_be_are_refused() {
        let refused = |value: Value| {
            let what = named(value.to_string().as_bytes()).unwrap_err();
            what.split_once(" at line 1 column ").expect(&what).0.to_owned()
        };
        let sum = "broker 4: its log dirs that live hold 45 together, and its capacity of disk is 50";
        assert_eq!(refused(with_dirs("ALIVE", 20.0)), sum);
        let state = "broker 4: log dir /b: the state is neither ALIVE nor DEAD";
        assert_eq!(refused(with_dirs("alive", 25.0)), state);
        let range = "broker 4: log dir /b: `capacity` is out of range: -1";
        assert_eq!(refused(with_dirs("ALIVE", -1.0)), range);
        let mut unknown = with_dirs("ALIVE", 25.0);
        unknown["partitions"][0]["replicas"][1]["logdir"] = json!("/x");
        assert_eq!(refused(unknown), "t-7: broker 4 has no log dir /x");
        let mut twice = with_dirs("ALIVE", 25.0);
        twice["brokers"][0]["disks"][1]["logdir"] = json!("/a");
        assert_eq!(refused(twice), "broker 4: log dir /a was named before");
    }

    #[test]
    fn one_log_dir_is_the_disk_of_its_broker_and_one_of_unknown_size_leaves_all_unknown() {
        let mut one = with_dirs("ALIVE", 25.0);
        one["brokers"][0]["disks"] = json!([{"logdir": "/b", "capacity": 50.0}]);
        let read = named(one.to_string().as_bytes()).unwrap();
        assert_eq!((read.cluster.has_log_dirs(), read.cluster.log_dir(0, 1)), (false, None));
        let mut unknown = with_dirs("ALIVE", 0.0);
        unknown["brokers"][0]["capacity"]["disk"] = json!(0.0);
        assert!(!named(unknown.to_string().as_bytes()).unwrap().cluster.has_log_dirs());
    }
}
