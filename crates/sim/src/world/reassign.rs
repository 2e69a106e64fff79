//! Reassignments (KIP-455): what Kafka takes, what it refuses, and when one is complete.

use std::collections::BTreeSet;

use cluster::{BrokerId, ClientError, Reassignment, Reassignments, TopicPartition};

use super::World;
use super::replication::Behind;

/// Kafka's name of an error, and its words.
pub(crate) type Refusal = (&'static str, String);

/// A new list of replicas with what it adds to the old one and takes from it.
struct Change {
    replicas: Vec<usize>,
    adding: Vec<usize>,
    removing: Vec<usize>,
}

impl World {
    /// All reassignments that the controller is working on.
    pub fn reassignments(&self) -> Reassignments {
        let moving = self.partitions.iter().enumerate().filter(|(_, partition)| partition.is_moving());
        moving
            .map(|(p, partition)| {
                let reassignment = Reassignment {
                    replicas: self.ids(&partition.replicas),
                    adding: self.ids(&partition.adding),
                    removing: self.ids(&partition.removing),
                };
                (self.name(p), reassignment)
            })
            .collect()
    }

    /// As [`World::reassign`], for a client that wants the number of replicas to stay the same.
    pub(crate) fn reassign_alike(
        &mut self,
        at: &TopicPartition,
        to: Option<&[BrokerId]>,
    ) -> Result<(), Refusal> {
        if let (Some(p), Some(to)) = (self.find(at).filter(|_| self.settings.rules.keeps_factor), to) {
            self.check_replicas(p, to)?;
            let partition = &self.partitions[p];
            // Those that a reassignment under way will leave count.
            let count =
                partition.replicas.iter().filter(|broker| !partition.removing.contains(broker)).count();
            if count != to.len() {
                let why = format!("The replication factor is changed from {count} to {}.", to.len());
                return Err(("INVALID_REPLICATION_FACTOR", why));
            }
        }
        self.reassign(at, to)
    }

    /// Starts the reassignment of a partition, or cancels it.
    pub(crate) fn reassign(&mut self, at: &TopicPartition, to: Option<&[BrokerId]>) -> Result<(), Refusal> {
        let unknown = || ("UNKNOWN_TOPIC_OR_PARTITION", format!("The partition {at} does not exist."));
        let kraft = self.settings.rules.capabilities.kraft;
        let Some(p) = self.find(at) else {
            // ZooKeeper's controller looks among the reassignments alone for what is to be cancelled.
            return Err(if to.is_none() && !kraft { none_found() } else { unknown() });
        };
        let Some(to) = to else { return self.cancel(p) };
        let to = self.check_replicas(p, to)?;
        let change = self.change_to(p, to);
        self.set_replicas(p, change);
        self.try_complete(p);
        Ok(())
    }

    /// Elects the preferred leader of a partition; one that leads already is what was wanted.
    pub(crate) fn elect_preferred(&mut self, at: &TopicPartition) -> Result<(), ClientError> {
        let unknown = || ClientError::UnknownTopic { what: at.to_string() };
        let p = self.find(at).ok_or_else(unknown)?;
        self.elect_preferred_of(p).map_err(|code| ClientError::Refused {
            doing: "electing leaders",
            code: code.to_owned(),
            why: format!("The preferred leader of {at} is not in sync or not alive."),
        })
    }

    /// Whether Kafka takes such a list of replicas.
    fn check_replicas(&self, p: usize, to: &[BrokerId]) -> Result<Vec<usize>, Refusal> {
        let refuse = |why: String| Err(("INVALID_REPLICA_ASSIGNMENT", why));
        if to.is_empty() {
            return refuse("The manual partition assignment includes an empty replica list.".to_owned());
        }
        if to.iter().collect::<BTreeSet<_>>().len() < to.len() {
            return refuse("The manual partition assignment includes a broker more than once.".to_owned());
        }
        let mut replicas = Vec::with_capacity(to.len());
        for id in to {
            let Some(broker) = self.by_id.get(id).copied() else {
                return refuse(format!("Broker {id} is not registered."));
            };
            // With ZooKeeper only live brokers are registered; one that has a replica already may be dead.
            let is_new = !self.partitions[p].replicas.contains(&broker);
            if !self.settings.rules.capabilities.kraft && is_new && !self.brokers[broker].live {
                return refuse(format!("Replica assignment has brokers that are not alive: {id}."));
            }
            replicas.push(broker);
        }
        Ok(replicas)
    }

    fn change_to(&self, p: usize, to: Vec<usize>) -> Change {
        let partition = &self.partitions[p];
        // Where another reassignment runs, KRaft counts what it adds among the present replicas, ZooKeeper does not.
        let kraft = self.settings.rules.capabilities.kraft;
        let mut present = partition.replicas.clone();
        if !kraft {
            present.retain(|broker| !partition.adding.contains(broker));
        }
        let mut adding: Vec<usize> = to.iter().copied().filter(|broker| !present.contains(broker)).collect();
        let mut removing: Vec<usize> =
            present.iter().copied().filter(|broker| !to.contains(broker)).collect();
        if kraft {
            adding.sort_unstable_by_key(|broker| self.id(*broker));
            removing.sort_unstable_by_key(|broker| self.id(*broker));
        }
        let replicas = to.into_iter().chain(removing.iter().copied()).collect();
        // Where nothing is added or removed anew, KRaft lets stand what the reassignment under way says of it.
        if kraft && adding.is_empty() {
            adding.clone_from(&partition.adding);
        }
        if kraft && removing.is_empty() {
            removing.clone_from(&partition.removing);
        }
        Change { replicas, adding, removing }
    }

    fn cancel(&mut self, p: usize) -> Result<(), Refusal> {
        let partition = &self.partitions[p];
        if !partition.is_moving() {
            return Err(none_found());
        }
        let adding = partition.adding.clone();
        let stays = |broker: &usize| !adding.contains(broker);
        if !partition.isr.iter().any(stays) {
            let why = "A partition would be left without an in-sync replica.".to_owned();
            return Err(("INVALID_REPLICA_ASSIGNMENT", why));
        }
        let replicas = partition.replicas.iter().copied().filter(stays).collect();
        self.set_replicas(p, Change { replicas, adding: Vec::new(), removing: Vec::new() });
        Ok(())
    }

    /// Puts a list of replicas into force: replicas that are new begin with nothing, replicas that are not in it any
    /// more are deleted, and leadership leaves them.
    fn set_replicas(&mut self, p: usize, to: Change) {
        let empty = self.appended(p).saturating_sub(self.log_bytes(p));
        self.lose_if_last(p, &to.replicas);
        let old = self.partitions[p].replicas.clone();
        for broker in to.replicas.iter().filter(|broker| !old.contains(broker)) {
            let dir = self.emptiest_dir(*broker);
            self.brokers[*broker].partitions.insert(p, dir);
            self.behind.insert((p, *broker), Behind { have: empty, since: self.now });
        }
        let gone: Vec<usize> = old.into_iter().filter(|broker| !to.replicas.contains(broker)).collect();
        let leader = self.partitions[p].leader.filter(|leader| !gone.contains(leader));
        let next = leader.or_else(|| {
            let may = |broker: &usize| !gone.contains(broker) && self.may_lead(p, *broker);
            to.replicas.iter().copied().find(may)
        });
        if let Some(next) = next.filter(|next| Some(*next) != leader) {
            self.cut_log_to(p, next);
        }
        self.change(p, |it| {
            it.isr.retain(|broker| !gone.contains(broker));
            it.replicas = to.replicas;
            it.adding = to.adding;
            it.removing = to.removing;
            it.leader = next;
        });
        for broker in gone {
            self.brokers[broker].partitions.remove(&p);
            self.behind.remove(&(p, broker));
        }
        self.wake_replication();
    }

    /// What is acknowledged is gone if no replica stays that has all of it. Kafka takes no order and completes none that
    /// brings this about.
    fn lose_if_last(&mut self, p: usize, stay: &[usize]) {
        let partition = &self.partitions[p];
        let trusted = |broker: &&usize| partition.trusts(**broker);
        if partition.replicas.iter().any(|broker| trusted(&broker))
            && !stay.iter().any(|broker| trusted(&broker))
        {
            let old = stay.iter().filter(|broker| partition.replicas.contains(broker));
            let most = old.map(|broker| self.replica_bytes(p, *broker)).max().unwrap_or(0);
            self.lose(p, self.log_bytes(p).saturating_sub(most), false);
        }
    }

    /// Completes a partition's reassignment, if it has come that far.
    pub(super) fn try_complete(&mut self, p: usize) {
        let partition = &self.partitions[p];
        if !partition.is_moving() {
            return;
        }
        let in_sync = |broker: &usize| partition.isr.contains(broker);
        let target: Vec<usize> = partition
            .replicas
            .iter()
            .copied()
            .filter(|broker| !partition.removing.contains(broker))
            .collect();
        let all = target.iter().all(in_sync);
        let complete = if self.settings.rules.capabilities.completes_with_dead_targets {
            // Kafka 4.3 waits for what was added, even where a second order wants it no more.
            let some = partition.removing.len() <= partition.adding.len() && target.iter().any(in_sync);
            partition.adding.iter().all(in_sync) && (all || some)
        } else {
            all
        };
        if complete {
            self.set_replicas(p, Change { replicas: target, adding: Vec::new(), removing: Vec::new() });
        }
    }

    /// The log directory of a broker with the fewest replicas, of those that work: Kafka's own choice.
    pub(super) fn emptiest_dir(&self, broker: usize) -> u8 {
        let it = &self.brokers[broker];
        let mut counts = vec![0_usize; it.dirs.len()];
        for dir in it.partitions.values() {
            counts[usize::from(*dir)] += 1;
        }
        let works = (0_u8..).zip(counts).filter(|(dir, _)| !it.dirs[usize::from(*dir)].failed);
        works.min_by_key(|(_, count)| *count).map_or(0, |(dir, _)| dir)
    }
}

fn none_found() -> Refusal {
    ("NO_REASSIGNMENT_IN_PROGRESS", "No partition reassignment found.".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use crate::world::Happening;

    #[test]
    fn a_list_without_any_replica_that_has_everything_loses_the_rest() {
        let lost = |stay: &[usize]| {
            let text = "b1\nb2\nb3\nt-0: 1* 2~ size=1MiB".parse().unwrap_or_default();
            let mut world = World::new(&text, Settings::default());
            let change = Change { replicas: stay.to_vec(), adding: Vec::new(), removing: Vec::new() };
            world.set_replicas(0, change);
            let is_loss = |what: &Happening| matches!(what, Happening::DataLost { wiped: false, .. });
            world.take_history().iter().any(|happened| is_loss(&happened.what))
        };
        assert!(!lost(&[0, 2]) && !lost(&[0]));
        assert!(lost(&[1, 2]) && lost(&[2]));
    }
}
