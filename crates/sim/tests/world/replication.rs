//! Who gets which bandwidth, and what becomes of those who get too little.

use std::collections::BTreeMap;

use cluster::{ConfigChange, ConfigResource, Writer};
use expect_test::expect;
use sim::settings::{DailyCurve, Traffic};
use sim::world::Client;
use sim::{Access, Schedule, Settings, SharedWorld};

use crate::{after, now, partitions, quiet, world, world_with};

/// The first second in which `what` holds.
fn seconds_until(world: &SharedWorld, limit: u64, what: impl Fn(&str) -> bool) -> u64 {
    for second in 0..limit {
        if what(&partitions(&mut world.lock())) {
            return second;
        }
        world.lock().advance(std::time::Duration::from_secs(1));
    }
    panic!("it did not happen within {limit} s: {}", partitions(&mut world.lock()));
}

#[test]
fn a_new_host_copies_at_the_speed_of_its_network() {
    // 12.5 GB at 125 MB/s take 100 s; the start takes 4 s, and the new host is registered after the old session.
    let shared = SharedWorld::new(world("b1\nb2\nb3\nt-0: 1* 3 size=6250000000\nt-1: 2* 3 size=6250000000"));
    shared.lock().plan(&"at 0s replace b3".parse::<Schedule>().unwrap());
    let dropped = seconds_until(&shared, 20, |text| text.contains("3~"));
    let copied = seconds_until(&shared, 200, |text| !text.contains('~'));
    assert!((98..=104).contains(&(dropped + copied - 9)), "{dropped} and {copied} s");
}

#[test]
fn what_small_flows_leave_is_shared_by_the_large_ones() {
    let text = "b1\nb2\nb3\nt-0: 1* 3~ size=10000000000\nt-1: 2* 3~ size=1MiB";
    let shared = SharedWorld::new(world(text));
    let small = seconds_until(&shared, 10, |text| text.contains("t-1: 2* 3\n"));
    let large = seconds_until(&shared, 200, |text| text.contains("t-0: 1* 3\n"));
    assert!(small <= 2, "{small}");
    assert!((79..=83).contains(&(small + large)), "{large}");
}

#[test]
fn a_throttle_holds_replicas_that_are_out_of_sync_and_nothing_else() {
    let text = "b1\nb2\nb3\nt-0: 1* 3~ size=100MiB\nu-0: 2* 3~ size=100MiB";
    let shared = SharedWorld::new(world(text));
    let access = Access::new(&shared, Client::Us);
    let set = |key: &str, value: &str| vec![ConfigChange::Set(key.to_owned(), value.to_owned())];
    let changes = BTreeMap::from([
        (ConfigResource::Broker(cluster::BrokerId(3)), set("follower.replication.throttled.rate", "1048576")),
        (ConfigResource::Topic("t".into()), set("follower.replication.throttled.replicas", "*")),
    ]);
    assert!(now(access.alter_configs(&changes)).unwrap().values().all(Result::is_ok));
    let free = seconds_until(&shared, 10, |text| text.contains("u-0: 2* 3\n"));
    let throttled = seconds_until(&shared, 200, |text| text.contains("t-0: 1* 3\n"));
    assert!(free <= 2 && (98..=102).contains(&(free + throttled)), "{free} and {throttled} s");
}

