//! A recorded case as a question for the planner.

use std::collections::BTreeMap;

use planner::balance::{Broker, Cluster, ClusterError, Goal, Loads, Mark, Mode, Partition, Policy, Replica};
use regex_lite::Regex;
use serde_json::Value;

use super::sets::Sets;

/// Why a case is not tried.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Skipped(pub(crate) String);

impl From<ClusterError> for Skipped {
    fn from(error: ClusterError) -> Skipped {
        Skipped(format!("the cluster cannot be: {error}"))
    }
}

/// A cluster and what is asked of it.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) cluster: Cluster,
    pub(crate) policy: Policy,
}

impl Case {
    /// Reads a case of a specification.
    ///
    /// # Errors
    /// What the planner has no goal or mode for.
    pub(crate) fn read(spec: &Value, case: &Value) -> Result<Case, Skipped> {
        if case["kind"] == "remove_disks" {
            return Err(Skipped("removes log dirs".to_owned()));
        }
        let name = case["cluster"].as_str().unwrap_or_default();
        let recorded = &spec["clusters"][name];
        if recorded.is_null() {
            return Err(Skipped(format!("cluster {name} is not in the specification")));
        }
        let mut policy = policy(case)?;
        let sets =
            if policy.goals.contains(&Goal::BrokerSetAware) { Some(Sets::read(spec, case)) } else { None };
        let mut cluster = cluster(recorded, case, sets.as_ref())?;
        if let Some(factor) = case["action"]["change_rf_to"].as_u64() {
            let names = topics(recorded);
            let chosen = list(&case["action"]["topics"]).iter().filter_map(Value::as_str);
            let topics = chosen.filter_map(|topic| names.get(topic).copied()).collect();
            let mode = Mode::ReplicationFactor { topics, factor: factor as u32 };
            (cluster, policy) = mode.prepare(&cluster, &policy);
        }
        Ok(Case { cluster, policy })
    }
}

fn policy(case: &Value) -> Result<Policy, Skipped> {
    let constraint = &case["constraint"];
    let parts = |name: &str| (number(&constraint[name]) * 1e6).round() as i64;
    let resources = ["cpu", "network.inbound", "network.outbound", "disk"];
    let each = |what: &str| resources.map(|resource| parts(&format!("{resource}.{what}.threshold")));
    let mut policy = Policy {
        goals: Vec::new(),
        hard: Vec::new(),
        capacity: each("capacity"),
        balance: each("balance"),
        low_utilization: each("low.utilization"),
        replica_balance: parts("replica.count.balance.threshold"),
        leader_balance: parts("leader.replica.count.balance.threshold"),
        topic_balance: parts("topic.replica.count.balance.threshold"),
        topic_min_gap: number(&constraint["topic.replica.count.balance.min.gap"]) as i64,
        topic_max_gap: number(&constraint["topic.replica.count.balance.max.gap"]) as i64,
        max_replicas: number(&constraint["max.replicas.per.broker"]) as i64,
        ..Policy::default()
    };
    for wanted in list(&case["goals"]) {
        let name = wanted["name"].as_str().unwrap_or_default();
        let goal = Goal::named(name).ok_or_else(|| Skipped(format!("no {name}")))?;
        policy.goals.push(goal);
        if wanted["hard"] == true {
            policy.hard.push(goal);
        }
    }
    Ok(policy)
}

/// Topics by name, numbered in order of appearance.
fn topics(recorded: &Value) -> BTreeMap<&str, u32> {
    let mut topics: BTreeMap<&str, u32> = BTreeMap::new();
    for partition in list(&recorded["partitions"]) {
        let next = topics.len() as u32;
        topics.entry(partition["topic"].as_str().unwrap_or_default()).or_insert(next);
    }
    topics
}

