//! The auditor's own reading of the goals: slow, plain, in wide integers.

use std::collections::{BTreeMap, BTreeSet};

use super::limits::{ONE, capped, judged, margin, over};
use crate::balance::cluster::{Cluster, DISK, NETWORK_IN, NETWORK_OUT};
use crate::balance::dirs::Seats;
use crate::balance::policy::{Goal, Leaders, Policy};
use crate::balance::score::{Distance, Score};
use crate::balance::solve::Change;

/// What one broker carries.
#[derive(Debug, Clone, Default)]
pub(super) struct Carried {
    pub(super) loads: [i128; 4],
    pub(super) replicas: i128,
    pub(super) leaders: i128,
    pub(super) led_in: i128,
    pub(super) if_it_led_all: i128,
    /// What stands in each log dir, where there are several.
    pub(super) dirs: BTreeMap<u32, i128>,
}

/// Who holds and leads what, and what that makes of the brokers.
pub(super) struct Placement<'a> {
    cluster: &'a Cluster,
    lists: Vec<(Vec<u32>, usize)>,
    carried: Vec<Carried>,
    /// Racks with a broker that may take replicas.
    open_racks: usize,
}

impl<'a> Placement<'a> {
    /// As things are.
    pub(super) fn of(cluster: &'a Cluster) -> Placement<'a> {
        Placement::after(cluster, &[], &Seats::new())
    }

    /// As things are after changes that fit the cluster, with arrivals in these log dirs.
    pub(super) fn after(cluster: &'a Cluster, changes: &[Change], seats: &Seats) -> Placement<'a> {
        let list = |partition| (cluster.replicas(partition).to_vec(), cluster.leader(partition) as usize);
        let mut lists: Vec<_> = (0..cluster.partitions()).map(list).collect();
        for change in changes {
            lists[change.partition as usize] = (change.replicas.clone(), change.leader as usize);
        }
        let mut carried = vec![Carried::default(); cluster.brokers().len()];
        for (partition, (brokers, leader)) in (0..).zip(&lists) {
            for (position, broker) in brokers.iter().enumerate() {
                let carried = &mut carried[*broker as usize];
                carried.count(cluster, (partition, position), *broker, position == *leader, 1);
                carried.seat(cluster, (partition, position), *broker, seats, 1);
            }
        }
        let open = cluster.brokers().iter().filter(|broker| broker.alive && broker.takes_replicas);
        let racks: BTreeSet<u32> = open.map(|broker| broker.rack).collect();
        Placement { cluster, lists, carried, open_racks: racks.len() }
    }

    pub(super) fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    /// The partitions with their brokers, and the positions of their leaders.
    pub(super) fn lists(&self) -> impl Iterator<Item = (u32, &(Vec<u32>, usize))> {
        (0..).zip(&self.lists)
    }

    /// The brokers of a partition, and the position of its leader.
    pub(super) fn list(&self, partition: u32) -> &(Vec<u32>, usize) {
        &self.lists[partition as usize]
    }

    /// The brokers that are alive.
    pub(super) fn alive(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.carried.len()).filter(|broker| self.cluster.brokers()[*broker].alive)
    }

    pub(super) fn carried(&self, broker: usize) -> &Carried {
        &self.carried[broker]
    }

    /// What of some partitions stands in failed log dirs of living brokers, and so on none of their disks.
    pub(super) fn lost_disk(&self, of: impl Fn(u32) -> bool) -> i128 {
        let cluster = self.cluster;
        let mut lost = 0;
        for (partition, (list, _)) in self.lists().filter(|(partition, _)| of(*partition)) {
            let home = cluster.replicas(partition);
            for at in (0..list.len()).filter(|at| list[*at] == home[*at]) {
                if cluster.brokers()[list[at] as usize].alive && cluster.offline(partition, at as u32) {
                    lost += i128::from(cluster.loads(partition)[at][DISK]);
                }
            }
        }
        lost
    }

    /// What each broker carries.
    pub(super) fn all(&self) -> impl Iterator<Item = &Carried> {
        self.carried.iter()
    }
}

impl Carried {
    /// Adds what a partition's replica of a position takes on a broker, or takes it off. What stands there in a failed log dir is
    /// on none of its disks.
    pub(super) fn count(
        &mut self,
        cluster: &Cluster,
        (partition, position): (u32, usize),
        broker: u32,
        leads: bool,
        sign: i128,
    ) {
        let mut load = cluster.loads(partition)[position];
        let stays = cluster.replicas(partition)[position] == broker;
        if stays && cluster.brokers()[broker as usize].alive && cluster.offline(partition, position as u32) {
            load[DISK] = 0;
        }
        for (sum, load) in self.loads.iter_mut().zip(load) {
            *sum += sign * i128::from(load);
        }
        self.replicas += sign;
        self.if_it_led_all += sign * i128::from(cluster.potential_network_out(partition));
        if leads {
            self.leaders += sign;
            self.led_in += sign * i128::from(load[NETWORK_IN]);
            for (sum, share) in self.loads.iter_mut().zip(cluster.leader_share(partition)) {
                *sum += sign * i128::from(share);
            }
        }
    }

