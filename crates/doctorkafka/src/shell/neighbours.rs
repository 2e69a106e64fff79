//! Whether another service looks after the same cluster by mistake.
//!
//! A second service with the same state dir is kept out by its lock. One with a state dir of its own, perhaps on another
//! host, is found in the actions topic: each service writes a heartbeat there and reads those of others. A service is
//! known by a number that it keeps in its store, so that one that was restarted is not taken for another. Two services do
//! no harm to each other's reassignments, which are foreign to them and left alone; but a person must know.
//!
//! Who is alive is told by where a heartbeat stands in the topic and not by when it says that it was written: clocks of two hosts may be
//! hours apart, and one may be set. What comes behind the end of the topic as it was when this service began to listen was written since.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use brokerstats::{Codec, OperatorAction};
use cluster::{ClientError, NewRecord, OffsetAt, TopicPartition};
use control::guard::{ANOTHER_SERVICE, NEIGHBOURS_UNKNOWN};
use control::{Contribution, Finding, Liveness, Now, Severity, State, Target, Tick};
use tokio::task::JoinHandle;

use crate::plugin::{Clock, Connection, Source};
use crate::plugins::report_operation::topic;

/// The kind of the record that is a heartbeat.
pub const HEARTBEAT: &str = "heartbeat";
/// The name of this source.
pub const NEIGHBOURS_SOURCE: &str = "doctorkafka_neighbours";

/// How often a heartbeat is written and those of others are read.
const EVERY: Duration = Duration::from_secs(30);
/// A service listens for so long before it says that there is no other: each writes a heartbeat in this time.
const LISTENS: Duration = Duration::from_secs(35);
/// How often it looks meanwhile.
const LOOKS_FIRST: Duration = Duration::from_secs(5);
/// The topic is looked at again this soon after it was made.
const LOOKS_AGAIN: Duration = Duration::from_secs(1);
/// How long a service counts as alive after its last heartbeat: two may be lost. Who has not read the topic to its end for so long has
/// heard nobody.
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
    /// Since when the topic has been read without a gap, and when last; nothing before it could be read.
    heard: Mutex<Option<Heard>>,
}

/// A time in which nothing that was written has been missed.
#[derive(Clone, Copy, Debug)]
struct Heard {
    since: Tick,
    /// When the last look began that has reached the end of the topic.
    last: Tick,
}

impl Heard {
    fn is_stale(self, now: Tick) -> bool {
        now.since(self.last) > ALIVE
    }
}

impl Neighbours {
    /// Starts looking. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The records' schema cannot be read.
    pub(crate) fn start(setup: Setup) -> Result<Self, String> {
        let codec = Codec::new().map_err(|error| error.to_string())?;
        let seen = Arc::new(Seen::default());
        let looking = Looking { setup, codec, seen: Arc::clone(&seen), offsets: Vec::new() };
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
            return self.unknown(now.tick).into_iter().collect();
        }
        let who: Vec<&str> = others.values().map(|(who, _)| who.as_str()).collect();
        let message = format!("another doctorkafka looks after this cluster, too: {}", who.join("; "));
        let finding = Finding::new(ANOTHER_SERVICE, Target::Cluster, Severity::Critical, message);
        vec![finding.waiting_for("one of them to be stopped; what the other moves is left alone meanwhile")]
    }

    /// Why it cannot be said that there is no other, if so.
    fn unknown(&self, now: Tick) -> Option<Finding> {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let (severity, message) = match heard {
            Some(heard) if heard.is_stale(now) => (
                Severity::Warning,
                "it is not known any more whether another doctorkafka looks after this cluster: the actions topic has not been \
                 read to its end lately"
                    .to_owned(),
            ),
            Some(heard) if heard.last.since(heard.since) >= LISTENS => return None,
            _ => (
                Severity::Info,
                "it is not known yet whether another doctorkafka looks after this cluster".to_owned(),
            ),
        };
        let waits_for = "its heartbeat in the actions topic, for 35 s; no host is replaced before";
        Some(Finding::new(NEIGHBOURS_UNKNOWN, Target::Cluster, severity, message).waiting_for(waits_for))
    }

    /// A look that began at `at` has reached the end of the topic, as the one before it that is not missed did.
    fn has_reached_the_end(&self, at: Tick, goes_on: bool) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let since = heard.filter(|_| goes_on).map_or(at, |heard| heard.since);
        *heard = Some(Heard { since, last: at });
    }

    fn note(&self, instance: &str, who: &str, now: Now) {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if others.len() < OTHERS || others.contains_key(instance) {
            others.insert(instance.to_owned(), (who.to_owned(), now.tick));
        }
    }
}

struct Looking {
    setup: Setup,
    codec: Codec,
    seen: Arc<Seen>,
    /// Where to go on in each partition. What stands before the first of these places may be of services that are no more, perhaps of
    /// the one that this one replaces.
    offsets: Vec<i64>,
}

