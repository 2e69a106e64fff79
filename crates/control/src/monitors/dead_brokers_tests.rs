use std::collections::BTreeSet;

use expect_test::{Expect, expect};

use super::*;
use crate::testing::{Cycle, World};

const THREE: &str = "b1\nb2\nb3\nt-0: 1* 2 3";
const THIRD_DROPPED: &str = "b1\nb2\nb3 dead\nt-0: 1* 2 3~";

/// What the monitor finds; what other plugins say is left out.
fn check(cycle: &Cycle, expected: Expect) {
    let text = cycle.text();
    let of_others =
        ["under_replicated", "=>", "     ", "healing_", "cannot_heal", "maintenance ", "partitions_"];
    let kinds = |line: &&str| {
        let kind = line.split_once(' ').map_or(*line, |(_, kind)| kind);
        !of_others.iter().any(|other| line.starts_with(other) || kind.starts_with(other))
    };
    let lines: Vec<String> = text.lines().filter(kinds).map(|line| format!("{line}\n")).collect();
    expected.assert_eq(&lines.concat());
}

/// A world of three brokers, the third of which is dropped and does not answer.
fn third_dropped() -> World {
    let mut world = World::new(THREE);
    let _ = world.watch(3);
    world.becomes(THIRD_DROPPED);
    world
}

