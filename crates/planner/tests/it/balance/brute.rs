//! Tiny clusters, against every placement that there is.

use planner::balance::{Budget, Change, Partition, Plan, Policy, Violation, audit, judge, solve};
use proptest::prelude::*;

use super::clusters::{Sketch, policy, sketch};

/// The first few partitions of a sketch, with at most two replicas.
fn tiny(mut sketch: Sketch) -> Sketch {
    sketch.brokers.truncate(4);
    let brokers = sketch.brokers.len() as u32;
    sketch.partitions.truncate(3);
    for partition in &mut sketch.partitions {
        partition.replicas.retain(|replica| replica.broker < brokers);
        partition.replicas.truncate(2);
        partition.leader = 0;
    }
    sketch.partitions.retain(|partition| !partition.replicas.is_empty());
    sketch
}

/// Everything that may become of a partition.
fn lists(sketch: &Sketch, partition: &Partition) -> Vec<Partition> {
    let mut lists = vec![partition.clone()];
    if partition.frozen {
        return lists;
    }
    let old: Vec<u32> = partition.replicas.iter().map(|replica| replica.broker).collect();
    let set = sketch.sets[partition.topic as usize];
    let brokers = 0..sketch.brokers.len() as u32;
    let may_take = |at: usize, to: u32| {
        let broker = &sketch.brokers[to as usize];
        let takes = broker.alive && broker.takes_replicas && (set.is_none() || broker.set == set);
        to == old[at] || (takes && !old.contains(&to))
    };
    for first in brokers.clone().filter(|to| may_take(0, *to)) {
        for second in brokers.clone().filter(|to| old.len() == 1 || (*to != first && may_take(1, *to))) {
            for leader in 0..old.len() {
                let places = [first, second];
                let (led_by, leads) =
                    (old[partition.leader as usize], &sketch.brokers[places[leader] as usize]);
                if places[leader] == led_by || (leads.alive && leads.takes_leadership) {
                    let mut list = partition.clone();
                    for (replica, place) in list.replicas.iter_mut().zip(places) {
                        replica.broker = place;
                    }
                    list.leader = leader as u32;
                    lists.push(list);
                }
            }
        }
    }
    lists
}

fn moves(before: &Sketch, after: &Sketch) -> u64 {
    let pairs = before.partitions.iter().zip(&after.partitions);
    let moved = |(old, new): (&Partition, &Partition)| {
        old.replicas.iter().zip(&new.replicas).filter(|(from, to)| from.broker != to.broker).count() as u64
    };
    pairs.map(moved).sum()
}

/// Whether a plan may lead from one sketch to another, as the auditor has it: no hard goal worse for anybody.
fn allowed(before: &Sketch, after: &Sketch, policy: &Policy, plan: &Plan) -> bool {
    let brokers = |partition: &Partition| partition.replicas.iter().map(|r| r.broker).collect::<Vec<_>>();
    let pairs = (0..).zip(before.partitions.iter().zip(&after.partitions));
    let changed = pairs.filter(|(_, (old, new))| (brokers(old), old.leader) != (brokers(new), new.leader));
    let changes =
        changed.map(|(partition, (_, new))| Change { partition, replicas: brokers(new), leader: new.leader });
    let plan = Plan { changes: changes.collect(), ..plan.clone() };
    let found = audit(&before.cluster(), policy, &Budget::default(), &plan).err().unwrap_or_default();
    !found.iter().any(|violation| {
        matches!(
            violation,
            Violation::Worse
                | Violation::HardGoalWorse { .. }
                | Violation::BrokerWorse { .. }
                | Violation::PartitionWorse { .. }
        )
    })
}

/// Every placement of a sketch.
fn placements(sketch: &Sketch) -> Vec<Sketch> {
    let mut all = vec![Sketch { partitions: vec![], ..sketch.clone() }];
    for partition in &sketch.partitions {
        let lists = lists(sketch, partition);
        let with = |start: &Sketch, list: &Partition| {
            let mut longer = start.clone();
            longer.partitions.push(list.clone());
            longer
        };
        all = all
            .iter()
            .flat_map(|start| lists.iter().map(|list| with(start, list)).collect::<Vec<_>>())
            .collect();
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_better_than_the_plan_and_nothing_moves_fewer_than_the_bound(sketch in sketch(), policy in policy()) {
        let sketch = tiny(sketch);
        let policy = Policy { margin: 0, ..policy };
        let cluster = sketch.cluster();
        let plan = solve(&cluster, &policy, &Budget::default());
        // Nothing of what is frozen is told apart here that stands on dead brokers, which moves it all the same.
        let alive = |partition: &Partition| partition.replicas.iter().all(|r| sketch.brokers[r.broker as usize].alive);
        prop_assume!(sketch.partitions.iter().all(|partition| !partition.frozen || alive(partition)));
        for other in placements(&sketch) {
            let judged = judge(&other.cluster(), &policy);
            let better = judged < plan.after && allowed(&sketch, &other, &policy, &plan);
            prop_assert!(!better, "{:?} is better", other.partitions);
            if judged.is_clean() {
                let enough = plan.fewest_moves.is_none_or(|fewest| moves(&sketch, &other) >= fewest);
                prop_assert!(enough, "{:?} moves fewer", other.partitions);
            }
        }
    }
}
