//! The search: offline replicas first, then racks, then the worst broker, again and again.

use super::bands::{COUNT, FIGURES, LEADER_IN, LEADERS, POTENTIAL};
use super::state::State;

/// Replicas looked at before the sample is widened.
const SAMPLE: usize = 6;
/// The widest sample before a broker counts as stuck.
const WIDEST: usize = 1 << 12;

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
enum Step {
    Move { replica: u32, to: u32 },
    Lead { replica: u32 },
}

/// Moves everything off dead brokers, as far as that goes: without a worse rack if possible.
pub(crate) fn evacuate(state: &mut State<'_>) {
    let dead: Vec<usize> = (0..state.on.len()).filter(|b| !state.cluster.brokers[*b].alive).collect();
    for broker in dead {
        let mut replicas = state.on[broker].clone();
        replicas.sort_unstable_by_key(|r| (std::cmp::Reverse(state.cluster.load[*r as usize][3]), *r));
        for replica in replicas {
            hand_over(state, replica);
            let best = best_target(state, replica, |state, to| state.legal(replica, to))
                .or_else(|| best_target(state, replica, |state, to| state.may_take(replica, to)));
            if let Some((_, to)) = best {
                state.relocate(replica, to);
            }
        }
    }
}

/// A leader that may lead nowhere gives its leadership to a replica that lives.
fn hand_over(state: &mut State<'_>, replica: u32) {
    let partition = state.part[replica as usize];
    if state.leader[partition as usize] != replica {
        return;
    }
    let row = state.cluster.row(partition);
    let living = row.map(|other| other as u32).filter(|other| {
        let broker = &state.cluster.brokers[state.place[*other as usize] as usize];
        broker.alive && broker.takes_leadership
    });
    let cost = |other: &u32| {
        let broker = state.place[*other as usize] as usize;
        (state.cost_with(broker, &state.leadership(*other), 1) - state.cost[broker], *other)
    };
    if let Some(heir) = living.min_by_key(cost) {
        state.lead(heir);
    }
}

