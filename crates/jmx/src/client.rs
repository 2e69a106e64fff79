//! A session with a JMX server.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::address::Place;
use crate::convert::{into_names, to_value};
use crate::jrmp::{Connection, Reply};
use crate::lease::Lease;
use crate::reference::{Method, ObjId, RemoteRef, TLS_SOCKET_FACTORY};
use crate::serial::{self, ClassSpec, Graph, Limits, Writer};
use crate::transport::{Endpoint, Timeouts};
use crate::{Address, Error, ObjectName, Tls, Value};

/// The longest that dropping a [`Client`] may wait, for each of connecting and closing.
const DROP_LIMIT: Duration = Duration::from_secs(1);

const OBJECT_NAME: ClassSpec = ClassSpec {
    name: "javax.management.ObjectName",
    version: 0x0f03_a71b_eb6d_15cf,
    // Serializable, with a writeObject.
    flags: 3,
    fields: &[],
};
const STRINGS: ClassSpec =
    ClassSpec { name: "[Ljava.lang.String;", version: 0xadd2_56e7_e91d_7b47, flags: 2, fields: &[] };

/// How to reach a JMX server.
///
/// ```no_run
/// let mut client = jmx::Connector::new("broker-1:9999".parse()?)
///     .login("monitor", "secret")
///     .connect()?;
/// # Ok::<(), jmx::Error>(())
/// ```
#[derive(Clone)]
pub struct Connector {
    address: Address,
    login: Option<(String, String)>,
    tls: Option<Tls>,
    timeouts: Timeouts,
    limits: Limits,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("address", &self.address)
            .field("user", &self.login.as_ref().map(|(user, _)| user))
            .field("tls", &self.tls)
            .field("timeouts", &self.timeouts)
            .field("limits", &self.limits)
            .finish()
    }
}

impl Connector {
    /// A connector to `address`, without login and TLS, with the default limits.
    pub fn new(address: Address) -> Connector {
        Connector {
            address,
            login: None,
            tls: None,
            timeouts: Timeouts::default(),
            limits: Limits::default(),
        }
    }

    /// Logs in as `user`. Without TLS, the network sees the password.
    #[must_use]
    pub fn login(mut self, user: &str, password: &str) -> Connector {
        self.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Speaks TLS, and nothing with a server that does not.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Connector {
        self.tls = Some(tls);
        self
    }

    /// How long things may take.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Connector {
        self.timeouts = timeouts;
        self
    }

