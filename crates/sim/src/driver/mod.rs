//! Runs a `control::Core` against a world: looks, steps, acts, in virtual time and as fast as it goes.
//!
//! It stands where the service's shell stands, without its tasks and its waiting: it gathers what the sources would have
//! gathered, takes a step, and carries the effects out in their order. What is persisted goes into a store in memory,
//! which is all that outlives a `crash us`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::time::Duration;

use cluster::{BrokerId, ClientError, ClusterId, TopicPartition};
use control::event::{ReplaceInstance, names};
use control::{
    ActionKind, ActionSlot, ConfigProblem, Core, CoreConfig, Effect, ExecutionId, ExecutionLimits,
    FoldLimits, GuardConfig, Held, Inputs, Memory, MonitorSlot, Now, Order, Outcome, Record, RestoreError,
    State, Stepped, Tick, Timestamp, monitors, operators,
};
use serde_json::Value;

use crate::access::{Access, SharedWorld};
use crate::fault::Fault;
use crate::random::Random;
use crate::time::Moment;
use crate::world::{Client, World};

mod eyes;

mod hands;

mod judge;

mod reports;

use eyes::Eyes;
use hands::Hands;
use judge::{Judge, Sent};

/// What a driver runs.
#[derive(Clone, Debug)]
pub struct DriverConfig {
    /// How often it looks. While moves are under way and when answers have come, it looks every second.
    pub interval: Duration,
    /// Whether actions change nothing.
    pub dry_run: bool,
    /// The monitor that finds the dead.
    pub dead_brokers: monitors::dead_brokers::Config,
    /// The monitor that finds silent agents. It has work where the world has agents.
    pub no_broker_stats: monitors::no_broker_stats::Config,
    /// The monitor that finds brokers that live and do not do what they should.
    pub degraded_brokers: monitors::degraded_brokers::Config,
    /// The operator that heals.
    pub healing: operators::under_replicated_partitions::Config,
    /// The operator that replaces hosts, where there is one.
    pub replacement: Option<operators::broker_replacement::Config>,
    /// Brokers that vote in the metadata quorum, too, where not all controllers are processes of their own. That it needs most of them is
    /// left out.
    pub voters: BTreeSet<BrokerId>,
    /// What the guard allows.
    pub guard: GuardConfig,
    /// Bounds of executions.
    pub limits: ExecutionLimits,
    /// What comes between looking and acting.
    pub between: Between,
}

/// What comes between a look and the acts that follow from it. By default nothing does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Between {
    /// Less time than this goes by between a look and all that its acts read and write.
    pub pause: Duration,
    /// In so many of 1,000 acts somebody else gives an order for one of its partitions, after the look and before the act
    /// reads how things are.
    pub meddled_permille: u64,
    /// Of so many of 1,000 orders that were carried out the answer is lost.
    pub lost_permille: u64,
    /// So long the script runs that replaces a host, also where the process is killed that has started it.
    pub script: Duration,
    /// After so many of 1,000 crashes it is another service that goes on, with the same store: after the lease of the first is over.
    pub taken_over_permille: u64,
}

impl Default for DriverConfig {
    /// The defaults of the service, looking every second.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            dry_run: false,
            dead_brokers: monitors::dead_brokers::Config::default(),
            no_broker_stats: monitors::no_broker_stats::Config::default(),
            degraded_brokers: monitors::degraded_brokers::Config::default(),
            healing: operators::under_replicated_partitions::Config::default(),
            replacement: None,
            voters: BTreeSet::new(),
            guard: GuardConfig::default(),
            limits: ExecutionLimits::default(),
            between: Between::default(),
        }
    }
}

/// Runs a core against a world. See the [module](self).
pub struct Driver {
    world: SharedWorld,
    core: Core,
    config: DriverConfig,
    hands: Hands,
    /// What outlives the process.
    store: BTreeMap<String, Value>,
    process: Process,
    scripts: Vec<Script>,
    next_look: Moment,
    crash: Crash,
    orders: Vec<Order>,
    account: Vec<Entry>,
    cycles: u64,
    random: Random,
}

