//! The service that keeps Apache Kafka clusters healthy.

fn main() {}
