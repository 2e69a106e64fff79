//! What a look at the cluster says about a move.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::time::Duration;

use cluster::{BrokerId, Partition, TopicPartition};

use crate::attributes::{DeadBrokers, Liveness, MayGiveUp, OngoingReassignments, Probes, Topics};
use crate::event::PartitionMove;
use crate::execution::{ExecutionLimits, MovePhase, MoveState};
use crate::guard::{Check, brokers_in_maintenance};
use crate::monitors::maintenance;
use crate::reassigned::Arriving;
use crate::state::{Fact, State};
use crate::time::Now;

/// Our own probes are made every few seconds. What an older one says of a broker is not gone by.
const MAX_PROBES_AGE: Duration = Duration::from_secs(60);

/// What executions look at.
pub(crate) struct View<'a> {
    pub(crate) now: Now,
    pub(crate) topics: Option<Fact<'a, Topics>>,
    pub(crate) ongoing: Option<Fact<'a, OngoingReassignments>>,
    pub(crate) liveness: Option<&'a Liveness>,
    pub(crate) dead: Option<&'a DeadBrokers>,
    pub(crate) maintenance: BTreeSet<BrokerId>,
    /// Brokers that are taken out of service.
    leaving: BTreeSet<BrokerId>,
    may_give_up: Option<&'a MayGiveUp>,
    probes: Option<&'a Probes>,
    arriving: Arriving<'a>,
    lost: OnceCell<usize>,
}

impl<'a> View<'a> {
    pub(crate) fn of(state: &'a State) -> Self {
        Self {
            now: state.now(),
            topics: state.get(),
            ongoing: state.get(),
            liveness: state.get().map(|fact| fact.value),
            dead: state.get().map(|fact| fact.value),
            maintenance: brokers_in_maintenance(state),
            leaving: maintenance::current(state).decommissioned.into_keys().collect(),
            may_give_up: state.get().map(|fact| fact.value),
            probes: state.fresh(MAX_PROBES_AGE).ok(),
            arriving: Arriving::of(state),
            lost: OnceCell::new(),
        }
    }

    pub(crate) fn partition(&self, of: &TopicPartition) -> Option<&'a Partition> {
        let topic = self.topics?.value.0.get(&of.topic)?;
        topic.partitions.get(usize::try_from(of.partition).ok()?)
    }

    pub(crate) fn is_dead(&self, broker: BrokerId) -> bool {
        self.dead.is_some_and(|dead| dead.dead.contains_key(&broker))
    }

    pub(crate) fn is_live(&self, broker: BrokerId) -> bool {
        self.liveness.is_some_and(|liveness| liveness.live.contains_key(&broker))
    }

    /// Whether our own probe of a broker fails: it may be alive, and take no configs from us all the same.
    pub(crate) fn is_beyond_us(&self, broker: BrokerId) -> bool {
        let probe = self.probes.and_then(|probes| probes.0.get(&broker));
        probe.is_some_and(|probe| probe.failure.is_some())
    }

    /// Whether what would be planned in the place of a move of ours brings as many live copies.
    pub(crate) fn may_give_up(&self, of: &TopicPartition) -> bool {
        self.may_give_up.is_some_and(|may| may.0.contains(of))
    }

    /// How many partitions that nobody reassigns lack an in-sync replica on a live broker. It grows when copying takes
    /// so much of a broker that its other replicas fall behind.
    pub(crate) fn lost_on_live_brokers(&self) -> usize {
        *self.lost.get_or_init(|| {
            let (Some(topics), Some(liveness)) = (self.topics, self.liveness) else { return 0 };
            let mut count = 0;
            for (name, topic) in &topics.value.0 {
                let short = |(_, p): &(i32, &Partition)| p.isr.len() < p.replicas.len();
                for (number, partition) in (0..).zip(&topic.partitions).filter(short) {
                    let key = TopicPartition::new(name.clone(), number);
                    let lost =
                        |broker| liveness.live.contains_key(&broker) && !self.arriving.contains(&key, broker);
                    let lost = !self.arriving.is_listed(&key) && partition.out_of_sync().any(lost);
                    count += usize::from(lost);
                }
            }
            count
        })
    }
}

