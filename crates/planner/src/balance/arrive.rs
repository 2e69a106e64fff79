//! Where replicas that left their brokers go: to the brokers with the most room for them.

use super::bands::{COUNT, FIGURES, Figures, POTENTIAL, Parts, UNIT};
use super::cluster::{DISK, Mark, NETWORK_IN};
use super::lead::may_lead;
use super::policy::{Moves, Preference};
use super::search::Dice;
use super::state::State;
use super::watch::{Stage, tell};

/// Levels of all brokers, weighed so that the product with a replica's parts says how little room there is for it.
struct Levels {
    /// Parts of a mean broker's fair share, by figure; nothing where no goal is about the figure.
    mean: [Option<Parts>; FIGURES],
    /// How much sooner each broker is filled than a mean one: the ratio of fair shares, in parts of 2^10.
    ratio: Vec<[i64; FIGURES]>,
    of: Vec<[i64; FIGURES]>,
}

impl Levels {
    fn new(state: &State<'_>) -> Levels {
        let n = state.cost.len();
        let alive: Vec<usize> = (0..n).filter(|b| state.cluster.brokers[*b].alive).collect();
        let mut levels =
            Levels { mean: [None; FIGURES], ratio: vec![[0; FIGURES]; n], of: vec![[0; FIGURES]; n] };
        for figure in 0..FIGURES {
            let share = |broker: usize| state.bands.of[broker][figure].share();
            let shares: Vec<i64> = alive.iter().filter_map(|b| share(*b)).collect();
            let sum: i128 = shares.iter().map(|share| i128::from(*share)).sum();
            let mean = sum / (shares.len().max(1) as i128);
            if mean == 0 {
                continue;
            }
            levels.mean[figure] = i64::try_from(mean).ok().map(Parts::of);
            for broker in &alive {
                let ratio = share(*broker).map_or(0, |share| (mean << 10) / i128::from(share));
                levels.ratio[*broker][figure] = ratio.clamp(0, 1 << 16) as i64;
            }
        }
        for broker in alive {
            levels.refresh(state, broker);
        }
        levels
    }

    fn refresh(&mut self, state: &State<'_>, broker: usize) {
        let (bands, sum) = (&state.bands.of[broker], &state.sum[broker]);
        for figure in 0..FIGURES {
            let level = bands[figure].level(sum[figure]) * self.ratio[broker][figure];
            let weight = if level > 0 { ABOVE } else { 1 };
            self.of[broker][figure] = ((level >> 10) * weight).clamp(-(1 << 27), 1 << 27);
        }
    }

    /// What parts of a mean broker's fair shares a replica takes.
    fn parts(&self, figures: &Figures) -> [i64; FIGURES] {
        let mut parts = [0; FIGURES];
        for figure in 0..FIGURES {
            parts[figure] = self.mean[figure].map_or(0, |mean| mean.in_all(figures[figure]));
        }
        parts
    }
}

/// What stands above its fair share weighs so much more: the limit is near.
const ABOVE: i64 = 4;
/// A replica with a figure above this part of a broker's fair share finds its place while there is choice: 1/64.
const LARGE: i64 = 1 << (UNIT - 6);
/// Between two times so many of the least loaded are considered.
const NEAREST: usize = 256;
/// Which brokers have room is looked up anew after so many arrivals.
const LOOKED_UP: usize = 128;

/// Finds a broker for every replica that is nowhere. What fits nowhere goes where it does least harm, or back.
///
/// Large replicas come first, the largest before the others. The rest comes in a shuffled order: then every broker gets its
/// share of every size, and what is left at the end is not all small.
pub(crate) fn arrive(state: &mut State<'_>, dice: &mut Dice, mut pool: Vec<u32>) {
    for last in (1..pool.len()).rev() {
        pool.swap(last, dice.below(last + 1));
    }
    seat_small(state, &mut pool);
    let mut levels = Levels::new(state);
    let size = |levels: &Levels, state: &State<'_>, replica: u32| {
        let parts = levels.parts(&state.figures(replica));
        parts.into_iter().max().filter(|most| *most > LARGE).unwrap_or(0)
    };
    pool.sort_by_cached_key(|replica| std::cmp::Reverse(size(&levels, state, *replica)));
    let same_rack = state.policy.prefers(Preference::SameRack);
    let mut open: Vec<(i64, usize)> = Vec::new();
    let all = pool.len();
    let homeless: Vec<u32> = pool.iter().copied().filter(|r| state.cluster.homeless(*r)).collect();
    for (at, replica) in pool.into_iter().enumerate() {
        tell(state.watch, Stage::Arriving, at, all);
        if at % LOOKED_UP == 0 {
            open = (0..state.cost.len()).filter(|b| has_room(state, *b)).map(|b| (0, b)).collect();
            if open.len() > NEAREST {
                open.select_nth_unstable_by_key(NEAREST, |(_, b)| (levels.of[*b].iter().sum::<i64>(), *b));
                open.truncate(NEAREST);
            }
        }
        let figures = state.figures(replica);
        let parts = levels.parts(&figures);
        for (crowding, broker) in &mut open {
            *crowding = levels.of[*broker].iter().zip(&parts).map(|(level, part)| level * part).sum();
        }
        let mut to = None;
        if same_rack {
            let rack = state.rack(state.home(replica));
            let mut near: Vec<_> =
                open.iter().filter(|(_, broker)| state.rack(*broker as u32) == rack).copied().collect();
            // As a follower: leadership can be passed on to another rack without it.
            to = roomiest(state, replica, &state.follower(replica), &mut near);
        }
        to = to.or_else(|| roomiest(state, replica, &figures, &mut open));
        if to.is_none() && open.len() == NEAREST {
            let crowding = |b: usize| levels.of[b].iter().zip(&parts).map(|(level, part)| level * part).sum();
            let all = (0..state.cost.len()).filter(|b| has_room(state, *b));
            to = roomiest(state, replica, &figures, &mut all.map(|b| (crowding(b), b)).collect::<Vec<_>>());
        }
        let to = to.unwrap_or_else(|| least_harm(state, replica));
        state.attach(replica, to);
        levels.refresh(state, to as usize);
    }
    apart(state, &homeless);
    if state.policy.moves != Moves::Nothing {
        rescue(state);
    }
}

