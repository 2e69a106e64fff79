//! Brokers with several log dirs: each dir has a limit of its own, and each arrival a dir.

use std::fmt::Write;

use expect_test::{Expect, expect};
use planner::balance::{
    Broker, Budget, Builder, Change, Cluster, Goal, MILLION, Mark, Mode, Obstacle, Partition, Plan, Policy,
    Replica, Violation, audit, solve,
};

mod laws;

/// `broker 100 50` is one with two log dirs, in a rack of its own; `dead` before the capacities says what it is. A line of a partition
/// has its replicas, of whom the first leads, as `broker/dir`, and behind `=` what each takes of disk.
fn read(text: &str) -> Cluster {
    let mut builder = Cluster::builder(1);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.strip_prefix("broker ") {
            Some(words) => add_broker(&mut builder, words),
            None => add_partition(&mut builder, line),
        }
    }
    builder.build()
}

fn add_broker(builder: &mut Builder, words: &str) {
    let dead = words.contains("dead");
    let dirs: Vec<i64> = words.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let rack = builder.clone().build().brokers().len() as u32;
    let broker = Broker {
        rack,
        set: None,
        capacity: [1_000, 1_000, 1_000, dirs.iter().sum()],
        alive: !dead,
        takes_replicas: !dead,
        takes_leadership: !dead,
        mark: Mark::None,
    };
    let ordinal = builder.add_broker(&broker).unwrap();
    builder.log_dirs(ordinal, &dirs).unwrap();
}

fn add_partition(builder: &mut Builder, line: &str) {
    let (list, size) = line.split_once('=').unwrap();
    let load = [1, 1, 0, size.trim().parse().unwrap()];
    let place = |word: &str| {
        let (broker, dir) = word.split_once('/').unwrap_or((word, ""));
        (broker.parse::<u32>().unwrap(), dir.parse::<u32>().ok())
    };
    let places: Vec<_> = list.split_whitespace().map(place).collect();
    let partition = Partition {
        topic: 0,
        replicas: places.iter().map(|(broker, _)| Replica { broker: *broker, load }).collect(),
        leader: 0,
        leader_cpu: 0,
        leader_network_out: 0,
        frozen: false,
    };
    let ordinal = builder.add_partition(&partition).unwrap();
    for (position, (_, dir)) in (0..).zip(places) {
        if let Some(dir) = dir {
            builder.stands_in(ordinal, position, dir).unwrap();
        }
    }
}

fn places(cluster: &Cluster, partition: u32) -> String {
    let place = |(position, broker): (u32, &u32)| match cluster.log_dir(partition, position) {
        Some(dir) => format!("{broker}/{dir}"),
        None => broker.to_string(),
    };
    (0..).zip(cluster.replicas(partition)).map(place).collect::<Vec<_>>().join(" ")
}

/// Disk up to the brim, and racks.
fn to_the_brim() -> Policy {
    let goals = vec![Goal::RackAware, Goal::DiskCapacity];
    Policy { hard: goals.clone(), goals, capacity: [MILLION; 4], margin: 0, ..Policy::default() }
}

fn planned(cluster: &Cluster, policy: &Policy) -> Plan {
    let plan = solve(cluster, policy, &Budget::default());
    assert_eq!(audit(cluster, policy, &Budget::default(), &plan), Ok(()));
    plan
}

fn check(text: &str, mode: &Mode, expected: Expect) {
    let (cluster, policy) = mode.prepare(&read(text), &to_the_brim());
    let plan = planned(&cluster, &policy);
    let after = plan.applied_to(&cluster);
    let mut shown = String::new();
    for (change, reason) in plan.changes.iter().zip(&plan.reasons) {
        let (old, new) = (places(&cluster, change.partition), places(&after, change.partition));
        let _ = writeln!(shown, "{old} → {new}: {:?} by {}", reason.purpose, reason.gain);
    }
    for unmet in &plan.unmet {
        let _ = writeln!(shown, "{}: {}", unmet.goal.name(), unmet.obstacle);
    }
    let _ = writeln!(shown, "at least {:?}", plan.fewest_moves);
    expected.assert_eq(&shown);
}

