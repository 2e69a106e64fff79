//! The service that keeps Apache Kafka clusters healthy.

use std::process::ExitCode;

fn main() -> ExitCode {
    doctorkafka::cli::main(doctorkafka::plugins::builtin())
}
