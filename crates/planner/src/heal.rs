//! `solve`: places every replica that is to be replaced, as far as that is possible.
//!
//! Partitions are taken in order of need: fewest live in-sync replicas first, and among equals those with the
//! fewest brokers to choose from, so that a choosy one is not robbed of its only place by one that had many. Each
//! replica goes to the candidate with the lowest [`Score`]. Where every candidate is full, a chain of earlier
//! placements is shifted to make room (an augmenting path, as in bipartite matching: where all replicas are of
//! one size it finds room if there is any; where sizes differ it is a good guess, bounded by [`SHIFT_WORK`]).

use crate::ledger::{Ledger, Need};
use crate::limits::Limits;
use crate::plan::{Plan, Score, Unplaced, WhyNot};
use crate::problem::{BrokerOrdinal, BrokerState, PartitionOrdinal, Problem, TopicOrdinal};

/// Candidates that are looked at, in one plan, in search of chains of shifts. Some 20 ms of work.
const SHIFT_WORK: u32 = 2_000_000;

/// No broker yet.
pub(crate) const NOWHERE: BrokerOrdinal = u32::MAX;

/// Plans new brokers for the replicas that are to be replaced.
///
/// Deterministic: equal input, equal plan. Never fails: what cannot be granted is listed in [`Plan::unplaced`].
pub fn solve(problem: &Problem, limits: &Limits) -> Plan {
    let mut solver = Solver::new(problem, limits);
    solver.place_all();
    solver.settle();
    crate::report::report(solver)
}

/// One replica that wants a place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) task: u32,
    pub(crate) position: u16,
    pub(crate) from: BrokerOrdinal,
    pub(crate) to: BrokerOrdinal,
    pub(crate) need: Need,
}

/// One partition with replicas that want a place: slots that follow each other, those on brokers that are down
/// first, then by position (position 0 asks most of its target, so it chooses first).
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) partition: PartitionOrdinal,
    pub(crate) topic: TopicOrdinal,
    pub(crate) slots: std::ops::Range<usize>,
    /// Its present replicas, in [`Solver::members`].
    members: std::ops::Range<usize>,
    /// Live in-sync replicas: how many copies stand between now and loss.
    pub(crate) live_in_sync: u32,
    /// The leader, if it is up: it feeds the new replicas.
    pub(crate) feeder: Option<BrokerOrdinal>,
}

/// A present replica of a task's partition: a copy that lies near, as it is looked at often.
#[derive(Debug, Clone, Copy)]
struct Member {
    broker: BrokerOrdinal,
    /// It is not to be replaced.
    stays: bool,
}

/// One step of a chain of shifts: `slot` would go to `broker`, which has to be relieved first.
#[derive(Debug, Clone, Copy)]
struct Link {
    broker: BrokerOrdinal,
    slot: usize,
    parent: usize,
}

/// Per-broker and per-rack marks of the task that is looked at.
#[derive(Debug, Default)]
struct Marks {
    /// All false between looks.
    holds: Vec<bool>,
    /// All zero between looks.
    in_rack: Vec<u32>,
    /// Replicas of the topic; set anew for each look that needs it.
    of_topic: Vec<u32>,
}

pub(crate) struct Solver<'a> {
    pub(crate) problem: &'a Problem,
    pub(crate) limits: &'a Limits,
    pub(crate) ledger: Ledger,
    /// Brokers that may take replicas.
    pub(crate) targets: Vec<BrokerOrdinal>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) tasks: Vec<Task>,
    /// Replicas that are refused without looking for a place.
    pub(crate) refused: Vec<Unplaced>,
    members: Vec<Member>,
    placed_on: Vec<Vec<usize>>,
    /// The rack of each broker; one that no replica is ever counted in, where no broker names a rack.
    rack_of: Vec<u32>,
    /// Twice the even share of arrivals, at least 1.
    share: u32,
    marks: Marks,
    shift_work: u32,
    /// Room was freed after something had been refused or put into a worse rack for want of it.
    freed: bool,
}

