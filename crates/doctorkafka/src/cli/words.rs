//! Times in words.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A length of time in two parts at most: `4.2 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`.
pub(super) fn length(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let two = |large: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {small_unit}"),
    };
    if days > 0 {
        two(days, "d", hours % 24, "h")
    } else if hours > 0 {
        two(hours, "h", minutes % 60, "min")
    } else if minutes > 0 {
        two(minutes, "min", seconds % 60, "s")
    } else if seconds >= 10 {
        format!("{seconds} s")
    } else {
        format!("{:.1} s", Duration::from_millis(ms).as_secs_f64())
    }
}

/// A moment: the date and the time of day.
pub(super) fn moment(ms: i64, zone: &TimeZone) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(at) => at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => format!("{ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_has_two_parts_at_most() {
        let words: Vec<String> =
            [0, 4_230, 9_999, 12_000, 60_000, 185_000, 3_600_000, 7_800_000, 273_600_000].map(length).into();
        let expected =
            ["0.0 s", "4.2 s", "10.0 s", "12 s", "1 min", "3 min 5 s", "1 h", "2 h 10 min", "3 d 4 h"];
        assert_eq!(words, expected);
    }
}
