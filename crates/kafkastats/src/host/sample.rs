//! Reads the counters of the host and of the broker's process at one time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::cgroup;
use super::process::{BrokerProcess, inside};
use super::text::{
    CpuTimes, DiskIo, Memory, ProcessTimes, allowed_processors, cpu_times, disks, interfaces, is_virtual,
    memory, process_times, processors, resident_bytes,
};

/// The counters. What could not be read is `None`, and named in `lacking`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// Processor time of the host.
    pub cpu: Option<CpuTimes>,
    /// Memory of the host.
    pub memory: Option<Memory>,
    /// Bytes received and sent by the network interfaces that are devices.
    pub network: Option<(u64, u64)>,
    /// The broker's process.
    pub process: Option<ProcessSample>,
    /// The log directories, by their path as the broker names it.
    pub dirs: BTreeMap<String, DirSample>,
    /// What could not be read, in words.
    pub lacking: Vec<String>,
}

/// The counters of the broker's process.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessSample {
    /// Which it is.
    pub process: BrokerProcess,
    /// Its processor time.
    pub times: ProcessTimes,
    /// Its resident memory.
    pub resident: Option<u64>,
    /// How many processors it may use; `None` where its control groups cannot be seen.
    pub limit: Option<f64>,
}

/// A log directory.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DirSample {
    /// What its device did. File systems that span devices, or have none, have no such counters.
    pub io: Option<DiskIo>,
    /// Size of its volume and bytes that the broker can still use.
    pub space: Option<(u64, u64)>,
    /// The number of the device that its file system is on: equal on one volume, whatever is on it.
    pub device: u64,
}

/// Where the kernel's files are.
#[derive(Debug, Clone)]
pub struct Roots {
    /// `/proc`.
    pub proc: PathBuf,
    /// `/sys`.
    pub sys: PathBuf,
}

impl Roots {
    /// Both below `root`.
    pub fn below(root: &Path) -> Roots {
        Roots { proc: root.join("proc"), sys: root.join("sys") }
    }
}

impl Sample {
    /// Reads the counters of the host, and of `process` and its log directories `dirs` if there is one.
    pub fn read(roots: &Roots, process: Option<&BrokerProcess>, dirs: &[String]) -> Sample {
        let mut sample = Sample::default();
        let stat = sample.text(&roots.proc.join("stat")).unwrap_or_default();
        sample.cpu = cpu_times(&stat);
        sample.memory = sample.text(&roots.proc.join("meminfo")).and_then(|text| memory(&text));
        sample.network = sample.network(roots);
        let Some(process) = process else { return sample };
        let directory = roots.proc.join(process.pid.to_string());
        sample.process = sample.process(roots, &directory, process, processors(&stat));
        if !dirs.is_empty() {
            sample.dirs(roots, &directory, dirs);
        }
        sample
    }

    fn text(&mut self, file: &Path) -> Option<String> {
        match fs::read_to_string(file) {
            Ok(text) => Some(text),
            Err(error) => {
                self.lacking.push(format!("{}: {error}", file.display()));
                None
            }
        }
    }

    fn network(&mut self, roots: &Roots) -> Option<(u64, u64)> {
        let all = interfaces(&self.text(&roots.proc.join("net/dev"))?);
        let devices: BTreeSet<String> = all
            .iter()
            .map(|interface| interface.name.clone())
            .filter(|name| {
                let interface = roots.sys.join("class/net").join(name);
                // A device that works for another, as virtual functions do in clouds, is counted by that one.
                interface.join("device").exists() && !interface.join("master/device").exists()
            })
            .collect();
        let counts = |name: &str| if devices.is_empty() { !is_virtual(name) } else { devices.contains(name) };
        let counted = all.iter().filter(|interface| counts(&interface.name));
        counted
            .map(|interface| (interface.received, interface.sent))
            .reduce(|sum, next| (sum.0.saturating_add(next.0), sum.1.saturating_add(next.1)))
    }

    fn process(
        &mut self,
        roots: &Roots,
        directory: &Path,
        process: &BrokerProcess,
        processors: usize,
    ) -> Option<ProcessSample> {
        let times = process_times(&self.text(&directory.join("stat"))?)?;
        let status = self.text(&directory.join("status")).unwrap_or_default();
        let groups = self.text(&directory.join("cgroup")).unwrap_or_default();
        let own = fs::read_to_string(roots.proc.join("self/cgroup")).unwrap_or_default();
        let root = directory.join("root");
        let quota = cgroup::quota(&roots.sys, &root, &cgroup::groups(&groups), &cgroup::groups(&own));
        let counts = [allowed_processors(&status), Some(processors)];
        let counts = counts.into_iter().flatten().filter(|count| *count > 0).map(|count| count as f64);
        // Without the quota the share of the processors would look far too small; the JVM knows its own.
        let limit = quota.ok().and_then(|quota| counts.chain(quota).reduce(f64::min));
        Some(ProcessSample { process: process.clone(), times, resident: resident_bytes(&status), limit })
    }

    fn dirs(&mut self, roots: &Roots, directory: &Path, dirs: &[String]) {
        let devices = self.text(&roots.proc.join("diskstats")).map(|text| disks(&text)).unwrap_or_default();
        for dir in dirs {
            let path = inside(directory, dir);
            let device = match fs::metadata(&path) {
                Ok(metadata) => metadata.dev(),
                Err(error) => {
                    self.lacking.push(format!("log directory {dir} on the host: {error}"));
                    continue;
                }
            };
            let number = (rustix::fs::major(device), rustix::fs::minor(device));
            let space = rustix::fs::statvfs(&path).ok().map(|volume| {
                let bytes = |blocks: u64| blocks.saturating_mul(volume.f_frsize);
                (bytes(volume.f_blocks), bytes(volume.f_bavail))
            });
            self.dirs.insert(dir.clone(), DirSample { io: devices.get(&number).copied(), space, device });
        }
    }
}
