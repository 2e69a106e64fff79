//! What is posted.

use control::event::names;
use control::{Severity, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::plugins::delivery::{Notice, NoticeKind, Parcel, one_line, rfc3339, severity_name};

/// Characters that services take at most: of a summary and a key of PagerDuty, of a header and a section of Slack.
const MOST_SUMMARY: usize = 1_024;
const MOST_KEY: usize = 255;
const MOST_HEADER: usize = 150;
const MOST_SECTION: usize = 3_000;
/// How long Alertmanager holds an alert that nobody ends, in ms: one of an incident is ended, and this is for the case that
/// its end cannot be delivered; one without an incident has no end.
const OPEN_FOR: i64 = 7 * 24 * 3_600_000;
const OPEN_WITHOUT_INCIDENT: i64 = 24 * 3_600_000;

/// The services whose bodies are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// All that is known, for machines of your own.
    #[default]
    Json,
    /// An incoming webhook of Slack, or of a service that takes the same, such as Mattermost.
    Slack,
    /// Events API v2 of PagerDuty.
    Pagerduty,
    /// `/api/v2/alerts` of the Alertmanager of Prometheus.
    Alertmanager,
}

impl Format {
    /// Its name in the configuration.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Slack => "slack",
            Self::Pagerduty => "pagerduty",
            Self::Alertmanager => "alertmanager",
        }
    }

    /// The body for a parcel.
    pub(super) fn body(self, parcel: &Parcel, routing_key: Option<&str>) -> Value {
        match self {
            Self::Json => all(parcel),
            Self::Slack => slack(parcel),
            Self::Pagerduty => pagerduty(parcel, routing_key.unwrap_or_default()),
            Self::Alertmanager => alertmanager(parcel),
        }
    }
}

fn all(parcel: &Parcel) -> Value {
    let notice = &parcel.notice;
    json!({
        "id": notice.id,
        "cluster": notice.cluster,
        "event": notice.event,
        "kind": notice.kind,
        "severity": notice.severity,
        "subject": notice.subject,
        "body": notice.body,
        "reason": notice.reason,
        "target": notice.target,
        "incident": notice.incident,
        "key": key(notice),
        "alerts": notice.alerts,
        "dry_run": notice.dry_run,
        "held_back": parcel.held_back,
        "timestamp": notice.at,
    })
}

/// The subject with a mark for what nobody has really done.
fn subject(notice: &Notice) -> String {
    format!("[{}] {}{}", notice.cluster, if notice.dry_run { "dry run: " } else { "" }, notice.subject)
}

/// What an alert and its end have in common.
fn key(notice: &Notice) -> String {
    let key = one_line(&format!("doctorkafka/{}/{}", notice.cluster, notice.thread()));
    if key.chars().count() <= MOST_KEY {
        return key;
    }
    let hash = crc32fast::hash(format!("{}/{}", notice.cluster, notice.thread()).as_bytes());
    format!("{}-{hash:08x}", cut(&key, MOST_KEY - 10))
}

/// The first characters of a text.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => text[..at].to_owned(),
        None => text.to_owned(),
    }
}

fn slack(parcel: &Parcel) -> Value {
    let notice = &parcel.notice;
    // What is in front of people without blocks, and in notifications. Its markup is Slack's: only these characters mean
    // something to it that a name could hold.
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mark = match (notice.kind, notice.severity) {
        (NoticeKind::Resolved, _) => ":white_check_mark:",
        (_, Severity::Critical) => ":red_circle:",
        (_, Severity::Warning) => ":large_orange_circle:",
        (_, Severity::Info) => ":information_source:",
    };
    let plain = |text: String, emoji: bool| json!({"type": "plain_text", "text": text, "emoji": emoji});
    let head = format!("{mark} {}", subject(notice));
    let body = if notice.body.trim().is_empty() { notice.reason.clone() } else { notice.body.clone() };
    let mut foot = format!("{}, {}, {}", notice.event, one_line(&notice.target.to_string()), notice.time());
    if parcel.held_back > 0 {
        foot.push_str(&format!(", {} earlier ones held back", parcel.held_back));
    }
    let mut blocks = vec![json!({"type": "header", "text": plain(cut(&head, MOST_HEADER), true)})];
    if !body.trim().is_empty() {
        blocks.push(json!({"type": "section", "text": plain(cut(&body, MOST_SECTION), false)}));
    }
    blocks.push(json!({"type": "context", "elements": [plain(cut(&foot, MOST_SECTION), false)]}));
    json!({"text": escape(&cut(&format!("{head}\n{body}"), MOST_SECTION)), "blocks": blocks})
}

fn pagerduty(parcel: &Parcel, routing_key: &str) -> Value {
    let notice = &parcel.notice;
    if notice.kind == NoticeKind::Resolved {
        return json!({"routing_key": routing_key, "event_action": "resolve", "dedup_key": key(notice)});
    }
    // What is no alert has no end: it must not be taken for the same as an earlier one.
    let dedup_key = match notice.kind {
        NoticeKind::Notice => cut(&format!("doctorkafka/{}/{}", notice.cluster, notice.id), MOST_KEY),
        NoticeKind::Alert | NoticeKind::Resolved => key(notice),
    };
    json!({
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": dedup_key,
        "client": "DoctorKafka",
        "payload": {
            "summary": cut(&subject(notice), MOST_SUMMARY),
            "source": notice.cluster,
            "severity": severity_name(notice.severity),
            "timestamp": notice.time(),
            "component": one_line(&notice.target.to_string()),
            "class": notice.event,
            "custom_details": {
                "body": notice.body,
                "reason": notice.reason,
                "id": notice.id,
                "held_back": parcel.held_back,
            },
        },
    })
}

/// An alert of Alertmanager is told from others by its labels, so that its end must have the very same ones: the end of an
/// incident ends each of its alerts by the labels that it had.
fn alertmanager(parcel: &Parcel) -> Value {
    let notice = &parcel.notice;
    let incident = notice.incident.as_ref().map(|incident| one_line(&incident.kind)).unwrap_or_default();
    let labels = |event: &str, severity: Severity, target: &control::Target| {
        json!({
            "alertname": one_line(event),
            "cluster": notice.cluster,
            "severity": severity_name(severity),
            "target": one_line(&target.to_string()),
            "incident": incident,
            "service": "doctorkafka",
        })
    };
    let annotations = json!({
        "summary": subject(notice),
        "description": notice.body,
        "reason": notice.reason,
        "id": notice.id,
    });
    if notice.event == names::ALERT_RESOLVED {
        let ended = |alert: &control::event::Alerted| {
            json!({
                "labels": labels(&alert.event, alert.severity, &alert.target),
                "annotations": annotations,
                "endsAt": notice.time(),
            })
        };
        return notice.alerts.iter().map(ended).collect();
    }
    let open_for = if notice.incident.is_some() { OPEN_FOR } else { OPEN_WITHOUT_INCIDENT };
    json!([{
        "labels": labels(&notice.event, notice.severity, &notice.target),
        "annotations": annotations,
        "startsAt": notice.time(),
        "endsAt": rfc3339(Timestamp(notice.at.0.saturating_add(open_for))),
    }])
}
