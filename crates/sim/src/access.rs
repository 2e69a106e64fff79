//! A client's way into a world: the traits of crate `cluster`.
//!
//! Every future is ready at once, because time is virtual: a broker that would swallow a request is answered for with a
//! time-out on the spot. Only waiting for records has to take time, or whoever reads in a loop would never pause; how,
//! is up to the owner of the world (see [`Access::pausing_by`]).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cluster::{
    BoxFuture, Broker, BrokerAddress, BrokerAnswer, BrokerId, ClientError, ConfigChange, ConfigReadings,
    ConfigResource, ConfigResults, LogDir, LogReader, LogWriter, NewRecord, NewTopic, OffsetAt,
    PartitionResults, ReadBatch, Reader, Reassignments, TopicName, TopicPartition, TopicTable, Writer,
};

use crate::world::{Client, World};

/// A world that several share: its clients, and whoever lets its time go on.
#[derive(Clone)]
pub struct SharedWorld(Arc<Mutex<World>>);

impl SharedWorld {
    /// Shares a world.
    pub fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    /// The world. Others wait until the guard is dropped.
    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets so much time go by; see [`Access::pausing_by`].
pub type Pause = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// One client's connections to a world. Cheap to clone.
#[derive(Clone)]
pub struct Access {
    world: SharedWorld,
    client: Client,
    bootstrap: Vec<BrokerAddress>,
    pause: Option<Pause>,
    turn: Arc<AtomicUsize>,
}

/// Partitions in one request: what crate `kafka` allows itself.
const MOST_IN_A_REQUEST: usize = 500;

/// How long a broker may take that is asked for what only it can tell.
const LIMIT: Duration = Duration::from_secs(10);

impl Access {
    /// The connections of `client`, with all brokers as its bootstrap.
    pub fn new(world: &SharedWorld, client: Client) -> Self {
        let bootstrap = world.lock().addresses();
        Self { world: world.clone(), client, bootstrap, pause: None, turn: Arc::default() }
    }

    /// The same, waiting for records by `pause`: with a runtime's sleep where others go on meanwhile.
    #[must_use]
    pub fn pausing_by(mut self, pause: Pause) -> Self {
        self.pause = Some(pause);
        self
    }

    /// A broker that hands requests on to the controller.
    fn any(&self, world: &World) -> Result<usize, ClientError> {
        world.reach_any(self.client, self.turn.fetch_add(1, Ordering::Relaxed))
    }

    /// A broker that answers from its own metadata, whatever they are.
    fn anyone(&self, world: &World) -> Result<usize, ClientError> {
        self.in_turn(world).first().copied().ok_or_else(nobody)
    }

    /// All that answer, beginning with another one each time.
    fn in_turn(&self, world: &World) -> Vec<usize> {
        let mut all = world.answering(self.client);
        if let Some(turn) = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(all.len()) {
            all.rotate_left(turn);
        }
        all
    }

    fn with<T: Send + 'static>(&self, act: impl FnOnce(&mut World) -> T) -> BoxFuture<'static, T> {
        let result = act(&mut self.world.lock());
        Box::pin(std::future::ready(result))
    }
}

/// What is answered to an order that was carried out, unless answers are lost.
fn answer<T>(world: &World, client: Client, doing: &'static str, answer: T) -> Result<T, ClientError> {
    if world.loses_answers(client) { Err(lost(doing)) } else { Ok(answer) }
}

/// An answer that does not arrive.
pub(crate) fn lost(doing: &'static str) -> ClientError {
    ClientError::Timeout { at: "the controller".to_owned(), limit_ms: crate::time::millis(LIMIT), doing }
}

/// What the question for topics or reassignments brings, where it is not answered.
fn told_topics(world: &World, client: Client, doing: &'static str) -> Result<(), ClientError> {
    let limit_ms = crate::time::millis(LIMIT);
    let silent = || ClientError::Timeout { at: "any broker".to_owned(), limit_ms, doing };
    if world.hides_topics(client) { Err(silent()) } else { Ok(()) }
}

fn nobody() -> ClientError {
    ClientError::Unreachable { at: "any broker".to_owned(), why: "none answers".to_owned() }
}

/// Some topics as one broker knows them.
fn known_to(world: &mut World, broker: usize, names: &[TopicName]) -> TopicTable {
    let topics = world.topics_known_to(broker);
    names.iter().filter_map(|name| Some((name.clone(), topics.0.get(name)?.clone()))).collect()
}

impl Reader for Access {
    fn bootstrap(&self) -> Vec<BrokerAddress> {
        self.bootstrap.clone()
    }

