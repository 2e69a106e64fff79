//! What agent and service exchange: [`BrokerStats`] and [`OperatorAction`], in Avro.
//!
//! Both travel as *raw Avro binary*: no container, no schema id, nothing in front and nothing behind. Such
//! bytes can be read only by someone who knows the schema, so a schema may grow in one way alone: by fields
//! appended to the **top-level record**. A reader of the older schema then stops early and is content; a field
//! put anywhere else (into [`ReplicaStat`], say) would shift every byte after it. That is why figures of ours that
//! belong to a replica or a log directory are arrays parallel to the list they describe.
//!
//! * The front of each record is the original DoctorKafka's, field by field
//!   (`schema/BrokerStats.original.avsc`, `schema/OperatorAction.original.avsc`).
//! * What follows is ours (`*.appended.avsc`, then `*.appended2.avsc`), led by `schemaVersion`. It is also named in a record header,
//!   [`VERSION_HEADER`], for readers that want to know before they decode.
//! * [`Codec`] reads the original's bytes (what is appended gets its defaults), ours, and those of newer versions
//!   (whatever is behind what it knows is left alone).
//!
//! The serde form of the types has the field names of the Avro schema; it is the JSON form too.

mod action;
mod codec;
mod stats;
mod text;

pub use action::{ActionLine, OperatorAction};
pub use codec::{Codec, Error, SchemaSource, StatsWriter, schemas};
pub use stats::{BrokerError, BrokerStats, Leader, LogDir, Quality, ReplicaStat, TopicPartition};

/// Version of the appended fields of [`BrokerStats`] that this crate writes. 2 has the states of the JVM and the figures of
/// the host.
pub const SCHEMA_VERSION: i32 = 2;

/// Version of the appended fields of [`OperatorAction`] that this crate writes.
pub const ACTION_SCHEMA_VERSION: i32 = 1;

/// Record header that carries the version of the appended fields as a decimal number in ASCII.
/// Records of the original have no such header.
pub const VERSION_HEADER: &str = "schema-version";

/// A count, size or rate that is not known.
pub const NOT_KNOWN: i64 = -1;

/// A part or percentage that is not known.
pub const UNKNOWN_SHARE: f64 = -1.0;
