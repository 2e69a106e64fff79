//! What the agent says of itself: `/metrics` for Prometheus, and `/health`.

use std::fmt::{Display, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use brokerstats::BrokerStats;
use serde_json::json;

use crate::publish::Outbox;

/// A report that is later than this many intervals does not come …
const LATE_AFTER_INTERVALS: u32 = 3;
/// … unless that is less than this: a gathering may take 45 s, and sources of the JVM half a minute each.
const LATE_AFTER: Duration = Duration::from_secs(120);

/// How the agent is doing. Shared between the agent and those who ask.
#[derive(Debug)]
pub struct Status {
    broker: i32,
    interval: Duration,
    started: Instant,
    outbox: Arc<Outbox>,
    seen: Mutex<Seen>,
}

/// What was seen of reports.
#[derive(Debug, Default)]
struct Seen {
    reports: u64,
    failed: u64,
    incomplete: u64,
    last: Option<Last>,
    /// The broker as its reports name it, where its number was not given.
    broker: Option<i32>,
    /// The way to the JVM's figures in the last report that is no failure.
    jvm_source: Option<String>,
}

#[derive(Debug)]
struct Last {
    at: Instant,
    took: Duration,
    has_failure: bool,
    detail: Option<String>,
}

impl Status {
    /// Of an agent that measures `broker` every `interval`, and puts its reports into `outbox`.
    pub fn new(broker: i32, interval: Duration, outbox: Arc<Outbox>) -> Status {
        Status { broker, interval, started: Instant::now(), outbox, seen: Mutex::default() }
    }

    /// Takes note of a report that took so long to make.
    pub fn saw(&self, stats: &BrokerStats, took: Duration) {
        let mut seen = self.lock();
        seen.reports += 1;
        seen.failed += u64::from(stats.has_failure);
        seen.incomplete += u64::from(!stats.has_failure && stats.failure_detail.is_some());
        if stats.id >= 0 {
            seen.broker = Some(stats.id);
        }
        if !stats.has_failure {
            seen.jvm_source.clone_from(&stats.jvm_source);
        }
        let (has_failure, detail) = (stats.has_failure, stats.failure_detail.clone());
        seen.last = Some(Last { at: Instant::now(), took, has_failure, detail });
    }

    /// Whether the agent makes its reports, and the answer of `/health`. What is wrong with the broker, or with the stats
    /// topic, is told and does not make the agent ill.
    pub fn health(&self) -> (bool, String) {
        let seen = self.lock();
        let age = seen.last.as_ref().map_or(self.started, |last| last.at).elapsed();
        let late_after = (self.interval * LATE_AFTER_INTERVALS).max(LATE_AFTER);
        let is_late = age > late_after;
        let trouble = match (self.outbox.trouble(), &seen.last) {
            (Some(trouble), _) => Some(trouble),
            (None, Some(last)) if last.has_failure => last.detail.clone(),
            _ => None,
        };
        let status = match (is_late, &trouble) {
            (true, _) => "late",
            (false, Some(_)) => "trouble",
            (false, None) => "ok",
        };
        let text = json!({
            "status": status,
            "broker": seen.broker.unwrap_or(self.broker),
            "lastReportAgeMs": u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            "lateAfterMs": u64::try_from(late_after.as_millis()).unwrap_or(u64::MAX),
            "trouble": trouble,
        });
        (!is_late, text.to_string())
    }

    /// The text of `/metrics`.
    pub fn metrics(&self) -> String {
        let seen = self.lock();
        let mut page = String::new();
        let version = env!("CARGO_PKG_VERSION");
        line(
            &mut page,
            "gauge",
            "kafkastats_info",
            &format!("{{version=\"{version}\",broker=\"{}\"}}", seen.broker.unwrap_or(self.broker)),
            1,
        );
        if seen.last.is_some() {
            // A word of ours, which needs no escapes.
            let source = seen.jvm_source.as_deref().unwrap_or("none");
            line(&mut page, "gauge", "kafkastats_jvm_source", &format!("{{source=\"{source}\"}}"), 1);
        }
        let mut put = |kind, name, value: &dyn Display| line(&mut page, kind, name, "", value);
        put("counter", "kafkastats_reports_total", &seen.reports);
        put("counter", "kafkastats_reports_failed_total", &seen.failed);
        put("counter", "kafkastats_reports_incomplete_total", &seen.incomplete);
        put("counter", "kafkastats_reports_published_total", &self.outbox.published());
        put("counter", "kafkastats_reports_dropped_total", &self.outbox.dropped());
        put("gauge", "kafkastats_reports_waiting", &self.outbox.len());
        if let Some(last) = &seen.last {
            put("gauge", "kafkastats_report_age_seconds", &last.at.elapsed().as_secs_f64());
            put("gauge", "kafkastats_report_duration_seconds", &last.took.as_secs_f64());
            put("gauge", "kafkastats_report_failed", &u8::from(last.has_failure));
        }
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        put("counter", "process_cpu_seconds_total", &(cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9));
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(bytes) = crate::host::text::resident_bytes(&status) {
            put("gauge", "process_resident_memory_bytes", &bytes);
        }
        page
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn line(page: &mut String, kind: &str, name: &str, labels: &str, value: impl Display) {
    // Writing to a string does not fail.
    let _ = write!(page, "# TYPE {name} {kind}\n{name}{labels} {value}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(interval: Duration) -> Status {
        Status::new(3, interval, Arc::new(Outbox::new(brokerstats::StatsWriter::new().unwrap(), 2)))
    }

    #[test]
    fn metrics_tell_what_came_of_reports() {
        let status = status(Duration::from_secs(60));
        let failed = BrokerStats { has_failure: true, ..BrokerStats::new(0, 3) };
        let lacking = BrokerStats {
            failure_detail: Some("x".to_owned()),
            jvm_source: Some("jmx-local".to_owned()),
            ..BrokerStats::new(0, 3)
        };
        for stats in [BrokerStats::new(0, 3), lacking, failed] {
            status.outbox.push(stats.clone());
            status.saw(&stats, Duration::from_millis(250));
        }
        let page = status.metrics();
        for wanted in [
            "kafkastats_reports_total 3\n",
            "kafkastats_reports_failed_total 1\n",
            "kafkastats_reports_incomplete_total 1\n",
            "kafkastats_reports_dropped_total 1\n",
            "kafkastats_reports_waiting 2\n",
            "kafkastats_report_duration_seconds 0.25\n",
            "kafkastats_report_failed 1\n",
            "# TYPE kafkastats_reports_published_total counter\nkafkastats_reports_published_total 0\n",
            ",broker=\"3\"} 1\n",
            "kafkastats_jvm_source{source=\"jmx-local\"} 1\n",
        ] {
            assert!(page.contains(wanted), "{wanted} in {page}");
        }
        // It is read by the parser that reads those of others.
        assert_eq!(crate::jvm::exposition::parse(&page, |_| {}).bad_lines, 0);
    }

    #[test]
    fn a_broker_that_fails_is_no_illness_of_the_agent() {
        let status = status(Duration::from_secs(60));
        assert!(status.health().1.contains(r#""status":"ok""#));
        let failed = BrokerStats {
            has_failure: true,
            failure_detail: Some("gone".to_owned()),
            ..BrokerStats::new(0, 3)
        };
        status.saw(&failed, Duration::ZERO);
        let (is_well, text) = status.health();
        assert!(is_well && text.contains(r#""status":"trouble""#) && text.contains("gone"), "{text}");
        status.saw(&BrokerStats::new(0, 3), Duration::ZERO);
        status.outbox.set_trouble(Some("the topic is away".to_owned()));
        let (is_well, text) = status.health();
        assert!(is_well && text.contains("the topic is away"), "{text}");
    }

    #[test]
    fn an_agent_whose_reports_do_not_come_is_ill() {
        let status = Status {
            started: Instant::now().checked_sub(LATE_AFTER + Duration::from_secs(1)).unwrap(),
            ..status(Duration::from_secs(1))
        };
        let (is_well, text) = status.health();
        assert!(!is_well && text.contains(r#""status":"late""#), "{text}");
        status.saw(&BrokerStats::new(0, 3), Duration::ZERO);
        assert!(status.health().0);
    }
}
