//! From the State to a planner's problem, and back to moves.
//!
//! The planner knows ordinals only. Here brokers and partitions get theirs, everything that is known of room and load
//! is attached, the answer is audited, translated back, and checked once more in names against what it was made from.

use std::collections::{BTreeMap, BTreeSet};

use cluster::{BrokerId, Partition, TopicName, TopicPartition};
use planner::{BrokerState, Limits, Plan, Problem, ProblemError, RackOutcome, WhyNot};
use thiserror::Error;

use crate::attributes::{
    DeadBrokers, Disks, Liveness, Maintenance, OngoingReassignments, ToBeReplaced, Topics,
};
use crate::event::PartitionMove;
use crate::holders::Holders;

pub mod balance;
pub mod network;

use network::Loads;

/// What a plan is made from.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// Who is alive.
    pub liveness: &'a Liveness,
    /// All topics.
    pub topics: &'a Topics,
    /// Reassignments in progress.
    pub reassignments: &'a OngoingReassignments,
    /// Who is dead.
    pub dead: &'a DeadBrokers,
    /// What is under maintenance.
    pub maintenance: &'a Maintenance,
    /// Who is to be replaced.
    pub to_be_replaced: Option<&'a ToBeReplaced>,
    /// Room on disks and sizes of partitions, where known.
    pub disks: Option<&'a Disks>,
    /// Use of the network, where it is known and bounded.
    pub loads: Option<&'a Loads>,
    /// Partitions in moves of ours that have not ended.
    pub busy: &'a BTreeSet<TopicPartition>,
    /// Bytes that earlier moves will still bring to a broker.
    pub arriving: &'a BTreeMap<BrokerId, u64>,
    /// Live brokers that get no replicas as long as there is a choice.
    pub avoid: &'a BTreeSet<BrokerId>,
    /// Live brokers that are to be emptied: their replicas get new places as those on dead brokers do, but are copied from until then.
    /// They must be such that get no replicas.
    pub leaving: &'a BTreeSet<BrokerId>,
}

impl Facts<'_> {
    /// Whether a replica on this broker is to get a new place.
    fn is_to_go(&self, id: &BrokerId) -> bool {
        self.dead.dead.contains_key(id) || self.is_leaving(id)
    }

    /// Whether it lives, and is to be emptied.
    fn is_leaving(&self, id: &BrokerId) -> bool {
        self.leaving.contains(id) && self.liveness.live.contains_key(id)
    }

    /// Whether a broker may get new replicas, whatever choice there is.
    pub fn may_take(&self, id: BrokerId) -> bool {
        self.broker_state(id, false) == BrokerState::Alive
    }

    /// Whether a partition is being moved, by us or by somebody else.
    fn is_moving(&self, key: &TopicPartition) -> bool {
        self.reassignments.0.contains_key(key) || self.busy.contains(key)
    }

    fn broker_state(&self, id: BrokerId, avoiding: bool) -> BrokerState {
        if self.dead.dead.contains_key(&id) {
            BrokerState::Dead
        } else if !self.liveness.live.contains_key(&id) || self.dead.suspects.contains_key(&id) {
            BrokerState::Absent
        } else if self.maintenance.brokers.contains_key(&id) {
            BrokerState::Maintenance
        } else if self.maintenance.decommissioned.contains_key(&id)
            || self.to_be_replaced.is_some_and(|them| them.0.contains_key(&id))
        {
            BrokerState::Draining
        } else if self.dead.unreachable.contains(&id) || (avoiding && self.avoid.contains(&id)) {
            BrokerState::Excluded
        } else {
            BrokerState::Alive
        }
    }
}

/// What is to be done, and what cannot be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healing {
    /// The moves, most urgent first.
    pub moves: Vec<PartitionMove>,
    /// Replicas on dead brokers that are not replaced.
    pub unhealed: Vec<Unhealed>,
}

