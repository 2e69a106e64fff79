//! What the core remembers from cycle to cycle. All of it that must outlive the process is in the state store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Broker, BrokerId, ClusterId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::effect::{Effect, Outcome};
use crate::execution::{Execution, ExecutionId, MovePhase, Once, Work};
use crate::guard::brake::Watch;
use crate::incident::Incidents;
use crate::listed::{Comparison, Listed};
use crate::order::Wishes;
use crate::reassigned::Reassigned;
use crate::replacement::{Replacement, Replacements};
use crate::time::{Tick, Timestamp};

/// A broker that has been seen alive at some time, or is registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownBroker {
    /// As it was last seen.
    pub broker: Broker,
    /// When it was last seen alive; 0 for one that is registered but has never been seen alive.
    pub last_live: Timestamp,
    /// What its log dirs told of topics that this service may not see; `None` where they were never listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed: Option<Listed>,
}

/// What the core remembers of one cluster.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The identity of the cluster, from the first time that it was seen. Another one stops all acts.
    pub cluster_id: Option<ClusterId>,
    /// Brokers that have been seen alive, with their last addresses.
    pub brokers: Arc<BTreeMap<BrokerId, KnownBroker>>,
    /// What is wrong.
    pub incidents: Arc<Incidents>,
    /// Work in flight, and the last that ended, by number.
    pub executions: Arc<Vec<Arc<Execution>>>,
    /// What people want.
    pub wishes: Arc<Wishes>,
    /// Replacements of hosts.
    pub replacements: Arc<Replacements>,
    /// The number of the next execution.
    pub next_execution: u64,
    /// The number of the next record.
    pub next_record: u64,
    /// What has been said for events that have no incident, with the moment at which it last applied: so that it is
    /// said once. Not stored: after a restart it is said again.
    pub(crate) said: BTreeMap<String, Tick>,
    /// When events without an incident that are repeated at intervals were delivered last, with their interval. Not
    /// stored.
    pub(crate) delivered: BTreeMap<String, (Tick, Duration)>,
    /// Reassignments, and those that have ended a moment ago. Not stored.
    pub(crate) reassigned: Reassigned,
    /// Lists of log dirs and the topics that they are compared with. Not stored.
    pub(crate) comparison: Comparison,
    /// Who was absent, as the brake saw it. Not stored.
    pub(crate) brake: Watch,
    /// What is in the store.
    saved: Saved,
}

/// What is in the store, as far as this process knows.
#[derive(Clone, Debug, Default)]
struct Saved {
    cluster_id: Option<ClusterId>,
    brokers: Arc<BTreeMap<BrokerId, KnownBroker>>,
    incidents: Arc<Incidents>,
    executions: BTreeMap<ExecutionId, (Arc<Execution>, Tick)>,
    wishes: Arc<Wishes>,
    replacements: Arc<Replacements>,
    counters: Counters,
    /// Whether a write has failed since, so that nothing above may be relied on.
    in_doubt: bool,
    /// When the moments in `brokers` and `incidents` were last written.
    moments_at: Tick,
}

/// The stored form of the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counters {
    next_execution: u64,
    next_record: u64,
}

/// The stored form of the identity.
#[derive(Serialize, Deserialize)]
struct Identity {
    cluster_id: ClusterId,
}

/// Why what is in the state store cannot be used. Nothing may be done with such a store.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// A value is not what it should be.
    #[error("the state store holds something unreadable under `{key}`")]
    Unreadable {
        /// The key.
        key: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// An execution is stored under a key that is not its own.
    #[error("the state store holds execution {number} under `{key}`")]
    Misplaced {
        /// The key.
        key: String,
        /// The number of the execution that was found there.
        number: u64,
    },
}

const IDENTITY: &str = "identity";
const BROKERS: &str = "brokers";
const INCIDENTS: &str = "incidents";
const WISHES: &str = "wishes";
/// Under this key the store has [`Replacements`].
pub const REPLACEMENTS: &str = "replacements";
const COUNTERS: &str = "counters";
const EXECUTIONS: &str = "executions/";

