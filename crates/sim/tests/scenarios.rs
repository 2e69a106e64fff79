//! Scenarios: each `scenarios/*.txt` is a cluster, what happens to it, and for how long; the file of the same name with
//! `.out` is the account of it. `UPDATE_EXPECT=1` writes the accounts anew; they are reviewed by reading them.
//!
//! A line is one of `grace TIME`, `kafka 4.3|3.9|zookeeper`, `agents`, `run TIME`, a fault (`at 30s kill b3`), an order
//! (`at 30s order approve`), or of the cluster's notation. `#` begins a comment.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cluster::BrokerId;
use cluster::notation::ClusterText;
use control::config::HumanDuration;
use control::order::OrderKind;
use control::{Order, Scope, monitors};
use sim::settings::Agents;
use sim::{Driver, DriverConfig, Rules, Settings, World};

/// A longer account is not reviewed by anybody.
const MOST_LINES: usize = 80;
/// Without these nobody could tell what is proven.
const LEAST: usize = 25;

fn time(word: &str) -> Duration {
    word.parse::<HumanDuration>().unwrap().0
}

fn order(words: &[&str]) -> OrderKind {
    let scope = |word: Option<&&str>| match word.and_then(|word| word.strip_prefix('b')) {
        Some(id) => Scope::Broker(BrokerId(id.parse().unwrap())),
        None => Scope::Cluster,
    };
    match words[0] {
        "approve" => OrderKind::Approve,
        "pause" => OrderKind::Pause,
        "resume" => OrderKind::Resume,
        "cancel" => OrderKind::Cancel { execution: None },
        "maintenance-on" => OrderKind::MaintenanceOn { scope: scope(words.get(1)), until: None },
        "maintenance-off" => OrderKind::MaintenanceOff { scope: scope(words.get(1)) },
        other => panic!("no order: {other}"),
    }
}

/// What a file says.
struct Scenario {
    cluster: String,
    faults: String,
    orders: BTreeMap<Duration, OrderKind>,
    settings: Settings,
    config: DriverConfig,
    run: Duration,
}

fn read(text: &str) -> Scenario {
    let mut scenario = Scenario {
        cluster: String::new(),
        faults: String::new(),
        orders: BTreeMap::new(),
        settings: Settings { retention_bytes: 1 << 40, ..Settings::default() },
        config: DriverConfig { interval: Duration::from_secs(5), ..DriverConfig::default() },
        run: Duration::from_secs(600),
    };
    let mut grace = HumanDuration::seconds(60);
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["grace", time] => grace = time.parse().unwrap(),
            ["kafka", "4.3"] => scenario.settings.rules = Rules::kraft_4_3(),
            ["kafka", "3.9"] => scenario.settings.rules = Rules::kraft_3_9(),
            ["kafka", "zookeeper"] => scenario.settings.rules = Rules::zookeeper_3_9(),
            ["agents"] => {
                let interval = Duration::from_secs(60);
                scenario.settings.agents = Some(Agents { topic: "brokerstats".to_owned(), interval });
            }
            ["run", all] => scenario.run = time(all),
            ["at", when, "order", what @ ..] => {
                scenario.orders.insert(time(when), order(what));
            }
            ["at" | "within", ..] => writeln!(scenario.faults, "{line}").unwrap(),
            _ => writeln!(scenario.cluster, "{line}").unwrap(),
        }
    }
    scenario.config.dead_brokers = monitors::dead_brokers::Config { grace, ..Default::default() };
    scenario
}

fn account(scenario: Scenario) -> String {
    let world = World::new(&scenario.cluster.parse().unwrap(), scenario.settings);
    let mut driver = Driver::new(world, &scenario.config).unwrap();
    driver.world().lock().plan(&scenario.faults.parse().unwrap());
    let mut passed = Duration::ZERO;
    for (when, what) in scenario.orders {
        driver.run(when - passed).unwrap();
        passed = when;
        driver.order(Order { by: "ann".to_owned(), reason: "because".to_owned(), what });
    }
    driver.run(scenario.run - passed).unwrap();
    assert_eq!(driver.take_wrongs(), Vec::<String>::new());
    let mut text = String::new();
    for entry in driver.take_account() {
        writeln!(text, "{entry}").unwrap();
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
        let account = account(read(&std::fs::read_to_string(&path).unwrap()));
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
