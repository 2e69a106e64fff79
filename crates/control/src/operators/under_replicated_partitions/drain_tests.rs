use cluster::BrokerId;
use expect_test::{Expect, expect};

use crate::event::names;
use crate::testing::World;

/// A world in which broker 3 is taken out of service.
fn world(text: &str) -> World {
    let mut world = World::new(text);
    world.wishes.decommissioned.insert(BrokerId(3), world.wish(None));
    world
}

fn says(world: &mut World, expected: Expect) {
    expected.assert_eq(&world.watch(1).text());
}

#[test]
fn a_broker_that_is_taken_out_of_service_is_emptied_while_it_lives() {
    let mut world =
        world("b1 rack=r1\nb2 rack=r2\nb3 rack=r3\nb4 rack=r3\nt-0: 3* 1 2\nt-1: 1* 2 4\nsingle-0: 3*");
    says(
        &mut world,
        expect![[r#"
            info decommissioned [broker 3] broker 3 is taken out of service by ann: it gets no replicas, and has 2, of which 1 have no other copy in sync (new disks) -- waits for a person to take it back, if it is to stay
            info draining [broker 3] broker 3 is being emptied: 2 replicas left on it, 0 of them being moved -- waits for its replicas to be in sync elsewhere
            => reassign_partitions [cluster] 2 partitions of broker 3, taken out of service by ann, get new replicas (cause: decommissioned of broker 3)
                 single-0: 3 -> 4 in_sync=1 bytes=?
                   broker 3 is taken out of service: broker 4 in rack r3 takes its place, no other replica shares its rack
                 t-0: 3 1 2 -> 4 1 2 in_sync=3 bytes=?
                   broker 3 is taken out of service: broker 4 in rack r3 takes its place, no other replica shares its rack
        "#]],
    );
    world.becomes("b1 rack=r1\nb2 rack=r2\nb3 rack=r3\nb4 rack=r3\nt-0: 4* 1 2\nt-1: 1* 2 4\nsingle-0: 1*");
    says(
        &mut world,
        expect![[r#"
        info decommissioned [broker 3] broker 3 is taken out of service by ann: it is empty, and may be stopped (new disks) -- waits for a person to take it back, if it is to stay
    "#]],
    );
}

#[test]
fn what_has_nowhere_to_go_stays_and_is_said() {
    let mut world = world("b1\nb2\nb3\nt-0: 3* 1 2\npair-0: 3* 1");
    says(
        &mut world,
        expect![[r#"
            info decommissioned [broker 3] broker 3 is taken out of service by ann: it gets no replicas, and has 2 (new disks) -- waits for a person to take it back, if it is to stay
            info draining [broker 3] broker 3 is being emptied: 2 replicas left on it, 0 of them being moved -- waits for its replicas to be in sync elsewhere
            warning cannot_drain [broker 3] broker 3 cannot be emptied: 1 (t-0): every broker that may take replicas holds one already -- waits for another broker, or room for its replicas on others
            => reassign_partitions [cluster] 1 partition of broker 3, taken out of service by ann, get new replicas (cause: decommissioned of broker 3)
                 pair-0: 3 1 -> 2 1 in_sync=2 bytes=?
                   broker 3 is taken out of service: broker 2 takes its place
        "#]],
    );
}

#[test]
fn what_is_dead_or_absent_is_healed_first() {
    let mut world = world("b1\nb2\nb3\nb4\nb5 dead\nt-0: 3* 1 2\nt-1: 1* 5~ 2");
    let moves = |world: &mut World, seconds: u64| {
        let order = world.watch(seconds).order();
        order.map(|order| order.moves.iter().map(|m| m.partition.to_string()).collect::<Vec<_>>())
    };
    // Broker 5 is absent, and nothing is emptied; dead, and it is healed; the rest follows.
    assert_eq!(moves(&mut world, 200), None);
    assert_eq!(moves(&mut world, 101), Some(vec!["t-1".to_owned()]));
    world.becomes("b1\nb2\nb3\nb4\nb5 dead\nt-0: 3* 1 2\nt-1: 1* 4 2");
    assert_eq!(moves(&mut world, 1), Some(vec!["t-0".to_owned()]));
}

#[test]
fn nothing_is_emptied_that_people_work_on_or_want_to_empty_themselves() {
    let mut world = world("b1\nb2\nb3\nb4\nt-0: 3* 1 2");
    assert!(world.watch(1).order().is_some());
    world.wishes.broker_maintenance.insert(BrokerId(3), world.wish(None));
    assert!(world.watch(1).order().is_none());
    world.wishes.broker_maintenance.clear();
    world.wishes.maintenance = Some(world.wish(None));
    assert!(world.watch(1).order().is_none());
    world.wishes.maintenance = None;
    world.healing.drain_decommissioned = false;
    assert!(world.watch(1).order().is_none());
    world.healing.drain_decommissioned = true;
    let mut moved = self::world("b1\nb2\nb3\nb4\nt-0: 3* 1 -2 +4~");
    assert!(!moved.watch(1).names().contains(&names::REASSIGN_PARTITIONS.to_owned()));
}
