//! What is said to stand in the way of goals, and goals that were not met before there was a rule for them.

use planner::balance::{
    Broker, Budget, Builder, CPU, Cluster, Goal, Hindrance, Limited, Lock, Mark, Mode, Obstacle, Partition,
    Plan, Policy, Step, Unmet, Violation, Why, audit, solve,
};

use super::built::{broker, builder, partition, planned};

struct Shape {
    /// Rack and broker set of each broker.
    brokers: Vec<(u32, u32)>,
    /// Topic and replicas of each partition; the first leads.
    partitions: Vec<(u32, Vec<u32>)>,
}

impl Shape {
    fn cluster(&self, adjust: impl Fn(u32, &mut Broker), freeze: bool) -> Builder {
        let brokers = (0..).zip(&self.brokers).map(|(at, (rack, set))| {
            let mut broker = Broker { set: Some(*set), ..broker(*rack, [100; 4]) };
            adjust(at, &mut broker);
            broker
        });
        let partitions = self.partitions.iter();
        let partitions =
            partitions.map(|(topic, list)| Partition { frozen: freeze, ..partition(*topic, list, [10; 4]) });
        builder(2, brokers, partitions)
    }
}

fn one_goal(goal: Goal) -> Policy {
    Policy { goals: vec![goal], hard: vec![goal], ..Policy::default() }
}

fn three() -> Shape {
    Shape {
        brokers: vec![(0, 0), (0, 0), (1, 1)],
        partitions: vec![(0, vec![0, 1]), (0, vec![0, 2]), (1, vec![1, 2])],
    }
}

#[test]
fn goals_are_named_that_could_not_be_served() {
    let cluster = three().cluster(|_, broker| broker.takes_replicas = false, false).build();
    let plan = planned(&cluster, &one_goal(Goal::TopicDistribution));
    let expected = Unmet {
        goal: Goal::TopicDistribution,
        excess: 0,
        obstacle: Obstacle::NothingTakesReplicas,
        limited: None,
        offenders: 0,
        barred: vec![],
    };
    assert_eq!((plan.changes, plan.unmet), (vec![], vec![expected]));
    assert_eq!(planned(&cluster, &one_goal(Goal::PreferredLeader)).unmet, vec![]);
}

#[test]
fn what_lacks_is_a_number() {
    let obstacle =
        |policy: &Policy, cluster: &Cluster| planned(cluster, policy).unmet.first().map(|u| u.obstacle);
    let mut shape = three();
    shape.partitions.push((1, vec![0, 1, 2]));
    let cluster = shape.cluster(|_, _| {}, false).build();
    assert_eq!(obstacle(&one_goal(Goal::RackAware), &cluster), Some(Obstacle::Racks { has: 2, needs: 3 }));
    // 90 of disk, of which each broker may hold a tenth of 100: six more than the three that there are.
    let policy = Policy { capacity: [100_000; 4], ..one_goal(Goal::DiskCapacity) };
    assert_eq!(obstacle(&policy, &cluster), Some(Obstacle::Brokers { more: 6 }));
    let policy = Policy { max_replicas: 2, ..one_goal(Goal::ReplicaCapacity) };
    assert_eq!(obstacle(&policy, &cluster), Some(Obstacle::Brokers { more: 2 }));
    let mut builder = shape.cluster(|_, _| {}, false);
    builder.require_leaders(1, 1).unwrap();
    let expected = Obstacle::Partitions { topic: 1, has: 2, needs: 3 };
    assert_eq!(obstacle(&one_goal(Goal::MinTopicLeaders), &builder.build()), Some(expected));
    let frozen = shape.cluster(|_, _| {}, true);
    assert_eq!(
        obstacle(&one_goal(Goal::RackAware), &frozen.build()),
        None,
        "frozen lists are nobody's fault"
    );
}

#[test]
fn each_broker_gets_a_leader_of_a_chosen_topic() {
    let mut shape = three();
    shape.partitions.push((0, vec![0, 1]));
    let mut builder = shape.cluster(|_, _| {}, false);
    builder.require_leaders(0, 1).unwrap();
    let cluster = builder.build();
    let plan = planned(&cluster, &one_goal(Goal::MinTopicLeaders));
    assert!(plan.after.is_clean());
    let moved = plan.changes.iter().any(|change| change.replicas != cluster.replicas(change.partition));
    assert!(!moved, "elections are enough");
}

