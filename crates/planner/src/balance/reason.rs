//! Why each change is done: which goal it serves, and what it gains for it.

use super::bands::{FIGURES, Figures, figure, leader_in_limit, limits, overflow};
use super::cluster::{Cluster, Mark};
use super::policy::{Goal, Leaders, Policy};
use super::score::{Chosen, open_racks, uneven};
use super::solve::Change;
use super::state::Brokers;

/// Why a change is done, judged as if it were done alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// What it is for.
    pub purpose: Purpose,
    /// By how much it brings the purpose nearer: replicas, leaders or partitions put right, or how far brokers come nearer to
    /// their limits, in the load's own unit. Nothing where it only makes room.
    pub gain: i64,
}

/// What a change is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Brings replicas off brokers that are not alive or out of failed log dirs, or leadership to one that lives.
    Offline,
    /// Creates replicas that a partition is to have more.
    Created,
    /// Takes leadership from a broker that may not lead.
    Demotion,
    /// Serves the foremost goal that it brings nearer.
    Goal(Goal),
    /// Brings no goal nearer by itself: it makes room for other changes, or takes what they leave over.
    Room,
}

/// A figure, and the limits of each broker.
type Limits = (usize, Vec<(i64, i64)>);

/// What is needed to tell what changes are for.
pub(crate) struct Purposes<'a> {
    cluster: &'a Cluster,
    policy: &'a Policy,
    brokers: &'a Brokers,
    open_racks: usize,
    /// For each goal, if it is about a figure.
    limits: Vec<Option<Limits>>,
    /// Leaders of the topics that must have some on each broker.
    led: Chosen,
}

