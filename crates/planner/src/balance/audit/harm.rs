//! Whether a plan makes hard goals worse for anybody.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use super::figures::{Carried, Placement, lacks_leaders, led, wrong};
use super::limits::{Judged, judged};
use super::obstacles::{is_of_limits, lacking};
use crate::balance::policy::{Goal, Leaders, Moves, Policy};
use crate::balance::score::Score;

/// Compares each broker, and each partition, with what it was. Of a plan that a budget cuts off it is not asked that another heir
/// had no room: the room may be for what waits.
pub(super) fn check(
    (was, is): (&Placement<'_>, &Placement<'_>),
    policy: &Policy,
    (before, after): (&Score, &Score),
    cut_off: bool,
    found: &mut Vec<Violation>,
) {
    let relieved = after.offline < before.offline
        || after.demoted < before.demoted
        || after.leaderless < before.leaderless;
    let taken_in_all = |judged: &Judged| {
        let all = taken(was, is, policy, true);
        all.values().map(|of| judged.figure_of(of)).sum::<i128>().unsigned_abs()
    };
    let taken = taken(was, is, policy, cut_off);
    for (old, new) in before.goals.iter().zip(&after.goals).filter(|(old, _)| policy.hard.contains(&old.goal))
    {
        let goal = old.goal;
        let impossible = goal != Goal::DiskCapacity && is_of_limits(goal) && lacking(was, policy, goal) > 0;
        let follows_the_mean = goal == Goal::LeaderBytesIn;
        if impossible {
            // Which brokers are beyond what all are beyond together says nothing.
            let judged = judged(was, policy, goal).filter(|_| goal != Goal::PotentialNetworkOut);
            let may = if relieved { judged.as_ref().map_or(0, taken_in_all) } else { 0 };
            if new.excess > old.excess + may {
                found.push(Violation::HardGoalWorse { goal });
            }
            if let Some(judged) = judged.filter(|_| policy.moves == Moves::Nothing) {
                check_those_within((was, is), goal, &judged, &taken, found);
            }
        } else if follows_the_mean || goal == Goal::TopicDistribution {
            if !relieved && new.excess > old.excess {
                found.push(Violation::HardGoalWorse { goal });
            }
        } else if let Some(judged) = judged(was, policy, goal) {
            check_brokers((was, is), goal, &judged, &taken, found);
        } else if goal == Goal::MinTopicLeaders {
            check_leaders((was, is), found);
        } else {
            check_partitions((was, is), goal, found);
        }
    }
}

fn check_brokers(
    (was, is): (&Placement<'_>, &Placement<'_>),
    goal: Goal,
    judged: &Judged,
    taken: &BTreeMap<u32, Carried>,
    found: &mut Vec<Violation>,
) {
    let nothing = Carried::default();
    for broker in was.alive() {
        let old = judged.outside_as_a_whole(broker, was.carried(broker));
        let new = judged.outside_as_a_whole(broker, is.carried(broker));
        let may = match goal {
            Goal::DiskCapacity => 0,
            _ => judged.figure_of(taken.get(&(broker as u32)).unwrap_or(&nothing)).unsigned_abs(),
        };
        if new > old + may {
            found.push(Violation::BrokerWorse { goal, broker: broker as u32 });
        }
        let dirs = |placement: &Placement<'_>| {
            judged.dirs_over(broker, placement.carried(broker)).map(|(_, over)| over).collect::<Vec<u128>>()
        };
        for (dir, (old, new)) in (0..).zip(dirs(was).into_iter().zip(dirs(is))) {
            if new > old {
                found.push(Violation::LogDirWorse { broker: broker as u32, dir });
            }
        }
    }
}

/// Not all brokers can keep to a goal that is impossible: where leadership alone passes on, those that do are held to it.
fn check_those_within(
    (was, is): (&Placement<'_>, &Placement<'_>),
    goal: Goal,
    judged: &Judged,
    taken: &BTreeMap<u32, Carried>,
    found: &mut Vec<Violation>,
) {
    for broker in was.alive().filter(|broker| judged.outside_as_a_whole(*broker, was.carried(*broker)) == 0) {
        let may = taken.get(&(broker as u32)).map_or(0, |of| judged.figure_of(of).unsigned_abs());
        if judged.outside_as_a_whole(broker, is.carried(broker)) > may {
            found.push(Violation::BrokerWorse { goal, broker: broker as u32 });
        }
    }
}

fn check_leaders((was, is): (&Placement<'_>, &Placement<'_>), found: &mut Vec<Violation>) {
    let cluster = was.cluster();
    let (led_before, led_after) = (led(was), led(is));
    for topic in (0..cluster.topics()).filter(|topic| cluster.required_leaders(*topic) > 0) {
        for broker in 0..cluster.brokers().len() as u32 {
            let lacks = |led: &BTreeMap<(u32, u32), i128>| {
                lacks_leaders(cluster, topic, broker, led.get(&(topic, broker)).copied().unwrap_or(0))
            };
            if lacks(&led_after) > lacks(&led_before) {
                found.push(Violation::BrokerWorse { goal: Goal::MinTopicLeaders, broker });
            }
        }
    }
}