    /// How large an answer may be.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Connector {
        self.limits = limits;
        self
    }

    /// Opens a session.
    ///
    /// The host is the one of the address, not the one by which the JVM names itself: that is often wrong, as
    /// `java.rmi.server.hostname` has to be set right for it.
    ///
    /// # Errors
    /// See [`Error`]; of those that are about logging in, [`Error::LoginRequired`] and [`Error::LoginRefused`].
    pub fn connect(&self) -> Result<Client, Error> {
        let config = self.tls.as_ref().map(Tls::config).transpose()?;
        let (host, server) = match &self.address.0 {
            Place::Registry { at, name } => (at.host.clone(), self.look_up(at, name, config.as_ref())?),
            Place::Stub { host, reference } => {
                (host.clone().unwrap_or_else(|| reference.host.clone()), reference.clone())
            }
        };
        let endpoint = Endpoint { host: host.clone(), port: server.port };
        let config = match (server.socket_factory.as_deref(), config) {
            (None, None) => None,
            (None, Some(_)) => return Err(Error::TlsNotOffered { endpoint: endpoint.to_string() }),
            (Some(TLS_SOCKET_FACTORY), Some(config)) => Some(config),
            (Some(TLS_SOCKET_FACTORY), None) => {
                return Err(Error::TlsRequired { endpoint: endpoint.to_string() });
            }
            (Some(class), _) => return Err(Error::SocketFactory { class: class.to_owned() }),
        };
        let mut connection = Connection::open(endpoint, config.as_ref(), self.timeouts, self.limits)?;
        let reply = self.log_in(&mut connection, server.id)?;
        let session = reference(&reply, Method::NEW_CLIENT)?;
        // A JVM exports its sessions at the port of its JMX server; another would be asked there.
        if session.port != connection.endpoint().port {
            let endpoint = Endpoint { host, port: session.port };
            connection = Connection::open(endpoint, config.as_ref(), self.timeouts, self.limits)?;
        }
        let mut client = Client {
            connection,
            session: session.id,
            lease: None,
            config,
            timeouts: self.timeouts,
            limits: self.limits,
            is_closed: false,
        };
        client.hold(&reply)?;
        Ok(client)
    }

    fn look_up(
        &self,
        at: &Endpoint,
        name: &str,
        config: Option<&Arc<ClientConfig>>,
    ) -> Result<RemoteRef, Error> {
        let with_tls = self.tls.as_ref().is_some_and(Tls::is_with_registry);
        let config = config.filter(|_| with_tls);
        let mut connection = Connection::open(at.clone(), config, self.timeouts, self.limits)?;
        let reply = connection.call(ObjId::REGISTRY, Method::LOOKUP, |writer| writer.string(name)).map_err(
            |error| match error {
                Error::Java { exception, .. } if exception.find("java.rmi.NotBoundException").is_some() => {
                    Error::NotBound { name: name.to_owned() }
                }
                other => other,
            },
        )?;
        connection.confirm(reply.uid)?;
        reference(&reply, Method::LOOKUP)
    }

    fn log_in(&self, connection: &mut Connection, server: ObjId) -> Result<Reply, Error> {
        let write = |writer: &mut Writer| match &self.login {
            None => writer.null(),
            Some((user, password)) => write_strings(writer, &[user.as_str(), password.as_str()]),
        };
        connection.call(server, Method::NEW_CLIENT, write).map_err(|error| {
            let Error::Java { exception, doing } = error else { return error };
            let Some(refusal) = exception.find("java.lang.SecurityException") else {
                return explained(Error::Java { exception, doing }, None, None);
            };
            let message = refusal.message.clone().unwrap_or_default();
            match &self.login {
                None => Error::LoginRequired { message },
                Some((user, _)) => Error::LoginRefused { user: user.clone(), message },
            }
        })
    }
}

fn reference(reply: &Reply, method: Method) -> Result<RemoteRef, Error> {
    RemoteRef::of_stub(&reply.graph, reply.value).ok_or_else(|| {
        let found = "no reference to a remote object".to_owned();
        Error::Unexpected { doing: method.doing, found }
    })
}

/// An attribute as its MBean describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeInfo {
    /// Its name.
    pub name: String,
    /// Its Java class, or the name of its primitive type.
    pub class: String,
    /// What it is, in words.
    pub description: String,
    /// Whether it can be read.
    pub is_readable: bool,
    /// Whether it can be set (not by this crate).
    pub is_writable: bool,
}

/// A session with a JMX server.
///
/// It reads and changes nothing. Calls wait for the answer, no longer than [`Timeouts::call`]. After an error of the
/// network or of the protocol all further calls give [`Error::Broken`]; after any other error the session goes on.
///
/// The server ends a session that was silent for two minutes. A session costs the JVM two threads and a file
/// descriptor while it lasts; [`close`](Client::close) it and nothing is left. A client that is dropped closes itself
/// too, within a second or two, but cannot tell whether that worked.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    session: ObjId,
    lease: Option<Lease>,
    config: Option<Arc<ClientConfig>>,
    timeouts: Timeouts,
    limits: Limits,
    is_closed: bool,
}

impl Client {
    /// The value of an attribute.
    ///
    /// # Errors
    /// [`Error::NoSuchMBean`], [`Error::NoSuchAttribute`], [`Error::NotAllowed`]; [`Error::Java`] if the MBean itself
    /// fails; those of the network and of the protocol.
    pub fn attribute(&mut self, name: &ObjectName, attribute: &str) -> Result<Value, Error> {
        self.call(Method::GET_ATTRIBUTE, |writer| {
            write_name(writer, name);
            writer.string(attribute);
            writer.null();
        })
        .and_then(|reply| self.value(&reply, Method::GET_ATTRIBUTE))
        .map_err(|error| explained(error, Some(name), Some(attribute)))
    }

