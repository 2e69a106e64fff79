//! Whether each change is for what the plan says, and gains as much as it says.

use std::collections::BTreeMap;

use super::Violation;
use super::figures::{Carried, Placement, Topics, lacks_leaders, led, potential_beyond, wrong};
use super::limits::{Judged, ONE, judged};
use crate::balance::cluster::{DISK, Mark, NETWORK_IN};
use crate::balance::dirs::Seats;
use crate::balance::policy::{Goal, Leaders, Policy};
use crate::balance::reason::Purpose;
use crate::balance::solve::{Change, Plan};
use crate::balance::why::Why;

/// Checks the reasons of a plan whose changes are sound, each as if its change were done alone.
pub(super) fn check(before: &Placement<'_>, policy: &Policy, plan: &Plan, found: &mut Vec<Violation>) {
    if plan.reasons.len() != plan.changes.len() {
        found.push(Violation::Reasons);
        return;
    }
    let grounds = Grounds::of(before, policy);
    for (change, said) in plan.changes.iter().zip(&plan.reasons) {
        let (purpose, gain) = grounds.of_change(change, &plan.log_dirs);
        if (said.purpose, i128::from(said.gain)) != (purpose, gain) {
            found.push(Violation::ReasonUntrue { partition: change.partition });
        }
    }
}

/// All that a reason can rest on.
pub(super) struct Grounds<'p> {
    before: &'p Placement<'p>,
    policy: &'p Policy,
    /// By goal of the policy, for those about figures of brokers.
    judged: Vec<Option<Judged>>,
    topics: Topics<'p>,
    led: BTreeMap<(u32, u32), i128>,
}

