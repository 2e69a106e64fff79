//! End to end: the service's binary against real Apache Kafka, with faults.
//!
//! Each test says in its name what an operator can rely on. They share two cores with the brokers that they start, so
//! they are meant to run one at a time (`--test-threads=1`, as `cargo xtask test` does).

mod agents;
// The suite that every store must pass.
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]
#[path = "../../src/store/conformance.rs"]
mod conformance;
mod crash;
mod degraded;
mod ensemble;
mod harness;
mod heal;
mod instances;
mod mass_failure;
mod messages;
mod never_replaced;
mod no_act;
mod others;
mod plan;
mod plugins;
mod replace;
mod script_faults;
mod store_outage;
mod stores;
mod wrong_start;
mod zookeeper;

// For the suite.
use doctorkafka::store::{StateStore, StoreError, Version};