#[test]
fn topics_go_to_their_broker_sets() {
    let mut builder = three().cluster(|_, _| {}, false);
    builder.bind_topic(0, 0).unwrap();
    let cluster = builder.build();
    let plan = planned(&cluster, &one_goal(Goal::BrokerSetAware));
    assert!(plan.before.violated().eq([Goal::BrokerSetAware]) && plan.after.is_clean());
    assert_eq!(plan.applied_to(&cluster).replicas(1), [0, 1]);
}

#[test]
fn the_first_of_a_list_leads() {
    let brokers = (0..2).map(|rack| Broker { takes_leadership: rack == 0, ..broker(rack, [100; 4]) });
    let lists = [0, 1].map(|first| Partition { leader: 1, ..partition(0, &[first, 1 - first], [1; 4]) });
    let builder = builder(1, brokers, lists);
    let plan = planned(&builder.build(), &one_goal(Goal::PreferredLeader));
    let changed: Vec<_> = plan.changes.iter().map(|change| (change.partition, change.leader)).collect();
    assert_eq!(changed, [(0, 0)], "broker 1 may not lead");
    assert!(plan.after.is_clean());
}

#[test]
fn more_replicas_than_racks_spread_evenly() {
    let shape = Shape {
        brokers: vec![(0, 0), (0, 0), (1, 0), (1, 0), (2, 0)],
        partitions: vec![(0, vec![0, 1, 2, 3])],
    };
    let cluster = shape.cluster(|_, _| {}, false).build();
    let plan = planned(&cluster, &one_goal(Goal::RackAwareDistribution));
    assert_eq!(plan.before.goals[0].excess, 1, "two, two and none are not even");
    assert!(plan.after.is_clean());
}

#[test]
fn a_lost_rack_is_healed_as_far_as_can_be_and_reported() {
    let shape = Shape {
        brokers: vec![(0, 0), (0, 0), (1, 0), (1, 0), (2, 0), (2, 0)],
        partitions: vec![(0, vec![0, 2, 4]), (0, vec![5, 1, 3]), (1, vec![2, 5, 0])],
    };
    let dies = |_: u32, broker: &mut Broker| broker.alive = broker.rack != 2;
    let cluster = shape.cluster(dies, false).build();
    let plan = planned(&cluster, &Policy::default());
    assert_eq!((plan.before.offline, plan.after.offline), (3, 0));
    let racks = plan.unmet.iter().find(|unmet| unmet.goal == Goal::RackAware).map(|unmet| unmet.obstacle);
    assert_eq!(racks, Some(Obstacle::Racks { has: 2, needs: 3 }));
}

#[test]
fn what_lacks_is_said_in_words() {
    let text = |obstacle: Obstacle| obstacle.to_string();
    assert_eq!(text(Obstacle::Racks { has: 2, needs: 3 }), "needs 1 rack more: 2 live, 3 replicas");
    assert_eq!(text(Obstacle::Racks { has: 1, needs: 3 }), "needs 2 racks more: 1 live, 3 replicas");
    assert_eq!(
        [1, 3].map(|more| text(Obstacle::Brokers { more })),
        ["needs 1 broker more", "needs 3 brokers more"]
    );
}

#[test]
fn where_racks_and_disk_are_too_few_what_fits_is_healed_and_no_disk_is_overfull() {
    // Eight replicas of 10 are offline. Each of four brokers holds four, and has room for one more below 80 % of 69.
    let lists = |topic: u32| (0..8).map(move |at: u32| (topic, vec![at % 2, 2 + at % 2, 4 + at % 2]));
    let brokers = vec![(0, 0), (0, 0), (1, 0), (1, 0), (2, 0), (2, 0)];
    let shape = Shape { brokers, partitions: lists(0).collect() };
    let dies = |_: u32, broker: &mut Broker| {
        broker.alive = broker.rack != 2;
        broker.capacity[planner::balance::DISK] = 69;
    };
    let cluster = shape.cluster(dies, false).build();
    let plan = planned(&cluster, &Policy::default());
    assert_eq!((plan.before.offline, plan.after.offline), (8, 4));
    assert_eq!(obstacle_of(&plan, Goal::RackAware), Some((Obstacle::Racks { has: 2, needs: 3 }, true)));
    assert_eq!(obstacle_of(&plan, Goal::DiskCapacity), Some((Obstacle::Brokers { more: 1 }, true)));
    assert!(plan.stuck.len() == 4 && plan.stuck.iter().all(|stuck| stuck.why == Hindrance::NoRoom));
}

