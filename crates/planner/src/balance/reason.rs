//! Why each change is done: which goal it serves, and what it gains for it.

use super::bands::{FIGURES, Figures, figure, leader_in_limit, limits, overflow};
use super::chosen::Chosen;
use super::cluster::{Cluster, DISK, Mark};
use super::dirs::{BrokerDirs, Seats, by_broker};
use super::policy::{Goal, Leaders, Policy};
use super::score::{open_racks, uneven};
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
    /// Log dirs as they are filled, and which of them replicas go to.
    dirs: Vec<Option<BrokerDirs>>,
    seats: &'a Seats,
    /// Leaders of the topics that must have some on each broker.
    led: Chosen,
}

impl<'a> Purposes<'a> {
    pub(crate) fn new(
        cluster: &'a Cluster,
        policy: &'a Policy,
        brokers: &'a Brokers,
        seats: &'a Seats,
    ) -> Purposes<'a> {
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
        let dirs = by_broker(cluster, policy, 0);
        Purposes {
            cluster,
            policy,
            brokers,
            open_racks: open_racks(cluster) as usize,
            limits,
            dirs,
            seats,
            led,
        }
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
            Some((_, limits)) if *goal == Goal::DiskCapacity => (goal, self.emptier(limits, change, net)),
            Some((figure, limits)) => (goal, self.nearer(*figure, limits, net)),
            None => (goal, self.righted(*goal, change)),
        });
        let served = gains.into_iter().find(|(_, gain)| *gain > 0);
        served.map_or(Reason { purpose: Purpose::Room, gain: 0 }, |(goal, gain)| Reason {
            purpose: Purpose::Goal(*goal),
            gain,
        })
    }

    /// What brokers come nearer to their limits of disk, or their log dirs where they are beyond by more.
    fn emptier(&self, limits: &[(i64, i64)], change: &Change, net: &[(u32, Figures)]) -> i64 {
        if self.dirs.is_empty() {
            return self.nearer(DISK, limits, net);
        }
        let after = self.dirs_after(change);
        let gain = |(broker, figures): &(u32, Figures)| {
            let at = *broker as usize;
            let sum = self.brokers.sum[at][DISK];
            let over = |sum: i64, dirs: Option<&BrokerDirs>| {
                (sum - limits[at].1).max(dirs.map_or(0, BrokerDirs::beyond_in_all)).max(0)
            };
            let changed = after.iter().find(|(other, _)| other == broker).map(|(_, dirs)| dirs);
            let before = self.dirs[at].as_ref();
            over(sum, before) - over(sum + figures[DISK], changed.or(before))
        };
        net.iter().map(gain).sum()
    }

    /// The log dirs of the brokers of a partition once it alone has changed.
    fn dirs_after(&self, change: &Change) -> Vec<(u32, BrokerDirs)> {
        let old = self.cluster.replicas(change.partition);
        let mut after: Vec<(u32, BrokerDirs)> = Vec::new();
        for (position, (from, to)) in (0..).zip(old.iter().zip(&change.replicas)).filter(|(_, (a, b))| a != b)
        {
            let load = self.cluster.loads(change.partition)[position as usize][DISK];
            let left = self.cluster.log_dir(change.partition, position);
            let taken = self.seats.get(&(change.partition, position)).copied();
            for (broker, dir, load) in [(from, left, -load), (to, taken, load)] {
                let (Some(dir), Some(dirs)) = (dir, &self.dirs[*broker as usize]) else { continue };
                let at = after.iter().position(|(other, _)| other == broker).unwrap_or_else(|| {
                    after.push((*broker, dirs.clone()));
                    after.len() - 1
                });
                after[at].1.sum[dir as usize] += load;
            }
        }
        after
    }

    /// By how much less a change leaves log dirs beyond their limits: a measure as that of brokers' figures.
    pub(crate) fn relief(&self, change: &Change) -> i64 {
        if self.dirs.is_empty() {
            return 0;
        }
        let of = |(broker, after): (u32, BrokerDirs)| {
            self.dirs[broker as usize].as_ref().map_or(0, |before| before.cost() - after.cost())
        };
        self.dirs_after(change).into_iter().map(of).fold(0, i64::saturating_add)
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
