//! Disk while a placement is being searched: what brokers and their log dirs have room for.

use super::{NOWHERE, State};
use crate::balance::bands::scale;
use crate::balance::cluster::{Cluster, DISK};
use crate::balance::policy::{Goal, MILLION, Policy};

impl State<'_> {
    /// Whether a broker's disk stays below its hard limit with a replica more.
    pub(crate) fn has_disk(&self, replica: u32, to: u32) -> bool {
        let load = self.cluster.load[replica as usize][DISK];
        self.sum[to as usize][DISK] + load <= self.disk_limit[to as usize]
    }

    /// By how much a broker's disk is beyond its hard limit; less than nothing where it has room.
    pub(crate) fn beyond_disk(&self, broker: u32) -> i64 {
        self.sum[broker as usize][DISK] - self.disk_limit[broker as usize]
    }

    /// Whether a living broker's disk is beyond its hard limit.
    pub(crate) fn lacks_disk(&self, broker: u32) -> bool {
        self.cluster.brokers[broker as usize].alive && self.beyond_disk(broker) > 0
    }

    /// Whether a broker has a log dir with room for a replica: that in which it stood, where it is its own.
    pub(crate) fn has_dir(&self, replica: u32, to: u32) -> bool {
        let Some(Some(dirs)) = self.dirs.get(to as usize) else { return true };
        let load = self.cluster.load[replica as usize][DISK];
        if self.home(replica) != to {
            return dirs.takes(load);
        }
        self.cluster.stands_in(replica).is_none_or(|dir| dirs.fits(dir as usize, load))
    }

    /// Replicas of a broker that stand in one of its log dirs.
    pub(crate) fn in_dir(&self, broker: usize, dir: usize) -> impl Iterator<Item = u32> + '_ {
        let stands = move |replica: &u32| self.seat[*replica as usize] == dir as u32;
        self.on[broker].iter().copied().filter(stands)
    }

    /// Takes a replica out of its log dir, or puts it into one: its own where it comes home, else the roomiest.
    pub(super) fn seat(&mut self, replica: u32, broker: usize, sign: i64) {
        let Some(Some(dirs)) = self.dirs.get_mut(broker) else { return };
        let load = self.cluster.load[replica as usize][DISK];
        let seat = &mut self.seat[replica as usize];
        if sign > 0 {
            *seat = match self.cluster.place[replica as usize] as usize == broker {
                true => self.cluster.stands_in(replica).unwrap_or(NOWHERE),
                false => dirs.roomiest(load) as u32,
            };
        }
        if let Some(sum) = dirs.sum.get_mut(*seat as usize) {
            *sum += sign * load;
        }
    }
}

/// In which log dir of its broker each replica stands; nothing where no broker has several.
pub(super) fn seats(cluster: &Cluster) -> Vec<u32> {
    let replicas = if cluster.has_log_dirs() { cluster.place.len() } else { 0 };
    (0..replicas as u32).map(|replica| cluster.stands_in(replica).unwrap_or(NOWHERE)).collect()
}

/// What brokers' disks must stay below whatever else is at stake.
pub(super) fn limits(cluster: &Cluster, policy: &Policy) -> Vec<i64> {
    let hard = policy.goals.contains(&Goal::DiskCapacity) && policy.hard.contains(&Goal::DiskCapacity);
    let limit = |broker: usize| match cluster.capacity(broker, DISK) {
        Some(capacity) if hard => scale(capacity, policy.capacity[DISK], MILLION),
        _ => i64::MAX / 2,
    };
    (0..cluster.brokers.len()).map(limit).collect()
}
