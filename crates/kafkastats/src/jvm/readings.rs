//! The figures of a JVM in one form, whatever they are read through.

use std::collections::BTreeMap;

use jmx::ObjectName;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// Bytes that producers sent, as they sent them. Per topic and of the broker.
    BytesIn,
    /// Bytes that consumers fetched; not what followers did. Per topic and of the broker. A topic that was never
    /// consumed since the broker started has no figure.
    BytesOut,
    /// Records that producers sent. Per topic and of the broker.
    MessagesIn,
    /// Bytes that this broker fetched as a follower.
    ReplicationBytesIn,
    /// Bytes that followers fetched from this broker.
    ReplicationBytesOut,
    /// How idle the threads are that handle requests: 1 is all idle. Its count is in nanoseconds of idle time of an
    /// average thread.
    RequestHandlerIdle,
    /// The same of the broker alone, where one process is broker and controller (Kafka 4.2 and newer). There
    /// `RequestHandlerIdle` mixes the two.
    BrokerRequestHandlerIdle,
    /// How idle the network threads are: 1 is all idle.
    NetworkProcessorIdle,
    /// Requests that wait for a thread.
    RequestQueueSize,
    /// Partitions that this broker leads and that have followers out of sync.
    UnderReplicated,
    /// Partitions that this broker leads.
    LeaderCount,
    /// Replicas on this broker.
    PartitionCount,
    /// 0 not running, 1 starting, 2 recovering, 3 running, 6 shutting down, 7 as 6 with the controller's leave.
    BrokerState,
    /// Logs that the broker has still to recover before it can run, over all log directories.
    LogsToRecover,
    /// Bytes of a log. Per partition.
    LogSize,
    /// The part of all processors that the process uses: 1 is all of them.
    ProcessCpuLoad,
    /// Processor time of the process since its start, in seconds.
    ProcessCpuSeconds,
    /// How many processors the process may use: a container's quota, rounded up, or all of the host.
    Processors,
}

impl Metric {
    /// Whether any JVM has it, and not only Kafka's.
    fn is_of_the_process(self) -> bool {
        matches!(self, Metric::ProcessCpuLoad | Metric::ProcessCpuSeconds | Metric::Processors)
    }
}

/// Which figure of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attribute {
    /// The present value.
    Value,
    /// What was counted since the broker started, or since its MBean was made.
    Count,
    /// Per second, a mean that fades with a time constant of one minute.
    OneMinuteRate,
    /// The same with five minutes.
    FiveMinuteRate,
    /// The same with fifteen minutes.
    FifteenMinuteRate,
    /// Per second since the MBean was made: of no use to tell what is now.
    MeanRate,
}

impl Attribute {
    /// All of them.
    pub const ALL: [Attribute; 6] = [
        Attribute::Value,
        Attribute::Count,
        Attribute::OneMinuteRate,
        Attribute::FiveMinuteRate,
        Attribute::FifteenMinuteRate,
        Attribute::MeanRate,
    ];

    /// Its name in an MBean.
    pub fn name(self) -> &'static str {
        match self {
            Attribute::Value => "Value",
            Attribute::Count => "Count",
            Attribute::OneMinuteRate => "OneMinuteRate",
            Attribute::FiveMinuteRate => "FiveMinuteRate",
            Attribute::FifteenMinuteRate => "FifteenMinuteRate",
            Attribute::MeanRate => "MeanRate",
        }
    }
}

/// Of what a figure is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Of the broker as a whole.
    Broker,
    /// Of what the broker has of a topic.
    Topic(String),
    /// Of a partition.
    Partition(String, i32),
}

/// The MBeans of one domain and one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// The domain of their names.
    pub domain: &'static str,
    /// The `type` in their names.
    pub kind: &'static str,
    /// How the names begin, in lower case, that exporters make of them.
    pub exported: &'static str,
}

/// An MBean of Kafka's, or the MBeans of all topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MBean {
    /// What it measures.
    pub metric: Metric,
    /// The domain and the `type` in its name.
    pub family: Family,
    /// The `name` in its name.
    pub name: &'static str,
    /// Whether it is a meter, that is, counts; else it has a value.
    pub is_meter: bool,
    /// Whether there is one for each topic (each partition, each log directory) besides, or instead.
    pub is_split: bool,
}

const fn meter(metric: Metric, family: Family, name: &'static str, is_split: bool) -> MBean {
    MBean { metric, family, name, is_meter: true, is_split }
}

const fn gauge(metric: Metric, family: Family, name: &'static str) -> MBean {
    MBean { metric, family, name, is_meter: false, is_split: false }
}

