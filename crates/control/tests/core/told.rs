//! What people are told of what is wrong: once, again when it becomes worse, and not that it is over before it is known.

use std::collections::BTreeMap;
use std::time::Duration;

use control::event::names;
use control::order::OrderKind;
use control::{Contribution, Finding, Inputs, Severity, Target};

use crate::executions::{FOUR, copying};
use crate::world::{Shell, setup};

/// A cluster in which nothing happens, and somebody who is told of critical incidents.
fn watched() -> Shell {
    let mut shell = setup("brokers: 1 2 3 4 5\n t-0: 1 2 3").also("mail", names::ALERT_INCIDENT).start();
    shell.quiet(2);
    shell
}

fn critical(kind: &str, many: usize) -> Finding {
    Finding::new(kind, Target::Cluster, Severity::Critical, format!("{many} are lost")).concerning(many)
}

/// The messages of so many seconds.
fn messages(shell: &mut Shell, seconds: usize) -> Vec<String> {
    let texts: String = (0..seconds).map(|_| shell.turn()).collect();
    let sent = texts.lines().filter(|line| line.starts_with("ACT") && line.contains(" mail "));
    sent.map(|line| line.split(' ').skip(3).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn a_critical_incident_without_an_alert_of_its_own_is_told_once() {
    let mut shell = watched();
    shell.findings = vec![critical("security_refused", 0)];
    assert!(messages(&mut shell, 10).is_empty());
    assert_eq!(messages(&mut shell, 100), ["alert_incident cluster"]);
    shell.crash();
    assert!(messages(&mut shell, 100).is_empty(), "it was told before the restart");
    shell.findings = vec![Finding::new("odd", Target::Cluster, Severity::Warning, "odd")];
    assert!(messages(&mut shell, 100).is_empty(), "a warning needs nobody");
}

#[test]
fn what_has_an_alert_of_its_own_is_not_told_twice() {
    let mut setup = setup("brokers: 1 2 3 4 5\n t-0: 1 2 3").also("mail", names::ALERT_INCIDENT);
    setup.actions[1].subscribed.push(names::ALERT_MASS_FAILURE.to_owned());
    let mut shell = setup.start();
    shell.quiet(2);
    shell.world.kill(3);
    shell.world.kill(4);
    assert_eq!(messages(&mut shell, 100), ["alert_mass_failure cluster"]);
}

#[test]
fn what_becomes_worse_is_told_again_and_no_more_often_than_bearable() {
    let mut shell = watched();
    shell.findings = vec![critical("partitions_lost", 2)];
    assert_eq!(messages(&mut shell, 60), ["alert_incident cluster"]);
    for many in 3..13 {
        shell.findings = vec![critical("partitions_lost", many)];
        let text = shell.turn();
        assert_eq!(text.contains("partitions_lost cluster: has become worse"), many == 3, "{text}");
    }
    // All that came within half a minute is one.
    let text: String = (0..60).map(|_| shell.turn()).collect();
    assert_eq!(text.matches("has become worse").count(), 1, "{text}");
    assert_eq!(text.matches("ACT").count(), 1, "{text}");
    // What was as bad before is no news.
    for many in [4, 12] {
        shell.findings = vec![critical("partitions_lost", many)];
        assert!(messages(&mut shell, 60).is_empty());
    }
}

#[test]
fn a_restart_ends_nothing_that_the_sources_have_not_looked_for_again() {
    let mut shell = watched();
    shell.findings = vec![critical("cluster_unreachable", 0), critical("metadata_unreadable", 0)];
    shell.quiet(5);
    shell.crash();
    let step = |shell: &mut Shell, findings: Vec<Finding>| {
        let facts = Contribution { findings, ..Contribution::default() };
        let contributions = BTreeMap::from([("facts".to_owned(), facts)]);
        shell.tick += 1_000;
        let now = shell.now();
        let _ = shell.core.step(&mut shell.memory, Inputs { contributions, ..Inputs::default() }, now);
        let open = shell.memory.incidents.open.keys();
        open.map(|key| key.kind.clone()).collect::<Vec<_>>()
    };
    // Nobody has answered, and no question has failed yet.
    assert_eq!(step(&mut shell, vec![]), ["cluster_unreachable", "metadata_unreadable"]);
    let again = vec![critical("cluster_unreachable", 0)];
    assert_eq!(step(&mut shell, again), ["cluster_unreachable", "metadata_unreadable"]);
    // The cluster is seen.
    shell.findings.clear();
    shell.quiet(2);
    assert_eq!(shell.open_incidents(), "");
}

#[test]
fn what_somebody_cancels_with_kafkas_own_tool_is_left_alone_until_it_is_wanted_again() {
    let mut shell = copying(setup(FOUR));
    shell.world.reassignments.clear();
    for partition in shell.world.all() {
        let p = shell.world.partition(&partition);
        p.replicas = p.replicas.iter().copied().filter(|id| id.0 != 4).collect();
    }
    let mut text: String = (0..200).map(|_| shell.turn()).collect();
    assert!(text.contains("cancelled by someone else"), "{text}");
    assert!(!text.contains("ACT"), "{text}");
    assert!(shell.held().contains("was cancelled by someone else, it is tried again in"), "{}", shell.held());
    assert!(!shell.open_incidents().contains("moves_fail"));
    shell.order(OrderKind::Resume);
    text = (0..3).map(|_| shell.turn()).collect();
    assert!(text.contains("submit t-0"), "{text}");
}

#[test]
fn a_dry_run_names_every_move_with_its_reason() {
    let mut setup = setup(FOUR);
    setup.actions[0].dry_run = true;
    setup.built_in = Some(Duration::from_secs(5));
    let mut shell = setup.start();
    shell.quiet(2);
    shell.world.drop_broker(3);
    let text: String = (0..10).map(|_| shell.turn()).collect();
    let moves: Vec<&str> = text.lines().filter(|line| line.contains("would move it")).collect();
    assert_eq!(
        moves,
        [
            "outcome reassign reassign_partitions partition t-0: dry run: would move it from 1, 2, 3 to 1, 2, 4 (dry run)",
            "outcome reassign reassign_partitions partition t-1: dry run: would move it from 2, 3, 1 to 2, 4, 1 (dry run)",
        ]
    );
}
