//! Clusters as text, plans as text.
//!
//! ```text
//! broker rack a dead disk 10/100 20/100 in 5/100 out 5/100     one line each, from 0
//! limits watermark 85 headroom 0 moves 2 bytes 100 keep-down any-broker
//! orders-0: 0* 1 2?!  size 10 in 1 out 2 frozen                * leads, ? is out of sync, ! is to be replaced
//! ```

use std::fmt::Write;

use planner::{
    Broker, BrokerState, Limits, LogDir, Move, Network, Partition, Plan, Problem, RackOutcome, Replica,
    TargetFigures, WhyNot, audit, solve,
};

pub struct Fixture {
    pub problem: Problem,
    pub limits: Limits,
    names: Vec<String>,
}

pub fn parse(text: &str) -> Fixture {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let topic_of = |line: &str| line.split_once('-').map(|(topic, _)| topic.to_owned());
    let mut topics: Vec<_> =
        lines.iter().filter(|line| line.contains(':')).filter_map(|line| topic_of(line)).collect();
    topics.sort();
    topics.dedup();
    let mut builder = Problem::builder(topics.len() as u32);
    let mut limits = Limits { network_headroom_percent: 0, ..Limits::default() };
    let mut names = Vec::new();
    for line in lines {
        if let Some(words) = line.strip_prefix("broker") {
            builder.add_broker(&broker(words)).unwrap();
        } else if let Some(words) = line.strip_prefix("limits") {
            set_limits(&mut limits, words);
        } else {
            let (name, words) = line.split_once(':').expect("a partition line has a colon");
            let mut partition = partition(words);
            partition.topic =
                topics.iter().position(|topic| Some(topic) == topic_of(name).as_ref()).unwrap() as u32;
            builder.add_partition(&partition).unwrap_or_else(|error| panic!("{line}: {error}"));
            names.push(name.to_owned());
        }
    }
    Fixture { problem: builder.build(), limits, names }
}

fn broker(words: &str) -> Broker {
    let mut broker = Broker::default();
    let mut words = words.split_whitespace().peekable();
    while let Some(word) = words.next() {
        match word {
            "rack" => broker.rack = words.next().map(|rack| u32::from(rack.as_bytes()[0])),
            "dead" => broker.state = BrokerState::Dead,
            "absent" => broker.state = BrokerState::Absent,
            "draining" => broker.state = BrokerState::Draining,
            "maintenance" => broker.state = BrokerState::Maintenance,
            "excluded" => broker.state = BrokerState::Excluded,
            "disk" => {
                while let Some((used, total)) = words.peek().and_then(|word| ratio(word)) {
                    broker.log_dirs.push(LogDir { total, used });
                    words.next();
                }
            }
            "in" | "out" => {
                let (used, capacity) = words.next().and_then(ratio).unwrap();
                let network = Some(Network { capacity, used });
                if word == "in" { broker.network_in = network } else { broker.network_out = network }
            }
            other => panic!("unknown word {other}"),
        }
    }
    broker
}

fn ratio(word: &str) -> Option<(u64, u64)> {
    let (used, total) = word.split_once('/')?;
    Some((used.parse().ok()?, total.parse().ok()?))
}

fn set_limits(limits: &mut Limits, words: &str) {
    let mut words = words.split_whitespace();
    while let Some(word) = words.next() {
        let mut number = || words.next().unwrap().parse::<u32>().unwrap();
        match word {
            "watermark" => limits.disk_watermark_percent = number() as u8,
            "headroom" => limits.network_headroom_percent = number() as u8,
            "moves" => limits.max_moves = Some(number()),
            "bytes" => limits.max_bytes = Some(number().into()),
            "keep-down" => limits.allow_down_in_target_list = true,
            "any-broker" => limits.only_dead = false,
            other => panic!("unknown word {other}"),
        }
    }
}

fn partition(words: &str) -> Partition {
    let mut partition = Partition::default();
    let mut words = words.split_whitespace();
    while let Some(word) = words.next() {
        let mut number = || words.next().map(|word| word.parse().unwrap());
        match word {
            "size" => partition.size = number(),
            "in" => partition.bytes_in = number(),
            "out" => partition.bytes_out = number(),
            "frozen" => partition.frozen = true,
            replica => {
                let broker = replica.trim_end_matches(['*', '?', '!']).parse().unwrap();
                if replica.contains('*') {
                    partition.leader = Some(broker);
                }
                let (in_sync, replace) = (!replica.contains('?'), replica.contains('!'));
                partition.replicas.push(Replica { broker, in_sync, replace });
            }
        }
    }
    partition
}

/// Solves, audits, and writes the plan down.
pub fn plan_of(text: &str) -> String {
    let fixture = parse(text);
    let plan = solve(&fixture.problem, &fixture.limits);
    let mut out = fixture.write(&plan);
    if let Err(violations) = audit(&fixture.problem, &fixture.limits, &plan) {
        writeln!(out, "VIOLATIONS {violations:?}").unwrap();
    }
    out
}

impl Fixture {
    pub fn write(&self, plan: &Plan) -> String {
        let mut out = String::new();
        for Move { partition, position, from, to, bytes, rack, before, after } in &plan.moves {
            let name = &self.names[*partition as usize];
            write!(out, "{name}[{position}] {from} -> {to}").unwrap();
            if let Some(bytes) = bytes {
                write!(out, ", {bytes} bytes").unwrap();
            }
            match rack {
                RackOutcome::NoRacks => {}
                RackOutcome::Kept => write!(out, ", rack kept").unwrap(),
                RackOutcome::NoRackFree { others } => write!(out, ", no rack free: with {others}").unwrap(),
                RackOutcome::FreeRackFull { others } => {
                    write!(out, ", free rack full: with {others}").unwrap()
                }
            }
            writeln!(out, "{}", figures(before, after)).unwrap();
        }
        for refused in &plan.unplaced {
            let name = &self.names[refused.partition as usize];
            writeln!(
                out,
                "{name}[{}] stays on {}: {}",
                refused.position,
                refused.broker,
                reason(refused.why)
            )
            .unwrap();
        }
        out
    }
}

fn figures(before: &TargetFigures, after: &TargetFigures) -> String {
    let mut out = format!(
        "; {} -> {} replicas, {} -> {} of the topic",
        before.replicas, after.replicas, before.topic_replicas, after.topic_replicas
    );
    for (name, before, after) in [
        ("disk", before.disk_permille, after.disk_permille),
        ("in", before.network_in_permille, after.network_in_permille),
        ("out", before.network_out_permille, after.network_out_permille),
    ] {
        if let (Some(before), Some(after)) = (before, after) {
            write!(out, ", {name} {before} -> {after}").unwrap();
        }
    }
    out
}

fn reason(why: WhyNot) -> String {
    match why {
        WhyNot::Frozen => "frozen".into(),
        WhyNot::BrokerNotDead => "its broker is not dead".into(),
        WhyNot::NoLiveInSyncReplica { live } => format!("no live in-sync replica, {live} live"),
        WhyNot::TargetListWouldKeepDownBroker { broker } => {
            format!("list would keep {broker}, which is down")
        }
        WhyNot::NoEligibleBroker => "no eligible broker".into(),
        WhyNot::EveryCandidateHoldsReplica => "every candidate holds a replica".into(),
        WhyNot::NoRoom { over_disk, over_network } => {
            format!("no room: disk {over_disk}, network {over_network}")
        }
        WhyNot::LeaderNetworkFull { leader } => format!("network of leader {leader} full"),
        WhyNot::Budget { to } => format!("budget, would go to {to}"),
    }
}
