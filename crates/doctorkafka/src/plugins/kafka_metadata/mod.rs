//! The monitor `kafka_metadata`: brokers, racks, controller, partitions, in-sync replicas, ongoing reassignments and
//! log directories, from the Kafka protocol alone.
//!
//! Liveness is asked for every second, of several brokers. Topics and reassignments are read when something has
//! changed, every second or so while something is going on, and otherwise every `refresh`.

mod collector;
mod led;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use control::config::HumanDuration;
use control::effect::Contribution;
use control::{Attribute, KnownBrokers, Now, State, is_something_going_on};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use self::collector::{Collector, Newest};
use super::task::Task;
use crate::plugin::{BuildContext, ConfigProblem, MonitorConfig, MonitorPlugin, Source};

/// `type: kafka_metadata`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaMetadataConfig {
    /// How often brokers are asked who is alive.
    pub interval: HumanDuration,
    /// How many brokers are asked. Five outvote two with frozen metadata.
    pub ask: usize,
    /// How long one of them may take to answer.
    pub ask_timeout: HumanDuration,
    /// How often topics and reassignments are read when nothing seems to have changed.
    pub refresh: HumanDuration,
    /// How often log directories are read when nothing seems to have changed.
    pub log_dirs_refresh: HumanDuration,
}

impl Default for KafkaMetadataConfig {
    fn default() -> Self {
        Self {
            interval: HumanDuration::seconds(1),
            ask: 5,
            ask_timeout: HumanDuration::seconds(2),
            refresh: HumanDuration::seconds(30),
            log_dirs_refresh: HumanDuration::seconds(300),
        }
    }
}

impl MonitorConfig for KafkaMetadataConfig {
    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut problem = |path: &str, message: &str| {
            problems.push(ConfigProblem { path: path.to_owned(), message: message.to_owned() });
        };
        if self.ask == 0 {
            problem("ask", "at least one broker must be asked");
        }
        let durations = [
            ("interval", self.interval),
            ("ask_timeout", self.ask_timeout),
            ("refresh", self.refresh),
            ("log_dirs_refresh", self.log_dirs_refresh),
        ];
        for (path, duration) in durations {
            if duration.0 < Duration::from_millis(100) {
                problem(path, "must be at least 100ms: the brokers have other work");
            }
        }
        problems
    }

    fn build(&self, context: &BuildContext) -> Result<MonitorPlugin, String> {
        let (needs, told) = watch::channel(Needs::default());
        let newest = Arc::new(Mutex::new(Newest::default()));
        let collector = Collector::new(self.clone(), context.clone(), told, Arc::clone(&newest));
        let task = Task::spawn(collector.run());
        Ok(MonitorPlugin::Source(Arc::new(KafkaMetadata {
            name: context.name.clone(),
            needs,
            newest,
            _task: task,
        })))
    }
}

/// What the collector is told by the cycle that has just ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Needs {
    /// Brokers that were seen alive at some time: whom to ask when nobody else answers.
    known: Vec<cluster::BrokerAddress>,
    /// Something is going on, so that topics and reassignments are wanted fresh.
    busy: bool,
}

struct KafkaMetadata {
    name: String,
    needs: watch::Sender<Needs>,
    newest: Arc<Mutex<Newest>>,
    _task: Task,
}

impl Source for KafkaMetadata {
    fn name(&self) -> &str {
        &self.name
    }

    fn latest(&self, _now: Now) -> Contribution {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).contribution()
    }

    fn after_cycle(&self, state: &State) {
        let known = state.get::<KnownBrokers>().map(|fact| &fact.value.0);
        let known = known.into_iter().flat_map(|all| all.values().map(|known| known.broker.address.clone()));
        let needs = Needs { known: known.collect(), busy: is_something_going_on(state) };
        self.needs.send_if_modified(|old| {
            let changed = *old != needs;
            *old = needs;
            changed
        });
    }
}

/// The names of the attributes that this monitor writes.
pub const WRITES: [&str; 5] = [
    control::Liveness::NAME,
    control::Topics::NAME,
    control::OngoingReassignments::NAME,
    control::Disks::NAME,
    control::QuorumVoters::NAME,
];

