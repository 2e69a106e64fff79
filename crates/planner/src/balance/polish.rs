//! Polish: fewer and smaller moves for the same verdict.

use super::bands::{FIGURES, Figures};
use super::search::Dice;
use super::state::{State, add};
use super::watch::{Stage, tell};

/// So many of the largest moved replicas are exchanged for smaller ones.
const SHRUNK: usize = 256;
/// Partners looked at for each moved replica.
const PARTNERS: usize = 24;

/// Undoes moves that are not needed, and takes smaller replicas where larger ones were taken.
pub(crate) fn polish(state: &mut State<'_>, dice: &mut Dice) {
    for _ in 0..4 {
        let mut better = false;
        let moved = moved(state);
        for replica in &moved {
            better |= undo(state, *replica);
        }
        let mut foreign = foreigners(state);
        for (at, replica) in moved.iter().enumerate() {
            tell(state.watch, Stage::Polishing, at, moved.len());
            if foreign[state.home(*replica) as usize] > 0 && exchange(state, dice, *replica) {
                foreign[state.home(*replica) as usize] -= 1;
                better = true;
            }
        }
        if !better {
            break;
        }
    }
    for replica in moved(state).into_iter().take(SHRUNK) {
        shrink(state, dice, replica);
    }
}

/// How many replicas each broker holds that were not its own.
fn foreigners(state: &State<'_>) -> Vec<u32> {
    let mut foreign = vec![0; state.cost.len()];
    for (replica, place) in (0..).zip(&state.place) {
        foreign[*place as usize] += u32::from(*place != state.home(replica));
    }
    foreign
}

/// Moved replicas, the largest first.
fn moved(state: &State<'_>) -> Vec<u32> {
    let all = 0..state.place.len() as u32;
    let mut moved: Vec<u32> = all.filter(|r| state.place[*r as usize] != state.home(*r)).collect();
    moved.sort_by_cached_key(|r| std::cmp::Reverse(size(state, *r)));
    moved
}

fn size(state: &State<'_>, replica: u32) -> i64 {
    state.cluster.load[replica as usize][super::cluster::DISK]
}

fn fits_at(state: &State<'_>, replica: u32, to: u32) -> bool {
    state.legal(replica, to)
        && (!state.leads(replica) || state.spares(replica))
        && state.topic_arrive(replica, to) <= 0
        && state.topic_leave(replica, state.place[replica as usize]) <= 0
}

fn difference(plus: &Figures, minus: &Figures) -> Figures {
    let mut change = *plus;
    add(&mut change, minus, -1);
    change
}

fn undo(state: &mut State<'_>, replica: u32) -> bool {
    let (here, home) = (state.place[replica as usize], state.home(replica));
    if here == home || !fits_at(state, replica, home) {
        return false;
    }
    let figures = state.figures(replica);
    let fits = state.fits(home as usize, &figures)
        && state.fits(here as usize, &difference(&[0; FIGURES], &figures));
    if fits {
        state.relocate(replica, home);
    }
    fits
}

/// Whether two replicas may change places.
fn may_swap(state: &State<'_>, one: u32, other: u32) -> bool {
    let (here, there) = (state.place[one as usize], state.place[other as usize]);
    if state.part[one as usize] == state.part[other as usize] {
        return false;
    }
    let (a, b) = (state.figures(one), state.figures(other));
    let change = difference(&b, &a);
    state.fits(here as usize, &change)
        && state.fits(there as usize, &difference(&a, &b))
        && fits_at(state, one, there)
        && fits_at(state, other, here)
}

fn swap(state: &mut State<'_>, one: u32, other: u32) {
    let (here, there) = (state.place[one as usize], state.place[other as usize]);
    state.relocate(one, there);
    state.relocate(other, here);
}

/// Sends a replica home and forwards a foreigner from there to where the replica was.
fn exchange(state: &mut State<'_>, dice: &mut Dice, replica: u32) -> bool {
    let home = state.home(replica);
    if state.place[replica as usize] == home || !fits_at(state, replica, home) {
        return false;
    }
    let on = &state.on[home as usize];
    if on.is_empty() {
        return false;
    }
    // Foreigners came last, so they stand at the end.
    for _ in 0..PARTNERS.min(on.len()) {
        let back = dice.below(on.len().min(PARTNERS * 4));
        let other = on[on.len() - 1 - back];
        if state.home(other) != home && may_swap(state, replica, other) {
            swap(state, replica, other);
            return true;
        }
    }
    false
}

/// Sends a replica home and a smaller one from there in its place.
fn shrink(state: &mut State<'_>, dice: &mut Dice, replica: u32) -> bool {
    let home = state.home(replica);
    if state.place[replica as usize] == home || !fits_at(state, replica, home) {
        return false;
    }
    let on = &state.on[home as usize];
    let mut best: Option<(i64, u32)> = None;
    for _ in 0..PARTNERS.min(on.len()) {
        let other = on[dice.below(on.len())];
        let saved = size(state, replica) - size(state, other);
        if saved > 0
            && state.home(other) == home
            && state.movable(other)
            && best.is_none_or(|(most, _)| saved > most)
            && may_swap(state, replica, other)
        {
            best = Some((saved, other));
        }
    }
    let Some((_, other)) = best else { return false };
    swap(state, replica, other);
    true
}
