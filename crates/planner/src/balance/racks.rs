//! What racks carry whatever moves, where no two replicas of a partition may share one: no more than one of each partition, and one
//! of each that has as many replicas as there are racks, so that capacities which differ from rack to rack cannot be used alike.

use std::cmp::Reverse;

use super::bands::{COUNT, limits, stays};
use super::cluster::Cluster;
use super::policy::{Goal, MILLION, Policy};
use super::score::{living_racks, open_racks, widest};

/// What a replica adds at least and at most to what a goal shares out: as a follower and, where leading adds something, as the
/// leader. Nothing of goals that share out nothing that stays with replicas.
fn share(cluster: &Cluster, partition: u32, position: usize, goal: Goal) -> Option<(i128, i128)> {
    if goal == Goal::ReplicaDistribution {
        return Some((1, 1));
    }
    if goal == Goal::PotentialNetworkOut {
        let potential = i128::from(cluster.potential_network_out(partition));
        return Some((potential, potential));
    }
    let resource = goal.resource().filter(|_| shares_out(goal))?;
    let follows = i128::from(cluster.loads(partition)[position][resource]);
    Some((follows, follows + i128::from(cluster.leader_share(partition)[resource])))
}

/// Whether what racks have to hold can keep a goal from being met: of what is shared out, and of potential outbound network,
/// which each replica brings along whoever leads.
fn binds_racks(goal: Goal) -> bool {
    shares_out(goal) || goal == Goal::PotentialNetworkOut
}

/// Whether a goal shares out among brokers what racks carry by their replicas.
pub(crate) fn shares_out(goal: Goal) -> bool {
    matches!(
        goal,
        Goal::ReplicaDistribution
            | Goal::DiskDistribution
            | Goal::NetworkInDistribution
            | Goal::NetworkOutDistribution
            | Goal::CpuDistribution
    )
}

/// The living brokers of each rack, the least and the most that they can carry together, and the limits of them all.
struct Rack {
    brokers: Vec<usize>,
    least: i128,
    most: i128,
    low: i128,
    high: i128,
    fair: i128,
}

impl Rack {
    /// By how much it is above its limits at least, or below them: less than nothing.
    fn beyond(&self) -> i128 {
        (self.least - self.high).max(0) + (self.most - self.low).min(0)
    }

    /// What it carries at least, and at most, where it comes as near to its limits as it can.
    fn nearest(&self) -> (i128, i128) {
        (self.low.clamp(self.least, self.most), self.high.clamp(self.least, self.most))
    }
}

/// Nothing where replicas may share racks, or have to, as some racks take none.
fn racks(cluster: &Cluster, policy: &Policy, goal: Goal) -> Option<Vec<Rack>> {
    let living = living_racks(cluster);
    if !binds_racks(goal)
        || !policy.hard.contains(&Goal::RackAware)
        || !policy.goals.contains(&Goal::RackAware)
        || widest(cluster) > living
        || open_racks(cluster) != living
    {
        return None;
    }
    let (mut least, mut most) = (0_i128, 0_i128);
    for partition in 0..cluster.partitions() {
        let count = cluster.row(partition).len();
        let shares = || (0..count).filter_map(|at| share(cluster, partition, at, goal));
        if cluster.frozen(partition) {
            // It may stand as it likes.
            most += shares().map(|(_, most)| most).sum::<i128>();
        } else {
            most += shares().map(|(_, most)| most).max().unwrap_or(0);
            let everywhere = count as u32 == living;
            least += if everywhere { shares().map(|(least, _)| least).min().unwrap_or(0) } else { 0 };
        }
    }
    let mut racks: Vec<Rack> = Vec::new();
    for (ordinal, broker) in cluster.brokers.iter().enumerate().filter(|(_, broker)| broker.alive) {
        let at = broker.rack as usize;
        while racks.len() <= at {
            racks.push(Rack { brokers: Vec::new(), least, most, low: 0, high: 0, fair: 0 });
        }
        racks[at].brokers.push(ordinal);
    }
    racks.retain(|rack| !rack.brokers.is_empty());
    let alive = living_brokers(cluster);
    for rack in &mut racks {
        for broker in &rack.brokers {
            let (low, high, fair) = limits(cluster, policy, &alive, *broker, goal);
            rack.low += i128::from(low);
            rack.high += i128::from(high);
            rack.fair += i128::from(fair);
        }
    }
    Some(racks)
}

