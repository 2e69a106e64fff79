//! The file of client settings that Kafka's own tools take with `--command-config`.
//!
//! What is supported, by key:
//!
//! | key | values |
//! |---|---|
//! | `security.protocol` | `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT`, `SASL_SSL` |
//! | `sasl.mechanism` | `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`, `OAUTHBEARER` (not Kerberos) |
//! | `sasl.jaas.config` | `PlainLoginModule` and `ScramLoginModule` with `username` and `password`; `OAuthBearerLoginModule`: see below |
//! | `ssl.truststore.type`, `ssl.truststore.location` | a PEM file (`type=PEM`) |
//! | `ssl.truststore.certificates` | PEM text |
//! | `ssl.keystore.type`, `ssl.keystore.location` | a PEM file with the private key and the certificate chain |
//! | `ssl.keystore.key`, `ssl.keystore.certificate.chain` | PEM text |
//! | `ssl.endpoint.identification.algorithm` | `https`: the broker's certificate must name its host |
//!
//! Without a truststore, the public certificate authorities are trusted. Java's key stores and encrypted private keys
//! are refused with the command that converts them. Everything that is wrong is reported at once, by line.
//!
//! # OAUTHBEARER
//!
//! | key | values |
//! |---|---|
//! | `sasl.oauthbearer.token.endpoint.url` | `https:` or `http:`: a token endpoint, asked by the client-credentials grant (RFC 6749, section 4.4); `file:`: a file that holds the token |
//! | `sasl.oauthbearer.client.credentials.client.id`, `….client.secret`, `sasl.oauthbearer.scope` | who we are at the endpoint; before Kafka 4.1 the options `clientId`, `clientSecret`, `scope` of `sasl.jaas.config`, which work too |
//! | `sasl.oauthbearer.header.urlencode` | `true`: id, secret and scope are encoded as RFC 6749 says. By default they are sent as they are, as Kafka's clients do |
//! | `sasl.login.connect.timeout.ms`, `sasl.login.read.timeout.ms` | how long connecting to the endpoint may take, and its whole answer; 10 s each by default |
//! | `sasl.login.callback.handler.class` | Kafka's `OAuthBearerLoginCallbackHandler`, which its own tools need for a URL; it may be left out here, as may the JVM's option `org.apache.kafka.sasl.oauthbearer.allowed.urls`. Or `OAuthBearerUnsecuredLoginCallbackHandler`, Kafka's default without a URL |
//! | `sasl.oauthbearer.jwt.retriever.class` | `DefaultJwtRetriever`, `ClientCredentialsJwtRetriever` or `FileJwtRetriever`: the URL decides |
//!
//! and by option of the `OAuthBearerLoginModule` in `sasl.jaas.config`:
//!
//! | option | values |
//! |---|---|
//! | `ssl.truststore.…`, `ssl.keystore.…` | TLS with the endpoint, as above. Without a truststore the certificate authorities of this host are trusted, or the public ones where it has none. The file's own `ssl.…` are for brokers alone, as in Kafka |
//! | `extension_NAME` | a SASL extension that is sent to the brokers beside the token |
//! | `unsecuredLoginStringClaim_sub` | for brokers of development set-ups: a token without a signature that names this user. Also `unsecuredLoginNumberClaim_NAME`, `…ListClaim_NAME`, `…LifetimeSeconds`, `…PrincipalClaimName`, `…Extension_NAME` |
//!
//! A token is kept until shortly before its end (`expires_in`, else the token's own `exp`, else five minutes) and renewed
//! while the old one is still good. A file is read again for a new connection when the last
//! reading is ten seconds old, and at once after a broker has refused the token. Where there is no token, the endpoint
//! is asked again after 2 s, then later and later up to 30 s (10 s where it does not answer), once for all connections;
//! `sasl.login.retry.…` and `sasl.login.refresh.…` have no effect. Not supported: client assertions
//! (`sasl.oauthbearer.assertion.…`), the JWT-bearer grant, Java classes of others.

