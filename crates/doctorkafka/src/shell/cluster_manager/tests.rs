//! The loop with made-up plugins, on virtual time.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cluster::BoxFuture;
use control::event::names::{ALERT_INCIDENT, ALERT_RESOLVED, REPORT_OPERATION};
use control::state::NamedValue;
use control::{
    ActError, ActionKind, ActionSlot, Check, CoreConfig, Done, Event, Liveness, MonitorSlot, Operator,
    Repeat, State, Tick, Timestamp, Topics, Verdict,
};

use control::Record;

use super::*;
use crate::plugins::fakes::Fake;
use crate::shell::panics::PLUGIN_PANICKED;
use crate::store::memory::MemoryStore;
use crate::store::{Alone, FileStore, Lease, StateStore};

/// The events that the made-up operator asks for, and the ways in which plugins misbehave.
#[derive(Default)]
struct World {
    wanted: Mutex<BTreeSet<&'static str>>,
    operator_panics: AtomicBool,
    source_panics: AtomicBool,
    /// Whether what is slow may end.
    released: AtomicBool,
    executed: Mutex<Vec<String>>,
    reported: AtomicU64,
    alerts: Mutex<Vec<String>>,
    told: AtomicU64,
    /// Whether it is another cluster than before.
    is_other: AtomicBool,
    /// The way to it.
    way: Arc<Fake>,
}

impl World {
    fn want(&self, event: &'static str) {
        self.wanted.lock().unwrap().insert(event);
    }
    fn executed(&self) -> Vec<String> {
        self.executed.lock().unwrap().clone()
    }
}

struct Virtual(Instant);
impl Clock for Virtual {
    fn now(&self) -> Now {
        let elapsed = self.0.elapsed();
        let ms = i64::try_from(elapsed.as_millis()).unwrap();
        Now { tick: Tick(1_000).plus(elapsed), wall: Timestamp(1_700_000_000_000 + ms) }
    }
}

/// A healthy cluster without brokers and topics: enough for the guard to let events pass.
struct Healthy(Arc<World>);
impl Source for Healthy {
    fn name(&self) -> &str {
        "healthy"
    }
    fn latest(&self, now: Now) -> Contribution {
        let liveness = Liveness {
            cluster_id: ClusterId(if self.0.is_other.load(Ordering::SeqCst) { "other" } else { "id" }.into()),
            controller: None,
            live: BTreeMap::default(),
            fenced: BTreeMap::default(),
            asked: 1,
            answered: 1,
            agreeing: 1,
            capabilities: cluster::Capabilities::default(),
        };
        let attributes = vec![
            NamedValue::of(Arc::new(liveness), now.tick),
            NamedValue::of(Arc::new(Topics(cluster::TopicTable::new())), now.tick),
        ];
        Contribution { attributes, findings: Vec::new() }
    }
    fn after_cycle(&self, _: &State) {
        self.0.told.fetch_add(1, Ordering::SeqCst);
    }
}

struct Shaky(Arc<World>);
impl Source for Shaky {
    fn name(&self) -> &str {
        "shaky"
    }
    fn latest(&self, _: Now) -> Contribution {
        assert!(!self.0.source_panics.load(Ordering::SeqCst), "shaky by nature");
        Contribution::default()
    }
}

struct Asking(Arc<World>);
impl Operator for Asking {
    fn name(&self) -> &str {
        "asking"
    }
    fn emits(&self) -> Vec<String> {
        ["do_good", "do_panic", "do_hang", "do_slow", "do_once"].map(str::to_owned).to_vec()
    }
    fn operate(&self, _: &State) -> Verdict {
        assert!(!self.0.operator_panics.load(Ordering::SeqCst), "the operator is out of order");
        let event = |name: &&'static str| {
            Event::new(name, Target::Cluster, "because", &()).repeated(Repeat::OncePerIncident)
        };
        let events = self.0.wanted.lock().unwrap().iter().map(event).collect();
        Verdict { events, ..Verdict::default() }
    }
}

