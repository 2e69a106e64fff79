//! Where each figure of each broker should lie.

use super::cluster::{CPU, Cluster, DISK, NETWORK_IN, NETWORK_OUT, RESOURCES};
use super::policy::{Goal, MILLION, Policy, reach};
use super::racks::{nearest_shares, shares_out, uneven_at_least};
use super::score::living_racks;

// The figures of a broker that goals speak of start with the four resources.
/// Index of the number of replicas.
pub(crate) const COUNT: usize = 4;
/// Index of the number of leaders.
pub(crate) const LEADERS: usize = 5;
/// Index of the inbound network of the leaders.
pub(crate) const LEADER_IN: usize = 6;
/// Index of the outbound network if the broker led all that it holds.
pub(crate) const POTENTIAL: usize = 7;
/// Number of figures.
pub(crate) const FIGURES: usize = 8;

/// The figures of one broker.
pub(crate) type Figures = [i64; FIGURES];

const NONE: i64 = i64::MAX / 4;
/// Normalised distances are in parts of 2^20 of a fair share.
pub(crate) const UNIT: u32 = 20;
/// Farther away than this counts as this far, so that squares fit: 2,000 fair shares.
const FARTHEST: i64 = 1 << 31;

/// Says what part of a whole a figure is, in parts of 2^20, without a division.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts {
    /// 2^(UNIT + shift) ÷ whole; nothing where there is no whole.
    weight: u64,
    /// Fixed point of `weight`: shares are as fine for a few replicas as for many terabytes.
    shift: u32,
}

impl Parts {
    const NONE: Parts = Parts { weight: 0, shift: 0 };

    pub(crate) fn of(whole: i64) -> Parts {
        let divisor = whole.max(1).unsigned_abs();
        let shift = UNIT + divisor.ilog2();
        Parts { weight: ((1_u128 << (UNIT + shift)) / u128::from(divisor)) as u64, shift }
    }

    /// What part a figure is, whatever its sign; at most 2,000 wholes.
    #[inline]
    pub(crate) fn in_all(self, figure: i64) -> i64 {
        let product = u128::from(figure.unsigned_abs()) * u128::from(self.weight);
        i64::try_from(product >> self.shift).unwrap_or(FARTHEST).min(FARTHEST)
    }
}

/// Limits of one figure of one broker, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Band {
    pub(crate) low: i64,
    pub(crate) high: i64,
    middle: i64,
    /// Of a fair share.
    parts: Parts,
    /// How much the middle pulls, faintly being 1.
    pull: i64,
}

impl Band {
    const OPEN: Band = Band { low: -NONE, high: NONE, middle: 0, parts: Parts::NONE, pull: 0 };

    fn new(low: i64, high: i64, share: i64, pulls: bool) -> Band {
        Band { low, high, middle: share, parts: Parts::of(share), pull: i64::from(pulls) }
    }

    /// What is limited from above alone, by a limit that is a part of a whole.
    pub(crate) fn below(high: i64, whole: i64) -> Band {
        Band::new(-NONE, high, whole, false)
    }

    /// How far outside, in the figure's unit.
    pub(crate) fn excess(&self, figure: i64) -> i64 {
        (figure - self.high).max(self.low - figure).max(0)
    }

    /// How far above its fair share a figure stands (below it: negative), in parts of the fair share.
    pub(crate) fn level(&self, figure: i64) -> i64 {
        let distance = figure - self.middle;
        self.parts.in_all(distance) * distance.signum()
    }

    /// The fair share, if there is something to share.
    pub(crate) fn share(&self) -> Option<i64> {
        (self.parts.weight > 0).then_some(self.middle.max(1))
    }

