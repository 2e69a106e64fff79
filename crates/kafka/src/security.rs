//! How we talk to brokers: encryption, and who we say we are.

use std::fmt;

use krafka::auth::AuthConfig;

use crate::client_properties::Problem;

/// The security settings of a cluster. Made by [`client_properties::parse`](crate::client_properties::parse), or
/// [`Security::plaintext`]. Its `Debug` shows no secret.
#[derive(Clone)]
pub struct Security {
    /// What the client takes; `None` is plaintext.
    pub(crate) auth: Option<AuthConfig>,
    /// Whether brokers are shown a client certificate.
    pub(crate) shows_certificate: bool,
    pub(crate) warnings: Vec<Problem>,
}

impl Security {
    /// No encryption and no authentication.
    pub fn plaintext() -> Self {
        Self { auth: None, shows_certificate: false, warnings: Vec::new() }
    }

    /// What was odd in the file that these settings come from but did not hinder us, such as a misspelt key.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
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
