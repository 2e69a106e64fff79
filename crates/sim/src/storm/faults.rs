//! What goes wrong in an incident, what people do meanwhile, and what stays when it ends.

use std::fmt::{self, Write as _};
use std::time::Duration;

use cluster::BrokerId;
use control::Scope;
use control::order::OrderKind;

use crate::random::Random;
use crate::world::Shape;

/// When the faults are over, and all brokers are back but those that stay dead.
pub(super) const END: Duration = Duration::from_secs(1800);
/// Faults begin before this second, so that they have some effect before the end.
const LAST: u64 = 1500;

/// Faults and orders.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The faults, in their notation.
    pub(super) faults: String,
    /// What people do, in its order. No order is in force any more at the end.
    pub(super) deeds: Vec<(Duration, Deed)>,
    /// So many times our moves are cancelled as soon as they have begun.
    pub(super) cancels: u32,
    /// Whether more brokers stay dead than the brake lets be healed.
    pub(super) is_mass_failure: bool,
    told: String,
}

/// What people do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// They give us an order.
    Order(OrderKind),
    /// They let the brokers' addresses lead to another cluster.
    OtherCluster,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.faults, self.told)
    }
}

impl Plan {
    /// Some faults, crashes of our own among them, what people do, and the end of it. In two of five incidents some broker
    /// does not come back.
    pub(super) fn draw(shape: &Shape, random: &mut Random) -> Self {
        let mut plan = Self::default();
        for _ in 0..random.between(1, 6) {
            let (second, fault) = (random.below(LAST), fault(shape, random));
            plan.add(second, &fault);
        }
        if shape.brokers >= 20 && random.chance(500) {
            let rack = random.between(1, u64::from(shape.racks));
            plan.add(random.below(LAST), &format!("rack-down r{rack}"));
        }
        if random.chance(100) {
            let (second, lasts) = (random.below(LAST), random.between(10, 300));
            plan.cut_us_off(shape, second, lasts);
        }
        for _ in 0..random.below(4) {
            plan.add(random.below(END.as_secs()), "crash us");
        }
        plan.add(END.as_secs(), "calm");
        if random.chance(400) {
            plan.leave_dead(shape, random);
        }
        if random.chance(100) {
            plan.cancels = u32::try_from(random.between(1, 2)).unwrap_or(1);
            plan.told.push_str("somebody cancels what we begin\n");
        }
        if random.chance(30) {
            let second = random.between(60, LAST);
            let _ = writeln!(plan.told, "at {second}s the addresses lead to another cluster");
            plan.deeds.push((Duration::from_secs(second), Deed::OtherCluster));
        }
        if random.chance(250) {
            plan.order_something(shape, random);
        }
        if random.chance(60) {
            plan.blind(shape, random);
        }
        plan.deeds.sort_by_key(|(when, _)| *when);
        plan
    }

    /// Whether a host is replaced by an empty one.
    pub(super) fn replaces(&self) -> bool {
        self.faults.contains("replace")
    }

    fn add(&mut self, second: u64, fault: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.faults, "at {second}s {fault}");
    }

    fn order(&mut self, second: u64, what: OrderKind) {
        let _ = writeln!(self.told, "at {second}s order {what:?}");
        self.deeds.push((Duration::from_secs(second), Deed::Order(what)));
    }

    /// Some brokers do not come back: mostly one, as many as may be healed without a person, sometimes more. Half of them
    /// have been away before.
    fn leave_dead(&mut self, shape: &Shape, random: &mut Random) {
        let healed = (shape.brokers / 10).max(1);
        let more = if random.chance(150) { healed + 1 } else { healed };
        let dead = brokers(more, shape, random);
        self.is_mass_failure = more > healed || has_whole_rack(&dead, shape);
        for id in dead {
            if random.chance(500) {
                self.add(random.below(END.as_secs()), &format!("kill b{id}"));
            }
            self.add(END.as_secs(), &format!("kill b{id}"));
        }
    }

    /// We reach no broker any more, for so many seconds.
    fn cut_us_off(&mut self, shape: &Shape, second: u64, lasts: u64) {
        for id in 1..=shape.brokers {
            self.add(second, &format!("isolate b{id} from us for {lasts}s"));
        }
    }

    /// What is known grows old while something is to be done: a broker dies while nobody tells us topics, or people let us go on
    /// while we reach nobody.
    fn blind(&mut self, shape: &Shape, random: &mut Random) {
        let begin = random.below(LAST - 600);
        if random.chance(500) {
            let lasts = random.between(120, 600);
            self.add(begin, &format!("topics-unreadable for {lasts}s"));
            self.add(begin + random.below(lasts), "kill any");
            return;
        }
        // Longer than a session and the longest grace together.
        let (cut, lasts) = (begin + random.between(150, 240), random.between(60, 240));
        self.order(begin, OrderKind::Pause);
        self.add(begin, "kill any");
        self.cut_us_off(shape, cut, lasts);
        self.order(cut + random.below(lasts), OrderKind::Resume);
    }

    fn order_something(&mut self, shape: &Shape, random: &mut Random) {
        let begin = random.below(LAST);
        let end = random.between(begin + 1, END.as_secs());
        match random.below(7) {
            0 => {
                self.order(begin, OrderKind::Pause);
                self.order(end, OrderKind::Resume);
            }
            1 => {
                self.order(begin, OrderKind::MaintenanceOn { scope: Scope::Cluster, until: None });
                self.order(end, OrderKind::MaintenanceOff { scope: Scope::Cluster });
            }
            2 => {
                let scope = Scope::Broker(broker(shape, random));
                self.order(begin, OrderKind::MaintenanceOn { scope, until: None });
                self.order(end, OrderKind::MaintenanceOff { scope });
            }
            3 => self.order(begin, OrderKind::Approve),
            4 => {
                let broker = broker(shape, random);
                self.order(begin, OrderKind::DecommissionOn { broker, until: None });
                self.order(end, OrderKind::DecommissionOff { broker });
            }
            5 => {
                let broker = broker(shape, random);
                self.order(begin, OrderKind::Replace { broker, accept_data_loss: false, only_ask: false });
            }
            _ => self.order(begin, OrderKind::Cancel { execution: None }),
        }
    }
}

