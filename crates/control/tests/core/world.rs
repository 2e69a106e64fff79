//! A made-up cluster in a few lines of text, and a shell that carries effects out against it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use cluster::{
    Broker, BrokerAddress, BrokerId, Capabilities, ClusterId, Partition, Reassignment, Reassignments, Topic,
    TopicPartition, TopicTable,
};
use control::event::{ReassignResult, ReassignStep, Throttle, ThrottleEntry, names};
use control::order::OrderKind;
use control::state::NamedValue;
use control::*;
use serde_json::Value;

use crate::plugins::{Healer, Stopper};

/// The cluster behind the facts.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) cluster_id: String,
    pub(crate) racks: BTreeMap<BrokerId, Option<Arc<str>>>,
    pub(crate) down: BTreeSet<BrokerId>,
    /// Declared dead; the others that are down are suspects.
    pub(crate) dead: BTreeSet<BrokerId>,
    /// They live for Kafka, and have just stopped answering us.
    pub(crate) silent: BTreeSet<BrokerId>,
    /// Brokers that have long been away, and hold nothing.
    pub(crate) idle: BTreeSet<BrokerId>,
    pub(crate) topics: TopicTable,
    pub(crate) reassignments: Reassignments,
    /// Partitions whose submission is refused.
    pub(crate) refuses: BTreeSet<TopicPartition>,
    pub(crate) throttled: bool,
    /// How many of the three brokers that answer agree on who is alive.
    pub(crate) agreeing: u32,
    /// Clearing the throttle fails.
    pub(crate) unclearable: bool,
    /// It cannot be told who is dead.
    pub(crate) unjudged: bool,
}

