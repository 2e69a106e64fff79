//! Which steps would bring unmet goals nearer, and what is in the way of the nearest of them.

use std::collections::{BTreeMap, BTreeSet};

use super::bands::{LEADER_IN, LEADERS, figure};
use super::cluster::{CPU, Cluster, Lock, NETWORK_OUT};
use super::policy::{Goal, Policy};
use super::score::{Meter, is_about_lists};
use super::solve::{Change, Plan};
use super::unmet::Obstacle;
use super::why::{Step, Why, why};

/// So many partitions of a goal are shown, no two for the same reasons.
const SHOWN: usize = 3;
/// So many racks that could take a replica are shown of each.
const RACKS: usize = 2;
/// So many partitions are looked at: the first ones.
const LOOKED_AT: usize = 64;

/// Steps that would bring a goal nearer, all for one partition or for the broker that an obstacle names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Barred {
    /// The partition, of goals about single lists.
    pub partition: Option<u32>,
    /// How many ways there are: racks that could take a replica, where a goal is about racks.
    pub ways: u32,
    /// The nearest step of each of some of them, the nearest first.
    pub steps: Vec<Step>,
}

/// What finds steps from where a meter stands.
pub(crate) struct Steps<'m, 'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) policy: &'a Policy,
    pub(crate) meter: &'m Meter<'a>,
    /// Partitions that a budget cuts off.
    pub(crate) postponed: &'m BTreeSet<u32>,
}

impl Steps<'_, '_> {
    /// Some of the partitions that a goal finds wrong, the most telling first, and how many there are.
    pub(crate) fn partitions(&self, goal: Goal) -> (u64, Vec<Barred>) {
        let (mut all, mut found) = (0, Vec::new());
        let mut seen = BTreeSet::new();
        for partition in (0..self.cluster.partitions()).filter(|p| self.meter.wrong(goal, *p) > 0) {
            all += 1;
            if all > LOOKED_AT as u64 {
                continue;
            }
            let barred = self.of_partition(goal, partition);
            let kind: Vec<Why> = barred.steps.iter().map(|step| alike(step.why)).collect();
            if !kind.is_empty() && seen.insert(kind) {
                found.push(barred);
            }
        }
        // What is in the way tells more than that nothing is.
        found.sort_by_key(|barred| barred.steps.iter().any(|step| step.why == Why::Possible));
        found.truncate(SHOWN);
        (all, found)
    }

    /// A change that brings a goal nearer, and at most goals that stand after it farther: of a partition that it finds wrong, or for
    /// the broker that is worst. Not of partitions that were `tried` for it; those that were looked at in vain now are.
    pub(crate) fn worth_a_try(&self, goal: Goal, tried: &mut BTreeSet<(Goal, u32)>) -> Option<Change> {
        let at = |goal: Goal| self.policy.goals.iter().position(|other| *other == goal);
        let bars = |why: Why| match why {
            Why::Possible => false,
            Why::Worse { goal: other, .. } => at(other) <= at(goal),
            _ => true,
        };
        let change = |barred: Barred| barred.steps.into_iter().find(|step| !bars(step.why))?.change;
        if is_about_lists(goal) {
            let wrong = (0..self.cluster.partitions()).filter(|p| self.meter.wrong(goal, *p) > 0);
            let untried: Vec<u32> =
                wrong.filter(|p| !tried.contains(&(goal, *p))).take(LOOKED_AT * LOOKED_AT).collect();
            return untried.into_iter().find_map(|partition| {
                let change = change(self.of_partition(goal, partition));
                if change.is_none() {
                    tried.insert((goal, partition));
                }
                change
            });
        }
        let change = change(self.at_broker(goal, self.meter.worst(goal)?)?)?;
        (!tried.contains(&(goal, change.partition))).then_some(change)
    }

    /// What is in the way of one partition.
    pub(crate) fn of_partition(&self, goal: Goal, partition: u32) -> Barred {
        let only = |step: Step| Barred { partition: Some(partition), ways: 1, steps: vec![step] };
        if self.postponed.contains(&partition) {
            return only(Step { change: None, why: Why::Budget });
        }
        let (list, leader) = self.meter.list(partition);
        if goal == Goal::PreferredLeader {
            return only(self.step(Change { partition, replicas: list.to_vec(), leader: 0 }));
        }
        let mut nearest: BTreeMap<u32, Step> = BTreeMap::new();
        let wrong = self.meter.wrong(goal, partition);
        for (way, position, to) in ways(self.cluster, goal, partition, list) {
            let change = sent(partition, (list, leader), position, to);
            if goal == Goal::RackAwareDistribution && self.meter.wrong_after(goal, &change) >= wrong {
                continue;
            }
            let step = self.step(change);
            let near = nearest.get(&way).map(|other| other.why.rank(self.policy));
            if near.is_none_or(|near| step.why.rank(self.policy) < near) {
                nearest.insert(way, step);
            }
        }
        let ways = nearest.len() as u32;
        let mut steps: Vec<Step> = nearest.into_values().collect();
        steps.sort_by_key(|step| step.why.rank(self.policy));
        steps.truncate(RACKS);
        Barred { partition: Some(partition), ways, steps }
    }

