//! The brokers of the cluster as last seen, in a file that outlasts the agent.
//!
//! After a reboot Kafka may recover its logs for an hour before it serves, and an agent that is told of its own broker alone would
//! reach nobody meanwhile: a host that lives would count as silent. The file has other brokers to ask.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cluster::{BrokerAddress, BrokerAnswer, BrokerId, ClusterId};
use kafka::parse_bootstrap;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::task::JoinHandle;
use tracing::{info, warn};

/// The name of the file.
const NAME: &str = "brokers.json";
/// What it is written as before it takes its place.
const NEW_NAME: &str = "brokers.json.new";
/// Brokers that are kept. All are asked at once; one that answers is enough.
const MOST_BROKERS: usize = 8;
/// The longest name of a host in the DNS, and more than any address.
const LONGEST_HOST: usize = 255;
/// What is read and written: the brokers take 2 KB at most, and a list of bootstrap servers is no longer than a file of options.
const MAX_BYTES: usize = 128 << 10;
/// How long a report waits for the file. A disk that hangs must not make the agent silent.
const WRITE_LIMIT: Duration = Duration::from_secs(1);

/// Brokers of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownBrokers {
    /// The cluster. Addresses change hands: who answers for another one is none of these.
    pub cluster: ClusterId,
    /// Their addresses.
    pub brokers: Vec<BrokerAddress>,
}

/// Why the file is of no use.
#[derive(Debug, Error)]
enum ReadError {
    #[error("reading it")]
    Read(#[from] io::Error),
    #[error("it is no plain file")]
    NoFile,
    #[error("it is longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("it is no JSON")]
    Json(#[from] serde_json::Error),
    #[error("{0} is missing in it, or is not what it should be")]
    Field(&'static str),
}

impl KnownBrokers {
    /// The others that `answer` names, from as many racks as there are, and then those that were known before: whoever is away at
    /// this moment may be all that is left later.
    pub fn others(answer: &BrokerAnswer, own: BrokerId, before: Option<&KnownBrokers>) -> KnownBrokers {
        let mut racks: BTreeMap<Option<&str>, VecDeque<&BrokerAddress>> = BTreeMap::new();
        for broker in answer.live.values().filter(|broker| broker.id != own) {
            racks.entry(broker.rack.as_deref()).or_default().push_back(&broker.address);
        }
        let mut found = Vec::new();
        while !racks.is_empty() {
            found.extend(racks.values_mut().filter_map(VecDeque::pop_front));
            racks.retain(|_, left| !left.is_empty());
        }
        let own = answer.live.get(&own).map(|broker| &broker.address);
        let before = before.filter(|before| before.cluster == answer.cluster_id);
        found.extend(before.iter().flat_map(|before| &before.brokers).filter(|at| Some(*at) != own));
        let mut met = BTreeSet::new();
        found.retain(|at| at.host.len() <= LONGEST_HOST && met.insert(*at));
        let brokers = found.into_iter().take(MOST_BROKERS).cloned().collect();
        KnownBrokers { cluster: answer.cluster_id.clone(), brokers }
    }
}

/// The file in the state directory.
pub struct Memory {
    dir: PathBuf,
    /// The bootstrap servers that led to the cluster: with others the agent may be of another one.
    bootstrap: BTreeSet<BrokerAddress>,
    /// What is in the file, as far as it is of use.
    saved: Option<KnownBrokers>,
    writing: Option<Writing>,
    is_failing: bool,
}

/// A write on its way. There is one at a time, however long it takes.
struct Writing {
    what: KnownBrokers,
    task: JoinHandle<io::Result<()>>,
}

impl Memory {
    /// Reads what is in `dir`, if it was written by an agent with the same bootstrap servers. A file that cannot be used is
    /// warned of, and overwritten later on.
    pub fn open(dir: &Path, bootstrap: &[BrokerAddress]) -> Memory {
        let bootstrap = bootstrap.iter().cloned().collect();
        let saved = read(&dir.join(NAME), &bootstrap).unwrap_or_else(|error| {
            let why = match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            };
            let file = dir.join(NAME);
            warn!(file = %file.display(), %why, "the file of known brokers cannot be used and is ignored");
            None
        });
        Memory { dir: dir.to_owned(), bootstrap, saved, writing: None, is_failing: false }
    }

    /// The brokers that were known to the agent before.
    pub fn brokers(&self) -> Option<&KnownBrokers> {
        self.saved.as_ref()
    }

    /// Writes `seen` to the file if that is not what it has. What goes wrong is logged when it begins and when it ends.
    pub async fn keep(&mut self, seen: &KnownBrokers) {
        self.look_after_writing().await;
        if self.writing.is_some() || seen.brokers.is_empty() || self.saved.as_ref() == Some(seen) {
            return;
        }
        let (dir, text) = (self.dir.clone(), encode(&self.bootstrap, seen));
        let task = tokio::task::spawn_blocking(move || write(&dir, text.as_bytes()));
        self.writing = Some(Writing { what: seen.clone(), task });
        self.look_after_writing().await;
    }

    async fn look_after_writing(&mut self) {
        let Some(mut writing) = self.writing.take() else { return };
        let why = match tokio::time::timeout(WRITE_LIMIT, &mut writing.task).await {
            Ok(Ok(Ok(()))) => {
                self.saved = Some(writing.what);
                if self.is_failing {
                    info!(dir = %self.dir.display(), "the brokers of the cluster are remembered again");
                }
                self.is_failing = false;
                return;
            }
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => {
                self.writing = Some(writing);
                format!("it takes longer than {} s", WRITE_LIMIT.as_secs())
            }
        };
        if !self.is_failing {
            warn!(dir = %self.dir.display(), %why, "the brokers of the cluster cannot be remembered: an agent that is started \
                while its own broker does not serve may reach nobody");
        }
        self.is_failing = true;
    }
}

fn encode(bootstrap: &BTreeSet<BrokerAddress>, known: &KnownBrokers) -> String {
    let list =
        |all: &mut dyn Iterator<Item = &BrokerAddress>| all.map(ToString::to_string).collect::<Vec<_>>();
    let value = json!({
        "bootstrapServers": list(&mut bootstrap.iter()),
        "clusterId": known.cluster.to_string(),
        "brokers": list(&mut known.brokers.iter()),
    });
    value.to_string() + "\n"
}

fn write(dir: &Path, text: &[u8]) -> io::Result<()> {
    if text.len() > MAX_BYTES {
        return Err(io::Error::other(format!("they would take more than {MAX_BYTES} bytes")));
    }
    fs::create_dir_all(dir)?;
    let new = dir.join(NEW_NAME);
    let attempt = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text)?;
        // What is renamed before it is on disk may be empty after a loss of power, for which all this is made.
        file.sync_all()?;
        fs::rename(&new, dir.join(NAME))?;
        File::open(dir)?.sync_all()
    };
    attempt().inspect_err(|_| {
        // What is left over would only take room on a disk that may be full.
        let _ = fs::remove_file(&new);
    })
}