impl World {
    /// `brokers: 1@a 2@b`, then a line `t-0: 1 2 3 / 1 2` for each partition: replicas, in-sync ones where they differ.
    pub(crate) fn parse(text: &str) -> Self {
        let mut world = Self {
            cluster_id: "one".to_owned(),
            racks: BTreeMap::new(),
            down: BTreeSet::new(),
            dead: BTreeSet::new(),
            silent: BTreeSet::new(),
            idle: BTreeSet::new(),
            topics: BTreeMap::new(),
            reassignments: BTreeMap::new(),
            refuses: BTreeSet::new(),
            throttled: false,
            agreeing: 3,
            unclearable: false,
            unjudged: false,
        };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (head, tail) = line.split_once(": ").unwrap();
            if head == "brokers" {
                for word in tail.split_whitespace() {
                    let (id, rack) = word.split_once('@').map_or((word, None), |(i, r)| (i, Some(r.into())));
                    world.racks.insert(BrokerId(id.parse().unwrap()), rack);
                }
                continue;
            }
            let (replicas, isr) = tail.split_once(" / ").unwrap_or((tail, tail));
            let ids = |text: &str| -> Box<[BrokerId]> {
                text.split_whitespace().map(|id| BrokerId(id.parse().unwrap())).collect()
            };
            let (name, _) = head.rsplit_once('-').unwrap();
            let topic = world.topics.entry(name.into());
            let topic = topic.or_insert(Topic { internal: false, partitions: Vec::new() });
            let isr = ids(isr);
            topic.partitions.push(Partition { leader: isr.first().copied(), replicas: ids(replicas), isr });
        }
        world
    }

    pub(crate) fn partition(&mut self, of: &TopicPartition) -> &mut Partition {
        &mut self.topics.get_mut(&of.topic).unwrap().partitions[usize::try_from(of.partition).unwrap()]
    }

    pub(crate) fn all(&self) -> Vec<TopicPartition> {
        let numbers = |(name, topic): (&Arc<str>, &Topic)| -> Vec<TopicPartition> {
            (0..topic.partitions.len()).map(|n| TopicPartition::new(name.clone(), n as i32)).collect()
        };
        self.topics.iter().flat_map(numbers).collect()
    }

    /// Kafka has dropped the broker: leaders and in-sync replicas go elsewhere.
    pub(crate) fn drop_broker(&mut self, id: i32) {
        let id = BrokerId(id);
        self.down.insert(id);
        for p in self.topics.values_mut().flat_map(|topic| &mut topic.partitions) {
            p.isr = p.isr.iter().copied().filter(|b| *b != id).collect();
            if p.leader == Some(id) {
                p.leader = p.isr.first().copied();
            }
        }
    }

    pub(crate) fn kill(&mut self, id: i32) {
        self.drop_broker(id);
        self.dead.insert(BrokerId(id));
    }

    pub(crate) fn come_back(&mut self, id: i32) {
        let id = BrokerId(id);
        self.down.remove(&id);
        self.dead.remove(&id);
        for p in self.topics.values_mut().flat_map(|topic| &mut topic.partitions) {
            if p.replicas.contains(&id) && !p.isr.contains(&id) {
                p.isr = p.isr.iter().copied().chain([id]).collect();
                p.leader.get_or_insert(id);
            }
        }
    }

    pub(crate) fn reassign(&mut self, partition: &TopicPartition, to: &[BrokerId]) {
        let p = self.partition(partition);
        let adding: Box<[BrokerId]> = to.iter().copied().filter(|b| !p.replicas.contains(b)).collect();
        let removing: Box<[BrokerId]> = p.replicas.iter().copied().filter(|b| !to.contains(b)).collect();
        let replicas: Box<[BrokerId]> = to.iter().chain(&removing).copied().collect();
        p.replicas.clone_from(&replicas);
        self.reassignments.insert(partition.clone(), Reassignment { replicas, adding, removing });
    }

    /// All reassignments to live brokers complete.
    pub(crate) fn complete(&mut self) {
        for (partition, reassignment) in self.reassignments.clone() {
            if reassignment.adding.iter().any(|broker| self.down.contains(broker)) {
                continue;
            }
            let target = reassignment.target();
            let down = self.down.clone();
            let p = self.partition(&partition);
            p.isr = target.iter().copied().filter(|b| !down.contains(b)).collect();
            p.replicas = target.into();
            p.leader = p.isr.first().copied();
            self.reassignments.remove(&partition);
        }
    }

    /// What the action does.
    pub(crate) fn act(&mut self, step: &ReassignStep) -> Result<Done, ActError> {
        let mut result = ReassignResult::default();
        match step {
            // As the real one: first it says what is free to be set.
            ReassignStep::SetThrottle(asked) if asked.entries.is_none() => {
                let entry = ThrottleEntry {
                    broker: asked.brokers.first().copied(),
                    topic: None,
                    key: "leader.replication.throttled.rate".to_owned(),
                    value: asked.bytes_per_second.to_string(),
                };
                let answer = Throttle { entries: Some(vec![entry]), ..asked.clone() };
                let detail = serde_json::to_value(answer).unwrap();
                return Ok(Done { summary: "free".to_owned(), detail, ..Done::default() });
            }
            ReassignStep::SetThrottle(_) => self.throttled = true,
            ReassignStep::ClearThrottle(_) if self.unclearable => {
                let message = "broker 3 does not answer".to_owned();
                return Err(ActError { message, maybe_applied: true, retry: true });
            }
            ReassignStep::ClearThrottle(_) => self.throttled = false,
            ReassignStep::Submit { moves } => {
                for m in moves {
                    let partition = m.partition.clone();
                    if self.refuses.contains(&partition) {
                        result.refused.push((partition, "not authorised".to_owned()));
                    } else if self.reassignments.contains_key(&partition)
                        || *self.partition(&partition).replicas != *m.from
                    {
                        result.skipped.push((partition, "is not as planned".to_owned()));
                    } else {
                        self.reassign(&partition, &m.to);
                        result.accepted.push(partition);
                    }
                }
            }
            ReassignStep::Cancel { moves, .. } => {
                for m in moves {
                    let listed = self.reassignments.get(&m.partition).cloned();
                    let Some(listed) = listed.filter(|listed| listed.target() == m.to) else {
                        result.skipped.push((m.partition.clone(), "is not ours".to_owned()));
                        continue;
                    };
                    self.reassignments.remove(&m.partition);
                    let p = self.partition(&m.partition);
                    p.replicas = m.from.clone().into();
                    p.isr = p.isr.iter().copied().filter(|b| !listed.adding.contains(b)).collect();
                    result.accepted.push(m.partition.clone());
                }
            }
        }
        let detail = serde_json::to_value(result).unwrap();
        Ok(Done { summary: "done".to_owned(), detail, follow_ups: Vec::new() })
    }
}

/// What a test may set before the first step.
pub(crate) struct Setup {
    pub(crate) world: World,
    pub(crate) actions: Vec<ActionSlot>,
    pub(crate) guard: GuardConfig,
    pub(crate) limits: ExecutionLimits,
    pub(crate) throttle: Option<u64>,
    /// The built-in monitors and operators with this grace, instead of facts by hand.
    pub(crate) built_in: Option<Duration>,
    /// With the built-in ones: hosts are replaced, too, although there are no agents.
    pub(crate) replacing: bool,
}