fn cluster(recorded: &Value, case: &Value, sets: Option<&Sets>) -> Result<Cluster, Skipped> {
    let options = &case["options"];
    let topics = topics(recorded);
    let mut builder = Cluster::builder(topics.len() as u32);
    let mut racks: BTreeMap<&str, u32> = BTreeMap::new();
    let mut ordinals: BTreeMap<i64, u32> = BTreeMap::new();
    for broker in list(&recorded["brokers"]) {
        let (id, next) = (broker["id"].as_i64().unwrap_or(-1), racks.len() as u32);
        let alive = broker["state"] == "ALIVE";
        let excluded = |option: &str| list(&options[option]).iter().any(|other| other.as_i64() == Some(id));
        let ordinal = builder.add_broker(&Broker {
            rack: *racks.entry(broker["rack"].as_str().unwrap_or_default()).or_insert(next),
            set: sets.map(|sets| sets.of(id)),
            capacity: loads(&broker["capacity"]),
            alive,
            takes_replicas: alive && !excluded("excluded_brokers_for_replica_move"),
            takes_leadership: alive && !excluded("excluded_brokers_for_leadership"),
            mark: Mark::None,
        })?;
        ordinals.insert(id, ordinal);
    }
    let chosen = Chosen::read(case, recorded)?;
    for (topic, number) in &topics {
        builder.require_leaders(*number, chosen.leaders(topic))?;
        // A topic that must have leaders on each broker is bound to no set.
        if let Some(sets) = sets.filter(|_| chosen.leaders(topic) == 0) {
            builder.bind_topic(*number, sets.of_topic(topic, recorded))?;
        }
    }
    for partition in list(&recorded["partitions"]) {
        let topic = partition["topic"].as_str().unwrap_or_default();
        let recorded = list(&partition["replicas"]);
        let leader = recorded.iter().position(|replica| replica["leader"] == true).unwrap_or(0);
        let led = loads(&recorded.get(leader).unwrap_or(&Value::Null)["load"]);
        let follows = as_follower(led);
        let replica = |(position, replica): (usize, &Value)| Replica {
            broker: ordinals.get(&replica["broker"].as_i64().unwrap_or(-1)).copied().unwrap_or(u32::MAX),
            load: if position == leader { follows } else { loads(&replica["load"]) },
        };
        let ordinal = builder.add_partition(&Partition {
            topic: topics.get(topic).copied().unwrap_or(0),
            replicas: recorded.iter().enumerate().map(replica).collect(),
            leader: leader as u32,
            leader_cpu: led[0] - follows[0],
            leader_network_out: led[2] - follows[2],
            frozen: list(&options["excluded_topics"]).iter().any(|other| other.as_str() == Some(topic)),
        })?;
        for (position, _) in (0..).zip(recorded).filter(|(_, replica)| replica["offline"] == true) {
            builder.offline(ordinal, position)?;
        }
    }
    Ok(builder.build())
}

/// Topics that must have leaders on each broker.
struct Chosen {
    required: BTreeMap<String, u32>,
}

impl Chosen {
    fn read(case: &Value, cluster: &Value) -> Result<Chosen, Skipped> {
        let mut required = BTreeMap::new();
        let constraint = &case["constraint"];
        let pattern = constraint["topics.with.min.leaders.per.broker"].as_str().unwrap_or_default();
        if !pattern.is_empty() {
            let names = Regex::new(&format!("^(?:{pattern})$"))
                .map_err(|error| Skipped(format!("the pattern of topics is broken: {error}")))?;
            let options = &case["options"];
            let excluded = ["excluded_brokers_for_leadership", "excluded_brokers_for_replica_move"];
            let able = |broker: &&Value| {
                let names = |option: &str| list(&options[option]).contains(&broker["id"]);
                broker["state"] == "ALIVE" && !excluded.into_iter().any(names)
            };
            let brokers = list(&cluster["brokers"]).iter().filter(able).count() as u32;
            for topic in topics(cluster).into_keys().filter(|topic| names.is_match(topic)) {
                let own = list(&cluster["partitions"]).iter().filter(|partition| partition["topic"] == topic);
                let leaders = match number(&constraint["min.topic.leaders.per.broker"]) as u32 {
                    // As many as there are for each.
                    0 => (own.count() as u32).checked_div(brokers).unwrap_or(0),
                    leaders => leaders,
                };
                required.insert(topic.to_owned(), leaders);
            }
        }
        Ok(Chosen { required })
    }

    fn leaders(&self, topic: &str) -> u32 {
        self.required.get(topic).copied().unwrap_or(0)
    }
}

/// What a leader would take if it followed: no outbound network, and CPU by Cruise Control's weights of traffic.
fn as_follower(led: Loads) -> Loads {
    let (inbound, outbound) = (led[1] as f64, led[2] as f64);
    let all = 0.7 * inbound + 0.15 * outbound;
    let cpu = if all > 0.0 { led[0] as f64 * 0.15 * inbound / all } else { 0.0 };
    [cpu.round() as i64, led[1], 0, led[3]]
}