    /// How bad a figure is: the distance to the nearest edge and its square, and a faint pull to the middle.
    #[inline]
    pub(crate) fn cost(&self, figure: i64) -> i64 {
        let excess = self.excess(figure);
        let mut cost = 0;
        if excess > 0 {
            let out = self.parts.in_all(excess).max(1);
            cost = out * EDGE + square(out) * STEEP;
        }
        if self.pull == 0 {
            return cost;
        }
        cost + square(self.parts.in_all(figure - self.middle)) * self.pull / FAINT
    }
}

/// What being outside a limit by a part costs.
pub(crate) const EDGE: i64 = 16;
const STEEP: i64 = 16;
const FAINT: i64 = 16;

#[inline]
fn square(parts: i64) -> i64 {
    (parts * parts) >> UNIT
}

/// `value × numerator ÷ denominator`, rounded down.
pub(crate) fn scale(value: i64, numerator: i64, denominator: i64) -> i64 {
    let product = i128::from(value) * i128::from(numerator);
    i64::try_from(product.div_euclid(i128::from(denominator.max(1)))).unwrap_or(NONE).clamp(-NONE, NONE)
}

/// The same, rounded up.
pub(crate) fn scale_up(value: i64, numerator: i64, denominator: i64) -> i64 {
    -scale(-value, numerator, denominator)
}

/// Limits of all figures of all brokers, and of all topics.
#[derive(Debug, Clone)]
pub(crate) struct Bands {
    /// By broker; dead brokers have open bands.
    pub(crate) of: Vec<[Band; FIGURES]>,
    /// By topic: fewest (where there is one) and most replicas on a broker.
    pub(crate) topic: Vec<(u32, u32)>,
    pub(crate) alive: i64,
}

/// Limits of one goal for one broker, and the share by which it is filled.
pub(crate) fn limits(
    cluster: &Cluster,
    policy: &Policy,
    alive: &[usize],
    broker: usize,
    goal: Goal,
) -> (i64, i64, i64) {
    let n = alive.len() as i64;
    let capacity_limit = |r: usize| match cluster.capacity(broker, r) {
        Some(capacity) => (-NONE, scale(capacity, policy.capacity[r], MILLION), capacity),
        None => (-NONE, NONE, cluster.fair_capacity(broker, r).unwrap_or(1)),
    };
    let count_limit = |all: i64, threshold: i64| {
        let m = reach(threshold);
        let low = scale(all, (MILLION - m).max(0), n * MILLION);
        (low, scale_up(all, MILLION + m, n * MILLION), scale_up(all, 1, n))
    };
    let fixed = |limit: i64| (-NONE, limit.min(NONE), limit.clamp(1, NONE));
    match goal {
        Goal::NetworkInLimit => fixed(policy.network_limit[0]),
        Goal::NetworkOutLimit => fixed(policy.network_limit[1]),
        Goal::DiskCapacity => capacity_limit(DISK),
        Goal::NetworkInCapacity => capacity_limit(NETWORK_IN),
        Goal::NetworkOutCapacity => capacity_limit(NETWORK_OUT),
        Goal::CpuCapacity => capacity_limit(CPU),
        Goal::PotentialNetworkOut => capacity_limit(NETWORK_OUT),
        Goal::DiskDistribution => share_limit(cluster, policy, alive, broker, DISK),
        Goal::NetworkInDistribution => share_limit(cluster, policy, alive, broker, NETWORK_IN),
        Goal::NetworkOutDistribution => share_limit(cluster, policy, alive, broker, NETWORK_OUT),
        Goal::CpuDistribution => share_limit(cluster, policy, alive, broker, CPU),
        Goal::ReplicaCapacity => (-NONE, policy.max_replicas, policy.max_replicas),
        Goal::ReplicaDistribution => count_limit(cluster.place.len() as i64, policy.replica_balance),
        Goal::LeaderDistribution => count_limit(cluster.topic.len() as i64, policy.leader_balance),
        _ => (-NONE, NONE, 1),
    }
}

