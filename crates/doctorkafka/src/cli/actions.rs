//! `doctorkafka actions`: what was done, from the actions topic.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use brokerstats::{Codec, OperatorAction};
use clap::Args;
use cluster::{BoxFuture, ClientError, LogReader, OffsetAt, StoredRecord, TopicPartition};
use control::config::HumanDuration;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::fail;
use super::words::moment;
use crate::plugin::{Connect, Endpoint};
use crate::plugins::ACTIONS_TOPIC;
use crate::shell::connect::RealConnect;
use crate::shell::neighbours::HEARTBEAT;

/// Print what was done, from the actions topic.
#[derive(Args, Debug)]
pub(super) struct Actions {
    /// Some brokers of the cluster that has the topic.
    #[arg(long, value_name = "HOST:PORT,…", value_parser = bootstrap)]
    bootstrap_servers: Bootstrap,
    /// A properties file with the security settings, as Kafka's own tools take it.
    #[arg(long, value_name = "FILE")]
    command_config: Option<PathBuf>,
    /// The topic.
    #[arg(long, default_value = ACTIONS_TOPIC)]
    topic: String,
    /// Go on with what comes, until interrupted.
    #[arg(long)]
    follow: bool,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Begin at this moment (2024-05-01T12:00:00Z) or this long ago (2h); at the beginning when left out.
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Since>,
    /// Only records of this cluster.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Bootstrap(pub(super) Vec<cluster::BrokerAddress>);

pub(super) fn bootstrap(text: &str) -> Result<Bootstrap, String> {
    kafka::parse_bootstrap(text).map(Bootstrap).map_err(|error| error.to_string())
}

/// Milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
struct Since(i64);

fn since(text: &str) -> Result<Since, String> {
    since_at(text, Timestamp::now())
}

fn since_at(text: &str, now: Timestamp) -> Result<Since, String> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(Since(moment.as_millisecond()));
    }
    let ago: HumanDuration =
        text.parse().map_err(|_| "neither a moment such as 2024-05-01T12:00:00Z nor a time such as 2h")?;
    let ago = i64::try_from(ago.0.as_millis()).map_err(|_| "that is too long ago")?;
    Ok(Since(now.as_millisecond().saturating_sub(ago)))
}

/// How long one read waits for something to come.
pub(super) const WAIT: Duration = Duration::from_secs(1);
/// The pause after a failed read.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a question is put when one is not following.
const TRIES: usize = 5;

