//! Hosts are replaced: remembered before it is begun, one at a time, and never twice where one was meant.

use std::time::Duration;

use cluster::BrokerId;
use control::event::{ReplaceInstance, names};
use control::order::OrderKind;
use control::{
    ActError, ActionKind, ConfigProblem, Core, CoreConfig, Done, Effect, Event, Finding, GuardConfig,
    OnDeadBroker, Outcome, Replaced, Scope, Severity, Target, Timestamp,
};

use crate::world::{Setup, Shell, World, setup, show, slot};

/// Brokers 3 and 4 may die; replacing goes first.
fn cluster() -> Setup {
    let mut setup =
        setup("brokers: 1 2 3 4 5\n t-0: 1 2 3\n t-1: 2 4 5").also("host", names::REPLACE_INSTANCE);
    setup.actions[1].at_most_once = true;
    setup.built_in = Some(Duration::from_secs(5));
    setup.replacing = true;
    setup.guard.on_dead_broker = OnDeadBroker::ReplaceFirst;
    setup
}

/// Steps until the text has `what`, without carrying anything out, and gives that step's text.
fn until(shell: &mut Shell, what: &str) -> String {
    let mut all = String::new();
    for _ in 0..60 {
        let text = shell.step();
        if text.contains(what) {
            return text;
        }
        all += &text;
    }
    panic!("no {what} in\n{all}\nheld\n{}\n{}", shell.held(), shell.open_incidents());
}

/// The host of broker 3 is being replaced, by execution 1.
fn begun(setup: Setup) -> Shell {
    let mut shell = setup.start();
    shell.quiet(2);
    shell.world.kill(3);
    until(&mut shell, "ACT 1.1 host");
    shell
}

/// Answers the act that was sent out for the host.
fn answer(shell: &mut Shell, result: Result<Done, ActError>) {
    let is_it = |act: &Effect| matches!(act, Effect::Act { action, .. } if action == "host");
    let at = shell.acts.iter().position(is_it).unwrap();
    let Some(Effect::Act { execution, sequence, .. }) = shell.acts.remove(at) else { unreachable!() };
    shell.outcomes.push(Outcome { execution, sequence, result });
}

/// Whether a script is started.
fn begins(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("ACT") && line.contains(" host replace_instance"))
}

fn failure(maybe_applied: bool) -> ActError {
    ActError { message: "exit status: 1".to_owned(), maybe_applied, retry: false }
}

#[test]
fn a_replacement_is_in_the_store_before_it_is_begun() {
    let mut shell = cluster().start();
    shell.quiet(2);
    shell.world.kill(3);
    let text = loop {
        let effects = shell.effects();
        let text = show(effects.iter());
        if text.contains("ACT") {
            break text;
        }
    };
    let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what} in\n{text}"));
    assert!(place("persist replacements") < place("persist executions/1"), "{text}");
    assert!(place("persist executions/1") < place("ACT 1.1 host replace_instance broker 3"), "{text}");
    assert_eq!(shell.store["replacements"]["last"][0]["broker"], 3);
}

#[test]
fn healing_waits_for_the_new_host_but_not_for_ever() {
    let mut shell = begun(cluster());
    shell.step();
    assert!(
        shell.held().contains("the host of broker 3 is being replaced by execution 1"),
        "{}",
        shell.held()
    );
    answer(&mut shell, Ok(Done { summary: "replaced".to_owned(), ..Done::default() }));
    // It does not come back.
    for _ in 0..1_780 {
        let text = shell.step();
        assert!(!text.contains("ACT"), "{text}");
    }
    until(&mut shell, "reassign_partitions");
}

/// A person has the host of broker 3 replaced, which lives; the script has taken it down.
fn taken_down(on_dead_broker: OnDeadBroker) -> Shell {
    let mut setup = cluster();
    setup.guard.on_dead_broker = on_dead_broker;
    let mut shell = setup.start();
    shell.quiet(2);
    shell.order(OrderKind::Replace { broker: BrokerId(3), accept_data_loss: false, only_ask: false });
    until(&mut shell, "ACT 1.1 host");
    shell.world.kill(3);
    shell
}

#[test]
fn a_live_broker_that_its_replacement_takes_down_is_not_healed_away_meanwhile() {
    for on_dead_broker in [OnDeadBroker::Heal, OnDeadBroker::ReplaceFirst] {
        let mut shell = taken_down(on_dead_broker);
        let texts: String = (0..600).map(|_| shell.step()).collect();
        assert!(!texts.contains("reassign_partitions cluster: submitting"), "{texts}");
        assert!(
            shell.held().contains("the host of broker 3 is being replaced by execution 1"),
            "{}",
            shell.held()
        );
        answer(&mut shell, Err(failure(false)));
        until(&mut shell, "ACT 2.1 reassign");
    }
}

