//! What has been read of the stats topic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use brokerstats::BrokerStats;
use cluster::{BrokerId, TopicPartition};
use control::load::{LoadConfig, LoadModel, Sample};
use control::state::NamedValue;
use control::{
    BrokerReport, BrokerReports, Liveness, Now, OngoingReassignments, PartitionLoads, State, Tick, Timestamp,
    Topics,
};

/// How far an agent's clock may be ahead of ours. A report from further ahead counts as made when it arrived.
const AHEAD: Duration = Duration::from_secs(60);
/// No agent reports more seldom; what says so is no interval.
const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 3_600);
/// Brokers of which reports are kept: more than any cluster has.
pub(super) const MOST_BROKERS: usize = 5_000;
/// The rates of single partitions are kept of reports that are younger than this: of those that are read back from long ago
/// only the peaks are of use.
const PRESENT: Duration = Duration::from_secs(1_200);
/// How often needs are computed: they change by the half hour.
const NEEDS_EVERY: Duration = Duration::from_secs(30);

/// What has been read so far.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) brokers: BTreeMap<BrokerId, (BrokerReport, Tick)>,
    pub(super) unreadable: u64,
    /// When the last of them came.
    pub(super) unreadable_at: Option<Tick>,
    /// Reports from the future.
    pub(super) ahead: u64,
    /// How far each partition of the topic has been read; `None` until they are known.
    pub(super) partitions: Option<BTreeMap<i32, Place>>,
    /// When the topic was last read without an error.
    pub(super) read_at: Tick,
    pub(super) failure: Option<String>,
    /// The cluster whose reports are wanted; reports of other clusters on the topic are left alone.
    pub(super) cluster_id: Option<Arc<str>>,
    pub(super) model: LoadModel,
    needs: Option<(Arc<PartitionLoads>, Tick)>,
}

/// What needs are computed from: the model as it was, which costs little to copy, and the topics.
#[derive(Debug)]
pub(super) struct Question {
    model: LoadModel,
    topics: NamedValue,
    now: Now,
}

impl Question {
    /// When it was asked.
    pub(super) fn asked(&self) -> Tick {
        self.now.tick
    }

    /// What partitions and brokers need.
    pub(super) fn answer(&self) -> PartitionLoads {
        let Some(Topics(topics)) = self.topics.get() else { return PartitionLoads::default() };
        PartitionLoads {
            partitions: self.model.partitions_of(topics, self.now.wall),
            brokers: self.model.brokers(topics, self.now.wall),
        }
    }
}

/// How far a partition of the topic has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Where reading began.
    pub(super) start: i64,
    /// The next offset.
    pub(super) next: i64,
    /// The end, as far as it is known.
    pub(super) end: i64,
    /// Whether the end that it had at the start has been reached.
    pub(super) caught_up: bool,
    /// Whether it is known where reading begins.
    pub(super) started: bool,
    /// When the last reading was asked for that has reached the end.
    pub(super) at_end: Option<Tick>,
}

impl Gathered {
    pub(super) fn new(load: LoadConfig) -> Self {
        Self {
            brokers: BTreeMap::new(),
            unreadable: 0,
            unreadable_at: None,
            ahead: 0,
            partitions: None,
            read_at: Tick::default(),
            failure: None,
            cluster_id: None,
            model: LoadModel::new(load),
            needs: None,
        }
    }

    /// What the agents reported last, once reading has begun.
    pub(super) fn reports(&self, now: Now) -> Option<BrokerReports> {
        let partitions = self.partitions.as_ref()?;
        let brokers = self.brokers.iter().map(|(id, (report, received))| {
            let age = report.age.saturating_add(now.tick.since(*received));
            (*id, BrokerReport { age, ..report.clone() })
        });
        let at_end = partitions.values().map(|place| place.at_end).min().flatten();
        Some(BrokerReports {
            read_to_end_ago: at_end.map(|at| now.tick.since(at)),
            brokers: brokers.collect(),
            unreadable: self.unreadable,
            caught_up: partitions.values().all(|place| place.caught_up),
        })
    }

    /// The share of what there was to read back that has been read, while something is left of it.
    pub(super) fn read_back(&self) -> Option<f64> {
        let partitions = self.partitions.as_ref()?;
        if partitions.values().all(|place| place.caught_up) {
            return None;
        }
        let sum = |of: fn(&Place) -> i64| partitions.values().map(of).sum::<i64>().max(0) as f64;
        let all = sum(|place| (place.end - place.start).max(0));
        Some(if all > 0.0 { sum(|place| (place.next - place.start).max(0)) / all } else { 0.0 })
    }

