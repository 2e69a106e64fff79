//! Hosts while a placement is being searched.

use super::{NOWHERE, Racks, State};
use crate::balance::cluster::Cluster;

impl State<'_> {
    /// Whether a replica would share a host with another of its partition there, where some have to share a rack.
    pub(crate) fn shares_host(&self, replica: u32, broker: u32) -> bool {
        if !self.parts_hosts || !matches!(self.racks, Racks::Even(_)) {
            return false;
        }
        let row = self.cluster.row(self.part[replica as usize]);
        row.filter(|other| *other != replica as usize).any(|other| {
            let place = self.place[other];
            place != NOWHERE && self.cluster.same_host(place, broker)
        })
    }
}

/// Whether any rack has brokers on several hosts: elsewhere who shares the one shares the other.
pub(super) fn parts(cluster: &Cluster) -> bool {
    let host = |(broker, known): (u32, &crate::balance::Broker)| Some((known.rack, cluster.host(broker)?));
    let mut hosts: Vec<(u32, u32)> = (0..).zip(&cluster.brokers).filter_map(host).collect();
    hosts.sort_unstable();
    hosts.windows(2).any(|pair| pair[0].0 == pair[1].0 && pair[0].1 != pair[1].1)
}
