//! Raw Avro binary to and from the types.
//!
//! The bytes of a record are the bytes of its fields, one after the other. So a record is read in steps: the
//! original's fields, then, if any byte is left, the appended ones, version by version; what is left after those belongs to
//! a newer version and is not looked at.
//!
//! Bounds: every string is checked against what is left of the input before it is copied, lists grow by the elements
//! really read, and no element type is empty (the smallest takes two bytes), so the memory of a decoded record is a
//! small multiple of its input however much its counts claim.

use std::io::BufRead;

use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_avro_fast::Schema;
use serde_avro_fast::de::{DeError, DeserializerConfig, DeserializerState, read::SliceRead};
use serde_avro_fast::ser::{SerError, SerializerConfig};

use crate::stats::Quality;
use crate::{BrokerStats, OperatorAction};

/// The schemas as JSON text, for those who want to publish them or give them to another Avro implementation.
pub mod schemas {
    /// BrokerStats as this crate writes it.
    pub const BROKER_STATS: &str = include_str!("../schema/BrokerStats.avsc");
    /// BrokerStats as the original writes it: the front of ours.
    pub const BROKER_STATS_ORIGINAL: &str = include_str!("../schema/BrokerStats.original.avsc");
    /// What version 1 of BrokerStats has behind the original's fields, as a record of its own.
    pub const BROKER_STATS_APPENDED: &str = include_str!("../schema/BrokerStats.appended.avsc");
    /// What version 2 has behind that, as a record of its own.
    pub const BROKER_STATS_APPENDED_2: &str = include_str!("../schema/BrokerStats.appended2.avsc");
    /// OperatorAction as this crate writes it.
    pub const OPERATOR_ACTION: &str = include_str!("../schema/OperatorAction.avsc");
    /// OperatorAction as the original writes it: the front of ours.
    pub const OPERATOR_ACTION_ORIGINAL: &str = include_str!("../schema/OperatorAction.original.avsc");
    /// The rest of OperatorAction as a record of its own.
    pub const OPERATOR_ACTION_APPENDED: &str = include_str!("../schema/OperatorAction.appended.avsc");
}

/// What [`Codec`] was doing when it failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading a schema of our own; a fault of this crate.
    #[error("schema {name} cannot be read")]
    Schema {
        /// Name of the schema.
        name: &'static str,
        /// Why.
        source: SchemaSource,
    },
    /// Writing a record.
    #[error("{record} cannot be encoded")]
    Encode {
        /// Type of the record.
        record: &'static str,
        /// Why.
        source: SerError,
    },
    /// Reading a record. The bytes are not such a record, or end inside it.
    #[error("{part} of {record} cannot be decoded")]
    Decode {
        /// Type of the record.
        record: &'static str,
        /// Which fields.
        part: &'static str,
        /// Why.
        source: DeError,
    },
}

/// Why a schema could not be read.
pub type SchemaSource = serde_avro_fast::schema::SchemaError;

/// Writes BrokerStats and no more: what an agent needs of a [`Codec`], in a part of its memory. It can be shared between
/// threads.
#[derive(Debug)]
pub struct StatsWriter {
    whole: Schema,
}

impl StatsWriter {
    /// Parses the schema.
    ///
    /// # Errors
    /// [`Error::Schema`], which would be a fault of this crate.
    pub fn new() -> Result<StatsWriter, Error> {
        Ok(StatsWriter { whole: parse(BROKER_STATS, schemas::BROKER_STATS)? })
    }

    /// BrokerStats to bytes, as [`Codec::encode_stats`] writes them.
    ///
    /// # Errors
    /// [`Error::Encode`] if a list is longer than Avro can say.
    pub fn encode(&self, stats: &BrokerStats) -> Result<Vec<u8>, Error> {
        encode(BROKER_STATS, &self.whole, stats)
    }
}

const BROKER_STATS: &str = "BrokerStats";

fn encode<T: Serialize>(record: &'static str, schema: &Schema, value: &T) -> Result<Vec<u8>, Error> {
    serde_avro_fast::to_datum_vec(value, &mut SerializerConfig::new(schema))
        .map_err(|source| Error::Encode { record, source })
}

/// Reads and writes records. Holds the parsed schemas: make one and keep it. It can be shared between threads.
#[derive(Debug)]
pub struct Codec {
    stats: Layout,
    stats_2: Schema,
    action: Layout,
}

