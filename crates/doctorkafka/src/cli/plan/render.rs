//! A plan as text and as JSON.

use std::fmt::Write;

use placement::Named;
use planner::balance::{
    CPU, Cluster, DISK, Goal, Limited, Mark, NETWORK_IN, NETWORK_OUT, Obstacle, Plan, Purpose, Reason, Room,
    Stuck, Unmet,
};
use serde_json::{Value, json};

use super::{Answer, Row};

mod amount;
pub(super) mod barred;
mod dirs;
pub(super) mod json;

pub(super) use amount::count;
pub(super) use amount::unit;
use amount::{amount, bytes};
pub(super) use barred::of_partition;
pub(super) use dirs::Dirs;
pub(super) use json::json;

/// Changes that the text shows.
const SHOWN: usize = 20;
const RESOURCES: [(&str, usize); 4] =
    [("cpu", CPU), ("in", NETWORK_IN), ("out", NETWORK_OUT), ("disk", DISK)];

/// What one broker carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) loads: [i64; 4],
    pub(super) replicas: u32,
    pub(super) leaders: u32,
}

pub(super) fn carried(cluster: &Cluster) -> Vec<Carried> {
    let mut carried = vec![Carried::default(); cluster.brokers().len()];
    for partition in 0..cluster.partitions() {
        let share = cluster.leader_share(partition);
        let replicas = cluster.replicas(partition).iter().zip(cluster.loads(partition));
        for (position, (broker, load)) in (0..).zip(replicas) {
            let of = &mut carried[*broker as usize];
            let leads = position == cluster.leader(partition);
            of.replicas += 1;
            of.leaders += u32::from(leads);
            // What stands in a failed log dir is on none of the disks that work.
            let lives = cluster.brokers()[*broker as usize].alive;
            let lost = if lives && cluster.offline(partition, position) { load[DISK] } else { 0 };
            for (resource, sum) in of.loads.iter_mut().enumerate() {
                *sum += load[resource] + if leads { share[resource] } else { 0 };
            }
            of.loads[DISK] -= lost;
        }
    }
    carried
}

/// What a plan takes.
#[derive(Debug, Default)]
struct Cost {
    /// Replicas that go from one broker to another.
    moved: u64,
    /// Replicas that partitions have more.
    created: u64,
    /// Replicas that they have less.
    removed: u64,
    /// Bytes copied.
    copied: u64,
    /// Replicas that wait to be created and are not.
    waiting: u64,
}

fn cost(answer: &Answer) -> Cost {
    let waits = |broker: &&u32| answer.cluster.brokers()[**broker as usize].mark == Mark::Waiting;
    let mut cost = Cost::default();
    for row in &answer.rows {
        cost.removed += row.of.before.iter().filter(|id| !row.of.after.contains(id)).count() as u64;
    }
    for partition in 0..answer.after.partitions() {
        cost.waiting += answer.after.replicas(partition).iter().filter(waits).count() as u64;
    }
    for change in &answer.plan.changes {
        let old = answer.cluster.replicas(change.partition);
        let loads = answer.cluster.loads(change.partition);
        for at in (0..old.len()).filter(|at| old[*at] != change.replicas[*at]) {
            let created = waits(&&old[at]);
            cost.created += u64::from(created);
            cost.moved += u64::from(!created);
            cost.copied += loads[at][DISK].unsigned_abs();
        }
    }
    // What moves leaves a broker, too.
    cost.removed = cost.removed.saturating_sub(cost.moved);
    cost
}

/// Replicas that partitions were to have more, and how many of those they do not get.
pub(super) fn to_create(answer: &Answer) -> (u64, u64) {
    let cost = cost(answer);
    (cost.created + cost.waiting, cost.waiting)
}

/// So much of a bar is full.
pub(super) fn bar(share: f64, width: usize) -> String {
    let full = ((share.clamp(0.0, 1.0) * width as f64).round() as usize).min(width);
    format!("{}{}", "█".repeat(full), "░".repeat(width - full))
}

pub(super) fn share(carried: &Carried, capacity: &[i64; 4], resource: usize) -> Option<f64> {
    (capacity[resource] > 0).then(|| carried.loads[resource] as f64 / capacity[resource] as f64)
}

/// Why a partition changes.
pub(super) fn why(answer: &Answer, row: &Row) -> String {
    let removed = row.removed();
    let removed = (removed > 0).then(|| format!("{} fewer, as asked for", count(removed as u128, "replica")));
    let own = row.room.map(|room| makes_room(answer, room)).or_else(|| row.reason.as_ref().map(reason));
    removed.into_iter().chain(own).collect::<Vec<_>>().join("; ")
}

