//! What stands in the log dirs of brokers that have several, and to which of them arrivals go.
//!
//! A replica that stays stays in its dir, and one that an earlier round has sent there where that sent it. Other arrivals are packed
//! anew for every placement, so that it is the placement alone that decides how it is judged, whatever steps led to it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::bands::{Band, scale};
use super::cluster::{Cluster, DISK};
use super::policy::{Goal, MILLION, Policy};

/// The log dir of each replica that comes to a broker with several: by partition and position, the dir's place in the list of
/// [`Cluster::log_dirs`].
pub type Seats = BTreeMap<(u32, u32), u32>;

/// What limits nothing.
const NONE: i64 = i64::MAX / 4;
/// As many ways to pack arrivals are looked at one by one, where simple ones do not do.
const WAYS: usize = 1 << 12;

/// The log dirs of one broker.
#[derive(Debug, Clone)]
pub(crate) struct BrokerDirs {
    capacity: Vec<i64>,
    /// What each may hold, inclusive.
    limit: Vec<i64>,
    /// What each holds.
    pub(crate) sum: Vec<i64>,
}

/// The log dirs of each living broker that has several, with what they hold as things stand. No entries at all where no broker has.
///
/// Limits are those of [`Goal::DiskCapacity`] less so many millionths; nothing is limited where that is none of the goals.
pub(crate) fn by_broker(cluster: &Cluster, policy: &Policy, margin: i64) -> Vec<Option<BrokerDirs>> {
    if !cluster.has_log_dirs() {
        return Vec::new();
    }
    let judged = policy.goals.contains(&Goal::DiskCapacity);
    let limit = |capacity: &i64| {
        let most = scale(*capacity, policy.capacity[DISK], MILLION);
        if judged { most - scale(most, margin, MILLION) } else { NONE }
    };
    let of = |(ordinal, broker): (u32, &super::Broker)| {
        let capacity = cluster.log_dirs(ordinal);
        (broker.alive && !capacity.is_empty()).then(|| BrokerDirs {
            capacity: capacity.to_vec(),
            limit: capacity.iter().map(limit).collect(),
            sum: vec![0; capacity.len()],
        })
    };
    let mut all: Vec<Option<BrokerDirs>> = (0..).zip(&cluster.brokers).map(of).collect();
    for (replica, home) in (0..).zip(&cluster.place) {
        if let (Some(of), Some(dir)) = (&mut all[*home as usize], cluster.stands_in(replica)) {
            of.sum[dir as usize] += cluster.load[replica as usize][DISK];
        }
    }
    all
}

impl BrokerDirs {
    /// By how much a dir holds more than it may.
    pub(crate) fn beyond(&self, dir: usize) -> i64 {
        (self.sum[dir] - self.limit[dir]).max(0)
    }

    /// The same of all together.
    pub(crate) fn beyond_in_all(&self) -> i64 {
        (0..self.sum.len()).map(|dir| self.beyond(dir)).sum()
    }

    /// What all cost that are beyond their limits, as brokers' figures do outside their bands.
    pub(crate) fn cost(&self) -> i64 {
        let of = |dir: usize| Band::below(self.limit[dir], self.capacity[dir]).cost(self.sum[dir]);
        (0..self.sum.len()).map(of).sum()
    }

    /// Whether some dir has room for a load.
    pub(crate) fn takes(&self, load: i64) -> bool {
        (0..self.sum.len()).any(|dir| self.fits(dir, load))
    }

    pub(crate) fn fits(&self, dir: usize, load: i64) -> bool {
        self.sum[dir] + load <= self.limit[dir]
    }

    /// The dir that is filled least with a load more, of those that have room for it; where none has, the one that is least beyond.
    pub(crate) fn roomiest(&self, load: i64) -> usize {
        self.best(load, |one, other| {
            let filled = |this: usize, that: usize| {
                i128::from(self.sum[this] + load) * i128::from(self.capacity[that])
            };
            filled(one, other) < filled(other, one)
        })
    }

    /// The dir that has least room left with a load more, of those that have room for it: what is large finds room later.
    fn tightest(&self, load: i64) -> usize {
        self.best(load, |one, other| self.limit[one] - self.sum[one] < self.limit[other] - self.sum[other])
    }

    fn best(&self, load: i64, is_better: impl Fn(usize, usize) -> bool) -> usize {
        let room = |dir: usize| self.limit[dir] - self.sum[dir];
        let mut best = 0;
        for dir in 1..self.sum.len() {
            let better = match (self.fits(dir, load), self.fits(best, load)) {
                (true, true) => is_better(dir, best),
                (false, false) => room(dir) > room(best),
                (fits, _) => fits,
            };
            best = if better { dir } else { best };
        }
        best
    }
}

