//! Secured listeners, and rights by ACLs.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};

use crate::cluster::Cluster;
use crate::properties::NodeConfig;
use crate::tokens;
use crate::version::Mode;

/// How a listener is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// SASL without encryption: PLAIN, SCRAM-SHA-512, and OAUTHBEARER with Kafka's default validator, which takes any
    /// token that has no signature, a `sub` and an `exp`.
    Sasl,
    /// TLS; clients need no certificate.
    Ssl,
    /// TLS; clients must show a certificate of the cluster's CA.
    MutualTls,
    /// SASL over TLS, with the same mechanisms; OAUTHBEARER takes tokens that are signed: see [`Cluster::token`].
    SaslSsl,
}

/// Who a client says it is, for [`Cluster::client_properties`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity<'a> {
    /// Nobody: for the listeners without SASL. With [`Security::MutualTls`] the client's certificate
    /// (`CN=client`) is added.
    Anonymous,
    /// User and password, by the mechanism PLAIN.
    Plain(&'a str, &'a str),
    /// User and password, by the mechanism SCRAM-SHA-512.
    Scram(&'a str, &'a str),
    /// User by OAUTHBEARER, by a token that the client makes itself.
    Token(&'a str),
    /// Whoever a token in this file names, by OAUTHBEARER.
    TokenFile(&'a Path),
    /// Whoever an identity provider says, by OAUTHBEARER.
    TokenEndpoint {
        /// The provider's token endpoint.
        url: &'a str,
        /// The client's id there.
        client: &'a str,
        /// Its secret.
        secret: &'a str,
        /// The CA of an `https:` endpoint, as a PEM file.
        ca: Option<&'a Path>,
    },
}

impl Security {
    pub(crate) fn protocol(self) -> &'static str {
        match self {
            Self::Sasl => "SASL_PLAINTEXT",
            Self::Ssl | Self::MutualTls => "SSL",
            Self::SaslSsl => "SASL_SSL",
        }
    }

    pub(crate) fn has_tls(self) -> bool {
        self != Self::Sasl
    }

    fn has_sasl(self) -> bool {
        matches!(self, Self::Sasl | Self::SaslSsl)
    }
}

impl Cluster {
    /// Writes a `client.properties` as Kafka's own tools take it, for the secured listener.
    pub fn client_properties(&self, identity: Identity<'_>) -> Result<PathBuf> {
        self.client_properties_of(EXTERNAL, identity)
    }

    /// As [`Cluster::client_properties`], but for a listener that was opened with
    /// [`Builder::secured`](crate::Builder::secured).
    pub fn client_properties_of(&self, listener: &str, identity: Identity<'_>) -> Result<PathBuf> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let Some((_, security)) = self.config.secured.iter().find(|(name, _)| name == listener) else {
            bail!("the cluster has no secured listener {listener}");
        };
        let security = *security;
        let mut config = NodeConfig::default();
        config.set("security.protocol", security.protocol());
        match identity {
            Identity::Anonymous => {}
            Identity::Plain(user, password) => {
                config.set("sasl.mechanism", "PLAIN");
                config.set("sasl.jaas.config", jaas(PLAIN, &credentials(user, password)));
            }
            Identity::Scram(user, password) => {
                config.set("sasl.mechanism", "SCRAM-SHA-512");
                config.set("sasl.jaas.config", jaas(SCRAM, &credentials(user, password)));
            }
            Identity::Token(_) | Identity::TokenFile(_) | Identity::TokenEndpoint { .. } => {
                set_token(&mut config, identity);
            }
        }
        if security.has_tls() {
            config.set("ssl.truststore.type", "PEM");
            config.set("ssl.truststore.location", self.tls_dir().join("ca.pem").display().to_string());
        }
        if security == Security::MutualTls {
            config.set("ssl.keystore.type", "PEM");
            config.set("ssl.keystore.location", self.tls_dir().join("client.pem").display().to_string());
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = self.dir().join(format!("client-{number}.properties"));
        fs::write(&file, config.render()).context("writing client.properties")?;
        Ok(file)
    }

    /// Where the certificates lie: `ca.pem`; `client.pem` and `server.pem` hold a key and its certificate,
    /// which `client.key` and `client.crt` hold one by one.
    pub fn tls_dir(&self) -> PathBuf {
        self.guard.dir().join("tls")
    }

    pub(crate) fn create_scram_users(&self) -> Result<()> {
        if !self.config.secured.iter().any(|(_, security)| security.has_sasl()) {
            return Ok(());
        }
        for (user, password) in &self.config.users {
            let secret = format!("SCRAM-SHA-512=[password={password}]");
            let args = ["--alter", "--add-config", &secret, "--entity-type", "users", "--entity-name", user];
            self.tool("configs", &args)?.success().with_context(|| format!("creating user {user}"))?;
        }
        Ok(())
    }
}

/// Sets what the identities of OAUTHBEARER need.
fn set_token(config: &mut NodeConfig, identity: Identity<'_>) {
    config.set("sasl.mechanism", "OAUTHBEARER");
    let (url, options) = match identity {
        Identity::Token(user) => (None, format!(" unsecuredLoginStringClaim_sub=\"{user}\"")),
        Identity::TokenFile(path) => (Some(format!("file://{}", path.display())), String::new()),
        Identity::TokenEndpoint { url, client, secret, ca } => {
            let mut options = format!(" clientId=\"{client}\" clientSecret=\"{secret}\"");
            if let Some(ca) = ca {
                let ca = ca.display();
                options.push_str(&format!(" ssl.truststore.type=\"PEM\" ssl.truststore.location=\"{ca}\""));
            }
            (Some(url.to_owned()), options)
        }
        Identity::Anonymous | Identity::Plain(..) | Identity::Scram(..) => return,
    };
    config.set("sasl.jaas.config", jaas(OAUTHBEARER, &options));
    if let Some(url) = url {
        config.set(TOKEN_URL, url);
        config.set(
            "sasl.login.callback.handler.class",
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler",
        );
    }
}

