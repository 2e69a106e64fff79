//! The command line.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use brokerstats::{BrokerStats, Codec};
use clap::{Args, Parser, Subcommand};
use cluster::BrokerId;
use kafka::{ConnectionConfig, Kafka, Security, client_properties, parse_bootstrap};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::agent::{self, Agent};
use crate::gather::{Gatherer, broker_at_bootstrap};
use crate::jvm::options::Options;
use crate::publish::{CAPACITY, Destination, Outbox, Publisher};

/// The name under which brokers log and meter us.
const CLIENT_ID: &str = "kafkastats";
/// Shorter intervals would measure the measuring.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// Measures one Kafka broker over the Kafka protocol and publishes BrokerStats.
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
struct Run {
    #[command(flatten)]
    cluster: Cluster,
    /// The broker to measure.
    #[arg(long, value_name = "N")]
    broker_id: i32,
    /// The topic to publish to. Created if it is missing and we may.
    #[arg(long, default_value = "brokerstats")]
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
    #[command(flatten)]
    jvm: Options,
}

#[derive(Debug, Args)]
struct Once {
    #[command(flatten)]
    cluster: Cluster,
    /// The broker to measure. Not needed if it listens at a bootstrap server, or is the only one.
    #[arg(long, value_name = "N")]
    broker_id: Option<i32>,
    /// How long to count.
    #[arg(long, default_value = "20s", value_parser = parse_interval)]
    interval: Duration,
    /// Print JSON in the field names of the Avro record.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    jvm: Options,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if interval < SHORTEST_INTERVAL {
        return Err(format!("shorter than {}", humantime::format_duration(SHORTEST_INTERVAL)));
    }
    Ok(interval)
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kafkastats: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) => EnvFilter::try_new(directives).context("reading RUST_LOG")?,
        Err(_) => EnvFilter::try_new(format!("info,{}", kafka::LOG_FILTER)).context("setting up the log")?,
    };
    let is_terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(is_terminal)
        .with_writer(std::io::stderr)
        .init();
    // One thread: an agent waits nearly all of its time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("starting the runtime")?;
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Run(args) => run(args).await,
            Command::Once(args) => once(args).await,
        }
    });
    // What the client still has open in the background must not hold up the end.
    runtime.shutdown_background();
    outcome
}

async fn run(args: Run) -> Result<()> {
    // Before anything else, so that a signal at any time means an orderly end.
    let stop = stopped()?;
    let kafka = connect(&args.cluster.bootstrap_servers, args.cluster.command_config.as_deref())?;
    let stats_kafka = match &args.stats_bootstrap_servers {
        Some(bootstrap) => {
            let config = args.stats_command_config.as_deref().or(args.cluster.command_config.as_deref());
            connect(bootstrap, config)?
        }
        None => Arc::clone(&kafka),
    };
    let destination = Destination {
        reader: stats_kafka.clone(),
        writer: stats_kafka.clone(),
        logs: stats_kafka.clone(),
        log: stats_kafka,
        topic: args.topic.clone(),
    };
    let outbox = Arc::new(Outbox::new(CAPACITY));
    let publisher = Publisher::new(destination, Codec::new()?, Arc::clone(&outbox));
    let agent =
        with_jvm(Agent::new(Gatherer::new(kafka.clone(), kafka, BrokerId(args.broker_id))), &args.jvm)?;
    tracing::info!(
        broker = args.broker_id,
        topic = %args.topic,
        interval = %humantime::format_duration(args.interval),
        "measuring"
    );
    agent::run(agent, publisher, outbox, args.interval, stop).await;
    tracing::info!("stopped");
    Ok(())
}

async fn once(args: Once) -> Result<()> {
    let kafka = connect(&args.cluster.bootstrap_servers, args.cluster.command_config.as_deref())?;
    let broker = match args.broker_id {
        Some(id) => BrokerId(id),
        None => broker_at_bootstrap(&*kafka).await.context("name one with --broker-id")?,
    };
    let mut agent = with_jvm(Agent::new(Gatherer::new(kafka.clone(), kafka, broker)), &args.jvm)?;
    agent.measure().await?;
    tokio::select! {
        () = tokio::time::sleep(args.interval) => {}
        () = stopped()? => bail!("stopped before the interval was over"),
    }
    let stats = agent.measure().await?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&stats.to_report()?)?);
    } else {
        print!("{}", for_people(&stats));
    }
    Ok(())
}

fn with_jvm(agent: Agent, options: &Options) -> Result<Agent> {
    Ok(match options.source()? {
        Some(source) => agent.with_jvm(source, options.are_asked_for()),
        None => agent,
    })
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

/// The report as a table: the broker, then its busiest partitions first.
fn for_people(stats: &BrokerStats) -> String {
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
    if let Some(detail) = &stats.failure_detail {
        text.push_str(&format!("not complete: {detail}\n"));
    }
    let mut leaders: Vec<_> = stats.leaders().collect();
    leaders.sort_by_key(|leader| std::cmp::Reverse(leader.bytes_in));
    text.push_str(&format!(
        "{:>14} {:>9} {:>12} {:>14}  partition\n",
        "bytes in", "quality", "messages", "log bytes"
    ));
    for leader in leaders {
        let quality = format!("{:?}", leader.bytes_in_quality).to_lowercase();
        text.push_str(&format!(
            "{:>14} {quality:>9} {:>12} {:>14}  {}-{}\n",
            number(leader.bytes_in),
            number(leader.messages_in),
            number(known(leader.stat.log_size_in_bytes)),
            leader.stat.topic,
            leader.stat.partition,
        ));
    }
    text
}
