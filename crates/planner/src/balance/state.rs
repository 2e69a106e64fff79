//! A placement while it is being searched: who holds what, and what that makes of each broker's figures.

mod disk;
mod hosts;

use super::bands::{Band, Bands, COUNT, FIGURES, Figures, LEADER_IN, LEADERS, POTENTIAL};
use super::chosen::Chosen;
use super::cluster::{CPU, Cluster, DISK, Mark, NETWORK_IN, NETWORK_OUT};
use super::dirs::{BrokerDirs, by_broker};
use super::policy::{Goal, Leaders, Moves, Policy, Preference};
use super::score::{living_racks, open_racks, widest};
use super::watch::Watch;

/// What one topic's replica outside its limits costs: as much as a tenth of a fair share of load.
const TOPIC: i64 = 1 << 21;
/// The figures that leadership changes.
const LED: [usize; 4] = [CPU, NETWORK_OUT, LEADERS, LEADER_IN];
/// The others.
const NOT_LED: [usize; 4] = [NETWORK_IN, DISK, COUNT, POTENTIAL];
/// The place of a replica that has left its broker and has not arrived anywhere yet.
pub(crate) const NOWHERE: u32 = u32::MAX;

pub(crate) struct State<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) policy: &'a Policy,
    pub(crate) bands: Bands,
    /// Broker of each replica.
    pub(crate) place: Vec<u32>,
    /// Leading replica of each partition.
    pub(crate) leader: Vec<u32>,
    pub(crate) part: Vec<u32>,
    pub(crate) sum: Vec<Figures>,
    pub(crate) cost: Vec<i64>,
    /// The part of each broker's cost that leadership can change.
    pub(crate) led_cost: Vec<i64>,
    /// Replicas by topic and broker.
    pub(crate) topic: Vec<u32>,
    /// Leaders by broker of the topics that must have some on each.
    pub(crate) chosen: Chosen,
    /// Brokers that are not alive.
    pub(crate) dead: Vec<usize>,
    /// Replicas in failed log dirs of living brokers.
    pub(crate) failed: Vec<u32>,
    /// Whether the replicas of a broker may move by the policy.
    source: Vec<bool>,
    /// Replicas of each broker, in no order, and where each replica stands there.
    pub(crate) on: Vec<Vec<u32>>,
    slot: Vec<u32>,
    /// What each broker's disk must stay below whatever else is at stake.
    disk_limit: Vec<i64>,
    /// Log dirs of brokers that have several, and in which of them each replica stands; both empty where no broker has.
    pub(crate) dirs: Vec<Option<BrokerDirs>>,
    seat: Vec<u32>,
    racks: Racks,
    /// Whether replicas that have to share a rack rather do not share a host.
    parts_hosts: bool,
    /// Whether leaders' inbound network is limited.
    leader_in: bool,
    /// Whether replicas rather stay in their racks.
    same_rack: bool,
    /// Who is told how far the search is.
    pub(crate) watch: Watch<'a>,
}

/// How many replicas of a partition may share a rack.
#[derive(Debug, Clone, Copy)]
enum Racks {
    Any,
    One,
    /// As few as so many racks allow.
    Even(u32),
}

