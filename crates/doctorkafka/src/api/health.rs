//! Whether the loops run.

use std::time::Duration;

use control::Now;
use serde::{Deserialize, Serialize};

use crate::shell::snapshot::ClusterHandle;

/// The answer of `/health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`; `trouble` while a loop runs but cannot do anything; `late` if the loop of a cluster does not run.
    pub status: String,
    /// Each cluster.
    pub clusters: Vec<ClusterHealth>,
}

/// The health of one cluster's loop. It says nothing about the health of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterHealth {
    /// The configured name of the cluster.
    pub name: String,
    /// How long ago its last cycle began, in milliseconds; since the start of the service if there was none.
    pub last_cycle_age_ms: u64,
    /// At which age it is late, in milliseconds.
    pub late_after_ms: u64,
    /// Why nothing can be done, although the loop runs.
    pub trouble: Option<String>,
}

/// A loop that is this many intervals behind does not run …
const LATE_AFTER_INTERVALS: u32 = 5;
/// … unless that is less than this: a step over a very large cluster and a slow disk take some seconds.
const LATE_AFTER: Duration = Duration::from_secs(15);

impl Health {
    pub(super) fn of(clusters: &[ClusterHandle], started: Now, now: Now) -> Self {
        let clusters: Vec<ClusterHealth> =
            clusters.iter().map(|handle| of_one(handle, started, now)).collect();
        let mut health = Self { status: "ok".to_owned(), clusters };
        if health.clusters.iter().any(|cluster| cluster.trouble.is_some()) {
            "trouble".clone_into(&mut health.status);
        }
        if health.is_late() {
            "late".clone_into(&mut health.status);
        }
        health
    }

    /// Whether the loop of a cluster does not run.
    pub fn is_late(&self) -> bool {
        self.clusters.iter().any(|cluster| cluster.last_cycle_age_ms > cluster.late_after_ms)
    }
}

fn of_one(handle: &ClusterHandle, started: Now, now: Now) -> ClusterHealth {
    let snapshot = handle.shared.snapshot();
    let last = snapshot.at.unwrap_or(started);
    let late = (handle.evaluation_interval * LATE_AFTER_INTERVALS).max(LATE_AFTER);
    ClusterHealth {
        name: handle.name.to_string(),
        last_cycle_age_ms: millis(now.tick.since(last.tick)),
        late_after_ms: millis(late),
        trouble: snapshot.trouble.clone(),
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
