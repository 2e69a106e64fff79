//! Who takes what has to come off brokers that are drained: those that have room for it, where others have none.
//!
//! A search weighs all figures at once, and a score how many goals are met, so that for an even number of replicas one may come
//! to a broker that is beyond a hard limit already. That is no harm where nobody else could take it, and only there.

use super::cluster::Cluster;
use super::policy::{Moves, Policy};
use super::score::{Meter, Score, is_about_lists};
use super::solve::Change;
use super::steps::may_stand;

/// So many places are tried.
const TRIES: usize = 1 << 14;

/// Sends on what brokers took and have no room for, to others that have. Only where nothing moves but what has to: else a search
/// makes room.
pub(crate) fn unburden(cluster: &Cluster, policy: &Policy, before: &Score, meter: &mut Meter<'_>) {
    if policy.moves != Moves::Offline {
        return;
    }
    let mut tries = TRIES;
    for partition in 0..cluster.partitions() {
        let start = cluster.row(partition).start as u32;
        for position in 0..cluster.row(partition).len() {
            let took = meter.list(partition).0[position];
            let came =
                cluster.homeless(start + position as u32) && took != cluster.replicas(partition)[position];
            if came && meter.is_worse_off(took) {
                send_on(cluster, policy, before, meter, (partition, position), &mut tries);
            }
        }
    }
}

/// Sends one replica to the broker with room for it where the score is best.
fn send_on(
    cluster: &Cluster,
    policy: &Policy,
    before: &Score,
    meter: &mut Meter<'_>,
    (partition, position): (u32, usize),
    tries: &mut usize,
) {
    let (list, leader) = meter.list(partition);
    let list = list.to_vec();
    let set = cluster.bound_set(cluster.topic(partition));
    let leads = leader as usize == position;
    let hard: Vec<_> = policy
        .goals
        .iter()
        .copied()
        .filter(|goal| policy.hard.contains(goal) && is_about_lists(*goal))
        .collect();
    let mut best: Option<(Score, Vec<u32>)> = None;
    for (to, known) in (0..).zip(&cluster.brokers) {
        let takes = known.alive && known.takes_replicas && (known.takes_leadership || !leads);
        if !takes
            || (set.is_some() && known.set != set)
            || list.contains(&to)
            || !may_stand(cluster, partition, position, to)
            || !meter.has_room_for((partition, position), to)
        {
            continue;
        }
        let mut change = Change { partition, replicas: list.clone(), leader };
        change.replicas[position] = to;
        if *tries == 0
            || hard.iter().any(|goal| meter.wrong_after(*goal, &change) > meter.wrong(*goal, partition))
        {
            continue;
        }
        *tries -= 1;
        meter.change(partition, &change.replicas, leader);
        let score = meter.score();
        if best.as_ref().is_none_or(|(least, _)| score < *least) && meter.is_acceptable(before, &score) {
            best = Some((score, change.replicas));
        }
    }
    let list = best.map_or(list, |(_, list)| list);
    meter.change(partition, &list, leader);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::{Broker, Goal, Mark, Mode, Partition, Replica};

    /// Broker 0 is beyond its inbound network by 10, brokers 1 and 2 have room for 40; broker 3 is drained of replicas of 5.
    fn drained() -> (Cluster, Policy) {
        let mut builder = Cluster::builder(1);
        let broker = |rack| Broker {
            rack,
            set: None,
            capacity: [0, 100, 0, 0],
            alive: true,
            takes_replicas: true,
            takes_leadership: true,
            mark: Mark::None,
        };
        for rack in 0..4 {
            builder.add_broker(&broker(rack)).unwrap();
        }
        for (broker, load) in [(0, 90), (1, 40), (2, 40), (3, 5), (3, 5)] {
            let replicas = vec![Replica { broker, load: [0, load, 0, 0] }];
            let (leader, leader_cpu, leader_network_out, frozen) = (0, 0, 0, false);
            let partition = Partition { topic: 0, replicas, leader, leader_cpu, leader_network_out, frozen };
            builder.add_partition(&partition).unwrap();
        }
        let goals = vec![Goal::NetworkInCapacity, Goal::ReplicaDistribution];
        let policy = Policy { hard: goals[..1].to_vec(), goals, ..Policy::default() };
        Mode::Drain { brokers: vec![3] }.prepare(&builder.build(), &policy)
    }

    #[test]
    fn what_came_to_who_is_beyond_a_hard_limit_goes_to_those_with_room() {
        let (cluster, policy) = drained();
        let before = Meter::new(&cluster, &policy, cluster.place.clone(), cluster.leaders()).score();
        let mut meter = Meter::new(&cluster, &policy, vec![0, 1, 2, 0, 0], cluster.leaders());
        assert!(meter.score().goals[0].excess > before.goals[0].excess);
        unburden(&cluster, &policy, &before, &mut meter);
        assert_eq!(meter.score().goals[0].excess, before.goals[0].excess);
        // Evenly, as far as there is room.
        assert_eq!(meter.placement().0, [0, 1, 2, 1, 2]);
    }

    #[test]
    fn it_stays_where_nobody_has_room() {
        let (cluster, policy) = drained();
        let policy = Policy { capacity: [400_000; 4], ..policy };
        let before = Meter::new(&cluster, &policy, cluster.place.clone(), cluster.leaders()).score();
        let mut meter = Meter::new(&cluster, &policy, vec![0, 1, 2, 0, 0], cluster.leaders());
        unburden(&cluster, &policy, &before, &mut meter);
        assert_eq!(meter.placement().0, [0, 1, 2, 0, 0]);
    }
}
