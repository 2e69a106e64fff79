//! A small world for tests: a cluster as text goes in, what monitors and operators say comes out as text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use cluster::notation::{ClusterText, Standing};
use cluster::{BrokerId, Capabilities, ClusterId, TopicPartition};

use crate::attributes::*;
use crate::event::{Event, ReassignPartitions, names};
use crate::execution::Execution;
use crate::finding::Finding;
use crate::guard::GuardConfig;
use crate::incident::{FoldLimits, Incidents, Look, fold};
use crate::listed::Listed;
use crate::memory::KnownBroker;
use crate::monitors;
use crate::operators;
use crate::order::{Wish, Wishes};
use crate::plugin::{Monitor, Operator};
use crate::reassigned::Reassigned;
use crate::replacement::Replacements;
use crate::state::State;
use crate::time::{Now, Tick, Timestamp};

/// A cluster, what is known of it, and the plugins that look at it.
pub(crate) struct World {
    pub(crate) text: ClusterText,
    pub(crate) now: Now,
    pub(crate) incidents: Incidents,
    pub(crate) executions: Vec<Arc<Execution>>,
    pub(crate) wishes: Wishes,
    pub(crate) known: BTreeMap<BrokerId, KnownBroker>,
    /// Brokers whose probe does not bring what is expected: a live one fails, a dropped one answers.
    pub(crate) odd_probes: BTreeSet<BrokerId>,
    /// How long brokers usually take to answer the probe.
    pub(crate) usual: BTreeMap<BrokerId, Duration>,
    /// How old the views are.
    pub(crate) liveness_age: Duration,
    pub(crate) probes_age: Duration,
    pub(crate) topics_age: Duration,
    /// How many brokers answer, and how many of them agree.
    pub(crate) answers: (u32, u32),
    pub(crate) capabilities: Capabilities,
    pub(crate) reports: Option<BrokerReports>,
    pub(crate) needs: Option<PartitionLoads>,
    pub(crate) disks: Option<Disks>,
    pub(crate) to_be_replaced: Option<ToBeReplaced>,
    pub(crate) dead_brokers: monitors::dead_brokers::Config,
    pub(crate) healing: operators::under_replicated_partitions::Config,
    pub(crate) agents: operators::no_broker_stats::Config,
    pub(crate) degraded: monitors::degraded_brokers::Config,
    /// Hosts are replaced, too.
    pub(crate) replacing: Option<operators::broker_replacement::Config>,
    pub(crate) voters: Option<QuorumVoters>,
    pub(crate) replacements: Replacements,
    pub(crate) recovery: RecoveryOwner,
    reassigned: Reassigned,
}

/// What one cycle brought.
pub(crate) struct Cycle {
    pub(crate) state: State,
    pub(crate) findings: Vec<Finding>,
    pub(crate) events: Vec<Event>,
    pub(crate) may_give_up: BTreeSet<TopicPartition>,
}

impl World {
    /// A world in which all brokers of the text have been seen before.
    pub(crate) fn new(text: &str) -> Self {
        let text: ClusterText = text.parse().unwrap();
        // Not at zero, so that what is subtracted does not end there unseen.
        let now = Now { tick: Tick(1_000_000), wall: Timestamp(1_700_000_000_000) };
        let known = text.brokers.values().map(|b| {
            (
                b.broker.id,
                KnownBroker {
                    broker: b.broker.clone(),
                    last_live: now.wall,
                    listed: Some(Listed { at: now.wall, ..Listed::default() }),
                },
            )
        });
        Self {
            known: known.collect(),
            text,
            now,
            incidents: Incidents::default(),
            executions: Vec::new(),
            wishes: Wishes::default(),
            odd_probes: BTreeSet::new(),
            usual: BTreeMap::new(),
            liveness_age: Duration::ZERO,
            probes_age: Duration::ZERO,
            topics_age: Duration::ZERO,
            answers: (3, 3),
            capabilities: Capabilities { kraft: true, completes_with_dead_targets: true },
            reports: None,
            needs: None,
            disks: None,
            to_be_replaced: None,
            dead_brokers: monitors::dead_brokers::Config::default(),
            healing: operators::under_replicated_partitions::Config::default(),
            agents: operators::no_broker_stats::Config::default(),
            degraded: monitors::degraded_brokers::Config::default(),
            replacing: None,
            voters: None,
            replacements: Replacements::default(),
            recovery: GuardConfig::default().recovery_owner(),
            reassigned: Reassigned::default(),
        }
    }

