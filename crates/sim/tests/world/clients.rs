//! What clients are told.

use std::collections::BTreeMap;
use std::time::Duration;

use brokerstats::Codec;
use cluster::{
    BrokerAddress, BrokerId, ClientError, ConfigChange, ConfigResource, LogReader, LogWriter, NewRecord,
    NewTopic, OffsetAt, Reader, TopicPartition, Writer,
};
use sim::settings::{Agents, Traffic};
use sim::world::Client;
use sim::{Access, Rules, Settings, SharedWorld};

use crate::{FOUR, after, now, quiet, world, world_with};

const LIMIT: Duration = Duration::from_secs(2);

fn address(id: i32) -> BrokerAddress {
    BrokerAddress { host: format!("b{id}").into(), port: 9092 }
}

fn live(access: &Access, id: i32) -> Result<Vec<i32>, ClientError> {
    let answer = now(access.ask(&address(id), LIMIT))?;
    Ok(answer.live.keys().map(|id| id.0).collect())
}

fn pass(world: &SharedWorld, faults: &str, seconds: u64) {
    let _ = after(&mut world.lock(), faults, seconds);
}

#[test]
fn a_broker_cut_off_from_the_controller_goes_on_answering_from_the_past() {
    let world = SharedWorld::new(world(FOUR));
    let us = Access::new(&world, Client::Us);
    pass(&world, "at 10s isolate b3 from controller\nat 30s kill b4", 60);
    assert_eq!(live(&us, 1).unwrap(), [1, 2]);
    assert_eq!(live(&us, 3).unwrap(), [1, 2, 3, 4]);
    let leader_of_1 = |id| {
        let topics = now(us.topics(&address(id))).unwrap();
        topics["t"].partitions[1].isr.iter().map(|id| id.0).collect::<Vec<_>>()
    };
    assert_eq!(leader_of_1(1), [2]);
    assert_eq!(leader_of_1(3), [2, 3, 4]);
}

#[test]
fn metadata_that_stand_still_go_on_at_the_end() {
    let world = SharedWorld::new(world(FOUR));
    let us = Access::new(&world, Client::Us);
    pass(&world, "at 10s frozen-metadata b3 for 1m\nat 30s kill b4", 60);
    assert_eq!(live(&us, 3).unwrap(), [1, 2, 3, 4]);
    pass(&world, "", 20);
    assert_eq!(live(&us, 3).unwrap(), [1, 2, 3]);
}

#[test]
fn each_broker_learns_of_a_change_by_its_own_delay() {
    let world = SharedWorld::new(world(FOUR));
    let us = Access::new(&world, Client::Us);
    pass(&world, "at 0s kill b4", 6);
    let mut seen = std::collections::BTreeSet::new();
    let mut shown = std::collections::BTreeSet::new();
    let in_sync = |id| now(us.topics(&address(id))).unwrap()["t"].partitions[1].isr.len();
    for _ in 0..400 {
        world.lock().advance(Duration::from_millis(10));
        seen.insert([1, 2, 3].map(|id| live(&us, id).unwrap().len()));
        shown.insert([1, 2, 3].map(in_sync));
    }
    assert!(seen.contains(&[4, 4, 4]) && seen.contains(&[3, 3, 3]) && seen.len() > 2, "{seen:?}");
    assert!(shown.contains(&[3, 3, 3]) && shown.contains(&[2, 2, 2]) && shown.len() > 2, "{shown:?}");
}

#[test]
fn a_client_that_is_cut_off_hears_nothing_while_others_do() {
    let world = SharedWorld::new(world(FOUR));
    let (us, somebody) = (Access::new(&world, Client::Us), Access::new(&world, Client::Somebody));
    pass(&world, "at 0s isolate b1 from us", 30);
    assert!(matches!(live(&us, 1), Err(ClientError::Timeout { limit_ms: 2000, .. })));
    assert_eq!(live(&somebody, 1).unwrap(), [1, 2, 3, 4]);
    assert_eq!(live(&us, 2).unwrap(), [1, 2, 3, 4], "Kafka itself knows nothing of it");
}

#[test]
fn a_dead_broker_refuses_and_a_stopped_one_is_silent() {
    let world = SharedWorld::new(world(FOUR));
    let us = Access::new(&world, Client::Us);
    pass(&world, "at 0s kill b1\nat 0s pause b2 1h", 1);
    assert!(matches!(live(&us, 1), Err(ClientError::Unreachable { .. })));
    assert!(matches!(live(&us, 2), Err(ClientError::Timeout { .. })));
    assert!(matches!(live(&us, 9), Err(ClientError::Unreachable { .. })));
}

