//! What each broker has, what it may have, and what a plan has reserved so far.

use crate::limits::Limits;
use crate::plan::TargetFigures;
use crate::problem::{BrokerOrdinal, PartitionOrdinal, Problem, TopicOrdinal};

/// Steps of [`crate::Score::load_band`] from empty to full: 5 % each.
const BANDS: u64 = 20;

/// What a replica takes of its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) disk: u64,
    pub(crate) network_in: u64,
    pub(crate) network_out: u64,
    /// What it takes of the partition's leader, which feeds it.
    pub(crate) leader_out: u64,
}

impl Need {
    /// A replica takes the partition's size, and inbound what producers write. One at position 0 leads once it is
    /// in sync, and then sends what consumers read and feeds every other replica. What is unknown counts as nothing.
    pub(crate) fn of(problem: &Problem, partition: PartitionOrdinal, position: u16) -> Need {
        let rate = problem.bytes_in(partition).unwrap_or(0);
        let followers = problem.replicas(partition).len() as u64 - 1;
        let as_leader =
            problem.bytes_out(partition).unwrap_or(0).saturating_add(rate.saturating_mul(followers));
        Need {
            disk: problem.size(partition).unwrap_or(0),
            network_in: rate,
            network_out: if position == 0 { as_leader } else { 0 },
            leader_out: rate,
        }
    }
}

/// One resource of one broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Gauge {
    known: bool,
    used: u64,
    capacity: u64,
    limit: u64,
    band: u32,
    /// The lowest use that is in a higher band.
    band_end: u64,
}

impl Gauge {
    fn new(used: u64, capacity: u64, percent: u64) -> Gauge {
        let mut gauge =
            Gauge { known: true, used, capacity, limit: capacity * percent / 100, band: 0, band_end: 0 };
        gauge.set(used);
        gauge
    }

    fn set(&mut self, used: u64) {
        self.used = used;
        self.band = self.band_of(used);
        self.band_end = ((u64::from(self.band) + 1) * self.capacity).div_ceil(BANDS);
    }

    fn band_of(&self, used: u64) -> u32 {
        // An empty capacity is full. 16 times over is as bad as it gets: bounded, so that no figure overflows.
        match self.capacity {
            0 => BANDS as u32,
            capacity => (used.saturating_mul(BANDS) / capacity).min(16 * BANDS) as u32,
        }
    }

    fn fits(&self, need: u64) -> bool {
        !self.known || self.used.saturating_add(need) <= self.limit
    }

    fn band_with(&self, need: u64) -> u32 {
        let used = self.used.saturating_add(need);
        if !self.known || used < self.band_end { self.band } else { self.band_of(used) }
    }

    fn take(&mut self, need: u64) {
        if self.known {
            self.set(self.used.saturating_add(need));
        }
    }

    fn give_back(&mut self, need: u64) {
        if self.known {
            self.set(self.used.saturating_sub(need));
        }
    }

    fn permille(&self) -> Option<u32> {
        let permille = match self.capacity {
            0 => 1000,
            capacity => self.used.saturating_mul(1000) / capacity,
        };
        self.known.then(|| u32::try_from(permille).unwrap_or(u32::MAX))
    }
}

/// What kept a broker from taking a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Disk,
    Network,
}

#[derive(Debug, Clone, Default)]
struct Account {
    disk: Gauge,
    network_in: Gauge,
    network_out: Gauge,
    replicas: u32,
    arrivals: u32,
}

/// The accounts of all brokers, and for each topic that a plan touches its replicas per broker.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    accounts: Vec<Account>,
    topic_row: Vec<u32>,
    rows: Vec<Vec<(BrokerOrdinal, u32)>>,
}

impl Ledger {
    pub(crate) fn new(problem: &Problem, limits: &Limits) -> Ledger {
        let accounts = (0..problem.brokers()).map(|broker| Account::of(problem, limits, broker)).collect();
        let (topic_row, rows) = count_topics(problem);
        Ledger { accounts, topic_row, rows }
    }

    pub(crate) fn refuses(&self, broker: BrokerOrdinal, need: &Need) -> Option<Refusal> {
        let account = &self.accounts[broker as usize];
        if !account.disk.fits(need.disk) {
            Some(Refusal::Disk)
        } else if !account.network_in.fits(need.network_in) || !account.network_out.fits(need.network_out) {
            Some(Refusal::Network)
        } else {
            None
        }
    }

    /// Whether `broker` could take `need` if it gave back `freed`.
    pub(crate) fn fits_in_exchange(&self, broker: BrokerOrdinal, need: &Need, freed: &Need) -> bool {
        let account = &self.accounts[broker as usize];
        let fits = |gauge: &Gauge, need: u64, freed: u64| {
            !gauge.known || gauge.used.saturating_add(need) <= gauge.limit.saturating_add(freed)
        };
        fits(&account.disk, need.disk, freed.disk)
            && fits(&account.network_in, need.network_in, freed.network_in)
            && fits(&account.network_out, need.network_out, freed.network_out)
    }

    /// Whether a leader can feed one more follower. One whose rate is unknown or nothing is always fed.
    pub(crate) fn can_feed(&self, leader: BrokerOrdinal, need: &Need) -> bool {
        need.leader_out == 0 || self.accounts[leader as usize].network_out.fits(need.leader_out)
    }

    pub(crate) fn feed(&mut self, leader: BrokerOrdinal, need: &Need) {
        self.accounts[leader as usize].network_out.take(need.leader_out);
    }

    pub(crate) fn stop_feeding(&mut self, leader: BrokerOrdinal, need: &Need) {
        self.accounts[leader as usize].network_out.give_back(need.leader_out);
    }