/// What is within the thresholds of a broker's share of a resource in proportion to capacities.
fn share_limit(
    cluster: &Cluster,
    policy: &Policy,
    alive: &[usize],
    broker: usize,
    resource: usize,
) -> (i64, i64, i64) {
    let of = |broker: usize| cluster.fair_capacity(broker, resource).unwrap_or(0);
    let all: i128 = alive.iter().map(|broker| i128::from(of(*broker))).sum();
    let total = i128::from(cluster.total[resource]);
    if all == 0 || total * i128::from(MILLION) <= all * i128::from(policy.low_utilization[resource]) {
        return (-NONE, NONE, 1);
    }
    let m = reach(policy.balance[resource]);
    let fair = i64::try_from(i128::from(of(broker)) * total / all).unwrap_or(NONE);
    let share = |parts: i64| scale(fair, parts, MILLION);
    (share((MILLION - m).max(0)), share(MILLION + m), share(MILLION))
}

/// By how much a goal's sum is beyond all its limits together, where no placement changes the sum: then none meets it.
pub(crate) fn overflow(cluster: &Cluster, policy: &Policy, goal: Goal) -> u128 {
    if goal != Goal::PotentialNetworkOut {
        return 0;
    }
    let held = |partition: usize| i128::from(cluster.start[partition + 1] - cluster.start[partition]);
    let sum: i128 =
        cluster.potential.iter().enumerate().map(|(p, potential)| held(p) * i128::from(*potential)).sum();
    let living = (0..cluster.brokers.len()).filter(|broker| cluster.brokers[*broker].alive);
    let mut room = 0;
    for broker in living {
        let Some(capacity) = cluster.capacity(broker, NETWORK_OUT) else { return 0 };
        room += i128::from(scale(capacity, policy.capacity[NETWORK_OUT], MILLION));
    }
    (sum - room).max(0).unsigned_abs()
}

/// What can be proven of a cluster's goals without any search.
pub(crate) struct Proofs<'a> {
    pub(crate) cluster: &'a Cluster,
    policy: &'a Policy,
    /// What each living broker holds that may take no more; nothing of the others.
    held: Vec<Figures>,
    /// What stays on brokers that do not live.
    stays: Figures,
}

/// What partitions that are never touched have on brokers that do not live, and of disk in log dirs that have failed.
pub(crate) fn stays(cluster: &Cluster) -> Figures {
    let mut stays = [0; FIGURES];
    for partition in (0..cluster.partitions()).filter(|partition| cluster.lock(*partition).is_some()) {
        let dead = |replica: &usize| !cluster.brokers[cluster.place[*replica] as usize].alive;
        let row = cluster.row(partition);
        let leads = row.start + cluster.leader(partition) as usize;
        for replica in row.clone().filter(|replica| !dead(replica)) {
            stays[DISK] +=
                cluster.load[replica][DISK] - cluster.load_at(replica, cluster.place[replica])[DISK];
        }
        for replica in row.filter(dead) {
            let share = if replica == leads { cluster.leader_share(partition) } else { [0; RESOURCES] };
            for (sum, (load, share)) in stays.iter_mut().zip(cluster.load[replica].iter().zip(share)) {
                *sum += load + share;
            }
            stays[COUNT] += 1;
        }
    }
    stays
}

