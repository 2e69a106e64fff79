//! Reads a file of performance counters ("jvmstat", `hsperfdata`) as HotSpot keeps it, version 2.

use std::collections::BTreeMap;

const MAGIC: [u8; 4] = [0xca, 0xfe, 0xc0, 0xc0];
const VERSION: u8 = 2;
/// The header's length: the first entry is behind it.
const HEADER: usize = 32;
/// The length of an entry without name and value.
const ENTRY: usize = 20;
/// A JVM has some 200 to 300 counters.
const MAX_ENTRIES: usize = 10_000;

/// A counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counter {
    /// A number. Times are in ticks: `sun.os.hrt.frequency` says how many are a second.
    Number(i64),
    /// A text.
    Text(String),
}

/// The counters of a JVM by name, as they stood when they were read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PerfData {
    /// The counters.
    pub counters: BTreeMap<String, Counter>,
}

impl PerfData {
    /// Reads the content of a file. The JVM writes while others read: texts that are just being changed may come out
    /// mixed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<PerfData, &'static str> {
        let header = bytes.get(..HEADER).ok_or("it is too short")?;
        if header[..4] != MAGIC {
            return Err("it does not begin as such a file does");
        }
        let order = match header[4] {
            0 => Order::Big,
            1 => Order::Little,
            _ => return Err("its byte order is neither big nor little endian"),
        };
        if header[5] != VERSION {
            return Err("its version is not 2");
        }
        if header[7] == 0 {
            return Err("the JVM is just starting: look again");
        }
        let file = File { bytes, order };
        let mut at = file.length(24).ok_or("the place of its entries is negative")?;
        let count = file.length(28).ok_or("the number of its entries is negative")?;
        if count > MAX_ENTRIES {
            return Err("it has too many entries");
        }
        let mut counters = BTreeMap::new();
        for _ in 0..count {
            let entry = file.entry(at).ok_or("an entry reaches beyond its end")?;
            if let Some(counter) = entry.counter {
                counters.insert(entry.name, counter);
            }
            at = entry.next;
        }
        Ok(PerfData { counters })
    }

    /// The text of a counter.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.counters.get(name)? {
            Counter::Text(text) => Some(text),
            Counter::Number(_) => None,
        }
    }

    /// The number of a counter.
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.counters.get(name)? {
            Counter::Number(number) => Some(*number),
            Counter::Text(_) => None,
        }
    }
}

#[derive(Clone, Copy)]
enum Order {
    Big,
    Little,
}

struct File<'a> {
    bytes: &'a [u8],
    order: Order,
}

struct Entry {
    name: String,
    /// `None` for kinds of vectors that HotSpot does not use.
    counter: Option<Counter>,
    next: usize,
}

impl File<'_> {
    fn entry(&self, at: usize) -> Option<Entry> {
        let length = self.length(at)?;
        let name_at = self.length(at.checked_add(4)?)?;
        let vector_length = self.length(at.checked_add(8)?)?;
        let kind = *self.bytes.get(at.checked_add(12)?)?;
        let data_at = self.length(at.checked_add(16)?)?;
        // Shorter entries could overlap, and a length of zero would repeat one for ever.
        if length < ENTRY {
            return None;
        }
        let next = at.checked_add(length)?;
        let entry = self.bytes.get(at..next)?;
        let name = text_until_nul(entry.get(name_at..)?)?;
        let data = entry.get(data_at..)?;
        let counter = match (kind, vector_length) {
            (b'J', 0) => Some(Counter::Number(self.order.long(data.first_chunk()?))),
            (b'B', 1..) => Some(Counter::Text(text_until_nul(data.get(..vector_length)?)?)),
            _ => None,
        };
        Some(Entry { name, counter, next })
    }

    /// A number of four bytes that is a length or an offset.
    fn length(&self, at: usize) -> Option<usize> {
        let bytes = self.bytes.get(at..)?.first_chunk()?;
        usize::try_from(self.order.int(bytes)).ok()
    }
}

impl Order {
    fn int(self, bytes: &[u8; 4]) -> i32 {
        match self {
            Order::Big => i32::from_be_bytes(*bytes),
            Order::Little => i32::from_le_bytes(*bytes),
        }
    }

    fn long(self, bytes: &[u8; 8]) -> i64 {
        match self {
            Order::Big => i64::from_be_bytes(*bytes),
            Order::Little => i64::from_le_bytes(*bytes),
        }
    }
}

fn text_until_nul(bytes: &[u8]) -> Option<String> {
    let text = bytes.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JDK_17: &[u8] = include_bytes!("../../tests/fixtures/hsperfdata-jdk17.bin");

    #[test]
    fn the_file_of_a_broker_is_read() {
        let data = PerfData::parse(JDK_17).unwrap();
        assert_eq!(data.counters.len(), 195);
        assert!(data.text("sun.rt.javaCommand").unwrap().starts_with("kafka.Kafka"));
        assert_eq!(data.text("java.property.java.vm.name"), Some("OpenJDK 64-Bit Server VM"));
        assert_eq!(data.number("sun.os.hrt.frequency"), Some(1_000_000_000));
        assert_eq!(data.number("sun.rt.javaCommand"), None, "it is a text");
        let address = data.text("sun.management.JMXConnectorServer.address").unwrap();
        assert!(address.parse::<crate::Address>().is_ok(), "{address}");
    }

    #[test]
    fn other_files_are_refused_with_the_reason() {
        let with = |at: usize, byte: u8| {
            let mut bytes = JDK_17.to_vec();
            bytes[at] = byte;
            PerfData::parse(&bytes)
        };
        assert_eq!(PerfData::parse(&JDK_17[..31]), Err("it is too short"));
        assert_eq!(PerfData::parse(&JDK_17[..4000]), Err("an entry reaches beyond its end"));
        assert_eq!(with(0, 0), Err("it does not begin as such a file does"));
        assert_eq!(with(4, 7), Err("its byte order is neither big nor little endian"));
        assert_eq!(with(5, 3), Err("its version is not 2"));
        assert_eq!(with(7, 0), Err("the JVM is just starting: look again"));
        assert_eq!(with(31, 0xff), Err("the number of its entries is negative"));
        assert_eq!(with(30, 0xff), Err("it has too many entries"));
        assert_eq!(with(HEADER, 0), with(HEADER + 1, 0xff), "both lengths of the first entry are wrong");
    }

    proptest! {
        #[test]
        fn damaged_files_do_no_harm(damage in prop::collection::vec((0..JDK_17.len(), any::<u8>()), 1..20)) {
            let mut bytes = JDK_17.to_vec();
            for (at, byte) in damage {
                bytes[at] = byte;
            }
            if let Ok(data) = PerfData::parse(&bytes) {
                let texts = data.counters.iter().map(|(name, counter)| match counter {
                    Counter::Text(text) => name.len() + text.len(),
                    Counter::Number(_) => name.len(),
                });
                // A replacement character is thrice as long as the byte that it stands for.
                prop_assert!(texts.sum::<usize>() <= 6 * bytes.len());
            }
        }

        #[test]
        fn arbitrary_files_do_no_harm(tail in prop::collection::vec(any::<u8>(), 0..200), big in any::<bool>()) {
            let mut bytes = vec![0xca, 0xfe, 0xc0, 0xc0, u8::from(!big), 2, 0, 1];
            bytes.extend(tail);
            let _ = PerfData::parse(&bytes);
        }
    }
}
