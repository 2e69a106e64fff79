//! Whether the steps that a plan says are not taken would serve what they are said to, and are barred by what is said.

use std::collections::BTreeSet;

use super::figures::{Placement, Topics, lacks_leaders, wrong};
use super::reasons::Grounds;
use super::scope;
use crate::balance::cluster::{Broker, Cluster, Lock};
use crate::balance::policy::{Goal, Policy};
use crate::balance::solve::{Change, Plan};
use crate::balance::steps::Barred;
use crate::balance::unmet::{Obstacle, Unmet};
use crate::balance::why::{Step, Why};

/// What steps are judged by: where a plan leads to.
pub(super) struct Ground<'p> {
    after: &'p Placement<'p>,
    policy: &'p Policy,
    plan: &'p Plan,
    grounds: Grounds<'p>,
}

impl<'p> Ground<'p> {
    pub(super) fn of(after: &'p Placement<'p>, policy: &'p Policy, plan: &'p Plan) -> Ground<'p> {
        Ground { after, policy, plan, grounds: Grounds::of(after, policy) }
    }

    fn cluster(&self) -> &'p Cluster {
        self.after.cluster()
    }

    /// Whether there are so many offenders as a plan says of a goal, and its steps are what it says.
    pub(super) fn holds(&self, unmet: &Unmet) -> bool {
        let partitions: BTreeSet<Option<u32>> = unmet.barred.iter().map(|barred| barred.partition).collect();
        let sound = |barred: &Barred| match barred.partition {
            Some(partition) => self.bars_partition(unmet.goal, partition, barred),
            None => self.bars_broker(unmet, barred),
        };
        unmet.offenders == self.offenders(unmet.goal)
            && partitions.len() == unmet.barred.len()
            && unmet.barred.iter().all(sound)
    }

    fn offenders(&self, goal: Goal) -> u64 {
        let cluster = self.cluster();
        let brokers = 0..cluster.brokers().len();
        let count = match goal {
            _ if is_of_lists(goal) => {
                self.after.lists().filter(|(p, _)| self.wrong_in(goal, *p, None) > 0).count()
            }
            Goal::TopicDistribution => {
                let topics = Topics::of(self.after, self.policy);
                let each = (0..cluster.topics()).flat_map(|t| brokers.clone().map(move |b| (t, b as u32)));
                each.filter(|(t, b)| topics.outside(*t, *b, topics.held(*t, *b)) > 0).count()
            }
            Goal::MinTopicLeaders => {
                let each = (0..cluster.topics()).flat_map(|t| brokers.clone().map(move |b| (t, b as u32)));
                let topics = each.filter(|(topic, _)| cluster.required_leaders(*topic) > 0);
                topics.filter(|(t, b)| lacks_leaders(cluster, *t, *b, self.grounds.leads(*t, *b)) > 0).count()
            }
            _ => self.grounds.judged_by(goal).map_or(0, |judged| {
                brokers.filter(|broker| judged.outside(*broker, self.after.carried(*broker)) > 0).count()
            }),
        };
        count as u64
    }

    /// What a goal about lists finds wrong with a partition, or would after a change.
    fn wrong_in(&self, goal: Goal, partition: u32, change: Option<&Change>) -> usize {
        if self.cluster().frozen(partition) {
            return 0;
        }
        let (list, leader) = self.after.list(partition);
        match change {
            Some(change) => wrong(self.after, goal, partition, &change.replicas, change.leader as usize),
            None => wrong(self.after, goal, partition, list, *leader),
        }
    }

    fn bars_partition(&self, goal: Goal, partition: u32, barred: &Barred) -> bool {
        if partition >= self.cluster().partitions() || !is_of_lists(goal) {
            return false;
        }
        let was = self.wrong_in(goal, partition, None);
        let serves = |step: &Step| match &step.change {
            Some(change) => {
                change.partition == partition
                    && self.wrong_in(goal, partition, Some(change)) < was
                    && self.is_true(step)
            }
            None => step.why == Why::Budget && self.plan.postponed.contains(&partition),
        };
        let racks: Vec<u32> = barred.steps.iter().filter_map(|step| self.new_rack(step)).collect();
        let distinct: BTreeSet<u32> = racks.iter().copied().collect();
        let by_rack = matches!(goal, Goal::RackAware | Goal::RacksKept | Goal::RackAwareDistribution);
        let whole = !by_rack || barred.steps.iter().any(|step| step.change.is_none());
        was > 0
            && !barred.steps.is_empty()
            && barred.steps.iter().all(serves)
            && (by_rack || barred.ways == 1)
            && (whole || (distinct.len() == racks.len() && barred.ways == self.ways(goal, partition)))
            && barred.steps.iter().all(|step| self.none_is_possible(goal, partition, step))
    }

    /// The rack that a step brings a replica to.
    fn new_rack(&self, step: &Step) -> Option<u32> {
        let change = step.change.as_ref()?;
        let (list, _) = self.after.list(change.partition);
        let comes = change.replicas.iter().find(|broker| !list.contains(broker))?;
        Some(self.cluster().brokers()[*comes as usize].rack)
    }

    /// Racks with a living broker to which a replica could go that makes the list of a partition better.
    fn ways(&self, goal: Goal, partition: u32) -> u32 {
        let brokers = self.cluster().brokers();
        let (list, leader) = self.after.list(partition);
        let was = self.wrong_in(goal, partition, None);
        let better = |(to, broker): &(u32, &Broker)| {
            broker.alive
                && !list.contains(to)
                && (0..list.len()).filter(|at| self.may_stand(partition, *at, *to)).any(|position| {
                    let mut replicas = list.clone();
                    replicas[position] = *to;
                    let change = Change { partition, replicas, leader: *leader as u32 };
                    self.wrong_in(goal, partition, Some(&change)) < was
                })
        };
        let racks: BTreeSet<u32> = (0..).zip(brokers).filter(better).map(|(_, broker)| broker.rack).collect();
        racks.len() as u32
    }

    /// Whether no step to the same rack, or set, is possible where one is said to be barred.
    fn none_is_possible(&self, goal: Goal, partition: u32, step: &Step) -> bool {
        let Some(said) = step.change.as_ref().filter(|_| step.why != Why::Possible) else { return true };
        let (list, leader) = self.after.list(partition);
        let rack = self.new_rack(step);
        let was = self.wrong_in(goal, partition, None);
        let brokers = self.cluster().brokers();
        let there = |(at, broker): &(u32, &Broker)| {
            broker.alive
                && !list.contains(at)
                && (goal == Goal::BrokerSetAware || Some(broker.rack) == rack)
                && said.replicas != *list
        };
        (0..).zip(brokers).filter(there).all(|(to, _)| {
            (0..list.len()).filter(|at| self.may_stand(partition, *at, to)).all(|position| {
                let mut change = Change { partition, replicas: list.clone(), leader: *leader as u32 };
                change.replicas[position] = to;
                self.wrong_in(goal, partition, Some(&change)) >= was || self.why(&change) != Why::Possible
            })
        })
    }

    fn bars_broker(&self, unmet: &Unmet, barred: &Barred) -> bool {
        let (at, topic) = match unmet.obstacle {
            Obstacle::Broker { broker, .. } => (broker, None),
            Obstacle::Topic { topic, broker, .. } => (broker, Some(topic)),
            _ => return false,
        };
        let cluster = self.cluster();
        let of_topic = |partition: u32| topic.is_none_or(|topic| cluster.topic(partition) == topic);
        let [step] = barred.steps.as_slice() else { return false };
        let Some(change) = &step.change else {
            return self
                .all_stand_still(step.why, |partition, list| of_topic(partition) && list.contains(&at));
        };
        change.partition < cluster.partitions()
            && of_topic(change.partition)
            && self.grounds.outside_after(unmet.goal, change, at)
                < self.grounds.outside(unmet.goal, change, at)
            && match step.why {
                Why::Possible => self.grounds.helps(unmet.goal, change) && self.is_true(step),
                Why::NoGain => {
                    let possible = Step { why: Why::Possible, ..step.clone() };
                    !self.grounds.helps(unmet.goal, change) && self.is_true(&possible)
                }
                _ => self.is_true(step),
            }
    }

    /// Whether none of some partitions may be touched, for what is said.
    fn all_stand_still(&self, why: Why, of: impl Fn(u32, &[u32]) -> bool) -> bool {
        let cluster = self.cluster();
        let held = || self.after.lists().filter(|(at, (list, _))| of(*at, list)).map(|(at, _)| at);
        let waits = |partition: u32| cluster.lock(partition) == Some(Lock::Offline);
        let as_said = match why {
            Why::Frozen => !held().any(waits),
            Why::Offline { all } => held().any(waits) && held().all(waits) == all,
            _ => false,
        };
        as_said && held().all(|partition| cluster.frozen(partition))
    }

    /// Whether a change of one replica, or of the leader, is barred by what is said.
    fn is_true(&self, step: &Step) -> bool {
        step.change.as_ref().is_some_and(|change| self.is_single(change) && self.why(change) == step.why)
    }

    /// Whether a change is one of one replica, or of the leader, that can be.
    pub(super) fn is_single(&self, change: &Change) -> bool {
        let (list, leader) = self.after.list(change.partition);
        let known = |broker: &u32| (*broker as usize) < self.cluster().brokers().len();
        let same_length = change.replicas.len() == list.len() && (change.leader as usize) < list.len();
        let moved = (0..list.len()).filter(|at| same_length && change.replicas[*at] != list[*at]);
        let mut moved_well =
            moved.clone().filter(|at| self.may_stand(change.partition, *at, change.replicas[*at]));
        let distinct: BTreeSet<u32> = change.replicas.iter().copied().collect();
        let passes = same_length && change.leader as usize != *leader;
        same_length
            && distinct.len() == list.len()
            && change.replicas.iter().all(known)
            && moved.count() + usize::from(passes) == 1
            && (passes || moved_well.next().is_some())
    }

    /// Whether Kafka lets a replica stand on a broker: one that held another of the partition's at the start keeps that one or none.
    pub(super) fn may_stand(&self, partition: u32, position: usize, broker: u32) -> bool {
        let home = self.cluster().replicas(partition);
        match home.iter().position(|held| *held == broker) {
            Some(at) => at == position && !self.cluster().offline(partition, at as u32),
            None => true,
        }
    }

    /// What keeps a change from being done.
    fn why(&self, change: &Change) -> Why {
        self.forbidden(change).or_else(|| self.grounds.worse(change)).unwrap_or(Why::Possible)
    }

    /// What keeps a change from being done whatever it is good for.
    pub(super) fn forbidden(&self, change: &Change) -> Option<Why> {
        let (cluster, partition) = (self.cluster(), change.partition);
        let (list, leader) = self.after.list(partition);
        let set = cluster.bound_set(cluster.topic(partition));
        for (position, broker) in change.replicas.iter().copied().enumerate() {
            let known = &cluster.brokers()[broker as usize];
            if broker == list[position] {
                continue;
            } else if !known.takes_replicas {
                return Some(Why::Excluded { broker });
            } else if set.is_some_and(|set| known.set != Some(set)) {
                return Some(Why::OtherSet { broker });
            } else if !scope::may_move(cluster, self.policy, change, position as u32) {
                return Some(Why::Mode);
            }
        }
        let broker = change.replicas[change.leader as usize];
        if broker != list[*leader] {
            let stays = cluster.replicas(partition)[change.leader as usize] == broker;
            if !cluster.brokers()[broker as usize].takes_leadership {
                return Some(Why::NotLeading { broker });
            } else if !scope::may_pass(cluster, self.policy, change) {
                return Some(Why::Mode);
            } else if stays && !cluster.in_sync(partition, change.leader) {
                return Some(Why::Behind { broker });
            }
        }
        None
    }
}

fn is_of_lists(goal: Goal) -> bool {
    let lists = [Goal::BrokerSetAware, Goal::PreferredLeader];
    let racks = [Goal::RackAware, Goal::RacksKept, Goal::RackAwareDistribution];
    lists.contains(&goal) || racks.contains(&goal)
}
