//! Units in configurations: a value says its unit, or its type does.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration as people write it: `30s`, `5m`, `1h 30m`, `250ms`, `2d`; a plain number is seconds, as in the
/// configuration of DoctorKafka 0.3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(pub Duration);

/// Units of durations, in milliseconds, the longest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl HumanDuration {
    /// That many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl FromStr for HumanDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a duration: write it like 30s, 5m, 1h 30m or 250ms");
        let mut total: u64 = 0;
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            let after = &rest[digits..];
            let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let unit = match &after[..letters] {
                // A bare number is seconds, but only if it is all there is.
                "" if total == 0 && after.is_empty() => 1_000,
                name => UNITS.iter().find(|(unit, _)| *unit == name).map(|(_, ms)| *ms).ok_or_else(wrong)?,
            };
            total = number.checked_mul(unit).and_then(|ms| total.checked_add(ms)).ok_or_else(wrong)?;
            rest = after[letters..].trim_start();
        }
        Ok(Self(Duration::from_millis(total)))
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if left == 0 {
            return f.write_str("0s");
        }
        let mut space = "";
        for (unit, ms) in UNITS {
            if left >= ms {
                write!(f, "{space}{}{unit}", left / ms)?;
                left %= ms;
                space = " ";
            }
        }
        Ok(())
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = HumanDuration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 30s, 5m or 1h 30m")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<HumanDuration, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: Error>(self, seconds: u64) -> Result<HumanDuration, E> {
                Ok(HumanDuration::seconds(seconds))
            }
            fn visit_i64<E: Error>(self, seconds: i64) -> Result<HumanDuration, E> {
                u64::try_from(seconds)
                    .map(HumanDuration::seconds)
                    .map_err(|_| E::custom("a duration is not negative"))
            }
        }
        from.deserialize_any(Reader)
    }
}

/// An amount of bytes as people write it: `512MiB`, `1.5GB`, `4k`; a plain number is bytes. `k`, `M`, `G`, `T` alone
/// and with `iB` are powers of 1,024, with `B` powers of 1,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an amount of bytes: write it like 512MiB, 1.5GB or 4096");
        let text_trimmed = text.trim();
        let end =
            text_trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text_trimmed.len());
        let number: f64 = text_trimmed[..end].parse().map_err(|_| wrong())?;
        let unit = text_trimmed[end..].trim().to_ascii_lowercase();
        let (letter, rest) = match unit.chars().next() {
            None => return whole(number).ok_or_else(wrong),
            Some(first) => (first, &unit[first.len_utf8()..]),
        };
        let base: f64 = match (letter, rest) {
            ('b', "") => return whole(number).ok_or_else(wrong),
            (_, "" | "ib") => 1_024.0,
            (_, "b") => 1_000.0,
            _ => return Err(wrong()),
        };
        let power = "kmgtp".find(letter).ok_or_else(wrong)?;
        let power = i32::try_from(power).map_err(|_| wrong())? + 1;
        whole(number * base.powi(power)).ok_or_else(wrong)
    }
}

/// A number of bytes, if it is one that can be.
fn whole(bytes: f64) -> Option<ByteSize> {
    // 2^53: up to here every whole number has a float of its own.
    let fits = bytes.is_finite() && (0.0..=9_007_199_254_740_992.0).contains(&bytes);
    // The range is checked above, so the cast neither wraps nor saturates.
    fits.then_some(ByteSize(bytes as u64))
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (power, unit) in [(50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
            let one = 1_u64 << power;
            if self.0 >= one {
                return if self.0.is_multiple_of(one) {
                    write!(f, "{}{unit}", self.0 / one)
                } else {
                    write!(f, "{:.1}{unit}", self.0 as f64 / one as f64)
                };
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = ByteSize;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount of bytes such as 512MiB or 1.5GB")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }
            fn visit_i64<E: Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes)
                    .map(ByteSize)
                    .map_err(|_| E::custom("an amount of bytes is not negative"))
            }
        }
        from.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations_as_people_write_them() {
        for (text, ms) in [
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("7", 7_000),
            ("2d", 172_800_000),
        ] {
            assert_eq!(text.parse(), Ok(HumanDuration(Duration::from_millis(ms))), "{text}");
        }
        for text in ["", "s", "5 parsecs", "-3s", "3s 4", "99999999999999999999d", "1é"] {
            assert!(text.parse::<HumanDuration>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_print_as_they_are_read() {
        for ms in [0, 1, 250, 1_000, 61_001, 5_400_000, 172_800_000] {
            let duration = HumanDuration(Duration::from_millis(ms));
            assert_eq!(duration.to_string().parse(), Ok(duration), "{duration}");
        }
    }

    #[test]
    fn reads_bytes_as_people_write_them() {
        for (text, bytes) in [
            ("4096", 4_096),
            ("4k", 4_096),
            ("512MiB", 536_870_912),
            ("1.5GB", 1_500_000_000),
            ("1 TiB", 1 << 40),
            ("3b", 3),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "MB", "-1", "1XB", "1.2.3k", "9e99", "99999999PB", "1é"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        assert_eq!(ByteSize(1_536).to_string(), "1.5KiB");
    }
}
