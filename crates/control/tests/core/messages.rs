//! Single calls of actions: tries, restarts, chains.

use control::event::names;
use control::*;
use expect_test::expect;

use crate::executions::check;
use crate::world::{Shell, setup};

fn messenger() -> Shell {
    let mut shell = setup("brokers: 1 2 3 4 5\n t-0: 1 2 3").also("mail", names::ALERT_MASS_FAILURE).start();
    shell.quiet(2);
    shell.world.kill(3);
    shell.world.kill(4);
    shell.step();
    shell
}

fn fail(shell: &mut Shell) -> bool {
    let Some(Effect::Act { execution, sequence, .. }) = shell.acts.pop_front() else { return false };
    let error = ActError { message: "no mail server".to_owned(), maybe_applied: false, retry: true };
    shell.outcomes.push(Outcome { execution, sequence, result: Err(error) });
    true
}

#[test]
fn tries_a_failed_message_again_a_bounded_number_of_times() {
    let mut shell = messenger();
    let mut tries = 0;
    let mut text = String::new();
    for _ in 0..500 {
        tries += usize::from(fail(&mut shell));
        text += &shell.step();
    }
    assert_eq!(tries, 5);
    check(
        text,
        expect![[r#"
        outcome mail alert_mass_failure cluster: failed: no mail server; tried again in 1 s
        act mail alert_mass_failure cluster: started, try 2
        ACT 1.2 mail alert_mass_failure cluster
        outcome mail alert_mass_failure cluster: failed: no mail server; tried again in 2 s
        act mail alert_mass_failure cluster: started, try 3
        ACT 1.3 mail alert_mass_failure cluster
        outcome mail alert_mass_failure cluster: failed: no mail server; tried again in 4 s
        act mail alert_mass_failure cluster: started, try 4
        ACT 1.4 mail alert_mass_failure cluster
        outcome mail alert_mass_failure cluster: failed: no mail server; tried again in 8 s
        act mail alert_mass_failure cluster: started, try 5
        ACT 1.5 mail alert_mass_failure cluster
        outcome mail alert_mass_failure cluster: failed: no mail server
    "#]],
    );
}

#[test]
fn an_alert_that_nobody_subscribes_to_is_in_the_log_once() {
    let mut shell = setup("brokers: 1 2 3 4 5\n t-0: 1 2 3").start();
    shell.quiet(2);
    shell.world.kill(3);
    shell.world.kill(4);
    let mut text = String::new();
    for _ in 0..100 {
        text += &shell.turn();
    }
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("alert_mass_failure")).collect();
    assert_eq!(
        lines,
        [
            "decision doctorkafka alert_mass_failure cluster: healing is held: 2 of 5 brokers are absent (3, 4), at most 1 \
          may be (told to nobody: no action subscribes to it)"
        ]
    );
}

#[test]
fn repeats_a_message_that_was_under_way_when_it_crashed() {
    let mut shell = messenger();
    shell.crash();
    assert!(shell.step().contains("ACT 1.2 mail alert_mass_failure"));
}

#[test]
fn never_repeats_an_order_of_which_a_script_may_have_done_its_part() {
    let start = |name: &str| {
        let mut setup = setup("brokers: 1 2 3 4 5\n t-0: 3 1 2").also("page", names::ELECT_LEADERS);
        setup.actions[1].at_most_once = true;
        let mut shell = setup.start();
        shell.quiet(2);
        shell.world.kill(3);
        shell.quiet(2);
        shell.world.complete();
        shell.world.partition(&cluster::TopicPartition::new("t", 0)).leader = Some(cluster::BrokerId(1));
        let text = shell.turn();
        assert!(text.contains("ACT 2.1 page elect_leaders cluster"), "{text}");
        let stored = shell.store.get_mut("executions/2").unwrap();
        stored["event"]["name"] = name.into();
        shell.crash();
        shell.step()
    };
    let text = start(names::ELECT_LEADERS);
    assert!(text.contains("elect_leaders cluster: unknown: the service was stopped"), "{text}");
    assert!(!text.contains("ACT 2.2"), "{text}");
    // What only tells people something is told again rather than not at all.
    assert!(start(names::NOTIFY_REASSIGNMENT).contains("ACT 2.2 page notify_reassignment"));
}

#[test]
fn never_repeats_the_replacement_of_a_host() {
    let mut shell = messenger();
    // As if the execution in the store were one that replaces a host.
    let stored = shell.store.get_mut("executions/1").unwrap();
    stored["event"]["name"] = names::REPLACE_INSTANCE.into();
    shell.crash();
    let text = shell.step();
    assert!(text.contains("replace_instance cluster: unknown: the service was stopped"), "{text}");
    assert!(!text.contains("ACT"), "{text}");
}

#[test]
fn follow_ups_go_through_guard_and_dispatcher_up_to_a_bound() {
    let mut setup = setup("brokers: 1 2 3 4 5\n t-0: 1 2 3").also("mail", names::ALERT_MASS_FAILURE);
    setup.actions[1].subscribed.push("notify_again".to_owned());
    setup.actions[1].emits.push("notify_again".to_owned());
    let mut shell = setup.start();
    shell.quiet(2);
    shell.world.kill(3);
    shell.world.kill(4);
    let mut held = String::new();
    for _ in 0..30 {
        shell.step();
        held += &shell.held();
        for act in std::mem::take(&mut shell.acts) {
            let Effect::Act { execution, sequence, .. } = act else { continue };
            let next = Event::new("notify_again", Target::Cluster, "and so on", &());
            let done = Done { summary: "sent".to_owned(), follow_ups: vec![next], ..Done::default() };
            shell.outcomes.push(Outcome { execution, sequence, result: Ok(done) });
        }
    }
    let mails = shell.memory.executions.iter().filter(|execution| execution.action == "mail").count();
    assert_eq!(mails, 9, "the alert, and eight that follow from each other");
    assert!(held.contains("notify_again [chain] it follows from 9 other events"), "{held}");
}

#[test]
fn says_nothing_of_an_incident_that_is_snoozed() {
    let mut shell = setup("brokers: 1 2 3 4 5\n t-0: 1 2 3").also("mail", names::ALERT_MASS_FAILURE).start();
    shell.quiet(2);
    shell.world.kill(3);
    shell.world.kill(4);
    shell.step();
    shell.acts.clear();
    let until = Timestamp(shell.now().wall.0 + 10_000);
    for incident in std::sync::Arc::make_mut(&mut shell.memory.incidents).open.values_mut() {
        incident.snoozed_until = Some(until);
        incident.done.clear();
    }
    for _ in 0..9 {
        assert!(!shell.step().contains("ACT"));
    }
    assert!(shell.step().contains("ACT 2.1 mail"));
}

#[test]
fn drk_50_an_event_that_nobody_hears_is_said_once_and_stops_nothing() {
    let mut setup = setup("brokers: 1 2 3\n t-0: 1 2\n t-1: 1 3");
    setup.actions.clear();
    let mut shell = setup.also("mail", names::NOTIFY_MAINTENANCE_MODE).start();
    shell.quiet(2);
    shell.world.kill(2);
    let text: String = (0..20).map(|_| shell.turn()).collect();
    let unheard = "decision healer reassign_partitions cluster: admitted, but no action subscribes to it";
    assert_eq!(text.matches(unheard).count(), 1, "{text}");
    // What somebody does hear is delivered as before.
    shell.order(order::OrderKind::MaintenanceOn { scope: Scope::Cluster, until: None });
    assert!(shell.turn().contains("mail notify_maintenance_mode"), "{text}");
}
