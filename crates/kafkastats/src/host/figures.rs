//! From samples of the host to BrokerStats. Plain functions, no I/O, no clock.
//!
//! Processor time is what was used between two samples: of the host in percent of all its processors, of the broker's
//! process in percent of what it may use, so that a container at its quota is at 100 %. The rates of the network are
//! means that fade with a time constant of one minute, as all rates in a report; those of disks are of the interval.
//! Counters that went back began anew, and give no figure for once.

use std::collections::BTreeMap;
use std::time::Duration;

use brokerstats::{BrokerStats, NOT_KNOWN, UNKNOWN_SHARE};

use super::sample::{ProcessSample, Sample};
use super::text::DiskIo;
use crate::rates::Rates;

/// Puts samples into reports; remembers what the next ones are compared with.
#[derive(Debug)]
pub struct HostFigures {
    ticks_per_second: u64,
    before: Option<(Sample, Duration)>,
    received: Rates,
    sent: Rates,
}

impl HostFigures {
    /// One for a kernel that counts the time of processes in so many ticks a second.
    pub fn new(ticks_per_second: u64) -> HostFigures {
        let (received, sent) = (Rates::default(), Rates::default());
        HostFigures { ticks_per_second: ticks_per_second.max(1), before: None, received, sent }
    }

    /// Puts what `sample`, read at `at`, says into a report that has its log directories already. Samples must come in the
    /// order of their time, on a clock that never goes back.
    pub fn put(&mut self, stats: &mut BrokerStats, sample: Sample, at: Duration) {
        put_present(stats, &sample);
        if let Some((before, then)) = &self.before {
            let passed = at.saturating_sub(*then);
            if let (Some(old), Some(new)) = (before.cpu, sample.cpu) {
                stats.host_cpu_percent =
                    match (new.busy.checked_sub(old.busy), new.total.checked_sub(old.total)) {
                        (Some(busy), Some(total @ 1..)) => busy as f64 / total as f64 * 100.0,
                        _ => UNKNOWN_SHARE,
                    };
            }
            if let (Some(old), Some(new)) = (&before.process, &sample.process)
                && let Some(percent) = self.process_percent(old, new, passed)
            {
                stats.process_cpu_percent = percent;
                stats.cpu_usage = percent;
            }
            if let (Some(old), Some(new)) = (before.network, sample.network)
                && let (Some(received), Some(sent)) = (new.0.checked_sub(old.0), new.1.checked_sub(old.1))
            {
                self.received.update(received, passed);
                self.sent.update(sent, passed);
            }
            put_io(stats, before, &sample, passed);
        }
        if sample.network.is_some() {
            let rate = |rates: &Rates| rates.per_second().map_or(NOT_KNOWN, |[one, ..]| one);
            stats.sys_bytes_in_1_min_rate = rate(&self.received);
            stats.sys_bytes_out_1_min_rate = rate(&self.sent);
        }
        self.before = Some((sample, at));
    }

    fn process_percent(&self, old: &ProcessSample, new: &ProcessSample, passed: Duration) -> Option<f64> {
        // A process that was started anew has used little since then, and nobody knows over which time.
        if old.process != new.process || passed.is_zero() {
            return None;
        }
        let used = new.times.used.checked_sub(old.times.used)? as f64 / self.ticks_per_second as f64;
        Some(used / passed.as_secs_f64() / new.limit? * 100.0)
    }
}

/// What one sample says alone.
fn put_present(stats: &mut BrokerStats, sample: &Sample) {
    if let Some(memory) = sample.memory {
        stats.host_memory_total_bytes = or_not_known(Some(memory.total));
        stats.host_memory_available_bytes = or_not_known(memory.available);
    }
    if let Some(process) = &sample.process {
        stats.process_memory_bytes = or_not_known(process.resident);
        stats.cpu_limit = process.limit.unwrap_or(UNKNOWN_SHARE);
    }
    // Kafka older than 3.3 does not tell the space of its volumes.
    for (index, dir) in stats.log_dirs.iter().enumerate() {
        let Some((total, usable)) = sample.dirs.get(dir).and_then(|dir| dir.space) else { continue };
        for (known, read) in
            [(&mut stats.log_dir_total_bytes, total), (&mut stats.log_dir_usable_bytes, usable)]
        {
            if let Some(known) = known.get_mut(index).filter(|known| **known < 0) {
                *known = or_not_known(Some(read));
            }
        }
    }
    put_volumes(stats, sample);
}

