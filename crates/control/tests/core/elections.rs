//! Elections that follow from moves, and answers that are lost.

use cluster::{BrokerId, TopicPartition};
use control::ActionKind;
use control::event::names;
use control::order::OrderKind;
use expect_test::expect;

use crate::executions::{check, copying, killed, phases};
use crate::world::setup;

#[test]
fn elects_the_replacement_of_a_first_replica() {
    let mut setup = setup(
        "
        brokers: 1 2 3 4
        t-0: 3 1 2
    ",
    );
    setup.actions.push(crate::world::slot("elect", names::ELECT_LEADERS, ActionKind::Once));
    let mut shell = copying(setup);
    shell.world.complete();
    shell.world.partition(&TopicPartition::new("t", 0)).leader = Some(BrokerId(1));
    check(
        shell.turn(),
        expect![[r#"
        outcome reassign reassign_partitions cluster: 1 of 1 partitions moved in 2.0 s
        decision reassign elect_leaders cluster: admitted, for elect
        act elect elect_leaders cluster: started
        ACT 2.1 elect elect_leaders cluster
    "#]],
    );
}

#[test]
fn an_election_that_is_held_waits_and_is_not_lost() {
    let mut setup = setup("brokers: 1 2 3 4\n t-0: 3 1 2");
    setup.actions.push(crate::world::slot("elect", names::ELECT_LEADERS, ActionKind::Once));
    let mut shell = copying(setup);
    shell.order(OrderKind::Pause);
    shell.world.complete();
    shell.world.partition(&TopicPartition::new("t", 0)).leader = Some(BrokerId(1));
    for _ in 0..30 {
        assert!(!shell.turn().contains("ACT 2.1"), "it is paused");
    }
    check(
        shell.held(),
        expect![[r#"
        elect_leaders [paused] paused by ann: why not
    "#]],
    );
    shell.crash();
    shell.order(OrderKind::Resume);
    assert!(shell.turn().contains("ACT 2.1 elect elect_leaders cluster"));
}

#[test]
fn an_answer_that_was_lost_is_looked_up_as_after_a_restart() {
    let mut setup = setup("brokers: 1 2 3 4\n t-0: 3 1 2");
    setup.actions.push(crate::world::slot("elect", names::ELECT_LEADERS, ActionKind::Once));
    let mut shell = killed(setup);
    assert!(shell.turn().contains("ACT 1.1 reassign submit"));
    let lost = std::mem::take(&mut shell.outcomes);
    shell.memory.lose_answers(&lost);
    shell.turn();
    assert_eq!(phases(&shell).copying, 1);
    shell.world.complete();
    shell.world.partition(&TopicPartition::new("t", 0)).leader = Some(BrokerId(1));
    assert!(shell.turn().contains("ACT 2.1 elect"));
    let lost = std::mem::take(&mut shell.outcomes);
    shell.memory.lose_answers(&lost);
    assert!(shell.turn().contains("ACT 2.2 elect"), "it may be done twice");
}