/// Moments that move with every cycle (when something was last seen) are written at most this often. They serve people
/// only, so that losing a minute of them does no harm; a write each second would keep the disk awake.
const MOMENTS_EVERY: Duration = Duration::from_secs(60);

/// That a move which is in flight goes well can be observed again after a restart. It is written at most this often:
/// the journal of 10,000 moves has some 4 MB.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

impl Memory {
    /// The memory from what is in the state store. Keys that are not known are left alone.
    ///
    /// # Errors
    /// Something is unreadable: nothing may be done then, because a wish or a journal may be in it.
    pub fn restore(stored: BTreeMap<String, Value>) -> Result<Self, RestoreError> {
        let mut memory = Self::default();
        let mut executions = Vec::new();
        for (key, value) in stored {
            match key.as_str() {
                IDENTITY => memory.cluster_id = Some(read::<Identity>(&key, value)?.cluster_id),
                BROKERS => memory.brokers = Arc::new(read(&key, value)?),
                INCIDENTS => memory.incidents = Arc::new(read(&key, value)?),
                WISHES => memory.wishes = Arc::new(read(&key, value)?),
                REPLACEMENTS => memory.replacements = Arc::new(read(&key, value)?),
                COUNTERS => {
                    let counters: Counters = read(&key, value)?;
                    memory.next_execution = counters.next_execution;
                    memory.next_record = counters.next_record;
                }
                _ if key.starts_with(EXECUTIONS) => {
                    let execution: Execution = read(&key, value)?;
                    if key != key_of(execution.id) {
                        return Err(RestoreError::Misplaced { key, number: execution.id.0 });
                    }
                    executions.push(Arc::new(execution));
                }
                _ => {}
            }
        }
        executions.sort_by_key(|execution| execution.id);
        let after_last = executions.last().map_or(0, |last| last.id.0.saturating_add(1));
        memory.next_execution = memory.next_execution.max(after_last);
        memory.executions = Arc::new(executions);
        memory.saved = Saved {
            cluster_id: memory.cluster_id.clone(),
            brokers: Arc::clone(&memory.brokers),
            incidents: Arc::clone(&memory.incidents),
            executions: memory.executions.iter().map(|e| (e.id, (Arc::clone(e), Tick::default()))).collect(),
            wishes: Arc::clone(&memory.wishes),
            replacements: Arc::clone(&memory.replacements),
            counters: memory.counters(),
            in_doubt: false,
            moments_at: Tick::default(),
        };
        Ok(memory)
    }

    /// To be called when writing to the store failed: everything is written again with the next step.
    pub fn forget_what_is_saved(&mut self) {
        // An ended execution whose removal failed stays in the store. It does nothing there, and is removed after the
        // next restart.
        self.saved.in_doubt = true;
    }

    /// To be called after [`restore`](Self::restore) for each single call that this very process has begun and that still goes on: its
    /// answer will come. Says whether the store has it as under way.
    pub fn take_up(&mut self, id: ExecutionId, sequence: u32, event: &str) -> bool {
        let Ok(position) = self.executions.binary_search_by_key(&id, |e| e.id) else { return false };
        let execution = &self.executions[position];
        let is_it = |once: &Once| once.under_way == Some(sequence);
        if execution.event.id != event
            || !execution.is_running()
            || !matches!(&execution.work, Work::Once(once) if is_it(once))
        {
            return false;
        }
        let execution = Arc::make_mut(&mut Arc::make_mut(&mut self.executions)[position]);
        if let Work::Once(once) = &mut execution.work {
            once.sent = true;
        }
        true
    }

    /// To be called after [`restore`](Self::restore) with what this very process knew before of replacements: where somebody has removed
    /// them from the store, the cooldown holds all the same.
    pub fn recall(&mut self, known: &Replacements) {
        let is_lost = |it: &&Replacement| !self.replacements.last.iter().any(|other| other.id == it.id);
        let lost: Vec<Replacement> = known.last.iter().filter(is_lost).cloned().collect();
        if !lost.is_empty() {
            let all = &mut Arc::make_mut(&mut self.replacements).last;
            all.extend(lost);
            all.sort_by_key(|it| it.begun);
        }
    }

