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
    ("no single election gives each broker a leader: several together do", chain_of_elections),
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

/// Cruise Control elects one leader after the other and takes none from a broker that has only what it must.
fn chain_of_elections(_: &Value, _: &Value, case: &Case, plan: &Plan) -> Result<bool, Skipped> {
    if case.policy.goals != [Goal::MinTopicLeaders] {
        return Ok(false);
    }
    let (start, end) = (&case.cluster, plan.applied_to(&case.cluster));
    let led_by = |partition: u32| end.replicas(partition)[start.leader(partition) as usize];
    let topics = (0..start.topics()).filter(|topic| start.required_leaders(*topic) > 0);
    for topic in topics {
        let own: Vec<u32> =
            (0..start.partitions()).filter(|partition| start.topic(*partition) == topic).collect();
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
