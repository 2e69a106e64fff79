//! The replication throttle: first it is asked which of its values nobody has set, so that the list is in the journal
//! before anything is set; only what is in the list is ever set or taken away.
//!
//! A broker's configs are known to that broker alone, so that one that is away hides its own. Setting waits for all of
//! them, as a throttle that holds only some brokers is none. Clearing does not: what can be taken away is, at once, and
//! the rest is left for the next try.

use std::collections::{BTreeMap, BTreeSet};

use cluster::{BrokerId, ClientError, ConfigChange, ConfigReadings, ConfigResource, ConfigResults};

use super::{failed, in_words, not_done};
use crate::event::{ReassignStep, Throttle, ThrottleEntry};
use crate::plugin::{ActError, Done};

const LEADER_RATE: &str = "leader.replication.throttled.rate";
const FOLLOWER_RATE: &str = "follower.replication.throttled.rate";
const LEADER_REPLICAS: &str = "leader.replication.throttled.replicas";
const FOLLOWER_REPLICAS: &str = "follower.replication.throttled.replicas";
/// Every replica of a topic.
const ALL_REPLICAS: &str = "*";

/// The configs that make up a throttle.
pub const KEYS: [&str; 4] = [LEADER_RATE, FOLLOWER_RATE, LEADER_REPLICAS, FOLLOWER_REPLICAS];

/// Changes of configs, by what they belong to.
pub type Changes = BTreeMap<ConfigResource, Vec<ConfigChange>>;

/// What follows from what was read before a throttle is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// It was only asked what nobody has set, or all is set already: this is the end of it.
    Done(Done),
    /// These are to be made; then [`was_set`] says what came of it.
    Change(Changes),
}

/// What follows from what was read before a throttle is taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clearing {
    /// These are to be made; then [`Clearing::done`] says what came of it, also where there are none.
    pub changes: Changes,
    /// The entries that they take away.
    sent: Vec<ThrottleEntry>,
    /// The entries of which nothing could be known, and why.
    left: Vec<(ThrottleEntry, String)>,
}

/// Whose [`KEYS`] have to be read before a step with this throttle.
pub fn resources(throttle: &Throttle) -> Vec<ConfigResource> {
    let resources: BTreeSet<ConfigResource> = match &throttle.entries {
        Some(entries) => entries.iter().filter_map(resource).collect(),
        None => all_entries(throttle).filter_map(|entry| resource(&entry)).collect(),
    };
    resources.into_iter().collect()
}

/// Without a list of what is ours it is only asked what nobody has set, and the answer is that list. A value that is there
/// already is somebody else's, and stays.
///
/// # Errors
/// Something could not be read: nothing is set then.
pub fn to_set(throttle: &Throttle, read: &ConfigReadings) -> Result<Setting, ActError> {
    if let Some(why) = read.values().find_map(|values| values.as_ref().err()) {
        return Err(not_done(why));
    }
    let is_free = |entry: &ThrottleEntry| matches!(value(read, entry), Some(Ok(None | Some(""))));
    let Some(entries) = &throttle.entries else {
        let free: Vec<ThrottleEntry> = all_entries(throttle).filter(is_free).collect();
        let summary = format!("{} configs of the throttle are free to be set", free.len());
        let answer = Throttle { entries: Some(free), ..throttle.clone() };
        let detail = serde_json::to_value(answer).unwrap_or_default();
        return Ok(Setting::Done(Done { summary, detail, follow_ups: Vec::new() }));
    };
    let mut changes = Changes::new();
    for entry in entries.iter().filter(|entry| is_free(entry)) {
        add(&mut changes, entry, ConfigChange::Set(entry.key.clone(), entry.value.clone()));
    }
    if changes.is_empty() {
        let words = in_words(&ReassignStep::SetThrottle(throttle.clone()));
        return Ok(Setting::Done(Done { summary: format!("nothing to change: {words}"), ..Done::default() }));
    }
    Ok(Setting::Change(changes))
}

/// What came of setting a throttle.
///
/// # Errors
/// Not all of it is known to be set. To set it again does no harm.
pub fn was_set(
    throttle: &Throttle,
    changes: &Changes,
    results: Result<ConfigResults, ClientError>,
) -> Result<Done, ActError> {
    let results = results.map_err(|why| failed(&why))?;
    for of in changes.keys() {
        match results.get(of) {
            Some(Ok(())) => {}
            // Others may have been changed.
            Some(Err(why)) => return Err(ActError { maybe_applied: true, ..failed(why) }),
            None => {
                let message = format!("the cluster did not mention {}", named(of));
                return Err(ActError { message, maybe_applied: true, retry: true });
            }
        }
    }
    let summary = in_words(&ReassignStep::SetThrottle(throttle.clone()));
    Ok(Done { summary, ..Done::default() })
}