/// A replica on a dead broker that is not replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unhealed {
    /// The partition.
    pub partition: TopicPartition,
    /// The dead broker.
    pub broker: BrokerId,
    /// Why it is not replaced.
    pub why: Unhealable,
}

/// Why a replica on a dead broker is not replaced.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unhealable {
    /// The partition is being reassigned.
    Busy,
    /// More moves than one event may hold; the rest follows.
    Later,
    /// No replica is on a live broker.
    NoLiveCopy,
    /// Replicas on live brokers are out of sync: to lead from one would lose acknowledged records.
    NoInSyncCopy,
    /// This version of Kafka would wait for another replica, on a broker that is down.
    WouldWaitFor(BrokerId),
    /// No broker may take replicas.
    NoEligibleBroker,
    /// Every broker that may take replicas holds one of the partition.
    NoFurtherBroker,
    /// Every candidate's disks or network are full.
    NoRoom,
    /// The leader's network is full.
    LeaderNetworkFull,
    /// The description of the partition makes no sense.
    NotUnderstood(&'static str),
}

impl Unhealable {
    /// The reason in words.
    pub fn words(&self) -> String {
        match self {
            Self::Busy => "being moved at the moment".into(),
            Self::Later => "more than fit into one plan; they follow".into(),
            Self::NoLiveCopy => {
                "no replica on a live broker, so nothing to copy from until one returns".into()
            }
            Self::NoInSyncCopy => {
                "only out-of-sync replicas live; an unclean election would lose records and is never done"
                    .into()
            }
            Self::WouldWaitFor(id) => {
                format!(
                    "this Kafka version would wait for ever for the replica on broker {id}, which is down"
                )
            }
            Self::NoEligibleBroker => "no broker may take replicas".into(),
            Self::NoFurtherBroker => "every broker that may take replicas holds one already".into(),
            Self::NoRoom => "no candidate has room on its disks or in its network".into(),
            Self::LeaderNetworkFull => "the leader's network is full".into(),
            Self::NotUnderstood(why) => format!("its description makes no sense: {why}"),
        }
    }

