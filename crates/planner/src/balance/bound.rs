//! How many moves any plan needs: a proof, found without a search.
//!
//! Whoever meets the goals must take replicas off a broker until it is below each upper limit, and no fewer than the largest
//! of them that cover what is too much; off a rack as many as share it and need not; to a broker as many as its floor lacks. Passing
//! leadership on costs no move, so that what leaders take on top does not count.

use super::bands::{Bands, COUNT, FIGURES, Figures, LEADER_IN, LEADERS, Parts, Proofs};
use super::cluster::{DISK, Mark, NETWORK_IN};
use super::dirs::{BrokerDirs, by_broker};
use super::policy::{Goal, Moves, Policy};
use super::score::living_racks;
use super::state::State;

/// Figures that arrivals of replicas alone can raise.
const RAISED: [usize; 3] = [NETWORK_IN, DISK, COUNT];

/// No plan that meets all goals which can be met, and brings everything off dead brokers, moves fewer replicas. Where racks cannot
/// carry their share of replicas, it may be asked of plans that they come as near as is proven to be possible. Nothing where a
/// policy lets too little move for that to tell anything.
pub(crate) fn fewest_moves(state: &State<'_>, nearest: bool) -> Option<u64> {
    match state.policy.moves {
        Moves::All => Some(for_all_goals(state, &exact_bands(state, nearest))),
        Moves::Offline => Some(homeless(state)),
        Moves::OffOverloaded => Some(off_overloaded(state)),
        Moves::ToNew | Moves::Nothing => None,
    }
}

/// What must leave dead brokers and failed log dirs.
fn homeless(state: &State<'_>) -> u64 {
    let leaves = |replica: &u32| state.cluster.homeless(*replica) && !state.locked(*replica);
    (0..state.cluster.place.len() as u32).filter(leaves).count() as u64
}

/// The same, and what must leave brokers that are to be relieved.
fn off_overloaded(state: &State<'_>) -> u64 {
    let (bands, dirs) = (exact_bands(state, false), exact_dirs(state));
    let overloaded = |broker: &usize| {
        let known = &state.cluster.brokers[*broker];
        known.alive && known.mark == Mark::Overloaded
    };
    // What stands in a failed log dir may be part of what must leave.
    let beyond = |broker: usize| {
        let failed = failed_on(state, broker);
        let leave = from_broker(state, &bands, broker).max(failed + from_dirs(state, &dirs, broker));
        leave - failed
    };
    homeless(state) + (0..state.cost.len()).filter(overloaded).map(beyond).sum::<u64>()
}

fn for_all_goals(state: &State<'_>, bands: &Bands) -> u64 {
    let dirs = exact_dirs(state);
    let leave: Vec<u64> = (0..state.cost.len())
        .map(|broker| match state.cluster.brokers[broker].alive {
            // What stands in a failed log dir stands in none of the others.
            true => from_broker(state, bands, broker)
                .max(failed_on(state, broker) + from_dirs(state, &dirs, broker)),
            false => state.on[broker].iter().filter(|replica| !state.locked(**replica)).count() as u64,
        })
        .collect();
    arrivals(state, bands, &leave, departures(state, &leave))
}

/// The limits themselves, as who sums up exactly needs no margin, of the goals that can be met; and of even
/// numbers that racks cannot carry, where plans are to come as near as can be.
fn exact_bands(state: &State<'_>, nearest: bool) -> Bands {
    let proofs = Proofs::new(state.cluster, state.policy);
    let goals = state.policy.goals.iter().copied();
    let else_served =
        |goal: &Goal| *goal == Goal::RackAware || (nearest && *goal == Goal::ReplicaDistribution);
    let possible = goals.filter(|goal| else_served(goal) || proofs.unavoidable(*goal) == 0);
    let exact = Policy { margin: 0, goals: possible.collect(), ..state.policy.clone() };
    Bands::new(state.cluster, &exact, &exact.goals, false)
}

/// Log dirs with their limits themselves, where the goal about them can be met; else they are none.
fn exact_dirs(state: &State<'_>) -> Vec<Option<BrokerDirs>> {
    let possible = || Proofs::new(state.cluster, state.policy).unavoidable(Goal::DiskCapacity) == 0;
    let judged = state.cluster.has_log_dirs() && state.policy.goals.contains(&Goal::DiskCapacity);
    if judged && possible() { by_broker(state.cluster, state.policy, 0) } else { Vec::new() }
}

/// The fewest replicas that must leave the log dirs of a broker: those of one are none of another's.
fn from_dirs(state: &State<'_>, dirs: &[Option<BrokerDirs>], broker: usize) -> u64 {
    let Some(Some(of)) = dirs.get(broker) else { return 0 };
    let size = |replica: u32| state.cluster.load[replica as usize][DISK];
    let leave =
        |dir: usize| cover(&mut state.in_dir(broker, dir).map(size).collect::<Vec<_>>(), of.beyond(dir));
    (0..of.sum.len()).filter(|dir| of.beyond(*dir) > 0).map(leave).sum()
}

