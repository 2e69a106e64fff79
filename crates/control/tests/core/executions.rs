//! What becomes of an admitted event.

use std::time::Duration;

use cluster::{BrokerId, TopicPartition};
use control::event::{ReassignResult, ReassignStep, names};
use control::order::OrderKind;
use control::*;
use expect_test::{Expect, expect};

use crate::world::{Setup, Shell, setup, show};

pub(crate) const FOUR: &str = "
    brokers: 1@a 2@a 3@b 4@b
    t-0: 1 2 3
    t-1: 2 3 1
";

/// Broker 3 is dead, and its replicas are about to be moved.
pub(crate) fn killed(setup: Setup) -> Shell {
    let mut shell = setup.start();
    shell.quiet(2);
    shell.world.kill(3);
    shell
}

/// As [`killed`], with the moves accepted by the cluster and noticed by us.
pub(crate) fn copying(setup: Setup) -> Shell {
    let mut shell = killed(setup);
    shell.quiet(2);
    shell
}

pub(crate) fn check(text: String, expected: Expect) {
    expected.assert_eq(&text);
}

pub(crate) fn many(partitions: usize) -> String {
    let mut text = "brokers: 1 2 3 4\n".to_owned();
    for number in 0..partitions {
        let start = number % 4;
        let ids: Vec<String> = (0..3).map(|i| ((start + i) % 4 + 1).to_string()).collect();
        text.push_str(&format!("t-{number}: {}\n", ids.join(" ")));
    }
    text
}

pub(crate) fn phases(shell: &Shell) -> Progress {
    let last = shell.memory.executions.last().unwrap();
    Progress::of(last, shell.now().wall)
}

