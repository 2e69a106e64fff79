//! A token endpoint on the loopback, as good or bad as a test wants it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What an endpoint does with a request.
#[derive(Clone)]
pub(crate) enum Answer {
    /// Sends this and closes.
    Bytes(Vec<u8>),
    /// Sends this before there is a request, and closes.
    Greeting(&'static [u8]),
    /// Sends this for ever.
    Endless(&'static [u8]),
    /// Keeps the connection and says nothing.
    Silence,
}

/// A running endpoint; it ends with the runtime.
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Endpoint {
    /// An endpoint that gives every request the same answer, over TLS if there is an acceptor.
    pub(crate) async fn start(answer: Answer, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let (answer, kept, tls) = (answer.clone(), Arc::clone(&kept), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &answer, &kept).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &answer, &kept).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, requests }
    }

    /// The requests so far, head and body.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no panic").clone()
    }
}

/// An error of the stream is the client going away.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &Answer, kept: &Mutex<Vec<String>>) {
    if let Answer::Greeting(bytes) = answer {
        if stream.write_all(bytes).await.is_ok() {
            let _ = stream.shutdown().await;
        }
        return;
    }
    let (mut request, mut part) = (String::new(), [0; 4096]);
    while !is_whole(&request) {
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return,
            Ok(read) => request.push_str(&String::from_utf8_lossy(&part[..read])),
        }
    }
    kept.lock().expect("no panic").push(request);
    match answer {
        Answer::Bytes(bytes) => {
            if stream.write_all(bytes).await.is_ok() {
                let _ = stream.shutdown().await;
            }
        }
        Answer::Greeting(_) => {}
        Answer::Endless(bytes) => while stream.write_all(bytes).await.is_ok() {},
        Answer::Silence => while stream.read(&mut part).await.is_ok_and(|read| read > 0) {},
    }
}

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    body.len() >= length.map_or(0, |length| length.trim().parse().expect("a length"))
}

/// A whole answer of HTTP.
pub(crate) fn http(status: &str, kind: &str, body: &str) -> Answer {
    let length = body.len();
    Answer::Bytes(
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}").into(),
    )
}

/// A good answer with this token.
pub(crate) fn grants(token: &str) -> Answer {
    let body = serde_json::json!({ "access_token": token, "token_type": "Bearer", "expires_in": 600 });
    http("200 OK", "application/json", &body.to_string())
}

/// A token without a signature for this user, good for an hour.
pub(crate) fn unsecured_token(user: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_secs();
    let claims = serde_json::json!({ "sub": user, "iat": now, "exp": now + 3600 });
    let part = |json: String| URL_SAFE_NO_PAD.encode(json);
    format!("{}.{}.", part(serde_json::json!({ "alg": "none" }).to_string()), part(claims.to_string()))
}
