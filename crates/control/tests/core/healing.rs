//! The built-in monitors and operators with the core around them: what a cluster lives through, as told by the audit.

use std::time::Duration;

use cluster::BrokerId;
use control::event::names;
use control::order::OrderKind;
use expect_test::{Expect, expect};

use crate::world::{Shell, setup};

fn four(dry_run: bool) -> Shell {
    let mut setup = setup(
        "
        brokers: 1@a 2@a 3@b 4@b
        t-0: 1 3 2
        t-1: 2 4 3
        t-2: 3 1 4
        t-3: 4 2 1
    ",
    )
    .also("elect", names::ELECT_LEADERS);
    setup.actions[0].dry_run = dry_run;
    setup.built_in = Some(Duration::from_secs(5));
    let mut shell = setup.start();
    shell.quiet(3);
    shell
}

/// Turns, each with its second.
fn tell(shell: &mut Shell, turns: usize) -> String {
    let mut story = String::new();
    for second in 0..turns {
        for line in shell.turn().lines() {
            story.push_str(&format!("{second} s: {line}\n"));
        }
    }
    story
}

fn check(text: &str, expected: Expect) {
    expected.assert_eq(text);
}

#[test]
fn heals_a_killed_broker_after_the_grace_and_says_each_step_once() {
    let mut shell = four(false);
    shell.world.drop_broker(3);
    let mut story = tell(&mut shell, 8);
    shell.world.complete();
    story += "copied\n";
    story += &tell(&mut shell, 60);
    shell.world.come_back(3);
    story += "broker 3 is back\n";
    story += &tell(&mut shell, 60);
    check(
        &story,
        expect![[r#"
            0 s: incident doctorkafka broker_absent broker 3: opened
            0 s: incident doctorkafka under_replicated broker 3: opened
            5 s: incident doctorkafka broker_dead broker 3: opened
            5 s: decision heal reassign_partitions cluster: admitted, for reassign
            5 s: act reassign reassign_partitions cluster: submitting 3 moves
            5 s: ACT 1.1 reassign submit t-0: 1 3 2 -> 1 4 2, t-1: 2 4 3 -> 2 4 1, t-2: 3 1 4 -> 2 1 4
            6 s: incident doctorkafka healing_waits cluster: opened
            copied
            0 s: incident doctorkafka healing_waits cluster: resolved after 2.0 s
            0 s: incident doctorkafka under_replicated broker 3: resolved after 8.0 s
            0 s: outcome reassign reassign_partitions cluster: 3 of 3 partitions moved in 3.0 s
            broker 3 is back
            0 s: incident doctorkafka broker_absent broker 3: resolved after 68 s
            0 s: incident doctorkafka broker_dead broker 3: resolved after 63 s
        "#]],
    );
    assert!(shell.world.all().iter().all(|p| !shell.world.partition(p).replicas.contains(&BrokerId(3))));
}

#[test]
fn does_nothing_for_a_broker_that_is_back_within_the_grace() {
    let mut shell = four(false);
    shell.world.drop_broker(3);
    let mut story = tell(&mut shell, 5);
    shell.world.come_back(3);
    story += &tell(&mut shell, 60);
    assert!(!story.contains("ACT"), "{story}");
}

#[test]
fn does_nothing_in_a_rolling_restart() {
    let mut shell = four(false);
    for id in [1, 2, 3, 4] {
        shell.world.drop_broker(id);
        assert!(!tell(&mut shell, 4).contains("ACT"));
        shell.world.come_back(id);
        assert!(!tell(&mut shell, 4).contains("ACT"));
    }
}

#[test]
fn two_of_four_are_held_until_a_person_approves() {
    let mut shell = four(false);
    shell.world.drop_broker(2);
    shell.world.drop_broker(3);
    let story = tell(&mut shell, 60);
    assert!(!story.contains("ACT"), "{story}");
    assert!(shell.open_incidents().contains("mass_failure cluster: 2 of 4 brokers are absent (2, 3)"));
    shell.order(OrderKind::Approve);
    let story = tell(&mut shell, 5);
    assert!(!story.contains("held"), "{story}");
    check(
        &shell.open_incidents(),
        expect![[r#"
        broker_absent broker 2: Kafka has dropped broker 2, and it does not answer at host2:9092 (refused)
        broker_absent broker 3: Kafka has dropped broker 3, and it does not answer at host3:9092 (refused)
        broker_dead broker 2: broker 2 is dead: Kafka has dropped it, and it does not answer at host2:9092 (refused), for the whole grace of 5s
        broker_dead broker 3: broker 3 is dead: Kafka has dropped it, and it does not answer at host3:9092 (refused), for the whole grace of 5s
        cannot_heal cluster: replicas on dead brokers cannot be replaced: 1 (t-0): this Kafka version would wait for ever for the replica on broker 2, which is down; 1 (t-1): this Kafka version would wait for ever for the replica on broker 3, which is down; 4 (t-0, t-1, t-2, 1 more): every broker that may take replicas holds one already
        mass_failure cluster: 2 of 4 brokers are absent (2, 3), at most 1 may be; healing goes on: approved by ann: why not
        under_replicated broker 2: 3 replicas out of sync on broker 2 (follower dead: 3); 2 partitions down to the last copy
        under_replicated broker 3: 3 replicas out of sync on broker 3 (follower dead: 3); 2 partitions down to the last copy
    "#]],
    );
}

#[test]
fn a_dry_run_says_what_it_would_do_once() {
    let mut shell = four(true);
    shell.world.drop_broker(3);
    let story = tell(&mut shell, 100);
    assert_eq!(story.matches("would move 3 partitions").count(), 1, "{story}");
    assert_eq!(story.matches("would move it").count(), 3, "{story}");
    assert!(!story.contains("ACT"), "{story}");
}

#[test]
fn heals_after_a_restart_in_the_middle() {
    let mut shell = four(false);
    shell.world.drop_broker(3);
    tell(&mut shell, 6);
    shell.crash();
    tell(&mut shell, 20);
    shell.world.complete();
    let story = tell(&mut shell, 5);
    assert!(story.contains("partitions moved"), "{story}");
    assert_eq!(shell.memory.executions.len(), 1, "nothing was planned anew");
}