const TOPICS: Family = Family {
    domain: "kafka.server",
    kind: "BrokerTopicMetrics",
    exported: "kafka_server_brokertopicmetrics_",
};
const HANDLERS: Family = Family {
    domain: "kafka.server",
    kind: "KafkaRequestHandlerPool",
    exported: "kafka_server_kafkarequesthandlerpool_",
};
const REPLICAS: Family =
    Family { domain: "kafka.server", kind: "ReplicaManager", exported: "kafka_server_replicamanager_" };
const SERVER: Family =
    Family { domain: "kafka.server", kind: "KafkaServer", exported: "kafka_server_kafkaserver_" };
const SOCKETS: Family =
    Family { domain: "kafka.network", kind: "SocketServer", exported: "kafka_network_socketserver_" };
const REQUESTS: Family =
    Family { domain: "kafka.network", kind: "RequestChannel", exported: "kafka_network_requestchannel_" };
const LOG_MANAGER: Family =
    Family { domain: "kafka.log", kind: "LogManager", exported: "kafka_log_logmanager_" };
const LOGS: Family = Family { domain: "kafka.log", kind: "Log", exported: "kafka_log_log_" };

/// The MBeans that are wanted. Their names are the same from Kafka 1.0 to 4.3.
pub const MBEANS: [MBean; 15] = [
    meter(Metric::BytesIn, TOPICS, "BytesInPerSec", true),
    meter(Metric::BytesOut, TOPICS, "BytesOutPerSec", true),
    meter(Metric::MessagesIn, TOPICS, "MessagesInPerSec", true),
    meter(Metric::ReplicationBytesIn, TOPICS, "ReplicationBytesInPerSec", false),
    meter(Metric::ReplicationBytesOut, TOPICS, "ReplicationBytesOutPerSec", false),
    meter(Metric::RequestHandlerIdle, HANDLERS, "RequestHandlerAvgIdlePercent", false),
    meter(Metric::BrokerRequestHandlerIdle, HANDLERS, "BrokerRequestHandlerAvgIdlePercent", false),
    gauge(Metric::NetworkProcessorIdle, SOCKETS, "NetworkProcessorAvgIdlePercent"),
    gauge(Metric::RequestQueueSize, REQUESTS, "RequestQueueSize"),
    gauge(Metric::UnderReplicated, REPLICAS, "UnderReplicatedPartitions"),
    gauge(Metric::LeaderCount, REPLICAS, "LeaderCount"),
    gauge(Metric::PartitionCount, REPLICAS, "PartitionCount"),
    gauge(Metric::BrokerState, SERVER, "BrokerState"),
    MBean { is_split: true, ..gauge(Metric::LogsToRecover, LOG_MANAGER, "remainingLogsToRecover") },
    MBean { is_split: true, ..gauge(Metric::LogSize, LOGS, "Size") },
];

impl MBean {
    /// Its name; of those that are split, that of the whole.
    pub fn object_name(&self) -> String {
        format!("{}:type={},name={}", self.family.domain, self.family.kind, self.name)
    }

    /// The attributes that are read of it. Rates over time are made of counts; how idle handlers are right now, of which one
    /// reading of a count tells nothing, is the one exception.
    pub fn attributes(&self) -> &'static [Attribute] {
        match self.metric {
            Metric::RequestHandlerIdle | Metric::BrokerRequestHandlerIdle => {
                &[Attribute::Count, Attribute::OneMinuteRate]
            }
            _ if self.is_meter => &[Attribute::Count],
            _ => &[Attribute::Value],
        }
    }
}

/// The MBeans of which something goes into reports: those are asked for. The others are known so that nothing else is taken
/// for them where all is told; what they say is known better from the logs.
pub fn asked() -> impl Iterator<Item = &'static MBean> {
    MBEANS.iter().filter(|bean| {
        matches!(
            bean.metric,
            Metric::BytesOut
                | Metric::RequestHandlerIdle
                | Metric::BrokerRequestHandlerIdle
                | Metric::NetworkProcessorIdle
                | Metric::RequestQueueSize
                | Metric::UnderReplicated
                | Metric::BrokerState
                | Metric::LogsToRecover
        )
    })
}

/// The MBean of a JVM that knows about its process.
pub const OPERATING_SYSTEM: &str = "java.lang:type=OperatingSystem";
/// Its attributes that are read, what they are, and by what their numbers are multiplied. The load is below zero in the
/// JVM's first seconds; the time is in nanoseconds.
pub const OF_SYSTEM: [(&str, Metric, f64); 3] = [
    ("ProcessCpuLoad", Metric::ProcessCpuLoad, 1.0),
    ("ProcessCpuTime", Metric::ProcessCpuSeconds, 1e-9),
    ("AvailableProcessors", Metric::Processors, 1.0),
];

