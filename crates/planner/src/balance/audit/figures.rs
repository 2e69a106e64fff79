//! The auditor's own reading of the goals: slow, plain, in wide integers.

use std::collections::{BTreeMap, BTreeSet};

use crate::balance::cluster::{CPU, Cluster, DISK, NETWORK_IN, NETWORK_OUT};
use crate::balance::policy::{Goal, Leaders, Policy};
use crate::balance::score::{Distance, Score};
use crate::balance::solve::Change;

const ONE: i128 = 1_000_000;

/// What one broker carries.
#[derive(Debug, Clone, Default)]
struct Carried {
    loads: [i128; 4],
    replicas: i128,
    leaders: i128,
    led_in: i128,
    if_it_led_all: i128,
}

/// Who holds and leads what, and what that makes of the brokers.
pub(super) struct Placement<'a> {
    cluster: &'a Cluster,
    lists: Vec<(Vec<u32>, usize)>,
    carried: Vec<Carried>,
}

impl<'a> Placement<'a> {
    /// As things are.
    pub(super) fn of(cluster: &'a Cluster) -> Placement<'a> {
        Placement::after(cluster, &[])
    }

    /// As things are after changes that fit the cluster.
    pub(super) fn after(cluster: &'a Cluster, changes: &[Change]) -> Placement<'a> {
        let list = |partition| (cluster.replicas(partition).to_vec(), cluster.leader(partition) as usize);
        let mut lists: Vec<_> = (0..cluster.partitions()).map(list).collect();
        for change in changes {
            lists[change.partition as usize] = (change.replicas.clone(), change.leader as usize);
        }
        let mut carried = vec![Carried::default(); cluster.brokers().len()];
        for (partition, (brokers, leader)) in (0..).zip(&lists) {
            for (position, broker) in brokers.iter().enumerate() {
                let of = &mut carried[*broker as usize];
                let load = cluster.loads(partition)[position];
                for (sum, load) in of.loads.iter_mut().zip(load) {
                    *sum += i128::from(load);
                }
                of.replicas += 1;
                of.if_it_led_all += i128::from(cluster.potential_network_out(partition));
                if position == *leader {
                    of.leaders += 1;
                    of.led_in += i128::from(load[NETWORK_IN]);
                    for (sum, share) in of.loads.iter_mut().zip(cluster.leader_share(partition)) {
                        *sum += i128::from(share);
                    }
                }
            }
        }
        Placement { cluster, lists, carried }
    }

    fn alive(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.carried.len()).filter(|broker| self.cluster.brokers()[*broker].alive)
    }
}

/// The score by the definitions of [`Goal`], [`Policy`] and [`Distance`].
pub(super) fn score(placement: &Placement<'_>, policy: &Policy) -> Score {
    let offline: u64 = stuck(placement, policy).into_iter().map(|(_, offline)| u64::from(offline)).sum();
    let goals = policy.goals.iter().map(|goal| Distance {
        excess: distance(placement, policy, *goal),
        goal: *goal,
        hard: policy.hard.contains(goal),
    });
    Score { offline, demoted: demoted(placement, policy), goals: goals.collect() }
}

/// Partitions with replicas offline, and how many; with none, if their leader was to pass on.
pub(super) fn stuck(placement: &Placement<'_>, policy: &Policy) -> Vec<(u32, u32)> {
    let cluster = placement.cluster;
    let mut stuck = Vec::new();
    for (partition, (brokers, leader)) in (0..).zip(&placement.lists) {
        let mut offline = 0;
        for (position, broker) in (0..).zip(brokers) {
            let stays = cluster.replicas(partition)[position as usize] == *broker;
            let in_failed_dir = stays && cluster.offline(partition, position);
            offline += u32::from(!cluster.brokers()[*broker as usize].alive || in_failed_dir);
        }
        let led_by = &cluster.brokers()[brokers[*leader] as usize];
        let demoted = policy.leaders == Leaders::Demoted && led_by.alive && !led_by.takes_leadership;
        if offline > 0 || demoted {
            stuck.push((partition, offline));
        }
    }
    stuck
}

fn demoted(placement: &Placement<'_>, policy: &Policy) -> u64 {
    let led_by = placement.lists.iter().map(|(brokers, leader)| brokers[*leader]);
    let known = led_by.map(|broker| &placement.cluster.brokers()[broker as usize]);
    let count = known.filter(|broker| broker.alive && !broker.takes_leadership).count() as u64;
    if policy.leaders == Leaders::Demoted { count } else { 0 }
}

fn distance(placement: &Placement<'_>, policy: &Policy, goal: Goal) -> u128 {
    let shares = |resource| around_mean(placement, policy, resource);
    let capped = |resource| below_capacity(placement, policy, resource);
    match goal {
        Goal::RackAware => {
            of_racks(placement, |by_rack, _| by_rack.values().map(|held| held.saturating_sub(1)).sum())
        }
        Goal::RackAwareDistribution => {
            let brokers = placement.alive().map(|broker| &placement.cluster.brokers()[broker]);
            let racks: BTreeSet<u32> =
                brokers.filter(|broker| broker.takes_replicas).map(|broker| broker.rack).collect();
            of_racks(placement, |by_rack, replicas| spread_badly(by_rack, replicas, racks.len().max(1)))
        }
        Goal::BrokerSetAware => outside_sets(placement),
        Goal::PreferredLeader => second_choices(placement),
        Goal::MinTopicLeaders => leaders_missing(placement),
        Goal::ReplicaCapacity => {
            let most = i128::from(policy.max_replicas);
            placement.alive().map(|b| over(placement.carried[b].replicas - most)).sum()
        }
        Goal::DiskCapacity => capped(DISK),
        Goal::NetworkInCapacity => capped(NETWORK_IN),
        Goal::NetworkOutCapacity => capped(NETWORK_OUT),
        Goal::CpuCapacity => capped(CPU),
        Goal::NetworkInLimit => beyond_fixed(placement, NETWORK_IN, policy.network_limit[0]),
        Goal::NetworkOutLimit => beyond_fixed(placement, NETWORK_OUT, policy.network_limit[1]),
        Goal::ReplicaDistribution => counts_around_mean(
            placement,
            policy.replica_balance,
            |carried| carried.replicas,
            |brokers| brokers.len(),
        ),
        Goal::PotentialNetworkOut => potential(placement, policy),
        Goal::DiskDistribution => shares(DISK),
        Goal::NetworkInDistribution => shares(NETWORK_IN),
        Goal::NetworkOutDistribution => shares(NETWORK_OUT),
        Goal::CpuDistribution => shares(CPU),
        Goal::TopicDistribution => topics(placement, policy),
        Goal::LeaderDistribution => {
            counts_around_mean(placement, policy.leader_balance, |carried| carried.leaders, |_| 1)
        }
        Goal::LeaderBytesIn => {
            let (mut sum, mut brokers) = (0, 0);
            for broker in placement.alive() {
                sum += placement.carried[broker].led_in;
                brokers += 1;
            }
            let limit = sum * i128::from(policy.balance[NETWORK_IN]) / (brokers.max(1) * ONE);
            placement.carried.iter().map(|carried| over(carried.led_in - limit)).sum()
        }
    }
}

/// What is beyond, if anything is.
fn over(beyond: i128) -> u128 {
    beyond.max(0).unsigned_abs()
}

fn potential(placement: &Placement<'_>, policy: &Policy) -> u128 {
    let limit = |broker: usize| {
        let capacity = i128::from(placement.cluster.brokers()[broker].capacity[NETWORK_OUT]);
        capacity * i128::from(policy.capacity[NETWORK_OUT]) / ONE
    };
    let all: i128 = placement.carried.iter().map(|carried| carried.if_it_led_all).sum();
    let room: i128 = placement.alive().map(limit).sum();
    if all > room {
        return over(all - room);
    }
    placement.alive().map(|broker| over(placement.carried[broker].if_it_led_all - limit(broker))).sum()
}

/// Nine tenths of what a threshold is above one, in millionths.
fn margin(threshold: i64) -> i128 {
    let above = i128::from(threshold) - ONE;
    if above <= 0 { 0 } else { above * 9 / 10 }
}

/// Lists of partitions that are not frozen: goals about single lists do not count the others.
fn thawed<'p>(placement: &'p Placement<'_>) -> impl Iterator<Item = (u32, &'p (Vec<u32>, usize))> {
    (0..).zip(&placement.lists).filter(|(partition, _)| !placement.cluster.frozen(*partition))
}

