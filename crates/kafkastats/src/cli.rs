//! The command line.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use brokerstats::StatsWriter;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use cluster::{BrokerId, Reader};
use kafka::{ConnectionConfig, Kafka, Security, client_properties, parse_bootstrap};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::agent::{self, Agent};
use crate::gather::{GatherError, Gatherer, broker_at_bootstrap};
use crate::host::{self, HostSource};
use crate::jvm::Source;
use crate::jvm::options::Options;
use crate::memory::Memory;
use crate::publish::{CAPACITY, Destination, Outbox, Publisher};
use crate::status::Status;
use crate::{listen, settings};

/// The name under which brokers log and meter us.
const CLIENT_ID: &str = "kafkastats";
/// Shorter intervals would measure the measuring.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// With longer ones nobody would know of a broker what it does today.
const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// The pause before the cluster is asked again which broker is meant.
const FIND_PAUSE: Duration = Duration::from_secs(5);
/// The longest name of a topic.
const LONGEST_NAME: usize = 249;

/// Measures one Kafka broker and publishes BrokerStats.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish a report of one broker at every interval, until SIGTERM or Ctrl-C.
    Run(Run),
    /// Print one report of a broker over one interval.
    Once(Once),
}

#[derive(Debug, Args)]
struct Cluster {
    /// Where to reach the cluster of the broker.
    #[arg(long, value_name = "HOST:PORT,…")]
    bootstrap_servers: String,
    /// Client settings as Kafka's own tools take them (SSL, SASL).
    #[arg(long, value_name = "FILE")]
    command_config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Broker {
    /// The broker to measure. Not needed where --server-properties says it, where it alone of the brokers listens at a
    /// bootstrap server, or is the only one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    broker_id: Option<i32>,
}

#[derive(Debug, Args)]
struct Run {
    /// Take options from a file, in YAML (.yaml, .yml) or as properties: `interval: 30s` or `interval=30s`. Those of the
    /// command line count more, but for --metric-name, which adds up.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    cluster: Cluster,
    #[command(flatten)]
    broker: Broker,
    /// The topic to publish to. Created if it is missing and we may.
    #[arg(long, default_value = "brokerstats", value_parser = parse_topic)]
    topic: String,
    /// How often to measure.
    #[arg(long, default_value = "60s", value_parser = parse_interval)]
    interval: Duration,
    /// Where to reach the cluster that holds the topic, if it is another one.
    #[arg(long, value_name = "HOST:PORT,…")]
    stats_bootstrap_servers: Option<String>,
    /// Client settings for that cluster. Without them it is talked to as the broker's own cluster is.
    #[arg(long, value_name = "FILE", requires = "stats_bootstrap_servers")]
    stats_command_config: Option<PathBuf>,
    /// Answer /metrics (Prometheus) and /health at this address.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Remember the cluster's brokers in a file of this directory, which no other agent has, and ask them when started while the own
    /// broker does not serve.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Run as root all the same.
    #[arg(long)]
    allow_root: bool,
    #[command(flatten)]
    host: HostOptions,
    #[command(flatten)]
    jvm: Options,
}

/// What is read on the broker's host.
#[derive(Debug, Args)]
struct HostOptions {
    /// Whether to measure this host: if the broker's address is one of its own, in any case, or not.
    #[arg(long, value_enum, default_value_t)]
    host: host::Choice,
    /// The broker's server.properties: for its id, and the zookeeper.connect of its cluster.
    #[arg(long, value_name = "FILE")]
    server_properties: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Once {
    #[command(flatten)]
    cluster: Cluster,
    #[command(flatten)]
    broker: Broker,
    /// How long to count.
    #[arg(long, default_value = "20s", value_parser = parse_interval)]
    interval: Duration,
    /// Print JSON in the field names of the Avro record.
    #[arg(long)]
    json: bool,
    /// Run as root without a word about it.
    #[arg(long)]
    allow_root: bool,
    #[command(flatten)]
    host: HostOptions,
    #[command(flatten)]
    jvm: Options,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if interval < SHORTEST_INTERVAL {
        return Err(format!("shorter than {}", humantime::format_duration(SHORTEST_INTERVAL)));
    }
    if interval > LONGEST_INTERVAL {
        return Err(format!("longer than {}", humantime::format_duration(LONGEST_INTERVAL)));
    }
    Ok(interval)
}

/// A name that Kafka takes: no other could ever be written to.
fn parse_topic(text: &str) -> Result<String, String> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    match text {
        "" | "." | ".." => Err("no name of a topic".to_owned()),
        long if long.len() > LONGEST_NAME => Err(format!("longer than {LONGEST_NAME} characters")),
        odd if !odd.bytes().all(is_legal) => Err("only letters, digits, '.', '_' and '-'".to_owned()),
        name => Ok(name.to_owned()),
    }
}

/// What clap exits with, too.
const WRONG_USAGE: u8 = 2;

/// Reads the command line, with the options of a file before those of its own.
fn read_command_line(mut words: Vec<OsString>) -> Result<Cli> {
    // Of two values of an option the last one counts: that of the command line.
    let command = Cli::command().mut_subcommand("run", |run| run.args_override_self(true));
    let run = command.find_subcommand("run").cloned().unwrap_or_default();
    let mut empty = None;
    if let Some(file) = config_file(&words) {
        let text = read_some(&file).with_context(|| format!("reading {}", file.display()))?;
        let is_yaml = file.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
        let arguments = settings::arguments(&text, is_yaml, &run).map_err(|problems| {
            let lines: Vec<String> =
                problems.iter().map(|problem| format!("{}:{problem}", file.display())).collect();
            anyhow::anyhow!("the file of options cannot be used\n  {}", lines.join("\n  "))
        })?;
        if arguments.is_empty() {
            empty = Some(file);
        }
        words.splice(2..2, arguments);
    }
    let matches = match (command.try_get_matches_from(words), empty) {
        (Ok(matches), _) => matches,
        (Err(error), Some(file)) if error.kind() == clap::error::ErrorKind::MissingRequiredArgument => {
            bail!(
                "there is no option in {}: write one a line, as bootstrap-servers: HOST:PORT",
                file.display()
            )
        }
        (Err(error), _) => error.exit(),
    };
    Ok(Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()))
}

