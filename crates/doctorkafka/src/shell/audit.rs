//! What happens to records in this process: the log, the newest ones for those who ask, counts for the metrics.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use control::{Record, RecordKind, Severity};

/// How many records are kept for those who ask.
const KEPT: usize = 1_000;
/// How many different operations are counted; all further ones are counted together. Names come from plugins, which
/// are few, so that only a plugin that makes names up ever gets here.
const COUNTED: usize = 200;

/// The target of log lines that are records, so that the log can word them for people.
pub const RECORD_TARGET: &str = "doctorkafka::record";

/// The audit of one cluster.
#[derive(Debug, Default)]
pub struct Audit(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    newest: VecDeque<Record>,
    counts: BTreeMap<(RecordKind, String, bool), u64>,
}

impl Audit {
    /// Takes a record in and logs it.
    pub fn take(&self, record: Record) {
        log(&record);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (record.kind, record.operation.clone(), record.dry_run);
        if kept.counts.len() >= COUNTED && !kept.counts.contains_key(&key) {
            "other".clone_into(&mut key.1);
        }
        *kept.counts.entry(key).or_default() += 1;
        if kept.newest.len() >= KEPT {
            kept.newest.pop_front();
        }
        kept.newest.push_back(record);
    }

    /// The newest records, oldest first, at most `limit`.
    pub fn newest(&self, limit: usize) -> Vec<Record> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = kept.newest.len().saturating_sub(limit);
        kept.newest.iter().skip(skip).cloned().collect()
    }

    /// How many records there were since the start, by kind, operation, and whether nothing was changed.
    pub fn counts(&self) -> BTreeMap<(RecordKind, String, bool), u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).counts.clone()
    }
}

fn log(record: &Record) {
    let text = sentence(record);
    let cluster = record.cluster.as_str();
    let (sequence, dry_run) = (record.sequence, record.dry_run);
    let (operation, target) = (record.operation.as_str(), &record.target);
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(target: RECORD_TARGET, cluster, sequence, operation, %target, dry_run, "{text}")
        };
    }
    match record.severity {
        Severity::Info => line!(info),
        Severity::Warning | Severity::Critical => line!(warn),
    }
}

/// A record in words, on one line.
pub fn sentence(record: &Record) -> String {
    let Record { operation, target, reason, result, principal, .. } = record;
    let words = operation.replace('_', " ");
    let target_words = target.to_string();
    let text = match record.kind {
        RecordKind::Incident if result == "opened" => about(&target_words, reason),
        // An incident's message says what was wrong and would read as if it still were.
        RecordKind::Incident if result.starts_with("resolved") => over(operation, &target_words, result),
        RecordKind::Incident => format!("{} ({result})", about(&target_words, reason)),
        RecordKind::Order => {
            let why = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
            format!("{principal}: {words} {target_words}{why}: {result}")
        }
        RecordKind::Decision | RecordKind::Hold => {
            format!("{words} for {target_words}: {result}: {reason}")
        }
        RecordKind::Act | RecordKind::Output | RecordKind::Outcome => {
            format!("{words} for {target_words}: {result}")
        }
    };
    let mark = if record.dry_run { "[dry run] " } else { "" };
    // Messages may come from scripts: one record is one line whatever is in it.
    format!("{mark}{}", text.replace(char::is_control, " "))
}

/// A message that names what it is about, once.
pub(crate) fn about(target: &str, message: &str) -> String {
    if message.contains(target) || target == "cluster" {
        message.to_owned()
    } else {
        format!("{target}: {message}")
    }
}

fn over(kind: &str, target: &str, result: &str) -> String {
    let after = result.trim_start_matches("resolved").trim_start();
    match kind {
        "under_replicated" if target == "cluster" => format!("healed {after}: all replicas are in sync"),
        "under_replicated" => format!("healed {after}: no replica of {target} is out of sync any more"),
        _ => format!("over {after}: {} ({target})", kind.replace('_', " ")),
    }
}

#[cfg(test)]
mod tests {
    use cluster::BrokerId;
    use control::{Target, Timestamp};
    use expect_test::expect;

    use super::*;

    fn record(kind: RecordKind, operation: &str, target: Target, reason: &str, result: &str) -> Record {
        Record {
            sequence: 1,
            timestamp: Timestamp(0),
            cluster: "test".to_owned(),
            cluster_id: None,
            kind,
            principal: "kim".to_owned(),
            operation: operation.to_owned(),
            target,
            reason: reason.to_owned(),
            result: result.to_owned(),
            severity: Severity::Info,
            dry_run: false,
            cause: None,
            execution: None,
            detail: serde_json::Value::Null,
        }
    }

    #[test]
    fn every_record_is_one_line_of_plain_words() {
        let broker = || Target::Broker(BrokerId(3));
        let mut would = record(
            RecordKind::Decision,
            "reassign_partitions",
            Target::Cluster,
            "broker 3 is dead",
            "admitted, for a dry run of mover",
        );
        would.dry_run = true;
        let lines = [
            record(RecordKind::Incident, "broker_absent", broker(), "broker 3 is absent", "opened"),
            record(RecordKind::Incident, "no_stats", broker(), "its agent is\nsilent", "opened"),
            record(RecordKind::Incident, "dead_broker", broker(), "broker 3 is dead", "raised from warning"),
            record(RecordKind::Incident, "under_replicated", broker(), "x", "resolved after 12 s"),
            record(RecordKind::Incident, "broker_dead", broker(), "x", "resolved after 3 min"),
            would,
            record(RecordKind::Act, "reassign_partitions", broker(), "", "submitting 45 moves"),
            record(RecordKind::Output, "replace_instance", broker(), "", "says: a disk | \u{1b}[31ma host"),
            record(RecordKind::Order, "pause", Target::Cluster, "upgrade", "paused"),
        ];
        let text: Vec<String> = lines.iter().map(sentence).collect();
        expect![[r#"
            broker 3 is absent
            broker 3: its agent is silent
            broker 3 is dead (raised from warning)
            healed after 12 s: no replica of broker 3 is out of sync any more
            over after 3 min: broker dead (broker 3)
            [dry run] reassign partitions for cluster: admitted, for a dry run of mover: broker 3 is dead
            reassign partitions for broker 3: submitting 45 moves
            replace instance for broker 3: says: a disk |  [31ma host
            kim: pause cluster (upgrade): paused"#]]
        .assert_eq(&text.join("\n"));
    }

    #[test]
    fn keeps_the_newest_and_counts_all_of_a_bounded_number_of_names() {
        let audit = Audit::default();
        for n in 0..KEPT + 500 {
            let mut one = record(RecordKind::Act, &format!("name {n}"), Target::Cluster, "", "");
            one.sequence = n as u64;
            audit.take(one);
        }
        let newest = audit.newest(usize::MAX);
        assert_eq!((newest.len(), newest.last().map(|r| r.sequence)), (KEPT, Some(1_499)));
        assert_eq!(audit.newest(2).iter().map(|r| r.sequence).collect::<Vec<_>>(), [1_498, 1_499]);
        let counts = audit.counts();
        assert!(counts.len() <= COUNTED + 1);
        assert_eq!(counts.values().sum::<u64>(), 1_500);
    }
}