    /// Whether another choice of targets could have helped.
    fn lacks_targets(&self) -> bool {
        matches!(self, Self::NoEligibleBroker | Self::NoFurtherBroker | Self::NoRoom)
    }
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanningError {
    /// A broker's figures cannot be handed to the planner.
    #[error("broker {broker} cannot be planned with: {why}")]
    DescribeBroker {
        /// The broker.
        broker: BrokerId,
        /// The cause.
        why: String,
    },
    /// The auditor found the plan to be wrong.
    #[error("the auditor refused the plan: {count} violations, the first is {first}")]
    Audit {
        /// How many violations.
        count: usize,
        /// The first of them.
        first: String,
    },
    /// A move contradicts the State that it was made from.
    #[error("the move of {partition} contradicts what is known: {why}")]
    Check {
        /// The partition.
        partition: TopicPartition,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Plans new replicas for those on dead and leaving brokers. Brokers to be avoided are targets only if more can be healed so.
///
/// # Errors
/// The plan was refused by the auditor or contradicts the facts: an error in this program. Nothing of it may be used.
pub fn heal(facts: &Facts<'_>, limits: &Limits) -> Result<Healing, PlanningError> {
    if let Some(busy) = all_busy(facts) {
        return Ok(busy);
    }
    let avoiding = heal_once(facts, limits, true)?;
    let lacking = avoiding.unhealed.iter().any(|unhealed| unhealed.why.lacks_targets());
    if !lacking || facts.avoid.is_empty() {
        return Ok(avoiding);
    }
    let with_all = heal_once(facts, limits, false)?;
    let fewer = with_all.unhealed.len() < avoiding.unhealed.len();
    Ok(if fewer { with_all } else { avoiding })
}

/// Whose replicas get new places. Mostly that is one broker or a few, for which a list answers sooner than a map, and each replica
/// is asked for.
enum Going {
    Few(Vec<BrokerId>),
    Many(BTreeSet<BrokerId>),
}

impl Going {
    const FEW: usize = 8;

    fn of(facts: &Facts<'_>) -> Self {
        let dead = facts.dead.dead.keys();
        let all = dead.chain(facts.leaving.iter().filter(|id| facts.is_leaving(id))).copied();
        if facts.dead.dead.len() + facts.leaving.len() <= Self::FEW {
            Self::Few(all.collect())
        } else {
            Self::Many(all.collect())
        }
    }

    fn contains(&self, id: &BrokerId) -> bool {
        match self {
            Self::Few(few) => few.contains(id),
            Self::Many(many) => many.contains(id),
        }
    }
}

/// A longer list of replicas is left to the planner to make sense of.
const USUAL_REPLICAS: usize = 32;

/// What a plan brings where each replica on a dead broker is of a partition that is being moved, as it is in each look while moves
/// are under way: nothing. That need not be reckoned from all partitions.
fn all_busy(facts: &Facts<'_>) -> Option<Healing> {
    let (going, mut unhealed) = (Going::of(facts), Vec::new());
    for (name, topic) in &facts.topics.0 {
        for (number, partition) in (0..).zip(&topic.partitions) {
            let replicas = &partition.replicas;
            let mut dead = replicas.iter().filter(|id| going.contains(id)).peekable();
            if dead.peek().is_none() {
                continue;
            }
            let key = TopicPartition::new(name.clone(), number);
            let is_twice = |(at, id): (usize, &BrokerId)| replicas[..at].contains(id);
            let is_odd = replicas.len() > USUAL_REPLICAS || replicas.iter().enumerate().any(is_twice);
            if is_odd || !facts.is_moving(&key) {
                return None;
            }
            unhealed.extend(dead.map(|id| Unhealed {
                partition: key.clone(),
                broker: *id,
                why: Unhealable::Busy,
            }));
        }
    }
    Some(Healing { moves: Vec::new(), unhealed })
}

fn heal_once(facts: &Facts<'_>, limits: &Limits, avoiding: bool) -> Result<Healing, PlanningError> {
    let described = Described::new(facts, avoiding)?;
    let plan = planner::solve(&described.problem, limits);
    planner::audit(&described.problem, limits, &plan).map_err(|violations| PlanningError::Audit {
        count: violations.len(),
        first: violations.first().map_or_else(String::new, |first| format!("{first:?}")),
    })?;
    let healing = described.translate(facts, &plan);
    for order in &healing.moves {
        check(facts, order)
            .map_err(|why| PlanningError::Check { partition: order.partition.clone(), why })?;
    }
    Ok(healing)
}

/// Ordinals of brokers. Ids are small in practice, so that a table answers; any other is searched.
struct Ordinals {
    ids: Vec<BrokerId>,
    table: Vec<u32>,
}

impl Ordinals {
    const TABLE: usize = 1 << 14;

    fn new(ids: BTreeSet<BrokerId>) -> Self {
        let indices = ids.iter().filter_map(|id| usize::try_from(id.0).ok());
        let largest = indices.filter(|at| *at < Self::TABLE).max();
        let mut table = vec![u32::MAX; largest.map_or(0, |largest| largest + 1)];
        for (ordinal, id) in (0..).zip(&ids) {
            if let Some(entry) = usize::try_from(id.0).ok().and_then(|at| table.get_mut(at)) {
                *entry = ordinal;
            }
        }
        Self { ids: ids.into_iter().collect(), table }
    }

    /// `u32::MAX` for one that is not there: the planner refuses it.
    fn of(&self, id: BrokerId) -> u32 {
        match usize::try_from(id.0).ok().and_then(|at| self.table.get(at)) {
            Some(ordinal) => *ordinal,
            None => {
                self.ids.binary_search(&id).ok().and_then(|at| u32::try_from(at).ok()).unwrap_or(u32::MAX)
            }
        }
    }
}

/// A problem with the names behind its ordinals.
struct Described<'a> {
    problem: Problem,
    brokers: Ordinals,
    partitions: Vec<(&'a TopicName, i32, &'a Partition)>,
    refused: Vec<Unhealed>,
}

impl<'a> Described<'a> {
    fn new(facts: &Facts<'a>, avoiding: bool) -> Result<Self, PlanningError> {
        let topics = facts.topics;
        let mut ids: BTreeSet<BrokerId> = facts.liveness.live.keys().copied().collect();
        ids.extend(facts.dead.dead.keys());
        ids.extend(Holders::of(&topics.0).ids());
        let brokers = Ordinals::new(ids);
        let mut builder = Problem::builder(u32::try_from(topics.0.len()).unwrap_or(u32::MAX));
        let racks = racks(facts);
        for id in &brokers.ids {
            let broker = describe_broker(facts, *id, &racks, avoiding);
            builder
                .add_broker(&broker)
                .map_err(|why| PlanningError::DescribeBroker { broker: *id, why: why.to_string() })?;
        }
        let mut partitions = Vec::with_capacity(topics.0.values().map(|topic| topic.partitions.len()).sum());
        let mut refused = Vec::new();
        let (going, mut description) = (Going::of(facts), planner::Partition::default());
        for (topic_ordinal, (name, topic)) in (0..).zip(&topics.0) {
            description.topic = topic_ordinal;
            for (number, partition) in (0..).zip(&topic.partitions) {
                describe_partition(facts, (&brokers, &going), (name, number), partition, &mut description);
                match builder.add_partition(&description) {
                    Ok(_) => partitions.push((name, number, partition)),
                    Err(why) => {
                        let concerned = partition.replicas.iter().filter(|id| going.contains(id));
                        refused.extend(concerned.map(|id| Unhealed {
                            partition: TopicPartition::new(name.clone(), number),
                            broker: *id,
                            why: Unhealable::NotUnderstood(refusal(&why)),
                        }));
                    }
                }
            }
        }
        Ok(Self { problem: builder.build(), brokers, partitions, refused })
    }

    fn broker(&self, ordinal: u32) -> BrokerId {
        self.brokers.ids.get(ordinal as usize).copied().unwrap_or(BrokerId(-1))
    }

    fn key(&self, ordinal: u32) -> TopicPartition {
        let (name, number, _) = self.partitions[ordinal as usize];
        TopicPartition::new(name.clone(), number)
    }

    /// The plan in names.
    fn translate(self, facts: &Facts<'_>, plan: &Plan) -> Healing {
        let mut steps = plan.moves.as_slice();
        let mut moves = Vec::new();
        while let Some(first) = steps.first() {
            let count = steps.iter().take_while(|step| step.partition == first.partition).count();
            let (of_partition, rest) = steps.split_at(count);
            steps = rest;
            let (_, _, partition) = self.partitions[first.partition as usize];
            let mut to = partition.replicas.to_vec();
            let mut reasons = Vec::new();
            for step in of_partition {
                if let Some(place) = to.get_mut(usize::from(step.position)) {
                    *place = self.broker(step.to);
                }
                reasons.push(self.reason(facts, step));
            }
            let alive = |id: &&BrokerId| facts.liveness.live.contains_key(id);
            moves.push(PartitionMove {
                partition: self.key(first.partition),
                from: partition.replicas.to_vec(),
                to,
                dead: of_partition
                    .iter()
                    .map(|step| self.broker(step.from))
                    .filter(|id| facts.dead.dead.contains_key(id))
                    .collect(),
                leaving: of_partition
                    .iter()
                    .map(|step| self.broker(step.from))
                    .filter(|id| facts.is_leaving(id))
                    .collect(),
                bytes: first.bytes,
                in_sync: u32::try_from(partition.isr.iter().filter(alive).count()).unwrap_or(u32::MAX),
                reason: reasons.join("; "),
            });
        }
        let mut unhealed = self.refused.clone();
        unhealed.extend(plan.unplaced.iter().map(|refused| Unhealed {
            partition: self.key(refused.partition),
            broker: self.broker(refused.broker),
            why: self.why_not(&refused.why),
        }));
        Healing { moves, unhealed }
    }

    fn reason(&self, facts: &Facts<'_>, step: &planner::Move) -> String {
        let (from, to) = (self.broker(step.from), self.broker(step.to));
        let rack = facts.liveness.live.get(&to).and_then(|broker| broker.rack.as_deref());
        let rack = rack.map_or_else(String::new, |rack| format!(" in rack {rack}"));
        let racks = match step.rack {
            RackOutcome::NoRacks => String::new(),
            RackOutcome::Kept => ", no other replica shares its rack".into(),
            RackOutcome::NoRackFree { others } => {
                format!(", {others} other in its rack as no rack with fewer has a broker to take it")
            }
            RackOutcome::FreeRackFull { others } => {
                format!(", {others} other in its rack as the brokers of racks with fewer are full")
            }
        };
        let disk = step.after.disk_permille.map_or_else(String::new, |permille| {
            format!(", its fullest log dir at most {}.{} % full", permille / 10, permille % 10)
        });
        let why = if facts.is_leaving(&from) { "is taken out of service" } else { "is dead" };
        format!("broker {from} {why}: broker {to}{rack} takes its place{racks}{disk}")
    }

    fn why_not(&self, why: &WhyNot) -> Unhealable {
        match why {
            WhyNot::Frozen => Unhealable::Busy,
            WhyNot::Budget { .. } => Unhealable::Later,
            WhyNot::NoLiveInSyncReplica { live: 0 } => Unhealable::NoLiveCopy,
            WhyNot::NoLiveInSyncReplica { .. } => Unhealable::NoInSyncCopy,
            WhyNot::TargetListWouldKeepDownBroker { broker } => {
                Unhealable::WouldWaitFor(self.broker(*broker))
            }
            WhyNot::NoEligibleBroker => Unhealable::NoEligibleBroker,
            WhyNot::EveryCandidateHoldsReplica => Unhealable::NoFurtherBroker,
            WhyNot::NoRoom { .. } => Unhealable::NoRoom,
            WhyNot::LeaderNetworkFull { .. } => Unhealable::LeaderNetworkFull,
            // Only replicas on dead brokers are handed over for replacement.
            WhyNot::BrokerNotDead => Unhealable::NotUnderstood("its broker is not dead"),
        }
    }
}

/// Why the planner does not take a partition. Its own words speak of ordinals.
fn refusal(why: &ProblemError) -> &'static str {
    match why {
        ProblemError::DuplicateReplica { .. } => "two replicas on one broker",
        ProblemError::NoReplicas => "no replicas",
        ProblemError::TooManyReplicas { .. } => "too many replicas",
        ProblemError::BrokerOutOfRange { .. }
        | ProblemError::TopicOutOfRange { .. }
        | ProblemError::LeaderHoldsNoReplica { .. } => "it contradicts itself",
        ProblemError::FigureTooLarge { .. } | ProblemError::TooManyOrdinals => "too large to be planned",
    }
}

/// Numbers of racks, by name, of live, fenced and dead brokers.
fn racks<'a>(facts: &Facts<'a>) -> BTreeMap<&'a str, u32> {
    let live = facts.liveness.live.values().chain(facts.liveness.fenced.values());
    let names = live.filter_map(|broker| broker.rack.as_deref());
    let dead = facts.dead.dead.values().filter_map(|dead| dead.rack.as_deref());
    let names: BTreeSet<&str> = names.chain(dead).collect();
    names.into_iter().zip(0..).collect()
}