#[test]
fn healing_goes_on_when_the_replacement_has_failed() {
    for maybe_applied in [false, true] {
        let mut shell = cluster().start();
        shell.quiet(2);
        shell.world.kill(3);
        until(&mut shell, "ACT 1.1 host");
        answer(&mut shell, Err(failure(maybe_applied)));
        until(&mut shell, "ACT 2.1 reassign");
        let last = &shell.memory.replacements.last[0];
        let ended = last.ended.as_ref().map(|(_, how)| matches!(how, Replaced::Unknown(_)));
        assert_eq!(ended, Some(maybe_applied));
    }
}

#[test]
fn healing_waits_where_nobody_knows_whether_the_program_has_ended() {
    let mut shell = begun(cluster());
    shell.crash();
    shell.quiet(3);
    let ended = |shell: &Shell| shell.memory.replacements.last[0].ended.clone().map(|(_, how)| how);
    assert!(matches!(ended(&shell), Some(Replaced::Unanswered(_))), "{:?}", ended(&shell));
    let timeout = GuardConfig::default().replace_timeout.as_secs();
    let texts: String = (0..timeout - 60).map(|_| shell.step()).collect();
    assert!(!texts.contains("reassign_partitions cluster: submitting"), "{texts}");
    assert!(shell.held().contains("which may still run"), "{}", shell.held());
    let texts: String = (0..120).map(|_| shell.step()).collect();
    assert!(texts.contains("reassign"), "{texts}");
}

#[test]
fn a_crash_at_any_point_never_makes_it_begin_again() {
    // What is in the store after each write of the step that begins it, as a crash would leave it.
    let mut shell = cluster().start();
    shell.quiet(2);
    shell.world.kill(3);
    let before = loop {
        let store = shell.store.clone();
        if shell.step().contains("ACT 1.1 host") {
            break store;
        }
    };
    let after = shell.store.clone();
    let mut keys: Vec<&str> = vec!["replacements", "counters", "executions/1", "incidents"];
    keys.retain(|key| before.get(*key) != after.get(*key));
    assert!(keys.len() >= 3, "{keys:?}");
    for written in 1..=keys.len() {
        let mut shell = cluster().start();
        shell.world.kill(3);
        shell.store.clone_from(&before);
        for key in &keys[..written] {
            shell.store.insert((*key).to_owned(), after[*key].clone());
        }
        shell.crash();
        let texts: String = (0..660).map(|_| shell.turn()).collect();
        assert!(!begins(&texts), "after {:?}:\n{texts}", &keys[..written]);
        assert_eq!(shell.memory.replacements.last.len(), 1);
    }
}

#[test]
fn a_second_host_waits_for_the_cooldown_also_after_a_crash_and_with_a_clock_that_jumps() {
    let mut shell = begun(cluster());
    answer(&mut shell, Ok(Done { summary: "replaced".to_owned(), ..Done::default() }));
    shell.world.come_back(3);
    shell.quiet(25);
    assert!(shell.memory.replacements.last[0].whole.is_some());
    shell.world.kill(4);
    for round in 0..3 {
        for _ in 0..200 {
            let text = shell.turn();
            shell.world.complete();
            assert!(!begins(&text), "in round {round}: {text}");
        }
        if round == 1 {
            shell.crash();
        }
    }
    let findings: Vec<&str> = shell.memory.incidents.open.keys().map(|key| key.kind.as_str()).collect();
    assert!(findings.contains(&"replacement_refused"), "{findings:?}");
}

#[test]
fn whoever_wants_a_broker_left_alone_hears_that_its_host_is_being_replaced() {
    let mut shell = begun(cluster());
    let maintenance = |id| OrderKind::MaintenanceOn { scope: Scope::Broker(BrokerId(id)), until: None };
    let decommission = |id| OrderKind::DecommissionOn { broker: BrokerId(id), until: None };
    for (order, is_told) in [
        (maintenance(3), true),
        (maintenance(4), false),
        (decommission(3), true),
        (decommission(4), false),
        (OrderKind::Pause, true),
    ] {
        shell.order(order);
        let text = shell.step();
        assert_eq!(text.contains("doctorkafka cancel 1 stops that"), is_told, "{text}");
    }
}

