//! Moves that a dead broker keeps from their end, on versions of Kafka that wait for every replica of the new list.

use std::collections::BTreeSet;

use cluster::TopicPartition;
use control::order::OrderKind;
use control::{DeadBrokers, Liveness, MoveState, State};
use expect_test::expect;

use crate::executions::{FOUR, check, copying, killed};
use crate::plugins::Healer;
use crate::world::{Shell, setup};

impl Healer {
    /// Moves in whose place as many free brokers are there as replicas are dead.
    pub(crate) fn may_give_up(
        &self,
        state: &State,
        live: &Liveness,
        dead: &DeadBrokers,
    ) -> BTreeSet<TopicPartition> {
        let moves = state.executions().iter().flat_map(|execution| execution.moves());
        let replaceable = |m: &&MoveState| {
            let from = &m.order.from;
            let gone = from.iter().filter(|id| dead.dead.contains_key(id)).count();
            live.live.keys().filter(|id| !from.contains(id)).count() >= gone
        };
        moves.filter(replaceable).map(|m| m.order.partition.clone()).collect()
    }
}

/// Twenty brokers, so that a second death is not held by the brake, and one partition with these replicas, of which that
/// on broker 3 is being replaced by one on broker 4.
fn moving(replicas: &str) -> Shell {
    let brokers: Vec<String> = (1..=20).map(|id| id.to_string()).collect();
    let mut setup = setup(&format!("brokers: {}\nt-0: {replicas}", brokers.join(" ")));
    setup.guard.brake_percent = 20;
    copying(setup)
}

fn is_in_sync(shell: &mut Shell, id: i32) {
    let partition = shell.world.partition(&TopicPartition::new("t", 0));
    partition.isr = partition.isr.iter().copied().chain([cluster::BrokerId(id)]).collect();
}

