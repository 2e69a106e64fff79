//! Checks a balance plan without trusting the solver: it shares no code with it, only the question and the answer.

mod figures;
mod harm;
mod homeless;
mod limits;
mod obstacles;
mod reasons;
mod rooms;
mod scope;
mod steps;

use std::collections::BTreeSet;
use std::fmt;

use super::cluster::Cluster;
use super::policy::{Goal, Policy};
use super::solve::{Budget, Change, Plan};
use figures::{Placement, score};

/// What is wrong with a balance plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// A change names a partition that there is not.
    UnknownPartition {
        /// As named.
        partition: u32,
    },
    /// Two changes name one partition.
    PartitionTwice {
        /// The partition.
        partition: u32,
    },
    /// A change changes nothing.
    NoChange {
        /// The partition.
        partition: u32,
    },
    /// A change names a broker that there is not.
    UnknownBroker {
        /// The partition.
        partition: u32,
        /// As named.
        broker: u32,
    },
    /// A change gives a partition more or fewer replicas than it has.
    ReplicationFactor {
        /// The partition.
        partition: u32,
    },
    /// A partition would have two replicas on one broker.
    DuplicateReplica {
        /// The partition.
        partition: u32,
        /// The broker.
        broker: u32,
    },
    /// A broker that stays stands at another position: Kafka does not exchange the data of two replicas.
    Permuted {
        /// The partition.
        partition: u32,
        /// The broker.
        broker: u32,
    },
    /// The leader is not a position of the list.
    LeaderOutOfRange {
        /// The partition.
        partition: u32,
    },
    /// A new replica on a broker that is dead, may take none, or does not belong to the topic's broker set.
    Target {
        /// The partition.
        partition: u32,
        /// The broker.
        broker: u32,
    },
    /// Leadership for a broker that is dead or may not lead, or whose replica is not in sync.
    Leader {
        /// The partition.
        partition: u32,
        /// The broker.
        broker: u32,
    },
    /// A frozen partition changes where no broker is dead, or one that is never touched.
    Frozen {
        /// The partition.
        partition: u32,
    },
    /// A replica moves that the policy lets stand, or to where it lets nothing go.
    Move {
        /// The partition.
        partition: u32,
        /// Position of the replica.
        position: u32,
    },
    /// Leadership passes on that the policy leaves where it is.
    Leadership {
        /// The partition.
        partition: u32,
    },
    /// More than the budget allows.
    OverBudget {
        /// Replicas moved.
        moves: u64,
        /// What is copied, in the unit of disk.
        disk: i128,
    },
    /// The claimed score before is not that of the cluster.
    BeforeUntrue,
    /// The claimed score after is not that of the cluster after the changes.
    AfterUntrue,
    /// The plan's list of what is unmet leaves a goal out, names one that is met, or says untruly how far it is or what
    /// stands in its way.
    UnmetUntrue {
        /// The goal.
        goal: Goal,
    },
    /// The plan's list of partitions that it leaves stuck is not that of the cluster after the changes, or the reason is none.
    StuckUntrue,
    /// A partition is said to wait for another budget that changes, or where there is no budget.
    PostponedUntrue,
    /// There is not one reason for each change, or nothing is said of what it makes room for.
    Reasons,
    /// A change is not for what is said, or gains more or less for it.
    ReasonUntrue {
        /// The partition.
        partition: u32,
    },
    /// A change that only makes room does not go together with what is said, or another is said to make room.
    RoomUntrue {
        /// The partition.
        partition: u32,
    },
    /// Not so many of the replicas that move leave their rack as the plan says.
    RacksUntrue,
    /// A plan that meets every goal moves fewer replicas than it says any plan must.
    BoundUntrue,
    /// What comes to a broker with several log dirs goes to none of them, or a dir is named where none is to be.
    LogDir {
        /// The partition.
        partition: u32,
        /// Position of the replica.
        position: u32,
    },
    /// A log dir is farther beyond its limit than before, whatever others are.
    LogDirWorse {
        /// The broker.
        broker: u32,
        /// The dir, by its place among the broker's.
        dir: u32,
    },
    /// The score after is worse than before.
    Worse,
    /// A hard goal is left worse than before.
    HardGoalWorse {
        /// The goal.
        goal: Goal,
    },
    /// A broker is farther outside of a hard goal than before, whatever others are.
    BrokerWorse {
        /// The goal.
        goal: Goal,
        /// The broker.
        broker: u32,
    },
    /// The list of a partition is worse by a hard goal than before, whatever others are.
    PartitionWorse {
        /// The goal.
        goal: Goal,
        /// The partition.
        partition: u32,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::UnknownPartition { partition } => write!(f, "there is no partition {partition}"),
            Violation::PartitionTwice { partition } => write!(f, "partition {partition} is changed twice"),
            Violation::NoChange { partition } => write!(f, "partition {partition} does not change"),
            Violation::UnknownBroker { partition, broker } => {
                write!(f, "partition {partition} names broker {broker}, which there is not")
            }
            Violation::ReplicationFactor { partition } => {
                write!(f, "partition {partition} changes its number of replicas")
            }
            Violation::DuplicateReplica { partition, broker } => {
                write!(f, "partition {partition} stands on broker {broker} twice")
            }
            Violation::Permuted { partition, broker } => {
                write!(f, "broker {broker} changes its position in partition {partition}")
            }
            Violation::LeaderOutOfRange { partition } => {
                write!(f, "the leader of partition {partition} is not in its list")
            }
            Violation::Target { partition, broker } => {
                write!(f, "broker {broker} may not take a replica of partition {partition}")
            }
            Violation::Leader { partition, broker } => {
                write!(f, "broker {broker} may not lead partition {partition}")
            }
            Violation::Frozen { partition } => write!(f, "partition {partition} is frozen"),
            Violation::Move { partition, position } => {
                write!(f, "the policy does not let replica {position} of partition {partition} move so")
            }
            Violation::Leadership { partition } => {
                write!(f, "the policy does not let the leadership of partition {partition} pass on so")
            }
            Violation::OverBudget { moves, disk } => {
                write!(f, "{moves} moves and {disk} of disk are over the budget")
            }
            Violation::BeforeUntrue => write!(f, "the score claimed for before is untrue"),
            Violation::AfterUntrue => write!(f, "the score claimed for after is untrue"),
            Violation::UnmetUntrue { goal } => write!(f, "what is said of {} is untrue", goal.name()),
            Violation::StuckUntrue => write!(f, "what is said of partitions that stay as they are is untrue"),
            Violation::PostponedUntrue => write!(f, "what is said to be beyond the budget is not"),
            Violation::Reasons => write!(f, "there is not one reason for each change"),
            Violation::ReasonUntrue { partition } => {
                write!(f, "partition {partition} does not change for what is said, or gains another amount")
            }
            Violation::RoomUntrue { partition } => {
                write!(f, "partition {partition} does not make room for what is said")
            }
            Violation::RacksUntrue => write!(f, "not so many replicas leave their rack as the plan says"),
            Violation::BoundUntrue => write!(f, "the plan moves fewer replicas than it says any must"),
            Violation::LogDir { partition, position } => {
                write!(f, "replica {position} of partition {partition} goes to no log dir of its broker")
            }
            Violation::LogDirWorse { broker, dir } => {
                write!(f, "log dir {dir} of broker {broker} is farther beyond its limit than before")
            }
            Violation::Worse => write!(f, "the score after is worse than before"),
            Violation::HardGoalWorse { goal } => write!(f, "{} is worse than before", goal.name()),
            Violation::BrokerWorse { goal, broker } => {
                write!(f, "{} is worse than before on broker {broker}", goal.name())
            }
            Violation::PartitionWorse { goal, partition } => {
                write!(f, "{} is worse than before for partition {partition}", goal.name())
            }
        }
    }
}

