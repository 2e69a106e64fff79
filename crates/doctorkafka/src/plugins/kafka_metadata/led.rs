//! Where the bootstrap servers lead.
//!
//! What is remembered also says where brokers were, and those may still answer although a person has given the addresses of
//! another cluster since. To go on with the old one would be to act where nobody looks: what the person says counts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster::{BrokerAddress, ClusterId};
use control::{Finding, Severity, Target, Tick};

/// How often a bootstrap server is asked again that has not answered, or has answered for another cluster.
const ASKED_AGAIN: Duration = Duration::from_secs(10);

/// What the bootstrap servers have answered for.
#[derive(Debug, Default)]
pub(super) struct Led {
    words: BTreeMap<BrokerAddress, ClusterId>,
    /// The cluster for which one of them has answered. That settles it for as long as this process lives: an address that is
    /// given to another cluster later does not hide what happens to this one.
    settled: Option<ClusterId>,
    asked_at: Option<Tick>,
}

impl Led {
    /// Those of `bootstrap` that are to be asked now, besides `asked`, who are asked anyway.
    pub(super) fn due(
        &mut self,
        now: Tick,
        bootstrap: &[BrokerAddress],
        asked: &BTreeSet<BrokerAddress>,
        expected: Option<&ClusterId>,
    ) -> Vec<BrokerAddress> {
        self.words.retain(|at, _| bootstrap.contains(at));
        if self.asked_at.is_some_and(|at| now.since(at) < ASKED_AGAIN) {
            return Vec::new();
        }
        self.asked_at = Some(now);
        let settled = self.is_settled(expected);
        let is_due = |at: &BrokerAddress| match self.words.get(at) {
            None => !settled,
            Some(word) => Some(word) != expected,
        };
        bootstrap.iter().filter(|at| !asked.contains(*at) && is_due(at)).cloned().collect()
    }

    /// One has answered for a cluster, or has not answered. Whoever is no bootstrap server is not `led`.
    pub(super) fn hear(
        &mut self,
        at: &BrokerAddress,
        word: Option<&ClusterId>,
        expected: Option<&ClusterId>,
    ) {
        match word {
            Some(word) => {
                self.words.insert(at.clone(), word.clone());
                if Some(word) == expected {
                    self.settled = Some(word.clone());
                }
            }
            // It is not known any more where it leads.
            None => {
                self.words.remove(at);
            }
        }
    }

    fn is_settled(&self, expected: Option<&ClusterId>) -> bool {
        expected.is_some() && self.settled.as_ref() == expected
    }

    /// The other cluster to which all lead that have answered.
    pub(super) fn elsewhere(&self, expected: Option<&ClusterId>) -> Option<&ClusterId> {
        let expected = expected.filter(|_| !self.is_settled(expected))?;
        if self.words.values().any(|word| word == expected) {
            return None;
        }
        self.words.values().next()
    }

    /// One that leads elsewhere while the others lead to the cluster that is expected.
    pub(super) fn findings(&self, expected: Option<&ClusterId>) -> Option<Finding> {
        let expected = expected.filter(|_| self.elsewhere(expected).is_none())?;
        let (at, word) = self.words.iter().find(|(_, word)| *word != expected)?;
        let message = format!("the bootstrap server {at} answers for cluster {word}, not for {expected}");
        let finding = Finding::new("identity_conflict", Target::Cluster, Severity::Critical, message);
        Some(finding.waiting_for("a person to correct the bootstrap servers"))
    }
}
