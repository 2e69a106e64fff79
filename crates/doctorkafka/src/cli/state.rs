//! `doctorkafka state list|get`: asked of the service, or read from the store itself where none runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::client::{Client, ClientError, Whom};
use super::{STATE_DIR, fail, print};
use crate::api::{StoredKey, StoredValue};
use crate::config;
use crate::plugin::PluginRegistry;
use crate::shell::journal::Journal;
use crate::store::{FileStore, StoreConfig, Versioned, in_words};

/// Look at what the service has in its state store. Where none runs, the store itself is read: name the configuration with --config
/// if it is not in the state dir. Nothing is changed.
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
                Err(error @ ClientError::NotRunning { .. }) => match Place::of(&whom, registry) {
                    Ok(Some(place)) => self.without_a_service(&place, &error).await,
                    Ok(None) => super::refused(&error),
                    Err(why) => fail(&why),
                },
                Err(error) => super::refused(&error),
            }
        })
    }

    async fn without_a_service(&self, place: &Place, nobody: &ClientError) -> ExitCode {
        let found = place.store.peek(&place.cluster, &place.state_dir.join("store")).await;
        let text = match found.and_then(|found| self.text_of(&found)) {
            Ok(text) => text,
            Err(why) => return fail(&format!("{nobody}, and of the state store: {why}")),
        };
        // Where standard error is closed there is nobody to tell.
        let _ = writeln!(io::stderr(), "doctorkafka: {nobody}: this is what the state store has");
        print(&text)
    }

    fn text_of(&self, found: &BTreeMap<String, Versioned>) -> Result<String, String> {
        match self {
            Self { what: What::List { prefix, json, .. } } => {
                let keys = found.iter().filter(|(key, _)| key.starts_with(prefix.as_str()));
                let keys: Vec<StoredKey> = keys.map(|(key, stored)| StoredKey::of(key, stored)).collect();
                Ok(if *json { pretty(&keys) } else { table(&keys) })
            }
            Self { what: What::Get { key, json, .. } } => {
                let stored = found.get(key).ok_or_else(|| format!("there is no {key:?} in it"))?;
                let found = StoredValue::of(key, stored);
                Ok(if *json { pretty(&found) } else { pretty(&found.value) })
            }
        }
    }

    async fn text(&self, client: &Client, cluster: Option<&str>) -> Result<String, ClientError> {
        let cluster = client.cluster(cluster).await?;
        let at = |name: &str, value: &str| format!("/v1/clusters/{cluster}/state?{name}={}", encoded(value));
        match &self.what {
            What::List { prefix, json, .. } => {
                let keys: Vec<StoredKey> = client.get(&at("prefix", prefix)).await?;
                Ok(if *json { pretty(&keys) } else { table(&keys) })
            }
            What::Get { key, json, .. } => {
                let found: StoredValue = client.get(&at("key", key)).await?;
                Ok(if *json { pretty(&found) } else { pretty(&found.value) })
            }
        }
    }
}

/// Where the state of a cluster is whose service does not run.
struct Place {
    state_dir: PathBuf,
    store: StoreConfig,
    cluster: String,
}

impl Place {
    /// Nothing where there is no state of any service.
    fn of(whom: &Whom, registry: &PluginRegistry) -> Result<Option<Self>, String> {
        let (state_dir, store, names) = match &whom.config {
            Some(file) => {
                let loaded = config::load(file, registry);
                let Some(config) = loaded.config else { return Err(loaded.report.render(false)) };
                let names = config.clusters.iter().map(|cluster| cluster.name.to_string()).collect();
                (config.service.state_dir, config.service.state_store, names)
            }
            None => {
                let state_dir = whom.state_dir.clone().unwrap_or_else(|| PathBuf::from(STATE_DIR));
                if !state_dir.join("store").is_dir() {
                    return Ok(None);
                }
                let names = names_in(&state_dir)?;
                (state_dir, StoreConfig::File, names)
            }
        };
        let cluster = match (&whom.cluster, names.as_slice()) {
            (Some(wanted), _) => wanted.clone(),
            (None, [only]) => only.clone(),
            (None, []) => {
                let dir = state_dir.display();
                return Err(format!(
                    "{dir} has no cluster's state; if it is kept elsewhere, name the configuration with --config"
                ));
            }
            (None, _) => {
                return Err(format!(
                    "there are several clusters, name one with --cluster: {}",
                    names.join(", ")
                ));
            }
        };
        Ok(Some(Self { state_dir, store, cluster }))
    }
}

/// The clusters whose state is in the state dir itself.
fn names_in(state_dir: &Path) -> Result<Vec<String>, String> {
    let found = FileStore::peek(&state_dir.join("store"), "").map_err(|error| in_words(&error))?;
    let mut names: Vec<String> =
        found.keys().filter_map(|key| Journal::cluster_of(key)).map(str::to_owned).collect();
    names.dedup();
    Ok(names)
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
