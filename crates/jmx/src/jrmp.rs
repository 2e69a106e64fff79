//! JRMP, the protocol of RMI calls: a connection, and calls one after the other.

use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::Error;
use crate::exception::JavaException;
use crate::reference::{Method, ObjId, Uid};
use crate::serial::{self, Graph, Limits, Reader, Value, Writer};
use crate::transport::{Channel, Endpoint, Timeouts};

/// "JRMI", version 2, many calls over one connection.
const GREETING: [u8; 7] = *b"JRMI\x00\x02\x4b";
/// The server takes the greeting.
const GREETING_TAKEN: u8 = 0x4e;
const CALL: u8 = 0x50;
const RETURN: u8 = 0x51;
/// The client has the remote objects of a reply, so that the server need not keep them for it any longer.
const REPLY_ARRIVED: u8 = 0x54;
const RETURNED: u8 = 1;
const THREW: u8 = 2;
/// Bytes of calls that are on their way at a time: some dozen calls. It fits into the buffers of any socket, so that sending
/// them never waits for answers that nobody reads.
const AT_ONCE: usize = 16 * 1024;
/// A JVM gives some thirty answers in a millisecond. To look at them after a pause costs one thread switch; to wait for each
/// one costs a switch each, which is ten times what it takes to read it. The last ones come too soon for that.
const PAUSE: Duration = Duration::from_millis(1);
const LAST_ONES: usize = 8;
/// What the first byte of a TLS alert and of a TLS handshake is.
const TLS_RECORDS: [u8; 2] = [0x15, 0x16];

/// What a method returned.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) graph: Graph,
    pub(crate) value: Value,
    /// The number of the reply, to say that it arrived.
    pub(crate) uid: Uid,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<Channel>,
    endpoint: Endpoint,
    timeouts: Timeouts,
    limits: Limits,
    /// Whether the last call was read to its end, so that the next answer is the next call's.
    is_usable: bool,
}

impl Connection {
    /// Opens a connection.
    pub(crate) fn open(
        endpoint: Endpoint,
        tls: Option<&Arc<ClientConfig>>,
        timeouts: Timeouts,
        limits: Limits,
    ) -> Result<Connection, Error> {
        let channel = Channel::open(&endpoint, tls, timeouts.connect)?;
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        let is_plain = matches!(channel, Channel::Plain(_));
        let mut stream = BufReader::with_capacity(16 * 1024, channel);
        let greeted = greet(&mut stream, &endpoint);
        match greeted {
            Ok(None) => Ok(Connection { stream, endpoint, timeouts, limits, is_usable: true }),
            Ok(Some(error)) => Err(error),
            Err(source) if source.kind() == io::ErrorKind::TimedOut => Err(Error::TimedOut {
                endpoint: endpoint.to_string(),
                doing: "waiting for the greeting of RMI (is this the JMX port?)",
                limit: timeouts.connect,
            }),
            Err(source)
                if is_plain && matches!(source.kind(), UnexpectedEof | ConnectionReset | BrokenPipe) =>
            {
                Err(Error::HungUp { endpoint: endpoint.to_string(), source })
            }
            Err(source) => Err(Error::Lost { endpoint: endpoint.to_string(), doing: "greeting", source }),
        }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) fn is_usable(&self) -> bool {
        self.is_usable
    }

    /// From the next call on.
    pub(crate) fn set_call_limit(&mut self, limit: Duration) {
        self.timeouts.call = limit;
    }

    /// Calls `method` of `target` with the arguments that `write` writes.
    pub(crate) fn call(
        &mut self,
        target: ObjId,
        method: Method,
        write: impl FnOnce(&mut Writer),
    ) -> Result<Reply, Error> {
        self.call_for(target, method, write, |reader| {
            let value = if method.returns { reader.value()? } else { Value::Null };
            Ok(value)
        })
        .map(|(graph, value, uid)| Reply { graph, value, uid })
    }

    /// Calls a method that returns a `boolean`.
    pub(crate) fn call_for_bool(
        &mut self,
        target: ObjId,
        method: Method,
        write: impl FnOnce(&mut Writer),
    ) -> Result<bool, Error> {
        let (_, byte, _) = self.call_for(target, method, write, |reader| reader.primitive::<1>())?;
        Ok(byte != [0])
    }

    /// Calls `method` of `target` once for each number below `count`, with the arguments that `write` writes of it, and hands
    /// over what comes of each, in their order. A JVM answers the calls of a connection one after the other, so that
    /// some dozen of them can be on their way at a time; together these have the time of one call.
    ///
    /// # Errors
    /// Those of the network and of the protocol. What a method throws is handed over.
    pub(crate) fn call_each(
        &mut self,
        target: ObjId,
        method: Method,
        count: usize,
        write: impl Fn(usize, &mut Writer),
        mut take: impl FnMut(usize, Result<Reply, Error>),
    ) -> Result<(), Error> {
        let mut numbers = (0..count).peekable();
        while let Some(first) = numbers.peek().copied() {
            let mut messages = Vec::new();
            let mut last = first;
            while let Some(number) = numbers.next_if(|_| messages.len() < AT_ONCE) {
                messages.extend(call_message(target, method, |writer| write(number, writer)));
                last = number;
            }
            self.send(&messages, method)?;
            for number in first..=last {
                if self.stream.buffer().is_empty() && last - number >= LAST_ONES {
                    std::thread::sleep(PAUSE);
                }
                let reply = self.receive(method, |reader| reader.value());
                let reply = reply.map(|(graph, value, uid)| Reply { graph, value, uid });
                match reply {
                    Err(error) if !self.is_usable => return Err(error),
                    reply => take(number, reply),
                }
                // Until the last answer is read, the next one is no new call's.
                self.is_usable = number == last;
            }
        }
        Ok(())
    }

