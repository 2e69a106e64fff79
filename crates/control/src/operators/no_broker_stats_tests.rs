use std::time::Duration;

use cluster::BrokerId;
use expect_test::expect;

use super::*;
use crate::attributes::{BrokerReport, BrokerReports};
use crate::testing::{Cycle, World};
use crate::time::Timestamp;

/// Three live brokers, of which those in `ages` have reported so many seconds ago.
fn world(ages: &[(i32, u64)]) -> World {
    let mut world = World::new("b1\nb2\nb3\nt-0: 1* 2 3");
    let report = |age| BrokerReport {
        made: Timestamp::default(),
        age: Duration::from_secs(age),
        partitions_bytes_in_per_second: std::sync::Arc::default(),
        ..BrokerReport::default()
    };
    let brokers = ages.iter().map(|(id, age)| (BrokerId(*id), report(*age))).collect();
    world.reports = Some(BrokerReports {
        brokers,
        unreadable: 0,
        caught_up: true,
        read_to_end_ago: Some(Duration::ZERO),
    });
    world
}

fn silent(cycle: &Cycle) -> Vec<i32> {
    cycle
        .state
        .get::<NoBrokerStats>()
        .map_or(vec![], |fact| fact.value.brokers.keys().map(|id| id.0).collect())
}

#[test]
fn tells_of_agents_that_have_fallen_silent() {
    expect![[r"
        warning no_broker_stats [broker 2] the agent of broker 2 has not reported for 20m 1s
        => alert_no_brokerstats_brokers [broker 2] the agent of broker 2 has not reported for 20m 1s (cause: no_broker_stats of broker 2)
    "]]
    .assert_eq(&world(&[(1, 30), (2, 1201), (3, 1200)]).look().text());
}

#[test]
fn gives_a_new_broker_time_for_its_first_report() {
    let mut world = world(&[(1, 30), (2, 30)]);
    expect![[r"
        info no_broker_stats [broker 3] the agent of broker 3 has never reported -- waits for its first report, for 20m
    "]]
    .assert_eq(&world.watch(1199).text());
    assert_eq!(silent(&world.watch(1)), [3]);
}

#[test]
fn blames_nobody_before_the_topic_is_read_to_its_end() {
    let mut world = world(&[]);
    world.reports.as_mut().unwrap().caught_up = false;
    assert_eq!(world.look().text(), "nothing\n");
    world.reports = None;
    assert_eq!(world.look().text(), "nothing\n");
}

#[test]
fn expects_no_reports_of_brokers_that_are_down_or_under_maintenance() {
    let mut world = world(&[(1, 30), (2, 5000), (3, 5000)]);
    world.becomes("b1\nb2\nb3 dead\nt-0: 1* 2");
    world.wishes.broker_maintenance.insert(BrokerId(2), world.wish(None));
    assert_eq!(silent(&world.look()), [0; 0]);
}

#[test]
fn alerts_once_for_each_incident_unless_it_is_told_otherwise() {
    let mut world = world(&[(1, 30), (2, 5000), (3, 30)]);
    assert_eq!(world.look().events[0].repeat, Repeat::OncePerIncident);
    world.agents.repeat_every = Some(HumanDuration::seconds(3600));
    assert_eq!(world.look().events[0].repeat, Repeat::Every(Duration::from_secs(3600)));
}

#[test]
fn drk_34_a_broker_without_an_agent_does_not_keep_others_from_being_healed() {
    let mut world = world(&[]);
    world.becomes("b1\nb2\nb3 dead\nb4\nt-0: 1* 2 3~");
    let cycle = world.watch(1300);
    assert_eq!(silent(&cycle), [1, 2, 4]);
    assert!(cycle.order().is_some());
}

#[test]
fn drk_62_a_broker_that_joins_without_an_agent_stops_no_check() {
    let mut world = world(&[(1, 30), (2, 30), (3, 30)]);
    world.becomes("b1\nb2\nb3\nb4\nt-0: 1* 2~ 3");
    assert!(world.watch(1300).names().contains(&"under_replicated".to_owned()));
}