/// What is in the list is taken away, unless somebody has set another value meanwhile.
pub fn to_clear(throttle: &Throttle, read: &ConfigReadings) -> Clearing {
    let mut clearing = Clearing::default();
    for entry in throttle.entries.iter().flatten() {
        let is_ours = match value(read, entry) {
            // A broker whose metadata stand still does not know yet what we have set. Where there is nothing, nothing is
            // taken away.
            Some(Ok(found)) => found.is_none_or(|found| found.is_empty() || found == entry.value),
            // Either it is gone, and its throttle with it, or the broker that was asked has metadata that stand still:
            // the controller knows.
            Some(Err(ClientError::UnknownTopic { .. })) => true,
            Some(Err(why)) => {
                clearing.left.push((entry.clone(), why.to_string()));
                false
            }
            None => {
                clearing.left.push((entry.clone(), "the cluster did not mention it".to_owned()));
                false
            }
        };
        if is_ours {
            add(&mut clearing.changes, entry, ConfigChange::Delete(entry.key.clone()));
            clearing.sent.push(entry.clone());
        }
    }
    clearing
}

impl Clearing {
    /// The end of the act. Where something is left of the throttle, its detail is the throttle with what is left of the
    /// list, and its summary says whose it is.
    pub fn done(self, throttle: &Throttle, results: Result<ConfigResults, ClientError>) -> Done {
        let Self { sent, mut left, .. } = self;
        for entry in sent {
            let result = match (&results, resource(&entry)) {
                (Ok(results), Some(of)) => {
                    results.get(&of).map_or(Err(None), |result| result.as_ref().map_err(Some))
                }
                (Err(why), _) => Err(Some(why)),
                (Ok(_), None) => Ok(&()),
            };
            match result {
                Ok(()) | Err(Some(ClientError::UnknownTopic { .. })) => {}
                Err(Some(why)) => left.push((entry, why.to_string())),
                Err(None) => left.push((entry, "the cluster did not mention it".to_owned())),
            }
        }
        let Some((_, why)) = left.first().cloned() else {
            let summary = in_words(&ReassignStep::ClearThrottle(throttle.clone()));
            return Done { summary, ..Done::default() };
        };
        let entries = Some(left.into_iter().map(|(entry, _)| entry).collect());
        let rest = Throttle { entries, ..throttle.clone() };
        let summary = format!("the throttle is left on {}: {why}", rest.places());
        Done { summary, detail: serde_json::to_value(rest).unwrap_or_default(), follow_ups: Vec::new() }
    }
}

/// Everything that makes up a throttle.
fn all_entries(throttle: &Throttle) -> impl Iterator<Item = ThrottleEntry> + '_ {
    let rate = throttle.bytes_per_second.to_string();
    let of_broker = move |broker: &BrokerId| {
        [LEADER_RATE, FOLLOWER_RATE].map(|key| ThrottleEntry {
            broker: Some(*broker),
            topic: None,
            key: key.to_owned(),
            value: rate.clone(),
        })
    };
    let of_topic = |topic: &String| {
        [LEADER_REPLICAS, FOLLOWER_REPLICAS].map(|key| ThrottleEntry {
            broker: None,
            topic: Some(topic.clone()),
            key: key.to_owned(),
            value: ALL_REPLICAS.to_owned(),
        })
    };
    throttle.brokers.iter().flat_map(of_broker).chain(throttle.topics.iter().flat_map(of_topic))
}

fn resource(entry: &ThrottleEntry) -> Option<ConfigResource> {
    let broker = entry.broker.map(ConfigResource::Broker);
    broker.or_else(|| entry.topic.as_deref().map(|topic| ConfigResource::Topic(topic.into())))
}

fn named(of: &ConfigResource) -> String {
    match of {
        ConfigResource::Topic(name) => format!("topic {name}"),
        ConfigResource::Broker(id) => format!("broker {id}"),
        ConfigResource::BrokerDefault => "the default of all brokers".to_owned(),
    }
}

/// What was read of an entry: `None` where its resource was not answered for.
fn value<'a>(
    read: &'a ConfigReadings,
    entry: &ThrottleEntry,
) -> Option<Result<Option<&'a str>, &'a ClientError>> {
    let read = read.get(&resource(entry)?)?.as_ref();
    Some(read.map(|values| values.get(&entry.key).map(String::as_str)))
}

