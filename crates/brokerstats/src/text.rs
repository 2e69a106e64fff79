//! A report for people.

use crate::{BrokerStats, Quality};

impl BrokerStats {
    /// The report as a table for people: the broker, what its host and its JVM say, then its partitions, the busiest first.
    pub fn to_text(&self) -> String {
        // What stands in a record may come from anywhere: it drives no terminal.
        let harmless = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
        text(self).chars().map(harmless).collect()
    }
}

fn text(stats: &BrokerStats) -> String {
    let unknown = "-".to_owned();
    let number = |value: Option<i64>| value.map_or_else(|| unknown.clone(), |value| value.to_string());
    let known = |value: i64| (value >= 0).then_some(value);
    let mut text = format!(
        "broker {} ({}) of cluster {}: {} replicas, {} led, {} in reassignment; {} of {} bytes of disk free\n",
        stats.id,
        stats.name.as_deref().unwrap_or("?"),
        stats.cluster_id.as_deref().unwrap_or("?"),
        stats.num_replicas,
        stats.num_leaders,
        stats.in_reassignment_replicas.len(),
        number(known(stats.free_disk_space_in_bytes)),
        number(known(stats.total_disk_space_in_bytes)),
    );
    text.push_str(&states(stats));
    if let Some(detail) = &stats.failure_detail {
        text.push_str(&format!("not complete: {detail}\n"));
    }
    let mut leaders: Vec<_> = stats.leaders().collect();
    leaders.sort_by_key(|leader| std::cmp::Reverse(leader.bytes_in));
    text.push_str(&format!(
        "{:>14} {:>9} {:>12} {:>14} {:>12} {:>9}  partition\n",
        "bytes in", "quality", "messages", "log bytes", "bytes out/s", "quality"
    ));
    for leader in leaders {
        let word = |quality: Quality| format!("{quality:?}").to_lowercase();
        let (quality, quality_out) = (word(leader.bytes_in_quality), word(leader.bytes_out_quality));
        text.push_str(&format!(
            "{:>14} {quality:>9} {:>12} {:>14} {:>12} {quality_out:>9}  {}-{}\n",
            number(leader.bytes_in),
            number(leader.messages_in),
            number(known(leader.stat.log_size_in_bytes)),
            number(known(leader.stat.bytes_out_1_min_mean_rate)),
            leader.stat.topic,
            leader.stat.partition,
        ));
    }
    text
}

/// What the host and the JVM say, as far as they say anything.
fn states(stats: &BrokerStats) -> String {
    let percent = |name: &str, value: f64| (value >= 0.0).then(|| format!("{name} {value:.1} %"));
    let count = |name: &str, value: i64| (value >= 0).then(|| format!("{name} {value}"));
    let known: Vec<String> = [
        count("state", i64::from(stats.broker_state)),
        count("logs to recover", stats.logs_to_recover),
        count("under-replicated", i64::from(stats.under_replicated_partitions)),
        percent("request handlers idle", stats.request_handler_idle_percent),
        percent("network threads idle", stats.network_processor_idle_percent),
        count("requests waiting", stats.request_queue_size),
        percent("process cpu", stats.process_cpu_percent),
        percent("host cpu", stats.host_cpu_percent),
        count("resident bytes", stats.process_memory_bytes),
        count("network bytes in a second", stats.sys_bytes_in_1_min_rate),
        count("out", stats.sys_bytes_out_1_min_rate),
    ]
    .into_iter()
    .flatten()
    .collect();
    if known.is_empty() { String::new() } else { known.join(", ") + "\n" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReplicaStat;

    #[test]
    fn a_report_is_told_as_far_as_it_is_known() {
        let mut stats = BrokerStats::new(0, 3);
        stats.name = Some("b3\u{1b}[2J".to_owned());
        let unknown = stats.to_text();
        expect_test::expect![[r#"
            broker 3 (b3 [2J) of cluster ?: 0 replicas, 0 led, 0 in reassignment; - of - bytes of disk free
                  bytes in   quality     messages      log bytes  bytes out/s   quality  partition
        "#]]
        .assert_eq(&unknown);
        stats.broker_state = 3;
        stats.process_cpu_percent = 12.345;
        stats.sys_bytes_in_1_min_rate = 7;
        stats.failure_detail = Some("end offsets".to_owned());
        for (partition, bytes) in [(0, 5), (1, 50)] {
            stats.leader_replica_stats.push(ReplicaStat {
                topic: "t".to_owned(),
                partition,
                bytes_out_1_min_mean_rate: bytes * 2,
                ..ReplicaStat::default()
            });
            stats.leader_bytes_in.push(bytes);
            stats.leader_bytes_in_quality.push(Quality::Exact);
            stats.leader_bytes_out_quality.push(Quality::Estimated);
        }
        expect_test::expect![[r#"
            broker 3 (b3 [2J) of cluster ?: 0 replicas, 0 led, 0 in reassignment; - of - bytes of disk free
            state 3, process cpu 12.3 %, network bytes in a second 7
            not complete: end offsets
                  bytes in   quality     messages      log bytes  bytes out/s   quality  partition
                        50     exact            -              0          100 estimated  t-1
                         5     exact            -              0           10 estimated  t-0
        "#]]
        .assert_eq(&stats.to_text());
    }
}
