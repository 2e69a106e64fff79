//! Against brute force: what can be placed is placed.

use planner::{Broker, BrokerState, Limits, LogDir, Partition, Problem, Replica, solve};
use proptest::prelude::*;
use proptest::sample::subsequence;

/// Replicas of one size, brokers with room for so many of them. Broker 0 is dead, and 1 may be.
#[derive(Debug, Clone)]
struct Tiny {
    second_dead: bool,
    rooms: Vec<Option<u64>>,
    lists: Vec<Vec<u32>>,
}

impl Tiny {
    fn is_dead(&self, broker: u32) -> bool {
        broker == 0 || (broker == 1 && self.second_dead)
    }

    fn problem(&self) -> Problem {
        let mut builder = Problem::builder(1);
        for (broker, room) in self.rooms.iter().enumerate() {
            let dead = self.is_dead(broker as u32);
            let state = if dead { BrokerState::Dead } else { BrokerState::Alive };
            // Two racks, so that placing has to win against racks.
            let rack = Some(broker as u32 % 2);
            let log_dirs =
                room.map(|room| LogDir { total: 1000, used: 1000 - 10 * room }).into_iter().collect();
            builder.add_broker(&Broker { rack, state, log_dirs, ..Broker::default() }).unwrap();
        }
        for list in &self.lists {
            let replica = |broker: &u32| {
                let dead = self.is_dead(*broker);
                Replica { broker: *broker, in_sync: !dead, replace: dead }
            };
            let replicas = list.iter().map(replica).collect();
            builder.add_partition(&Partition { replicas, size: Some(10), ..Partition::default() }).unwrap();
        }
        builder.build()
    }

    /// The most replicas that any plan can place, by trying all.
    fn most(&self) -> usize {
        let mut slots = Vec::new();
        for (partition, list) in self.lists.iter().enumerate() {
            if list.iter().any(|broker| !self.is_dead(*broker)) {
                slots.extend(list.iter().filter(|broker| self.is_dead(**broker)).map(|_| partition));
            }
        }
        let mut rooms: Vec<_> = self.rooms.iter().map(|room| room.unwrap_or(u64::MAX)).collect();
        let mut lists = self.lists.clone();
        self.try_all(&slots, &mut rooms, &mut lists)
    }

    fn try_all(&self, slots: &[usize], rooms: &mut [u64], lists: &mut [Vec<u32>]) -> usize {
        let Some((partition, rest)) = slots.split_first() else { return 0 };
        let mut best = self.try_all(rest, rooms, lists);
        for broker in (0..rooms.len() as u32).filter(|broker| !self.is_dead(*broker)) {
            let at = broker as usize;
            if rooms[at] > 0 && !lists[*partition].contains(&broker) {
                rooms[at] -= 1;
                lists[*partition].push(broker);
                best = best.max(1 + self.try_all(rest, rooms, lists));
                lists[*partition].pop();
                rooms[at] += 1;
            }
        }
        best
    }
}

fn tiny(rooms: impl Strategy<Value = Option<u64>>) -> impl Strategy<Value = Tiny> {
    (prop::collection::vec(rooms, 3..6), any::<bool>()).prop_flat_map(|(rooms, second_dead)| {
        let brokers: Vec<_> = (0..rooms.len() as u32).collect();
        let list = subsequence(brokers, 2..=3).prop_shuffle();
        prop::collection::vec(list, 1..6).prop_map(move |lists| Tiny {
            second_dead,
            rooms: rooms.clone(),
            lists,
        })
    })
}

fn limits(allow_down_in_target_list: bool) -> Limits {
    Limits { disk_watermark_percent: 100, allow_down_in_target_list, ..Limits::default() }
}

proptest! {
    #[test]
    fn as_many_are_placed_as_any_plan_could_place(tiny in tiny(prop::option::weighted(0.9, 0u64..4))) {
        let plan = solve(&tiny.problem(), &limits(true));
        prop_assert_eq!(plan.moves.len(), tiny.most(), "{:?}", plan);
    }

    #[test]
    fn with_one_dead_broker_all_or_nothing_places_as_many(tiny in tiny(prop::option::weighted(0.9, 0u64..4))) {
        let tiny = Tiny { second_dead: false, ..tiny };
        let plan = solve(&tiny.problem(), &limits(false));
        prop_assert_eq!(plan.moves.len(), tiny.most(), "{:?}", plan);
    }

    #[test]
    fn without_limits_a_partition_with_enough_brokers_is_whole(tiny in tiny(Just(None))) {
        let plan = solve(&tiny.problem(), &limits(false));
        let alive = (0..tiny.rooms.len() as u32).filter(|broker| !tiny.is_dead(*broker)).count();
        for (partition, list) in tiny.lists.iter().enumerate() {
            let dead = list.iter().filter(|broker| tiny.is_dead(**broker)).count();
            let whole = list.len() <= alive && dead < list.len();
            let moved = plan.moves.iter().filter(|step| step.partition as usize == partition).count();
            prop_assert_eq!(moved, if whole { dead } else { 0 });
        }
    }
}
