//! What each broker knows of the cluster, and what those who ask are told.
//!
//! The controller decides; each broker learns of it a little later, by its own delay, or never while its metadata
//! stand still. Who asks is answered from what the asked broker knows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use cluster::{
    Broker, BrokerAddress, BrokerAnswer, BrokerId, ClientError, ConfigValues, LogDir, LogDirReplica,
    Partition, Topic, TopicTable,
};
use control::{BrokerDisks, DirUse, Disks, Topics};

use super::broker::Process;
use super::history::Happening;
use super::{TopicModel, World};
use crate::fault::Cut;
use crate::time::Moment;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// DoctorKafka: faults may cut it off.
    Us,
    /// Somebody else, who reaches every broker.
    Somebody,
}

/// Which brokers are alive, at some moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LiveSet {
    live: BTreeMap<BrokerId, Broker>,
    fenced: BTreeMap<BrokerId, Broker>,
}

/// Metadata that stand still.
pub(super) struct Frozen {
    live: Arc<LiveSet>,
    topics: Arc<Topics>,
    pub(super) configs: ConfigValues,
}

/// The controller's metadata, with what is needed to tell what they were a moment ago.
pub(super) struct Metadata {
    /// Which brokers were alive since when; the newest last. Never empty once the world is built.
    lives: VecDeque<(Moment, Arc<LiveSet>)>,
    /// All topics, but for the partitions in `stale`.
    topics: Arc<Topics>,
    stale: BTreeSet<usize>,
    /// What partitions were before they changed.
    before: VecDeque<(Moment, usize, Partition)>,
}

impl Default for Metadata {
    fn default() -> Self {
        Self {
            lives: VecDeque::new(),
            topics: Arc::new(Topics(TopicTable::new())),
            stale: BTreeSet::new(),
            before: VecDeque::new(),
        }
    }
}

/// How long one broker may take to answer, in milliseconds: what crate `kafka` allows it.
const REQUEST_LIMIT_MS: u64 = 5_000;

/// What a broker says of a log directory that it has taken out of service.
const FAILED: &str = "KAFKA_STORAGE_ERROR";

/// No broker's metadata is further behind than this, unless it stands still.
pub(super) const LONGEST_DELAY: Duration = Duration::from_millis(400);

impl World {
    /// The controller has another view of who is alive.
    pub(super) fn publish_live(&mut self) {
        let mut set = LiveSet::default();
        for it in &self.brokers {
            let into = if it.live { &mut set.live } else { &mut set.fenced };
            into.insert(it.broker.id, it.broker.clone());
        }
        self.metadata.lives.push_back((self.now, Arc::new(set)));
        let oldest = self.now.less(LONGEST_DELAY);
        while self.metadata.lives.get(1).is_some_and(|(since, _)| *since <= oldest) {
            self.metadata.lives.pop_front();
        }
    }

    /// A partition is another than `before`.
    pub(super) fn publish(&mut self, p: usize, before: Partition) {
        let oldest = self.now.less(LONGEST_DELAY);
        let metadata = &mut self.metadata;
        while metadata.before.front().is_some_and(|(at, ..)| *at < oldest) {
            metadata.before.pop_front();
        }
        metadata.before.push_back((self.now, p, before));
        metadata.stale.insert(p);
    }

    /// Puts topics that were just made into the table.
    pub(super) fn publish_topic(&mut self, topic: usize) {
        let TopicModel { name, internal, partitions, .. } = &self.topics[topic];
        let partitions = partitions.iter().map(|p| self.public(*p)).collect();
        let made = Topic { internal: *internal, partitions };
        Arc::make_mut(&mut self.metadata.topics).0.insert(name.clone(), made);
    }

    /// All topics as the controller has them. Shared: only what has changed since the last call is copied.
    pub fn topics(&mut self) -> Arc<Topics> {
        for p in std::mem::take(&mut self.metadata.stale) {
            let shown = self.public(p);
            self.patch(p, shown);
        }
        Arc::clone(&self.metadata.topics)
    }

    fn patch(&mut self, p: usize, shown: Partition) {
        let partition = &self.partitions[p];
        let name = &self.topics[partition.topic].name;
        put(Arc::make_mut(&mut self.metadata.topics), name, partition.number, shown);
    }

