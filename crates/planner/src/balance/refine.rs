//! For small clusters: all placements where they are few; else single steps and pairs of steps, judged by the score itself,
//! until none makes it better. For larger ones single steps that are worth it.
//!
//! The search follows distances to bands, which is right where there are many replicas. Where there are few, most goals
//! cannot be met at once, and what counts is which of them are.

use super::cluster::{Cluster, Mark};
use super::part::part;
use super::policy::{Goal, Leaders, Moves, Policy};
use super::score::{Meter, Score};
use super::search::Dice;
use super::state::State;
use super::watch::NOBODY;

/// The largest cluster that is refined, in replicas.
const SMALL: usize = 40;
/// The largest that is touched up: single steps alone.
pub(super) const MEDIUM: usize = 4_000;
/// Touching up looks at so many placements.
const TOUCHES: usize = 1 << 16;
/// A goal that stays unmet is worth a step if that brings it nearer by this part of what is left.
const WORTH: u128 = 16;
/// Looks at so many placements.
const LOOKS: usize = 10_000;

/// So many placements are looked at one by one if there are no more.
const ALL: usize = 1 << 18;
/// A partition with more lists than this has too many.
const LISTS: usize = 1 << 8;
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
    if cluster.replica_count() > MEDIUM {
        return found;
    }
    let there = Meter::new(cluster, policy, cluster.place.clone(), cluster.leaders());
    let before = there.score();
    let mut meter = Meter::new(cluster, policy, found.0, found.1);
    let mut best = meter.score();
    if best < before && !meter.is_acceptable(&before, &best) {
        let brokers = State::watched(cluster, policy, NOBODY).brokers();
        meter = part(cluster, policy, &brokers, (&there, &before), &meter);
        best = meter.score();
    }
    if best >= before || !meter.is_acceptable(&before, &best) {
        (meter, best) = (there, before.clone());
    }
    if cluster.replica_count() > SMALL {
        return touch_up(cluster, policy, &before, best, meter);
    }
    if let Some(options) = options(cluster, policy, &meter) {
        return exhaust(cluster, &before, meter, &options);
    }
    let mut looks = 0;
    let mut dice = Dice::new(0x2545_f491_4f6c_dd1d);
    best = descend(cluster, policy, &mut meter, best, &mut looks);
    while looks < LOOKS && !best.is_clean() {
        let saved: Vec<List> = (0..cluster.partitions()).map(|partition| own(&meter, partition)).collect();
        for _ in 0..KICKS {
            let steps = steps(cluster, policy, &meter);
            if steps.is_empty() {
                return meter.placement();
            }
            take(&mut meter, &steps[dice.below(steps.len())]);
        }
        let kicked = meter.score();
        let score = descend(cluster, policy, &mut meter, kicked, &mut looks);
        looks += 1;
        if score < best && meter.is_acceptable(&before, &score) {
            best = score;
        } else {
            for list in &saved {
                take(&mut meter, list);
            }
        }
    }
    meter.placement()
}

/// Goes round the partitions and takes each step that is worth it, until none is.
fn touch_up(
    cluster: &Cluster,
    policy: &Policy,
    before: &Score,
    mut score: Score,
    mut meter: Meter<'_>,
) -> (Vec<u32>, Vec<u32>) {
    let (mut looks, mut idle) = (0, 0);
    for partition in (0..cluster.partitions()).cycle() {
        if score.is_clean() || looks >= TOUCHES || idle == cluster.partitions() {
            break;
        }
        idle += 1;
        for step in steps_of(cluster, policy, &meter, partition) {
            looks += 1;
            let undo = take(&mut meter, &step);
            let after = meter.score();
            if is_worth(&score, &after) && meter.is_acceptable(before, &after) {
                (score, idle) = (after, 0);
                break;
            }
            take(&mut meter, &undo);
        }
    }
    meter.placement()
}

/// Whether more is met, or what is foremost of the rest comes much nearer.
fn is_worth(before: &Score, after: &Score) -> bool {
    let met = |score: &Score| score.goals.iter().map(|goal| goal.excess == 0).collect::<Vec<_>>();
    if after >= before {
        return false;
    }
    if (before.leaderless, before.offline, before.demoted) != (after.leaderless, after.offline, after.demoted)
        || met(before) != met(after)
    {
        return true;
    }
    let pairs = before.goals.iter().zip(&after.goals);
    let first = pairs.map(|(old, new)| (old.excess, new.excess)).find(|(old, new)| old != new);
    first.is_some_and(|(old, new)| old.saturating_sub(new) > old / WORTH)
}

