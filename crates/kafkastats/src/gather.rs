//! Reads a [`View`] of one broker through the cluster traits.
//!
//! What the report cannot do without (the broker's answer, its topics) ends the gathering with an error; what it can do
//! without is left out and named in [`View::lacking`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use brokerstats::{BrokerError, BrokerStats};
use cluster::{
    Broker, BrokerAddress, BrokerAnswer, BrokerId, ClientError, ClusterId, ConfigResource, LogReader,
    OffsetAt, Reader, TopicName, TopicPartition,
};
use thiserror::Error;
use tokio::task::JoinSet;
use tracing::info;

use crate::memory::KnownBrokers;
use crate::view::{Offsets, View};

/// How long a broker may take to say who is in the cluster.
const ASK_LIMIT: Duration = Duration::from_secs(5);
/// How long a whole gathering may take. A broker with some thousand partitions answers in well under a second.
const GATHER_LIMIT: Duration = Duration::from_secs(45);
/// How many addresses are tried to find the broker, so that a row of dead ones cannot eat the interval.
const MAX_TRIES: usize = 6;
/// How old a topic's cleanup policy may get. Compaction is switched on for a topic once in its life, if at all.
const POLICIES_AGE: Duration = Duration::from_secs(300);
/// Topics in one request for their configuration.
const POLICIES_AT_ONCE: usize = 500;
const CLEANUP_POLICY: &str = "cleanup.policy";
/// Brokers older than Kafka 3.6 do not know it and leave it out.
const REMOTE_STORAGE: &str = "remote.storage.enable";

/// Why there is no view.
#[derive(Debug, Error)]
pub enum GatherError {
    /// No broker of the cluster told where ours is.
    #[error("{}", if broker.0 < 0 { "asking the cluster".to_owned() } else { format!("looking for broker {broker} in the cluster") })]
    Find {
        /// The broker that was looked for; below zero if it is not known which one is meant.
        broker: BrokerId,
        /// What the last address that was tried said.
        source: ClientError,
    },
    /// The cluster answers, but does not count the broker among the live ones.
    #[error("broker {broker} is not among the live brokers {live:?}")]
    NotAlive {
        /// The broker that was looked for.
        broker: BrokerId,
        /// Those that are alive.
        live: Vec<i32>,
    },
    /// What answers belongs to another cluster than before: addresses were given to others.
    #[error("the cluster is {found}, and was {before}")]
    OtherCluster {
        /// The cluster that was measured so far.
        before: ClusterId,
        /// The cluster that answers.
        found: ClusterId,
    },
    /// The broker did not answer.
    #[error("asking broker {broker} at {at}")]
    Ask {
        /// The broker.
        broker: BrokerId,
        /// Its advertised listener.
        at: BrokerAddress,
        /// Why.
        source: ClientError,
    },
    /// Neither the broker answered nor another one.
    #[error("broker {broker} does not answer ({own}), nor does another broker of the cluster")]
    NoneAnswers {
        /// The broker.
        broker: BrokerId,
        /// Why the broker did not answer, in words.
        own: String,
        /// What the last other one that was tried said.
        source: ClientError,
    },
    /// The broker did not list its topics.
    #[error("listing the topics of broker {broker}")]
    Topics {
        /// The broker.
        broker: BrokerId,
        /// Why.
        source: ClientError,
    },
    /// The answers did not come in time.
    #[error("reading broker {broker} took longer than {} s", GATHER_LIMIT.as_secs())]
    TooSlow {
        /// The broker.
        broker: BrokerId,
    },
    /// The broker's properties, which should say which broker is meant, do not.
    #[error("{why}")]
    Properties {
        /// Why not.
        why: String,
    },
    /// It is not said which broker is meant, and it cannot be told.
    #[error("which broker is meant? The cluster has {live:?}: name one with --broker-id")]
    WhichBroker {
        /// Those that are alive.
        live: Vec<i32>,
    },
}

impl GatherError {
    /// The original's name for it.
    pub fn reason(&self) -> BrokerError {
        match self {
            Self::Find { .. } | Self::NotAlive { .. } | Self::Ask { .. } | Self::NoneAnswers { .. } => {
                BrokerError::JmxConnectionFailure
            }
            Self::Topics { .. } | Self::TooSlow { .. } => BrokerError::JmxQueryFailure,
            Self::Properties { .. } => BrokerError::KafkaServerPropertiesFailure,
            Self::OtherCluster { .. } | Self::WhichBroker { .. } => BrokerError::UnknownError,
        }
    }

