//! What brokers have on their disks of topics that this service may not see.
//!
//! Kafka leaves out of its answers, without a word, the topics of which a client has no right `Describe`. To heal it does not matter that we do
//! not know of them; to replace a host it does: it may hold the last copy of one. The list of a broker's log dirs takes another right, and names
//! all that stands there. So it is compared with the topics, while the broker lives, and what was found stays known when it is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cluster::BrokerId;
use serde::{Deserialize, Serialize};

use crate::attributes::{Disks, Topics};
use crate::memory::KnownBroker;
use crate::state::{Fact, State};
use crate::time::{Tick, Timestamp};

/// So many topics are remembered by name.
const NAMED: usize = 5;

/// A topic that was visible and is no more was deleted: brokers have done so within this time. One that is on a disk still is out of
/// our sight only.
const DELETED_WITHIN: Duration = Duration::from_secs(60);

/// What was found when a broker's log dirs were last listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// When.
    pub at: Timestamp,
    /// The first few of the topics that stood on some broker's disk then, and were not among those that this service may see.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unseen: BTreeSet<Arc<str>>,
}

/// What is compared with what. Not stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Comparison {
    /// When the newest list held that has been compared, and the topics that it was compared with.
    compared: Option<(Tick, Tick)>,
    /// Whether that has found something: newer topics may tell more.
    is_open: bool,
    /// The newest topics: when they held, and which.
    topics: Option<(Tick, BTreeSet<Arc<str>>)>,
    /// Topics that were visible once, and since when they are not.
    vanished: BTreeMap<Arc<str>, Tick>,
}

impl Comparison {
    /// Compares each list, and remembers what that tells of the brokers listed. Whoever decides by it looks at the newest
    /// topics, too: one that was created a moment ago is no secret. It may be named here instead of one that is, so that what was found is
    /// looked at again with newer topics.
    pub(crate) fn look(&mut self, state: &State, brokers: &mut BTreeMap<BrokerId, KnownBroker>) {
        let (Some(disks), Some(topics)) = (state.get::<Disks>(), state.get::<Topics>()) else { return };
        self.take(&topics);
        let known = self
            .compared
            .is_some_and(|(list, with)| list == disks.as_of && !(self.is_open && topics.as_of > with));
        if known {
            return;
        }
        let is_new = self.compared.is_none_or(|(list, _)| list != disks.as_of);
        self.compared = Some((disks.as_of, topics.as_of));
        let unseen = self.unseen(&disks, topics.value);
        self.is_open = !unseen.is_empty();
        for id in &disks.value.listed {
            let Some(known) = brokers.get_mut(id) else { continue };
            let listed = known.listed.get_or_insert_default();
            // A look at an old list with newer topics makes it no younger.
            if is_new {
                listed.at = state.now().wall;
            }
            // What stands in a log dir that has failed is not listed.
            let whole =
                disks.value.brokers.get(id).is_some_and(|it| it.dirs.iter().all(|d| d.error.is_none()));
            if whole {
                listed.unseen.clear();
            }
            listed.unseen.retain(|name| !topics.value.0.contains_key(name));
            listed.unseen.extend(unseen.iter().cloned());
        }
    }

    fn take(&mut self, topics: &Fact<'_, Topics>) {
        if self.topics.as_ref().is_some_and(|(as_of, _)| *as_of == topics.as_of) {
            return;
        }
        let visible = &topics.value.0;
        self.vanished.retain(|name, _| !visible.contains_key(name));
        let before = self.topics.take().map(|(_, names)| names).unwrap_or_default();
        let gone = before.into_iter().filter(|name| !visible.contains_key(name));
        self.vanished.extend(gone.map(|name| (name, topics.as_of)));
        self.topics = Some((topics.as_of, visible.keys().cloned().collect()));
    }

    /// The first few topics that are on a disk, not visible, and not just deleted.
    fn unseen(&mut self, disks: &Fact<'_, Disks>, topics: &Topics) -> BTreeSet<Arc<str>> {
        let mut on_disk: Vec<&Arc<str>> =
            disks.value.sizes.keys().map(|partition| &partition.topic).collect();
        on_disk.dedup();
        let deleted = |name: &Arc<str>| {
            self.vanished.get(name).is_some_and(|since| disks.as_of.since(*since) < DELETED_WITHIN)
        };
        let unseen = on_disk.iter().filter(|name| !topics.0.contains_key(**name) && !deleted(name));
        let unseen = unseen.take(NAMED).map(|name| Arc::clone(name)).collect();
        // Of those that are on no disk any more nothing need be known.
        self.vanished.retain(|name, since| *since >= disks.as_of || on_disk.binary_search(&name).is_ok());
        unseen
    }
}

#[cfg(test)]
mod tests {
    use cluster::TopicPartition;

    use super::*;
    use crate::attributes::{BrokerDisks, DirUse};
    use crate::testing::World;

    const TEXT: &str = "b1\nb2\nt-0: 1* 2\nu-0: 2* 1";

