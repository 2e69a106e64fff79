//! The replication throttle, as the action of the service sets it and takes it away: first it is asked which of its
//! values nobody has set, so that the list is in the journal before anything is set; only what is in the list is ever
//! set or taken away.

use std::collections::{BTreeMap, BTreeSet};

use cluster::{ConfigChange, ConfigResource, ConfigValues, Reader, Writer};
use control::event::{Throttle, ThrottleEntry};
use control::{ActError, Done};

use super::at_once;
use super::hands::{Hands, failed, not_done};

const LEADER_RATE: &str = "leader.replication.throttled.rate";
const FOLLOWER_RATE: &str = "follower.replication.throttled.rate";
const LEADER_REPLICAS: &str = "leader.replication.throttled.replicas";
const FOLLOWER_REPLICAS: &str = "follower.replication.throttled.replicas";
/// Every replica of a topic.
const ALL_REPLICAS: &str = "*";

impl Hands {
    /// Without a list of what is ours it only asks what nobody has set, and answers with that.
    pub(super) fn set_throttle(&mut self, throttle: &Throttle) -> Result<Done, ActError> {
        let present = self.present(throttle)?;
        let is_set = |entry: &ThrottleEntry| value(&present, entry).is_some_and(|value| !value.is_empty());
        let Some(entries) = &throttle.entries else {
            let free: Vec<ThrottleEntry> =
                all_entries(throttle).into_iter().filter(|entry| !is_set(entry)).collect();
            let summary = format!("{} free to be set", free.len());
            let answer = Throttle { entries: Some(free), ..throttle.clone() };
            let detail = serde_json::to_value(answer).unwrap_or_default();
            return Ok(Done { summary, detail, follow_ups: Vec::new() });
        };
        let free = entries.iter().filter(|entry| !is_set(entry));
        let set = |entry: &ThrottleEntry| ConfigChange::Set(entry.key.clone(), entry.value.clone());
        self.alter(free.filter_map(|entry| Some((resource(entry)?, set(entry)))))
    }

    /// Takes away what is in the list, as far as it still is as we have set it.
    pub(super) fn clear_throttle(&mut self, throttle: &Throttle) -> Result<Done, ActError> {
        let present = self.present(throttle)?;
        let entries = throttle.entries.as_deref().unwrap_or_default();
        let ours = entries.iter().filter(|entry| value(&present, entry) == Some(entry.value.as_str()));
        let delete = |entry: &ThrottleEntry| ConfigChange::Delete(entry.key.clone());
        self.alter(ours.filter_map(|entry| Some((resource(entry)?, delete(entry)))))
    }

    fn present(&mut self, throttle: &Throttle) -> Result<ConfigValues, ActError> {
        let all = || all_entries(throttle);
        let entries = throttle.entries.clone().unwrap_or_else(all);
        let resources: BTreeSet<ConfigResource> = entries.iter().filter_map(resource).collect();
        if resources.is_empty() {
            return Ok(ConfigValues::new());
        }
        let resources: Vec<ConfigResource> = resources.into_iter().collect();
        let keys = [LEADER_RATE, FOLLOWER_RATE, LEADER_REPLICAS, FOLLOWER_REPLICAS];
        at_once(self.access.configs(&resources, &keys)).map_err(|why| not_done(&why))
    }

    fn alter(
        &mut self,
        changes: impl Iterator<Item = (ConfigResource, ConfigChange)>,
    ) -> Result<Done, ActError> {
        let mut by_resource: BTreeMap<ConfigResource, Vec<ConfigChange>> = BTreeMap::new();
        for (resource, change) in changes {
            by_resource.entry(resource).or_default().push(change);
        }
        if by_resource.is_empty() {
            return Ok(Done { summary: "nothing to change".to_owned(), ..Done::default() });
        }
        self.pause();
        self.judge.writes();
        let results = at_once(self.access.alter_configs(&by_resource)).map_err(|why| failed(&why))?;
        match results.values().find_map(|result| result.as_ref().err()) {
            Some(why) => Err(ActError { maybe_applied: true, ..failed(why) }),
            None => Ok(Done { summary: format!("{} changed", results.len()), ..Done::default() }),
        }
    }
}

/// Everything that makes up a throttle.
fn all_entries(throttle: &Throttle) -> Vec<ThrottleEntry> {
    let rate = throttle.bytes_per_second.to_string();
    let entry = |broker, topic, key: &str, value: &str| ThrottleEntry {
        broker,
        topic,
        key: key.to_owned(),
        value: value.to_owned(),
    };
    let of_brokers = throttle
        .brokers
        .iter()
        .flat_map(|id| [LEADER_RATE, FOLLOWER_RATE].map(|key| entry(Some(*id), None, key, &rate)));
    let of_topics = throttle.topics.iter().flat_map(|topic| {
        [LEADER_REPLICAS, FOLLOWER_REPLICAS].map(|key| entry(None, Some(topic.clone()), key, ALL_REPLICAS))
    });
    of_brokers.chain(of_topics).collect()
}

fn resource(entry: &ThrottleEntry) -> Option<ConfigResource> {
    let broker = entry.broker.map(ConfigResource::Broker);
    broker.or_else(|| entry.topic.as_deref().map(|topic| ConfigResource::Topic(topic.into())))
}

fn value<'a>(present: &'a ConfigValues, entry: &ThrottleEntry) -> Option<&'a str> {
    Some(present.get(&resource(entry)?)?.get(&entry.key)?.as_str())
}
