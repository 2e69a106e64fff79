//! The load model in the state store: a restart need not read a day of reports again.
//!
//! A checkpoint is written in chunks under names of its own, and then the head is pointed to it; so at any time the head names
//! a whole one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use control::load::LoadModel;
use serde::{Deserialize, Serialize};

use super::BrokerStatsConfig;
use super::gathered::Gathered;
use crate::plugin::BuildContext;
use crate::plugins::task::Task;
use crate::store::{StateStore, StoreError, in_words};

/// The version of the head and of the chunks.
const VERSION: u32 = 1;
/// Of two checkpoints one is whole while the other is written.
const GENERATIONS: u64 = 2;

/// What was in the store.
#[derive(Clone, Debug, Default)]
pub(super) struct Saved {
    /// Where to go on, by partition of the topic.
    pub(super) offsets: BTreeMap<i32, i64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    version: u32,
    generation: u64,
    chunks: usize,
    topic: String,
    /// When it was written, in milliseconds since 1970.
    saved: i64,
    offsets: BTreeMap<i32, i64>,
    /// When each broker's last report was made.
    reports: BTreeMap<i32, i64>,
    /// How far apart each broker's reports are, in milliseconds, where that is known.
    #[serde(default)]
    intervals: BTreeMap<i32, u64>,
    /// The cluster that it is about.
    cluster_id: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Chunk {
    version: u32,
    data: String,
}

/// The checkpoints of one monitor.
#[derive(Clone)]
pub(super) struct Checkpoints {
    context: BuildContext,
    config: BrokerStatsConfig,
    prefix: String,
}

impl Checkpoints {
    pub(super) fn new(context: &BuildContext, config: &BrokerStatsConfig) -> Self {
        let prefix = format!("loads/{}/{}", context.cluster, context.name);
        Self { context: context.clone(), config: config.clone(), prefix }
    }

    /// Takes what the store has into the model. What it has not, or cannot give, is read back from the topic.
    pub(super) async fn load(&self, gathered: &Mutex<Gathered>) -> Saved {
        let loaded = match self.read().await {
            Ok(loaded) => loaded,
            Err(why) => {
                tracing::warn!(cluster = %self.context.cluster, error = %why,
                    "what was remembered of loads cannot be used, reports are read back from the topic");
                None
            }
        };
        let Some((model, head)) = loaded else { return Saved::default() };
        tracing::info!(cluster = %self.context.cluster, partitions = model.len(), "loads are remembered");
        let mut gathered = gathered.lock().unwrap_or_else(PoisonError::into_inner);
        if gathered.cluster_id.as_deref() != head.cluster_id.as_deref() && gathered.cluster_id.is_some() {
            tracing::warn!(cluster = %self.context.cluster, "what is remembered of loads is of another cluster");
            return Saved::default();
        }
        gathered.model = model;
        gathered.remember(&head.reports, &head.intervals, self.context.clock.now());
        Saved { offsets: head.offsets }
    }

    async fn read(&self) -> Result<Option<(LoadModel, Head)>, String> {
        let Some(head) = self.get::<Head>(&format!("{}/head", self.prefix)).await? else { return Ok(None) };
        let age = self.context.clock.now().wall.0.saturating_sub(head.saved);
        let too_old = u128::from(age.unsigned_abs()) >= self.config.backfill.0.as_millis();
        if head.version != VERSION || head.topic != self.config.topic || too_old {
            return Ok(None);
        }
        let mut chunks = Vec::new();
        for number in 0..head.chunks {
            let chunk = self.get::<Chunk>(&self.key(head.generation, number)).await?;
            let chunk = chunk.filter(|chunk| chunk.version == VERSION).ok_or("a part of it is missing")?;
            chunks.push(STANDARD.decode(&chunk.data).map_err(|error| error.to_string())?);
        }
        let (model, errors) = LoadModel::restore(self.config.load.clone(), chunks.iter().map(Vec::as_slice));
        match errors.first() {
            None => Ok(Some((model, head))),
            Some(error) => Err(error.to_string()),
        }
    }

