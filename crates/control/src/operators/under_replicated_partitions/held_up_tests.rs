use expect_test::{Expect, expect};

use super::*;
use crate::attributes::{BrokerDisks, DirUse};
use crate::event::PartitionMove;
use crate::execution::{Execution, ExecutionId, Reassign, Work};
use crate::testing::{Cycle, World};

/// Kafka 3.x, and a move of `t-0` from 1, 2, 3 that copies: its brokers 2 and 3 are dead.
fn world(brokers: &str, partition: &str, to: [i32; 3]) -> World {
    let mut world = World::new(&format!("b1\nb2 dead\nb3 dead\n{brokers}\nt-0: {partition} size=100"));
    world.capabilities.completes_with_dead_targets = false;
    let order = PartitionMove {
        partition: TopicPartition::new("t", 0),
        from: [1, 2, 3].map(BrokerId).to_vec(),
        to: to.map(BrokerId).to_vec(),
        dead: vec![BrokerId(3)],
        leaving: Vec::new(),
        bytes: Some(100),
        in_sync: 2,
        reason: String::new(),
    };
    let mut step = MoveState::from(order);
    step.phase = MovePhase::Copying { since: world.now.wall };
    let work = Work::Reassign(Reassign { moves: vec![step], ..Reassign::default() });
    let event = Event::new(names::REASSIGN_PARTITIONS, Target::Cluster, "", &());
    let execution = Execution::new(ExecutionId(1), event, "move", world.now.wall, work);
    world.executions = vec![std::sync::Arc::new(execution)];
    world
}

/// One broker's only log dir, of 1,000 bytes, so many of which are free.
fn disk_of(id: BrokerId, usable_bytes: u64) -> Disks {
    let path = "/data".into();
    let usable_bytes = Some(usable_bytes);
    let dir = DirUse { path, total_bytes: Some(1000), usable_bytes, replicas: 1, error: None };
    let disks = [(id, BrokerDisks { dirs: vec![dir] })];
    Disks { brokers: disks.into(), ..Disks::default() }
}

/// What is said of the move after the grace, and whether it may be given up.
fn check(mut world: World, expected: Expect) {
    let cycle = world.watch(301);
    expected.assert_eq(&text(&cycle));
}

fn text(cycle: &Cycle) -> String {
    let found = cycle.findings.iter().filter(|finding| finding.kind == kinds::MOVES_HELD_UP);
    let found = found.map(|f| format!("{} -- waits for {}\n", f.message, f.waits_for.clone().unwrap()));
    let may = cycle.may_give_up.iter().map(|partition| format!("{partition} may be given up\n"));
    found.chain(may).collect()
}

#[test]
fn goes_on_where_no_broker_can_take_the_place_of_the_dead() {
    check(
        world("b4", "1* 2~ -3~ +4~", [1, 2, 4]),
        expect![[r#"
        1 move of ours cannot end while a broker is dead, but must not be given up: 1 (t-0): nothing can be planned in its place, as this Kafka version would wait for ever for the replica on broker 3, which is down -- waits for broker 2 to return, or room on others
    "#]],
    );
}

#[test]
fn may_be_given_up_where_another_plan_brings_more() {
    check(
        world("b4\nb5", "1* 2~ -3~ +4~", [1, 2, 4]),
        expect![[r#"
        t-0 may be given up
    "#]],
    );
}

#[test]
fn goes_on_where_the_disks_of_the_others_are_full() {
    let mut world = world("b4\nb5", "1* 2~ -3~ +4~", [1, 2, 4]);
    world.disks = Some(disk_of(BrokerId(5), 100));
    check(
        world,
        expect![[r#"
            1 move of ours cannot end while a broker is dead, but must not be given up: 1 (t-0): nothing can be planned in its place, as no candidate has room on its disks or in its network -- waits for broker 2 to return, or room on others
        "#]],
    );
}

#[test]
fn the_room_that_the_move_takes_is_free_for_what_takes_its_place() {
    let mut world = world("b4\nb5", "1* 2~ -3~ +4~", [1, 2, 4]);
    // At most 85 % may be used: there is room for this partition once.
    world.disks = Some(disk_of(BrokerId(4), 250));
    check(
        world,
        expect![[r#"
        t-0 may be given up
    "#]],
    );
}

#[test]
fn what_is_planned_for_others_at_the_same_time_takes_its_room() {
    let mut world = world("b4\nb5", "1* 2~ -3~ +4~", [1, 2, 4]);
    world.text =
        "b1\nb2 dead\nb3 dead\nb4\nb5\nt-0: 1* 2~ -3~ +4~ size=100\nother-0: 4* 3~ size=100".parse().unwrap();
    world.disks = Some(disk_of(BrokerId(5), 250));
    world.to_be_replaced = Some(crate::attributes::ToBeReplaced([(BrokerId(1), String::new())].into()));
    check(
        world,
        expect![[r#"
            1 move of ours cannot end while a broker is dead, but must not be given up: 1 (t-0): nothing can be planned in its place, as no candidate has room on its disks or in its network -- waits for broker 2 to return, or room on others
        "#]],
    );
}

#[test]
fn goes_on_where_too_few_are_in_sync_without_it() {
    check(
        world("b4\nb5", "1* 2~ -3~ +4", [1, 2, 4]),
        expect![[r#"
        1 move of ours cannot end while a broker is dead, but must not be given up: 1 (t-0): too few are in sync without the new replica -- waits for broker 2 to return
    "#]],
    );
}

#[test]
fn nothing_is_said_where_kafka_does_not_wait_for_the_dead() {
    let mut world = world("b4", "1* 2~ -3~ +4~", [1, 2, 4]);
    world.capabilities.completes_with_dead_targets = true;
    check(world, expect![[r#""#]]);
}

#[test]
fn a_copy_beside_one_to_a_dead_broker_may_be_given_up_for_as_many() {
    let mut world = world("b4\nb5 dead", "1* -2~ -3~ +4~ +5~", [1, 4, 5]);
    check_both(
        &mut world,
        expect![[r#"
            1 move of ours cannot end while a broker is dead, but must not be given up: 1 (t-0): nothing can be planned in its place, as this Kafka version would wait for ever for the replica on broker 3, which is down -- waits for broker 5 to return, or room on others
            on 4.x: t-0 may be given up
        "#]],
    );
}

/// The same on Kafka 3.x, and on 4.x.
fn check_both(world: &mut World, expected: Expect) {
    let mut all = text(&world.watch(301));
    world.capabilities.completes_with_dead_targets = true;
    all += "on 4.x: ";
    all += &text(&world.watch(1));
    expected.assert_eq(&all);
}