    fn ask<'a>(
        &'a self,
        at: &'a BrokerAddress,
        limit: Duration,
    ) -> BoxFuture<'a, Result<BrokerAnswer, ClientError>> {
        self.with(|world| world.ask(self.client, at, limit))
    }

    fn topics<'a>(&'a self, at: &'a BrokerAddress) -> BoxFuture<'a, Result<TopicTable, ClientError>> {
        self.with(|world| {
            let broker = world.reach(self.client, at, LIMIT)?;
            told_topics(world, self.client, "reading topics")?;
            Ok(world.topics_known_to(broker).0.clone())
        })
    }

    fn describe<'a>(&'a self, names: &'a [TopicName]) -> BoxFuture<'a, Result<TopicTable, ClientError>> {
        self.with(|world| {
            let broker = self.anyone(world)?;
            told_topics(world, self.client, "reading topics")?;
            Ok(known_to(world, broker, names))
        })
    }

    fn witnesses<'a>(
        &'a self,
        names: &'a [TopicName],
        count: usize,
    ) -> BoxFuture<'a, Result<Vec<TopicTable>, ClientError>> {
        self.with(|world| {
            let mut brokers = self.in_turn(world);
            brokers.truncate(count.max(1));
            // One broker alone, where there are others, is no witness.
            if brokers.len() < count.min(world.addresses().len()).clamp(1, 2) {
                return Err(nobody());
            }
            told_topics(world, self.client, "reading topics")?;
            Ok(brokers.into_iter().map(|broker| known_to(world, broker, names)).collect())
        })
    }

    fn reassignments(&self) -> BoxFuture<'_, Result<Reassignments, ClientError>> {
        self.with(|world| {
            self.any(world)?;
            told_topics(world, self.client, "listing reassignments")?;
            Ok(world.reassignments())
        })
    }

    fn log_dirs<'a>(
        &'a self,
        brokers: &'a [Broker],
    ) -> BoxFuture<'a, BTreeMap<BrokerId, Result<Vec<LogDir>, ClientError>>> {
        self.with(|world| {
            let of = |broker: &Broker| {
                let reached = world.reach(self.client, &broker.address, LIMIT);
                (broker.id, reached.map(|broker| world.log_dirs_of(broker)))
            };
            brokers.iter().map(of).collect()
        })
    }

    fn configs<'a>(
        &'a self,
        resources: &'a [ConfigResource],
        keys: &'a [&'a str],
    ) -> BoxFuture<'a, ConfigReadings> {
        self.with(|world| {
            let read = |of: &ConfigResource| {
                let from = match of {
                    ConfigResource::Broker(id) => world.reach_id(self.client, *id, LIMIT),
                    ConfigResource::Topic(_) | ConfigResource::BrokerDefault => self.anyone(world),
                };
                (of.clone(), from.and_then(|from| world.config(from, of, keys)))
            };
            resources.iter().map(read).collect()
        })
    }
}

impl Writer for Access {
    fn reassign<'a>(
        &'a self,
        batch: &'a BTreeMap<TopicPartition, Option<Vec<BrokerId>>>,
    ) -> BoxFuture<'a, Result<PartitionResults, ClientError>> {
        let doing = "reassigning partitions";
        self.with(|world| {
            if batch.len() > MOST_IN_A_REQUEST {
                let why = format!("{} partitions in one request", batch.len());
                return Err(ClientError::Refused { doing, code: "TOO_MANY".to_owned(), why });
            }
            self.any(world)?;
            let apply = |(at, to): (&TopicPartition, &Option<Vec<BrokerId>>)| {
                let result = world.reassign_alike(at, to.as_deref());
                let result = match result {
                    // There is nothing to cancel: that is what was wanted.
                    Err(("NO_REASSIGNMENT_IN_PROGRESS", _)) if to.is_none() => Ok(()),
                    Err((code, why)) => Err(ClientError::Refused { doing, code: code.to_owned(), why }),
                    Ok(()) => Ok(()),
                };
                (at.clone(), result)
            };
            let results = batch.iter().map(apply).collect();
            answer(world, self.client, doing, results)
        })
    }

    fn elect_preferred<'a>(
        &'a self,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<PartitionResults, ClientError>> {
        self.with(|world| {
            self.any(world)?;
            let results = partitions.iter().map(|at| (at.clone(), world.elect_preferred(at))).collect();
            answer(world, self.client, "electing leaders", results)
        })
    }

    fn alter_configs<'a>(
        &'a self,
        changes: &'a BTreeMap<ConfigResource, Vec<ConfigChange>>,
    ) -> BoxFuture<'a, Result<ConfigResults, ClientError>> {
        self.with(|world| {
            let apply = |(of, changes): (&ConfigResource, &Vec<ConfigChange>)| {
                let through = match of {
                    ConfigResource::Broker(id) => world.reach_id_that_hands_on(self.client, *id, LIMIT),
                    ConfigResource::Topic(_) | ConfigResource::BrokerDefault => self.any(world),
                };
                (of.clone(), through.and_then(|_| world.alter_config(of, changes)))
            };
            let results = changes.iter().map(apply).collect();
            answer(world, self.client, "changing configs", results)
        })
    }

    fn create_topic<'a>(&'a self, topic: &'a NewTopic) -> BoxFuture<'a, Result<(), ClientError>> {
        self.with(|world| {
            self.any(world)?;
            world.create_topic(topic)
        })
    }
}

impl LogWriter for Access {
    fn append<'a>(&'a self, topic: &'a str, record: NewRecord) -> BoxFuture<'a, Result<(), ClientError>> {
        self.with(|world| {
            self.anyone(world)?;
            world.append(self.client, topic, record)
        })
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), ClientError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl LogReader for Access {
    fn partitions<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<i32, ClientError>> {
        self.with(|world| {
            self.anyone(world)?;
            world.partition_count(topic)
        })
    }

    fn offset<'a>(
        &'a self,
        at: &'a TopicPartition,
        which: OffsetAt,
    ) -> BoxFuture<'a, Result<i64, ClientError>> {
        self.with(|world| {
            self.anyone(world)?;
            world.offset(self.client, at, which)
        })
    }

    fn read<'a>(
        &'a self,
        at: &'a TopicPartition,
        offset: i64,
        wait: Duration,
    ) -> BoxFuture<'a, Result<ReadBatch, ClientError>> {
        let read = move || {
            let world = self.world.lock();
            self.anyone(&world)?;
            world.read(self.client, at, offset)
        };
        Box::pin(async move {
            let batch = read()?;
            match &self.pause {
                Some(pause) if batch.records.is_empty() => {
                    pause(wait).await;
                    read()
                }
                _ => Ok(batch),
            }
        })
    }
}
