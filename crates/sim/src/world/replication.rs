//! Replicas that are behind, and the bandwidth that is left for them.
//!
//! Replicas that keep up are not looked at: what they cost their brokers is part of the load. Those that are behind
//! share what is left of the network and the disks, fairly, and within the throttles that are set, as Kafka applies
//! them: only to replicas that are out of sync. A broker with more traffic than it can carry lets all of its followers
//! fall behind; the fair share of the small ones is enough, the large ones drop out of sync.

use std::time::Duration;

use super::configs::Throttled;
use super::{Event, World};
use crate::fault::Cut;
use crate::time::{Moment, millis};

/// A replica that is behind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behind {
    /// How much it has, of all that was ever appended to its leader's log.
    pub(super) have: u64,
    /// When it last had everything.
    pub(super) since: Moment,
}

/// What a broker carries beside replicas that catch up, in bytes per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// Produced to the partitions that it leads.
    pub(super) produced: u64,
    /// Consumed from them.
    pub(super) consumed: u64,
    /// Fetched by its replicas that keep up.
    fetched: u64,
    /// Handed on to replicas elsewhere that keep up.
    handed_on: u64,
    /// Whether all of its replicas together need more than comes in.
    over_in: bool,
    /// Whether all of its followers together need more than goes out.
    over_out: bool,
}

impl Load {
    /// Bytes per second that come in.
    pub(super) fn comes_in(&self) -> u64 {
        self.produced + self.fetched
    }

    /// Bytes per second that go out.
    pub(super) fn goes_out(&self) -> u64 {
        self.consumed + self.handed_on
    }
}

/// How often replicas that are behind are looked at.
const TICK: Duration = Duration::from_millis(500);

/// A replica that catches up in this tick.
struct Flow {
    p: usize,
    from: usize,
    to: usize,
    /// Which of its two ends throttle it.
    throttled: Throttled,
    /// Bytes that it lacks.
    needs: u64,
    /// Bytes that it has been given.
    given: u64,
}

/// What a flow uses up: what comes in and goes out, and the throttles of both ends.
const KINDS: usize = 4;

impl World {
    /// Whether a replica could fetch from its leader.
    pub(super) fn can_fetch(&self, p: usize, replica: usize) -> bool {
        let Some(leader) = self.partitions[p].leader else { return false };
        leader != replica
            && self.brokers[replica].live
            && self.holds(p, leader)
            && self.holds(p, replica)
            && self.knows(p, leader, replica)
            && self.knows(p, replica, replica)
            && !self.cut.contains(&(leader.min(replica), Cut::Broker(leader.max(replica))))
            && !self.cut.contains(&(replica, Cut::Controller))
    }

    /// Sees to it that replicas that are behind are looked at.
    pub(super) fn wake_replication(&mut self) {
        if !self.ticking && !self.behind.is_empty() {
            self.ticking = true;
            self.ticked = self.now;
            self.schedule(TICK, Event::Tick);
        }
    }

    pub(super) fn wake_if_behind(&mut self, p: usize) {
        if !self.ticking && self.behind.range((p, 0)..=(p, usize::MAX)).next().is_some() {
            self.wake_replication();
        }
    }

    pub(super) fn tick(&mut self) {
        let elapsed = millis(self.now.since(self.ticked));
        self.ticked = self.now;
        self.watch_loads();
        let mut flows = self.flows();
        self.share(&mut flows, elapsed);
        let mut going = !flows.is_empty();
        for flow in &flows {
            self.progress(flow);
        }
        going |= self.shrink();
        self.ticking = going;
        if going {
            self.schedule(TICK, Event::Tick);
        }
    }

    fn flows(&self) -> Vec<Flow> {
        let can = self.behind.iter().filter(|((p, to), _)| self.can_fetch(*p, *to));
        can.filter_map(|((p, to), behind)| {
            let from = self.partitions[*p].leader?;
            let (appended, kept) = self.log_of_leader(*p);
            let needs = appended.saturating_sub(behind.have).min(kept);
            let in_sync = self.partitions[*p].isr.contains(to);
            let throttled = if in_sync { Throttled::default() } else { self.throttled(*p, *to) };
            Some(Flow { p: *p, from, to: *to, throttled, needs, given: 0 })
        })
        .collect()
    }

    /// Shares what is left in `elapsed` milliseconds: in each round every flow gets an equal part of whatever it uses,
    /// and what the small ones leave is shared among the rest in the next.
    fn share(&self, flows: &mut [Flow], elapsed: u64) {
        const ROUNDS: usize = 6;
        if flows.is_empty() {
            return;
        }
        let mut left = self.left(elapsed);
        let mut users = vec![0_u64; left.len()];
        for _ in 0..ROUNDS {
            users.fill(0);
            let wants =
                |flow: &Flow, left: &[u64]| flow.needs > flow.given && flow.uses().all(|used| left[used] > 0);
            for flow in flows.iter().filter(|flow| wants(flow, &left)) {
                flow.uses().for_each(|used| users[used] += 1);
            }
            let before = left.clone();
            for flow in flows.iter_mut().filter(|flow| wants(flow, &before)) {
                let part = |used: usize| before[used] / users[used].max(1);
                let fair = flow.uses().map(part).min().unwrap_or(0);
                let gets = fair.min(flow.needs - flow.given);
                flow.given += gets;
                flow.uses().for_each(|used| left[used] -= gets);
            }
        }
    }