mod files;
mod known;
mod oauth;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use krafka::auth::{AuthConfig, TlsConfig};

use crate::jaas::{self, LoginModule};
use crate::oauth::Tokens;
use crate::properties::{self, Entry};
use crate::security::Security;

pub(crate) use self::files::PemFile;

/// Something that is wrong with a file of client settings. It repeats no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// Reads a file of client settings. It reads no other file: those that it names are read when a connection is made.
///
/// # Errors
///
/// All problems, in the order of their lines. Keys that neither Kafka's clients nor we know are no error but
/// [warnings](Security::warnings).
pub fn parse(text: &str) -> Result<Security, Vec<Problem>> {
    let mut problems = Vec::new();
    let entries = properties::read(text, &mut problems);
    let mut settings = Settings::new(entries, problems);
    let auth = settings.security();
    settings.problems.sort_by_key(|p| p.line);
    if settings.problems.is_empty() {
        let shows_certificate =
            ["ssl.keystore.location", "ssl.keystore.key"].iter().any(|key| settings.get(key).is_some());
        settings.warnings.sort_by_key(|p| p.line);
        Ok(Security {
            auth,
            tokens: settings.tokens,
            shows_certificate,
            files: settings.files,
            warnings: settings.warnings,
        })
    } else {
        Err(settings.problems)
    }
}

struct Setting {
    line: usize,
    value: String,
}

struct Settings {
    values: BTreeMap<String, Setting>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    /// What gives the tokens of OAUTHBEARER.
    tokens: Option<Arc<Tokens>>,
    files: Vec<PemFile>,
}

impl Settings {
    fn new(entries: Vec<Entry>, problems: Vec<Problem>) -> Self {
        let mut settings =
            Self { values: BTreeMap::new(), problems, warnings: Vec::new(), tokens: None, files: Vec::new() };
        for Entry { line, key, value } in entries {
            if !known::is_known(&key) {
                let message = format!("no Kafka client has a setting {:?}: ignored", shortened(&key));
                settings.warnings.push(Problem { line, message });
            }
            // As in Java, the last one counts.
            settings.values.insert(key, Setting { line, value });
        }
        settings
    }

    /// A value that is set and not empty, without the spaces around it.
    fn get(&self, key: &str) -> Option<(usize, &str)> {
        let setting = self.values.get(key)?;
        let value = setting.value.trim();
        (!value.is_empty()).then_some((setting.line, value))
    }

    fn line(&self, key: &str) -> usize {
        self.values.get(key).map_or(1, |s| s.line)
    }

    fn problem(&mut self, line: usize, message: impl Into<String>) {
        self.problems.push(Problem { line, message: message.into() });
    }

    fn warn(&mut self, line: usize, message: impl Into<String>) {
        self.warnings.push(Problem { line, message: message.into() });
    }

    fn security(&mut self) -> Option<AuthConfig> {
        let (line, protocol) = self.get("security.protocol").map_or((1, "PLAINTEXT"), |found| found);
        let protocol = protocol.to_ascii_uppercase();
        let (tls, sasl) = match protocol.as_str() {
            "PLAINTEXT" => (false, false),
            "SSL" => (true, false),
            "SASL_PLAINTEXT" => (false, true),
            "SASL_SSL" => (true, true),
            _ => {
                self.problem(line, "security.protocol is one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL");
                return None;
            }
        };
        if !sasl && !tls {
            self.warn_of_unused();
        }
        let tls = tls.then(|| self.tls());
        if !sasl {
            return tls.map(AuthConfig::ssl);
        }
        let auth = self.sasl()?;
        Some(match tls {
            Some(tls) => auth.with_tls(tls),
            None => auth,
        })
    }

    /// Settings that have no effect without `security.protocol` are most likely a forgotten line.
    fn warn_of_unused(&mut self) {
        let unused: Vec<_> = ["sasl.jaas.config", "ssl.truststore.location", "ssl.keystore.location"]
            .into_iter()
            .filter_map(|key| self.get(key).map(|(line, _)| (line, key)))
            .collect();
        for (line, key) in unused {
            let message = format!("{key} has no effect: security.protocol is PLAINTEXT");
            self.warn(line, message);
        }
    }