    /// The error with its cause, in one line.
    pub fn in_words(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }
}

/// Reads views of one broker.
pub struct Gatherer {
    reader: Arc<dyn Reader>,
    logs: Arc<dyn LogReader>,
    broker: BrokerId,
    began: Instant,
    /// The broker and its cluster as last seen.
    known: Option<(Broker, ClusterId)>,
    /// Where else in the cluster one can ask.
    others: Vec<BrokerAddress>,
    /// Whom to ask where no bootstrap server answers, until one has: it says which cluster is meant.
    remembered: Option<KnownBrokers>,
    /// Whom to ask after a restart.
    seen: Option<KnownBrokers>,
    /// Since when another cluster answers.
    elsewhere: Option<Instant>,
    policies: Policies,
}

#[derive(Default)]
struct Policies {
    compacted: BTreeMap<TopicName, bool>,
    tiered: BTreeSet<TopicName>,
    asked: Option<Instant>,
    problem: Option<String>,
}

impl Gatherer {
    /// One that reads `broker` through `reader` and `logs`.
    pub fn new(reader: Arc<dyn Reader>, logs: Arc<dyn LogReader>, broker: BrokerId) -> Gatherer {
        Gatherer {
            reader,
            logs,
            broker,
            began: Instant::now(),
            known: None,
            others: Vec::new(),
            remembered: None,
            seen: None,
            elsewhere: None,
            policies: Policies::default(),
        }
    }

    /// Takes in brokers that were there before, to be asked as long as no bootstrap server has answered.
    pub fn remember(&mut self, brokers: Option<KnownBrokers>) {
        self.remembered = brokers;
    }

    /// The other brokers of the cluster as last seen.
    pub fn seen(&self) -> Option<&KnownBrokers> {
        self.seen.as_ref()
    }

    /// The broker; below zero while it is not known which it is.
    pub fn broker(&self) -> BrokerId {
        self.broker
    }

    /// Reads another broker from here on.
    pub fn measure_instead(&mut self, broker: BrokerId) {
        self.broker = broker;
        self.known = None;
    }

    /// The broker's advertised listener as last seen.
    pub fn address(&self) -> Option<&BrokerAddress> {
        self.known.as_ref().map(|(broker, _)| &broker.address)
    }

    /// Reads the broker.
    ///
    /// # Errors
    /// See [`GatherError`].
    pub async fn gather(&mut self) -> Result<View, GatherError> {
        let broker = self.broker;
        match tokio::time::timeout(GATHER_LIMIT, self.gather_all()).await {
            Ok(gathered) => gathered,
            Err(_) => Err(GatherError::TooSlow { broker }),
        }
    }

    /// The report that says that there is none, with what is known of the broker from before.
    pub fn failure(&self, error: &GatherError) -> BrokerStats {
        let mut stats = BrokerStats::new(wall_clock_ms(), self.broker.0);
        stats.stats_version = Some(env!("CARGO_PKG_VERSION").to_owned());
        stats.has_failure = true;
        stats.failure_reason = Some(error.reason());
        stats.failure_detail = Some(error.in_words());
        // The original's service drops reports without a name. Whose properties we are told to read runs here.
        if matches!(error, GatherError::Properties { .. }) {
            stats.name = Some(rustix::system::uname().nodename().to_string_lossy().into_owned());
        }
        if let Some((broker, cluster)) = &self.known {
            stats.name = Some(broker.address.host.to_string());
            stats.rack_id = broker.rack.as_deref().map(str::to_owned);
            stats.cluster_id = Some(cluster.to_string());
        } else if let Some(seen) = &self.seen {
            stats.cluster_id = Some(seen.cluster.to_string());
        }
        stats
    }