/// What the MBean of this name measures, and of what; `None` if it is none that is wanted.
pub fn meaning(name: &ObjectName) -> Option<(&'static MBean, Scope)> {
    let (kind, metric) = (name.get("type")?, name.get("name")?);
    let found = MBEANS.iter().find(|bean| {
        bean.name == metric && bean.family.kind == kind && bean.family.domain == name.domain()
    })?;
    let partition = name.get("partition").map(|number| number.parse::<i32>().ok());
    // The copy of a log that is being moved to another directory counts when it has become the log.
    if name.get("is-future").is_some() {
        return None;
    }
    scope(found, name.get("topic").as_deref(), partition).map(|scope| (found, scope))
}

/// Of what a figure with these labels is; `None` if they do not fit the metric.
pub(super) fn scope(bean: &MBean, topic: Option<&str>, partition: Option<Option<i32>>) -> Option<Scope> {
    let per_partition = bean.metric == Metric::LogSize;
    match (topic, partition) {
        (None, None) if !per_partition => Some(Scope::Broker),
        (Some(topic), None) if bean.is_split && !per_partition => Some(Scope::Topic(topic.to_owned())),
        (Some(topic), Some(Some(partition))) if per_partition => {
            Some(Scope::Partition(topic.to_owned(), partition))
        }
        _ => None,
    }
}

/// Two figures that should be one.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "{metric:?} ({attribute:?}) of {scope:?} is {one} and {other}: these are the figures of more than one broker"
)]
pub struct Conflict {
    /// The metric.
    pub metric: Metric,
    /// The figure.
    pub attribute: Attribute,
    /// Of what.
    pub scope: Scope,
    /// The first value.
    pub one: f64,
    /// The second value.
    pub other: f64,
}

/// The figures of a JVM at one time. What is not there is not known; for a count of a topic that means zero.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Readings {
    values: BTreeMap<(Metric, Attribute, Scope), f64>,
}

impl Readings {
    /// Takes in a figure. Those of several log directories are added up; what is no number is left out.
    ///
    /// # Errors
    /// [`Conflict`] if it is known already and another.
    pub fn put(
        &mut self,
        metric: Metric,
        attribute: Attribute,
        scope: Scope,
        value: f64,
    ) -> Result<(), Conflict> {
        // Below zero, what a JVM says of its process is not known.
        if !value.is_finite() || (metric.is_of_the_process() && value < 0.0) {
            return Ok(());
        }
        let known = self.values.entry((metric, attribute, scope));
        match (known, metric) {
            (std::collections::btree_map::Entry::Vacant(free), _) => {
                free.insert(value);
            }
            (std::collections::btree_map::Entry::Occupied(mut sum), Metric::LogsToRecover) => {
                *sum.get_mut() += value;
            }
            (std::collections::btree_map::Entry::Occupied(known), _) if *known.get() != value => {
                let scope = known.key().2.clone();
                return Err(Conflict { metric, attribute, scope, one: *known.get(), other: value });
            }
            _ => {}
        }
        Ok(())
    }

    /// The figure.
    pub fn get(&self, metric: Metric, attribute: Attribute, scope: &Scope) -> Option<f64> {
        // A lookup needs a key of its own; figures are looked up a few thousand times a minute.
        self.values.get(&(metric, attribute, scope.clone())).copied()
    }

    /// The figure of the broker as a whole.
    pub fn of_broker(&self, metric: Metric, attribute: Attribute) -> Option<f64> {
        self.get(metric, attribute, &Scope::Broker)
    }

    /// The figures of all topics.
    pub fn of_topics(&self, metric: Metric, attribute: Attribute) -> impl Iterator<Item = (&str, f64)> {
        let of_metric = self.values.range((metric, attribute, Scope::Broker)..);
        of_metric
            .take_while(move |((other, figure, _), _)| (*other, *figure) == (metric, attribute))
            .filter_map(|((_, _, scope), value)| match scope {
                Scope::Topic(topic) => Some((topic.as_str(), *value)),
                _ => None,
            })
    }

    /// The partitions of which there is a log's size.
    pub fn logs(&self) -> impl Iterator<Item = (&str, i32)> {
        let sizes = self.values.range((Metric::LogSize, Attribute::Value, Scope::Broker)..);
        sizes.take_while(|((metric, _, _), _)| *metric == Metric::LogSize).filter_map(|((_, _, scope), _)| {
            match scope {
                Scope::Partition(topic, partition) => Some((topic.as_str(), *partition)),
                _ => None,
            }
        })
    }

    /// How many figures there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether anything in it is Kafka's, and not only of the process.
    pub fn are_of_a_broker(&self) -> bool {
        self.values.keys().any(|(metric, _, _)| !metric.is_of_the_process())
    }
}
