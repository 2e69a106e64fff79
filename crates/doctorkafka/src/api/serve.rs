//! Sockets, and the connections to them.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use crate::plugins::task::Task;

/// The name of the control socket in the state dir.
pub const CONTROL_SOCKET: &str = "control.sock";

/// How many connections are served at once. For a further one the oldest is cut off, so that clients which say nothing
/// keep nobody out.
const CONNECTIONS: usize = 64;
/// How long a client may take to send its headers, and all of its request and our answer.
const HEADERS_LIMIT: Duration = Duration::from_secs(5);
const CONNECTION_LIMIT: Duration = Duration::from_secs(30);
/// The pause after a connection could not be accepted, as when too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Why a socket is not there.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Another service answers at the control socket.
    #[error("another doctorkafka answers at {}", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The control socket could not be made.
    #[error("cannot make the control socket {}", path.display())]
    Control {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The TCP socket could not be made.
    #[error("cannot listen on {address}")]
    Tcp {
        /// The address.
        address: String,
        /// The cause.
        source: io::Error,
    },
}

/// A socket that is listened on.
#[derive(Debug)]
pub enum Listening {
    /// The control socket.
    Control(UnixListener),
    /// A TCP socket.
    Tcp(TcpListener),
}

/// Makes the control socket in `state_dir`, for its owner alone. One that a dead process has left is replaced.
///
/// # Errors
/// Another service answers there, or the socket cannot be made.
pub async fn bind_control_socket(state_dir: &Path) -> Result<Listening, ListenError> {
    let path = state_dir.join(CONTROL_SOCKET);
    if tokio::net::UnixStream::connect(&path).await.is_ok() {
        return Err(ListenError::InUse { path });
    }
    let new = state_dir.join("control.sock.new");
    let attempt = || {
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&new)?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
        // Under its name it is never open to others, not for a moment.
        std::fs::rename(&new, &path)?;
        Ok(listener)
    };
    attempt().map(Listening::Control).map_err(|source| ListenError::Control { path: path.clone(), source })
}

/// Makes the socket for `/metrics` and `/health`.
///
/// # Errors
/// It cannot be made.
pub async fn bind_tcp(address: &str) -> Result<Listening, ListenError> {
    let failed = |source| ListenError::Tcp { address: address.to_owned(), source };
    TcpListener::bind(address).await.map(Listening::Tcp).map_err(failed)
}

impl Listening {
    /// The port of a TCP socket.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Control(_) => None,
            Self::Tcp(listener) => listener.local_addr().ok().map(|address| address.port()),
        }
    }

    /// Serves `router` until it is dropped.
    pub async fn serve(self, router: Router) {
        // Dropped with this future, and their tasks with them.
        let mut served = VecDeque::new();
        loop {
            let connection = match &self {
                Self::Control(listener) => listener.accept().await.map(|(stream, _)| Either::Unix(stream)),
                Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Either::Tcp(stream)),
            };
            let router = router.clone();
            match connection {
                Ok(connection) => {
                    served.retain(|task: &Task| !task.is_finished());
                    if served.len() >= CONNECTIONS {
                        served.pop_front();
                    }
                    served.push_back(Task::spawn(async move {
                        match connection {
                            Either::Unix(stream) => converse(stream, router).await,
                            Either::Tcp(stream) => converse(stream, router).await,
                        }
                    }));
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

enum Either {
    Unix(tokio::net::UnixStream),
    Tcp(tokio::net::TcpStream),
}

/// One connection, one request: whoever asks seldom does not need to keep it.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_LIMIT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match tokio::time::timeout(CONNECTION_LIMIT, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended badly"),
        Err(_elapsed) => tracing::debug!("a connection took too long"),
    }
}
