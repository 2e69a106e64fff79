//! The monitor `broker_stats`: what the agents report, from the stats topic.
//!
//! It reads in tasks of its own, each partition by itself, beginning some time back or where it ended before a restart.
//! Records that cannot be read are counted and skipped; a topic that cannot be read is a finding. Healing never waits for
//! any of it.

mod checkpoint;
mod gathered;
mod reading;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use brokerstats::Codec;
use control::config::HumanDuration;
use control::effect::Contribution;
use control::load::LoadConfig;
use control::state::NamedValue;
use control::{Finding, Now, Severity, State, Target};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use self::gathered::Gathered;
use self::reading::Reading;
use super::endpoint;
use super::task::Task;
use crate::plugin::{BuildContext, ConfigProblem, MonitorConfig, MonitorPlugin, Source};

/// For how long a record that is no report is told of.
const UNREADABLE_FOR: Duration = Duration::from_secs(600);

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
    /// How load is remembered.
    pub load: LoadConfig,
    /// How often what is known of loads is written down, so that a restart reads back no more than that.
    pub checkpoint: HumanDuration,
}

impl Default for BrokerStatsConfig {
    /// A day back: as long as the original looked.
    fn default() -> Self {
        Self {
            topic: super::STATS_TOPIC.to_owned(),
            bootstrap_servers: None,
            command_config: None,
            backfill: HumanDuration::seconds(86_400),
            load: LoadConfig::default(),
            checkpoint: HumanDuration::seconds(600),
        }
    }
}

impl MonitorConfig for BrokerStatsConfig {
    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = endpoint::check(self.bootstrap_servers.as_deref(), self.command_config.as_deref());
        let mut problem = |path: &str, message: String| {
            problems.push(ConfigProblem { path: path.to_owned(), message });
        };
        if self.topic.is_empty() {
            problem("topic", "a topic must have a name".to_owned());
        }
        if self.checkpoint.0 < Duration::from_secs(10) {
            problem("checkpoint", "must be at least 10s: each writes everything".to_owned());
        }
        for (field, message) in self.load.problems() {
            problem(&format!("load.{field}"), message);
        }
        problems
    }

    fn build(&self, context: &BuildContext) -> Result<MonitorPlugin, String> {
        let connection =
            endpoint::connection(context, self.bootstrap_servers.as_deref(), self.command_config.as_deref())?;
        let codec = Arc::new(Codec::new().map_err(|e| e.to_string())?);
        let gathered = Arc::new(Mutex::new(Gathered::new(self.load.clone())));
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
            answering: Mutex::new(None),
            _task: task,
        })))
    }
}

struct BrokerStatsMonitor {
    name: String,
    topic: String,
    gathered: Arc<Mutex<Gathered>>,
    /// What computes the needs, one at a time.
    answering: Mutex<Option<JoinHandle<()>>>,
    _task: Task,
}

impl Source for BrokerStatsMonitor {
    fn name(&self) -> &str {
        &self.name
    }

    fn latest(&self, now: Now) -> Contribution {
        let gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let mut contribution = Contribution::default();
        if let Some(reports) = gathered.reports(now) {
            contribution.attributes.push(NamedValue::of(Arc::new(reports), gathered.read_at));
        }
        if let Some((needs, as_of)) = gathered.needs() {
            contribution.attributes.push(NamedValue::of(needs, as_of));
        }
        contribution.findings = self.findings(&gathered, now);
        contribution
    }

    fn after_cycle(&self, state: &State) {
        let mut answering = self.answering.lock().unwrap_or_else(PoisonError::into_inner);
        let question = self.gathered.lock().unwrap_or_else(PoisonError::into_inner).after_cycle(state);
        let Some(question) = question.filter(|_| answering.as_ref().is_none_or(JoinHandle::is_finished))
        else {
            return;
        };
        let gathered = Arc::clone(&self.gathered);
        *answering = Some(tokio::task::spawn_blocking(move || {
            let needs = question.answer();
            // Before the lock is taken: what it shares with the model is copied where that changes.
            let asked = question.asked();
            drop(question);
            gathered.lock().unwrap_or_else(PoisonError::into_inner).take_needs(needs, asked);
        }));
    }
}