impl<'a> Purposes<'a> {
    pub(crate) fn new(cluster: &'a Cluster, policy: &'a Policy, brokers: &'a Brokers) -> Purposes<'a> {
        let n = cluster.brokers.len();
        let alive: Vec<usize> = (0..n).filter(|b| cluster.brokers[*b].alive).collect();
        let led: i64 = alive.iter().map(|b| brokers.sum[*b][super::bands::LEADER_IN]).sum();
        let of = |goal: &Goal| {
            // What no placement can meet nothing is done for.
            let figure = figure(*goal).filter(|_| overflow(cluster, policy, *goal) == 0)?;
            let mean = leader_in_limit(policy, led, alive.len().max(1) as i64);
            let limits = |broker: usize| match goal {
                Goal::LeaderBytesIn => (i64::MIN / 4, mean),
                _ if !cluster.brokers[broker].alive => (i64::MIN / 4, i64::MAX / 4),
                _ => {
                    let (low, high, _) = limits(cluster, policy, &alive, broker, *goal);
                    (low, high)
                }
            };
            Some((figure, (0..n).map(limits).collect()))
        };
        let limits = policy.goals.iter().map(of).collect();
        let mut led = Chosen::of(cluster);
        if !led.is_empty() {
            for partition in 0..cluster.partitions() {
                let leader = cluster.replicas(partition)[cluster.leader(partition) as usize];
                led.count(cluster.topic(partition) as usize, leader as usize, 1);
            }
        }
        Purposes { cluster, policy, brokers, open_racks: open_racks(cluster) as usize, limits, led }
    }

    /// Why a change is done that changes the figures of brokers so.
    pub(crate) fn of(&self, change: &Change, net: &[(u32, Figures)]) -> Reason {
        let old = self.cluster.replicas(change.partition);
        let known = |broker: u32| &self.cluster.brokers[broker as usize];
        let leads = |list: &[u32], at: u32| known(list[at as usize]);
        let waits = |broker: u32| known(broker).mark == Mark::Waiting;
        let waiting = |list: &[u32]| list.iter().filter(|broker| waits(**broker)).count() as i64;
        let leader = self.cluster.leader(change.partition);
        let (was, is) = (leads(old, leader), leads(&change.replicas, change.leader));
        let dead = |list: &[u32]| self.cluster.offline_in(change.partition, list) - waiting(list);
        let healed = dead(old) - dead(&change.replicas);
        let orphan = !was.alive || self.cluster.offline(change.partition, leader);
        if healed > 0 || (orphan && is.alive) {
            return Reason { purpose: Purpose::Offline, gain: healed.max(1) };
        }
        let created = waiting(old) - waiting(&change.replicas);
        if created > 0 {
            return Reason { purpose: Purpose::Created, gain: created };
        }
        if self.policy.leaders == Leaders::Demoted && !was.takes_leadership && is.takes_leadership {
            return Reason { purpose: Purpose::Demotion, gain: 1 };
        }
        let gains = self.policy.goals.iter().zip(&self.limits).map(|(goal, limits)| match limits {
            Some((figure, limits)) => (goal, self.nearer(*figure, limits, net)),
            None => (goal, self.righted(*goal, change)),
        });
        let served = gains.into_iter().find(|(_, gain)| *gain > 0);
        served.map_or(Reason { purpose: Purpose::Room, gain: 0 }, |(goal, gain)| Reason {
            purpose: Purpose::Goal(*goal),
            gain,
        })
    }

    fn nearer(&self, figure: usize, limits: &[(i64, i64)], net: &[(u32, Figures)]) -> i64 {
        debug_assert!(figure < FIGURES, "a figure of brokers");
        let gain = |(broker, change): &(u32, Figures)| {
            let (low, high) = limits[*broker as usize];
            let sum = self.brokers.sum[*broker as usize][figure];
            let out = |sum: i64| (sum - high).max(low - sum).max(0);
            out(sum) - out(sum + change[figure])
        };
        net.iter().map(gain).sum()
    }

    /// How much less a goal about lists or topics finds wrong.
    fn righted(&self, goal: Goal, change: &Change) -> i64 {
        let old = self.cluster.replicas(change.partition);
        let topic = self.cluster.topic(change.partition);
        let known = |broker: &u32| &self.cluster.brokers[*broker as usize];
        let racks = |list: &[u32]| list.iter().map(|broker| known(broker).rack).collect::<Vec<_>>();
        let wrong = |list: &[u32], leader: u32| match goal {
            Goal::RackAware => list.len() - distinct(racks(list)),
            Goal::RackAwareDistribution => uneven(racks(list), self.open_racks),
            Goal::BrokerSetAware => {
                let set = self.cluster.bound_set(topic);
                list.iter().filter(|broker| set.is_some() && known(broker).set != set).count()
            }
            Goal::PreferredLeader => {
                usize::from(leader != 0 && known(&list[0]).alive && known(&list[0]).takes_leadership)
            }
            _ => 0,
        };
        match goal {
            Goal::TopicDistribution => self.spread(topic as usize, old, &change.replicas),
            Goal::MinTopicLeaders => {
                let leader = self.cluster.leader(change.partition) as usize;
                self.seated(topic, old[leader], change.replicas[change.leader as usize])
            }
            _ => {
                let before = wrong(old, self.cluster.leader(change.partition));
                before as i64 - wrong(&change.replicas, change.leader) as i64
            }
        }
    }

    /// How many fewer leaders of a topic brokers lack.
    fn seated(&self, topic: u32, from: u32, to: u32) -> i64 {
        if from == to {
            return 0;
        }
        let lacks = |broker: u32, more: i32| {
            i64::from(self.led.missing_with(self.cluster, topic as usize, broker as usize, more))
        };
        lacks(from, 0) - lacks(from, -1) + lacks(to, 0) - lacks(to, 1)
    }

    fn spread(&self, topic: usize, old: &[u32], new: &[u32]) -> i64 {
        let (low, high) = self.brokers.topic_limits[topic];
        let judged = |broker: &&u32| self.cluster.brokers[**broker as usize].alive;
        let held = |broker: &u32| self.brokers.topic[topic * self.cluster.brokers.len() + *broker as usize];
        let out = |held: u32| {
            let under = if held > 0 { low.saturating_sub(held) } else { 0 };
            i64::from(held.saturating_sub(high).max(under))
        };
        let left = old.iter().filter(judged).filter(|broker| !new.contains(broker)).map(held);
        let came = new.iter().filter(judged).filter(|broker| !old.contains(broker)).map(held);
        let gains = left.map(|held| out(held) - out(held.saturating_sub(1)));
        gains.chain(came.map(|held| out(held) - out(held + 1))).sum()
    }
}

fn distinct(mut racks: Vec<u32>) -> usize {
    racks.sort_unstable();
    racks.dedup();
    racks.len()
}
