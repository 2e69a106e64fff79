//! One process of a cluster: its files, and its life and death.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::guard::{Guard, signal, wait_child};
use crate::jars::tail;
use crate::monitors::Monitor;

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Broker,
    Controller,
    Combined,
    ZooKeeper,
}

impl Role {
    pub(crate) fn is_broker(self) -> bool {
        matches!(self, Self::Broker | Self::Combined)
    }
}

/// The ports of a node; only those that its role needs are set.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodePorts {
    /// The plain listener of a broker, or ZooKeeper's client port.
    pub(crate) plain: u16,
    pub(crate) controller: u16,
    /// The ways to the MBeans of a broker that listen.
    pub(crate) monitors: BTreeMap<Monitor, u16>,
    /// The further listeners of a broker, in the order of the cluster's.
    pub(crate) further: Vec<u16>,
}

#[derive(Debug, Default)]
struct Process {
    child: Option<Child>,
    paused: bool,
    /// Where the log of the present run starts.
    log_from: u64,
    /// When the process was last ended without a chance to say goodbye.
    killed: Option<Instant>,
}

/// A node and, while it runs, its process.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: i32,
    pub(crate) role: Role,
    pub(crate) rack: Option<String>,
    pub(crate) ports: NodePorts,
    pub(crate) dir: PathBuf,
    pub(crate) log_dirs: Vec<PathBuf>,
    process: Mutex<Process>,
}

impl Node {
    pub(crate) fn new(id: i32, role: Role, rack: Option<String>, ports: NodePorts, dir: PathBuf) -> Self {
        Self { id, role, rack, ports, dir, log_dirs: Vec::new(), process: Mutex::default() }
    }

    /// How the node is called in messages.
    pub(crate) fn name(&self) -> String {
        match self.role {
            Role::ZooKeeper => "ZooKeeper".to_owned(),
            Role::Controller => format!("controller {}", self.id),
            Role::Broker | Role::Combined => format!("broker {}", self.id),
        }
    }

    /// The file that the node's standard output goes to.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.lock().child.as_ref().map(Child::id)
    }

    /// Whether a process runs that is not stopped by a signal.
    pub(crate) fn is_serving(&self) -> bool {
        let process = self.lock();
        process.child.is_some() && !process.paused
    }

    /// Starts `command` as the node's process.
    pub(crate) fn spawn(&self, guard: &Guard, mut command: Command) -> Result<()> {
        // Someone outside may have killed the process.
        let _ = self.check_alive(guard);
        let mut process = self.lock();
        if process.child.is_some() {
            bail!("{} runs already", self.name());
        }
        let out = OpenOptions::new().create(true).append(true).open(self.log());
        let out = out.with_context(|| format!("opening {}", self.log().display()))?;
        process.log_from = out.metadata().map(|data| data.len()).unwrap_or(0);
        let errors = out.try_clone().context("sharing the log")?;
        command.stdout(out).stderr(errors);
        process.child = Some(command.spawn().with_context(|| format!("starting {}", self.name()))?);
        process.paused = false;
        Ok(())
    }

    /// `SIGKILL`, and wait for the end.
    pub(crate) fn kill(&self, guard: &Guard) -> Result<()> {
        let mut process = self.lock();
        let Some(mut child) = process.child.take() else { bail!("{} does not run", self.name()) };
        guard.forget(child.id());
        child.kill().with_context(|| format!("killing {}", self.name()))?;
        child.wait().with_context(|| format!("waiting for the end of {}", self.name()))?;
        process.killed = Some(Instant::now());
        process.paused = false;
        Ok(())
    }

    /// `SIGTERM`, then `SIGKILL` if the process is still there after `limit`; says whether it went by itself.
    pub(crate) fn stop(&self, guard: &Guard, limit: Duration) -> Result<bool> {
        let mut process = self.lock();
        let Some(mut child) = process.child.take() else { bail!("{} does not run", self.name()) };
        let pid = child.id();
        signal(pid, Signal::TERM)?;
        if process.paused {
            signal(pid, Signal::CONT)?;
        }
        let gone = wait_child(&mut child, limit);
        guard.forget(pid);
        if !gone {
            child.kill().with_context(|| format!("killing {}", self.name()))?;
            child.wait().with_context(|| format!("waiting for the end of {}", self.name()))?;
            process.killed = Some(Instant::now());
        } else {
            process.killed = None;
        }
        process.paused = false;
        Ok(gone)
    }

    /// `SIGSTOP` or `SIGCONT`.
    pub(crate) fn pause(&self, pause: bool) -> Result<()> {
        let mut process = self.lock();
        let Some(child) = &process.child else { bail!("{} does not run", self.name()) };
        signal(child.id(), if pause { Signal::STOP } else { Signal::CONT })?;
        process.paused = pause;
        Ok(())
    }

    /// An error with the end of the log if the process has ended by itself.
    pub(crate) fn check_alive(&self, guard: &Guard) -> Result<()> {
        let mut process = self.lock();
        let Some(child) = &mut process.child else { bail!("{} does not run", self.name()) };
        let Some(status) = child.try_wait().context("looking after a process")? else { return Ok(()) };
        guard.forget(child.id());
        process.child = None;
        process.killed = Some(Instant::now());
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "unknown status".to_owned(),
        };
        bail!("{} ended by itself ({how}); the end of its log:\n{}", self.name(), tail(&self.log(), 40))
    }

    /// Whether the log of the present run contains `needle`.
    pub(crate) fn log_contains(&self, needle: &str) -> bool {
        let from = self.lock().log_from;
        read_from(&self.log(), from).contains(needle)
    }

    /// How long ago the process was killed, if it was and has not been started again.
    pub(crate) fn since_killed(&self) -> Option<Duration> {
        self.lock().killed.map(|at| at.elapsed())
    }

    /// Deletes and makes anew the log directories.
    pub(crate) fn clear_log_dirs(&self) -> Result<()> {
        if self.pid().is_some() {
            bail!("{} runs: its log directories can be wiped only while it is stopped", self.name());
        }
        for dir in &self.log_dirs {
            let _ = fs::remove_dir_all(dir);
            fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_from(path: &Path, from: u64) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path)
        && file.seek(SeekFrom::Start(from)).is_ok()
    {
        let _ = file.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
