//! What must hold once the faults are over, by the truth of the world.
//!
//! Everything is replicated as before, on brokers that live, and nothing is left over. What cannot be is excused, for a
//! reason that is reckoned from the cluster itself; what the service says of it does not count.

use std::collections::{BTreeMap, BTreeSet};

use cluster::notation::ClusterText;
use cluster::{BrokerId, ConfigResource, ConfigValues, Partition, Reassignment, TopicPartition};
use control::Execution;
use control::event::ThrottleEntry;
use control::execution::Work;

use crate::driver::Driver;

/// What the cluster was like before anything happened.
#[derive(Debug)]
pub(super) struct Before {
    replicas: BTreeMap<TopicPartition, usize>,
    configs: ConfigValues,
}

/// Why a partition need not be healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Excuse {
    /// No in-sync replica is on a live broker: there is nothing to copy from, and an unclean election is never done.
    NoCopy,
    /// There are not enough live brokers that hold no replica of it. Kafka before 4.x ends a reassignment only when every
    /// replica of its target list is in sync, so that there all dead ones must be replaced at once. A move of ours that a
    /// death has caught brings what it can, and waits.
    NoFurtherBroker,
    /// Somebody else's reassignment of it waits for a broker that is dead, even one that it wants no more: Kafka 4.3 waits for
    /// what an order before it had begun to add. It is theirs to cancel.
    SomebodyElses,
    /// A reassignment of ours waits for a dead broker: for a new replica, or for one that it keeps, as Kafka before 4.x ends
    /// it no sooner. A new replica is in sync, and to cancel takes it away: it would leave fewer than most in sync, or a
    /// single one, and a partition that takes records could stand still. People are told that it makes no headway.
    NewReplicaCounts,
    /// More brokers are dead than may be, nobody has approved, and it was configured that a person must.
    Braked,
}

/// The cluster as it is.
struct Look<'a> {
    driver: &'a Driver,
    text: &'a ClusterText,
    /// Brokers that live, or will in a moment.
    up: BTreeSet<BrokerId>,
    /// Whether the present version ends a reassignment although a replica that is kept is dead.
    completes_with_dead: bool,
    braked: bool,
}

impl Before {
    pub(super) fn of(driver: &Driver) -> Self {
        let mut world = driver.world().lock();
        let text = world.text(false);
        let replicas = partitions(&text).map(|(at, partition)| (at, partition.replicas.len())).collect();
        Self { replicas, configs: world.configs().clone() }
    }

    /// What is missing of: everything that can be is replicated as before, and nothing is left over.
    pub(super) fn unrest(&self, driver: &Driver, braked: bool) -> Option<String> {
        let (text, configs, up, completes_with_dead) = {
            let mut world = driver.world().lock();
            let completes = world.settings().rules.capabilities.completes_with_dead_targets;
            (world.text(false), world.configs().clone(), world.up(), completes)
        };
        let up = up.into_iter().collect();
        let look = Look { driver, text: &text, up, completes_with_dead, braked };
        if let Some(why) = partitions(&text).find_map(|(at, partition)| {
            look.trouble(&at, partition, self.replicas.get(&at).copied()).map(|why| format!("{why}: {at}"))
        }) {
            return Some(why);
        }
        if self.configs.iter().any(|(of, values)| configs.get(of).is_none_or(|now| !holds(now, values))) {
            return Some(format!("a throttle of somebody else is gone: {configs:?}"));
        }
        // An excused move of ours that is under way keeps its throttle.
        let moves = |(at, runs): (&TopicPartition, &Reassignment)| driver.is_ours(at, &runs.target());
        let reached = |mut configs: ConfigValues| {
            configs.retain(|of, _| look.is_reached(of));
            configs
        };
        let left = reached(configs.clone()) != reached(self.configs.clone());
        if !braked && left && !text.reassignments.iter().any(moves) {
            return Some(format!("a throttle is left over: {configs:?}"));
        }
        let runs = |look: &Look<'_>| {
            // It is followed until it ends.
            let waits = |at: &TopicPartition| look.text.reassignments.contains_key(at);
            let is_excused = |runs: &Execution| {
                runs.moves().iter().any(|m| waits(&m.order.partition)) || look.is_left_to_the_dead(runs)
            };
            // What waits for a person keeps its throttle and does not end. A single call waits for nobody.
            let waits = |runs: &Execution| look.braked && matches!(runs.work, Work::Reassign(_));
            let mut running = look.driver.memory().executions.iter().filter(|one| one.is_running());
            running.any(|runs| !is_excused(runs) && !waits(runs))
        };
        runs(&look).then(|| "an execution has not ended".to_owned())
    }
}

