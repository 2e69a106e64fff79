//! What a plan does with one partition or broker, and why.

use std::fmt::Write;

use placement::outcome;
use planner::balance::{CPU, DISK, NETWORK_IN, NETWORK_OUT, outside};
use serde_json::{Value, json};

use super::render::{Dirs, barred, carried, count, json, obstacle, of_partition, share, stays, unit, why};
use super::{Answer, ordinal, partition_ordinal};

pub(super) fn partition(answer: &Answer, name: &str) -> Result<String, String> {
    let named = &answer.named;
    let partition = partition_ordinal(named, name)?;
    let found = answer.rows.iter().position(|row| row.partition == partition);
    let of = outcome(named, &answer.after, partition);
    let mut text = String::new();
    let place = |broker: &i32| {
        let leads = if *broker == of.led_by { " (leads)" } else { "" };
        let alive = ordinal(named, *broker).is_ok_and(|o| answer.cluster.brokers()[o as usize].alive);
        let state = if alive { "" } else { " (dead or leaving)" };
        format!("{broker}{leads}{state}")
    };
    let before: Vec<String> = of.before.iter().map(place).collect();
    let _ = writeln!(text, "{name} stands on {}", before.join(", "));
    match found {
        Some(at) => {
            let after: Vec<String> = of.after.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "it goes to {}, led by {}", after.join(", "), of.leader);
            for (broker, dir) in of.after.iter().zip(&of.log_dirs) {
                if let Some(path) = dir {
                    let _ = writeln!(text, "on {broker} it comes into log dir {path}");
                }
            }
            let _ = writeln!(
                text,
                "because: {}; it is change {} of {}",
                why(answer, &answer.rows[at]),
                at + 1,
                answer.rows.len()
            );
        }
        None => {
            let why = stands_still(answer, partition).unwrap_or_default();
            let colon = if why.is_empty() { "" } else { ": " };
            let _ = writeln!(text, "it stays as it is{colon}{why}");
        }
    }
    for stuck in answer.plan.stuck.iter().filter(|stuck| stuck.partition == partition) {
        let _ = writeln!(text, "{}", stays(answer, stuck));
    }
    for (goal, barred) in planner::balance::barred(&answer.cluster, &answer.policy, &answer.plan, partition) {
        let why = of_partition(answer, goal, &barred);
        let colon = if why.is_empty() { "" } else { ": " };
        let _ = writeln!(text, "{} is not met here{colon}{why}", goal.name());
    }
    Ok(text)
}

/// Why a partition stays as it is; nothing where more is said of what it keeps.
fn stands_still(answer: &Answer, partition: u32) -> Option<String> {
    let why = match answer.cluster.lock(partition) {
        Some(lock) => return Some(lock.to_string()),
        None if answer.plan.postponed.contains(&partition) => "the budget ends before it",
        None if answer.cluster.frozen(partition) => "it is excluded",
        None if answer.plan.stuck.iter().any(|stuck| stuck.partition == partition) => return None,
        None => "no goal needs a change of it",
    };
    Some(why.to_owned())
}

/// The same for scripts.
pub(super) fn partition_json(answer: &Answer, name: &str) -> Result<String, String> {
    let named = &answer.named;
    let partition = partition_ordinal(named, name)?;
    let found = answer.rows.iter().position(|row| row.partition == partition);
    let of = outcome(named, &answer.after, partition);
    let mut whole = barred::name(answer, partition);
    whole["before"] = json!(of.before);
    whole["led_by"] = json!(of.led_by);
    whole["after"] = json!(of.after);
    whole["leader"] = json!(of.leader);
    whole["change"] = match found {
        Some(at) => {
            let mut change = json::change(answer, &answer.rows[at]);
            change["number"] = json!(at + 1);
            change["of"] = json!(answer.rows.len());
            change["text"] = json!(why(answer, &answer.rows[at]));
            change
        }
        None => Value::Null,
    };
    whole["stays"] = json!(found.is_none().then(|| stands_still(answer, partition)).flatten());
    let stuck = answer.plan.stuck.iter().find(|stuck| stuck.partition == partition);
    whole["stuck"] = json!(stuck.map(|stuck| json::stuck(answer, stuck)));
    let all = planner::balance::barred(&answer.cluster, &answer.policy, &answer.plan, partition);
    let unmet = all.iter().map(|(goal, barred)| {
        let mut fields = barred::fields(answer, *goal, std::slice::from_ref(barred)).remove(0);
        fields["goal"] = json!(goal.name());
        fields
    });
    whole["unmet"] = unmet.collect::<Vec<Value>>().into();
    Ok(format!("{whole:#}\n"))
}

