use std::collections::BTreeMap;
use std::time::Duration;

use cluster::BrokerId;

use super::KINDS;
use crate::attributes::{BrokerDisks, BrokerReport, BrokerReports, DegradedBrokers, DirUse, Disks};
use crate::testing::{Cycle, World};

const CLUSTER: &str = "b1\nb2\nb3\nb4\nb5\nt-0: 1* 2 3";

fn world() -> World {
    let mut world = World::new(CLUSTER);
    let reports = (1..=5).map(|id| (BrokerId(id), BrokerReport::default()));
    world.reports = Some(BrokerReports {
        brokers: reports.collect(),
        unreadable: 0,
        caught_up: true,
        read_to_end_ago: Some(Duration::ZERO),
    });
    world
}

/// The report of broker 3.
fn report(world: &mut World) -> &mut BrokerReport {
    world.reports.as_mut().unwrap().brokers.get_mut(&BrokerId(3)).unwrap()
}

fn idle(world: &mut World, permille: u32) {
    report(world).request_handlers_idle_permille = Some(permille);
}

/// The reasons for which broker 3 is degraded, and nobody else is.
fn reasons(cycle: &Cycle) -> Vec<String> {
    let found = cycle.state.get::<DegradedBrokers>().unwrap().value;
    assert!(found.brokers.keys().all(|id| *id == BrokerId(3)), "{found:?}");
    found.brokers.values().flat_map(|it| &it.reasons).map(|reason| reason.kind.clone()).collect()
}

/// What is said about degraded brokers.
fn said(cycle: &Cycle) -> String {
    let is_about = |line: &&str| KINDS.iter().any(|kind| line.contains(&format!(" {kind} ")));
    cycle.text().lines().filter(is_about).collect::<Vec<_>>().join("\n")
}

#[test]
fn request_handlers_are_saturated_after_a_time_and_well_after_a_time() {
    let mut world = world();
    idle(&mut world, 52);
    assert_eq!(
        said(&world.watch(599)),
        "info request_handlers_saturated [broker 3] the request handlers of broker 3 are idle for 5.2 % of their time, less \
         than 10 % -- waits for this to last for 10m"
    );
    let begun = world.now.wall.0 - 599_000;
    let cycle = world.watch(1);
    assert!(said(&cycle).starts_with("warning request_handlers_saturated [broker 3]"), "{}", said(&cycle));
    let found = &cycle.state.get::<DegradedBrokers>().unwrap().value.brokers[&BrokerId(3)];
    assert_eq!((found.since.0, found.reasons[0].since.0), (begun, begun));
    // Neither saturated nor well.
    idle(&mut world, 150);
    assert_eq!(reasons(&world.watch(3_000)).len(), 1);
    idle(&mut world, 500);
    let cycle = world.watch(599);
    assert_eq!(reasons(&cycle).len(), 1);
    assert!(
        said(&cycle).ends_with("waits for it to be gone for 10m, as it is at present"),
        "{}",
        said(&cycle)
    );
    assert_eq!(reasons(&world.watch(1)), [""; 0]);
}

#[test]
fn what_comes_and_goes_neither_begins_nor_ends_it() {
    let mut world = world();
    for _ in 0..10 {
        idle(&mut world, 0);
        assert_eq!(reasons(&world.watch(500)), [""; 0]);
        idle(&mut world, 900);
        assert_eq!(reasons(&world.watch(500)), [""; 0]);
    }
    idle(&mut world, 0);
    assert_eq!(reasons(&world.watch(601)).len(), 1);
    let opened = world.incidents.next_id;
    for _ in 0..10 {
        idle(&mut world, 900);
        assert_eq!(reasons(&world.watch(500)).len(), 1);
        idle(&mut world, 0);
        assert_eq!(reasons(&world.watch(500)).len(), 1);
    }
    assert_eq!(world.incidents.next_id, opened, "it has flapped");
}

#[test]
fn what_cannot_be_seen_is_as_it_was() {
    let mut world = world();
    // An old report says nothing, however bad it is.
    idle(&mut world, 0);
    report(&mut world).age = Duration::from_secs(200);
    assert_eq!(said(&world.watch(2_000)), "");
    report(&mut world).age = Duration::ZERO;
    assert_eq!(reasons(&world.watch(601)).len(), 1);
    world.reports = None;
    assert_eq!(reasons(&world.watch(3_000)).len(), 1);
    // Who is alive is not known: nothing is said to be degraded, and nothing to be over.
    world.liveness_age = Duration::from_secs(60);
    let cycle = world.watch(1_000);
    assert!(cycle.state.get::<DegradedBrokers>().is_none() && !said(&cycle).is_empty());
    world.liveness_age = Duration::ZERO;
    assert_eq!(reasons(&world.watch(1)).len(), 1);
}