    /// The nearest step that brings a broker nearer to a goal. Nothing where no partition that was looked at could do that.
    pub(crate) fn at_broker(&self, goal: Goal, obstacle: Obstacle) -> Option<Barred> {
        let (broker, topic, below) = match obstacle {
            Obstacle::Broker { broker, by } => (broker, None, by < 0),
            Obstacle::Topic { topic, broker, by } => (broker, Some(topic), by < 0),
            _ => return None,
        };
        let (mut nearest, mut looked_at): (Option<Step>, usize) = (None, 0);
        let (mut frozen, mut offline, mut thawed) = (false, false, false);
        for partition in 0..self.cluster.partitions() {
            if topic.is_some_and(|topic| self.cluster.topic(partition) != topic) {
                continue;
            }
            let (list, leader) = self.meter.list(partition);
            if self.cluster.frozen(partition) {
                let waits = self.cluster.lock(partition) == Some(Lock::Offline);
                frozen |= list.contains(&broker) && !waits;
                offline |= list.contains(&broker) && waits;
                continue;
            }
            thawed |= list.contains(&broker);
            let changes = towards(self.cluster, goal, partition, (list, leader), (broker, below));
            for change in changes.into_iter().filter(|change| self.meter.nears(goal, broker, change)) {
                looked_at += 1;
                let mut step = self.step(change);
                let helps = |change: &Change| self.meter.gain(goal, change) > 0;
                if step.why == Why::Possible && !step.change.as_ref().is_some_and(helps) {
                    step.why = Why::NoGain;
                }
                if nearest.as_ref().is_none_or(|near| step.why.rank(self.policy) < near.why.rank(self.policy))
                {
                    nearest = Some(step);
                }
            }
            let found = nearest.as_ref().is_some_and(|near| near.why == Why::Possible);
            if found || looked_at > LOOKED_AT * LOOKED_AT {
                break;
            }
        }
        let why = if offline { Why::Offline { all: !frozen } } else { Why::Frozen };
        let none_may = ((frozen || offline) && !thawed).then_some(Step { change: None, why });
        let step = nearest.or(none_may)?;
        Some(Barred { partition: None, ways: 1, steps: vec![step] })
    }

    fn step(&self, change: Change) -> Step {
        let why = why(self.cluster, self.policy, self.meter, &change);
        Step { change: Some(change), why }
    }
}

/// The goals about single lists that are not met for one partition once a plan is done, and what is in the way.
pub fn barred(cluster: &Cluster, policy: &Policy, plan: &Plan, partition: u32) -> Vec<(Goal, Barred)> {
    let meter = done(cluster, policy, plan);
    let postponed = plan.postponed.iter().copied().collect();
    let steps = Steps { cluster, policy, meter: &meter, postponed: &postponed };
    let wrong = |goal: &&Goal| meter.wrong(**goal, partition) > 0;
    policy.goals.iter().filter(wrong).map(|goal| (*goal, steps.of_partition(*goal, partition))).collect()
}

/// The goals that a broker is outside of once a plan is done: how, of topics the one that is farthest, and which step comes nearest to
/// helping it.
pub fn outside(
    cluster: &Cluster,
    policy: &Policy,
    plan: &Plan,
    broker: u32,
) -> Vec<(Goal, Obstacle, Option<Step>)> {
    let meter = done(cluster, policy, plan);
    let postponed: BTreeSet<u32> = plan.postponed.iter().copied().collect();
    let steps = Steps { cluster, policy, meter: &meter, postponed: &postponed };
    let of = |goal: &Goal| {
        let how = meter.outside_on(*goal, broker)?;
        let mut step = steps.at_broker(*goal, how).and_then(|barred| barred.steps.into_iter().next());
        if let Some(step) = step.as_mut().filter(|step| step.why == Why::Possible && !postponed.is_empty()) {
            // Whether the whole plan would do it, or what serves better, is not asked any more.
            step.why = Why::Budget;
        }
        Some((*goal, how, step))
    };
    policy.goals.iter().filter_map(of).collect()
}

