//! The whole core with its own monitors and operators, over a cluster in text: from a broker's death to the records.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use cluster::notation::{ClusterText, Standing};
use cluster::{BrokerAddress, BrokerId, Capabilities, ClusterId, Reassignment, TopicPartition};
use control::event::{ReassignResult, ReassignStep, names};
use control::order::OrderKind;
use control::state::NamedValue;
use control::*;
use expect_test::expect;

const FOUR: &str = "
    b1 rack=r1
    b2 rack=r2
    b3 rack=r1
    b4 rack=r2
    t-0: 1* 2 3
    t-1: 2* 3 4
    t-2: 3* 4 1
    t-3: 4* 1 2
    single-0: 3*
";

/// A cluster, the core that looks after it, and the shell between them.
struct Site {
    kafka: ClusterText,
    addresses: BTreeMap<BrokerId, BrokerAddress>,
    core: Core,
    memory: Memory,
    second: u64,
    outcomes: Vec<Outcome>,
    orders: Vec<Order>,
    log: String,
}

impl Site {
    fn new(text: &str, dry_run: bool) -> Self {
        let kafka: ClusterText = text.parse().unwrap();
        let addresses = kafka.brokers.iter().map(|(id, b)| (*id, b.broker.address.clone())).collect();
        let grace = monitors::dead_brokers::Config {
            grace: config::HumanDuration::seconds(30),
            ..monitors::dead_brokers::Config::default()
        };
        let slot = |name: &str, event: &str, kind| ActionSlot {
            name: name.to_owned(),
            subscribed: vec![event.to_owned()],
            dry_run,
            at_most_once: false,
            can_stop: false,
            kind,
            emits: Vec::new(),
        };
        let config = CoreConfig {
            cluster: "test".to_owned(),
            monitors: vec![
                MonitorSlot::Source("kafka_metadata".to_owned()),
                MonitorSlot::Deriving(Box::new(monitors::maintenance::Config {}.build("maintenance"))),
                MonitorSlot::Deriving(Box::new(grace.build("dead_brokers"))),
                MonitorSlot::Deriving(Box::new(
                    monitors::under_replicated_partitions::Config {}.build("under_replicated_partitions"),
                )),
            ],
            operators: vec![Box::new(
                operators::under_replicated_partitions::Config::default()
                    .build("under_replicated_partitions"),
            )],
            actions: vec![slot("reassign", names::REASSIGN_PARTITIONS, ActionKind::Reassign)],
            guard: GuardConfig::default(),
            limits: ExecutionLimits::default(),
            incidents: FoldLimits::default(),
        };
        let (core, _) = Core::new(config).unwrap();
        Self {
            kafka,
            addresses,
            core,
            memory: Memory::default(),
            second: 0,
            outcomes: Vec::new(),
            orders: Vec::new(),
            log: String::new(),
        }
    }

    /// Looks once a second for so many seconds, and gives back the records as text.
    fn run(&mut self, seconds: u64) -> String {
        for _ in 0..seconds {
            self.second += 1;
            self.complete();
            let now = Now {
                tick: Tick(self.second * 1000),
                wall: Timestamp(1_700_000_000_000 + i64::try_from(self.second * 1000).unwrap()),
            };
            let contributions = [("kafka_metadata".to_owned(), self.facts(now.tick))].into();
            let outcomes = std::mem::take(&mut self.outcomes);
            let orders = std::mem::take(&mut self.orders);
            let stepped = self.core.step(
                &mut self.memory,
                Inputs { contributions, outcomes, orders, ending: false },
                now,
            );
            for effect in stepped.effects {
                self.carry_out(effect);
            }
        }
        std::mem::take(&mut self.log)
    }

