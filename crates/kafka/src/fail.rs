//! What an error of the client or an error code of a broker means to a caller.

use std::io;
use std::time::Duration;

use cluster::{ClientError, ClusterId};
use krafka::KrafkaError;
use krafka::error::{ErrorCode, ProtocolErrorKind};

use crate::oauth::TokenError;
use crate::security::Security;
use crate::speaks::Speaks;

/// Why a connection is not there, or did not bring an answer.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// There is no token to log in with.
    Token(TokenError),
    /// The client says why.
    Client(KrafkaError),
    /// It is a broker of another cluster.
    OtherCluster(ClusterId),
}

impl From<TokenError> for Trouble {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

impl From<KrafkaError> for Trouble {
    fn from(error: KrafkaError) -> Self {
        Self::Client(error)
    }
}

/// Where and when something failed: all that an error needs to be understood.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Whom we talked to.
    pub(crate) at: &'a str,
    /// What was being done.
    pub(crate) doing: &'static str,
    /// How long it was given.
    pub(crate) limit: Duration,
    /// How we talk to it.
    pub(crate) security: &'a Security,
    /// Whether this address has ever answered a request over these settings. If it has, a connection that it closes
    /// is a broker going away; if it never has, it is most likely a listener of another kind.
    pub(crate) proven: bool,
    /// Who answers there, where that was looked at: see [`Place::is_puzzled_by`].
    pub(crate) speaks: Option<Speaks>,
}