    /// The values of those of `attributes` that the MBean has and that can be read.
    ///
    /// # Errors
    /// As [`attribute`](Client::attribute), but an attribute that is not there, or fails, is just left out.
    pub fn attributes(
        &mut self,
        name: &ObjectName,
        attributes: &[&str],
    ) -> Result<BTreeMap<String, Value>, Error> {
        let method = Method::GET_ATTRIBUTES;
        let value = self
            .call(method, |writer| {
                write_name(writer, name);
                write_strings(writer, attributes);
                writer.null();
            })
            .and_then(|reply| self.value(&reply, method))
            .map_err(|error| explained(error, Some(name), None))?;
        let Value::List(list) = value else { return Err(unexpected(method, "no list of attributes")) };
        let mut found = BTreeMap::new();
        for one in list {
            let Value::Object(mut one) = one else { return Err(unexpected(method, "no list of attributes")) };
            if let (Some(Value::Text(name)), Some(value)) =
                (one.fields.remove("name"), one.fields.remove("value"))
            {
                found.insert(name, value);
            }
        }
        Ok(found)
    }

    /// Asks for the attributes of many MBeans, and hands over the number of each question with the value, in their order. This
    /// is faster by far than to ask for one after the other: some dozen questions are on their way at a time, and
    /// have together the time of one call.
    ///
    /// # Errors
    /// Those of the network and of the protocol. To a question, as [`attribute`](Client::attribute).
    pub fn attribute_of_each(
        &mut self,
        questions: &[(ObjectName, &str)],
        mut take: impl FnMut(usize, Result<Value, Error>),
    ) -> Result<(), Error> {
        self.keep_lease()?;
        let (method, limits) = (Method::GET_ATTRIBUTE, self.limits);
        let write = |number: usize, writer: &mut Writer| {
            if let Some((name, attribute)) = questions.get(number) {
                write_name(writer, name);
                writer.string(attribute);
                writer.null();
            }
        };
        self.connection.call_each(self.session, method, questions.len(), write, |number, reply| {
            let asked = questions.get(number);
            let value = reply.and_then(|reply| value_of(&reply, method, limits));
            let (name, attribute) = (asked.map(|(name, _)| name), asked.map(|(_, attribute)| *attribute));
            take(number, value.map_err(|error| explained(error, name, attribute)));
        })
    }

    /// The names of all MBeans that fit `pattern`, in no order.
    ///
    /// # Errors
    /// [`Error::NotAllowed`]; those of the network and of the protocol.
    pub fn names(&mut self, pattern: &ObjectName) -> Result<Vec<ObjectName>, Error> {
        let method = Method::QUERY_NAMES;
        let reply = self.plain_call(method, |writer| {
            write_name(writer, pattern);
            writer.null();
            writer.null();
        })?;
        into_names(reply.graph, reply.value).ok_or_else(|| unexpected(method, "no set of names"))
    }

    /// How many MBeans there are.
    ///
    /// # Errors
    /// Those of the network and of the protocol.
    pub fn mbean_count(&mut self) -> Result<u32, Error> {
        let reply = self.plain_call(Method::MBEAN_COUNT, Writer::null)?;
        let count = self.value(&reply, Method::MBEAN_COUNT)?.as_i64();
        count
            .and_then(|count| u32::try_from(count).ok())
            .ok_or_else(|| unexpected(Method::MBEAN_COUNT, "no number"))
    }

