//! Partitions: their logs, their leaders, and who is in sync.

use cluster::{BrokerId, Partition, TopicPartition};

use super::World;
use super::history::Happening;
use super::replication::Behind;
use crate::fault::Cut;

/// A partition. Brokers are numbers of the world.
pub(super) struct PartitionModel {
    pub(super) topic: usize,
    pub(super) number: i32,
    pub(super) replicas: Vec<usize>,
    pub(super) isr: Vec<usize>,
    pub(super) adding: Vec<usize>,
    pub(super) removing: Vec<usize>,
    pub(super) leader: Option<usize>,
    /// Replicas that are out of sync and have all that was acknowledged, because nothing is while fewer than
    /// `min.insync.replicas` are in sync: they may lead when nobody is in sync any more.
    pub(super) eligible: Vec<usize>,
    /// Who led when the last one in sync was lost; it leads again when nobody is eligible.
    pub(super) led_last: Option<usize>,
    pub(super) log: Log,
}

/// The leader's log.
pub(super) struct Log {
    /// Bytes that were ever appended, counted until `counted`.
    appended: u64,
    /// The sum of the daily curve until which they were counted.
    counted: u64,
    /// Whether there is a leader to append to, with enough in-sync replicas.
    accepts: bool,
    /// What is usually produced in bytes per second, on the mean of a day.
    pub(super) usual: u64,
    /// Bytes consumed for each 1,000 produced.
    pub(super) consumed_permille: u32,
}

impl Log {
    /// A log of so many bytes.
    pub(super) fn new(bytes: u64, usual: u64, consumed_permille: u32) -> Self {
        Self { appended: bytes, counted: 0, accepts: false, usual, consumed_permille }
    }
}

impl PartitionModel {
    pub(super) fn is_moving(&self) -> bool {
        !(self.adding.is_empty() && self.removing.is_empty())
    }

    /// Whether a replica has all that was acknowledged, as far as the controller can know.
    pub(super) fn trusts(&self, broker: usize) -> bool {
        if !self.isr.is_empty() {
            return self.isr.contains(&broker);
        }
        self.eligible.contains(&broker) || (self.eligible.is_empty() && self.led_last == Some(broker))
    }

    /// Reckons who is eligible, after a change from these in-sync replicas and this leader (KIP-966).
    fn keep_eligible(&mut self, isr: Vec<usize>, leader: Option<usize>, least: usize) {
        if self.isr.len() >= least.min(self.replicas.len()) {
            self.eligible.clear();
            self.led_last = None;
            return;
        }
        if self.isr.is_empty() && !isr.is_empty() {
            self.led_last = leader.or(isr.first().copied());
        }
        let was = isr.into_iter().filter(|broker| !self.eligible.contains(broker)).collect::<Vec<_>>();
        self.eligible.extend(was);
        let Self { eligible, replicas, isr, .. } = self;
        eligible.retain(|broker| replicas.contains(broker) && !isr.contains(broker));
    }
}

impl World {
    /// Whether one of these brokers has all that was acknowledged of a partition, as far as the controller can know. Where
    /// it keeps eligible leaders, nobody may be in sync and no record be lost: the last one in sync that goes down leaves
    /// the in-sync replicas, and leads again when it comes back.
    pub fn is_copy_among(&self, at: &TopicPartition, ids: &[BrokerId]) -> bool {
        let Some(p) = self.find(at) else { return false };
        ids.iter().filter_map(|id| self.by_id.get(id)).any(|broker| self.partitions[p].trusts(*broker))
    }

    /// Whether a partition is being reassigned.
    pub fn is_moving(&self, at: &TopicPartition) -> bool {
        self.find(at).is_some_and(|p| self.partitions[p].is_moving())
    }