pub(crate) fn setup(text: &str) -> Setup {
    Setup {
        world: World::parse(text),
        actions: vec![slot("reassign", names::REASSIGN_PARTITIONS, ActionKind::Reassign)],
        guard: GuardConfig::default(),
        limits: ExecutionLimits::default(),
        throttle: None,
        built_in: None,
        replacing: false,
    }
}

pub(crate) fn slot(name: &str, event: &str, kind: ActionKind) -> ActionSlot {
    ActionSlot {
        name: name.to_owned(),
        subscribed: vec![event.to_owned()],
        dry_run: false,
        at_most_once: false,
        can_stop: false,
        kind,
        emits: Vec::new(),
    }
}

impl Setup {
    pub(crate) fn also(mut self, name: &str, event: &str) -> Self {
        self.actions.push(slot(name, event, ActionKind::Once));
        self
    }

    pub(crate) fn start(self) -> Shell {
        let stop = Arc::new(AtomicBool::new(false));
        let mut config = CoreConfig {
            cluster: "test".to_owned(),
            monitors: vec![
                MonitorSlot::Source("facts".to_owned()),
                MonitorSlot::Deriving(Box::new(Stopper(Arc::clone(&stop)))),
            ],
            operators: vec![Box::new(Healer { throttle: self.throttle })],
            actions: self.actions,
            guard: self.guard,
            limits: self.limits,
            incidents: FoldLimits::default(),
        };
        if let Some(grace) = self.built_in {
            use control::{monitors, operators};
            let dead =
                monitors::dead_brokers::Config { grace: config::HumanDuration(grace), ..Default::default() };
            let under = monitors::under_replicated_partitions::Config::default();
            config.monitors.push(MonitorSlot::Deriving(Box::new(
                monitors::maintenance::Config::default().build("maintenance"),
            )));
            config.monitors.push(MonitorSlot::Deriving(Box::new(dead.build("dead"))));
            config.monitors.push(MonitorSlot::Deriving(Box::new(under.build("under"))));
            let heal = operators::under_replicated_partitions::Config::default();
            config.operators = vec![Box::new(heal.build("heal"))];
            if self.replacing {
                let replace =
                    operators::broker_replacement::Config { without_agents: true, ..Default::default() };
                config.operators.push(Box::new(replace.build("replace")));
            }
        }
        Shell {
            built_in: self.built_in.is_some(),
            stop,
            core: Core::new(config).unwrap().0,
            memory: Memory::default(),
            store: BTreeMap::new(),
            world: self.world,
            tick: 1_000,
            wall_set: 0,
            ending: false,
            age: Duration::ZERO,
            outcomes: Vec::new(),
            orders: Vec::new(),
            acts: VecDeque::new(),
            held: Vec::new(),
            findings: Vec::new(),
        }
    }
}

/// Carries effects out.
pub(crate) struct Shell {
    built_in: bool,
    /// Makes the monitor stop each cycle.
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) core: Core,
    pub(crate) memory: Memory,
    pub(crate) store: BTreeMap<String, Value>,
    pub(crate) world: World,
    pub(crate) tick: u64,
    /// By how much somebody has set the wall clock, in milliseconds.
    pub(crate) wall_set: i64,
    /// Whether the shell is about to end.
    pub(crate) ending: bool,
    /// How old the facts are that are handed in.
    pub(crate) age: Duration,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) orders: Vec<Order>,
    /// Acts that were sent out and not carried out yet.
    pub(crate) acts: VecDeque<Effect>,
    pub(crate) held: Vec<Held>,
    /// Further findings of the monitor.
    pub(crate) findings: Vec<Finding>,
}

