//! `/metrics` in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use control::{Now, Progress, Severity};

use super::status;
use crate::shell::snapshot::{ClusterHandle, Snapshot};

/// The metrics of all clusters and of this process.
pub(super) fn text(clusters: &[ClusterHandle], now: Now) -> String {
    let mut page = Page::default();
    for handle in clusters {
        let snapshot = handle.shared.snapshot();
        of_cluster(&mut page, handle, &snapshot, now);
        of_picture(&mut page, &handle.name, &snapshot, now);
        of_work(&mut page, &handle.name, &snapshot, now);
        of_messages(&mut page, &handle.name, &snapshot);
    }
    of_process(&mut page);
    page.into_text()
}

fn of_cluster(page: &mut Page, handle: &ClusterHandle, last: &Snapshot, now: Now) {
    let name: &str = &handle.name;
    let one = [("cluster", name)];
    if let Some(at) = last.at {
        page.gauge("doctorkafka_cycle_age_seconds", &one, now.tick.since(at.tick).as_secs_f64());
    }
    page.gauge("doctorkafka_cycle_duration_seconds", &one, last.took.as_secs_f64());
    page.counter("doctorkafka_cycles_total", &one, last.cycles);
    page.gauge("doctorkafka_trouble", &one, u8::from(last.trouble.is_some()));
    page.gauge("doctorkafka_looks_on", &one, u8::from(last.looks_on.is_some()));
    page.gauge("doctorkafka_paused", &one, u8::from(last.memory.wishes.paused.is_some()));
    page.gauge("doctorkafka_acts_under_way", &one, last.acts);
    let mut held = BTreeMap::<&str, u64>::new();
    for event in &last.held {
        *held.entry(event.check.name()).or_default() += 1;
    }
    for (check, count) in held {
        page.gauge("doctorkafka_held", &[("cluster", name), ("check", check)], count);
    }
    for ((kind, operation, dry_run), count) in handle.shared.audit.counts() {
        let kind = serde_json::to_value(kind).unwrap_or_default();
        let kind = kind.as_str().unwrap_or_default();
        let dry_run = if dry_run { "true" } else { "false" };
        let labels = [("cluster", name), ("kind", kind), ("operation", &operation), ("dry_run", dry_run)];
        page.counter("doctorkafka_records_total", &labels, count);
    }
}

fn of_picture(page: &mut Page, name: &str, last: &Snapshot, now: Now) {
    let state = last.state.as_deref();
    let age = |what| [("cluster", name), ("of", what)];
    if let Some(brokers) = state.and_then(|state| status::brokers(state, now)) {
        page.gauge("doctorkafka_knowledge_age_seconds", &age("brokers"), seconds(brokers.age));
        let counts = [
            ("live", brokers.live.len()),
            ("dead", brokers.dead.len()),
            ("suspect", brokers.suspects.len()),
            ("unreachable", brokers.unreachable.len()),
        ];
        // Where nobody knows who is dead, no figure says that nobody is.
        let known = if brokers.judged { counts.len() } else { 1 };
        for (state, count) in counts.into_iter().take(known) {
            page.gauge("doctorkafka_brokers", &[("cluster", name), ("state", state)], count);
        }
    }
    if let Some(partitions) = state.and_then(|state| status::partitions(state, now)) {
        page.gauge("doctorkafka_knowledge_age_seconds", &age("partitions"), seconds(partitions.age));
        let one = [("cluster", name)];
        page.gauge("doctorkafka_partitions", &one, partitions.of);
        page.gauge("doctorkafka_partitions_under_replicated", &one, partitions.under_replicated);
        page.gauge("doctorkafka_partitions_leaderless", &one, partitions.leaderless);
    }
    let mut incidents = BTreeMap::<(&str, Severity), u64>::new();
    for incident in last.memory.incidents.open.values() {
        *incidents.entry((&incident.key.kind, incident.severity)).or_default() += 1;
    }
    for ((kind, severity), count) in incidents {
        let severity = match severity {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        };
        let labels = [("cluster", name), ("kind", kind), ("severity", severity)];
        page.gauge("doctorkafka_incidents", &labels, count);
    }
}

fn seconds(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}