    fn facts(&self, tick: Tick) -> Contribution {
        let live = self.kafka.standing(Standing::Alive);
        let probes = self.addresses.iter().map(|(id, address)| {
            let failure = (!live.contains_key(id)).then(|| "connection refused".to_owned());
            (*id, Probe { address: address.clone(), failure, took: Duration::from_millis(1), usual: None })
        });
        let liveness = Liveness {
            cluster_id: ClusterId("id".into()),
            controller: None,
            fenced: self.kafka.standing(Standing::Fenced),
            asked: 3,
            answered: 3,
            agreeing: 3,
            capabilities: Capabilities { kraft: true, completes_with_dead_targets: true },
            live: live.clone(),
        };
        let attributes = vec![
            NamedValue::of(Arc::new(Probes(probes.collect())), tick),
            NamedValue::of(Arc::new(liveness), tick),
            NamedValue::of(Arc::new(Topics(self.kafka.topics.clone())), tick),
            NamedValue::of(Arc::new(OngoingReassignments(self.kafka.reassignments.clone())), tick),
        ];
        Contribution { attributes, findings: Vec::new() }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Record(record) => {
                let dry = if record.dry_run { " (dry)" } else { "" };
                writeln!(
                    self.log,
                    "{:03} {:?}{dry} {} [{}] {}",
                    self.second, record.kind, record.operation, record.target, record.result
                )
                .unwrap();
            }
            Effect::Act { execution, sequence, event, .. } => {
                let step: ReassignStep = event.payload_as().unwrap();
                let ReassignStep::Submit { moves } = step else { panic!("{step:?}") };
                let mut result = ReassignResult::default();
                for order in moves {
                    self.reassign(&order.partition, &order.from, &order.to);
                    result.accepted.push(order.partition);
                }
                let detail = serde_json::to_value(result).unwrap();
                let done = Done { summary: "submitted".to_owned(), detail, follow_ups: Vec::new() };
                self.outcomes.push(Outcome { execution, sequence, result: Ok(done) });
            }
            Effect::Persist { .. } | Effect::Stop { .. } => {}
        }
    }

    fn partitions(&mut self) -> impl Iterator<Item = &mut cluster::Partition> {
        self.kafka.topics.values_mut().flat_map(|topic| &mut topic.partitions)
    }

    fn kill(&mut self, id: i32) {
        let id = BrokerId(id);
        self.kafka.brokers.get_mut(&id).unwrap().standing = Standing::Dead;
        for p in self.partitions() {
            // The last in-sync replica stays it.
            if p.isr.len() > 1 {
                p.isr = p.isr.iter().copied().filter(|b| *b != id).collect();
            }
            if p.leader == Some(id) {
                p.leader = p.isr.first().copied().filter(|leader| *leader != id);
            }
        }
    }

    fn bring_back(&mut self, id: i32) {
        let id = BrokerId(id);
        self.kafka.brokers.get_mut(&id).unwrap().standing = Standing::Alive;
        for p in self.partitions() {
            if p.replicas.contains(&id) && !p.isr.contains(&id) {
                p.isr = p.isr.iter().copied().chain([id]).collect();
            }
            if p.leader.is_none() {
                p.leader = p.isr.first().copied();
            }
        }
    }

    fn reassign(&mut self, key: &TopicPartition, from: &[BrokerId], to: &[BrokerId]) {
        let topic = self.kafka.topics.get_mut(&key.topic).unwrap();
        let partition = &mut topic.partitions[usize::try_from(key.partition).unwrap()];
        assert_eq!(*partition.replicas, *from);
        let adding: Box<[BrokerId]> = to.iter().copied().filter(|id| !from.contains(id)).collect();
        let removing: Box<[BrokerId]> = from.iter().copied().filter(|id| !to.contains(id)).collect();
        let replicas: Box<[BrokerId]> = to.iter().chain(&removing).copied().collect();
        partition.replicas.clone_from(&replicas);
        self.kafka.reassignments.insert(key.clone(), Reassignment { replicas, adding, removing });
    }

    /// The reassignments of the second before are done.
    fn complete(&mut self) {
        for (key, reassignment) in std::mem::take(&mut self.kafka.reassignments) {
            let topic = self.kafka.topics.get_mut(&key.topic).unwrap();
            let partition = &mut topic.partitions[usize::try_from(key.partition).unwrap()];
            partition.replicas = reassignment.target().into();
            let mut isr = partition.isr.to_vec();
            isr.extend(reassignment.adding.iter().copied());
            isr.retain(|id| partition.replicas.contains(id));
            partition.isr = isr.into();
            if !partition.leader.is_some_and(|leader| partition.isr.contains(&leader)) {
                partition.leader = partition.isr.first().copied();
            }
        }
    }
}

