use std::cell::Cell;
use std::collections::BTreeSet;
use std::thread;

use planner::balance::{Budget, Change, Cluster, Goal, Plan, Policy, Step, Why, audit, solve, solve_watched};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::clusters::{Sketch, narrow_policy, policy, sketch};

fn whole(cluster: &Cluster, policy: &Policy) -> Plan {
    solve(cluster, policy, &Budget::default())
}

/// Replicas moved and bytes copied.
fn cost(cluster: &Cluster, plan: &Plan) -> (u64, i64) {
    let mut cost = (0, 0);
    for change in &plan.changes {
        let before = cluster.replicas(change.partition).iter().zip(cluster.loads(change.partition));
        for ((from, load), to) in before.zip(&change.replicas) {
            if from != to {
                cost.0 += 1;
                cost.1 += load[3];
            }
        }
    }
    cost
}

/// A cluster whose replicas of one partition differ in load.
fn uneven(mut sketch: Sketch) -> Cluster {
    for (at, partition) in sketch.partitions.iter_mut().enumerate() {
        for (position, replica) in partition.replicas.iter_mut().enumerate() {
            for load in &mut replica.load {
                *load += *load * ((at + 3 * position) % 5) as i64 / 7;
            }
        }
    }
    sketch.cluster()
}

/// The same inputs in each run, so that a change answers for what it changes; others with `PROPTEST_RNG_SEED`. One fault is known that
/// shows at one in some thousand of those: a second plan finds something to do after one that has brought replicas off dead brokers to such
/// as were above a hard limit for that. The second may put others in their place there; as one plan that would be a harm.
pub fn laws() -> ProptestConfig {
    let usual = ProptestConfig { cases: 64, ..ProptestConfig::default() };
    match usual.rng_seed {
        RngSeed::Random => ProptestConfig { rng_seed: RngSeed::Fixed(1), ..usual },
        RngSeed::Fixed(_) => usual,
    }
}

