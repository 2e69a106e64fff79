//! What a simulated cluster is made of.

use std::time::Duration;

use cluster::{Capabilities, ClusterId};

/// How the simulated version of Kafka behaves, where versions and modes differ. Measured on real brokers:
/// `docs/kafka-facts.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What the version can do; among it, when a reassignment is complete.
    pub capabilities: Capabilities,
    /// How often a broker sends the controller (or ZooKeeper) a sign of life.
    pub heartbeat: Duration,
    /// A broker is dropped so long after its last sign of life.
    pub session: Duration,
    /// Whether the controller keeps eligible leader replicas (KIP-966: feature `eligible.leader.replicas.version`, on in
    /// clusters that Kafka 4.1 or later has formatted). Then a partition's in-sync replicas can become none.
    pub eligible_leaders: bool,
    /// Whether a reassignment is refused that changes the number of replicas, when the client asks for that; crate
    /// `kafka` does (4.1 and later).
    pub keeps_factor: bool,
    /// Whether brokers tell which others are registered but fenced (4.0 and later).
    pub tells_fenced: bool,
    /// A follower that has not caught up for so long leaves the in-sync replicas (`replica.lag.time.max.ms`).
    pub lag_limit: Duration,
    /// From the start of a broker's process to its registration.
    pub start_up: Duration,
    /// How often the controller gives leadership back to preferred leaders (`auto.leader.rebalance.enable`).
    pub leader_rebalance: Option<Duration>,
}

impl Rules {
    /// Kafka 4.3 in KRaft mode.
    pub fn kraft_4_3() -> Self {
        Self {
            capabilities: Capabilities { kraft: true, completes_with_dead_targets: true },
            heartbeat: Duration::from_secs(2),
            session: Duration::from_secs(9),
            eligible_leaders: true,
            keeps_factor: true,
            tells_fenced: true,
            lag_limit: Duration::from_secs(30),
            start_up: Duration::from_secs(4),
            leader_rebalance: Some(Duration::from_secs(300)),
        }
    }

    /// Kafka 3.9 in KRaft mode.
    pub fn kraft_3_9() -> Self {
        Self {
            capabilities: Capabilities { kraft: true, completes_with_dead_targets: false },
            eligible_leaders: false,
            keeps_factor: false,
            tells_fenced: false,
            ..Self::kraft_4_3()
        }
    }

    /// Kafka 3.9 with ZooKeeper and a session time-out of 6 s.
    pub fn zookeeper_3_9() -> Self {
        Self {
            capabilities: Capabilities { kraft: false, completes_with_dead_targets: false },
            session: Duration::from_secs(6),
            ..Self::kraft_3_9()
        }
    }
}

/// What a broker's host can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hardware {
    /// Bytes per second that the network brings in.
    pub nic_in: u64,
    /// Bytes per second that the network takes out.
    pub nic_out: u64,
    /// Bytes per second that the disks can write.
    pub disk_rate: u64,
    /// Number of log directories, each on a volume of its own.
    pub dirs: u8,
    /// Size of each volume in bytes.
    pub dir_bytes: u64,
}

impl Default for Hardware {
    /// 1 Gbit/s each way, and one SSD of 1 TB.
    fn default() -> Self {
        Self {
            nic_in: 125_000_000,
            nic_out: 125_000_000,
            disk_rate: 400_000_000,
            dirs: 1,
            dir_bytes: 1_000_000_000_000,
        }
    }
}

/// How much is produced and consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes per second that are produced to a partition on average over a day. The seed makes each partition differ
    /// from it by up to a half.
    pub mean_bytes_in: u64,
    /// Bytes consumed for each 1,000 bytes that are produced.
    pub consumed_permille: u32,
    /// So many of 1,000 partitions are hot: they get ten times as much.
    pub hot_permille: u32,
}

/// The traffic of a day, hour by hour, in thousandths of the mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DailyCurve(pub [u16; 24]);

impl DailyCurve {
    /// The same at every hour.
    pub const FLAT: Self = Self([1000; 24]);

    /// A service whose users sleep: least at four in the morning, most in the evening. The mean is 1,000.
    pub const CONSUMERS: Self = Self([
        700, 600, 500, 450, 400, 450, 550, 700, 850, 950, 1050, 1100, 1150, 1150, 1150, 1200, 1250, 1350,
        1450, 1550, 1600, 1500, 1300, 1050,
    ]);

