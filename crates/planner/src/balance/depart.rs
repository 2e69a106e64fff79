//! Which replicas leave their brokers: as few and as small as the limits allow.
//!
//! For each broker that carries too much this is a covering problem: choose replicas at least cost whose figures sum up to
//! what is too much, in every figure at once. They are chosen one by one; what counts is which figure lags behind at the
//! moment, so that no figure is covered long before the others and then goes on growing.

use super::bands::{COUNT, FIGURES, LEADER_IN, LEADERS, Parts, UNIT, scale};
use super::cluster::{CPU, DISK, Mark, NETWORK_IN};
use super::policy::{Goal, Leaders, Moves};
use super::search::Dice;
use super::state::{NOWHERE, State};
use super::watch::{Progress, Stage};

/// What moving a replica costs, whatever its size.
const MOVE: i64 = 1 << 6;
/// A replica that must leave its rack anyway, or another for it, costs so much less to move.
const ANYWAY: i64 = 4;
/// What a replica takes along that its broker will lack costs more: so much for a mean load, if all of a fair share is lacking.
const DEAR: i64 = MOVE * 2;
/// Figures that leave with a replica whoever leads.
const BY_REPLICAS: [usize; 3] = [CPU, NETWORK_IN, DISK];
/// What comes in place of large replicas is expected to be a third of the mean.
const SMALL: i64 = 3;
/// The inverse of a cost is in parts of this.
const THRIFT: i64 = 1 << 16;
/// So many figures are covered at once.
const WANTED: usize = 4;
/// Looks at so many items for each item of a broker, in all.
const LOOKS: usize = 10;
/// Looks at all items before one is chosen if that takes no more looks than this at a broker.
const THOROUGH: usize = 1 << 22;
/// Looks at so many before one is chosen, at least.
const NARROWEST: usize = 16;

/// A replica that may leave.
struct Item {
    replica: u32,
    /// The figures that something is needed of.
    figures: [i64; WANTED],
    /// The same in parts of their means on the broker.
    parts: [i32; WANTED],
    /// The inverse of its cost.
    thrift: i32,
}

/// Takes off their brokers: what stands on dead ones, what brokers carry beyond their limits, what crowds a rack.
pub(crate) fn depart(state: &mut State<'_>, dice: &mut Dice) -> Vec<u32> {
    let mut pool = Vec::new();
    if state.policy.moves == Moves::Nothing {
        return pool;
    }
    let alive = |state: &State<'_>, broker: usize| state.cluster.brokers[broker].alive;
    let n = state.cost.len();
    for broker in state.dead.clone() {
        for replica in state.on[broker].clone() {
            if !state.locked(replica) {
                state.detach(replica);
                pool.push(replica);
            }
        }
    }
    for replica in state.failed.clone() {
        if !state.locked(replica) {
            state.detach(replica);
            pool.push(replica);
        }
    }
    misplaced(state, &mut pool);
    let mut givers: Vec<usize> = (0..n).filter(|b| alive(state, *b)).collect();
    givers.sort_by_key(|b| (std::cmp::Reverse(state.cost[*b]), *b));
    for (at, broker) in givers.into_iter().enumerate() {
        (state.watch)(Progress { stage: Stage::Departing, done: at, of: n });
        for replica in crowded_topics(state, broker) {
            state.detach(replica);
            pool.push(replica);
        }
        for replica in overfull_dirs(state, broker) {
            state.detach(replica);
            pool.push(replica);
        }
        for replica in overload(state, dice, broker) {
            state.detach(replica);
            pool.push(replica);
        }
    }
    uncrowd(state, &mut pool);
    fill_up(state, dice, &mut pool);
    pool
}

