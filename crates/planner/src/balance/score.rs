//! The score of a placement, goal by goal, by the exact formulas.

use std::cmp::Ordering;

use super::bands::{
    COUNT, FIGURES, Figures, LEADER_IN, LEADERS, POTENTIAL, figure, leader_in_limit, limits, overflow,
    topic_limits,
};
use super::cluster::{CPU, Cluster, NETWORK_IN, NETWORK_OUT};
use super::policy::{Goal, Policy};

/// How far a placement is from each goal, in the policy's order. Smaller is better: replicas on dead brokers are compared
/// first, then goal by goal whether it is met, then goal by goal the distance. So a goal that can be met is not given up to
/// come nearer to one that cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Score {
    /// Replicas on dead brokers.
    pub offline: u64,
    /// For each goal its distance: nothing when it is met.
    pub goals: Vec<Distance>,
}

/// How far a placement is from one goal. Smaller is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Distance {
    /// Sum over brokers of what is outside their limits: of loads in the load's own unit, of replicas and leaders their
    /// number, for racks and topics the number of replicas too many or too few. Where no placement can meet
    /// [`Goal::PotentialNetworkOut`], which is a matter of sums alone, it is what every placement is beyond: the sum over
    /// all replicas less all limits.
    pub excess: u128,
    /// The goal.
    pub goal: Goal,
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Score) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Score) -> Ordering {
        let violated = |score: &Score| score.goals.iter().map(|goal| goal.excess > 0).collect::<Vec<_>>();
        self.offline
            .cmp(&other.offline)
            .then_with(|| violated(self).cmp(&violated(other)))
            .then_with(|| self.goals.cmp(&other.goals))
    }
}

impl Score {
    /// Whether every goal is met.
    pub fn is_clean(&self) -> bool {
        self.offline == 0 && self.goals.iter().all(|distance| distance.excess == 0)
    }

    /// The goals that are not met.
    pub fn violated(&self) -> impl Iterator<Item = Goal> + '_ {
        self.goals.iter().filter(|distance| distance.excess > 0).map(|distance| distance.goal)
    }
}

/// Whether a plan may lead from one score to another: not worse, and no hard goal worse. Where replicas come off dead
/// brokers somebody has to take their load, so that hard goals may get worse; disk never.
pub(crate) fn acceptable(policy: &Policy, before: &Score, after: &Score) -> bool {
    let healed = after.offline < before.offline;
    let holds = |(old, new): (&Distance, &Distance)| {
        let must = policy.hard.contains(&old.goal) && (!healed || old.goal == Goal::DiskCapacity);
        !must || new.excess <= old.excess
    };
    after <= before && before.goals.iter().zip(&after.goals).all(holds)
}

/// Keeps the score of a placement while partitions change, one at a time.
pub(crate) struct Meter<'a> {
    cluster: &'a Cluster,
    policy: &'a Policy,
    alive: Vec<usize>,
    open_racks: u32,
    /// By goal, then broker: inclusive limits. Empty for goals that limit no figure of a broker.
    limits: Vec<Vec<(i64, i64)>>,
    topic_limits: Vec<(u32, u32)>,
    place: Vec<u32>,
    leader: Vec<u32>,
    sums: Vec<Figures>,
    /// Replicas by topic and broker.
    topic: Vec<u32>,
    offline: u64,
    excess: Vec<u128>,
}

