//! For small clusters: all placements where they are few; else single steps and pairs of steps, judged by the score itself,
//! until none makes it better.
//!
//! The search follows distances to bands, which is right where there are many replicas. Where there are few, most goals
//! cannot be met at once, and what counts is which of them are.

use super::cluster::Cluster;
use super::policy::Policy;
use super::score::{Meter, Score, acceptable};
use super::search::Dice;

/// The largest cluster that is refined, in replicas.
const SMALL: usize = 40;
/// Looks at so many placements.
const LOOKS: usize = 10_000;

/// So many placements are looked at one by one if there are no more.
const ALL: usize = 1 << 16;
/// So many random steps lead out of a dead end.
const KICKS: usize = 4;

/// One partition's list and the position of its leader.
type List = (u32, Vec<u32>, u32);

/// Starts from what was found, or from what is there if that is better.
pub(crate) fn refine(
    cluster: &Cluster,
    policy: &Policy,
    found: (Vec<u32>, Vec<u32>),
) -> (Vec<u32>, Vec<u32>) {
    if cluster.replica_count() > SMALL {
        return found;
    }
    let there = Meter::new(cluster, policy, cluster.place.clone(), cluster.leaders());
    let before = there.score();
    let mut meter = Meter::new(cluster, policy, found.0, found.1);
    let mut best = meter.score();
    if best >= before || !acceptable(policy, &before, &best) {
        (meter, best) = (there, before.clone());
    }
    if let Some(options) = options(cluster, &meter) {
        return exhaust(cluster, policy, &before, meter, &options);
    }
    let mut looks = 0;
    let mut dice = Dice::new(0x2545_f491_4f6c_dd1d);
    best = descend(cluster, &mut meter, best, &mut looks);
    while looks < LOOKS && !best.is_clean() {
        let saved: Vec<List> = (0..cluster.partitions()).map(|partition| own(&meter, partition)).collect();
        for _ in 0..KICKS {
            let steps = steps(cluster, &meter);
            if steps.is_empty() {
                return meter.placement();
            }
            take(&mut meter, &steps[dice.below(steps.len())]);
        }
        let kicked = meter.score();
        let score = descend(cluster, &mut meter, kicked, &mut looks);
        looks += 1;
        if score < best && acceptable(policy, &before, &score) {
            best = score;
        } else {
            for list in &saved {
                take(&mut meter, list);
            }
        }
    }
    meter.placement()
}

/// All lists of every partition, its present one first, if all placements can be looked at.
fn options(cluster: &Cluster, meter: &Meter<'_>) -> Option<Vec<Vec<List>>> {
    let mut all = Vec::new();
    let mut placements = 1_usize;
    for partition in 0..cluster.partitions() {
        let mut lists = vec![own(meter, partition)];
        let mut at = 0;
        while at < lists.len() && placements * lists.len() <= ALL {
            let (_, replicas, leader) = &lists[at];
            for step in steps_from(cluster, partition, replicas, *leader) {
                if !lists.contains(&step) {
                    lists.push(step);
                }
            }
            at += 1;
        }
        placements *= lists.len();
        if placements > ALL {
            return None;
        }
        all.push(lists);
    }
    Some(all)
}

/// Looks at every placement: the best, and of those the one with the fewest moves.
fn exhaust(
    cluster: &Cluster,
    policy: &Policy,
    before: &Score,
    mut meter: Meter<'_>,
    options: &[Vec<List>],
) -> (Vec<u32>, Vec<u32>) {
    let moves = |list: &List| {
        let home = cluster.replicas(list.0).iter().zip(&list.1);
        home.filter(|(from, to)| from != to).count()
    };
    let cost = |at: &[usize]| options.iter().zip(at).map(|(lists, at)| moves(&lists[*at])).sum::<usize>();
    let mut at = vec![0; options.len()];
    let mut best = (meter.score(), cost(&at), at.clone());
    let next = |at: &[usize]| (0..at.len()).find(|wheel| at[*wheel] + 1 < options[*wheel].len());
    // The placements follow each other as an odometer counts.
    while let Some(wheel) = next(&at) {
        for turned in 0..=wheel {
            at[turned] = if turned == wheel { at[turned] + 1 } else { 0 };
            take(&mut meter, &options[turned][at[turned]]);
        }
        let score = meter.score();
        if score <= best.0 && acceptable(policy, before, &score) {
            let cost = cost(&at);
            if (&score, cost) < (&best.0, best.1) {
                best = (score, cost, at.clone());
            }
        }
    }
    for (lists, at) in options.iter().zip(&best.2) {
        take(&mut meter, &lists[*at]);
    }
    meter.placement()
}

