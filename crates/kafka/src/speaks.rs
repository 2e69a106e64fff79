//! What answers at an address that did not answer as a Kafka broker in plain text does.
//!
//! The client tells that a frame was too large or ended too early, but not what came. So the listener is asked once more, and
//! the first bytes are looked at.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long such a look may take. It is only taken at an address that has just answered.
const LIMIT: Duration = Duration::from_secs(1);

/// An `ApiVersions` request of version 0, which every broker since 0.10 answers, also before a login: its size, the API key 18,
/// the version, a correlation id, and no client id.
const QUESTION: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, b'd', b'k', b'a', b'?', 0xff, 0xff];
/// A broker's answer has the correlation id behind its size.
const CORRELATION: std::ops::Range<usize> = 8..12;

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// A TLS record: an alert, as plain text is no handshake.
    Tls,
    /// A Kafka broker, without encryption.
    Kafka,
    /// Bytes, but neither of these.
    SomethingElse,
}

/// Asks who answers at `at` (`host:port`). `None` where nothing comes: a connection that is closed without a word may be of any
/// kind.
pub(crate) async fn look(at: &str) -> Option<Speaks> {
    let mut answer = Vec::new();
    // What came counts, also where the time is over or the connection broke behind it.
    let _ = tokio::time::timeout(LIMIT, read_some(at, &mut answer)).await;
    judge(&answer)
}

async fn read_some(at: &str, answer: &mut Vec<u8>) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(at).await?;
    stream.write_all(&QUESTION).await?;
    while answer.len() < 8 && stream.read_buf(answer).await? > 0 {}
    Ok(())
}

fn judge(answer: &[u8]) -> Option<Speaks> {
    match answer {
        [] => None,
        // The content types alert and handshake, and a version 3.x (RFC 8446, 5.1).
        [0x15 | 0x16, 3, 0..=4, ..] => Some(Speaks::Tls),
        _ if answer.get(4..8) == QUESTION.get(CORRELATION) => Some(Speaks::Kafka),
        _ => Some(Speaks::SomethingElse),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_who_answers() {
        for (answer, expected) in [
            (&[][..], None),
            (&[0x15, 3, 3, 0, 2, 2, 70], Some(Speaks::Tls)),
            (&[0x16, 3, 1, 0, 80, 2], Some(Speaks::Tls)),
            (&[0x15, 2, 3, 0], Some(Speaks::SomethingElse)),
            (&[0x17, 3, 3, 0, 9], Some(Speaks::SomethingElse)),
            (&[0x15], Some(Speaks::SomethingElse)),
            (b"SSH-2.0-OpenSSH_9.6\r\n", Some(Speaks::SomethingElse)),
            (&[0, 0, 0, 30, b'd', b'k', b'a', b'?', 0, 0], Some(Speaks::Kafka)),
        ] {
            assert_eq!(judge(answer), expected, "{answer:?}");
        }
    }
}
