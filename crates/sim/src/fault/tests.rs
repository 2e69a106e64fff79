use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

const ALL: &str = "\
at 0s kill b3
at 1m shut-down b1
at 1m30s restart b1
at 1h recover b2 40m
at 5s replace b3
at 5s pause b2 20s
within 10m flap b4
at 5s slow-disk b2 10MB/s for 1m
at 5s fill b5
at 5s fill any 95%
at 5s isolate b1 from b2
at 5s isolate b1 from us for 5m
at 5s isolate any from controller
at 5s frozen-metadata b2
at 5s agent-silent b4 for 250ms
at 5s stats-lag 1m30s
at 5s stats-unreachable for 10m
at 5s topics-unreadable for 2m
at 5s answers-lost
at 5s rack-down r1
at 5s traffic orders x3 for 1h
at 5s traffic orders x0.25
at 5s foreign-reassignment orders-0 1 2 4
at 5s foreign-cancel my-topic-12
at 5s crash us
at 5s clock +1h
at 5s clock -5m
at 5s calm
";

#[test]
fn prints_every_form_as_it_was_written() {
    assert_eq!(ALL.parse::<Schedule>().unwrap().to_string(), ALL);
}

#[test]
fn leaves_comments_and_empty_lines_out() {
    let schedule: Schedule = "\n  # nothing\n at  1s   calm # really\n".parse().unwrap();
    assert_eq!(schedule.to_string(), "at 1s calm\n");
}

fn check(text: &str, expected: Expect) {
    expected.assert_eq(&text.parse::<Schedule>().unwrap_err().to_string());
}

#[test]
fn says_where_a_text_is_wrong_and_why() {
    check(
        "at 1s kill b1\nat 2s kil b1",
        expect![[r#"line 2, column 7: expected a fault such as kill, found "kil""#]],
    );
    check("on 1s kill b1", expect![[r#"line 1, column 1: expected at or within, found "on""#]]);
    check(
        "at 30 kill b1",
        expect![[r#"line 1, column 4: expected a time such as 90s or 1h30m, found "30""#]],
    );
    check(
        "at 1s kill",
        expect!["line 1, column 11: expected a broker (b1) or any, found the end of the line"],
    );
    check("at 1s kill 3", expect![[r#"line 1, column 12: expected a broker (b1) or any, found "3""#]]);
    check("at 1s kill b3 for 5m", expect![[r#"line 1, column 15: "for" is too much"#]]);
    check("at 1s isolate b3 from b3", expect!["line 1, column 23: a broker cannot be isolated from itself"]);
    check(
        "at 1s slow-disk b3 10MB",
        expect![[r#"line 1, column 20: expected a rate such as 10MB/s, found "10MB""#]],
    );
    check(
        "at 1s traffic t x1.2345",
        expect![[r#"line 1, column 17: expected a factor such as x3 or x0.5, found "x1.2345""#]],
    );
    check("at 1s fill b1 101%", expect![[r#"line 1, column 15: expected a part such as 95%, found "101%""#]]);
    check("at 1s foreign-reassignment t-0 1 2 1", expect!["line 1, column 36: broker 1 is there twice"]);
    check(
        "at 1s foreign-reassignment t 1",
        expect![[r#"line 1, column 28: expected a partition (topic-0), found "t""#]],
    );
    check(
        "at 999999999d calm",
        expect![[r#"line 1, column 4: expected a time such as 90s or 1h30m, found "999999999d""#]],
    );
}

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![Just(Who::Any), (0..9999).prop_map(|id| Who::Broker(BrokerId(id)))]
}

fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![(0..100_000_u64), (0..1_000_u64).prop_map(|s| s * 1000)].prop_map(Duration::from_millis)
}

fn partition() -> impl Strategy<Value = TopicPartition> {
    ("[a-z][a-z0-9._-]{0,8}", 0..1000).prop_map(|(topic, number)| TopicPartition::new(topic, number))
}

fn fault() -> impl Strategy<Value = Fault> {
    let of_broker = (who(), time(), 1..5_000_000_u64, 0..=100_u8, 0..4_u8).prop_flat_map(
        |(who, time, rate, percent, party)| {
            let party = match party {
                0 => Party::Us,
                1 => Party::Controller,
                // No broker of `who` has this id.
                _ => Party::Broker(BrokerId(10_000)),
            };
            prop::sample::select(vec![
                Fault::Kill(who),
                Fault::ShutDown(who),
                Fault::Restart(who),
                Fault::Recover(who, time),
                Fault::Replace(who),
                Fault::Pause(who, time),
                Fault::Flap(who),
                Fault::SlowDisk(who, rate),
                Fault::Fill(who, percent),
                Fault::Isolate(who, party),
                Fault::FrozenMetadata(who),
                Fault::AgentSilent(who),
            ])
        },
    );
    let ids = prop::collection::btree_set(0..100, 1..5);
    let of_partition = (partition(), ids).prop_flat_map(|(at, ids)| {
        let to = ids.into_iter().map(BrokerId).collect();
        prop::sample::select(vec![Fault::ForeignReassignment(at.clone(), to), Fault::ForeignCancel(at)])
    });
    prop_oneof![
        of_broker,
        of_partition,
        time().prop_map(Fault::StatsLag),
        "[a-z][a-z0-9-]{0,5}".prop_map(Fault::RackDown),
        ("[a-z][a-z0-9._-]{0,8}", 0..100_000_u32).prop_map(|(t, by)| Fault::Traffic(t.into(), by)),
        (-1_000_000..1_000_000_i64).prop_map(Fault::Clock),
        Just(Fault::CrashUs),
        Just(Fault::AnotherCluster),
        Just(Fault::StatsUnreachable),
        Just(Fault::TopicsUnreadable),
        Just(Fault::AnswersLost),
        Just(Fault::Calm),
    ]
}

fn planned() -> impl Strategy<Value = Planned> {
    let when = prop_oneof![time().prop_map(When::At), time().prop_map(When::Within)];
    (when, fault(), prop::option::of(time())).prop_map(|(when, fault, lasting)| {
        let lasting = lasting.filter(|_| fault.lasts());
        Planned { when, fault, lasting }
    })
}

proptest! {
    #[test]
    fn what_prints_parses_to_the_same(faults in prop::collection::vec(planned(), 0..8)) {
        let schedule = Schedule(faults);
        prop_assert_eq!(schedule.to_string().parse::<Schedule>(), Ok(schedule));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(at|within)? ?[0-9a-z%x.+/#\n-]{0,60}") {
        let _ = text.parse::<Schedule>();
    }
}