/// Kafka refuses a request that names a key twice.
fn add(changes: &mut Changes, entry: &ThrottleEntry, change: ConfigChange) {
    let Some(of) = resource(entry) else { return };
    let changes = changes.entry(of).or_default();
    if !changes.contains(&change) {
        changes.push(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: &str = "5";

    fn broker(id: i32) -> ConfigResource {
        ConfigResource::Broker(BrokerId(id))
    }

    fn topic() -> ConfigResource {
        ConfigResource::Topic("t".into())
    }

    fn unreachable() -> ClientError {
        ClientError::Unreachable { at: "broker 2".to_owned(), why: "it is dead".to_owned() }
    }

    fn asked() -> Throttle {
        let brokers = vec![BrokerId(1), BrokerId(2)];
        Throttle { bytes_per_second: 5, brokers, topics: vec!["t".to_owned()], entries: None }
    }

    fn journaled() -> Throttle {
        let entries = all_entries(&asked()).collect();
        Throttle { entries: Some(entries), ..asked() }
    }

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// All as we have set it.
    fn as_set() -> ConfigReadings {
        let of_broker = || Ok(values(&[(LEADER_RATE, RATE), (FOLLOWER_RATE, RATE)]));
        let of_topic = values(&[(LEADER_REPLICAS, "*"), (FOLLOWER_REPLICAS, "*")]);
        [(broker(1), of_broker()), (broker(2), of_broker()), (topic(), Ok(of_topic))].into()
    }

    fn places(changes: &Changes) -> Vec<ConfigResource> {
        changes.keys().cloned().collect()
    }

    fn left(done: &Done) -> Option<String> {
        serde_json::from_value::<Throttle>(done.detail.clone()).ok().map(|throttle| throttle.places())
    }

    fn all_done(changes: &Changes) -> Result<ConfigResults, ClientError> {
        Ok(changes.keys().map(|of| (of.clone(), Ok(()))).collect())
    }

    #[test]
    fn what_can_be_cleared_is_cleared_although_a_broker_is_away() {
        let mut read = as_set();
        read.insert(broker(2), Err(unreachable()));
        let clearing = to_clear(&journaled(), &read);
        assert_eq!(places(&clearing.changes), [topic(), broker(1)]);
        let results = all_done(&clearing.changes);
        let done = clearing.done(&journaled(), results);
        assert_eq!(done.summary, "the throttle is left on broker 2: cannot reach broker 2: it is dead");
        let rest: Throttle = serde_json::from_value(done.detail).unwrap();
        let clearing = to_clear(&rest, &as_set());
        assert_eq!(places(&clearing.changes), [broker(2)], "the rest is tried again, and nothing else");
        let results = all_done(&clearing.changes);
        assert_eq!(left(&clearing.done(&rest, results)), None);
    }

    #[test]
    fn what_could_not_be_changed_is_left_and_a_deleted_topic_is_not() {
        let mut read = as_set();
        read.insert(topic(), Err(ClientError::UnknownTopic { what: "t".to_owned() }));
        let clearing = to_clear(&journaled(), &read);
        assert!(clearing.changes.contains_key(&topic()), "the controller knows");
        let gone = Err(ClientError::UnknownTopic { what: "t".to_owned() });
        let results = [(topic(), gone), (broker(1), Err(unreachable()))].into();
        assert_eq!(left(&clearing.clone().done(&journaled(), Ok(results))).unwrap(), "broker 1, broker 2");
        let lost = clearing.done(&journaled(), Err(unreachable()));
        assert_eq!(left(&lost).unwrap(), "broker 1, broker 2, topic t");
    }

    #[test]
    fn what_a_person_has_changed_meanwhile_is_theirs() {
        let mut read = as_set();
        read.insert(broker(1), Ok(values(&[(LEADER_RATE, "7"), (FOLLOWER_RATE, RATE)])));
        let clearing = to_clear(&journaled(), &read);
        assert_eq!(clearing.changes[&broker(1)], [ConfigChange::Delete(FOLLOWER_RATE.to_owned())]);
        let results = all_done(&clearing.changes);
        assert_eq!(left(&clearing.done(&journaled(), results)), None, "it is not tried again");
    }

    #[test]
    fn nothing_is_set_unless_all_can_be_read() {
        let free = || ConfigReadings::from([broker(1), broker(2), topic()].map(|of| (of, Ok(values(&[])))));
        let mut read = free();
        read.insert(broker(2), Err(unreachable()));
        for throttle in [asked(), journaled()] {
            let error = to_set(&throttle, &read).unwrap_err();
            assert!(error.retry && !error.maybe_applied, "{error:?}");
        }
        let Setting::Change(changes) = to_set(&journaled(), &free()).unwrap() else { panic!("changes") };
        assert_eq!(places(&changes), [topic(), broker(1), broker(2)]);
        assert!(was_set(&journaled(), &changes, all_done(&changes)).is_ok());
        let some = [(topic(), Ok(())), (broker(1), Ok(()))].into();
        let error = was_set(&journaled(), &changes, Ok(some)).unwrap_err();
        assert!(error.retry && error.maybe_applied, "{error:?}");
        let Setting::Done(done) = to_set(&journaled(), &as_set()).unwrap() else { panic!("all is set") };
        assert!(done.summary.starts_with("nothing to change"), "{}", done.summary);
    }

    #[test]
    fn a_config_that_is_listed_twice_is_changed_once() {
        let mut twice = journaled();
        twice.entries.iter_mut().for_each(|entries| entries.extend(entries.clone()));
        let clearing = to_clear(&twice, &as_set());
        assert!(clearing.changes.values().all(|changes| changes.len() == 2), "{:?}", clearing.changes);
    }
}
