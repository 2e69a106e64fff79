//! One request to an identity provider's token endpoint: the client-credentials grant (RFC 6749, section 4.4).
//!
//! The request is what Kafka's own clients send, to the byte where it matters: providers are set up against those.
//! Redirects are not followed, because they would take the secret to another place.

use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    LOCATION,
};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use krafka::__private::tls::build_tls_config;
use krafka::auth::TlsConfig;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig};

use super::{Fresh, MAX_TOKEN_BYTES};
use crate::http_url::{HttpUrl, HttpUrlError};

/// How long connecting may take, and the answer once more, where nothing is set. Kafka's clients would wait for ever.
pub(crate) const DEFAULT_LIMIT: Duration = Duration::from_secs(10);
/// The largest answer that is read: a token, and a little around it.
const MAX_BODY_BYTES: usize = MAX_TOKEN_BYTES + (64 << 10);
/// The largest head of an answer that is read.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// How much of an endpoint's own words is repeated.
const MAX_WORDS: usize = 200;

/// Reads the URL of an endpoint.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn endpoint_url(text: &str) -> Result<HttpUrl, String> {
    HttpUrl::parse(text).map_err(|wrong| match wrong {
        HttpUrlError::Unreadable => "not a URL".to_owned(),
        HttpUrlError::Scheme => "the URL begins with https:, http: or file:".to_owned(),
        HttpUrlError::User => format!("{wrong}: set the client's id and secret"),
        HttpUrlError::NoHost | HttpUrlError::Host | HttpUrlError::Port => wrong.to_string(),
    })
}

/// Why there was no token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Asking again with the same settings is of no use.
    Refused(String),
    /// It may work later.
    Unavailable(String),
}

use Failure::{Refused, Unavailable};

/// A token endpoint, and who we are there.
pub(crate) struct Endpoint {
    url: HttpUrl,
    /// What never may be repeated.
    secret: String,
    authorization: HeaderValue,
    body: Bytes,
    /// Whom to trust, and who we are in TLS; `None`: trust the authorities that this host trusts.
    tls: Option<TlsConfig>,
    connect_limit: Duration,
    read_limit: Duration,
}

/// The client at its identity provider.
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) scope: Option<String>,
    /// `sasl.oauthbearer.header.urlencode`: encode as RFC 6749, section 2.3.1 says. Off by default in Kafka.
    pub(crate) urlencode: bool,
}

impl Endpoint {
    /// An endpoint at `url`. Makes no request.
    pub(crate) fn new(
        url: HttpUrl,
        client: &Client,
        tls: Option<TlsConfig>,
        connect_limit: Duration,
        read_limit: Duration,
    ) -> Self {
        let Client { id, secret, scope, urlencode } = client;
        let credentials = if *urlencode {
            format!("{}:{}", encoded(id), encoded(secret))
        } else {
            format!("{id}:{secret}")
        };
        let authorization = format!("Basic {}", STANDARD.encode(credentials));
        // Base64 is always a header's value.
        let mut authorization =
            HeaderValue::try_from(authorization).unwrap_or_else(|_| HeaderValue::from_static("Basic"));
        authorization.set_sensitive(true);
        let mut body = "grant_type=client_credentials".to_owned();
        if let Some(scope) = scope {
            body.push_str("&scope=");
            // Kafka's clients send the scope as it is, so one that has been encoded in the file is not encoded again.
            body.push_str(&if *urlencode { encoded(scope) } else { scope.replace(' ', "+") });
        }
        let (secret, body) = (secret.clone(), body.into());
        Self { url, secret, authorization, body, tls, connect_limit, read_limit }
    }

    pub(super) fn url(&self) -> &HttpUrl {
        &self.url
    }

