//! The cluster traits over a real Apache Kafka cluster: the one crate that knows a Kafka client.
//!
//! Reading order: [`config`] (whom to talk to, and as whom), [`client_properties`] (the security settings as Kafka's
//! own tools take them; `oauth` gets their tokens), then [`Kafka`] and, inside, `link` (one kept connection to one broker), `directory` (which
//! broker a call goes to), `read`, `write`, `log_write`, `log_read` (the four traits), `fenced` (a log with one writer at a time) and `fail` (what an error means).
//!
//! Reading and changing a cluster goes over connections of our own choosing, one per broker and lane: the answer of
//! *this* broker is what the caller wants to know, a dead broker must cost no more than the caller's limit, and the
//! metadata of all topics is fetched only when asked for. Writing and reading records goes through the client's
//! producer and consumers.

pub mod client_properties;
pub mod config;
mod directory;
mod fail;
mod fenced;
mod http_url;
mod jaas;
mod kafka;
mod link;
mod log_offsets;
mod log_read;
mod log_write;
mod oauth;
mod properties;
mod read;
mod security;
mod speaks;
mod write;

pub use config::{BootstrapError, ConnectionConfig, parse_bootstrap};
pub use fenced::{CommitError, Committed, Fenced};
pub use http_url::{HttpUrl, HttpUrlError};
pub use kafka::Kafka;
pub use security::Security;

/// Directives for a `tracing` filter that keep the client's own lines out of the service's log.
///
/// The client logs every reset connection at ERROR and every broker that it cannot reach at WARN, again and again. All
/// of that comes back from the calls here as a `ClientError`, once, and is logged where it is handled.
pub const LOG_FILTER: &str = "krafka=error,krafka::network=off,krafka::metadata=off,krafka::producer=off,\
                              krafka::consumer=off,krafka::telemetry=off";

#[cfg(test)]
mod tests {
    #[test]
    fn the_log_filter_is_one() {
        super::LOG_FILTER.parse::<tracing_subscriber::filter::Targets>().expect("directives");
        assert!(!super::LOG_FILTER.contains(' '));
    }
}
