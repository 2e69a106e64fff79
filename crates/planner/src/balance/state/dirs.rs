//! Log dirs while a placement is being searched.

use super::{NOWHERE, State};
use crate::balance::cluster::{Cluster, DISK};

impl State<'_> {
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
