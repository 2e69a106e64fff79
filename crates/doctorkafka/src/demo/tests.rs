//! The demo, as it is told and as it looks.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use sim::world::{BrokerPanel, ProcessState};

use super::*;
use crate::api::status::{HeldEvent, Problem};

fn demo() -> Demo {
    let scenario = Demo::read(STORY.as_bytes(), 12, 1).unwrap();
    Demo { seed: 1, speed: 5, brokers: 12, scenario, keep_going: false }
}

fn told(demo: &Demo, text: &str) -> String {
    let cluster = demo.cluster();
    let scenario = Demo::read(text.as_bytes(), demo.brokers, demo.seed).unwrap();
    let planned = &scenario.faults.0[0];
    story::of_fault(&planned.fault, planned.lasting, &cluster)
}

#[test]
fn the_story_ends_within_a_minute_at_its_usual_speed() {
    let demo = demo();
    let end = demo.end().unwrap();
    assert!(end.0 / u64::from(demo.speed) < 58_000, "{end}");
    assert!(Moment::default().plus(demo.scenario.over() + QUIET) < end, "it ends before it is over");
}

#[test]
fn the_story_is_one_for_every_number_of_brokers() {
    for brokers in [4, 5, 6, 7, 12, 60] {
        let scenario = Demo::read(STORY.as_bytes(), brokers, 1);
        assert!(scenario.is_ok(), "{brokers} brokers: {}", scenario.unwrap_err());
    }
}

#[test]
fn a_scenario_goes_on_until_its_faults_are_over_or_as_long_as_it_says() {
    let end = |text: &str| {
        let scenario = Demo::read(text.as_bytes(), 12, 1).unwrap();
        Demo { scenario, ..demo() }.end().unwrap().0 / 1_000
    };
    assert_eq!(end("at 10s kill b3"), 10 + 600);
    assert_eq!(end("at 10s pause b3 5m\nat 20s isolate b1 from us for 20m"), 20 + 1_200 + 600);
    assert_eq!(end("at 10s kill b3\nrun 42s"), 42);
}

#[test]
fn the_narrator_tells_what_is_done_and_no_more() {
    let demo = demo();
    let kill = told(&demo, "at 1s kill b3");
    assert!(kill.starts_with("b3 is killed (kill -9)"), "{kill}");
    assert!(told(&demo, "at 1s fill b5 95%").contains("95 %"));
    assert!(told(&demo, "at 1s isolate b7 from us for 30s").contains("from b7, for 30s"));
    let rack = told(&demo, "at 1s rack-down r2");
    assert!(rack.contains("b2, b5, b8, b11.") && rack.contains("brake"), "{rack}");
    let small = Demo { brokers: 4, ..demo };
    assert!(!told(&small, "at 1s rack-down r2").contains("brake"), "the brake is not there for one broker");
    assert!(told(&small, "at 1s clock -90s").contains("back by 1m 30s"));
    assert!(!told(&small, "at 1s calm").contains("moved"), "nobody knows what was moved before");
}

#[test]
fn what_cannot_be_played_is_refused_before_the_start() {
    let refused = |text: &str| Demo::read(text.as_bytes(), 12, 1).unwrap_err().to_string();
    assert!(
        refused("at 1s kill b99").contains("column 12: there is no broker b99: the cluster has 12 brokers")
    );
    assert!(
        refused("at 1s rack-down r9").contains("there is no rack r9: the cluster has the racks r1, r2, r3")
    );
    for too_little in ["grace 0s", "grace 500ms"] {
        let why = refused(too_little);
        assert!(why.starts_with("line 1, column 7: expected a time of at least 1s"), "{why}");
    }
    let why = refused("at 1s kill b3\nthrottle 0B/s");
    assert!(why.starts_with("line 2, column 10: expected a rate of at least 1B/s"), "{why}");
    assert!(refused("kill b3").starts_with("line 1, column 1: a step without a moment"));
}

#[test]
fn the_configuration_is_one_that_the_service_takes() {
    let folder = tempfile::tempdir().unwrap();
    let own = Demo::read(b"grace 42s\nb7 at=[::1]:9093\nb9 rack=r1\nt-0: 7* 9\n", 12, 1).unwrap();
    for (speed, scenario) in (1..=20).zip([demo().scenario, own].into_iter().cycle()) {
        let demo = Demo { speed, scenario, ..demo() };
        let config = demo.config(folder.path(), &crate::plugins::builtin()).unwrap();
        assert_eq!(config.clusters.len(), 1);
        assert!(config.clusters[0].actions.iter().all(|action| !action.dry_run));
    }
}

/// The picture on a terminal of `width` columns.
fn drawn(panels: &[BrokerPanel], status: &ClusterStatus, width: u16, height: u16) -> Vec<String> {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    let end = Some(Moment(290_000));
    Picture { now: Moment(30_000), end, panels, status }.render(area, &mut buffer);
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| row(y).trim_end().to_owned()).collect()
}

fn panels_after(demo: &Demo, moment: Moment) -> Vec<BrokerPanel> {
    let mut world = demo.world();
    world.advance_to(moment);
    world.panels()
}

fn problem(kind: &str, number: u64, message: &str) -> Problem {
    Problem {
        id: number,
        kind: kind.to_owned(),
        subject: format!("broker {number}"),
        severity: control::Severity::Warning,
        message: message.to_owned(),
        waits_for: None,
        since: 0,
    }
}

