//! What must hold of a plan whatever its outcome, read from the recorded case and not from what the planner was asked.

use std::collections::BTreeMap;

use planner::balance::{Budget, Change, Cluster, Plan, Policy, Score, judge, solve};
use serde_json::Value;

use super::case::{Case, list};

/// Checks a plan against its case.
///
/// # Errors
/// What does not hold.
pub(super) fn verify(spec: &Value, recorded: &Value, case: &Case, plan: &Plan) -> Result<(), String> {
    let cluster = &spec["clusters"][recorded["cluster"].as_str().unwrap_or_default()];
    let ids: Vec<i64> =
        list(&cluster["brokers"]).iter().map(|broker| broker["id"].as_i64().unwrap_or(-1)).collect();
    let after = plan.applied_to(&case.cluster);
    exclusions(recorded, cluster, &ids, &after)?;
    let Some((theirs, exchanges)) = recorded_score(recorded, cluster, &ids, case, plan) else {
        return Ok(());
    };
    if !exchanges {
        return no_worse_than(case, plan, &theirs);
    }
    // Kafka does not exchange the data of two replicas. Where Cruise Control counts on it, so may we.
    let policy = Policy { exchange: true, ..case.policy.clone() };
    no_worse_than(case, &solve(&case.cluster, &policy, &Budget::default()), &theirs)
}

/// Who leads, and who holds a partition, by ids. Replicas yet to be created are nobody's.
fn held(ids: &[i64], after: &Cluster, partition: u32) -> (i64, Vec<i64>) {
    let id = |broker: u32| ids.get(broker as usize).copied().unwrap_or(-1);
    let brokers: Vec<i64> = after.replicas(partition).iter().map(|broker| id(*broker)).collect();
    (brokers[after.leader(partition) as usize], brokers)
}

/// Excluded topics stand where they stood, but for what was on dead brokers or is asked for; excluded brokers get nothing.
fn exclusions(recorded: &Value, cluster: &Value, ids: &[i64], after: &Cluster) -> Result<(), String> {
    let options = &recorded["options"];
    let names = |option: &str, id: i64| list(&options[option]).iter().any(|other| other.as_i64() == Some(id));
    let dead = |id: i64| {
        list(&cluster["brokers"])
            .iter()
            .any(|broker| broker["id"].as_i64() == Some(id) && broker["state"] == "DEAD")
    };
    for (ordinal, partition) in (0..).zip(list(&cluster["partitions"])) {
        let before: Vec<i64> = list(&partition["replicas"])
            .iter()
            .map(|replica| replica["broker"].as_i64().unwrap_or(-1))
            .collect();
        let led_by = partition["leader"].as_i64().unwrap_or(-1);
        let (leader, brokers) = held(ids, after, ordinal);
        let name = format!("{}-{}", partition["topic"].as_str().unwrap_or_default(), partition["partition"]);
        let excluded = list(&options["excluded_topics"]).contains(&partition["topic"]);
        let asked = list(&recorded["action"]["topics"]).contains(&partition["topic"]);
        let stays = before.iter().all(|id| dead(*id) || brokers.contains(id));
        if excluded && !asked && (!stays || (leader != led_by && !dead(led_by))) {
            return Err(format!("{name} is of an excluded topic and changes"));
        }
        let came = brokers
            .iter()
            .find(|id| !before.contains(id) && names("excluded_brokers_for_replica_move", **id));
        if let Some(id) = came {
            return Err(format!("{name} goes to broker {id}, which is excluded"));
        }
        if leader != led_by && names("excluded_brokers_for_leadership", leader) {
            return Err(format!("broker {leader} is given leadership of {name} and is excluded from it"));
        }
    }
    Ok(())
}

/// The score of the placement that Cruise Control ended with, where it is one of the same replication factors, and whether replicas
/// of a partition have changed places in it.
fn recorded_score(
    recorded: &Value,
    cluster: &Value,
    ids: &[i64],
    case: &Case,
    plan: &Plan,
) -> Option<(Score, bool)> {
    let lists = recorded["cc"]["final_placement"].as_object()?;
    let ordinals: BTreeMap<i64, u32> = ids.iter().zip(0..).map(|(id, ordinal)| (*id, ordinal)).collect();
    let mut changes = Vec::new();
    for (ordinal, partition) in (0..).zip(list(&cluster["partitions"])) {
        let name = format!("{}-{}", partition["topic"].as_str()?, partition["partition"]);
        let placed = lists.get(&name)?;
        let brokers: Vec<i64> = list(&placed[1]).iter().filter_map(Value::as_i64).collect();
        let leader = brokers.iter().position(|id| Some(*id) == placed[0].as_i64())?;
        let replicas: Option<Vec<u32>> = brokers.iter().map(|id| ordinals.get(id).copied()).collect();
        let replicas = replicas.filter(|list| list.len() == case.cluster.replicas(ordinal).len())?;
        changes.push(Change { partition: ordinal, replicas, leader: leader as u32 });
    }
    let exchanges = |change: &Change| {
        let before = case.cluster.replicas(change.partition);
        before.iter().zip(&change.replicas).any(|(from, to)| from != to && before.contains(to))
    };
    let exchanges = changes.iter().any(exchanges);
    let theirs = Plan { changes, reasons: Vec::new(), ..plan.clone() };
    Some((judge(&theirs.applied_to(&case.cluster), &case.policy), exchanges))
}

