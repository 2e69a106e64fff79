//! Finds Kafka's metrics behind the names that exporters give them.
//!
//! There is no standard: `BytesOutPerSec` of a topic is, among others,
//!
//! | name | whose |
//! |---|---|
//! | `kafka_server_brokertopicmetrics_bytesout_total{topic="t"}` | examples of jmx_exporter, Strimzi |
//! | `kafka_server_brokertopicmetrics_bytesoutpersec{topic="t"}` | Confluent's stacks, Grafana Cloud |
//! | `kafka_server_brokertopicmetrics_bytesoutpersec_count{topic="t"}` | Bitnami, Koperator |
//! | `kafka_server_BrokerTopicMetrics_Count{name="BytesOutPerSec",topic="t"}` | jmx_exporter without rules, MSK |
//! | `kafka_server_brokertopicmetrics_count{name="BytesOutPerSec",topic="t"}` | the same in lower case |
//! | `kafka_server_brokertopicmetrics_bytesoutpersec_total{topic="t"}` | Strimzi's own reporter |
//! | `kafka_server_BrokerTopicMetrics_BytesOutPerSec_Count{topic="t"}` | Telegraf, Aiven |
//!
//! All have the parts of the MBean's name in its order: domain, type, name, attribute; what differs is the case, which
//! endings are cut off, and where words like `total` stand. So the name is cut at its underscores, and the words that
//! are an attribute, or mean nothing, are taken away: what is left is the metric.

use super::exposition::{Kind, Sample};
use super::identity::Told;
use super::readings::{Attribute, MBEANS, MBean, Metric, Scope, scope};

/// The processor time of a process, as all of Prometheus' clients name it.
const PROCESS_CPU_SECONDS: &str = "process_cpu_seconds_total";
const PROCESS_CPU_LOAD: &str = "java_lang_operatingsystem_processcpuload";
const PROCESSORS: &str = "java_lang_operatingsystem_availableprocessors";
/// How the names begin of what a broker says of itself, and the labels that have its id. Numbers alone are ids: there are
/// clients in a broker too.
const APP_INFO: &str = "kafka_server_app_info";
const BROKER_LABELS: [&str; 3] = ["id", "broker_id", "client_id"];
/// The same of its cluster's id, which is no number: it is told in a label, by exporters that tell it.
const CLUSTER_ID: &str = "kafka_server_kafkaserver_clusterid";
const CLUSTER_LABELS: [&str; 3] = ["clusterid", "cluster_id", "value"];
/// Words that say that a figure is of all topics.
const ALL_TOPICS: [&str; 1] = ["alltopics"];

/// What a figure is; `None` if it is none that is wanted.
pub fn meaning(sample: &Sample<'_>) -> Option<(Metric, Attribute, Scope)> {
    let name = sample.name.to_ascii_lowercase();
    match name.as_str() {
        PROCESS_CPU_SECONDS => return Some((Metric::ProcessCpuSeconds, Attribute::Value, Scope::Broker)),
        PROCESS_CPU_LOAD => return Some((Metric::ProcessCpuLoad, Attribute::Value, Scope::Broker)),
        PROCESSORS => return Some((Metric::Processors, Attribute::Value, Scope::Broker)),
        _ => {}
    }
    // A label can be that of another dimension than ours: of a listener, a future replica, a single thread.
    if sample.label("is-future").or_else(|| sample.label("is_future")).is_some() {
        return None;
    }
    MBEANS.iter().find_map(|bean| of_bean(bean, name.strip_prefix(bean.family.exported)?, sample))
}

