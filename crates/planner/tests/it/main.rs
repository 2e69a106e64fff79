//! What the planner does, told in a small notation, and the laws it keeps.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test fails by panicking, and its helpers are nobody's interface"
)]

mod balance;
mod feasible;
mod heal;
mod laws;
mod mutations;
mod notation;
mod problems;
mod random;
