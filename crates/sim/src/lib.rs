//! A Kafka cluster on virtual time behind the traits of a real one.
//!
//! A [`World`] is made from a text and a seed; faults come over it as a [`Schedule`] says. [`Access`] stands for a
//! client's connections and implements the traits of crate `cluster`, so that whoever speaks through them cannot tell
//! the world from a real cluster. [`driver`] runs a `control::Core` against it, thousands of cycles a second. The same
//! seed brings the same history.
//!
//! Reading order: [`settings`], [`fault`], [`scenario`], [`world`], [`access`], [`driver`], [`storm`].

pub mod settings;

pub mod fault;

pub mod scenario;

pub mod world;

pub mod access;

pub mod driver;

pub mod storm;

mod random;
mod time;

pub use access::{Access, SharedWorld};
pub use driver::{Driver, DriverConfig};
pub use fault::{Fault, Schedule};
pub use random::Random;
pub use scenario::Scenario;
pub use settings::{Rules, Settings};
pub use time::Moment;
pub use world::{Shape, World};