/// Takes in what the cluster shows of a move that is in flight. Says nothing about one whose answer is still to come.
///
/// The controller's list of reassignments is current; a broker's metadata may lag behind it. Therefore "listed" is
/// believed at once, and "not listed, and not as wanted" only after a look at the topics that is younger by
/// [`ExecutionLimits::settle`].
pub(crate) fn observe(m: &mut MoveState, view: &View<'_>, limits: &ExecutionLimits) {
    let (Some(topics), Some(ongoing)) = (view.topics, view.ongoing) else { return };
    if !m.phase.is_in_flight() || ongoing.as_of < m.look_from {
        return;
    }
    if let Some(listed) = ongoing.value.0.get(&m.order.partition) {
        m.unlisted_since = None;
        if listed.target() != m.order.to {
            m.phase = MovePhase::Dropped { why: "taken over by another reassignment".to_owned() };
        } else if m.phase == MovePhase::Submitting {
            m.phase = MovePhase::Copying { since: view.now.wall };
        }
        return;
    }
    let unlisted_since = *m.unlisted_since.get_or_insert(ongoing.as_of);
    if topics.as_of < m.look_from {
        return;
    }
    let settled = topics.as_of >= unlisted_since.plus(limits.settle);
    let Some(partition) = view.partition(&m.order.partition) else {
        if settled {
            m.phase = MovePhase::Dropped { why: "the partition does not exist any more".to_owned() };
        }
        return;
    };
    if *partition.replicas == *m.order.to {
        let missing: Vec<BrokerId> = m.order.added().filter(|b| !partition.isr.contains(b)).collect();
        if missing.is_empty() {
            m.phase = MovePhase::Done { at: view.now.wall };
        } else if let Some(broker) = missing.into_iter().find(|broker| view.is_dead(*broker)) {
            m.phase = MovePhase::Dropped { why: format!("moved, but broker {broker} has died since") };
        }
        return;
    }
    if settled {
        m.unlisted_since = None;
        m.phase = match &m.phase {
            MovePhase::Cancelling { why } => MovePhase::Dropped { why: why.clone() },
            MovePhase::Submitting if m.tries < limits.max_tries => MovePhase::Waiting,
            MovePhase::Submitting => MovePhase::Dropped { why: "submitted without effect".to_owned() },
            _ => MovePhase::Dropped { why: CANCELLED_BY_OTHERS.to_owned() },
        };
    }
}

/// Why a move was dropped that the cluster does not list any more, although it was not done.
pub(crate) const CANCELLED_BY_OTHERS: &str = "cancelled by someone else";

/// Whether the cluster lists the move as we asked for it.
pub(crate) fn is_listed_as_ours(m: &MoveState, view: &View<'_>) -> bool {
    view.ongoing.is_some_and(|ongoing| {
        ongoing.as_of >= m.look_from
            && ongoing.value.0.get(&m.order.partition).is_some_and(|listed| listed.target() == m.order.to)
    })
}

/// The dead broker that keeps a move from its end: one that was to get a replica, or, before Kafka 4.3, which waits until
/// every replica of the new list is in sync, one that keeps its own. Says whether it was to get one.
pub(crate) fn waits_for_the_dead(m: &MoveState, view: &View<'_>) -> Option<(BrokerId, bool)> {
    if let Some(broker) = m.order.added().find(|broker| view.is_dead(*broker)) {
        return Some((broker, true));
    }
    let waits = view.liveness.is_some_and(|liveness| !liveness.capabilities.completes_with_dead_targets);
    let kept = m.order.to.iter().find(|broker| view.is_dead(**broker)).filter(|_| waits)?;
    Some((*kept, false))
}

/// Whether a copy is under way that a cancel would give up: to a broker that is not dead. One that is absent may return, and go
/// on with what it has.
pub(crate) fn brings_copies(m: &MoveState, view: &View<'_>) -> bool {
    m.order.added().any(|broker| !view.is_dead(broker))
}

/// Whether a cancel takes away a replica that is in sync, and leaves fewer than most, or fewer than two: the partition could
/// have fewer in-sync replicas than `min.insync.replicas`, which is hardly ever more than most. And whether nothing that it
/// leaves is in sync: Kafka refuses that.
pub(crate) fn is_costly_to_cancel(m: &MoveState, view: &View<'_>) -> bool {
    let Some(partition) = view.partition(&m.order.partition) else { return false };
    let live: Vec<BrokerId> = partition.isr.iter().copied().filter(|id| view.is_live(*id)).collect();
    leaves_too_few(&m.order, partition, &live)
}

/// The same where `live` are those in sync that live.
pub(super) fn leaves_too_few(order: &PartitionMove, partition: &Partition, live: &[BrokerId]) -> bool {
    let is_new = |id: &BrokerId| order.added().any(|added| added == *id);
    let keeps_none = partition.isr.iter().all(is_new);
    let left = live.iter().filter(|id| !is_new(id)).count();
    keeps_none || (live.iter().any(is_new) && left < (order.to.len() / 2 + 1).max(2))
}