#[test]
fn journal_precedes_act() {
    let mut shell = killed(setup(FOUR));
    let effects = shell.effects();
    check(
        show(effects.iter()),
        expect![[r#"
        persist counters
        persist executions/1
        persist incidents
        incident doctorkafka under_replicated cluster: opened
        decision healer reassign_partitions cluster: admitted, for reassign
        act reassign reassign_partitions cluster: submitting 2 moves
        ACT 1.1 reassign submit t-0: 1 2 3 -> 1 2 4, t-1: 2 3 1 -> 2 4 1
    "#]],
    );
    let journal = &shell.store["executions/1"]["work"]["reassign"];
    assert_eq!(journal["moves"][0]["phase"], "submitting");
}

#[test]
fn runs_one_act_per_partition_at_once() {
    let mut shell = killed(setup(FOUR));
    shell.turn();
    for _ in 0..100 {
        shell.turn();
        assert!(shell.acts.is_empty() && shell.world.reassignments.len() == 2);
    }
    assert_eq!(shell.memory.executions.len(), 1);
}

#[test]
fn is_done_when_the_new_replicas_are_in_sync() {
    let mut shell = copying(setup(FOUR));
    shell.world.complete();
    check(
        shell.turn(),
        expect![[r#"
        outcome reassign reassign_partitions cluster: 2 of 2 partitions moved in 2.0 s
    "#]],
    );
    assert!(shell.world.reassignments.is_empty());
    for _ in 0..100 {
        assert_eq!(shell.turn(), "");
    }
}

#[test]
fn moves_sixty_small_partitions_at_once() {
    let mut shell = killed(setup(&many(60)));
    let text = shell.turn();
    assert!(text.contains("submitting 45 moves"), "{text}");
    shell.quiet(1);
    shell.world.complete();
    assert!(shell.turn().contains("45 of 45 partitions moved in 2.0 s"));
}

#[test]
fn nothing_is_moved_twice_when_the_broker_comes_back() {
    let mut shell = copying(setup(FOUR));
    shell.world.come_back(3);
    shell.quiet(3);
    shell.world.complete();
    let text = shell.turn();
    assert!(text.contains("2 of 2 partitions moved"), "{text}");
    for _ in 0..50 {
        assert!(!shell.turn().contains("ACT"));
    }
}

#[test]
fn drops_moves_whose_reason_is_gone_before_they_are_submitted() {
    let mut setup = setup(FOUR);
    setup.limits.batch = 1;
    let mut shell = killed(setup);
    shell.turn();
    shell.world.come_back(3);
    shell.quiet(2);
    shell.world.complete();
    check(
        shell.turn(),
        expect![[r#"
        outcome reassign reassign_partitions cluster: 1 of 2 partitions moved in 3.0 s; 1 given up (t-1: broker 3 is not dead any more)
    "#]],
    );
}

#[test]
fn bounds_what_is_in_flight_per_broker() {
    let mut setup = setup(&many(60));
    setup.limits.small_bytes = 0;
    setup.limits.moves_per_broker = 4;
    let mut shell = killed(setup);
    for _ in 0..200 {
        shell.turn();
        let mut targets = std::collections::BTreeMap::<BrokerId, usize>::new();
        for reassignment in shell.world.reassignments.values() {
            for broker in &reassignment.adding {
                *targets.entry(*broker).or_default() += 1;
            }
        }
        assert!(targets.values().all(|count| *count <= 4), "{targets:?}");
        shell.world.complete();
    }
    assert!(shell.world.all().iter().all(|p| !shell.world.partition(p).replicas.contains(&BrokerId(3))));
}

#[test]
fn bounds_the_bytes_in_flight_but_lets_a_large_move_go_alone() {
    let mut setup = setup(FOUR);
    setup.limits.bytes_per_broker = 10;
    let mut shell = killed(setup);
    assert!(shell.turn().contains("submitting 1 moves"));
    shell.quiet(5);
    assert_eq!(shell.world.reassignments.len(), 1);
    shell.world.complete();
    assert!(shell.turn().contains("submitting 1 moves"));
}

#[test]
fn submits_partitions_with_the_fewest_in_sync_replicas_first() {
    let mut setup = setup(
        "brokers: 1 2 3 4 5 6 7 8 9 10
        t-0: 1 2 3
        t-1: 3 4 5 / 3 5
        t-2: 6 3 7",
    );
    setup.limits.batch = 1;
    let mut shell = killed(setup);
    assert!(shell.turn().contains("submit t-1"));
}

#[test]
fn waits_with_the_next_wave_while_in_sync_replicas_are_lost_on_live_brokers() {
    let mut setup = setup(
        "
        brokers: 1 2 3 4
        t-0: 1 2 3
        t-1: 2 3 1
        t-2: 1 2 4
    ",
    );
    setup.limits.batch = 1;
    let mut shell = killed(setup);
    shell.turn();
    let other = TopicPartition::new("t", 2);
    shell.world.partition(&other).isr = [BrokerId(1), BrokerId(4)].into();
    check(
        shell.turn(),
        expect![[r#"
        hold reassign reassign_partitions cluster: held: 1 partitions have lost an in-sync replica on a live broker since the last wave
    "#]],
    );
    shell.world.complete();
    shell.quiet(10);
    check(
        shell.held(),
        expect![[r#"
            reassign_partitions [caps] 1 partitions have lost an in-sync replica on a live broker since the last wave
            reassign_partitions [in_flight] t-1 is being moved by us already
        "#]],
    );
    shell.world.partition(&other).isr = [BrokerId(1), BrokerId(4), BrokerId(2)].into();
    assert!(shell.turn().contains("submitting 1 moves"));
}

#[test]
fn does_not_wait_for_ever_for_replicas_that_others_lost() {
    let mut setup = setup(
        "
        brokers: 1 2 3 4
        t-0: 1 2 3
        t-1: 2 3 1
        t-2: 1 2 4
    ",
    );
    setup.limits.batch = 1;
    let mut shell = killed(setup);
    shell.turn();
    shell.world.partition(&TopicPartition::new("t", 2)).isr = [BrokerId(1), BrokerId(4)].into();
    shell.turn();
    shell.world.complete();
    shell.quiet(60);
    assert_eq!(shell.world.reassignments.len(), 0);
    shell.quiet(2);
    assert_eq!(shell.world.reassignments.len(), 1);
}

#[test]
fn a_move_that_cannot_copy_does_not_make_others_wait_for_replicas_that_cannot_return() {
    let mut setup = setup("brokers: 1 2 3 4\nt-0: 1 2 3\nt-1: 2 3 1\nt-2: 1 2 4");
    setup.limits.batch = 1;
    let mut shell = killed(setup);
    shell.turn();
    let moved = shell.world.reassignments.keys().next().unwrap().clone();
    shell.world.partition(&TopicPartition::new("t", 2)).isr = [BrokerId(1), BrokerId(4)].into();
    shell.quiet(120);
    assert_eq!(shell.world.reassignments.len(), 1, "while it copies it may be why the replica was lost");
    shell.world.partition(&moved).leader = None;
    shell.quiet(60);
    assert_eq!(shell.world.reassignments.len(), 1);
    shell.quiet(2);
    assert_eq!(shell.world.reassignments.len(), 2);
}

#[test]
fn looks_again_when_the_answer_was_lost() {
    for reached_the_cluster in [true, false] {
        let mut shell = killed(setup(FOUR));
        shell.step();
        let act = shell.acts.pop_front().unwrap();
        let Effect::Act { execution, sequence, event, .. } = act else { panic!("an act") };
        if reached_the_cluster {
            shell.world.act(&event.payload_as::<ReassignStep>().unwrap()).unwrap();
        }
        let message = "no answer within 30 s".to_owned();
        let error = ActError { message, maybe_applied: true, retry: true };
        shell.outcomes.push(Outcome { execution, sequence, result: Err(error) });
        let text = shell.turn();
        assert!(text.contains("failed: no answer within 30 s"), "{text}");
        shell.quiet(10);
        assert_eq!(phases(&shell).copying, 2, "reached the cluster: {reached_the_cluster}");
        let sent = if reached_the_cluster { 1 } else { 2 };
        assert_eq!(shell.memory.executions[0].sequence, sent);
    }
}

#[test]
fn looks_again_at_partitions_that_the_answer_does_not_name() {
    let mut shell = killed(setup(FOUR));
    shell.step();
    let Some(Effect::Act { execution, sequence, event, .. }) = shell.acts.pop_front() else {
        panic!("an act")
    };
    shell.world.act(&event.payload_as::<ReassignStep>().unwrap()).unwrap();
    let detail = serde_json::to_value(ReassignResult::default()).unwrap();
    let done = Done { summary: String::new(), detail, follow_ups: Vec::new() };
    shell.outcomes.push(Outcome { execution, sequence, result: Ok(done) });
    shell.turn();
    assert_eq!(phases(&shell).copying, 2);
}

#[test]
fn tries_again_when_the_journal_could_not_be_written() {
    let mut shell = killed(setup(FOUR));
    let effects = shell.effects();
    shell.acts.clear();
    shell.memory.forget_what_is_saved();
    shell.outcomes.extend(effects.iter().filter_map(|effect| effect.not_done("the disk is full")));
    shell.quiet(3);
    assert_eq!(shell.world.reassignments.len(), 2);
}

#[test]
fn adopts_its_own_reassignments_after_a_crash() {
    let mut shell = killed(setup(FOUR));
    shell.turn();
    shell.crash();
    assert_eq!(shell.turn(), "", "they are found to be ours, and nothing is submitted again");
    assert_eq!(phases(&shell).copying, 2);
    shell.world.complete();
    check(
        shell.turn(),
        expect![[r#"
        outcome reassign reassign_partitions cluster: 2 of 2 partitions moved in 0.0 s
    "#]],
    );
}

#[test]
fn submits_again_after_a_crash_before_the_act() {
    let mut shell = killed(setup(FOUR));
    shell.step();
    shell.crash();
    shell.quiet(2);
    assert!(shell.world.reassignments.is_empty(), "a lagging view of the topics is not believed");
    shell.quiet(3);
    assert_eq!(shell.world.reassignments.len(), 2);
    assert_eq!(shell.memory.executions.len(), 1);
}

#[test]
fn the_end_of_a_move_is_written_before_the_next_move_of_its_partition() {
    let mut setup = setup(
        "
        brokers: 1@a 2@a 3@b 4@b 5@b
        t-0: 1 2 3
        t-1: 3 5 2
    ",
    );
    setup.guard.brake_percent = 100;
    let mut shell = copying(setup);
    // One move ends, the other one goes on, so that the execution does not end.
    let slow = TopicPartition::new("t", 1);
    let copying = shell.world.reassignments.remove(&slow).unwrap();
    shell.world.complete();
    shell.world.reassignments.insert(slow, copying);
    shell.quiet(1);
    let moved = TopicPartition::new("t", 0);
    let BrokerId(target) = shell.world.partition(&moved).replicas[2];
    shell.world.kill(target);
    let mut written = Vec::new();
    while !shell.store.contains_key("executions/2") {
        written = shell.effects();
        shell.act();
    }
    let place = |of: &str| {
        written.iter().position(|effect| matches!(effect, Effect::Persist { key, .. } if key == of))
    };
    assert!(place("executions/1") < place("executions/2"), "where both are written, the end comes first");
    // Wherever it is killed now, no partition has two moves that have not ended.
    shell.crash();
    let moves = shell.memory.executions.iter().flat_map(|execution| execution.moves());
    let open = moves.filter(|m| m.order.partition == moved && !m.phase.is_final()).count();
    assert_eq!(open, 1);
}

#[test]
fn submits_nothing_more_when_it_is_started_again_in_a_dry_run() {
    let batches = |dry_run: bool| {
        let mut setup = setup(FOUR);
        setup.limits.batch = 1;
        setup.throttle = Some(1_000);
        setup.actions[0].dry_run = dry_run;
        setup
    };
    let mut shell = killed(batches(false));
    shell.quiet(3);
    assert_eq!(shell.world.reassignments.len(), 1);
    let mut dry = batches(true).start();
    (dry.world, dry.store) = (shell.world.clone(), shell.store.clone());
    dry.crash();
    dry.quiet(2);
    dry.world.complete();
    dry.quiet(20);
    assert!(dry.world.reassignments.is_empty(), "nothing more is submitted");
    assert!(dry.held().contains("[dry_run] reassign is in a dry run now"), "{}", dry.held());
    assert_eq!(dry.memory.executions[0].moves().iter().filter(|m| m.phase.is_final()).count(), 1);
    // A person who does not want the rest has the throttle taken away.
    dry.order(OrderKind::Cancel { execution: None });
    dry.quiet(5);
    assert!(!dry.world.throttled);
}

#[test]
fn moves_that_wait_outlive_a_restart_in_which_the_grace_counts_anew() {
    let mut setup = setup(FOUR);
    setup.limits.batch = 1;
    let mut shell = killed(setup);
    shell.turn();
    shell.crash();
    // After the restart the broker is absent, but not dead yet.
    shell.world.dead.clear();
    shell.quiet(2);
    shell.world.complete();
    shell.quiet(5);
    assert!(shell.world.reassignments.is_empty(), "nothing is submitted before the grace is over");
    assert!(shell.held().contains("the grace of broker 3 counts anew"), "{}", shell.held());
    shell.world.dead.insert(BrokerId(3));
    shell.quiet(2);
    assert_eq!(shell.world.reassignments.len(), 1);
    assert_eq!(shell.memory.executions.len(), 1, "it is the same execution that goes on");
}

#[test]
fn finds_what_was_completed_while_it_was_down() {
    let mut shell = killed(setup(FOUR));
    shell.turn();
    shell.crash();
    shell.world.complete();
    assert!(shell.turn().contains("2 of 2 partitions moved"));
}

#[test]
fn cancels_its_own_moves_when_a_person_says_so() {
    let mut shell = copying(setup(FOUR));
    shell.order(OrderKind::Pause);
    shell.order(OrderKind::Cancel { execution: None });
    check(
        shell.turn(),
        expect![[r#"
            order ann pause cluster: paused
            order ann cancel cluster: 1 execution cancelled; what is still needed is done again after a cool-down, unless the service is paused (doctorkafka pause)
            act reassign reassign_partitions cluster: cancelling 2 moves
            ACT 1.2 reassign cancel t-0: 1 2 3 -> 1 2 4, t-1: 2 3 1 -> 2 4 1
        "#]],
    );
    shell.quiet(2);
    check(
        shell.turn(),
        expect![[r#"
        outcome reassign reassign_partitions cluster: 0 of 2 partitions moved in 5.0 s; 2 given up (t-0: cancelled by ann, …)
    "#]],
    );
    assert!(shell.world.reassignments.is_empty());
}

#[test]
fn goes_on_with_what_was_cancelled_when_a_person_says_resume() {
    let mut shell = copying(setup(FOUR));
    shell.order(OrderKind::Cancel { execution: None });
    while !shell.world.reassignments.is_empty() {
        shell.turn();
    }
    for _ in 0..30 {
        shell.turn();
    }
    assert!(shell.world.reassignments.is_empty(), "a cancelled move was repeated at once");
    shell.order(OrderKind::Resume);
    for _ in 0..30 {
        shell.turn();
    }
    assert_eq!(shell.world.reassignments.len(), 2, "resume does not lift the wait after a cancel");
}

#[test]
fn a_resume_counts_from_the_moment_it_is_said_although_the_cancel_is_not_through() {
    let mut shell = copying(setup(FOUR));
    shell.order(OrderKind::Pause);
    shell.order(OrderKind::Cancel { execution: None });
    shell.turn();
    shell.order(OrderKind::Resume);
    for _ in 0..30 {
        shell.turn();
    }
    assert_eq!(shell.world.reassignments.len(), 2, "resume does not lift the wait after a cancel");
}

#[test]
fn cancels_and_plans_anew_when_a_new_replica_dies() {
    let mut setup = setup(
        "brokers: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20
        t-0: 1 2 3",
    );
    setup.guard.brake_percent = 20;
    let mut shell = copying(setup);
    shell.world.kill(4);
    check(
        shell.turn(),
        expect![[r#"
        act reassign reassign_partitions cluster: cancelling 1 moves
        ACT 1.2 reassign cancel t-0: 1 2 3 -> 1 2 4
    "#]],
    );
    shell.quiet(8);
    let reassignment = &shell.world.reassignments[&TopicPartition::new("t", 0)];
    assert_eq!(reassignment.target(), [BrokerId(1), BrokerId(2), BrokerId(5)]);
}

#[test]
fn alerts_once_when_moves_make_no_headway_and_does_not_cancel() {
    let mut setup = setup(FOUR).also("mail", names::ALERT_STUCK_REASSIGNMENT);
    setup.limits.stuck_after = Duration::from_secs(60);
    let mut shell = copying(setup);
    let mut text = String::new();
    for _ in 0..300 {
        text += &shell.turn();
    }
    check(
        text,
        expect![[r#"
        incident doctorkafka reassignment_stuck cluster: opened
        decision doctorkafka alert_stuck_reassignment cluster: admitted, for mail
        act mail alert_stuck_reassignment cluster: started
        ACT 2.1 mail alert_stuck_reassignment cluster
        outcome mail alert_stuck_reassignment cluster: done
    "#]],
    );
    assert_eq!(shell.world.reassignments.len(), 2);
}

#[test]
fn says_how_far_it_is() {
    let mut shell = copying(setup(FOUR));
    let partition = TopicPartition::new("t", 0);
    let other = shell.world.reassignments.remove(&TopicPartition::new("t", 1)).unwrap();
    shell.world.complete();
    shell.world.reassignments.insert(TopicPartition::new("t", 1), other);
    assert!(shell.world.partition(&partition).replicas.contains(&BrokerId(4)));
    shell.turn();
    let progress = phases(&shell);
    assert_eq!((progress.copying, progress.done), (1, 1));
    assert_eq!((progress.bytes, progress.bytes_done), (2_000, 1_000));
    assert_eq!(progress.left, Some(Duration::from_secs(2)));
}

#[test]
fn starts_nothing_new_while_mass_failure_holds() {
    let mut setup = setup(
        "
        brokers: 1 2 3 4 5
        t-0: 1 2 3
        t-1: 2 3 1
    ",
    );
    setup.limits.batch = 1;
    let mut shell = killed(setup);
    shell.turn();
    shell.world.drop_broker(5);
    shell.world.complete();
    for _ in 0..20 {
        assert!(!shell.turn().contains("ACT"));
    }
    shell.world.come_back(5);
    assert!(shell.turn().contains("ACT"));
}

#[test]
fn writes_that_moves_go_well_at_most_every_five_seconds() {
    let mut setup = setup(&many(60));
    setup.limits.stuck_after = Duration::from_secs(3_600);
    let mut shell = copying(setup);
    let mut writes = 0;
    for partition in shell.world.all() {
        let others = std::mem::take(&mut shell.world.reassignments);
        let (now, later) = others.into_iter().partition(|(p, _)| *p == partition);
        shell.world.reassignments = now;
        shell.world.complete();
        shell.world.reassignments = later;
        let key = |effect: &&Effect| matches!(effect, Effect::Persist { key, .. } if key == "executions/1");
        writes += shell.effects().iter().filter(key).count();
    }
    assert!((9..=13).contains(&writes), "{writes} writes in 60 s");
}