/// In millionths. The capacity of a dead broker is recorded as less than nothing.
fn loads(recorded: &Value) -> Loads {
    ["cpu", "nw_in", "nw_out", "disk"].map(|name| (number(&recorded[name]).max(0.0) * 1e6).round() as i64)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use planner::balance::Moves;
    use serde_json::json;

    use super::*;

    fn spec() -> Value {
        let load = json!({"cpu": 10.0, "nw_in": 3.0, "nw_out": 4.0, "disk": 5.0});
        let capacity = |cpu: f64| json!({"cpu": cpu, "nw_in": 100.0, "nw_out": 100.0, "disk": 100.0});
        json!({"clusters": {"two": {
            "brokers": [
                {"id": 7, "rack": "a", "state": "ALIVE", "capacity": capacity(100.0)},
                {"id": 9, "rack": "b", "state": "DEAD", "capacity": capacity(-1.0)},
            ],
            "partitions": [{"topic": "T", "partition": 0, "replicas": [
                {"broker": 9, "leader": false, "load": load},
                {"broker": 7, "leader": true, "load": load},
            ]}],
        }}})
    }

    fn case(goal: &str, action: &Value) -> Value {
        json!({
            "cluster": "two", "action": action, "goals": [{"name": goal, "hard": true}],
            "constraint": {"cpu.capacity.threshold": 0.7, "max.replicas.per.broker": 5},
            "options": {"excluded_topics": ["T"], "excluded_brokers_for_leadership": [7]},
        })
    }

    #[test]
    fn a_case_is_read_with_its_exclusions() {
        let Case { cluster, policy } = Case::read(&spec(), &case("CpuCapacityGoal", &Value::Null)).unwrap();
        let [alive, dead] = cluster.brokers() else { panic!("two brokers") };
        assert!(alive.alive && alive.takes_replicas && !alive.takes_leadership);
        assert!(!dead.alive && dead.capacity == [0, 100_000_000, 100_000_000, 100_000_000]);
        assert_eq!((cluster.replicas(0), cluster.leader(0), cluster.frozen(0)), (&[1, 0][..], 1, true));
        // As a follower 10 × 0.15 × 3 ÷ (0.7 × 3 + 0.15 × 4) of CPU, and nothing sent.
        assert_eq!(cluster.loads(0)[1], [1_666_667, 3_000_000, 0, 5_000_000]);
        assert_eq!(cluster.leader_share(0), [8_333_333, 0, 4_000_000, 0]);
        assert_eq!((policy.capacity[0], policy.max_replicas), (700_000, 5));
        assert_eq!((policy.goals, policy.hard), (vec![Goal::CpuCapacity], vec![Goal::CpuCapacity]));
    }

    #[test]
    fn what_the_planner_lacks_is_skipped_with_its_name() {
        let skipped = |case: &Value| Case::read(&spec(), case).unwrap_err().0;
        let goal = "KafkaAssignerEvenRackAwareGoal";
        assert_eq!(skipped(&case(goal, &Value::Null)), format!("no {goal}"));
        let mut removal = case("CpuCapacityGoal", &Value::Null);
        removal["kind"] = json!("remove_disks");
        assert_eq!(skipped(&removal), "removes log dirs");
    }

    #[test]
    fn topics_must_have_the_leaders_that_the_case_says() {
        let required = |pattern: &str, leaders: u32| {
            let mut case = case("MinTopicLeadersPerBrokerGoal", &Value::Null);
            case["constraint"]["topics.with.min.leaders.per.broker"] = json!(pattern);
            case["constraint"]["min.topic.leaders.per.broker"] = json!(leaders);
            case["options"] = json!({});
            Case::read(&spec(), &case).unwrap().cluster.required_leaders(0)
        };
        // None: as many as there are leaders for each broker that may have some.
        assert_eq!([required("T", 2), required("", 2), required("t\\w", 2), required("T", 0)], [2, 0, 0, 1]);
    }

    #[test]
    fn another_replication_factor_lets_new_replicas_wait() {
        let action = json!({"change_rf_to": 3, "topics": ["T"]});
        let mut case = case("CpuCapacityGoal", &action);
        case["options"] = json!({});
        let Case { cluster, policy } = Case::read(&spec(), &case).unwrap();
        assert_eq!((cluster.replicas(0), policy.moves), (&[1, 0, 2][..], Moves::Offline));
        assert!(!cluster.brokers()[2].alive);
    }
}