#[derive(Debug)]
struct Layout {
    record: &'static str,
    whole: Schema,
    original: Schema,
    appended: Schema,
}

impl Codec {
    /// Parses the schemas.
    ///
    /// # Errors
    /// [`Error::Schema`], which would be a fault of this crate.
    pub fn new() -> Result<Codec, Error> {
        Ok(Codec {
            stats: Layout {
                record: BROKER_STATS,
                whole: parse(BROKER_STATS, schemas::BROKER_STATS)?,
                original: parse("BrokerStats.original", schemas::BROKER_STATS_ORIGINAL)?,
                appended: parse("BrokerStats.appended", schemas::BROKER_STATS_APPENDED)?,
            },
            stats_2: parse("BrokerStats.appended2", schemas::BROKER_STATS_APPENDED_2)?,
            action: Layout {
                record: "OperatorAction",
                whole: parse("OperatorAction", schemas::OPERATOR_ACTION)?,
                original: parse("OperatorAction.original", schemas::OPERATOR_ACTION_ORIGINAL)?,
                appended: parse("OperatorAction.appended", schemas::OPERATOR_ACTION_APPENDED)?,
            },
        })
    }

    /// BrokerStats to bytes.
    ///
    /// # Errors
    /// [`Error::Encode`] if a list is longer than Avro can say.
    pub fn encode_stats(&self, stats: &BrokerStats) -> Result<Vec<u8>, Error> {
        self.stats.encode(stats)
    }

    /// Bytes to BrokerStats: the original's, ours, or a newer version's.
    ///
    /// # Errors
    /// [`Error::Decode`] if the bytes are not such a record.
    pub fn decode_stats(&self, bytes: &[u8]) -> Result<BrokerStats, Error> {
        let (mut stats, rest) =
            self.stats.decode::<BrokerStats>(&self.stats.original, ORIGINAL_FIELDS, bytes)?;
        if rest.is_empty() {
            return Ok(stats);
        }
        let (appended, rest) =
            self.stats.decode::<StatsAppended>(&self.stats.appended, APPENDED_FIELDS, rest)?;
        appended.put_into(&mut stats);
        if stats.schema_version >= 2 {
            let (appended, _newer) =
                self.stats.decode::<StatsAppended2>(&self.stats_2, APPENDED_2_FIELDS, rest)?;
            appended.put_into(&mut stats);
        }
        Ok(stats)
    }

    /// OperatorAction to bytes.
    ///
    /// # Errors
    /// [`Error::Encode`] if a string is longer than Avro can say.
    pub fn encode_action(&self, action: &OperatorAction) -> Result<Vec<u8>, Error> {
        self.action.encode(action)
    }

    /// Bytes to OperatorAction: the original's, ours, or a newer version's.
    ///
    /// # Errors
    /// [`Error::Decode`] if the bytes are not such a record.
    pub fn decode_action(&self, bytes: &[u8]) -> Result<OperatorAction, Error> {
        let (front, rest) =
            self.action.decode::<OperatorAction>(&self.action.original, ORIGINAL_FIELDS, bytes)?;
        if rest.is_empty() {
            return Ok(front);
        }
        let (back, _newer) =
            self.action.decode::<OperatorAction>(&self.action.appended, APPENDED_FIELDS, rest)?;
        Ok(OperatorAction {
            timestamp: front.timestamp,
            cluster_name: front.cluster_name,
            description: front.description,
            ..back
        })
    }
}

const ORIGINAL_FIELDS: &str = "the original's fields";
const APPENDED_FIELDS: &str = "the appended fields";
const APPENDED_2_FIELDS: &str = "the fields of version 2";

impl Layout {
    fn encode<T: Serialize>(&self, value: &T) -> Result<Vec<u8>, Error> {
        encode(self.record, &self.whole, value)
    }