struct Doing(&'static str, Arc<World>);
impl Action for Doing {
    fn name(&self) -> &str {
        self.0
    }
    fn deliveries(&self) -> Option<control::Deliveries> {
        (self.0 == "report").then(control::Deliveries::default)
    }
    fn execute<'a>(&'a self, event: &'a Event, _: bool) -> BoxFuture<'a, Result<Done, ActError>> {
        Box::pin(async move {
            if event.name == REPORT_OPERATION {
                self.1.reported.fetch_add(1, Ordering::SeqCst);
                return Ok(Done::default());
            }
            if event.name == ALERT_INCIDENT || event.name == ALERT_RESOLVED {
                self.1.alerts.lock().unwrap().push(event.id.clone());
                return Ok(Done::default());
            }
            self.1.executed.lock().unwrap().push(event.name.clone());
            match event.name.as_str() {
                "do_panic" => panic!("as asked"),
                "do_hang" => std::future::pending().await,
                "do_slow" | "do_once" => {
                    while !self.1.released.load(Ordering::SeqCst) {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    Ok(Done { summary: "did it slowly".to_owned(), ..Done::default() })
                }
                _ => Ok(Done { summary: "did it".to_owned(), ..Done::default() }),
            }
        })
    }
}

struct Loop {
    handle: ClusterHandle,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
    wake: Wake,
}

fn start(store: &Arc<impl StateStore + 'static>, world: &Arc<World>) -> Loop {
    start_with(store, world, Arc::new(Alone))
}

fn start_with(store: &Arc<impl StateStore + 'static>, world: &Arc<World>, lease: Arc<dyn Lease>) -> Loop {
    let slot = |name: &str, events: &[&str]| ActionSlot {
        name: name.to_owned(),
        subscribed: events.iter().map(|event| (*event).to_owned()).collect(),
        dry_run: false,
        at_most_once: false,
        can_stop: false,
        kind: ActionKind::Once,
        emits: Vec::new(),
    };
    let (core, _) = Core::new(CoreConfig {
        cluster: "test".to_owned(),
        monitors: [SHELL_SOURCE, "healthy", "shaky"].map(|n| MonitorSlot::Source(n.to_owned())).into(),
        operators: vec![Box::new(Asking(Arc::clone(world)))],
        actions: vec![
            slot("good", &["do_good", "do_slow"]),
            slot("bad", &["do_panic", "do_hang"]),
            ActionSlot { at_most_once: true, ..slot("once", &["do_once"]) },
            slot("report", &[REPORT_OPERATION, ALERT_INCIDENT, ALERT_RESOLVED]),
        ],
        guard: control::GuardConfig::default(),
        limits: control::ExecutionLimits::default(),
        incidents: control::FoldLimits::default(),
    })
    .unwrap();
    let act = |name| Arc::new(Doing(name, Arc::clone(world))) as Arc<dyn Action>;
    let wake = Wake::default();
    let (manager, handle) = ClusterManager::new(ClusterSetup {
        name: "test".into(),
        core,
        sources: vec![Arc::new(Healthy(Arc::clone(world))), Arc::new(Shaky(Arc::clone(world)))],
        actions: ["good", "bad", "once", "report"].map(act).into(),
        reader: Arc::clone(&world.way) as Arc<dyn Reader>,
        tenure: Tenure::new(lease),
        journal: Journal::new(Arc::clone(store) as Arc<dyn StateStore>, "test"),
        clock: Arc::new(Virtual(Instant::now())),
        wake: wake.clone(),
        limits: LoopLimits::every(Duration::from_secs(1)),
    });
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(manager.run(stopped));
    Loop { handle, stop, task, wake }
}

impl Loop {
    async fn until(&self, what: &str, mut holds: impl FnMut(&Snapshot) -> bool) -> Arc<Snapshot> {
        for _ in 0..50_000 {
            let snapshot = self.handle.shared.snapshot();
            if holds(&snapshot) {
                return snapshot;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it never came to this: {what}");
    }

    async fn cycles(&self, count: u64) -> Arc<Snapshot> {
        let goal = self.handle.shared.snapshot().cycles + count;
        self.until("more cycles", |snapshot| snapshot.cycles >= goal).await
    }

    async fn order(&self, what: OrderKind) -> Result<String, String> {
        let order = Order { by: "kim".to_owned(), reason: "a test".to_owned(), what };
        self.handle.order(order).await
    }

    async fn end(self) {
        self.stop.send(true).unwrap();
        self.task.await.unwrap();
    }

    fn records(&self) -> Vec<String> {
        let of = |r: Record| format!("{} {}", r.operation, r.result);
        self.handle.shared.audit.newest(1_000).into_iter().map(of).collect()
    }
}

fn ended(snapshot: &Snapshot, event: &str) -> Option<String> {
    let mut executions = snapshot.memory.executions.iter().filter(|e| e.event.name == event);
    executions.find_map(|e| e.ended.clone()).map(|(_, how)| how)
}

fn incident(snapshot: &Snapshot, kind: &str) -> Option<String> {
    let found = snapshot.memory.incidents.of_kind(kind).next();
    found.map(|incident| incident.message.clone())
}

fn parts() -> (Arc<MemoryStore>, Arc<World>) {
    (Arc::default(), Arc::default())
}

#[tokio::test(start_paused = true)]
async fn does_what_is_asked_once_and_tells_the_sources() {
    let (store, world) = parts();
    let looped = start(&store, &world);
    world.want("do_good");
    looped.until("done", |s| ended(s, "do_good").is_some()).await;
    looped.cycles(5).await;
    assert_eq!(world.executed(), ["do_good"]);
    assert!(world.told.load(Ordering::SeqCst) >= 6);
    assert!(world.reported.load(Ordering::SeqCst) >= 2, "records reach the action that reports them");
    assert!(looped.records().iter().any(|r| r == "do_good did it"), "{:?}", looped.records());
}

#[tokio::test(start_paused = true)]
async fn does_nothing_that_is_not_written_down_first() {
    let (store, world) = parts();
    let looped = start(&store, &world);
    looped.cycles(2).await;
    store.unwritable.store(true, Ordering::SeqCst);
    world.want("do_good");
    let seen = looped.until("trouble", |s| incident(s, STORE_TROUBLE).is_some()).await;
    assert!(seen.trouble.as_ref().unwrap().contains("cannot write the state"), "{:?}", seen.trouble);
    looped.cycles(300).await;
    assert_eq!(world.executed(), Vec::<String>::new());
    let records = looped.records();
    assert_eq!(
        records.iter().filter(|r| r.starts_with(STORE_TROUBLE)).count(),
        1,
        "told at once: {records:?}"
    );
    assert!(looped.order(OrderKind::Pause).await.unwrap_err().contains("could not be written down"));
    looped.order(OrderKind::Resume).await.unwrap_err();

    store.unwritable.store(false, Ordering::SeqCst);
    let seen = looped.until("done", |s| ended(s, "do_good").is_some()).await;
    assert_eq!(ended(&seen, "do_good").as_deref(), Some("did it"));
    looped.cycles(3).await;
    assert_eq!(world.executed(), ["do_good"]);
    let snapshot = looped.handle.shared.snapshot();
    assert_eq!((snapshot.trouble.clone(), incident(&snapshot, STORE_TROUBLE)), (None, None));
    let records = looped.records();
    for expected in ["do_good admitted, for good", "pause paused", "resume resumed", "do_good did it"] {
        assert!(records.iter().any(|r| r == expected), "{expected} is missing in {records:?}");
    }
    // What the store holds is what the loop knows.
    let restored = Journal::new(store, "test").load().await.unwrap();
    let stored_form = |memory: &Memory| serde_json::to_value(&*memory.executions).unwrap();
    assert_eq!(stored_form(&restored), stored_form(&snapshot.memory));
}

#[tokio::test(start_paused = true)]
async fn looks_but_does_nothing_while_the_store_is_unreadable() {
    let (store, world) = parts();
    store.unreadable.store(true, Ordering::SeqCst);
    let looped = start(&store, &world);
    world.want("do_good");
    let seen = looped.until("trouble", |s| incident(s, STORE_TROUBLE).is_some()).await;
    assert!(seen.trouble.as_ref().unwrap().contains("cannot read the stored state"), "{:?}", seen.trouble);
    let seen = looped.cycles(10).await;
    assert_eq!(seen.held.iter().map(|held| held.check).collect::<Vec<_>>(), [Check::Paused]);
    assert!(seen.state.as_ref().unwrap().get::<Liveness>().is_some());
    // A person's order would be lost with the memory that it was applied to, or would lift the hold.
    for what in [OrderKind::Resume, OrderKind::Pause] {
        let answer = looped.order(what).await.unwrap_err();
        assert!(answer.starts_with("not carried out: the state store cannot be read"), "{answer}");
    }
    let seen = looped.cycles(10).await;
    assert_eq!(seen.held.iter().map(|held| held.check).collect::<Vec<_>>(), [Check::Paused]);
    assert_eq!(world.executed(), Vec::<String>::new());
    // People are told, once.
    let alerts = || world.alerts.lock().unwrap().clone();
    looped.cycles(40).await;
    let told = alerts();
    assert!(told.len() == 1 && told[0].starts_with("state_store_unusable-"), "{told:?}");

    store.unreadable.store(false, Ordering::SeqCst);
    assert_eq!(store.list("").await.unwrap(), Vec::<String>::new(), "nothing was written over the unread");
    let seen = looped.until("done", |s| ended(s, "do_good").is_some()).await;
    assert_eq!(seen.memory.wishes.paused, None);
    assert_eq!(world.executed(), ["do_good"]);
    looped.cycles(40).await;
    assert_eq!(alerts()[1..], [format!("{}-over", told[0])]);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_value_in_the_store_stops_all_acts() {
    let (store, world) = parts();
    store.put("clusters/test/wishes", b"{\"paused\": 7}".to_vec()).await.unwrap();
    let looped = start(&store, &world);
    world.want("do_good");
    let seen = looped.until("trouble", |s| incident(s, STORE_TROUBLE).is_some()).await;
    assert!(seen.trouble.as_ref().unwrap().contains("wishes"), "{:?}", seen.trouble);
    looped.cycles(10).await;
    assert_eq!(world.executed(), Vec::<String>::new());
    assert_eq!(store.get("clusters/test/wishes").await.unwrap().unwrap().value, b"{\"paused\": 7}");
}

#[tokio::test(start_paused = true)]
async fn an_action_that_panics_or_hangs_is_an_outcome() {
    let (store, world) = parts();
    let looped = start(&store, &world);
    for event in ["do_panic", "do_hang", "do_good"] {
        world.want(event);
    }
    let seen = looped.until("all ended", |s| {
        ["do_panic", "do_hang", "do_good"].iter().all(|event| ended(s, event).is_some())
    });
    let seen = seen.await;
    assert_eq!(ended(&seen, "do_good").as_deref(), Some("did it"));
    assert!(ended(&seen, "do_panic").unwrap().contains("the action bad panicked"));
    assert!(ended(&seen, "do_hang").unwrap().contains("longer than 60 s"));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_is_a_finding_and_no_more() {
    let (store, world) = parts();
    let looped = start(&store, &world);
    world.source_panics.store(true, Ordering::SeqCst);
    world.want("do_good");
    let seen = looped.until("found", |s| incident(s, PLUGIN_PANICKED).is_some()).await;
    assert_eq!(incident(&seen, PLUGIN_PANICKED).as_deref(), Some("monitor shaky panicked: shaky by nature"));
    looped.until("done", |s| ended(s, "do_good").is_some()).await;
    world.source_panics.store(false, Ordering::SeqCst);
    looped.until("over", |s| incident(s, PLUGIN_PANICKED).is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_cycle_that_panics_harms_neither_memory_nor_orders_nor_another_cluster() {
    let (store, world) = parts();
    let (other_store, other_world) = parts();
    let (looped, other) = (start(&store, &world), start(&other_store, &other_world));
    world.want("do_good");
    looped.until("done", |s| ended(s, "do_good").is_some()).await;
    world.operator_panics.store(true, Ordering::SeqCst);
    let (answer, ()) = tokio::join!(looped.order(OrderKind::Pause), async {
        let seen = looped.until("trouble", |s| s.trouble.is_some()).await;
        assert!(seen.trouble.as_ref().unwrap().contains("the operator is out of order"));
        other.cycles(5).await;
        world.operator_panics.store(false, Ordering::SeqCst);
    });
    // Tried again with the same order for a few cycles; a person who got no answer asks again.
    if answer.is_err() {
        looped.order(OrderKind::Pause).await.unwrap();
    }
    let seen = looped.cycles(1).await;
    assert!(seen.memory.wishes.paused.is_some() && seen.trouble.is_none());
    assert_eq!(ended(&seen, "do_good").as_deref(), Some("did it"));
    assert_eq!(world.executed(), ["do_good"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_in_while_cycles_panic_costs_no_execution() {
    let (store, world) = parts();
    let looped = start(&store, &world);
    world.want("do_slow");
    looped.until("under way", |s| s.acts > 0).await;
    world.operator_panics.store(true, Ordering::SeqCst);
    world.released.store(true, Ordering::SeqCst);
    looped.cycles(10).await;
    assert_eq!(world.executed(), ["do_slow"]);
    world.operator_panics.store(false, Ordering::SeqCst);
    let seen = looped.until("done", |s| ended(s, "do_slow").is_some()).await;
    assert_eq!(ended(&seen, "do_slow").as_deref(), Some("did it slowly"));
    assert_eq!(world.executed(), ["do_slow", "do_slow"], "it is not known what became of the first");
}

#[tokio::test(start_paused = true)]
async fn an_answered_order_outlives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let world: Arc<World> = Arc::default();
    {
        let store = Arc::new(FileStore::open(dir.path()).unwrap());
        let looped = start(&store, &world);
        assert_eq!(looped.order(OrderKind::Pause).await, Ok("paused".to_owned()));
        // As `kill -9` does it: no farewell.
        looped.task.abort();
        let _ = looped.task.await;
    }
    let store = Arc::new(FileStore::open(dir.path()).unwrap());
    world.want("do_good");
    let looped = start(&store, &world);
    let seen = looped.until("held", |s| !s.held.is_empty()).await;
    assert_eq!(seen.held[0].check, Check::Paused);
    assert!(seen.held[0].reason.contains("kim"), "{}", seen.held[0].reason);
    assert_eq!(world.executed(), Vec::<String>::new());
    assert_eq!(looped.order(OrderKind::Resume).await, Ok("resumed".to_owned()));
    looped.until("done", |s| ended(s, "do_good").is_some()).await;
    looped.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_way_to_the_cluster_leads_to_the_one_that_is_remembered() {
    let (store, world) = parts();
    let running = start(&store, &world);
    let expected = |world: &World| world.way.expected_cluster().map(|id| id.to_string());
    running.until("it was told", |_| expected(&world).as_deref() == Some("id")).await;
    running.end().await;

    // Another process, and all brokers answer for another cluster.
    let world = Arc::new(World { is_other: true.into(), ..World::default() });
    let running = start(&store, &world);
    running.until("a mismatch", |snapshot| incident(snapshot, "identity_mismatch").is_some()).await;
    assert_eq!(expected(&world).as_deref(), Some("id"));
    // The core does nothing at all then; people hear of it all the same.
    running.cycles(40).await;
    let told = world.alerts.lock().unwrap().clone();
    assert!(told.len() == 1 && told[0].starts_with("identity_mismatch-"), "{told:?}");
    running.order(OrderKind::AcceptIdentity).await.unwrap();
    running.until("it is accepted", |_| expected(&world).as_deref() == Some("other")).await;
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn ends_in_time_although_an_act_hangs() {
    let (store, world) = parts();
    let looped = start(&store, &world);
    world.want("do_hang");
    looped.until("under way", |s| s.acts > 0).await;
    let began = Instant::now();
    looped.end().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn is_never_busy_however_often_it_is_woken() {
    let (store, world) = parts();
    let looped = start(&store, &world);
    let before = looped.cycles(1).await.cycles;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) {
        looped.wake.wake();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let cycles = looped.handle.shared.snapshot().cycles - before;
    assert!((50..=201).contains(&cycles), "{cycles} cycles in 10 s");
}

#[tokio::test(start_paused = true)]
async fn answers_a_wake_at_once() {
    let (store, world) = parts();
    let looped = start(&store, &world);
    looped.cycles(2).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (began, before) = (Instant::now(), looped.handle.shared.snapshot().cycles);
    looped.wake.wake();
    looped.until("a cycle", |s| s.cycles > before).await;
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
}

mod changed;
mod lease;
