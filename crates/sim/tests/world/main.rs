//! The world by itself: it does what real Kafka does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod clients;
mod facts;
mod replication;
mod sessions;

use std::fmt::Write as _;
use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use cluster::notation::ClusterText;
use sim::{Rules, Schedule, Settings, World};

const FOUR: &str = "
    b1 rack=r1
    b2 rack=r2
    b3 rack=r1
    b4 rack=r2
    t-0: 1* 2 3
    t-1: 2* 3 4
";

fn world_with(text: &str, settings: Settings) -> World {
    World::new(&text.parse().unwrap(), settings)
}

fn world(text: &str) -> World {
    world_with(text, quiet())
}

/// Without what happens by itself every five minutes.
fn quiet() -> Settings {
    Settings { rules: Rules { leader_rebalance: None, ..Rules::kraft_4_3() }, ..Settings::default() }
}

/// Plans the faults, lets so many seconds go by, and gives back what has happened.
fn after(world: &mut World, faults: &str, seconds: u64) -> String {
    world.plan(&faults.parse::<Schedule>().unwrap());
    world.advance(Duration::from_secs(seconds));
    let mut text = String::new();
    for happened in world.take_history() {
        writeln!(text, "{happened}").unwrap();
    }
    text
}

/// The partitions as they are.
fn partitions(world: &mut World) -> String {
    ClusterText { brokers: Default::default(), ..world.text(false) }.to_string()
}

/// What a future of the simulator brings: it is ready at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a future of the simulator waits"),
    }
}

#[test]
fn nothing_happens_by_itself() {
    let mut world = world(FOUR);
    assert_eq!(after(&mut world, "", 86_400), "");
}

#[test]
fn the_same_seed_brings_the_same_history_and_another_seed_another() {
    let history = |seed| {
        let shape = sim::Shape { brokers: 9, racks: 3, topics: 4, partitions: 12, replicas: 3 };
        let mut world = World::new(&shape.text(seed), Settings { seed, ..Settings::default() });
        let faults = "within 5m kill any\nwithin 5m flap any\nwithin 5m pause any 20s\nat 9m calm";
        after(&mut world, faults, 900)
    };
    assert_eq!(history(1), history(1));
    assert_ne!(history(1), history(2));
}

/// Any broker, any fault of those that end, at any moment.
fn faults(random: &mut sim::Random) -> String {
    let mut faults = String::new();
    for _ in 0..random.between(1, 12) {
        let second = random.below(900);
        let fault = match random.below(11) {
            0 | 1 => "kill any".to_owned(),
            2 => "restart any".to_owned(),
            3 => format!("pause any {}s", random.between(1, 60)),
            4 => "flap any".to_owned(),
            5 => "isolate any from controller for 1m".to_owned(),
            6 => format!("isolate any from b{} for 2m", random.between(1, 6)),
            7 => format!("rack-down r{}", random.between(1, 3)),
            8 => "slow-disk any 1MB/s for 2m".to_owned(),
            9 => "fill any".to_owned(),
            _ => format!("recover any {}s", random.between(1, 300)),
        };
        writeln!(faults, "at {second}s {fault}").unwrap();
    }
    writeln!(faults, "at 30m calm").unwrap();
    faults
}

#[test]
fn after_any_faults_all_replicas_are_in_sync_again() {
    for seed in 0..300 {
        let mut random = sim::Random::new(seed);
        let faults = faults(&mut random);
        let shape = sim::Shape { brokers: 6, racks: 3, topics: 2, partitions: 6, replicas: 3 };
        let traffic =
            sim::settings::Traffic { mean_bytes_in: 200_000, consumed_permille: 1000, hot_permille: 50 };
        let min_in_sync = usize::try_from(random.between(1, 2)).unwrap();
        let settings = Settings { seed, traffic: Some(traffic), min_in_sync, ..Settings::default() };
        let mut world = World::new(&shape.text(seed), settings);
        let history = after(&mut world, &faults, 3600);
        let text = world.text(false).to_string();
        assert!(!text.contains('~') && !text.contains("dead"), "seed {seed}:\n{faults}{history}{text}");
        let led = text.lines().filter(|line| line.contains('*')).count();
        assert_eq!(led, 12, "seed {seed}: {text}");
        assert!(!history.contains("bytes lost"), "no disk was lost, seed {seed}: {history}");
    }
}

#[test]
fn a_world_is_made_again_from_its_text() {
    let mut first = world("b1 rack=r1\nb2\nb3 dead\nt-0: 1* 2~ +3~ size=10MiB\nu-0: 3~ 2* internal");
    let text = first.text(true).to_string();
    let mut second = world(&text);
    assert_eq!(second.text(true).to_string(), text);
}
