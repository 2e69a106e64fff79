//! The agents: one on each broker's host, which reports BrokerStats to the stats topic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Event, World};
use crate::fault::Lasting;
use crate::settings::Agents;
use crate::time::{Moment, millis};
use brokerstats::{BrokerStats, Codec, Quality, ReplicaStat};

/// All agents.
pub(super) struct AgentStation {
    settings: Agents,
    codec: Codec,
    /// How much later reports come.
    pub(super) lag: Duration,
    /// Reports on their way.
    late: BTreeMap<u64, Arc<BrokerStats>>,
    sent: u64,
}

impl AgentStation {
    /// Agents, unless the schema of their reports cannot be used.
    pub(super) fn new(settings: Agents) -> Option<Self> {
        let codec = Codec::new().ok()?;
        Some(Self { settings, codec, lag: Duration::ZERO, late: BTreeMap::new(), sent: 0 })
    }

    pub(super) fn codec(&self) -> &Codec {
        &self.codec
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

    /// An agent reports, if its broker runs and nothing keeps it from reporting.
    pub(super) fn report(&mut self, broker: usize) {
        let Some(agents) = &self.agents else { return };
        let (interval, lag) = (agents.settings.interval, agents.lag);
        self.schedule(interval, Event::Report { broker });
        self.send_report(broker, lag);
    }

    fn send_report(&mut self, broker: usize, lag: Duration) {
        if !self.runs(broker) || self.lasting.contains_key(&Lasting::Silent(broker)) {
            return;
        }
        let stats = Arc::new(self.stats_of(broker));
        let Some(agents) = &mut self.agents else { return };
        agents.sent += 1;
        let number = agents.sent;
        agents.late.insert(number, stats);
        if lag.is_zero() {
            self.arrives(number);
        } else {
            self.schedule(lag, Event::Arrives { record: number });
        }
    }

    /// A report reaches the stats topic. One that cannot be written is dropped, as an agent does with its oldest.
    pub(super) fn arrives(&mut self, number: u64) {
        let Some(agents) = &mut self.agents else { return };
        let Some(stats) = agents.late.remove(&number) else { return };
        let topic = agents.settings.topic.clone();
        self.append_report(&topic, stats);
    }

    fn stats_of(&self, broker: usize) -> BrokerStats {
        let it = &self.brokers[broker];
        let wall = self.wall_ms();
        let mut stats = BrokerStats::new(wall, it.broker.id.0);
        stats.name = Some(it.broker.address.host.to_string());
        stats.cluster_id = Some(self.settings.cluster_id.to_string());
        stats.rack_id = it.broker.rack.as_ref().map(ToString::to_string);
        stats.interval_ms =
            i64::try_from(millis(self.agents.as_ref().map_or(QUARTER, |a| a.settings.interval)))
                .unwrap_or(i64::MAX);
        self.report_disks(broker, &mut stats);
        let (present, quarter) = (self.permille_over(Duration::ZERO), self.permille_over(QUARTER));
        for p in it.partitions.keys() {
            let partition = &self.partitions[*p];
            let at = brokerstats::TopicPartition {
                topic: self.topics[partition.topic].name.to_string(),
                partition: partition.number,
            };
            if partition.is_moving() {
                stats.in_reassignment_replicas.push(at.clone());
            }
            if partition.leader == Some(broker) {
                self.report_led(*p, &at, (present, quarter), &mut stats);
                stats.leader_replicas.push(at);
            } else {
                stats.follower_replicas.push(at);
                stats.follower_log_size_in_bytes.push(signed(self.replica_bytes(*p, broker)));
            }
        }
        stats.num_leaders = i32::try_from(stats.leader_replicas.len()).unwrap_or(i32::MAX);
        stats.num_replicas = i32::try_from(it.partitions.len()).unwrap_or(i32::MAX);
        stats
    }

    fn report_disks(&self, broker: usize, stats: &mut BrokerStats) {
        let it = &self.brokers[broker];
        let (mut free, mut total) = (0_u64, 0_u64);
        for (dir, used) in it.dirs.iter().zip(self.used(broker)) {
            let usable = dir.total.saturating_sub(used);
            stats.log_dirs.push(dir.path.to_string());
            stats.log_dir_total_bytes.push(signed(dir.total));
            stats.log_dir_usable_bytes.push(signed(usable));
            // 56 is Kafka's KAFKA_STORAGE_ERROR.
            stats.log_dir_errors.push(if dir.failed { 56 } else { 0 });
            free = free.saturating_add(usable);
            total = total.saturating_add(dir.total);
        }
        stats.free_disk_space_in_bytes = signed(free);
        stats.total_disk_space_in_bytes = signed(total);
        let dirs: Vec<&str> = it.dirs.iter().map(|dir| &*dir.path).collect();
        stats.log_files_path = Some(dirs.join(","));
    }

    fn report_led(
        &self,
        p: usize,
        at: &brokerstats::TopicPartition,
        (present, quarter): (u64, u64),
        stats: &mut BrokerStats,
    ) {
        let partition = &self.partitions[p];
        let mean = self.mean_rate(p);
        let bytes_in = |permille: u64| signed(mean.saturating_mul(permille) / 1000);
        let consumed = u64::from(partition.log.consumed_permille);
        let bytes_out = |permille: u64| signed(mean.saturating_mul(permille) / 1000 * consumed / 1000);
        let (end, kept) = self.log_of_leader(p);
        stats.leaders_bytes_in_1_min_rate += bytes_in(present);
        stats.leaders_bytes_out_1_min_rate += bytes_out(present);
        stats.leaders_bytes_in_15_min_rate += bytes_in(quarter);
        stats.leaders_bytes_out_15_min_rate += bytes_out(quarter);
        stats.leader_bytes_in.push(bytes_in(present).saturating_mul(stats.interval_ms) / 1000);
        stats.leader_bytes_in_quality.push(Quality::Exact);
        stats.leader_bytes_out_quality.push(Quality::Exact);
        stats.leader_replica_stats.push(ReplicaStat {
            timestamp: stats.timestamp,
            topic: at.topic.clone(),
            partition: at.partition,
            is_leader: true,
            in_reassignment: partition.is_moving(),
            under_replicated: partition.isr.len() < partition.replicas.len(),
            bytes_in_1_min_mean_rate: bytes_in(present),
            bytes_in_5_min_mean_rate: bytes_in(present),
            bytes_in_15_min_mean_rate: bytes_in(quarter),
            bytes_out_1_min_mean_rate: bytes_out(present),
            bytes_out_5_min_mean_rate: bytes_out(present),
            bytes_out_15_min_mean_rate: bytes_out(quarter),
            start_offset: signed((end - kept) / super::records::MEAN_RECORD),
            end_offset: signed(end / super::records::MEAN_RECORD),
            cpu_usage: 0.0,
            log_size_in_bytes: signed(kept),
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
