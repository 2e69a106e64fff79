//! What would bring unmet goals nearer, and what is in the way of that, in words and as fields.

use planner::balance::{Barred, Change, Counted, Goal, Mark, Obstacle, Step, Unmet, Why};
use serde_json::{Value, json};

use super::amount::{amount, count, of_files, unit};
use super::partition_name;
use crate::cli::plan::Answer;

/// A broker with its rack.
fn broker(answer: &Answer, ordinal: u32) -> String {
    match rack(answer, ordinal) {
        Some(rack) => format!("broker {} (rack {rack})", id(answer, ordinal)),
        None => format!("broker {}", id(answer, ordinal)),
    }
}

fn id(answer: &Answer, ordinal: u32) -> i32 {
    answer.named.broker_ids.get(ordinal as usize).copied().unwrap_or(-1)
}

fn rack(answer: &Answer, ordinal: u32) -> Option<&String> {
    answer.named.racks.get(ordinal as usize)
}

/// Position, broker it leaves and broker it comes to of the replica that a step moves; nothing where leadership alone passes on.
fn moved(answer: &Answer, change: &Change) -> Option<(u32, u32)> {
    let list = answer.after.replicas(change.partition);
    list.iter().zip(&change.replicas).find(|(from, to)| from != to).map(|(from, to)| (*from, *to))
}

/// What is in the way of a step.
fn hindrance(answer: &Answer, step: &Step) -> String {
    match step.why {
        Why::Possible => {
            "nothing that is known is in the way, but the plan that was found does not do it".to_owned()
        }
        Why::Worse { goal, broker: None, by } => {
            format!(
                "{} would be {} farther from met",
                goal.name(),
                amount(goal.counts(), by.unsigned_abs().into())
            )
        }
        Why::Worse { goal, broker: Some(at), by } => {
            let (at, by_words) = (broker(answer, at), amount(goal.counts(), by.unsigned_abs().into()));
            match (goal, goal.counts()) {
                (Goal::ReplicaCapacity, _) => format!("{at} would hold {by_words} more than it may"),
                (Goal::MinTopicLeaders, _) => format!("{at} would lack {by_words} of the topic"),
                (Goal::TopicDistribution, _) => {
                    format!(
                        "{at} would hold {by_words} of the topic too {}",
                        if by < 0 { "few" } else { "many" }
                    )
                }
                (_, Counted::Load(_)) if goal.is_hard() => {
                    let what = ["", " of inbound network", " of outbound network", " of disk"];
                    format!("{at} lacks {by_words}{}", goal.resource().map_or("", |resource| what[resource]))
                }
                _ => {
                    let side = if by < 0 { "below" } else { "above" };
                    format!("{at} would be {by_words} {side} its limits ({})", goal.name())
                }
            }
        }
        Why::NoGain => "others would come as far from the goal".to_owned(),
        Why::Behind { broker: at } => format!("{} is not in sync", broker(answer, at)),
        Why::NotLeading { broker: at } => format!("{} may not lead", broker(answer, at)),
        Why::Mode => "the mode does not do that".to_owned(),
        Why::OtherSet { broker: at } => format!("{} is not of the topic's broker set", broker(answer, at)),
        Why::Excluded { broker: at } => format!("{} may take no replicas", broker(answer, at)),
        Why::Budget => "the budget ends before it".to_owned(),
        Why::Frozen => "all that it holds is excluded or frozen".to_owned(),
        Why::Offline { all: true } => {
            "of each partition that it holds a replica is offline, which is left to be healed (mode heal)"
                .to_owned()
        }
        Why::Offline { all: false } => {
            "all that it holds is excluded or frozen, or left to be healed (mode heal), as a \
                                        replica of the partition is offline"
                .to_owned()
        }
    }
}

/// What is in the way of a replica of a partition coming to a rack. The nearest broker there stands for all of the rack.
fn of_rack(answer: &Answer, goal: Goal, step: &Step) -> String {
    let to = step.change.as_ref().and_then(|change| moved(answer, change)).map(|(_, to)| to);
    let Some((to, rack)) = to.and_then(|to| Some((to, rack(answer, to)?))) else {
        return hindrance(answer, step);
    };
    let whole = if goal == Goal::BrokerSetAware { "the set".to_owned() } else { format!("rack {rack}") };
    match step.why {
        Why::Excluded { .. } => format!("no broker of {whole} may take replicas"),
        Why::OtherSet { .. } => format!("no broker of rack {rack} is of the topic's broker set"),
        Why::NotLeading { .. } => format!("no broker of {whole} may lead it"),
        Why::Mode => format!("the mode brings none of its replicas to {whole}"),
        Why::Possible => format!(
            "a replica could go to {}, but the plan that was found does not do it",
            broker(answer, to)
        ),
        _ => hindrance(answer, step),
    }
}

/// One partition that a goal finds wrong, with what keeps it so.
pub(in crate::cli::plan) fn of_partition(answer: &Answer, goal: Goal, barred: &Barred) -> String {
    let mut words: Vec<String> = Vec::new();
    for step in &barred.steps {
        let of_step = of_rack(answer, goal, step);
        if !words.contains(&of_step) {
            words.push(of_step);
        }
    }
    let more = u128::from(barred.ways).saturating_sub(barred.steps.len() as u128);
    if barred.steps.first().is_some_and(|step| step.why == Why::Possible) {
        words.truncate(1);
    } else if more > 0 {
        words.push(format!("{} more are no nearer", count(more, "rack")));
    }
    words.join("; ")
}