/// What the process has in its memory alone.
struct Process {
    started: Moment,
    memory: Memory,
    eyes: Eyes,
    outcomes: Vec<Outcome>,
    held: Vec<Held>,
    state: Option<State>,
}

/// A script that replaces a host, and has not ended yet.
struct Script {
    ends: Moment,
    order: ReplaceInstance,
    /// Who waits for it: a process that was started then, for this act.
    started_by: Moment,
    act: (ExecutionId, u32),
}

/// Whether the process is to be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crash {
    No,
    /// After so many effects of the next step that acts; if there is none until that moment, then.
    Amid {
        effects: Option<usize>,
        until: Moment,
    },
}

/// A line of the account: what the core has recorded, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When, in virtual time.
    pub at: Moment,
    /// What.
    pub what: Told,
}

/// What can stand in the account.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// A record of the core's.
    Record(Box<Record>),
    /// A message to people, by its event and its subject.
    Message {
        /// The name of the event.
        event: String,
        /// Its subject line.
        subject: String,
    },
    /// Somebody else has given an order for a partition that we were about to act on, in the notation of faults.
    Meddled(String),
    /// DoctorKafka was killed after so many effects of a step, and starts again.
    Crashed {
        /// The effects that were carried out.
        done: usize,
        /// How many there were.
        of: usize,
    },
}

/// The source that stands for all sources of the service.
const SOURCE: &str = "kafka_metadata";
/// A killed process is started again after this time.
const RESTART: Duration = Duration::from_secs(5);
/// Another service takes over after this time: a lease, and what two clocks may differ in.
const TAKEOVER: Duration = Duration::from_secs(28);
/// How long a crash waits for an act to happen amid.
const PATIENCE: Duration = Duration::from_secs(60);
/// The key under which the store has the cluster's identity.
const IDENTITY: &str = "identity";
/// How often it looks while moves are under way.
const BUSY: Duration = Duration::from_secs(1);

/// The events that go to people.
const MESSAGES: [&str; 10] = [
    names::ALERT_FLAPPING_BROKER,
    names::ALERT_MASS_FAILURE,
    names::ALERT_NO_BROKERSTATS_BROKERS,
    names::ALERT_PROLONG_URP,
    names::ALERT_STUCK_REASSIGNMENT,
    names::ALERT_THROTTLE_LEFT,
    names::ALERT_UNKNOWN_OUTCOME,
    names::ALERT_URP_HANDLING_FAILURE,
    names::NOTIFY_MAINTENANCE_MODE,
    names::NOTIFY_REASSIGNMENT,
];

fn core(config: &DriverConfig) -> Result<Core, Vec<ConfigProblem>> {
    let slot = |name: &str, subscribed: &[&str], kind, dry_run| ActionSlot {
        name: name.to_owned(),
        subscribed: subscribed.iter().map(|event| (*event).to_owned()).collect(),
        dry_run,
        at_most_once: false,
        can_stop: false,
        kind,
        emits: Vec::new(),
    };
    let deriving = MonitorSlot::Deriving;
    let mut messages = MESSAGES.to_vec();
    let mut operators: Vec<Box<dyn control::Operator>> = vec![
        Box::new(config.healing.build("under_replicated_partitions")),
        Box::new(operators::no_broker_stats::Config::default().build("no_broker_stats")),
    ];
    if let Some(replacement) = &config.replacement {
        messages.push(names::ALERT_REPLACEMENT_HELD);
        operators.push(Box::new(replacement.build("broker_replacement")));
    }
    let mut actions = vec![
        slot(hands::REASSIGN, &[names::REASSIGN_PARTITIONS], ActionKind::Reassign, config.dry_run),
        slot(hands::ELECT, &[names::ELECT_LEADERS], ActionKind::Once, config.dry_run),
        slot(hands::TELL, &messages, ActionKind::Once, false),
    ];
    if config.replacement.is_some() {
        actions.push(slot(hands::REPLACE, &[names::REPLACE_INSTANCE], ActionKind::Once, config.dry_run));
    }
    let under = monitors::under_replicated_partitions::Config {}.build("under_replicated_partitions");
    let config = CoreConfig {
        cluster: "sim".to_owned(),
        monitors: vec![
            MonitorSlot::Source(SOURCE.to_owned()),
            deriving(Box::new(monitors::maintenance::Config {}.build("maintenance"))),
            deriving(Box::new(config.dead_brokers.build("dead_brokers"))),
            deriving(Box::new(under)),
            deriving(Box::new(config.no_broker_stats.build("no_broker_stats"))),
            deriving(Box::new(config.degraded_brokers.build("degraded_brokers"))),
        ],
        operators,
        actions,
        guard: config.guard.clone(),
        limits: config.limits.clone(),
        incidents: FoldLimits::default(),
    };
    Core::new(config).map(|(core, _)| core)
}