impl BrokerStatsMonitor {
    fn findings(&self, gathered: &Gathered, now: Now) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(why) = &gathered.failure {
            let message = format!("the stats topic cannot be read: {why}");
            findings.push(
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
            findings.push(
                Finding::new("stats_records_unreadable", Target::Cluster, Severity::Info, message)
                    .waiting_for("whoever writes them to stop; they are passed over"),
            );
        }
        if let Some(share) = gathered.read_back() {
            let message =
                format!("earlier reports are read back from {}: {:.0} %", self.topic, share * 100.0);
            findings.push(
                Finding::new("stats_read_back", Target::Cluster, Severity::Info, message)
                    .waiting_for("the end of the topic; until then it is not known what partitions need"),
            );
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use brokerstats::BrokerStats;
    use cluster::{BrokerId, TopicPartition};
    use control::{Attribute, BrokerReports, PartitionLoads, Tick, Timestamp};

    use super::gathered::MOST_BROKERS;
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
        let mut gathered = Gathered::new(LoadConfig::default());
        gathered.take(&stats(1, 5_000), 5_000, now(9_000), None);
        gathered.take(&stats(1, 4_000), 4_000, now(9_000), None);
        gathered.take(&stats(2, 3_000), 3_000, now(9_000), None);
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
    fn an_agent_whose_clock_was_set_back_is_heard() {
        let mut gathered = Gathered::new(LoadConfig::default());
        let at = |tick: u64| Now { tick: Tick(tick), wall: Timestamp(90_000_000 + tick as i64) };
        let fresh = Some(Duration::from_secs(1));
        gathered.take(&stats(1, 90_001_000), 90_001_000, at(1_000), fresh);
        // The topic has the times of those who write to it.
        gathered.take(&stats(1, 86_461_000), 86_461_000, at(61_000), fresh);
        let (report, _) = &gathered.brokers[&BrokerId(1)];
        assert_eq!((report.age, report.made), (Duration::from_secs(1), Timestamp(86_461_000)));
    }

    #[test]
    fn a_report_from_the_future_does_not_hide_later_ones() {
        let mut gathered = Gathered::new(LoadConfig::default());
        gathered.take(&stats(1, 9_000_000), 5_000, now(5_000), None);
        assert_eq!(gathered.brokers[&BrokerId(1)].0.made, Timestamp(5_000));
        gathered.take(&stats(1, 6_000), 6_000, now(6_000), None);
        assert_eq!(gathered.brokers[&BrokerId(1)].0.made, Timestamp(6_000));
        assert_eq!(gathered.ahead, 1);
    }

    #[test]
    fn how_far_apart_its_reports_are_is_told_by_an_agent_itself() {
        let mut gathered = Gathered::new(LoadConfig::default());
        let mut told = |second: i64, interval_ms: i64| {
            let made = second * 1000;
            let stats = BrokerStats { interval_ms, ..stats(1, made) };
            gathered.take(&stats, made, now(made), None);
            gathered.brokers[&BrokerId(1)].0.interval.map(|it| it.as_secs())
        };
        assert_eq!(told(1_000, 0), None, "its first report has nothing to compare with");
        assert_eq!(told(1_300, 300_003), Some(300));
        // The broker does not answer for two hours: the counts after that cover them, but it has reported all the while.
        for second in (1_600..8_800).step_by(300) {
            assert_eq!(told(second, 0), Some(300));
        }
        assert_eq!(told(8_800, 7_500_000), Some(300));
        assert_eq!(told(8_860, 60_000), Some(60), "it was set to another");
        assert_eq!(told(8_920, i64::MAX), Some(60));
        assert_eq!(told(8_980, -1), Some(60));
        // Reports that had to wait for the topic come together.
        let (mut late, at) = (Gathered::new(LoadConfig::default()), 9_000_000);
        for made in [8_000_000, 8_300_000] {
            late.take(&BrokerStats { interval_ms: 300_000, ..stats(1, made) }, at, now(at), None);
        }
        assert_eq!(late.brokers[&BrokerId(1)].0.interval, Some(Duration::from_secs(300)));
        // A restart forgets it for nobody.
        let mut after = Gathered::new(LoadConfig::default());
        after.remember(&[(1, 8_300_000), (2, 8_300_000)].into(), &[(1, 300_000)].into(), now(at));
        let interval = |id| after.brokers[&BrokerId(id)].0.interval;
        assert_eq!((interval(1), interval(2)), (Some(Duration::from_secs(300)), None));
    }

    #[test]
    fn made_up_brokers_do_not_fill_the_memory() {
        let mut gathered = Gathered::new(LoadConfig::default());
        for id in 0..5_050 {
            gathered.take(&stats(id, 1_000 + i64::from(id)), 5_000, now(50_000), None);
        }
        assert_eq!(gathered.brokers.len(), MOST_BROKERS);
        assert!(gathered.brokers.contains_key(&BrokerId(5_049)));
    }

    #[test]
    fn reports_of_other_clusters_and_of_nobody_are_left_alone() {
        let mut gathered = Gathered::new(LoadConfig::default());
        gathered.cluster_id = Some("ours".into());
        let other = BrokerStats { cluster_id: Some("other".to_owned()), ..stats(1, 5_000) };
        gathered.take(&other, 5_000, now(9_000), None);
        gathered.take(&stats(-1, 5_000), 5_000, now(9_000), None);
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
        assert!(reports().unwrap().read_to_end_ago.is_some_and(|ago| ago < Duration::from_secs(5)));
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

    /// A report in which a broker leads partition `t-0`.
    fn leading(at: i64, bytes_in: i64) -> Vec<u8> {
        let replica = brokerstats::ReplicaStat {
            topic: "t".to_owned(),
            bytes_in_15_min_mean_rate: bytes_in,
            bytes_out_15_min_mean_rate: 1,
            is_leader: true,
            ..brokerstats::ReplicaStat::default()
        };
        let stats = BrokerStats { leader_replica_stats: vec![replica], ..stats(1, at) };
        Codec::new().unwrap().encode_stats(&stats).unwrap()
    }

    /// What partition `t-0` needs, once that is known.
    fn need(monitor: &Arc<dyn Source>, context: &BuildContext) -> Option<u64> {
        let text: cluster::notation::ClusterText = "b1\nt-0: 1*".parse().unwrap();
        let now = context.clock.now();
        let mut state = State::new("test".into(), now, Arc::default(), Arc::default(), Arc::default());
        state.put(control::Topics(text.topics), now.tick);
        monitor.after_cycle(&state);
        let contribution = monitor.latest(now);
        let needs = contribution.attributes.iter().find(|value| value.name == PartitionLoads::NAME)?;
        let needs = needs.value.as_ref().as_any().downcast_ref::<PartitionLoads>()?;
        Some(needs.partitions.get(&TopicPartition::new("t", 0)).map_or(0, |load| load.bytes_in))
    }

    #[tokio::test(start_paused = true)]
    async fn what_partitions_need_is_read_back_told_and_remembered_over_a_restart() {
        let fake = Arc::new(Fake::default());
        let context = context(&fake);
        let config =
            BrokerStatsConfig { checkpoint: HumanDuration::seconds(10), ..BrokerStatsConfig::default() };
        let start = |config: &BrokerStatsConfig| match config.build(&context).unwrap() {
            MonitorPlugin::Source(monitor) => monitor,
            MonitorPlugin::Deriving(_) => panic!("it collects in a task of its own"),
        };
        let hours_ago = |hours: i64| context.clock.now().wall.0 - hours * 3_600_000;
        fake.append(hours_ago(20), leading(hours_ago(20), 700));
        fake.append(hours_ago(1), leading(hours_ago(1), 90));
        let monitor = start(&config);
        until("the needs are known", || need(&monitor, &context).is_some()).await;
        assert_eq!(need(&monitor, &context), Some(700));
        tokio::time::sleep(Duration::from_secs(11)).await;
        drop(monitor);

        // What was read is gone from the topic, and what came since is read on from there.
        let gone =
            fake.log.lock().unwrap().as_mut().unwrap().iter_mut().map(|record| record.value = None).count();
        assert_eq!(gone, 2);
        let monitor = start(&config);
        until("the needs are known again", || need(&monitor, &context).is_some()).await;
        assert_eq!(need(&monitor, &context), Some(700));
        let keys = context.store.list("loads/").await.unwrap();
        assert!(keys.iter().any(|key| key.ends_with("/head")), "{keys:?}");

        // A damaged checkpoint costs no more than reading back.
        for key in keys.iter().filter(|key| !key.ends_with("/head")) {
            context.store.put(key, b"{}".to_vec()).await.unwrap();
        }
        drop(monitor);
        let monitor = start(&config);
        until("it has been read", || need(&monitor, &context).is_some()).await;
        assert_eq!(need(&monitor, &context), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn while_it_reads_back_it_says_how_far_it_is() {
        let mut gathered = Gathered::new(LoadConfig::default());
        assert_eq!(gathered.read_back(), None, "nothing is known yet");
        let place = |start, next, end, caught_up| super::gathered::Place {
            start,
            next,
            end,
            caught_up,
            started: true,
            at_end: None,
        };
        gathered.partitions = Some([(0, place(100, 150, 200, false)), (1, place(0, 0, 100, false))].into());
        assert_eq!(gathered.read_back(), Some(0.25));
        gathered.partitions = Some([(0, place(100, 200, 200, true)), (1, place(7, 7, 7, true))].into());
        assert_eq!(gathered.read_back(), None);
    }
}
