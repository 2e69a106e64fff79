//! Brokers that do not reach the controller, by a rule of this machine's firewall.
//!
//! The rule is held by a small shell that waits for the end of its standard input, so that it goes with whoever holds the [`Cut`],
//! be that killed.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::cluster::{CONTROLLER, Cluster, ZOOKEEPER};
use crate::guard::wait_child;
use crate::launch::group;
use crate::version::Mode;

const HOLD: &str = r#"
trap '' INT TERM HUP QUIT
rule="OUTPUT -o lo -p tcp --dport $1 -m owner --gid-owner $2 -j REJECT --reject-with tcp-reset"
iptables -w 10 -I $rule || exit 1
echo cut
while read -r _; do :; done
iptables -w 10 -D $rule
"#;

/// A broker does not reach the controller (or ZooKeeper) for as long as this is held.
#[derive(Debug)]
pub struct Cut(Child);

impl Cluster {
    /// Cuts a broker of a cluster with [groups](crate::Builder::groups) off from the controller, or from ZooKeeper: what it sends
    /// there is refused. Brokers and clients still reach it. Needs root and `iptables`.
    pub fn cut_off(&self, id: i32) -> Result<Cut> {
        ensure!(self.config.groups, "its brokers have no groups of their own");
        let port = match self.config.mode {
            Mode::ZooKeeper => self.node(ZOOKEEPER)?.ports.plain,
            Mode::KraftIsolated => self.node(CONTROLLER)?.ports.controller,
            Mode::KraftCombined => bail!("a broker that is a controller reaches itself"),
        };
        let mut shell = Command::new("sh");
        shell.args(["-c", HOLD, "kafka-lab-cut", &port.to_string(), &group(&*self.node(id)?).to_string()]);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut cut = Cut(shell.spawn().context("starting the holder of a firewall's rule (sh)")?);
        let mut said = String::new();
        if let Some(out) = cut.0.stdout.take() {
            BufReader::new(out).read_line(&mut said).context("waiting for the firewall")?;
        }
        if said.is_empty() {
            let mut why = String::new();
            if let Some(mut errors) = cut.0.stderr.take() {
                errors.read_to_string(&mut why).context("reading what the firewall says")?;
            }
            bail!("broker {id} cannot be cut off (package iptables): {}", why.trim());
        }
        Ok(cut)
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        wait_child(&mut self.0, Duration::from_secs(15));
    }
}
