//! Incidents at random: a cluster, faults, orders of people and crashes of our own from a seed, and what must hold
//! whatever happens.
//!
//! Safety, with every act, by the truth of the world ([`Driver::take_wrongs`]): it is in the journal before it is done,
//! rests on fresh facts, and is not done during a pause; no partition is moved twice at once; hosts are replaced only under brokers that have been away for the grace,
//! hold no last copy, vote in no quorum, and whose agents are silent, one for each cooldown whoever was killed and whatever clocks were set
//! to, and never while their replicas are moved nor the other way round; replicas are taken only
//! from brokers that have been away for the grace, go only to brokers that live, and never from the last copy; no order
//! brings a partition below `min.insync.replicas`; what somebody else reassigns is left alone, also what is ordered
//! between our look and our act. In a dry run, and in another cluster than the one remembered, nothing is changed. And
//! with every change of the cluster: no partition lists a broker twice, and only a host that was replaced by an empty one
//! costs data.
//!
//! Liveness, once the faults are over and some brokers, perhaps, stay dead: everything is replicated as before on
//! brokers that live, but for what cannot be, nothing is left over, and nothing is done any more.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{panic, thread};

use cluster::ClusterId;
use control::execution::MovePhase;
use control::order::OrderKind;
use control::{Order, Record, RecordKind};

use crate::driver::{Driver, Told};
use crate::random::Random;
use crate::world::Happening;

mod setup;

mod faults;

mod rest;

use faults::{Deed, Plan};
use rest::Before;

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
    let shape = setup::shape(&mut random);
    let mut incident = match setup::driver(seed, &shape, &mut random) {
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

/// The same, where a panic is a failure like others: it must not hide those that were found before it.
fn run_caught(seed: u64) -> Result<Summary, Failure> {
    panic::catch_unwind(|| run(seed)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let why = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no words");
        let (faults, cluster, account) = (String::new(), String::new(), String::new());
        Err(Failure { seed, why: format!("panicked: {why}"), faults, cluster, account })
    })
}

/// Lives through the incidents of `seeds`, as many at once as there are processors; ends early once `enough` have failed.
/// What failed is in the order of the seeds.
pub fn run_all(seeds: Range<u64>, enough: usize) -> (Totals, Vec<Failure>) {
    // Counted from the first, so that the last seed of all is not followed by the first.
    let next = AtomicU64::new(0);
    let count = seeds.end.saturating_sub(seeds.start);
    let found = Mutex::new((Totals::default(), Vec::new()));
    let work = || {
        loop {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            let ends = |found: &(Totals, Vec<Failure>)| turn >= count || found.1.len() >= enough;
            if ends(&found.lock().unwrap_or_else(PoisonError::into_inner)) {
                return;
            }
            let result = run_caught(seeds.start + turn);
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

/// An incident that is under way.
struct Incident {
    driver: Driver,
    plan: Plan,
    account: String,
    summary: Summary,
}

impl Incident {
    fn live(&mut self) -> Result<(), String> {
        let before = Before::of(&self.driver);
        let faults = self.plan.faults.parse();
        let faults = faults.map_err(|why: crate::fault::ScheduleError| why.to_string())?;
        self.driver.world().lock().plan(&faults);
        let mut passed = Duration::ZERO;
        let mut is_another = false;
        for (when, what) in std::mem::take(&mut self.plan.deeds) {
            self.run(when - passed)?;
            passed = when;
            match what {
                Deed::Order(what) => self.order(what),
                Deed::OtherCluster => {
                    is_another |= self.driver.change_identity(ClusterId("another".into()));
                }
            }
        }
        self.run(faults::END.saturating_sub(passed))?;
        if is_another || self.driver.config().dry_run {
            // Nothing is to be healed, and whatever is changed is wrong.
            return self.run(STILL);
        }
        self.come_to_rest(&before)
    }

    /// All is as it must be in the end, and nothing is done any more. What is excused at some moment may well be healed
    /// later; what needs no excuse is healed, and anything more is too much.
    fn come_to_rest(&mut self, before: &Before) -> Result<(), String> {
        let mut left = REST / 60 - faults::END.as_secs() / 60;
        loop {
            while let Some(why) = self.unrest(before) {
                left = left.checked_sub(1).ok_or(why)?;
                self.run(Duration::from_secs(60))?;
            }
            let (acts, excused) = (self.summary.acts, rest::is_excused(&self.driver));
            self.run(STILL)?;
            left = left.saturating_sub(STILL.as_secs() / 60);
            match self.unrest(before) {
                None if self.summary.acts == acts => return Ok(()),
                _ if excused && left > 0 => {}
                Some(why) => return Err(format!("at rest: {why}")),
                None => return Err("an act at rest".to_owned()),
            }
        }
    }

    /// What is missing of rest. Where too many brokers stay dead and only a person may let healing go on, nobody does.
    fn unrest(&self, before: &Before) -> Option<String> {
        let by_itself = self.driver.config().guard.mass_failure_grace.is_some();
        before.unrest(&self.driver, self.plan.is_mass_failure && !by_itself)
    }

    fn order(&mut self, what: OrderKind) {
        self.driver.order(Order { by: "ann".to_owned(), reason: "because".to_owned(), what });
    }

    /// Somebody who does not want any of it cancels our moves as soon as there are some.
    fn lose_patience(&mut self) {
        let mut moves = self.driver.memory().executions.iter().flat_map(|execution| execution.moves());
        if self.plan.cancels > 0 && moves.any(|m| matches!(m.phase, MovePhase::Copying { .. })) {
            self.plan.cancels -= 1;
            self.order(OrderKind::Cancel { execution: None });
        }
    }

    /// Lets time go by, and looks whether all has gone as it must.
    fn run(&mut self, time: Duration) -> Result<(), String> {
        let mut left = time;
        while !left.is_zero() {
            // People are quick where they wait for something.
            let piece = left.min(Duration::from_secs(if self.plan.cancels > 0 { 7 } else { 60 }));
            left -= piece;
            let ran = self.driver.run(piece).map_err(|why| why.to_string());
            self.tell();
            ran?;
            if let Some(wrong) = self.driver.take_wrongs().into_iter().next() {
                return Err(wrong);
            }
            self.check_history()?;
            self.lose_patience();
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
                // An order of anybody's loses nothing, whatever else happens in the incident.
                Happening::DataLost { wiped, .. } if !wiped || !self.plan.replaces() => {
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

    #[test]
    fn the_last_seed_of_all_is_not_followed_by_the_first() {
        let (totals, _) = super::run_all(u64::MAX - 1..u64::MAX, usize::MAX);
        assert_eq!(totals.incidents, 1);
    }
}