    async fn gather_all(&mut self) -> Result<View, GatherError> {
        let (broker, cluster_id) = self.find().await?;
        let (topics, incarnations) = self
            .reader
            .incarnations(&broker.address)
            .await
            .map_err(|source| GatherError::Topics { broker: broker.id, source })?;
        let mut led = Vec::new();
        let mut led_topics = BTreeSet::new();
        for (name, topic) in &topics {
            for (number, partition) in (0_i32..).zip(&topic.partitions) {
                if partition.leader == Some(broker.id) {
                    led.push(TopicPartition::new(TopicName::clone(name), number));
                    led_topics.insert(TopicName::clone(name));
                }
            }
        }
        let mut lacking = Vec::new();
        let (compacted, tiered) = self.policies.get(&*self.reader, &led_topics, &mut lacking).await;
        let reassignments = self.reader.reassignments().await;
        let reassignments = keep(reassignments, "reassignments", &mut lacking);

        let at_broker = &broker.address;
        let starts_before =
            self.offsets(at_broker, &led, OffsetAt::Start, "start offsets", &mut lacking).await;
        let asked = self.began.elapsed();
        let mut dirs = self.reader.log_dirs(std::slice::from_ref(&broker)).await;
        let at = (asked + self.began.elapsed()) / 2;
        let timestamp_ms = wall_clock_ms();
        let dirs = dirs.remove(&broker.id).unwrap_or_else(|| {
            Err(ClientError::Malformed { doing: "describing log directories", why: "no answer".to_owned() })
        });
        let log_dirs = keep(dirs, "log directories", &mut lacking);
        let starts_after =
            self.offsets(at_broker, &led, OffsetAt::Start, "start offsets", &mut lacking).await;
        let ends = self.offsets(at_broker, &led, OffsetAt::End, "end offsets", &mut lacking).await;

        let offsets = merge(led, [starts_before, starts_after, ends]);
        lacking.dedup();
        Ok(View {
            at,
            timestamp_ms,
            cluster_id,
            broker,
            topics,
            incarnations,
            reassignments,
            log_dirs,
            offsets,
            compacted,
            tiered,
            lacking,
        })
    }

    /// The broker as it describes itself: asked at its own listener, wherever that has moved to.
    async fn find(&mut self) -> Result<(Broker, ClusterId), GatherError> {
        let own = self.known.as_ref().map(|(broker, _)| broker.address.clone());
        let (asked_at, answer) = match &own {
            _ if self.remembered.is_some() => self.ask_bootstrap_or_remembered().await?,
            Some(at) => match self.reader.ask(at, ASK_LIMIT).await {
                Ok(answer) => (at.clone(), answer),
                Err(own) => self.ask_another(at, own).await?,
            },
            None => ask_first(&*self.reader, &self.candidates())
                .await
                .map_err(|source| GatherError::Find { broker: self.broker, source })?,
        };
        if let Some((_, before)) = &self.known
            && *before != answer.cluster_id
        {
            self.elsewhere.get_or_insert_with(Instant::now);
            return Err(GatherError::OtherCluster { before: before.clone(), found: answer.cluster_id });
        }
        self.elsewhere = None;
        self.others = answer.live.values().map(|other| other.address.clone()).collect();
        let before = self.remembered.as_ref().or(self.seen.as_ref());
        let seen = KnownBrokers::others(&answer, self.broker, before);
        if self.remembered.is_some() {
            self.remembered = Some(seen.clone());
        }
        self.seen = Some(seen);
        let Some(broker) = answer.live.get(&self.broker).cloned() else {
            let live = answer.live.keys().map(|id| id.0).collect();
            return Err(GatherError::NotAlive { broker: self.broker, live });
        };
        self.known = Some((broker.clone(), answer.cluster_id.clone()));
        if broker.address != asked_at {
            self.reader.ask(&broker.address, ASK_LIMIT).await.map_err(|source| GatherError::Ask {
                broker: broker.id,
                at: broker.address.clone(),
                source,
            })?;
        }
        Ok((broker, answer.cluster_id))
    }

    /// As long as no bootstrap server has answered, what is remembered may be of a cluster that this host has left: they are asked
    /// first each time.
    async fn ask_bootstrap_or_remembered(&mut self) -> Result<(BrokerAddress, BrokerAnswer), GatherError> {
        match ask_first(&*self.reader, &self.reader.bootstrap()).await {
            Ok((at, answer)) => {
                self.settle(&answer.cluster_id);
                Ok((at, answer))
            }
            Err(source) => {
                let remembered = self.ask_remembered().await;
                remembered.ok_or(GatherError::Find { broker: self.broker, source })
            }
        }
    }

    /// A bootstrap server says that it is this cluster.
    fn settle(&mut self, cluster: &ClusterId) {
        self.seen = self.remembered.take().filter(|remembered| remembered.cluster == *cluster);
        if self.known.as_ref().is_some_and(|(_, before)| before != cluster) {
            self.known = None;
        }
        // What is written to those that were remembered must not go on to another cluster.
        if self.reader.expected_cluster().is_some() {
            self.reader.expect_cluster(Some(cluster));
        }
    }

