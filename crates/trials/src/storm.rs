//! Incidents at random against the simulator.

use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;

use crate::mutations;

/// Live through incidents at random, and say which of them bring something about that must not be.
#[derive(Args, Debug)]
pub(crate) struct Storm {
    /// How many incidents: 100 unless told; with `--mutations`, at most how many for each of them: 2,000 unless told.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// The seed of the first; each further one has the next.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// End after so many failures.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    most_failures: Option<u64>,
    /// Put known bugs into a copy of the sources, one after the other, and see whether the storm finds each.
    #[arg(long, conflicts_with = "most_failures")]
    mutations: bool,
}

/// Only so many failures are told in full.
const TOLD: usize = 3;
/// How many incidents there are unless told.
const USUAL: u64 = 100;
/// How many there are for a bug that none of them shows.
const MOST_FOR_A_BUG: u64 = 2_000;

impl Storm {
    /// The seeds, unless there are not as many.
    fn range(&self) -> Result<Range<u64>> {
        let count = self.seeds.unwrap_or(if self.mutations { MOST_FOR_A_BUG } else { USUAL });
        let end = self.first_seed.checked_add(count);
        let end = end.with_context(|| {
            let left = u64::MAX - self.first_seed;
            format!("--seeds {count}: from seed {} on there are only {left} seeds", self.first_seed)
        })?;
        Ok(self.first_seed..end)
    }

    pub(crate) fn run(&self) -> Result<ExitCode> {
        let seeds = self.range()?;
        if self.mutations {
            return mutations::run(seeds.start, seeds.end - seeds.start);
        }
        let began = Instant::now();
        let most = self.most_failures.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
        let (totals, failures) = sim::storm::run_all(seeds, most);
        for failure in failures.iter().take(TOLD) {
            println!("{failure}");
        }
        for failure in &failures {
            println!("{}: cargo xtask storm --seeds 1 --first-seed {}", failure.why, failure.seed);
        }
        let (acts, cycles, took) = (totals.acts, totals.cycles, began.elapsed().as_secs_f64());
        println!(
            "{} incidents, {} failed: {acts} acts, {cycles} looks, {took:.1} s",
            totals.incidents,
            failures.len()
        );
        Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        _storm: Storm,
    }

    #[test]
    fn a_storm_that_proves_nothing_is_an_error() {
        for option in ["--seeds", "--most-failures"] {
            let error = Line::try_parse_from(["storm", option, "0"]).unwrap_err().to_string();
            assert!(error.contains("0 is not in 1.."), "{error}");
            assert!(Line::try_parse_from(["storm", option, "1"]).is_ok());
        }
    }

    #[test]
    fn more_seeds_than_there_are_is_an_error() {
        let storm = |first_seed, seeds| Storm {
            seeds: Some(seeds),
            first_seed,
            most_failures: None,
            mutations: false,
        };
        assert_eq!(storm(u64::MAX - 1, 1).range().unwrap(), u64::MAX - 1..u64::MAX);
        let why = storm(u64::MAX, 100).range().unwrap_err().to_string();
        assert_eq!(why, "--seeds 100: from seed 18446744073709551615 on there are only 0 seeds");
    }
}