    /// A second later the cluster is another.
    pub(crate) fn becomes(&mut self, text: &str) {
        self.skip(1);
        self.text = text.parse().unwrap();
    }

    /// A person's wish.
    pub(crate) fn wish(&self, until_seconds: Option<i64>) -> Wish {
        Wish {
            by: "ann".into(),
            reason: "new disks".into(),
            since: self.now.wall,
            until: until_seconds.map(|seconds| Timestamp(self.now.wall.0 + seconds * 1000)),
        }
    }

    /// Goes on by so many seconds without looking.
    pub(crate) fn skip(&mut self, seconds: u64) {
        self.now.tick = Tick(self.now.tick.0 + seconds * 1000);
        self.now.wall = Timestamp(self.now.wall.0 + i64::try_from(seconds).unwrap() * 1000);
    }

    /// Looks once a second for so many seconds, and gives back the last look.
    pub(crate) fn watch(&mut self, seconds: u64) -> Cycle {
        let mut last = self.look();
        for _ in 0..seconds {
            self.skip(1);
            last = self.look();
        }
        last
    }

    /// The State as the sources fill it.
    pub(crate) fn sources(&self) -> State {
        let mut state = State::new(
            "c".into(),
            self.now,
            Arc::new(self.incidents.clone()),
            Arc::new(self.executions.clone()),
            Arc::new(self.wishes.clone()),
        );
        let ago = |age: Duration| Tick(self.now.tick.0 - u64::try_from(age.as_millis()).unwrap());
        let live = self.text.standing(Standing::Alive);
        let (answered, agreeing) = self.answers;
        let probes = self.known.iter().map(|(id, known)| {
            let fails = live.contains_key(id) == self.odd_probes.contains(id);
            let failure = fails.then(|| "connection refused".to_owned());
            let address = known.broker.address.clone();
            (
                *id,
                Probe {
                    address,
                    failure,
                    took: Duration::from_millis(1),
                    usual: self.usual.get(id).copied(),
                },
            )
        });
        state.put(Probes(probes.collect()), ago(self.probes_age));
        let liveness = Liveness {
            cluster_id: ClusterId("id".into()),
            controller: live.keys().next().copied(),
            live,
            fenced: self.text.standing(Standing::Fenced),
            asked: 3,
            answered,
            agreeing,
            capabilities: self.capabilities,
        };
        state.put(liveness, ago(self.liveness_age));
        state.put(KnownBrokers(Arc::new(self.known.clone())), self.now.tick);
        state.put(Topics(self.text.topics.clone()), ago(self.topics_age));
        state.put(OngoingReassignments(self.text.reassignments.clone()), ago(self.topics_age));
        let mut disks = self.disks.clone().unwrap_or_default();
        disks.sizes.extend(self.text.sizes.clone());
        state.put(disks, self.now.tick);
        if let Some(reports) = &self.reports {
            state.put(reports.clone(), self.now.tick);
        }
        if let Some(needs) = &self.needs {
            state.put(needs.clone(), self.now.tick);
        }
        if let Some(them) = &self.to_be_replaced {
            state.put(them.clone(), self.now.tick);
        }
        if let Some(voters) = &self.voters {
            state.put(voters.clone(), self.now.tick);
        }
        state.put(self.replacements.clone(), self.now.tick);
        state.put(self.recovery.clone(), self.now.tick);
        state
    }

