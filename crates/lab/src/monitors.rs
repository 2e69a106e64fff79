//! Ways into a broker's JVM beside Kafka's own protocol: JMX, and the Java agents that tell its MBeans over HTTP.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cluster::Cluster;
use crate::jars::JavaAgent;
use crate::node::Node;

/// A way to the MBeans of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Monitor {
    /// A JMX server that other hosts can reach, at [`Cluster::jmx_port`], without TLS; it asks for a password where
    /// [`crate::Builder::jmx_login`] says so.
    JmxPort,
    /// The JMX server that a JVM has for its own host alone.
    JmxLocal,
    /// The Java agent of jmx_exporter: [`Cluster::monitor_url`] is its page for Prometheus. It has no rules, so that
    /// its names are those that it makes by itself.
    Prometheus,
    /// The Java agent of Jolokia, at [`Cluster::monitor_url`].
    Jolokia,
}

impl Monitor {
    /// The Java agent that it needs.
    pub(crate) fn java_agent(self) -> Option<JavaAgent> {
        match self {
            Self::Prometheus => Some(JavaAgent::JmxExporter),
            Self::Jolokia => Some(JavaAgent::Jolokia),
            Self::JmxPort | Self::JmxLocal => None,
        }
    }

    /// Whether it listens at a port that the lab chooses.
    pub(crate) fn has_port(self) -> bool {
        self != Self::JmxLocal
    }
}

impl Cluster {
    /// The URL of a broker's HTTP monitor; an error where it has none of this kind.
    pub fn monitor_url(&self, id: i32, by: Monitor) -> Result<String> {
        let node = self.node(id)?;
        let path = match by {
            Monitor::Prometheus => "metrics",
            Monitor::Jolokia => "jolokia/",
            Monitor::JmxPort | Monitor::JmxLocal => bail!("{by:?} is not reached over HTTP"),
        };
        let Some(port) = node.ports.monitors.get(&by) else { bail!("{} has no {by:?}", node.name()) };
        Ok(format!("http://127.0.0.1:{port}/{path}"))
    }

    /// The options of a broker's JVM beside those of every node.
    pub(crate) fn add_jvm_options(&self, command: &mut Command, node: &Node) -> Result<()> {
        if self.config.perf_data {
            // Of two settings of one option the last one counts.
            command.arg("-XX:+UsePerfData");
        }
        for (by, port) in &node.ports.monitors {
            match by {
                Monitor::JmxPort => self.add_jmx_port(command, *port)?,
                Monitor::JmxLocal => {}
                Monitor::Prometheus => {
                    let rules = self.guard.dir().join("exporter.yaml");
                    fs::write(&rules, "lowercaseOutputName: false\n")
                        .context("writing the exporter's rules")?;
                    let options = format!("127.0.0.1:{port}:{}", rules.display());
                    command.arg(java_agent(&JavaAgent::JmxExporter.get()?, &options));
                }
                Monitor::Jolokia => {
                    let options = format!("host=127.0.0.1,port={port},discoveryEnabled=false");
                    command.arg(java_agent(&JavaAgent::Jolokia.get()?, &options));
                }
            }
        }
        if self.config.monitors.contains(&(node.id, Monitor::JmxLocal)) {
            command.arg("-Dcom.sun.management.jmxremote");
        }
        let own = self.config.jvm_options.iter().filter(|(id, _)| *id == node.id);
        command.args(own.map(|(_, option)| option));
        Ok(())
    }

    fn add_jmx_port(&self, command: &mut Command, port: u16) -> Result<()> {
        let prefix = "-Dcom.sun.management.jmxremote";
        command.args([
            format!("{prefix}.port={port}"),
            format!("{prefix}.rmi.port={port}"),
            format!("{prefix}.ssl=false"),
            format!("-Djava.rmi.server.hostname={}", self.config.listen),
        ]);
        let Some((user, password)) = &self.config.jmx_login else {
            command.arg(format!("{prefix}.authenticate=false"));
            return Ok(());
        };
        let passwords = secret(&self.guard.dir().join("jmx.password"), &format!("{user} {password}\n"))?;
        let rights = secret(&self.guard.dir().join("jmx.access"), &format!("{user} readonly\n"))?;
        command.arg(format!("{prefix}.password.file={}", passwords.display()));
        command.arg(format!("{prefix}.access.file={}", rights.display()));
        Ok(())
    }
}

fn java_agent(jar: &Path, options: &str) -> String {
    format!("-javaagent:{}={options}", jar.display())
}

/// A file that only we may read, as a JVM wants those with passwords to be.
fn secret(path: &Path, text: &str) -> Result<PathBuf> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(path, mode).with_context(|| format!("locking {}", path.display()))?;
    Ok(path.to_path_buf())
}