/// Whether all of `values` are among those that hold `now`.
fn holds(now: &BTreeMap<String, String>, values: &BTreeMap<String, String>) -> bool {
    values.iter().all(|(key, value)| now.get(key) == Some(value))
}

/// Whether some replica is on a broker that is dead, so that there is something to be excused, or a host may yet be replaced
/// (its agent must have been silent, and the one before it a while ago) or was, and its broker is yet to lead again.
pub(super) fn is_excused(driver: &Driver) -> bool {
    let mut world = driver.world().lock();
    let (text, up) = (world.text(false), world.up());
    if driver.config().replacement.is_some() {
        let incidents = &driver.memory().incidents;
        let kinds = [control::monitors::kinds::BROKER_DEAD, control::operators::kinds::BROKER_REPLACED];
        let is_open = kinds.iter().any(|kind| incidents.of_kind(kind).next().is_some());
        if is_open || up.len() < world.addresses().len() {
            return true;
        }
    }
    partitions(&text).any(|(_, it)| it.replicas.iter().any(|id| !up.contains(id)))
}

fn partitions(text: &ClusterText) -> impl Iterator<Item = (TopicPartition, &Partition)> {
    text.topics.iter().flat_map(|(name, topic)| {
        (0..).zip(&topic.partitions).map(|(number, it)| (TopicPartition::new(name.clone(), number), it))
    })
}