/// Takes note of which broker it is, if `sample` says that.
pub fn tell(sample: &Sample<'_>, told: &mut Told) {
    let begins = |prefix: &str| {
        let start = sample.name.get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    let labels = |names: [&'static str; 3]| names.into_iter().filter_map(|name| sample.label(name));
    if begins(APP_INFO) {
        let ids = labels(BROKER_LABELS).filter(|id| id.parse::<i32>().is_ok());
        told.brokers.extend(ids.map(str::to_owned));
    } else if begins(CLUSTER_ID) {
        told.clusters.extend(labels(CLUSTER_LABELS).map(str::to_owned));
    }
}

/// What the figure is, if it is of `bean`; `rest` is its name behind the type.
fn of_bean(bean: &MBean, rest: &str, sample: &Sample<'_>) -> Option<(Metric, Attribute, Scope)> {
    let mut words: Vec<&str> = rest.split('_').filter(|word| !word.is_empty()).collect();
    let mut attribute = None;
    words.retain(|word| match attribute_of(word) {
        // The first one counts: what stands behind it ("count_total") only says what kind it is.
        Some(found) => {
            attribute.get_or_insert(found);
            false
        }
        None => !ALL_TOPICS.contains(word) && *word != "total" && *word != "percent" && *word != "rate",
    });
    let has_percent = rest.ends_with("_percent");
    let of_all = rest.split('_').any(|word| ALL_TOPICS.contains(&word));
    let metric = match (sample.label("name"), words.as_slice()) {
        (Some(name), []) => name.to_ascii_lowercase(),
        (None, [_, ..]) => words.concat(),
        _ => return None,
    };
    if !stem(&metric).eq_ignore_ascii_case(stem(bean.name)) {
        return None;
    }
    let attribute = match attribute {
        Some(attribute) => attribute,
        None if !bean.is_meter => Attribute::Value,
        // A rule of the exporter's examples takes the mean since the start of the broker and calls it a percentage.
        None if has_percent => Attribute::MeanRate,
        None if rest.ends_with("_rate") && sample.kind != Kind::Counter => Attribute::OneMinuteRate,
        None => Attribute::Count,
    };
    let topic = sample.label("topic").filter(|_| !of_all);
    let partition = sample.label("partition").map(|number| number.parse().ok());
    Some((bean.metric, attribute, scope(bean, topic, partition)?))
}

fn attribute_of(word: &str) -> Option<Attribute> {
    Attribute::ALL.into_iter().find(|attribute| attribute.name().eq_ignore_ascii_case(word))
}

/// The name without the endings that rules like to cut off.
fn stem(name: &str) -> &str {
    let endings = ["persec", "PerSec", "percent", "Percent"];
    endings.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::jvm::exposition::parse;

    fn meaning_of(line: &str) -> Option<(Metric, Attribute, Scope)> {
        let mut found = None;
        parse(line, |sample| found = meaning(&sample));
        found
    }

    #[test]
    fn names_of_all_schemes_are_understood() {
        let lines = r#"
kafka_server_brokertopicmetrics_bytesout_total{topic="t",} 1
kafka_server_brokertopicmetrics_bytesoutpersec{topic="t"} 1
kafka_server_brokertopicmetrics_bytesoutpersec_oneminuterate_alltopics 1
kafka_server_brokertopicmetrics_bytesoutpersec_count{topic="t"} 1
kafka_server_brokertopicmetrics_total_bytesoutpersec_count 1
kafka_server_BrokerTopicMetrics_Count{name="BytesOutPerSec",topic="t"} 1
kafka_server_brokertopicmetrics_fiveminuterate{name="BytesOutPerSec"} 1
kafka_server_brokertopicmetrics_bytesoutpersec_alltopics_oneminuterate 1
kafka_server_brokertopicmetrics_bytesoutpersec_total{topic="t"} 1
kafka_server_BrokerTopicMetrics_BytesOutPerSec_Count{Topic="t"} 1
kafka_server_brokertopicmetrics_bytesinpersec_rate 1
kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent 1
kafka_server_kafkarequesthandlerpool_requesthandleravgidlepercent_count_total 1
kafka_server_kafkarequesthandlerpool_requesthandleravgidlepercent_total 1
kafka_server_kafkarequesthandlerpool_total_brokerrequesthandleravgidlepercent_count 1
kafka_network_socketserver_networkprocessoravgidle_percent 1
kafka_network_requestchannel_requestqueuesize 1
kafka_log_logmanager_remaininglogstorecover{dir="\"/d\""} 1
kafka_log_Log_Value{name="Size",topic="t",partition="3"} 1
kafka_server_replicamanager_total_underreplicatedpartitions_value 1
"#;
        let meanings = lines.lines().filter(|line| !line.is_empty()).map(|line| match meaning_of(line) {
            Some((metric, attribute, scope)) => format!("{metric:?} {attribute:?} {scope:?}\n"),
            None => "none\n".to_owned(),
        });
        expect![[r#"
            BytesOut Count Topic("t")
            BytesOut Count Topic("t")
            BytesOut OneMinuteRate Broker
            BytesOut Count Topic("t")
            BytesOut Count Broker
            BytesOut Count Topic("t")
            BytesOut FiveMinuteRate Broker
            BytesOut OneMinuteRate Broker
            BytesOut Count Topic("t")
            BytesOut Count Topic("t")
            BytesIn OneMinuteRate Broker
            RequestHandlerIdle MeanRate Broker
            RequestHandlerIdle Count Broker
            RequestHandlerIdle Count Broker
            BrokerRequestHandlerIdle Count Broker
            NetworkProcessorIdle Value Broker
            RequestQueueSize Value Broker
            LogsToRecover Value Broker
            LogSize Value Partition("t", 3)
            UnderReplicated Value Broker
        "#]]
        .assert_eq(&meanings.collect::<String>());
    }

    #[test]
    fn a_broker_that_names_itself_is_heard() {
        let mut told = Told::default();
        let lines = r#"
kafka_server_app_info_starttimems{id="3"} 1.7e12
kafka_server_app_info_starttimems{client_id="raft-client-3"} 1.7e12
kafka_server_app_info_version{broker_id="4",version="4.1.0"} 1
kafka_server_KafkaServer_ClusterId_info{ClusterId="MkU3OEVBNTcwNTJENDM2Qk"} 1
kafka_server_kafkaserver_brokerstate{id="9"} 3
é 1
"#;
        parse(lines, |sample| tell(&sample, &mut told));
        expect![[r#"Told { clusters: {"MkU3OEVBNTcwNTJENDM2Qk"}, brokers: {"3", "4"} }"#]]
            .assert_eq(&format!("{told:?}"));
    }

    #[test]
    fn other_metrics_with_names_alike_are_not_taken_for_ours() {
        for line in [
            "kafka_server_brokertopicmetrics_reassignmentbytesin_total 1",
            r#"kafka_server_BrokerTopicMetrics_Count{name="FailedFetchRequestsPerSec"} 1"#,
            "kafka_server_replicamanager_atminisrpartitioncount 1",
            "kafka_network_requestchannel_responsequeuesize 1",
            r#"kafka_log_log_size{topic="t"} 1"#,
            r#"kafka_log_log_size{topic="t",partition="x"} 1"#,
            r#"kafka_log_log_size{topic="t",partition="1",is_future="true"} 1"#,
            r#"kafka_cluster_partition_underreplicated{topic="t",partition="1"} 1"#,
            "kafka_controller_kafkacontroller_offlinepartitionscount_value 1",
            "kafka_consumer_bytesin_total 1",
            "bytesin 1",
        ] {
            assert_eq!(meaning_of(line), None, "{line}");
        }
    }
}
