//! The world: one Kafka cluster on virtual time.
//!
//! Nothing is counted while nothing happens. The world keeps a queue of what happens when; sizes of logs follow from
//! rates and the time that has gone by, signs of life are not sent but reckoned with, and only replicas that have to
//! catch up are looked at twice a second. So a quiet day of a large cluster costs next to nothing.
//!
//! Reading order: this file (what there is, and how time goes on); `build` (from a text); `broker` (processes and
//! sessions); `partition` (logs, leaders and in-sync replicas); `replication` (who gets which bandwidth);
//! `reassign` (KIP-455); `metadata` (what each broker knows of it); `faults`; `records` and `agents` (what is
//! in topics that somebody reads); `configs`; `history`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use cluster::{Broker, BrokerAddress, BrokerId, ConfigValues, TopicName, TopicPartition};

use crate::fault::{Cut, Fault, Lasting, LastingFaults, Schedule, When};
use crate::random::Random;
use crate::settings::{CurveSums, Settings};
use crate::time::{Moment, millis};

mod build;

mod broker;

mod partition;

mod replication;

mod reassign;

mod metadata;

mod faults;

mod records;

mod agents;

mod configs;

mod history;

mod panel;

pub use broker::Absence;
pub use build::Shape;
pub use history::{Happened, Happening};
pub use metadata::Client;
pub use panel::{BrokerPanel, ProcessState};

pub(crate) use agents::{NO_ANSWER, Report};

use agents::AgentStation;
use broker::BrokerModel;
use history::History;
use metadata::Metadata;
use partition::PartitionModel;
use records::Records;
use replication::{Behind, Load};

/// A Kafka cluster on virtual time. See the [module](self).
pub struct World {
    settings: Settings,
    curve: CurveSums,
    now: Moment,
    random: Random,
    events: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    brokers: Vec<BrokerModel>,
    by_id: BTreeMap<BrokerId, usize>,
    by_address: BTreeMap<BrokerAddress, usize>,
    topics: Vec<TopicModel>,
    by_name: BTreeMap<TopicName, usize>,
    partitions: Vec<PartitionModel>,
    /// Replicas that lack something of their leader's log, by partition and broker; all others follow closely.
    behind: BTreeMap<(usize, usize), Behind>,
    /// Whether a look at those that are behind is scheduled, and when the last one was.
    ticking: bool,
    ticked: Moment,
    loads: Vec<Load>,
    loads_due: bool,
    cut: BTreeSet<(usize, Cut)>,
    lasting: LastingFaults,
    metadata: Metadata,
    records: BTreeMap<usize, Records>,
    agents: Option<AgentStation>,
    configs: ConfigValues,
    us: Us,
    history: History,
}

/// DoctorKafka, as far as faults are about it.
#[derive(Clone, Copy, Debug, Default)]
struct Us {
    crashes: u32,
    /// How far its wall clock is off, in milliseconds.
    clock_ms: i64,
    /// When it was set last.
    clock_set: Option<Moment>,
}

/// A topic.
struct TopicModel {
    name: TopicName,
    internal: bool,
    /// Its partitions by number.
    partitions: Vec<usize>,
    min_in_sync: usize,
    retention: u64,
    /// Its traffic in thousandths of the usual.
    factor: u32,
}

/// What happens at some moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A fault, and how long it lasts.
    Fault(Fault, Option<Duration>),
    /// The end of something that lasts.
    Ended(Lasting),
    /// A broker's session ends, unless it has shown life since.
    SessionEnds { broker: usize, session: u64 },
    /// A broker is registered, and serves.
    Serves { broker: usize, run: u64 },
    /// A broker that is being shut down ends, and is started again or not.
    Leaves { broker: usize, run: u64, again: bool },
    /// A broker whose process stood still goes on.
    GoesOn { broker: usize, run: u64 },
    /// A flapping broker is killed, and so many times again.
    Flaps { broker: usize, left: u32 },
    /// A flapping broker is started again.
    FlapsBack { broker: usize },
    /// Replicas that are behind are looked at.
    Tick,
    /// An hour of the daily curve begins.
    Hour,
    /// Leadership goes back to preferred leaders.
    LeaderRebalance,
    /// Volumes are looked at.
    DiskCheck,
    /// An agent reports.
    Report { broker: usize },
    /// A report arrives late.
    Arrives { record: u64 },
}

/// An event with its moment. Those of one moment happen in the order in which they were scheduled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Scheduled {
    at: Moment,
    order: u64,
    event: Event,
}

/// How often volumes are looked at.
const DISK_CHECK: Duration = Duration::from_secs(60);

impl World {
    /// The present moment.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// The present moment on a right wall clock, in milliseconds since 1970.
    pub fn wall_ms(&self) -> i64 {
        self.settings.begins_ms.saturating_add(i64::try_from(self.now.0).unwrap_or(i64::MAX))
    }