#[test]
fn only_a_new_kafka_names_fenced_brokers() {
    for (rules, fenced) in [(Rules::kraft_4_3(), 1), (Rules::kraft_3_9(), 0), (Rules::zookeeper_3_9(), 0)] {
        let world = SharedWorld::new(world_with(FOUR, Settings { rules, ..quiet() }));
        pass(&world, "at 0s kill b1", 30);
        let answer = now(Access::new(&world, Client::Us).ask(&address(2), LIMIT)).unwrap();
        assert_eq!((answer.live.len(), answer.fenced.len()), (3, fenced));
    }
}

#[test]
fn records_are_read_as_they_were_written() {
    let world = SharedWorld::new(world(FOUR));
    let us = Access::new(&world, Client::Us);
    let topic = NewTopic {
        name: "audit".into(),
        partitions: 1,
        replication_factor: 2,
        configs: [("min.insync.replicas".to_owned(), "2".to_owned())].into(),
    };
    now(us.create_topic(&topic)).unwrap();
    now(us.create_topic(&topic)).unwrap();
    let at = TopicPartition::new("audit", 0);
    for n in 0..3 {
        let record = NewRecord { value: vec![n], ..NewRecord::default() };
        now(us.append("audit", record)).unwrap();
        pass(&world, "", 10);
    }
    let batch = now(us.read(&at, 1, Duration::ZERO)).unwrap();
    let values: Vec<_> = batch.records.iter().map(|r| (r.offset, r.value.clone().unwrap())).collect();
    assert_eq!(values, [(1, vec![1]), (2, vec![2])]);
    assert_eq!((batch.next_offset, batch.end_offset), (3, 3));
    let second = batch.records[0].timestamp_ms;
    assert_eq!(now(us.offset(&at, OffsetAt::Time(second))).unwrap(), 1);
    assert_eq!(now(us.offset(&at, OffsetAt::End)).unwrap(), 3);
    assert!(matches!(
        now(us.read(&TopicPartition::new("no", 0), 0, LIMIT)),
        Err(ClientError::UnknownTopic { .. })
    ));

    let leader = now(us.describe(&["audit".into()])).unwrap()["audit"].partitions[0].leader.unwrap();
    pass(&world, &format!("at 0s kill b{leader}"), 60);
    let refused = now(us.append("audit", NewRecord::default())).unwrap_err().to_string();
    assert!(refused.contains("NOT_ENOUGH_REPLICAS"), "{refused}");
}

fn with_agents() -> SharedWorld {
    let settings = Settings {
        agents: Some(Agents { topic: "brokerstats".to_owned(), interval: Duration::from_secs(60) }),
        traffic: Some(Traffic { mean_bytes_in: 100_000, consumed_permille: 2000, hot_permille: 0 }),
        ..quiet()
    };
    SharedWorld::new(world_with(FOUR, settings))
}

/// The reports so far, as broker and second at which they were made and came in.
fn reports(world: &SharedWorld) -> Vec<(brokerstats::BrokerStats, i64)> {
    let us = Access::new(world, Client::Us);
    let batch = now(us.read(&TopicPartition::new("brokerstats", 0), 0, Duration::ZERO)).unwrap();
    let codec = Codec::new().unwrap();
    let decode = |r: &cluster::StoredRecord| {
        (codec.decode_stats(r.value.as_deref().unwrap()).unwrap(), r.timestamp_ms)
    };
    batch.records.iter().map(decode).collect()
}

#[test]
fn agents_report_what_their_brokers_carry() {
    let world = with_agents();
    pass(&world, "", 3600);
    let reports = reports(&world);
    // One of each at the beginning, and one every minute.
    assert_eq!(reports.len(), 4 + 240);
    assert!(reports[..4].iter().all(|(stats, came)| *came == stats.timestamp && *came == reports[0].1));
    let (of_2, _) = reports.iter().rev().find(|(stats, _)| stats.id == 2).unwrap();
    let led: Vec<_> = of_2.leaders().filter(|leader| leader.stat.topic == "t").collect();
    assert_eq!((led.len(), led[0].stat.partition), (1, 1));
    assert!((50_000..150_000).contains(&led[0].stat.bytes_in_15_min_mean_rate), "{:?}", led[0].stat);
    assert_eq!(of_2.leaders_bytes_out_1_min_rate, led[0].stat.bytes_out_1_min_mean_rate);
    assert!(of_2.free_disk_space_in_bytes < of_2.total_disk_space_in_bytes);
    assert_eq!(of_2.cluster_id.as_deref(), Some("sim"));
}

#[test]
fn an_agent_can_be_silent_and_reports_can_be_late() {
    let world = with_agents();
    pass(&world, "at 0s agent-silent b2 for 10m\nat 0s stats-lag 90s for 10m", 600);
    // Those of the beginning were there before.
    let before: Vec<_> = reports(&world).into_iter().skip(4).collect();
    assert!(!before.is_empty() && before.iter().all(|(stats, _)| stats.id != 2));
    assert!(before.iter().all(|(stats, came)| came - stats.timestamp == 90_000));
    pass(&world, "", 120);
    let later = reports(&world);
    let (last, came) = later.last().unwrap();
    assert_eq!(*came, last.timestamp);
    assert!(later.iter().any(|(stats, _)| stats.id == 2));
}

