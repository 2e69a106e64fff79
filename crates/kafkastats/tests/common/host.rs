//! A host whose `/proc` and `/sys` are files of the test.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

/// A host with the address 10.0.0.7, one processor, and the device of its temporary directory.
pub(crate) struct FakeHost {
    root: tempfile::TempDir,
}

impl FakeHost {
    pub(crate) fn new() -> FakeHost {
        let host = FakeHost { root: tempfile::tempdir().unwrap() };
        host.put("proc/net/fib_trie", "  |-- 10.0.0.7\n     /32 host LOCAL\n");
        host.put("proc/meminfo", "MemTotal: 8 kB\nMemAvailable: 4 kB\n");
        fs::create_dir_all(host.path().join("sys/class/net/eth0/device")).unwrap();
        host.counters(1);
        host
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn put(&self, file: &str, text: &str) -> PathBuf {
        let file = self.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        file
    }

    /// Sets the counters of the host to `n` times something.
    pub(crate) fn counters(&self, n: u64) {
        self.put("proc/stat", &format!("cpu  {} 0 0 {} 0 0 0 0 0 0\ncpu0 1\n", n * 3, n));
        // The device receives twice what it sends, the others as much.
        let line = |name: &str, received: u64, sent: u64| {
            format!("  {name}: {received} 0 0 0 0 0 0 0 {sent} 0 0 0 0 0 0 0\n")
        };
        let one = n * 9_000_000;
        let (lo, docker) = (line("lo", one, one), line("docker0", one, one));
        let eth = line("eth0", n * 2_000_000, n * 1_000_000);
        self.put("proc/net/dev", &format!("Inter-|\n face |\n{lo}{eth}{docker}"));
        let device = fs::metadata(self.path()).unwrap().dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let (read, written, busy) = (n * 2_000, n * 4_000, n * 100);
        self.put("proc/diskstats", &format!("{major} {minor} d 0 0 {read} 0 0 0 {written} 0 0 {busy} 0\n"));
    }

    /// A process with this command line that has used `ticks` of processor time.
    pub(crate) fn process(&self, pid: u32, command: &str, ticks: u64) {
        self.put(&format!("proc/{pid}/cmdline"), &command.replace(' ', "\0"));
        let stat = format!("{pid} (java) S 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 9 0 5000 0 0\n");
        self.put(&format!("proc/{pid}/stat"), &stat);
        self.put(&format!("proc/{pid}/status"), "VmRSS:\t 64 kB\nCpus_allowed_list:\t0\n");
        self.put(&format!("proc/{pid}/cgroup"), "0::/\n");
    }

    /// A broker's process whose file of properties has this text.
    pub(crate) fn broker(&self, pid: u32, properties: &str) {
        self.process(pid, "java -cp x kafka.Kafka /etc/kafka/server.properties", 0);
        self.put(&format!("proc/{pid}/root/etc/kafka/server.properties"), properties);
    }

    /// What the process's log directory says whose it is.
    pub(crate) fn meta(&self, pid: u32, dir: &str, text: &str) {
        self.put(&format!("proc/{pid}/root{dir}/meta.properties"), text);
    }

    /// Has the process listen at a port.
    pub(crate) fn listens(&self, pid: u32, port: u16) {
        let inode = u64::from(pid) * 100_000 + u64::from(port);
        let line = format!("   0: 00000000:{port:04X} 00000000:0000 0A 0:0 0:0 0 0 0 {inode} 1\n");
        // All processes of a network see all of its sockets.
        for entry in fs::read_dir(self.path().join("proc")).unwrap().flatten() {
            if entry.file_name().to_str().unwrap().parse::<u32>().is_ok() {
                let table = entry.path().join("net/tcp");
                fs::create_dir_all(entry.path().join("net")).unwrap();
                fs::write(&table, fs::read_to_string(&table).unwrap_or_default() + &line).unwrap();
            }
        }
        let files = self.path().join(format!("proc/{pid}/fd"));
        fs::create_dir_all(&files).unwrap();
        symlink(format!("socket:[{inode}]"), files.join(port.to_string())).unwrap();
    }

    pub(crate) fn end(&self, pid: u32) {
        fs::remove_dir_all(self.path().join(format!("proc/{pid}"))).unwrap();
    }
}
