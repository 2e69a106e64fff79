//! Incidents at random: a cluster, faults, orders of people and crashes of our own from a seed, and what must hold
//! whatever happens.
//!
//! Safety, with every act, by the truth of the world ([`Driver::take_wrongs`]): it is in the journal before it is done,
//! rests on fresh facts, and is not done during a pause; no partition is moved twice at once; replicas are taken only
//! from brokers that have been away for the grace, go only to brokers that live, and never from the last copy; what
//! somebody else reassigns is left alone. And with every change of the cluster: no partition lists a broker twice, and
//! only a host that was replaced by an empty one costs data.
//!
//! Liveness, once the faults are over: everything is replicated as before, nothing is left over, and nothing is done
//! any more.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use control::config::HumanDuration;
use control::order::OrderKind;
use control::{Order, Record, RecordKind, monitors};

use crate::driver::{Driver, DriverConfig, Told};
use crate::random::Random;
use crate::settings::{Agents, Rules, Settings, Traffic};
use crate::world::{Happening, Shape, World};

mod faults;

use faults::Plan;

/// By then everything has come to rest.
const REST: u64 = 3 * 3600;
/// So long nothing may be done any more.
const STILL: Duration = Duration::from_secs(900);

/// What did not hold in an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed that brings it about again.
    pub seed: u64,
    /// What did not hold.
    pub why: String,
    /// The faults and the orders.
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

/// What an incident brought, for whoever asks whether anything happened at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Acts on the cluster.
    pub acts: u64,
    /// Steps of the core.
    pub cycles: u64,
}

/// What many incidents brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many were lived through, those that failed among them.
    pub incidents: u64,
    /// Acts on the clusters, in those that did not fail.
    pub acts: u64,
    /// Steps of the core, in those that did not fail.
    pub cycles: u64,
}

/// Lives through the incident of a seed.
///
/// # Errors
/// What did not hold.
pub fn run(seed: u64) -> Result<Summary, Failure> {
    let mut random = Random::new(seed);
    let shape = shape(&mut random);
    let mut incident = match driver(seed, &shape, &mut random) {
        Ok(driver) => Incident {
            driver,
            plan: Plan::draw(&shape, &mut random),
            account: String::new(),
            summary: Summary::default(),
        },
        Err(why) => {
            let [faults, account, cluster] = Default::default();
            return Err(Failure { seed, why, faults, account, cluster });
        }
    };
    let result = incident.live();
    incident.tell();
    incident.summary.cycles = incident.driver.cycles();
    result.map(|()| incident.summary).map_err(|why| Failure {
        seed,
        why,
        faults: incident.plan.to_string(),
        cluster: incident.driver.world().lock().text(false).to_string(),
        account: incident.account,
    })
}

/// Lives through the incidents of `seeds`, as many at once as there are processors; ends early once `enough` have failed.
/// What failed is in the order of the seeds.
pub fn run_all(seeds: Range<u64>, enough: usize) -> (Totals, Vec<Failure>) {
    let next = AtomicU64::new(seeds.start);
    let found = Mutex::new((Totals::default(), Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let ends = |found: &(Totals, Vec<Failure>)| seed >= seeds.end || found.1.len() >= enough;
            if ends(&found.lock().unwrap_or_else(PoisonError::into_inner)) {
                return;
            }
            let result = run(seed);
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.0.incidents += 1;
            match result {
                Ok(summary) => {
                    found.0.acts += summary.acts;
                    found.0.cycles += summary.cycles;
                }
                Err(failure) => found.1.push(failure),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(work);
        }
    });
    let (totals, mut failures) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.sort_by_key(|failure| failure.seed);
    (totals, failures)
}

fn shape(random: &mut Random) -> Shape {
    let mut some = |low, high| u32::try_from(random.between(low, high)).unwrap_or(1);
    Shape { brokers: some(4, 9), racks: 3, topics: 2, partitions: some(3, 12), replicas: some(2, 3) }
}

