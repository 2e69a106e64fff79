//! `lab`: a real Kafka cluster for the development machine.

use std::io::{BufRead as _, Write as _};
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use lab::{CONTROLLER, Cluster, Kit, Mode, Version, ZOOKEEPER};

/// Real Apache Kafka for tests and development.
#[derive(Debug, Parser)]
#[command(name = "lab", version)]
struct Cli {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Fetch and prepare Kafka's jars, all versions unless one is named.
    Fetch {
        /// 3.9 or 4.3.
        version: Option<Version>,
    },
    /// Start a cluster and keep it until Ctrl-C.
    Up(Up),
}

#[derive(Debug, Args)]
struct Up {
    /// Number of brokers.
    #[arg(long, default_value_t = 3)]
    brokers: usize,
    /// Number of racks; 0 for none.
    #[arg(long, default_value_t = 0)]
    racks: usize,
    /// 3.9 or 4.3.
    #[arg(long, default_value = "4.3")]
    version: Version,
    /// isolated, combined or zookeeper.
    #[arg(long, default_value = "isolated")]
    mode: Mode,
    /// Log directories per broker.
    #[arg(long, default_value_t = 1)]
    log_dirs: usize,
    /// Open a JMX port on each broker.
    #[arg(long)]
    jmx: bool,
    /// Address at which the brokers advertise themselves.
    #[arg(long, default_value = "127.0.0.1")]
    listen: IpAddr,
    /// A Kafka property for every node, as KEY=VALUE; may be repeated.
    #[arg(long = "property", value_name = "KEY=VALUE")]
    properties: Vec<String>,
    /// Create this topic, as NAME:PARTITIONS:REPLICATION; may be repeated.
    #[arg(long = "topic", value_name = "NAME:PARTITIONS:REPLICATION")]
    topics: Vec<String>,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Subcommands::Fetch { version } => fetch(version),
        Subcommands::Up(options) => up(&options),
    }
}

fn fetch(version: Option<Version>) -> Result<()> {
    for wanted in Version::ALL.into_iter().filter(|v| version.is_none_or(|only| only == *v)) {
        let start = Instant::now();
        let kit = Kit::get(wanted)?;
        println!("Kafka {wanted} is ready in {} ({:.1?})", kit.dir().display(), start.elapsed());
    }
    Ok(())
}

fn up(options: &Up) -> Result<()> {
    Kit::get(options.version)?;
    let start = Instant::now();
    let mut builder = Cluster::builder()
        .version(options.version)
        .mode(options.mode)
        .brokers(options.brokers)
        .racks(options.racks)
        .log_dirs(options.log_dirs)
        .jmx(options.jmx)
        .listen(options.listen);
    for property in &options.properties {
        let (key, value) = property.split_once('=').with_context(|| format!("{property} is no KEY=VALUE"))?;
        builder = builder.property(key, value);
    }
    let cluster = Arc::new(builder.start()?);
    println!("Kafka {} with {} brokers is up ({:.1?})", options.version, options.brokers, start.elapsed());
    for topic in &options.topics {
        create(&cluster, topic)?;
    }
    describe(&cluster, options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let console = Arc::downgrade(&cluster);
    std::thread::spawn(move || serve_console(&console));
    runtime.block_on(ended())?;
    println!("\nstopping");
    // If the console is just obeying a line it still holds the cluster; then the end of this process lets
    // the guard do the work of the destructor.
    drop(cluster);
    Ok(())
}

fn create(cluster: &Cluster, topic: &str) -> Result<()> {
    let parts: Vec<_> = topic.split(':').collect();
    let [name, partitions, factor] = parts[..] else { bail!("{topic} is no NAME:PARTITIONS:REPLICATION") };
    let number = |text: &str| text.parse::<u32>().with_context(|| format!("{text} is no number"));
    cluster.create_topic(name, number(partitions)?, number(factor)?)
}

fn describe(cluster: &Cluster, options: &Up) -> Result<()> {
    println!("\nbootstrap servers: {}\n", cluster.bootstrap());
    match options.mode {
        Mode::KraftIsolated => print_node(cluster, "controller", CONTROLLER)?,
        Mode::ZooKeeper => print_node(cluster, "zookeeper", ZOOKEEPER)?,
        Mode::KraftCombined => {}
    }
    for id in cluster.broker_ids() {
        print_node(cluster, "broker", id)?;
    }
    println!("\ntype: kill N | stop N | start N | restart N | pause N | resume N | wipe N | add [RACK] |");
    println!("      topic NAME:PARTITIONS:REPLICATION | describe | under | list | Ctrl-C to end");
    println!("or, from another terminal: kill -9 PID, kill -STOP PID, kill -CONT PID");
    Ok(())
}

fn print_node(cluster: &Cluster, kind: &str, id: i32) -> Result<()> {
    let pid = cluster.pid(id)?.map_or_else(|| "down".to_owned(), |pid| format!("pid {pid}"));
    let rack = cluster.rack(id)?.unwrap_or_default();
    let jmx = cluster.jmx_port(id).map_or_else(|_| String::new(), |port| format!("  jmx {port}"));
    let address = cluster.address(id)?;
    println!("{kind} {id:<3} {address:<21} {pid:<11} {rack}{jmx}  {}", cluster.log_file(id)?.display());
    Ok(())
}

/// Obeys lines from standard input until it ends.
fn serve_console(cluster: &Weak<Cluster>) {
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        let Some(cluster) = cluster.upgrade() else { return };
        let start = Instant::now();
        match obey(&cluster, line.trim()) {
            Ok(answer) => println!("{answer} ({:.1?})", start.elapsed()),
            Err(error) => println!("{error:#}"),
        }
        let _ = std::io::stdout().flush();
    }
}

fn obey(cluster: &Cluster, line: &str) -> Result<String> {
    let words: Vec<_> = line.split_whitespace().collect();
    let node = |text: &str| match text {
        "controller" => Ok(CONTROLLER),
        "zookeeper" => Ok(ZOOKEEPER),
        _ => text.parse::<i32>().with_context(|| format!("{text} is no node")),
    };
    match words[..] {
        ["kill", id] => cluster.kill(node(id)?)?,
        ["stop", id] => cluster.stop(node(id)?).map(|_| ())?,
        ["start", id] => cluster.start(node(id)?)?,
        ["restart", id] => cluster.restart(node(id)?)?,
        ["pause", id] => cluster.pause(node(id)?)?,
        ["resume", id] => cluster.resume(node(id)?)?,
        ["wipe", id] => cluster.wipe(node(id)?)?,
        ["add"] => return cluster.add_broker(None).map(|id| format!("broker {id}")),
        ["add", rack] => return cluster.add_broker(Some(rack)).map(|id| format!("broker {id}")),
        ["topic", topic] => create(cluster, topic)?,
        ["describe"] => return cluster.describe(),
        ["under"] => return cluster.under_replicated(),
        ["list"] => return cluster.reassignments(),
        [] => return Ok(String::new()),
        _ => bail!("not understood: {line}"),
    }
    Ok("done".to_owned())
}

/// Returns at SIGINT, SIGTERM or SIGHUP.
async fn ended() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("watching for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("watching for SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("watching for SIGHUP")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}
