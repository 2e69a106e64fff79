//! What a placement makes worse of hard goals than it was: goal by goal, and broker by broker, as a sum hides who suffers for
//! whom.
//!
//! What comes off dead brokers, and leadership off those that may not lead, somebody has to take: a broker may be farther
//! outside by so much as it took of it; its disk never. To a goal that no placement can meet not all brokers can keep: it is the
//! whole that may not be farther from it. Where no data moves, those that keep to it go on doing so, too: leadership alone spreads
//! nothing over more brokers that would be worth one more beyond its limits.

use super::bands::{COUNT, FIGURES, Figures, LEADER_IN, LEADERS, POTENTIAL, Proofs, figure};
use super::chosen::Chosen;
use super::cluster::{CPU, Cluster, DISK, NETWORK_IN, NETWORK_OUT};
use super::policy::{Goal, Leaders, Moves, Policy};
use super::score::Score;
use super::state::add;

/// The figures of a broker that leading adds to, of those that hard goals are judged by.
const LED: [usize; 3] = [CPU, NETWORK_OUT, LEADERS];

/// Limits of each broker by goal.
type Limits = [Vec<(i64, i64)>];

/// A hard goal that is judged broker by broker.
struct Guard {
    /// Its place among the goals.
    at: usize,
    figure: usize,
    /// Whether a broker may be worse by what it takes off dead ones.
    yields: bool,
    /// Whether no placement meets the goal: then it holds for brokers that were within their limits alone.
    unmeetable: bool,
    /// How far each broker was outside.
    was: Vec<i64>,
}

pub(super) struct Harm {
    guards: Vec<Guard>,
    /// Places of hard goals of which the whole may not be worse, and the figure of brokers that each is about.
    in_all: Vec<(usize, Option<usize>)>,
    /// Whether what leads from brokers that may not lead is to pass on.
    demotes: bool,
    /// Whether anything is to come off anywhere.
    comes_off: bool,
    /// By broker what it has taken that had to come off another.
    taken: Vec<Figures>,
    /// Leaders of chosen topics as they were, where that is a hard goal.
    led: Option<Chosen>,
    worse: u128,
}

impl Harm {
    pub(super) fn of(cluster: &Cluster, policy: &Policy) -> Harm {
        let (mut guards, mut in_all) = (Vec::new(), Vec::new());
        let proofs = Proofs::new(cluster, policy);
        for (at, goal) in policy.goals.iter().enumerate().filter(|(_, goal)| policy.hard.contains(goal)) {
            match figure(*goal) {
                Some(figure) if *goal != Goal::LeaderBytesIn => {
                    let unmeetable = proofs.is_dropped(*goal);
                    let yields = *goal != Goal::DiskCapacity;
                    if unmeetable {
                        in_all.push((at, Some(figure)));
                    }
                    if !unmeetable || policy.moves == Moves::Nothing {
                        guards.push(Guard { at, figure, yields, unmeetable, was: Vec::new() });
                    }
                }
                Some(_) => in_all.push((at, None)),
                None if *goal == Goal::TopicDistribution => in_all.push((at, None)),
                None => {}
            }
        }
        let demotes = policy.leaders == Leaders::Demoted;
        let homeless = |replica: usize| cluster.homeless(replica as u32);
        let comes_off = demotes || (0..cluster.place.len()).any(homeless);
        let chosen =
            policy.hard.contains(&Goal::MinTopicLeaders) && policy.goals.contains(&Goal::MinTopicLeaders);
        let led = chosen.then(|| Chosen::of(cluster)).filter(|chosen| !chosen.is_empty());
        Harm { guards, in_all, demotes, comes_off, taken: Vec::new(), led, worse: 0 }
    }

