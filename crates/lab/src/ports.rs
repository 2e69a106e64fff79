//! Ports that stay a cluster's own while its brokers come and go.
//!
//! Asking the kernel for "any free port" is not enough here. A killed broker's port is free until the
//! broker is restarted, and the kernel would hand it to any outgoing connection meanwhile. So ports are
//! taken from below the kernel's ephemeral range, in blocks. A block belongs to the process that holds the
//! lock of its file in the machine's temporary directory; the kernel lets go of the lock when the process
//! ends, however it ends. Each port is still tried by binding to it before it is given out, because
//! something outside the lab may listen there.

use std::fs::{self, File};
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Lowest port of the first block: above the well-known services of a development machine.
const FIRST: u16 = 18_000;
/// Ports per block: twelve brokers with every listener.
const BLOCK: u16 = 64;
/// Linux' default for the lower end of the ephemeral range.
const DEFAULT_EPHEMERAL: u16 = 32_768;

/// Ports leased to one cluster for its lifetime.
#[derive(Debug)]
pub(crate) struct Ports {
    bind: IpAddr,
    locks: Vec<File>,
    next: u16,
    end: u16,
}

impl Ports {
    /// Ports that are given out after a trial bind on `bind`.
    pub(crate) fn new(bind: IpAddr) -> Self {
        Self { bind, locks: Vec::new(), next: 0, end: 0 }
    }

    /// A port that nothing listens on and that no other cluster of this machine will be given.
    pub(crate) fn take(&mut self) -> Result<u16> {
        let tries = 4 * usize::from(BLOCK);
        for _ in 0..tries {
            if self.next == self.end {
                self.lease()?;
            }
            let port = self.next;
            self.next += 1;
            if TcpListener::bind((self.bind, port)).is_ok() {
                return Ok(port);
            }
        }
        bail!("no port of {tries} can be bound on {}", self.bind)
    }

    fn lease(&mut self) -> Result<()> {
        let dir = lock_dir()?;
        let blocks = (ephemeral_start().saturating_sub(FIRST) / BLOCK).max(1);
        // Processes start at different blocks, so that they seldom meet.
        let offset = (std::process::id() % u32::from(blocks)) as u16;
        for n in 0..blocks {
            let start = FIRST + (offset + n) % blocks * BLOCK;
            let path = dir.join(start.to_string());
            let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
            if file.try_lock().is_ok() {
                self.locks.push(file);
                (self.next, self.end) = (start, start + BLOCK);
                return Ok(());
            }
        }
        bail!("all {blocks} blocks of ports are taken by other clusters (locks in {})", dir.display())
    }
}

/// Waits, at most for `limit`, until no other cluster of this machine is starting; others wait until the
/// answer is dropped. Starting takes all the CPU there is, running takes little: in turn, each start stays
/// within its time, and tests that run side by side spend the rest waiting for Kafka's time-outs together.
/// It is a courtesy: when time is up the caller goes ahead.
pub(crate) fn turn_to_start(limit: Duration) -> Result<Option<File>> {
    let file = File::create(lock_dir()?.join("starting")).context("opening the lock of starts")?;
    let start = Instant::now();
    while file.try_lock().is_err() {
        if start.elapsed() > limit {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(Some(file))
}

fn lock_dir() -> Result<PathBuf> {
    let dir = std::env::temp_dir().join("kafka-lab-ports");
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    Ok(dir)
}

fn ephemeral_start() -> u16 {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    text.split_whitespace().next().and_then(|low| low.parse().ok()).unwrap_or(DEFAULT_EPHEMERAL)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn no_port_is_given_to_two_clusters() {
        let (mut one, mut two) =
            (Ports::new(Ipv4Addr::LOCALHOST.into()), Ports::new(Ipv4Addr::LOCALHOST.into()));
        let mut seen = BTreeSet::new();
        for _ in 0..100 {
            assert!(seen.insert(one.take().unwrap()));
            assert!(seen.insert(two.take().unwrap()));
        }
        assert!(seen.iter().all(|port| *port < ephemeral_start()));
    }
}
