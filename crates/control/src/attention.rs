//! When it is worth reading topics and reassignments in every look.

use crate::attributes::{DeadBrokers, UnderReplicatedPartitions};
use crate::state::State;

/// Whether something is going on that topics and reassignments show: replicas are out of sync, a broker is absent and may
/// be dead soon, or an execution runs. A broker that is dead alone is no reason: it may stay so for days after everything
/// has left it.
pub fn is_something_going_on(state: &State) -> bool {
    let out_of_sync =
        state.get::<UnderReplicatedPartitions>().is_some_and(|fact| !fact.value.partitions.is_empty());
    let absent = state.get::<DeadBrokers>().is_some_and(|fact| !fact.value.suspects.is_empty());
    out_of_sync || absent || state.executions().iter().any(|execution| execution.ended.is_none())
}
