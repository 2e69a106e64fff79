//! Where the brokers that live have too little disk for all that has to come off dead ones: as many replicas as can be, so
//! the smallest first. What is left stays where it is, and takes no room of what could be placed.

use super::arrive::shares;
use super::cluster::DISK;
use super::policy::Moves;
use super::state::State;

/// How much of the room counts as lost between replicas, in parts of it.
const LOST: i128 = 128;

/// Whether the disk that is left is too little for all that has to come off dead brokers and failed log dirs, and off those that
/// live and are too full.
pub(crate) fn is_scarce(state: &State<'_>) -> bool {
    if state.policy.moves == Moves::Nothing || (state.dead.is_empty() && state.failed.is_empty()) {
        return false;
    }
    let offline = offline(state);
    let size = |replica: &u32| i128::from(state.cluster.load[*replica as usize][DISK]);
    let mut need: i128 = offline.iter().map(size).sum();
    let mut room = 0;
    for (broker, known) in (0..).zip(&state.cluster.brokers).filter(|(_, known)| known.alive) {
        let beyond = i128::from(state.beyond_disk(broker));
        need += beyond.max(0);
        room += if known.takes_replicas { (-beyond).max(0) } else { 0 };
    }
    !offline.is_empty() && need > room - room / LOST
}

/// Replicas that have to come off, and may.
fn offline(state: &State<'_>) -> Vec<u32> {
    let dead = state.dead.iter().flat_map(|broker| state.on[*broker].iter().copied());
    let failed = state.failed.iter().copied().filter(|r| state.place[*r as usize] == state.home(*r));
    dead.chain(failed).filter(|replica| !state.locked(*replica)).collect()
}

/// Gives places to as many replicas as have room, and says whether any was placed.
pub(crate) fn place_smallest(state: &mut State<'_>) -> bool {
    let mut left = offline(state);
    left.sort_by_key(|replica| (state.cluster.load[*replica as usize][DISK], *replica));
    let mut placed = false;
    for replica in left {
        if let Some(to) = roomiest(state, replica) {
            state.relocate(replica, to);
            placed = true;
        }
    }
    placed
}

/// The broker with room where a replica shares a rack least, is within all limits if anywhere, and then does least harm.
fn roomiest(state: &State<'_>, replica: u32) -> Option<u32> {
    let figures = state.figures(replica);
    let takes = |to: &u32| state.may_take(replica, *to) && state.has_disk(replica, *to);
    let harm = |to: u32| {
        let cost = state.cost_with(to as usize, &figures, 1) - state.cost[to as usize];
        let fits = state.fits(to as usize, &figures);
        (shares(state, replica, to), !fits, cost + state.topic_arrive(replica, to), to)
    };
    (0..state.cost.len() as u32).filter(takes).map(harm).min().map(|(.., to)| to)
}