    fn sasl(&mut self) -> Option<AuthConfig> {
        let Some((line, mechanism)) = self.get("sasl.mechanism") else {
            let message = "sasl.mechanism is missing: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER \
                           (Kafka's default is Kerberos, GSSAPI, which is not supported)";
            self.problem(self.line("security.protocol"), message);
            return None;
        };
        let mechanism = mechanism.to_ascii_uppercase();
        match mechanism.as_str() {
            "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512" => {}
            "OAUTHBEARER" => return self.oauthbearer(),
            "GSSAPI" => {
                self.problem(
                    line,
                    "Kerberos (GSSAPI) is not supported; use PLAIN, SCRAM, OAUTHBEARER or SSL",
                );
                return None;
            }
            "AWS_MSK_IAM" => {
                self.problem(line, "AWS_MSK_IAM is not supported; use SCRAM or SSL");
                return None;
            }
            _ => {
                let message = "sasl.mechanism is one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER";
                self.problem(line, message);
                return None;
            }
        }
        let class = if mechanism == "PLAIN" { "PlainLoginModule" } else { "ScramLoginModule" };
        let (line, module) = self.login_module(class)?;
        let option = |name: &str| module.options.get(name).filter(|v| !v.is_empty()).cloned();
        let (Some(user), Some(password)) = (option("username"), option("password")) else {
            self.problem(line, "sasl.jaas.config needs username=\"…\" and password=\"…\"");
            return None;
        };
        Some(match mechanism.as_str() {
            "PLAIN" => AuthConfig::sasl_plain(user, password),
            "SCRAM-SHA-256" => AuthConfig::sasl_scram_sha256(user, password),
            _ => AuthConfig::sasl_scram_sha512(user, password),
        })
    }

    fn login_module(&mut self, class: &str) -> Option<(usize, LoginModule)> {
        let Some((line, text)) = self.get("sasl.jaas.config") else {
            let message = format!(
                "sasl.jaas.config is missing: org.apache.kafka.common.security.….{class} required …;"
            );
            self.problem(self.line("sasl.mechanism"), message);
            return None;
        };
        match jaas::read(text) {
            Ok(module) if module.class.rsplit('.').next() == Some(class) => Some((line, module)),
            Ok(_) => {
                self.problem(line, format!("sasl.jaas.config: this sasl.mechanism needs a {class}"));
                None
            }
            Err(message) => {
                self.problem(line, format!("sasl.jaas.config: {message}"));
                None
            }
        }
    }

    fn tls(&mut self) -> TlsConfig {
        self.refuse_what_would_weaken_or_be_ignored();
        let mut tls = TlsConfig::new();
        if let Some(location) = self.store("truststore") {
            tls = tls.with_ca_cert(location);
        } else if let Some((_, pem)) = self.get("ssl.truststore.certificates") {
            tls = tls.with_ca_cert_pem(pem);
        }
        if let Some(location) = self.store("keystore") {
            tls = tls.with_client_cert(location.clone(), location);
        } else if let Some((line, key)) = self.get("ssl.keystore.key") {
            let key = key.to_owned();
            match self.get("ssl.keystore.certificate.chain") {
                Some((_, chain)) => {
                    tls = tls.with_client_cert_pem(chain.to_owned(), key.clone().into_bytes())
                }
                None => self.problem(line, "ssl.keystore.key needs ssl.keystore.certificate.chain beside it"),
            }
            if key.contains("ENCRYPTED PRIVATE KEY") {
                self.problem(line, ENCRYPTED_KEY);
            }
        }
        tls
    }

