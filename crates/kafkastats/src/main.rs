//! The agent that measures a Kafka broker.

fn main() {}