fn broker(shape: &Shape, random: &mut Random) -> BrokerId {
    BrokerId(i32::try_from(random.between(1, u64::from(shape.brokers))).unwrap_or(1))
}

/// So many different brokers.
fn brokers(count: u32, shape: &Shape, random: &mut Random) -> Vec<BrokerId> {
    let mut chosen = Vec::new();
    while chosen.len() < usize::try_from(count.min(shape.brokers)).unwrap_or(0) {
        let id = broker(shape, random);
        if !chosen.contains(&id) {
            chosen.push(id);
        }
    }
    chosen
}

/// Whether a rack of two or more is among them. Brokers go to racks in turn.
fn has_whole_rack(some: &[BrokerId], shape: &Shape) -> bool {
    let all = || (1..=shape.brokers).filter_map(|id| i32::try_from(id).ok()).map(BrokerId);
    let racks = i32::try_from(shape.racks).unwrap_or(0);
    (0..racks).any(|rack| {
        let of = || all().filter(|id| id.0 % racks == rack);
        of().count() >= 2 && of().all(|id| some.contains(&id))
    })
}

fn fault(shape: &Shape, random: &mut Random) -> String {
    let lasts = random.between(10, 600);
    let partition = |random: &mut Random| {
        format!("topic-000{}-{}", random.below(2), random.below(u64::from(shape.partitions)))
    };
    match random.below(26) {
        0..=5 => "kill any".to_owned(),
        6 => "restart any".to_owned(),
        7 => format!("pause any {lasts}s"),
        8 => "flap any".to_owned(),
        9 => format!("isolate any from controller for {lasts}s"),
        10 => format!("isolate any from us for {lasts}s"),
        11 => format!("frozen-metadata any for {lasts}s"),
        12 if shape.racks > 0 => format!("rack-down r{}", random.between(1, u64::from(shape.racks))),
        12 => "shut-down any".to_owned(),
        13 => format!("recover any {lasts}s"),
        14 => format!("clock +{lasts}s"),
        15 => format!("clock -{lasts}s"),
        16 => "replace any".to_owned(),
        17 => format!("slow-disk any {}MB/s for {lasts}s", random.between(1, 50)),
        18 => format!("fill any {}%", random.between(80, 100)),
        19 => {
            let ends = brokers(2, shape, random);
            format!("isolate b{} from b{} for {lasts}s", ends[0], ends[1])
        }
        20 => format!("agent-silent any for {lasts}s"),
        21 => {
            format!("traffic topic-000{} x{} for {lasts}s", random.below(2), random.between(2, 20))
        }
        22 => {
            let to = brokers(shape.replicas, shape, random);
            let to: Vec<String> = to.iter().map(ToString::to_string).collect();
            format!("foreign-reassignment {} {}", partition(random), to.join(" "))
        }
        23 => format!("stats-lag {}s for {lasts}s", random.between(1, 600)),
        24 => format!("stats-unreachable for {lasts}s"),
        _ => format!("foreign-cancel {}", partition(random)),
    }
}