    /// All topics as one broker knows them.
    pub(crate) fn topics_known_to(&mut self, broker: usize) -> Arc<Topics> {
        if let Some(frozen) = &self.brokers[broker].frozen {
            return Arc::clone(&frozen.topics);
        }
        let mut topics = self.topics();
        let known = self.now.less(self.brokers[broker].delay);
        // The newest first, so that what a partition was at that moment is put last.
        for (_, p, before) in self.metadata.before.iter().rev().take_while(|(at, ..)| *at > known) {
            let partition = &self.partitions[*p];
            let name = &self.topics[partition.topic].name;
            put(Arc::make_mut(&mut topics), name, partition.number, before.clone());
        }
        topics
    }

    fn live_known_to(&self, broker: usize) -> Option<&Arc<LiveSet>> {
        if let Some(frozen) = &self.brokers[broker].frozen {
            return Some(&frozen.live);
        }
        let known = self.now.less(self.brokers[broker].delay);
        let lives = &self.metadata.lives;
        lives.iter().rev().find(|(since, _)| *since <= known).or(lives.front()).map(|(_, set)| set)
    }

    /// From now on a broker's metadata stand still.
    pub(super) fn freeze(&mut self, broker: usize) {
        if self.brokers[broker].frozen.is_some() {
            return;
        }
        let topics = self.topics_known_to(broker);
        let Some(live) = self.live_known_to(broker).cloned() else { return };
        self.brokers[broker].frozen = Some(Frozen { live, topics, configs: self.configs.clone() });
    }

    /// A broker's metadata stand still no longer, unless there is another reason for it.
    pub(super) fn thaw(&mut self, broker: usize) {
        let held = self.cut.contains(&(broker, Cut::Controller))
            || self.lasting.contains_key(&crate::fault::Lasting::Frozen(broker));
        if !held {
            self.brokers[broker].frozen = None;
        }
    }

    /// Whether a broker knows who leads a partition, and that `replica` is one of its replicas. One whose metadata stand
    /// still knows what was so before: as a leader it refuses whom it does not know, and as a replica it does not know
    /// that it has become one, or whom to follow.
    pub(super) fn knows(&self, p: usize, broker: usize, replica: usize) -> bool {
        let Some(frozen) = &self.brokers[broker].frozen else { return true };
        let partition = &self.partitions[p];
        let topic = frozen.topics.0.get(&self.topics[partition.topic].name);
        let number = usize::try_from(partition.number).ok();
        let known = topic.zip(number).and_then(|(topic, number)| topic.partitions.get(number));
        known.is_some_and(|known| {
            known.leader == partition.leader.map(|leader| self.id(leader))
                && known.replicas.contains(&self.id(replica))
        })
    }

    /// The broker behind an address, if `client` can talk to it.
    pub(crate) fn reach(
        &self,
        client: Client,
        at: &BrokerAddress,
        limit: Duration,
    ) -> Result<usize, ClientError> {
        let unreachable = |why: &str| ClientError::Unreachable { at: at.to_string(), why: why.to_owned() };
        let Some(broker) = self.by_address.get(at).copied() else {
            return Err(unreachable("unknown host"));
        };
        let silent = || {
            let limit_ms = crate::time::millis(limit);
            ClientError::Timeout { at: at.to_string(), limit_ms, doing: "asking a broker" }
        };
        if client == Client::Us && self.cut.contains(&(broker, Cut::Us)) {
            return Err(silent());
        }
        match self.brokers[broker].process {
            Process::Runs => Ok(broker),
            Process::Stopped => Err(silent()),
            Process::Starts | Process::Down => Err(unreachable("connection refused")),
        }
    }

    /// The brokers that answer `client`, whatever they know: also those that the controller has dropped.
    pub(crate) fn answering(&self, client: Client) -> Vec<usize> {
        (0..self.brokers.len()).filter(|broker| self.answers(client, *broker)).collect()
    }

    fn answers(&self, client: Client, broker: usize) -> bool {
        self.runs(broker) && !(client == Client::Us && self.cut.contains(&(broker, Cut::Us)))
    }