    /// To be called for outcomes that will not be given to a step: what became of those acts is not known, as after a restart.
    pub fn lose_answers(&mut self, outcomes: &[Outcome]) {
        for lost in outcomes {
            let Ok(position) = self.executions.binary_search_by_key(&lost.execution, |e| e.id) else {
                continue;
            };
            match &mut Arc::make_mut(&mut Arc::make_mut(&mut self.executions)[position]).work {
                Work::Once(once) if once.under_way == Some(lost.sequence) => once.sent = false,
                Work::Reassign(work) if work.under_way.is_some_and(|act| act.sequence == lost.sequence) => {
                    work.sent = false;
                }
                _ => {}
            }
        }
    }

    /// What must be written to the store, in the order in which a crash between two of the writes does no harm:
    /// executions as [`Memory::changed_executions`] says, and what was done for an incident after the execution that
    /// does it.
    pub(crate) fn changes(&mut self, now: Tick) -> Vec<Effect> {
        let mut effects = Vec::new();
        let in_doubt = std::mem::take(&mut self.saved.in_doubt);
        if in_doubt || self.cluster_id != self.saved.cluster_id {
            effects.push(match &self.cluster_id {
                Some(id) => persist(IDENTITY, &Identity { cluster_id: id.clone() }),
                None => Effect::Persist { key: IDENTITY.to_owned(), value: None },
            });
            self.saved.cluster_id.clone_from(&self.cluster_id);
        }
        let moments_due = now.since(self.saved.moments_at) >= MOMENTS_EVERY;
        if in_doubt || !same_brokers(&self.brokers, &self.saved.brokers, moments_due) {
            effects.push(persist(BROKERS, &*self.brokers));
            self.saved.brokers = Arc::clone(&self.brokers);
        }
        if in_doubt || self.wishes != self.saved.wishes {
            effects.push(persist(WISHES, &*self.wishes));
            self.saved.wishes = Arc::clone(&self.wishes);
        }
        // Before the execution that it belongs to: an order that nobody remembers could be given again.
        if in_doubt || self.replacements != self.saved.replacements {
            effects.push(persist(REPLACEMENTS, &*self.replacements));
            self.saved.replacements = Arc::clone(&self.replacements);
        }
        let counters = self.counters();
        if in_doubt || counters != self.saved.counters {
            effects.push(persist(COUNTERS, &counters));
            self.saved.counters = counters;
        }
        self.changed_executions(now, in_doubt, &mut effects);
        if in_doubt || !same_incidents(&self.incidents, &self.saved.incidents, moments_due) {
            effects.push(persist(INCIDENTS, &*self.incidents));
            self.saved.incidents = Arc::clone(&self.incidents);
        }
        if moments_due {
            self.saved.moments_at = now;
        }
        effects
    }