impl<'p> Grounds<'p> {
    pub(super) fn of(before: &'p Placement<'p>, policy: &'p Policy) -> Grounds<'p> {
        let possible =
            |goal: Goal| goal != Goal::PotentialNetworkOut || potential_beyond(before, policy) == 0;
        let judged =
            policy.goals.iter().map(|goal| judged(before, policy, *goal).filter(|_| possible(*goal)));
        Grounds {
            before,
            policy,
            judged: judged.collect(),
            topics: Topics::of(before, policy),
            led: led(before),
        }
    }

    fn of_change(&self, change: &Change, seats: &Seats) -> (Purpose, i128) {
        let cluster = self.before.cluster();
        let old = cluster.replicas(change.partition);
        let leader = cluster.leader(change.partition);
        let broker = |ordinal: u32| &cluster.brokers()[ordinal as usize];
        let (mut healed, mut created) = (0, 0);
        for (position, (from, to)) in (0..).zip(old.iter().zip(&change.replicas)) {
            if from == to {
                continue;
            }
            // What a plan sends anywhere goes to brokers that live.
            if broker(*from).mark == Mark::Waiting {
                created += 1;
            } else if !broker(*from).alive || cluster.offline(change.partition, position) {
                healed += 1;
            }
        }
        let led_by = broker(old[leader as usize]);
        let leads = broker(change.replicas[change.leader as usize]);
        let orphan = !led_by.alive || cluster.offline(change.partition, leader);
        if healed > 0 || (orphan && leads.alive) {
            return (Purpose::Offline, healed.max(1));
        }
        if created > 0 {
            return (Purpose::Created, created);
        }
        let demotes = self.policy.leaders == Leaders::Demoted;
        if demotes && !led_by.takes_leadership && leads.takes_leadership {
            return (Purpose::Demotion, 1);
        }
        let carried = self.carried_after(change, Some(seats));
        for (goal, judged) in self.policy.goals.iter().zip(&self.judged) {
            let gain = self.gain(*goal, judged.as_ref(), change, &carried);
            if gain > 0 {
                return (Purpose::Goal(*goal), gain);
            }
        }
        (Purpose::Room, 0)
    }

    /// What the brokers of a partition carry once it has changed. Where no plan says to which log dir a replica goes, it goes to the
    /// one that it brings least over its limit; and what leaves counts for its broker as a whole.
    fn carried_after(&self, change: &Change, seats: Option<&Seats>) -> BTreeMap<u32, Carried> {
        let cluster = self.before.cluster();
        let (old, was) = self.before.list(change.partition);
        let mut after = BTreeMap::new();
        for (position, (from, to)) in old.iter().zip(&change.replicas).enumerate() {
            for (broker, leader, sign) in [(from, *was as u32, -1), (to, change.leader, 1)] {
                let carried: &mut Carried =
                    after.entry(*broker).or_insert_with(|| self.before.carried(*broker as usize).clone());
                let at = (change.partition, position);
                carried.count(cluster, at, *broker, position == leader as usize, sign);
                if let Some(seats) = seats {
                    carried.seat(cluster, (change.partition, position), *broker, seats, sign);
                } else if sign > 0 && from != to {
                    let load = i128::from(cluster.loads(change.partition)[position][DISK]);
                    let disk = self.judged_by(Goal::DiskCapacity);
                    if let Some(dir) = disk.and_then(|disk| disk.best_dir(*to as usize, carried, load)) {
                        *carried.dirs.entry(dir).or_default() += load;
                    }
                }
            }
        }
        after
    }

    /// By how much less a goal is missed.
    fn gain(
        &self,
        goal: Goal,
        judged: Option<&Judged>,
        change: &Change,
        after: &BTreeMap<u32, Carried>,
    ) -> i128 {
        let cluster = self.before.cluster();
        let (partition, topic) = (change.partition, cluster.topic(change.partition));
        let (old, was) = self.before.list(partition);
        let less = |before: u128, after: u128| before as i128 - after as i128;
        if let Some(judged) = judged {
            let of = |(broker, after): (&u32, &Carried)| {
                let broker = *broker as usize;
                less(judged.outside(broker, self.before.carried(broker)), judged.outside(broker, after))
            };
            return after.iter().map(of).sum();
        }
        match goal {
            Goal::TopicDistribution => {
                let of = |broker: &u32| {
                    let held = self.topics.held(topic, *broker);
                    let holds = held - i128::from(old.contains(broker))
                        + i128::from(change.replicas.contains(broker));
                    less(
                        self.topics.outside(topic, *broker, held),
                        self.topics.outside(topic, *broker, holds),
                    )
                };
                after.keys().map(of).sum()
            }
            Goal::MinTopicLeaders => {
                let (from, to) = (old[*was], change.replicas[change.leader as usize]);
                let of = |broker: u32, more: i128| {
                    let led = self.led.get(&(topic, broker)).copied().unwrap_or(0);
                    let lacks = |led: i128| lacks_leaders(cluster, topic, broker, led);
                    less(lacks(led), lacks(led + more))
                };
                if from == to { 0 } else { of(from, -1) + of(to, 1) }
            }
            _ => {
                let before = wrong(self.before, goal, partition, old, *was);
                let after = wrong(self.before, goal, partition, &change.replicas, change.leader as usize);
                before as i128 - after as i128
            }
        }
    }

    /// Leaders of a topic on a broker.
    pub(super) fn leads(&self, topic: u32, broker: u32) -> i128 {
        self.led.get(&(topic, broker)).copied().unwrap_or(0)
    }

    /// What a goal wants of brokers, if it is about a figure of them.
    pub(super) fn judged_by(&self, goal: Goal) -> Option<&Judged> {
        let at = self.policy.goals.iter().position(|other| *other == goal)?;
        self.judged[at].as_ref()
    }

    /// How far a broker is outside of a goal, by the topic of a change if the goal is about topics.
    pub(super) fn outside(&self, goal: Goal, change: &Change, broker: u32) -> u128 {
        let topic = self.before.cluster().topic(change.partition);
        let carried = self.before.carried(broker as usize);
        self.signed(goal, topic, broker, carried, 0).unsigned_abs()
    }

    /// The same once the change is done.
    pub(super) fn outside_after(&self, goal: Goal, change: &Change, broker: u32) -> u128 {
        self.signed_after(goal, change, broker, &self.carried_after(change, None)).unsigned_abs()
    }

    fn signed(&self, goal: Goal, topic: u32, broker: u32, carried: &Carried, more: i128) -> i128 {
        let held = self.topics.held(topic, broker) + more;
        match goal {
            Goal::TopicDistribution => self.topics.signed(topic, broker, held),
            Goal::MinTopicLeaders if self.before.cluster().required_leaders(topic) == 0 => 0,
            Goal::MinTopicLeaders => {
                let cluster = self.before.cluster();
                -(lacks_leaders(cluster, topic, broker, self.leads(topic, broker) + more) as i128)
            }
            _ => self.judged_by(goal).map_or(0, |judged| judged.signed(broker as usize, carried)),
        }
    }

    fn signed_after(
        &self,
        goal: Goal,
        change: &Change,
        broker: u32,
        carried: &BTreeMap<u32, Carried>,
    ) -> i128 {
        let (old, was) = self.before.list(change.partition);
        let more = match goal {
            Goal::MinTopicLeaders => {
                i128::from(change.replicas[change.leader as usize] == broker)
                    - i128::from(old[*was] == broker)
            }
            _ => i128::from(change.replicas.contains(&broker)) - i128::from(old.contains(&broker)),
        };
        let own = carried.get(&broker).unwrap_or_else(|| self.before.carried(broker as usize));
        self.signed(goal, self.before.cluster().topic(change.partition), broker, own, more)
    }

    /// The foremost goal that a change makes worse: a hard one on any broker, another in all.
    pub(super) fn worse(&self, change: &Change) -> Option<Why> {
        let carried = self.carried_after(change, None);
        let goals = self.policy.goals.iter().zip(&self.judged);
        goals.into_iter().find_map(|(goal, judged)| {
            let goal = *goal;
            if goal == Goal::LeaderBytesIn {
                let by = self.led_in_beyond(&carried) - self.led_in_beyond(&BTreeMap::new());
                return (by > 0).then_some(Why::Worse {
                    goal,
                    broker: None,
                    by: i64::try_from(by).unwrap_or(i64::MAX),
                });
            }
            let gain = self.gain(goal, judged.as_ref(), change, &carried);
            let of_brokers =
                judged.is_some() || matches!(goal, Goal::TopicDistribution | Goal::MinTopicLeaders);
            if !of_brokers {
                // What is frozen counts for no goal about lists.
                let gain = if self.before.cluster().frozen(change.partition) { 0 } else { gain };
                let by = i64::try_from(-gain).unwrap_or(i64::MAX);
                return (by > 0).then_some(Why::Worse { goal, broker: None, by });
            }
            if gain >= 0 && !self.policy.hard.contains(&goal) {
                return None;
            }
            let mut worst: Option<(u128, u32, i128)> = None;
            let (old, _) = self.before.list(change.partition);
            for broker in old.iter().chain(change.replicas.iter().filter(|broker| !old.contains(broker))) {
                let was = self.outside(goal, change, *broker);
                let is = self.signed_after(goal, change, *broker, &carried);
                let grows = is.unsigned_abs().saturating_sub(was);
                let more = worst.is_none_or(|(most, other, _)| (grows, other) > (most, *broker));
                if grows > 0 && more {
                    worst = Some((grows, *broker, is));
                }
            }
            let (_, broker, by) = worst?;
            Some(Why::Worse { goal, broker: Some(broker), by: i64::try_from(by).unwrap_or(i64::MAX) })
        })
    }

    /// Whether a change brings all brokers together nearer to a goal.
    pub(super) fn helps(&self, goal: Goal, change: &Change) -> bool {
        let carried = self.carried_after(change, None);
        match goal {
            Goal::LeaderBytesIn => self.led_in_beyond(&carried) < self.led_in_beyond(&BTreeMap::new()),
            _ => self.gain(goal, self.judged_by(goal), change, &carried) > 0,
        }
    }

    /// What leaders take in beyond the limit, which follows the mean, with other brokers in place of some.
    fn led_in_beyond(&self, others: &BTreeMap<u32, Carried>) -> i128 {
        let own = |broker: usize| {
            others.get(&(broker as u32)).unwrap_or_else(|| self.before.carried(broker)).led_in
        };
        let sum: i128 = self.before.alive().map(own).sum();
        let brokers = self.before.alive().count().max(1) as i128;
        let limit = sum * i128::from(self.policy.balance[NETWORK_IN]) / (brokers * ONE);
        (0..self.before.cluster().brokers().len()).map(|broker| (own(broker) - limit).max(0)).sum()
    }
}