/// What is in the file, where there is one and it is of these bootstrap servers.
fn read(file: &Path, bootstrap: &BTreeSet<BrokerAddress>) -> Result<Option<KnownBrokers>, ReadError> {
    match fs::metadata(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        // A pipe would be waited for.
        Ok(metadata) if !metadata.is_file() => return Err(ReadError::NoFile),
        metadata => metadata?,
    };
    let mut bytes = Vec::new();
    File::open(file)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    let (of, known) = decode(&bytes)?;
    Ok((of == *bootstrap).then_some(known))
}

fn decode(bytes: &[u8]) -> Result<(BTreeSet<BrokerAddress>, KnownBrokers), ReadError> {
    if bytes.len() > MAX_BYTES {
        return Err(ReadError::TooLong);
    }
    let value: Value = serde_json::from_slice(bytes)?;
    let addresses = |key| -> Result<Vec<BrokerAddress>, ReadError> {
        let mut addresses = Vec::new();
        for entry in value[key].as_array().ok_or(ReadError::Field(key))? {
            let parsed = entry.as_str().and_then(|entry| parse_bootstrap(entry).ok());
            addresses.extend(parsed.ok_or(ReadError::Field(key))?);
        }
        Ok(addresses)
    };
    let bootstrap = addresses("bootstrapServers")?.into_iter().collect();
    let mut brokers = addresses("brokers")?;
    brokers.truncate(MOST_BROKERS);
    let cluster = value["clusterId"].as_str().filter(|id| !id.is_empty());
    let cluster = ClusterId(cluster.ok_or(ReadError::Field("clusterId"))?.into());
    Ok((bootstrap, KnownBrokers { cluster, brokers }))
}

#[cfg(test)]
mod tests {
    use cluster::{Broker, Capabilities};
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> BrokerAddress {
        parse_bootstrap(text).unwrap().remove(0)
    }

    fn known(cluster: &str, brokers: &[&str]) -> KnownBrokers {
        let brokers = brokers.iter().map(|text| at(text)).collect();
        KnownBrokers { cluster: ClusterId(cluster.into()), brokers }
    }

