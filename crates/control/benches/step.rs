//! How long a step takes on a large cluster, and how much memory the core holds: 1,000 brokers on 10 racks, 100,000
//! partitions with replication factor 3. Fetching is not in it.
//!
//! `cargo bench -p control`

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cluster::{
    Broker, BrokerAddress, BrokerId, Capabilities, ClusterId, Partition, Topic, TopicPartition, TopicTable,
};
use control::state::NamedValue;
use control::*;
use divan::Bencher;

const BROKERS: i32 = 1_000;
const TOPICS: usize = 1_000;
const PARTITIONS: usize = 100;
/// The broker that dies.
const VICTIM: BrokerId = BrokerId(17);

fn main() {
    divan::main();
    // High-water mark of the resident memory, the views included.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|line| line.starts_with("VmHWM")) {
        println!("{line}");
    }
}

/// The views that the source monitors share.
#[derive(Clone)]
struct Views {
    liveness: Arc<Liveness>,
    topics: Arc<Topics>,
    reassignments: Arc<OngoingReassignments>,
    probes: Arc<Probes>,
    disks: Arc<Disks>,
}

fn broker(id: i32) -> Broker {
    Broker {
        id: BrokerId(id),
        address: BrokerAddress { host: format!("broker-{id}.example").into(), port: 9092 },
        rack: Some(format!("rack-{}", id % 10).into()),
    }
}

fn views(down: bool) -> Views {
    let is_down = |id: BrokerId| down && id == VICTIM;
    let live = (0..BROKERS).map(broker).filter(|b| !is_down(b.id)).map(|b| (b.id, b)).collect();
    let mut topics = TopicTable::new();
    let mut disks = Disks::default();
    for topic in 0..TOPICS {
        let name: Arc<str> = format!("topic-{topic:04}").into();
        let mut partitions = Vec::with_capacity(PARTITIONS);
        for number in 0..PARTITIONS {
            let first = (topic * 37 + number * 3) as i32;
            let replicas: Vec<BrokerId> =
                [0, 1, 2].iter().map(|i| BrokerId((first + i * 11) % BROKERS)).collect();
            let isr: Vec<BrokerId> = replicas.iter().copied().filter(|b| !is_down(*b)).collect();
            disks.sizes.insert(TopicPartition::new(name.clone(), number as i32), 1 << 20);
            partitions.push(Partition {
                leader: isr.first().copied(),
                replicas: replicas.into(),
                isr: isr.into(),
            });
        }
        topics.insert(name, Topic { internal: false, partitions });
    }
    let probes = (0..BROKERS).map(|id| {
        let failure = is_down(BrokerId(id)).then(|| "connection refused".to_owned());
        let took = Duration::from_millis(1);
        (BrokerId(id), Probe { address: broker(id).address, failure, took, usual: None })
    });
    Views {
        liveness: Arc::new(Liveness {
            cluster_id: ClusterId("bench".into()),
            controller: Some(BrokerId(1)),
            live,
            fenced: BTreeMap::new(),
            asked: 5,
            answered: 5,
            agreeing: 5,
            capabilities: Capabilities { kraft: true, completes_with_dead_targets: true },
        }),
        topics: Arc::new(Topics(topics)),
        reassignments: Arc::default(),
        probes: Arc::new(Probes(probes.collect())),
        disks: Arc::new(disks),
    }
}

fn core() -> Option<Core> {
    let grace = control::config::HumanDuration::seconds(5);
    let dead = monitors::dead_brokers::Config { grace, ..Default::default() };
    let config = CoreConfig {
        cluster: "bench".to_owned(),
        monitors: vec![
            MonitorSlot::Source("kafka_metadata".to_owned()),
            MonitorSlot::Deriving(Box::new(monitors::maintenance::Config::default().build("maintenance"))),
            MonitorSlot::Deriving(Box::new(dead.build("dead_brokers"))),
            MonitorSlot::Deriving(Box::new(
                monitors::under_replicated_partitions::Config::default().build("under_replicated_partitions"),
            )),
        ],
        operators: vec![Box::new(operators::under_replicated_partitions::Config::default().build("heal"))],
        actions: vec![ActionSlot {
            name: "reassign_partitions".to_owned(),
            subscribed: vec!["reassign_partitions".to_owned()],
            dry_run: false,
            at_most_once: false,
            can_stop: false,
            kind: ActionKind::Reassign,
            emits: Vec::new(),
        }],
        guard: GuardConfig::default(),
        limits: ExecutionLimits::default(),
        incidents: FoldLimits::default(),
    };
    Core::new(config).ok().map(|(core, _)| core)
}

struct Bench {
    core: Core,
    memory: Memory,
    second: u64,
}

impl Bench {
    fn new() -> Option<Self> {
        Some(Self { core: core()?, memory: Memory::default(), second: 0 })
    }

    fn step(&mut self, views: &Views) -> Vec<Effect> {
        self.second += 1;
        let tick = Tick(self.second * 1_000);
        let now = Now { tick, wall: Timestamp(self.second as i64 * 1_000) };
        let attributes = vec![
            NamedValue::of(Arc::clone(&views.liveness), tick),
            NamedValue::of(Arc::clone(&views.topics), tick),
            NamedValue::of(Arc::clone(&views.reassignments), tick),
            NamedValue::of(Arc::clone(&views.probes), tick),
            NamedValue::of(Arc::clone(&views.disks), tick),
        ];
        let contribution = Contribution { attributes, findings: Vec::new() };
        let contributions = BTreeMap::from([("kafka_metadata".to_owned(), contribution)]);
        self.core.step(&mut self.memory, Inputs { contributions, ..Inputs::default() }, now).effects
    }
}

/// All is well, as in nearly every second of a cluster's life.
#[divan::bench]
fn steady(bencher: Bencher) {
    let (views, bench) = (views(false), Bench::new());
    let Some(mut bench) = bench else { return };
    bencher.bench_local(|| bench.step(&views));
}

/// The grace of a dead broker is over: the plan is made, admitted, journaled, and the first wave goes out.
#[divan::bench(sample_count = 20)]
fn decides_to_heal(bencher: Bencher) {
    let (well, down) = (views(false), views(true));
    let ready = || {
        let mut bench = Bench::new()?;
        bench.step(&well);
        for _ in 0..5 {
            bench.step(&down);
        }
        Some(bench)
    };
    let decide = |bench: Option<Bench>| {
        let mut bench = bench?;
        let effects = bench.step(&down);
        let has_act = effects.iter().any(|effect| matches!(effect, Effect::Act { .. }));
        assert!(has_act, "nothing was decided");
        Some((bench, effects))
    };
    bencher.with_inputs(ready).bench_local_values(decide);
}

/// Moves are under way.
#[divan::bench]
fn while_healing(bencher: Bencher) {
    let (well, down) = (views(false), views(true));
    let Some(mut bench) = Bench::new() else { return };
    bench.step(&well);
    for _ in 0..10 {
        bench.step(&down);
    }
    bencher.bench_local(|| bench.step(&down));
}