    /// Notes how things were before anything moved.
    pub(super) fn start(&mut self, cluster: &Cluster, limits: &Limits) {
        self.taken = vec![[0; FIGURES]; cluster.brokers.len()];
        let mut sums = vec![[0; FIGURES]; cluster.brokers.len()];
        for partition in 0..cluster.partitions() {
            let row = cluster.row(partition);
            let leader = row.start + cluster.leader(partition) as usize;
            for replica in row {
                let sum = &mut sums[cluster.place[replica] as usize];
                let mut figures = follows(cluster, partition, replica);
                figures[DISK] = cluster.load_at(replica, cluster.place[replica])[DISK];
                add(sum, &figures, 1);
                if replica == leader {
                    add(sum, &leads(cluster, partition, replica), 1);
                }
            }
            if let Some(led) = &mut self.led {
                led.count(cluster.topic(partition) as usize, cluster.place[leader] as usize, 1);
            }
        }
        for guard in &mut self.guards {
            let out = |(limits, sum): (&(i64, i64), &Figures)| outside(*limits, sum[guard.figure]);
            guard.was = limits[guard.at].iter().zip(&sums).map(out).collect();
        }
    }

    /// Counts what a partition's brokers have taken that had to come off others, or no longer does.
    pub(super) fn count(&mut self, cluster: &Cluster, partition: u32, now: (&[u32], u32), sign: i64) {
        if !self.comes_off {
            return;
        }
        let (place, leader) = (now.0, now.1 as usize);
        let row = cluster.row(partition);
        let first = row.start + cluster.leader(partition) as usize;
        let led_by = &cluster.brokers[cluster.place[first] as usize];
        let passes = cluster.homeless(first as u32) || (self.demotes && !led_by.takes_leadership);
        for replica in row {
            let (home, broker) = (cluster.place[replica], place[replica]);
            if home != broker && cluster.homeless(replica as u32) {
                add(&mut self.taken[broker as usize], &follows(cluster, partition, replica), sign);
            }
            if replica == leader && passes && cluster.place[first] != broker {
                add(&mut self.taken[broker as usize], &leads(cluster, partition, replica), sign);
            }
        }
    }

    /// Adds what brokers are outside beyond what they may be.
    pub(super) fn weigh(&mut self, brokers: &[u32], limits: &Limits, sums: &[Figures], sign: i32) {
        for guard in &self.guards {
            for broker in brokers {
                let beyond = guard.beyond(*broker as usize, limits, sums, &self.taken);
                if beyond > 0 {
                    change(&mut self.worse, beyond.unsigned_abs().into(), sign);
                }
            }
        }
    }

    /// Adds what a broker lacks of leaders of a topic beyond what it lacked.
    pub(super) fn lead(
        &mut self,
        cluster: &Cluster,
        (topic, broker): (usize, usize),
        missing: u32,
        sign: i32,
    ) {
        let was = self.led.as_ref().map(|led| led.missing(cluster, topic, broker));
        if let Some(more) = was.and_then(|was| missing.checked_sub(was)) {
            self.add(more.into(), sign);
        }
    }

    pub(super) fn add(&mut self, worse: u128, sign: i32) {
        change(&mut self.worse, worse, sign);
    }

    /// Whether no hard goal is worse.
    pub(super) fn is_none(&self, before: &Score, after: &Score) -> bool {
        let healed = |score: &Score| (score.leaderless, score.offline, score.demoted);
        let healed = healed(after) != healed(before);
        let holds = |(at, figure): &(usize, Option<usize>)| {
            let (was, is) = (before.goals[*at].excess, after.goals[*at].excess);
            let taken = |figure: usize| self.taken.iter().map(|taken| taken[figure]).sum::<i64>();
            is <= was || (healed && figure.is_none_or(|f| is - was <= taken(f).unsigned_abs().into()))
        };
        self.worse == 0 && self.in_all.iter().all(holds)
    }