/// What must leave a living broker whose log dirs have failed.
fn failed_on(state: &State<'_>, broker: usize) -> u64 {
    let on = |replica: &&u32| state.home(**replica) as usize == broker && !state.locked(**replica);
    state.failed.iter().filter(on).count() as u64
}

/// What must leave all brokers, if so many must leave each, and racks must not be shared where they need not.
///
/// For any set of brokers of a rack: what must leave the others leaves them; and of the replicas of a partition on the set all
/// but what may stay in the rack. Tried are the sets of the brokers with the least to leave.
fn departures(state: &State<'_>, leave: &[u64]) -> u64 {
    let brokers = &state.cluster.brokers;
    let racks = brokers.iter().map(|broker| broker.rack as usize + 1).max().unwrap_or(0);
    let mut of_rack: Vec<Vec<usize>> = vec![Vec::new(); racks];
    for (broker, known) in brokers.iter().enumerate() {
        of_rack[known.rack as usize].push(broker);
    }
    let mut rank = vec![0; brokers.len()];
    for members in &mut of_rack {
        members.sort_by_key(|broker| (leave[*broker], *broker));
        for (at, broker) in members.iter().enumerate() {
            rank[*broker] = at;
        }
    }
    let shared = shared(state, &rank);
    let fewest = |members: &Vec<usize>| {
        let all: u64 = members.iter().map(|broker| leave[*broker]).sum();
        let (mut most, mut inside, mut sharing) = (all, 0, 0);
        for broker in members {
            inside += leave[*broker];
            sharing += shared[*broker];
            most = most.max(all - inside + sharing);
        }
        most
    };
    of_rack.iter().map(fewest).sum()
}

/// For each broker the replicas of partitions that cannot all stay in its rack: those beyond what may stay, brokers of lower rank
/// first.
fn shared(state: &State<'_>, rank: &[usize]) -> Vec<u64> {
    let cluster = state.cluster;
    let mut shared = vec![0; rank.len()];
    if !state.policy.goals.contains(&Goal::RackAware) {
        return shared;
    }
    let open = living_racks(cluster) as usize;
    let rack = |broker: &u32| cluster.brokers[*broker as usize].rack;
    for row in (0..cluster.partitions()).filter(|p| !cluster.frozen(*p)).map(|p| cluster.row(p)) {
        let list = &cluster.place[row.clone()];
        // What stays: the racks of those that need not leave their brokers.
        let stays: Vec<u32> = row
            .clone()
            .filter(|replica| !cluster.homeless(*replica as u32))
            .map(|replica| rack(&cluster.place[replica]))
            .collect();
        let held = stays.iter().enumerate().filter(|(at, rack)| !stays[..*at].contains(rack)).count();
        // One in each of as many racks as there can be; who comes off the dead can go to a rack that has none.
        let come = row.len().min(open).saturating_sub(held + row.len() - stays.len());
        if stays.len() == row.len() && come == 0 {
            continue;
        }
        for (at, broker) in list.iter().enumerate() {
            let of_rack = stays.iter().filter(|other| **other == rack(broker)).count();
            // All others that share racks may be the ones that leave.
            let elsewhere = stays.len() - of_rack - (held - usize::from(of_rack > 0));
            let stay = of_rack - come.saturating_sub(elsewhere).min(of_rack);
            let below = |(other, it): &(usize, &u32)| {
                rack(it) == rack(broker) && (rank[**it as usize], *other) < (rank[*broker as usize], at)
            };
            let before = list.iter().enumerate().filter(below).count();
            shared[*broker as usize] += u64::from(before >= stay);
        }
    }
    shared
}

/// The fewest replicas that must leave a broker, by each figure alone, by all that are too much together, and by topics.
fn from_broker(state: &State<'_>, bands: &Bands, broker: usize) -> u64 {
    let (need, on) = (too_much(state, bands, broker), &state.on[broker]);
    let wanted: Vec<usize> = (0..FIGURES).filter(|figure| need[*figure] > 0).collect();
    let topics = 0..state.cluster.topics as usize;
    let held = |topic: usize| state.topic[topic * state.cost.len() + broker];
    let beyond = |topic: usize| held(topic).saturating_sub(bands.topic[topic].1);
    let mut fewest: u64 = topics.map(|topic| u64::from(beyond(topic))).sum();
    if wanted.is_empty() {
        return fewest;
    }
    let mut values = Vec::with_capacity(on.len());
    for figure in &wanted {
        values.clear();
        values.extend(on.iter().map(|replica| leaves(state, *replica)[*figure]));
        fewest = fewest.max(cover(&mut values, need[*figure]));
    }
    if wanted.len() > 1 {
        // Any weighted sum must be covered, too. Weighed by need, no figure drowns another; parts are rounded in favour of
        // fewer moves.
        let parts: Vec<(usize, Parts)> =
            wanted.iter().map(|figure| (*figure, Parts::of(need[*figure]))).collect();
        values.clear();
        values.extend(on.iter().map(|replica| {
            let figures = leaves(state, *replica);
            parts.iter().map(|(figure, parts)| parts.in_all(figures[*figure]) + 1).sum::<i64>()
        }));
        let all = parts.iter().map(|(figure, parts)| parts.in_all(need[*figure])).sum();
        fewest = fewest.max(cover(&mut values, all));
    }
    fewest
}

