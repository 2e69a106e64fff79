//! What stops Cruise Control and does not stop the planner.
//!
//! Where a failure is recorded and an audited plan leaves nothing, one of these must be the reason; else the case has failed.

use planner::balance::{Budget, Goal, Plan, solve};
use serde_json::Value;

use super::case::{Case, Skipped, list};

type Rule = (&'static str, fn(&Value, &Value, &Case, &Plan) -> Result<bool, Skipped>);

const RULES: [Rule; 3] = [
    (
        "a leading replica on a dead broker may not go where leadership is excluded: elect first, move then",
        dead_leader,
    ),
    ("a soft goal before a hard one cannot be met together with it: the hard one is kept", soft_before_hard),
    (
        "no single election of a new replica gives each broker a leader, and no others may be elected: several together do",
        chain_of_elections,
    ),
];

/// The reason, if one applies.
pub(super) fn overcome(
    spec: &Value,
    recorded: &Value,
    case: &Case,
    plan: &Plan,
) -> Result<Option<&'static str>, Skipped> {
    for (how, applies) in RULES {
        if applies(spec, recorded, case, plan)? {
            return Ok(Some(how));
        }
    }
    Ok(None)
}

/// Cruise Control moves a replica that leads as one that leads, from a dead broker too.
fn dead_leader(_: &Value, _: &Value, case: &Case, _: &Plan) -> Result<bool, Skipped> {
    let brokers = case.cluster.brokers();
    let stuck = |partition: u32| {
        let replicas = case.cluster.replicas(partition);
        let set = case.cluster.bound_set(case.cluster.topic(partition));
        let takes = |broker: &u32| {
            let known = &brokers[*broker as usize];
            known.alive
                && known.takes_replicas
                && known.takes_leadership
                && (set.is_none() || known.set == set)
                && !replicas.contains(broker)
        };
        let leader = replicas[case.cluster.leader(partition) as usize];
        !brokers[leader as usize].alive && !(0..brokers.len() as u32).any(|broker| takes(&broker))
    };
    Ok((0..case.cluster.partitions()).any(stuck))
}

/// Cruise Control meets goals in the order given and gives up when a hard one would undo one before it.
fn soft_before_hard(spec: &Value, recorded: &Value, case: &Case, plan: &Plan) -> Result<bool, Skipped> {
    let goals = &case.policy.goals;
    let Some(hard) = goals.iter().position(|goal| case.policy.hard.contains(goal)) else { return Ok(false) };
    let unmet: Vec<Goal> = plan.after.violated().collect();
    if !goals[..hard].iter().any(|goal| unmet.contains(goal)) {
        return Ok(false);
    }
    let mut alone = recorded.clone();
    alone["goals"] = Value::Array(list(&recorded["goals"])[..hard].to_vec());
    let alone = Case::read(spec, &alone)?;
    Ok(solve(&alone.cluster, &alone.policy, &Budget::default()).after.is_clean())
}

