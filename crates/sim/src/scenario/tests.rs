use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

const CLUSTER: &str = "\
b1 rack=r1
b2 rack=r2
b3 rack=r2 dead
orders-0: 1* 2 3~ size=10MiB
orders-1: 2* 1
";

fn player() -> Player {
    Player {
        usual: ClusterText::default(),
        plays_moments: true,
        plays_steps: true,
        plays_crashes: true,
        replaces_hosts: true,
    }
}

fn with_cluster(rest: &str) -> Result<Scenario, ScenarioError> {
    Scenario::read(format!("{CLUSTER}{rest}").as_bytes(), &player())
}

/// Errors of lines that follow the five of the cluster.
fn check(rest: &str, expected: Expect) {
    expected.assert_eq(&with_cluster(rest).unwrap_err().to_string());
}

#[test]
fn prints_every_kind_of_line_as_it_was_written() {
    let before = "kafka zookeeper\ngrace 1m30s\nmin-insync 2\nlog-dirs 2\nagents\nreplace-hosts\n";
    let after = "\
at 30s kill b3
within 10m flap any
at 1m isolate b1 from b2 for 20s
at 5m order approve
at 6m order maintenance-on b1
at 6m order decommission-on b1
at 7m order decommission-off b1
at 7m order replace b1
at 7m order maintenance-off
kill b2, kill b3
reassign orders-0 1 -1 1
reassign none-7
cancel orders-0
elect orders-0
write orders-1
ask b1
throttle b3
unthrottle b3
wait 4s
run 20m
";
    let text = format!("{before}{CLUSTER}{after}");
    assert_eq!(Scenario::read(text.as_bytes(), &player()).unwrap().to_string(), text);
}

#[test]
fn lines_may_stand_in_any_order_and_have_comments() {
    let text = "run 1m # long\n\nat 1s kill b1\n t-0: 1*\n kill b1, # or\nb1\n";
    check_text(text, "line 5, column 11: expected a fault such as kill, found the end of the line");
    let text = text.replace("b1, # or", "b1  # or, if not");
    let scenario = Scenario::read(text.as_bytes(), &player()).unwrap();
    assert_eq!(scenario.to_string(), "b1\nt-0: 1*\nat 1s kill b1\nkill b1\nrun 1m\n");
}

fn check_text(text: &str, expected: &str) {
    assert_eq!(Scenario::read(text.as_bytes(), &player()).unwrap_err().to_string(), expected);
}

#[test]
fn what_the_cluster_does_not_have_is_refused_at_its_place() {
    check(
        "at 2s kill b99",
        expect!["line 6, column 12: there is no broker b99: the cluster has 3 brokers, b1 to b3"],
    );
    check(
        "at 2s rack-down r9",
        expect!["line 6, column 17: there is no rack r9: the cluster has the racks r1, r2"],
    );
    check(
        "at 2s traffic t x3",
        expect!["line 6, column 15: there is no topic t: the cluster has the topics orders"],
    );
    check(
        "at 2s foreign-cancel orders-2",
        expect!["line 6, column 22: there is no partition orders-2: the cluster has orders-0 to orders-1"],
    );
    check(
        "at 2s foreign-reassignment orders-0 1 4",
        expect!["line 6, column 39: there is no broker b4: the cluster has 3 brokers, b1 to b3"],
    );
    check(
        "at 2s isolate b1 from b7",
        expect!["line 6, column 23: there is no broker b7: the cluster has 3 brokers, b1 to b3"],
    );
    check(
        "at 2s order maintenance-on b8",
        expect!["line 6, column 28: there is no broker b8: the cluster has 3 brokers, b1 to b3"],
    );
    check(
        "kill b1, throttle b9",
        expect!["line 6, column 19: there is no broker b9: the cluster has 3 brokers, b1 to b3"],
    );
    check(
        "orders-2: 1* +5~",
        expect!["line 6, column 14: there is no broker b5: the cluster has 3 brokers, b1 to b3"],
    );
}

#[test]
fn a_file_without_a_cluster_is_about_the_usual_one() {
    let player = Player { usual: CLUSTER.parse().unwrap(), ..player() };
    assert!(Scenario::read(b"at 1s kill b3\n", &player).unwrap().cluster.brokers.is_empty());
    let error = Scenario::read(b"at 1s kill b4\n", &player).unwrap_err();
    assert_eq!((error.line, error.column), (1, 12));
    // One with a cluster is about that alone.
    assert!(Scenario::read(b"b4\nat 1s kill b4\n", &player).is_ok());
    assert!(Scenario::read(b"b4\nat 1s kill b1\n", &player).is_err());
}