    /// One cycle.
    pub(crate) fn look(&mut self) -> Cycle {
        let mut state = self.sources();
        self.reassigned.see(&mut state);
        let monitors: [Box<dyn Monitor>; 5] = [
            Box::new(monitors::maintenance::Config::default().build("maintenance")),
            Box::new(self.dead_brokers.build("dead_brokers")),
            Box::new(monitors::under_replicated_partitions::Config::default().build("urp")),
            Box::new(monitors::no_broker_stats::Config::default().build("no_broker_stats")),
            Box::new(self.degraded.build("degraded_brokers")),
        ];
        for monitor in monitors {
            let _ = monitor.observe(&mut state);
        }
        let limits = FoldLimits::default();
        let (seen, _) = fold(self.incidents.clone(), state.findings(), self.now, Look::Monitors, &limits);
        state.set_incidents(Arc::new(seen));
        let mut operators: Vec<Box<dyn Operator>> =
            vec![Box::new(self.healing.build("heal")), Box::new(self.agents.build("agents"))];
        if let Some(replacing) = &self.replacing {
            operators.push(Box::new(replacing.build("replace")));
        }
        let mut events = Vec::new();
        let mut may_give_up = BTreeSet::new();
        for operator in operators {
            let verdict = operator.operate(&state);
            may_give_up.extend(verdict.may_give_up);
            for event in &verdict.events {
                assert!(operator.emits().contains(&event.name), "{} is not declared", event.name);
            }
            events.extend(verdict.events);
            for finding in verdict.findings {
                state.report(finding);
            }
        }
        let before = state.incidents().clone();
        let (folded, _) = fold(before, state.findings(), self.now, Look::All, &limits);
        self.incidents = folded;
        Cycle { findings: state.findings().to_vec(), events, may_give_up, state }
    }
}

impl Cycle {
    /// What was found and what is asked for.
    pub(crate) fn text(&self) -> String {
        let mut lines: Vec<String> = self.findings.iter().map(finding_text).collect();
        lines.sort();
        lines.extend(self.events.iter().map(event_text));
        if lines.is_empty() { "nothing\n".to_owned() } else { lines.concat() }
    }

    /// The kinds of the findings and the names of the events.
    pub(crate) fn names(&self) -> Vec<String> {
        let kinds = self.findings.iter().map(|finding| finding.kind.clone());
        let mut all: Vec<String> = kinds.chain(self.events.iter().map(|event| event.name.clone())).collect();
        all.sort();
        all.dedup();
        all
    }

    /// The moves that are asked for.
    pub(crate) fn order(&self) -> Option<ReassignPartitions> {
        let event = self.events.iter().find(|event| event.name == names::REASSIGN_PARTITIONS)?;
        Some(event.payload_as().unwrap())
    }

    /// The brokers that do not answer us, and those of them that stopped a moment ago.
    pub(crate) fn unreachable(&self) -> (BTreeSet<BrokerId>, BTreeSet<BrokerId>) {
        let dead = self.state.get::<DeadBrokers>().unwrap().value;
        (dead.unreachable.clone(), dead.newly_unreachable.clone())
    }

    /// The dead brokers; `None` if it is not known.
    pub(crate) fn dead(&self) -> Option<Vec<i32>> {
        let dead = self.state.get::<DeadBrokers>()?;
        Some(dead.value.dead.keys().map(|id| id.0).collect())
    }
}

fn finding_text(finding: &Finding) -> String {
    let severity = format!("{:?}", finding.severity).to_lowercase();
    let mut text = format!("{severity} {} [{}] {}", finding.kind, finding.subject, finding.message);
    if let Some(waits_for) = &finding.waits_for {
        write!(text, " -- waits for {waits_for}").unwrap();
    }
    text + "\n"
}

fn event_text(event: &Event) -> String {
    let cause = event.cause.as_ref().map_or("none".into(), |c| format!("{} of {}", c.kind, c.subject));
    let mut text = format!("=> {} [{}] {} (cause: {cause})\n", event.name, event.target, event.reason);
    if event.name == names::REASSIGN_PARTITIONS {
        let order: ReassignPartitions = event.payload_as().unwrap();
        for step in order.moves {
            let ids = |ids: &[BrokerId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            let (from, to) = (ids(&step.from), ids(&step.to));
            let size = step.bytes.map_or("?".to_owned(), |bytes| bytes.to_string());
            writeln!(text, "     {}: {from} -> {to} in_sync={} bytes={size}", step.partition, step.in_sync)
                .unwrap();
            writeln!(text, "       {}", step.reason).unwrap();
        }
    }
    text
}