proptest! {
    #![proptest_config(laws())]

    #[test]
    fn every_plan_passes_the_audit_and_makes_nothing_worse(sketch in sketch(), policy in narrow_policy()) {
        let cluster = uneven(sketch);
        let plan = whole(&cluster, &policy);
        prop_assert_eq!(audit(&cluster, &policy, &Budget::default(), &plan), Ok(()));
        prop_assert!(plan.after <= plan.before);
        prop_assert!(plan.after < plan.before || plan.changes.is_empty());
        let applied = plan.applied_to(&cluster);
        prop_assert_eq!(whole(&applied, &policy).before, plan.after, "the score after is that of the cluster after");
    }

    #[test]
    fn equal_clusters_get_equal_plans_on_every_thread_and_whoever_watches(sketch in sketch(), policy in narrow_policy()) {
        let (cluster, told) = (sketch.cluster(), Cell::new(0));
        let alone = solve_watched(&cluster, &policy, &Budget::default(), &|_| told.set(told.get() + 1));
        let together: Vec<Plan> = thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| whole(&cluster, &policy))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        prop_assert!(together.iter().all(|plan| *plan == alone));
        prop_assert!(alone.changes.is_empty() || told.get() > 0);
    }

    #[test]
    fn no_partition_stands_on_a_broker_twice_and_what_is_kept_keeps_its_position(sketch in sketch(), policy in policy()) {
        let cluster = uneven(sketch);
        for change in &whole(&cluster, &policy).changes {
            let old = cluster.replicas(change.partition);
            prop_assert_eq!(change.replicas.len(), old.len());
            prop_assert_eq!(change.replicas.iter().collect::<BTreeSet<_>>().len(), old.len());
            for (position, to) in change.replicas.iter().enumerate() {
                prop_assert!(old.iter().position(|from| from == to).is_none_or(|kept| kept == position));
            }
        }
    }

    #[test]
    fn nothing_is_sent_where_nothing_may_go(sketch in sketch(), policy in narrow_policy()) {
        let cluster = uneven(sketch.clone());
        for change in &whole(&cluster, &policy).changes {
            let old = cluster.replicas(change.partition);
            let set = sketch.sets[cluster.topic(change.partition) as usize];
            for (to, _) in change.replicas.iter().zip(old).filter(|(to, from)| to != from) {
                let broker = &cluster.brokers()[*to as usize];
                prop_assert!(broker.alive && broker.takes_replicas);
                prop_assert!(set.is_none() || broker.set == set);
            }
            let leader = change.replicas[change.leader as usize];
            if leader != old[cluster.leader(change.partition) as usize] {
                let broker = &cluster.brokers()[leader as usize];
                prop_assert!(broker.alive && broker.takes_leadership);
            }
        }
    }

    #[test]
    fn frozen_partitions_change_only_where_a_broker_is_dead(sketch in sketch(), policy in narrow_policy()) {
        let cluster = uneven(sketch);
        let frozen = |partition: u32| cluster.frozen(partition);
        let dead = |broker: u32| !cluster.brokers()[broker as usize].alive;
        for change in whole(&cluster, &policy).changes.iter().filter(|change| frozen(change.partition)) {
            let old = cluster.replicas(change.partition);
            for (from, to) in old.iter().zip(&change.replicas) {
                prop_assert!(from == to || dead(*from));
            }
            let led_by = old[cluster.leader(change.partition) as usize];
            prop_assert!(change.leader == cluster.leader(change.partition) || dead(led_by));
        }
    }

    #[test]
    fn a_plan_that_is_done_leaves_nothing_to_do(sketch in sketch(), policy in policy()) {
        // Replicas of a partition weigh the same here; the next law is for others.
        // Which replica of a list is the first hangs on where the list came from: it decides nothing that lasts.
        let mut policy = policy;
        policy.goals.retain(|goal| *goal != Goal::PreferredLeader);
        let cluster = sketch.cluster();
        let applied = whole(&cluster, &policy).applied_to(&cluster);
        prop_assert_eq!(whole(&applied, &policy).changes, vec![]);
    }

    #[test]
    fn a_second_plan_does_only_what_one_plan_cannot(sketch in sketch(), policy in policy()) {
        let mut policy = policy;
        policy.goals.retain(|goal| *goal != Goal::PreferredLeader);
        let cluster = uneven(sketch);
        let applied = whole(&cluster, &policy).applied_to(&cluster);
        let second = whole(&applied, &policy);
        // Kafka keeps the data of a broker that stays in a list. So it cannot come to another position of the list in one plan.
        let comes_back = |change: &Change| {
            let first = cluster.replicas(change.partition);
            let pairs = first.iter().zip(applied.replicas(change.partition)).zip(&change.replicas);
            pairs.into_iter().any(|((home, was), is)| is != was && is != home && first.contains(is))
        };
        prop_assert!(second.changes.is_empty() || second.changes.iter().any(comes_back), "{:?}", second.changes);
    }

    #[test]
    fn no_goal_is_left_that_a_single_step_brings_nearer(sketch in sketch(), policy in narrow_policy()) {
        let cluster = uneven(sketch);
        let plan = whole(&cluster, &policy);
        let left = plan.unmet.iter().flat_map(|unmet| &unmet.barred).flat_map(|barred| &barred.steps);
        let possible: Vec<&Step> = left.filter(|step| step.why == Why::Possible).collect();
        prop_assert!(possible.is_empty(), "{:?}", possible);
    }

    #[test]
    fn a_budget_gives_a_prefix(sketch in sketch(), policy in narrow_policy(), parts in (0_u64..9, 0_i64..9)) {
        let cluster = uneven(sketch);
        let all = whole(&cluster, &policy);
        let (moves, bytes) = cost(&cluster, &all);
        let budget = |moves, disk| Budget { moves, disk };
        let mut longest = 0;
        for budget in [
            budget(Some(moves * parts.0 / 16), None),
            budget(Some(moves * parts.0 / 8), None),
            budget(Some(moves * parts.0 / 8), Some(bytes)),
            budget(None, Some(bytes)),
        ] {
            let part = solve(&cluster, &policy, &budget);
            prop_assert_eq!(audit(&cluster, &policy, &budget, &part), Ok(()));
            prop_assert_eq!(&part.changes[..], &all.changes[..part.changes.len()]);
            prop_assert!(part.after <= part.before);
            prop_assert!(part.changes.len() >= longest, "a larger budget does no less");
            longest = part.changes.len();
            let (done, copied) = cost(&cluster, &part);
            prop_assert!(budget.moves.is_none_or(|most| done <= most));
            prop_assert!(budget.disk.is_none_or(|most| copied <= most));
        }
        prop_assert_eq!(longest, all.changes.len());
        let part = solve(&cluster, &policy, &budget(None, Some(bytes * parts.1 / 8)));
        prop_assert_eq!(&part.changes[..], &all.changes[..part.changes.len()]);
        prop_assert_eq!(whole(&part.applied_to(&cluster), &policy).before, part.after);
    }

    #[test]
    fn everything_leaves_the_dead_where_some_broker_may_take_it(sketch in sketch(), policy in policy()) {
        let cluster = sketch.cluster();
        let applied = whole(&cluster, &policy).applied_to(&cluster);
        for partition in 0..applied.partitions() {
            let held = applied.replicas(partition);
            // Whoever takes the only copy that is left has to lead, too.
            let leads = |other: &planner::balance::Broker| other.alive && other.takes_leadership;
            let led = held.iter().any(|broker| leads(&applied.brokers()[*broker as usize]));
            for broker in held.iter().filter(|broker| !applied.brokers()[**broker as usize].alive) {
                let set = sketch.sets[applied.topic(partition) as usize];
                let takes = |(at, other): (usize, &planner::balance::Broker)| {
                    other.alive
                        && other.takes_replicas
                        && !held.contains(&(at as u32))
                        && (set.is_none() || other.set == set)
                        && (led || leads(other))
                };
                prop_assert!(!applied.brokers().iter().enumerate().any(takes), "{} stays on {}", partition, broker);
            }
        }
    }
}
