//! Measures at every interval and hands the reports over, until told to stop.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brokerstats::{BrokerError, BrokerStats};
use cluster::BrokerId;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::gather::{GatherError, Gatherer};
use crate::host::HostSource;
use crate::host::properties::Properties;
use crate::host::source::Problem;
use crate::jvm::{Figures, Identity, Outcome, Source};
use crate::measure::Measurer;
use crate::memory::Memory;
use crate::publish::{Outbox, Publisher};
use crate::status::Status;

/// How long what waits may take to be sent at the end. Together with the rest it keeps a stop under five seconds.
const LAST_SEND: Duration = Duration::from_secs(3);

/// Reads one broker and makes reports.
pub struct Agent {
    gatherer: Gatherer,
    measurer: Measurer,
    host: Option<HostSource>,
    jvm: Option<Jvm>,
    properties: Option<PathBuf>,
    memory: Option<Memory>,
    /// What the last report said was wrong, and how many reports in a row had something wrong: it is logged when it
    /// changes, not every minute.
    trouble: Option<String>,
    troubled: u32,
}

/// The way to the figures of the broker's JVM.
struct Jvm {
    source: Source,
    figures: Figures,
    began: Instant,
    is_asked_for: bool,
    /// What was last logged of it.
    told: Option<&'static str>,
}

impl Jvm {
    /// Puts the figures into the report. Tells what is wrong.
    async fn put(&mut self, stats: &mut BrokerStats, cluster: &str) -> Vec<Problem> {
        let broker = Identity { cluster: cluster.to_owned(), broker: stats.id };
        let asked = self.began.elapsed();
        let held = [stats.leader_replicas.as_slice(), stats.follower_replicas.as_slice()];
        let Outcome { found, problems, was_reached } = self.source.read(&broker, held).await;
        let at = (asked + self.began.elapsed()) / 2;
        let way = found.as_ref().map_or("none", |found| found.way);
        if self.told.replace(way) != Some(way) {
            let why_not = problems.join("; ");
            let known_by = found.as_ref().map(|found| found.proof.to_string()).unwrap_or_default();
            info!(broker = stats.id, source = way, known_by, %why_not, "figures of the jvm");
        }
        let reason =
            if was_reached { BrokerError::JmxQueryFailure } else { BrokerError::JmxConnectionFailure };
        let lacking = match found {
            Some(found) => {
                stats.jvm_source = Some(found.way.to_owned());
                self.figures.put(stats, &found.readings, at);
                found.lacking
            }
            None if self.is_asked_for => problems,
            None => Vec::new(),
        };
        lacking.into_iter().map(|words| (Some(reason), words)).collect()
    }
}

/// Adds to a report what is wrong with it. The first reason stands; it alone makes no failure of a report that has figures.
fn note(stats: &mut BrokerStats, problems: Vec<Problem>) {
    if problems.is_empty() {
        return;
    }
    let mut words: Vec<String> = stats.failure_detail.take().into_iter().collect();
    for (reason, what) in problems {
        stats.failure_reason = stats.failure_reason.or(reason);
        words.push(what);
    }
    stats.failure_detail = Some(words.join("; "));
}

fn broker_in(properties: &Option<Result<Properties, String>>) -> Result<BrokerId, GatherError> {
    let why = match properties {
        Some(Ok(properties)) => match properties.broker_id() {
            Some(id) => return Ok(BrokerId(id)),
            None => "there is neither node.id nor broker.id in the broker's properties".to_owned(),
        },
        Some(Err(why)) => why.clone(),
        None => "no broker is named".to_owned(),
    };
    Err(GatherError::Properties { why })
}

/// So many reports in a row must lack something before that is worth a warning: a topic that is just being created has
/// partitions whose leader does not know of it yet.
const WORTH_A_WARNING: u32 = 2;

impl Agent {
    /// One that reads through `gatherer`.
    pub fn new(gatherer: Gatherer) -> Agent {
        Agent {
            gatherer,
            measurer: Measurer::new(),
            host: None,
            jvm: None,
            properties: None,
            memory: None,
            trouble: None,
            troubled: 0,
        }
    }

    /// Also reads the broker's host, if that is this one.
    #[must_use]
    pub fn with_host(mut self, host: HostSource) -> Agent {
        self.host = Some(host);
        self
    }

    /// Reads the broker's own settings in this file: its id, if none is given, and its `zookeeper.connect`.
    #[must_use]
    pub fn with_properties(mut self, file: PathBuf) -> Agent {
        self.properties = Some(file);
        self
    }

    /// Keeps the cluster's brokers in mind over a restart.
    #[must_use]
    pub fn with_memory(mut self, memory: Memory) -> Agent {
        self.gatherer.remember(memory.brokers().cloned());
        self.memory = Some(memory);
        self
    }

    /// Also reads what only the broker's JVM knows. If that fails, the report says so only where `is_asked_for`.
    #[must_use]
    pub fn with_jvm(mut self, source: Source, is_asked_for: bool) -> Agent {
        let began = Instant::now();
        self.jvm = Some(Jvm { source, figures: Figures::default(), began, is_asked_for, told: None });
        self
    }

