//! In which order to do the changes of a plan, and how many of them a budget allows.

use std::cmp::Reverse;

use super::bands::{COUNT, FIGURES, Figures, LEADER_IN, LEADERS, POTENTIAL};
use super::cluster::{CPU, Cluster, DISK, NETWORK_IN, NETWORK_OUT};
use super::dirs::{Held, Seats};
use super::policy::Policy;
use super::reason::{Purposes, Reason};
use super::score::{Distance, Meter, Score};
use super::solve::{Budget, Change};
use super::state::{Brokers, add};
use super::watch::{Stage, Watch, tell};

/// Puts changes in order: what brings replicas off dead brokers, then what mends racks, then by benefit per byte, each
/// judged as if it were done alone.
pub(crate) fn order(
    cluster: &Cluster,
    policy: &Policy,
    brokers: &Brokers,
    (changes, seats): (Vec<Change>, &Seats),
    watch: Watch<'_>,
) -> (Vec<Change>, Vec<Reason>) {
    let all = changes.len();
    let purposes = Purposes::new(cluster, policy, brokers, seats);
    let mut ranked: Vec<_> = changes
        .into_iter()
        .enumerate()
        .map(|(at, change)| {
            tell(watch, Stage::Ordering, at, all);
            let before = cluster.replicas(change.partition);
            let offline = cluster.offline_in(change.partition, before)
                - cluster.offline_in(change.partition, &change.replicas);
            let racks = crowded(cluster, before) - crowded(cluster, &change.replicas);
            let bytes = i128::from(disk(cluster, &change)) + 1;
            let net = net(cluster, (before, cluster.leader(change.partition)), &change);
            let falls = net.iter().map(|(broker, figures)| brokers.gain(*broker, figures));
            let falls = falls.fold(purposes.relief(&change), i64::saturating_add);
            let benefit = (i128::from(falls) << 40) / bytes;
            (Reverse((offline, racks, benefit)), change.partition, purposes.of(&change, &net), change)
        })
        .collect();
    ranked.sort_unstable_by_key(|(rank, partition, ..)| (*rank, *partition));
    ranked.into_iter().map(|(.., reason, change)| (change, reason)).unzip()
}

/// More changes than this are left in the order of their benefit.
const MOST: usize = 1 << 16;
/// So often it is tried whether a change can be done after others that it waits for.
const PASSES: usize = 8;

/// Puts changes that would make a hard goal worse on some broker after those that make room there, so that a budget cuts off few that
/// could be done: whatever it is, what is done before it ends harms nobody.
pub(crate) fn soundly(
    cluster: &Cluster,
    policy: &Policy,
    before: &Score,
    (changes, reasons): (Vec<Change>, Vec<Reason>),
    held: &Held,
) -> (Vec<Change>, Vec<Reason>) {
    let hard = |distance: &Distance| distance.excess > 0 && policy.hard.contains(&distance.goal);
    if changes.len() > MOST || (before.offline == 0 && !before.goals.iter().any(hard)) {
        return (changes, reasons);
    }
    let mut meter = Meter::holding(cluster, policy, (cluster.place.clone(), cluster.leaders()), held.clone());
    let (mut first, mut left): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..changes.len()).collect());
    for _ in 0..PASSES {
        let tried = left.len();
        left.retain(|at| {
            let change = &changes[*at];
            let (list, leader) = meter.list(change.partition);
            let list = list.to_vec();
            meter.change(change.partition, &change.replicas, change.leader);
            let sound = meter.is_acceptable(before, &meter.score());
            if sound {
                first.push(*at);
            } else {
                meter.change(change.partition, &list, leader);
            }
            !sound
        });
        if left.is_empty() || left.len() == tried {
            break;
        }
    }
    first.append(&mut left);
    let mut changes: Vec<Option<(Change, Reason)>> = changes.into_iter().zip(reasons).map(Some).collect();
    first.into_iter().filter_map(|at| changes[at].take()).unzip()
}

/// Keeps the longest prefix within the budget that leaves no worse score than there was, and says what it leads to.
pub(crate) fn within<'a>(
    cluster: &'a Cluster,
    policy: &'a Policy,
    budget: &Budget,
    before: &Score,
    (mut changes, held): (Vec<Change>, &Held),
) -> (Vec<Change>, Meter<'a>) {
    let start = || Meter::holding(cluster, policy, (cluster.place.clone(), cluster.leaders()), held.clone());
    let mut meter = start();
    let (mut kept, mut done) = (0, 0);
    let (mut moves, mut bytes) = (0, 0_i64);
    for change in &changes {
        moves += moved(cluster, change).count() as u64;
        bytes = bytes.saturating_add(disk(cluster, change));
        if budget.moves.is_some_and(|most| moves > most) || budget.disk.is_some_and(|most| bytes > most) {
            break;
        }
        meter.change(change.partition, &change.replicas, change.leader);
        done += 1;
        if meter.is_acceptable(before, &meter.score()) {
            kept = done;
        }
    }
    changes.truncate(kept);
    if kept < done {
        meter = start();
        for change in &changes {
            meter.change(change.partition, &change.replicas, change.leader);
        }
    }
    (changes, meter)
}

/// Positions whose broker changes.
pub(super) fn moved<'a>(cluster: &'a Cluster, change: &'a Change) -> impl Iterator<Item = usize> + 'a {
    let before = cluster.replicas(change.partition).iter().zip(&change.replicas);
    before.enumerate().filter(|(_, (from, to))| from != to).map(|(position, _)| position)
}

/// What a change copies, in the unit of disk.
fn disk(cluster: &Cluster, change: &Change) -> i64 {
    let loads = cluster.loads(change.partition);
    moved(cluster, change).map(|position| loads[position][DISK]).sum()
}

fn crowded(cluster: &Cluster, brokers: &[u32]) -> i64 {
    let rack = |broker: &u32| cluster.brokers[*broker as usize].rack;
    let twice = |(at, broker): &(usize, &u32)| brokers[..*at].iter().any(|other| rack(other) == rack(broker));
    brokers.iter().enumerate().filter(twice).count() as i64
}

/// How the figures of brokers change if one change alone is done, from where a partition stands and who leads it there.
pub(super) fn net(
    cluster: &Cluster,
    (before, leader): (&[u32], u32),
    change: &Change,
) -> Vec<(u32, Figures)> {
    let mut net: Vec<(u32, Figures)> = Vec::new();
    let mut put = |broker: u32, figures: &Figures, sign: i64| {
        let at = net.iter().position(|(other, _)| *other == broker).unwrap_or_else(|| {
            net.push((broker, [0; FIGURES]));
            net.len() - 1
        });
        add(&mut net[at].1, figures, sign);
    };
    let p = change.partition as usize;
    let row = cluster.row(change.partition);
    for (position, (replica, (from, to))) in row.zip(before.iter().zip(&change.replicas)).enumerate() {
        for (broker, sign) in [(*from, -1), (*to, 1)] {
            let mut figures = [0; FIGURES];
            figures[..4].copy_from_slice(&cluster.load_at(replica, broker));
            figures[COUNT] = 1;
            figures[POTENTIAL] = cluster.potential[p];
            put(broker, &figures, sign);
        }
        let mut leads = [0; FIGURES];
        leads[CPU] = cluster.leader_cpu[p];
        leads[NETWORK_OUT] = cluster.leader_network_out[p];
        leads[LEADERS] = 1;
        leads[LEADER_IN] = cluster.load[replica][NETWORK_IN];
        if position as u32 == leader {
            put(*from, &leads, -1);
        }
        if position as u32 == change.leader {
            put(*to, &leads, 1);
        }
    }
    net
}
