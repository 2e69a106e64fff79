//! The rates of one partition, bucket by bucket.

use std::ops::Range;

/// No rate was reported.
pub(super) const NONE: u32 = u32::MAX;

/// The largest rates of one bucket, in bytes per second. What is more than four gigabytes a second counts as that: no link of
/// a broker carries as much for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) bytes_in: u32,
    pub(super) bytes_out: u32,
}

impl Cell {
    pub(super) const EMPTY: Cell = Cell { bytes_in: NONE, bytes_out: NONE };

    fn raise(&mut self, bytes_in: Option<u64>, bytes_out: Option<u64>) {
        for (kept, rate) in [(&mut self.bytes_in, bytes_in), (&mut self.bytes_out, bytes_out)] {
            if let Some(rate) = rate {
                let rate = u32::try_from(rate).unwrap_or(NONE).min(NONE - 1);
                *kept = if *kept == NONE { rate } else { (*kept).max(rate) };
            }
        }
    }
}

/// A ring of buckets that ends with the newest of which something was reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Series {
    pub(super) newest: i64,
    /// Bucket `n` stands at `n` modulo their number.
    pub(super) cells: Box<[Cell]>,
    /// When the newest report that counts was made, in milliseconds.
    pub(super) latest: i64,
    /// From and until when what is reported does not count, in milliseconds; the oldest first, apart from each other.
    /// Those that are not in use are empty.
    pub(super) disturbed: [(i64, i64); INTERVALS],
}

/// Intervals that are remembered of a partition: reports come late by minutes, and a reassignment disturbs for half an hour
/// and more.
pub(super) const INTERVALS: usize = 4;

impl Series {
    pub(super) fn new(buckets: usize) -> Self {
        let cells = vec![Cell::EMPTY; buckets.max(1)].into_boxed_slice();
        Self { newest: i64::MIN, cells, latest: i64::MIN, disturbed: [(0, 0); INTERVALS] }
    }

    fn len(&self) -> i64 {
        i64::try_from(self.cells.len()).unwrap_or(i64::MAX)
    }

    fn at(&self, bucket: i64) -> usize {
        usize::try_from(bucket.rem_euclid(self.len())).unwrap_or(0)
    }

    /// Takes in the rates of a report. What is older than the window that ends with the newest bucket is too old.
    pub(super) fn put(&mut self, made: i64, bucket: i64, bytes_in: Option<u64>, bytes_out: Option<u64>) {
        if bucket > self.newest {
            let first = self.newest.saturating_add(1).max(bucket.saturating_sub(self.len() - 1));
            for passed in first..=bucket {
                self.cells[self.at(passed)] = Cell::EMPTY;
            }
            self.newest = bucket;
        } else if self.newest.saturating_sub(bucket) >= self.len() {
            return;
        }
        self.latest = self.latest.max(made);
        self.cells[self.at(bucket)].raise(bytes_in, bytes_out);
    }

    /// What is reported of a time from `from` to `until` does not count. That may become known late, as when reports come in
    /// another order than that of their time: what was put in of that time goes then, by whole buckets of `bucket_ms`.
    pub(super) fn disturb(&mut self, from: i64, until: i64, bucket_ms: i64) {
        let known = self.disturbed.iter().find(|(start, end)| (*start..*end).contains(&from));
        let fresh = known.map_or(from, |(_, end)| *end);
        if fresh < until && fresh < self.latest {
            let last = (until - 1).min(self.latest).div_euclid(bucket_ms).min(self.newest);
            let oldest = self.newest.saturating_sub(self.len() - 1);
            for bucket in fresh.div_euclid(bucket_ms).max(oldest)..=last {
                self.cells[self.at(bucket)] = Cell::EMPTY;
            }
        }
        let (mut from, mut until) = (from, until);
        let mut kept: Vec<(i64, i64)> = Vec::with_capacity(INTERVALS + 1);
        for (start, end) in self.disturbed.into_iter().filter(|(start, end)| start < end) {
            if start <= until && from <= end {
                (from, until) = (from.min(start), until.max(end));
            } else {
                kept.push((start, end));
            }
        }
        kept.push((from, until));
        kept.sort_unstable();
        // The newest stay: a late one is never in the way of a later one.
        let too_many = kept.len().saturating_sub(INTERVALS);
        self.disturbed = [(0, 0); INTERVALS];
        for (place, interval) in self.disturbed.iter_mut().zip(kept.into_iter().skip(too_many)) {
            *place = interval;
        }
    }

    pub(super) fn is_disturbed(&self, at: i64) -> bool {
        self.disturbed.iter().any(|(from, until)| (*from..*until).contains(&at))
    }

    /// The buckets of a window that are still kept, the oldest first.
    pub(super) fn cells(&self, window: Range<i64>) -> impl Iterator<Item = (i64, &Cell)> {
        let oldest = self.newest.saturating_sub(self.len() - 1).max(window.start);
        let end = window.end.min(self.newest.saturating_add(1));
        // Nothing was ever put in where the newest bucket is none.
        let kept = if self.newest == i64::MIN { 0..0 } else { oldest..end };
        kept.map(|bucket| (bucket, &self.cells[self.at(bucket)]))
    }
}