    fn refuse_what_would_weaken_or_be_ignored(&mut self) {
        const NAMES: &str = "ssl.endpoint.identification.algorithm";
        if let Some(setting) = self.values.get(NAMES)
            && !setting.value.trim().eq_ignore_ascii_case("https")
        {
            let line = setting.line;
            let message = format!(
                "{NAMES}: a broker's certificate must name its host, which cannot be turned off; \
                 put the host into the certificate (subjectAltName) and leave this line out"
            );
            self.problem(line, message);
        }
        for key in ["ssl.key.password", "ssl.keystore.password"] {
            // The password of a key store is a problem of the key store, which is reported by its type.
            let store_is_pem =
                self.get("ssl.keystore.type").is_none_or(|(_, t)| t.eq_ignore_ascii_case("PEM"));
            if let Some((line, _)) = self.get(key)
                && store_is_pem
            {
                self.problem(line, format!("{key}: {ENCRYPTED_KEY}"));
            }
        }
    }

    /// The location of a store, if one is given. It must be PEM.
    fn store(&mut self, kind: &str) -> Option<String> {
        let (line, location) = self.get(&format!("ssl.{kind}.location"))?;
        let location = location.to_owned();
        let type_key = format!("ssl.{kind}.type");
        let (type_line, store_type) = match self.get(&type_key) {
            Some((line, value)) => (line, value.to_ascii_uppercase()),
            None => (line, "JKS".to_owned()),
        };
        if store_type == "PEM" {
            let (key, path) = (format!("ssl.{kind}.location"), location.clone());
            self.files.push(PemFile { line, key, path, with_key: kind == "keystore" });
            return Some(location);
        }
        let given = if self.values.contains_key(&type_key) { "" } else { " (Kafka's default)" };
        let convert = if kind == "truststore" {
            format!("`keytool -list -rfc -keystore {location} > ca.pem`")
        } else {
            let p12 = if store_type == "PKCS12" {
                format!("`openssl pkcs12 -in {location}")
            } else {
                format!(
                    "`keytool -importkeystore -srckeystore {location} -destkeystore c.p12 -deststoretype PKCS12` \
                     and `openssl pkcs12 -in c.p12"
                )
            };
            format!("{p12} -nodes -out client.pem`")
        };
        self.problem(
            type_line,
            format!(
                "ssl.{kind}.type is {store_type}{given}, only PEM is supported: convert with {convert}, \
                 then set ssl.{kind}.type=PEM and ssl.{kind}.location to the new file"
            ),
        );
        None
    }
}