pub(super) fn broker(answer: &Answer, id: i32) -> Result<String, String> {
    let at = ordinal(&answer.named, id)?;
    let known = &answer.cluster.brokers()[at as usize];
    let (before, after) = (carried(&answer.named.cluster)[at as usize], carried(&answer.after)[at as usize]);
    let mut text = String::new();
    let state = if known.alive { "" } else { ", dead or leaving" };
    let _ = writeln!(text, "broker {id}{state}");
    let _ = writeln!(text, "  replicas {} → {}", before.replicas, after.replicas);
    let _ = writeln!(text, "  leaders  {} → {}", before.leaders, after.leaders);
    for (name, resource) in
        [("cpu", CPU), ("network in", NETWORK_IN), ("network out", NETWORK_OUT), ("disk", DISK)]
    {
        let shares = (share(&before, &known.capacity, resource), share(&after, &known.capacity, resource));
        if let (Some(before), Some(after)) = shares {
            let _ = writeln!(text, "  {name} {:.1} % → {:.1} %", before * 100.0, after * 100.0);
        }
    }
    for dir in Dirs::of(answer).on(at) {
        let (before, after) = dir.shares();
        let _ = writeln!(text, "  log dir {} {:.1} % → {:.1} %", dir.path, before * 100.0, after * 100.0);
    }
    let (leave, come) = traffic(answer, id);
    let verb = if leave == 1 { "leaves" } else { "leave" };
    let _ = writeln!(
        text,
        "  {} {verb}, {come} come{}",
        count(leave.into(), "replica"),
        if come == 1 { "s" } else { "" }
    );
    for (goal, how, step) in outside(&answer.cluster, &answer.policy, &answer.plan, at) {
        let _ = writeln!(text, "  {} is not met: {}", goal.name(), obstacle(&answer.named, goal, how));
        if let Some(step) = step {
            let _ = writeln!(text, "    {}", barred::at_broker(answer, &step));
        }
    }
    Ok(text)
}

/// The same for scripts.
pub(super) fn broker_json(answer: &Answer, id: i32) -> Result<String, String> {
    let at = ordinal(&answer.named, id)?;
    let known = &answer.cluster.brokers()[at as usize];
    let unmet =
        outside(&answer.cluster, &answer.policy, &answer.plan, at).into_iter().map(|(goal, how, step)| {
            json!({
                "goal": goal.name(),
                "hard": answer.policy.hard.contains(&goal),
                "obstacle": obstacle(&answer.named, goal, how),
                "by": json::by(goal, how),
                "unit": unit(goal.counts()),
                "step": step.as_ref().map(|step| barred::fields_of(answer, step)),
                "text": step.as_ref().map(|step| barred::at_broker(answer, step)),
            })
        });
    let unmet: Vec<Value> = unmet.collect();
    let (leave, come) = traffic(answer, id);
    let mut whole = json::brokers(answer)[at as usize].clone();
    whole["alive"] = known.alive.into();
    whole["leave"] = leave.into();
    whole["come"] = come.into();
    whole["unmet"] = unmet.into();
    Ok(format!("{whole:#}\n"))
}

/// Replicas that leave a broker, and that come to it.
fn traffic(answer: &Answer, id: i32) -> (u64, u64) {
    let (mut leave, mut come) = (0, 0);
    for row in &answer.rows {
        let (held, holds) = (row.of.before.contains(&id), row.of.after.contains(&id));
        leave += u64::from(held && !holds);
        come += u64::from(holds && !held);
    }
    (leave, come)
}
