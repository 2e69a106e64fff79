//! Submitting and cancelling reassignments.

use std::collections::{BTreeMap, BTreeSet};

use cluster::{
    BrokerId, ClientError, PartitionResults, Reassignments, TopicName, TopicPartition, TopicTable,
};

use super::in_words;
use crate::event::{PartitionMove, ReassignResult, ReassignStep};
use crate::execution::last_look::{LastLook, keeps_from_cancelling, last_look};
use crate::plugin::Done;

/// Partitions in one request. KRaft refuses requests that need more than 10,000 metadata records.
pub const MOST_IN_A_REQUEST: usize = 500;

/// What goes out in one request: the new replicas of each partition, or `None` where its reassignment is cancelled.
pub type Batch = BTreeMap<TopicPartition, Option<Vec<BrokerId>>>;

/// The topics of these moves, each once.
pub fn topics(moves: &[PartitionMove]) -> Vec<TopicName> {
    let names: BTreeSet<TopicName> = moves.iter().map(|order| order.partition.topic.clone()).collect();
    names.into_iter().collect()
}

/// Those of `moves` that are still as planned, by the last look. What becomes of the others is put into `result`.
pub fn to_submit(
    moves: &[PartitionMove],
    ongoing: &Reassignments,
    witnesses: &[TopicTable],
    result: &mut ReassignResult,
) -> Batch {
    let mut batch = Batch::new();
    for order in moves {
        match last_look(order, ongoing, witnesses) {
            LastLook::Send => {
                batch.insert(order.partition.clone(), Some(order.to.clone()));
            }
            LastLook::Already => result.accepted.push(order.partition.clone()),
            LastLook::Skip(why) => result.skipped.push((order.partition.clone(), why)),
        }
    }
    batch
}

/// Those of `moves` that are listed as ours, and whose new replicas nothing rests on, to be cancelled. What becomes of the others
/// is put into `result`.
pub fn to_cancel(
    moves: &[PartitionMove],
    ongoing: &Reassignments,
    witnesses: &[TopicTable],
    result: &mut ReassignResult,
) -> Batch {
    let mut batch = Batch::new();
    for order in moves {
        match keeps_from_cancelling(order, ongoing, witnesses) {
            None => {
                batch.insert(order.partition.clone(), None);
            }
            Some(why) => result.skipped.push((order.partition.clone(), why)),
        }
    }
    batch
}

/// Takes in that these moves could not be looked at, so that nothing was sent.
pub fn could_not_look(moves: &[PartitionMove], why: &ClientError, result: &mut ReassignResult) {
    let unsent = moves.iter().map(|order| (order.partition.clone(), why.to_string()));
    result.skipped.extend(unsent);
}

/// Takes in what was answered to a batch.
pub fn sort(batch: Batch, answer: Result<PartitionResults, ClientError>, result: &mut ReassignResult) {
    match answer {
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

fn sort_failure(partition: TopicPartition, why: &ClientError, result: &mut ReassignResult) {
    let into = if why.may_have_been_applied() { &mut result.unknown } else { &mut result.refused };
    into.push((partition, why.to_string()));
}

/// The end of a step that submitted or cancelled.
pub fn done(step: &ReassignStep, result: &ReassignResult) -> Done {
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

    #[test]
    fn an_answer_that_was_lost_or_lacks_a_partition_leaves_it_unknown() {
        let at = |number| TopicPartition::new("t", number);
        let batch = || Batch::from([(at(0), None), (at(1), None), (at(2), None)]);
        let refused = ClientError::Refused { doing: "x", code: "NO".to_owned(), why: String::new() };
        let lost = ClientError::Timeout { at: "b1".to_owned(), limit_ms: 1, doing: "x" };
        let mut result = ReassignResult::default();
        sort(batch(), Ok([(at(0), Ok(())), (at(1), Err(refused.clone()))].into()), &mut result);
        assert_eq!(result.accepted, [at(0)]);
        assert_eq!(result.refused, [(at(1), refused.to_string())]);
        assert_eq!(result.unknown, [(at(2), "the cluster did not mention it".to_owned())]);
        let counts = |answer| {
            let mut result = ReassignResult::default();
            sort(batch(), Err(answer), &mut result);
            (result.accepted.len(), result.refused.len(), result.unknown.len())
        };
        assert_eq!((counts(refused), counts(lost)), ((0, 3, 0), (0, 0, 3)));
    }
}
