//! Listeners of another kind than we expect, on the loopback: what is said of them.

#![allow(clippy::expect_used, clippy::panic, reason = "a test ends where something is not as expected")]

mod common;

use cluster::{ClientError, Reader as _};
use common::{LONG, plain, secured};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// The address of a listener that takes what is asked, says `words` to everybody, and closes.
async fn says(words: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(words).await;
            let _ = stream.shutdown().await;
            // Until the other side has closed, too: what was said must arrive.
            while stream.read(&mut [0; 1024]).await.is_ok_and(|n| n > 0) {}
        }
    });
    at
}

/// A fatal TLS alert, `protocol_version`: what a TLS server says to plain text.
const ALERT: &[u8] = &[0x15, 3, 3, 0, 2, 2, 70];

#[tokio::test]
async fn tls_is_named_where_it_answers_plain_text() {
    let at = says(ALERT).await;
    let kafka = plain(&at);
    for _ in 0..2 {
        match kafka.ask(&kafka.bootstrap()[0], LONG).await {
            Err(ClientError::Security { why, .. }) => {
                assert_eq!(why, "it answers in TLS: the listener wants SSL or SASL_SSL (security.protocol)");
            }
            other => panic!("{other:?}"),
        }
    }
    let login = "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n\
        sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username=\"a\" password=\"b\";";
    let kafka = secured(&at, login);
    let answer = kafka.ask(&kafka.bootstrap()[0], LONG).await;
    assert!(
        matches!(&answer, Err(ClientError::Security { why, .. }) if why.contains("SASL_SSL, or SSL")),
        "{answer:?}"
    );
}

#[tokio::test]
async fn what_is_not_kafka_is_not_taken_for_tls() {
    let random = &[0x01, 0x9f, 0x33, 0x70, 0xe2, 0x15, 0x03, 0x03, 0x44];
    for words in
        [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], random, &[0xff; 64], &[0x15, 0x04, 0x03, 0, 2, 2, 70]]
    {
        let kafka = plain(&says(words).await);
        match kafka.ask(&kafka.bootstrap()[0], LONG).await {
            Err(ClientError::Unreachable { why, .. }) => {
                assert_eq!(why, "what answers there does not speak the Kafka protocol", "{words:?}");
            }
            other => panic!("{words:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_connection_that_is_closed_without_a_word_may_be_of_any_kind() {
    let kafka = plain(&says(b"").await);
    let answer = kafka.ask(&kafka.bootstrap()[0], LONG).await;
    assert!(
        matches!(&answer, Err(ClientError::Closed { why, .. }) if why.contains("probably wants SSL or SASL")),
        "{answer:?}"
    );
}
