//! Kafka's jars, and what is made from them once: a formatted storage and class-data archives.
//!
//! Starting a broker costs the JVM about as much CPU for loading and verifying classes as Kafka needs for
//! its own start. A class-data-sharing archive, made once per version by a trial run, halves the start.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::guard::{Guard, signal, wait_child};
use crate::ports::Ports;
use crate::properties;
use crate::version::Version;

/// Changes whenever a kit is made differently, so that old ones are made anew.
const RECIPE: &str = "1";
/// The cluster id of every storage; clusters are told apart by their ports.
pub(crate) const FORMAT_CLUSTER_ID: &str = "AAAAAAAAQACAAAAAAAAAAA";
/// Jars that come along as dependencies of Kafka Connect; no broker and no tool of ours loads them.
const UNUSED: [&str; 11] = [
    "jetty-",
    "jersey-",
    "hk2-",
    "jakarta.",
    "javax.",
    "swagger-",
    "javassist-",
    "reflections-",
    "connect-",
    "classgraph-",
    "jaxb-",
];

/// The directory that holds everything of the lab: `target/lab` of the workspace.
pub fn home() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_path_buf);
    target.or_else(|| workspace.map(|dir| dir.join("target"))).unwrap_or_default().join("lab")
}

/// One version of Kafka, ready to run.
#[derive(Debug, Clone)]
pub struct Kit {
    version: Version,
    dir: PathBuf,
    java: PathBuf,
    classpath: String,
}

impl Kit {
    /// The kit of `version`; fetched and prepared at the first call on a machine (needs `mvn` and `java`).
    /// Processes that call at the same time wait for the first.
    pub fn get(version: Version) -> Result<Self> {
        let dir = home().join(version.number());
        fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        let marker = dir.join("ready");
        let java = java();
        if fs::read_to_string(&marker).is_ok_and(|text| text == RECIPE) {
            let classpath = classpath(&dir.join("libs"))?;
            return Ok(Self { version, dir, java, classpath });
        }
        let lock = File::create(dir.join("lock")).context("opening the lock of the jars")?;
        lock.lock().context("locking the jars")?;
        if fs::read_to_string(&marker).is_ok_and(|text| text == RECIPE) {
            let classpath = classpath(&dir.join("libs"))?;
            return Ok(Self { version, dir, java, classpath });
        }
        fetch(&dir, &kafka_pom(version), &[])?;
        let classpath = classpath(&dir.join("libs"))?;
        let kit = Self { version, dir, java, classpath };
        kit.prepare()?;
        fs::write(&marker, RECIPE).context("writing the marker of the jars")?;
        Ok(kit)
    }

    /// Which Kafka this is.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Where the jars and archives lie.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A storage directory as `kafka-storage format` leaves it: `bootstrap.checkpoint` is the same for all
    /// nodes, `meta.properties` is written per node.
    pub(crate) fn bootstrap_checkpoint(&self) -> PathBuf {
        self.dir.join("format").join("bootstrap.checkpoint")
    }

    /// The command of a node's JVM up to (not including) the main class.
    pub(crate) fn node_command(&self, guard: &Guard, log_config_dir: &Path) -> Command {
        let mut command = guard.command(&self.java);
        // Small, quick to start, and with short pauses on two cores: see the measurements in the README.
        command.args(["-Xms96m", "-Xmx256m", "-XX:MaxMetaspaceSize=128m", "-Xss512k"]);
        command.args(["-XX:ReservedCodeCacheSize=48m", "-XX:-UsePerfData"]);
        self.common(&mut command, "node.jsa", log_config_dir);
        command
    }

    /// The command of a command-line tool's JVM up to (not including) the main class.
    pub(crate) fn tool_command(&self, guard: &Guard, log_config_dir: &Path) -> Command {
        let mut command = guard.command(&self.java);
        command.args(["-Xmx128m", "-XX:-UsePerfData"]);
        self.common(&mut command, "tools.jsa", log_config_dir);
        command
    }

    fn common(&self, command: &mut Command, archive: &str, log_config_dir: &Path) {
        command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        let archive = self.dir.join(archive);
        if archive.exists() {
            command.arg(format!("-XX:SharedArchiveFile={}", archive.display()));
        }
        let dir = log_config_dir.display();
        command.arg(format!("-Dlog4j2.configurationFile=file:{dir}/log4j2.properties"));
        command.arg(format!("-Dlog4j.configuration=file:{dir}/log4j.properties"));
        command.args(["-cp", &self.classpath]);
    }