    /// Asks for a token.
    pub(super) async fn fetch(&self) -> Result<Fresh, Failure> {
        let limit = self.connect_limit;
        let stream = tokio::time::timeout(limit, self.connect())
            .await
            .map_err(|_| Unavailable(format!("no connection within {} ms", limit.as_millis())))??;
        let limit = self.read_limit;
        tokio::time::timeout(limit, self.exchange(stream))
            .await
            .map_err(|_| Unavailable(format!("no whole answer within {} ms", limit.as_millis())))?
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, Failure> {
        let address = (self.url.host.as_str(), self.url.port);
        let tcp = TcpStream::connect(address).await.map_err(|e| Unavailable(e.to_string()))?;
        if !self.url.tls {
            return Ok(Box::new(tcp));
        }
        let config = self.tls_config().await?;
        let name = ServerName::try_from(self.url.host.clone())
            .map_err(|_| Refused("the host is not a name and not an address".to_owned()))?;
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        Ok(Box::new(connector.connect(name, tcp).await.map_err(|e| tls_failure(&e))?))
    }

    async fn tls_config(&self) -> Result<ClientConfig, Failure> {
        let refused = |e: krafka::KrafkaError| Refused(e.to_string());
        if let Some(tls) = &self.tls {
            return build_tls_config(tls, self.connect_limit).await.map_err(refused);
        }
        // A host that has no authorities of its own (a bare container), or odd ones, trusts the public ones.
        let own = build_tls_config(&TlsConfig::new().with_native_roots(), self.connect_limit).await;
        match own {
            Ok(own) => Ok(own),
            Err(_) => build_tls_config(&TlsConfig::new(), self.connect_limit).await.map_err(refused),
        }
    }

    async fn exchange(&self, stream: Box<dyn Stream>) -> Result<Fresh, Failure> {
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|e| http_failure(&e))?;
        let request = self.request()?;
        let exchange = async move {
            let response = sender.send_request(request).await.map_err(|e| http_failure(&e))?;
            self.read(response).await
        };
        tokio::pin!(exchange, connection);
        tokio::select! {
            biased;
            outcome = &mut exchange => outcome,
            // The other side has closed; what it sent before is still to be read.
            _ = &mut connection => exchange.await,
        }
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, Failure> {
        Request::post(&self.url.path_and_query)
            .header(HOST, &self.url.authority)
            .header(AUTHORIZATION, self.authorization.clone())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(CACHE_CONTROL, "no-cache")
            .header(CONNECTION, "close")
            .body(Full::new(self.body.clone()))
            .map_err(|e| Refused(format!("no request can be made: {e}")))
    }

    async fn read(&self, response: Response<hyper::body::Incoming>) -> Result<Fresh, Failure> {
        let (head, body) = response.into_parts();
        if head.status.is_redirection() {
            let to = header(&head.headers, LOCATION)
                .split('?')
                .next()
                .map(|to| self.shown(to))
                .unwrap_or_default();
            let status = head.status.as_u16();
            return Err(Refused(format!(
                "it redirects ({status}) to {to:?}, which is not followed: set the URL there"
            )));
        }
        let body = match Limited::new(body, MAX_BODY_BYTES).collect().await {
            Ok(body) => body.to_bytes(),
            Err(e) if e.is::<LengthLimitError>() => {
                let limit = MAX_BODY_BYTES >> 10;
                return Err(Refused(format!("it answered {} with more than {limit} KiB", head.status)));
            }
            Err(e) => return Err(Unavailable(format!("its answer broke off: {e}"))),
        };
        if matches!(head.status, StatusCode::OK | StatusCode::CREATED) {
            return token(&body).map_err(|why| {
                let kind = self.shown(header(&head.headers, CONTENT_TYPE));
                Refused(format!("it answered {} with {why} (content type {kind:?})", head.status))
            });
        }
        let mut why = format!("it answered {}", head.status);
        if let Some(words) = reason(&body) {
            why = format!("{why}: {}", self.shown(&words));
        }
        Err(if is_temporary(head.status) { Unavailable(why) } else { Refused(why) })
    }

    /// An endpoint's own words, fit for a log.
    fn shown(&self, words: &str) -> String {
        let words =
            if self.secret.is_empty() { words.to_owned() } else { words.replace(&self.secret, "…") };
        words.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect()
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// The token in a good answer (RFC 6749, section 5.1).
fn token(body: &[u8]) -> Result<Fresh, &'static str> {
    let answer: Value =
        serde_json::from_slice(body).map_err(|_| "what is no JSON: is this a token endpoint?")?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::trim).filter(|v| !v.is_empty());
    // Kafka's clients take an id_token where there is no access_token.
    let value = text("access_token").or_else(|| text("id_token")).ok_or("no access_token")?;
    let seconds =
        answer.get("expires_in").and_then(|v| v.as_f64().or_else(|| v.as_str()?.trim().parse().ok()));
    let valid_for = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()).filter(|v| !v.is_zero());
    Ok(Fresh { value: value.to_owned(), valid_for })
}

