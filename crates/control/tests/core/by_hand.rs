//! A person has a host replaced: the same is asked as for the operator's own choice, and all that holds it back is said.

use std::time::Duration;

use cluster::BrokerId;
use control::event::names;
use control::order::OrderKind;
use control::{Replaced, Replacement, Scope, Timestamp};

use crate::world::{Setup, Shell, World, setup, show};

/// Healing goes first, so that nothing is replaced but by hand for the first half hour.
fn cluster() -> Setup {
    let mut setup =
        setup("brokers: 1 2 3 4 5\n t-0: 1 2 3\n t-1: 2 4 5").also("host", names::REPLACE_INSTANCE);
    setup.actions[1].at_most_once = true;
    setup.built_in = Some(Duration::from_secs(5));
    setup.replacing = true;
    setup
}

fn wants(broker: i32) -> OrderKind {
    OrderKind::Replace { broker: BrokerId(broker), accept_data_loss: false, only_ask: false }
}

fn says(shell: &mut Shell, what: OrderKind) -> String {
    shell.order(what);
    shell.step()
}

#[test]
fn a_live_host_is_replaced_where_the_others_can_do_without_it_and_remembered_first() {
    let mut shell = cluster().start();
    shell.quiet(2);
    shell.order(wants(3));
    let effects = shell.effects();
    let text = show(effects.iter());
    assert!(text.contains("its host is being replaced, as execution 1"), "{text}");
    let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what} in\n{text}"));
    assert!(place("persist replacements") < place("persist executions/1"), "{text}");
    assert!(place("persist executions/1") < place("ACT 1.1 host replace_instance broker 3"), "{text}");
    assert_eq!(shell.memory.replacements.last[0].reason, "ann wants its host replaced: why not");
    // The second within the cooldown, also of another broker, and after a crash.
    for crash in [false, true] {
        if crash {
            shell.crash();
            shell.quiet(0);
            shell.step();
        }
        let text = says(&mut shell, wants(4));
        assert!(
            text.contains("refused: broker 4 is not replaced: ") && text.contains("may be begun in"),
            "{text}"
        );
        assert!(!text.contains("ACT"), "{text}");
    }
}

#[test]
fn of_two_that_are_asked_for_at_once_one_is_replaced() {
    let mut shell = cluster().start();
    shell.quiet(2);
    shell.order(wants(3));
    shell.order(wants(4));
    let text = shell.step();
    assert_eq!(text.matches("its host is being replaced, as execution 1").count(), 1, "{text}");
    assert_eq!(text.matches("is not replaced: execution 1 replaces broker").count(), 1, "{text}");
    assert_eq!(shell.memory.replacements.last.len(), 1);
}

#[test]
fn whoever_only_asks_begins_nothing() {
    let mut shell = cluster().start();
    shell.quiet(2);
    let asks = OrderKind::Replace { broker: BrokerId(3), accept_data_loss: false, only_ask: true };
    let text = says(&mut shell, asks);
    let said = "nothing holds it back: the host of broker 3 (host3:9092), which lives, would be replaced";
    assert!(text.contains(said) && !text.contains("ACT"), "{text}");
    assert_eq!(shell.memory.replacements.last, []);
}

#[test]
fn all_that_holds_it_back_is_said() {
    let refusal = |shell: &mut Shell, broker: i32| {
        let text = says(shell, wants(broker));
        assert!(!text.contains("ACT 1"), "{text}");
        text.lines().find(|line| line.contains("refused: ")).unwrap_or(&text).to_owned()
    };
    let mut shell = cluster().start();
    shell.quiet(2);
    assert!(refusal(&mut shell, 9).contains("refused: there is no broker 9"));
    shell.order(OrderKind::Pause);
    assert!(refusal(&mut shell, 3).contains("paused by ann"));
    shell.order(OrderKind::Resume);
    shell.world.drop_broker(5);
    let text = refusal(&mut shell, 5);
    assert!(text.contains("it is absent, and not dead yet (waits for "), "{text}");
    let text = refusal(&mut shell, 3);
    assert!(text.contains("broker 5 is absent (waits for broker 5 to be back"), "{text}");
    shell.order(OrderKind::MaintenanceOn { scope: Scope::Broker(BrokerId(3)), until: None });
    assert!(
        refusal(&mut shell, 3)
            .contains("it is under maintenance, or taken out of service; broker 5 is absent")
    );
    // Two things at once.
    shell.world.kill(5);
    let text = refusal(&mut shell, 4);
    assert!(
        text.contains("broker 5 is absent (")
            && text.contains("; the replica of t-1 on broker 5 is not in sync ("),
        "{text}"
    );
}

