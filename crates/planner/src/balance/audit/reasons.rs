//! Whether each change is for what the plan says, and gains as much as it says.

use std::collections::BTreeMap;

use super::Violation;
use super::figures::{Carried, Placement, Topics, lacks_leaders, led, potential_beyond, wrong};
use super::limits::{Judged, judged};
use crate::balance::cluster::Mark;
use crate::balance::dirs::Seats;
use crate::balance::policy::{Goal, Leaders, Policy};
use crate::balance::reason::Purpose;
use crate::balance::solve::{Change, Plan};

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
struct Grounds<'p> {
    before: &'p Placement<'p>,
    policy: &'p Policy,
    /// By goal of the policy, for those about figures of brokers.
    judged: Vec<Option<Judged>>,
    topics: Topics<'p>,
    led: BTreeMap<(u32, u32), i128>,
}

impl<'p> Grounds<'p> {
    fn of(before: &'p Placement<'p>, policy: &'p Policy) -> Grounds<'p> {
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
        let carried = self.carried_after(change, seats);
        for (goal, judged) in self.policy.goals.iter().zip(&self.judged) {
            let gain = self.gain(*goal, judged.as_ref(), change, &carried);
            if gain > 0 {
                return (Purpose::Goal(*goal), gain);
            }
        }
        (Purpose::Room, 0)
    }

    /// What the brokers of a partition carry once it has changed.
    fn carried_after(&self, change: &Change, seats: &Seats) -> BTreeMap<u32, Carried> {
        let cluster = self.before.cluster();
        let old = cluster.replicas(change.partition);
        let mut after = BTreeMap::new();
        for (position, (from, to)) in old.iter().zip(&change.replicas).enumerate() {
            for (broker, leader, sign) in
                [(from, cluster.leader(change.partition), -1), (to, change.leader, 1)]
            {
                let carried: &mut Carried =
                    after.entry(*broker).or_insert_with(|| self.before.carried(*broker as usize).clone());
                carried.count(cluster, change.partition, position, position == leader as usize, sign);
                carried.seat(cluster, (change.partition, position), *broker, seats, sign);
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
        let (old, was) = (cluster.replicas(partition), cluster.leader(partition) as usize);
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
                let (from, to) = (old[was], change.replicas[change.leader as usize]);
                let of = |broker: u32, more: i128| {
                    let led = self.led.get(&(topic, broker)).copied().unwrap_or(0);
                    let lacks = |led: i128| lacks_leaders(cluster, topic, broker, led);
                    less(lacks(led), lacks(led + more))
                };
                if from == to { 0 } else { of(from, -1) + of(to, 1) }
            }
            _ => {
                let before = wrong(self.before, goal, partition, old, was);
                let after = wrong(self.before, goal, partition, &change.replicas, change.leader as usize);
                before as i128 - after as i128
            }
        }
    }
}
