//! The action `reassign_partitions`: submits and cancels reassignments, sets and clears replication throttles.
//!
//! Kafka has no compare-and-set for reassignments. Right before each batch all ongoing ones are listed and the
//! replicas of the partitions are read again, from several brokers; what is not as the plan expects is left alone.
//! Between that look and the submission lies one round trip: somebody else's reassignment that starts within it is
//! overridden. That race cannot be closed from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cluster::{
    BoxFuture, BrokerId, ClientError, ConfigChange, ConfigResource, ConfigValues, Reassignments, TopicName,
    TopicPartition, TopicTable, Writer,
};
use control::event::{PartitionMove, ReassignResult, ReassignStep, Throttle, ThrottleEntry};
use control::execution::last_look::{LastLook, WITNESSES, keeps_from_cancelling, last_look};
use control::{ActError, Action, Done, Event, Finding, Severity, Target};
use serde::{Deserialize, Serialize};

use super::task::Task;
use crate::plugin::{ActionConfig, BuildContext, Connection, Wake};

/// Partitions in one request. KRaft refuses requests that need more than 10,000 metadata records.
const MOST_IN_A_REQUEST: usize = 500;

const LEADER_RATE: &str = "leader.replication.throttled.rate";
const FOLLOWER_RATE: &str = "follower.replication.throttled.rate";
const LEADER_REPLICAS: &str = "leader.replication.throttled.replicas";
const FOLLOWER_REPLICAS: &str = "follower.replication.throttled.replicas";
/// Every replica of a topic.
const ALL_REPLICAS: &str = "*";

/// `type: reassign_partitions`. Waves and throttle are the execution's business: see the service's `execution` section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReassignPartitionsConfig {}

impl ActionConfig for ReassignPartitionsConfig {
    fn changes_things(&self) -> bool {
        true
    }

    fn emits(&self) -> Vec<String> {
        vec![control::event::names::ELECT_LEADERS.to_owned()]
    }

    fn build(&self, context: &BuildContext) -> Result<Arc<dyn Action>, String> {
        let refusal = Arc::new(Mutex::new(None));
        let asking = ask_for_the_right(
            Arc::clone(&context.connection.writer),
            Arc::clone(&refusal),
            context.wake.clone(),
        );
        Ok(Arc::new(ReassignPartitions {
            name: context.name.clone(),
            connection: context.connection.clone(),
            refusal,
            // A dry run may well be without rights.
            _task: (!context.dry_run).then(|| Task::spawn(asking)),
        }))
    }
}

struct ReassignPartitions {
    name: String,
    connection: Connection,
    /// Why the cluster takes no such orders from us.
    refusal: Refusal,
    _task: Option<Task>,
}

type Refusal = Arc<Mutex<Option<String>>>;

const MAY_NOT_REASSIGN: &str = "may_not_reassign";
/// How often the cluster is asked whether it would take our orders, and how often while it would not or cannot say.
const ASK_AGAIN: Duration = Duration::from_secs(300);
const ASK_AGAIN_SOON: Duration = Duration::from_secs(15);

/// Asks the cluster again and again whether it would take our orders: in an outage it is too late to find out.
async fn ask_for_the_right(writer: Arc<dyn Writer>, refusal: Refusal, wake: Wake) {
    loop {
        let answer = match writer.reassign(&BTreeMap::new()).await {
            Ok(_) => Some(None),
            Err(why @ ClientError::Denied { .. }) => Some(Some(why.to_string())),
            // Other monitors tell what is wrong then.
            Err(_) => None,
        };
        let pause = if answer == Some(None) { ASK_AGAIN } else { ASK_AGAIN_SOON };
        if let Some(answer) = answer {
            let mut known = refusal.lock().unwrap_or_else(PoisonError::into_inner);
            if *known != answer {
                *known = answer;
                wake.wake();
            }
        }
        tokio::time::sleep(pause).await;
    }
}

impl Action for ReassignPartitions {
    fn name(&self) -> &str {
        &self.name
    }