#[test]
fn says_and_does_nothing_when_nothing_is_wrong() {
    let mut site = Site::new(FOUR, false);
    assert_eq!(site.run(600), "");
}

#[test]
fn heals_a_killed_broker_and_leaves_it_in_peace_when_it_returns() {
    let mut site = Site::new(FOUR, false);
    let _ = site.run(5);
    site.kill(3);
    expect![[r#"
        006 Incident broker_absent [broker 3] opened
        006 Incident under_replicated [broker 3] opened
        006 Incident partitions_without_leader [cluster] opened
        036 Incident broker_dead [broker 3] opened
        036 Incident cannot_heal [cluster] opened
        036 Incident partitions_lost [cluster] opened
        036 Incident partitions_without_leader [cluster] raised from warning
        036 Decision reassign_partitions [cluster] admitted, for reassign
        036 Act reassign_partitions [cluster] submitting 3 moves
        037 Incident under_replicated [broker 3] resolved after 31 s
        037 Outcome reassign_partitions [cluster] 3 of 3 partitions moved in 1.0 s
        037 Decision alert_urp_handling_failure [cluster] test: replicas on dead brokers cannot be replaced: 1 (single-0): no replica on a live broker, so nothing to copy from until one returns (told to nobody: no action subscribes to it)
        037 Decision elect_leaders [cluster] admitted, but no action subscribes to it
    "#]]
    .assert_eq(&site.run(60));
    expect![[r#"
        b1 rack=r1
        b2 rack=r2
        b3 rack=r1 dead
        b4 rack=r2
        single-0: 3
        t-0: 1* 2 4
        t-1: 2* 1 4
        t-2: 2 4* 1
        t-3: 4* 1 2
    "#]]
    .assert_eq(&site.kafka.to_string());
    site.bring_back(3);
    let after = site.run(120);
    assert!(!after.contains("reassign"), "{after}");
    assert!(site.memory.incidents.open.is_empty(), "{:?}", site.memory.incidents.open);
}

#[test]
fn a_dry_run_says_once_what_it_would_do() {
    let mut site = Site::new(FOUR, true);
    let _ = site.run(5);
    let before = site.kafka.topics.clone();
    site.kill(3);
    let log = site.run(300);
    // Decided, said, and each move named: once.
    assert_eq!(log.matches("reassign_partitions [cluster]").count(), 2, "{log}");
    assert_eq!(log.matches("reassign_partitions [partition t-").count(), 3, "{log}");
    let replicas = |topics: &cluster::TopicTable| -> Vec<_> {
        topics.values().flat_map(|t| &t.partitions).map(|p| p.replicas.clone()).collect()
    };
    assert_eq!(replicas(&before), replicas(&site.kafka.topics));
}

#[test]
fn a_rolling_restart_moves_nothing() {
    let mut site = Site::new(FOUR, false);
    let _ = site.run(5);
    for id in 1..=4 {
        site.kill(id);
        let _ = site.run(25);
        site.bring_back(id);
        let log = site.run(20);
        assert!(!log.contains("reassign"), "{log}");
    }
    assert!(site.memory.executions.is_empty());
}

#[test]
fn two_dead_of_four_are_held_until_a_person_approves_and_then_the_rest_is_listed() {
    let mut site = Site::new(FOUR, false);
    let _ = site.run(5);
    site.kill(3);
    site.kill(4);
    let log = site.run(60);
    assert!(site.memory.executions.is_empty(), "{log}");
    assert!(log.contains("mass_failure"), "{log}");
    let what = OrderKind::Approve;
    site.orders.push(Order { by: "ann".into(), reason: "they burnt".into(), what });
    let log = site.run(30);
    assert!(log.contains("reassign_partitions"), "{log}");
    let open: Vec<String> = site.memory.incidents.open.keys().map(|key| key.kind.clone()).collect();
    assert!(open.contains(&"cannot_heal".to_owned()), "{open:?}");
    expect![[r#"
        b1 rack=r1
        b2 rack=r2
        b3 rack=r1 dead
        b4 rack=r2 dead
        single-0: 3
        t-0: 1* 2 3~
        t-1: 2* 1 4~
        t-2: 2 4~ 1*
        t-3: 4~ 1* 2
    "#]]
    .assert_eq(&site.kafka.to_string());
}
