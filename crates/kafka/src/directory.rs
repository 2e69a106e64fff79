//! Which broker a call goes to: what the brokers last said of each other, and who of them answers.
//!
//! All of it is about one cluster. An address may go over to a broker of another cluster while we go on asking there, so
//! that an answer only counts if it names the cluster that is expected. Which one that is says whoever knows (a vote of
//! many brokers, or the memory of one); until then it is the one for which a bootstrap address answered first.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cluster::{BrokerAddress, BrokerAnswer, BrokerId, ClusterId};

/// A broker whose last failure is younger than this is tried after all others. It spans the time that Kafka needs to
/// notice a dead broker by itself (9 s) several times over.
const AVOID_FOR: Duration = Duration::from_secs(30);

/// What is known of the way to each broker. Filled by every answer to a question, whoever asked it.
#[derive(Default)]
pub(crate) struct Directory(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// The cluster, as somebody who knows has said.
    told: Option<ClusterId>,
    /// The cluster for which a bootstrap address answered first, as long as nobody has said which it is.
    first: Option<ClusterId>,
    live: BTreeMap<BrokerId, BrokerAddress>,
    controller: Option<BrokerId>,
    kraft: bool,
    failed: BTreeMap<BrokerAddress, Instant>,
    /// With whom the next call begins that goes from one to the next.
    turn: usize,
}

impl Directory {
    /// Takes in which cluster this is about. What is known of another one is forgotten.
    pub(crate) fn tell(&self, cluster: Option<&ClusterId>) {
        let mut known = self.lock();
        if known.cluster() != cluster {
            known.live.clear();
            known.controller = None;
        }
        known.told = cluster.cloned();
        known.first = None;
    }

    /// The cluster that somebody has said it is.
    pub(crate) fn told(&self) -> Option<ClusterId> {
        self.lock().told.clone()
    }

    /// The cluster that this is about, as far as it is known.
    pub(crate) fn cluster(&self) -> Option<ClusterId> {
        self.lock().cluster().cloned()
    }

    /// Takes in what a broker said, if it is of the expected cluster, and says whether it is. `given` is whether its
    /// address is one of the configuration: only such a one may say which cluster it is when nobody knows yet.
    pub(crate) fn learn(&self, at: &BrokerAddress, answer: &BrokerAnswer, given: bool) -> bool {
        let mut known = self.lock();
        if known.cluster().is_none() && given {
            known.first = Some(answer.cluster_id.clone());
        }
        let ours = known.cluster() == Some(&answer.cluster_id);
        if ours {
            known.take(at, answer);
        }
        ours
    }

    /// Goes over to the cluster that a bootstrap address answers for, unless somebody has said which one it is. Says
    /// whether it did.
    pub(crate) fn adopt(&self, at: &BrokerAddress, answer: &BrokerAnswer) -> bool {
        let mut known = self.lock();
        if known.told.is_some() {
            return false;
        }
        known.first = Some(answer.cluster_id.clone());
        known.take(at, answer);
        true
    }

    /// Remembers that a broker did not do what it was asked for.
    pub(crate) fn failed(&self, at: &BrokerAddress, now: Instant) {
        let mut known = self.lock();
        known.failed.retain(|_, when| now.duration_since(*when) < AVOID_FOR);
        known.failed.insert(at.clone(), now);
    }

    /// The address of a live broker.
    pub(crate) fn address(&self, broker: BrokerId) -> Option<BrokerAddress> {
        self.lock().live.get(&broker).cloned()
    }

    /// Whom to give what only the controller does, best first. With KRaft every broker passes it on to the
    /// controller; with ZooKeeper it must be the controller itself.
    pub(crate) fn controllers(&self, now: Instant) -> Vec<BrokerAddress> {
        let known = self.lock();
        if !known.kraft {
            return known.controller.and_then(|id| known.live.get(&id)).cloned().into_iter().collect();
        }
        let mut brokers: Vec<_> = known.live.values().cloned().collect();
        // Stable, so that calls keep to one broker (and one connection) while it answers.
        brokers
            .sort_by_key(|at| known.failed.get(at).is_some_and(|when| now.duration_since(*when) < AVOID_FOR));
        brokers
    }

    /// Whom to ask where the controller is: all brokers known to be alive, those that failed lately last.
    pub(crate) fn everyone(&self, bootstrap: &[BrokerAddress], now: Instant) -> Vec<BrokerAddress> {
        let known = self.lock();
        let mut all: Vec<_> = known.live.values().cloned().collect();
        all.extend(bootstrap.iter().filter(|at| !known.live.values().any(|live| live == *at)).cloned());
        all.sort_by_key(|at| known.failed.get(at).is_some_and(|when| now.duration_since(*when) < AVOID_FOR));
        all
    }