/// Cruise Control elects one leader after the other and takes none from a broker that has only what it must. That stops it only where
/// nothing but what comes to be created may move or be elected, and says something only where each partition comes to stand on
/// all brokers: else it could have put replicas elsewhere.
fn chain_of_elections(_: &Value, recorded: &Value, case: &Case, plan: &Plan) -> Result<bool, Skipped> {
    if case.policy.goals != [Goal::MinTopicLeaders] || recorded["options"]["only_move_immigrants"] != true {
        return Ok(false);
    }
    let (start, end) = (&case.cluster, plan.applied_to(&case.cluster));
    let led_by = |partition: u32| end.replicas(partition)[start.leader(partition) as usize];
    let topics = (0..start.topics()).filter(|topic| start.required_leaders(*topic) > 0);
    for topic in topics {
        let own: Vec<u32> =
            (0..start.partitions()).filter(|partition| start.topic(*partition) == topic).collect();
        let living = (0..).zip(start.brokers()).filter(|(_, known)| known.alive).map(|(broker, _)| broker);
        let everywhere =
            |partition: &u32| living.clone().all(|broker| end.replicas(*partition).contains(&broker));
        if !own.iter().all(everywhere) {
            continue;
        }
        let leaders =
            |broker: u32| own.iter().filter(|partition| led_by(**partition) == broker).count() as u32;
        for (broker, known) in (0..).zip(start.brokers()) {
            let able = known.alive && known.takes_replicas && known.takes_leadership;
            let one_helps = own.iter().any(|partition| {
                let placed = (0..).zip(start.replicas(*partition)).find(|(at, from)| {
                    end.replicas(*partition)[*at] == broker && !start.brokers()[**from as usize].alive
                });
                placed.is_some() && leaders(led_by(*partition)) > start.required_leaders(topic)
            });
            if able && leaders(broker) < start.required_leaders(topic) && !one_helps {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Failed, Verdict, check};
    use super::*;

    /// Three brokers and the partitions of a topic by their lists; the first of each leads.
    fn spec(lists: &[&[i64]]) -> Value {
        let load = json!({"cpu": 1.0, "nw_in": 1.0, "nw_out": 1.0, "disk": 1.0});
        let capacity = json!({"cpu": 100.0, "nw_in": 100.0, "nw_out": 100.0, "disk": 100.0});
        let broker =
            |id: i64| json!({"id": id, "rack": id.to_string(), "state": "ALIVE", "capacity": capacity});
        let partition = |(number, list): (usize, &&[i64])| {
            let replica = |id: &i64| json!({"broker": id, "leader": *id == list[0], "load": load});
            json!({"topic": "A", "partition": number, "leader": list[0],
                "replicas": list.iter().map(replica).collect::<Vec<_>>()})
        };
        json!({"clusters": {"three": {
            "brokers": ([0, 1, 2].map(broker)),
            "partitions": lists.iter().enumerate().map(partition).collect::<Vec<_>>(),
        }}})
    }

    /// A leader of the topic on each broker, with another outcome than the planner's.
    fn failure(only_new: bool, factor: Option<u64>) -> Value {
        json!({
            "id": "turned", "cluster": "three",
            "goals": [{"name": "MinTopicLeadersPerBrokerGoal", "hard": true}],
            "constraint": {"max.replicas.per.broker": 10, "cpu.capacity.threshold": 0.8,
                "disk.capacity.threshold": 0.8, "network.inbound.capacity.threshold": 0.8,
                "network.outbound.capacity.threshold": 0.8, "min.topic.leaders.per.broker": 1,
                "topics.with.min.leaders.per.broker": "A"},
            "options": {"only_move_immigrants": only_new},
            "action": factor.map(|factor| json!({"change_rf_to": factor, "topics": ["A"]})),
            "expect": {"outcome": "optimization_failure"},
        })
    }

    fn is_overcome(lists: &[&[i64]], case: &Value) -> bool {
        match check(&spec(lists), case) {
            Ok(Verdict::Better(how)) => how.starts_with("no single election of a new replica"),
            Err(Failed::Wrong(why)) => {
                assert_eq!(why, "expected to leave a hard goal, left none");
                false
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn several_elections_overcome_what_one_cannot_where_only_new_replicas_are_elected() {
        // Broker 0 leads two, and no new replica on broker 2 can take over from it.
        let recorded: [&[i64]; 3] = [&[1, 0], &[0, 2], &[0, 2]];
        assert!(is_overcome(&recorded, &failure(true, Some(3))));
        // A new replica on broker 2 can.
        let easy: [&[i64]; 3] = [&[1, 0], &[0, 1], &[0, 2]];
        assert!(!is_overcome(&easy, &failure(true, Some(3))));
    }

    #[test]
    fn a_case_in_which_cruise_control_succeeds_is_not_excused_when_it_is_turned() {
        let satisfiable: [&[i64]; 3] = [&[0, 1], &[0, 2], &[1, 2]];
        assert!(!is_overcome(&satisfiable, &failure(false, None)));
        let with_two_elections: [&[i64]; 3] = [&[0, 1], &[0, 1], &[1, 2]];
        assert!(!is_overcome(&with_two_elections, &failure(false, None)));
    }
}
