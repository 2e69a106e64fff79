//! What a row of reports says came in and went out, and whether it is what the broker counted.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use brokerstats::{BrokerStats, Quality};

use crate::TOPICS;
use crate::agents::Agent;
use crate::broker::Counts;

/// Rates of bytes out by topic in a report, and their time constant in seconds.
struct Kind {
    of: fn(&BrokerStats) -> &BTreeMap<String, i64>,
    constant: f64,
}

const ONE_MINUTE: Kind = Kind { of: |stats| &stats.topics_bytes_out_1_min_rate, constant: 60.0 };
const FIFTEEN_MINUTES: Kind = Kind { of: |stats| &stats.topics_bytes_out_15_min_rate, constant: 900.0 };

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
///
/// A report does not say when the JVM was read, only when the log directories were: that is off by what comes between, up
/// to a second where an exporter is slow. The longer the time constant `T`, the less that matters: of `T` times the growth
/// of the rate, which is nearly all, no time is part.
fn bytes_out(reports: &[BrokerStats], topic: &str, kind: &Kind) -> f64 {
    let (mut sum, mut seconds, mut before) = (0.0, 0.0, None);
    for stats in reports {
        seconds += stats.interval_ms as f64 / 1000.0;
        // Where it is not known for once, the next one is about all of the time since the last.
        let Some(now) = (kind.of)(stats).get(topic).map(|rate| *rate as f64) else { continue };
        if let Some(before) = before.replace(now) {
            sum += went_out(before, now, seconds, kind.constant);
        }
        seconds = 0.0;
    }
    sum
}

/// The bytes behind a rate that went from `before` to `now` within `seconds`: the rule by which it is made (see
/// `kafkastats::rates::Rates`), the other way round. An interval with the mean rate `x` moves it by the part
/// `1 - exp(-seconds/constant)` of the way to `x`.
fn went_out(before: f64, now: f64, seconds: f64, constant: f64) -> f64 {
    (before + (now - before) / (1.0 - (-seconds / constant).exp())) * seconds
}

/// How far the bytes out that reports tell may be from the count, in parts of it; and by the rates of one minute, which over
/// ten seconds are turned back into bytes well only where exporters answer at once.
const NEAR: f64 = 0.01;
const NEARLY: f64 = 0.2;

/// Holds the reports of an agent to what its broker counted over the same time. Prints a line for each topic.
pub(crate) fn compare(
    agent: &Agent,
    reports: &[BrokerStats],
    counted: &BTreeMap<(i32, String), Counts>,
) -> Result<()> {
    let mut wrong = Vec::new();
    for topic in TOPICS {
        let Counts { bytes_in, bytes_out } = counted[&(agent.broker, topic.to_owned())];
        let told = [FIFTEEN_MINUTES, ONE_MINUTE].map(|kind| self::bytes_out(reports, topic, &kind));
        let told_in = self::bytes_in(reports, topic)?;
        let [off, off_by_minute] = told.map(|told| told / bytes_out as f64 - 1.0);
        println!(
            "broker {} {:10} {topic:5} in {bytes_in:9} told {told_in:9} | out {bytes_out:9} told {:9.0} ({:+.3} %, by the rates of one minute {:+.3} %)",
            agent.broker,
            agent.way,
            told[0],
            off * 100.0,
            off_by_minute * 100.0
        );
        if bytes_in < 10_000 || bytes_out < 10_000 {
            wrong.push(format!("{topic}: there was no traffic"));
        }
        if told_in != bytes_in || off.abs() > NEAR || off_by_minute.abs() > NEARLY {
            wrong.push(format!("{topic}: {bytes_in} in and {told_in} told, off by {off} out"));
        }
    }
    ensure!(wrong.is_empty(), "{}: {}", agent.name(), wrong.join("; "));
    Ok(())
}