    pub(crate) fn place(&mut self, broker: BrokerOrdinal, topic: TopicOrdinal, need: &Need) {
        let account = &mut self.accounts[broker as usize];
        account.disk.take(need.disk);
        account.network_in.take(need.network_in);
        account.network_out.take(need.network_out);
        account.replicas += 1;
        account.arrivals += 1;
        let row = &mut self.rows[self.topic_row[topic as usize] as usize];
        match row.binary_search_by_key(&broker, |(holder, _)| *holder) {
            Ok(at) => row[at].1 += 1,
            Err(at) => row.insert(at, (broker, 1)),
        }
    }

    pub(crate) fn remove(&mut self, broker: BrokerOrdinal, topic: TopicOrdinal, need: &Need) {
        let account = &mut self.accounts[broker as usize];
        account.disk.give_back(need.disk);
        account.network_in.give_back(need.network_in);
        account.network_out.give_back(need.network_out);
        account.replicas -= 1;
        account.arrivals -= 1;
        let row = &mut self.rows[self.topic_row[topic as usize] as usize];
        if let Ok(at) = row.binary_search_by_key(&broker, |(holder, _)| *holder) {
            row[at].1 -= 1;
        }
    }

    pub(crate) fn replicas(&self, broker: BrokerOrdinal) -> u32 {
        self.accounts[broker as usize].replicas
    }

    pub(crate) fn arrivals(&self, broker: BrokerOrdinal) -> u32 {
        self.accounts[broker as usize].arrivals
    }

    /// Brokers that hold replicas of a topic that has a replica to be replaced, with their number; by broker.
    pub(crate) fn topic_replicas(&self, topic: TopicOrdinal) -> &[(BrokerOrdinal, u32)] {
        &self.rows[self.topic_row[topic as usize] as usize]
    }

    pub(crate) fn load_band(&self, broker: BrokerOrdinal, need: &Need) -> u32 {
        let account = &self.accounts[broker as usize];
        let disk = account.disk.band_with(need.disk);
        let network_in = account.network_in.band_with(need.network_in);
        disk.max(network_in).max(account.network_out.band_with(need.network_out))
    }

    pub(crate) fn figures(&self, broker: BrokerOrdinal, topic: TopicOrdinal) -> TargetFigures {
        let account = &self.accounts[broker as usize];
        let row = self.topic_replicas(topic);
        TargetFigures {
            replicas: account.replicas,
            topic_replicas: row
                .binary_search_by_key(&broker, |(holder, _)| *holder)
                .map_or(0, |at| row[at].1),
            arrivals: account.arrivals,
            disk_permille: account.disk.permille(),
            network_in_permille: account.network_in.permille(),
            network_out_permille: account.network_out.permille(),
        }
    }
}

impl Account {
    fn of(problem: &Problem, limits: &Limits, broker: BrokerOrdinal) -> Account {
        let watermark = u64::from(limits.disk_watermark_percent.min(100));
        let network = 100 - u64::from(limits.network_headroom_percent.min(100));
        // The dir with the least left. What is sent counts against it in full, so it stays the tightest.
        let dirs = problem.log_dirs(broker).iter().map(|dir| Gauge::new(dir.used, dir.total, watermark));
        let disk = dirs.min_by_key(|gauge| i128::from(gauge.limit) - i128::from(gauge.used));
        let gauge = |network_use: Option<crate::problem::Network>| {
            network_use.map_or_else(Gauge::default, |n| Gauge::new(n.used, n.capacity, network))
        };
        Account {
            disk: disk.unwrap_or_default(),
            network_in: gauge(problem.network_in(broker)),
            network_out: gauge(problem.network_out(broker)),
            replicas: problem.replicas_on(broker),
            arrivals: 0,
        }
    }
}

/// For each topic with a replica to be replaced: a row of (broker, replicas), by broker. Rows hold only brokers that have
/// some, so that they never take more than the replicas they count.
fn count_topics(problem: &Problem) -> (Vec<u32>, Vec<Vec<(BrokerOrdinal, u32)>>) {
    const NO_ROW: u32 = u32::MAX;
    let mut topic_row = vec![NO_ROW; problem.topics() as usize];
    let mut rows = 0u32;
    for partition in problem.wanted() {
        let row = &mut topic_row[problem.topic(*partition) as usize];
        if *row == NO_ROW {
            *row = rows;
            rows += 1;
        }
    }
    // Partitions by row: a counting sort.
    let row_of = |partition: PartitionOrdinal| topic_row[problem.topic(partition) as usize];
    let mut start = vec![0u32; rows as usize + 1];
    for partition in (0..problem.partitions()).filter(|partition| row_of(*partition) != NO_ROW) {
        start[row_of(partition) as usize + 1] += 1;
    }
    for row in 0..rows as usize {
        start[row + 1] += start[row];
    }
    let mut sorted = vec![0u32; start[rows as usize] as usize];
    let mut next = start.clone();
    for partition in (0..problem.partitions()).filter(|partition| row_of(*partition) != NO_ROW) {
        let at = &mut next[row_of(partition) as usize];
        sorted[*at as usize] = partition;
        *at += 1;
    }
    let mut counts = vec![0u32; problem.brokers() as usize];
    let mut touched: Vec<BrokerOrdinal> = Vec::new();
    let mut table = Vec::with_capacity(rows as usize);
    for row in 0..rows as usize {
        for partition in &sorted[start[row] as usize..start[row + 1] as usize] {
            for broker in problem.replicas(*partition) {
                let count = &mut counts[*broker as usize];
                if *count == 0 {
                    touched.push(*broker);
                }
                *count += 1;
            }
        }
        touched.sort_unstable();
        table.push(touched.drain(..).map(|b| (b, std::mem::take(&mut counts[b as usize]))).collect());
    }
    (topic_row, table)
}