/// Parts those that come off the dead from others of their partitions that found no place and went home to the same rack.
fn apart(state: &mut State<'_>, homeless: &[u32]) {
    for replica in homeless.iter().copied() {
        let place = state.place[replica as usize];
        if place == state.home(replica) || state.crowd(replica, place) == 0 {
            continue;
        }
        let to = least_harm(state, replica);
        if state.crowd(replica, to) < state.crowd(replica, place) {
            state.relocate(replica, to);
        }
    }
}

/// Makes room for replicas that are still on dead brokers: another of the partition, that has gone elsewhere, goes home.
fn rescue(state: &mut State<'_>) {
    let dead = state.dead.iter().flat_map(|broker| state.on[*broker].iter().copied());
    let failed = state.failed.iter().copied().filter(|r| state.place[*r as usize] == state.home(*r));
    let left: Vec<u32> = dead.chain(failed).filter(|replica| !state.locked(*replica)).collect();
    for replica in left {
        let row = state.cluster.row(state.part[replica as usize]);
        let away = row.map(|other| other as u32).find(|other| {
            let home = state.home(*other);
            state.place[*other as usize] != home && state.may_take(*other, home)
        });
        if let Some(away) = away {
            state.relocate(away, state.home(away));
        }
        let to = least_harm(state, replica);
        if to != state.place[replica as usize] {
            state.relocate(replica, to);
        }
    }
}

/// Takes off again what stands on brokers beyond their hard limit of disk, or beyond what they held if that was more: to others that
/// have room, or back. What a dead broker has nobody has room for stays there.
pub(crate) fn spill(state: &mut State<'_>) {
    let full: Vec<u32> = (0..state.cost.len() as u32).filter(|broker| state.lacks_disk(*broker)).collect();
    if full.is_empty() {
        return;
    }
    let mut held = vec![0; state.cost.len()];
    for (replica, home) in state.cluster.place.iter().enumerate() {
        held[*home as usize] += state.cluster.load_at(replica, *home)[DISK];
    }
    for broker in full {
        let mut foreign: Vec<u32> =
            state.on[broker as usize].iter().copied().filter(|r| state.home(*r) != broker).collect();
        // Those that live go home first; of each sort the smallest that is enough, or else the largest.
        foreign.sort_by_key(|r| (state.cluster.homeless(*r), state.cluster.load[*r as usize][DISK], *r));
        while state.lacks_disk(broker) && state.sum[broker as usize][DISK] > held[broker as usize] {
            let beyond = state.beyond_disk(broker);
            let enough = foreign.iter().position(|r| state.cluster.load[*r as usize][DISK] >= beyond);
            let Some(at) = enough.or(foreign.len().checked_sub(1)) else { break };
            let replica = foreign.remove(at);
            if let Some(to) = elsewhere(state, replica) {
                hand_on(state, replica, to);
                state.relocate(replica, to);
            }
        }
    }
}

/// Lets another replica lead before one that leads goes back to a dead broker.
fn hand_on(state: &mut State<'_>, replica: u32, to: u32) {
    if !state.leads(replica) || state.cluster.brokers[to as usize].alive {
        return;
    }
    let row = state.cluster.row(state.part[replica as usize]);
    let mut others = row.map(|other| other as u32).filter(|other| *other != replica);
    if let Some(heir) = others.find(|heir| may_lead(state, *heir)) {
        state.lead(heir);
    }
}

