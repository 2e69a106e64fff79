//! The action `elect_leaders`: elects preferred leaders, if they are in sync.

use std::sync::Arc;

use cluster::{BoxFuture, TopicPartition};
use control::acts::elections::{self, Election};
use control::acts::{failed, not_done};
use control::event::ElectLeaders;
use control::{ActError, Action, Done, Event};
use serde::{Deserialize, Serialize};

use crate::plugin::{ActionConfig, BuildContext, Connection};

/// `type: elect_leaders`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElectLeadersConfig {}

impl ActionConfig for ElectLeadersConfig {
    fn changes_things(&self) -> bool {
        true
    }

    fn build(&self, context: &BuildContext) -> Result<Arc<dyn Action>, String> {
        Ok(Arc::new(ElectLeadersAction {
            name: context.name.clone(),
            connection: context.connection.clone(),
        }))
    }
}

struct ElectLeadersAction {
    name: String,
    connection: Connection,
}

impl Action for ElectLeadersAction {
    fn name(&self) -> &str {
        &self.name
    }

    fn execute<'a>(&'a self, event: &'a Event, dry_run: bool) -> BoxFuture<'a, Result<Done, ActError>> {
        Box::pin(async move {
            let order: ElectLeaders = event.payload_as().map_err(|e| ActError {
                message: format!("the order is not understood: {e}"),
                maybe_applied: false,
                retry: false,
            })?;
            self.elect(&order.partitions, dry_run).await
        })
    }
}

impl ElectLeadersAction {
    async fn elect(&self, partitions: &[TopicPartition], dry_run: bool) -> Result<Done, ActError> {
        let Connection { reader, writer, .. } = &self.connection;
        let topics = reader.describe(&elections::topics(partitions)).await.map_err(|why| not_done(&why))?;
        let election = Election::of(partitions, &topics);
        if let Some(done) = election.without(dry_run) {
            return Ok(done);
        }
        election.done(&writer.elect_preferred(&election.able).await.map_err(|why| failed(&why))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::fakes::{Fake, context};
    use cluster::{BrokerId, Partition, Topic, TopicTable};
    use control::Target;
    use control::event::names;

    fn topics(leader: i32, replicas: &[i32], isr: &[i32]) -> TopicTable {
        let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect::<Box<[_]>>();
        let partition = Partition { leader: Some(BrokerId(leader)), replicas: ids(replicas), isr: ids(isr) };
        [("t".into(), Topic { internal: false, partitions: vec![partition] })].into()
    }

    #[tokio::test]
    async fn drk_28_a_dry_run_elects_nobody() {
        let fake = Arc::new(Fake { topics: topics(2, &[1, 2, 3], &[1, 2]), ..Fake::default() });
        let action = ElectLeadersConfig {}.build(&context(&fake)).unwrap();
        let order = ElectLeaders { partitions: vec![TopicPartition::new("t", 0)] };
        let event =
            Event::new(names::ELECT_LEADERS, Target::Cluster, "the first replica was replaced", &order);
        let dry = action.execute(&event, true).await.unwrap();
        assert_eq!(dry.summary, "would elect 1 preferred leaders");
        assert_eq!(*fake.changes.lock().unwrap(), Vec::<&str>::new());
        action.execute(&event, false).await.unwrap();
        assert_eq!(*fake.changes.lock().unwrap(), ["elect"]);
    }
}
