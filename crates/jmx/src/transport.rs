//! A stream of bytes to a JVM, plain or in TLS, whose every read and write ends at a deadline.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::Error;

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Opening a connection, with the handshakes of TLS and RMI. Looking up the host's name is not in it: the resolver
    /// of the system has limits of its own.
    pub connect: Duration,
    /// One call, from the first byte sent to the last received.
    pub call: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts { connect: Duration::from_secs(5), call: Duration::from_secs(10) }
    }
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// The TCP connection.
#[derive(Debug)]
pub(crate) struct Timed {
    tcp: TcpStream,
    deadline: Instant,
    /// What the socket has as its limits; zero before the first.
    read_limit: Duration,
    write_limit: Duration,
}

impl Timed {
    /// What the limit of the socket must be set to, given what it is; `None` if it is near enough.
    ///
    /// Setting it costs as much as a small read, and thousands of calls follow each other. A limit that is too long by
    /// a tenth lets a deadline pass by no more than that.
    fn new_limit(&self, present: Duration) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let is_near = present <= left + left / 10 && left <= present + present / 10;
        // The system takes zero for "for ever".
        Ok((!is_near).then_some(left.max(Duration::from_millis(1))))
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(limit) = self.new_limit(self.read_limit)? {
            self.tcp.set_read_timeout(Some(limit))?;
            self.read_limit = limit;
        }
        self.tcp.read(buffer).map_err(as_timeout)
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if let Some(limit) = self.new_limit(self.write_limit)? {
            self.tcp.set_write_timeout(Some(limit))?;
            self.write_limit = limit;
        }
        self.tcp.write(buffer).map_err(as_timeout)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

/// A socket whose time is over says that it would block.
fn as_timeout(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

/// The stream.
#[derive(Debug)]
pub(crate) enum Channel {
    Plain(Timed),
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

impl Channel {
    /// Connects to the first address of the host that takes us. `limit` goes on for the first reads and writes.
    pub(crate) fn open(
        endpoint: &Endpoint,
        tls: Option<&Arc<ClientConfig>>,
        limit: Duration,
    ) -> Result<Channel, Error> {
        let deadline = Instant::now() + limit;
        let tcp = connect(endpoint, limit, deadline)?;
        let name = endpoint.to_string();
        let lost = |source| Error::Lost { endpoint: name.clone(), doing: "connecting", source };
        tcp.set_nodelay(true).map_err(lost)?;
        let mut timed = Timed { tcp, deadline, read_limit: Duration::ZERO, write_limit: Duration::ZERO };
        let Some(config) = tls else { return Ok(Channel::Plain(timed)) };
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::TimedOut => {
                Error::TimedOut { endpoint: name.clone(), doing: "the TLS handshake", limit }
            }
            // What is no TLS answers with something else, or hangs up on what it does not understand.
            _ => Error::Tls { endpoint: name.clone(), source },
        };
        let server = ServerName::try_from(endpoint.host.clone())
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let mut connection = ClientConnection::new(Arc::clone(config), server)
            .map_err(|error| failed(io::Error::other(error)))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut timed).map_err(failed)?;
        }
        Ok(Channel::Tls(Box::new(StreamOwned::new(connection, timed))))
    }

    /// From here on, reads and writes end after `limit` altogether.
    pub(crate) fn begin(&mut self, limit: Duration) {
        let timed = match self {
            Channel::Plain(timed) => timed,
            Channel::Tls(stream) => &mut stream.sock,
        };
        timed.deadline = Instant::now() + limit;
    }
}

fn connect(endpoint: &Endpoint, limit: Duration, deadline: Instant) -> Result<TcpStream, Error> {
    let resolve = |source| Error::Resolve { host: endpoint.host.clone(), source };
    let addresses = (endpoint.host.as_str(), endpoint.port).to_socket_addrs().map_err(resolve)?;
    let mut last = None;
    for address in addresses {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = Some(error),
        }
    }
    let endpoint_text = endpoint.to_string();
    Err(match last {
        Some(error) if error.kind() != io::ErrorKind::TimedOut => {
            Error::Connect { endpoint: endpoint_text, source: error }
        }
        None if Instant::now() < deadline => resolve(io::Error::other("the name has no address")),
        _ => Error::TimedOut { endpoint: endpoint_text, doing: "connecting", limit },
    })
}

impl Read for Channel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Channel::Plain(timed) => timed.read(buffer),
            Channel::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Channel {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Channel::Plain(timed) => timed.write(buffer),
            Channel::Tls(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Channel::Plain(timed) => timed.flush(),
            Channel::Tls(stream) => stream.flush(),
        }
    }
}
