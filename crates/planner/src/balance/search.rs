//! The search: the worst broker, again and again.

use super::bands::{COUNT, FIGURES, Figures, LEADER_IN, LEADERS, POTENTIAL};
use super::cross::{crosses_in, crosses_out, tight_racks};
use super::state::State;
use super::watch::{Progress, Stage};

/// Replicas looked at before the sample is widened.
const SAMPLE: usize = 6;
/// What costs more moves is tried from this sample on.
const WIDE: usize = SAMPLE << 6;
/// The widest sample before a broker counts as stuck.
const WIDEST: usize = 1 << 15;
/// Looks at so many pairs of replica and broker at once, however wide the sample.
const PAIRS: usize = 1 << 14;

/// More brokers than this are not all looked at each time.
const MANY: usize = 256;
/// How far it is is told after so many steps.
const TOLD: usize = 1024;
/// After so many steps for each broker it is looked whether they were of use.
const ROUND: usize = 8;
/// They were if what is left has become less by this part.
const LITTLE: i128 = 256;
/// So many times in a row they may be of none.
const PATIENCE: usize = 3;
/// Where steps have to be looked for far and wide, it is looked after looks at so many replicas, for each that there is, whether
/// they were of use.
const FAR: u64 = 8;
/// They were if what is left has become less by this part.
const ENOUGH: i128 = 16;
/// So many brokers are asked for a replica at first.
const DONORS: usize = 32;

/// A fixed sequence of numbers that look random (xorshift).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed | 1)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0) * bound as u128) >> 64) as usize
    }
}

/// A step that makes the placement better by `gain`.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    Move {
        replica: u32,
        to: u32,
    },
    Swap {
        one: u32,
        other: u32,
    },
    Lead {
        replica: u32,
    },
    /// Two of a partition.
    Cross {
        one: u32,
        to: u32,
        other: u32,
        to_other: u32,
    },
}

/// Figures that only moves of replicas mend, or mend best.
const BY_MOVES: [usize; 4] = [1, 3, COUNT, POTENTIAL];
/// Figures that leadership alone can mend.
const BY_LEADERS: [usize; 4] = [0, 2, LEADERS, LEADER_IN];

fn outside(state: &State<'_>, broker: usize, figures: &[usize], high: bool) -> bool {
    figures.iter().any(|figure| {
        let (band, sum) = (&state.bands.of[broker][*figure], state.sum[broker][*figure]);
        if high { sum > band.high } else { sum < band.low }
    })
}

fn is_bad(state: &State<'_>, broker: usize) -> bool {
    (0..FIGURES).any(|figure| state.bands.of[broker][figure].excess(state.sum[broker][figure]) > 0)
}

/// Mends the worst broker, step by step, until no broker is outside its bands or none can be mended. At most so many steps.
/// Says whether it did anything and more of it may be of use.
pub(crate) fn mend(state: &mut State<'_>, dice: &mut Dice, steps: usize) -> bool {
    let mut mended = false;
    let n = state.cost.len();
    let mut width = vec![SAMPLE; n];
    let mut offers = Vec::new();
    // A sample that holds everything need not be widened.
    let widest = state.on.iter().map(Vec::len).max().map_or(0, |longest| (16 * longest).clamp(WIDE, WIDEST));
    let bad = |state: &State<'_>| (0..n).filter(|broker| is_bad(state, *broker)).count();
    let all = bad(state);
    let left = |state: &State<'_>| {
        (0..n).filter(|broker| is_bad(state, *broker)).map(|b| i128::from(state.cost[b])).sum::<i128>()
    };
    let (start, mut before, mut idle) = (left(state), i128::MAX, 0);
    let far = FAR * state.place.len().max(MANY) as u64;
    let (mut looks, mut checked, mut at_check) = (0, far, start);
    let racks = tight_racks(state);
    for step in 0..steps {
        if step.is_multiple_of(ROUND * n) {
            let left = left(state);
            idle = if left > before - before / LITTLE { idle + 1 } else { 0 };
            before = left;
            if idle == PATIENCE {
                return false;
            }
        }
        if step.is_multiple_of(TOLD) {
            let done = all.saturating_sub(bad(state));
            (state.watch)(Progress { stage: Stage::Mending, done, of: all });
        }
        let worst = worst(state, &width, widest);
        let Some(worst) = worst else { break };
        looks += width[worst].min(PAIRS) as u64;
        if looks >= checked {
            let left = left(state);
            if left > at_check - at_check / ENOUGH {
                return false;
            }
            (checked, at_check) = (looks + far, left);
        }
        match best_step(state, dice, worst, width[worst], &mut offers, racks.as_deref()) {
            Some(step) => {
                let touched = apply(state, step);
                mended = true;
                width[worst] = SAMPLE;
                for broker in touched {
                    width[broker] = SAMPLE;
                }
            }
            None => width[worst] *= 8,
        }
    }
    mended && left(state) <= start - start / LITTLE
}