    /// Asks all of them at once, as many may be gone: the first answer for their cluster.
    async fn ask_remembered(&self) -> Option<(BrokerAddress, BrokerAnswer)> {
        let KnownBrokers { cluster, brokers } = self.remembered.as_ref()?;
        let is_first = self.reader.expected_cluster().is_none();
        // Before they are asked: the way to the cluster, which publishing takes too, learns of its brokers only from those who
        // answer for the cluster that is expected.
        self.reader.expect_cluster(Some(cluster));
        let own = self.address().cloned();
        let mut asking = JoinSet::new();
        for at in brokers.iter().cloned().chain(own) {
            let reader = Arc::clone(&self.reader);
            asking.spawn(async move {
                let answer = reader.ask(&at, ASK_LIMIT).await;
                answer.map(|answer| (at, answer))
            });
        }
        while let Some(asked) = asking.join_next().await {
            let Ok(Ok((at, answer))) = asked else { continue };
            if answer.cluster_id == *cluster {
                if is_first {
                    info!(%at, %cluster, "no bootstrap server answers, but a broker that is remembered does");
                }
                return Some((at, answer));
            }
        }
        if is_first {
            self.reader.expect_cluster(None);
        }
        None
    }

    /// Asks other brokers where ours is, which did not answer where it was: it may have moved.
    async fn ask_another(
        &self,
        at: &BrokerAddress,
        own: ClientError,
    ) -> Result<(BrokerAddress, BrokerAnswer), GatherError> {
        let (broker, at) = (self.broker, at.clone());
        let mut others = self.candidates();
        others.retain(|other| *other != at);
        if others.is_empty() {
            return Err(GatherError::Ask { broker, at, source: own });
        }
        let asked = ask_first(&*self.reader, &others).await;
        asked.map_err(|source| GatherError::NoneAnswers { broker, own: own.to_string(), source })
    }

    /// Those that were there last and the bootstrap servers in turn: all of the former may have moved.
    fn candidates(&self) -> Vec<BrokerAddress> {
        let (mut others, mut bootstrap) = (self.others.iter().cloned(), self.reader.bootstrap().into_iter());
        let mut candidates = Vec::new();
        loop {
            let next = [others.next(), bootstrap.next()];
            if next.iter().all(Option::is_none) {
                return candidates;
            }
            candidates.extend(next.into_iter().flatten());
        }
    }

