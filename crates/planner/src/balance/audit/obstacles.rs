//! Whether what is said to stand in the way of goals, and of partitions, does.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use super::figures::{Carried, Placement, Topics, lacks_leaders, led, potential_beyond, stuck, wrong};
use super::homeless::Homes;
use super::limits::{ONE, capacities, capped, judged};
use super::steps::Ground;
use crate::balance::cluster::{Broker, CPU, Cluster, DISK, NETWORK_IN, NETWORK_OUT};
use crate::balance::policy::{Goal, Moves, Policy};
use crate::balance::score::Score;
use crate::balance::solve::Plan;
use crate::balance::stuck::{Hindrance, Stuck};
use crate::balance::unmet::{Obstacle, Unmet};

/// Checks what a plan says of goals that it leaves: none is passed over, and what stands in the way is true.
pub(super) fn check(
    (before, after): (&Placement<'_>, &Placement<'_>),
    policy: &Policy,
    plan: &Plan,
    score: &Score,
    found: &mut Vec<Violation>,
) {
    let asked = plan.unmet.iter().any(|unmet| unmet.excess > 0) || !plan.stuck.is_empty();
    let ground = asked.then(|| Ground::of(after, policy, plan));
    let ground = ground.as_ref();
    for distance in &score.goals {
        let mut said = plan.unmet.iter().filter(|unmet| unmet.goal == distance.goal);
        let (first, second) = (said.next(), said.next());
        let silent = first.is_none() && distance.excess > 0;
        let untrue = |unmet: &Unmet| {
            let holds = stands((before, after), policy, unmet) && says_steps(ground, unmet);
            unmet.excess != distance.excess || !holds
        };
        if silent || second.is_some() || first.is_some_and(untrue) {
            found.push(Violation::UnmetUntrue { goal: distance.goal });
        }
    }
    let said: Vec<(u32, u32)> = plan.stuck.iter().map(|stuck| (stuck.partition, stuck.offline)).collect();
    let homes = Homes::of((before, after), policy);
    let holds = |stuck: &Stuck| {
        hinders(after, policy, plan, stuck) && ground.is_some_and(|ground| homes.keep(ground, stuck))
    };
    if said != self::stuck(after, policy) || !plan.stuck.iter().all(holds) {
        found.push(Violation::StuckUntrue);
    }
}

/// Of goals that are met no steps are wanted.
fn says_steps(ground: Option<&Ground<'_>>, unmet: &Unmet) -> bool {
    match ground.filter(|_| unmet.excess > 0) {
        Some(ground) => ground.holds(unmet),
        None => unmet.offenders == 0 && unmet.barred.is_empty(),
    }
}

fn takers(cluster: &Cluster) -> impl Iterator<Item = &Broker> {
    cluster.brokers().iter().filter(|broker| broker.alive && broker.takes_replicas)
}

