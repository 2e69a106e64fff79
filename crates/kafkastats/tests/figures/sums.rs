//! What a row of reports says came in and went out, and whether it is what the broker counted.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use brokerstats::{BrokerStats, Quality};

use crate::TOPICS;
use crate::agents::Agent;
use crate::broker::Counts;

/// The time constant of the rates of one minute, in seconds.
const MINUTE: f64 = 60.0;

/// The bytes that reports say came to a topic, in all intervals but that of the first one.
pub(crate) fn bytes_in(reports: &[BrokerStats], topic: &str) -> Result<i64> {
    let mut sum = 0;
    for leader in reports.iter().skip(1).flat_map(BrokerStats::leaders).filter(|row| row.stat.topic == topic)
    {
        ensure!(leader.bytes_in_quality == Quality::Exact, "{topic}: {:?}", leader.bytes_in_quality);
        sum += leader.bytes_in.unwrap_or(0);
    }
    Ok(sum)
}

/// The bytes that the rates of reports say went out of a topic, in all intervals but that of the first one.
fn bytes_out(reports: &[BrokerStats], topic: &str) -> f64 {
    let rate = |stats: &BrokerStats| stats.topics_bytes_out_1_min_rate.get(topic).map(|rate| *rate as f64);
    let of_interval = |pair: &[BrokerStats]| match pair {
        [before, now] => Some(went_out(rate(before)?, rate(now)?, now.interval_ms as f64 / 1000.0)),
        _ => None,
    };
    reports.windows(2).filter_map(of_interval).sum()
}

/// The bytes behind a rate of one minute that went from `before` to `now` within `seconds`: the rule by which it is made
/// (see `kafkastats::rates::Rates`), the other way round. An interval with the mean rate `x` moves it by the part
/// `1 - exp(-seconds/60)` of the way to `x`.
fn went_out(before: f64, now: f64, seconds: f64) -> f64 {
    (before + (now - before) / (1.0 - (-seconds / MINUTE).exp())) * seconds
}

/// How far the bytes out of each report may be from the count, in parts of it.
const NEAR: f64 = 0.01;

/// Holds the reports of an agent to what its broker counted over the same time. Prints a line for each topic.
pub(crate) fn compare(
    agent: &Agent,
    reports: &[BrokerStats],
    counted: &BTreeMap<(i32, String), Counts>,
) -> Result<()> {
    let mut wrong = Vec::new();
    for topic in TOPICS {
        let Counts { bytes_in, bytes_out } = counted[&(agent.broker, topic.to_owned())];
        let (told_in, told_out) = (self::bytes_in(reports, topic)?, self::bytes_out(reports, topic));
        let off = told_out / bytes_out as f64 - 1.0;
        println!(
            "broker {} {:10} {topic:5} in {bytes_in:9} told {told_in:9} | out {bytes_out:9} told {told_out:11.0} ({:+.3} %)",
            agent.broker,
            agent.way,
            off * 100.0
        );
        if bytes_in < 10_000 || bytes_out < 10_000 {
            wrong.push(format!("{topic}: there was no traffic"));
        }
        if told_in != bytes_in || off.abs() > NEAR {
            wrong.push(format!("{topic}: {bytes_in} in and {told_in} told, {off} of bytes out"));
        }
    }
    ensure!(wrong.is_empty(), "{}: {}", agent.name(), wrong.join("; "));
    Ok(())
}
