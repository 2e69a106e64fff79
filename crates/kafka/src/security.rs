//! How we talk to brokers: encryption, and who we say we are.

use std::fmt;
use std::sync::Arc;

use krafka::auth::AuthConfig;

use crate::client_properties::{PemFile, Problem};
use crate::oauth::{Held, Tokens};

/// The security settings of a cluster. Made by [`client_properties::parse`](crate::client_properties::parse), or
/// [`Security::plaintext`]. Its `Debug` shows no secret.
#[derive(Clone)]
pub struct Security {
    /// What the client takes; `None` is plaintext.
    pub(crate) auth: Option<AuthConfig>,
    /// What gives the tokens of OAUTHBEARER.
    pub(crate) tokens: Option<Arc<Tokens>>,
    /// Whether brokers are shown a client certificate.
    pub(crate) shows_certificate: bool,
    /// The files that a connection reads.
    pub(crate) files: Vec<PemFile>,
    pub(crate) warnings: Vec<Problem>,
}

impl Security {
    /// No encryption and no authentication.
    pub fn plaintext() -> Self {
        Self { auth: None, tokens: None, shows_certificate: false, files: Vec::new(), warnings: Vec::new() }
    }

    /// What was odd in the file that these settings come from but did not hinder us, such as a misspelt key.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// What is wrong at this moment with the files of certificates and keys that these settings name, each with the line
    /// that names it. A connection reads them when it is made.
    pub fn check_files(&self) -> Vec<Problem> {
        self.files.iter().filter_map(PemFile::problem).collect()
    }

    /// Kafka's name of the protocol: `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`.
    pub fn protocol(&self) -> &'static str {
        match (self.encrypts(), self.authenticates()) {
            (false, false) => "PLAINTEXT",
            (true, false) => "SSL",
            (false, true) => "SASL_PLAINTEXT",
            (true, true) => "SASL_SSL",
        }
    }

    /// What a client takes that keeps connections of its own. It keeps no token of an earlier client.
    pub(crate) fn for_client(&self) -> Option<AuthConfig> {
        let Some(tokens) = self.tokens.clone() else { return self.auth.clone() };
        Some(self.with_tls(AuthConfig::sasl_oauthbearer_provider(move || Arc::clone(&tokens).for_client())))
    }

    /// What a connection takes that logs in with this token, if the settings want tokens.
    pub(crate) fn for_connection(&self, token: Option<&Held>) -> Option<AuthConfig> {
        match (&self.tokens, token) {
            (Some(tokens), Some(held)) => {
                Some(self.with_tls(AuthConfig::sasl_oauthbearer_token(tokens.for_connection(held))))
            }
            _ => self.auth.clone(),
        }
    }

    fn with_tls(&self, auth: AuthConfig) -> AuthConfig {
        match self.auth.as_ref().and_then(AuthConfig::tls_config) {
            Some(tls) => auth.with_tls(tls.clone()),
            None => auth,
        }
    }

    /// Whether the connection is TLS.
    pub(crate) fn encrypts(&self) -> bool {
        self.auth.as_ref().is_some_and(AuthConfig::requires_tls)
    }

    /// Whether SASL is used.
    pub(crate) fn authenticates(&self) -> bool {
        self.auth.as_ref().is_some_and(AuthConfig::requires_sasl)
    }
}

impl Default for Security {
    fn default() -> Self {
        Self::plaintext()
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Security");
        shown.field("protocol", &self.protocol());
        if let Some(mechanism) = self.auth.as_ref().and_then(AuthConfig::sasl_mechanism) {
            shown.field("mechanism", mechanism);
        }
        shown.finish_non_exhaustive()
    }
}
