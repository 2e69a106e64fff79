//! What a plan is for: each mode is the same search, asked about another cluster by another policy.

use super::bands::scale;
use super::cluster::{Broker, Cluster, Lock, Mark, Partition, RESOURCES, Replica};
use super::dirs::by_broker;
use super::policy::{Goal, Leaders, MILLION, Moves, Policy};

/// What a plan is for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Mode {
    /// Meets all goals.
    #[default]
    Balance,
    /// Brings replicas off dead brokers and meets the hard goals, with as little disturbance as that takes: leadership
    /// passes on only where there is none.
    Heal,
    /// Empties brokers that serve, and disturbs nothing else.
    Drain {
        /// Their ordinals.
        brokers: Vec<u32>,
    },
    /// Gives brokers that have been added their share. Nothing moves but to them.
    Add {
        /// Their ordinals.
        brokers: Vec<u32>,
    },
    /// Takes leadership from brokers. No data moves.
    Demote {
        /// Their ordinals.
        brokers: Vec<u32>,
    },
    /// Brings brokers below a watermark of the resources of those capacity goals that the policy has. Nothing moves but off
    /// brokers above it, and no more than that takes: racks that are shared stay so, and partitions with replicas offline are left
    /// to [`Mode::Heal`].
    Relieve {
        /// Upper limit of each resource, in millionths of its capacity, as [`Policy::capacity`].
        watermark: [i64; 4],
    },
    /// Meets what goals leadership alone can meet. No data moves.
    Leaders,
    /// Gives topics another replication factor: see [`with_replication_factor`].
    ReplicationFactor {
        /// Their numbers.
        topics: Vec<u32>,
        /// Replicas of each partition.
        factor: u32,
    },
}

/// Goals that a broker above a watermark offends.
const WATERMARKED: [Goal; 5] = [
    Goal::RacksKept,
    Goal::DiskCapacity,
    Goal::NetworkInCapacity,
    Goal::NetworkOutCapacity,
    Goal::CpuCapacity,
];

impl Mode {
    /// The cluster and the policy to [solve](super::solve()) for: both also judge the plan.
    ///
    /// Ordinals that there are not name nothing.
    pub fn prepare(&self, cluster: &Cluster, policy: &Policy) -> (Cluster, Policy) {
        let (mut cluster, mut policy) = (cluster.clone(), policy.clone());
        let each = |cluster: &mut Cluster, brokers: &[u32], change: fn(&mut Broker)| {
            brokers.iter().filter_map(|b| cluster.brokers.get_mut(*b as usize).map(change)).count();
        };
        match self {
            Mode::Balance => {}
            Mode::Heal => {
                policy.goals.retain(|goal| policy.hard.contains(goal));
                policy.leaders = Leaders::Orphaned;
                policy.size_weight = 0;
            }
            Mode::Drain { brokers } => {
                each(&mut cluster, brokers, |broker| {
                    (broker.alive, broker.takes_replicas, broker.takes_leadership) = (false, false, false);
                });
                (policy.moves, policy.leaders) = (Moves::Offline, Leaders::Orphaned);
            }
            Mode::Add { brokers } => {
                each(&mut cluster, brokers, |broker| broker.mark = Mark::New);
                (policy.moves, policy.leaders) = (Moves::ToNew, Leaders::ToPlaced);
            }
            Mode::Demote { brokers } => {
                each(&mut cluster, brokers, |broker| broker.takes_leadership = false);
                (policy.moves, policy.leaders) = (Moves::Nothing, Leaders::Demoted);
            }
            Mode::Relieve { watermark } => {
                let judged = |goal: &Goal| goal.resource().is_none() || policy.goals.contains(goal);
                let goals: Vec<Goal> = WATERMARKED.into_iter().filter(judged).collect();
                mark_overloaded(&mut cluster, watermark, &goals);
                lock_what_is_offline(&mut cluster);
                policy.hard = goals.clone();
                policy.goals = goals;
                policy.capacity = *watermark;
                policy.moves = Moves::OffOverloaded;
                policy.size_weight = 0;
            }
            Mode::Leaders => policy.moves = Moves::Nothing,
            Mode::ReplicationFactor { topics, factor } => {
                cluster = with_replication_factor(&cluster, topics, *factor);
                (policy.moves, policy.leaders) = (Moves::Offline, Leaders::ToPlaced);
            }
        }
        (cluster, policy)
    }
}

