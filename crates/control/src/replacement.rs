//! Replacements of hosts: what was begun, what came of it, and when the next one may be begun.
//!
//! A replacement is remembered before its script starts, in the store, so that a crash can make nobody forget it: the
//! cooldown holds from its beginning, whatever came of it.

use std::sync::Arc;
use std::time::Duration;

use cluster::BrokerId;
use serde::{Deserialize, Serialize};

use crate::attributes::{DeadBrokers, Liveness, Topics};
use crate::event::{ReplaceInstance, names};
use crate::execution::{End, Execution, Work};
use crate::state::State;
use crate::time::{Now, Tick, Timestamp};

/// For so long after its host has gone Kafka may still count a live broker as it was: its session lasts 9 s, or 18 s with ZooKeeper.
const STILL_COUNTED: Duration = Duration::from_secs(20);

/// What a crash may take away from what is counted of a cooldown.
const COUNTED_EVERY: Duration = Duration::from_secs(60);
/// So far it is counted: longer than any cooldown that makes sense.
const COUNTED: Duration = Duration::from_secs(90 * 24 * 3_600);

/// How many are remembered.
const KEPT: usize = 50;

/// Who owns the recovery of a dead broker, so that two never work on one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDeadBroker {
    /// Its replicas are moved to other brokers; its host is replaced afterwards.
    #[default]
    Heal,
    /// Its host is replaced; its replicas are moved if that fails, or takes too long.
    ReplaceFirst,
}

/// What came of a replacement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replaced {
    /// The script said that it is done.
    Done(String),
    /// It failed, for this reason.
    Failed(String),
    /// It is not known whether the host was replaced.
    Unknown(String),
    /// Nor whether the program has ended: the service that has begun it is gone, or acts no more.
    Unanswered(String),
    /// No program was started for it, for this reason: no cooldown follows from it.
    NotStarted(String),
    /// The broker was restarted, which did not bring it back. Its host has not been replaced, and may be without waiting for the
    /// cooldown, if everything still speaks for that.
    Restarted(String),
    /// The broker was restarted, and is back: no host has been replaced, so that no cooldown follows.
    Back(String),
}

/// One replacement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    /// The event that ordered it, by its id.
    pub id: String,
    /// The broker.
    pub broker: BrokerId,
    /// Its host, before.
    pub host: String,
    /// Why.
    pub reason: String,
    /// When it was decided.
    pub begun: Timestamp,
    /// For how long services have been there since then, by a clock that nobody sets, in milliseconds; written once a minute.
    #[serde(default)]
    pub watched_ms: u64,
    /// Up to when that is counted; unknown where an earlier process has counted it.
    #[serde(skip)]
    pub watched_at: Option<Tick>,
    /// When it ended, and what came of it; `None` while it is under way.
    pub ended: Option<(Timestamp, Replaced)>,
    /// When the broker was seen to be back with every replica in sync.
    pub whole: Option<Timestamp>,
}

/// The last replacements of a cluster, the oldest first. Written by the framework.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacements {
    /// The replacements.
    pub last: Vec<Replacement>,
}

impl Replacement {
    fn cools(&self) -> bool {
        !matches!(self.ended, Some((_, Replaced::NotStarted(_) | Replaced::Back(_))))
    }

    /// Whether it has replaced a host, or may have, or does so.
    pub(crate) fn replaces(&self) -> bool {
        self.cools() && !matches!(self.ended, Some((_, Replaced::Restarted(_))))
    }

    /// Whether it has done more than to restart this broker.
    fn counts_for(&self, broker: BrokerId) -> bool {
        self.replaces() || self.cools() && self.broker != broker
    }

    /// How long ago it was begun, as far as a service was there: neither clocks that are set nor the clock of another host count.
    pub(crate) fn watched(&self, now: Now) -> Duration {
        let since = self.watched_at.map_or(Duration::ZERO, |at| now.tick.since(at));
        Duration::from_millis(self.watched_ms).saturating_add(since)
    }

    /// Counts on, once a minute.
    fn watch(&mut self, now: Now) {
        let due = self.watched_at.is_none_or(|at| now.tick.since(at) >= COUNTED_EVERY);
        let watched = self.watched(now);
        if due && watched <= COUNTED {
            self.watched_ms = u64::try_from(watched.as_millis()).unwrap_or(u64::MAX);
            self.watched_at = Some(now.tick);
        }
    }

    fn cools_until(&self, now: Now, cooldown: Duration) -> Option<(Timestamp, &Self)> {
        let left = cooldown.checked_sub(self.watched(now)).filter(|left| !left.is_zero())?;
        let left = i64::try_from(left.as_millis()).unwrap_or(i64::MAX);
        Some((Timestamp(now.wall.0.saturating_add(left)), self))
    }
}

impl Replacements {
    /// The moment before which no other may be begun, and the one that it follows from. It is as long as a service was there for it: no
    /// wall clock that is set, and no crash, shortens it.
    pub fn cools_until(&self, now: Now, cooldown: Duration) -> Option<(Timestamp, &Replacement)> {
        let all = self.last.iter().filter(|it| it.cools());
        all.filter_map(|it| it.cools_until(now, cooldown)).max_by_key(|(until, _)| *until)
    }

    /// The moment before which this broker's host may not be replaced, as [`Replacements::cools_until`]: what did no more than restart this
    /// very broker does not count.
    pub fn cools_until_for(
        &self,
        broker: BrokerId,
        now: Now,
        cooldown: Duration,
    ) -> Option<(Timestamp, &Replacement)> {
        let all = self.last.iter().filter(|it| it.counts_for(broker));
        all.filter_map(|it| it.cools_until(now, cooldown)).max_by_key(|(until, _)| *until)
    }