/// What a bad answer says is wrong (RFC 6749, section 5.2; `errorCode` is what some providers write).
fn reason(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    let (code, words) = match text("error") {
        Some(code) => (code, text("error_description")),
        None => (text("errorCode")?, text("errorSummary")),
    };
    Some(match words {
        Some(words) => format!("{code} ({words})"),
        None => code.to_owned(),
    })
}

fn is_temporary(status: StatusCode) -> bool {
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => false,
        other => other.is_server_error(),
    }
}

fn header(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

fn http_failure(error: &hyper::Error) -> Failure {
    if error.is_parse() || error.is_parse_too_large() {
        return Refused(format!("it does not speak HTTP/1.1 as we do ({error})"));
    }
    Unavailable(format!("the connection broke: {error}"))
}

fn tls_failure(error: &io::Error) -> Failure {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return Unavailable(format!("the connection broke during the TLS handshake: {error}"));
    };
    let hint = match tls {
        rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) => {
            ": its certificate is signed by a CA that is not trusted; name the CA with ssl.truststore.type and \
             ssl.truststore.location in sasl.jaas.config"
        }
        rustls::Error::InvalidMessage(_) => ": it does not speak TLS (https)",
        _ => "",
    };
    Refused(format!("TLS failed{hint} ({tls})"))
}

