//! The monitor `broker_probe`: a connection and a full API call to every broker's advertised listener, with the
//! cluster's own security settings.
//!
//! It asks the same question as `kafka_metadata`, but of every broker that has ever been known, dead ones included,
//! and it looks at nothing but whether an answer comes, and from a broker of this cluster: the address of a dead one may
//! have gone over to another cluster. A failing probe alone makes no broker dead.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cluster::{BrokerAddress, BrokerId, ClientError, ClusterId};
use control::config::HumanDuration;
use control::effect::Contribution;
use control::state::NamedValue;
use control::{KnownBrokers, Liveness, Now, Probe, Probes, State, Tick};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::task::Task;
use crate::plugin::{BuildContext, ConfigProblem, MonitorConfig, MonitorPlugin, Source};

/// `type: broker_probe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrokerProbeConfig {
    /// How often each broker is probed.
    pub interval: HumanDuration,
    /// How long a broker may take to answer.
    pub timeout: HumanDuration,
    /// How many are probed at once.
    pub parallel: usize,
}

impl Default for BrokerProbeConfig {
    /// 64 at once: a rack of 30 brokers that swallow every packet costs one timeout, not thirty.
    fn default() -> Self {
        Self { interval: HumanDuration::seconds(1), timeout: HumanDuration::seconds(2), parallel: 64 }
    }
}

impl MonitorConfig for BrokerProbeConfig {
    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut problem = |path: &str, message: &str| {
            problems.push(ConfigProblem { path: path.to_owned(), message: message.to_owned() });
        };
        if self.parallel == 0 {
            problem("parallel", "at least one broker must be probed at once");
        }
        for (path, duration) in [("interval", self.interval), ("timeout", self.timeout)] {
            if duration.0 < Duration::from_millis(100) {
                problem(path, "must be at least 100ms: the brokers have other work");
            }
        }
        problems
    }

    fn build(&self, context: &BuildContext) -> Result<MonitorPlugin, String> {
        let (targets, told) = watch::channel(Targets::new());
        let newest = Arc::new(Mutex::new(None));
        let prober = Prober {
            config: self.clone(),
            context: context.clone(),
            targets: told,
            shared: Arc::clone(&newest),
            results: BTreeMap::new(),
            answers: BTreeMap::new(),
            in_flight: BTreeSet::new(),
            jobs: JoinSet::new(),
        };
        let task = Task::spawn(prober.run());
        let name = context.name.clone();
        Ok(MonitorPlugin::Source(Arc::new(BrokerProbe { name, targets, newest, _task: task })))
    }
}

type Targets = BTreeMap<BrokerId, BrokerAddress>;
type Shared = Arc<Mutex<Option<(Arc<Probes>, Tick)>>>;

struct BrokerProbe {
    name: String,
    targets: watch::Sender<Targets>,
    newest: Shared,
    _task: Task,
}

impl Source for BrokerProbe {
    fn name(&self) -> &str {
        &self.name
    }

    fn latest(&self, _now: Now) -> Contribution {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let attributes = newest.map(|(probes, as_of)| NamedValue::of(probes, as_of)).into_iter().collect();
        Contribution { attributes, findings: Vec::new() }
    }

    fn after_cycle(&self, state: &State) {
        let mut targets = Targets::new();
        if let Some(known) = state.get::<KnownBrokers>() {
            targets.extend(known.value.0.iter().map(|(id, known)| (*id, known.broker.address.clone())));
        }
        if let Some(liveness) = state.get::<Liveness>() {
            let named = liveness.value.fenced.iter().chain(&liveness.value.live);
            targets.extend(named.map(|(id, broker)| (*id, broker.address.clone())));
        }
        self.targets.send_if_modified(|old| {
            let changed = *old != targets;
            *old = targets;
            changed
        });
    }
}

struct Prober {
    config: BrokerProbeConfig,
    context: BuildContext,
    targets: watch::Receiver<Targets>,
    shared: Shared,
    results: BTreeMap<BrokerId, (Probe, Tick)>,
    /// How long the last answers took.
    answers: BTreeMap<BrokerId, VecDeque<Duration>>,
    in_flight: BTreeSet<BrokerId>,
    jobs: JoinSet<(BrokerId, Tick, Probe)>,
}