    async fn get<T: for<'de> Deserialize<'de>>(&self, key: &str) -> Result<Option<T>, String> {
        let stored = self.context.store.get(key).await.map_err(|error| in_words(&error))?;
        let Some(stored) = stored else { return Ok(None) };
        serde_json::from_slice(&stored.value).map(Some).map_err(|error| error.to_string())
    }

    /// Writes a checkpoint every now and then for as long as the task is held.
    pub(super) fn keep_saving(&self, gathered: Arc<Mutex<Gathered>>) -> Task {
        let this = self.clone();
        Task::spawn(async move {
            let mut failing = false;
            loop {
                tokio::time::sleep(this.config.checkpoint.0.max(Duration::from_secs(1))).await;
                let result = this.save(&gathered).await;
                // A store that cannot be written is told by those who need it.
                if let Err(error) = &result
                    && !failing
                {
                    tracing::warn!(cluster = %this.context.cluster, error = %in_words(error),
                        "what is known of loads cannot be written down");
                }
                failing = result.is_err();
            }
        })
    }

    async fn save(&self, gathered: &Mutex<Gathered>) -> Result<(), StoreError> {
        // The model and how far it has read must be of one moment; the copy costs little, and what is made of it does not.
        let (model, offsets, reports, intervals, cluster_id) = {
            let gathered = gathered.lock().unwrap_or_else(PoisonError::into_inner);
            let places = gathered.partitions.iter().flatten();
            let started = places.filter(|(_, place)| place.started);
            let offsets: BTreeMap<i32, i64> = started.map(|(number, place)| (*number, place.next)).collect();
            let reports = gathered.brokers.iter().map(|(id, (report, _))| (id.0, report.made.0)).collect();
            let intervals = gathered.brokers.iter().filter_map(|(id, (report, _))| {
                Some((id.0, u64::try_from(report.interval?.as_millis()).ok()?))
            });
            let cluster_id = gathered.cluster_id.as_deref().map(str::to_owned);
            (gathered.model.clone(), offsets, reports, intervals.collect(), cluster_id)
        };
        let chunks = tokio::task::spawn_blocking(move || model.chunks()).await;
        // It ends early only where it panics, or with the process.
        let chunks = chunks.map_err(|error| StoreError::Write {
            key: self.prefix.clone(),
            at: "a task of its own".to_owned(),
            source: std::io::Error::other(error),
        })?;
        let store = &self.context.store;
        let name = format!("{}/head", self.prefix);
        let before: Option<Head> = self.get(&name).await.ok().flatten();
        let generation = before.map_or(0, |head| (head.generation + 1) % GENERATIONS);
        for (number, chunk) in chunks.iter().enumerate() {
            put(
                &**store,
                &self.key(generation, number),
                &Chunk { version: VERSION, data: STANDARD.encode(chunk) },
            )
            .await?;
        }
        let head = Head {
            version: VERSION,
            generation,
            chunks: chunks.len(),
            topic: self.config.topic.clone(),
            saved: self.context.clock.now().wall.0,
            offsets,
            reports,
            intervals,
            cluster_id,
        };
        put(&**store, &name, &head).await?;
        self.remove_others(generation, chunks.len()).await
    }

    /// What neither checkpoint needs any more is not left behind.
    async fn remove_others(&self, generation: u64, chunks: usize) -> Result<(), StoreError> {
        let store = &self.context.store;
        for key in store.list(&format!("{}/{generation}/", self.prefix)).await? {
            let number = key.rsplit('/').next().and_then(|number| number.parse::<usize>().ok());
            if number.is_none_or(|number| number >= chunks) {
                store.delete(&key).await?;
            }
        }
        Ok(())
    }

    fn key(&self, generation: u64, number: usize) -> String {
        format!("{}/{generation}/{number}", self.prefix)
    }
}

async fn put(store: &dyn StateStore, key: &str, value: &impl Serialize) -> Result<(), StoreError> {
    let value = serde_json::to_vec(value).unwrap_or_default();
    store.put(key, value).await.map(|_| ())
}
