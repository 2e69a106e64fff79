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

#[test]
fn a_world_is_made_again_from_its_text() {
    let mut first = world("b1 rack=r1\nb2\nb3 dead\nt-0: 1* 2~ +3~ size=10MiB\nu-0: 3~ 2* internal");
    let text = first.text(true).to_string();
    let mut second = world(&text);
    assert_eq!(second.text(true).to_string(), text);
}
