//! Empties brokers that people take out of service, while they live: nothing is copied in a hurry, and no partition is short of a
//! replica meanwhile. Kafka takes a replica away when those that replace it are in sync: of no partition are fewer in sync at the end
//! than there were, whatever its `min.insync.replicas` is.
//!
//! What is dead or absent comes first: brokers are emptied only while nothing has to be healed.

use super::*;
use crate::planning::Unhealed;

impl UnderReplicatedPartitionsOperator {
    /// Plans new places for the replicas of live brokers that are taken out of service.
    pub(super) fn drain(&self, state: &State, known: &Known<'_>, verdict: &mut Verdict) {
        let leaving = leaving(known);
        if leaving.is_empty() || !self.config.drain_decommissioned || known.maintenance.cluster.is_some() {
            return;
        }
        let work = WorkInFlight::of(state);
        let left = |id: &BrokerId| Left::of(*id, known, &work);
        let left: BTreeMap<BrokerId, Left> = leaving.iter().map(|id| (*id, left(id))).collect();
        if known.has_replicas_on_the_dead() || known.has_replicas_on_the_absent() {
            let waits_for = "what is on dead or absent brokers to be healed, or to be back";
            verdict.findings.extend(left.iter().map(|(id, left)| left.finding(*id, Some(waits_for))));
            return;
        }
        verdict.findings.extend(left.iter().map(|(id, left)| left.finding(*id, None)));
        let disks = state.get::<Disks>().map(|fact| fact.value);
        let loads = self.loads(state, known);
        let (avoid, arriving) = (to_avoid(state, known.liveness, disks), work.arriving(known, disks));
        let facts = Facts {
            liveness: known.liveness,
            topics: known.topics,
            reassignments: known.reassignments,
            dead: known.dead,
            maintenance: &known.maintenance,
            to_be_replaced: state.get::<ToBeReplaced>().map(|fact| fact.value),
            disks,
            loads: loads.as_ref(),
            busy: &work.moving,
            arriving: &arriving,
            avoid: &avoid,
            leaving: &leaving,
        };
        match heal(&facts, &planner::Limits { only_dead: false, ..self.limits(known) }) {
            Ok(plan) => {
                verdict.findings.extend(cannot_go(&plan.unhealed));
                verdict.events.extend(self.moves_away(known, &leaving, plan));
            }
            Err(error) => refused(state, &error, verdict),
        }
    }

    fn moves_away(&self, known: &Known<'_>, leaving: &BTreeSet<BrokerId>, plan: Healing) -> Option<Event> {
        let from = plan.moves.first()?.from.iter().find(|id| leaving.contains(id)).copied()?;
        let by = known.maintenance.decommissioned.get(&from).map_or("", |wish| wish.by.as_str());
        let ids: Vec<String> = leaving.iter().map(ToString::to_string).collect();
        let brokers = if ids.len() == 1 { "broker" } else { "brokers" };
        let reason = format!(
            "{} of {brokers} {}, taken out of service by {by}, get new replicas",
            counted(plan.moves.len(), "partition"),
            ids.join(", "),
        );
        let order = ReassignPartitions {
            moves: plan.moves,
            throttle_bytes_per_second: self.config.throttle.map(|throttle| throttle.0),
        };
        let event = Event::new(names::REASSIGN_PARTITIONS, Target::Cluster, reason, &order);
        Some(event.caused_by(IncidentKey::new(seen::DECOMMISSIONED, Target::Broker(from))))
    }
}

/// Live brokers that are taken out of service, hold replicas, and are not worked on by anybody.
fn leaving(known: &Known<'_>) -> BTreeSet<BrokerId> {
    let maintenance = &known.maintenance;
    let live = |id: &BrokerId| {
        known.liveness.live.contains_key(id)
            && !known.dead.suspects.contains_key(id)
            && !maintenance.brokers.contains_key(id)
    };
    let mut leaving: BTreeSet<BrokerId> = maintenance.decommissioned.keys().copied().filter(live).collect();
    if !leaving.is_empty() {
        let partitions = known.topics.0.values().flat_map(|topic| &topic.partitions);
        let held: BTreeSet<BrokerId> = partitions.flat_map(|p| p.replicas.iter().copied()).collect();
        leaving.retain(|id| held.contains(id));
    }
    leaving
}

/// What a leaving broker still holds.
#[derive(Debug, Default)]
struct Left {
    replicas: usize,
    moving: usize,
}

impl Left {
    fn of(id: BrokerId, known: &Known<'_>, work: &WorkInFlight) -> Self {
        let mut left = Self::default();
        for (name, topic) in &known.topics.0 {
            for (number, partition) in (0..).zip(&topic.partitions) {
                if partition.replicas.contains(&id) {
                    left.replicas += 1;
                    let key = TopicPartition::new(name.clone(), number);
                    let moves = known.reassignments.0.contains_key(&key) || work.moving.contains(&key);
                    left.moving += usize::from(moves);
                }
            }
        }
        left
    }

    fn finding(&self, id: BrokerId, waits_for: Option<&str>) -> Finding {
        let message = format!(
            "broker {id} is being emptied: {} left on it, {} of them being moved",
            counted(self.replicas, "replica"),
            self.moving
        );
        let finding = Finding::new(kinds::DRAINING, Target::Broker(id), Severity::Info, message);
        finding.waiting_for(waits_for.unwrap_or("its replicas to be in sync elsewhere"))
    }
}

/// Replicas that have to stay, and why.
fn cannot_go(unhealed: &[Unhealed]) -> Vec<Finding> {
    let mut by_broker = BTreeMap::<BrokerId, BTreeMap<&Unhealable, Vec<&TopicPartition>>>::new();
    let stay = unhealed.iter().filter(|it| !matches!(it.why, Unhealable::Busy | Unhealable::Later));
    for it in stay {
        by_broker.entry(it.broker).or_default().entry(&it.why).or_default().push(&it.partition);
    }
    let finding = |(id, reasons): (BrokerId, BTreeMap<&Unhealable, Vec<&TopicPartition>>)| {
        let message = format!("broker {id} cannot be emptied: {}", findings::reasons(&reasons));
        let count = reasons.values().map(Vec::len).sum();
        let finding = Finding::new(kinds::CANNOT_DRAIN, Target::Broker(id), Severity::Warning, message);
        finding.concerning(count).waiting_for("another broker, or room for its replicas on others")
    };
    by_broker.into_iter().map(finding).collect()
}

#[cfg(test)]
#[path = "drain_tests.rs"]
mod tests;