/// The log dirs of a placement that is judged.
pub(crate) struct Seating {
    of: Vec<Option<Seated>>,
    /// Broker and dir of replicas for which they are settled.
    held: Held,
}

/// What the log dirs of a broker have left below their limits.
#[derive(Debug, Default)]
pub(crate) struct DirRooms {
    left: Vec<i64>,
    /// What they are beyond them.
    pub(crate) beyond: i64,
}

impl DirRooms {
    /// By how much more they would be beyond their limits with a load more, in the dir where that is least.
    pub(crate) fn growth(&self, load: i64) -> i64 {
        let grows = |left: &i64| (load - left).max(0) - (-left).max(0);
        self.left.iter().map(grows).min().unwrap_or(0)
    }
}

/// By replica the broker and the log dir that it goes to.
pub(crate) type Held = BTreeMap<u32, (u32, u32)>;

/// What a broker's log dirs hold by a placement.
struct Seated {
    /// By how much each dir was beyond its limit.
    was: Vec<i64>,
    /// What stays in each, and what is settled to come.
    stays: BrokerDirs,
    /// The other arrivals, the largest first.
    arrivals: BTreeSet<(Reverse<i64>, u32)>,
    coming: i64,
    /// What dirs are beyond, and by how much more than they were, as it was weighed last.
    beyond: i64,
    worse: i64,
}

impl Seating {
    /// Nothing is counted yet. Where some arrivals go is settled already.
    pub(crate) fn of(cluster: &Cluster, policy: &Policy, held: Held) -> Seating {
        let empty = |dirs: BrokerDirs| Seated {
            was: (0..dirs.sum.len()).map(|dir| dirs.beyond(dir)).collect(),
            stays: BrokerDirs { sum: vec![0; dirs.sum.len()], ..dirs },
            arrivals: BTreeSet::new(),
            coming: 0,
            beyond: 0,
            worse: 0,
        };
        let of = by_broker(cluster, policy, 0).into_iter().map(|dirs| dirs.map(empty)).collect();
        Seating { of, held }
    }

    /// Adds a replica to what a broker holds, or takes it out.
    pub(crate) fn count(&mut self, cluster: &Cluster, at: (u32, u32), broker: u32, sign: i64) {
        let Some(Some(of)) = self.of.get_mut(broker as usize) else { return };
        let replica = cluster.row(at.0).start as u32 + at.1;
        let load = cluster.load[replica as usize][DISK];
        let settled = self.held.get(&replica).filter(|(to, _)| *to == broker);
        if cluster.place[replica as usize] != broker && settled.is_none() {
            of.coming += sign * load;
            let arrival = (Reverse(load), replica);
            let _ = if sign > 0 { of.arrivals.insert(arrival) } else { of.arrivals.remove(&arrival) };
            return;
        }
        let dir = settled.map_or_else(|| cluster.stands_in(replica), |(_, dir)| Some(*dir));
        if let Some(dir) = dir {
            of.stays.sum[dir as usize] += sign * load;
        }
    }

    /// Judges brokers anew after what they hold has changed.
    pub(crate) fn weigh(&mut self, cluster: &Cluster, brokers: &[u32]) {
        for broker in brokers {
            if let Some(Some(of)) = self.of.get_mut(*broker as usize) {
                (of.beyond, of.worse) = of.judged(cluster);
            }
        }
    }

    /// What a broker's dirs are beyond their limits.
    pub(crate) fn beyond(&self, broker: u32) -> i64 {
        self.of.get(broker as usize).and_then(Option::as_ref).map_or(0, |of| of.beyond)
    }

    /// How much farther a broker's dirs are beyond their limits than they were.
    pub(crate) fn worse(&self, broker: u32) -> i64 {
        self.of.get(broker as usize).and_then(Option::as_ref).map_or(0, |of| of.worse)
    }

    /// By how much more a broker's dirs would be beyond their limits with a load more, in the dir where that is least.
    pub(crate) fn growth(&self, cluster: &Cluster, broker: u32, load: i64) -> i64 {
        self.rooms(cluster, broker).growth(load)
    }

    /// What a broker's dirs have left.
    pub(crate) fn rooms(&self, cluster: &Cluster, broker: u32) -> DirRooms {
        let Some(Some(of)) = self.of.get(broker as usize) else { return DirRooms::default() };
        let packed = of.packed(cluster).0;
        let left = packed.limit.iter().zip(&packed.sum).map(|(limit, sum)| limit - sum).collect();
        DirRooms { left, beyond: packed.beyond_in_all() }
    }