#[test]
fn a_follower_that_cannot_reach_its_leader_leaves_the_in_sync_replicas() {
    let settings = Settings {
        traffic: Some(Traffic { mean_bytes_in: 1_000_000, consumed_permille: 1000, hot_permille: 0 }),
        ..quiet()
    };
    let mut world = world_with("b1\nb2\nt-0: 1* 2\nt-1: 2* 1", settings);
    expect![[r#"
        000010.000 fault: isolate b1 from b2 for 60 s
        000040.500 t-0: 1* 2~
        000040.500 t-1: 2* 1~
        000071.000 t-0: 1* 2
        000071.000 t-1: 2* 1
    "#]]
    .assert_eq(&after(&mut world, "at 10s isolate b1 from b2 for 1m", 120));
}

#[test]
fn a_leader_that_is_cut_off_from_the_controller_takes_nobody_into_the_in_sync_replicas() {
    let mut world = world("b1\nb2\nb3\nt-0: 1* 2~ 3 size=100MiB");
    let shrunk = after(&mut world, "at 0s isolate b1 from controller for 5s", 4);
    assert!(!shrunk.contains("t-0: 1* 2 3"), "{shrunk}");
    expect![[r#"
        000005.000 t-0: 1* 2 3
    "#]]
    .assert_eq(&after(&mut world, "", 10));
}

#[test]
fn a_disk_that_is_too_slow_lets_the_larger_partitions_drop_out() {
    let settings = Settings {
        traffic: Some(Traffic { mean_bytes_in: 10_000_000, consumed_permille: 1000, hot_permille: 0 }),
        ..quiet()
    };
    let mut world = world_with("b1\nb2\nt-0: 1* 2\nt-1: 1* 2\nt-2: 1* 2", settings);
    let history = after(&mut world, "at 10s slow-disk b2 15MB/s for 5m", 290);
    assert!(history.contains('~'), "{history}");
    assert!(partitions(&mut world).contains('~'));
    let _ = after(&mut world, "", 600);
    assert!(!partitions(&mut world).contains('~'), "{}", partitions(&mut world));
}

#[test]
fn logs_grow_with_the_day_and_up_to_their_retention() {
    let settings = Settings {
        traffic: Some(Traffic { mean_bytes_in: 1_000_000, consumed_permille: 1000, hot_permille: 0 }),
        curve: DailyCurve::CONSUMERS,
        retention_bytes: 200_000_000_000,
        partition_bytes: 0,
        ..quiet()
    };
    let mut world = world_with("b1\nt-0: 1*", settings);
    let size = |world: &mut sim::World| *world.text(true).sizes.values().next().unwrap();
    let _ = after(&mut world, "", 3600);
    let night = size(&mut world);
    let _ = after(&mut world, "", 19 * 3600);
    let before = size(&mut world);
    let _ = after(&mut world, "", 3600);
    let evening = size(&mut world) - before;
    assert!(evening > night * 3 / 2, "{night} by night, {evening} in the evening");
    let _ = after(&mut world, "", 3 * 86_400);
    assert_eq!(size(&mut world), 200_000_000_000);
}

#[test]
fn without_enough_in_sync_replicas_nothing_is_written() {
    let settings = Settings {
        traffic: Some(Traffic { mean_bytes_in: 1_000_000, consumed_permille: 1000, hot_permille: 0 }),
        min_in_sync: 2,
        ..quiet()
    };
    let mut world = world_with("b1\nb2\nt-0: 1* 2", settings);
    let size = |world: &mut sim::World| *world.text(true).sizes.values().next().unwrap();
    let _ = after(&mut world, "at 0s kill b2", 30);
    let stopped = size(&mut world);
    let _ = after(&mut world, "", 60);
    assert_eq!(size(&mut world), stopped);
    let _ = after(&mut world, "at 0s restart b2", 60);
    assert!(size(&mut world) > stopped);
}

#[test]
fn a_broker_tries_a_failed_log_directory_anew_when_it_starts() {
    let hardware = |dirs| sim::settings::Hardware { dirs, ..Default::default() };
    let world =
        |dirs| world_with("b1\nb2\nt-0: 1* 2\nt-1: 1* 2", Settings { hardware: hardware(dirs), ..quiet() });
    // Its only directory: it ends, ends again while that is full, and serves once there is room.
    let mut one = world(1);
    let history = after(&mut one, "at 0s fill b2\nat 30s recover b2 0s", 60);
    assert_eq!(history.matches("has failed").count(), 2, "{history}");
    assert!(!history.contains("broker 2 alive"), "{history}");
    let history = after(&mut one, "at 0s calm", 60);
    assert!(history.contains("broker 2 alive"), "{history}");
    assert_eq!(partitions(&mut one), "t-0: 1* 2\nt-1: 1* 2\n");
    // One of two: it lives on with the other, and is whole again only after a start with room.
    let mut two = world(2);
    let _ = after(&mut two, "at 0s fill b2", 30);
    assert_eq!(partitions(&mut two).matches("2~").count(), 1, "{}", partitions(&mut two));
    let history = after(&mut two, "at 0s restart b2", 60);
    assert!(history.contains("broker 2 alive"), "{history}");
    assert_eq!(partitions(&mut two).matches("2~").count(), 1, "{}", partitions(&mut two));
    let _ = after(&mut two, "at 0s calm", 60);
    assert!(!partitions(&mut two).contains('~'), "{}", partitions(&mut two));
}

#[test]
fn each_end_goes_by_its_own_list_and_its_own_rate() {
    // Seconds for 100 MiB from broker 1 to 3, with this config of broker 1 or 3 and of the topic at 1 MiB/s.
    let takes = |broker: i32, rate: &str, list: &str| {
        let shared = SharedWorld::new(world("b1\nb2\nb3\nt-0: 1* 3~ size=100MiB"));
        let set = |key: &str, value: &str| {
            vec![ConfigChange::Set(
                format!("{key}.replication.throttled.{value}"),
                match value {
                    "rate" => "1048576".to_owned(),
                    _ => "*".to_owned(),
                },
            )]
        };
        let changes = BTreeMap::from([
            (ConfigResource::Broker(cluster::BrokerId(broker)), set(rate, "rate")),
            (ConfigResource::Topic("t".into()), set(list, "replicas")),
        ]);
        assert!(
            now(Access::new(&shared, Client::Us).alter_configs(&changes))
                .unwrap()
                .values()
                .all(Result::is_ok)
        );
        seconds_until(&shared, 200, |text| !text.contains('~'))
    };
    let slow = [takes(1, "leader", "leader"), takes(3, "follower", "follower")];
    assert!(slow.iter().all(|seconds| (98..=102).contains(seconds)), "{slow:?}");
    let free = [takes(1, "leader", "follower"), takes(3, "follower", "leader"), takes(3, "leader", "leader")];
    assert!(free.iter().all(|seconds| *seconds <= 2), "{free:?}");
}

#[test]
fn a_broker_whose_metadata_stand_still_keeps_a_move_from_its_end() {
    let moved = |frozen: &str| {
        let mut world = world("b1\nb2\nb3\nt-0: 1* 2 size=1MiB");
        let _ = after(&mut world, &format!("{frozen}at 2s foreign-reassignment t-0 1 3"), 40);
        let amid = partitions(&mut world);
        let _ = after(&mut world, "", 60);
        assert_eq!(partitions(&mut world), "t-0: 1* 3\n", "{frozen}");
        amid
    };
    assert_eq!(moved(""), "t-0: 1* 3\n");
    assert_eq!(moved("at 1s frozen-metadata b2 for 60s\n"), "t-0: 1* 3\n", "it has no part in it");
    for broker in ["b1", "b3"] {
        let amid = moved(&format!("at 1s frozen-metadata {broker} for 60s\n"));
        assert!(amid.contains("+3~"), "{broker}: {amid}");
    }
}

#[test]
fn followers_fall_behind_traffic_that_the_network_does_not_carry_and_catch_up_after_it() {
    let settings = Settings {
        traffic: Some(Traffic { mean_bytes_in: 10_000_000, consumed_permille: 1000, hot_permille: 0 }),
        ..quiet()
    };
    let mut world = world_with("b1\nb2\nb3\nb4\nt-0: 1* 2\nt-1: 1* 2\nu-0: 3* 4", settings);
    let amid = after(&mut world, "at 10s traffic t x8 for 5m", 300);
    assert!(amid.contains("t-0: 1* 2~") && !amid.contains("u-0: 3* 4~"), "{amid}");
    assert!(partitions(&mut world).contains('~'));
    let _ = after(&mut world, "", 900);
    assert!(!partitions(&mut world).contains('~'), "{}", partitions(&mut world));
}