    /// Whether a broker is farther outside than it was in what leading adds to.
    pub(super) fn is_burdened(&self, broker: u32, limits: &Limits, sum: &Figures) -> bool {
        let led = self.guards.iter().filter(|guard| LED.contains(&guard.figure));
        led.map(|guard| guard.farther(broker as usize, limits, sum)).any(|farther| farther > 0)
    }

    /// Whether a broker is farther outside than it was in anything.
    pub(super) fn is_worse_off(&self, broker: u32, limits: &Limits, sum: &Figures) -> bool {
        self.guards.iter().any(|guard| guard.farther(broker as usize, limits, sum) > 0)
    }

    /// Whether a broker can take figures more and is no farther outside than it was.
    pub(super) fn bears(&self, broker: u32, limits: &Limits, (sum, more): (&Figures, &Figures)) -> bool {
        let mut with = *sum;
        add(&mut with, more, 1);
        let changed = self.guards.iter().filter(|guard| more[guard.figure] != 0);
        changed.map(|guard| guard.farther(broker as usize, limits, &with)).all(|farther| farther <= 0)
    }

    /// How far a broker's disk was beyond its hard limit before anything moved; nothing where that keeps nobody from taking more.
    pub(super) fn disk_was_beyond(&self, broker: u32) -> Option<i64> {
        self.guards.iter().find(|guard| !guard.yields)?.was.get(broker as usize).copied()
    }

    /// How many leaders of a topic a broker lacked then. Nothing where it may lack any number.
    pub(super) fn lacked(&self, cluster: &Cluster, (topic, broker): (usize, usize)) -> Option<u32> {
        self.led.as_ref().map(|led| led.missing(cluster, topic, broker))
    }

    /// Brokers that are farther outside than they may be, in which figure, and by how much: negative where it is too little.
    pub(super) fn brokers(&self, limits: &Limits, sums: &[Figures]) -> Vec<(u32, usize, i64)> {
        let mut harmed = Vec::new();
        for guard in &self.guards {
            for broker in 0..guard.was.len() {
                let beyond = guard.beyond(broker, limits, sums, &self.taken);
                if beyond > 0 {
                    let over = sums[broker][guard.figure] > limits[guard.at][broker].1;
                    harmed.push((broker as u32, guard.figure, if over { beyond } else { -beyond }));
                }
            }
        }
        harmed
    }
}

impl Guard {
    fn beyond(&self, broker: usize, limits: &Limits, sums: &[Figures], taken: &[Figures]) -> i64 {
        if self.unmeetable && self.was.get(broker).is_some_and(|was| *was > 0) {
            return 0;
        }
        let farther = self.farther(broker, limits, &sums[broker]);
        farther - if self.yields { taken[broker][self.figure] } else { 0 }
    }

    /// How much farther outside a broker is with such figures than it was.
    fn farther(&self, broker: usize, limits: &Limits, figures: &Figures) -> i64 {
        let Some(was) = self.was.get(broker) else { return 0 };
        outside(limits[self.at][broker], figures[self.figure]) - was
    }
}

fn outside((low, high): (i64, i64), sum: i64) -> i64 {
    (sum - high).max(low - sum).max(0)
}

fn change(total: &mut u128, by: u128, sign: i32) {
    *total = if sign > 0 { *total + by } else { *total - by };
}

pub(super) fn follows(cluster: &Cluster, partition: u32, replica: usize) -> Figures {
    let mut figures = [0; FIGURES];
    figures[..DISK + 1].copy_from_slice(&cluster.load[replica]);
    figures[COUNT] = 1;
    figures[POTENTIAL] = cluster.potential[partition as usize];
    figures
}

pub(super) fn leads(cluster: &Cluster, partition: u32, replica: usize) -> Figures {
    let mut figures = [0; FIGURES];
    figures[CPU] = cluster.leader_cpu[partition as usize];
    figures[NETWORK_OUT] = cluster.leader_network_out[partition as usize];
    figures[LEADERS] = 1;
    figures[LEADER_IN] = cluster.load[replica][NETWORK_IN];
    figures
}