impl Driver {
    /// A driver of a new process with an empty store.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new(world: World, config: &DriverConfig) -> Result<Self, Vec<ConfigProblem>> {
        let core = core(config)?;
        let seed = world.settings().seed;
        let world = SharedWorld::new(world);
        let judge = Judge::new(config);
        let meddler = Random::new(seed ^ 0x006d_6564_646c_6572);
        let started = world.lock().now();
        Ok(Self {
            core,
            config: config.clone(),
            hands: Hands::new(&world, judge, config.between, meddler),
            store: BTreeMap::new(),
            process: Process::new(started, Memory::default(), &world, &config.voters),
            scripts: Vec::new(),
            next_look: started,
            crash: Crash::No,
            orders: Vec::new(),
            account: Vec::new(),
            cycles: 0,
            // Not the world's own stream: what we do must not change the faults that are drawn.
            random: Random::new(seed ^ 0x6472_6976_6572),
            world,
        })
    }

    /// The world. Faults may be planned in it at any time.
    pub fn world(&self) -> &SharedWorld {
        &self.world
    }

    /// What it was made of.
    pub fn config(&self) -> &DriverConfig {
        &self.config
    }

    /// What the core remembers.
    pub fn memory(&self) -> &Memory {
        &self.process.memory
    }

    /// The events that were held in the last step, with the reasons.
    pub fn held(&self) -> &[Held] {
        &self.process.held
    }

    /// The picture of the cluster in the last step of this process.
    pub fn state(&self) -> Option<&State> {
        self.process.state.as_ref()
    }

    /// How many steps were taken.
    pub fn cycles(&self) -> u64 {
        self.cycles
    }

    /// Hands an order of a person in; it is taken in with the next step.
    pub fn order(&mut self, order: Order) {
        self.orders.push(order);
        self.next_look = self.world.lock().now();
    }

    /// Kills the process amid the next step that acts, after so many of its effects.
    pub fn crash_after(&mut self, effects: usize) {
        self.crash = Crash::Amid { effects: Some(effects), until: Moment(u64::MAX) };
    }

    /// Whether such a crash is still to come.
    pub fn is_about_to_crash(&self) -> bool {
        self.crash != Crash::No
    }

    /// The account since it was last taken.
    pub fn take_account(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.account)
    }

    /// What was wrong, by the truth of the world, with what was done since this was asked last: a broker given up that was
    /// alive, a reassignment of somebody else cancelled, an act that the journal does not have, and the like.
    pub fn take_wrongs(&mut self) -> Vec<String> {
        self.hands.judge.take_wrongs()
    }

    /// Whether the reassignment of a partition to `target` that is listed was asked for by us.
    pub fn is_ours(&self, at: &TopicPartition, target: &[BrokerId]) -> bool {
        self.hands.judge.is_ours_still(at, target)
    }

    /// From now on the brokers belong to another cluster than the one that is remembered, and nothing may be changed: what
    /// is changed all the same is [wrong](Driver::take_wrongs). While none is remembered, there is no other: says whether
    /// one is.
    pub fn change_identity(&mut self, id: ClusterId) -> bool {
        let remembered = self.store.contains_key(IDENTITY);
        if remembered {
            let mut world = self.world.lock();
            world.become_cluster(id);
            self.hands
                .judge
                .forbid(world.now(), "something is changed in another cluster than the one remembered");
        }
        remembered
    }

    /// Lets so much time go by.
    ///
    /// # Errors
    /// After a crash the store could not be read.
    pub fn run(&mut self, time: Duration) -> Result<(), RestoreError> {
        let end = self.world.lock().now().plus(time);
        while self.next_look <= end {
            self.world.lock().advance_to(self.next_look);
            self.cycle()?;
        }
        self.world.lock().advance_to(end);
        Ok(())
    }

    /// Lets time go by until `what` holds, at most so much of it. Says whether it came to hold.
    ///
    /// # Errors
    /// After a crash the store could not be read.
    pub fn run_until(
        &mut self,
        limit: Duration,
        mut what: impl FnMut(&mut Self) -> bool,
    ) -> Result<bool, RestoreError> {
        let end = self.world.lock().now().plus(limit);
        while !what(self) {
            if self.world.lock().now() >= end {
                return Ok(false);
            }
            self.run(BUSY)?;
        }
        Ok(true)
    }

    fn cycle(&mut self) -> Result<(), RestoreError> {
        let at = self.next_look;
        self.end_scripts(at);
        self.arm_crash(at);
        let tick = Tick(at.0 - self.process.started.0.min(at.0) + 1_000);
        let now = Now { tick, wall: Timestamp(self.world.lock().our_wall_ms()) };
        let contribution = self.process.eyes.look(&mut self.world.lock(), now, at);
        let orders = std::mem::take(&mut self.orders);
        let inputs = Inputs {
            contributions: BTreeMap::from([(SOURCE.to_owned(), contribution)]),
            outcomes: std::mem::take(&mut self.process.outcomes),
            orders: orders.clone(),
            ending: false,
        };
        self.cycles += 1;
        let Stepped { effects, state, held, moving, .. } =
            self.core.step(&mut self.process.memory, inputs, now);
        self.process.eyes.after_cycle(&state);
        self.process.state = Some(state);
        self.process.held = held;
        self.hands.begin();
        let all = effects.len();
        let done = self.cut(&effects, at);
        for effect in effects.into_iter().take(done.unwrap_or(all)) {
            self.carry_out(effect, at);
        }
        // Acts may have taken their time.
        let at = self.world.lock().now();
        if let Some(done) = done {
            // Whoever gave an order and heard nothing of it gives it again.
            self.orders = orders;
            return self.restart(at, done, all);
        }
        let soon = moving || !self.process.outcomes.is_empty();
        let interval = self.config.interval;
        self.next_look = at.plus(if soon { BUSY.min(interval) } else { interval });
        Ok(())
    }

    /// A `crash us` fault has happened: chance says whether it is now or amid the next acts.
    fn arm_crash(&mut self, at: Moment) {
        if self.world.lock().take_crashes() > 0 && self.crash == Crash::No {
            let until = if self.random.chance(500) { at } else { at.plus(PATIENCE) };
            self.crash = Crash::Amid { effects: None, until };
        }
    }

    /// After how many effects of this step the process is killed, if it is.
    fn cut(&mut self, effects: &[Effect], at: Moment) -> Option<usize> {
        let Crash::Amid { effects: wanted, until } = self.crash else { return None };
        let acts = effects.iter().any(|effect| matches!(effect, Effect::Act { .. }));
        if !acts && at < until {
            return None;
        }
        let all = effects.len();
        let drawn = usize::try_from(self.random.between(0, all as u64)).unwrap_or(all);
        Some(wanted.unwrap_or(drawn).min(all))
    }

    fn restart(&mut self, at: Moment, done: usize, of: usize) -> Result<(), RestoreError> {
        self.crash = Crash::No;
        self.account.push(Entry { at, what: Told::Crashed { done, of } });
        let permille = self.config.between.taken_over_permille;
        let taken_over = permille > 0 && self.random.chance(permille);
        let started = at.plus(if taken_over { TAKEOVER } else { RESTART });
        let memory = Memory::restore(self.store.clone())?;
        self.process = Process::new(started, memory, &self.world, &self.config.voters);
        self.hands.judge.forgets_what_is_replaced();
        self.next_look = started;
        Ok(())
    }

    /// Whoever waits for a script that has ended is told. A process that was killed is not.
    fn end_scripts(&mut self, now: Moment) {
        let (ended, running) = std::mem::take(&mut self.scripts).into_iter().partition(|it| it.ends <= now);
        self.scripts = running;
        for script in ended {
            let result = self.hands.end_script(&script.order);
            let (execution, sequence) = script.act;
            if script.started_by == self.process.started {
                self.hands.judge.replaced(script.order.broker);
                self.process.outcomes.push(Outcome { execution, sequence, result });
            }
        }
    }

    fn carry_out(&mut self, effect: Effect, at: Moment) {
        match effect {
            Effect::Persist { key, value: Some(value) } => {
                self.store.insert(key, value);
            }
            Effect::Persist { key, value: None } => {
                self.store.remove(&key);
            }
            // What is done here is done at once: nothing is under way that could be stopped.
            Effect::Stop { .. } => {}
            Effect::Record(record) => {
                self.account.push(Entry { at, what: Told::Record(Box::new(record)) });
            }
            Effect::Act { execution, sequence, action, event, dry_run } => {
                if let Some(subject) = self.hands.message(&action, &event) {
                    let what = Told::Message { event: event.name.clone(), subject };
                    self.account.push(Entry { at, what });
                }
                if let Some(state) = self.process.state.as_ref().filter(|_| !dry_run) {
                    let (store, memory) = (&self.store, &self.process.memory);
                    let read_ago = self.process.eyes.read_ago(self.hands.judge.look());
                    let sent = Sent { execution, sequence, event: &event, store, memory, state, read_ago };
                    self.hands.judge.act(&self.world.lock(), &sent);
                }
                let result = self.hands.execute(&action, &event, dry_run, &self.process.memory);
                let meddled = self.hands.take_meddled().into_iter();
                let told = |fault: Fault| Entry { at, what: Told::Meddled(fault.to_string()) };
                self.account.extend(meddled.map(told));
                if let Some(order) = self.hands.take_script() {
                    let ends = self.world.lock().now().plus(self.config.between.script);
                    let (started_by, act) = (self.process.started, (execution, sequence));
                    self.scripts.push(Script { ends, order, started_by, act });
                    return;
                }
                self.process.outcomes.push(Outcome { execution, sequence, result });
            }
        }
    }
}

