//! A replication throttle is never left behind.

use cluster::{BrokerId, TopicPartition};
use control::event::{ReassignStep, Throttle, ThrottleEntry, names};
use control::execution::Work;
use control::order::OrderKind;
use control::{ActError, Done, Effect, Outcome};
use expect_test::expect;

use crate::executions::{FOUR, check, killed};
use crate::world::{Shell, World, setup};

#[test]
fn sets_the_throttle_before_the_first_move_and_takes_it_away_after_the_last() {
    let mut setup = setup(FOUR);
    setup.throttle = Some(5_000_000);
    let mut shell = killed(setup);
    let mut text = shell.turn();
    text += &shell.turn();
    text += &shell.turn();
    shell.quiet(2);
    shell.world.complete();
    text += &shell.turn();
    text += &shell.turn();
    check(
        text,
        expect![[r#"
            incident doctorkafka under_replicated cluster: opened
            decision healer reassign_partitions cluster: admitted, for reassign
            ACT 1.1 reassign ask for throttles of [BrokerId(1), BrokerId(2), BrokerId(4)] ["t"]
            act reassign reassign_partitions cluster: setting a throttle of 5000000 bytes/s on 3 brokers
            ACT 1.2 reassign throttle [BrokerId(1), BrokerId(2), BrokerId(4)] ["t"]
            act reassign reassign_partitions cluster: submitting 2 moves
            ACT 1.3 reassign submit t-0: 1 2 3 -> 1 2 4, t-1: 2 3 1 -> 2 4 1
            act reassign reassign_partitions cluster: removing the throttle
            ACT 1.4 reassign unthrottle
            outcome reassign reassign_partitions cluster: 2 of 2 partitions moved in 6.0 s
        "#]],
    );
    assert!(!shell.world.throttled);
}

#[test]
fn journals_the_throttle_before_it_is_set() {
    let mut setup = setup(FOUR);
    setup.throttle = Some(5_000_000);
    let mut shell = killed(setup);
    shell.step();
    let journal = &shell.store["executions/1"]["work"]["reassign"];
    assert_eq!(journal["throttle"]["bytes_per_second"], 5_000_000);
    assert_eq!(journal["throttle_set"], false);
}

#[test]
fn clears_the_throttle_after_a_cancel() {
    let mut setup = setup(FOUR);
    setup.throttle = Some(5_000_000);
    let mut shell = killed(setup);
    shell.quiet(4);
    assert!(shell.world.throttled && shell.world.reassignments.len() == 2);
    shell.order(OrderKind::Pause);
    shell.order(OrderKind::Cancel { execution: None });
    shell.quiet(10);
    assert!(!shell.world.throttled && shell.world.reassignments.is_empty());
    assert!(!shell.memory.executions[0].is_running());
}

#[test]
fn clears_the_throttle_after_a_crash() {
    for steps in 0..6 {
        let mut setup = setup(FOUR);
        setup.throttle = Some(5_000_000);
        let mut shell = killed(setup);
        shell.quiet(steps);
        shell.crash();
        shell.world.come_back(3);
        for _ in 0..20 {
            shell.turn();
            shell.world.complete();
        }
        assert!(!shell.world.throttled, "crashed after {steps} steps");
        assert!(shell.memory.executions.iter().all(|execution| !execution.is_running()));
    }
}

#[test]
fn says_that_a_throttle_is_left_and_goes_on_trying() {
    let mut setup = setup(FOUR);
    setup.throttle = Some(5_000_000);
    let mut shell = killed(setup);
    shell.quiet(4);
    shell.world.complete();
    shell.world.unclearable = true;
    shell.quiet(120);
    assert!(
        shell.open_incidents().contains("throttle_left cluster: the replication throttle of execution 1")
    );
    shell.world.unclearable = false;
    shell.quiet(70);
    assert!(!shell.world.throttled);
    assert!(!shell.open_incidents().contains("throttle_left"));
}

#[test]
fn only_a_person_gives_up_a_throttle_and_leaders_do_not_wait_for_it() {
    let mut setup = setup("brokers: 1 2 3 4\n t-0: 3 1 2").also("elect", names::ELECT_LEADERS);
    setup.throttle = Some(5_000_000);
    let mut shell = killed(setup);
    shell.quiet(4);
    shell.world.complete();
    shell.world.partition(&TopicPartition::new("t", 0)).leader = Some(BrokerId(1));
    shell.world.unclearable = true;
    let mut text = String::new();
    for _ in 0..5_000 {
        text += &shell.turn();
    }
    assert_eq!(text.matches("ACT 2.1 elect elect_leaders cluster").count(), 1, "{text}");
    // Whoever cancels all moves does not mean this.
    shell.order(OrderKind::Cancel { execution: None });
    shell.quiet(100);
    assert!(shell.memory.executions[0].is_running());
    shell.order(OrderKind::Cancel { execution: Some(1) });
    let text = shell.turn();
    assert!(text.contains("the throttle was left on "), "{text}");
    assert!(!shell.memory.executions[0].is_running());
}

#[test]
fn drops_the_moves_when_the_throttle_cannot_be_set() {
    let mut setup = setup(FOUR);
    setup.throttle = Some(5_000_000);
    let mut shell = killed(setup);
    shell.step();
    let Some(Effect::Act { execution, sequence, .. }) = shell.acts.pop_front() else { panic!("an act") };
    let message = "not authorised to alter configs".to_owned();
    let error = ActError { message, maybe_applied: false, retry: false };
    shell.outcomes.push(Outcome { execution, sequence, result: Err(error) });
    check(
        shell.step(),
        expect![[r#"
            outcome reassign reassign_partitions cluster: failed: not authorised to alter configs
            outcome reassign reassign_partitions cluster: 0 of 2 partitions moved in 1.0 s; 2 given up (t-0: the throttle could not be set: not authorised to alter configs, …)
            hold healer reassign_partitions cluster: held: the last move of t-0 failed (the throttle could not be set: not authorised to alter configs), it is tried again in 2 s (and 1 more)
        "#]],
    );
    assert!(shell.acts.is_empty(), "what was never set needs no clearing");
}

fn entry(broker: BrokerId) -> ThrottleEntry {
    let key = "leader.replication.throttled.rate".to_owned();
    ThrottleEntry { broker: Some(broker), topic: None, key, value: "5000000".to_owned() }
}

fn answer(throttle: Throttle) -> Result<Done, ActError> {
    let detail = serde_json::to_value(throttle).unwrap();
    Ok(Done { summary: "some".to_owned(), detail, ..Done::default() })
}

/// As the real action: a broker's config is read and changed at that broker alone.
fn at_each_broker(world: &mut World, step: &ReassignStep) -> Result<Done, ActError> {
    let is_away = |id: &BrokerId| world.down.contains(id) || world.silent.contains(id);
    let asks_one_away = |throttle: &Throttle| match &throttle.entries {
        Some(entries) => entries.iter().filter_map(|entry| entry.broker.as_ref()).any(is_away),
        None => throttle.brokers.iter().any(is_away),
    };
    match step {
        ReassignStep::SetThrottle(throttle) if asks_one_away(throttle) => {
            let message = "a broker does not answer".to_owned();
            Err(ActError { message, maybe_applied: false, retry: true })
        }
        ReassignStep::SetThrottle(throttle) if throttle.entries.is_none() => {
            let entries = Some(throttle.brokers.iter().copied().map(entry).collect());
            answer(Throttle { entries, ..throttle.clone() })
        }
        ReassignStep::ClearThrottle(throttle) => {
            let left = throttle.entries.clone().unwrap_or_default();
            let left: Vec<_> =
                left.into_iter().filter(|entry| entry.broker.as_ref().is_some_and(is_away)).collect();
            match left.is_empty() {
                true => world.act(step),
                false => answer(Throttle { entries: Some(left), ..throttle.clone() }),
            }
        }
        step => world.act(step),
    }
}

/// The brokers of each throttle that was set or taken away within so many steps, and whether anything was submitted.
fn throttles(shell: &mut Shell, steps: usize) -> String {
    let mut text = String::new();
    for _ in 0..steps {
        shell.step();
        for act in &shell.acts {
            let Effect::Act { event, .. } = act else { continue };
            let ids = |throttle: &Throttle| {
                let of = |entry: &ThrottleEntry| entry.broker.unwrap().to_string();
                let ids: Vec<String> = throttle.entries.iter().flatten().map(of).collect();
                ids.join(" ")
            };
            let line = match event.payload_as::<ReassignStep>() {
                Ok(ReassignStep::SetThrottle(asked)) if asked.entries.is_none() => "ask".to_owned(),
                Ok(ReassignStep::SetThrottle(throttle)) => format!("set at {}", ids(&throttle)),
                Ok(ReassignStep::ClearThrottle(throttle)) => format!("clear at {}", ids(&throttle)),
                Ok(ReassignStep::Submit { .. }) => "submit".to_owned(),
                _ => continue,
            };
            text += &format!("{line}\n");
        }
        shell.act_with(at_each_broker);
    }
    text
}

#[test]
fn what_a_dead_broker_keeps_of_a_throttle_is_tried_again_and_nothing_else() {
    let mut setup = setup(FOUR);
    setup.throttle = Some(5_000_000);
    let mut shell = killed(setup);
    let mut text = throttles(&mut shell, 4);
    shell.world.complete();
    shell.world.down.insert(BrokerId(2));
    text += &throttles(&mut shell, 3);
    assert!(
        shell.open_incidents().contains("could not be taken away yet from broker 2 (1 tries)"),
        "{}",
        shell.open_incidents()
    );
    let Work::Reassign(work) = &shell.memory.executions[0].work else { panic!("moves") };
    assert_eq!(work.throttle.as_ref().unwrap().places(), "broker 2");
    shell.world.down.remove(&BrokerId(2));
    text += &throttles(&mut shell, 5);
    check(
        text,
        expect![[r#"
            ask
            set at 1 2 4
            submit
            clear at 1 2 4
            clear at 2
            clear at 2
        "#]],
    );
    assert!(!shell.memory.executions[0].is_running());
    assert!(!shell.open_incidents().contains("throttle_left"));
}

#[test]
fn moves_do_not_wait_for_a_throttle_on_a_broker_that_has_died() {
    let mut setup = setup(FOUR);
    setup.throttle = Some(5_000_000);
    setup.guard.brake_percent = 100;
    let mut shell = killed(setup);
    let mut text = throttles(&mut shell, 1);
    // It has been asked what is free at broker 2, and that may be set when the answer comes.
    shell.world.down.insert(BrokerId(2));
    text += &throttles(&mut shell, 3);
    check(
        text,
        expect![[r#"
            ask
            set at 1 4
            submit
        "#]],
    );
    let Work::Reassign(work) = &shell.memory.executions[0].work else { panic!("moves") };
    assert_eq!(work.throttle.as_ref().unwrap().entries.as_ref().unwrap().len(), 3, "it may have been set");
}

#[test]
fn moves_do_not_wait_for_a_throttle_on_a_broker_that_only_we_cannot_reach() {
    let mut setup = setup(FOUR);
    setup.throttle = Some(5_000_000);
    // It counts as absent.
    setup.guard.brake_percent = 100;
    let mut shell = killed(setup);
    shell.world.silent.insert(BrokerId(2));
    check(
        throttles(&mut shell, 10),
        expect![[r#"
            ask
            ask
            ask
            set at 1 4
            submit
        "#]],
    );
}

#[test]
fn nothing_goes_out_without_a_throttle_while_we_are_cut_off_from_most_brokers() {
    let mut setup = setup("brokers: 1 2 3 4 5 6 7 8 9 10 11 12\nt-0: 1 2 3");
    setup.throttle = Some(5_000_000);
    // They count as absent.
    setup.guard.brake_percent = 100;
    let mut shell = killed(setup);
    shell.world.silent.extend([BrokerId(1), BrokerId(2)]);
    let text = throttles(&mut shell, 20);
    assert!(text.contains("ask") && !text.contains("set") && !text.contains("submit"), "{text}");
}