fn of_racks(placement: &Placement<'_>, wrong: impl Fn(&BTreeMap<u32, usize>, usize) -> usize) -> u128 {
    let mut sum = 0;
    for (_, (brokers, _)) in thawed(placement) {
        let mut by_rack: BTreeMap<u32, usize> = BTreeMap::new();
        for broker in brokers {
            *by_rack.entry(placement.cluster.brokers()[*broker as usize].rack).or_default() += 1;
        }
        sum += wrong(&by_rack, brokers.len());
    }
    over(sum as i128)
}

/// Replicas that stand where an even spread would not have them.
fn spread_badly(by_rack: &BTreeMap<u32, usize>, replicas: usize, racks: usize) -> usize {
    let share = replicas / racks;
    let left_over = replicas - share * racks;
    let mut held: Vec<usize> = by_rack.values().copied().collect();
    held.sort_unstable_by(|a, b| b.cmp(a));
    let allowed = |rank: usize| share + usize::from(rank < left_over);
    held.into_iter().enumerate().map(|(rank, held)| held.saturating_sub(allowed(rank))).sum()
}

fn outside_sets(placement: &Placement<'_>) -> u128 {
    let mut outside = 0;
    for (partition, (brokers, _)) in thawed(placement) {
        if let Some(set) = placement.cluster.bound_set(placement.cluster.topic(partition)) {
            let strangers = |broker: &&u32| placement.cluster.brokers()[**broker as usize].set != Some(set);
            outside += brokers.iter().filter(strangers).count();
        }
    }
    over(outside as i128)
}

