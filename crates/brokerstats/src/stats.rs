//! BrokerStats: one broker's statistics at one time.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{NOT_KNOWN, SCHEMA_VERSION, UNKNOWN_SHARE};

/// What keeps an agent from a full report. The list is closed: a symbol more would be unreadable for the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum BrokerError {
    /// A log directory is missing or failed.
    DiskFailure,
    /// The broker could not be asked. The original names JMX; ours says the same of the Kafka protocol.
    JmxConnectionFailure,
    /// The broker was asked and did not give a usable answer.
    JmxQueryFailure,
    /// The broker's configuration could not be read. The spelling in Avro is the original's.
    #[serde(rename = "KafkaServerProperitiesFailure")]
    KafkaServerPropertiesFailure,
    /// No broker process was found.
    MissingKafkaProcess,
    /// Several broker processes were found and none of them could be told to be the one.
    MultipleKafkaProcesses,
    /// Anything else.
    UnknownError,
}

/// How a figure was got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// There is no figure.
    #[default]
    Unknown,
    /// Derived by a stated rule.
    Estimated,
    /// Counted.
    Exact,
}

/// A partition by topic name and number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct TopicPartition {
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
}

/// One replica that the broker leads. Rates are bytes a second.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaStat {
    /// When the figures were taken, in milliseconds since the epoch.
    pub timestamp: i64,
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// Whether the broker leads the partition.
    pub is_leader: bool,
    /// Whether the partition is being reassigned.
    pub in_reassignment: bool,
    /// Whether fewer replicas are in sync than there should be.
    pub under_replicated: bool,
    /// Bytes produced a second, over one minute.
    pub bytes_in_1_min_mean_rate: i64,
    /// Bytes produced a second, over five minutes.
    pub bytes_in_5_min_mean_rate: i64,
    /// Bytes produced a second, over fifteen minutes.
    pub bytes_in_15_min_mean_rate: i64,
    /// Bytes consumed a second, over one minute.
    pub bytes_out_1_min_mean_rate: i64,
    /// Bytes consumed a second, over five minutes.
    pub bytes_out_5_min_mean_rate: i64,
    /// Bytes consumed a second, over fifteen minutes.
    pub bytes_out_15_min_mean_rate: i64,
    /// First offset in the log.
    pub start_offset: i64,
    /// Offset after the last one.
    pub end_offset: i64,
    /// The replica's share of the broker's CPU, in percent.
    pub cpu_usage: f64,
    /// Bytes of the log on disk.
    pub log_size_in_bytes: i64,
    /// Segments of the log; 0 where nobody counts them.
    pub num_log_segments: i32,
}

