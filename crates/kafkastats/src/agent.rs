//! Measures at every interval and hands the reports over, until told to stop.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brokerstats::BrokerStats;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::gather::{GatherError, Gatherer};
use crate::jvm::{Figures, Identity, Outcome, Source};
use crate::measure::Measurer;
use crate::publish::{Outbox, Publisher};

/// How long what waits may take to be sent at the end. Together with the rest it keeps a stop under five seconds.
const LAST_SEND: Duration = Duration::from_secs(3);

/// Reads one broker and makes reports.
pub struct Agent {
    gatherer: Gatherer,
    measurer: Measurer,
    jvm: Option<Jvm>,
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
    async fn put(&mut self, stats: &mut BrokerStats, cluster: &str) {
        let broker = Identity { cluster: cluster.to_owned(), broker: stats.id };
        let asked = self.began.elapsed();
        let Outcome { found, problems } = self.source.read(&broker).await;
        let at = (asked + self.began.elapsed()) / 2;
        let way = found.as_ref().map_or("none", |found| found.way);
        if self.told.replace(way) != Some(way) {
            let why_not = problems.join("; ");
            info!(broker = stats.id, source = way, %why_not, "figures of the jvm");
        }
        let lacking = match found {
            Some(found) => {
                stats.jvm_source = Some(found.way.to_owned());
                self.figures.put(stats, &found.readings, at);
                found.lacking
            }
            None if self.is_asked_for => problems,
            None => Vec::new(),
        };
        if !lacking.is_empty() {
            let before = stats.failure_detail.take().into_iter();
            stats.failure_detail = Some(before.chain(lacking).collect::<Vec<_>>().join("; "));
        }
    }
}

/// So many reports in a row must lack something before that is worth a warning: a topic that is just being created has
/// partitions whose leader does not know of it yet.
const WORTH_A_WARNING: u32 = 2;

impl Agent {
    /// One that reads through `gatherer`.
    pub fn new(gatherer: Gatherer) -> Agent {
        Agent { gatherer, measurer: Measurer::new(), jvm: None, trouble: None, troubled: 0 }
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
        let view = self.gatherer.gather().await?;
        let mut stats = self.measurer.measure(&view);
        if let Some(jvm) = &mut self.jvm {
            jvm.put(&mut stats, &view.cluster_id.to_string()).await;
        }
        Ok(stats)
    }

    /// One report, whatever happens.
    pub async fn report(&mut self) -> BrokerStats {
        let stats = match self.measure().await {
            Ok(stats) => stats,
            Err(error) => self.gatherer.failure(&error),
        };
        self.log(&stats);
        stats
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

/// Reports every `interval`, at once for the first time, until `stop` comes; then tries for 3 s to send what waits.
/// Measuring and sending do not wait for each other.
pub async fn run(
    mut agent: Agent,
    mut publisher: Publisher,
    outbox: Arc<Outbox>,
    interval: Duration,
    stop: impl Future<Output = ()>,
) {
    let measuring = async {
        let mut ticks = tokio::time::interval(interval);
        // After a slow reading the next ones come at their own times; there is nothing to make up for.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            outbox.push(agent.report().await);
        }
    };
    tokio::select! {
        () = measuring => {}
        () = publisher.run() => {}
        () = stop => {}
    }
    if tokio::time::timeout(LAST_SEND, publisher.send_all()).await.is_err() || !outbox.is_empty() {
        warn!(unsent = outbox.len(), "stopped with reports unsent");
    }
}
