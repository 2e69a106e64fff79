//! Incidents at random: a cluster, faults and crashes of our own from a seed, and what must hold whatever happens.
//!
//! At every step no partition lists a broker twice, and only a host that was replaced by an empty one costs data. Once the
//! faults are over everything is replicated as before, nothing is left over, and nothing is done any more.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use control::config::HumanDuration;
use control::{RecordKind, monitors};

use crate::driver::{Driver, DriverConfig, Told};
use crate::random::Random;
use crate::settings::{Rules, Settings, Traffic};
use crate::world::{Happening, Shape, World};

/// When the faults are over and all brokers are back.
const CALM: u64 = 1800;
/// By then everything has come to rest.
const REST: u64 = 3 * 3600;

/// What did not hold in an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed that brings it about again.
    pub seed: u64,
    /// What did not hold.
    pub why: String,
    /// The faults.
    pub faults: String,
    /// What was recorded until then.
    pub account: String,
    /// The cluster as it was left.
    pub cluster: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {}\n{}{}{}", self.seed, self.why, self.faults, self.account, self.cluster)
    }
}

/// Some faults, crashes of our own among them, and their end.
fn faults(random: &mut Random) -> String {
    let mut faults = String::new();
    for _ in 0..random.between(1, 6) {
        let second = random.below(CALM - 300);
        let lasts = random.between(10, 600);
        let fault = match random.below(14) {
            0..=3 => "kill any".to_owned(),
            4 => "restart any".to_owned(),
            5 => format!("pause any {lasts}s"),
            6 => "flap any".to_owned(),
            7 => format!("isolate any from controller for {lasts}s"),
            8 => format!("isolate any from us for {lasts}s"),
            9 => format!("frozen-metadata any for {lasts}s"),
            10 => format!("rack-down r{}", random.between(1, 3)),
            11 => format!("recover any {lasts}s"),
            12 => format!("clock +{lasts}s"),
            _ => "replace any".to_owned(),
        };
        faults.push_str(&format!("at {second}s {fault}\n"));
    }
    for _ in 0..random.below(4) {
        faults.push_str(&format!("at {}s crash us\n", random.below(CALM)));
    }
    faults.push_str(&format!("at {CALM}s calm\n"));
    faults
}

/// A cluster of some size, version and load, and a driver with some grace and interval.
fn driver(seed: u64, random: &mut Random) -> Result<Driver, String> {
    let mut some = |low, high| u32::try_from(random.between(low, high)).unwrap_or(1);
    let shape =
        Shape { brokers: some(4, 9), racks: 3, topics: 2, partitions: some(3, 12), replicas: some(2, 3) };
    let rules = match random.below(3) {
        0 => Rules::kraft_4_3(),
        1 => Rules::kraft_3_9(),
        _ => Rules::zookeeper_3_9(),
    };
    let settings = Settings {
        seed,
        rules,
        traffic: Some(Traffic { mean_bytes_in: 200_000, consumed_permille: 1000, hot_permille: 50 }),
        partition_bytes: random.below(4 << 30),
        ..Settings::default()
    };
    let grace = HumanDuration::seconds(random.between(10, 120));
    let dead_brokers = monitors::dead_brokers::Config { grace, ..monitors::dead_brokers::Config::default() };
    let interval = Duration::from_secs(random.between(1, 10));
    let config = DriverConfig { interval, dead_brokers, ..DriverConfig::default() };
    Driver::new(World::new(&shape.text(seed), settings), &config).map_err(|why| format!("{why:?}"))
}

/// Whatever happens, no partition lists a broker twice, and only `replace` costs data.
fn check_history(driver: &Driver, replaces: bool) -> Result<(), String> {
    for happened in driver.world().lock().take_history() {
        match &happened.what {
            Happening::Partition { replicas, .. } => {
                let distinct: BTreeSet<_> = replicas.iter().collect();
                if distinct.len() < replicas.len() {
                    return Err(format!("a broker twice: {happened}"));
                }
            }
            Happening::DataLost { .. } if !replaces => return Err(format!("data lost: {happened}")),
            _ => {}
        }
    }
    Ok(())
}

/// Lives through the incident of a seed.
///
/// # Errors
/// What did not hold.
pub fn run(seed: u64) -> Result<(), Failure> {
    let mut random = Random::new(seed);
    let mut account = String::new();
    let fail = |why, faults: &str, account: &str, cluster| {
        Err(Failure { seed, why, faults: faults.to_owned(), account: account.to_owned(), cluster })
    };
    let mut driver = match driver(seed, &mut random) {
        Ok(driver) => driver,
        Err(why) => return fail(why, "", "", String::new()),
    };
    let faults = faults(&mut random);
    let result = live(&mut driver, &faults, &mut account);
    tell(&mut driver, &mut account);
    let cluster = driver.world().lock().text(false).to_string();
    result.or_else(|why| fail(why, &faults, &account, cluster))
}

fn live(driver: &mut Driver, faults: &str, account: &mut String) -> Result<(), String> {
    let before = sizes(driver);
    driver.world().lock().plan(&faults.parse().map_err(|why: crate::fault::ScheduleError| why.to_string())?);
    for _ in 0..REST / 60 {
        driver.run(Duration::from_secs(60)).map_err(|why| why.to_string())?;
        check_history(driver, faults.contains("replace"))?;
        tell(driver, account);
    }
    check_rest(driver, &before)?;
    driver.run(Duration::from_secs(3600)).map_err(|why| why.to_string())?;
    let is_act = |told: &Told| matches!(told, Told::Record(record) if record.kind == RecordKind::Act);
    match driver.take_account().into_iter().find(|entry| is_act(&entry.what)) {
        Some(entry) => Err(format!("an act at rest: {entry}")),
        None => Ok(()),
    }
}

fn tell(driver: &mut Driver, account: &mut String) {
    for entry in driver.take_account() {
        account.push_str(&format!("{entry}\n"));
    }
}

/// Fully replicated, as many replicas as before, and nothing left over.
fn check_rest(driver: &Driver, before: &[usize]) -> Result<(), String> {
    let (text, throttled) = {
        let mut world = driver.world().lock();
        (world.text(false), !world.configs().is_empty())
    };
    let partitions = || text.topics.values().flat_map(|topic| &topic.partitions);
    let runs = driver.memory().executions.iter().any(|execution| execution.is_running());
    let problems = [
        (sizes(driver) != before, "a replication factor is another than before"),
        (!text.reassignments.is_empty(), "a reassignment is left over"),
        (partitions().any(cluster::Partition::is_under_replicated), "not everything is replicated"),
        (throttled, "a throttle is left over"),
        (runs, "an execution has not ended"),
    ];
    problems.into_iter().find(|(holds, _)| *holds).map_or(Ok(()), |(_, why)| Err(why.to_owned()))
}

/// The number of replicas of each partition.
fn sizes(driver: &Driver) -> Vec<usize> {
    let text = driver.world().lock().text(false);
    text.topics
        .values()
        .flat_map(|topic| &topic.partitions)
        .map(|partition| partition.replicas.len())
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn whatever_happens_it_is_healed_and_comes_to_rest() {
        let failed: Vec<_> = (0..8).filter_map(|seed| super::run(seed).err()).collect();
        assert!(failed.is_empty(), "{}", failed[0]);
    }
}