/// What comes off dead brokers goes where there is room: then those that live are judged among themselves alone.
fn check_partitions((was, is): (&Placement<'_>, &Placement<'_>), goal: Goal, found: &mut Vec<Violation>) {
    let cluster = was.cluster();
    let racks: BTreeSet<u32> = was.alive().map(|broker| cluster.brokers()[broker].rack).collect();
    for ((partition, (old, led)), (_, (new, leads))) in was.lists().zip(is.lists()) {
        let lives = |position: &usize| {
            cluster.brokers()[old[*position] as usize].alive && !cluster.offline(partition, *position as u32)
        };
        let after = wrong(is, goal, partition, new, *leads);
        let dead: Vec<usize> = (0..old.len()).filter(|position| !lives(position)).collect();
        let comes_off = dead.iter().any(|position| old[*position] != new[*position]);
        let living = |list: &[u32]| (0..list.len()).filter(lives).map(|at| list[at]).collect::<Vec<u32>>();
        let of = |list: &[u32]| wrong(was, goal, partition, &living(list), 0);
        let among_living = !dead.is_empty() && goal != Goal::PreferredLeader && of(new) > of(old);
        // Where racks are too few, who shares one is all the same.
        let shared = if goal == Goal::RackAware { old.len().saturating_sub(racks.len()) } else { 0 };
        let worse = (among_living && after > shared)
            || (!comes_off && after > wrong(was, goal, partition, old, *led));
        if !cluster.frozen(partition) && worse {
            found.push(Violation::PartitionWorse { goal, partition });
        }
    }
}

/// By broker what it takes of what has to come off others: replicas off dead brokers and out of failed log dirs, leadership
/// from there and, where that is what a plan is for, off brokers that may not lead. Leadership that another could have taken
/// without harm is its own choice.
fn taken(was: &Placement<'_>, is: &Placement<'_>, policy: &Policy, cut_off: bool) -> BTreeMap<u32, Carried> {
    let cluster = was.cluster();
    let heirs = Heirs::of((was, is), policy, cut_off);
    let mut taken: BTreeMap<u32, Carried> = BTreeMap::new();
    for ((partition, (old, led)), (_, (new, leads))) in was.lists().zip(is.lists()) {
        let comes_off = |position: usize| {
            !cluster.brokers()[old[position] as usize].alive || cluster.offline(partition, position as u32)
        };
        let led_by = &cluster.brokers()[old[*led] as usize];
        let demotes = policy.leaders == Leaders::Demoted && !led_by.takes_leadership;
        let passes = new[*leads] != old[*led] && (comes_off(*led) || demotes);
        for (position, to) in new.iter().enumerate() {
            let moved = old[position] != *to && comes_off(position);
            let leads = passes && position == *leads && !heirs.another_has_room(partition);
            if !moved && !leads {
                continue;
            }
            let carried = taken.entry(*to).or_default();
            carried.count(cluster, (partition, position), *to, leads, 1);
            if !moved {
                // Only what leading adds.
                carried.count(cluster, (partition, position), *to, false, -1);
            }
        }
    }
    taken
}

/// Who could lead what had to pass on.
struct Heirs<'p> {
    was: &'p Placement<'p>,
    is: &'p Placement<'p>,
    /// What hard goals want of figures that leading adds to.
    limits: Vec<Judged>,
    policy: &'p Policy,
    /// Whether more than what brokers carry decides who may lead, or a budget has left room for what waits.
    open: bool,
}

impl<'p> Heirs<'p> {
    fn of((was, is): (&'p Placement<'p>, &'p Placement<'p>), policy: &'p Policy, cut_off: bool) -> Heirs<'p> {
        let hard: Vec<Goal> =
            policy.goals.iter().copied().filter(|goal| policy.hard.contains(goal)).collect();
        // Who leads less may be too low by it, all leaders' mean follows who leads, and lists are judged by who is first.
        let others = [
            Goal::LeaderDistribution,
            Goal::CpuDistribution,
            Goal::NetworkOutDistribution,
            Goal::LeaderBytesIn,
            Goal::PreferredLeader,
        ];
        let led = [Goal::CpuCapacity, Goal::NetworkOutCapacity, Goal::NetworkOutLimit];
        let limits = led.into_iter().filter(|goal| hard.contains(goal));
        let limits = limits.filter_map(|goal| judged(was, policy, goal));
        let open = cut_off || others.iter().any(|goal| hard.contains(goal));
        Heirs { limits: limits.collect(), was, is, policy, open }
    }

    /// Whether a replica that does not lead is in sync where it stands, and its broker could lead it and be no farther outside than
    /// it was.
    fn another_has_room(&self, partition: u32) -> bool {
        let cluster = self.was.cluster();
        let chosen = self.policy.hard.contains(&Goal::MinTopicLeaders)
            && cluster.required_leaders(cluster.topic(partition)) > 0;
        if self.open || chosen {
            return false;
        }
        let ((old, _), (new, leads)) = (self.was.list(partition), self.is.list(partition));
        let able = |position: usize| {
            let broker = &cluster.brokers()[new[position] as usize];
            let lives = broker.alive && !cluster.offline(partition, position as u32);
            let stays = old[position] == new[position] && cluster.in_sync(partition, position as u32);
            lives && stays && broker.takes_leadership
        };
        let has_room = |position: usize| {
            let broker = new[position] as usize;
            let mut carried = self.is.carried(broker).clone();
            carried.count(cluster, (partition, position), new[position], true, 1);
            carried.count(cluster, (partition, position), new[position], false, -1);
            let before = self.was.carried(broker);
            self.limits.iter().all(|judged| {
                judged.outside_as_a_whole(broker, &carried) <= judged.outside_as_a_whole(broker, before)
            })
        };
        (0..new.len())
            .filter(|position| position != leads)
            .any(|position| able(position) && has_room(position))
    }
}
