//! Scenarios: each `scenarios/*.txt` is a cluster, what happens to it, and for how long; the file of the same name with
//! `.out` is the account of it. `UPDATE_EXPECT=1` writes the accounts anew; they are reviewed by reading them.
//!
//! The notation is that of [`sim::scenario`].

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cluster::notation::ClusterText;
use control::config::{ByteSize, HumanDuration};
use control::{OnDeadBroker, Order, monitors, operators};
use sim::fault::Fault;
use sim::scenario::{PlannedOrder, Player, Scenario};
use sim::settings::{Agents, Traffic};
use sim::world::{Happened, Happening};
use sim::{Driver, DriverConfig, Moment, Settings, World};

/// A longer account is not reviewed by anybody.
const MOST_LINES: usize = 80;
/// Without these nobody could tell what is proven.
const LEAST: usize = 25;
/// The grace where a scenario says nothing.
const GRACE: Duration = Duration::from_secs(60);
/// How long a scenario goes on where it says nothing.
const RUN: Duration = Duration::from_secs(600);

fn read(path: &Path) -> Scenario {
    let player =
        Player { plays_moments: true, plays_crashes: true, replaces_hosts: true, ..Player::default() };
    let scenario = Scenario::read(&std::fs::read(path).unwrap(), &player);
    scenario.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn account(scenario: &Scenario) -> String {
    let agents = Agents { topic: "brokerstats".to_owned(), interval: Duration::from_secs(60) };
    let agents = scenario.agents.then_some(agents);
    // Three megabytes a second to each partition, where a scenario is about traffic.
    let traffic = Traffic { mean_bytes_in: 3_000_000, consumed_permille: 1000, hot_permille: 0 };
    let is_about_traffic = scenario.faults.0.iter().any(|it| matches!(it.fault, Fault::Traffic(..)));
    let traffic = is_about_traffic.then_some(traffic);
    let settings = Settings { retention_bytes: 1 << 40, agents, traffic, ..Settings::default() };
    let grace = HumanDuration(scenario.grace.unwrap_or(GRACE));
    let throttle = scenario.throttle.map(ByteSize);
    let replacement = operators::broker_replacement::Config {
        without_agents: !scenario.agents,
        replace_degraded: true,
        ..Default::default()
    };
    let mut config = DriverConfig {
        replacement: scenario.replace_hosts.then_some(replacement),
        interval: Duration::from_secs(5),
        dry_run: scenario.dry_run,
        healing: operators::under_replicated_partitions::Config { throttle, ..Default::default() },
        dead_brokers: monitors::dead_brokers::Config { grace, ..Default::default() },
        ..DriverConfig::default()
    };
    if scenario.replace_hosts {
        config.guard.on_dead_broker = OnDeadBroker::ReplaceFirst;
    }
    let world = World::new(&scenario.cluster, scenario.settings(settings));
    let mut driver = Driver::new(world, &config).unwrap();
    driver.world().lock().plan(&scenario.faults);
    let mut passed = Duration::ZERO;
    let mut orders = scenario.orders.clone();
    orders.sort_by_key(|order| order.at);
    for PlannedOrder { at, what } in orders {
        driver.run(at - passed).unwrap();
        passed = at;
        driver.order(Order { by: "ann".to_owned(), reason: "because".to_owned(), what: what.order() });
    }
    driver.run(scenario.run.unwrap_or(RUN) - passed).unwrap();
    assert_eq!(driver.take_wrongs(), Vec::<String>::new());
    let mut text = String::new();
    for line in lines(&mut driver) {
        writeln!(text, "{line}").unwrap();
    }
    for held in driver.held() {
        writeln!(
            text,
            "still held: {} [{}] by {}: {}",
            held.event,
            held.target,
            held.check.name(),
            held.reason
        )
        .unwrap();
    }
    for incident in driver.memory().incidents.open.values() {
        writeln!(text, "still open: {} [{}] {}", incident.key.kind, incident.key.subject, incident.message)
            .unwrap();
    }
    let cluster = driver.world().lock().text(false);
    write!(text, "{}", ClusterText { brokers: BTreeMap::new(), ..cluster }).unwrap();
    text
}

/// What happened to the cluster, marked with a star, and what was recorded, in their order.
fn lines(driver: &mut Driver) -> Vec<String> {
    let happened = driver.world().lock().take_history();
    let told = |happened: Happened| {
        let what = match happened.what {
            Happening::Fault(fault, None) => fault.to_string(),
            Happening::Fault(fault, Some(time)) => format!("{fault} for {}", HumanDuration(time)),
            Happening::Note(note) => note,
            Happening::Dropped(id) => format!("Kafka drops broker {id}"),
            Happening::Alive(id) => format!("broker {id} is alive for Kafka"),
            Happening::DirFailed(id) => format!("a log dir of broker {id} fails"),
            Happening::DataLost { at, bytes, .. } => format!("{at} loses {bytes} bytes"),
            Happening::Partition { .. } => return None,
        };
        Some((happened.at, format!("{} * {what}", happened.at)))
    };
    let mut lines: Vec<(Moment, String)> = happened.into_iter().filter_map(told).collect();
    lines.extend(driver.take_account().into_iter().map(|entry| (entry.at, entry.to_string())));
    // What happens at a moment comes before what is recorded of it.
    lines.sort_by_key(|(at, _)| *at);
    lines.into_iter().map(|(_, line)| line).collect()
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let all = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> =
        all.filter(|path| path.extension().is_some_and(|ext| ext == "txt")).collect();
    files.sort();
    files
}

#[test]
fn each_scenario_goes_as_its_account_says() {
    let files = files();
    assert!(files.len() >= LEAST, "there are {} scenarios", files.len());
    let mut others = Vec::new();
    for path in files {
        let account = account(&read(&path));
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(account.lines().count() <= MOST_LINES, "{name} is too long:\n{account}");
        let expected = path.with_extension("out");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(expected, account).unwrap();
        } else if std::fs::read_to_string(expected).unwrap_or_default() != account {
            others.push(format!("{name}:\n{account}"));
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
}