/// The text of a file: all of it, or more than is taken as options.
fn read_some(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(settings::MAX_BYTES as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// The file that `run --config` names.
fn config_file(words: &[OsString]) -> Option<PathBuf> {
    let (command, options) = words.get(1..)?.split_first()?;
    if command != "run" {
        return None;
    }
    let mut options = options.iter().take_while(|word| *word != "--");
    while let Some(word) = options.next() {
        if word == "--config" {
            return options.next().map(PathBuf::from);
        }
        if let Some(file) = word.to_str().and_then(|word| word.strip_prefix("--config=")) {
            return Some(PathBuf::from(file));
        }
    }
    None
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let work = match read_command_line(std::env::args_os().collect()).and_then(prepare) {
        Ok(work) => work,
        Err(error) => {
            eprintln!("kafkastats: {error:#}");
            return ExitCode::from(WRONG_USAGE);
        }
    };
    match start(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kafkastats: {error:#}");
            match error.downcast_ref() {
                Some(GatherError::WhichBroker { .. }) => ExitCode::from(WRONG_USAGE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// What the options come to.
enum Work {
    /// The cluster of the stats topic stands behind.
    Run(Box<Run>, Ready, Arc<Kafka>),
    Once(Box<Once>, Ready),
}

/// What is to be measured, and how.
struct Ready {
    kafka: Arc<Kafka>,
    /// The broker, where it is named; below zero where its properties say which one it is.
    broker: Option<BrokerId>,
    host: Option<HostSource>,
    properties: Option<PathBuf>,
    jvm: Option<Source>,
    is_jvm_asked_for: bool,
}

/// Makes sure that the options are ones to work with. All that is wrong here is wrong usage.
fn prepare(cli: Cli) -> Result<Work> {
    start_log()?;
    let is_root = rustix::process::geteuid().is_root();
    match cli.command {
        Command::Run(args) => {
            check_user(is_root, args.allow_root)?;
            let ready = Ready::new(&args.cluster, &args.broker, &args.host, &args.jvm)?;
            let stats_kafka = match &args.stats_bootstrap_servers {
                Some(bootstrap) => {
                    let config =
                        args.stats_command_config.as_deref().or(args.cluster.command_config.as_deref());
                    connect(bootstrap, config)?
                }
                None => Arc::clone(&ready.kafka),
            };
            Ok(Work::Run(Box::new(args), ready, stats_kafka))
        }
        Command::Once(args) => {
            if is_root && !args.allow_root {
                tracing::warn!("it runs as root, and needs no right that the broker's user does not have");
            }
            let ready = Ready::new(&args.cluster, &args.broker, &args.host, &args.jvm)?;
            Ok(Work::Once(Box::new(args), ready))
        }
    }
}

impl Ready {
    fn new(cluster: &Cluster, broker: &Broker, host: &HostOptions, jvm: &Options) -> Result<Ready> {
        let by_properties = host.server_properties.as_ref().map(|_| BrokerId(-1));
        Ok(Ready {
            kafka: connect(&cluster.bootstrap_servers, cluster.command_config.as_deref())?,
            broker: broker.broker_id.map(BrokerId).or(by_properties),
            host: HostSource::new(host.host, Path::new("/")),
            properties: host.server_properties.clone(),
            jvm: jvm.source()?,
            is_jvm_asked_for: jvm.are_asked_for(),
        })
    }

    fn agent(self, broker: BrokerId) -> Agent {
        let mut agent = Agent::new(Gatherer::new(self.kafka.clone(), self.kafka, broker));
        if let Some(source) = self.host {
            agent = agent.with_host(source);
        }
        if let Some(file) = self.properties {
            agent = agent.with_properties(file);
        }
        if let Some(source) = self.jvm {
            agent = agent.with_jvm(source, self.is_jvm_asked_for);
        }
        agent
    }
}

fn start_log() -> Result<()> {
    let filter: Targets = match std::env::var("RUST_LOG") {
        Ok(directives) => directives.parse().context("reading RUST_LOG")?,
        Err(_) => format!("info,{}", kafka::LOG_FILTER).parse().context("setting up the log")?,
    };
    let is_terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_ansi(is_terminal).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter).with(lines).init();
    Ok(())
}

fn start(work: Work) -> Result<()> {
    // One thread: an agent waits nearly all of its time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("starting the runtime")?;
    let outcome = runtime.block_on(async {
        match work {
            Work::Run(args, ready, stats_kafka) => run(&args, ready, stats_kafka).await,
            Work::Once(args, ready) => once(&args, ready).await,
        }
    });
    // What the client still has open in the background must not hold up the end.
    runtime.shutdown_background();
    outcome
}

async fn run(args: &Run, ready: Ready, stats_kafka: Arc<Kafka>) -> Result<()> {
    // Before anything that waits, so that a signal means an orderly end.
    let mut stop = pin!(stopped()?);
    // Before the first report, so that a port in use is told at once.
    let listener = match &args.listen {
        Some(at) => Some(TcpListener::bind(at).await.with_context(|| format!("listening on {at}"))?),
        None => None,
    };
    let destination = Destination {
        reader: stats_kafka.clone(),
        writer: stats_kafka.clone(),
        logs: stats_kafka.clone(),
        log: stats_kafka,
        topic: args.topic.clone(),
    };
    let outbox = Arc::new(Outbox::new(StatsWriter::new()?, CAPACITY));
    let publisher = Publisher::new(destination, Arc::clone(&outbox));
    let number = args.broker.broker_id.unwrap_or(-1);
    let status = Arc::new(Status::new(number, args.interval, Arc::clone(&outbox)));
    let listening = listener.map(|listener| {
        let at = listener.local_addr().map(|at| at.to_string()).unwrap_or_default();
        tracing::info!(%at, "answering /metrics and /health");
        tokio::spawn(listen::serve(listener, Arc::clone(&status)))
    });
    let broker = match ready.broker {
        Some(broker) => Some(broker),
        None => tokio::select! {
            found = find_broker(&ready.kafka, &outbox) => Some(found?),
            () = &mut stop => None,
        },
    };
    let mut ended = Ok(());
    if let Some(broker) = broker {
        tracing::info!(
            broker = broker.0,
            topic = %args.topic,
            interval = %humantime::format_duration(args.interval),
            "measuring"
        );
        let bootstrap = ready.kafka.bootstrap();
        let mut agent = ready.agent(broker);
        if let Some(dir) = &args.state_dir {
            agent = agent.with_memory(Memory::open(dir, &bootstrap));
        }
        ended = agent::run(agent, publisher, outbox, args.interval, &status, stop).await;
    }
    if let Some(listening) = listening {
        listening.abort();
    }
    tracing::info!("stopped");
    Ok(ended?)
}

/// Which broker is meant where none is named. Asks until somebody answers: Kafka may start after its agent.
async fn find_broker(kafka: &Kafka, outbox: &Outbox) -> Result<BrokerId, GatherError> {
    let mut is_told = false;
    loop {
        match broker_at_bootstrap(kafka).await {
            Err(error @ GatherError::Find { .. }) => {
                if !is_told {
                    tracing::warn!(why = %error.in_words(), "it is not known yet which broker to measure");
                }
                is_told = true;
                // What /health tells.
                outbox.set_trouble(Some(error.in_words()));
                tokio::time::sleep(FIND_PAUSE).await;
            }
            found => {
                outbox.set_trouble(None);
                return found;
            }
        }
    }
}

/// Refuses to run as root, unless that is wanted.
fn check_user(is_root: bool, is_allowed: bool) -> Result<()> {
    if is_root && !is_allowed {
        bail!(
            "it runs as root, and needs no right that the broker's user does not have: start it as that user, so that a \
             fault of the agent, which reads what comes over networks, has not the rights of root; or give --allow-root"
        );
    }
    Ok(())
}

async fn once(args: &Once, ready: Ready) -> Result<()> {
    let broker = match ready.broker {
        Some(broker) => broker,
        None => broker_at_bootstrap(&*ready.kafka).await?,
    };
    let is_jvm_asked_for = ready.is_jvm_asked_for && ready.jvm.is_some();
    let mut agent = ready.agent(broker);
    agent.measure().await?;
    tokio::select! {
        () = tokio::time::sleep(args.interval) => {}
        () = stopped()? => bail!("stopped before the interval was over"),
    }
    let stats = agent.measure().await?;
    let text = match args.json {
        true => serde_json::to_string_pretty(&stats.to_report()?)? + "\n",
        false => stats.to_text(),
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // Who reads it has read enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        written => written.context("printing the report")?,
    }
    if is_jvm_asked_for && stats.jvm_source.is_none() {
        let why = stats.failure_detail.unwrap_or_default();
        bail!("the figures of the JVM, which are asked for, are missing: {why}");
    }
    Ok(())
}

/// Ends at the first SIGTERM or Ctrl-C.
fn stopped() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn connect(bootstrap: &str, config: Option<&Path>) -> Result<Arc<Kafka>> {
    let security = match config {
        None => Security::plaintext(),
        Some(path) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            client_properties::parse(&text).map_err(|problems| {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                anyhow::anyhow!("{}:\n  {}", path.display(), lines.join("\n  "))
            })?
        }
    };
    for warning in security.warnings() {
        tracing::warn!(%warning, "odd client setting");
    }
    let bootstrap = parse_bootstrap(bootstrap)?;
    Ok(Arc::new(Kafka::new(ConnectionConfig { bootstrap, security, client_id: CLIENT_ID.to_owned() })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    fn run(line: &str) -> Run {
        match read_command_line(words(line)) {
            Ok(Cli { command: Command::Run(run) }) => run,
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn root_is_refused_unless_it_is_allowed() {
        assert!(check_user(true, false).is_err());
        assert!(check_user(true, true).is_ok() && check_user(false, false).is_ok());
    }

    #[test]
    fn the_command_line_counts_more_than_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("agent.yaml");
        std::fs::write(&file, "bootstrap-servers: [a:1, b:2]\nbroker-id: 3\ninterval: 30s\njvm: none\n")
            .unwrap();
        let file = file.display();
        let from_file = run(&format!("kafkastats run --config {file}"));
        assert_eq!(
            (from_file.cluster.bootstrap_servers.as_str(), from_file.broker.broker_id),
            ("a:1,b:2", Some(3))
        );
        assert_eq!((from_file.interval.as_secs(), from_file.topic.as_str()), (30, "brokerstats"));
        let mixed = run(&format!("kafkastats run --broker-id 4 --config={file} --interval 5s"));
        assert_eq!((mixed.broker.broker_id, mixed.interval.as_secs()), (Some(4), 5));
    }

    #[test]
    fn all_that_is_wrong_with_a_file_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("agent.properties");
        std::fs::write(&file, "bootstrap.servers=a:1\ninterval=fast\nbrokerid=3\n").unwrap();
        let error = read_command_line(words(&format!("kafkastats run --config {}", file.display())));
        let told = format!("{:#}", error.unwrap_err());
        for wanted in [
            "agent.properties:2:10: `interval`: ",
            "agent.properties:3:1: unknown key `brokerid`; did you mean `broker-id`?",
        ] {
            assert!(told.contains(wanted), "{wanted} in {told}");
        }
        let empty = directory.path().join("empty.yaml");
        std::fs::write(&empty, "# bootstrap-servers: a:1\n").unwrap();
        let error = read_command_line(words(&format!("kafkastats run --config {}", empty.display())));
        let told = error.unwrap_err().to_string();
        assert!(
            told.starts_with("there is no option in ") && told.contains("empty.yaml: write one"),
            "{told}"
        );
        let missing = read_command_line(words("kafkastats run --config /nowhere/a.yaml")).unwrap_err();
        assert!(format!("{missing:#}").starts_with("reading /nowhere/a.yaml: "));
    }

    #[test]
    fn values_that_no_agent_could_work_with_are_refused() {
        for (options, why) in [
            ("--broker-id=-1", "-1 is not in 0.."),
            ("--broker-id=4294967296", "4294967296 is not in 0.."),
            ("--broker-id 1 --interval 999ms", "shorter than 1s"),
            ("--broker-id 1 --interval 500000000000years", "longer than 1day"),
            ("--broker-id 1 --topic=", "no name of a topic"),
            ("--broker-id 1 --topic a/b", "only letters"),
            ("--broker-id 1 --prometheus http://h:99999/metrics", "no port"),
        ] {
            let line = format!("kafkastats run --bootstrap-servers a:1 {options}");
            let error = Cli::try_parse_from(words(&line)).unwrap_err().to_string();
            assert!(error.contains(why), "{options}: {error}");
        }
    }

    #[test]
    fn only_run_has_a_file() {
        assert_eq!(config_file(&words("kafkastats once --config x")), None);
        assert_eq!(config_file(&words("kafkastats run -- --config x")), None);
        assert_eq!(config_file(&words("kafkastats")), None);
    }
}
