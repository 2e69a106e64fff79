//! Each store that services can share, on the real thing: the suite that every store must pass, and the laws of the lease.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use doctorkafka::store::{ClusterStore, FileStore, Standing, StateStore, StoreConfig, StoreError};
use kafka::{ConnectionConfig, Kafka, Security};
use lab::Cluster;
use serde_json::json;

/// A service's part in a store: it can be opened again and again.
pub(crate) struct Service {
    folder: tempfile::TempDir,
    local: FileStore,
    config: StoreConfig,
    name: &'static str,
}

impl Service {
    pub(crate) fn new(name: &'static str, config: &StoreConfig) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let local = FileStore::open(folder.path())?;
        Ok(Self { folder, local, config: config.clone(), name })
    }

    pub(crate) fn open(&self, managed: &[(Arc<str>, Arc<dyn cluster::Reader>)]) -> Result<ClusterStore> {
        ensure!(self.folder.path().exists());
        let opened = self.config.open(&"prod".into(), &self.local, self.name, managed);
        opened.map_err(anyhow::Error::msg)
    }

    /// Opens it, and waits until it may write.
    pub(crate) async fn open_to_write(&self) -> Result<ClusterStore> {
        let opened = self.open(&[])?;
        holds(&opened, Duration::from_secs(40)).await?;
        Ok(opened)
    }
}

pub(crate) async fn holds(opened: &ClusterStore, within: Duration) -> Result<()> {
    let waiting = async {
        while !matches!(opened.lease.standing(), Standing::Holds(_)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let last = || format!("it never held the lease: {:?}", opened.lease.standing());
    tokio::time::timeout(within, waiting).await.with_context(last)
}

pub(crate) fn config(text: serde_json::Value) -> Result<StoreConfig> {
    Ok(serde_json::from_value(text)?)
}

#[test]
fn the_topic_keeps_what_is_written_and_lets_one_service_write() -> Result<()> {
    let cluster = Cluster::builder().brokers(3).start()?;
    let at = cluster.bootstrap();
    let store = |topic: &str, copies: i16| {
        config(
            json!({"type": "kafka", "bootstrap_servers": at, "topic": topic, "replication_factor": copies, "lease": "15s"}),
        )
    };
    let (suite, laws) = (store("suite", 3)?, store("laws", 3)?);
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        keeps_the_contract(&suite).await?;
        one_writes(&laws).await?;
        a_topic_that_is_not_fit_is_refused(&cluster, &store).await
    })
}

/// The suite that every store must pass.
#[allow(clippy::expect_used, reason = "a test may fail by panic")]
pub(crate) async fn keeps_the_contract(config: &StoreConfig) -> Result<()> {
    let service = Arc::new(Service::new("one", config)?);
    crate::conformance::check::<Arc<dyn StateStore>>(&mut || {
        let service = Arc::clone(&service);
        Box::pin(async move { service.open_to_write().await.expect("it can be opened").store })
    })
    .await;
    Ok(())
}

/// Waits until it has seen who holds the lease.
async fn looks_on(opened: &ClusterStore, whom: &str) -> Result<()> {
    let waiting = async {
        loop {
            match opened.lease.standing() {
                Standing::LooksOn { why } if why.contains(whom) => return,
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let last = || format!("it does not look on {whom}: {:?}", opened.lease.standing());
    tokio::time::timeout(Duration::from_secs(40), waiting).await.with_context(last)
}

/// What must hold of each store with a lease.
pub(crate) async fn one_writes(config: &StoreConfig) -> Result<()> {
    let (one, two) = (Service::new("one", config)?, Service::new("two", config)?);
    let first = one.open_to_write().await?;
    first.store.put("key", b"of one".to_vec()).await?;
    let second = two.open(&[])?;
    looks_on(&second, "the service one on").await?;
    let refused = second.store.put("key", b"of two".to_vec()).await;
    ensure!(matches!(refused, Err(StoreError::NotTheHolder { .. })), "{refused:?}");
    let read = second.store.get("key").await?.context("it reads what the holder wrote")?;
    ensure!(read.value == b"of one");

    // It is not renewed any more, as when its process was killed.
    drop(first);
    let began = std::time::Instant::now();
    holds(&second, Duration::from_secs(60)).await?;
    println!("taken over after {:.1?}", began.elapsed());
    let read = second.store.get("key").await?.context("nothing is lost")?;
    ensure!(read.value == b"of one");
    let version = second.store.compare_and_set("key", Some(read.version), b"of two".to_vec()).await?;

    // The first one is back. When the second gives the lease up it need not wait.
    let first = one.open(&[])?;
    looks_on(&first, "the service two on").await?;
    second.lease.release().await;
    ensure!(!matches!(second.lease.standing(), Standing::Holds(_)), "{:?}", second.lease.standing());
    holds(&first, Duration::from_secs(12)).await?;
    let read = first.store.get("key").await?.context("nothing is lost")?;
    ensure!((read.value.as_slice(), read.version) == (b"of two".as_slice(), version));
    let refused = second.store.put("key", b"too late".to_vec()).await;
    ensure!(refused.is_err(), "who gave the lease up has written");
    Ok(())
}

async fn a_topic_that_is_not_fit_is_refused(
    cluster: &Cluster,
    store: &impl Fn(&str, i16) -> Result<StoreConfig>,
) -> Result<()> {
    cluster.create_topic_with("kept-for-a-while", &[&[1, 2, 3]], &[])?;
    cluster.create_topic_with("in-two", &[&[1, 2, 3], &[2, 3, 1]], &[("cleanup.policy", "compact")])?;
    let bootstrap = kafka::parse_bootstrap(&cluster.bootstrap())?;
    let client = || -> Arc<dyn cluster::Reader> {
        let (security, client_id) = (Security::plaintext(), "test".to_owned());
        Arc::new(Kafka::new(ConnectionConfig { bootstrap: bootstrap.clone(), security, client_id }))
    };
    let managed: [(Arc<str>, Arc<dyn cluster::Reader>); 1] = [("prod".into(), client())];
    for (topic, copies, managed, expected) in [
        ("kept-for-a-while", 3, &managed[..], "must be compact"),
        ("in-two", 3, &managed[..], "must have one"),
        ("few-copies", 1, &managed[..], "which this service looks after"),
    ] {
        let service = Service::new("one", &store(topic, copies)?)?;
        let opened = service.open(managed)?;
        let waiting = async {
            loop {
                match opened.lease.standing() {
                    Standing::Unknown { why } => return why,
                    _ => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let why = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        let why = why.with_context(|| format!("{topic}: {:?}", opened.lease.standing()))?;
        ensure!(why.contains(expected), "{topic}: {why}");
        ensure!(opened.store.get("key").await.is_err(), "{topic}: what was not read is not empty");
    }
    // One copy is a person's own decision where nothing is looked after.
    Service::new("one", &store("few-copies", 1)?)?.open_to_write().await?;
    Ok(())
}