/// The option of a JVM that says where Kafka may get tokens and their keys from.
pub(crate) const ALLOWED_URLS: &str = "-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls";
/// The setting that says where a client's tokens come from.
pub(crate) const TOKEN_URL: &str = "sasl.oauthbearer.token.endpoint.url";

/// The name of the one secured listener, where nothing else was asked for.
pub(crate) const EXTERNAL: &str = "EXTERNAL";
const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule";
const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule";
const OAUTHBEARER: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule";

pub(crate) fn set_listener(
    config: &mut NodeConfig,
    name: &str,
    security: Security,
    users: &[(String, String)],
    tls_dir: &Path,
) {
    let prefix = format!("listener.name.{}.", name.to_lowercase());
    if security == Security::SaslSsl {
        tokens::set_validator(config, &prefix, tls_dir);
    }
    let mut set = |key: &str, value: String| config.set(&format!("{prefix}{key}"), value);
    if security.has_sasl() {
        let known: String =
            users.iter().map(|(user, password)| format!(" user_{user}=\"{password}\"")).collect();
        set("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-512,OAUTHBEARER".to_owned());
        set("plain.sasl.jaas.config", jaas(PLAIN, &known));
        set("scram-sha-512.sasl.jaas.config", jaas(SCRAM, ""));
        set("oauthbearer.sasl.jaas.config", jaas(OAUTHBEARER, ""));
    }
    if security.has_tls() {
        set("ssl.keystore.type", "PEM".to_owned());
        set("ssl.keystore.location", tls_dir.join("server.pem").display().to_string());
        set("ssl.truststore.type", "PEM".to_owned());
        set("ssl.truststore.location", tls_dir.join("ca.pem").display().to_string());
        let wanted = if security == Security::MutualTls { "required" } else { "none" };
        set("ssl.client.auth", wanted.to_owned());
    }
}

pub(crate) fn set_authorizer(config: &mut NodeConfig, mode: Mode) {
    let class = match mode {
        Mode::ZooKeeper => "kafka.security.authorizer.AclAuthorizer",
        Mode::KraftIsolated | Mode::KraftCombined => {
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
        }
    };
    config.set("authorizer.class.name", class);
    // Brokers and controllers talk to each other over plain listeners, so they are anonymous too.
    config.set("super.users", "User:ANONYMOUS;User:admin");
    config.set("allow.everyone.if.no.acl.found", "false");
}

fn jaas(module: &str, options: &str) -> String {
    format!("{module} required{options};")
}

fn credentials(user: &str, password: &str) -> String {
    format!(" username=\"{user}\" password=\"{password}\"")
}

/// Makes a CA (`ca.pem`) and a certificate of it for `localhost` and 127.0.0.1 (`server.pem`, with its key before it) in `dir`.
///
/// # Errors
/// `openssl` is missing or fails.
pub fn certificates(dir: &Path) -> Result<()> {
    make_certificates(dir, IpAddr::V4(std::net::Ipv4Addr::LOCALHOST))
}

/// A CA and two certificates of it, with `openssl`; valid for the address the brokers advertise.
pub(crate) fn make_certificates(dir: &Path, listen: IpAddr) -> Result<()> {
    fs::create_dir_all(dir).context("creating the directory of certificates")?;
    let names = format!(
        "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:{listen}\nextendedKeyUsage=serverAuth,clientAuth\n\
         basicConstraints=CA:FALSE\n"
    );
    fs::write(dir.join("names"), names).context("writing the names of certificates")?;
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let ca = ["-x509", "-days", "3650", "-subj", "/CN=lab-ca", "-keyout", "ca.key", "-out", "ca.pem"];
    openssl(dir, &[&["req"], &key[..], &ca[..]].concat())?;
    for (name, subject) in [("server", "/CN=kafka"), ("client", "/CN=client")] {
        let [key_file, request, certificate] = ["key", "csr", "crt"].map(|kind| format!("{name}.{kind}"));
        let ask = ["-subj", subject, "-keyout", &key_file, "-out", &request];
        openssl(dir, &[&["req"], &key[..], &ask[..]].concat())?;
        openssl(
            dir,
            &[
                "x509",
                "-req",
                "-in",
                &request,
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-days",
                "3650",
                "-extfile",
                "names",
                "-out",
                &certificate,
            ],
        )?;
        let read = |file: &str| fs::read_to_string(dir.join(file)).with_context(|| format!("reading {file}"));
        fs::write(dir.join(format!("{name}.pem")), read(&key_file)? + &read(&certificate)?)
            .with_context(|| format!("writing {name}.pem"))?;
    }
    Ok(())
}

/// What `openssl` prints.
pub(crate) fn openssl(dir: &Path, args: &[&str]) -> Result<String> {
    let done = Command::new("openssl")
        .args(args)
        .current_dir(dir)
        .output()
        .context("running openssl: the keys and certificates of secured listeners are made with it")?;
    if !done.status.success() {
        bail!("openssl {} failed:\n{}", args.join(" "), String::from_utf8_lossy(&done.stderr));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
