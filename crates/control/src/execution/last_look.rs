//! The last look at a partition before its move is submitted: Kafka has no compare-and-set for reassignments, so that
//! whoever submits has to make sure by itself.
//!
//! Who is being reassigned is the controller's word. The replicas are those that most of the brokers name that
//! were asked: one of them may have metadata that stand still, and would have us move a partition from where it was.

use std::collections::BTreeMap;

use cluster::{BrokerId, Partition, Reassignments, TopicPartition, TopicTable};

use crate::event::PartitionMove;
use crate::execution::observe::{ids, leaves_too_few};

/// How many brokers are asked for the replicas: as many as are asked who is alive, so that two may be wrong.
pub const WITNESSES: usize = 5;

/// What is to be done with one move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastLook {
    /// It is as planned: it may be submitted.
    Send,
    /// It is as wanted, or on its way there: the order has arrived twice.
    Already,
    /// It is not as planned, for this reason, and must be left alone.
    Skip(String),
}

/// Whether a move is still right, by the list of all reassignments, and what each of some brokers knows.
pub fn last_look(order: &PartitionMove, ongoing: &Reassignments, witnesses: &[TopicTable]) -> LastLook {
    if let Some(other) = ongoing.get(&order.partition) {
        let target = other.target();
        if target == order.to {
            return LastLook::Already;
        }
        return LastLook::Skip(format!("it is being reassigned to {} by somebody else", ids(&target)));
    }
    let mut named = BTreeMap::<Option<&[BrokerId]>, usize>::new();
    for table in witnesses {
        *named.entry(replicas(table, &order.partition)).or_default() += 1;
    }
    match named.iter().find(|(_, count)| **count * 2 > witnesses.len()) {
        None => {
            let named: Vec<String> =
                named.keys().map(|replicas| replicas.map_or("none".to_owned(), ids)).collect();
            LastLook::Skip(format!("the brokers do not agree about its replicas: {}", named.join(" or ")))
        }
        Some((None, _)) => LastLook::Skip("it no longer exists".to_owned()),
        Some((Some(found), _)) if **found == *order.to => LastLook::Already,
        Some((Some(found), _)) if **found != *order.from => {
            LastLook::Skip(format!("its replicas are {}, not {} as planned", ids(found), ids(&order.from)))
        }
        Some(_) => LastLook::Send,
    }
}

/// Why a move is not given up that nobody has ordered to be.
pub(super) const RESTS_ON_IT: &str = "its new replica is in sync by now, and without it too few would be";

/// Why the reassignment of a move must not be cancelled: only ours ever is, and only while its target is still ours; and not
/// where at least half of the brokers that were asked say that it would take away a replica on which the partition rests.
pub fn keeps_from_cancelling(
    order: &PartitionMove,
    ongoing: &Reassignments,
    witnesses: &[TopicTable],
) -> Option<String> {
    match ongoing.get(&order.partition) {
        None => Some("it is not being reassigned".to_owned()),
        Some(found) if found.target() != order.to => {
            Some(format!("it is being reassigned to {} by somebody else", ids(&found.target())))
        }
        Some(_) => {
            let rests_on_it = |table: &&TopicTable| {
                partition(table, &order.partition)
                    .is_some_and(|partition| leaves_too_few(order, partition, &partition.isr))
            };
            let count = witnesses.iter().filter(rests_on_it).count();
            (count > 0 && count * 2 >= witnesses.len()).then(|| RESTS_ON_IT.to_owned())
        }
    }
}

fn partition<'a>(table: &'a TopicTable, at: &TopicPartition) -> Option<&'a Partition> {
    table.get(&at.topic)?.partitions.get(usize::try_from(at.partition).ok()?)
}

fn replicas<'a>(table: &'a TopicTable, at: &TopicPartition) -> Option<&'a [BrokerId]> {
    partition(table, at).map(|partition| &*partition.replicas)
}

#[cfg(test)]
mod tests {
    use cluster::notation::ClusterText;
    use expect_test::expect;

    use super::*;

    fn order() -> PartitionMove {
        PartitionMove {
            partition: TopicPartition::new("t", 0),
            from: vec![BrokerId(1), BrokerId(2)],
            to: vec![BrokerId(1), BrokerId(3)],
            dead: vec![BrokerId(2)],
            leaving: Vec::new(),
            bytes: None,
            in_sync: 1,
            reason: String::new(),
        }
    }

    fn cluster(partition: &str) -> ClusterText {
        format!("b1\nb2\nb3\nb4\n{partition}").parse().unwrap()
    }

    fn look(ongoing: &str, witnesses: &[&str]) -> String {
        let tables: Vec<TopicTable> = witnesses.iter().map(|partition| cluster(partition).topics).collect();
        format!("{:?}\n", last_look(&order(), &cluster(ongoing).reassignments, &tables))
    }

    #[test]
    fn only_ours_is_cancelled() {
        let why = |partition| keeps_from_cancelling(&order(), &cluster(partition).reassignments, &[]);
        assert_eq!(why("t-0: 1* -2 +3~"), None);
        assert_eq!(why("t-0: 1* -2 +4~").unwrap(), "it is being reassigned to [1, 4] by somebody else");
        assert_eq!(why("t-0: 1* 2").unwrap(), "it is not being reassigned");
    }

    #[test]
    fn what_a_partition_rests_on_by_now_is_not_given_up() {
        let ongoing = cluster("t-0: 1* -2~ +3").reassignments;
        let why = |witnesses: &[&str]| {
            let tables: Vec<TopicTable> = witnesses.iter().map(|it| cluster(it).topics).collect();
            keeps_from_cancelling(&order(), &ongoing, &tables)
        };
        let (copying, in_sync, spared) = ("t-0: 1* 2~ 3~", "t-0: 1* 2~ 3", "t-0: 1* 2 3");
        assert_eq!(why(&[copying, copying]), None);
        assert_eq!(why(&[spared, spared]), None);
        assert!(why(&[in_sync, copying]).unwrap().contains("too few would be"));
        // One broker whose metadata stand still keeps nothing back.
        assert_eq!(why(&[in_sync, copying, copying]), None);
        assert!(why(&["t-0: 1~ 2~ 3*"]).is_some(), "nothing that is in sync would be left");
    }

    #[test]
    fn most_of_the_brokers_must_name_the_replicas_as_planned() {
        let (planned, moved, other) = ("t-0: 1* 2", "t-0: 1* 3", "t-0: 4* 2");
        let looks = [
            look(planned, &[planned]),
            look(planned, &[planned, other, planned]),
            look(planned, &[other, other, planned]),
            look(planned, &[moved, moved, planned]),
            look(planned, &[planned, other]),
            look(planned, &[planned, other, moved]),
            look(planned, &["", "", planned]),
            look(planned, &[]),
            look("t-0: 1* -2 +3~", &[planned]),
            look("t-0: 1* -2 +4~", &[planned]),
        ];
        expect![[r#"
            Send
            Send
            Skip("its replicas are [4, 2], not [1, 2] as planned")
            Already
            Skip("the brokers do not agree about its replicas: [1, 2] or [4, 2]")
            Skip("the brokers do not agree about its replicas: [1, 2] or [1, 3] or [4, 2]")
            Skip("it no longer exists")
            Skip("the brokers do not agree about its replicas: ")
            Already
            Skip("it is being reassigned to [1, 4] by somebody else")
        "#]]
        .assert_eq(&looks.concat());
    }
}