/// Takes away what stands outside the broker set of its topic.
fn misplaced(state: &mut State<'_>, pool: &mut Vec<u32>) {
    if !state.policy.goals.contains(&Goal::BrokerSetAware) {
        return;
    }
    for replica in 0..state.place.len() as u32 {
        let (set, place) =
            (state.cluster.bound_to_set[state.topic_of(replica)], state.place[replica as usize]);
        let outside = |place: u32| state.cluster.brokers[place as usize].set != set;
        if set.is_some() && place != NOWHERE && outside(place) && state.movable(replica) {
            state.detach(replica);
            pool.push(replica);
        }
    }
}

/// Figures whose floor only arrivals of replicas can reach.
const BY_ARRIVALS: [usize; 3] = [NETWORK_IN, DISK, COUNT];
/// So much more is sent than the floors need, in parts of a thousand of all floors: replicas do not come in every size.
const SPARE: i64 = 2;

/// Takes more where what has left is not enough for those that lack it: from brokers above their fair share.
fn fill_up(state: &mut State<'_>, dice: &mut Dice, pool: &mut Vec<u32>) {
    let n = state.cost.len();
    let mut short = [0_i64; FIGURES];
    for figure in BY_ARRIVALS {
        let takes = |broker: &usize| {
            let known = &state.cluster.brokers[*broker];
            known.alive
                && known.takes_replicas
                && (known.mark == Mark::New || state.policy.moves != Moves::ToNew)
        };
        for broker in (0..n).filter(takes) {
            let (low, sum) = (state.bands.of[broker][figure].low, state.sum[broker][figure]);
            if sum < low {
                short[figure] += low - sum + low / 1000 * SPARE;
            }
        }
    }
    for replica in pool.iter() {
        for (short, figure) in short.iter_mut().zip(state.follower(*replica)) {
            *short -= figure;
        }
    }
    if BY_ARRIVALS.iter().all(|figure| short[*figure] <= 0) {
        return;
    }
    let surplus = |state: &State<'_>, broker: usize, figure: usize| {
        let band = &state.bands.of[broker][figure];
        band.share().map_or(0, |share| (state.sum[broker][figure] - share).max(0))
    };
    let donors: Vec<usize> = (0..n).filter(|b| state.cluster.brokers[*b].alive).collect();
    let mut needs = vec![[0_i64; FIGURES]; donors.len()];
    for figure in BY_ARRIVALS.into_iter().filter(|figure| short[*figure] > 0) {
        let all: i128 = donors.iter().map(|b| i128::from(surplus(state, *b, figure))).sum();
        for (need, broker) in needs.iter_mut().zip(&donors) {
            let share = i128::from(short[figure]) * i128::from(surplus(state, *broker, figure)) / all.max(1);
            need[figure] = share as i64;
        }
    }
    for (need, broker) in needs.into_iter().zip(donors) {
        for replica in cover(state, dice, broker, &need) {
            state.detach(replica);
            pool.push(replica);
        }
    }
}

/// What is too much on a broker, figure by figure, counting what leadership alone could take away as gone.
fn too_much(state: &State<'_>, broker: usize) -> [i64; FIGURES] {
    let mut sum = state.sum[broker];
    if state.policy.leaders == Leaders::Orphaned {
        let beyond = |figure: usize| (sum[figure] - state.bands.of[broker][figure].high).max(0);
        return std::array::from_fn(|f| if f == LEADERS || f == LEADER_IN { 0 } else { beyond(f) });
    }
    let mut led = [0; FIGURES];
    for replica in &state.on[broker] {
        if state.leader[state.part[*replica as usize] as usize] == *replica {
            super::state::add(&mut led, &state.leadership(*replica), 1);
        }
    }
    super::state::add(&mut sum, &led, -1);
    let mut excess = [0; FIGURES];
    for figure in 0..FIGURES {
        if figure != LEADERS && figure != LEADER_IN {
            excess[figure] = (sum[figure] - state.bands.of[broker][figure].high).max(0);
        }
    }
    excess
}

