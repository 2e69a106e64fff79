//! What people are told, wherever it goes.

use control::event::{Alerted, Message, Resolved, names};
use control::{Event, IncidentKey, Severity, Target, Timestamp};
use serde::{Deserialize, Serialize};

/// Characters of a line, and bytes of a text, that are told: more than a person reads.
const MOST_LINE: usize = 300;
const MOST_TEXT: usize = 32 << 10;

/// What kind of notice it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NoticeKind {
    /// Somebody should look.
    Alert,
    /// What was alerted is over.
    Resolved,
    /// Worth knowing.
    Notice,
}

impl NoticeKind {
    /// Its public name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Resolved => "resolved",
            Self::Notice => "notice",
        }
    }
}

/// An event as people are told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notice {
    /// The same each time that it is sent, also by another process; no other notice of this action has it.
    pub(crate) id: String,
    /// The configured name of the cluster.
    pub(crate) cluster: String,
    /// The name of the event.
    pub(crate) event: String,
    /// What kind of notice it is.
    pub(crate) kind: NoticeKind,
    /// How much it matters.
    pub(crate) severity: Severity,
    /// One line, without control characters.
    pub(crate) subject: String,
    /// The text; of control characters it has only line feeds and tabs.
    pub(crate) body: String,
    /// Why, in a line.
    pub(crate) reason: String,
    /// What it is about.
    pub(crate) target: Target,
    /// The incident that is the cause.
    pub(crate) incident: Option<IncidentKey>,
    /// Of a `resolved` notice: the alerts that are over.
    #[serde(default)]
    pub(crate) alerts: Vec<Alerted>,
    /// Whether nothing has really been done.
    pub(crate) dry_run: bool,
    /// When the event was handed over.
    pub(crate) at: Timestamp,
}

impl Notice {
    /// The event as people are told of it. Events that are no messages are told with their payload.
    pub(crate) fn of(event: &Event, cluster: &str, at: Timestamp) -> Self {
        let message = event.payload_as::<Message>().unwrap_or_else(|_| Message {
            subject: format!("{} for {}", event.name.replace('_', " "), event.target),
            body: format!("{}\n\n{:#}", event.reason, event.payload),
            severity: Severity::Info,
        });
        let alerts = match event.payload_as::<Resolved>() {
            Ok(resolved) if event.name == names::ALERT_RESOLVED => resolved.alerts,
            _ => Vec::new(),
        };
        Self {
            id: id_of(event),
            cluster: one_line(cluster),
            event: one_line(&event.name),
            kind: kind_of(&event.name, message.severity),
            severity: message.severity,
            subject: one_line(&message.subject),
            body: text(&message.body),
            reason: one_line(&event.reason),
            target: event.target.clone(),
            incident: event.cause.clone(),
            alerts,
            dry_run: event.dry_run,
            at,
        }
    }

    /// What makes two notices the same for the snooze.
    pub(crate) fn key(&self) -> String {
        format!("{} {} {}", self.event, self.target, self.thread())
    }

    /// What makes two notices parts of one story, which must arrive in their order: the incident, or the event and what
    /// it is about.
    pub(crate) fn thread(&self) -> String {
        match &self.incident {
            Some(incident) => format!("{} of {}", incident.kind, incident.subject),
            None => format!("{} for {}", self.event, self.target),
        }
    }

    /// The moment in RFC 3339, in UTC.
    pub(crate) fn time(&self) -> String {
        rfc3339(self.at)
    }
}

/// The severity's public name.
pub(crate) fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

/// A moment in RFC 3339, in UTC.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| format!("{} ms", at.0), |at| at.to_string())
}

fn kind_of(event: &str, severity: Severity) -> NoticeKind {
    if event == names::ALERT_RESOLVED {
        NoticeKind::Resolved
    } else if event.starts_with("alert_") || severity == Severity::Critical {
        NoticeKind::Alert
    } else {
        NoticeKind::Notice
    }
}

/// The id of the delivery. Reports to the audit have none: each has a number in its payload.
fn id_of(event: &Event) -> String {
    if event.id.is_empty() {
        let json = serde_json::to_vec(event).unwrap_or_default();
        return format!("e{:08x}", crc32fast::hash(&json));
    }
    event.id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

/// Whether a character shows nothing by itself and changes what stands around it: the name of a broker must not turn
/// the text of an alert.
fn is_trick(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A text as one line of bounded length: whatever a name holds, it begins no second line.
pub(crate) fn one_line(text: &str) -> String {
    let clean = |c: char| if c.is_control() || is_trick(c) { ' ' } else { c };
    let line: String = text.trim().chars().map(clean).take(MOST_LINE + 1).collect();
    match line.char_indices().nth(MOST_LINE) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// A text of bounded length, of which lines are the only structure.
fn text(text: &str) -> String {
    let clean = |c: char| if (c.is_control() && c != '\n' && c != '\t') || is_trick(c) { ' ' } else { c };
    let mut clean: String = text.replace("\r\n", "\n").chars().map(clean).collect();
    if let Some((at, _)) = clean.char_indices().find(|(at, _)| *at >= MOST_TEXT) {
        clean.truncate(at);
        clean.push_str("…\n(cut off)");
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_begins_no_line_and_turns_no_text() {
        let evil = "b3\r\nBcc: everybody@example.org\u{202e}\u{2028}x\u{85}y\0";
        assert_eq!(one_line(evil), "b3  Bcc: everybody@example.org  x y ");
        assert_eq!(text("a\r\nb\rc\td\u{1b}[2J"), "a\nb c\td [2J");
        assert_eq!(one_line(&"é".repeat(400)).chars().count(), 301);
        assert!(text(&"é".repeat(40_000)).ends_with("…\n(cut off)"));
    }

    #[test]
    fn an_event_that_is_no_message_is_told_with_its_payload() {
        let event = Event::new("my_order", Target::Broker(cluster::BrokerId(3)), "it burns", &[1, 2]);
        let notice = Notice::of(&event, "prod", Timestamp(0));
        assert_eq!(notice.subject, "my order for broker 3");
        assert_eq!(notice.body, "it burns\n\n[\n  1,\n  2\n]");
        assert_eq!((notice.kind, notice.time().as_str()), (NoticeKind::Notice, "1970-01-01T00:00:00Z"));
    }

    #[test]
    fn what_is_critical_is_an_alert_whatever_its_name() {
        assert_eq!(kind_of("notify_x", Severity::Critical), NoticeKind::Alert);
        assert_eq!(kind_of("notify_x", Severity::Warning), NoticeKind::Notice);
        assert_eq!(kind_of("alert_x", Severity::Info), NoticeKind::Alert);
        assert_eq!(kind_of("alert_resolved", Severity::Info), NoticeKind::Resolved);
    }
}
