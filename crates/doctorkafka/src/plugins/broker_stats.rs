//! The monitor `broker_stats`: what the agents report, from the stats topic.
//!
//! It reads in a task of its own, each partition by itself, beginning some time back. Records that cannot be read
//! are counted and skipped; a topic that cannot be read is a finding. Healing never waits for any of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use brokerstats::{BrokerStats, Codec};
use cluster::{BrokerId, ClientError, OffsetAt, StoredRecord, TopicPartition};
use control::config::HumanDuration;
use control::effect::Contribution;
use control::state::NamedValue;
use control::{
    BrokerReport, BrokerReports, Finding, Liveness, Now, Severity, State, Target, Tick, Timestamp,
};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::endpoint;
use super::task::Task;
use crate::plugin::{BuildContext, ConfigProblem, Connection, MonitorConfig, MonitorPlugin, Source};

/// How long one read waits for records to come.
const READ_WAIT: Duration = Duration::from_millis(500);
/// Pauses after a failed read.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Partitions of the stats topic that are read; more than any sensible topic of this kind has.
const MOST_PARTITIONS: i32 = 1_000;
/// How far an agent's clock may be ahead of ours. A report from further ahead counts as made when it arrived.
const AHEAD: Duration = Duration::from_secs(60);
/// For how long a record that is no report is told of.
const UNREADABLE_FOR: Duration = Duration::from_secs(600);
/// Brokers of which reports are kept: more than any cluster has.
const MOST_BROKERS: usize = 5_000;

/// `type: broker_stats`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrokerStatsConfig {
    /// The topic.
    pub topic: String,
    /// The brokers that have the topic; the managed cluster's own when absent.
    pub bootstrap_servers: Option<String>,
    /// The properties file with the security settings for them.
    pub command_config: Option<PathBuf>,
    /// How far back reading begins.
    #[serde(alias = "backfill_seconds")]
    pub backfill: HumanDuration,
}

impl Default for BrokerStatsConfig {
    /// A day back: as long as the original looked.
    fn default() -> Self {
        Self {
            topic: super::STATS_TOPIC.to_owned(),
            bootstrap_servers: None,
            command_config: None,
            backfill: HumanDuration::seconds(86_400),
        }
    }
}

impl MonitorConfig for BrokerStatsConfig {
    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = endpoint::check(self.bootstrap_servers.as_deref(), self.command_config.as_deref());
        if self.topic.is_empty() {
            let message = "a topic must have a name".to_owned();
            problems.push(ConfigProblem { path: "topic".to_owned(), message });
        }
        problems
    }

    fn build(&self, context: &BuildContext) -> Result<MonitorPlugin, String> {
        let connection =
            endpoint::connection(context, self.bootstrap_servers.as_deref(), self.command_config.as_deref())?;
        let codec = Arc::new(Codec::new().map_err(|e| e.to_string())?);
        let gathered = Arc::new(Mutex::new(Gathered::default()));
        let reader = Reading {
            config: self.clone(),
            context: context.clone(),
            connection,
            codec,
            gathered: Arc::clone(&gathered),
        };
        let task = Task::spawn(reader.run());
        Ok(MonitorPlugin::Source(Arc::new(BrokerStatsMonitor {
            name: context.name.clone(),
            topic: self.topic.clone(),
            gathered,
            _task: task,
        })))
    }
}

/// What has been read so far.
#[derive(Debug, Default)]
struct Gathered {
    brokers: BTreeMap<BrokerId, (BrokerReport, Tick)>,
    unreadable: u64,
    /// When the last of them came.
    unreadable_at: Option<Tick>,
    /// Reports from the future.
    ahead: u64,
    /// Partitions that have not reached the end that they had at the start; `None` until they are known.
    behind: Option<usize>,
    /// When the topic was last read without an error.
    read_at: Tick,
    failure: Option<String>,
    /// The cluster whose reports are wanted; reports of other clusters on the topic are left alone.
    cluster_id: Option<Arc<str>>,
}

struct BrokerStatsMonitor {
    name: String,
    topic: String,
    gathered: Arc<Mutex<Gathered>>,
    _task: Task,
}

impl Source for BrokerStatsMonitor {
    fn name(&self) -> &str {
        &self.name
    }

