//! What racks carry whatever moves, where no two replicas of a partition may share one: a partition of as many replicas as there
//! are racks has one in each, so that capacities which differ from rack to rack cannot be used alike.

use super::bands::limits;
use super::cluster::{Cluster, DISK, NETWORK_IN};
use super::policy::{Goal, Policy};
use super::score::{living_racks, widest};

/// The resources that no leadership takes along.
fn resource(goal: Goal) -> Option<usize> {
    match goal {
        Goal::DiskDistribution => Some(DISK),
        Goal::NetworkInDistribution => Some(NETWORK_IN),
        _ => None,
    }
}

/// The living brokers of each rack, and the least and the most that they can carry together.
struct Rack {
    brokers: Vec<usize>,
    least: i64,
    most: i64,
}

/// Nothing where replicas may share racks, or no rack has to hold anything.
fn racks(cluster: &Cluster, policy: &Policy, resource: usize) -> Option<Vec<Rack>> {
    let living = living_racks(cluster);
    if !policy.hard.contains(&Goal::RackAware)
        || !policy.goals.contains(&Goal::RackAware)
        || widest(cluster) != living
    {
        return None;
    }
    let (mut least, mut most) = (0, 0);
    for partition in 0..cluster.partitions() {
        let loads = || cluster.loads(partition).iter().map(|load| load[resource]);
        if cluster.frozen(partition) {
            // It may stand as it likes.
            most += loads().sum::<i64>();
        } else {
            most += loads().max().unwrap_or(0);
            let everywhere = loads().len() as u32 == living;
            least += if everywhere { loads().min().unwrap_or(0) } else { 0 };
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

/// How far every placement is from an even share of a resource at least, as racks carry what they must.
pub(crate) fn uneven_at_least(cluster: &Cluster, policy: &Policy, goal: Goal) -> u128 {
    let found = resource(goal).and_then(|resource| racks(cluster, policy, resource));
    let alive = living(cluster);
    let beyond = |rack: &Rack| {
        let limits = rack.brokers.iter().map(|broker| limits(cluster, policy, &alive, *broker, goal));
        let (low, high) = limits.fold((0_i128, 0_i128), |(low, high), limits| {
            (low + i128::from(limits.0), high + i128::from(limits.1))
        });
        (i128::from(rack.least) - high).max(low - i128::from(rack.most)).max(0).unsigned_abs()
    };
    found.iter().flatten().map(beyond).sum()
}

/// By broker, for those of racks that cannot carry their share: how many millionths of its share each gets where the rack comes
/// as near as it can. Even shares within a rack are worth having all the same.
pub(crate) fn nearest_shares(cluster: &Cluster, policy: &Policy, goal: Goal) -> Vec<Option<i64>> {
    let mut shares = vec![None; cluster.brokers.len()];
    let alive = living(cluster);
    let found = resource(goal).and_then(|resource| racks(cluster, policy, resource));
    for rack in found.iter().flatten() {
        let limits = |broker: &usize| limits(cluster, policy, &alive, *broker, goal);
        let sum =
            |of: fn((i64, i64, i64)) -> i64| -> i64 { rack.brokers.iter().map(|b| of(limits(b))).sum() };
        let (low, high, fair) = (sum(|of| of.0), sum(|of| of.1), sum(|of| of.2));
        if rack.least > high || rack.most < low {
            let nearest = super::bands::scale(fair.clamp(rack.least, rack.most), 1_000_000, fair);
            rack.brokers.iter().for_each(|broker| shares[*broker] = Some(nearest));
        }
    }
    shares
}

fn living(cluster: &Cluster) -> Vec<usize> {
    (0..cluster.brokers.len()).filter(|broker| cluster.brokers[*broker].alive).collect()
}
