//! Nothing outlives its owner.
//!
//! Each cluster has a directory and a *guard*: a small shell that waits for the end of its standard input.
//! The owner holds the other end of that pipe and never writes to it, so the kernel closes it when the
//! owner ends, be it by `SIGKILL`. The guard then kills (`SIGKILL`, which a stopped process obeys too)
//! every process of the cluster, takes away what is mounted in the directory and deletes it. An orderly drop takes the same way.
//!
//! Every process of a cluster is started through [`Guard::command`], which registers the process id as an
//! empty file in `pids/` *before* the program starts, and refuses to start it when `pids/` is gone. The
//! guard moves `pids/` away first: so no process can slip through between looking and deleting. A pid is
//! killed only if the command line still names the cluster's directory, so a reused pid is never hit.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::jars::home;

const GUARD: &str = r#"
trap '' INT TERM HUP QUIT
while read -r _; do :; done
cd /
mv "$1/pids" "$1/closed" 2>/dev/null
for file in "$1"/closed/*; do
  pid=${file##*/}
  grep -aqF -- "$1/" "/proc/$pid/cmdline" 2>/dev/null && kill -9 "$pid" 2>/dev/null
done
while read -r _ at _; do
  at=$(printf '%b' "$at")
  case $at in "$1"/*) umount -l "$at" 2>/dev/null ;; esac
done </proc/mounts
tries=0
while [ -e "$1" ] && [ "$tries" -lt 100 ]; do
  rm -rf -- "$1" 2>/dev/null
  tries=$((tries + 1))
  [ -e "$1" ] && sleep 0.1
done
"#;

const LAUNCH: &str = r#": >"$1/pids/$$" || exit 125; shift; exec "$@""#;

/// The directory of a cluster and the watch over its processes.
#[derive(Debug)]
pub(crate) struct Guard {
    dir: PathBuf,
    shell: Child,
    _owned: File,
}

impl Guard {
    /// A fresh directory below `target/lab/run/` with a guard over it.
    pub(crate) fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let runs = home().join("run");
        fs::create_dir_all(&runs).with_context(|| format!("creating {}", runs.display()))?;
        // One lock for "look for abandoned directories" and "make a new one": a directory that is not
        // locked yet would look abandoned.
        let turn = File::create(runs.join(".lock")).context("opening the lock of the run directory")?;
        turn.lock().context("locking the run directory")?;
        sweep(&runs);
        let dir = runs.join(format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("pids")).with_context(|| format!("creating {}", dir.display()))?;
        let owned = File::create(dir.join("owned")).context("creating the owner's lock")?;
        owned.lock().context("taking the owner's lock")?;
        let shell = guard_shell(&dir).stdin(Stdio::piped()).spawn().context("starting the guard (sh)")?;
        Ok(Self { dir, shell, _owned: owned })
    }

    /// The cluster's directory, absolute.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A command whose process ends with the owner. Its arguments must name a path below [`Guard::dir`].
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", LAUNCH, "kafka-lab-launch"]).arg(&self.dir).arg(program);
        command.stdin(Stdio::null()).process_group(0);
        command
    }

    /// Forgets a process that is about to be reaped, so that its pid may be used again.
    pub(crate) fn forget(&self, pid: u32) {
        let _ = fs::remove_file(self.dir.join("pids").join(pid.to_string()));
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let gone = wait_child(&mut self.shell, Duration::from_secs(15));
        if !gone {
            let _ = self.shell.kill();
            let _ = self.shell.wait();
        }
        // The guard itself may have been killed by someone.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn guard_shell(dir: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", GUARD, "kafka-lab-guard"]).arg(dir).stdout(Stdio::null()).stderr(Stdio::null());
    // A Ctrl-C or a kill meant for the owner's group must not reach the guard.
    shell.process_group(0);
    shell
}

/// Waits for the end of `child`, at most for `limit`; says whether it ended.
pub(crate) fn wait_child(child: &mut Child, limit: Duration) -> bool {
    let start = std::time::Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(_)) | Err(_) => return true,
            Ok(None) if start.elapsed() >= limit => return false,
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Removes what owners and guards that were killed together have left (a machine's reset).
fn sweep(runs: &Path) {
    let Ok(entries) = fs::read_dir(runs) else { return };
    for entry in entries.flatten() {
        let Ok(owned) = File::open(entry.path().join("owned")) else { continue };
        if owned.try_lock().is_ok() {
            // Without a standard input the guard does its work at once.
            let _ = guard_shell(&entry.path()).stdin(Stdio::null()).status();
        }
    }
}

/// Sends `signal` to the process `pid`.
pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) -> Result<()> {
    let raw = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let Some(raw) = raw else { bail!("{pid} is no process id") };
    rustix::process::kill_process(raw, signal).with_context(|| format!("sending a signal to process {pid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_process_ends_with_its_guard() {
        let guard = Guard::new().unwrap();
        let dir = guard.dir().to_path_buf();
        let mut child = guard.command(Path::new("tail")).arg("-f").arg(dir.join("owned")).spawn().unwrap();
        let registered = dir.join("pids").join(child.id().to_string());
        while !registered.exists() {
            assert!(child.try_wait().unwrap().is_none());
            std::thread::yield_now();
        }
        signal(child.id(), rustix::process::Signal::STOP).unwrap();
        drop(guard);
        assert!(wait_child(&mut child, Duration::from_secs(10)));
        assert!(!dir.exists());
    }
}