    /// Which of a broker's dirs is farthest beyond its limit, and by how much.
    pub(crate) fn worst(&self, cluster: &Cluster, broker: u32) -> Option<(u32, i64)> {
        let packed = self.of.get(broker as usize)?.as_ref()?.packed(cluster).0;
        let by = |dir: u32| (packed.beyond(dir as usize), Reverse(dir));
        (0..packed.sum.len() as u32).map(by).max().map(|(by, Reverse(dir))| (dir, by))
    }

    /// The dirs of all arrivals of a placement.
    pub(crate) fn seats(&self, cluster: &Cluster, place: &[u32]) -> Held {
        let mut seats = self.held.clone();
        seats.retain(|replica, (broker, _)| place[*replica as usize] == *broker);
        for (broker, of) in (0..).zip(&self.of) {
            let Some(of) = of else { continue };
            for ((_, replica), dir) in of.arrivals.iter().zip(of.packed(cluster).1) {
                seats.insert(*replica, (broker, dir as u32));
            }
        }
        seats
    }
}

impl Seated {
    fn judged(&self, cluster: &Cluster) -> (i64, i64) {
        let of = |dirs: &BrokerDirs| (dirs.beyond_in_all(), self.worse_by(dirs));
        if self.is_easy() { of(&self.stays) } else { of(&self.packed(cluster).0) }
    }

    fn worse_by(&self, dirs: &BrokerDirs) -> i64 {
        (0..dirs.sum.len()).map(|dir| (dirs.beyond(dir) - self.was[dir]).max(0)).sum()
    }

    /// Whether arrivals find room without a look: as long as more is left than all dirs but one could lose to a remainder that is too
    /// small for the largest, one of them has room for the next.
    fn is_easy(&self) -> bool {
        let Some((Reverse(largest), _)) = self.arrivals.first() else { return true };
        let dirs = 0..self.stays.sum.len();
        let room = |dir: usize| i128::from((self.stays.limit[dir] - self.stays.sum[dir]).max(0));
        let lost = i128::from(*largest) * (dirs.len() as i128 - 1);
        dirs.map(room).sum::<i128>() - i128::from(self.coming) >= lost
    }

    /// What dirs hold with the arrivals, and the dir of each of those: so that no dir is beyond its limit for them, if that is found.
    fn packed(&self, cluster: &Cluster) -> (BrokerDirs, Vec<usize>) {
        let spread = self.packed_by(cluster, BrokerDirs::roomiest);
        let stays = self.stays.beyond_in_all();
        if spread.0.beyond_in_all() <= stays {
            return spread;
        }
        let tight = self.packed_by(cluster, BrokerDirs::tightest);
        if tight.0.beyond_in_all() <= stays {
            return tight;
        }
        // What was beyond may stay so; what was not may not come to be.
        let rank = |packed: &(BrokerDirs, Vec<usize>)| (self.worse_by(&packed.0), packed.0.beyond_in_all());
        let simple = if rank(&tight) < rank(&spread) { tight } else { spread };
        match self.best_of_all(cluster) {
            Some(best) if rank(&best) < rank(&simple) => best,
            _ => simple,
        }
    }

    fn packed_by(
        &self,
        cluster: &Cluster,
        choose: impl Fn(&BrokerDirs, i64) -> usize,
    ) -> (BrokerDirs, Vec<usize>) {
        let (mut dirs, mut chosen) = (self.stays.clone(), Vec::with_capacity(self.arrivals.len()));
        for (_, replica) in &self.arrivals {
            let load = cluster.load[*replica as usize][DISK];
            let dir = choose(&dirs, load);
            dirs.sum[dir] += load;
            chosen.push(dir);
        }
        (dirs, chosen)
    }

    /// The best way to pack arrivals, where the ways are few.
    fn best_of_all(&self, cluster: &Cluster) -> Option<(BrokerDirs, Vec<usize>)> {
        let (dirs, arrivals) = (self.stays.sum.len(), self.arrivals.len());
        let ways = dirs.checked_pow(arrivals as u32).filter(|ways| *ways <= WAYS)?;
        let way = |number: usize| {
            let left = std::cell::Cell::new(number);
            self.packed_by(cluster, |_, _| {
                let dir = left.get() % dirs;
                left.set(left.get() / dirs);
                dir
            })
        };
        (0..ways).map(way).min_by_key(|(packed, _)| (self.worse_by(packed), packed.beyond_in_all()))
    }
}