#[test]
fn says_where_a_text_is_wrong_and_why() {
    check(
        "explode b3",
        expect![[
            r#"line 6, column 1: expected a moment (at 30s, within 10m), a setting (kafka, grace, min-insync, log-dirs, dry-run, throttle 1MB/s, agents, replace-hosts, run), a broker (b1), a partition (topic-0:) or a step such as kill b3, found "explode""#
        ]],
    );
    check(
        "at 3s explode b3",
        expect![[r#"line 6, column 7: expected a fault such as kill, found "explode""#]],
    );
    check("  kill 3", expect![[r#"line 6, column 8: expected a broker (b1) or any, found "3""#]]);
    check("kill b1, kil b2", expect![[r#"line 6, column 10: expected a fault such as kill, found "kil""#]]);
    check("kill b1 for 5s", expect![[r#"line 6, column 9: "for" is too much"#]]);
    check("kafka 2.8", expect![[r#"line 6, column 7: expected 4.3, 3.9 or zookeeper, found "2.8""#]]);
    check("min-insync 0", expect![[r#"line 6, column 12: expected a number from 1, found "0""#]]);
    check("run 5m\nrun 6m", expect![[r#"line 7, column 1: "run" is there twice"#]]);
    check("agents 3", expect![[r#"line 6, column 8: "3" is too much"#]]);
    check(
        "grace",
        expect![
            "line 6, column 6: expected a time of at least 1s such as 90s or 1h30m, found the end of the line"
        ],
    );
    check("b1 rack=r9", expect![[r#"line 6, column 1: "b1" is there twice"#]]);
    check("orders-3: 1*", expect!["line 6, column 1: partition orders-2 is missing"]);
    check(
        "at 5s order fire",
        expect![[
            r#"line 6, column 13: expected an order: approve, pause, resume, cancel, maintenance-on, maintenance-off, decommission-on, decommission-off or replace, found "fire""#
        ]],
    );
    check("at 5s order pause b1", expect![[r#"line 6, column 19: "b1" is too much"#]]);
}

#[test]
fn bytes_that_are_no_text_are_told_with_their_place() {
    let error = Scenario::read(b"b1\nat 1s \xc3\xa9 kill \xff", &player()).unwrap_err();
    assert_eq!((error.line, error.column, error.problem), (2, 14, ScenarioProblem::NotText));
}

#[test]
fn what_is_not_played_is_refused_at_its_place() {
    let read = |text: &str, player: Player| {
        Scenario::read(format!("b1\n{text}").as_bytes(), &player).unwrap_err().to_string()
    };
    expect!["line 2, column 7: a crash of DoctorKafka itself cannot be played here"]
        .assert_eq(&read("at 5s crash us", Player { plays_crashes: false, ..player() }));
    expect!["line 2, column 1: a step without a moment cannot be played here: begin the line with at and a time (at 30s kill b3)"]
        .assert_eq(&read("kill b1", Player { plays_steps: false, ..player() }));
    expect!["line 2, column 1: a moment cannot be played here: write steps, each on a line without a time"]
        .assert_eq(&read("at 5s kill b1", Player { plays_moments: false, ..player() }));
}

#[test]
fn is_over_when_the_last_fault_and_order_are() {
    let over = |text: &str| with_cluster(text).unwrap().over().as_secs();
    assert_eq!(over("at 30s kill b3\nat 10s pause b1 50s"), 60);
    assert_eq!(over("within 30s recover b3 10m"), 630);
    assert_eq!(over("at 10s flap b1"), 10 + 5 * 60 + 20);
    assert_eq!(over("at 10s isolate b1 from us for 1m\nat 20s isolate b2 from us"), 70);
    assert_eq!(over("at 10s kill b1\nat 15m order approve"), 900);
}

fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![(0..100_000_u64), (0..1_000_u64).prop_map(|s| s * 1000)].prop_map(Duration::from_millis)
}

fn broker() -> impl Strategy<Value = BrokerId> {
    (1..=3).prop_map(BrokerId)
}

fn partition() -> impl Strategy<Value = TopicPartition> {
    (0..2).prop_map(|number| TopicPartition::new("orders", number))
}

fn act() -> impl Strategy<Value = Act> {
    let any_partition = ("[a-z]{1,4}", 0..9).prop_map(|(topic, number)| TopicPartition::new(topic, number));
    (any_partition, broker(), time(), prop::collection::vec(-2..9, 0..4)).prop_flat_map(
        |(at, id, time, to)| {
            prop::sample::select(vec![
                Act::Fault(Fault::Kill(crate::fault::Who::Broker(id))),
                Act::Fault(Fault::Pause(crate::fault::Who::Any, time)),
                Act::Reassign(at.clone(), to.into_iter().map(BrokerId).collect()),
                Act::Cancel(at.clone()),
                Act::Elect(at.clone()),
                Act::Write(at),
                Act::Ask(id),
                Act::Throttle(id),
                Act::Unthrottle(id),
                Act::Wait(time),
            ])
        },
    )
}

fn order() -> impl Strategy<Value = PlannedOrder> {
    let scope = prop_oneof![Just(Scope::Cluster), broker().prop_map(Scope::Broker)];
    let what = scope.prop_flat_map(|scope| {
        let on_off = [Wanted::MaintenanceOn(scope), Wanted::MaintenanceOff(scope)];
        let all = [Wanted::Approve, Wanted::Pause, Wanted::Resume, Wanted::Cancel];
        prop::sample::select(all.into_iter().chain(on_off).collect::<Vec<_>>())
    });
    (time(), what).prop_map(|(at, what)| PlannedOrder { at, what })
}

fn planned() -> impl Strategy<Value = crate::fault::Planned> {
    use crate::fault::{Party, Planned, When, Who};
    (time(), broker(), partition(), prop::option::of(time()), any::<bool>()).prop_flat_map(
        |(moment, id, at, lasting, sure)| {
            let faults = vec![
                Fault::Kill(Who::Broker(id)),
                Fault::Isolate(Who::Broker(id), Party::Controller),
                Fault::RackDown("r1".to_owned()),
                Fault::Traffic("orders".into(), 1500),
                Fault::ForeignReassignment(at.clone(), vec![id]),
                Fault::ForeignCancel(at),
                Fault::CrashUs,
                Fault::Clock(-1000),
            ];
            prop::sample::select(faults).prop_map(move |fault| {
                let when = if sure { When::At(moment) } else { When::Within(moment) };
                Planned { when, lasting: lasting.filter(|_| fault.lasts()), fault }
            })
        },
    )
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let settings = (
        prop::sample::select(Version::ALL.to_vec()),
        prop::option::of(time().prop_map(|time| time + Duration::from_secs(1))),
        (prop::option::of(1..9_usize), prop::option::of(1..9_u8)),
        (any::<bool>(), any::<bool>(), any::<bool>(), prop::option::of(1..5_000_000_000_u64)),
        prop::option::of(time()),
    );
    let step = prop::collection::vec(act(), 1..4).prop_map(Step);
    let lines = (
        prop::collection::vec(planned(), 0..5),
        prop::collection::vec(order(), 0..4),
        prop::collection::vec(step, 0..4),
    );
    (settings, lines).prop_map(
        |(
            (kafka, grace, (min_in_sync, log_dirs), (agents, replace_hosts, dry_run, throttle), run),
            (faults, orders, steps),
        )| Scenario {
            kafka,
            grace,
            min_in_sync,
            log_dirs,
            dry_run,
            throttle,
            agents,
            replace_hosts,
            run,
            cluster: CLUSTER.parse().unwrap(),
            faults: Schedule(faults),
            orders,
            steps,
        },
    )
}

proptest! {
    #[test]
    fn what_prints_reads_to_the_same(scenario in scenario()) {
        let text = scenario.to_string();
        prop_assert_eq!(Scenario::read(text.as_bytes(), &player()), Ok(scenario));
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = Scenario::read(&bytes, &player());
    }

    #[test]
    fn no_text_makes_the_parser_panic(
        text in "(at 1s |order |kill |b1|t-0:|kafka |,|#|é|\n| ){0,12}[0-9a-z%x.+/#,\n-]{0,20}"
    ) {
        let _ = Scenario::read(text.as_bytes(), &player());
    }
}

#[test]
fn a_byte_order_mark_is_no_line() {
    let marked = Scenario::read("\u{feff}run 5s".as_bytes(), &player()).unwrap();
    assert_eq!(marked, Scenario::read(b"run 5s", &player()).unwrap());
}