    /// What is known of the brokers of a world in which log dirs are listed now and then.
    struct Case {
        world: World,
        comparison: Comparison,
        brokers: BTreeMap<BrokerId, KnownBroker>,
        listed_at: Tick,
    }

    impl Case {
        fn new() -> Self {
            let world = World::new(TEXT);
            let mut brokers = world.known.clone();
            for known in brokers.values_mut() {
                known.listed = None;
            }
            Self { world, comparison: Comparison::default(), brokers, listed_at: Tick::default() }
        }

        /// So many seconds later these brokers list these topics.
        fn lists(&mut self, seconds: u64, brokers: &[i32], topics: &[&str]) {
            self.world.skip(seconds);
            let listed: BTreeSet<BrokerId> = brokers.iter().copied().map(BrokerId).collect();
            let sizes = topics.iter().map(|topic| (TopicPartition::new(*topic, 0), 7)).collect();
            let disks = listed.iter().map(|id| (*id, BrokerDisks::default())).collect();
            let disks = Disks { sizes, brokers: disks, listed };
            let as_of = self.world.now.tick;
            self.listed_at = as_of;
            let mut state = self.world.sources();
            state.put(disks.clone(), as_of);
            self.comparison.look(&state, &mut self.brokers);
            self.world.skip(1);
        }

        fn unseen(&self, id: i32) -> Option<Vec<&str>> {
            let listed = self.brokers[&BrokerId(id)].listed.as_ref()?;
            Some(listed.unseen.iter().map(|name| &**name).collect())
        }
    }

    #[test]
    fn what_is_on_a_disk_and_among_no_topics_stays_known_of_one_that_is_listed_no_more() {
        let mut case = Case::new();
        case.lists(1, &[1], &["t", "u"]);
        assert_eq!((case.unseen(1), case.unseen(2)), (Some(vec![]), None));
        case.lists(300, &[1, 2], &["secret", "t", "u"]);
        assert_eq!((case.unseen(1), case.unseen(2)), (Some(vec!["secret"]), Some(vec!["secret"])));
        case.lists(300, &[1], &["t", "u"]);
        assert_eq!((case.unseen(1), case.unseen(2)), (Some(vec![]), Some(vec!["secret"])));
    }

    #[test]
    fn a_topic_that_was_deleted_a_moment_ago_is_no_secret() {
        let mut case = Case::new();
        case.lists(1, &[1, 2], &["t", "u"]);
        case.world.becomes("b1\nb2\nt-0: 1* 2\nnew-0: 1* 2");
        case.lists(10, &[1, 2], &["new", "t", "u"]);
        assert_eq!(case.unseen(1), Some(vec![]), "u was deleted a moment before the list");
        case.lists(100, &[1, 2], &["new", "t", "u"]);
        assert_eq!(case.unseen(1), Some(vec!["u"]), "the right to see it was taken away");
    }

    #[test]
    fn topics_that_were_just_created_hide_none_that_is_secret() {
        let mut case = Case::new();
        case.lists(1, &[1, 2], &["a", "b", "c", "d", "e", "secret", "t", "u"]);
        assert_eq!(case.unseen(1), Some(vec!["a", "b", "c", "d", "e"]));
        let listed_at = |case: &Case| case.brokers[&BrokerId(1)].listed.as_ref().unwrap().at;
        let first = listed_at(&case);
        // The same list, with topics that were read later.
        case.world.becomes("b1\nb2\na-0: 1\nb-0: 1\nc-0: 1\nd-0: 1\ne-0: 1\nt-0: 1* 2\nu-0: 2* 1");
        let listed = [BrokerId(1), BrokerId(2)].into();
        let of = |topic: &str| (TopicPartition::new(topic, 0), 7);
        let sizes = ["a", "b", "c", "d", "e", "secret", "t", "u"].map(of).into();
        let brokers = [(BrokerId(1), BrokerDisks::default()), (BrokerId(2), BrokerDisks::default())].into();
        let mut state = case.world.sources();
        state.put(Disks { sizes, brokers, listed }, case.listed_at);
        case.comparison.look(&state, &mut case.brokers);
        assert_eq!(case.unseen(1), Some(vec!["secret"]));
        assert_eq!(listed_at(&case), first, "it is as old as the list");
    }

    #[test]
    fn a_log_dir_that_has_failed_hides_what_is_in_it() {
        let mut case = Case::new();
        case.lists(1, &[1], &["secret", "t", "u"]);
        let mut state = case.world.sources();
        let failed = DirUse {
            path: "d".into(),
            total_bytes: None,
            usable_bytes: None,
            replicas: 0,
            error: Some("failed".into()),
        };
        let disks = [(BrokerId(1), BrokerDisks { dirs: vec![failed] })].into();
        let listed = [BrokerId(1)].into();
        state.put(Disks { brokers: disks, listed, ..Disks::default() }, case.world.now.tick);
        case.comparison.look(&state, &mut case.brokers);
        assert_eq!(case.unseen(1), Some(vec!["secret"]));
    }
}