impl<'a> State<'a> {
    /// As things stand, for a search of which somebody is told.
    pub(crate) fn watched(cluster: &'a Cluster, policy: &'a Policy, watch: Watch<'a>) -> State<'a> {
        let goals = &policy.goals;
        let n = cluster.brokers.len();
        let mut state = State {
            cluster,
            policy,
            bands: Bands::new(cluster, policy, goals, true),
            place: cluster.place.clone(),
            leader: Vec::with_capacity(cluster.topic.len()),
            part: Vec::with_capacity(cluster.place.len()),
            sum: vec![[0; FIGURES]; n],
            cost: vec![0; n],
            led_cost: vec![0; n],
            topic: vec![0; n * cluster.topics as usize],
            chosen: if goals.contains(&Goal::MinTopicLeaders) {
                Chosen::of(cluster)
            } else {
                Chosen::none(cluster)
            },
            dead: (0..n).filter(|broker| !cluster.brokers[*broker].alive).collect(),
            failed: (0..cluster.place.len() as u32)
                .filter(|r| cluster.failed(*r) && cluster.brokers[cluster.place[*r as usize] as usize].alive)
                .collect(),
            source: vec![true; n],
            on: vec![Vec::new(); n],
            slot: Vec::with_capacity(cluster.place.len()),
            same_rack: policy.prefers(Preference::SameRack),
            watch,
            leader_in: goals.contains(&Goal::LeaderBytesIn),
            disk_limit: disk::limits(cluster, policy),
            dirs: by_broker(cluster, policy, policy.margin),
            seat: disk::seats(cluster),
            parts_hosts: hosts::parts(cluster),
            racks: if goals.contains(&Goal::RackAware) || goals.contains(&Goal::RacksKept) {
                match (widest(cluster), living_racks(cluster)) {
                    // Where racks are too few for the goal, as few as can be share one.
                    (widest, racks) if widest > racks => Racks::Even(racks.max(1)),
                    _ => Racks::One,
                }
            } else if goals.contains(&Goal::RackAwareDistribution) {
                Racks::Even(open_racks(cluster).max(1))
            } else {
                Racks::Any
            },
        };
        for partition in 0..cluster.partitions() {
            let row = cluster.row(partition);
            state.leader.push(row.start as u32 + cluster.leader[partition as usize]);
            for replica in row {
                let broker = state.place[replica] as usize;
                state.part.push(partition);
                state.slot.push(state.on[broker].len() as u32);
                state.on[broker].push(replica as u32);
                state.topic[cluster.topic[partition as usize] as usize * n + broker] += 1;
                let figures = state.figures_at(replica as u32, broker as u32);
                add(&mut state.sum[broker], &figures, 1);
            }
        }
        for partition in 0..cluster.topic.len() {
            state.count_leader(state.leader[partition], 1);
        }
        state.refresh_cost();
        state.refresh_mean();
        state.find_sources();
        state
    }

    /// Finds the brokers whose replicas the policy lets move.
    fn find_sources(&mut self) {
        for (source, known) in self.source.iter_mut().zip(&self.cluster.brokers) {
            *source = match self.policy.moves {
                Moves::All | Moves::ToNew => true,
                Moves::Offline => !known.alive,
                Moves::OffOverloaded => !known.alive || known.mark == Mark::Overloaded,
                Moves::Nothing => false,
            };
        }
    }

    fn count_leader(&mut self, replica: u32, sign: i32) {
        let broker = self.place[replica as usize];
        if broker != NOWHERE && !self.chosen.is_empty() {
            self.chosen.count(self.topic_of(replica), broker as usize, sign);
        }
    }

    pub(crate) fn leads(&self, replica: u32) -> bool {
        self.leader[self.part[replica as usize] as usize] == replica
    }

    /// Whether the leader of a partition may leave its broker as far as its topic needs leaders there.
    pub(crate) fn spares(&self, leader: u32) -> bool {
        let place = self.place[leader as usize];
        self.chosen.is_empty()
            || place == NOWHERE
            || self.chosen.spares(self.cluster, self.topic_of(leader), place as usize)
    }

    /// Whether the policy lets leadership pass from one replica to another of its partition.
    pub(crate) fn may_pass(&self, leader: u32, heir: u32) -> bool {
        let cluster = self.cluster;
        let home = |replica: u32| &cluster.brokers[self.home(replica) as usize];
        // By where things stood when planning began: what the plan itself has passed on it may pass on again.
        let partition = self.part[leader as usize];
        let first = cluster.row(partition).start as u32 + cluster.leader(partition);
        let leads = match self.policy.leaders {
            Leaders::All => true,
            Leaders::Orphaned => cluster.homeless(first),
            Leaders::ToPlaced => cluster.homeless(first) || cluster.homeless(heir),
            Leaders::Demoted => cluster.homeless(first) || !home(first).takes_leadership,
        };
        leads && cluster.keeps_up(heir) && self.spares(leader)
    }

    /// The brokers as they stand.
    pub(crate) fn brokers(&self) -> Brokers {
        let cost = |(bands, sum): (&[Band; FIGURES], &Figures)| {
            std::array::from_fn(|figure| bands[figure].cost(sum[figure]))
        };
        Brokers {
            cost: self.bands.of.iter().zip(&self.sum).map(cost).collect(),
            bands: self.bands.of.clone(),
            sum: self.sum.clone(),
            topic: self.topic.clone(),
            topic_limits: self.bands.topic.clone(),
        }
    }

    /// Sets the limit of leaders' inbound network by its present mean.
    pub(crate) fn refresh_mean(&mut self) {
        if !self.leader_in {
            return;
        }
        let alive = self.cluster.brokers.iter().zip(&self.sum).filter(|(broker, _)| broker.alive);
        let sum = alive.map(|(_, sum)| sum[LEADER_IN]).sum();
        self.bands.set_leader_in(self.cluster, self.policy, sum);
        self.refresh_cost();
    }

    /// Sets how much the middle of each band pulls.
    pub(crate) fn set_pull(&mut self, pull: i64) {
        self.bands.set_pull(pull);
        self.refresh_cost();
    }

    fn refresh_cost(&mut self) {
        for broker in 0..self.cost.len() {
            self.recost(broker);
        }
    }

    /// Follows a change of a broker's figures.
    fn recost(&mut self, broker: usize) {
        let (bands, sum) = (&self.bands.of[broker], &self.sum[broker]);
        let cost = |figures: [usize; 4]| -> i64 {
            figures.iter().map(|figure| bands[*figure].cost(sum[*figure])).sum()
        };
        self.led_cost[broker] = cost(LED);
        self.cost[broker] = self.led_cost[broker] + cost(NOT_LED);
    }

    /// What a replica adds to its broker, in its present role.
    pub(crate) fn figures(&self, replica: u32) -> Figures {
        let mut figures = self.follower(replica);
        if self.leads(replica) {
            add(&mut figures, &self.leadership(replica), 1);
        }
        figures
    }

    /// The same without a branch on who leads, for many replicas of known partitions in a row.
    #[inline]
    pub(crate) fn figures_in(&self, replica: u32, partition: u32) -> Figures {
        let (load, p) = (&self.cluster.load[replica as usize], partition as usize);
        let leads = i64::from(self.leader[p] == replica);
        let mut figures = [0; FIGURES];
        figures[..4].copy_from_slice(load);
        figures[CPU] += leads * self.cluster.leader_cpu[p];
        figures[NETWORK_OUT] += leads * self.cluster.leader_network_out[p];
        figures[COUNT] = 1;
        figures[LEADERS] = leads;
        figures[LEADER_IN] = leads * load[NETWORK_IN];
        figures[POTENTIAL] = self.cluster.potential[p];
        figures
    }

    /// The same on a broker: what stands there in a failed log dir is on none of the disks that work.
    fn figures_at(&self, replica: u32, broker: u32) -> Figures {
        let mut figures = self.figures(replica);
        figures[DISK] = self.cluster.load_at(replica as usize, broker)[DISK];
        figures
    }

    /// A replica's figures but for its leadership.
    pub(crate) fn follower(&self, replica: u32) -> Figures {
        let mut figures = [0; FIGURES];
        figures[..4].copy_from_slice(&self.cluster.load[replica as usize]);
        figures[COUNT] = 1;
        figures[POTENTIAL] = self.cluster.potential[self.part[replica as usize] as usize];
        figures
    }

    /// What leaves a broker with a replica at least. Where leadership may pass on it need not leave with the replica.
    pub(crate) fn takes_along(&self, replica: u32) -> Figures {
        if self.policy.leaders == Leaders::Orphaned { self.figures(replica) } else { self.follower(replica) }
    }

    /// What leading adds to a replica's broker.
    pub(crate) fn leadership(&self, replica: u32) -> Figures {
        let partition = self.part[replica as usize] as usize;
        let mut figures = [0; FIGURES];
        figures[CPU] = self.cluster.leader_cpu[partition];
        figures[NETWORK_OUT] = self.cluster.leader_network_out[partition];
        figures[LEADERS] = 1;
        figures[LEADER_IN] = self.cluster.load[replica as usize][NETWORK_IN];
        figures
    }

    pub(crate) fn rack(&self, broker: u32) -> u32 {
        self.cluster.brokers[broker as usize].rack
    }

    pub(crate) fn home(&self, replica: u32) -> u32 {
        self.cluster.place[replica as usize]
    }

    /// How many replicas of the partition are too many in a broker's rack with this replica there.
    pub(crate) fn crowd(&self, replica: u32, broker: u32) -> u32 {
        let row = self.cluster.row(self.part[replica as usize]);
        let allowed = match self.racks {
            Racks::Any => return 0,
            Racks::One => 1,
            Racks::Even(racks) => self.even_share(replica, self.rack(broker), racks),
        };
        let rack = self.rack(broker);
        let shares = |other: &usize| {
            let place = self.place[*other];
            *other != replica as usize && place != NOWHERE && self.rack(place) == rack
        };
        (row.filter(shares).count() as u32 + 1).saturating_sub(allowed)
    }

    /// How many of a partition's replicas may stand in a rack, as the others stand: one more than the even share only
    /// where not enough other racks have so many.
    fn even_share(&self, replica: u32, rack: u32, open: u32) -> u32 {
        let row = self.cluster.row(self.part[replica as usize]);
        let (each, more) = (row.len() as u32 / open, row.len() as u32 % open);
        if more == 0 {
            return each;
        }
        let placed = |other: &usize| *other != replica as usize && self.place[*other] != NOWHERE;
        let in_rack = |other: usize| self.rack(self.place[other]);
        let others = || row.clone().filter(placed);
        let held = |rack: u32| others().filter(|other| in_rack(*other) == rack).count() as u32;
        // Each rack is counted by the first of its replicas.
        let first =
            |other: &usize| !others().take_while(|o| o < other).any(|o| in_rack(o) == in_rack(*other));
        let full = |other: &usize| in_rack(*other) != rack && held(in_rack(*other)) > each;
        if (others().filter(full).filter(first).count() as u32) < more { each + 1 } else { each }
    }

    fn holds(&self, partition: u32, broker: u32) -> bool {
        self.place[self.cluster.row(partition)].contains(&broker)
    }

    /// Whether a replica may be sent to a broker at all, racks aside.
    pub(crate) fn may_take(&self, replica: u32, to: u32) -> bool {
        let broker = &self.cluster.brokers[to as usize];
        let partition = self.part[replica as usize];
        let topic = self.cluster.topic[partition as usize] as usize;
        (broker.alive && broker.takes_replicas)
            && self.cluster.bound_to_set[topic].is_none_or(|set| broker.set == Some(set))
            && (self.leader[partition as usize] != replica || broker.takes_leadership)
            && !self.holds(partition, to)
            && self.has_dir(replica, to)
            // What a kept broker holds stays its own: Kafka would not exchange it for another replica's data.
            && if self.home(replica) == to {
                !self.cluster.failed(replica)
            } else {
                !self.cluster.replicas(partition).contains(&to)
            }
            && (self.policy.moves != Moves::ToNew
                || broker.mark == Mark::New
                || self.home(replica) == to
                || self.cluster.homeless(replica))
    }

    /// Whether a replica may go from where it is to a broker without a worse rack.
    pub(crate) fn legal(&self, replica: u32, to: u32) -> bool {
        if !self.may_take(replica, to) {
            return false;
        }
        let crowd = self.crowd(replica, to);
        let from = self.place[replica as usize];
        if self.same_rack && from != NOWHERE && self.strays(replica, from, to) {
            return false;
        }
        if self.shares_host(replica, to) && !(from != NOWHERE && self.shares_host(replica, from)) {
            return false;
        }
        crowd == 0 || (from != NOWHERE && crowd <= self.crowd(replica, from))
    }

    /// Whether some partition has as many replicas as there are racks, none of which may hold two.
    pub(crate) fn fills_racks(&self) -> bool {
        matches!(self.racks, Racks::One)
            && !self.same_rack
            && widest(self.cluster) == living_racks(self.cluster)
    }

    /// Whether a replica would leave the rack that it started in, and is not in the way there.
    fn strays(&self, replica: u32, from: u32, to: u32) -> bool {
        let rack = self.rack(self.home(replica));
        self.rack(to) != rack && self.rack(from) == rack && self.crowd(replica, from) == 0
    }

    /// Whether a replica on a living broker may be moved.
    pub(crate) fn movable(&self, replica: u32) -> bool {
        !self.cluster.frozen[self.part[replica as usize] as usize]
            && (self.source[self.home(replica) as usize]
                || (self.cluster.failed(replica) && self.policy.moves != Moves::Nothing))
            && (!self.leads(replica) || self.spares(replica))
    }

    /// Whether a replica may be moved as far as its partition is not frozen and the policy lets its broker give.
    #[inline]
    pub(crate) fn open(&self, replica: u32, partition: u32) -> bool {
        !self.cluster.frozen[partition as usize] && self.source[self.home(replica) as usize]
    }

    /// Whether a replica's partition is never touched.
    pub(crate) fn locked(&self, replica: u32) -> bool {
        self.cluster.lock(self.part[replica as usize]).is_some()
    }

    /// Whether a partition may be given another leader.
    pub(crate) fn touchable(&self, replica: u32) -> bool {
        !self.cluster.frozen[self.part[replica as usize] as usize]
    }

    fn topic_cost(&self, topic: usize, count: u32) -> i64 {
        let (low, high) = self.bands.topic[topic];
        let over = count.saturating_sub(high);
        // None at all is right, too, by the goal. But the way there from none must not lead uphill.
        i64::from(over.max(low.saturating_sub(count))) * TOPIC
    }

    /// Change of the topic's cost when one replica leaves.
    #[inline]
    pub(crate) fn topic_leave(&self, replica: u32, from: u32) -> i64 {
        let topic = self.topic_of(replica);
        let count = self.topic[topic * self.cost.len() + from as usize];
        self.topic_cost(topic, count - 1) - self.topic_cost(topic, count)
    }

    /// Change of the topic's cost when one replica arrives.
    #[inline]
    pub(crate) fn topic_arrive(&self, replica: u32, to: u32) -> i64 {
        let topic = self.topic_of(replica);
        let count = self.topic[topic * self.cost.len() + to as usize];
        self.topic_cost(topic, count + 1) - self.topic_cost(topic, count)
    }

    /// Takes a replica off its broker.
    pub(crate) fn detach(&mut self, replica: u32) {
        let from = self.place[replica as usize] as usize;
        let figures = self.figures_at(replica, from as u32);
        if self.leads(replica) {
            self.count_leader(replica, -1);
        }
        add(&mut self.sum[from], &figures, -1);
        self.seat(replica, from, -1);
        let topic = self.topic_of(replica) * self.cost.len();
        self.topic[topic + from] -= 1;
        let slot = self.slot[replica as usize] as usize;
        self.on[from].swap_remove(slot);
        if let Some(moved) = self.on[from].get(slot) {
            self.slot[*moved as usize] = slot as u32;
        }
        self.place[replica as usize] = NOWHERE;
        self.recost(from);
    }

    /// Puts a replica that is nowhere on a broker.
    pub(crate) fn attach(&mut self, replica: u32, to: u32) {
        let to = to as usize;
        let figures = self.figures_at(replica, to as u32);
        add(&mut self.sum[to], &figures, 1);
        self.seat(replica, to, 1);
        let topic = self.topic_of(replica) * self.cost.len();
        self.topic[topic + to] += 1;
        self.slot[replica as usize] = self.on[to].len() as u32;
        self.on[to].push(replica);
        self.place[replica as usize] = to as u32;
        if self.leads(replica) {
            self.count_leader(replica, 1);
        }
        self.recost(to);
    }

    /// Puts a replica on another broker.
    pub(crate) fn relocate(&mut self, replica: u32, to: u32) {
        self.detach(replica);
        self.attach(replica, to);
    }

    /// Brings everything to where a placement has it.
    pub(crate) fn go_to(&mut self, place: &[u32], leader: &[u32]) {
        for (replica, to) in (0..).zip(place) {
            if self.place[replica as usize] != *to {
                self.relocate(replica, *to);
            }
        }
        for (partition, leads) in leader.iter().enumerate() {
            if self.leader[partition] != *leads {
                self.lead(*leads);
            }
        }
    }

    pub(crate) fn topic_of(&self, replica: u32) -> usize {
        self.cluster.topic[self.part[replica as usize] as usize] as usize
    }

    /// Replicas of a topic on a broker beyond its limit.
    pub(crate) fn topic_excess(&self, topic: usize, broker: usize) -> u32 {
        self.topic[topic * self.cost.len() + broker].saturating_sub(self.bands.topic[topic].1)
    }

    /// Gives the leadership of a partition to another of its replicas.
    pub(crate) fn lead(&mut self, replica: u32) {
        let partition = self.part[replica as usize] as usize;
        let old = self.leader[partition];
        let (from, to) = (self.place[old as usize] as usize, self.place[replica as usize] as usize);
        let (less, more) = (self.leadership(old), self.leadership(replica));
        self.count_leader(old, -1);
        self.count_leader(replica, 1);
        add(&mut self.sum[from], &less, -1);
        add(&mut self.sum[to], &more, 1);
        self.leader[partition] = replica;
        self.recost(from);
        self.recost(to);
    }

    /// Cost of a broker if figures were added to it.
    #[inline]
    pub(crate) fn cost_with(&self, broker: usize, figures: &Figures, sign: i64) -> i64 {
        let bands = &self.bands.of[broker];
        let sum = &self.sum[broker];
        let mut cost = 0;
        for figure in 0..FIGURES {
            cost += bands[figure].cost(sum[figure] + sign * figures[figure]);
        }
        cost
    }

    /// Change of a broker's cost with leadership given or taken: only four figures change.
    #[inline]
    pub(crate) fn led_change(&self, broker: usize, leadership: &Figures, sign: i64) -> i64 {
        let (bands, sum) = (&self.bands.of[broker], &self.sum[broker]);
        let after = |figure: &usize| bands[*figure].cost(sum[*figure] + sign * leadership[*figure]);
        LED.iter().map(after).sum::<i64>() - self.led_cost[broker]
    }

    /// What brokers cost that are outside their bands, and topics outside their limits.
    pub(crate) fn outside(&self) -> i64 {
        let n = self.cost.len();
        let bad = |broker: &usize| {
            let (bands, sum) = (&self.bands.of[*broker], &self.sum[*broker]);
            (0..FIGURES).any(|figure| bands[figure].excess(sum[figure]) > 0)
        };
        let brokers: i64 = (0..n).filter(bad).map(|broker| self.cost[broker]).sum();
        let topics = self.topic.chunks(n.max(1)).enumerate();
        let beyond = |(topic, held): (usize, &[u32])| {
            held.iter().filter(|held| **held > 0).map(|held| self.topic_cost(topic, *held)).sum::<i64>()
        };
        brokers + topics.map(beyond).sum::<i64>()
    }

    /// Whether a broker is within all its bands if figures were added to it, or at least no farther outside than it is.
    pub(crate) fn fits(&self, broker: usize, change: &Figures) -> bool {
        let (bands, sum) = (&self.bands.of[broker], &self.sum[broker]);
        (0..FIGURES).all(|figure| {
            let after = bands[figure].excess(sum[figure] + change[figure]);
            after == 0 || after <= bands[figure].excess(sum[figure])
        })
    }
}

/// What brokers carry, and within which bands it should be.
pub(crate) struct Brokers {
    bands: Vec<[Band; FIGURES]>,
    cost: Vec<Figures>,
    pub(crate) sum: Vec<Figures>,
    /// Replicas by topic and broker.
    pub(crate) topic: Vec<u32>,
    /// Fewest and most of each topic.
    pub(crate) topic_limits: Vec<(u32, u32)>,
}

impl Brokers {
    /// By how much a broker's cost would fall with a change of its figures.
    pub(crate) fn gain(&self, broker: u32, change: &Figures) -> i64 {
        let broker = broker as usize;
        let (bands, sum, cost) = (&self.bands[broker], &self.sum[broker], &self.cost[broker]);
        let fall = |figure: usize| cost[figure] - bands[figure].cost(sum[figure] + change[figure]);
        let changed = (0..FIGURES).filter(|figure| change[*figure] != 0);
        changed.map(fall).fold(0, i64::saturating_add)
    }
}

pub(crate) fn add(sum: &mut Figures, figures: &Figures, sign: i64) {
    for (sum, figure) in sum.iter_mut().zip(figures) {
        *sum += sign * figure;
    }
}
