//! How a node is laid out on disk, configured and started.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use crate::cluster::{Cluster, ZOOKEEPER};
use crate::node::{Node, Role};
use crate::properties::{self, NodeConfig};
use crate::security::{self, ALLOWED_URLS, Security};
use crate::tokens;
use crate::version::Mode;

impl Cluster {
    /// Writes what `kafka-storage format` would write, without a JVM.
    pub(crate) fn format(&self, node: &Node) -> Result<()> {
        if self.config.mode == Mode::ZooKeeper {
            return Ok(());
        }
        for (index, dir) in node.log_dirs.iter().enumerate() {
            let meta = properties::meta(&self.cluster_id, node.id, &random_id()?);
            fs::write(dir.join("meta.properties"), meta).context("writing meta.properties")?;
            if index == 0 {
                fs::copy(self.kit.bootstrap_checkpoint(), dir.join("bootstrap.checkpoint"))
                    .context("copying bootstrap.checkpoint")?;
            }
        }
        Ok(())
    }

    pub(crate) fn spawn(&self, node: &Node) -> Result<()> {
        let mut command = self.command(node)?;
        if self.config.groups && node.role.is_broker() {
            command.gid(group(node));
        }
        node.spawn(&self.guard, command)
    }

    fn command(&self, node: &Node) -> Result<Command> {
        let mut command = self.kit.node_command(&self.guard, self.guard.dir());
        let file = node.dir.join("server.properties");
        if node.role == Role::ZooKeeper {
            let data = node.log_dirs.first().cloned().unwrap_or_default();
            fs::write(&file, properties::zookeeper(node.ports.plain, &data)).context("writing the config")?;
            command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(&file);
            return Ok(command);
        }
        fs::write(&file, self.node_config(node)?.render()).context("writing the config")?;
        if self.config.secured.iter().any(|(_, security)| *security == Security::SaslSsl) {
            let url = tokens::key_url(&self.tls_dir());
            command.arg(format!("{ALLOWED_URLS}={url}"));
        }
        if node.role.is_broker() {
            self.add_jvm_options(&mut command, node)?;
        }
        command.arg("kafka.Kafka").arg(&file);
        Ok(command)
    }

    fn node_config(&self, node: &Node) -> Result<NodeConfig> {
        let mut config = NodeConfig::default();
        properties::small(&mut config);
        properties::broker(&mut config, self.config.brokers);
        let dirs: Vec<_> = node.log_dirs.iter().map(|dir| dir.display().to_string()).collect();
        config.set("log.dirs", dirs.join(","));
        if let Some(rack) = &node.rack {
            config.set("broker.rack", rack);
        }
        self.set_listeners(&mut config, node);
        if self.config.mode == Mode::ZooKeeper {
            config.set("broker.id", node.id.to_string());
            config.set("zookeeper.connect", format!("127.0.0.1:{}/kafka", self.node(ZOOKEEPER)?.ports.plain));
            config.set("zookeeper.session.timeout.ms", "6000");
            // They start together; a busy machine needs longer for ZooKeeper than a session lasts.
            config.set("zookeeper.connection.timeout.ms", "60000");
        } else {
            let roles = match node.role {
                Role::Controller => "controller",
                Role::Combined => "broker,controller",
                Role::Broker | Role::ZooKeeper => "broker",
            };
            config.set("process.roles", roles);
            config.set("node.id", node.id.to_string());
            config.set("controller.listener.names", "CONTROLLER");
            config.set("controller.quorum.voters", self.voters().join(","));
        }
        if self.config.authorizer {
            security::set_authorizer(&mut config, self.config.mode);
        }
        for (key, value) in &self.config.properties {
            config.set(key, value);
        }
        Ok(config)
    }

    fn set_listeners(&self, config: &mut NodeConfig, node: &Node) {
        let (mut listeners, mut advertised) = (Vec::new(), Vec::new());
        let mut protocols = vec!["CONTROLLER:PLAINTEXT".to_owned(), "PLAINTEXT:PLAINTEXT".to_owned()];
        if node.role.is_broker() {
            listeners.push(format!("PLAINTEXT://{}", SocketAddr::new(self.config.bind(), node.ports.plain)));
            advertised.push(format!("PLAINTEXT://{}", self.plain_address(node)));
            config.set("inter.broker.listener.name", "PLAINTEXT");
        }
        for ((name, _), port) in self.config.listeners.iter().zip(&node.ports.further) {
            listeners.push(format!("{name}://{}", SocketAddr::new(self.config.bind(), *port)));
            advertised.push(format!("{name}://{}", SocketAddr::new(self.config.listen, *port)));
        }
        protocols.extend(self.config.listeners.iter().map(|(name, protocol)| format!("{name}:{protocol}")));
        for (name, security) in self.config.secured.iter().filter(|_| node.role.is_broker()) {
            security::set_listener(config, name, *security, &self.config.users, &self.tls_dir());
        }
        if node.ports.controller != 0 {
            listeners.push(format!("CONTROLLER://127.0.0.1:{}", node.ports.controller));
        }
        config.set("listeners", listeners.join(","));
        if !advertised.is_empty() {
            config.set("advertised.listeners", advertised.join(","));
        }
        config.set("listener.security.protocol.map", protocols.join(","));
    }

    fn voters(&self) -> Vec<String> {
        let nodes = self.nodes();
        let voters = nodes.iter().filter(|node| node.ports.controller != 0);
        voters.map(|node| format!("{}@127.0.0.1:{}", node.id, node.ports.controller)).collect()
    }
}

/// The user group of a broker's process, where it has one of its own. No two brokers of a machine have one port.
pub(crate) fn group(node: &Node) -> u32 {
    100_000 + u32::from(node.ports.plain)
}

/// A random UUID as Kafka writes it: 16 bytes in URL-safe base64 without padding.
pub(crate) fn random_id() -> Result<String> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let text = fs::read_to_string("/proc/sys/kernel/random/uuid").context("asking the kernel for a UUID")?;
    let hex: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let mut number = u128::from_str_radix(&hex, 16).context("reading the kernel's UUID")?;
    // The last digit carries only two bits of the 128.
    let mut id = vec![DIGITS[(number as usize & 0b11) << 4]];
    number >>= 2;
    for _ in 0..21 {
        id.push(DIGITS[number as usize & 0b11_1111]);
        number >>= 6;
    }
    id.reverse();
    let id: String = id.into_iter().map(char::from).collect();
    // Kafka refuses ids that begin with a dash: command lines would take them for options.
    Ok(id.replacen('-', "_", usize::from(id.starts_with('-'))))
}
