//! `audit`: checks a plan against its problem and limits, claim by claim.
//!
//! It shares no code with `solve` and believes nothing: every figure and reason in the plan is worked out again,
//! in another way (from the whole plan's sums, not step by step). It runs on every plan, in tests and in production.

use std::collections::{BTreeMap, BTreeSet};

use crate::limits::Limits;
use crate::plan::Plan;
use crate::problem::{BrokerOrdinal, PartitionOrdinal, Problem};

mod claims;
mod room;

use room::Room;

/// What is wrong with a plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// A move or refusal names a partition, position or broker that does not exist.
    OutOfRange {
        /// The partition as named.
        partition: PartitionOrdinal,
        /// The position as named.
        position: u16,
    },
    /// A replica is named that was not to be replaced.
    NotWanted {
        /// The partition.
        partition: PartitionOrdinal,
        /// The position.
        position: u16,
    },
    /// A replica is named more than once.
    NamedTwice {
        /// The partition.
        partition: PartitionOrdinal,
        /// The position.
        position: u16,
    },
    /// A replica that was to be replaced is named nowhere.
    LeftOut {
        /// The partition.
        partition: PartitionOrdinal,
        /// The position.
        position: u16,
    },
    /// The broker that is said to hold a replica does not.
    WrongHolder {
        /// The partition.
        partition: PartitionOrdinal,
        /// The position.
        position: u16,
        /// The broker as named.
        broker: BrokerOrdinal,
    },
    /// A target may not take replicas.
    BadTarget {
        /// The partition.
        partition: PartitionOrdinal,
        /// The target.
        broker: BrokerOrdinal,
    },
    /// A target holds a replica of the partition, or is given two.
    DuplicateReplica {
        /// The partition.
        partition: PartitionOrdinal,
        /// The target.
        broker: BrokerOrdinal,
    },
    /// A frozen partition is moved.
    FrozenTouched {
        /// The partition.
        partition: PartitionOrdinal,
    },
    /// A replica is moved off a broker that is not dead, against the limits.
    BrokerNotDead {
        /// The partition.
        partition: PartitionOrdinal,
        /// The broker it is moved off.
        broker: BrokerOrdinal,
    },
    /// A partition is moved that has no live in-sync replica.
    NothingToCopyFrom {
        /// The partition.
        partition: PartitionOrdinal,
    },
    /// A new replica list names a broker that is down, against the limits.
    ListKeepsDownBroker {
        /// The partition.
        partition: PartitionOrdinal,
        /// The broker that is down.
        broker: BrokerOrdinal,
    },
    /// A target's log dir can go over the watermark.
    OverDisk {
        /// The target.
        broker: BrokerOrdinal,
    },
    /// A target's or leader's network goes over its limit.
    OverNetwork {
        /// The broker.
        broker: BrokerOrdinal,
    },
    /// More moves or bytes than allowed.
    OverBudget,
    /// Moves are not in the order of urgency, or a partition's moves do not stand together.
    OutOfOrder {
        /// Index of the move that should stand earlier.
        index: usize,
    },
    /// A move's bytes are not the partition's size.
    WrongBytes {
        /// The partition.
        partition: PartitionOrdinal,
        /// The position.
        position: u16,
    },
    /// A move's rack outcome is not so, or a target in a rack with fewer replicas of the partition had room.
    WrongRackOutcome {
        /// The partition.
        partition: PartitionOrdinal,
        /// The position.
        position: u16,
    },
    /// A move's figures before or after are not so.
    WrongFigures {
        /// The partition.
        partition: PartitionOrdinal,
        /// The position.
        position: u16,
    },
    /// The reason for a refusal is not so.
    WrongReason {
        /// The partition.
        partition: PartitionOrdinal,
        /// The position.
        position: u16,
    },
}

/// Checks that a plan is allowed, complete and true.
///
/// # Errors
/// All [`Violation`]s found, sorted. Figures and reasons are judged only in a plan whose moves are otherwise sound.
pub fn audit(problem: &Problem, limits: &Limits, plan: &Plan) -> Result<(), Vec<Violation>> {
    let mut violations = BTreeSet::new();
    check_ranges(problem, plan, &mut violations);
    // Nothing below indexes by what it has not been told to be in range.
    if violations.is_empty() {
        check_cover(problem, plan, &mut violations);
    }
    if violations.is_empty() {
        let case = Case::new(problem, limits, plan);
        case.check_placements(&mut violations);
        case.check_room(&mut violations);
        case.check_budget(&mut violations);
        case.check_order(&mut violations);
        if violations.is_empty() {
            claims::check_racks(&case, &mut violations);
            claims::check_figures(&case, &mut violations);
            claims::check_reasons(&case, &mut violations);
        }
    }
    if violations.is_empty() { Ok(()) } else { Err(violations.into_iter().collect()) }
}

