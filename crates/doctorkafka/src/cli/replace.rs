//! `doctorkafka replace`: the host of a broker, by hand.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::client::{Client, ClientError};
use super::orders::{Given, this_user};
use super::{fail, print};
use crate::api::{Answer, OrderBody};
use crate::plugin::PluginRegistry;

/// Replace the host of a broker by the script of the configuration, if nothing holds it back.
///
/// The same must be true as for the service's own choice, and the cooldown holds. A broker that lives is replaced if every other broker
/// can do without it. What holds it back is said, and nothing is done then.
#[derive(Args, Debug)]
pub(super) struct Replace {
    /// The broker.
    #[arg(long, value_name = "ID")]
    broker: i32,
    /// Do not ask whether it is meant.
    #[arg(long)]
    yes: bool,
    /// Replace it also if the last copy of a partition may go with it.
    #[arg(long)]
    accept_data_loss: bool,
    /// Print JSON; without --yes only what holds it back.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    given: Given,
}

/// What is printed as JSON.
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    cluster: &'a str,
    broker: i32,
    /// Whether it was begun.
    begun: bool,
    /// What the service said, or why it did not do it.
    result: Option<String>,
    held_back: Option<String>,
}

impl Replace {
    pub(super) fn run(self, registry: &PluginRegistry) -> ExitCode {
        super::block_on(async {
            let client = match super::client_of(&self.given.whom, registry) {
                Ok(client) => client,
                Err(why) => return fail(&why),
            };
            let cluster = match client.cluster(self.given.whom.cluster.as_deref()).await {
                Ok(cluster) => cluster,
                Err(error) => return super::refused(&error),
            };
            if self.json {
                return self.in_json(&client, &cluster).await;
            }
            if !self.yes {
                match self.ask(&client, &cluster, true).await {
                    Ok(said) => {
                        let _ = print(&format!("{cluster}: {said}\n"));
                    }
                    Err(error) => return super::refused(&error),
                }
                match is_meant(self.accept_data_loss) {
                    Ok(true) => {}
                    Ok(false) => return fail("nothing is done"),
                    Err(why) => return fail(&why),
                }
            }
            match self.ask(&client, &cluster, false).await {
                Ok(said) => print(&format!("{cluster}: {said}\n")),
                Err(error) => super::refused(&error),
            }
        })
    }

    async fn in_json(&self, client: &Client, cluster: &str) -> ExitCode {
        let answer = self.ask(client, cluster, !self.yes).await;
        let (code, result, held_back) = match answer {
            Ok(said) => (ExitCode::SUCCESS, Some(said), None),
            Err(ClientError::Refused { why }) => (ExitCode::FAILURE, None, Some(why)),
            Err(error) => return super::refused(&error),
        };
        let begun = self.yes && result.is_some();
        let outcome = Outcome { cluster, broker: self.broker, begun, result, held_back };
        match serde_json::to_string_pretty(&outcome) {
            Ok(text) => match print(&format!("{text}\n")) {
                ExitCode::SUCCESS => code,
                failed => failed,
            },
            Err(error) => fail(&error.to_string()),
        }
    }

    async fn ask(&self, client: &Client, cluster: &str, only_ask: bool) -> Result<String, ClientError> {
        let body = OrderBody {
            by: self.given.by.clone().unwrap_or_else(this_user),
            reason: self.given.reason.clone(),
            broker: Some(self.broker),
            accept_data_loss: self.accept_data_loss,
            only_ask,
            ..OrderBody::default()
        };
        let answer: Answer = client.post(&format!("/v1/clusters/{cluster}/replace"), &body).await?;
        Ok(answer.result)
    }
}

/// Asks the person at the terminal.
fn is_meant(accept_data_loss: bool) -> Result<bool, String> {
    if !io::stdin().is_terminal() {
        return Err("nobody is there to be asked whether it is meant; --yes says that it is".to_owned());
    }
    let loss = if accept_data_loss { ", also what nobody else has" } else { "" };
    // Where standard error is closed nobody sees the question.
    let asked = write!(io::stderr(), "What is on its disks is gone then{loss}. Replace it? [y/N] ");
    asked.and_then(|()| io::stderr().flush()).map_err(|error| error.to_string())?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|error| error.to_string())?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
