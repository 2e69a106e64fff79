//! Finds the broker among the JVMs of this host.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jmx::local::{Jvm, find_jvms, start_agent};
use jmx::{Address, Connector};

use super::identity::Identity;
use super::over_jmx::{self, JmxError};
use super::source::{Read, WayError, in_words};
use crate::host::process::{Wanted, by_settings, inside};
use crate::host::properties::Properties;

/// How long a JVM may take to start its JMX server.
const ATTACH_LIMIT: Duration = Duration::from_secs(10);

/// Reads the broker's figures over the JMX server that its JVM has for this host; tells the address of that too. Brokers say
/// themselves which they are; with `attach`, one without such a server, or one that shows no counters, which would tell where
/// that is, is told to start one, if its settings say that it is the broker. It is first asked at `known`: looking through
/// all processes of the host costs more than reading.
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
    let wanted = Wanted { broker: broker.broker, cluster: Some(broker.cluster.clone()), port: None };
    let settings = by_settings(Path::new("/proc"), &wanted);
    let mut tried: Vec<String> = Vec::new();
    for jvm in found.jvms.iter().filter(|jvm| looks_like_a_broker(jvm)) {
        let id = configured_id(jvm);
        // What is known to be another broker is left alone.
        if id.is_some_and(|id| id != broker.broker) {
            continue;
        }
        let is_it = id == Some(broker.broker) || settings.it == Some(jvm.pid);
        let server = match jvm.local_address() {
            Some(address) => address.map_err(JmxError::from),
            None => told_to_start(jvm.pid, attach, is_it, JmxError::NoServer),
        };
        match server.and_then(|address| read_at(address, broker)) {
            Ok(read) => return Ok(read),
            Err(error) => tried.push(format!("process {}: {}", jvm.pid, in_words(&error))),
        }
    }
    let is_hidden = |pid: &u32| !found.jvms.iter().any(|jvm| jvm.pid == *pid);
    if let Some(pid) = settings.it.filter(is_hidden) {
        let server = told_to_start(pid, attach, true, JmxError::Hidden);
        match server.and_then(|address| read_at(address, broker)) {
            Ok(read) => return Ok(read),
            Err(error) => tried.push(format!("process {pid}: {}", in_words(&error))),
        }
    }
    let unknown = settings.unknown.into_iter().filter(is_hidden);
    tried.extend(unknown.map(|pid| {
        format!(
            "process {pid} runs Kafka, and neither its settings nor its JVM can be looked at: run as its user"
        )
    }));
    tried.extend(found.problems.iter().map(|problem| in_words(problem)));
    Err(WayError::NoJvm { tried })
}

/// Reads at the address, and tells it again.
fn read_at(address: Address, broker: &Identity) -> Result<(Read, Address), JmxError> {
    Ok((over_jmx::read(&Connector::new(address.clone()), broker)?, address))
}

/// The address of the server that the JVM is told to start, if it may be told. `why` says what is wrong with it else.
fn told_to_start(pid: u32, attach: bool, is_it: bool, why: JmxError) -> Result<Address, JmxError> {
    match (attach, is_it) {
        (true, true) => Ok(start_agent(pid, ATTACH_LIMIT)?),
        (true, false) => Err(JmxError::NotProven),
        (false, _) => Err(why),
    }
}

/// Kafka's main class, or that of a maker who wraps it.
fn looks_like_a_broker(jvm: &Jvm) -> bool {
    jvm.main_class().is_some_and(|class| class.to_ascii_lowercase().contains("kafka"))
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
