//! The agents: one on each broker's host, which reports BrokerStats to the stats topic.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use brokerstats::{BrokerError, BrokerStats, Codec, Quality, ReplicaStat};
use cluster::{BrokerId, ClusterId, TopicPartition};

use super::broker::Process;
use super::{Event, World};
use crate::fault::Lasting;
use crate::settings::Agents;
use crate::time::{Moment, millis};

/// All agents.
pub(super) struct AgentStation {
    settings: Agents,
    /// Made for the first who reads a report, as it is made of a schema that has to be parsed; `None` if that fails.
    codec: OnceCell<Option<Codec>>,
    /// How much later reports come.
    pub(super) lag: Duration,
    /// Reports on their way.
    late: BTreeMap<u64, Arc<Report>>,
    sent: u64,
    /// When reports of each broker were written to the topic, the newest ones.
    pub(super) written: BTreeMap<usize, VecDeque<Moment>>,
}

impl AgentStation {
    pub(super) fn new(settings: Agents) -> Self {
        Self {
            settings,
            codec: OnceCell::new(),
            lag: Duration::ZERO,
            late: BTreeMap::new(),
            sent: 0,
            written: BTreeMap::new(),
        }
    }

    pub(super) fn codec(&self) -> Option<&Codec> {
        self.codec.get_or_init(|| Codec::new().ok()).as_ref()
    }
}

/// Of so many reports of a broker it is remembered when they were written: more than agents make while silence is waited for.
const REMEMBERED: usize = 10;

/// What an agent says of a broker that does not answer it.
pub(crate) const NO_ANSWER: &str = "the broker does not answer";

/// What an agent has measured. Most reports are read by nobody: they are put into words when somebody does.
pub(crate) struct Report {
    /// The broker, as the world numbers it.
    broker: usize,
    /// When it was made, in milliseconds since 1970.
    pub(crate) timestamp: i64,
    cluster_id: ClusterId,
    /// Whether the broker did not answer its agent: it starts, checks its logs, or stands still.
    pub(crate) failed: bool,
    dirs: Vec<DirReport>,
    /// The daily curve at that moment, in thousandths of the mean, and its mean over the last quarter of an hour.
    present: u64,
    quarter: u64,
    led: Vec<Led>,
    followed: Vec<Followed>,
}

struct DirReport {
    path: Arc<str>,
    total: u64,
    usable: u64,
    failed: bool,
}

/// A replica that leads.
struct Led {
    p: usize,
    moving: bool,
    under_replicated: bool,
    /// What is produced, in bytes per second on the mean of a day.
    mean: u64,
    /// Bytes that were ever appended to the log, and how many of them are kept.
    end: u64,
    kept: u64,
}

/// A replica that does not lead.
struct Followed {
    p: usize,
    moving: bool,
    bytes: u64,
}

impl Report {
    fn replicas(&self) -> usize {
        self.led.len() + self.followed.len()
    }

    /// What it takes in memory as agents send it, counted on a 64-bit machine.
    pub(super) fn size(&self) -> usize {
        1_000 + 300 * self.led.len() + 80 * self.followed.len()
    }

    fn tell_disks(&self, stats: &mut BrokerStats) {
        let (mut free, mut total) = (0_u64, 0_u64);
        for dir in &self.dirs {
            stats.log_dirs.push(dir.path.to_string());
            stats.log_dir_total_bytes.push(signed(dir.total));
            stats.log_dir_usable_bytes.push(signed(dir.usable));
            // 56 is Kafka's KAFKA_STORAGE_ERROR.
            stats.log_dir_errors.push(if dir.failed { 56 } else { 0 });
            free = free.saturating_add(dir.usable);
            total = total.saturating_add(dir.total);
        }
        stats.free_disk_space_in_bytes = signed(free);
        stats.total_disk_space_in_bytes = signed(total);
        stats.log_files_path = Some(stats.log_dirs.join(","));
    }
}

impl Led {
    fn bytes_in(&self, permille: u64) -> i64 {
        signed(self.mean.saturating_mul(permille) / 1000)
    }
}

/// Means of this time are what reports call the 15-minute rate.
const QUARTER: Duration = Duration::from_secs(900);

impl World {
    /// Starts the agents, spread over the interval. The cluster has been there before: each has reported already.
    pub(super) fn start_agents(&mut self) {
        let Some(interval) = self.agents.as_ref().map(|agents| agents.settings.interval) else { return };
        for broker in 0..self.brokers.len() {
            let after = Duration::from_millis(self.random.below(millis(interval).max(1)));
            self.send_report(broker, Duration::ZERO);
            self.schedule(after, Event::Report { broker });
        }
    }