    /// What partitions and brokers need, once the reports of the window are in, as old as the last reading of the topic.
    pub(super) fn needs(&self) -> Option<(Arc<PartitionLoads>, Tick)> {
        let (needs, _) = self.needs.as_ref()?;
        Some((Arc::clone(needs), self.read_at))
    }

    /// Takes in what a cycle knew. Where it is time to compute the needs anew, gives back what that takes: it is done without a
    /// lock on this, and beside the cycle, as it takes long in large clusters.
    pub(super) fn after_cycle(&mut self, state: &State) -> Option<Question> {
        if let Some(liveness) = state.get::<Liveness>()
            && self.cluster_id.as_ref() != Some(&liveness.value.cluster_id.0)
        {
            self.cluster_id = Some(Arc::clone(&liveness.value.cluster_id.0));
        }
        let now = state.now();
        if let Some(ongoing) = state.get::<OngoingReassignments>() {
            self.model.reassigning(ongoing.value.0.keys(), now.wall);
        }
        let caught_up = self.partitions.as_ref().is_some_and(|all| all.values().all(|place| place.caught_up));
        let fresh = |(_, at): &(_, Tick)| now.tick.since(*at) < NEEDS_EVERY;
        // Half of what there is to read back would make small peaks of large ones.
        if !caught_up || self.needs.as_ref().is_some_and(fresh) {
            return None;
        }
        let topics = state.shared::<Topics>()?;
        self.model.retain(&topics.get::<Topics>()?.0, now.wall);
        Some(Question { model: self.model.clone(), topics, now })
    }

    /// Takes in the answer to a [`Question`].
    pub(super) fn take_needs(&mut self, needs: PartitionLoads, asked: Tick) {
        let known = self.needs.take().map(|(known, _)| known).filter(|known| **known == needs);
        self.needs = Some((known.unwrap_or_else(|| Arc::new(needs)), asked));
    }

    /// Takes in when the agents reported last, and how far apart in milliseconds their reports were, as it was known before a restart: who
    /// has been silent for long has not been silent for ever.
    pub(super) fn remember(
        &mut self,
        reports: &BTreeMap<i32, i64>,
        intervals: &BTreeMap<i32, u64>,
        now: Now,
    ) {
        for (id, made) in reports.iter().take(MOST_BROKERS) {
            let made = Timestamp(*made);
            let interval = intervals.get(id).copied().map(Duration::from_millis);
            let report =
                BrokerReport { made, age: now.wall.since(made), interval, ..BrokerReport::default() };
            self.brokers.insert(BrokerId(*id), (report, now.tick));
        }
    }

    /// Takes in a report, unless it is of another cluster as far as can be told. It is no older than `oldest`.
    pub(super) fn take(&mut self, stats: &BrokerStats, appended_ms: i64, now: Now, oldest: Option<Duration>) {
        let foreign = match (&self.cluster_id, &stats.cluster_id) {
            (Some(ours), Some(theirs)) => **ours != **theirs,
            _ => false,
        };
        if foreign || stats.id < 0 {
            return;
        }
        let id = BrokerId(stats.id);
        let made = self.made(id, stats, now);
        // Of whom it is, is known a moment after the start; what was of others would stay for a day.
        if self.cluster_id.is_some() || stats.cluster_id.is_none() {
            self.model.absorb(made, stats.leader_replica_stats.iter().map(sample));
        }
        // The age is of the fact, not of the reading: by the broker's clock that stamped the record, and never negative.
        let age = now.wall.since(Timestamp(appended_ms)).min(oldest.unwrap_or(Duration::MAX));
        // Not by when it was made: an agent whose clock was set back speaks all the same.
        let known = self.brokers.get(&id);
        if known.is_some_and(|(before, at)| before.age.saturating_add(now.tick.since(*at)) < age) {
            return;
        }
        let interval = self.interval(id, stats, made, age, now);
        self.make_room(id);
        let report = BrokerReport { interval, ..report(stats, made, age) };
        self.brokers.insert(id, (report, now.tick));
    }