impl Process {
    fn new(started: Moment, memory: Memory, world: &SharedWorld, voters: &BTreeSet<BrokerId>) -> Self {
        Self {
            started,
            memory,
            eyes: Eyes::new(Access::new(world, Client::Us), voters),
            outcomes: Vec::new(),
            held: Vec::new(),
            state: None,
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.at)?;
        match &self.what {
            Told::Crashed { done, of } => write!(f, "crashed after {done} of {of} effects"),
            Told::Meddled(order) => write!(f, "somebody else: {order}"),
            Told::Message { event, subject } => write!(f, "message {event}: {subject}"),
            Told::Record(record) => {
                let mut kind = String::new();
                write!(kind, "{:?}", record.kind)?;
                let dry = if record.dry_run { " (dry run)" } else { "" };
                let (operation, target, result) = (&record.operation, &record.target, &record.result);
                write!(f, "{}{dry} {operation} [{target}] {result}", kind.to_lowercase())
            }
        }
    }
}

/// What a call through the traits brought. The simulator's futures are ready at once.
fn at_once<T>(call: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(call).poll(&mut context) {
        std::task::Poll::Ready(result) => result,
        std::task::Poll::Pending => {
            let why = "the simulator did not answer at once".to_owned();
            Err(ClientError::Malformed { doing: "asking the simulator", why })
        }
    }
}
