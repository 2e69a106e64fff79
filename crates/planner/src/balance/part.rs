//! What may be done of what a search has found, where not all of it may.

use super::cluster::{Cluster, DISK};
use super::dirs::Seats;
use super::order::order;
use super::policy::{Moves, Policy};
use super::score::{Meter, Score};
use super::solve::{Change, passes_to_behind, passes_unasked};
use super::state::Brokers;
use super::watch::NOBODY;

/// Taking back changes that harm brokers can harm those that they left: so many rounds.
const ROUNDS: usize = 8;
/// So many of what was taken back are tried once more, each by itself: judging takes longer the more brokers there are.
const TRIES: usize = 1_000;

/// As much as may be done on from what was reached before: without what passes leadership on where it stays, or makes hard goals worse
/// somewhere. Where that does not do, the longest part from the first change on.
pub(crate) fn part<'a>(
    cluster: &'a Cluster,
    policy: &'a Policy,
    brokers: &Brokers,
    reached: (&Meter<'a>, &Score),
    found: &Meter<'a>,
) -> Meter<'a> {
    let (start, before) = reached;
    let changes = steps(cluster, policy, brokers, start, found);
    let meter = of_changes(reached, &changes);
    place_the_rest(cluster, start, before, &changes, meter)
}

/// What was taken back because of who would lead comes off the dead all the same, where its leader may stay.
fn place_the_rest<'a>(
    cluster: &Cluster,
    start: &Meter<'_>,
    before: &Score,
    changes: &[Change],
    mut meter: Meter<'a>,
) -> Meter<'a> {
    let offline = |partition: u32, list: &[u32]| cluster.offline_in(partition, list);
    let left = |change: &&Change| {
        let (old, _) = start.list(change.partition);
        offline(change.partition, &change.replicas) < offline(change.partition, old)
    };
    let mut reached = meter.score();
    for change in changes.iter().filter(left).take(TRIES) {
        let (list, led) = meter.list(change.partition);
        let (list, leads) = (list.to_vec(), list[led as usize]);
        if list != start.list(change.partition).0 {
            continue;
        }
        let Some(at) = change.replicas.iter().position(|broker| *broker == leads) else { continue };
        meter.change(change.partition, &change.replicas, at as u32);
        let score = meter.score();
        if score < reached && meter.is_acceptable(before, &score) {
            reached = score;
        } else {
            meter.change(change.partition, &list, led);
        }
    }
    meter
}

/// What no search has brought off the dead comes off by itself, the smallest first, each replica to where that serves best, and nothing
/// else changes. No hard goal is worse for it than `before` all planning: that a search has brought it nearer does not count
/// for more than that a replica is served again. Nothing where nothing comes off that way.
pub(crate) fn place_the_left<'a>(
    cluster: &'a Cluster,
    policy: &'a Policy,
    start: &Meter<'a>,
    before: &Score,
) -> Option<Meter<'a>> {
    let reached = start.score();
    if reached.offline == 0 || policy.moves == Moves::Nothing {
        return None;
    }
    let (place, leader) = start.clone_placement();
    let mut meter = start.again(place, leader);
    let mut left = Vec::new();
    for partition in (0..cluster.partitions()).filter(|partition| cluster.lock(*partition).is_none()) {
        let (row, (list, _)) = (cluster.row(partition), start.list(partition));
        let stays = |replica: &usize| cluster.place[*replica] == list[*replica - row.start];
        let offline = row.clone().filter(|replica| cluster.homeless(*replica as u32) && stays(replica));
        left.extend(offline.map(|replica| (cluster.load[replica][DISK], partition, replica - row.start)));
    }
    left.sort_unstable();
    for (_, partition, position) in left.into_iter().take(TRIES) {
        place_at_best(cluster, before, &mut meter, (partition, position));
    }
    (meter.score() < reached).then_some(meter)
}