    const HOUR: u64 = 3_600_000;

    /// The factor at `ms` milliseconds after the beginning, in thousandths.
    pub fn permille(&self, ms: u64) -> u64 {
        u64::from(self.0[usize::try_from(ms / Self::HOUR % 24).unwrap_or(0)])
    }
}

/// The sums of a daily curve, so that they need not be added up each time.
#[derive(Clone, Debug)]
pub(crate) struct CurveSums {
    curve: DailyCurve,
    /// The sum of the factors of all hours before each, and of the whole day.
    before: [u64; 25],
}

impl CurveSums {
    pub(crate) fn new(curve: DailyCurve) -> Self {
        let mut before = [0; 25];
        for (hour, permille) in curve.0.iter().enumerate() {
            before[hour + 1] = before[hour] + u64::from(*permille);
        }
        Self { curve, before }
    }

    /// See [`DailyCurve::permille`].
    pub(crate) fn permille(&self, ms: u64) -> u64 {
        self.curve.permille(ms)
    }

    /// The sum of the factors over the milliseconds from the beginning to `ms`. Bytes of a rate follow from the
    /// difference of two sums, so that nothing has to be counted while nothing happens.
    pub(crate) fn sum(&self, ms: u64) -> u64 {
        let hours = ms / DailyCurve::HOUR;
        let today = self.before[usize::try_from(hours % 24).unwrap_or(0)];
        let whole = (hours / 24 * self.before[24] + today) * DailyCurve::HOUR;
        whole + ms % DailyCurve::HOUR * self.curve.permille(ms)
    }
}

/// What a world is made of beside its brokers and partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Everything that is left to chance follows from it.
    pub seed: u64,
    /// The cluster's id.
    pub cluster_id: ClusterId,
    /// The version of Kafka.
    pub rules: Rules,
    /// The brokers' hosts.
    pub hardware: Hardware,
    /// Traffic of all topics but the internal ones and those of DoctorKafka itself.
    pub traffic: Option<Traffic>,
    /// Its course over a day.
    pub curve: DailyCurve,
    /// `min.insync.replicas` of topics that do not set it.
    pub min_in_sync: usize,
    /// Partitions keep at most so many bytes, unless their topic sets `retention.bytes`.
    pub retention_bytes: u64,
    /// Bytes of a partition for which the cluster's text gives none.
    pub partition_bytes: u64,
    /// The moment at which the world begins, in milliseconds since 1970. At midnight, so that the daily curve begins
    /// with its first hour.
    pub begins_ms: i64,
    /// Where the agents report to, and how often; `None` for a cluster without agents.
    pub agents: Option<Agents>,
}

/// The agents on the brokers' hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agents {
    /// The topic that they report to.
    pub topic: String,
    /// How often each of them reports.
    pub interval: Duration,
}

impl Default for Settings {
    /// A cluster of Kafka 4.3 without traffic and agents, that begins on 1 January 2026.
    fn default() -> Self {
        Self {
            seed: 0,
            cluster_id: ClusterId("sim".into()),
            rules: Rules::kraft_4_3(),
            hardware: Hardware::default(),
            traffic: None,
            curve: DailyCurve::FLAT,
            min_in_sync: 1,
            retention_bytes: 10 << 30,
            partition_bytes: 1 << 20,
            begins_ms: 1_767_225_600_000,
            agents: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_of_consumers_has_the_mean_it_says() {
        let sum: u64 = DailyCurve::CONSUMERS.0.iter().map(|permille| u64::from(*permille)).sum();
        assert_eq!(sum, 24_000);
    }

    #[test]
    fn the_sum_of_the_curve_is_that_of_its_milliseconds() {
        let curve = CurveSums::new(DailyCurve::CONSUMERS);
        for ms in [0, 1, 3_599_999, 3_600_000, 86_400_000, 200_000_123] {
            assert_eq!(curve.sum(ms + 1) - curve.sum(ms), curve.permille(ms), "at {ms}");
        }
        assert_eq!(curve.sum(2 * 86_400_000), 2 * 86_400_000 * 1000);
    }
}