fn in_trouble() -> ClusterStatus {
    let reason = "4 of 12 brokers are absent (2, 5, 8, 11), which is all of rack r2: a switch is more likely to be \
                  broken than all of them, at most 1 may be";
    let held = HeldEvent {
        event: "reassign_partitions".to_owned(),
        target: "cluster".to_owned(),
        check: "brake".to_owned(),
        reason: reason.to_owned(),
    };
    let dead = |id| {
        problem(
            "broker_dead",
            id,
            &format!(
                "broker {id} is dead: Kafka has dropped it, and it does not answer at b{id}:9092 (cannot reach b{id}:9092: connection refused)"
            ),
        )
    };
    let absent = |id| problem("broker_absent", id, "Kafka has dropped it");
    ClusterStatus {
        now: 5_000,
        incidents: [2, 5, 8, 11].into_iter().flat_map(|id| [dead(id), absent(id)]).collect(),
        held: vec![held],
        ..ClusterStatus::default()
    }
}

#[test]
fn all_brokers_are_seen_on_a_small_terminal_a_row_for_each_rack() {
    let rows = drawn(&panels_after(&demo(), Moment(30_000)), &ClusterStatus::default(), 80, 14);
    assert!(rows[0].starts_with("── 00:30, ends by 04:50 ── 0 partitions"), "{rows:#?}");
    for (at, brokers) in [(2, [1, 4, 7, 10]), (3, [2, 5, 8, 11]), (4, [3, 6, 9, 12])] {
        assert!(rows[at].starts_with(&format!("r{}", at - 1)), "{rows:#?}");
        for id in brokers {
            assert!(rows[at].contains(&format!("b{id} ")), "b{id} in {rows:#?}");
        }
    }
    assert!(rows[4].contains("b3  DOWN") && rows[2].contains("b4  up"), "{rows:#?}");
    assert_eq!(rows[5], "nothing is wrong");
}

#[test]
fn what_is_held_and_why_is_broken_into_rows_and_not_cut() {
    for (brokers, width, height) in [(12, 80, 14), (60, 80, 14), (60, 120, 20), (12, 40, 10)] {
        let demo = Demo { brokers, ..demo() };
        let rows = drawn(&panels_after(&demo, Moment(1_000)), &in_trouble(), width, height);
        let text = rows.join("\n");
        assert!(
            text.contains("! broker 2 is dead") && text.contains("= held: reassign partitions"),
            "{text}"
        );
        assert!(text.contains("more"), "not all problems fit, and that is not said: {text}");
        if width >= 80 {
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words.contains("all of them, at most 1 may be"), "{text}");
        }
        assert!(!text.contains("Kafka has dropped it (for"), "an absence next to the death: {text}");
    }
}

#[test]
fn many_brokers_are_counted_and_those_that_are_not_well_named() {
    let demo = Demo { brokers: 60, ..demo() };
    let rows = drawn(&panels_after(&demo, Moment(30_000)), &in_trouble(), 80, 14);
    assert!(rows[1].starts_with("r1 20 of 20 up"), "{rows:#?}");
    assert!(rows[3].starts_with("r3 19 of 20 up; DOWN: b3"), "{rows:#?}");
}

#[test]
fn long_names_of_racks_and_brokers_without_racks_have_their_place() {
    let own = Demo::read(b"b1 rack=eu-west-1a\nb2 rack=eu-west-1b\nt-0: 1* 2\n", 12, 1).unwrap();
    let rows =
        drawn(&panels_after(&Demo { scenario: own, ..demo() }, Moment(0)), &ClusterStatus::default(), 80, 14);
    assert!(rows[2].starts_with("eu-west-1a b1  up"), "{rows:#?}");
    let own = Demo::read(b"b1\nb2\nt-0: 1* 2\n", 12, 1).unwrap();
    let rows =
        drawn(&panels_after(&Demo { scenario: own, ..demo() }, Moment(0)), &ClusterStatus::default(), 80, 14);
    assert!(rows[2].starts_with("all b1  up"), "{rows:#?}");
}

#[test]
fn it_is_over_when_nothing_changes_and_nothing_is_on_its_way() {
    let panels = panels_after(&demo(), Moment(0));
    let well = ClusterStatus { last_cycle_age: Some(0), ..ClusterStatus::default() };
    let quiet = |status: &ClusterStatus, panels: &[BrokerPanel]| {
        let mut calm = Calm::default();
        let _ = calm.look(Moment(1_000), panels, status);
        calm.look(Moment(21_000), panels, status).as_secs()
    };
    assert_eq!(quiet(&well, &panels), 20);
    // In its grace a broker is about to become dead; a dead one stays what it is.
    let with = |incidents| ClusterStatus { incidents, ..well.clone() };
    let absent = || problem("broker_absent", 3, "gone");
    assert_eq!(quiet(&with(vec![absent()]), &panels), 0);
    assert_eq!(quiet(&with(vec![absent(), problem("broker_dead", 3, "dead")]), &panels), 20);
    assert_eq!(quiet(&ClusterStatus::default(), &panels), 0, "the service has not looked yet");
    let mut starting = panels.clone();
    starting[4].process = ProcessState::Starts;
    assert_eq!(quiet(&well, &starting), 0);
    let mut calm = Calm::default();
    let _ = calm.look(Moment(1_000), &panels, &well);
    assert_eq!(calm.look(Moment(21_000), &panels, &with(vec![problem("any", 1, "new")])).as_secs(), 0);
}

#[test]
fn a_record_is_told_at_its_moment_although_the_wall_clock_was_set() {
    let mut world = World::new(&"b1".parse().unwrap(), Settings::default());
    world.plan(&"at 10s clock +1h".parse().unwrap());
    world.advance_to(Moment(20_000));
    let clocks = Clocks { now: world.now(), our_wall_ms: world.our_wall_ms() };
    assert_eq!(clocks.moment(world.our_wall_ms() - 3_000), Moment(17_000));
}
