use expect_test::{Expect, expect};

use crate::testing::World;

/// What is said once the grace is over.
fn check(text: &str, expected: Expect) {
    let mut world = World::new(text);
    expected.assert_eq(&world.watch(300).text());
}

#[test]
fn says_nothing_when_nothing_is_wrong() {
    check(
        "b1 rack=r1\nb2 rack=r2\nb3 rack=r1\norders-0: 1* 2 3\norders-1: 2* 3 1",
        expect![[r#"
        nothing
    "#]],
    );
}

#[test]
fn gives_the_replicas_of_a_dead_broker_new_places() {
    check(
        "
        b1 rack=r1
        b2 rack=r2
        b3 rack=r1 dead
        b4 rack=r2
        orders-0: 1* 2 3~ size=10MiB
        orders-1: 3~ 2* 4 size=20MiB
        orders-2: 1* 2 4
        ",
        expect![[r#"
            warning broker_absent [broker 3] Kafka has dropped broker 3, and it does not answer at b3:9092 (connection refused)
            warning broker_dead [broker 3] broker 3 is dead: Kafka has dropped it, and it does not answer at b3:9092 (connection refused), for the whole grace of 5m
            warning under_replicated [broker 3] 2 replicas out of sync on broker 3 (follower dead: 2)
            => reassign_partitions [cluster] 2 partitions of dead broker 3 get new replicas (cause: broker_dead of broker 3)
                 orders-0: 1 2 3 -> 1 2 4 in_sync=2 bytes=10485760
                   broker 3 is dead: broker 4 in rack r2 takes its place, 1 other in its rack as no rack with fewer has a broker to take it
                 orders-1: 3 2 4 -> 1 2 4 in_sync=2 bytes=20971520
                   broker 3 is dead: broker 1 in rack r1 takes its place, no other replica shares its rack
        "#]],
    );
}

#[test]
fn heals_what_can_be_healed_and_lists_the_rest() {
    check(
        "
        b1
        b2
        b3 dead
        b4 dead
        whole-0: 1* 2
        heals-0: 1* 3~
        heals-1: 2* 4~
        full-0: 1* 2 3~
        lost-0: 3
        lost-1: 3~ 4
        survivor-0: 3 1~
        foreign-0: 1* -3~ +2~
        ",
        expect![[r#"
            critical cannot_heal [cluster] replicas on dead brokers cannot be replaced: 3 (lost-0, lost-1): no replica on a live broker, so nothing to copy from until one returns; 1 (survivor-0): only out-of-sync replicas live; an unclean election would lose records and is never done; 1 (full-0): every broker that may take replicas holds one already -- waits for a broker to return, or room for their replicas
            critical partitions_lost [cluster] 2 partitions lost until a dead broker returns, as there is no copy elsewhere: lost-0, lost-1 -- waits for one of their brokers to return
            critical partitions_without_leader [cluster] 1 partition without a leader: survivor-0 -- waits for an in-sync replica to return; an unclean election is never done
            critical under_replicated [broker 1] 1 replica out of sync on broker 1 (no leader: 1); 1 partition down to the last copy
            critical under_replicated [broker 3] 4 replicas out of sync on broker 3 (follower dead: 4); 3 partitions down to the last copy -- waits for the moves of 1 partition under way
            critical under_replicated [broker 4] 1 replica out of sync on broker 4 (follower dead: 1); 1 partition down to the last copy
            info healing_waits [cluster] replicas on dead brokers are not replaced yet: 1 (foreign-0): already being reassigned
            warning broker_absent [broker 3] Kafka has dropped broker 3, and it does not answer at b3:9092 (connection refused)
            warning broker_absent [broker 4] Kafka has dropped broker 4, and it does not answer at b4:9092 (connection refused)
            warning broker_dead [broker 3] broker 3 is dead: Kafka has dropped it, and it does not answer at b3:9092 (connection refused), for the whole grace of 5m
            warning broker_dead [broker 4] broker 4 is dead: Kafka has dropped it, and it does not answer at b4:9092 (connection refused), for the whole grace of 5m
            => reassign_partitions [cluster] 2 partitions of dead brokers 3, 4 get new replicas (cause: broker_dead of broker 3)
                 heals-0: 1 3 -> 1 2 in_sync=1 bytes=?
                   broker 3 is dead: broker 2 takes its place
                 heals-1: 2 4 -> 2 1 in_sync=1 bytes=?
                   broker 4 is dead: broker 1 takes its place
        "#]],
    );
}
