//! The answer: what to move, what it costs and gains, and what could not be granted.

use crate::ledger::Need;
use crate::problem::{BrokerOrdinal, PartitionOrdinal, Problem};

/// What is done, and what is not, with reasons. Together they name every replica that was to be replaced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct Plan {
    /// Most urgent first: fewest live in-sync replicas, then fewest bytes. Moves of one partition stand together,
    /// by position.
    pub moves: Vec<Move>,
    /// By partition and position.
    pub unplaced: Vec<Unplaced>,
}

/// One replica's change of broker. It keeps its position in the replica list, so that the preferred leader's
/// place stays where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The partition.
    pub partition: PartitionOrdinal,
    /// Position in the partition's replica list, from 0 (the preferred leader).
    pub position: u16,
    /// The broker that has the position.
    pub from: BrokerOrdinal,
    /// The broker that gets it.
    pub to: BrokerOrdinal,
    /// Bytes to copy, if known.
    pub bytes: Option<u64>,
    /// What the move does to rack awareness.
    pub rack: RackOutcome,
    /// The target when all earlier moves of the plan are done.
    pub before: TargetFigures,
    /// The target when this move is done, too.
    pub after: TargetFigures,
}

/// What a move does to rack awareness: how the target's rack compares with those of the partition's other
/// replicas. Replicas to be replaced that found no new broker do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RackOutcome {
    /// No broker of the cluster names a rack.
    NoRacks,
    /// The target's rack holds no other replica of the partition.
    Kept,
    /// The target's rack holds others, because no broker that could be a target is in a rack with fewer.
    NoRackFree {
        /// Other replicas of the partition in the target's rack.
        others: u16,
    },
    /// The target's rack holds others, because every possible target in a rack with fewer would go over a disk
    /// or network limit.
    FreeRackFull {
        /// Other replicas of the partition in the target's rack.
        others: u16,
    },
}

/// A target's figures at one point of a plan. The permille are rounded down, and none where unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TargetFigures {
    /// Replicas on it.
    pub replicas: u32,
    /// Replicas of the moved partition's topic on it.
    pub topic_replicas: u32,
    /// Replicas that the plan has sent to it so far.
    pub arrivals: u32,
    /// How full its tightest log dir is, taken that all that the plan sends goes there. The tightest is the one
    /// with the fewest bytes left below the watermark.
    pub disk_permille: Option<u32>,
    /// Its inbound use, permille of its capacity.
    pub network_in_permille: Option<u32>,
    /// Its outbound use, permille of its capacity.
    pub network_out_permille: Option<u32>,
}

/// A replica that was to be replaced and is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unplaced {
    /// The partition.
    pub partition: PartitionOrdinal,
    /// Position in the partition's replica list.
    pub position: u16,
    /// The broker that keeps the position.
    pub broker: BrokerOrdinal,
    /// Why.
    pub why: WhyNot,
}

/// Why a replica keeps its broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyNot {
    /// The partition is frozen.
    Frozen,
    /// Its broker is not dead, and only dead brokers' replicas may be replaced.
    BrokerNotDead,
    /// No replica that is in sync is on a broker that is up: there is nothing to copy from, or it would lose
    /// acknowledged records.
    NoLiveInSyncReplica {
        /// Replicas on brokers that are up, none of them in sync. 0: the partition is gone until a broker returns.
        live: u16,
    },
    /// The new list would still name a broker that is down, and this Kafka version would wait for it for ever.
    TargetListWouldKeepDownBroker {
        /// That broker (the first of them).
        broker: BrokerOrdinal,
    },
    /// No broker of the cluster may take replicas.
    NoEligibleBroker,
    /// Every broker that may take replicas holds one of this partition, or is given one.
    EveryCandidateHoldsReplica,
    /// Every candidate would go over a limit.
    NoRoom {
        /// Candidates whose tightest log dir would go over the watermark.
        over_disk: u32,
        /// Candidates with disk, whose network would go over its capacity less the headroom.
        over_network: u32,
    },
    /// The leader cannot feed one more follower: its outbound network would go over its capacity less the headroom.
    LeaderNetworkFull {
        /// The leader.
        leader: BrokerOrdinal,
    },
    /// It has a place, but the plan's budget of moves or bytes is spent.
    Budget {
        /// The place it would get.
        to: BrokerOrdinal,
    },
}

/// How a candidate is judged: fields compared in this order, lower is better. The order is the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score {
    /// Other replicas of the partition in the candidate's rack: a rack's loss should cost as few as possible.
    pub rack_conflict: u32,
    /// Whole multiples of *twice the even share* of this plan's arrivals that the candidate has got already. It
    /// keeps one empty broker from being sent everything: the plan ends when its busiest target ends.
    pub crowding: u32,
    /// The fullest of its resources (tightest log dir, network in, network out) with the replica, in twentieths
    /// of its capacity. Coarse, so that the counts below decide between brokers that are about equally loaded.
    pub load_band: u32,
    /// Replicas of the same topic on it: a hot topic is spread.
    pub topic_replicas: u32,
    /// Replicas on it.
    pub replicas: u32,
    /// Ties are decided.
    pub broker: BrokerOrdinal,
}

/// A partition's new replica list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The partition.
    pub partition: PartitionOrdinal,
    /// Its whole new list, in order.
    pub replicas: Vec<BrokerOrdinal>,
}

impl Plan {
    /// The new replica list of each partition that the plan changes, in the plan's order.
    pub fn assignments(&self, problem: &Problem) -> Vec<Assignment> {
        let mut assignments: Vec<Assignment> = Vec::new();
        for step in self.moves.iter().filter(|step| step.partition < problem.partitions()) {
            if assignments.last().is_none_or(|last| last.partition != step.partition) {
                let replicas = problem.replicas(step.partition).to_vec();
                assignments.push(Assignment { partition: step.partition, replicas });
            }
            let list = assignments.last_mut().map(|last| &mut last.replicas);
            if let Some(place) = list.and_then(|list| list.get_mut(usize::from(step.position))) {
                *place = step.to;
            }
        }
        assignments
    }

    /// The problem as it is when the plan is done: new replicas in sync and counted on their brokers, what they
    /// replace gone. Every log dir of a target is charged with all that it got, as Kafka may have chosen any.
    /// Moves that do not fit the problem are left out: [audit](crate::audit()) first.
    pub fn applied_to(&self, problem: &Problem) -> Problem {
        let mut applied = problem.clone();
        for step in &self.moves {
            let position = usize::from(step.position);
            if step.partition >= problem.partitions()
                || step.to >= problem.brokers()
                || position >= problem.replicas(step.partition).len()
            {
                continue;
            }
            let need = Need::of(problem, step.partition, step.position);
            applied.set_replica(step.partition, position, step.to);
            applied.charge(step.to, &need);
            if let Some(leader) = problem.leader(step.partition) {
                applied.charge_feeder(leader, &need);
            }
        }
        applied.refresh_wanted();
        applied
    }

    /// Bytes to copy, as far as known.
    pub fn bytes(&self) -> u64 {
        self.moves.iter().filter_map(|step| step.bytes).fold(0, u64::saturating_add)
    }
}