/// As `application/x-www-form-urlencoded`, in the way of Java's `URLEncoder`.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b if b.is_ascii_alphanumeric() || b"-_.*".contains(&b) => out.push(char::from(b)),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn endpoint(scope: Option<&str>, urlencode: bool) -> Endpoint {
        let client = Client {
            id: "my app".to_owned(),
            secret: "p+w:ü".to_owned(),
            scope: scope.map(str::to_owned),
            urlencode,
        };
        let url = HttpUrl::parse("http://sso.example:8080/token?realm=a").expect("a URL");
        Endpoint::new(url, &client, None, DEFAULT_LIMIT, DEFAULT_LIMIT)
    }

    fn sent(endpoint: &Endpoint) -> (String, String) {
        let value = endpoint.authorization.to_str().expect("text").strip_prefix("Basic ").expect("basic");
        let credentials = String::from_utf8(STANDARD.decode(value).expect("base64")).expect("text");
        (credentials, String::from_utf8(endpoint.body.to_vec()).expect("text"))
    }

    #[test]
    fn says_what_is_wrong_with_a_url() {
        for (text, expected) in [
            ("sso/token", "not a URL"),
            ("ftp://sso/token", "the URL begins with https:, http: or file:"),
            (
                "https://me:pw@sso/token",
                "a user or password in it is not supported: set the client's id and secret",
            ),
            ("https://sso:0/token", "the port is not a number from 1 to 65535"),
        ] {
            assert_eq!(endpoint_url(text).expect_err(text), expected, "{text}");
        }
    }

    #[test]
    fn sends_what_kafkas_clients_send() {
        assert_eq!(
            sent(&endpoint(Some("a b"), false)),
            ("my app:p+w:ü".to_owned(), "grant_type=client_credentials&scope=a+b".to_owned())
        );
        assert_eq!(
            sent(&endpoint(Some("api://x/.default"), true)),
            (
                "my+app:p%2Bw%3A%C3%BC".to_owned(),
                "grant_type=client_credentials&scope=api%3A%2F%2Fx%2F.default".to_owned()
            )
        );
        assert_eq!(sent(&endpoint(None, false)).1, "grant_type=client_credentials");
    }

    #[test]
    fn a_good_answer_has_a_token_and_its_time() {
        let seconds = |answer: &str| {
            let fresh = token(answer.as_bytes()).expect("a token");
            (fresh.value, fresh.valid_for.map(|v| v.as_secs()))
        };
        let t = || "t".to_owned();
        assert_eq!(seconds(r#"{"access_token":" t ","expires_in":300}"#), (t(), Some(300)));
        assert_eq!(seconds(r#"{"id_token":"t","access_token":"","expires_in":"300"}"#), (t(), Some(300)));
        for odd in ["0", "-1", "1e400", "null", "[]", "\"soon\""] {
            let answer = format!(r#"{{"access_token":"t","expires_in":{odd}}}"#);
            match token(answer.as_bytes()) {
                Ok(fresh) => assert_eq!(fresh.valid_for, None, "{odd}"),
                Err(why) => assert_eq!((odd, &why[..15]), ("1e400", "what is no JSON")),
            }
        }
        assert_eq!(token(b"{}").err(), Some("no access_token"));
        assert_eq!(token(br#"{"access_token":7}"#).err(), Some("no access_token"));
        assert!(token(b"<html>").is_err());
    }

    #[test]
    fn a_bad_answer_says_why_and_never_the_secret() {
        let words = |answer: &str| reason(answer.as_bytes()).map(|words| endpoint(None, false).shown(&words));
        assert_eq!(
            words(r#"{"error":"invalid_client","error_description":"p+w:ü is\nwrong"}"#).as_deref(),
            Some("invalid_client (… iswrong)")
        );
        assert_eq!(words(r#"{"errorCode":"E1","errorSummary":"no"}"#).as_deref(), Some("E1 (no)"));
        assert_eq!(words(&format!(r#"{{"error":"{}"}}"#, "x".repeat(500))).map(|w| w.len()), Some(MAX_WORDS));
        assert_eq!(words("<html>"), None);
    }

    #[test]
    fn a_refusal_is_told_from_a_failure() {
        for status in [400, 401, 403, 404, 501] {
            assert!(!is_temporary(StatusCode::from_u16(status).expect("a status")), "{status}");
        }
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(is_temporary(StatusCode::from_u16(status).expect("a status")), "{status}");
        }
    }

    /// What comes of an answer, sent over a connection of any kind that is closed after it.
    fn answered(answer: Vec<u8>) -> Result<Fresh, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let (ours, mut theirs) = tokio::io::duplex(64 << 10);
            let serve = async move {
                // Whoever gives up in the middle of the answer does not hear its end.
                let _ = theirs.write_all(&answer).await;
                let _ = theirs.shutdown().await;
                let _ = theirs.read_to_end(&mut Vec::new()).await;
            };
            let endpoint = endpoint(None, false);
            tokio::join!(endpoint.exchange(Box::new(ours)), serve).0
        })
    }

    #[test]
    fn an_answer_comes_in_chunks_or_at_once() {
        let answers = [
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{\"access_\r\n9\r\ntoken\":\"t\r\n2\r\n\"}\r\n0\r\n\r\n",
            "HTTP/1.1 201 Created\r\nContent-Length: 20\r\n\r\n{\"access_token\":\"t\"}",
            "HTTP/1.0 200 OK\r\n\r\n{\"access_token\":\"t\"}",
        ];
        for answer in answers {
            assert_eq!(answered(answer.into()).map(|fresh| fresh.value), Ok("t".to_owned()), "{answer}");
        }
    }

    proptest! {
        #[test]
        fn no_stream_of_bytes_panics(
            head in "(HTTP/1\\.[01] [0-9]{3} ?(OK)?\r\n((Content-Length: [0-9]{1,4}|Transfer-Encoding: chunked|\\PC{0,12})\r\n){0,3}\r\n)?",
            body in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let _ = answered([head.into_bytes(), body].concat()).is_ok();
        }

        #[test]
        fn no_answer_panics(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (token(&body).is_ok(), reason(&body));
        }
    }
}
