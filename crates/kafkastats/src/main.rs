//! The agent that measures a Kafka broker.

use std::process::ExitCode;

fn main() -> ExitCode {
    kafkastats::cli::main()
}
