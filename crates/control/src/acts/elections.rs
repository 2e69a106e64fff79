//! Electing preferred leaders.

use std::collections::BTreeSet;

use cluster::{PartitionResults, TopicName, TopicPartition, TopicTable};

use crate::plugin::{ActError, Done};

/// What is to be elected of what was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Election {
    /// The partitions whose first replica does not lead, but could.
    pub able: Vec<TopicPartition>,
    /// How many others were asked for.
    left: usize,
}

/// The topics of these partitions, each once.
pub fn topics(partitions: &[TopicPartition]) -> Vec<TopicName> {
    let names: BTreeSet<TopicName> = partitions.iter().map(|at| at.topic.clone()).collect();
    names.into_iter().collect()
}

impl Election {
    /// What of `partitions` needs an election, and can have one, by the topics as they are.
    pub fn of(partitions: &[TopicPartition], topics: &TopicTable) -> Self {
        let able: Vec<TopicPartition> =
            partitions.iter().filter(|at| preferred_can_lead(topics, at)).cloned().collect();
        let left = partitions.len() - able.len();
        Self { able, left }
    }

    /// The end of an act that elects nobody: in a dry run, or where there is nothing to elect.
    pub fn without(&self, dry_run: bool) -> Option<Done> {
        let left = self.left_in_words();
        let summary = match (dry_run, self.able.is_empty()) {
            (true, _) => format!("would elect {} preferred leaders{left}", self.able.len()),
            (false, true) => format!("no preferred leader to elect{left}"),
            (false, false) => return None,
        };
        Some(Done { summary, ..Done::default() })
    }

    /// The end of an act that elected.
    ///
    /// # Errors
    /// Nobody was elected.
    pub fn done(&self, results: &PartitionResults) -> Result<Done, ActError> {
        let left = self.left_in_words();
        let failed: Vec<String> =
            results.iter().filter_map(|(at, r)| r.as_ref().err().map(|why| format!("{at}: {why}"))).collect();
        let elected = self.able.len().saturating_sub(failed.len());
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
        let detail = serde_json::json!({"elected": elected, "failed": failed});
        Ok(Done { summary, detail, ..Done::default() })
    }

    fn left_in_words(&self) -> String {
        match self.left {
            0 => String::new(),
            left => format!(", {left} need none or are not in sync"),
        }
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
    use cluster::{BrokerId, Partition, Topic};

    use super::*;

    fn able(leader: i32, replicas: &[i32], isr: &[i32]) -> bool {
        let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect::<Box<[_]>>();
        let partition = Partition { leader: Some(BrokerId(leader)), replicas: ids(replicas), isr: ids(isr) };
        let topics = [("t".into(), Topic { internal: false, partitions: vec![partition] })].into();
        !Election::of(&[TopicPartition::new("t", 0)], &topics).able.is_empty()
    }

    #[test]
    fn elects_only_a_preferred_leader_that_is_in_sync_and_does_not_lead() {
        assert!(able(2, &[1, 2, 3], &[1, 2]));
        assert!(!able(2, &[1, 2, 3], &[2, 3]), "not in sync");
        assert!(!able(1, &[1, 2, 3], &[1, 2]), "leads already");
        let none = Election::of(&[TopicPartition::new("t", 0)], &TopicTable::new());
        assert!(none.able.is_empty(), "does not exist");
    }
}