impl<'a> Proofs<'a> {
    pub(crate) fn new(cluster: &'a Cluster, policy: &'a Policy) -> Proofs<'a> {
        let full = |broker: usize| cluster.brokers[broker].alive && !cluster.brokers[broker].takes_replicas;
        let mut held = vec![[0; FIGURES]; cluster.brokers.len()];
        if (0..held.len()).any(full) {
            for partition in 0..cluster.partitions() {
                for (at, replica) in (0..).zip(cluster.row(partition)) {
                    let held = &mut held[cluster.place[replica] as usize];
                    held[COUNT] += 1;
                    let leads = at == cluster.leader(partition);
                    let share = if leads { cluster.leader_share(partition) } else { [0; RESOURCES] };
                    let load = cluster.load_at(replica, cluster.place[replica]);
                    for (sum, (load, share)) in held.iter_mut().zip(load.iter().zip(share)) {
                        *sum += load + share;
                    }
                }
            }
        }
        Proofs { cluster, policy, held, stays: stays(cluster) }
    }

    /// How far every placement is from a goal at least, with nothing on brokers that do not live but what is never touched: where that is more than
    /// nothing, no placement meets it.
    pub(crate) fn unavoidable(&self, goal: Goal) -> u128 {
        let (cluster, policy) = (self.cluster, self.policy);
        match goal {
            Goal::PotentialNetworkOut => {
                overflow(cluster, policy, goal).max(uneven_at_least(cluster, policy, goal))
            }
            Goal::RackAware => {
                let racks = living_racks(cluster) as usize;
                let thawed = (0..cluster.partitions()).filter(|partition| !cluster.frozen(*partition));
                thawed.map(|partition| cluster.row(partition).len().saturating_sub(racks) as u128).sum()
            }
            Goal::ReplicaCapacity => self.beyond(goal, COUNT, cluster.place.len() as i64),
            _ if limits_load(goal) => {
                let resource = goal.resource().unwrap_or(0);
                self.beyond(goal, resource, cluster.total[resource])
            }
            _ => uneven_at_least(cluster, policy, goal),
        }
    }

    /// What all replicas together are beyond the room that living brokers have.
    fn beyond(&self, goal: Goal, figure: usize, all: i64) -> u128 {
        self.room(goal, figure).map_or(0, |room| (self.comes(figure, all) - room).max(0).unsigned_abs())
    }

    /// What living brokers have to carry of a figure.
    fn comes(&self, figure: usize, all: i64) -> i128 {
        i128::from(all) - i128::from(self.stays[figure])
    }

    /// The room that living brokers have by a goal, if it has an end. One that may take no replicas has room for what it holds, and
    /// for what leading adds to that where it may lead.
    fn room(&self, goal: Goal, figure: usize) -> Option<i128> {
        let mut room = 0;
        for broker in (0..self.held.len()).filter(|broker| self.cluster.brokers[*broker].alive) {
            let (_, high, _) = limits(self.cluster, self.policy, &[broker], broker, goal);
            let known = &self.cluster.brokers[broker];
            let takes = known.takes_replicas || (comes_with_leading(figure) && known.takes_leadership);
            if takes && high >= NONE {
                return None;
            }
            room += i128::from(if takes { high } else { high.min(self.held[broker][figure]) });
        }
        Some(room)
    }

    /// Where no placement can meet a goal that limits a load: what part of its limit each broker carries, in millionths, if
    /// all carry the same. Nobody is to be far above that because the goal is lost.
    fn shared_evenly(&self, goal: Goal) -> Option<i64> {
        let resource = goal.resource().filter(|_| limits_load(goal))?;
        let room = self.room(goal, resource).filter(|room| *room > 0)?;
        let parts = self.comes(resource, self.cluster.total[resource]) * i128::from(MILLION) / room;
        i64::try_from(parts).ok().map(|parts| parts + parts / UNEVEN)
    }

    /// Whether a goal of limits counts for nothing in a search, as no placement can meet it. Disk is another matter: one that is too
    /// full stays so, but takes nothing. As few replicas as can be share a rack. And where racks cannot carry their shares,
    /// each of them is shared out evenly.
    pub(crate) fn is_dropped(&self, goal: Goal) -> bool {
        let else_served = [Goal::DiskCapacity, Goal::RackAware].contains(&goal) || shares_out(goal);
        !else_served && self.ever(goal) > 0
    }

    /// How far every placement is from a goal at least, wherever replicas stand now: what a plan makes of a broker that may take none
    /// does not make a goal impossible, so that a plan and the next one keep to the same goals.
    fn ever(&self, goal: Goal) -> u128 {
        if goal == Goal::PotentialNetworkOut {
            // Where one rack alone is beyond its limits, the others can keep to theirs.
            return overflow(self.cluster, self.policy, goal);
        }
        let held = vec![[NONE; FIGURES]; self.held.len()];
        Proofs { held, ..*self }.unavoidable(goal)
    }
}

