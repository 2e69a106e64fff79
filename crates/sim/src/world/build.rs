//! Worlds from texts, and texts from worlds.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use cluster::notation::{BrokerText, ClusterText, Standing};
use cluster::{Broker, BrokerAddress, BrokerId, NewTopic, Partition, Topic, TopicPartition};

use super::agents::AgentStation;
use super::broker::{BrokerModel, DirModel, Process};
use super::history::History;
use super::metadata::{LONGEST_DELAY, Metadata};
use super::partition::Log;
use super::{DISK_CHECK, Event, Us, World};
use crate::fault::LastingFaults;
use crate::random::Random;
use crate::settings::{CurveSums, Settings};
use crate::time::{Moment, millis};

/// The measures of a cluster whose partitions are spread at random, as Kafka spreads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Brokers.
    pub brokers: u32,
    /// Racks that they stand in, one after the other.
    pub racks: u32,
    /// Topics.
    pub topics: u32,
    /// Partitions of each topic.
    pub partitions: u32,
    /// Replicas of each partition.
    pub replicas: u32,
}

impl Shape {
    /// The cluster as text. Broker ids begin with 1; a topic's replicas begin at a random broker and go on over racks.
    pub fn text(&self, seed: u64) -> ClusterText {
        let mut random = Random::new(seed);
        let mut text = ClusterText::default();
        for number in 0..self.brokers {
            let id = BrokerId(i32::try_from(number + 1).unwrap_or(i32::MAX));
            let rack = (self.racks > 0).then(|| format!("r{}", number % self.racks + 1).into());
            let address = BrokerAddress { host: format!("b{id}").into(), port: 9092 };
            let broker = Broker { id, address, rack };
            text.brokers.insert(id, BrokerText { broker, standing: Standing::Alive });
        }
        let ids: Vec<BrokerId> = text.brokers.keys().copied().collect();
        if ids.is_empty() {
            return text;
        }
        for topic in 0..self.topics {
            let start = random.below(ids.len() as u64);
            // The shift lets the same broker lead partitions whose followers differ.
            let shift = random.between(1, 7);
            let partitions = (0..u64::from(self.partitions)).map(|number| {
                let first = start + number + number / ids.len() as u64 * shift;
                let at =
                    |replica: u64| ids[usize::try_from((first + replica) % ids.len() as u64).unwrap_or(0)];
                let replicas: Vec<BrokerId> =
                    (0..u64::from(self.replicas).min(ids.len() as u64)).map(at).collect();
                let isr = replicas.clone().into();
                Partition { leader: replicas.first().copied(), replicas: replicas.into(), isr }
            });
            let partitions = partitions.collect();
            text.topics.insert(format!("topic-{topic:04}").into(), Topic { internal: false, partitions });
        }
        text
    }
}

impl World {
    /// The world that a text describes. Brokers that it marks as dead or fenced have no process; replicas that it marks
    /// as out of sync lack everything, unless their broker is down. Topics that the settings ask for are made.
    pub fn new(text: &ClusterText, settings: Settings) -> Self {
        let mut world = Self::empty(settings);
        for broker in text.brokers.values() {
            world.add_broker(broker);
        }
        world.publish_live();
        for (name, topic) in &text.topics {
            world.add_topic_of(text, name, topic);
        }
        for (after, event) in [(Duration::from_secs(3600), Event::Hour), (DISK_CHECK, Event::DiskCheck)] {
            world.schedule(after, event);
        }
        if let Some(every) = world.settings.rules.leader_rebalance {
            world.schedule(every, Event::LeaderRebalance);
        }
        if let Some(agents) = world.settings.agents.clone() {
            let copies = i16::try_from(world.brokers.len().min(3)).unwrap_or(1);
            let topic = NewTopic {
                name: agents.topic.as_str().into(),
                partitions: 1,
                replication_factor: copies,
                configs: BTreeMap::new(),
            };
            // Without a live broker there is nowhere to report to.
            let _ = world.create_topic(&topic);
            world.agents = Some(AgentStation::new(agents));
            world.start_agents();
        }
        world.loads_due = true;
        world.watch_loads();
        world.wake_replication();
        world.history = History::default();
        world
    }

    fn empty(settings: Settings) -> Self {
        Self {
            random: Random::new(settings.seed),
            curve: CurveSums::new(settings.curve),
            settings,
            now: Moment::default(),
            events: BinaryHeap::new(),
            scheduled: 0,
            brokers: Vec::new(),
            by_id: BTreeMap::new(),
            by_address: BTreeMap::new(),
            topics: Vec::new(),
            by_name: BTreeMap::new(),
            partitions: Vec::new(),
            behind: BTreeMap::new(),
            ticking: false,
            ticked: Moment::default(),
            loads: Vec::new(),
            loads_due: false,
            cut: BTreeSet::new(),
            lasting: LastingFaults::new(),
            metadata: Metadata::default(),
            records: BTreeMap::new(),
            agents: None,
            configs: BTreeMap::new(),
            us: Us::default(),
            history: History::default(),
        }
    }

