//! The two kinds of time. The core never reads a clock: [`Now`] is an argument.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment on a monotonic clock, in milliseconds since the process started. For ages and graces. It has no meaning
/// in another process: nothing that outlives this one may hold it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u64);

impl Tick {
    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Tick) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This moment plus `by`.
    pub fn plus(self, by: Duration) -> Tick {
        Tick(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// A moment on the wall clock, in milliseconds since 1970 (UTC). For records and cooldowns. It may jump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The time from `earlier` to this moment; zero if `earlier` is later (the clock was set back).
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// On the monotonic clock.
    pub tick: Tick,
    /// On the wall clock.
    pub wall: Timestamp,
}
