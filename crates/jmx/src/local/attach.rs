//! HotSpot's dynamic attach: asks a running JVM to start its JMX server for this host.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal};

use super::process::inner_pid;
use crate::{Address, Error};

/// How often to look whether the JVM listens.
const POLL: Duration = Duration::from_millis(20);
/// The longest answer that is read.
const MAX_ANSWER: u64 = 1 << 20;
/// The number of SIGQUIT, by which a JVM is asked to listen.
const SIGQUIT: u32 = 3;
const ADDRESS: &str = "com.sun.management.jmxremote.localConnectorAddress";

/// Has the JVM `pid` start its JMX server for this host, if it has none yet, and tells its address.
///
/// This changes the JVM: the server (some threads, a port of the loopback's and the host's addresses that takes only
/// clients of this host) and the thread that listens for attaching stay as long as the JVM lives. So it belongs behind a
/// switch.
///
/// We must run as the JVM's user and group, or as root. The JVM is asked by SIGQUIT, which ends a process that does
/// not expect it: it is sent only to a process that has loaded `libjvm.so` and catches SIGQUIT.
///
/// # Errors
/// [`Error::Attach`] with the reason, if this JVM cannot or must not be attached to; [`Error::AttachIo`].
pub fn start_agent(pid: u32, limit: Duration) -> Result<Address, Error> {
    let target = Target::new(pid, limit)?;
    target.listen()?;
    let started = target.ask("jcmd", "ManagementAgent.start_local")?;
    if let Some(why) = started.failure {
        return Err(target.refuse(&format!("the JVM does not start its agent: {why}")));
    }
    let properties = target.ask("agentProperties", "")?.text;
    let address = property(&properties, ADDRESS);
    address.ok_or_else(|| target.refuse("the JVM has started its agent and names no address"))?.parse()
}

/// The process.
struct Target {
    pid: u32,
    /// Its directory in `/proc`.
    process: PathBuf,
    uid: u32,
    /// Its number in its container.
    inner: u32,
    deadline: Instant,
}

/// What the JVM answered.
struct Answer {
    text: String,
    /// The text, if the command failed.
    failure: Option<String>,
}

