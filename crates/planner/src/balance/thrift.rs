//! Fewer and smaller moves, by a price.
//!
//! A move that is undone, or made by a smaller replica, saves its price; brokers may come to stand outside their limits if
//! that costs them less. What moves anyway is then sent elsewhere, so that they come back within: that costs no move. The
//! middle of a band pulls more than in the search, which keeps room on all brokers for what goes home later.

use super::bands::{EDGE, Parts, UNIT};
use super::cluster::DISK;
use super::polish::polish;
use super::search::{Best, Dice, Step, apply, mend};
use super::state::State;
use super::watch::{Stage, tell};

/// The price of a move, in percent of what it costs a broker at the edge of its limits to take a replica of mean load, and how much
/// stronger the middle pulls; one stage after the other.
const STAGES: [(i64, i64); 3] = [(150, 400), (150, 100), (100, 25)];
/// What is left to save is worth the time where a plan has more than so many thousandths of moves beyond the fewest.
const FAR: u64 = 20;
/// In a stage no more moves than this are looked at, so that it takes seconds where there are a million.
const MOST_MOVES: usize = 1 << 17;
/// Brokers looked at for one that goes elsewhere.
const TARGETS: usize = 16;
/// Replicas looked at that might change places with it.
const PARTNERS: usize = 16;

/// Undoes and exchanges moves where there are many more than the fewest that any plan needs, and all limits are kept.
pub(crate) fn save_moves(state: &mut State<'_>, dice: &mut Dice, fewest: u64) {
    let many = |moves: usize| moves as u64 > fewest + fewest * FAR / 1000;
    if !many(moved(state).len()) || state.outside() > 0 {
        return;
    }
    let mut best = Found::of(state);
    let replicas = state.place.len() as i64 / state.cost.len().max(1) as i64;
    let steps = state.place.len() * 4 + 1000;
    for (percent, pull) in STAGES {
        let toll = Toll::new(state, (EDGE << UNIT) / replicas.max(1) * percent / 100);
        state.set_pull(pull);
        let moved = moved(state);
        descend(state, dice, &toll, &moved);
        state.set_pull(1);
        mend(state, dice, steps);
        polish(state, dice);
        let found = Found::of(state);
        if found.price < best.price && state.outside() == 0 {
            best = found;
        }
    }
    state.go_to(&best.place, &best.leader);
}

/// What moving replicas costs.
struct Toll {
    price: i64,
    size: Parts,
    weight: i64,
}

impl Toll {
    fn new(state: &State<'_>, price: i64) -> Toll {
        let mean = state.cluster.total[DISK] / state.place.len().max(1) as i64;
        Toll { price, size: Parts::of(mean), weight: state.policy.size_weight.clamp(0, 1 << 20) }
    }

    fn of(&self, state: &State<'_>, replica: u32) -> i64 {
        let size = self.size.in_all(state.cluster.load[replica as usize][DISK]).min(LARGEST << UNIT);
        self.price + ((((self.price * self.weight) / 1000) * (size >> COARSE)) >> (UNIT - COARSE))
    }
}

/// Larger than so many of mean size costs no more.
const LARGEST: i64 = 1 << 10;
/// Sizes count in parts of 2^10 of the mean.
const COARSE: u32 = UNIT - 10;

/// A placement that was found.
struct Found {
    place: Vec<u32>,
    leader: Vec<u32>,
    /// What all moves cost.
    price: i64,
}

impl Found {
    fn of(state: &State<'_>) -> Found {
        let (toll, moved) = (Toll::new(state, 1 << 10), moved(state));
        Found {
            place: state.place.clone(),
            leader: state.leader.clone(),
            price: moved.iter().map(|replica| toll.of(state, *replica)).sum(),
        }
    }
}

fn moved(state: &State<'_>) -> Vec<u32> {
    let all = 0..state.place.len() as u32;
    all.filter(|replica| is_away(state, *replica)).collect()
}

fn is_away(state: &State<'_>, replica: u32) -> bool {
    state.place[replica as usize] != state.home(replica)
}

/// Takes for each replica that has moved the best that can be done with it.
fn descend(state: &mut State<'_>, dice: &mut Dice, toll: &Toll, moved: &[u32]) {
    let mut order = moved.to_vec();
    for last in (1..order.len()).rev() {
        order.swap(last, dice.below(last + 1));
    }
    order.truncate(MOST_MOVES);
    let all = order.len();
    for (at, replica) in order.into_iter().enumerate() {
        tell(state.watch, Stage::Polishing, at, all);
        if !is_away(state, replica) || !state.movable(replica) {
            continue;
        }
        let mut best = Best::new();
        elsewhere(state, dice, toll, replica, &mut best);
        instead(state, toll, replica, &mut best);
        exchanges(state, dice, toll, (replica, moved), &mut best);
        if let Some(step) = best.step() {
            apply(state, step);
        }
    }
}

