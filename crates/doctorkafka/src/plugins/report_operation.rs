//! The action `report_operation`: writes the audit to the actions topic, as Avro OperatorActions.
//!
//! A topic that cannot be written never holds anything up: records that do not get out at once are spooled to a file
//! in the state dir, bounded, and written when the topic is back, also by the next process.

mod spool;
pub(crate) mod topic;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use brokerstats::{Codec, OperatorAction};
use cluster::{BoxFuture, ClientError, NewRecord};
use control::{ActError, Action, Done, Event, Finding, Record, Severity, Target};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use self::spool::Spool;
use super::endpoint;
use super::task::Task;
use crate::plugin::{ActionConfig, BuildContext, ConfigProblem, Connection};

/// How long an act waits for its record to be written before it says "spooled". Well under the five seconds within
/// which the service ends.
const WAIT: Duration = Duration::from_secs(3);
/// Pauses between attempts while the topic cannot be written.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Bytes of a record's detail, and of each of its sentences, that are written: Kafka refuses records of more than 1 MB.
const MOST_DETAIL: usize = 64 << 10;
const MOST_WORDS: usize = 8 << 10;
/// The kind of the finding that records wait because the topic cannot be written.
const AUDIT_SPOOLED: &str = "audit_spooled";
/// Records on their way to the writing task: more than one cycle ever makes are still taken.
const QUEUE: usize = 1_024;

/// `type: report_operation`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReportOperationConfig {
    /// The topic.
    pub topic: String,
    /// The brokers that have the topic; the managed cluster's own when absent.
    pub bootstrap_servers: Option<String>,
    /// The properties file with the security settings for them.
    pub command_config: Option<PathBuf>,
    /// Whether the topic is created when it is missing.
    pub create_topic: bool,
    /// How many records are kept while the topic cannot be written; the oldest are dropped.
    pub spool: usize,
}

impl Default for ReportOperationConfig {
    fn default() -> Self {
        Self {
            topic: super::ACTIONS_TOPIC.to_owned(),
            bootstrap_servers: None,
            command_config: None,
            create_topic: true,
            spool: 10_000,
        }
    }
}

impl ActionConfig for ReportOperationConfig {
    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = endpoint::check(self.bootstrap_servers.as_deref(), self.command_config.as_deref());
        if self.topic.is_empty() {
            let message = "a topic must have a name".to_owned();
            problems.push(ConfigProblem { path: "topic".to_owned(), message });
        }
        if self.spool == 0 {
            let message = "at least one record must be kept while the topic cannot be written".to_owned();
            problems.push(ConfigProblem { path: "spool".to_owned(), message });
        }
        problems
    }

    fn changes_things(&self) -> bool {
        false
    }

    fn build(&self, context: &BuildContext) -> Result<Arc<dyn Action>, String> {
        let connection =
            endpoint::connection(context, self.bootstrap_servers.as_deref(), self.command_config.as_deref())?;
        let codec = Codec::new().map_err(|e| e.to_string())?;
        let file = context.folder.join(format!("{}.spool", context.name));
        let spool = Spool::open(file, self.spool);
        let (queue, jobs) = mpsc::channel(QUEUE);
        let trouble = Trouble::default();
        let writer =
            Writing { config: self.clone(), connection, codec, spool, refused: 0, trouble: trouble.clone() };
        let task = Task::spawn(writer.run(jobs));
        Ok(Arc::new(ReportOperation { name: context.name.clone(), queue, trouble, _task: task }))
    }
}

struct Job {
    action: OperatorAction,
    written: oneshot::Sender<()>,
}

