//! Log dirs of brokers that have several, and which replica stands in which.

use super::{Builder, Cluster, ClusterError, checked};

/// The replica stands in no log dir that is known.
const UNKNOWN: u8 = u8::MAX;

/// The log dirs of a cluster. Takes no memory where no broker has several.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct LogDirs {
    /// By broker the capacities of its dirs. Brokers with one, and those behind the last with several, have none here.
    capacity: Vec<Vec<i64>>,
    /// By replica the dir in which it stands.
    stands: Vec<u8>,
}

impl LogDirs {
    /// Forgets where replicas stand that leave their brokers.
    pub(super) fn leave(&mut self, homes: &[u32], places: &[u32]) {
        for (stands, (home, place)) in self.stands.iter_mut().zip(homes.iter().zip(places)) {
            if home != place {
                *stands = UNKNOWN;
            }
        }
    }

    /// There are so many replicas in all.
    pub(super) fn end(&mut self, replicas: usize) {
        if !self.capacity.is_empty() {
            self.stands.resize(replicas, UNKNOWN);
        }
    }
}

impl Cluster {
    /// Capacities of a broker's log dirs that have not failed, in the unit of disk. Nothing where it has but one, or they are not
    /// known.
    pub fn log_dirs(&self, broker: u32) -> &[i64] {
        self.log_dirs.capacity.get(broker as usize).map_or(&[], Vec::as_slice)
    }

    /// In which of its broker's [log dirs](Self::log_dirs) a replica stands, as far as known. What is [offline](Self::offline) stands in
    /// none of them.
    pub fn log_dir(&self, partition: u32, position: u32) -> Option<u32> {
        self.stands_in(self.start[partition as usize] + position)
    }

    /// Whether any broker has several log dirs.
    pub fn has_log_dirs(&self) -> bool {
        !self.log_dirs.capacity.is_empty()
    }

    /// [`log_dir`](Self::log_dir) by the place in the flat columns.
    pub(crate) fn stands_in(&self, replica: u32) -> Option<u32> {
        let dirs = self.log_dirs(self.place[replica as usize]).len();
        let stands = u32::from(*self.log_dirs.stands.get(replica as usize)?);
        (stands < dirs as u32 && !self.failed(replica)).then_some(stands)
    }

    /// Says in which log dir of its broker a replica has come to stand.
    pub(crate) fn put_in(&mut self, replica: u32, dir: u32) {
        if let Some(stands) = self.log_dirs.stands.get_mut(replica as usize) {
            *stands = u8::try_from(dir).unwrap_or(UNKNOWN);
        }
    }
}

impl Builder {
    /// Says which log dirs a broker has that have not failed: their capacities, in the unit of disk. One alone is the broker's disk,
    /// and nothing is noted. Where each replica stands is said by [`stands_in`](Self::stands_in).
    ///
    /// # Errors
    /// [`ClusterError::BrokerOutOfRange`]; [`ClusterError::LoadOutOfRange`] where a capacity is none;
    /// [`ClusterError::TooManyOrdinals`] beyond 254 dirs.
    pub fn log_dirs(&mut self, broker: u32, capacities: &[i64]) -> Result<(), ClusterError> {
        if broker as usize >= self.cluster.brokers.len() {
            return Err(ClusterError::BrokerOutOfRange { broker });
        }
        if capacities.len() >= usize::from(UNKNOWN) {
            return Err(ClusterError::TooManyOrdinals);
        }
        let mut sum = 0;
        for capacity in capacities {
            sum = checked(sum + checked(*capacity)?)?;
            if *capacity == 0 {
                return Err(ClusterError::LoadOutOfRange);
            }
        }
        let known = &mut self.cluster.log_dirs.capacity;
        if capacities.len() > 1 {
            known.resize(known.len().max(broker as usize + 1), Vec::new());
        }
        if let Some(dirs) = known.get_mut(broker as usize) {
            *dirs = if capacities.len() > 1 { capacities.to_vec() } else { Vec::new() };
        }
        Ok(())
    }

    /// Says in which log dir of its broker a replica stands, by the dir's place in the list of [`log_dirs`](Self::log_dirs).
    ///
    /// # Errors
    /// [`ClusterError::ReplicaOutOfRange`], [`ClusterError::LogDirOutOfRange`].
    pub fn stands_in(&mut self, partition: u32, position: u32, dir: u32) -> Result<(), ClusterError> {
        let replica = self.replica(partition, position)?;
        let cluster = &mut self.cluster;
        let broker = cluster.place[replica];
        if dir as usize >= cluster.log_dirs(broker).len() {
            return Err(ClusterError::LogDirOutOfRange { broker });
        }
        cluster.log_dirs.end(cluster.place.len());
        cluster.put_in(replica as u32, dir);
        Ok(())
    }
}
