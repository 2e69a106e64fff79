//! Who says no, and how often it is said.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cluster::BrokerId;
use control::event::names;
use control::order::OrderKind;
use control::*;
use expect_test::{Expect, expect};

use crate::world::{Shell, setup, slot};

const FOUR: &str = "
    brokers: 1@a 2@a 3@b 4@b
    t-0: 1 2 3
    t-1: 2 3 1
";

fn four() -> Shell {
    let mut shell = setup(FOUR).also("mail", names::ALERT_MASS_FAILURE).start();
    shell.quiet(2);
    shell
}

const FIVE: &str = "
    brokers: 1@a 2@a 3@b 4@b 5@c
    t-0: 1 2 3
    t-1: 2 3 1
";

const SIX: &str = "
    brokers: 1@a 2@a 3@b 4@b 5@c 6@c
    t-0: 1 2 3
    t-1: 2 3 1
";

fn five() -> Shell {
    let mut shell = setup(FIVE).also("mail", names::ALERT_MASS_FAILURE).start();
    shell.quiet(2);
    shell
}

fn check(text: String, expected: Expect) {
    expected.assert_eq(&text);
}

#[test]
fn sends_nothing_when_nothing_should_be_sent() {
    let mut shell = setup(FOUR).start();
    assert_eq!(shell.step(), "");
    for _ in 0..50 {
        assert_eq!(shell.effects(), Vec::new(), "nothing has changed, so nothing is written");
    }
}

#[test]
fn writes_when_brokers_were_last_seen_at_most_once_a_minute() {
    let mut shell = setup(FOUR).start();
    let writes: usize = (0..600).map(|_| shell.effects().len()).sum();
    assert!((9..=12).contains(&writes), "{writes} writes in ten minutes");
}