impl<'a> Solver<'a> {
    fn new(problem: &'a Problem, limits: &'a Limits) -> Self {
        let brokers = problem.brokers() as usize;
        let targets: Vec<_> =
            (0..problem.brokers()).filter(|broker| problem.state(*broker) == BrokerState::Alive).collect();
        let mut solver = Solver {
            problem,
            limits,
            ledger: Ledger::new(problem, limits),
            targets,
            slots: Vec::new(),
            tasks: Vec::new(),
            refused: Vec::new(),
            members: Vec::new(),
            placed_on: vec![Vec::new(); brokers],
            rack_of: (0..problem.brokers()).map(|broker| problem.rack(broker).unwrap_or(0)).collect(),
            share: 1,
            marks: Marks {
                holds: vec![false; brokers],
                in_rack: vec![0; problem.racks.max(1) as usize],
                of_topic: vec![0; brokers],
            },
            shift_work: SHIFT_WORK,
            freed: false,
        };
        for partition in problem.wanted() {
            solver.admit(*partition);
        }
        let targets = solver.targets.len().max(1);
        solver.share = (2 * solver.slots.len()).div_ceil(targets).max(1) as u32;
        solver
    }

    /// Makes a task of a partition, or refuses its replicas for what no choice of broker can mend.
    fn admit(&mut self, partition: PartitionOrdinal) {
        let (problem, limits) = (self.problem, self.limits);
        let replicas = problem.replicas(partition);
        let live = replicas.iter().filter(|broker| problem.state(**broker).is_up()).count();
        let live_in_sync = (0..replicas.len())
            .filter(|at| problem.in_sync(partition, *at) && problem.state(replicas[*at]).is_up())
            .count();
        let first = self.slots.len();
        let task = self.tasks.len() as u32;
        let movable = |at: usize| {
            problem.to_replace(partition, at)
                && (!limits.only_dead || problem.state(replicas[at]) == BrokerState::Dead)
        };
        let stays_down =
            (0..replicas.len()).find(|at| !movable(*at) && !problem.state(replicas[*at]).is_up());
        for (at, broker) in replicas.iter().enumerate().filter(|(at, _)| problem.to_replace(partition, *at)) {
            let position = at as u16;
            let why = if problem.frozen(partition) {
                WhyNot::Frozen
            } else if !movable(at) {
                WhyNot::BrokerNotDead
            } else if live_in_sync == 0 {
                WhyNot::NoLiveInSyncReplica { live: live as u16 }
            } else if let Some(down) = stays_down.filter(|_| !limits.allow_down_in_target_list) {
                WhyNot::TargetListWouldKeepDownBroker { broker: replicas[down] }
            } else if self.targets.is_empty() {
                WhyNot::NoEligibleBroker
            } else {
                let need = Need::of(problem, partition, position);
                self.slots.push(Slot { task, position, from: *broker, to: NOWHERE, need });
                continue;
            };
            self.refused.push(Unplaced { partition, position, broker: *broker, why });
        }
        let slots = first..self.slots.len();
        if slots.is_empty() {
            return;
        }
        self.slots[first..].sort_by_key(|slot| (problem.state(slot.from).is_up(), slot.position));
        // Where position 0 does not choose first, a later choice can make an earlier one improvable.
        self.freed |= self.slots[first..].iter().skip(1).any(|slot| slot.position == 0);
        let feeder = problem.leader(partition).filter(|leader| problem.state(*leader).is_up());
        let members = self.members.len()..self.members.len() + replicas.len();
        let member = |(at, broker): (usize, &BrokerOrdinal)| Member { broker: *broker, stays: !movable(at) };
        self.members.extend(replicas.iter().enumerate().map(member));
        let topic = problem.topic(partition);
        self.tasks.push(Task { partition, topic, slots, members, live_in_sync: live_in_sync as u32, feeder });
    }

    fn place_all(&mut self) {
        let mut order: Vec<_> = (0..self.tasks.len())
            .map(|task| {
                let (candidates, best) = self.survey(task);
                let size = self.slots[self.tasks[task].slots.start].need.disk;
                (self.tasks[task].live_in_sync, candidates, best, std::cmp::Reverse(size), task)
            })
            .collect();
        order.sort_unstable();
        for (.., task) in order {
            self.place_task(task, true);
        }
    }