/// Above the even share of a load that is too much for all by this part nobody should stand.
const UNEVEN: i64 = 32;

/// Whether leading adds to a figure.
fn comes_with_leading(figure: usize) -> bool {
    [CPU, NETWORK_OUT].contains(&figure)
}

/// Whether a goal sets a limit to what brokers carry of a resource, whatever others carry.
pub(crate) fn limits_load(goal: Goal) -> bool {
    matches!(
        goal,
        Goal::DiskCapacity
            | Goal::NetworkInCapacity
            | Goal::NetworkOutCapacity
            | Goal::CpuCapacity
            | Goal::NetworkInLimit
            | Goal::NetworkOutLimit
    )
}

/// The figure that a goal limits, if it limits one per broker.
pub(crate) fn figure(goal: Goal) -> Option<usize> {
    match goal {
        Goal::CpuCapacity | Goal::CpuDistribution => Some(0),
        Goal::NetworkInCapacity | Goal::NetworkInLimit | Goal::NetworkInDistribution => Some(1),
        Goal::NetworkOutCapacity | Goal::NetworkOutLimit | Goal::NetworkOutDistribution => Some(2),
        Goal::DiskCapacity | Goal::DiskDistribution => Some(3),
        Goal::ReplicaCapacity | Goal::ReplicaDistribution => Some(COUNT),
        Goal::LeaderDistribution => Some(LEADERS),
        Goal::LeaderBytesIn => Some(LEADER_IN),
        Goal::PotentialNetworkOut => Some(POTENTIAL),
        _ => None,
    }
}

/// The most that a broker's leaders may take in, by the mean of the brokers.
pub(crate) fn leader_in_limit(policy: &Policy, sum: i64, alive: i64) -> i64 {
    scale(sum, policy.balance[NETWORK_IN], alive * MILLION)
}

impl Bands {
    /// The bands that a search aims at: the narrowest of all goals, within the policy's margin. Racks that cannot carry their share
    /// come as near as they can, and are shared out evenly all the same if that is asked for.
    pub(crate) fn new(cluster: &Cluster, policy: &Policy, goals: &[Goal], evenly: bool) -> Bands {
        let alive: Vec<usize> = (0..cluster.brokers.len()).filter(|b| cluster.brokers[*b].alive).collect();
        let mut of = vec![[Band::OPEN; FIGURES]; cluster.brokers.len()];
        let proofs = Proofs::new(cluster, policy);
        let dropped: Vec<Goal> = goals.iter().copied().filter(|goal| proofs.is_dropped(*goal)).collect();
        let shared: Vec<Option<i64>> =
            dropped.iter().map(|goal| proofs.shared_evenly(*goal).filter(|_| evenly)).collect();
        let full = goals.contains(&Goal::DiskCapacity) && proofs.unavoidable(Goal::DiskCapacity) > 0;
        let held = if full { disk_held(cluster) } else { Vec::new() };
        let nearest: Vec<_> = goals.iter().map(|goal| nearest_shares(cluster, policy, *goal)).collect();
        for broker in &alive {
            for (goal, nearest) in goals.iter().zip(&nearest) {
                let Some(figure) = figure(*goal) else { continue };
                if *goal == Goal::LeaderBytesIn {
                    continue;
                }
                let (mut low, mut high, mut share) = limits(cluster, policy, &alive, *broker, *goal);
                if let Some(at) = dropped.iter().position(|other| other == goal) {
                    let Some(parts) = shared[at] else { continue };
                    high = scale(high, parts, MILLION);
                }
                if let Some(parts) = nearest[*broker] {
                    (low, high, share) = nearest_limits((low, high, share), parts, evenly);
                }
                if low == -NONE && high == NONE && share == 1 {
                    continue;
                }
                if figure < RESOURCES || figure == POTENTIAL {
                    high -= scale(high, policy.margin, MILLION);
                    low += scale_up(low.max(0), policy.margin, MILLION);
                }
                if full && *goal == Goal::DiskCapacity {
                    high = high.max(held[*broker]);
                }
                let band = &mut of[*broker][figure];
                let pulls = low >= 0;
                *band = if pulls || band.parts.weight == 0 {
                    Band::new(low.max(band.low), high.min(band.high), share, pulls)
                } else {
                    Band { low: low.max(band.low), high: high.min(band.high), ..*band }
                };
            }
        }
        let topic = if goals.contains(&Goal::TopicDistribution) {
            topic_limits(cluster, policy, alive.len() as i64)
        } else {
            vec![(0, u32::MAX); cluster.topics as usize]
        };
        Bands { of, topic, alive: alive.len() as i64 }
    }