#[test]
fn the_last_copy_is_given_up_only_if_a_person_accepts_it() {
    let mut setup = cluster();
    setup.world = World::parse("brokers: 1 2 3 4 5\n t-0: 1 2 4\n single-0: 3");
    let wants =
        |accept_data_loss| OrderKind::Replace { broker: BrokerId(3), accept_data_loss, only_ask: false };
    let mut shell = setup.start();
    shell.quiet(2);
    let text = says(&mut shell, wants(false));
    assert!(
        text.contains("refused: broker 3 is not replaced: it has the only replica of single-0"),
        "{text}"
    );
    // Dead, and healing has had its time. Kafka still counts the last one in sync.
    shell.world.kill(3);
    let single = cluster::TopicPartition::new("single", 0);
    shell.world.partition(&single).isr = [BrokerId(3)].into();
    for _ in 0..1_900 {
        shell.step();
    }
    assert_eq!(shell.memory.replacements.last, [], "the operator has replaced it");
    let text = says(&mut shell, wants(false));
    assert!(text.contains("it may hold the last copy of 1 partition (single-0)"), "{text}");
    let text = says(&mut shell, wants(true));
    assert!(text.contains("its host is being replaced, as execution"), "{text}");
    assert_eq!(
        shell.memory.replacements.last[0].reason,
        "ann wants its host replaced, also if data is lost: why not"
    );
}

#[test]
fn what_has_failed_before_holds_no_person_back_once_it_has_cooled() {
    let mut setup = cluster();
    setup.guard.replacement_cooldown = Duration::from_secs(60);
    setup.guard.on_dead_broker = control::OnDeadBroker::ReplaceFirst;
    let mut shell = setup.start();
    shell.quiet(2);
    shell.world.kill(3);
    for _ in 0..3 {
        shell.step();
    }
    let failed = Replacement {
        id: "x".to_owned(),
        broker: BrokerId(3),
        host: "host3".to_owned(),
        reason: String::new(),
        begun: Timestamp(shell.now().wall.0 + 1),
        watched_ms: 0,
        watched_at: None,
        ended: Some((Timestamp(shell.now().wall.0 + 1), Replaced::Failed("no quota".to_owned()))),
        whole: None,
    };
    std::sync::Arc::make_mut(&mut shell.memory.replacements).last.push(failed);
    until_dead(&mut shell);
    let text = says(&mut shell, wants(3));
    assert!(text.contains("the next one may be begun in"), "{text}");
    for _ in 0..70 {
        shell.turn();
        shell.world.complete();
    }
    let text = says(&mut shell, wants(3));
    assert!(text.contains("its host is being replaced, as execution"), "{text}");
}

#[test]
fn a_host_that_never_came_may_be_replaced_again_by_a_person() {
    let mut setup = cluster();
    setup.guard.replacement_cooldown = Duration::from_secs(60);
    setup.guard.on_dead_broker = control::OnDeadBroker::ReplaceFirst;
    let mut shell = setup.start();
    shell.quiet(2);
    shell.world.kill(3);
    until_dead(&mut shell);
    let now = shell.now().wall;
    let done = Replacement {
        id: "x".to_owned(),
        broker: BrokerId(3),
        host: "host3".to_owned(),
        reason: String::new(),
        begun: Timestamp(now.0 + 1),
        watched_ms: 0,
        watched_at: None,
        ended: Some((Timestamp(now.0 + 1), Replaced::Done("ok".to_owned()))),
        whole: None,
    };
    std::sync::Arc::make_mut(&mut shell.memory.replacements).last.push(done);
    let wait = |shell: &mut Shell| {
        for _ in 0..3_600 {
            shell.turn();
            shell.world.complete();
        }
    };
    wait(&mut shell);
    let text = says(&mut shell, wants(3));
    assert!(text.contains("waits for it to come back"), "{text}");
    wait(&mut shell);
    assert!(shell.open_incidents().contains("and it has not come back"), "{}", shell.open_incidents());
    let text = says(&mut shell, wants(3));
    assert!(text.contains("its host is being replaced"), "{text}");
}

fn until_dead(shell: &mut Shell) {
    for _ in 0..20 {
        if shell.step().contains("incident doctorkafka broker_dead broker 3: opened") {
            return;
        }
    }
    panic!("it is not dead");
}