/// Partitions with a replica on a dead broker or in a failed log dir are never touched.
fn lock_what_is_offline(cluster: &mut Cluster) {
    for partition in 0..cluster.partitions() {
        let offline = cluster.row(partition).any(|replica| cluster.homeless(replica as u32));
        if offline && cluster.lock[partition as usize].is_none() {
            cluster.lock[partition as usize] = Some(Lock::Offline);
            cluster.frozen[partition as usize] = true;
        }
    }
}

fn mark_overloaded(cluster: &mut Cluster, watermark: &[i64; 4], goals: &[Goal]) {
    let mut carried = vec![[0_i64; RESOURCES]; cluster.brokers.len()];
    for partition in 0..cluster.partitions() {
        for (at, replica) in (0..).zip(cluster.row(partition)) {
            let broker = cluster.place[replica];
            let load = cluster.load_at(replica, broker);
            let share =
                if at == cluster.leader(partition) { cluster.leader_share(partition) } else { [0; 4] };
            for (sum, (load, share)) in carried[broker as usize].iter_mut().zip(load.iter().zip(share)) {
                *sum += load + share;
            }
        }
    }
    let of_disk = Policy { capacity: *watermark, goals: goals.to_vec(), ..Policy::default() };
    let dirs = by_broker(cluster, &of_disk, 0);
    let dirs_over = |broker: usize| {
        dirs.get(broker).and_then(Option::as_ref).is_some_and(|dirs| dirs.beyond_in_all() > 0)
    };
    for (broker, carried) in carried.into_iter().enumerate() {
        let over = |r: usize| {
            cluster
                .capacity(broker, r)
                .is_some_and(|capacity| carried[r] > scale(capacity, watermark[r], MILLION))
        };
        if goals.iter().filter_map(|goal| goal.resource()).any(over) || dirs_over(broker) {
            cluster.brokers[broker].mark = Mark::Overloaded;
        }
    }
}