/// Checks a plan for a cluster.
///
/// No hard goal may be left worse than before on any broker, or for any partition: what is better elsewhere is no excuse. Only
/// what a broker takes of replicas that come off dead ones, or of leadership off those that may not lead, may bring it so far outside,
/// where no replica in sync of that partition could have led it and brought its broker no farther outside; disk never. Of a goal that
/// no placement can meet it is the whole that may not be worse but for that; and where no data moves, no broker that was within its
/// limits may be outside.
///
/// # Errors
/// Everything that is wrong with the plan. Scores are judged only if the changes as such are sound.
pub fn audit(cluster: &Cluster, policy: &Policy, budget: &Budget, plan: &Plan) -> Result<(), Vec<Violation>> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for change in &plan.changes {
        if change.partition >= cluster.partitions() {
            found.push(Violation::UnknownPartition { partition: change.partition });
        } else if !seen.insert(change.partition) {
            found.push(Violation::PartitionTwice { partition: change.partition });
        } else {
            check_lists(cluster, policy, change, &mut found);
        }
    }
    if found.is_empty() {
        for change in &plan.changes {
            check_permissions(cluster, change, &mut found);
            scope::check(cluster, policy, change, &mut found);
        }
        check_log_dirs(cluster, plan, &mut found);
        check_budget(cluster, budget, plan, &mut found);
        check_claims(cluster, policy, plan, &mut found);
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}

fn check_lists(cluster: &Cluster, policy: &Policy, change: &Change, found: &mut Vec<Violation>) {
    let partition = change.partition;
    let (old, new) = (cluster.replicas(partition), &change.replicas);
    if new.len() != old.len() {
        found.push(Violation::ReplicationFactor { partition });
        return;
    }
    if change.leader as usize >= new.len() {
        found.push(Violation::LeaderOutOfRange { partition });
    }
    if new.as_slice() == old && change.leader == cluster.leader(partition) {
        found.push(Violation::NoChange { partition });
    }
    let mut held = BTreeSet::new();
    for (position, broker) in new.iter().copied().enumerate() {
        if broker as usize >= cluster.brokers().len() {
            found.push(Violation::UnknownBroker { partition, broker });
        } else if !held.insert(broker) {
            found.push(Violation::DuplicateReplica { partition, broker });
        } else if !policy.exchange && old[position] != broker && old.contains(&broker) {
            found.push(Violation::Permuted { partition, broker });
        }
    }
}

