//! What `docs/kafka-facts.md` tells of reassignments, on the simulated versions.

use cluster::{BrokerId, TopicPartition, Writer};
use expect_test::expect;
use sim::world::Client;
use sim::{Access, Rules, Settings, SharedWorld, World};

use crate::{after, now, partitions, quiet, world_with};

fn of(rules: Rules) -> Settings {
    Settings { rules: Rules { leader_rebalance: None, ..rules }, ..quiet() }
}

/// Reassigns `t-0`, or cancels that, and says what Kafka answers.
fn reassign(world: &SharedWorld, to: Option<&[i32]>) -> String {
    let access = Access::new(world, Client::Somebody);
    let to = to.map(|ids| ids.iter().copied().map(BrokerId).collect());
    let batch = [(TopicPartition::new("t", 0), to)].into();
    match now(access.reassign(&batch)).unwrap().into_values().next().unwrap() {
        Ok(()) => "taken".to_owned(),
        Err(why) => why.to_string(),
    }
}

fn shared(text: &str, rules: Rules) -> SharedWorld {
    SharedWorld::new(world_with(text, of(rules)))
}

fn show(world: &SharedWorld) -> String {
    partitions(&mut world.lock())
}

fn pass(world: &SharedWorld, faults: &str, seconds: u64) {
    let _ = after(&mut world.lock(), faults, seconds);
}

/// Of [1,2,3] the brokers 2 and 3 die; the partition is moved to [1,4,3].
fn a_list_that_keeps_a_dead_broker(rules: Rules) -> String {
    let world = shared("b1\nb2\nb3\nb4\nt-0: 1* 2 3", rules);
    pass(&world, "at 0s kill b2\nat 0s kill b3", 20);
    let answer = reassign(&world, Some(&[1, 4, 3]));
    pass(&world, "", 20);
    let during = show(&world);
    pass(&world, "at 0s restart b3", 60);
    format!("{answer}\n{during}{}", show(&world))
}

#[test]
fn a_target_list_that_still_holds_a_dead_broker() {
    expect![[r#"
        taken
        t-0: 1* 4 3~
        t-0: 1* 4 3
    "#]]
    .assert_eq(&a_list_that_keeps_a_dead_broker(Rules::kraft_4_3()));
    expect![[r#"
        taken
        t-0: 1* +4 3~ -2~
        t-0: 1* 4 3
    "#]]
    .assert_eq(&a_list_that_keeps_a_dead_broker(Rules::kraft_3_9()));
    expect![[r#"
        taken
        t-0: 1* +4 3~ -2~
        t-0: 1* 4 3
    "#]]
    .assert_eq(&a_list_that_keeps_a_dead_broker(Rules::zookeeper_3_9()));
}

/// A partition on [1,2] is moved to [1,4]; 4 dies in the middle of copying. Then it is moved to [1,3].
#[test]
fn a_target_that_dies_before_it_is_in_sync() {
    for rules in [Rules::kraft_4_3(), Rules::kraft_3_9(), Rules::zookeeper_3_9()] {
        let world = shared("b1\nb2\nb3\nb4\nt-0: 1* 2 size=10GiB", rules);
        assert_eq!(reassign(&world, Some(&[1, 4])), "taken");
        pass(&world, "at 5s kill b4", 60);
        assert_eq!(show(&world), "t-0: 1* +4~ -2\n");
        assert_eq!(reassign(&world, Some(&[1, 3])), "taken");
        pass(&world, "", 120);
        assert_eq!(show(&world), "t-0: 1* 3\n");
    }
}

#[test]
fn a_dead_broker_as_a_new_target_and_a_cancel() {
    let dead = |rules| {
        let world = shared("b1\nb2\nb3\nb4\nt-0: 1* 3", rules);
        pass(&world, "at 0s kill b4", 20);
        (reassign(&world, Some(&[1, 4])), world)
    };
    let (answer, _) = dead(Rules::zookeeper_3_9());
    expect!["reassigning partitions failed: INVALID_REPLICA_ASSIGNMENT: Replica assignment has brokers that are not alive: 4."].assert_eq(&answer);
    for rules in [Rules::kraft_4_3(), Rules::kraft_3_9()] {
        let (answer, world) = dead(rules);
        assert_eq!(answer, "taken");
        pass(&world, "", 60);
        assert_eq!(show(&world), "t-0: 1* +4~ -3\n");
        assert_eq!(reassign(&world, None), "taken");
        assert_eq!(show(&world), "t-0: 1* 3\n");
    }
}

#[test]
fn refuses_what_kafka_refuses() {
    let world = shared("b1\nb2\nb3\nt-0: 1* 2", Rules::kraft_4_3());
    expect!["reassigning partitions failed: INVALID_REPLICA_ASSIGNMENT: The manual partition assignment includes a broker more than once."].assert_eq(&reassign(&world, Some(&[1, 1])));
    expect!["reassigning partitions failed: INVALID_REPLICA_ASSIGNMENT: The manual partition assignment includes an empty replica list."].assert_eq(&reassign(&world, Some(&[])));
    expect!["reassigning partitions failed: INVALID_REPLICA_ASSIGNMENT: Broker 9 is not registered."]
        .assert_eq(&reassign(&world, Some(&[1, 9])));
    assert_eq!(reassign(&world, None), "taken", "nothing to cancel is what was wanted");
    assert_eq!(show(&world), "t-0: 1* 2\n");
}

#[test]
fn the_leader_is_moved_away_from_a_replica_that_goes() {
    let world = shared("b1\nb2\nb3\nt-0: 1* 2 size=1GiB", Rules::kraft_4_3());
    assert_eq!(reassign(&world, Some(&[3, 2])), "taken");
    assert_eq!(show(&world), "t-0: +3~ 2 -1*\n");
    pass(&world, "", 30);
    assert_eq!(show(&world), "t-0: 3* 2\n");
}

#[test]
fn a_new_order_of_the_same_replicas_is_in_force_at_once() {
    let world = shared("b1\nb2\nt-0: 1* 2", Rules::kraft_4_3());
    assert_eq!(reassign(&world, Some(&[2, 1])), "taken");
    assert_eq!(show(&world), "t-0: 2 1*\n");
    let access = Access::new(&world, Client::Somebody);
    let elected = now(access.elect_preferred(&[TopicPartition::new("t", 0)])).unwrap();
    assert!(elected.values().all(Result::is_ok));
    assert_eq!(show(&world), "t-0: 2* 1\n");
}

#[test]
fn an_override_leaves_out_what_the_first_one_would_have_added() {
    let world = shared("b1\nb2\nb3\nb4\nt-0: 1* 2 size=10GiB", Rules::kraft_4_3());
    assert_eq!(reassign(&world, Some(&[1, 4])), "taken");
    assert_eq!(reassign(&world, Some(&[1, 3])), "taken");
    expect![[r#"
        t-0: 1* +3~ -2 -4~
    "#]]
    .assert_eq(&show(&world));
    let _: &World = &world.lock();
}
