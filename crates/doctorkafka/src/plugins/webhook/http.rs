//! One POST over HTTP/1.1, with TLS or without. Redirects are not followed, proxies not used.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{
    CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT,
};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kafka::{HttpUrl, HttpUrlError};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::plugins::delivery::one_line;

/// Bytes of an answer that are read: only its first words are shown.
const MOST_ANSWER: usize = 64 << 10;
/// Characters of an answer that are shown.
const MOST_WORDS: usize = 200;

/// Reads the URL to post to.
///
/// # Errors
/// What is wrong with it, in words that do not repeat it: it may be secret.
pub(super) fn url(text: &str) -> Result<HttpUrl, String> {
    HttpUrl::parse(text).map_err(|wrong| {
        let help = match wrong {
            HttpUrlError::User => ", use `headers: {Authorization: …}`",
            _ => "",
        };
        format!("this is not the URL of a webhook: {wrong}{help}")
    })
}

/// A header, if it can be one.
///
/// # Errors
/// Why not, in words that do not repeat its value.
pub(super) fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let name = HeaderName::try_from(name).map_err(|_| format!("`{name}` cannot be the name of a header"))?;
    let mut value = HeaderValue::try_from(value)
        .map_err(|_| format!("the value of `{name}` has characters that a header cannot have"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// What was answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Its first words.
    pub(super) text: String,
    /// For how long the server wants to be left alone.
    pub(super) retry_after: Option<Duration>,
}

/// Posts.
pub(super) struct Client {
    ca_file: Option<PathBuf>,
    /// Made when it is needed first: reading all that the host trusts takes a while.
    tls: Option<Arc<ClientConfig>>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Client {
    pub(super) fn new(ca_file: Option<PathBuf>) -> Self {
        Self { ca_file, tls: None }
    }

    /// Posts `body` over a connection of its own. The caller bounds the time.
    ///
    /// # Errors
    /// Why there was no answer, in words.
    pub(super) async fn post(
        &mut self,
        url: &HttpUrl,
        headers: &BTreeMap<String, String>,
        body: Value,
    ) -> Result<Answer, String> {
        let mut request = Request::post(&url.path_and_query)
            .header(HOST, &url.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("doctorkafka/", env!("CARGO_PKG_VERSION")))
            .header(CONNECTION, "close");
        for (name, value) in headers {
            let (name, value) = header(name, value)?;
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|error| format!("no request can be made: {error}"))?;
        let stream = self.connect(url).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
        let exchange = async move {
            let response = sender.send_request(request).await.map_err(broke)?;
            read(response).await
        };
        tokio::pin!(exchange, connection);
        tokio::select! {
            biased;
            answer = &mut exchange => answer,
            // The other side has closed; what it sent before is still to be read.
            _ = &mut connection => exchange.await,
        }
    }

    async fn connect(&mut self, url: &HttpUrl) -> Result<Box<dyn Stream>, String> {
        let tcp = TcpStream::connect((url.host.as_str(), url.port))
            .await
            .map_err(|error| format!("cannot connect to {}: {error}", url.authority))?;
        if !url.tls {
            return Ok(Box::new(tcp));
        }
        let config = self.tls_config().await?;
        let name = ServerName::try_from(url.host.clone()).map_err(|error| error.to_string())?;
        match TlsConnector::from(config).connect(name, tcp).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => {
                // Whom to trust may have changed, or may be changed for it.
                self.tls = None;
                Err(format!("no TLS with {}: {error}", url.authority))
            }
        }
    }

    async fn tls_config(&mut self) -> Result<Arc<ClientConfig>, String> {
        if let Some(tls) = &self.tls {
            return Ok(Arc::clone(tls));
        }
        let file = self.ca_file.clone();
        let made = tokio::task::spawn_blocking(move || tls_config(file.as_deref()));
        let made = Arc::new(made.await.map_err(|ended| ended.to_string())??);
        self.tls = Some(Arc::clone(&made));
        Ok(made)
    }
}

/// Trusts what the host trusts, and what the file holds.
fn tls_config(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if let Some(file) = ca_file {
        let unusable = |why: &dyn fmt::Display| format!("cannot use {}: {why}", file.display());
        let certificates = CertificateDer::pem_file_iter(file).map_err(|error| unusable(&error))?;
        let before = roots.len();
        for certificate in certificates {
            let certificate = certificate.map_err(|error| unusable(&error))?;
            roots.add(certificate).map_err(|error| unusable(&error))?;
        }
        if roots.len() == before {
            return Err(unusable(&"it holds no certificate"));
        }
    }
    if roots.is_empty() {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(format!(
            "this host trusts nobody{why}; install its CA certificates, or name a `ca_file`"
        ));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn broke(error: hyper::Error) -> String {
    format!("the connection broke: {error}")
}

async fn read(response: Response<hyper::body::Incoming>) -> Result<Answer, String> {
    let (head, body) = response.into_parts();
    let text = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    let retry_after = text(RETRY_AFTER).and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    let to = text(LOCATION).and_then(|to| HttpUrl::parse(to).ok());
    // What was answered counts, whatever becomes of the words.
    let words = match Limited::new(body, MOST_ANSWER).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(_) => String::new(),
    };
    let words: String = one_line(&words).chars().take(MOST_WORDS).collect();
    let text = match to.filter(|_| head.status.is_redirection()) {
        Some(to) => format!("redirects to {} are not followed: set the URL there", to.origin()),
        None => words,
    };
    Ok(Answer { status: head.status.as_u16(), text, retry_after })
}
