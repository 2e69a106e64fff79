//! Large values, packed: ZooKeeper and Kafka take 1 MB at a time, and the journal of 10,000 moves has some.

use std::borrow::Cow;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

/// Below this a value stays as it is, so that people can read it with the tools of ZooKeeper and Kafka.
const PLAIN: usize = 100_000;
/// How gzip begins, and no JSON.
const MAGIC: [u8; 2] = [0x1f, 0x8b];
/// More than this is no value of ours, whatever it claims to hold.
const LARGEST: u64 = 256 << 20;

/// A value as it is stored. What looks packed is packed as well, so that it comes back as it was.
pub(super) fn pack(value: &[u8]) -> Cow<'_, [u8]> {
    if value.len() < PLAIN && !value.starts_with(&MAGIC) {
        return Cow::Borrowed(value);
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    // Nothing is written but memory.
    match packed.write_all(value).and_then(|()| packed.finish()) {
        Ok(packed) => Cow::Owned(packed),
        Err(_) => Cow::Borrowed(value),
    }
}

/// What was stored.
///
/// # Errors
/// It looks packed, and is not.
pub(super) fn unpack(stored: &[u8]) -> Result<Vec<u8>, String> {
    if !stored.starts_with(&MAGIC) {
        return Ok(stored.to_vec());
    }
    let mut value = Vec::new();
    let mut reader = GzDecoder::new(stored).take(LARGEST + 1);
    reader
        .read_to_end(&mut value)
        .map_err(|error| format!("it begins as gzip does, and is none: {error}"))?;
    if value.len() as u64 > LARGEST {
        return Err(format!("it unpacks to more than {LARGEST} bytes"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_small_stays_readable_and_what_is_large_becomes_small() {
        assert_eq!(*pack(b"{\"a\":1}"), *b"{\"a\":1}");
        let large = "{\"partition\":\"orders-1\"}".repeat(100_000).into_bytes();
        let packed = pack(&large).into_owned();
        assert!(packed.len() < 50_000, "{}", packed.len());
        assert_eq!(unpack(&packed).unwrap(), large);
    }

    #[test]
    fn what_is_no_gzip_is_told() {
        let cut = pack(&vec![b'x'; PLAIN]).into_owned();
        let why = unpack(&cut[..cut.len() / 2]).unwrap_err();
        assert!(why.starts_with("it begins as gzip does, and is none"), "{why}");
    }

    proptest! {
        #[test]
        fn every_value_comes_back_and_no_bytes_panic(
            start in prop::option::of(Just(MAGIC)), rest in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [start.map(Vec::from).unwrap_or_default(), rest].concat();
            prop_assert_eq!(unpack(&pack(&bytes)).unwrap(), &bytes[..]);
            let _ = unpack(&bytes);
        }
    }
}
