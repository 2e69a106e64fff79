//! What can go wrong, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::exception::JavaException;
use crate::serial;

/// Why something could not be read.
///
/// The text says what was being done and, where that is known, what to do; the cause is in
/// [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no address of a JMX server.
    #[error(
        "{text:?} is no address of a JMX server ({why}): write HOST:PORT or service:jmx:rmi:///jndi/rmi://HOST:PORT/jmxrmi"
    )]
    BadAddress {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// The text is no name of an MBean.
    #[error("{text:?} is no name of an MBean: {why}")]
    BadName {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// The host's name is not known.
    #[error("looking up {host}: check the name, and the resolver of this host")]
    Resolve {
        /// The host.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// Nothing listens there, or something between us and it refuses.
    #[error(
        "connecting to {endpoint}: check that the JVM runs with com.sun.management.jmxremote.port (JMX_PORT for Kafka) and that no firewall is in between"
    )]
    Connect {
        /// Host and port.
        endpoint: String,
        /// Why.
        source: io::Error,
    },
    /// The limit of time was reached.
    #[error("{doing} at {endpoint} took longer than {} ms", limit.as_millis())]
    TimedOut {
        /// Host and port.
        endpoint: String,
        /// What was being done.
        doing: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The connection broke.
    #[error("{doing} at {endpoint}: the connection broke; connect anew")]
    Lost {
        /// Host and port.
        endpoint: String,
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Whoever listens hangs up when it is greeted.
    #[error(
        "{endpoint} hangs up when it is greeted in RMI: is this the JMX port (of Kafka, JMX_PORT), and not one of its \
         listeners?"
    )]
    HungUp {
        /// Host and port.
        endpoint: String,
        /// Why.
        source: io::Error,
    },
    /// Something else than RMI answers.
    #[error(
        "{endpoint} does not speak RMI{}: it answered {answer:?}. Is this the JMX port?",
        but_http(answer)
    )]
    NotRmi {
        /// Host and port.
        endpoint: String,
        /// The first bytes of the answer.
        answer: String,
    },
    /// The server speaks TLS and we do not.
    #[error("{endpoint} speaks TLS: give the connector a Tls")]
    TlsRequired {
        /// Host and port.
        endpoint: String,
    },
    /// We were told to speak TLS, and the server does not. Going on would show the password to the network.
    #[error(
        "{endpoint} does not speak TLS: set com.sun.management.jmxremote.ssl=true in the JVM, or connect without TLS"
    )]
    TlsNotOffered {
        /// Host and port.
        endpoint: String,
    },
    /// The TLS handshake failed.
    #[error(
        "speaking TLS with {endpoint}: check that the certificate is signed by a given authority and is for this host; if the server wants a certificate of ours, give one"
    )]
    Tls {
        /// Host and port.
        endpoint: String,
        /// Why.
        source: io::Error,
    },
    /// A certificate or key cannot be used.
    #[error("using {what}: {why}")]
    TlsSettings {
        /// Which certificate or key.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The JMX server is exported with sockets of a class of its own.
    #[error("the JMX server talks through {class}, which only its own client can")]
    SocketFactory {
        /// The Java class of the client's sockets.
        class: String,
    },
    /// The registry answers and has no JMX server.
    #[error("the RMI registry has no {name:?}: is another program's registry on this port?")]
    NotBound {
        /// The name that was looked up.
        name: String,
    },
    /// The server wants a login and none was given.
    #[error("the server wants a user and a password: {message}")]
    LoginRequired {
        /// What the server said.
        message: String,
    },
    /// The server does not accept the login.
    #[error(
        "the server refuses user {user:?}: {message}. Check jmxremote.password and jmxremote.access of the JVM"
    )]
    LoginRefused {
        /// The user.
        user: String,
        /// What the server said.
        message: String,
    },
    /// The user may log in and may not do this.
    #[error("{doing}: not allowed: {message}")]
    NotAllowed {
        /// What was being done.
        doing: &'static str,
        /// What the server said.
        message: String,
    },
    /// There is no such MBean. Kafka makes and removes MBeans with topics, so this often means zero.
    #[error("there is no MBean {name}")]
    NoSuchMBean {
        /// Its name.
        name: String,
    },
    /// The MBean has no such attribute.
    #[error("MBean {name} has no attribute {attribute}")]
    NoSuchAttribute {
        /// The MBean.
        name: String,
        /// The attribute.
        attribute: String,
    },
    /// The server has closed this client's session: it was idle for long (two minutes by default), or the JVM is
    /// another one.
    #[error("the server has ended the session: connect anew")]
    SessionEnded,
    /// An earlier call failed in the middle, so that the connection cannot be used.
    #[error("the connection broke in an earlier call: connect anew")]
    Broken,
    /// The JVM threw.
    #[error("{doing}: {exception}")]
    Java {
        /// What was being done.
        doing: &'static str,
        /// What it threw.
        exception: JavaException,
    },
    /// The answer cannot be read.
    #[error("{doing}: the answer cannot be read")]
    Serial {
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: serial::Error,
    },
    /// The answer can be read and is not what belongs there.
    #[error("{doing}: the answer is {found}")]
    Unexpected {
        /// What was being done.
        doing: &'static str,
        /// What it is.
        found: String,
    },
    /// A file of this host, or a process, cannot be read.
    #[error("reading {}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds no performance counters of a JVM.
    #[error("{} holds no performance counters of a JVM: {why}", path.display())]
    PerfData {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file says that it is of a process, and belongs to another user than that.
    #[error("{} does not belong to the user of process {pid}: somebody else may have put it there", path.display())]
    ForeignFile {
        /// The file.
        path: PathBuf,
        /// The process.
        pid: u32,
    },
    /// The process cannot be attached to.
    #[error("attaching to process {pid}: {why}")]
    Attach {
        /// The process.
        pid: u32,
        /// Why not, and what to do.
        why: String,
    },
    /// Talking to the JVM through its attach socket failed.
    #[error("attaching to process {pid}: {doing}")]
    AttachIo {
        /// The process.
        pid: u32,
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// What is said of an answer in HTTP.
fn but_http(answer: &str) -> &'static str {
    if answer.starts_with("HTTP/") { " but HTTP, as exporters for Prometheus and Jolokia do" } else { "" }
}