/// One broker's statistics at one time. `-1` is "not known" for every count, size, rate and
/// percentage, with the exception of `cpu_usage`, which the original leaves at 0.
///
/// An absent list and an empty one mean the same: Avro's null is read as empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerStats {
    /// When the report was made, in milliseconds since the epoch.
    pub timestamp: i64,
    /// Broker id; -1 when not known.
    pub id: i32,
    /// Host name of the broker. The original's service drops records without one.
    pub name: Option<String>,
    /// The cluster's `zookeeper.connect`, by which the original tells clusters apart.
    pub zk_url: Option<String>,
    /// Version of Kafka.
    pub kafka_version: Option<String>,
    /// Version of the agent.
    pub stats_version: Option<String>,
    /// Whether something kept the agent from a full report.
    pub has_failure: bool,
    /// What it was.
    pub failure_reason: Option<BrokerError>,
    /// Availability zone of the host.
    pub availability_zone: Option<String>,
    /// Type of the host.
    pub instance_type: Option<String>,
    /// Image of the host.
    pub ami_id: Option<String>,
    /// Kafka's `broker.rack`.
    pub rack_id: Option<String>,
    /// The log directories, joined by commas.
    pub log_files_path: Option<String>,
    /// CPU of the broker process, in percent.
    pub cpu_usage: f64,
    /// Usable bytes of all log volumes together.
    pub free_disk_space_in_bytes: i64,
    /// Bytes of all log volumes together.
    pub total_disk_space_in_bytes: i64,
    /// Bytes produced a second to all led replicas, over one minute.
    pub leaders_bytes_in_1_min_rate: i64,
    /// Bytes consumed a second from all led replicas, over one minute.
    pub leaders_bytes_out_1_min_rate: i64,
    /// As above, over five minutes.
    pub leaders_bytes_in_5_min_rate: i64,
    /// As above, over five minutes.
    pub leaders_bytes_out_5_min_rate: i64,
    /// As above, over fifteen minutes.
    pub leaders_bytes_in_15_min_rate: i64,
    /// As above, over fifteen minutes.
    pub leaders_bytes_out_15_min_rate: i64,
    /// Bytes received a second by the host; -1 when not measured.
    pub sys_bytes_in_1_min_rate: i64,
    /// Bytes sent a second by the host; -1 when not measured.
    pub sys_bytes_out_1_min_rate: i64,
    /// Replicas on the broker, led or not.
    pub num_replicas: i32,
    /// Replicas that the broker leads.
    pub num_leaders: i32,
    /// Bytes produced a second by topic, led replicas only, over one minute.
    #[serde(deserialize_with = "null_as_empty")]
    pub topics_bytes_in_1_min_rate: BTreeMap<String, i64>,
    /// Bytes consumed a second by topic, led replicas only, over one minute.
    #[serde(deserialize_with = "null_as_empty")]
    pub topics_bytes_out_1_min_rate: BTreeMap<String, i64>,
    /// As above, over five minutes.
    #[serde(deserialize_with = "null_as_empty")]
    pub topics_bytes_in_5_min_rate: BTreeMap<String, i64>,
    /// As above, over five minutes.
    #[serde(deserialize_with = "null_as_empty")]
    pub topics_bytes_out_5_min_rate: BTreeMap<String, i64>,
    /// As above, over fifteen minutes.
    #[serde(deserialize_with = "null_as_empty")]
    pub topics_bytes_in_15_min_rate: BTreeMap<String, i64>,
    /// As above, over fifteen minutes.
    #[serde(deserialize_with = "null_as_empty")]
    pub topics_bytes_out_15_min_rate: BTreeMap<String, i64>,
    /// Figures of each replica that the broker leads.
    #[serde(deserialize_with = "null_as_empty")]
    pub leader_replica_stats: Vec<ReplicaStat>,
    /// The replicas that the broker leads.
    #[serde(deserialize_with = "null_as_empty")]
    pub leader_replicas: Vec<TopicPartition>,
    /// The replicas that the broker follows.
    #[serde(deserialize_with = "null_as_empty")]
    pub follower_replicas: Vec<TopicPartition>,
    /// The replicas of the broker whose partition is being reassigned.
    #[serde(deserialize_with = "null_as_empty")]
    pub in_reassignment_replicas: Vec<TopicPartition>,

    // The original's record ends here; everything below is appended.
    /// Version of what follows; 0 in records of the original, which has none of it.
    pub schema_version: i32,
    /// Kafka's `cluster.id`.
    pub cluster_id: Option<String>,
    /// What failed, in words; without `has_failure`: what this report lacks.
    pub failure_detail: Option<String>,
    /// Interval that the counts cover, in milliseconds; 0 when there was nothing to compare with.
    pub interval_ms: i64,
    /// Reports that this agent has dropped since it started because the stats topic was away.
    pub reports_dropped: i64,
    /// Bytes appended in the interval. Parallel to `leader_replica_stats`.
    pub leader_bytes_in: Vec<i64>,
    /// How `leader_bytes_in` and the bytes-in rates were got. Parallel to `leader_replica_stats`.
    pub leader_bytes_in_quality: Vec<Quality>,
    /// How the bytes-out rates were got. Parallel to `leader_replica_stats`.
    pub leader_bytes_out_quality: Vec<Quality>,
    /// Offsets appended in the interval. Parallel to `leader_replica_stats`.
    pub leader_messages_in: Vec<i64>,
    /// Index into `log_dirs`, -1 when not known. Parallel to `leader_replica_stats`.
    pub leader_log_dir: Vec<i32>,
    /// Bytes of the log on disk. Parallel to `follower_replicas`.
    pub follower_log_size_in_bytes: Vec<i64>,
    /// Index into `log_dirs`, -1 when not known. Parallel to `follower_replicas`.
    pub follower_log_dir: Vec<i32>,
    /// Paths of the log directories.
    pub log_dirs: Vec<String>,
    /// Size of the directory's volume. Parallel to `log_dirs`.
    pub log_dir_total_bytes: Vec<i64>,
    /// Usable bytes of the directory's volume. Parallel to `log_dirs`.
    pub log_dir_usable_bytes: Vec<i64>,
    /// Kafka's error code for the directory, 0 for none. Parallel to `log_dirs`.
    pub log_dir_errors: Vec<i32>,

    // Version 1 ends here.
    /// How the figures of the JVM were got (`jmx-local`, `jmx`, `prometheus`, `jolokia`); `None` if they were not.
    pub jvm_source: Option<String>,
    /// 0 not running, 1 starting, 2 recovering, 3 running, 6 shutting down, 7 shutting down with the controller's leave.
    pub broker_state: i32,
    /// Logs that the broker has still to recover before it can run.
    pub logs_to_recover: i64,
    /// Idle part of the threads that handle requests, over one minute, in percent.
    pub request_handler_idle_percent: f64,
    /// Idle part of the network threads, in percent.
    pub network_processor_idle_percent: f64,
    /// Requests that wait for a thread.
    pub request_queue_size: i64,
    /// Led partitions with followers out of sync.
    pub under_replicated_partitions: i32,
    /// CPU of the broker process, in percent of `cpu_limit`. `cpu_usage` is the same with 0 for not known.
    pub process_cpu_percent: f64,
    /// CPU of all that runs on the host, in percent of its processors.
    pub host_cpu_percent: f64,
    /// Processors that the broker process may use: its container's quota, or the host's processors.
    pub cpu_limit: f64,
    /// Resident memory of the broker process.
    pub process_memory_bytes: i64,
    /// Memory of the host.
    pub host_memory_total_bytes: i64,
    /// Memory of the host that could be given to processes.
    pub host_memory_available_bytes: i64,
    /// Bytes read a second from the directory's device, by whomever. Parallel to `log_dirs`.
    pub log_dir_read_bytes_per_sec: Vec<i64>,
    /// Bytes written a second to the directory's device, by whomever. Parallel to `log_dirs`.
    pub log_dir_write_bytes_per_sec: Vec<i64>,
    /// Part of the interval in which the directory's device had something to do, in percent. Parallel to `log_dirs`.
    pub log_dir_busy_percent: Vec<f64>,
}