/// Whether an obstacle is there, and as large as it says.
fn stands((before, after): (&Placement<'_>, &Placement<'_>), policy: &Policy, unmet: &Unmet) -> bool {
    let (cluster, goal) = (after.cluster(), unmet.goal);
    match unmet.obstacle {
        Obstacle::NothingTakesReplicas => takers(cluster).next().is_none(),
        Obstacle::Racks { has, needs } => {
            let racks: BTreeSet<u32> = after.alive().map(|b| cluster.brokers()[b].rack).collect();
            let thawed = after.lists().filter(|(partition, _)| !cluster.frozen(*partition));
            let largest = thawed.map(|(_, (list, _))| list.len()).max().unwrap_or(0);
            goal == Goal::RackAware && (racks.len(), largest) == (has as usize, needs as usize) && needs > has
        }
        Obstacle::RackShares { rack, by } => {
            by != 0 && racks_cannot_share(before, policy, goal).get(&rack) == Some(&i128::from(by))
        }
        Obstacle::Brokers { more } => lacks_brokers(before, policy, goal, more),
        Obstacle::SetTooSmall { topic, has, needs } => {
            let set = cluster.bound_set(topic);
            let thawed = after.lists().filter(|(p, _)| cluster.topic(*p) == topic && !cluster.frozen(*p));
            let largest = thawed.map(|(_, (list, _))| list.len()).max().unwrap_or(0);
            let living = after.alive().filter(|broker| cluster.brokers()[*broker].set == set).count();
            goal == Goal::BrokerSetAware
                && set.is_some()
                && (living, largest) == (has as usize, needs as usize)
                && needs > has
        }
        Obstacle::Partitions { topic, has, needs } => {
            let own = after.lists().filter(|(partition, _)| cluster.topic(*partition) == topic).count();
            let able = takers(cluster).filter(|broker| broker.takes_leadership).count() as u64;
            goal == Goal::MinTopicLeaders
                && (own as u64, able * u64::from(cluster.required_leaders(topic))) == (has, needs)
                && has < needs
        }
        Obstacle::FrozenTopic { topic } => {
            let mut own =
                before.lists().filter(|(partition, _)| cluster.topic(*partition) == topic).peekable();
            let stays = |partition: u32, led_by: u32, leader: usize| {
                let lives =
                    cluster.brokers()[led_by as usize].alive && !cluster.offline(partition, leader as u32);
                cluster.frozen(partition) && lives
            };
            goal == Goal::MinTopicLeaders
                && cluster.required_leaders(topic) > 0
                && own.peek().is_some()
                && own.all(|(partition, (list, leader))| stays(partition, list[*leader], *leader))
        }
        Obstacle::Broker { broker, by } => {
            let signed = |judged: super::limits::Judged| {
                judged.signed(broker as usize, after.carried(broker as usize))
            };
            by != 0 && judged(after, policy, goal).map(signed) == Some(i128::from(by))
        }
        Obstacle::LogDir { broker, dir, by } => is_over(after, policy, goal, (broker, dir, by)),
        Obstacle::Topic { topic, broker, by } => {
            let outside = match goal {
                Goal::TopicDistribution => {
                    let topics = Topics::of(after, policy);
                    topics.signed(topic, broker, topics.held(topic, broker))
                }
                _ => {
                    let leads = led(after).get(&(topic, broker)).copied().unwrap_or(0);
                    -(lacks_leaders(cluster, topic, broker, leads) as i128)
                }
            };
            by != 0 && outside == i128::from(by)
        }
        Obstacle::Partition { partition } => {
            after.lists().nth(partition as usize).is_some_and(|(_, list)| {
                !cluster.frozen(partition) && wrong(after, goal, partition, &list.0, list.1) > 0
            })
        }
    }
}

/// Whether a goal is not met as a log dir of a broker is so much over its limit.
fn is_over(after: &Placement<'_>, policy: &Policy, goal: Goal, (broker, dir, by): (u32, u32, i64)) -> bool {
    let Some(judged) = judged(after, policy, goal) else { return false };
    let said = (dir, u128::from(by.unsigned_abs()));
    by > 0 && judged.dirs_over(broker as usize, after.carried(broker as usize)).any(|is| is == said)
}

/// By how much all that a goal limits is beyond the room of the living brokers, with nothing left on others. More than
/// nothing proves that no placement meets the goal. A broker that may take nothing has room for what it holds, and to lead.
///
/// `before` is where replicas stand that cannot move to such brokers: what they hold is no more than this.
pub(super) fn lacking(before: &Placement<'_>, policy: &Policy, goal: Goal) -> i128 {
    let cluster = before.cluster();
    if goal == Goal::PotentialNetworkOut {
        return potential_beyond(before, policy) as i128;
    }
    let limit = |broker: usize| match goal {
        Goal::ReplicaCapacity => Some(i128::from(policy.max_replicas)),
        Goal::NetworkInLimit => Some(i128::from(policy.network_limit[0])),
        Goal::NetworkOutLimit => Some(i128::from(policy.network_limit[1])),
        _ => capped(before, policy, broker, goal.resource().unwrap_or(0)),
    };
    let of = |carried: &Carried| match goal.resource() {
        Some(resource) => carried.loads[resource],
        None => carried.replicas,
    };
    let mut room = 0;
    for broker in before.alive() {
        let held = of(before.carried(broker));
        let known = &cluster.brokers()[broker];
        let leads = known.takes_leadership && leading_serves(goal);
        room += match (known.takes_replicas || leads, limit(broker)) {
            (true, None) => return 0,
            (true, Some(most)) => most,
            (false, most) => most.map_or(held, |most| most.min(held)),
        };
    }
    let lost =
        if goal.resource() == Some(DISK) { before.lost_disk(|p| cluster.lock(p).is_none()) } else { 0 };
    before.all().map(of).sum::<i128>() + lost - stays(before, goal) - room
}

