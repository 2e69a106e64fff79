//! What a display shows of the brokers.

use cluster::BrokerId;

use super::World;
use super::broker::Process;

/// One broker, as those see it who look at the hosts themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerPanel {
    /// The broker.
    pub id: BrokerId,
    /// Its rack, where there are racks.
    pub rack: Option<String>,
    /// What its process does.
    pub process: ProcessState,
    /// Whether the controller holds it to be alive.
    pub live: bool,
    /// Bytes per second that come in beside what replicas fetch that catch up.
    pub bytes_in: u64,
    /// Bytes per second that go out beside what replicas fetch that catch up.
    pub bytes_out: u64,
    /// Bytes per second that its network takes each way, the smaller one.
    pub network: u64,
    /// Bytes that are used of its volumes.
    pub disk_used: u64,
    /// The size of its volumes in bytes.
    pub disk_total: u64,
    /// Replicas that it holds.
    pub replicas: usize,
    /// Replicas of it that lack something.
    pub behind: usize,
    /// Partitions that it leads.
    pub leaders: usize,
}

/// What a broker's process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessState {
    /// It works.
    Runs,
    /// It stands still.
    Stopped,
    /// It is on its way up.
    Starts,
    /// There is none.
    Down,
}

impl World {
    /// All brokers, by id.
    pub fn panels(&self) -> Vec<BrokerPanel> {
        let mut leaders = vec![0; self.brokers.len()];
        for leader in self.partitions.iter().filter_map(|partition| partition.leader) {
            leaders[leader] += 1;
        }
        let mut behind = vec![0; self.brokers.len()];
        for (_, broker) in self.behind.keys() {
            behind[*broker] += 1;
        }
        self.by_id.values().map(|at| self.panel(*at, leaders[*at], behind[*at])).collect()
    }

    fn panel(&self, at: usize, leaders: usize, behind: usize) -> BrokerPanel {
        let it = &self.brokers[at];
        let runs = it.process == Process::Runs;
        let load = self.loads.get(at).copied().filter(|_| runs).unwrap_or_default();
        BrokerPanel {
            id: it.broker.id,
            rack: it.broker.rack.as_ref().map(ToString::to_string),
            process: match it.process {
                Process::Runs => ProcessState::Runs,
                Process::Stopped => ProcessState::Stopped,
                Process::Starts => ProcessState::Starts,
                Process::Down => ProcessState::Down,
            },
            live: it.live,
            bytes_in: load.comes_in(),
            bytes_out: load.goes_out(),
            network: it.nic_in.min(it.nic_out),
            disk_used: self.used(at).iter().sum(),
            disk_total: it.dirs.iter().map(|dir| dir.total).sum(),
            replicas: it.partitions.len(),
            behind,
            leaders,
        }
    }
}
