//! Replicas that are not in sync or in a failed log dir, and partitions that are never touched.

use planner::balance::{
    Budget, Builder, Change, Cluster, Goal, Lock, Mode, Partition, Policy, Purpose, Violation, audit, solve,
};
use proptest::prelude::*;

use super::built::{broker, builder, living, partition, planned};
use super::clusters::{Sketch, narrow_policy, policy, sketch};

/// Brokers, one a rack, and partitions of one topic that the first of each list leads.
fn cluster(alive: &[bool], lists: &[&[u32]], conditions: impl Fn(&mut Builder)) -> Cluster {
    let brokers = (0..).zip(alive).map(|(rack, alive)| living(*alive, broker(rack, [1_000_000; 4])));
    let lists = lists.iter().map(|list| Partition {
        leader_cpu: 5,
        leader_network_out: 20,
        ..partition(0, list, [1, 10, 0, 10])
    });
    let mut builder = builder(1, brokers, lists);
    conditions(&mut builder);
    builder.build()
}

#[test]
fn leadership_goes_to_replicas_in_sync_alone() {
    let lists: [&[u32]; 3] = [&[0, 1], &[0, 2], &[0, 1]];
    let policy = Policy { goals: vec![Goal::LeaderDistribution], hard: vec![], ..Policy::default() };
    let (only, policy) = Mode::Leaders.prepare(&cluster(&[true; 3], &lists, |_| {}), &policy);
    assert!(!planned(&only, &policy).changes.is_empty());
    let behind = |builder: &mut Builder| {
        for partition in 0..3 {
            builder.not_in_sync(partition, 1).unwrap();
        }
    };
    let behind = cluster(&[true; 3], &lists, behind);
    let mut plan = planned(&behind, &policy);
    assert_eq!(plan.changes, []);
    plan.changes.push(Change { partition: 0, replicas: vec![0, 1], leader: 1 });
    let violations = audit(&behind, &policy, &Budget::default(), &plan).unwrap_err();
    assert!(violations.contains(&Violation::Leader { partition: 0, broker: 1 }), "{violations:?}");
}

#[test]
fn a_dead_leader_is_followed_by_who_is_in_sync() {
    let behind = cluster(&[false, true, true, true], &[&[0, 1, 2]], |b| b.not_in_sync(0, 1).unwrap());
    let (behind, policy) = Mode::Heal.prepare(&behind, &Policy::default());
    let plan = planned(&behind, &policy);
    assert_eq!((plan.changes[0].replicas.as_slice(), plan.changes[0].leader), (&[3, 1, 2][..], 2));
}

#[test]
fn what_stands_in_a_failed_log_dir_goes_to_another_broker() {
    let failed = cluster(&[true; 4], &[&[0, 1, 2], &[0, 1, 2]], |b| b.offline(1, 1).unwrap());
    for mode in [Mode::Heal, Mode::Balance, Mode::Drain { brokers: vec![] }] {
        let (failed, policy) = mode.prepare(&failed, &Policy::default());
        let plan = planned(&failed, &policy);
        assert_eq!((plan.before.offline, plan.after.offline), (1, 0), "{mode:?}");
        let at = plan.changes.iter().position(|change| change.partition == 1).unwrap();
        assert_eq!(plan.changes[at].replicas, [0, 3, 2]);
        assert_eq!(plan.reasons[at].purpose, Purpose::Offline);
        // Balancing leaves goals that so few replicas cannot meet: then no number of moves is proven to be the fewest.
        assert_eq!(plan.fewest_moves, (!matches!(mode, Mode::Balance)).then_some(1), "{mode:?}");
        let healed = plan.applied_to(&failed);
        assert!(!healed.offline(1, 1) && planned(&healed, &policy).changes.is_empty());
    }
}

#[test]
fn what_is_locked_is_never_touched() {
    for lock in [Lock::Reassigning, Lock::Maintenance, Lock::NothingInSync] {
        let locked = cluster(&[false, true, true], &[&[0, 1], &[1, 2]], |b| b.lock(0, lock).unwrap());
        for mode in [Mode::Heal, Mode::Balance] {
            let (locked, policy) = mode.prepare(&locked, &Policy::default());
            let mut plan = planned(&locked, &policy);
            assert_eq!((plan.changes.iter().any(|c| c.partition == 0), plan.after.offline), (false, 1));
            plan.changes = vec![Change { partition: 0, replicas: vec![2, 1], leader: 0 }];
            let violations = audit(&locked, &policy, &Budget::default(), &plan).unwrap_err();
            assert!(violations.contains(&Violation::Frozen { partition: 0 }), "{violations:?}");
        }
    }
}

/// A sketch of a cluster with conditions: what of it is behind, failed and locked.
fn conditioned() -> impl Strategy<Value = Cluster> {
    (sketch(), prop::collection::vec(0_u8..100, 90)).prop_map(|(sketch, fates): (Sketch, Vec<u8>)| {
        let mut builder = sketch.builder();
        for (partition, (known, fate)) in (0..).zip(sketch.partitions.iter().zip(fates)) {
            let last = known.replicas.len() as u32 - 1;
            let _ = match fate {
                0..10 => builder.lock(partition, Lock::Reassigning),
                10..30 => builder.not_in_sync(partition, last),
                30..40 => builder.offline(partition, last),
                40..45 => builder.offline(partition, 0),
                _ => Ok(()),
            };
        }
        builder.build()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn conditions_are_kept_and_a_plan_leaves_nothing_to_do(cluster in conditioned(), policy in policy()) {
        let plan = solve(&cluster, &policy, &Budget::default());
        prop_assert_eq!(audit(&cluster, &policy, &Budget::default(), &plan), Ok(()));
        let again = solve(&plan.applied_to(&cluster), &policy, &Budget::default());
        prop_assert!(again.after <= plan.after);
    }

    #[test]
    fn conditions_are_kept_by_every_policy(cluster in conditioned(), policy in narrow_policy()) {
        let plan = solve(&cluster, &policy, &Budget::default());
        prop_assert_eq!(audit(&cluster, &policy, &Budget::default(), &plan), Ok(()));
    }
}
