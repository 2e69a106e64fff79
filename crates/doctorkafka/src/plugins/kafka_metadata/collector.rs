//! The task behind the monitor: asks, counts, reads, and keeps the newest of everything.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cluster::{
    Broker, BrokerAddress, BrokerAnswer, BrokerId, ClientError, ClusterId, LogDir, Reassignments, TopicTable,
};
use control::effect::Contribution;
use control::state::NamedValue;
use control::votes::{self, View};
use control::{Disks, Finding, Liveness, OngoingReassignments, QuorumVoters, Severity, Target, Tick, Topics};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use super::led::Led;
use super::{KafkaMetadataConfig, Needs};
use crate::plugin::BuildContext;

/// A broker's answer counts as a vote for this long after it was asked: as long as a broker may take to answer, and
/// one more round. Older than that, a broker that hangs would go on voting for the past.
const VIEW_COUNTS_FOR: Duration = Duration::from_secs(5);

/// Bounds for whom is asked when nobody is known to be alive.
const MOST_STRANGERS_ASKED: usize = 20;

/// While something is going on, reading may take at most this share of the time: one part in ten.
const BUSY_SHARE: u32 = 10;

/// The pause after a failed read grows up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The newest view, as the cycle takes it.
#[derive(Clone, Debug, Default)]
pub(super) struct Newest {
    liveness: Option<(Arc<Liveness>, Tick)>,
    topics: Option<(Arc<Topics>, Tick)>,
    reassignments: Option<(Arc<OngoingReassignments>, Tick)>,
    disks: Option<(Arc<Disks>, Tick)>,
    voters: Option<(Arc<QuorumVoters>, Tick)>,
    findings: Vec<Finding>,
}

impl Newest {
    pub(super) fn contribution(&self) -> Contribution {
        let attributes = [
            self.liveness.clone().map(|(value, as_of)| NamedValue::of(value, as_of)),
            self.topics.clone().map(|(value, as_of)| NamedValue::of(value, as_of)),
            self.reassignments.clone().map(|(value, as_of)| NamedValue::of(value, as_of)),
            self.disks.clone().map(|(value, as_of)| NamedValue::of(value, as_of)),
            self.voters.clone().map(|(value, as_of)| NamedValue::of(value, as_of)),
        ];
        Contribution {
            attributes: attributes.into_iter().flatten().collect(),
            findings: self.findings.clone(),
        }
    }
}

type LogDirAnswers = BTreeMap<BrokerId, Result<Vec<LogDir>, ClientError>>;

/// What a job brought.
enum Brought {
    Answer(BrokerAddress, Tick, Result<BrokerAnswer, ClientError>),
    /// A bootstrap server, asked for nothing but the cluster's id.
    Word(BrokerAddress, Option<ClusterId>),
    Topics(Tick, Result<(Reassignments, TopicTable), ClientError>),
    Disks(Tick, LogDirAnswers),
    Voters(Tick, Result<Option<BTreeSet<BrokerId>>, ClientError>),
}

/// When something that is read again and again is due.
#[derive(Default)]
struct Schedule {
    running: bool,
    wanted: bool,
    started: Tick,
    took: Duration,
    failures: u32,
}

impl Schedule {
    fn due(&self, now: Tick, every: Duration) -> bool {
        let pause = if self.failures > 0 {
            LONGEST_PAUSE.min(Duration::from_secs(1) * 2_u32.saturating_pow(self.failures - 1))
        } else if self.wanted {
            Duration::ZERO
        } else {
            every
        };
        !self.running && (self.started == Tick::default() || now.since(self.started) >= pause)
    }

    fn start(&mut self, now: Tick) {
        self.running = true;
        self.wanted = false;
        // The first moment of a process is no "never".
        self.started = now.max(Tick(1));
    }

    fn end(&mut self, now: Tick, ok: bool) {
        self.running = false;
        self.took = now.since(self.started);
        self.failures = if ok { 0 } else { self.failures.saturating_add(1) };
    }
}

/// Asks, counts, reads.
pub(super) struct Collector {
    config: KafkaMetadataConfig,
    context: BuildContext,
    needs: watch::Receiver<Needs>,
    shared: Arc<Mutex<Newest>>,
    newest: Newest,
    views: BTreeMap<BrokerAddress, View>,
    failures: BTreeMap<BrokerAddress, ClientError>,
    asked: BTreeSet<BrokerAddress>,
    /// When it became the cluster that it is: what was asked for before belongs to another one.
    since: Tick,
    in_flight: BTreeSet<BrokerAddress>,
    led: Led,
    topics: Schedule,
    disks: Schedule,
    voters: Schedule,
    vote_findings: Vec<Finding>,
    topics_finding: Option<Finding>,
    disk_findings: Vec<Finding>,
    jobs: JoinSet<Brought>,
    /// With whom the next read of the topics begins.
    turn: usize,
}

