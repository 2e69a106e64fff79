//! The log: plain lines on standard error, for people who were just woken.

use std::fmt;
use std::io::IsTerminal;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use super::audit::RECORD_TARGET;
use crate::store::zookeeper;

/// Starts the log of this process: lines of INFO and above, or what `directives` says (`doctorkafka=debug,…`).
///
/// # Errors
/// The directives are not understood, or a log runs already.
pub fn start(directives: Option<&str>) -> Result<(), String> {
    let all =
        format!("info,{},{},{}", kafka::LOG_FILTER, zookeeper::LOG_FILTER, directives.unwrap_or_default());
    let filter: Targets = all
        .trim_end_matches(',')
        .parse()
        .map_err(|error| format!("{}: {error}", directives.unwrap_or_default()))?;
    let lines = Lines { zone: TimeZone::system() };
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .event_format(lines);
    tracing_subscriber::registry().with(filter).with(layer).try_init().map_err(|error| error.to_string())
}

/// A moment as the log shows it: the time of day with milliseconds.
pub fn time_of_day(at: Timestamp, zone: &TimeZone) -> String {
    let at = at.to_zoned(zone.clone());
    let ms = at.subsec_nanosecond() / 1_000_000;
    format!("{:02}:{:02}:{:02}.{ms:03}", at.hour(), at.minute(), at.second())
}

struct Lines {
    zone: TimeZone,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut words = Words::default();
        event.record(&mut words);
        let level = *event.metadata().level();
        let time = time_of_day(Timestamp::now(), &self.zone);
        let is_record = event.metadata().target() == RECORD_TARGET;
        let color = match level {
            Level::ERROR => "\u{1b}[31m",
            Level::WARN => "\u{1b}[33m",
            _ => "",
        };
        let (on, off) =
            if out.has_ansi_escapes() && !color.is_empty() { (color, "\u{1b}[0m") } else { ("", "") };
        if is_record {
            return writeln!(out, "{time} {}  {on}{}{off}", words.cluster, words.message);
        }
        let cluster = if words.cluster.is_empty() { String::new() } else { format!("{}  ", words.cluster) };
        let level = if level <= Level::WARN { format!("{level} ") } else { String::new() };
        writeln!(out, "{time} {cluster}{on}{level}{}{}{off}", words.message, words.others)
    }
}

#[derive(Default)]
struct Words {
    message: String,
    cluster: String,
    others: String,
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field.name(), format!("{value:?}"));
    }
}

impl Words {
    fn add(&mut self, name: &str, value: String) {
        // A value from outside must not be able to forge a line.
        let value = value.replace(['\n', '\r'], " ");
        match name {
            "message" => self.message = value,
            "cluster" => self.cluster = value,
            _ if value.contains(' ') => self.others.push_str(&format!(" {name}={value:?}")),
            _ => self.others.push_str(&format!(" {name}={value}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_has_milliseconds() {
        let at = Timestamp::from_millisecond(1_700_000_000_042).unwrap();
        assert_eq!(time_of_day(at, &TimeZone::UTC), "22:13:20.042");
    }
}
