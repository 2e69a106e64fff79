//! The agents' reports, as the service's monitor gathers them from the stats topic; but they are neither encoded nor
//! decoded on their way, which would take most of the time of a run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cluster::{BrokerId, TopicPartition};
use control::state::NamedValue;
use control::{BrokerReport, BrokerReports, Now, Tick, Timestamp};

use crate::world::{Client, NO_ANSWER, Report, World};

/// What was read is shown anew after this time: what the monitors make of it bears half a minute.
const SHOW_EVERY: Duration = Duration::from_secs(30);

/// What was read so far.
#[derive(Default)]
pub(super) struct Reports {
    offset: i64,
    gathered: BrokerReports,
    received: BTreeMap<BrokerId, Tick>,
    /// When everything was read: what comes later is younger than that, whatever clocks say.
    read_at: Option<Tick>,
    shown: Option<(Arc<BrokerReports>, Tick)>,
}

impl Reports {
    /// Reads what is new, in a world with agents.
    pub(super) fn read(&mut self, world: &World, now: Now) {
        let Some(topic) = world.settings().agents.as_ref().map(|agents| agents.topic.as_str()) else {
            return;
        };
        let read = world.reports(Client::Us, &TopicPartition::new(topic, 0), self.offset);
        if let Ok((reports, next)) = read {
            self.offset = next;
            let oldest = self.read_at.replace(now.tick).map_or(Duration::MAX, |at| now.tick.since(at));
            for (appended_ms, report) in reports {
                self.gather(world, &report, appended_ms, now, oldest);
            }
        }
        // Before the first reading there is nothing to show.
        let Some(read_at) = self.read_at else { return };
        let fresh = |(_, as_of): &(_, Tick)| now.tick.since(*as_of) < SHOW_EVERY;
        if !self.shown.as_ref().is_some_and(fresh) {
            self.show(now.tick, read_at);
        }
    }

    fn gather(&mut self, world: &World, report: &Report, appended_ms: i64, now: Now, oldest: Duration) {
        let id = world.reporter(report);
        let made = Timestamp(report.timestamp);
        let age = now.wall.since(Timestamp(appended_ms)).min(oldest);
        let received = self.received.get(&id).copied().unwrap_or(now.tick);
        let known = self.gathered.brokers.get(&id);
        if known.is_some_and(|before| before.age.saturating_add(now.tick.since(received)) < age) {
            return;
        }
        let rate = |rate: i64| u64::try_from(rate).ok();
        let (bytes_in, bytes_out) = world.rates(report);
        let partitions = world.quarter_rates(report).filter_map(|(at, bytes_in)| Some((at, rate(bytes_in)?)));
        let found = BrokerReport {
            made,
            age,
            interval: world.settings().agents.as_ref().map(|agents| agents.interval),
            failure: report.failed.then(|| NO_ANSWER.to_owned()),
            failure_reason: report.failed.then(|| "JmxConnectionFailure".to_owned()),
            leaders_bytes_in_per_second: rate(bytes_in),
            leaders_bytes_out_per_second: rate(bytes_out),
            partitions_bytes_in_per_second: Arc::new(partitions.collect()),
            ..BrokerReport::default()
        };
        self.gathered.brokers.insert(id, found);
        self.received.insert(id, now.tick);
    }

    /// What is known is as old as the last reading; the reports grow older all the same.
    fn show(&mut self, tick: Tick, read_at: Tick) {
        let read_to_end_ago = Some(tick.since(read_at));
        let mut shown = BrokerReports { caught_up: true, read_to_end_ago, ..self.gathered.clone() };
        for (id, report) in &mut shown.brokers {
            let received = self.received.get(id).copied().unwrap_or(tick);
            report.age = report.age.saturating_add(tick.since(received));
        }
        self.shown = Some((Arc::new(shown), read_at));
    }

    pub(super) fn attribute(&self) -> Option<NamedValue> {
        self.shown.as_ref().map(|(reports, as_of)| NamedValue::of(Arc::clone(reports), *as_of))
    }
}