#[test]
fn a_broker_is_dead_after_the_whole_grace_and_not_before() {
    let mut world = third_dropped();
    check(
        &world.watch(0),
        expect![[r"
            warning broker_absent [broker 3] Kafka has dropped broker 3, and it does not answer at b3:9092 (connection refused) -- waits for 5m of the grace of 5m
        "]],
    );
    check(
        &world.watch(299),
        expect![[r"
            warning broker_absent [broker 3] Kafka has dropped broker 3, and it does not answer at b3:9092 (connection refused) -- waits for 1s of the grace of 5m
        "]],
    );
    check(
        &world.watch(1),
        expect![[r"
            warning broker_absent [broker 3] Kafka has dropped broker 3, and it does not answer at b3:9092 (connection refused)
            warning broker_dead [broker 3] broker 3 is dead: Kafka has dropped it, and it does not answer at b3:9092 (connection refused), for the whole grace of 5m
        "]],
    );
}

/// A world in which the third broker stops answering us, and is dropped by Kafka after so many seconds.
fn dropped_after(seconds: u64) -> World {
    let mut world = World::new(THREE);
    let _ = world.watch(3);
    world.odd_probes.insert(BrokerId(3));
    let _ = world.watch(seconds);
    world.odd_probes.clear();
    world.becomes(THIRD_DROPPED);
    world
}

#[test]
fn the_grace_counts_from_the_first_failing_probe_if_that_saw_the_same_death() {
    let mut world = dropped_after(9);
    assert_eq!(world.watch(289).dead(), Some(vec![]));
    assert_eq!(world.watch(3).dead(), Some(vec![3]));
}

#[test]
fn a_broker_that_only_we_cannot_reach_gets_the_whole_grace_when_it_restarts() {
    let mut world = dropped_after(400);
    assert_eq!(world.watch(299).dead(), Some(vec![]));
    assert_eq!(world.watch(2).dead(), Some(vec![3]));
}

#[test]
fn a_failing_probe_alone_makes_no_broker_dead() {
    let mut world = World::new(THREE);
    world.odd_probes.insert(BrokerId(3));
    let cycle = world.watch(400);
    assert_eq!(cycle.dead(), Some(vec![]));
    assert!(cycle.order().is_none());
    check(
        &cycle,
        expect![[r"
            warning broker_unreachable [broker 3] broker 3 is alive for Kafka, but cannot be reached from here at b3:9092: connection refused -- waits for it to answer; Kafka has not dropped it, so it is not dead
        "]],
    );
}

#[test]
fn a_broker_that_does_not_answer_may_be_about_to_be_dropped_for_as_long_as_a_session_lasts() {
    let mut world = World::new(THREE);
    world.odd_probes.insert(BrokerId(3));
    let third = BTreeSet::from([BrokerId(3)]);
    assert_eq!(world.watch(19).unreachable(), (third.clone(), third.clone()));
    assert_eq!(world.watch(5).unreachable(), (third, BTreeSet::new()));
}

#[test]
fn a_broker_that_answers_us_is_not_dead_although_kafka_dropped_it() {
    let mut world = third_dropped();
    world.odd_probes.insert(BrokerId(3));
    let cycle = world.watch(400);
    assert_eq!(cycle.dead(), Some(vec![]));
    check(
        &cycle,
        expect![[r"
            warning broker_dropped [broker 3] Kafka has dropped broker 3 -- waits for it to stop answering: our probe reaches it at b3:9092
        "]],
    );
    // From there on the whole grace counts.
    world.odd_probes.clear();
    assert_eq!(world.watch(299).dead(), Some(vec![]));
    assert_eq!(world.watch(1).dead(), Some(vec![3]));
}

#[test]
fn nobody_is_dead_without_our_own_probe() {
    let mut world = third_dropped();
    world.probes_age = Duration::from_secs(31);
    let cycle = world.watch(400);
    assert_eq!(cycle.dead(), Some(vec![]));
    check(
        &cycle,
        expect![[r"
            warning broker_dropped [broker 3] Kafka has dropped broker 3 -- waits for our own probe: probes is 31.0 s old, at most 30.0 s is accepted
        "]],
    );
}

#[test]
fn nobody_is_dead_while_it_is_not_known_who_is_alive() {
    let mut world = third_dropped();
    world.liveness_age = Duration::from_secs(11);
    let cycle = world.watch(400);
    assert_eq!(cycle.dead(), None);
    check(
        &cycle,
        expect![[r"
            warning liveness_unknown [cluster] who is alive is not known: liveness is 11.0 s old, at most 10.0 s is accepted -- waits for brokers to say who is alive; until then none is held to be dead
        "]],
    );
    // What was not watched does not count.
    world.liveness_age = Duration::ZERO;
    assert_eq!(world.watch(299).dead(), Some(vec![]));
    assert_eq!(world.watch(1).dead(), Some(vec![3]));
}

#[test]
fn a_dead_broker_stays_an_incident_while_it_is_not_known_who_is_alive() {
    let mut world = third_dropped();
    assert_eq!(world.watch(301).dead(), Some(vec![3]));
    let first = world.incidents.get(kinds::BROKER_DEAD, &Target::Broker(BrokerId(3))).unwrap().id;
    world.liveness_age = Duration::from_secs(60);
    assert_eq!(world.watch(30).dead(), None);
    world.liveness_age = Duration::ZERO;
    // It is watched anew, but it is the same death.
    let cycle = world.watch(10);
    assert_eq!(cycle.dead(), Some(vec![]));
    check(
        &cycle,
        expect![[r#"
            warning broker_absent [broker 3] Kafka has dropped broker 3, and it does not answer at b3:9092 (connection refused) -- waits for 4m 51s of the grace of 5m
            warning broker_dead [broker 3] broker 3 was dead when it was last looked at, and has not been seen alive since -- waits for 4m 51s of the grace of 5m
        "#]],
    );
    assert_eq!(world.watch(300).dead(), Some(vec![3]));
    assert_eq!(world.incidents.get(kinds::BROKER_DEAD, &Target::Broker(BrokerId(3))).unwrap().id, first);
    world.becomes(THREE);
    let _ = world.look();
    assert_eq!(world.incidents.open.len(), 0);
}

#[test]
fn nobody_becomes_dead_while_the_brokers_do_not_agree() {
    let mut world = third_dropped();
    let _ = world.watch(295);
    world.answers = (2, 1);
    let cycle = world.watch(10);
    assert_eq!(cycle.dead(), Some(vec![]));
    check(
        &cycle,
        expect![[r"
            warning broker_absent [broker 3] Kafka has dropped broker 3, and it does not answer at b3:9092 (connection refused) -- waits for the brokers to agree on who is alive: 1 of 2 that answer do
        "]],
    );
    world.answers = (2, 2);
    assert_eq!(world.watch(0).dead(), Some(vec![3]));
    // Who is dead already stays it.
    world.answers = (2, 1);
    assert_eq!(world.watch(5).dead(), Some(vec![3]));
}

#[test]
fn an_absence_goes_on_while_the_probe_has_not_looked_but_its_grace_does_not() {
    let mut world = third_dropped();
    let _ = world.watch(100);
    world.probes_age = Duration::from_secs(31);
    check(
        &world.watch(1),
        expect![[r#"
            warning broker_absent [broker 3] Kafka has dropped broker 3, and it does not answer at b3:9092 (connection refused) -- waits for our own probe: probes is 31.0 s old, at most 30.0 s is accepted
            warning broker_unjudged [broker 3] Kafka has dropped broker 3, and our own probe is stale, so that nobody can say whether it is dead -- waits for our own probe: probes is 31.0 s old, at most 30.0 s is accepted
        "#]],
    );
    world.probes_age = Duration::ZERO;
    check(
        &world.watch(1),
        expect![[r#"
            warning broker_absent [broker 3] Kafka has dropped broker 3, and it does not answer at b3:9092 (connection refused) -- waits for 5m of the grace of 5m
            warning broker_unjudged [broker 3] Kafka has dropped broker 3, and our own probe was stale, so that it is not known yet whether it is dead -- waits for 5m of the grace of 5m
        "#]],
    );
    assert!(world.incidents.closed.is_empty(), "no absence ended: {:?}", world.incidents.closed);
    assert_eq!(world.watch(299).dead(), Some(vec![]));
    assert_eq!(world.watch(1).dead(), Some(vec![3]));
}

#[test]
fn a_gap_in_the_watch_restarts_the_grace() {
    let mut world = third_dropped();
    let _ = world.watch(299);
    world.skip(3600);
    assert_eq!(world.watch(299).dead(), Some(vec![]));
    assert_eq!(world.watch(1).dead(), Some(vec![3]));
}

#[test]
fn a_return_ends_the_absence() {
    let mut world = third_dropped();
    let _ = world.watch(290);
    world.becomes(THREE);
    assert_eq!(world.look().text(), "nothing\n");
    world.becomes(THIRD_DROPPED);
    assert_eq!(world.watch(299).dead(), Some(vec![]));
}

#[test]
fn brokers_under_maintenance_are_not_dead_and_get_the_whole_grace_after_it() {
    let mut world = third_dropped();
    let wish = world.wish(Some(400));
    world.wishes.broker_maintenance.insert(BrokerId(3), wish);
    let cycle = world.watch(399);
    assert_eq!(cycle.dead(), Some(vec![]));
    check(
        &cycle,
        expect![[r"
            info broker_down_for_maintenance [broker 3] broker 3 is down, and under maintenance by ann -- waits for the end of its maintenance
        "]],
    );
    assert_eq!(world.watch(300).dead(), Some(vec![]));
    assert_eq!(world.watch(2).dead(), Some(vec![3]));
}

#[test]
fn brokers_that_left_on_purpose_are_forgotten() {
    let mut world = World::new("b1\nb2\nb3 dead\nt-0: 1* 2");
    let cycle = world.watch(400);
    assert_eq!(cycle.dead(), Some(vec![]));
    check(
        &cycle,
        expect![[r"
            info broker_gone [broker 3] broker 3 is gone; it holds no replica, so nothing waits for it
        "]],
    );
    world.skip(24 * 3600);
    assert_eq!(world.look().text(), "nothing\n");
}

#[test]
fn a_registered_broker_is_dead_even_if_it_holds_nothing() {
    let mut world = World::new("b1\nb2\nb3 fenced\nt-0: 1* 2");
    assert_eq!(world.watch(300).dead(), Some(vec![3]));
}

#[test]
fn a_dead_broker_stays_dead_when_it_is_healed_away_from() {
    let mut world = third_dropped();
    let _ = world.watch(301);
    world.becomes("b1\nb2\nb3 dead\nb4\nt-0: 1* 2 4");
    assert_eq!(world.watch(10).dead(), Some(vec![3]));
}

#[test]
fn a_broker_whose_address_another_one_has_taken_is_dead_after_the_grace() {
    let mut world = World::new(THREE);
    let _ = world.watch(3);
    world.becomes("b1\nb2\nb3 dead\nb7 at=b3:9092\nt-0: 1* 2 3~");
    // Broker 7 answers there.
    world.odd_probes.insert(BrokerId(3));
    let cycle = world.watch(299);
    assert_eq!(cycle.dead(), Some(vec![]));
    check(
        &cycle,
        expect![[r#"
        warning broker_absent [broker 3] Kafka has dropped broker 3, and it has left its address b3:9092: broker 7 has it now -- waits for 1s of the grace of 5m
    "#]],
    );
    assert_eq!(world.watch(1).dead(), Some(vec![3]));
}

#[test]
fn a_broker_that_kafka_counts_as_in_sync_is_not_dead_although_it_is_not_named_among_the_live_ones() {
    let mut world = World::new(THREE);
    let _ = world.watch(3);
    // It was started again without the listener at which we ask.
    world.becomes("b1\nb2\nb3 dead\nt-0: 1* 2 3\nt-1: 3 1");
    let cycle = world.watch(400);
    assert_eq!(cycle.dead(), Some(vec![]));
    assert!(cycle.order().is_none(), "what is in sync is taken away");
    check(
        &cycle,
        expect![[r#"
        warning broker_absent [broker 3] Kafka has dropped broker 3, and it does not answer at b3:9092 (connection refused) -- waits for Kafka to count it out of sync: it is in sync in 1 partition that others lead
        warning broker_unjudged [broker 3] broker 3 is not among the live brokers, but Kafka counts it as in sync: it may lack the listener at which we ask -- waits for Kafka to count it out of sync: it is in sync in 1 partition that others lead
    "#]],
    );
    // It dies in truth.
    world.becomes("b1\nb2\nb3 dead\nt-0: 1* 2 3~\nt-1: 1* 3~");
    assert_eq!(world.watch(2).dead(), Some(vec![3]));
}

#[test]
fn topics_that_were_read_before_a_broker_was_dropped_say_nothing_of_it() {
    let mut world = World::new(THREE);
    world.topics_age = Duration::from_secs(3);
    let _ = world.watch(3);
    world.becomes("b1\nb2\nb3 dead\nt-0: 1* 2 3");
    world.dead_brokers.grace = crate::config::HumanDuration::seconds(2);
    assert_eq!(world.watch(2).dead(), Some(vec![3]));
}

#[test]
fn a_dead_broker_without_a_replica_is_idle_when_it_has_been_away_for_long() {
    let idle = |cycle: &Cycle| cycle.state.get::<DeadBrokers>().unwrap().value.idle.clone();
    let mut world = World::new("b1\nb2\nb3 fenced\nt-0: 1* 2");
    assert_eq!(idle(&world.watch(500)), BTreeSet::new());
    // A wall clock that is set makes nobody idle.
    world.now.wall.0 += 3_600_000;
    assert_eq!(idle(&world.watch(300)), BTreeSet::new());
    let cycle = world.watch(200);
    assert_eq!((cycle.dead(), idle(&cycle)), (Some(vec![3]), BTreeSet::from([BrokerId(3)])));
    // With replicas it is none.
    let mut world = third_dropped();
    assert_eq!(idle(&world.watch(2_000)), BTreeSet::new());
    // Nor one that Kafka no longer knows, as in ZooKeeper mode, until it has been gone for as long.
    let mut world = World::new("b1\nb2\nb3\nt-0: 1* 2");
    let _ = world.watch(2);
    world.becomes("b1\nb2\nt-0: 1* 2");
    assert_eq!(idle(&world.watch(500)), BTreeSet::new());
    world.now.wall.0 += 3_600_000;
    assert_eq!(idle(&world.watch(300)), BTreeSet::new());
    assert_eq!(idle(&world.watch(200)), BTreeSet::from([BrokerId(3)]));
}

#[test]
fn drk_1_a_broker_that_was_never_seen_is_dead_only_after_a_watched_grace() {
    let mut world = World::new("b1\nb2\nt-0: 1* 2 77~");
    assert_eq!(world.watch(299).dead(), Some(vec![]));
    let cycle = world.watch(1);
    assert_eq!(cycle.dead(), Some(vec![77]));
    check(
        &cycle,
        expect![[r"
            warning broker_absent [broker 77] Kafka has dropped broker 77, and it has never been seen by us, so that its address is not known
            warning broker_dead [broker 77] broker 77 is dead: Kafka has dropped it, and it has never been seen by us, so that its address is not known, for the whole grace of 5m
        "]],
    );
}

#[test]
fn drk_2_and_15_failure_reports_neither_kill_a_broker_nor_hide_its_death() {
    let failing = |ids: &[i32]| {
        let mut reports = crate::BrokerReports::from(BrokerReportsOf(ids));
        for report in reports.brokers.values_mut() {
            report.failure = Some("JmxConnectionFailure".to_owned());
        }
        reports
    };
    let mut world = World::new(THREE);
    world.reports = Some(failing(&[1, 2, 3]));
    assert_eq!(
        world.watch(400).dead(),
        Some(vec![]),
        "a live broker whose agent reports nothing but failures"
    );
    world.becomes(THIRD_DROPPED);
    assert_eq!(world.watch(299).dead(), Some(vec![]));
    assert_eq!(world.watch(1).dead(), Some(vec![3]), "its agent lives on, and makes no difference");
}

#[test]
fn drk_6_a_broker_that_never_sent_stats_is_judged_like_any_other() {
    let mut world = third_dropped();
    world.reports = Some(BrokerReportsOf(&[1, 2]).into());
    assert_eq!(world.watch(300).dead(), Some(vec![3]));
}

#[test]
fn drk_7_an_offline_partition_makes_no_live_broker_dead() {
    let mut world = World::new("b1\nb2\nb3\nt-0: 3\nt-1: 1* 2 3~");
    assert_eq!(world.watch(400).dead(), Some(vec![]));
}

#[test]
fn drk_8_brokers_are_named_where_they_advertise() {
    let mut world = World::new("b1\nb3 at=kafka3.example:19093 dead\nt-0: 1* 3~");
    check(
        &world.watch(0),
        expect![[r"
            warning broker_absent [broker 3] Kafka has dropped broker 3, and it does not answer at kafka3.example:19093 (connection refused) -- waits for 5m of the grace of 5m
        "]],
    );
}

#[test]
fn an_agents_silence_alone_makes_no_broker_dead() {
    let mut world = World::new(THREE);
    world.reports = Some(BrokerReportsOf(&[1, 2]).into());
    let cycle = world.watch(1300);
    assert_eq!(cycle.dead(), Some(vec![]));
    check(
        &cycle,
        expect![[r"
            warning no_broker_stats [broker 3] the agent of broker 3 has never reported
        "]],
    );
}

#[test]
fn drk_10_a_silent_agent_costs_no_broker_its_replicas() {
    let mut world = World::new(THREE);
    world.reports = Some(BrokerReportsOf(&[]).into());
    let cycle = world.watch(1300);
    assert!(cycle.order().is_none());
    assert_eq!(cycle.names(), ["alert_no_brokerstats_brokers", "no_broker_stats"]);
}

#[test]
fn drk_11_a_broker_taken_out_of_service_never_becomes_dead() {
    let mut world = World::new("b1\nb2\nb3\nt-0: 1* 2");
    let _ = world.watch(10);
    world.becomes("b1\nb2\nt-0: 1* 2");
    assert_eq!(world.watch(400).dead(), Some(vec![]));
}

#[test]
fn a_broker_that_keeps_going_and_coming_is_flapping() {
    let mut world = World::new(THREE);
    let _ = world.watch(3);
    for _ in 0..2 {
        world.becomes(THIRD_DROPPED);
        let _ = world.watch(60);
        world.becomes(THREE);
        let _ = world.watch(120);
    }
    assert_eq!(world.look().text(), "nothing\n");
    world.becomes(THIRD_DROPPED);
    let cycle = world.watch(30);
    check(
        &cycle,
        expect![[r#"
            warning broker_absent [broker 3] Kafka has dropped broker 3, and it does not answer at b3:9092 (connection refused) -- waits for 4m 30s of the grace of 5m
            warning broker_flapping [broker 3] broker 3 keeps going and coming: 3 absences in the last 1h, 2m 32s in all
        "#]],
    );
    assert_eq!(cycle.dead(), Some(vec![]));
    assert!(cycle.events.iter().any(|event| event.name == crate::event::names::ALERT_FLAPPING_BROKER));
    // Out of the window, out of mind.
    world.becomes(THREE);
    let _ = world.watch(1);
    world.skip(3700);
    assert_eq!(world.look().text(), "nothing\n");
}

#[test]
fn two_long_absences_are_flapping_too() {
    let mut world = World::new(THREE);
    for _ in 0..2 {
        world.becomes(THIRD_DROPPED);
        let _ = world.watch(170);
        world.becomes(THREE);
        let _ = world.watch(100);
    }
    assert_eq!(world.watch(1).names(), ["alert_flapping_broker", "broker_flapping"]);
}

#[test]
fn one_restart_is_not_flapping() {
    let mut world = World::new(THREE);
    world.becomes(THIRD_DROPPED);
    let _ = world.watch(290);
    world.becomes(THREE);
    assert_eq!(world.watch(10).text(), "nothing\n");
}

#[test]
fn losing_sight_of_an_absent_broker_is_not_its_return() {
    let mut world = third_dropped();
    for _ in 0..5 {
        world.liveness_age = Duration::ZERO;
        let _ = world.watch(30);
        world.liveness_age = Duration::from_secs(60);
        let _ = world.watch(30);
    }
    world.liveness_age = Duration::ZERO;
    assert!(!world.watch(1).names().contains(&kinds::BROKER_FLAPPING.to_owned()));
}

/// Fresh reports of these brokers.
struct BrokerReportsOf<'a>(&'a [i32]);

impl From<BrokerReportsOf<'_>> for crate::BrokerReports {
    fn from(of: BrokerReportsOf<'_>) -> Self {
        let report = crate::BrokerReport {
            made: Timestamp::default(),
            age: Duration::from_secs(30),
            partitions_bytes_in_per_second: std::sync::Arc::default(),
            ..crate::BrokerReport::default()
        };
        let brokers = of.0.iter().map(|id| (BrokerId(*id), report.clone()));
        Self {
            brokers: brokers.collect(),
            unreadable: 0,
            caught_up: true,
            read_to_end_ago: Some(Duration::ZERO),
        }
    }
}