/// What stands in a goal's way, and whether that is a proof.
fn obstacle_of(plan: &Plan, goal: Goal) -> Option<(Obstacle, bool)> {
    plan.unmet.iter().find(|unmet| unmet.goal == goal).map(|unmet| (unmet.obstacle, unmet.is_proof()))
}

#[test]
fn no_number_of_brokers_is_named_where_capacity_is_unknown_or_nobody_takes_replicas() {
    let unknown = three().cluster(|at, broker| broker.capacity[CPU] *= i64::from(at != 0), false).build();
    let mut policy = one_goal(Goal::CpuCapacity);
    policy.capacity = [100_000; 4];
    let obstacle = obstacle_of(&planned(&unknown, &policy), Goal::CpuCapacity);
    assert!(obstacle.is_none_or(|(_, proof)| !proof), "{obstacle:?}");
    let closed = three().cluster(|_, broker| broker.takes_replicas = false, false).build();
    let mut policy = one_goal(Goal::PotentialNetworkOut);
    policy.capacity = [100_000; 4];
    let obstacle = obstacle_of(&planned(&closed, &policy), Goal::PotentialNetworkOut);
    assert_eq!(obstacle, Some((Obstacle::NothingTakesReplicas, true)));
    // Leadership could yet pass on.
    let mut policy = one_goal(Goal::NetworkOutCapacity);
    policy.capacity = [1; 4];
    let obstacle = obstacle_of(&planned(&closed, &policy), Goal::NetworkOutCapacity);
    assert_eq!(obstacle, Some((Obstacle::NothingTakesReplicas, false)));
}

/// Two racks, of which the first has all replicas of a partition; the other has brokers 2 and 3.
fn one_sided(adjust: impl Fn(u32, &mut Broker)) -> Builder {
    let partitions = vec![(0, vec![0, 1]), (1, vec![2]), (1, vec![3]), (1, vec![3])];
    Shape { brokers: vec![(0, 0), (0, 0), (1, 0), (1, 1)], partitions }.cluster(adjust, false)
}

/// For the only partition that a plan leaves, why.
fn whys(cluster: &Cluster, policy: &Policy) -> (Option<u32>, Vec<Why>) {
    let plan = planned(cluster, policy);
    let unmet = plan.unmet.first().unwrap();
    assert_eq!((unmet.offenders, unmet.barred.len()), (1, 1), "{unmet:?}");
    let barred = &unmet.barred[0];
    (barred.partition, barred.steps.iter().map(|step| step.why).collect())
}

#[test]
fn a_partition_that_shares_a_rack_says_what_keeps_each_other_rack_from_it() {
    let racks = one_goal(Goal::RackAware);
    let excluded = one_sided(|at, broker| broker.takes_replicas = at < 2).build();
    assert_eq!(whys(&excluded, &racks), (Some(0), vec![Why::Excluded { broker: 2 }]));
    let mut bound = one_sided(|at, broker| broker.set = Some(u32::from(at > 1)));
    bound.bind_topic(0, 0).unwrap();
    let goals = vec![Goal::RackAware, Goal::BrokerSetAware];
    let both = Policy { hard: goals.clone(), goals, ..Policy::default() };
    assert_eq!(whys(&bound.build(), &both), (Some(0), vec![Why::OtherSet { broker: 2 }]));
    // Ten more would be 10 of disk above 80 % of 12 on broker 2, and 20 on broker 3.
    let goals = vec![Goal::RackAware, Goal::DiskCapacity];
    let full = Policy { hard: goals.clone(), goals, ..Policy::default() };
    let cluster =
        one_sided(|at, broker| broker.capacity[planner::balance::DISK] = if at < 2 { 100 } else { 12 });
    let why = |by| Why::Worse { goal: Goal::DiskCapacity, broker: Some(2), by };
    let plan = planned(&cluster.build(), &full);
    let racks_left = plan.unmet.iter().find(|unmet| unmet.goal == Goal::RackAware);
    let first = racks_left.map(|unmet| unmet.barred[0].steps.iter().map(|step| step.why).collect::<Vec<_>>());
    assert!(first == Some(vec![why(11)]) || racks_left.is_none(), "{:?}", plan.unmet);
}