    /// Whether this broker was restarted within the cooldown, and came back: another restart would not help it for long.
    pub(crate) fn was_restarted(&self, broker: BrokerId, now: Now, cooldown: Duration) -> bool {
        let last = self.last.iter().rfind(|it| it.broker == broker);
        last.is_some_and(|it| matches!(it.ended, Some((_, Replaced::Back(_)))) && it.watched(now) < cooldown)
    }

    /// The last one of this broker that was begun at `since` or later, or was under way then: whoever replaces the host of a live
    /// broker takes it down.
    pub fn of(&self, broker: BrokerId, since: Timestamp) -> Option<&Replacement> {
        let reaches = |it: &Replacement| it.ended.as_ref().is_none_or(|(at, _)| *at >= since);
        self.last.iter().rfind(|it| it.broker == broker && (it.begun >= since || reaches(it)))
    }

    /// Takes in a replacement that is about to be begun.
    pub(crate) fn begin(&mut self, execution: &Execution, now: Now) {
        let Ok(order) = execution.event.payload_as::<ReplaceInstance>() else { return };
        self.last.push(Replacement {
            id: execution.event.id.clone(),
            broker: order.broker,
            host: order.host,
            reason: execution.event.reason.clone(),
            begun: now.wall,
            watched_ms: 0,
            watched_at: Some(now.tick),
            ended: None,
            whole: None,
        });
        let over = self.last.len().saturating_sub(KEPT);
        self.last.drain(..over);
    }
}

/// Takes in what came of replacements, and which brokers are whole again.
pub(crate) fn follow(replacements: &mut Arc<Replacements>, executions: &[Arc<Execution>], state: &State) {
    let mut changed = Replacements::clone(replacements);
    changed.last.iter_mut().for_each(|it| it.watch(state.now()));
    let now = state.now().wall;
    changed.last.retain(|it| it.ended.is_some() || !was_not_begun(executions, &it.id));
    for it in &mut changed.last {
        if it.ended.is_none() {
            it.ended = outcome(executions, &it.id, now);
        } else if it.whole.is_none() && is_whole(it, state) {
            it.whole = Some(now);
        }
    }
    if changed != **replacements {
        *replacements = Arc::new(changed);
    }
}

fn execution_of<'a>(executions: &'a [Arc<Execution>], id: &str) -> Option<&'a Arc<Execution>> {
    executions.iter().find(|it| it.event.id == id && it.event.name == names::REPLACE_INSTANCE)
}

/// Whether it is known for sure that nothing was done for it.
fn was_not_begun(executions: &[Arc<Execution>], id: &str) -> bool {
    let ended_so = |work: &Work| matches!(work, Work::Once(once) if once.end == Some(End::NotBegun));
    execution_of(executions, id).is_some_and(|it| ended_so(&it.work))
}

/// What came of the execution that an event brought about, if it has ended.
fn outcome(executions: &[Arc<Execution>], id: &str, now: Timestamp) -> Option<(Timestamp, Replaced)> {
    let Some(execution) = execution_of(executions, id) else {
        let why = "the service was stopped when it had just been decided".to_owned();
        return Some((now, Replaced::Unanswered(why)));
    };
    let (at, result) = execution.ended.clone()?;
    let Work::Once(once) = &execution.work else { return None };
    let replaced = match once.end {
        Some(End::Done) => Replaced::Done(result),
        Some(End::Unknown) => Replaced::Unknown(result),
        Some(End::Unanswered) => Replaced::Unanswered(result),
        Some(End::NotStarted) => Replaced::NotStarted(result),
        Some(End::Restarted) => Replaced::Restarted(result),
        Some(End::Back) => Replaced::Back(result),
        // Cancelled before it was begun, too.
        Some(End::Failed | End::NotBegun) | None => Replaced::Failed(result),
    };
    Some((at, replaced))
}

/// Whether the broker is alive, was absent or renewed since, and has every replica in sync that is assigned to it.
fn is_whole(it: &Replacement, state: &State) -> bool {
    let (Some(liveness), Some(topics)) = (state.get::<Liveness>(), state.get::<Topics>()) else {
        return false;
    };
    let absent = state.get::<DeadBrokers>().is_none_or(|fact| {
        fact.value.dead.contains_key(&it.broker) || fact.value.suspects.contains_key(&it.broker)
    });
    let in_sync = topics
        .value
        .0
        .values()
        .flat_map(|topic| &topic.partitions)
        .all(|p| !p.replicas.contains(&it.broker) || p.isr.contains(&it.broker));
    let ended = it.ended.as_ref().is_some_and(|(at, _)| state.now().wall.since(*at) >= STILL_COUNTED);
    ended && !absent && liveness.value.live.contains_key(&it.broker) && in_sync
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_cooldown_counts_in_whatever_order_replacements_stand() {
        let begun = |hours_ago: u64| Replacement {
            id: hours_ago.to_string(),
            broker: BrokerId(3),
            host: "h3".to_owned(),
            reason: "it was dead".to_owned(),
            begun: Timestamp(0),
            watched_ms: hours_ago * 3_600_000,
            watched_at: None,
            ended: None,
            whole: None,
        };
        let cooldown = Duration::from_secs(12 * 3_600);
        for order in [[1, 13], [13, 1]] {
            let all = Replacements { last: order.map(begun).into() };
            for found in [
                all.cools_until(Now::default(), cooldown),
                all.cools_until_for(BrokerId(4), Now::default(), cooldown),
            ] {
                assert_eq!(
                    found.map(|(until, last)| (until.0, last.id.as_str())),
                    Some((11 * 3_600_000, "1"))
                );
            }
        }
    }
}