impl Target {
    fn new(pid: u32, limit: Duration) -> Result<Target, Error> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let metadata = fs::metadata(&process)
            .map_err(|_| Error::Attach { pid, why: "there is no such process".to_owned() })?;
        let inner = inner_pid(&process).unwrap_or(pid);
        Ok(Target { pid, process, uid: metadata.uid(), inner, deadline: Instant::now() + limit })
    }

    /// Makes the JVM listen at its socket, if it does not yet.
    fn listen(&self) -> Result<(), Error> {
        if self.socket().exists() {
            return Ok(());
        }
        // Held while we look at the process, so that its number cannot become another process's before the signal.
        let number = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let number = number.ok_or_else(|| self.refuse("this is no number of a process"))?;
        let handle = rustix::process::pidfd_open(number, PidfdFlags::empty())
            .map_err(|error| self.io("holding on to the process", error.into()))?;
        self.check()?;
        let trigger = self.trigger()?;
        let sent = rustix::process::pidfd_send_signal(&handle, Signal::QUIT)
            .map_err(|error| self.io("sending SIGQUIT", error.into()));
        let listening = sent.and_then(|()| self.wait());
        // Whoever removes it first, the JVM or we.
        let _ = fs::remove_file(trigger);
        listening
    }

    /// Refuses what SIGQUIT would end.
    fn check(&self) -> Result<(), Error> {
        let maps = self.process.join("maps");
        let maps = fs::read_to_string(&maps).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => {
                self.refuse("we are not its user: run as that user, or as root")
            }
            _ => Error::File { path: maps.clone(), source },
        })?;
        if !maps.lines().any(|line| line.ends_with("/libjvm.so")) {
            return Err(self.refuse("it is no JVM of the HotSpot kind"));
        }
        let path = self.process.join("status");
        let status = fs::read_to_string(&path).map_err(|source| Error::File { path, source })?;
        if !catches_sigquit(&status) {
            return Err(self.refuse(
                "it does not catch SIGQUIT (it is just starting, or runs with -Xrs), and would die of it",
            ));
        }
        Ok(())
    }

    /// Makes the file that tells the JVM why it gets SIGQUIT, in its working directory or in its `/tmp`.
    fn trigger(&self) -> Result<PathBuf, Error> {
        let name = format!(".attach_pid{}", self.inner);
        let places = [self.process.join("cwd").join(&name), self.process.join("root/tmp").join(&name)];
        let mut last = None;
        for place in places {
            match fs::OpenOptions::new().write(true).create_new(true).open(&place) {
                Ok(_) => return Ok(place),
                // One of another attempt does as well.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(place),
                Err(error) => last = Some(error),
            }
        }
        Err(self.io("making the file that asks it to listen", last.unwrap_or(io::ErrorKind::NotFound.into())))
    }

    fn wait(&self) -> Result<(), Error> {
        while !self.socket().exists() {
            if Instant::now() >= self.deadline {
                return Err(self.refuse("it does not listen: does it run with -XX:+DisableAttachMechanism?"));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    fn socket(&self) -> PathBuf {
        self.process.join("root/tmp").join(format!(".java_pid{}", self.inner))
    }

    /// Gives a command with one argument. The JVM takes one command per connection.
    fn ask(&self, command: &str, argument: &str) -> Result<Answer, Error> {
        let socket = self.socket();
        self.check_owner(&socket)?;
        let stream =
            UnixStream::connect(&socket).map_err(|source| self.io("connecting to its socket", source))?;
        let text = self.exchange(stream, command, argument).map_err(|source| match source.kind() {
            // The JVM hangs up on users that it does not take.
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                self.refuse("it hangs up: run as its user and group, or as root")
            }
            _ => self.io("giving it a command", source),
        })?;
        let (code, text) = text.split_once('\n').unwrap_or((&text, ""));
        let failure = (code.trim() != "0").then(|| text.trim().to_owned());
        Ok(Answer { failure, text: text.to_owned() })
    }

    fn exchange(&self, mut stream: UnixStream, command: &str, argument: &str) -> io::Result<String> {
        let left = self.deadline.saturating_duration_since(Instant::now()).max(POLL);
        stream.set_read_timeout(Some(left))?;
        stream.set_write_timeout(Some(left))?;
        // Version 1 of the protocol: a command and three arguments, each ended by NUL.
        stream.write_all(format!("1\0{command}\0{argument}\0\0\0").as_bytes())?;
        let mut bytes = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Anybody could make a socket of this name in `/tmp`.
    fn check_owner(&self, socket: &Path) -> Result<(), Error> {
        let metadata =
            fs::symlink_metadata(socket).map_err(|source| self.io("looking at its socket", source))?;
        if metadata.uid() == self.uid {
            Ok(())
        } else {
            Err(Error::ForeignFile { path: socket.to_owned(), pid: self.pid })
        }
    }

    fn refuse(&self, why: &str) -> Error {
        Error::Attach { pid: self.pid, why: why.to_owned() }
    }

    fn io(&self, doing: &'static str, source: io::Error) -> Error {
        Error::AttachIo { pid: self.pid, doing, source }
    }
}

/// Whether a process with this `/proc/PID/status` has a handler for SIGQUIT.
fn catches_sigquit(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (SIGQUIT - 1) & 1 == 1
}

/// The value of a key in a text as `java.util.Properties` stores it.
fn property(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let value = line.strip_prefix(key)?.strip_prefix('=')?;
        let mut plain = String::with_capacity(value.len());
        let mut characters = value.chars();
        while let Some(character) = characters.next() {
            plain.push(if character == '\\' { characters.next()? } else { character });
        }
        Some(plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_are_read_from_the_mask() {
        assert!(catches_sigquit("Name:\tjava\nSigCgt:\t2000000181005ccf\n"), "bit 2 is set");
        assert!(!catches_sigquit("SigIgn:\tffffffffffffffff\nSigCgt:\t0000000000000003\n"));
        assert!(!catches_sigquit("Name:\tjava\n"), "not knowing is no");
        assert!(!catches_sigquit("SigCgt:\tx\n"));
    }

    #[test]
    fn properties_lose_their_escapes() {
        let text = "#Thu\nother=1\na.b=service\\:jmx\\:rmi\\://127.0.0.1/stub/rO0\\=\n";
        assert_eq!(property(text, "a.b").as_deref(), Some("service:jmx:rmi://127.0.0.1/stub/rO0="));
        assert_eq!(property(text, "a"), None);
    }

    #[test]
    fn what_is_no_jvm_is_left_alone() {
        let error = start_agent(std::process::id(), Duration::from_millis(100)).unwrap_err().to_string();
        assert!(error.contains("no JVM"), "{error}");
        let error = start_agent(0x7fff_fffe, Duration::from_millis(100)).unwrap_err().to_string();
        assert!(error.contains("no such process"), "{error}");
    }
}