/// Goes on while a step, or a pair of steps, makes the score better.
fn descend(cluster: &Cluster, meter: &mut Meter<'_>, mut score: Score, looks: &mut usize) -> Score {
    while *looks < LOOKS && !score.is_clean() {
        let Some(better) = improve(cluster, &score, meter, looks) else { break };
        score = better;
    }
    score
}

fn own(meter: &Meter<'_>, partition: u32) -> List {
    let (replicas, leader) = meter.list(partition);
    (partition, replicas.to_vec(), leader)
}

/// Takes the first step, or else the first pair of steps, that makes the score better.
fn improve(cluster: &Cluster, best: &Score, meter: &mut Meter<'_>, looks: &mut usize) -> Option<Score> {
    let better = |meter: &Meter<'_>, looks: &mut usize| {
        *looks += 1;
        Some(meter.score()).filter(|score| score < best)
    };
    let steps = steps(cluster, meter);
    for step in &steps {
        let undo = take(meter, step);
        if let Some(score) = better(meter, looks) {
            return Some(score);
        }
        take(meter, &undo);
    }
    for first in &steps {
        if *looks >= LOOKS {
            break;
        }
        let undo_first = take(meter, first);
        // The second step of the same partition starts from the first.
        let own = steps_of(cluster, meter, first.0);
        for second in own.iter().chain(steps.iter().filter(|step| step.0 > first.0)) {
            let undo = take(meter, second);
            if let Some(score) = better(meter, looks) {
                return Some(score);
            }
            take(meter, &undo);
        }
        take(meter, &undo_first);
    }
    None
}

/// Does a step and returns the step back.
fn take(meter: &mut Meter<'_>, step: &List) -> List {
    let (partition, replicas, leader) = step;
    let back = own(meter, *partition);
    meter.change(*partition, replicas, *leader);
    back
}

fn steps(cluster: &Cluster, meter: &Meter<'_>) -> Vec<List> {
    (0..cluster.partitions()).flat_map(|partition| steps_of(cluster, meter, partition)).collect()
}

/// Every list of a partition that differs in one broker or in its leader.
fn steps_of(cluster: &Cluster, meter: &Meter<'_>, partition: u32) -> Vec<List> {
    let (now, leader) = meter.list(partition);
    steps_from(cluster, partition, now, leader)
}

fn steps_from(cluster: &Cluster, partition: u32, now: &[u32], leader: u32) -> Vec<List> {
    let mut steps = Vec::new();
    if cluster.frozen(partition) {
        return steps;
    }
    let home = cluster.replicas(partition);
    let led_by = home[cluster.leader(partition) as usize];
    let may_lead = |broker: u32| {
        let known = &cluster.brokers[broker as usize];
        known.alive && (known.takes_leadership || broker == led_by)
    };
    for position in (0..now.len() as u32).filter(|position| *position != leader) {
        if may_lead(now[position as usize]) {
            steps.push((partition, now.to_vec(), position));
        }
    }
    let set = cluster.bound_set(cluster.topic(partition));
    for (position, from) in now.iter().enumerate() {
        for (to, known) in (0..).zip(&cluster.brokers) {
            // A broker that a partition keeps stays at its position.
            let fits = known.takes_replicas && (set.is_none() || known.set == set) && !home.contains(&to);
            let may = known.alive && (to == home[position] || fits) && !now.contains(&to);
            if may && to != *from && (position as u32 != leader || may_lead(to)) {
                let mut list = now.to_vec();
                list[position] = to;
                steps.push((partition, list, leader));
            }
        }
    }
    steps
}
