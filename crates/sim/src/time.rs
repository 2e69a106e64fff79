//! Virtual time.

use std::fmt;
use std::time::Duration;

/// A moment of virtual time, in milliseconds since the world began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This moment plus `by`.
    #[must_use]
    pub fn plus(self, by: Duration) -> Moment {
        Moment(self.0.saturating_add(millis(by)))
    }

    /// This moment less `by`, at the earliest the beginning.
    #[must_use]
    pub fn less(self, by: Duration) -> Moment {
        Moment(self.0.saturating_sub(millis(by)))
    }
}

impl fmt::Display for Moment {
    /// Seconds with milliseconds, so that lines sort.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// Whole milliseconds of a duration.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
