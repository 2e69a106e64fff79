//! The audit catches what is wrong, and names it.

use planner::{
    BrokerState, Limits, Move, Plan, Problem, RackOutcome, TargetFigures, Unplaced, Violation, WhyNot, audit,
    solve,
};
use proptest::prelude::*;

use crate::notation::parse;
use crate::random::{Cluster, cluster};

fn violations(problem: &Problem, limits: &Limits, plan: &Plan) -> Vec<Violation> {
    audit(problem, limits, plan).err().unwrap_or_default()
}

/// Solves one cluster and audits the plan against another.
fn solved_then(cluster: &str, audited: &str) -> Vec<Violation> {
    let (solved, audited) = (parse(cluster), parse(audited));
    let plan = solve(&solved.problem, &solved.limits);
    assert_eq!(audit(&solved.problem, &solved.limits, &plan), Ok(()));
    violations(&audited.problem, &audited.limits, &plan)
}

const CLUSTER: &str = "
    broker rack a dead
    broker rack b out 10/100
    broker rack c disk 0/100 in 0/100
    broker rack b
    t-0: 0?! 1* size 50 in 20
";

#[test]
fn what_became_forbidden_is_named() {
    let become_ = |from: &str, to: &str| {
        assert!(CLUSTER.contains(from));
        solved_then(CLUSTER, &CLUSTER.replacen(from, to, 1))
    };
    let limits = |limits: &str| solved_then(CLUSTER, &format!("{CLUSTER}\nlimits {limits}"));
    assert_eq!(limits("watermark 49"), [Violation::OverDisk { broker: 2 }]);
    assert_eq!(
        limits("headroom 81"),
        [Violation::OverNetwork { broker: 1 }, Violation::OverNetwork { broker: 2 }]
    );
    assert_eq!(limits("moves 0"), [Violation::OverBudget]);
    assert_eq!(limits("bytes 49"), [Violation::OverBudget]);
    assert_eq!(become_("in 20", "in 20 frozen"), [Violation::FrozenTouched { partition: 0 }]);
    assert_eq!(become_("1* size", "1*? size"), [Violation::NothingToCopyFrom { partition: 0 }]);
    assert_eq!(become_("a dead", "a"), [Violation::BrokerNotDead { partition: 0, broker: 0 }]);
    for state in ["dead", "absent", "draining", "maintenance", "excluded"] {
        let found = become_("rack c", &format!("rack c {state}"));
        assert_eq!(found, [Violation::BadTarget { partition: 0, broker: 2 }]);
    }
    assert_eq!(become_("0?! 1*", "0?! 2 1*"), [Violation::DuplicateReplica { partition: 0, broker: 2 }]);
    assert_eq!(become_("0?!", "0?"), [Violation::NotWanted { partition: 0, position: 0 }]);
    assert_eq!(become_("1* size", "1*! size"), [Violation::LeftOut { partition: 0, position: 1 }]);
    assert_eq!(
        become_("0?! 1*", "3?! 1*"),
        [Violation::WrongHolder { partition: 0, position: 0, broker: 0 }]
    );
    assert_eq!(
        become_("size 50", "size 51"),
        [
            Violation::WrongBytes { partition: 0, position: 0 },
            Violation::WrongFigures { partition: 0, position: 0 }
        ]
    );
    assert_eq!(become_("rack c", "rack b"), [Violation::WrongRackOutcome { partition: 0, position: 0 }]);
}

#[test]
fn a_list_that_keeps_a_dead_broker_is_named() {
    let cluster = "
        broker dead
        broker dead
        broker
        broker
        limits keep-down
        t-0: 0?! 1?! 2*
    ";
    let found = solved_then(cluster, &cluster.replace("limits keep-down", ""));
    assert_eq!(found, [Violation::ListKeepsDownBroker { partition: 0, broker: 1 }]);
}

#[test]
fn a_rack_conflict_that_could_be_avoided_is_named_whatever_it_claims() {
    let fixture = parse(CLUSTER);
    let mut plan = solve(&fixture.problem, &fixture.limits);
    let figures = |replicas| TargetFigures {
        replicas,
        topic_replicas: replicas,
        arrivals: replicas,
        ..TargetFigures::default()
    };
    for rack in [
        RackOutcome::NoRacks,
        RackOutcome::Kept,
        RackOutcome::NoRackFree { others: 1 },
        RackOutcome::FreeRackFull { others: 1 },
    ] {
        plan.moves[0] = Move { to: 3, rack, before: figures(0), after: figures(1), ..plan.moves[0] };
        let found = violations(&fixture.problem, &fixture.limits, &plan);
        assert_eq!(found, [Violation::WrongRackOutcome { partition: 0, position: 0 }]);
    }
}

#[test]
fn two_replicas_of_a_partition_on_one_target_are_named() {
    let fixture = parse(
        "
        broker dead
        broker dead
        broker
        broker
        broker
        t-0: 0?! 1?! 2*
        ",
    );
    let mut plan = solve(&fixture.problem, &fixture.limits);
    plan.moves[1].to = plan.moves[0].to;
    let found = violations(&fixture.problem, &fixture.limits, &plan);
    assert_eq!(found, [Violation::DuplicateReplica { partition: 0, broker: plan.moves[0].to }]);
}

