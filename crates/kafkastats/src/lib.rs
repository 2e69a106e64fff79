//! The agent that measures a Kafka broker and publishes BrokerStats: from the Kafka protocol, and what that does not tell
//! from the broker's host and JVM, if there is a way to them.
//!
//! Reading order: [`view`] (what is read of a broker), [`measure`] (how BrokerStats is made of it, a pure function),
//! [`host`] (what the host knows), [`jvm`] (what only the JVM knows),
//! then the shell: [`gather`] (reads a view), [`memory`] (whom to ask after a restart), [`publish`] (sends reports), [`agent`] (does
//! all of it again and again), [`status`] and [`listen`] (what it says of itself), [`settings`] (its file), [`cli`].

pub mod agent;
pub mod cli;
pub mod gather;
pub mod host;
pub mod jvm;
pub mod listen;
pub mod measure;
pub mod memory;
pub mod publish;
pub mod rates;
pub mod settings;
pub mod status;
pub mod view;
mod volumes;
