//! Measures at every interval and hands the reports over, until told to stop.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use brokerstats::BrokerStats;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::gather::{GatherError, Gatherer};
use crate::measure::Measurer;
use crate::publish::{Outbox, Publisher};

/// How long what waits may take to be sent at the end. Together with the rest it keeps a stop under five seconds.
const LAST_SEND: Duration = Duration::from_secs(3);

/// Reads one broker and makes reports.
pub struct Agent {
    gatherer: Gatherer,
    measurer: Measurer,
    /// What the last report said was wrong, so that it is logged when it changes and not every minute.
    trouble: Option<String>,
}

impl Agent {
    /// One that reads through `gatherer`.
    pub fn new(gatherer: Gatherer) -> Agent {
        Agent { gatherer, measurer: Measurer::new(), trouble: None }
    }

    /// Reads the broker and compares with the time before.
    ///
    /// # Errors
    /// See [`GatherError`]; [`Agent::report`] makes a report of it.
    pub async fn measure(&mut self) -> Result<BrokerStats, GatherError> {
        let view = self.gatherer.gather().await?;
        Ok(self.measurer.measure(&view))
    }

    /// One report, whatever happens.
    pub async fn report(&mut self) -> BrokerStats {
        let stats = match self.measure().await {
            Ok(stats) => stats,
            Err(error) => self.gatherer.failure(&error),
        };
        if self.trouble != stats.failure_detail {
            match &stats.failure_detail {
                Some(trouble) if stats.has_failure => {
                    warn!(broker = stats.id, %trouble, "broker cannot be measured")
                }
                Some(trouble) => warn!(broker = stats.id, %trouble, "report is not complete"),
                None => info!(broker = stats.id, "report is complete again"),
            }
            self.trouble.clone_from(&stats.failure_detail);
        }
        stats
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