#[test]
fn a_move_that_would_wait_for_a_dead_broker_is_cancelled() {
    let mut shell = moving("1 2 3 5");
    shell.world.kill(2);
    check(
        shell.turn(),
        expect![[r#"
            act reassign reassign_partitions cluster: cancelling 1 moves
            ACT 1.2 reassign cancel t-0: 1 2 3 5 -> 1 2 4 5
        "#]],
    );
    assert!(shell.world.reassignments.is_empty());
}

#[test]
fn a_cancel_that_reaches_nobody_is_tried_until_it_does() {
    let mut shell = moving("1 2 3 5");
    shell.world.kill(2);
    for _ in 0..600 {
        let _ = shell.step();
        shell.act_with(|_, step| {
            assert!(matches!(step, control::event::ReassignStep::Cancel { .. }), "{step:?}");
            let message = "cannot reach any broker: none answers".to_owned();
            Err(control::ActError { message, maybe_applied: false, retry: true })
        });
    }
    assert_eq!(shell.world.reassignments.len(), 1);
    let mut turns = 0;
    while shell.world.reassignments.values().any(|listed| listed.target().contains(&cluster::BrokerId(4))) {
        shell.turn();
        turns += 1;
        assert!(turns < 200, "it was given up while nobody could be reached");
    }
}

/// As [`moving`], with so many brokers and no brake.
fn moving_on(brokers: i32, replicas: &str) -> Shell {
    let ids: Vec<String> = (1..=brokers).map(|id| id.to_string()).collect();
    let mut setup = setup(&format!("brokers: {}\nt-0: {replicas}", ids.join(" ")));
    setup.guard.brake_percent = 100;
    copying(setup)
}

#[test]
fn the_only_copy_under_way_is_not_given_up_for_nothing() {
    let mut shell = moving_on(4, "1 2 3");
    shell.world.kill(2);
    for _ in 0..100 {
        assert!(!shell.turn().contains("ACT"), "no broker is left to take the place of broker 2");
    }
    assert_eq!(shell.world.reassignments.len(), 1);
    // A person may give it up all the same.
    shell.order(OrderKind::Cancel { execution: None });
    assert!(shell.turn().contains("cancel t-0: 1 2 3 -> 1 2 4"));
}

#[test]
fn a_copy_under_way_is_given_up_once_more_can_be_had_in_its_place() {
    let mut shell = moving_on(5, "1 2 3");
    shell.world.drop_broker(5);
    shell.world.kill(2);
    for _ in 0..10 {
        assert!(!shell.turn().contains("ACT"));
    }
    shell.world.come_back(5);
    assert!(shell.turn().contains("cancel t-0: 1 2 3 -> 1 2 4"));
    shell.quiet(8);
    let target = shell.world.reassignments[&TopicPartition::new("t", 0)].target();
    assert_eq!(target, [1, 4, 5].map(cluster::BrokerId));
}

#[test]
fn a_copy_under_way_is_not_given_up_while_nothing_may_be_started_in_its_place() {
    let mut shell = moving_on(5, "1 2 3");
    shell.world.kill(2);
    shell.order(OrderKind::Pause);
    for _ in 0..100 {
        assert!(!shell.turn().contains("ACT"));
    }
    let held = shell.held.iter().find(|held| held.by == "reassign");
    assert_eq!(held.map(|held| held.reason.as_str()), Some("paused by ann: why not"));
    shell.order(OrderKind::Resume);
    assert!(shell.turn().contains("cancel t-0: 1 2 3 -> 1 2 4"));
}

#[test]
fn a_copy_beside_one_to_a_dead_broker_goes_on_where_nothing_can_take_its_place() {
    for (brokers, is_given_up) in [(5, false), (6, true)] {
        let ids: Vec<String> = (1..=brokers).map(|id| id.to_string()).collect();
        let mut setup = setup(&format!("brokers: {}\nt-0: 1 2 3", ids.join(" ")));
        setup.guard.brake_percent = 100;
        let mut shell = setup.start();
        shell.quiet(2);
        shell.world.kill(2);
        shell.world.kill(3);
        shell.quiet(2);
        let target = shell.world.reassignments[&TopicPartition::new("t", 0)].target();
        assert_eq!(target, [1, 4, 5].map(cluster::BrokerId));
        shell.world.kill(5);
        assert_eq!(shell.turn().contains("cancel t-0: 1 2 3 -> 1 4 5"), is_given_up, "{brokers} brokers");
    }
}

#[test]
fn a_new_replica_that_is_one_of_the_last_two_in_sync_is_not_cancelled() {
    let mut shell = moving("1 2 3");
    is_in_sync(&mut shell, 4);
    shell.world.kill(2);
    for _ in 0..100 {
        assert!(!shell.turn().contains("ACT"));
    }
    assert_eq!(shell.world.reassignments.len(), 1);
}

#[test]
fn a_new_replica_in_sync_is_cancelled_where_most_stay_in_sync_without_it() {
    let mut shell = moving("1 2 3 5 6");
    is_in_sync(&mut shell, 4);
    shell.world.kill(2);
    let text = shell.turn();
    assert!(text.contains("cancel t-0: 1 2 3 5 6 -> 1 2 4 5 6"), "{text}");
}

#[test]
fn a_move_that_waits_is_given_up_when_no_in_sync_replica_lives() {
    let mut setup = setup(FOUR);
    setup.limits.batch = 1;
    let mut shell = killed(setup);
    shell.turn();
    let waits = shell.world.partition(&TopicPartition::new("t", 1));
    (waits.leader, waits.isr) = (None, Box::default());
    shell.world.complete();
    let mut text = String::new();
    for _ in 0..20 {
        text += &shell.turn();
    }
    assert!(text.contains("1 given up (t-1: no in-sync replica lives to copy from)"), "{text}");
    assert!(!shell.world.reassignments.contains_key(&TopicPartition::new("t", 1)));
}

#[test]
fn a_move_that_has_copied_and_waits_takes_no_room_from_others() {
    let mut setup = setup(FOUR);
    setup.limits.bytes_per_broker = 1_000;
    let mut shell = killed(setup);
    assert!(shell.turn().contains("submitting 1 moves"));
    for _ in 0..20 {
        assert!(!shell.turn().contains("ACT"), "broker 4 is busy with the first move");
    }
    is_in_sync(&mut shell, 4);
    assert!(shell.turn().contains("submitting 1 moves"));
    assert_eq!(shell.world.reassignments.len(), 2);
}

#[test]
fn a_move_that_nothing_leads_takes_no_room_from_others() {
    let mut setup = setup(FOUR);
    setup.limits.bytes_per_broker = 1_000;
    let mut shell = killed(setup);
    assert!(shell.turn().contains("submitting 1 moves"));
    assert!(!shell.turn().contains("ACT"), "broker 4 is busy with the first move");
    // There is nothing to copy from.
    shell.world.partition(&TopicPartition::new("t", 0)).leader = None;
    assert!(shell.turn().contains("submitting 1 moves"));
}
