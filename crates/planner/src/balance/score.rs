//! The score of a placement, goal by goal, by the exact formulas.

use std::collections::BTreeMap;

use super::bands::{
    COUNT, FIGURES, Figures, LEADER_IN, LEADERS, POTENTIAL, figure, leader_in_limit, limits, topic_limits,
};
use super::cluster::{CPU, Cluster, NETWORK_IN, NETWORK_OUT};
use super::policy::{Goal, MILLION, Policy};

/// How far a placement is from each goal, in the policy's order. Smaller is better, compared goal by goal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score {
    /// Replicas on dead brokers.
    pub offline: u64,
    /// For each goal its distance: nothing when it is met.
    pub goals: Vec<Distance>,
}

/// How far a placement is from one goal. Smaller is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Distance {
    /// Sum over brokers (or partitions, or topics) of what is outside the limits: millionths of the limit for loads, and
    /// millions for each replica, leader or partition too many or too few.
    pub excess: u128,
    /// The goal.
    pub goal: Goal,
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

/// Sums of each broker.
fn sums(cluster: &Cluster, place: &[u32], leader: &[u32]) -> Vec<Figures> {
    let mut sums = vec![[0; FIGURES]; cluster.brokers.len()];
    for partition in 0..cluster.partitions() {
        let p = partition as usize;
        for replica in cluster.row(partition) {
            let sum = &mut sums[place[replica] as usize];
            let load = &cluster.load[replica];
            for (sum, load) in sum.iter_mut().zip(load) {
                *sum += load;
            }
            sum[COUNT] += 1;
            sum[POTENTIAL] += cluster.potential[p];
            if leader[p] as usize == replica {
                sum[LEADERS] += 1;
                sum[LEADER_IN] += load[NETWORK_IN];
                sum[CPU] += cluster.leader_cpu[p];
                sum[NETWORK_OUT] += cluster.leader_network_out[p];
            }
        }
    }
    sums
}

/// Judges a placement: broker of each replica, and the leading replica of each partition.
pub(crate) fn score(cluster: &Cluster, policy: &Policy, place: &[u32], leader: &[u32]) -> Score {
    let sums = sums(cluster, place, leader);
    let alive: Vec<usize> = (0..cluster.brokers.len()).filter(|b| cluster.brokers[*b].alive).collect();
    let offline = place.iter().filter(|b| !cluster.brokers[**b as usize].alive).count() as u64;
    let distance = |goal: &Goal| Distance {
        goal: *goal,
        excess: match goal {
            Goal::RackAware => rack_excess(cluster, place, 0),
            Goal::RackAwareDistribution => rack_excess(cluster, place, alive_racks(cluster)),
            Goal::TopicDistribution => topic_excess(cluster, policy, place, alive.len() as i64),
            Goal::LeaderBytesIn => {
                let sum = alive.iter().map(|b| sums[*b][LEADER_IN]).sum();
                let high = leader_in_limit(policy, sum, alive.len().max(1) as i64);
                sums.iter().map(|sum| beyond(sum[LEADER_IN] - high, high)).sum()
            }
            _ => alive.iter().map(|b| broker_excess(cluster, policy, &alive, *b, *goal, &sums[*b])).sum(),
        },
    };
    Score { offline, goals: policy.goals.iter().map(distance).collect() }
}

fn broker_excess(
    cluster: &Cluster,
    policy: &Policy,
    alive: &[usize],
    broker: usize,
    goal: Goal,
    sum: &Figures,
) -> u128 {
    let Some(figure) = figure(goal) else { return 0 };
    let (low, high, _) = limits(cluster, policy, alive, broker, goal);
    let out = (sum[figure] - high).max(low - sum[figure]);
    if figure == COUNT || figure == LEADERS {
        return u128::from(out.max(0).unsigned_abs()) * 1_000_000;
    }
    beyond(out, high)
}

/// Millionths of a limit, rounded up.
fn beyond(excess: i64, limit: i64) -> u128 {
    let excess = u128::from(excess.max(0).unsigned_abs());
    (excess * MILLION.unsigned_abs() as u128).div_ceil(u128::from(limit.max(1).unsigned_abs()))
}

pub(crate) fn alive_racks(cluster: &Cluster) -> u32 {
    let mut racks: Vec<u32> = cluster.brokers.iter().filter(|b| b.alive).map(|b| b.rack).collect();
    racks.sort_unstable();
    racks.dedup();
    racks.len() as u32
}

/// Replicas that share a rack, beyond what is allowed; with `racks` of 0 one is allowed in each.
fn rack_excess(cluster: &Cluster, place: &[u32], racks: u32) -> u128 {
    let mut excess = 0;
    let mut held: Vec<u32> = Vec::new();
    for partition in 0..cluster.partitions() {
        let row = cluster.row(partition);
        let allowed = if racks == 0 { 1 } else { (row.len() as u32).div_ceil(racks) as usize };
        held.clear();
        held.extend(place[row].iter().map(|broker| cluster.brokers[*broker as usize].rack));
        held.sort_unstable();
        for group in held.chunk_by(|a, b| a == b) {
            excess += group.len().saturating_sub(allowed) as u128;
        }
    }
    excess * 1_000_000
}

fn topic_excess(cluster: &Cluster, policy: &Policy, place: &[u32], alive: i64) -> u128 {
    let limits = topic_limits(cluster, policy, alive, true);
    let mut counts: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    for partition in 0..cluster.partitions() {
        for replica in cluster.row(partition) {
            if cluster.brokers[place[replica] as usize].alive {
                *counts.entry((cluster.topic[partition as usize], place[replica])).or_default() += 1;
            }
        }
    }
    let excess = |((topic, _), count): (&(u32, u32), &u32)| {
        let (low, high) = limits[*topic as usize];
        u128::from(count.saturating_sub(high).max(low.saturating_sub(*count)))
    };
    counts.iter().map(excess).sum::<u128>() * 1_000_000
}