#[test]
fn a_clock_that_is_set_makes_nothing_count_sooner() {
    let mut world = world();
    idle(&mut world, 0);
    world.watch(300);
    world.now.wall.0 += 3_600_000;
    assert_eq!(reasons(&world.watch(200)), [""; 0]);
    assert_eq!(reasons(&world.watch(200)).len(), 1);
    idle(&mut world, 900);
    world.now.wall.0 -= 7_200_000;
    // Set back: it ends no later than it would.
    assert_eq!(reasons(&world.watch(500)).len(), 1);
    assert_eq!(reasons(&world.watch(102)), [""; 0]);
}

#[test]
fn a_restart_of_the_service_forgets_nothing_that_counts() {
    let mut world = world();
    idle(&mut world, 0);
    world.watch(601);
    for incident in world.incidents.open.values_mut() {
        (incident.watched_since, incident.watched_until, incident.opened) = (None, None, None);
    }
    assert_eq!(reasons(&world.watch(0)).len(), 1);
}

fn disks(error: Option<&str>) -> Disks {
    let dir = |path: &str, error: Option<&str>| DirUse {
        path: path.into(),
        total_bytes: None,
        usable_bytes: None,
        replicas: 1,
        error: error.map(str::to_owned),
    };
    let brokers = (1..=5).map(|id| {
        let error = error.filter(|_| id == 3);
        (BrokerId(id), BrokerDisks { dirs: vec![dir("/d1", None), dir("/d2", error)] })
    });
    Disks { brokers: brokers.collect(), ..Disks::default() }
}

#[test]
fn a_log_dir_has_failed_as_the_broker_says() {
    let mut world = World::new(CLUSTER);
    world.disks = Some(disks(Some("Disk error")));
    assert_eq!(reasons(&world.watch(59)), [""; 0]);
    assert_eq!(
        said(&world.watch(1)),
        "critical log_dir_failed [broker 3] a log dir of broker 3 has failed (/d2: Disk error)"
    );
    world.disks = Some(disks(None));
    assert_eq!(reasons(&world.watch(599)), ["log_dir_failed"]);
    assert_eq!(reasons(&world.watch(1)), [""; 0]);
}

#[test]
fn a_log_dir_has_failed_or_cannot_be_written_as_the_agent_says() {
    let mut world = world();
    report(&mut world).failure = Some("log directory /d2: it has failed".to_owned());
    report(&mut world).failure_reason = Some("DiskFailure".to_owned());
    report(&mut world).failed_log_dirs = vec!["/d2".to_owned()];
    assert_eq!(
        said(&world.watch(60)),
        "critical log_dir_failed [broker 3] a log dir of broker 3 has failed (/d2)"
    );
    // The original's agents do not say which.
    report(&mut world).failed_log_dirs.clear();
    assert!(said(&world.watch(1)).contains("as its agent says: log directory /d2"));
    let mut world = self::world();
    report(&mut world).failure_reason = Some("DiskFailure".to_owned());
    report(&mut world).failure_detail =
        Some("log directory /d: its file system is mounted read-only".to_owned());
    assert_eq!(
        said(&world.watch(60)),
        "critical log_dir_read_only [broker 3] a log dir of broker 3 cannot be written: log directory /d: its file system is \
         mounted read-only"
    );
}

#[test]
fn a_report_that_failed_for_another_reason_makes_no_log_dir_well() {
    let mut world = world();
    report(&mut world).failure_reason = Some("DiskFailure".to_owned());
    assert_eq!(reasons(&world.watch(61)), ["log_dir_read_only"]);
    report(&mut world).failure_reason = Some("JmxConnectionFailure".to_owned());
    report(&mut world).failure = Some("cannot reach b3:9092".to_owned());
    assert_eq!(reasons(&world.watch(1_000)), ["log_dir_read_only", "agent_reports_failure"]);
}

