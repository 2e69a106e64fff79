//! Addresses of JMX servers.

use std::fmt;
use std::str::FromStr;

use crate::Error;
use crate::reference::RemoteRef;
use crate::transport::Endpoint;

/// The name under which a JVM puts its JMX server into its registry.
const USUAL_NAME: &str = "jmxrmi";
/// The port of an RMI registry whose address names none.
const REGISTRY_PORT: u16 = 1099;

/// Where a JMX server is: in a registry, or behind a stub that the address itself contains.
///
/// It is read from `host:port` or from a service URL, as JConsole takes it:
///
/// ```
/// for text in [
///     "broker-1:9999",
///     "[2001:db8::1]:9999",
///     "service:jmx:rmi:///jndi/rmi://broker-1:9999/jmxrmi",
/// ] {
///     let address: jmx::Address = text.parse()?;
/// }
/// # Ok::<(), jmx::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(pub(crate) Place);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Registry {
        at: Endpoint,
        name: String,
    },
    /// `host` is what stands in the address, if anything does.
    Stub {
        host: Option<String>,
        reference: RemoteRef,
    },
}

impl Address {
    /// The JMX server in the registry at `host` and `port`.
    pub fn new(host: &str, port: u16) -> Address {
        let at = Endpoint { host: host.to_owned(), port };
        Address(Place::Registry { at, name: USUAL_NAME.to_owned() })
    }

    /// The host.
    pub fn host(&self) -> &str {
        match &self.0 {
            Place::Registry { at, .. } => &at.host,
            Place::Stub { host, reference } => host.as_deref().unwrap_or(&reference.host),
        }
    }

    /// The port: of the registry, or of the JMX server itself if the address contains its stub.
    pub fn port(&self) -> u16 {
        match &self.0 {
            Place::Registry { at, .. } => at.port,
            Place::Stub { reference, .. } => reference.port,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Registry { at, name } => write!(f, "service:jmx:rmi:///jndi/rmi://{at}/{name}"),
            Place::Stub { .. } => {
                let at = Endpoint { host: self.host().to_owned(), port: self.port() };
                write!(f, "{at} (stub)")
            }
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Address, Error> {
        let bad =
            |why: &str| Error::BadAddress { text: text.chars().take(100).collect(), why: why.to_owned() };
        let Some(url) = text.strip_prefix("service:jmx:") else {
            let at = endpoint(text, None).map_err(bad)?;
            return Ok(Address::new(&at.host, at.port));
        };
        let url = url.strip_prefix("rmi://").ok_or_else(|| bad("only the protocol rmi is known"))?;
        let (host, path) = url.split_once('/').ok_or_else(|| bad("there is no path behind the host"))?;
        if let Some(registry) = path.strip_prefix("jndi/rmi://") {
            let (at, name) =
                registry.split_once('/').ok_or_else(|| bad("the registry's entry is not named"))?;
            if name.is_empty() {
                return Err(bad("the registry's entry is not named"));
            }
            let at =
                endpoint(if at.is_empty() { "localhost" } else { at }, Some(REGISTRY_PORT)).map_err(bad)?;
            return Ok(Address(Place::Registry { at, name: name.to_owned() }));
        }
        let stub =
            path.strip_prefix("stub/").ok_or_else(|| bad("neither /jndi/ nor /stub/ follows the host"))?;
        let bytes = decode_base64(stub).ok_or_else(|| bad("the stub is no Base64"))?;
        let reference = RemoteRef::from_bytes(&bytes)?;
        let host = match host {
            "" => None,
            // A port stands there only for the look of it: the stub has the real one.
            _ => Some(endpoint(host, Some(0)).map_err(bad)?.host),
        };
        Ok(Address(Place::Stub { host, reference }))
    }
}

/// Reads `host:port`; a name, an IPv4 address, or an IPv6 address in brackets.
fn endpoint(text: &str, usual_port: Option<u16>) -> Result<Endpoint, &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("a '[' is not closed")?;
            match rest {
                "" => (host, None),
                _ => {
                    (host, Some(rest.strip_prefix(':').ok_or("something else than a port follows the ']'")?))
                }
            }
        }
        None => match text.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err("an IPv6 address belongs in brackets"),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() || host.contains(['/', ' ', '@']) {
        return Err("the host is missing or no name");
    }
    let port = match port {
        Some(port) => port.parse().map_err(|_| "the port is no number from 0 to 65535")?,
        None => usual_port.ok_or("there is no port")?,
    };
    Ok(Endpoint { host: host.to_owned(), port })
}

/// Base64 as MIME has it; `None` if there is anything else in it.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for character in text.trim_end_matches('=').bytes() {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            // Truncation is meant: the lower bits are this byte's, the upper ones are out already.
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (text, host, port) in [
            ("broker-1:9999", "broker-1", 9999),
            ("[::1]:9999", "::1", 9999),
            ("service:jmx:rmi:///jndi/rmi://10.0.0.1:9999/jmxrmi", "10.0.0.1", 9999),
            ("service:jmx:rmi://10.0.0.9:1/jndi/rmi://[::1]/kafka", "::1", 1099),
            ("service:jmx:rmi:///jndi/rmi:///jmxrmi", "localhost", 1099),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host(), address.port()), (host, port), "{text}");
            assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "host is missing"),
            ("broker", "no port"),
            ("broker:", "no number"),
            ("broker:99999", "no number"),
            ("::1:9999", "brackets"),
            ("[::1", "not closed"),
            ("[::1]9", "follows"),
            ("http://broker:9999/", "brackets"),
            ("service:jmx:iiop:///jndi/x", "only the protocol rmi"),
            ("service:jmx:rmi://broker:9999", "no path"),
            ("service:jmx:rmi:///jndi/rmi://broker:9999", "not named"),
            ("service:jmx:rmi:///ior/x", "neither"),
            ("service:jmx:rmi:///stub/?", "no Base64"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
        let error = "service:jmx:rmi:///stub/AAAA".parse::<Address>().unwrap_err();
        assert!(matches!(error, Error::Serial { .. }), "{error}");
    }

    #[test]
    fn base64_is_decoded() {
        for (text, bytes) in
            [("", &b""[..]), ("Zg==", b"f"), ("Zm8=", b"fo"), ("Zm9v", b"foo"), ("/+8=", &[0xff, 0xef])]
        {
            assert_eq!(decode_base64(text).unwrap(), bytes, "{text}");
        }
    }
}
