//! When the lease in the topic may be taken.
//!
//! Its holder writes into the topic again and again. Who has not read such a record for as long as a lease lasts knows that it is
//! over: the holder counts from the moment before it wrote, which was earlier than it could be read.

use std::time::Duration;

use super::keeper::RENEWALS;
use crate::store::holder::Holder;
use crate::store::open::LONGEST_LEASE;

/// What clocks of two hosts may differ in over one lease, and a little for a holder that renews at the last moment.
const GRACE: Duration = Duration::from_secs(1);
/// Two that look on do not take over in the same moment.
const SPREAD_MS: u64 = 1_500;

/// What is known of who holds the lease.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    me: Holder,
    heard: Option<Heard>,
    /// How much later than others this service takes over.
    later: Duration,
}

/// The newest record of a holder.
#[derive(Clone, Debug)]
struct Heard {
    /// Nothing, if it cannot be read: a newer version has written it.
    holder: Option<Holder>,
    offset: i64,
    /// When it was read, by the clock of uptime.
    at: Duration,
}

impl Heard {
    /// How long its lease lasts after that word: as long as any may, if it does not say.
    fn lasts(&self) -> Duration {
        self.holder.as_ref().map_or(LONGEST_LEASE, |holder| Duration::from_millis(holder.ttl))
    }

    fn words(&self) -> String {
        let unread = || "a service whose word cannot be read, perhaps of a newer version,".to_owned();
        self.holder.as_ref().map_or_else(unread, Holder::words)
    }
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nobody holds it.
    Take,
    /// Somebody may.
    Wait {
        /// Who, and for how long yet, in words.
        why: String,
    },
}

impl Claim {
    pub(super) fn new(me: Holder) -> Self {
        let spread = u64::from(crc32fast::hash(me.instance.as_bytes())) % SPREAD_MS;
        Self { me, heard: None, later: GRACE + Duration::from_millis(spread) }
    }

    /// A record of a holder was read, just now.
    pub(super) fn hear(&mut self, holder: Option<Holder>, offset: i64, now: Duration) {
        if self.heard.as_ref().is_none_or(|heard| heard.offset < offset) {
            self.heard = Some(Heard { holder, offset, at: now });
        }
    }

    /// The topic was read anew: what is the newest word still was heard when it was heard first. A topic that was made anew has others.
    pub(super) fn remember(&mut self, before: &Self) {
        if let (Some(heard), Some(then)) = (&mut self.heard, &before.heard)
            && heard.offset == then.offset
            && heard.holder == then.holder
        {
            heard.at = then.at;
        }
    }

    pub(super) fn next(&self, now: Duration) -> Next {
        let Some(heard) = self.heard.as_ref().filter(|heard| !self.is_free(heard)) else { return Next::Take };
        let silent = now.saturating_sub(heard.at);
        let limit = heard.lasts() + self.later;
        if silent >= limit {
            return Next::Take;
        }
        let why = format!(
            "{} acts, and was heard of {} s ago; after {} s without a word of it this one takes over",
            heard.words(),
            silent.as_secs(),
            limit.as_secs()
        );
        Next::Wait { why }
    }

    /// Whether two words of the holder that is waited for are missing, and how long two take: it is silent, or is not heard.
    pub(super) fn is_missing(&self, now: Duration) -> Option<Duration> {
        let heard = self.heard.as_ref().filter(|heard| !self.is_free(heard))?;
        let two = heard.lasts() * 2 / RENEWALS;
        (now.saturating_sub(heard.at) >= two).then_some(two)
    }

    fn is_free(&self, heard: &Heard) -> bool {
        heard.holder.as_ref().is_some_and(|holder| holder.released || holder.is_former(&self.me))
    }

    /// The newest record of a holder that is known.
    pub(super) fn newest(&self) -> Option<i64> {
        self.heard.as_ref().map(|heard| heard.offset)
    }