/// What the action says where the last look put it off.
fn put_off() -> ActError {
    ActError { message: "one broker alone answers".to_owned(), maybe_applied: false, retry: true }
}

#[test]
fn what_was_put_off_is_decided_anew_but_not_while_the_service_ends() {
    let mut shell = begun(cluster());
    shell.ending = true;
    answer(&mut shell, Err(put_off()));
    let text = shell.step();
    assert!(text.contains("not begun: one broker alone answers") && !begins(&text), "{text}");
    assert!(shell.memory.replacements.last.is_empty());
    // The next process finds nothing that it would have to guess about.
    shell.crash();
    shell.ending = false;
    until(&mut shell, "ACT 2.1 host");
}

#[test]
fn an_order_of_a_person_that_is_put_off_is_told_to_be_so_and_stays_known() {
    let mut shell = cluster().start();
    shell.quiet(2);
    shell.order(OrderKind::Replace { broker: BrokerId(3), accept_data_loss: false, only_ask: false });
    until(&mut shell, "ACT 1.1 host");
    answer(&mut shell, Err(put_off()));
    let text = shell.step();
    assert!(text.contains("not begun: one broker alone answers"), "{text}");
    let last = &shell.memory.replacements.last[0];
    assert!(matches!(last.ended, Some((_, Replaced::NotStarted(_)))), "{last:?}");
}

#[test]
fn what_a_person_has_cancelled_is_not_decided_anew_by_itself() {
    let mut setup = cluster();
    setup.actions[1].can_stop = true;
    let mut shell = begun(setup);
    shell.order(OrderKind::Cancel { execution: Some(1) });
    answer(&mut shell, Err(put_off()));
    let texts: String = (0..60).map(|_| shell.step()).collect();
    assert!(texts.contains("not begun: cancelled by ann") && !begins(&texts), "{texts}");
}

#[test]
fn a_clock_that_is_set_ends_no_maintenance() {
    let hour = 3_600_000_i64;
    for (set_by, crashes) in [(hour, false), (-hour, false), (2 * hour, true)] {
        let mut shell = cluster().start();
        shell.quiet(2);
        let until = Some(Timestamp(shell.now().wall.0 + hour));
        shell.order(OrderKind::MaintenanceOn { scope: Scope::Broker(BrokerId(3)), until });
        shell.step();
        shell.world.kill(3);
        shell.quiet(70);
        if crashes {
            shell.crash();
        }
        shell.wall_set += set_by;
        let texts: String = (0..3_500).map(|_| shell.step()).collect();
        assert!(!begins(&texts), "{texts}");
        let texts: String = (0..200).map(|_| shell.step()).collect();
        assert!(begins(&texts), "{texts}");
    }
}

#[test]
fn neither_a_clock_that_is_set_nor_a_crash_ends_the_cooldown() {
    let hour = 3_600_000_i64;
    let mut shell = begun(cluster());
    answer(&mut shell, Ok(Done { summary: "replaced".to_owned(), ..Done::default() }));
    shell.world.come_back(3);
    shell.quiet(3_600);
    shell.crash();
    shell.wall_set += 13 * hour;
    shell.world.kill(4);
    let mut texts = String::new();
    for _ in 0..3_600 {
        texts += &shell.turn();
        shell.world.complete();
    }
    assert!(!begins(&texts), "{texts}");
    // What was watched before the crash counts, but for a minute.
    let now = shell.now();
    let (until, _) =
        shell.memory.replacements.cools_until(now, GuardConfig::default().replacement_cooldown).unwrap();
    let left = until.since(now.wall);
    let expected = Duration::from_secs(10 * 3_600);
    assert!(
        left >= expected - Duration::from_secs(30) && left <= expected + Duration::from_secs(90),
        "{left:?}"
    );
    // Nor does a clock that is set back, or was ahead on the host of another service, make it longer.
    shell.wall_set -= 1_000 * hour;
    let now = shell.now();
    let (until, _) =
        shell.memory.replacements.cools_until(now, GuardConfig::default().replacement_cooldown).unwrap();
    assert_eq!(until.since(now.wall), left);
}

#[test]
fn nothing_is_replaced_while_another_service_may_do_so() {
    for kind in ["another_service", "neighbours_unknown", "act_without_owner"] {
        let mut shell = cluster().start();
        shell.quiet(2);
        let other = Finding::new(kind, Target::Cluster, Severity::Critical, "there may be another");
        shell.findings.push(other);
        shell.world.kill(3);
        let texts: String = (0..300).map(|_| shell.step()).collect();
        assert!(!begins(&texts) && texts.contains("held: there may be another"), "{texts}");
        // Moves of two do no harm to each other.
        assert_eq!(texts.contains("ACT 1.1 reassign"), kind == "another_service", "{texts}");
        shell.findings.clear();
    }
}