/// Why the topic cannot be written at present.
#[derive(Clone, Default)]
struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    fn set(&self, why: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct ReportOperation {
    name: String,
    queue: mpsc::Sender<Job>,
    trouble: Trouble,
    _task: Task,
}

impl Action for ReportOperation {
    fn name(&self) -> &str {
        &self.name
    }

    fn findings(&self) -> Vec<Finding> {
        let finding = |why| {
            Finding::new(AUDIT_SPOOLED, Target::Cluster, Severity::Warning, why)
                .waiting_for("the topic to be writable; until then records are kept in the state dir")
        };
        self.trouble.get().map(finding).into_iter().collect()
    }

    fn execute<'a>(&'a self, event: &'a Event, dry_run: bool) -> BoxFuture<'a, Result<Done, ActError>> {
        Box::pin(async move {
            let failed = |message: String| ActError { message, maybe_applied: false, retry: false };
            let record: Record =
                event.payload_as().map_err(|e| failed(format!("the record is not understood: {e}")))?;
            if dry_run {
                return Ok(Done { summary: "would write a record".to_owned(), ..Done::default() });
            }
            let (written, seen) = oneshot::channel();
            let job = Job { action: operator_action(&record), written };
            self.queue.send(job).await.map_err(|_| failed("the writer has ended".to_owned()))?;
            let summary = match tokio::time::timeout(WAIT, seen).await {
                Ok(Ok(())) => "written",
                Ok(Err(_)) => "dropped",
                _ => "spooled",
            };
            Ok(Done { summary: summary.to_owned(), ..Done::default() })
        })
    }
}

/// The audit's line as it goes to the topic.
fn operator_action(record: &Record) -> OperatorAction {
    let (reason, result) = (cut(&record.reason), cut(&record.result));
    let dry = if record.dry_run { " (dry run)" } else { "" };
    let description = format!("{} of {}{dry}: {}; {}", record.operation, record.target, result, reason);
    let mut action = OperatorAction::new(record.timestamp.0, record.cluster.clone(), description);
    action.cluster_id = record.cluster_id.clone().unwrap_or_default();
    action.id = format!("{}-{}", record.cluster, record.sequence);
    action.kind = word(&record.kind);
    action.operation = record.operation.clone();
    action.target = record.target.to_string();
    action.reason = reason.to_owned();
    action.result = result.to_owned();
    action.principal = record.principal.clone();
    let incident = record.cause.as_ref().map(|cause| format!("{} of {}", cause.kind, cause.subject));
    let execution = record.execution.map(|id| format!("execution {id}"));
    action.cause = incident.into_iter().chain(execution).collect::<Vec<_>>().join(", ");
    action.dry_run = record.dry_run;
    action.detail = if record.detail.is_null() { String::new() } else { record.detail.to_string() };
    if action.detail.len() > MOST_DETAIL {
        let left_out = serde_json::json!({"left_out": "too long", "bytes": action.detail.len()});
        action.detail = left_out.to_string();
    }
    action
}

/// The beginning of a text that is too long.
fn cut(text: &str) -> &str {
    match text.char_indices().find(|(at, _)| *at >= MOST_WORDS) {
        Some((at, _)) => &text[..at],
        None => text,
    }
}

/// Whether Kafka will never take this record, whatever else it takes.
fn is_hopeless(why: &ClientError) -> bool {
    const CODES: [&str; 3] = ["MESSAGE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "INVALID_RECORD"];
    matches!(why, ClientError::Refused { code, .. } if CODES.contains(&code.as_str()))
}

/// The name of an enum's variant as it is serialised.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// Writes what is spooled, oldest first.
struct Writing {
    config: ReportOperationConfig,
    connection: Connection,
    codec: Codec,
    spool: Spool<oneshot::Sender<()>>,
    /// Records that Kafka refused for good.
    refused: u64,
    trouble: Trouble,
}

impl Writing {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut pause = SHORTEST_PAUSE;
        loop {
            if self.spool.is_empty() {
                match jobs.recv().await {
                    Some(job) => self.spool.push(job.action, Some(job.written)),
                    None => return,
                }
            }
            while let Ok(job) = jobs.try_recv() {
                self.spool.push(job.action, Some(job.written));
            }
            // On disk first: whoever ends the process now loses nothing, and a record may rather be told twice.
            self.save().await;
            match self.write_first(&mut jobs).await {
                Ok(()) => {
                    pause = SHORTEST_PAUSE;
                    self.trouble.set(None);
                }
                Err(why) if is_hopeless(&why) => {
                    self.refused += 1;
                    tracing::error!(topic = %self.config.topic, error = %why, refused = self.refused,
                        "a record is refused for good and dropped, the next ones go on");
                    self.spool.pop();
                }
                Err(why) => {
                    tracing::warn!(topic = %self.config.topic, waiting = self.spool.len(), error = %why,
                        "the actions topic cannot be written, records are spooled");
                    self.trouble.set(Some(format!(
                        "the actions topic {} cannot be written, the record of what is done waits: {why}",
                        self.config.topic
                    )));
                    let rest = tokio::time::sleep(pause);
                    tokio::pin!(rest);
                    // Whoever comes meanwhile is taken in, so that nobody has to wait for the pause to end.
                    while let Some(job) = tokio::select! { () = &mut rest => None, job = jobs.recv() => job }
                    {
                        self.spool.push(job.action, Some(job.written));
                        while let Ok(job) = jobs.try_recv() {
                            self.spool.push(job.action, Some(job.written));
                        }
                        self.save().await;
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn save(&mut self) {
        let Some(save) = self.spool.unsaved() else { return };
        let written = tokio::task::spawn_blocking(move || {
            let result = save.write();
            (save, result)
        });
        if let Ok((save, result)) = written.await {
            self.spool.saved(&save, result);
        }
    }

    /// Writes the oldest. What comes behind it meanwhile is saved.
    async fn write_first(&mut self, jobs: &mut mpsc::Receiver<Job>) -> Result<(), ClientError> {
        let Some(action) = self.spool.first() else { return Ok(()) };
        let record = match self.codec.encode_action(action) {
            Ok(value) => NewRecord {
                partition: None,
                key: Some(action.cluster_name.clone().into_bytes()),
                value,
                headers: vec![(
                    brokerstats::VERSION_HEADER.to_owned(),
                    brokerstats::ACTION_SCHEMA_VERSION.to_string().into_bytes(),
                )],
            },
            Err(e) => {
                tracing::error!(error = %e, "a record cannot be encoded and is dropped");
                self.spool.pop();
                return Ok(());
            }
        };
        let dropped = self.spool.dropped();
        let append = append(self.connection.clone(), self.config.clone(), record);
        tokio::pin!(append);
        let written = loop {
            tokio::select! {
                written = &mut append => break written,
                Some(job) = jobs.recv() => {
                    self.spool.push(job.action, Some(job.written));
                    self.save().await;
                }
            }
        };
        written?;
        // If the spool has overflowed meanwhile, the first is another one.
        if self.spool.dropped() == dropped
            && let Some(written) = self.spool.pop()
        {
            // Nobody waits any more for a record that was spooled for long.
            let _ = written.send(());
        }
        Ok(())
    }
}

/// Appends a record, and creates the topic if it is missing.
async fn append(
    connection: Connection,
    config: ReportOperationConfig,
    record: NewRecord,
) -> Result<(), ClientError> {
    match connection.log_writer.append(&config.topic, record.clone()).await {
        Err(ClientError::UnknownTopic { .. }) if config.create_topic => {
            topic::create(&*connection.writer, &config.topic).await?;
            connection.log_writer.append(&config.topic, record).await
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::{RecordKind, Severity, Target, Timestamp};

    fn record(detail: serde_json::Value) -> Record {
        Record {
            sequence: 7,
            timestamp: Timestamp(1_700_000_000_000),
            cluster: "prod".to_owned(),
            cluster_id: None,
            kind: RecordKind::Act,
            principal: "p".to_owned(),
            operation: "o".to_owned(),
            target: Target::Cluster,
            reason: "é".repeat(1 << 20),
            result: "r".to_owned(),
            severity: Severity::Info,
            dry_run: false,
            cause: None,
            execution: None,
            detail,
        }
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let action = operator_action(&record(serde_json::json!("x".repeat(2 << 20))));
        assert_eq!(action.detail, r#"{"bytes":2097154,"left_out":"too long"}"#);
        assert!(Codec::new().unwrap().encode_action(&action).unwrap().len() < 64 << 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_that_is_refused_for_good_does_not_block_the_next() {
        use crate::plugins::fakes::{Fake, context};

        let refusal =
            |code: &str| ClientError::Refused { doing: "writing", code: code.to_owned(), why: String::new() };
        let fake = Arc::new(Fake { refusals: vec![refusal("MESSAGE_TOO_LARGE")].into(), ..Fake::default() });
        let folder = tempfile::tempdir().unwrap();
        let context = BuildContext { folder: folder.path().to_owned(), ..context(&fake) };
        let action = ReportOperationConfig::default().build(&context).unwrap();
        let event = Event::new("report_operation", Target::Cluster, "", &record(serde_json::Value::Null));
        assert_eq!(action.execute(&event, false).await.unwrap().summary, "dropped");
        assert_eq!(action.execute(&event, false).await.unwrap().summary, "written");
        assert_eq!(*fake.changes.lock().unwrap(), ["append"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_that_cannot_be_written_is_a_finding_until_it_can() {
        use crate::plugins::fakes::{Fake, context};

        let refusal = ClientError::Refused {
            doing: "writing",
            code: "NOT_ENOUGH_REPLICAS".to_owned(),
            why: String::new(),
        };
        let fake = Arc::new(Fake { refusals: vec![refusal; 3].into(), ..Fake::default() });
        let folder = tempfile::tempdir().unwrap();
        let context = BuildContext { folder: folder.path().to_owned(), ..context(&fake) };
        let action = ReportOperationConfig::default().build(&context).unwrap();
        assert_eq!(action.findings(), []);
        let event = Event::new("report_operation", Target::Cluster, "", &record(serde_json::Value::Null));
        assert_eq!(action.execute(&event, false).await.unwrap().summary, "spooled");
        let found = action.findings();
        assert_eq!(found.iter().map(|finding| finding.kind.as_str()).collect::<Vec<_>>(), [AUDIT_SPOOLED]);
        assert!(found[0].message.contains("NOT_ENOUGH_REPLICAS"), "{}", found[0].message);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(action.findings(), []);
        assert_eq!(*fake.changes.lock().unwrap(), ["append"]);
    }

    /// Takes records, and never says that it has them: the leader of the topic has just died.
    struct Hangs {
        spool: std::path::PathBuf,
    }

    impl cluster::LogWriter for Hangs {
        fn append<'a>(&'a self, _: &'a str, _: NewRecord) -> BoxFuture<'a, Result<(), ClientError>> {
            assert!(self.spool.exists(), "a record is sent that is not on disk");
            Box::pin(std::future::pending())
        }

        fn flush(&self) -> BoxFuture<'_, Result<(), ClientError>> {
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_is_in_the_spool_before_it_is_sent_and_while_that_hangs() {
        use crate::plugins::fakes::{Fake, context};

        let folder = tempfile::tempdir().unwrap();
        let mut context = context(&Arc::new(Fake::default()));
        context.folder = folder.path().to_owned();
        let spool = folder.path().join("plugin.spool");
        context.connection.log_writer = Arc::new(Hangs { spool: spool.clone() });
        let action = ReportOperationConfig::default().build(&context).unwrap();
        let event = Event::new("report_operation", Target::Cluster, "", &record(serde_json::Value::Null));
        for _ in 0..2 {
            assert_eq!(action.execute(&event, false).await.unwrap().summary, "spooled");
        }
        drop(action);
        let left: Spool<()> = Spool::open(spool, 10);
        assert_eq!(left.len(), 2);
    }

    #[test]
    fn a_record_says_all_that_scripts_read() {
        let record = Record {
            sequence: 7,
            timestamp: Timestamp(1_700_000_000_000),
            cluster: "prod".to_owned(),
            cluster_id: Some("abc".to_owned()),
            kind: RecordKind::Act,
            principal: "reassign_partitions".to_owned(),
            operation: "reassign_partitions".to_owned(),
            target: Target::Broker(cluster::BrokerId(3)),
            reason: "broker 3 is dead".to_owned(),
            result: "submitted".to_owned(),
            severity: Severity::Warning,
            dry_run: true,
            cause: Some(control::IncidentKey {
                kind: "broker_dead".to_owned(),
                subject: Target::Broker(cluster::BrokerId(3)),
            }),
            execution: Some(2),
            detail: serde_json::json!({"moves": 60}),
        };
        let action = operator_action(&record);
        let line = serde_json::to_value(action.line()).unwrap();
        let expected = serde_json::json!({"timestamp": 1_700_000_000_000_i64, "cluster": "prod",
            "operation": "reassign_partitions", "target": "broker 3", "reason": "broker 3 is dead",
            "result": "submitted", "dryRun": true, "kind": "act",
            "cause": "broker_dead of broker 3, execution 2"});
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(line.get(field), Some(value), "{field} in {line}");
        }
        assert_eq!(
            action.description,
            "reassign_partitions of broker 3 (dry run): submitted; broker 3 is dead"
        );
    }
}