    /// Writes executions in this order: new single calls, so that an event that follows from another execution is
    /// not lost when that one's end is known (it may arrive twice); those that take over a part of another one's
    /// throttle, so that somebody takes it away; moves that have ended, before new moves of the same partitions, so that
    /// no partition ever has two in the store; at last the single calls from which others followed.
    fn changed_executions(&mut self, now: Tick, in_doubt: bool, effects: &mut Vec<Effect>) {
        let saved = &mut self.saved.executions;
        let takes_over = |execution: &Execution| {
            let before = saved.get(&execution.id).map_or(0, |(saved, _)| throttle_entries(saved));
            throttle_entries(execution) > before
        };
        let is_new = |execution: &Execution| !saved.contains_key(&execution.id);
        let mut order: Vec<(u8, &Arc<Execution>)> = Vec::with_capacity(self.executions.len());
        for execution in self.executions.iter() {
            let place = match (&execution.work, is_new(execution)) {
                (Work::Once(_), true) => 0,
                (Work::Reassign(_), false) if takes_over(execution) => 1,
                (Work::Reassign(_), false) => 2,
                (Work::Reassign(_), true) => 3,
                (Work::Once(_), false) => 4,
            };
            order.push((place, execution));
        }
        order.sort_by_key(|(place, execution)| (*place, execution.id));
        let new_moves = order.iter().any(|(place, _)| *place == 3);
        for (_, execution) in order {
            let same = saved.get(&execution.id).is_some_and(|(saved, at)| {
                let progress = new_moves || now.since(*at) >= PROGRESS_EVERY;
                Arc::ptr_eq(saved, execution) || same_execution(saved, execution, progress)
            });
            if in_doubt || !same {
                effects.push(persist(&key_of(execution.id), &**execution));
                saved.insert(execution.id, (Arc::clone(execution), now));
            }
        }
        if saved.len() > self.executions.len() {
            let kept: Vec<ExecutionId> = self.executions.iter().map(|execution| execution.id).collect();
            saved.retain(|id, _| {
                let keep = kept.binary_search(id).is_ok();
                if !keep {
                    effects.push(Effect::Persist { key: key_of(*id), value: None });
                }
                keep
            });
        }
    }

    fn counters(&self) -> Counters {
        Counters { next_execution: self.next_execution, next_record: self.next_record }
    }
}

fn throttle_entries(execution: &Execution) -> usize {
    let Work::Reassign(work) = &execution.work else { return 0 };
    work.throttle.as_ref().and_then(|throttle| throttle.entries.as_ref()).map_or(0, Vec::len)
}

fn key_of(id: ExecutionId) -> String {
    format!("{EXECUTIONS}{}", id.0)
}

fn read<T: DeserializeOwned>(key: &str, value: Value) -> Result<T, RestoreError> {
    serde_json::from_value(value).map_err(|source| RestoreError::Unreadable { key: key.to_owned(), source })
}

fn persist(key: &str, value: &impl Serialize) -> Effect {
    // These types have only strings and numbers as keys, so that their JSON form always exists.
    Effect::Persist { key: key.to_owned(), value: serde_json::to_value(value).ok() }
}

fn same_brokers(
    left: &Arc<BTreeMap<BrokerId, KnownBroker>>,
    right: &Arc<BTreeMap<BrokerId, KnownBroker>>,
    moments: bool,
) -> bool {
    if Arc::ptr_eq(left, right) {
        return true;
    }
    left.len() == right.len()
        && left.values().zip(right.values()).all(|(l, r)| {
            l.broker == r.broker
                && (l.last_live.0 == 0) == (r.last_live.0 == 0)
                && l.listed.as_ref().map(|it| &it.unseen) == r.listed.as_ref().map(|it| &it.unseen)
                && (!moments || (l.last_live == r.last_live && l.listed == r.listed))
        })
}

fn same_incidents(left: &Arc<Incidents>, right: &Arc<Incidents>, moments: bool) -> bool {
    if Arc::ptr_eq(left, right) {
        return true;
    }
    left.next_id == right.next_id
        && left.open.len() == right.open.len()
        && left.closed.len() == right.closed.len()
        && left.closed.last().map(|c| c.id) == right.closed.last().map(|c| c.id)
        && left.open.values().zip(right.open.values()).all(|(l, r)| {
            l.id == r.id
                && l.severity == r.severity
                && l.told == r.told
                && l.done == r.done
                && l.alerts == r.alerts
                && l.snoozed_until == r.snoozed_until
                && (!moments || l.last_seen == r.last_seen)
        })
}