impl Prober {
    async fn run(mut self) {
        let mut interval = tokio::time::interval(self.config.interval.0);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = interval.tick() => self.probe_all(),
                Some(done) = self.jobs.join_next() => match done {
                    Ok((id, asked, probe)) => self.take(id, asked, probe),
                    Err(why) => {
                        // Whose it was is not told: all are given up and made anew, so that none is waited for that never comes.
                        tracing::error!(error = %why, "a probe has died; all are made anew");
                        self.jobs = JoinSet::new();
                        self.in_flight.clear();
                    }
                },
                changed = self.targets.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.probe_all();
                }
            }
        }
    }

    /// Starts a probe of every target that has none under way, those probed longest ago first.
    fn probe_all(&mut self) {
        let targets = self.targets.borrow_and_update().clone();
        self.results.retain(|id, (probe, _)| targets.get(id) == Some(&probe.address));
        self.answers.retain(|id, _| self.results.contains_key(id));
        let now = self.context.clock.now().tick;
        let mut due: Vec<(Option<Tick>, BrokerId, BrokerAddress)> = targets
            .into_iter()
            .filter(|(id, _)| !self.in_flight.contains(id))
            .map(|(id, at)| (self.results.get(&id).map(|(_, asked)| *asked), id, at))
            .collect();
        due.sort();
        let room = self.config.parallel.saturating_sub(self.in_flight.len());
        for (_, id, at) in due.into_iter().take(room) {
            self.in_flight.insert(id);
            let (reader, limit) = (Arc::clone(&self.context.connection.reader), self.config.timeout.0);
            let clock = Arc::clone(&self.context.clock);
            self.jobs.spawn(async move {
                let failure = match reader.ask(&at, limit).await {
                    Ok(answer) => is_of_another(reader.expected_cluster(), &at, answer.cluster_id),
                    Err(why) => Some(why),
                };
                let failure = failure.map(|why| why.to_string());
                let took = clock.now().tick.since(now);
                (id, now, Probe { address: at, failure, took, usual: None })
            });
        }
        self.show();
    }

    fn take(&mut self, id: BrokerId, asked: Tick, mut probe: Probe) {
        self.in_flight.remove(&id);
        let answers = self.answers.entry(id).or_default();
        if probe.failure.is_none() {
            answers.push_back(probe.took);
            answers.drain(..answers.len().saturating_sub(REMEMBERED));
        }
        probe.usual = usual(answers);
        let before = self.results.insert(id, (probe, asked));
        let failed = |result: Option<&(Probe, Tick)>| result.map(|(probe, _)| probe.failure.is_some());
        let changed = failed(before.as_ref()) != failed(self.results.get(&id));
        self.show();
        if changed {
            self.context.wake.wake();
        }
    }

    /// Shows all results; they are as old as the oldest of them.
    fn show(&self) {
        let Some(oldest) = self.results.values().map(|(_, asked)| *asked).min() else { return };
        let probes = Probes(self.results.iter().map(|(id, (probe, _))| (*id, probe.clone())).collect());
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = Some((Arc::new(probes), oldest));
    }
}

/// So many answers of a broker are remembered: those of half a minute, at one a second. The median of fewer than half of them says
/// nothing yet.
const REMEMBERED: usize = 31;

/// The median of the last answers, where they are enough.
fn usual(answers: &VecDeque<Duration>) -> Option<Duration> {
    let mut sorted: Vec<Duration> = answers.iter().copied().collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().filter(|_| sorted.len() > REMEMBERED / 2)
}

/// What is wrong with an answer for this cluster, if another one is expected there.
fn is_of_another(expected: Option<ClusterId>, at: &BrokerAddress, id: ClusterId) -> Option<ClientError> {
    expected.filter(|expected| *expected != id).map(|_| ClientError::OtherCluster { at: at.to_string(), id })
}

#[cfg(test)]
mod tests {
    use cluster::{Broker, Reader as _};
    use control::memory::KnownBroker;
    use control::{Attribute, Timestamp};
    use tokio::time::Instant;

    use super::*;
    use crate::plugins::fakes::{Fake, context, until};

    #[tokio::test(start_paused = true)]
    async fn drk_9_a_rack_that_swallows_every_packet_costs_one_timeout() {
        let took = all_are_probed(Fake::default()).await;
        assert!(took < BrokerProbeConfig::default().timeout.0 * 2, "it took {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_dies_is_made_anew() {
        all_are_probed(Fake { dying: 1.into(), ..Fake::default() }).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_for_another_cluster_is_none() {
        let fake = Fake::default();
        for id in 1..=30 {
            fake.answer_at(&address(id), "other");
        }
        fake.expect_cluster(Some(&ClusterId("ours".into())));
        let fake = Arc::new(fake);
        let context = context(&fake);
        let probes = probes(&context, |probe| probe.failure.is_some()).await;
        let failure = probes.0[&BrokerId(3)].failure.as_deref();
        assert_eq!(failure, Some("a broker of another cluster (other) answers at b3:9092"));
        // Where nobody has said which cluster it is, an answer is an answer.
        fake.expect_cluster(None);
        self::probes(&context, |probe| probe.failure.is_none()).await;
    }

    #[test]
    fn the_usual_time_is_the_median_of_enough_answers() {
        let mut answers: VecDeque<Duration> = (1..=15).map(Duration::from_millis).collect();
        assert_eq!(usual(&answers), None);
        // One that took long changes nothing.
        answers.push_front(Duration::from_secs(2));
        assert_eq!(usual(&answers), Some(Duration::from_millis(9)));
    }

    fn address(id: i32) -> BrokerAddress {
        BrokerAddress { host: format!("b{id}").into(), port: 9092 }
    }

    /// How long it takes until each of thirty brokers has a probe that failed.
    async fn all_are_probed(fake: Fake) -> Duration {
        let begun = Instant::now();
        probes(&context(&Arc::new(fake)), |probe| probe.failure.is_some()).await;
        begun.elapsed()
    }

    /// The probes of thirty brokers, as soon as it holds for each of them.
    async fn probes(context: &BuildContext, holds: impl Fn(&Probe) -> bool) -> Probes {
        let config = BrokerProbeConfig::default();
        let MonitorPlugin::Source(monitor) = config.build(context).unwrap() else {
            panic!("a probe is a source");
        };
        let known = (1..=30).map(|id| {
            let broker = Broker { id: BrokerId(id), address: address(id), rack: None };
            (BrokerId(id), KnownBroker { broker, last_live: Timestamp(0), listed: None })
        });
        let now = context.clock.now();
        let mut state = State::new("test".into(), now, Arc::default(), Arc::default(), Arc::default());
        state.put(KnownBrokers(Arc::new(known.collect())), now.tick);
        monitor.after_cycle(&state);
        let newest = || {
            let contribution = monitor.latest(context.clock.now());
            let mut probes =
                contribution.attributes.iter().filter(|attribute| attribute.name == Probes::NAME);
            let probes =
                probes.next().and_then(|probes| probes.value.as_ref().as_any().downcast_ref::<Probes>());
            probes.cloned().unwrap_or_default()
        };
        let so_many = || newest().0.values().filter(|probe| holds(probe)).count();
        until("every broker was probed", || so_many() == 30).await;
        newest()
    }
}
