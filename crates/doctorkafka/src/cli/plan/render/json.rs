//! A plan as JSON.

use super::*;

/// The plan for scripts.
pub(in crate::cli::plan) fn json(answer: &Answer) -> String {
    let (plan, named) = (&answer.plan, &answer.named);
    let cost = cost(answer);
    let whole = json!({
        "moves": cost.moved,
        "created": cost.created,
        "removed": cost.removed,
        "bytes": cost.copied,
        "fewest_moves": plan.fewest_moves,
        "leave_rack": plan.leave_rack,
        "offline_before": answer.before.offline,
        "offline_after": plan.after.offline.saturating_sub(cost.waiting),
        "waiting_after": cost.waiting,
        "goals": goals(answer),
        "not_judged": answer
            .not_judged
            .iter()
            .map(|(goal, why)| json!({"goal": goal.name(), "why": why}))
            .collect::<Vec<_>>(),
        "unmet": unmet(answer),
        "demoted_before": plan.before.demoted,
        "demoted_after": plan.after.demoted,
        "stuck": plan
            .stuck
            .iter()
            .map(|stuck| {
                json!({
                    "topic": named.topics[named.cluster.topic(stuck.partition) as usize],
                    "partition": named.partitions[stuck.partition as usize],
                    "offline": stuck.offline,
                    "why": stuck.why.to_string(),
                })
            })
            .collect::<Vec<_>>(),
        "postponed": plan.postponed.len(),
        "brokers": brokers(answer),
        "changes": changes(answer),
    });
    format!("{whole:#}\n")
}

fn goals(answer: &Answer) -> Vec<Value> {
    let goals = answer.before.goals.iter().zip(&answer.plan.after.goals).map(|(before, after)| {
        json!({
            "name": before.goal.name(),
            "hard": before.hard,
            "before": before.excess.to_string(),
            "after": after.excess.to_string(),
        })
    });
    goals.collect()
}

fn unmet(answer: &Answer) -> Vec<Value> {
    let unmet = answer.plan.unmet.iter().map(|unmet| {
        json!({
            "goal": unmet.goal.name(),
            "excess": unmet.excess.to_string(),
            "obstacle": obstacle(&answer.named, unmet.obstacle),
            "proven": unmet.obstacle.is_proof(),
            "limited_by": unmet.limited.map(|limited| match limited {
                Limited::Budget => "budget",
                Limited::Mode => "mode",
            }),
            "brokers_more": match unmet.obstacle { Obstacle::Brokers { more } => json!(more), _ => Value::Null },
            "racks_more": match unmet.obstacle {
                Obstacle::Racks { has, needs } => json!(needs.saturating_sub(has)),
                _ => Value::Null,
            },
        })
    });
    unmet.collect()
}

fn changes(answer: &Answer) -> Vec<Value> {
    let named = &answer.named;
    let changes = answer.rows.iter().map(|row| {
        let of = &row.of;
        json!({
            "topic": named.topics[named.cluster.topic(row.partition) as usize],
            "partition": named.partitions[row.partition as usize],
            "before": of.before,
            "after": of.after,
            "led_by": of.led_by,
            "leader": of.leader,
            "reason": row.reason.map_or("removed", |why| match why.purpose {
                Purpose::Offline => "offline",
                Purpose::Created => "created",
                Purpose::Demotion => "demotion",
                Purpose::Goal(goal) => goal.name(),
                Purpose::Room => "room",
            }),
            "gain": row.reason.map_or(row.removed() as i64, |why| why.gain),
            "created": row.created(),
            "removed": row.removed(),
        })
    });
    changes.collect()
}

fn brokers(answer: &Answer) -> Vec<Value> {
    let named = &answer.named;
    let (before, after) = (carried(&named.cluster), carried(&answer.after));
    let brokers = named.broker_ids.iter().enumerate().map(|(ordinal, id)| {
        let capacity = &answer.cluster.brokers()[ordinal].capacity;
        let figures = |carried: &Carried| {
            let shares = RESOURCES
                .map(|(name, resource)| (name.to_owned(), json!(share(carried, capacity, resource))));
            json!({
                "replicas": carried.replicas,
                "leaders": carried.leaders,
                "shares": Value::Object(shares.into_iter().collect()),
            })
        };
        json!({"id": id, "before": figures(&before[ordinal]), "after": figures(&after[ordinal])})
    });
    brokers.collect()
}