    /// How many brokers a task has to choose from beyond what it needs, and how many of them are in its best racks.
    fn survey(&mut self, task: usize) -> (u32, u32) {
        let first = self.tasks[task].slots.start;
        let need = self.slots[first].need;
        let (mut candidates, mut best_conflict, mut best) = (0u32, u32::MAX, 0u32);
        self.mark(first);
        for broker in &self.targets {
            if self.marks.holds[*broker as usize] || self.ledger.refuses(*broker, &need).is_some() {
                continue;
            }
            candidates += 1;
            let conflict = self.rack_conflict(*broker);
            if conflict < best_conflict {
                (best_conflict, best) = (conflict, 0);
            }
            best += u32::from(conflict == best_conflict);
        }
        self.unmark(first);
        (candidates.saturating_sub(self.tasks[task].slots.len() as u32), best)
    }

    /// Places what has no place yet of a task. True if something was placed for good.
    ///
    /// Where a target list may not name a broker that is down, a partition whose replicas on such brokers cannot
    /// all be placed is left alone: its reassignment would never end.
    fn place_task(&mut self, task: usize, shift: bool) -> bool {
        let range = self.tasks[task].slots.clone();
        let mut placed = false;
        for at in range.clone() {
            if self.slots[at].to != NOWHERE {
                continue;
            }
            let found = self.find_place(at) || (shift && self.shift_for(at));
            placed |= self.slots[at].to != NOWHERE;
            if !found && self.keeps_down(at) {
                for other in range {
                    if self.slots[other].to != NOWHERE {
                        self.take_back(other);
                        self.freed = true;
                    }
                }
                return false;
            }
        }
        placed
    }

    /// Whether leaving a slot where it is forbids to move the others of its partition.
    pub(crate) fn keeps_down(&self, slot: usize) -> bool {
        !self.limits.allow_down_in_target_list && !self.problem.state(self.slots[slot].from).is_up()
    }

    /// Puts a slot on the best broker that can take it now, if there is one.
    pub(crate) fn find_place(&mut self, slot: usize) -> bool {
        if !self.can_feed(slot) {
            return false;
        }
        match self.choose(slot) {
            Some(score) => {
                self.put(slot, score.broker);
                true
            }
            None => false,
        }
    }

    pub(crate) fn can_feed(&self, slot: usize) -> bool {
        let slot = &self.slots[slot];
        self.tasks[slot.task as usize].feeder.is_none_or(|leader| self.ledger.can_feed(leader, &slot.need))
    }

    /// The best candidate that can take a slot. For a slot that has a place: the best other one.
    fn choose(&mut self, slot: usize) -> Option<Score> {
        let need = self.slots[slot].need;
        let mut best: Option<Score> = None;
        self.mark(slot);
        self.mark_topic(slot);
        for broker in &self.targets {
            let broker = *broker;
            if self.marks.holds[broker as usize] {
                continue;
            }
            let rack_conflict = self.rack_conflict(broker);
            let crowding = self.ledger.arrivals(broker) / self.share;
            // Most candidates lose here: the rest need not be looked at.
            if best.is_some_and(|best| (rack_conflict, crowding) > (best.rack_conflict, best.crowding))
                || self.ledger.refuses(broker, &need).is_some()
            {
                continue;
            }
            let score = Score {
                rack_conflict,
                crowding,
                load_band: self.ledger.load_band(broker, &need),
                topic_replicas: self.marks.of_topic[broker as usize],
                replicas: self.ledger.replicas(broker),
                broker,
            };
            if best.is_none_or(|best| score < best) {
                best = Some(score);
            }
        }
        self.unmark(slot);
        best
    }

