//! How fast virtual time goes by.
//!
//! `cargo bench -p sim`

use std::time::Duration;

use divan::Bencher;
use sim::settings::{Agents, DailyCurve, Traffic};
use sim::{Driver, DriverConfig, Schedule, Settings, Shape, World};

fn main() {
    divan::main();
    // High-water mark of the resident memory, over everything that ran.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|line| line.starts_with("VmHWM")) {
        println!("{line}");
    }
}

const HOUR: Duration = Duration::from_secs(3600);

fn settings() -> Settings {
    Settings {
        seed: 1,
        traffic: Some(Traffic { mean_bytes_in: 50_000, consumed_permille: 2000, hot_permille: 10 }),
        curve: DailyCurve::CONSUMERS,
        // Half a TB per broker of the small cluster: half of its disk.
        retention_bytes: 1 << 30,
        agents: Some(Agents { topic: "brokerstats".to_owned(), interval: Duration::from_secs(60) }),
        ..Settings::default()
    }
}

/// 12 brokers, 2,000 partitions.
fn small() -> World {
    let shape = Shape { brokers: 12, racks: 3, topics: 40, partitions: 50, replicas: 3 };
    World::new(&shape.text(1), settings())
}

/// 1,000 brokers, 100,000 partitions.
fn large() -> World {
    let shape = Shape { brokers: 1_000, racks: 10, topics: 1_000, partitions: 100, replicas: 3 };
    World::new(&shape.text(1), settings())
}

fn plan(faults: &str, world: &mut World) {
    if let Ok(schedule) = faults.parse::<Schedule>() {
        world.plan(&schedule);
    }
}

fn day_of(faults: &str) -> Option<Driver> {
    let mut world = small();
    plan(faults, &mut world);
    let config = DriverConfig { interval: Duration::from_secs(10), ..DriverConfig::default() };
    Driver::new(world, &config).ok()
}

fn live(driver: Option<Driver>) -> u64 {
    let Some(mut driver) = driver else { return 0 };
    match driver.run(24 * HOUR) {
        Ok(()) => driver.cycles(),
        Err(_) => 0,
    }
}

/// A day of 12 brokers and 2,000 partitions with the core, evaluated every 10 s.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn a_quiet_day_with_the_core(bencher: Bencher) {
    bencher.with_inputs(|| day_of("")).bench_local_values(live);
}

/// The same, with a broker that dies in the morning and comes back in the afternoon.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn a_day_with_a_dead_broker(bencher: Bencher) {
    bencher.with_inputs(|| day_of("at 8h kill b3\nat 15h restart b3")).bench_local_values(live);
}

/// An hour of 1,000 brokers and 100,000 partitions, without the core: it must go by in less than six minutes.
#[divan::bench(sample_count = 1, sample_size = 1)]
fn an_hour_of_a_large_cluster(bencher: Bencher) {
    let world = || {
        let mut world = large();
        plan(
            "at 5m kill b17\nat 20m restart b17\nat 30m replace b500\nat 40m rack-down r3\nat 50m calm",
            &mut world,
        );
        world
    };
    bencher.with_inputs(world).bench_local_values(|mut world| {
        world.advance(HOUR);
        world.now()
    });
}
