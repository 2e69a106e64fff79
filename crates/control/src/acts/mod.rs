//! What the actions that change a cluster make of what they read and what they are answered.
//!
//! An action reads, asks here what follows, writes, and asks here what came of it. It leaves no choice to whoever does the
//! reading and writing, so that the service and the simulator do the same.

use cluster::ClientError;

use crate::event::ReassignStep;
use crate::plugin::ActError;

pub mod elections;
pub mod moves;
pub mod throttle;

/// The step in words, after "would" or by itself.
pub fn in_words(step: &ReassignStep) -> String {
    match step {
        ReassignStep::Submit { moves } => format!("submit reassignments of {} partitions", moves.len()),
        ReassignStep::Cancel { moves, .. } => format!("cancel reassignments of {} partitions", moves.len()),
        ReassignStep::SetThrottle(t) => {
            let (brokers, rate) = (t.brokers.len(), t.bytes_per_second);
            format!("throttle replication of {brokers} brokers to {rate} bytes a second")
        }
        ReassignStep::ClearThrottle(t) => {
            format!("clear the replication throttle of {} brokers", t.brokers.len())
        }
    }
}

/// A change that ended with this error.
pub fn failed(why: &ClientError) -> ActError {
    ActError {
        message: why.to_string(),
        maybe_applied: why.may_have_been_applied(),
        retry: !why.is_configuration(),
    }
}

/// A question that ended with this error: nothing was changed.
pub fn not_done(why: &ClientError) -> ActError {
    ActError { maybe_applied: false, ..failed(why) }
}