impl Look<'_> {
    fn lives(&self, id: BrokerId) -> bool {
        self.up.contains(&id)
    }

    /// Whether configs of it can be changed: those of a broker only by that broker itself.
    fn is_reached(&self, of: &ConfigResource) -> bool {
        !matches!(of, ConfigResource::Broker(id) if !self.lives(*id))
    }

    /// Whether an execution has nothing left to do but to take a throttle from brokers that are dead.
    fn is_left_to_the_dead(&self, execution: &Execution) -> bool {
        let Work::Reassign(work) = &execution.work else { return false };
        let entries = work.throttle.as_ref().and_then(|throttle| throttle.entries.as_deref());
        let of_the_dead = |entry: &ThrottleEntry| entry.broker.is_some_and(|id| !self.lives(id));
        work.moves.iter().all(|m| m.phase.is_final())
            && entries.is_some_and(|all| all.iter().all(of_the_dead))
    }

    fn trouble(&self, at: &TopicPartition, it: &Partition, before: Option<usize>) -> Option<&'static str> {
        let runs = self.text.reassignments.get(at);
        let count = runs.map_or(it.replicas.len(), |runs| runs.target().len());
        if before.is_some_and(|before| count != before) {
            return Some("a replication factor is another than before");
        }
        if self.excuse(at, it, runs).is_some() {
            return None;
        }
        let dead = it.replicas.iter().any(|id| !self.lives(*id));
        match runs {
            Some(runs) if self.driver.is_ours(at, &runs.target()) => {
                Some("a reassignment of ours is left over")
            }
            Some(_) => Some("a reassignment of somebody else is left over"),
            None if dead => Some("a replica is on a dead broker"),
            None if it.is_under_replicated() => Some("not everything is replicated"),
            None => None,
        }
    }

    fn excuse(&self, at: &TopicPartition, it: &Partition, runs: Option<&Reassignment>) -> Option<Excuse> {
        let dead = it.replicas.iter().filter(|id| !self.lives(**id)).count();
        if dead == 0 {
            return None;
        }
        if !it.isr.iter().any(|id| self.lives(*id)) {
            return Some(Excuse::NoCopy);
        }
        if let Some(runs) = runs {
            let target = runs.target();
            let waits = target.iter().any(|id| !self.lives(*id));
            if !self.driver.is_ours(at, &target) {
                let waits = waits || runs.adding.iter().any(|id| !self.lives(*id));
                return waits.then_some(Excuse::SomebodyElses);
            }
            let stay = it.isr.iter().filter(|id| self.lives(**id) && !runs.adding.contains(id)).count();
            let is_in_sync = runs.adding.iter().any(|id| it.isr.contains(id));
            let few = stay < (target.len() / 2 + 1).max(2);
            let before = runs.replicas.iter().filter(|id| !runs.adding.contains(id));
            let gone = before.clone().filter(|id| !self.lives(**id)).count();
            let before: Vec<BrokerId> = before.copied().collect();
            return match waits && is_in_sync {
                true if few => Some(Excuse::NewReplicaCounts),
                true if self.is_short_of_brokers(&before, gone) => Some(Excuse::NoFurtherBroker),
                // The brake holds cancels, too: a person may bring back what is away.
                _ if waits && self.braked => Some(Excuse::Braked),
                _ => None,
            };
        }
        if self.braked {
            return Some(Excuse::Braked);
        }
        // Live replicas catch up by themselves, whatever becomes of the dead ones.
        if it.out_of_sync().any(|id| self.lives(id)) {
            return None;
        }
        self.is_short_of_brokers(&it.replicas, dead).then_some(Excuse::NoFurtherBroker)
    }

    /// Whether too few live brokers hold none of these replicas, of which so many are on dead brokers.
    fn is_short_of_brokers(&self, replicas: &[BrokerId], dead: usize) -> bool {
        let free = self.up.iter().filter(|id| !replicas.contains(id)).count();
        if self.completes_with_dead { free == 0 } else { free < dead }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{DriverConfig, Settings, World};

    #[test]
    fn what_somebody_else_reassigns_may_wait_for_a_dead_broker_that_is_wanted_no_more() {
        let text = "b1\nb2\nb3\nb4\nt-0: 1* 2 3 size=50GiB";
        let world = World::new(&text.parse().unwrap(), Settings::default());
        let driver = Driver::new(world, &DriverConfig::default()).unwrap();
        let before = Before::of(&driver);
        let faults =
            "at 1s foreign-reassignment t-0 1 2 4\nat 2s kill b4\nat 30s foreign-reassignment t-0 1 2 3";
        let unrest = || before.unrest(&driver, false);
        driver.world().lock().plan(&faults.parse().unwrap());
        driver.world().lock().advance(Duration::from_secs(60));
        assert_eq!(unrest(), None);
        driver.world().lock().plan(&"at 0s calm".parse().unwrap());
        driver.world().lock().advance(Duration::from_secs(10));
        assert_eq!(unrest().as_deref(), Some("a reassignment of somebody else is left over: t-0"));
        driver.world().lock().advance(Duration::from_secs(3600));
        assert_eq!(unrest(), None);
    }

    fn quick() -> DriverConfig {
        let mut config = DriverConfig::default();
        config.dead_brokers.grace = control::config::HumanDuration::seconds(10);
        config
    }

    #[test]
    fn what_somebody_else_reassigns_is_theirs_although_we_wanted_the_same_before() {
        let world = World::new(&"b1\nb2\nb3\nb4\nt-0: 1* 3".parse().unwrap(), Settings::default());
        let mut driver = Driver::new(world, &quick()).unwrap();
        let before = Before::of(&driver);
        let at = TopicPartition::new("t", 0);
        driver.world().lock().plan(&"at 1s kill b3".parse().unwrap());
        driver.run(Duration::from_secs(120)).unwrap();
        let ours = driver.world().lock().partition(&at).unwrap().replicas.to_vec();
        assert!(!ours.contains(&BrokerId(3)) && !driver.memory().executions.is_empty());
        // A broker that has none of it is killed, and somebody wants it there, and then no more.
        let other = [2, 4].map(BrokerId).into_iter().find(|id| !ours.contains(id)).unwrap();
        let faults = format!(
            "at 0s kill b{other}\nat 1s foreign-reassignment t-0 1 {other}\nat 3s foreign-reassignment t-0 1 {}",
            ours[1]
        );
        driver.world().lock().plan(&faults.parse().unwrap());
        driver.run(Duration::from_secs(60)).unwrap();
        assert!(driver.world().lock().is_moving(&at) && !driver.is_ours(&at, &ours));
        assert_eq!(before.unrest(&driver, false), None);
    }

    #[test]
    fn an_election_that_is_tried_again_is_no_rest_whatever_the_brake_holds() {
        let world = World::new(&"b1\nb2\nb3\nt-0: 3* 1".parse().unwrap(), Settings::default());
        let mut config = quick();
        config.between.lost_permille = 1000;
        let mut driver = Driver::new(world, &config).unwrap();
        let before = Before::of(&driver);
        driver.world().lock().plan(&"at 1s kill b3".parse().unwrap());
        let elects = |driver: &mut Driver| {
            let mut running = driver.memory().executions.iter().filter(|one| one.is_running());
            running.any(|one| one.event.name == control::event::names::ELECT_LEADERS)
        };
        assert!(driver.run_until(Duration::from_secs(600), elects).unwrap());
        assert_eq!(before.unrest(&driver, true).as_deref(), Some("an execution has not ended"));
    }
}