    /// Formats a storage once and makes the archives by a trial run of a node and of a tool.
    fn prepare(&self) -> Result<()> {
        for name in ["node.jsa", "tools.jsa"] {
            let _ = fs::remove_file(self.dir.join(name));
        }
        let guard = Guard::new()?;
        let dir = guard.dir().to_path_buf();
        properties::write_log_config(&dir)?;
        let mut ports = Ports::new(std::net::Ipv4Addr::LOCALHOST.into());
        let (plain, controller) = (ports.take()?, ports.take()?);
        let storage = dir.join("d0");
        let config = dir.join("server.properties");
        fs::write(&config, properties::trial(plain, controller, &storage))
            .context("writing the trial config")?;
        let format = self
            .tool_command(&guard, &dir)
            .args(["kafka.tools.StorageTool", "format", "-t", FORMAT_CLUSTER_ID, "-c"])
            .arg(&config)
            .output()
            .context("running java: is a JDK 17 or later installed?")?;
        if !format.status.success() {
            bail!(
                "formatting a storage failed: {}{}",
                String::from_utf8_lossy(&format.stdout),
                String::from_utf8_lossy(&format.stderr)
            );
        }
        let keep = self.dir.join("format");
        fs::create_dir_all(&keep).context("creating the format directory")?;
        for name in ["bootstrap.checkpoint", "meta.properties"] {
            fs::copy(storage.join(name), keep.join(name)).with_context(|| format!("copying {name}"))?;
        }
        self.make_archives(&guard, &config, plain)
    }

    fn make_archives(&self, guard: &Guard, config: &Path, port: u16) -> Result<()> {
        let dir = guard.dir();
        let log = dir.join("server.log");
        let out = File::create(&log).context("creating the trial's log")?;
        let errors = out.try_clone().context("sharing the trial's log")?;
        let mut node = self
            .node_command_with(guard, dir, "node.jsa")
            .arg("kafka.Kafka")
            .arg(config)
            .stdout(out)
            .stderr(errors)
            .spawn()
            .context("starting the trial node")?;
        let start = Instant::now();
        while !fs::read_to_string(&log).unwrap_or_default().contains("Kafka Server started") {
            if wait_child(&mut node, Duration::from_millis(50)) || start.elapsed() > Duration::from_secs(90) {
                let _ = node.kill();
                let _ = node.wait();
                bail!("the trial node did not start:\n{}", tail(&log, 30));
            }
        }
        let _ = guard
            .command(&self.java)
            .arg(format!("-XX:ArchiveClassesAtExit={}", self.dir.join("tools.jsa").display()))
            .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args(["-cp", &self.classpath, "org.apache.kafka.tools.TopicCommand", "--bootstrap-server"])
            .args([&format!("127.0.0.1:{port}"), "--create", "--topic"])
            .arg("trial")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        signal(node.id(), Signal::TERM)?;
        if !wait_child(&mut node, Duration::from_secs(30)) {
            let _ = node.kill();
            let _ = node.wait();
        }
        Ok(())
    }

    fn node_command_with(&self, guard: &Guard, dir: &Path, archive: &str) -> Command {
        let mut command = guard.command(&self.java);
        command.arg(format!("-XX:ArchiveClassesAtExit={}", self.dir.join(archive).display()));
        self.common(&mut command, archive, dir);
        command
    }
}

/// A Java agent that runs in a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JavaAgent {
    /// jmx_exporter: tells MBeans to Prometheus.
    JmxExporter,
    /// Jolokia: tells MBeans as JSON.
    Jolokia,
}

impl JavaAgent {
    /// Group, artifact and version in Maven; what else picks the file that holds all that the agent needs.
    fn coordinates(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::JmxExporter => ("io.prometheus.jmx", "jmx_prometheus_javaagent", "1.0.1", ""),
            Self::Jolokia => {
                ("org.jolokia", "jolokia-agent-jvm", "2.6.0", "<classifier>javaagent</classifier>")
            }
        }
    }

    /// Its jar; fetched at the first call on a machine.
    pub(crate) fn get(self) -> Result<PathBuf> {
        lone_jar(self.coordinates())
    }
}

/// What Maven brings for these coordinates; fetched at the first call on a machine.
fn libs(coordinates: (&str, &str, &str, &str), options: &[&str]) -> Result<PathBuf> {
    let (_, artifact, version, _) = coordinates;
    let dir = home().join(format!("{artifact}-{version}"));
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let lock = File::create(dir.join("lock")).with_context(|| format!("opening the lock of {artifact}"))?;
    lock.lock().with_context(|| format!("locking {artifact}"))?;
    let libs = dir.join("libs");
    if !libs.exists() {
        fetch(&dir, &pom(artifact, version, &[coordinates]), options)?;
    }
    Ok(libs)
}

