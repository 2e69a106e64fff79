//! The action `send_email`: tells events by mail, over SMTP.
//!
//! There are two lists of recipients: `alert` gets what somebody should look at, and its end; `notification` gets the
//! rest. Each recipient is served by itself, so that a wrong address costs nobody else anything.

mod letter;
mod smtp;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use control::Action;
use control::config::HumanDuration;
use lettre::message::Mailbox;
use serde::{Deserialize, Serialize};

use self::smtp::Smtp;
use super::delivery::{Limits, Notice, NoticeKind, Template, post};
use crate::plugin::{ActionConfig, BuildContext, ConfigProblem};

/// How the way to the server is secured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsMode {
    /// Plain at first, then STARTTLS; without it nothing is sent.
    #[default]
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// None: for a server on the same host.
    None,
}

/// An address with or without a name: `DoctorKafka <doctorkafka@example.org>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MailAddress(Mailbox);

impl TryFrom<String> for MailAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mailbox: Mailbox =
            text.parse().map_err(|error| format!("`{text}` is not a mail address: {error}"))?;
        // Other ones need a server that can do SMTPUTF8 on the whole way.
        let address: &str = mailbox.email.as_ref();
        if !address.is_ascii() {
            return Err(format!("the address in `{text}` has characters that are not ASCII"));
        }
        Ok(Self(mailbox))
    }
}

impl From<MailAddress> for String {
    fn from(address: MailAddress) -> Self {
        address.0.to_string()
    }
}

/// `type: send_email`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendEmailConfig {
    /// The mail server: `HOST` or `HOST:PORT`. Without a port it is 587, with `tls: tls` 465, with `tls: none` 25.
    server: String,
    /// How the way to it is secured.
    #[serde(default)]
    tls: TlsMode,
    /// A file with certificates (PEM) that are trusted besides those that the host trusts.
    #[serde(default)]
    ca_file: Option<PathBuf>,
    /// Who we are for the server, if it asks.
    #[serde(default)]
    username: Option<String>,
    /// The password, or
    #[serde(default)]
    password: Option<String>,
    /// the file that has it. It is read for each connection, so that it may be changed at any time.
    #[serde(default)]
    password_file: Option<PathBuf>,
    /// The sender.
    from: MailAddress,
    /// Who gets what is worth knowing. Empty: those of `alert`.
    #[serde(default)]
    notification: Vec<MailAddress>,
    /// Who gets alerts and their ends. Empty: those of `notification`.
    #[serde(default)]
    alert: Vec<MailAddress>,
    /// The subject's template.
    #[serde(default = "default_subject")]
    subject: Template,
    /// The text's template.
    #[serde(default = "default_body")]
    body: Template,
    /// For so long further mails of the same event about the same thing are held back; the newest is sent then.
    #[serde(default = "default_snooze")]
    snooze: HumanDuration,
    /// A mail that could not be sent for so long is given up.
    #[serde(default = "default_give_up_after")]
    give_up_after: HumanDuration,
    /// How many mails wait at most.
    #[serde(default = "default_queue")]
    queue: usize,
    /// How long one try may take.
    #[serde(default = "default_timeout")]
    timeout: HumanDuration,
}

/// As mails of the original were held back.
fn default_snooze() -> HumanDuration {
    HumanDuration::seconds(20 * 60)
}

/// Long enough for a mail server that breaks on a Friday evening.
fn default_give_up_after() -> HumanDuration {
    HumanDuration::seconds(3 * 24 * 3_600)
}

fn default_queue() -> usize {
    1_000
}

/// Servers that look senders up first take their time.
fn default_timeout() -> HumanDuration {
    HumanDuration::seconds(60)
}

const SUBJECT: &str = "[{cluster}] {dry_run}{subject}";
const BODY: &str = "{body}

cluster   {cluster}
event     {event} ({severity})
about     {target}
why       {reason}
time      {time}

{held_back}
";

fn default_subject() -> Template {
    known_good(SUBJECT)
}

fn default_body() -> Template {
    known_good(BODY)
}

/// A template of ours; a test holds that they can be read.
fn known_good(text: &str) -> Template {
    Template::parse(text).unwrap_or_else(|_| Template::plain(text))
}

impl ActionConfig for SendEmailConfig {
    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut wrong = |path: &str, message: &str| {
            problems.push(ConfigProblem { path: path.to_owned(), message: message.to_owned() });
        };
        if let Err(why) = self.address() {
            wrong("server", &why);
        }
        if self.notification.is_empty() && self.alert.is_empty() {
            wrong("", "`notification` or `alert` must name somebody");
        }
        if self.password.is_some() && self.password_file.is_some() {
            wrong("password_file", "`password` is there, too: only one of them can hold");
        }
        let has_password = self.password.is_some() || self.password_file.is_some();
        match (&self.username, has_password) {
            (Some(_), false) => wrong("username", "goes with `password` or `password_file`"),
            (None, true) => wrong("", "the key `username` is missing: a password goes with it"),
            _ => {}
        }
        if self.username.is_some() && self.tls == TlsMode::None && !self.is_here() {
            wrong("tls", "a password is sent over TLS alone, unless the server is this host");
        }
        if self.ca_file.is_some() && self.tls == TlsMode::None {
            wrong("ca_file", "says whom to trust in TLS, and there is none");
        }
        problems.extend(self.limits().problems());
        problems
    }

    fn changes_things(&self) -> bool {
        false
    }

    fn build(&self, context: &BuildContext) -> Result<Arc<dyn Action>, String> {
        let config = self.clone();
        let addresses = Box::new(move |notice: &Notice| config.recipients(notice));
        let courier = Smtp::new(self.clone(), &context.name)?;
        Ok(post(context, self.limits(), addresses, Box::new(courier)))
    }
}

impl SendEmailConfig {
    fn limits(&self) -> Limits {
        Limits {
            attempt: self.timeout.0,
            most: self.queue,
            snooze: self.snooze.0,
            give_up_after: self.give_up_after.0,
        }
    }

    /// Host and port of the server.
    fn address(&self) -> Result<(String, u16), String> {
        let usual = match self.tls {
            TlsMode::Starttls => 587,
            TlsMode::Tls => 465,
            TlsMode::None => 25,
        };
        let wrong = || format!("`{}` is not a server: write HOST or HOST:PORT", self.server);
        let (host, port) = match self.server.rsplit_once(':') {
            // An IPv6 address without a port has colons of its own.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?)
            }
            _ => (self.server.as_str(), usual),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || !host.chars().all(fits) {
            return Err(wrong());
        }
        Ok((host.to_owned(), port))
    }

    /// Whether the server is this host.
    fn is_here(&self) -> bool {
        self.address().is_ok_and(|(host, _)| {
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        })
    }

    /// Who gets a notice.
    fn recipients(&self, notice: &Notice) -> Vec<String> {
        let (wanted, other) = match notice.kind {
            NoticeKind::Alert | NoticeKind::Resolved => (&self.alert, &self.notification),
            NoticeKind::Notice => (&self.notification, &self.alert),
        };
        let list = if wanted.is_empty() { other } else { wanted };
        let mut recipients: Vec<String> = list.iter().map(|address| address.0.to_string()).collect();
        recipients.sort();
        recipients.dedup();
        recipients
    }
}