    /// For how long another cluster than before has answered.
    pub(crate) fn elsewhere_for(&self) -> Duration {
        self.elsewhere.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// Offsets of `led`. Partitions without one are counted as lacking, together and with one reason.
    async fn offsets(
        &self,
        broker: &BrokerAddress,
        led: &[TopicPartition],
        which: OffsetAt,
        what: &str,
        lacking: &mut Vec<String>,
    ) -> BTreeMap<TopicPartition, i64> {
        if led.is_empty() {
            return BTreeMap::new();
        }
        let (mut failed, mut why) = (0, None);
        let found = self.logs.offsets_at(broker, led, which).await;
        let known = found.into_iter().filter_map(|(at, offset)| match offset {
            Ok(offset) => Some((at, offset)),
            Err(error) => {
                failed += 1;
                why = Some(error);
                None
            }
        });
        let known = known.collect();
        if let Some(why) = why {
            lacking.push(format!("{what} of {failed} of {} partitions: {why}", led.len()));
        }
        known
    }
}

impl Policies {
    /// Whether each of `topics` is compacted, as far as it can be known, and which have segments in remote storage.
    async fn get(
        &mut self,
        reader: &dyn Reader,
        topics: &BTreeSet<TopicName>,
        lacking: &mut Vec<String>,
    ) -> (BTreeMap<TopicName, bool>, BTreeSet<TopicName>) {
        self.compacted.retain(|topic, _| topics.contains(topic));
        self.tiered.retain(|topic| topics.contains(topic));
        let is_due = self.asked.is_none_or(|asked| asked.elapsed() >= POLICIES_AGE);
        // After a refusal (an ACL that is missing) the question is put again only when it is due.
        let wanted: Vec<ConfigResource> = topics
            .iter()
            .filter(|topic| is_due || (self.problem.is_none() && !self.compacted.contains_key(*topic)))
            .map(|topic| ConfigResource::Topic(TopicName::clone(topic)))
            .collect();
        if is_due {
            self.asked = Some(Instant::now());
            self.problem = None;
        }
        for some in wanted.chunks(POLICIES_AT_ONCE) {
            for (resource, read) in reader.configs(some, &[CLEANUP_POLICY, REMOTE_STORAGE]).await {
                match (resource, read) {
                    (ConfigResource::Topic(topic), Ok(values)) => {
                        match values.get(REMOTE_STORAGE).map(String::as_str) {
                            Some("true") => self.tiered.insert(TopicName::clone(&topic)),
                            _ => self.tiered.remove(&topic),
                        };
                        let Some(policy) = values.get(CLEANUP_POLICY) else { continue };
                        self.compacted.insert(topic, policy.split(',').any(|word| word.trim() == "compact"));
                    }
                    // It was deleted since it was listed.
                    (_, Ok(_) | Err(ClientError::UnknownTopic { .. })) => {}
                    (_, Err(error)) => self.problem = Some(format!("cleanup policies: {error}")),
                }
            }
            if self.problem.is_some() {
                break;
            }
        }
        lacking.extend(self.problem.clone());
        (self.compacted.clone(), self.tiered.clone())
    }
}

/// Which broker is meant where none is named: the one that listens at a bootstrap address, or the only one there is. Where
/// several listen at such addresses, as in a file that is the same on all hosts, none of them is meant more than another.
///
/// # Errors
/// [`GatherError::WhichBroker`] when neither tells, [`GatherError::Find`] when nobody answers.
pub async fn broker_at_bootstrap(reader: &dyn Reader) -> Result<BrokerId, GatherError> {
    let bootstrap = reader.bootstrap();
    let (_, answer) = ask_first(reader, &bootstrap)
        .await
        .map_err(|source| GatherError::Find { broker: BrokerId(-1), source })?;
    let live = answer.live.values();
    let named: Vec<BrokerId> =
        live.filter(|broker| bootstrap.contains(&broker.address)).map(|broker| broker.id).collect();
    let all: Vec<BrokerId> = answer.live.keys().copied().collect();
    match (named.as_slice(), all.as_slice()) {
        ([one], _) | ([], [one]) => Ok(*one),
        _ => Err(GatherError::WhichBroker { live: all.iter().map(|id| id.0).collect() }),
    }
}

/// Asks the addresses in turn; the answer of the first that gives one, or the last error.
pub(crate) async fn ask_first(
    reader: &dyn Reader,
    candidates: &[BrokerAddress],
) -> Result<(BrokerAddress, BrokerAnswer), ClientError> {
    let mut tried = BTreeSet::new();
    let mut last =
        ClientError::Unreachable { at: "the cluster".to_owned(), why: "no address is known".to_owned() };
    for at in candidates {
        if tried.len() >= MAX_TRIES {
            break;
        }
        if !tried.insert(at) {
            continue;
        }
        match reader.ask(at, ASK_LIMIT).await {
            Ok(answer) => return Ok((at.clone(), answer)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The offsets of `led`, which is in order as the maps are: nothing has to be looked up.
fn merge(
    led: Vec<TopicPartition>,
    known: [BTreeMap<TopicPartition, i64>; 3],
) -> BTreeMap<TopicPartition, Offsets> {
    let mut known = known.map(|of| of.into_iter().peekable());
    let offsets = led.into_iter().map(|at| {
        let [start_before, start_after, end] = known.each_mut().map(|of| {
            while of.next_if(|(known, _)| *known < at).is_some() {}
            of.next_if(|(known, _)| *known == at).map(|(_, offset)| offset)
        });
        (at, Offsets { start_before, start_after, end })
    });
    offsets.collect()
}

fn keep<T>(read: Result<T, ClientError>, what: &str, lacking: &mut Vec<String>) -> Option<T> {
    match read {
        Ok(value) => Some(value),
        Err(error) => {
            lacking.push(format!("{what}: {error}"));
            None
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn wall_clock_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_of_one_partition_is_not_another_s() {
        let at = |number| TopicPartition::new("t", number);
        let known =
            |numbers: &[i32]| numbers.iter().map(|number| (at(*number), i64::from(*number))).collect();
        let merged = merge((0..4).map(at).collect(), [known(&[0, 1, 2, 3]), known(&[-1, 1, 3]), known(&[])]);
        let merged: Vec<_> =
            merged.into_values().map(|of| (of.start_before, of.start_after, of.end)).collect();
        assert_eq!(
            merged,
            [
                (Some(0), None, None),
                (Some(1), Some(1), None),
                (Some(2), None, None),
                (Some(3), Some(3), None)
            ]
        );
    }
}