fn describe_broker(
    facts: &Facts<'_>,
    id: BrokerId,
    racks: &BTreeMap<&str, u32>,
    avoiding: bool,
) -> planner::Broker {
    let known = facts.liveness.live.get(&id).or_else(|| facts.liveness.fenced.get(&id));
    let rack = known.and_then(|broker| broker.rack.as_deref());
    let rack = rack.or_else(|| facts.dead.dead.get(&id).and_then(|dead| dead.rack.as_deref()));
    let arriving = facts.arriving.get(&id).copied().unwrap_or(0);
    let dirs = facts.disks.and_then(|disks| disks.brokers.get(&id)).map_or(&[][..], |disks| &disks.dirs);
    let log_dirs = dirs.iter().filter(|dir| dir.error.is_none()).filter_map(|dir| {
        let total = dir.total_bytes?.min(planner::MAX_FIGURE);
        // Kafka chooses the dir itself: whatever is on its way may come to this one.
        let used = total.saturating_sub(dir.usable_bytes?).saturating_add(arriving);
        Some(planner::LogDir { total, used: used.min(planner::MAX_FIGURE) })
    });
    planner::Broker {
        rack: rack.and_then(|rack| racks.get(rack).copied()),
        state: facts.broker_state(id, avoiding),
        log_dirs: log_dirs.collect(),
        network_in: facts.loads.and_then(|loads| loads.inbound(id)),
        network_out: facts.loads.and_then(|loads| loads.outbound(id)),
    }
}

