//! Which reassignments have ended a moment ago.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster::TopicPartition;

use crate::attributes::{LatelyReassigned, OngoingReassignments};
use crate::state::State;
use crate::time::Tick;

/// Brokers' metadata follow the controller's within fractions of a second; a topic table that was read just before is
/// some seconds old.
const METADATA_FOLLOW: Duration = Duration::from_secs(5);

/// What was seen of reassignments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reassigned {
    listed: BTreeSet<TopicPartition>,
    ended: BTreeMap<TopicPartition, Tick>,
}

impl Reassigned {
    /// Compares with what is listed now, and puts [`LatelyReassigned`] into the State.
    pub(crate) fn see(&mut self, state: &mut State) {
        let now = state.now().tick;
        if let Some(ongoing) = state.get::<OngoingReassignments>() {
            let listed: BTreeSet<TopicPartition> = ongoing.value.0.keys().cloned().collect();
            self.ended.extend(self.listed.difference(&listed).map(|partition| (partition.clone(), now)));
            self.listed = listed;
        }
        self.ended.retain(|_, at| now.since(*at) < METADATA_FOLLOW);
        if !self.ended.is_empty() {
            state.put(LatelyReassigned(self.ended.keys().cloned().collect()), now);
        }
    }
}
