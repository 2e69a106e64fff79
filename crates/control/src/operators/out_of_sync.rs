//! Why a replica is out of sync.

use std::collections::BTreeSet;

use cluster::BrokerId;

use crate::attributes::{DeadBrokers, Liveness, Maintenance, UnderReplicatedPartition};
use crate::planning::network::Loads;

/// Why a replica is out of sync, in the order in which it is asked: the first that holds is the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// The broker that holds it is dead.
    FollowerDead,
    /// The broker that holds it is under maintenance.
    FollowerInMaintenance,
    /// The broker that holds it is absent, but not dead (yet).
    FollowerAbsent,
    /// The partition has no leader to follow.
    NoLeader,
    /// The partition's leader is dead.
    LeaderDead,
    /// A log directory of the follower has failed. Which of its replicas are in it nobody tells, and those in others are in sync.
    LogDirFailed,
    /// The follower's network takes in as much as it can.
    FollowerSaturated,
    /// The leader's network gives out as much as it can.
    LeaderSaturated,
    /// The follower was absent a short time ago, and fetches what it has missed.
    CatchingUp,
    /// None of these.
    Unknown,
}

impl Reason {
    /// The reason in words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::FollowerDead => "follower dead",
            Self::FollowerInMaintenance => "follower under maintenance",
            Self::FollowerAbsent => "follower absent",
            Self::NoLeader => "no leader",
            Self::LeaderDead => "leader dead",
            Self::LogDirFailed => "log dir failed",
            Self::FollowerSaturated => "follower saturated",
            Self::LeaderSaturated => "leader saturated",
            Self::CatchingUp => "catching up",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it is expected to pass by itself.
    pub(super) fn passes(self) -> bool {
        matches!(self, Self::FollowerInMaintenance | Self::FollowerAbsent | Self::CatchingUp)
    }

    /// Whether it is no reason to move the replica, and does not pass by itself.
    pub(super) fn is_unsure(self) -> bool {
        matches!(self, Self::FollowerSaturated | Self::LeaderSaturated | Self::Unknown)
    }
}

/// What reasons are told from.
pub(super) struct Signs<'a> {
    pub(super) liveness: &'a Liveness,
    pub(super) dead: &'a DeadBrokers,
    pub(super) maintenance: &'a Maintenance,
    pub(super) loads: Option<&'a Loads>,
    /// Live brokers with a failed log directory, which people are told of.
    pub(super) failed: &'a BTreeSet<BrokerId>,
    /// Brokers that were absent a short time ago.
    pub(super) returned: &'a BTreeSet<BrokerId>,
}

impl Signs<'_> {
    /// Why the replica on `follower` is out of sync.
    pub(super) fn reason(&self, follower: BrokerId, partition: &UnderReplicatedPartition) -> Reason {
        if self.dead.dead.contains_key(&follower) {
            return Reason::FollowerDead;
        }
        if self.maintenance.brokers.contains_key(&follower) {
            return Reason::FollowerInMaintenance;
        }
        if self.dead.suspects.contains_key(&follower) || !self.liveness.live.contains_key(&follower) {
            return Reason::FollowerAbsent;
        }
        let Some(leader) = partition.leader else { return Reason::NoLeader };
        if self.dead.dead.contains_key(&leader) {
            return Reason::LeaderDead;
        }
        if self.failed.contains(&follower) {
            return Reason::LogDirFailed;
        }
        if self.loads.is_some_and(|loads| loads.is_saturated_inbound(follower)) {
            return Reason::FollowerSaturated;
        }
        if self.loads.is_some_and(|loads| loads.is_saturated_outbound(leader)) {
            return Reason::LeaderSaturated;
        }
        if self.returned.contains(&follower) { Reason::CatchingUp } else { Reason::Unknown }
    }
}