    /// Sets how much the middles pull that pull at all.
    pub(crate) fn set_pull(&mut self, pull: i64) {
        for band in self.of.iter_mut().flatten().filter(|band| band.pull > 0) {
            band.pull = pull;
        }
    }

    /// Follows the mean of the leaders' inbound network, which changes as leaders change.
    pub(crate) fn set_leader_in(&mut self, cluster: &Cluster, policy: &Policy, sum: i64) {
        let mut high = leader_in_limit(policy, sum, self.alive);
        high -= scale(high, policy.margin, MILLION);
        for (broker, bands) in cluster.brokers.iter().zip(&mut self.of) {
            if broker.alive {
                bands[LEADER_IN] = Band::new(-NONE, high, sum / self.alive.max(1), false);
            }
        }
    }
}

/// Limits and share of a broker whose rack carries so many millionths of its share. What the rack is beyond is least where
/// none of its brokers is on the other side of the limit.
fn nearest_limits(of: (i64, i64, i64), parts: i64, evenly: bool) -> (i64, i64, i64) {
    let [low, high, share] = [of.0, of.1, of.2].map(|of| scale(of, parts, MILLION));
    let (low, high) = if evenly { (low, high) } else { (-NONE, NONE) };
    if parts < MILLION { (low, high.min(of.0), share) } else { (low.max(of.1), high, share) }
}

/// Disk that each broker carries as things stand.
fn disk_held(cluster: &Cluster) -> Vec<i64> {
    let mut held = vec![0; cluster.brokers.len()];
    for (replica, broker) in cluster.place.iter().enumerate() {
        held[*broker as usize] += cluster.load_at(replica, *broker)[DISK];
    }
    held
}

/// Fewest and most replicas of each topic on a broker that holds any.
pub(crate) fn topic_limits(cluster: &Cluster, policy: &Policy, alive: i64) -> Vec<(u32, u32)> {
    let mut count = vec![0_i64; cluster.topics as usize];
    for (partition, topic) in cluster.topic.iter().enumerate() {
        count[*topic as usize] += i64::from(cluster.start[partition + 1] - cluster.start[partition]);
    }
    if alive == 0 {
        return vec![(0, u32::MAX); count.len()];
    }
    let m = reach(policy.topic_balance);
    let limit = |count: i64| {
        let (floor, ceil) = (scale(count, 1, alive), scale_up(count, 1, alive));
        let (min_gap, max_gap) = (policy.topic_min_gap, policy.topic_max_gap);
        let up = scale_up(count, MILLION + m, alive * MILLION);
        let down = scale(count, (MILLION - m).max(0), alive * MILLION);
        let upper = (ceil + min_gap).max(up.min(ceil + max_gap));
        let lower = (floor - max_gap).max(0).max(down.min((floor - min_gap).max(0)));
        (u32::try_from(lower).unwrap_or(0), u32::try_from(upper).unwrap_or(u32::MAX))
    };
    count.into_iter().map(limit).collect()
}