    /// Whether there is an MBean of this name.
    ///
    /// # Errors
    /// Those of the network and of the protocol.
    pub fn is_registered(&mut self, name: &ObjectName) -> Result<bool, Error> {
        self.keep_lease()?;
        let write = |writer: &mut Writer| {
            write_name(writer, name);
            writer.null();
        };
        let answer = self.connection.call_for_bool(self.session, Method::IS_REGISTERED, write);
        answer.map_err(|error| explained(error, Some(name), None))
    }

    /// The attributes of an MBean as it describes them.
    ///
    /// # Errors
    /// [`Error::NoSuchMBean`]; those of the network and of the protocol.
    pub fn describe(&mut self, name: &ObjectName) -> Result<Vec<AttributeInfo>, Error> {
        let write = |writer: &mut Writer| {
            write_name(writer, name);
            writer.null();
        };
        let reply =
            self.call(Method::MBEAN_INFO, write).map_err(|error| explained(error, Some(name), None))?;
        describe(&reply.graph, reply.value).ok_or_else(|| unexpected(Method::MBEAN_INFO, "no MBeanInfo"))
    }

    /// The domains in which there are MBeans, in no order.
    ///
    /// # Errors
    /// Those of the network and of the protocol.
    pub fn domains(&mut self) -> Result<Vec<String>, Error> {
        let reply = self.plain_call(Method::DOMAINS, Writer::null)?;
        let domains = self.value(&reply, Method::DOMAINS)?;
        let list = domains.as_list().ok_or_else(|| unexpected(Method::DOMAINS, "no list"))?;
        Ok(list.iter().filter_map(|domain| domain.as_str().map(str::to_owned)).collect())
    }

    /// The domain of names that have none of their own.
    ///
    /// # Errors
    /// Those of the network and of the protocol.
    pub fn default_domain(&mut self) -> Result<String, Error> {
        let reply = self.plain_call(Method::DEFAULT_DOMAIN, Writer::null)?;
        self.text(&reply, Method::DEFAULT_DOMAIN)
    }

    /// The server's name for this session, as `rmi://10.0.0.7 monitor 12`.
    ///
    /// # Errors
    /// Those of the network and of the protocol.
    pub fn session_name(&mut self) -> Result<String, Error> {
        let reply = self.plain_call(Method::CONNECTION_ID, |_| {})?;
        self.text(&reply, Method::CONNECTION_ID)
    }

    /// Whether calls can still be made: false after an error of the network or of the protocol.
    pub fn is_usable(&self) -> bool {
        self.connection.is_usable()
    }

