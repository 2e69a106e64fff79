//! Whether what a plan says about its moves and refusals is so.

use std::collections::{BTreeMap, BTreeSet};

use super::room::{Demand, tightest};
use super::{Case, Violation};
use crate::plan::{Move, RackOutcome, TargetFigures, Unplaced, WhyNot};
use crate::problem::{BrokerOrdinal, BrokerState, Network, PartitionOrdinal};

/// The place of a replica that only the budget holds back.
pub(super) fn held_back(refused: &Unplaced) -> Option<BrokerOrdinal> {
    match refused.why {
        WhyNot::Budget { to } => Some(to),
        _ => None,
    }
}

pub(super) fn check_racks(case: &Case<'_>, violations: &mut BTreeSet<Violation>) {
    for step in &case.plan.moves {
        if true_outcome(case, step) != Some(step.rack) {
            let (partition, position) = (step.partition, step.position);
            violations.insert(Violation::WrongRackOutcome { partition, position });
        }
    }
}

/// What a move does to rack awareness; none if it is worse than it had to be.
fn true_outcome(case: &Case<'_>, step: &Move) -> Option<RackOutcome> {
    let Some(own) = case.problem.rack(step.to) else { return Some(RackOutcome::NoRacks) };
    let mut racks: BTreeMap<u32, u16> = BTreeMap::new();
    for (at, holder) in case.problem.replicas(step.partition).iter().enumerate() {
        if at == usize::from(step.position) {
            continue;
        }
        let stays = Some(*holder).filter(|_| !case.replaceable(step.partition, at));
        let rack = case.placement(step.partition, at).or(stays).and_then(|broker| case.problem.rack(broker));
        if let Some(rack) = rack {
            *racks.entry(rack).or_default() += 1;
        }
    }
    let others_in = |rack: u32| racks.get(&rack).copied().unwrap_or(0);
    let others = others_in(own);
    if others == 0 {
        return Some(RackOutcome::Kept);
    }
    let mut better = case.candidates(step.partition);
    better.retain(|broker| case.problem.rack(*broker).is_some_and(|rack| others_in(rack) < others));
    let demand = Demand::of(case.problem, step.partition, step.position);
    if better.is_empty() {
        Some(RackOutcome::NoRackFree { others })
    } else if better.iter().any(|broker| case.room.has(*broker, &demand)) {
        None
    } else {
        Some(RackOutcome::FreeRackFull { others })
    }
}

/// Sums that grow along the plan.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    arrivals: u32,
    disk: u128,
    network_in: u128,
    network_out: u128,
}

pub(super) fn check_figures(case: &Case<'_>, violations: &mut BTreeSet<Violation>) {
    let mut topics = count_topic_replicas(case);
    let mut sums = vec![Sums::default(); case.problem.brokers() as usize];
    for step in &case.plan.moves {
        let (partition, position) = (step.partition, step.position);
        let key = (case.problem.topic(partition), step.to);
        let demand = Demand::of(case.problem, partition, position);
        let on_topic = topics.entry(key).or_default();
        let before = figures(case, step.to, &sums[step.to as usize], *on_topic);

        *on_topic += 1;
        let target = &mut sums[step.to as usize];
        target.arrivals += 1;
        target.disk += demand.disk.unsigned_abs();
        target.network_in += demand.network_in.unsigned_abs();
        target.network_out += demand.network_out.unsigned_abs();
        let leader = case.problem.leader(partition).filter(|leader| case.problem.state(*leader).is_up());
        if let Some(leader) = leader {
            sums[leader as usize].network_out += demand.network_in.unsigned_abs();
        }
        let after = figures(case, step.to, &sums[step.to as usize], *on_topic);

        if before != step.before || after != step.after {
            violations.insert(Violation::WrongFigures { partition, position });
        }
        if step.bytes != case.problem.size(partition) {
            violations.insert(Violation::WrongBytes { partition, position });
        }
    }
}

/// Replicas per (topic, target), before the plan, for the pairs that the plan touches.
fn count_topic_replicas(case: &Case<'_>) -> BTreeMap<(u32, BrokerOrdinal), u32> {
    let pairs: BTreeSet<_> =
        case.plan.moves.iter().map(|step| (case.problem.topic(step.partition), step.to)).collect();
    let pairs: Vec<_> = pairs.into_iter().collect();
    let mut counts = vec![0u32; pairs.len()];
    for partition in 0..case.problem.partitions() {
        let topic = case.problem.topic(partition);
        let first = pairs.partition_point(|(other, _)| *other < topic);
        let targets = pairs[first..].partition_point(|(other, _)| *other == topic);
        let targets = &pairs[first..first + targets];
        if targets.is_empty() {
            continue;
        }
        for broker in case.problem.replicas(partition) {
            if let Ok(at) = targets.binary_search(&(topic, *broker)) {
                counts[first + at] += 1;
            }
        }
    }
    pairs.into_iter().zip(counts).collect()
}

fn figures(case: &Case<'_>, broker: BrokerOrdinal, sums: &Sums, topic_replicas: u32) -> TargetFigures {
    let network = |network: Option<Network>, more: u128| {
        network.map(|n| permille(u128::from(n.used) + more, u128::from(n.capacity)))
    };
    let disk = tightest(case.problem, case.limits, broker).map(|(_, at)| {
        let dir = case.problem.log_dirs(broker)[at];
        permille(u128::from(dir.used) + sums.disk, u128::from(dir.total))
    });
    TargetFigures {
        replicas: case.problem.replicas_on(broker) + sums.arrivals,
        topic_replicas,
        arrivals: sums.arrivals,
        disk_permille: disk,
        network_in_permille: network(case.problem.network_in(broker), sums.network_in),
        network_out_permille: network(case.problem.network_out(broker), sums.network_out),
    }
}

