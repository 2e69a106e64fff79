//! The action `reassign_partitions`: submits and cancels reassignments, sets and clears replication throttles.
//!
//! Kafka has no compare-and-set for reassignments. Right before each batch all ongoing ones are listed and the
//! replicas of the partitions are read again, from several brokers; what is not as the plan expects is left alone.
//! Between that look and the submission lies one round trip: somebody else's reassignment that starts within it is
//! overridden. That race cannot be closed from outside.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cluster::{BoxFuture, ClientError, ConfigReadings, ConfigResults, Reassignments, TopicTable, Writer};
use control::acts::moves::{self, Batch, MOST_IN_A_REQUEST};
use control::acts::throttle::{self, Setting};
use control::acts::{in_words, not_done};
use control::event::{PartitionMove, ReassignResult, ReassignStep, Throttle};
use control::execution::last_look::WITNESSES;
use control::{ActError, Action, Done, Event, Finding, Severity, Target};
use serde::{Deserialize, Serialize};

use super::task::Task;
use crate::plugin::{ActionConfig, BuildContext, Connection, Wake};

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
                ReassignStep::Cancel { moves, by_order } => self.cancel(moves, *by_order, &step).await,
                ReassignStep::SetThrottle(throttle) => self.set_throttle(throttle).await,
                ReassignStep::ClearThrottle(throttle) => Ok(self.clear_throttle(throttle).await),
            }
        })
    }
}

impl ReassignPartitions {
    /// All ongoing reassignments, and the partitions of these moves as they are.
    async fn look(&self, moves: &[PartitionMove]) -> Result<(Reassignments, Vec<TopicTable>), ClientError> {
        let reader = &self.connection.reader;
        let witnesses = reader.witnesses(&moves::topics(moves), WITNESSES).await?;
        Ok((reader.reassignments().await?, witnesses))
    }

    async fn submit(&self, all: &[PartitionMove], step: &ReassignStep) -> Result<Done, ActError> {
        let mut result = ReassignResult::default();
        for wave in all.chunks(MOST_IN_A_REQUEST) {
            match self.look(wave).await {
                Ok((ongoing, witnesses)) => {
                    let batch = moves::to_submit(wave, &ongoing, &witnesses, &mut result);
                    self.send(batch, &mut result).await;
                }
                Err(why) if result == ReassignResult::default() => return Err(not_done(&why)),
                Err(why) => moves::could_not_look(wave, &why, &mut result),
            }
        }
        Ok(moves::done(step, &result))
    }

    async fn cancel(
        &self,
        all: &[PartitionMove],
        by_order: bool,
        step: &ReassignStep,
    ) -> Result<Done, ActError> {
        let mut result = ReassignResult::default();
        for wave in all.chunks(MOST_IN_A_REQUEST) {
            match self.look(wave).await {
                Ok((ongoing, witnesses)) => {
                    let witnesses = if by_order { &[] } else { &*witnesses };
                    let batch = moves::to_cancel(wave, &ongoing, witnesses, &mut result);
                    self.send(batch, &mut result).await;
                }
                Err(why) if result == ReassignResult::default() => return Err(not_done(&why)),
                Err(why) => moves::could_not_look(wave, &why, &mut result),
            }
        }
        Ok(moves::done(step, &result))
    }

    async fn send(&self, batch: Batch, result: &mut ReassignResult) {
        if !batch.is_empty() {
            let answer = self.connection.writer.reassign(&batch).await;
            moves::sort(batch, answer, result);
        }
    }

    async fn set_throttle(&self, throttle: &Throttle) -> Result<Done, ActError> {
        match throttle::to_set(throttle, &self.read(throttle).await)? {
            Setting::Done(done) => Ok(done),
            Setting::Change(changes) => {
                let results = self.connection.writer.alter_configs(&changes).await;
                throttle::was_set(throttle, &changes, results)
            }
        }
    }

    async fn clear_throttle(&self, throttle: &Throttle) -> Done {
        let clearing = throttle::to_clear(throttle, &self.read(throttle).await);
        let results = match clearing.changes.is_empty() {
            true => Ok(ConfigResults::new()),
            false => self.connection.writer.alter_configs(&clearing.changes).await,
        };
        clearing.done(throttle, results)
    }

    async fn read(&self, throttle: &Throttle) -> ConfigReadings {
        self.connection.reader.configs(&throttle::resources(throttle), &throttle::KEYS).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::{BrokerId, ConfigResource, ConfigValues, Partition, Topic, TopicPartition};

    const LEADER_RATE: &str = "leader.replication.throttled.rate";
    const FOLLOWER_RATE: &str = "follower.replication.throttled.rate";
    const LEADER_REPLICAS: &str = "leader.replication.throttled.replicas";
    const FOLLOWER_REPLICAS: &str = "follower.replication.throttled.replicas";

    fn ids(ids: &[i32]) -> Vec<BrokerId> {
        ids.iter().copied().map(BrokerId).collect()
    }

    fn order() -> PartitionMove {
        PartitionMove {
            partition: TopicPartition::new("orders", 0),
            from: ids(&[1, 2, 3]),
            to: ids(&[1, 2, 4]),
            dead: ids(&[3]),
            leaving: Vec::new(),
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
            ReassignStep::Cancel { moves: vec![order()], by_order: false },
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

    #[tokio::test]
    async fn a_dead_broker_keeps_no_throttle_on_the_others() {
        use crate::plugins::fakes::{Fake, context};

        let fake = Arc::new(Fake::default());
        let action = ReassignPartitionsConfig {}.build(&context(&fake)).unwrap();
        let run = async |step: ReassignStep| {
            let name = control::event::names::REASSIGN_PARTITIONS;
            let event = Event::new(name, control::Target::Cluster, "test", &step);
            action.execute(&event, false).await
        };
        let throttle =
            |detail: serde_json::Value| -> Option<Throttle> { serde_json::from_value(detail).ok() };
        let wanted = Throttle {
            bytes_per_second: 5,
            brokers: ids(&[1, 2]),
            topics: vec!["orders".to_owned()],
            entries: None,
        };
        let asked = run(ReassignStep::SetThrottle(wanted.clone())).await.unwrap();
        let journaled = throttle(asked.detail).unwrap();
        run(ReassignStep::SetThrottle(journaled.clone())).await.unwrap();
        *fake.dead.lock().unwrap() = Some(BrokerId(2));
        assert!(run(ReassignStep::SetThrottle(wanted)).await.unwrap_err().retry);
        let cleared = run(ReassignStep::ClearThrottle(journaled)).await.unwrap();
        assert_eq!(cleared.summary, "the throttle is left on broker 2: cannot reach broker 2: it is dead");
        let set = |fake: &Fake| -> Vec<ConfigResource> {
            let configs = fake.configs.lock().unwrap();
            configs.iter().filter(|(_, values)| !values.is_empty()).map(|(of, _)| of.clone()).collect()
        };
        assert_eq!(set(&fake), [ConfigResource::Broker(BrokerId(2))]);
        let rest = throttle(cleared.detail).unwrap();
        *fake.dead.lock().unwrap() = None;
        let cleared = run(ReassignStep::ClearThrottle(rest)).await.unwrap();
        assert_eq!((throttle(cleared.detail), set(&fake)), (None, Vec::new()));
    }
}