impl Actions {
    pub(super) fn run(self) -> ExitCode {
        super::block_on(async move {
            let connect = RealConnect::default();
            let endpoint = Endpoint {
                bootstrap: self.bootstrap_servers.0.clone(),
                command_config: self.command_config.clone(),
            };
            let reader = match connect.connect(&endpoint) {
                Ok(connection) => connection.log_reader,
                Err(why) => return fail(&why),
            };
            let codec = match Codec::new() {
                Ok(codec) => codec,
                Err(error) => return fail(&error.to_string()),
            };
            let mut printing = Printing {
                codec,
                zone: TimeZone::system(),
                json: self.json,
                cluster: self.cluster.clone(),
                lines: 0,
            };
            tokio::select! {
                result = self.read_all(reader, &mut printing) => match result {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(Stop::Kafka(error)) => fail(&format!("topic {}: {error}", self.topic)),
                    // Whoever read our output has gone: that is how `head` ends things.
                    Err(Stop::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
                    Err(Stop::Output(error)) => fail(&error.to_string()),
                },
                _ = tokio::signal::ctrl_c() => ExitCode::SUCCESS,
            }
        })
    }

    async fn read_all(&self, reader: Arc<dyn LogReader>, out: &mut Printing) -> Result<(), Stop> {
        let mut places = Vec::new();
        for number in 0..reader.partitions(&self.topic).await? {
            let at = TopicPartition::new(self.topic.as_str(), number);
            let from = self.since.map_or(OffsetAt::Start, |since| OffsetAt::Time(since.0));
            let offset = patiently(|| reader.offset(&at, from)).await?;
            let end = patiently(|| reader.offset(&at, OffsetAt::End)).await?;
            places.push((at, offset, end));
        }
        self.read_what_is_there(&*reader, &mut places, out).await?;
        if !self.follow {
            return Ok(());
        }
        loop {
            // Each partition is waited for in turn: with more than one, none is later than the sum of the waits.
            for (at, offset, _) in &mut places {
                match reader.read(at, *offset, WAIT).await {
                    Ok(batch) => {
                        *offset = batch.next_offset;
                        out.print(&batch.records)?;
                    }
                    Err(error) if error.is_configuration() => return Err(error.into()),
                    Err(error) => {
                        tracing::warn!(%error, "the topic cannot be read, trying again");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        }
    }

    /// Everything up to the ends as they were, in the order of time where there are several partitions.
    async fn read_what_is_there(
        &self,
        reader: &dyn LogReader,
        places: &mut [(TopicPartition, i64, i64)],
        out: &mut Printing,
    ) -> Result<(), Stop> {
        let one = places.len() == 1;
        let mut all: Vec<StoredRecord> = Vec::new();
        for (at, offset, end) in places {
            while *offset < *end {
                let batch = patiently(|| reader.read(at, *offset, WAIT)).await?;
                // No headway: what is left are records that are no longer kept or that were never committed.
                if batch.next_offset <= *offset {
                    break;
                }
                *offset = batch.next_offset;
                if one {
                    out.print(&batch.records)?;
                } else {
                    all.extend(batch.records);
                }
            }
        }
        all.sort_by_key(|record| record.timestamp_ms);
        out.print(&all)?;
        Ok(())
    }
}

/// Asks again where it goes wrong: right after a healing, when people look here first, leaders have just moved, and a
/// broker that has given a partition away does not know it any more.
pub(super) async fn patiently<'a, T>(
    ask: impl Fn() -> BoxFuture<'a, Result<T, ClientError>>,
) -> Result<T, ClientError> {
    for _ in 1..TRIES {
        match ask().await {
            Err(error) if !error.is_configuration() => tokio::time::sleep(PAUSE).await,
            answer => return answer,
        }
    }
    ask().await
}

/// Why reading stopped.
enum Stop {
    Kafka(ClientError),
    Output(io::Error),
}

impl From<ClientError> for Stop {
    fn from(error: ClientError) -> Self {
        Self::Kafka(error)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

struct Printing {
    codec: Codec,
    zone: TimeZone,
    json: bool,
    cluster: Option<String>,
    lines: u64,
}

/// So often the head of the table comes again.
const HEAD_EVERY: u64 = 50;

impl Printing {
    fn print(&mut self, records: &[StoredRecord]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for record in records {
            let Some(bytes) = &record.value else { continue };
            match self.codec.decode_action(bytes) {
                // Services show each other that they are alive: nothing was done.
                Ok(action) if action.kind == HEARTBEAT => {}
                Ok(action) if self.cluster.as_ref().is_some_and(|name| *name != action.cluster_name) => {}
                Ok(action) => {
                    let line = self.line(&action);
                    out.write_all(line.as_bytes())?;
                }
                Err(error) => tracing::warn!(offset = record.offset, %error, "a record cannot be read"),
            }
        }
        out.flush()
    }

    fn line(&mut self, action: &OperatorAction) -> String {
        let line = action.line();
        if self.json {
            let text = serde_json::to_string(&line).unwrap_or_default();
            return format!("{text}\n");
        }
        let head = format!(
            "{:19}  {:12}  {:24}  {:20}  {}\n",
            "time", "cluster", "operation", "target", "result (reason)"
        );
        let head = if self.lines.is_multiple_of(HEAD_EVERY) { head } else { String::new() };
        self.lines += 1;
        let dry = if line.dry_run { "[dry run] " } else { "" };
        let why = if line.reason.is_empty() { String::new() } else { format!(" ({})", line.reason) };
        let text = format!(
            "{:19}  {:12}  {:24}  {:20}  {dry}{}{why}",
            moment(line.timestamp, &self.zone),
            line.cluster,
            line.operation,
            line.target,
            line.result
        );
        // What stands in a record may come from anywhere: a line stays a line, and drives no terminal.
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("{head}{text}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printing(json: bool) -> Printing {
        let codec = Codec::new().unwrap();
        Printing { codec, zone: TimeZone::UTC, json, cluster: None, lines: 0 }
    }

    fn action() -> OperatorAction {
        let mut action = OperatorAction::new(1_700_000_000_000, "test", "words");
        action.operation = "reassign_partitions".to_owned();
        action.target = "broker 3".to_owned();
        action.reason = "it is\ndead".to_owned();
        action.result = "submitted".to_owned();
        action.dry_run = true;
        action
    }

    #[test]
    fn a_json_line_has_what_scripts_read() {
        let line = printing(true).line(&action());
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected = serde_json::json!({"timestamp": 1_700_000_000_000_i64, "cluster": "test",
            "operation": "reassign_partitions", "target": "broker 3", "reason": "it is\ndead",
            "result": "submitted"});
        for (field, wanted) in expected.as_object().unwrap() {
            assert_eq!(value.get(field), Some(wanted), "{field}");
        }
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn the_table_has_one_line_a_record_and_a_head_now_and_then() {
        let mut printing = printing(false);
        expect_test::expect![[r#"
            time                 cluster       operation                 target                result (reason)
            2023-11-14 22:13:20  test          reassign_partitions       broker 3              [dry run] submitted (it is dead)
        "#]]
        .assert_eq(&printing.line(&action()));
        assert_eq!(printing.line(&action()).lines().count(), 1);
    }

    #[test]
    fn since_is_a_moment_or_a_time_ago() {
        let now = Timestamp::from_millisecond(1_800_000_000_000).unwrap();
        let at = |text| since_at(text, now).map(|since| since.0);
        assert_eq!(at("2023-11-14T22:13:20Z"), Ok(1_700_000_000_000));
        assert_eq!(at("2h"), Ok(1_800_000_000_000 - 7_200_000));
        assert!(at("yesterday").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn asks_again_while_leaders_move_but_not_for_ever_and_not_without_the_right() {
        let count = std::cell::Cell::new(0);
        let ask = async |good: usize, error: fn() -> ClientError| {
            count.set(0);
            let answer = patiently(|| {
                count.set(count.get() + 1);
                let answer = if count.get() >= good { Ok(()) } else { Err(error()) };
                Box::pin(std::future::ready(answer)) as BoxFuture<'static, _>
            });
            (answer.await.is_ok(), count.get())
        };
        let moved = || ClientError::UnknownTopic { what: "actions".into() };
        assert_eq!(ask(3, moved).await, (true, 3));
        assert_eq!(ask(99, moved).await, (false, TRIES));
        let denied = || ClientError::Denied { doing: "reading", why: "no right".into() };
        assert_eq!(ask(99, denied).await, (false, 1));
    }
}