fn permille(used: u128, capacity: u128) -> u32 {
    // A capacity of nothing is full.
    (used * 1000).checked_div(capacity).map_or(1000, |permille| u32::try_from(permille).unwrap_or(u32::MAX))
}

pub(super) fn check_reasons(case: &Case<'_>, violations: &mut BTreeSet<Violation>) {
    let reasons: BTreeMap<_, _> = case
        .plan
        .unplaced
        .iter()
        .map(|refused| ((refused.partition, refused.position), refused.why))
        .collect();
    for refused in &case.plan.unplaced {
        if !holds(case, &reasons, refused) {
            let (partition, position) = (refused.partition, refused.position);
            violations.insert(Violation::WrongReason { partition, position });
        }
    }
}

type Reasons = BTreeMap<(PartitionOrdinal, u16), WhyNot>;

fn holds(case: &Case<'_>, reasons: &Reasons, refused: &Unplaced) -> bool {
    let (problem, partition) = (case.problem, refused.partition);
    match refused.why {
        WhyNot::Frozen => problem.frozen(partition),
        WhyNot::BrokerNotDead => {
            case.limits.only_dead
                && problem.state(refused.broker) != BrokerState::Dead
                && !problem.frozen(partition)
        }
        WhyNot::NoLiveInSyncReplica { live } => case.live(partition) == (usize::from(live), 0),
        WhyNot::TargetListWouldKeepDownBroker { broker } => {
            !case.limits.allow_down_in_target_list
                && broker != refused.broker
                && keeps_down(case, reasons, partition, broker)
        }
        WhyNot::NoEligibleBroker => (0..problem.brokers()).all(|b| problem.state(b) != BrokerState::Alive),
        WhyNot::EveryCandidateHoldsReplica => {
            could_be_placed(case, refused)
                && case.candidates(partition).len() <= others_to_place(case, refused)
        }
        WhyNot::NoRoom { over_disk, over_network } => {
            could_be_placed(case, refused) && has_no_room(case, refused, over_disk, over_network)
        }
        WhyNot::LeaderNetworkFull { leader } => {
            let rate = i128::from(problem.bytes_in(partition).unwrap_or(0));
            let more = rate * (others_to_place(case, refused) as i128 + 1);
            could_be_placed(case, refused)
                && problem.leader(partition) == Some(leader)
                && problem.state(leader).is_up()
                && rate > 0
                && case.room.network_out_left(leader).is_some_and(|left| left < more)
        }
        WhyNot::Budget { .. } => is_beyond_budget(case, partition),
    }
}

/// Whether nothing but a want of places stands in the way.
fn could_be_placed(case: &Case<'_>, refused: &Unplaced) -> bool {
    case.replaceable(refused.partition, usize::from(refused.position))
        && !case.problem.frozen(refused.partition)
        && case.live(refused.partition).1 > 0
}

/// Whether a broker is down and keeps its replica for a reason other than its neighbours'.
fn keeps_down(
    case: &Case<'_>,
    reasons: &Reasons,
    partition: PartitionOrdinal,
    broker: BrokerOrdinal,
) -> bool {
    let Some(at) = case.problem.replicas(partition).iter().position(|holder| *holder == broker) else {
        return false;
    };
    if case.problem.state(broker).is_up() {
        return false;
    }
    if !case.replaceable(partition, at) {
        return true;
    }
    let why = reasons.get(&(partition, at as u16));
    why.is_some_and(|why| {
        !matches!(why, WhyNot::TargetListWouldKeepDownBroker { .. } | WhyNot::Budget { .. })
    })
}

/// How many replicas of the partition may take places before this one. Where a list may not name a broker that is
/// down, replicas on such brokers have to be placed together or not at all, and come first; elsewhere a place that
/// is left over is one too many.
fn others_to_place(case: &Case<'_>, refused: &Unplaced) -> usize {
    let partition = refused.partition;
    let replicas = case.problem.replicas(partition);
    let homeless = |at: &usize| case.replaceable(partition, *at) && case.placement(partition, *at).is_none();
    let is_up = |at: usize| case.problem.state(replicas[at]).is_up();
    let all = (0..replicas.len()).filter(homeless).count();
    let down = (0..replicas.len()).filter(homeless).filter(|at| !is_up(*at)).count();
    if case.limits.allow_down_in_target_list || down == 0 {
        0
    } else if is_up(usize::from(refused.position)) {
        all - 1
    } else {
        down - 1
    }
}

fn has_no_room(case: &Case<'_>, refused: &Unplaced, over_disk: u32, over_network: u32) -> bool {
    let demand = Demand::of(case.problem, refused.partition, refused.position);
    let candidates = case.candidates(refused.partition);
    let disk = candidates.iter().filter(|broker| !case.room.disk_has(**broker, &demand)).count();
    let network = candidates
        .iter()
        .filter(|broker| case.room.disk_has(**broker, &demand) && !case.room.network_has(**broker, &demand))
        .count();
    let left = candidates.len() - disk - network;
    disk + network > 0
        && (disk, network) == (over_disk as usize, over_network as usize)
        && left <= others_to_place(case, refused)
}

/// Whether a partition whose moves are held back as a whole does not fit into what the plan leaves of the budget.
fn is_beyond_budget(case: &Case<'_>, partition: PartitionOrdinal) -> bool {
    let (moves, bytes) = case.spent();
    let more = case.given(partition).count() as u64;
    let more_bytes = u128::from(case.problem.size(partition).unwrap_or(0)) * u128::from(more);
    case.plan.moves.iter().all(|step| step.partition != partition)
        && (case.limits.max_moves.is_some_and(|max| moves + more > u64::from(max))
            || case.limits.max_bytes.is_some_and(|max| bytes + more_bytes > u128::from(max)))
}
