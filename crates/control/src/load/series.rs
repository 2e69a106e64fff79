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
    /// From and until when what is reported does not count, in milliseconds.
    pub(super) disturbed: (i64, i64),
}

impl Series {
    pub(super) fn new(buckets: usize) -> Self {
        let cells = vec![Cell::EMPTY; buckets.max(1)].into_boxed_slice();
        Self { newest: i64::MIN, cells, disturbed: (0, 0) }
    }

    fn len(&self) -> i64 {
        i64::try_from(self.cells.len()).unwrap_or(i64::MAX)
    }

    fn at(&self, bucket: i64) -> usize {
        usize::try_from(bucket.rem_euclid(self.len())).unwrap_or(0)
    }

    /// Takes in the rates of a report. What is older than the window that ends with the newest bucket is too old.
    pub(super) fn put(&mut self, bucket: i64, bytes_in: Option<u64>, bytes_out: Option<u64>) {
        if bucket > self.newest {
            let first = self.newest.saturating_add(1).max(bucket.saturating_sub(self.len() - 1));
            for passed in first..=bucket {
                self.cells[self.at(passed)] = Cell::EMPTY;
            }
            self.newest = bucket;
        } else if self.newest.saturating_sub(bucket) >= self.len() {
            return;
        }
        self.cells[self.at(bucket)].raise(bytes_in, bytes_out);
    }

    /// What is reported of a time from `from` to `until` does not count.
    pub(super) fn disturb(&mut self, from: i64, until: i64) {
        let (before, end) = self.disturbed;
        let goes_on = (before..=end).contains(&from) && end > before;
        self.disturbed = if goes_on { (before, end.max(until)) } else { (from, until) };
    }

    pub(super) fn is_disturbed(&self, at: i64) -> bool {
        (self.disturbed.0..self.disturbed.1).contains(&at)
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
