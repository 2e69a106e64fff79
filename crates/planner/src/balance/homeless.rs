//! What keeps replicas offline: of goals only what a plan would be refused for, however far others are from met.

use super::cluster::{Cluster, DISK};
use super::dirs::DirRooms;
use super::policy::{Goal, Policy};
use super::score::{Meter, is_about_lists};
use super::solve::Change;
use super::steps::may_stand;
use super::why::{Step, Why, forbidden};

/// Where replicas could go that are offline.
pub(crate) struct Homes<'m, 'a> {
    cluster: &'a Cluster,
    policy: &'a Policy,
    meter: &'m Meter<'a>,
    /// By broker; nothing where disk bars nothing.
    rooms: Vec<Option<Room>>,
}

/// What a broker has left of disk, below its hard limit.
struct Room {
    left: i64,
    /// How far it was beyond its limit before the plan: so far it may be again.
    was_beyond: i64,
    dirs: DirRooms,
}

impl Room {
    /// How far beyond its limit a broker, or its log dirs, would be with a load more, if that bars the load.
    fn lacks(&self, load: i64) -> Option<i64> {
        let beyond = (load - self.left).max(0);
        let grows = self.dirs.growth(load);
        (beyond > self.was_beyond || grows > 0).then(|| beyond.max(self.dirs.beyond + grows))
    }
}

impl<'m, 'a> Homes<'m, 'a> {
    pub(crate) fn of(cluster: &'a Cluster, policy: &'a Policy, meter: &'m Meter<'a>) -> Homes<'m, 'a> {
        let at = policy.goals.iter().position(|goal| *goal == Goal::DiskCapacity);
        let room = |broker: u32| {
            let was_beyond = meter.disk_was_beyond(broker)?;
            let (_, high) = meter.limits_of(at?, broker)?;
            let left = high - meter.figure_of(broker, DISK);
            Some(Room { left, was_beyond, dirs: meter.dir_rooms(broker) })
        };
        let rooms = (0..cluster.brokers.len() as u32).map(room).collect();
        Homes { cluster, policy, meter, rooms }
    }

    /// The nearest place of a replica of a partition that is offline.
    pub(crate) fn nearest(&self, partition: u32) -> Option<Step> {
        let (list, leader) = self.meter.list(partition);
        let row = self.cluster.row(partition);
        let offline = |at: &usize| {
            let replica = row.start + at;
            self.cluster.place[replica] == list[*at] && self.cluster.homeless(replica as u32)
        };
        let mut change = Change { partition, replicas: list.to_vec(), leader };
        let mut nearest: Option<(_, Step)> = None;
        for at in (0..list.len()).filter(offline) {
            for (to, broker) in (0..).zip(&self.cluster.brokers) {
                if !broker.alive || list.contains(&to) || !may_stand(self.cluster, partition, at, to) {
                    continue;
                }
                change.replicas[at] = to;
                let why = self.why(&change, at);
                // How much disk is lacking tells more than who may not.
                let of_disk = matches!(why, Why::Possible | Why::Worse { goal: Goal::DiskCapacity, .. });
                let rank = (!of_disk, why.rank(self.policy));
                if nearest.as_ref().is_none_or(|(near, _)| rank < *near) {
                    nearest = Some((rank, Step { change: Some(change.clone()), why }));
                }
            }
            change.replicas[at] = list[at];
        }
        nearest.map(|(_, step)| step)
    }

    /// What keeps the replica of a position from going where a change has it.
    fn why(&self, change: &Change, at: usize) -> Why {
        let barred = forbidden(self.cluster, self.policy, self.meter, change);
        barred.or_else(|| self.barred(change, at)).unwrap_or(Why::Possible)
    }

    /// The foremost hard goal for which no plan may do that. What a broker takes off the dead it may be beyond other limits by, and
    /// racks that are shared for it bar nothing.
    fn barred(&self, change: &Change, at: usize) -> Option<Why> {
        let (partition, to) = (change.partition, change.replicas[at]);
        let hard = self.policy.goals.iter().filter(|goal| self.policy.hard.contains(goal));
        hard.copied().find_map(|goal| match goal {
            Goal::DiskCapacity => {
                let by = self.rooms[to as usize].as_ref()?.lacks(self.cluster.loads(partition)[at][DISK])?;
                Some(Why::Worse { goal, broker: Some(to), by })
            }
            Goal::MinTopicLeaders if change.leader as usize == at => {
                let from = self.meter.list(partition).0[at];
                let by = self.meter.lacks_without(partition, from)?;
                Some(Why::Worse { goal, broker: Some(from), by: -i64::from(by) })
            }
            _ if is_about_lists(goal) && self.meter.harms_list(goal, change) => {
                let by =
                    self.meter.wrong_after(goal, change) as i64 - self.meter.wrong(goal, partition) as i64;
                Some(Why::Worse { goal, broker: None, by })
            }
            _ => None,
        })
    }
}