    /// Whether `client` can talk to a broker that somebody else has named to it.
    pub(super) fn reach_named(
        &self,
        client: Client,
        broker: usize,
        doing: &'static str,
    ) -> Result<(), ClientError> {
        if self.answers(client, broker) {
            return Ok(());
        }
        let (at, limit_ms) = (self.brokers[broker].broker.address.to_string(), REQUEST_LIMIT_MS);
        Err(ClientError::Timeout { at, limit_ms, doing })
    }

    /// A broker, if it is alive and `client` can talk to it: what only it can tell is asked of it.
    pub(crate) fn reach_id(
        &self,
        client: Client,
        id: BrokerId,
        limit: Duration,
    ) -> Result<usize, ClientError> {
        let live = self.by_id.get(&id).map(|broker| &self.brokers[*broker]).filter(|it| it.live);
        match live {
            Some(it) => self.reach(client, &it.broker.address, limit),
            None => {
                let why = "it is not among the live brokers".to_owned();
                Err(ClientError::Unreachable { at: format!("broker {id}"), why })
            }
        }
    }

    /// The same, if it also hands on what the controller is asked.
    pub(crate) fn reach_id_that_hands_on(
        &self,
        client: Client,
        id: BrokerId,
        limit: Duration,
    ) -> Result<usize, ClientError> {
        let broker = self.reach_id(client, id, limit)?;
        if self.cut.contains(&(broker, Cut::Controller)) {
            let (at, limit_ms) = (format!("broker {id}"), crate::time::millis(limit));
            return Err(ClientError::Timeout { at, limit_ms, doing: "handing on to the controller" });
        }
        Ok(broker)
    }

    /// A broker that `client` can talk to and that hands on what the controller is asked, chosen by `turn`.
    pub(crate) fn reach_any(&self, client: Client, turn: usize) -> Result<usize, ClientError> {
        let able = |broker: &usize| {
            self.answers(client, *broker)
                && self.brokers[*broker].live
                && !self.cut.contains(&(*broker, Cut::Controller))
        };
        let able: Vec<usize> = (0..self.brokers.len()).filter(able).collect();
        able.get(turn % able.len().max(1)).copied().ok_or_else(|| ClientError::Unreachable {
            at: "any broker".to_owned(),
            why: "none answers".to_owned(),
        })
    }

    /// The broker at `at`, if it can be asked, and who is alive by what it knows.
    fn told_at(
        &self,
        client: Client,
        at: &BrokerAddress,
        limit: Duration,
    ) -> Result<(usize, &LiveSet), ClientError> {
        let broker = self.reach(client, at, limit)?;
        let none = || ClientError::Malformed { doing: "asking a broker", why: "no metadata yet".to_owned() };
        Ok((broker, self.live_known_to(broker).ok_or_else(none)?))
    }

    /// Whom the broker at `at` holds to be alive: a part of what it [answers](World::ask).
    pub(crate) fn live_told_at(
        &self,
        client: Client,
        at: &BrokerAddress,
        limit: Duration,
    ) -> Result<&BTreeMap<BrokerId, Broker>, ClientError> {
        self.told_at(client, at, limit).map(|(_, known)| &known.live)
    }

    /// What the broker at `at` answers to the question who is alive.
    pub(crate) fn ask(
        &self,
        client: Client,
        at: &BrokerAddress,
        limit: Duration,
    ) -> Result<BrokerAnswer, ClientError> {
        let (broker, known) = self.told_at(client, at, limit)?;
        let rules = &self.settings.rules;
        let fenced = if rules.tells_fenced { known.fenced.clone() } else { BTreeMap::new() };
        // In KRaft mode each broker names another live one; with ZooKeeper the lowest id stands for the elected one.
        let turn = if rules.capabilities.kraft {
            broker.wrapping_add(usize::try_from(self.now.0 / 1000).unwrap_or(0)) % known.live.len().max(1)
        } else {
            0
        };
        Ok(BrokerAnswer {
            cluster_id: self.settings.cluster_id.clone(),
            controller: known.live.keys().nth(turn).copied(),
            live: known.live.clone(),
            fenced,
            capabilities: rules.capabilities,
            took: Duration::from_millis(1),
        })
    }

