//! Makes the actions topic.

use std::collections::BTreeMap;

use cluster::{ClientError, NewTopic, Writer};

/// Creates the topic with one partition and as many replicas as the cluster has brokers, at most three.
///
/// # Errors
/// Kafka refuses it, or does not answer.
pub(crate) async fn create(writer: &dyn Writer, topic: &str) -> Result<(), ClientError> {
    let mut last = Ok(());
    for replication_factor in [3, 2, 1] {
        let topic =
            NewTopic { name: topic.into(), partitions: 1, replication_factor, configs: BTreeMap::new() };
        last = writer.create_topic(&topic).await;
        match &last {
            Err(ClientError::Refused { code, .. }) if code.to_ascii_uppercase().contains("REPLICATION") => {}
            _ => return last,
        }
    }
    last
}
