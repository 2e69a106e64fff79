//! Finds the JVMs of this host.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::PerfData;
use crate::{Address, Error};

/// The largest file of counters that is read. HotSpot's has 32 KiB.
const MAX_FILE: u64 = 1 << 20;
const COMMAND: &str = "sun.rt.javaCommand";
const LOCAL_ADDRESS: &str = "sun.management.JMXConnectorServer.address";
/// JVMs number their JMX servers from 0, and rarely have more than one.
const MAX_SERVERS: usize = 8;

/// A JVM of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jvm {
    /// The process, as this host numbers it (a container may number it otherwise).
    pub pid: u32,
    /// The user that it runs as.
    pub uid: u32,
    /// Where its counters are.
    pub file: PathBuf,
    /// Its counters.
    pub data: PerfData,
}

impl Jvm {
    /// Main class, or jar, and arguments: what stands behind the options on the command line of `java`.
    pub fn command(&self) -> Option<&str> {
        self.data.text(COMMAND)
    }

    /// The main class or jar.
    pub fn main_class(&self) -> Option<&str> {
        self.command()?.split(' ').next()
    }

    /// The options of the JVM, as `-Xmx1g -Dkafka.logs.dir=/var/log/kafka`.
    pub fn options(&self) -> Option<&str> {
        self.data.text("java.rt.vmArgs")
    }

    /// The address of the JMX server for this host alone, if the JVM has one; it wants no login.
    ///
    /// If the JVM is in another network namespace (a container), there is an address and it cannot be reached.
    pub fn local_address(&self) -> Option<Result<Address, Error>> {
        // The counter is there and empty where the JVM has no such server.
        let text = self.data.text(LOCAL_ADDRESS).filter(|text| !text.is_empty())?;
        Some(text.parse())
    }

    /// The addresses of the JMX servers that other hosts can reach.
    pub fn remote_addresses(&self) -> Vec<Address> {
        let server = |number| format!("sun.management.JMXConnectorServer.{number}.remoteAddress");
        let texts = (0..MAX_SERVERS).filter_map(|number| self.data.text(&server(number)));
        texts.filter_map(|text| text.parse().ok()).collect()
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// The JVMs, by process.
    pub jvms: Vec<Jvm>,
    /// What cannot be read: JVMs of other users, and files that are not what they seem to be.
    pub problems: Vec<Error>,
}

/// Finds the JVMs whose counters we may read: those of our own user, or all if we are root; in containers too.
///
/// Not found are JVMs that run with `-XX:-UsePerfData` or `-XX:+PerfDisableSharedMem`, and those of other makers than
/// HotSpot's.
pub fn find_jvms() -> Found {
    find_jvms_under(Path::new("/"))
}

/// As [`find_jvms`], with `proc` and `tmp` of another root than `/`.
pub fn find_jvms_under(root: &Path) -> Found {
    let mut search = Search { proc: root.join("proc"), seen: BTreeSet::new(), found: Found::default() };
    search.directory(&root.join("tmp"), None);
    for pid in search.processes_elsewhere() {
        let tmp = search.proc.join(pid.host.to_string()).join("root/tmp");
        search.directory(&tmp, Some(&pid));
    }
    search.found.jvms.sort_by_key(|jvm| jvm.pid);
    search.found
}

/// A process with a file system, or numbers of processes, of its own.
struct Elsewhere {
    host: u32,
    inner: u32,
}

struct Search {
    proc: PathBuf,
    /// Device and inode of the files that are read.
    seen: BTreeSet<(u64, u64)>,
    found: Found,
}

impl Search {
    /// Looks at the files of all processes in `tmp`, or at those of one.
    fn directory(&mut self, tmp: &Path, only: Option<&Elsewhere>) {
        let Ok(users) = fs::read_dir(tmp) else { return };
        for user in users.flatten() {
            if !user.file_name().to_string_lossy().starts_with("hsperfdata_") {
                continue;
            }
            let directory = user.path();
            if let Some(only) = only {
                self.file(&directory.join(only.inner.to_string()), only.host);
                continue;
            }
            match fs::read_dir(&directory) {
                Ok(files) => {
                    for file in files.flatten() {
                        if let Some(pid) = file.file_name().to_str().and_then(|name| name.parse().ok()) {
                            self.file(&file.path(), pid);
                        }
                    }
                }
                Err(source) => self.found.problems.push(Error::File { path: directory, source }),
            }
        }
    }

    fn file(&mut self, path: &Path, pid: u32) {
        match self.jvm(path, pid) {
            Ok(Some(jvm)) => self.found.jvms.push(jvm),
            Ok(None) => {}
            Err(problem) => self.found.problems.push(problem),
        }
    }

    /// The JVM of this file; `None` if its process is gone, or if it has been read already.
    fn jvm(&mut self, path: &Path, pid: u32) -> Result<Option<Jvm>, Error> {
        let failed = |source| Error::File { path: path.to_owned(), source };
        let Ok(process) = fs::metadata(self.proc.join(pid.to_string())) else { return Ok(None) };
        let file = match open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let metadata = file.metadata().map_err(failed)?;
        // /tmp is everybody's: a file put there for a process of somebody else would lead us to a server of its maker.
        if metadata.uid() != process.uid() || !metadata.is_file() {
            return Err(Error::ForeignFile { path: path.to_owned(), pid });
        }
        if !self.seen.insert(identity(&metadata)) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
        let data = PerfData::parse(&bytes).map_err(|why| Error::PerfData { path: path.to_owned(), why })?;
        Ok(Some(Jvm { pid, uid: metadata.uid(), file: path.to_owned(), data }))
    }

    /// The processes whose `/tmp` or whose number is another one than seen from here.
    fn processes_elsewhere(&self) -> Vec<Elsewhere> {
        let identity_of = |path: PathBuf| fs::metadata(path).map(|metadata| identity(&metadata)).ok();
        let own_tmp = identity_of(self.proc.join("self/root/tmp"));
        let Ok(entries) = fs::read_dir(&self.proc) else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let elsewhere = pids.filter_map(|host: u32| {
            let directory = self.proc.join(host.to_string());
            let inner = inner_pid(&directory).unwrap_or(host);
            // Without the right to look, there is no identity, and no file could be read.
            let tmp = identity_of(directory.join("root/tmp"))?;
            (inner != host || Some(tmp) != own_tmp).then_some(Elsewhere { host, inner })
        });
        elsewhere.collect()
    }
}

/// The number of a process in the innermost of its namespaces.
pub(super) fn inner_pid(process: &Path) -> Option<u32> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().last()?.parse().ok()
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Opens a file, and nothing behind a link, and without waiting should it be a pipe.
fn open(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}