const ENCRYPTED_KEY: &str = "encrypted private keys are not supported: decrypt with \
                             `openssl pkcs8 -in KEY.pem -out PLAIN.pem` and protect the file by its mode";

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problems(text: &str) -> String {
        match parse(text) {
            Ok(security) => format!("{security:?}"),
            Err(problems) => problems.iter().map(|p| format!("{p}\n")).collect(),
        }
    }

    fn starts(text: &str, expected: &[&str]) {
        let found = parse(text).expect_err("problems");
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found:?} does not start with {expected:?}");
        }
    }

    #[test]
    fn an_empty_file_is_plaintext() {
        assert_eq!(parse("# nothing\n").expect("parses").protocol(), "PLAINTEXT");
    }

    #[test]
    fn reads_scram_over_tls_as_kafkas_tools_do() {
        let security = parse(
            "security.protocol=SASL_SSL\n\
             sasl.mechanism=SCRAM-SHA-512\n\
             sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n\
               username=\"alice\" \\\n\
               password=\"hunter2\";\n\
             ssl.truststore.type=PEM\n\
             ssl.truststore.location=/etc/ca.pem\n\
             request.timeout.ms=5000\n",
        )
        .expect("parses");
        assert_eq!(security.protocol(), "SASL_SSL");
        assert_eq!(security.warnings(), []);
        let shown = format!("{security:?}");
        assert!(shown.contains("Scram") && !shown.contains("hunter2"), "{shown}");
        let auth = security.auth.expect("auth");
        assert_eq!(auth.tls_config().and_then(TlsConfig::ca_cert_path), Some("/etc/ca.pem"));
    }

    #[test]
    fn reads_a_client_certificate_out_of_one_pem_file() {
        let text = "security.protocol: ssl\nssl.keystore.type=PEM\nssl.keystore.location=/etc/me.pem\n";
        let auth = parse(text).expect("parses").auth.expect("auth");
        let tls = auth.tls_config().expect("tls");
        assert_eq!(
            (tls.client_cert_path(), tls.client_key_path()),
            (Some("/etc/me.pem"), Some("/etc/me.pem"))
        );
        assert!(tls.verify_server_cert());
    }

    #[test]
    fn all_problems_come_at_once_in_the_order_of_their_lines() {
        starts(
            "ssl.endpoint.identification.algorithm=\n\
             ssl.truststore.location=/etc/t.jks\n\
             ssl.keystore.type=PKCS12\n\
             ssl.keystore.location=/etc/k.p12\n\
             security.protocol=SASL_SSL\n\
             sasl.mechanism=GSSAPI\n\
             odd=\\u00zz\n",
            &[
                "line 1: ssl.endpoint.identification.algorithm: a broker's certificate must name its host",
                "line 2: ssl.truststore.type is JKS (Kafka's default), only PEM is supported: convert with \
                 `keytool -list -rfc -keystore /etc/t.jks > ca.pem`",
                "line 3: ssl.keystore.type is PKCS12, only PEM is supported: convert with `openssl pkcs12 -in /etc/k.p12",
                "line 6: Kerberos (GSSAPI) is not supported",
                "line 7: malformed \\uXXXX",
            ],
        );
    }

    #[test]
    fn says_what_is_missing_for_sasl() {
        starts("security.protocol=SASL_SSL\n", &["line 1: sasl.mechanism is missing"]);
        starts(
            "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n",
            &["line 2: sasl.jaas.config is missing"],
        );
        let plain = "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config=";
        starts(
            &format!("{plain}x.ScramLoginModule required;"),
            &["line 3: sasl.jaas.config: this sasl.mechanism needs a PlainLoginModule"],
        );
        starts(
            &format!("{plain}x.PlainLoginModule required username=\"a\";"),
            &["line 3: sasl.jaas.config needs username"],
        );
        starts("security.protocol=TLS\n", &["line 1: security.protocol is one of"]);
    }

    #[test]
    fn an_unknown_key_is_a_warning_and_a_forgotten_protocol_too() {
        let security =
            parse("securty.protocol=SSL\nssl.truststore.location=/x\nlinger.ms=5\n").expect("parses");
        let warnings: Vec<_> = security.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "line 1: no Kafka client has a setting \"securty.protocol\": ignored",
                "line 2: ssl.truststore.location has no effect: security.protocol is PLAINTEXT",
            ]
        );
    }

    #[test]
    fn no_message_repeats_a_secret() {
        let secret = "hunter2";
        for text in [
            "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.jaas.config=PlainLoginModule hunter2 required;",
            "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.jaas.config=a.PlainLoginModule required password=\"hunter2\"",
            "security.protocol=SSL\nssl.key.password=hunter2\nssl.keystore.key=hunter2\n",
            "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.jaas.config=a.PlainLoginModule required username=\"a\" password=\"hunter2\";",
        ] {
            assert!(!problems(text).contains(secret), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\PC|[\\\\\n\r=: \t#!\"';]){0,120}") {
            let _ = parse(&text);
        }

        #[test]
        fn no_value_of_a_known_key_panics(
            lines in proptest::collection::vec(
                ("(security.protocol|sasl.mechanism|sasl.jaas.config|ssl.keystore.key|ssl.truststore.type|\
                   ssl.truststore.location|ssl.keystore.certificate.chain|sasl.oauthbearer.token.endpoint.url)",
                 "(SASL_SSL|SSL|PLAIN|OAUTHBEARER|PEM|file:x|a.PlainLoginModule required username=u password=p;|\\PC{0,20})"),
                0..8,
            ),
        ) {
            let text: String = lines.iter().map(|(k, v)| format!("{k}={v}\n")).collect();
            let _ = parse(&text);
        }
    }
}