    fn emits(&self) -> Vec<String> {
        vec![control::event::names::ELECT_LEADERS.to_owned()]
    }

    fn findings(&self) -> Vec<Finding> {
        let finding = |why| {
            let message =
                format!("Kafka would refuse to move replicas, so that nothing can be healed: {why}");
            Finding::new(MAY_NOT_REASSIGN, Target::Cluster, Severity::Critical, message)
                .waiting_for("the right Alter on the cluster for this user")
        };
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone().map(finding).into_iter().collect()
    }

    fn execute<'a>(&'a self, event: &'a Event, dry_run: bool) -> BoxFuture<'a, Result<Done, ActError>> {
        Box::pin(async move {
            let step: ReassignStep = event.payload_as().map_err(|e| ActError {
                message: format!("the order is not understood: {e}"),
                maybe_applied: false,
                retry: false,
            })?;
            if dry_run {
                return Ok(Done { summary: format!("would {}", in_words(&step)), ..Done::default() });
            }
            match &step {
                ReassignStep::Submit { moves } => self.submit(moves, &step).await,
                ReassignStep::Cancel { moves } => self.cancel(moves, &step).await,
                ReassignStep::SetThrottle(throttle) => self.set_throttle(throttle, &step).await,
                ReassignStep::ClearThrottle(throttle) => self.clear_throttle(throttle, &step).await,
            }
        })
    }
}

fn in_words(step: &ReassignStep) -> String {
    match step {
        ReassignStep::Submit { moves } => format!("submit reassignments of {} partitions", moves.len()),
        ReassignStep::Cancel { moves } => format!("cancel reassignments of {} partitions", moves.len()),
        ReassignStep::SetThrottle(t) => {
            format!(
                "throttle replication of {} brokers to {} bytes a second",
                t.brokers.len(),
                t.bytes_per_second
            )
        }
        ReassignStep::ClearThrottle(t) => {
            format!("clear the replication throttle of {} brokers", t.brokers.len())
        }
    }
}

fn not_done(why: ClientError) -> ActError {
    ActError { retry: !why.is_configuration(), message: why.to_string(), maybe_applied: false }
}

impl ReassignPartitions {
    /// All ongoing reassignments, and the partitions of these moves as they are.
    async fn look(&self, moves: &[PartitionMove]) -> Result<(Reassignments, Vec<TopicTable>), ActError> {
        let names: BTreeSet<TopicName> =
            moves.iter().map(|order| Arc::clone(&order.partition.topic)).collect();
        let names: Vec<TopicName> = names.into_iter().collect();
        let witnesses = self.connection.reader.witnesses(&names, WITNESSES).await.map_err(not_done)?;
        let ongoing = self.connection.reader.reassignments().await.map_err(not_done)?;
        Ok((ongoing, witnesses))
    }

    async fn submit(&self, moves: &[PartitionMove], step: &ReassignStep) -> Result<Done, ActError> {
        let mut result = ReassignResult::default();
        for wave in moves.chunks(MOST_IN_A_REQUEST) {
            let (ongoing, witnesses) = match self.look(wave).await {
                Ok(seen) => seen,
                Err(why) if result == ReassignResult::default() => return Err(why),
                Err(why) => {
                    let unsent = wave.iter().map(|order| (order.partition.clone(), why.message.clone()));
                    result.skipped.extend(unsent);
                    continue;
                }
            };
            let mut batch = BTreeMap::new();
            for order in wave {
                match last_look(order, &ongoing, &witnesses) {
                    LastLook::Send => {
                        batch.insert(order.partition.clone(), Some(order.to.clone()));
                    }
                    LastLook::Already => result.accepted.push(order.partition.clone()),
                    LastLook::Skip(why) => result.skipped.push((order.partition.clone(), why)),
                }
            }
            self.send(batch, &mut result).await;
        }
        Ok(done(step, &result))
    }