#[test]
fn an_agent_names_what_has_failed_but_what_its_report_lacks_is_no_failure() {
    let mut world = world();
    report(&mut world).failure_reason = Some("JmxQueryFailure".to_owned());
    report(&mut world).failure_detail = Some("prometheus: no metrics".to_owned());
    assert_eq!(said(&world.watch(2_000)), "");
    report(&mut world).failure = Some("cannot reach b3:9092".to_owned());
    report(&mut world).failure_reason = Some("JmxConnectionFailure".to_owned());
    assert_eq!(
        said(&world.watch(601)),
        "warning agent_reports_failure [broker 3] the agent of broker 3 reports a failure (JmxConnectionFailure): cannot reach \
         b3:9092"
    );
}

fn answers(world: &mut World, millis: [u64; 5]) {
    world.usual = (1..).map(BrokerId).zip(millis.map(Duration::from_millis)).collect();
}

#[test]
fn a_broker_is_slow_compared_with_the_median_of_enough_others() {
    let mut world = World::new(CLUSTER);
    answers(&mut world, [2, 3, 900, 40, 2]);
    assert_eq!(
        said(&world.watch(600)),
        "warning broker_slow [broker 3] broker 3 takes 900 ms to answer, the median of the other 4 takes 3 ms"
    );
    // All are slow: that is our network, or the whole cluster.
    let mut world = World::new(CLUSTER);
    answers(&mut world, [700, 800, 900, 700, 800]);
    assert_eq!(said(&world.watch(2_000)), "");
    // Slower than the others, but fast enough; a second rack is further away.
    answers(&mut world, [1, 1, 400, 40, 40]);
    assert_eq!(said(&world.watch(2_000)), "");
    // With too few others nobody can say.
    answers(&mut world, [2, 3, 900, 2, 2]);
    world.usual.retain(|id, _| id.0 < 4);
    assert_eq!(said(&world.watch(2_000)), "");
}

#[test]
fn the_median_is_that_of_the_others() {
    for (all, own, median) in [
        (vec![1, 2, 3, 900], 900, 2),
        (vec![1, 2, 3, 900], 1, 3),
        (vec![1, 2, 3, 900], 2, 3),
        (vec![1, 1, 1, 1, 900], 900, 1),
        (vec![5, 5], 5, 5),
    ] {
        let millis = Duration::from_millis;
        let sorted: Vec<Duration> = all.iter().copied().map(millis).collect();
        let known = super::Known { reports: BTreeMap::new(), disks: None, answers: BTreeMap::new(), sorted };
        assert_eq!(
            known.median_of_others(millis(own)),
            Some((millis(median), all.len() - 1)),
            "{all:?} {own}"
        );
    }
}

#[test]
fn only_live_brokers_that_nobody_works_on_are_degraded() {
    let mut world = world();
    idle(&mut world, 0);
    world.wishes.broker_maintenance.insert(BrokerId(3), world.wish(None));
    assert_eq!(said(&world.watch(2_000)), "");
    world.wishes.broker_maintenance.clear();
    assert_eq!(reasons(&world.watch(601)).len(), 1);
    world.becomes("b1\nb2\nb3 dead\nb4\nb5\nt-0: 1* 2 3~");
    let opened = world.incidents.next_id;
    assert_eq!(reasons(&world.watch(1)), [""; 0]);
    // Its death does not mend what is wrong with it.
    idle(&mut world, 900);
    assert!(said(&world.watch(3_000)).starts_with("warning request_handlers_saturated [broker 3]"));
    world.becomes(CLUSTER);
    assert_eq!(reasons(&world.watch(590)).len(), 1);
    assert_eq!(reasons(&world.watch(10)), [""; 0]);
    world.becomes("b1\nb2\nb3 dead\nb4\nb5\nt-0: 1* 2 3~");
    let all = world.watch(1).state;
    let again = all.incidents().open.values().filter(|it| it.id >= opened && KINDS.contains(&&*it.key.kind));
    assert_eq!(again.count(), 0);
}

#[test]
fn of_a_broker_that_is_taken_out_of_service_nothing_is_said_any_more() {
    let mut world = world();
    idle(&mut world, 0);
    assert_eq!(reasons(&world.watch(601)).len(), 1);
    world.becomes("b1\nb2\nb3 dead\nb4\nb5\nt-0: 1* 2 3~");
    world.wishes.decommissioned.insert(BrokerId(3), world.wish(None));
    assert_eq!(said(&world.watch(1)), "");
}