    /// Makes room for a slot by a chain of shifts: it takes the place of another slot, which takes the place of
    /// another, …, which goes to a broker that has room. Breadth first, each broker at most once.
    fn shift_for(&mut self, slot: usize) -> bool {
        if self.shift_work == 0 || !self.can_feed(slot) {
            return false;
        }
        // A chain may end on the slot's own leader, which then has less to feed the slot with: that is taken first.
        let need = self.slots[slot].need;
        let feeder = self.tasks[self.slots[slot].task as usize].feeder;
        if let Some(leader) = feeder {
            self.ledger.feed(leader, &need);
        }
        let chain = self.find_chain(slot);
        if let Some(leader) = feeder {
            self.ledger.stop_feeding(leader, &need);
        }
        let Some((links, last, mover, room)) = chain else { return false };
        self.apply_chain(&links, last, mover, room);
        self.freed = true;
        true
    }

    /// Links, the last of them that counts, and the slot that has to leave its broker for which other.
    fn find_chain(&mut self, slot: usize) -> Option<(Vec<Link>, usize, usize, BrokerOrdinal)> {
        let mut seen = vec![false; self.problem.brokers() as usize];
        let mut links: Vec<Link> = Vec::new();
        for broker in &self.targets {
            if !self.holds(slot, *broker) {
                seen[*broker as usize] = true;
                links.push(Link { broker: *broker, slot, parent: usize::MAX });
            }
        }
        let mut at = 0;
        while at < links.len() {
            if let Some((mover, room)) = self.grow_chain(&mut links, &mut seen, at) {
                return Some((links, at, mover, room));
            }
            at += 1;
        }
        None
    }

    /// Looks for a slot on a link's broker whose leaving would let the link's slot in. Returns the first that has
    /// somewhere to go, and where; adds a link for each broker that would have to be relieved in turn.
    fn grow_chain(
        &mut self,
        links: &mut Vec<Link>,
        seen: &mut [bool],
        at: usize,
    ) -> Option<(usize, BrokerOrdinal)> {
        let (full, incoming) = (links[at].broker, self.slots[links[at].slot].need);
        for mover in &self.placed_on[full as usize] {
            self.shift_work = self.shift_work.checked_sub(1)?;
            let need = self.slots[*mover].need;
            if !self.ledger.fits_in_exchange(full, &incoming, &need) {
                continue;
            }
            for next in &self.targets {
                self.shift_work = self.shift_work.checked_sub(1)?;
                if seen[*next as usize] || self.holds(*mover, *next) {
                    continue;
                }
                if self.ledger.refuses(*next, &need).is_none() {
                    return Some((*mover, *next));
                }
                seen[*next as usize] = true;
                links.push(Link { broker: *next, slot: *mover, parent: at });
            }
        }
        None
    }

    /// The last of the chain goes where there is room, and everything before it moves up by one.
    fn apply_chain(&mut self, links: &[Link], last: usize, mover: usize, room: BrokerOrdinal) {
        let (mut who, mut to, mut link) = (mover, room, last);
        loop {
            let was_placed = self.slots[who].to != NOWHERE;
            if was_placed {
                self.take_back(who);
            }
            self.put(who, to);
            if !was_placed {
                return;
            }
            (who, to) = (links[link].slot, links[link].broker);
            link = links[link].parent;
        }
    }

    /// Mends what shifting and taking back have made possible: puts replicas into better racks and places what was
    /// refused, until neither is possible. Ends, as each round places a replica or lowers the sum of rack conflicts.
    fn settle(&mut self) {
        let mut changed = std::mem::take(&mut self.freed);
        while changed {
            changed = false;
            for slot in 0..self.slots.len() {
                let to = self.slots[slot].to;
                if to == NOWHERE {
                    continue;
                }
                let conflict = self.conflict_of(slot);
                if conflict == 0 {
                    continue;
                }
                if let Some(better) = self.choose(slot).filter(|score| score.rack_conflict < conflict) {
                    self.take_back(slot);
                    self.put(slot, better.broker);
                    changed = true;
                }
            }
            for task in 0..self.tasks.len() {
                if self.tasks[task].slots.clone().any(|slot| self.slots[slot].to == NOWHERE) {
                    changed |= self.place_task(task, false);
                }
            }
        }
    }