#[cfg(test)]
mod tests {
    use cluster::{Broker, BrokerAddress, BrokerId, ClusterId, Reader as _};
    use control::Timestamp;
    use control::memory::KnownBroker;
    use tokio::time::Instant;

    use super::*;
    use crate::plugins::fakes::{Fake, context, until};

    #[tokio::test(start_paused = true)]
    async fn a_question_that_dies_is_asked_anew() {
        let fake = Arc::new(Fake { dying: 1.into(), ..Fake::default() });
        let context = context(&fake);
        let MonitorPlugin::Source(monitor) = KafkaMetadataConfig::default().build(&context).unwrap() else {
            panic!("it collects in a task of its own");
        };
        remember(&monitor, &context, &at("b1"));
        // The made-up broker never answers in time: to know that, it must have been asked a second time.
        let told = || {
            let findings = monitor.latest(context.clock.now()).findings;
            findings.iter().any(|finding| finding.kind == "cluster_unreachable")
        };
        until("the second question has failed", told).await;
        assert_eq!(*fake.dying.lock().unwrap(), 0);
    }

    /// A broker was seen alive at this address, before this process.
    fn remember(monitor: &Arc<dyn Source>, context: &BuildContext, at: &BrokerAddress) {
        let broker = Broker { id: BrokerId(1), address: at.clone(), rack: None };
        let known = KnownBroker { broker, last_live: Timestamp(0), listed: None };
        let now = context.clock.now();
        let mut state = State::new("test".into(), now, Arc::default(), Arc::default(), Arc::default());
        state.put(KnownBrokers(Arc::new([(BrokerId(1), known)].into())), now.tick);
        monitor.after_cycle(&state);
    }

    fn at(host: &str) -> BrokerAddress {
        BrokerAddress { host: host.into(), port: 9092 }
    }

    /// The cluster that the monitor sees, and the kinds of its findings.
    fn seen(monitor: &Arc<dyn Source>, context: &BuildContext) -> (Option<ClusterId>, Vec<String>) {
        let contribution = monitor.latest(context.clock.now());
        let liveness = contribution.attributes.iter().find(|found| found.name == control::Liveness::NAME);
        let liveness =
            liveness.and_then(|found| found.value.as_ref().as_any().downcast_ref::<control::Liveness>());
        let kinds = contribution.findings.iter().map(|finding| finding.kind.to_string()).collect();
        (liveness.map(|liveness| liveness.cluster_id.clone()), kinds)
    }