/// Whether what is stored says the same, or, without `progress`, leads to the same after a look at the cluster.
fn same_execution(left: &Execution, right: &Execution, progress: bool) -> bool {
    let head = left.ended == right.ended && left.sequence == right.sequence;
    head && match (&left.work, &right.work) {
        (Work::Once(l), Work::Once(r)) => {
            (l.under_way, l.tries, &l.cancelled) == (r.under_way, r.tries, &r.cancelled)
        }
        (Work::Reassign(l), Work::Reassign(r)) => {
            l.throttle == r.throttle
                && l.throttle_set == r.throttle_set
                && (&l.cancelled, l.wanted_again) == (&r.cancelled, r.wanted_again)
                && (l.leave_throttle, l.elected) == (r.leave_throttle, r.elected)
                && l.under_way == r.under_way
                && l.failures == r.failures
                && l.moves.len() == r.moves.len()
                && l.moves.iter().zip(&r.moves).all(|(l, r)| {
                    let goes_well = !progress
                        && matches!(l.phase, MovePhase::Submitting | MovePhase::Copying { .. })
                        && matches!(r.phase, MovePhase::Copying { .. } | MovePhase::Done { .. });
                    goes_well || (l.phase == r.phase && l.tries == r.tries)
                })
        }
        (Work::Once(_), Work::Reassign(_)) | (Work::Reassign(_), Work::Once(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, ReassignPartitions, Throttle, ThrottleEntry};
    use crate::execution::Reassign;
    use crate::finding::Target;

    fn throttled(id: u64, keys: &[&str]) -> Arc<Execution> {
        let order = ReassignPartitions { moves: Vec::new(), throttle_bytes_per_second: Some(5) };
        let mut work = Reassign::new(order);
        let entry = |key: &&str| {
            let (broker, topic) = (Some(BrokerId(1)), None);
            ThrottleEntry { broker, topic, key: (*key).to_owned(), value: "5".to_owned() }
        };
        let entries = Some(keys.iter().map(entry).collect());
        work.throttle =
            Some(Throttle { bytes_per_second: 5, brokers: Vec::new(), topics: Vec::new(), entries });
        let event = Event::new("reassign_partitions", Target::Cluster, "", &());
        Arc::new(Execution::new(ExecutionId(id), event, "reassign", Timestamp(1), Work::Reassign(work)))
    }

    #[test]
    fn replacements_that_somebody_has_removed_from_the_store_are_recalled_and_written_again() {
        let known = |id: &str, begun: i64| Replacement {
            id: id.to_owned(),
            broker: BrokerId(3),
            host: "h3".to_owned(),
            reason: "it was dead".to_owned(),
            begun: Timestamp(begun),
            watched_ms: 0,
            watched_at: None,
            ended: None,
            whole: None,
        };
        let mut memory = Memory::restore(BTreeMap::new()).unwrap();
        memory.replacements = Arc::new(Replacements { last: vec![known("b", 2)] });
        memory.recall(&Replacements {
            last: vec![known("a", 1), Replacement { whole: Some(Timestamp(9)), ..known("b", 2) }],
        });
        assert_eq!(memory.replacements.last, [known("a", 1), known("b", 2)]);
        let writes = |effect: &Effect| matches!(effect, Effect::Persist { key, .. } if key == REPLACEMENTS);
        assert!(memory.changes(Tick(1)).iter().any(writes));
    }

    #[test]
    fn whoever_takes_over_a_throttle_is_written_before_whoever_gives_it_away() {
        let executions =
            |given: &[&str], taken: &[&str]| Arc::new(vec![throttled(1, given), throttled(2, taken)]);
        let mut memory = Memory { executions: executions(&["rate", "other"], &[]), ..Memory::default() };
        let written = |memory: &mut Memory| -> Vec<String> {
            let effects = memory.changes(Tick(1));
            let keys = effects.into_iter().filter_map(|effect| match effect {
                Effect::Persist { key, .. } if key.starts_with(EXECUTIONS) => Some(key),
                _ => None,
            });
            keys.collect()
        };
        assert_eq!(written(&mut memory), ["executions/1", "executions/2"]);
        memory.executions = executions(&["other"], &["rate"]);
        assert_eq!(written(&mut memory), ["executions/2", "executions/1"]);
    }
}
