//! Tokens for SASL/OAUTHBEARER.
//!
//! Reading order: [`Source`] (where a token comes from: [`endpoint`], a file, or [`unsecured`]), [`Tokens`] (which keeps
//! one, renews it in time and asks for it calmly), [`TokenError`].

mod endpoint;
mod jwt;
mod tokens;
mod unsecured;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use thiserror::Error;

pub(crate) use endpoint::{Client, DEFAULT_LIMIT, Endpoint, endpoint_url};
pub(crate) use tokens::{Held, Tokens};
pub(crate) use unsecured::Claims;

/// The largest token that is taken, in bytes: a broker reads no more from a client that logs in
/// (`sasl.server.max.receive.size`).
const MAX_TOKEN_BYTES: usize = 512 << 10;
/// How long reading the token's file may take.
const FILE_LIMIT: Duration = Duration::from_secs(5);

/// Why there is no token. It repeats no secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum TokenError {
    /// A matter of settings, which does not heal by waiting.
    #[error("{at}: {why}")]
    Refused {
        /// Who was to give the token.
        at: String,
        /// The cause in words.
        why: String,
    },
    /// Whoever gives tokens does not answer, or has a failure of its own.
    #[error("{at}: {why}")]
    Unavailable {
        /// Who was to give the token.
        at: String,
        /// The cause in words.
        why: String,
    },
}

/// A token as it was given.
pub(crate) struct Fresh {
    value: String,
    /// How long it is good for; `None` is not known.
    valid_for: Option<Duration>,
}

/// Where tokens come from.
pub(crate) enum Source {
    /// A file that somebody else keeps fresh.
    File(PathBuf),
    /// An identity provider, by the client-credentials grant (RFC 6749, section 4.4).
    Endpoint(Box<Endpoint>),
    /// A token without a signature that says who we are, which only brokers of development set-ups take.
    Unsecured(Claims),
}

/// Tokens from a source, and what is sent to the broker beside each of them.
pub(crate) struct Provider {
    pub(crate) source: Source,
    /// SASL extensions (RFC 7628, section 3.1) by name.
    pub(crate) extensions: BTreeMap<String, String>,
}

impl Source {
    /// Who gives the tokens, for messages.
    fn name(&self) -> String {
        match self {
            Self::File(path) => format!("the token file {}", path.display()),
            Self::Endpoint(endpoint) => format!("the token endpoint {}", endpoint.url().without_query()),
            Self::Unsecured(_) => "the unsecured token".to_owned(),
        }
    }

    /// Whether asking again costs nothing and may bring something newer at any time.
    fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    async fn fetch(&self) -> Result<Fresh, TokenError> {
        let fresh = match self {
            Self::File(path) => from_file(path.clone()).await.map_err(|why| self.refused(why))?,
            Self::Endpoint(endpoint) => endpoint.fetch().await.map_err(|failure| match failure {
                endpoint::Failure::Refused(why) => self.refused(why),
                endpoint::Failure::Unavailable(why) => self.unavailable(why),
            })?,
            Self::Unsecured(claims) => claims.token(wall_clock()),
        };
        if !is_token(&fresh.value) {
            return Err(self.refused("what it gave is no bearer token (RFC 6750, section 2.1)"));
        }
        if fresh.valid_for.is_some() {
            return Ok(fresh);
        }
        // Kafka's clients go by the token's own word.
        let valid_for = jwt::expiry(&fresh.value).map(|end| {
            let now = wall_clock();
            end.checked_sub(now).filter(|left| !left.is_zero()).ok_or_else(|| now.saturating_sub(end))
        });
        match valid_for.transpose() {
            Ok(valid_for) => Ok(Fresh { valid_for, ..fresh }),
            Err(since) => {
                let since = since.as_secs();
                Err(self
                    .refused(format!("the token that it gave expired {since} s ago, by this host's clock")))
            }
        }
    }

    fn refused(&self, why: impl Into<String>) -> TokenError {
        TokenError::Refused { at: self.name(), why: why.into() }
    }

    fn unavailable(&self, why: impl Into<String>) -> TokenError {
        TokenError::Unavailable { at: self.name(), why: why.into() }
    }
}

async fn from_file(path: PathBuf) -> Result<Fresh, String> {
    // A FIFO, or a dead network file system, may never answer.
    let reading = tokio::task::spawn_blocking(move || read_bounded(&path));
    let text = match tokio::time::timeout(FILE_LIMIT, reading).await {
        Ok(Ok(read)) => read.map_err(|e| format!("cannot be read: {e}"))?,
        Ok(Err(_)) => return Err("cannot be read: the reader has died".to_owned()),
        Err(_) => return Err(format!("cannot be read within {} s", FILE_LIMIT.as_secs())),
    };
    match text.trim() {
        "" => Err("is empty".to_owned()),
        token => Ok(Fresh { value: token.to_owned(), valid_for: None }),
    }
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_TOKEN_BYTES as u64 + 1).read_to_string(&mut text)?;
    if text.len() > MAX_TOKEN_BYTES {
        return Err(std::io::Error::other(format!("it is larger than {} KiB", MAX_TOKEN_BYTES >> 10)));
    }
    Ok(text)
}

/// Whether brokers take this as a token: `b64token` of RFC 6750.
fn is_token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty() && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
}

/// Time since the Unix epoch.
fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token without a signature that ends `seconds` from now.
    pub(super) fn ending_in(seconds: i64) -> String {
        let end = i64::try_from(wall_clock().as_secs()).expect("a time") + seconds;
        jwt::unsecured(&serde_json::json!({ "sub": "alice", "exp": end }))
    }

    async fn of_file(content: &str) -> Result<Fresh, TokenError> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), content).expect("written");
        Source::File(file.path().to_owned()).fetch().await
    }

    #[tokio::test]
    async fn a_file_holds_a_token_and_the_token_its_end() {
        let token = ending_in(600);
        let fresh = of_file(&format!("  {token}\n")).await.expect("a token");
        assert_eq!(fresh.value, token);
        assert!(fresh.valid_for.is_some_and(|left| (590..=600).contains(&left.as_secs())));
        assert_eq!(of_file("opaque").await.expect("a token").valid_for, None);
    }

    #[tokio::test]
    async fn says_what_is_wrong_with_a_file() {
        for (content, expected) in [
            ("", "is empty"),
            ("two words", "no bearer token"),
            ("x\u{1}y", "no bearer token"),
            // The clock goes on while the test does.
            (&ending_in(-7000), "expired 70"),
            (&"x".repeat(MAX_TOKEN_BYTES + 1), "larger than 512 KiB"),
        ] {
            let error = of_file(content).await.err().expect("an error");
            assert!(matches!(&error, TokenError::Refused { why, .. } if why.contains(expected)), "{error}");
        }
        let none = Source::File("/nonexistent/token".into()).fetch().await.err().expect("an error");
        assert!(none.to_string().starts_with("the token file /nonexistent/token: cannot be read"), "{none}");
    }
}