    fn latest(&self, now: Now) -> Contribution {
        let gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let mut contribution = Contribution::default();
        if gathered.behind.is_some() {
            let brokers = gathered.brokers.iter().map(|(id, (report, received))| {
                let age = now.tick.since(*received).max(Duration::ZERO);
                (*id, BrokerReport { age: report.age + age, ..report.clone() })
            });
            let reports = BrokerReports {
                brokers: brokers.collect(),
                unreadable: gathered.unreadable,
                caught_up: gathered.behind == Some(0),
            };
            contribution.attributes.push(NamedValue::of(Arc::new(reports), gathered.read_at));
        }
        if let Some(why) = &gathered.failure {
            let message = format!("the stats topic cannot be read: {why}");
            contribution.findings.push(
                Finding::new("stats_topic_unreadable", Target::Cluster, Severity::Warning, message)
                    .waiting_for("the topic to be readable; healing goes on without load figures"),
            );
        }
        if gathered.unreadable_at.is_some_and(|at| now.tick.since(at) <= UNREADABLE_FOR) {
            let message = format!(
                "records on the stats topic {} cannot be read as BrokerStats, {} so far: something else writes there, \
                 or an agent of another version",
                self.topic, gathered.unreadable
            );
            contribution.findings.push(
                Finding::new("stats_records_unreadable", Target::Cluster, Severity::Info, message)
                    .waiting_for("whoever writes them to stop; they are passed over"),
            );
        }
        contribution
    }

    fn after_cycle(&self, state: &State) {
        let Some(liveness) = state.get::<Liveness>() else { return };
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        if gathered.cluster_id.as_ref() != Some(&liveness.value.cluster_id.0) {
            gathered.cluster_id = Some(Arc::clone(&liveness.value.cluster_id.0));
        }
    }
}

#[derive(Clone)]
struct Reading {
    config: BrokerStatsConfig,
    context: BuildContext,
    connection: Connection,
    codec: Arc<Codec>,
    gathered: Arc<Mutex<Gathered>>,
}