/// A broker that has disk for a replica where there is one; else the dead one that it comes from.
fn elsewhere(state: &State<'_>, replica: u32) -> Option<u32> {
    let figures = state.figures(replica);
    let takes = |to: &u32| state.may_take(replica, *to) && state.has_disk(replica, *to);
    let harm = |to: u32| {
        let cost = state.cost_with(to as usize, &figures, 1) - state.cost[to as usize];
        (shares(state, replica, to), cost + state.topic_arrive(replica, to), to)
    };
    let least = (0..state.cost.len() as u32).filter(takes).map(harm).min().map(|(.., to)| to);
    least.or_else(|| state.cluster.homeless(replica).then(|| state.home(replica)))
}

fn has_room(state: &State<'_>, broker: usize) -> bool {
    let known = &state.cluster.brokers[broker];
    known.alive
        && known.takes_replicas
        && (known.mark == Mark::New
            || state.policy.moves != Moves::ToNew
            || !(state.dead.is_empty() && state.failed.is_empty()))
        && state.sum[broker][COUNT] < state.bands.of[broker][COUNT].high
}

/// Gives brokers that miss replicas, but lack the room for any of two fifths of the mean size, those that are small enough.
fn seat_small(state: &mut State<'_>, pool: &mut Vec<u32>) {
    let mut mean = [0; FIGURES];
    for replica in pool.iter() {
        super::state::add(&mut mean, &state.figures(*replica), 1);
    }
    let mean = mean.map(|sum| sum / pool.len().max(1) as i64);
    for broker in 0..state.cost.len() {
        let missing = |state: &State<'_>| state.bands.of[broker][COUNT].low - state.sum[broker][COUNT];
        let room = |state: &State<'_>, figure: usize| {
            (state.bands.of[broker][figure].high - state.sum[broker][figure]).max(0)
        };
        let tight = BY_ARRIVALS.iter().any(|f| room(state, *f) / missing(state).max(1) < mean[*f] / 5 * 2);
        if !has_room(state, broker) || missing(state) <= 0 || !tight {
            continue;
        }
        pool.retain(|replica| {
            let missing = missing(state);
            let figures = state.figures(*replica);
            let small = |f: usize| {
                f == COUNT || figures[f] <= (room(state, f) / missing.max(1)).saturating_mul(LOOSE) / 4
            };
            let to = broker as u32;
            let seated = missing > 0
                && (0..FIGURES).all(small)
                && state.may_take(*replica, to)
                && state.crowd(*replica, to) == 0
                && state.topic_arrive(*replica, to) <= 0
                && state.fits(broker, &figures);
            if seated {
                state.attach(*replica, to);
            }
            !seated
        });
    }
}

/// Figures of loads that no leadership takes away.
const BY_ARRIVALS: [usize; 3] = [NETWORK_IN, DISK, POTENTIAL];
/// A replica counts as small if it takes no more than so many quarters of the room there is for each that is missing.
const LOOSE: i64 = 7;
const REFUSED: i64 = i64::MAX;

/// The broker with the most room that stays within all limits.
fn roomiest(state: &State<'_>, replica: u32, figures: &Figures, open: &mut [(i64, usize)]) -> Option<u32> {
    loop {
        let mut best = 0;
        for at in 1..open.len() {
            if open[at].0 < open[best].0 {
                best = at;
            }
        }
        let (least, to) = *open.get(best)?;
        if least == REFUSED {
            return None;
        }
        let broker = to as u32;
        if state.fits(to, figures)
            && state.may_take(replica, broker)
            && state.crowd(replica, broker) == 0
            && state.topic_arrive(replica, broker) <= 0
            && !state.shares_host(replica, broker)
        {
            return Some(broker);
        }
        open[best].0 = REFUSED;
    }
}

/// The broker on which a replica that fits nowhere does least harm: in racks first. Its own where there is none.
fn least_harm(state: &State<'_>, replica: u32) -> u32 {
    let home = state.home(replica);
    let figures = state.figures(replica);
    let alive = !state.cluster.homeless(replica) && state.has_dir(replica, home);
    let may =
        |to: &u32| (alive && *to == home) || (state.may_take(replica, *to) && state.has_disk(replica, *to));
    let harm = |to: u32| {
        let cost = state.cost_with(to as usize, &figures, 1) - state.cost[to as usize];
        // To stay costs no move.
        (shares(state, replica, to), cost + state.topic_arrive(replica, to), to != home, to)
    };
    (0..state.cost.len() as u32).filter(may).map(harm).min().map_or(home, |(.., to)| to)
}

/// How much of its rack a replica would share, and whether of its host.
pub(super) fn shares(state: &State<'_>, replica: u32, to: u32) -> (u32, bool) {
    (state.crowd(replica, to), state.shares_host(replica, to))
}
