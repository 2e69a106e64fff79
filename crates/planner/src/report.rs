//! Turns what the solver found into a [`Plan`]: reasons, budget, order, figures.

use std::collections::BTreeSet;

use crate::heal::{NOWHERE, Solver};
use crate::ledger::Refusal;
use crate::plan::{Move, Plan, RackOutcome, Unplaced, WhyNot};

pub(crate) fn report(mut solver: Solver<'_>) -> Plan {
    let mut unplaced = std::mem::take(&mut solver.refused);
    explain_unplaced(&mut solver, &mut unplaced);
    // Rack outcomes are those of the whole, before the budget cuts: what it holds back is reserved all the same.
    let racks: Vec<_> = (0..solver.slots.len()).map(|slot| rack_outcome(&mut solver, slot)).collect();
    let granted = within_budget(&solver, &mut unplaced);
    unplaced.sort_by_key(|replica| (replica.partition, replica.position));
    Plan { moves: write_moves(&mut solver, &granted, &racks), unplaced }
}

fn explain_unplaced(solver: &mut Solver<'_>, unplaced: &mut Vec<Unplaced>) {
    for task in 0..solver.tasks.len() {
        let slots = solver.tasks[task].slots.clone();
        let homeless: Vec<_> = slots.filter(|slot| solver.slots[*slot].to == NOWHERE).collect();
        // Those that could be placed, were it not for the others, are told apart by placing them for a moment.
        let mut failed = Vec::new();
        for slot in &homeless {
            let why = if solver.find_place(*slot) { None } else { Some(why_not(solver, *slot)) };
            failed.extend(why.map(|why| (*slot, why)));
        }
        for slot in &homeless {
            if solver.slots[*slot].to != NOWHERE {
                solver.take_back(*slot);
            }
        }
        let stays_down = failed.iter().map(|(slot, _)| *slot).find(|slot| solver.keeps_down(*slot));
        for slot in homeless {
            let why = match failed.iter().find(|(other, _)| *other == slot) {
                Some((_, WhyNot::NoRoom { .. })) => count_refusals(solver, slot),
                Some((_, why)) => *why,
                None => {
                    let broker = solver.slots[stays_down.unwrap_or(slot)].from;
                    WhyNot::TargetListWouldKeepDownBroker { broker }
                }
            };
            let (partition, broker) = (solver.tasks[task].partition, solver.slots[slot].from);
            unplaced.push(Unplaced { partition, position: solver.slots[slot].position, broker, why });
        }
    }
}

/// Why a slot finds no place.
fn why_not(solver: &mut Solver<'_>, slot: usize) -> WhyNot {
    let leader = solver.tasks[solver.slots[slot].task as usize].feeder;
    if let Some(leader) = leader.filter(|_| !solver.can_feed(slot)) {
        return WhyNot::LeaderNetworkFull { leader };
    }
    if solver.candidates(slot).is_empty() {
        return WhyNot::EveryCandidateHoldsReplica;
    }
    count_refusals(solver, slot)
}

fn count_refusals(solver: &mut Solver<'_>, slot: usize) -> WhyNot {
    let need = solver.slots[slot].need;
    let (mut over_disk, mut over_network) = (0, 0);
    for (broker, _) in solver.candidates(slot) {
        match solver.ledger.refuses(broker, &need) {
            Some(Refusal::Disk) => over_disk += 1,
            Some(Refusal::Network) => over_network += 1,
            None => {}
        }
    }
    WhyNot::NoRoom { over_disk, over_network }
}

fn rack_outcome(solver: &mut Solver<'_>, slot: usize) -> RackOutcome {
    let to = solver.slots[slot].to;
    if to == NOWHERE || solver.problem.rack(to).is_none() {
        return RackOutcome::NoRacks;
    }
    let conflict = solver.conflict_of(slot);
    let others = conflict as u16;
    if conflict == 0 {
        RackOutcome::Kept
    } else if solver.candidates(slot).iter().any(|(_, other)| *other < conflict) {
        RackOutcome::FreeRackFull { others }
    } else {
        RackOutcome::NoRackFree { others }
    }
}

/// The placed tasks that the budget allows, most urgent first. A partition is taken as a whole or not at all, and
/// one that does not fit is passed over, so that one large partition does not keep the others from healing.
fn within_budget(solver: &Solver<'_>, unplaced: &mut Vec<Unplaced>) -> Vec<usize> {
    let placed = |task: usize| {
        let slots = solver.tasks[task].slots.clone();
        slots.map(|slot| &solver.slots[slot]).filter(|slot| slot.to != NOWHERE)
    };
    let mut order: Vec<_> = (0..solver.tasks.len())
        .filter(|task| placed(*task).next().is_some())
        .map(|task| {
            let bytes = placed(task).map(|slot| slot.need.disk).fold(0, u64::saturating_add);
            (solver.tasks[task].live_in_sync, bytes, solver.tasks[task].partition, task)
        })
        .collect();
    order.sort_unstable();
    let mut moves_left = solver.limits.max_moves.map_or(u64::MAX, u64::from);
    let mut bytes_left = solver.limits.max_bytes.unwrap_or(u64::MAX);
    let mut granted = Vec::with_capacity(order.len());
    for (_, bytes, partition, task) in order {
        let moves = placed(task).count() as u64;
        if moves <= moves_left && bytes <= bytes_left {
            moves_left -= moves;
            bytes_left -= bytes;
            granted.push(task);
            continue;
        }
        unplaced.extend(placed(task).map(|slot| Unplaced {
            partition,
            position: slot.position,
            broker: slot.from,
            why: WhyNot::Budget { to: slot.to },
        }));
    }
    granted
}

/// Plays the plan from the start, to write down each target before and after each move.
fn write_moves(solver: &mut Solver<'_>, granted: &[usize], racks: &[RackOutcome]) -> Vec<Move> {
    let places: Vec<_> = solver.slots.iter().map(|slot| slot.to).collect();
    solver.take_all_back();
    let mut moves = Vec::with_capacity(places.len());
    for task in granted {
        let partition = solver.tasks[*task].partition;
        let topic = solver.tasks[*task].topic;
        let by_position: BTreeSet<_> = solver.tasks[*task]
            .slots
            .clone()
            .filter(|slot| places[*slot] != NOWHERE)
            .map(|slot| (solver.slots[slot].position, slot))
            .collect();
        for (position, slot) in by_position {
            let to = places[slot];
            let before = solver.ledger.figures(to, topic);
            solver.put(slot, to);
            moves.push(Move {
                partition,
                position,
                from: solver.slots[slot].from,
                to,
                bytes: solver.problem.size(partition),
                rack: racks[slot],
                before,
                after: solver.ledger.figures(to, topic),
            });
        }
    }
    moves
}
