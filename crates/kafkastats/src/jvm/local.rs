//! Finds the broker among the JVMs of this host.

use std::path::PathBuf;
use std::time::Duration;

use jmx::local::{Jvm, find_jvms, start_agent};
use jmx::{Address, Connector};

use super::identity::Identity;
use super::over_jmx::{self, JmxError};
use super::source::{Read, WayError, in_words};
use crate::host::process::inside;
use crate::host::properties::Properties;

/// How long a JVM may take to start its JMX server.
const ATTACH_LIMIT: Duration = Duration::from_secs(10);

/// Reads the broker's figures over the JMX server that its JVM has for this host; tells the address of that too. Brokers say
/// themselves which they are; with `attach`, one without such a server is told to start one, if its configuration says that
/// it is the broker. It is first asked at `known`: looking through all processes of the host costs more than reading.
pub(super) fn read(
    attach: bool,
    broker: &Identity,
    known: Option<Address>,
) -> Result<(Read, Address), WayError> {
    if let Some(address) = known
        && let Ok(read) = over_jmx::read(&Connector::new(address.clone()), broker)
    {
        return Ok((read, address));
    }
    let found = find_jvms();
    let mut tried: Vec<String> = Vec::new();
    for jvm in found.jvms.iter().filter(|jvm| looks_like_a_broker(jvm)) {
        let id = configured_id(jvm);
        // What is known to be another broker is left alone.
        if id.is_some_and(|id| id != broker.broker) {
            continue;
        }
        let may_attach = attach && id == Some(broker.broker);
        let read = address(jvm, may_attach)
            .and_then(|address| Ok((over_jmx::read(&Connector::new(address.clone()), broker)?, address)));
        match read {
            Ok(read) => return Ok(read),
            Err(error) => tried.push(format!("process {}: {}", jvm.pid, in_words(&error))),
        }
    }
    tried.extend(found.problems.iter().map(|problem| in_words(problem)));
    Err(WayError::NoJvm { tried })
}

/// Kafka's main class, or that of a maker who wraps it.
fn looks_like_a_broker(jvm: &Jvm) -> bool {
    jvm.main_class().is_some_and(|class| class.to_ascii_lowercase().contains("kafka"))
}

fn address(jvm: &Jvm, may_attach: bool) -> Result<Address, JmxError> {
    match jvm.local_address() {
        Some(address) => Ok(address?),
        None if may_attach => Ok(start_agent(jvm.pid, ATTACH_LIMIT)?),
        None => Err(JmxError::NoServer),
    }
}

/// The broker's id in the file of properties that stands on its command line, as the JVM sees it.
fn configured_id(jvm: &Jvm) -> Option<i32> {
    let process = PathBuf::from(format!("/proc/{}", jvm.pid));
    let file = jvm.command()?.split(' ').skip(1).find(|word| word.ends_with(".properties"))?;
    Properties::read(&inside(&process, file))
        .ok()?
        .broker_id()
        .filter(|_| !overrides_id(jvm.command().unwrap_or_default()))
}

/// Whether the command line sets the id itself.
fn overrides_id(command: &str) -> bool {
    command.split(' ').any(|word| word.starts_with("node.id=") || word.starts_with("broker.id="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_on_the_command_line_is_seen() {
        assert!(overrides_id("kafka.Kafka s.properties --override node.id=3"));
        assert!(!overrides_id("kafka.Kafka s.properties --override log.dirs=/d"));
    }
}
