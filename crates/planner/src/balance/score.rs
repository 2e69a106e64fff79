//! The score of a placement, goal by goal, by the exact formulas.

use std::cmp::{Ordering, Reverse};

use super::bands::{
    COUNT, FIGURES, Figures, LEADER_IN, LEADERS, POTENTIAL, figure, leader_in_limit, limits, overflow,
    topic_limits,
};
use super::chosen::Chosen;
use super::cluster::{Broker, CPU, Cluster, DISK, NETWORK_IN, NETWORK_OUT};
use super::dirs::{Held, Seating};
use super::harm::Harm;
use super::policy::{Goal, Leaders, Policy};
use super::unmet::Obstacle;

mod look;

/// How far a placement is from each goal, in the policy's order. Smaller is better. Compared are partitions without a leader;
/// replicas on dead brokers; leaders that were to pass on; hard goal by hard goal whether it is met; how many goals are not met; goal by goal whether it is met; goal by goal the
/// distance. So no hard goal is given up for soft ones, most goals are met rather than the foremost, and a goal that can be
/// met is not given up to come nearer to one that cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Score {
    /// Partitions whose leader stands on a dead broker or in a failed log dir: nobody serves them.
    pub leaderless: u64,
    /// Replicas on dead brokers or in failed log dirs.
    pub offline: u64,
    /// Partitions led from living brokers that may not lead, where that is what a plan is to end ([`Leaders::Demoted`]).
    pub demoted: u64,
    /// For each goal its distance: nothing when it is met.
    pub goals: Vec<Distance>,
}

/// How far a placement is from one goal. Smaller is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Distance {
    /// Sum over brokers of what is outside their limits: of loads in the load's own unit (of disk, what the broker's log dirs are beyond
    /// theirs, where that is more), of replicas and leaders their number, for racks and topics the number of replicas too many or too few. Where no placement can meet
    /// [`Goal::PotentialNetworkOut`], which is a matter of sums alone, it is what every placement is beyond: the sum over
    /// all replicas less all limits.
    pub excess: u128,
    /// The goal.
    pub goal: Goal,
    /// Whether the policy has it as a hard one.
    pub hard: bool,
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Score) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Score) -> Ordering {
        let hard =
            |score: &Score| score.goals.iter().map(|goal| goal.hard && goal.excess > 0).collect::<Vec<_>>();
        let unmet = |score: &Score| score.goals.iter().map(|goal| goal.excess > 0).collect::<Vec<_>>();
        self.leaderless
            .cmp(&other.leaderless)
            .then_with(|| self.offline.cmp(&other.offline))
            .then_with(|| self.demoted.cmp(&other.demoted))
            .then_with(|| hard(self).cmp(&hard(other)))
            .then_with(|| self.violated().count().cmp(&other.violated().count()))
            .then_with(|| unmet(self).cmp(&unmet(other)))
            .then_with(|| self.goals.cmp(&other.goals))
    }
}

impl Score {
    /// Whether every goal is met.
    pub fn is_clean(&self) -> bool {
        (self.leaderless, self.offline, self.demoted) == (0, 0, 0)
            && self.goals.iter().all(|distance| distance.excess == 0)
    }

    /// The goals that are not met.
    pub fn violated(&self) -> impl Iterator<Item = Goal> + '_ {
        self.goals.iter().filter(|distance| distance.excess > 0).map(|distance| distance.goal)
    }
}

/// Keeps the score of a placement while partitions change, one at a time.
pub(crate) struct Meter<'a> {
    cluster: &'a Cluster,
    policy: &'a Policy,
    alive: Vec<usize>,
    open_racks: u32,
    living_racks: usize,
    /// By goal, then broker: inclusive limits. Empty for goals that limit no figure of a broker.
    limits: Vec<Vec<(i64, i64)>>,
    topic_limits: Vec<(u32, u32)>,
    place: Vec<u32>,
    leader: Vec<u32>,
    sums: Vec<Figures>,
    /// Replicas by topic and broker.
    topic: Vec<u32>,
    /// Which of the goals are about single lists, by their places.
    about_lists: Vec<usize>,
    chosen: Chosen,
    leaderless: u64,
    offline: u64,
    demoted: u64,
    excess: Vec<u128>,
    seating: Seating,
    /// Whether no log dir may be farther beyond its limit than it was.
    guards_dirs: bool,
    harm: Harm,
}

