//! Maintenance that begins while moves are on their way.

use cluster::BrokerId;
use control::MovePhase;
use control::order::{OrderKind, Scope};

use crate::executions::{FOUR, killed};
use crate::world::{Shell, setup};

fn maintain(shell: &mut Shell, broker: i32) {
    shell.order(OrderKind::MaintenanceOn { scope: Scope::Broker(BrokerId(broker)), until: None });
}

fn phases(shell: &Shell) -> Vec<MovePhase> {
    let executions = shell.memory.executions.iter();
    executions.flat_map(|execution| execution.moves()).map(|m| m.phase.clone()).collect()
}

#[test]
fn a_later_wave_takes_no_replica_from_a_broker_whose_maintenance_has_begun() {
    let mut setup = setup(FOUR);
    setup.limits.batch = 1;
    let mut shell = killed(setup);
    assert!(shell.turn().contains("submitting 1 moves"));
    maintain(&mut shell, 3);
    shell.world.complete();
    shell.quiet(20);
    assert!(shell.world.reassignments.is_empty(), "a replica was taken from a broker under maintenance");
    let held = shell.held();
    assert!(
        held.contains("[maintenance] broker 3, which would lose its replica, is under maintenance"),
        "{held}"
    );
    assert_eq!(phases(&shell).iter().filter(|phase| **phase == MovePhase::Waiting).count(), 1);

    // It is postponed, not given up: the same execution goes on when the maintenance is over.
    shell.order(OrderKind::MaintenanceOff { scope: Scope::Broker(BrokerId(3)) });
    assert!(shell.turn().contains("submitting 1 moves"));
    assert_eq!(shell.memory.executions.len(), 1);
}

#[test]
fn the_moves_of_other_brokers_go_on_while_those_of_one_under_maintenance_are_postponed() {
    let mut setup = setup("brokers: 1 2 3 4 5 6\nt-0: 1 3\nt-1: 2 3\nt-2: 1 4\nt-3: 2 4");
    setup.limits.batch = 1;
    setup.guard.brake_percent = 50;
    let mut shell = setup.start();
    shell.quiet(2);
    shell.world.kill(3);
    shell.world.kill(4);
    assert!(shell.turn().contains("submit t-0"));
    maintain(&mut shell, 3);
    for _ in 0..10 {
        shell.world.complete();
        shell.turn();
    }
    let keeps = |id: i32| -> Vec<String> {
        let topics = shell.world.all().into_iter();
        let mut world = shell.world.clone();
        let kept = topics.filter(|of| world.partition(of).replicas.contains(&BrokerId(id)));
        kept.map(|of| of.to_string()).collect()
    };
    assert_eq!((keeps(3), keeps(4)), (vec!["t-1".to_owned()], vec![]));
}