/// What leaves a broker with a replica that stands there at least. In a failed log dir it is on no disk.
fn leaves(state: &State<'_>, replica: u32) -> Figures {
    let mut figures = state.takes_along(replica);
    figures[DISK] = state.cluster.load_at(replica as usize, state.home(replica))[DISK];
    figures
}

/// What is too much on a broker whoever leads.
fn too_much(state: &State<'_>, bands: &Bands, broker: usize) -> Figures {
    let mut least = [0; FIGURES];
    for replica in &state.on[broker] {
        super::state::add(&mut least, &leaves(state, *replica), 1);
    }
    let mut beyond = [0; FIGURES];
    for figure in (0..FIGURES).filter(|figure| ![LEADERS, LEADER_IN].contains(figure)) {
        beyond[figure] = (least[figure] - bands.of[broker][figure].high).max(0);
    }
    beyond
}

/// How many of the largest values sum up to a need. All of them where they do not.
fn cover(values: &mut [i64], need: i64) -> u64 {
    let (mut rest, mut need, mut taken) = (values, i128::from(need), 0_u64);
    while need > 0 && !rest.is_empty() {
        let half = rest.len() / 2;
        let (larger, ..) = rest.select_nth_unstable_by(half, |a, b| b.cmp(a));
        let sum: i128 = larger.iter().map(|value| i128::from(*value)).sum();
        if sum >= need {
            rest = &mut rest[..half];
        } else if half == 0 {
            taken += 1;
            need -= i128::from(rest[0]);
            rest = &mut rest[1..];
        } else {
            taken += half as u64;
            need -= sum;
            rest = &mut rest[half..];
        }
    }
    taken
}

/// The fewest moves where brokers are below a floor.
///
/// What such brokers lack together comes from others: of those, the largest replicas that cover it. Where the brokers then hold
/// too many, as many leave them. And those others give away what they must.
fn arrivals(state: &State<'_>, bands: &Bands, leave: &[u64], known: u64) -> u64 {
    let brokers = &state.cluster.brokers;
    let mut most = known;
    for figure in RAISED {
        let lacks = |broker: usize| match brokers[broker].alive {
            true => bands.of[broker][figure].low - state.sum[broker][figure],
            false => 0,
        };
        let (short, others): (Vec<usize>, Vec<usize>) =
            (0..brokers.len()).partition(|broker| lacks(*broker) > 0);
        let lack: i64 = short.iter().map(|broker| lacks(*broker)).sum();
        if lack == 0 {
            continue;
        }
        let held: i64 = short.iter().map(|broker| state.sum[*broker][COUNT]).sum();
        let may_hold = short.iter().fold(0, |sum: i64, b| sum.saturating_add(bands.of[*b][COUNT].high));
        let must = |brokers: &[usize]| brokers.iter().map(|broker| leave[*broker]).sum::<u64>();
        let fewest = |come: u64| {
            let too_many = held.saturating_add_unsigned(come).saturating_sub(may_hold).max(0).unsigned_abs();
            come.max(must(&others)) + too_many.max(must(&short))
        };
        let come = if figure == COUNT {
            // For each that must leave another must come, where the number is at its floor.
            let more = |broker: usize| (lacks(broker) + leave[broker] as i64).max(0).unsigned_abs();
            let each = (0..brokers.len()).filter(|broker| brokers[*broker].alive);
            most = most.max(each.map(more).sum());
            lack.unsigned_abs()
        } else {
            // The largest are at least as large as the mean: where so many would prove nothing new, they need not be sought.
            let sum = |figure: usize| {
                others.iter().map(|broker| i128::from(state.sum[*broker][figure])).sum::<i128>()
            };
            let at_most = i128::from(lack) * sum(COUNT) / sum(figure).max(1) + 1;
            let at_most = u64::try_from(at_most).unwrap_or(u64::MAX);
            if fewest(at_most) <= most {
                continue;
            }
            let held = others.iter().flat_map(|broker| &state.on[*broker]);
            let mut loads: Vec<i64> =
                held.map(|replica| state.cluster.load[*replica as usize][figure]).collect();
            cover(&mut loads, lack)
        };
        most = most.max(fewest(come));
    }
    most
}