impl<'a> Meter<'a> {
    /// Judges a placement: broker of each replica, and the leading replica of each partition.
    pub(crate) fn new(
        cluster: &'a Cluster,
        policy: &'a Policy,
        place: Vec<u32>,
        leader: Vec<u32>,
    ) -> Meter<'a> {
        Meter::holding(cluster, policy, (place, leader), Held::new())
    }

    /// The same, where the log dirs of some arrivals are settled.
    pub(crate) fn holding(
        cluster: &'a Cluster,
        policy: &'a Policy,
        (place, leader): (Vec<u32>, Vec<u32>),
        held: Held,
    ) -> Meter<'a> {
        let n = cluster.brokers.len();
        let alive: Vec<usize> = (0..n).filter(|b| cluster.brokers[*b].alive).collect();
        let mut meter = Meter {
            open_racks: open_racks(cluster),
            living_racks: living_racks(cluster) as usize,
            limits: policy.goals.iter().map(|goal| limits_of(cluster, policy, &alive, *goal)).collect(),
            topic_limits: topic_limits(cluster, policy, alive.len() as i64),
            sums: vec![[0; FIGURES]; n],
            topic: vec![0; n * cluster.topics as usize],
            about_lists: (0..policy.goals.len()).filter(|at| is_about_lists(policy.goals[*at])).collect(),
            chosen: Chosen::of(cluster),
            leaderless: 0,
            offline: 0,
            demoted: 0,
            seating: Seating::of(cluster, policy, held),
            guards_dirs: [&policy.goals, &policy.hard]
                .iter()
                .all(|goals| goals.contains(&Goal::DiskCapacity)),
            harm: Harm::of(cluster, policy),
            excess: policy.goals.iter().map(|goal| overflow(cluster, policy, *goal)).collect(),
            cluster,
            policy,
            alive,
            place,
            leader,
        };
        meter.harm.start(cluster, &meter.limits);
        for partition in 0..cluster.partitions() {
            meter.count(partition, 1);
        }
        let brokers: Vec<u32> = (0..n as u32).collect();
        meter.weigh(&brokers, 1);
        for partition in 0..cluster.partitions() {
            meter.weigh_list(partition, 1);
        }
        if policy.goals.contains(&Goal::TopicDistribution) {
            for (topic, broker) in (0..cluster.topics as usize).flat_map(|t| (0..n).map(move |b| (t, b))) {
                meter.weigh_topic(topic, broker, 1);
            }
        }
        let chosen: Vec<usize> = meter.chosen.topics().collect();
        for (topic, broker) in chosen.into_iter().flat_map(|t| (0..n).map(move |b| (t, b))) {
            meter.weigh_leaders(topic, broker, 1);
        }
        meter
    }

    /// The brokers of a partition, and the position of its leader.
    pub(crate) fn list(&self, partition: u32) -> (&[u32], u32) {
        let row = self.cluster.row(partition);
        let leader = self.leader[partition as usize] - row.start as u32;
        (&self.place[row], leader)
    }

    /// The same, and goes on being judged.
    pub(crate) fn clone_placement(&self) -> (Vec<u32>, Vec<u32>) {
        (self.place.clone(), self.leader.clone())
    }

    /// Broker of each replica, and the leading replica of each partition.
    pub(crate) fn placement(self) -> (Vec<u32>, Vec<u32>) {
        (self.place, self.leader)
    }

    /// Judges another placement of the same cluster. What has come where it came here stays in its log dir.
    pub(crate) fn again(&self, place: Vec<u32>, leader: Vec<u32>) -> Meter<'a> {
        Meter::holding(self.cluster, self.policy, (place, leader), self.seats())
    }

    /// The cluster with this placement.
    pub(crate) fn cluster(&self) -> Cluster {
        let mut cluster = self.cluster.placed(&self.place, &self.leader);
        for (replica, (_, dir)) in self.seats() {
            cluster.put_in(replica, dir);
        }
        cluster
    }

    /// The log dirs of replicas that come to brokers with several.
    pub(crate) fn seats(&self) -> Held {
        self.seating.seats(self.cluster, &self.place)
    }

    /// The score.
    pub(crate) fn score(&self) -> Score {
        let distance = |(goal, excess): (&Goal, &u128)| {
            let excess = if *goal == Goal::LeaderBytesIn { self.leader_in() } else { *excess };
            Distance { excess, goal: *goal, hard: self.policy.hard.contains(goal) }
        };
        Score {
            leaderless: self.leaderless,
            offline: self.offline,
            demoted: self.demoted,
            goals: self.policy.goals.iter().zip(&self.excess).map(distance).collect(),
        }
    }

    /// Whether a plan may lead here from a score: not to a worse one, and no hard goal is worse anywhere.
    pub(crate) fn is_acceptable(&self, before: &Score, after: &Score) -> bool {
        after <= before && self.harm.is_none(before, after)
    }

    /// One figure of a broker.
    pub(crate) fn figure_of(&self, broker: u32, figure: usize) -> i64 {
        self.sums[broker as usize][figure]
    }

    /// Which brokers are farther outside of hard goals than they may be: figure, and by how much (below: negative).
    pub(crate) fn harmed(&self) -> Vec<(u32, usize, i64)> {
        let mut harmed = self.harm.brokers(&self.limits, &self.sums);
        if self.guards_dirs {
            let dirs = (0..self.sums.len() as u32).map(|broker| (broker, DISK, self.seating.worse(broker)));
            harmed.extend(dirs.filter(|(.., worse)| *worse > 0));
        }
        harmed
    }

    /// What is farthest from a goal that is not met.
    pub(crate) fn worst(&self, goal: Goal) -> Option<Obstacle> {
        let brokers = 0..self.sums.len();
        match goal {
            _ if is_about_lists(goal) => {
                let wrong = |partition: &u32| self.wrong(goal, *partition) > 0;
                (0..self.cluster.partitions()).find(wrong).map(|partition| Obstacle::Partition { partition })
            }
            Goal::TopicDistribution | Goal::MinTopicLeaders => {
                let all =
                    (0..self.cluster.topics as usize).flat_map(|t| brokers.clone().map(move |b| (t, b)));
                let by = |topic: usize, broker: usize| match goal {
                    Goal::TopicDistribution => self.topic_excess(topic, broker),
                    _ => self.chosen.missing(self.cluster, topic, broker),
                };
                let worst = all.map(|(topic, broker)| (by(topic, broker), Reverse((topic, broker)))).max()?;
                let (by, Reverse((topic, broker))) = worst;
                let (topic, broker) = (topic as u32, broker as u32);
                Some(self.signed(goal, Obstacle::Topic { topic, broker, by: i64::from(by) }))
            }
            _ => {
                let figure = figure(goal)?;
                let at = self.policy.goals.iter().position(|other| *other == goal)?;
                let mean = (goal == Goal::LeaderBytesIn).then(|| (i64::MIN / 4, self.leader_in_limit()));
                let dirs =
                    |broker: u32| if goal == Goal::DiskCapacity { self.seating.beyond(broker) } else { 0 };
                let by = |broker: usize| {
                    let (low, high) = mean.or_else(|| self.limits[at].get(broker).copied())?;
                    let sum = self.sums[broker][figure];
                    let own = (sum - high).max(low - sum);
                    Some((own.max(dirs(broker as u32)), Reverse(broker), own))
                };
                let (by, Reverse(broker), own) = brokers.filter_map(by).max()?;
                let broker = broker as u32;
                let dir = (dirs(broker) > 0 && dirs(broker) >= own)
                    .then(|| self.seating.worst(self.cluster, broker));
                Some(match dir.flatten() {
                    Some((dir, by)) => Obstacle::LogDir { broker, dir, by },
                    None => self.signed(goal, Obstacle::Broker { broker, by }),
                })
            }
        }
    }

    /// Gives a partition other brokers, and another leader by its position.
    pub(crate) fn change(&mut self, partition: u32, replicas: &[u32], leader: u32) {
        let row = self.cluster.row(partition);
        let mut touched: Vec<u32> = self.place[row.clone()].iter().chain(replicas).copied().collect();
        touched.sort_unstable();
        touched.dedup();
        let topic = self.cluster.topic[partition as usize] as usize;
        self.weigh_all(partition, topic, &touched, -1);
        self.count(partition, -1);
        self.place[row.clone()].copy_from_slice(replicas);
        self.leader[partition as usize] = row.start as u32 + leader;
        self.count(partition, 1);
        self.weigh_all(partition, topic, &touched, 1);
    }

    fn weigh_all(&mut self, partition: u32, topic: usize, touched: &[u32], sign: i32) {
        self.weigh(touched, sign);
        self.weigh_list(partition, sign);
        for broker in touched {
            self.weigh_topic(topic, *broker as usize, sign);
            self.weigh_leaders(topic, *broker as usize, sign);
        }
    }

    /// Adds a partition to the sums of its brokers, or takes it out.
    fn count(&mut self, partition: u32, sign: i64) {
        let (cluster, p) = (self.cluster, partition as usize);
        let n = cluster.brokers.len();
        for (position, replica) in (0..).zip(cluster.row(partition)) {
            let broker = self.place[replica] as usize;
            self.seating.count(cluster, (partition, position), broker as u32, sign);
            let sum = &mut self.sums[broker];
            let load = cluster.load_at(replica, broker as u32);
            for (sum, load) in sum.iter_mut().zip(load) {
                *sum += sign * load;
            }
            sum[COUNT] += sign;
            sum[POTENTIAL] += sign * cluster.potential[p];
            let stays = cluster.place[replica] as usize == broker;
            let nobody = !cluster.brokers[broker].alive || (stays && cluster.failed(replica as u32));
            if self.leader[p] as usize == replica {
                self.leaderless = self.leaderless.wrapping_add_signed(sign * i64::from(nobody));
                self.chosen.count(cluster.topic[p] as usize, broker, sign as i32);
                let known = &cluster.brokers[broker];
                if self.policy.leaders == Leaders::Demoted && known.alive && !known.takes_leadership {
                    self.demoted = self.demoted.wrapping_add_signed(sign);
                }
                sum[LEADERS] += sign;
                sum[LEADER_IN] += sign * load[NETWORK_IN];
                sum[CPU] += sign * cluster.leader_cpu[p];
                sum[NETWORK_OUT] += sign * cluster.leader_network_out[p];
            }
            let held = &mut self.topic[cluster.topic[p] as usize * n + broker];
            *held = held.wrapping_add_signed(sign as i32);
            self.offline = self.offline.wrapping_add_signed(sign * i64::from(nobody));
        }
        self.harm.count(cluster, partition, (&self.place, self.leader[p]), sign);
    }

    /// Adds what brokers are outside of the goals that limit their figures.
    fn weigh(&mut self, brokers: &[u32], sign: i32) {
        if sign > 0 {
            self.seating.weigh(self.cluster, brokers);
        }
        if self.guards_dirs {
            for broker in brokers {
                self.harm.add(whole(self.seating.worse(*broker)), sign);
            }
        }
        for (goal, (limits, total)) in self.policy.goals.iter().zip(self.limits.iter().zip(&mut self.excess))
        {
            let Some(figure) = figure(*goal) else { continue };
            for broker in brokers {
                let Some((low, high)) = limits.get(*broker as usize) else { continue };
                let sum = self.sums[*broker as usize][figure];
                let dirs = if *goal == Goal::DiskCapacity { self.seating.beyond(*broker) } else { 0 };
                let out = (sum - high).max(low - sum).max(dirs);
                if out > 0 {
                    add(total, whole(out), sign);
                }
            }
        }
        self.harm.weigh(brokers, &self.limits, &self.sums, sign);
    }

    /// Adds what goals find wrong with one partition's list. What is frozen counts for none of them.
    fn weigh_list(&mut self, partition: u32, sign: i32) {
        for at in 0..self.about_lists.len() {
            let goal = self.about_lists[at];
            let wrong = self.wrong(self.policy.goals[goal], partition);
            if wrong > 0 {
                add(&mut self.excess[goal], whole(wrong as i64), sign);
                self.harm_list(self.policy.goals[goal], partition, wrong, sign);
            }
        }
    }

    /// How much a goal finds wrong with one partition's list.
    pub(crate) fn wrong(&self, goal: Goal, partition: u32) -> usize {
        let row = self.cluster.row(partition);
        let first_leads = self.leader[partition as usize] as usize == row.start;
        self.wrong_with(goal, partition, &self.place[row], first_leads)
    }

    fn wrong_with(&self, goal: Goal, partition: u32, list: &[u32], first_leads: bool) -> usize {
        if self.cluster.frozen[partition as usize] {
            return 0;
        }
        let known = |broker: &u32| &self.cluster.brokers[*broker as usize];
        match goal {
            Goal::RackAware => sharing(self.cluster, list),
            Goal::RacksKept => sharing(self.cluster, list)
                .saturating_sub(sharing(self.cluster, self.cluster.replicas(partition))),
            Goal::RackAwareDistribution => {
                uneven(list.iter().map(|broker| known(broker).rack).collect(), self.open_racks as usize)
            }
            Goal::BrokerSetAware => {
                let set = self.cluster.bound_to_set[self.cluster.topic[partition as usize] as usize];
                list.iter().filter(|broker| set.is_some() && known(broker).set != set).count()
            }
            Goal::PreferredLeader => {
                let may = list.first().map(known).is_some_and(|first| first.alive && first.takes_leadership);
                usize::from(may && !first_leads)
            }
            _ => 0,
        }
    }

    /// Adds what a hard goal finds wrong with a list beyond what it found at the start.
    fn harm_list(&mut self, goal: Goal, partition: u32, wrong: usize, sign: i32) {
        if self.policy.hard.contains(&goal) {
            let list = &self.place[self.cluster.row(partition)];
            self.harm.add(whole(self.harm_by(goal, partition, list, wrong)), sign);
        }
    }

    /// Whether a list of a partition has become worse by a hard goal that is about lists.
    pub(crate) fn is_harmed(&self, partition: u32) -> bool {
        let worse = |at: &usize| {
            let goal = self.policy.goals[*at];
            let wrong = self.wrong(goal, partition);
            let list = &self.place[self.cluster.row(partition)];
            wrong > 0 && self.policy.hard.contains(&goal) && self.harm_by(goal, partition, list, wrong) > 0
        };
        self.about_lists.iter().any(worse)
    }

    /// By how much a list with something wrong is worse than at the start. Those that live are judged among themselves, too; and what comes
    /// off dead brokers goes where there is room.
    fn harm_by(&self, goal: Goal, partition: u32, now: &[u32], wrong: usize) -> i64 {
        let cluster = self.cluster;
        let (home, row) = (cluster.replicas(partition), cluster.row(partition));
        let lives = |at: &usize| !cluster.homeless((row.start + at) as u32);
        let was = self.wrong_with(goal, partition, home, cluster.leader(partition) == 0);
        let of_all = wrong as i64 - was as i64;
        if (0..home.len()).all(|at| lives(&at)) {
            return of_all;
        }
        let list = |of: &[u32]| (0..of.len()).filter(lives).map(|at| of[at]).collect::<Vec<u32>>();
        let of = |list: &[u32]| match goal {
            Goal::PreferredLeader => 0,
            _ => self.wrong_with(goal, partition, list, true) as i64,
        };
        let of_living = of(&list(now)) - of(&list(home));
        let healed = (0..home.len()).any(|at| !lives(&at) && now[at] != home[at]);
        // Where racks are too few, who shares one is all the same.
        let shared = if goal == Goal::RackAware { home.len().saturating_sub(self.living_racks) } else { 0 };
        let of_living = of_living.min(wrong as i64 - shared as i64);
        if healed { of_living } else { of_living.max(of_all) }
    }

    fn topic_excess(&self, topic: usize, broker: usize) -> u32 {
        let held = self.topic[topic * self.cluster.brokers.len() + broker];
        if held == 0 || !self.cluster.brokers[broker].alive {
            return 0;
        }
        let (low, high) = self.topic_limits[topic];
        held.saturating_sub(high).max(low.saturating_sub(held))
    }

    fn weigh_topic(&mut self, topic: usize, broker: usize, sign: i32) {
        let out = self.topic_excess(topic, broker);
        if out > 0 {
            for (goal, total) in self.policy.goals.iter().zip(&mut self.excess) {
                if *goal == Goal::TopicDistribution {
                    add(total, whole(i64::from(out)), sign);
                }
            }
        }
    }

    /// Adds what a broker lacks of leaders of a topic.
    fn weigh_leaders(&mut self, topic: usize, broker: usize, sign: i32) {
        let missing = self.chosen.missing(self.cluster, topic, broker);
        if missing > 0 {
            for (goal, total) in self.policy.goals.iter().zip(&mut self.excess) {
                if *goal == Goal::MinTopicLeaders {
                    add(total, whole(i64::from(missing)), sign);
                }
            }
            self.harm.lead(self.cluster, (topic, broker), missing, sign);
        }
    }

    fn leader_in_limit(&self) -> i64 {
        let sum = self.alive.iter().map(|b| self.sums[*b][LEADER_IN]).sum();
        leader_in_limit(self.policy, sum, self.alive.len().max(1) as i64)
    }

    /// What leaders take in beyond the limit. It follows the mean, so that all brokers count whenever one changes.
    fn leader_in(&self) -> u128 {
        let high = self.leader_in_limit();
        self.sums.iter().map(|sum| whole(sum[LEADER_IN] - high)).sum()
    }
}

