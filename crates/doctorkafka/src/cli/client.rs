//! How the commands reach a running service.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::UnixStream;

use crate::api::CONTROL_SOCKET;
use crate::api::status::Status;

/// How long an answer may take. The service itself gives up on an order after 10 s.
const LIMIT: Duration = Duration::from_secs(15);
/// The largest answer that is read, in bytes.
const ANSWER_LIMIT: usize = 64 << 20;

/// Where the service is, and which of its clusters is meant.
#[derive(Args, Clone, Debug)]
pub(crate) struct Whom {
    /// The state dir of the running service.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub(crate) state_dir: Option<PathBuf>,
    /// The configuration file of the running service, which names its state dir.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The cluster; may be left out where there is only one.
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
}

/// Why the service did not do what was asked.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    /// Nobody is there.
    #[error("no doctorkafka runs with the state dir {}", state_dir.display())]
    NotRunning { state_dir: PathBuf },
    /// The socket is there but cannot be used.
    #[error("cannot open the control socket {}", path.display())]
    Socket { path: PathBuf, source: io::Error },
    /// The conversation broke off.
    #[error("the service did not answer")]
    Conversation { source: Box<dyn std::error::Error + Send + Sync> },
    /// There was no answer in time.
    #[error("the service did not answer within {} s", LIMIT.as_secs())]
    Late,
    /// The service said no.
    #[error("{why}")]
    Refused { why: String },
    /// The answer makes no sense: another version?
    #[error("the answer of the service is not understood: {why}")]
    Answer { why: String },
    /// Which cluster?
    #[error("the service has several clusters, name one with --cluster: {}", names.join(", "))]
    WhichCluster { names: Vec<String> },
    /// No such cluster.
    #[error("the service has no cluster {name}, only: {}", names.join(", "))]
    NoSuchCluster { name: String, names: Vec<String> },
}

/// A running service.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    state_dir: PathBuf,
}

impl Client {
    /// The service with this state dir. No I/O yet.
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned() }
    }

    pub(crate) async fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status").await
    }

    /// The name of the cluster that is meant.
    pub(crate) async fn cluster(&self, wanted: Option<&str>) -> Result<String, ClientError> {
        let names: Vec<String> = self.status().await?.clusters.into_iter().map(|c| c.name).collect();
        match (wanted, names.as_slice()) {
            (Some(wanted), _) if names.iter().any(|name| name == wanted) => Ok(wanted.to_owned()),
            (Some(wanted), _) => Err(ClientError::NoSuchCluster { name: wanted.to_owned(), names }),
            (None, [only]) => Ok(only.clone()),
            (None, _) => Err(ClientError::WhichCluster { names }),
        }
    }

    pub(crate) async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, ClientError> {
        self.call::<(), A>(Method::GET, path, None).await
    }

    pub(crate) async fn post<B: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<A, ClientError> {
        self.call(Method::POST, path, Some(body)).await
    }

    async fn call<B: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<A, ClientError> {
        let answer = tokio::time::timeout(LIMIT, self.converse(method, path, body));
        let (code, bytes) = answer.await.map_err(|_elapsed| ClientError::Late)??;
        if !code.is_success() {
            let error: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
            let why = error.as_ref().and_then(|error| error.get("error")).and_then(|why| why.as_str());
            let why = why.map_or_else(|| format!("the service answered {code}"), str::to_owned);
            return Err(ClientError::Refused { why });
        }
        serde_json::from_slice(&bytes).map_err(|error| ClientError::Answer { why: error.to_string() })
    }

    async fn converse<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| ClientError::Conversation { source };
        let stream = self.open().await?;
        let body = match body {
            Some(body) => serde_json::to_vec(body).map_err(|error| failed(error.into()))?,
            None => Vec::new(),
        };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(error.into()))?;
        // Ends with the conversation.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "doctorkafka")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| failed(error.into()))?;
        let answer = sender.send_request(request).await.map_err(|error| failed(error.into()))?;
        let code = answer.status();
        let bytes = Limited::new(answer.into_body(), ANSWER_LIMIT).collect().await.map_err(failed)?;
        Ok((code, bytes.to_bytes()))
    }

    async fn open(&self) -> Result<UnixStream, ClientError> {
        let path = self.state_dir.join(CONTROL_SOCKET);
        UnixStream::connect(&path).await.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning { state_dir: self.state_dir.clone() }
            }
            _ => ClientError::Socket { path, source },
        })
    }
}