/// All lists of every partition, its present one first, if all placements can be looked at.
fn options(cluster: &Cluster, policy: &Policy, meter: &Meter<'_>) -> Option<Vec<Vec<List>>> {
    let mut all = Vec::new();
    for partition in 0..cluster.partitions() {
        // From where it started a list may go where no step leads from what was found.
        let start = (partition, cluster.replicas(partition).to_vec(), cluster.leader(partition));
        let mut lists = vec![own(meter, partition)];
        if lists[0] != start {
            lists.push(start);
        }
        let mut at = 0;
        while at < lists.len() && lists.len() <= LISTS {
            let (_, replicas, leader) = &lists[at];
            for step in steps_from(cluster, policy, partition, replicas, *leader) {
                if !lists.contains(&step) {
                    lists.push(step);
                }
            }
            at += 1;
        }
        if at < lists.len() {
            return None;
        }
        all.push(lists);
    }
    let few = |all: &[Vec<List>]| {
        let placements = all.iter().try_fold(1_usize, |all, lists| all.checked_mul(lists.len()));
        placements.is_some_and(|placements| placements <= ALL)
    };
    if !few(&all) {
        keep_apart(cluster, policy, &mut all);
    }
    few(&all).then_some(all)
}

/// Where the first goal is that racks are not shared, and every partition can meet it: leaves out what does not. It is a loss
/// only where another hard goal forbids to meet it.
fn keep_apart(cluster: &Cluster, policy: &Policy, all: &mut [Vec<List>]) {
    let rack = |broker: &u32| cluster.brokers[*broker as usize].rack;
    let apart = |(_, replicas, _): &List| {
        let on_living = replicas.iter().all(|broker| cluster.brokers[*broker as usize].alive);
        let again = |at: usize| replicas[..at].iter().any(|other| rack(other) == rack(&replicas[at]));
        on_living && !(0..replicas.len()).any(again)
    };
    let first = policy.goals.first() == Some(&Goal::RackAware);
    if first && all.iter().all(|lists| lists.iter().any(apart)) {
        for lists in all {
            lists.retain(apart);
        }
    }
}

/// Looks at every placement: the best, and of those the one with the fewest moves.
fn exhaust(
    cluster: &Cluster,
    before: &Score,
    mut meter: Meter<'_>,
    options: &[Vec<List>],
) -> (Vec<u32>, Vec<u32>) {
    let moves = |list: &List| {
        let home = cluster.replicas(list.0).iter().zip(&list.1);
        home.filter(|(from, to)| from != to).count()
    };
    let cost = |at: &[usize]| options.iter().zip(at).map(|(lists, at)| moves(&lists[*at])).sum::<usize>();
    // What is there stays unless something is better.
    let mut lists: Vec<List> = (0..cluster.partitions()).map(|partition| own(&meter, partition)).collect();
    let mut best = (meter.score(), lists.iter().map(moves).sum());
    let mut at = vec![0; options.len()];
    for lists in options {
        take(&mut meter, &lists[0]);
    }
    let next = |at: &[usize]| (0..at.len()).find(|wheel| at[*wheel] + 1 < options[*wheel].len());
    loop {
        let score = meter.score();
        if score <= best.0 && meter.is_acceptable(before, &score) {
            let cost = cost(&at);
            if (&score, cost) < (&best.0, best.1) {
                best = (score, cost);
                lists = options.iter().zip(&at).map(|(lists, at)| lists[*at].clone()).collect();
            }
        }
        // The placements follow each other as an odometer counts.
        let Some(wheel) = next(&at) else { break };
        for turned in 0..=wheel {
            at[turned] = if turned == wheel { at[turned] + 1 } else { 0 };
            take(&mut meter, &options[turned][at[turned]]);
        }
    }
    for list in &lists {
        take(&mut meter, list);
    }
    meter.placement()
}

/// Goes on while a step, or a pair of steps, makes the score better.
fn descend(
    cluster: &Cluster,
    policy: &Policy,
    meter: &mut Meter<'_>,
    mut score: Score,
    looks: &mut usize,
) -> Score {
    while *looks < LOOKS && !score.is_clean() {
        let Some(better) = improve(cluster, policy, &score, meter, looks) else { break };
        score = better;
    }
    score
}

fn own(meter: &Meter<'_>, partition: u32) -> List {
    let (replicas, leader) = meter.list(partition);
    (partition, replicas.to_vec(), leader)
}

