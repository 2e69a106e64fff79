//! The action `elect_leaders`: elects preferred leaders, if they are in sync.

use std::collections::BTreeSet;
use std::sync::Arc;

use cluster::{BoxFuture, TopicName, TopicPartition, TopicTable};
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
        let names: BTreeSet<TopicName> = partitions.iter().map(|at| Arc::clone(&at.topic)).collect();
        let names: Vec<TopicName> = names.into_iter().collect();
        let topics = self.connection.reader.describe(&names).await.map_err(|why| ActError {
            message: why.to_string(),
            maybe_applied: false,
            retry: !why.is_configuration(),
        })?;
        let able: Vec<TopicPartition> =
            partitions.iter().filter(|at| preferred_can_lead(&topics, at)).cloned().collect();
        let left = partitions.len() - able.len();
        let left = if left == 0 { String::new() } else { format!(", {left} need none or are not in sync") };
        if dry_run {
            let summary = format!("would elect {} preferred leaders{left}", able.len());
            return Ok(Done { summary, ..Done::default() });
        }
        if able.is_empty() {
            return Ok(Done { summary: format!("no preferred leader to elect{left}"), ..Done::default() });
        }
        let results = self.connection.writer.elect_preferred(&able).await.map_err(|why| ActError {
            message: why.to_string(),
            maybe_applied: why.may_have_been_applied(),
            retry: !why.is_configuration(),
        })?;
        let failed: Vec<String> =
            results.iter().filter_map(|(at, r)| r.as_ref().err().map(|why| format!("{at}: {why}"))).collect();
        let elected = able.len() - failed.len();
        if let (0, Some(first)) = (elected, failed.first()) {
            return Err(ActError {
                message: format!("no preferred leader was elected{left}, {} failed ({first})", failed.len()),
                maybe_applied: false,
                retry: false,
            });
        }
        let mut summary = format!("elected {elected} preferred leaders{left}");
        if let Some(first) = failed.first() {
            summary.push_str(&format!(", {} failed ({first})", failed.len()));
        }
        Ok(Done {
            summary,
            detail: serde_json::json!({"elected": elected, "failed": failed}),
            ..Done::default()
        })
    }
}

/// Whether the first replica does not lead, but could.
fn preferred_can_lead(topics: &TopicTable, at: &TopicPartition) -> bool {
    let partitions = topics.get(&at.topic).map(|topic| &topic.partitions);
    let found = partitions.zip(usize::try_from(at.partition).ok()).and_then(|(all, index)| all.get(index));
    found.is_some_and(|partition| {
        partition.replicas.first().is_some_and(|preferred| {
            partition.leader != Some(*preferred) && partition.isr.contains(preferred)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::fakes::{Fake, context};
    use cluster::{BrokerId, Partition, Topic};
    use control::Target;
    use control::event::names;

    fn topics(leader: i32, replicas: &[i32], isr: &[i32]) -> TopicTable {
        let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect::<Box<[_]>>();
        let partition = Partition { leader: Some(BrokerId(leader)), replicas: ids(replicas), isr: ids(isr) };
        [("t".into(), Topic { internal: false, partitions: vec![partition] })].into()
    }

    fn able(leader: i32, replicas: &[i32], isr: &[i32]) -> bool {
        preferred_can_lead(&topics(leader, replicas, isr), &TopicPartition::new("t", 0))
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

    #[test]
    fn elects_only_a_preferred_leader_that_is_in_sync_and_does_not_lead() {
        assert!(able(2, &[1, 2, 3], &[1, 2]));
        assert!(!able(2, &[1, 2, 3], &[2, 3]), "not in sync");
        assert!(!able(1, &[1, 2, 3], &[1, 2]), "leads already");
        assert!(!preferred_can_lead(&TopicTable::new(), &TopicPartition::new("t", 0)), "does not exist");
    }
}