/// A cluster of some version and load, and a driver with some grace and interval.
fn driver(seed: u64, shape: &Shape, random: &mut Random) -> Result<Driver, String> {
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
        agents: random.chance(300).then_some(agents),
        ..Settings::default()
    };
    let grace = HumanDuration::seconds(random.between(10, 120));
    let dead_brokers = monitors::dead_brokers::Config { grace, ..monitors::dead_brokers::Config::default() };
    let interval = Duration::from_secs(random.between(1, 10));
    let mut config = DriverConfig { interval, dead_brokers, ..DriverConfig::default() };
    config.healing.throttle = random.chance(300).then_some(control::config::ByteSize(50_000_000));
    Driver::new(World::new(&shape.text(seed), settings), &config).map_err(|why| format!("{why:?}"))
}

/// An incident that is under way.
struct Incident {
    driver: Driver,
    plan: Plan,
    account: String,
    summary: Summary,
}

impl Incident {
    fn live(&mut self) -> Result<(), String> {
        let before = sizes(&self.driver);
        let faults = self.plan.faults.parse();
        let faults = faults.map_err(|why: crate::fault::ScheduleError| why.to_string())?;
        self.driver.world().lock().plan(&faults);
        let mut passed = Duration::ZERO;
        for (when, what) in std::mem::take(&mut self.plan.orders) {
            self.run(when - passed)?;
            passed = when;
            self.order(what);
        }
        self.run(faults::END.saturating_sub(passed))?;
        let minutes = REST / 60 - faults::END.as_secs() / 60;
        let mut rests = unrest(&self.driver, &before);
        for _ in 0..minutes {
            if rests.is_none() {
                break;
            }
            self.run(Duration::from_secs(60))?;
            rests = unrest(&self.driver, &before);
        }
        if let Some(why) = rests {
            return Err(why.to_owned());
        }
        let acts = self.summary.acts;
        self.run(STILL)?;
        if self.summary.acts > acts {
            return Err("an act at rest".to_owned());
        }
        unrest(&self.driver, &before).map_or(Ok(()), |why| Err(format!("at rest: {why}")))
    }

    fn order(&mut self, what: OrderKind) {
        self.driver.order(Order { by: "ann".to_owned(), reason: "because".to_owned(), what });
    }

    /// Lets time go by, and looks whether all has gone as it must.
    fn run(&mut self, time: Duration) -> Result<(), String> {
        let mut left = time;
        while !left.is_zero() {
            let piece = left.min(Duration::from_secs(60));
            left -= piece;
            let ran = self.driver.run(piece).map_err(|why| why.to_string());
            self.tell();
            ran?;
            if let Some(wrong) = self.driver.take_wrongs().into_iter().next() {
                return Err(wrong);
            }
            self.check_history()?;
        }
        Ok(())
    }

    /// Whatever happens, no partition lists a broker twice, and only `replace` costs data.
    fn check_history(&self) -> Result<(), String> {
        for happened in self.driver.world().lock().take_history() {
            match &happened.what {
                Happening::Partition { replicas, .. } => {
                    let distinct: BTreeSet<_> = replicas.iter().collect();
                    if distinct.len() < replicas.len() {
                        return Err(format!("a broker twice: {happened}"));
                    }
                }
                Happening::DataLost { .. } if !self.plan.replaces() => {
                    return Err(format!("data lost: {happened}"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn tell(&mut self) {
        for entry in self.driver.take_account() {
            let is_act = |record: &Record| {
                record.kind == RecordKind::Act && !control::guard::is_message(&record.operation)
            };
            let is_act = matches!(&entry.what, Told::Record(record) if is_act(record));
            self.summary.acts += u64::from(is_act);
            // Writing to a string does not fail.
            let _ = writeln!(self.account, "{entry}");
        }
    }
}

/// What is missing of: fully replicated, as many replicas as before, and nothing left over.
fn unrest(driver: &Driver, before: &[usize]) -> Option<&'static str> {
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
    problems.into_iter().find(|(holds, _)| *holds).map(|(_, why)| why)
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
        let (done, failed): (Vec<_>, Vec<_>) = (0..16).map(super::run).partition(Result::is_ok);
        assert!(failed.is_empty(), "{}", failed[0].as_ref().unwrap_err());
        // Otherwise nothing would be proven.
        let busy = done.iter().filter(|summary| summary.as_ref().is_ok_and(|summary| summary.acts > 0));
        assert!(busy.count() >= 8);
    }
}
