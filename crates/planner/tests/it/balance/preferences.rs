//! What a plan does rather, and the limits that do not depend on capacities.

use planner::balance::{
    Broker, Budget, Builder, Cluster, Goal, Mark, NETWORK_IN, NETWORK_OUT, Obstacle, Partition, Plan, Policy,
    Preference, Replica, audit, solve,
};

const ROOMY: i64 = 1_000_000;

fn brokers(racks: &[u32]) -> Builder {
    let mut builder = Cluster::builder(1);
    for rack in racks {
        let broker = Broker {
            rack: *rack,
            set: None,
            capacity: [ROOMY; 4],
            alive: true,
            takes_replicas: true,
            takes_leadership: true,
            mark: Mark::None,
        };
        builder.add_broker(&broker).unwrap();
    }
    builder
}

/// Each leads with 100 out to consumers and takes 10 in on every replica.
fn add(builder: &mut Builder, replicas: &[u32]) {
    let load = [0, 10, 0, 10];
    let partition = Partition {
        topic: 0,
        replicas: replicas.iter().map(|broker| Replica { broker: *broker, load }).collect(),
        leader: 0,
        leader_cpu: 0,
        leader_network_out: 100,
        frozen: false,
    };
    builder.add_partition(&partition).unwrap();
}

fn planned(cluster: &Cluster, policy: &Policy) -> Plan {
    let plan = solve(cluster, policy, &Budget::default());
    assert_eq!(audit(cluster, policy, &Budget::default(), &plan), Ok(()));
    plan
}

fn limited(goal: Goal, limit: i64, preferences: &[Preference]) -> Policy {
    let network_limit = if goal == Goal::NetworkInLimit { [limit, i64::MAX] } else { [i64::MAX, limit] };
    let preferences = preferences.to_vec();
    Policy { goals: vec![goal], hard: vec![goal], network_limit, preferences, ..Policy::default() }
}

fn carried(cluster: &Cluster, resource: usize) -> Vec<i64> {
    let mut sums = vec![0; cluster.brokers().len()];
    for partition in 0..cluster.partitions() {
        let loads = cluster.replicas(partition).iter().zip(cluster.loads(partition));
        for (at, (broker, load)) in (0..).zip(loads) {
            let leads = at == cluster.leader(partition);
            let share = if leads { cluster.leader_share(partition)[resource] } else { 0 };
            sums[*broker as usize] += load[resource] + share;
        }
    }
    sums
}

#[test]
fn brokers_come_below_limits_that_their_capacities_would_not_demand() {
    let mut builder = brokers(&[0, 1, 2]);
    (0..9).for_each(|_| add(&mut builder, &[0, 1]));
    let cluster = builder.build();
    for (goal, limit, resource) in
        [(Goal::NetworkInLimit, 70, NETWORK_IN), (Goal::NetworkOutLimit, 400, NETWORK_OUT)]
    {
        assert!(carried(&cluster, resource).iter().any(|sum| *sum > limit));
        let plan = planned(&cluster, &limited(goal, limit, &[]));
        assert_eq!(plan.unmet, []);
        let after = carried(&plan.applied_to(&cluster), resource);
        assert!(after.iter().all(|sum| *sum <= limit), "{goal:?}: {after:?}");
    }
}

#[test]
fn what_no_number_of_moves_brings_below_a_limit_is_said_in_brokers() {
    let mut builder = brokers(&[0, 1, 2]);
    (0..9).for_each(|_| add(&mut builder, &[0, 1]));
    let plan = planned(&builder.build(), &limited(Goal::NetworkOutLimit, 200, &[]));
    let found: Vec<Obstacle> = plan.unmet.iter().map(|unmet| unmet.obstacle).collect();
    assert_eq!(found, [Obstacle::Brokers { more: 2 }], "900 out, 200 each, three brokers");
}

#[test]
fn no_data_moves_where_passing_leadership_on_is_enough() {
    let mut builder = brokers(&[0, 1, 2, 3]);
    (0..8).for_each(|_| add(&mut builder, &[0, 1]));
    let plan = planned(&builder.build(), &limited(Goal::NetworkOutLimit, 400, &[Preference::ElectionFirst]));
    assert!(plan.after.is_clean());
    assert_eq!(plan.changes.len(), 4);
    assert!(plan.changes.iter().all(|change| change.replicas == [0, 1] && change.leader == 1));
}

#[test]
fn data_moves_for_what_passing_leadership_on_leaves_over() {
    let mut builder = brokers(&[0, 1, 2, 3]);
    (0..8).for_each(|_| add(&mut builder, &[0, 1]));
    let cluster = builder.build();
    let plan = planned(&cluster, &limited(Goal::NetworkOutLimit, 300, &[Preference::ElectionFirst]));
    assert!(plan.after.is_clean());
    let moved = plan.changes.iter().filter(|change| change.replicas != [0, 1]).count();
    assert_eq!(moved, 2, "of 8 leaders two brokers keep 6");
}

#[test]
fn replicas_stay_in_their_rack_where_that_does_as_well() {
    let racks = [0, 0, 0, 1, 1, 1, 2, 2, 2];
    let mut builder = brokers(&racks);
    (0..90).for_each(|_| add(&mut builder, &[0, 3, 6]));
    let cluster = builder.build();
    let plain = planned(&cluster, &Policy::default());
    let preferring = Policy { preferences: vec![Preference::SameRack], ..Policy::default() };
    let near = planned(&cluster, &preferring);
    assert_eq!(near.after, plain.after);
    assert!(plain.leave_rack > 0, "else this shows nothing");
    assert_eq!(near.leave_rack, 0);
}

#[test]
fn preferences_have_names() {
    for preference in Preference::ALL {
        assert_eq!(Preference::named(preference.name()), Some(preference));
    }
    assert_eq!(Preference::named("SomethingElse"), None);
}