impl Place<'_> {
    /// No answer within the limit.
    pub(crate) fn timeout(&self) -> ClientError {
        let limit_ms = u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX);
        ClientError::Timeout { at: self.at.to_owned(), limit_ms, doing: self.doing }
    }

    fn unreachable(&self, why: impl Into<String>) -> ClientError {
        ClientError::Unreachable { at: self.at.to_owned(), why: why.into() }
    }

    fn security(&self, why: impl Into<String>) -> ClientError {
        ClientError::Security { at: self.at.to_owned(), why: why.into() }
    }

    /// What a trouble means here.
    pub(crate) fn trouble(&self, trouble: &Trouble) -> ClientError {
        match trouble {
            Trouble::Client(error) => self.error(error),
            Trouble::OtherCluster(id) => ClientError::OtherCluster { at: self.at.to_owned(), id: id.clone() },
            Trouble::Token(TokenError::Refused { at, why }) => {
                ClientError::Security { at: at.clone(), why: why.clone() }
            }
            Trouble::Token(TokenError::Unavailable { at, why }) => {
                ClientError::Unreachable { at: at.clone(), why: why.clone() }
            }
        }
    }

    /// What an error of the client means here.
    pub(crate) fn error(&self, error: &KrafkaError) -> ClientError {
        match error {
            KrafkaError::Network(io) => self.network(io),
            KrafkaError::Auth { message, .. } => self.security(self.authentication(message)),
            KrafkaError::Timeout { .. } => self.timeout(),
            KrafkaError::DeliveryTimeout { .. } => self.timeout(),
            KrafkaError::Broker { code, message } => broker(self.doing, *code, Some(message)),
            // The only settings that are looked at this late are files of certificates and keys.
            KrafkaError::Config { message } => self.security(key_material(message)),
            KrafkaError::UnknownTopic { topic } => ClientError::UnknownTopic { what: topic.clone() },
            KrafkaError::Closed { message } => self.unreachable(message.clone()),
            KrafkaError::Protocol { kind: ProtocolErrorKind::UnknownApiVersion, .. } => {
                ClientError::Unsupported { doing: self.doing }
            }
            KrafkaError::Protocol { .. } if !self.proven => self.other_listener(),
            other => ClientError::Malformed { doing: self.doing, why: other.to_string() },
        }
    }

    fn network(&self, error: &io::Error) -> ClientError {
        use io::ErrorKind as Kind;
        match error.kind() {
            // A TLS alert that came after the handshake: in TLS 1.3 that is how a missing client certificate shows.
            Kind::InvalidData if self.security.encrypts() => {
                self.security(self.authentication(&error.to_string()))
            }
            kind if is_closed(kind) && !self.proven => self.other_listener(),
            Kind::TimedOut => self.timeout(),
            _ => self.unreachable(error.to_string()),
        }
    }

    /// Words an operator knows for what TLS and SASL report.
    fn authentication(&self, message: &str) -> String {
        let has = |part: &str| message.contains(part);
        let hint = if has("UnknownIssuer") || has("BadSignature") {
            "the broker's certificate is signed by a CA that is not in ssl.truststore.location"
        } else if has("NotValidForName") {
            "the broker's certificate does not name this host"
        } else if has("Expired") || has("expired") {
            "a certificate has expired"
        } else if has("CertificateRequired") || (has("BadCertificate") && !self.security.shows_certificate) {
            "the broker wants a client certificate: set ssl.keystore.*"
        } else if has("BadCertificate") || has("UnknownCA") || has("CertificateUnknown") {
            "the broker did not accept our client certificate"
        } else if has("InvalidContentType") || has("InvalidMessage") {
            "the listener does not speak TLS"
        } else if has("IllegalSaslState") {
            "the listener does not want SASL (security.protocol)"
        } else {
            return message.to_owned();
        };
        format!("{hint} ({message})")
    }

    /// Whether only a look at who answers there can tell what is wrong. Where we encrypt, TLS says it.
    pub(crate) fn is_puzzled_by(&self, trouble: &Trouble) -> bool {
        let Trouble::Client(error) = trouble else { return false };
        let is_odd = match error {
            KrafkaError::Network(io) => is_closed(io.kind()),
            KrafkaError::Protocol { kind, .. } => *kind != ProtocolErrorKind::UnknownApiVersion,
            _ => false,
        };
        is_odd && !self.proven && !self.security.encrypts()
    }

    /// What became of a connection that was taken, and closed without a proper answer. It is a matter of the settings
    /// for certain only where TLS was seen: a broker that is stopping or starting closes connections, too.
    fn other_listener(&self) -> ClientError {
        match (self.speaks, self.security.authenticates()) {
            (Some(Speaks::SomethingElse), _) => {
                self.unreachable("what answers there does not speak the Kafka protocol")
            }
            (Some(Speaks::Tls), false) => {
                self.security("it answers in TLS: the listener wants SSL or SASL_SSL (security.protocol)")
            }
            (Some(Speaks::Tls), true) => {
                self.security("it answers in TLS: the listener wants SASL_SSL, or SSL (security.protocol)")
            }
            (Some(Speaks::Kafka) | None, _) => {
                ClientError::Closed { at: self.at.to_owned(), why: self.closed().to_owned() }
            }
        }
    }

    /// Why a broker that took the connection may have closed it without a proper answer.
    fn closed(&self) -> &'static str {
        match (self.security.encrypts(), self.security.authenticates()) {
            (false, false) if self.speaks == Some(Speaks::Kafka) => {
                "it answers, but closed the connection without a proper answer: the listener probably \
                 wants SASL (security.protocol)"
            }
            (false, false) => {
                "it closed the plaintext connection without a proper answer: the listener probably \
                 wants SSL or SASL (security.protocol)"
            }
            (true, false) => {
                "it closed the connection during or right after the TLS handshake: the listener \
                 is probably not an SSL one, or wants a client certificate or SASL"
            }
            (false, true) => {
                "it closed the SASL_PLAINTEXT connection without a proper answer: the listener \
                 probably wants SASL_SSL, or no SASL"
            }
            (true, true) => {
                "it closed the SASL_SSL connection without a proper answer: the listener is \
                 probably not an SSL one, or wants no SASL"
            }
        }
    }
}

/// Whether the other side ended the connection.
fn is_closed(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as Kind;
    matches!(kind, Kind::UnexpectedEof | Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe)
}

