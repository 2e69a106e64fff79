//! What changes make room for that serve no goal by themselves.

use planner::balance::{Budget, Change, Policy, Purpose, Reason, Room, Violation, audit, solve};
use proptest::prelude::*;

use super::built::{broker, builder, partition};
use super::clusters::{policy, sketch};

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_makes_room_meets_what_it_makes_room_for(sketch in sketch(), policy in policy()) {
        let cluster = sketch.cluster();
        let plan = solve(&cluster, &policy, &Budget::default());
        prop_assert_eq!(plan.rooms.len(), plan.changes.len());
        for (at, room) in plan.rooms.iter().enumerate() {
            let Some(room) = room else { continue };
            prop_assert_eq!(plan.reasons[at].purpose, Purpose::Room);
            prop_assert!(plan.reasons[room.change].purpose != Purpose::Room);
            let holds = |at: usize| {
                let change = &plan.changes[at];
                let before = cluster.replicas(change.partition);
                let led = before[cluster.leader(change.partition) as usize];
                let leads = change.replicas[change.leader as usize];
                let of = |list: &[u32], leader: u32| i32::from(list.contains(&room.broker)) + i32::from(leader == room.broker);
                (of(before, led), of(&change.replicas, leads))
            };
            let ((was, is), (other_was, other_is)) = (holds(at), holds(room.change));
            if room.comes {
                prop_assert!(is < was && other_is > other_was, "{:?}", room);
            } else {
                prop_assert!(is > was && other_is < other_was, "{:?}", room);
            }
        }
    }
}

#[test]
fn a_replica_that_only_makes_way_says_for_whom() {
    let brokers = (0..3).map(|rack| broker(rack, [100; 4]));
    let lists = [1, 0].map(|held| partition(0, &[held], [1; 4]));
    let cluster = builder(1, brokers, lists).build();
    let moved = |partition: u32, to: u32| Change { partition, replicas: vec![to], leader: 0 };
    let reason = |purpose| Reason { purpose, gain: 0 };
    let audited = |changes: [Change; 2], room: Option<Room>| {
        let mut plan = solve(&cluster, &Policy::default(), &Budget { moves: Some(0), disk: None });
        plan.changes = changes.to_vec();
        plan.reasons = vec![reason(Purpose::Room), reason(Purpose::Offline)];
        plan.rooms = vec![room, None];
        let found = audit(&cluster, &Policy::default(), &Budget::default(), &plan).unwrap_err();
        !found.contains(&Violation::RoomUntrue { partition: 0 })
    };
    // The first change has no purpose of its own; it leaves broker 1, to which the second comes.
    let makes_way = || [moved(0, 2), moved(1, 1)];
    // It comes to broker 0, which the second leaves.
    let follows = || [moved(0, 0), moved(1, 2)];
    let room = |broker: u32, comes: bool| Some(Room { broker, change: 1, comes });
    assert!(audited(makes_way(), room(1, true)) && audited(follows(), room(0, false)));
    for untrue in [None, room(0, false), room(1, false), room(2, true)] {
        assert!(!audited(makes_way(), untrue), "{untrue:?}");
    }
    assert!(!audited(follows(), room(1, true)) && !audited(follows(), None));
    let itself = Some(Room { broker: 1, change: 0, comes: true });
    assert!(!audited(makes_way(), itself));
}
