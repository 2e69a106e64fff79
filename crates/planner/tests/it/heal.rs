use expect_test::{Expect, expect};

use crate::notation::plan_of;

fn check(cluster: &str, expected: Expect) {
    expected.assert_eq(&plan_of(cluster));
}

#[test]
fn new_replica_takes_the_place_of_the_dead_one_in_the_list() {
    check(
        "
        broker
        broker dead
        broker
        broker
        t-0: 0* 1?! 2
        t-1: 1?! 2* 3
        ",
        expect![[r#"
            t-0[1] 1 -> 3; 1 -> 2 replicas, 1 -> 2 of the topic
            t-1[0] 1 -> 0; 1 -> 2 replicas, 1 -> 2 of the topic
        "#]],
    );
}

#[test]
fn nothing_to_replace_gives_an_empty_plan() {
    check(
        "
        broker
        broker dead
        t-0: 0* 1?
        ",
        expect![[r#""#]],
    );
}

#[test]
fn a_rack_without_a_replica_is_preferred() {
    check(
        "
        broker rack a
        broker rack b dead
        broker rack a
        broker rack c
        broker rack b
        t-0: 0* 1?! 3
        ",
        expect![[r#"
            t-0[1] 1 -> 4, rack kept; 0 -> 1 replicas, 0 -> 1 of the topic
        "#]],
    );
}

#[test]
fn two_racks_of_two_brokers_heal_with_the_fallback_stated() {
    check(
        "
        broker rack a
        broker rack a
        broker rack b
        broker rack b dead
        t-0: 0* 1 3?!
        t-1: 0* 2 3?!
        t-2: 3?! 1* 2
        t-3: 2* 3?!
        t-4: 0* 3?!
        ",
        expect![[r#"
            t-3[1] 3 -> 1, rack kept; 2 -> 3 replicas, 2 -> 3 of the topic
            t-4[1] 3 -> 2, rack kept; 3 -> 4 replicas, 3 -> 4 of the topic
            t-0[2] 3 -> 2, rack kept; 4 -> 5 replicas, 4 -> 5 of the topic
            t-1[2] 3 -> 1, no rack free: with 1; 3 -> 4 replicas, 3 -> 4 of the topic
            t-2[0] 3 -> 0, no rack free: with 1; 3 -> 4 replicas, 3 -> 4 of the topic
        "#]],
    );
}

#[test]
fn no_target_that_is_dead_absent_draining_in_maintenance_or_excluded() {
    check(
        "
        broker
        broker dead
        broker dead
        broker absent
        broker draining
        broker maintenance
        broker excluded
        t-0: 0* 1?!
        ",
        expect![[r#"
            t-0[1] stays on 1: every candidate holds a replica
        "#]],
    );
}

#[test]
fn no_live_broker_is_said_so() {
    check(
        "
        broker draining
        broker dead
        t-0: 0* 1?!
        ",
        expect![[r#"
            t-0[1] stays on 1: no eligible broker
        "#]],
    );
}

#[test]
fn partitions_without_a_live_in_sync_replica_are_not_moved() {
    check(
        "
        broker dead
        broker
        broker
        lost-0: 0!
        lost-1: 0! 1?
        ",
        expect![[r#"
            lost-0[0] stays on 0: no live in-sync replica, 0 live
            lost-1[0] stays on 0: no live in-sync replica, 1 live
        "#]],
    );
}

#[test]
fn frozen_partitions_are_not_touched() {
    check(
        "
        broker dead
        broker
        broker
        t-0: 0?! 1* frozen
        ",
        expect![[r#"
            t-0[0] stays on 0: frozen
        "#]],
    );
}

#[test]
fn watermark_counts_against_the_tightest_log_dir() {
    check(
        "
        broker dead
        broker disk 0/100
        broker disk 10/100 80/100
        broker disk 70/100
        t-0: 0?! 1* size 10
        ",
        expect![[r#"
            t-0[0] 0 -> 3, 10 bytes; 0 -> 1 replicas, 0 -> 1 of the topic, disk 700 -> 800
        "#]],
    );
}

#[test]
fn disk_full_everywhere_is_refused_with_counts() {
    check(
        "
        broker dead
        broker
        broker disk 80/100
        broker in 99/100
        t-0: 0?! 1* size 10 in 5
        ",
        expect![[r#"
            t-0[0] stays on 0: no room: disk 1, network 1
        "#]],
    );
}

#[test]
fn one_plan_does_not_overload_one_target() {
    check(
        "
        broker dead
        broker
        broker disk 0/100
        broker disk 60/100
        t-0: 0?! 1* size 40
        t-1: 0?! 1* size 40
        t-2: 0?! 1* size 25
        t-3: 0?! 1* size 5
        ",
        expect![[r#"
            t-3[0] 0 -> 2, 5 bytes; 0 -> 1 replicas, 0 -> 1 of the topic, disk 0 -> 50
            t-2[0] 0 -> 3, 25 bytes; 0 -> 1 replicas, 0 -> 1 of the topic, disk 600 -> 850
            t-0[0] 0 -> 2, 40 bytes; 1 -> 2 replicas, 1 -> 2 of the topic, disk 50 -> 450
            t-1[0] 0 -> 2, 40 bytes; 2 -> 3 replicas, 2 -> 3 of the topic, disk 450 -> 850
        "#]],
    );
}

#[test]
fn a_new_preferred_leader_is_charged_for_consumers_and_followers() {
    check(
        "
        broker dead
        broker
        broker out 0/40
        broker out 0/41
        t-0: 0?! 1* in 10 out 31
        ",
        expect![[r#"
            t-0[0] 0 -> 3; 0 -> 1 replicas, 0 -> 1 of the topic, out 0 -> 1000
        "#]],
    );
}

#[test]
fn a_leader_that_cannot_feed_one_more_follower_is_named() {
    check(
        "
        broker dead
        broker out 85/100
        broker
        t-0: 1* 0?! in 10
        t-1: 1* 0?! in 10
        ",
        expect![[r#"
            t-0[1] 0 -> 2; 0 -> 1 replicas, 0 -> 1 of the topic
            t-1[1] stays on 0: network of leader 1 full
        "#]],
    );
}

#[test]
fn a_choosy_partition_is_not_robbed_of_its_only_place() {
    check(
        "
        broker dead
        broker disk 0/100
        broker disk 0/100
        broker
        limits watermark 10
        free-0: 0?! 3* size 10
        choosy-0: 0?! 3* 1 size 10
        ",
        expect![[r#"
            free-0[0] 0 -> 1, 10 bytes; 1 -> 2 replicas, 0 -> 1 of the topic, disk 0 -> 100
            choosy-0[0] 0 -> 2, 10 bytes; 0 -> 1 replicas, 0 -> 1 of the topic, disk 0 -> 100
        "#]],
    );
}

#[test]
fn earlier_placements_are_shifted_to_make_room() {
    // The most urgent partition chooses first, and takes the only place that the other can have.
    check(
        "
        broker rack a dead
        broker rack b disk 0/100
        broker rack c disk 0/100
        broker rack c
        limits watermark 10
        urgent-0: 0?! 3* size 10
        other-0: 0?! 3* 2 size 10
        ",
        expect![[r#"
            urgent-0[0] 0 -> 2, 10 bytes, free rack full: with 1; 1 -> 2 replicas, 0 -> 1 of the topic, disk 0 -> 100
            other-0[0] 0 -> 1, 10 bytes, rack kept; 0 -> 1 replicas, 0 -> 1 of the topic, disk 0 -> 100
        "#]],
    );
}

#[test]
fn a_list_that_would_keep_a_dead_broker_is_all_or_nothing() {
    let cluster = "
        broker dead
        broker dead
        broker
        broker
        t-0: 0?! 1?! 2*
        t-1: 2* 1?! 3
        t-2: 0?! 2*
        ";
    check(
        cluster,
        expect![[r#"
        t-2[0] 0 -> 3; 1 -> 2 replicas, 1 -> 2 of the topic
        t-0[0] stays on 0: list would keep 1, which is down
        t-0[1] stays on 1: every candidate holds a replica
        t-1[1] stays on 1: every candidate holds a replica
    "#]],
    );
    check(
        &format!("{cluster}\nlimits keep-down"),
        expect![[r#"
        t-0[0] 0 -> 3; 1 -> 2 replicas, 1 -> 2 of the topic
        t-2[0] 0 -> 3; 2 -> 3 replicas, 2 -> 3 of the topic
        t-0[1] stays on 1: every candidate holds a replica
        t-1[1] stays on 1: every candidate holds a replica
    "#]],
    );
}

#[test]
fn a_list_that_would_keep_an_absent_broker_is_refused() {
    let cluster = "
        broker dead
        broker absent
        broker
        broker
        t-0: 0?! 1? 2*
        ";
    check(
        cluster,
        expect![[r#"
        t-0[0] stays on 0: list would keep 1, which is down
    "#]],
    );
    check(
        &format!("{cluster}\nlimits keep-down"),
        expect![[r#"
        t-0[0] 0 -> 3; 0 -> 1 replicas, 0 -> 1 of the topic
    "#]],
    );
}

#[test]
fn only_dead_brokers_replicas_move_unless_allowed() {
    let cluster = "
        broker draining
        broker
        broker
        t-0: 0*! 1
        ";
    check(
        cluster,
        expect![[r#"
        t-0[0] stays on 0: its broker is not dead
    "#]],
    );
    check(
        &format!("{cluster}\nlimits any-broker"),
        expect![[r#"
        t-0[0] 0 -> 2; 0 -> 1 replicas, 0 -> 1 of the topic
    "#]],
    );
}

#[test]
fn budget_takes_the_most_urgent_and_smallest_first() {
    check(
        "
        broker dead
        broker
        broker
        broker
        limits moves 2 bytes 30
        t-0: 0?! 1* 2 size 5
        t-1: 0?! 1* size 20
        t-2: 0?! 1* size 90
        t-3: 0?! 1* size 10
        ",
        expect![[r#"
            t-3[0] 0 -> 3, 10 bytes; 0 -> 1 replicas, 0 -> 1 of the topic
            t-1[0] 0 -> 2, 20 bytes; 1 -> 2 replicas, 1 -> 2 of the topic
            t-0[0] stays on 0: budget, would go to 3
            t-2[0] stays on 0: budget, would go to 3
        "#]],
    );
}

#[test]
fn an_empty_broker_is_not_sent_everything() {
    check(
        "
        broker dead
        broker disk 0/1000
        broker disk 500/1000
        broker disk 500/1000
        broker
        t-0: 0?! 4* size 10
        t-1: 0?! 4* size 10
        t-2: 0?! 4* size 10
        t-3: 0?! 4* size 10
        t-4: 0?! 4* size 10
        t-5: 0?! 4* size 10
        ",
        expect![[r#"
            t-0[0] 0 -> 1, 10 bytes; 0 -> 1 replicas, 0 -> 1 of the topic, disk 0 -> 10
            t-1[0] 0 -> 1, 10 bytes; 1 -> 2 replicas, 1 -> 2 of the topic, disk 10 -> 20
            t-2[0] 0 -> 1, 10 bytes; 2 -> 3 replicas, 2 -> 3 of the topic, disk 20 -> 30
            t-3[0] 0 -> 2, 10 bytes; 0 -> 1 replicas, 0 -> 1 of the topic, disk 500 -> 510
            t-4[0] 0 -> 3, 10 bytes; 0 -> 1 replicas, 0 -> 1 of the topic, disk 500 -> 510
            t-5[0] 0 -> 2, 10 bytes; 1 -> 2 replicas, 1 -> 2 of the topic, disk 510 -> 520
        "#]],
    );
}

#[test]
fn one_topic_is_spread_over_targets() {
    check(
        "
        broker dead
        broker
        broker
        broker
        hot-0: 0?! 1*
        hot-1: 0?! 1*
        cold-0: 2*
        cold-1: 3*
        cold-2: 3*
        cold-3: 3*
        ",
        expect![[r#"
            hot-0[0] 0 -> 2; 1 -> 2 replicas, 0 -> 1 of the topic
            hot-1[0] 0 -> 3; 3 -> 4 replicas, 0 -> 1 of the topic
        "#]],
    );
}

#[test]
fn scarce_room_goes_to_the_partition_nearest_to_loss() {
    check(
        "
        broker dead
        broker
        broker
        broker disk 0/100
        limits watermark 10
        safe-0: 0?! 1* 2 size 10
        risky-0: 0?! 1* 2? size 10
        ",
        expect![[r#"
            risky-0[0] 0 -> 3, 10 bytes; 0 -> 1 replicas, 0 -> 1 of the topic, disk 0 -> 100
            safe-0[0] stays on 0: no room: disk 1, network 0
        "#]],
    );
}

#[test]
fn room_that_an_all_or_nothing_partition_gives_back_is_given_to_others() {
    check(
        "
        broker dead
        broker dead
        broker
        broker disk 0/100
        broker disk 90/100
        limits watermark 20
        both-0: 0?! 1?! 2* size 20
        one-0: 0?! 2* 4 size 20
        ",
        expect![[r#"
            one-0[0] 0 -> 3, 20 bytes; 0 -> 1 replicas, 0 -> 1 of the topic, disk 0 -> 200
            both-0[0] stays on 0: no room: disk 2, network 0
            both-0[1] stays on 1: no room: disk 2, network 0
        "#]],
    );
}

#[test]
fn a_replica_is_put_into_a_worse_rack_before_another_is_refused() {
    check(
        "
        broker rack a dead
        broker rack a disk 90/100
        broker rack b disk 0/100
        broker rack c disk 0/100
        broker rack c
        limits watermark 10
        t-0: 0?! 4* size 10
        t-1: 0?! 4* 3 1 size 10
        ",
        expect![[r#"
            t-0[0] 0 -> 3, 10 bytes, free rack full: with 1; 1 -> 2 replicas, 1 -> 2 of the topic, disk 0 -> 100
            t-1[0] 0 -> 2, 10 bytes, rack kept; 0 -> 1 replicas, 0 -> 1 of the topic, disk 0 -> 100
        "#]],
    );
}

#[test]
fn a_replica_that_was_shifted_ends_in_the_best_rack_that_has_room() {
    check(
        "
        broker rack a dead
        broker rack b disk 75/100
        broker rack c
        broker rack d disk 75/100
        broker rack c
        urgent-0: 0?! 4* size 10
        other-0: 0?! 4* 3 2 size 10
        ",
        expect![[r#"
            urgent-0[0] 0 -> 3, 10 bytes, rack kept; 1 -> 2 replicas, 0 -> 1 of the topic, disk 750 -> 850
            other-0[0] 0 -> 1, 10 bytes, rack kept; 0 -> 1 replicas, 0 -> 1 of the topic, disk 750 -> 850
        "#]],
    );
}

#[test]
fn a_drained_leaders_choice_does_not_leave_another_replica_in_a_needlessly_shared_rack() {
    check(
        "
        broker rack a draining
        broker rack b dead
        broker rack c
        broker rack x
        broker rack x
        broker rack z out 100/100
        limits any-broker
        t-0: 0*! 2 1?! out 10
        ",
        expect![[r#"
            t-0[0] 0 -> 4, rack kept; 0 -> 1 replicas, 0 -> 1 of the topic
            t-0[2] 1 -> 5, rack kept; 0 -> 1 replicas, 0 -> 1 of the topic, out 1000 -> 1000
        "#]],
    );
}
