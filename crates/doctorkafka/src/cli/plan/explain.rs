//! What a plan does with one partition or broker, and why.

use std::fmt::Write;

use placement::outcome;
use planner::balance::{CPU, DISK, NETWORK_IN, NETWORK_OUT, Obstacle, barred};

use super::render::{Dirs, carried, count, obstacle, of_partition, share, stays, why};
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
            let lock = answer.cluster.lock(partition);
            let why = match lock {
                Some(lock) => lock.to_string(),
                None if answer.plan.postponed.contains(&partition) => "the budget ends before it".to_owned(),
                None if answer.cluster.frozen(partition) => "it is excluded".to_owned(),
                None if answer.plan.stuck.iter().any(|stuck| stuck.partition == partition) => String::new(),
                None => "no goal needs a change of it".to_owned(),
            };
            let colon = if why.is_empty() { "" } else { ": " };
            let _ = writeln!(text, "it stays as it is{colon}{why}");
        }
    }
    for stuck in answer.plan.stuck.iter().filter(|stuck| stuck.partition == partition) {
        let _ = writeln!(text, "{}", stays(answer, stuck));
    }
    for (goal, barred) in barred(&answer.cluster, &answer.policy, &answer.plan, partition) {
        let why = of_partition(answer, goal, &barred);
        let colon = if why.is_empty() { "" } else { ": " };
        let _ = writeln!(text, "{} is not met here{colon}{why}", goal.name());
    }
    Ok(text)
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
    let (mut leave, mut come): (u128, u128) = (0, 0);
    for row in &answer.rows {
        let (held, holds) = (row.of.before.contains(&id), row.of.after.contains(&id));
        leave += u128::from(held && !holds);
        come += u128::from(holds && !held);
    }
    let verb = if leave == 1 { "leaves" } else { "leave" };
    let _ = writeln!(
        text,
        "  {} {verb}, {come} come{}",
        count(leave, "replica"),
        if come == 1 { "s" } else { "" }
    );
    for unmet in &answer.plan.unmet {
        let here = match unmet.obstacle {
            Obstacle::Broker { broker, .. }
            | Obstacle::LogDir { broker, .. }
            | Obstacle::Topic { broker, .. } => broker == at,
            _ => false,
        };
        if here {
            let _ = writeln!(
                text,
                "  {} is not met: {}",
                unmet.goal.name(),
                obstacle(&answer.named, unmet.goal, unmet.obstacle)
            );
        }
    }
    Ok(text)
}
