use expect_test::{Expect, expect};

use std::sync::Arc;

use super::*;
use crate::attributes::{BrokerDisks, BrokerReport, DirUse};
use crate::event::PartitionMove;
use crate::execution::{Execution, ExecutionId, MovePhase, Reassign, Work};
use crate::testing::{Cycle, World};
use crate::time::Timestamp;

/// What is said once the grace is over.
fn check(text: &str, expected: Expect) {
    let mut world = World::new(text);
    expected.assert_eq(&world.watch(300).text());
}

#[test]
fn says_nothing_when_nothing_is_wrong() {
    check(
        "b1 rack=r1\nb2 rack=r2\nb3 rack=r1\norders-0: 1* 2 3\norders-1: 2* 3 1",
        expect![[r#"
        nothing
    "#]],
    );
}

#[test]
fn gives_the_replicas_of_a_dead_broker_new_places() {
    check(
        "
        b1 rack=r1
        b2 rack=r2
        b3 rack=r1 dead
        b4 rack=r2
        orders-0: 1* 2 3~ size=10MiB
        orders-1: 3~ 2* 4 size=20MiB
        orders-2: 1* 2 4
        ",
        expect![[r#"
            warning broker_absent [broker 3] Kafka has dropped broker 3, and it does not answer at b3:9092 (connection refused)
            warning broker_dead [broker 3] broker 3 is dead: Kafka has dropped it, and it does not answer at b3:9092 (connection refused), for the whole grace of 5m
            warning under_replicated [broker 3] 2 replicas out of sync on broker 3 (follower dead: 2)
            => reassign_partitions [cluster] 2 partitions of dead broker 3 get new replicas (cause: broker_dead of broker 3)
                 orders-0: 1 2 3 -> 1 2 4 in_sync=2 bytes=10485760
                   broker 3 is dead: broker 4 in rack r2 takes its place, 1 other in its rack as no rack with fewer has a broker to take it
                 orders-1: 3 2 4 -> 1 2 4 in_sync=2 bytes=20971520
                   broker 3 is dead: broker 1 in rack r1 takes its place, no other replica shares its rack
        "#]],
    );
}

#[test]
fn heals_what_can_be_healed_and_lists_the_rest() {
    check(
        "
        b1
        b2
        b3 dead
        b4 dead
        whole-0: 1* 2
        heals-0: 1* 3~
        heals-1: 2* 4~
        full-0: 1* 2 3~
        lost-0: 3
        lost-1: 3~ 4
        survivor-0: 3 1~
        foreign-0: 1* -3~ +2~
        ",
        expect![[r#"
            critical cannot_heal [cluster] replicas on dead brokers cannot be replaced: 3 (lost-0, lost-1): no replica on a live broker, so nothing to copy from until one returns; 1 (survivor-0): only out-of-sync replicas live; an unclean election would lose records and is never done; 1 (full-0): every broker that may take replicas holds one already -- waits for a broker to return, or room for their replicas
            critical partitions_lost [cluster] 2 partitions lost until a dead broker returns, as there is no copy elsewhere: lost-0, lost-1 -- waits for one of their brokers to return
            critical partitions_without_leader [cluster] 3 partitions without a leader: lost-0, lost-1, survivor-0 -- waits for an in-sync replica to return; an unclean election is never done
            critical under_replicated [broker 1] 1 replica out of sync on broker 1 (no leader: 1); 1 partition without a live copy in sync
            critical under_replicated [broker 3] 4 replicas out of sync on broker 3 (follower dead: 4); 1 partition without a live copy in sync; 2 partitions down to the last copy -- waits for the moves of 1 partition under way
            critical under_replicated [broker 4] 1 replica out of sync on broker 4 (follower dead: 1); 1 partition down to the last copy
            info healing_waits [cluster] replicas on dead brokers are not replaced yet: 1 (foreign-0): being moved at the moment
            warning broker_absent [broker 3] Kafka has dropped broker 3, and it does not answer at b3:9092 (connection refused)
            warning broker_absent [broker 4] Kafka has dropped broker 4, and it does not answer at b4:9092 (connection refused)
            warning broker_dead [broker 3] broker 3 is dead: Kafka has dropped it, and it does not answer at b3:9092 (connection refused), for the whole grace of 5m
            warning broker_dead [broker 4] broker 4 is dead: Kafka has dropped it, and it does not answer at b4:9092 (connection refused), for the whole grace of 5m
            => reassign_partitions [cluster] 2 partitions of dead brokers 3, 4 get new replicas (cause: broker_dead of broker 4)
                 heals-0: 1 3 -> 1 2 in_sync=1 bytes=?
                   broker 3 is dead: broker 2 takes its place
                 heals-1: 2 4 -> 2 1 in_sync=1 bytes=?
                   broker 4 is dead: broker 1 takes its place
        "#]],
    );
}

/// A world after the grace.
fn after_grace(text: &str) -> (World, Cycle) {
    let mut world = World::new(text);
    let cycle = world.watch(301);
    (world, cycle)
}

/// The findings of one kind.
fn found(cycle: &Cycle, kind: &str) -> String {
    let of_kind = |line: &&str| line.split(' ').nth(1) == Some(kind);
    cycle.text().lines().filter(of_kind).map(|line| format!("{line}\n")).collect()
}

fn events<'a>(cycle: &'a Cycle, name: &str) -> Vec<&'a Event> {
    cycle.events.iter().filter(|event| event.name == name).collect()
}

#[test]
fn says_how_much_of_the_grace_is_left() {
    let mut world = World::new("b1\nb2\nb3 dead\nt-0: 1* 3~\nt-1: 2* 3~ 1");
    let cycle = world.watch(100);
    assert!(cycle.order().is_none());
    expect![[r#"
        warning under_replicated [broker 3] 2 replicas out of sync on broker 3 (follower absent: 2) -- waits for 3m 20s of the grace of 5m
    "#]].assert_eq(&found(&cycle, kinds::UNDER_REPLICATED));
}

#[test]
fn an_offline_partition_waits_for_its_absent_broker_and_is_lost_with_the_dead_one() {
    let mut world = World::new("b1\nb2\nb3 dead\nt-0: 3\nt-1: 1*");
    let cycle = world.watch(100);
    expect![[r#"
        warning partitions_without_leader [cluster] 1 partition without a leader: t-0 -- waits for brokers that are absent, but not dead
    "#]].assert_eq(&found(&cycle, kinds::PARTITIONS_WITHOUT_LEADER));
    assert!(events(&cycle, names::ALERT_URP_HANDLING_FAILURE).is_empty());
    let cycle = world.watch(202);
    expect![[r#"
        critical partitions_lost [cluster] 1 partition lost until a dead broker returns, as there is no copy elsewhere: t-0 -- waits for one of their brokers to return
    "#]].assert_eq(&found(&cycle, kinds::PARTITIONS_LOST));
    expect![[r#"
        critical partitions_without_leader [cluster] 1 partition without a leader: t-0 -- waits for an in-sync replica to return; an unclean election is never done
    "#]]
    .assert_eq(&found(&cycle, kinds::PARTITIONS_WITHOUT_LEADER));
    assert!(cycle.order().is_none());
    assert_eq!(events(&cycle, names::ALERT_URP_HANDLING_FAILURE)[0].repeat, Repeat::OncePerIncident);
    world.becomes("b1\nb2\nb3\nt-0: 3*\nt-1: 1*");
    assert_eq!(world.watch(1).text(), "nothing\n");
}

#[test]
fn names_a_reason_for_each_replica_that_is_out_of_sync() {
    let mut world = World::new("b1\nb2\nb3\nb4\nb5\nb6\nt-0: 1* 4");
    world.becomes("b1\nb2\nb3\nb4 dead\nb5\nb6\nt-0: 1* 4~");
    let _ = world.watch(30);
    world.becomes(
        "
        b1
        b2
        b3 dead
        b4
        b5
        b6 dead
        dead-0: 1* 3~
        maintained-0: 1* 6~
        leaderless-0: 3 2~
        returned-0: 1* 4~
        unknown-0: 1* 5~
        ",
    );
    world.wishes.broker_maintenance.insert(BrokerId(6), world.wish(None));
    let text = found(&world.watch(100), kinds::UNDER_REPLICATED);
    let cycle = world.watch(201);
    expect![[r#"
        critical under_replicated [broker 2] 1 replica out of sync on broker 2 (no leader: 1); 1 partition without a live copy in sync
        info under_replicated [broker 6] 1 replica out of sync on broker 6 (follower under maintenance: 1) -- waits for the end of its maintenance
        warning under_replicated [broker 3] 1 replica out of sync on broker 3 (follower absent: 1) -- waits for 3m 20s of the grace of 5m
        warning under_replicated [broker 4] 1 replica out of sync on broker 4 (catching up: 1) -- waits for it to catch up
        warning under_replicated [broker 5] 1 replica out of sync on broker 5 (unknown: 1)
        ---
        critical under_replicated [broker 2] 1 replica out of sync on broker 2 (no leader: 1); 1 partition without a live copy in sync
        critical under_replicated [broker 3] 1 replica out of sync on broker 3 (follower dead: 1); 1 partition down to the last copy
        info under_replicated [broker 6] 1 replica out of sync on broker 6 (follower under maintenance: 1) -- waits for the end of its maintenance
        warning under_replicated [broker 4] 1 replica out of sync on broker 4 (catching up: 1) -- waits for it to catch up
        warning under_replicated [broker 5] 1 replica out of sync on broker 5 (unknown: 1)
    "#]].assert_eq(&format!("{text}---\n{}", found(&cycle, kinds::UNDER_REPLICATED)));
}

#[test]
fn holds_still_on_what_is_too_old_and_says_so() {
    let (mut world, cycle) = after_grace("b1\nb2\nb3 dead\nt-0: 1* 3~");
    assert!(cycle.order().is_some());
    world.topics_age = Duration::from_secs(91);
    let cycle = world.watch(1);
    assert!(cycle.order().is_none());
    expect![[r#"
        warning healing_blind [cluster] nothing is decided about healing: topics is 91.0 s old, at most 90.0 s is accepted -- waits for fresh knowledge of the cluster
    "#]].assert_eq(&found(&cycle, kinds::HEALING_BLIND));
    world.topics_age = Duration::ZERO;
    world.liveness_age = Duration::from_secs(11);
    let cycle = world.watch(1);
    assert!(cycle.order().is_none());
    expect![[r#"
        warning healing_blind [cluster] nothing is decided about healing: liveness is 11.0 s old, at most 10.0 s is accepted -- waits for fresh knowledge of the cluster
    "#]].assert_eq(&found(&cycle, kinds::HEALING_BLIND));
}

#[test]
fn an_unsure_reason_is_alerted_when_it_lasts() {
    let mut world = World::new("b1\nb2\nb3\nt-0: 1* 2~ 3");
    assert_eq!(world.watch(590).names(), ["under_replicated"]);
    let cycle = world.watch(10);
    assert_eq!(cycle.names(), ["alert_urp_handling_failure", "under_replicated"]);
    expect![[r#"
        warning under_replicated [broker 2] 1 replica out of sync on broker 2 (unknown: 1)
        => alert_urp_handling_failure [broker 2] 1 replica on live broker 2 not in sync, and it is not sure why (cause: under_replicated of broker 2)
    "#]].assert_eq(&cycle.text());
}

#[test]
fn nothing_is_told_to_be_healed_while_it_cannot_be_seen() {
    let mut world = World::new("b1\nb2\nb3 dead\nb4\nt-0: 1* 2 3~");
    world.watch(200);
    let before = world.incidents.open.keys().cloned().collect::<Vec<_>>();
    let closed = world.incidents.closed.clone();
    world.skip(1);
    world.liveness_age = Duration::from_secs(11);
    world.look();
    let blind: Vec<_> = world.incidents.open.keys().cloned().collect();
    assert!(before.iter().all(|key| blind.contains(key)), "{before:?} {blind:?}");
    assert_eq!(world.incidents.closed, closed);
    // But it was not watched, so that the whole grace counts again.
    world.liveness_age = Duration::ZERO;
    assert!(events(&world.watch(299), names::REASSIGN_PARTITIONS).is_empty());
    assert_eq!(events(&world.watch(2), names::REASSIGN_PARTITIONS).len(), 1);
}

#[test]
fn a_broker_that_kafka_has_dropped_and_that_answers_is_alerted_when_it_lasts() {
    let mut world = World::new("b1\nb2\nb3 dead\nt-0: 1* 2 3~");
    world.odd_probes.insert(BrokerId(3));
    assert!(events(&world.watch(599), names::ALERT_URP_HANDLING_FAILURE).is_empty());
    let cycle = world.watch(1);
    let alerts = events(&cycle, names::ALERT_URP_HANDLING_FAILURE);
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0].repeat, Repeat::OncePerIncident);
    expect![[r#"
        Message {
            subject: "c: Kafka has dropped broker 3",
            body: "Kafka has dropped broker 3.\nIts replicas are not moved while it is not sure that it is dead; that waits for it to stop answering: our probe reaches it at b3:9092.",
            severity: Warning,
        }
    "#]]
    .assert_debug_eq(&alerts[0].payload_as::<Message>().unwrap());
}

#[test]
fn an_absence_that_our_probe_does_not_look_at_is_alerted_when_it_lasts() {
    let mut world = World::new("b1\nb2\nb3 dead\nt-0: 1* 2 3~");
    let _ = world.watch(100);
    world.probes_age = Duration::from_secs(31);
    world.skip(1);
    assert!(events(&world.watch(599), names::ALERT_URP_HANDLING_FAILURE).is_empty());
    let cycle = world.watch(1);
    let alerts = events(&cycle, names::ALERT_URP_HANDLING_FAILURE);
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0].repeat, Repeat::OncePerIncident);
    expect![[r#"
        Message {
            subject: "c: Kafka has dropped broker 3, and our own probe is stale, so that nobody can say whether it is dead",
            body: "Kafka has dropped broker 3, and our own probe is stale, so that nobody can say whether it is dead.\nIts replicas are not moved while it is not sure that it is dead; that waits for our own probe: probes is 31.0 s old, at most 30.0 s is accepted.",
            severity: Warning,
        }
    "#]]
    .assert_debug_eq(&alerts[0].payload_as::<Message>().unwrap());
    // It looks again: the grace counts anew, and there is nothing to tell before it is over.
    world.probes_age = Duration::ZERO;
    assert!(events(&world.watch(299), names::ALERT_URP_HANDLING_FAILURE).is_empty());
    assert_eq!(world.watch(2).dead(), Some(vec![3]));
    assert!(!world.look().names().contains(&seen::BROKER_UNJUDGED.to_owned()));
}

#[test]
fn an_absence_that_our_probe_looks_at_now_and_then_is_alerted_when_it_is_never_judged() {
    let mut world = World::new("b1\nb2\nb3 dead\nt-0: 1* 2 3~");
    let mut alerts = 0;
    for round in 0..12 {
        world.probes_age = Duration::ZERO;
        assert!(events(&world.watch(60), names::ALERT_URP_HANDLING_FAILURE).is_empty());
        world.probes_age = Duration::from_secs(31);
        let cycle = world.watch(5);
        assert_eq!(cycle.dead(), Some(vec![]));
        let told = events(&cycle, names::ALERT_URP_HANDLING_FAILURE).len();
        // The first look of the first round is the beginning: it lasts 10 minutes in the eleventh.
        assert_eq!(told, usize::from(round > 9), "round {round}");
        alerts += told;
    }
    assert_eq!(alerts, 2);
}

#[test]
fn a_probe_that_stood_still_for_a_moment_is_not_alerted() {
    let mut world = World::new("b1\nb2\nb3 dead\nb4\nt-0: 1* 2 3~");
    let _ = world.watch(100);
    world.probes_age = Duration::from_secs(31);
    let _ = world.watch(20);
    world.probes_age = Duration::ZERO;
    assert_eq!(world.watch(301).dead(), Some(vec![3]));
    assert!(events(&world.watch(900), names::ALERT_URP_HANDLING_FAILURE).is_empty());
    // Nor is a broker that has been dead for long at once, when the probe stands still.
    world.probes_age = Duration::from_secs(31);
    assert!(events(&world.watch(100), names::ALERT_URP_HANDLING_FAILURE).is_empty());
}

#[test]
fn long_under_replication_is_alerted_once_for_each_incident() {
    let mut world = World::new("b1\nb2\nb3 dead\nt-0: 1* 2 3~");
    world.healing.prolong_urp_alert_seconds = HumanDuration::seconds(1000);
    assert!(events(&world.watch(999), names::ALERT_PROLONG_URP).is_empty());
    let cycle = world.watch(1);
    let alerts = events(&cycle, names::ALERT_PROLONG_URP);
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0].repeat, Repeat::OncePerIncident);
    assert_eq!(alerts[0].reason, "replicas on broker 3 have been out of sync for 16m 40s");
}

#[test]
fn moves_in_flight_are_not_asked_for_again() {
    let (mut world, cycle) = after_grace("b1\nb2\nb3 dead\nt-0: 1* 3~\nt-1: 1* 3~");
    let mut moves = cycle.order().unwrap().moves;
    let rest = moves.pop().unwrap();
    let work = Work::Reassign(Reassign { moves: vec![moves.remove(0).into()], ..Reassign::default() });
    let event = cycle.events[0].clone();
    let mut execution = Execution::new(ExecutionId(1), event, "move", world.now.wall, work);
    world.executions = vec![Arc::new(execution.clone())];
    let again: Vec<_> = world.watch(1).order().unwrap().moves.into_iter().map(|m| m.partition).collect();
    assert_eq!(again, [rest.partition]);
    execution.ended = Some((world.now.wall, "cancelled".into()));
    world.executions = vec![Arc::new(execution)];
    assert_eq!(world.watch(1).order().unwrap().moves.len(), 2);
}

#[test]
fn brokers_with_a_failed_log_dir_get_replicas_last() {
    let (mut world, _) = after_grace("b1\nb2\nb3 dead\nb4\nt-0: 1* 3~");
    let dir = |error: Option<&str>| DirUse {
        path: "/data".into(),
        total_bytes: Some(1000),
        usable_bytes: Some(900),
        replicas: 1,
        error: error.map(str::to_owned),
    };
    let broker = BrokerDisks { dirs: vec![dir(None), dir(Some("i/o error"))] };
    world.disks = Some(Disks { brokers: [(BrokerId(2), broker)].into(), ..Disks::default() });
    assert_eq!(world.watch(1).order().unwrap().moves[0].to, [BrokerId(1), BrokerId(4)]);
}

#[test]
fn asks_for_the_configured_throttle_and_no_more_moves_than_fit_one_event() {
    let mut world = World::new("b1\nb2\nb3 dead\nt-0: 1* 3~\nt-1: 1* 3~\nt-2: 1* 3~");
    world.healing.throttle = Some(ByteSize(5_000_000));
    world.healing.max_moves = 2;
    let cycle = world.watch(301);
    let order = cycle.order().unwrap();
    assert_eq!((order.moves.len(), order.throttle_bytes_per_second), (2, Some(5_000_000)));
    expect![[r#"
        info healing_waits [cluster] replicas on dead brokers are not replaced yet: 1 (t-2): more than fit into one plan; they follow
    "#]].assert_eq(&found(&cycle, kinds::HEALING_WAITS));
    assert_eq!(found(&cycle, kinds::CANNOT_HEAL), "");
}

/// Reports of brokers: id, bytes per second to consumers, and into partition t-0.
fn reports(of: &[(i32, u64, Option<u64>)]) -> BrokerReports {
    let brokers = of.iter().map(|(id, out, partition)| {
        let partitions = partition.map(|rate| (TopicPartition::new("t", 0), rate));
        let report = BrokerReport {
            made: Timestamp::default(),
            age: Duration::ZERO,
            leaders_bytes_out_per_second: Some(*out),
            partitions_bytes_in_per_second: Arc::new(partitions.into_iter().collect()),
            ..BrokerReport::default()
        };
        (BrokerId(*id), report)
    });
    BrokerReports {
        brokers: brokers.collect(),
        unreadable: 0,
        caught_up: true,
        read_to_end_ago: Some(Duration::ZERO),
    }
}

#[test]
fn a_peak_that_leaves_no_room_does_not_keep_from_healing_while_there_is() {
    let mut world = World::new("b1\nb2\nb3 dead\nt-0: 1* 3~");
    world.healing.network_bandwidth_max_mb = Some(100);
    world.reports = Some(reports(&[(1, 0, Some(10_000_000)), (2, 0, None)]));
    let full = crate::load::BrokerLoad { bytes_in: 99_000_000, bytes_out: 99_000_000 };
    let brokers = [(BrokerId(1), full), (BrokerId(2), full)].into();
    world.needs = Some(crate::PartitionLoads { brokers, ..crate::PartitionLoads::default() });
    let moves = world.watch(400).order().map(|order| order.moves).unwrap_or_default();
    assert_eq!(moves.first().map(|m| m.to.clone()), Some(vec![BrokerId(1), BrokerId(2)]));
}

#[test]
fn drk_3_a_saturated_follower_and_a_saturated_leader_are_told_apart() {
    let mut world = World::new("b1\nb2\nb3\nt-0: 1* 2~ 3\nu-0: 1* 2~");
    world.healing.network_bandwidth_max_mb = Some(100);
    world.reports = Some(reports(&[(1, 0, Some(40_000_000)), (2, 0, None), (3, 0, None)]));
    let calm = found(&world.watch(1), kinds::UNDER_REPLICATED);
    // The leader gives 40 MB/s to each of two followers, and 20 MB/s to consumers.
    world.reports = Some(reports(&[(1, 20_000_000, Some(40_000_000)), (2, 0, None), (3, 0, None)]));
    let leader = found(&world.watch(1), kinds::UNDER_REPLICATED);
    world.reports = Some(reports(&[(1, 0, Some(100_000_000)), (2, 0, None), (3, 0, None)]));
    let follower = found(&world.watch(1), kinds::UNDER_REPLICATED);
    expect![[r#"
        warning under_replicated [broker 2] 2 replicas out of sync on broker 2 (unknown: 2)
        warning under_replicated [broker 2] 2 replicas out of sync on broker 2 (leader saturated: 2)
        warning under_replicated [broker 2] 2 replicas out of sync on broker 2 (follower saturated: 2)
    "#]]
    .assert_eq(&[calm, leader, follower].concat());
}

#[test]
fn a_failed_log_dir_is_why_replicas_are_out_of_sync() {
    let mut world = World::new("b1\nb2\nb3\nt-0: 1* 2~ 3\nu-0: 1* 2~");
    let mut reports = reports(&[(1, 0, None), (2, 0, None), (3, 0, None)]);
    reports.brokers.get_mut(&BrokerId(2)).unwrap().failed_log_dirs = vec!["/d".to_owned()];
    world.reports = Some(reports);
    assert!(found(&world.watch(59), kinds::UNDER_REPLICATED).contains("(unknown: 2)"));
    let cycle = world.watch(2_000);
    assert!(found(&cycle, kinds::UNDER_REPLICATED).contains("(log dir failed: 2)"));
    // Of the log dir people are told by itself.
    assert!(events(&cycle, names::ALERT_URP_HANDLING_FAILURE).is_empty());
}

#[test]
fn drk_4_directions_are_not_added_up_and_replication_counts() {
    // 60 MB/s in and 60 MB/s out (30 to consumers, 30 to a follower) are no saturation of a 100 MB/s link.
    let mut world = World::new("b1\nb2\nt-0: 1* 2~");
    world.healing.network_bandwidth_max_mb = Some(100);
    world.reports = Some(reports(&[(1, 30_000_000, Some(60_000_000)), (2, 0, None)]));
    assert!(found(&world.watch(1), kinds::UNDER_REPLICATED).contains("unknown: 1"));
    // 60 to the follower and 40 to consumers are.
    world.reports = Some(reports(&[(1, 40_000_000, Some(60_000_000)), (2, 0, None)]));
    assert!(found(&world.watch(1), kinds::UNDER_REPLICATED).contains("leader saturated: 1"));
}

#[test]
fn drk_16_another_reason_does_not_keep_dead_replicas_from_being_replaced() {
    let (_, cycle) = after_grace("b1\nb2\nb3 dead\nb4\nt-0: 1* 3~\nt-1: 1* 2~\nt-2: 1* 2~ 3~");
    assert_eq!(cycle.order().unwrap().moves.len(), 2);
}

#[test]
fn drk_30_a_reassignment_of_somebody_else_keeps_no_other_partition_from_being_healed() {
    let (_, cycle) = after_grace("b1\nb2\nb3 dead\nb4\nt-0: 1* 3~\nt-1: 1* -2 +4~");
    let order = cycle.order().unwrap();
    assert_eq!(order.moves.len(), 1);
    assert_eq!(order.moves[0].partition, TopicPartition::new("t", 0));
}

#[test]
fn drk_37_what_cannot_be_healed_is_told_of_unknown_brokers_too() {
    let (_, cycle) = after_grace("b1\nt-0: 1* 77~");
    assert_eq!(events(&cycle, names::ALERT_URP_HANDLING_FAILURE).len(), 1);
}

#[test]
fn drk_38_reassignments_raise_no_alarm() {
    let mut world = World::new("b1\nb2\nb3\nt-0: 1* -2 +3~\nt-1: 1* 2 +3~");
    assert_eq!(world.watch(800).text(), "nothing\n");
}

#[test]
fn drk_51_an_event_is_only_emitted_when_there_is_something_to_say() {
    let mut world = World::new("b1\nb2\nb3 dead\nt-0: 1* 3~");
    assert_eq!(world.watch(299).events, []);
}

#[test]
fn drk_63_waiting_and_moving_are_no_failures() {
    let mut world = World::new("b1\nb2\nb3 dead\nt-0: 1* 3~");
    for _ in 0..30 {
        assert!(events(&world.watch(10), names::ALERT_URP_HANDLING_FAILURE).is_empty());
    }
    // What it asked for is under way.
    world.becomes("b1\nb2\nb3 dead\nt-0: 1* -3~ +2~");
    for _ in 0..30 {
        let cycle = world.watch(10);
        assert!(events(&cycle, names::ALERT_URP_HANDLING_FAILURE).is_empty());
        assert_eq!(found(&cycle, kinds::CANNOT_HEAL), "");
    }
}

#[test]
fn drk_67_a_broker_at_the_edge_of_its_grace_keeps_nothing_of_another_from_being_healed() {
    let mut world = World::new("b1\nb2\nb3\nb4\nt-0: 1* 3\nt-1: 2* 3 4\nt-2: 1* 4");
    world.becomes("b1\nb2\nb3 dead\nb4\nt-0: 1* 3~\nt-1: 2* 3~ 4\nt-2: 1* 4");
    let _ = world.watch(9);
    world.becomes("b1\nb2\nb3 dead\nb4 dead\nt-0: 1* 3~\nt-1: 2* 3~ 4~\nt-2: 1* 4~");
    let moved = |cycle: &Cycle| {
        let moves = cycle.order().map_or(Vec::new(), |order| order.moves);
        moves.into_iter().map(|m| (m.partition.to_string(), m.dead)).collect::<Vec<_>>()
    };
    assert_eq!(moved(&world.watch(289)), []);
    // Broker 3 is dead, broker 4 will be in ten seconds.
    let third = vec![BrokerId(3)];
    assert_eq!(moved(&world.watch(1)), [("t-0".to_owned(), third.clone()), ("t-1".to_owned(), third)]);
}

#[test]
fn a_restart_during_an_outage_ends_nothing_of_what_was_said() {
    let mut world = World::new("b1\nb2\nb3 dead\nlost-0: 3~\nt-0: 1* 2 3~");
    let before = world.watch(300).names();
    assert!(before.contains(&"partitions_lost".to_owned()) && before.contains(&"cannot_heal".to_owned()));
    // As they come from the store: nothing has been watched by this process.
    world.incidents = serde_json::from_value(serde_json::to_value(&world.incidents).unwrap()).unwrap();
    for _ in 0..299 {
        world.watch(1);
        for kind in ["partitions_lost", "cannot_heal"] {
            assert!(world.incidents.of_kind(kind).next().is_some(), "{kind} is said to be over");
        }
    }
    world.watch(2);
    world.becomes("b1\nb2\nb3\nlost-0: 3*\nt-0: 1* 2 3");
    let after = world.watch(1).names();
    assert!(!after.contains(&"partitions_lost".to_owned()) && !after.contains(&"cannot_heal".to_owned()));
}

#[test]
fn moves_that_are_not_needed_any_more_are_named() {
    let mut world = World::new("b1\nb2\nb3\nb4\nt-0: 1* 2 3");
    let order = PartitionMove {
        partition: TopicPartition::new("t", 0),
        from: [1, 2, 3].map(BrokerId).to_vec(),
        to: [1, 2, 4].map(BrokerId).to_vec(),
        dead: vec![BrokerId(3)],
        leaving: Vec::new(),
        bytes: None,
        in_sync: 2,
        reason: String::new(),
    };
    let mut work = Reassign::new(ReassignPartitions { moves: vec![order], throttle_bytes_per_second: None });
    work.moves[0].phase = MovePhase::Copying { since: Timestamp(0) };
    let event = Event::new(names::REASSIGN_PARTITIONS, Target::Cluster, "", &());
    let moving = Execution::new(ExecutionId(7), event, "reassign", Timestamp(0), Work::Reassign(work));
    world.executions = vec![Arc::new(moving)];
    let text = world.watch(1).text();
    assert!(text.contains("1 move under way is not needed any more"), "{text}");
    assert!(text.contains("doctorkafka cancel 7 ends them"), "{text}");
    world.becomes("b1\nb2\nb3\nb4\nt-0: 1* 2 3~");
    assert!(!world.watch(1).text().contains("not needed"), "it is not in sync yet");
}