    /// Other replicas of a placed slot's partition in its rack.
    pub(crate) fn conflict_of(&mut self, slot: usize) -> u32 {
        self.mark(slot);
        let conflict = self.rack_conflict(self.slots[slot].to);
        self.unmark(slot);
        conflict
    }

    /// The candidates of a slot (brokers that may take replicas and hold none of its partition) with their rack
    /// conflicts.
    pub(crate) fn candidates(&mut self, slot: usize) -> Vec<(BrokerOrdinal, u32)> {
        self.mark(slot);
        let candidates = self
            .targets
            .iter()
            .filter(|broker| !self.marks.holds[**broker as usize])
            .map(|broker| (*broker, self.rack_conflict(*broker)))
            .collect();
        self.unmark(slot);
        candidates
    }

    /// Whether a broker holds, or is to hold, a replica of a slot's partition.
    fn holds(&self, slot: usize, broker: BrokerOrdinal) -> bool {
        let task = &self.tasks[self.slots[slot].task as usize];
        self.members[task.members.clone()].iter().any(|member| member.broker == broker)
            || self.slots[task.slots.clone()].iter().any(|other| other.to == broker)
    }

    fn rack_conflict(&self, broker: BrokerOrdinal) -> u32 {
        self.marks.in_rack[self.rack_of[broker as usize] as usize]
    }

    /// Marks who holds the partition of a slot, and how many replicas each rack has beside this slot. Replicas that
    /// are to go do not count for their rack.
    fn mark(&mut self, slot: usize) {
        self.set_marks(slot, true);
    }

    fn unmark(&mut self, slot: usize) {
        self.set_marks(slot, false);
    }

    fn set_marks(&mut self, slot: usize, on: bool) {
        let task = &self.tasks[self.slots[slot].task as usize];
        let (holds, in_rack) = (&mut self.marks.holds, &mut self.marks.in_rack);
        let racks = self.problem.racks_known;
        let mut mark = |broker: BrokerOrdinal, counts: bool| {
            holds[broker as usize] = on;
            if counts && racks {
                let count = &mut in_rack[self.rack_of[broker as usize] as usize];
                *count = if on { *count + 1 } else { 0 };
            }
        };
        for member in &self.members[task.members.clone()] {
            mark(member.broker, member.stays);
        }
        let this = self.slots[slot].position;
        for other in self.slots[task.slots.clone()].iter().filter(|other| other.to != NOWHERE) {
            mark(other.to, other.position != this);
        }
    }

    fn mark_topic(&mut self, slot: usize) {
        self.marks.of_topic.fill(0);
        let topic = self.tasks[self.slots[slot].task as usize].topic;
        for (broker, count) in self.ledger.topic_replicas(topic) {
            self.marks.of_topic[*broker as usize] = *count;
        }
    }

    pub(crate) fn put(&mut self, slot: usize, to: BrokerOrdinal) {
        let Slot { task, need, .. } = self.slots[slot];
        let task = &self.tasks[task as usize];
        self.ledger.place(to, task.topic, &need);
        if let Some(leader) = task.feeder {
            self.ledger.feed(leader, &need);
        }
        self.slots[slot].to = to;
        self.placed_on[to as usize].push(slot);
    }

    pub(crate) fn take_back(&mut self, slot: usize) {
        let Slot { task, need, to, .. } = self.slots[slot];
        let task = &self.tasks[task as usize];
        self.ledger.remove(to, task.topic, &need);
        if let Some(leader) = task.feeder {
            self.ledger.stop_feeding(leader, &need);
        }
        self.slots[slot].to = NOWHERE;
        let there = &mut self.placed_on[to as usize];
        if let Some(at) = there.iter().rposition(|placed| *placed == slot) {
            there.swap_remove(at);
        }
    }

    /// Takes back everything. The solver has nothing left to choose after this.
    pub(crate) fn take_all_back(&mut self) {
        self.placed_on.iter_mut().for_each(Vec::clear);
        for slot in 0..self.slots.len() {
            if self.slots[slot].to != NOWHERE {
                self.take_back(slot);
            }
        }
    }
}