    /// An agent reports, if its broker's process is there and nothing keeps it from reporting: with the process its host is taken to be
    /// gone.
    pub(super) fn report(&mut self, broker: usize) {
        let Some(agents) = &self.agents else { return };
        let (interval, lag) = (agents.settings.interval, agents.lag);
        self.schedule(interval, Event::Report { broker });
        self.send_report(broker, lag);
    }

    fn send_report(&mut self, broker: usize, lag: Duration) {
        let is_gone = self.brokers[broker].process == Process::Down;
        if is_gone || self.lasting.contains_key(&Lasting::Silent(broker)) {
            return;
        }
        let report = Arc::new(self.measure(broker));
        let Some(agents) = &mut self.agents else { return };
        agents.sent += 1;
        let number = agents.sent;
        agents.late.insert(number, report);
        if lag.is_zero() {
            self.arrives(number);
        } else {
            self.schedule(lag, Event::Arrives { record: number });
        }
    }

    /// A report reaches the stats topic. One that cannot be written is dropped, as an agent does with its oldest.
    pub(super) fn arrives(&mut self, number: u64) {
        let Some(agents) = &mut self.agents else { return };
        let Some(report) = agents.late.remove(&number) else { return };
        let topic = agents.settings.topic.clone();
        self.append_report(&topic, report);
    }

    pub(super) fn note_report(&mut self, report: &Report) {
        let now = self.now;
        let Some(agents) = &mut self.agents else { return };
        let written = agents.written.entry(report.broker).or_default();
        written.push_back(now);
        if written.len() > REMEMBERED {
            written.pop_front();
        }
    }

    /// What an agent measures at this moment.
    fn measure(&self, broker: usize) -> Report {
        let it = &self.brokers[broker];
        let dir = |(dir, used): (&super::broker::DirModel, u64)| DirReport {
            path: Arc::clone(&dir.path),
            total: dir.total,
            usable: dir.total.saturating_sub(used),
            failed: dir.failed,
        };
        let (mut led, mut followed) = (Vec::new(), Vec::with_capacity(it.partitions.len()));
        let failed = !self.runs(broker);
        for p in it.partitions.keys().copied().filter(|_| !failed) {
            let partition = &self.partitions[p];
            let moving = partition.is_moving();
            if partition.leader == Some(broker) {
                let (end, kept) = self.log_of_leader(p);
                let under_replicated = partition.isr.len() < partition.replicas.len();
                led.push(Led { p, moving, under_replicated, mean: self.mean_rate(p), end, kept });
            } else {
                followed.push(Followed { p, moving, bytes: self.replica_bytes(p, broker) });
            }
        }
        Report {
            broker,
            timestamp: self.wall_ms(),
            cluster_id: self.settings.cluster_id.clone(),
            failed,
            dirs: it.dirs.iter().zip(self.used(broker)).map(dir).collect(),
            present: self.permille_over(Duration::ZERO),
            quarter: self.permille_over(QUARTER),
            led,
            followed,
        }
    }

    /// A report as agents send it.
    pub(super) fn stats_of(&self, report: &Report) -> BrokerStats {
        let broker = &self.brokers[report.broker].broker;
        let mut stats = BrokerStats::new(report.timestamp, broker.id.0);
        stats.name = Some(broker.address.host.to_string());
        stats.cluster_id = Some(report.cluster_id.to_string());
        stats.rack_id = broker.rack.as_ref().map(ToString::to_string);
        stats.interval_ms =
            i64::try_from(millis(self.agents.as_ref().map_or(QUARTER, |a| a.settings.interval)))
                .unwrap_or(i64::MAX);
        if report.failed {
            stats.has_failure = true;
            stats.failure_reason = Some(BrokerError::JmxConnectionFailure);
            stats.failure_detail = Some(NO_ANSWER.to_owned());
            return stats;
        }
        report.tell_disks(&mut stats);
        for replica in &report.led {
            let at = self.told(replica.p);
            self.tell_led(report, replica, &at, &mut stats);
            stats.leader_replicas.push(at);
        }
        for replica in &report.followed {
            stats.follower_replicas.push(self.told(replica.p));
            stats.follower_log_size_in_bytes.push(signed(replica.bytes));
        }
        let led = report.led.iter().filter(|replica| replica.moving).map(|replica| replica.p);
        let followed = report.followed.iter().filter(|replica| replica.moving).map(|replica| replica.p);
        let moving: BTreeSet<usize> = led.chain(followed).collect();
        stats.in_reassignment_replicas = moving.into_iter().map(|p| self.told(p)).collect();
        (stats.leaders_bytes_in_1_min_rate, stats.leaders_bytes_out_1_min_rate) = self.rates(report);
        for replica in &report.led {
            stats.leaders_bytes_in_15_min_rate += replica.bytes_in(report.quarter);
            stats.leaders_bytes_out_15_min_rate += self.bytes_out(replica, report.quarter);
        }
        stats.num_leaders = i32::try_from(report.led.len()).unwrap_or(i32::MAX);
        stats.num_replicas = i32::try_from(report.replicas()).unwrap_or(i32::MAX);
        stats
    }

