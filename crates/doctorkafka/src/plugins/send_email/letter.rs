//! A parcel as a mail.

use std::time::{Duration, UNIX_EPOCH};

use lettre::Message;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};

use super::SendEmailConfig;
use crate::plugins::delivery::{Parcel, one_line};

/// The mail for a parcel. The same parcel makes the same mail each time: its date is that of the event, and its
/// `Message-ID` that of the delivery.
///
/// # Errors
/// What cannot be a mail, in words.
pub(super) fn letter(config: &SendEmailConfig, action: &str, parcel: &Parcel) -> Result<Vec<u8>, String> {
    let to: Mailbox = parcel.to.parse().map_err(|error| format!("`{}` is no address: {error}", parcel.to))?;
    let notice = &parcel.notice;
    let millis = u64::try_from(notice.at.0).unwrap_or(0);
    let domain = domain(&config.from.0);
    // Mails of one incident are one conversation.
    let thread = format!("{} {}", notice.cluster, notice.thread());
    let thread = format!("<t{:08x}.{}@{domain}>", crc32fast::hash(thread.as_bytes()), word(&notice.cluster));
    let message = Message::builder()
        .message_id(Some(message_id(config, action, parcel)))
        .date(UNIX_EPOCH + Duration::from_millis(millis))
        .from(config.from.0.clone())
        .to(to)
        .subject(one_line(&config.subject.fill(parcel)))
        .references(thread)
        .raw_header(header("Auto-Submitted", "auto-generated"))
        .raw_header(header("X-DoctorKafka-Cluster", &word(&notice.cluster)))
        .raw_header(header("X-DoctorKafka-Event", &word(&notice.event)))
        .header(MIME_VERSION_1_0)
        .header(ContentType::TEXT_PLAIN)
        .body(config.body.fill(parcel).trim_end().to_owned() + "\n")
        .map_err(|error| error.to_string())?;
    Ok(message.formatted())
}

/// The `Message-ID`.
pub(super) fn message_id(config: &SendEmailConfig, action: &str, parcel: &Parcel) -> String {
    let notice = &parcel.notice;
    let (cluster, action) = (word(&notice.cluster), word(action));
    format!("<{}.{cluster}.{action}@{}>", word(&notice.id), domain(&config.from.0))
}

fn domain(from: &Mailbox) -> String {
    word(from.email.domain())
}

/// A text of which only what needs no encoding is left.
fn word(text: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    text.chars().map(fits).take(100).collect()
}

/// A header of which neither the name nor the value needs encoding.
fn header(name: &'static str, value: &str) -> HeaderValue {
    let name = HeaderName::new_from_ascii_str(name);
    HeaderValue::new(name, value.to_owned())
}