impl Shell {
    fn contribution(&self, now: Tick) -> Contribution {
        let as_of = Tick(now.0.saturating_sub(self.age.as_millis() as u64));
        let world = &self.world;
        let broker = |id: &BrokerId| Broker {
            id: *id,
            address: BrokerAddress { host: format!("host{id}").into(), port: 9092 },
            rack: world.racks[id].clone(),
        };
        let live = world.racks.keys().filter(|id| !world.down.contains(id));
        let liveness = Liveness {
            cluster_id: ClusterId(world.cluster_id.as_str().into()),
            controller: None,
            live: live.map(|id| (*id, broker(id))).collect(),
            fenced: BTreeMap::new(),
            asked: 3,
            answered: 3,
            agreeing: world.agreeing,
            capabilities: Capabilities::default(),
        };
        let silent = || world.silent.clone();
        let mut dead =
            DeadBrokers { unreachable: silent(), newly_unreachable: silent(), ..DeadBrokers::default() };
        dead.idle.clone_from(&world.idle);
        for id in &world.down {
            let (since, watched) = (Timestamp(0), Duration::ZERO);
            if world.dead.contains(id) {
                let rack = world.racks[id].clone();
                let because = String::new();
                dead.dead.insert(*id, DeadBroker { since, absent_for: watched, watched, rack, because });
            } else {
                dead.suspects.insert(*id, Suspect { since, watched, waits_for: String::new() });
            }
        }
        let mut findings = self.findings.clone();
        if self.built_in {
            return Contribution { attributes: self.raw_facts(liveness, as_of), findings };
        }
        if !world.down.is_empty() {
            let what = "some replicas are not in sync";
            findings.push(Finding::new("under_replicated", Target::Cluster, Severity::Warning, what));
        }
        let mut attributes = self.raw_facts(liveness, as_of);
        if !world.unjudged {
            attributes.push(NamedValue::of(Arc::new(dead), as_of));
        }
        Contribution { attributes, findings }
    }

    fn probes(&self) -> Probes {
        let world = &self.world;
        let failure = |id: &BrokerId| match (world.down.contains(id), world.silent.contains(id)) {
            (true, _) => Some("refused".to_owned()),
            (false, true) => Some("no answer".to_owned()),
            (false, false) => None,
        };
        let probe = |id: &BrokerId| Probe {
            address: BrokerAddress { host: format!("host{id}").into(), port: 9092 },
            failure: failure(id),
            took: Duration::from_millis(1),
            usual: None,
        };
        Probes(world.racks.keys().map(|id| (*id, probe(id))).collect())
    }

    /// What the source monitors bring, with nothing derived from it.
    fn raw_facts(&self, liveness: Liveness, as_of: Tick) -> Vec<NamedValue> {
        let world = &self.world;
        vec![
            NamedValue::of(Arc::new(liveness), as_of),
            NamedValue::of(Arc::new(Topics(world.topics.clone())), as_of),
            NamedValue::of(Arc::new(OngoingReassignments(world.reassignments.clone())), as_of),
            NamedValue::of(Arc::new(self.probes()), as_of),
            NamedValue::of(Arc::new(self.disks()), as_of),
        ]
    }

    /// Log dirs of those that answer.
    fn disks(&self) -> Disks {
        let world = &self.world;
        let answers = |id: &&BrokerId| !world.down.contains(*id) && !world.silent.contains(*id);
        let listed: BTreeSet<BrokerId> = world.racks.keys().filter(answers).copied().collect();
        let brokers = listed.iter().map(|id| (*id, BrokerDisks::default())).collect();
        Disks { brokers, listed, ..Disks::default() }
    }

    pub(crate) fn now(&self) -> Now {
        Now { tick: Tick(self.tick), wall: Timestamp(1_000_000 + self.tick as i64 + self.wall_set) }
    }

    /// One step, a second after the last one. Nothing is carried out.
    pub(crate) fn decide(&mut self) -> Vec<Effect> {
        self.tick += 1_000;
        let now = self.now();
        let inputs = Inputs {
            contributions: BTreeMap::from([("facts".to_owned(), self.contribution(now.tick))]),
            outcomes: std::mem::take(&mut self.outcomes),
            orders: std::mem::take(&mut self.orders),
            ending: self.ending,
        };
        let stepped = self.core.step(&mut self.memory, inputs, now);
        self.held = stepped.held;
        stepped.effects
    }

    /// One step. What is to be persisted is; acts are kept until `act`.
    pub(crate) fn effects(&mut self) -> Vec<Effect> {
        let effects = self.decide();
        for effect in &effects {
            self.apply(effect);
        }
        effects
    }