    /// The partitions of which a broker holds a replica.
    pub fn held_by(&self, id: BrokerId) -> impl Iterator<Item = TopicPartition> + '_ {
        let broker = self.by_id.get(&id).map(|broker| &self.brokers[*broker]);
        broker.into_iter().flat_map(|it| it.partitions.keys()).map(|p| self.name(*p))
    }

    /// A partition as the controller has it.
    pub fn partition(&self, at: &TopicPartition) -> Option<Partition> {
        self.find(at).map(|p| self.public(p))
    }

    /// The `min.insync.replicas` of a partition's topic.
    pub fn min_in_sync(&self, at: &TopicPartition) -> Option<usize> {
        self.find(at).map(|p| self.topics[self.partitions[p].topic].min_in_sync)
    }

    /// What is produced to a partition in bytes per second, averaged over a day.
    pub(super) fn mean_rate(&self, p: usize) -> u64 {
        let partition = &self.partitions[p];
        if !partition.log.accepts {
            return 0;
        }
        let factor = u64::from(self.topics[partition.topic].factor);
        partition.log.usual.saturating_mul(factor) / 1000
    }

    /// Bytes that were ever appended to a partition.
    pub(super) fn appended(&self, p: usize) -> u64 {
        let log = &self.partitions[p].log;
        let sum = self.curve.sum(self.now.0).saturating_sub(log.counted);
        log.appended.saturating_add(bytes_of(self.mean_rate(p), sum))
    }

    /// Bytes that the leader of a partition keeps.
    pub(super) fn log_bytes(&self, p: usize) -> u64 {
        self.log_of_leader(p).1
    }

    /// Bytes that were ever appended to a partition, and how many of them its leader keeps.
    pub(super) fn log_of_leader(&self, p: usize) -> (u64, u64) {
        let appended = self.appended(p);
        (appended, appended.min(self.topics[self.partitions[p].topic].retention))
    }

    /// Bytes of one replica.
    pub(super) fn replica_bytes(&self, p: usize, broker: usize) -> u64 {
        let (appended, kept) = self.log_of_leader(p);
        match self.behind.get(&(p, broker)) {
            Some(behind) => kept.saturating_sub(appended.saturating_sub(behind.have)),
            None => kept,
        }
    }

    /// Counts what was appended so far, before anything changes on which it depends.
    pub(super) fn count_log(&mut self, p: usize) {
        let appended = self.appended(p);
        let counted = self.curve.sum(self.now.0);
        let log = &mut self.partitions[p].log;
        log.appended = appended;
        log.counted = counted;
    }

    /// Adds bytes that somebody wrote, apart from the usual traffic.
    pub(super) fn append_bytes(&mut self, p: usize, bytes: u64) {
        self.count_log(p);
        let log = &mut self.partitions[p].log;
        log.appended = log.appended.saturating_add(bytes);
    }

    /// Whether a broker's process runs and its replica of the partition is in a log directory that works.
    pub(super) fn holds(&self, p: usize, broker: usize) -> bool {
        let it = &self.brokers[broker];
        let dir = it.partitions.get(&p).and_then(|dir| it.dirs.get(usize::from(*dir)));
        self.runs(broker) && dir.is_some_and(|dir| !dir.failed)
    }

    /// Whether records can be written to a partition, with all acknowledgements.
    pub(super) fn accepts(&self, p: usize) -> bool {
        let partition = &self.partitions[p];
        partition.leader.is_some_and(|leader| self.holds(p, leader))
            && partition.isr.len() >= self.topics[partition.topic].min_in_sync
    }

    /// Is called when anything has changed on which it depends who can follow the leader, and whether it takes records.
    pub(super) fn follow(&mut self, p: usize) {
        self.count_log(p);
        let accepts = self.accepts(p);
        self.partitions[p].log.accepts = accepts;
        let Some(leader) = self.partitions[p].leader.filter(|leader| self.holds(p, *leader)) else {
            // What is on its way to it will be looked at once there is a leader.
            self.wake_if_behind(p);
            return;
        };
        for at in 0..self.partitions[p].replicas.len() {
            let replica = self.partitions[p].replicas[at];
            if replica != leader && !self.can_fetch(p, replica) {
                self.fall_behind(p, replica);
            }
        }
        self.wake_if_behind(p);
    }

    /// From now on a replica may lack something.
    pub(super) fn fall_behind(&mut self, p: usize, broker: usize) {
        let have = self.appended(p);
        let since = self.now;
        self.behind.entry((p, broker)).or_insert(Behind { have, since });
        self.loads_due = true;
    }

    /// A replica has nothing at all.
    pub(super) fn wipe(&mut self, p: usize, broker: usize) {
        let partition = &self.partitions[p];
        let nobody = partition.isr.is_empty() && partition.eligible.iter().all(|other| *other == broker);
        if partition.isr == [broker] || (nobody && partition.led_last == Some(broker)) {
            // It was the only copy, and is the truth: there is nothing any more.
            let bytes = self.log_bytes(p);
            self.lose(p, bytes, true);
            let left = self.appended(p);
            if let Some(behind) = self.behind.get_mut(&(p, broker)) {
                behind.have = behind.have.min(left);
            }
            return;
        }
        let have = self.appended(p).saturating_sub(self.log_bytes(p));
        self.behind.insert((p, broker), Behind { have, since: self.now });
        self.loads_due = true;
    }

    pub(super) fn lose(&mut self, p: usize, bytes: u64, wiped: bool) {
        self.count_log(p);
        let log = &mut self.partitions[p].log;
        log.appended = log.appended.saturating_sub(bytes);
        if bytes > 0 {
            self.history.push(self.now, Happening::DataLost { at: self.name(p), bytes, wiped });
        }
    }

    /// The controller takes a replica out of the in-sync ones, and its leadership away. The last in-sync replica stays
    /// one, without leading, because nobody else has all of the log; where there are eligible leaders it becomes one of
    /// them instead.
    pub(super) fn take_out(&mut self, p: usize, broker: usize) {
        let partition = &self.partitions[p];
        let leads = partition.leader == Some(broker);
        let stays = partition.isr == [broker] && !self.settings.rules.eligible_leaders;
        if !leads && !partition.isr.contains(&broker) {
            return;
        }
        let next = match partition.leader {
            Some(leader) if !leads => Some(leader),
            _ => {
                partition.replicas.iter().copied().find(|other| *other != broker && self.may_lead(p, *other))
            }
        };
        if let Some(next) = next.filter(|_| leads) {
            self.cut_log_to(p, next);
        }
        self.change(p, |it| {
            if !stays {
                it.isr.retain(|other| *other != broker);
            }
            it.leader = next;
        });
        if !stays {
            // Even if there is nobody to follow at present: it joins again by catching up.
            self.fall_behind(p, broker);
            self.wake_replication();
        }
        self.try_complete(p);
    }

    /// A broker is alive again: it leads what has no leader, if it may, and catches up with the rest.
    pub(super) fn take_in(&mut self, p: usize) {
        if self.partitions[p].leader.is_none() {
            self.elect(p);
        }
        self.follow(p);
        self.try_complete(p);
    }

    /// Whether a replica could lead: in sync (or, where nobody is, eligible), alive, and on a log directory that works.
    pub(super) fn may_lead(&self, p: usize, broker: usize) -> bool {
        let it = &self.brokers[broker];
        let dir = it.partitions.get(&p).and_then(|dir| it.dirs.get(usize::from(*dir)));
        self.partitions[p].trusts(broker) && it.live && !it.leaving && dir.is_some_and(|dir| !dir.failed)
    }

    /// Elects the first replica that may lead; never one that is out of sync.
    pub(super) fn elect(&mut self, p: usize) {
        let replicas = &self.partitions[p].replicas;
        let next = replicas.iter().copied().find(|replica| self.may_lead(p, *replica));
        if let Some(next) = next {
            self.lead(p, next);
        } else if self.partitions[p].leader.is_some() {
            self.change(p, |it| it.leader = None);
        }
    }

    fn lead(&mut self, p: usize, broker: usize) {
        self.cut_log_to(p, broker);
        self.change(p, |it| {
            if !it.isr.contains(&broker) {
                it.isr = vec![broker];
            }
            it.leader = Some(broker);
        });
    }

    /// The log is what a new leader has of it. What the old one had not handed on yet is gone; it was never acknowledged.
    pub(super) fn cut_log_to(&mut self, p: usize, leader: usize) {
        self.count_log(p);
        let Some(behind) = self.behind.remove(&(p, leader)) else { return };
        self.partitions[p].log.appended = behind.have;
        for at in 0..self.partitions[p].replicas.len() {
            let replica = self.partitions[p].replicas[at];
            if let Some(other) = self.behind.get_mut(&(p, replica)) {
                other.have = other.have.min(behind.have);
            }
        }
    }

    /// Elects the preferred leader, if that is possible. Says why not, in Kafka's terms, if it is not.
    pub(super) fn elect_preferred_of(&mut self, p: usize) -> Result<(), &'static str> {
        let partition = &self.partitions[p];
        let Some(preferred) = partition.replicas.first().copied() else {
            return Err("PREFERRED_LEADER_NOT_AVAILABLE");
        };
        if partition.leader == Some(preferred) {
            return Ok(());
        }
        if !self.may_lead(p, preferred) {
            return Err("PREFERRED_LEADER_NOT_AVAILABLE");
        }
        self.lead(p, preferred);
        Ok(())
    }

    pub(super) fn rebalance_leaders(&mut self) {
        for p in 0..self.partitions.len() {
            if self.partitions[p].leader.is_some() && !self.partitions[p].is_moving() {
                // One that cannot lead is left alone until the next time.
                let _ = self.elect_preferred_of(p);
            }
        }
        if let Some(every) = self.settings.rules.leader_rebalance {
            self.schedule(every, super::Event::LeaderRebalance);
        }
    }

    /// Whether the leader of a partition can change its in-sync replicas: it runs, and reaches the controller (it asks it
    /// to, by AlterPartition) or ZooKeeper.
    pub(super) fn can_alter(&self, p: usize) -> bool {
        let leader = self.partitions[p].leader.filter(|leader| self.holds(p, *leader));
        leader.is_some_and(|leader| {
            // One whose metadata stand still may not know that it leads.
            !self.cut.contains(&(leader, Cut::Controller)) && self.knows(p, leader, leader)
        })
    }

    /// Whether a replica that has caught up has to be proposed as in sync.
    pub(super) fn should_join(&self, p: usize, broker: usize) -> bool {
        let it = &self.brokers[broker];
        !self.partitions[p].isr.contains(&broker) && it.live && !it.leaving
    }

    /// A replica has caught up: the leader proposes it as in sync, if it can.
    pub(super) fn join_isr(&mut self, p: usize, broker: usize) {
        if self.should_join(p, broker) && self.can_alter(p) {
            self.change(p, |it| it.isr.push(broker));
            self.try_complete(p);
        }
    }

    /// A replica has lagged for too long.
    pub(super) fn leave_isr(&mut self, p: usize, broker: usize) {
        self.change(p, |it| it.isr.retain(|other| *other != broker));
        self.try_complete(p);
    }

    /// Changes what the controller holds of a partition: the one way in which it changes.
    pub(super) fn change(&mut self, p: usize, change: impl FnOnce(&mut PartitionModel)) {
        self.count_log(p);
        let before = self.public(p);
        let was_moving = self.partitions[p].is_moving();
        let (isr, leader) = (self.partitions[p].isr.clone(), self.partitions[p].leader);
        change(&mut self.partitions[p]);
        if self.settings.rules.eligible_leaders {
            let least = self.topics[self.partitions[p].topic].min_in_sync;
            self.partitions[p].keep_eligible(isr, leader, least);
        }
        let after = self.public(p);
        let moving = self.partitions[p].is_moving();
        if before != after || moving != was_moving {
            let Partition { leader, replicas, isr } = after;
            let what = Happening::Partition { at: self.name(p), leader, replicas, isr, moving };
            self.history.push(self.now, what);
            self.publish(p, before);
        }
        self.loads_due = true;
        self.follow(p);
    }

    /// A partition as metadata show it.
    pub(super) fn public(&self, p: usize) -> Partition {
        let partition = &self.partitions[p];
        Partition {
            leader: partition.leader.map(|leader| self.id(leader)),
            replicas: self.ids(&partition.replicas),
            isr: self.ids(&partition.isr),
        }
    }
}

/// The bytes of a mean rate over a difference of two sums of the daily curve, which are thousandths and milliseconds.
pub(super) fn bytes_of(rate: u64, sum: u64) -> u64 {
    match rate.checked_mul(sum) {
        Some(product) => product / 1_000_000,
        None => u64::try_from(u128::from(rate) * u128::from(sum) / 1_000_000).unwrap_or(u64::MAX),
    }
}
