use std::collections::BTreeSet;

use planner::{BrokerState, Limits, Plan, WhyNot, audit, solve};
use proptest::prelude::*;

use crate::random::cluster;

fn unbounded(limits: Limits) -> Limits {
    Limits { max_moves: None, max_bytes: None, ..limits }
}

fn placements(plan: &Plan) -> BTreeSet<(u32, u16, u32)> {
    plan.moves.iter().map(|step| (step.partition, step.position, step.to)).collect()
}

proptest! {
    #[test]
    fn every_plan_passes_the_audit(cluster in cluster()) {
        let problem = cluster.problem();
        let plan = solve(&problem, &cluster.limits);
        prop_assert_eq!(audit(&problem, &cluster.limits, &plan), Ok(()), "{:#?}", plan);
    }

    #[test]
    fn equal_problems_get_equal_plans(cluster in cluster()) {
        prop_assert_eq!(
            solve(&cluster.problem(), &cluster.limits),
            solve(&cluster.problem(), &cluster.limits)
        );
    }

    #[test]
    fn a_plan_that_is_done_leaves_nothing_to_move(cluster in cluster()) {
        let (problem, limits) = (cluster.problem(), unbounded(cluster.limits));
        let plan = solve(&problem, &limits);
        // A new leader feeds followers that the old one could not, and a broker that gave a replica away though it
        // may take some can take another: those are other problems.
        let another = plan.moves.iter().any(|step| {
            problem.leader(step.partition) == Some(step.from) || problem.state(step.from) == BrokerState::Alive
        });
        if another {
            return Ok(());
        }
        let applied = plan.applied_to(&problem);
        let again = solve(&applied, &limits);
        prop_assert_eq!(&again.moves, &vec![]);
        prop_assert_eq!(again.unplaced.len(), plan.unplaced.len());
        prop_assert_eq!(audit(&applied, &limits, &again), Ok(()));
    }

    #[test]
    fn a_budget_takes_a_part_of_the_unbounded_plan_and_changes_nothing_else(cluster in cluster()) {
        let problem = cluster.problem();
        let whole = solve(&problem, &unbounded(cluster.limits));
        let part = solve(&problem, &cluster.limits);
        let held = part.unplaced.iter().filter_map(|refused| match refused.why {
            WhyNot::Budget { to } => Some((refused.partition, refused.position, to)),
            _ => None,
        });
        let mut all = placements(&part);
        all.extend(held);
        prop_assert_eq!(all, placements(&whole));
        let partitions = |plan: &Plan| plan.moves.iter().map(|step| step.partition).collect::<Vec<_>>();
        let (whole, part) = (partitions(&whole), partitions(&part));
        let mut rest = whole.iter();
        prop_assert!(part.iter().all(|partition| rest.any(|other| other == partition)), "order kept");
    }

    #[test]
    fn whatever_is_not_to_be_replaced_stays(cluster in cluster()) {
        let problem = cluster.problem();
        let plan = solve(&problem, &cluster.limits);
        let applied = plan.applied_to(&problem);
        for partition in 0..problem.partitions() {
            let (before, after) = (problem.replicas(partition), applied.replicas(partition));
            prop_assert_eq!(before.len(), after.len());
            prop_assert_eq!(after.iter().collect::<BTreeSet<_>>().len(), after.len(), "no broker twice");
            for at in 0..before.len() {
                let wanted = problem.to_replace(partition, at) && !problem.frozen(partition);
                prop_assert!(wanted || before[at] == after[at]);
                prop_assert!(before[at] == after[at] || problem.state(after[at]) == BrokerState::Alive);
            }
        }
    }

    #[test]
    fn assignments_are_the_lists_after_the_plan(cluster in cluster()) {
        let problem = cluster.problem();
        let plan = solve(&problem, &cluster.limits);
        let applied = plan.applied_to(&problem);
        let assignments = plan.assignments(&problem);
        let named: BTreeSet<_> = assignments.iter().map(|assignment| assignment.partition).collect();
        prop_assert_eq!(named.len(), assignments.len(), "one list a partition");
        for assignment in assignments {
            prop_assert_eq!(&assignment.replicas, applied.replicas(assignment.partition));
        }
        for partition in (0..problem.partitions()).filter(|partition| !named.contains(partition)) {
            prop_assert_eq!(problem.replicas(partition), applied.replicas(partition));
        }
    }

    #[test]
    fn without_figures_only_the_number_of_brokers_limits(cluster in cluster()) {
        let mut cluster = cluster;
        for broker in &mut cluster.brokers {
            (broker.log_dirs, broker.network_in, broker.network_out) = (vec![], None, None);
        }
        let limits = unbounded(cluster.limits);
        let problem = cluster.problem();
        for refused in solve(&problem, &limits).unplaced {
            let limited = matches!(refused.why, WhyNot::NoRoom { .. } | WhyNot::LeaderNetworkFull { .. });
            prop_assert!(!limited, "{:?}", refused);
        }
    }
}