/// The broker that costs most of those outside their bands that are not given up.
fn worst(state: &State<'_>, width: &[usize], widest: usize) -> Option<usize> {
    let mut worst = None;
    for (broker, cost) in state.cost.iter().enumerate() {
        // Most are ruled out by cost alone, so that their bands need not be looked at.
        let costs_more = worst.is_none_or(|(most, _)| *cost >= most);
        if costs_more
            && state.cluster.brokers[broker].alive
            && width[broker] <= widest
            && is_bad(state, broker)
        {
            worst = Some((*cost, broker));
        }
    }
    worst.map(|(_, broker)| broker)
}

/// Takes a step, and names two brokers that it changes.
pub(crate) fn apply(state: &mut State<'_>, step: Step) -> [usize; 2] {
    match step {
        Step::Move { replica, to } => {
            let from = state.place[replica as usize] as usize;
            state.relocate(replica, to);
            [from, to as usize]
        }
        Step::Swap { one, other } => {
            let (here, there) = (state.place[one as usize], state.place[other as usize]);
            state.relocate(one, there);
            state.relocate(other, here);
            [here as usize, there as usize]
        }
        Step::Lead { replica } => {
            let old = state.leader[state.part[replica as usize] as usize];
            let touched = [state.place[old as usize] as usize, state.place[replica as usize] as usize];
            state.lead(replica);
            touched
        }
        Step::Cross { one, to, other, to_other } => {
            state.relocate(one, to);
            state.relocate(other, to_other);
            [to as usize, to_other as usize]
        }
    }
}

fn best_step(
    state: &State<'_>,
    dice: &mut Dice,
    worst: usize,
    width: usize,
    offers: &mut Vec<Offer>,
    racks: Option<&[Vec<u32>]>,
) -> Option<Step> {
    let mut best = Best::new();
    if outside(state, worst, &BY_MOVES, true) {
        moves_out(state, dice, worst, width, &mut best);
    } else if outside(state, worst, &BY_MOVES, false) {
        moves_in(state, dice, worst, width, &mut best, offers);
    }
    if best.step.is_none() {
        leads(state, dice, worst, width, &mut best);
    }
    if let Some(racks) = racks.filter(|_| best.step.is_none()) {
        if outside(state, worst, &BY_MOVES, true) {
            crosses_out(state, dice, worst, racks, &mut best);
        } else if outside(state, worst, &BY_MOVES, false) {
            crosses_in(state, dice, worst, racks, &mut best);
        }
    }
    if best.step.is_none() && width >= WIDE {
        if outside(state, worst, &BY_LEADERS, true) {
            moves_out(state, dice, worst, width, &mut best);
        }
        if outside(state, worst, &BY_LEADERS, false) {
            moves_in(state, dice, worst, width, &mut best, offers);
        }
    }
    if best.step.is_none() && width >= WIDE {
        swaps(state, dice, worst, width, &mut best);
    }
    best.step
}

/// Exchanges of a broker's replicas for those of others.
fn swaps(state: &State<'_>, dice: &mut Dice, here: usize, width: usize, best: &mut Best) {
    let n = state.cost.len();
    let each = (width / 16).clamp(1, 16);
    for one in sample(&state.on[here], dice, (width / 8).min(64)) {
        if !state.movable(one) {
            continue;
        }
        let leaves = state.figures(one);
        for _ in 0..n.min(16) {
            let there = dice.below(n);
            if there == here || !state.legal(one, there as u32) {
                continue;
            }
            for other in sample(&state.on[there], dice, each) {
                let mut change = state.figures(other);
                super::state::add(&mut change, &leaves, -1);
                let gain = state.cost[here] - state.cost_with(here, &change, 1) + state.cost[there]
                    - state.cost_with(there, &change, -1);
                if gain > best.gain
                    && state.movable(other)
                    && state.part[one as usize] != state.part[other as usize]
                    && state.legal(other, here as u32)
                {
                    let topic = state.topic_leave(one, here as u32)
                        + state.topic_arrive(one, there as u32)
                        + state.topic_leave(other, there as u32)
                        + state.topic_arrive(other, here as u32);
                    best.offer(gain - topic, Step::Swap { one, other });
                }
            }
        }
    }
}

/// The best step of those that were looked at.
pub(crate) struct Best {
    pub(crate) gain: i64,
    step: Option<Step>,
}

impl Best {
    pub(crate) fn new() -> Best {
        Best { gain: 0, step: None }
    }

    pub(crate) fn step(self) -> Option<Step> {
        self.step
    }

    pub(crate) fn offer(&mut self, gain: i64, step: Step) {
        if gain > self.gain {
            *self = Best { gain, step: Some(step) };
        }
    }
}

