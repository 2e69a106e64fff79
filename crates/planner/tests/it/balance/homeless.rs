//! What is said of replicas that stay offline.

use planner::balance::{Broker, Budget, Cluster, Goal, Mode, Partition, Policy, Step, Violation, Why, audit};

use super::built::{broker, builder, partition, planned};

/// Of three racks the first is dead. Broker 3 of the second lacks 2 of disk for any replica, broker 4 of the third 6.
fn lost_rack(partitions: u32) -> Cluster {
    let brokers = [(0, 10_000), (1, 10_000), (2, 10_000), (1, 10), (2, 5)]
        .map(|(rack, disk)| Broker { alive: rack != 0, ..broker(rack, [10_000, 10_000, 10_000, disk]) });
    builder(1, brokers, (0..partitions).map(|_| on(&[1, 2, 0]))).build()
}

fn on(brokers: &[u32]) -> Partition {
    partition(0, brokers, [10; 4])
}

#[test]
fn what_a_lost_rack_leaves_offline_lacks_disk_and_no_rack() {
    for mode in [Mode::Balance, Mode::Heal] {
        let (cluster, policy) = mode.prepare(&lost_rack(70), &Policy::default());
        let plan = planned(&cluster, &policy);
        assert_eq!(plan.stuck.len(), 70);
        let why = Why::Worse { goal: Goal::DiskCapacity, broker: Some(3), by: 2 };
        for stuck in &plan.stuck {
            let step = stuck.nearest.as_ref().unwrap();
            assert_eq!(
                (step.change.as_ref().unwrap().replicas.as_slice(), step.why),
                ([1, 2, 3].as_slice(), why)
            );
        }
    }
}

#[test]
fn another_reason_for_what_stays_offline_is_untrue() {
    let (cluster, policy) = (lost_rack(3), Policy::default());
    let plan = planned(&cluster, &policy);
    let says = |nearest: Option<Step>| {
        let mut plan = plan.clone();
        plan.stuck[1].nearest = nearest;
        audit(&cluster, &policy, &Budget::default(), &plan)
    };
    let said = plan.stuck[1].nearest.clone().unwrap();
    assert_eq!(says(Some(said.clone())), Ok(()));
    let to = |broker: u32| {
        let mut change = said.change.clone().unwrap();
        change.replicas[2] = broker;
        Some(change)
    };
    let lacks = |broker: u32, by: i64| Why::Worse { goal: Goal::DiskCapacity, broker: Some(broker), by };
    let shares = Why::Worse { goal: Goal::RackAware, broker: None, by: 1 };
    let untrue = [
        None,
        Some(Step { why: shares, ..said.clone() }),
        Some(Step { why: lacks(3, 3), ..said.clone() }),
        Some(Step { why: Why::Possible, ..said.clone() }),
        // True, but another lacks less.
        Some(Step { change: to(4), why: lacks(4, 6) }),
    ];
    for nearest in untrue {
        assert_eq!(says(nearest.clone()), Err(vec![Violation::StuckUntrue]), "{nearest:?}");
    }
}

#[test]
fn a_broker_that_takes_off_the_dead_may_be_beyond_other_limits_than_disk() {
    // Whoever takes it has more replicas, and more to send, than it may.
    let cluster = lost_rack(3);
    let goals = vec![Goal::ReplicaCapacity, Goal::NetworkOutCapacity, Goal::DiskCapacity];
    let policy = Policy { max_replicas: 0, hard: goals.clone(), goals, ..Policy::default() };
    let policy = Policy { capacity: [1, 1, 1, 800_000], ..policy };
    let plan = planned(&cluster, &policy);
    let lacks: Vec<_> = plan.stuck.iter().map(|stuck| stuck.nearest.as_ref().map(|step| step.why)).collect();
    assert_eq!(lacks, [Some(Why::Worse { goal: Goal::DiskCapacity, broker: Some(3), by: 2 }); 3]);
}

#[test]
fn leaders_that_a_broker_must_have_keep_one_in_its_failed_log_dir() {
    // What stands on the other may not come in exchange.
    let lists = [on(&[0]), Partition { frozen: true, ..on(&[1]) }];
    let mut builder = builder(1, (0..2).map(|rack| broker(rack, [100; 4])), lists);
    builder.require_leaders(0, 1).unwrap();
    builder.offline(0, 0).unwrap();
    let goals = vec![Goal::MinTopicLeaders];
    let policy = Policy { hard: goals.clone(), goals, ..Policy::default() };
    let plan = planned(&builder.build(), &policy);
    let why: Vec<_> = plan.stuck.iter().map(|stuck| stuck.nearest.as_ref().map(|step| step.why)).collect();
    assert_eq!(why, [Some(Why::Worse { goal: Goal::MinTopicLeaders, broker: Some(0), by: -1 })]);
}