fn lone_jar(coordinates: (&str, &str, &str, &str)) -> Result<PathBuf> {
    let libs = libs(coordinates, &["-DexcludeTransitive=true"])?;
    let jar = fs::read_dir(&libs).with_context(|| format!("listing {}", libs.display()))?.flatten().next();
    jar.map(|jar| jar.path()).with_context(|| format!("Maven brought no {}", coordinates.1))
}

/// The class path of Apache Avro for Java.
pub fn avro_class_path() -> Result<String> {
    classpath(&libs(("org.apache.avro", "avro", "1.12.0", ""), &[])?)
}

/// The jar with Kafka's own stand-in for remote storage, which keeps segments in a directory:
/// `org.apache.kafka.server.log.remote.storage.LocalTieredStorage`.
pub fn tiered_storage_jar() -> Result<PathBuf> {
    let number = Version::V4_3.number();
    lone_jar(("org.apache.kafka", "kafka-storage", number, "<classifier>test</classifier>"))
}

fn java() -> PathBuf {
    java_tool("java")
}

/// A program of the JDK that runs the brokers.
pub fn java_tool(name: &str) -> PathBuf {
    match std::env::var_os("JAVA_HOME") {
        Some(home) => PathBuf::from(home).join("bin").join(name),
        None => PathBuf::from(name),
    }
}

/// Has Maven copy what `pom` depends on into `libs` below `dir`.
fn fetch(dir: &Path, pom: &str, options: &[&str]) -> Result<()> {
    let libs = dir.join("libs");
    let fresh = dir.join("libs.new");
    let _ = fs::remove_dir_all(&fresh);
    fs::write(dir.join("pom.xml"), pom).context("writing pom.xml")?;
    let done = Command::new("mvn")
        .args(["-q", "-B", "-ntp", "-f"])
        .arg(dir.join("pom.xml"))
        .arg("dependency:copy-dependencies")
        .arg("-DincludeScope=runtime")
        .args(options)
        .arg(format!("-DoutputDirectory={}", fresh.display()))
        .stdin(Stdio::null())
        .output()
        .context("running mvn: the lab gets its jars through Apache Maven; install `maven` and a JDK")?;
    if !done.status.success() {
        bail!(
            "mvn could not fetch what {} names:\n{}{}",
            dir.join("pom.xml").display(),
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
    }
    let _ = fs::remove_dir_all(&libs);
    fs::rename(&fresh, &libs).context("moving the jars into place")
}

fn kafka_pom(version: Version) -> String {
    let binding = match version {
        Version::V4_3 => ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.4", ""),
        Version::V3_9 => ("org.slf4j", "slf4j-reload4j", "1.7.36", ""),
    };
    let number = version.number();
    let kafka = [
        ("org.apache.kafka", "kafka_2.13", number, ""),
        ("org.apache.kafka", "kafka-tools", number, ""),
        binding,
    ];
    pom("kafka", number, &kafka)
}

/// A project that depends on these: group, artifact, version, and what else picks a file.
fn pom(name: &str, number: &str, jars: &[(&str, &str, &str, &str)]) -> String {
    let mut dependencies = String::new();
    for (group, artifact, version, more) in jars {
        dependencies.push_str(&format!(
            "    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version>{more}</dependency>\n"
        ));
    }
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n  <modelVersion>4.0.0</modelVersion>\n  \
         <groupId>lab</groupId><artifactId>{name}</artifactId><version>{number}</version>\n  \
         <packaging>pom</packaging>\n  <dependencies>\n{dependencies}  </dependencies>\n</project>\n"
    )
}

fn classpath(libs: &Path) -> Result<String> {
    let entries = fs::read_dir(libs).with_context(|| format!("reading {}", libs.display()))?;
    let mut jars: Vec<String> = Vec::new();
    for entry in entries {
        let name = entry.context("listing the jars")?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".jar") && !UNUSED.iter().any(|prefix| name.starts_with(prefix)) {
            jars.push(libs.join(name).display().to_string());
        }
    }
    // The order is part of what a class-data archive is checked against.
    jars.sort();
    Ok(jars.join(":"))
}

/// The last `lines` lines of a file; empty when it cannot be read.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
