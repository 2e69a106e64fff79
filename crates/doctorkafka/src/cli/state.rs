//! `doctorkafka state list|get`.

use std::fmt::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::client::{Client, ClientError, Whom};
use super::{fail, print};
use crate::api::{StoredKey, StoredValue};
use crate::plugin::PluginRegistry;

/// Look at what the service has in its state store. Nothing is changed.
#[derive(Args, Debug)]
pub(super) struct StateCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the keys.
    List {
        /// Only those that begin with this.
        #[arg(default_value = "")]
        prefix: String,
        #[command(flatten)]
        whom: Whom,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print one value.
    Get {
        /// Its key, as `state list` prints it.
        key: String,
        #[command(flatten)]
        whom: Whom,
        /// Print JSON, with the key and the version.
        #[arg(long)]
        json: bool,
    },
}

impl StateCommand {
    pub(super) fn run(self, registry: &PluginRegistry) -> ExitCode {
        let whom = match &self.what {
            What::List { whom, .. } | What::Get { whom, .. } => whom.clone(),
        };
        super::block_on(async {
            let client = match super::client_of(&whom, registry) {
                Ok(client) => client,
                Err(why) => return fail(&why),
            };
            match self.text(&client, whom.cluster.as_deref()).await {
                Ok(text) => print(&text),
                Err(error) => super::refused(&error),
            }
        })
    }

    async fn text(self, client: &Client, cluster: Option<&str>) -> Result<String, ClientError> {
        let cluster = client.cluster(cluster).await?;
        let at = |name: &str, value: &str| format!("/v1/clusters/{cluster}/state?{name}={}", encoded(value));
        match self.what {
            What::List { prefix, json, .. } => {
                let keys: Vec<StoredKey> = client.get(&at("prefix", &prefix)).await?;
                Ok(if json { pretty(&keys) } else { table(&keys) })
            }
            What::Get { key, json, .. } => {
                let found: StoredValue = client.get(&at("key", &key)).await?;
                Ok(if json { pretty(&found) } else { pretty(&found.value) })
            }
        }
    }
}

fn pretty(value: &impl serde::Serialize) -> String {
    // What came as JSON can be written as JSON.
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

fn table(keys: &[StoredKey]) -> String {
    let mut out = String::new();
    for StoredKey { key, version, bytes } in keys {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{key:<40}  version {version}  {bytes} bytes");
    }
    out
}

/// As a part of a query: what is not a letter, a digit or one of `-._~` as `%` and two hexadecimal digits.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}