    /// How far apart an agent's reports are. What a report says is the time that its counts cover: nothing in one that has none, as that of
    /// a failure, where what was known holds; and more than the interval behind some of those, where the report before tells it.
    fn interval(
        &self,
        id: BrokerId,
        stats: &BrokerStats,
        made: Timestamp,
        age: Duration,
        now: Now,
    ) -> Option<Duration> {
        let before = self.brokers.get(&id);
        let known = before.and_then(|(report, _)| report.interval);
        let told = u64::try_from(stats.interval_ms).ok().filter(|told| *told > 0).map(Duration::from_millis);
        let Some(told) = told.filter(|told| *told <= LONGEST_INTERVAL) else { return known };
        // By both clocks, as reports that had to wait come all at once, and clocks are set.
        let apart = before.map(|(report, at)| {
            let came = report.age.saturating_add(now.tick.since(*at)).saturating_sub(age);
            came.max(made.since(report.made))
        });
        let covered = apart.filter(|apart| !apart.is_zero()).map_or(told, |apart| told.min(apart));
        // It is measured, and differs by milliseconds from what was set.
        Some(Duration::from_secs((covered.as_millis() as u64 + 500) / 1000))
    }

    /// When a report was made, but not in the future: else no report after it would be newer, until our clock is there.
    fn made(&mut self, id: BrokerId, stats: &BrokerStats, now: Now) -> Timestamp {
        let made = Timestamp(stats.timestamp);
        if made.since(now.wall) <= AHEAD {
            return made;
        }
        self.ahead += 1;
        if self.ahead.is_power_of_two() {
            tracing::warn!(broker = %id, made = made.0, reports = self.ahead,
                "the clock of an agent is ahead, its report counts as made now");
        }
        now.wall
    }

    /// The one that has been silent for longest makes room.
    fn make_room(&mut self, id: BrokerId) {
        if !self.brokers.contains_key(&id) && self.brokers.len() >= MOST_BROKERS {
            let oldest = self.brokers.iter().min_by_key(|(_, (report, _))| report.made).map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                self.brokers.remove(&oldest);
            }
        }
    }
}

fn rate(rate: i64) -> Option<u64> {
    u64::try_from(rate).ok()
}

/// Failed log directories that are kept of a report: more than any broker has.
const MOST_DIRS: usize = 100;
/// Of what an agent says in words so much is kept.
const MOST_WORDS: usize = 1_000;

/// What comes out again in logs, mails and terminals: one line, and no longer than it needs to be.
fn plain(words: &str) -> String {
    words.chars().take(MOST_WORDS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A percentage in thousandths; nothing where it is not known or cannot be one.
fn permille(percent: f64) -> Option<u32> {
    (0.0..=100.0).contains(&percent).then(|| (percent * 10.0).round() as u32)
}

/// Means over a quarter of an hour: a burst of seconds is no need.
fn sample(replica: &brokerstats::ReplicaStat) -> Sample<'_> {
    Sample {
        topic: &replica.topic,
        partition: replica.partition,
        bytes_in: rate(replica.bytes_in_15_min_mean_rate),
        bytes_out: rate(replica.bytes_out_15_min_mean_rate),
        in_reassignment: replica.in_reassignment,
    }
}

fn report(stats: &BrokerStats, made: Timestamp, age: Duration) -> BrokerReport {
    let failure_reason = stats.failure_reason.as_ref().map(|reason| format!("{reason:?}"));
    let failure_detail = stats.failure_detail.as_deref().map(plain);
    let failure = stats.has_failure.then(|| {
        let words = failure_detail.clone().or_else(|| failure_reason.clone());
        words.unwrap_or_else(|| "unknown failure".to_owned())
    });
    let dirs = stats.log_dirs.iter().zip(&stats.log_dir_errors).filter(|(_, error)| **error != 0);
    let replicas = if age <= PRESENT { stats.leader_replica_stats.as_slice() } else { &[] };
    let partitions = replicas.iter().filter_map(|replica| {
        let at = TopicPartition::new(replica.topic.as_str(), replica.partition);
        Some((at, rate(replica.bytes_in_15_min_mean_rate)?))
    });
    BrokerReport {
        made,
        age,
        interval: None,
        leaders_bytes_in_per_second: rate(stats.leaders_bytes_in_1_min_rate),
        leaders_bytes_out_per_second: rate(stats.leaders_bytes_out_1_min_rate),
        partitions_bytes_in_per_second: Arc::new(partitions.collect()),
        failure,
        failure_reason,
        failure_detail,
        failed_log_dirs: dirs.take(MOST_DIRS).map(|(path, _)| plain(path)).collect(),
        request_handlers_idle_permille: permille(stats.request_handler_idle_percent),
    }
}