/// What leaves log dirs that hold more than they may: of each as few replicas as cover that, and of those small ones.
fn overfull_dirs(state: &State<'_>, broker: usize) -> Vec<u32> {
    let Some(Some(dirs)) = state.dirs.get(broker) else { return Vec::new() };
    let mut leavers = Vec::new();
    for dir in (0..dirs.sum.len()).filter(|dir| dirs.beyond(*dir) > 0) {
        let size = |replica: u32| state.cluster.load[replica as usize][DISK];
        let held = state.in_dir(broker, dir).filter(|replica| state.movable(*replica));
        let mut held: Vec<(i64, u32)> = held.map(|replica| (size(replica), replica)).collect();
        // Of those alike rather what leads nothing.
        held.sort_by_key(|(size, replica)| (std::cmp::Reverse(*size), state.leads(*replica), *replica));
        leavers.extend(fewest(&held, dirs.beyond(dir)).into_iter().map(|at| held[at].1));
    }
    leavers
}

/// The fewest of these, the largest of which stand first, that cover a need: then smaller ones in place of large ones, as long as
/// they do. All where they do not.
fn fewest(held: &[(i64, u32)], need: i64) -> Vec<usize> {
    let size = |at: usize| held[at].0;
    let (mut count, mut surplus) = (0, -need);
    while surplus < 0 && count < held.len() {
        surplus += size(count);
        count += 1;
    }
    let (mut chosen, mut free): (Vec<usize>, Vec<usize>) = (0..held.len()).partition(|at| *at < count);
    for at in &mut chosen {
        // The smallest that is large enough is the last of those.
        let enough = free.partition_point(|other| size(*other) >= size(*at) - surplus);
        if enough > 0 && surplus > 0 {
            let other = free.remove(enough - 1);
            surplus -= size(*at) - size(other);
            *at = other;
        }
    }
    chosen
}

/// The replicas that a broker gives away because it carries too much.
fn overload(state: &State<'_>, dice: &mut Dice, broker: usize) -> Vec<u32> {
    let mut need = too_much(state, broker);
    let chosen = cover(state, dice, broker, &need);
    // Where so much leaves that replicas are missing, small ones come in their place: they need room, too.
    let low = state.bands.of[broker][COUNT].low;
    let left = (state.on[broker].len() - chosen.len()) as i64;
    if chosen.is_empty() || left >= low {
        return chosen;
    }
    let count = state.on[broker].len().max(1) as i64;
    for (figure, (need, sum)) in need.iter_mut().zip(state.sum[broker]).enumerate() {
        if *need > 0 && figure != COUNT {
            *need += (low - left) * (sum / count / SMALL);
        }
    }
    cover(state, dice, broker, &need)
}

fn cost(state: &State<'_>, replica: u32, size: Parts) -> i64 {
    let sized = MOVE * state.policy.size_weight.clamp(0, 1 << 20) / 1000;
    let cost = MOVE + ((size.in_all(state.cluster.load[replica as usize][DISK]) * sized) >> UNIT);
    let anyway = mends_racks(state) && state.crowd(replica, state.place[replica as usize]) > 0;
    if anyway { (cost / ANYWAY).max(1) } else { cost }
}

/// Parts of the mean size of a replica.
fn mean_size(state: &State<'_>) -> Parts {
    Parts::of(state.cluster.total[DISK] / state.place.len().max(1) as i64)
}

/// For each topic that stands too often on a broker, the cheapest of its replicas.
fn crowded_topics(state: &State<'_>, broker: usize) -> Vec<u32> {
    let topics = 0..state.cluster.topics as usize;
    if topics.clone().all(|topic| state.topic_excess(topic, broker) == 0) {
        return Vec::new();
    }
    let size = mean_size(state);
    let mut crowded: Vec<_> = state.on[broker]
        .iter()
        .filter(|r| state.movable(**r) && state.topic_excess(state.topic_of(**r), broker) > 0)
        .map(|r| (state.topic_of(*r), cost(state, *r, size), *r))
        .collect();
    crowded.sort_unstable();
    let mut leavers = Vec::new();
    for group in crowded.chunk_by(|a, b| a.0 == b.0) {
        let excess = state.topic_excess(group[0].0, broker) as usize;
        leavers.extend(group.iter().take(excess).map(|(.., replica)| *replica));
    }
    leavers
}