/// The defaults of the Avro schema, with `schema_version` 0. A report to send starts from [`BrokerStats::new`].
impl Default for BrokerStats {
    fn default() -> BrokerStats {
        BrokerStats {
            timestamp: 0,
            id: -1,
            name: None,
            zk_url: None,
            kafka_version: None,
            stats_version: None,
            has_failure: true,
            failure_reason: None,
            availability_zone: None,
            instance_type: None,
            ami_id: None,
            rack_id: None,
            log_files_path: None,
            cpu_usage: 0.0,
            free_disk_space_in_bytes: NOT_KNOWN,
            total_disk_space_in_bytes: NOT_KNOWN,
            leaders_bytes_in_1_min_rate: 0,
            leaders_bytes_out_1_min_rate: 0,
            leaders_bytes_in_5_min_rate: 0,
            leaders_bytes_out_5_min_rate: 0,
            leaders_bytes_in_15_min_rate: 0,
            leaders_bytes_out_15_min_rate: 0,
            sys_bytes_in_1_min_rate: NOT_KNOWN,
            sys_bytes_out_1_min_rate: NOT_KNOWN,
            num_replicas: 0,
            num_leaders: 0,
            topics_bytes_in_1_min_rate: BTreeMap::new(),
            topics_bytes_out_1_min_rate: BTreeMap::new(),
            topics_bytes_in_5_min_rate: BTreeMap::new(),
            topics_bytes_out_5_min_rate: BTreeMap::new(),
            topics_bytes_in_15_min_rate: BTreeMap::new(),
            topics_bytes_out_15_min_rate: BTreeMap::new(),
            leader_replica_stats: Vec::new(),
            leader_replicas: Vec::new(),
            follower_replicas: Vec::new(),
            in_reassignment_replicas: Vec::new(),
            schema_version: 0,
            cluster_id: None,
            failure_detail: None,
            interval_ms: 0,
            reports_dropped: 0,
            leader_bytes_in: Vec::new(),
            leader_bytes_in_quality: Vec::new(),
            leader_bytes_out_quality: Vec::new(),
            leader_messages_in: Vec::new(),
            leader_log_dir: Vec::new(),
            follower_log_size_in_bytes: Vec::new(),
            follower_log_dir: Vec::new(),
            log_dirs: Vec::new(),
            log_dir_total_bytes: Vec::new(),
            log_dir_usable_bytes: Vec::new(),
            log_dir_errors: Vec::new(),
            jvm_source: None,
            broker_state: -1,
            logs_to_recover: NOT_KNOWN,
            request_handler_idle_percent: UNKNOWN_SHARE,
            network_processor_idle_percent: UNKNOWN_SHARE,
            request_queue_size: NOT_KNOWN,
            under_replicated_partitions: -1,
            process_cpu_percent: UNKNOWN_SHARE,
            host_cpu_percent: UNKNOWN_SHARE,
            cpu_limit: UNKNOWN_SHARE,
            process_memory_bytes: NOT_KNOWN,
            host_memory_total_bytes: NOT_KNOWN,
            host_memory_available_bytes: NOT_KNOWN,
            log_dir_read_bytes_per_sec: Vec::new(),
            log_dir_write_bytes_per_sec: Vec::new(),
            log_dir_busy_percent: Vec::new(),
        }
    }
}

