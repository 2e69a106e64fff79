//! Within which limits goals want the figures of brokers, as the auditor reads their definitions.

use super::figures::{Carried, Placement};
use crate::balance::cluster::{CPU, DISK, NETWORK_IN, NETWORK_OUT};
use crate::balance::policy::{Goal, Policy};

pub(super) const ONE: i128 = 1_000_000;

/// A figure of a broker.
#[derive(Debug, Clone, Copy)]
enum Figure {
    Load(usize),
    Replicas,
    Leaders,
    LedIn,
    IfItLedAll,
}

/// What a goal wants of one figure of every broker.
pub(super) struct Judged {
    figure: Figure,
    /// The least and the most, by broker; nothing where the goal does not judge the broker.
    limits: Vec<Option<(Option<i128>, i128)>>,
    /// The most that each log dir may hold, by broker; nothing where there are not several.
    dirs: Vec<Vec<i128>>,
}

impl Judged {
    /// The least and the most that a living broker may have; what is not limited is far beyond what there can be.
    pub(super) fn limits_of(&self, broker: usize) -> (i128, i128) {
        let (least, most) = self.limits[broker].unwrap_or((None, i128::MAX / 4096));
        (least.unwrap_or(i128::MIN / 4096), most)
    }

    /// The figure that is judged.
    pub(super) fn figure_of(&self, carried: &Carried) -> i128 {
        match self.figure {
            Figure::Load(resource) => carried.loads[resource],
            Figure::Replicas => carried.replicas,
            Figure::Leaders => carried.leaders,
            Figure::LedIn => carried.led_in,
            Figure::IfItLedAll => carried.if_it_led_all,
        }
    }

    /// By how much a broker is outside with what it carries, or its log dirs are over their limits where that is more.
    pub(super) fn outside(&self, broker: usize, carried: &Carried) -> u128 {
        let dirs = self.dirs_over(broker, carried).map(|(_, over)| over).sum();
        self.outside_as_a_whole(broker, carried).max(dirs)
    }

    /// The same, whatever its log dirs hold.
    pub(super) fn outside_as_a_whole(&self, broker: usize, carried: &Carried) -> u128 {
        let Some((least, most)) = self.limits[broker] else { return 0 };
        let figure = self.figure_of(carried);
        over(figure - most) + least.map_or(0, |least| over(least - figure))
    }

    /// The log dir of a broker that a load brings least over its limit, if it has several.
    pub(super) fn best_dir(&self, broker: usize, carried: &Carried, load: i128) -> Option<u32> {
        let held = |dir: u32| carried.dirs.get(&dir).copied().unwrap_or(0);
        let dirs = (0..).zip(self.dirs.get(broker)?);
        let grows = |(dir, most): (u32, &i128)| (over(held(dir) + load - most) - over(held(dir) - most), dir);
        dirs.map(grows).min().map(|(_, dir)| dir)
    }

    /// By how much more a broker's log dirs are over their limits with a load more in the one where that is least.
    pub(super) fn dir_growth(&self, broker: usize, carried: &Carried, load: i128) -> u128 {
        let Some(dir) = self.best_dir(broker, carried, load) else { return 0 };
        let held = carried.dirs.get(&dir).copied().unwrap_or(0);
        let most = self.dirs[broker][dir as usize];
        over(held + load - most) - over(held - most)
    }

    /// By how much each log dir of a broker is over its limit.
    pub(super) fn dirs_over(&self, broker: usize, carried: &Carried) -> impl Iterator<Item = (u32, u128)> {
        let of = |(dir, most): (u32, &i128)| (dir, over(carried.dirs.get(&dir).copied().unwrap_or(0) - most));
        (0..).zip(self.dirs.get(broker).into_iter().flatten()).map(of)
    }
}

impl Judged {
    /// How far above its limits a broker is with what it carries; below them: less than nothing.
    pub(super) fn signed(&self, broker: usize, carried: &Carried) -> i128 {
        let dirs = self.dirs_over(broker, carried).map(|(_, over)| over as i128).sum();
        let Some((least, most)) = self.limits[broker] else { return dirs };
        let figure = self.figure_of(carried);
        let own = (figure - most).max(0) + least.map_or(0, |least| (figure - least).min(0));
        if dirs > 0 { own.max(dirs) } else { own }
    }
}

/// What is beyond, if anything is.
pub(super) fn over(beyond: i128) -> u128 {
    beyond.max(0).unsigned_abs()
}

/// Nine tenths of what a threshold is above one, in millionths.
pub(super) fn margin(threshold: i64) -> i128 {
    let above = i128::from(threshold) - ONE;
    if above <= 0 { 0 } else { above * 9 / 10 }
}