    /// Reads the broker and compares with the time before.
    ///
    /// # Errors
    /// See [`GatherError`]; [`Agent::report`] makes a report of it.
    pub async fn measure(&mut self) -> Result<BrokerStats, GatherError> {
        let properties = self.read_properties();
        if self.gatherer.broker().0 < 0 {
            self.gatherer.measure_instead(broker_in(&properties)?);
        }
        let view = self.gatherer.gather().await?;
        let mut stats = self.measurer.measure(&view);
        // The rest of it is large, and the JVM's answers are too.
        let (address, cluster) = (view.broker.address.clone(), view.cluster_id.to_string());
        drop(view);
        match properties {
            Some(Ok(properties)) => stats.zk_url = properties.zookeeper().map(str::to_owned),
            Some(Err(why)) => note(&mut stats, vec![(Some(BrokerError::KafkaServerPropertiesFailure), why)]),
            None => {}
        }
        // The host first: what it says of the process stands before what the JVM says.
        if let Some(host) = &mut self.host {
            let problems = host.put(&mut stats, Some(&address)).await;
            note(&mut stats, problems);
        }
        if let Some(jvm) = &mut self.jvm {
            let problems = jvm.put(&mut stats, &cluster).await;
            note(&mut stats, problems);
        }
        Ok(stats)
    }

    /// One report, whatever happens.
    pub async fn report(&mut self) -> BrokerStats {
        let stats = match self.measure().await {
            Ok(stats) => stats,
            Err(error) => self.failure(&error).await,
        };
        self.log(&stats);
        stats
    }

    /// Writes down whom to ask after a restart.
    pub async fn keep_in_mind(&mut self) {
        if let (Some(memory), Some(seen)) = (&mut self.memory, self.gatherer.seen()) {
            memory.keep(seen).await;
        }
    }

    /// A report without the broker's figures. Its host may know why there are none.
    async fn failure(&mut self, error: &GatherError) -> BrokerStats {
        let mut stats = self.gatherer.failure(error);
        if let Some(host) = &mut self.host
            && error.reason() == BrokerError::JmxConnectionFailure
        {
            let problems = host.put(&mut stats, self.gatherer.address()).await;
            // That it does not run is the reason why it does not answer.
            if let Some(reason) = problems.iter().find_map(|(reason, _)| *reason) {
                stats.failure_reason = Some(reason);
            }
            note(&mut stats, problems);
        }
        stats
    }

    /// The settings of the broker, if a file is named, or why they cannot be read.
    fn read_properties(&self) -> Option<Result<Properties, String>> {
        let file = self.properties.as_ref()?;
        Some(Properties::read(file).map_err(|error| format!("reading {}: {error}", file.display())))
    }

    fn log(&mut self, stats: &BrokerStats) {
        let before = std::mem::replace(&mut self.trouble, stats.failure_detail.clone());
        match &stats.failure_detail {
            Some(trouble) if stats.has_failure => {
                self.troubled = self.troubled.max(WORTH_A_WARNING);
                if before != stats.failure_detail {
                    warn!(broker = stats.id, %trouble, "broker cannot be measured");
                }
            }
            Some(trouble) => {
                self.troubled = self.troubled.saturating_add(1);
                if self.troubled == WORTH_A_WARNING {
                    warn!(broker = stats.id, %trouble, "reports are not complete");
                }
            }
            None => {
                if self.troubled >= WORTH_A_WARNING {
                    info!(broker = stats.id, "reports are complete again");
                }
                self.troubled = 0;
            }
        }
    }
}

/// After another cluster has answered for so long the agent ends: its address may have changed hands for a moment, but not for that.
const ELSEWHERE: Duration = Duration::from_secs(300);

/// Another cluster than the one that was measured answers, and goes on answering: it was built anew. What is known of the old one
/// holds for nothing, so that the agent is to be started anew, too.
#[derive(Debug, thiserror::Error)]
#[error("another cluster has answered for {} s; the agent ends, to be started anew for that one", ELSEWHERE.as_secs())]
pub struct Elsewhere;

/// Reports every `interval`, at once for the first time, until `stop` comes; then tries for 3 s to send what waits.
/// Measuring and sending do not wait for each other. `status` is told of each report.
pub async fn run(
    mut agent: Agent,
    mut publisher: Publisher,
    outbox: Arc<Outbox>,
    interval: Duration,
    status: &Status,
    stop: impl Future<Output = ()>,
) -> Result<(), Elsewhere> {
    let measuring = async {
        let mut ticks = tokio::time::interval(interval);
        // After a slow reading the next ones come at their own times; there is nothing to make up for.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let began = Instant::now();
            let stats = agent.report().await;
            status.saw(&stats, began.elapsed());
            outbox.push(stats);
            agent.keep_in_mind().await;
            if agent.gatherer.elsewhere_for() >= ELSEWHERE {
                return;
            }
        }
    };
    let ended = tokio::select! {
        () = measuring => Err(Elsewhere),
        () = publisher.run() => Ok(()),
        () = stop => Ok(()),
    };
    if tokio::time::timeout(LAST_SEND, publisher.send_all()).await.is_err() || !outbox.is_empty() {
        warn!(unsent = outbox.len(), "stopped with reports unsent");
    }
    ended
}