/// Whether a goal is about the list of each partition by itself.
pub(crate) fn is_about_lists(goal: Goal) -> bool {
    matches!(
        goal,
        Goal::BrokerSetAware
            | Goal::RackAware
            | Goal::RacksKept
            | Goal::RackAwareDistribution
            | Goal::PreferredLeader
    )
}

fn limits_of(cluster: &Cluster, policy: &Policy, alive: &[usize], goal: Goal) -> Vec<(i64, i64)> {
    if figure(goal).is_none() || goal == Goal::LeaderBytesIn || overflow(cluster, policy, goal) > 0 {
        return Vec::new();
    }
    let limits = |broker: usize| {
        if !cluster.brokers[broker].alive {
            return (i64::MIN / 4, i64::MAX / 4);
        }
        let (low, high, _) = limits(cluster, policy, alive, broker, goal);
        (low, high)
    };
    (0..cluster.brokers.len()).map(limits).collect()
}

fn add(total: &mut u128, excess: u128, sign: i32) {
    *total = if sign > 0 { *total + excess } else { *total - excess };
}

fn whole(count: i64) -> u128 {
    u128::from(count.max(0).unsigned_abs())
}

/// How many replicas of a partition stand in a rack too many for an even spread over so many racks.
pub(crate) fn uneven(mut racks: Vec<u32>, open: usize) -> usize {
    let (each, more) = (racks.len() / open.max(1), racks.len() % open.max(1));
    racks.sort_unstable();
    let (mut beyond, mut full) = (0, 0);
    for rack in racks.chunk_by(|a, b| a == b) {
        full += usize::from(rack.len() > each);
        beyond += rack.len().saturating_sub(each + 1);
    }
    beyond + full.saturating_sub(more)
}