fn best_target(
    state: &State<'_>,
    replica: u32,
    legal: impl Fn(&State<'_>, u32) -> bool,
) -> Option<(i64, u32)> {
    let figures = state.figures(replica);
    let targets = (0..state.cost.len() as u32).filter(|to| legal(state, *to));
    let cost = |to: u32| {
        let change = state.cost_with(to as usize, &figures, 1) - state.cost[to as usize];
        (change + state.topic_arrive(replica, to), to)
    };
    targets.map(cost).min()
}

/// Brings replicas of a partition into different racks, as far as that goes.
pub(crate) fn spread_racks(state: &mut State<'_>) {
    if !state.racks {
        return;
    }
    for partition in 0..state.cluster.partitions() {
        for _ in 0..state.cluster.row(partition).len() {
            let mut best: Option<(i64, u32, u32)> = None;
            for replica in state.cluster.row(partition).map(|replica| replica as u32) {
                let from = state.place[replica as usize];
                let here = state.others_in_rack(replica, state.rack(from));
                if here == 0 || !state.movable(replica) {
                    continue;
                }
                let better = |state: &State<'_>, to: u32| {
                    state.may_take(replica, to) && state.others_in_rack(replica, state.rack(to)) < here
                };
                let leave = state.cost_with(from as usize, &state.figures(replica), -1)
                    - state.cost[from as usize]
                    + state.topic_leave(replica, from);
                if let Some((cost, to)) = best_target(state, replica, better) {
                    let candidate = (cost + leave, replica, to);
                    best = Some(best.map_or(candidate, |best| best.min(candidate)));
                }
            }
            let Some((_, replica, to)) = best else { break };
            state.relocate(replica, to);
        }
    }
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
pub(crate) fn mend(state: &mut State<'_>, dice: &mut Dice, steps: usize) {
    let n = state.cost.len();
    let mut width = vec![SAMPLE; n];
    for _ in 0..steps {
        let worst = (0..n)
            .filter(|b| state.cluster.brokers[*b].alive && width[*b] <= WIDEST && is_bad(state, *b))
            .max_by_key(|b| (state.cost[*b], *b));
        let Some(worst) = worst else { break };
        match best_step(state, dice, worst, width[worst]) {
            Some(step) => {
                let touched = apply(state, step);
                width[worst] = SAMPLE;
                for broker in touched {
                    width[broker] = SAMPLE;
                }
            }
            None => width[worst] *= 8,
        }
    }
}

fn apply(state: &mut State<'_>, step: Step) -> [usize; 2] {
    match step {
        Step::Move { replica, to } => {
            let from = state.place[replica as usize] as usize;
            state.relocate(replica, to);
            [from, to as usize]
        }
        Step::Lead { replica } => {
            let old = state.leader[state.part[replica as usize] as usize];
            let touched = [state.place[old as usize] as usize, state.place[replica as usize] as usize];
            state.lead(replica);
            touched
        }
    }
}

fn best_step(state: &State<'_>, dice: &mut Dice, worst: usize, width: usize) -> Option<Step> {
    let mut best = Best { gain: 0, step: None };
    if outside(state, worst, &BY_MOVES, true) {
        moves_out(state, dice, worst, width, &mut best);
    } else if outside(state, worst, &BY_MOVES, false) {
        moves_in(state, dice, worst, width, &mut best);
    }
    if best.step.is_none() {
        leads(state, dice, worst, width, &mut best);
    }
    if best.step.is_none() && width > SAMPLE {
        if outside(state, worst, &BY_LEADERS, true) {
            moves_out(state, dice, worst, width, &mut best);
        }
        if outside(state, worst, &BY_LEADERS, false) {
            moves_in(state, dice, worst, width, &mut best);
        }
    }
    best.step
}

struct Best {
    gain: i64,
    step: Option<Step>,
}

impl Best {
    fn offer(&mut self, gain: i64, step: Step) {
        if gain > self.gain {
            *self = Best { gain, step: Some(step) };
        }
    }
}

/// So many replicas of a broker, or all of them.
fn sample<'s>(on: &'s [u32], dice: &mut Dice, width: usize) -> impl Iterator<Item = u32> + use<'s> {
    let all = on.len();
    let start = if all == 0 { 0 } else { dice.below(all) };
    let step = if all <= width { 1 } else { 1 + dice.below(all - 1) };
    // A fixed stride from a random start: no replica twice unless the stride divides the number.
    (0..all.min(width)).map(move |i| on[(start + i * step) % all])
}

fn moves_out(state: &State<'_>, dice: &mut Dice, from: usize, width: usize, best: &mut Best) {
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
            let arrive = state.cost_with(to, &figures, 1) - state.cost[to];
            if leave - arrive > best.gain && state.legal(replica, to as u32) {
                let gain = leave - arrive - state.topic_arrive(replica, to as u32);
                best.offer(gain, Step::Move { replica, to: to as u32 });
            }
        }
    }
}

fn moves_in(state: &State<'_>, dice: &mut Dice, to: usize, width: usize, best: &mut Best) {
    let n = state.cost.len();
    let each = (width / 2).max(2);
    for from in 0..n {
        if from == to {
            continue;
        }
        for replica in sample(&state.on[from], dice, each) {
            if !state.movable(replica) {
                continue;
            }
            let figures = state.figures(replica);
            let arrive = state.cost[to] - state.cost_with(to, &figures, 1);
            if arrive <= best.gain {
                continue;
            }
            let gain = arrive + state.cost[from] - state.cost_with(from, &figures, -1);
            if gain > best.gain && state.legal(replica, to as u32) {
                let topic = state.topic_leave(replica, from as u32) + state.topic_arrive(replica, to as u32);
                best.offer(gain - topic, Step::Move { replica, to: to as u32 });
            }
        }
    }
}

/// Transfers of leadership to or from a broker.
fn leads(state: &State<'_>, dice: &mut Dice, broker: usize, width: usize, best: &mut Best) {
    for replica in sample(&state.on[broker], dice, width * 4) {
        if !state.movable(replica) {
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
    if leader == heir || !target.alive || !target.takes_leadership {
        return;
    }
    let leave = state.cost[from] - state.cost_with(from, &state.leadership(leader), -1);
    let arrive = state.cost_with(to, &state.leadership(heir), 1) - state.cost[to];
    best.offer(leave - arrive, Step::Lead { replica: heir });
}