    /// The log directories of a broker.
    pub(crate) fn log_dirs_of(&self, broker: usize) -> Vec<LogDir> {
        let it = &self.brokers[broker];
        let used = self.used(broker);
        let dir = |(dir, used): (&super::broker::DirModel, u64)| LogDir {
            path: Arc::clone(&dir.path),
            error: dir.failed.then(|| FAILED.to_owned()),
            total_bytes: Some(dir.total),
            usable_bytes: Some(dir.total.saturating_sub(used)),
            replicas: BTreeMap::new(),
        };
        let mut dirs: Vec<LogDir> = it.dirs.iter().zip(used).map(dir).collect();
        for (p, dir) in &it.partitions {
            let Some(dir) = dirs.get_mut(usize::from(*dir)).filter(|dir| dir.error.is_none()) else {
                continue;
            };
            let size_bytes = self.replica_bytes(*p, broker);
            let lacks = self.log_bytes(*p).saturating_sub(size_bytes);
            let replica = LogDirReplica {
                size_bytes,
                offset_lag: lacks / super::records::MEAN_RECORD,
                is_future: false,
            };
            dir.replicas.insert(self.name(*p), replica);
        }
        dirs
    }

    /// What [`Disks::of`] makes of the log directories of these brokers, without naming each replica on the way.
    pub(crate) fn disks_of(&self, brokers: &[usize]) -> Disks {
        let mut disks = Disks::default();
        let mut largest = vec![None::<u64>; self.partitions.len()];
        for broker in brokers {
            let it = &self.brokers[*broker];
            let used = self.used(*broker);
            let dir = |(dir, used): (&super::broker::DirModel, u64)| DirUse {
                path: Arc::clone(&dir.path),
                total_bytes: Some(dir.total),
                usable_bytes: Some(dir.total.saturating_sub(used)),
                replicas: 0,
                error: dir.failed.then(|| FAILED.to_owned()),
            };
            let mut dirs: Vec<DirUse> = it.dirs.iter().zip(used).map(dir).collect();
            for (p, dir) in &it.partitions {
                let Some(dir) = dirs.get_mut(usize::from(*dir)).filter(|dir| dir.error.is_none()) else {
                    continue;
                };
                dir.replicas += 1;
                let bytes = self.replica_bytes(*p, *broker);
                largest[*p] = largest[*p].max(Some(bytes));
            }
            disks.brokers.insert(it.broker.id, BrokerDisks { dirs });
            disks.listed.insert(it.broker.id);
        }
        let sizes = largest.into_iter().enumerate();
        disks.sizes = sizes.filter_map(|(p, bytes)| Some((self.name(p), bytes?))).collect();
        disks
    }

    /// Somebody should know of it.
    pub(super) fn note(&mut self, note: String) {
        self.history.push(self.now, Happening::Note(note));
    }
}

fn put(topics: &mut Topics, name: &Arc<str>, number: i32, shown: Partition) {
    let topic = topics.0.get_mut(name).zip(usize::try_from(number).ok());
    if let Some(place) = topic.and_then(|(topic, at)| topic.partitions.get_mut(at)) {
        *place = shown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    #[test]
    fn the_use_of_disks_is_that_of_the_log_directories() {
        let text = "b1\nb2\nb3\nt-0: 1* 2 size=5MiB\nt-1: 2* 3\nu-0: 3* 1 2 size=1GiB";
        let hardware = crate::settings::Hardware { dirs: 2, ..Default::default() };
        let settings = Settings { hardware, ..Settings::default() };
        let mut world = World::new(&text.parse().unwrap(), settings);
        world.plan(&"at 1s fill b2\nat 5s kill b3\nat 20s replace b3".parse().unwrap());
        for seconds in [0, 2, 30, 60] {
            world.advance_to(Moment(seconds * 1_000));
            let all: Vec<usize> = (0..3).collect();
            let named: Vec<_> = all.iter().map(|it| (world.id(*it), world.log_dirs_of(*it))).collect();
            let wanted = Disks::of(named.iter().map(|(id, dirs)| (*id, dirs.as_slice())));
            assert_eq!(world.disks_of(&all), wanted, "after {seconds} s");
        }
    }
}
