//! Which reassignments have ended a moment ago.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster::{Reassignment, Reassignments, TopicPartition};

use crate::attributes::{LatelyReassigned, OngoingReassignments};
use crate::state::State;
use crate::time::Tick;

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
