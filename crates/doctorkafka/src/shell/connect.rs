//! Connections to real clusters.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cluster::BoxFuture;
use kafka::{ConnectionConfig, Kafka, Security};

use crate::client_settings;
use crate::plugin::{Connect, Connection, Endpoint};

/// The name under which brokers log and meter this service.
const CLIENT_ID: &str = "doctorkafka";

/// Connects to real clusters. Connections to one endpoint are shared for as long as this lives.
#[derive(Default)]
pub struct RealConnect(Mutex<BTreeMap<Endpoint, Connection>>);

impl Connect for RealConnect {
    fn connect(&self, endpoint: &Endpoint) -> Result<Connection, String> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = known.get(endpoint) {
            return Ok(connection.clone());
        }
        let connection = connect(endpoint)?;
        known.insert(endpoint.clone(), connection.clone());
        Ok(connection)
    }

    fn flush(&self, limit: Duration) -> BoxFuture<'_, ()> {
        let connections: Vec<Connection> =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let deadline = tokio::time::Instant::now() + limit;
        Box::pin(async move {
            for connection in connections {
                match tokio::time::timeout_at(deadline, connection.log_writer.flush()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "records could not be written before the end"),
                    Err(_elapsed) => {
                        tracing::warn!("records could not be written before the end: no answer");
                    }
                }
            }
        })
    }
}

/// A client of the cluster at `endpoint`.
///
/// # Errors
/// What is wrong with the security settings, in words.
pub(crate) fn client(endpoint: &Endpoint) -> Result<Kafka, String> {
    let security = match &endpoint.command_config {
        None => Security::plaintext(),
        Some(path) => client_settings::read(path).map_err(|problems| problems.join("; "))?,
    };
    for warning in security.warnings() {
        let file = endpoint.command_config.as_deref().unwrap_or_else(|| "".as_ref());
        tracing::warn!(file = %file.display(), %warning, "odd security settings");
    }
    let bootstrap = endpoint.bootstrap.clone();
    Ok(Kafka::new(ConnectionConfig { bootstrap, security, client_id: CLIENT_ID.to_owned() }))
}

fn connect(endpoint: &Endpoint) -> Result<Connection, String> {
    let kafka = Arc::new(client(endpoint)?);
    Ok(Connection {
        reader: kafka.clone(),
        writer: kafka.clone(),
        log_reader: kafka.clone(),
        log_writer: kafka,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_the_connection_to_an_endpoint_and_explains_bad_settings() {
        let connect = RealConnect::default();
        let bootstrap = kafka::parse_bootstrap("127.0.0.1:1").unwrap();
        let endpoint = Endpoint { bootstrap, command_config: None };
        let (first, second) = (connect.connect(&endpoint).unwrap(), connect.connect(&endpoint).unwrap());
        assert!(Arc::ptr_eq(&first.reader, &second.reader));

        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("client.properties");
        let with_file = Endpoint { command_config: Some(file.clone()), ..endpoint };
        let missing = connect.connect(&with_file).err().unwrap();
        assert!(missing.contains("client.properties") && missing.contains("No such file"), "{missing}");
        std::fs::write(&file, "security.protocol=NONSENSE\n").unwrap();
        let wrong = connect.connect(&with_file).err().unwrap();
        assert!(wrong.contains("line 1") && wrong.contains("SASL_SSL"), "{wrong}");
    }
}