/// Where Cruise Control's end is one that a plan of ours may have, ours leaves no more hard goals, and no more goals.
fn no_worse_than(case: &Case, plan: &Plan, theirs: &Score) -> Result<(), String> {
    let hard = |score: &Score| score.goals.iter().filter(|goal| goal.hard && goal.excess > 0).count();
    let figures = |score: &Score| (score.offline, hard(score), score.violated().count());
    if figures(&plan.after) > figures(theirs) || (case.policy.goals.len() == 1 && plan.after > *theirs) {
        let left: Vec<&str> = theirs.violated().map(|goal| goal.name()).collect();
        let ours: Vec<&str> = plan.after.violated().map(|goal| goal.name()).collect();
        return Err(format!("leaves {ours:?}, where Cruise Control leaves {left:?}, or is farther from it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Three brokers in racks of their own, and a topic on the first two.
    fn spec() -> Value {
        let load = json!({"cpu": 1.0, "nw_in": 1.0, "nw_out": 1.0, "disk": 1.0});
        let capacity = json!({"cpu": 100.0, "nw_in": 100.0, "nw_out": 100.0, "disk": 100.0});
        let broker =
            |id: i64| json!({"id": id, "rack": id.to_string(), "state": "ALIVE", "capacity": capacity});
        json!({"clusters": {"three": {
            "brokers": [broker(4), broker(5), broker(6)],
            "partitions": [{"topic": "T", "partition": 0, "leader": 4, "replicas": [
                {"broker": 4, "leader": true, "load": load}, {"broker": 5, "leader": false, "load": load},
            ]}],
        }}})
    }

    /// What is found where a plan gives the partition these brokers and this leader.
    fn found(options: &Value, end: &Value, replicas: [u32; 2], leader: u32) -> Result<(), String> {
        let recorded = json!({
            "cluster": "three", "goals": [{"name": "ReplicaCapacityGoal", "hard": true}], "options": options,
            "constraint": {"max.replicas.per.broker": 0}, "cc": {"final_placement": end},
        });
        let case = Case::read(&spec(), &recorded).unwrap();
        let mut plan = solve(&case.cluster, &case.policy, &Budget::default());
        plan.changes = vec![Change { partition: 0, replicas: replicas.to_vec(), leader }];
        verify(&spec(), &recorded, &case, &plan)
    }

    #[test]
    fn what_is_excluded_is_seen_where_it_changes() {
        let none = json!({});
        assert_eq!(found(&none, &Value::Null, [2, 1], 0), Ok(()));
        let topic = json!({"excluded_topics": ["T"]});
        assert_eq!(found(&topic, &Value::Null, [0, 1], 0), Ok(()));
        let changed = Err("T-0 is of an excluded topic and changes".to_owned());
        assert_eq!(found(&topic, &Value::Null, [2, 1], 0), changed);
        assert_eq!(found(&topic, &Value::Null, [0, 1], 1), changed);
        let target = json!({"excluded_brokers_for_replica_move": [6]});
        let sent = Err("T-0 goes to broker 6, which is excluded".to_owned());
        assert_eq!(found(&target, &Value::Null, [2, 1], 0), sent);
        let leader = json!({"excluded_brokers_for_leadership": [5]});
        let led = Err("broker 5 is given leadership of T-0 and is excluded from it".to_owned());
        assert_eq!(found(&leader, &Value::Null, [0, 1], 1), led);
        assert_eq!(found(&leader, &Value::Null, [2, 1], 0), Ok(()));
    }

    #[test]
    fn a_worse_end_than_the_recorded_one_is_seen() {
        let recorded = json!({
            "cluster": "three", "goals": [{"name": "ReplicaDistributionGoal", "hard": false}], "options": {},
            "constraint": {"replica.count.balance.threshold": 1.1},
            "cc": {"final_placement": {"T-0": [4, [4, 5]]}},
        });
        let case = Case::read(&spec(), &recorded).unwrap();
        let plan = solve(&case.cluster, &case.policy, &Budget::default());
        assert_eq!(verify(&spec(), &recorded, &case, &plan), Ok(()));
        let mut worse = plan;
        worse.after.goals[0].excess += 1;
        let seen = verify(&spec(), &recorded, &case, &worse).unwrap_err();
        assert!(
            seen.starts_with("leaves [\"ReplicaDistributionGoal\"], where Cruise Control leaves []"),
            "{seen}"
        );
    }
}
