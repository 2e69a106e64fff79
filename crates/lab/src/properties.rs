//! What is written into `server.properties`, `zookeeper.properties` and the log configuration.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The parts of a node's configuration that differ between nodes.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeConfig {
    pub(crate) entries: BTreeMap<String, String>,
}

impl NodeConfig {
    pub(crate) fn set(&mut self, key: &str, value: impl Into<String>) {
        self.entries.insert(key.to_owned(), value.into());
    }

    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.entries {
            let _ = writeln!(text, "{key}={value}");
        }
        text
    }
}

/// Settings of every broker and controller: small buffers and few threads, because many share a machine.
pub(crate) fn small(config: &mut NodeConfig) {
    for (key, value) in [
        ("num.network.threads", "2"),
        ("num.io.threads", "2"),
        ("background.threads", "2"),
        ("num.replica.fetchers", "1"),
        ("num.recovery.threads.per.data.dir", "2"),
        ("log.cleaner.dedupe.buffer.size", "2097152"),
        ("log.cleaner.io.buffer.size", "65536"),
        ("log.index.size.max.bytes", "65536"),
        ("socket.send.buffer.bytes", "65536"),
        ("socket.receive.buffer.bytes", "65536"),
    ] {
        config.set(key, value);
    }
}

/// Settings of every broker that make tests quick and repeatable.
pub(crate) fn broker(config: &mut NodeConfig, brokers: usize) {
    let factor = brokers.clamp(1, 3).to_string();
    for key in [
        "offsets.topic.replication.factor",
        "transaction.state.log.replication.factor",
        "share.coordinator.state.topic.replication.factor",
    ] {
        config.set(key, factor.clone());
    }
    for (key, value) in [
        ("offsets.topic.num.partitions", "3"),
        ("transaction.state.log.num.partitions", "3"),
        ("transaction.state.log.min.isr", "1"),
        ("share.coordinator.state.topic.num.partitions", "3"),
        ("share.coordinator.state.topic.min.isr", "1"),
        ("group.initial.rebalance.delay.ms", "0"),
        ("auto.create.topics.enable", "false"),
        ("controlled.shutdown.max.retries", "1"),
    ] {
        config.set(key, value);
    }
}

/// A node that is broker and controller at once, for the trial run.
pub(crate) fn trial(plain: u16, controller: u16, storage: &Path) -> String {
    let mut config = NodeConfig::default();
    small(&mut config);
    broker(&mut config, 1);
    config.set("process.roles", "broker,controller");
    config.set("node.id", "1");
    config.set("controller.quorum.voters", format!("1@127.0.0.1:{controller}"));
    config.set("listeners", format!("PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller}"));
    config.set("controller.listener.names", "CONTROLLER");
    config.set("listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT");
    config.set("log.dirs", storage.display().to_string());
    config.render()
}

/// ZooKeeper's own configuration: one server that several clients of one address may use.
pub(crate) fn zookeeper(port: u16, data: &Path) -> String {
    format!(
        "dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\ntickTime=500\nmaxClientCnxns=0\n\
         admin.enableServer=false\n4lw.commands.whitelist=*\n",
        data.display()
    )
}

/// `meta.properties` of one storage directory of a KRaft node.
pub(crate) fn meta(cluster_id: &str, node: i32, directory_id: &str) -> String {
    format!("version=1\ncluster.id={cluster_id}\nnode.id={node}\ndirectory.id={directory_id}\n")
}

/// Log configuration for both generations of log4j: everything from INFO to standard output.
pub(crate) fn write_log_config(dir: &Path) -> Result<()> {
    const LINE: &str = "%d{yyyy-MM-dd HH:mm:ss,SSS} %p %m (%c{1})%n";
    let new = format!(
        "status=error\nappender.out.type=Console\nappender.out.name=out\nappender.out.layout.type=PatternLayout\n\
         appender.out.layout.pattern={LINE}\nrootLogger.level=info\nrootLogger.appenderRef.out.ref=out\n"
    );
    let old = format!(
        "log4j.rootLogger=INFO, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n\
         log4j.appender.out.layout=org.apache.log4j.PatternLayout\n\
         log4j.appender.out.layout.ConversionPattern={LINE}\n"
    );
    write(&dir.join("log4j2.properties"), &new)?;
    write(&dir.join("log4j.properties"), &old)
}

/// Log configuration of the tools: their standard output is the answer, so only warnings, on standard error.
pub(crate) fn write_tool_log_config(dir: &Path) -> Result<()> {
    let new = "status=error\nappender.err.type=Console\nappender.err.name=err\nappender.err.target=SYSTEM_ERR\n\
               appender.err.layout.type=PatternLayout\nappender.err.layout.pattern=%p %m (%c{1})%n\n\
               rootLogger.level=warn\nrootLogger.appenderRef.err.ref=err\n";
    let old = "log4j.rootLogger=WARN, err\nlog4j.appender.err=org.apache.log4j.ConsoleAppender\n\
               log4j.appender.err.target=System.err\nlog4j.appender.err.layout=org.apache.log4j.PatternLayout\n\
               log4j.appender.err.layout.ConversionPattern=%p %m (%c{1})%n\n";
    write(&dir.join("log4j2.properties"), new)?;
    write(&dir.join("log4j.properties"), old)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