    #[tokio::test(start_paused = true)]
    async fn the_expected_cluster_is_heard_however_many_answer_for_another() {
        let (ours, other) = (ClusterId("ours".into()), ClusterId("other".into()));
        let fake = Arc::new(Fake::default());
        for host in ["b1", "b2", "b3"] {
            fake.answer_at(&at(host), "other");
        }
        fake.expect_cluster(Some(&ours));
        let context = context(&fake);
        let MonitorPlugin::Source(monitor) = KafkaMetadataConfig::default().build(&context).unwrap() else {
            panic!("it collects in a task of its own");
        };
        // The core tells that from what it remembers, and does nothing.
        until("nobody answers for ours", || seen(&monitor, &context).0 == Some(other.clone())).await;
        assert_eq!(fake.expected_cluster(), Some(ours.clone()), "a vote does not change what is expected");
        fake.answer_at(&at("b0"), "ours");
        until("one answers for ours", || seen(&monitor, &context).0 == Some(ours.clone())).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_of_one_cluster_is_not_taken_for_another_ones() {
        let fake = Arc::new(Fake::default());
        fake.answer_at(&at("b1"), "ours");
        let context = context(&fake);
        let MonitorPlugin::Source(monitor) = KafkaMetadataConfig::default().build(&context).unwrap() else {
            panic!("it collects in a task of its own");
        };
        let has_topics = || {
            let attributes = monitor.latest(context.clock.now()).attributes;
            attributes.iter().any(|found| found.name == control::Topics::NAME)
        };
        until("the topics are read", has_topics).await;
        fake.answer_at(&at("b1"), "other");
        let other = ClusterId("other".into());
        until("it is another cluster", || seen(&monitor, &context).0 == Some(other.clone())).await;
        assert!(!has_topics(), "of the cluster that it was before");
        let later = Instant::now() + Duration::from_secs(60);
        until("a minute is over", || {
            assert!(!has_topics(), "of a cluster that nobody expects");
            Instant::now() >= later
        })
        .await;
        fake.expect_cluster(Some(&other));
        until("they are read there", has_topics).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_vote_says_which_cluster_it_is_and_strangers_are_told_of() {
        let fake = Arc::new(Fake::default());
        fake.answer_at(&at("b1"), "ours");
        let context = context(&fake);
        let MonitorPlugin::Source(monitor) = KafkaMetadataConfig::default().build(&context).unwrap() else {
            panic!("it collects in a task of its own");
        };
        until("it was told", || fake.expected_cluster() == Some(ClusterId("ours".into()))).await;
        fake.answer_at(&at("b1"), "other");
        fake.answer_at(&at("b2"), "ours");
        let told = || seen(&monitor, &context).1.iter().any(|kind| kind == "identity_conflict");
        until("the stranger is told of", told).await;
        assert_eq!(seen(&monitor, &context).0, Some(ClusterId("ours".into())));
    }
    /// A monitor that remembers a broker of `ours` at `b1`, where one still answers, with other bootstrap servers.
    fn remembering(fake: &Arc<Fake>, bootstrap: &[&str]) -> (Arc<dyn Source>, BuildContext) {
        fake.answer_at(&at("b1"), "ours");
        fake.expect_cluster(Some(&ClusterId("ours".into())));
        *fake.bootstrap.lock().unwrap() = Some(bootstrap.iter().map(|host| at(host)).collect());
        let context = context(fake);
        let MonitorPlugin::Source(monitor) = KafkaMetadataConfig::default().build(&context).unwrap() else {
            panic!("it collects in a task of its own");
        };
        remember(&monitor, &context, &at("b1"));
        (monitor, context)
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_bootstrap_servers_lead_counts_although_the_remembered_cluster_answers() {
        let (ours, other) = (ClusterId("ours".into()), ClusterId("other".into()));
        let fake = Arc::new(Fake::default());
        let (monitor, context) = remembering(&fake, &["new", "away"]);
        until("the remembered one answers", || seen(&monitor, &context).0 == Some(ours.clone())).await;
        fake.answer_at(&at("new"), "other");
        until("the addresses count", || seen(&monitor, &context).0 == Some(other.clone())).await;
        let later = Instant::now() + Duration::from_secs(60);
        until("a minute is over", || {
            assert_eq!(seen(&monitor, &context).0, Some(other.clone()), "it has gone over");
            Instant::now() >= later
        })
        .await;
        // The addresses are corrected.
        fake.answer_at(&at("new"), "ours");
        until("they lead to it again", || seen(&monitor, &context).0 == Some(ours.clone())).await;
        // From now on it is settled, whoever gets the address.
        fake.answer_at(&at("new"), "other");
        let later = Instant::now() + Duration::from_secs(60);
        until("another minute is over", || {
            assert_eq!(seen(&monitor, &context).0, Some(ours.clone()), "it has gone over");
            Instant::now() >= later
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_bootstrap_server_that_leads_elsewhere_is_told_of_as_long_as_it_does() {
        let ours = ClusterId("ours".into());
        let fake = Arc::new(Fake::default());
        fake.answer_at(&at("too"), "ours");
        fake.answer_at(&at("wrong"), "other");
        let (monitor, context) = remembering(&fake, &["too", "wrong"]);
        let told = || seen(&monitor, &context).1.iter().any(|kind| kind == "identity_conflict");
        until("it is told of", told).await;
        let later = Instant::now() + Duration::from_secs(60);
        until("a minute is over", || {
            assert!(told(), "it has not been corrected");
            assert_eq!(seen(&monitor, &context).0, Some(ours.clone()));
            Instant::now() >= later
        })
        .await;
        fake.answer_at(&at("wrong"), "ours");
        until("it is corrected", || !told()).await;
    }
}
