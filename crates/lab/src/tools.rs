//! Kafka's own command-line tools, run against the cluster.

use std::fs::{self, File};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use krafka::admin::NewTopic;

use crate::cluster::Cluster;
use crate::guard::wait_child;
use crate::security::{ALLOWED_URLS, TOKEN_URL};
use crate::version::Version;

/// How long a tool may take before it is killed.
const LIMIT: Duration = Duration::from_secs(90);

/// What a tool has said.
#[derive(Debug, Clone)]
pub struct ToolOutput {
    /// How it ended.
    pub status: ExitStatus,
    /// Its answer.
    pub stdout: String,
    /// Warnings and errors.
    pub stderr: String,
}

impl ToolOutput {
    /// The answer, or an error with all that was said if the tool failed.
    pub fn success(self) -> Result<String> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        bail!("the tool failed ({}):\n{}{}", self.status, self.stdout, self.stderr)
    }
}

impl Cluster {
    /// Runs one of Kafka's tools: by a short name (`topics`, `reassign_partitions`, `configs`, `acls`,
    /// `leader_election`, `log_dirs`, `metadata_quorum`, `consumer_groups`, `console_consumer`, `get_offsets`,
    /// `features`, `cluster`), which adds `--bootstrap-server` with the live brokers unless `args` has it;
    /// or by a class name, which adds nothing.
    ///
    /// A tool calls any broker of the metadata, so while one is paused and not yet dropped it may run into
    /// its own time-out of a minute.
    pub fn tool(&self, name: &str, args: &[&str]) -> Result<ToolOutput> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let dir = self.guard.dir().join("tools");
        let run = NEXT.fetch_add(1, Ordering::Relaxed);
        let (out, err) = (dir.join(format!("{run}.out")), dir.join(format!("{run}.err")));
        let mut command = self.kit.tool_command(&self.guard, &dir);
        if let Some(url) = token_url(args) {
            // Kafka's tools get tokens from no place that their JVM was not told of.
            command.arg(format!("{ALLOWED_URLS}={url}"));
        }
        match class(name, self.config.version) {
            Some(class) => {
                command.arg(class);
                if !args.contains(&"--bootstrap-server") && !args.contains(&"--bootstrap-controller") {
                    command.args(["--bootstrap-server", &self.live_bootstrap()?]);
                }
            }
            None if name.contains('.') => {
                command.arg(name);
            }
            None => bail!("the lab knows no tool {name}; name its class"),
        }
        command.args(args);
        command.stdout(File::create(&out).context("creating a tool's output file")?);
        command.stderr(File::create(&err).context("creating a tool's error file")?);
        let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
        let ended = wait_child(&mut child, LIMIT);
        self.guard.forget(child.id());
        if !ended {
            let _ = child.kill();
        }
        let status = child.wait().with_context(|| format!("waiting for {name}"))?;
        let read = |path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let output = ToolOutput {
            status,
            stdout: read(&out).context("reading a tool's output")?,
            stderr: read(&err).context("reading a tool's errors")?,
        };
        let _ = (fs::remove_file(&out), fs::remove_file(&err));
        if !ended {
            bail!("{name} took longer than {LIMIT:?}:\n{}{}", output.stdout, output.stderr);
        }
        Ok(output)
    }

    /// Creates a topic whose replicas Kafka places.
    pub fn create_topic(&self, name: &str, partitions: u32, factor: u32) -> Result<()> {
        let (partitions, factor) = (i32::try_from(partitions)?, i16::try_from(factor)?);
        self.create(NewTopic::new(name, partitions, factor).context("describing a topic")?)
    }

    /// Creates a topic with the given replicas, one list for each partition, its preferred leader first.
    pub fn create_topic_on(&self, name: &str, replicas: &[&[i32]]) -> Result<()> {
        self.create_topic_with(name, replicas, &[])
    }

    /// What `kafka-topics --describe --under-replicated-partitions` prints; empty when all is well.
    pub fn under_replicated(&self) -> Result<String> {
        self.tool("topics", &["--describe", "--under-replicated-partitions"])?.success()
    }

    /// What `kafka-topics --describe` prints.
    pub fn describe(&self) -> Result<String> {
        self.tool("topics", &["--describe"])?.success()
    }

    /// Starts reassignments with Kafka's own tool (`--execute`), as another person would; does not wait for
    /// their end. Each is a topic, a partition and the list of replicas it shall have.
    pub fn reassign(&self, moves: &[(&str, i32, &[i32])]) -> Result<String> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let entries: Vec<_> = moves
            .iter()
            .map(|(topic, partition, replicas)| {
                let replicas = join(replicas, ",");
                format!(r#"{{"topic":"{topic}","partition":{partition},"replicas":[{replicas}]}}"#)
            })
            .collect();
        let name = format!("reassign-{}.json", NEXT.fetch_add(1, Ordering::Relaxed));
        let file = self.guard.dir().join("tools").join(name);
        fs::write(&file, format!(r#"{{"version":1,"partitions":[{}]}}"#, entries.join(",")))
            .context("writing the reassignment")?;
        let path = file.display().to_string();
        self.tool("reassign_partitions", &["--reassignment-json-file", &path, "--execute"])?.success()
    }

    /// What `kafka-reassign-partitions --list` prints.
    pub fn reassignments(&self) -> Result<String> {
        self.tool("reassign_partitions", &["--list"])?.success()
    }
}

/// Where the client settings that a tool is given say that tokens come from.
fn token_url(args: &[&str]) -> Option<String> {
    let place = args.iter().position(|arg| *arg == "--command-config")?;
    let settings = fs::read_to_string(args.get(place + 1)?).ok()?;
    let url = settings.lines().filter_map(|line| line.split_once('=')).find(|(key, _)| *key == TOKEN_URL);
    url.map(|(_, url)| url.to_owned())
}

fn join(ids: &[i32], separator: &str) -> String {
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(separator)
}

fn class(name: &str, version: Version) -> Option<&'static str> {
    Some(match name {
        "topics" => "org.apache.kafka.tools.TopicCommand",
        "reassign_partitions" => "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
        "configs" => "kafka.admin.ConfigCommand",
        "acls" if version == Version::V3_9 => "kafka.admin.AclCommand",
        "acls" => "org.apache.kafka.tools.AclCommand",
        "leader_election" => "org.apache.kafka.tools.LeaderElectionCommand",
        "log_dirs" => "org.apache.kafka.tools.LogDirsCommand",
        "metadata_quorum" => "org.apache.kafka.tools.MetadataQuorumCommand",
        "consumer_groups" => "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        "console_consumer" => "org.apache.kafka.tools.consumer.ConsoleConsumer",
        "get_offsets" => "org.apache.kafka.tools.GetOffsetShell",
        "features" => "org.apache.kafka.tools.FeatureCommand",
        "cluster" => "org.apache.kafka.tools.ClusterTool",
        _ => return None,
    })
}