#[test]
fn a_partition_that_the_budget_cuts_off_says_so() {
    let cluster = one_sided(|_, _| {}).build();
    let none = Budget { moves: Some(0), disk: None };
    let plan = solve(&cluster, &one_goal(Goal::RackAware), &none);
    assert_eq!(audit(&cluster, &one_goal(Goal::RackAware), &none, &plan), Ok(()));
    let steps = &plan.unmet[0].barred[0].steps;
    assert_eq!(steps, &[Step { change: None, why: Why::Budget }]);
}

#[test]
fn a_set_of_fewer_brokers_than_replicas_lacks_brokers() {
    let mut builder = three().cluster(|_, _| {}, false);
    builder.bind_topic(1, 1).unwrap();
    let plan = planned(&builder.build(), &one_goal(Goal::BrokerSetAware));
    let expected = Obstacle::SetTooSmall { topic: 1, has: 1, needs: 2 };
    assert_eq!(obstacle_of(&plan, Goal::BrokerSetAware), Some((expected, true)));
}

#[test]
fn a_broker_above_its_limits_says_which_step_comes_nearest() {
    // Broker 0 is full; broker 1 holds all that it holds, and broker 2 may take nothing.
    let shape = Shape { partitions: vec![(0, vec![0, 1]); 9], ..three() };
    let cluster = shape.cluster(
        |at, broker| {
            broker.takes_replicas = at < 2;
            broker.capacity[planner::balance::DISK] = if at == 0 { 100 } else { 1_000 };
        },
        false,
    );
    let plan = planned(&cluster.build(), &one_goal(Goal::DiskCapacity));
    let unmet = &plan.unmet[0];
    assert_eq!((unmet.offenders, unmet.obstacle), (1, Obstacle::Broker { broker: 0, by: 10 }));
    assert_eq!(unmet.barred[0].steps[0].why, Why::Excluded { broker: 2 });
    let frozen = shape.cluster(|at, broker| broker.capacity[3] = if at == 0 { 100 } else { 1_000 }, true);
    let plan = planned(&frozen.build(), &one_goal(Goal::DiskCapacity));
    assert_eq!(plan.unmet[0].barred[0].steps, [Step { change: None, why: Why::Frozen }]);
}

#[test]
fn a_broker_that_waits_to_be_healed_is_not_said_to_hold_what_is_frozen() {
    // All that the full broker holds has a replica on the dead one.
    let dies = |at: u32, broker: &mut Broker| {
        broker.alive = at != 2;
        broker.capacity[planner::balance::DISK] = if at == 0 { 20 } else { 100 };
    };
    let shape = Shape { partitions: vec![(0, vec![0, 2]), (0, vec![0, 2])], ..three() };
    let relieve = Mode::Relieve { watermark: [800_000; 4] };
    let (cluster, policy) = relieve.prepare(&shape.cluster(dies, false).build(), &Policy::default());
    let plan = planned(&cluster, &policy);
    assert_eq!(plan.unmet[0].barred[0].steps, [Step { change: None, why: Why::Offline { all: true } }]);
    for why in [Why::Frozen, Why::Offline { all: false }] {
        let mut untrue = plan.clone();
        untrue.unmet[0].barred[0].steps[0].why = why;
        let found = audit(&cluster, &policy, &Budget::default(), &untrue);
        assert_eq!(found, Err(vec![Violation::UnmetUntrue { goal: Goal::DiskCapacity }]), "{why:?}");
    }
}

#[test]
fn what_stays_offline_for_want_of_room_says_which_broker_comes_nearest() {
    let dies = |at: u32, broker: &mut Broker| {
        broker.alive = at != 0;
        broker.capacity[planner::balance::DISK] = 20;
    };
    let shape = Shape { partitions: vec![(0, vec![0, 1]), (1, vec![2])], ..three() };
    let plan = planned(&shape.cluster(dies, false).build(), &one_goal(Goal::DiskCapacity));
    let why = |stuck: &planner::balance::Stuck| stuck.nearest.as_ref().map(|step| step.why);
    let nearest: Vec<_> = plan.stuck.iter().map(why).collect();
    assert_eq!(nearest, [Some(Why::Worse { goal: Goal::DiskCapacity, broker: Some(2), by: 4 })]);
}