/// So many replicas of a broker, or all of them.
pub(crate) fn sample<'s>(
    on: &'s [u32],
    dice: &mut Dice,
    width: usize,
) -> impl Iterator<Item = u32> + use<'s> {
    let all = on.len();
    let start = if all == 0 { 0 } else { dice.below(all) };
    let step = if all <= width { 1 } else { 1 + dice.below(all - 1) };
    // A fixed stride from a random start: no replica twice unless the stride divides the number.
    (0..all.min(width)).map(move |i| on[(start + i * step) % all])
}

fn moves_out(state: &State<'_>, dice: &mut Dice, from: usize, width: usize, best: &mut Best) {
    let width = width.min(PAIRS / state.cost.len() + 1);
    for replica in sample(&state.on[from], dice, width) {
        if !state.movable(replica) {
            continue;
        }
        let figures = state.figures(replica);
        let leave =
            state.cost[from] - state.cost_with(from, &figures, -1) - state.topic_leave(replica, from as u32);
        if leave <= best.gain {
            continue;
        }
        for to in 0..state.cost.len() {
            // Nothing costs less than nothing.
            if leave + state.cost[to] <= best.gain {
                continue;
            }
            let arrive = state.cost_with(to, &figures, 1) - state.cost[to];
            if leave - arrive > best.gain && state.legal(replica, to as u32) {
                let gain = leave - arrive - state.topic_arrive(replica, to as u32);
                best.offer(gain, Step::Move { replica, to: to as u32 });
            }
        }
    }
}

fn moves_in(
    state: &State<'_>,
    dice: &mut Dice,
    to: usize,
    width: usize,
    best: &mut Best,
    offers: &mut Vec<Offer>,
) {
    let n = state.cost.len();
    let each = (width / 2).clamp(2, PAIRS / n + 2);
    // Where brokers are many, some of them do, and more where those were of no use.
    let donors = if n > MANY { (DONORS * width / SAMPLE).min(MANY) } else { n };
    let start = if donors < n { dice.below(n) } else { 0 };
    offers.clear();
    for from in (0..donors).map(|nth| (start + nth * n / donors) % n).filter(|from| *from != to) {
        let of =
            |replica| Offer { from: from as u32, replica, partition: 0, figures: [0; FIGURES], open: false };
        offers.extend(sample(&state.on[from], dice, each).map(of));
    }
    // Step by step for all of them: what one waits for from memory then comes along with what the next ones wait for.
    for offer in offers.iter_mut() {
        offer.partition = state.part[offer.replica as usize];
    }
    for offer in offers.iter_mut() {
        offer.figures = state.figures_in(offer.replica, offer.partition);
        offer.open = state.open(offer.replica, offer.partition);
    }
    for Offer { from, replica, figures, open, .. } in offers.iter() {
        let (from, replica) = (*from as usize, *replica);
        let arrive = state.cost[to] - state.cost_with(to, figures, 1);
        if !open || arrive <= best.gain || arrive + state.cost[from] <= best.gain {
            continue;
        }
        let gain = arrive + state.cost[from] - state.cost_with(from, figures, -1);
        if gain > best.gain && state.movable(replica) && state.legal(replica, to as u32) {
            let topic = state.topic_leave(replica, from as u32) + state.topic_arrive(replica, to as u32);
            best.offer(gain - topic, Step::Move { replica, to: to as u32 });
        }
    }
}

/// A replica that a broker might be given.
struct Offer {
    from: u32,
    replica: u32,
    partition: u32,
    figures: Figures,
    open: bool,
}

/// Transfers of leadership to or from a broker.
fn leads(state: &State<'_>, dice: &mut Dice, broker: usize, width: usize, best: &mut Best) {
    for replica in sample(&state.on[broker], dice, (width * 4).min(PAIRS / 4)) {
        if !state.touchable(replica) {
            continue;
        }
        let partition = state.part[replica as usize];
        let leader = state.leader[partition as usize];
        if leader == replica {
            for heir in state.cluster.row(partition) {
                offer_lead(state, leader, heir as u32, best);
            }
        } else {
            offer_lead(state, leader, replica, best);
        }
    }
}

fn offer_lead(state: &State<'_>, leader: u32, heir: u32, best: &mut Best) {
    let (from, to) = (state.place[leader as usize] as usize, state.place[heir as usize] as usize);
    let target = &state.cluster.brokers[to];
    if leader == heir
        || state.led_cost[from] + state.led_cost[to] <= best.gain
        || !target.alive
        || !target.takes_leadership
        || !state.may_pass(leader, heir)
    {
        return;
    }
    let leave = state.led_change(from, &state.leadership(leader), -1);
    if state.led_cost[to] - leave <= best.gain {
        return;
    }
    let arrive = state.led_change(to, &state.leadership(heir), 1);
    best.offer(-leave - arrive, Step::Lead { replica: heir });
}