fn of_work(page: &mut Page, name: &str, last: &Snapshot, now: Now) {
    let running = last.memory.executions.iter().filter(|execution| execution.is_running());
    let mut sum = Progress::default();
    for execution in running {
        let one = Progress::of(execution, now.wall);
        sum.waiting += one.waiting;
        sum.submitting += one.submitting;
        sum.copying += one.copying;
        sum.cancelling += one.cancelling;
        sum.done += one.done;
        sum.dropped += one.dropped;
    }
    let phases = [
        ("waiting", sum.waiting),
        ("submitting", sum.submitting),
        ("copying", sum.copying),
        ("cancelling", sum.cancelling),
        ("done", sum.done),
        ("dropped", sum.dropped),
    ];
    for (phase, count) in phases {
        page.gauge("doctorkafka_moves", &[("cluster", name), ("phase", phase)], count);
    }
}

fn of_messages(page: &mut Page, name: &str, last: &Snapshot) {
    for (action, counts) in &last.deliveries {
        let labels = [("cluster", name), ("action", action)];
        page.gauge("doctorkafka_messages_waiting", &labels, counts.waiting);
        page.counter("doctorkafka_messages_sent_total", &labels, counts.sent);
        page.counter("doctorkafka_messages_held_back_total", &labels, counts.held_back);
        page.counter("doctorkafka_messages_undeliverable_total", &labels, counts.undeliverable);
    }
}

fn of_process(page: &mut Page) {
    page.gauge("doctorkafka_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let nanos = u64::try_from(cpu.tv_nsec).unwrap_or(0);
    let cpu = std::time::Duration::from_secs(u64::try_from(cpu.tv_sec).unwrap_or(0))
        + std::time::Duration::from_nanos(nanos);
    page.counter("process_cpu_seconds_total", &[], cpu.as_secs_f64());
    if let Some(bytes) = resident_bytes() {
        page.gauge("process_resident_memory_bytes", &[], bytes);
    }
}

/// From the line `VmRSS:  1234 kB` of `/proc/self/status`; nothing on systems without it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// A page in the making: all lines of a metric stand together, as the format demands.
#[derive(Default)]
struct Page(BTreeMap<&'static str, (&'static str, String)>);

impl Page {
    fn gauge(&mut self, name: &'static str, labels: &[(&str, &str)], value: impl Display) {
        self.line("gauge", name, labels, value);
    }

    fn counter(&mut self, name: &'static str, labels: &[(&str, &str)], value: impl Display) {
        self.line("counter", name, labels, value);
    }

    fn line(&mut self, kind: &'static str, name: &'static str, labels: &[(&str, &str)], value: impl Display) {
        let lines = &mut self.0.entry(name).or_insert_with(|| (kind, String::new())).1;
        lines.push_str(name);
        for (n, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let open = if n == 0 { '{' } else { ',' };
            // Writing to a string does not fail.
            let _ = write!(lines, "{open}{label}=\"{text}\"");
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(lines, "{close} {value}");
    }

    fn into_text(self) -> String {
        let mut text = String::new();
        for (name, (kind, lines)) in self.0 {
            let _ = writeln!(text, "# TYPE {name} {kind}");
            text.push_str(&lines);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_can_hold_anything() {
        let mut page = Page::default();
        page.gauge("b", &[("kind", "a \"quoted\"\nline \\ end")], 1);
        page.counter("a_total", &[], 0.5);
        page.gauge("b", &[("kind", "x"), ("y", "z")], 2);
        let expected = "# TYPE a_total counter\na_total 0.5\n# TYPE b gauge\n\
            b{kind=\"a \\\"quoted\\\"\\nline \\\\ end\"} 1\nb{kind=\"x\",y=\"z\"} 2\n";
        assert_eq!(page.into_text(), expected);
    }

    #[test]
    fn messages_that_nobody_got_are_counted() {
        let counts = control::Deliveries { sent: 7, waiting: 2, undeliverable: 1, held_back: 3 };
        let last = Snapshot { deliveries: [("send_email".to_owned(), counts)].into(), ..Snapshot::default() };
        let mut page = Page::default();
        of_messages(&mut page, "prod", &last);
        let text = page.into_text();
        for line in ["held_back_total{L} 3", "sent_total{L} 7", "undeliverable_total{L} 1", "waiting{L} 2"] {
            let line = line.replace("{L}", "{cluster=\"prod\",action=\"send_email\"}");
            assert!(text.contains(&format!("\ndoctorkafka_messages_{line}\n")), "{line}: {text}");
        }
    }

    #[test]
    fn a_process_knows_how_much_memory_it_takes() {
        assert!(resident_bytes().unwrap() > 100_000);
    }
}