/// The cluster with another number of replicas of each partition of some topics; the brokers keep their ordinals.
///
/// Replicas that are yet to be created wait at the end of their lists on brokers of their own that follow the cluster's:
/// they do not live, so that a plan brings all off them. A new replica takes as much as the leader would as a follower.
/// What is too much goes: never a leader that lives, first what is not on a living broker or in a failed log dir, then what is not in
/// sync, then what shares a rack, then the last of the list. A partition of as many replicas as it shall have is not changed, nor is a frozen one.
pub fn with_replication_factor(cluster: &Cluster, topics: &[u32], factor: u32) -> Cluster {
    let changes = |partition: u32| {
        factor > 0 && topics.contains(&cluster.topic(partition)) && !cluster.frozen(partition)
    };
    let most_new = (0..cluster.partitions())
        .filter(|partition| changes(*partition))
        .map(|partition| factor.saturating_sub(cluster.row(partition).len() as u32))
        .max()
        .unwrap_or(0);
    let mut builder = Cluster::builder(cluster.topics);
    let racks = cluster.brokers.iter().map(|broker| broker.rack + 1).max().unwrap_or(0);
    let waiting = (0..most_new).map(|nth| Broker {
        rack: racks + nth,
        set: None,
        capacity: [0; 4],
        alive: false,
        takes_replicas: false,
        takes_leadership: false,
        mark: Mark::Waiting,
    });
    let mut refused = cluster.brokers.iter().copied().chain(waiting).any(|b| builder.add_broker(&b).is_err());
    for broker in 0..cluster.brokers.len() as u32 {
        refused |= builder.log_dirs(broker, cluster.log_dirs(broker)).is_err();
        refused |= cluster.host(broker).is_some_and(|host| builder.host(broker, host).is_err());
    }
    for topic in 0..cluster.topics {
        if let Some(set) = cluster.bound_set(topic) {
            refused |= builder.bind_topic(topic, set).is_err();
        }
        refused |= builder.require_leaders(topic, cluster.required_leaders(topic)).is_err();
    }
    for ordinal in 0..cluster.partitions() {
        let mut partition = own(cluster, ordinal);
        let mut origin: Vec<u32> = (0..cluster.row(ordinal).len() as u32).collect();
        if changes(ordinal) {
            resize(cluster, ordinal, &mut partition, &mut origin, factor as usize);
        }
        refused |= builder.add_partition(&partition).is_err();
        if let Some(lock) = cluster.lock(ordinal) {
            refused |= builder.lock(ordinal, lock).is_err();
        }
        for (position, origin) in (0..).zip(origin) {
            if cluster.offline(ordinal, origin) {
                refused |= builder.offline(ordinal, position).is_err();
            } else if !cluster.in_sync(ordinal, origin) {
                refused |= builder.not_in_sync(ordinal, position).is_err();
            }
            // What is yet to be created has no origin, and stands nowhere.
            if let Some(dir) = cluster.log_dir(ordinal, origin) {
                refused |= builder.stands_in(ordinal, position, dir).is_err();
            }
        }
    }
    // Sums beyond what can be counted: nothing is changed.
    if refused { cluster.clone() } else { builder.build() }
}

fn own(cluster: &Cluster, partition: u32) -> Partition {
    let share = cluster.leader_share(partition);
    let replicas = cluster.replicas(partition).iter().zip(cluster.loads(partition));
    Partition {
        topic: cluster.topic(partition),
        replicas: replicas.map(|(broker, load)| Replica { broker: *broker, load: *load }).collect(),
        leader: cluster.leader(partition),
        leader_cpu: share[super::CPU],
        leader_network_out: share[super::NETWORK_OUT],
        frozen: cluster.frozen(partition),
    }
}

/// Makes a list longer or shorter. `origin` has the former positions of those that were there.
fn resize(cluster: &Cluster, ordinal: u32, partition: &mut Partition, origin: &mut Vec<u32>, factor: usize) {
    let start = cluster.row(ordinal).start as u32;
    let load = partition.replicas[partition.leader as usize].load;
    let waiting = cluster.brokers.len() as u32..;
    for broker in waiting.take(factor.saturating_sub(partition.replicas.len())) {
        partition.replicas.push(Replica { broker, load });
    }
    while partition.replicas.len() > factor {
        let known = |replica: &Replica| &cluster.brokers[replica.broker as usize];
        let leader = partition.leader as usize;
        let homeless = |at: usize| cluster.homeless(start + origin[at]);
        let stays = |at: &usize| *at == leader && !homeless(leader);
        let worth = |at: &usize| {
            let this = &partition.replicas[*at];
            let shares =
                |other: &Replica| other.broker != this.broker && known(other).rack == known(this).rack;
            let behind = !cluster.keeps_up(start + origin[*at]);
            (homeless(*at), behind, partition.replicas.iter().any(shares), *at)
        };
        let leavers = (0..partition.replicas.len()).filter(|at| !stays(at));
        let Some(leaver) = leavers.max_by_key(worth) else { break };
        partition.replicas.remove(leaver);
        origin.remove(leaver);
        if leaver == leader {
            let able = |at: &u32| !cluster.homeless(start + *at) && cluster.keeps_up(start + *at);
            partition.leader = origin.iter().position(able).unwrap_or(0) as u32;
        } else {
            partition.leader -= u32::from(leaver < leader);
        }
    }
}