/// What a goal wants, if it is about one figure of brokers. Nothing also where it judges nobody.
pub(super) fn judged(placement: &Placement<'_>, policy: &Policy, goal: Goal) -> Option<Judged> {
    let same = |figure, most: i64| each(placement, figure, |_| (None, i128::from(most)));
    let capped = |figure, resource| {
        let mut judged = each(placement, figure, |_| (None, 0));
        for (broker, limits) in judged.limits.iter_mut().enumerate() {
            *limits = limits.and(capped(placement, policy, broker, resource)).map(|most| (None, most));
        }
        judged
    };
    match goal {
        Goal::DiskCapacity => {
            Some(Judged { dirs: dirs(placement, policy), ..capped(Figure::Load(DISK), DISK) })
        }
        Goal::NetworkInCapacity => Some(capped(Figure::Load(NETWORK_IN), NETWORK_IN)),
        Goal::NetworkOutCapacity => Some(capped(Figure::Load(NETWORK_OUT), NETWORK_OUT)),
        Goal::CpuCapacity => Some(capped(Figure::Load(CPU), CPU)),
        Goal::PotentialNetworkOut => Some(capped(Figure::IfItLedAll, NETWORK_OUT)),
        Goal::NetworkInLimit => Some(same(Figure::Load(NETWORK_IN), policy.network_limit[0])),
        Goal::NetworkOutLimit => Some(same(Figure::Load(NETWORK_OUT), policy.network_limit[1])),
        Goal::ReplicaCapacity => Some(same(Figure::Replicas, policy.max_replicas)),
        Goal::DiskDistribution => shares(placement, policy, DISK),
        Goal::NetworkInDistribution => shares(placement, policy, NETWORK_IN),
        Goal::NetworkOutDistribution => shares(placement, policy, NETWORK_OUT),
        Goal::CpuDistribution => shares(placement, policy, CPU),
        Goal::ReplicaDistribution => {
            let all = placement.lists().map(|(_, (brokers, _))| brokers.len()).sum();
            counts(placement, Figure::Replicas, all, policy.replica_balance)
        }
        Goal::LeaderDistribution => {
            counts(placement, Figure::Leaders, placement.lists().count(), policy.leader_balance)
        }
        Goal::LeaderBytesIn => {
            let (mut sum, mut brokers) = (0, 0);
            for broker in placement.alive() {
                sum += placement.carried(broker).led_in;
                brokers += 1;
            }
            let limit = sum * i128::from(policy.balance[NETWORK_IN]) / (brokers.max(1) * ONE);
            // This goal alone judges brokers that are not alive, too.
            let limits = vec![Some((None, limit)); placement.cluster().brokers().len()];
            Some(Judged { figure: Figure::LedIn, limits, dirs: Vec::new() })
        }
        Goal::BrokerSetAware
        | Goal::RackAware
        | Goal::RacksKept
        | Goal::RackAwareDistribution
        | Goal::MinTopicLeaders
        | Goal::TopicDistribution
        | Goal::PreferredLeader => None,
    }
}

/// The limits of brokers that are alive.
fn each(placement: &Placement<'_>, figure: Figure, of: impl Fn(usize) -> (Option<i128>, i128)) -> Judged {
    let mut limits = vec![None; placement.cluster().brokers().len()];
    for broker in placement.alive() {
        limits[broker] = Some(of(broker));
    }
    Judged { figure, limits, dirs: Vec::new() }
}

/// The limits of the log dirs of living brokers.
fn dirs(placement: &Placement<'_>, policy: &Policy) -> Vec<Vec<i128>> {
    let cluster = placement.cluster();
    let mut dirs = vec![Vec::new(); cluster.brokers().len()];
    for broker in placement.alive() {
        let limit = |capacity: &i64| i128::from(*capacity) * i128::from(policy.capacity[DISK]) / ONE;
        dirs[broker] = cluster.log_dirs(broker as u32).iter().map(limit).collect();
    }
    dirs
}

/// What a broker may carry of a resource; nothing where its capacity is not known, which limits nothing.
pub(super) fn capped(
    placement: &Placement<'_>,
    policy: &Policy,
    broker: usize,
    resource: usize,
) -> Option<i128> {
    let capacity = i128::from(placement.cluster().brokers()[broker].capacity[resource]);
    (capacity != 0).then(|| capacity * i128::from(policy.capacity[resource]) / ONE)
}

/// The capacities by which living brokers share out a resource: their own, or the mean of those that are known.
pub(super) fn capacities(placement: &Placement<'_>, resource: usize) -> Vec<i128> {
    let own = |broker: usize| i128::from(placement.cluster().brokers()[broker].capacity[resource]);
    let (mut sum, mut known) = (0, 0);
    for broker in placement.alive().filter(|broker| own(*broker) != 0) {
        sum += own(broker);
        known += 1;
    }
    let mean = if known == 0 { 0 } else { sum / known };
    (0..placement.cluster().brokers().len())
        .map(|broker| if own(broker) == 0 { mean } else { own(broker) })
        .collect()
}

fn shares(placement: &Placement<'_>, policy: &Policy, resource: usize) -> Option<Judged> {
    let capacities = capacities(placement, resource);
    let capacity = |broker: usize| capacities[broker];
    let all: i128 = placement.alive().map(capacity).sum();
    let lost = if resource == DISK { placement.lost_disk(|_| true) } else { 0 };
    let used = placement.all().map(|carried| carried.loads[resource]).sum::<i128>() + lost;
    if all == 0 || used * ONE <= all * i128::from(policy.low_utilization[resource]) {
        return None;
    }
    let reach = margin(policy.balance[resource]);
    Some(each(placement, Figure::Load(resource), |broker| {
        let fair = capacity(broker) * used / all;
        (Some(fair * (ONE - reach).max(0) / ONE), fair * (ONE + reach) / ONE)
    }))
}

fn counts(placement: &Placement<'_>, figure: Figure, all: usize, threshold: i64) -> Option<Judged> {
    let (all, brokers) = (all as i128, placement.alive().count() as i128);
    if brokers == 0 {
        return None;
    }
    let reach = margin(threshold);
    let low = all * (ONE - reach).max(0) / (brokers * ONE);
    let high = (all * (ONE + reach) + brokers * ONE - 1) / (brokers * ONE);
    Some(each(placement, figure, |_| (Some(low), high)))
}