/// What can go wrong with one move, refusal or the whole, by number.
fn mutate(plan: &mut Plan, kind: usize, pick: usize, number: u32) -> bool {
    let moves = plan.moves.len();
    if kind == 0 && !plan.unplaced.is_empty() {
        plan.unplaced.remove(pick % plan.unplaced.len());
        return true;
    }
    if kind == 1 && !plan.unplaced.is_empty() {
        let refused = plan.unplaced[pick % plan.unplaced.len()];
        plan.unplaced.push(refused);
        return true;
    }
    if kind == 2 && moves > 1 {
        plan.moves.swap(pick % (moves - 1), moves - 1);
        return true;
    }
    if moves == 0 {
        return false;
    }
    let at = pick % moves;
    let step = plan.moves[at];
    match kind {
        3 => drop(plan.moves.remove(at)),
        4 => plan.moves.push(step),
        5 => plan.moves[at].bytes = Some(step.bytes.map_or(0, |bytes| bytes + 1)),
        6 => {
            let others = number as u16 % 4;
            let outcomes = [
                RackOutcome::NoRacks,
                RackOutcome::Kept,
                RackOutcome::NoRackFree { others },
                RackOutcome::FreeRackFull { others },
            ];
            plan.moves[at].rack = outcomes[number as usize / 4 % 4];
            return plan.moves[at].rack != step.rack;
        }
        7 => bump(&mut plan.moves[at].before, number),
        8 => bump(&mut plan.moves[at].after, number),
        9 => plan.moves[at].from = step.from.wrapping_add(number % 9 + 1),
        10 => plan.moves[at].position = step.position.wrapping_add(number as u16 % 4 + 1),
        11 => plan.moves[at].partition = step.partition.wrapping_add(number % 20 + 1),
        _ => refuse(plan, at, number),
    }
    true
}

fn bump(figures: &mut TargetFigures, number: u32) {
    let more = |permille: &mut Option<u32>| *permille = Some(permille.map_or(0, |permille| permille + 1));
    match number % 6 {
        0 => figures.replicas += 1,
        1 => figures.topic_replicas += 1,
        2 => figures.arrivals += 1,
        3 => more(&mut figures.disk_permille),
        4 => more(&mut figures.network_in_permille),
        _ => more(&mut figures.network_out_permille),
    }
}

/// Refuses, with a made-up reason, what was moved.
fn refuse(plan: &mut Plan, at: usize, number: u32) {
    let step = plan.moves.remove(at);
    let small = number / 9 % 4;
    let why = [
        WhyNot::Frozen,
        WhyNot::BrokerNotDead,
        WhyNot::NoLiveInSyncReplica { live: small as u16 },
        WhyNot::TargetListWouldKeepDownBroker { broker: number / 9 % 8 },
        WhyNot::NoEligibleBroker,
        WhyNot::EveryCandidateHoldsReplica,
        WhyNot::NoRoom { over_disk: small, over_network: number / 36 % 3 },
        WhyNot::LeaderNetworkFull { leader: number / 9 % 8 },
        WhyNot::Budget { to: step.to },
    ][number as usize % 9];
    plan.unplaced.push(Unplaced {
        partition: step.partition,
        position: step.position,
        broker: step.from,
        why,
    });
    plan.unplaced.sort_by_key(|refused| (refused.partition, refused.position));
}

fn healable() -> impl Strategy<Value = Cluster> {
    cluster().prop_filter("something moves or is refused", |cluster| {
        !solve(&cluster.problem(), &cluster.limits).moves.is_empty()
    })
}

proptest! {
    #[test]
    fn every_mutation_of_a_plan_is_caught(
        cluster in healable(), kind in 0usize..16, pick in any::<usize>(), number in any::<u32>(),
    ) {
        let problem = cluster.problem();
        let plan = solve(&problem, &cluster.limits);
        let mut mutant = plan.clone();
        if mutate(&mut mutant, kind, pick, number) {
            prop_assert!(audit(&problem, &cluster.limits, &mutant).is_err(), "{:#?}\n{:#?}", plan, mutant);
        }
    }

    #[test]
    fn a_move_to_a_broker_that_may_take_nothing_is_caught(cluster in healable(), pick in any::<usize>()) {
        let problem = cluster.problem();
        let mut plan = solve(&problem, &cluster.limits);
        let unfit: Vec<_> =
            (0..problem.brokers()).filter(|broker| problem.state(*broker) != BrokerState::Alive).collect();
        if unfit.is_empty() {
            return Ok(());
        }
        let at = pick % plan.moves.len();
        plan.moves[at].to = unfit[pick % unfit.len()];
        let (partition, broker) = (plan.moves[at].partition, plan.moves[at].to);
        let expected = Violation::BadTarget { partition, broker };
        prop_assert!(violations(&problem, &cluster.limits, &plan).contains(&expected));
    }

    #[test]
    fn any_plan_is_judged_without_panic(
        cluster in cluster(),
        moves in prop::collection::vec((0u32..20, 0u16..6, 0u32..12, 0u32..12), 0..8),
        refused in prop::collection::vec((0u32..20, 0u16..6, 0u32..12, 0u32..12), 0..8),
    ) {
        let plan = Plan {
            moves: moves.into_iter().map(|(partition, position, from, to)| Move {
                partition, position, from, to, bytes: None, rack: RackOutcome::Kept,
                before: TargetFigures::default(), after: TargetFigures::default(),
            }).collect(),
            unplaced: refused.into_iter().map(|(partition, position, broker, other)| Unplaced {
                partition, position, broker,
                why: if other < 6 { WhyNot::Budget { to: other } }
                     else { WhyNot::TargetListWouldKeepDownBroker { broker: other } },
            }).collect(),
        };
        let problem = cluster.problem();
        let _ = audit(&problem, &cluster.limits, &plan);
        let _ = plan.assignments(&problem);
        let _ = plan.applied_to(&problem);
    }
}
