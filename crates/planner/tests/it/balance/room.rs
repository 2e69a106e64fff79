//! What changes make room for that serve no goal by themselves.

use planner::balance::{
    Broker, Budget, Change, Cluster, Mark, Partition, Policy, Purpose, Reason, Replica, Room, rooms, solve,
};
use proptest::prelude::*;

use super::clusters::{policy, sketch};

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_makes_room_meets_what_it_makes_room_for(sketch in sketch(), policy in policy()) {
        let cluster = sketch.cluster();
        let plan = solve(&cluster, &policy, &Budget::default());
        let rooms = rooms(&cluster, &plan);
        prop_assert_eq!(rooms.len(), plan.changes.len());
        for (at, room) in rooms.iter().enumerate() {
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
    // The first change has no purpose of its own; it leaves broker 1, to which the second comes.
    let broker = |rack| Broker {
        rack,
        set: None,
        capacity: [100; 4],
        alive: true,
        takes_replicas: true,
        takes_leadership: true,
        mark: Mark::None,
    };
    let mut builder = Cluster::builder(1);
    (0..3).for_each(|rack| assert_eq!(builder.add_broker(&broker(rack)), Ok(rack)));
    for held in [1, 0] {
        let replicas = vec![Replica { broker: held, load: [1; 4] }];
        let partition =
            Partition { topic: 0, replicas, leader: 0, leader_cpu: 0, leader_network_out: 0, frozen: false };
        builder.add_partition(&partition).unwrap();
    }
    let cluster = builder.build();
    let moved = |partition: u32, to: u32| Change { partition, replicas: vec![to], leader: 0 };
    let mut plan = solve(&cluster, &Policy::default(), &Budget { moves: Some(0), disk: None });
    plan.changes = vec![moved(0, 2), moved(1, 1)];
    let reason = |purpose| Reason { purpose, gain: 0 };
    plan.reasons = vec![reason(Purpose::Room), reason(Purpose::Offline)];
    assert_eq!(rooms(&cluster, &plan), [Some(Room { broker: 1, change: 1, comes: true }), None]);
    plan.changes = vec![moved(0, 0), moved(1, 2)];
    assert_eq!(rooms(&cluster, &plan), [Some(Room { broker: 0, change: 1, comes: false }), None]);
}