#[test]
fn a_log_dir_over_its_limit_sheds_as_few_and_as_small_replicas_as_do() {
    let text = "
        broker 100 100
        broker 100 100
        0/0 = 60
        0/0 = 30
        0/0 = 25
        0/1 = 10";
    check(
        text,
        &Mode::Balance,
        expect![[r#"
        0/0 → 1/0: Goal(DiskCapacity) by 15
        at least Some(1)
    "#]],
    );
}

#[test]
fn arrivals_go_to_the_dir_that_is_filled_least() {
    let text = "
        broker dead 100
        broker 100 200
        0 = 40
        0 = 30
        0 = 20
        1/0 = 10";
    check(
        text,
        &Mode::Heal,
        expect![[r#"
        0 → 1/1: Offline by 1
        0 → 1/1: Offline by 1
        0 → 1/0: Offline by 1
        at least Some(3)
    "#]],
    );
}

#[test]
fn nothing_goes_to_a_broker_whose_room_is_in_parts_that_are_too_small() {
    let text = "
        broker dead 100
        broker 50 50
        broker 70
        0 = 60
        2 = 10";
    check(
        text,
        &Mode::Heal,
        expect![[r#"
        0 → 2: Offline by 1
        at least Some(1)
    "#]],
    );
}

#[test]
fn arrivals_are_packed_where_spreading_them_leaves_no_room_for_one() {
    let text = "
        broker dead 300
        broker 100 90
        0 = 50
        0 = 45
        0 = 45
        0 = 50";
    check(
        text,
        &Mode::Heal,
        expect![[r#"
        0 → 1/0: Offline by 1
        0 → 1/1: Offline by 1
        0 → 1/1: Offline by 1
        0 → 1/0: Offline by 1
        at least Some(4)
    "#]],
    );
}

#[test]
fn a_full_dir_is_named_where_nothing_can_be_done() {
    let text = "
        broker 50 50
        broker 80
        0/1 1 = 60";
    check(
        text,
        &Mode::Balance,
        expect![[r#"
        DiskCapacityGoal: log dir 1 of broker 0 stays 10 beyond its limit
        at least None
    "#]],
    );
}

#[test]
fn what_is_in_no_known_dir_counts_for_the_broker_alone() {
    let text = "
        broker 50 50
        broker 100
        0 = 60";
    check(
        text,
        &Mode::Balance,
        expect![[r#"
        at least Some(0)
    "#]],
    );
}

#[test]
fn relieving_sees_a_dir_over_the_watermark() {
    let text = "
        broker 100 100
        broker 100 100
        0/0 = 45
        0/0 = 45
        1/1 = 45";
    check(
        text,
        &Mode::Relieve { watermark: [800_000; 4] },
        expect![[r#"
        0/0 → 1/0: Goal(DiskCapacity) by 10
        at least Some(1)
    "#]],
    );
}

#[test]
fn what_comes_to_drained_dirs_fits_them() {
    let text = "
        broker 100 100
        broker 50 50
        broker 100 100
        0/0 = 60
        0/1 = 40
        2/0 = 50";
    check(
        text,
        &Mode::Drain { brokers: vec![0] },
        expect![[r#"
        0/0 → 2/1: Offline by 1
        0/1 → 1/0: Offline by 1
        at least Some(2)
    "#]],
    );
}

#[test]
fn an_added_broker_takes_what_is_too_much_in_a_dir_of_another() {
    let text = "
        broker 100 100
        broker 100 100
        broker 60 60
        0/0 1/0 = 60
        0/0 = 50
        1/1 = 20";
    check(
        text,
        &Mode::Add { brokers: vec![2] },
        expect![[r#"
        0/0 → 2/0: Goal(DiskCapacity) by 10
        at least None
    "#]],
    );
}

#[test]
fn created_replicas_have_a_dir_too() {
    let text = "
        broker 100 100
        broker 100 100
        1/0 = 10
        0/1 1/0 = 20";
    check(
        text,
        &Mode::ReplicationFactor { topics: vec![0], factor: 2 },
        expect![[r#"
        1/0 2 → 1/0 0/0: Created by 1
        at least Some(1)
    "#]],
    );
}

#[test]
fn a_large_cluster_with_full_dirs_is_mended_with_few_moves() {
    let mut builder = Cluster::builder(1);
    for _ in 0..12 {
        add_broker(&mut builder, "9000 9000 9000 9000");
    }
    for partition in 0..3_000 {
        // Half of all stand in the first dir, which has room for a quarter.
        let word = |position: u32| {
            let (broker, seed) = ((partition + position * 5) % 12, partition / 12 + position);
            format!("{broker}/{}", if seed % 2 == 0 { 0 } else { 1 + seed / 2 % 3 })
        };
        let size = 1 + partition * 37 % 101;
        add_partition(&mut builder, &format!("{} {} = {size}", word(0), word(1)));
    }
    let (cluster, policy) = (builder.build(), to_the_brim());
    let plan = planned(&cluster, &policy);
    let (fewest, moves) = (plan.fewest_moves.unwrap(), plan.log_dirs.len() as u64);
    assert!(plan.before.goals[1].excess > 0 && plan.after.is_clean(), "{:?}", plan.after);
    assert!(fewest > 100 && moves == fewest, "{moves} moves, of which {fewest} are needed");
}

#[test]
fn a_dir_that_there_is_not_is_refused() {
    let mut builder = Cluster::builder(1);
    add_broker(&mut builder, "10 10");
    add_broker(&mut builder, "10");
    add_partition(&mut builder, "0/0 1 = 1");
    for (position, dir) in [(0, 2), (1, 0)] {
        let refused = builder.stands_in(0, position, dir).unwrap_err();
        assert_eq!(refused.to_string(), format!("broker {position} has no such log dir"));
    }
    assert!(builder.stands_in(0, 2, 0).is_err() && builder.stands_in(1, 0, 0).is_err());
    assert!(builder.log_dirs(2, &[1, 1]).is_err() && builder.log_dirs(0, &[1, 0]).is_err());
    assert!(builder.log_dirs(0, &[1; 255]).is_err());
}

/// Two brokers with two log dirs each, one of which is too full, and a sound plan that mends it.
fn sick() -> (Cluster, Policy, Plan) {
    let cluster = read(
        "
        broker 100 100
        broker 50 60
        broker 100
        0/0 = 60
        0/0 = 50
        2 = 60
        1/0 = 30",
    );
    let policy = to_the_brim();
    let plan = planned(&cluster, &policy);
    assert_eq!(plan.log_dirs.len(), 1, "{plan:?}");
    (cluster, policy, plan)
}

#[test]
fn damage_to_log_dirs_is_seen() {
    let found = |strike: &dyn Fn(&mut Plan)| {
        let (cluster, policy, mut plan) = sick();
        strike(&mut plan);
        audit(&cluster, &policy, &Budget::default(), &plan).err().unwrap_or_default()
    };
    let (at, dir) = sick().2.log_dirs.into_iter().next().unwrap();
    let is_none = Violation::LogDir { partition: at.0, position: at.1 };
    assert_eq!(found(&|_| {}), []);
    assert!(found(&|plan| plan.log_dirs.clear()).contains(&is_none));
    assert!(found(&|plan| plan.log_dirs.extend([(at, 7)])).contains(&is_none));
    let of_who_stays = found(&|plan| plan.log_dirs.extend([((2, 0), 0)]));
    assert!(of_who_stays.contains(&Violation::LogDir { partition: 2, position: 0 }));
    let beyond = found(&|plan| plan.log_dirs.extend([(at, 1 - dir)]));
    let worse = Violation::LogDirWorse { broker: 1, dir: 1 - dir };
    assert!(beyond.contains(&worse) && beyond.contains(&Violation::AfterUntrue), "{beyond:?}");
    let idle = found(&|plan| {
        (plan.changes, plan.reasons, plan.rooms) = Default::default();
        (plan.log_dirs, plan.leave_rack) = Default::default();
        plan.after = plan.before.clone();
    });
    assert_eq!(idle, [Violation::UnmetUntrue { goal: Goal::DiskCapacity }]);
    let less = found(&|plan| plan.reasons[0].gain -= 1);
    assert_eq!(less, [Violation::ReasonUntrue { partition: at.0 }]);
}

#[test]
fn a_broker_is_held_to_its_own_limit_beside_those_of_its_dirs() {
    // Dir 1 of broker 1 is as far beyond with the arrival in dir 0 as before; the broker as a whole was not.
    let cluster = read(
        "
        broker 4 5
        broker 8 4
        broker 4
        0/0 = 6
        0/0 1/1 = 7",
    );
    let mut plan = planned(&cluster, &to_the_brim());
    plan.changes = vec![Change { partition: 0, replicas: vec![1], leader: 0 }];
    plan.log_dirs.extend([((0, 0), 0)]);
    let found = audit(&cluster, &to_the_brim(), &Budget::default(), &plan).unwrap_err();
    let worse = Violation::BrokerWorse { goal: Goal::DiskCapacity, broker: 1 };
    assert!(found.contains(&worse), "{found:?}");
}

#[test]
fn an_arrival_that_fits_no_dir_goes_where_that_is_no_worse_than_it_was() {
    let text = "
        broker 4 5
        broker 8 7
        broker 7
        0/0 = 7
        1/0 = 6
        0/0 1/0 = 7";
    check(
        text,
        &Mode::Balance,
        expect![[r#"
            0/0 1/0 → 2 1/0: Goal(DiskCapacity) by 7
            1/0 → 0/0: Room by 0
            0/0 → 1/1: Goal(DiskCapacity) by 7
            DiskCapacityGoal: log dir 0 of broker 0 stays 2 beyond its limit
            at least Some(3)
        "#]],
    );
}

#[test]
fn what_is_said_of_a_full_dir_is_held_against_it() {
    let cluster = read(
        "
        broker 50 50
        broker 80
        0/1 1 = 60",
    );
    let plan = planned(&cluster, &to_the_brim());
    for obstacle in [
        Obstacle::LogDir { broker: 0, dir: 0, by: 10 },
        Obstacle::LogDir { broker: 0, dir: 1, by: 9 },
        Obstacle::LogDir { broker: 1, dir: 0, by: 10 },
    ] {
        let mut untrue = plan.clone();
        untrue.unmet[0].obstacle = obstacle;
        let found = audit(&cluster, &to_the_brim(), &Budget::default(), &untrue).unwrap_err();
        assert_eq!(found, [Violation::UnmetUntrue { goal: Goal::DiskCapacity }], "{obstacle:?}");
    }
}