impl Reading {
    /// Reads all partitions for ever; begins anew when one of them ends, which is only when the topic changes.
    async fn run(self) {
        let mut pause = SHORTEST_PAUSE;
        loop {
            match self.connection.log_reader.partitions(&self.config.topic).await {
                Ok(count) => {
                    pause = SHORTEST_PAUSE;
                    let count = count.clamp(0, MOST_PARTITIONS);
                    self.with(|gathered| {
                        gathered.behind = Some(usize::try_from(count).unwrap_or_default());
                        gathered.failure = None;
                    });
                    let mut readers = JoinSet::new();
                    for partition in 0..count {
                        let at = TopicPartition::new(self.config.topic.as_str(), partition);
                        readers.spawn(self.clone().read_partition(at));
                    }
                    // The first to end ends them all: dropping the set aborts the rest.
                    let _ = readers.join_next().await;
                }
                Err(why) => {
                    self.failed(&why);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Reads one partition until it no longer exists.
    async fn read_partition(self, at: TopicPartition) {
        let backfill = i64::try_from(self.config.backfill.0.as_millis()).unwrap_or(i64::MAX);
        let from = self.context.clock.now().wall.0.saturating_sub(backfill);
        let reader = &self.connection.log_reader;
        let mut offset = None;
        let mut caught_up = false;
        let mut pause = SHORTEST_PAUSE;
        // When it was last seen that there is nothing more to read: what comes later is younger than that, whatever clocks say.
        let mut seen_to_end = None;
        loop {
            let asked = self.context.clock.now().tick;
            let batch = match offset {
                None => match reader.offset(&at, OffsetAt::Time(from)).await {
                    Ok(found) => {
                        offset = Some(found);
                        continue;
                    }
                    Err(why) => Err(why),
                },
                Some(next) => reader.read(&at, next, READ_WAIT).await,
            };
            match batch {
                Ok(batch) => {
                    pause = SHORTEST_PAUSE;
                    offset = Some(batch.next_offset);
                    let now = self.context.clock.now();
                    let reached_end = batch.next_offset >= batch.end_offset;
                    self.with(|gathered| {
                        let oldest = seen_to_end.map(|at| now.tick.since(at));
                        batch.records.iter().for_each(|record| self.absorb(gathered, record, now, oldest));
                        gathered.read_at = now.tick;
                        gathered.failure = None;
                        if reached_end && !caught_up {
                            gathered.behind = gathered.behind.map(|n| n.saturating_sub(1));
                        }
                    });
                    caught_up |= reached_end;
                    if reached_end {
                        seen_to_end = Some(asked);
                    }
                }
                Err(why) => {
                    self.failed(&why);
                    if matches!(why, ClientError::UnknownTopic { .. }) {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn with(&self, change: impl FnOnce(&mut Gathered)) {
        change(&mut self.gathered.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn failed(&self, why: &ClientError) {
        self.with(|gathered| gathered.failure = Some(why.to_string()));
    }

    fn absorb(&self, gathered: &mut Gathered, record: &StoredRecord, now: Now, oldest: Option<Duration>) {
        let Some(value) = &record.value else { return };
        match self.codec.decode_stats(value) {
            Ok(stats) => take_report(gathered, &stats, record.timestamp_ms, now, oldest),
            Err(_) => {
                gathered.unreadable += 1;
                gathered.unreadable_at = Some(now.tick);
            }
        }
    }
}

/// Keeps a report if it is the newest of its broker, and of our cluster as far as can be told. It is no older than `oldest`.
fn take_report(
    gathered: &mut Gathered,
    stats: &BrokerStats,
    appended_ms: i64,
    now: Now,
    oldest: Option<Duration>,
) {
    let foreign = match (&gathered.cluster_id, &stats.cluster_id) {
        (Some(ours), Some(theirs)) => **ours != **theirs,
        _ => false,
    };
    if foreign || stats.id < 0 {
        return;
    }
    let id = BrokerId(stats.id);
    let mut made = Timestamp(stats.timestamp);
    if made.since(now.wall) > AHEAD {
        // Else no report after it would be newer, until our clock is there.
        gathered.ahead += 1;
        if gathered.ahead.is_power_of_two() {
            tracing::warn!(broker = %id, made = made.0, reports = gathered.ahead,
                "the clock of an agent is ahead, its report counts as made now");
        }
        made = now.wall;
    }
    if !gathered.brokers.contains_key(&id) && gathered.brokers.len() >= MOST_BROKERS {
        // The one that has been silent for longest makes room.
        let oldest = gathered.brokers.iter().min_by_key(|(_, (report, _))| report.made).map(|(id, _)| *id);
        if let Some(oldest) = oldest {
            gathered.brokers.remove(&oldest);
        }
    }
    if gathered.brokers.get(&id).is_some_and(|(before, _)| before.made > made) {
        return;
    }
    // The age is of the fact, not of the reading: by the broker's clock that stamped the record, and never negative.
    let age = now.wall.since(Timestamp(appended_ms)).min(oldest.unwrap_or(Duration::MAX));
    let failure = stats.has_failure.then(|| {
        let reason = stats.failure_reason.as_ref().map(|reason| format!("{reason:?}"));
        stats.failure_detail.clone().or(reason).unwrap_or_else(|| "unknown failure".to_owned())
    });
    let rate = |rate: i64| u64::try_from(rate).ok();
    let partitions = stats.leader_replica_stats.iter().filter_map(|replica| {
        let at = TopicPartition::new(replica.topic.as_str(), replica.partition);
        Some((at, rate(replica.bytes_in_15_min_mean_rate)?))
    });
    let report = BrokerReport {
        made,
        age,
        leaders_bytes_in_per_second: rate(stats.leaders_bytes_in_1_min_rate),
        leaders_bytes_out_per_second: rate(stats.leaders_bytes_out_1_min_rate),
        partitions_bytes_in_per_second: partitions.collect(),
        failure,
    };
    gathered.brokers.insert(id, (report, now.tick));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::fakes::{Fake, context, until};

    fn now(wall: i64) -> Now {
        Now { tick: Tick(1_000), wall: Timestamp(wall) }
    }

    fn stats(id: i32, at: i64) -> BrokerStats {
        BrokerStats { has_failure: false, ..BrokerStats::new(at, id) }
    }

    #[test]
    fn keeps_the_newest_report_of_each_broker() {
        let mut gathered = Gathered::default();
        take_report(&mut gathered, &stats(1, 5_000), 5_000, now(9_000), None);
        take_report(&mut gathered, &stats(1, 4_000), 4_000, now(9_000), None);
        take_report(&mut gathered, &stats(2, 3_000), 3_000, now(9_000), None);
        let made: Vec<(i32, i64)> = gathered.brokers.iter().map(|(id, (r, _))| (id.0, r.made.0)).collect();
        assert_eq!(made, [(1, 5_000), (2, 3_000)]);
        assert_eq!(gathered.brokers[&BrokerId(1)].0.age, Duration::from_secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_that_has_just_come_is_young_though_our_clock_was_set_forward() {
        let fake = Arc::new(Fake { log: Mutex::new(Some(Vec::new())), ..Fake::default() });
        let (_monitor, reports) = start(&fake);
        until("caught up", || reports().is_some_and(|reports| reports.caught_up)).await;
        let an_hour_ago = context(&fake).clock.now().wall.0 - 3_600_000;
        fake.append(an_hour_ago, Codec::new().unwrap().encode_stats(&stats(1, an_hour_ago)).unwrap());
        until("the report is in", || reports().is_some_and(|reports| reports.brokers.len() == 1)).await;
        let age = reports().unwrap().brokers[&BrokerId(1)].age;
        assert!(age < Duration::from_secs(2), "{age:?}");
    }

    #[test]
    fn a_report_from_the_future_does_not_hide_later_ones() {
        let mut gathered = Gathered::default();
        take_report(&mut gathered, &stats(1, 9_000_000), 5_000, now(5_000), None);
        assert_eq!(gathered.brokers[&BrokerId(1)].0.made, Timestamp(5_000));
        take_report(&mut gathered, &stats(1, 6_000), 6_000, now(6_000), None);
        assert_eq!(gathered.brokers[&BrokerId(1)].0.made, Timestamp(6_000));
        assert_eq!(gathered.ahead, 1);
    }

    #[test]
    fn made_up_brokers_do_not_fill_the_memory() {
        let mut gathered = Gathered::default();
        for id in 0..5_050 {
            take_report(&mut gathered, &stats(id, 1_000 + i64::from(id)), 5_000, now(50_000), None);
        }
        assert_eq!(gathered.brokers.len(), MOST_BROKERS);
        assert!(gathered.brokers.contains_key(&BrokerId(5_049)));
    }

    #[test]
    fn reports_of_other_clusters_and_of_nobody_are_left_alone() {
        let mut gathered = Gathered { cluster_id: Some("ours".into()), ..Gathered::default() };
        let other = BrokerStats { cluster_id: Some("other".to_owned()), ..stats(1, 5_000) };
        take_report(&mut gathered, &other, 5_000, now(9_000), None);
        take_report(&mut gathered, &stats(-1, 5_000), 5_000, now(9_000), None);
        assert!(gathered.brokers.is_empty());
    }

    fn start(fake: &Arc<Fake>) -> (Arc<dyn Source>, impl Fn() -> Option<BrokerReports>) {
        let context = context(fake);
        let MonitorPlugin::Source(monitor) = BrokerStatsConfig::default().build(&context).unwrap() else {
            panic!("it collects in a task of its own");
        };
        let seen = Arc::clone(&monitor);
        let reports = move || {
            let contribution = seen.latest(context.clock.now());
            let value = contribution.attributes.first()?.value.as_ref().as_any();
            value.downcast_ref::<BrokerReports>().cloned()
        };
        (monitor, reports)
    }

    #[tokio::test(start_paused = true)]
    async fn drk_41_an_empty_partition_is_caught_up_with_and_nothing_that_comes_then_is_missed() {
        let fake = Arc::new(Fake { log: Mutex::new(Some(Vec::new())), ..Fake::default() });
        let (monitor, reports) = start(&fake);
        until("caught up", || reports().is_some_and(|reports| reports.caught_up)).await;
        assert_eq!(reports().unwrap().brokers.len(), 0);
        let codec = Codec::new().unwrap();
        let at = 1_700_000_000_000;
        fake.append(at, b"no report at all".to_vec());
        fake.append(at, codec.encode_stats(&stats(1, at)).unwrap());
        fake.append(at, codec.encode_stats(&stats(2, at)).unwrap());
        until("both reports are in", || reports().is_some_and(|reports| reports.brokers.len() == 2)).await;
        assert_eq!(reports().unwrap().unreadable, 1);
        let kinds = |now| monitor.latest(now).findings.iter().map(|f| f.kind.clone()).collect::<Vec<_>>();
        let now = context(&fake).clock.now();
        assert_eq!(kinds(now), ["stats_records_unreadable"]);
        let later = Now { tick: now.tick.plus(UNREADABLE_FOR * 2), ..now };
        assert_eq!(kinds(later), Vec::<String>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn drk_54_a_stats_topic_that_never_answers_holds_nothing_up() {
        let fake = Arc::new(Fake::default());
        let (_monitor, reports) = start(&fake);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(reports(), None, "not known, which is not the same as nobody reporting");
        *fake.log.lock().unwrap() = Some(Vec::new());
        let (_another, reports) = start(&fake);
        until("caught up", || reports().is_some_and(|reports| reports.caught_up)).await;
    }
}