fn check_permissions(cluster: &Cluster, change: &Change, found: &mut Vec<Violation>) {
    let partition = change.partition;
    let old = cluster.replicas(partition);
    let broker = |ordinal: u32| &cluster.brokers()[ordinal as usize];
    let set = cluster.bound_set(cluster.topic(partition));
    let mut touched = cluster.lock(partition).is_some();
    for (position, (from, to)) in (0..).zip(old.iter().copied().zip(change.replicas.iter().copied())) {
        if from == to {
            continue;
        }
        touched |= broker(from).alive && !cluster.offline(partition, position);
        let belongs = set.is_none() || broker(to).set == set;
        if !broker(to).alive || !broker(to).takes_replicas || !belongs {
            found.push(Violation::Target { partition, broker: to });
        }
    }
    let was = cluster.leader(partition);
    let led_by = old[was as usize];
    let leads = change.replicas[change.leader as usize];
    if leads != led_by {
        // A broker that is new to the partition has copied all before it can lead.
        let keeps = (0..).zip(old).find(|(_, broker)| **broker == leads).map(|(position, _)| position);
        let behind = keeps.is_some_and(|position| !cluster.in_sync(partition, position));
        if !broker(leads).alive || !broker(leads).takes_leadership || behind {
            found.push(Violation::Leader { partition, broker: leads });
        }
        touched |= broker(led_by).alive && !cluster.offline(partition, was);
    }
    if touched && cluster.frozen(partition) {
        found.push(Violation::Frozen { partition });
    }
}

/// Each replica that comes to a broker with several log dirs goes to one of them, and no dir is named for any other.
fn check_log_dirs(cluster: &Cluster, plan: &Plan, found: &mut Vec<Violation>) {
    let mut named = plan.log_dirs.clone();
    for change in &plan.changes {
        let partition = change.partition;
        let pairs = cluster.replicas(partition).iter().zip(&change.replicas);
        for (position, (_, to)) in (0..).zip(pairs).filter(|(_, (from, to))| from != to) {
            let dirs = cluster.log_dirs(*to).len();
            let dir = named.remove(&(partition, position));
            if dir.is_none() != (dirs == 0) || dir.is_some_and(|dir| dir as usize >= dirs) {
                found.push(Violation::LogDir { partition, position });
            }
        }
    }
    let rest = named.into_keys().map(|(partition, position)| Violation::LogDir { partition, position });
    found.extend(rest);
}

fn check_budget(cluster: &Cluster, budget: &Budget, plan: &Plan, found: &mut Vec<Violation>) {
    let (mut moves, mut disk, mut leave_rack) = (0_u64, 0_i128, 0_u64);
    let rack = |broker: u32| cluster.brokers()[broker as usize].rack;
    for change in &plan.changes {
        for (position, from) in cluster.replicas(change.partition).iter().enumerate() {
            let to = change.replicas[position];
            if *from != to {
                moves += 1;
                leave_rack += u64::from(rack(*from) != rack(to));
                disk += i128::from(cluster.loads(change.partition)[position][super::cluster::DISK]);
            }
        }
    }
    if leave_rack != plan.leave_rack {
        found.push(Violation::RacksUntrue);
    }
    if plan.after.is_clean() && plan.fewest_moves.is_some_and(|fewest| moves < fewest) {
        found.push(Violation::BoundUntrue);
    }
    let free = budget.moves.is_none() && budget.disk.is_none();
    let changes = |partition: &u32| plan.changes.iter().any(|change| change.partition == *partition);
    let untrue = |partition: &u32| *partition >= cluster.partitions() || changes(partition);
    if !plan.postponed.is_empty() && (free || plan.postponed.iter().take(1).any(untrue)) {
        found.push(Violation::PostponedUntrue);
    }
    let over_moves = budget.moves.is_some_and(|most| moves > most);
    let over_disk = budget.disk.is_some_and(|most| disk > i128::from(most));
    if over_moves || over_disk {
        found.push(Violation::OverBudget { moves, disk });
    }
}

fn check_claims(cluster: &Cluster, policy: &Policy, plan: &Plan, found: &mut Vec<Violation>) {
    let was = Placement::of(cluster);
    let before = score(&was, policy);
    reasons::check(&was, policy, plan, found);
    if plan.reasons.len() == plan.changes.len() {
        rooms::check(cluster, plan, found);
    }
    let is = Placement::after(cluster, &plan.changes, &plan.log_dirs);
    let after = score(&is, policy);
    obstacles::check((&was, &is), policy, plan, &after, found);
    if plan.before != before {
        found.push(Violation::BeforeUntrue);
    }
    if plan.after != after {
        found.push(Violation::AfterUntrue);
    }
    if after > before {
        found.push(Violation::Worse);
    }
    harm::check((&was, &is), policy, (&before, &after), !plan.postponed.is_empty(), found);
}
