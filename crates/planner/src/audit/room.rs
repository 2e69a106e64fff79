//! What is left on each broker under its limits, once everything that a plan places is there.

use std::collections::BTreeMap;

use crate::limits::Limits;
use crate::problem::{BrokerOrdinal, Network, PartitionOrdinal, Problem};

/// What one replica asks of its target.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demand {
    pub(super) disk: i128,
    pub(super) network_in: i128,
    pub(super) network_out: i128,
}

impl Demand {
    pub(super) fn of(problem: &Problem, partition: PartitionOrdinal, position: u16) -> Demand {
        let writes = i128::from(problem.bytes_in(partition).unwrap_or(0));
        let reads = i128::from(problem.bytes_out(partition).unwrap_or(0));
        let others = problem.replicas(partition).len() as i128 - 1;
        Demand {
            disk: i128::from(problem.size(partition).unwrap_or(0)),
            network_in: writes,
            // The preferred leader serves consumers and every follower.
            network_out: if position == 0 { reads + writes * others } else { 0 },
        }
    }
}

/// Signed: below nothing means over the limit. None: unknown, and so without limit.
#[derive(Debug)]
pub(super) struct Room {
    disk: Vec<Option<i128>>,
    network_in: Vec<Option<i128>>,
    network_out: Vec<Option<i128>>,
}

impl Room {
    pub(super) fn after(
        problem: &Problem,
        limits: &Limits,
        placed: &BTreeMap<(PartitionOrdinal, u16), BrokerOrdinal>,
    ) -> Room {
        let network_percent = 100 - i128::from(limits.network_headroom_percent.min(100));
        let network_left = |network: Option<Network>| {
            network.map(|n| i128::from(n.capacity) * network_percent / 100 - i128::from(n.used))
        };
        let brokers = 0..problem.brokers();
        let mut room = Room {
            disk: brokers
                .clone()
                .map(|broker| tightest(problem, limits, broker).map(|(left, _)| left))
                .collect(),
            network_in: brokers.clone().map(|broker| network_left(problem.network_in(broker))).collect(),
            network_out: brokers.map(|broker| network_left(problem.network_out(broker))).collect(),
        };
        for ((partition, position), to) in placed {
            let demand = Demand::of(problem, *partition, *position);
            charge(&mut room.disk[*to as usize], demand.disk);
            charge(&mut room.network_in[*to as usize], demand.network_in);
            charge(&mut room.network_out[*to as usize], demand.network_out);
            if let Some(leader) = problem.leader(*partition).filter(|leader| problem.state(*leader).is_up()) {
                charge(&mut room.network_out[leader as usize], demand.network_in);
            }
        }
        room
    }

    pub(super) fn disk_left(&self, broker: BrokerOrdinal) -> Option<i128> {
        self.disk[broker as usize]
    }

    pub(super) fn network_in_left(&self, broker: BrokerOrdinal) -> Option<i128> {
        self.network_in[broker as usize]
    }

    pub(super) fn network_out_left(&self, broker: BrokerOrdinal) -> Option<i128> {
        self.network_out[broker as usize]
    }

    pub(super) fn disk_has(&self, broker: BrokerOrdinal, demand: &Demand) -> bool {
        self.disk_left(broker).is_none_or(|left| left >= demand.disk)
    }

    pub(super) fn network_has(&self, broker: BrokerOrdinal, demand: &Demand) -> bool {
        self.network_in_left(broker).is_none_or(|left| left >= demand.network_in)
            && self.network_out_left(broker).is_none_or(|left| left >= demand.network_out)
    }

    pub(super) fn has(&self, broker: BrokerOrdinal, demand: &Demand) -> bool {
        self.disk_has(broker, demand) && self.network_has(broker, demand)
    }
}

fn charge(left: &mut Option<i128>, demand: i128) {
    if let Some(left) = left {
        *left -= demand;
    }
}

/// Bytes left below the watermark in the log dir that has fewest, and the index of that dir.
pub(super) fn tightest(problem: &Problem, limits: &Limits, broker: BrokerOrdinal) -> Option<(i128, usize)> {
    let percent = i128::from(limits.disk_watermark_percent.min(100));
    let dirs = problem.log_dirs(broker).iter().enumerate();
    dirs.map(|(at, dir)| (i128::from(dir.total) * percent / 100 - i128::from(dir.used), at)).min()
}