    async fn cancel(&self, moves: &[PartitionMove], step: &ReassignStep) -> Result<Done, ActError> {
        let mut result = ReassignResult::default();
        let ongoing = self.connection.reader.reassignments().await.map_err(not_done)?;
        let mut batch = BTreeMap::new();
        for order in moves {
            match keeps_from_cancelling(order, &ongoing) {
                None => {
                    batch.insert(order.partition.clone(), None);
                }
                Some(why) => result.skipped.push((order.partition.clone(), why)),
            }
        }
        while !batch.is_empty() {
            let rest = match batch.keys().nth(MOST_IN_A_REQUEST).cloned() {
                Some(first_of_rest) => batch.split_off(&first_of_rest),
                None => BTreeMap::new(),
            };
            self.send(batch, &mut result).await;
            batch = rest;
        }
        Ok(done(step, &result))
    }

    async fn send(
        &self,
        batch: BTreeMap<TopicPartition, Option<Vec<BrokerId>>>,
        result: &mut ReassignResult,
    ) {
        if batch.is_empty() {
            return;
        }
        match self.connection.writer.reassign(&batch).await {
            Ok(mut answers) => {
                for partition in batch.into_keys() {
                    match answers.remove(&partition) {
                        Some(Ok(())) => result.accepted.push(partition),
                        Some(Err(why)) => sort_failure(partition, &why, result),
                        None => result.unknown.push((partition, "the cluster did not mention it".to_owned())),
                    }
                }
            }
            Err(why) => batch.into_keys().for_each(|partition| sort_failure(partition, &why, result)),
        }
    }

    /// Without a list of what is ours it only asks what nobody has set, and answers with that.
    async fn set_throttle(&self, throttle: &Throttle, step: &ReassignStep) -> Result<Done, ActError> {
        let present = self.present(throttle).await?;
        let is_set = |entry: &ThrottleEntry| value(&present, entry).is_some_and(|value| !value.is_empty());
        let Some(entries) = &throttle.entries else {
            // A value that is there already is somebody else's, and stays.
            let free: Vec<ThrottleEntry> = all_entries(throttle).filter(|entry| !is_set(entry)).collect();
            let summary = format!("{} configs of the throttle are free to be set", free.len());
            let answer = Throttle { entries: Some(free), ..throttle.clone() };
            let detail = serde_json::to_value(answer).unwrap_or_default();
            return Ok(Done { summary, detail, follow_ups: Vec::new() });
        };
        let free = entries.iter().filter(|entry| !is_set(entry));
        let set = |entry: &ThrottleEntry| ConfigChange::Set(entry.key.clone(), entry.value.clone());
        self.alter(free.filter_map(|entry| Some((resource(entry)?, set(entry)))), step).await
    }

    /// Takes away what is in the list, as far as it still is as we have set it.
    async fn clear_throttle(&self, throttle: &Throttle, step: &ReassignStep) -> Result<Done, ActError> {
        let entries = throttle.entries.as_deref().unwrap_or_default();
        let present = self.present(throttle).await?;
        let ours = entries.iter().filter(|entry| value(&present, entry) == Some(entry.value.as_str()));
        let delete = |entry: &ThrottleEntry| ConfigChange::Delete(entry.key.clone());
        self.alter(ours.filter_map(|entry| Some((resource(entry)?, delete(entry)))), step).await
    }

    async fn present(&self, throttle: &Throttle) -> Result<ConfigValues, ActError> {
        let resources: BTreeSet<ConfigResource> = match &throttle.entries {
            Some(entries) => entries.iter().filter_map(resource).collect(),
            None => all_entries(throttle).filter_map(|entry| resource(&entry)).collect(),
        };
        if resources.is_empty() {
            return Ok(ConfigValues::new());
        }
        let resources: Vec<ConfigResource> = resources.into_iter().collect();
        let keys = [LEADER_RATE, FOLLOWER_RATE, LEADER_REPLICAS, FOLLOWER_REPLICAS];
        self.connection.reader.configs(&resources, &keys).await.map_err(not_done)
    }

