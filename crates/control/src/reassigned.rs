//! Which reassignments have ended a moment ago, and which replicas they bring.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster::{BrokerId, Reassignment, Reassignments, TopicPartition};

use crate::attributes::{LatelyReassigned, OngoingReassignments};
use crate::execution::{MovePhase, MoveState};
use crate::state::State;
use crate::time::{Tick, Timestamp};

/// Brokers' metadata follow the controller's within fractions of a second; a topic table that was read just before is
/// some seconds old.
const METADATA_FOLLOW: Duration = Duration::from_secs(5);

/// What was seen of reassignments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reassigned {
    listed: Reassignments,
    ended: BTreeMap<TopicPartition, (Reassignment, Tick)>,
}

impl Reassigned {
    /// Compares with what is listed now, and puts [`LatelyReassigned`] into the State.
    pub(crate) fn see(&mut self, state: &mut State) {
        let now = state.now().tick;
        if let Some(ongoing) = state.get::<OngoingReassignments>() {
            let listed = &ongoing.value.0;
            if *listed != self.listed {
                let before = std::mem::replace(&mut self.listed, listed.clone());
                let ended = before.into_iter().filter(|(partition, _)| !self.listed.contains_key(partition));
                self.ended.extend(ended.map(|(partition, reassignment)| (partition, (reassignment, now))));
            }
        }
        self.ended.retain(|_, (_, at)| now.since(*at) < METADATA_FOLLOW);
        if !self.ended.is_empty() {
            let ended = self.ended.iter().map(|(key, (reassignment, _))| (key.clone(), reassignment.clone()));
            state.put(LatelyReassigned(ended.collect()), now);
        }
    }
}

/// Replicas that a reassignment is just adding, or was a moment ago: they may be shown as out of sync, and are not lost.
pub(crate) struct Arriving<'a> {
    ongoing: Option<&'a Reassignments>,
    ended: Option<&'a Reassignments>,
    /// Those of our own moves: a small partition is copied between two looks, so that none of them finds it listed.
    ours: BTreeMap<&'a TopicPartition, BTreeSet<BrokerId>>,
}

impl<'a> Arriving<'a> {
    pub(crate) fn of(state: &'a State) -> Self {
        let now = state.now().wall;
        let mut ours = BTreeMap::<_, BTreeSet<BrokerId>>::new();
        for execution in state.executions() {
            for m in execution.moves().iter().filter(|m| is_fresh(m, now)) {
                ours.entry(&m.order.partition).or_default().extend(m.order.added());
            }
        }
        let ongoing = state.get::<OngoingReassignments>().map(|fact| &fact.value.0);
        let ended = state.get::<LatelyReassigned>().map(|fact| &fact.value.0);
        Self { ongoing, ended, ours }
    }

    /// Whether it is among those being added.
    pub(crate) fn contains(&self, key: &TopicPartition, id: BrokerId) -> bool {
        let listed = [self.ongoing, self.ended].into_iter().flatten();
        listed.filter_map(|all| all.get(key)).any(|one| one.adding.contains(&id))
            || self.ours.get(key).is_some_and(|added| added.contains(&id))
    }

    /// Whether the controller lists a reassignment of it.
    pub(crate) fn is_listed(&self, key: &TopicPartition) -> bool {
        self.ongoing.is_some_and(|all| all.contains_key(key))
    }
}

/// Whether the move is on its way, or has come to its end within the time in which metadata follow.
fn is_fresh(m: &MoveState, now: Timestamp) -> bool {
    match m.phase {
        MovePhase::Submitting | MovePhase::Copying { .. } => true,
        MovePhase::Done { at } => now.since(at) < METADATA_FOLLOW,
        MovePhase::Waiting | MovePhase::Cancelling { .. } | MovePhase::Dropped { .. } => false,
    }
}