impl Looking {
    async fn run(mut self) {
        let who = who();
        let mut written_at = None;
        loop {
            let id = self.seen.cluster_id.lock().unwrap_or_else(PoisonError::into_inner).clone();
            // Before the cluster is known there is nothing to say, and soon after there is.
            let Some(id) = id else {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            };
            let now = self.setup.clock.now().tick;
            let mut is_made = false;
            // A topic that cannot be read or written is told by the action that writes records to it.
            if let Err(error) = self.read(&id, now).await {
                tracing::debug!(cluster = %self.setup.cluster, %error, "heartbeats cannot be read");
                is_made = self.create_if_missing(&error).await;
            }
            if self.setup.writes && written_at.is_none_or(|at| now.since(at) >= EVERY) {
                written_at = Some(now);
                if let Err(error) = self.write(&id, &who).await {
                    tracing::debug!(cluster = %self.setup.cluster, %error, "no heartbeat can be written");
                }
            }
            let knows = self.seen.unknown(self.setup.clock.now().tick).is_none();
            tokio::time::sleep(match knows {
                true => EVERY,
                false if is_made => LOOKS_AGAIN,
                false => LOOKS_FIRST,
            })
            .await;
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
    ///
    /// Says whether it was made.
    async fn create_if_missing(&self, error: &ClientError) -> bool {
        let Setup { cluster, topic, connection, writes, create_topic, .. } = &self.setup;
        if !*writes || !*create_topic || !matches!(error, ClientError::UnknownTopic { .. }) {
            return false;
        }
        let made = topic::create(&*connection.writer, topic).await;
        if let Err(error) = &made {
            tracing::debug!(%cluster, %error, "the actions topic cannot be created");
        }
        made.is_ok()
    }

    /// Reads what has come since the look before. Where that is not known, because there was none, because it was too long ago or because
    /// the topic is another, listening begins at the end.
    async fn read(&mut self, id: &str, now: Tick) -> Result<(), ClientError> {
        let reader = Arc::clone(&self.setup.connection.log_reader);
        let count = reader.partitions(&self.setup.topic).await?.min(PARTITIONS);
        let mut partitions = Vec::new();
        for number in 0..count {
            let at = TopicPartition::new(self.setup.topic.as_str(), number);
            let end = reader.offset(&at, OffsetAt::End).await?;
            partitions.push((at, end));
        }
        if !self.goes_on(&partitions, now) {
            self.offsets = partitions.iter().map(|(_, end)| *end).collect();
            self.seen.has_reached_the_end(now, false);
            return Ok(());
        }
        let mut is_at_end = true;
        for (place, (at, end)) in partitions.iter().enumerate() {
            let offset = self.read_on(at, self.offsets[place], *end, id).await?;
            self.offsets[place] = offset;
            is_at_end &= offset >= *end;
        }
        if is_at_end {
            self.seen.has_reached_the_end(now, true);
        }
        Ok(())
    }

    /// Whether all that has been written since the look before stands between its places and these ends.
    fn goes_on(&self, partitions: &[(TopicPartition, i64)], now: Tick) -> bool {
        let heard = *self.seen.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.is_some_and(|heard| !heard.is_stale(now))
            && !partitions.is_empty()
            && self.offsets.len() == partitions.len()
            // A place beyond the end is of a topic that was deleted and made anew.
            && self.offsets.iter().zip(partitions).all(|(offset, (_, end))| offset <= end)
    }

    async fn read_on(
        &self,
        at: &TopicPartition,
        mut offset: i64,
        end: i64,
        id: &str,
    ) -> Result<i64, ClientError> {
        let reader = Arc::clone(&self.setup.connection.log_reader);
        for _ in 0..READS {
            if offset >= end {
                break;
            }
            let batch = reader.read(at, offset, Duration::from_secs(1)).await?;
            for value in batch.records.iter().filter_map(|record| record.value.as_deref()) {
                self.take(value, id);
            }
            if batch.next_offset <= offset {
                break;
            }
            offset = batch.next_offset;
        }
        Ok(offset)
    }

    fn take(&self, value: &[u8], id: &str) {
        // Records that are none, or another's, are not our business.
        let Ok(action) = self.codec.decode_action(value) else { return };
        if action.kind != HEARTBEAT || action.cluster_id != id {
            return;
        }
        let now = self.setup.clock.now();
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
    use control::Timestamp;

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
        let codec = Codec::new().unwrap();
        Looking { setup, codec, seen: Arc::default(), offsets: Vec::new() }
    }

    /// The same with a topic that has records already.
    fn reading(instance: &str, topic: &Arc<Fake>) -> Looking {
        let mut looking = looking(instance);
        looking.setup.connection = context(topic).connection;
        looking
    }

    fn topic() -> Arc<Fake> {
        Arc::new(Fake { log: Mutex::new(Some(Vec::new())), ..Fake::default() })
    }

    /// A heartbeat of a service that believes that it is `at`.
    fn beat(of: &Looking, id: &str, at: i64) -> Vec<u8> {
        of.codec.encode_action(&heartbeat(&of.setup, id, "host b, pid 7", at)).unwrap()
    }

    /// So many seconds after, or before, the moment at which the clock stands.
    fn after(seconds: i64) -> Now {
        let now = Still.now();
        let tick = now.tick.0.saturating_add_signed(seconds * 1000);
        Now { tick: Tick(tick), ..now }
    }

    fn kinds(of: &Looking, now: Now) -> Vec<String> {
        of.seen.findings(now).into_iter().map(|it| it.kind).collect()
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
        *ours.seen.heard.lock().unwrap() = Some(Heard { since: Tick(0), last: after(60).tick });
        let now = Still.now();
        let silent = |why: &str| assert_eq!(ours.seen.findings(now), [], "{why}");
        ours.take(&beat(&ours, "abc", now.wall.0), "abc");
        silent("its own heartbeat, perhaps of the process before it");
        ours.take(&beat(&theirs, "xyz", now.wall.0), "abc");
        silent("of another cluster");
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
        assert_eq!(ours.seen.findings(after(101)), []);
    }

    #[tokio::test]
    async fn who_is_alive_is_told_by_the_topic_and_not_by_clocks() {
        for hours in [-2, -1, 0, 1, 2] {
            let topic = topic();
            let (mut ours, theirs) = (reading("one", &topic), looking("two"));
            let now = Still.now().wall.0;
            // Of a service that this one replaces, or that was alive long ago, whatever it says.
            topic.append(now, beat(&theirs, "abc", now));
            ours.read("abc", after(-40).tick).await.unwrap();
            ours.read("abc", after(-35).tick).await.unwrap();
            assert_eq!(kinds(&ours, after(-35)), [NEIGHBOURS_UNKNOWN], "{hours}");
            ours.read("abc", after(-1).tick).await.unwrap();
            assert_eq!(kinds(&ours, after(0)), [""; 0], "{hours}");
            // What comes after that is written by somebody who lives, be its clock hours away.
            let theirs = beat(&theirs, "abc", now + hours * 3_600_000);
            topic.append(now + hours * 3_600_000, theirs);
            ours.read("abc", after(0).tick).await.unwrap();
            assert_eq!(kinds(&ours, after(0)), [ANOTHER_SERVICE], "{hours}");
        }
    }

    #[tokio::test]
    async fn who_could_not_read_the_topic_for_a_while_does_not_know_that_it_is_alone() {
        let topic = topic();
        let (mut ours, theirs) = (reading("one", &topic), looking("two"));
        for seconds in [-40, 0] {
            ours.read("abc", after(seconds).tick).await.unwrap();
        }
        assert_eq!(kinds(&ours, after(100)), [""; 0], "two heartbeats may be lost");
        let findings = ours.seen.findings(after(101));
        assert_eq!(findings[0].kind, NEIGHBOURS_UNKNOWN);
        assert!(
            findings[0].message.contains("lately") && findings[0].severity == Severity::Warning,
            "{findings:?}"
        );
        // What came meanwhile may be of services that have ended since: it is listened anew.
        topic.append(0, beat(&theirs, "abc", 0));
        ours.read("abc", after(200).tick).await.unwrap();
        assert_eq!(kinds(&ours, after(200)), [NEIGHBOURS_UNKNOWN]);
        ours.read("abc", after(234).tick).await.unwrap();
        assert_eq!(kinds(&ours, after(234)), [NEIGHBOURS_UNKNOWN]);
        ours.read("abc", after(235).tick).await.unwrap();
        assert_eq!(kinds(&ours, after(235)), [""; 0]);
    }

    #[tokio::test]
    async fn a_topic_that_was_made_anew_is_listened_to_anew() {
        let topic = topic();
        let (mut ours, theirs) = (reading("one", &topic), looking("two"));
        topic.append(0, beat(&theirs, "xyz", 0));
        for seconds in [-40, -1] {
            ours.read("abc", after(seconds).tick).await.unwrap();
        }
        assert_eq!(kinds(&ours, after(0)), [""; 0]);
        *topic.log.lock().unwrap() = Some(Vec::new());
        ours.read("abc", after(0).tick).await.unwrap();
        assert_eq!(kinds(&ours, after(0)), [NEIGHBOURS_UNKNOWN]);
        topic.append(0, beat(&theirs, "abc", 0));
        ours.read("abc", after(5).tick).await.unwrap();
        assert_eq!(kinds(&ours, after(5)), [ANOTHER_SERVICE]);
        assert_eq!(ours.offsets, [1]);
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