fn check_ranges(problem: &Problem, plan: &Plan, violations: &mut BTreeSet<Violation>) {
    let mut check = |partition: PartitionOrdinal, position: u16, broker: BrokerOrdinal| {
        if partition >= problem.partitions()
            || usize::from(position) >= problem.replicas(partition).len()
            || broker >= problem.brokers()
        {
            violations.insert(Violation::OutOfRange { partition, position });
        }
    };
    for step in &plan.moves {
        check(step.partition, step.position, step.to);
    }
    for refused in &plan.unplaced {
        let to = claims::held_back(refused).unwrap_or(refused.broker);
        check(refused.partition, refused.position, to);
    }
}

fn check_cover(problem: &Problem, plan: &Plan, violations: &mut BTreeSet<Violation>) {
    let mut named = BTreeSet::new();
    let moved = plan.moves.iter().map(|step| (step.partition, step.position, step.from));
    let refused = plan.unplaced.iter().map(|refused| (refused.partition, refused.position, refused.broker));
    for (partition, position, broker) in moved.chain(refused) {
        if problem.replicas(partition)[usize::from(position)] != broker {
            violations.insert(Violation::WrongHolder { partition, position, broker });
        }
        if !problem.to_replace(partition, usize::from(position)) {
            violations.insert(Violation::NotWanted { partition, position });
        }
        if !named.insert((partition, position)) {
            violations.insert(Violation::NamedTwice { partition, position });
        }
    }
    for partition in 0..problem.partitions() {
        for position in 0..problem.replicas(partition).len() {
            let position16 = position as u16;
            if problem.to_replace(partition, position) && !named.contains(&(partition, position16)) {
                violations.insert(Violation::LeftOut { partition, position: position16 });
            }
        }
    }
}

/// A plan laid out for questions about single replicas.
struct Case<'a> {
    problem: &'a Problem,
    limits: &'a Limits,
    plan: &'a Plan,
    /// New brokers, those held back by the budget included: room is reserved for them all the same.
    placed: BTreeMap<(PartitionOrdinal, u16), BrokerOrdinal>,
    /// What is left on each broker when all of these are placed.
    room: Room,
}

impl<'a> Case<'a> {
    fn new(problem: &'a Problem, limits: &'a Limits, plan: &'a Plan) -> Self {
        let moved = plan.moves.iter().map(|step| ((step.partition, step.position), step.to));
        let held = plan.unplaced.iter().filter_map(|refused| {
            claims::held_back(refused).map(|to| ((refused.partition, refused.position), to))
        });
        let placed: BTreeMap<_, _> = moved.chain(held).collect();
        let room = Room::after(problem, limits, &placed);
        Case { problem, limits, plan, placed, room }
    }

    /// Whether the limits let a replica be replaced at all.
    fn replaceable(&self, partition: PartitionOrdinal, position: usize) -> bool {
        let broker = self.problem.replicas(partition)[position];
        let dead = self.problem.state(broker) == crate::BrokerState::Dead;
        self.problem.to_replace(partition, position) && (dead || !self.limits.only_dead)
    }

    fn placement(&self, partition: PartitionOrdinal, position: usize) -> Option<BrokerOrdinal> {
        self.placed.get(&(partition, position as u16)).copied()
    }

    /// Replicas on brokers that are up: all, and those in sync.
    fn live(&self, partition: PartitionOrdinal) -> (usize, usize) {
        let replicas = self.problem.replicas(partition);
        let up: Vec<_> = (0..replicas.len()).filter(|at| self.problem.state(replicas[*at]).is_up()).collect();
        (up.len(), up.iter().filter(|at| self.problem.in_sync(partition, **at)).count())
    }