    /// All brokers known to be alive, those that failed lately last, and beginning with another one each time. Each is
    /// there once: a bootstrap address may be another name of any of them.
    pub(crate) fn in_turn(&self, now: Instant) -> Vec<BrokerAddress> {
        let mut all = self.everyone(&[], now);
        let mut known = self.lock();
        let failed = |at: &BrokerAddress| {
            known.failed.get(at).is_some_and(|when| now.duration_since(*when) < AVOID_FOR)
        };
        let willing = all.iter().filter(|at| !failed(at)).count();
        if let Some(turn) = known.turn.checked_rem(willing) {
            all[..willing].rotate_left(turn);
        }
        known.turn = known.turn.wrapping_add(1);
        all
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn cluster(&self) -> Option<&ClusterId> {
        self.told.as_ref().or(self.first.as_ref())
    }

    fn take(&mut self, at: &BrokerAddress, answer: &BrokerAnswer) {
        self.live.clear();
        self.live.extend(answer.live.iter().map(|(id, broker)| (*id, broker.address.clone())));
        self.controller = answer.controller;
        self.kraft = answer.capabilities.kraft;
        self.failed.remove(at);
    }
}

#[cfg(test)]
mod tests {
    use cluster::{Broker, Capabilities, ClusterId};

    use super::*;

    fn at(port: u16) -> BrokerAddress {
        BrokerAddress { host: "h".into(), port }
    }

    fn answer(kraft: bool, controller: i32, live: &[i32]) -> BrokerAnswer {
        let broker = |id: i32| Broker { id: BrokerId(id), address: at(id as u16), rack: None };
        BrokerAnswer {
            cluster_id: ClusterId("c".into()),
            controller: Some(BrokerId(controller)),
            live: live.iter().map(|id| (BrokerId(*id), broker(*id))).collect(),
            fenced: BTreeMap::new(),
            capabilities: Capabilities { kraft, ..Capabilities::default() },
            took: Duration::ZERO,
        }
    }

    fn ports(addresses: Vec<BrokerAddress>) -> Vec<u16> {
        addresses.into_iter().map(|a| a.port).collect()
    }

    #[test]
    fn only_the_controller_takes_orders_with_zookeeper_and_every_broker_with_kraft() {
        let (directory, now) = (Directory::default(), Instant::now());
        assert!(directory.controllers(now).is_empty());
        directory.learn(&at(1), &answer(false, 2, &[1, 2, 3]), true);
        assert_eq!(ports(directory.controllers(now)), [2]);
        directory.learn(&at(1), &answer(true, 2, &[1, 2, 3]), true);
        assert_eq!(ports(directory.controllers(now)), [1, 2, 3]);
    }

    #[test]
    fn a_broker_that_failed_comes_last_until_it_answers_or_time_has_passed() {
        let (directory, now) = (Directory::default(), Instant::now());
        directory.learn(&at(1), &answer(true, 2, &[1, 2, 3]), true);
        directory.failed(&at(1), now);
        assert_eq!(ports(directory.controllers(now)), [2, 3, 1]);
        assert_eq!(ports(directory.everyone(&[at(9), at(1)], now)), [2, 3, 9, 1]);
        assert_eq!(ports(directory.controllers(now + AVOID_FOR)), [1, 2, 3]);
        assert_eq!(ports(directory.in_turn(now)), [2, 3, 1]);
        assert_eq!(ports(directory.in_turn(now)), [3, 2, 1]);
        assert!(Directory::default().in_turn(now).is_empty());
        directory.learn(&at(1), &answer(true, 2, &[1, 2]), true);
        assert_eq!(ports(directory.controllers(now)), [1, 2]);
        assert_eq!(directory.address(BrokerId(3)), None);
    }

    /// The answer of a broker of another cluster.
    fn stranger(live: &[i32]) -> BrokerAnswer {
        BrokerAnswer { cluster_id: ClusterId("other".into()), ..answer(true, 7, live) }
    }

    #[test]
    fn an_answer_for_another_cluster_leads_nowhere() {
        let (directory, now) = (Directory::default(), Instant::now());
        assert!(!directory.learn(&at(5), &stranger(&[7]), false), "an address that nobody has given");
        assert!(directory.learn(&at(1), &answer(true, 2, &[1, 2]), true));
        assert!(!directory.learn(&at(2), &stranger(&[7]), true));
        assert_eq!(ports(directory.controllers(now)), [1, 2]);
    }

    #[test]
    fn the_first_answer_counts_until_somebody_says_which_cluster_it_is() {
        let (directory, now) = (Directory::default(), Instant::now());
        let ours = ClusterId("c".into());
        assert!(directory.learn(&at(2), &stranger(&[7]), true));
        assert_eq!((directory.told(), directory.cluster()), (None, Some(ClusterId("other".into()))));
        directory.tell(Some(&ours));
        assert!(directory.everyone(&[], now).is_empty(), "what the other cluster said is forgotten");
        assert!(directory.learn(&at(5), &answer(true, 2, &[1, 2]), false));
        directory.tell(Some(&ours));
        assert_eq!(ports(directory.controllers(now)), [1, 2], "telling the same again forgets nothing");
        assert!(!directory.adopt(&at(2), &stranger(&[7])));
        directory.tell(None);
        assert!(directory.everyone(&[], now).is_empty());
        assert!(directory.adopt(&at(2), &stranger(&[7])));
        assert_eq!(ports(directory.controllers(now)), [7]);
    }
}