/// A led replica together with what the parallel arrays say about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Leader<'a> {
    /// The original's figures.
    pub stat: &'a ReplicaStat,
    /// Bytes appended in the interval.
    pub bytes_in: Option<i64>,
    /// How `bytes_in` and the bytes-in rates were got.
    pub bytes_in_quality: Quality,
    /// How the bytes-out rates were got.
    pub bytes_out_quality: Quality,
    /// Offsets appended in the interval.
    pub messages_in: Option<i64>,
    /// Path of the log directory.
    pub log_dir: Option<&'a str>,
}

/// A log directory of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogDir<'a> {
    /// Its path.
    pub path: &'a str,
    /// Bytes of its volume.
    pub total_bytes: Option<i64>,
    /// Usable bytes of its volume.
    pub usable_bytes: Option<i64>,
    /// Kafka's error code, 0 for none.
    pub error: i32,
}

impl BrokerStats {
    /// A report of this version about one broker, with nothing in it yet and no failure.
    pub fn new(timestamp: i64, id: i32) -> BrokerStats {
        BrokerStats {
            timestamp,
            id,
            has_failure: false,
            schema_version: SCHEMA_VERSION,
            ..BrokerStats::default()
        }
    }

    /// The led replicas with their parallel figures. Arrays that are too short (an original's, or a faulty
    /// writer's) leave the rest not known.
    pub fn leaders(&self) -> impl Iterator<Item = Leader<'_>> {
        self.leader_replica_stats.iter().enumerate().map(|(at, stat)| Leader {
            stat,
            bytes_in: known(&self.leader_bytes_in, at),
            bytes_in_quality: self.leader_bytes_in_quality.get(at).copied().unwrap_or_default(),
            bytes_out_quality: self.leader_bytes_out_quality.get(at).copied().unwrap_or_default(),
            messages_in: known(&self.leader_messages_in, at),
            log_dir: self.log_dir_path(&self.leader_log_dir, at),
        })
    }

    /// The followed replicas with their log size and log directory, where known.
    pub fn followers(&self) -> impl Iterator<Item = (&TopicPartition, Option<i64>, Option<&str>)> {
        self.follower_replicas.iter().enumerate().map(|(at, replica)| {
            let size = known(&self.follower_log_size_in_bytes, at);
            (replica, size, self.log_dir_path(&self.follower_log_dir, at))
        })
    }

    /// The log directories.
    pub fn log_dirs(&self) -> impl Iterator<Item = LogDir<'_>> {
        self.log_dirs.iter().enumerate().map(|(at, path)| LogDir {
            path,
            total_bytes: known(&self.log_dir_total_bytes, at),
            usable_bytes: known(&self.log_dir_usable_bytes, at),
            error: self.log_dir_errors.get(at).copied().unwrap_or_default(),
        })
    }

    /// The JSON form for people: the Avro field names, and in each of `leaderReplicaStats` also what the parallel
    /// arrays say (`bytesIn`, `bytesInQuality`, `bytesOutQuality`, `messagesIn`, `logDir`).
    ///
    /// # Errors
    /// None that this type can bring about; serde_json's signature.
    pub fn to_report(&self) -> Result<serde_json::Value, serde_json::Error> {
        let mut report = serde_json::to_value(self)?;
        let Some(rows) = report.get_mut("leaderReplicaStats").and_then(|rows| rows.as_array_mut()) else {
            return Ok(report);
        };
        for (row, leader) in rows.iter_mut().zip(self.leaders()) {
            let Some(row) = row.as_object_mut() else { continue };
            row.insert("bytesIn".to_owned(), leader.bytes_in.into());
            row.insert("bytesInQuality".to_owned(), serde_json::to_value(leader.bytes_in_quality)?);
            row.insert("bytesOutQuality".to_owned(), serde_json::to_value(leader.bytes_out_quality)?);
            row.insert("messagesIn".to_owned(), leader.messages_in.into());
            row.insert("logDir".to_owned(), leader.log_dir.into());
        }
        Ok(report)
    }

    fn log_dir_path(&self, indexes: &[i32], at: usize) -> Option<&str> {
        let index = usize::try_from(*indexes.get(at)?).ok()?;
        self.log_dirs.get(index).map(String::as_str)
    }
}

fn known(values: &[i64], at: usize) -> Option<i64> {
    values.get(at).copied().filter(|value| *value >= 0)
}

fn null_as_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}
