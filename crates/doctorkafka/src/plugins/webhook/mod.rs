//! The action `webhook`: tells events by HTTP POST, in bodies that chat and paging services take.

mod body;
mod http;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cluster::BoxFuture;
use control::Action;
use control::config::HumanDuration;
use kafka::HttpUrl;
use serde::{Deserialize, Serialize};

use self::body::Format;
use self::http::{Answer, Client};
use super::delivery::{Courier, Failure, Limits, Parcel, post};
use crate::plugin::{ActionConfig, BuildContext, ConfigProblem};

/// Where PagerDuty takes events.
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";
/// Headers that are ours to set.
const OWN_HEADERS: [&str; 6] =
    ["host", "content-length", "content-type", "connection", "transfer-encoding", "user-agent"];
/// Bytes of a file with a secret that are read.
const MOST_SECRET: usize = 4 << 10;
/// Bytes of a value that is kept out of the words of an answer.
const SHORTEST_SECRET: usize = 6;

/// `type: webhook`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where events are posted to: `http:` or `https:`. It is secret, as that of Slack is.
    #[serde(default)]
    url: Option<String>,
    /// The file that has the URL.
    #[serde(default)]
    url_file: Option<PathBuf>,
    /// What is posted.
    #[serde(default)]
    format: Format,
    /// Further headers. They are secret.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Of `format: pagerduty`: the integration's key, or
    #[serde(default)]
    routing_key: Option<String>,
    /// the file that has it.
    #[serde(default)]
    routing_key_file: Option<PathBuf>,
    /// A file with certificates (PEM) that are trusted besides those that the host trusts.
    #[serde(default)]
    ca_file: Option<PathBuf>,
    /// For so long further events of the same name about the same thing are held back; the newest is sent then.
    #[serde(default)]
    snooze: HumanDuration,
    /// An event that could not be sent for so long is given up.
    #[serde(default = "default_give_up_after")]
    give_up_after: HumanDuration,
    /// How many events wait at most.
    #[serde(default = "default_queue")]
    queue: usize,
    /// How long one try may take.
    #[serde(default = "default_timeout")]
    timeout: HumanDuration,
}

/// As `send_email` does.
fn default_give_up_after() -> HumanDuration {
    HumanDuration::seconds(3 * 24 * 3_600)
}

fn default_queue() -> usize {
    1_000
}

fn default_timeout() -> HumanDuration {
    HumanDuration::seconds(30)
}

impl ActionConfig for WebhookConfig {
    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut wrong = |path: &str, message: &str| {
            problems.push(ConfigProblem { path: path.to_owned(), message: message.to_owned() });
        };
        let pagerduty = self.format == Format::Pagerduty;
        match (&self.url, &self.url_file) {
            (Some(_), Some(_)) => wrong("url_file", "`url` is there, too: only one of them can hold"),
            (None, None) if !pagerduty => wrong("", "the key `url` is missing; `url_file` would do, too"),
            _ => {}
        }
        match self.url.as_deref().map(http::url) {
            Some(Err(why)) => wrong("url", &why),
            Some(Ok(url)) if self.has_secrets() && url.is_exposed() => {
                wrong(
                    "url",
                    "headers and keys are secret, and `http:` to another host would show them: use `https:`",
                );
            }
            _ => {}
        }
        match (&self.routing_key, &self.routing_key_file) {
            (Some(_), Some(_)) => {
                wrong("routing_key_file", "`routing_key` is there, too: only one of them can hold");
            }
            (None, None) if pagerduty => {
                wrong("", "the key `routing_key` is missing; `routing_key_file` would do, too");
            }
            (Some(_), None) if !pagerduty => wrong("routing_key", "goes with `format: pagerduty`"),
            (None, Some(_)) if !pagerduty => wrong("routing_key_file", "goes with `format: pagerduty`"),
            _ => {}
        }
        for (name, value) in &self.headers {
            if let Err(why) = http::header(name, value) {
                wrong(&format!("headers.{name}"), &why);
            } else if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                wrong(&format!("headers.{name}"), "this header is set by DoctorKafka itself");
            }
        }
        problems.extend(self.limits().problems());
        problems
    }

    fn changes_things(&self) -> bool {
        false
    }

    fn build(&self, context: &BuildContext) -> Result<Arc<dyn Action>, String> {
        // The name of the recipient is kept with what waits: it must neither be secret nor change.
        let to = self.format.name().to_owned();
        let addresses = Box::new(move |_: &_| vec![to.clone()]);
        let hook = Hook { config: self.clone(), client: Client::new(self.ca_file.clone()) };
        Ok(post(context, self.limits(), addresses, Box::new(hook)))
    }
}

