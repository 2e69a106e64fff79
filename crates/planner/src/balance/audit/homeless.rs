//! Whether replicas that stay offline are kept there by what is said: by what no plan may do, and by the least of it.

use super::figures::{Placement, lacks_leaders, wrong};
use super::limits::{Judged, judged, over};
use super::steps::Ground;
use crate::balance::cluster::{Cluster, DISK};
use crate::balance::policy::{Goal, Policy};
use crate::balance::solve::Change;
use crate::balance::stuck::{Hindrance, Stuck};
use crate::balance::why::Why;

/// What replicas that come off the dead are held to: where things stood, and where a plan leads to.
pub(super) struct Homes<'p> {
    before: &'p Placement<'p>,
    after: &'p Placement<'p>,
    policy: &'p Policy,
    disk: Option<Judged>,
}

impl<'p> Homes<'p> {
    pub(super) fn of(
        (before, after): (&'p Placement<'p>, &'p Placement<'p>),
        policy: &'p Policy,
    ) -> Homes<'p> {
        let held = |goal: &Goal| policy.goals.contains(goal) && policy.hard.contains(goal);
        let disk = Some(Goal::DiskCapacity).filter(held).and_then(|goal| judged(after, policy, goal));
        Homes { before, after, policy, disk }
    }

    fn cluster(&self) -> &'p Cluster {
        self.after.cluster()
    }

    /// Whether what is said of a partition that keeps replicas offline is true. Where there is no room, it has to be said who comes
    /// nearest.
    pub(super) fn keep(&self, ground: &Ground<'_>, stuck: &Stuck) -> bool {
        let Some(step) = &stuck.nearest else { return stuck.why != Hindrance::NoRoom };
        let Some(said) = step.change.as_ref().filter(|change| change.partition == stuck.partition) else {
            return false;
        };
        let (list, leader) = self.after.list(stuck.partition);
        if !ground.is_single(said) || said.leader as usize != *leader {
            return false;
        }
        let places: Vec<usize> = (0..list.len()).filter(|at| self.is_offline(stuck.partition, *at)).collect();
        let Some(at) = places.iter().copied().find(|at| said.replicas[*at] != list[*at]) else {
            return false;
        };
        self.why(ground, said, at) == step.why && self.none_is_nearer(ground, said, &places, step.why)
    }

    fn is_offline(&self, partition: u32, at: usize) -> bool {
        let (broker, cluster) = (self.after.list(partition).0[at], self.cluster());
        let stays = cluster.replicas(partition)[at] == broker;
        !cluster.brokers()[broker as usize].alive || (stays && cluster.offline(partition, at as u32))
    }

    /// Whether no replica could go anywhere, or lacks less disk, if this one cannot.
    fn none_is_nearer(&self, ground: &Ground<'_>, said: &Change, places: &[usize], why: Why) -> bool {
        let (list, leader) = self.after.list(said.partition);
        let lacks = |why: Why| match why {
            Why::Worse { goal: Goal::DiskCapacity, by, .. } => by,
            Why::Possible => 0,
            _ => i64::MAX,
        };
        let mut change = Change { partition: said.partition, replicas: list.clone(), leader: *leader as u32 };
        for at in places {
            for to in self.after.alive().map(|broker| broker as u32) {
                if !list.contains(&to) && ground.may_stand(said.partition, *at, to) {
                    change.replicas[*at] = to;
                    if lacks(self.why(ground, &change, *at)) < lacks(why) {
                        return false;
                    }
                }
            }
            change.replicas[*at] = list[*at];
        }
        true
    }

    /// What keeps the replica of a position from going where a change has it.
    fn why(&self, ground: &Ground<'_>, change: &Change, at: usize) -> Why {
        if let Some(why) = ground.forbidden(change) {
            return why;
        }
        let hard = self.policy.goals.iter().copied().filter(|goal| self.policy.hard.contains(goal));
        hard.into_iter().find_map(|goal| self.bars(goal, change, at)).unwrap_or(Why::Possible)
    }

    /// Whether a plan would be refused for it by a hard goal.
    fn bars(&self, goal: Goal, change: &Change, at: usize) -> Option<Why> {
        let (partition, to) = (change.partition, change.replicas[at]);
        let signed = |by: i128| i64::try_from(by).unwrap_or(i64::MAX);
        match goal {
            Goal::DiskCapacity => {
                let load = i128::from(self.cluster().loads(partition)[at][DISK]);
                let by = self.lacks_disk(to as usize, load)?;
                Some(Why::Worse { goal, broker: Some(to), by: signed(by) })
            }
            Goal::MinTopicLeaders if change.leader as usize == at => {
                let from = self.after.list(partition).0[at];
                let by = self.lacks_leaders(partition, from)?;
                Some(Why::Worse { goal, broker: Some(from), by: signed(-by) })
            }
            Goal::BrokerSetAware | Goal::RackAware | Goal::RacksKept | Goal::RackAwareDistribution => {
                let by = self.harms(goal, change)?;
                Some(Why::Worse { goal, broker: None, by: signed(by) })
            }
            _ => None,
        }
    }

    /// How far beyond its limits a broker's disk would be with a load more, if that is farther than it was.
    fn lacks_disk(&self, broker: usize, load: i128) -> Option<i128> {
        let disk = self.disk.as_ref()?;
        let carried = self.after.carried(broker);
        let (_, most) = disk.limits_of(broker);
        let beyond = over(carried.loads[DISK] + load - most);
        let was = disk.outside_as_a_whole(broker, self.before.carried(broker));
        let dirs: i128 = disk.dirs_over(broker, carried).map(|(_, over)| over as i128).sum();
        let grows = disk.dir_growth(broker, carried, load) as i128;
        (beyond > was || grows > 0).then(|| (beyond as i128).max(dirs + grows))
    }

    /// How many leaders of a partition's topic a broker would lack that it led no more, if more than it lacked.
    fn lacks_leaders(&self, partition: u32, broker: u32) -> Option<i128> {
        let (cluster, topic) = (self.cluster(), self.cluster().topic(partition));
        let lacks = |placement: &Placement<'_>, less: i128| {
            let led = placement
                .lists()
                .filter(|(other, (list, leader))| cluster.topic(*other) == topic && list[*leader] == broker);
            lacks_leaders(cluster, topic, broker, led.count() as i128 - less) as i128
        };
        let is = if cluster.required_leaders(topic) == 0 { 0 } else { lacks(self.after, 1) };
        (is > 0 && is > lacks(self.before, 0)).then_some(is)
    }

    /// How much more a goal would find wrong with a list, if those of it that live are worse among themselves than they were, and
    /// it shares more racks than there are too few.
    fn harms(&self, goal: Goal, change: &Change) -> Option<i128> {
        let (cluster, partition) = (self.cluster(), change.partition);
        let home = cluster.replicas(partition);
        let lives = |at: &usize| {
            cluster.brokers()[home[*at] as usize].alive && !cluster.offline(partition, *at as u32)
        };
        let living = |list: &[u32]| -> usize {
            let list: Vec<u32> = (0..list.len()).filter(lives).map(|at| list[at]).collect();
            wrong(self.after, goal, partition, &list, 0)
        };
        let racks: std::collections::BTreeSet<u32> =
            self.after.alive().map(|broker| cluster.brokers()[broker].rack).collect();
        let shared = if goal == Goal::RackAware { home.len().saturating_sub(racks.len()) } else { 0 };
        let (list, leader) = self.after.list(partition);
        let is = wrong(self.after, goal, partition, &change.replicas, change.leader as usize);
        let was = wrong(self.after, goal, partition, list, *leader);
        let harms = !cluster.frozen(partition) && living(&change.replicas) > living(home) && is > shared;
        harms.then(|| is as i128 - was as i128)
    }
}