    /// Brokers that could take a replica as far as the list goes: may take replicas, and neither hold one of the
    /// partition nor are given one.
    fn candidates(&self, partition: PartitionOrdinal) -> Vec<BrokerOrdinal> {
        let replicas = self.problem.replicas(partition);
        let given: Vec<_> = self.given(partition).collect();
        (0..self.problem.brokers())
            .filter(|broker| self.problem.state(*broker) == crate::BrokerState::Alive)
            .filter(|broker| !replicas.contains(broker) && !given.contains(broker))
            .collect()
    }

    fn given(&self, partition: PartitionOrdinal) -> impl Iterator<Item = BrokerOrdinal> {
        self.placed.range((partition, 0)..=(partition, u16::MAX)).map(|(_, to)| *to)
    }

    fn check_placements(&self, violations: &mut BTreeSet<Violation>) {
        for ((partition, position), to) in &self.placed {
            let (partition, broker) = (*partition, *to);
            let replicas = self.problem.replicas(partition);
            let from = replicas[usize::from(*position)];
            if self.problem.state(broker) != crate::BrokerState::Alive {
                violations.insert(Violation::BadTarget { partition, broker });
            }
            if replicas.contains(&broker) || self.given(partition).filter(|to| *to == broker).count() > 1 {
                violations.insert(Violation::DuplicateReplica { partition, broker });
            }
            if self.problem.frozen(partition) {
                violations.insert(Violation::FrozenTouched { partition });
            }
            if !self.replaceable(partition, usize::from(*position)) {
                violations.insert(Violation::BrokerNotDead { partition, broker: from });
            }
            if self.live(partition).1 == 0 {
                violations.insert(Violation::NothingToCopyFrom { partition });
            }
            if self.limits.allow_down_in_target_list {
                continue;
            }
            for (at, holder) in replicas.iter().enumerate() {
                if !self.problem.state(*holder).is_up() && self.placement(partition, at).is_none() {
                    violations.insert(Violation::ListKeepsDownBroker { partition, broker: *holder });
                }
            }
        }
    }

    fn check_room(&self, violations: &mut BTreeSet<Violation>) {
        let targets: BTreeSet<_> = self.placed.values().copied().collect();
        for broker in targets {
            if self.room.disk_left(broker).is_some_and(|left| left < 0) {
                violations.insert(Violation::OverDisk { broker });
            }
            let network = [self.room.network_in_left(broker), self.room.network_out_left(broker)];
            if network.into_iter().flatten().any(|left| left < 0) {
                violations.insert(Violation::OverNetwork { broker });
            }
        }
        for (partition, _) in self.placed.keys() {
            let feeds = self.problem.bytes_in(*partition).unwrap_or(0) > 0;
            let leader = self.problem.leader(*partition).filter(|leader| self.problem.state(*leader).is_up());
            if let Some(broker) = leader.filter(|_| feeds)
                && self.room.network_out_left(broker).is_some_and(|left| left < 0)
            {
                violations.insert(Violation::OverNetwork { broker });
            }
        }
    }

    fn check_budget(&self, violations: &mut BTreeSet<Violation>) {
        let (moves, bytes) = self.spent();
        if self.limits.max_moves.is_some_and(|max| moves > u64::from(max))
            || self.limits.max_bytes.is_some_and(|max| bytes > u128::from(max))
        {
            violations.insert(Violation::OverBudget);
        }
    }

    /// Moves and known bytes of the plan.
    fn spent(&self) -> (u64, u128) {
        let sizes = self.plan.moves.iter().map(|step| self.problem.size(step.partition).unwrap_or(0));
        (self.plan.moves.len() as u64, sizes.map(u128::from).sum())
    }

    fn check_order(&self, violations: &mut BTreeSet<Violation>) {
        let key = |index: usize| {
            let step = &self.plan.moves[index];
            let moved = self.given(step.partition).count() as u128;
            let bytes = u128::from(self.problem.size(step.partition).unwrap_or(0)) * moved;
            (self.live(step.partition).1, bytes, step.partition, step.position)
        };
        for index in 1..self.plan.moves.len() {
            if key(index - 1) >= key(index) {
                violations.insert(Violation::OutOfOrder { index });
            }
        }
        let refused = &self.plan.unplaced;
        for index in 1..refused.len() {
            let key = |index: usize| (refused[index].partition, refused[index].position);
            if key(index - 1) >= key(index) {
                violations.insert(Violation::OutOfOrder { index });
            }
        }
    }
}
