//! Readers of the kernel's texts, each of one file. They take what they know, line by line, and leave the rest.

use std::collections::BTreeMap;

/// Processor time of the host since it started, in ticks, over all processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuTimes {
    /// Of that, with something to do. Waiting for disks is idle time, as in `top`.
    pub busy: u64,
    /// All.
    pub total: u64,
}

/// `/proc/stat`: the sum over all processors.
pub fn cpu_times(stat: &str) -> Option<CpuTimes> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // user nice system idle iowait irq softirq steal; what guests used is part of user.
    let times: Vec<u64> = line.split_whitespace().take(8).map_while(|time| time.parse().ok()).collect();
    let total = times.iter().fold(0_u64, |sum, time| sum.saturating_add(*time));
    let idle = times.get(3)?.saturating_add(times.get(4).copied().unwrap_or(0));
    Some(CpuTimes { busy: total.saturating_sub(idle), total })
}

/// `/proc/stat`: how many processors there are.
pub fn processors(stat: &str) -> usize {
    let names = stat.lines().filter_map(|line| line.strip_prefix("cpu"));
    names.filter(|rest| rest.starts_with(|first: char| first.is_ascii_digit())).count()
}

/// What `/proc/PID/stat` says of the time of a process, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessTimes {
    /// Processor time of all of its threads.
    pub used: u64,
    /// When it started, since the host did: with its number, its identity.
    pub started: u64,
}

/// `/proc/PID/stat`; `None` of a process that has ended, and is there only for its parent to ask about.
pub fn process_times(stat: &str) -> Option<ProcessTimes> {
    // The name stands in brackets and may have anything in it, brackets too.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    if matches!(fields.first(), Some(&("Z" | "X"))) {
        return None;
    }
    // Fields 14, 15 and 22 of proc(5); `rest` begins with the third.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(ProcessTimes { used: field(14)?.saturating_add(field(15)?), started: field(22)? })
}

/// `/proc/PID/status`: resident memory in bytes.
pub fn resident_bytes(status: &str) -> Option<u64> {
    kilobytes(status, "VmRSS:")
}

/// `/proc/PID/status`: on how many processors the process may run.
pub fn allowed_processors(status: &str) -> Option<usize> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut count = 0_usize;
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        count = count.saturating_add(last.checked_sub(first)?.saturating_add(1));
    }
    Some(count)
}

/// Memory of the host in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All.
    pub total: u64,
    /// What could be given to processes, the page cache among it.
    pub available: Option<u64>,
}

/// `/proc/meminfo`.
pub fn memory(meminfo: &str) -> Option<Memory> {
    Some(Memory { total: kilobytes(meminfo, "MemTotal:")?, available: kilobytes(meminfo, "MemAvailable:") })
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

/// A network interface's bytes since it came up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Received.
    pub received: u64,
    /// Sent.
    pub sent: u64,
}

/// `/proc/net/dev`.
pub fn interfaces(dev: &str) -> Vec<Interface> {
    let interface = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let counters: Vec<u64> = rest.split_whitespace().map_while(|counter| counter.parse().ok()).collect();
        let name = name.trim().to_owned();
        Some(Interface { name, received: *counters.first()?, sent: *counters.get(8)? })
    };
    dev.lines().filter_map(interface).collect()
}

/// Whether an interface of this name is made of others, or leads nowhere: their bytes are counted there already, or have
/// never left the host. Only asked where the kernel does not say which interfaces are devices.
pub fn is_virtual(name: &str) -> bool {
    const VIRTUAL: [&str; 17] = [
        "lo", "ifb", "dummy", "docker", "br-", "bridge", "virbr", "veth", "vnet", "tun", "tap", "wg", "cali",
        "flannel", "cni", "cilium", "kube",
    ];
    VIRTUAL.iter().any(|prefix| name.starts_with(prefix)) || name.contains('.')
}

/// What a block device did since the host started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskIo {
    /// Bytes read.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
    /// Milliseconds in which it had something to do.
    pub busy_ms: u64,
}

/// The sectors of `/proc/diskstats` are of 512 bytes, whatever those of the device are.
const SECTOR: u64 = 512;

/// `/proc/diskstats`: by major and minor number.
pub fn disks(diskstats: &str) -> BTreeMap<(u32, u32), DiskIo> {
    let disk = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |field: usize| fields.get(field)?.parse::<u64>().ok();
        let device = (fields.first()?.parse().ok()?, fields.get(1)?.parse().ok()?);
        let (read, written) = (number(5)?.saturating_mul(SECTOR), number(9)?.saturating_mul(SECTOR));
        Some((device, DiskIo { read, written, busy_ms: number(12)? }))
    };
    diskstats.lines().filter_map(disk).collect()
}

/// `/proc/PID/net/tcp` and `tcp6`: ports that are listened at, with the inode of the socket.
pub fn listeners(tcp: &str) -> Vec<(u16, u64)> {
    const LISTENING: &str = "0A";
    let listener = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, port) = fields.get(1)?.rsplit_once(':')?;
        (*fields.get(3)? == LISTENING)
            .then(|| Some((u16::from_str_radix(port, 16).ok()?, fields.get(9)?.parse().ok()?)))?
    };
    tcp.lines().filter_map(listener).collect()
}

