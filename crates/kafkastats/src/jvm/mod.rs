//! What only the broker's JVM knows: bytes out, idle times, the state of the broker.
//!
//! Kafka publishes it as MBeans. They are read over JMX, from a Prometheus endpoint of an exporter, or through Jolokia;
//! all of these give [`Readings`], and only [`readings`] knows which MBeans are wanted.

mod bytes_out;
pub mod exposition;
pub mod figures;
pub mod http;
pub mod identity;
pub mod jolokia;
mod local;
pub mod names;
pub mod options;
pub mod over_jmx;
pub mod prometheus;
pub mod readings;
pub mod source;

pub use figures::Figures;
pub use identity::Identity;
pub use readings::{Attribute, Metric, Readings, Scope};
pub use source::{Found, Outcome, Source, Way};