/// What a broker's error code means.
pub(crate) fn broker(doing: &'static str, code: ErrorCode, message: Option<&str>) -> ClientError {
    let why = message.unwrap_or_default().trim().to_owned();
    match code {
        ErrorCode::TopicAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed
        | ErrorCode::GroupAuthorizationFailed
        | ErrorCode::TransactionalIdAuthorizationFailed
        | ErrorCode::DelegationTokenAuthorizationFailed => {
            let needs = missing_right(code);
            // The controller's own words here are a dump of the request, many lines of it.
            let why = if why.contains("Request(processor") { String::new() } else { why };
            let why = if why.is_empty() { needs.to_owned() } else { format!("{needs} ({why})") };
            ClientError::Denied { doing, why }
        }
        ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => {
            ClientError::UnknownTopic { what: if why.is_empty() { doing.to_owned() } else { why } }
        }
        ErrorCode::UnsupportedVersion => ClientError::Unsupported { doing },
        _ => ClientError::Refused { doing, code: code_name(code), why },
    }
}

fn missing_right(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::TopicAuthorizationFailed => "a right on the topic is missing",
        ErrorCode::GroupAuthorizationFailed => "a right on the group is missing",
        ErrorCode::TransactionalIdAuthorizationFailed => "a right on the transactional id is missing",
        _ => "a right on the cluster is missing",
    }
}

/// Kafka's own spelling of an error code: `INVALID_REPLICA_ASSIGNMENT`.
pub(crate) fn code_name(code: ErrorCode) -> String {
    let mut name = String::new();
    for c in format!("{code:?}").chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

fn key_material(message: &str) -> String {
    if message.contains("tls-encrypted-keys") {
        return "the private key is encrypted, which is not supported: decrypt it with \
                `openssl pkcs8 -in KEY.pem -out PLAIN.pem` and protect the file by its mode"
            .to_owned();
    }
    if message.contains("parse private key") || message.contains("parse the private key") {
        return format!(
            "{message} (an EC key out of a Java keystore is mended by `openssl ec -in KEY.pem -out NEW.pem`)"
        );
    }
    message.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_have_kafkas_own_names() {
        assert_eq!(code_name(ErrorCode::InvalidReplicaAssignment), "INVALID_REPLICA_ASSIGNMENT");
        assert_eq!(code_name(ErrorCode::NotController), "NOT_CONTROLLER");
    }

    #[test]
    fn a_missing_right_is_denied_and_an_unknown_topic_is_unknown() {
        let denied = broker("reassigning", ErrorCode::ClusterAuthorizationFailed, Some("Alter on CLUSTER"));
        assert_eq!(
            denied.to_string(),
            "not authorised for reassigning: a right on the cluster is missing (Alter on CLUSTER)"
        );
        assert!(denied.is_configuration());
        let unknown = broker("reassigning", ErrorCode::UnknownTopicOrPartition, Some("no such topic"));
        assert_eq!(unknown, ClientError::UnknownTopic { what: "no such topic".into() });
    }

    #[test]
    fn a_closed_connection_hints_at_the_settings_only_where_nothing_was_ever_answered() {
        let security = Security::plaintext();
        let mut place = Place {
            at: "a:1",
            doing: "asking",
            limit: Duration::from_secs(1),
            security: &security,
            proven: false,
            speaks: None,
        };
        let closed =
            KrafkaError::Network(std::sync::Arc::new(io::Error::from(io::ErrorKind::ConnectionReset)));
        let error = place.error(&closed);
        assert!(matches!(error, ClientError::Closed { .. }) && !error.is_configuration(), "{error}");
        place.speaks = Some(Speaks::Tls);
        assert!(matches!(place.error(&closed), ClientError::Security { .. }));
        place.proven = true;
        assert!(matches!(place.error(&closed), ClientError::Unreachable { .. }));
        let refused =
            KrafkaError::Network(std::sync::Arc::new(io::Error::from(io::ErrorKind::ConnectionRefused)));
        place.proven = false;
        assert!(matches!(place.error(&refused), ClientError::Unreachable { .. }));
    }
}