    fn decode<'b, T: Deserialize<'b>>(
        &self,
        schema: &Schema,
        part: &'static str,
        bytes: &'b [u8],
    ) -> Result<(T, &'b [u8]), Error> {
        let failed = |source| Error::Decode { record: self.record, part, source };
        let mut config = DeserializerConfig::new(schema);
        // No list can have more elements than there are bytes.
        config.max_seq_size = bytes.len();
        let mut state = DeserializerState::with_config(SliceRead::new(bytes), config);
        let value = T::deserialize(state.deserializer()).map_err(failed)?;
        let mut reader = state.into_reader();
        let left = reader.fill_buf().map_err(|error| failed(DeError::custom(error)))?.len();
        Ok((value, &bytes[bytes.len() - left..]))
    }
}

fn parse(name: &'static str, text: &str) -> Result<Schema, Error> {
    text.parse().map_err(|source| Error::Schema { name, source })
}

/// The appended fields of BrokerStats, as they are read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatsAppended {
    schema_version: i32,
    cluster_id: Option<String>,
    failure_detail: Option<String>,
    interval_ms: i64,
    reports_dropped: i64,
    leader_bytes_in: Vec<i64>,
    leader_bytes_in_quality: Vec<Quality>,
    leader_bytes_out_quality: Vec<Quality>,
    leader_messages_in: Vec<i64>,
    leader_log_dir: Vec<i32>,
    follower_log_size_in_bytes: Vec<i64>,
    follower_log_dir: Vec<i32>,
    log_dirs: Vec<String>,
    log_dir_total_bytes: Vec<i64>,
    log_dir_usable_bytes: Vec<i64>,
    log_dir_errors: Vec<i32>,
}

impl StatsAppended {
    fn put_into(self, stats: &mut BrokerStats) {
        stats.schema_version = self.schema_version;
        stats.cluster_id = self.cluster_id;
        stats.failure_detail = self.failure_detail;
        stats.interval_ms = self.interval_ms;
        stats.reports_dropped = self.reports_dropped;
        stats.leader_bytes_in = self.leader_bytes_in;
        stats.leader_bytes_in_quality = self.leader_bytes_in_quality;
        stats.leader_bytes_out_quality = self.leader_bytes_out_quality;
        stats.leader_messages_in = self.leader_messages_in;
        stats.leader_log_dir = self.leader_log_dir;
        stats.follower_log_size_in_bytes = self.follower_log_size_in_bytes;
        stats.follower_log_dir = self.follower_log_dir;
        stats.log_dirs = self.log_dirs;
        stats.log_dir_total_bytes = self.log_dir_total_bytes;
        stats.log_dir_usable_bytes = self.log_dir_usable_bytes;
        stats.log_dir_errors = self.log_dir_errors;
    }
}

/// What version 2 has behind the fields of version 1, as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatsAppended2 {
    jvm_source: Option<String>,
    broker_state: i32,
    logs_to_recover: i64,
    request_handler_idle_percent: f64,
    network_processor_idle_percent: f64,
    request_queue_size: i64,
    under_replicated_partitions: i32,
    process_cpu_percent: f64,
    host_cpu_percent: f64,
    cpu_limit: f64,
    process_memory_bytes: i64,
    host_memory_total_bytes: i64,
    host_memory_available_bytes: i64,
    log_dir_read_bytes_per_sec: Vec<i64>,
    log_dir_write_bytes_per_sec: Vec<i64>,
    log_dir_busy_percent: Vec<f64>,
}

impl StatsAppended2 {
    fn put_into(self, stats: &mut BrokerStats) {
        stats.jvm_source = self.jvm_source;
        stats.broker_state = self.broker_state;
        stats.logs_to_recover = self.logs_to_recover;
        stats.request_handler_idle_percent = self.request_handler_idle_percent;
        stats.network_processor_idle_percent = self.network_processor_idle_percent;
        stats.request_queue_size = self.request_queue_size;
        stats.under_replicated_partitions = self.under_replicated_partitions;
        stats.process_cpu_percent = self.process_cpu_percent;
        stats.host_cpu_percent = self.host_cpu_percent;
        stats.cpu_limit = self.cpu_limit;
        stats.process_memory_bytes = self.process_memory_bytes;
        stats.host_memory_total_bytes = self.host_memory_total_bytes;
        stats.host_memory_available_bytes = self.host_memory_available_bytes;
        stats.log_dir_read_bytes_per_sec = self.log_dir_read_bytes_per_sec;
        stats.log_dir_write_bytes_per_sec = self.log_dir_write_bytes_per_sec;
        stats.log_dir_busy_percent = self.log_dir_busy_percent;
    }
}