#[test]
fn what_a_plugin_wants_replaced_must_be_right_as_what_a_person_wants() {
    let broker = |id| Target::Broker(BrokerId(id));
    for (target, payload, why) in [
        (broker(4), serde_json::json!({"broker": 4}), "its payload cannot be read"),
        (
            broker(1),
            serde_json::json!({"broker": 4, "host": "h"}),
            "its target and its payload name two brokers",
        ),
        (broker(9), serde_json::json!({"broker": 9, "host": "h"}), "Kafka knows no such broker"),
        // It lives, and has the only copy in sync of something.
        (
            broker(4),
            serde_json::json!({"broker": 4, "host": "h", "live": true, "accept_data_loss": true}),
            "would be left",
        ),
    ] {
        let mut setup = cluster();
        setup.world = World::parse("brokers: 1 2 3 4 5\n t-0: 1 2 3\n pair-0: 4 5");
        setup.actions.push(slot("other", "asks", ActionKind::Once));
        setup.actions[2].emits = vec![names::REPLACE_INSTANCE.to_owned(), "asks".to_owned()];
        let mut shell = setup.start();
        shell.quiet(2);
        shell.world.kill(3);
        until(&mut shell, "ACT 1.1 host");
        let next = Event::new(names::REPLACE_INSTANCE, target, "odd", &payload);
        answer(
            &mut shell,
            Ok(Done { summary: "done".to_owned(), follow_ups: vec![next], ..Done::default() }),
        );
        let text = shell.step();
        assert!(text.contains("held: ") && text.contains(why) && !begins(&text), "{text}");
    }
}

#[test]
fn healing_waits_for_no_dry_run() {
    let mut setup = cluster();
    setup.actions[1].dry_run = true;
    let mut shell = setup.start();
    shell.quiet(2);
    shell.world.kill(3);
    until(&mut shell, "ACT 1.1 reassign");
}

#[test]
fn two_actions_that_replace_hosts_are_refused() {
    let two = |dry_run: bool| {
        let mut actions = cluster().actions;
        actions.push(slot("other", names::REPLACE_INSTANCE, ActionKind::Once));
        actions[2].dry_run = dry_run;
        let (monitors, operators) = (Vec::new(), Vec::new());
        let (limits, incidents) = (Default::default(), Default::default());
        let guard = GuardConfig::default();
        let cluster = "test".to_owned();
        let problems =
            Core::new(CoreConfig { cluster, monitors, operators, actions, guard, limits, incidents }).err();
        let problems = problems.unwrap_or_default();
        problems.iter().any(|problem| matches!(problem, ConfigProblem::TwoReplace { .. }))
    };
    assert!(two(false) && !two(true));
}

#[test]
fn what_the_store_could_not_take_is_decided_anew() {
    for maintenance in [false, true] {
        let mut shell = cluster().start();
        shell.quiet(2);
        shell.world.kill(3);
        let effects = loop {
            let effects = shell.effects();
            if begins(&show(effects.iter())) {
                break effects;
            }
            effects.iter().for_each(|effect| shell.apply(effect));
        };
        shell.outcomes.extend(effects.iter().filter_map(|effect| effect.not_done("the disk is full")));
        shell.memory.forget_what_is_saved();
        if maintenance {
            let scope = Scope::Broker(BrokerId(3));
            shell.order(OrderKind::MaintenanceOn { scope, until: None });
        }
        let texts: String = (0..60).map(|_| shell.step()).collect();
        assert!(texts.contains("not begun: not done: the disk is full"), "{texts}");
        assert_eq!(texts.lines().filter(|line| begins(line)).count(), usize::from(!maintenance), "{texts}");
        assert_eq!(shell.memory.replacements.last.len(), usize::from(!maintenance));
    }
}

#[test]
fn a_restart_in_vain_is_followed_by_another_decision() {
    let mut shell = begun(cluster());
    let detail = serde_json::json!({"restarted_in_vain": true});
    answer(&mut shell, Ok(Done { summary: "restarted".to_owned(), detail, ..Done::default() }));
    let text = until(&mut shell, "ACT 2.1 host");
    assert!(begins(&text), "{text}");
    answer(&mut shell, Ok(Done { summary: "replaced".to_owned(), ..Done::default() }));
    let texts: String = (0..600).map(|_| shell.step()).collect();
    assert!(!begins(&texts), "{texts}");
    assert_eq!(shell.memory.replacements.last.len(), 2);
}

