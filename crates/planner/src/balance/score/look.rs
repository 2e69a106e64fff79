//! What a meter shows of single brokers, topics and lists, to say what stands in the way of goals.

use std::cmp::Reverse;

use super::{
    COUNT, DISK, FIGURES, Figures, Goal, LEADER_IN, Meter, figure, is_about_lists, leader_in_limit, whole,
};
use crate::balance::dirs::DirRooms;
use crate::balance::harm::{follows, leads};
use crate::balance::order::net;
use crate::balance::solve::Change;
use crate::balance::state::add;
use crate::balance::unmet::Obstacle;

impl Meter<'_> {
    /// The limits of a broker by the goal of a place in the policy, if that one limits a figure of it.
    pub(crate) fn limits_of(&self, at: usize, broker: u32) -> Option<(i64, i64)> {
        self.limits[at].get(broker as usize).copied()
    }

    /// How far above its limits by a goal a broker would be if its figures changed so; below them: less than nothing. Which log dir a
    /// replica leaves is left open.
    pub(crate) fn signed_with(&self, goal: Goal, limits: (i64, i64), broker: u32, change: &Figures) -> i64 {
        let (Some(figure), (low, high)) = (figure(goal), limits) else { return 0 };
        let sum = self.sums[broker as usize][figure] + change[figure];
        let own = if sum > high { sum - high } else { (sum - low).min(0) };
        if goal != Goal::DiskCapacity {
            return own;
        }
        let comes = change[COUNT] > 0;
        let grows = if comes { self.seating.growth(self.cluster, broker, change[DISK]) } else { 0 };
        own.max(self.seating.beyond(broker) + grows)
    }

    pub(crate) fn is_hard(&self, goal: Goal) -> bool {
        self.policy.hard.contains(&goal)
    }

    /// How much a goal about lists would find wrong with a partition after a change.
    pub(crate) fn wrong_after(&self, goal: Goal, change: &Change) -> usize {
        self.wrong_with(goal, change.partition, &change.replicas, change.leader == 0)
    }

    /// How many replicas, or leaders, of a partition's topic a broker would have too many with so many more, or too few:
    /// less than nothing.
    pub(crate) fn topic_outside(&self, goal: Goal, partition: u32, broker: u32, more: i64) -> i64 {
        let (topic, at) = (self.cluster.topic(partition) as usize, broker as usize);
        if goal == Goal::MinTopicLeaders {
            return -i64::from(self.chosen.missing_with(self.cluster, topic, at, more as i32));
        }
        let held = i64::from(self.topic[topic * self.sums.len() + at]) + more;
        if held == 0 || !self.cluster.brokers[at].alive {
            return 0;
        }
        let (low, high) = self.topic_limits[topic];
        (held - i64::from(high)).max(0) + (held - i64::from(low)).min(0)
    }

    /// Whether a plan may not change a partition so, as its list would be worse by a hard goal than at the start.
    pub(crate) fn harms_list(&self, goal: Goal, change: &Change) -> bool {
        self.harm_by(goal, change.partition, &change.replicas, self.wrong_after(goal, change)) > 0
    }

    /// How far a broker's disk was beyond its hard limit before anything moved, if there is one.
    pub(crate) fn disk_was_beyond(&self, broker: u32) -> Option<i64> {
        self.harm.disk_was_beyond(broker)
    }

    /// Whether a broker is farther outside of a hard goal than it was in what leading adds to.
    pub(crate) fn is_burdened(&self, broker: u32) -> bool {
        self.harm.is_burdened(broker, &self.limits, &self.sums[broker as usize])
    }

    /// Whether a broker is farther outside of a hard goal than it was.
    pub(crate) fn is_worse_off(&self, broker: u32) -> bool {
        self.harm.is_worse_off(broker, &self.limits, &self.sums[broker as usize])
    }

    /// Whether a broker can take a replica as it stands elsewhere, and is no farther outside of any hard goal than it was.
    pub(crate) fn has_room_for(&self, (partition, position): (u32, usize), broker: u32) -> bool {
        let replica = self.cluster.row(partition).start + position;
        let mut takes = follows(self.cluster, partition, replica);
        if self.list(partition).1 as usize == position {
            add(&mut takes, &leads(self.cluster, partition, replica), 1);
        }
        self.harm.bears(broker, &self.limits, (&self.sums[broker as usize], &takes))
    }

    /// Whether the broker of a replica that does not lead can lead it and is no farther outside of any hard goal than it was.
    pub(crate) fn has_room_to_lead(&self, partition: u32, replica: u32) -> bool {
        let broker = self.place[replica as usize];
        let leads = leads(self.cluster, partition, replica as usize);
        self.harm.bears(broker, &self.limits, (&self.sums[broker as usize], &leads))
    }

    /// How a broker is outside of a goal; of topics the one that is farthest. Nothing where it is not, and for goals about lists.
    pub(crate) fn outside_on(&self, goal: Goal, broker: u32) -> Option<Obstacle> {
        let at = broker as usize;
        if matches!(goal, Goal::TopicDistribution | Goal::MinTopicLeaders) {
            let by = |topic: usize| match goal {
                Goal::TopicDistribution => self.topic_excess(topic, at),
                _ => self.chosen.missing(self.cluster, topic, at),
            };
            let topics = (0..self.cluster.topics as usize).map(|topic| (by(topic), Reverse(topic)));
            let (by, Reverse(topic)) = topics.max().filter(|(by, _)| *by > 0)?;
            return Some(self.signed(goal, Obstacle::Topic { topic: topic as u32, broker, by: by.into() }));
        }
        let (low, high) = self.limits_by(goal, broker)?;
        let sum = self.sums[at][figure(goal)?];
        let own = (sum - high).max(low - sum);
        let dirs = if goal == Goal::DiskCapacity { self.seating.beyond(broker) } else { 0 };
        let dir = (dirs > 0 && dirs >= own).then(|| self.seating.worst(self.cluster, broker)).flatten();
        match dir {
            Some((dir, by)) => Some(Obstacle::LogDir { broker, dir, by }),
            None => (own > 0).then(|| self.signed(goal, Obstacle::Broker { broker, by: own })),
        }
    }

    /// What a broker's log dirs have room for.
    pub(crate) fn dir_rooms(&self, broker: u32) -> DirRooms {
        self.seating.rooms(self.cluster, broker)
    }

    /// How many leaders of a partition's topic a broker would lack without that partition, if more than at the start.
    pub(crate) fn lacks_without(&self, partition: u32, broker: u32) -> Option<u32> {
        let (topic, at) = (self.cluster.topic(partition) as usize, broker as usize);
        let lacks = self.chosen.missing_with(self.cluster, topic, at, -1);
        (lacks > self.harm.lacked(self.cluster, (topic, at))?).then_some(lacks)
    }

    /// By how much leaders would take in more beyond the limit if the figures of brokers changed so.
    pub(crate) fn leader_in_growth(&self, net: &[(u32, Figures)]) -> i64 {
        let more = |broker: usize| {
            net.iter()
                .find(|(other, _)| *other as usize == broker)
                .map_or(0, |(_, figures)| figures[LEADER_IN])
        };
        if net.iter().all(|(_, figures)| figures[LEADER_IN] == 0) {
            return 0;
        }
        let after = |broker: usize| self.sums[broker][LEADER_IN] + more(broker);
        let sum = self.alive.iter().map(|broker| after(*broker)).sum();
        let high = leader_in_limit(self.policy, sum, self.alive.len().max(1) as i64);
        let beyond: u128 = (0..self.sums.len()).map(|broker| whole(after(broker) - high)).sum();
        i64::try_from(beyond as i128 - self.leader_in() as i128).unwrap_or(i64::MAX)
    }

    /// Whether a change brings a broker nearer to a goal about brokers, whatever others come to.
    pub(crate) fn nears(&self, goal: Goal, broker: u32, change: &Change) -> bool {
        let (list, leader) = self.list(change.partition);
        let (led, leads) = (list[leader as usize], change.replicas[change.leader as usize]);
        let outside = |more: i64| self.topic_outside(goal, change.partition, broker, more).abs();
        match goal {
            Goal::MinTopicLeaders => leads == broker && led != broker && outside(1) < outside(0),
            Goal::TopicDistribution => {
                let more = i64::from(change.replicas.contains(&broker)) - i64::from(list.contains(&broker));
                outside(more) < outside(0)
            }
            _ => {
                let net = net(self.cluster, (list, leader), change);
                let change = net.iter().find(|(other, _)| *other == broker);
                change.is_some_and(|(_, figures)| self.nearer_by(goal, broker, figures) > 0)
            }
        }
    }

    /// By how much a change brings all brokers together nearer to a goal about brokers.
    pub(crate) fn gain(&self, goal: Goal, change: &Change) -> i64 {
        let (list, leader) = self.list(change.partition);
        let net = net(self.cluster, (list, leader), change);
        if figure(goal).is_none() {
            let (led, leads) = (list[leader as usize], change.replicas[change.leader as usize]);
            let of = |broker: u32| {
                let more = match goal {
                    Goal::MinTopicLeaders => i64::from(leads == broker) - i64::from(led == broker),
                    _ => i64::from(change.replicas.contains(&broker)) - i64::from(list.contains(&broker)),
                };
                let outside = |more: i64| self.topic_outside(goal, change.partition, broker, more).abs();
                outside(0) - outside(more)
            };
            return net.iter().map(|(broker, _)| of(*broker)).sum();
        }
        if goal == Goal::LeaderBytesIn {
            return -self.leader_in_growth(&net);
        }
        net.iter().map(|(broker, figures)| self.nearer_by(goal, *broker, figures)).sum()
    }

    /// By how much a change of its figures brings a broker nearer to its limits.
    fn nearer_by(&self, goal: Goal, broker: u32, figures: &Figures) -> i64 {
        let Some(limits) = self.limits_by(goal, broker) else { return 0 };
        let out = |change: &Figures| self.signed_with(goal, limits, broker, change).abs();
        out(&[0; FIGURES]) - out(figures)
    }

    /// The limits of a broker by a goal, also by that whose limit follows the mean.
    fn limits_by(&self, goal: Goal, broker: u32) -> Option<(i64, i64)> {
        let at = self.policy.goals.iter().position(|other| *other == goal)?;
        let mean = (goal == Goal::LeaderBytesIn).then(|| (i64::MIN / 4, self.leader_in_limit()));
        mean.or_else(|| self.limits_of(at, broker))
    }

    /// How many brokers, or topics on brokers, are outside of a goal that is not about lists.
    pub(crate) fn outside(&self, goal: Goal) -> u64 {
        let brokers = 0..self.sums.len();
        let count = match goal {
            _ if is_about_lists(goal) => 0,
            Goal::TopicDistribution | Goal::MinTopicLeaders => {
                let all =
                    (0..self.cluster.topics as usize).flat_map(|t| brokers.clone().map(move |b| (t, b)));
                let out = |(topic, broker): &(usize, usize)| match goal {
                    Goal::TopicDistribution => self.topic_excess(*topic, *broker) > 0,
                    _ => self.chosen.missing(self.cluster, *topic, *broker) > 0,
                };
                all.filter(out).count()
            }
            _ => {
                let Some(figure) = figure(goal) else { return 0 };
                let out = |broker: &usize| {
                    let sum = self.sums[*broker][figure];
                    let dirs = goal == Goal::DiskCapacity && self.seating.beyond(*broker as u32) > 0;
                    let limits = self.limits_by(goal, *broker as u32);
                    dirs || limits.is_some_and(|(low, high)| sum > high || sum < low)
                };
                brokers.filter(out).count()
            }
        };
        count as u64
    }

    /// An obstacle with what is too little less than nothing.
    pub(super) fn signed(&self, goal: Goal, obstacle: Obstacle) -> Obstacle {
        match obstacle {
            Obstacle::Broker { broker, by } => {
                let low = self.limits_by(goal, broker).map(|(low, _)| low);
                let below = figure(goal).zip(low).is_some_and(|(f, low)| self.sums[broker as usize][f] < low);
                Obstacle::Broker { broker, by: if below { -by } else { by } }
            }
            Obstacle::Topic { topic, broker, by } => {
                let held = self.topic[topic as usize * self.sums.len() + broker as usize];
                let below = goal == Goal::MinTopicLeaders || held < self.topic_limits[topic as usize].0;
                Obstacle::Topic { topic, broker, by: if below { -by } else { by } }
            }
            _ => obstacle,
        }
    }
}