impl Collector {
    pub(super) fn new(
        config: KafkaMetadataConfig,
        context: BuildContext,
        needs: watch::Receiver<Needs>,
        shared: Arc<Mutex<Newest>>,
    ) -> Self {
        Self {
            config,
            context,
            needs,
            shared,
            newest: Newest::default(),
            views: BTreeMap::new(),
            failures: BTreeMap::new(),
            asked: BTreeSet::new(),
            since: Tick::default(),
            in_flight: BTreeSet::new(),
            led: Led::default(),
            topics: Schedule::default(),
            disks: Schedule::default(),
            voters: Schedule::default(),
            vote_findings: Vec::new(),
            topics_finding: None,
            disk_findings: Vec::new(),
            jobs: JoinSet::new(),
            turn: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let mut interval = tokio::time::interval(self.config.interval.0);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = interval.tick() => self.ask(),
                Some(brought) = self.jobs.join_next() => {
                    match brought {
                        Ok(brought) => self.take(brought),
                        Err(why) => self.start_over(&why),
                    }
                }
                changed = self.needs.changed() => if changed.is_err() { return },
            }
            self.read();
            self.show();
        }
    }

    /// A job that panicked is a defect of the client. Which one it was is not told: all are given up and asked anew, so that
    /// none is waited for that never comes.
    fn start_over(&mut self, why: &JoinError) {
        tracing::error!(error = %why, "a metadata job has died; all are asked anew");
        self.jobs = JoinSet::new();
        self.in_flight.clear();
        let now = self.now();
        for schedule in [&mut self.topics, &mut self.disks, &mut self.voters] {
            if schedule.running {
                schedule.end(now, false);
            }
        }
    }

    fn now(&self) -> Tick {
        self.context.clock.now().tick
    }

    /// Asks some brokers who is alive.
    fn ask(&mut self) {
        let now = self.now();
        self.views.retain(|_, view| now.since(view.asked_at) <= VIEW_COUNTS_FOR);
        let targets = self.targets();
        self.views.retain(|at, _| targets.contains(at));
        self.failures.retain(|at, _| targets.contains(at));
        if self.views.is_empty() {
            self.vote();
        }
        for at in &targets {
            if self.in_flight.insert(at.clone()) {
                let (reader, limit, at) =
                    (Arc::clone(&self.context.connection.reader), self.config.ask_timeout.0, at.clone());
                self.jobs.spawn(async move {
                    let answer = reader.ask(&at, limit).await;
                    Brought::Answer(at, now, answer)
                });
            }
        }
        self.asked = targets;
        self.ask_where_it_leads(now);
    }

    /// Asks the bootstrap servers that are no broker's address, or have not answered.
    fn ask_where_it_leads(&mut self, now: Tick) {
        let reader = &self.context.connection.reader;
        let mut bootstrap = reader.bootstrap();
        bootstrap.truncate(MOST_STRANGERS_ASKED);
        let expected = reader.expected_cluster();
        for at in self.led.due(now, &bootstrap, &self.asked, expected.as_ref()) {
            let (reader, limit) = (Arc::clone(reader), self.config.ask_timeout.0);
            self.jobs.spawn(async move {
                let answer = reader.ask(&at, limit).await;
                Brought::Word(at, answer.ok().map(|answer| answer.cluster_id))
            });
        }
    }

    /// The other cluster to which the bootstrap servers lead.
    fn led_elsewhere(&self) -> Option<ClusterId> {
        self.led.elsewhere(self.context.connection.reader.expected_cluster().as_ref()).cloned()
    }

    fn hear(&mut self, at: &BrokerAddress, word: Option<&ClusterId>) {
        let reader = &self.context.connection.reader;
        if reader.bootstrap().contains(at) {
            self.led.hear(at, word, reader.expected_cluster().as_ref());
        }
    }

    /// Whom to ask: some of the live brokers, spread over the ids; when none of them answers, or all for another cluster,
    /// everybody who may.
    fn targets(&self) -> BTreeSet<BrokerAddress> {
        let live: Vec<&BrokerAddress> = match &self.newest.liveness {
            Some((liveness, _)) => liveness.live.values().map(|broker| &broker.address).collect(),
            None => Vec::new(),
        };
        let (willing, failing): (Vec<&BrokerAddress>, Vec<&BrokerAddress>) =
            live.iter().partition(|at| !self.failures.contains_key(*at));
        let mut targets: BTreeSet<BrokerAddress> = BTreeSet::new();
        let count = self.config.ask.min(willing.len());
        targets.extend((0..count).map(|i| willing[i * willing.len() / count].clone()));
        targets.extend(failing.into_iter().take(self.config.ask).cloned());
        let elsewhere =
            self.newest.liveness.as_ref().is_some_and(|(liveness, _)| !self.is_expected(liveness));
        if self.views.is_empty() || elsewhere || self.led_elsewhere().is_some() {
            let strangers = self.context.connection.reader.bootstrap().into_iter();
            let strangers = strangers.chain(self.needs.borrow().known.clone());
            targets.extend(strangers.take(MOST_STRANGERS_ASKED));
        }
        targets
    }

    fn take(&mut self, brought: Brought) {
        match brought {
            Brought::Answer(at, asked_at, answer) => {
                self.in_flight.remove(&at);
                self.hear(&at, answer.as_ref().ok().map(|answer| &answer.cluster_id));
                match answer {
                    Ok(answer) => {
                        self.failures.remove(&at);
                        self.views.insert(at, View { asked_at, answer });
                    }
                    Err(why) => {
                        self.views.remove(&at);
                        self.failures.insert(at, why);
                    }
                }
                self.vote();
            }
            Brought::Word(at, word) => {
                self.hear(&at, word.as_ref());
                self.vote();
            }
            Brought::Topics(asked_at, read) => self.take_topics(asked_at, read),
            Brought::Disks(asked_at, answers) => self.take_disks(asked_at, &answers),
            Brought::Voters(asked_at, answer) => self.take_voters(asked_at, answer),
        }
    }

    fn vote(&mut self) {
        let before = self.newest.liveness.as_ref().map(|(liveness, _)| Arc::clone(liveness));
        let (voters, strangers) = self.voters();
        let decided = votes::count(&voters, self.asked.len(), before.as_deref());
        let decided = decided.map(|mut decided| {
            decided.strangers.extend(strangers);
            decided
        });
        self.vote_findings = match &decided {
            Some(decided) => disagreements(decided),
            None if self.failures.is_empty() && self.views.is_empty() => Vec::new(),
            None => vec![self.nobody_to_believe()],
        };
        self.vote_findings.extend(self.refusals());
        let expected = self.context.connection.reader.expected_cluster();
        self.vote_findings.extend(self.led.findings(expected.as_ref()));
        let Some(decided) = decided else { return };
        let reader = &self.context.connection.reader;
        if reader.expected_cluster().is_none() {
            reader.expect_cluster(Some(&decided.liveness.cluster_id));
        }
        if before.as_ref().is_some_and(|before| before.cluster_id != decided.liveness.cluster_id) {
            self.forget_what_was_read();
        }
        let changed = before.as_ref().is_none_or(|before| {
            !before.live.keys().eq(decided.liveness.live.keys())
                || before.controller != decided.liveness.controller
        });
        // In KRaft each broker names a random one as the controller: that is no change of anything.
        let moved = before.as_ref().is_none_or(|before| {
            !before.live.keys().eq(decided.liveness.live.keys())
                || (!decided.liveness.capabilities.kraft && changed)
        });
        let value = match before {
            Some(before) if *before == decided.liveness => before,
            _ => Arc::new(decided.liveness),
        };
        self.newest.liveness = Some((value, decided.as_of));
        if moved {
            self.topics.wanted = true;
            self.disks.wanted = true;
            self.voters.wanted = true;
            self.context.wake.wake();
        }
    }

    /// What was read belongs to the cluster that it was before.
    fn forget_what_was_read(&mut self) {
        self.since = self.now();
        self.newest = Newest::default();
        (self.topics_finding, self.disk_findings) = (None, Vec::new());
        (self.topics.wanted, self.disks.wanted) = (true, true);
    }

    /// Whether this is the cluster that is expected, as far as one is.
    fn is_expected(&self, liveness: &Liveness) -> bool {
        let expected = self.context.connection.reader.expected_cluster();
        expected.is_none_or(|expected| expected == liveness.cluster_id)
    }

    /// Whose answers count: as long as somebody answers for the expected cluster, those for others do not, however many
    /// they are, unless that is where the bootstrap servers lead.
    fn voters(&self) -> (Cow<'_, BTreeMap<BrokerAddress, View>>, BTreeMap<BrokerAddress, ClusterId>) {
        if let Some(elsewhere) = self.led_elsewhere() {
            let theirs = self.views.iter().filter(|(_, view)| view.answer.cluster_id == elsewhere);
            let theirs = theirs.map(|(at, view)| (at.clone(), view.clone())).collect();
            return (Cow::Owned(theirs), BTreeMap::new());
        }
        let expected = self.context.connection.reader.expected_cluster();
        let is_ours = |view: &View| Some(&view.answer.cluster_id) == expected.as_ref();
        if !self.views.values().any(is_ours) || self.views.values().all(is_ours) {
            return (Cow::Borrowed(&self.views), BTreeMap::new());
        }
        let (ours, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
            self.views.clone().into_iter().partition(|(_, view)| is_ours(view));
        let strangers = others.into_iter().map(|(at, view)| (at, view.answer.cluster_id)).collect();
        (Cow::Owned(ours), strangers)
    }

    /// Starts reading what is due.
    fn read(&mut self) {
        let Some((liveness, _)) = self.newest.liveness.clone() else { return };
        if !self.is_expected(&liveness) {
            return;
        }
        let now = self.now();
        let busy = self.needs.borrow().busy;
        let topics_every = if busy {
            self.config.interval.0.max(self.topics.took * BUSY_SHARE)
        } else {
            self.config.refresh.0
        };
        let reader = Arc::clone(&self.context.connection.reader);
        if self.topics.due(now, topics_every)
            && let Some(at) = self.believable(&liveness)
        {
            self.topics.start(now);
            let reader = Arc::clone(&reader);
            self.jobs.spawn(async move {
                let read = async { Ok((reader.reassignments().await?, reader.topics(&at).await?)) };
                Brought::Topics(now, read.await)
            });
        }
        let disks_every = if busy { self.config.refresh.0 } else { self.config.log_dirs_refresh.0 };
        if self.disks.due(now, disks_every) {
            self.disks.start(now);
            let reader = Arc::clone(&reader);
            let liveness = Arc::clone(&liveness);
            self.jobs.spawn(async move {
                let brokers: Vec<Broker> = liveness.live.values().cloned().collect();
                Brought::Disks(now, reader.log_dirs(&brokers).await)
            });
        }
        // Voters change as seldom as log directories do.
        if liveness.capabilities.kraft && self.voters.due(now, self.config.log_dirs_refresh.0) {
            self.voters.start(now);
            self.jobs.spawn(async move { Brought::Voters(now, reader.quorum_voters().await) });
        }
    }

    /// The broker whose metadata is read: one that agrees with the majority, another one each time. Who is alive may
    /// not have changed for long, so that metadata that stand still do not show in it.
    fn believable(&mut self, liveness: &Liveness) -> Option<BrokerAddress> {
        let agrees = |view: &&View| view.answer.live.keys().eq(liveness.live.keys());
        let agreeing: Vec<_> = self.views.iter().filter(|(_, view)| agrees(view)).map(|(at, _)| at).collect();
        let chosen = agreeing.get(self.turn.checked_rem(agreeing.len())?).map(|at| (*at).clone());
        self.turn = self.turn.wrapping_add(1);
        chosen
    }

    fn take_topics(&mut self, asked_at: Tick, read: Result<(Reassignments, TopicTable), ClientError>) {
        self.topics.end(self.context.clock.now().tick, read.is_ok());
        if asked_at < self.since {
            return;
        }
        let (reassignments, topics) = match read {
            Ok(read) => read,
            Err(why) => {
                let message = format!("topics and reassignments cannot be read: {why}");
                let severity = if why.is_configuration() { Severity::Critical } else { Severity::Warning };
                self.topics_finding =
                    Some(Finding::new("metadata_unreadable", Target::Cluster, severity, message));
                return;
            }
        };
        // Kafka leaves out what a client may not see, without a word.
        self.topics_finding = topics.is_empty().then(|| {
            let message = "no topic is visible: there is none, or the right Describe on topics is missing";
            Finding::new("no_topics_visible", Target::Cluster, Severity::Info, message)
        });
        let topics_changed = keep(&mut self.newest.topics, Topics(topics), asked_at);
        let moves_changed =
            keep(&mut self.newest.reassignments, OngoingReassignments(reassignments), asked_at);
        if topics_changed || moves_changed || self.needs.borrow().busy {
            self.context.wake.wake();
        }
    }

    fn take_disks(&mut self, asked_at: Tick, answers: &LogDirAnswers) {
        self.disks.end(self.context.clock.now().tick, true);
        if asked_at < self.since {
            return;
        }
        let live =
            |id: &BrokerId| self.newest.liveness.as_ref().is_some_and(|(l, _)| l.live.contains_key(id));
        self.disk_findings = answers
            .iter()
            .filter_map(|(id, answer)| Some((*id, answer.as_ref().err()?)))
            .filter(|(id, _)| live(id))
            .map(|(id, why)| {
                let message = format!("log directories cannot be read: {why}");
                Finding::new("log_dirs_unreadable", Target::Broker(id), Severity::Info, message)
            })
            .collect();
        let read = answers.iter().filter_map(|(id, answer)| Some((*id, answer.as_ref().ok()?.as_slice())));
        let mut disks = Disks::of(read);
        // What a broker said last is better than nothing: one of which nothing is known would be the emptiest of all.
        if let Some((last, _)) = &self.newest.disks {
            for (id, dirs) in last.brokers.iter().filter(|(id, _)| live(id)) {
                disks.brokers.entry(*id).or_insert_with(|| dirs.clone());
            }
        }
        keep(&mut self.newest.disks, disks, asked_at);
    }

    /// That they cannot be read is said by whoever needs them.
    fn take_voters(&mut self, asked_at: Tick, answer: Result<Option<BTreeSet<BrokerId>>, ClientError>) {
        self.voters.end(self.context.clock.now().tick, answer.is_ok());
        if asked_at >= self.since
            && let Ok(Some(voters)) = answer
        {
            keep(&mut self.newest.voters, QuorumVoters { voters }, asked_at);
        }
    }

    fn nobody_to_believe(&self) -> Finding {
        if !self.views.is_empty() {
            let message =
                "the brokers that answer belong to different clusters, as many to one as to another";
            return Finding::new("identity_conflict", Target::Cluster, Severity::Critical, message);
        }
        let causes: BTreeSet<String> = self.failures.values().map(ToString::to_string).collect();
        let causes: Vec<String> = causes.into_iter().take(5).collect();
        let message = format!("no broker can be reached: {}", causes.join("; "));
        Finding::new("cluster_unreachable", Target::Cluster, Severity::Critical, message)
            .waiting_for("any broker of the cluster to answer")
    }

    /// Brokers that refuse who we are. A connection that is closed without a word is a sign of that only where all do it:
    /// a broker that is stopping does so, too.
    fn refusals(&self) -> Option<Finding> {
        let closes = |at: &BrokerAddress| self.failures.get(at).is_some_and(is_closed);
        let all_close = self.views.is_empty() && self.asked.iter().all(closes);
        let is_refusal = |why: &&ClientError| why.is_configuration() || (all_close && is_closed(why));
        let refused = self.failures.values().find(is_refusal)?;
        let message = format!("the security settings do not fit: {refused}");
        Some(Finding::new("security_refused", Target::Cluster, Severity::Critical, message))
    }

    fn show(&mut self) {
        self.newest.findings = self.vote_findings.clone();
        self.newest.findings.extend(self.topics_finding.clone());
        self.newest.findings.extend(self.disk_findings.iter().cloned());
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = self.newest.clone();
    }
}

fn is_closed(why: &ClientError) -> bool {
    matches!(why, ClientError::Closed { .. })
}

/// Keeps the old value where the new one equals it, so that whoever compares sees at once that nothing has changed.
/// Says whether it has.
fn keep<T: PartialEq>(kept: &mut Option<(Arc<T>, Tick)>, value: T, as_of: Tick) -> bool {
    match kept {
        Some((old, old_as_of)) if **old == value => {
            *old_as_of = as_of;
            false
        }
        _ => {
            *kept = Some((Arc::new(value), as_of));
            true
        }
    }
}

fn disagreements(decided: &votes::Decided) -> Vec<Finding> {
    let undecided = decided.undecided.iter().map(|id| {
        let message = format!("as many brokers hold broker {id} to be alive as do not");
        Finding::new("liveness_undecided", Target::Broker(*id), Severity::Warning, message)
            .waiting_for("a majority to agree")
    });
    let strangers = decided.strangers.iter().map(|(at, id)| {
        let message =
            format!("{at} answers for cluster {id}, the others for {}", decided.liveness.cluster_id);
        Finding::new("identity_conflict", Target::Cluster, Severity::Critical, message)
    });
    undecided.chain(strangers).collect()
}
