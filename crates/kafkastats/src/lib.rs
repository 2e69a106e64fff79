//! The agent that measures a Kafka broker and publishes BrokerStats, from the Kafka protocol alone.
//!
//! Reading order: [`view`] (what is read of a broker), [`measure`] (how BrokerStats is made of it, a pure function).

pub mod measure;
pub mod rates;
pub mod view;
mod volumes;