    /// The present moment on DoctorKafka's wall clock, in milliseconds since 1970. A `clock` fault makes it jump.
    pub fn our_wall_ms(&self) -> i64 {
        self.wall_ms().saturating_add(self.us.clock_ms)
    }

    /// When DoctorKafka's wall clock has jumped last, if it ever has.
    pub fn our_clock_was_set(&self) -> Option<Moment> {
        self.us.clock_set
    }

    /// What the world is made of.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// From now on the brokers belong to another cluster, as when an address leads elsewhere.
    pub fn become_cluster(&mut self, id: cluster::ClusterId) {
        self.settings.cluster_id = id;
    }

    /// When something happens next.
    pub fn next_event(&self) -> Option<Moment> {
        self.events.peek().map(|next| next.0.at)
    }

    /// Lets time go on until `to`.
    pub fn advance_to(&mut self, to: Moment) {
        while self.next_event().is_some_and(|at| at <= to) {
            let Some(Reverse(next)) = self.events.pop() else { break };
            self.now = self.now.max(next.at);
            self.happen(next.event);
        }
        self.now = self.now.max(to);
    }

    /// Lets so much time go by.
    pub fn advance(&mut self, by: Duration) {
        self.advance_to(self.now.plus(by));
    }

    /// Plans the faults of a schedule; their moments count from now.
    pub fn plan(&mut self, schedule: &Schedule) {
        for planned in &schedule.0 {
            let after = match planned.when {
                When::At(time) => time,
                When::Within(time) => {
                    Duration::from_millis(self.random.below(millis(time).saturating_add(1)))
                }
            };
            self.schedule(after, Event::Fault(planned.fault.clone(), planned.lasting));
        }
    }

    /// Lets a fault happen now.
    pub fn inflict(&mut self, fault: &Fault) {
        self.fault(fault, None);
    }

    /// How often DoctorKafka's process is to be killed since this was asked last.
    pub fn take_crashes(&mut self) -> u32 {
        std::mem::take(&mut self.us.crashes)
    }

    /// A number from the world's own source of chance.
    pub fn chance(&mut self) -> &mut Random {
        &mut self.random
    }

    /// The addresses of all brokers, alive or not.
    pub fn addresses(&self) -> Vec<BrokerAddress> {
        self.brokers.iter().map(|it| it.broker.address.clone()).collect()
    }

    /// All brokers, alive or not.
    pub fn brokers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.iter().map(|it| &it.broker)
    }

    /// What has happened since this was asked last, in order. Bounded: where nobody asks, the oldest is forgotten.
    pub fn take_history(&mut self) -> Vec<Happened> {
        self.history.take()
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.schedule_at(self.now.plus(after), event);
    }

    fn schedule_at(&mut self, at: Moment, event: Event) {
        self.scheduled += 1;
        self.events.push(Reverse(Scheduled { at, order: self.scheduled, event }));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Fault(fault, lasting) => self.fault(&fault, lasting),
            Event::Ended(what) => {
                if self.lasting.get(&what) == Some(&Some(self.now)) {
                    self.end_lasting(what);
                }
            }
            Event::SessionEnds { broker, session } => self.session_ends(broker, session),
            Event::Serves { broker, run } => self.serves(broker, run),
            Event::Leaves { broker, run, again } => self.leaves(broker, run, again),
            Event::GoesOn { broker, run } => self.goes_on(broker, run),
            Event::Flaps { broker, left } => self.flaps(broker, left),
            Event::FlapsBack { broker } => self.start(broker, Duration::ZERO),
            Event::Tick => self.tick(),
            Event::Hour => {
                self.loads_due = true;
                self.watch_loads();
                self.schedule(Duration::from_secs(3600), Event::Hour);
            }
            Event::LeaderRebalance => self.rebalance_leaders(),
            Event::DiskCheck => {
                self.check_disks();
                self.schedule(DISK_CHECK, Event::DiskCheck);
            }
            Event::Report { broker } => self.report(broker),
            Event::Arrives { record } => self.arrives(record),
        }
    }

    /// The number of a partition that exists.
    fn find(&self, at: &TopicPartition) -> Option<usize> {
        let topic = &self.topics[*self.by_name.get(&at.topic)?];
        topic.partitions.get(usize::try_from(at.partition).ok()?).copied()
    }

    /// The name of a partition.
    fn name(&self, p: usize) -> TopicPartition {
        let partition = &self.partitions[p];
        TopicPartition::new(self.topics[partition.topic].name.clone(), partition.number)
    }

    fn id(&self, broker: usize) -> BrokerId {
        self.brokers[broker].broker.id
    }

    fn ids(&self, brokers: &[usize]) -> Box<[BrokerId]> {
        brokers.iter().map(|broker| self.id(*broker)).collect()
    }
}

/// A queue that forgets the oldest.
fn push_bounded<T>(queue: &mut VecDeque<T>, item: T, bound: usize) {
    if queue.len() >= bound {
        queue.pop_front();
    }
    queue.push_back(item);
}