/// What is known of a goal that is not met beside its obstacle: the end of its line, and lines of its own.
pub(super) fn details(answer: &Answer, unmet: &Unmet) -> (String, Vec<String>) {
    let others = unmet.offenders.saturating_sub(1);
    let mut end = String::new();
    let mut lines = Vec::new();
    for barred in &unmet.barred {
        match barred.partition {
            Some(partition) => lines.push(format!(
                "{}: {}",
                partition_name(&answer.named, partition),
                of_partition(answer, unmet.goal, barred)
            )),
            None => lines.extend(barred.steps.first().map(|step| at_broker(answer, step))),
        }
    }
    let of_partitions = matches!(unmet.obstacle, Obstacle::Partition { .. } | Obstacle::Racks { .. });
    let listed = lines.len() as u64;
    if of_partitions && listed > 0 && unmet.offenders > listed {
        lines.push(format!("and {} more", count((unmet.offenders - listed).into(), "partition")));
    }
    if matches!(unmet.obstacle, Obstacle::Broker { .. }) && others > 0 {
        end = format!(", and {} outside", more_are(others));
    }
    (end, lines)
}

fn more_are(others: u64) -> String {
    if others == 1 { "1 broker more is".to_owned() } else { format!("{others} brokers more are") }
}

/// The step that comes nearest to helping a broker.
pub(in crate::cli::plan) fn at_broker(answer: &Answer, step: &Step) -> String {
    let Some(change) = &step.change else { return hindrance(answer, step) };
    let name = partition_name(&answer.named, change.partition);
    let what = match moved(answer, change) {
        Some((from, to)) if answer.cluster.brokers()[from as usize].mark == Mark::Waiting => {
            format!("a new replica of {name} on broker {}", id(answer, to))
        }
        Some((from, to)) => format!("{name} from broker {} to {}", id(answer, from), id(answer, to)),
        None => {
            let leads = change.replicas[change.leader as usize];
            format!("leadership of {name} to broker {}", id(answer, leads))
        }
    };
    match step.why {
        Why::Possible => format!("{what} would help, but the plan that was found does not do it"),
        _ => format!("nearest to help is {what}, but {}", hindrance(answer, step)),
    }
}

/// What keeps a replica that is offline where it is, by the broker that comes nearest to taking it.
pub(in crate::cli::plan) fn of_offline(answer: &Answer, step: &Step) -> String {
    let to = step.change.as_ref().and_then(|change| moved(answer, change)).map(|(_, to)| to);
    match (step.why, to) {
        (Why::Possible, Some(to)) => {
            format!(
                "a replica could go to {}, but the plan that was found does not do it",
                broker(answer, to)
            )
        }
        (Why::Worse { goal: Goal::DiskCapacity, .. }, _) | (_, None) => {
            format!("of brokers that may take it the nearest to having room: {}", hindrance(answer, step))
        }
        (_, Some(to)) => {
            format!("nearest to taking it is {}, but {}", broker(answer, to), hindrance(answer, step))
        }
    }
}

/// The same for scripts.
pub(in crate::cli::plan) fn fields(answer: &Answer, goal: Goal, all: &[Barred]) -> Vec<Value> {
    let of = |barred: &Barred| {
        let steps: Vec<Value> = barred.steps.iter().map(|step| fields_of(answer, step)).collect();
        json!({
            "partition": barred.partition.map(|partition| name(answer, partition)),
            "ways": barred.ways,
            "steps": steps,
            "text": match barred.partition {
                Some(_) => of_partition(answer, goal, barred),
                None => barred.steps.first().map(|step| hindrance(answer, step)).unwrap_or_default(),
            },
        })
    };
    all.iter().map(of).collect()
}

/// A partition for scripts.
pub(in crate::cli::plan) fn name(answer: &Answer, partition: u32) -> Value {
    let named = &answer.named;
    let topic = &named.topics[named.cluster.topic(partition) as usize];
    json!({"topic": topic, "partition": named.partitions[partition as usize]})
}

/// One step for scripts.
pub(in crate::cli::plan) fn fields_of(answer: &Answer, step: &Step) -> Value {
    let moved = step.change.as_ref().and_then(|change| moved(answer, change));
    let leads = step.change.as_ref().filter(|_| moved.is_none());
    let (why, goal, at, by) = match step.why {
        Why::Possible => ("possible", None, None, None),
        Why::NoGain => ("no gain", None, None, None),
        Why::Worse { goal, broker, by } => ("limit", Some(goal), broker, Some(by)),
        Why::Behind { broker } => ("not in sync", None, Some(broker), None),
        Why::NotLeading { broker } => ("may not lead", None, Some(broker), None),
        Why::Mode => ("mode", None, None, None),
        Why::OtherSet { broker } => ("broker set", None, Some(broker), None),
        Why::Excluded { broker } => ("excluded", None, Some(broker), None),
        Why::Budget => ("budget", None, None, None),
        Why::Frozen => ("frozen", None, None, None),
        Why::Offline { .. } => ("offline", None, None, None),
    };
    let signed = |by: i64, goal: Goal| {
        let whole = of_files(goal.counts(), by.unsigned_abs().into());
        if by < 0 { -whole } else { whole }
    };
    json!({
        "of": step.change.as_ref().map(|change| name(answer, change.partition)),
        "from": moved.map(|(from, _)| id(answer, from)),
        "to": moved.map(|(_, to)| id(answer, to)),
        "rack": moved.and_then(|(_, to)| rack(answer, to)),
        "leader": leads.map(|change| id(answer, change.replicas[change.leader as usize])),
        "why": why,
        "goal": goal.map(Goal::name),
        "broker": at.map(|broker| id(answer, broker)),
        "by": by.zip(goal).map(|(by, goal)| signed(by, goal)),
        "unit": goal.map(|goal| unit(goal.counts())),
    })
}
