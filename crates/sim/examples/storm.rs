//! Lives through incidents at random until one fails: `storm FIRST COUNT`. `cargo xtask storm` tells more; this is what
//! it builds of sources into which it has put a bug.

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut numbers = env::args().skip(1).map(|word| word.parse::<u64>());
    let (Some(Ok(first)), Some(Ok(count))) = (numbers.next(), numbers.next()) else {
        eprintln!("storm FIRST COUNT");
        return ExitCode::from(2);
    };
    let (totals, failures) = sim::storm::run_all(first..first.saturating_add(count), 1);
    match failures.first() {
        Some(failure) => {
            println!("seed {}: {}", failure.seed, failure.why);
            ExitCode::FAILURE
        }
        None => {
            println!("{} incidents, none failed", totals.incidents);
            ExitCode::SUCCESS
        }
    }
}