/// What of that is on brokers that do not live, and never touched.
fn stays(before: &Placement<'_>, goal: Goal) -> i128 {
    let cluster = before.cluster();
    let mut stays = 0;
    for (partition, (list, leader)) in before.lists().filter(|(at, _)| cluster.lock(*at).is_some()) {
        let dead = |at: &usize| !cluster.brokers()[list[*at] as usize].alive;
        for at in (0..list.len()).filter(dead) {
            let leads = i64::from(at == *leader);
            stays += match goal.resource() {
                Some(resource) => {
                    let share = cluster.leader_share(partition)[resource];
                    i128::from(cluster.loads(partition)[at][resource] + leads * share)
                }
                None => 1,
            };
        }
    }
    stays
}

/// Whether a goal is about what leading adds.
fn leading_serves(goal: Goal) -> bool {
    matches!(goal, Goal::CpuCapacity | Goal::NetworkOutCapacity | Goal::NetworkOutLimit)
}

/// Whether a goal is one of those of which [`lacking`] tells.
pub(super) fn is_of_limits(goal: Goal) -> bool {
    let limits =
        [Goal::NetworkInLimit, Goal::NetworkOutLimit, Goal::PotentialNetworkOut, Goal::ReplicaCapacity];
    let capacities =
        [Goal::DiskCapacity, Goal::NetworkInCapacity, Goal::NetworkOutCapacity, Goal::CpuCapacity];
    limits.contains(&goal) || capacities.contains(&goal)
}

/// How much racks carry above their brokers' limits, or below, wherever replicas stand of which no two may share a rack.
fn racks_cannot_share(before: &Placement<'_>, policy: &Policy, goal: Goal) -> BTreeMap<u32, i128> {
    let nothing = BTreeMap::new();
    let figures: fn(&Cluster, u32) -> Vec<(i128, i128)> = match goal {
        Goal::ReplicaDistribution => |cluster, partition| vec![(1, 1); cluster.replicas(partition).len()],
        Goal::DiskDistribution => |cluster, partition| followed_and_led(cluster, partition, DISK),
        Goal::NetworkInDistribution => |cluster, partition| followed_and_led(cluster, partition, NETWORK_IN),
        Goal::NetworkOutDistribution => {
            |cluster, partition| followed_and_led(cluster, partition, NETWORK_OUT)
        }
        Goal::CpuDistribution => |cluster, partition| followed_and_led(cluster, partition, CPU),
        // Each broker would send this if it led, whoever leads.
        Goal::PotentialNetworkOut => |cluster, partition| {
            let each = i128::from(cluster.potential_network_out(partition));
            vec![(each, each); cluster.replicas(partition).len()]
        },
        _ => return nothing,
    };
    let Some(judged) = judged(before, policy, goal) else { return nothing };
    let apart = policy.goals.contains(&Goal::RackAware) && policy.hard.contains(&Goal::RackAware);
    let mut racks: BTreeMap<u32, (i128, i128)> = BTreeMap::new();
    for broker in before.alive() {
        let (least, most) = judged.limits_of(broker);
        let rack = racks.entry(before.cluster().brokers()[broker].rack).or_default();
        *rack = (rack.0 + least, rack.1 + most);
    }
    let (mut smallest, mut largest) = (0_i128, 0_i128);
    for (partition, (list, _)) in before.lists() {
        let carried = figures(before.cluster(), partition);
        let frozen = before.cluster().frozen(partition);
        if list.len() > racks.len() && !frozen {
            return nothing;
        }
        let led = carried.iter().map(|(_, leads)| *leads);
        largest += if frozen { led.sum() } else { led.max().unwrap_or(0) };
        if list.len() == racks.len() && !frozen {
            smallest += carried.iter().map(|(follows, _)| *follows).min().unwrap_or(0);
        }
    }
    let open: BTreeSet<u32> = takers(before.cluster()).map(|broker| broker.rack).collect();
    if !apart || open.len() != racks.len() {
        return nothing;
    }
    let by = |(least, most): (i128, i128)| (smallest - most).max(0) + (largest - least).min(0);
    racks.into_iter().map(|(rack, limits)| (rack, by(limits))).collect()
}