    /// Brokers `b1:1`, `b2:2` and so on, in these racks.
    fn answer(racks: &[&str]) -> BrokerAnswer {
        let live = (1_i32..).zip(racks).map(|(id, rack)| {
            let (id, address) = (BrokerId(id), at(&format!("b{id}:{id}")));
            (id, Broker { id, address, rack: Some((*rack).into()) })
        });
        BrokerAnswer {
            cluster_id: ClusterId("c".into()),
            controller: None,
            live: live.collect(),
            fenced: BTreeMap::new(),
            capabilities: Capabilities::default(),
            took: Duration::ZERO,
        }
    }

    fn shown(known: &KnownBrokers) -> String {
        known.brokers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_others_are_kept_from_all_racks() {
        let answer = answer(&["a", "a", "a", "a", "a", "a", "a", "a", "a", "b", "c"]);
        let others = KnownBrokers::others(&answer, BrokerId(1), None);
        assert_eq!(shown(&others), "b2:2 b10:10 b11:11 b3:3 b4:4 b5:5 b6:6 b7:7");
    }

    #[test]
    fn who_is_away_is_still_known_and_a_stranger_never_was() {
        let answer = answer(&["a", "b"]);
        let before = known("c", &["b2:2", "b3:3", "b1:1"]);
        assert_eq!(shown(&KnownBrokers::others(&answer, BrokerId(1), Some(&before))), "b2:2 b3:3");
        let stranger = known("other", &["b3:3"]);
        assert_eq!(shown(&KnownBrokers::others(&answer, BrokerId(1), Some(&stranger))), "b2:2");
    }

    #[tokio::test]
    async fn what_was_seen_is_known_to_the_next_agent_with_the_same_bootstrap_servers() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("a/b");
        let mut memory = Memory::open(&dir, &[at("localhost:1"), at("x:2")]);
        assert_eq!(memory.brokers(), None);
        memory.keep(&known("c", &[])).await;
        assert!(!dir.exists(), "there is nothing to keep");
        for brokers in [&["b2:2"][..], &["[::1]:2", "b3:3"]] {
            memory.keep(&known("c", brokers)).await;
            let next = Memory::open(&dir, &[at("x:2"), at("localhost:1")]);
            assert_eq!(next.brokers(), Some(&known("c", brokers)));
        }
        assert_eq!(Memory::open(&dir, &[at("localhost:1")]).brokers(), None);
        let names: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [NAME]);
        // What it has is not written again.
        fs::remove_file(dir.join(NAME)).unwrap();
        memory.keep(&known("c", &["[::1]:2", "b3:3"])).await;
        assert!(!dir.join(NAME).exists());
    }

    #[tokio::test]
    async fn a_file_that_is_damaged_is_ignored_and_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(NAME);
        for text in ["", "{", "[]", "{\"bootstrapServers\":[],\"brokers\":[7],\"clusterId\":\"c\"}"] {
            fs::write(&file, text).unwrap();
            let mut memory = Memory::open(folder.path(), &[at("x:1")]);
            assert_eq!(memory.brokers(), None, "{text}");
            memory.keep(&known("c", &["b2:2"])).await;
            assert!(Memory::open(folder.path(), &[at("x:1")]).brokers().is_some());
        }
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(matches!(read(&file, &BTreeSet::new()), Err(ReadError::NoFile)));
        assert!(matches!(decode(&vec![b' '; MAX_BYTES + 1]), Err(ReadError::TooLong)));
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_written_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("state");
        fs::write(&dir, "no directory").unwrap();
        let (mut memory, seen) = (Memory::open(&dir, &[at("x:1")]), known("c", &["b2:2"]));
        memory.keep(&seen).await;
        assert!(memory.is_failing && memory.brokers().is_none());
        fs::remove_file(&dir).unwrap();
        memory.keep(&seen).await;
        assert!(!memory.is_failing);
        assert_eq!(Memory::open(&dir, &[at("x:1")]).brokers(), Some(&seen));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn a_file_with_bytes_that_are_other_ones_is_read_without_harm(
            at in 0_usize..90, byte in any::<u8>(), length in 0_usize..120
        ) {
            let known = known("cluster", &["b2:2", "[::1]:3"]);
            let mut bytes = encode(&BTreeSet::from([self::at("localhost:9092")]), &known).into_bytes();
            if let Some(old) = bytes.get_mut(at) {
                *old = byte;
            }
            bytes.truncate(length);
            if let Ok((_, read)) = decode(&bytes) {
                prop_assert!(read.brokers.len() <= MOST_BROKERS && !read.cluster.0.is_empty());
            }
        }
    }
}