/// Takes the first step, or else the first pair of steps, that makes the score better.
fn improve(
    cluster: &Cluster,
    policy: &Policy,
    best: &Score,
    meter: &mut Meter<'_>,
    looks: &mut usize,
) -> Option<Score> {
    let better = |meter: &Meter<'_>, looks: &mut usize| {
        *looks += 1;
        Some(meter.score()).filter(|score| score < best)
    };
    let steps = steps(cluster, policy, meter);
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
        let own = steps_of(cluster, policy, meter, first.0);
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

fn steps(cluster: &Cluster, policy: &Policy, meter: &Meter<'_>) -> Vec<List> {
    (0..cluster.partitions()).flat_map(|partition| steps_of(cluster, policy, meter, partition)).collect()
}

/// Every list of a partition that differs in one broker or in its leader.
fn steps_of(cluster: &Cluster, policy: &Policy, meter: &Meter<'_>, partition: u32) -> Vec<List> {
    let (now, leader) = meter.list(partition);
    steps_from(cluster, policy, partition, now, leader)
}

fn steps_from(cluster: &Cluster, policy: &Policy, partition: u32, now: &[u32], leader: u32) -> Vec<List> {
    let mut steps = Vec::new();
    if cluster.frozen(partition) {
        return steps;
    }
    let home = cluster.replicas(partition);
    let first = cluster.leader(partition) as usize;
    let known = |broker: u32| &cluster.brokers[broker as usize];
    let may_lead =
        |broker: u32| known(broker).alive && (known(broker).takes_leadership || broker == home[first]);
    let row = cluster.row(partition);
    let homeless = |at: usize| cluster.homeless((row.start + at) as u32);
    let may_pass = |heir: usize| {
        let asked = match policy.leaders {
            Leaders::All => true,
            Leaders::Orphaned => homeless(first),
            Leaders::ToPlaced => heir == first || homeless(first) || homeless(heir),
            Leaders::Demoted => homeless(first) || !known(home[first]).takes_leadership,
        };
        asked && (heir == first || cluster.keeps_up((row.start + heir) as u32))
    };
    for position in (0..now.len() as u32).filter(|position| *position != leader) {
        if may_lead(now[position as usize]) && may_pass(position as usize) {
            steps.push((partition, now.to_vec(), position));
        }
    }
    let may_move = |position: usize, to: u32| {
        let offline = homeless(position);
        if offline && to == home[position] {
            return false;
        }
        match policy.moves {
            Moves::Nothing => false,
            _ if offline => true,
            Moves::All => true,
            Moves::ToNew => to == home[position] || known(to).mark == Mark::New,
            Moves::OffOverloaded => known(home[position]).mark == Mark::Overloaded,
            Moves::Offline => false,
        }
    };
    let set = cluster.bound_set(cluster.topic(partition));
    for (position, from) in now.iter().enumerate() {
        for (to, known) in (0..).zip(&cluster.brokers) {
            // A broker that a partition keeps stays at its position.
            let kept = !policy.exchange && home.contains(&to);
            let fits = known.takes_replicas && (set.is_none() || known.set == set) && !kept;
            let may = known.alive && (to == home[position] || fits) && !now.contains(&to);
            if may && to != *from && may_move(position, to) && (position as u32 != leader || may_lead(to)) {
                let mut list = now.to_vec();
                list[position] = to;
                steps.push((partition, list, leader));
            }
        }
    }
    if policy.exchange && policy.moves == Moves::All {
        let may_stand = |(_, list, _): &List| {
            let takes = |to: u32| known(to).takes_replicas && (set.is_none() || known(to).set == set);
            list.iter().zip(home).all(|(to, home)| to == home || takes(*to))
        };
        steps.extend(exchanges(partition, now, leader).filter(may_stand));
    }
    steps
}

/// Every list in which two replicas have changed places.
fn exchanges(partition: u32, now: &[u32], leader: u32) -> impl Iterator<Item = List> + '_ {
    let pairs = (0..now.len()).flat_map(move |one| (one + 1..now.len()).map(move |other| (one, other)));
    pairs.map(move |(one, other)| {
        let mut list = now.to_vec();
        list.swap(one, other);
        // Who leads stays on its broker.
        let leader = match leader as usize {
            at if at == one => other as u32,
            at if at == other => one as u32,
            _ => leader,
        };
        (partition, list, leader)
    })
}
