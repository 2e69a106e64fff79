//! Clusters as one JSON file.
//!
//! `{"brokers": [{"id", "rack", "state", "capacity": {"cpu", "nw_in", "nw_out", "disk"}}], "partitions": [{"topic",
//! "partition", "replicas": [{"broker", "leader", "load": {"cpu", "nw_in", "nw_out", "disk"}}]}]}`. Units and states are those
//! of the folders; a load is that of the replica's present role. A broker without `rack`, or with `null`, is a rack of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use planner::balance::{Broker, Cluster, ClusterError, Loads, Mark, Partition, Replica};
use serde_json::Value;

use crate::{Named, PlacementError, fixed_point};

/// Reads a cluster.
///
/// # Errors
/// The first thing that is wrong with the file.
pub fn read_json(path: &Path) -> Result<Named, PlacementError> {
    let wrong = |what: String| PlacementError::Json { path: path.to_owned(), what };
    let text =
        std::fs::read(path).map_err(|source| PlacementError::Read { path: path.to_owned(), source })?;
    let value: Value = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    named(&value).map_err(wrong)
}

fn named(value: &Value) -> Result<Named, String> {
    let partitions = list(value, "partitions")?;
    let mut topics: BTreeMap<&str, u32> = BTreeMap::new();
    let mut names = Vec::new();
    for partition in partitions {
        let topic = partition["topic"].as_str().ok_or("a partition has no topic")?;
        topics.entry(topic).or_insert_with(|| {
            names.push(topic.to_owned());
            names.len() as u32 - 1
        });
    }
    let mut builder = Cluster::builder(names.len() as u32);
    let (mut racks, mut ordinals, mut broker_ids) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for broker in list(value, "brokers")? {
        let id = number(&broker["id"]).ok_or("a broker has no id")?;
        let refused = |error: ClusterError| format!("broker {id}: {error}");
        let next = racks.len() as u32;
        let alive = match broker["state"].as_str() {
            Some("ALIVE") => true,
            Some("DEAD") => false,
            _ => return Err(format!("broker {id}: the state is neither ALIVE nor DEAD")),
        };
        let rack = match &broker["rack"] {
            // No name looks like it: names stand in quotes.
            Value::Null => format!("of broker {id}"),
            name => name.to_string(),
        };
        let capacity = loads(&broker["capacity"], !alive);
        let ordinal = builder.add_broker(&Broker {
            rack: *racks.entry(rack).or_insert(next),
            set: None,
            capacity: capacity.map_err(|what| format!("broker {id}: capacity: {what}"))?,
            alive,
            takes_replicas: alive,
            takes_leadership: alive,
            mark: Mark::None,
        });
        if ordinals.insert(id, ordinal.map_err(refused)?).is_some() {
            return Err(format!("broker {id} was named before"));
        }
        broker_ids.push(id);
    }
    let mut numbers = Vec::new();
    let mut seen = BTreeSet::new();
    for partition in partitions {
        let topic = partition["topic"].as_str().unwrap_or_default();
        let number =
            number(&partition["partition"]).ok_or_else(|| format!("{topic}: no partition number"))?;
        if !seen.insert((topic, number)) {
            return Err(format!("{topic}-{number} was named before"));
        }
        let number_of = topics.get(topic).copied().unwrap_or(0);
        let read = read_partition(partition, number_of, &ordinals);
        let read = read.and_then(|partition| builder.add_partition(&partition).map_err(|e| e.to_string()));
        read.map_err(|what| format!("{topic}-{number}: {what}"))?;
        numbers.push(number);
    }
    Ok(Named { cluster: builder.build(), broker_ids, topics: names, partitions: numbers })
}

fn read_partition(value: &Value, topic: u32, ordinals: &BTreeMap<i32, u32>) -> Result<Partition, String> {
    let replicas = list(value, "replicas")?;
    let leader = replicas.iter().position(|replica| replica["leader"] == true).ok_or("no replica leads")?;
    let led = loads(&replicas[leader]["load"], false)?;
    let follows = as_follower(led);
    let mut read = Vec::with_capacity(replicas.len());
    for (position, replica) in replicas.iter().enumerate() {
        let broker = number(&replica["broker"]).and_then(|id| ordinals.get(&id)).ok_or("unknown broker")?;
        let load = loads(&replica["load"], false)?;
        read.push(Replica { broker: *broker, load: if position == leader { follows } else { load } });
    }
    Ok(Partition {
        topic,
        replicas: read,
        leader: leader as u32,
        leader_cpu: led[0] - follows[0],
        leader_network_out: led[2] - follows[2],
        frozen: false,
    })
}

/// What a leader would take if it followed: no outbound network, and CPU by Cruise Control's weights of traffic.
fn as_follower(led: Loads) -> Loads {
    let (inbound, outbound) = (led[1] as f64, led[2] as f64);
    let all = 0.7 * inbound + 0.15 * outbound;
    let cpu = if all > 0.0 { led[0] as f64 * 0.15 * inbound / all } else { 0.0 };
    [cpu.round() as i64, led[1], 0, led[3]]
}

fn list<'v>(value: &'v Value, name: &str) -> Result<&'v [Value], String> {
    value[name].as_array().map(Vec::as_slice).ok_or_else(|| format!("no list `{name}`"))
}

fn number(value: &Value) -> Option<i32> {
    value.as_i64().and_then(|number| i32::try_from(number).ok())
}

/// The capacity of a dead broker may be recorded as less than nothing.
fn loads(value: &Value, of_dead: bool) -> Result<Loads, String> {
    let mut loads = [0; 4];
    for (resource, name) in ["cpu", "nw_in", "nw_out", "disk"].into_iter().enumerate() {
        let figure = value[name].as_f64().ok_or_else(|| format!("no number `{name}`"))?;
        let figure = if of_dead { figure.max(0.0) } else { figure };
        loads[resource] =
            fixed_point(resource, figure).ok_or_else(|| format!("`{name}` is out of range: {figure}"))?;
    }
    Ok(loads)
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
        let named = named(&cluster()).unwrap();
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
            named(&value).unwrap_err()
        };
        assert_eq!(refused(|v| v["brokers"] = json!(1)), "no list `brokers`");
        assert_eq!(refused(|v| v["brokers"][1]["id"] = json!(4)), "broker 4 was named before");
        assert_eq!(
            refused(|v| v["partitions"][0]["replicas"][0]["broker"] = json!(9)),
            "t-7: unknown broker"
        );
        assert_eq!(
            refused(|v| v["partitions"][0]["replicas"][1]["leader"] = json!(false)),
            "t-7: no replica leads"
        );
        let state = "broker 4: the state is neither ALIVE nor DEAD";
        assert_eq!(refused(|v| v["brokers"][0]["state"] = json!("alive")), state);
        assert_eq!(refused(|v| v["brokers"][0]["state"] = Value::Null), state);
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
            "broker 4: capacity: no number `cpu`"
        );
    }

    #[test]
    fn brokers_without_a_rack_are_racks_of_their_own() {
        let mut value = cluster();
        for broker in value["brokers"].as_array_mut().unwrap() {
            broker.as_object_mut().unwrap().remove("rack");
        }
        let read = named(&value).unwrap().cluster;
        assert_ne!(read.brokers()[0].rack, read.brokers()[1].rack);
    }
}
