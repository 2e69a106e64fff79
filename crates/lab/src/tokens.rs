//! An identity provider's part: tokens that are signed, and the key that brokers check them with.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::cluster::Cluster;
use crate::properties::NodeConfig;
use crate::security::{Security, openssl};

/// How long a token is good for, in seconds.
const LIFETIME: u64 = 3600;

impl Cluster {
    /// A token for `user`, good for an hour, that listeners with [`Security::SaslSsl`] take.
    pub fn token(&self, user: &str) -> Result<String> {
        if !self.config.secured.iter().any(|(_, security)| *security == Security::SaslSsl) {
            bail!("the cluster has no listener that takes signed tokens");
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("reading the clock")?.as_secs();
        let end = now + LIFETIME;
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"lab"}"#);
        let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"sub":"{user}","iat":{now},"exp":{end}}}"#));
        let dir = self.tls_dir();
        fs::write(dir.join("token.txt"), format!("{header}.{claims}")).context("writing a token's text")?;
        let sign = ["dgst", "-sha256", "-sign", "token.key", "-out", "token.sig", "token.txt"];
        openssl(&dir, &sign)?;
        let signature = fs::read(dir.join("token.sig")).context("reading a token's signature")?;
        Ok(format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// A key to sign with, and its public part as a JSON Web Key Set (RFC 7517).
pub(crate) fn make_key(dir: &Path) -> Result<()> {
    openssl(dir, &["genrsa", "-out", "token.key", "2048"])?;
    let modulus = openssl(dir, &["rsa", "-in", "token.key", "-noout", "-modulus"])?;
    let hex = modulus.trim().strip_prefix("Modulus=").context("openssl prints no modulus")?;
    let bytes = (0..hex.len() / 2).map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16));
    let bytes = bytes.collect::<Result<Vec<_>, _>>().context("reading the modulus")?;
    let modulus = URL_SAFE_NO_PAD.encode(bytes);
    // The exponent is 65537.
    let keys = format!(
        r#"{{"keys":[{{"kty":"RSA","kid":"lab","alg":"RS256","use":"sig","n":"{modulus}","e":"AQAB"}}]}}"#
    );
    fs::write(dir.join("jwks.json"), keys).context("writing the keys of tokens")
}

/// Where brokers find the key.
pub(crate) fn key_url(tls_dir: &Path) -> String {
    let file: PathBuf = tls_dir.join("jwks.json");
    format!("file://{}", file.display())
}

/// Lets the listener with this prefix check signatures.
pub(crate) fn set_validator(config: &mut NodeConfig, prefix: &str, tls_dir: &Path) {
    config.set("sasl.oauthbearer.jwks.endpoint.url", key_url(tls_dir));
    config.set(
        &format!("{prefix}oauthbearer.sasl.server.callback.handler.class"),
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler",
    );
}
