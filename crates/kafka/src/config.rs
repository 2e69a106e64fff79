//! Whom to talk to, and as whom.

use std::fmt;

use cluster::BrokerAddress;
use thiserror::Error;

use crate::security::Security;

/// Everything that is needed to talk to one cluster.
#[derive(Clone)]
pub struct ConnectionConfig {
    /// Where to start: a few brokers of the cluster.
    pub bootstrap: Vec<BrokerAddress>,
    /// How to talk to every broker.
    pub security: Security,
    /// The name under which the brokers log and meter us.
    pub client_id: String,
}

impl fmt::Debug for ConnectionConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionConfig")
            .field("bootstrap", &self.bootstrap)
            .field("security", &self.security)
            .field("client_id", &self.client_id)
            .finish()
    }
}

/// What is wrong with a list of bootstrap servers.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BootstrapError {
    /// There is no address in it.
    #[error("no bootstrap server is given (expected HOST:PORT, several separated by commas)")]
    Empty,
    /// An entry is not an address.
    #[error("bootstrap server {entry:?}: {why}")]
    Entry {
        /// The entry as it was written.
        entry: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Parses `host:port` pairs separated by commas. An IPv6 address stands in brackets: `[::1]:9092`.
///
/// # Errors
///
/// The first entry that is not an address, or that there is none. Empty entries (a comma at the end) are skipped.
pub fn parse_bootstrap(text: &str) -> Result<Vec<BrokerAddress>, BootstrapError> {
    let mut addresses = Vec::new();
    for entry in text.split(',').map(str::trim).filter(|e| !e.is_empty()) {
        let address = parse_address(entry)
            .map_err(|why| BootstrapError::Entry { entry: entry.chars().take(300).collect(), why })?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(BootstrapError::Empty) } else { Ok(addresses) }
}

fn parse_address(entry: &str) -> Result<BrokerAddress, &'static str> {
    // Kafka's own tools take a listener name in front: PLAINTEXT://host:port.
    let entry = entry.split_once("://").map_or(entry, |(_, rest)| rest);
    let (host, port) = match entry.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("the bracket is not closed")?;
            let port = rest.strip_prefix(':').ok_or("the port is missing (HOST:PORT)")?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| "not an IPv6 address between the brackets")?;
            (host, port)
        }
        None => {
            let (host, port) = entry.rsplit_once(':').ok_or("the port is missing (HOST:PORT)")?;
            if host.contains(':') {
                return Err("an IPv6 address needs brackets ([::1]:9092)");
            }
            (host, port)
        }
    };
    if host.is_empty() {
        return Err("the host is missing");
    }
    if host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/' || c == '@') {
        return Err("not a host name");
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(BrokerAddress { host: host.into(), port }),
        _ => Err("the port is not a number from 1 to 65535"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        match parse_bootstrap(text) {
            Ok(addresses) => addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn reads_hosts_addresses_and_listener_prefixes() {
        assert_eq!(shown("a:1, b.example.org:2,[::1]:3,SSL://c:4,"), "a:1 b.example.org:2 [::1]:3 c:4");
        assert_eq!(shown("a:1,a:1"), "a:1");
    }

    #[test]
    fn says_what_is_wrong_with_an_entry() {
        assert_eq!(
            shown(" , "),
            "no bootstrap server is given (expected HOST:PORT, several separated by commas)"
        );
        assert_eq!(shown("a"), "bootstrap server \"a\": the port is missing (HOST:PORT)");
        assert_eq!(shown("a:1,b:x"), "bootstrap server \"b:x\": the port is not a number from 1 to 65535");
        assert_eq!(shown("a:0"), "bootstrap server \"a:0\": the port is not a number from 1 to 65535");
        assert_eq!(
            shown("::1:9092"),
            "bootstrap server \"::1:9092\": an IPv6 address needs brackets ([::1]:9092)"
        );
        assert_eq!(shown("[::1]"), "bootstrap server \"[::1]\": the port is missing (HOST:PORT)");
        assert_eq!(shown("[x]:1"), "bootstrap server \"[x]:1\": not an IPv6 address between the brackets");
        assert_eq!(shown(":9092"), "bootstrap server \":9092\": the host is missing");
    }

    proptest! {
        #[test]
        fn what_is_read_reads_the_same_again(text in "\\PC{0,60}") {
            if let Ok(addresses) = parse_bootstrap(&text) {
                let again = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
                prop_assert_eq!(parse_bootstrap(&again), Ok(addresses));
            }
        }
    }
}