    async fn alter(
        &self,
        changes: impl Iterator<Item = (ConfigResource, ConfigChange)>,
        step: &ReassignStep,
    ) -> Result<Done, ActError> {
        let mut by_resource: BTreeMap<ConfigResource, Vec<ConfigChange>> = BTreeMap::new();
        for (resource, change) in changes {
            by_resource.entry(resource).or_default().push(change);
        }
        if by_resource.is_empty() {
            return Ok(Done { summary: format!("nothing to change: {}", in_words(step)), ..Done::default() });
        }
        let failed = |why: &ClientError| ActError {
            message: why.to_string(),
            maybe_applied: why.may_have_been_applied(),
            retry: !why.is_configuration(),
        };
        let results = self.connection.writer.alter_configs(&by_resource).await.map_err(|why| failed(&why))?;
        match results.values().find_map(|result| result.as_ref().err()) {
            // Some may have been changed: setting or clearing them again does no harm.
            Some(why) => Err(ActError { maybe_applied: true, ..failed(why) }),
            None => Ok(Done { summary: in_words(step), ..Done::default() }),
        }
    }
}

/// Everything that makes up a throttle.
fn all_entries(throttle: &Throttle) -> impl Iterator<Item = ThrottleEntry> + '_ {
    let rate = throttle.bytes_per_second.to_string();
    let of_broker = move |broker: &BrokerId| {
        [LEADER_RATE, FOLLOWER_RATE].map(|key| ThrottleEntry {
            broker: Some(*broker),
            topic: None,
            key: key.to_owned(),
            value: rate.clone(),
        })
    };
    let of_topic = |topic: &String| {
        [LEADER_REPLICAS, FOLLOWER_REPLICAS].map(|key| ThrottleEntry {
            broker: None,
            topic: Some(topic.clone()),
            key: key.to_owned(),
            value: ALL_REPLICAS.to_owned(),
        })
    };
    throttle.brokers.iter().flat_map(of_broker).chain(throttle.topics.iter().flat_map(of_topic))
}

fn resource(entry: &ThrottleEntry) -> Option<ConfigResource> {
    let broker = entry.broker.map(ConfigResource::Broker);
    broker.or_else(|| entry.topic.as_deref().map(|topic| ConfigResource::Topic(topic.into())))
}

fn value<'a>(present: &'a ConfigValues, entry: &ThrottleEntry) -> Option<&'a str> {
    Some(present.get(&resource(entry)?)?.get(&entry.key)?.as_str())
}

fn sort_failure(partition: TopicPartition, why: &ClientError, result: &mut ReassignResult) {
    let into = if why.may_have_been_applied() { &mut result.unknown } else { &mut result.refused };
    into.push((partition, why.to_string()));
}