    pub(crate) fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::Persist { key, value: Some(value) } => {
                self.store.insert(key.clone(), value.clone());
            }
            Effect::Persist { key, value: None } => {
                self.store.remove(key);
            }
            Effect::Act { .. } => self.acts.push_back(effect.clone()),
            Effect::Stop { .. } | Effect::Record(_) => {}
        }
    }

    /// A step as text, without the writes to the store.
    pub(crate) fn step(&mut self) -> String {
        let effects = self.effects();
        show(effects.iter().filter(|effect| !matches!(effect, Effect::Persist { .. })))
    }

    /// Carries out the acts that were sent out.
    pub(crate) fn act(&mut self) {
        self.act_with(World::act);
    }

    /// Carries out the acts that were sent out, those on replicas by `reassign`.
    pub(crate) fn act_with(
        &mut self,
        reassign: impl Fn(&mut World, &ReassignStep) -> Result<Done, ActError>,
    ) {
        for act in std::mem::take(&mut self.acts) {
            let Effect::Act { execution, sequence, event, .. } = act else { continue };
            let result = match event.payload_as::<ReassignStep>() {
                Ok(step) if event.name == names::REASSIGN_PARTITIONS => reassign(&mut self.world, &step),
                _ => Ok(Done { summary: "done".to_owned(), ..Done::default() }),
            };
            self.outcomes.push(Outcome { execution, sequence, result });
        }
    }

    /// A step, then its acts; as text.
    pub(crate) fn turn(&mut self) -> String {
        let text = self.step();
        self.act();
        text
    }

    /// Steps that go by without being looked at.
    pub(crate) fn quiet(&mut self, steps: usize) {
        for _ in 0..steps {
            self.turn();
        }
    }

    /// The process is killed and started anew: answers are lost, and so is all that is not in the store. The
    /// monotonic clock starts again.
    pub(crate) fn crash(&mut self) {
        self.memory = Memory::restore(self.store.clone()).unwrap();
        self.outcomes.clear();
        self.acts.clear();
        self.tick = 1_000;
    }

    pub(crate) fn order(&mut self, what: OrderKind) {
        self.orders.push(Order { by: "ann".to_owned(), reason: "why not".to_owned(), what });
    }

    pub(crate) fn held(&self) -> String {
        let mut text = String::new();
        for held in &self.held {
            writeln!(text, "{} [{}] {}", held.event, held.check.name(), held.reason).unwrap();
        }
        text
    }

    pub(crate) fn open_incidents(&self) -> String {
        let mut text = String::new();
        for incident in self.memory.incidents.open.values() {
            writeln!(text, "{} {}: {}", incident.key.kind, incident.key.subject, incident.message).unwrap();
        }
        text
    }
}

/// Effects as text, one a line.
pub(crate) fn show<'a>(effects: impl Iterator<Item = &'a Effect>) -> String {
    let mut text = String::new();
    for effect in effects {
        match effect {
            Effect::Persist { key, value } => {
                let what = if value.is_some() { "persist" } else { "remove" };
                writeln!(text, "{what} {key}").unwrap();
            }
            Effect::Record(r) => {
                let kind = serde_json::to_value(r.kind).unwrap();
                let dry = if r.dry_run { " (dry run)" } else { "" };
                let kind = kind.as_str().unwrap();
                writeln!(text, "{kind} {} {} {}: {}{dry}", r.principal, r.operation, r.target, r.result)
                    .unwrap();
            }
            Effect::Stop { action, .. } => writeln!(text, "STOP {action}").unwrap(),
            Effect::Act { execution, sequence, action, event, dry_run } => {
                let dry = if *dry_run { " (dry run)" } else { "" };
                let step = event.payload_as::<ReassignStep>().map(|step| show_step(&step));
                let what = step.unwrap_or_else(|_| format!("{} {}", event.name, event.target));
                writeln!(text, "ACT {}.{sequence} {action} {what}{dry}", execution.0).unwrap();
            }
        }
    }
    text
}

fn show_step(step: &ReassignStep) -> String {
    let moves = |moves: &[control::event::PartitionMove]| {
        let ids = |ids: &[BrokerId]| ids.iter().map(|b| b.to_string()).collect::<Vec<_>>().join(" ");
        let show = |m: &control::event::PartitionMove| {
            format!("{}: {} -> {}", m.partition, ids(&m.from), ids(&m.to))
        };
        moves.iter().map(show).collect::<Vec<_>>().join(", ")
    };
    match step {
        ReassignStep::SetThrottle(t) if t.entries.is_none() => {
            format!("ask for throttles of {:?} {:?}", t.brokers, t.topics)
        }
        ReassignStep::SetThrottle(t) => format!("throttle {:?} {:?}", t.brokers, t.topics),
        ReassignStep::ClearThrottle(_) => "unthrottle".to_owned(),
        ReassignStep::Submit { moves: list } => format!("submit {}", moves(list)),
        ReassignStep::Cancel { moves: list, .. } => format!("cancel {}", moves(list)),
    }
}
