//! For how long what people have asked for lasts yet, by a clock that nobody sets.
//!
//! Only the time in which a service was there is counted: a maintenance of two hours that ended early because a wall clock was set, or because the
//! service is started on a host whose clock is wrong, would have a host replaced on which people work.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::order::{Wish, Wishes};
use crate::time::{Now, Tick, Timestamp};

/// What a crash may take away from what is counted: a wish lasts as much longer then.
const COUNTED_EVERY: Duration = Duration::from_secs(60);
/// The end that people are told is set right when it is off by more.
const TOLD_WITHIN: u64 = 10_000;

/// How long a wish lasts yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lasting {
    /// Which wish it is, by its beginning: another one takes its place.
    since: Timestamp,
    /// What was left when it was last counted, in milliseconds.
    left_ms: u64,
    /// When that was; unknown where an earlier process has counted it.
    #[serde(skip)]
    counted_at: Option<Tick>,
}

impl Lasting {
    fn of(wish: &Wish, until: Timestamp, now: Now) -> Self {
        let left_ms = u64::try_from(until.since(now.wall).as_millis()).unwrap_or(u64::MAX);
        Self { since: wish.since, left_ms, counted_at: Some(now.tick) }
    }

    /// What is left now.
    fn count(&mut self, now: Tick) -> u64 {
        let passed = now.since(*self.counted_at.get_or_insert(now));
        let left = self.left_ms.saturating_sub(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX));
        if passed >= COUNTED_EVERY || left == 0 {
            (self.left_ms, self.counted_at) = (left, Some(now));
        }
        left
    }
}

impl Wishes {
    /// Counts how long each wish lasts yet, and sets right when it ends by the wall clock: not after now exactly for those whose time is over.
    pub(crate) fn count(&mut self, now: Now) {
        let mut before = std::mem::take(&mut self.lasting);
        let cluster = self.maintenance.as_mut().map(|wish| ("maintenance".to_owned(), wish));
        let brokers =
            self.broker_maintenance.iter_mut().map(|(id, wish)| (format!("maintenance/{id}"), wish));
        let leaving = self.decommissioned.iter_mut().map(|(id, wish)| (format!("decommission/{id}"), wish));
        for (key, wish) in cluster.into_iter().chain(brokers).chain(leaving) {
            let Some(until) = wish.until else { continue };
            let known = before.remove(&key).filter(|known| known.since == wish.since);
            let mut lasting = known.unwrap_or_else(|| Lasting::of(wish, until, now));
            let left = lasting.count(now.tick);
            let end = Timestamp(now.wall.0.saturating_add(i64::try_from(left).unwrap_or(i64::MAX)));
            if (left == 0) != (until <= now.wall) || end.0.abs_diff(until.0) > TOLD_WITHIN {
                wish.until = Some(end);
            }
            self.lasting.insert(key, lasting);
        }
    }
}
