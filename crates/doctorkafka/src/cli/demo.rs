//! `doctorkafka demo`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{block_on, fail};
use crate::demo::{Demo as Shown, DemoError, STORY};
use crate::plugin::PluginRegistry;
use crate::store::in_words;

/// Brokers of the usual cluster.
const BROKERS: u32 = 12;

/// A scenario with a line for each partition of a large cluster is smaller. What is larger may have no end.
const LARGEST: u64 = 16 << 20;

/// Show the service at work on a simulated cluster: brokers die, a firewall closes, a disk fills, a rack loses power.
///
/// Needs no Kafka, touches nothing and leaves nothing behind. Ends by itself, with the usual story at its usual speed
/// within a minute; Ctrl-C ends it at once.
#[derive(Args, Debug)]
pub(super) struct Demo {
    /// What is left to chance follows from it.
    #[arg(long, default_value_t = 1, value_name = "NUMBER", allow_negative_numbers = true)]
    seed: u64,
    /// How much faster than yours the cluster's time runs: 1 to 20 times.
    #[arg(long, default_value_t = 5, value_name = "FACTOR", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=20))]
    speed: u32,
    /// How many brokers it has, in three racks: 4 to 60 [default: 12].
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(4..=60))]
    brokers: Option<u32>,
    /// What happens, instead of the usual story: lines such as `at 30s kill b3` or `at 1m isolate b1 from us for 20s`, and
    /// a cluster of its own if the file has lines such as `b1 rack=r1` and `t-0: 1* 2 3`.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Go on when the story is over.
    #[arg(long)]
    keep_going: bool,
}

impl Demo {
    pub(super) fn run(self, registry: &PluginRegistry) -> ExitCode {
        let (name, file) = match &self.scenario {
            None => ("the story".to_owned(), STORY.as_bytes().to_vec()),
            Some(path) => match read(path) {
                Ok(file) => (path.display().to_string(), file),
                Err(error) => return fail(&format!("cannot read {}: {error}", path.display())),
            },
        };
        let brokers = self.brokers.unwrap_or(BROKERS);
        let scenario = match Shown::read(&file, brokers, self.seed) {
            Ok(scenario) => scenario,
            Err(error) => return fail(&format!("{name}: {error}")),
        };
        if self.brokers.is_some() && !scenario.cluster.brokers.is_empty() {
            return fail(&format!("--brokers: {name} has a cluster of its own"));
        }
        let Self { seed, speed, keep_going, .. } = self;
        let demo = Shown { seed, speed, brokers, scenario, keep_going };
        block_on(async {
            match demo.show(registry).await {
                Ok(()) => ExitCode::SUCCESS,
                // Whoever read what it tells has gone: that is how `head` ends things.
                Err(DemoError::Terminal(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                    ExitCode::SUCCESS
                }
                Err(error) => fail(&in_words(&error)),
            }
        })
    }
}

/// The bytes of a file, unless there are far too many of them.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        let why = format!("it has more than {} MiB, as no scenario has", LARGEST >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}