    /// Adds a replica that stands on a broker to what its log dir holds, or takes it off.
    pub(super) fn seat(
        &mut self,
        cluster: &Cluster,
        (partition, position): (u32, usize),
        broker: u32,
        seats: &Seats,
        sign: i128,
    ) {
        let stays = cluster.replicas(partition)[position] == broker;
        let dir = match stays {
            true => cluster.log_dir(partition, position as u32),
            false => seats.get(&(partition, position as u32)).copied(),
        };
        if let Some(dir) = dir {
            *self.dirs.entry(dir).or_default() += sign * i128::from(cluster.loads(partition)[position][DISK]);
        }
    }
}

/// The score by the definitions of [`Goal`], [`Policy`] and [`Distance`].
pub(super) fn score(placement: &Placement<'_>, policy: &Policy) -> Score {
    let led_from_nowhere = placement.lists().filter(|(partition, (brokers, leader))| {
        let stays = placement.cluster.replicas(*partition)[*leader] == brokers[*leader];
        let in_failed_dir = stays && placement.cluster.offline(*partition, *leader as u32);
        in_failed_dir || !placement.cluster.brokers()[brokers[*leader] as usize].alive
    });
    let leaderless = led_from_nowhere.count() as u64;
    let offline: u64 = stuck(placement, policy).into_iter().map(|(_, offline)| u64::from(offline)).sum();
    let goals = policy.goals.iter().map(|goal| Distance {
        excess: distance(placement, policy, *goal),
        goal: *goal,
        hard: policy.hard.contains(goal),
    });
    Score { leaderless, offline, demoted: demoted(placement, policy), goals: goals.collect() }
}

/// Partitions with replicas offline, and how many; with none, if their leader was to pass on.
pub(super) fn stuck(placement: &Placement<'_>, policy: &Policy) -> Vec<(u32, u32)> {
    let cluster = placement.cluster;
    let mut stuck = Vec::new();
    for (partition, (brokers, leader)) in (0..).zip(&placement.lists) {
        let mut offline = 0;
        for (position, broker) in (0..).zip(brokers) {
            let stays = cluster.replicas(partition)[position as usize] == *broker;
            let in_failed_dir = stays && cluster.offline(partition, position);
            offline += u32::from(!cluster.brokers()[*broker as usize].alive || in_failed_dir);
        }
        let led_by = &cluster.brokers()[brokers[*leader] as usize];
        let demoted = policy.leaders == Leaders::Demoted && led_by.alive && !led_by.takes_leadership;
        if offline > 0 || demoted {
            stuck.push((partition, offline));
        }
    }
    stuck
}

fn demoted(placement: &Placement<'_>, policy: &Policy) -> u64 {
    let led_by = placement.lists.iter().map(|(brokers, leader)| brokers[*leader]);
    let known = led_by.map(|broker| &placement.cluster.brokers()[broker as usize]);
    let count = known.filter(|broker| broker.alive && !broker.takes_leadership).count() as u64;
    if policy.leaders == Leaders::Demoted { count } else { 0 }
}

fn distance(placement: &Placement<'_>, policy: &Policy, goal: Goal) -> u128 {
    match goal {
        Goal::RackAware
        | Goal::RacksKept
        | Goal::RackAwareDistribution
        | Goal::BrokerSetAware
        | Goal::PreferredLeader => {
            let thawed = placement.lists().filter(|(partition, _)| !placement.cluster.frozen(*partition));
            let wrong = thawed
                .map(|(partition, (brokers, leader))| wrong(placement, goal, partition, brokers, *leader));
            over(wrong.sum::<usize>() as i128)
        }
        Goal::MinTopicLeaders => leaders_missing(placement),
        Goal::TopicDistribution => Topics::of(placement, policy).beyond(),
        Goal::PotentialNetworkOut if potential_beyond(placement, policy) > 0 => {
            potential_beyond(placement, policy)
        }
        _ => judged(placement, policy, goal).map_or(0, |judged| {
            (0..placement.carried.len()).map(|b| judged.outside(b, &placement.carried[b])).sum()
        }),
    }
}

/// What the sum of all potential is beyond the sum of all limits: no placement changes it.
pub(super) fn potential_beyond(placement: &Placement<'_>, policy: &Policy) -> u128 {
    let all: i128 = placement.carried.iter().map(|carried| carried.if_it_led_all).sum();
    let room: Option<i128> = placement.alive().map(|b| capped(placement, policy, b, NETWORK_OUT)).sum();
    room.map_or(0, |room| over(all - room))
}

/// How much a goal about single lists finds wrong with one.
pub(super) fn wrong(
    placement: &Placement<'_>,
    goal: Goal,
    partition: u32,
    list: &[u32],
    leader: usize,
) -> usize {
    let cluster = placement.cluster;
    let known = |broker: &u32| &cluster.brokers()[*broker as usize];
    let racks_of = |list: &[u32]| {
        let mut by_rack: BTreeMap<u32, usize> = BTreeMap::new();
        for broker in list {
            *by_rack.entry(known(broker).rack).or_default() += 1;
        }
        by_rack
    };
    let by_rack = || racks_of(list);
    let shared = |list: &[u32]| racks_of(list).values().map(|held| held.saturating_sub(1)).sum::<usize>();
    match goal {
        Goal::RackAware => shared(list),
        Goal::RacksKept => shared(list).saturating_sub(shared(cluster.replicas(partition))),
        Goal::RackAwareDistribution => spread_badly(&by_rack(), list.len(), placement.open_racks.max(1)),
        Goal::BrokerSetAware => match cluster.bound_set(cluster.topic(partition)) {
            Some(set) => list.iter().filter(|broker| known(broker).set != Some(set)).count(),
            None => 0,
        },
        Goal::PreferredLeader => {
            usize::from(leader != 0 && known(&list[0]).alive && known(&list[0]).takes_leadership)
        }
        _ => 0,
    }
}

/// Replicas that stand where an even spread would not have them.
fn spread_badly(by_rack: &BTreeMap<u32, usize>, replicas: usize, racks: usize) -> usize {
    let share = replicas / racks;
    let left_over = replicas - share * racks;
    let mut held: Vec<usize> = by_rack.values().copied().collect();
    held.sort_unstable_by(|a, b| b.cmp(a));
    let allowed = |rank: usize| share + usize::from(rank < left_over);
    held.into_iter().enumerate().map(|(rank, held)| held.saturating_sub(allowed(rank))).sum()
}

/// Leaders of topics by broker.
pub(super) fn led(placement: &Placement<'_>) -> BTreeMap<(u32, u32), i128> {
    let mut led: BTreeMap<(u32, u32), i128> = BTreeMap::new();
    for (partition, (brokers, leader)) in placement.lists() {
        let topic = placement.cluster.topic(partition);
        if placement.cluster.required_leaders(topic) > 0 {
            *led.entry((topic, brokers[*leader])).or_default() += 1;
        }
    }
    led
}

/// How many leaders of a topic a broker lacks that leads so many.
pub(super) fn lacks_leaders(cluster: &Cluster, topic: u32, broker: u32, led: i128) -> u128 {
    let known = &cluster.brokers()[broker as usize];
    let able = known.alive && known.takes_replicas && known.takes_leadership;
    if able { over(i128::from(cluster.required_leaders(topic)) - led) } else { 0 }
}

fn leaders_missing(placement: &Placement<'_>) -> u128 {
    let (cluster, led) = (placement.cluster, led(placement));
    let mut missing = 0;
    for topic in (0..cluster.topics()).filter(|topic| cluster.required_leaders(*topic) > 0) {
        for broker in 0..cluster.brokers().len() as u32 {
            let leads = led.get(&(topic, broker)).copied().unwrap_or(0);
            missing += lacks_leaders(cluster, topic, broker, leads);
        }
    }
    missing
}

/// Replicas of each topic on each broker.
pub(super) struct Topics<'p> {
    cluster: &'p Cluster,
    brokers: i128,
    in_all: BTreeMap<u32, i128>,
    on: BTreeMap<(u32, u32), i128>,
    reach: i128,
    gaps: (i128, i128),
}