fn second_choices(placement: &Placement<'_>) -> u128 {
    let mut others = 0;
    for (_, (brokers, leader)) in thawed(placement) {
        let first = &placement.cluster.brokers()[brokers[0] as usize];
        others += i128::from(*leader != 0 && first.alive && first.takes_leadership);
    }
    over(others)
}

fn leaders_missing(placement: &Placement<'_>) -> u128 {
    let cluster = placement.cluster;
    let mut led: BTreeMap<(u32, u32), i128> = BTreeMap::new();
    for (partition, (brokers, leader)) in (0..).zip(&placement.lists) {
        *led.entry((cluster.topic(partition), brokers[*leader])).or_default() += 1;
    }
    let mut missing = 0;
    for topic in 0..cluster.topics() {
        let required = i128::from(cluster.required_leaders(topic));
        for (broker, known) in (0..).zip(cluster.brokers()) {
            if known.alive && known.takes_replicas && known.takes_leadership {
                missing += over(required - led.get(&(topic, broker)).copied().unwrap_or(0));
            }
        }
    }
    missing
}

fn below_capacity(placement: &Placement<'_>, policy: &Policy, resource: usize) -> u128 {
    let beyond = |broker: usize| {
        let capacity = i128::from(placement.cluster.brokers()[broker].capacity[resource]);
        let limit = capacity * i128::from(policy.capacity[resource]) / ONE;
        over(placement.carried[broker].loads[resource] - limit)
    };
    placement.alive().map(beyond).sum()
}

fn beyond_fixed(placement: &Placement<'_>, resource: usize, limit: i64) -> u128 {
    placement.alive().map(|broker| over(placement.carried[broker].loads[resource] - i128::from(limit))).sum()
}

fn around_mean(placement: &Placement<'_>, policy: &Policy, resource: usize) -> u128 {
    let capacity = |broker: usize| i128::from(placement.cluster.brokers()[broker].capacity[resource]);
    let all: i128 = placement.alive().map(capacity).sum();
    let used: i128 = placement.carried.iter().map(|carried| carried.loads[resource]).sum();
    if all == 0 || used * ONE <= all * i128::from(policy.low_utilization[resource]) {
        return 0;
    }
    let reach = margin(policy.balance[resource]);
    let beyond = |broker: usize| {
        let fair = capacity(broker) * used / all;
        let (low, high) = (fair * (ONE - reach).max(0) / ONE, fair * (ONE + reach) / ONE);
        let load = placement.carried[broker].loads[resource];
        over(load - high) + over(low - load)
    };
    placement.alive().map(beyond).sum()
}

fn counts_around_mean(
    placement: &Placement<'_>,
    threshold: i64,
    count: impl Fn(&Carried) -> i128,
    weight: impl Fn(&[u32]) -> usize,
) -> u128 {
    let all: usize = placement.lists.iter().map(|(brokers, _)| weight(brokers)).sum();
    let (all, brokers) = (all as i128, placement.alive().count() as i128);
    if brokers == 0 {
        return 0;
    }
    let reach = margin(threshold);
    let low = all * (ONE - reach).max(0) / (brokers * ONE);
    let high = (all * (ONE + reach) + brokers * ONE - 1) / (brokers * ONE);
    let beyond = |broker: usize| {
        let count = count(&placement.carried[broker]);
        over(count - high) + over(low - count)
    };
    placement.alive().map(beyond).sum()
}

fn topics(placement: &Placement<'_>, policy: &Policy) -> u128 {
    let brokers = placement.alive().count() as i128;
    if brokers == 0 {
        return 0;
    }
    let mut in_all: BTreeMap<u32, i128> = BTreeMap::new();
    let mut on: BTreeMap<(u32, u32), i128> = BTreeMap::new();
    for (partition, (list, _)) in (0..).zip(&placement.lists) {
        let topic = placement.cluster.topic(partition);
        *in_all.entry(topic).or_default() += list.len() as i128;
        for broker in list {
            *on.entry((topic, *broker)).or_default() += 1;
        }
    }
    let reach = margin(policy.topic_balance);
    let (near, far) = (i128::from(policy.topic_min_gap), i128::from(policy.topic_max_gap));
    let mut beyond = 0;
    for ((topic, broker), held) in on {
        if !placement.cluster.brokers()[broker as usize].alive {
            continue;
        }
        let all = in_all.get(&topic).copied().unwrap_or(0);
        let (below, above) = (all / brokers, (all + brokers - 1) / brokers);
        let wide = (all * (ONE + reach) + brokers * ONE - 1) / (brokers * ONE);
        let narrow = all * (ONE - reach).max(0) / (brokers * ONE);
        let high = (above + near).max(wide.min(above + far));
        let low = (below - far).max(0).max(narrow.min((below - near).max(0)));
        beyond += over(held - high) + over(low - held);
    }
    beyond
}