/// What each replica of a partition carries as a follower, and as the leader.
fn followed_and_led(cluster: &Cluster, partition: u32, resource: usize) -> Vec<(i128, i128)> {
    let share = i128::from(cluster.leader_share(partition)[resource]);
    let loads = cluster.loads(partition).iter().map(|load| i128::from(load[resource]));
    loads.map(|load| (load, load + share)).collect()
}

/// Whether so many brokers more would do, and one fewer would not. Which part of a unit was rounded away is left open.
fn lacks_brokers(before: &Placement<'_>, policy: &Policy, goal: Goal, more: u64) -> bool {
    if !is_of_limits(goal) {
        return false;
    }
    let each = match goal {
        Goal::ReplicaCapacity => i128::from(policy.max_replicas).max(1),
        Goal::NetworkInLimit => i128::from(policy.network_limit[0]).max(1),
        Goal::NetworkOutLimit => i128::from(policy.network_limit[1]).max(1),
        _ => {
            let resource = goal.resource().unwrap_or(0);
            let capacities = capacities(before, resource);
            let room = |broker: usize| capacities[broker] * i128::from(policy.capacity[resource]) / ONE;
            before.alive().map(room).sum::<i128>() / before.alive().count().max(1) as i128
        }
    };
    let (lacks, more) = (lacking(before, policy, goal), i128::from(more));
    more > 0 && lacks > 0 && lacks <= more * (each + 1) && lacks > (more - 1) * each
}

/// Whether what is said to keep a partition as it is does so.
fn hinders(after: &Placement<'_>, policy: &Policy, plan: &Plan, stuck: &Stuck) -> bool {
    let (cluster, partition) = (after.cluster(), stuck.partition);
    let Some((_, (list, _))) = after.lists().nth(partition as usize) else { return false };
    let set = cluster.bound_set(cluster.topic(partition));
    let free = |(ordinal, broker): (u32, &Broker)| {
        let belongs = set.is_none() || broker.set == set;
        let held = list.contains(&ordinal) || cluster.replicas(partition).contains(&ordinal);
        broker.alive && broker.takes_replicas && belongs && !held
    };
    let has_place = || (0..).zip(cluster.brokers()).any(free);
    match stuck.why {
        Hindrance::Locked(lock) => cluster.lock(partition) == Some(lock),
        Hindrance::Frozen => cluster.frozen(partition),
        Hindrance::Budget => plan.postponed.contains(&partition),
        Hindrance::Mode => policy.moves == Moves::Nothing && stuck.offline > 0,
        Hindrance::NoBroker => stuck.offline > 0 && !has_place(),
        Hindrance::NoRoom => stuck.offline > 0 && has_place(),
        Hindrance::NoHeir => stuck.offline == 0 && !has_heir(cluster, partition, list),
    }
}

/// Whether a replica could be given leadership at once. Where a topic must have leaders on some brokers, more than that decides.
fn has_heir(cluster: &Cluster, partition: u32, list: &[u32]) -> bool {
    let old = cluster.replicas(partition);
    let able = |(position, ordinal): (usize, &u32)| {
        let broker = &cluster.brokers()[*ordinal as usize];
        let stays = old[position] == *ordinal;
        broker.alive && broker.takes_leadership && stays && cluster.in_sync(partition, position as u32)
    };
    cluster.required_leaders(cluster.topic(partition)) == 0 && list.iter().enumerate().any(able)
}
