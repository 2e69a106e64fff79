//! `doctorkafka demo`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{block_on, fail};
use crate::demo::{Demo as Shown, STORY};
use crate::plugin::PluginRegistry;
use crate::store::in_words;

/// Show the service at work on a simulated cluster: brokers die, a firewall closes, a disk fills, a rack loses power.
///
/// Needs no Kafka, touches nothing and leaves nothing behind. Ends by itself within a minute; Ctrl-C ends it at once.
#[derive(Args, Debug)]
pub(super) struct Demo {
    /// What is left to chance follows from it.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
    /// How much faster than yours the cluster's time runs.
    #[arg(long, default_value_t = 5, value_name = "FACTOR", value_parser = clap::value_parser!(u32).range(1..=20))]
    speed: u32,
    /// How many brokers it has, in three racks.
    #[arg(long, default_value_t = 12, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(4..=60))]
    brokers: u32,
    /// What happens, instead of the usual story: lines such as `at 30s kill b3` or `at 1m isolate b1 from us for 20s`.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Go on when the story is over.
    #[arg(long)]
    keep_going: bool,
}

impl Demo {
    pub(super) fn run(self, registry: &PluginRegistry) -> ExitCode {
        let (name, text) = match &self.scenario {
            None => ("the story".to_owned(), STORY.to_owned()),
            Some(file) => match std::fs::read_to_string(file) {
                Ok(text) => (file.display().to_string(), text),
                Err(error) => return fail(&format!("cannot read {}: {error}", file.display())),
            },
        };
        let story = match text.parse() {
            Ok(story) => story,
            Err(error) => return fail(&format!("{name}: {error}")),
        };
        let (seed, speed, brokers, keep_going) = (self.seed, self.speed, self.brokers, self.keep_going);
        let demo = Shown { seed, speed, brokers, story, keep_going };
        block_on(async {
            match demo.show(registry).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(&in_words(&error)),
            }
        })
    }
}