/// Replicas that cover a need at little cost; all there are if they do not.
fn cover(state: &State<'_>, dice: &mut Dice, broker: usize, need: &[i64; FIGURES]) -> Vec<u32> {
    let Some(means) = means(state, broker, need) else { return Vec::new() };
    // Where the number is what has to fall, which replicas go is free: not those of what will be lacking.
    let scarce = if means[0].0 == COUNT { scarce(state, broker, need) } else { Scarce::new() };
    let mut need = means.map(|(figure, _)| need[figure]);
    let mut items = items(state, broker, &means, &scarce);
    let all = items.len();
    let mut chosen = Vec::new();
    let picks = lacking(&need, &means).into_iter().max().unwrap_or(0) >> UNIT;
    // Where moves alone count, the best are worth a look at all, as long as that is not too many.
    let thorough = state.policy.size_weight == 0 && all.saturating_mul(picks.max(1) as usize) <= THOROUGH;
    let looks = if thorough { all } else { LOOKS };
    let width = (looks * all / (picks.max(1) as usize)).clamp(NARROWEST, all.max(NARROWEST));
    while !items.is_empty() && need.iter().any(|need| *need > 0) {
        let lacking = lacking(&need, &means);
        let most = lacking.into_iter().max().unwrap_or(0).max(1);
        // What lags behind most counts most, so that all figures are covered at the same time.
        let weights = lacking.map(|lack| sixth_power((lack << 8) / most));
        let value = |item: &Item| {
            let parts = item.parts.iter().zip(&lacking).zip(&weights);
            let sum: i64 = parts.map(|((part, lack), weight)| i64::from(*part).min(*lack) * weight).sum();
            (sum >> 8) * i64::from(item.thrift)
        };
        let start = dice.below(items.len());
        let (mut best, mut most) = (start, -1);
        for look in 0..width.min(items.len()) {
            let at = if start + look < items.len() { start + look } else { start + look - items.len() };
            let value = value(&items[at]);
            if value > most {
                (best, most) = (at, value);
            }
        }
        let item = items.swap_remove(best);
        for (need, figure) in need.iter_mut().zip(item.figures) {
            *need -= figure;
        }
        chosen.push(item);
    }
    without_surplus(chosen, need)
}

/// The figures that something is needed of, at most four, and parts of their means on the broker.
type Means = [(usize, Parts); WANTED];

fn means(state: &State<'_>, broker: usize, need: &[i64; FIGURES]) -> Option<Means> {
    let count = state.on[broker].len().max(1) as i64;
    let mean = |figure: usize| (state.sum[broker][figure] / count).max(1);
    let mut wanted: Vec<usize> = (0..FIGURES).filter(|figure| need[*figure] > 0).collect();
    // Those that need the most replicas; the others are covered on the way or mended later.
    wanted.sort_by_key(|figure| (std::cmp::Reverse(need[*figure] / mean(*figure)), *figure));
    let first = *wanted.first()?;
    wanted.truncate(WANTED);
    wanted.resize(WANTED, first);
    let mut means = [(first, Parts::of(mean(first))); WANTED];
    for (slot, figure) in means.iter_mut().zip(wanted) {
        *slot = (figure, Parts::of(mean(figure)));
    }
    Some(means)
}

/// Figures that a broker will lack if it gives away what it needs to in replicas of mean load: parts of their means on the broker,
/// and how much.
type Scarce = Vec<(usize, Parts, i64)>;