    /// What is left of each broker's ways in and out, and of its throttles, in bytes for `elapsed` milliseconds.
    fn left(&self, elapsed: u64) -> Vec<u64> {
        let in_time = |rate: u64| rate.saturating_mul(elapsed) / 1000;
        let mut left = Vec::with_capacity(self.brokers.len() * KINDS);
        for (broker, it) in self.brokers.iter().enumerate() {
            let load = &self.loads[broker];
            let way_in = it.nic_in.min(it.disk_rate);
            left.push(in_time(way_in.saturating_sub(load.produced + load.fetched)));
            left.push(in_time(it.nic_out.saturating_sub(load.consumed + load.handed_on)));
            let (leader, follower) = self.throttle_rates(broker);
            left.push(follower.map_or(u64::MAX, in_time));
            left.push(leader.map_or(u64::MAX, in_time));
        }
        left
    }

    fn progress(&mut self, flow: &Flow) {
        let key = (flow.p, flow.to);
        // An earlier one of this tick may have completed a reassignment.
        if !self.can_fetch(flow.p, flow.to) {
            return;
        }
        let (appended, kept) = self.log_of_leader(flow.p);
        let kept_from = appended.saturating_sub(kept);
        let over = self.loads[flow.to].over_in || self.loads[flow.from].over_out;
        let now = self.now;
        let Some(behind) = self.behind.get_mut(&key) else { return };
        behind.have = behind.have.max(kept_from).saturating_add(flow.given).min(appended);
        if behind.have < appended {
            return;
        }
        behind.since = now;
        // One that cannot join yet is looked at again in the next tick.
        let waits = self.should_join(flow.p, flow.to) && !self.can_alter(flow.p);
        if !over && !waits {
            self.behind.remove(&key);
            self.loads_due = true;
        }
        self.join_isr(flow.p, flow.to);
    }

    /// Takes those out of sync that have lagged for too long. Says whether any may have to go later.
    fn shrink(&mut self) -> bool {
        let limit = self.settings.rules.lag_limit;
        let in_sync: Vec<((usize, usize), Moment)> = self
            .behind
            .iter()
            .filter(|((p, broker), _)| {
                let partition = &self.partitions[*p];
                partition.isr.contains(broker) && self.can_alter(*p)
            })
            .map(|(key, behind)| (*key, behind.since))
            .collect();
        let mut later = false;
        for ((p, broker), since) in in_sync {
            if self.now.since(since) > limit {
                self.leave_isr(p, broker);
            } else {
                later = true;
            }
        }
        later
    }

    /// Reckons the loads anew, if anything has changed, and lets the followers of overloaded brokers fall behind.
    pub(super) fn watch_loads(&mut self) {
        if !std::mem::take(&mut self.loads_due) {
            return;
        }
        self.reckon_loads();
        let over = self.loads.iter().any(|load| load.over_in || load.over_out);
        if !over {
            return;
        }
        for p in 0..self.partitions.len() {
            let partition = &self.partitions[p];
            let Some(leader) = partition.leader else { continue };
            let from_over = self.loads[leader].over_out;
            let slow = |to: &usize| *to != leader && (from_over || self.loads[*to].over_in);
            let slow: Vec<usize> = partition.replicas.iter().copied().filter(slow).collect();
            if self.mean_rate(p) > 0 {
                slow.into_iter().for_each(|to| self.fall_behind(p, to));
            }
        }
        self.reckon_loads();
        self.loads_due = false;
        self.wake_replication();
    }

    fn reckon_loads(&mut self) {
        let permille = self.curve.permille(self.now.0);
        let mut loads = vec![Load::default(); self.brokers.len()];
        for (p, partition) in self.partitions.iter().enumerate() {
            let Some(leader) = partition.leader else { continue };
            let rate = self.mean_rate(p).saturating_mul(permille) / 1000;
            if rate == 0 {
                continue;
            }
            loads[leader].produced += rate;
            loads[leader].consumed += rate.saturating_mul(u64::from(partition.log.consumed_permille)) / 1000;
            for follower in partition.replicas.iter().filter(|follower| **follower != leader) {
                loads[*follower].fetched += rate;
                loads[leader].handed_on += rate;
            }
        }
        let take_off = |(p, to): (usize, usize), loads: &mut Vec<Load>| {
            let rate = self.mean_rate(p).saturating_mul(permille) / 1000;
            let Some(leader) = self.partitions[p].leader.filter(|leader| *leader != to) else { return };
            loads[to].fetched = loads[to].fetched.saturating_sub(rate);
            loads[leader].handed_on = loads[leader].handed_on.saturating_sub(rate);
        };
        // Those that are behind have flows of their own, or none at all.
        type Keys = Vec<(usize, usize)>;
        let (can, cannot): (Keys, Keys) = self.behind.keys().partition(|(p, to)| self.can_fetch(*p, *to));
        cannot.into_iter().for_each(|key| take_off(key, &mut loads));
        for (load, it) in loads.iter_mut().zip(&self.brokers) {
            load.over_in = load.produced + load.fetched > it.nic_in.min(it.disk_rate);
            load.over_out = load.consumed + load.handed_on > it.nic_out;
        }
        can.into_iter().for_each(|key| take_off(key, &mut loads));
        self.loads = loads;
    }
}

impl Flow {
    /// The places in the list of what is left that it draws on.
    fn uses(&self) -> impl Iterator<Item = usize> + use<> {
        let (to, from) = (self.to * KINDS, self.from * KINDS);
        let Throttled { follower, leader } = self.throttled;
        let throttles = [(to + 2, follower), (from + 3, leader)];
        let used = throttles.into_iter().filter(|(_, throttles)| *throttles).map(|(used, _)| used);
        [to, from + 1].into_iter().chain(used)
    }
}