    fn add_broker(&mut self, text: &BrokerText) {
        let hardware = self.settings.hardware.clone();
        let dir = |number: u8| DirModel {
            path: format!("/kafka/{number}").into(),
            total: hardware.dir_bytes,
            other: 0,
            failed: false,
        };
        let live = text.standing == Standing::Alive;
        let beat = millis(self.settings.rules.heartbeat).max(1);
        let number = self.brokers.len();
        self.by_id.insert(text.broker.id, number);
        self.by_address.insert(text.broker.address.clone(), number);
        self.loads.push(super::Load::default());
        let delay = Duration::from_millis(self.random.between(20, millis(LONGEST_DELAY)));
        self.brokers.push(BrokerModel {
            broker: text.broker.clone(),
            process: if live { Process::Runs } else { Process::Down },
            run: 0,
            live,
            changes: [(self.now, live)].into(),
            answers: [(self.now, live)].into(),
            unclean: false,
            leaving: false,
            session: 0,
            session_end: None,
            phase: self.random.below(beat),
            delay,
            frozen: None,
            dirs: (0..hardware.dirs.max(1)).map(dir).collect(),
            nic_in: hardware.nic_in,
            nic_out: hardware.nic_out,
            disk_rate: hardware.disk_rate,
            partitions: BTreeMap::new(),
        });
    }

    fn add_topic_of(&mut self, text: &ClusterText, name: &Arc<str>, topic: &Topic) {
        self.add_topic(name.clone(), topic.internal, &BTreeMap::new());
        for (number, partition) in (0..).zip(&topic.partitions) {
            let key = TopicPartition::new(name.clone(), number);
            let bytes = text.sizes.get(&key).copied().unwrap_or(self.settings.partition_bytes);
            let log = self.log_of(topic.internal, bytes);
            let known = |ids: &[BrokerId]| -> Vec<usize> {
                ids.iter().filter_map(|id| self.by_id.get(id).copied()).collect()
            };
            let (replicas, isr) = (known(&partition.replicas), known(&partition.isr));
            let leader = partition.leader.and_then(|id| self.by_id.get(&id).copied());
            let moving = text.reassignments.get(&key);
            let adding = moving.map_or_else(Vec::new, |moving| known(&moving.adding));
            let removing = moving.map_or_else(Vec::new, |moving| known(&moving.removing));
            let p = self.add_partition(name, number, replicas.clone(), log);
            for broker in replicas.into_iter().filter(|broker| !isr.contains(broker)) {
                if self.brokers[broker].live {
                    self.wipe(p, broker);
                } else {
                    self.fall_behind(p, broker);
                }
            }
            let it = &mut self.partitions[p];
            (it.isr, it.leader, it.adding, it.removing) = (isr, leader, adding, removing);
            self.follow(p);
        }
        self.publish_topic(self.topics.len() - 1);
    }

    fn log_of(&mut self, internal: bool, bytes: u64) -> Log {
        let Some(traffic) = self.settings.traffic.clone().filter(|_| !internal) else {
            return Log::new(bytes, 0, 0);
        };
        let spread = self.random.between(500, 1500);
        let hot = if self.random.chance(u64::from(traffic.hot_permille)) { 10 } else { 1 };
        let usual = traffic.mean_bytes_in.saturating_mul(spread * hot) / 1000;
        Log::new(bytes, usual, traffic.consumed_permille)
    }

    /// The cluster as the controller has it, with the sizes of logs if `sizes`: what it is made of again by
    /// [`World::new`].
    pub fn text(&mut self, sizes: bool) -> ClusterText {
        let mut text = ClusterText::default();
        for it in &self.brokers {
            let standing = match (it.live, it.process) {
                (true, _) => Standing::Alive,
                (false, Process::Runs | Process::Starts | Process::Stopped) => Standing::Fenced,
                (false, Process::Down) => Standing::Dead,
            };
            text.brokers.insert(it.broker.id, BrokerText { broker: it.broker.clone(), standing });
        }
        text.topics = self.topics().0.clone();
        text.reassignments = self.reassignments();
        if sizes {
            let all = (0..self.partitions.len()).map(|p| (self.name(p), self.log_bytes(p)));
            text.sizes = all.collect();
        }
        text
    }
}