/// Home, or to another broker.
fn elsewhere(state: &State<'_>, dice: &mut Dice, toll: &Toll, replica: u32, best: &mut Best) {
    let (home, n) = (state.home(replica), state.cost.len());
    let leaves = leaves(state, replica);
    let (start, looks) = (dice.below(n), TARGETS.min(n));
    let others = (0..looks).map(|at| ((start + at * n / looks) % n) as u32);
    for to in std::iter::once(home).chain(others) {
        let saved = if to == home { toll.of(state, replica) } else { 0 };
        if leaves + saved + state.cost[to as usize] <= best.gain {
            continue;
        }
        let gain = leaves + saved - arrives(state, replica, to);
        if gain > best.gain && state.legal(replica, to) {
            best.offer(gain, Step::Move { replica, to });
        }
    }
}

/// Home, where another of the partition stands in the rack and leaves it instead.
fn instead(state: &mut State<'_>, toll: &Toll, one: u32, best: &mut Best) {
    let (home, here) = (state.home(one), state.place[one as usize]);
    let rack = state.rack(home);
    if !state.may_take(one, home) || state.crowd(one, home) == 0 {
        return;
    }
    let mates = state.cluster.row(state.part[one as usize]).map(|mate| mate as u32);
    let mate = |mate: &u32| *mate != one && state.rack(state.place[*mate as usize]) == rack;
    let Some(other) = mates.filter(mate).find(|mate| state.movable(*mate)) else { return };
    let was = state.place[other as usize];
    let toll_of_other = toll.of(state, other);
    let saved = toll.of(state, one) - if is_away(state, other) { 0 } else { toll_of_other };
    let falls = leaves(state, one) + leaves(state, other) + saved - arrives(state, one, home);
    if was == here || falls + toll_of_other <= best.gain {
        return;
    }
    state.detach(one);
    state.detach(other);
    if state.crowd(one, home) == 0 {
        state.attach(one, home);
        for to in (0..state.cost.len() as u32).filter(|to| state.rack(*to) != rack) {
            let back = if to == state.home(other) { toll_of_other } else { 0 };
            let gain = falls + back - arrives(state, other, to);
            if gain > best.gain && state.legal(other, to) {
                best.offer(gain, Step::Cross { one, to: home, other, to_other: to });
            }
        }
        state.detach(one);
    }
    state.attach(other, was);
    state.attach(one, here);
}

/// Places changed with another that has moved, or with one that stands at home and is to move in its place.
fn exchanges(state: &State<'_>, dice: &mut Dice, toll: &Toll, (one, moved): (u32, &[u32]), best: &mut Best) {
    let (home, here) = (state.home(one), state.place[one as usize]);
    let at_home = &state.on[home as usize];
    let leaves = state.figures(one);
    for at in 0..PARTNERS {
        let from = if at % 2 == 0 || at_home.is_empty() { moved } else { at_home };
        let other = from[dice.below(from.len())];
        let there = state.place[other as usize];
        if there == here || state.part[one as usize] == state.part[other as usize] {
            continue;
        }
        let mut change = state.figures(other);
        super::state::add(&mut change, &leaves, -1);
        let back = |replica: u32, to: u32| i64::from(state.home(replica) == to) * toll.of(state, replica);
        let saved = back(one, there) + back(other, here) - back(other, there);
        let gain = saved + state.cost[here as usize] - state.cost_with(here as usize, &change, 1)
            + state.cost[there as usize]
            - state.cost_with(there as usize, &change, -1);
        if gain > best.gain && state.movable(other) && state.legal(one, there) && state.legal(other, here) {
            let topics = state.topic_leave(one, here)
                + state.topic_arrive(one, there)
                + state.topic_leave(other, there)
                + state.topic_arrive(other, here);
            best.offer(gain - topics, Step::Swap { one, other });
        }
    }
}

/// By how much the cost falls where a replica stands if it leaves.
fn leaves(state: &State<'_>, replica: u32) -> i64 {
    let from = state.place[replica as usize];
    let falls = state.cost[from as usize] - state.cost_with(from as usize, &state.figures(replica), -1);
    falls - state.topic_leave(replica, from)
}

/// By how much it grows where it arrives.
fn arrives(state: &State<'_>, replica: u32, to: u32) -> i64 {
    let grows = state.cost_with(to as usize, &state.figures(replica), 1) - state.cost[to as usize];
    grows + state.topic_arrive(replica, to)
}
