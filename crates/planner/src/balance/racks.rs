//! What racks carry whatever moves, where no two replicas of a partition may share one: a partition of as many replicas as there
//! are racks has one in each, so that capacities which differ from rack to rack cannot be used alike.

use std::cmp::Reverse;

use super::bands::limits;
use super::cluster::Cluster;
use super::policy::{Goal, MILLION, Policy};
use super::score::{living_racks, widest};

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

/// The living brokers of each rack, and the least and the most that they can carry together.
struct Rack {
    brokers: Vec<usize>,
    least: i128,
    most: i128,
}

/// Nothing where replicas may share racks, or no rack has to hold anything.
fn racks(cluster: &Cluster, policy: &Policy, goal: Goal) -> Option<Vec<Rack>> {
    let living = living_racks(cluster);
    if !binds_racks(goal)
        || !policy.hard.contains(&Goal::RackAware)
        || !policy.goals.contains(&Goal::RackAware)
        || widest(cluster) != living
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
            racks.push(Rack { brokers: Vec::new(), least, most });
        }
        racks[at].brokers.push(ordinal);
    }
    racks.retain(|rack| !rack.brokers.is_empty());
    Some(racks)
}

/// How far every placement is from a goal at least, as racks carry what they must.
pub(crate) fn uneven_at_least(cluster: &Cluster, policy: &Policy, goal: Goal) -> u128 {
    uneven(cluster, policy, goal).into_iter().map(|(by, _)| by.unsigned_abs()).sum()
}

/// The rack for which that is most, and how much it carries at least above its brokers' limits, or at most below them: less than
/// nothing. Nothing where nothing is proven.
pub(crate) fn uneven_most(cluster: &Cluster, policy: &Policy, goal: Goal) -> Option<(i64, u32)> {
    let racks = uneven(cluster, policy, goal).into_iter().filter(|(by, _)| *by != 0);
    let (by, rack) = racks.max_by_key(|(by, rack)| (by.unsigned_abs(), Reverse(*rack)))?;
    Some((i64::try_from(by).ok()?, rack))
}

/// By rack.
fn uneven(cluster: &Cluster, policy: &Policy, goal: Goal) -> Vec<(i128, u32)> {
    let found = racks(cluster, policy, goal);
    let alive = living(cluster);
    let beyond = |rack: &Rack| {
        let (low, high, _) = limits_of(cluster, policy, &alive, rack, goal);
        let by = (rack.least - high).max(0) + (rack.most - low).min(0);
        (by, cluster.brokers[rack.brokers[0]].rack)
    };
    found.iter().flatten().map(beyond).collect()
}

/// The limits of a rack's brokers together, and their fair shares.
fn limits_of(
    cluster: &Cluster,
    policy: &Policy,
    alive: &[usize],
    rack: &Rack,
    goal: Goal,
) -> (i128, i128, i128) {
    let limits = rack.brokers.iter().map(|broker| limits(cluster, policy, alive, *broker, goal));
    limits.fold((0, 0, 0), |(low, high, fair), limits| {
        (low + i128::from(limits.0), high + i128::from(limits.1), fair + i128::from(limits.2))
    })
}

/// By broker, for those of racks that cannot carry their share: how many millionths of its share each gets where the rack comes
/// as near as it can. Even shares within a rack are worth having all the same.
pub(crate) fn nearest_shares(cluster: &Cluster, policy: &Policy, goal: Goal) -> Vec<Option<i64>> {
    let mut shares = vec![None; cluster.brokers.len()];
    if !shares_out(goal) {
        return shares;
    }
    let alive = living(cluster);
    let found = racks(cluster, policy, goal);
    for rack in found.iter().flatten() {
        let (low, high, fair) = limits_of(cluster, policy, &alive, rack, goal);
        if rack.least > high || rack.most < low {
            let nearest = fair.clamp(rack.least, rack.most) * i128::from(MILLION) / fair.max(1);
            let nearest = i64::try_from(nearest).unwrap_or(i64::MAX);
            rack.brokers.iter().for_each(|broker| shares[*broker] = Some(nearest));
        }
    }
    shares
}

fn living(cluster: &Cluster) -> Vec<usize> {
    (0..cluster.brokers.len()).filter(|broker| cluster.brokers[*broker].alive).collect()
}