/// What a plan leads to, with its arrivals in the log dirs that it names.
fn done<'a>(cluster: &'a Cluster, policy: &'a Policy, plan: &Plan) -> Meter<'a> {
    let after = plan.applied_to(cluster);
    let held = plan.log_dirs.iter().map(|((partition, position), dir)| {
        let replica = cluster.row(*partition).start as u32 + position;
        (replica, (after.place[replica as usize], *dir))
    });
    Meter::holding(cluster, policy, (after.place.clone(), after.leaders()), held.collect())
}

/// Reasons that differ in their amounts alone are alike.
fn alike(why: Why) -> Why {
    match why {
        Why::Worse { goal, broker, .. } => Why::Worse { goal, broker, by: 0 },
        why => why,
    }
}

/// Whether Kafka lets a replica stand on a broker: one that held another of the partition's at the start keeps that one or none.
pub(super) fn may_stand(cluster: &Cluster, partition: u32, position: usize, broker: u32) -> bool {
    let home = cluster.replicas(partition);
    match home.iter().position(|held| *held == broker) {
        Some(at) => at == position && !cluster.offline(partition, at as u32),
        None => true,
    }
}

/// A partition with one replica elsewhere.
fn sent(partition: u32, (list, leader): (&[u32], u32), position: usize, to: u32) -> Change {
    let mut replicas = list.to_vec();
    replicas[position] = to;
    Change { partition, replicas, leader }
}

/// Where replicas of a partition could go that are too many in their rack, or outside of their broker set: way by way (the
/// rack; for sets there is one), position and broker.
fn ways(cluster: &Cluster, goal: Goal, partition: u32, list: &[u32]) -> Vec<(u32, usize, u32)> {
    let known = |broker: u32| &cluster.brokers[broker as usize];
    let held = |rack: u32| list.iter().filter(|broker| known(**broker).rack == rack).count();
    let set = cluster.bound_set(cluster.topic(partition));
    let serves = |from: u32, to: u32| {
        let (rack, new) = (known(from).rack, known(to).rack);
        match goal {
            Goal::BrokerSetAware => known(from).set != set && known(to).set == set,
            // How replicas are spread is judged as a whole.
            Goal::RackAwareDistribution => rack != new,
            _ => held(rack) > 1 && held(new) == 0,
        }
    };
    let mut ways = Vec::new();
    for (to, broker) in (0..).zip(&cluster.brokers).filter(|(to, b)| b.alive && !list.contains(to)) {
        let way = if goal == Goal::BrokerSetAware { 0 } else { broker.rack };
        let from =
            (0..list.len()).filter(|at| serves(list[*at], to) && may_stand(cluster, partition, *at, to));
        ways.extend(from.map(|position| (way, position, to)));
    }
    ways
}

/// Changes of a partition that take from a broker what a goal judges, or give it some where it has too little.
fn towards(
    cluster: &Cluster,
    goal: Goal,
    partition: u32,
    (list, leader): (&[u32], u32),
    (broker, below): (u32, bool),
) -> Vec<Change> {
    let figure = figure(goal);
    let by_leaders = figure.is_none_or(|f| [CPU, NETWORK_OUT, LEADERS, LEADER_IN].contains(&f))
        && goal != Goal::TopicDistribution;
    let of_leaders =
        goal == Goal::MinTopicLeaders || figure.is_some_and(|f| [LEADERS, LEADER_IN].contains(&f));
    let here = list.iter().position(|holds| *holds == broker);
    let led = |leader: usize| Change { partition, replicas: list.to_vec(), leader: leader as u32 };
    let counts = |at: &usize| !of_leaders || *at == leader as usize;
    let lives = |broker: u32| cluster.brokers[broker as usize].alive;
    let mut changes = Vec::new();
    match (here, below) {
        (Some(at), true) if by_leaders && at != leader as usize => changes.push(led(at)),
        (None, true) => {
            let from = (0..list.len())
                .filter(|at| lives(list[*at]) && counts(at) && may_stand(cluster, partition, *at, broker));
            changes.extend(from.map(|at| sent(partition, (list, leader), at, broker)));
        }
        (Some(at), false) if counts(&at) => {
            if by_leaders && at == leader as usize {
                changes.extend((0..list.len()).filter(|other| *other != at && lives(list[*other])).map(led));
            }
            let free = (0..cluster.brokers.len() as u32)
                .filter(|to| lives(*to) && !list.contains(to) && may_stand(cluster, partition, at, *to));
            changes.extend(free.map(|to| sent(partition, (list, leader), at, to)));
        }
        _ => {}
    }
    changes
}