/// What all racks carry together of what they share out: all but what stays on brokers that do not live.
fn all(cluster: &Cluster, goal: Goal) -> Option<i128> {
    let (sum, figure) = match goal {
        Goal::ReplicaDistribution => (cluster.place.len() as i64, COUNT),
        _ => {
            let resource = goal.resource().filter(|_| shares_out(goal))?;
            (cluster.total[resource], resource)
        }
    };
    Some(i128::from(sum - stays(cluster)[figure]))
}

/// By how much all racks together have to go beyond what each comes nearest with: above, or below if negative.
fn in_all(cluster: &Cluster, goal: Goal, racks: &[Rack]) -> i128 {
    if racks.is_empty() {
        return 0;
    }
    let sum = |of: fn((i128, i128)) -> i128| racks.iter().map(|rack| of(rack.nearest())).sum::<i128>();
    let (least, most) = (sum(|(low, _)| low), sum(|(_, high)| high));
    all(cluster, goal).map_or(0, |all| (all - most).max(0) + (all - least).min(0))
}

/// How far every placement is from a goal at least, as racks carry what they must.
pub(crate) fn uneven_at_least(cluster: &Cluster, policy: &Policy, goal: Goal) -> u128 {
    let racks = racks(cluster, policy, goal).unwrap_or_default();
    let each: u128 = racks.iter().map(|rack| rack.beyond().unsigned_abs()).sum();
    each + in_all(cluster, goal, &racks).unsigned_abs()
}

/// The rack for which that is most, and how much it carries at least above its brokers' limits, or at most below them: less than
/// nothing. Nothing where nothing is proven.
pub(crate) fn uneven_most(cluster: &Cluster, policy: &Policy, goal: Goal) -> Option<(i64, u32)> {
    let racks = racks(cluster, policy, goal)?;
    let of = |rack: &Rack| (rack.beyond(), cluster.brokers[rack.brokers[0]].rack);
    let uneven = racks.iter().map(of).filter(|(by, _)| *by != 0);
    let (by, rack) = uneven.max_by_key(|(by, rack)| (by.unsigned_abs(), Reverse(*rack)))?;
    Some((i64::try_from(by).ok()?, rack))
}

/// By broker, for those of racks that cannot carry their share, or have to carry what others cannot: how many millionths of its
/// share each gets where racks come as near as they can. Even shares within a rack are worth having all the same.
pub(crate) fn nearest_shares(cluster: &Cluster, policy: &Policy, goal: Goal) -> Vec<Option<i64>> {
    let mut shares = vec![None; cluster.brokers.len()];
    let Some(all) = all(cluster, goal) else { return shares };
    let racks = racks(cluster, policy, goal).unwrap_or_default();
    let beyond = in_all(cluster, goal, &racks);
    let level = level(&racks, all);
    for rack in &racks {
        let bound = rack.beyond() != 0;
        // What others cannot carry stands beyond the limits wherever it stands.
        let takes = (beyond > 0 && rack.most > rack.high) || (beyond < 0 && rack.least < rack.low);
        if bound || takes {
            let carries = (rack.fair * level / LEVELS).clamp(rack.least, rack.most);
            let parts = i64::try_from(carries * i128::from(MILLION) / rack.fair.max(1)).unwrap_or(i64::MAX);
            let parts = match beyond > 0 {
                _ if bound => parts,
                true => parts.max(MILLION + 1),
                false => parts.min(MILLION - 1),
            };
            rack.brokers.iter().for_each(|broker| shares[*broker] = Some(parts));
        }
    }
    shares
}

/// Levels are in parts of 2^32 of fair shares.
const LEVELS: i128 = 1 << 32;

/// The level to which racks are filled with all that there is, each within what it can carry.
fn level(racks: &[Rack], all: i128) -> i128 {
    let carried = |level: i128| {
        let of = |rack: &Rack| (rack.fair * level / LEVELS).clamp(rack.least, rack.most);
        racks.iter().map(of).sum::<i128>()
    };
    let (mut low, mut high) = (0, LEVELS << 20);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if carried(middle) < all { low = middle } else { high = middle }
    }
    high
}

fn living_brokers(cluster: &Cluster) -> Vec<usize> {
    (0..cluster.brokers.len()).filter(|broker| cluster.brokers[*broker].alive).collect()
}
