//! `doctorkafka pause`, `resume`, `approve`, `cancel`, `maintenance`, `decommission`: orders to a running service.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use control::config::HumanDuration;

use super::client::Whom;
use super::{fail, print};
use crate::api::{Answer, OrderBody};
use crate::plugin::PluginRegistry;

/// What every order has.
#[derive(Args, Debug)]
pub(super) struct Given {
    #[command(flatten)]
    pub(super) whom: Whom,
    /// Why, for the audit.
    #[arg(long = "why", visible_alias = "reason", default_value = "", value_name = "TEXT")]
    pub(super) reason: String,
    /// Who gives the order, for the audit; this user when left out.
    #[arg(long, value_name = "NAME")]
    pub(super) by: Option<String>,
}

/// Allow no new acts; looking goes on. Survives a restart.
#[derive(Args, Debug)]
pub(super) struct Pause {
    #[command(flatten)]
    given: Given,
}

/// Allow acts again.
#[derive(Args, Debug)]
pub(super) struct Resume {
    #[command(flatten)]
    given: Given,
}

/// Let healing go on although many brokers are dead, until that is over.
#[derive(Args, Debug)]
pub(super) struct Approve {
    #[command(flatten)]
    given: Given,
}

/// Take the cluster's present cluster.id as the right one, or a state store that is empty or another one.
#[derive(Args, Debug)]
pub(super) struct AcceptIdentity {
    #[command(flatten)]
    given: Given,
}

/// Cancel our own moves, never those of others.
#[derive(Args, Debug)]
pub(super) struct Cancel {
    /// The number of the execution, as `status` shows it; all when left out.
    execution: Option<u64>,
    #[command(flatten)]
    given: Given,
}

/// Do nothing to a cluster, or to and with one broker, while people work on it.
#[derive(Args, Debug)]
pub(super) struct Maintenance {
    #[command(subcommand)]
    switch: Switch,
}

#[derive(Debug, Subcommand)]
enum Switch {
    /// Switch maintenance on.
    On {
        /// The broker; the whole cluster when left out.
        #[arg(long, value_name = "ID")]
        broker: Option<i32>,
        /// For how long, such as 30m or 2h; until it is switched off when left out.
        #[arg(long = "for", value_name = "TIME", value_parser = how_long)]
        time: Option<HumanDuration>,
        #[command(flatten)]
        given: Given,
    },
    /// Switch maintenance off.
    Off {
        /// The broker; the whole cluster when left out.
        #[arg(long, value_name = "ID")]
        broker: Option<i32>,
        #[command(flatten)]
        given: Given,
    },
}

/// Take a broker out of service: it gets no replicas, and is neither missed nor replaced when it is stopped.
#[derive(Args, Debug)]
pub(super) struct Decommission {
    #[command(subcommand)]
    switch: Leave,
}

#[derive(Debug, Subcommand)]
enum Leave {
    /// The broker is to go: it gets no replicas, and is neither missed nor replaced when it is stopped.
    On {
        /// The broker.
        #[arg(long, value_name = "ID")]
        broker: i32,
        /// For how long, such as 30m or 2h; until it is taken back when left out.
        #[arg(long = "for", value_name = "TIME", value_parser = how_long)]
        time: Option<HumanDuration>,
        #[command(flatten)]
        given: Given,
    },
    /// The broker is to stay in service.
    Off {
        /// The broker.
        #[arg(long, value_name = "ID")]
        broker: i32,
        #[command(flatten)]
        given: Given,
    },
}

impl Decommission {
    pub(super) fn run(self, registry: &PluginRegistry) -> ExitCode {
        let (order, broker, time, given) = match self.switch {
            Leave::On { broker, time, given } => ("decommission-on", broker, time, given),
            Leave::Off { broker, given } => ("decommission-off", broker, None, given),
        };
        let for_seconds = time.map(seconds);
        give(registry, order, given, OrderBody { broker: Some(broker), for_seconds, ..OrderBody::default() })
    }
}

impl Pause {
    pub(super) fn run(self, registry: &PluginRegistry) -> ExitCode {
        give(registry, "pause", self.given, OrderBody::default())
    }
}

impl Resume {
    pub(super) fn run(self, registry: &PluginRegistry) -> ExitCode {
        give(registry, "resume", self.given, OrderBody::default())
    }
}

impl Approve {
    pub(super) fn run(self, registry: &PluginRegistry) -> ExitCode {
        give(registry, "approve", self.given, OrderBody::default())
    }
}

impl AcceptIdentity {
    pub(super) fn run(self, registry: &PluginRegistry) -> ExitCode {
        give(registry, "accept-identity", self.given, OrderBody::default())
    }
}

impl Cancel {
    pub(super) fn run(self, registry: &PluginRegistry) -> ExitCode {
        give(registry, "cancel", self.given, OrderBody { execution: self.execution, ..OrderBody::default() })
    }
}

impl Maintenance {
    pub(super) fn run(self, registry: &PluginRegistry) -> ExitCode {
        match self.switch {
            Switch::On { broker, time, given } => {
                let for_seconds = time.map(seconds);
                give(
                    registry,
                    "maintenance-on",
                    given,
                    OrderBody { broker, for_seconds, ..OrderBody::default() },
                )
            }
            Switch::Off { broker, given } => {
                give(registry, "maintenance-off", given, OrderBody { broker, ..OrderBody::default() })
            }
        }
    }
}

/// A time as people write it. A bare number is seconds elsewhere, and would be hours to whoever is in a hurry.
fn how_long(text: &str) -> Result<HumanDuration, String> {
    let time: HumanDuration = text.parse()?;
    match text.trim().bytes().all(|byte| byte.is_ascii_digit()) {
        true => Err(format!("`{text}` has no unit: write it like {text}h or {text}m")),
        false => Ok(time),
    }
}

/// The login name, or the number of a user who has none.
pub(super) fn this_user() -> String {
    let named = ["USER", "LOGNAME"].iter().filter_map(|name| std::env::var(name).ok());
    let mut named = named.filter(|name| !name.trim().is_empty());
    named.next().unwrap_or_else(|| format!("user {}", rustix::process::getuid().as_raw()))
}

fn give(registry: &PluginRegistry, order: &'static str, given: Given, body: OrderBody) -> ExitCode {
    let body = OrderBody { by: given.by.unwrap_or_else(this_user), reason: given.reason, ..body };
    super::block_on(async move {
        let client = match super::client_of(&given.whom, registry) {
            Ok(client) => client,
            Err(why) => return fail(&why),
        };
        let attempt = async {
            let cluster = client.cluster(given.whom.cluster.as_deref()).await?;
            let path = format!("/v1/clusters/{cluster}/{order}");
            let answer: Answer = client.post(&path, &body).await?;
            Ok((cluster, answer))
        };
        match attempt.await {
            Ok((cluster, answer)) => print(&format!("{cluster}: {}\n", answer.result)),
            Err(error) => super::refused(&error),
        }
    })
}

/// Whole seconds, at least one of any time that is one: no time at all is left for the service to refuse.
fn seconds(time: HumanDuration) -> u64 {
    if time.0.is_zero() { 0 } else { time.0.as_secs().max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_a_unit_is_no_time() {
        assert_eq!(how_long("2").unwrap_err(), "`2` has no unit: write it like 2h or 2m");
        assert_eq!(how_long("1h 30m").unwrap().0.as_secs(), 5_400);
        assert!(how_long("soon").unwrap_err().contains("is not a duration"));
    }
}