#[test]
fn a_broker_is_relieved_of_what_is_judged_alone() {
    let heavy =
        three().cluster(|at, broker| broker.capacity[CPU] = if at == 0 { 0 } else { 25 }, false).build();
    let (_, mut policy) = Mode::Relieve { watermark: [800_000; 4] }.prepare(&heavy, &Policy::default());
    assert!(policy.goals.contains(&Goal::CpuCapacity));
    policy = Policy::default();
    policy.goals.retain(|goal| *goal != Goal::CpuCapacity);
    let (marked, policy) = Mode::Relieve { watermark: [800_000; 4] }.prepare(&heavy, &policy);
    assert!(!policy.goals.contains(&Goal::CpuCapacity));
    assert!(marked.brokers().iter().all(|broker| broker.mark == Mark::None));
}

#[test]
fn what_stays_offline_has_a_reason() {
    let dies = |at: u32, broker: &mut Broker| broker.alive = at != 2;
    let shape = Shape { partitions: vec![(0, vec![0, 1, 2]), (0, vec![1, 2]), (1, vec![0, 2])], ..three() };
    let mut builder = shape.cluster(dies, false);
    builder.lock(1, Lock::Reassigning).unwrap();
    let cluster = builder.build();
    let why = |plan: &Plan| -> Vec<(u32, Hindrance)> {
        plan.stuck.iter().map(|stuck| (stuck.partition, stuck.why)).collect()
    };
    let policy = one_goal(Goal::ReplicaCapacity);
    let locked = (1, Hindrance::Locked(Lock::Reassigning));
    assert_eq!(why(&planned(&cluster, &policy)), [(0, Hindrance::NoBroker), locked]);
    let none = Budget { moves: Some(0), disk: None };
    let plan = solve(&cluster, &policy, &none);
    assert_eq!(audit(&cluster, &policy, &none, &plan), Ok(()));
    assert_eq!(why(&plan), [(0, Hindrance::NoBroker), locked, (2, Hindrance::Budget)]);
    assert_eq!(plan.postponed, [2]);
    let (leaders, policy) = Mode::Leaders.prepare(&cluster, &policy);
    assert_eq!(why(&planned(&leaders, &policy))[2], (2, Hindrance::Mode));
}

#[test]
fn who_may_lead_nowhere_keeps_a_leader_that_was_to_pass_on() {
    let demoted = |_: u32, broker: &mut Broker| broker.takes_leadership = false;
    let cluster = three().cluster(demoted, false).build();
    let (cluster, policy) = Mode::Demote { brokers: vec![0] }.prepare(&cluster, &Policy::default());
    let plan = planned(&cluster, &policy);
    assert!(plan.stuck.len() == 3 && plan.stuck.iter().all(|stuck| stuck.why == Hindrance::NoHeir));
}

#[test]
fn a_goal_that_the_budget_or_the_mode_keeps_from_being_met_says_so() {
    let shape = Shape { partitions: vec![(0, vec![0]), (0, vec![0]), (1, vec![0])], ..three() };
    let cluster = shape.cluster(|_, _| {}, false).build();
    let mut policy = one_goal(Goal::ReplicaCapacity);
    policy.max_replicas = 1;
    let limited = |plan: &Plan| plan.unmet.iter().map(|unmet| unmet.limited).collect::<Vec<_>>();
    assert_eq!(limited(&planned(&cluster, &policy)), []);
    let budget = Budget { moves: Some(1), disk: None };
    assert_eq!(limited(&solve(&cluster, &policy, &budget)), [Some(Limited::Budget)]);
    let (same, policy) = Mode::Leaders.prepare(&cluster, &policy);
    assert_eq!(limited(&planned(&same, &policy)), [Some(Limited::Mode)]);
}

#[test]
fn a_topic_is_frozen_only_if_all_of_it_is() {
    let policy = one_goal(Goal::MinTopicLeaders);
    let obstacle = |frozen: &[bool]| {
        let mut builder =
            Shape { brokers: vec![(0, 0), (1, 0)], partitions: vec![] }.cluster(|_, _| {}, false);
        for frozen in frozen {
            let partition = Partition { frozen: *frozen, ..partition(0, &[0, 1], [1; 4]) };
            builder.add_partition(&partition).unwrap();
        }
        builder.require_leaders(0, 1).unwrap();
        let plan = planned(&builder.build(), &policy);
        (plan.changes.len(), plan.unmet.first().map(|unmet| unmet.obstacle))
    };
    for one in [[true, false], [false, true]] {
        assert_eq!(obstacle(&one), (1, None), "{one:?}");
    }
    assert_eq!(obstacle(&[true, true]), (0, Some(Obstacle::FrozenTopic { topic: 0 })));
}
