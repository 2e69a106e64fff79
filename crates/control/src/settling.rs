//! Reassignments whose end a lagging broker has not learnt of yet.
//!
//! The controller lists reassignments; partitions are read from some broker, whose metadata lag behind. Where the end of a
//! reassignment falls between the two, the partition shows replicas out of sync that no reassignment explains: a false
//! finding, and a false reason to hold the next wave.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster::{Reassignment, Reassignments, TopicPartition, TopicTable};

use crate::time::Tick;

/// For how long a broker is believed to have missed the end of a reassignment. After that its metadata stand still, or what
/// they show is true.
const LONGEST_LAG: Duration = Duration::from_secs(10);

/// Remembers the reassignments of the last look.
#[derive(Debug, Default)]
pub struct Settling {
    last: BTreeMap<TopicPartition, (Reassignment, Option<Tick>)>,
}

impl Settling {
    /// Puts back into `ongoing` what was there in the last look, is gone, and shows in `topics` as if it went on: by what
    /// was read together, it does. For at most ten seconds each.
    pub fn complete(&mut self, mut ongoing: Reassignments, topics: &TopicTable, now: Tick) -> Reassignments {
        let before = std::mem::take(&mut self.last);
        self.last = ongoing.iter().map(|(at, listed)| (at.clone(), (listed.clone(), None))).collect();
        for (at, (listed, gone)) in before {
            let gone = gone.unwrap_or(now);
            if !ongoing.contains_key(&at)
                && now.since(gone) < LONGEST_LAG
                && still_shows(topics, &at, &listed)
            {
                ongoing.insert(at.clone(), listed.clone());
                self.last.insert(at, (listed, Some(gone)));
            }
        }
        ongoing
    }
}

/// Whether the partition has the replicas of both sides still, and not only those that were there before or will be after.
fn still_shows(topics: &TopicTable, at: &TopicPartition, listed: &Reassignment) -> bool {
    let partitions = topics.get(&at.topic).map(|topic| &topic.partitions);
    let found = partitions.zip(usize::try_from(at.partition).ok()).and_then(|(all, index)| all.get(index));
    found.is_some_and(|partition| {
        let both = partition.replicas.len() == listed.replicas.len()
            && listed.replicas.iter().all(|replica| partition.replicas.contains(replica));
        // Where nothing goes, both sides are what will be: it ends when what was added is in sync.
        let unfinished = !listed.removing.is_empty()
            || listed.adding.iter().any(|replica| !partition.isr.contains(replica));
        both && unfinished
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::{BrokerId, Partition, Topic};

    fn ids(ids: &[i32]) -> Box<[BrokerId]> {
        ids.iter().copied().map(BrokerId).collect()
    }

    fn topics(replicas: &[i32], isr: &[i32]) -> TopicTable {
        let partition = Partition { leader: None, replicas: ids(replicas), isr: ids(isr) };
        [("t".into(), Topic { internal: false, partitions: vec![partition] })].into()
    }

    fn listed(replicas: &[i32], adding: &[i32], removing: &[i32]) -> Reassignments {
        let one = Reassignment { replicas: ids(replicas), adding: ids(adding), removing: ids(removing) };
        [(TopicPartition::new("t", 0), one)].into()
    }

    /// What is said to go on, second by second: reassignments are listed in the first look, and gone in those after it.
    fn looks(first: &Reassignments, seen: &[(u64, TopicTable)]) -> Vec<bool> {
        let mut settling = Settling::default();
        settling.complete(first.clone(), &topics(&[1, 2, 3], &[1, 2]), Tick(0));
        let look = |(second, topics): &(u64, TopicTable)| {
            let ongoing = settling.complete(Reassignments::new(), topics, Tick(second * 1_000));
            assert!(ongoing.values().all(|one| first.values().any(|listed| listed == one)));
            !ongoing.is_empty()
        };
        seen.iter().map(look).collect()
    }

    #[test]
    fn goes_on_until_the_broker_knows_of_its_end() {
        let moved = listed(&[4, 1, 2, 3], &[4], &[3]);
        let lagging = || topics(&[4, 1, 2, 3], &[1, 2]);
        let done = topics(&[4, 1, 2], &[1, 2, 4]);
        assert_eq!(looks(&moved, &[(1, lagging()), (2, lagging()), (3, done)]), [true, true, false]);
        let cancelled = topics(&[1, 2, 3], &[1, 2]);
        assert_eq!(looks(&moved, &[(1, lagging()), (2, cancelled), (3, lagging())]), [true, false, false]);
        let deleted = TopicTable::new();
        assert_eq!(looks(&moved, &[(1, deleted)]), [false]);
    }

    #[test]
    fn a_replica_that_was_only_added_has_settled_once_it_is_in_sync() {
        let added = listed(&[1, 2, 3], &[3], &[]);
        let lagging = topics(&[1, 2, 3], &[1, 2]);
        let done = topics(&[1, 2, 3], &[1, 2, 3]);
        assert_eq!(looks(&added, &[(1, lagging), (2, done)]), [true, false]);
    }

    #[test]
    fn what_shows_for_longer_than_a_broker_lags_is_true() {
        let moved = listed(&[4, 1, 2, 3], &[4], &[3]);
        let shown = |second| (second, topics(&[4, 1, 2, 3], &[1, 2]));
        assert_eq!(looks(&moved, &[shown(1), shown(10), shown(11), shown(12)]), [true, true, false, false]);
    }
}
