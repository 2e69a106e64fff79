//! Whether another service looks after the same cluster by mistake.
//!
//! A second service with the same state dir is kept out by its lock. One with a state dir of its own, perhaps on another
//! host, is found in the actions topic: each service writes a heartbeat there and reads those of others. A service is
//! known by a number that it keeps in its store, so that one that was restarted is not taken for another. Two services do
//! no harm to each other's reassignments, which are foreign to them and left alone; but a person must know.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use brokerstats::{Codec, OperatorAction};
use cluster::{ClientError, NewRecord, OffsetAt, TopicPartition};
use control::guard::{ANOTHER_SERVICE, NEIGHBOURS_UNKNOWN};
use control::{Contribution, Finding, Liveness, Now, Severity, State, Target, Tick, Timestamp};
use tokio::task::JoinHandle;

use crate::plugin::{Clock, Connection, Source};
use crate::plugins::report_operation::topic;

/// The kind of the record that is a heartbeat.
pub const HEARTBEAT: &str = "heartbeat";
/// The name of this source.
pub const NEIGHBOURS_SOURCE: &str = "doctorkafka_neighbours";

/// How often a heartbeat is written and those of others are read.
const EVERY: Duration = Duration::from_secs(30);
/// After its start a service listens for so long before it says that there is no other: each writes a heartbeat in this time.
const LISTENS: Duration = Duration::from_secs(35);
/// How often it looks meanwhile.
const LOOKS_FIRST: Duration = Duration::from_secs(5);
/// How long a service counts as alive after its last heartbeat: two may be lost.
const ALIVE: Duration = Duration::from_secs(100);
/// How many partitions of the topic are read at most. It has one unless a person made it otherwise.
const PARTITIONS: i32 = 64;
/// How many reads one look may take for each partition, so that a busy topic is left for the next look.
const READS: usize = 20;
/// How many other services are remembered.
const OTHERS: usize = 16;

/// What is needed to find others.
pub(crate) struct Setup {
    /// The configured name of the cluster.
    pub(crate) cluster: Arc<str>,
    /// The number of this service.
    pub(crate) instance: String,
    /// The actions topic.
    pub(crate) topic: String,
    /// Whether this service writes there, or only reads, as in a dry run.
    pub(crate) writes: bool,
    /// Whether the topic is created when it is missing. That is done at the start, while the cluster is whole: one that
    /// is created in an outage gets a replica on a dead broker where Kafka finds too few others.
    pub(crate) create_topic: bool,
    /// The cluster that has it.
    pub(crate) connection: Connection,
    /// The clock.
    pub(crate) clock: Arc<dyn Clock>,
}

/// Finds other services that look after the same cluster.
pub(crate) struct Neighbours {
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    /// The id of the managed cluster, once it is known.
    cluster_id: Mutex<Option<String>>,
    /// Who and where the others are, and when their last heartbeat was read, by their numbers.
    others: Mutex<BTreeMap<String, (String, Tick)>>,
    /// Whether others would have been heard.
    has_listened: AtomicBool,
}