    fn call_for<T>(
        &mut self,
        target: ObjId,
        method: Method,
        write: impl FnOnce(&mut Writer),
        read: impl FnOnce(&mut Reader<&mut BufReader<Channel>>) -> Result<T, serial::Error>,
    ) -> Result<(Graph, T, Uid), Error> {
        self.send(&call_message(target, method, write), method)?;
        self.receive(method, read)
    }

    /// Sends calls. The time for them and for their answers begins.
    fn send(&mut self, messages: &[u8], method: Method) -> Result<(), Error> {
        if !self.is_usable {
            return Err(Error::Broken);
        }
        self.is_usable = false;
        self.stream.get_mut().begin(self.timeouts.call);
        let channel = self.stream.get_mut();
        let sent = channel.write_all(messages).and_then(|()| channel.flush());
        sent.map_err(|source| self.lost(method.doing, source))
    }

    /// Reads the answer to a call. If it was read to its end, the connection is usable.
    fn receive<T>(
        &mut self,
        method: Method,
        read: impl FnOnce(&mut Reader<&mut BufReader<Channel>>) -> Result<T, serial::Error>,
    ) -> Result<(Graph, T, Uid), Error> {
        let mut tag = [0];
        self.stream.read_exact(&mut tag).map_err(|source| self.lost(method.doing, source))?;
        if tag != [RETURN] {
            let found = format!("{:#04x}, which begins no answer of RMI", tag[0]);
            return Err(Error::Unexpected { doing: method.doing, found });
        }
        let answer = read_answer(&mut self.stream, self.limits, read);
        match answer.map_err(|error| self.unreadable(method.doing, error))? {
            Answer::Returned(graph, value, uid) => {
                self.is_usable = true;
                Ok((graph, value, uid))
            }
            Answer::Threw(exception) => {
                self.is_usable = true;
                Err(Error::Java { doing: method.doing, exception })
            }
            Answer::Other(found) => Err(Error::Unexpected { doing: method.doing, found }),
        }
    }

    /// Tells that the remote objects of a reply have arrived.
    pub(crate) fn confirm(&mut self, reply: Uid) -> Result<(), Error> {
        self.stream.get_mut().begin(self.timeouts.call);
        let mut message = vec![REPLY_ARRIVED];
        message.extend(reply.to_bytes());
        let channel = self.stream.get_mut();
        let sent = channel.write_all(&message).and_then(|()| channel.flush());
        sent.map_err(|source| {
            self.is_usable = false;
            self.lost("confirming a reply", source)
        })
    }

    fn lost(&self, doing: &'static str, source: io::Error) -> Error {
        let endpoint = self.endpoint.to_string();
        match source.kind() {
            io::ErrorKind::TimedOut => Error::TimedOut { endpoint, doing, limit: self.timeouts.call },
            _ => Error::Lost { endpoint, doing, source },
        }
    }

    fn unreadable(&self, doing: &'static str, error: serial::Error) -> Error {
        match error {
            serial::Error::Io { source, .. } => self.lost(doing, source),
            source => Error::Serial { doing, source },
        }
    }
}

/// Exchanges greetings. `Ok(Some(_))` if who answers is not whom we are looking for.
fn greet(stream: &mut BufReader<Channel>, endpoint: &Endpoint) -> io::Result<Option<Error>> {
    let is_plain = matches!(stream.get_ref(), Channel::Plain(_));
    stream.get_mut().write_all(&GREETING)?;
    stream.get_mut().flush()?;
    let mut first = [0];
    stream.read_exact(&mut first)?;
    if first != [GREETING_TAKEN] {
        if is_plain && TLS_RECORDS.contains(&first[0]) {
            return Ok(Some(Error::TlsRequired { endpoint: endpoint.to_string() }));
        }
        let mut answer = first.to_vec();
        answer.extend(stream.buffer().iter().take(40));
        let answer = String::from_utf8_lossy(&answer).into_owned();
        return Ok(Some(Error::NotRmi { endpoint: endpoint.to_string(), answer }));
    }
    // Our host and port as the server sees them. It listens to whatever we answer and makes no use of it.
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut seen = vec![0; usize::from(u16::from_be_bytes(length)) + 4];
    stream.read_exact(&mut seen)?;
    stream.get_mut().write_all(&[0; 6])?;
    stream.get_mut().flush()?;
    Ok(None)
}

fn call_message(target: ObjId, method: Method, write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut header = target.to_bytes().to_vec();
    header.extend(method.operation.to_be_bytes());
    header.extend(method.hash.to_be_bytes());
    let mut writer = Writer::new();
    writer.block(&header);
    write(&mut writer);
    let mut message = vec![CALL];
    message.extend(writer.into_bytes());
    message
}

/// What stands in an answer.
enum Answer<T> {
    Returned(Graph, T, Uid),
    Threw(JavaException),
    Other(String),
}

fn read_answer<R: Read, T>(
    input: R,
    limits: Limits,
    read: impl FnOnce(&mut Reader<R>) -> Result<T, serial::Error>,
) -> Result<Answer<T>, serial::Error> {
    let mut reader = Reader::new(input, limits)?;
    let [kind] = reader.primitive()?;
    let uid = Uid::from_bytes(reader.primitive()?);
    Ok(match kind {
        RETURNED => {
            let value = read(&mut reader)?;
            if reader.is_inside_block() {
                return Ok(Answer::Other("longer than it should be".to_owned()));
            }
            Answer::Returned(reader.into_graph(), value, uid)
        }
        THREW => {
            let exception = reader.value()?;
            Answer::Threw(JavaException::new(reader.graph(), exception))
        }
        other => Answer::Other(format!("of the kind {other}, which RMI does not have")),
    })
}