    /// Bytes per second in and out, of all partitions that a reporting broker leads.
    pub(crate) fn rates(&self, report: &Report) -> (i64, i64) {
        let bytes_in = report.led.iter().map(|replica| replica.bytes_in(report.present)).sum();
        let bytes_out = report.led.iter().map(|replica| self.bytes_out(replica, report.present)).sum();
        (bytes_in, bytes_out)
    }

    /// Bytes per second that come in, of each partition that a reporting broker leads, over the last quarter of an hour.
    pub(crate) fn quarter_rates<'a>(
        &'a self,
        report: &'a Report,
    ) -> impl Iterator<Item = (TopicPartition, i64)> + 'a {
        report.led.iter().map(|replica| (self.name(replica.p), replica.bytes_in(report.quarter)))
    }

    /// The id of the broker that a report is of.
    /// When reports of this broker were written to the stats topic, the newest ones.
    pub(crate) fn agent_was_heard(&self, id: BrokerId) -> impl Iterator<Item = Moment> + '_ {
        let broker = self.brokers.iter().position(|it| it.broker.id == id);
        let written = self.agents.as_ref().zip(broker).and_then(|(agents, it)| agents.written.get(&it));
        written.into_iter().flatten().copied()
    }

    pub(crate) fn reporter(&self, report: &Report) -> BrokerId {
        self.id(report.broker)
    }

    fn bytes_out(&self, replica: &Led, permille: u64) -> i64 {
        let consumed = u64::from(self.partitions[replica.p].log.consumed_permille);
        signed(replica.mean.saturating_mul(permille) / 1000 * consumed / 1000)
    }

    fn told(&self, p: usize) -> brokerstats::TopicPartition {
        let partition = &self.partitions[p];
        let topic = self.topics[partition.topic].name.to_string();
        brokerstats::TopicPartition { topic, partition: partition.number }
    }

    fn tell_led(
        &self,
        report: &Report,
        replica: &Led,
        at: &brokerstats::TopicPartition,
        stats: &mut BrokerStats,
    ) {
        let (present, quarter) = (report.present, report.quarter);
        stats.leader_bytes_in.push(replica.bytes_in(present).saturating_mul(stats.interval_ms) / 1000);
        stats.leader_bytes_in_quality.push(Quality::Exact);
        stats.leader_bytes_out_quality.push(Quality::Exact);
        stats.leader_replica_stats.push(ReplicaStat {
            timestamp: stats.timestamp,
            topic: at.topic.clone(),
            partition: at.partition,
            is_leader: true,
            in_reassignment: replica.moving,
            under_replicated: replica.under_replicated,
            bytes_in_1_min_mean_rate: replica.bytes_in(present),
            bytes_in_5_min_mean_rate: replica.bytes_in(present),
            bytes_in_15_min_mean_rate: replica.bytes_in(quarter),
            bytes_out_1_min_mean_rate: self.bytes_out(replica, present),
            bytes_out_5_min_mean_rate: self.bytes_out(replica, present),
            bytes_out_15_min_mean_rate: self.bytes_out(replica, quarter),
            start_offset: signed((replica.end - replica.kept) / super::records::MEAN_RECORD),
            end_offset: signed(replica.end / super::records::MEAN_RECORD),
            cpu_usage: 0.0,
            log_size_in_bytes: signed(replica.kept),
            num_log_segments: 0,
        });
    }

    /// The mean of the daily curve over the last `time`, or at this moment, in thousandths.
    fn permille_over(&self, time: Duration) -> u64 {
        let curve = &self.curve;
        let from: Moment = self.now.less(time);
        match self.now.0 - from.0 {
            0 => curve.permille(self.now.0),
            elapsed => (curve.sum(self.now.0) - curve.sum(from.0)) / elapsed,
        }
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
