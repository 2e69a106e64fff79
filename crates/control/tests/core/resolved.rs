//! What people are told when an incident that they were alerted to is over.

use control::event::{Alerted, Resolved, names};
use control::*;
use expect_test::expect;

use crate::executions::check;
use crate::world::{Shell, setup};

/// Healing is held by the brake, and a mail tells it.
fn alerted() -> Shell {
    let mut setup = setup("brokers: 1 2 3 4 5\n t-0: 1 2 3").also("mail", names::ALERT_MASS_FAILURE);
    setup.actions[1].subscribed.push(names::ALERT_RESOLVED.to_owned());
    let mut shell = setup.start();
    shell.quiet(2);
    shell.world.kill(3);
    shell.world.kill(4);
    assert!(shell.turn().contains("mail alert_mass_failure"));
    shell.quiet(2);
    shell
}

fn event_of(effects: &[Effect], name: &str) -> Option<Event> {
    effects.iter().find_map(|effect| match effect {
        Effect::Act { event, .. } if event.name == name => Some(event.clone()),
        _ => None,
    })
}

#[test]
fn the_end_of_an_incident_is_told_to_those_who_were_alerted() {
    let mut shell = alerted();
    shell.world.come_back(3);
    shell.world.come_back(4);
    let text: String = (0..5).map(|_| shell.turn()).collect();
    let mails: String = text.lines().filter(|line| line.contains("mail")).map(|l| format!("{l}\n")).collect();
    check(
        mails,
        expect![[r#"
            decision doctorkafka alert_resolved cluster: admitted, for mail
            act mail alert_resolved cluster: started
            ACT 2.1 mail alert_resolved cluster
            outcome mail alert_resolved cluster: done
        "#]],
    );
}

#[test]
fn what_is_told_names_the_incident_and_its_alerts() {
    let mut shell = alerted();
    shell.world.come_back(3);
    shell.world.come_back(4);
    let event = event_of(&shell.effects(), names::ALERT_RESOLVED).unwrap();
    assert_eq!(event.cause, Some(IncidentKey::new("mass_failure", Target::Cluster)));
    let payload: Resolved = event.payload_as().unwrap();
    let alert = Alerted {
        event: names::ALERT_MASS_FAILURE.to_owned(),
        target: Target::Cluster,
        severity: Severity::Critical,
    };
    assert_eq!((payload.severity, payload.alerts), (Severity::Info, vec![alert]));
    assert!(payload.subject.starts_with("resolved: "), "{}", payload.subject);
    assert!(payload.body.contains("mass_failure of cluster is over after 3.0 s"), "{}", payload.body);
    // Whoever reads messages alone reads it, too.
    assert_eq!(event.payload_as::<event::Message>().unwrap().subject, payload.subject);
}

#[test]
fn nothing_is_told_of_an_incident_that_nobody_was_alerted_to() {
    let mut setup = setup("brokers: 1 2 3 4 5\n t-0: 1 2 3").also("mail", names::ALERT_RESOLVED);
    setup.actions[0].subscribed.clear();
    let mut shell = setup.start();
    shell.quiet(2);
    shell.world.kill(3);
    shell.world.kill(4);
    shell.quiet(3);
    shell.world.come_back(3);
    shell.world.come_back(4);
    let text: String = (0..5).map(|_| shell.turn()).collect();
    assert!(text.contains("mass_failure cluster: resolved"), "{text}");
    assert!(!text.contains("alert_resolved"), "{text}");
}

#[test]
fn the_end_is_told_after_a_crash_too_and_before_the_incident_leaves_the_store() {
    let mut shell = alerted();
    shell.crash();
    shell.quiet(1);
    shell.world.come_back(3);
    shell.world.come_back(4);
    let effects = shell.effects();
    assert!(event_of(&effects, names::ALERT_RESOLVED).is_some());
    let written: Vec<&str> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Persist { key, .. } => Some(key.as_str()),
            _ => None,
        })
        .collect();
    let place = |key: &str| written.iter().position(|written| *written == key).unwrap();
    assert!(place("executions/2") < place("incidents"), "{written:?}");
}

#[test]
fn a_delivery_keeps_its_id_over_tries_and_crashes_and_shares_it_with_no_other() {
    let ids = |effects: &[Effect]| -> Vec<String> {
        let of = |effect: &Effect| match effect {
            Effect::Act { event, .. } if event.name == names::ALERT_MASS_FAILURE => Some(event.id.clone()),
            _ => None,
        };
        effects.iter().filter_map(of).collect()
    };
    let mut shell = setup("brokers: 1 2 3 4 5\n t-0: 1 2 3")
        .also("mail", names::ALERT_MASS_FAILURE)
        .also("page", names::ALERT_MASS_FAILURE)
        .start();
    shell.quiet(2);
    shell.world.kill(3);
    shell.world.kill(4);
    let first = ids(&shell.effects());
    assert_eq!(first.len(), 2);
    assert!(!first[0].is_empty() && first[0] != first[1], "{first:?}");
    shell.crash();
    assert_eq!(ids(&shell.effects()), first);
    for act in std::mem::take(&mut shell.acts) {
        let Effect::Act { execution, sequence, .. } = act else { continue };
        let error = ActError { message: "no".to_owned(), maybe_applied: false, retry: true };
        shell.outcomes.push(Outcome { execution, sequence, result: Err(error) });
    }
    let again: Vec<String> = (0..5).flat_map(|_| ids(&shell.effects())).collect();
    assert_eq!(again, first);
}
