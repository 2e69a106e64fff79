//! Addresses of brokers as people write them.

use std::sync::Arc;

use cluster::BrokerAddress;

/// Reads `HOST:PORT`, or `[IPV6]:PORT`.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub fn parse_one(text: &str) -> Result<BrokerAddress, String> {
    let text = text.trim();
    let wrong = || format!("`{text}` is not of the form HOST:PORT");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').ok_or_else(wrong)?,
        None if host.contains(':') => {
            return Err(format!("`{text}`: write an IPv6 address as [ADDRESS]:PORT"));
        }
        None => host,
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if host.is_empty() || !host.chars().all(fits) {
        return Err(wrong());
    }
    let port: u16 = port.parse().map_err(|_| format!("`{port}` is not a port: 1 to 65535"))?;
    if port == 0 {
        return Err("`0` is not a port: 1 to 65535".to_owned());
    }
    Ok(BrokerAddress { host: Arc::from(host), port })
}

/// Reads a list with commas.
///
/// # Errors
/// What is wrong with the first that is no address.
pub fn parse_list(text: &str) -> Result<Vec<BrokerAddress>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let addresses = parts.map(parse_one).collect::<Result<Vec<_>, _>>()?;
    if addresses.is_empty() {
        Err("at least one address HOST:PORT is needed".to_owned())
    } else {
        Ok(addresses)
    }
}
