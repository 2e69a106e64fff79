//! The core, seen from outside: small clusters in text, effects in text.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod by_hand;
mod config;
mod elections;
mod executions;
mod foreign;
mod guard;
mod healing;
mod held_up;
mod maintenance;
mod messages;
mod plugins;
mod properties;
mod replacing;
mod resolved;
mod throttles;
mod told;
mod world;