impl WebhookConfig {
    fn limits(&self) -> Limits {
        Limits {
            attempt: self.timeout.0,
            most: self.queue,
            snooze: self.snooze.0,
            give_up_after: self.give_up_after.0,
        }
    }

    fn has_secrets(&self) -> bool {
        !self.headers.is_empty() || self.routing_key.is_some() || self.routing_key_file.is_some()
    }
}

/// Posts events.
struct Hook {
    config: WebhookConfig,
    client: Client,
}

impl Courier for Hook {
    fn deliver<'a>(&'a mut self, parcel: &'a Parcel) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.send(parcel))
    }

    fn place(&self) -> String {
        let url = self.config.url.as_deref().or(if self.config.format == Format::Pagerduty {
            Some(PAGERDUTY)
        } else {
            None
        });
        match (url.and_then(|url| http::url(url).ok()), &self.config.url_file) {
            (Some(url), None) => url.origin(),
            (_, Some(file)) => format!("the URL in {}", file.display()),
            (None, None) => self.config.format.name().to_owned(),
        }
    }
}

impl Hook {
    async fn send(&mut self, parcel: &Parcel) -> Result<(), Failure> {
        let url = self.url().await?;
        if self.config.has_secrets() && url.is_exposed() {
            return Err(Failure::unreachable(
                "`http:` to another host would show what is secret: use `https:`",
            ));
        }
        let key = match (&self.config.routing_key, &self.config.routing_key_file) {
            (Some(key), _) => Some(key.clone()),
            (None, Some(file)) => Some(secret(file).await?),
            (None, None) => None,
        };
        let body = self.config.format.body(parcel, key.as_deref());
        let mut answer =
            self.client.post(&url, &self.config.headers, body).await.map_err(Failure::unreachable)?;
        for secret in self.config.headers.values().chain(&key) {
            // A service may repeat what it was given; a word that may be anything is not searched for.
            if secret.len() >= SHORTEST_SECRET {
                answer.text = answer.text.replace(secret.as_str(), "***");
            }
        }
        verdict(answer)
    }

    async fn url(&self) -> Result<HttpUrl, Failure> {
        let text = match (&self.config.url, &self.config.url_file) {
            (Some(url), _) => url.clone(),
            (None, Some(file)) => secret(file).await?,
            (None, None) => PAGERDUTY.to_owned(),
        };
        http::url(&text).map_err(Failure::unreachable)
    }
}

/// What follows from an answer.
fn verdict(answer: Answer) -> Result<(), Failure> {
    let Answer { status, text, retry_after } = answer;
    let why = if text.is_empty() {
        format!("it answered {status}")
    } else {
        format!("it answered {status}: {text}")
    };
    match status {
        200..=299 => Ok(()),
        // What is wrong with this one event: the next may be taken.
        400 | 409 | 413 | 415 | 422 | 431 => Err(Failure::Refused(why)),
        // Redirects are not followed, because headers would go to another place. All else is the server's trouble, or the
        // configuration's: a wrong key or path must lose no alert before somebody has mended it.
        _ => Err(Failure::Unreachable { why, after: retry_after }),
    }
}

/// The line that a file holds.
async fn secret(file: &Path) -> Result<String, Failure> {
    let unusable = |why: &str| Failure::unreachable(format!("cannot use {}: {why}", file.display()));
    let text = tokio::fs::read_to_string(file).await.map_err(|error| unusable(&error.to_string()))?;
    let line = text.trim();
    if line.is_empty() || line.len() > MOST_SECRET || line.contains('\n') {
        return Err(unusable("it is to hold one line"));
    }
    Ok(line.to_owned())
}
