//! Servers that are not what they should be: slow, silent, or something else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use jmx::{Address, Connector, Error, Timeouts};

const LIMIT: Duration = Duration::from_millis(300);
/// Well above the limit, and well below what waiting for ever would take.
const SLACK: Duration = Duration::from_secs(10);
/// The server's side of the greeting: our address as it sees it.
const GREETING: &[u8] = b"\x4e\0\x09127.0.0.1\0\0\0\x01";

/// A server that treats its one client as `serve` does. `serve` gets what tells it that the client has gone.
struct Server {
    address: Address,
    thread: JoinHandle<()>,
}

fn server(serve: impl FnOnce(TcpStream) + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
    Server { address, thread: spawn(move || serve(listener.accept().unwrap().0)) }
}

impl Server {
    /// What connecting to it says, which must not take long.
    fn error(self) -> String {
        let began = Instant::now();
        let connector = Connector::new(self.address).timeouts(Timeouts { connect: LIMIT, call: LIMIT });
        let error = connector.connect().unwrap_err();
        assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
        self.thread.join().unwrap();
        match &error {
            Error::Serial { source, .. } => format!("{error}: {source}"),
            _ => error.to_string(),
        }
    }
}

/// Reads until the client hangs up.
fn until_end(mut stream: TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

/// Takes the greeting and the first call.
fn greet(stream: &mut TcpStream) {
    stream.read_exact(&mut [0; 7]).unwrap();
    stream.write_all(GREETING).unwrap();
    // The client's own address, and "jmxrmi" is looked up.
    stream.read_exact(&mut [0; 6 + 50]).unwrap();
}

#[test]
fn silent_servers_are_left_after_the_limit() {
    let error = server(until_end).error();
    assert!(error.contains("waiting for the greeting of RMI") && error.contains("300 ms"), "{error}");
    let error = server(|mut stream| {
        greet(&mut stream);
        until_end(stream);
    })
    .error();
    assert!(error.contains("looking up the JMX server") && error.contains("300 ms"), "{error}");
}

#[test]
fn an_answer_that_drips_is_not_waited_for_to_its_end() {
    // A byte at a time would satisfy any limit of a single read.
    let (client_gone, gone): (_, Receiver<()>) = channel();
    let server = server(move |mut stream| {
        greet(&mut stream);
        stream.write_all(b"\x51\xac\xed\0\x05\x77\x0f\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x74\xff\xff").unwrap();
        while gone.recv_timeout(LIMIT / 20) == Err(RecvTimeoutError::Timeout) {
            if stream.write_all(b"x").is_err() {
                break;
            }
        }
    });
    let began = Instant::now();
    let connector = Connector::new(server.address).timeouts(Timeouts { connect: SLACK, call: LIMIT });
    let error = connector.connect().unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
    drop(client_gone);
    server.thread.join().unwrap();
}

#[test]
fn what_is_no_rmi_is_named() {
    for (answer, why) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            "does not speak RMI but HTTP, as exporters for Prometheus and Jolokia do: it answered \"HTTP/1.1 400",
        ),
        (b"\x15\x03\x03\0\x02\x02\x46", "speaks TLS"),
        (b"", "hangs up when it is greeted in RMI: is this the JMX port"),
        (b"\x4e\0\xff", "hangs up when it is greeted in RMI"),
    ] {
        let error = server(move |mut stream| {
            stream.read_exact(&mut [0; 7]).unwrap();
            stream.write_all(answer).unwrap();
        })
        .error();
        assert!(error.contains(why), "{answer:?}: {error}");
    }
}

#[test]
fn answers_that_make_no_sense_are_refused() {
    const HEADER: &str = "\x51";
    let uid = [0; 14];
    let answer = |kind: u8, rest: &[u8]| {
        let mut bytes = HEADER.as_bytes().to_vec();
        bytes.extend([0xac, 0xed, 0, 5, 0x77, 15, kind]);
        bytes.extend(uid);
        bytes.extend(rest);
        bytes
    };
    for (bytes, why) in [
        (b"\x99".to_vec(), "0x99, which begins no answer"),
        (b"\x51\xca\xfe\0\0".to_vec(), "does not begin a stream"),
        (answer(9, b""), "of the kind 9"),
        (answer(1, b"\x70"), "no reference to a remote object"),
        (answer(1, b"\x74\0\x01x"), "no reference to a remote object"),
        (answer(1, b"\x00"), "no tag 0x00"),
        (answer(2, b"\x70"), "something that is no exception"),
        (answer(1, b""), "the connection broke"),
    ] {
        let error = server(move |mut stream| {
            greet(&mut stream);
            stream.write_all(&bytes).unwrap();
        })
        .error();
        assert!(error.contains(why), "{why}: {error}");
    }
}

#[test]
fn a_port_where_nobody_listens_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
    drop(listener);
    let error = Connector::new(address).connect().unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    let error = Connector::new(Address::new("no-such-host.invalid", 1)).connect().unwrap_err();
    assert!(matches!(error, Error::Resolve { .. }), "{error}");
}