/// Describes a partition whose topic is described already.
fn describe_partition(
    facts: &Facts<'_>,
    (brokers, going): (&Ordinals, &Going),
    (name, number): (&TopicName, i32),
    partition: &Partition,
    description: &mut planner::Partition,
) {
    description.replicas.clear();
    description.replicas.extend(partition.replicas.iter().map(|id| planner::Replica {
        broker: brokers.of(*id),
        in_sync: partition.isr.contains(id),
        replace: going.contains(id),
    }));
    let leader = partition.leader.filter(|id| partition.replicas.contains(id));
    description.leader = leader.map(|id| brokers.of(id));
    description.frozen = false;
    (description.size, description.bytes_in) = (None, None);
    // Names are only looked up for what may be moved: the others count as what they already take.
    if description.replicas.iter().any(|replica| replica.replace) {
        let key = TopicPartition::new(name.clone(), number);
        let size = facts.disks.and_then(|disks| disks.sizes.get(&key));
        description.size = size.map(|size| (*size).min(planner::MAX_FIGURE));
        description.bytes_in = facts.loads.and_then(|loads| loads.partition(&key));
        description.frozen = facts.is_moving(&key);
    }
}

/// Holds a move against the facts once more, in names.
fn check(facts: &Facts<'_>, order: &PartitionMove) -> Result<(), &'static str> {
    let topic = facts.topics.0.get(&order.partition.topic);
    let number = usize::try_from(order.partition.partition).unwrap_or(usize::MAX);
    let partition =
        topic.and_then(|topic| topic.partitions.get(number)).ok_or("there is no such partition")?;
    let distinct: BTreeSet<&BrokerId> = order.to.iter().collect();
    if *order.from != *partition.replicas {
        return Err("its replicas are others");
    }
    if order.to.len() != order.from.len() || distinct.len() != order.to.len() {
        return Err("two replicas on one broker, or another number of them");
    }
    if !order.added().all(|id| facts.may_take(id)) {
        return Err("a target may not take replicas");
    }
    let mut removed = order.from.iter().filter(|id| !order.to.contains(id));
    let may_go = |id: &BrokerId| facts.is_to_go(id) && (facts.is_leaving(id) || order.dead.contains(id));
    if !removed.all(may_go) {
        return Err("a replica is removed from a broker that is neither dead nor leaving");
    }
    // Kafka keeps what is on a live broker until the new replicas are in sync.
    let keeps_copy = |id: &BrokerId| {
        facts.is_leaving(id) || (order.to.contains(id) && facts.liveness.live.contains_key(id))
    };
    if !partition.isr.iter().any(keeps_copy) {
        return Err("no live in-sync replica is kept");
    }
    if facts.is_moving(&order.partition) {
        return Err("it is being reassigned");
    }
    Ok(())
}

#[cfg(test)]
#[path = "planning_tests.rs"]
mod tests;
