//! Dynamic configs, as far as anything rests on them: those of replication throttles are obeyed, all are kept.

use std::collections::BTreeMap;

use cluster::{ClientError, ConfigChange, ConfigResource, ConfigValues};

use super::World;

const LEADER_RATE: &str = "leader.replication.throttled.rate";
const FOLLOWER_RATE: &str = "follower.replication.throttled.rate";
const LEADER_REPLICAS: &str = "leader.replication.throttled.replicas";
const FOLLOWER_REPLICAS: &str = "follower.replication.throttled.replicas";

/// Which ends of a flow are throttled, each at its own broker's rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Throttled {
    /// Whether the follower fetches no faster than its rate.
    pub(super) follower: bool,
    /// Whether the leader hands on no faster than its rate.
    pub(super) leader: bool,
}

impl World {
    /// The values of `keys` of a resource, as the broker `from` knows them.
    pub(crate) fn config(
        &self,
        from: usize,
        of: &ConfigResource,
        keys: &[&str],
    ) -> Result<BTreeMap<String, String>, ClientError> {
        self.exists(of)?;
        let known = self.brokers[from].frozen.as_ref().map_or(&self.configs, |frozen| &frozen.configs);
        let values = known.get(of).into_iter().flatten();
        let wanted = values.filter(|(key, _)| keys.contains(&key.as_str()));
        Ok(wanted.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn exists(&self, of: &ConfigResource) -> Result<(), ClientError> {
        match of {
            ConfigResource::Topic(name) if !self.by_name.contains_key(name) => {
                Err(ClientError::UnknownTopic { what: name.to_string() })
            }
            _ => Ok(()),
        }
    }

    /// All dynamic configs that are set.
    pub fn configs(&self) -> &ConfigValues {
        &self.configs
    }

    pub(crate) fn alter_config(
        &mut self,
        of: &ConfigResource,
        changes: &[ConfigChange],
    ) -> Result<(), ClientError> {
        self.exists(of)?;
        let values = self.configs.entry(of.clone()).or_default();
        for change in changes {
            match change {
                ConfigChange::Set(key, value) => values.insert(key.clone(), value.clone()),
                ConfigChange::Delete(key) => values.remove(key),
            };
        }
        if values.is_empty() {
            self.configs.remove(of);
        }
        Ok(())
    }

    fn broker_config(&self, broker: usize, key: &str) -> Option<u64> {
        let own = self.configs.get(&ConfigResource::Broker(self.id(broker)));
        let of_all = || self.configs.get(&ConfigResource::BrokerDefault)?.get(key);
        own.and_then(|values| values.get(key)).or_else(of_all)?.parse().ok()
    }

    /// The throttles of a broker as a leader and as a follower, in bytes per second.
    pub(super) fn throttle_rates(&self, broker: usize) -> (Option<u64>, Option<u64>) {
        if self.configs.is_empty() {
            return (None, None);
        }
        (self.broker_config(broker, LEADER_RATE), self.broker_config(broker, FOLLOWER_RATE))
    }

    /// Which ends throttle the replication of a partition to `to`, by the lists of its topic: each goes by its own.
    pub(super) fn throttled(&self, p: usize, to: usize) -> Throttled {
        if self.configs.is_empty() {
            return Throttled::default();
        }
        let partition = &self.partitions[p];
        let topic = ConfigResource::Topic(self.topics[partition.topic].name.clone());
        let Some(values) = self.configs.get(&topic) else { return Throttled::default() };
        let lists = |key: &str, broker: usize| {
            let own = format!("{}:{}", partition.number, self.id(broker));
            values.get(key).is_some_and(|list| list.split(',').any(|entry| entry == "*" || entry == own))
        };
        Throttled {
            follower: lists(FOLLOWER_REPLICAS, to),
            leader: partition.leader.is_some_and(|from| lists(LEADER_REPLICAS, from)),
        }
    }
}
