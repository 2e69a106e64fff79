//! Reassignments of other people.

use cluster::{BrokerId, TopicPartition};
use control::order::OrderKind;

use crate::executions::{FOUR, copying, phases};
use crate::world::setup;

#[test]
fn never_touches_a_foreign_reassignment() {
    let mut shell = setup(FOUR).start();
    shell.quiet(2);
    let foreign = TopicPartition::new("t", 0);
    shell.world.reassign(&foreign, &[BrokerId(1), BrokerId(2), BrokerId(4)]);
    let before = shell.world.reassignments[&foreign].clone();
    shell.world.kill(3);
    let text = shell.turn();
    assert!(text.contains("submit t-1"), "{text}");
    assert!(!text.contains("t-0"), "{text}");
    shell.order(OrderKind::Cancel { execution: None });
    shell.quiet(10);
    assert_eq!(shell.world.reassignments.into_values().collect::<Vec<_>>(), [before]);
}

#[test]
fn gives_way_when_someone_takes_a_move_over() {
    let mut shell = copying(setup(FOUR));
    let partition = TopicPartition::new("t", 0);
    shell.world.reassignments.remove(&partition);
    shell.world.reassign(&partition, &[BrokerId(2), BrokerId(1)]);
    shell.turn();
    let taken = shell.world.reassignments[&partition].clone();
    assert_eq!(phases(&shell).dropped, 1);
    shell.order(OrderKind::Cancel { execution: None });
    shell.quiet(10);
    assert_eq!(shell.world.reassignments.get(&partition), Some(&taken));
}