#[test]
fn heals_when_one_broker_is_dead() {
    let mut shell = four();
    shell.world.kill(3);
    check(
        shell.turn(),
        expect![[r#"
        incident doctorkafka under_replicated cluster: opened
        decision healer reassign_partitions cluster: admitted, for reassign
        act reassign reassign_partitions cluster: submitting 2 moves
        ACT 1.1 reassign submit t-0: 1 2 3 -> 1 2 4, t-1: 2 3 1 -> 2 4 1
    "#]],
    );
}

#[test]
fn holds_when_a_rack_is_lost() {
    let mut shell = setup(
        "
        brokers: 1@a 2@a 3@b 4@b 5@c 6@c 7@c 8@c 9@c 10@c 11@c 12@c 13@c 14@c 15@c 16@c 17@c 18@c 19@c 20@c
        t-0: 1 3 5
    ",
    )
    .also("mail", names::ALERT_MASS_FAILURE)
    .start();
    shell.quiet(2);
    shell.world.kill(3);
    shell.world.kill(4);
    check(
        shell.turn(),
        expect![[r#"
        incident doctorkafka under_replicated cluster: opened
        incident doctorkafka mass_failure cluster: opened
        decision doctorkafka alert_mass_failure cluster: admitted, for mail
        hold healer reassign_partitions cluster: held: the whole rack b is absent (2 brokers)
        act mail alert_mass_failure cluster: started
        ACT 1.1 mail alert_mass_failure cluster
    "#]],
    );
}

#[test]
fn counts_suspects_for_the_brake() {
    let mut shell = five();
    shell.world.drop_broker(4);
    shell.world.kill(2);
    shell.turn();
    check(
        shell.held(),
        expect![[r#"
        reassign_partitions [brake] 2 of 5 brokers are absent (2, 4), at most 1 may be
    "#]],
    );
}

#[test]
fn brokers_that_have_long_been_away_and_hold_nothing_do_not_press_the_brake() {
    let mut shell = five();
    shell.world.drop_broker(4);
    shell.world.idle.insert(BrokerId(4));
    shell.world.kill(2);
    assert!(shell.turn().contains("submit"));
    assert!(!shell.open_incidents().contains("mass_failure"));
}

#[test]
fn waits_for_brokers_that_stopped_answering_when_the_first_one_of_them_was_dropped() {
    let mut shell = five();
    shell.world.kill(2);
    shell.world.silent.insert(BrokerId(4));
    shell.turn();
    check(
        shell.held(),
        expect![[r#"
        reassign_partitions [brake] broker 4 stopped answering us a moment ago: Kafka may be about to drop more than may be absent
    "#]],
    );
    assert!(!shell.open_incidents().contains("mass_failure"), "nobody is woken for what may be a hiccup");
    // It answers again: there is one dead broker, and its replicas are moved.
    shell.world.silent.clear();
    assert!(shell.turn().contains("submit"));
}

#[test]
fn brokers_that_stop_answering_while_nobody_is_absent_hold_nothing() {
    let mut shell = five();
    shell.world.silent.extend([BrokerId(4), BrokerId(5)]);
    shell.turn();
    assert_eq!((shell.held(), shell.open_incidents()), (String::new(), String::new()));
}

#[test]
fn says_a_hold_and_an_alert_once_per_incident() {
    let mut shell = five();
    shell.world.kill(3);
    shell.world.kill(4);
    shell.turn();
    check(
        shell.turn(),
        expect![[r#"
        outcome mail alert_mass_failure cluster: done
    "#]],
    );
    for _ in 0..100 {
        assert_eq!(shell.turn(), "");
        assert_eq!(shell.held.len(), 1, "it is still held, and shown as such");
    }
}

#[test]
fn goes_on_when_a_person_approves_and_forgets_it_with_the_incident() {
    let mut shell = four();
    shell.world.kill(3);
    shell.world.drop_broker(4);
    shell.quiet(3);
    shell.world.come_back(4);
    shell.world.drop_broker(1);
    shell.turn();
    shell.order(OrderKind::Approve);
    check(
        shell.turn(),
        expect![[r#"
        order ann approve cluster: approved
        decision healer reassign_partitions cluster: admitted, for reassign
        act reassign reassign_partitions cluster: submitting 2 moves
        ACT 2.1 reassign submit t-0: 1 2 3 -> 1 2 4, t-1: 2 3 1 -> 2 4 1
    "#]],
    );
    assert!(shell.memory.wishes.approved.is_some());
    shell.world.come_back(1);
    check(
        shell.turn(),
        expect![[r#"
            order doctorkafka approve cluster: the approval is over
            incident doctorkafka mass_failure cluster: resolved after 5.0 s
        "#]],
    );
    assert!(shell.memory.wishes.approved.is_none());
}

#[test]
fn an_approval_is_for_those_that_were_absent_when_it_was_given() {
    let mut shell = setup(SIX).also("mail", names::ALERT_MASS_FAILURE).start();
    shell.quiet(2);
    shell.world.kill(3);
    shell.world.drop_broker(4);
    shell.quiet(2);
    shell.order(OrderKind::Approve);
    assert!(shell.turn().contains("submit"));
    shell.quiet(2);
    shell.world.complete();
    shell.quiet(5);
    assert_eq!(shell.held(), "");
    // One more goes: nobody has approved that.
    shell.world.kill(2);
    let text = shell.turn();
    assert!(!text.contains("submit"), "{text}");
    assert!(text.contains("ACT 3.1 mail alert_mass_failure cluster"), "it is told again: {text}");
    check(
        shell.held(),
        expect![[r#"
        reassign_partitions [brake] 3 of 6 brokers are absent (2, 3, 4), at most 1 may be
    "#]],
    );
    shell.crash();
    assert!(!shell.turn().contains("submit"), "also after a restart");
    shell.order(OrderKind::Approve);
    assert!(shell.turn().contains("submit"));
}

#[test]
fn an_approval_covers_nobody_whose_absence_was_not_seen_when_it_was_given() {
    let mut shell = setup(SIX).start();
    shell.quiet(2);
    shell.world.kill(3);
    shell.world.drop_broker(4);
    shell.quiet(2);
    // Nobody can tell who is alive, and meanwhile one more goes.
    shell.world.unjudged = true;
    shell.quiet(2);
    shell.order(OrderKind::Approve);
    assert!(shell.turn().contains("order ann approve cluster: approved"));
    shell.world.unjudged = false;
    shell.world.kill(2);
    for _ in 0..20 {
        let text = shell.turn();
        assert!(!text.contains("submit"), "{text}");
    }
    // Right after the start it is not known at all.
    shell.crash();
    shell.order(OrderKind::Approve);
    assert!(shell.turn().contains("refused: it is not known yet which brokers are absent"));
}

#[test]
fn the_grace_for_mass_failures_counts_anew_when_more_brokers_go() {
    let mut setup = setup(FIVE);
    setup.guard.mass_failure_grace = Some(Duration::from_secs(10));
    let mut shell = setup.start();
    shell.quiet(2);
    shell.world.kill(3);
    shell.world.drop_broker(1);
    shell.quiet(9);
    shell.world.drop_broker(4);
    shell.quiet(10);
    assert_eq!(shell.held.len(), 1);
    assert!(shell.turn().contains("submitting 2 moves"));
}

#[test]
fn a_rack_counts_as_lost_although_one_of_its_brokers_is_down_for_maintenance() {
    let mut shell = setup(SIX).start();
    shell.quiet(2);
    let scope = control::order::Scope::Broker(BrokerId(4));
    shell.order(OrderKind::MaintenanceOn { scope, until: None });
    shell.world.drop_broker(4);
    shell.quiet(2);
    assert_eq!(shell.held(), "");
    shell.world.kill(3);
    shell.turn();
    check(
        shell.held(),
        expect![[r#"
        reassign_partitions [brake] the whole rack b is absent (2 brokers)
    "#]],
    );
}

#[test]
fn goes_on_after_the_grace_for_mass_failures() {
    let mut setup = setup(FIVE);
    setup.guard.mass_failure_grace = Some(Duration::from_secs(10));
    let mut shell = setup.start();
    shell.quiet(2);
    shell.world.kill(3);
    shell.world.drop_broker(1);
    shell.quiet(10);
    assert_eq!(shell.held.len(), 1);
    assert!(shell.turn().contains("submitting 2 moves"));
}

#[test]
fn does_not_count_unwatched_time_for_the_grace_of_mass_failures() {
    let mut setup = setup(FIVE);
    setup.guard.mass_failure_grace = Some(Duration::from_secs(10));
    let mut shell = setup.start();
    shell.quiet(2);
    shell.world.kill(3);
    shell.world.drop_broker(1);
    shell.quiet(2);
    shell.tick += 3_600_000;
    shell.quiet(5);
    assert_eq!(shell.held.len(), 1, "it was suspended for an hour");
    shell.crash();
    shell.quiet(5);
    assert_eq!(shell.held.len(), 1, "another process watched it");
}

#[test]
fn excuses_absent_brokers_under_maintenance() {
    let mut shell = four();
    shell.order(OrderKind::MaintenanceOn { scope: Scope::Broker(cluster::BrokerId(4)), until: None });
    shell.world.drop_broker(4);
    shell.quiet(2);
    assert_eq!(shell.open_incidents(), "under_replicated cluster: some replicas are not in sync\n");
}

#[test]
fn holds_while_paused_and_goes_on_when_resumed() {
    let mut shell = four();
    shell.order(OrderKind::Pause);
    shell.turn();
    shell.world.kill(3);
    check(
        shell.turn(),
        expect![[r#"
        incident doctorkafka under_replicated cluster: opened
        hold healer reassign_partitions cluster: held: paused by ann: why not
    "#]],
    );
    shell.crash();
    assert_eq!(shell.turn(), "", "the pause and what was said outlive the process");
    shell.order(OrderKind::Resume);
    assert!(shell.turn().contains("submitting 2 moves"));
}

#[test]
fn holds_under_maintenance_until_its_time_is_over() {
    let mut shell = four();
    let until = Some(Timestamp(shell.now().wall.0 + 10_000));
    shell.order(OrderKind::MaintenanceOn { scope: Scope::Cluster, until });
    shell.world.kill(3);
    shell.turn();
    check(
        shell.held(),
        expect![[r#"
        reassign_partitions [maintenance] the cluster is under maintenance by ann: why not
    "#]],
    );
    shell.quiet(8);
    assert_eq!(shell.held.len(), 1);
    assert!(shell.turn().contains("submitting 2 moves"));
}

#[test]
fn neither_heals_from_nor_to_a_broker_under_maintenance() {
    for broker in [3, 4] {
        let mut shell = four();
        let scope = Scope::Broker(cluster::BrokerId(broker));
        shell.order(OrderKind::MaintenanceOn { scope, until: None });
        shell.world.kill(3);
        shell.turn();
        let held = shell.held();
        assert!(held.contains(&format!("[maintenance] broker {broker} is under maintenance")), "{held}");
        assert!(shell.acts.is_empty());
    }
}

#[test]
fn holds_on_stale_facts() {
    let mut shell = four();
    shell.world.kill(3);
    shell.tick += 20_000;
    shell.age = Duration::from_secs(11);
    shell.turn();
    check(
        shell.held(),
        expect![[r#"
        reassign_partitions [facts] liveness is 11.0 s old, at most 10.0 s is accepted
    "#]],
    );
}

#[test]
fn holds_while_not_most_brokers_agree_on_who_is_alive() {
    let mut shell = four();
    shell.quiet(2);
    shell.world.kill(3);
    shell.world.agreeing = 1;
    for _ in 0..20 {
        assert!(!shell.turn().contains("ACT"));
    }
    assert!(shell.held().contains("of 3 brokers that answer 1 agree on who is alive"), "{}", shell.held());
    shell.world.agreeing = 2;
    assert!(shell.turn().contains("ACT"));
}

#[test]
fn does_nothing_to_another_cluster() {
    let mut setup = setup(FOUR).also("mail", names::ALERT_MASS_FAILURE);
    setup.actions.push(slot("report", names::REPORT_OPERATION, ActionKind::Once));
    let mut shell = setup.start();
    shell.quiet(2);
    let brokers = shell.memory.brokers.clone();
    shell.world.cluster_id = "two".to_owned();
    shell.world.kill(3);
    shell.world.kill(4);
    check(
        shell.turn(),
        expect![[r#"
        incident doctorkafka under_replicated cluster: opened
        incident doctorkafka identity_mismatch cluster: opened
    "#]],
    );
    shell.order(OrderKind::Cancel { execution: None });
    for _ in 0..20 {
        assert!(!shell.turn().contains("ACT"));
    }
    assert_eq!(shell.memory.brokers, brokers);
    shell.order(OrderKind::AcceptIdentity);
    shell.quiet(1);
    assert_eq!(shell.memory.cluster_id.as_ref().map(|id| id.to_string()), Some("two".to_owned()));
    assert!(!shell.open_incidents().contains("identity"));
    assert!(!shell.memory.brokers.is_empty());
}

#[test]
fn says_once_what_a_dry_run_would_do() {
    let mut setup = setup(FOUR).also("mail", names::NOTIFY_REASSIGNMENT);
    setup.actions[0].dry_run = true;
    let mut shell = setup.start();
    shell.quiet(2);
    shell.world.kill(3);
    check(
        shell.turn(),
        expect![[r#"
            incident doctorkafka under_replicated cluster: opened
            decision healer reassign_partitions cluster: admitted, for a dry run of reassign (dry run)
            outcome reassign reassign_partitions cluster: dry run: would move 2 partitions (dry run)
            outcome reassign reassign_partitions partition t-0: dry run: would move it from 1, 2, 3 to 1, 2, 4 (dry run)
            outcome reassign reassign_partitions partition t-1: dry run: would move it from 2, 3, 1 to 2, 4, 1 (dry run)
            decision reassign notify_reassignment cluster: admitted, for mail (dry run)
            act mail notify_reassignment cluster: started
            ACT 1.1 mail notify_reassignment cluster
        "#]],
    );
    shell.turn();
    for _ in 0..100 {
        assert_eq!(shell.turn(), "");
    }
    shell.crash();
    assert!(shell.turn().contains("would move 2 partitions"), "the output of a new process says it anew");
    shell.turn();
    for _ in 0..100 {
        assert_eq!(shell.turn(), "");
    }
    shell.world.come_back(3);
    shell.quiet(1);
    shell.world.kill(3);
    assert!(shell.turn().contains("would move 2 partitions"), "a new incident is said anew");
}

#[test]
fn reports_each_record_without_recursion() {
    let mut setup = setup(FOUR);
    setup.actions.push(slot("report", names::REPORT_OPERATION, ActionKind::Once));
    let mut shell = setup.start();
    shell.quiet(2);
    shell.world.kill(3);
    check(
        shell.turn(),
        expect![[r#"
        incident doctorkafka under_replicated cluster: opened
        decision healer reassign_partitions cluster: admitted, for reassign
        act reassign reassign_partitions cluster: submitting 2 moves
        ACT 1.1 reassign submit t-0: 1 2 3 -> 1 2 4, t-1: 2 3 1 -> 2 4 1
        ACT 0.0 report report_operation cluster
        ACT 0.1 report report_operation cluster
        ACT 0.2 report report_operation cluster
    "#]],
    );
}

#[test]
fn leaves_refused_partitions_alone_for_longer_each_time() {
    let mut shell = four();
    shell.world.refuses = shell.world.all().into_iter().collect();
    shell.world.kill(3);
    let mut submitted = Vec::new();
    for second in 0..600 {
        if shell.turn().contains("submitting") {
            submitted.push(second);
        }
    }
    assert_eq!(submitted, [0, 3, 8, 17, 34, 67, 132, 261, 518]);
}

#[test]
fn says_that_moves_fail_again_and_again_until_one_succeeds() {
    let mut shell = four();
    shell.world.refuses = shell.world.all().into_iter().collect();
    shell.world.kill(3);
    shell.quiet(3);
    assert!(!shell.open_incidents().contains("moves_fail"), "once is nothing");
    shell.quiet(30);
    let incidents = shell.open_incidents();
    assert!(incidents.contains("moves_fail cluster: moves of 2 partitions have failed again and again, "));
    assert!(incidents.contains(" of t-0: refused: "), "{incidents}");
    shell.world.refuses.clear();
    for _ in 0..70 {
        shell.turn();
        shell.world.complete();
    }
    assert_eq!(shell.open_incidents(), "under_replicated cluster: some replicas are not in sync\n");
}

#[test]
fn what_waits_for_its_throttle_to_be_taken_away_keeps_nothing_else_from_running() {
    let mut setup = setup(FOUR);
    setup.throttle = Some(5_000_000);
    setup.guard.max_executions = 1;
    let mut shell = crate::executions::killed(setup);
    shell.quiet(4);
    shell.world.complete();
    shell.world.unclearable = true;
    shell.quiet(20);
    shell.world.come_back(3);
    shell.quiet(1);
    shell.world.kill(2);
    let mut text = String::new();
    for _ in 0..20 {
        text += &shell.turn();
    }
    assert!(text.contains("submitting"), "{text}");
}

#[test]
fn forgets_old_executions() {
    let mut setup = setup(FOUR);
    setup.limits.keep_ended = 3;
    let mut shell = setup.start();
    shell.world.refuses = shell.world.all().into_iter().collect();
    shell.world.kill(3);
    shell.quiet(600);
    assert_eq!(shell.memory.executions.len(), 3);
    assert_eq!(shell.store.keys().filter(|key| key.starts_with("executions/")).count(), 3);
}

#[test]
fn decides_nothing_when_a_monitor_stops_the_cycle() {
    let mut shell = five();
    shell.world.kill(3);
    shell.step();
    shell.stop.store(true, Ordering::Relaxed);
    shell.world.come_back(3);
    shell.world.kill(1);
    shell.act();
    let text = shell.turn();
    assert_eq!(text, "incident doctorkafka blind cluster: opened\n");
    assert!(shell.open_incidents().contains("under_replicated"), "what was not looked for is not over");
    let execution = &shell.memory.executions[0];
    assert!(execution.moves().iter().all(|m| matches!(m.phase, MovePhase::Copying { .. })));
    shell.world.complete();
    for _ in 0..20 {
        assert_eq!(shell.turn(), "");
    }
    shell.stop.store(false, Ordering::Relaxed);
    let text = shell.turn();
    assert!(text.contains("blind cluster: resolved after"), "{text}");
    assert!(text.contains("2 of 2 partitions moved"), "{text}");
}