/// The space of all volumes together, each counted once: which directories share one is known on the host, while Kafka's
/// figures of two new disks are alike. Where one directory is out of sight, what was told before stands.
fn put_volumes(stats: &mut BrokerStats, sample: &Sample) {
    let mut volumes = BTreeMap::new();
    let figures = stats.log_dir_total_bytes.iter().zip(&stats.log_dir_usable_bytes);
    for (dir, (total, usable)) in stats.log_dirs.iter().zip(figures).filter(|(_, (total, _))| **total >= 0) {
        let Some(dir) = sample.dirs.get(dir) else { return };
        volumes.entry(dir.device).or_insert((*total, (*usable).max(0)));
    }
    let sum = |(total, usable): (i64, i64), (more, free): (i64, i64)| {
        (total.saturating_add(more), usable.saturating_add(free))
    };
    if let Some((total, usable)) = volumes.into_values().reduce(sum) {
        stats.total_disk_space_in_bytes = total;
        stats.free_disk_space_in_bytes = usable;
    }
}

fn put_io(stats: &mut BrokerStats, before: &Sample, sample: &Sample, passed: Duration) {
    if sample.dirs.is_empty() || passed.is_zero() {
        return;
    }
    let io = |sample: &Sample, dir: &str| sample.dirs.get(dir).and_then(|dir| dir.io);
    for dir in &stats.log_dirs {
        let grown = io(before, dir).zip(io(sample, dir)).and_then(|(old, new)| grown(old, new));
        let seconds = passed.as_secs_f64();
        let rate = |bytes: u64| (bytes as f64 / seconds).round() as i64;
        // The kernel counts busy time now and then, and may count a little more than has passed since.
        let busy = |milliseconds: u64| (milliseconds as f64 / 10.0 / seconds).min(100.0);
        stats.log_dir_read_bytes_per_sec.push(grown.map_or(NOT_KNOWN, |io| rate(io.read)));
        stats.log_dir_write_bytes_per_sec.push(grown.map_or(NOT_KNOWN, |io| rate(io.written)));
        stats.log_dir_busy_percent.push(grown.map_or(UNKNOWN_SHARE, |io| busy(io.busy_ms)));
    }
}

fn grown(old: DiskIo, new: DiskIo) -> Option<DiskIo> {
    Some(DiskIo {
        read: new.read.checked_sub(old.read)?,
        written: new.written.checked_sub(old.written)?,
        // A counter of 32 bits, that begins anew every seven weeks of work.
        busy_ms: new.busy_ms.checked_sub(old.busy_ms)?,
    })
}

