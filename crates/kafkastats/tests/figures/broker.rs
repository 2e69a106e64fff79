//! What a broker itself has counted, read straight from its MBeans.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use jmx::local::{find_jvms, start_agent};
use jmx::{Address, Client, Connector, Error, ObjectName, Value};
use lab::Cluster;

/// The user of the JMX port, and the password.
pub(crate) const LOGIN: (&str, &str) = ("monitor", "secret");

/// The bytes of one topic that one broker has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// `BytesInPerSec`: what producers sent.
    pub(crate) bytes_in: i64,
    /// `BytesOutPerSec`: what consumers fetched. Followers count apart, in `ReplicationBytesOutPerSec`.
    pub(crate) bytes_out: i64,
}

/// A session with the JMX server of a broker: at its port, or that for its own host. A JVM without one starts one.
fn connect(cluster: &Cluster, broker: i32) -> Result<Client> {
    if let Ok(port) = cluster.jmx_port(broker) {
        let connector = Connector::new(Address::new("127.0.0.1", port)).login(LOGIN.0, LOGIN.1);
        return Ok(connector.connect()?);
    }
    let pid = cluster.pid(broker)?.context("the broker does not run")?;
    let found = find_jvms().jvms.into_iter().find(|jvm| jvm.pid == pid).context("the JVM is not found")?;
    let address = match found.local_address() {
        Some(address) => address?,
        None => start_agent(pid, Duration::from_secs(20))?,
    };
    Ok(Connector::new(address).connect()?)
}

/// What brokers have counted of topics, by broker and topic.
pub(crate) fn counts(cluster: &Cluster, topics: &[&str]) -> Result<BTreeMap<(i32, String), Counts>> {
    let mut all = BTreeMap::new();
    for broker in cluster.broker_ids() {
        let mut client = connect(cluster, broker)?;
        for topic in topics {
            let bytes_in = count(&mut client, "BytesInPerSec", topic)?;
            let bytes_out = count(&mut client, "BytesOutPerSec", topic)?;
            all.insert((broker, (*topic).to_owned()), Counts { bytes_in, bytes_out });
        }
        client.close()?;
    }
    Ok(all)
}

/// A count of a topic; zero while there is no MBean: Kafka makes it when there is something to count.
fn count(client: &mut Client, metric: &str, topic: &str) -> Result<i64> {
    let name = format!("kafka.server:type=BrokerTopicMetrics,name={metric},topic={topic}");
    match client.attribute(&ObjectName::new(&name)?, "Count") {
        Ok(value) => value.as_i64().with_context(|| format!("the count of {name} is {value:?}")),
        Err(Error::NoSuchMBean { .. }) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// The version of the JVM that runs a broker.
pub(crate) fn java_version(cluster: &Cluster, broker: i32) -> Result<String> {
    let mut client = connect(cluster, broker)?;
    let value = client.attribute(&ObjectName::new("java.lang:type=Runtime")?, "VmVersion")?;
    client.close()?;
    Ok(value.as_str().map(str::to_owned).unwrap_or_else(|| format!("{:?}", Value::Null)))
}
