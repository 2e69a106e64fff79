//! Real Apache Kafka for tests and development.
//!
//! [`Cluster`] starts Kafka's own jars (resolved once through Maven into `target/lab/`) as plain child
//! processes on loopback ports, and lets a test kill, pause, stop, wipe and restart single brokers, run
//! Kafka's own tools, and prove with [`Traffic`] that no acknowledged record was lost.
//!
//! ```no_run
//! use lab::{Cluster, Mode, Version};
//!
//! fn main() -> anyhow::Result<()> {
//!     let cluster = Cluster::builder()
//!         .version(Version::V4_3)
//!         .mode(Mode::KraftIsolated)
//!         .brokers(4)
//!         .racks(2)
//!         .start()?;
//!     cluster.create_topic("orders", 60, 3)?;
//!     cluster.kill(2)?;
//!     println!("{}", cluster.under_replicated()?);
//!     Ok(())
//! }
//! ```
//!
//! Everything is blocking: call it from async code directly in a test or through `spawn_blocking`.
//! Processes and files go when the [`Cluster`] is dropped, and also when its owner dies without running
//! any destructor (see the `guard` module). Linux only: it reads `/proc`.

mod builder;
mod cluster;
mod cut;
mod disk;
mod ensemble;
mod guard;
mod held;
mod jars;
mod launch;
mod mail;
mod monitors;
mod node;
mod ports;
mod properties;
mod security;
mod tokens;
mod tools;
mod traffic;
mod version;
mod view;

pub use builder::Builder;
pub use cluster::{CONTROLLER, Cluster, ZOOKEEPER};
pub use cut::Cut;
pub use ensemble::Ensemble;
pub use held::{Heap, Held};
pub use jars::{Kit, avro_class_path, home, java_tool, tiered_storage_jar};
pub use krafka::Compression;
pub use krafka::admin::ConfigResource;
pub use mail::{MailOptions, MailServer, MailTls};
pub use monitors::Monitor;
pub use security::{Identity, Security, certificates};
pub use tools::ToolOutput;
pub use traffic::{Traffic, TrafficConfig, TrafficReport};
pub use version::{Mode, Version};
pub use view::{ConfigChange, Partition, Reassignment, wait_for};
