//! One question over HTTP/1.1: to an exporter or to Jolokia.

use std::io::Read;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::MultiGzDecoder;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The largest answer, as sent and unpacked. A broker with 10,000 partitions has 14 MB of metrics.
const ANSWER_LIMIT: u64 = 32 << 20;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Nobody listens there.
    #[error("connecting to {url}")]
    Connect {
        /// Whom.
        url: String,
        /// Why.
        source: AnyError,
    },
    /// The conversation broke off.
    #[error("asking {url}")]
    Ask {
        /// Whom.
        url: String,
        /// Why.
        source: AnyError,
    },
    /// It took too long.
    #[error("{url} did not answer within {} s", limit.as_secs_f64())]
    Late {
        /// Whom.
        url: String,
        /// The limit.
        limit: Duration,
    },
    /// It refuses.
    #[error("{url} answers {status}{}", if *status == 401 { ": give a user and a password" } else { "" })]
    Status {
        /// Whom.
        url: String,
        /// The status of HTTP.
        status: u16,
    },
    /// The answer is no text, or too long.
    #[error("the answer of {url} cannot be read: {why}")]
    Answer {
        /// Whom.
        url: String,
        /// Why not.
        why: String,
    },
}

/// Where to ask, and how.
#[derive(Clone)]
pub struct Endpoint {
    url: Uri,
    /// The value of the header that logs in.
    login: Option<String>,
    tls: Arc<ClientConfig>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("url", &self.url).field("login", &self.login.is_some()).finish()
    }
}

impl FromStr for Endpoint {
    type Err = String;

    /// Reads `http://host[:port]/path` or the same with `https`. A user and a password do not belong into it.
    fn from_str(text: &str) -> Result<Endpoint, String> {
        let url: Uri = text.parse().map_err(|error| format!("{text:?} is no URL: {error}"))?;
        match (url.scheme_str(), url.host()) {
            (Some("http" | "https"), Some(_)) => {}
            _ => return Err(format!("{text:?} is no URL: write http://host:port/path")),
        }
        let authority = url.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err("a user does not belong into a URL, which is logged".to_owned());
        }
        // What stands behind the host, or behind the brackets of an address.
        let (_, port) = authority.rsplit_once(']').unwrap_or(("", authority));
        if port.contains(':') && url.port_u16().is_none() {
            return Err(format!("{text:?} has no port that there could be"));
        }
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        Ok(Endpoint { url, login: None, tls: config(roots)? })
    }
}

fn config(roots: RootCertStore) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

impl Endpoint {
    /// Logs in by HTTP's basic authentication. Without `https`, the network sees the password.
    #[must_use]
    pub fn login(mut self, user: &str, password: &str) -> Endpoint {
        self.login = Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))));
        self
    }

    /// Trusts these authorities alone, instead of the public ones.
    ///
    /// # Errors
    /// Why there is no certificate in it.
    pub fn authorities(mut self, pem: &[u8]) -> Result<Endpoint, String> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| error.to_string())?;
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        if roots.is_empty() {
            return Err("there is no certificate in PEM".to_owned());
        }
        self.tls = config(roots)?;
        Ok(self)
    }

    /// GETs the text.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub async fn get(&self, accept: &str, limit: Duration) -> Result<String, HttpError> {
        self.within(limit, self.ask(Method::GET, self.path(), Some(accept), String::new())).await
    }

    /// POSTs JSON, with `query` behind the path.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub async fn post(&self, query: &str, body: String, limit: Duration) -> Result<String, HttpError> {
        let path = self.path();
        let separator = if path.contains('?') { '&' } else { '?' };
        self.within(limit, self.ask(Method::POST, format!("{path}{separator}{query}"), None, body)).await
    }

    async fn within(
        &self,
        limit: Duration,
        ask: impl Future<Output = Result<String, HttpError>>,
    ) -> Result<String, HttpError> {
        let answer = tokio::time::timeout(limit, ask).await;
        answer.unwrap_or_else(|_elapsed| Err(HttpError::Late { url: self.url.to_string(), limit }))
    }

    fn path(&self) -> String {
        self.url.path_and_query().map_or("/", |path| path.as_str()).to_owned()
    }

    async fn ask(
        &self,
        method: Method,
        path: String,
        accept: Option<&str>,
        body: String,
    ) -> Result<String, HttpError> {
        let url = || self.url.to_string();
        let connect = |source: AnyError| HttpError::Connect { url: url(), source };
        let is_tls = self.url.scheme_str() == Some("https");
        let host = self.url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = self.url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(|error| connect(error.into()))?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.url.authority().map_or("", |authority| authority.as_str()))
            .header(header::ACCEPT_ENCODING, "gzip");
        if let Some(accept) = accept {
            request = request.header(header::ACCEPT, accept);
        }
        if let Some(login) = &self.login {
            request = request.header(header::AUTHORIZATION, login);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| connect(error.into()))?;
        if !is_tls {
            return self.converse(tcp, request).await;
        }
        let name = ServerName::try_from(host).map_err(|error| connect(error.into()))?;
        let tls = TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await;
        self.converse(tls.map_err(|error| connect(error.into()))?, request).await
    }

    async fn converse<S>(&self, stream: S, request: Request<Full<Bytes>>) -> Result<String, HttpError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let failed = |source: AnyError| HttpError::Ask { url: self.url.to_string(), source };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(error.into()))?;
        // It lives as long as the sender: an answer that comes too late ends it too.
        tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(|error| failed(error.into()))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(HttpError::Status { url: self.url.to_string(), status: status.as_u16() });
        }
        let is_packed = is_gzip(&answer);
        let body = Limited::new(answer.into_body(), ANSWER_LIMIT as usize).collect().await.map_err(failed)?;
        unpack(&body.to_bytes(), is_packed)
            .map_err(|why| HttpError::Answer { url: self.url.to_string(), why })
    }
}

fn is_gzip<B>(answer: &Response<B>) -> bool {
    answer.headers().get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip")
}

fn unpack(body: &[u8], is_packed: bool) -> Result<String, String> {
    let mut text = String::new();
    let read = if is_packed {
        MultiGzDecoder::new(body).take(ANSWER_LIMIT).read_to_string(&mut text)
    } else {
        let mut body = body;
        body.read_to_string(&mut text)
    };
    match read {
        Ok(length) if length as u64 == ANSWER_LIMIT => Err("it is too long".to_owned()),
        Ok(_) => Ok(text),
        Err(error) => Err(error.to_string()),
    }
}
