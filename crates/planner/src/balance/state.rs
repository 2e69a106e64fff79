//! A placement while it is being searched: who holds what, and what that makes of each broker's figures.

use super::bands::{Bands, COUNT, FIGURES, Figures, LEADER_IN, LEADERS, POTENTIAL};
use super::cluster::{CPU, Cluster, NETWORK_IN, NETWORK_OUT};
use super::policy::{Goal, Policy};

/// What one topic's replica outside its limits costs: as much as a tenth of a fair share of load.
const TOPIC: i64 = 1 << 21;

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
    /// Replicas by topic and broker.
    pub(crate) topic: Vec<u32>,
    /// Replicas of each broker, in no order, and where each replica stands there.
    pub(crate) on: Vec<Vec<u32>>,
    slot: Vec<u32>,
    /// Whether racks matter.
    pub(crate) racks: bool,
}

impl<'a> State<'a> {
    pub(crate) fn new(cluster: &'a Cluster, policy: &'a Policy, goals: &[Goal]) -> State<'a> {
        let n = cluster.brokers.len();
        let mut state = State {
            cluster,
            policy,
            bands: Bands::new(cluster, policy, goals),
            place: cluster.place.clone(),
            leader: Vec::with_capacity(cluster.topic.len()),
            part: Vec::with_capacity(cluster.place.len()),
            sum: vec![[0; FIGURES]; n],
            cost: vec![0; n],
            topic: vec![0; n * cluster.topics as usize],
            on: vec![Vec::new(); n],
            slot: Vec::with_capacity(cluster.place.len()),
            racks: goals.iter().any(|goal| matches!(goal, Goal::RackAware | Goal::RackAwareDistribution)),
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
                let figures = state.figures(replica as u32);
                add(&mut state.sum[broker], &figures, 1);
            }
        }
        if goals.contains(&Goal::LeaderBytesIn) {
            state.refresh_mean();
        }
        state.refresh_cost();
        state
    }

    /// Sets the limit of leaders' inbound network by its present mean.
    pub(crate) fn refresh_mean(&mut self) {
        let alive = self.cluster.brokers.iter().zip(&self.sum).filter(|(broker, _)| broker.alive);
        let sum = alive.map(|(_, sum)| sum[LEADER_IN]).sum();
        self.bands.set_leader_in(self.cluster, self.policy, sum);
    }

    pub(crate) fn refresh_cost(&mut self) {
        for broker in 0..self.cost.len() {
            self.cost[broker] = self.cost_of(broker, &self.sum[broker]);
        }
    }

    #[inline]
    pub(crate) fn cost_of(&self, broker: usize, sum: &Figures) -> i64 {
        self.bands.of[broker].iter().zip(sum).map(|(band, figure)| band.cost(*figure)).sum()
    }

    /// What a replica adds to its broker, in its present role.
    pub(crate) fn figures(&self, replica: u32) -> Figures {
        let partition = self.part[replica as usize] as usize;
        let load = &self.cluster.load[replica as usize];
        let mut figures = [0; FIGURES];
        figures[..4].copy_from_slice(load);
        figures[COUNT] = 1;
        figures[POTENTIAL] = self.cluster.potential[partition];
        if self.leader[partition] == replica {
            add(&mut figures, &self.leadership(replica), 1);
        }
        figures
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

    /// Replicas of a partition in a rack, but for one.
    pub(crate) fn others_in_rack(&self, replica: u32, rack: u32) -> u32 {
        let row = self.cluster.row(self.part[replica as usize]);
        row.filter(|other| *other != replica as usize && self.rack(self.place[*other]) == rack).count() as u32
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
            // What a kept broker holds stays its own: Kafka would not exchange it for another replica's data.
            && (self.home(replica) == to || !self.cluster.replicas(partition).contains(&to))
    }

    /// Whether a replica may go to a broker without a worse rack.
    pub(crate) fn legal(&self, replica: u32, to: u32) -> bool {
        if !self.may_take(replica, to) {
            return false;
        }
        let (old, new) = (self.rack(self.place[replica as usize]), self.rack(to));
        if !self.racks || old == new {
            return true;
        }
        let there = self.others_in_rack(replica, new);
        there == 0 || there <= self.others_in_rack(replica, old)
    }

    /// Whether a partition's replicas on living brokers may be moved.
    pub(crate) fn movable(&self, replica: u32) -> bool {
        !self.cluster.frozen[self.part[replica as usize] as usize]
    }

    fn topic_cost(&self, topic: usize, count: u32) -> i64 {
        let (low, high) = self.bands.topic[topic];
        let over = count.saturating_sub(high);
        let under = if count > 0 { low.saturating_sub(count) } else { 0 };
        i64::from(over.max(under)) * TOPIC
    }

    /// Change of the topic's cost when one replica leaves.
    #[inline]
    pub(crate) fn topic_leave(&self, replica: u32, from: u32) -> i64 {
        let topic = self.cluster.topic[self.part[replica as usize] as usize] as usize;
        let count = self.topic[topic * self.cost.len() + from as usize];
        self.topic_cost(topic, count - 1) - self.topic_cost(topic, count)
    }

    /// Change of the topic's cost when one replica arrives.
    #[inline]
    pub(crate) fn topic_arrive(&self, replica: u32, to: u32) -> i64 {
        let topic = self.cluster.topic[self.part[replica as usize] as usize] as usize;
        let count = self.topic[topic * self.cost.len() + to as usize];
        self.topic_cost(topic, count + 1) - self.topic_cost(topic, count)
    }

    /// Puts a replica on another broker.
    pub(crate) fn relocate(&mut self, replica: u32, to: u32) {
        let from = self.place[replica as usize] as usize;
        let to = to as usize;
        let figures = self.figures(replica);
        add(&mut self.sum[from], &figures, -1);
        add(&mut self.sum[to], &figures, 1);
        let topic = self.cluster.topic[self.part[replica as usize] as usize] as usize * self.cost.len();
        self.topic[topic + from] -= 1;
        self.topic[topic + to] += 1;
        let slot = self.slot[replica as usize] as usize;
        self.on[from].swap_remove(slot);
        if let Some(moved) = self.on[from].get(slot) {
            self.slot[*moved as usize] = slot as u32;
        }
        self.slot[replica as usize] = self.on[to].len() as u32;
        self.on[to].push(replica);
        self.place[replica as usize] = to as u32;
        self.cost[from] = self.cost_of(from, &self.sum[from]);
        self.cost[to] = self.cost_of(to, &self.sum[to]);
    }

    /// Gives the leadership of a partition to another of its replicas.
    pub(crate) fn lead(&mut self, replica: u32) {
        let partition = self.part[replica as usize] as usize;
        let old = self.leader[partition];
        let (from, to) = (self.place[old as usize] as usize, self.place[replica as usize] as usize);
        let (less, more) = (self.leadership(old), self.leadership(replica));
        add(&mut self.sum[from], &less, -1);
        add(&mut self.sum[to], &more, 1);
        self.leader[partition] = replica;
        self.cost[from] = self.cost_of(from, &self.sum[from]);
        self.cost[to] = self.cost_of(to, &self.sum[to]);
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

    /// Whether a broker is within all its bands if figures were added to it, or at least no farther outside than it is.
    pub(crate) fn fits(&self, broker: usize, change: &Figures) -> bool {
        let (bands, sum) = (&self.bands.of[broker], &self.sum[broker]);
        (0..FIGURES).all(|figure| {
            let after = bands[figure].excess(sum[figure] + change[figure]);
            after == 0 || after <= bands[figure].excess(sum[figure])
        })
    }
}

pub(crate) fn add(sum: &mut Figures, figures: &Figures, sign: i64) {
    for (sum, figure) in sum.iter_mut().zip(figures) {
        *sum += sign * figure;
    }
}
