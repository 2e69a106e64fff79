//! Leadership that has to pass on whatever brokers carry: off dead brokers, off those that may not lead, to brokers that
//! lack leaders of a topic, to the first of each list.

use super::policy::{Goal, Leaders};
use super::state::State;

/// Gives the leadership of partitions led from dead brokers to replicas that live and are in sync; with [`Leaders::Demoted`] also of those
/// led from brokers that may not lead.
pub(crate) fn hand_over(state: &mut State<'_>) {
    for partition in 0..state.cluster.partitions() {
        let leader = state.leader[partition as usize];
        let led_by = &state.cluster.brokers[state.place[leader as usize] as usize];
        let demoted = state.policy.leaders == Leaders::Demoted && !led_by.takes_leadership;
        let leads = led_by.alive && !state.cluster.failed(leader);
        if (leads && !(demoted && state.touchable(leader))) || state.cluster.lock(partition).is_some() {
            continue;
        }
        let row = state.cluster.row(partition);
        let living = row.map(|other| other as u32).filter(|other| may_lead(state, *other));
        let cost = |heir: &u32| {
            let broker = state.place[*heir as usize] as usize;
            (state.cost_with(broker, &state.leadership(*heir), 1) - state.cost[broker], *heir)
        };
        if let Some(heir) = living.min_by_key(cost) {
            state.lead(heir);
        }
    }
}

/// Whether a replica could lead where it stands.
pub(super) fn may_lead(state: &State<'_>, replica: u32) -> bool {
    let broker = &state.cluster.brokers[state.place[replica as usize] as usize];
    broker.alive && broker.takes_leadership && state.cluster.keeps_up(replica)
}

/// Gives leaders of chosen topics to brokers that lack them: by election where a replica is there, else by a move.
pub(crate) fn seat_leaders(state: &mut State<'_>) {
    let topics: Vec<usize> = state.chosen.topics().collect();
    if topics.is_empty() {
        return;
    }
    let mut partitions: Vec<Vec<u32>> = vec![Vec::new(); state.cluster.topics as usize];
    for partition in 0..state.cluster.partitions() {
        partitions[state.cluster.topic[partition as usize] as usize].push(partition);
    }
    for topic in topics {
        for broker in 0..state.cost.len() {
            for _ in 0..state.chosen.missing(state.cluster, topic, broker) {
                if !elect(state, &partitions[topic], broker as u32)
                    && !send(state, &partitions[topic], broker as u32)
                {
                    break;
                }
            }
        }
    }
}

fn elect(state: &mut State<'_>, partitions: &[u32], broker: u32) -> bool {
    let heir = partitions.iter().find_map(|partition| {
        let leader = state.leader[*partition as usize];
        let heir = state.cluster.row(*partition).find(|replica| state.place[*replica] == broker)? as u32;
        (heir != leader && state.touchable(heir) && state.may_pass(leader, heir)).then_some(heir)
    });
    heir.inspect(|heir| state.lead(*heir)).is_some()
}

fn send(state: &mut State<'_>, partitions: &[u32], broker: u32) -> bool {
    let leaders = partitions.iter().map(|partition| state.leader[*partition as usize]);
    let spare = leaders.filter(|leader| {
        state.place[*leader as usize] != broker && state.movable(*leader) && state.legal(*leader, broker)
    });
    let load = |leader: &u32| (state.cluster.load[*leader as usize][super::cluster::DISK], *leader);
    let sent = spare.min_by_key(load);
    sent.inspect(|leader| state.relocate(*leader, broker)).is_some()
}

/// Lets the first replica of each list lead, where no broker comes to stand farther outside its limits.
pub(crate) fn prefer_first(state: &mut State<'_>) {
    if !state.policy.goals.contains(&Goal::PreferredLeader) {
        return;
    }
    for partition in 0..state.cluster.partitions() {
        let (first, leader) = (state.cluster.row(partition).start as u32, state.leader[partition as usize]);
        if first == leader
            || !may_lead(state, first)
            || !state.touchable(first)
            || !state.may_pass(leader, first)
        {
            continue;
        }
        let (from, to) = (state.place[leader as usize] as usize, state.place[first as usize] as usize);
        let less = state.leadership(leader).map(|figure| -figure);
        if state.fits(to, &state.leadership(first)) && state.fits(from, &less) {
            state.lead(first);
        }
    }
}
