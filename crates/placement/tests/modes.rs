//! Whatever else a plan is for: what is dead is left, into racks that hold no other replica of the partition where there are such.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../examples/common/altered.rs"]
mod altered;

use altered::altered;
use placement::{Shape, generate};
use planner::balance::{Budget, Goal, Mode, Policy, audit, solve};

#[test]
fn modes_that_heal_leave_the_dead_and_share_no_rack_for_it() {
    let shape = Shape {
        brokers: 24,
        racks: 6,
        topics: 200,
        replicas: 6_000,
        factor: 3,
        skew: 2.0,
        apart: false,
        seed: 31,
    };
    let policy = Policy::default();
    let skewed = generate(&shape).unwrap();
    // Rack-aware, and far from even: hard goals alone.
    let (skewed, hard) = Mode::Heal.prepare(&skewed, &policy);
    let whole = solve(&skewed, &hard, &Budget::default()).applied_to(&skewed);
    for dead in [vec![5], vec![0, 7, 14], vec![3, 9, 15, 21]] {
        let lost = altered(&whole, |at, broker| {
            if dead.contains(&at) {
                (broker.alive, broker.takes_replicas, broker.takes_leadership) = (false, false, false);
            }
        });
        for mode in [Mode::Balance, Mode::Heal, Mode::Add { brokers: vec![1] }] {
            let (lost, policy) = mode.prepare(&lost, &policy);
            let plan = solve(&lost, &policy, &Budget::default());
            assert_eq!(audit(&lost, &policy, &Budget::default(), &plan), Ok(()), "{dead:?} {mode:?}");
            assert!(plan.before.offline > 0 && plan.after.offline == 0, "{dead:?} {mode:?}");
            let racks =
                |goal: &&planner::balance::Distance| [Goal::RackAware, Goal::RacksKept].contains(&goal.goal);
            let shared = plan.after.goals.iter().find(racks).unwrap().excess;
            assert_eq!(shared, 0, "{dead:?} {mode:?}");
        }
    }
}
