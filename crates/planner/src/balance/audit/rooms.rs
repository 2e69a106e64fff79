//! Whether changes that only make room meet what they are said to make it for.

use std::collections::BTreeMap;

use super::Violation;
use crate::balance::cluster::Cluster;
use crate::balance::reason::Purpose;
use crate::balance::room::Room;
use crate::balance::solve::{Change, Plan};

/// What changes move by broker, and whether it is leadership: the foremost change that does.
type Foremost = BTreeMap<(u32, bool), usize>;

/// Checks what is said of each change of a plan that has a reason for each.
pub(super) fn check(cluster: &Cluster, plan: &Plan, found: &mut Vec<Violation>) {
    if plan.rooms.len() != plan.changes.len() {
        found.push(Violation::Reasons);
        return;
    }
    let makes_room = |at: usize| plan.reasons[at].purpose == Purpose::Room;
    let (mut arrivals, mut departures) = (Foremost::new(), Foremost::new());
    for (at, change) in plan.changes.iter().enumerate().filter(|(at, _)| !makes_room(*at)) {
        for (leads, from, to) in moved(cluster, change) {
            departures.entry((from, leads)).or_insert(at);
            arrivals.entry((to, leads)).or_insert(at);
        }
    }
    for (at, (change, said)) in plan.changes.iter().zip(&plan.rooms).enumerate() {
        let is = if makes_room(at) { met(cluster, change, &arrivals, &departures) } else { None };
        if *said != is {
            found.push(Violation::RoomUntrue { partition: change.partition });
        }
    }
}

/// The foremost change that comes to where one leaves, or else that leaves where it comes to; of brokers the first.
fn met(cluster: &Cluster, change: &Change, arrivals: &Foremost, departures: &Foremost) -> Option<Room> {
    let foremost = |others: &Foremost, comes: bool| {
        let met = moved(cluster, change).into_iter().filter_map(|(leads, from, to)| {
            let broker = if comes { from } else { to };
            Some((*others.get(&(broker, leads))?, broker))
        });
        met.min().map(|(change, broker)| Room { broker, change, comes })
    };
    foremost(arrivals, true).or_else(|| foremost(departures, false))
}

/// Replicas, and leadership, that a change takes from one broker to another.
fn moved(cluster: &Cluster, change: &Change) -> Vec<(bool, u32, u32)> {
    let old = cluster.replicas(change.partition);
    let mut moved: Vec<(bool, u32, u32)> =
        old.iter().zip(&change.replicas).map(|(from, to)| (false, *from, *to)).collect();
    moved.push((
        true,
        old[cluster.leader(change.partition) as usize],
        change.replicas[change.leader as usize],
    ));
    moved.retain(|(_, from, to)| from != to);
    moved
}