    /// Ends the session, so that nothing of it is left in the JVM. If the connection is broken, this takes a new one.
    ///
    /// # Errors
    /// Those of the network and of the protocol. The JVM then ends the session by itself, two minutes after the last
    /// call.
    pub fn close(mut self) -> Result<(), Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        if self.is_closed {
            return Ok(());
        }
        self.is_closed = true;
        if self.connection.is_usable() {
            match self.end_here() {
                // The server may have hung up long ago.
                Err(Error::Lost { .. }) => {}
                ended => return ended,
            }
        }
        let endpoint = self.connection.endpoint().clone();
        self.connection = Connection::open(endpoint, self.config.as_ref(), self.timeouts, self.limits)?;
        self.end_here()
    }

    fn end_here(&mut self) -> Result<(), Error> {
        let closed = self.connection.call(self.session, Method::CLOSE, |_| {}).map(drop);
        let closed = match closed.map_err(|error| explained(error, None, None)) {
            Err(Error::SessionEnded) => return Ok(()),
            other => other,
        };
        // Closing takes the session out of the lease; where that failed, this lets the JVM forget the session.
        if self.connection.is_usable()
            && let Some(lease) = self.lease.take()
        {
            closed.and(lease.give_back(&mut self.connection))
        } else {
            closed
        }
    }

    /// Takes a lease of the session, and lets the JVM know that it arrived.
    fn hold(&mut self, reply: &Reply) -> Result<(), Error> {
        match Lease::take(&mut self.connection, self.session) {
            Ok(lease) => {
                self.lease = Some(lease);
                self.connection.confirm(reply.uid)
            }
            // Without a lease, and not told that the session arrived, the JVM keeps it for five minutes.
            Err(Error::Java { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn keep_lease(&mut self) -> Result<(), Error> {
        let Some(lease) = &mut self.lease else { return Ok(()) };
        match lease.keep(&mut self.connection) {
            Err(Error::Java { .. }) => Ok(()),
            kept => kept,
        }
    }

    fn call(&mut self, method: Method, write: impl FnOnce(&mut Writer)) -> Result<Reply, Error> {
        self.keep_lease()?;
        self.connection.call(self.session, method, write)
    }

    /// For calls that are about no MBean.
    fn plain_call(&mut self, method: Method, write: impl FnOnce(&mut Writer)) -> Result<Reply, Error> {
        self.call(method, write).map_err(|error| explained(error, None, None))
    }

    fn value(&self, reply: &Reply, method: Method) -> Result<Value, Error> {
        value_of(reply, method, self.limits)
    }

    fn text(&self, reply: &Reply, method: Method) -> Result<String, Error> {
        let text = reply.graph.text(reply.value);
        text.map(str::to_owned).ok_or_else(|| unexpected(method, "no text"))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.timeouts.connect = self.timeouts.connect.min(DROP_LIMIT);
        self.timeouts.call = self.timeouts.call.min(DROP_LIMIT);
        self.connection.set_call_limit(self.timeouts.call);
        // There is nobody to tell; the JVM ends what is left by itself.
        let _ = self.end();
    }
}

fn value_of(reply: &Reply, method: Method, limits: Limits) -> Result<Value, Error> {
    to_value(&reply.graph, reply.value, limits)
        .map_err(|source| Error::Serial { doing: method.doing, source })
}

fn write_name(writer: &mut Writer, name: &ObjectName) {
    writer.object(&OBJECT_NAME);
    writer.string(name.as_str());
    writer.end_annotation();
}

fn write_strings(writer: &mut Writer, texts: &[&str]) {
    writer.array(&STRINGS, texts.len() as u32);
    for text in texts {
        writer.string(text);
    }
}

fn describe(graph: &Graph, info: serial::Value) -> Option<Vec<AttributeInfo>> {
    let attributes = graph.elements(graph.field(graph.object(info)?, "attributes")?)?;
    let attributes = attributes.iter().map(|attribute| {
        let attribute = graph.object(*attribute)?;
        let text = |name: &str| graph.text_field(attribute, name).unwrap_or_default().to_owned();
        let is = |name: &str| graph.field(attribute, name) == Some(serial::Value::Bool(true));
        Some(AttributeInfo {
            name: graph.text_field(attribute, "name")?.to_owned(),
            class: text("attributeType"),
            description: text("description"),
            is_readable: is("isRead"),
            is_writable: is("isWrite"),
        })
    });
    attributes.collect()
}

fn unexpected(method: Method, found: &str) -> Error {
    Error::Unexpected { doing: method.doing, found: found.to_owned() }
}

/// Gives an exception of the JVM its meaning.
fn explained(error: Error, name: Option<&ObjectName>, attribute: Option<&str>) -> Error {
    let Error::Java { doing, exception } = error else { return error };
    let name = || name.map(ToString::to_string).unwrap_or_default();
    if exception.find("java.rmi.NoSuchObjectException").is_some() {
        return Error::SessionEnded;
    }
    if exception.find("javax.management.InstanceNotFoundException").is_some() {
        return Error::NoSuchMBean { name: name() };
    }
    if let (Some(_), Some(attribute)) =
        (exception.find("javax.management.AttributeNotFoundException"), attribute)
    {
        return Error::NoSuchAttribute { name: name(), attribute: attribute.to_owned() };
    }
    // What an MBean throws comes wrapped: only a refusal of the server itself comes first.
    match exception.chain.first() {
        Some(first) if first.class == "java.lang.SecurityException" => {
            Error::NotAllowed { doing, message: first.message.clone().unwrap_or_default() }
        }
        _ => Error::Java { doing, exception },
    }
}