/// What a change makes room for that brings no goal nearer by itself.
fn makes_room(answer: &Answer, room: Room) -> String {
    let id = answer.named.broker_ids.get(room.broker as usize).copied().unwrap_or(-1);
    let other = partition_name(&answer.named, answer.plan.changes[room.change].partition);
    let what = match answer.plan.reasons[room.change].purpose {
        Purpose::Goal(goal) => format!(" ({})", goal.name()),
        _ => String::new(),
    };
    match room.comes {
        true => format!("makes room on broker {id} for {other}{what}"),
        false => format!("takes the place of {other} on broker {id}{what}"),
    }
}

fn reason(reason: &Reason) -> String {
    match reason.purpose {
        Purpose::Created => format!("{} more, as asked for", count(gain(reason), "replica")),
        Purpose::Offline => "off a dead or leaving broker".to_owned(),
        Purpose::Demotion => "leadership off a broker that shall not lead".to_owned(),
        Purpose::Goal(goal) => {
            format!("{}, nearer by {}", goal.name(), amount(goal.counts(), gain(reason)))
        }
        Purpose::Room => "makes room for other moves".to_owned(),
    }
}

fn gain(reason: &Reason) -> u128 {
    u128::from(reason.gain.unsigned_abs())
}

/// What stands in the way of a goal, by name.
pub(super) fn obstacle(named: &Named, goal: Goal, obstacle: Obstacle) -> String {
    let id = |broker: u32| named.broker_ids.get(broker as usize).copied().unwrap_or(-1);
    let topic = |number: u32| named.topics.get(number as usize).cloned().unwrap_or_default();
    match obstacle {
        Obstacle::Broker { broker, by } => {
            let side = if by < 0 { "below" } else { "above" };
            let by = amount(goal.counts(), u128::from(by.unsigned_abs()));
            format!("broker {} stays {by} {side} its limits", id(broker))
        }
        Obstacle::LogDir { broker, dir, by } => {
            let by = amount(goal.counts(), u128::from(by.unsigned_abs()));
            let path = named.log_dir(broker, dir).unwrap_or("?");
            format!("log dir {path} of broker {} stays {by} beyond its limit", id(broker))
        }
        Obstacle::Topic { topic: number, broker, by } => {
            let side = if by < 0 { "few" } else { "many" };
            let by = amount(goal.counts(), u128::from(by.unsigned_abs()));
            format!("broker {} keeps {by} of topic {} too {side}", id(broker), topic(number))
        }
        Obstacle::Partition { partition } => format!("partition {}", partition_name(named, partition)),
        Obstacle::Partitions { topic: number, has, needs } => {
            format!("topic {} needs {needs} partitions, has {has}", topic(number))
        }
        Obstacle::SetTooSmall { topic: number, has, needs } => format!(
            "topic {} needs {} more in its broker set: {has} live, {needs} replicas",
            topic(number),
            count(needs.saturating_sub(has).into(), "broker")
        ),
        Obstacle::FrozenTopic { topic: number } => format!("topic {} is frozen", topic(number)),
        Obstacle::RackShares { rack, by } => {
            let name = named.rack_name(rack).unwrap_or_default();
            let what = if by < 0 { "can carry no more than" } else { "has to carry" };
            let side = if by < 0 { "below" } else { "above" };
            let by = amount(goal.counts(), u128::from(by.unsigned_abs()));
            format!(
                "rack {name} {what} {by} {side} its brokers' limits: each rack holds a replica of every partition"
            )
        }
        Obstacle::NothingTakesReplicas | Obstacle::Racks { .. } | Obstacle::Brokers { .. } => {
            obstacle.to_string()
        }
    }
}

/// What else keeps the plan from a goal.
pub(super) fn kept(limited: Option<Limited>) -> &'static str {
    match limited {
        None => "",
        Some(Limited::Budget) => " (without the budget it comes nearer)",
        Some(Limited::Mode) => " (the mode changes less than balance does)",
    }
}

