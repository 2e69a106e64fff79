//! The cluster of an incident, and the service that looks after it.

use std::time::Duration;

use cluster::notation::ClusterText;
use cluster::{BrokerId, ConfigChange, ConfigResource, Topic};
use control::config::{ByteSize, HumanDuration};
use control::{OnDeadBroker, monitors, operators};

use crate::driver::{Between, Driver, DriverConfig};
use crate::random::Random;
use crate::settings::{Agents, Hardware, Rules, Settings, Traffic};
use crate::world::{Shape, World};

/// Four to nine brokers in up to five racks, or in none; in one of twenty incidents so many that a tenth of them is more
/// than one, in racks of two or three.
pub(super) fn shape(random: &mut Random) -> Shape {
    let mut some = |low, high| u32::try_from(random.between(low, high)).unwrap_or(1);
    let (brokers, racks, partitions) = (some(4, 9), some(0, 5), some(3, 12));
    // Three replicas are usual.
    let replicas = [1, 2, 2, 3, 3, 3, 3, 4][some(0, 7) as usize];
    let usual = Shape { brokers, racks, topics: 2, partitions, replicas };
    if random.chance(50) {
        let brokers = u32::try_from(random.between(20, 30)).unwrap_or(20);
        return Shape { brokers, racks: brokers.div_ceil(3), ..usual };
    }
    usual
}

/// A cluster of some version and load, and a driver with some grace and interval.
pub(super) fn driver(seed: u64, shape: &Shape, random: &mut Random) -> Result<Driver, String> {
    let rules = match random.below(3) {
        0 => Rules::kraft_4_3(),
        1 => Rules::kraft_3_9(),
        _ => Rules::zookeeper_3_9(),
    };
    let agents = Agents { topic: "brokerstats".to_owned(), interval: Duration::from_secs(60) };
    let settings = Settings {
        seed,
        rules,
        traffic: Some(Traffic { mean_bytes_in: 200_000, consumed_permille: 1000, hot_permille: 50 }),
        partition_bytes: random.below(4 << 30),
        hardware: Hardware {
            // One that fails ends its broker if it is the only one, and otherwise only its replicas.
            dirs: u8::try_from(random.between(1, 3)).unwrap_or(1),
            ..Hardware::default()
        },
        agents: random.chance(300).then_some(agents),
        min_in_sync: if shape.replicas >= 3 && random.chance(500) { 2 } else { 1 },
        ..Settings::default()
    };
    let mut config = config(random);
    let throttled = config.healing.throttle.is_some();
    let theirs = throttled && random.chance(300);
    config.dry_run = random.chance(30);
    replacement(seed, shape, &settings, &mut config);
    let world = World::new(&text(seed, shape, &settings), settings);
    let driver = Driver::new(world, &config).map_err(|why| format!("{why:?}"))?;
    if theirs {
        throttle_of_somebody_else(&driver);
    }
    Ok(driver)
}

/// With a topic for the agents' reports, where there are agents.
fn text(seed: u64, shape: &Shape, settings: &Settings) -> ClusterText {
    let mut text = shape.text(seed);
    let like = text.topics.values().next().and_then(|topic| topic.partitions.last().cloned());
    if let Some((agents, partition)) = settings.agents.as_ref().zip(like) {
        let topic = Topic { internal: false, partitions: [partition].into_iter().collect() };
        text.topics.insert(agents.topic.as_str().into(), topic);
    }
    text
}

fn config(random: &mut Random) -> DriverConfig {
    let grace = HumanDuration::seconds(random.between(10, 120));
    let dead_brokers = monitors::dead_brokers::Config { grace, ..monitors::dead_brokers::Config::default() };
    let interval = Duration::from_secs(random.between(1, 10));
    let mut config = DriverConfig { interval, dead_brokers, ..DriverConfig::default() };
    config.healing.throttle = random.chance(300).then_some(ByteSize(50_000_000));
    if random.chance(500) {
        let meddled_permille = if random.chance(500) { 300 } else { 0 };
        let pause = Duration::from_millis(random.between(1, 8_000));
        config.between = Between { pause, meddled_permille, ..Between::default() };
    }
    config.between.taken_over_permille = 500;
    config.between.lost_permille = if random.chance(300) { 200 } else { 0 };
    // Three times as long as the default would have the incident last an hour longer, and bring nothing else.
    config.guard.mass_failure_grace =
        (!random.chance(200)).then(|| Duration::from_secs(random.between(300, 1200)));
    config
}

/// In a quarter of the incidents hosts are replaced, in half of these before their replicas are moved. It is drawn for itself, so that
/// the rest of an incident is the same with it and without.
fn replacement(seed: u64, shape: &Shape, settings: &Settings, config: &mut DriverConfig) {
    let mut random = Random::new(seed ^ 0x7265_706c_6163_6573);
    if !random.chance(250) {
        return;
    }
    let without_agents = settings.agents.is_none();
    let operator = operators::broker_replacement::Config { without_agents, ..Default::default() };
    config.replacement = Some(operator);
    if random.chance(500) {
        config.guard.on_dead_broker = OnDeadBroker::ReplaceFirst;
    }
    config.guard.replacement_cooldown = Duration::from_secs(random.between(60, 3_600));
    if random.chance(500) {
        config.between.script = Duration::from_secs(random.between(1, 600));
    }
    if settings.rules.capabilities.kraft && random.chance(300) {
        config.voters =
            (1..=shape.brokers.min(3)).filter_map(|id| i32::try_from(id).ok()).map(BrokerId).collect();
    }
}

/// A person has throttled a broker. That stays as it is.
fn throttle_of_somebody_else(driver: &Driver) {
    let rate = ConfigChange::Set("leader.replication.throttled.rate".to_owned(), "20000000".to_owned());
    let mut world = driver.world().lock();
    if let Some(id) = world.live().first().copied() {
        // It exists.
        let _ = world.alter_config(&ConfigResource::Broker(id), &[rate]);
    }
}
