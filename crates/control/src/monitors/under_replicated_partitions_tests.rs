use std::sync::Arc;

use cluster::{BrokerId, TopicPartition};
use expect_test::{Expect, expect};

use crate::attributes::UnderReplicatedPartitions;
use crate::event::{Event, PartitionMove, names};
use crate::execution::{Execution, ExecutionId, MovePhase, MoveState, Reassign, Work};
use crate::finding::Target;
use crate::state::State;
use crate::testing::World;
use crate::time::Timestamp;

fn look(text: &str) -> State {
    World::new(text).look().state
}

fn check(text: &str, expected: Expect) {
    let state = look(text);
    let found = state.get::<UnderReplicatedPartitions>().unwrap().value;
    let ids = |ids: &[cluster::BrokerId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let mut lines = vec![format!("{} of {}\n", found.partitions.len(), found.of)];
    lines.extend(found.partitions.iter().map(|(key, what)| {
        let leader = what.leader.map_or("none".to_owned(), |id| id.to_string());
        let moving = if what.being_reassigned { ", being reassigned" } else { "" };
        format!("{key}: out of sync [{}], leader {leader}{moving}\n", ids(&what.out_of_sync))
    }));
    lines.extend(found.only_reassigning.iter().map(|key| format!("{key}: only being reassigned\n")));
    expected.assert_eq(&lines.concat());
}

#[test]
fn finds_nothing_where_all_are_in_sync() {
    check(
        "b1\nb2\nt-0: 1* 2\nt-1: 2* 1",
        expect![[r"
        0 of 2
    "]],
    );
}

#[test]
fn finds_replicas_out_of_sync_and_partitions_without_a_leader() {
    check(
        "
        b1
        b2
        b3
        t-0: 1* 2~ 3
        t-1: 3~ 2* 1~
        u-0: 1 2~
        u-1: 2* 1
        ",
        expect![[r"
            3 of 4
            t-0: out of sync [2], leader 1
            t-1: out of sync [3 1], leader 2
            u-0: out of sync [2], leader none
        "]],
    );
}

#[test]
fn replicas_that_are_just_being_added_are_not_missing() {
    check(
        "
        b1
        b2
        b3
        added-0: 1* 2 +3~
        moved-0: 1* -2 +3~
        healing-0: 1* -2~ +3~
        ",
        expect![[r"
            1 of 3
            healing-0: out of sync [2], leader 1, being reassigned
            added-0: only being reassigned
            moved-0: only being reassigned
        "]],
    );
}

#[test]
fn replicas_that_have_just_been_added_are_not_missing_while_the_metadata_follow() {
    let mut world = World::new("b1\nb2\nb3\nb4 dead\nhealing-0: 1* -4~ +3~");
    world.look();
    // The controller does not list it any more, and the broker that was asked still shows how it was.
    world.becomes("b1\nb2\nb3\nb4 dead\nhealing-0: 1* 4~ 3~");
    let out_of_sync = |world: &mut World| {
        let cycle = world.look();
        let found = cycle.state.get::<UnderReplicatedPartitions>().unwrap().value;
        found.partitions.values().map(|partition| partition.out_of_sync.clone()).collect::<Vec<_>>()
    };
    assert_eq!(out_of_sync(&mut world), [[cluster::BrokerId(4)]]);
    world.skip(5);
    assert_eq!(out_of_sync(&mut world), [[cluster::BrokerId(4), cluster::BrokerId(3)]]);
}

#[test]
fn what_our_own_move_has_just_added_is_not_missing_though_it_was_never_listed() {
    let mut world = World::new("b1\nb2\nb3\nt-0: 1* 2~ 3~");
    let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect::<Vec<_>>();
    let order = PartitionMove {
        partition: TopicPartition::new("t", 0),
        from: ids(&[1, 2]),
        to: ids(&[1, 3]),
        dead: Vec::new(),
        leaving: Vec::new(),
        bytes: None,
        in_sync: 1,
        reason: String::new(),
    };
    let event = Event::new(names::REASSIGN_PARTITIONS, Target::Cluster, "", &());
    let mut out_of_sync = |phase: MovePhase, wait| {
        let m = MoveState { phase, ..MoveState::from(order.clone()) };
        let work = Work::Reassign(Reassign { moves: vec![m], ..Reassign::default() });
        let execution = Execution::new(ExecutionId(1), event.clone(), "move", world.now.wall, work);
        world.executions = vec![Arc::new(execution)];
        world.skip(wait);
        let cycle = world.look();
        let found = cycle.state.get::<UnderReplicatedPartitions>().unwrap().value;
        found.partitions.values().flat_map(|partition| partition.out_of_sync.clone()).collect::<Vec<_>>()
    };
    let at = Timestamp(1_700_000_000_000);
    assert_eq!(out_of_sync(MovePhase::Waiting, 0), ids(&[2, 3]));
    assert_eq!(out_of_sync(MovePhase::Submitting, 0), ids(&[2]));
    assert_eq!(out_of_sync(MovePhase::Done { at }, 4), ids(&[2]));
    assert_eq!(out_of_sync(MovePhase::Done { at }, 1), ids(&[2, 3]), "that is longer than metadata lag");
}

#[test]
fn drk_12_an_offline_partition_with_one_replica_is_found() {
    // The last in-sync replica stays in the in-sync set although its broker is gone.
    check(
        "b1\nb2 dead\nt-0: 2\nt-1: 1*",
        expect![[r"
        1 of 2
        t-0: out of sync [], leader none
    "]],
    );
}

#[test]
fn drk_13_each_partition_is_judged_by_its_own_replicas() {
    check(
        "b1\nb2\nb3\nt-0: 1* 2 3\nt-1: 1*\nt-2: 1* 2~",
        expect![[r"
        1 of 3
        t-2: out of sync [2], leader 1
    "]],
    );
}

#[test]
fn is_as_old_as_the_topics_it_comes_from() {
    let mut world = World::new("b1\nt-0: 1*");
    world.topics_age = std::time::Duration::from_secs(20);
    let cycle = world.look();
    let fact = cycle.state.get::<UnderReplicatedPartitions>().unwrap();
    assert_eq!(world.now.tick.since(fact.as_of), world.topics_age);
}