    /// After the name was taken, and everything was read that had been written by then: how long to wait before anything is done.
    /// A holder that wrote between the decision to take over and the taking counts its lease from there.
    pub(super) fn quarantine(&self, decided_on: Option<i64>) -> Duration {
        match &self.heard {
            Some(heard) if Some(heard.offset) != decided_on && !self.is_free(heard) => heard.lasts() + GRACE,
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(instance: &str, host: &str) -> Holder {
        let me = Holder::this_one(instance, Duration::from_secs(25));
        Holder { host: host.to_owned(), ..me }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_000 + seconds)
    }

    fn claim() -> Claim {
        Claim::new(holder("mine", "a"))
    }

    #[test]
    fn a_lease_that_nobody_has_is_taken_at_once() {
        let mut claim = claim();
        assert_eq!(claim.next(at(0)), Next::Take);
        claim.hear(Some(Holder { released: true, ..holder("other", "b") }), 3, at(0));
        assert_eq!(claim.next(at(0)), Next::Take);
        claim.hear(Some(holder("mine", "a")), 4, at(0));
        assert_eq!(claim.next(at(0)), Next::Take, "an earlier process of this service has ended");
        assert_eq!(claim.quarantine(None), Duration::ZERO);
    }

    #[test]
    fn a_copy_of_the_state_dir_on_another_host_is_another_service() {
        let mut claim = claim();
        claim.hear(Some(holder("mine", "b")), 3, at(0));
        assert!(matches!(claim.next(at(1)), Next::Wait { .. }));
    }

    #[test]
    fn a_holder_whose_word_cannot_be_read_has_the_longest_lease_that_there_is() {
        let mut claim = claim();
        claim.hear(None, 3, at(0));
        let Next::Wait { why } = claim.next(at(120)) else { panic!("it took a lease that another has") };
        assert!(why.contains("newer version"), "{why}");
        assert_eq!(claim.next(at(123)), Next::Take);
        assert_eq!(claim.quarantine(None), Duration::from_secs(121));
    }

    #[test]
    fn another_holder_is_waited_for_from_its_last_word_on() {
        let mut claim = claim();
        claim.hear(Some(holder("other", "b")), 3, at(0));
        let Next::Wait { why } = claim.next(at(7)) else { panic!("it took a lease that another has") };
        assert!(why.contains("other on b") && why.contains("7 s ago"), "{why}");
        claim.hear(Some(holder("other", "b")), 9, at(20));
        assert!(matches!(claim.next(at(45)), Next::Wait { .. }));
        assert_eq!(claim.next(at(48)), Next::Take);
        // An older record that is read once more is no word.
        claim.hear(Some(holder("other", "b")), 9, at(48));
        assert_eq!(claim.next(at(48)), Next::Take);
    }

    #[test]
    fn two_words_that_are_missing_are_looked_for() {
        let mut claim = claim();
        assert_eq!(claim.is_missing(at(0)), None);
        claim.hear(Some(holder("other", "b")), 3, at(0));
        assert_eq!(claim.is_missing(at(9)), None);
        assert_eq!(claim.is_missing(at(10)), Some(Duration::from_secs(10)));
        claim.hear(Some(holder("other", "b")), 4, at(11));
        assert_eq!(claim.is_missing(at(12)), None);
    }

    #[test]
    fn reading_the_topic_anew_is_no_word_of_the_holder() {
        let mut before = claim();
        before.hear(Some(holder("other", "b")), 3, at(0));
        let mut anew = claim();
        anew.hear(Some(holder("other", "b")), 3, at(20));
        anew.remember(&before);
        assert_eq!(anew.next(at(28)), Next::Take);
        // Another word, or another log.
        for (instance, offset) in [("other", 4), ("third", 3), ("other", 1)] {
            let mut anew = claim();
            anew.hear(Some(holder(instance, "b")), offset, at(20));
            anew.remember(&before);
            assert!(matches!(anew.next(at(20)), Next::Wait { .. }));
        }
    }

    #[test]
    fn who_wrote_in_the_last_moment_is_waited_for() {
        let mut claim = claim();
        claim.hear(Some(holder("other", "b")), 3, at(0));
        let decided_on = claim.newest();
        assert_eq!(claim.quarantine(decided_on), Duration::ZERO);
        claim.hear(Some(holder("third", "c")), 8, at(40));
        assert_eq!(claim.quarantine(decided_on), Duration::from_secs(26));
        claim.hear(Some(Holder { released: true, ..holder("third", "c") }), 9, at(41));
        assert_eq!(claim.quarantine(decided_on), Duration::ZERO);
    }
}
