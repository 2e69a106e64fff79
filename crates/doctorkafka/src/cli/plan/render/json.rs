//! A plan as JSON.

use planner::balance::Counted;

use super::amount::{of_files, unit};
use super::*;

/// The plan for scripts.
pub(in crate::cli::plan) fn json(answer: &Answer) -> String {
    let plan = &answer.plan;
    let cost = cost(answer);
    let whole = json!({
        "moves": cost.moved,
        "created": cost.created,
        "removed": cost.removed,
        "bytes": cost.copied,
        "fewest_moves": plan.fewest_moves,
        "leave_rack": plan.leave_rack,
        "leaderless_before": answer.before.leaderless,
        "leaderless_after": plan.after.leaderless,
        "offline_before": answer.before.offline,
        "offline_after": plan.after.offline.saturating_sub(cost.waiting),
        "waiting_after": cost.waiting,
        "goals": goals(answer),
        "not_judged": answer
            .not_judged
            .iter()
            .map(|(goal, why)| json!({"goal": goal.name(), "why": why}))
            .collect::<Vec<_>>(),
        "unknown_capacities": unknown_capacities(answer)
            .iter()
            .map(|(id, resources)| json!({"broker": id, "resources": resources}))
            .collect::<Vec<_>>(),
        "unmet": unmet(answer),
        "lacks": lacks(answer),
        "demoted_before": plan.before.demoted,
        "demoted_after": plan.after.demoted,
        "stuck": plan.stuck.iter().map(|stuck| self::stuck(answer, stuck)).collect::<Vec<_>>(),
        "postponed": plan.postponed.len(),
        "brokers": brokers(answer),
        "changes": changes(answer),
    });
    format!("{whole:#}\n")
}

/// A partition for which not all is done.
pub(in crate::cli::plan) fn stuck(answer: &Answer, stuck: &Stuck) -> Value {
    let named = &answer.named;
    json!({
        "topic": named.topics[named.cluster.topic(stuck.partition) as usize],
        "partition": named.partitions[stuck.partition as usize],
        "offline": stuck.offline,
        "why": stuck.why.to_string(),
        "nearest": stuck.nearest.as_ref().map(|step| barred::of_offline(answer, step)),
    })
}

fn goals(answer: &Answer) -> Vec<Value> {
    let goals = answer.before.goals.iter().zip(&answer.plan.after.goals).map(|(before, after)| {
        json!({
            "name": before.goal.name(),
            "hard": before.hard,
            "before": of_files(before.goal.counts(), before.excess),
            "after": of_files(after.goal.counts(), after.excess),
            "unit": unit(before.goal.counts()),
        })
    });
    goals.collect()
}

fn unmet(answer: &Answer) -> Vec<Value> {
    let unmet = answer.plan.unmet.iter().map(|unmet| {
        let counted = unmet.goal.counts();
        json!({
            "goal": unmet.goal.name(),
            "excess": of_files(counted, unmet.excess),
            "unit": unit(counted),
            "obstacle": obstacle(&answer.named, unmet.goal, unmet.obstacle),
            "proven": unmet.is_proof(),
            "by": by(unmet.goal, unmet.obstacle),
            "limited_by": unmet.limited.map(|limited| match limited {
                Limited::Budget => "budget",
                Limited::Mode => "mode",
            }),
            "offenders": unmet.offenders,
            "barred": barred::fields(answer, unmet.goal, &unmet.barred),
            "brokers_more": more(unmet.obstacle).0,
            "racks_more": more(unmet.obstacle).1,
            "partitions_more": more(unmet.obstacle).2,
        })
    });
    unmet.collect()
}

/// By how much one broker, log dir or rack is outside, in the unit of the files.
pub(in crate::cli::plan) fn by(goal: Goal, obstacle: Obstacle) -> Value {
    match obstacle {
        Obstacle::Broker { by, .. }
        | Obstacle::LogDir { by, .. }
        | Obstacle::Topic { by, .. }
        | Obstacle::RackShares { by, .. } => {
            json!(of_files(goal.counts(), u128::from(by.unsigned_abs())))
        }
        _ => Value::Null,
    }
}

/// How many brokers, racks and partitions of a topic are wanting, where it can be said.
fn more(obstacle: Obstacle) -> (Option<u64>, Option<u32>, Option<u64>) {
    match obstacle {
        Obstacle::Brokers { more } => (Some(more), None, None),
        Obstacle::SetTooSmall { has, needs, .. } => (Some(needs.saturating_sub(has).into()), None, None),
        Obstacle::Racks { has, needs } => (None, Some(needs.saturating_sub(has)), None),
        Obstacle::Partitions { has, needs, .. } => (None, None, Some(needs.saturating_sub(has))),
        _ => (None, None, None),
    }
}

/// What the cluster lacks for all goals together: no more than what the goal lacks that lacks most.
fn lacks(answer: &Answer) -> Value {
    let all = || answer.plan.unmet.iter().map(|unmet| more(unmet.obstacle));
    json!({
        "brokers": all().filter_map(|more| more.0).max().unwrap_or(0),
        "racks": all().filter_map(|more| more.1).max().unwrap_or(0),
    })
}

fn changes(answer: &Answer) -> Vec<Value> {
    answer.rows.iter().map(|row| change(answer, row)).collect()
}

/// One partition that changes.
pub(in crate::cli::plan) fn change(answer: &Answer, row: &Row) -> Value {
    let (named, of) = (&answer.named, &row.of);
    let mut change = json!({
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
        "room": row.room.map(|room| {
            let other = answer.plan.changes[room.change].partition;
            json!({
                "broker": named.broker_ids.get(room.broker as usize),
                "topic": named.topics[named.cluster.topic(other) as usize],
                "partition": named.partitions[other as usize],
                "comes": room.comes,
            })
        }),
        "gain": gained(row).0,
        "unit": gained(row).1,
        "created": row.created(),
        "removed": row.removed(),
    });
    if named.cluster.has_log_dirs() {
        change["log_dirs"] = json!(of.log_dirs);
    }
    change
}

/// What a change gains for its reason, and in which unit.
fn gained(row: &Row) -> (f64, &'static str) {
    let Some(why) = row.reason else { return (row.removed() as f64, unit(Counted::Replicas)) };
    let counted = match why.purpose {
        Purpose::Goal(goal) => goal.counts(),
        Purpose::Offline | Purpose::Created | Purpose::Room => Counted::Replicas,
        Purpose::Demotion => Counted::Leaders,
    };
    (of_files(counted, u128::from(why.gain.unsigned_abs())), unit(counted))
}

/// What each broker carries, before and after.
pub(in crate::cli::plan) fn brokers(answer: &Answer) -> Vec<Value> {
    let named = &answer.named;
    let (before, after) = (carried(&named.cluster), carried(&answer.after));
    let dirs = Dirs::of(answer);
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
        let mut broker =
            json!({"id": id, "before": figures(&before[ordinal]), "after": figures(&after[ordinal])});
        let dirs: Vec<Value> = dirs
            .on(ordinal as u32)
            .map(|dir| json!({"path": dir.path, "before": dir.shares().0, "after": dir.shares().1}))
            .collect();
        if !dirs.is_empty() {
            broker["log_dirs"] = dirs.into();
        }
        broker
    });
    brokers.collect()
}