/// A partition for which not all is done, and why.
pub(super) fn stays(answer: &Answer, stuck: &Stuck) -> String {
    let name = partition_name(&answer.named, stuck.partition);
    let why = match &stuck.nearest {
        Some(step) => barred::of_offline(answer, step),
        None => stuck.why.to_string(),
    };
    match stuck.offline {
        0 => format!("{name} keeps a leader that was to pass on: {why}"),
        1 => format!("{name} keeps a replica where none can serve: {why}"),
        more => format!("{name} keeps {more} replicas where none can serve: {why}"),
    }
}

pub(super) fn partition_name(named: &Named, partition: u32) -> String {
    let topic = &named.topics[named.cluster.topic(partition) as usize];
    format!("{topic}-{}", named.partitions[partition as usize])
}

fn ids(brokers: &[i32]) -> String {
    brokers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Living brokers whose capacities are not known where those of others are, and of which resources.
fn unknown_capacities(answer: &Answer) -> Vec<(i32, Vec<&'static str>)> {
    let cluster = &answer.named.cluster;
    let of = |(broker, id): (usize, &i32)| {
        let unknown = |(_, resource): &&(&str, usize)| {
            cluster.capacity(broker, *resource).is_none()
                && cluster.fair_capacity(broker, *resource).is_some()
        };
        let names: Vec<&'static str> = RESOURCES.iter().filter(unknown).map(|(name, _)| *name).collect();
        (cluster.brokers()[broker].alive && !names.is_empty()).then_some((*id, names))
    };
    answer.named.broker_ids.iter().enumerate().filter_map(of).collect()
}

/// How far a plan can be from the fewest moves that there are.
fn how_near(plan: &Plan, moves: u64, fewest: u64) -> String {
    let left = || plan.unmet.iter().filter(|unmet| unmet.excess > 0);
    let goals = match left().any(Unmet::is_proof) {
        true => "all goals that can be met",
        false => "all goals",
    };
    if !left().all(Unmet::is_proof) {
        // Of what is left nobody knows whether it can be met.
        let needs = count(fewest.into(), "move");
        return format!("A plan that meets {goals} needs at least {needs}, if there is one.");
    }
    if moves < fewest {
        return format!("A plan that meets {goals} needs at least {}.", count(fewest.into(), "move"));
    }
    let more = moves as f64 / fewest as f64 * 100.0 - 100.0;
    format!("No plan that meets {goals} moves fewer than {fewest}: at most {more:.1} % more than needed.")
}

pub(super) fn text(answer: &Answer) -> String {
    let plan = &answer.plan;
    let mut text = String::new();
    let cost = cost(answer);
    let moves = cost.moved + cost.created;
    let counted =
        |word: &str, count: u64| if count > 0 { format!("; {word}: {count}") } else { String::new() };
    let _ = writeln!(
        text,
        "replicas moved: {}{}{}; copied: {}; partitions changed: {}",
        cost.moved,
        counted("created", cost.created),
        counted("removed", cost.removed),
        bytes(cost.copied),
        answer.rows.len()
    );
    if let Some(fewest) = plan.fewest_moves.filter(|fewest| *fewest > 0) {
        let _ = writeln!(text, "{}", how_near(plan, moves, fewest));
    }
    if cost.moved > 0 {
        let _ = writeln!(text, "{} of the replicas that move leave their rack.", plan.leave_rack);
    }
    let _ = writeln!(text, "\n{:<40} {:>10} {:>10}", "goal", "before", "after");
    let met = |excess: u128| if excess == 0 { "met" } else { "not met" };
    for (before, after) in answer.before.goals.iter().zip(&plan.after.goals) {
        let name = format!("{}{}", before.goal.name(), if before.hard { " (hard)" } else { "" });
        let _ = writeln!(text, "{name:<40} {:>10} {:>10}", met(before.excess), met(after.excess));
    }
    let offline = plan.after.offline.saturating_sub(cost.waiting);
    for (what, before, after) in [
        ("leaders on dead or leaving brokers", answer.before.leaderless, plan.after.leaderless),
        ("replicas on dead or leaving brokers", answer.before.offline, offline),
        ("leaders that are to pass on", plan.before.demoted, plan.after.demoted),
        ("replicas yet to be created", cost.created + cost.waiting, cost.waiting),
    ] {
        if before > 0 {
            let _ = writeln!(text, "{what:<40} {before:>10} {after:>10}");
        }
    }
    for (goal, why) in &answer.not_judged {
        let _ = writeln!(text, "not judged: {}: {why}", goal.name());
    }
    for (id, resources) in unknown_capacities(answer) {
        let _ = writeln!(
            text,
            "not known: what broker {id} can carry of {}: nothing limits it there, and its share is that of a mean broker",
            resources.join(", ")
        );
    }
    for unmet in &plan.unmet {
        obstacles(answer, unmet, &mut text);
    }
    for stuck in plan.stuck.iter().take(SHOWN) {
        let _ = writeln!(text, "{}", stays(answer, stuck));
    }
    if plan.stuck.len() > SHOWN {
        let _ = writeln!(text, "and {} partitions more: see --json", plan.stuck.len() - SHOWN);
    }
    text.push('\n');
    brokers(answer, &mut text);
    changes(answer, &mut text);
    text
}

/// What stands in the way of one goal, and of whom.
fn obstacles(answer: &Answer, unmet: &Unmet, text: &mut String) {
    let (goal, kept) = (unmet.goal, kept(unmet.limited));
    let (end, lines) = barred::details(answer, unmet);
    let own = match (&unmet.obstacle, lines.as_slice()) {
        (Obstacle::Partition { .. }, [only]) => {
            let _ = writeln!(text, "in the way of {}: partition {only}{kept}", goal.name());
            return;
        }
        (Obstacle::Partition { .. }, [_, ..]) => count(unmet.offenders.into(), "partition"),
        _ => obstacle(&answer.named, goal, unmet.obstacle),
    };
    // Nothing is wrong yet: only that nothing could be done for it.
    let met = if unmet.excess == 0 { ", which is met as things stand" } else { "" };
    let _ = writeln!(text, "in the way of {}{met}: {own}{end}{kept}", goal.name());
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
}

fn brokers(answer: &Answer, text: &mut String) {
    let (before, after) = (carried(&answer.named.cluster), carried(&answer.after));
    let after = &after[..before.len()];
    let sum = |carried: &[Carried], resource: usize| carried.iter().map(|c| c.loads[resource]).sum::<i64>();
    // The picture is of disk, or of replicas where no disk is known.
    let by_disk = sum(&before, DISK) > 0 && answer.cluster.brokers().iter().any(|b| b.capacity[DISK] > 0);
    let most = before.iter().chain(after).map(|carried| carried.replicas).max().unwrap_or(1).max(1);
    let full = |carried: &Carried, capacity: &[i64; 4]| match by_disk {
        true => share(carried, capacity, DISK).unwrap_or(0.0),
        false => f64::from(carried.replicas) / f64::from(most),
    };
    let _ = writeln!(
        text,
        "{:>8} {:<22}   {:<22} {:>16} {:>14}  cpu, in, out, disk %",
        "broker",
        if by_disk { "disk before" } else { "replicas before" },
        "after",
        "replicas",
        "leaders"
    );
    let dirs = Dirs::of(answer);
    for (ordinal, id) in answer.named.broker_ids.iter().enumerate() {
        let (broker, b, a) = (&answer.cluster.brokers()[ordinal], &before[ordinal], &after[ordinal]);
        let percent = |carried: &Carried| {
            let each = RESOURCES.map(|(_, resource)| match share(carried, &broker.capacity, resource) {
                Some(share) => format!("{:.0}", share * 100.0),
                None => "-".to_owned(),
            });
            each.join("/")
        };
        let _ = writeln!(
            text,
            "{id:>8} {} → {} {:>16} {:>14}  {} → {}{}",
            bar(full(b, &broker.capacity), 22),
            bar(full(a, &broker.capacity), 22),
            format!("{} → {}", b.replicas, a.replicas),
            format!("{} → {}", b.leaders, a.leaders),
            percent(b),
            percent(a),
            if broker.alive { "" } else { "  (dead or leaving)" },
        );
        dirs.bars(ordinal as u32, text);
    }
}

fn changes(answer: &Answer, text: &mut String) {
    if answer.rows.is_empty() {
        text.push_str("\nNothing is to be changed.\n");
        return;
    }
    text.push_str("\nFirst what matters most for the bytes it takes:\n");
    for row in answer.rows.iter().take(SHOWN) {
        let (name, of) = (partition_name(&answer.named, row.partition), &row.of);
        let leader = if of.led_by == of.leader { String::new() } else { format!(", led by {}", of.leader) };
        let why = why(answer, row);
        let _ = writeln!(text, "  {name}: {} → {}{leader}  ({why})", ids(&of.before), ids(&of.after));
    }
    if answer.rows.len() > SHOWN {
        let _ = writeln!(text, "  and {} more: see --json", answer.rows.len() - SHOWN);
    }
}