/// Racks over which replicas can be spread: those with a broker that may take some.
pub(crate) fn open_racks(cluster: &Cluster) -> u32 {
    racks(cluster.brokers.iter().filter(|broker| broker.alive && broker.takes_replicas))
}

/// Racks with a broker that lives.
pub(crate) fn living_racks(cluster: &Cluster) -> u32 {
    racks(cluster.brokers.iter().filter(|broker| broker.alive))
}

/// The most replicas of a partition that is not frozen.
pub(crate) fn widest(cluster: &Cluster) -> u32 {
    let thawed = (0..cluster.partitions()).filter(|partition| !cluster.frozen(*partition));
    thawed.map(|partition| cluster.row(partition).len()).max().unwrap_or(0) as u32
}

fn racks<'a>(brokers: impl Iterator<Item = &'a Broker>) -> u32 {
    let mut racks: Vec<u32> = brokers.map(|broker| broker.rack).collect();
    racks.sort_unstable();
    racks.dedup();
    racks.len() as u32
}

/// How many replicas of a list are in a rack that one before them is in.
fn sharing(cluster: &Cluster, list: &[u32]) -> usize {
    let rack = |broker: &u32| cluster.brokers[*broker as usize].rack;
    let again = |at: &usize| list[..*at].iter().any(|other| rack(other) == rack(&list[*at]));
    (0..list.len()).filter(again).count()
}