impl<'a> Meter<'a> {
    /// Judges a placement: broker of each replica, and the leading replica of each partition.
    pub(crate) fn new(
        cluster: &'a Cluster,
        policy: &'a Policy,
        place: Vec<u32>,
        leader: Vec<u32>,
    ) -> Meter<'a> {
        let n = cluster.brokers.len();
        let alive: Vec<usize> = (0..n).filter(|b| cluster.brokers[*b].alive).collect();
        let mut meter = Meter {
            open_racks: open_racks(cluster),
            limits: policy.goals.iter().map(|goal| limits_of(cluster, policy, &alive, *goal)).collect(),
            topic_limits: topic_limits(cluster, policy, alive.len() as i64),
            sums: vec![[0; FIGURES]; n],
            topic: vec![0; n * cluster.topics as usize],
            offline: 0,
            excess: policy.goals.iter().map(|goal| overflow(cluster, policy, *goal)).collect(),
            cluster,
            policy,
            alive,
            place,
            leader,
        };
        for partition in 0..cluster.partitions() {
            meter.count(partition, 1);
        }
        let brokers: Vec<u32> = (0..n as u32).collect();
        meter.weigh(&brokers, 1);
        for partition in 0..cluster.partitions() {
            meter.weigh_racks(partition, 1);
        }
        for topic in 0..cluster.topics as usize {
            for broker in 0..n {
                meter.weigh_topic(topic, broker, 1);
            }
        }
        meter
    }

    /// The brokers of a partition, and the position of its leader.
    pub(crate) fn list(&self, partition: u32) -> (&[u32], u32) {
        let row = self.cluster.row(partition);
        let leader = self.leader[partition as usize] - row.start as u32;
        (&self.place[row], leader)
    }

    /// Broker of each replica, and the leading replica of each partition.
    pub(crate) fn placement(self) -> (Vec<u32>, Vec<u32>) {
        (self.place, self.leader)
    }

    /// The score.
    pub(crate) fn score(&self) -> Score {
        let distance = |(goal, excess): (&Goal, &u128)| {
            let excess = if *goal == Goal::LeaderBytesIn { self.leader_in() } else { *excess };
            Distance { excess, goal: *goal }
        };
        Score {
            offline: self.offline,
            goals: self.policy.goals.iter().zip(&self.excess).map(distance).collect(),
        }
    }

    /// Gives a partition other brokers, and another leader by its position.
    pub(crate) fn change(&mut self, partition: u32, replicas: &[u32], leader: u32) {
        let row = self.cluster.row(partition);
        let mut touched: Vec<u32> = self.place[row.clone()].iter().chain(replicas).copied().collect();
        touched.sort_unstable();
        touched.dedup();
        let topic = self.cluster.topic[partition as usize] as usize;
        self.weigh_all(partition, topic, &touched, -1);
        self.count(partition, -1);
        self.place[row.clone()].copy_from_slice(replicas);
        self.leader[partition as usize] = row.start as u32 + leader;
        self.count(partition, 1);
        self.weigh_all(partition, topic, &touched, 1);
    }

    fn weigh_all(&mut self, partition: u32, topic: usize, touched: &[u32], sign: i32) {
        self.weigh(touched, sign);
        self.weigh_racks(partition, sign);
        for broker in touched {
            self.weigh_topic(topic, *broker as usize, sign);
        }
    }

    /// Adds a partition to the sums of its brokers, or takes it out.
    fn count(&mut self, partition: u32, sign: i64) {
        let (cluster, p) = (self.cluster, partition as usize);
        let n = cluster.brokers.len();
        for replica in cluster.row(partition) {
            let broker = self.place[replica] as usize;
            let sum = &mut self.sums[broker];
            let load = &cluster.load[replica];
            for (sum, load) in sum.iter_mut().zip(load) {
                *sum += sign * load;
            }
            sum[COUNT] += sign;
            sum[POTENTIAL] += sign * cluster.potential[p];
            if self.leader[p] as usize == replica {
                sum[LEADERS] += sign;
                sum[LEADER_IN] += sign * load[NETWORK_IN];
                sum[CPU] += sign * cluster.leader_cpu[p];
                sum[NETWORK_OUT] += sign * cluster.leader_network_out[p];
            }
            let held = &mut self.topic[cluster.topic[p] as usize * n + broker];
            *held = held.wrapping_add_signed(sign as i32);
            if !cluster.brokers[broker].alive {
                self.offline = self.offline.wrapping_add_signed(sign);
            }
        }
    }

    /// Adds what brokers are outside of the goals that limit their figures.
    fn weigh(&mut self, brokers: &[u32], sign: i32) {
        for (goal, (limits, total)) in self.policy.goals.iter().zip(self.limits.iter().zip(&mut self.excess))
        {
            let Some(figure) = figure(*goal) else { continue };
            for broker in brokers {
                let Some((low, high)) = limits.get(*broker as usize) else { continue };
                let sum = self.sums[*broker as usize][figure];
                let out = (sum - high).max(low - sum);
                if out > 0 {
                    add(total, whole(out), sign);
                }
            }
        }
    }

    fn weigh_racks(&mut self, partition: u32, sign: i32) {
        let row = self.cluster.row(partition);
        for (goal, total) in self.policy.goals.iter().zip(&mut self.excess) {
            let allowed = match goal {
                Goal::RackAware => 1,
                Goal::RackAwareDistribution => (row.len() as u32).div_ceil(self.open_racks.max(1)),
                _ => continue,
            };
            let rack = |replica: usize| self.cluster.brokers[self.place[replica] as usize].rack;
            // A replica is one too many if so many before it stand in its rack already.
            let crowded = |replica: &usize| {
                let before = (row.start..*replica).filter(|other| rack(*other) == rack(*replica)).count();
                before as u32 >= allowed
            };
            add(total, whole(row.clone().filter(crowded).count() as i64), sign);
        }
    }

    fn weigh_topic(&mut self, topic: usize, broker: usize, sign: i32) {
        let held = self.topic[topic * self.cluster.brokers.len() + broker];
        if held == 0 || !self.cluster.brokers[broker].alive {
            return;
        }
        let (low, high) = self.topic_limits[topic];
        let out = held.saturating_sub(high).max(low.saturating_sub(held));
        if out > 0 {
            for (goal, total) in self.policy.goals.iter().zip(&mut self.excess) {
                if *goal == Goal::TopicDistribution {
                    add(total, whole(i64::from(out)), sign);
                }
            }
        }
    }

    /// What leaders take in beyond the limit. It follows the mean, so that all brokers count whenever one changes.
    fn leader_in(&self) -> u128 {
        let sum = self.alive.iter().map(|b| self.sums[*b][LEADER_IN]).sum();
        let high = leader_in_limit(self.policy, sum, self.alive.len().max(1) as i64);
        self.sums.iter().map(|sum| whole(sum[LEADER_IN] - high)).sum()
    }
}

fn limits_of(cluster: &Cluster, policy: &Policy, alive: &[usize], goal: Goal) -> Vec<(i64, i64)> {
    if figure(goal).is_none() || goal == Goal::LeaderBytesIn || overflow(cluster, policy, goal) > 0 {
        return Vec::new();
    }
    let limits = |broker: usize| {
        if !cluster.brokers[broker].alive {
            return (i64::MIN / 4, i64::MAX / 4);
        }
        let (low, high, _) = limits(cluster, policy, alive, broker, goal);
        (low, high)
    };
    (0..cluster.brokers.len()).map(limits).collect()
}

fn add(total: &mut u128, excess: u128, sign: i32) {
    *total = if sign > 0 { *total + excess } else { *total - excess };
}

fn whole(count: i64) -> u128 {
    u128::from(count.max(0).unsigned_abs())
}

/// Racks over which replicas can be spread: those with a broker that may take some.
pub(crate) fn open_racks(cluster: &Cluster) -> u32 {
    let takes = cluster.brokers.iter().filter(|broker| broker.alive && broker.takes_replicas);
    let mut racks: Vec<u32> = takes.map(|broker| broker.rack).collect();
    racks.sort_unstable();
    racks.dedup();
    racks.len() as u32
}
