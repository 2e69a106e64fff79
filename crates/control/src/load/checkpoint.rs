//! The model as bytes, for a restart that need not read a day of reports again.
//!
//! A chunk is self-contained: the version, then topics. All numbers are LEB128; rates are one more than they are, and 0 where
//! there is none.

use std::sync::Arc;

use cluster::TopicName;
use thiserror::Error;

use super::series::{Cell, INTERVALS, NONE, Series};
use super::{LoadConfig, LoadModel, MOST_PARTITIONS};

/// The version of the format. The first knew one disturbed interval, and not the time of the newest report.
const VERSION: u64 = 2;
/// A chunk is closed once it has so many bytes. With the largest topic name and the most buckets it stays well below the
/// megabyte that a topic takes as one record.
pub const MOST_IN_A_CHUNK: usize = 256 << 10;
/// Longer names than Kafka's are none.
const LONGEST_NAME: u64 = 249;

/// Why bytes are no checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// They end too early, or a number is too large.
    #[error("it is damaged")]
    Damaged,
    /// They are of another version.
    #[error("it is of version {0}, which is not known")]
    Version(u64),
    /// They were made with other buckets.
    #[error("its buckets are not those that are configured")]
    Buckets,
}

impl LoadModel {
    /// All that is known, in chunks.
    pub fn chunks(&self) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        let mut chunk = self.header();
        let empty = chunk.len();
        for (name, topic) in &self.topics {
            for (number, series) in (0..).zip(topic.iter()) {
                let Some(series) = series else { continue };
                put_series(&mut chunk, name, number, series);
                if chunk.len() >= MOST_IN_A_CHUNK {
                    chunks.push(std::mem::replace(&mut chunk, self.header()));
                }
            }
        }
        if chunk.len() > empty {
            chunks.push(chunk);
        }
        chunks
    }

    /// A model as it was when `chunks` were made. A chunk that cannot be read costs what is in it.
    pub fn restore<'a>(
        config: LoadConfig,
        chunks: impl IntoIterator<Item = &'a [u8]>,
    ) -> (Self, Vec<CheckpointError>) {
        let mut model = Self::new(config);
        let mut errors = Vec::new();
        for chunk in chunks {
            if let Err(error) = model.take_chunk(chunk) {
                errors.push(error);
            }
        }
        (model, errors)
    }

    fn header(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(&mut bytes, VERSION);
        put(&mut bytes, self.config.bucket_ms().unsigned_abs());
        put(&mut bytes, self.buckets as u64);
        bytes
    }

    fn take_chunk(&mut self, mut bytes: &[u8]) -> Result<(), CheckpointError> {
        let version = take(&mut bytes)?;
        if !(1..=VERSION).contains(&version) {
            return Err(CheckpointError::Version(version));
        }
        let same = take(&mut bytes)? == self.config.bucket_ms().unsigned_abs()
            && take(&mut bytes)? == self.buckets as u64;
        if !same {
            return Err(CheckpointError::Buckets);
        }
        while !bytes.is_empty() {
            let (name, number, series) = take_series(&mut bytes, self.buckets, version)?;
            if let Some(place) = self.slot(&name, number) {
                *place = Some(Arc::new(series));
            }
        }
        Ok(())
    }
}

pub(super) fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take(bytes: &mut &[u8]) -> Result<u64, CheckpointError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or(CheckpointError::Damaged)?;
        *bytes = rest;
        let part = u64::from(first & 0x7f);
        if shift == 63 && part > 1 {
            return Err(CheckpointError::Damaged);
        }
        value |= part << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(CheckpointError::Damaged)
}

fn put_series(bytes: &mut Vec<u8>, name: &str, number: u64, series: &Series) {
    put(bytes, name.len() as u64);
    bytes.extend_from_slice(name.as_bytes());
    put(bytes, number);
    // Moments may be before 1970 on a host whose clock is wrong.
    let disturbed = series.disturbed.iter().flat_map(|(from, until)| [*from, *until]);
    for moment in [series.newest, series.latest].into_iter().chain(disturbed) {
        put(bytes, moment.cast_unsigned());
    }
    for cell in &series.cells {
        for rate in [cell.bytes_in, cell.bytes_out] {
            put(bytes, if rate == NONE { 0 } else { u64::from(rate) + 1 });
        }
    }
}

fn take_series(
    bytes: &mut &[u8],
    buckets: usize,
    version: u64,
) -> Result<(TopicName, usize, Series), CheckpointError> {
    let length = take(bytes)?;
    if length > LONGEST_NAME {
        return Err(CheckpointError::Damaged);
    }
    let length = usize::try_from(length).map_err(|_| CheckpointError::Damaged)?;
    let (name, rest) = bytes.split_at_checked(length).ok_or(CheckpointError::Damaged)?;
    *bytes = rest;
    let name: TopicName = std::str::from_utf8(name).map_err(|_| CheckpointError::Damaged)?.into();
    let number = usize::try_from(take(bytes)?).ok().filter(|number| *number < MOST_PARTITIONS);
    let number = number.ok_or(CheckpointError::Damaged)?;
    let mut series = Series::new(buckets);
    series.newest = take(bytes)?.cast_signed();
    let intervals = if version == 1 { 1 } else { INTERVALS };
    if version > 1 {
        series.latest = take(bytes)?.cast_signed();
    }
    for interval in series.disturbed.iter_mut().take(intervals) {
        *interval = (take(bytes)?.cast_signed(), take(bytes)?.cast_signed());
    }
    for cell in &mut series.cells {
        let mut rate = || match take(bytes)? {
            0 => Ok(NONE),
            rate => u32::try_from(rate - 1).ok().filter(|rate| *rate != NONE).ok_or(CheckpointError::Damaged),
        };
        *cell = Cell { bytes_in: rate()?, bytes_out: rate()? };
    }
    Ok((name, number, series))
}
