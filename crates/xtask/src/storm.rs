//! `cargo xtask storm`: incidents at random against the simulator.

use std::num::NonZero;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::Result;
use clap::Args;

/// Live through incidents at random, and say which of them bring something about that must not be.
#[derive(Args, Debug)]
pub(crate) struct Storm {
    /// How many incidents.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The seed of the first; each further one has the next.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
}

/// Only so many failures are told in full.
const TOLD: usize = 3;

impl Storm {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let next = AtomicU64::new(self.first_seed);
        let end = self.first_seed.saturating_add(self.seeds);
        let failures = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= end {
                            return;
                        }
                        if let Err(failure) = sim::storm::run(seed) {
                            failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
                        }
                    }
                });
            }
        });
        let mut failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        failures.sort_by_key(|failure| failure.seed);
        for failure in failures.iter().take(TOLD) {
            println!("{failure}");
        }
        for failure in &failures {
            println!("{}: cargo xtask storm --seeds 1 --first-seed {}", failure.why, failure.seed);
        }
        println!("{} incidents, {} failed", self.seeds, failures.len());
        Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
