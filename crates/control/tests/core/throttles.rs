//! A replication throttle is never left behind.

use control::order::OrderKind;
use control::{ActError, Effect, Outcome};
use expect_test::expect;

use crate::executions::{FOUR, check, killed};
use crate::world::setup;

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