/// A broker that a restart has brought back: no host has been replaced.
#[test]
fn a_restart_that_helps_costs_no_cooldown_and_is_not_tried_again_soon() {
    let mut shell = begun(cluster());
    shell.world.come_back(3);
    let detail = serde_json::json!({"restarted": true});
    answer(&mut shell, Ok(Done { summary: "restarted".to_owned(), detail, ..Done::default() }));
    let texts: String = (0..60).map(|_| shell.step()).collect();
    assert!(!texts.contains("the host of broker 3 was replaced"), "{texts}");
    assert!(matches!(shell.memory.replacements.last[0].ended, Some((_, Replaced::Back(_)))));
    // Another host is not held back by it.
    shell.world.kill(4);
    until(&mut shell, "ACT 2.1 host replace_instance broker 4");
    let detail = serde_json::json!({"restarted": true});
    shell.world.come_back(4);
    answer(&mut shell, Ok(Done { summary: "restarted".to_owned(), detail, ..Done::default() }));
    (0..60).for_each(|_| drop(shell.step()));
    // The same one is not restarted again and again.
    shell.world.kill(3);
    until(&mut shell, "ACT 3.1 host replace_instance broker 3");
    let order: ReplaceInstance = shell.memory.executions.last().unwrap().event.payload_as().unwrap();
    assert!(order.no_restart, "it has been restarted a moment ago");
}

#[test]
fn a_wall_clock_that_is_set_lets_no_two_work_on_one_broker() {
    let hour = 3_600_000;
    for (before, while_it_runs) in [(-hour, 0), (0, hour), (0, -hour), (hour, 0)] {
        let mut shell = cluster().start();
        shell.quiet(2);
        shell.world.kill(3);
        shell.quiet(3);
        shell.wall_set += before;
        until(&mut shell, "ACT 1.1 host");
        shell.wall_set += while_it_runs;
        let texts: String = (0..1_780).map(|_| shell.step()).collect();
        assert!(!texts.contains("ACT"), "{texts}");
        until(&mut shell, "reassign_partitions");
    }
}

#[test]
fn a_person_may_have_a_script_stopped_and_nothing_is_guessed_then() {
    let mut setup = cluster();
    setup.actions[1].can_stop = true;
    let mut shell = begun(setup);
    // Whoever cancels all moves does not mean it.
    shell.order(OrderKind::Cancel { execution: None });
    let text = shell.step();
    assert!(text.contains("refused: nothing could be cancelled") && !text.contains("STOP"), "{text}");
    shell.order(OrderKind::Cancel { execution: Some(1) });
    let text = shell.step();
    assert!(text.contains("its program is asked to end") && text.contains("STOP host"), "{text}");
    // Again and again, until it has ended: a store that cannot be written would swallow it.
    assert!(shell.step().contains("STOP host"));
    answer(&mut shell, Err(failure(true)));
    let text = shell.step();
    assert!(text.contains("unknown: cancelled by ann: exit status: 1") && !text.contains("STOP"), "{text}");
    assert!(text.contains("reassign_partitions cluster: submitting"), "{text}");
    let texts: String = (0..600).map(|_| shell.step()).collect();
    assert!(!begins(&texts), "{texts}");
}

#[test]
fn what_cannot_be_stopped_is_not_said_to_be() {
    let mut shell = begun(cluster());
    shell.order(OrderKind::Cancel { execution: Some(1) });
    let text = shell.step();
    assert!(text.contains("which cannot be called back") && !text.contains("STOP"), "{text}");
}

#[test]
fn where_no_program_was_started_no_cooldown_follows_and_a_person_may_try_again() {
    let mut shell = begun(cluster());
    let detail = serde_json::json!({"not_started": true});
    let summary = "cannot start it".to_owned();
    answer(&mut shell, Ok(Done { summary, detail, ..Done::default() }));
    let mut texts = String::new();
    for _ in 0..100 {
        texts += &shell.turn();
        shell.world.complete();
    }
    assert!(!begins(&texts), "{texts}");
    shell.order(OrderKind::Replace { broker: BrokerId(3), accept_data_loss: false, only_ask: false });
    let text = shell.step();
    assert!(begins(&text), "{text}");
}