fn done(step: &ReassignStep, result: &ReassignResult) -> Done {
    let mut summary = format!("{}: {} accepted", in_words(step), result.accepted.len());
    let others =
        [("skipped", &result.skipped), ("refused", &result.refused), ("without an answer", &result.unknown)];
    for (word, partitions) in others {
        if let Some((partition, why)) = partitions.first() {
            summary.push_str(&format!(", {} {word} ({partition}: {why})", partitions.len()));
        }
    }
    Done { summary, detail: serde_json::to_value(result).unwrap_or_default(), follow_ups: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::{Partition, Topic};

    fn ids(ids: &[i32]) -> Vec<BrokerId> {
        ids.iter().copied().map(BrokerId).collect()
    }

    fn order() -> PartitionMove {
        PartitionMove {
            partition: TopicPartition::new("orders", 0),
            from: ids(&[1, 2, 3]),
            to: ids(&[1, 2, 4]),
            dead: ids(&[3]),
            bytes: None,
            in_sync: 2,
            reason: "broker 3 is dead".to_owned(),
        }
    }

    fn topics(replicas: &[i32]) -> TopicTable {
        let partition = Partition { leader: None, replicas: ids(replicas).into(), isr: ids(&[1]).into() };
        [("orders".into(), Topic { internal: false, partitions: vec![partition] })].into()
    }

    #[tokio::test]
    async fn drk_28_no_step_of_a_dry_run_changes_anything() {
        use crate::plugins::fakes::{Fake, context};

        let fake = Arc::new(Fake { topics: topics(&[1, 2, 3]), ..Fake::default() });
        let action = ReassignPartitionsConfig {}.build(&context(&fake)).unwrap();
        let throttle = Throttle {
            bytes_per_second: 1,
            brokers: ids(&[1]),
            topics: vec!["orders".to_owned()],
            entries: None,
        };
        let steps = [
            ReassignStep::SetThrottle(throttle.clone()),
            ReassignStep::Submit { moves: vec![order()] },
            ReassignStep::Cancel { moves: vec![order()] },
            ReassignStep::ClearThrottle(throttle),
        ];
        let event = |step: &ReassignStep| {
            let name = control::event::names::REASSIGN_PARTITIONS;
            Event::new(name, control::Target::Cluster, "broker 3 is dead", step)
        };
        for step in &steps {
            let dry = action.execute(&event(step), true).await.unwrap();
            assert!(dry.summary.starts_with("would "), "{}", dry.summary);
        }
        assert_eq!(*fake.changes.lock().unwrap(), Vec::<&str>::new());
        action.execute(&event(&steps[1]), false).await.unwrap();
        assert_eq!(*fake.changes.lock().unwrap(), ["reassign"]);
    }

    fn config(values: &[(ConfigResource, &str, &str)]) -> ConfigValues {
        let mut config = ConfigValues::new();
        for (resource, key, value) in values {
            config.entry(resource.clone()).or_default().insert((*key).to_owned(), (*value).to_owned());
        }
        config
    }

    #[tokio::test]
    async fn a_persons_throttle_is_neither_overwritten_nor_taken_away() {
        use crate::plugins::fakes::{Fake, context};

        let broker = |id| ConfigResource::Broker(BrokerId(id));
        let orders = || ConfigResource::Topic("orders".into());
        // A person has set the very values that we would.
        let theirs = config(&[(broker(1), LEADER_RATE, "5"), (orders(), LEADER_REPLICAS, "*")]);
        let fake = Arc::new(Fake { configs: theirs.clone().into(), ..Fake::default() });
        let action = ReassignPartitionsConfig {}.build(&context(&fake)).unwrap();
        let run = async |step: ReassignStep| {
            let name = control::event::names::REASSIGN_PARTITIONS;
            let event = Event::new(name, control::Target::Cluster, "test", &step);
            action.execute(&event, false).await.unwrap().detail
        };
        let wanted = Throttle {
            bytes_per_second: 5,
            brokers: ids(&[1]),
            topics: vec!["orders".to_owned()],
            entries: None,
        };
        let asked = run(ReassignStep::SetThrottle(wanted.clone())).await;
        assert_eq!(*fake.configs.lock().unwrap(), theirs, "it is asked before anything is set");
        run(ReassignStep::ClearThrottle(wanted)).await;
        assert_eq!(*fake.configs.lock().unwrap(), theirs, "what was never set is not taken away");
        let journaled: Throttle = serde_json::from_value(asked).unwrap();
        run(ReassignStep::SetThrottle(journaled.clone())).await;
        let all = config(&[
            (broker(1), LEADER_RATE, "5"),
            (broker(1), FOLLOWER_RATE, "5"),
            (orders(), LEADER_REPLICAS, "*"),
            (orders(), FOLLOWER_REPLICAS, "*"),
        ]);
        assert_eq!(*fake.configs.lock().unwrap(), all);
        run(ReassignStep::ClearThrottle(journaled)).await;
        let left: ConfigValues = fake.configs.lock().unwrap().clone();
        let left: ConfigValues = left.into_iter().filter(|(_, values)| !values.is_empty()).collect();
        assert_eq!(left, theirs);
    }
}