fn or_not_known(value: Option<u64>) -> i64 {
    value.map_or(NOT_KNOWN, |value| i64::try_from(value).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::host::process::BrokerProcess;
    use crate::host::sample::DirSample;
    use crate::host::text::{CpuTimes, Memory, ProcessTimes};

    fn sample(n: u64, pid: u32) -> Sample {
        let io = DiskIo { read: n * 1_000, written: n * 2_000, busy_ms: n * 5 };
        Sample {
            cpu: Some(CpuTimes { busy: n * 3, total: n * 4 }),
            memory: Some(Memory { total: 100, available: Some(40) }),
            network: Some((n * 600, n * 60)),
            process: Some(ProcessSample {
                process: BrokerProcess { pid, started: 1 },
                times: ProcessTimes { used: n * 15, started: 1 },
                resident: Some(7),
                limit: Some(1.5),
            }),
            dirs: BTreeMap::from([(
                "/d".to_owned(),
                DirSample { io: Some(io), space: Some((50, 20)), device: 1 },
            )]),
            lacking: Vec::new(),
        }
    }

    fn report() -> BrokerStats {
        let mut stats = BrokerStats::new(0, 1);
        stats.log_dirs = vec!["/d".to_owned(), "/e".to_owned()];
        stats.log_dir_total_bytes = vec![NOT_KNOWN, 9];
        stats.log_dir_usable_bytes = vec![NOT_KNOWN, 8];
        stats
    }

    /// The last report after samples, one every ten seconds.
    fn after(samples: Vec<Sample>) -> BrokerStats {
        let mut figures = HostFigures::new(100);
        let mut stats = report();
        for (number, sample) in (1..).zip(samples) {
            stats = report();
            figures.put(&mut stats, sample, Duration::from_secs(number * 10));
        }
        stats
    }

    #[test]
    fn figures_are_of_the_time_between_two_samples() {
        let stats = after(vec![sample(10, 1), sample(110, 1)]);
        // 1,500 ticks of 10 ms in 10 s are 1.5 processors: all that the process may use.
        assert_eq!((stats.process_cpu_percent, stats.cpu_usage, stats.cpu_limit), (100.0, 100.0, 1.5));
        assert_eq!(stats.host_cpu_percent, 75.0);
        assert_eq!((stats.sys_bytes_in_1_min_rate, stats.sys_bytes_out_1_min_rate), (6_000, 600));
        assert_eq!(stats.log_dir_read_bytes_per_sec, [10_000, -1]);
        assert_eq!(stats.log_dir_write_bytes_per_sec, [20_000, -1]);
        assert_eq!(stats.log_dir_busy_percent, [5.0, -1.0]);
        let memory =
            (stats.process_memory_bytes, stats.host_memory_total_bytes, stats.host_memory_available_bytes);
        assert_eq!(memory, (7, 100, 40));
        // Space only where Kafka does not tell it.
        assert_eq!((stats.log_dir_total_bytes, stats.log_dir_usable_bytes), (vec![50, 9], vec![20, 8]));
    }

    #[test]
    fn each_volume_counts_once_by_its_device() {
        let totals = |devices: [(&str, u64); 2], told: i64| {
            let dirs = devices
                .map(|(dir, device)| (dir.to_owned(), DirSample { io: None, space: Some((50, 20)), device }));
            let sample = Sample { dirs: BTreeMap::from(dirs), ..Sample::default() };
            let mut stats = report();
            // As Kafka tells of two disks that are alike, or an old Kafka does not tell.
            stats.log_dir_total_bytes = vec![told; 2];
            stats.log_dir_usable_bytes = vec![told; 2];
            stats.total_disk_space_in_bytes = 7;
            HostFigures::new(100).put(&mut stats, sample, Duration::ZERO);
            (stats.total_disk_space_in_bytes, stats.free_disk_space_in_bytes)
        };
        assert_eq!(totals([("/d", 1), ("/e", 2)], 40), (80, 80));
        assert_eq!(totals([("/d", 1), ("/e", 1)], 40), (40, 40));
        assert_eq!(totals([("/d", 1), ("/e", 2)], NOT_KNOWN), (100, 40));
        assert_eq!(totals([("/d", 1), ("/elsewhere", 2)], 40).0, 7);
    }

    #[test]
    fn the_first_sample_gives_no_rates() {
        let stats = after(vec![sample(10, 1)]);
        assert_eq!((stats.process_cpu_percent, stats.cpu_usage, stats.host_cpu_percent), (-1.0, 0.0, -1.0));
        assert_eq!((stats.sys_bytes_in_1_min_rate, stats.sys_bytes_out_1_min_rate), (-1, -1));
        assert!(stats.log_dir_read_bytes_per_sec.is_empty());
        assert_eq!(stats.process_memory_bytes, 7);
    }

    #[test]
    fn what_began_anew_gives_no_figure_for_once() {
        let stats = after(vec![sample(10, 1), sample(20, 2)]);
        assert_eq!((stats.process_cpu_percent, stats.host_cpu_percent), (-1.0, 75.0));
        let stats = after(vec![sample(10, 1), sample(5, 1)]);
        assert_eq!((stats.process_cpu_percent, stats.host_cpu_percent), (-1.0, -1.0));
        assert_eq!(
            (stats.sys_bytes_in_1_min_rate, &stats.log_dir_read_bytes_per_sec[..]),
            (-1, &[-1, -1][..])
        );
    }

    #[test]
    fn what_is_missing_costs_itself_alone() {
        let without = |change: fn(&mut Sample)| {
            let mut samples = vec![sample(10, 1), sample(110, 1)];
            samples.iter_mut().for_each(change);
            after(samples)
        };
        let stats = without(|sample| sample.process = None);
        assert_eq!(
            (stats.process_cpu_percent, stats.process_memory_bytes, stats.host_cpu_percent),
            (-1.0, -1, 75.0)
        );
        let stats = without(|sample| sample.network = None);
        assert_eq!((stats.sys_bytes_in_1_min_rate, stats.process_cpu_percent), (-1, 100.0));
        let stats = without(|sample| sample.dirs.clear());
        assert!(stats.log_dir_busy_percent.is_empty() && stats.host_cpu_percent == 75.0);
        let stats = without(|sample| sample.cpu = None);
        assert_eq!((stats.host_cpu_percent, stats.process_cpu_percent), (-1.0, 100.0));
    }

    proptest! {
        #[test]
        fn no_counters_make_it_panic(numbers in prop::collection::vec(any::<u64>(), 2..6)) {
            let samples = numbers.into_iter().map(|n| Sample {
                cpu: Some(CpuTimes { busy: n, total: n / 2 }),
                network: Some((n, n)),
                dirs: BTreeMap::from([("/d".to_owned(), DirSample {
                    io: Some(DiskIo { read: n, written: n, busy_ms: n }),
                    space: Some((n, n)),
                    device: n,
                })]),
                ..sample(1, 1)
            });
            let stats = after(samples.collect());
            prop_assert!(stats.log_dir_busy_percent.iter().all(|busy| *busy <= 100.0));
        }
    }
}
