//! Who takes over what had to pass on: a broker that has room for it, where another of the partition has none.
//!
//! A search weighs all figures at once, so that it may give what dead or demoted brokers led to one that is beyond a hard limit
//! already. That is no harm where nobody else could take it, and only there.

use super::cluster::Cluster;
use super::last::take_last_steps;
use super::policy::{Leaders, Policy};
use super::score::{Meter, Score};

/// Last steps can burden a broker again that was eased.
const ROUNDS: usize = 4;

/// Eases brokers of leadership that they took over and have no room for, as long as others of the partition have.
pub(crate) fn ease<'a>(
    cluster: &'a Cluster,
    policy: &'a Policy,
    before: &Score,
    best: Meter<'a>,
) -> Meter<'a> {
    let mut meter = best;
    for _ in 0..ROUNDS {
        if !ease_all(cluster, policy, before, &mut meter) {
            return meter;
        }
        match take_last_steps(cluster, policy, &meter) {
            Some(better) => meter = better,
            None => return meter,
        }
    }
    ease_all(cluster, policy, before, &mut meter);
    meter
}

/// Says whether any leadership passed to another heir. Whoever gets it has room, so that what brokers are beyond their limits
/// becomes less each time.
fn ease_all(cluster: &Cluster, policy: &Policy, before: &Score, meter: &mut Meter<'_>) -> bool {
    let mut eased = false;
    loop {
        let brokers = 0..cluster.brokers.len() as u32;
        if !brokers.into_iter().any(|broker| meter.is_burdened(broker)) {
            return eased;
        }
        let mut passed = false;
        for partition in 0..cluster.partitions() {
            let (list, leader) = meter.list(partition);
            // Who has been eased meanwhile may no longer be beyond anything.
            let is_eased = meter.is_burdened(list[leader as usize])
                && has_passed(cluster, policy, partition, (list, leader))
                && pass_on(cluster, before, meter, partition);
            passed |= is_eased;
        }
        if !passed {
            return eased;
        }
        eased = true;
    }
}

/// Whether leadership is not where it was as it had to leave.
fn has_passed(cluster: &Cluster, policy: &Policy, partition: u32, (list, leader): (&[u32], u32)) -> bool {
    let first = cluster.leader(partition);
    let was = cluster.replicas(partition)[first as usize];
    let demotes = policy.leaders == Leaders::Demoted && !cluster.brokers[was as usize].takes_leadership;
    list[leader as usize] != was && (demotes || cluster.homeless(cluster.row(partition).start as u32 + first))
}

/// Gives the leadership of a partition to a replica that is in sync where it stands, and whose broker has room for it.
fn pass_on(cluster: &Cluster, before: &Score, meter: &mut Meter<'_>, partition: u32) -> bool {
    let (list, leader) = meter.list(partition);
    let start = cluster.row(partition).start as u32;
    let list = list.to_vec();
    for (position, broker) in (0..).zip(&list).filter(|(position, _)| *position != leader) {
        let replica = start + position;
        let known = &cluster.brokers[*broker as usize];
        let able = cluster.place[replica as usize] == *broker
            && !cluster.homeless(replica)
            && known.takes_leadership
            && cluster.keeps_up(replica);
        if !able || !meter.has_room_to_lead(partition, replica) {
            continue;
        }
        meter.change(partition, &list, position);
        if meter.is_acceptable(before, &meter.score()) {
            return true;
        }
        meter.change(partition, &list, leader);
    }
    false
}