const RATE: &str = "leader.replication.throttled.rate";

/// Of each broker, and of topic `t`: the rate, where it can be read.
fn rates(access: &Access) -> [Option<Option<String>>; 5] {
    let of = |id| ConfigResource::Broker(BrokerId(id));
    let all = [of(1), of(2), of(3), of(4), ConfigResource::Topic("t".into())];
    let mut read = now(access.configs(&all, &[RATE]));
    all.map(|of| read.remove(&of).unwrap().ok().map(|mut values| values.remove(RATE)))
}

fn set_rates(access: &Access, rate: &str) -> Vec<bool> {
    let set = || vec![ConfigChange::Set(RATE.to_owned(), rate.to_owned())];
    let all: BTreeMap<_, _> = (1..=4).map(|id| (ConfigResource::Broker(BrokerId(id)), set())).collect();
    now(access.alter_configs(&all)).unwrap().values().map(Result::is_ok).collect()
}

#[test]
fn the_configs_of_a_broker_are_read_and_changed_at_that_broker_alone() {
    let world = SharedWorld::new(world(FOUR));
    let (us, somebody) = (Access::new(&world, Client::Us), Access::new(&world, Client::Somebody));
    let some = |rate: &str| Some(Some(rate.to_owned()));
    assert_eq!(set_rates(&us, "1"), [true; 4]);
    pass(&world, "at 0s kill b1\nat 0s isolate b2 from us\nat 0s isolate b3 from controller", 30);
    assert_eq!(set_rates(&us, "2"), [false, false, false, true]);
    assert_eq!(rates(&us), [None, None, None, some("2"), Some(None)]);
    assert_eq!(rates(&somebody), [None, some("1"), None, some("2"), Some(None)]);
    let none = ConfigResource::Topic("none".into());
    let read = now(us.configs(std::slice::from_ref(&none), &[RATE])).remove(&none);
    assert!(matches!(read, Some(Err(ClientError::UnknownTopic { .. }))), "{read:?}");
}

#[test]
fn a_broker_whose_metadata_stand_still_tells_configs_of_the_past() {
    let world = SharedWorld::new(world(FOUR));
    let us = Access::new(&world, Client::Us);
    pass(&world, "at 0s frozen-metadata b2 for 1m", 1);
    assert_eq!(set_rates(&us, "1"), [true; 4]);
    assert_eq!(rates(&us)[..2], [Some(Some("1".to_owned())), Some(None)]);
    pass(&world, "", 60);
    assert_eq!(rates(&us)[1], Some(Some("1".to_owned())));
}

#[test]
fn a_partition_whose_leader_we_do_not_reach_is_neither_read_nor_written_by_us() {
    let world = SharedWorld::new(world(FOUR));
    let (us, somebody) = (Access::new(&world, Client::Us), Access::new(&world, Client::Somebody));
    let at = |number| TopicPartition::new("t", number);
    let record = |number| NewRecord { partition: Some(number), ..NewRecord::default() };
    pass(&world, "at 0s isolate b1 from us", 1);
    let ways = |access: &Access, number| {
        [
            now(access.append("t", record(number))).is_ok(),
            now(access.offset(&at(number), OffsetAt::End)).is_ok(),
            now(access.read(&at(number), 0, Duration::ZERO)).is_ok(),
        ]
    };
    assert_eq!((ways(&us, 0), ways(&somebody, 0)), ([false; 3], [true; 3]), "broker 1 leads it");
    assert_eq!(ways(&us, 1), [true; 3], "broker 2 leads it");
    assert_eq!(now(us.partitions("t")), Ok(2), "any broker tells how many there are");
}

#[test]
fn brokers_that_were_dropped_or_are_cut_off_are_among_the_witnesses() {
    let world = SharedWorld::new(world(FOUR));
    let us = Access::new(&world, Client::Us);
    pass(&world, "at 0s isolate b1 from controller\nat 20s kill b4", 60);
    let in_sync = |table: &cluster::TopicTable| table["t"].partitions[1].isr.len();
    let tables = now(us.witnesses(&["t".into()], 5)).unwrap();
    let mut counts: Vec<usize> = tables.iter().map(in_sync).collect();
    counts.sort_unstable();
    assert_eq!(counts, [2, 2, 3], "broker 1 does not know that 4 is gone");
    let told: std::collections::BTreeSet<usize> =
        (0..6).map(|_| in_sync(&now(us.describe(&["t".into()])).unwrap())).collect();
    assert_eq!(told, [2, 3].into());
    pass(&world, "at 0s kill b2\nat 0s kill b3", 1);
    assert!(now(us.witnesses(&["t".into()], 5)).is_err(), "one alone is no witness");
}