impl<'p> Topics<'p> {
    pub(super) fn of(placement: &'p Placement<'_>, policy: &Policy) -> Topics<'p> {
        let mut in_all: BTreeMap<u32, i128> = BTreeMap::new();
        let mut on: BTreeMap<(u32, u32), i128> = BTreeMap::new();
        for (partition, (list, _)) in placement.lists() {
            let topic = placement.cluster.topic(partition);
            *in_all.entry(topic).or_default() += list.len() as i128;
            for broker in list {
                *on.entry((topic, *broker)).or_default() += 1;
            }
        }
        Topics {
            cluster: placement.cluster,
            brokers: placement.alive().count() as i128,
            in_all,
            on,
            reach: margin(policy.topic_balance),
            gaps: (i128::from(policy.topic_min_gap), i128::from(policy.topic_max_gap)),
        }
    }

    /// How many replicas of a topic a broker holds.
    pub(super) fn held(&self, topic: u32, broker: u32) -> i128 {
        self.on.get(&(topic, broker)).copied().unwrap_or(0)
    }

    /// How far a broker is outside that holds so many of a topic.
    pub(super) fn outside(&self, topic: u32, broker: u32, held: i128) -> u128 {
        self.signed(topic, broker, held).unsigned_abs()
    }

    /// How many it holds too many; too few: less than nothing.
    pub(super) fn signed(&self, topic: u32, broker: u32, held: i128) -> i128 {
        if held == 0 || !self.cluster.brokers()[broker as usize].alive {
            return 0;
        }
        let all = self.in_all.get(&topic).copied().unwrap_or(0);
        let (brokers, reach, (near, far)) = (self.brokers, self.reach, self.gaps);
        let (below, above) = (all / brokers, (all + brokers - 1) / brokers);
        let wide = (all * (ONE + reach) + brokers * ONE - 1) / (brokers * ONE);
        let narrow = all * (ONE - reach).max(0) / (brokers * ONE);
        let high = (above + near).max(wide.min(above + far));
        let low = (below - far).max(0).max(narrow.min((below - near).max(0)));
        (held - high).max(0) + (held - low).min(0)
    }

    fn beyond(&self) -> u128 {
        self.on.iter().map(|((topic, broker), held)| self.outside(*topic, *broker, *held)).sum()
    }
}