/// The inode in what an open file that is a socket links to: `socket:[4711]`.
pub fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STAT: &str = "cpu  10 20 30 400 50 6 7 8 9 9\ncpu0 5 10 15 200 25 3 3 4 4 4\ncpu1 1\nintr 12\n";

    #[test]
    fn processor_times_are_read() {
        assert_eq!(cpu_times(STAT), Some(CpuTimes { busy: 81, total: 531 }));
        assert_eq!(processors(STAT), 2);
        // A kernel of old, without waiting.
        assert_eq!(cpu_times("cpu  1 2 3 4"), Some(CpuTimes { busy: 6, total: 10 }));
        for odd in ["", "cpu", "cpu  1 2 3", "cpu  x 2 3 4 5", "cpu0 1 2 3 4"] {
            assert_eq!(cpu_times(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn a_process_is_read_whatever_its_name_is() {
        let rest = "S 1 2 3 0 -1 4 5 6 7 8 100 50 9 9 20 0 79 0 123456 99 88";
        for name in ["java", "a b", ") S 1 (", "(((", ""] {
            let found = process_times(&format!("42 ({name}) {rest}\n"));
            assert_eq!(found, Some(ProcessTimes { used: 150, started: 123_456 }), "{name:?}");
        }
        assert_eq!(process_times(&format!("42 (java) Z{}", &rest[1..])), None, "it has ended");
        assert_eq!(process_times("42 (java) S 1 2"), None);
        assert_eq!(process_times("42 java S"), None);
    }

    #[test]
    fn the_status_of_a_process_is_read() {
        let status = "Name:\tjava\nVmRSS:\t  2048 kB\nCpus_allowed_list:\t0-3,8,10-11\n";
        assert_eq!(resident_bytes(status), Some(2 << 20));
        assert_eq!(allowed_processors(status), Some(7));
        for (list, count) in [("0", Some(1)), ("3-1", None), ("x", None), ("", None), ("0-", None)] {
            assert_eq!(allowed_processors(&format!("Cpus_allowed_list:\t{list}\n")), count, "{list}");
        }
        assert_eq!(resident_bytes("VmRSS:\t 20 MB\n"), None);
    }

    #[test]
    fn memory_is_read() {
        let text = "MemTotal:  16 kB\nMemFree: 1 kB\nMemAvailable:   8 kB\n";
        assert_eq!(memory(text), Some(Memory { total: 16384, available: Some(8192) }));
        assert_eq!(memory("MemTotal: 1 kB"), Some(Memory { total: 1024, available: None }));
        assert_eq!(memory("MemFree: 1 kB"), None);
    }

    #[test]
    fn interfaces_are_read_with_and_without_a_space_behind_their_name() {
        let dev = "Inter-|   Receive\n face |bytes    packets\n    lo: 1 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0\n  eth0:100 1 0 0 0 0 0 0 200 2 0 0 0 0 0 0\nodd: 1 2\n";
        let found: Vec<_> =
            interfaces(dev).into_iter().map(|one| (one.name, one.received, one.sent)).collect();
        assert_eq!(found, [("lo".to_owned(), 1, 1), ("eth0".to_owned(), 100, 200)]);
    }

    #[test]
    fn virtual_interfaces_are_told_by_their_names() {
        for name in ["lo", "docker0", "veth12ab", "br-0a1b", "eth0.100", "ifb1"] {
            assert!(is_virtual(name), "{name}");
        }
        for name in ["eth0", "ens5", "enp0s3", "bond0", "wlan0"] {
            assert!(!is_virtual(name), "{name}");
        }
    }

    #[test]
    fn disks_are_read() {
        let text =
            " 254 0 vda 1 2 10 4 5 6 20 8 0 1500 99 0 0 0 0\n 8 1 sda1 1 2 1 4 5 6 1 8 0 7 9\n 8 2 odd 1\n";
        let found = disks(text);
        assert_eq!(found.get(&(254, 0)), Some(&DiskIo { read: 5120, written: 10240, busy_ms: 1500 }));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn only_what_listens_is_a_listener() {
        let tcp = "  sl  local_address rem_address   st tx rx tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:2384 00000000:0000 0A 0:0 0:0 0 0 0 777 1\n   1: 0100007F:2385 0100007F:1 01 0:0 0:0 0 0 0 778 1\n   2: 00000000000000000000000000000000:0050 0:0 0A 0:0 0:0 0 0 0 779\n";
        assert_eq!(listeners(tcp), [(9092, 777), (80, 779)]);
        assert_eq!(socket_inode("socket:[779]"), Some(779));
        assert_eq!(socket_inode("/dev/null"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in r"((cpu[0-9]?|VmRSS:|MemTotal:|Cpus_allowed_list:|[a-z]{0,3}:?|\(|\)|[0-9A-F]{1,22}|0A|[-,:]| |\t|\n|kB|.){1,2} ?){0,60}") {
            let _ = (cpu_times(&text), processors(&text), process_times(&text), resident_bytes(&text));
            let _ = (allowed_processors(&text), memory(&text), interfaces(&text), disks(&text));
            let _ = (listeners(&text), socket_inode(&text));
        }
    }
}