/// Why a move that waits must not be submitted, for good.
pub(crate) fn objection(m: &MoveState, view: &View<'_>) -> Option<String> {
    let order = &m.order;
    if view.ongoing.is_some_and(|ongoing| ongoing.value.0.contains_key(&order.partition)) {
        return Some("another reassignment of it is in progress".to_owned());
    }
    let Some(partition) = view.partition(&order.partition) else {
        return Some("the partition does not exist any more".to_owned());
    };
    if *partition.replicas != *order.from {
        let found = ids(&partition.replicas);
        return Some(format!("its replicas are {found}, not {} as planned", ids(&order.from)));
    }
    if let Some(broker) = order.dead.iter().find(|broker| view.is_live(**broker)) {
        return Some(format!("broker {broker} is not dead any more"));
    }
    if let Some(broker) = order.leaving.iter().find(|broker| !view.leaving.contains(broker)) {
        return Some(format!("broker {broker} stays in service"));
    }
    if !partition.isr.iter().any(|broker| view.is_live(*broker)) {
        return Some("no in-sync replica lives to copy from".to_owned());
    }
    let in_the_way = order.added().find_map(|broker| {
        if !view.is_live(broker) {
            Some(format!("broker {broker}, which was to get a replica, is not alive"))
        } else if view.maintenance.contains(&broker) {
            Some(format!("broker {broker}, which was to get a replica, is under maintenance"))
        } else {
            None
        }
    });
    in_the_way.or_else(|| {
        let mut seen = BTreeSet::new();
        let twice = order.to.iter().find(|broker| !seen.insert(**broker));
        match twice {
            Some(broker) => Some(format!("broker {broker} is in the new replicas twice")),
            None if order.to.is_empty() => Some("it would be left without replicas".to_owned()),
            None => None,
        }
    })
}

/// Brokers as a reader of messages knows them: `[1, 2, 3]`.
pub(super) fn ids(brokers: &[BrokerId]) -> String {
    let ids: Vec<String> = brokers.iter().map(ToString::to_string).collect();
    format!("[{}]", ids.join(", "))
}

/// Why a move that waits must not be submitted yet. A broker that loses its replica by it was put under maintenance after the
/// move was admitted: it may come back with what it has. Or its broker is absent, but after a restart, or after a time in
/// which nobody said who is alive, its grace counts anew.
pub(crate) fn not_yet(m: &MoveState, view: &View<'_>) -> Option<(Check, String)> {
    let mut losers = m.order.removed().chain(m.order.dead.iter().copied());
    if let Some(broker) = losers.find(|broker| view.maintenance.contains(broker)) {
        let effect = if m.order.removed().any(|removed| removed == broker) {
            "would lose its replica"
        } else {
            "is held to be dead"
        };
        return Some((Check::Maintenance, format!("broker {broker}, which {effect}, is under maintenance")));
    }
    let broker = m.order.dead.iter().find(|broker| !view.is_dead(**broker))?;
    let suspect = view.dead.and_then(|dead| dead.suspects.get(broker));
    let words = suspect.map(|suspect| suspect.waits_for.as_str()).filter(|words| !words.is_empty());
    let reason = match words {
        Some(words) => format!("broker {broker} is not dead yet: {words}"),
        None => format!("the grace of broker {broker} counts anew"),
    };
    Some((Check::Facts, reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::PartitionMove;
    use crate::testing::World;

    #[test]
    fn no_broker_under_maintenance_loses_a_replica_though_it_lives() {
        let mut world = World::new("b1\nb2\nb3\nt-0: 1* 2");
        world.wishes.broker_maintenance.insert(BrokerId(2), world.wish(None));
        let cycle = world.watch(1);
        let view = View::of(&cycle.state);
        let moves = |to: [i32; 2]| {
            MoveState::from(PartitionMove {
                partition: TopicPartition::new("t", 0),
                from: vec![BrokerId(1), BrokerId(2)],
                to: to.map(BrokerId).to_vec(),
                dead: Vec::new(),
                leaving: Vec::new(),
                bytes: None,
                in_sync: 2,
                reason: String::new(),
            })
        };
        let reason = "broker 2, which would lose its replica, is under maintenance".to_owned();
        assert_eq!(not_yet(&moves([1, 3]), &view), Some((Check::Maintenance, reason)));
        assert_eq!(not_yet(&moves([3, 2]), &view), None, "it keeps its own");
    }

    #[test]
    fn a_broker_that_stays_in_service_after_all_is_not_emptied() {
        let mut world = World::new("b1\nb2\nb3\nt-0: 1* 2");
        let order = MoveState::from(PartitionMove {
            partition: TopicPartition::new("t", 0),
            from: vec![BrokerId(1), BrokerId(2)],
            to: vec![BrokerId(1), BrokerId(3)],
            dead: Vec::new(),
            leaving: vec![BrokerId(2)],
            bytes: None,
            in_sync: 2,
            reason: String::new(),
        });
        world.wishes.decommissioned.insert(BrokerId(2), world.wish(None));
        assert_eq!(objection(&order, &View::of(&world.watch(1).state)), None);
        world.wishes.decommissioned.clear();
        let why = objection(&order, &View::of(&world.watch(1).state));
        assert_eq!(why.as_deref(), Some("broker 2 stays in service"));
    }
}