impl Neighbours {
    /// Starts looking. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The records' schema cannot be read.
    pub(crate) fn start(setup: Setup) -> Result<Self, String> {
        let codec = Codec::new().map_err(|error| error.to_string())?;
        let seen = Arc::new(Seen::default());
        let started = setup.clock.now().wall;
        let looking = Looking { setup, started, codec, seen: Arc::clone(&seen), offsets: BTreeMap::new() };
        Ok(Self { seen, task: tokio::spawn(looking.run()) })
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Source for Neighbours {
    fn name(&self) -> &str {
        NEIGHBOURS_SOURCE
    }

    fn latest(&self, now: Now) -> Contribution {
        Contribution { findings: self.seen.findings(now), ..Contribution::default() }
    }

    fn after_cycle(&self, state: &State) {
        if let Some(liveness) = state.get::<Liveness>() {
            let id = liveness.value.cluster_id.to_string();
            *self.seen.cluster_id.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
        }
    }
}

impl Seen {
    fn findings(&self, now: Now) -> Vec<Finding> {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.retain(|_, (_, last)| now.tick.since(*last) <= ALIVE);
        if others.is_empty() {
            return if self.has_listened.load(Ordering::Relaxed) { Vec::new() } else { vec![unknown()] };
        }
        let who: Vec<&str> = others.values().map(|(who, _)| who.as_str()).collect();
        let message = format!("another doctorkafka looks after this cluster, too: {}", who.join("; "));
        let finding = Finding::new(ANOTHER_SERVICE, Target::Cluster, Severity::Critical, message);
        vec![finding.waiting_for("one of them to be stopped; what the other moves is left alone meanwhile")]
    }

    fn note(&self, instance: &str, who: &str, now: Now) {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if others.len() < OTHERS || others.contains_key(instance) {
            others.insert(instance.to_owned(), (who.to_owned(), now.tick));
        }
    }
}

fn unknown() -> Finding {
    let message = "it is not known yet whether another doctorkafka looks after this cluster".to_owned();
    let waits_for = "its heartbeat in the actions topic, for 35 s; no host is replaced before";
    Finding::new(NEIGHBOURS_UNKNOWN, Target::Cluster, Severity::Info, message).waiting_for(waits_for)
}

struct Looking {
    setup: Setup,
    /// When this service was started. Whoever was alive before, perhaps the one that it replaces, is only told when it
    /// is alive after.
    started: Timestamp,
    codec: Codec,
    seen: Arc<Seen>,
    /// Where to go on in each partition.
    offsets: BTreeMap<i32, i64>,
}

impl Looking {
    async fn run(mut self) {
        let who = who();
        let (mut known_at, mut written_at) = (None, None);
        loop {
            let id = self.seen.cluster_id.lock().unwrap_or_else(PoisonError::into_inner).clone();
            // Before the cluster is known there is nothing to say, and soon after there is.
            let Some(id) = id else {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            };
            let now = self.setup.clock.now().tick;
            let listens_for = now.since(*known_at.get_or_insert(now));
            // A topic that cannot be read or written is told by the action that writes records to it.
            match self.read(&id).await {
                Ok(()) if listens_for >= LISTENS => self.seen.has_listened.store(true, Ordering::Relaxed),
                Ok(()) => {}
                Err(error) => {
                    tracing::debug!(cluster = %self.setup.cluster, %error, "heartbeats cannot be read");
                    self.create_if_missing(&error).await;
                }
            }
            if self.setup.writes && written_at.is_none_or(|at| now.since(at) >= EVERY) {
                written_at = Some(now);
                if let Err(error) = self.write(&id, &who).await {
                    tracing::debug!(cluster = %self.setup.cluster, %error, "no heartbeat can be written");
                }
            }
            let listens = !self.seen.has_listened.load(Ordering::Relaxed);
            tokio::time::sleep(if listens { LOOKS_FIRST } else { EVERY }).await;
        }
    }

    async fn write(&self, id: &str, who: &str) -> Result<(), ClientError> {
        let now = self.setup.clock.now();
        let action = heartbeat(&self.setup, id, who, now.wall.0);
        let Ok(value) = self.codec.encode_action(&action) else { return Ok(()) };
        let version = brokerstats::ACTION_SCHEMA_VERSION.to_string().into_bytes();
        let record = NewRecord {
            partition: None,
            key: Some(self.setup.cluster.as_bytes().to_vec()),
            value,
            headers: vec![(brokerstats::VERSION_HEADER.to_owned(), version)],
        };
        self.setup.connection.log_writer.append(&self.setup.topic, record).await
    }

    /// Not left to writing: whoever writes to a topic that is not there asks for it again and again for many seconds
    /// before it is sure.
    async fn create_if_missing(&self, error: &ClientError) {
        let Setup { cluster, topic, connection, writes, create_topic, .. } = &self.setup;
        if *writes
            && *create_topic
            && matches!(error, ClientError::UnknownTopic { .. })
            && let Err(error) = topic::create(&*connection.writer, topic).await
        {
            tracing::debug!(%cluster, %error, "the actions topic cannot be created");
        }
    }

    async fn read(&mut self, id: &str) -> Result<(), ClientError> {
        let reader = Arc::clone(&self.setup.connection.log_reader);
        let partitions = reader.partitions(&self.setup.topic).await?.min(PARTITIONS);
        for number in 0..partitions {
            let at = TopicPartition::new(self.setup.topic.as_str(), number);
            let end = reader.offset(&at, OffsetAt::End).await?;
            let mut offset = match self.offsets.get(&number) {
                // One beyond the end is of a topic that was deleted and made anew.
                Some(offset) if *offset <= end => *offset,
                _ => {
                    let alive = i64::try_from(ALIVE.as_millis()).unwrap_or(0);
                    let from = self.setup.clock.now().wall.0.saturating_sub(alive);
                    reader.offset(&at, OffsetAt::Time(from)).await?
                }
            };
            for _ in 0..READS {
                if offset >= end {
                    break;
                }
                let batch = reader.read(&at, offset, Duration::from_secs(1)).await?;
                for value in batch.records.iter().filter_map(|record| record.value.as_deref()) {
                    self.take(value, id);
                }
                if batch.next_offset <= offset {
                    break;
                }
                offset = batch.next_offset;
            }
            self.offsets.insert(number, offset);
        }
        Ok(())
    }

    fn take(&self, value: &[u8], id: &str) {
        // Records that are none, or another's, are not our business.
        let Ok(action) = self.codec.decode_action(value) else { return };
        let now = self.setup.clock.now();
        let age = now.wall.0.saturating_sub(action.timestamp);
        let fresh = u128::from(age.unsigned_abs()) <= ALIVE.as_millis() && action.timestamp > self.started.0;
        if action.kind != HEARTBEAT || action.cluster_id != id || !fresh {
            return;
        }
        let ours = action.id == self.setup.instance;
        if !ours {
            self.seen.note(&action.id, &action.principal, now);
        } else if action.cluster_name != *self.setup.cluster {
            let who = format!("this very one, under the name {} in its configuration", action.cluster_name);
            self.seen.note(&action.cluster_name, &who, now);
        }
    }
}

fn heartbeat(setup: &Setup, cluster_id: &str, who: &str, now_ms: i64) -> OperatorAction {
    let description = format!("{who} looks after {}", setup.cluster);
    let mut action = OperatorAction::new(now_ms, setup.cluster.to_string(), description);
    action.cluster_id = cluster_id.to_owned();
    action.id.clone_from(&setup.instance);
    action.kind = HEARTBEAT.to_owned();
    action.operation = HEARTBEAT.to_owned();
    action.target = "cluster".to_owned();
    action.result = "alive".to_owned();
    action.principal = who.to_owned();
    action
}

/// Host and process, for people.
fn who() -> String {
    let system = rustix::system::uname();
    format!("host {}, pid {}", system.nodename().to_string_lossy(), std::process::id())
}

/// A number for a service that has none yet.
///
/// # Errors
/// The system has no randomness to give.
pub(crate) fn new_instance() -> Result<String, String> {
    let mut bytes = [0_u8; 16];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    match got {
        Ok(16) => Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        Ok(_) => Err("the system gave too little randomness".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::{Connect, Endpoint};
    use crate::plugins::fakes::{Fake, context};
    use crate::shell::connect::RealConnect;

    struct Still;
    impl Clock for Still {
        fn now(&self) -> Now {
            Now { tick: Tick(500_000), wall: Timestamp(1_700_000_000_000) }
        }
    }

    fn looking(instance: &str) -> Looking {
        // Never used: no record is read or written here.
        let bootstrap = kafka::parse_bootstrap("127.0.0.1:1").unwrap();
        let connection =
            RealConnect::default().connect(&Endpoint { bootstrap, command_config: None }).unwrap();
        let setup = Setup {
            cluster: "test".into(),
            instance: instance.to_owned(),
            topic: "actions".to_owned(),
            writes: true,
            create_topic: true,
            connection,
            clock: Arc::new(Still),
        };
        Looking {
            setup,
            started: Timestamp(Still.now().wall.0 - 60_000),
            codec: Codec::new().unwrap(),
            seen: Arc::default(),
            offsets: BTreeMap::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn until_others_would_have_been_heard_it_is_not_known_whether_there_are_any() {
        let fake = Arc::new(Fake { log: Mutex::new(Some(Vec::new())), ..Fake::default() });
        let context = context(&fake);
        let setup = Setup {
            cluster: context.cluster,
            instance: "one".to_owned(),
            topic: "actions".to_owned(),
            writes: true,
            create_topic: true,
            connection: context.connection,
            clock: context.clock,
        };
        let clock = Arc::clone(&setup.clock);
        let neighbours = Neighbours::start(setup).unwrap();
        *neighbours.seen.cluster_id.lock().unwrap() = Some("abc".to_owned());
        let kinds = || neighbours.latest(clock.now()).findings.into_iter().map(|it| it.kind);
        tokio::time::sleep(LISTENS - Duration::from_secs(1)).await;
        assert_eq!(kinds().collect::<Vec<_>>(), [NEIGHBOURS_UNKNOWN]);
        tokio::time::sleep(LOOKS_FIRST * 2).await;
        assert_eq!(kinds().count(), 0);
    }

    #[tokio::test]
    async fn another_service_is_a_finding_for_as_long_as_it_is_alive() {
        let (ours, theirs) = (looking("one"), looking("two"));
        ours.seen.has_listened.store(true, Ordering::Relaxed);
        let now = Still.now();
        let beat = |of: &Looking, id: &str, at: i64| {
            ours.codec.encode_action(&heartbeat(&of.setup, id, "host b, pid 7", at)).unwrap()
        };
        let silent = |why: &str| assert_eq!(ours.seen.findings(now), [], "{why}");
        ours.take(&beat(&ours, "abc", now.wall.0), "abc");
        silent("its own heartbeat, perhaps of the process before it");
        ours.take(&beat(&theirs, "xyz", now.wall.0), "abc");
        silent("of another cluster");
        ours.take(&beat(&theirs, "abc", now.wall.0 - 101_000), "abc");
        silent("too old");
        ours.take(&beat(&theirs, "abc", now.wall.0 - 61_000), "abc");
        silent("written before our own start: it may have been replaced by us");
        ours.take(b"garbage", "abc");
        silent("no record at all");
        let mut under_another_name = looking("one");
        under_another_name.setup.cluster = "twin".into();
        under_another_name.take(&beat(&ours, "abc", now.wall.0), "abc");
        let findings = under_another_name.seen.findings(now);
        assert!(findings[0].message.contains("under the name test"), "{}", findings[0].message);

        ours.take(&beat(&theirs, "abc", now.wall.0 - 20_000), "abc");
        let findings = ours.seen.findings(now);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].message.contains("host b, pid 7"), "{}", findings[0].message);
        let later = Now { tick: now.tick.plus(Duration::from_secs(101)), ..now };
        assert_eq!(ours.seen.findings(later), []);
    }

    #[tokio::test]
    async fn a_topic_that_was_made_anew_is_read_from_its_beginning() {
        let fake = Arc::new(Fake { log: Mutex::new(Some(Vec::new())), ..Fake::default() });
        let (mut ours, theirs) = (looking("one"), looking("two"));
        ours.setup.connection = context(&fake).connection;
        ours.offsets.insert(0, 500);
        let now = Still.now().wall.0;
        let beat = heartbeat(&theirs.setup, "abc", "host b, pid 7", now);
        fake.append(now, ours.codec.encode_action(&beat).unwrap());
        ours.read("abc").await.unwrap();
        assert_eq!(ours.seen.findings(Still.now()).len(), 1);
        assert_eq!(ours.offsets[&0], 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dry_run_looks_for_others_and_leaves_no_heartbeat() {
        for (writes, written) in [(true, vec!["append"]), (false, vec![])] {
            let fake = Arc::new(Fake { log: Mutex::new(Some(Vec::new())), ..Fake::default() });
            let context = context(&fake);
            let setup = Setup {
                cluster: context.cluster,
                instance: "one".to_owned(),
                topic: "actions".to_owned(),
                writes,
                create_topic: true,
                connection: context.connection,
                clock: context.clock,
            };
            let neighbours = Neighbours::start(setup).unwrap();
            *neighbours.seen.cluster_id.lock().unwrap() = Some("abc".to_owned());
            tokio::time::sleep(EVERY / 2).await;
            assert_eq!(*fake.changes.lock().unwrap(), written);
        }
    }

    #[test]
    fn no_two_services_have_the_same_number() {
        assert_ne!(new_instance().unwrap(), new_instance().unwrap());
    }
}