fn scarce(state: &State<'_>, broker: usize, need: &[i64; FIGURES]) -> Scarce {
    let (sum, bands) = (&state.sum[broker], &state.bands.of[broker]);
    let count = state.on[broker].len().max(1) as i64;
    let leaving = (0..FIGURES).map(|figure| Parts::of(sum[figure]).in_all(need[figure])).max().unwrap_or(0);
    let lack = |figure: usize| {
        let share = bands[figure].share()?;
        let stays = sum[figure] - scale(sum[figure], leaving.min(1 << UNIT), 1 << UNIT);
        let lack =
            (Parts::of(share).in_all((bands[figure].low - stays).max(0)) * DEAR).min(MOVE << UNIT) >> UNIT;
        (lack > 0).then(|| (figure, Parts::of(sum[figure] / count), lack))
    };
    BY_REPLICAS.into_iter().filter_map(lack).collect()
}

/// What may leave a broker.
fn items(state: &State<'_>, broker: usize, means: &Means, scarce: &Scarce) -> Vec<Item> {
    let movable = state.on[broker].iter().copied().filter(|r| state.movable(*r));
    let size = mean_size(state);
    let item = |replica: u32| {
        let all = state.takes_along(replica);
        let figures = means.map(|(figure, _)| all[figure]);
        let parts = means.map(|(figure, mean)| i32::try_from(mean.in_all(all[figure])).unwrap_or(i32::MAX));
        let dear = |(figure, mean, lack): &(usize, Parts, i64)| (mean.in_all(all[*figure]) * lack) >> UNIT;
        let cost = cost(state, replica, size) + scarce.iter().map(dear).sum::<i64>();
        Item { replica, figures, parts, thrift: (THRIFT / cost).max(1) as i32 }
    };
    movable.map(item).collect()
}

/// How many items of mean size each figure still needs, in parts of 2^20.
fn lacking(need: &[i64; WANTED], means: &Means) -> [i64; WANTED] {
    let mut lacking = [0; WANTED];
    for ((lack, need), (_, mean)) in lacking.iter_mut().zip(need).zip(means) {
        // In two steps: a need is many means, more than the parts of a mean can tell at once.
        let need = (*need).max(0);
        *lack = mean.in_all(need / 1024).saturating_mul(1024).max(mean.in_all(need.min(1024)));
    }
    lacking
}

/// Of a proportion in parts of 2^8.
fn sixth_power(proportion: i64) -> i64 {
    let square = (proportion * proportion) >> 8;
    (((square * square) >> 8) * square) >> 8
}

/// Leaves out what is not needed after all; `need` is what is lacking (negative: what is too much).
fn without_surplus(chosen: Vec<Item>, mut need: [i64; WANTED]) -> Vec<u32> {
    let mut kept = Vec::with_capacity(chosen.len());
    for item in chosen {
        if need.iter().zip(item.figures).all(|(need, figure)| need + figure <= 0) {
            for (need, figure) in need.iter_mut().zip(item.figures) {
                *need += figure;
            }
        } else {
            kept.push(item.replica);
        }
    }
    kept
}

/// Takes the smallest of those replicas away that share a rack beyond what is allowed.
fn uncrowd(state: &mut State<'_>, pool: &mut Vec<u32>) {
    if !mends_racks(state) {
        return;
    }
    for partition in 0..state.cluster.partitions() {
        loop {
            let row = state.cluster.row(partition);
            let crowded = row.map(|replica| replica as u32).filter(|replica| {
                let place = state.place[*replica as usize];
                place != NOWHERE && state.movable(*replica) && state.crowd(*replica, place) > 0
            });
            let Some(leaver) = crowded.min_by_key(|r| (state.cluster.load[*r as usize][DISK], *r)) else {
                break;
            };
            state.detach(leaver);
            pool.push(leaver);
        }
    }
}

fn mends_racks(state: &State<'_>) -> bool {
    let mends = [Goal::RackAware, Goal::RackAwareDistribution];
    mends.iter().any(|goal| state.policy.goals.contains(goal))
}
