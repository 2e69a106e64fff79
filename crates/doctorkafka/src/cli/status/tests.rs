//! What a tired person reads.

use cluster::BrokerId;
use control::{Record, RecordKind, Target, Timestamp, Wishes};
use expect_test::{Expect, expect};

use super::*;
use crate::api::status::{Brokers, HeldEvent, Partitions, Problem};

const NOW: i64 = 1_700_000_100_000;

fn check(change: impl FnOnce(&mut ClusterStatus), expected: &Expect) {
    let mut cluster = ClusterStatus {
        name: "test".to_owned(),
        cluster_id: Some("abc".to_owned()),
        now: NOW,
        last_cycle_age: Some(400),
        evaluation_interval: 1_000,
        brokers: Some(Brokers { live: vec![1, 2, 3, 4], judged: true, ..Brokers::default() }),
        partitions: Some(Partitions { of: 60, ..Partitions::default() }),
        ..ClusterStatus::default()
    };
    change(&mut cluster);
    let status = Status { version: "1".to_owned(), pid: 1, clusters: vec![cluster] };
    expected.assert_eq(&text(&status, &TimeZone::UTC));
    // What is printed as JSON says the same to another version of this command.
    let json = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status);
}

#[test]
fn says_that_nothing_is_wrong() {
    check(
        |_| {},
        &expect![[r#"
            test  (cluster id abc)  looked 0.4 s ago
              brokers     4 live
              partitions  60, 0 under-replicated, 0 without leader
            nothing is wrong
        "#]],
    );
}

#[test]
fn what_was_known_last_is_told_with_its_age() {
    check(
        |cluster| {
            cluster.brokers = Some(Brokers { live: vec![1, 2], age: 3_480_000, ..Brokers::default() });
            cluster.partitions = Some(Partitions { of: 60, age: 3_490_000, ..Partitions::default() });
        },
        &expect![[r#"
            test  (cluster id abc)  looked 0.4 s ago
              brokers     2 live; who is dead is not known (as of 58 min ago)
              partitions  60, 0 under-replicated, 0 without leader (as of 58 min 10 s ago)
            nothing is known yet
        "#]],
    );
}

#[test]
fn messages_that_have_not_got_out_are_told() {
    check(
        |cluster| {
            let counts = control::Deliveries { sent: 7, waiting: 2, undeliverable: 1, held_back: 3 };
            let fine = control::Deliveries { sent: 3, ..control::Deliveries::default() };
            cluster.messages = [("send_email".to_owned(), counts), ("webhook".to_owned(), fine)].into();
        },
        &expect![[r#"
            test  (cluster id abc)  looked 0.4 s ago
              brokers     4 live
              partitions  60, 0 under-replicated, 0 without leader
            nothing is wrong
            messages
              send_email: 7 sent, 2 waiting, 1 given up
        "#]],
    );
}

#[test]
fn says_what_runs_dry() {
    check(
        |cluster| cluster.dry_run = vec!["reassign_partitions".to_owned(), "elect_leaders".to_owned()],
        &expect![[r#"
            test  (cluster id abc)  looked 0.4 s ago
              dry run     these only say what they would do: reassign_partitions, elect_leaders
              brokers     4 live
              partitions  60, 0 under-replicated, 0 without leader
            nothing is wrong
        "#]],
    );
}

#[test]
fn never_says_that_nothing_is_wrong_before_it_has_looked() {
    check(
        |cluster| {
            *cluster = ClusterStatus { name: "test".to_owned(), ..ClusterStatus::default() };
            cluster.trouble = Some("the stored state \"x\" is damaged".to_owned());
        },
        &expect![[r#"
            test  (cluster id not known yet)  has not looked yet
              NOTHING CAN BE DONE: the stored state "x" is damaged
              brokers     not known yet
            nothing is known yet
        "#]],
    );
}

#[test]
fn says_what_is_wrong_what_is_done_and_how_to_stop_it() {
    let problem = |severity, subject: &str, message: &str, waits_for: Option<&str>, ago: i64| Problem {
        id: 1,
        kind: "kind".to_owned(),
        subject: subject.to_owned(),
        severity,
        message: message.to_owned(),
        waits_for: waits_for.map(str::to_owned),
        since: NOW - ago,
    };
    let doing = |execution, moves, cancelled_by: Option<&str>| Doing {
        execution,
        event: "reassign_partitions".to_owned(),
        target: "cluster".to_owned(),
        reason: "broker 3 is dead".to_owned(),
        dry_run: false,
        since: NOW - 8_000,
        cancelled_by: cancelled_by.map(str::to_owned),
        can_stop: true,
        moves,
        says: Vec::new(),
        said_ago: None,
    };
    check(
        |cluster| {
            cluster.brokers = Some(Brokers {
                live: vec![1, 2, 4],
                dead: vec![3],
                unreachable: vec![4],
                judged: true,
                ..Brokers::default()
            });
            cluster.partitions = Some(Partitions { of: 60, under_replicated: 45, leaderless: 1, age: 0 });
            cluster.foreign_reassignments = 2;
            cluster.incidents = vec![
                problem(Severity::Critical, "broker 3", "broker 3 is dead", None, 12_000),
                problem(Severity::Info, "broker 4", "its agent is silent", Some("a report"), 185_000),
            ];
            let moves = Moves {
                waiting: 5,
                copying: 20,
                done: 20,
                bytes: 90 << 20,
                bytes_done: 40 << 20,
                left: Some(10_000),
                ..Moves::default()
            };
            let nothing_yet = Moves { copying: 1, ..Moves::default() };
            cluster.work = vec![doing(7, Some(moves), None), doing(8, Some(nothing_yet), Some("kim"))];
        },
        &expect![[r#"
            test  (cluster id abc)  looked 0.4 s ago
              brokers     3 live, 1 dead (3), 1 unreachable from here (4)
              partitions  60, 45 under-replicated, 1 without leader
              2 partitions are being reassigned by somebody else and are left alone
            wrong
              CRITICAL  broker 3 is dead  [for 12 s]
              info      broker 4: its agent is silent  [for 3 min 5 s]
                        waits for: a report
            being done
              #7 reassign partitions for cluster: broker 3 is dead  [for 8.0 s]
                 20 of 45 partitions done, 20 being copied, 5 waiting; 40 of 90 MiB; about 10 s left
                 stop it with: doctorkafka cancel 7
              #8 reassign partitions for cluster: broker 3 is dead  [for 8.0 s]
                 0 of 1 partitions done, 1 being copied; time left not known yet
                 is being cancelled by kim
        "#]],
    );
}

#[test]
fn says_what_holds_and_who_asked_for_it() {
    let wish = |until| Wish {
        by: "kim".to_owned(),
        reason: "upgrade".to_owned(),
        since: Timestamp(NOW - 60_000),
        until,
    };
    check(
        |cluster| {
            cluster.held = vec![HeldEvent {
                event: "reassign_partitions".to_owned(),
                target: "cluster".to_owned(),
                check: "paused".to_owned(),
                reason: "paused by kim: upgrade".to_owned(),
            }];
            cluster.wishes = Wishes {
                paused: Some(wish(None)),
                broker_maintenance: [(BrokerId(2), wish(Some(Timestamp(NOW + 60_000))))].into(),
                ..Wishes::default()
            };
            cluster.recent = vec![Record {
                sequence: 1,
                timestamp: Timestamp(NOW - 60_000),
                cluster: "test".to_owned(),
                cluster_id: None,
                kind: RecordKind::Order,
                principal: "kim".to_owned(),
                operation: "pause".to_owned(),
                target: Target::Cluster,
                reason: "upgrade".to_owned(),
                result: "paused".to_owned(),
                severity: Severity::Info,
                dry_run: false,
                cause: None,
                execution: None,
                detail: serde_json::Value::Null,
            }];
        },
        &expect![[r#"
            test  (cluster id abc)  looked 0.4 s ago
              brokers     4 live
              partitions  60, 0 under-replicated, 0 without leader
            nothing is wrong
            held
              reassign partitions for cluster: paused by kim: upgrade
            asked for
              paused by kim since 2023-11-14 22:14:00 (upgrade); end it with: doctorkafka resume
              maintenance of broker 2 by kim since 2023-11-14 22:14:00 until 2023-11-14 22:16:00 (upgrade); end it with: doctorkafka maintenance off --broker 2
            last records
              2023-11-14 22:14:00  kim: pause cluster (upgrade): paused
        "#]],
    );
}

#[test]
fn no_order_is_said_to_end_the_pause_for_a_store_that_cannot_be_read() {
    check(
        |cluster| {
            let (since, until) = (Timestamp(NOW - 60_000), None);
            let wish = Wish { by: SHELL_SOURCE.to_owned(), reason: "damaged".to_owned(), since, until };
            cluster.wishes = Wishes { paused: Some(wish), ..Wishes::default() };
        },
        &expect![[r#"
            test  (cluster id abc)  looked 0.4 s ago
              brokers     4 live
              partitions  60, 0 under-replicated, 0 without leader
            nothing is wrong
            asked for
              paused by doctorkafka since 2023-11-14 22:14:00 (damaged); ends once the state store can be read
        "#]],
    );
}

#[test]
fn shows_what_the_script_that_replaces_a_host_says() {
    check(
        |cluster| {
            cluster.work = vec![Doing {
                execution: 9,
                event: "replace_instance".to_owned(),
                target: "broker 3".to_owned(),
                reason: "broker 3 is dead".to_owned(),
                dry_run: false,
                since: NOW - 308_000,
                cancelled_by: None,
                can_stop: true,
                moves: None,
                says: vec!["terminating i-1".to_owned(), "waiting for i-2".to_owned()],
                said_ago: Some(185_000),
            }];
        },
        &expect![[r#"
            test  (cluster id abc)  looked 0.4 s ago
              brokers     4 live
              partitions  60, 0 under-replicated, 0 without leader
            nothing is wrong
            being done
              #9 replace instance for broker 3: broker 3 is dead  [for 5 min 8 s]
                 says: terminating i-1
                 says: waiting for i-2
                 has said nothing for 3 min 5 s
                 stop it with: doctorkafka cancel 9
        "#]],
    );
}