/// Puts one replica that is offline on the broker where the score is best, if it may stand on any.
fn place_at_best(cluster: &Cluster, before: &Score, meter: &mut Meter<'_>, at: (u32, usize)) {
    let (partition, position) = at;
    let (list, leader) = meter.list(partition);
    let (old, leads) = (list.to_vec(), leader as usize == position);
    let set = cluster.bound_set(cluster.topic(partition));
    let mut best = (meter.score(), old.clone());
    for (to, broker) in (0..).zip(&cluster.brokers) {
        let fits = broker.alive && broker.takes_replicas && (set.is_none() || broker.set == set);
        let kept = old.contains(&to) || cluster.replicas(partition).contains(&to);
        if !fits || kept || (leads && !broker.takes_leadership) {
            continue;
        }
        let mut list = old.clone();
        list[position] = to;
        meter.change(partition, &list, leader);
        let score = meter.score();
        if score < best.0 && meter.is_acceptable(before, &score) {
            best = (score, list);
        }
    }
    meter.change(partition, &best.1, leader);
}

/// As [`part`], by changes that are whole or not at all.
fn of_changes<'a>(reached: (&Meter<'a>, &Score), changes: &[Change]) -> Meter<'a> {
    let (start, before) = reached;
    let with = |changes: &[Change]| {
        let (place, leader) = start.clone_placement();
        let mut meter = start.again(place, leader);
        for change in changes {
            meter.change(change.partition, &change.replicas, change.leader);
        }
        meter
    };
    let mut meter = with(changes);
    let mut left: Vec<&Change> = changes.iter().collect();
    for _ in 0..ROUNDS {
        if meter.is_acceptable(before, &meter.score()) {
            return meter;
        }
        let kept = left.len();
        take_back(start, &mut meter, &mut left);
        if left.len() == kept {
            break;
        }
    }
    if meter.is_acceptable(before, &meter.score()) {
        return meter;
    }
    let (mut meter, mut kept) = (with(&[]), 0);
    for (change, done) in changes.iter().zip(1..) {
        meter.change(change.partition, &change.replicas, change.leader);
        if meter.is_acceptable(before, &meter.score()) {
            kept = done;
        }
    }
    if kept < changes.len() { with(&changes[..kept]) } else { meter }
}

/// What leads from one placement to the other, in order, but for what passes leadership on where it stays.
fn steps(
    cluster: &Cluster,
    policy: &Policy,
    brokers: &Brokers,
    start: &Meter<'_>,
    found: &Meter<'_>,
) -> Vec<Change> {
    let differs = |partition: &u32| start.list(*partition) != found.list(*partition);
    let change = |partition: u32| {
        let (replicas, leader) = found.list(partition);
        Change { partition, replicas: replicas.to_vec(), leader }
    };
    let stays = |change: &Change| {
        let (partition, new, is) = (change.partition, &change.replicas, change.leader);
        !passes_unasked(cluster, policy, partition, new, is) && !passes_to_behind(cluster, partition, new, is)
    };
    let all = (0..cluster.partitions()).filter(differs).map(change).filter(stays).collect();
    // To which log dirs replicas go is settled at the end.
    order(cluster, policy, brokers, (all, &Seats::new()), NOBODY).0
}

/// Takes back what harms lists, and of what harms brokers the last changes that do.
fn take_back(start: &Meter<'_>, meter: &mut Meter<'_>, left: &mut Vec<&Change>) {
    let undo = |meter: &mut Meter<'_>, partition: u32| {
        let (list, leader) = start.list(partition);
        meter.change(partition, list, leader);
    };
    left.retain(|change| {
        let harmed = meter.is_harmed(change.partition);
        if harmed {
            undo(meter, change.partition);
        }
        !harmed
    });
    for (broker, figure, by) in meter.harmed() {
        let mut beyond = by;
        for at in (0..left.len()).rev() {
            if beyond.signum() != by.signum() {
                break;
            }
            let change = left[at];
            let (old, led) = start.list(change.partition);
            let worth = |list: &[u32], leader: u32| {
                u8::from(list.contains(&broker)) + u8::from(list[leader as usize] == broker)
            };
            let (was, is) = (worth(old, led), worth(&change.replicas, change.leader));
            if (by > 0 && is <= was) || (by < 0 && is >= was) {
                continue;
            }
            let before = meter.figure_of(broker, figure);
            undo(meter, change.partition);
            let less = before - meter.figure_of(broker, figure);
            if less.signum() == by.signum() {
                beyond -= less;
                left.remove(at);
            } else {
                meter.change(change.partition, &change.replicas, change.leader);
            }
        }
    }
}
